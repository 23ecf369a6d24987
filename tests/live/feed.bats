# SPDX-License-Identifier: MIT
# imap and imap_unordered with items that come line by line, while results are read.
load helpers

# play [ARGUMENT...] <PROGRAM: a program in Python that has what is in feeding.py.
play() {
    { printf 'from feeding import *\n'; cat; } >"$BATS_TEST_TMPDIR/play.py"
    PYTHONPATH=$BATS_TEST_DIRNAME PYTHONDONTWRITEBYTECODE=1 timeout 200 "${PYTHON3:-python3}" \
        "$BATS_TEST_TMPDIR/play.py" "${URL#http://}" "$@" 3>&-
}

ndjson=(-H 'Content-Type: application/x-ndjson')

# feed PATH LINES [CURL FLAG...]: the body in chunks, as `curl -T -` sends it.
feed() {
    local path=$1 lines=$2
    shift 2
    printf "$lines" >"$BATS_TEST_TMPDIR/request"
    http POST "$path" "${ndjson[@]}" -T - "$@" <"$BATS_TEST_TMPDIR/request"
}

no_job_exists() { [ "$(job_count)" = 0 ]; }

server_peak_kib() { sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$POOLD_PID/status"; }

@test "a result comes while the input is open" {
    start_poold
    play <<'PYTHON'
for path in "/v1/imap", "/v1/imap_unordered":
    feed = Feed(ADDRESS, {"task": "square"}, path)
    for i in range(5):
        feed.send(i)
        assert feed.line() == {"index": i, "result": i * i}
        known = json.loads(get(ADDRESS, f"/v1/jobs/{feed.job()}")[1])
        assert known["progress"]["total"] == i + 1 and not known["ready"], known
    feed.end()
    assert feed.rest() == [{"done": True, "state": "succeeded", "total": 5}]
PYTHON
}

@test "curl feeds lines and gets lines" {
    start_poold
    feed /v1/imap '{"task":"square"}\n1\n 2 \r\n\n3'
    expect 200
    [ "$(header content-type)" = application/x-ndjson ]
    [ "$BODY" = '{"index":0,"result":1}
{"index":1,"result":4}
{"index":2,"result":9}
{"done":true,"state":"succeeded","total":3}' ]
    job=$(header location)
    get "$job"
    body_is '[.method, .state, .durability, .progress.total]' '["imap","succeeded","relaxed",3]'
    get "$job/result"
    body_is .result '[1,4,9]'
    get "$job/results?from=2"
    [ "$(jq -c .index <<<"$BODY")" = '2
null' ]
    feed /v1/imap '{"task":"square"}\n'
    [ "$BODY" = '{"done":true,"state":"succeeded","total":0}' ]
}

@test "a body of known length is fed, and may be longer than max_body_bytes" {
    start_poold --max-body-bytes 1024
    { echo '{"task":"square"}'; seq 1000; } >"$BATS_TEST_TMPDIR/lines"
    http POST /v1/imap "${ndjson[@]}" --data-binary "@$BATS_TEST_TMPDIR/lines"
    expect 200
    [ "$(jq -sc 'map(.result // empty) == [range(1; 1001) | . * .]' <<<"$BODY")" = true ]
}

@test "a client of HTTP/1.0 gets the lines up to the end of the connection" {
    start_poold
    play <<'PYTHON'
body = '{"task":"square"}\n2\n3\n'
feed = Feed(ADDRESS, None, version="1.0", length=len(body))
feed.raw(body)
assert "Transfer-Encoding" not in feed.answer().headers
assert [line.get("result") for line in feed.rest()] == [4, 9, None]
PYTHON
}

@test "a first line that is refused makes no job" {
    start_poold
    feed /v1/imap 'nope\n1\n'
    expect 400 invalid-json
    feed /v1/imap ''
    expect 400 invalid-json
    feed /v1/imap '{"task":"square"'
    expect 400 invalid-json
    feed /v1/imap '[]\n1\n'
    expect 422 validation-failed
    feed /v1/imap '{"task":"nix"}\n1\n'
    expect 422 unknown-task
    body_is '.errors[0].pointer' '"#/task"'
    for wrong in items:[1] durability:\"durable\" unique_key:\"a\" chunksize:\"cpython\" window:0; do
        feed /v1/imap "{\"task\":\"square\",\"${wrong%%:*}\":${wrong#*:}}\n1\n"
        expect 422 validation-failed
        body_is '[.errors[].pointer]' "[\"#/${wrong%%:*}\"]"
    done
    feed /v1/imap '{"task":"square"}\n1\n' -H 'Idempotency-Key: a'
    expect 400 invalid-parameter
    feed '/v1/imap?x=1' '{"task":"square"}\n1\n'
    expect 400 invalid-parameter
    feed /v1/map '{"task":"square"}\n1\n'
    expect 415 unsupported-media-type
    no_job_exists
}

@test "a client that sends on gets to read why it was refused" {
    start_poold
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "nix"})
feed.raw("1\n" * 500000)
assert feed.problem()[:2] == (422, "unknown-task")
feed = Feed(ADDRESS, {"task": "safe_square", "on_error": "stop"})
feed.send(-1)
feed.raw("1\n" * 500000)
lines = feed.rest()
assert lines[0]["error"]["exception"]["type"] == "ValueError", lines
assert lines[-1]["state"] == "failed", lines
PYTHON
}

@test "a line that is not JSON ends the input, and what came before stands" {
    start_poold
    for call in imap imap_unordered; do
        feed "/v1/$call" '{"task":"sleep"}\n0.3\n0\n{"a":\n5\n'
        expect 200
        [ "$(jq -sc 'sort_by(.index // 9) | map([.index, .error.type, .error.line, .state])' \
            <<<"$BODY")" = '[[0,null,null,null],[1,null,null,null],[null,"/problems/input-incomplete",4,null],[null,null,null,"failed"]]' ]
        [ "$(tail -1 <<<"$BODY")" = '{"done":true,"state":"failed","total":2}' ]
        [[ "$BODY" = *'"line 4: at byte 5: '* ]]
    done
    job=$(header location)
    get "$job/result"
    expect 422 input-incomplete
    body_is '[.line, .job]' "[4,\"${job##*/}\"]"
    get "$job/results"
    [ "$(jq -c '[.index, .error.line, .state]' <<<"$BODY")" = '[0,null,null]
[1,null,null]
[null,4,null]
[null,null,"failed"]' ]
    post "$job/retry" ''
    expect 410 result-gone
}

@test "a line that is too long ends the input" {
    start_poold --max-item-bytes 64
    long=$(printf '"%070d"' 0)
    feed /v1/imap '{"task":"echo"}\n"a"\n'"$long"'\n"b"\n'
    expect 200
    [ "$(jq -c '[.index, .error.line, .state]' <<<"$BODY")" = '[0,null,null]
[null,3,null]
[null,null,"failed"]' ]
    [[ "$BODY" = *'line 3 has more bytes than max_item_bytes allows, 64'* ]]
    feed /v1/imap '{"task":"echo","tags":['"$long"']}\n1\n'
    expect 413 body-too-large
}

@test "there are at most max_items lines" {
    start_poold --max-items 3
    feed /v1/imap '{"task":"square"}\n1\n2\n3\n4\n5\n'
    expect 200
    [ "$(jq -c '[.result, .error.line, .total]' <<<"$BODY")" = '[1,null,null]
[4,null,null]
[9,null,null]
[null,5,null]
[null,null,3]' ]
}

@test "an item's error is a line, and exceptions can be returned" {
    start_poold
    feed /v1/imap '{"task":"safe_square"}\n1\n-2\n3\n'
    [ "$(jq -c '[.index, .result, .error.item, .state]' <<<"$BODY")" = '[0,1,null,null]
[1,null,1,null]
[2,9,null,null]
[null,null,null,"failed"]' ]
    feed /v1/imap '{"task":"safe_square","return_exceptions":true}\n1\n-2\n'
    [ "$(tail -1 <<<"$BODY")" = '{"done":true,"state":"succeeded","total":2}' ]
    get "$(header location)/result"
    body_is '[.result[].ok]' '[true,false]'
}

@test "an item that is tried again is not forgotten meanwhile" {
    start_poold
    { echo '{"task":"safe_square","retries":2,"retry_backoff":{"initial":0.05,"factor":1}}'
      echo -1; seq 5000; } >"$BATS_TEST_TMPDIR/lines"
    http POST /v1/imap_unordered "${ndjson[@]}" -T "$BATS_TEST_TMPDIR/lines"
    [ "$(jq -c 'select(.error) | [.index, .error.attempt]' <<<"$BODY")" = '[0,3]' ]
    [ "$(jq -sc 'map(.result // 0) | add' <<<"$BODY")" = "$((5000 * 5001 * 10001 / 6))" ]
}

@test "windows and chunks give all results" {
    start_poold
    for more in '"window":1' '"window":7,"chunksize":3' '"chunksize":"auto"' '"chunksize":50'; do
        for call in imap imap_unordered; do
            { echo "{\"task\":\"square\",$more}"; seq 3000; } >"$BATS_TEST_TMPDIR/lines"
            http POST "/v1/$call" "${ndjson[@]}" -T "$BATS_TEST_TMPDIR/lines"
            expect 200
            [ "$(jq -sc 'map(select(.index != null)) | sort_by(.index) | map(.result)
                == [range(1; 3001) | . * .]' <<<"$BODY")" = true ]
        done
    done
}

@test "a client that feeds more than is done is made to wait" {
    start_poold
    play <<'PYTHON'
# By number, and by bytes.
for item, most in (600, 10000), ("x" * 100000, 60):
    task = "sleep" if item == 600 else "echo"
    feed = Feed(ADDRESS, {"task": task, "window": 1})
    feed.answer()
    blocker = Feed(ADDRESS, {"task": "sleep", "priority": 100})
    blocker.send(600, 600, 600)
    job_when(ADDRESS, blocker.job(), lambda job: job["state"] == "running")
    feed.send_until_full(item, 1 if task == "echo" else 4096)
    total = json.loads(get(ADDRESS, f"/v1/jobs/{feed.job()}")[1])["progress"]["total"]
    assert most // 3 <= total <= most, total
    for job in feed.job(), blocker.job():
        assert cancel(ADDRESS, job) in (200, 202)
    assert feed.rest()[-1]["state"] == "cancelled"
    blocker.close()
PYTHON
}

@test "a reader that does not read holds what it feeds" {
    start_poold
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "echo", "window": 2}, rcvbuf=4096)
item = "x" * 1000000
for _ in range(3):
    feed.send(item)
sent = 3 + feed.send_until_full(item, 1)
known = json.loads(get(ADDRESS, f"/v1/jobs/{feed.job()}")[1])
assert known["state"] == "running" and known["progress"]["completed"] < sent, known
feed.socket.close()     # of what was cut off in the middle of a chunk nothing is known
PYTHON
}

@test "memory does not grow with the number of items" {
    ! grep -q __tsan_init "$POOLD_BIN" || skip 'ThreadSanitizer has memory of its own for each byte'
    # AddressSanitizer keeps what was freed, 256 MB of it unless told otherwise.
    export ASAN_OPTIONS=quarantine_size_mb=16:${ASAN_OPTIONS:-}
    start_poold
    { echo '{"task":"square"}'; seq 100000; } >"$BATS_TEST_TMPDIR/lines"
    http POST /v1/imap "${ndjson[@]}" -T "$BATS_TEST_TMPDIR/lines"
    before=$(server_peak_kib)
    play <<'PYTHON'
import threading
for path in "/v1/imap", "/v1/imap_unordered":
    feed = Feed(ADDRESS, {"task": "square"}, path)
    def write():
        for i in range(0, 1000000, 1000):
            feed.raw("".join(f"{n}\n" for n in range(i, i + 1000)))
        feed.end()
    writer = threading.Thread(target=write)
    writer.start()
    count = total = 0
    for line in feed.answer():
        if line.startswith(b'{"index"'):
            count += 1
            total += int(line[line.rindex(b":") + 1:-2])
    writer.join()
    assert count == 1000000 and json.loads(line)["total"] == 1000000, line
    assert total == sum(n * n for n in range(1000000))
PYTHON
    after=$(server_peak_kib)
    figure G9 "2,000,000 items fed in 26 MB of lines: memory of the server at most +$((after - before)) KiB"
    # Of ten times as many items, twice: the results alone are 30 MB as text.
    [ $((after - before)) -lt 65536 ]
}

@test "another client reads a job while it is fed, from its first result on" {
    start_poold
    play <<'PYTHON'
import threading
for path in "/v1/imap", "/v1/imap_unordered":
    feed = Feed(ADDRESS, {"task": "square"}, path)
    feed.raw("".join(f"{n}\n" for n in range(5000)))
    read = sorted(feed.line()["index"] for _ in range(5000))
    assert read == list(range(5000))
    # Some of them are in the store only by now.
    for query in "", "?ordered=false":
        lines = stored_lines(ADDRESS, feed.job(), query)
        assert lines.pop() == {"done": False, "state": "running", "total": 5000}
        assert sorted(line["index"] for line in lines) == read
    status, text = get(ADDRESS, f"/v1/jobs/{feed.job()}/result")
    assert status == 202, (status, text)
    got = {}
    def follow(query):
        got[query] = stored_lines(ADDRESS, feed.job(), query)
    followers = [threading.Thread(target=follow, args=(query,)) for query in
                 ("?follow=true&from=4000", "?follow=true&ordered=false")]
    for follower in followers:
        follower.start()
    feed.raw("".join(f"{n}\n" for n in range(5000, 8000)))
    feed.end()
    assert len(feed.rest()) == 3001
    for follower in followers:
        follower.join()
    ordered, unordered = got["?follow=true&from=4000"], got["?follow=true&ordered=false"]
    assert ordered.pop()["total"] == 8000 and unordered.pop()["total"] == 8000
    assert [line["index"] for line in ordered] == list(range(4000, 8000))
    assert sorted(line["index"] for line in unordered) == list(range(8000))
    assert all(line["result"] == line["index"] ** 2 for line in ordered + unordered)
    status, text = get(ADDRESS, f"/v1/jobs/{feed.job()}/result")
    assert json.loads(text)["result"] == [n * n for n in range(8000)]
PYTHON
}

@test "a job of durability memory keeps its results for as long as others" {
    start_poold
    feed /v1/imap '{"task":"square","durability":"memory"}\n1\n2\n'
    get "$(header location)/result"
    body_is .result '[1,4]'
}

@test "a client that leaves before the end of its input leaves a job that fails" {
    start_poold
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "sleep"})
feed.send(0, 0.3, 0.3, 0.3, 0.3)
assert feed.line()["index"] == 0
job = feed.job()
feed.close()
known = job_when(ADDRESS, job, over)
assert known["state"] == "failed", known
assert known["error"]["type"] == "/problems/input-incomplete" and "line" not in known["error"]
assert "ended before" in known["error"]["detail"]
assert known["progress"]["completed"] == 5, known
assert [line.get("index") for line in stored_lines(ADDRESS, job)] == [0, 1, 2, 3, 4, None, None]
PYTHON
}

@test "a client that leaves ends its job if it said so" {
    start_poold
    play <<'PYTHON'
for ends in False, True:
    feed = Feed(ADDRESS, {"task": "sleep", "on_disconnect": "cancel"})
    feed.send(0, 600, 600, 600)
    assert feed.line()["index"] == 0
    if ends:
        feed.end()
    job = feed.job()
    feed.close()
    assert job_when(ADDRESS, job, over)["state"] == "cancelled"
PYTHON
}

@test "a client that leaves behind the end of its input leaves a job that goes on" {
    start_poold
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "sleep", "window": 1})
feed.send(0, 0.5, 0.1, 0.1)
feed.end()
assert feed.line()["index"] == 0
job = feed.job()
feed.close()
known = job_when(ADDRESS, job, over)
assert known["state"] == "succeeded" and known["progress"]["total"] == 4, known
PYTHON
}

@test "a job that is cancelled while it is fed ends its stream" {
    start_poold
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "sleep"})
feed.send(0, 600)
assert feed.line()["index"] == 0
job_when(ADDRESS, feed.job(), lambda job: job["progress"]["total"] == 2)
assert cancel(ADDRESS, feed.job()) in (200, 202)
assert feed.rest() == [{"done": True, "state": "cancelled", "total": 2}]
feed = Feed(ADDRESS, {"task": "square"})    # nothing has come yet
assert get(ADDRESS, f"/v1/jobs/{feed.job()}/cancel", "POST", {})[0] == 200
assert feed.rest() == [{"done": True, "state": "cancelled", "total": 0}]
PYTHON
}

@test "a pool that is terminated ends what it is fed" {
    start_poold
    post /v1/pools '{"name":"small","processes":1}'
    expect 201
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "sleep", "pool": "small"})
feed.send(0, 600)
assert feed.line()["index"] == 0
assert get(ADDRESS, "/v1/pools/small/terminate", "POST")[0] == 200
assert feed.rest()[-1] == {"done": True, "state": "cancelled", "total": 2}
feed = Feed(ADDRESS, {"task": "sleep", "pool": "small"})
assert feed.problem()[:2] == (409, "pool-closed")
PYTHON
}

@test "a client that feeds nothing for idle_timeout has ended its input" {
    start_poold --idle-timeout 1
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "sleep", "crash_retries": 0}, "/v1/imap_unordered")
feed.send(0, 600)
assert feed.line()["index"] == 0
# Longer than idle_timeout: as long as something runs, nothing is missing.
assert get(ADDRESS, "/v1/apply", "POST", {"task": "sleep", "args": [2.5]})[0] == 200
feed.send(0)
assert feed.line()["index"] == 2
os.kill(worker_of(ADDRESS, feed.job()), signal.SIGKILL)
lost, error, done = feed.rest()
assert lost["index"] == 1 and lost["error"]["type"] == "/problems/worker-lost", lost
assert error["error"]["type"] == "/problems/input-incomplete", error
assert "idle_timeout" in error["error"]["detail"]
assert done == {"done": True, "state": "failed", "total": 3}
PYTHON
}

@test "a reader that reads nothing for idle_timeout has left, what it feeds goes on" {
    start_poold --idle-timeout 1
    play <<'PYTHON'
feed = Feed(ADDRESS, {"task": "echo", "window": 1}, rcvbuf=4096)
for _ in range(30):
    feed.send("x" * 1000000)
job = feed.job()
known = job_when(ADDRESS, job, lambda job: job["progress"]["completed"] == 30)
feed.end()
assert job_when(ADDRESS, job, over)["state"] == "succeeded"
PYTHON
}

@test "SIGTERM ends what is fed behind the items that run" {
    start_poold
    play "$POOLD_PID" <<'PYTHON'
import signal
feed = Feed(ADDRESS, {"task": "sleep"})
feed.send(0)
assert feed.line()["index"] == 0
feed.send(1, 1, 600, 600)
job_when(ADDRESS, feed.job(), lambda job: job["progress"]["total"] == 5)
os.kill(int(sys.argv[2]), signal.SIGTERM)
lines = feed.rest()
assert lines[-1]["state"] == "failed" and "stopped" in lines[-2]["error"]["detail"], lines
print(feed.job())
PYTHON
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
}

@test "SIGKILL while a job is fed leaves a job that has failed, with what it had" {
    start_poold
    job=$(play "$POOLD_PID" <<'PYTHON'
import signal
feed = Feed(ADDRESS, {"task": "square"})
feed.send(*range(3000))
for _ in range(3000):
    feed.line()
print(feed.job())
# Until it is in the store: what was let go of can be read from there only.
while len(stored_lines(ADDRESS, feed.job())) < 3001:
    pass
os.kill(int(sys.argv[2]), signal.SIGKILL)
PYTHON
    )
    wait_for_exit
    start_poold
    wait_for_state "$job" failed
    get "/v1/jobs/$job"
    body_is '[.error.type, .successful]' '["/problems/input-incomplete",false]'
    get "/v1/jobs/$job/results?follow=true" >/dev/null
    [ "$(tail -1 <<<"$BODY" | jq -c .state)" = '"failed"' ]
    # The newest results may not have been stored yet; those that are, are right.
    [ "$(jq -sc 'map(select(.index != null)) | length > 1000 and all(.result == .index * .index)' \
        <<<"$BODY")" = true ]
}

@test "without a free waiter nothing is begun" {
    start_poold --max-waiters 1
    curl -sS --max-time 60 "$URL/v1/apply" -H 'Content-Type: application/json' \
        -d '{"task":"sleep","args":[600]}' -o /dev/null 3>&- &
    waiting=$!
    eventually one_job_runs
    feed /v1/imap '{"task":"square"}\n1\n'
    expect 503 too-many-waiters
    [ -n "$(header retry-after)" ]
    [ "$(job_count)" = 1 ]
    kill "$waiting"
}

one_job_runs() {
    http GET '/v1/jobs?state=running'
    [ "$(jq '.jobs | length' <<<"$BODY")" = 1 ]
}

@test "clients that break off anywhere leave no job that runs for ever" {
    start_poold --idle-timeout 5
    play <<'PYTHON'
import random
import threading

random.seed(7)
VALUES = {"square": lambda r: r.randrange(1000), "safe_square": lambda r: r.randrange(-2, 1000),
          "sleep": lambda r: r.random() / 200,
          "echo": lambda r: "x" * r.choice([1, 100, 100000])}

def step(r, feed, value):
    kind = r.random()
    if kind < .6:
        feed.send(*[value(r) for _ in range(r.choice([1, 10, 300]))])
    elif kind < .8:
        feed.answer()
    elif kind < .9 and feed.response:
        feed.socket.settimeout(.1)
        feed.line()
    elif kind < .93:
        feed.raw("no JSON\n")
    elif kind < .95 and feed.response:
        cancel(ADDRESS, feed.job())
    elif kind < .97:
        feed.socket.shutdown(socket.SHUT_WR)
    elif kind < .98:
        feed.socket.sendall(b"no chunk\r\n")

def client(seed):
    r = random.Random(seed)
    task = r.choice(list(VALUES))
    job = {"task": task, "window": r.choice([1, 5, 1024]), "chunksize": r.choice([1, 3, "auto"]),
           "on_disconnect": r.choice(["continue", "continue", "cancel"]),
           "on_error": r.choice(["continue", "stop"]),
           "durability": r.choice(["relaxed", "relaxed", "memory"])}
    feed = Feed(ADDRESS, job, r.choice(["/v1/imap", "/v1/imap_unordered"]))
    try:
        for _ in range(r.randrange(30)):
            step(r, feed, VALUES[task])
        if r.random() < .5:
            feed.socket.settimeout(20)
            feed.end()
            if r.random() < .7:
                feed.rest()
    except (OSError, http.client.HTTPException, ValueError, AssertionError, TypeError):
        pass    # it is about the server
    feed.close()

for _ in range(8):
    clients = [threading.Thread(target=client, args=(random.random(),)) for _ in range(25)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
jobs = json.loads(get(ADDRESS, "/v1/jobs?limit=500")[1])["jobs"]
assert len(jobs) == 200, len(jobs)
for job in jobs:
    job_when(ADDRESS, job["id"], over)
PYTHON
}

@test "a hundred clients feed at the same time" {
    start_poold
    play <<'PYTHON'
feeds = [Feed(ADDRESS, {"task": "square"}) for _ in range(100)]
for n in range(20):
    for feed in feeds:
        feed.send(n)
    for feed in feeds:
        assert feed.line() == {"index": n, "result": n * n}
for feed in feeds:
    feed.end()
for feed in feeds:
    assert feed.rest() == [{"done": True, "state": "succeeded", "total": 20}]
PYTHON
}
