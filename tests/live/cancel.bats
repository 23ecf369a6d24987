# SPDX-License-Identifier: MIT
# Ending jobs early: Future.cancel, and what Python cannot do: ending a running task.
load helpers

: "${PLUGINS:=$BATS_TEST_DIRNAME/../../build/dev/tests/plugins}"

@test "row 90, 91: a queued job is cancelled and never runs" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$blocker" running
    job=$(submit apply_async '{"task":"square","args":[2]}')
    post "/v1/jobs/$job/cancel" '{}'
    expect 200
    body_is .state '"cancelled"'
    body_is '[.ready, .successful]' '[true,false]'
    body_is .started_at null
    get "/v1/jobs/$job/result"
    expect 409 job-cancelled
    get "/v1/jobs/$job"
    expect 200
    post "/v1/jobs/$job/cancel" '{}' # again
    expect 200
    body_is .state '"cancelled"'
}

@test "a scheduled job is cancelled" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[2],"delay":3600}')
    post "/v1/jobs/$job/cancel" '{"terminate":false}'
    expect 200
    body_is .state '"cancelled"'
}

@test "a running job is not cancelled unless that is demanded" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$job" running
    post "/v1/jobs/$job/cancel" '{}'
    expect 409 job-running
    [ "$(field "$job" .state)" = running ]
}

@test "terminate kills the worker of a running job, and the pool heals" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    post "/v1/jobs/$job/cancel" '{"terminate":true}'
    expect 202
    wait_for_state "$job" cancelled
    eventually gone "$pid"
    eventually idle_workers_are 1
    [ "$(worker_pid 0)" != "$pid" ]
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
}

@test "terminate leaves the other jobs alone" {
    start_poold --processes 2
    a=$(submit apply_async '{"task":"sleep","args":[600]}')
    b=$(submit apply_async '{"task":"sleep","args":[1],"crash_retries":0}')
    wait_for_state "$a" running
    wait_for_state "$b" running
    post "/v1/jobs/$a/cancel" '{"terminate":true}'
    wait_for_state "$a" cancelled
    wait_for_state "$b" succeeded
    [ "$(field "$b" .attempt)" = 1 ]
}

@test "a client that waits for a job learns of its cancellation" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    curl -sS --max-time 60 "$URL/v1/jobs/$job/result?timeout=50" \
        -o "$BATS_TEST_TMPDIR/waiting" 3>&- &
    waiting=$!
    post "/v1/jobs/$job/cancel" '{"terminate":true}'
    expect 202
    wait "$waiting"
    [ "$(jq -r .type "$BATS_TEST_TMPDIR/waiting")" = /problems/job-cancelled ]
}

@test "what a cancelled map has done stays readable" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,0,600,0],"chunksize":1}')
    follow "$job" '.progress.completed == 2'
    post "/v1/jobs/$job/cancel" '{"terminate":true}'
    wait_for_state "$job" cancelled
    get "/v1/jobs/$job/results"
    expect 200
    [ "$(jq -c 'select(has("result")) | .index' <<<"$BODY" | paste -sd,)" = 0,1 ]
    [ "$(jq -c 'select(.done) | .state' <<<"$BODY")" = '"cancelled"' ]
}

@test "of three hundred jobs that are cancelled at any time none starts an item afterwards" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    cp "$PLUGINS/record.so" "$BATS_TEST_TMPDIR/tasks"
    : >"$BATS_TEST_TMPDIR/records"
    start_poold --processes 2 --tasks "$BATS_TEST_TMPDIR/tasks"
    "${PYTHON3:-python3}" - "${URL#http://}" "$BATS_TEST_TMPDIR/records" >"$BATS_TEST_TMPDIR/figure" 3>&- <<'PYTHON'
import collections, http.client, json, random, sys, time
records = sys.argv[2]
connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
def ask(method, path, body=None):
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
waiting, answered, count = {}, {}, collections.Counter()
for n in range(600):
    items = [f"{records} {n} {i} {random.randrange(10)}" for i in range(random.randint(1, 12))]
    status, job = ask("POST", "/v1/map_async", {"task": "record", "items": items, "chunksize": random.randint(1, 5)})
    assert status == 202, job
    waiting[job["id"]] = n
    if n % 2 == 0:
        continue
    running = [job["id"] for job in ask("GET", "/v1/jobs?state=running")[1]["jobs"] if job["id"] in waiting]
    id = random.choice(running) if running and n % 4 == 1 else random.choice(list(waiting)[-8:])
    n, terminate = waiting.pop(id), n % 4 == 1 or random.random() < 0.5
    status, answer = ask("POST", f"/v1/jobs/{id}/cancel", {"terminate": terminate})
    if status in (200, 202):
        answered[n] = time.monotonic_ns(), terminate
    else:
        assert status == 409, answer
    count[status] += 1
for id in waiting:
    assert ask("GET", f"/v1/jobs/{id}/result?timeout=60")[0] == 200, id
late, runs = 0, [line.split() for line in open(records, encoding="ascii")]
for n, _, _, at in runs:
    time_ns, terminate = answered.get(int(n), (1 << 63, True))
    late += int(at) > time_ns or not terminate  # who did not ask for that was told that nothing has run
print(f"{sum(count.values())} cancellations at random, beside 300 other jobs: {count[200]} of jobs that waited, "
      f"{count[202]} of running ones, {count[409]} too late; {late} items started after the answer")
assert late == 0 and count[200] and count[202], count
PYTHON
    figure G14 "$(cat "$BATS_TEST_TMPDIR/figure")"
}

@test "row 91: a finished job cannot be cancelled" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[2]}')
    wait_for_state "$job" succeeded
    for terminate in true false; do
        post "/v1/jobs/$job/cancel" "{\"terminate\":$terminate}"
        expect 409 already-finished
    done
    [ "$(field "$job" .state)" = succeeded ]
}

@test "a client that leaves does not end its job" {
    start_poold
    leave '{"task":"sleep","args":[0.5]}'
    eventually newest_job_is succeeded
}

@test "a client that leaves ends its job if it said so" {
    start_poold
    leave '{"task":"sleep","args":[600],"on_disconnect":"cancel"}'
    eventually newest_job_is cancelled
    eventually idle_workers_are 2
}

@test "a client that leaves at once ends its job as well" {
    start_poold
    python3 - "${URL#http://}" <<'PYTHON'
import socket, struct, sys, time
host, port = sys.argv[1].rsplit(":", 1)
for i in range(80):
    body = (b'{"task":"sleep","args":[600],"on_disconnect":"cancel","durability":"%s"}' %
            (b"relaxed", b"durable")[i % 2])
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(i // 2 % 8 / 1000)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
PYTHON
    eventually all_jobs_are cancelled
    eventually idle_workers_are 2
}

all_jobs_are() {
    http GET '/v1/jobs?limit=100'
    jq -e --arg state "$1" '.jobs | length > 0 and all(.state == $state)' <<<"$BODY" >/dev/null
}

# Sends the waiting call and goes away as soon as the job runs.
leave() {
    curl -sS --max-time 60 "$URL/v1/apply" -H 'Content-Type: application/json' -d "$1" \
        -o /dev/null 2>/dev/null 3>&- &
    local client=$!
    eventually newest_job_is running
    kill -KILL "$client"
    wait "$client" || true
}

newest_job_is() {
    http GET '/v1/jobs?limit=1'
    [ "$(jq -r '.jobs[0].state' <<<"$BODY")" = "$1" ]
}
