#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs-html.py IN.yaml OUT.html [PROBLEM.c]: the API's description as one page to read.

The page needs nothing but itself: no script, no font, no image, and its style, docs.css, is
inside. The third argument, server/problem.c, adds what its table says of each problem.

Everything that comes from the description is escaped where it is put into markup: functions
that return markup are called `..._html` or `add_...`, all other text goes through esc().
"""

import html
import json
import pathlib
import re
import sys

import yaml

METHODS = ("get", "put", "post", "delete", "patch")
# Path parameters whose schema has no example of its own.
PATH_EXAMPLES = {"/v1/pools/{name}": "default", "/v1/tasks/{name}": "square",
                 "/problems/{slug}": "unknown-task"}
QUERY_EXAMPLES = {"list_jobs": "state=failed&limit=10", "get_job": "timeout=10",
                  "get_result": "timeout=10", "get_results": "follow=true"}
EXAMPLE_WIDTH = 68
STYLE = pathlib.Path(__file__).with_name("docs.css")


class Loader(yaml.SafeLoader):
    """SafeLoader that leaves timestamps as they are written."""


Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_yaml_str)


def esc(text):
    return html.escape(str(text), quote=True)


def pre_html(markup):
    """A block of code; it can be scrolled sideways, so the keyboard has to reach it."""
    return f'<pre tabindex="0"><code>{markup}</code></pre>'


def amount(number):
    return f"{number:,}" if isinstance(number, int) else str(number)


def anchor(text):
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", str(text)).strip("-")


# ---- Markdown: as much of it as descriptions need --------------------------------------

class Markdown:
    """Headings, paragraphs, lists, fenced code; code, strong, emphasis and links in them."""

    def __init__(self, targets):
        self.targets = targets  # code text -> fragment of this page

    def code_html(self, text):
        shown = f"<code>{esc(text)}</code>"
        target = self.targets.get(text)
        return f'<a href="#{esc(target)}">{shown}</a>' if target else shown

    def link_html(self, label, url):
        if not re.match(r"(https?://|/(?!/)|#)", url):
            return esc(f"[{label}]({url})")
        return f'<a href="{esc(url)}">{self.inline_html(label)}</a>'

    def inline_html(self, text):
        out = []
        pattern = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\*([^*\s](?:[^*]*[^*\s])?)\*"
                             r"|\[([^\]]+)\]\(([^)\s]+)\)|\bRFC (\d{3,5})\b")
        at = 0
        for found in pattern.finditer(text):
            out.append(esc(text[at:found.start()]))
            code, strong, emphasis, label, url, rfc = found.groups()
            if code:
                out.append(self.code_html(code))
            elif strong:
                out.append(f"<strong>{self.inline_html(strong)}</strong>")
            elif emphasis:
                out.append(f"<em>{self.inline_html(emphasis)}</em>")
            elif label:
                out.append(self.link_html(label, url))
            else:
                out.append(f'<a href="https://www.rfc-editor.org/rfc/rfc{rfc}">'
                           f"RFC&nbsp;{rfc}</a>")
            at = found.end()
        out.append(esc(text[at:]))
        return "".join(out)

    def block_html(self, block, level):
        lines = block.split("\n")
        if lines[0].startswith("```"):
            return pre_html(esc("\n".join(lines[1:-1])))
        heading = re.match(r"(#{1,6}) +(.*)", lines[0])
        if heading:
            depth = min(6, level + len(heading.group(1)) - 1)
            rest = "\n".join(lines[1:]).strip()
            title = (f'<h{depth} id="{esc(anchor(heading.group(2).lower()))}">'
                     f"{self.inline_html(heading.group(2))}</h{depth}>")
            return title + (self.block_html(rest, level) if rest else "")
        if re.match(r"[-*] ", lines[0]):
            items = re.split(r"\n[-*] ", "\n" + block)[1:]
            return "<ul>" + "".join(f"<li>{self.inline_html(i)}</li>" for i in items) + "</ul>"
        return f"<p>{self.inline_html(block)}</p>"

    def html(self, text, level=2):
        blocks = re.findall(r"```.*?```|(?:(?!\n[ \t]*\n|```).)+", text.strip(), re.S)
        return "\n".join(self.block_html(b.strip("\n"), level) for b in blocks if b.strip())


# ---- JSON ------------------------------------------------------------------------------

def pretty(value, indent=0):
    """JSON text in which whatever fits on a line stays on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, (dict, list)) or len(flat) + indent <= EXAMPLE_WIDTH:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {pretty(v, indent + 2)}"
                 for k, v in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    parts = [pad + pretty(v, indent + 2) for v in value]
    return "[\n" + ",\n".join(parts) + "\n" + " " * indent + "]"


def json_html(value):
    """The same, with its strings, names and literals marked."""
    def mark(found):
        name, string, literal = found.groups()
        if name:
            return f'<span class="k">{esc(name)}</span>'
        if string:
            return f'<span class="s">{esc(string)}</span>'
        return f'<span class="n">{esc(literal)}</span>'

    pattern = r'("(?:[^"\\]|\\.)*")(?=\s*:)|("(?:[^"\\]|\\.)*")|(-?\d[\d.eE+-]*|true|false|null)'
    text, out, at = pretty(value), [], 0
    for found in re.finditer(pattern, text):
        out += [esc(text[at:found.start()]), mark(found)]
        at = found.end()
    return "".join(out) + esc(text[at:])


# ---- the description -------------------------------------------------------------------

def ref_name(schema):
    return schema["$ref"].rsplit("/", 1)[1] if "$ref" in schema else None


class Description:
    """The document, with references resolved on demand."""

    def __init__(self, document, explanations):
        self.document = document
        self.explanations = explanations
        self.schemas = document.get("components", {}).get("schemas", {})
        self.operations = list(self.find_operations())
        self.problems = self.find_problems()
        targets = {name: f"schema-{name}" for name in self.schemas}
        targets.update({slug: f"problem-{slug}" for slug in self.problems})
        self.markdown = Markdown(targets)

    def resolve(self, node):
        """Follows a reference; members beside it win over those that it leads to."""
        seen = 0
        while "$ref" in node:
            beside = {k: v for k, v in node.items() if k != "$ref"}
            target = self.document
            for key in node["$ref"].removeprefix("#/").split("/"):
                target = target[key.replace("~1", "/").replace("~0", "~")]
            node = {**target, **beside}
            seen += 1
            if seen > 20:
                raise ValueError(f"references go in circles: {node['$ref']}")
        return node

    def merge(self, schema):
        """A schema with what its allOf says folded in."""
        schema = self.resolve(schema)
        if "allOf" not in schema:
            return schema
        merged = {"properties": {}, "required": []}
        own = {k: v for k, v in schema.items() if k not in ("allOf", "examples")}
        for part in [*schema["allOf"], own]:
            part = part if part is own else self.merge(part)
            for name, member in part.get("properties", {}).items():
                before = merged["properties"].get(name, {})
                merged["properties"][name] = {**before, **member}
            merged["required"] += [n for n in part.get("required", [])
                                   if n not in merged["required"]]
            merged.update({k: v for k, v in part.items()
                           if k not in ("properties", "required", "examples", "description")})
        merged["description"] = schema.get("description", "")
        # What is special comes before what is general.
        order = [name for part in [own, *map(self.merge, reversed(schema["allOf"]))]
                 for name in part.get("properties", {})]
        merged["properties"] = {name: merged["properties"][name] for name in order}
        return merged

    def find_operations(self):
        for path, item in self.document.get("paths", {}).items():
            for method in METHODS:
                if method in item:
                    parameters = item.get("parameters", []) + item[method].get("parameters", [])
                    yield path, method, item[method], [self.resolve(p) for p in parameters]

    def slugs_of(self, node):
        """The problems that a schema names as its `type`."""
        node = self.resolve(node) if isinstance(node, dict) else node
        found = []
        if isinstance(node, dict):
            kind = node.get("properties", {}).get("type", {})
            for name in [kind.get("const"), *kind.get("enum", [])]:
                if isinstance(name, str) and name.startswith("/problems/"):
                    found.append(name.removeprefix("/problems/"))
            for key in ("allOf", "anyOf", "oneOf"):
                for part in node.get(key, []):
                    found += self.slugs_of(part)
        return list(dict.fromkeys(found))

    def find_problems(self):
        """slug -> [status, {operation: its id}], in the order of the statuses."""
        problems = {}
        for path, method, operation, _ in self.operations:
            for status, response in operation.get("responses", {}).items():
                response = self.resolve(response)
                told = dict((slug, code) for code, slugs in
                            re.findall(r"\b([45]\d\d)\b((?:(?!\b[45]\d\d\b).)*)",
                                       response.get("description", ""), re.S)
                            for slug in re.findall(r"`([a-z-]+)`", slugs))
                for media in response.get("content", {}).values():
                    for slug in self.slugs_of(media.get("schema", {})):
                        problem = problems.setdefault(slug, ["", {}])
                        if str(status).isdigit():
                            problem[0] = str(status)
                            problem[1][f"{method} {path}"] = op_anchor(operation, method, path)
                        else:
                            problem[0] = problem[0] or told.get(slug, "")
                            problem[1]["any"] = None
        return dict(sorted(problems.items(), key=lambda p: (p[1][0], p[0])))


def op_anchor(operation, method, path):
    return "op-" + anchor(operation.get("operationId", f"{method}-{path}"))


def read_explanations(path):
    """slug -> (status, title, explanation) from the table in problem.c."""
    with open(path, encoding="utf-8") as source:
        text = source.read()
    strings = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
    rows = re.findall(r'\{\s*"([a-z-]+)",\s*(\d{3}),\s*' + strings + r",\s*" + strings + r"\}",
                      text)

    def joined(literals):
        return "".join(json.loads(s) for s in re.findall(r'"(?:[^"\\]|\\.)*"', literals))
    return {slug: (status, joined(title), joined(why)) for slug, status, title, why in rows}


# ---- the page --------------------------------------------------------------------------

class Page:
    def __init__(self, description, style):
        self.d = description
        self.style = style
        self.out = []

    def add(self, *markup):
        self.out.extend(markup)

    def prose(self, text, level=4):
        return self.d.markdown.html(text, level) if text else ""

    def inline(self, text):
        return self.d.markdown.inline_html(text)

    # -- schemas --

    def schema_link(self, name):
        return f'<a href="#schema-{esc(name)}">{esc(name)}</a>'

    def type_html(self, schema):
        name = ref_name(schema)
        if name:
            return self.schema_link(name)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return " or ".join(self.type_html(part) for part in schema[key])
        if "const" in schema:
            return f"<code>{esc(json.dumps(schema['const']))}</code>"
        if "enum" in schema:
            return " ".join(f"<code>{esc(value)}</code>" for value in schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "any JSON")
        if kind == "array" and "items" in schema:
            return "array of " + self.type_html(schema["items"])
        return esc(" or ".join(kind) if isinstance(kind, list) else kind)

    def limits_html(self, schema):
        if "$ref" in schema:
            return ""  # told where the schema is
        inner = self.limits_html(schema["items"]) if "items" in schema else ""
        words = []
        for least, most, unit in (("minimum", "maximum", ""),
                                  ("minLength", "maxLength", " characters"),
                                  ("minItems", "maxItems", " items")):
            if least in schema and most in schema:
                words.append(f"{amount(schema[least])} to {amount(schema[most])}{unit}")
            elif least in schema:
                words.append(f"at least {amount(schema[least])}{unit}")
            elif most in schema:
                above = f"more than {amount(schema['exclusiveMinimum'])}, " \
                    if "exclusiveMinimum" in schema and not unit else ""
                words.append(f"{above}at most {amount(schema[most])}{unit}")
        if "format" in schema:
            words.append(schema["format"])
        shown = esc(", ".join(words))
        if "pattern" in schema:
            shown += (", " if shown else "") + f"<code>{esc(schema['pattern'])}</code>"
        return "; each ".join(part for part in (shown, inner) if part)

    def member_rows(self, schema, prefix=""):
        """(name, required, member) of an object, the members of nested ones behind it."""
        required = schema.get("required", [])
        members = schema.get("properties", {}).items()
        for name, member in sorted(members, key=lambda m: m[0] not in required):
            yield prefix + name, name in required, member
            inner, mark = member, "."
            if member.get("type") == "array" and "$ref" not in member.get("items", {"$ref": 0}):
                inner, mark = member["items"], "[]."
            if "$ref" not in inner and "properties" in inner:
                yield from self.member_rows(inner, prefix + name + mark)

    def row_html(self, name, required, schema, description, where=""):
        full = self.d.resolve(schema)
        notes = [self.limits_html(schema)]
        if "default" in full:
            notes.append(f"default <code>{esc(json.dumps(full['default']))}</code>")
        notes = "".join(f'<span class="note">{n}</span>' for n in notes if n)
        tags = (f'<span class="tag">{esc(where)}</span>' if where else "") + (
            '<span class="tag must">required</span>' if required else "")
        described = self.prose(description or full.get("description", ""))
        return (f'<tr role="row"><th role="rowheader" scope="row"><code>{esc(name)}</code>{tags}'
                f'</th><td role="cell" class="type">{self.type_html(schema)}{notes}</td>'
                f'<td role="cell">{described}</td></tr>')

    def table_html(self, rows, label):
        return (f'<table role="table" aria-label="{esc(label)}"><thead role="rowgroup">'
                '<tr role="row"><th role="columnheader" scope="col">Name</th>'
                '<th role="columnheader" scope="col">Type</th>'
                '<th role="columnheader" scope="col">Meaning</th></tr></thead>'
                '<tbody role="rowgroup">' + "\n".join(rows) + "</tbody></table>")

    def members_html(self, schema, label):
        rows = [self.row_html(name, required, member, member.get("description"))
                for name, required, member in self.member_rows(schema)]
        return self.table_html(rows, label) if rows else ""

    def schema_body_html(self, schema, label):
        """What a schema is, without its description."""
        merged = self.d.merge(schema)
        parts = [self.members_html(merged, label)]
        for key in ("oneOf", "anyOf"):
            for number, part in enumerate(merged.get(key, []), 1):
                table = self.members_html(self.d.merge(part), f"{label}, form {number}")
                parts.append(f'<p class="form">Form {number}</p>{table}' if table else "")
        if not any(parts):
            limits = self.limits_html(merged)
            parts.append(f'<p class="plain">{self.type_html(merged)}'
                         f'{" — " + limits if limits else ""}</p>')
        return "".join(parts)

    # -- operations --

    def example_path(self, path, parameters, operation):
        for parameter in parameters:
            if parameter["in"] == "path":
                schema = self.d.resolve(parameter.get("schema", {}))
                value = (schema.get("examples") or [PATH_EXAMPLES.get(path)])[0]
                if value is not None:
                    path = path.replace("{" + parameter["name"] + "}", str(value))
        query = QUERY_EXAMPLES.get(operation.get("operationId"), "")
        return path + ("?" + query if query else "")

    def curl(self, path, method, operation, parameters):
        servers = self.d.document.get("servers") or [{"url": "http://127.0.0.1:8080"}]
        url = servers[0]["url"] + self.example_path(path, parameters, operation)
        url = f"'{url}'" if re.search(r"[?&{]", url) else url
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is None:
            flag = "" if method == "get" else f" -X {method.upper()}"
            return f"curl -s{flag} {url}"
        body = pretty(media.get("example", {})).replace("'", "'\\''")
        return f"curl -s {url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"

    def add_parameters(self, parameters, operation):
        rows = [self.row_html(p["name"], p.get("required", False), p.get("schema", {}),
                              p.get("description"), p["in"]) for p in parameters]
        if rows:
            self.add("<h4>Parameters</h4>",
                     self.table_html(rows, f"Parameters of {operation.get('operationId')}"))

    def add_request_body(self, operation):
        body = operation.get("requestBody")
        if not body:
            return
        for kind, media in body.get("content", {}).items():
            schema = media.get("schema", {})
            name = ref_name(schema)
            must = "" if body.get("required") else ", may be left out"
            link = f" · {self.schema_link(name)}" if name else ""
            self.add(f'<details open><summary><h4>Body</h4> <span class="media">{esc(kind)}'
                     f"{esc(must)}{link}</span></summary>",
                     self.schema_body_html(schema, f"Body of {operation.get('operationId')}"),
                     "</details>")

    def content_html(self, kind, media):
        schema = media.get("schema", {})
        slugs = self.d.slugs_of(schema)
        resolved = self.d.resolve(schema)
        names = [ref_name(part) for part in
                 [schema, *resolved.get("anyOf", []), *resolved.get("allOf", [])]]
        links = " or ".join(self.schema_link(name) for name in names if name)
        out = [f'<p class="media">{esc(kind)}{" · " + links if links else ""}</p>']
        if slugs:
            out.append('<p class="slugs">' + " ".join(
                self.d.markdown.code_html(slug) for slug in slugs) + "</p>")
        examples = [media.get("example"), *(self.d.resolve(schema).get("examples") or [])]
        examples += [e for part in resolved.get("anyOf", [])
                     for e in self.d.resolve(part).get("examples", [])]
        example = next((e for e in examples if e is not None), None)
        if example is not None and not slugs:
            out.append(pre_html(json_html(example)))
        elif not links:
            out.append(self.schema_body_html(schema, "Answer"))
        return "".join(out)

    def add_responses(self, operation):
        self.add("<h4>Answers</h4>")
        for status, response in operation.get("responses", {}).items():
            response = self.d.resolve(response)
            status = str(status)
            family = status[0] if status.isdigit() else "x"
            shown = status if status.isdigit() else "any"
            described = response.get("description", "").strip()
            inner = []
            if shown == "any":  # the same everywhere, and long
                described, *rest = re.split(r"(?<=\.) ", described, maxsplit=1)
                inner += [self.prose(text) for text in rest]
            described = self.inline(described)
            inner += [self.content_html(k, m) for k, m in response.get("content", {}).items()]
            headers = [self.row_html(name, False, self.d.resolve(h).get("schema", {}),
                                     self.d.resolve(h).get("description"))
                       for name, h in response.get("headers", {}).items()]
            if headers:
                inner.append(self.table_html(headers, f"Headers of {shown}"))
            badge = f'<span class="status s{family}">{esc(shown)}</span>'
            text = f'<span class="says">{described}</span>'
            if inner:
                self.add(f'<details class="answer"><summary>{badge}{text}</summary><div>',
                         *inner, "</div></details>")
            else:
                self.add(f'<div class="answer">{badge}{text}</div>')

    def first_example_html(self, method, operation):
        """What the call in the example may answer, if the description shows it. The examples
        belong to schemas, so beside a request body they would answer another request."""
        if method != "get":
            return ""
        for status, response in operation.get("responses", {}).items():
            if not str(status).startswith("2"):
                continue
            for kind, media in self.d.resolve(response).get("content", {}).items():
                for example in self.d.resolve(media.get("schema", {})).get("examples", []):
                    return (f'<p class="label">Answer <span class="status s2">{esc(status)}'
                            f"</span></p>{pre_html(json_html(example))}")
        return ""

    def add_operation(self, path, method, operation, parameters):
        ident = op_anchor(operation, method, path)
        shown = re.sub(r"(\{[^}]*\})", r"<em>\1</em>", esc(path))
        told = self.prose(operation.get("description", ""))
        self.add(f'<section class="op" id="{esc(ident)}" aria-labelledby="{esc(ident)}-t">',
                 f'<h3 id="{esc(ident)}-t"><span class="method {method}">{method.upper()}</span> '
                 f'<a class="path" href="#{esc(ident)}">{shown}</a></h3>',
                 f'<p class="summary">{self.inline(operation.get("summary", ""))}</p>',
                 f'<div class="{"cols" if told else "wide"}">',
                 f'<div class="left">{told}</div>' if told else "",
                 '<div class="right"><p class="label">Example</p>',
                 pre_html(esc(self.curl(path, method, operation, parameters))),
                 self.first_example_html(method, operation), "</div></div>")
        self.add_parameters(parameters, operation)
        self.add_request_body(operation)
        self.add_responses(operation)
        self.add("</section>")

    def tags(self):
        """(tag, its operations), those without a tag last."""
        known = list(self.d.document.get("tags", []))
        names = [tag["name"] for tag in known]
        for _, _, operation, _ in self.d.operations:
            for name in operation.get("tags", ["other"])[:1]:
                if name not in names:
                    names.append(name)
                    known.append({"name": name})
        for tag in known:
            yield tag, [o for o in self.d.operations
                        if o[2].get("tags", ["other"])[0] == tag["name"]]

    # -- the whole --

    def add_nav(self):
        self.add('<nav aria-label="Contents"><details class="menu" open><summary>Contents'
                 '</summary><div><a class="group" href="#top">Overview</a>')
        for tag, operations in self.tags():
            self.add(f'<a class="group" href="#tag-{esc(anchor(tag["name"]))}">'
                     f"{esc(tag['name'])}</a><ul>")
            for path, method, operation, _ in operations:
                ident = op_anchor(operation, method, path)
                self.add(f'<li><a href="#{esc(ident)}"><span class="method {method}">'
                         f"{method.upper()}</span><span>{esc(path)}</span></a></li>")
            self.add("</ul>")
        self.add('<a class="group" href="#schemas">schemas</a><ul class="plain-list">')
        for name in self.d.schemas:
            self.add(f"<li>{self.schema_link(name)}</li>")
        self.add('</ul><a class="group" href="#problems">problems</a></div></details></nav>')

    def add_header(self):
        info = self.d.document.get("info", {})
        servers = self.d.document.get("servers") or [{"url": "/"}]
        license_name = info.get("license", {}).get("name", "")
        self.add('<header id="top">', f"<h1>{esc(info.get('title', ''))} "
                 f'<span class="version">{esc(info.get("version", ""))}</span></h1>',
                 f'<p class="lead">{self.inline(info.get("summary", ""))}</p>',
                 f'<p class="facts"><code>{esc(servers[0]["url"])}</code> '
                 '<a href="/openapi.yaml">OpenAPI, YAML</a> '
                 '<a href="/openapi.json">OpenAPI, JSON</a> '
                 f"<span>{esc(license_name)} licence</span></p></header>")

    def add_schemas(self):
        self.add('<section aria-labelledby="schemas"><h2 id="schemas">Schemas</h2>')
        for name, schema in self.d.schemas.items():
            ident = f"schema-{esc(name)}"
            self.add(f'<section class="schema" id="{ident}"><h3><a href="#{ident}">{esc(name)}'
                     "</a></h3>", self.prose(schema.get("description", "")),
                     self.schema_body_html(schema, name))
            for example in schema.get("examples", []):
                self.add("<details><summary>Example</summary>", pre_html(json_html(example)),
                         "</details>")
            self.add("</section>")
        self.add("</section>")

    def add_problems(self):
        self.add('<section aria-labelledby="problems"><h2 id="problems">Problems</h2>', self.prose(
            "What can go wrong, by the last part of the problem's `type`. `GET /problems/{slug}` "
            "answers with the same explanation."), '<div class="problems">')
        for slug, (status, where) in self.d.problems.items():
            told, title, why = self.d.explanations.get(slug, (status, "", ""))
            operations = ("any request" if "any" in where else ", ".join(
                f'<a href="#{esc(ident)}">{esc(name)}</a>' for name, ident in where.items()))
            family = (status or told or "x")[0]
            self.add(f'<section id="problem-{esc(slug)}"><h3><span class="status s{family}">'
                     f'{esc(status or told)}</span> <a href="/problems/{esc(slug)}">{esc(slug)}'
                     "</a></h3>")
            if title:
                self.add(f"<p><strong>{self.inline(title)}.</strong> {self.inline(why)}</p>")
            self.add('<details class="where"><summary>Where</summary>'
                     f"<p>{operations}</p></details></section>")
        self.add("</div></section>")

    def html(self):
        title = self.d.document.get("info", {}).get("title", "API")
        self.add('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
                 '<meta name="viewport" content="width=device-width, initial-scale=1">',
                 '<meta name="color-scheme" content="light dark">',
                 f"<title>{esc(title)} – API reference</title>",
                 f"<style>{self.style}</style></head><body>",
                 '<a class="skip" href="#main">Skip to the reference</a><div class="page">')
        self.add_header()
        self.add_nav()
        self.add('<main id="main">')
        self.add('<section class="intro">',
                 self.prose(self.d.document.get("info", {}).get("description", ""), 1),
                 "</section>")
        for tag, operations in self.tags():
            ident = f"tag-{esc(anchor(tag['name']))}"
            self.add(f'<section aria-labelledby="{ident}"><h2 id="{ident}">{esc(tag["name"])}'
                     "</h2>", self.prose(tag.get("description", "")))
            for operation in operations:
                self.add_operation(*operation)
            self.add("</section>")
        self.add_schemas()
        self.add_problems()
        self.add("</main></div></body></html>\n")
        return "\n".join(part for part in self.out if part)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as source:
        document = yaml.load(source, Loader)
    explanations = read_explanations(sys.argv[3]) if len(sys.argv) == 4 else {}
    with open(STYLE, encoding="utf-8") as source:
        style = source.read().split("*/", 1)[1]  # without its licence line
    page = Page(Description(document, explanations), style).html()
    with open(sys.argv[2], "w", encoding="utf-8") as target:
        target.write(page)


if __name__ == "__main__":
    main()
