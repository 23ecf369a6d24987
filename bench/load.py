# SPDX-License-Identifier: MIT
"""Calls that wait: requests a second and their latency, a large map, tasks in each language."""
import json
import os
import pathlib
import subprocess
import sys

from tools import (HERE, MAP_COUNT, Process, check_apply, map_body, process_tree, pss_mib, request, serve,
                   syncs_per_second, wait_workers, wrk)

CONNECTIONS = (1, 16, 64)
APPLY_BODY = '{"task":"square","args":[7]}'
PYTHON_BODY = '{"task":"python_tasks:square","args":[7]}'
PROGRAM_BODY = '{"task":"program","args":[49]}'

TARGETS = {
    "apply_16": ("ratio", ">=", 0.5),
    "apply_64": ("ratio", ">=", 0.5),
    "latency": ("ratio", ">=", 0.4),
    "map": ("ratio", ">=", 4.0),
    "program": ("value", "<", 150.0),
    "map_plugin": ("ratio", ">=", 0.95),
    "memory": ("value", "<", 30.0),
    "python_apply_16": ("value", ">=", 3000),
    "python_map": ("ratio", ">=", 1.0),
}


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


def measure_python(options, folder, record):
    """A server of its own: the interpreters would count as idle memory of the other."""
    poold, _ = serve(options, folder, "--processes", str(options.processes),
                     "--tasks", str(HERE / "tasks"), "--python", sys.executable)
    try:
        wait_workers(poold.port, options.processes)
        check_apply(poold.port, PYTHON_BODY)
        load = wrk(poold.port, "/v1/apply", PYTHON_BODY, 16, options.seconds)
        record("python_apply_16", load["requests"] / load["seconds"])
        record("errors", load["errors"])
        for _ in range(2):
            record("python_map", measure_map(poold.port, map_body("python_tasks:square")))
        record("cpython_python", measure_cpython(options.processes))
    finally:
        poold.stop()


def measure_load(options, folder, record):
    build = pathlib.Path(options.build)
    bodies = {"map": map_body("square"), "map_plugin": map_body("plugin_square")}
    record("syncs", syncs_per_second(folder))
    poold, _ = serve(options, folder, "--processes", str(options.processes),
                     "--tasks", str(build / "bench_tasks"))
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
            # Each once in the other's place: the first one finds everything cold.
            for name in ("map", "map_plugin", "map_plugin", "map"):
                record(name, measure_map(poold.port, bodies[name]))
            record("cpython", measure_cpython(options.processes))
        finally:
            hello.stop()
    finally:
        poold.stop()


def rows(median, options):
    """(key, what, value, unit, reference or None, its name, ratio or None)."""
    table = []
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
    value, reference = median["map"], median["cpython"]
    table.append(("map", f"map of square over {MAP_COUNT:,} integers, one request",
                  value * 1000, "ms", reference * 1000, "CPython Pool.map",
                  reference / value))
    table.append(("map_plugin", "the same by a task from a plugin", median["map_plugin"] * 1000,
                  "ms", value * 1000, "built in", value / median["map_plugin"]))
    table.append(("memory", f"idle memory: server, forkserver, {options.processes} workers (PSS)",
                  median["memory"], "MiB", None, "", None))
    return table


def python_rows(median, options):
    table, reference = [], median["cpython_python"]
    table.append(("python_apply_16", "apply of square in Python, 16 connections",
                  median["python_apply_16"], "requests/s", None, "", None))
    value = median["python_map"]
    table.append(("python_map", f"map of square in Python over {MAP_COUNT:,} integers",
                  value * 1000, "ms", reference * 1000, "CPython Pool.map", reference / value))
    return table
