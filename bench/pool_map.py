#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What CPython itself needs for Pool(N).map(square, range(COUNT)), in its own process.

    pool_map.py [--processes N] [--count COUNT] [--rounds K]

Prints JSON: {"seconds": median, "all": [...], "count": n, "first": x, "last": y}. The pool is
started before the clock, as poold's workers are.
"""
import argparse
import json
import multiprocessing
import statistics
import time


def square(x):
    return x * x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    seconds = []
    result = []
    with multiprocessing.Pool(options.processes) as pool:
        pool.map(square, range(1000))
        for _ in range(options.rounds):
            start = time.perf_counter()
            result = pool.map(square, range(options.count))
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "all": seconds,
                      "count": len(result), "first": result[0], "last": result[-1]}))


if __name__ == "__main__":
    main()
