# SPDX-License-Identifier: MIT
"""A real poold for the tests of faults: started, found in /proc, killed, started again."""
import os
import re
import signal
import subprocess
import threading
import time

PATIENCE = float(os.environ.get("PATIENCE", "60"))  # seconds; whoever waits longer has failed
PR_SET_PDEATHSIG = 1


def stat_of(pid):
    """(name, state, parent) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            text = file.read()
    except OSError:
        return None
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    return name, rest[0], int(rest[1])


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def descendants_of(pid):
    found = []
    for child in children_of(pid):
        found += [child] + descendants_of(child)
    return found


class StartFailed(Exception):
    pass


class Service:
    """One data directory, one log, one port; one server at a time."""

    def __init__(self, binary, folder, flags=(), environment=None):
        self.binary = os.path.abspath(binary)
        self.folder = folder
        self.data = os.path.join(folder, "data")
        self.log = os.path.join(folder, "log")
        self.flags = list(flags)
        self.environment = dict(os.environ, **(environment or {}))
        self.environment.pop("POOLD_BIN", None)
        self.port = 0
        self.process = None
        self.starts = 0
        self.lock = threading.Lock()  # who starts, and who looks for a pid

    def start(self):
        """Returns when the server is ready. StartFailed: it has ended before that."""
        with self.lock:
            at = os.path.getsize(self.log) if os.path.exists(self.log) else 0
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}",
                     "--data", self.data] + self.flags,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
            self.starts += 1
            process = self.process
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with open(self.log, "rb") as log:
                log.seek(at)
                ready = re.search(rb"server ready listen=[^ ]*:(\d+) ", log.read())
            if ready:
                self.port = int(ready.group(1))
                return
            if process.poll() is not None:
                raise StartFailed(f"exit code {process.returncode}")
            time.sleep(0.005)
        raise StartFailed("not ready in time")

    def pid(self):
        return self.process.pid if self.process and self.process.returncode is None else None

    def forkservers(self):
        return [pid for pid in children_of(self.pid() or 0) if (stat_of(pid) or "?")[0] == "poold-fork"]

    def workers(self):
        return [pid for fork in self.forkservers() for pid in children_of(fork)
                if (stat_of(pid) or "?")[0] == "poold-worker"]

    def templates(self):
        """The interpreters from which runners are forked."""
        return [pid for fork in self.forkservers() for pid in children_of(fork)
                if (stat_of(pid) or "?")[0] not in ("?", "poold-worker", "poold-fork")]

    def runners(self):
        """The interpreters beside workers."""
        return [pid for template in self.templates() for pid in children_of(template)]

    def programs(self):
        """What workers have started: programs, and interpreters if there is no template."""
        return [pid for worker in self.workers() for pid in children_of(worker)]

    def processes(self):
        return [self.pid()] + descendants_of(self.pid()) if self.pid() else []

    def stopped(self):
        """Those of its processes that somebody has stopped."""
        return [pid for pid in self.processes() if (stat_of(pid) or "??")[1] == "T"]

    def signal(self, pid, number):
        """Only to a process of this server."""
        with self.lock:
            if pid not in self.processes():
                return False
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return False
        return True

    def wait(self, patience=PATIENCE):
        """The exit code of the server that has ended or is about to; negative: a signal's."""
        return self.process.wait(patience)

    def stop(self):
        """Drains. Returns the exit code, and the processes that outlive the server."""
        family = self.processes()
        if self.pid():
            os.kill(self.pid(), signal.SIGTERM)
        code = self.wait()
        end = time.monotonic() + 5
        left = family
        while left and time.monotonic() < end:
            left = [pid for pid in left if (stat_of(pid) or ("", "Z"))[1] != "Z"]
            time.sleep(0.01)
        return code, left

    def end(self):
        """Whatever state it is in: it and all that it has started are gone afterwards."""
        for pid in reversed(self.processes()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process:
            self.process.wait()
