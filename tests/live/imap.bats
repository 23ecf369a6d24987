# SPDX-License-Identifier: MIT
# imap and imap_unordered: results as they come, taken up again, and held by a slow reader.
load helpers

# A client that reads some lines of the answer to a call and then none: it stays as it is until
# it is killed. Its socket holds little, so that what it does not read stays with the server.
#
# reader PATH JSON LINES: LINES are in $BATS_TEST_TMPDIR/lines when it returns; sets READER (pid)
# and JOB.
reader() {
    rm -f "$BATS_TEST_TMPDIR"/{lines,location}
    printf '%s' "$2" >"$BATS_TEST_TMPDIR/request"
    "$PYTHON3" - "${URL#http://}" "$1" "$3" "$BATS_TEST_TMPDIR" 3>&- <<'PYTHON' &
import http.client, os, signal, socket, sys

address, path, lines, folder = sys.argv[1:]
host, port = address.split(":")
client = http.client.HTTPConnection(host, int(port))
client.sock = socket.socket()
client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
client.sock.connect((host, int(port)))
with open(folder + "/request", "rb") as request:
    client.request("POST", path, request.read(), {"Content-Type": "application/json"})
answer = client.getresponse()
assert answer.status == 200, answer.status
with open(folder + "/location", "w") as out:
    out.write(answer.headers["Location"])
with open(folder + "/lines.part", "wb") as out:
    for _ in range(int(lines)):
        out.write(answer.readline())
os.rename(folder + "/lines.part", folder + "/lines")
signal.pause()
PYTHON
    READER=$!
    ALL_PIDS+=("$READER")
    eventually test -e "$BATS_TEST_TMPDIR/lines" || return 1
    JOB=$(sed 's,.*/,,' "$BATS_TEST_TMPDIR/location")
}

reader_leaves() {
    kill -KILL "$READER"
    wait "$READER" || true
}

# numbers N JQ: a request's `items`.
numbers() { jq -nc --argjson n "$1" "[range(\$n) | ${2:-.}]"; }

# The lines that hold an outcome, of the last answer and of what the reader has read.
outcomes() { jq -c 'select(has("index"))' "$BATS_TEST_TMPDIR/lines" - <<<"$BODY"; }

@test "imap answers a line an item in the order of the items, and a last line" {
    start_poold
    post /v1/imap '{"task":"sleep","items":[0.4,0,0.2,0]}'
    expect 200
    [ "$(header content-type)" = application/x-ndjson ]
    [ "$(jq -c '[.index, .done, .state, .total]' <<<"$BODY")" = '[0,null,null,null]
[1,null,null,null]
[2,null,null,null]
[3,null,null,null]
[null,true,"succeeded",4]' ]
    job=$(header location)
    get "$job"
    body_is '[.method, .state, .durability]' '["imap","succeeded","relaxed"]'
}

@test "imap_unordered answers items as they are ready" {
    start_poold
    eventually idle_workers_are 2
    post /v1/imap_unordered '{"task":"sleep","items":[1,0,0]}'
    expect 200
    [ "$(jq -c .index <<<"$BODY")" = '1
2
0
null' ]
    job=$(header location)
    [ "$(field "${job##*/}" .method)" = imap_unordered ]
}

@test "an item is answered while the next one still runs" {
    start_poold --processes 1
    for call in imap imap_unordered; do
        reader "/v1/$call" '{"task":"sleep","items":[0,600]}' 1
        [ "$(cat "$BATS_TEST_TMPDIR/lines")" = '{"index":0,"result":null}' ]
        [ "$(field "$JOB" .state)" = running ]
        reader_leaves
        post "/v1/jobs/$JOB/cancel" '{"terminate":true}'
    done
}

@test "an item's error is a line, and the stream goes on" {
    start_poold
    for call in imap imap_unordered; do
        post "/v1/$call" '{"task":"safe_square","items":[1,-2,3,-4,5],"window":1}'
        expect 200
        [ "$(jq -sc 'sort_by(.index)[] | [.index, .result, .error.exception.type, .state]' \
            <<<"$BODY")" = '[null,null,null,"failed"]
[0,1,null,null]
[1,null,"ValueError",null]
[2,9,null,null]
[3,null,"ValueError",null]
[4,25,null,null]' ]
    done
}

@test "every window gives all results" {
    start_poold
    want=$(numbers 3000 '. * .')
    for window in 1 2 7 100000; do
        for chunksize in 1 5 '"auto"' '"cpython"'; do
            for call in imap imap_unordered; do
                post "/v1/$call" "{\"task\":\"square\",\"items\":$(numbers 3000),
                    \"window\":$window,\"chunksize\":$chunksize}" >/dev/null
                expect 200
                [ "$(jq -sc 'map(select(.index != null)) | sort_by(.index) | map(.result)' \
                    <<<"$BODY")" = "$want" ]
                [ "$(tail -1 <<<"$BODY")" = '{"done":true,"state":"succeeded","total":3000}' ]
            done
        done
    done
}

@test "an item that is tried again does not wait for a window that waits for it" {
    start_poold
    post /v1/imap '{"task":"safe_square","items":[-1,2,-3,4,5],"window":2,"retries":2,
        "retry_backoff":{"initial":0.05,"factor":1}}'
    expect 200
    [ "$(jq -c '[.index, .error.attempt]' <<<"$BODY")" = '[0,3]
[1,null]
[2,3]
[3,null]
[4,null]
[null,null]' ]
}

@test "a broken stream is taken up at its Location, nothing is lost or doubled" {
    start_poold
    reader /v1/imap "{\"task\":\"square\",\"items\":$(numbers 2000),\"window\":10}" 700
    reader_leaves
    get "/v1/jobs/$JOB/results?from=700&follow=true" >/dev/null
    expect 200
    [ "$(outcomes | jq -sc 'map(.index)')" = "$(numbers 2000)" ]
    [ "$(outcomes | jq -sc 'map(.result)')" = "$(numbers 2000 '. * .')" ]
}

@test "a broken stream is taken up after SIGKILL of the server" {
    start_poold --processes 1
    reader /v1/imap '{"task":"sleep","items":[0,0,0,0.5,0,0],"durability":"durable","window":2}' 3
    restart_poold KILL
    reader_leaves
    get "/v1/jobs/$JOB/results?from=3&follow=true"
    expect 200
    [ "$(outcomes | jq -sc 'map(.index)')" = '[0,1,2,3,4,5]' ]
    [ "$(tail -1 <<<"$BODY")" = '{"done":true,"state":"succeeded","total":6}' ]
}

@test "results without order leave out what is below from" {
    start_poold
    reader /v1/imap_unordered '{"task":"sleep","items":[0,0,0,0.3]}' 3
    reader_leaves
    for follow in true false; do # while it runs, and when it is over
        get "/v1/jobs/$JOB/results?from=2&ordered=false&follow=$follow"
        expect 200
        [ "$(jq -sc 'map(.index)' <<<"$BODY")" = '[2,3,null]' ]
    done
}

# 24 results of 1 MiB: more than the sockets in between hold.
large() {
    printf '{"task":"echo","items":%s,%s}' \
        "$(numbers 24 '"x" * 1048576')" "$1"
}

@test "the call itself gets its results, however short they are kept" {
    start_poold
    for more in '"items":[]' '"items":[],"durability":"durable"' '"items":[3]'; do
        post /v1/imap "{\"task\":\"square\",\"result_ttl\":0,$more}"
        expect 200
        [ "$(tail -1 <<<"$BODY" | jq -c .state)" = '"succeeded"' ]
        get "$(header location)/results"
        expect 410 result-gone
    done
}

# The job has not gone on behind the back of another one that was run to its end.
holds_still() {
    local before=$held
    behind_all_else
    held=$(field "$JOB" .progress.completed)
    [ "$held" = "$before" ]
}

@test "a slow reader holds its job at the window, and nobody else" {
    start_poold
    reader /v1/imap "$(large '"window":2')" 1
    held=none # until what the kernel takes for the reader is written
    eventually holds_still
    expect 200
    [ "$held" -ge 2 ]
    [ "$held" -le 16 ]
    [ "$(field "$JOB" .state)" = running ]
    behind_all_else
    [ "$(field "$JOB" .progress.completed)" = "$held" ]
}

@test "a job whose reader leaves goes on without a window" {
    start_poold
    reader /v1/imap "$(large '"window":2')" 1
    behind_all_else
    [ "$(field "$JOB" .state)" = running ]
    reader_leaves
    wait_for_state "$JOB" succeeded
    http GET "/v1/jobs/$JOB/results"
    [ "$(jq -c '.index' "$BATS_TEST_TMPDIR/body" | wc -l)" = 25 ]
}

@test "a reader that reads nothing for idle_timeout has left" {
    start_poold --idle-timeout 1
    reader /v1/imap_unordered "$(large '"window":2')" 1
    wait_for_state "$JOB" succeeded
    ! gone "$READER"
}

@test "a reader that leaves while nothing is ready is noticed" {
    start_poold
    reader /v1/imap '{"task":"sleep","items":[0,600,0,0,0],"window":1}' 1
    [ "$(field "$JOB" .progress.completed)" = 1 ]
    reader_leaves
    follow "$JOB" '.progress.completed == 4'
    post "/v1/jobs/$JOB/cancel" '{"terminate":true}'
}

@test "a reader that leaves ends its job if it said so" {
    start_poold
    reader /v1/imap '{"task":"sleep","items":[0,600],"on_disconnect":"cancel"}' 1
    reader_leaves
    wait_for_state "$JOB" cancelled
    reader /v1/imap "$(large '"window":2,"on_disconnect":"cancel"')" 1
    behind_all_else
    reader_leaves
    wait_for_state "$JOB" cancelled
}

@test "a job that is cancelled or stops at an error ends its stream" {
    start_poold --processes 1
    reader /v1/imap '{"task":"sleep","items":[0,600,0]}' 1
    post "/v1/jobs/$JOB/cancel" '{"terminate":true}'
    get "/v1/jobs/$JOB/results?follow=true"
    [ "$(tail -1 <<<"$BODY")" = '{"done":true,"state":"cancelled","total":3}' ]
    post /v1/imap '{"task":"safe_square","items":[1,-2,3],"on_error":"stop","window":1}'
    expect 200
    [ "$(jq -c '[.index, .state]' <<<"$BODY")" = '[0,null]
[1,null]
[null,"failed"]' ]
}

@test "SIGTERM ends a stream that is held, and its job goes on after the start" {
    start_poold
    reader /v1/imap "$(large '"window":2')" 1
    behind_all_else
    restart_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    wait_for_state "$JOB" succeeded
}

@test "without a free waiter imap answers 202, and its job goes on without a window" {
    start_poold --max-waiters 1
    curl -sS --max-time 60 "$URL/v1/apply" -H 'Content-Type: application/json' \
        -d '{"task":"sleep","args":[600]}' -o /dev/null 3>&- &
    waiting=$!
    eventually one_job_runs
    post /v1/imap "{\"task\":\"square\",\"items\":$(numbers 100),\"window\":1}"
    expect 202
    eventually job_succeeded "$(jq -r .id <<<"$BODY")"
    kill "$waiting"
}

one_job_runs() {
    http GET '/v1/jobs?state=running'
    [ "$(jq '.jobs | length' <<<"$BODY")" = 1 ]
}

job_succeeded() { [ "$(field "$1" .state)" = succeeded ]; }
