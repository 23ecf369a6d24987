# SPDX-License-Identifier: MIT
# Fetching what a job gave: AsyncResult.get, wait, ready and successful.
load helpers

@test "row 89: a result that is not ready answers 202 and when to ask again, later 200" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[1]}')
    get "/v1/jobs/$job/result?timeout=0"
    expect 202
    body_is .id "\"$job\""
    body_is .ready false
    [ "$(header retry-after)" -ge 1 ]
    get "/v1/jobs/$job/result?timeout=0.2"
    expect 202
    body_is '[.ready, (.state | IN("queued", "running"))]' '[false,true]'
    get "/v1/jobs/$job/result?timeout=20"
    expect 200
    body_is . "{\"id\":\"$job\",\"state\":\"succeeded\",\"result\":null}"
}

@test "waiting for a result ends with the job, not with the time" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[0.3]}')
    begin=$SECONDS
    get "/v1/jobs/$job/result?timeout=50"
    expect 200
    [ $((SECONDS - begin)) -lt 20 ]
}

@test "Prefer: wait on a job is its timeout, and is confirmed" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[0.3]}')
    get "/v1/jobs/$job/result" -H 'Prefer: wait=20'
    expect 200
    [[ $(header preference-applied) == *wait=20* ]]
}

@test "a job can be waited for, whether it succeeds or fails" {
    start_poold
    good=$(submit apply_async '{"task":"sleep","args":[0.2]}')
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    get "/v1/jobs/$good?timeout=20"
    expect 200
    body_is '[.ready, .successful]' '[true,true]'
    get "/v1/jobs/$bad?timeout=20"
    expect 200
    body_is '[.ready, .successful]' '[true,false]'
}

@test "twenty clients that wait for one job all get its result" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[0.7]}')
    for i in {1..20}; do
        curl -sS --max-time 40 "$URL/v1/jobs/$job/result?timeout=30" \
            -o "$BATS_TEST_TMPDIR/answer.$i" 3>&- &
        clients[i]=$!
    done
    for i in {1..20}; do
        wait "${clients[i]}"
        [ "$(jq -r .state "$BATS_TEST_TMPDIR/answer.$i")" = succeeded ]
    done
}

@test "row 90: a failed job's result is its error, each time" {
    start_poold
    job=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    for i in 1 2; do
        get "/v1/jobs/$job/result?timeout=20"
        expect 422 task-error
        body_is .job "\"$job\""
        body_is .exception.message '"Negative input not allowed"'
    done
}

@test "a result has the same bytes on every GET" {
    start_poold
    job=$(submit map_async '{"task":"echo","items":[0.10,{"b":1,"a":2},"\u00e4",1e400]}')
    get "/v1/jobs/$job/result?timeout=20"
    expect 200
    first=$BODY etag=$(header etag)
    get "/v1/jobs/$job/result"
    expect 200
    [ "$BODY" = "$first" ]
    [ "$(header etag)" = "$etag" ]
}

@test "a known ETag is answered 304, without a body" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    get "/v1/jobs/$job/result?timeout=20"
    etag=$(header etag)
    [ -n "$etag" ]
    get "/v1/jobs/$job/result" -H "If-None-Match: $etag"
    expect 304
    [ -z "$BODY" ]
    get "/v1/jobs/$job/result" -H 'If-None-Match: "something-else"'
    expect 200
}

@test "results stream one line an item and a last line that closes them" {
    start_poold
    job=$(submit map_async '{"task":"square","items":[3,4,5]}')
    wait_for_state "$job" succeeded
    get "/v1/jobs/$job/results"
    expect 200
    [ "$(header content-type)" = application/x-ndjson ]
    [ "$(jq -c . <<<"$BODY")" = '{"index":0,"result":9}
{"index":1,"result":16}
{"index":2,"result":25}
{"done":true,"state":"succeeded","total":3}' ]
}

@test "results can be taken up again from an index" {
    start_poold
    job=$(submit map_async '{"task":"square","items":[3,4,5]}')
    wait_for_state "$job" succeeded
    get "/v1/jobs/$job/results?from=2"
    expect 200
    [ "$(jq -c .index <<<"$(head -1 <<<"$BODY")")" = 2 ]
    [ "$(wc -l <<<"$BODY")" = 2 ]
}

@test "the results of a failed job hold what succeeded and what did not" {
    start_poold
    job=$(submit map_async '{"task":"safe_square","items":[1,-1,2]}')
    wait_for_state "$job" failed
    get "/v1/jobs/$job/results"
    expect 200
    [ "$(jq -c '[.index, .result, .error.exception.type, .done]' <<<"$BODY")" = '[0,1,null,null]
[1,null,"ValueError",null]
[2,4,null,null]
[null,null,null,true]' ]
}

@test "the result of an expired job is a conflict" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$blocker" running
    job=$(submit apply_async '{"task":"square","args":[2],"expires_in":0.2}')
    wait_for_state "$job" expired
    get "/v1/jobs/$job/result"
    expect 409 job-expired
}

@test "a forgotten job is unknown" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    http DELETE "/v1/jobs/$job"
    expect 204
    [ -z "$BODY" ]
    for path in "/v1/jobs/$job" "/v1/jobs/$job/result" "/v1/jobs/$job/results"; do
        get "$path"
        expect 404 not-found
    done
    http DELETE "/v1/jobs/$job"
    expect 404 not-found
    [ "$(job_count)" = 0 ]
}

@test "only a finished job can be forgotten" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$job" running
    http DELETE "/v1/jobs/$job"
    expect 409 not-finished
    [ "$(field "$job" .state)" = running ]
}

@test "a result above the limit fails its item, and the worker lives" {
    start_poold --processes 1 --max-result-bytes 100
    pid=$(worker_pid 0)
    post /v1/apply '{"task":"primes_in_range","args":[0,1000]}'
    expect 422 result-too-large
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    [ "$(worker_pid 0)" = "$pid" ]
}
