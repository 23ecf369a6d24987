# SPDX-License-Identifier: MIT
"""What a large map, a full database and many connections cost the others.

Takes turns of its own: both servers of a comparison run at the same time, and are measured one
after the other, round by round.
"""
import http.client
import multiprocessing
import os
import resource
import socket
import sqlite3
import time

from load import APPLY_BODY
from tools import check_apply, expect, peak_mib, request, serve, wrk

LARGE, SMALL = 10_000_000, 1_000_000
FINISHED = 1_000_000
IDLE, WAITING = 1000, 500

TARGETS = {
    "large_map": ("ratio", ">=", 1 / 1.15),
    "large_memory": ("value", "<", 3.0),
    "health_p99": ("value", "<", 20.0),
    "finished": ("ratio", ">=", 0.9),
    "connections": ("ratio", ">=", 0.9),
}


def map_seconds(port, count, before=lambda: None):
    body = '{"task":"square","items":[' + ",".join(map(str, range(count))) + "]}"
    before()
    status, data, seconds = request(port, "POST", "/v1/map", body, timeout=300)
    last = str((count - 1) ** 2).encode() + b"]}"
    if status != 200 or not data.endswith(last):
        raise RuntimeError(f"map answered {status}: …{data[-100:]!r}")
    return seconds, len(body) + len(data)


def ask_health(port, begin, over, answer):
    """A process of its own, as this one is busy with its bodies."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    latencies = []
    begin.wait()
    while not over.is_set():
        start = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        latencies.append(time.perf_counter() - start)
        time.sleep(0.002)
    answer.put(latencies)


def p99_ms(latencies):
    return sorted(latencies)[int(len(latencies) * 0.99)] * 1000


def measure_large(options, folder, record, rounds):
    poold, _ = serve(options, folder, "--processes", str(options.processes),
                     "--max-body-bytes", "268435456")
    try:
        for _ in range(rounds):
            record("small_map", map_seconds(poold.port, SMALL)[0])
            begin, over, answer = (multiprocessing.Event(), multiprocessing.Event(),
                                   multiprocessing.Queue())
            asking = multiprocessing.Process(target=ask_health,
                                             args=(poold.port, begin, over, answer))
            asking.start()
            seconds, size = map_seconds(poold.port, LARGE, begin.set)
            over.set()
            record("large_map", seconds)
            record("health_p99", p99_ms(answer.get()))
            asking.join()
        record("large_memory", peak_mib(poold.child.pid) / (size / 2**20))
    finally:
        poold.stop()


def fill(path):
    """Copies of one finished job, and the counts that the server keeps beside them."""
    with sqlite3.connect(path) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(job)")]
        values = ["key - i" if name == "key" else "randomblob(16)" if name == "id" else name
                  for name in names]
        db.execute(f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                       WHERE i < {FINISHED})
                       INSERT INTO job ({','.join(names)})
                       SELECT {','.join(values)} FROM (SELECT * FROM job LIMIT 1), n""")
        db.execute("UPDATE tally SET finished_jobs = (SELECT count(*) FROM job), "
                   "finished_bytes = (SELECT sum(kept_bytes) FROM job)")
    db.close()


def turns(record, ports, name, options, rounds):
    """Throughput of two servers, in turns."""
    for _ in range(rounds):
        for which, port in ports.items():
            load = wrk(port, "/v1/apply", APPLY_BODY, 16, options.seconds)
            record(f"{name}_{which}", load["requests"] / load["seconds"])
            record("errors", load["errors"])


def start(options, folder, name, *flags):
    return serve(options, folder, "--processes", str(options.processes), *flags, name=name)[0]


def measure_finished(options, folder, record, rounds):
    full = start(options, folder, "full")
    try:
        expect(202, *request(full.port, "POST", "/v1/apply_async", APPLY_BODY)[:2])
        check_apply(full.port, APPLY_BODY)
    finally:
        full.stop()
    fill(os.path.join(folder, "full", "poold.db"))
    full = start(options, folder, "full", "--max-finished-jobs", str(10 * FINISHED))
    empty = start(options, folder, "empty")
    try:
        turns(record, {"full": full.port, "empty": empty.port}, "finished", options, rounds)
    finally:
        full.stop()
        empty.stop()


def connect(port, text):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(text.encode())
    return sock


def measure_connections(options, folder, record, rounds):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    flags = ("--max-connections", "4096", "--max-waiters", "1024", "--idle-timeout", "600",
             "--max-wait", "600")
    crowded, quiet = (start(options, folder, name, *flags) for name in ("crowded", "quiet"))
    sockets = []
    try:
        for server in (crowded, quiet):  # the same in both: one worker sleeps
            job = expect(202, *request(server.port, "POST", "/v1/apply_async",
                                       '{"task":"sleep","args":[600],"pool":"default",'
                                       '"durability":"memory","delay":600}')[:2])["id"]
            if server is not crowded:
                continue
            for _ in range(IDLE):
                sockets.append(connect(server.port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                sockets[-1].recv(4096)
            for _ in range(WAITING):
                sockets.append(connect(server.port, f"GET /v1/jobs/{job}?timeout=600 HTTP/1.1\r\n"
                                       "Host: localhost\r\n\r\n"))
        turns(record, {"crowded": crowded.port, "quiet": quiet.port}, "connections", options,
              rounds)
    finally:
        for sock in sockets:
            sock.close()
        crowded.stop()
        quiet.stop()


def measure(options, folder, record):
    rounds = options.rounds
    measure_large(options, folder, record, min(rounds, 3))
    measure_finished(options, folder, record, rounds)
    measure_connections(options, folder, record, rounds)


def rows(median, options):
    small = median["small_map"] * LARGE / SMALL
    table = [("large_map", f"map of square over {LARGE:,} integers", median["large_map"] * 1000,
              "ms", small * 1000, f"{LARGE // SMALL} of {SMALL:,}", small / median["large_map"]),
             ("large_memory", "its peak memory of the server, of body and result",
              median["large_memory"], "times", None, "", None),
             ("health_p99", "p99 of GET /healthz meanwhile", median["health_p99"], "ms", None, "",
              None)]
    for key, what, name, reference in (
            ("finished", f"apply, 16 connections, {FINISHED:,} finished jobs kept", "full",
             "empty"),
            ("connections", f"apply, 16 connections, beside {IDLE:,} idle and {WAITING} waiting "
             "ones", "crowded", "quiet")):
        value, other = median[f"{key}_{name}"], median[f"{key}_{reference}"]
        table.append((key, what, value, "requests/s", other, "without", value / other))
    return table
