#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Whether the checks of ledger.py see what they are there for: each is shown what it has to find."""
import contextlib
import json
import sqlite3
import tempfile
import unittest

from ledger import Client, Job, Ledger

ID = "0000"


class Answers:
    """In place of a client: one job of two items, and what the server says of it."""

    def __init__(self, job):
        self.jobs = [{"id": ID, "tags": [job.tag]}]
        self.state = "succeeded"
        self.lines = [{"index": index, "result": job.value(index)} for index in range(job.items)]
        self.result = (b"[]", "etag")

    def ask(self, _, path):
        body = {"state": self.state}
        if path.startswith("/v1/jobs?"):
            body = {"jobs": self.jobs, "next_cursor": None}
        elif path.endswith("/results"):
            return 200, {}, "\n".join(map(json.dumps, self.lines + [{"state": self.state}])).encode()
        return 200, {}, json.dumps(body).encode()

    def read_result(self, _):
        return self.result


class Checks(unittest.TestCase):
    def setUp(self):
        self.folder = self.enter(tempfile.TemporaryDirectory())
        self.ledger = Ledger(self.folder, 1)
        self.enter(contextlib.closing(self.ledger.history))
        self.job = Job("a-1", "map_async", "record", ["x", 'y "z"'], durable=True, sturdy=True)
        self.job.id, self.job.result = ID, (b"[]", "etag")
        self.ledger.jobs[self.job.tag] = self.job
        self.answers = Answers(self.job)

    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def finds(self, **expected):
        found = self.ledger.check(self.answers)
        wrong = {name: found[name] for name in ("lost", "unexpected", "doubled", "wrong", "rerun", "changed")
                 if found[name]}
        self.assertEqual(wrong, expected)

    def test_nothing_is_found_where_nothing_is_wrong(self):
        self.finds()

    def test_a_job_that_is_not_there_is_lost(self):
        self.answers.jobs = []
        self.finds(lost=1)

    def test_a_job_without_an_end_is_lost(self):
        self.answers.state = "running"
        self.finds(lost=1)

    def test_a_second_job_with_its_key_is_unexpected(self):
        self.answers.jobs.append({"id": "0001", "tags": [self.job.tag]})
        self.finds(unexpected=1)

    def test_a_job_that_nobody_has_submitted_is_unexpected(self):
        self.answers.jobs.append({"id": "0001", "tags": ["b-1"]})
        self.finds(unexpected=1)

    def test_a_part_of_a_batch_is_unexpected(self):
        self.ledger.tries["c-1.1"] = 3
        self.answers.jobs += [{"id": f"000{i}", "tags": ["c-1.1"]} for i in range(1, 3)]
        self.finds(unexpected=1)

    def test_an_item_with_two_outcomes_is_doubled(self):
        self.answers.lines.append(self.answers.lines[0])
        self.finds(doubled=1)

    def test_the_result_of_another_item_is_wrong(self):
        self.answers.lines[0]["result"], self.answers.lines[1]["result"] = (
            self.answers.lines[1]["result"], self.answers.lines[0]["result"])
        self.finds(wrong=1)

    def test_one_character_less_is_wrong(self):
        self.answers.lines[1]["result"] = self.answers.lines[1]["result"][:-1]
        self.finds(wrong=1)

    def test_an_item_without_an_outcome_is_wrong(self):
        del self.answers.lines[1]
        self.finds(wrong=1)

    def test_an_item_that_the_job_has_not_is_wrong(self):
        self.answers.lines.append({"index": 2, "result": "a-1 2 x"})
        self.finds(wrong=1)

    def test_an_error_of_a_job_that_cannot_fail_is_wrong(self):
        self.answers.lines[0] = {"index": 0, "error": {"type": "/problems/worker-lost"}}
        self.finds(wrong=1)
        self.job.sturdy = False
        self.finds()

    def test_an_item_that_ran_after_it_was_shown_as_done_is_rerun(self):
        self.job.done_ns = {0: 100, 1: 100}
        with open(self.ledger.records, "a", encoding="ascii") as file:
            file.write("a-1 0 4711 50\na-1 1 4711 60\na-1 1 4711 101\n")
        self.finds(rerun=1)

    def test_other_bytes_at_the_second_reading_are_changed(self):
        self.answers.result = (b"[ ]", "etag")
        self.finds(changed=1)

    def test_a_wrong_answer_to_the_submission_is_wrong(self):
        client = Client(self.ledger, None, "client", None)
        headers = {"Location": "/v1/jobs/" + ID}
        self.job.kind = "map"
        client.take_answer(self.job, 200, headers, json.dumps(
            {"result": [self.job.value(0), self.job.value(1)]}).encode())
        self.finds()
        client.take_answer(self.job, 200, headers, json.dumps(
            {"result": [self.job.value(1), self.job.value(0)]}).encode())
        self.finds(wrong=1)

    def test_outcomes_that_overlap_in_the_database_are_told(self):
        path = self.folder + "/db"
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript("CREATE TABLE job(key, item_count, state, result);"
                             "CREATE TABLE outcome(job, first, count);"
                             "INSERT INTO job VALUES (1, 3, 'succeeded', NULL); INSERT INTO outcome VALUES (1, 0, 2);"
                             "INSERT INTO outcome VALUES (1, 2, 1);")
            self.assertEqual(self.ledger.check_database(path), [])
            db.executescript("UPDATE outcome SET first = 1 WHERE first = 2;")
            self.assertEqual(self.ledger.check_database(path), ["overlap in job 1"])
            db.executescript("DELETE FROM outcome WHERE first = 1;")
            self.assertEqual(len(self.ledger.check_database(path)), 1)

    def test_a_result_in_two_places_of_the_database_is_told(self):
        path = self.folder + "/db"
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript("CREATE TABLE job(key, item_count, state, result);"
                             "CREATE TABLE outcome(job, first, count);"
                             "INSERT INTO job VALUES (1, 1, 'succeeded', '9');")
            self.assertEqual(self.ledger.check_database(path), [])
            db.executescript("INSERT INTO outcome VALUES (1, 0, 1);")
            self.assertEqual(self.ledger.check_database(path), ["a result in and beside job 1"])


if __name__ == "__main__":
    unittest.main()
