# SPDX-License-Identifier: MIT
# The end of a job is told to its callback: at least once, signed, through restarts of both sides.
load helpers

# start_receiver: on the port of the last one, if there was one; with TLS if there is a CERTIFICATE.
# Sets RECEIVER_PID and RECEIVER, its address. A secret is made for the test.
start_receiver() {
    SECRET=$BATS_TEST_TMPDIR/secret RECEIVED=$BATS_TEST_TMPDIR/received
    ANSWERS=$BATS_TEST_TMPDIR/answers
    [ -e "$SECRET" ] || echo "whsec_$(head -c 32 /dev/urandom | base64 -w0)" >"$SECRET"
    touch "$RECEIVED" "$ANSWERS"
    rm -f "$BATS_TEST_TMPDIR/port"
    "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/receiver.py" "$BATS_TEST_TMPDIR/port" \
        "${1:-$SECRET}" "$RECEIVED" "$ANSWERS" "${RECEIVER##*:}" ${CERTIFICATE:+"$CERTIFICATE"} \
        </dev/null >/dev/null 2>>"$BATS_TEST_TMPDIR/receiver.err" 3>&- &
    RECEIVER_PID=$!
    ALL_PIDS+=("$RECEIVER_PID")
    eventually [ -e "$BATS_TEST_TMPDIR/port" ] || return 1
    RECEIVER=127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")
}

stop_receiver() {
    kill -KILL "$RECEIVER_PID"
    eventually gone "$RECEIVER_PID"
}

# answer_with LINE...: the next requests, see receiver.py.
answer_with() { printf '%s\n' "$@" >"$ANSWERS"; }

received() { jq -s -c "$1" "$RECEIVED"; }
received_count() { [ "$(received length)" -ge "$1" ]; }

start_with_callbacks() {
    start_poold --callback-allow "$RECEIVER" --callback-secret-file "$SECRET" \
        --callback-backoff 0.001 "$@"
}

# call_back METHOD MEMBERS: submits a job with both callbacks.
call_back() {
    submit "$1" "{$2,\"callback\":\"http://$RECEIVER/done\",\"error_callback\":\"http://$RECEIVER/bad\"}"
}

deliveries() { http GET "/v1/jobs/$1/deliveries"; }
newest_is() {
    deliveries "$1"
    jq -e ".deliveries[0] | $2" <<<"$BODY" >/dev/null
}
delivery_is() { newest_is "$1" ".state == \"$2\""; }

@test "R13 a job that has succeeded calls its callback, once and signed" {
    start_receiver
    start_with_callbacks
    job=$(call_back map_async '"task":"square","items":[1,2],"tags":["a"],"metadata":{"n":0.10}')
    eventually delivery_is "$job" delivered
    [ "$(received length)" = 1 ]
    [ "$(received '.[0]|[.right,.type,.path,.id]')" = "[true,\"application/json\",\"/done\",\"$job-1\"]" ]
    [ "$(received '.[0].message|[.type,.data.id,.data.task,.data.state,.data.tags]')" = \
        "[\"job.succeeded\",\"$job\",\"square\",\"succeeded\",[\"a\"]]" ]
    [ "$(received '.[0].message.data.links')" = "{\"self\":\"/v1/jobs/$job\",\"result\":\"/v1/jobs/$job/result\"}" ]
    received '.[0].text' | grep -qF '\"metadata\":{\"n\":0.10}'
    [ "$(received '.[0].message.timestamp')" = "$(field "$job" '.finished_at|tojson')" ]
    [ "$(field "$job" .links.deliveries)" = "/v1/jobs/$job/deliveries" ]
    deliveries "$job"
    body_is '.deliveries|length' 1
    body_is '.deliveries[0]|[.id,.url,.next_attempt_at]' "[\"$job-1\",\"http://$RECEIVER/done\",null]"
    body_is '.deliveries[0].attempts|map([.status,.error])' '[[200,null]]'
}

@test "R13 jobs that end otherwise call the error callback" {
    start_receiver
    start_with_callbacks --processes 1
    failed=$(call_back apply_async '"task":"safe_square","args":[-1]')
    eventually delivery_is "$failed" delivered
    blocker=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$blocker" running
    cancelled=$(call_back apply_async '"task":"square","args":[1]')
    post "/v1/jobs/$cancelled/cancel" '{}'
    expired=$(call_back apply_async '"task":"square","args":[1],"expires_in":0.01')
    eventually delivery_is "$cancelled" delivered
    eventually delivery_is "$expired" delivered
    [ "$(received 'map(.path)|unique')" = '["/bad"]' ]
    [ "$(received 'map(.message.type)|sort')" = '["job.cancelled","job.expired","job.failed"]' ]
    post "/v1/jobs/$blocker/cancel" '{"terminate":true}'
}

@test "without a callback for its end a job calls nobody" {
    start_receiver
    start_with_callbacks
    job=$(submit apply_async "{\"task\":\"square\",\"args\":[1],\"error_callback\":\"http://$RECEIVER/bad\"}")
    wait_for_state "$job" succeeded
    deliveries "$job"
    body_is .deliveries '[]'
    post "/v1/jobs/$job/redeliver" ''
    expect 404 not-found
    other=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$other" delivered
    [ "$(received length)" = 1 ]
}

@test "a waiting call and a job in memory call back too" {
    start_receiver
    start_with_callbacks
    for durability in relaxed memory; do
        post /v1/apply "{\"task\":\"square\",\"args\":[3],\"durability\":\"$durability\",\"callback\":\"http://$RECEIVER/$durability\"}"
        expect 200
        job=$(jq -r .id <<<"$BODY")
        eventually delivery_is "$job" delivered
        body_is '.deliveries[0].attempts|map(.status)' '[200]'
    done
    [ "$(received 'map([.path,.right])')" = '[["/relaxed",true],["/memory",true]]' ]
    post "/v1/jobs/$job/redeliver" ''
    expect 202
    eventually received_count 3
}

@test "what is refused is sent again, under the same id, until it is taken" {
    start_receiver
    start_with_callbacks
    answer_with 500 503 302\ "http://$RECEIVER/elsewhere" 404
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" delivered
    body_is '.deliveries[0].attempts|map(.status)' '[500,503,302,404,200]'
    [ "$(received 'map(.id)|unique')" = "[\"$job-1\"]" ]
    [ "$(received 'map(.text)|unique|length')" = 1 ]
    # The redirect was not followed.
    [ "$(received 'map([.path,.right])|unique')" = '[["/done",true]]' ]
}

@test "a receiver that is away, and comes back, gets what it has missed" {
    start_receiver
    stop_receiver
    start_with_callbacks
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually newest_is "$job" '.attempts|length >= 2'
    body_is '.deliveries[0]|[.state,.attempts[0].status]' '["pending",null]'
    start_receiver
    eventually delivery_is "$job" delivered
    [ "$(received length)" = 1 ]
}

@test "F13 a clock that was set back delays no delivery" {
    : "${PLUGINS:=$BATS_TEST_DIRNAME/../../build/dev/tests/plugins}"
    start_receiver
    stop_receiver
    own_clock
    start_with_callbacks
    shift_clock 86400
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually newest_is "$job" '.attempts|length >= 2'
    shift_clock 0 # what has to wait now would wait for a day
    start_receiver
    eventually delivery_is "$job" delivered
    [ "$(received length)" = 1 ]
}

@test "a server killed between the end of a job and its delivery delivers after its restart" {
    start_receiver
    start_with_callbacks
    answer_with hang
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually received_count 1
    wait_for_state "$job" succeeded
    delivery_is "$job" pending
    restart_poold KILL
    eventually delivery_is "$job" delivered
    [ "$(received 'map([.id,.right])|unique')" = "[[\"$job-1\",true]]" ]
    [ "$(received length)" = 2 ]
    restart_poold TERM
    delivery_is "$job" delivered
    other=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$other" delivered
    [ "$(received length)" = 3 ]
}

@test "of a hundred ends none stays untold while the server is killed and messages are refused" {
    start_receiver
    start_with_callbacks
    batch=$(jq -nc --arg url "http://$RECEIVER/done" \
        '[range(100) | {method: "apply_async", task: "square", args: [.], callback: $url}]')
    post /v1/batch "$batch" >/dev/null
    expect 202
    mapfile -t ids < <(jq -r '.jobs[].id' <<<"$BODY")
    for kill in {1..4}; do
        answer_with 500 500 500 500 500
        eventually received_count $((kill * 20))
        restart_poold KILL
    done
    for id in "${ids[@]}"; do
        eventually delivery_is "$id" delivered
    done
    ids=$(printf '%s-1\n' "${ids[@]}" | sort)
    [ "$(received 'map(select(.answer == "200").id) | unique[]' | tr -d '"' | sort)" = "$ids" ]
    [ "$(received 'map(.right) | unique')" = '[true]' ]
    refused=$(received 'map(select(.answer == "500")) | length')
    figure G16 "100 ends, 4 kills of the server, $refused refusals: 0 not delivered, $(($(received length) - refused - 100)) delivered twice"
}

@test "SIGTERM does not wait for a receiver that hangs" {
    start_receiver
    start_with_callbacks
    answer_with hang
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually received_count 1
    restart_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    eventually delivery_is "$job" delivered
}

@test "410 ends it, ten refusals end it, and a redelivery begins anew" {
    start_receiver
    start_with_callbacks --callback-backoff 0
    answer_with 410
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" given_up
    body_is '.deliveries[0].attempts|map(.status)' '[410]'
    answer_with 500 500 500 500 500 500 500 500 500 500
    other=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$other" given_up
    body_is '.deliveries[0].attempts|length' 10
    for id in "$job" "$other"; do
        http POST "/v1/jobs/$id/redeliver"
        expect 202
        body_is .state '"pending"'
        eventually delivery_is "$id" delivered
        body_is '.deliveries|length' 1
    done
    body_is '.deliveries[0].attempts|length' 11
    post "/v1/jobs/$job/redeliver" '{"n":1}'
    expect 422 validation-failed
    http POST /v1/jobs/0192c4b6-7d1e-7c3a-9f20-5d0c8f1e2a3b/redeliver
    expect 404 not-found
}

@test "a receiver that does not answer in time is one that has not got it" {
    start_receiver
    start_with_callbacks --callback-timeout 1
    answer_with hang
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" delivered
    body_is '.deliveries[0].attempts|map([.status,(.error|type)])' '[[null,"string"],[200,"null"]]'
}

@test "a long answer is not read to its end" {
    start_receiver
    start_with_callbacks
    answer_with '200 20000000'
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" delivered
    body_is '.deliveries[0].attempts|map(.status)' '[200]'
}

@test "many deliveries at a time all arrive, none twice" {
    start_receiver
    start_with_callbacks
    for i in {1..50}; do
        last=$(call_back apply_async '"task":"square","args":[1]')
    done
    eventually received_count 50
    eventually delivery_is "$last" delivered
    [ "$(received 'map(.id)|unique|length')" = 50 ]
    [ "$(received length)" = 50 ]
}

@test "deliveries go with their job" {
    start_receiver
    start_with_callbacks
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" delivered
    http DELETE "/v1/jobs/$job"
    expect 204
    get "/v1/jobs/$job/deliveries"
    expect 404 not-found
    [ "$(sqlite3 -readonly "$POOLD_DATA_DIR/poold.db" 'SELECT count(*) FROM delivery')" = 0 ]
}

@test "a URL that is not allowed is refused, and nothing is created" {
    start_poold --callback-allow hooks.example.org --callback-allow http://plain.example.org:8000
    for url in 'http://hooks.example.org/' 'https://hooks.example.org:22/' 'https://other.example.org/' \
        'https://user:pass@hooks.example.org/' 'file:///etc/passwd' 'gopher://hooks.example.org/' \
        'http://127.0.0.1/' 'http://[::ffff:10.0.0.1]/' 'http://169.254.169.254/' 'http://0x7f.1/' \
        'https://hooks.example.org.evil.example/' 'https://plain.example.org/' 'hooks.example.org' ''; do
        for member in callback error_callback; do
            post /v1/apply_async "{\"task\":\"square\",\"args\":[1],\"$member\":\"$url\"}"
            expect 422 validation-failed
            body_is '.errors|map(.pointer)' "[\"#/$member\"]"
        done
    done
    [ "$(job_count)" = 0 ]
}

@test "a host that is no longer allowed is not called any more" {
    start_receiver
    stop_receiver
    start_with_callbacks
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually newest_is "$job" '.attempts|length >= 1'
    stop_poold
    start_receiver
    start_poold --callback-backoff 0
    eventually delivery_is "$job" given_up
    body_is '.deliveries[0].attempts[-1].error' '"the URL is no longer allowed"'
    [ "$(received length)" = 0 ]
}

@test "a secret is made once, for its owner alone" {
    start_receiver "$POOLD_DATA_DIR/callback.secret"
    start_poold --callback-allow "$RECEIVER"
    [ "$(stat -c %a "$POOLD_DATA_DIR/callback.secret")" = 600 ]
    log_has "made the secret .*file=$POOLD_DATA_DIR/callback.secret"
    before=$(cat "$POOLD_DATA_DIR/callback.secret")
    restart_poold
    [ "$(cat "$POOLD_DATA_DIR/callback.secret")" = "$before" ]
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" delivered
    [ "$(received 'map(.right)')" = '[true]' ]
    ! log_has "${before#whsec_}"
}

@test "a wrong secret or list is refused at the start" {
    printf 'whsec_c2hvcnQ=\n' >"$BATS_TEST_TMPDIR/short"
    for file in short missing; do
        try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --callback-secret-file "$BATS_TEST_TMPDIR/$file"
        [ "$status" = 78 ]
        [[ $output == *"$BATS_TEST_TMPDIR/$file"* ]]
    done
    try_poold --callback-allow 'a b:0'
    [ "$status" = 78 ]
    try_poold --store memory --callback-allow example.org
    [ "$status" = 78 ]
    [[ $output == *callback_secret_file* ]]
}

@test "the store in memory delivers as well" {
    start_receiver
    start_with_callbacks --store memory
    answer_with 500
    job=$(call_back apply_async '"task":"square","args":[1]')
    eventually delivery_is "$job" delivered
    body_is '.deliveries[0].attempts|map(.status)' '[500,200]'
    http DELETE "/v1/jobs/$job"
    expect 204
}

@test "a job that is retried and ends again calls back again" {
    start_receiver
    start_with_callbacks
    job=$(call_back apply_async '"task":"safe_square","args":[-1]')
    eventually delivery_is "$job" delivered
    http POST "/v1/jobs/$job/retry"
    expect 202
    eventually newest_is "$job" ".id == \"$job-2\" and .state == \"delivered\""
    body_is '.deliveries|map(.state)' '["delivered","delivered"]'
    [ "$(received 'map(.id)')" = "[\"$job-1\",\"$job-2\"]" ]
}

@test "a job that fails, is retried and then succeeds calls one URL and then the other" {
    start_receiver
    start_with_callbacks --processes 1
    job=$(call_back apply_async '"task":"sleep","args":[3],"crash_retries":0')
    wait_for_state "$job" running
    kill -KILL "$(worker_of "$job")"
    eventually delivery_is "$job" delivered
    [ "$(field "$job" .state)" = failed ]
    http POST "/v1/jobs/$job/retry"
    expect 202
    eventually newest_is "$job" ".id == \"$job-2\" and .state == \"delivered\""
    [ "$(received 'map([.path,.message.type,.id])')" = \
        "[[\"/bad\",\"job.failed\",\"$job-1\"],[\"/done\",\"job.succeeded\",\"$job-2\"]]" ]
}

@test "jobs of a batch call back" {
    start_receiver
    start_with_callbacks
    post /v1/batch "[{\"method\":\"apply_async\",\"task\":\"square\",\"args\":[1],\"callback\":\"http://$RECEIVER/a\"},{\"method\":\"map_async\",\"task\":\"square\",\"items\":[],\"callback\":\"http://$RECEIVER/b\"}]"
    expect 202
    eventually received_count 2
    [ "$(received 'map(.path)|sort')" = '["/a","/b"]' ]
    post /v1/batch '[{"method":"apply_async","task":"square","args":[1],"callback":"https://x.example/"}]'
    expect 422 validation-failed
    body_is '.errors|map(.pointer)' '["#/0/callback"]'
}

# certificate NAME SUBJECT_ALT_NAME: one that is its own authority, with its key; prints the file.
certificate() {
    local file=$BATS_TEST_TMPDIR/$1.pem
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj "/CN=$1" -addext "subjectAltName=$2" \
        -keyout "$file.key" -out "$file" 2>>"$BATS_TEST_TMPDIR/openssl.err"
    cat "$file.key" >>"$file"
    echo "$file"
}

call_back_by_tls() {
    submit apply_async "{\"task\":\"square\",\"args\":[1],\"callback\":\"https://$RECEIVER/done\"}"
}

# refused_by_tls ID: attempts came to nothing, for a reason that is told, and nothing arrived.
refused_by_tls() {
    eventually newest_is "$1" '.attempts|length >= 2'
    body_is '.deliveries[0]|[.state,.attempts[0].status]' '["pending",null]'
    body_is '.deliveries[0].attempts[0].error|test("certificate|SSL|TLS|CA")' true
    [ "$(received length)" = 0 ]
}

@test "a callback goes over TLS to a receiver whose certificate is right" {
    CERTIFICATE=$(certificate right IP:127.0.0.1)
    start_receiver
    start_with_callbacks --callback-ca-file "$CERTIFICATE"
    job=$(call_back_by_tls)
    eventually delivery_is "$job" delivered
    [ "$(received 'map([.path,.right])')" = '[["/done",true]]' ]
    deliveries "$job"
    body_is '.deliveries[0]|[.url,(.attempts|map(.status))]' "[\"https://$RECEIVER/done\",[200]]"
}

@test "a certificate of an authority that is not trusted is refused" {
    CERTIFICATE=$(certificate own IP:127.0.0.1)
    other=$(certificate other IP:127.0.0.1)
    start_receiver
    start_with_callbacks --callback-ca-file "$other"
    job=$(call_back_by_tls)
    refused_by_tls "$job"
    stop_poold
    start_with_callbacks # the system does not trust it, either
    other=$(call_back_by_tls)
    refused_by_tls "$other"
    stop_poold
    start_with_callbacks --callback-ca-file "$CERTIFICATE"
    eventually delivery_is "$job" delivered
    eventually delivery_is "$other" delivered
}

@test "a trusted certificate of another host is refused" {
    CERTIFICATE=$(certificate elsewhere DNS:hooks.example.org,IP:127.0.0.2)
    start_receiver
    start_with_callbacks --callback-ca-file "$CERTIFICATE"
    refused_by_tls "$(call_back_by_tls)"
}

@test "a file without certificates is refused at the start" {
    echo nonsense >"$BATS_TEST_TMPDIR/nonsense"
    for file in nonsense missing; do
        try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --callback-ca-file "$BATS_TEST_TMPDIR/$file"
        [ "$status" = 78 ]
        [[ $output == *"$BATS_TEST_TMPDIR/$file"* ]]
    done
}

# Names below .localhost lead to this machine without any server of names (RFC 6761); only
# "localhost" itself is one that the operator means to be here.
@test "an allowed name that leads to an address of this machine is not called" {
    start_receiver
    name=hooks.localhost:${RECEIVER##*:}
    start_poold --callback-allow "http://$name" --callback-secret-file "$SECRET" --callback-backoff 0.001
    job=$(submit apply_async "{\"task\":\"square\",\"args\":[1],\"callback\":\"http://$name/done\"}")
    eventually newest_is "$job" '.attempts|length >= 2'
    body_is '.deliveries[0].attempts|map(.error)|unique' '["the host has an address that is not allowed"]'
    body_is '.deliveries[0].state' '"pending"'
    [ "$(received length)" = 0 ]
    # The same by the name that is allowed to.
    stop_poold
    name=localhost:${RECEIVER##*:}
    start_poold --callback-allow "http://$name" --callback-secret-file "$SECRET" --callback-backoff 0.001
    job=$(submit apply_async "{\"task\":\"square\",\"args\":[1],\"callback\":\"http://$name/done\"}")
    eventually delivery_is "$job" delivered
}
