#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the measurements of bench/run and prints the table. Only the standard library.

The rounds are interleaved: each one starts a fresh server on an empty data directory and takes
every measurement of a part once, next to its reference. So a machine that slows down for a while
slows both sides of a ratio. The numbers printed are medians over the rounds. Parts that are about
memory, or take their own turns, run once.
"""
import argparse
import datetime
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

import durable
import load
import memory
import recovery
import scale
import streams
from tools import HERE, in_folder

# part: what measures it, whether in each round, its rows
PARTS = {
    "load": (load.measure_load, True, load.rows),
    "python": (load.measure_python, True, load.python_rows),
    "durable": (durable.measure, True, durable.rows),
    "streams": (streams.measure, True, streams.rows),
    "scale": (scale.measure, False, scale.rows),
    "recovery": (recovery.measure, False, recovery.rows),
    "queue": (memory.measure_queue, False, memory.queue_rows),
    "body": (memory.measure_body, False, memory.body_rows),
}
# A target holds for the ratio, or for the value where there is no reference.
TARGETS = {**load.TARGETS, **durable.TARGETS, **streams.TARGETS, **scale.TARGETS,
           **recovery.TARGETS, **memory.TARGETS}


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
    parts = [part for part in PARTS if not options.only or part in options.only]
    options.seconds = 1 if options.quick else 3
    if options.quick:
        options.rounds = 1
    if options.rounds < 1 or options.processes < 1:
        parser.error("--rounds and --processes start at 1")

    values = {}

    def record(key, value):
        values.setdefault(key, []).append(value)

    # /var/tmp rather than /tmp: a memory file system would make every commit free.
    base = tempfile.mkdtemp(prefix="poold-bench.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    try:
        about = machine(base)
        for number in range(options.rounds):
            for part in parts:
                measure, in_rounds, _ = PARTS[part]
                if in_rounds:
                    in_folder(base, f"{part}, round {number + 1} of {options.rounds}", measure,
                              options, record)
        for part in parts:
            measure, in_rounds, _ = PARTS[part]
            if not in_rounds:
                in_folder(base, part, measure, options, record)
    finally:
        shutil.rmtree(base, ignore_errors=True)

    median = {key: statistics.median(numbers) for key, numbers in values.items()}
    median["errors_total"] = sum(values.get("errors", []))
    table = [row for part in parts for row in PARTS[part][2](median, options)]
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
