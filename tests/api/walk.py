#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tries every operation of openapi/poold.yaml with keys that are not for it.

    walk.py BASE_URL ADMIN_KEY

The server has to have the task sleep. Prints "ok N - ..." for each operation and key, and
exits with 1 if one gets more than it should. For each operation, by its `security`:

    no key, and keys of wrong forms     401, one text for all, and the connection is closed
    a key with all other scopes         403
    a key with the scope, another's job 404, and the job is as it was
    a key for another task              403 where jobs are made

An operation without `security` needs no key, and must say nothing of jobs, keys or tasks.
"""

import http.client
import json
import pathlib
import sys
import urllib.parse

import yaml

OPENAPI = pathlib.Path(__file__).resolve().parents[2] / "openapi" / "poold.yaml"
METHODS = ("get", "post", "patch", "delete")
SCOPES = ("submit", "read", "cancel")
SECRET_TAG = "of-the-owner"
# A request that would do something.
BODIES = {
    "/v1/apply": {"task": "TASK", "args": [1]},
    "/v1/apply_async": {"task": "TASK", "args": [1]},
    "/v1/batch": [{"method": "apply_async", "task": "TASK", "args": [1]}],
    "/v1/jobs/wait": {"ids": ["JOB"], "timeout": 0},
    "/v1/jobs/as_completed": {"ids": ["JOB"], "timeout": 0},
    "/v1/jobs/{id}/cancel": {"terminate": True},
    "/v1/pools": {"name": "walked", "processes": 1},
    "/v1/pools/{name}": {"processes": 2},
    "/v1/admin/keys": {"name": "walked", "scopes": ["admin"]},
}
SUBMITS = ("apply", "map", "starmap", "imap", "batch")


class Walk:
    def __init__(self, base, admin):
        parts = urllib.parse.urlsplit(base)
        self.address = (parts.hostname, parts.port)
        self.admin = admin
        self.count = self.failed = 0

    def call(self, method, path, key=None, body=None, header=None):
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        headers = {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if header is not None:
            headers["Authorization"] = header
        text = None
        if body is not None:
            text = json.dumps(body)
            headers["Content-Type"] = "application/json"
        connection.request(method.upper(), path, text, headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer, response.headers

    def check(self, good, what, got):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {what}")
        if not good:
            print(f"# got {got}")

    def new_key(self, name, scopes, tasks=()):
        status, answer, _ = self.call("POST", "/v1/admin/keys", self.admin,
                                      {"name": name, "scopes": scopes, "tasks": list(tasks)})
        assert status == 201, answer
        return json.loads(answer)["key"]

    def submit(self, key):
        body = {"task": "sleep", "args": [600], "tags": [SECRET_TAG]}
        status, answer, _ = self.call("POST", "/v1/apply_async", key, body)
        assert status == 202, answer
        return json.loads(answer)["id"]


def fill(value, task, job):
    text = json.dumps(value).replace("TASK", task).replace("JOB", job)
    return json.loads(text)


def body_of(path, task, job):
    if path in BODIES:
        return fill(BODIES[path], task, job)
    if path.startswith("/v1/") and path.split("/")[2].startswith(SUBMITS):
        items = [[1]] if "starmap" in path else [1]
        return {"task": task, "items": items}
    return None


def target(path, job):
    return path.replace("{id}", job).replace("{name}", "default").replace("{slug}", "not-found")


def walk_without_key(walk, method, path, body, job):
    wrong = {
        "no key": None,
        "an empty header": "",
        "Basic": "Basic cm9vdDpyb290",
        "Bearer without a key": "Bearer",
        "a key that is none": "Bearer poold_nonsense",
        "an unknown id": "Bearer " + walk.unknown,
        "a wrong secret": "Bearer " + walk.wrong,
    }
    bodies = set()
    for name, header in wrong.items():
        status, answer, headers = walk.call(method, target(path, job), body=body, header=header)
        bodies.add(answer)
        walk.check(status == 401 and "Bearer" in headers.get("WWW-Authenticate", "") and
                   headers.get("Connection") == "close",
                   f"row 47: {method.upper()} {path} with {name} is 401", (status, answer))
    walk.check(len(bodies) == 1, f"row 48: {method.upper()} {path} says the same to all of them",
               bodies)
    status, answer, _ = walk.call(method, target(path, job) + f"?key={walk.admin}", body=body)
    walk.check(status == 401, f"row 49: {method.upper()} {path} takes no key in its query",
               (status, answer))


def walk_with_key(walk, method, path, scope, body, job):
    where, route = target(path, job), f"{method.upper()} {path}"
    status, answer, _ = walk.call(method, where, walk.without[scope], body)
    walk.check(status == 403, f"row 51: {route} without the scope {scope} is 403",
               (status, answer))
    if scope == "admin":
        return
    if "/{id}" in path:
        status, answer, _ = walk.call(method, where, walk.other, body)
        walk.check(status == 404, f"row 53: {route} of another's job is 404", (status, answer))
    if path.split("/")[2].startswith(SUBMITS):
        status, answer, _ = walk.call(method, where, walk.for_other_task, body)
        walk.check(status == 403 and SECRET_TAG not in answer.decode(),
                   f"row 51: {route} of a task that the key is not for is 403",
                   (status, answer))
        body = body_of(path, "no_such_task", job)
        status, answer, _ = walk.call(method, where, walk.for_other_task, body)
        walk.check(status == 403, f"row 51: {route} does not tell which other tasks there are",
                   (status, answer))


def walk_lists(walk, job):
    """What has no id in its path shows nothing of others either."""
    for path in ("/v1/jobs", "/v1/jobs?limit=1000&state=running", f"/v1/jobs?tag={SECRET_TAG}"):
        status, answer, _ = walk.call("get", path, walk.other)
        walk.check(status == 200 and json.loads(answer)["jobs"] == [],
                   f"row 53: GET {path} shows no job of another", (status, answer))
    for path in ("/v1/jobs/wait", "/v1/jobs/as_completed"):
        status, answer, _ = walk.call("post", path, walk.other, {"ids": [job], "timeout": 0})
        walk.check(status == 422 and SECRET_TAG not in answer.decode(),
                   f"row 53: POST {path} knows no job of another", (status, answer))
    status, answer, _ = walk.call("get", "/v1/tasks", walk.for_other_task)
    walk.check([task["name"] for task in json.loads(answer)["tasks"]] == ["square"],
               "GET /v1/tasks shows the tasks that the key is for", answer)
    status, answer, _ = walk.call("get", "/v1/tasks/sleep", walk.for_other_task)
    walk.check(status == 404, "GET /v1/tasks/{name} knows no other", (status, answer))




def main():
    walk = Walk(sys.argv[1], sys.argv[2])
    document = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))
    owner = walk.new_key("owner", ["submit", "read", "cancel"])
    walk.other = walk.new_key("other", ["submit", "read", "cancel"])
    walk.for_other_task = walk.new_key("one-task", ["submit", "read"], ["square"])
    walk.without = {scope: walk.new_key(f"without-{scope}", [s for s in SCOPES if s != scope])
                    for scope in SCOPES}
    walk.without["admin"] = walk.other
    # Of a key that was rotated: a right id and a secret that is not right any more.
    status, answer, _ = walk.call("POST", "/v1/admin/keys", walk.admin,
                                  {"name": "turned", "scopes": ["read"]})
    turned = json.loads(answer)
    walk.wrong = turned["key"]
    walk.call("POST", f"/v1/admin/keys/{turned['id']}/rotate", walk.admin)
    # And of one that was revoked: an id that is not there.
    status, answer, _ = walk.call("POST", "/v1/admin/keys", walk.admin,
                                  {"name": "gone", "scopes": ["read"]})
    gone = json.loads(answer)
    walk.unknown = gone["key"]
    walk.call("DELETE", f"/v1/admin/keys/{gone['id']}", walk.admin)
    job = walk.submit(owner)

    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in METHODS:
                continue
            body = body_of(path, "sleep", job)
            if not operation["security"]:
                status, answer, _ = walk.call(method, target(path, job), body=body)
                walk.check(status == 200 and job not in answer.decode(),
                           f"{method.upper()} {path} needs no key", (status, answer[:200]))
                continue
            scope = operation["security"][0]["key"][0]
            walk_without_key(walk, method, path, body, job)
            walk_with_key(walk, method, path, scope, body, job)
    walk_lists(walk, job)
    status, answer, _ = walk.call("get", f"/v1/jobs/{job}", owner)
    walk.check(status == 200 and not json.loads(answer)["ready"],
               "the job of the owner is as it was", (status, answer))
    status, answer, _ = walk.call("get", "/v1/jobs", walk.admin)
    walk.check([entry["id"] for entry in json.loads(answer)["jobs"]] == [job],
               "nobody else has made a job, and an administrator sees the one there is", answer)
    status, answer, _ = walk.call("post", f"/v1/jobs/{job}/cancel", owner, {"terminate": True})
    walk.check(status in (200, 202), "its owner cancels it", (status, answer))
    print(f"1..{walk.count}")
    sys.exit(1 if walk.failed else 0)


if __name__ == "__main__":
    main()
