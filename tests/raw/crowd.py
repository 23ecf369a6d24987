#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What takes many requests to see: at the same time, up to a limit, or against the clock."""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

import wire
from wire import exchange, get, post

JOB = '{"task":"square","args":[3]}'
SLEEP = ('{"task":"sleep","args":[600],"durability":"memory",'
         '"on_disconnect":"cancel"}')
TIMES = 150  # requests of each kind against the clock


def same_key(suite, server):
    """All are sent before the first answer is read."""
    data = post("/v1/apply_async", JOB, "Idempotency-Key: once")
    connections = [server.connect() for _ in range(50)]
    barrier, answers = threading.Barrier(len(connections)), []

    def ask(connection):
        barrier.wait(wire.PATIENCE)
        connection.sendall(data)
        answers.append(connection.recv(65536))

    threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.PATIENCE)
    for connection in connections:
        connection.close()
    ids = {found[1] for found in (re.search(rb'"id":"([0-9a-f-]{36})"', text) for text in answers)
           if found}
    statuses = {text[9:12] for text in answers}
    suite.report(len(answers) == 50 and statuses <= {b"202", b"409"} and len(ids) == 1,
                 "row 87: one Idempotency-Key 50 times at once names one job", (statuses, ids))
    answer = exchange(server, get("/v1/jobs?limit=100"), enough=1)
    suite.report(len(json.loads(answer.data.split(b"\r\n\r\n", 1)[1])["jobs"]) == 1,
                 "row 87: and makes one", answer)


def waiters(suite):
    """Three may wait: one less, as many, and one more, which is told so at once."""
    server = wire.Server("--max-waiters", "3")
    waiting = []
    for count in range(1, 5):
        connection = server.connect()
        connection.sendall(post("/v1/apply", SLEEP))
        waiting.append(connection)
        if count <= 3:
            suite.report(not wire.readable(connection, 0.5),
                         f"limit max_waiters: number {count} of 3 waits")
            continue
        text = connection.recv(65536) if wire.readable(connection, wire.STALL) else b""
        suite.report(text[9:12] in (b"202", b"503"), "row 95: one more does not wait", text)
    answer = exchange(server, get("/v1/events"), enough=1)
    suite.report(answer.slug() == "too-many-waiters" and answer.has_header("Retry-After"),
                 "limit max_waiters: what can only wait is refused", answer)
    waiting[0].close()
    deadline = time.monotonic() + wire.PATIENCE
    while time.monotonic() < deadline:
        with server.connect() as connection:
            connection.sendall(get("/v1/events"))
            if connection.recv(65536)[9:12] == b"200":
                break
        time.sleep(0.1)
    suite.report(time.monotonic() < deadline, "limit max_waiters: the place of one that left is free")
    for connection in waiting[1:]:
        connection.close()
    return server


def queue(suite):
    server = wire.Server("--max-queued-jobs", "3")
    for count in range(1, 5):
        answer = exchange(server, post("/v1/apply_async", SLEEP), enough=1)
        good = answer.status == 202 if count <= 3 else (
            answer.slug() == "queue-full" and answer.has_header("Retry-After"))
        suite.report(good, f"row 94: limit max_queued_jobs: number {count} of 3", answer)
    answer = exchange(server, get("/v1/jobs"), enough=1)
    suite.report(answer.data.count(b'"task":"sleep"') == 3, "row 94: nothing was made of the last",
                 answer)
    return server


def new_key(folder, name="one", scopes="read,admin"):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("POOLD_")}
    made = subprocess.run([os.environ["POOLD_BIN"], "key", "new", "--data", folder, "--name", name,
                           "--scopes", scopes], env=environment, check=True, timeout=wire.PATIENCE,
                          capture_output=True, text=True)
    return made.stdout.strip()


def key_requests(suite):
    """Three requests of a key may be there at a time; those of another are not counted with them."""
    made = []

    def make_keys(folder):
        made.extend(new_key(folder, name, "submit,read,admin") for name in ("one", "two"))
        return made[1]

    server = wire.Server("--max-key-requests", "3", prepare=make_keys)
    mine, other = (f"Authorization: Bearer {key}" for key in made)
    waiting = []
    for count in range(1, 4):
        connection = server.connect()
        connection.sendall(post("/v1/apply", SLEEP, mine))
        waiting.append(connection)
        suite.report(not wire.readable(connection, 0.5),
                     f"limit max_key_requests: number {count} of 3 waits")
        answer = exchange(server, get("/v1/info", mine), enough=1)
        good = answer.status == 200 if count < 3 else (
            answer.status == 429 and answer.slug() == "too-many-requests" and
            answer.has_header("Retry-After"))
        suite.report(good, f"limit max_key_requests: number {count + 1} beside those", answer)
    answer = exchange(server, get("/v1/info", other), enough=1)
    suite.report(answer.status == 200, "limit max_key_requests: another key has its own", answer)
    # Keys that are read again are the same keys.
    answer = exchange(server, post("/v1/admin/keys", '{"name":"new","scopes":["read"]}', other),
                      enough=1)
    suite.report(answer.status == 201, "a third key is made", answer)
    answer = exchange(server, get("/v1/info", mine), enough=1)
    suite.report(answer.status == 429, "limit max_key_requests: a new key changes nothing", answer)
    waiting[0].close()
    deadline = time.monotonic() + wire.PATIENCE
    while answer.status != 200 and time.monotonic() < deadline:
        answer = exchange(server, get("/v1/info", mine), enough=1)
    suite.report(answer.status == 200, "limit max_key_requests: the place of one that left is free",
                 answer)
    for connection in waiting[1:]:
        connection.close()
    return server


def read_times(server, keys):
    """Seconds that each of the keys takes to be refused; in turns, so that all see the same."""
    took = {name: [] for name in keys}
    bodies = set()
    for _ in range(TIMES):
        for name, key in keys.items():
            with server.connect() as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                data = get("/v1/jobs", f"Authorization: Bearer {key}")
                began = time.perf_counter()
                connection.sendall(data)
                text = connection.recv(65536)
                took[name].append(time.perf_counter() - began)
                assert text[9:12] == b"401", text
                bodies.add(text.split(b"\r\n\r\n", 1)[1])
    return {name: statistics.median(times) for name, times in took.items()}, bodies


def wrong_keys(suite):
    made = []

    def make_key(folder):
        made.append(new_key(folder))
        return made[0]

    server = wire.Server(prepare=make_key)
    key = made[0]
    right = exchange(server, get("/v1/jobs", f"Authorization: Bearer {key}"), enough=1)
    suite.report(right.status == 200, "the key is good", right)
    # Another character in the id, which is in front, and in the secret, behind it.
    prefix, number, secret = key.split("_", 2)

    def other(text, at):
        return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]

    medians, bodies = read_times(server, {
        "an unknown id": f"{prefix}_{other(number, 0)}_{secret}",
        "a secret wrong in front": f"{prefix}_{number}_{other(secret, 0)}",
        "a secret wrong at its end": f"{prefix}_{number}_{other(secret, len(secret) - 1)}",
    })
    least, most = min(medians.values()), max(medians.values())
    # Noise of a busy machine is wide; a comparison that stops early is told by nothing narrower
    # than this, which is why it is constant in the code.
    suite.report(most <= 1.5 * least + 0.0005, "row 48: an unknown id takes as long as a wrong secret",
                 medians)
    suite.report(len(bodies) == 1, "row 48: and is told the same", bodies)
    return server


def main():
    server = wire.Server()
    suite = wire.Suite(server)
    same_key(suite, server)
    servers = [server, waiters(suite), queue(suite), key_requests(suite),
               wrong_keys(suite)]
    for each in servers:
        wrong = each.is_well()
        suite.report(not wrong, "the server is well", wrong)
    said = "".join(server.stop() for server in servers[:-1])
    suite.report(not said, "no sanitizer has said anything so far", said)
    suite.server = servers[-1]
    suite.done()


if __name__ == "__main__":
    sys.exit(main())
