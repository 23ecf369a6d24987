# SPDX-License-Identifier: MIT
"""Multiplies matrices, with NumPy where it is there.

    curl -s localhost:8080/v1/map --json '{"task": "matmul:benchmark", "items": [100, 200, 300]}'
"""

import time

try:
    import numpy
except ImportError:
    numpy = None


def multiply(a, b):
    """The product of two matrices, each a list of rows."""
    if numpy is not None:
        return (numpy.array(a) @ numpy.array(b)).tolist()
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]


def benchmark(size):
    """Squares a matrix of size rows and columns: its size, its shape, and the seconds it took."""
    matrix = [[(row * size + column) % 10 for column in range(size)] for row in range(size)]
    start = time.perf_counter()
    product = multiply(matrix, matrix)
    seconds = time.perf_counter() - start
    return {
        "size": size,
        "shape": (len(product), len(product[0])),
        "trace": sum(product[i][i] for i in range(size)),
        "seconds": round(seconds, 6),
    }
