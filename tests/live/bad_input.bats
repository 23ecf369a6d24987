# SPDX-License-Identifier: MIT
# What is refused says precisely why, and creates nothing.
load helpers

nothing_created() {
    [ "$(job_count)" = 0 ]
}

@test "malformed JSON is refused with the offset of the byte" {
    start_poold
    while IFS='|' read -r offset body; do
        post /v1/map "$body"
        expect 400 invalid-json
        [[ $(jq -r .detail <<<"$BODY") =~ (^|[^0-9])$offset([^0-9]|$) ]]
    done <<'BODIES'
28|{"task":"square","items":[1,,2]}
28|{"task":"square","items":[1,x]}
25|{"task":"square","items":}
2[67]|{"task":"square","items":[01]}
31|{"task":"square","items":[1,2]}}
30|{"task":"square","items":[1,2]
BODIES
    nothing_created
}

@test "what is no JSON at all is refused" {
    start_poold
    for body in '' '   ' 'x' '{' '{"task":"square","items":[NaN]}' '{"task":"square","items":[1],}' \
        "{'task':'square'}" $'\xef\xbb\xbf{"task":"square","items":[1]}' \
        $'{"task":"echo","items":["\xff"]}' '{"task":"echo","items":["\ud800"]}' \
        $'{"task":"echo","items":["\x01"]}' '{"task":"square","task":"cube","items":[1]}'; do
        post /v1/map "$body"
        [ "$STATUS" = 400 ] || expect 422 validation-failed
        [ "$(header content-type)" = application/problem+json ]
    done
    nothing_created
}

@test "an envelope that is no object is refused" {
    start_poold
    for body in 1 '"x"' null '[]' '[{"task":"square","args":[1]}]'; do
        post /v1/apply "$body"
        [[ $STATUS =~ ^4(00|22)$ ]]
        [ "$(header content-type)" = application/problem+json ]
    done
    nothing_created
}

@test "JSON that is nested too deeply is refused" {
    start_poold
    deep=$(printf '[%.0s' {1..70})$(printf ']%.0s' {1..70})
    post /v1/apply "{\"task\":\"echo\",\"args\":$deep}"
    expect 400 json-too-deep
    nothing_created
}

@test "an unknown task is refused" {
    start_poold
    for method in apply map starmap apply_async map_async starmap_async; do
        member=items
        [[ $method != apply* ]] || member=args
        post "/v1/$method" "{\"task\":\"sqare\",\"$member\":[]}"
        expect 422 unknown-task
        body_is '.errors[0].pointer' '"#/task"'
    done
    nothing_created
}

@test "an unknown pool is refused" {
    start_poold
    post /v1/apply '{"task":"square","args":[1],"pool":"nonsense"}'
    expect 422 unknown-pool
    nothing_created
}

@test "an unknown member is refused, and named" {
    start_poold
    post /v1/map '{"task":"square","items":[1],"chunk_size":2}'
    expect 422 validation-failed
    body_is '.errors[0].pointer' '"#/chunk_size"'
    nothing_created
}

@test "an unknown member is let through when the client asks for it" {
    start_poold
    post /v1/map '{"task":"square","items":[1],"chunk_size":2}' -H 'Prefer: handling=lenient'
    expect 200
    [[ $(header preference-applied) == *handling=lenient* ]]
}

@test "a missing member is named" {
    start_poold
    post /v1/apply '{"args":[1]}'
    expect 422 validation-failed
    body_is '.errors[0].pointer' '"#/task"'
    post /v1/map '{"task":"square"}'
    expect 422 validation-failed
    body_is '.errors[0].pointer' '"#/items"'
    nothing_created
}

@test "a member of the wrong type or out of range is named" {
    start_poold
    while read -r method pointer members; do
        post "/v1/$method" "{$members}"
        expect 422 validation-failed
        body_is '.errors[0].pointer' "\"$pointer\""
        body_is '.errors[0].detail | length > 0' true
    done <<'MEMBERS'
apply #/task "task":7
apply #/args "task":"square","args":{}
apply #/args "task":"square","args":"1"
apply #/kwargs "task":"square","args":[1],"kwargs":[]
map #/items "task":"square","items":{}
map #/items "task":"square","items":"123"
map #/items "task":"square","items":null
map #/chunksize "task":"square","items":[1],"chunksize":0
map #/chunksize "task":"square","items":[1],"chunksize":-1
map #/chunksize "task":"square","items":[1],"chunksize":"2"
map #/chunksize "task":"square","items":[1],"chunksize":1.5
map #/on_error "task":"square","items":[1],"on_error":"ignore"
map #/return_exceptions "task":"square","items":[1],"return_exceptions":1
starmap #/items/1 "task":"power","items":[[1,2],3]
apply #/priority "task":"square","args":[1],"priority":101
apply #/priority "task":"square","args":[1],"priority":-101
apply #/time_limit "task":"square","args":[1],"time_limit":-1
apply #/time_limit "task":"square","args":[1],"time_limit":"10"
apply #/retries "task":"square","args":[1],"retries":-1
apply #/crash_retries "task":"square","args":[1],"crash_retries":0.5
apply #/durability "task":"square","args":[1],"durability":"sure"
apply #/unique_key "task":"square","args":[1],"unique_key":"a b"
apply #/unique_key "task":"square","args":[1],"unique_key":7
apply #/on_conflict "task":"square","args":[1],"unique_key":"k","on_conflict":"ignore"
apply #/on_conflict "task":"square","args":[1],"on_conflict":"reject"
apply #/result_ttl "task":"square","args":[1],"result_ttl":-1
apply #/tags "task":"square","args":[1],"tags":"a"
apply #/tags "task":"square","args":[1],"tags":["a",2]
apply #/metadata "task":"square","args":[1],"metadata":[]
apply_async #/delay "task":"square","args":[1],"delay":-1
apply_async #/eta "task":"square","args":[1],"eta":"tomorrow"
MEMBERS
    nothing_created
}

@test "members of another method are refused" {
    start_poold
    post /v1/apply '{"task":"square","items":[1]}'
    expect 422 validation-failed
    body_is '.errors[0].pointer' '"#/items"'
    post /v1/map '{"task":"square","items":[1],"args":[1]}'
    expect 422 validation-failed
    body_is '.errors[0].pointer' '"#/args"'
    nothing_created
}

@test "unknown jobs are not found, whatever is asked of them" {
    start_poold
    for id in 01900000-0000-7000-8000-000000000000 nonsense 1; do
        for path in "" /result /results; do
            get "/v1/jobs/$id$path"
            expect 404 not-found
        done
        post "/v1/jobs/$id/cancel" '{}'
        expect 404 not-found
        http DELETE "/v1/jobs/$id"
        expect 404 not-found
    done
}

@test "unknown paths are not found" {
    start_poold
    for path in / /v1 /v1/nonsense /v1/apply/ /v2/apply /v1/pools/nonsense /problems/nonsense; do
        get "$path"
        [ "$path" = / ] || expect 404 not-found
    done
}

@test "paths that are not normal are refused" {
    start_poold
    for path in /v1/../healthz //healthz /v1/%2e%2e/healthz /v1/jobs/%00 /v1/./jobs; do
        get "$path" --path-as-is
        expect 400 invalid-uri
    done
}

@test "the wrong method is refused, with those that work" {
    start_poold
    get /v1/apply
    expect 405 method-not-allowed
    [[ $(header allow) == *POST* ]]
    http DELETE /v1/jobs
    expect 405 method-not-allowed
    [[ $(header allow) == *GET* ]]
    http PUT /v1/jobs -d x
    [[ $STATUS =~ ^(405|501)$ ]]
    http BREW /v1/jobs
    expect 501 not-implemented
}

@test "a body that is not declared as JSON is refused" {
    start_poold
    body='{"task":"square","args":[1]}'
    for type in text/plain application/jsonx 'application/json; charset=latin1' ''; do
        http POST /v1/apply -H "Content-Type: $type" -d "$body"
        expect 415 unsupported-media-type
    done
    post /v1/apply "$body" -H 'Content-Encoding: gzip'
    expect 415 unsupported-media-type
    nothing_created
    http POST /v1/apply -H 'Content-Type: application/json; charset=UTF-8' -d "$body"
    expect 200
}

@test "a body above the limit is refused, announced or chunked" {
    start_poold --max-body-bytes 1000
    seq -s, 1 1000 | sed 's/.*/{"task":"square","items":[&]}/' >"$BATS_TEST_TMPDIR/big"
    for flag in '' 'Transfer-Encoding: chunked' 'Expect: 100-continue'; do
        http POST /v1/map -H 'Content-Type: application/json' ${flag:+-H "$flag"} \
            --data-binary "@$BATS_TEST_TMPDIR/big"
        expect 413 body-too-large
    done
    nothing_created
    post /v1/map '{"task":"square","items":[1,2]}'
    expect 200
}

@test "too many items and too large items are refused" {
    start_poold --max-items 3 --max-item-bytes 10
    post /v1/map '{"task":"square","items":[1,2,3,4]}'
    expect 413 too-many-items
    post /v1/map '{"task":"echo","items":[1,"12345678901"]}'
    expect 413 item-too-large
    nothing_created
    post /v1/map '{"task":"echo","items":[1,2,"12345678"]}'
    expect 200
}

@test "row 94: more jobs than the limit are refused until one is over" {
    start_poold --processes 1 --max-queued-jobs 2
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    submit apply_async '{"task":"square","args":[1]}'
    post /v1/apply_async '{"task":"square","args":[2]}'
    expect 503 queue-full
    [ "$(header retry-after)" -ge 1 ]
    [ "$(job_count)" = 2 ]
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}'
    wait_for_state "$blocker" cancelled
    post /v1/apply '{"task":"square","args":[2]}'
    expect 200
}

@test "query parameters that make no sense are refused by name" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[1]}')
    while read -r path name; do
        get "${path/ID/$job}"
        expect 400 invalid-parameter
        [[ $(jq -r .detail <<<"$BODY") == *"$name"* ]]
    done <<'QUERIES'
/v1/jobs?limit=0 limit
/v1/jobs?limit=x limit
/v1/jobs?state=nonsense state
/v1/jobs?cursor=nonsense cursor
/v1/jobs?colour=red colour
/v1/jobs/ID?timeout=soon timeout
/v1/jobs/ID?timeout=-1 timeout
/v1/jobs/ID/result?timout=5 timout
/v1/jobs/ID/results?from=-1 from
QUERIES
}
