# SPDX-License-Identifier: MIT
"""Durable jobs, until the last one has ended, beside what SQLite itself does with such rows."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import time

from load import APPLY_BODY, measure_cpython, measure_map
from tools import check_apply, expect, map_body, request, serve, syncs_per_second, wrk

BATCH_JOBS = 1000
BATCHES = 40
SQLITE_JOBS = 32_000

TARGETS = {
    "async_64": ("ratio", ">=", 0.5),
    "async_accepted": ("value", ">=", 20_000),
    "batch": ("ratio", ">=", 0.8),
    "batch_4": ("ratio", ">=", 0.8),
    "map_durable": ("ratio", ">=", 2.0),
}


def send_batches(port, clients):
    """Jobs a second to their end; each client sends its next batch when it has its answer."""
    batch = json.dumps([{"method": "apply_async", **json.loads(APPLY_BODY)}] * BATCH_JOBS)

    def send(_):
        for _ in range(BATCHES // clients):
            expect(202, *request(port, "POST", "/v1/batch", batch, prefer="return=minimal")[:2])

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, range(clients)))
    wait_until_over(port)
    return BATCHES * BATCH_JOBS / (time.perf_counter() - start)


def wait_until_over(port):
    while True:
        pool = expect(200, *request(port, "GET", "/v1/pools/default")[:2])
        if pool["queue_length"] == 0 and pool["busy"] == 0:
            return
        time.sleep(0.002)


def sqlite_rate(options, folder, per_commit):
    """On a copy of the database, which has jobs of the present schema to take as a pattern."""
    data = os.path.join(folder, "data")
    copy = os.path.join(folder, "copy")
    shutil.copytree(data, copy)
    done = subprocess.run([str(pathlib.Path(options.build) / "bench_sqlite_rate"),
                           os.path.join(copy, "poold.db"), str(SQLITE_JOBS), str(per_commit)],
                          capture_output=True, text=True, check=True, timeout=120)
    shutil.rmtree(copy)
    return float(done.stdout)


def measure(options, folder, record):
    flags = ("--processes", str(options.processes), "--max-queued-jobs", "1000000")
    record("syncs", syncs_per_second(folder))
    poold, _ = serve(options, folder, *flags)
    try:  # the pattern, and nothing else
        expect(202, *request(poold.port, "POST", "/v1/apply_async", APPLY_BODY)[:2])
        wait_until_over(poold.port)
    finally:
        poold.stop()
    record("sqlite_64", sqlite_rate(options, folder, 64))
    record("sqlite_1000", sqlite_rate(options, folder, BATCH_JOBS))
    poold, _ = serve(options, folder, *flags)
    try:
        check_apply(poold.port, APPLY_BODY)
        start = time.perf_counter()
        load = wrk(poold.port, "/v1/apply_async", APPLY_BODY, 64, options.seconds)
        wait_until_over(poold.port)
        # wrk's own start and end belong to no job.
        waited = time.perf_counter() - start - load["seconds"]
        record("async_accepted", load["requests"] / load["seconds"])
        record("async_64", load["requests"] / (load["seconds"] + max(0, waited - 0.1)))
        record("errors", load["errors"])
        record("batch", send_batches(poold.port, 1))
        record("batch_4", send_batches(poold.port, 4))
        body = map_body("square").replace('{', '{"durability":"durable",', 1)
        for _ in range(2):
            record("map_durable", measure_map(poold.port, body))
        record("cpython_durable", measure_cpython(options.processes))
    finally:
        poold.stop()


def rows(median, options):
    reference = median["sqlite_64"]
    table = [("async_64", "durable apply_async, 64 connections, to the end of the jobs",
              median["async_64"], "jobs/s", reference, "SQLite alone, 64 a commit",
              median["async_64"] / reference),
             ("async_accepted", "the same: accepted", median["async_accepted"], "jobs/s", None,
              "", None)]
    reference = median["sqlite_1000"]
    table.append(("batch", f"durable batches of {BATCH_JOBS:,}, to the end of the jobs",
                  median["batch"], "jobs/s", reference, f"SQLite alone, {BATCH_JOBS:,} a commit",
                  median["batch"] / reference))
    table.append(("batch_4", "the same from 4 clients", median["batch_4"], "jobs/s", reference,
                  f"SQLite alone, {BATCH_JOBS:,} a commit", median["batch_4"] / reference))
    value, reference = median["map_durable"], median["cpython_durable"]
    table.append(("map_durable", "map of square over 1,000,000 integers, durable", value * 1000,
                  "ms", reference * 1000, "CPython Pool.map", reference / value))
    return table
