# SPDX-License-Identifier: MIT
"""A client that feeds a job and reads its results on the same connection, step by step.

    feed = Feed(address, {"task": "square"})
    feed.send(1)
    feed.line()          # {"index": 0, "result": 1}, while the input is open
    feed.send(2, 3)
    feed.end()
    feed.rest()          # all other lines; the server has closed the connection then

Every wait has an end (PATIENCE), and nothing is waited for but what the server sends.
"""

import http.client
import json
import os
import signal
import socket
import sys

PATIENCE = int(os.environ.get("PATIENCE", "30")) + 60


class Feed:
    def __init__(self, address, job=None, path="/v1/imap", version="1.1", length=None,
                 headers=(), rcvbuf=None):
        host, port = address.rsplit(":", 1)
        self.chunked = length is None
        self.response = None
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.connect((host, int(port)))
        head = [f"POST {path} HTTP/{version}", f"Host: {address}",
                "Content-Type: application/x-ndjson", *headers,
                "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {length}"]
        self.socket.sendall("\r\n".join(head + ["", ""]).encode())
        if job is not None:
            self.send(job)

    def raw(self, text):
        """Text of the body, as it is."""
        data = text.encode()
        if self.chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.socket.sendall(data)

    def send(self, *values):
        self.raw("".join(json.dumps(value) + "\n" for value in values))

    def send_until_full(self, value, count=4096):
        """Until the server takes no more, although it is awake; gives the number of items sent."""
        text = (json.dumps(value) + "\n") * count
        data = memoryview(b"%x\r\n%s\r\n" % (len(text), text.encode()))
        sent = 0
        while True:
            rest = data
            while rest:
                taken = self.send_some(rest)
                if not taken:
                    return sent
                rest = rest[taken:]
            sent += count

    def send_some(self, data):
        """How many bytes were taken; 0 when none are for a second, and none once more when the
        server has answered somebody else meanwhile: it was no busy machine that kept it."""
        taken = 0
        for _ in range(2):
            self.socket.settimeout(1)
            try:
                taken = self.socket.send(data)
            except socket.timeout:
                assert get("%s:%d" % self.socket.getpeername()[:2], "/healthz")[0] == 200
            self.socket.settimeout(PATIENCE)
            if taken:
                break
        return taken

    def end(self):
        if self.chunked:
            self.socket.sendall(b"0\r\n\r\n")

    def answer(self):
        if not self.response:
            self.response = http.client.HTTPResponse(self.socket, method="POST")
            self.response.begin()
        return self.response

    def job(self):
        return self.answer().headers["Location"].rsplit("/", 1)[1]

    def line(self):
        answer = self.answer()
        assert answer.status == 200, (answer.status, answer.read())
        return json.loads(answer.readline())

    def rest(self):
        """The other lines, and that the server closes the connection."""
        answer = self.answer()
        assert answer.headers["Connection"] == "close"
        lines = [json.loads(line) for line in answer]
        assert self.socket.recv(1) == b"", "the connection is still open"
        return lines

    def problem(self):
        answer = self.answer()
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = json.loads(answer.read())
        assert problem["status"] == answer.status, problem
        return answer.status, problem["type"].rsplit("/", 1)[1], problem

    def close(self):
        if self.response:
            self.response.close()
        self.socket.close()


def get(address, path, method="GET", body=None):
    client = http.client.HTTPConnection(address, timeout=PATIENCE)
    client.request(method, path, None if body is None else json.dumps(body),
                   {"Content-Type": "application/json"} if body is not None else {})
    answer = client.getresponse()
    text = answer.read()
    client.close()
    return answer.status, text


def job_when(address, job, condition):
    """The job, once the condition holds; by long polls for its next change."""
    etag, known = "", None
    while True:
        client = http.client.HTTPConnection(address, timeout=PATIENCE)
        client.request("GET", f"/v1/jobs/{job}", headers={"Prefer": "wait=5", "If-None-Match": etag})
        answer = client.getresponse()
        text = answer.read()
        etag = answer.headers.get("ETag", etag)
        client.close()
        if answer.status == 200:
            known = json.loads(text)
        assert answer.status in (200, 304), (answer.status, text)
        if condition(known):
            return known


def worker_of(address, job):
    """The pid that runs an item of the job now."""
    workers = json.loads(get(address, "/v1/workers")[1])["workers"]
    return next(worker["pid"] for worker in workers if worker["alive"] and worker["job"] == job)


def over(job):
    return job["ready"]


def cancel(address, job):
    return get(address, f"/v1/jobs/{job}/cancel", "POST", {"terminate": True})[0]


def stored_lines(address, job, query=""):
    status, text = get(address, f"/v1/jobs/{job}/results{query}")
    assert status == 200, (status, text)
    return [json.loads(line) for line in text.splitlines()]


ADDRESS = sys.argv[1] if len(sys.argv) > 1 else ""
