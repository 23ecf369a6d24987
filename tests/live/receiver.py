#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A receiver of callbacks: the other side of Standard Webhooks, with nothing but the standard
library, so that what the server signs is checked by somebody else.

    receiver.py PORT_FILE SECRET_FILE LOG ANSWERS [PORT [CERTIFICATE]]

With a certificate, a file in PEM with its key, it speaks TLS. Writes its port into PORT_FILE when it listens. Each request becomes a line of JSON in LOG,
before it is answered. How it is answered is the next line of the file ANSWERS, 200 when there
is none left:

    500          this status
    302 URL      a redirect
    200 BYTES    with so long a body
    hang         not at all
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import ssl
import sys
import threading
import time

PORT_FILE, SECRET_FILE, LOG, ANSWERS = sys.argv[1:5]
PORT = int(sys.argv[5] or 0) if len(sys.argv) > 5 else 0
CERTIFICATE = sys.argv[6] if len(sys.argv) > 6 else None
TOLERANCE = 300  # seconds
LOCK = threading.Lock()


def signature_is_right(headers, body):
    with open(SECRET_FILE, encoding="ascii") as source:
        key = base64.b64decode(source.read().strip().removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [part.partition(",") for part in headers["webhook-signature"].split(" ")]
    return any(v == "v1" and hmac.compare_digest(s, wanted) for v, _, s in given) and (
        abs(time.time() - int(headers["webhook-timestamp"])) < TOLERANCE
    )


def next_answer():
    with LOCK:
        with open(ANSWERS, encoding="ascii") as source:
            first, *rest = source.read().splitlines() or ["200"]
        with open(ANSWERS + ".new", "w", encoding="ascii") as target:
            target.write("".join(line + "\n" for line in rest))
        os.rename(ANSWERS + ".new", ANSWERS)
    return first.split()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        what, *more = next_answer()
        line = {
            "id": self.headers["webhook-id"],
            "right": signature_is_right(self.headers, body),
            "type": self.headers["Content-Type"],
            "path": self.path,
            "answer": what,
            "message": json.loads(body),
            "text": body.decode(),
        }
        with LOCK, open(LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if what == "hang":
            threading.Event().wait()
        answer = b"x" * int(more[0]) if more and what == "200" else b""
        self.send_response(int(what))
        if what == "302":
            self.send_header("Location", more[0])
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        try:
            self.wfile.write(answer)
        except OSError:
            pass  # the server has read enough

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


server = Server(("127.0.0.1", PORT), Receiver)
if CERTIFICATE:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open(PORT_FILE + ".new", "w", encoding="ascii") as port_file:
    port_file.write(str(server.server_port))
os.rename(PORT_FILE + ".new", PORT_FILE)
server.serve_forever()
