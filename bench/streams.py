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
RANGES = 16
# key, how, task, primes to, how many there are
PRIMES = (
    ("primes_1000000", "by division", "find_primes_in_range", 1_000_000, 78_498),
    ("sieve_1000000", "by a sieve", "primes_in_range", 1_000_000, 78_498),
    ("sieve_100000000", "by a sieve", "primes_in_range", 100_000_000, 5_761_455),
)

TARGETS = {
    "imap": ("ratio", ">=", 5.0),
    "primes_1000000": ("ratio", ">=", 0.95),
    "sieve_1000000": ("ratio", ">=", 0.95),
    "sieve_100000000": ("ratio", ">=", 0.95),
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


def measure_primes(options, port, task, end, count):
    """Seconds of poold, and of one process that calls the same function in a loop."""
    divide = task == "find_primes_in_range"  # its ranges include their end
    # Those that take longest come first, as whoever knows it would have it.
    ranges = [[end * i // RANGES, end * (i + 1) // RANGES - divide]
              for i in reversed(range(RANGES))]
    body = json.dumps({"task": task, "chunksize": 1, "items": ranges})
    status, data, seconds = request(port, "POST", "/v1/starmap", body, timeout=120)
    found = expect(200, status, data)["result"]
    if sum(len(result[2] if divide else result) for result in found) != count:
        raise RuntimeError("wrong number of primes")
    done = subprocess.run([str(pathlib.Path(options.build) / "bench_primes_loop"),
                           "divide" if divide else "sieve", str(end), str(RANGES)],
                          capture_output=True, text=True, check=True, timeout=120)
    return seconds, float(done.stdout)


def measure(options, folder, record):
    poold, _ = serve(options, folder, "--processes", str(options.processes), "--tasks",
                      str(pathlib.Path(options.build) / "bench_tasks"))
    try:
        wait_workers(poold.port, options.processes)
        record("imap", measure_imap(poold.port))
        record("cpython_imap", cpython_imap(options.processes))
        for key, _, task, end, count in PRIMES:
            for _ in range(3):
                seconds, loop = measure_primes(options, poold.port, task, end, count)
                record(key, seconds)
                record(f"loop_{key}", loop)
    finally:
        poold.stop()


def rows(median, options):
    value, reference = IMAP_COUNT / median["imap"], IMAP_COUNT / median["cpython_imap"]
    table = [("imap", f"imap_unordered of square over {IMAP_COUNT:,}, chunksize 1", value,
              "items/s", reference, "CPython imap", value / reference)]
    for key, how, _, end, _ in PRIMES:
        value = median[key]
        reference = median[f"loop_{key}"] / options.processes
        table.append((key, f"primes to {end:,} in {RANGES} ranges, {how}", value * 1000, "ms",
                      reference * 1000, f"one process in a loop, / {options.processes}",
                      reference / value))
    return table
