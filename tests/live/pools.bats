# SPDX-License-Identifier: MIT
# Pools made, resized, closed, joined, terminated and deleted while the server runs.
load helpers

patch() {
    http PATCH "$1" -H 'Content-Type: application/json' --data "$2"
    printf '%s\n' "$BODY"
}

pool_is() { [ "$(get "/v1/pools/$1" | jq -c "$2")" = "$3" ]; }
idle_in() { [ "$(idle_workers "$1")" = "$2" ]; }
pids_of() { workers | jq "select(.pool == \"$1\") | .pid" | sort; }

@test "a pool is made, shown, and runs its jobs in workers of its own" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":2}'
    expect 201
    [ "$(header location)" = /v1/pools/p ]
    body_is '[.name, .processes, .state, .start_method]' '["p",2,"running","forkserver"]'
    eventually idle_in p 2
    get /v1/pools
    body_is '[.pools[].name]' '["default","p"]'
    job=$(submit apply_async '{"task":"sleep","args":[600],"pool":"p"}')
    eventually worker_of "$job"
    [ "$(worker_pid 0 ".job == \"$job\" and .pool == \"p\"")" ]
    post /v1/apply '{"task":"square","args":[3]}' # the default pool is free
    expect 200
}

@test "R3 a pool without processes has as many as the setting says, by default one for each CPU" {
    start_poold --processes 3
    post /v1/pools '{"name":"p"}'
    expect 201
    body_is .processes 3
    stop_poold
    "${poold[@]}" serve --help | grep -A3 -- '^ *--processes' | grep -q CPU
}

@test "R3 F15 numbers of processes and of chunks are positive, and an initializer is a task" {
    start_poold
    for member in processes maxtasksperchild; do
        for value in 0 -1 1.5 '"2"' true; do
            post /v1/pools "{\"name\":\"p\",\"$member\":$value}"
            expect 422 validation-failed
            body_is '[.errors[].pointer]' "[\"#/$member\"]"
        done
    done
    post /v1/pools '{"name":"p","initializer":"nonsense"}'
    expect 422 unknown-task
    body_is '[.errors[].pointer]' '["#/initializer"]'
    post /v1/pools '{"name":"p","initializer":3}'
    expect 422 validation-failed
    get /v1/pools/p
    expect 404 not-found
    for method in fork spawn forkserver; do
        post /v1/pools "{\"name\":\"$method\",\"processes\":1,\"maxtasksperchild\":1,\"start_method\":\"$method\"}"
        expect 201
    done
}

@test "a pool grows and shrinks while it runs, and busy workers finish first" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1}'
    patch /v1/pools/p '{"processes":3}'
    expect 200
    body_is .processes 3
    eventually idle_in p 3
    job=$(submit map_async '{"task":"sleep","items":[2,2,2],"chunksize":1,"pool":"p"}')
    eventually pool_is p .busy 3
    patch /v1/pools/p '{"processes":1}'
    expect 200
    wait_for_state "$job" succeeded
    [ "$(result "$job")" = '[null,null,null]' ]
    [ "$(field "$job" .attempt)" = 1 ]
    eventually idle_in p 1
    [ "$(pids_of p | wc -l)" = 1 ]
    pool_is p .totals.workers_lost 0
}

@test "shrinking lets idle workers go and leaves the busy one alone" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":3}'
    job=$(submit apply_async '{"task":"sleep","args":[600],"pool":"p"}')
    eventually worker_of "$job"
    pid=$(worker_of "$job")
    eventually idle_in p 2
    patch /v1/pools/p '{"processes":1}'
    eventually eval '[ "$(pids_of p)" = '"$pid"' ]'
}

@test "the default pool can be resized, until the server stops" {
    start_poold --processes 1
    patch /v1/pools/default '{"processes":2}'
    expect 200
    eventually idle_in default 2
    restart_poold
    pool_is default .processes 1
}

@test "R1 R2 F7 F14 a closed pool takes no jobs, finishes those it has, and can be joined" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1}'
    post /v1/pools/p/join ''
    expect 409 pool-running
    body_is .detail '"Pool is still running"'
    a=$(submit apply_async '{"task":"sleep","args":[600],"pool":"p"}')
    b=$(submit apply_async '{"task":"square","args":[7],"pool":"p"}')
    post /v1/pools/p/close ''
    expect 200
    body_is .state '"closed"'
    for method in apply apply_async; do
        post "/v1/$method" '{"task":"square","args":[1],"pool":"p"}'
        expect 409 pool-closed
    done
    patch /v1/pools/p '{"processes":2}'
    expect 409 pool-closed
    post "/v1/pools/p/join?timeout=0" ''
    expect 202
    post "/v1/jobs/$a/cancel" '{"terminate":true}'
    post "/v1/pools/p/join?timeout=$PATIENCE" ''
    expect 200
    [ "$(result "$b")" = 49 ]
    [ -z "$(pids_of p)" ]
    post /v1/pools/p/close '' # again is fine
    expect 200
}

@test "a request that made a job is answered with it, although its pool was closed" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1}'
    post /v1/apply '{"task":"square","args":[3],"pool":"p"}' -H 'Idempotency-Key: k'
    expect 200
    post /v1/pools/p/close ''
    post /v1/apply '{"task":"square","args":[3],"pool":"p"}' -H 'Idempotency-Key: k'
    expect 200
    [ "$(header idempotent-replayed)" = true ]
    body_is .result 9
    post /v1/apply '{"task":"square","args":[3],"pool":"p"}' -H 'Idempotency-Key: l'
    expect 409 pool-closed
}

@test "a closed pool takes no batch, and no failed job again" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1}'
    job=$(submit apply_async '{"task":"safe_square","args":[-1],"pool":"p"}')
    wait_for_state "$job" failed
    post /v1/pools/p/close ''
    before=$(job_count)
    post /v1/batch '[{"method":"apply_async","task":"square","args":[1]},
        {"method":"apply_async","task":"square","args":[1],"pool":"p"}]'
    expect 409 pool-closed
    [ "$(job_count)" = "$before" ]
    post "/v1/jobs/$job/retry" ''
    expect 409 pool-closed
    [ "$(field "$job" .state)" = failed ]
}

@test "R1 R2 F14 terminate kills the workers, cancels all jobs, and nobody hangs" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1}'
    running=$(submit apply_async '{"task":"sleep","args":[600],"pool":"p"}')
    wait_for_state "$running" running
    queued=$(submit apply_async '{"task":"sleep","args":[600],"pool":"p"}')
    delayed=$(submit apply_async '{"task":"square","args":[1],"pool":"p","delay":600}')
    other=$(submit apply_async '{"task":"square","args":[2],"delay":600}')
    pid=$(worker_of "$running")
    # Somebody waits for the queued one meanwhile.
    curl -sS --max-time "$PATIENCE" "$URL/v1/jobs/$queued/result?timeout=60" \
        >"$BATS_TEST_TMPDIR/waiter" &
    waiter=$!
    post /v1/pools/p/terminate ''
    expect 200
    body_is .state '"terminated"'
    wait "$waiter"
    [ "$(jq -r .type "$BATS_TEST_TMPDIR/waiter")" = /problems/job-cancelled ]
    for job in "$running" "$queued" "$delayed"; do
        wait_for_state "$job" cancelled
    done
    [ "$(field "$other" .state)" = scheduled ]
    eventually gone "$pid"
    post "/v1/pools/p/join?timeout=$PATIENCE" ''
    expect 200
    post /v1/apply '{"task":"square","args":[1],"pool":"p"}'
    expect 409 pool-closed
    post /v1/pools/p/terminate ''
    expect 200
}

@test "a deleted pool is gone with its jobs and workers, and its name is free" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1}'
    job=$(submit apply_async '{"task":"sleep","args":[600],"pool":"p"}')
    wait_for_state "$job" running
    http DELETE /v1/pools/p
    expect 204
    [ "$(field "$job" .state)" = cancelled ]
    [ -z "$(pids_of p)" ]
    get /v1/pools/p
    expect 404 not-found
    post /v1/apply '{"task":"square","args":[1],"pool":"p"}'
    expect 422 unknown-pool
    post /v1/pools '{"name":"p","processes":1}'
    expect 201
    post /v1/apply '{"task":"square","args":[4],"pool":"p"}'
    expect 200
    body_is .result 16
}

@test "the default pool is not deleted, but it can be terminated" {
    start_poold --processes 1
    http DELETE /v1/pools/default
    expect 409 pool-default
    post /v1/pools/default/terminate ''
    expect 200
    post /v1/apply '{"task":"square","args":[4]}'
    expect 409 pool-closed
    stop_poold
    [ "$POOLD_STATUS" = 0 ]
    start_poold --processes 1
    post /v1/apply '{"task":"square","args":[4]}'
    expect 200
}

@test "pools are there again after a restart, also after SIGKILL" {
    start_poold --processes 1
    post /v1/pools '{"name":"a","processes":1,"time_limit":30,"initializer":"square","initargs":[2]}'
    post /v1/pools '{"name":"b","processes":1}'
    post /v1/pools '{"name":"c","processes":1}'
    post /v1/pools '{"name":"d","processes":1}'
    patch /v1/pools/a '{"processes":2,"maxtasksperchild":7}'
    queued=$(submit apply_async '{"task":"square","args":[5],"pool":"a","delay":1}')
    running=$(submit apply_async '{"task":"sleep","args":[3],"pool":"b"}')
    wait_for_state "$running" running
    post /v1/pools/b/close ''
    post /v1/pools/c/terminate ''
    http DELETE /v1/pools/d
    restart_poold KILL
    get /v1/pools
    body_is '[.pools[] | [.name, .state]]' \
        '[["default","running"],["a","running"],["b","closed"],["c","terminated"]]'
    get /v1/pools/a
    body_is '[.processes, .maxtasksperchild, .time_limit, .initializer, .initargs]' \
        '[2,7,30,"square",[2]]'
    [ "$(result "$queued")" = 25 ]
    wait_for_state "$running" succeeded
    post "/v1/pools/b/join?timeout=$PATIENCE" ''
    expect 200
}

@test "an Idempotency-Key makes one pool, also after a restart" {
    start_poold --processes 1
    for i in 1 2; do
        post /v1/pools '{"name":"p","processes":1}' -H 'Idempotency-Key: k'
        expect 201
        restart_poold
    done
    [ "$(header idempotent-replayed)" = true ]
    post /v1/pools '{"name":"q","processes":1}' -H 'Idempotency-Key: k'
    expect 422 idempotency-mismatch
    post /v1/pools '{"name":"p","processes":1}'
    expect 409 pool-exists
}

@test "R19 maxtasksperchild counts chunks, and nothing is lost" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1,"maxtasksperchild":2}'
    eventually idle_in p 1
    first=$(pids_of p)
    post /v1/map '{"task":"square","items":[1,2,3,4],"chunksize":4,"pool":"p"}'
    expect 200
    [ "$(pids_of p)" = "$first" ] # four items, but one chunk
    post /v1/map '{"task":"square","items":[1,2,3,4],"chunksize":4,"pool":"p"}'
    expect 200
    eventually gone "$first"
    items=$(seq -s, 1 500)
    post /v1/map "{\"task\":\"square\",\"items\":[$items],\"chunksize\":1,\"pool\":\"p\",\"crash_retries\":0}"
    expect 200
    body_is '.result == [range(1; 501) | . * .]' true
    pool_is p .totals.workers_lost 0
}

@test "an initializer runs before the first job" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1,"initializer":"sleep","initargs":[0.5]}'
    post /v1/apply '{"task":"square","args":[3],"pool":"p"}'
    expect 200
    body_is .result 9
}

@test "R22 F13 an initializer that keeps failing breaks the pool, and its jobs fail" {
    start_poold --processes 1
    # Each try takes until the time limit, so that there is time to submit.
    post /v1/pools '{"name":"p","processes":1,"initializer":"sleep","initargs":[600],"time_limit":2}'
    expect 201
    now=$(submit apply_async '{"task":"square","args":[3],"pool":"p"}')
    later=$(submit apply_async '{"task":"square","args":[3],"pool":"p","delay":600}')
    for job in "$now" "$later"; do
        wait_for_state "$job" failed
        [ "$(field "$job" .error.type)" = /problems/broken-pool ]
    done
    get "/v1/jobs/$now/result"
    expect 409 broken-pool
    body_is .exception.type '"WorkerLost"'
    body_is '.detail | contains("WorkerLost: ") and contains("time_limit")' true
}

@test "R22 F13 a broken pool tells why, takes nothing, and starts no worker any more" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1,"initializer":"safe_square","initargs":[-1]}'
    expect 201
    eventually pool_is p .state '"broken"'
    get /v1/pools/p
    body_is '[.error.type, .error.message]' '["ValueError","Negative input not allowed"]'
    post /v1/apply '{"task":"square","args":[3],"pool":"p"}'
    expect 409 broken-pool
    body_is '.detail | contains("ValueError: Negative input not allowed")' true
    body_is .exception.type '"ValueError"'
    post /v1/batch '[{"method":"apply_async","task":"square","args":[1],"pool":"p"}]'
    expect 409 broken-pool
    patch /v1/pools/p '{"processes":2}'
    expect 409 broken-pool
    post "/v1/pools/p/join?timeout=$PATIENCE" ''
    expect 200
    [ "$(get /v1/pools/p | jq .totals.workers_lost)" = 3 ] # no endless respawn
    [ -z "$(pids_of p)" ]
    eventually eval 'get /readyz | jq -e ".status == \"ready\""'
    http DELETE /v1/pools/p
    expect 204
}

@test "spawn executes its workers anew" {
    start_poold --processes 1
    for method in spawn fork forkserver; do
        post /v1/pools "{\"name\":\"$method\",\"processes\":1,\"start_method\":\"$method\"}"
        expect 201
        body_is .start_method "\"$method\""
        eventually idle_in "$method" 1
        post /v1/apply "{\"task\":\"square\",\"args\":[3],\"pool\":\"$method\"}"
        expect 200
    done
    tr '\0' ' ' <"/proc/$(pids_of spawn)/cmdline" | grep -q '^poold worker '
    tr '\0' ' ' <"/proc/$(pids_of fork)/cmdline" | grep -q '^poold forkserver '
}

@test "a memory limit fails the item that asks for more" {
    if sanitized; then
        skip 'a sanitizer needs terabytes of address space'
    fi
    start_poold --processes 1
    for method in forkserver spawn; do
        post /v1/pools "{\"name\":\"$method\",\"processes\":1,\"start_method\":\"$method\",\"memory_limit\":67108864}"
        post /v1/apply "{\"task\":\"matmul\",\"args\":[3000],\"pool\":\"$method\"}"
        expect 422 out-of-memory
        post /v1/apply "{\"task\":\"matmul\",\"args\":[30],\"pool\":\"$method\"}"
        expect 200
        patch "/v1/pools/$method" '{"memory_limit":134217728}'
        expect 200
        eventually eval "grep -q 'Max address space  *134217728 ' /proc/\$(pids_of $method)/limits"
    done
}

@test "the time limit of a pool holds for jobs that say nothing" {
    start_poold --processes 1
    post /v1/pools '{"name":"p","processes":1,"time_limit":0.3}'
    post /v1/apply '{"task":"sleep","args":[600],"pool":"p"}'
    expect 422 time-limit
    post /v1/apply '{"task":"sleep","args":[0.6],"pool":"p","time_limit":30}'
    expect 200
    patch /v1/pools/p '{"time_limit":null}'
    post /v1/apply '{"task":"sleep","args":[0.6],"pool":"p"}'
    expect 200
}

@test "all pools together have at most max_processes workers" {
    start_poold --processes 2 --max-processes 4
    post /v1/pools '{"name":"p","processes":3}'
    expect 409 too-many-processes
    post /v1/pools '{"name":"p","processes":2}'
    expect 201
    patch /v1/pools/p '{"processes":3}'
    expect 409 too-many-processes
    patch /v1/pools/default '{"processes":1}'
    expect 200
    patch /v1/pools/p '{"processes":3}'
    expect 200
}

@test "the server stops with pools in every state" {
    start_poold --processes 1
    for p in run closed terminated; do
        post /v1/pools "{\"name\":\"$p\",\"processes\":1}"
        expect 201
        submit apply_async "{\"task\":\"sleep\",\"args\":[600],\"pool\":\"$p\"}"
    done
    post /v1/pools '{"name":"broken","processes":1,"initializer":"safe_square","initargs":[-1]}'
    eventually pool_is broken .state '"broken"'
    post /v1/pools/closed/close ''
    post /v1/pools/terminated/terminate ''
    kill -TERM "$POOLD_PID" # lets running items finish
    stop_poold
    [ "$POOLD_STATUS" = 0 ]
}
