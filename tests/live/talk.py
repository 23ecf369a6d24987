#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client that does what no library would.

    talk.py HOST:PORT STEP...

Steps, in order, on one connection; whatever is none of the others is sent, with \\r, \\n and \\" as
written:

    half-close       nothing more is sent
    read             reads until the server closes or nothing came for a while, and prints it
    read-some        reads and prints the first 4 KiB
    await TEXT       reads and prints until TEXT has come, with an upper bound
    reset            closes with a reset
    repeat N TEXT    sends it N times in one go
    many N TEXT      N connections send it at the same time, and leave without a word
    hold N TEXT      N connections send it and stay, until this is killed
    crowd N TEXT     N connections send it and wait for their answers; prints how many of each
                     status there were
"""

import collections
import signal
import socket
import struct
import sys

PATIENCE = 30  # seconds


def connect():
    host, port = sys.argv[1].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def unescaped(text):
    return text.replace("\\r", "\r").replace("\\n", "\n").replace('\\"', '"').encode()


def read_all(peer):
    peer.settimeout(5)
    try:
        while data := peer.recv(65536):
            sys.stdout.buffer.write(data)
    except (TimeoutError, ConnectionResetError):
        pass


def read_until(peer, text):
    seen = b""
    while text not in seen:
        data = peer.recv(4096)
        if not data:
            sys.exit("the server has closed the connection")
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        seen += data


def crowd(count, text):
    peers = [connect() for _ in range(count)]
    for peer in peers:
        peer.sendall(text)
    answers = collections.Counter()
    for peer in peers:
        answer = b""
        try:
            while b"\r\n" not in answer and (data := peer.recv(4096)):
                answer += data
        except OSError:
            pass
        words = answer.split(b" ")
        answers[words[1].decode() if len(words) > 1 else "none"] += 1
    for status, times in answers.items():
        print(times, status)


def main():
    steps = sys.argv[2:]
    peer = None
    while steps:
        step = steps.pop(0)
        if step in ("many", "hold", "crowd", "repeat"):
            count, text = int(steps.pop(0)), unescaped(steps.pop(0))
        if step == "crowd":
            crowd(count, text)
            continue
        if step in ("many", "hold"):
            peers = [connect() for _ in range(count)]
            for one in peers:
                one.sendall(text)
            if step == "hold":
                signal.pause()
            for one in peers:
                one.close()
            continue
        peer = peer or connect()
        if step == "half-close":
            peer.shutdown(socket.SHUT_WR)
        elif step == "read":
            read_all(peer)
        elif step == "read-some":
            sys.stdout.buffer.write(peer.recv(4096))
        elif step == "await":
            read_until(peer, unescaped(steps.pop(0)))
        elif step == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        elif step == "repeat":
            peer.sendall(text * count)
        else:
            peer.sendall(unescaped(step))


main()
