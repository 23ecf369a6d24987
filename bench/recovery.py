# SPDX-License-Identifier: MIT
"""How soon all is well again: after a SIGKILL of the server, and of a worker."""
import collections
import http.client
import json
import os
import pathlib
import signal
import time

from tools import expect, process_tree, request, serve, wait_workers

QUEUED, QUEUED_QUICK = 100_000, 10_000
BATCH = 1000
RESTARTS, RESTARTS_QUICK = 5, 2
DEATHS, DEATHS_QUICK = 200, 20
PROCESSES = 2
SHORT_JOBS = 1000  # of 2 ms each, for what is run again

TARGETS = {
    "ready_again": ("value", "<", 2.0),
    "replaced_p99": ("value", "<", 100.0),
    "run_again": ("value", "<", 4.1),  # jobs that may be at a worker: two each
}


def batches(port, jobs):
    for at in range(0, len(jobs), BATCH):
        expect(202, *request(port, "POST", "/v1/batch", json.dumps(jobs[at:at + BATCH]))[:2])


def kill(poold):
    poold.child.send_signal(signal.SIGKILL)
    begin = time.perf_counter()
    poold.child.wait()
    poold.log.close()
    return begin


def measure_restarts(options, folder, record):
    count = QUEUED_QUICK if options.quick else QUEUED
    flags = ("--processes", str(PROCESSES), "--max-queued-jobs", str(count + 10))
    poold, _ = serve(options, folder, *flags, name="restarts")
    try:
        for _ in range(PROCESSES):  # so that the others wait
            expect(202, *request(poold.port, "POST", "/v1/apply_async",
                                 '{"task":"sleep","args":[86400],"priority":100}')[:2])
        batches(poold.port, [{"method": "apply_async", "task": "square", "args": [i]} for i in range(count)])
        for _ in range(RESTARTS_QUICK if options.quick else RESTARTS):
            begin = kill(poold)
            poold, _ = serve(options, folder, *flags, name="restarts")
            record("ready_again", time.perf_counter() - begin)
        record("queued", count)
    finally:
        kill(poold)


def workers(connection):
    connection.request("GET", "/v1/workers")
    return [worker for worker in json.loads(connection.getresponse().read())["workers"] if worker["alive"]]


def measure_deaths(options, folder, record):
    """From the SIGKILL of an idle worker until another one can take work in its place."""
    poold, _ = serve(options, folder, "--processes", str(PROCESSES), name="deaths")
    took = []
    try:
        wait_workers(poold.port, PROCESSES)
        connection = http.client.HTTPConnection("127.0.0.1", poold.port, timeout=30)
        for _ in range(DEATHS_QUICK if options.quick else DEATHS):
            while sum(worker["state"] == "idle" for worker in workers(connection)) < PROCESSES:
                pass
            victim = workers(connection)[0]["pid"]
            os.kill(victim, signal.SIGKILL)
            begin = time.perf_counter()
            while True:
                ready = [worker["pid"] for worker in workers(connection) if worker["state"] == "idle"]
                if len(ready) == PROCESSES and victim not in ready:
                    break
            took.append((time.perf_counter() - begin) * 1000)
    finally:
        poold.stop()
    took.sort()
    record("replaced_p50", took[len(took) // 2])
    record("replaced_p99", took[int(len(took) * 0.99)])


def measure_again(options, folder, record):
    """Short jobs, and a SIGKILL in the middle: how many were run more often than once?"""
    tasks, runs = pathlib.Path(options.build) / "bench_record", os.path.join(folder, "runs")
    flags = ("--processes", str(PROCESSES), "--tasks", str(tasks))
    for turn in range(RESTARTS_QUICK if options.quick else RESTARTS):
        pathlib.Path(runs).write_text("")
        poold, _ = serve(options, folder, *flags, name="again")
        try:
            batches(poold.port, [{"method": "apply_async", "task": "record", "args": [f"{runs} {turn} {i} 2"]}
                                 for i in range(SHORT_JOBS)])
            while pathlib.Path(runs).read_text().count("\n") < SHORT_JOBS // 4:
                time.sleep(0.001)
            kill(poold)
            poold, _ = serve(options, folder, *flags, name="again")
            deadline, counts = time.monotonic() + 60, {}
            while len(counts) < SHORT_JOBS:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"only {len(counts)} of {SHORT_JOBS} jobs were run")
                time.sleep(0.02)
                lines = pathlib.Path(runs).read_text().splitlines()
                counts = collections.Counter(line.split()[1] for line in lines)
            record("run_again", sum(count > 1 for count in counts.values()))
        finally:
            for pid in process_tree(poold.child.pid):
                os.kill(pid, signal.SIGKILL)
            poold.child.wait()


def measure(options, folder, record):
    measure_restarts(options, folder, record)
    measure_deaths(options, folder, record)
    measure_again(options, folder, record)


def rows(median, options):
    return [("ready_again", f"SIGKILL with {median['queued']:,.0f} queued jobs: until ready again",
             median["ready_again"], "s", None, "", None),
            ("replaced_p50", "SIGKILL of a worker: until another is ready, median", median["replaced_p50"], "ms",
             None, "", None),
            ("replaced_p99", "the same, p99", median["replaced_p99"], "ms", None, "", None),
            ("run_again", f"jobs run again by a restart, {PROCESSES} workers", median["run_again"], "jobs", None, "",
             None)]
