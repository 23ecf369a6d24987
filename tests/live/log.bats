# SPDX-License-Identifier: MIT
# What tasks print: read at the job while it runs and afterwards, bounded, and nobody else's.
load helpers

# say PID TEXT: as if the task of this worker had printed it.
say() { printf '%s' "$2" >"/proc/$1/fd/2"; }

log_of() {
    get "/v1/jobs/$1/log" >/dev/null
    expect 200
}

logged() {
    log_of "$1" && jq -e "$2" <<<"$BODY" >/dev/null
}

@test "a job whose task prints nothing has an empty log" {
    start_poold
    job=$(submit map_async '{"task":"square","items":[3,4]}')
    log_of "$job"
    wait_for_state "$job" succeeded
    log_of "$job"
    body_is . '{"log":[],"dropped":0}'
}

@test "what a task prints is read while it runs, and after its end, restarts included" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,2],"chunksize":1}')
    follow "$job" '.progress.completed == 1'
    pid=$(worker_of "$job")
    say "$pid" $'half\n'
    eventually logged "$job" '.log[0].output == "half\n"'
    body_is '.log[0] | [.item,.count,.attempt,.truncated]' '[1,1,1,false]'
    body_is .log[0].pid "$pid"
    say "$pid" 'done "now"'
    wait_for_state "$job" succeeded
    log_of "$job"
    body_is '[.log[].output]' '["half\ndone \"now\""]'
    restart_poold
    log_of "$job"
    body_is '[.log[] | [.item,.output]]' '[[1,"half\ndone \"now\""]]'
}

@test "as plain text the log is what was printed; an item's part can be asked for" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[2,2],"chunksize":1}')
    eventually runs_item "$job" 0
    say "$(worker_of "$job")" $'<b>of \xff0\n'
    eventually runs_item "$job" 1
    say "$(worker_of "$job")" $'of 1\n'
    wait_for_state "$job" succeeded
    get "/v1/jobs/$job/log" -H 'Accept: text/plain' >/dev/null
    expect 200
    [ "$(header content-type)" = 'text/plain; charset=utf-8' ]
    [ "$(header x-content-type-options)" = nosniff ]
    [ "$BODY" = $'<b>of \xef\xbf\xbd0\nof 1' ]
    get "/v1/jobs/$job/log?item=1" -H 'Accept: text/plain' >/dev/null
    [ "$BODY" = 'of 1' ]
    get "/v1/jobs/$job/log?item=0" >/dev/null
    body_is '[.log[].item]' '[0]'
    get "/v1/jobs/$job/log?item=7" >/dev/null
    body_is . '{"log":[],"dropped":0}'
}
runs_item() { worker_pid 0 ".job == \"$1\" and .item == $2" >/dev/null; }

@test "each attempt's output is there, also of those that were lost" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[30],"crash_retries":1}')
    for attempt in 1 2; do
        eventually runs_attempt "$job" "$attempt"
        pid=$(worker_of "$job")
        say "$pid" "attempt $attempt"
        kill -KILL "$pid"
    done
    wait_for_state "$job" failed
    log_of "$job"
    body_is '[.log[] | [.attempt, .output]]' '[[1,"attempt 1"],[2,"attempt 2"]]'
}
runs_attempt() {
    [ "$(field "$1" .attempt)" = "$2" ] &&
        worker_pid 0 ".job == \"$1\" and .state == \"busy\"" >/dev/null &&
        ! gone "$(worker_of "$1")"
}

@test "F23: a task that floods 100 MB blocks nobody, and its end is kept" {
    start_poold --processes 2
    job=$(submit apply_async '{"task":"sleep","args":[30]}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    timeout "$PATIENCE" head -c 100000000 /dev/zero >"/proc/$pid/fd/1" 3>&- &
    flood=$!
    for i in 1 2 3 4 5; do
        [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
        log_of "$job"
    done
    wait "$flood"
    say "$pid" 'the end'
    log_of "$job"
    body_is '.log[0] | [.truncated, (.output | length), .output[-7:]]' '[true,65536,"the end"]'
}

@test "the log of a job is bounded, and the oldest goes first" {
    start_poold --processes 1 --max-log-bytes 500
    job=$(submit map_async '{"task":"sleep","items":[1,1,1,1,1],"chunksize":1}')
    for i in 0 1 2 3 4; do
        eventually runs_item "$job" "$i"
        say "$(worker_of "$job")" "item $i"
    done
    wait_for_state "$job" succeeded
    log_of "$job"
    body_is '[.log[].output][-1]' '"item 4"'
    body_is '.dropped > 0 and .dropped + (.log | length) == 5' true
}

@test "what has fitted into max_attempt_log_bytes is whole in the log afterwards" {
    start_poold --processes 1 --max-attempt-log-bytes 1048576
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    head -c 500000 /dev/zero | tr '\0' x >"/proc/$pid/fd/1"
    eventually logged "$job" '.log[0] | .truncated == false and (.output | length) == 500000'
    kill -KILL "$pid" # the attempt is over
    follow "$job" '.attempt == 2'
    log_of "$job"
    body_is '[.dropped, (.log[] | [.attempt, .truncated, (.output | length)])]' '[0,[1,false,500000]]'
}

@test "the log goes with the job" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[2]}')
    wait_for_state "$job" running
    say "$(worker_of "$job")" 'kept'
    wait_for_state "$job" succeeded
    http DELETE "/v1/jobs/$job"
    expect 204
    get "/v1/jobs/$job/log"
    expect 404 not-found
    stop_poold
    [ "$(sqlite3 "$POOLD_DATA_DIR/poold.db" 'SELECT count(*) FROM job_log')" = 0 ]
}

@test "jobs of every durability have a log" {
    start_poold --processes 1
    for durability in durable relaxed memory; do
        job=$(submit apply_async "{\"task\":\"sleep\",\"args\":[2],\"durability\":\"$durability\"}")
        wait_for_state "$job" running
        say "$(worker_of "$job")" "$durability"
        wait_for_state "$job" succeeded
        log_of "$job"
        body_is '[.log[].output]' "[\"$durability\"]"
    done
}

@test "a log survives the stop of the server in the middle of the job" {
    start_poold --processes 1 --drain-timeout 0
    job=$(submit map_async '{"task":"sleep","items":[1,30],"chunksize":1}')
    eventually runs_item "$job" 0
    say "$(worker_of "$job")" 'before'
    follow "$job" '.progress.completed == 1'
    restart_poold
    log_of "$job"
    body_is '[.log[] | select(.item == 0) | .output]' '["before"]'
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
}

@test "what is wrong with a request for a log is said" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    for query in item=x item=-1 item= items=1 'item=1&item=2'; do
        get "/v1/jobs/$job/log?$query"
        expect 400 invalid-parameter
    done
    get /v1/jobs/0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b/log
    expect 404 not-found
    get /v1/jobs/x/log
    expect 404 not-found
}

@test "what a Python function prints is its item's, to the byte" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    printf '%s\n' 'import sys' 'def talk(n):' '    print("out", n)' \
        '    print("err", n, file=sys.stderr)' '    return n' >"$BATS_TEST_TMPDIR/tasks/chat.py"
    start_poold --processes 1 --tasks "$BATS_TEST_TMPDIR/tasks"
    first=$(submit apply_async '{"task":"chat:talk","args":[1]}')
    second=$(submit apply_async '{"task":"chat:talk","args":[2]}')
    wait_for_state "$first" succeeded
    wait_for_state "$second" succeeded
    log_of "$first"
    body_is '[.log[].output]' '["out 1\nerr 1\n"]'
    log_of "$second"
    body_is '[.log[].output]' '["out 2\nerr 2\n"]'
}
