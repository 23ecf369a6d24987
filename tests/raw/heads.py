#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Heads of requests at their limits: one less, as much, and one more, with the limits as they are,
at their smallest and at their greatest. It is always the server that says what is too much, and
what is not is taken, also all of it at once."""

import sys

import wire
from wire import answered, get, refused

SLUGS = {"uri": (414, "uri-too-long"), "headers": (431, "headers-too-large")}
PATH = "/healthz?"


def head(uri, headers, largest):
    """A request with a target of so many bytes, so many headers, and one with a value of so many."""
    few = [f"X-{i}: {'a' * 10}" for i in range(headers - 2)]  # and Host, and the large one
    return get(PATH + "a" * (uri - len(PATH)) if uri else "/healthz", *few, "X-Large: " + "a" * largest)


def rows_of(suite, limits, ways):
    uri, headers, largest = limits
    taken = answered(200, 400)  # a parameter that /healthz does not have
    for more in (-1, 0, 1):
        for what, data, part in (("a target", head(uri + more, 3, 1), "uri"),
                                 ("headers", head(0, headers + more, 1), "headers"),
                                 ("a header", head(0, 3, largest + more), "headers")):
            status, slug = SLUGS[part]
            suite.row(27 if part == "headers" else 28,
                      f"limit of {limits}: {what}, {more:+} of what may be", data,
                      refused(status, slug=slug) if more > 0 else taken, ways=ways)
    suite.row(27, f"limit of {limits}: all that may be at once", head(uri, headers, largest), taken,
              ways=ways)
    for more, part in (((1, 0, 0), "uri"), ((0, 1, 0), "headers"), ((0, 0, 1), "headers")):
        status, slug = SLUGS[part]
        suite.row(27, f"limit of {limits}: all at once, and {more} more",
                  head(*(limit + one for limit, one in zip(limits, more))),
                  refused(status, slug=slug), ways=ways)


def server_of(limits):
    uri, headers, largest = limits
    return wire.Server("--max-uri-bytes", str(uri), "--max-headers", str(headers),
                       "--max-header-bytes", str(largest), "--access-log", "all")


def main():
    suite = wire.Suite(wire.Server("--access-log", "all"))
    rows_of(suite, (2048, 64, 8192), ("whole", "behind"))
    for limits, ways in (((256, 16, 1024), ("whole", "bytes", "behind")),
                         ((256, 256, 1024), ("whole",)), ((8192, 16, 1024), ("whole",)),
                         ((256, 16, 16384), ("whole",)), ((8192, 256, 16384), ("whole", "behind"))):
        said = suite.server.stop()
        suite.report(not said, "the sanitizers are silent", said)
        suite.server = server_of(limits)
        rows_of(suite, limits, ways)
    suite.done()


if __name__ == "__main__":
    sys.exit(main())
