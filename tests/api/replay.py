#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Replays the examples of the API's description against a running server.

    replay.py BASE_URL      replay all; every answer is also checked against poold.yaml
    replay.py BASE_URL KEY  the same for those that are about keys: KEY is an administrator's
    replay.py --check       no server: are the description and its examples sound?

The form of an example is told in openapi/README.md. Besides the examples themselves: each
operation of poold.yaml needs one, and each problem type that it names must be explained by
the server. The last line is "N passed, M failed"; the exit code says the same.
"""

import http.client
import json
import pathlib
import re
import secrets
import sys
import time
import urllib.parse

import jsonschema
import yaml

OPENAPI = pathlib.Path(__file__).resolve().parents[2] / "openapi"
METHODS = ("get", "post", "put", "patch", "delete")
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
UNTIL_SECONDS = 20
KEY = None  # of an administrator, for every request that has no header of its own
ELLIPSIS = "..."


class Mismatch(Exception):
    """An answer that is not as it should be, and where."""


class Loader(yaml.SafeLoader):
    """Leaves times as they are written."""


Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_yaml_str)


def load_yaml(path):
    with open(path, encoding="utf-8") as source:
        return yaml.load(source, Loader)


# ---- matching ----


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# What stands for many values: a test, and a sample for --check.
MATCHERS = {
    "<any>": (lambda v: True, None),
    "<string>": (lambda v: isinstance(v, str), "text"),
    "<number>": (is_number, 1.5),
    "<integer>": (lambda v: is_number(v) and isinstance(v, int), 1),
    "<boolean>": (lambda v: isinstance(v, bool), True),
    "<array>": (lambda v: isinstance(v, list), []),
    "<object>": (lambda v: isinstance(v, dict), {}),
    "<uuid>": (lambda v: isinstance(v, str) and re.fullmatch(UUID, v),
               "0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b"),
    "<time>": (lambda v: isinstance(v, str) and re.fullmatch(TIME, v),
               "2026-01-02T03:04:05.678Z"),
}


def contained(expected):
    """The text of "<contains TEXT>", or None."""
    found = re.fullmatch(r"<contains (.*)>", expected, re.S)
    return found and found[1]


def match(expected, got, at="body"):
    if isinstance(expected, str) and expected in MATCHERS:
        if not MATCHERS[expected][0](got):
            raise Mismatch(f"{at}: {got!r} is not {expected}")
    elif isinstance(expected, str) and contained(expected):
        if not isinstance(got, str) or contained(expected) not in got:
            raise Mismatch(f"{at}: {got!r} does not contain {contained(expected)!r}")
    elif isinstance(expected, dict):
        match_object(expected, got, at)
    elif isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            raise Mismatch(f"{at}: {got!r} is not an array of {len(expected)}")
        for i, (one, other) in enumerate(zip(expected, got)):
            match(one, other, f"{at}/{i}")
    elif type(expected) is not type(got) or expected != got:
        raise Mismatch(f"{at}: {got!r} is not {expected!r}")


def match_object(expected, got, at):
    if not isinstance(got, dict):
        raise Mismatch(f"{at}: {got!r} is not an object")
    for name, value in expected.items():
        if name == ELLIPSIS:
            continue
        if name not in got:
            raise Mismatch(f"{at}: member {name} is missing")
        match(value, got[name], f"{at}/{name}")
    surplus = sorted(set(got) - set(expected))
    if surplus and ELLIPSIS not in expected:
        raise Mismatch(f"{at}: unexpected members {surplus}")


def match_headers(expected, got):
    for name, value in (expected or {}).items():
        have = got.get(name)
        if value == "<absent>":
            if have is not None:
                raise Mismatch(f"header {name}: {have!r} should not be there")
        elif have is None:
            raise Mismatch(f"header {name} is missing")
        elif name == "Allow":
            want = sorted(value.replace(" ", "").split(","))
            if sorted(have.replace(" ", "").split(",")) != want:
                raise Mismatch(f"header Allow: {have!r} is not {value!r}")
        else:
            match(value, have, f"header {name}")


def sample(expected):
    """A value that the expected one matches."""
    if isinstance(expected, str):
        if expected in MATCHERS:
            return MATCHERS[expected][1]
        return contained(expected) or expected
    if isinstance(expected, dict):
        return {name: sample(value) for name, value in expected.items() if name != ELLIPSIS}
    if isinstance(expected, list):
        return [sample(value) for value in expected]
    return expected


def elided(expected):
    if isinstance(expected, dict):
        return ELLIPSIS in expected or any(map(elided, expected.values()))
    return isinstance(expected, list) and any(map(elided, expected))


def fill(value, names):
    """Puts the values of ${name} in."""
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda found: str(names[found[1]]), value)
    if isinstance(value, dict):
        return {fill(name, names): fill(inner, names) for name, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, names) for inner in value]
    return value


def bound(value, names):
    """Whether each ${name} in it has a value; a failed setup leaves some without."""
    return all(name in names for name in re.findall(r"\$\{(\w+)\}", json.dumps(value)))


# ---- the description ----


class Description:
    def __init__(self, path):
        self.document = load_yaml(path)
        self.operations = {
            f"{method.upper()} {path}": operation
            for path, item in self.document["paths"].items()
            for method, operation in item.items() if method in METHODS}

    def resolve(self, node):
        while "$ref" in node:
            found = self.document
            for part in node["$ref"].lstrip("#/").split("/"):
                found = found[part]
            node = found
        return node

    def operation(self, route):
        """The operation of "METHOD /path"; None for what only the general rules cover."""
        if route is None or route.startswith("OPTIONS "):
            return None
        if route.startswith("HEAD "):
            route = "GET " + route[5:]
        if route not in self.operations:
            raise Mismatch(f"poold.yaml has no operation {route}")
        return self.operations[route]

    def response(self, route, status):
        operation = self.operation(route)
        if operation is None:
            if status < 400:
                return None
            return self.document["components"]["responses"]["General"]
        responses = operation["responses"]
        found = responses.get(str(status))
        if found is None and status < 400:
            raise Mismatch(f"poold.yaml has no answer {status} for {route}")
        found = self.resolve(found or responses["default"])
        return found

    def errors(self, schema, value):
        root = {"$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": self.document["components"], "allOf": [schema]}
        validator = jsonschema.Draft202012Validator(root)
        return [f"{'/'.join(map(str, error.absolute_path)) or '.'}: {error.message}"[:300]
                for error in validator.iter_errors(value)]

    def check_value(self, schema, value, what):
        errors = self.errors(schema, value)
        if errors:
            raise Mismatch(f"{what} is not as poold.yaml says: {errors[0]}")

    def check_response(self, route, status, content_type, values):
        """values: the body, or each line of it."""
        response = self.response(route, status)
        content = (response or {}).get("content", {})
        if not content:
            if values:
                raise Mismatch("there is a body, but poold.yaml has none")
            return
        plain = content_type.split(";")[0].strip()
        if plain not in content:
            raise Mismatch(f"Content-Type {content_type!r} is not in {sorted(content)}")
        for value in values:
            self.check_value(content[plain]["schema"], value, "the body")

    def check_headers(self, route, status, headers):
        response = self.response(route, status) or {}
        for name, header in response.get("headers", {}).items():
            if name in headers:
                self.check_value(self.resolve(header)["schema"], headers[name],
                                 f"header {name}")

    def check_request(self, example):
        """A body that is refused must be outside of the schema, any other within it."""
        request, response = example["request"], example["response"]
        operation = self.operation(example.get("route"))
        if not operation or "requestBody" not in operation:
            return
        if "body" in request:
            kind, value = "application/json", request["body"]
        elif "lines" in request:
            kind, value = "application/x-ndjson", request["lines"][0]
        else:
            return
        schema = operation["requestBody"]["content"][kind]["schema"]
        errors = self.errors(schema, value)
        body = response.get("body") or {}
        refused = isinstance(body, dict) and body.get("type") == "/problems/validation-failed"
        if errors and not refused:
            raise Mismatch(f"the request is not as poold.yaml says: {errors[0]}")
        if refused and not errors and not example.get("beyond_schema"):
            raise Mismatch("the request is refused, but poold.yaml would allow it")

    def slugs(self):
        return sorted(set(re.findall(r"/problems/([a-z-]+)", json.dumps(self.document))))


# ---- talking to the server ----


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers     # names are compared without regard to case
        self.body = body

    def content_type(self):
        return self.headers.get("Content-Type", "")

    def values(self):
        """The body as parsed values: none, one, or one a line."""
        kind = self.content_type().split(";")[0].strip()
        if not self.body:
            return []
        if kind == "application/x-ndjson":
            return [json.loads(line) for line in self.body.splitlines()]
        if kind.endswith("json"):
            return [json.loads(self.body)]
        return [self.body.decode("utf-8")]


def call(base, request):
    parts = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=90)
    headers = dict(request.get("headers") or {})
    body = None
    if "lines" in request:
        body = "".join(json.dumps(line) + "\n" for line in request["lines"]).encode()
        headers.setdefault("Content-Type", "application/x-ndjson")
    elif "body" in request:
        body = json.dumps(request["body"]).encode()
    elif "raw" in request:
        body = request["raw"].encode("utf-8", "surrogateescape")
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    if KEY:
        headers.setdefault("Authorization", f"Bearer {KEY}")
    headers = {name: value for name, value in headers.items() if value is not None}
    try:
        connection.request(request.get("method", "GET"), request["path"], body, headers)
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


def run_step(base, step, names):
    """A call before or after the example; `bind` keeps parts of its answer."""
    deadline = time.monotonic() + UNTIL_SECONDS
    while True:
        answer = call(base, fill(step, names))
        if answer.status >= 400 and "status" not in step:
            raise Mismatch(f"{step['path']}: {answer.status} {answer.body[:300]!r}")
        if answer.status != step.get("status", answer.status):
            raise Mismatch(f"{step['path']}: status {answer.status}, not {step['status']}")
        try:
            if "until" in step:
                match(fill(step["until"], names), answer.values()[0])
            break
        except Mismatch:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    for name, source in step.get("bind", {}).items():
        if source.startswith("header "):
            names[name] = answer.headers[source[len("header "):]]
        else:
            names[name] = answer.values()[0][source]


def check_answer(description, example, answer, names):
    expected = fill(example["response"], names)
    route, method = example.get("route"), example["request"]["method"]
    if answer.status != expected["status"]:
        raise Mismatch(f"status {answer.status}, not {expected['status']}: "
                       f"{answer.body[:300]!r}")
    match_headers(expected.get("headers"), answer.headers)
    description.check_headers(route, answer.status, answer.headers)
    values = answer.values()
    if method == "HEAD":
        if answer.body:
            raise Mismatch("a HEAD has a body")
        return
    description.check_response(route, answer.status, answer.content_type(), values)
    if "lines" in expected:
        match(expected["lines"], values)
    elif "body" in expected:
        match(expected["body"], values[0] if values else None)
    for fragment in expected.get("contains", []):
        if fragment not in answer.body.decode("utf-8", "replace"):
            raise Mismatch(f"{fragment!r} is not in {answer.body[:300]!r}")


def replay(description, example, base):
    names = {"run": secrets.token_hex(4)}
    try:
        for step in example.get("setup", []):
            run_step(base, step, names)
        answer = call(base, fill(example["request"], names))
        check_answer(description, example, answer, names)
    finally:
        for step in example.get("teardown", []):
            if bound(step, names):
                call(base, fill(step, names))


# ---- without a server ----


def check(description, example):
    """The example's answer, with samples in place of matchers, follows the description."""
    names = {"run": "0"}
    for step in example.get("setup", []):
        for name, source in step.get("bind", {}).items():
            names[name] = MATCHERS["<uuid>" if source == "id" else "<string>"][1]
    expected = fill(example["response"], names)
    description.response(example.get("route"), expected["status"])
    description.check_request(fill(example, names))
    if example["request"]["method"] == "HEAD":
        return
    problem = expected["status"] >= 400
    kind = "application/problem+json" if problem else "application/json"
    if "lines" in expected:
        lines = [sample(line) for line in expected["lines"] if not elided(line)]
        description.check_response(example["route"], expected["status"],
                                   "application/x-ndjson", lines)
    elif "body" in expected and (problem or not elided(expected["body"])):
        description.check_response(example.get("route"), expected["status"], kind,
                                   [sample(expected["body"])])


# ---- all together ----


def load_examples():
    for path in sorted((OPENAPI / "examples").glob("*.yaml")):
        example = load_yaml(path)
        example["file"] = path.name
        example["request"].setdefault(
            "method", (example.get("route") or "GET ").split()[0])
        yield example


def main():
    global KEY
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    base = None if sys.argv[1] == "--check" else sys.argv[1]
    KEY = sys.argv[2] if len(sys.argv) == 3 else None
    description = Description(OPENAPI / "poold.yaml")
    examples = list(load_examples())
    cases = []
    for example in examples:
        if base and bool(KEY) != example.get("keys", False):
            continue
        run = replay if base else check
        arguments = (description, example) + ((base,) if base else ())
        cases.append((example["file"], run, arguments))
    routes = {example.get("route") for example in examples}
    for route in description.operations if not KEY else []:
        cases.append((f"an example of {route}", require, (route in routes,)))
    for slug in description.slugs() if base and not KEY else []:
        cases.append((f"/problems/{slug}", explained, (base, slug)))
    if not base:
        jsonschema.Draft202012Validator.check_schema(
            {"$defs": description.document["components"]["schemas"]})

    failed = 0
    for name, run, arguments in cases:
        try:
            run(*arguments)
        except (Mismatch, OSError, http.client.HTTPException, ValueError, LookupError) as error:
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def require(there):
    if not there:
        raise Mismatch("there is none")


def explained(base, slug):
    answer = call(base, {"path": f"/problems/{slug}"})
    if answer.status != 200 or answer.values()[0].get("type") != f"/problems/{slug}":
        raise Mismatch(f"{answer.status} {answer.body[:300]!r}")


if __name__ == "__main__":
    main()
