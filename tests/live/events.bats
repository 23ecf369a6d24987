# SPDX-License-Identifier: MIT
# Following jobs by server-sent events, also over breaks and restarts.
load helpers

# listen PATH [CURL FLAG...]: in the background, into the file; returns when the server has
# taken it up.
listen() {
    local path=$1
    shift
    : >"$BATS_TEST_TMPDIR/events"
    curl -sSN --max-time $((PATIENCE + 30)) "$URL$path" "$@" >"$BATS_TEST_TMPDIR/events" 3>&- &
    FOLLOWER=$!
    ALL_PIDS+=("$FOLLOWER") # ends with the test
    eventually events_have '^retry: 1000$'
}
events_have() { grep -q -- "$1" "$BATS_TEST_TMPDIR/events"; }

# The kinds, and the data, of the events in the file or in the last answer.
kinds() { sed -n 's/^event: //p' "$BATS_TEST_TMPDIR/${1:-events}" | paste -sd ' '; }
data() { sed -n 's/^data: //p' "$BATS_TEST_TMPDIR/${1:-events}"; }
last_id() { sed -n 's/^id: //p' "$BATS_TEST_TMPDIR/${1:-events}" | tail -1; }
ids_rise() { sed -n 's/^id: //p' "$BATS_TEST_TMPDIR/${1:-events}" | sort -nuc; }

@test "a job's events go from its creation to its end, and the stream ends with them" {
    start_poold
    for durability in durable relaxed memory; do
        job=$(submit apply_async "{\"task\":\"square\",\"args\":[3],\"durability\":\"$durability\"}")
        get "/v1/jobs/$job/events" >/dev/null
        expect 200
        [ "$(header content-type)" = text/event-stream ]
        [ "$(kinds body)" = "job.created job.started job.succeeded" ]
        ids_rise body
        [ "$(data body | jq -c '[.state, .progress.completed]' | paste -sd ' ')" = \
            '["queued",0] ["running",0] ["succeeded",1]' ]
        [ "$(data body | jq -r .id | sort -u)" = "$job" ]
    done
}

@test "failed, cancelled and expired jobs say so" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    get "/v1/jobs/$job/events" >/dev/null
    [ "$(kinds body)" = "job.created job.started job.failed" ]
    blocker=$(submit apply_async '{"task":"sleep","args":[20]}')
    job=$(submit apply_async '{"task":"square","args":[1],"expires_in":0.1}')
    get "/v1/jobs/$job/events" >/dev/null
    [ "$(kinds body)" = "job.created job.expired" ]
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}' >/dev/null
    get "/v1/jobs/$blocker/events" >/dev/null
    [ "$(kinds body)" = "job.created job.started job.cancelled" ]
}

@test "progress is told at most twice a second, and the last of it in time" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0.01,0.01,0.01,0.01,0.01,20],"chunksize":1}')
    listen "/v1/jobs/$job/events"
    eventually events_have '"completed":5'
    [ "$(grep -c 'event: job.progress' "$BATS_TEST_TMPDIR/events")" -le 3 ]
    [ "$(data | tail -1 | jq -c '[.state, .progress.completed]')" = '["running",5]' ]
}

@test "the stream of all jobs tells what happens from now on" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    listen /v1/events
    job=$(submit apply_async '{"task":"square","args":[3]}')
    eventually events_have job.succeeded
    [ "$(kinds)" = "job.created job.started job.succeeded" ]
    [ "$(data | jq -r .id | sort -u)" = "$job" ]
}

@test "a client goes on behind the last event that it has seen" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    get "/v1/jobs/$job/events" >/dev/null
    first=$(sed -n 's/^id: //p' <<<"$BODY" | head -1)
    for how in "-H Last-Event-ID:$first" "-G -d last_event_id=$first"; do
        # shellcheck disable=SC2086
        get "/v1/jobs/$job/events" $how >/dev/null
        [ "$(kinds body)" = "job.started job.succeeded" ]
    done
    listen /v1/events -H "Last-Event-ID: $first"
    eventually events_have job.succeeded
    [ "$(kinds)" = "job.started job.succeeded" ]
}

@test "who has seen the end of a job is told not to come back" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    get "/v1/jobs/$job/events" >/dev/null
    get "/v1/jobs/$job/events" -H "Last-Event-ID: $(last_id body)"
    expect 204
}

@test "events of durable jobs survive kill -9, and their ids go on rising" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    other=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$job" succeeded
    wait_for_state "$other" running
    get "/v1/jobs/$job/events" >/dev/null
    cp "$BATS_TEST_TMPDIR/body" "$BATS_TEST_TMPDIR/before"
    first=$(sed -n 's/^id: //p' "$BATS_TEST_TMPDIR/before" | head -1)
    restart_poold KILL
    get "/v1/jobs/$job/events" >/dev/null
    [ "$(kinds body)" = "job.created job.started job.succeeded" ]
    [ "$(last_id body)" = "$(last_id before)" ]
    listen /v1/events -H "Last-Event-ID: $first"
    eventually events_have "job.succeeded"
    wait_for_state "$other" running
    ids_rise
    ! events_have gap
}

@test "the end of a job that no event tells any more is told from the job" {
    start_poold
    post /v1/apply '{"task":"square","args":[3],"durability":"relaxed"}' >/dev/null
    job=$(jq -r .id <<<"$BODY")
    restart_poold
    get "/v1/jobs/$job/events" >/dev/null
    [ "$(kinds body)" = "job.succeeded" ]
    get "/v1/jobs/$job/events" -H "Last-Event-ID: $(last_id body)"
    expect 204
}

@test "a client whose last event is no longer known is told of the gap first" {
    start_poold --store memory
    listen /v1/events -H 'Last-Event-ID: 5'
    eventually events_have '^event: gap$'
    kill "$FOLLOWER"
    listen /v1/events -H 'Last-Event-ID: 9000000000000000'
    eventually events_have '^event: gap$'
}

@test "a quiet stream is kept alive" {
    start_poold
    listen /v1/events
    eventually events_have '^:$'
}

@test "row 95: followers count as waiters, and too many are refused" {
    start_poold --max-waiters 1
    listen /v1/events
    get /v1/events
    expect 503 too-many-waiters
    [ "$(header retry-after)" -ge 1 ]
    kill "$FOLLOWER"
    wait "$FOLLOWER" || true
    eventually is_taken
}
is_taken() {
    curl -sSN --max-time 1 -o /dev/null -w '%{http_code}' "$URL/v1/events" 2>/dev/null |
        grep -q 200
}

@test "a large batch cuts nobody off who follows" {
    start_poold
    listen /v1/events
    batch=$(jq -nc '[range(1000) | {method: "apply_async", task: "square", args: [.]}]')
    for round in 1 2; do
        post /v1/batch "$batch" >/dev/null
        expect 202
        eventually has_seen $((round * 1000)) job.created
        eventually has_seen $((round * 1000)) job.started
        eventually has_seen $((round * 1000)) job.succeeded
    done
    kill -0 "$FOLLOWER"
}

has_seen() { [ "$(grep -c "^event: $2\$" "$BATS_TEST_TMPDIR/events")" = "$1" ]; }

@test "a slow reader is cut off, and nobody else waits for it" {
    start_poold
    # Little room in its socket, from which it reads nothing until it is told to by the end of
    # its standard input; then it counts what had been kept for it.
    mkfifo "$BATS_TEST_TMPDIR/go" "$BATS_TEST_TMPDIR/told"
    "$PYTHON3" -c '
import socket, sys
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
sock.connect(("127.0.0.1", int(sys.argv[1])))
sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
stream = sock.makefile("rb")
while stream.readline() != b"retry: 1000\n":
    pass
print("follows", flush=True)
sys.stdin.read()
print(sum(line.startswith(b"id: ") for line in stream))' "${URL##*:}" \
        <"$BATS_TEST_TMPDIR/go" >"$BATS_TEST_TMPDIR/told" 3>&- &
    FOLLOWER=$!
    ALL_PIDS+=("$FOLLOWER")
    exec 8>"$BATS_TEST_TMPDIR/go" 9<"$BATS_TEST_TMPDIR/told"
    read -r line <&9
    [ "$line" = follows ]
    # What the kernel keeps for it is some megabytes, 190 bytes an event; beyond, the server counts
    # what it is behind. At once comes less than makes anybody late.
    batch=$(jq -nc '[range(200) | {method: "map_async", task: "square", items: [.], durability: "memory"}]')
    for round in {1..200}; do
        post /v1/batch "$batch" 8>&- 9<&- >/dev/null
        expect 202
    done
    exec 8>&-
    read -r -t "$PATIENCE" events <&9
    exec 9<&-
    wait "$FOLLOWER"
    echo "$events events before the end"
    [ "$events" -gt 0 ] && [ "$events" -lt 80000 ]
}

@test "SIGTERM ends the streams, and the client can come back" {
    start_poold
    listen /v1/events
    stop_poold
    [ "$POOLD_STATUS" = 0 ]
    wait "$FOLLOWER" || true
}

@test "a wrong id is a bad request" {
    start_poold
    get /v1/events -H 'Last-Event-ID: abc'
    expect 400 invalid-parameter
    get '/v1/events?last_event_id=-1'
    expect 400 invalid-parameter
    get '/v1/events?since=1'
    expect 400 invalid-parameter
    get /v1/jobs/0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b/events
    expect 404 not-found
}

@test "events of a batch and of a retry are told, and survive" {
    start_poold
    post /v1/batch '[{"method":"apply_async","task":"square","args":[3]},
        {"method":"apply_async","task":"safe_square","args":[-1]}]' >/dev/null
    expect 202
    good=$(jq -r '.jobs[0].id' <<<"$BODY") bad=$(jq -r '.jobs[1].id' <<<"$BODY")
    get "/v1/jobs/$good/events" >/dev/null
    [ "$(kinds body)" = "job.created job.started job.succeeded" ]
    wait_for_state "$bad" failed
    post "/v1/jobs/$bad/retry" '' >/dev/null
    expect 202
    wait_for_state "$bad" failed
    all="job.created job.started job.failed job.retried job.started job.failed"
    get "/v1/jobs/$bad/events" >/dev/null
    [ "$(kinds body)" = "$all" ]
    restart_poold KILL
    get "/v1/jobs/$bad/events" >/dev/null
    [ "$(kinds body)" = "$all" ]
    get "/v1/jobs/$good/events" >/dev/null
    [ "$(kinds body)" = "job.created job.started job.succeeded" ]
}
