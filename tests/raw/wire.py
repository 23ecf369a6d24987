# SPDX-License-Identifier: MIT
"""What the tests with raw sockets share: a server, a wire, and what has to hold after each row."""

import atexit
import collections
import os
import pathlib
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PATIENCE = 30  # seconds: a wait that takes longer has failed
OWN_ID = "is-it-well"  # of the requests that only look after the server
HEALTH = 0.05  # seconds that health may take the server; see Server.health
TRIES = 3  # of a row behind which health took longer: what is the row's fault comes each time
STALL = 5  # seconds that a busy machine may make of it


class Server:
    """A real server on a free port, with its data in a folder of its own."""

    def __init__(self, *flags, prepare=None):
        """prepare(folder): makes what has to be in the data folder before the start, and returns
        a key with the scope admin, if it made keys."""
        self.folder = tempfile.TemporaryDirectory(prefix="poold-raw-")
        key = None
        if prepare:
            os.mkdir(self.data(), 0o700)
            key = prepare(self.data())
        # Not in that folder itself: tasks cannot make files where it leads.
        self.log = open(pathlib.Path(self.folder.name) / "stderr", "w+b")
        binary = os.environ["POOLD_BIN"]
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("POOLD_")}
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data", self.data(),
             "--processes", "1", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log,
            env=environment)
        atexit.register(self.stop)  # also when a test ends by an exception
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"server ready.*?listen=\S+?:(\d+)", self.said())):
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        self.address = ("127.0.0.1", int(found[1]))
        self.read_to = 0  # bytes of the log
        self.healths = []  # seconds: its own, and all of them
        self.wait_for_worker(deadline, [f"Authorization: Bearer {key}"] if key else [])
        self.health()
        self.descriptors = self.count_descriptors()

    def wait_for_worker(self, deadline, headers):
        """The server is ready before its workers are; each that comes brings descriptors."""
        request = get("/v1/workers", f"X-Request-Id: {OWN_ID}", *headers, close=True)
        while '"state":"idle"' not in (text := exchange(self, request).data.decode()):
            assert self.process.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.02)

    def data(self):
        return self.folder.name + "/data"

    def said(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def connect(self, timeout=PATIENCE):
        connection = socket.create_connection(self.address, timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def descriptors_open(self):
        folder = pathlib.Path(f"/proc/{self.process.pid}/fd")
        return sorted(os.readlink(entry) for entry in folder.iterdir())

    def count_descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def has_zombies(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for child in children.read_text().split():
            try:
                status = pathlib.Path(f"/proc/{child}/stat").read_text()
            except OSError:
                continue
            if status.rsplit(")", 1)[1].split()[0] == "Z":
                return True
        return False

    def health(self):
        """Seconds that /healthz took; None when it is not well.

        Those in which the server's loop or this thread was ready to run and the machine had no
        processor for it are nobody's fault, and the kernel counts them: they are taken off. What
        is left is what the server does, and what it waits for.
        """
        waited, began = self.waited_for_processors(), time.monotonic()
        answer = exchange(self, get("/healthz", f"X-Request-Id: {OWN_ID}", close=True))
        took = time.monotonic() - began
        if answer.status != 200:
            return None
        own = max(0.0, took - (self.waited_for_processors() - waited))
        self.healths.append((own, took))
        return own if took < STALL else took

    def waited_for_processors(self):
        """Seconds so far, of the loop and of this thread; 0 where the kernel does not count them."""
        total = 0
        for thread in (f"/proc/{self.process.pid}/task/{self.process.pid}", "/proc/thread-self"):
            try:
                total += int(pathlib.Path(thread, "schedstat").read_text().split()[1])
            except (OSError, IndexError):
                pass
        return total / 1e9

    def healths_told(self):
        own, took = zip(*self.healths)
        return (f"health {len(own)} times: the server took {statistics.median(own) * 1000:.1f} ms "
                f"in the median and at most {max(own) * 1000:.1f}; with waiting for a processor "
                f"{statistics.median(took) * 1000:.1f} and {max(took) * 1000:.1f}")

    def is_slow(self):
        """Whether health takes too long."""
        took = self.health()
        return took is None or took > HEALTH

    def is_well(self, slow=None):
        """What is not as before; an empty text when all is well. slow: is_slow was asked already."""
        if self.process.poll() is not None:
            return f"the server has ended: {self.process.returncode}"
        if slow or (slow is None and all(self.is_slow() for _ in range(TRIES))):
            return f"health took too long: own time and all of it, in s: {self.healths[-TRIES:]}"
        deadline = time.monotonic() + PATIENCE
        while self.count_descriptors() > self.descriptors or self.has_zombies():
            if time.monotonic() > deadline:
                return (f"{self.descriptors_open()} instead of {self.descriptors} descriptors; "
                        f"zombies: {self.has_zombies()}")
            time.sleep(0.02)
        return ""

    def access_lines(self, count):
        """Ids of the requests whose lines are new in the log, None where there was no answer.
        Waits until there are so many."""
        deadline, found = time.monotonic() + PATIENCE, []
        while True:
            with open(self.log.name, "rb") as log:
                log.seek(self.read_to)
                text = log.read()
            whole = text[:text.rfind(b"\n") + 1]
            self.read_to += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                if " request without an answer " in line:
                    found.append(None)
                elif (match := re.search(r" request request_id=(\S+) ", line)) and match[1] != OWN_ID:
                    found.append(match[1])
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def stop(self):
        """What sanitizers have said; an empty text is best."""
        atexit.unregister(self.stop)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        said = self.said()
        self.log.close()
        self.folder.cleanup()
        return "\n".join(line for line in said.splitlines()
                         if re.search(r"Sanitizer|runtime error:|Assertion", line))


class Answer:
    """What has come back: the answers, and whether the server has closed."""

    def __init__(self, data, closed):
        self.data, self.closed = data, closed
        self.statuses = [int(code) for code in
                         re.findall(rb"(?:^|\r\n|\n|\})HTTP/1\.[01] (\d{3}) ", data)]
        self.status = self.statuses[-1] if self.statuses else None

    def slug(self):
        found = re.findall(rb'"type":"/problems/([a-z-]+)"', self.data)
        return found[-1].decode() if found else None

    def request_ids(self):
        """One of each answer that the server has made; those of the library have none."""
        return [value.decode() for value in
                re.findall(rb"(?mi)^X-Request-Id: *([^\r\n]+)", self.data)]

    def has_header(self, name):
        return re.search(rb"(?mi)^" + name.encode() + rb":", self.data) is not None

    def __repr__(self):
        return f"{self.statuses} {self.slug()} {'closed' if self.closed else 'open'} {self.data[-300:]!r}"


def half_closed(connection):
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the server has closed it


def readable(connection, seconds):
    """Not select(2), which knows 1,024 descriptors only."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


SILENCE = 2  # seconds behind an answer in which a server that is to close would have


def complete(data):
    """How many answers are there in full."""
    count = 0
    while (end := data.find(b"\r\n\r\n")) >= 0:
        length = re.search(rb"(?i)\r\nContent-Length: *(\d+)", data[:end])
        if data.startswith(b"HTTP/1.1 100"):
            count -= 1
        elif not length and not data.startswith(b"HTTP/1.1 204"):
            break
        size = end + 4 + (int(length[1]) if length else 0)
        if len(data) < size:
            break
        data = data[size:]
        count += 1
    return count


def exchange(server, data, byte_by_byte=False, half_close=False, enough=None):
    """Sends all of it, and reads until `enough` answers are there, or the server closes, or has
    been silent for a while."""
    received = b""
    with server.connect() as connection:
        try:
            for piece in ([data[i:i + 1] for i in range(len(data))] if byte_by_byte else [data]):
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered before the end
        if half_close:
            half_closed(connection)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if not readable(connection, SILENCE if received else PATIENCE):
                return Answer(received, False)
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                return Answer(received, True)
            if not piece:
                return Answer(received, True)
            received += piece
            if enough and complete(received) >= enough:
                return Answer(received, False)
    return Answer(received, False)


def get(path, *headers, method="GET", version="HTTP/1.1", host="localhost", close=False):
    lines = [f"{method} {path} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += headers
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(path, body, *headers, content_type="application/json", length=None, method="POST", **more):
    if isinstance(body, str):
        body = body.encode()
    framing = [] if length == "none" else [f"Content-Length: {len(body) if length is None else length}"]
    kind = [f"Content-Type: {content_type}"] if content_type is not None else []
    return get(path, *kind, *framing, *headers, method=method, **more) + body


class Suite:
    """Counts, prints "ok N - ...", and looks after the server behind each row."""

    def __init__(self, server):
        self.server, self.count, self.failed = server, 0, 0
        self.by_library = set()  # rows in which the library has answered by itself

    def report(self, good, what, got=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {what}", flush=True)
        if not good:
            print(f"# {got}", flush=True)

    def row(self, number, what, data, expected, ways=("whole", "bytes", "behind"),
            half_close=False):
        """Sends it whole, one byte at a time, and behind a valid request on one connection."""
        for way in ways:
            for _ in range(TRIES):
                answer, logged = self.send_row(data, expected, way, half_close)
                slow = self.server.process.poll() is None and self.server.is_slow()
                if not slow:
                    break
            if way == "behind" and answer.statuses[:1] == [200]:
                answer.statuses = answer.statuses[1:]
                answer.status = answer.statuses[-1] if answer.statuses else None
            elif way == "behind":
                self.report(False, f"row {number}: the valid request before {what}", repr(answer))
                continue
            wrong = expected(answer)
            wrong = wrong if isinstance(wrong, str) else "" if wrong else "not so"
            wrong = wrong or self.server.is_well(slow) or logged
            self.by_library.update({number} if not answer.request_ids() else ())
            self.report(not wrong, f"row {number}: {what} ({way})", f"{wrong}: {answer!r}")

    def send_row(self, data, expected, way, half_close):
        """The answer, and what is wrong with the lines of the log for it."""
        sent = get("/healthz") + data if way == "behind" else data
        # One that may stay open is not waited for.
        enough = None if getattr(expected, "closes", False) else 1 + (way == "behind")
        answer = exchange(self.server, sent, way == "bytes", half_close, enough)
        return answer, self.lines_wrong(answer, getattr(expected, "unanswered", 0))

    def lines_wrong(self, answer, unanswered):
        """Each answer of the server has one line in the log, with its id, and nothing else has."""
        wanted = answer.request_ids() + [None] * unanswered
        found = self.server.access_lines(len(wanted))
        if collections.Counter(found) == collections.Counter(wanted):
            return ""
        return f"lines of {found} in the log instead of {wanted}"

    def done(self):
        if self.by_library:
            print("# answered by the library, so without a line in the log:",
                  *sorted(self.by_library))
        print("#", self.server.healths_told())
        said = self.server.stop()
        self.report(not said, "the sanitizers are silent", said)
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)


# ---- what may come back ----


def refused(*statuses, slug=None):
    """One answer with one of these, and the connection is closed."""
    def expected(answer):
        return (answer.status in statuses and answer.closed and len(answer.statuses) == 1 and
                (slug is None or answer.slug() == slug))
    expected.closes = True
    return expected


def library(*statuses, begun=True):
    """The library refuses: one of these (it may say it twice), or nothing; and closes. When it
    has `begun` to read a request, the log says that it got no answer from the server."""
    def expected(answer):
        return answer.closed and (not answer.statuses or set(answer.statuses) <= set(statuses))
    expected.closes = True
    expected.unanswered = int(begun)
    return expected


def closed(answer):
    return answer.closed and not answer.statuses


closed.closes = True
closed.unanswered = 1  # requests that have begun and got no answer: each has its line, too


def answered(*statuses, slug=None):
    """One answer with one of these; the connection may stay."""
    def expected(answer):
        return (answer.status in statuses and len(answer.statuses) == 1 and
                (slug is None or answer.slug() == slug))
    return expected
