# SPDX-License-Identifier: MIT
#
# /metrics: what it tells is true, in both formats, and what is made of it fits.
load helpers

exposition() { python3 "$BATS_TEST_DIRNAME/exposition.py" "$@"; }

# scrape [TYPE]: sets SAMPLES, a JSON object to a line.
scrape() {
    http GET /metrics -H "Accept: ${1:-text/plain}"
    expect 200 || return 1
    local format=text
    case $(header content-type) in
    application/openmetrics-text*) format=openmetrics ;;
    esac
    SAMPLES=$(exposition "$format" "$BATS_TEST_TMPDIR/body")
}

# metric NAME [JQ CONDITION]: the value, of the one sample there is.
metric() {
    jq -r "select(.name == \"$1\") | select(.labels | ${2:-true}) | .value" <<<"$SAMPLES"
}

# metric_is NAME VALUE [JQ CONDITION]
metric_is() {
    local got
    got=$(metric "$1" "${3:-true}")
    [ "$got" = "$2" ] || [ "$got" = "$2.0" ] && return 0
    echo "$1 is $got instead of $2"
    return 1
}

metric_becomes() { scrape && metric_is "$@" >/dev/null; }

@test "metrics come in the format that is asked for, and both are sound" {
    start_poold
    post /v1/map '{"task":"square","items":[1,2,3]}'
    get /nowhere >/dev/null
    scrape
    [ "$(header content-type)" = 'text/plain; version=0.0.4; charset=utf-8' ]
    [ "$(header vary)" = Accept ]
    scrape 'application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
    [ "$(header content-type)" = 'application/openmetrics-text; version=1.0.0; charset=utf-8' ]
    scrape 'text/plain;version=0.0.4, application/openmetrics-text;q=0.2'
    [ "$(header content-type)" = 'text/plain; version=0.0.4; charset=utf-8' ]
    http GET '/metrics?x=1'
    expect 400 invalid-parameter
}

@test "promtool finds nothing wrong" {
    local promtool=$BATS_TEST_DIRNAME/../../build/tools/promtool
    [ -x "$promtool" ] || skip "there is no promtool: scripts/get-promtool"
    start_poold
    post /v1/map '{"task":"safe_square","items":[1,-2,3]}'
    http GET /metrics
    "$promtool" check metrics <"$BATS_TEST_TMPDIR/body"
    "$promtool" check rules "$BATS_TEST_DIRNAME/../../docs/alerts.yml"
}

@test "what the dashboard and the alerts ask for is there" {
    start_poold
    http GET /metrics
    exposition uses "$BATS_TEST_TMPDIR/body" "$BATS_TEST_DIRNAME/../../docs/alerts.yml" \
        "$BATS_TEST_DIRNAME/../../docs/grafana-dashboard.json"
}

@test "jobs, attempts and requests are counted" {
    start_poold
    post /v1/map '{"task":"square","items":[1,2,3]}'
    post /v1/apply '{"task":"square","args":[1]}'
    post /v1/map '{"task":"safe_square","items":[1,-2,3]}'
    expect 422
    http GET /v1/jobs/nonsense
    scrape
    metric_is poold_jobs_submitted_total 1 '.task == "square" and .method == "map"'
    metric_is poold_jobs_submitted_total 1 '.task == "square" and .method == "apply"'
    metric_is poold_jobs_submitted_total 1 '.task == "safe_square"'
    metric_is poold_jobs_finished_total 2 '.state == "succeeded"'
    metric_is poold_jobs_finished_total 1 '.state == "failed"'
    metric_is poold_attempts_total 6 '.outcome == "succeeded"'
    metric_is poold_attempts_total 1 '.outcome == "raised"'
    metric_is poold_job_wait_seconds_count 3
    metric_is poold_job_run_seconds_count 3
    metric_is poold_http_requests_total 1 '.route == "/v1/map" and .code == "422"'
    metric_is poold_http_requests_total 1 '.route == "/v1/jobs/{id}" and .code == "404"'
    metric_is poold_http_request_duration_seconds_count 2 '.route == "/v1/map"'
    metric_is poold_ready 1
}

@test "what was refused is counted by why, from 0 on" {
    start_poold --processes 1 --max-items 2 --max-item-bytes 20
    scrape
    metric_is poold_http_problems_total 0 '.problem == "too-many-items"'
    [ "$(grep -c '^poold_http_problems_total' "$BATS_TEST_TMPDIR/body")" -gt 50 ]
    for try in 1 2; do
        post /v1/map '{"task":"square","items":[1,2,3]}'
        expect 413 too-many-items
    done
    post /v1/map '{"task":"square","items":[123456789012345678901]}'
    expect 413 item-too-large
    post /v1/apply '{"task":"no_such_task","args":[1]}'
    post /v1/apply 'nonsense'
    http GET /nowhere
    http PATCH /healthz
    expect 405
    http GET /healthz -H 'Host: elsewhere' # refused before it is handled
    # A job that fails is none, and neither is one that was fed what cannot be read.
    post /v1/map '{"task":"safe_square","items":[-1]}'
    expect 422 task-error
    http POST /v1/imap -H 'Content-Type: application/x-ndjson' --data-binary $'{"task":"square"}\n1\nx\n'
    expect 200
    [[ $BODY == *'/problems/input-incomplete'* ]]
    scrape
    for problem in too-many-items:2 item-too-large:1 unknown-task:1 invalid-json:1 not-found:1 \
        method-not-allowed:1 unknown-host:1 queue-full:0; do
        metric_is poold_http_problems_total "${problem#*:}" ".problem == \"${problem%:*}\""
    done
    ! grep -Eq 'problem="(task-error|input-incomplete)"' "$BATS_TEST_TMPDIR/body"
}

@test "a name that no task has makes no label" {
    start_poold
    post /v1/apply '{"task":"no_such_task","args":[1]}'
    expect 422
    http GET "/v1/$(printf 'x%.0s' {1..200})"
    scrape
    ! grep -q 'no_such_task\|xxxx' <<<"$SAMPLES"
    metric_is poold_http_requests_total 1 '.route == "(none)" and .code == "404"'
}

@test "jobs that wait, run and are scheduled are told apart" {
    start_poold --processes 1
    running=$(submit apply_async '{"task":"sleep","args":[60]}')
    wait_for_state "$running" running
    for i in 1 2 3; do submit apply_async '{"task":"square","args":[1]}' >/dev/null; done
    submit apply_async '{"task":"square","args":[1],"delay":600}' >/dev/null
    scrape
    metric_is poold_jobs 1 '.state == "running"'
    metric_is poold_jobs 3 '.state == "queued"'
    metric_is poold_jobs 1 '.state == "scheduled"'
    metric_is poold_queue_jobs 3
    metric_is poold_workers 1 '.state == "busy"'
    metric_is poold_pool_processes 1
    metric_is poold_state_mismatch 0
    [ "$(metric poold_queue_oldest_seconds)" != 0.0 ]
    [ "$(metric poold_workers_processes)" != 0.0 ]
    [ "$(metric poold_workers_resident_bytes)" != 0.0 ]
    post "/v1/jobs/$running/cancel" '{"terminate":true}'
    follow "$running" '.state == "cancelled"'
    eventually metric_becomes poold_queue_jobs 0
    metric_is poold_jobs 0 '.state == "running"'
    metric_is poold_attempts_total 1 '.outcome == "terminated"'
    metric_is poold_worker_exits_total 1 '.cause == "terminated"'
    metric_is poold_queue_oldest_seconds 0
}

@test "a queue longer than memory is counted all the same, also after a restart" {
    start_poold --processes 1 --queue-window 2
    running=$(submit apply_async '{"task":"sleep","args":[60]}')
    wait_for_state "$running" running
    for i in 1 2 3 4 5 6; do submit apply_async '{"task":"square","args":[1]}' >/dev/null; done
    submit apply_async '{"task":"square","args":[1],"delay":600}' >/dev/null
    eventually metric_becomes poold_jobs 6 '.state == "queued"'
    metric_is poold_jobs 1 '.state == "scheduled"'
    restart_poold KILL
    eventually metric_becomes poold_jobs 6 '.state == "queued"'
    metric_is poold_jobs 1 '.state == "scheduled"'
    metric_is poold_jobs_submitted_total "" '.task == "square"'
}

@test "jobs and workers agree while workers die and jobs are cancelled" {
    start_poold --processes 2
    for i in 1 2 3 4; do
        job=$(submit map_async '{"task":"sleep","items":[0.01,0.2,0.01,0.2,0.01,0.2],"chunksize":2,"crash_retries":10}')
        follow "$job" '.state == "running"'
        kill -KILL "$(worker_pid 0)" 2>/dev/null || true
        scrape
        metric_is poold_state_mismatch 0
        post "/v1/jobs/$job/cancel" '{"terminate":true}'
        scrape
        metric_is poold_state_mismatch 0
    done
    eventually metric_becomes poold_jobs 0 '.state == "running"'
    [ "$(metric poold_worker_exits_total '.cause == "signal"')" != 0.0 ]
}

@test "every setting with a number is told by /v1/info and by poold_limit" {
    start_poold --max-waiters 7 --drain-timeout 2.5 --max-finished-bytes 0
    get /v1/info
    body_is '.limits | [.max_waiters, .drain_timeout, .max_finished_bytes, .max_items]' '[7,2.5,null,10000000]'
    told=$(jq -c '.limits | with_entries(.value //= 0)' <<<"$BODY")
    scrape
    while read -r name value; do
        metric_is poold_limit "$value" ".setting == \"$name\""
    done < <(jq -r 'to_entries[] | "\(.key) \(.value)"' <<<"$told")
    # The help has a number and a range for each of them, and for no other.
    in_help=$("${poold[@]}" serve --help | awk '
        /^  --/ { name = substr($1, 3); gsub("-", "_", name) }
        /Default: [0-9.]+ \([0-9.]+ to/ { print name }' | sort)
    [ "$(wc -l <<<"$in_help")" -ge 30 ]
    [ "$(jq -r 'keys[]' <<<"$told" | sort)" = "$in_help" ]
}

@test "commits and files of the store are told" {
    start_poold
    submit apply_async '{"task":"square","args":[1]}' >/dev/null
    scrape
    [ "$(metric poold_commit_seconds_count)" != 0.0 ]
    [ "$(metric poold_commit_commands_count)" = "$(metric poold_commit_seconds_count)" ]
    [ "$(metric poold_database_bytes)" != 0.0 ]
    metric_is poold_store_writable 1
    metric_is poold_limit 512 '.setting == "max_waiters"'
    [ "$(metric process_open_fds)" != 0.0 ]
}
