# SPDX-License-Identifier: MIT
# What CPython's multiprocessing.pool (R...) and concurrent.futures (F...) do, by the numbers of
# docs/python.md, and what poold does there: the same, or something else on purpose, which is then
# said above the test. What is about pools themselves is in pools.bats, callbacks are in
# callbacks.bats.
#
# In part: R10, the cause of an exception is text; R16, next(timeout) is a client's matter.
load helpers

# lines JQ: what jq makes of each line of the last answer, in one line.
lines() { jq -c "$1" <<<"$BODY" | xargs; }

# ids JOB...: a JSON array.
ids() { jq -nc '$ARGS.positional' --args "$@"; }

# stream PATH JSON: a client that reads in the background; sets JOB.
stream() {
    rm -f "$BATS_TEST_TMPDIR/stream_headers"
    curl -sSN --max-time 60 "$URL$1" -H 'Content-Type: application/json' -d "$2" \
        -o /dev/null -D "$BATS_TEST_TMPDIR/stream_headers" 2>/dev/null 3>&- &
    ALL_PIDS+=("$!")
    eventually grep -qsi '^location:' "$BATS_TEST_TMPDIR/stream_headers" || return 1
    JOB=$(sed -n 's,^[Ll]ocation:.*/,,p' "$BATS_TEST_TMPDIR/stream_headers" | tr -d '\r')
}

# ---- multiprocessing.pool ------------------------------------------------------------------

# The window lets whole chunks through, and item 0 never ends: what gets done is what the window
# holds but for its chunk.
@test "R4 chunksize \"cpython\" is ceil(items / (4 * workers)), and an empty map has no chunk" {
    start_poold --processes 2
    stream /v1/imap "{\"task\":\"sleep\",\"items\":$(jq -nc '[600] + [range(19) | 0]'),
        \"chunksize\":\"cpython\",\"window\":8}"
    follow "$JOB" '.progress.completed == 3' # chunks of 1, 2, 4 or 5 would make it 7, 6, 4 or 0
    behind_all_else
    expect 200
    [ "$(field "$JOB" .progress.completed)" = 3 ]
    post "/v1/jobs/$JOB/cancel" '{"terminate":true}'
    post /v1/map '{"task":"square","items":[],"chunksize":"cpython"}'
    expect 200
    body_is .result '[]'
}

# Differs: Python drops the results of the chunk before the error and does not run the rest of it.
@test "R5 F9 an error costs its item only, not its chunk; the map as a whole still fails" {
    start_poold
    post /v1/map '{"task":"safe_square","items":[1,-2,3,4],"chunksize":4}'
    expect 422 task-error
    get "/v1/jobs/$(jq -r .job <<<"$BODY")/results"
    [ "$(lines '[.index, .result // .error.exception.type // .state]')" = \
        '[0,1] [1,ValueError] [2,9] [3,16] [null,failed]' ]
}

# Differs: of several errors Python raises the one that came first, here it is the lowest index.
@test "R6 a map is not ready before all items are; results are in the order of the items" {
    start_poold
    job=$(submit map_async '{"task":"sleep","items":[600,-1,0],"chunksize":1,"time_limit":2}')
    follow "$job" '(.ready | not) and .progress.failed == 1 and .progress.completed == 1'
    wait_for_state "$job" failed
    get "/v1/jobs/$job/result"
    expect 422 time-limit
    body_is .item 0
    get "/v1/jobs/$job/results"
    [ "$(lines '[.index, .error.type]')" = \
        '[0,/problems/time-limit] [1,/problems/task-error] [2,null] [null,null]' ]
}

@test "R7 an empty map is ready and successful at once" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$blocker" running
    for method in map_async starmap_async; do
        job=$(submit "$method" '{"task":"square","items":[]}')
        [ "$(field "$job" '[.ready, .successful]')" = '[true,true]' ]
        [ "$(result "$job")" = '[]' ]
    done
}

# Differs: successful() raises before the end, here it is null.
@test "R8 ready() does not block, wait(timeout) returns either way, successful() is for the end" {
    start_poold
    slow=$(submit apply_async '{"task":"sleep","args":[600]}')
    good=$(submit apply_async '{"task":"sleep","args":[0]}')
    bad=$(submit apply_async '{"task":"sleep","args":[-1]}')
    for query in '' '?timeout=0.05'; do
        get "/v1/jobs/$slow$query"
        expect 200
        body_is '[.ready, .successful]' '[false,null]'
    done
    get "/v1/jobs/$good?timeout=$PATIENCE"
    body_is '[.ready, .successful]' '[true,true]'
    get "/v1/jobs/$bad?timeout=$PATIENCE"
    expect 200
    body_is '[.ready, .successful]' '[true,false]'
}

@test "R9 F4 get(timeout) runs into its time, gets the result later, and may be repeated" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    good=$(submit apply_async '{"task":"square","args":[3]}')
    get "/v1/jobs/$good/result?timeout=0.05"
    expect 202
    body_is '[.id, .ready]' "[\"$good\",false]"
    [ -n "$(header retry-after)" ]
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}'
    [ "$(result "$good")" = 9 ]
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$bad" failed
    for job in "$good" "$bad"; do
        first=$(get "/v1/jobs/$job/result")
        [ "$(get "/v1/jobs/$job/result")" = "$first" ]
        http DELETE "/v1/jobs/$job"
        expect 204
        get "/v1/jobs/$job/result"
        expect 404 not-found
    done
}

# Differs: a class that Python's parent cannot build again ends its pool; here classes are names.
@test "R10 R12 an exception is told by class, message and traceback, whatever its class" {
    start_poold --processes 1
    pid=$(worker_pid 0)
    while read -r task args class message; do
        post /v1/apply "{\"task\":\"$task\",\"args\":$args}"
        expect 422 task-error
        body_is '[.exception.type, .exception.message]' "[\"$class\",\"$message\"]"
        body_is '.exception.traceback | split("\n") | [first, last]' \
            "[\"Traceback (most recent call last):\",\"$class: $message\"]"
    done <<'ERRORS'
safe_square [-1] ValueError Negative input not allowed
power [0.0,-1] ZeroDivisionError 0.0 cannot be raised to a negative power
power [2,200] OverflowError power() result does not fit in 128 bits
ERRORS
    post /v1/apply '{"task":"square","args":["x"]}'
    expect 422 task-error
    body_is .exception.type '"TypeError"'
    [ "$(worker_pid 0)" = "$pid" ]
}

# Differs from the executor, where what cannot be decoded in a worker breaks the pool.
@test "R11 F12 what cannot be carried fails alone: arguments at once, a result as its own error" {
    start_poold --processes 1 --max-result-bytes 1024
    pid=$(worker_pid 0)
    post /v1/apply_async '{"task":"echo","args":[{]}'
    expect 400 invalid-json
    [ "$(job_count)" = 0 ]
    long=$(printf '%2000s' x)
    post /v1/map "{\"task\":\"echo\",\"items\":[1,\"$long\",3],\"chunksize\":3}"
    expect 422 result-too-large
    body_is .item 1
    get "/v1/jobs/$(jq -r .job <<<"$BODY")/results"
    [ "$(lines 'select(has("result")) | [.index, .result]')" = '[0,1] [2,3]' ]
    [ "$(worker_pid 0)" = "$pid" ]
}

@test "R14 apply is apply_async and get, with positional and keyword arguments" {
    start_poold
    call='{"task":"power","args":[2],"kwargs":{"exp":10}}'
    post /v1/apply "$call"
    body_is .result 1024
    [ "$(result "$(submit apply_async "$call")")" = 1024 ]
    post /v1/apply '{"task":"power","args":[2,3],"kwargs":{"exp":10}}'
    expect 422 task-error
    body_is .exception.type '"TypeError"'
}

# Differs: Python hands out all of one job before the next one has its turn.
@test "R15 a long job holds up none behind it; inside of a job the first item goes first" {
    start_poold --processes 1
    long=$(submit map_async "{\"task\":\"sleep\",\"items\":$(jq -nc '[range(2000) | 0.02]')}")
    wait_for_state "$long" running
    post /v1/imap_unordered '{"task":"square","items":[0,1,2,3,4]}'
    expect 200
    [ "$(lines '.index')" = '0 1 2 3 4 null' ]
    [ "$(field "$long" .state)" = running ]
    post "/v1/jobs/$long/cancel" '{"terminate":true}'
}

# Differs: with a chunksize above 1 Python's iterator is dead after the first error.
@test "R16 imap goes on after an error with every chunksize, and refuses one below 1" {
    start_poold
    for chunksize in 1 2 5; do
        post /v1/imap "{\"task\":\"safe_square\",\"items\":[0,1,-2,3,4],\"chunksize\":$chunksize}"
        expect 200
        [ "$(lines '.result // .error.exception.type')" = '0 1 ValueError 9 16 null' ]
    done
    for bad in 0 -1 1.5 '"3"' null; do
        post /v1/imap "{\"task\":\"square\",\"items\":[1],\"chunksize\":$bad}"
        expect 422 validation-failed
        body_is '[.errors[].pointer]' '["#/chunksize"]'
    done
    [ "$(job_count)" = 3 ]
}

# Differs: Python has no limit, and consumes all of the input without a reader.
@test "R17 a window holds what is not read; without one everything is run" {
    start_poold
    items=$(jq -nc '[600] + [range(50) | 0]')
    for window in 4 51; do
        stream /v1/imap "{\"task\":\"sleep\",\"items\":$items,\"window\":$window,\"chunksize\":1}"
        follow "$JOB" ".progress.completed == $((window - 1))"
        behind_all_else
        expect 200
        [ "$(field "$JOB" .progress.completed)" = $((window - 1)) ]
        post "/v1/jobs/$JOB/cancel" '{"terminate":true}'
        wait_for_state "$JOB" cancelled
        eventually idle_workers_are 2
    done
    job=$(submit map_async "{\"task\":\"sleep\",\"items\":$items,\"chunksize\":1}")
    follow "$job" '.progress.completed == 50'
}

@test "R18 imap_unordered gives chunks as they are done, and items in order inside of each" {
    start_poold
    eventually idle_workers_are 2
    post /v1/imap_unordered '{"task":"sleep","items":[1,0,0,0],"chunksize":2}'
    expect 200
    [ "$(lines '.index')" = '2 3 0 1 null' ]
}

# Differs from both: Pool's get() hangs, the executor fails all that is pending, for ever.
@test "R20 F11 a dead worker costs its item an attempt, or the job if it has none, and no other" {
    start_poold --processes 2
    lost=$(submit apply_async '{"task":"sleep","args":[600],"crash_retries":0}')
    again=$(submit apply_async '{"task":"sleep","args":[600]}')
    pending=$(submit apply_async '{"task":"square","args":[6],"priority":-1}')
    for job in "$lost" "$again"; do
        eventually worker_of "$job"
    done
    kill -KILL "$(worker_of "$again")"
    follow "$again" '.attempt == 2'
    kill -KILL "$(worker_of "$lost")"
    get "/v1/jobs/$lost/result?timeout=$PATIENCE"
    expect 422 worker-lost
    body_is .signal '"SIGKILL"'
    [ "$(result "$pending")" = 36 ]
    [ "$(field "$pending" .attempt)" = 1 ]
    [ "$(field "$again" .ready)" = false ]
    post /v1/apply '{"task":"square","args":[7]}'
    expect 200
    eventually worker_of "$again"
}

# Differs: Python unpacks whatever can be iterated over, also the letters of a string.
@test "R24 starmap unpacks arrays, and refuses other items before anything runs" {
    start_poold
    post /v1/starmap '{"task":"power","items":[[2,3],[3,2]]}'
    body_is .result '[8,9]'
    for bad in 5 '"ab"' '{"base":2}' null; do
        post /v1/starmap "{\"task\":\"power\",\"items\":[[2,3],$bad]}"
        expect 422 validation-failed
        body_is '[.errors[].pointer]' '["#/items/1"]'
    done
    [ "$(job_count)" = 1 ]
    post /v1/starmap '{"task":"square","items":[[1],[2,3]]}'
    expect 422 task-error
    body_is '[.item, .exception.type]' '[1,"TypeError"]'
}

# ---- concurrent.futures --------------------------------------------------------------------

@test "F1 a future is queued, running, then succeeded, failed or cancelled" {
    start_poold --processes 1
    first=$(submit apply_async '{"task":"sleep","args":[600]}')
    follow "$first" '.state == "running" and (.ready | not)'
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    good=$(submit apply_async '{"task":"safe_square","args":[2]}')
    for job in "$bad" "$good"; do
        [ "$(field "$job" '[.state, .ready, .started_at]')" = '["queued",false,null]' ]
    done
    post "/v1/jobs/$first/cancel" '{"terminate":true}'
    follow "$first" '.state == "cancelled" and .ready and .successful == false'
    follow "$bad" '.state == "failed" and .ready and .successful == false'
    follow "$good" '.state == "succeeded" and .ready and .successful'
}

# Differs: Python shows as running, and does not cancel, what waits in its queue for a process.
@test "F2 F3 running means started: with one worker nine of ten are cancelled, and may be again" {
    start_poold --processes 1
    post /v1/batch "$(jq -nc '[range(10) | {method:"apply_async",task:"sleep",args:[600]}]')" \
        >/dev/null
    expect 202
    mapfile -t jobs < <(jq -r '.jobs[].id' <<<"$BODY")
    wait_for_state "${jobs[0]}" running
    get '/v1/jobs?state=running'
    body_is '.jobs | length' 1
    for job in "${jobs[@]:1}" "${jobs[1]}"; do
        post "/v1/jobs/$job/cancel" ''
        expect 200
        body_is .state '"cancelled"'
    done
    get "/v1/jobs/${jobs[1]}/result"
    expect 409 job-cancelled
    post "/v1/jobs/${jobs[0]}/cancel" ''
    expect 409 job-running
    post "/v1/jobs/${jobs[0]}/cancel" '{"terminate":true}'
    expect 202
    wait_for_state "${jobs[0]}" cancelled
    job=$(submit apply_async '{"task":"square","args":[2]}')
    wait_for_state "$job" succeeded
    post "/v1/jobs/$job/cancel" ''
    expect 409 already-finished
}

@test "F7 submit after shutdown is refused, and what runs is finished" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[2]}')
    wait_for_state "$job" running
    kill -TERM "$POOLD_PID"
    eventually submit_is_refused
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
    start_poold
    [ "$(field "$job" '[.state, .attempt]')" = '["succeeded",1]' ]
}

submit_is_refused() {
    post /v1/apply_async '{"task":"square","args":[2]}' >/dev/null
    expect 503 shutting-down
}

# Differs: after an error Python's iterator has ended and what is left is cancelled; here that is
# "on_error": "stop", and the results that there are stay.
@test "F8 map submits everything at once, answers in order, and has its time from the call on" {
    start_poold --processes 1
    post /v1/starmap '{"task":"power","items":[[2,5],[3,4],[10,3]]}' # map(pow, [2,3,10], [5,4,3])
    body_is .result '[32,81,1000]'
    post /v1/map '{"task":"sleep","items":[0.3,0,0]}' -H 'Prefer: wait=0'
    expect 202
    body_is '[.progress.total, .ready]' '[3,false]'
    [ "$(result "$(jq -r .id <<<"$BODY")")" = '[null,null,null]' ]
    for bad in 0 -1; do
        post /v1/map "{\"task\":\"square\",\"items\":[1],\"chunksize\":$bad}"
        expect 422 validation-failed
        body_is '[.errors[].pointer]' '["#/chunksize"]'
    done
    post /v1/imap '{"task":"safe_square","items":[1,-2,3,4],"on_error":"stop","window":1}'
    expect 200
    [ "$(lines '[.index, .result, .state]')" = '[0,1,null] [1,null,null] [null,null,failed]' ]
}

@test "F16 all workers are there before the first job, and idle ones are used again" {
    start_poold --processes 3
    eventually idle_workers_are 3
    pids=$(workers | jq .pid | sort)
    for _ in {1..9}; do
        post /v1/apply '{"task":"square","args":[3]}'
        expect 200
    done
    [ "$(workers | jq .pid | sort)" = "$pids" ]
    [ "$(workers | jq -s 'map(.tasks_done) | add')" = 9 ]
}

# Differs: what is cancelled is done at once, not when the queue gets there.
@test "F18 wait: a set of futures, three ways to return, no error when the time is up" {
    start_poold --processes 2
    slow=$(submit apply_async '{"task":"sleep","args":[600]}')
    good=$(submit apply_async '{"task":"square","args":[2]}')
    later=$(submit apply_async '{"task":"square","args":[3],"delay":3600}')
    all=$(ids "$slow" "$good" "$later" "$good")
    wait_for_state "$good" succeeded
    post /v1/jobs/wait "{\"ids\":$all,\"return_when\":\"FIRST_COMPLETED\"}"
    body_is '[.done[].id]' "[\"$good\"]"
    post "/v1/jobs/$later/cancel" ''
    for when in FIRST_EXCEPTION ALL_COMPLETED; do
        post /v1/jobs/wait "{\"ids\":$all,\"return_when\":\"$when\",\"timeout\":0.1}"
        expect 200
        body_is '[[.done[].id], [.not_done[].id]]' "[[\"$good\",\"$later\"],[\"$slow\"]]"
    done
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    post /v1/jobs/wait "{\"ids\":$(ids "$slow" "$bad"),\"return_when\":\"FIRST_EXCEPTION\"}"
    body_is '[[.done[].id], [.not_done[].id]]' "[[\"$bad\"],[\"$slow\"]]"
    post "/v1/jobs/$slow/cancel" '{"terminate":true}'
    post /v1/jobs/wait "{\"ids\":$(ids "$slow" "$good")}"
    body_is '[[.done[].state], .not_done]' '[["cancelled","succeeded"],[]]'
    post /v1/jobs/wait "{\"ids\":$all,\"return_when\":\"SOME\"}"
    expect 422 validation-failed
    body_is '[.errors[].pointer]' '["#/return_when"]'
}

@test "F19 as_completed: finished ones first, then as they end, each once; the time is for all" {
    start_poold --processes 1
    done=$(submit apply_async '{"task":"square","args":[2]}')
    wait_for_state "$done" succeeded
    slow=$(submit apply_async '{"task":"sleep","args":[600]}')
    next=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    curl -sSN --max-time 60 "$URL/v1/jobs/as_completed" -H 'Content-Type: application/json' \
        -d "{\"ids\":$(ids "$next" "$slow" "$done" "$next")}" -o "$BATS_TEST_TMPDIR/stream" 3>&- &
    client=$!
    eventually test -s "$BATS_TEST_TMPDIR/stream"
    wait_for_state "$slow" running
    post "/v1/jobs/$slow/cancel" '{"terminate":true}'
    wait "$client"
    BODY=$(cat "$BATS_TEST_TMPDIR/stream")
    [ "$(lines '.id // .')" = "$done $slow $next {done:true,total:3}" ]
    endless=$(submit apply_async '{"task":"sleep","args":[600]}')
    post /v1/jobs/as_completed "{\"ids\":$(ids "$endless" "$done"),\"timeout\":0.1}" >/dev/null
    expect 200
    [ "$(lines '.id // .')" = "$done {done:false,unfinished:1,total:2}" ]
}
