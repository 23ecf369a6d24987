# SPDX-License-Identifier: MIT
# Ending the server: drain, end at once, what clients see of it.
load helpers

@test "F5 SIGTERM lets the running item finish, then ends with exit code 0" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[1]}')
    wait_for_state "$job" running
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    start_poold --processes 1
    get "/v1/jobs/$job"
    body_is '[.state, .attempt]' '["succeeded",1]'
}

@test "F5 SIGINT ends the server as SIGTERM does" {
    start_poold
    stop_poold INT
    [ "$POOLD_STATUS" = 0 ]
}

@test "a SIGTERM or SIGINT that comes before anything is open ends it with 0" {
    local signal
    for signal in TERM INT; do
        pipe_that_waits "$BATS_TEST_TMPDIR/$signal"
        "${poold[@]}" serve --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --config "$BATS_TEST_TMPDIR/$signal" \
            </dev/null >/dev/null 2>>"$POOLD_STDERR" 3>&- 7>&- &
        POOLD_PID=$!
        ALL_PIDS+=("$POOLD_PID")
        eventually reads "$BATS_TEST_TMPDIR/$signal"
        stop_poold "$signal"
        [ "$POOLD_STATUS" = 0 ]
    done
    [ "$(grep -c 'stopped before the start' "$POOLD_STDERR")" = 2 ]
    [ ! -e "$POOLD_DATA_DIR" ]
}

# The server itself: what the shell forks for it has the same pipe for a moment.
reads() { [ "/proc/$POOLD_PID/exe" -ef "$POOLD_BIN" ] && has_open "$POOLD_PID" "$1"; }

@test "SIGTERM starts nothing new" {
    start_poold --processes 1
    running=$(submit map_async '{"task":"sleep","items":[0.5,600],"chunksize":1}')
    queued=$(submit apply_async '{"task":"square","args":[5]}')
    eventually worker_of "$running"
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    start_poold --processes 2
    [ "$(result "$queued")" = 25 ]
    follow "$running" '.progress.completed == 1'
}

@test "F5 SIGTERM waits for a running item no longer than drain_timeout" {
    start_poold --processes 1 --drain-timeout 0.2
    job=$(submit apply_async '{"task":"sleep","args":[600],"crash_retries":0}')
    wait_for_state "$job" running
    begin=$SECONDS
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    [ $((SECONDS - begin)) -lt 15 ]
    start_poold --processes 1
    wait_for_state "$job" running
}

@test "F5 a second SIGTERM does not wait" {
    start_poold --processes 1 --drain-timeout 3000
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    kill -TERM "$POOLD_PID"
    eventually log_has 'drain|stopping|shutting'
    stop_poold TERM
    start_poold --processes 1
    wait_for_state "$job" running
}

@test "a waiting client gets an answer when the server stops" {
    start_poold --processes 1 --drain-timeout 0.2
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    python3 - "${URL#http://}" "$job" "$POOLD_PID" <<'PYTHON'
import http.client, os, signal, sys
address, job, pid = sys.argv[1:]
waiting = http.client.HTTPConnection(address, timeout=60)
waiting.request("GET", f"/v1/jobs/{job}/result?timeout=50")
# One thread serves all: once these are answered, it has read the one above.
for _ in range(3):
    other = http.client.HTTPConnection(address, timeout=60)
    other.request("GET", "/healthz")
    assert other.getresponse().status == 200
    other.close()
os.kill(int(pid), signal.SIGTERM)
assert waiting.getresponse().status in (202, 503)
PYTHON
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
}

@test "no process is left behind" {
    start_poold --processes 3
    submit map_async '{"task":"sleep","items":[0.3,0.3,0.3,0.3,0.3]}'
    pids=$(descendants "$POOLD_PID")
    [ "$(wc -w <<<"$pids")" -ge 4 ]
    stop_poold TERM
    for pid in $pids; do
        eventually gone "$pid"
    done
}

@test "row 96: a server that drains takes no job, says so, and can be read" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[2]}')
    wait_for_state "$job" running
    kill -TERM "$POOLD_PID"
    eventually not_ready
    http POST /v1/apply_async -H 'Content-Type: application/json' -d '{"task":"square","args":[1]}'
    expect 503 shutting-down
    [ "$(header retry-after)" -ge 1 ]
    get "/v1/jobs/$job"
    expect 200
    get /healthz
    expect 200
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
}

not_ready() { ! curl -sf --max-time 5 -o /dev/null "$URL/readyz"; }

@test "poold health tells a ready server from none" {
    start_poold
    eventually is_ready
    run "${poold[@]}" health "$URL"
    [ "$status" = 0 ]
    run env POOLD_LISTEN="${URL#http://}" "${poold[@]}" health
    [ "$status" = 0 ]
    stop_poold
    run "${poold[@]}" health "$URL"
    [ "$status" = 1 ]
    [ -n "$output" ]
}
