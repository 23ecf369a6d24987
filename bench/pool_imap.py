#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What CPython itself needs for Pool(N).imap(square, range(COUNT), chunksize=1).

    pool_imap.py [--processes N] [--count COUNT]

Prints the seconds. The pool is started before the clock, as poold's workers are.
"""
import argparse
import multiprocessing
import time


def square(x):
    return x * x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    with multiprocessing.Pool(options.processes) as pool:
        pool.map(square, range(1000))
        start = time.perf_counter()
        last = None
        for last in pool.imap(square, range(options.count), chunksize=1):
            pass
        seconds = time.perf_counter() - start
    if last != (options.count - 1) ** 2:
        raise SystemExit("wrong result")
    print(seconds)


if __name__ == "__main__":
    main()
