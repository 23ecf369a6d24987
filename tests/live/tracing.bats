# SPDX-License-Identifier: MIT
#
# A job belongs to the trace of the request that made it; and where the time of a call went.
load helpers

TRACE=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
STATE=rojo=00f067aa0ba902b7,fw529a3039@dt=FfffeLe

@test "a job keeps the traceparent of its request, also over a kill" {
    start_poold --processes 1
    post /v1/apply_async '{"task":"sleep","args":[60]}' -H "traceparent: $TRACE" >/dev/null
    expect 202
    body_is .traceparent "\"$TRACE\""
    job=$(jq -r .id <<<"$BODY")
    restart_poold KILL
    http GET "/v1/jobs/$job"
    body_is .traceparent "\"$TRACE\""
    post /v1/batch '[{"method":"apply_async","task":"square","args":[1]}]' -H "Traceparent: $TRACE" >/dev/null
    body_is '.jobs[0].traceparent' "\"$TRACE\""
}

@test "a job keeps the tracestate of its request, also while only the store has it" {
    start_poold --processes 1 --queue-window 1
    local busy jobs=() i
    busy=$(submit apply_async '{"task":"sleep","args":[60]}')
    wait_for_state "$busy" running
    for i in 1 2 3; do
        post /v1/apply_async '{"task":"square","args":[1]}' -H "traceparent: $TRACE" -H "tracestate: $STATE" >/dev/null
        expect 202
        body_is .tracestate "\"$STATE\""
        jobs+=("$(jq -r .id <<<"$BODY")")
    done
    for i in "${jobs[@]}"; do
        get "/v1/jobs/$i"
        body_is '[.traceparent, .tracestate]' "[\"$TRACE\",\"$STATE\"]"
    done
    restart_poold KILL
    post "/v1/jobs/$busy/cancel" '{"terminate":true}'
    for i in "${jobs[@]}"; do
        [ "$(result "$i")" = 1 ]
        get "/v1/jobs/$i"
        body_is '[.state, .traceparent, .tracestate]' "[\"succeeded\",\"$TRACE\",\"$STATE\"]"
    done
    post /v1/batch '[{"method":"apply_async","task":"square","args":[1]}]' -H "traceparent: $TRACE" -H "Tracestate: $STATE" >/dev/null
    body_is '.jobs[0].tracestate' "\"$STATE\""
}

@test "headers of a tracestate are joined in their order, and its longest members go if it is too long" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[1]}' -H "tracestate: b=1 , c=2" -H "traceparent: $TRACE" \
        -H "X-Between: x" -H "TraceState;" -H "tracestate: a=\"\\" >/dev/null
    body_is .tracestate '"b=1,c=2,a=\"\\"'
    local long short
    long=$(printf 'x%.0s' {1..200}) short=$(printf 'y%.0s' {1..100})
    post /v1/apply_async '{"task":"square","args":[1]}' -H "traceparent: $TRACE" \
        -H "tracestate: a=$short,b=$long,c=$short,d=$short,e=$short" >/dev/null
    body_is .tracestate "\"a=$short,c=$short,d=$short,e=$short\""
    post /v1/apply_async '{"task":"square","args":[1]}' -H "traceparent: $TRACE" \
        -H "tracestate: a=$short,c=$short,d=$short,e=$short,f=$short" >/dev/null
    body_is .tracestate "\"a=$short,c=$short,d=$short,e=$short\""
}

@test "a tracestate that is not valid, or comes without a traceparent, is ignored" {
    start_poold
    local bad
    for bad in nonsense "a=1,B=2" "a=1,b=c=d" "$(printf 'k%d=v,' {1..32})more=v" $'a=1,\xc3\xa4=2'; do
        post /v1/apply_async '{"task":"square","args":[1]}' -H "traceparent: $TRACE" -H "tracestate: $bad" >/dev/null
        expect 202
        body_is '[.traceparent, has("tracestate")]' "[\"$TRACE\",false]"
    done
    for bad in "X-Nothing: x" "traceparent: nonsense"; do
        post /v1/apply_async '{"task":"square","args":[1]}' -H "$bad" -H "tracestate: $STATE" >/dev/null
        expect 202
        body_is '[has("traceparent"), has("tracestate")]' '[false,false]'
    done
}

# One task of each kind that tells its trace.
offer_traced() {
    TASKS=$BATS_TEST_TMPDIR/tasks
    mkdir "$TASKS"
    cp "$PLUGINS/traced.so" "$TASKS/"
    cat >"$TASKS/python.py" <<'PY'
import os
def traced(x): return os.environ.get("TRACEPARENT")
def stated(x): return os.environ.get("TRACESTATE")
PY
    cat >"$TASKS/once.json" <<'JSON'
{"name": "once", "mode": "oneshot",
 "command": ["sh", "-c", "if [ \"$TRACEPARENT\" ]; then echo \"$TRACEPARENT\"; else echo null; fi"]}
JSON
    cat >"$TASKS/lasting.json" <<'JSON'
{"name": "lasting", "mode": "persistent",
 "command": ["jq", "--unbuffered", "-c", "{id, result: .traceparent}"]}
JSON
    cat >"$TASKS/once_stated.json" <<'JSON'
{"name": "once_stated", "mode": "oneshot", "command": ["jq", "-n", "$ENV.TRACESTATE"]}
JSON
    cat >"$TASKS/lasting_stated.json" <<'JSON'
{"name": "lasting_stated", "mode": "persistent",
 "command": ["jq", "--unbuffered", "-c", "{id, result: .tracestate}"]}
JSON
}

@test "a task of each kind is told the trace of its job, if it has one" {
    offer_traced
    # That which the server was started in is none of its jobs.
    export TRACEPARENT=00-11111111111111111111111111111111-2222222222222222-01
    start_poold --processes 1 --tasks "$TASKS" --python "${PYTHON3:-/usr/bin/python3}"
    post /v1/pools '{"name":"fresh","processes":1,"start_method":"spawn"}' >/dev/null
    expect 201
    for pool in default fresh; do
        for task in traced python:traced once lasting; do
            post /v1/map "{\"task\":\"$task\",\"items\":[1,2,3],\"chunksize\":2,\"pool\":\"$pool\"}" \
                -H "traceparent: $TRACE"
            body_is .result "[\"$TRACE\",\"$TRACE\",\"$TRACE\"]"
            post /v1/apply "{\"task\":\"$task\",\"args\":[1],\"pool\":\"$pool\"}"
            body_is '[.state, .result]' '["succeeded",null]'
        done
    done
}

@test "a task of each kind is told the tracestate of its job, if it has one" {
    offer_traced
    export TRACESTATE=of=the-server
    start_poold --processes 1 --tasks "$TASKS" --python "${PYTHON3:-/usr/bin/python3}"
    post /v1/pools '{"name":"fresh","processes":1,"start_method":"spawn"}' >/dev/null
    expect 201
    local state="$STATE,a=\"\\ ;b"
    for pool in default fresh; do
        for task in stated python:stated once_stated lasting_stated; do
            post /v1/map "{\"task\":\"$task\",\"items\":[1,2,3],\"chunksize\":2,\"pool\":\"$pool\"}" \
                -H "traceparent: $TRACE" -H "tracestate: $state"
            body_is .result "$(jq -nc --arg state "$state" '[$state, $state, $state]')"
            post /v1/apply "{\"task\":\"$task\",\"args\":[1],\"pool\":\"$pool\"}" -H "traceparent: $TRACE"
            body_is '[.state, .result]' '["succeeded",null]'
        done
        post /v1/apply "{\"task\":\"python:traced\",\"args\":[1],\"pool\":\"$pool\"}" \
            -H "traceparent: $TRACE" -H "tracestate: $state"
        body_is .result "\"$TRACE\""
    done
    # Of a job whose items come behind it.
    http POST /v1/imap -H 'Content-Type: application/x-ndjson' --data-binary $'{"task":"stated"}\n1\n' \
        -H "traceparent: $TRACE" -H "tracestate: $STATE"
    [ "$(head -n 1 <<<"$BODY")" = "{\"index\":0,\"result\":\"$STATE\"}" ]
    # The longest that is kept.
    state=a=$(printf 'x%.0s' {1..253}),b=$(printf 'y%.0s' {1..254})
    [ "${#state}" = 512 ]
    for task in stated python:stated once_stated lasting_stated; do
        post /v1/apply "{\"task\":\"$task\",\"args\":[1]}" -H "traceparent: $TRACE" -H "tracestate: $state"
        body_is .result "\"$state\""
    done
}

@test "a task is told the trace of its job after a kill, and when it is tried again" {
    offer_traced
    cat >"$TASKS/failing.json" <<'JSON'
{"name": "failing", "mode": "oneshot",
 "command": ["sh", "-c", "echo \"$TRACEPARENT $TRACESTATE\" >>told; [ \"$(wc -l <told)\" = 2 ]"]}
JSON
    start_poold --processes 1 --queue-window 2 --tasks "$TASKS" --python "${PYTHON3:-/usr/bin/python3}"
    local busy jobs=() states=() task
    busy=$(submit apply_async '{"task":"sleep","args":[60]}')
    for task in traced python:traced once lasting; do
        post /v1/apply_async "{\"task\":\"$task\",\"args\":[1]}" -H "traceparent: $TRACE" >/dev/null
        jobs+=("$(jq -r .id <<<"$BODY")")
    done
    for task in stated python:stated once_stated lasting_stated; do
        post /v1/apply_async "{\"task\":\"$task\",\"args\":[1]}" -H "traceparent: $TRACE" -H "tracestate: $STATE" >/dev/null
        states+=("$(jq -r .id <<<"$BODY")")
    done
    wait_for_state "$busy" running
    restart_poold KILL
    post "/v1/jobs/$busy/cancel" '{"terminate":true}'
    for task in "${jobs[@]}"; do
        [ "$(result "$task")" = "\"$TRACE\"" ]
    done
    for task in "${states[@]}"; do
        [ "$(result "$task")" = "\"$STATE\"" ]
    done
    post /v1/apply '{"task":"failing","args":[1],"retries":1,"retry_backoff":{"initial":0}}' \
        -H "traceparent: $TRACE" -H "tracestate: $STATE"
    expect 200
    [ "$(sort -u "$TASKS/told")" = "$TRACE $STATE" ]
}

@test "a traceparent that is not valid is ignored" {
    start_poold
    for bad in nonsense "${TRACE^^}" "ff${TRACE#00}" "$TRACE-x" "00-$(printf '0%.0s' {1..32})-b7ad6b7169203331-01"; do
        post /v1/apply_async '{"task":"square","args":[1]}' -H "traceparent: $bad" >/dev/null
        expect 202
        body_is 'has("traceparent")' false
    done
}

@test "a callback carries traceparent and tracestate, as headers and in its message" {
    # A receiver that keeps what it gets, and says that it is well.
    "${PYTHON3:-python3}" - "$BATS_TEST_TMPDIR/port" "$BATS_TEST_TMPDIR/got" <<'PY' 3>&- &
import http.server, json, os, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with open(sys.argv[2] + ".new", "w") as file:
            json.dump([[self.headers[name], body["data"].get(name)] for name in ("traceparent", "tracestate")], file)
        os.rename(sys.argv[2] + ".new", sys.argv[2])
        self.send_response(204)
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
PY
    local receiver=$! port
    ALL_PIDS+=("$receiver")
    eventually test -e "$BATS_TEST_TMPDIR/port"
    port=$(cat "$BATS_TEST_TMPDIR/port")
    start_poold --callback-allow "http://127.0.0.1:$port"
    # The same text in what the client may say changes nothing.
    post /v1/apply_async "{\"task\":\"square\",\"args\":[1],\"callback\":\"http://127.0.0.1:$port/\",\"metadata\":{\"traceparent\":\"x\"}}" \
        -H "traceparent: $TRACE" >/dev/null
    eventually test -e "$BATS_TEST_TMPDIR/got"
    [ "$(cat "$BATS_TEST_TMPDIR/got")" = "[[\"$TRACE\", \"$TRACE\"], [null, null]]" ]
    rm "$BATS_TEST_TMPDIR/got"
    post /v1/apply_async "{\"task\":\"square\",\"args\":[1],\"callback\":\"http://127.0.0.1:$port/\",\"metadata\":{\"tracestate\":\"x\"}}" \
        -H "traceparent: $TRACE" -H "tracestate: $STATE,a=\"\\" >/dev/null
    eventually test -e "$BATS_TEST_TMPDIR/got"
    [ "$(jq -c . "$BATS_TEST_TMPDIR/got")" = "$(jq -nc --arg trace "$TRACE" --arg state "$STATE,a=\"\\" '[[$trace, $trace], [$state, $state]]')" ]
    rm "$BATS_TEST_TMPDIR/got"
    post /v1/apply_async "{\"task\":\"square\",\"args\":[1],\"callback\":\"http://127.0.0.1:$port/\",\"metadata\":{\"traceparent\":\"$TRACE\"}}" >/dev/null
    eventually test -e "$BATS_TEST_TMPDIR/got"
    [ "$(cat "$BATS_TEST_TMPDIR/got")" = '[[null, null], [null, null]]' ]
}

@test "a call that waits is told what its time went into" {
    start_poold
    post /v1/apply '{"task":"sleep","args":[0.2]}' >/dev/null
    expect 200
    local timing number='([0-9]+)\.[0-9]{3}'
    timing=$(header server-timing)
    [[ $timing =~ ^queue\;dur=$number,\ run\;dur=$number,\ commit\;dur=$number$ ]]
    [ "${BASH_REMATCH[2]}" -ge 200 ]
    post /v1/apply '{"task":"sleep","args":[0.01],"durability":"durable"}' >/dev/null
    [[ $(header server-timing) =~ ^queue\;dur=$number,\ run\;dur=$number,\ commit\;dur=$number$ ]]
}
