# SPDX-License-Identifier: MIT
# Jobs as resources: what is shown of them, listing, order, time.
load helpers

@test "a job shows what was asked for and how far it is" {
    start_poold
    job=$(submit map_async '{"task":"square","items":[1,2,3],"priority":5,"tags":["a","b"],
        "metadata":{"order":17,"x":0.10}}')
    wait_for_state "$job" succeeded
    get "/v1/jobs/$job"
    body_is '[.id, .method, .task, .pool]' "[\"$job\",\"map\",\"square\",\"default\"]"
    body_is '[.state, .ready, .successful]' '["succeeded",true,true]'
    body_is '.progress | [.total, .completed, .failed]' '[3,3,0]'
    body_is '[.priority, .durability, .attempt]' '[5,"durable",1]'
    body_is .tags '["a","b"]'
    body_is .error null
    [[ $BODY == *'"x":0.10'* ]]
    body_is '[.created_at, .started_at, .finished_at
        | test("^20[0-9-]{8}T[0-9:]{8}\\.[0-9]{3}Z$")] | all' true
    body_is '.created_at <= .started_at and .started_at <= .finished_at' true
}

@test "ids are UUIDs of version 7 that rise" {
    start_poold
    last=
    for i in 1 2 3 4 5; do
        job=$(submit apply_async '{"task":"square","args":[1]}')
        [[ $job =~ ^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$ ]]
        [[ $job > $last ]]
        last=$job
    done
}

@test "the links of a job lead to it" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    get "/v1/jobs/$job"
    self=$(jq -r .links.self <<<"$BODY") result=$(jq -r .links.result <<<"$BODY")
    get "$self"
    expect 200
    body_is .id "\"$job\""
    get "$result"
    expect 200
    body_is .result 9
}

@test "a job shows progress while it runs" {
    start_poold --processes 1
    job=$(submit map_async '{"task":"sleep","items":[0,0,0,20],"chunksize":1}')
    follow "$job" '.progress.completed == 3'
    body_is '[.state, .ready, .successful]' '["running",false,null]'
    body_is .finished_at null
}

@test "jobs are listed newest first" {
    start_poold
    a=$(submit apply_async '{"task":"square","args":[1]}')
    b=$(submit apply_async '{"task":"sleep","args":[20]}')
    c=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$a" succeeded
    wait_for_state "$c" succeeded
    get /v1/jobs
    expect 200
    body_is '[.jobs[].id]' "[\"$c\",\"$b\",\"$a\"]"
    body_is .next_cursor null
}

@test "jobs are listed by state, task, pool and tag" {
    start_poold
    a=$(submit apply_async '{"task":"square","args":[1],"tags":["red","blue"]}')
    b=$(submit apply_async '{"task":"safe_square","args":[-1],"tags":["blue"]}')
    c=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$a" succeeded
    wait_for_state "$b" failed
    wait_for_state "$c" running
    while read -r query want; do
        get "/v1/jobs?$query"
        expect 200
        body_is '[.jobs[].id]' "$want"
    done <<QUERIES
state=succeeded ["$a"]
state=failed ["$b"]
state=running ["$c"]
state=cancelled []
task=sleep ["$c"]
tag=blue ["$b","$a"]
tag=red ["$a"]
tag=blue&state=failed ["$b"]
pool=default ["$c","$b","$a"]
QUERIES
}

@test "paging shows every job once, although new ones arrive meanwhile" {
    start_poold
    for i in 1 2 3 4 5; do
        jobs[i]=$(submit apply_async "{\"task\":\"square\",\"args\":[$i]}")
        wait_for_state "${jobs[i]}" succeeded
    done
    get '/v1/jobs?limit=2'
    body_is '[.jobs[].id]' "[\"${jobs[5]}\",\"${jobs[4]}\"]"
    [[ $(header link) == *'rel="next"'* ]]
    submit apply_async '{"task":"square","args":[6]}'
    post /v1/apply '{"task":"square","args":[7]}'
    get "/v1/jobs?limit=2"
    get "/v1/jobs?limit=2&cursor=$(jq -r .next_cursor <<<"$BODY")"
    body_is '[.jobs[].id]' "[\"${jobs[5]}\",\"${jobs[4]}\"]"
    get "/v1/jobs?limit=2&cursor=$(jq -r .next_cursor <<<"$BODY")"
    body_is '[.jobs[].id]' "[\"${jobs[3]}\",\"${jobs[2]}\"]"
    get "/v1/jobs?limit=2&cursor=$(jq -r .next_cursor <<<"$BODY")"
    body_is '[.jobs[].id]' "[\"${jobs[1]}\"]"
    body_is .next_cursor null
}

@test "the link to the next page leads there" {
    start_poold
    for i in 1 2 3; do
        jobs[i]=$(submit apply_async "{\"task\":\"square\",\"args\":[$i]}")
    done
    get '/v1/jobs?limit=2&task=square'
    next=$(header link | sed 's/.*<\([^>]*\)>.*/\1/')
    get "${next#"$URL"}"
    expect 200
    body_is '[.jobs[].id]' "[\"${jobs[1]}\"]"
}

@test "a delayed job waits for its time, then runs" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[4],"delay":0.5}'
    body_is .state '"scheduled"'
    job=$(jq -r .id <<<"$BODY")
    [ "$(result "$job")" = 16 ]
    get "/v1/jobs/$job"
    created=$(date -d "$(jq -r .created_at <<<"$BODY")" +%s%3N)
    started=$(date -d "$(jq -r .started_at <<<"$BODY")" +%s%3N)
    [ $((started - created)) -ge 490 ]
}

@test "larger priority starts first, equal ones in order of arrival" {
    start_poold --processes 1
    blocker=$(submit apply_async '{"task":"sleep","args":[20]}')
    wait_for_state "$blocker" running
    low=$(submit apply_async '{"task":"sleep","args":[0.01],"priority":-1}')
    first=$(submit apply_async '{"task":"sleep","args":[0.01]}')
    second=$(submit apply_async '{"task":"sleep","args":[0.01]}')
    high=$(submit apply_async '{"task":"sleep","args":[0.01],"priority":10}')
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}'
    wait_for_state "$low" succeeded
    get '/v1/jobs?state=succeeded'
    body_is '[.jobs | sort_by(.started_at)[].id]' "[\"$high\",\"$first\",\"$second\",\"$low\"]"
}

@test "row 92: a page holds at most a thousand jobs, however many are asked for" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[1]}')
    for limit in 999 1000 1001 1000000; do
        get "/v1/jobs?limit=$limit"
        expect 200
        body_is '[.jobs[].id]' "[\"$job\"]"
    done
    for wrong in limit=0 limit=-1 limit=x cursor=x "cursor=$job$job"; do
        get "/v1/jobs?$wrong"
        expect 400 invalid-parameter
    done
}
