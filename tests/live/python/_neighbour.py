# SPDX-License-Identifier: MIT
"""Not offered, but good.py can import it."""


def twice(x):
    return 2 * x
