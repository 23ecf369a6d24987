#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The other side of sd_notify(3): writes what comes into a file, a datagram a line.

    manager.py SOCKET LOG
"""

import os
import socket
import sys

PATH, LOG = sys.argv[1:3]

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
    manager.bind(PATH + ".new")
    os.rename(PATH + ".new", PATH)  # from here on it is there
    with open(LOG, "a", encoding="ascii", buffering=1) as log:
        while True:
            log.write(manager.recv(4096).decode("ascii").replace("\n", " ") + "\n")
