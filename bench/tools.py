# SPDX-License-Identifier: MIT
"""What the measurements share: processes that are started and stopped, load, memory, time."""
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
MAP_COUNT = 1_000_000


class Process:
    """A server of ours: started, known by its ready line, stopped by its pid."""

    def __init__(self, argv, log):
        # A file, not a pipe: nobody would read the pipe while the load runs.
        self.log = open(log, "ab+")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log,
                                      stderr=self.log)
        try:
            self.port = self._wait_ready(time.monotonic() + 20)
        except Exception:
            self.stop()
            raise

    def _wait_ready(self, deadline):
        while time.monotonic() < deadline and self.child.poll() is None:
            self.log.seek(0)
            found = re.search(rb"ready.*listen=127\.0\.0\.1:(\d+)", self.log.read())
            if found:
                return int(found.group(1))
            time.sleep(0.02)
        self.log.seek(0)
        raise RuntimeError("did not get ready: " + self.log.read().decode(errors="replace"))

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()


def wrk(port, path, body, connections, seconds):
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s",
         "-s", str(HERE / "wrk" / "post.lua"), f"http://127.0.0.1:{port}{path}"],
        env={**os.environ, "BENCH_BODY": body}, capture_output=True, text=True,
        timeout=seconds + 30, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("BENCH "))
    return json.loads(line[len("BENCH "):])


def request(port, method, path, body=None, timeout=60, prefer=None):
    """Status, body and the seconds from sending until the whole answer is read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.connect()
    start = time.perf_counter()
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body, headers | ({"Prefer": prefer} if prefer else {}))
    response = connection.getresponse()
    data = response.read()
    seconds = time.perf_counter() - start
    connection.close()
    return response.status, data, seconds


def process_tree(pid):
    """The process and all its descendants."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = pathlib.Path(entry.path, "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    tree = [pid]
    for known in tree:
        tree += [child for child, parent in parents.items() if parent == known]
    return tree


def pss_mib(pids):
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1))
    return total / 1024


def peak_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.M).group(1)) / 1024


def wait_workers(port, count):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        workers = json.loads(request(port, "GET", "/v1/workers")[1])["workers"]
        if sum(1 for worker in workers if worker["alive"]) >= count:
            return
        time.sleep(0.05)
    raise RuntimeError("the workers did not start")


def syncs_per_second(folder, count=100):
    """How often this disk can make 4 KiB durable: what group commit has to share."""
    path = os.path.join(folder, "sync-test")
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    start = time.perf_counter()
    for _ in range(count):
        os.write(descriptor, bytes(4096))
        os.fdatasync(descriptor)
    seconds = time.perf_counter() - start
    os.close(descriptor)
    os.unlink(path)
    return count / seconds


def check_apply(port, body):
    status, data, _ = request(port, "POST", "/v1/apply", body)
    if status != 200 or json.loads(data)["result"] != 49:
        raise RuntimeError(f"apply answered {status}: {data[:200]!r}")


def map_body(task):
    return json.dumps({"task": task, "items": list(range(MAP_COUNT))}, separators=(",", ":"))


def serve(options, folder, *flags, name="data"):
    """Starts poold on a data directory of the folder, with a new log; gives it, and the seconds until ready."""
    log = os.path.join(folder, f"poold-{name}.log")
    if os.path.exists(log):
        os.unlink(log)  # it would tell the port of before
    start = time.perf_counter()
    poold = Process([str(pathlib.Path(options.build) / "poold"), "serve", "--listen", "127.0.0.1:0",
                     "--data", os.path.join(folder, name), *flags], log)
    while request(poold.port, "GET", "/readyz")[0] != 200:
        time.sleep(0.005)
    return poold, time.perf_counter() - start


def expect(wanted, status, data):
    if status != wanted:
        raise RuntimeError(f"answered {status} instead of {wanted}: {data[:200]!r}")
    return json.loads(data)


def in_folder(base, name, measure, *arguments):
    """In a folder of its own with an empty data directory, which is removed."""
    print(f"{name} ...", file=sys.stderr)
    folder = os.path.join(base, name.replace(" ", "-"))
    os.makedirs(os.path.join(folder, "data"))
    measure(arguments[0], folder, *arguments[1:])
    shutil.rmtree(folder)
