# SPDX-License-Identifier: MIT
# Clients and readers of the log that behave badly. The numbers are those of the table of faults.
# shellcheck disable=SC2154 # bats sets $status and $output
load helpers

teardown() {
    teardown_server
    [ -z "${MOUNTED:-}" ] || umount -l "$MOUNTED"
}

# talk TEXT...: what is sent on one connection, and what comes back until the server closes, with an
# upper bound. printf's escapes. Bytes of the answer go to standard output.
talk() {
    "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/talk.py" "${URL#http://}" "$@"
}

descriptors() { find "/proc/$POOLD_PID/fd" -mindepth 1 | wc -l; }
descriptors_are() { [ "$(descriptors)" -le "$1" ]; }

request='POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 29'

@test "F52: a client that closes its side behind a whole request gets its answer" {
    start_poold
    run talk "$request\r\n\r\n{\"task\":\"square\",\"args\":[12]}" half-close read
    [[ $output == *"200 OK"*'"result":144}'* ]]
}

@test "F52: a client that closes its side in the middle of a body has submitted nothing" {
    start_poold
    run talk "$request\r\n\r\n{\"task\":\"square\"" half-close read
    [[ $output != *"200 OK"* ]]
    [ "$(job_count)" = 0 ]
    get /healthz
    expect 200
}

@test "F53: clients that leave a long poll or an upload leave nothing behind" {
    start_poold --processes 1 --idle-timeout 2
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    before=$(descriptors)
    poll="GET /v1/jobs/$job/result?timeout=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    run talk many 50 "$poll"
    [ "$status" = 0 ]
    eventually waiters_are 0 # long before their minute is over
    run talk many 50 "$request\r\n\r\n{\"task\":"
    [ "$status" = 0 ]
    eventually descriptors_are "$before"
    [ "$(job_count)" = 1 ]
}

# hold N TEXT: so many clients that wait; HOLDER is their process. All of them leave when it is killed.
hold() {
    "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/talk.py" "${URL#http://}" hold "$@" 3>&- &
    HOLDER=$!
    ALL_PIDS+=("$HOLDER")
}

# sleeper [MEMBERS [VERSION]]: a waiting call for ten minutes, in HTTP/1.VERSION.
sleeper() {
    local body="{\"task\":\"sleep\",\"args\":[600]$1}"
    printf '%s' "POST /v1/apply HTTP/1.${2:-1}\r\nHost: localhost\r\nContent-Type: application/json\r\n" \
        "Content-Length: ${#body}\r\n\r\n$body"
}

@test "F53: callers that leave free their places at once, and their jobs go on" {
    start_poold --processes 1 --max-waiters 20 --max-wait 3600
    eventually idle_workers_are 1
    before=$(descriptors)
    for version in 1 0; do
        hold 20 "$(sleeper '' $version)"
        eventually waiters_are 20
        get /v1/events # there is no place for one more
        expect 503 too-many-waiters
        kill -KILL "$HOLDER"
        eventually waiters_are 0 # an hour before their time is up
        eventually descriptors_are "$before"
        talk 'GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n' await '200 OK' >/dev/null
        eventually waiters_are 0
    done
    [ "$(job_count)" = 40 ]
    http GET '/v1/jobs?limit=100'
    body_is '[.jobs[].state] | unique' '["queued","running"]'
}

@test "F53: whatever is waited for, a client that leaves frees its place" {
    start_poold --processes 1 --max-wait 3600
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    post /v1/pools '{"name":"other","processes":1}' >/dev/null
    expect 201
    busy=$(submit apply_async '{"task":"sleep","args":[600],"pool":"other"}')
    wait_for_state "$busy" running
    post /v1/pools/other/close '' >/dev/null
    before=$(descriptors)
    wait_json="{\"ids\":[\"$job\"]}"
    for text in "GET /v1/jobs/$job?timeout=3600" "GET /v1/jobs/$job/result?timeout=3600" \
        "GET /v1/jobs/$job/results?follow=true" \
        "POST /v1/pools/other/join?timeout=3600" "POST /v1/jobs/wait" "POST /v1/jobs/as_completed"; do
        body=
        [[ $text != *wait && $text != *completed ]] || body=$wait_json
        hold 3 "$text HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${#body}\r\n\r\n$body"
        eventually waiters_are 3
        kill -KILL "$HOLDER"
        eventually waiters_are 0
    done
    eventually descriptors_are "$before"
    get "/v1/jobs/$job"
    body_is .state '"running"'
}

@test "F52: a client that closes its side and waits for long is asked, and gets its answer" {
    start_poold
    for members in '' ',"on_disconnect":"cancel"'; do
        rm -f "$BATS_TEST_TMPDIR/answer" # that of the client before
        talk "$(sleeper "$members")" half-close await 'HTTP/1.1 100 Continue\r\n\r\n' read \
            >"$BATS_TEST_TMPDIR/answer" 3>&- &
        client=$!
        eventually grep -q '100 Continue' "$BATS_TEST_TMPDIR/answer"
        http GET '/v1/jobs?limit=1'
        body_is '.jobs[0].ready' false
        job=$(jq -r '.jobs[0].id' <<<"$BODY")
        post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
        wait "$client"
        grep -q 'HTTP/1.1 409 ' "$BATS_TEST_TMPDIR/answer"
        grep -q '/problems/job-cancelled' "$BATS_TEST_TMPDIR/answer"
    done
}

@test "F54: a thousand requests in one write are answered in their order" {
    start_poold
    run talk repeat 1000 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n' half-close read
    [ "$(grep -c '200 OK' <<<"$output")" = 1000 ]
}

@test "F54: connections that are reset in the middle of an answer leak nothing" {
    start_poold
    items=$(seq 200000 | paste -sd,)
    job=$(submit map_async "{\"task\":\"echo\",\"items\":[$items]}")
    wait_for_state "$job" succeeded
    before=$(descriptors)
    for i in {1..20}; do
        run talk "GET /v1/jobs/$job/results HTTP/1.1\r\nHost: localhost\r\n\r\n" read-some reset
        [[ $output == *"200 OK"* ]]
    done
    eventually descriptors_are "$before"
    [ "$(result "$job" | tr ',' '\n' | wc -l)" = 200000 ]
}

@test "F55: ten thousand small jobs beyond the queue are refused, those within it are done" {
    start_poold --processes 1 --max-queued-jobs 2000
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    batch=$(jq -nc '[range(500) | {method: "apply_async", task: "square", args: [.]}]')
    refused=0
    for i in {1..20}; do
        post /v1/batch "$batch" >/dev/null
        [ "$i" -gt 3 ] || expect 202
        [ "$i" -lt 4 ] || expect 503 queue-full
        [ "$STATUS" = 202 ] || refused=$((refused + 500))
    done
    [ "$(header retry-after)" -ge 1 ]
    figure G9 "batches of 500, 10,000 jobs for a queue of 2,000: $refused refused, the others done"
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}' >/dev/null
    http GET '/v1/jobs?limit=1'
    last=$(jq -r '.jobs[0].id' <<<"$BODY")
    [ "$(result "$last")" = 249001 ]
    post /v1/batch "$batch" >/dev/null
    expect 202
}

@test "F55: a map over a million items is done, and one item too many is refused" {
    start_poold --max-items 1000000
    { printf '{"task":"square","items":[' && seq 1000000 | paste -sd, && printf ']}'; } \
        >"$BATS_TEST_TMPDIR/map"
    http POST /v1/map -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/map"
    expect 200
    [ "$(grep -o ',' <<<"$BODY" | wc -l)" -ge 999999 ]
    sed -i 's/:\[1,/:[1,1,/' "$BATS_TEST_TMPDIR/map"
    http POST /v1/map -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/map"
    expect 413 too-many-items
}

@test "F56: five hundred that wait are answered when the server stops" {
    start_poold --processes 1 --drain-timeout 0.2
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/talk.py" "${URL#http://}" crowd 500 \
        "GET /v1/jobs/$job/result?timeout=60 HTTP/1.1\r\nHost: localhost\r\n\r\n" \
        >"$BATS_TEST_TMPDIR/crowd" 3>&- &
    crowd=$!
    ALL_PIDS+=("$crowd")
    eventually waiters_are 500
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    wait "$crowd"
    # How many of each answer; nobody is cut off without one.
    [ "$(awk '{sum += $1} END {print sum}' "$BATS_TEST_TMPDIR/crowd")" = 500 ]
    run grep -vE '^[0-9]+ (202|503)$' "$BATS_TEST_TMPDIR/crowd"
    [ "$status" = 1 ]
}

@test "F66: a log that nobody reads holds up nothing, and what was dropped is told" {
    mkfifo "$BATS_TEST_TMPDIR/log"
    exec 7<>"$BATS_TEST_TMPDIR/log" # somebody has it open, and does not read
    port=$("${PYTHON3:-python3}" -c \
        'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "${poold[@]}" serve --listen "127.0.0.1:$port" --data "$POOLD_DATA_DIR" --processes 1 \
        --log-level debug </dev/null >/dev/null 2>"$BATS_TEST_TMPDIR/log" 3>&- 7>&- &
    POOLD_PID=$!
    ALL_PIDS+=("$POOLD_PID")
    URL=http://127.0.0.1:$port
    is_up() { curl -sf "$URL/readyz" >/dev/null; }
    eventually is_up
    # More lines than a pipe holds: each worker that is killed is one.
    for i in {1..40}; do
        job=$(submit apply_async '{"task":"sleep","args":[600],"crash_retries":0}')
        wait_for_state "$job" running
        post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
        wait_for_state "$job" cancelled
        kill -HUP "$POOLD_PID"
    done
    fill() { # the rest of the pipe
        "${PYTHON3:-python3}" -c 'import os, sys
os.set_blocking(7, False)
try:
    while True: os.write(7, b"x" * 64 + b"\n")
except BlockingIOError: pass'
    }
    fill
    kill -HUP "$POOLD_PID" # a line that there is no room for
    for i in {1..20}; do
        post /v1/apply "{\"task\":\"square\",\"args\":[$i]}" >/dev/null
        expect 200
    done
    "${PYTHON3:-python3}" -c 'import os; os.set_blocking(7, True)'
    timeout "$PATIENCE" grep -m1 dropped <&7
    exec 7>&-
}

dropped() {
    http GET /metrics
    sed -n 's/^poold_log_lines_dropped_total //p' <<<"$BODY"
}

# goes_on N: so many requests, each of them a line of the log, are answered.
goes_on() {
    local i
    for ((i = 1; i <= $1; i++)); do
        post /v1/apply "{\"task\":\"square\",\"args\":[$i]}" >/dev/null
        expect 200
        [ "$(jq .result <<<"$BODY")" = $((i * i)) ]
    done
}

@test "F66: a log on a disk without any room holds up nothing, and what is dropped is counted" {
    local port
    port=$("${PYTHON3:-python3}" -c \
        'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "${poold[@]}" serve --listen "127.0.0.1:$port" --data "$POOLD_DATA_DIR" --processes 1 \
        --access-log all </dev/null >/dev/null 2>/dev/full 3>&- &
    POOLD_PID=$!
    ALL_PIDS+=("$POOLD_PID")
    URL=http://127.0.0.1:$port
    is_up() { curl -sf "$URL/readyz" >/dev/null; }
    eventually is_up
    before=$(dropped)
    [ "$before" -ge 1 ] # those of the start
    goes_on 10
    [ "$(dropped)" -ge $((before + 10)) ]
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
}

@test "F66: when there is room on the log's disk again, lines come again, and the loss is told" {
    [ "$(id -u)" = 0 ] || skip "a small disk needs root"
    MOUNTED=$BATS_TEST_TMPDIR/disk
    mkdir "$MOUNTED"
    mount -t tmpfs -o size=64k tmpfs "$MOUNTED" 2>/dev/null || {
        MOUNTED=
        skip "tmpfs cannot be mounted"
    }
    POOLD_STDERR=$MOUNTED/log
    : >"$POOLD_STDERR"
    start_poold --processes 1 --access-log all --log-format json
    head -c 1m /dev/zero >"$MOUNTED/filler" 2>/dev/null || true # all that is left
    # What is left is within the last page of the log, less than 30 lines.
    goes_on 40
    lost=$(dropped)
    [ "$lost" -ge 10 ]
    get /readyz
    expect 200
    rm "$MOUNTED/filler"
    eventually log_has 'lines of the log were dropped'
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    [ "$(jq -R 'fromjson? | select(.msg | test("were dropped")).lines' "$POOLD_STDERR" | jq -s add)" -ge "$lost" ]
    # One line was cut, and is nowhere but in a line of its own.
    [ "$(jq -R '(fromjson? // "cut") | select(. == "cut")' "$POOLD_STDERR" | wc -l)" -le 1 ]
    ! grep -a '.{"time"' "$POOLD_STDERR"
}
