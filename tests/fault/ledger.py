# SPDX-License-Identifier: MIT
"""Clients that write down what they were told, and a check of that against what is there.

Each client submits jobs of the task `record` (tests/plugins/record.c, or one of tasks/), one after
the other, with an Idempotency-Key, and asks again with the same key until it has an answer. Batches
have no key: each try has a tag of its own, and is there as a whole or not at all unless it was
answered. What an item has to result in is its client's tag for the job, its index and a text of any
length, so that no result can pass for that of another item.

What is checked (Ledger.check), each as a number that has to be 0:

    lost        acknowledged jobs that are not there, or that do not end
    unexpected  jobs that nobody has submitted, a second one with the same key, parts of a batch
    doubled     items with more than one outcome, in an answer or in the database
    wrong       results that are not what the task returns for this very item, in the answer to the
                submission or read later; or an end that cannot be
    rerun       items of durable jobs that ran again after somebody was shown that they are done
    changed     results that were read twice, and were not the same bytes (of durable jobs: with
                the same ETag, which is that of their end)
"""
import collections
import http.client
import json
import os
import random
import sqlite3
import threading
import time

from service import PATIENCE

TRY_SECONDS = 20  # of one request
MANY_CRASHES = 100  # crash_retries of jobs that have to succeed whatever is killed
LONG_TEXT = 20000  # characters, of one item in a hundred
CHARACTERS = 'abcdefghij 0123456789 "\\/\t\u00e9\u2028\U0001f600'  # with those that JSON treats apart
KINDS = ["apply", "apply_async", "map", "map_async", "imap", "imap_unordered", "batch"]


class Refused(Exception):
    """An answer that no fault explains."""


class Job:
    """One submission, as its client sees it."""

    def __init__(self, tag, kind, task, texts, durable, sturdy):
        self.tag, self.kind, self.task, self.items = tag, kind, task, len(texts)
        self.texts = texts  # one of each item
        self.durable = durable  # what is shown as done is on the disk
        self.sturdy = sturdy  # no number of crashes makes it fail
        self.id = None  # once it is acknowledged
        self.done_ns = {}  # item: when it was first known to be done
        self.result = None  # (bytes, ETag), once read

    def value(self, index):
        return f"{self.tag} {index} {self.texts[index]}"

    def may_be(self, outcome):
        """Whether a line of results can be true."""
        error = outcome.get("error")
        if error:
            return not self.sturdy and error["type"] == "/problems/worker-lost"
        return 0 <= outcome["index"] < self.items and outcome.get("result") == self.value(outcome["index"])

    def answers(self, body):
        """The outcomes in a 200 to its submission, as lines of results."""
        if self.kind.startswith("imap"):
            return [line for line in map(json.loads, body.splitlines()) if "index" in line]
        if self.kind == "apply":
            return [{"index": 0, "result": json.loads(body)["result"]}]
        return [{"index": index, "result": value} for index, value in enumerate(json.loads(body)["result"])]


class Ledger:
    def __init__(self, folder, seed):
        self.folder = folder
        self.seed = seed
        self.records = os.path.join(folder, "executions")
        open(self.records, "w", encoding="ascii").close()
        self.history = open(os.path.join(folder, "history.jsonl"), "w", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()
        self.jobs = {}  # tag: Job, one for each job that a client wants
        self.tries = collections.defaultdict(int)  # tag of a batch's try: jobs in it
        self.faults = []  # what clients could not explain
        self.wrong = 0  # answers to submissions
        self.asked = self.again = 0

    def note(self, who, what, **fields):
        with self.lock:
            self.history.write(json.dumps({"t": time.monotonic_ns(), "who": who, "what": what, **fields}) + "\n")

    def fault(self, who, text):
        self.note(who, "fault", text=text)
        self.faults.append(f"{who}: {text}")

    # ---- what is there in the end ---------------------------------------------------------

    def executions(self):
        runs = collections.defaultdict(list)
        with open(self.records, encoding="ascii") as file:
            for line in file:
                tag, index, _, at_ns = line.split()
                runs[tag, int(index)].append(int(at_ns))
        return runs

    def check(self, client):
        """`client` is connected to a server that has come to rest. Returns the numbers."""
        found = collections.Counter(lost=0, unexpected=0, doubled=0, wrong=self.wrong, rerun=0, changed=0,
                                    shown=0, read_again=0)
        there = self.list_jobs(client)
        for tag, ids in there.items():
            job, want = self.jobs.get(tag), self.tries.get(tag)
            if want is not None:
                found["unexpected"] += len(ids) not in (0, want)
            elif not job or len(ids) > 1 or (job.id and job.id != ids[0]):
                found["unexpected"] += 1
                self.note("check", "unexpected", tag=tag, ids=ids)
        for job in self.jobs.values():
            if job.id and job.id not in [id for ids in there.values() for id in ids[:1]] and not job.kind == "batch":
                found["lost"] += 1
                self.note("check", "lost", tag=job.tag, id=job.id)
            elif job.id:
                self.check_job(client, job, found)
        runs = self.executions()
        for job in self.jobs.values():
            found["shown"] += len(job.done_ns) if job.durable else 0
            for index, at_ns in job.done_ns.items() if job.durable else ():
                late = [run for run in runs[job.tag, index] if run > at_ns]
                found["rerun"] += bool(late)
                if late:
                    self.note("check", "rerun", tag=job.tag, index=index, done=at_ns, runs=late)
        found["jobs"] = len(self.jobs)
        found["items"] = sum(job.items for job in self.jobs.values())
        found["requests"], found["asked_again"] = self.asked, self.again
        found["items_run_again"] = sum(len(run) > 1 for run in runs.values())
        found["most_runs"] = max(map(len, runs.values()), default=0)
        found["faults"] = len(self.faults)
        return found

    def list_jobs(self, client):
        there, path = collections.defaultdict(list), "/v1/jobs?limit=1000"
        while path:
            _, _, body = client.ask("GET", path)
            page = json.loads(body)
            for job in page["jobs"]:
                there[job["tags"][0]].append(job["id"])
            path = page["next_cursor"] and f"/v1/jobs?limit=1000&cursor={page['next_cursor']}"
        return there

    def check_job(self, client, job, found):
        status, _, body = client.ask("GET", f"/v1/jobs/{job.id}?timeout=50")
        state = json.loads(body).get("state")
        if status != 200 or state not in ("succeeded", "failed"):
            found["lost"] += 1
            self.note("check", "no end", tag=job.tag, id=job.id, status=status, state=state)
            return
        found["failed"] += state == "failed"
        lines = [json.loads(line) for line in client.ask("GET", f"/v1/jobs/{job.id}/results")[2].splitlines()]
        indices = collections.Counter(line["index"] for line in lines if "index" in line)
        found["doubled"] += sum(count - 1 for count in indices.values())
        good = sorted(indices) == list(range(job.items)) and (state == "succeeded" or not job.sturdy)
        if not good or not all(job.may_be(line) for line in lines if "index" in line):
            found["wrong"] += 1
            self.note("check", "wrong", tag=job.tag, id=job.id, state=state, lines=lines)
        # A relaxed job may have to run again although its result was read: it ends at another time.
        same = 2 if job.durable else 1
        found["read_again"] += bool(job.result)
        if job.result and (client.read_result(job.id) or ())[:same] != job.result[:same]:
            found["changed"] += 1
            self.note("check", "changed", tag=job.tag, id=job.id)

    def check_database(self, path):
        """When no server has it. Returns what is wrong with it."""
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        wrong = [row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        wrong += [f"overlap in job {row[0]}" for row in db.execute(
            "SELECT a.job FROM outcome a JOIN outcome b ON b.job = a.job AND b.first > a.first"
            " AND b.first < a.first + a.count")]
        wrong += [f"a result in and beside job {row[0]}" for row in db.execute(
            "SELECT DISTINCT key FROM job JOIN outcome ON job = key WHERE result IS NOT NULL")]
        wrong += [f"a job too few or too many items: {row}" for row in db.execute(
            "SELECT j.key, j.item_count, sum(o.count) FROM job j JOIN outcome o ON o.job = j.key"
            " WHERE j.state IN ('succeeded', 'failed') GROUP BY j.key HAVING sum(o.count) <> j.item_count")]
        db.close()
        return wrong


class Client(threading.Thread):
    """Submits jobs until told to stop, and brings the last one to its end."""

    def __init__(self, ledger, service, name, stop, jobs=None, kinds=KINDS, tasks=("record",)):
        super().__init__(name=name, daemon=True)
        self.ledger, self.service = ledger, service
        self.stop, self.limit, self.kinds, self.tasks = stop, jobs, kinds, tasks
        self.random = random.Random(f"{ledger.seed} {name}")
        self.connection = None
        self.count = 0

    # ---- requests --------------------------------------------------------------------------

    def once(self, method, path, body=None, headers=None):
        if not self.connection:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=TRY_SECONDS)
        try:
            self.connection.request(method, path, body, dict(headers or {}, **(
                {"Content-Type": "application/json"} if body else {})))
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise

    def ask(self, method, path, body=None, headers=None):
        """Until there is an answer that is not 5xx, within PATIENCE after the last sign of life."""
        end = time.monotonic() + PATIENCE
        while True:
            self.ledger.asked += 1
            try:
                answer = self.once(method, path, body, headers)
                if answer[0] < 500:
                    return answer
                why = answer[0]
            except (OSError, http.client.HTTPException) as error:
                why = repr(error)
            self.ledger.again += 1
            self.ledger.note(self.name, "again", path=path, why=why)
            if time.monotonic() > end:
                raise Refused(f"{method} {path}: no answer in {PATIENCE} s, last: {why}")
            time.sleep(0.02)

    def read_result(self, id):
        status, headers, body = self.ask("GET", f"/v1/jobs/{id}/result?timeout=20")
        return (body, headers["ETag"]) if status in (200, 422) else None

    # ---- jobs ------------------------------------------------------------------------------

    def run(self):
        try:
            while not self.stop.is_set() and (self.limit is None or self.count < self.limit):
                self.count += 1
                self.submit()
        except Exception as error:  # pylint: disable=broad-except
            self.ledger.fault(self.name, f"{type(error).__name__}: {error}")

    def texts(self, count):
        return ["".join(self.random.choices(CHARACTERS, k=self.random.randrange(
            LONG_TEXT if self.random.random() < 0.01 else 40))) for _ in range(count)]

    def spec(self, job, ms):
        rows = [f"{self.ledger.records} {job.tag} {index} {self.random.randrange(ms)} {text}"
                for index, text in enumerate(job.texts)]
        spec = {"task": job.task, "tags": [job.tag]}
        if job.kind.startswith("apply"):
            spec["args"] = rows
        else:
            spec.update(items=rows, chunksize=self.random.randint(1, 4))
        if job.sturdy:
            spec["crash_retries"] = MANY_CRASHES
        if job.durable and not job.kind.endswith("_async"):
            spec["durability"] = "durable"
        return spec

    def submit(self):
        kind = self.random.choice(self.kinds)
        tag = f"{self.name}-{self.count}"
        sturdy = self.random.random() < 0.9
        if kind == "batch":
            self.submit_batch(tag, sturdy)
            return
        durable = kind.endswith("_async") or self.random.random() < 0.5
        items = 1 if kind.startswith("apply") else self.random.randint(1, 12)
        job = Job(tag, kind, self.random.choice(self.tasks), self.texts(items), durable, sturdy)
        self.ledger.jobs[tag] = job
        status, headers, body = self.ask(
            "POST", "/v1/" + kind, json.dumps(self.spec(job, 30)), {"Idempotency-Key": tag})
        self.take_answer(job, status, headers, body)
        self.follow(job)

    def take_answer(self, job, status, headers, body):
        """The submission is answered: from here on the job must not be lost."""
        if status not in (200, 202, 422):
            raise Refused(f"{job.tag}: {status} {body[:300]}")
        id = headers["Location"].rsplit("/", 1)[1] if headers["Location"] else None
        if not id:
            answer = json.loads(body.splitlines()[0])
            id = answer.get("id") or answer.get("job")
        if status == 422 and job.sturdy:
            raise Refused(f"{job.tag}: 422 {body[:300]}")
        job.id = id
        self.ledger.note(self.name, "acknowledged", tag=job.tag, id=id, status=status)
        if status == 200 and not all(map(job.may_be, job.answers(body))):
            self.ledger.wrong += 1
            self.ledger.note(self.name, "wrong", tag=job.tag, id=id, answer=body.decode(errors="replace"))

    def submit_batch(self, tag, sturdy):
        count, tries = self.random.randint(2, 5), 0
        while True:
            tries += 1
            name = f"{tag}.{tries}"
            jobs = [Job(f"{name}.{i}", "batch", self.random.choice(self.tasks), self.texts(1), True, sturdy)
                    for i in range(count)]
            self.ledger.tries[name] = count
            body = []
            for job in jobs:
                spec = self.spec(job, 30)
                body.append({**spec, "method": "map_async", "tags": [name]})
            try:
                self.ledger.asked += 1
                status, _, answer = self.once("POST", "/v1/batch", json.dumps(body))
            except (OSError, http.client.HTTPException) as error:
                status, answer = 0, repr(error).encode()
            if status == 202:
                break
            self.ledger.again += 1
            self.ledger.note(self.name, "again", path="/v1/batch", tag=name, why=f"{status} {answer[:200]!r}")
            if 0 < status < 500 or tries > 50 * PATIENCE:
                raise Refused(f"{name}: {status} {answer[:300]}")
            time.sleep(0.02)
        for job, shown in zip(jobs, json.loads(answer)["jobs"]):
            job.id = shown["id"]
            self.ledger.jobs[job.tag] = job
            self.ledger.note(self.name, "acknowledged", tag=job.tag, id=job.id, status=status)
        self.follow(jobs[0])

    def follow(self, job):
        """Looks at what is done, until all of it is."""
        while True:
            status, _, body = self.ask("GET", f"/v1/jobs/{job.id}/results")
            at_ns = time.monotonic_ns()
            if status != 200:
                raise Refused(f"{job.tag}: its results: {status} {body[:300]}")
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                if "index" in line:
                    job.done_ns.setdefault(line["index"], at_ns)
            if len(job.done_ns) == job.items:
                break
            if self.random.random() < 0.3:  # leaves it to itself
                return
            self.ask("GET", f"/v1/jobs/{job.id}?timeout=0.05")
        job.result = self.read_result(job.id)
