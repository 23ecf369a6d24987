# SPDX-License-Identifier: MIT
"""Results one by one, and how well the work is spread."""
import http.client
import json
import pathlib
import subprocess
import sys
import time

from tools import HERE, expect, request, serve, wait_workers

IMAP_COUNT = 100_000
PRIMES = ((1_000_000, 78_498), (100_000_000, 5_761_455))
RANGES = 16

TARGETS = {
    "imap": ("ratio", ">=", 5.0),
    "primes_1000000": ("ratio", ">=", 0.95),
    "primes_100000000": ("ratio", ">=", 0.95),
}


def measure_imap(port):
    body = json.dumps({"task": "square", "chunksize": 1, "items": list(range(IMAP_COUNT))})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connect()
    start = time.perf_counter()
    connection.request("POST", "/v1/imap_unordered", body, {"Content-Type": "application/json"})
    lines = connection.getresponse().read().splitlines()
    seconds = time.perf_counter() - start
    connection.close()
    last = json.loads(lines[-1])
    if len(lines) != IMAP_COUNT + 1 or last.get("state") != "succeeded":
        raise RuntimeError(f"imap gave {len(lines)} lines and {last}")
    return seconds


def cpython_imap(processes):
    done = subprocess.run([sys.executable, str(HERE / "pool_imap.py"), "--processes",
                           str(processes), "--count", str(IMAP_COUNT)],
                          capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout)


def measure_primes(options, port, end, count):
    """Seconds of poold, and of one process that calls the same function in a loop."""
    body = json.dumps({"task": "primes_in_range", "chunksize": 1,
                       "items": [[end * i // RANGES, end * (i + 1) // RANGES]
                                 for i in range(RANGES)]})
    status, data, seconds = request(port, "POST", "/v1/starmap", body, timeout=120)
    if sum(map(len, expect(200, status, data)["result"])) != count:
        raise RuntimeError("wrong number of primes")
    done = subprocess.run([str(pathlib.Path(options.build) / "bench_primes_loop"), str(end),
                           str(RANGES)], capture_output=True, text=True, check=True, timeout=120)
    return seconds, float(done.stdout)


def measure(options, folder, record):
    poold, _ = serve(options, folder, "--processes", str(options.processes))
    try:
        wait_workers(poold.port, options.processes)
        record("imap", measure_imap(poold.port))
        record("cpython_imap", cpython_imap(options.processes))
        for end, count in PRIMES:
            for _ in range(3):
                seconds, loop = measure_primes(options, poold.port, end, count)
                record(f"primes_{end}", seconds)
                record(f"loop_{end}", loop)
    finally:
        poold.stop()


def rows(median, options):
    value, reference = IMAP_COUNT / median["imap"], IMAP_COUNT / median["cpython_imap"]
    table = [("imap", f"imap_unordered of square over {IMAP_COUNT:,}, chunksize 1", value,
              "items/s", reference, "CPython imap", value / reference)]
    for end, _ in PRIMES:
        value = median[f"primes_{end}"]
        reference = median[f"loop_{end}"] / options.processes
        table.append((f"primes_{end}", f"primes to {end:,} in {RANGES} ranges", value * 1000, "ms",
                      reference * 1000, f"one process in a loop, / {options.processes}",
                      reference / value))
    return table
