# SPDX-License-Identifier: MIT
# Workers die; jobs do not hang and the pool heals.
load helpers

@test "workers and their pool are shown" {
    start_poold --processes 3
    eventually idle_workers_are 3
    get /v1/workers
    expect 200
    body_is '[.workers[].pid] | unique | length' 3
    body_is '[.workers[] | .alive and .pool == "default" and .job == null and .rss_bytes > 0]
        | all' true
    get /v1/pools/default
    expect 200
    body_is '[.name, .processes]' '["default",3]'
    get /v1/pools
    body_is '[.pools[].name]' '["default"]'
}

@test "a worker shows the job and the item it is on" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,600]}')
    eventually worker_pid 0 ".job == \"$job\" and .item == 1 and .state == \"busy\""
}

@test "tasks run in other processes than the server" {
    start_poold --processes 2
    for pid in $(workers | jq .pid); do
        [ "$pid" != "$POOLD_PID" ]
        [ -d "/proc/$pid" ]
    done
}

@test "F8 a killed worker's item runs again, and the map is complete" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,5,0],"chunksize":3}')
    eventually worker_pid 0 ".job == \"$job\" and .item == 1"
    pid=$(worker_pid 0)
    kill -KILL "$pid"
    wait_for_state "$job" succeeded
    [ "$(result "$job")" = '[null,null,null]' ]
    [ "$(field "$job" .attempt)" = 2 ]
    [ "$(worker_pid 0)" != "$pid" ]
}

@test "without crash_retries a killed worker costs only the item it was on" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,600,0,0],"chunksize":4,"crash_retries":0}')
    eventually worker_pid 0 ".job == \"$job\" and .item == 1"
    kill -KILL "$(worker_pid 0)"
    wait_for_state "$job" failed
    [ "$(field "$job" '.progress | [.total, .completed, .failed]')" = '[4,3,1]' ]
    get "/v1/jobs/$job/result"
    expect 422 worker-lost
    body_is '[.item, .signal]' '[1,"SIGKILL"]'
    get "/v1/jobs/$job/results"
    [ "$(jq -c 'select(has("error")) | [.index, .error.type, .error.signal]' <<<"$BODY")" = \
        '[1,"/problems/worker-lost","SIGKILL"]' ]
}

@test "the error names the signal that killed the worker" {
    start_poold --processes 1
    for signal in ABRT TERM; do
        job=$(submit apply_async '{"task":"sleep","args":[600],"crash_retries":0}')
        eventually worker_of "$job"
        kill -$signal "$(worker_of "$job")"
        wait_for_state "$job" failed
        [ "$(field "$job" '[.error.type, .error.signal]')" = \
            "[\"/problems/worker-lost\",\"SIG$signal\"]" ]
    done
}

@test "an item that kills its worker again and again fails, and the map goes on" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[600,0],"chunksize":1,"crash_retries":1}')
    for attempt in 1 2; do
        follow "$job" ".attempt == $attempt"
        eventually worker_pid 0 ".job == \"$job\" and .item == 0"
        kill -KILL "$(worker_pid 0)"
    done
    wait_for_state "$job" failed
    [ "$(field "$job" '[.progress.completed, .progress.failed, .error.attempt]')" = '[1,1,2]' ]
}

@test "killing every worker at once costs no job" {
    start_poold --processes 3
    job=$(submit map_async '{"task":"sleep","items":[3,3,3,0,0,0],"chunksize":1}')
    follow "$job" '.state == "running"'
    eventually all_busy 3
    for pid in $(workers | jq .pid); do
        kill -KILL "$pid"
    done
    wait_for_state "$job" succeeded
    eventually idle_workers_are 3
}

all_busy() { [ "$(workers | jq -s '[.[] | select(.alive and .state == "busy")] | length')" = "$1" ]; }

@test "F8 the death of an idle worker disturbs nothing" {
    start_poold --processes 2
    eventually idle_workers_are 2
    pid=$(worker_pid 0)
    kill -KILL "$pid"
    post /v1/map '{"task":"square","items":[1,2,3,4]}'
    expect 200
    body_is .result '[1,4,9,16]'
    eventually idle_workers_are 2
    eventually gone "$pid"
}

@test "workers that are killed in a row are replaced each time" {
    start_poold --processes 1
    for i in 1 2 3 4 5; do
        eventually idle_workers_are 1
        kill -KILL "$(worker_pid 0)"
        post /v1/apply '{"task":"square","args":[5]}'
        expect 200
        body_is .result 25
    done
}

@test "an item that runs over its time limit is killed, and the pool heals" {
    start_poold --processes 1
    pid=$(worker_pid 0)
    post /v1/apply '{"task":"sleep","args":[600],"time_limit":0.3}'
    expect 422 time-limit
    body_is .item 0
    eventually idle_workers_are 1
    [ "$(worker_pid 0)" != "$pid" ]
    eventually gone "$pid"
}

@test "the time limit holds for each item, not for the map" {
    start_poold --processes 1
    post /v1/map '{"task":"sleep","items":[0.2,600,0.2,0.2,0.2,0.2,0.2,0.2,0.2,0.2],"time_limit":1.5,"chunksize":10}'
    expect 422 time-limit
    body_is .item 1
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" '.progress | [.completed, .failed]')" = '[9,1]' ]
}

@test "the setting time_limit holds for jobs that say nothing" {
    start_poold --processes 1 --time-limit 0.3
    post /v1/apply '{"task":"sleep","args":[600]}'
    expect 422 time-limit
    post /v1/apply '{"task":"sleep","args":[0.6],"time_limit":30}'
    expect 200
}

@test "F9 a worker that is stopped falls to its time limit as well" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[4],"time_limit":5}')
    eventually worker_of "$job"
    kill -STOP "$(worker_of "$job")"
    wait_for_state "$job" failed
    [ "$(field "$job" .error.type)" = /problems/time-limit ]
    eventually idle_workers_are 1
}

@test "a map uses all workers" {
    start_poold --processes 3
    job=$(submit map_async '{"task":"sleep","items":[600,600,600]}')
    eventually all_busy 3
}

@test "the built-in tasks are listed" {
    start_poold
    get /v1/tasks
    expect 200
    for task in square cube power is_prime primes_in_range cpu_bound sum_range matmul \
        safe_square echo sleep; do
        body_is "[.tasks[].name] | contains([\"$task\"])" true
        get "/v1/tasks/$task" >"$BATS_TEST_TMPDIR/task"
        expect 200
        body_is '[.name, .runtime]' "[\"$task\",\"native\"]"
        get /v1/tasks >"$BATS_TEST_TMPDIR/task"
    done
    get /v1/tasks/nonsense
    expect 404 not-found
}
