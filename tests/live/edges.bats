# SPDX-License-Identifier: MIT
# Limits at their edges: one less than a limit, as much, and one more. docs/limits.md has them all,
# with the tests of those that are elsewhere.
load helpers

xs() { printf "%$1s" '' | tr ' ' x; }

# A submission of `echo` whose result has N bytes; its input has N + 2.
echo_of() { printf '{"task":"echo","args":["%s"]}' "$(xs $(($1 - 2)))"; }

@test "limit max_queued_bytes: inputs of jobs that are not over, counted also after a restart" {
    start_poold --processes 1 --max-queued-bytes 100
    submit apply_async '{"task":"sleep","args":[600]}' # [600]: 5
    sum=$(submit apply_async '{"task":"power","args":[2],"kwargs":{"exp":10}}') # [2] {"exp":10}: 13
    [ "$(sample poold_jobs_input_bytes)" = 18 ]
    for bytes in 79 80; do # with two for the brackets: 99 and 100 in all
        job=$(submit apply_async "$(echo_of "$bytes")")
        [ "$(sample poold_jobs_input_bytes)" = $((20 + bytes)) ]
        [ "$bytes" = 80 ] || post "/v1/jobs/$job/cancel" '' >/dev/null
    done
    post /v1/apply_async '{"task":"echo","args":[]}'
    expect 503 queue-full
    [ -n "$(header retry-after)" ]
    post /v1/batch '[{"method":"apply_async","task":"echo","args":[1]}]'
    expect 503 queue-full
    stop_poold KILL
    start_poold --processes 1 --max-queued-bytes 100
    [ "$(sample poold_jobs_input_bytes)" = 100 ]
    post /v1/apply_async '{"task":"echo","args":[]}'
    expect 503 queue-full
    post "/v1/jobs/$sum/cancel" '' >/dev/null
    wait_for_state "$sum" cancelled
    [ "$(sample poold_jobs_input_bytes)" = 87 ]
    submit apply_async "$(echo_of 11)" >/dev/null
    [ "$(sample poold_jobs_input_bytes)" = 100 ]
    get /v1/info >/dev/null
    body_is .limits.max_queued_bytes 100
}

@test "limit max_queued_bytes: one job is always taken" {
    start_poold --processes 1 --max-queued-bytes 10
    submit apply_async '{"task":"sleep","args":[600.0000000000]}' # 16
    post /v1/apply_async '{"task":"echo","args":[]}'
    expect 503 queue-full
}

@test "limit max_job_result_bytes: the results of a job together" {
    start_poold --processes 2 --max-job-result-bytes 300
    for durability in durable relaxed memory; do
        for bytes in 99 100; do
            post /v1/map "{\"task\":\"echo\",\"items\":[\"$(xs 98)\",\"$(xs 98)\",\"$(xs $((bytes - 2)))\"],
                           \"durability\":\"$durability\"}" >/dev/null
            expect 200
        done
        post /v1/map "{\"task\":\"echo\",\"items\":[\"$(xs 98)\",\"$(xs 98)\",\"$(xs 99)\"],
                       \"durability\":\"$durability\"}"
        expect 422 result-too-large
        body_is '[.item, (.detail | test("max_job_result_bytes allows, 300"))]' '[null,true]'
        job=$(jq -r .job <<<"$BODY")
        [ "$(field "$job" '[.state,.error.type]')" = '["failed","/problems/result-too-large"]' ]
    done
    get /v1/info >/dev/null
    body_is .limits.max_job_result_bytes 300
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
}

@test "limit max_job_result_bytes: beyond it nothing of the job goes on, what it had stays" {
    start_poold --processes 2 --max-job-result-bytes 100
    post /v1/pools '{"name":"one","processes":1}' >/dev/null
    job=$(submit map_async "{\"task\":\"echo\",\"pool\":\"one\",\"chunksize\":1,
                             \"items\":[$(printf '"%s",' "$(xs 58)"{,,,,,,,,})1]}")
    wait_for_state "$job" failed
    [ "$(field "$job" '.progress | [.completed,.failed]')" = '[1,0]' ]
    http GET "/v1/jobs/$job/results"
    [ "$(head -1 <<<"$BODY" | jq -c '[.index, (.result | length)]')" = '[0,58]' ]
    restart_poold
    [ "$(field "$job" .error.type)" = /problems/result-too-large ]
}

@test "limit max_job_result_bytes: beyond it tasks of the job that run are ended" {
    tasks=$BATS_TEST_TMPDIR/tasks
    mkdir "$tasks"
    printf 'import time\ndef mix(x):\n    if x: return "x" * 200\n    time.sleep(600)\n' >"$tasks/m.py"
    start_poold --processes 2 --tasks "$tasks" --python "${PYTHON3:-python3}" \
        --max-job-result-bytes 100
    job=$(submit map_async '{"task":"m:mix","items":[0,1],"chunksize":1}')
    wait_for_state "$job" failed
    [ "$(field "$job" '[.error.type,.progress.completed]')" = '["/problems/result-too-large",0]' ]
    eventually idle_workers_are 2
}

@test "limit max_body_bytes: a body as large, and a byte more" {
    start_poold --max-body-bytes 200
    for size in 199 200; do
        post /v1/apply "$(printf '%-*s' "$size" '{"task":"square","args":[3]}')" >/dev/null
        expect 200
    done
    post /v1/apply "$(printf '%-201s' '{"task":"square","args":[3]}')"
    expect 413 body-too-large
}

@test "limit max_result_bytes: a result as large, and a byte more" {
    start_poold --processes 1 --max-result-bytes 100
    for size in 99 100; do
        post /v1/apply "$(echo_of "$size")" >/dev/null
        expect 200
        [ "$(result_text <<<"$BODY" | tr -d '\n' | wc -c)" = "$size" ]
    done
    post /v1/apply "$(echo_of 101)"
    expect 422 result-too-large
    body_is .item 0
}

@test "limit max_processes: as many workers in all pools, and one more" {
    start_poold --processes 1 --max-processes 3
    post /v1/pools '{"name":"p","processes":1}' >/dev/null
    expect 201
    for processes in 2 3; do
        http PATCH /v1/pools/p -H 'Content-Type: application/json' -d "{\"processes\":$processes}"
        [ "$processes" = 3 ] || expect 200
    done
    expect 409 too-many-processes
    post /v1/pools '{"name":"q","processes":1}'
    expect 409 too-many-processes
}

# Retention has run since the start: it has let go of the result that was to be gone at once.
retained() { tail -n "+$1" "$POOLD_STDERR" | grep -q 'old jobs were let go'; }

# restart_retaining FLAG...: behind one more job, and waits until what is too much is gone.
restart_retaining() {
    local from
    job=$(submit apply_async '{"task":"square","args":[0],"result_ttl":0}')
    wait_for_state "$job" succeeded
    stop_poold
    from=$(($(wc -l <"$POOLD_STDERR") + 1))
    start_poold "$@"
    eventually retained "$from"
}

@test "limit max_finished_jobs: as many are known, of one more the first is forgotten" {
    start_poold --processes 1
    for i in 1 2 3 4; do
        restart_retaining --processes 1 --max-finished-jobs 3
        jobs[i]=$job
        get "/v1/jobs/${jobs[1]}" >/dev/null
        [ "$i" = 4 ] || expect 200
    done
    expect 404 not-found
    get "/v1/jobs/${jobs[2]}" >/dev/null
    expect 200
}

@test "limit max_finished_bytes: as many are kept, of one more the first go" {
    start_poold --processes 1
    for i in 1 2; do # 102 of input and 100 of the result
        jobs[i]=$(submit apply_async "$(echo_of 100)")
        wait_for_state "${jobs[i]}" succeeded
    done
    for bytes in 405 404; do
        restart_retaining --max-finished-bytes "$bytes"
        get "/v1/jobs/${jobs[1]}/result" >/dev/null
        expect 200
    done
    restart_retaining --max-finished-bytes 403
    get "/v1/jobs/${jobs[1]}/result"
    expect 410 result-gone
    get "/v1/jobs/${jobs[2]}/result" >/dev/null
    expect 200
}

@test "limit max_wait: a longer wait is that" {
    start_poold --max-wait 2
    for wait in 1 2 3; do
        post /v1/apply '{"task":"square","args":[3]}' -H "Prefer: wait=$wait" >/dev/null
        expect 200
        [ "$(header preference-applied)" = "wait=$((wait < 2 ? wait : 2))" ]
    done
    post /v1/apply '{"task":"sleep","args":[600],"on_disconnect":"cancel"}' -H 'Prefer: wait=600' >/dev/null
    expect 202
}

@test "limit max_json_depth: what clients send, as deep and one deeper" {
    start_poold --processes 1 --max-json-depth 4
    for args in '[[7]]' '[[[7]]]'; do # the envelope is one more
        [ "$(post /v1/apply "{\"task\":\"echo\",\"args\":$args}" | result_text)" = "${args:1:-1}" ]
    done
    post /v1/apply '{"task":"echo","args":[[[[7]]]]}'
    expect 400 json-too-deep
    body_is '.detail | contains("max_json_depth")' true
    post /v1/map '{"task":"echo","items":[[[7]]]}' >/dev/null
    expect 200
    for body in '{"task":"echo","items":[[[[]]]]}' '{"task":"echo","items":[1],"x":[[[{}]]]}' '[[[[[]]]]]'; do
        post /v1/map "$body"
        expect 400 json-too-deep
    done
    # 4 is the least there may be: all requests can be made with it.
    run "${poold[@]}" serve --max-json-depth 3
    [ "$status" = 78 ]
    [[ $output == *max_json_depth* ]]
    post /v1/batch '[{"method":"starmap_async","task":"power","items":[[2,3]],"metadata":{"a":1},"retry_backoff":{"initial":1}}]' >/dev/null
    expect 202
    # The array of a batch is one of the levels.
    post /v1/batch '[{"method":"apply_async","task":"echo","args":[[7]]}]' >/dev/null
    expect 202
    post /v1/batch '[{"method":"apply_async","task":"echo","args":[[[7]]]}]'
    expect 400 json-too-deep
    post /v1/pools '{"name":"p","initargs":[[[1]]]}' >/dev/null
    expect 201
    for path in pools pools/p jobs/wait jobs/as_completed admin/backup; do
        method=POST
        [ "$path" != pools/p ] || method=PATCH
        for x in '[[[1]]] 422 validation-failed' '[[[[1]]]] 400 json-too-deep'; do
            http "$method" "/v1/$path" -H 'Content-Type: application/json' -d "{\"x\":${x%% *}}"
            # shellcheck disable=SC2086
            expect ${x#* }
        done
    done
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    post "/v1/jobs/$job/cancel" '{"x":[[[[]]]]}'
    expect 400 json-too-deep
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    # Of items that are fed each line is a document.
    printf '%s\n' '{"task":"echo"}' '[[[[7]]]]' '[[[[[7]]]]]' >"$BATS_TEST_TMPDIR/lines"
    http POST /v1/imap -H 'Content-Type: application/x-ndjson' --data-binary "@$BATS_TEST_TMPDIR/lines"
    [[ $BODY == *'"result":[[[[7]]]]'* ]]
    [[ $BODY == *'"line 3: at byte 4: nested too deep (max_json_depth)"'* ]]
    get /v1/info >/dev/null
    body_is .limits.max_json_depth 4
}

@test "limit max_batch_jobs: a batch of as many jobs, and of one more" {
    start_poold --processes 1 --max-batch-jobs 3
    jobs_of() { jq -nc "[range($1) | {method:\"apply_async\",task:\"square\",args:[.]}]"; }
    for jobs in 2 3; do
        post /v1/batch "$(jobs_of "$jobs")" >/dev/null
        expect 202
        body_is '.jobs | length' "$jobs"
    done
    post /v1/batch "$(jobs_of 4)"
    expect 422 validation-failed
    body_is '.errors[0]' '{"pointer":"#","detail":"has more than 3 jobs (max_batch_jobs)"}'
    [ "$(job_count)" = 5 ]
    get /v1/info >/dev/null
    body_is .limits.max_batch_jobs 3
}

@test "limit max_attempt_log_bytes: what an attempt prints, as much and a byte more" {
    start_poold --processes 1 --max-attempt-log-bytes 1024
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    pid=$(worker_of "$job")
    for bytes in 1023 1 1; do # 1023, 1024 and 1025 in all
        xs "$bytes" >"/proc/$pid/fd/1"
        get "/v1/jobs/$job/log" >/dev/null
        jq -c '.log[0] | [.truncated, (.output | length)]' <<<"$BODY"
    done | diff - <(printf '[%s]\n' false,1023 false,1024 true,1024)
    kill -KILL "$pid" # the next attempt has as much again
    follow "$job" '.attempt == 2'
    eventually worker_of "$job" >/dev/null
    pid=$(worker_of "$job")
    xs 1024 >"/proc/$pid/fd/1"
    get "/v1/jobs/$job/log" >/dev/null
    body_is '[.log[] | [.attempt, .truncated, (.output | length)]]' '[[1,true,1024],[2,false,1024]]'
    get /v1/info >/dev/null
    body_is .limits.max_attempt_log_bytes 1024
}

@test "limit crash_retries: as many deaths of workers as jobs that do not say may have, and one more" {
    tasks=$BATS_TEST_TMPDIR/tasks
    mkdir "$tasks"
    cat >"$tasks/m.py" <<'PYTHON'
import os
def die(times, path):
    with open(path, "a") as file:
        file.write("x")
        if file.tell() <= times:
            os._exit(1)
    return times
PYTHON
    python=(--processes 1 --tasks "$tasks" --python "${PYTHON3:-python3}")
    start_poold "${python[@]}" # the default is 2
    dies() { post /v1/apply "{\"task\":\"m:die\",\"args\":[$1,\"$BATS_TEST_TMPDIR/deaths-$2\"]${3:-}}" >/dev/null; }
    for times in 1 2; do
        dies "$times" "default-$times"
        expect 200
    done
    dies 3 default-3
    expect 422 worker-lost
    stop_poold
    start_poold "${python[@]}" --crash-retries 1
    for times in 0 1; do
        dies "$times" "$times"
        expect 200
    done
    dies 2 2
    expect 422 worker-lost
    [ "$(wc -c <"$BATS_TEST_TMPDIR/deaths-2")" = 2 ]
    dies 2 said ',"crash_retries":2'
    expect 200
    get /v1/info >/dev/null
    body_is .limits.crash_retries 1
}

@test "limit max_tasks_per_child: chunks of a worker of pools that do not say" {
    start_poold --processes 1 --max-tasks-per-child 3
    post /v1/pools '{"name":"as-set"}' >/dev/null
    body_is .maxtasksperchild 3
    post /v1/pools '{"name":"says","processes":1,"maxtasksperchild":1}' >/dev/null
    body_is .maxtasksperchild 1
    post /v1/pools '{"name":"lasts","processes":1,"maxtasksperchild":null}' >/dev/null
    body_is .maxtasksperchild null
    for pool in default as-set; do
        eventually living_worker 0 ".pool == \"$pool\" and .state == \"idle\"" >/dev/null
        first=$(living_worker 0 ".pool == \"$pool\"")
        for chunk in 1 2; do
            post /v1/apply "{\"task\":\"square\",\"args\":[$chunk],\"pool\":\"$pool\"}" >/dev/null
            [ "$(living_worker 0 ".pool == \"$pool\"")" = "$first" ]
        done
        post /v1/apply "{\"task\":\"square\",\"args\":[3],\"pool\":\"$pool\"}" >/dev/null
        eventually gone "$first"
        post /v1/apply "{\"task\":\"square\",\"args\":[4],\"pool\":\"$pool\"}" >/dev/null
        expect 200
    done
    get /v1/info >/dev/null
    body_is .limits.max_tasks_per_child 3
    stop_poold
    start_poold --processes 1 # pools that were stored keep theirs
    for pool in as-set:3 lasts:null default:null; do
        get "/v1/pools/${pool%:*}" >/dev/null
        body_is .maxtasksperchild "${pool#*:}"
    done
    get /v1/info >/dev/null
    body_is .limits.max_tasks_per_child null
}
