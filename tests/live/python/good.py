# SPDX-License-Identifier: MIT
"""Tasks for python.bats: what a module may offer, and how Python binds, raises and returns."""

import os
import sys
import threading
import time
from math import hypot  # not offered: it is another module's

import _neighbour
import poold

CONSTANT = 7
STATE = {"calls": 0}


class Picky(Exception):
    """An exception of the module."""


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Shape:
    """Its class and static methods are tasks."""

    sides = 4

    @classmethod
    def count_sides(cls, times=1):
        """How many sides there are, so many times."""
        return cls.sides * times

    @staticmethod
    def area(width, height=1):
        return width * height

    def ordinary(self):
        return None


def square(x):
    """The square of x.

    More of it.
    """
    return x * x


def same(x):
    return x


def power(base, exp=2, *, plus=0):
    return base**exp + plus


def echo(*args, **kwargs):
    return [list(args), kwargs]


def _private(x):
    return x


async def later(x):
    return x + 1


def neighbour(x):
    return _neighbour.twice(x)


def raises(message):
    raise Picky(message)


def stutter():
    raise ValueError("half a pair: \ud83d, and \0")


def chained(key):
    try:
        return {}[key]
    except KeyError as exc:
        raise ValueError("no such key") from exc


def mute():
    raise Mute()


def leave(code=None):
    sys.exit(code)


def interrupt():
    raise KeyboardInterrupt


def deep():
    return deep()


def deep_result():
    value = []
    for _ in range(200000):
        value = [value]
    return value


def endless_result():
    value = []
    value.append(value)
    return value


def hoard():
    raise MemoryError


def values(kind):
    return {
        "tuple": (1, (2, 3)),
        "int keys": {1: "one", None: "none", True: "yes"},
        "large": 2**20000,
        "text": "Grüße \u2028 \x00 \U0001f600",
        "set": {1},
        "bytes": b"x",
        "nan": float("nan"),
        "infinity": float("inf"),
        "surrogate": "\ud800",
        "generator": (x for x in (1, 2)),
    }[kind]


def digits(n):
    return len(str(n))


def big(size):
    return "x" * size


def spoil(values):
    """Changes what it was given."""
    values.append(1)
    return len(values)


def spoil_keyword(x, values):
    values.append(x)
    return values


def work(steps, path):
    """Tells how far it is, from two threads, and waits for the file to come."""
    for step in range(steps):
        poold.progress(step, steps, f"step {step}")
    while not os.path.exists(path):
        time.sleep(0.01)
        helper = threading.Thread(target=poold.progress, args=(steps, steps, "done ✓" + "." * 500))
        helper.start()
        helper.join()
    return steps


def fork_and_return(x):
    if os.fork() == 0:
        return "the child's"
    os.wait()
    return x


def count_calls(x):
    STATE["calls"] += 1
    return STATE["calls"]


def set_state(name, value):
    """An initializer."""
    STATE[name] = value


def get_state(name):
    return STATE.get(name)


def write_at_start(path):
    """An initializer that leaves a mark."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
