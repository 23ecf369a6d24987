# SPDX-License-Identifier: MIT
# A queue that is longer than what is held of it in memory (queue_window).
load helpers

# 300 jobs of five priorities behind one that runs. Sets IDS, in the order in which they came, and
# BLOCKER.
fill_queue() {
    BLOCKER=$(submit apply_async '{"task":"sleep","args":[600],"priority":100}')
    wait_for_state "$BLOCKER" running
    post /v1/batch "$(jq -nc '[range(300) | {method: "apply_async", task: "echo", args: [.],
        priority: (. * 7 % 5 - 2), tags: ["n\(.)"]}]')" >/dev/null
    expect 202
    mapfile -t IDS < <(jq -r '.jobs[].id' <<<"$BODY")
    [ "${#IDS[@]}" = 300 ]
}

# started N: the ids of the N jobs that have started, in that order.
started() {
    local seconds ids
    # The stream has no end of its own: all that is kept comes at once, or a little later.
    for seconds in 2 8 "$PATIENCE"; do
        ids=$(curl -sSN --max-time "$seconds" "$URL/v1/events?last_event_id=0" 2>/dev/null |
            grep -A1 '^event: job.started' | sed -n 's/^data: //p' | jq -r .id)
        [ "$(wc -l <<<"$ids")" -lt "$1" ] || break
    done
    echo "$ids"
}

# In the order in which they have to run: larger priority first, and then as they came.
by_priority() {
    for priority in 2 1 0 -1 -2; do
        for i in "${!IDS[@]}"; do
            [ $((i * 7 % 5 - 2)) != "$priority" ] || echo "${IDS[i]}"
        done
    done
}

queue_length() {
    http GET /v1/pools/default
    jq .queue_length <<<"$BODY"
}
queue_is_empty() { [ "$(queue_length)" = 0 ]; }

@test "jobs beyond the window run in the same order, through a restart" {
    start_poold --processes 1 --queue-window 10
    fill_queue
    [ "$(queue_length)" = 300 ]
    # What is done to jobs that are not in memory.
    post "/v1/jobs/${IDS[290]}/cancel" ''
    expect 200
    body_is .state '"cancelled"'
    [ "$(queue_length)" = 299 ]
    http DELETE "/v1/jobs/${IDS[291]}"
    expect 409 not-finished
    http DELETE "/v1/jobs/${IDS[290]}"
    expect 204
    restart_poold KILL
    wait_for_state "$BLOCKER" running
    [ "$(queue_length)" = 299 ]
    post "/v1/jobs/${IDS[123]}/cancel" ''
    expect 200
    [ "$(field "${IDS[200]}" '[.state, .tags[0]]')" = '["queued","n200"]' ]
    post "/v1/jobs/$BLOCKER/cancel" '{"terminate":true}'
    expect 202
    for i in 0 150 299; do
        wait_for_state "${IDS[i]}" succeeded
        [ "$(result "${IDS[i]}")" = "$i" ]
    done
    eventually queue_is_empty
    by_priority | grep -vx -e "${IDS[290]}" -e "${IDS[123]}" >"$BATS_TEST_TMPDIR/expected"
    started 299 | grep -vx "$BLOCKER" >"$BATS_TEST_TMPDIR/started"
    diff "$BATS_TEST_TMPDIR/expected" "$BATS_TEST_TMPDIR/started"
}

@test "a job that is not in memory can be waited for, alone and with others" {
    start_poold --processes 1 --queue-window 10
    fill_queue
    http GET "/v1/jobs/${IDS[250]}?timeout=0.05"
    expect 200
    body_is .state '"queued"'
    etag=$(header etag)
    http GET "/v1/jobs/${IDS[250]}?timeout=0.05" -H "If-None-Match: $etag"
    expect 304
    # In the background: a wait for the end, for one of two, as they end, a stream.
    local at=$BATS_TEST_TMPDIR
    curl -sS --max-time 60 "$URL/v1/jobs/${IDS[250]}/result?timeout=30" >"$at/one" 3>&- &
    local one=$!
    curl -sS --max-time 60 "$URL/v1/jobs/wait" --json \
        "{\"ids\":[\"${IDS[251]}\",\"${IDS[252]}\"],\"return_when\":\"ALL_COMPLETED\",\"timeout\":30}" \
        >"$at/two" 3>&- &
    local two=$!
    curl -sSN --max-time 60 "$URL/v1/jobs/as_completed" --json \
        "{\"ids\":[\"${IDS[253]}\",\"${IDS[254]}\"],\"timeout\":30}" >"$at/three" 3>&- &
    local three=$!
    curl -sSN --max-time 60 "$URL/v1/jobs/${IDS[255]}/results?follow=true" >"$at/four" 3>&- &
    local four=$!
    curl -sSN --max-time 60 "$URL/v1/jobs/${IDS[256]}/events" >"$at/five" 3>&- &
    local five=$!
    ALL_PIDS+=("$one" "$two" "$three" "$four" "$five")
    post "/v1/jobs/$BLOCKER/cancel" '{"terminate":true}'
    expect 202
    wait "$one" "$two" "$three" "$four" "$five"
    [ "$(jq -c .result "$at/one")" = 250 ]
    [ "$(jq -c '[.done[].state]' "$at/two")" = '["succeeded","succeeded"]' ]
    [ "$(jq -c '.state // .done' "$at/three" | sort | uniq -c | tr -s ' ')" = \
        "$(printf ' 2 "succeeded"\n 1 true')" ]
    [ "$(head -1 "$at/four")" = '{"index":0,"result":255}' ]
    [ "$(grep -c '"done":true' "$at/four")" = 1 ]
    grep -q '^event: job.succeeded' "$at/five"
}

@test "jobs that are not in memory are listed as they are" {
    start_poold --processes 1 --queue-window 10
    fill_queue
    local scheduled
    scheduled=$(submit apply_async '{"task":"echo","args":[1],"delay":0.2,"priority":-9}')
    follow "$scheduled" '.state == "queued"'
    [ "$(job_count)" = 302 ]
    http GET "/v1/jobs?state=queued&limit=1000"
    [ "$(jq '.jobs | length' <<<"$BODY")" = 301 ]
    [ "$(jq -r '.jobs[0].id' <<<"$BODY")" = "$scheduled" ]
    http GET "/v1/jobs?state=running"
    [ "$(jq -r '[.jobs[].id] | join(" ")' <<<"$BODY")" = "$BLOCKER" ]
    http GET "/v1/jobs?state=scheduled"
    body_is .jobs '[]'
    http GET "/v1/jobs?tag=n222"
    body_is '[.jobs[].id]' "[\"${IDS[222]}\"]"
    # In pages, each job once.
    local seen=0 cursor=
    while :; do
        http GET "/v1/jobs?limit=7$cursor"
        seen=$((seen + $(jq '.jobs | length' <<<"$BODY")))
        [ "$(jq -r .next_cursor <<<"$BODY")" != null ] || break
        cursor="&cursor=$(jq -r .next_cursor <<<"$BODY")"
    done
    [ "$seen" = 302 ]
}

@test "a job that is not in memory expires, starts and is unique as any other" {
    start_poold --processes 1 --queue-window 10
    fill_queue
    local expires unique='"task":"echo","args":[7],"unique_key":"customer-7","priority":-9'
    expires=$(submit apply_async '{"task":"echo","args":[1],"expires_in":0.2,"priority":-9}')
    first=$(submit apply_async "{$unique}")
    [ "$(submit apply_async "{$unique}")" = "$first" ]
    [ "$(header poold-existing)" = true ]
    post /v1/apply_async "{$unique,\"on_conflict\":\"reject\"}"
    expect 409 unique-conflict
    body_is .job "\"$first\""
    second=$(submit apply_async "{$unique,\"on_conflict\":\"replace\"}")
    wait_for_state "$first" cancelled
    wait_for_state "$expires" expired
    post /v1/apply_async '{"task":"echo","args":[8]}' -H 'Idempotency-Key: k-1'
    expect 202
    keyed=$(jq -r .id <<<"$BODY")
    post /v1/apply_async '{"task":"echo","args":[8]}' -H 'Idempotency-Key: k-1'
    expect 202
    body_is .id "\"$keyed\""
    restart_poold
    [ "$(submit apply_async "{$unique}")" = "$second" ]
    post "/v1/jobs/$BLOCKER/cancel" '{"terminate":true}'
    wait_for_state "$second" succeeded
}

@test "a pool that is terminated cancels what is not in memory" {
    start_poold --processes 1 --queue-window 10
    fill_queue
    local scheduled
    scheduled=$(submit apply_async '{"task":"echo","args":[1],"delay":3600}')
    post /v1/pools/default/terminate ''
    expect 200
    wait_for_state "${IDS[299]}" cancelled
    wait_for_state "$scheduled" cancelled
    eventually queue_is_empty
    http GET "/v1/jobs?state=cancelled&limit=1000"
    [ "$(jq '.jobs | length' <<<"$BODY")" = 302 ]
}

@test "large inputs are held up to queue_window_bytes, and all jobs run" {
    start_poold --processes 2 --queue-window-bytes 1000000
    BLOCKER=$(submit apply_async '{"task":"sleep","args":[600],"priority":100}')
    wait_for_state "$BLOCKER" running
    printf '{"task":"echo","args":["%s"]}' "$(head -c 400000 /dev/zero | tr '\0' x)" \
        >"$BATS_TEST_TMPDIR/large"
    local ids=()
    for _ in {1..12}; do
        http POST /v1/apply_async -H 'Content-Type: application/json' \
            --data-binary "@$BATS_TEST_TMPDIR/large"
        expect 202
        ids+=("$(jq -r .id <<<"$BODY")")
    done
    for id in "${ids[@]}"; do
        wait_for_state "$id" succeeded
    done
}
