# SPDX-License-Identifier: MIT
"""Memory: of jobs that wait, and of one large request. Taken once, as memory does not waver."""
import json

from tools import expect, peak_mib, pss_mib, request, serve

QUEUE_JOBS = 1_000_000
QUEUE_JOBS_QUICK = 100_000
BATCH_JOBS = 1000
BODY_MIB = 64

TARGETS = {
    "queue_bytes": ("value", "<", 200.0),
    "queue_memory": ("value", "<", 250.0),
    "queue_restart": ("value", "<", 5.0),
    "body": ("value", "<", 3.0),
}


def measure_queue(options, folder, record):
    """Jobs that wait behind one that sleeps, and a restart with them."""
    count = QUEUE_JOBS_QUICK if options.quick else QUEUE_JOBS
    flags = ("--processes", "1", "--max-queued-jobs", str(count + 1), "--drain-timeout", "0")
    batch = json.dumps([{"method": "apply_async", "task": "square", "args": [number]}
                        for number in range(BATCH_JOBS)])
    poold, _ = serve(options, folder, *flags)
    try:
        expect(202, *request(poold.port, "POST", "/v1/apply_async",
                             '{"task":"sleep","args":[86400],"priority":100}')[:2])
        before = pss_mib([poold.child.pid])
        for _ in range(count // BATCH_JOBS):
            expect(202, *request(poold.port, "POST", "/v1/batch", batch)[:2])
        memory = pss_mib([poold.child.pid])
    finally:
        poold.stop()
    poold, seconds = serve(options, folder, *flags)
    try:
        pool = expect(200, *request(poold.port, "GET", "/v1/pools/default")[:2])
        if pool["queue_length"] < count:
            raise RuntimeError(f"only {pool['queue_length']} jobs are queued after the restart")
        memory = max(memory, pss_mib([poold.child.pid]))
    finally:
        poold.stop()
    record("queue_jobs", count)
    record("queue_bytes", (memory - before) * 2**20 / count)
    record("queue_memory", memory)
    record("queue_restart", seconds)


def measure_body(options, folder, record):
    """One map whose results are as large as its inputs: texts of 1,000 bytes."""
    item = json.dumps("x" * 998)
    count = (BODY_MIB << 20) // (len(item) + 1) - 1
    body = '{"task":"echo","items":[' + ",".join([item] * count) + "]}"
    poold, _ = serve(options, folder, "--processes", str(options.processes))
    try:
        status, data, _ = request(poold.port, "POST", "/v1/map", body, timeout=120)
        if len(expect(200, status, data)["result"]) != count:
            raise RuntimeError("map gave a wrong result")
        record("body", peak_mib(poold.child.pid) / (len(body) / 2**20))
    finally:
        poold.stop()


def queue_rows(median, options):
    jobs = f"{median['queue_jobs']:,.0f} queued jobs"
    return [("queue_bytes", "a queued job: memory of the server (PSS)", median["queue_bytes"],
             "bytes", None, "", None),
            ("queue_memory", jobs + ": memory of the server (PSS)", median["queue_memory"], "MiB",
             None, "", None),
            ("queue_restart", jobs + ": from the start until ready", median["queue_restart"], "s",
             None, "", None)]


def body_rows(median, options):
    return [("body", f"map over {BODY_MIB} MiB: peak memory of the server, of the body",
             median["body"], "times", None, "", None)]
