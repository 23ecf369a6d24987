# SPDX-License-Identifier: MIT
# Programs as they are written with multiprocessing.Pool and concurrent.futures, said with curl:
# each gives the numbers that it gives in Python.
load helpers

# range A B: as Python's, in JSON.
range() { jq -nc --argjson a "$1" --argjson b "$2" '[range($a; $b)]'; }

# together JSON...: one batch of calls of apply_async; sets JOBS, their ids.
together() {
    local specs
    specs=$(printf '%s,' "$@")
    post /v1/batch "[${specs%,}]" >/dev/null
    expect 202 || return 1
    mapfile -t JOBS < <(jq -r '.jobs[].id' <<<"$BODY")
}

# calls TASK ARG...: apply_async(TASK, [ARG]) for each, together.
calls() {
    local task=$1 arg specs=()
    shift
    for arg in "$@"; do
        specs+=("{\"method\":\"apply_async\",\"task\":\"$task\",\"args\":[$arg]}")
    done
    together "${specs[@]}"
}

# [r.get() for r in JOBS], byte for byte.
gets() {
    local job
    for job in "${JOBS[@]}"; do
        result "$job" || return 1
    done | paste -sd,
}

# The ids of JOBS for /v1/jobs/wait and its like.
ids() { jq -nc '$ARGS.positional' --args "${JOBS[@]}"; }

# The results of a stream, in its order.
stream_results() { jq -sc 'map(select(has("index")) | .result)' <<<"$BODY"; }

# ---- multiprocessing.Pool ------------------------------------------------------------------

@test "squares of range(20), with as many processes as there are processors" {
    start_poold --processes "$(nproc)"
    post /v1/map "{\"task\":\"square\",\"items\":$(range 0 20)}"
    expect 200
    body_is .result '[0,1,4,9,16,25,36,49,64,81,100,121,144,169,196,225,256,289,324,361]'
}

pids_are() { [ "$(workers | jq -s 'map(select(.alive) | .pid) | unique | length')" = "$1" ]; }

@test "sixteen workers: map, imap_unordered and apply_async give the same squares" {
    start_poold --processes 16
    squares=$(range 0 20 | jq -c 'map(. * .)')
    post /v1/map "{\"task\":\"square\",\"items\":$(range 0 20),\"chunksize\":5}"
    expect 200
    body_is .result "$squares"
    post /v1/imap_unordered "{\"task\":\"square\",\"items\":$(range 0 20)}"
    expect 200
    [ "$(stream_results | jq -c sort)" = "$squares" ]
    calls square 100 200 300
    [ "$(gets)" = 10000,40000,90000 ]
    eventually pids_are 16
}

@test "products of matrices of five sizes, side by side and one after another" {
    start_poold
    want='[[100,[100,100]],[200,[200,200]],[300,[300,300]],[400,[400,400]],[500,[500,500]]]'
    post /v1/map '{"task":"matmul","items":[100,200,300,400,500]}'
    expect 200
    body_is .result "$want"
    for size in 100 200 300 400 500; do
        post /v1/apply "{\"task\":\"matmul\",\"args\":[$size]}"
        expect 200
        body_is .result "[$size,[$size,$size]]"
    done
}

@test "five sums of squares with apply_async in a pool of four" {
    start_poold --processes 4
    calls cpu_bound 10000 20000 30000 40000 50000
    [ "$(gets)" = 333283335000,2666466670000,8999550005000,21332533340000,41665416675000 ]
}

@test "a worker that answers success or the error for each of [1, 2, -3, 4, -5]" {
    start_poold
    post /v1/map '{"task":"safe_square","items":[1,2,-3,4,-5],"return_exceptions":true}'
    expect 200
    body_is '[.result[] | .ok]' '[true,true,false,true,false]'
    body_is '[.result[] | .result // .error.exception.message]' \
        '[1,4,"Negative input not allowed",16,"Negative input not allowed"]'
    body_is '[.result[].error | select(.) | .exception.traceback | startswith("Traceback")]' \
        '[true,true]'
}

@test "a manager: submit_task, map_tasks, and a clean-up that waits for what runs" {
    start_poold --processes 2
    job=$(submit apply_async '{"task":"power","args":[3],"kwargs":{"exp":4}}')
    [ "$(result "$job")" = 81 ]
    post /v1/map '{"task":"cube","items":[1,2,3]}'
    body_is .result '[1,8,27]'
    job=$(submit apply_async '{"task":"sleep","args":[1]}')
    wait_for_state "$job" running
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    start_poold
    [ "$(field "$job" '[.state, .attempt]')" = '["succeeded",1]' ]
}

@test "the benchmark: four times a million squares, four times the sum of ten million" {
    start_poold --processes 4
    post /v1/map '{"task":"cpu_bound","items":[1000000,1000000,1000000,1000000]}'
    expect 200
    sum=333332833333500000 # beyond 2^53: jq would round it
    [ "$(result_text <<<"$BODY")" = "[$sum,$sum,$sum,$sum]" ]
    post /v1/map '{"task":"sum_range","items":[10000000,10000000,10000000,10000000]}'
    expect 200
    body_is .result '[49999995000000,49999995000000,49999995000000,49999995000000]'
}

@test "squares of 1 to 10,000" {
    start_poold
    post /v1/map "{\"task\":\"square\",\"items\":$(range 1 10001)}" >/dev/null
    expect 200
    body_is '.result[:5]' '[1,4,9,16,25]'
    body_is '.result | [length, last]' '[10000,100000000]'
}

@test "map_async(is_prime, 100000..100099) in a pool of four, then get(timeout=10)" {
    start_poold --processes 4
    job=$(submit map_async "{\"task\":\"is_prime\",\"items\":$(range 100000 100100)}")
    get "/v1/jobs/$job/result?timeout=10"
    expect 200
    body_is '[.result | to_entries[] | select(.value) | 100000 + .key]' \
        '[100003,100019,100043,100049,100057,100069]'
}

@test "imap(square, range(10), chunksize=3) gives the squares in order" {
    start_poold
    post /v1/imap "{\"task\":\"square\",\"items\":$(range 0 10),\"chunksize\":3}"
    expect 200
    [ "$(stream_results)" = '[0,1,4,9,16,25,36,49,64,81]' ]
}

@test "starmap and starmap_async of power" {
    start_poold
    call='{"task":"power","items":[[2,10],[3,5],[4,3]]}'
    post /v1/starmap "$call"
    expect 200
    body_is .result '[1024,243,64]'
    [ "$(result "$(submit starmap_async "$call")")" = '[1024,243,64]' ]
}

# Milliseconds from the start to the end of the job in the last answer.
duration_ms() {
    local start end
    start=$(date -d "$(jq -r .started_at <<<"$BODY")" +%s%3N)
    end=$(date -d "$(jq -r .finished_at <<<"$BODY")" +%s%3N)
    echo $((end - start))
}

@test "twenty photos of a tenth of a second each: 20 of 20, faster than one after another" {
    start_poold --processes 4
    eventually idle_workers_are 4
    job=$(submit map_async "{\"task\":\"sleep\",\"items\":$(range 0 20 | jq -c 'map(0.1)')}")
    wait_for_state "$job" succeeded
    body_is '[.progress | .total, .completed, .failed]' '[20,20,0]'
    [ "$(duration_ms)" -ge 500 ]
    [ "$(duration_ms)" -lt 2000 ]
}

# ---- concurrent.futures --------------------------------------------------------------------

@test "executor.map of cube over 0 to 14 with chunksize 4" {
    start_poold
    post /v1/map "{\"task\":\"cube\",\"items\":$(range 0 15),\"chunksize\":4}"
    expect 200
    body_is .result '[0,1,8,27,64,125,216,343,512,729,1000,1331,1728,2197,2744]'
}

# ranges END N: N calls of primes_in_range that cover 1 to END.
ranges() {
    local i specs=()
    for ((i = 0; i < $2; i++)); do
        specs+=("{\"method\":\"apply_async\",\"task\":\"primes_in_range\",\"args\":
            [$(($1 / $2 * i + 1)),$(($1 / $2 * (i + 1) + 1))]}")
    done
    together "${specs[@]}"
}

@test "sixteen futures find the 78,498 primes up to a million, as they are completed" {
    start_poold --processes 16
    ranges 1000000 16
    post /v1/jobs/as_completed "{\"ids\":$(ids),\"timeout\":$PATIENCE}" >/dev/null
    expect 200
    [ "$(tail -1 <<<"$BODY")" = '{"done":true,"total":16}' ]
    [ "$(jq -r 'select(.id) | .state' <<<"$BODY" | uniq -c | xargs)" = '16 succeeded' ]
    for job in $(jq -r '.id // empty' <<<"$BODY"); do
        result "$job" >"$BATS_TEST_TMPDIR/$job"
    done
    cd "$BATS_TEST_TMPDIR"
    [ "$(jq length "${JOBS[@]}" | paste -sd' ')" = "$(echo 6275 5459 5230 5080 4948 4912 4852 4782 \
        4719 4729 4640 4612 4635 4575 4558 4492)" ]
    jq -sc add "${JOBS[@]}" >primes
    [ "$(jq -c '[length, .[:10]]' primes)" = '[78498,[2,3,5,7,11,13,17,19,23,29]]' ]
    [ "$(jq -c '.[-10:]' primes)" = \
        '[999863,999883,999907,999917,999931,999953,999959,999961,999979,999983]' ]
}

@test "eight futures find the primes up to two million that one finds" {
    start_poold --processes 8
    ranges 2000000 8
    parallel=$(gets | sed 's/\],\[/,/g')
    post /v1/apply '{"task":"primes_in_range","args":[1,2000001]}' >/dev/null
    expect 200
    [ "$(result_text <<<"$BODY")" = "$parallel" ]
    [ "$(jq length <<<"$parallel")" = 148933 ]
}

@test "a loop over futures meets each one's error and goes on" {
    start_poold
    calls safe_square 1 -2 3 -4 5
    outcomes=()
    for job in "${JOBS[@]}"; do
        get "/v1/jobs/$job/result?timeout=$PATIENCE"
        if [ "$STATUS" = 200 ]; then
            outcomes+=("$(result_text <<<"$BODY")")
        else
            expect 422 task-error
            outcomes+=("$(jq -r .exception.type <<<"$BODY")")
        fi
    done
    [ "${outcomes[*]}" = '1 ValueError 9 ValueError 25' ]
}

@test "done, running, cancel, cancelled and wait on three futures in one process" {
    start_poold --processes 1
    calls sleep 600 600 0
    wait_for_state "${JOBS[0]}" running                    # running()
    post "/v1/jobs/${JOBS[0]}/cancel" ''                   # cancel() is False
    expect 409 job-running
    post "/v1/jobs/${JOBS[1]}/cancel" ''                   # cancel() is True
    expect 200
    [ "$(field "${JOBS[1]}" .state)" = cancelled ]         # cancelled()
    [ "$(field "${JOBS[2]}" .ready)" = false ]             # done()
    post /v1/jobs/wait "{\"ids\":$(ids),\"return_when\":\"FIRST_COMPLETED\"}"
    body_is '[.done[].id]' "[\"${JOBS[1]}\"]"
    post "/v1/jobs/${JOBS[0]}/cancel" '{"terminate":true}' # what Python cannot do
    post /v1/jobs/wait "{\"ids\":$(ids),\"timeout\":$PATIENCE}"
    body_is '[.done[].state]' '["cancelled","cancelled","succeeded"]'
    body_is .not_done '[]'
}

@test "shutdown(wait=True): futures that were accepted are done, also beyond a restart" {
    start_poold --processes 1
    calls sleep 1 0 0
    wait_for_state "${JOBS[0]}" running
    restart_poold TERM
    [ "$(gets)" = null,null,null ]
}

# ---- processes -----------------------------------------------------------------------------

parent_of() { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f2; }

@test "who is whose parent: workers have pids of their own and one parent, the server's child" {
    start_poold --processes 3
    pids=$(workers | jq 'select(.alive) | .pid')
    [ "$(sort -u <<<"$pids" | wc -l)" = 3 ]
    forkserver=$(parent_of "$(head -1 <<<"$pids")")
    for pid in $pids; do
        [ "$(parent_of "$pid")" = "$forkserver" ]
        [ "$pid" != "$POOLD_PID" ]
    done
    [ "$(parent_of "$forkserver")" = "$POOLD_PID" ]
    get /v1/pools/default
    body_is .start_method '"forkserver"'
}
