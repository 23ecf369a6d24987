# SPDX-License-Identifier: MIT
"""What bench/run calls in Python."""


def square(x):
    return x * x
