# SPDX-License-Identifier: MIT
#
# TLS, and the second listener.
load helpers

# certificate NAME [DAYS]: NAME.pem and NAME.key, for 127.0.0.1, signed by itself.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "${2:-2}" \
        -subj "/CN=$1" -addext subjectAltName=IP:127.0.0.1 \
        -keyout "$BATS_TEST_TMPDIR/$1.key" -out "$BATS_TEST_TMPDIR/$1.pem" 2>/dev/null
}

# start_tls [FLAG...]: with the certificate `use`; every request checks it.
start_tls() {
    certificate one
    use one
    start_poold --tls-cert "$BATS_TEST_TMPDIR/used.pem" --tls-key "$BATS_TEST_TMPDIR/used.key" "$@"
    URL=https://${URL#http://}
    export CURL_CA_BUNDLE=$BATS_TEST_TMPDIR/one.pem
}

use() {
    cp "$BATS_TEST_TMPDIR/$1.pem" "$BATS_TEST_TMPDIR/used.pem"
    cp "$BATS_TEST_TMPDIR/$1.key" "$BATS_TEST_TMPDIR/used.key"
}

# admin METHOD PATH ...: as http, to the second listener.
admin() {
    local URL=$ADMIN
    http "$@"
}

start_two() {
    start_poold --admin-listen 127.0.0.1:0 "$@"
    ADMIN=http://$(sed -n 's/.*administrators have an address.*listen=//p' "$POOLD_STDERR" | tail -1)
}

@test "with a certificate all is TLS, and jobs are run" {
    start_tls
    post /v1/map '{"task":"square","items":[1,2,3]}'
    body_is .result '[1,4,9]'
    # An answer of many pieces, and one over a megabyte.
    post /v1/map "{\"task\":\"square\",\"items\":[$(seq -s, 200000)]}" >/dev/null
    expect 200
    body_is '.result[199999]' 40000000000
    run curl -s --max-time 5 "http://${URL#https://}/healthz"
    [ "$status" != 0 ]
    http GET /healthz
    expect 200
}

@test "TLS below 1.2 is refused" {
    start_tls
    curl -sf --tlsv1.2 --tls-max 1.2 "$URL/healthz"
    curl -sf --tlsv1.3 "$URL/healthz"
    run openssl s_client -connect "${URL#https://}" -tls1_1 -cipher 'ALL:@SECLEVEL=0' </dev/null
    [ "$status" != 0 ]
}

@test "a job that is fed line by line works under TLS, in both directions at once" {
    start_tls
    # The second item is fed when the result of the first one has come.
    run timeout "$PATIENCE" python3 - "${URL#https://}" "$CURL_CA_BUNDLE" <<'PY'
import json, socket, ssl, sys
host, port = sys.argv[1].split(":")
context = ssl.create_default_context(cafile=sys.argv[2])
connection = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
connection.sendall(b"POST /v1/imap HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n")
def feed(line):
    text = (line + "\n").encode()
    connection.sendall(b"%x\r\n%s\r\n" % (len(text), text))
feed('{"task":"square"}')
feed("3")
answer = connection.makefile("rb")
def next_line():
    while True:
        line = answer.readline()
        assert line, "end"
        if line.startswith(b"{"):
            return json.loads(line)
assert answer.readline().startswith(b"HTTP/1.1 200 ")
assert next_line()["result"] == 9
for i in range(2000):
    feed(str(i))
for i in range(2000):
    assert next_line()["result"] == i * i
connection.sendall(b"0\r\n\r\n")
assert next_line()["total"] == 2001
print("well")
PY
    [ "$output" = well ]
}

@test "a fed body of a megabyte and more, and a slow reader, under TLS" {
    start_tls
    (echo '{"task":"square"}'; seq 100000) >"$BATS_TEST_TMPDIR/request"
    curl -sS --max-time "$PATIENCE" --limit-rate 2M -H 'Content-Type: application/x-ndjson' \
        -T "$BATS_TEST_TMPDIR/request" -X POST "$URL/v1/imap" >"$BATS_TEST_TMPDIR/lines"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/lines")" = 100001 ]
    [ "$(tail -1 "$BATS_TEST_TMPDIR/lines" | jq -c '[.state,.total]')" = '["succeeded",100000]' ]
}

@test "a client that leaves is noticed under TLS" {
    start_tls --processes 1
    curl -sS --json '{"task":"sleep","args":[60],"on_disconnect":"cancel"}' "$URL/v1/apply" >/dev/null 3>&- &
    local client=$!
    eventually idle_workers_are 0
    kill "$client"
    eventually idle_workers_are 1
    http GET '/v1/jobs?state=cancelled'
    body_is '.jobs | length' 1
}

@test "a caller that leaves frees its place under TLS" {
    start_tls --processes 1 --max-wait 3600
    curl -sS --json '{"task":"sleep","args":[600]}' "$URL/v1/apply" >/dev/null 3>&- &
    local client=$!
    eventually waiters_are 1
    kill "$client"
    eventually waiters_are 0
    http GET '/v1/jobs?state=cancelled'
    body_is '.jobs | length' 0
}

@test "a client that closes its side under TLS is asked whether it still reads, and gets its answer" {
    start_tls
    "${PYTHON3:-python3}" - "${URL#https://}" "$CURL_CA_BUNDLE" >"$BATS_TEST_TMPDIR/answer" 3>&- <<'PYTHON' &
import socket, ssl, sys
host, port = sys.argv[1].rsplit(":", 1)
context = ssl.create_default_context(cafile=sys.argv[2])
with context.wrap_socket(socket.create_connection((host, int(port)), 60), server_hostname=host) as peer:
    body = b'{"task":"sleep","args":[600]}'
    peer.sendall(b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
    socket.socket(fileno=socket.dup(peer.fileno())).shutdown(socket.SHUT_WR)
    while data := peer.recv(65536):
        print(data.decode(), flush=True)
PYTHON
    local client=$!
    eventually grep -q 'HTTP/1.1 100 Continue' "$BATS_TEST_TMPDIR/answer"
    http GET '/v1/jobs?limit=1'
    post "/v1/jobs/$(jq -r '.jobs[0].id' <<<"$BODY")/cancel" '{"terminate":true}' >/dev/null
    wait "$client"
    grep -q 'HTTP/1.1 409 ' "$BATS_TEST_TMPDIR/answer"
}

@test "SIGHUP has new connections get the new certificate; a broken one changes nothing" {
    start_tls
    certificate two
    http GET /healthz
    expect 200
    use two
    kill -HUP "$POOLD_PID"
    eventually log_has 'new connections get the certificate'
    run curl -s "$URL/healthz"
    [ "$status" = 60 ]
    CURL_CA_BUNDLE=$BATS_TEST_TMPDIR/two.pem
    http GET /healthz
    expect 200
    cp "$BATS_TEST_TMPDIR/one.pem" "$BATS_TEST_TMPDIR/used.pem" # with the key of the other
    kill -HUP "$POOLD_PID"
    eventually log_has 'the certificate stays as it is .*is not the key of the certificate'
    echo nonsense >"$BATS_TEST_TMPDIR/used.pem"
    kill -HUP "$POOLD_PID"
    eventually log_has 'the certificate stays as it is .*is not a certificate in PEM'
    rm "$BATS_TEST_TMPDIR/used.pem"
    kill -HUP "$POOLD_PID"
    eventually log_has 'the certificate stays as it is .*cannot be read'
    http GET /healthz
    expect 200
}

# expiry: what the metrics tell; expiry_of NAME: what a certificate says.
expiry() {
    http GET /metrics
    sed -n 's/^poold_tls_certificate_expiry_timestamp_seconds //p' <<<"$BODY"
}
expiry_of() { date -d "$(openssl x509 -noout -enddate -in "$BATS_TEST_TMPDIR/$1.pem" | cut -d= -f2)" +%s; }

@test "the metrics tell when the certificate in use is over, and nothing without TLS" {
    start_tls
    certificate two 9
    [ "$(expiry)" = "$(expiry_of one)" ]
    use two
    kill -HUP "$POOLD_PID"
    eventually log_has 'new connections get the certificate'
    CURL_CA_BUNDLE=$BATS_TEST_TMPDIR/two.pem
    [ "$(expiry)" = "$(expiry_of two)" ]
    [ "$(expiry_of two)" -gt "$(expiry_of one)" ]
    echo nonsense >"$BATS_TEST_TMPDIR/used.pem"
    kill -HUP "$POOLD_PID"
    eventually log_has 'the certificate stays as it is'
    [ "$(expiry)" = "$(expiry_of two)" ]
    stop_poold
    start_poold
    [ -z "$(expiry)" ]
    http GET /metrics
    [ "$STATUS" = 200 ]
}

@test "a certificate that cannot be used is refused at the start" {
    certificate one
    certificate two
    poold[3]=$(realpath "${poold[3]}")
    cd "$BATS_TEST_TMPDIR"
    try_poold --data d --tls-cert one.pem
    [ "$status" = 78 ]
    [[ $output == *'setting tls_cert needs tls_key'* ]]
    try_poold --data d --tls-cert one.pem --tls-key two.key
    [ "$status" = 78 ]
    [[ $output == *'is not the key'* ]]
    try_poold --data d --tls-cert one.key --tls-key one.key
    [ "$status" = 78 ]
    try_poold --data d --tls-cert no.pem --tls-key one.key
    [[ $output == *'no.pem: cannot be read: No such file'* ]]
}

@test "poold health asks over TLS when the settings say so" {
    start_tls
    eventually is_ready
    POOLD_LISTEN=${URL#https://} POOLD_TLS_CERT=x "${poold[@]}" health
}

@test "administrators have an address of their own" {
    start_two
    eventually is_ready
    for path in /healthz /readyz /v1/info; do
        http GET "$path"
        expect 200
        admin GET "$path"
        expect 200
    done
    http GET /metrics
    expect 404 not-found
    http POST /v1/admin/backup
    expect 404 not-found
    admin GET /v1/jobs
    expect 404 not-found
    admin POST /v1/apply -H 'Content-Type: application/json' -d '{"task":"square","args":[1]}'
    expect 404 not-found
    admin GET /metrics
    expect 200
    grep -q '^poold_connections{listener="admin"} 1$' <<<"$BODY"
    stop_poold
    [ "$POOLD_STATUS" = 0 ]
}

@test "the second listener answers when all connections of the first one are at work" {
    start_two --max-connections 2 --processes 1
    local clients=() i
    for i in 1 2; do
        curl -s -o /dev/null --json '{"task":"sleep","args":[60]}' "$URL/v1/apply" 3>&- &
        clients+=($!)
        ALL_PIDS+=($!)
    done
    full() { admin GET /metrics && grep -q '^poold_waiters 2$' <<<"$BODY"; }
    eventually full
    http GET /v1/jobs
    expect 503
    admin GET /readyz
    expect 200
    kill "${clients[@]}"
}

@test "an address for administrators that others can reach is refused like the first one" {
    try_poold --data "$BATS_TEST_TMPDIR/d" --listen 127.0.0.1:0 --admin-listen 0.0.0.0:0
    [ "$status" = 78 ]
    [[ $output == *admin_listen*'not a loopback address'* ]] || [[ $output == *admin-listen*'not a loopback address'* ]]
}
