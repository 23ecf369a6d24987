# SPDX-License-Identifier: MIT
# What is kept of jobs that are over: results for a time, then the job for a time. The server
# lets go of what is old at its start and once a minute; these tests start it.
load helpers

# SQL on the database of a server that has stopped.
sql() { sqlite3 "$POOLD_DATA_DIR/poold.db" "$1"; }

answers() {
    http GET "$1"
    [ "$STATUS" = "$2" ]
}

# The ids of N finished jobs, in the order in which they ended.
finish() {
    local i
    for ((i = 0; i < $1; i++)); do
        post /v1/apply '{"task":"square","args":[3],"durability":"durable"}' >/dev/null
        expect 200 || return 1
        jq -r .id <<<"$BODY"
    done
}

old_jobs_gone() { log_has 'old jobs were let go'; }

@test "row 88: after result_ttl the result is gone and the job is known, with its Idempotency-Key" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[9],"result_ttl":0}' -H 'Idempotency-Key: k'
    expect 202
    job=$(jq -r .id <<<"$BODY")
    wait_for_state "$job" succeeded
    restart_poold
    eventually old_jobs_gone
    get "/v1/jobs/$job"
    expect 200
    body_is .state '"succeeded"'
    for path in result results; do
        get "/v1/jobs/$job/$path"
        expect 410 result-gone
    done
    post /v1/apply_async '{"task":"square","args":[9],"result_ttl":0}' -H 'Idempotency-Key: k'
    expect 202
    body_is .id "\"$job\""
    [ "$(header idempotent-replayed)" = true ]
    post /v1/apply_async '{"task":"square","args":[9],"result_ttl":0}' \
        -H 'Idempotency-Key: k' -H 'Prefer: wait=5'
    expect 410 result-gone
    [ "$(job_count)" = 1 ]
    stop_poold
    [ "$(sql 'SELECT count(*) FROM outcome')" = 0 ]
    [ "$(sql 'SELECT count(*) FROM job WHERE result IS NOT NULL')" = 0 ]
    [ "$(sql 'SELECT count(*) FROM job WHERE body IS NULL')" = 1 ]
}

@test "the setting result_ttl is for jobs that say nothing" {
    start_poold --result-ttl 0
    job=$(finish 1)
    get "/v1/jobs/$job/result"
    expect 410 result-gone
    post /v1/apply '{"task":"square","args":[3],"result_ttl":60}'
    job=$(jq -r .id <<<"$BODY")
    [ "$(result "$job")" = 9 ]
}

@test "row 88: after job_ttl the job is not known any more" {
    start_poold --job-ttl 86400
    job=$(finish 1)
    stop_poold
    sql 'UPDATE job SET finished_at_ms = finished_at_ms - 86400001'
    start_poold --job-ttl 86400
    eventually answers "/v1/jobs/$job" 404
    expect 404 not-found
}

@test "more than max_finished_jobs: those that ended first are forgotten, at once" {
    start_poold --max-finished-jobs 3
    readarray -t jobs < <(finish 8)
    restart_poold
    eventually answers "/v1/jobs/${jobs[4]}" 404
    for job in "${jobs[@]:0:5}"; do
        get "/v1/jobs/$job"
        expect 404 not-found
    done
    for job in "${jobs[@]:5}"; do
        [ "$(result "$job")" = 9 ]
    done
}

@test "more than max_finished_bytes: the results of those that ended first go" {
    start_poold --max-finished-bytes 1000
    big="{\"task\":\"echo\",\"args\":[\"$(printf 'x%.0s' {1..300})\"]}"
    for i in 1 2 3; do
        jobs[i]=$(submit apply_async "$big")
        wait_for_state "${jobs[i]}" succeeded
    done
    restart_poold
    eventually answers "/v1/jobs/${jobs[2]}/result" 410
    body_is '.detail | test("max_finished_bytes")' true
    get "/v1/jobs/${jobs[3]}/result"
    expect 200
    get "/v1/jobs/${jobs[1]}"
    expect 200
}

@test "many old jobs go in batches, and the server answers meanwhile" {
    start_poold
    finish 1 >/dev/null
    stop_poold
    sql "CREATE TEMP TABLE copy AS
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            SELECT job.* FROM job, n;
        UPDATE copy SET key = key - rowid, id = randomblob(16), result_ttl_ms = 0;
        INSERT INTO job SELECT * FROM copy;
        UPDATE tally SET finished_jobs = 2001,
            finished_bytes = (SELECT sum(kept_bytes) FROM job)"
    start_poold
    post /v1/apply '{"task":"square","args":[3],"durability":"durable"}'
    expect 200
    eventually log_has 'old jobs were let go.* by_age=2000 '
    stop_poold
    [ "$(sql 'SELECT count(*) FROM job WHERE gone = 1')" = 2000 ]
    [ "$(sql 'SELECT finished_bytes = (SELECT sum(kept_bytes) FROM job) FROM tally')" = 1 ]
}

@test "a job of durability memory loses its result after its time, not its name" {
    start_poold
    post /v1/apply '{"task":"square","args":[6],"durability":"memory","result_ttl":0}'
    expect 200
    body_is .result 36
    job=$(jq -r .id <<<"$BODY")
    get "/v1/jobs/$job/result"
    expect 410 result-gone
    get "/v1/jobs/$job"
    expect 200
    body_is .state '"succeeded"'
}
