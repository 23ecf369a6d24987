# SPDX-License-Identifier: MIT
# Jobs that come in together, and failed jobs that are run again.
load helpers

# ---- batches -------------------------------------------------------------------------------

@test "a batch is all of its jobs, in order, in one commit, and survives a kill" {
    start_poold --processes 1
    post /v1/batch '[{"method":"apply_async","task":"sleep","args":[0.5]},
        {"method":"map_async","task":"square","items":[1, 2,3],"tags":["b"]},
        {"method":"starmap_async","task":"power","items":[[2,3]],"kwargs":{}, "durability":"relaxed"}]'
    expect 202
    body_is '[.jobs[] | [.method, .state, .durability]]' \
        '[["apply","queued","durable"],["map","queued","durable"],["starmap","queued","relaxed"]]'
    mapfile -t jobs < <(jq -r '.jobs[].id' <<<"$BODY")
    restart_poold KILL
    [ "$(result "${jobs[1]}")" = '[1,4,9]' ]
    [ "$(result "${jobs[2]}")" = '[8]' ]
    [ "$(result "${jobs[0]}")" = null ]
}

@test "a bad element refuses the whole batch, and all that is wrong is pointed at" {
    start_poold
    good='{"method":"apply_async","task":"square","args":[1]}'
    post /v1/batch "[$good,$good,$good,{\"method\":\"apply_async\",\"task\":\"nope\"},5,
        {\"task\":\"square\"},{\"method\":\"apply\",\"task\":\"square\"},
        {\"method\":\"map_async\",\"task\":\"square\",\"items\":1,\"x\":1}]"
    expect 422 validation-failed
    body_is '[.errors[].pointer]' '["#/3/task","#/4","#/5/method","#/6/method","#/7/items","#/7/x"]'
    [ "$(job_count)" = 0 ]
    post /v1/batch "[$good,{\"method\":\"apply_async\",\"task\":\"nope\"}]"
    expect 422 unknown-task
    body_is .errors[0].pointer '"#/1/task"'
    post /v1/batch "{\"method\":\"apply_async\"}"
    expect 422 validation-failed
    post /v1/batch "[$good,"
    expect 400 invalid-json
    post /v1/batch "[$good]" -H 'Idempotency-Key: k'
    expect 422 validation-failed
    post /v1/apply_async "$good"
    expect 422 validation-failed
    body_is .errors[0].pointer '"#/method"'
    [ "$(job_count)" = 0 ]
}

@test "a thousand jobs are a batch, one more is none; all of them have to find room" {
    start_poold --max-queued-jobs 1000
    jobs_of() { jq -nc "[range($1) | {method:\"apply_async\",task:\"square\",args:[.],delay:3600}]"; }
    post /v1/batch "$(jobs_of 1001)"
    expect 422 validation-failed
    post /v1/batch '[]'
    expect 202
    body_is . '{"jobs":[]}'
    post /v1/batch "$(jobs_of 1)" -H 'Prefer: return=minimal' >/dev/null
    body_is '[.jobs[0] | keys[]]' '["id","state"]'
    one=$(jq -r .jobs[0].id <<<"$BODY")
    post /v1/batch "$(jobs_of 1000)"
    expect 503 queue-full
    [ "$(job_count)" = 1 ]
    post "/v1/jobs/$one/cancel" '' >/dev/null
    post /v1/batch "$(jobs_of 1000)" >/dev/null
    expect 202
    body_is '.jobs | length' 1000
}

# ---- retry -----------------------------------------------------------------------------------

# A map whose item 1 needs longer than its time limit; what it is worth depends on the server.
failing_map() {
    submit map_async "{\"task\":\"sleep\",\"items\":[0,$1,0.01],\"time_limit\":1,\"chunksize\":1}"
}

@test "a retry runs what has failed again, and only that" {
    start_poold
    job=$(failing_map 30)
    wait_for_state "$job" failed
    http POST "/v1/jobs/$job/retry"
    expect 202
    [ "$(header location)" = "/v1/jobs/$job" ]
    body_is '[.state, .progress.completed, .progress.failed, .error, .finished_at]' \
        '["queued",2,0,null,null]'
    http GET "/v1/jobs/$job/result"
    expect 202
    wait_for_state "$job" failed
    body_is '[.progress.completed, .progress.failed, .attempt]' '[2,1,1]'
    get "/v1/jobs/$job/result"
    expect 422 time-limit
}

@test "a retry begins with new budgets, also for a job from before a restart" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[60],"crash_retries":0}')
    wait_for_state "$job" running
    kill -KILL "$(worker_of "$job")"
    wait_for_state "$job" failed
    restart_poold KILL
    http POST "/v1/jobs/$job/retry"
    expect 202
    wait_for_state "$job" running
    http POST "/v1/jobs/$job/retry"
    expect 409 not-failed
    restart_poold KILL
    wait_for_state "$job" running
    kill -KILL "$(worker_of "$job")"
    wait_for_state "$job" failed
    get "/v1/jobs/$job/result"
    expect 422 worker-lost
}

@test "a retried job may succeed, whatever its durability" {
    start_poold --processes 1
    for durability in durable relaxed memory; do
        job=$(submit map_async "{\"task\":\"sleep\",\"items\":[0,2],\"chunksize\":1,
            \"crash_retries\":0,\"durability\":\"$durability\"}")
        follow "$job" '.progress.completed == 1'
        kill -KILL "$(worker_of "$job")"
        wait_for_state "$job" failed
        http POST "/v1/jobs/$job/retry"
        expect 202
        [ "$(result "$job")" = '[null,null]' ]
        http POST "/v1/jobs/$job/retry"
        expect 409 not-failed
    done
    http POST /v1/jobs/0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b/retry
    expect 404 not-found
    http POST /v1/jobs/nonsense/retry
    expect 404 not-found
    post "/v1/jobs/$job/retry" '{"x":1}'
    expect 422 validation-failed
}
