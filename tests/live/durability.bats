# SPDX-License-Identifier: MIT
# What is acknowledged is kept: across SIGTERM and SIGKILL of the server.
load helpers

@test "finished jobs have the same bytes after SIGKILL and after SIGTERM" {
    start_poold
    good=$(submit map_async '{"task":"echo","items":[0.10,"\u00e4",1e400,{"b":1,"a":2}]}')
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$good" succeeded
    wait_for_state "$bad" failed
    # Commits keep their order: once this job is acknowledged, what came before is stored.
    submit apply_async '{"task":"square","args":[1]}'
    for path in "$good" "$good/result" "$good/results" "$bad/result"; do
        get "/v1/jobs/$path" >"$BATS_TEST_TMPDIR/before.${path//\//.}"
    done
    for signal in KILL TERM; do
        restart_poold $signal
        for path in "$good" "$good/result" "$good/results" "$bad/result"; do
            get "/v1/jobs/$path" | cmp - "$BATS_TEST_TMPDIR/before.${path//\//.}"
        done
    done
}

@test "F1 every job acknowledged before a SIGKILL is there after it, and ends" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    for i in {1..30}; do
        jobs[i]=$(submit apply_async "{\"task\":\"square\",\"args\":[$i]}")
    done
    restart_poold KILL
    [ "$(job_count)" = 31 ]
    wait_for_state "$blocker" running
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}'
    expect 202
    for i in {1..30}; do
        [ "$(result "${jobs[i]}")" = $((i * i)) ]
    done
}

@test "jobs go on after a SIGTERM in the order in which they came" {
    start_poold --processes 1 --drain-timeout 0.1
    blocker=$(submit apply_async '{"task":"sleep","args":[1]}')
    wait_for_state "$blocker" running
    a=$(submit apply_async '{"task":"sleep","args":[0.01]}')
    b=$(submit apply_async '{"task":"sleep","args":[0.01]}')
    restart_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    wait_for_state "$b" succeeded
    get '/v1/jobs?state=succeeded'
    body_is '[.jobs | sort_by(.started_at)[].id]' "[\"$blocker\",\"$a\",\"$b\"]"
}

@test "F1 a job that ran when the server was killed runs again, without using up an attempt" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[0.7],"crash_retries":0,"retries":0}')
    wait_for_state "$job" running
    restart_poold KILL
    wait_for_state "$job" succeeded
}

@test "attempts that failed before a restart are paid for after it" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"safe_square","args":[-1],"retries":2,
        "retry_backoff":{"initial":1.5,"factor":1,"jitter":false}}')
    one_failed() { http GET "/v1/jobs/$job/attempts" && [ "$(jq '.attempts | length' <<<"$BODY")" = 1 ]; }
    eventually one_failed
    submit apply_async '{"task":"square","args":[1]}' # behind it in the store
    restart_poold KILL
    wait_for_state "$job" failed
    get "/v1/jobs/$job/attempts"
    body_is '[.attempts[].attempt]' '[1,2,3]'
}

@test "workers that died before a restart are paid for after it" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[600],"crash_retries":1}')
    eventually worker_of "$job"
    kill -KILL "$(worker_of "$job")"
    follow "$job" '.attempt == 2'
    eventually worker_of "$job"
    submit apply_async '{"task":"square","args":[1],"delay":3600}'
    restart_poold KILL
    eventually worker_of "$job"
    kill -KILL "$(worker_of "$job")"
    wait_for_state "$job" failed
    get "/v1/jobs/$job/attempts"
    body_is '[.attempts[].attempt]' '[1,2]'
}

@test "F1 finished items are not run again after a SIGKILL" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,0,600,0],"chunksize":1}')
    follow "$job" '.progress.completed == 2'
    submit apply_async '{"task":"square","args":[1]}'
    restart_poold KILL
    [ "$(field "$job" .progress.completed)" = 2 ]
    wait_for_state "$job" running
    eventually worker_pid 0 ".job == \"$job\" and .item == 2"
    [ "$(field "$job" .progress.completed)" = 2 ]
}

@test "F5 finished items are not run again after a SIGTERM" {
    start_poold --processes 1 --drain-timeout 0
    job=$(submit map_async '{"task":"sleep","items":[0,0,0,600],"chunksize":1}')
    follow "$job" '.progress.completed == 3'
    restart_poold TERM
    [ "$(field "$job" .progress.completed)" = 3 ]
    eventually worker_pid 0 ".job == \"$job\" and .item == 3"
}

@test "items that failed before a SIGKILL stay failed with the same error" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":["x",0,1],"chunksize":1}')
    follow "$job" '.progress.failed == 1 and .progress.completed == 1'
    submit apply_async '{"task":"square","args":[1]}'
    get "/v1/jobs/$job/results"
    before=$(head -1 <<<"$BODY")
    restart_poold KILL
    wait_for_state "$job" failed
    get "/v1/jobs/$job/results"
    [ "$(head -1 <<<"$BODY")" = "$before" ]
    body_is 'select(.index == 2) | has("result")' true
}

@test "a scheduled job keeps its time across a SIGKILL" {
    start_poold
    late=$(submit apply_async '{"task":"square","args":[4],"delay":3600}')
    soon=$(submit apply_async '{"task":"square","args":[5],"delay":1}')
    restart_poold KILL
    [ "$(field "$late" .state)" = scheduled ]
    [ "$(result "$soon")" = 25 ]
}

@test "an Idempotency-Key is remembered across a SIGKILL" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[9]}' -H 'Idempotency-Key: k-1'
    job=$(jq -r .id <<<"$BODY")
    restart_poold KILL
    post /v1/apply_async '{"task":"square","args":[9]}' -H 'Idempotency-Key: k-1'
    expect 202
    body_is .id "\"$job\""
    [ "$(header idempotent-replayed)" = true ]
    post /v1/apply_async '{"task":"square","args":[8]}' -H 'Idempotency-Key: k-1'
    expect 422 idempotency-mismatch
    [ "$(job_count)" = 1 ]
}

@test "a waiting call is recorded behind its answer" {
    start_poold
    post /v1/apply '{"task":"square","args":[6]}'
    job=$(jq -r .id <<<"$BODY")
    [ "$(field "$job" .durability)" = relaxed ]
    restart_poold TERM
    [ "$(result "$job")" = 36 ]
}

@test "a job of durability memory is gone after a restart" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[6],"durability":"memory"}')
    [ "$(result "$job")" = 36 ]
    restart_poold TERM
    get "/v1/jobs/$job"
    expect 404 not-found
    [ "$(job_count)" = 0 ]
}

@test "a cancelled and a forgotten job stay so across a SIGKILL" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$blocker" running
    cancelled=$(submit apply_async '{"task":"square","args":[1]}')
    post "/v1/jobs/$cancelled/cancel" '{}'
    expect 200
    post /v1/jobs/"$blocker"/cancel '{"terminate":true}'
    wait_for_state "$blocker" cancelled
    http DELETE "/v1/jobs/$blocker"
    expect 204
    submit apply_async '{"task":"square","args":[1]}'
    restart_poold KILL
    [ "$(field "$cancelled" .state)" = cancelled ]
    get "/v1/jobs/$blocker"
    expect 404 not-found
}

@test "F1 no worker outlives a killed server" {
    start_poold --processes 2
    submit apply_async '{"task":"sleep","args":[600]}'
    pids=$(workers | jq .pid)
    [ "$(wc -w <<<"$pids")" = 2 ]
    stop_poold KILL
    for pid in $pids; do
        eventually gone "$pid"
    done
}

@test "the server comes back after being killed ten times under load" {
    start_poold
    for i in {1..10}; do
        jobs[i]=$(submit map_async '{"task":"sleep","items":[0.05,0.05,0.05,0.05],"chunksize":1}')
        restart_poold KILL
    done
    for i in {1..10}; do
        [ "$(result "${jobs[i]}")" = '[null,null,null,null]' ]
    done
    stop_poold TERM
    [ "$(sqlite3 "$POOLD_DATA_DIR"/*.db 'PRAGMA integrity_check')" = ok ]
}
