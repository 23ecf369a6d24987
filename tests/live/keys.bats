# SPDX-License-Identifier: MIT
# API keys: who may do what. Every operation with keys that are not for it is tests/api/walk.py.
load helpers

# new_key NAME SCOPES [FLAG...]: prints it.
new_key() {
    local name=$1 scopes=$2
    shift 2
    "${poold[@]}" key new --data "$POOLD_DATA_DIR" --name "$name" --scopes "$scopes" "$@" 2>/dev/null
}
key() { "${poold[@]}" key "$1" --data "$POOLD_DATA_DIR" "${@:2}"; }

# with KEY COMMAND...: a request with this key.
with() {
    local key=$1 command=$2
    shift 2
    "$command" "$@" -H "Authorization: Bearer $key"
}
status_is() { with "$1" get "$2" >/dev/null && [ "$STATUS" = "$3" ]; }

@test "a stranger without a key can do nothing, one with a key for one task only that" {
    admin=$(new_key root admin)
    start_poold
    "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/../api/walk.py" "$URL" "$admin" >"$BATS_TEST_TMPDIR/walk" || {
        grep -A1 '^not ok' "$BATS_TEST_TMPDIR/walk"
        return 1
    }
    [ "$(grep -c '^ok' "$BATS_TEST_TMPDIR/walk")" -gt 300 ]
}

@test "a key for one task runs that task, within its quota, and reads its result" {
    key=$(new_key ci submit,read --tasks square --tasks 'sl*' --max-queued 2 --max-queued-bytes 100)
    start_poold --processes 1
    with "$key" post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    body_is .result 9
    with "$key" post /v1/apply '{"task":"cube","args":[3]}'
    expect 403 forbidden
    with "$key" post /v1/batch '[{"method":"apply_async","task":"square","args":[1]},{"method":"apply_async","task":"cube","args":[1]}]'
    expect 403 forbidden
    body_is '.errors[0].pointer' '"#/1/task"'
    with "$key" post /v1/apply_async '{"task":"sleep","args":[600]}' -H 'Idempotency-Key: a'
    expect 202
    job=$(jq -r .id <<<"$BODY")
    body_is '.owner | length' 16
    with "$key" post /v1/batch '[{"method":"apply_async","task":"square","args":[1]},{"method":"apply_async","task":"square","args":[1]}]'
    expect 429 quota-exceeded
    with "$key" post /v1/apply_async '{"task":"square","args":[1]}' # behind the first one
    expect 202
    for path in apply apply_async; do
        with "$key" post "/v1/$path" '{"task":"square","args":[1]}'
        expect 429 quota-exceeded
        [ "$(header retry-after)" -ge 1 ]
    done
    # What was sent again still gets the job that it has made.
    with "$key" post /v1/apply_async '{"task":"sleep","args":[600]}' -H 'Idempotency-Key: a'
    expect 202
    body_is .id "\"$job\""
    with "$key" get /v1/info >/dev/null
    body_is '[.key.name, .key.queued]' '["ci",2]'
    with "$key" post "/v1/jobs/$job/cancel" '{"terminate":true}'
    expect 403 forbidden
    with "$key" get "/v1/jobs/$job?timeout=0" >/dev/null
    expect 200
}

@test "bytes of inputs are a quota, too: one less, as many, one more" {
    key=$(new_key ci submit --max-queued-bytes 100)
    start_poold --processes 1
    blocker=$(with "$key" post /v1/apply_async '{"task":"sleep","args":[600]}') # [600]: 5
    [ -n "$blocker" ]
    fill() { printf '{"task":"echo","args":["%s"]}' "$(printf 'x%.0s' $(seq "$1"))"; }
    with "$key" post /v1/apply_async "$(fill 92)" # ["..."]: 96
    expect 429 quota-exceeded
    with "$key" post /v1/apply_async "$(fill 90)" # 94: 99 in all
    expect 202
    with "$key" post /v1/apply_async '[1]'
    expect 422
    with "$key" post /v1/apply_async '{"task":"echo","args":[]}' # 2
    expect 429 quota-exceeded
    [ -n "$(header retry-after)" ]
    key=$(new_key other submit --max-queued-bytes 100)
    eventually quota_fits
    with "$key" post /v1/apply_async '{"task":"echo","args":[]}'
    expect 429 quota-exceeded
}
# A new key holds within a second; its first job is as large as it may be.
quota_fits() {
    with "$key" post /v1/apply_async "$(fill 96)" && [ "$STATUS" = 202 ]
}

@test "jobs, idempotency keys and unique keys are each key's own" {
    one=$(new_key one submit,read,cancel)
    two=$(new_key two submit,read,cancel)
    admin=$(new_key root admin)
    start_poold --processes 1
    body='{"task":"sleep","args":[600],"unique_key":"k","on_conflict":"return"}'
    with "$one" post /v1/apply_async "$body" -H 'Idempotency-Key: a'
    first=$(jq -r .id <<<"$BODY")
    with "$two" post /v1/apply_async "$body" -H 'Idempotency-Key: a'
    expect 202
    second=$(jq -r .id <<<"$BODY")
    [ "$first" != "$second" ]
    with "$one" get /v1/jobs >/dev/null
    body_is '[.jobs[].id]' "[\"$first\"]"
    with "$two" get /v1/jobs >/dev/null
    body_is '[.jobs[].id]' "[\"$second\"]"
    with "$admin" get /v1/jobs >/dev/null
    body_is '.jobs | length' 2
    for job in "$first" 01900000-0000-7000-8000-000000000000; do
        with "$two" get "/v1/jobs/$job?timeout=30" >/dev/null
        expect 404 not-found
        echo "${BODY//$job/ID}" >>"$BATS_TEST_TMPDIR/answers"
    done
    [ "$(sort -u "$BATS_TEST_TMPDIR/answers" | wc -l)" = 1 ]
    # And after a restart, when they are stubs or read from the store.
    restart_poold KILL
    with "$two" get "/v1/jobs/$first" >/dev/null
    expect 404 not-found
    with "$two" http DELETE "/v1/jobs/$first"
    expect 404 not-found
    with "$two" post "/v1/jobs/$first/cancel" '{"terminate":true}'
    expect 404 not-found
    with "$two" post /v1/apply_async "$body" -H 'Idempotency-Key: a'
    [ "$(header idempotent-replayed)" = true ]
    body_is .id "\"$second\""
    with "$admin" post "/v1/jobs/$first/cancel" '{"terminate":true}'
    [[ $STATUS =~ ^20[02]$ ]]
}

@test "row 92: a cursor of another key's list is a place in one's own, and tells nothing" {
    one=$(new_key one submit,read)
    two=$(new_key two submit,read)
    start_poold --processes 1
    for key in "$two" "$one" "$one" "$two"; do
        with "$key" post /v1/apply_async '{"task":"square","args":[3]}' >/dev/null
        jobs+=("$(jq -r .id <<<"$BODY")")
    done
    with "$one" get '/v1/jobs?limit=1' >/dev/null
    cursor=$(jq -r .next_cursor <<<"$BODY")
    [ "$cursor" = "${jobs[2]}" ]
    with "$two" get "/v1/jobs?cursor=$cursor" >/dev/null
    expect 200
    body_is '[.jobs[].id]' "[\"${jobs[0]}\"]"
    # So is an id that no job has.
    with "$two" get "/v1/jobs?cursor=${jobs[2]%?}x" >/dev/null
    expect 400 invalid-parameter
    with "$two" get "/v1/jobs?cursor=ffffffff-ffff-7fff-bfff-ffffffffffff" >/dev/null
    expect 200
    body_is '[.jobs[].id]' "[\"${jobs[3]}\",\"${jobs[0]}\"]"
}

@test "events are of one's own jobs" {
    one=$(new_key one submit,read)
    two=$(new_key two submit,read)
    start_poold
    curl -sSN --max-time 60 "$URL/v1/events" -H "Authorization: Bearer $two" \
        >"$BATS_TEST_TMPDIR/events" 3>&- &
    client=$!
    ALL_PIDS+=("$client")
    eventually grep -q retry "$BATS_TEST_TMPDIR/events"
    with "$one" post /v1/apply '{"task":"square","args":[3]}' >/dev/null
    with "$two" post /v1/apply '{"task":"square","args":[4]}' >/dev/null
    mine=$(jq -r .id <<<"$BODY")
    eventually grep -q 'job.succeeded' "$BATS_TEST_TMPDIR/events"
    kill "$client"
    [ "$(grep -o '"id":"[^"]*"' "$BATS_TEST_TMPDIR/events" | sort -u)" = "\"id\":\"$mine\"" ]
}

@test "row 50: keys are made, rotated and revoked while the server runs, and hold so within a second" {
    admin=$(new_key root admin)
    start_poold
    key=$(new_key late read)
    eventually status_is "$key" /v1/jobs 200
    id=$(key list | awk '/ late / { print $1 }')
    new=$(key rotate late --keep-old 1h 2>/dev/null)
    eventually status_is "$new" /v1/jobs 200
    with "$key" get /v1/jobs >/dev/null
    expect 200
    newer=$(key rotate "$id" 2>/dev/null)
    kill -HUP "$POOLD_PID" # at once
    eventually status_is "$key" /v1/jobs 401
    with "$newer" get /v1/jobs >/dev/null
    expect 200
    key revoke late
    eventually status_is "$newer" /v1/jobs 401
    run key revoke late
    [ "$status" = 1 ]
    # And over HTTP.
    with "$admin" post /v1/admin/keys '{"name":"http","scopes":["read"]}' >/dev/null
    expect 201
    key=$(jq -r .key <<<"$BODY") id=$(jq -r .id <<<"$BODY")
    [ "$(jq -c '[.keys[] | .name]' < <(with "$admin" get /v1/admin/keys))" != '[]' ]
    with "$key" get /v1/jobs >/dev/null
    expect 200
    with "$admin" http DELETE "/v1/admin/keys/$id"
    expect 204
    with "$key" get /v1/jobs >/dev/null
    expect 401 unauthorized
}

@test "row 50: an expired key opens nothing" {
    key=$(new_key short read --expires 1s)
    start_poold
    eventually status_is "$key" /v1/jobs 401
}

@test "row 93: a key with a rate is held to it, and told how much is left" {
    key=$(new_key hasty read --rate 3)
    start_poold
    counts=$(for _ in {1..9}; do
        with "$key" get /v1/tasks/square >/dev/null
        echo "$STATUS $(header ratelimit-policy) $(header ratelimit | cut -d';' -f1-2) $(header retry-after)"
    done)
    head -1 <<<"$counts" | grep -q '^200 "key";q=3;w=1 "key";r=2'
    grep -q '^429 "key";q=3;w=1 "key";r=0 1$' <<<"$counts"
    eventually status_is "$key" /v1/tasks/square 200
}

@test "neither the file, the log nor a listing holds a secret" {
    key=$(new_key ci admin)
    secret=${key:23:64}
    start_poold --log-level debug
    with "$key" get /v1/admin/keys >/dev/null
    expect 200
    [[ $BODY != *$secret* ]]
    with "${key:0:90}00000" get "/v1/jobs?key=$key" >/dev/null
    expect 401
    stop_poold
    ! grep -rq "$secret" "$POOLD_DATA_DIR" "$POOLD_STDERR"
    [ "$(stat -c %a "$POOLD_DATA_DIR/keys.json")" = 600 ]
}

@test "with keys the server may listen everywhere, without it says how to make one" {
    try_poold --listen 0.0.0.0:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 78 ]
    [[ $output == *"poold key new"* ]]
    new_key ci read
    start_poold --listen 0.0.0.0:0
    ! log_has insecure
    URL=http://127.0.0.1:${URL##*:}
    get /v1/jobs >/dev/null
    expect 401 unauthorized
    # When the file goes, nobody gets in: the server stays locked until it is started again.
    rm "$POOLD_DATA_DIR/keys.json"
    eventually log_has 'keys have changed keys=0'
    get /v1/jobs >/dev/null
    expect 401 unauthorized
}

@test "poold key says what is wrong, and prints nothing but the key" {
    run new_key ci read
    [[ $output =~ ^poold_[0-9a-f]{16}_[0-9a-f]{72}$ ]]
    for flags in '--name x' '--scopes read' '--name x --scopes all' '--name x,y --scopes read' \
        '--name x --scopes read --expires soon' '--name x --scopes read --rate -1' \
        '--name x --scopes read --tasks [a]' '--name x --scopes read --colour red'; do
        # shellcheck disable=SC2086 # flags and their values
        run key new $flags
        [ "$status" = 78 ] || { echo "$flags: $status"; return 1; }
    done
    run key new --name ci --scopes read
    [ "$status" = 1 ]
    [[ $output == *"a key named ci"* ]]
    echo '{' >"$POOLD_DATA_DIR/keys.json"
    run key list
    [ "$status" = 1 ]
    [[ $output == *keys.json* ]]
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 65 ]
}

@test "row 3: a server for this machine goes by its own names only, unless it is told others" {
    start_poold
    for host in evil.example localhost.evil.example '127.0.0.1.nip.io:80'; do
        get /v1/jobs -H "Host: $host" >/dev/null
        expect 421 unknown-host
    done
    for host in localhost LOCALHOST:1234 127.0.0.1 '[::1]:80'; do
        get /v1/jobs -H "Host: $host" >/dev/null
        expect 200
    done
    stop_poold
    start_poold --allowed-hosts jobs.example.org --allowed-hosts 127.0.0.1
    get /v1/jobs -H 'Host: jobs.example.org:443' >/dev/null
    expect 200
    get /v1/jobs -H 'Host: localhost' >/dev/null
    expect 421 unknown-host
}

@test "row 58: what changes something comes from the server's own pages only" {
    start_poold
    body='{"task":"square","args":[3]}'
    for origin in http://evil.example null "https://${URL#http://}.evil.example" file://; do
        post /v1/apply "$body" -H "Origin: $origin" >/dev/null
        expect 403 forbidden-origin
    done
    for origin in "$URL" "https://${URL#http://}"; do
        post /v1/apply "$body" -H "Origin: $origin" >/dev/null
        expect 200
    done
    get /v1/jobs -H 'Origin: http://evil.example' >/dev/null
    expect 200
    [ -z "$(header access-control-allow-origin)" ]
}

@test "the log names the key of each request by its id, and never the key" {
    one=$(new_key one submit,read)
    hasty=$(new_key hasty read --rate 1)
    old=$(new_key old submit)
    one_id=$(cut -d_ -f2 <<<"$one")
    key revoke "$(cut -d_ -f2 <<<"$old")"
    start_poold --log-format json --access-log all
    with "$one" post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    with "$one" http DELETE /v1/jobs/01900000-0000-7000-8000-000000000000
    expect 403 forbidden
    printf '{"task":"square"}\n1\n' >"$BATS_TEST_TMPDIR/request"
    with "$one" http POST /v1/imap -H 'Content-Type: application/x-ndjson' -T "$BATS_TEST_TMPDIR/request"
    expect 200
    with "$old" http GET /v1/jobs
    expect 401
    get /v1/jobs >/dev/null
    expect 401
    with "$one" http GET /healthz
    expect 200
    eventually status_is "$hasty" /v1/jobs 429
    stop_poold
    BODY=$(grep '"msg":"request' "$POOLD_STDERR" | jq -s .)
    body_is 'map(select(.key) | [.status, .key]) | unique | map(select(.[0] != 200))' \
        "[[403,\"$one_id\"],[429,\"$(cut -d_ -f2 <<<"$hasty")\"]]"
    body_is 'map(select(.status == 200 and .method == "POST") | .key) | unique' "[\"$one_id\"]"
    body_is 'map(select(.status == 401 or .route == "/healthz") | .key) | unique' '[null]'
    ! grep -e "$(cut -d_ -f3 <<<"$one")" -e "$(cut -d_ -f3 <<<"$old")" "$POOLD_STDERR"
}

@test "rows 67, 68: what is said of keys is JSON like all that clients send" {
    admin=$(new_key root admin)
    start_poold --max-json-depth 4
    id=$(key list | awk '/ root / { print $1 }')
    for path in /v1/admin/keys "/v1/admin/keys/$id/rotate"; do
        with "$admin" post "$path" '{"x":[[[]]]}' # nothing is wrong with the JSON
        expect 422 validation-failed
        with "$admin" post "$path" '{"x":[[[[]]]]}'
        expect 400 json-too-deep
        body_is '.detail | contains("max_json_depth")' true
        for twice in '{"x":1,"y":2,"x":3}' '{"x":{"y":1,"y":2}}'; do
            with "$admin" post "$path" "$twice"
            expect 400 invalid-json
            body_is '.detail | contains("the same member twice")' true
        done
    done
    [ "$(key list | grep -c ' root ')" = 1 ]
}
