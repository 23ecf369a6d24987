# SPDX-License-Identifier: MIT
# unique_key: one job at a time.
load helpers

later='"task":"square","args":[3],"delay":3600'
unique='"unique_key":"customer-7"'

@test "a job with a unique_key that is taken is answered with the one that has it" {
    start_poold
    job=$(submit apply_async "{$later,$unique}")
    [ "$(field "$job" .unique_key)" = customer-7 ]
    post /v1/apply_async "{\"task\":\"square\",\"args\":[4],$unique}"
    expect 202
    body_is .id "\"$job\""
    [ "$(header poold-existing)" = true ]
    [ "$(header location)" = "/v1/jobs/$job" ]
    [ "$(job_count)" = 1 ]
}

@test "a waiting call gets the result of the job that has the unique_key" {
    start_poold
    job=$(submit apply_async "{\"task\":\"sleep\",\"args\":[1],$unique}")
    post /v1/apply "{\"task\":\"square\",\"args\":[4],$unique}"
    expect 200
    body_is . "{\"id\":\"$job\",\"state\":\"succeeded\",\"result\":null}"
    [ "$(header poold-existing)" = true ]
}

@test "reject: 409 with the id of the job that has the unique_key" {
    start_poold
    job=$(submit apply_async "{$later,$unique}")
    post /v1/apply_async "{$later,$unique,\"on_conflict\":\"reject\"}"
    expect 409 unique-conflict
    body_is .job "\"$job\""
    [ "$(job_count)" = 1 ]
}

@test "replace: a job that has not started makes room, one that runs does not" {
    start_poold
    old=$(submit apply_async "{$later,$unique}")
    new=$(submit apply_async "{\"task\":\"sleep\",\"args\":[600],$unique,\"on_conflict\":\"replace\"}")
    [ "$new" != "$old" ]
    [ -z "$(header poold-existing)" ]
    wait_for_state "$old" cancelled
    wait_for_state "$new" running
    post /v1/apply_async "{$later,$unique,\"on_conflict\":\"replace\"}"
    expect 409 unique-conflict
    body_is .job "\"$new\""
}

@test "a unique_key is free again when its job is over" {
    start_poold
    first=$(submit apply_async "{\"task\":\"square\",\"args\":[3],$unique,\"on_conflict\":\"reject\"}")
    wait_for_state "$first" succeeded
    second=$(submit apply_async "{\"task\":\"square\",\"args\":[3],$unique,\"on_conflict\":\"reject\"}")
    [ "$first" != "$second" ]
}

@test "a unique_key is still taken after a SIGKILL" {
    start_poold
    job=$(submit apply_async "{$later,$unique}")
    restart_poold KILL
    post /v1/apply_async "{$later,$unique,\"on_conflict\":\"reject\"}"
    expect 409 unique-conflict
    body_is .job "\"$job\""
}

@test "thirty clients at once make one job" {
    start_poold
    for i in {1..30}; do
        curl -sS --max-time 30 -o "$BATS_TEST_TMPDIR/answer.$i" "$URL/v1/apply_async" \
            -H 'Content-Type: application/json' -d "{$later,$unique}" 3>&- &
        clients[i]=$!
    done
    for i in {1..30}; do
        wait "${clients[i]}"
    done
    [ "$(jq -r .id "$BATS_TEST_TMPDIR"/answer.* | sort -u | wc -l)" = 1 ]
    [ "$(job_count)" = 1 ]
}

@test "a request that is sent again gets its own job, whoever has the unique_key now" {
    start_poold
    body="{\"task\":\"square\",\"args\":[3],$unique,\"on_conflict\":\"replace\"}"
    post /v1/apply_async "$body" -H 'Idempotency-Key: k-1'
    expect 202
    first=$(jq -r .id <<<"$BODY")
    wait_for_state "$first" succeeded
    holder=$(submit apply_async "{$later,$unique}")
    post /v1/apply_async "$body" -H 'Idempotency-Key: k-1'
    expect 202
    body_is .id "\"$first\""
    [ "$(header idempotent-replayed)" = true ]
    [ "$(field "$holder" .state)" = scheduled ]
    post /v1/apply_async "$body" -H 'Idempotency-Key: k-2'
    expect 202
    second=$(jq -r .id <<<"$BODY")
    [ "$second" != "$first" ]
    wait_for_state "$holder" cancelled
}

@test "the client that waits for another one's job does not end it by leaving" {
    start_poold
    job=$(submit apply_async "{\"task\":\"sleep\",\"args\":[2],$unique}")
    run curl -sS --max-time 0.5 "$URL/v1/apply" -H 'Content-Type: application/json' \
        -d "{\"task\":\"square\",\"args\":[4],$unique,\"on_disconnect\":\"cancel\"}"
    [ "$status" = 28 ]
    wait_for_state "$job" succeeded
}
