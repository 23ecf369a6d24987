# SPDX-License-Identifier: MIT
"""runner.py, as a worker and a forkserver see it: frames on a socket, the page, requests.

    test_runner.py [unittest's arguments]

runs it with the interpreter that runs this.
"""

import contextlib
import fcntl
import importlib.util
import json
import mmap
import os
import pathlib
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

RUNNER = str(pathlib.Path(__file__).resolve().parents[3] / "workers" / "runner.py")
PATIENCE = 60

READY, CHUNK, RESULT, FAILURE, INIT, PROGRESS = 1, 2, 3, 4, 5, 6
APPLY, MAP, STARMAP = 0, 1, 2
LAST, TIMED, PACKED = 1, 2, 4
ITEM, STARTED, HURRY = 1, 2, 3

TASKS = '''
import os, sys, time
calls = []

def square(x):
    """The square of x."""
    return x * x

def same(x):
    return x

def odd_only(x):
    if x % 2 == 0:
        raise ValueError(x)
    return x

def mixed(x):
    return {1} if x % 3 == 0 else x

def text(size):
    return "x" * size

def wait(path):
    """Says that it runs, and waits to be told to go on."""
    if path:
        with open(path + ".up", "w") as up:
            up.write("x")
        with open(path + ".down") as down:
            down.read()
    return path

def where():
    return [os.getcwd(), os.environ.get("MARK"), os.getpgid(0)]

def state(x):
    return [x, os.environ.get("TRACESTATE"), os.getenv("TRACESTATE")]

def trace(x):
    return [x, os.environ.get("TRACEPARENT"), os.getenv("TRACEPARENT")]

def nap(seconds):
    time.sleep(seconds)

def report(x):
    import poold
    poold.progress(x, 10, "ü" * 200)
    return x

def leave(code):
    os._exit(code)

def complain(text):
    raise ValueError(text)

def note(x):
    calls.append(x)
    return calls

class Kind:
    @staticmethod
    def plain(x: int = 3) -> int: "Gives it back."; return x

    @classmethod
    def made(cls): return cls.__name__
'''


def load_runner():
    spec = importlib.util.spec_from_file_location("runner", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runner = load_runner()


def results(flags, body):
    if flags & PACKED:
        return list(struct.unpack(f"<{len(body) // 8}q", body))
    return json.loads(b"[" + body + b"]")


class Pair:
    """The worker's end of a runner's channel, and the page."""

    def __init__(self):
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(PATIENCE)
        self.page_fd = os.memfd_create("page")
        os.truncate(self.page_fd, 4096)
        self.cells = memoryview(mmap.mmap(self.page_fd, 4096)).cast("Q")

    def close(self):
        self.sock.close()
        with contextlib.suppress(OSError):
            os.close(self.page_fd)

    def receive(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def frame(self):
        kind, flags, zero, size, chunk_id = struct.unpack("<BBHIQ", self.receive(16))
        assert zero == 0
        return kind, flags, chunk_id, self.receive(size)

    def send(self, kind, flags, chunk_id, payload):
        self.sock.sendall(struct.pack("<BBHIQ", kind, flags, 0, len(payload), chunk_id) + payload)

    def chunk(
        self, task, values, style=MAP, kwargs=None, first=0, flags=0, kind=CHUNK, chunk_id=7, trace=b""
    ):
        items = json.dumps(values).encode()
        if flags & PACKED:
            items = struct.pack(f"<{len(values)}q", *values)
        elif style != APPLY:
            items = items[1:-1]
        name = f"things:{task}".encode()
        extra = json.dumps(kwargs).encode() if kwargs else b""
        count = 1 if style == APPLY else len(values)
        head = struct.pack("<QIBBHIIQ", first, count, style, len(name), len(trace), len(extra), 0, 0)
        self.send(kind, flags, chunk_id if kind == CHUNK else 0, head + name + trace + extra + items)

    def outcomes(self, first=0, chunk_id=7):
        """{index: value or exception}, after a look at the order of frames."""
        found, at = {}, first
        while True:
            kind, flags, got_id, payload = self.frame()
            start, number, zero, _ = struct.unpack("<QIIQ", payload[:24])
            assert (got_id, start, zero) == (chunk_id, at, 0), (got_id, start, at)
            body = payload[24:]
            if kind == RESULT:
                values = results(flags, body)
                assert len(values) == number
                found.update(enumerate(values, at))
                at += number
            else:
                assert kind == FAILURE
                found[at] = (number, json.loads(body))
                at += 1
            if flags & LAST:
                return found


class WithTasks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        self.file = os.path.join(self.folder, "things.py")
        pathlib.Path(self.file).write_text(TASKS)

    def start(self, arguments, descriptors):
        """The runner, with these on 3, 4, ..."""

        def place():
            # Out of each other's way first.
            moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in descriptors]
            for number, fd in enumerate(moved, 3):
                os.dup2(fd, number)

        child = subprocess.Popen(
            [sys.executable, "-I", "-B", RUNNER, *arguments],
            preexec_fn=place,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(self.end, child)
        return child

    def end(self, child):
        child.kill()
        child.wait()
        child.stdout.close()


class WithRunner(WithTasks):
    result_max = 1_000_000

    def setUp(self):
        super().setUp()
        self.pair = Pair()
        self.addCleanup(self.pair.close)
        self.child = self.start(
            ["run", str(self.result_max), self.file], [self.pair.theirs.fileno(), self.pair.page_fd]
        )
        self.pair.theirs.close()
        self.assertEqual(self.pair.frame(), (READY, 0, 0, b""))

    def ask(self, *args, **more):
        self.pair.chunk(*args, **more)
        return self.pair.outcomes(first=more.get("first", 0))


class SmallResultsTest(WithRunner):
    result_max = 5

    def test_integers_above_the_limit_fail_alone(self):
        found = self.ask("same", [12345, 1, 123456, 2], flags=PACKED)
        self.assertEqual((found[0], found[1], found[3]), (12345, 1, 2))
        self.assertEqual((found[2][0], found[2][1]["type"]), (1, "ResultTooLarge"))


class RunTest(WithRunner):
    def test_results_come_in_order_with_the_last_one_marked(self):
        self.assertEqual(self.ask("square", [3, 4], first=10), {10: 9, 11: 16})
        self.assertEqual(self.ask("square", [5], style=APPLY), {0: 25})
        self.assertEqual(self.ask("square", [[6], [7]], style=STARMAP), {0: 36, 1: 49})
        count = 100_000
        self.assertEqual(self.ask("square", list(range(count))), {n: n * n for n in range(count)})

    def test_the_trace_of_a_chunk_is_in_the_environment_as_long_as_it_runs(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        for flags in (0, PACKED, TIMED):
            found = self.ask("trace", [5, 6], flags=flags, trace=trace.encode())
            self.assertEqual(found, {0: [5, trace, trace], 1: [6, trace, trace]})
            self.assertEqual(self.ask("trace", [7], flags=flags), {0: [7, None, None]})
        found = self.ask("trace", [1], style=APPLY, trace=trace.encode(), kwargs={})
        self.assertEqual(found, {0: [1, trace, trace]})

    def test_the_state_of_a_trace_is_in_the_environment_if_there_is_one(self):
        parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 'a="\\,b= 2'
        both = (parent + state).encode()
        self.assertEqual(self.ask("trace", [5], trace=both), {0: [5, parent, parent]})
        self.assertEqual(self.ask("state", [5], trace=both), {0: [5, state, state]})
        self.assertEqual(self.ask("state", [6], trace=parent.encode()), {0: [6, None, None]})
        self.assertEqual(self.ask("state", [7], trace=both), {0: [7, state, state]})
        self.assertEqual(self.ask("state", [8]), {0: [8, None, None]})

    def test_a_result_has_the_same_bytes_whoever_is_told_with_it(self):
        for values in (
            [0, -7, 12, 10**40],
            [2**63 - 1, -(2**63), 0],
            [2**63, 1],
            [True, 5, False],
            [1, 2.5],
            [1, "a, b"],
            [2, [3, 4]],
            [1, None],
        ):
            self.pair.chunk("same", values * 50)
            told = b""
            while True:
                kind, flags, _, payload = self.pair.frame()
                self.assertEqual(kind, RESULT)
                text = payload[24:]
                if flags & PACKED:
                    text = json.dumps(results(flags, text), separators=(",", ":"))[1:-1].encode()
                told += text + b","
                if flags & LAST:
                    break
            self.assertEqual(told[:-1].decode(), json.dumps(values * 50, separators=(",", ":"))[1:-1])

    def test_integers_come_and_go_without_their_text(self):
        values = [random.randrange(-(2**31), 2**31) for _ in range(1000)]
        self.assertEqual(self.ask("square", values, flags=PACKED), {n: v * v for n, v in enumerate(values)})
        self.assertEqual(self.ask("odd_only", [1, 3], flags=PACKED | TIMED, first=5), {5: 1, 6: 3})
        self.pair.chunk("same", values, flags=PACKED)
        told = []
        while not (told and told[-1] & LAST):
            told.append(self.pair.frame()[1])
        self.assertTrue(all(flags & PACKED for flags in told[1:]))  # the first is one item

    def test_only_integers_lose_their_text(self):
        for values in ([True, True], [1.0, 2.0], [2**63, 2**63], ["1", "2"]):
            self.pair.chunk("same", values * 10)
            flags = 0
            while not flags & LAST:
                flags = self.pair.frame()[1]
                self.assertFalse(flags & PACKED)

    def test_what_a_chunk_has_taught_holds_for_the_next_one_of_its_task(self):
        for task, alone in (("square", True), ("square", False), ("same", True)):
            self.pair.chunk(task, list(range(1000)))
            told = [0]
            while sum(told) < 1000:
                told.append(struct.unpack_from("<QI", self.pair.frame()[3])[1])
            self.assertEqual(told[1] == 1, alone)

    def test_failures_lie_between_results_without_a_gap(self):
        values = [random.randrange(100) for _ in range(1000)]
        found = self.ask("odd_only", values)
        for index, value in enumerate(values):
            if value % 2:
                self.assertEqual(found[index], value)
            else:
                kind, exception = found[index]
                told = (kind, exception["type"], exception["message"])
                self.assertEqual(told, (0, "ValueError", str(value)))

    def test_results_that_are_no_json_fail_alone(self):
        found = self.ask("mixed", list(range(200)))
        for index in range(200):
            if index % 3:
                self.assertEqual(found[index], index)
            else:
                self.assertEqual((found[index][0], found[index][1]["type"]), (2, "InvalidResult"))

    def test_results_at_the_limit_and_above(self):
        found = self.ask("text", [999_998, 999_999, 3])
        self.assertEqual(len(found[0]), 999_998)
        self.assertEqual(found[1][0], 1)
        self.assertEqual(found[2], "xxx")

    def test_an_unknown_task_fails_every_item(self):
        found = self.ask("nothing", [1, 2, 3])
        self.assertEqual([kind for kind, _ in found.values()], [0, 0, 0])
        self.assertEqual(found[1][1]["type"], "LookupError")

    def fifo(self):
        path = os.path.join(self.folder, "fifo")
        os.mkfifo(path + ".up")
        os.mkfifo(path + ".down")
        return path

    def until_it_runs(self, path):
        with open(path + ".up") as up:
            up.read()

    def go_on(self, path):
        with open(path + ".down", "w"):
            pass

    def test_the_page_tells_the_item_and_when_it_began(self):
        path = self.fifo()
        self.pair.chunk("wait", ["", "", path, ""], first=40, flags=TIMED)
        before = time.monotonic_ns()
        self.until_it_runs(path)
        self.assertEqual(self.pair.cells[ITEM], 42)
        self.assertGreater(self.pair.cells[STARTED], before - PATIENCE * 10**9)
        self.assertLessEqual(self.pair.cells[STARTED], time.monotonic_ns())
        self.go_on(path)
        self.pair.outcomes(first=40)
        self.assertEqual(self.pair.cells[STARTED], 0)

    def test_the_page_tells_the_item_wherever_it_lies(self):
        path = self.fifo()
        for first, place in ((0, 255), (0, 256), (200, 700), (2**32 - 100, 100), (511, 0), (511, 1)):
            self.pair.chunk("wait", [""] * place + [path, ""], first=first)
            self.until_it_runs(path)
            self.assertEqual(self.pair.cells[ITEM], first + place)
            self.go_on(path)
            self.pair.outcomes(first=first)
            self.assertEqual(self.pair.cells[ITEM], first + place + 1)

    def test_without_a_time_limit_no_start_is_noted(self):
        path = self.fifo()
        self.pair.chunk("wait", [path])
        self.until_it_runs(path)
        self.assertEqual(self.pair.cells[STARTED], 0)
        self.go_on(path)
        self.pair.outcomes()

    def test_who_is_asked_to_hurry_tells_what_there_is_after_the_item(self):
        path = self.fifo()
        self.pair.chunk("wait", ["", "", path] + [""] * 5)
        self.until_it_runs(path)
        self.assertEqual(self.pair.frame()[0], RESULT)  # the first item, alone
        self.pair.cells[HURRY] = 1
        self.go_on(path)
        kind, flags, _, payload = self.pair.frame()
        self.assertEqual((kind, flags, struct.unpack("<QI", payload[:12])), (RESULT, 0, (1, 2)))
        self.assertEqual(self.pair.cells[HURRY], 0)
        self.assertEqual(list(self.pair.outcomes(first=3)), [3, 4, 5, 6, 7])

    def test_exceptions_may_hold_any_text(self):
        found = self.ask("complain", ["a\0b\udc80"])
        self.assertEqual(found[0][1]["message"], "a\\x00b\\udc80")

    def test_keyword_arguments_reach_the_call(self):
        self.assertEqual(self.ask("Kind.plain", [], style=APPLY, kwargs={"x": 5}), {0: 5})

    def test_progress_is_told_of_the_item_that_is_run(self):
        self.pair.chunk("report", [5], first=30)
        kind, flags, chunk_id, payload = self.pair.frame()
        self.assertEqual((kind, flags, chunk_id), (PROGRESS, 0, 7))
        self.assertEqual(struct.unpack("<QQQ", payload[:24]), (30, 5, 10))
        self.assertEqual(payload[24:].decode(), "ü" * 128)
        self.assertEqual(self.pair.outcomes(first=30), {30: 5})

    def test_an_initializer_is_answered_once_and_its_changes_stay(self):
        self.pair.chunk("note", ["first"], style=APPLY, kind=INIT)
        self.assertEqual(self.pair.frame(), (READY, 0, 0, b""))
        self.assertEqual(self.ask("note", ["second"]), {0: ["first", "second"]})

    def test_an_initializer_that_raises_is_a_failure(self):
        self.pair.chunk("odd_only", [2], style=APPLY, kind=INIT)
        kind, _, chunk_id, payload = self.pair.frame()
        self.assertEqual((kind, chunk_id), (FAILURE, 0))
        self.assertEqual(json.loads(payload[24:])["type"], "ValueError")

    def test_it_ends_when_the_worker_closes(self):
        self.pair.sock.close()
        self.assertEqual(self.child.wait(PATIENCE), 0)

    def test_a_frame_may_come_byte_by_byte(self):
        name = b"things:square"
        payload = struct.pack("<QIBBHIIQ", 0, 1, MAP, len(name), 0, 0, 0, 0) + name + b"12"
        for byte in struct.pack("<BBHIQ", CHUNK, 0, 0, len(payload), 7) + payload:
            self.pair.sock.send(bytes([byte]))
        self.assertEqual(self.pair.outcomes(), {0: 144})


class TemplateTest(WithTasks):
    def setUp(self):
        super().setUp()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.control.close)
        self.theirs = theirs
        self.addCleanup(theirs.close)

    def request(self, environ=None, cwd="/", limits=None, group=0):
        """Asks for a runner. Its channel, the end that keeps it alive, and where its end is told."""
        pair = Pair()
        self.addCleanup(pair.close)
        status, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(status.close)
        status.settimeout(PATIENCE)
        life, kept = os.pipe()
        output, folder = os.open("/dev/null", os.O_WRONLY), os.open(cwd, os.O_PATH)
        words = []
        for kind in range(16):
            words += (limits or {}).get(kind, resource.getrlimit(kind))
        message = struct.pack("<QQ32Q", group, 1_000_000, *(word % 2**64 for word in words))
        for name, value in (environ or {}).items():
            message += f"{name}={value}".encode() + b"\0"
        given = [pair.theirs.fileno(), pair.page_fd, output, folder, life, told.fileno()]
        socket.send_fds(self.control, [message], given)
        for fd in (life, output, folder):
            os.close(fd)
        pair.theirs.close()
        told.close()
        return pair, kept, status

    def answer(self, status):
        data = status.recv(4)
        return struct.unpack("<i", data)[0] if data else None

    def test_it_forks_runners_and_tells_how_they_end(self):
        self.start(["template", "alone", self.file], [self.theirs.fileno(), self.theirs.fileno()])
        for code in (0, 7):
            pair, kept, status = self.request()
            pid = self.answer(status)
            self.assertGreater(pid, 0)
            self.assertEqual(pair.frame()[0], READY)
            pair.chunk("square", [9])
            self.assertEqual(pair.outcomes(), {0: 81})
            pair.chunk("leave", [code])
            self.assertEqual(self.answer(status), code << 8)
            os.close(kept)

    def test_a_runner_is_as_if_the_worker_had_started_it(self):
        self.start(["template", "alone", self.file], [self.theirs.fileno(), self.theirs.fileno()])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        pair, kept, status = self.request(
            environ={"MARK": "here"}, cwd=self.folder, limits={resource.RLIMIT_NOFILE: (soft - 3, hard)}
        )
        pid = self.answer(status)
        pair.frame()
        pair.chunk("where", [], style=APPLY)
        self.assertEqual(pair.outcomes()[0], [self.folder, "here", pid])
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        self.assertIn(f"Max open files            {soft - 3} ", limits)
        os.close(kept)

    def test_a_runner_dies_with_its_worker_even_in_a_task(self):
        self.start(["template", "alone", self.file], [self.theirs.fileno(), self.theirs.fileno()])
        pair, kept, status = self.request()
        self.answer(status)
        pair.frame()
        pair.chunk("nap", [600])
        os.close(kept)
        self.assertEqual(self.answer(status), signal.SIGKILL)

    def test_threads_that_a_module_starts_forbid_forks(self):
        pathlib.Path(self.file).write_text(
            "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        )
        self.start(["template", "alone", self.file], [self.theirs.fileno(), self.theirs.fileno()])
        _, kept, status = self.request()
        self.assertEqual(self.answer(status), 0)
        os.close(kept)

    def test_a_request_without_its_descriptors_is_dropped(self):
        self.start(["template", "alone", self.file], [self.theirs.fileno(), self.theirs.fileno()])
        self.control.send(b"nonsense")
        pair, kept, status = self.request()
        self.assertGreater(self.answer(status), 0)
        os.close(kept)


class DescribeTest(WithTasks):
    def describe(self, entry):
        read, write = os.pipe()
        child = self.start(["describe", entry], [write, write])
        os.close(write)
        with open(read) as answer:
            described = json.load(answer)
        self.assertEqual(child.wait(PATIENCE), 0)
        return described

    def test_what_a_file_offers(self):
        tasks = {task["name"]: task for task in self.describe(self.file)["tasks"]}
        self.assertEqual(tasks["things:square"]["summary"], "The square of x.")
        self.assertEqual(tasks["things:Kind.plain"]["signature"], "Kind.plain(x: int = 3) -> int")
        self.assertEqual(tasks["things:Kind.made"]["signature"], "Kind.made()")
        self.assertNotIn("things:calls", tasks)

    def test_what_a_module_offers(self):
        tasks = {task["name"]: task for task in self.describe("math")["tasks"]}
        self.assertIn("math:sqrt", tasks)
        self.assertTrue(tasks["math:hypot"]["signature"].startswith("hypot("))

    def test_texts_that_are_no_utf8_are_told(self):
        pathlib.Path(self.file).write_text('def f(x="\\ud800"): pass\nf.__doc__ = "\\ud800 first"\n')
        (task,) = self.describe(self.file)["tasks"]
        json.dumps(task, ensure_ascii=False).encode()

    def test_why_a_file_is_refused(self):
        for source, reason in (
            ("def f(:\n", "SyntaxError: "),
            ("1 / 0\n", "ZeroDivisionError: division by zero (things.py, line 1)"),
            ("\nraise SystemExit(2)\n", "SystemExit: 2 (things.py, line 2)"),
        ):
            pathlib.Path(self.file).write_text(source)
            self.assertTrue(self.describe(self.file)["refused"].startswith(reason), reason)
        self.assertIn("already", self.describe(self.file.replace("things", "random"))["refused"])
        self.assertIn("no name", self.describe(self.file.replace("things", "two words"))["refused"])


class OneByOneTest(unittest.TestCase):
    def test_items_are_those_that_reading_all_at_once_gives(self):
        for text in (
            "",
            "1",
            '1, "a,b" ,[1,[2]],{"k":"}]"}',
            '"\\"", "\\\\", ["]"], {"a":{"b":[]}}, null ,true,-1.5e3',
            '{"a":1} , [] ,""',
        ):
            self.assertEqual(list(runner.OneByOne(text)), json.loads("[" + text + "]"))

    def test_an_item_that_cannot_be_read_does_not_disturb_the_next(self):
        items = runner.OneByOne('[1], nonsense, {"a": "b,c"}')
        self.assertEqual(next(items), [1])
        with self.assertRaises(ValueError):
            next(items)
        self.assertEqual(next(items), {"a": "b,c"})
        self.assertRaises(StopIteration, next, items)


if __name__ == "__main__":
    unittest.main()
