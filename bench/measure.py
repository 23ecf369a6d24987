#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the measurements of bench/run and prints the table. Only the standard library.

The rounds are interleaved: each one starts a fresh server on an empty data directory and takes
every measurement of the part "load" once, next to its reference. So a machine that slows down for
a while slows both sides of a ratio. The numbers printed are medians over the rounds. The parts
"queue" and "body" are about memory, which does not waver: they are taken once.
"""
import argparse
import datetime
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CONNECTIONS = (1, 16, 64)
MAP_COUNT = 1_000_000
QUEUE_JOBS = 1_000_000
QUEUE_JOBS_QUICK = 100_000
BATCH_JOBS = 1000
BODY_MIB = 64
PARTS = ("load", "queue", "body")
APPLY_BODY = '{"task":"square","args":[7]}'
PYTHON_BODY = '{"task":"python_tasks:square","args":[7]}'
PROGRAM_BODY = '{"task":"program","args":[49]}'

# A target holds for the ratio, or for the value where there is no reference.
TARGETS = {
    "apply_16": ("ratio", ">=", 0.3),
    "map": ("ratio", ">=", 1.0),
    "program": ("value", "<", 150.0),
    "map_plugin": ("ratio", ">=", 0.95),
    "memory": ("value", "<", 30.0),
    "python_apply_16": ("value", ">=", 3000),
    "python_map": ("ratio", ">=", 1.0),
    "queue_bytes": ("value", "<", 200.0),
    "queue_memory": ("value", "<", 250.0),
    "queue_restart": ("value", "<", 5.0),
    "body": ("value", "<", 3.0),
}


class Process:
    """A server of ours: started, known by its ready line, stopped by its pid."""

    def __init__(self, argv, log):
        # A file, not a pipe: nobody would read the pipe while the load runs.
        self.log = open(log, "ab+")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log)
        try:
            self.port = self._wait_ready(time.monotonic() + 20)
        except Exception:
            self.stop()
            raise

    def _wait_ready(self, deadline):
        while time.monotonic() < deadline and self.child.poll() is None:
            self.log.seek(0)
            found = re.search(rb"ready.*listen=127\.0\.0\.1:(\d+)", self.log.read())
            if found:
                return int(found.group(1))
            time.sleep(0.02)
        self.log.seek(0)
        raise RuntimeError("did not get ready: " + self.log.read().decode(errors="replace"))

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()


def wrk(port, path, body, connections, seconds):
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s",
         "-s", str(HERE / "wrk" / "post.lua"), f"http://127.0.0.1:{port}{path}"],
        env={**os.environ, "BENCH_BODY": body}, capture_output=True, text=True,
        timeout=seconds + 30, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("BENCH "))
    return json.loads(line[len("BENCH "):])


def request(port, method, path, body=None, timeout=60):
    """Status, body and the seconds from sending until the whole answer is read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.connect()
    start = time.perf_counter()
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    data = response.read()
    seconds = time.perf_counter() - start
    connection.close()
    return response.status, data, seconds


def process_tree(pid):
    """The process and all its descendants."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = pathlib.Path(entry.path, "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    tree = [pid]
    for known in tree:
        tree += [child for child, parent in parents.items() if parent == known]
    return tree


def pss_mib(pids):
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1))
    return total / 1024


def peak_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.M).group(1)) / 1024


def wait_workers(port, count):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        workers = json.loads(request(port, "GET", "/v1/workers")[1])["workers"]
        if sum(1 for worker in workers if worker["alive"]) >= count:
            return
        time.sleep(0.05)
    raise RuntimeError("the workers did not start")


def syncs_per_second(folder, count=100):
    """How often this disk can make 4 KiB durable: what group commit has to share."""
    path = os.path.join(folder, "sync-test")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    start = time.perf_counter()
    for _ in range(count):
        os.write(descriptor, bytes(4096))
        os.fdatasync(descriptor)
    seconds = time.perf_counter() - start
    os.close(descriptor)
    os.unlink(path)
    return count / seconds


def check_apply(port, body):
    status, data, _ = request(port, "POST", "/v1/apply", body)
    if status != 200 or json.loads(data)["result"] != 49:
        raise RuntimeError(f"apply answered {status}: {data[:200]!r}")


def map_body(task):
    return json.dumps({"task": task, "items": list(range(MAP_COUNT))}, separators=(",", ":"))


def measure_map(port, body):
    """The answer is checked in every round, after the clock has stopped."""
    status, data, seconds = request(port, "POST", "/v1/map", body, timeout=120)
    if status != 200:
        raise RuntimeError(f"map answered {status}: {data[:200]!r}")
    result = json.loads(data)["result"]
    last = MAP_COUNT - 1
    if len(result) != MAP_COUNT or result[0] != 0 or result[last] != last * last:
        raise RuntimeError("map gave a wrong result")
    return seconds


def measure_cpython(processes):
    done = subprocess.run(
        [sys.executable, str(HERE / "pool_map.py"), "--processes", str(processes),
         "--count", str(MAP_COUNT), "--rounds", "1"],
        capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)["seconds"]


def one_round_python(options, folder, bodies, record):
    """A server of its own: the interpreters would count as idle memory of the other."""
    data = os.path.join(folder, "data-python")
    poold = Process([str(pathlib.Path(options.build) / "poold"), "serve", "--listen", "127.0.0.1:0",
                     "--data", data, "--processes", str(options.processes),
                     "--tasks", str(HERE / "tasks"), "--python", sys.executable],
                    os.path.join(folder, "poold-python.log"))
    try:
        wait_workers(poold.port, options.processes)
        check_apply(poold.port, PYTHON_BODY)
        load = wrk(poold.port, "/v1/apply", PYTHON_BODY, 16, options.seconds)
        record("python_apply_16", load["requests"] / load["seconds"])
        record("errors", load["errors"])
        record("python_map", measure_map(poold.port, bodies["map_python"]))
    finally:
        poold.stop()


def one_round(options, folder, bodies, record):
    data = os.path.join(folder, "data")
    build = pathlib.Path(options.build)
    record("syncs", syncs_per_second(folder))
    poold = Process([str(build / "poold"), "serve", "--listen", "127.0.0.1:0", "--data", data,
                     "--processes", str(options.processes), "--tasks", str(build / "bench_tasks")],
                    os.path.join(folder, "poold.log"))
    try:
        hello = Process([str(build / "bench_hello")], os.path.join(folder, "hello.log"))
        try:
            wait_workers(poold.port, options.processes)
            record("memory", pss_mib(process_tree(poold.child.pid)))
            check_apply(poold.port, APPLY_BODY)
            check_apply(poold.port, PROGRAM_BODY)
            for connections in CONNECTIONS:
                for name, port, path in (("hello", hello.port, "/"),
                                         ("apply", poold.port, "/v1/apply")):
                    load = wrk(port, path, APPLY_BODY, connections, options.seconds)
                    record(f"{name}_{connections}", load["requests"] / load["seconds"])
                    record(f"{name}_{connections}_p50_us", load["p50_us"])
                    record("errors", load["errors"])
            load = wrk(poold.port, "/v1/apply", PROGRAM_BODY, 1, options.seconds)
            record("program_1_p50_us", load["p50_us"])
            record("errors", load["errors"])
            load = wrk(poold.port, "/v1/apply_async", APPLY_BODY, 64, options.seconds)
            record("async_64", load["requests"] / load["seconds"])
            record("errors", load["errors"])
            # Each once in the other's place: the first one finds everything cold.
            for name in ("map", "map_plugin", "map_plugin", "map"):
                record(name, measure_map(poold.port, bodies[name]))
            record("cpython", measure_cpython(options.processes))
        finally:
            hello.stop()
    finally:
        poold.stop()


def serve(options, folder, *flags):
    """Starts poold on the data directory of the folder; gives it, and the seconds until ready."""
    start = time.perf_counter()
    poold = Process([str(pathlib.Path(options.build) / "poold"), "serve", "--listen", "127.0.0.1:0",
                     "--data", os.path.join(folder, "data"), *flags],
                    os.path.join(folder, "poold.log"))
    while request(poold.port, "GET", "/readyz")[0] != 200:
        time.sleep(0.005)
    return poold, time.perf_counter() - start


def expect(wanted, status, data):
    if status != wanted:
        raise RuntimeError(f"answered {status} instead of {wanted}: {data[:200]!r}")
    return json.loads(data)


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
    os.rename(os.path.join(folder, "poold.log"), os.path.join(folder, "poold.log.1"))
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


def in_folder(base, name, measure, *arguments):
    """In a folder of its own with an empty data directory, which is removed."""
    print(f"{name} ...", file=sys.stderr)
    folder = os.path.join(base, name.replace(" ", "-"))
    os.makedirs(os.path.join(folder, "data"))
    measure(arguments[0], folder, *arguments[1:])
    shutil.rmtree(folder)


def memory_rows(median):
    table = []
    if "queue_jobs" in median:
        jobs = f"{median['queue_jobs']:,.0f} queued jobs"
        table += [("queue_bytes", "a queued job: memory of the server (PSS)",
                   median["queue_bytes"], "bytes", None, "", None),
                  ("queue_memory", jobs + ": memory of the server (PSS)",
                   median["queue_memory"], "MiB", None, "", None),
                  ("queue_restart", jobs + ": from the start until ready",
                   median["queue_restart"], "s", None, "", None)]
    if "body" in median:
        table.append(("body", f"map over {BODY_MIB} MiB: peak memory of the server, of the body",
                      median["body"], "times", None, "", None))
    return table


def rows(median, processes):
    """(key, what, value, unit, reference or None, its name, ratio or None)."""
    table = []
    if "map" not in median:
        return memory_rows(median)
    for connections in CONNECTIONS:
        value, reference = median[f"apply_{connections}"], median[f"hello_{connections}"]
        table.append((f"apply_{connections}", f"apply of square, {connections} connection"
                      + ("s" if connections > 1 else ""), value, "requests/s",
                      reference, "hello", value / reference))
    value, reference = median["apply_1_p50_us"], median["hello_1_p50_us"]
    table.insert(1, ("latency", "its median latency, 1 connection", value, "µs",
                     reference, "hello", reference / value))
    value, reference = median["program_1_p50_us"], median["apply_1_p50_us"]
    table.append(("program", "apply of a persistent program, median latency, 1 connection",
                  value, "µs", reference, "apply of square", reference / value))
    value, reference = median["async_64"], median["hello_64"]
    table.append(("async_64", "durable apply_async, 64 connections", value, "accepted/s",
                  reference, "hello", value / reference))
    value, reference = median["map"], median["cpython"]
    table.append(("map", f"map of square over {MAP_COUNT:,} integers, one request",
                  value * 1000, "ms", reference * 1000, "CPython Pool.map",
                  reference / value))
    table.append(("map_plugin", "the same by a task from a plugin", median["map_plugin"] * 1000,
                  "ms", value * 1000, "built in", value / median["map_plugin"]))
    table.append(("python_apply_16", "apply of square in Python, 16 connections",
                  median["python_apply_16"], "requests/s", None, "", None))
    value = median["python_map"]
    table.append(("python_map", f"map of square in Python over {MAP_COUNT:,} integers",
                  value * 1000, "ms", reference * 1000, "CPython Pool.map", reference / value))
    table.append(("memory", f"idle memory: server, forkserver, {processes} workers (PSS)",
                  median["memory"], "MiB", None, "", None))
    return table + memory_rows(median)


def verdict(key, value, ratio):
    if key not in TARGETS:
        return "", None
    kind, relation, bound = TARGETS[key]
    number = ratio if kind == "ratio" else value
    reached = number >= bound if relation == ">=" else number < bound
    return f"{relation} {bound:g}", reached


def number_text(value, unit):
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:,.1f} {unit}"


def machine(folder):
    def output(*argv):
        try:
            return subprocess.run(argv, capture_output=True, text=True, cwd=HERE,
                                  check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return "unknown"

    model = re.search(r"^model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "file_system": output("stat", "-f", "-c", "%T", folder),
        "python": platform.python_version(),
        "commit": output("git", "rev-parse", "--short", "HEAD"),
        "date": datetime.date.today().isoformat(),
    }


def print_markdown(table, about, median, rounds):
    print("| what | poold | reference | ratio | target | |")
    print("|---|---:|---:|---:|---:|---|")
    for key, what, value, unit, reference, name, ratio in table:
        target, reached = verdict(key, value, ratio)
        print("| {} | {} | {} | {} | {} | {} |".format(
            what, number_text(value, unit),
            f"{number_text(reference, unit)} ({name})" if reference else "",
            f"{ratio:.2f}" if ratio else "", target,
            "" if reached is None else "reached" if reached else "not reached"))
    print()
    print("Medians of {} rounds. {cpu}, {cores} cores, Linux {kernel}, {file_system}, "
          "CPython {python}; commit {commit}, {date}. ".format(rounds, **about)
          + (f"The disk does {median['syncs']:,.0f} fdatasync/s." if "syncs" in median else ""))
    if median["errors_total"]:
        print(f"\n{median['errors_total']} requests failed: the numbers above are not to be trusted.")


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, one second per point")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=PARTS, action="append", metavar="PART",
                        help="only this part, repeatable: " + ", ".join(PARTS))
    parser.add_argument("--build", default="build/release", help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = options.only or PARTS
    options.seconds = 1 if options.quick else 3
    if options.quick:
        options.rounds = 1
    if options.rounds < 1 or options.processes < 1:
        parser.error("--rounds and --processes start at 1")

    values = {}
    bodies = {"map": map_body("square"), "map_plugin": map_body("plugin_square"),
              "map_python": map_body("python_tasks:square")}

    def record(key, value):
        values.setdefault(key, []).append(value)

    # /var/tmp rather than /tmp: a memory file system would make every commit free.
    base = tempfile.mkdtemp(prefix="poold-bench.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    try:
        about = machine(base)
        for number in range(options.rounds if "load" in parts else 0):
            for measure in (one_round, one_round_python):
                in_folder(base, f"round {number + 1} of {options.rounds}", measure, options,
                          bodies, record)
        if "queue" in parts:
            in_folder(base, "queue", measure_queue, options, record)
        if "body" in parts:
            in_folder(base, "body", measure_body, options, record)
    finally:
        shutil.rmtree(base, ignore_errors=True)

    median = {key: statistics.median(numbers) for key, numbers in values.items()}
    median["errors_total"] = sum(values.get("errors", []))
    table = rows(median, options.processes)
    if options.json:
        print(json.dumps({
            "machine": about, "rounds": options.rounds, "errors": median["errors_total"],
            "syncs_per_second": median.get("syncs"),
            "rows": [{"key": key, "what": what, "value": value, "unit": unit,
                      "reference": reference, "reference_name": name or None, "ratio": ratio,
                      "target": verdict(key, value, ratio)[0] or None,
                      "reached": verdict(key, value, ratio)[1]}
                     for key, what, value, unit, reference, name, ratio in table],
            "all": values}, indent=2))
    else:
        print_markdown(table, about, median, options.rounds)
    return 1 if median["errors_total"] else 0


if __name__ == "__main__":
    sys.exit(main())
