# SPDX-License-Identifier: MIT
"""The process beside a worker of poold that runs its Python tasks.

It is part of the binary, which gives it to the interpreter of the setting `python`:

    runner.py describe ENTRY              what tasks there are, as JSON on descriptor 3
    runner.py run RESULT_MAX ENTRY...     runs chunks: frames on descriptor 3, the page on 4
    runner.py template GROUPS ENTRY...    imports once, forks runners: requests on 3; where they are asked to
                                          `join` control groups (or are `alone`), on 4

An ENTRY is the path of a file, or the name of a module. workers/PROTOCOL.md has what goes over the
descriptors. The standard library of Python 3.9 is all that may be used here.

A chunk comes as a whole, so that an item costs what Python's own loop costs: its JSON is read by one
call, and results are written by one call for as many items as fit into a frame.
"""

import sys

if sys.version_info < (3, 9):
    sys.exit("poold needs Python 3.9 or later, this is " + sys.version.split()[0])

import _signal
import fcntl
import gc
import importlib
import importlib.machinery
import importlib.util
import itertools
import json
import locale
import math
import mmap
import operator
import os
import re
import reprlib
import resource
import select
import signal
import socket
import struct
import termios
import threading
import time
import traceback
import types
import warnings

try:
    import ctypes
except ImportError:  # an interpreter that was built without it
    ctypes = None

CHANNEL_FD = 3
PAGE_FD = 4
SCRIPT_FD = 5

# ---- frames (frame.h) ----------------------------------------------------------------------

READY, CHUNK, RESULT, FAILURE, INIT, PROGRESS = 1, 2, 3, 4, 5, 6
LAST = 0x01
TIMED = 0x02
PACKED = 0x04  # integers as numbers of 8 bytes (packed.h)
APPLY, MAP, STARMAP = 0, 1, 2
TASK_RAISED, RESULT_TOO_LARGE, INVALID_RESULT, OUT_OF_MEMORY = 0, 1, 2, 3

HEADER = struct.Struct("<BBHIQ")
CHUNK_HEAD = struct.Struct("<QIBBHIIQ")
RESULT_HEAD = struct.Struct("<QIIQ")
FAILURE_HEAD = struct.Struct("<QIIQ")
PROGRESS_HEAD = struct.Struct("<QQQ")

FLUSH_BYTES = 256 * 1024  # CHILD_FLUSH_BYTES: results that are gathered in one frame
BATCH_NS = 10_000_000  # how long gathering should take
BATCH_MAX = 65536  # items
BATCH_GROWTH = 16
READ_LEN = 64 * 1024
PACKED_TEXT_MAX = 21  # bytes of such a number's text and a comma
MESSAGE_MAX = 4096  # characters of an exception's message
TRACEBACK_MAX = 64 * 1024  # characters; the middle goes
PROGRESS_NS = 1_000_000  # between two reports; the worker tells the server even fewer
PROGRESS_MESSAGE_MAX = 256  # bytes
SHOWN_MAX = 200  # characters of a signature or a value
SWEEPS_MAX = 100  # for processes that items have left behind: one that is killed may have children
PR_SET_CHILD_SUBREAPER = 36

TRACE, TRACE_STATE = "TRACEPARENT", "TRACESTATE"  # the variables, while an item of a job with a trace is run
TRACE_LEN = 55  # of the first, in a chunk; the second is behind it
LIMITS = "poold_limits"  # the attribute of a function that has limits of its own
LIMIT_KINDS = {
    "memory_limit": resource.RLIMIT_AS,
    "file_size_limit": resource.RLIMIT_FSIZE,
    "open_files_limit": resource.RLIMIT_NOFILE,
    "process_limit": resource.RLIMIT_NPROC,
}

# The page (page.h) as numbers of 64 bits.
ITEM, STARTED, HURRY, OUTPUT_READ, OUTPUT_TURN, CPU_MS = 1, 2, 3, 6, 7, 8
ITEM_BYTE, HURRY_BYTE = ITEM * 8, HURRY * 8  # their lowest bytes
PAGE_SIZE = 4096


class Closed(Exception):
    """The worker has gone."""


class Channel:
    def __init__(self, sock):
        self.sock = sock
        self.unread = b""

    def read(self, size):
        """Exactly that many bytes. Small frames come with one system call."""
        while len(self.unread) < size:
            missing = size - len(self.unread)
            more = self.sock.recv(max(missing, READ_LEN), socket.MSG_WAITALL if missing > READ_LEN else 0)
            if not more:
                raise Closed
            self.unread = self.unread + more if self.unread else more
        data = self.unread
        if len(data) == size:
            self.unread = b""
            return data
        self.unread = data[size:]
        return data[:size]

    def next_frame(self):
        kind, flags, _, size, chunk_id = HEADER.unpack(self.read(HEADER.size))
        return kind, flags, chunk_id, self.read(size)

    def send(self, kind, flags, chunk_id, head=b"", text=b""):
        header = HEADER.pack(kind, flags, 0, len(head) + len(text), chunk_id)
        self.sock.sendall(b"".join((header, head, text)))


# ---- modules and the tasks in them ---------------------------------------------------------


def module_name(entry):
    return os.path.basename(entry)[:-3] if "/" in entry else entry


def load_file(entry):
    name = module_name(entry)
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == entry:
        return loaded  # its neighbour has imported it
    folder = os.path.dirname(entry)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: a file must not hide what others import
    spec = importlib.util.spec_from_file_location(name, entry)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def load(entry):
    return load_file(entry) if "/" in entry else importlib.import_module(entry)


class Tasks:
    """The functions by their names, found when they are first called."""

    def __init__(self):
        self.modules = {}  # name -> modules; files in two folders may have one name
        self.broken = {}  # name -> what was raised when it was imported
        self.functions = {}
        self.limits = {}  # name -> pairs of a kind and its soft limit

    def load_all(self, entries):
        for entry in entries:
            name = module_name(entry)
            try:
                self.modules.setdefault(name, []).append(load(entry))
            except BaseException as exc:  # sys.exit() as well: the other files are good
                self.broken[name] = exc

    def find(self, task):
        function = self.functions.get(task)
        if function is None:
            function = self.functions[task] = self.look_up(task)
        return function

    def look_up(self, task):
        name, _, path = task.partition(":")
        for module in self.modules.get(name, ()):
            value = module
            for attribute in path.split("."):
                value = getattr(value, attribute, None)
            if callable(value):
                self.limits[task] = soft_limits(limits_of(path, value))
                return run_coroutine(value) if is_coroutine_function(value) else value
        if name in self.broken:
            raise ImportError(f"{name} could not be imported in this worker") from self.broken[name]
        raise LookupError(f"{name} has no {path} any more")


def limits_of(name, function):
    """What range they have to be in is the worker's business."""
    limits = getattr(function, LIMITS, None) or {}
    if not isinstance(limits, dict) or not all(
        isinstance(key, str) and isinstance(value, (int, float)) and math.isfinite(value)
        for key, value in limits.items()
    ):
        raise TypeError(f"{name}.{LIMITS} is not a dict of numbers")
    return limits


def soft_limits(limits):
    """Of the limits that a function has, those that its process is held to here. The others are its
    worker's business, who has read them in the catalog."""
    return [(kind, int(limits[name])) for name, kind in LIMIT_KINDS.items() if limits.get(name)]


def narrow(limits):
    """Until the chunk is over: then all limits are set back."""
    for kind, wanted in limits:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (wanted if hard < 0 else min(wanted, hard), hard))


def is_coroutine_function(function):
    code = getattr(function, "__code__", None)
    return code is not None and code.co_flags & 0x80  # CO_COROUTINE


def run_coroutine(function):
    import asyncio

    return lambda *args, **kwargs: asyncio.run(function(*args, **kwargs))


# ---- what a task leaves behind -------------------------------------------------------------


def adopt_orphans():
    """Descendants that lose their parent become children of this process. Without ctypes they become the
    forkserver's, and end with the worker."""
    if ctypes is not None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    """Of all threads; a thread that has ended leaves its own to another one."""
    found = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
        except OSError:
            pass
    return found


def has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class Surroundings:
    """What the process was like before the first task, and brings it back after each chunk."""

    def __init__(self):
        self.cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.cwd_name = os.getcwd()
        self.umask = os.umask(0o077)
        os.umask(self.umask)
        self.environ = dict(os.environ)
        self.environ_bytes = dict(os.environ._data)
        self.path = list(sys.path)
        self.filters = list(warnings.filters)
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.recursion = sys.getrecursionlimit()
        self.locale = locale.setlocale(locale.LC_ALL)
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.signals = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
        # Without signal.getsignal, which makes an enum of each answer: most of the time this would take.
        self.handlers = [_signal.getsignal(number) for number in self.signals]
        self.kinds = range(resource.RLIM_NLIMITS) if hasattr(resource, "RLIM_NLIMITS") else range(16)
        self.limits = [resource.getrlimit(kind) for kind in self.kinds]
        self.children = children()

    def restore(self):
        """Raises when something cannot be brought back: a hard limit that was lowered."""
        if has_children():
            self.end_children()
        try:
            moved = os.getcwd() != self.cwd_name
        except OSError:  # it was removed
            moved = True
        if moved:
            os.fchdir(self.cwd)
        os.umask(self.umask)
        if os.environ._data != self.environ_bytes:  # the mapping itself would decode them all
            os.environ.clear()
            os.environ.update(self.environ)
            time.tzset()
        if sys.path != self.path:
            sys.path[:] = self.path
        if warnings.filters != self.filters:
            warnings.filters[:] = self.filters
        sys.stdin, sys.stdout, sys.stderr = self.streams
        sys.settrace(None)
        sys.setprofile(None)
        if sys.getrecursionlimit() != self.recursion:
            sys.setrecursionlimit(self.recursion)
        if locale.setlocale(locale.LC_ALL) != self.locale:
            locale.setlocale(locale.LC_ALL, self.locale)
        self.restore_signals()
        for kind, limits in zip(self.kinds, self.limits):
            if resource.getrlimit(kind) != limits:
                resource.setrlimit(kind, limits)

    def end_children(self):
        """Those that items have started; a module's or an initializer's stay."""
        for _ in range(SWEEPS_MAX):
            left = children() - self.children
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                except (ProcessLookupError, ChildProcessError):  # a thread of the task has waited for it
                    pass

    def restore_signals(self):
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self.mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        for number, handler in zip(self.signals, self.handlers):
            if handler is not None and _signal.getsignal(number) is not handler:
                signal.signal(number, handler)


# ---- exceptions ----------------------------------------------------------------------------


def type_name(exc):
    """As a traceback names it: ValueError, images.BadImage."""
    kind = type(exc)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(exc):
    try:
        return str(exc)
    except BaseException:
        return f"<exception str() failed: {type(exc).__qualname__}>"


def own_frames_skipped(trace):
    here = own_frames_skipped.__code__.co_filename
    while trace is not None and trace.tb_frame.f_code.co_filename == here:
        trace = trace.tb_next
    return trace


def traceback_of(exc):
    try:
        text = "".join(traceback.format_exception(type(exc), exc, own_frames_skipped(exc.__traceback__)))
    except BaseException:  # of a __str__, of a class that is none any more
        return f"{type_name(exc)}: {message_of(exc)}"
    if len(text) > TRACEBACK_MAX:
        half = TRACEBACK_MAX // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    return text.rstrip("\n")


def cut(text, limit):
    return text if len(text) <= limit else text[: limit - 3] + "..."


def printable(text):
    """The same with what the server takes from nobody written out: NUL, half a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def exception_json(kind, message, trace):
    texts = {"type": kind, "message": cut(message, MESSAGE_MAX), "traceback": trace}
    return encode({name: printable(text) for name, text in texts.items()}).encode()


# ---- chunks --------------------------------------------------------------------------------

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

now = time.monotonic_ns


def packed(values):
    """Of integers alone, with 64 bits at most; else None. The worker writes their text ten times as fast."""
    if operator.countOf(map(type, values), int) != len(values):
        return None
    try:
        return struct.pack(f"<{len(values)}q", *values)
    except (struct.error, MemoryError):
        return None


class OneByOne:
    """The items of a text, each read when its turn has come: what does not fit into memory is then the
    failure of one item."""

    token = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]')

    def __init__(self, text):
        self.text = text
        self.at = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.at >= len(self.text):
            raise StopIteration
        start, end = self.at, self.value_end()
        self.at = end + 1  # behind the comma
        return json.loads(self.text[start:end])

    def value_end(self):
        depth = 0
        for match in self.token.finditer(self.text, self.at):
            first = match[0][0]
            if first in "[{":
                depth += 1
            elif first in "]}":
                depth -= 1
            elif first == "," and depth == 0:
                return match.start()
        return len(self.text)


def items_of(style, text):
    try:
        if style == APPLY:
            return [json.loads(text)]
        return json.loads("[" + text + "]")
    except (MemoryError, RecursionError, ValueError):
        return OneByOne(text)


def call_of(function, style, kwargs_text):
    """What is called with one item."""
    if not kwargs_text:
        return function if style == MAP else lambda args: function(*args)
    kwargs = json.loads(kwargs_text)
    if any(isinstance(value, (list, dict)) for value in kwargs.values()):
        # A call may change what it is given; the next one is to have it as the client sent it.
        if style == MAP:
            return lambda item: function(item, **json.loads(kwargs_text))
        return lambda args: function(*args, **json.loads(kwargs_text))
    if style == MAP:
        return lambda item: function(item, **kwargs)
    return lambda args: function(*args, **kwargs)


NUMPY_TYPES = ("type int64 ", "type int32 ", "type float32 ", "type bool_ ", "type ndarray ")


def explain_result(exc, value):
    """Why a result is no JSON, for whoever wrote the task."""
    reason = message_of(exc)
    if isinstance(exc, RecursionError):
        reason = "it is nested too deep"
    elif isinstance(exc, UnicodeEncodeError):
        reason = "it holds half of a surrogate pair, which is no character"
    hint = ""
    if isinstance(value, types.GeneratorType):
        hint = "; a generator's values can be returned as list(...)"
    elif any(name in reason for name in NUMPY_TYPES):
        hint = "; .item() or .tolist() make Python's values of NumPy's"
    try:
        shown = cut(reprlib.repr(value), SHOWN_MAX)
    except BaseException:
        shown = f"a {type(value).__qualname__}"
    return f"the result cannot be written as JSON: {reason}{hint}. It is {shown}"


def with_cpu_limit(call, seconds):
    """Each call may use so much more processor time; beyond, SIGXCPU ends the process. The kernel counts
    in seconds, begun ones as whole. What the limit was is restored with the others after the chunk."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    granted = 0

    def limited(item):
        nonlocal granted
        limit = math.ceil(time.process_time() + seconds)
        if limit != granted:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
            granted = limit
        return call(item)

    return limited


class Runner:
    def __init__(self, channel, page, result_max, tasks):
        self.channel = channel
        self.page = page
        self.cells = page.cast("Q")
        self.result_max = result_max
        self.tasks = tasks
        self.chunk_id = 0
        self.next = 0  # the first item that nothing has been told of
        self.end = 0
        self.task = ""  # of the last chunk
        self.traced = False  # its job has a trace
        self.limit = 1  # how many items of it are good for a batch
        self.pid = os.getpid()
        self.telling = threading.Lock()  # of `next` and the channel; other threads tell progress
        self.progress_ns = 0  # when the next report may leave

    # ---- telling

    def last(self, count):
        return LAST if self.next + count == self.end else 0

    def tell(self, kind, count, head, text, flags=0):
        if os.getpid() != self.pid:
            os._exit(0)  # a child that a task has forked has come back: it has nothing to tell
        with self.telling:
            self.channel.send(kind, flags | self.last(count), self.chunk_id, head, text)
            self.next += count

    def tell_results(self, count, run_ns, text, flags=0):
        self.tell(RESULT, count, RESULT_HEAD.pack(self.next, count, self.printed(), run_ns), text, flags)

    def tell_failure(self, kind, run_ns, exception):
        self.tell(FAILURE, 1, FAILURE_HEAD.pack(self.next, kind, self.printed(), run_ns), exception)

    def tell_exception(self, exc, run_ns):
        kind = OUT_OF_MEMORY if isinstance(exc, MemoryError) else TASK_RAISED
        self.tell_failure(kind, run_ns, exception_json(type_name(exc), message_of(exc), traceback_of(exc)))

    def tell_values(self, values, run_ns):
        """Returns how many bytes the results have. What cannot be told together is told in halves."""
        if len(values) <= 1:
            return self.tell_value(values[0], run_ns) if values else 0
        numbers = packed(values) if len(values) * PACKED_TEXT_MAX <= self.result_max else None
        if numbers is not None:
            self.tell_results(len(values), run_ns, numbers, PACKED)
            return len(numbers)
        try:
            text = encode(values).encode()
        except BaseException:  # of whatever a value's own methods raise
            text = None
        if text is None or len(text) > self.result_max:
            half = len(values) // 2
            share = run_ns * half // len(values)
            return self.tell_values(values[:half], share) + self.tell_values(values[half:], run_ns - share)
        self.tell_results(len(values), run_ns, text[1:-1])
        return len(text)

    def tell_value(self, value, run_ns):
        try:
            text = encode(value).encode()
        except MemoryError as exc:
            self.tell_exception(exc, run_ns)
            return FLUSH_BYTES
        except BaseException as exc:
            json_text = exception_json("InvalidResult", explain_result(exc, value), "")
            self.tell_failure(INVALID_RESULT, run_ns, json_text)
            return 0
        if len(text) > self.result_max:
            message = f"the result has {len(text)} bytes, the limit is {self.result_max}"
            json_text = exception_json("ResultTooLarge", message, "")
            self.tell_failure(RESULT_TOO_LARGE, run_ns, json_text)
        else:
            self.tell_results(1, run_ns, text)
        return len(text)

    def tell_progress(self, current, total=None, message=None):
        """From any thread, also when no item is run any more. Never waits for an outcome that is being
        told: that is better news."""
        numbers = [min(max(int(number or 0), 0), 2**64 - 1) for number in (current, total)]
        text = printable(str(message or "")).encode()[:PROGRESS_MESSAGE_MAX]
        if now() < self.progress_ns or os.getpid() != self.pid or not self.telling.acquire(blocking=False):
            return
        try:
            item = self.cells[ITEM]
            if self.next <= item < self.end:
                text = text.decode(errors="ignore").encode()  # no half characters
                self.channel.send(PROGRESS, 0, self.chunk_id, PROGRESS_HEAD.pack(item, *numbers), text)
                self.progress_ns = now() + PROGRESS_NS
        finally:
            self.telling.release()

    def printed(self):
        """How much has been written to the output so far, as page_printed in page.c has it."""
        for _ in range(1000):
            turn, read = self.cells[OUTPUT_TURN], self.cells[OUTPUT_READ]
            try:
                left = int.from_bytes(fcntl.ioctl(2, termios.FIONREAD, bytes(4)), sys.byteorder)
            except OSError:  # the task has closed it
                left = 0
            if turn % 2 == 0 and turn == self.cells[OUTPUT_TURN]:
                break
            os.sched_yield()
        return read + left & 0xFFFFFFFF

    # ---- running

    def steps(self, limit):
        """The next `limit` items, by the lowest bytes of their indexes: as many in a step as have all other
        bytes in common. These are in the page when a step begins."""
        at, end = self.next, min(self.next + limit, self.end)
        while at < end:
            self.cells[ITEM] = at
            stop = min(end, (at | 0xFF) + 1)
            yield range(at & 0xFF, (at & 0xFF) + stop - at)
            at = stop

    def gather(self, call, items, limit, values):
        """Calls with up to `limit` items. The page tells on which one it is: that is the loop's own
        assignment. HURRY is the worker's, after some milliseconds without an answer."""
        page, append = self.page, values.append
        for step in self.steps(limit):
            for page[ITEM_BYTE], item in zip(step, items):
                append(call(item))
                if page[HURRY_BYTE]:
                    return

    def gather_timed(self, call, items, limit, values):
        page, cells, append = self.page, self.cells, values.append
        try:
            for step in self.steps(limit):
                for page[ITEM_BYTE], item in zip(step, items):
                    cells[STARTED] = now()
                    append(call(item))
                    if page[HURRY_BYTE]:
                        return
        finally:
            cells[STARTED] = 0  # a slow reader at the other end is no slow item

    def run_items(self, call, items, gather):
        while self.next < self.end:
            values, raised = [], None
            start = now()
            try:
                gather(call, items, self.limit, values)
            except BaseException as exc:  # SystemExit and KeyboardInterrupt as well
                raised = exc
            took = now() - start
            self.cells[HURRY] = 0
            flush_output()
            calls = len(values) + (raised is not None)
            if calls == 0:
                raise RuntimeError("the chunk has fewer items than it says")
            size = self.tell_values(values, took * len(values) // calls)
            if raised is not None:
                self.tell_exception(raised, took // calls)
            self.limit = min(
                self.limit * BATCH_GROWTH,
                BATCH_NS * calls // (took + 1) + 1,
                FLUSH_BYTES * calls // (size + 1) + 1,
                BATCH_MAX,
            )

    def run_chunk(self, flags, payload):
        self.next, count, style, name_size, trace_size, kwargs_size, _, _ = CHUNK_HEAD.unpack_from(payload)
        self.end = self.next + count
        at = CHUNK_HEAD.size
        name = str(payload[at : at + name_size], "ascii")
        if name != self.task:
            self.task, self.limit = name, 1
        at += name_size
        self.traced = trace_size > 0
        if self.traced:
            trace = str(payload[at : at + trace_size], "ascii")
            os.environ[TRACE] = trace[:TRACE_LEN]
            if trace_size > TRACE_LEN:
                os.environ[TRACE_STATE] = trace[TRACE_LEN:]
        at += trace_size
        kwargs = str(payload[at : at + kwargs_size], "utf-8")
        at += kwargs_size
        try:
            call = call_of(self.tasks.find(name), style, kwargs)
        except BaseException as exc:
            while self.next < self.end:
                self.tell_exception(exc, 0)
            return
        narrow(self.tasks.limits[name])
        if self.cells[CPU_MS]:
            call = with_cpu_limit(call, self.cells[CPU_MS] / 1000)
        if flags & PACKED:
            items = iter(memoryview(payload)[at:].cast("q"))
        else:
            items = iter(items_of(style, str(payload[at:], "utf-8")))
        self.run_items(call, items, self.gather_timed if flags & TIMED else self.gather)

    def run_initializer(self, payload):
        _, _, _, name_size, _, kwargs_size, _, _ = CHUNK_HEAD.unpack_from(payload)
        self.chunk_id, self.next, self.end = 0, 0, 1
        at = CHUNK_HEAD.size
        name = str(payload[at : at + name_size], "ascii")
        start = now()
        try:
            self.tasks.find(name)(*json.loads(payload[at + name_size + kwargs_size :]))
        except BaseException as exc:
            flush_output()
            self.tell_exception(exc, now() - start)
            return
        flush_output()
        self.channel.send(READY, 0, 0)

    def serve(self):
        self.channel.send(READY, 0, 0)
        surroundings = Surroundings()
        kind, flags, self.chunk_id, payload = self.channel.next_frame()
        if kind == INIT:
            self.run_initializer(payload)
            surroundings = Surroundings()  # what an initializer has changed is to stay
            _, flags, self.chunk_id, payload = self.channel.next_frame()
        while True:
            self.run_chunk(flags, payload)
            payload = None
            if self.traced:
                os.environ.pop(TRACE, None)  # restore() would set back all of them
                os.environ.pop(TRACE_STATE, None)
            surroundings.restore()
            _, flags, self.chunk_id, payload = self.channel.next_frame()


def flush_output():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed, or replaced by the task
            pass


def prepare_streams():
    """What is printed comes line by line, and any text can be printed. Before modules are imported, as
    they may keep the streams; a forked runner has another pipe behind the same ones."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def map_page(fd):
    page = mmap.mmap(fd, PAGE_SIZE)
    os.close(fd)
    return memoryview(page)


def serve(sock, page_fd, result_max, tasks):
    """Never returns."""
    code = 0
    try:
        adopt_orphans()
        runner = Runner(Channel(sock), map_page(page_fd), result_max, tasks)
        sys.modules["poold"].runner = runner
        runner.serve()
    except (Closed, ConnectionError):
        pass
    except BaseException:  # what a task has done to this process is beyond repair
        traceback.print_exc()
        code = 1
    flush_output()
    os._exit(code)


# ---- the template --------------------------------------------------------------------------

RLIMITS = 16
REQUEST = struct.Struct(f"<QQ{2 * RLIMITS}Q")  # runner_request in runner.c; the environment follows
JOIN = struct.Struct("=qq")  # runner -> forkserver: pids of the worker and the runner
REQUEST_MAX = 256 * 1024
ANSWER = struct.Struct("<i")
REQUEST_FDS = 6  # channel, page, output, cwd, life, status


def thread_count():
    return len(os.listdir("/proc/self/task"))


class Template:
    """Has all modules imported, and forks runners that have them, too. Each request carries a socket on
    which its worker is told the runner's pid and, in the end, its wait status; pid 0: start one
    yourself."""

    def __init__(self, control, joining):
        self.control = control
        self.joining = joining  # or None: there are no control groups
        self.status = {}  # pid -> socket
        self.safe = thread_count() == 1
        self.wake_read, self.wake_write = socket.socketpair()
        self.wake_read.setblocking(False)
        self.wake_write.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        signal.set_wakeup_fd(self.wake_write.fileno(), warn_on_full_buffer=False)

    def serve(self):
        """Returns in a new runner, with its request and descriptors."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self.wake_read.fileno():
                    self.reap()
                    continue
                request = self.answer()
                if request is not None:
                    return request

    def reap(self):
        try:
            while self.wake_read.recv(4096):
                pass
        except BlockingIOError:
            pass
        while self.status:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            sock = self.status.pop(pid, None)
            if sock is not None:
                self.tell(sock, status)
                sock.close()

    def tell(self, sock, number):
        try:
            sock.send(ANSWER.pack(number), socket.MSG_NOSIGNAL)
        except OSError:
            pass  # the worker has gone

    def answer(self):
        data, fds, _, _ = socket.recv_fds(self.control, REQUEST_MAX, REQUEST_FDS)
        if not data:
            os._exit(0)
        try:
            if len(fds) != REQUEST_FDS:
                return None  # the worker, who hears nothing, helps itself
            status = socket.socket(fileno=os.dup(fds[-1]))
            if not self.safe:
                self.tell(status, 0)
                status.close()
                return None
            try:
                pid = os.fork()
            except OSError:
                pid = -1
            if pid == 0:
                self.leave()
                status.close()
                kept, fds = fds[:-1], fds[-1:]
                return data, kept
            self.tell(status, max(pid, 0))
            if pid > 0:
                self.status[pid] = status
            else:
                status.close()
            return None
        finally:
            for fd in fds:
                os.close(fd)

    def leave(self):
        """In a new runner: what belongs to the template is given up."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for sock in (self.control, self.wake_read, self.wake_write, *self.status.values()):
            sock.close()

    def join(self, worker):
        """In a new runner: asks the forkserver to put it into the control group of its worker, and waits
        until that is done."""
        if self.joining is None:
            return
        done, doing = os.pipe()
        socket.send_fds(self.joining, [JOIN.pack(worker, os.getpid())], [doing])
        os.close(doing)
        os.read(done, 1)
        os.close(done)
        self.joining.close()


def die_with(life):
    """The worker holds the other end of this pipe, and writes nothing. When it dies the kernel sends
    SIGKILL; the parent of this process is the template, so that its death would tell nothing."""
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(life, select.POLLIN)
    if poll.poll(0):
        os._exit(0)  # it died before


def become_runner(template, data, fds):
    """Makes this process as if the worker had started it."""
    channel, page, output, cwd, life = fds
    worker, result_max, *limits = REQUEST.unpack_from(data)
    die_with(life)  # first: of a worker that has died there may be no group any more
    os.setpgid(0, worker)
    template.join(worker)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.fchdir(cwd)
    os.close(output)
    os.close(cwd)
    environ = dict(pair.split(b"=", 1) for pair in data[REQUEST.size :].split(b"\0") if b"=" in pair)
    if environ != dict(os.environb):
        os.environb.clear()
        os.environb.update(environ)
        time.tzset()
    for kind in range(RLIMITS):
        # Above what Python's numbers for limits hold lies "no limit" alone, which is -1 there.
        wanted = tuple(-1 if n > 2**63 - 1 else n for n in limits[2 * kind : 2 * kind + 2])
        if resource.getrlimit(kind) != wanted:
            resource.setrlimit(kind, wanted)
    return socket.socket(fileno=channel), page, result_max


def main_template(groups, entries):
    joining = socket.socket(fileno=PAGE_FD) if groups == "join" else None
    if joining is None:
        os.close(PAGE_FD)
    tasks = Tasks()
    tasks.load_all(entries)
    template = Template(socket.socket(fileno=CHANNEL_FD), joining)
    if not template.safe:
        print(
            "poold: a module of tasks starts threads when it is imported, so workers import all modules anew",
            file=sys.stderr,
            flush=True,
        )
    gc.collect()
    gc.freeze()  # so that collections in runners do not copy all that was imported
    request = template.serve()
    try:
        runner = become_runner(template, *request)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    serve(*runner, tasks)


def main_run(result_max, entries):
    tasks = Tasks()
    tasks.load_all(entries)
    serve(socket.socket(fileno=CHANNEL_FD), PAGE_FD, int(result_max), tasks)


# ---- descriptions --------------------------------------------------------------------------


def signature_of(name, function):
    import inspect

    try:
        text = str(inspect.signature(function))
    except BaseException:  # C functions without one; a default whose repr raises
        text = "(...)"
    return printable(cut(name + text, SHOWN_MAX))


def summary_of(function):
    import inspect

    try:
        text = (inspect.getdoc(function) or "").strip().partition("\n")[0].strip()
        return printable(cut(text, SHOWN_MAX))
    except BaseException:
        return ""


def methods_of(cls, module):
    """Class methods and static methods, the inherited ones as far as they are of this module."""
    seen = set()
    for base in cls.__mro__:
        if base.__module__ != module.__name__:
            continue
        for name, value in vars(base).items():
            if name in seen or name.startswith("_"):
                continue
            seen.add(name)
            if isinstance(value, (classmethod, staticmethod)):
                yield name, getattr(cls, name)


def offered_by(module):
    """Names and functions: what __all__ has, or else what is public and defined here."""
    listed = getattr(module, "__all__", None)
    for name in listed if listed is not None else list(vars(module)):
        value = getattr(module, name, None)
        if listed is None and (name.startswith("_") or getattr(value, "__module__", None) != module.__name__):
            continue
        if isinstance(value, type):
            for method, function in methods_of(value, module):
                yield f"{name}.{method}", function
        elif callable(value):
            yield name, value


def describe_module(entry):
    module = load(entry)
    prefix = module_name(entry)
    tasks = [
        {
            "name": f"{prefix}:{name}",
            "summary": summary_of(function),
            "signature": signature_of(name, function),
            "limits": limits_of(name, function),
        }
        for name, function in offered_by(module)
    ]
    return {"tasks": tasks}


def why_name_is_bad(entry):
    name = module_name(entry)
    if not (name.isidentifier() and name.isascii()):
        return f"its name is no name of a Python module: {name}"
    spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    if name in sys.modules or spec is not None:
        origin = getattr(spec, "origin", None) or "poold"
        return f"there is a module {name} already ({origin}), rename the file"
    return None


def why_import_failed(exc, entry):
    """The last line of the traceback, and the place in the file."""
    line = traceback.format_exception_only(type(exc), exc)[-1].strip()
    if isinstance(exc, SyntaxError):
        return f"{line} ({os.path.basename(exc.filename or entry)}, line {exc.lineno})"
    places = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == entry]
    return f"{line} ({os.path.basename(entry)}, line {places[-1]})" if places else line


def describe(entry):
    reason = why_name_is_bad(entry) if "/" in entry else None
    if reason:
        return {"refused": reason}
    try:
        return describe_module(entry)
    except BaseException as exc:
        return {"refused": printable(why_import_failed(exc, entry))}


def main_describe(entry):
    answer = json.dumps(describe(entry)).encode()
    flush_output()
    try:
        while answer:
            answer = answer[os.write(CHANNEL_FD, answer) :]
    except BrokenPipeError:
        os._exit(1)  # who has asked was killed
    os._exit(0)  # whatever it has started need not end


# --------------------------------------------------------------------------------------------


def add_module_for_tasks():
    """`import poold` inside of a task. What it has does nothing until there is a runner."""

    def progress(current, total=None, message=None):
        """Says how far the task is with its item: current of total, in whatever it counts."""
        if hasattr(module, "runner"):
            module.runner.tell_progress(current, total, message)

    module = types.ModuleType("poold", "What a task can say to the service that runs it.")
    module.__spec__ = importlib.machinery.ModuleSpec("poold", None)
    module.progress = progress
    sys.modules["poold"] = module


def main(mode, *arguments):
    try:
        os.close(SCRIPT_FD)
    except OSError:
        pass
    if mode == "describe":
        os.close(PAGE_FD)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # JSON has no limit; time and memory have theirs
    prepare_streams()
    add_module_for_tasks()
    if mode == "describe":
        main_describe(arguments[0])
    elif mode == "run":
        main_run(arguments[0], arguments[1:])
    elif mode == "template":
        main_template(arguments[0], arguments[1:])


if __name__ == "__main__":
    main(*sys.argv[1:])
