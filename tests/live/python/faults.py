# SPDX-License-Identifier: MIT
"""Tasks for python_faults.bats, which do what a task should not do."""

import ctypes
import locale
import os
import resource
import signal
import subprocess
import sys
import time


def fine(x):
    return x


def raise_if(x, bad):
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


def crash(how):
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "fpe":
        os.kill(os.getpid(), signal.SIGFPE)
    elif how == "recursion":
        return crash(how)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def crash_if(x, bad):
    if x == bad:
        ctypes.string_at(0)
    return x


def leave(code):
    os._exit(code)


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def sleep_blocked(seconds):
    """Deaf to what can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(seconds)


def spin():
    """A loop of C code that never gives Python a turn."""
    return sum(range(10**13))


def say(text, times=1):
    for _ in range(times):
        print(text)
    return times


def say_and_raise(text):
    print(text)
    raise ValueError(text)


def say_and_leave(text):
    print(text, flush=True)
    os._exit(3)


def flood(megabytes, newline=True):
    line = "x" * 1023 + ("\n" if newline else "x")
    for _ in range(megabytes * 1024):
        sys.stdout.write(line)
    return megabytes


def pretend():
    """What looks like an outcome is only text."""
    print('{"type":"Fake"}')
    os.write(1, b"\x03\x01\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00" * 4)
    os.write(2, b'{"result":42}\n')
    return "real"


def close_output():
    sys.stdout.close()
    os.close(1)
    return "closed"


def print_and_raise(text):
    print(text, end="")
    raise ValueError("after printing")


def close_all():
    os.closerange(0, 1000)
    return "told to nobody"


def write_everywhere():
    for fd in range(3, 64):
        try:
            os.write(fd, b"rubbish" * 100)
        except OSError:
            pass
    return "told to nobody"


def leave_children(path):
    """One in the group, one that has left it; both hold all descriptors."""
    for session in (False, True):
        child = subprocess.Popen(
            ["sleep", "600"], start_new_session=session, close_fds=False, stdin=subprocess.DEVNULL
        )
        with open(path, "a") as file:
            file.write(f"{child.pid}\n")
    return "done"


LEAKED = []


def leak(size):
    LEAKED.append(bytearray(b"x") * size)
    return os.getpid()


def leave_and_stay(path):
    leave_children(path)
    leave_orphan(path)
    time.sleep(600)


def leave_orphan(path):
    """A daemon: of a session of its own, and without a parent."""
    if os.fork() == 0:
        os.setsid()
        child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
        with open(path, "a") as file:
            file.write(f"{child.pid}\n")
        os._exit(0)
    os.wait()
    return "done"


def spoil_surroundings():
    os.chdir("/")
    os.umask(0)
    os.environ["POOLD_TEST"] = "left behind"
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    locale.setlocale(locale.LC_ALL, "C")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.alarm(60)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    sys.path.insert(0, "/nowhere")
    sys.setrecursionlimit(5000)
    sys.stdout = None
    return os.getpid()


def surroundings():
    mask = os.umask(0)
    os.umask(mask)
    return [
        os.getcwd(),
        mask,
        os.environ.get("POOLD_TEST"),
        time.tzname[0],
        locale.setlocale(locale.LC_ALL),
        str(signal.getsignal(signal.SIGUSR1)),
        str(signal.getsignal(signal.SIGTERM)),
        sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        signal.alarm(0),
        resource.getrlimit(resource.RLIMIT_NOFILE),
        "/nowhere" in sys.path,
        sys.getrecursionlimit(),
        sys.stdout is None,
    ]


def lower_hard_limit():
    """What no process can bring back."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
    return os.getpid()


def pid():
    return os.getpid()


def kill_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def outlive_parent(path):
    """Asks the kernel not to be killed with its parent, and goes on."""
    ctypes.CDLL(None).prctl(1, 0)
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)


def allocate(megabytes):
    return len(bytearray(megabytes << 20))
