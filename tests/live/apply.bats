# SPDX-License-Identifier: MIT
# One call of a task: pool.apply and pool.apply_async.
load helpers

@test "apply answers with the result at once" {
    start_poold
    post /v1/apply '{"task":"square","args":[7]}'
    expect 200
    body_is .state '"succeeded"'
    body_is .result 49
    [ "$(header content-type)" = application/json ]
}

@test "every built-in task gives the exact value" {
    start_poold
    while read -r task args want; do
        post /v1/apply "{\"task\":\"$task\",\"args\":$args}"
        expect 200
        [ "$(result_text <<<"$BODY")" = "$want" ]
    done <<'TASKS'
square [-12] 144
cube [-3] -27
power [2,100] 1267650600228229401496703205376
is_prime [999983] true
is_prime [999981] false
primes_in_range [0,20] [2,3,5,7,11,13,17,19]
cpu_bound [10000000] 333333283333335000000
sum_range [10000000] 49999995000000
safe_square [5] 25
matmul [3] [3,[3,3]]
echo ["a"] "a"
sleep [0] null
TASKS
}

@test "keyword arguments reach the task" {
    start_poold
    post /v1/apply '{"task":"power","kwargs":{"exp":5,"base":2}}'
    expect 200
    body_is .result 32
    post /v1/apply '{"task":"power","args":[3],"kwargs":{"exp":4}}'
    expect 200
    body_is .result 81
}

@test "a task that is called wrongly raises a TypeError, and the pool lives" {
    start_poold --processes 1
    pid=$(worker_pid 0)
    post /v1/apply '{"task":"square","args":[1,2]}'
    expect 422 task-error
    body_is .exception.type '"TypeError"'
    post /v1/apply '{"task":"square","kwargs":{"nonsense":1}}'
    expect 422 task-error
    body_is .exception.type '"TypeError"'
    [ "$(worker_pid 0)" = "$pid" ]
}

@test "numbers pass through as they were written" {
    start_poold
    for number in 0.1 1e400 -0 1.0 1E5 1234567890123456789012345678901234567890; do
        post /v1/apply "{\"task\":\"echo\",\"args\":[$number]}"
        expect 200
        [ "$(result_text <<<"$BODY")" = "$number" ]
    done
}

@test "text passes through byte for byte" {
    start_poold
    for text in '"Grüße, 世界 🐙"' '"\u00e9\n\"\\\/"' '{"b":1,"a":[{},[],""]}' '"</script>"'; do
        post /v1/apply "{\"task\":\"echo\",\"args\":[$text]}"
        expect 200
        [ "$(result_text <<<"$BODY")" = "$text" ]
    done
}

@test "an integer beyond 128 bits is an OverflowError, never a rounded number" {
    start_poold
    post /v1/apply '{"task":"power","args":[2,126]}'
    expect 200
    [ "$(result_text <<<"$BODY")" = 85070591730234615865843651857942052864 ]
    post /v1/apply '{"task":"power","args":[2,200]}'
    expect 422 task-error
    body_is .exception.type '"OverflowError"'
}

@test "a task's error is told as get() raises it" {
    start_poold
    post /v1/apply '{"task":"safe_square","args":[-4]}'
    expect 422 task-error
    body_is .exception.type '"ValueError"'
    body_is .exception.message '"Negative input not allowed"'
    body_is .item 0
    body_is .attempt 1
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" .state)" = failed ]
    [ "$(field "$job" .successful)" = false ]
    [ "$(field "$job" .error.type)" = /problems/task-error ]
}

@test "apply_async answers 202 with the place of the job, and the result follows" {
    start_poold
    post /v1/apply_async '{"task":"cube","args":[3]}'
    expect 202
    job=$(jq -r .id <<<"$BODY")
    [[ $(header location) == */v1/jobs/$job ]]
    [ "$(result "$job")" = 27 ]
}

@test "a waiting call that outlasts its wait answers 202, and the job goes on" {
    start_poold
    post /v1/apply '{"task":"sleep","args":[0.5]}' -H 'Prefer: wait=0'
    expect 202
    [[ $(header preference-applied) == *wait=0* ]]
    job=$(jq -r .id <<<"$BODY")
    [[ $(header location) == */v1/jobs/$job ]]
    [ "$(result "$job")" = null ]
}

@test "Prefer: respond-async makes a waiting call its async form" {
    start_poold
    post /v1/apply '{"task":"sleep","args":[20]}' -H 'Prefer: respond-async'
    expect 202
    [[ $(header preference-applied) == *respond-async* ]]
    wait_for_state "$(jq -r .id <<<"$BODY")" running
}

@test "one Idempotency-Key makes one job" {
    start_poold
    body='{"task":"square","args":[9]}'
    post /v1/apply_async "$body" -H 'Idempotency-Key: k-1'
    expect 202
    job=$(jq -r .id <<<"$BODY")
    [ -z "$(header idempotent-replayed)" ]
    post /v1/apply_async "$body" -H 'Idempotency-Key: k-1'
    expect 202
    body_is .id "\"$job\""
    [ "$(header idempotent-replayed)" = true ]
    post /v1/apply_async "$body" -H 'Idempotency-Key: k-2'
    expect 202
    [ "$(job_count)" = 2 ]
}

@test "an Idempotency-Key with another body is refused" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[9]}' -H 'Idempotency-Key: k-1'
    expect 202
    post /v1/apply_async '{"task":"square","args":[8]}' -H 'Idempotency-Key: k-1'
    expect 422 idempotency-mismatch
    [ "$(job_count)" = 1 ]
}

@test "sixteen clients at a time each get their own answer" {
    start_poold
    for i in {1..16}; do
        curl -sS --max-time 30 "$URL/v1/apply" -H 'Content-Type: application/json' \
            -d "{\"task\":\"square\",\"args\":[$i]}" -o "$BATS_TEST_TMPDIR/answer.$i" 3>&- &
        clients[i]=$!
    done
    for i in {1..16}; do
        wait "${clients[i]}"
        [ "$(jq .result "$BATS_TEST_TMPDIR/answer.$i")" = $((i * i)) ]
    done
}
