# SPDX-License-Identifier: MIT
# Waiting for many jobs at once: concurrent.futures.wait and as_completed.
load helpers

# ids JOB...: {"ids":[…] without the closing brace.
ids() {
    local list
    list=$(printf '"%s",' "$@")
    printf '{"ids":[%s]' "${list%,}"
}

# futures N JSON...: submits each with apply_async and keeps the ids in `jobs`.
futures() {
    jobs=()
    local spec
    for spec in "$@"; do
        jobs+=("$(submit apply_async "$spec")")
    done
}


# ---- wait --------------------------------------------------------------------------------

@test "wait for all answers with all of them, in the order of the ids" {
    start_poold
    futures '{"task":"sleep","args":[0.3]}' '{"task":"square","args":[2]}' \
        '{"task":"safe_square","args":[-1]}'
    post /v1/jobs/wait "$(ids "${jobs[2]}" "${jobs[0]}" "${jobs[1]}" "${jobs[0]}"),\"timeout\":20}"
    expect 200
    body_is '[.done[].id]' "[\"${jobs[2]}\",\"${jobs[0]}\",\"${jobs[1]}\"]"
    body_is '[.done[].state]' '["failed","succeeded","succeeded"]'
    body_is .not_done '[]'
}

@test "wait for the first answers while the others go on" {
    start_poold
    futures '{"task":"sleep","args":[30]}' '{"task":"square","args":[2]}'
    post /v1/jobs/wait "$(ids "${jobs[@]}"),\"return_when\":\"FIRST_COMPLETED\",\"timeout\":20}"
    expect 200
    body_is '[.done[].id]' "[\"${jobs[1]}\"]"
    body_is '[.not_done[].id]' "[\"${jobs[0]}\"]"
    body_is '.not_done[0].ready' false
}

@test "wait for an exception ends with the first failure, not with a success" {
    start_poold --processes 3
    futures '{"task":"sleep","args":[30]}' '{"task":"square","args":[2]}'
    post /v1/jobs/wait "$(ids "${jobs[1]}"),\"timeout\":20}"
    post /v1/jobs/wait "$(ids "${jobs[@]}"),\"return_when\":\"FIRST_EXCEPTION\",\"timeout\":0.2}"
    body_is '[(.done | length), (.not_done | length)]' '[1,1]'
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    post /v1/jobs/wait "$(ids "${jobs[@]}" "$bad"),\"return_when\":\"FIRST_EXCEPTION\",\"timeout\":20}"
    expect 200
    body_is '[(.done | length), (.not_done | length)]' '[2,1]'
}

@test "a cancelled job is no exception" {
    start_poold --processes 1
    futures '{"task":"sleep","args":[0.5]}' '{"task":"square","args":[2],"delay":3600}'
    post "/v1/jobs/${jobs[1]}/cancel" ''
    post /v1/jobs/wait "$(ids "${jobs[@]}"),\"return_when\":\"FIRST_EXCEPTION\",\"timeout\":20}"
    expect 200
    body_is '[.done[].state]' '["succeeded","cancelled"]'
}

@test "wait answers what there is when the time is up, also at once" {
    start_poold
    futures '{"task":"sleep","args":[30]}' '{"task":"square","args":[2]}'
    wait_for_state "${jobs[1]}" succeeded
    post /v1/jobs/wait "$(ids "${jobs[@]}"),\"timeout\":0}"
    expect 200
    body_is '[.done[].id, .not_done[].id]' "[\"${jobs[1]}\",\"${jobs[0]}\"]"
    post /v1/jobs/wait '{"ids":[]}'
    expect 200
    body_is . '{"done":[],"not_done":[]}'
}

@test "without a timeout a wait ends with max_wait" {
    start_poold --max-wait 1
    futures '{"task":"sleep","args":[30]}'
    post /v1/jobs/wait "$(ids "${jobs[@]}")}"
    expect 200
    body_is '[(.done | length), (.not_done | length)]' '[0,1]'
}

@test "unknown ids are pointed at, and nothing is waited for" {
    start_poold
    futures '{"task":"sleep","args":[30]}'
    unknown=0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b
    for path in wait as_completed; do
        post "/v1/jobs/$path" "$(ids "${jobs[0]}" "${jobs[0]}" "$unknown")}"
        expect 422 validation-failed
        body_is '[.errors[].pointer]' '["#/ids/2"]'
        post "/v1/jobs/$path" "$(ids "${jobs[0]}" nonsense)}"
        expect 422 validation-failed
        body_is '[.errors[].pointer]' '["#/ids/1"]'
    done
}

@test "a thousand ids are fine, one more is not, and all of them are one waiter" {
    start_poold --max-waiters 1
    batch=$(jq -nc '[range(1000) | {method:"apply_async",task:"square",args:[.],durability:"memory"}]')
    post /v1/batch "$batch" >/dev/null
    expect 202
    all=$(jq -c '[.jobs[].id]' <<<"$BODY")
    post /v1/jobs/wait "{\"ids\":$all,\"timeout\":30}" >/dev/null
    expect 200
    body_is '[(.done | length), (.not_done | length)]' '[1000,0]'
    post /v1/jobs/wait "$(jq -c '{ids: (. + [.[0]])}' <<<"$all")"
    expect 422 validation-failed
    body_is '[.errors[].pointer]' '["#/ids"]'
}

@test "row 95: one more request than max_waiters does not wait for many jobs" {
    start_poold --max-waiters 1
    futures '{"task":"sleep","args":[30]}'
    curl -sSN "$URL/v1/jobs/${jobs[0]}/result?timeout=30" >/dev/null 2>&1 3>&- &
    client=$!
    eventually refused_wait
    [ -n "$(header retry-after)" ]
    kill "$client"
    wait "$client" || true
}

refused_wait() {
    post /v1/jobs/wait "$(ids "${jobs[0]}"),\"timeout\":0}" >/dev/null
    expect 503 too-many-waiters >/dev/null
}

@test "wait and as_completed refuse what they do not know" {
    start_poold
    for path in wait as_completed; do
        for bad in '{}|#/ids' '{"ids":1}|#/ids' '{"ids":[1]}|#/ids/0' \
            '{"ids":[],"timeout":-1}|#/timeout' '{"ids":[],"timeout":"5"}|#/timeout' \
            '{"ids":[],"timeout":null}|#/timeout' '{"ids":[],"timeout":31536001}|#/timeout' \
            '{"ids":[],"return_when":"NEVER"}|#/return_when' '{"ids":[],"x":1}|#/x'; do
            post "/v1/jobs/$path" "${bad%|*}"
            expect 422 validation-failed
            body_is '[.errors[].pointer]' "[\"${bad#*|}\"]"
        done
        post "/v1/jobs/$path" '[]'
        expect 422 validation-failed
        post "/v1/jobs/$path" '{"ids":['
        expect 400 invalid-json
    done
}

# ---- as_completed --------------------------------------------------------------------------

@test "as_completed gives what is over first, then each job as it ends" {
    start_poold --processes 2
    futures '{"task":"sleep","args":[60]}' '{"task":"sleep","args":[60]}' \
        '{"task":"square","args":[2],"delay":3600}'
    post "/v1/jobs/${jobs[2]}/cancel" '' >/dev/null
    curl -sSN "$URL/v1/jobs/as_completed" -H 'Content-Type: application/json' \
        -D "$BATS_TEST_TMPDIR/stream_headers" -o "$BATS_TEST_TMPDIR/stream" \
        -d "$(ids "${jobs[@]}" "${jobs[2]}"),\"timeout\":60}" 3>&- &
    client=$!
    eventually lines_are 1
    for i in 1 0; do
        wait_for_state "${jobs[i]}" running
        curl -sS "$URL/v1/jobs/${jobs[i]}/cancel" -H 'Content-Type: application/json' \
            -d '{"terminate":true}' >/dev/null
        eventually lines_are $((3 - i))
    done
    wait "$client"
    grep -qi '^content-type: application/x-ndjson' "$BATS_TEST_TMPDIR/stream_headers"
    [ "$(jq -rc '.id // .' "$BATS_TEST_TMPDIR/stream")" = "${jobs[2]}
${jobs[1]}
${jobs[0]}
{\"done\":true,\"total\":3}" ]
}

lines_are() {
    [ "$(wc -l 2>/dev/null <"$BATS_TEST_TMPDIR/stream" || echo 0)" -ge "$1" ]
}

@test "as_completed says what is unfinished when the time is up" {
    start_poold
    futures '{"task":"square","args":[2]}' '{"task":"sleep","args":[30]}'
    wait_for_state "${jobs[0]}" succeeded
    post /v1/jobs/as_completed "$(ids "${jobs[@]}"),\"timeout\":0.2}" >/dev/null
    expect 200
    [ "$(jq -rc '.id // .' <<<"$BODY")" = "${jobs[0]}
{\"done\":false,\"unfinished\":1,\"total\":2}" ]
    post /v1/jobs/as_completed '{"ids":[]}'
    body_is . '{"done":true,"total":0}'
}

@test "a client that leaves as_completed is noticed, and its waiter freed" {
    start_poold --max-waiters 1
    futures '{"task":"sleep","args":[30]}' '{"task":"square","args":[2]}'
    wait_for_state "${jobs[1]}" succeeded
    curl -sSN "$URL/v1/jobs/as_completed" -H 'Content-Type: application/json' \
        -d "$(ids "${jobs[@]}")}" -o "$BATS_TEST_TMPDIR/stream" 2>/dev/null 3>&- &
    client=$!
    eventually test -s "$BATS_TEST_TMPDIR/stream"
    refused_wait
    kill -KILL "$client"
    wait "$client" || true
    eventually accepted_wait
}

accepted_wait() {
    post /v1/jobs/wait "$(ids "${jobs[0]}"),\"timeout\":0}" >/dev/null
    [ "$STATUS" = 200 ]
}

@test "a server that stops ends the streams without a last line" {
    start_poold --drain-timeout 0
    futures '{"task":"sleep","args":[30]}' '{"task":"square","args":[2]}'
    wait_for_state "${jobs[1]}" succeeded
    curl -sSN "$URL/v1/jobs/as_completed" -H 'Content-Type: application/json' \
        -d "$(ids "${jobs[@]}")}" -o "$BATS_TEST_TMPDIR/stream" 2>/dev/null 3>&- &
    client=$!
    eventually test -s "$BATS_TEST_TMPDIR/stream"
    stop_poold
    [ "$POOLD_STATUS" = 0 ]
    wait "$client" || true
    [ "$(jq -r .id "$BATS_TEST_TMPDIR/stream")" = "${jobs[1]}" ]
}

@test "jobs from before a restart are waited for as well" {
    start_poold --processes 1
    futures '{"task":"square","args":[2]}' '{"task":"sleep","args":[1]}'
    wait_for_state "${jobs[0]}" succeeded
    restart_poold KILL
    post /v1/jobs/wait "$(ids "${jobs[@]}"),\"timeout\":20}"
    expect 200
    body_is '[.done[].state]' '["succeeded","succeeded"]'
}
