# SPDX-License-Identifier: MIT
# Python tasks that do what a task should not do: the fault is their item's alone. The numbers are
# those of the fault matrix and the list of bad input that the tests of workers go by.
load helpers

: "${PYTHON3:=/usr/bin/python3}"

start_faults() {
    start_poold --tasks "$BATS_TEST_DIRNAME/python" --python "$PYTHON3" --processes 1 "$@"
}

# call TASK ARGS [MEMBERS]: apply, without second attempts.
call() { post /v1/apply "{\"task\":\"faults:$1\",\"args\":$2,\"crash_retries\":0${3:+,$3}}" >/dev/null; }
still_serves() {
    call fine '["still here"]'
    expect 200 || return 1
    body_is .result '"still here"'
}

@test "row 101, 109: one item that raises leaves the others their results" {
    start_faults
    post /v1/map '{"task":"faults:raise_if","items":[0,1,2,3,4],"kwargs":{"bad":2},"chunksize":5}' >/dev/null
    expect 422 task-error
    body_is '[.item, .exception.type, .exception.message]' '[2,"ValueError","2 is bad"]'
    job=$(jq -r .job <<<"$BODY")
    get "/v1/jobs/$job/results" >/dev/null
    [ "$(jq -sc 'map(select(has("result")) | .result)' <<<"$BODY")" = '[0,1,3,4]' ]
}

@test "row 102, F21: a crash of the interpreter is told with its signal" {
    start_faults
    for crash in segfault=SIGSEGV abort=SIGABRT fpe=SIGFPE kill=SIGKILL; do
        call crash "[\"${crash%=*}\"]"
        expect 422 worker-lost
        body_is .signal "\"${crash#*=}\""
    done
    still_serves
}

@test "F21: endless recursion is an exception" {
    start_faults
    call crash '["recursion"]'
    expect 422 task-error
    body_is .exception.type '"RecursionError"'
}

@test "F21: an item that crashes costs no other item of its chunk" {
    start_faults
    post /v1/map '{"task":"faults:crash_if","items":[0,1,2,3,4],"kwargs":{"bad":2},"chunksize":5,
        "crash_retries":1}' >/dev/null
    expect 422 worker-lost
    body_is '[.item, .attempt, .signal]' '[2,2,"SIGSEGV"]'
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" '.progress | [.completed, .failed]')" = '[4,1]' ]
}

@test "F21: of many items that take no time the one that crashes is blamed" {
    start_faults
    items=$(jq -nc '[range(5000)]')
    for bad in 255 256 4321; do
        post /v1/map "{\"task\":\"faults:crash_if\",\"items\":$items,\"kwargs\":{\"bad\":$bad},
            \"chunksize\":5000,\"crash_retries\":0}" >/dev/null
        expect 422 worker-lost
        body_is '[.item, .attempt, .signal]' "[$bad,1,\"SIGSEGV\"]"
        job=$(jq -r .job <<<"$BODY")
        [ "$(field "$job" '.progress | [.completed, .failed]')" = '[4999,1]' ]
    done
}

@test "F21: a pool of interpreters started anew tells crashes as well" {
    start_faults
    post /v1/pools '{"name":"fresh","processes":1,"start_method":"spawn"}' >/dev/null
    call crash '["segfault"]' '"pool":"fresh"'
    expect 422 worker-lost
    body_is .signal '"SIGSEGV"'
    call leave '[7]' '"pool":"fresh"'
    body_is .exit_code 7
}

@test "row 102, F22: os._exit is the loss of the worker, whatever the code" {
    start_faults
    for code in 0 3; do
        call leave "[$code]"
        expect 422 worker-lost
        body_is .exit_code "$code"
    done
    still_serves
}

@test "row 103, F30: an item over its time limit is killed, asleep, deaf or in C code" {
    start_faults
    call fine '[1]' # the runner is there
    for task in 'sleep [600]' 'sleep_blocked [600]' 'spin []'; do
        call "${task% *}" "${task#* }" '"time_limit":0.3'
        expect 422 time-limit
    done
    still_serves
    post /v1/map '{"task":"faults:sleep","items":[0.2,600,0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2],"time_limit":1.5,"chunksize":10}' >/dev/null
    expect 422 time-limit
    body_is .item 1
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" '.progress | [.completed, .failed]')" = '[9,1]' ]
}

@test "F30: the start of a runner is not the item's time" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    printf 'import time\ntime.sleep(2)\ndef f(): return "started"\n' >"$BATS_TEST_TMPDIR/tasks/slow.py"
    start_poold --tasks "$BATS_TEST_TMPDIR/tasks" --python "$PYTHON3" --processes 1
    post /v1/apply '{"task":"square","args":[3]}' >/dev/null
    expect 200
    post /v1/apply '{"task":"slow:f","time_limit":1}' >/dev/null
    expect 200
    post /v1/pools '{"name":"fresh","processes":1,"start_method":"spawn"}' >/dev/null
    post /v1/apply '{"task":"slow:f","time_limit":1,"pool":"fresh"}' >/dev/null
    expect 200
}

@test "a running item can be terminated, and its processes end with it" {
    start_faults
    job=$(submit apply_async '{"task":"faults:outlive_parent","args":["'"$BATS_TEST_TMPDIR/pid"'"]}')
    eventually test -s "$BATS_TEST_TMPDIR/pid"
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    wait_for_state "$job" cancelled
    eventually gone "$(cat "$BATS_TEST_TMPDIR/pid")"
    still_serves
}

@test "row 104: memory beyond the pool's limit is the failure of the item" {
    if sanitized; then
        skip 'a sanitizer needs terabytes of address space'
    fi
    start_faults
    post /v1/pools '{"name":"small","processes":1,"memory_limit":400000000}' >/dev/null
    expect 201
    call allocate '[1000]' '"pool":"small"'
    expect 422 out-of-memory
    call allocate '[1]' '"pool":"small"'
    expect 200
}

@test "row 105, F29: a result above the limit is the failure of its item alone" {
    start_faults --max-result-bytes 100000
    post /v1/apply '{"task":"good:big","args":[100000000]}' >/dev/null
    expect 422 result-too-large
    post /v1/map '{"task":"good:big","items":[1,99998,99999,3],"chunksize":4}' >/dev/null
    expect 422 result-too-large
    body_is .item 2
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" '.progress | [.completed, .failed]')" = '[3,1]' ]
}

@test "row 107, F23: what a task prints is no message, and is told with a failed attempt" {
    start_faults
    call pretend '[]'
    expect 200
    body_is .result '"real"'
    call print_and_raise '["some words"]'
    expect 422 task-error
    job=$(jq -r .job <<<"$BODY")
    get "/v1/jobs/$job/attempts" >/dev/null
    body_is '.attempts[0].output | test("some words")' true
}

@test "F23: 100 MB of print block nobody" {
    start_faults
    for newline in true false; do
        call flood "[100,$newline]"
        expect 200
        body_is .result 100
    done
    still_serves
}

@test "F23: a task that closes its output has a result all the same, and so has the next one" {
    start_faults
    call close_output '[]'
    expect 200
    still_serves
}

@test "F24: closing all descriptors, or writing into them, costs the attempt alone" {
    start_faults
    call close_all '[]'
    expect 422
    still_serves
    call write_everywhere '[]'
    expect 422
    still_serves
}

@test "F25: children and daemons that are left behind delay no result, and end behind their item" {
    start_faults
    call pid '[]'
    before=$(result_text <<<"$BODY")
    call leave_children "[\"$BATS_TEST_TMPDIR/children\"]"
    expect 200
    call leave_orphan "[\"$BATS_TEST_TMPDIR/children\"]"
    expect 200
    [ "$(wc -l <"$BATS_TEST_TMPDIR/children")" = 3 ]
    for pid in $(cat "$BATS_TEST_TMPDIR/children"); do
        eventually gone "$pid"
    done
    call pid '[]'
    [ "$(result_text <<<"$BODY")" = "$before" ]
}

@test "F25: a child of an item that is killed ends with it" {
    start_faults
    post /v1/apply "{\"task\":\"faults:leave_and_stay\",\"args\":[\"$BATS_TEST_TMPDIR/children\"],\"time_limit\":1}"
    expect 422 time-limit
    for pid in $(cat "$BATS_TEST_TMPDIR/children"); do
        eventually gone "$pid"
    done
    still_serves
}

@test "F27: what a task changes in its process is brought back for the next one" {
    start_faults
    call pid '[]'
    before=$(result_text <<<"$BODY")
    call surroundings '[]'
    clean=$(result_text <<<"$BODY")
    call spoil_surroundings '[]'
    expect 200
    call surroundings '[]'
    echo "clean: $clean, after: $BODY"
    [ "$(result_text <<<"$BODY")" = "$clean" ]
    call pid '[]'
    [ "$(result_text <<<"$BODY")" = "$before" ]
}

@test "F27: a runner that cannot be cleaned is replaced, and nobody is blamed" {
    start_faults
    call lower_hard_limit '[]'
    expect 200
    spoiled=$(result_text <<<"$BODY")
    call pid '[]'
    expect 200
    [ "$(result_text <<<"$BODY")" != "$spoiled" ]
}

@test "F28: memory that a function leaks is its worker's, which is replaced" {
    ! sanitized || skip 'a sanitizer has memory in use of its own'
    start_faults --max-worker-rss 120000000
    for _ in {1..16}; do
        call leak '[30000000]'
        expect 200 >&2
        result_text <<<"$BODY"
        echo
    done | sort -u >"$BATS_TEST_TMPDIR/runners"
    workers=$(wc -l <"$BATS_TEST_TMPDIR/runners")
    [ "$workers" -ge 3 ] && [ "$workers" -le 16 ]
    log_has 'worker lost' && return 1
    still_serves
}

@test "F31: a task that kills its parent process costs its own attempt" {
    start_faults
    call kill_parent '[]'
    expect 422 worker-lost
    still_serves
    still_serves
}

@test "row 103: a Python item over its processor time fails with time-limit" {
    start_faults --cpu-limit 1
    call spin '[]'
    expect 422 time-limit
    body_is '.detail' '"the item used more processor time than its cpu_limit"'
    still_serves
}

@test "row 110: control bytes and markup of a task are kept as they are, and escaped in the log" {
    start_faults
    text='"\u001b[31mred\r\n<script>alert(1)</script>"'
    call say_and_raise "[$text]"
    expect 422 task-error
    body_is .exception.message "$text"
    job=$(jq -r .job <<<"$BODY")
    get "/v1/jobs/$job/log"
    expect 200
    body_is '[.log[].output] | add' "${text%\"}\\n\""
    call say_and_leave "[$text]"
    expect 422 worker-lost
    eventually log_has 'worker lost.*<script>'
    run grep -c -P '\x1b|\r|^<script' "$POOLD_STDERR"
    [ "$output" = 0 ]
}
