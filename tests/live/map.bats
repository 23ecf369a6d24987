# SPDX-License-Identifier: MIT
# One task over many items: pool.map and pool.starmap with their _async forms.
load helpers

@test "map answers in input order" {
    start_poold
    post /v1/map '{"task":"square","items":[5,4,3,2,1,0]}'
    expect 200
    body_is .state '"succeeded"'
    body_is .result '[25,16,9,4,1,0]'
}

@test "map keeps the order although later items are done first" {
    start_poold --processes 2
    post /v1/map '{"task":"sleep","items":[0.3,0,0,0.1,0],"chunksize":1}'
    expect 200
    body_is .result '[null,null,null,null,null]'
    job=$(jq -r .id <<<"$BODY")
    get "/v1/jobs/$job/results"
    expect 200
    [ "$(jq -c 'select(.done | not) | .index' <<<"$BODY" | paste -sd,)" = 0,1,2,3,4 ]
}

@test "starmap spreads each item over the positional arguments" {
    start_poold
    post /v1/starmap '{"task":"power","items":[[2,3],[3,2],[10,0]]}'
    expect 200
    body_is .result '[8,9,1]'
}

@test "kwargs are given to every item" {
    start_poold
    post /v1/map '{"task":"power","items":[1,2,3],"kwargs":{"exp":3}}'
    expect 200
    body_is .result '[1,8,27]'
}

@test "the async forms answer 202 and give the same results" {
    start_poold
    job=$(submit map_async '{"task":"cube","items":[1,2,3]}')
    [ "$(result "$job")" = '[1,8,27]' ]
    job=$(submit starmap_async '{"task":"power","items":[[2,5]]}')
    [ "$(result "$job")" = '[32]' ]
}

@test "an empty map has succeeded at once" {
    start_poold
    for method in map starmap; do
        post "/v1/$method" '{"task":"square","items":[]}'
        expect 200
        body_is .state '"succeeded"'
        body_is .result '[]'
    done
    job=$(submit map_async '{"task":"square","items":[]}')
    [ "$(field "$job" .state)" = succeeded ]
    [ "$(field "$job" .progress.total)" = 0 ]
}

@test "every chunksize gives the same result" {
    start_poold
    for chunksize in 1 2 3 7 100; do
        post /v1/map "{\"task\":\"square\",\"items\":[1,2,3,4,5,6,7],\"chunksize\":$chunksize}"
        expect 200
        body_is .result '[1,4,9,16,25,36,49]'
    done
}

@test "items pass through as they were written" {
    start_poold
    items='[0.1,1e400,-0,1234567890123456789012345678901234567890,"\u00fc",{"a":[]},null]'
    post /v1/map "{\"task\":\"echo\",\"items\":$items}"
    expect 200
    [ "$(result_text <<<"$BODY")" = "$items" ]
}

@test "spaces between items are no part of them" {
    start_poold
    post /v1/map $'{ "task" : "square" ,\n "items" : [ 1 ,\t2 , 3 ] }'
    expect 200
    body_is .result '[1,4,9]'
}

@test "a map of 100,000 items is complete" {
    start_poold
    seq -s, 0 99999 | sed 's/.*/{"task":"square","items":[&]}/' >"$BATS_TEST_TMPDIR/big"
    http POST /v1/map -H 'Content-Type: application/json' \
        --data-binary "@$BATS_TEST_TMPDIR/big"
    expect 200
    body_is '.result | length' 100000
    body_is '[.result | to_entries[] | select(.value != .key * .key)]' '[]'
}

@test "sixteen ranges hold the 78,498 primes up to a million" {
    start_poold
    items=$(for i in {0..14}; do printf '[%d,%d],' $((i * 62500)) $(((i + 1) * 62500)); done)
    post /v1/starmap "{\"task\":\"primes_in_range\",\"items\":[${items}[937500,1000001]]}" >/dev/null
    expect 200
    [ "$(jq -c '[.result[][]] | [length, first, last]' <<<"$BODY")" = '[78498,2,999983]' ]
}

@test "a large result of thousands of chunks comes whole, to a slow reader too" {
    start_poold
    jq -nc '{task:"echo",chunksize:1,items:[range(3000)|tostring*300]}' >"$BATS_TEST_TMPDIR/many"
    for rate in 1G 2M; do
        http POST /v1/map -H 'Content-Type: application/json' \
            --data-binary "@$BATS_TEST_TMPDIR/many" --limit-rate "$rate"
        expect 200
        jq -c .result "$BATS_TEST_TMPDIR/body" | cmp - <(jq -c .items "$BATS_TEST_TMPDIR/many")
    done
}

@test "the error of the lowest failed index is the map's, and all other items run" {
    start_poold
    post /v1/map '{"task":"safe_square","items":[1,2,-3,4,-5,6],"chunksize":1}'
    expect 422 task-error
    body_is .item 2
    body_is .exception.type '"ValueError"'
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" '.progress | [.total, .completed, .failed]')" = '[6,4,2]' ]
}

@test "one failed item costs no other item of its chunk" {
    start_poold
    post /v1/map '{"task":"safe_square","items":[1,-2,3,4],"chunksize":4}'
    expect 422 task-error
    job=$(jq -r .job <<<"$BODY")
    get "/v1/jobs/$job/results"
    expect 200
    [ "$(jq -c 'select(has("result")) | [.index, .result]' <<<"$BODY" | paste -sd' ')" = \
        '[0,1] [2,9] [3,16]' ]
    [ "$(jq -c 'select(has("error")) | [.index, .error.type]' <<<"$BODY")" = \
        '[1,"/problems/task-error"]' ]
}

@test "return_exceptions turns failures into values" {
    start_poold
    post /v1/map '{"task":"safe_square","items":[2,-2,3],"return_exceptions":true}'
    expect 200
    body_is .state '"succeeded"'
    body_is '.result[0]' '{"ok":true,"result":4}'
    body_is '.result[1].ok' false
    body_is '.result[1].error.exception.type' '"ValueError"'
    body_is '.result[2]' '{"ok":true,"result":9}'
}

@test "on_error stop starts no further items" {
    start_poold --processes 1
    items=$(printf '0.05,%.0s' {1..200})
    post /v1/map "{\"task\":\"sleep\",\"items\":[\"no\",${items}0],\"chunksize\":1,\"on_error\":\"stop\"}"
    expect 422 task-error
    body_is .item 0
    job=$(jq -r .job <<<"$BODY")
    [ "$(field "$job" .progress.completed)" -lt 100 ]
}

@test "an item that fails is tried again as often as asked for" {
    start_poold
    retries='"retries":2,"retry_backoff":{"initial":0.01,"max":0.02}'
    post /v1/map "{\"task\":\"safe_square\",\"items\":[1,-1],$retries}"
    expect 422 task-error
    body_is .attempt 3
    [ "$(field "$(jq -r .job <<<"$BODY")" .attempt)" = 3 ]
}

@test "maps side by side do not mix" {
    start_poold
    a=$(submit map_async '{"task":"square","items":[1,2,3,4,5,6,7,8,9],"chunksize":1}')
    b=$(submit map_async '{"task":"cube","items":[1,2,3,4,5,6,7,8,9],"chunksize":2}')
    c=$(submit map_async '{"task":"echo","items":["x","y","z"],"chunksize":1}')
    [ "$(result "$a")" = '[1,4,9,16,25,36,49,64,81]' ]
    [ "$(result "$b")" = '[1,8,27,64,125,216,343,512,729]' ]
    [ "$(result "$c")" = '["x","y","z"]' ]
}
