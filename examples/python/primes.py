# SPDX-License-Identifier: MIT
"""Prime numbers: work that needs a processor and nothing else.

    curl -s localhost:8080/v1/map --json '{"task": "primes:is_prime", "items": [7, 8, 9]}'
    curl -s localhost:8080/v1/starmap \
        --json '{"task": "primes:find_primes_in_range", "items": [[1, 500000], [500001, 1000000]]}'
"""

import math


def is_prime(n):
    """Whether n is a prime number, by odd divisors up to its square root."""
    if n < 2:
        return False
    if n % 2 == 0:
        return n == 2
    return all(n % divisor for divisor in range(3, math.isqrt(n) + 1, 2))


def find_primes_in_range(start, end):
    """The primes from start to end, both included: (start, end, primes)."""
    return start, end, [n for n in range(start, end + 1) if is_prime(n)]


def count_primes(start, end):
    """How many primes there are from start to end, both included."""
    return sum(map(is_prime, range(start, end + 1)))
