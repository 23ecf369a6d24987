# SPDX-License-Identifier: MIT
# Tasks that say how far they are with the item that they run.
load helpers

# A second or two a billion.
LONG=1000000000000

currents() { sed -n 's/^data: //p' "$BATS_TEST_TMPDIR/events" | jq '.progress.task.current // empty'; }
reports_are() { [ "$(currents | wc -l)" -ge "$1" ]; }

# follow_events ID: into a file, until the test or the job ends.
follow_events() {
    : >"$BATS_TEST_TMPDIR/events"
    curl -sSN --max-time $((PATIENCE + 30)) "$URL/v1/jobs/$1/events" >"$BATS_TEST_TMPDIR/events" 3>&- &
    ALL_PIDS+=("$!")
}

@test "a job shows what its task says of the item that it runs, and null before and after" {
    start_poold --processes 1
    job=$(submit starmap_async '{"task":"primes_in_range","chunksize":1,"items":[[2,3],
        [1099461627776,1099511627776],[1099461627776,1099511627776],[1099461627776,1099511627776],
        [1099461627776,1099511627776],[1099461627776,1099511627776],[1099461627776,1099511627776],
        [1099461627776,1099511627776],[1099461627776,1099511627776],[1099461627776,1099511627776]]}')
    follow "$job" '.progress.task != null'
    body_is '.progress | [.message, .task.total, (.task.item >= 1), (.task.current < .task.total), .total]' \
        '["numbers tested",50000000,true,true,10]'
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    wait_for_state "$job" cancelled
    body_is '.progress | [.message, .task]' '[null,null]'
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    body_is '.progress | [.message, .task]' '[null,null]'
}

@test "events tell how a task gets on, at most twice a second" {
    start_poold --processes 1
    job=$(submit apply_async "{\"task\":\"cpu_bound\",\"args\":[$LONG]}")
    started=$SECONDS
    follow_events "$job"
    eventually reports_are 4
    took=$((SECONDS - started))
    currents >"$BATS_TEST_TMPDIR/currents"
    sort -nu "$BATS_TEST_TMPDIR/currents" | cmp - "$BATS_TEST_TMPDIR/currents" # it rises
    [ "$(wc -l <"$BATS_TEST_TMPDIR/currents")" -le $((2 * took + 3)) ]
    [ "$took" -ge 1 ]
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    eventually grep -q job.cancelled "$BATS_TEST_TMPDIR/events"
    # Only progress says it.
    ! grep -A1 -E '^event: job\.(created|started|cancelled)' "$BATS_TEST_TMPDIR/events" | grep -q '"current"'
}

@test "a long poll sees that a task has got on" {
    start_poold --processes 1
    job=$(submit apply_async "{\"task\":\"cpu_bound\",\"args\":[$LONG],\"durability\":\"memory\"}")
    follow "$job" '.progress.task.current > 0'
    for i in 1 2 3; do
        before=$(jq .progress.task.current <<<"$BODY")
        follow "$job" ".progress.task.current > $before"
    done
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
}

@test "a worker tells at most ten times a second" {
    start_poold --processes 1
    job=$(submit apply_async "{\"task\":\"cpu_bound\",\"args\":[$LONG]}")
    follow "$job" '.progress.task.current > 0'
    start=$(date +%s%N) changes=0
    while [ "$changes" -lt 8 ]; do
        etag=$(header etag)
        http GET "/v1/jobs/$job" -H "If-None-Match: $etag" -H 'Prefer: wait=10'
        expect 200
        changes=$((changes + 1))
    done
    [ $(($(date +%s%N) - start)) -ge 600000000 ]
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
}

@test "what a task has said is not there after a restart, and it says it again" {
    start_poold --processes 1
    job=$(submit apply_async "{\"task\":\"cpu_bound\",\"args\":[$LONG]}")
    follow "$job" '.progress.task.current > 0'
    # The next one to run, so that the other one waits after the restart.
    first=$(submit apply_async '{"task":"sleep","args":[600],"priority":10}')
    restart_poold KILL
    wait_for_state "$first" running
    [ "$(field "$job" '[.state, .progress.message, .progress.task]')" = '["queued",null,null]' ]
    post "/v1/jobs/$first/cancel" '{"terminate":true}' >/dev/null
    follow "$job" '.progress.task.current > 0'
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
}
