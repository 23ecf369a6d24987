#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server under valgrind's memcheck, asked for a little of everything, and then stopped.

    tests/valgrind_server.py POOLD SHIM

SHIM is tests/valgrind_shim.c, built. Fails when an answer is wrong, when memcheck has found an
access that is invalid, a value that was not set or memory that is definitely lost, or when
descriptors are still open at the end. The processes that the server starts run without valgrind.
"""
import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 120  # seconds: valgrind is slow
ERROR = 99  # the exit code when it has found something


class Receiver(http.server.BaseHTTPRequestHandler):
    called = threading.Event()

    def do_POST(self):  # pylint: disable=invalid-name
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.called.set()

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Server:
    def __init__(self, poold, shim, folder, *flags):
        self.log = os.path.join(folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["valgrind", f"--error-exitcode={ERROR}", "--leak-check=full", "--track-fds=yes",
                 "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", poold, "serve",
                 "--listen", "127.0.0.1:0", "--data", os.path.join(folder, "data"), "--processes",
                 "2", *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "LD_PRELOAD": shim, "SHIM_PROGRAM": poold})
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"server ready listen=127\.0\.0\.1:(\d+)", self.said())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("not ready: " + self.said())
            time.sleep(0.05)
        self.port = int(found[1])

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def ask(self, wanted, method, path, body=None, **headers):
        """The answer's text; its status has to be the wanted one, or one of them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            raise RuntimeError(f"{method} {path}: {answer.status} in place of {wanted}: {text}")
        return text

    def stop(self):
        self.process.terminate()
        return self.process.wait(PATIENCE)


def expect(found, wanted, what):
    if found != wanted:
        raise RuntimeError(f"{what}: {found!r} in place of {wanted!r}")


def talk(server, receiver):
    def post(wanted, path, body, **headers):
        return json.loads(server.ask(wanted, "POST", path, body, **headers))

    for _ in range(20):
        expect(post(200, "/v1/apply", {"task": "square", "args": [7]})["result"], 49, "apply")
    expect(post(200, "/v1/map", {"task": "square", "items": list(range(5000))})["result"],
           [n * n for n in range(5000)], "map")
    post(422, "/v1/map", {"task": "safe_square", "items": [1, -2, 3]})
    jobs = post(202, "/v1/batch", [{"method": "apply_async", "task": "square", "args": [n]}
                                   for n in range(50)])["jobs"]
    post(200, "/v1/jobs/wait", {"ids": [job["id"] for job in jobs], "timeout": 60})
    for job in jobs[:5]:
        server.ask(200, "GET", f"/v1/jobs/{job['id']}/result")
    lines = server.ask(200, "POST", "/v1/imap", {"task": "square", "items": [1, 2, 3],
                                                 "window": 2}).splitlines()
    expect([json.loads(line).get("result") for line in lines], [1, 4, 9, None], "imap")
    sleeper = post(202, "/v1/apply_async", {"task": "sleep", "args": [600]})["id"]
    post((200, 202), f"/v1/jobs/{sleeper}/cancel", {"terminate": True})  # 200: it has not begun
    server.ask(409, "GET", f"/v1/jobs/{sleeper}/result?timeout=60")
    failed = post(202, "/v1/apply_async", {"task": "safe_square", "args": [-1]})["id"]
    server.ask(422, "GET", f"/v1/jobs/{failed}/result?timeout=60")
    server.ask(202, "POST", f"/v1/jobs/{failed}/retry")
    post(202, "/v1/apply_async", {"task": "square", "args": [3], "callback":
                                  f"http://127.0.0.1:{receiver.server_port}/done"})
    if not Receiver.called.wait(PATIENCE):
        raise RuntimeError("the callback did not come")
    post(201, "/v1/pools", {"name": "small", "processes": 1})
    expect(post(200, "/v1/apply", {"task": "square", "args": [8], "pool": "small"})["result"], 64,
           "apply in a pool")
    server.ask(204, "DELETE", "/v1/pools/small")
    for path in ("/healthz", "/metrics", "/v1/info", "/v1/jobs?limit=5", "/v1/tasks",
                 "/v1/workers", f"/v1/jobs/{failed}/attempts"):
        server.ask(200, "GET", path)
    server.ask(404, "GET", "/v1/nothing")
    post(422, "/v1/apply", {"task": "square", "nothing": 1})


def left_open(said):
    """How many descriptors the server has not closed, but for the three standard ones."""
    found = re.search(r"FILE DESCRIPTORS: (\d+) open \((\d+) std\) at exit", said)
    return int(found[1]) - int(found[2])


def main():
    poold, shim = map(os.path.abspath, sys.argv[1:])
    receiver = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="poold-valgrind-") as folder:
        server = Server(poold, shim, folder, "--callback-allow",
                        f"http://127.0.0.1:{receiver.server_port}")
        try:
            talk(server, receiver)
            code = server.stop()
        finally:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        said = server.said()
        if code or left_open(said):
            print(f"{said}exit code {code}, {left_open(said)} descriptors left open")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
