# SPDX-License-Identifier: MIT
# What went wrong with an item: every attempt that failed, why, and what the task printed.
load helpers

# say PID TEXT: as if the task of this worker had printed it.
say() { printf '%s' "$2" >"/proc/$1/fd/2"; }

attempts() {
    get "/v1/jobs/$1/attempts" >/dev/null
    expect 200
}

@test "a job without a failure has no attempts to tell" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    attempts "$job"
    body_is . '{"attempts":[],"dropped":0}'
}

@test "errors of a task are told one by one, in order, with the retries" {
    start_poold
    job=$(submit map_async '{"task":"safe_square","items":[1,-2],"retries":2,
        "retry_backoff":{"initial":0}}')
    wait_for_state "$job" failed
    attempts "$job"
    body_is '[.attempts[] | [.item, .attempt, .kind, .exception.type, .signal]]' \
        '[[1,1,"task-error","ValueError",null],[1,2,"task-error","ValueError",null],[1,3,"task-error","ValueError",null]]'
    body_is '[.attempts[] | .pid > 0 and .started_at <= .finished_at] | all' true
    body_is .attempts[0].exception.message '"Negative input not allowed"'
}

@test "a death that a retry made good is told all the same" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[4],"crash_retries":1}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    kill -SEGV "$pid"
    wait_for_state "$job" succeeded
    attempts "$job"
    body_is '[.attempts[] | [.item, .attempt, .kind, .signal, .exit_code]]' \
        '[[0,1,"worker-lost","SIGSEGV",null]]'
    body_is .attempts[0].pid "$pid"
    body_is '.attempts[0] | .max_rss_bytes > 0 and .cpu_seconds >= 0' true
}

@test "an attempt over its time limit is told as such" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[30],"time_limit":0.1}')
    wait_for_state "$job" failed
    attempts "$job"
    body_is '[.attempts[] | [.kind, .signal, .exception]]' '[["time-limit",null,null]]'
    body_is '.attempts[0].started_at < .attempts[0].finished_at' true
}

@test "what a task printed is told with its attempt, and logged" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[30],"crash_retries":0}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    say "$pid" $'cannot open "x"\n\xff'
    kill -KILL "$pid"
    wait_for_state "$job" failed
    attempts "$job"
    body_is .attempts[0].output '"cannot open \"x\"\n�"'
    log_has 'worker lost, replacing .*output="cannot open \\"x\\"'
}

@test "what a task printed is not told of the next one in the same worker" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[4]}')
    wait_for_state "$job" running
    say "$(worker_of "$job")" 'secret'
    wait_for_state "$job" succeeded
    job=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$job" failed
    attempts "$job"
    body_is .attempts[0].output '""'
}

@test "a task that prints 100 MB holds up nobody, and only the end is kept" {
    start_poold --processes 2
    job=$(submit apply_async '{"task":"sleep","args":[30],"crash_retries":0}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    timeout "$PATIENCE" head -c 100000000 /dev/zero >"/proc/$pid/fd/1" 3>&- &
    flood=$!
    for i in 1 2 3 4 5; do
        [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
    done
    wait "$flood"
    say "$pid" 'the end'
    kill -KILL "$pid"
    wait_for_state "$job" failed
    attempts "$job"
    body_is '.attempts[0].output | length' 4096
    body_is '.attempts[0].output | .[-7:]' '"the end"'
}

@test "a thousand attempts are kept, the others are counted" {
    start_poold
    for durability in durable relaxed memory; do
        items=$(seq -s, -1 -1 -1010)
        job=$(submit map_async "{\"task\":\"safe_square\",\"items\":[$items],\"durability\":\"$durability\"}")
        wait_for_state "$job" failed
        attempts "$job"
        body_is '[(.attempts | length), .dropped]' '[1000,10]'
    done
}

@test "attempts survive a restart, and go on behind it" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[-1,20,-1],"on_error":"continue"}')
    wait_for_failed_items "$job" 1
    restart_poold KILL
    attempts "$job"
    body_is '[.attempts[].item]' '[0]'
    kill -KILL "$(worker_of_running "$job")"
    kill -KILL "$(worker_of_running "$job")"
    kill -KILL "$(worker_of_running "$job")"
    wait_for_state "$job" failed
    attempts "$job"
    body_is '[.attempts[].item] | sort' '[0,1,1,1,2]'
    restart_poold
    attempts "$job"
    body_is '[.attempts[].item] | sort' '[0,1,1,1,2]'
}

wait_for_failed_items() { follow "$1" ".progress.failed == $2"; }

# The pid that runs the sleeping item, as soon as there is one that is not dying.
worker_of_running() {
    eventually runs "$1" >/dev/null && cat "$BATS_TEST_TMPDIR/runs"
}
runs() {
    worker_pid 0 ".job == \"$1\" and .item == 1 and .state == \"busy\"" >"$BATS_TEST_TMPDIR/runs" &&
        ! gone "$(cat "$BATS_TEST_TMPDIR/runs")"
}

@test "a failed job that is run again keeps the attempts from before" {
    start_poold
    job=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$job" failed
    post "/v1/jobs/$job/retry" '' >/dev/null
    expect 202
    wait_for_state "$job" failed
    attempts "$job"
    body_is '[.attempts[] | [.item, .kind]]' '[[0,"task-error"],[0,"task-error"]]'
    body_is .dropped 0
}

@test "attempts of a deleted or unknown job are not found" {
    start_poold
    job=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$job" failed
    http DELETE "/v1/jobs/$job"
    expect 204
    get "/v1/jobs/$job/attempts"
    expect 404 not-found
    stop_poold
    [ "$(sqlite3 "$POOLD_DATA_DIR/poold.db" 'SELECT count(*) FROM attempt')" = 0 ]
}
