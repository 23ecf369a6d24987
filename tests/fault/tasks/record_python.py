# SPDX-License-Identifier: MIT
"""The task `record` (tests/plugins/record.c) as a Python function."""
import os
import time


def record(what):
    """PATH KEY INDEX MS TEXT: notes its run in the file, sleeps, returns KEY INDEX TEXT."""
    path, key, index, ms, text = what.split(" ", 4)
    line = f"{key} {index} {os.getpid()} {time.monotonic_ns()}\n".encode()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)  # not made: nobody would look at it
    try:
        if os.write(fd, line) != len(line):  # in one: whole, whoever writes beside it
            raise OSError("the run cannot be recorded")
    finally:
        os.close(fd)
    time.sleep(int(ms) / 1000)
    return f"{key} {index} {text}"
