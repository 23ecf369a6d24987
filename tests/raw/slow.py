#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients that are slow, idle, or too many: over raw sockets."""

import os
import pathlib
import re
import resource
import socket
import sys
import time

import wire
from wire import exchange, get, post

JOB = '{"task":"square","args":[3]}'
SLEEP = '{"task":"sleep","args":[60],"durability":"memory"}'
HEADERS, BODY = 2, 3  # seconds that they may take
MARGIN = 4  # that a busy machine may take longer


def seconds_until_closed(connection, trickle=b"", first=b"", each=0.25):
    """Sends `first`, then a byte of trickle at a time, and gives when the server has closed."""
    began = time.monotonic()
    connection.sendall(first)
    at = 0
    while time.monotonic() - began < wire.PATIENCE:
        if wire.readable(connection, each):
            try:
                if not connection.recv(65536):
                    return time.monotonic() - began
            except ConnectionResetError:
                return time.monotonic() - began
        elif at < len(trickle):
            try:
                connection.sendall(trickle[at:at + 1])
                at += 1
            except (BrokenPipeError, ConnectionResetError):
                return time.monotonic() - began
    return None


def is_between(suite, what, took, least):
    suite.report(took is not None and least - 0.5 <= took <= least + 2 + MARGIN, what,
                 f"closed after {took}")


def slow_clients():
    server = wire.Server("--header-timeout", str(HEADERS), "--body-timeout", str(BODY),
                         "--idle-timeout", "1")
    suite = wire.Suite(server)
    with server.connect() as connection:
        is_between(suite, "row 42: who connects and sends nothing is closed",
                   seconds_until_closed(connection), 1)
    with server.connect() as connection:
        is_between(suite, "row 41: headers, a byte at a time, end at header_timeout",
                   seconds_until_closed(connection, get("/healthz", "X: " + "a" * 500)), HEADERS)
    head = post("/v1/apply", b"", length="1000")
    with server.connect() as connection:
        is_between(suite, "row 41: a body, a byte at a time, ends at body_timeout",
                   seconds_until_closed(connection, b" " * 1000, head), BODY)
    feed = post("/v1/imap", b"", content_type="application/x-ndjson", length="1000")
    with server.connect() as connection:
        is_between(suite, "row 41: so does the first line of items that are fed",
                   seconds_until_closed(connection, b" " * 1000, feed), BODY)
    with server.connect() as connection:
        connection.sendall(get("/healthz"))
        connection.recv(65536)
        is_between(suite, "row 41: the next headers end behind idle_timeout and header_timeout",
                   seconds_until_closed(connection, get("/healthz", "X: " + "a" * 500)), HEADERS)
    wrong = server.is_well()
    suite.report(not wrong, "the server is well behind them", wrong)
    return suite


def flood(suite, server, count, what, first=b""):
    """So many connections that want nothing, and what health takes meanwhile."""
    connections, refused, slowest = [], 0, 0.0
    for i in range(count):
        try:
            connection = server.connect()
            connection.sendall(first)
            connections.append(connection)
        except OSError:
            refused += 1
        if i % 100 == 99:
            took = server.health()
            slowest = max(slowest, took if took is not None else wire.PATIENCE)
    print(f"# {what}: {len(connections)} connections, health took at most {slowest:.3f} s")
    suite.report(refused == 0 and slowest < wire.STALL, what, f"{refused} refused, {slowest} s")
    answer = exchange(server, post("/v1/apply", JOB), enough=1)
    suite.report(answer.status == 200, f"and jobs run: {what}", answer)
    for connection in connections:
        connection.close()


def many_clients(suite):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = 10000 if hard > 11000 else hard - 500
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = wire.Server("--max-connections", "600")
    suite.server = server
    flood(suite, server, 500, "F50: 500 clients that send their headers slowly", b"GET /")
    flood(suite, server, many, f"F51: {many} idle connections")
    wrong = server.is_well()
    suite.report(not wrong, "the server is well behind them", wrong)
    return server


def busy_clients(suite):
    """Connections that are all at work: three, so one less, as many, and one more."""
    server = wire.Server("--max-connections", "3")
    waiting = []
    for count in range(1, 5):
        connection = server.connect()
        connection.sendall(post("/v1/apply", SLEEP))
        waiting.append(connection)
        answered = wire.readable(connection, 1 if count <= 3 else wire.PATIENCE)
        text = connection.recv(65536) if answered else b""
        suite.report(answered == (count > 3) and (count <= 3 or b"too-many-connections" in text),
                     f"limit max_connections: number {count} of 3 that are at work", text)
    answer = exchange(server, get("/healthz", close=True))
    suite.report(answer.status == 200, "health is answered when all connections are at work", answer)
    for connection in waiting:
        connection.close()
    return server


def until_status(server, request, status):
    """The answer to it, asked again until it is this one: a connection that was opened or closed
    just now is not yet known to the server."""
    deadline = time.monotonic() + wire.PATIENCE
    while True:
        answer = exchange(server, request, enough=1)
        if answer.status == status or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


def large_bodies(suite):
    """A body of 900 bytes that does not come to its end, and others beside it."""
    server = wire.Server("--max-body-bytes", "1000", "--max-bodies-bytes", "1000")
    with server.connect() as connection:
        connection.sendall(post("/v1/apply", b"x" * 10, length="900"))
        until_status(server, post("/v1/apply", JOB + " " * (101 - len(JOB))), 503)
        for size, status in ((99, 200), (100, 200), (101, 503)):
            body = JOB + " " * (size - len(JOB))
            answer = exchange(server, post("/v1/apply", body), enough=1)
            suite.report(answer.status == status and (status == 200 or answer.slug() == "too-many-bodies"),
                         f"limit max_bodies_bytes: {size} bytes beside 900 of 1000", answer)
        body = b"65\r\n" + JOB.encode() + b" " * (101 - len(JOB)) + b"\r\n0\r\n\r\n"
        answer = exchange(server, get("/v1/apply", "Content-Type: application/json",
                                      "Transfer-Encoding: chunked", method="POST") + body)
        suite.report(answer.status == 503 and answer.slug() == "too-many-bodies",
                     "limit max_bodies_bytes: a body that does not say its length", answer)
    answer = until_status(server, post("/v1/apply", JOB + " " * 900), 200)
    suite.report(answer.status == 200, "limit max_bodies_bytes: the room comes back", answer)
    return server


LARGE = 8_000_000  # bytes of a result: more than the kernel takes for a client that reads none
ANSWER = 2  # seconds for 64 KiB of it


def ask_slowly(server, job):
    """A connection with little room for what comes, and the request for the result sent."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(wire.PATIENCE)
    connection.connect(server.address)
    connection.sendall(get(f"/v1/jobs/{job}/result", close=True))
    return connection


def read_on(connection, size, pause):
    """Reads so much, each time that so long has passed; gives how many bytes came."""
    came = 0
    while True:
        try:
            piece = connection.recv(size)
        except ConnectionResetError:
            return came
        came += len(piece)
        if not piece:
            return came
        time.sleep(pause)


def memory_of(server):
    """Bytes in use; None under AddressSanitizer, which keeps what was freed."""
    if b"__asan_init" in pathlib.Path(os.environ["POOLD_BIN"]).read_bytes():
        return None
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def until_over(server, connections, count):
    """Whether so many requests for results end; meanwhile the first client reads byte by byte."""
    deadline = time.monotonic() + wire.PATIENCE
    while server.said().count(" route=/v1/jobs/{id}/result ") < count:
        if time.monotonic() > deadline:
            return False
        try:
            connections[0].recv(1)
        except OSError:
            pass
        time.sleep(0.1)
    return True


def slow_readers(suite):
    """Clients that take an answer slowly, or not at all."""
    server = wire.Server("--answer-timeout", str(ANSWER), "--idle-timeout", "600",
                         "--header-timeout", "600", "--access-log", "all")
    text = '{"task":"echo","args":["%s"],"durability":"durable"}' % ("x" * LARGE)
    answer = exchange(server, post("/v1/apply_async", text), enough=1)
    job = re.search(rb'"id":"([0-9a-f-]{36})"', answer.data)[1].decode()
    answer = exchange(server, get(f"/v1/jobs/{job}?timeout=30"), enough=1)
    suite.report(b'"succeeded"' in answer.data, "there is a large result", answer)
    used = []
    for count in (1, 2):
        connections = [ask_slowly(server, job) for _ in range(8)]
        suite.report(until_over(server, connections, 8 * count),
                     "F50: limit answer_timeout: who reads nothing, or a byte at a time, is closed",
                     server.said()[-1000:])
        came = [read_on(connection, 1 << 20, 0) for connection in connections]
        suite.report(max(came) < LARGE, "F50: and has not got all of it", came)
        used.append(memory_of(server))
    # The C library need not give it back to the system, but has it for what comes next.
    suite.report(not used[0] or used[1] < used[0] + 4 * LARGE,
                 "F50: the memory of such answers is used for the next ones", used)
    # The kernel holds some of it, and the rest takes longer than the limit.
    with ask_slowly(server, job) as connection:
        began = time.monotonic()
        came = read_on(connection, 65536, 0.02)
        took = time.monotonic() - began
    suite.report(came > LARGE and took > ANSWER,
                 "limit answer_timeout: who reads on gets all of it, however long that takes",
                 (came, took))
    wrong = server.is_well()
    suite.report(not wrong, "the server is well behind them", wrong)
    return server


def main():
    suite = slow_clients()
    servers = [suite.server, many_clients(suite), busy_clients(suite), large_bodies(suite),
               slow_readers(suite)]
    said = "".join(server.stop() for server in servers[:-1])
    suite.report(not said, "no sanitizer has said anything so far", said)
    suite.server = servers[-1]
    suite.done()


if __name__ == "__main__":
    sys.exit(main())
