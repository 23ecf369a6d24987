# SPDX-License-Identifier: MIT
#
# The server's log: a line an event, whatever a client sends, and nothing that is not to be there.
load helpers

# raw BYTES: sends them, with the escapes of printf, and reads until the server closes.
raw() {
    printf "$1" | timeout "$PATIENCE" python3 -c '
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass
' "${URL#http://}"
}

# requests: the lines of the log about requests.
requests() { grep -a '"msg":"request' "$POOLD_STDERR"; }

request_lines_are() { [ "$(requests | wc -l)" = "$1" ]; }

@test "a request has a line, with its job and the id that its answer carries" {
    start_poold --log-format json --access-log all
    post /v1/apply '{"task":"square","args":[12]}' -H 'X-Request-Id: abc-123' >/dev/null
    [ "$(header x-request-id)" = abc-123 ]
    eventually request_lines_are 1
    BODY=$(requests)
    body_is '[.request_id,.client,.method,.route,.path,.status,.bytes_in]' \
        '["abc-123","127.0.0.1","POST","/v1/apply","/v1/apply",200,29]'
    body_is .job "\"$(jq -r .id "$BATS_TEST_TMPDIR/body")\""
    body_is .bytes_out "$(wc -c <"$BATS_TEST_TMPDIR/body")"
    body_is '.duration_ms > 0 and .duration_ms < 30000' true
}

@test "an id that is not harmless is not taken, and one is made" {
    start_poold --log-format json --access-log all
    http GET /healthz -H 'X-Request-Id: a b'
    made=$(header x-request-id)
    [[ $made =~ ^[0-9a-f]{16}$ ]]
    http GET /nowhere
    [[ $(header x-request-id) =~ ^[0-9a-f]{16}$ ]]
    [ "$(header x-request-id)" != "$made" ]
    raw 'BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n'
    eventually request_lines_are 3
    [ "$(requests | jq -s 'map(.request_id) | unique | length')" = 3 ]
}

@test "a request that is fed has its line and its id, too" {
    start_poold --log-format json --access-log all
    printf '{"task":"square"}\n1\n2\n' >"$BATS_TEST_TMPDIR/request"
    http POST /v1/imap -H 'Content-Type: application/x-ndjson' -H 'X-Request-Id: fed' \
        -T "$BATS_TEST_TMPDIR/request"
    expect 200
    [ "$(header x-request-id)" = fed ]
    eventually request_lines_are 1
    BODY=$(requests)
    body_is '[.request_id,.route,.status,.bytes_in]' '["fed","/v1/imap",200,22]'
    body_is '.bytes_out > 50 and (.job | length) == 36' true
}

@test "by default only requests that fail have lines, with off none has" {
    start_poold --log-format json
    http GET /healthz
    http GET /nowhere
    http GET /healthz
    eventually request_lines_are 1
    BODY=$(requests)
    body_is '[.status,.route,.path]' '[404,null,"/nowhere"]'
    stop_poold
    : >"$POOLD_STDERR"
    start_poold --log-format json --access-log off
    http GET /nowhere
    stop_poold
    request_lines_are 0
}

@test "a client that leaves has a line without a status" {
    start_poold --log-format json
    python3 - "${URL#http://}" <<'PY'
import socket, struct, sys
host, port = sys.argv[1].rsplit(":", 1)
connection = socket.create_connection((host, int(port)))
connection.sendall(b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                   b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n")
assert b" 100 " in connection.recv(100)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
connection.close()  # with a reset
PY
    eventually request_lines_are 1
    BODY=$(requests)
    body_is '[.msg,.status,.route]' '["request without an answer",null,"/v1/apply"]'
}

@test "CR, LF and ESC in whatever a client can set end no line and steer no terminal" {
    local evil='\\r\\n\\u001b[2J' format
    for format in text json; do
        : >"$POOLD_STDERR"
        start_poold --log-format "$format" --access-log all --log-level debug
        post /v1/apply "{\"task\":\"a$evil\",\"args\":[1]}" >/dev/null
        post /v1/apply "{\"task\":\"square\",\"args\":[\"$evil\"],\"kwargs\":{\"$evil\":1},\"tags\":{\"a\":\"$evil\"},\"metadata\":\"$evil\",\"pool\":\"$evil\",\"unique_key\":\"$evil\"}" >/dev/null
        post /v1/apply "{\"task\":\"square\",\"args\":[\"$evil\"],\"tags\":{\"a\":\"$evil\"},\"metadata\":\"$evil\"}" >/dev/null
        post /v1/pools "{\"name\":\"$evil\"}" >/dev/null
        raw 'GET /a\033[2J?b=\033[2J HTTP/1.1\r\nHost: localhost\r\n\r\n'
        raw 'GET /%%0d%%0a%%1b[2J?%%0d%%0a=%%1b[2J HTTP/1.1\r\nHost: localhost\r\n\r\n'
        raw 'G\033[2JT / HTTP/1.1\r\nHost: localhost\r\n\r\n'
        raw 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\033[2J\r\n\r\n'
        raw 'GET / HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\033[2J\r\nTraceparent: \033\r\n\r\n'
        raw 'GET / HTTP/1.1\r\nHost: localhost\r\nX\033: a\rb\r\n\r\n'
        raw 'GET /\r\033 HTTP/1.1\r\nHost: localhost\r\n\r\n'
        raw '\033[2J\r\n\r\n'
        stop_poold
        ! grep -aP '[\x00-\x09\x0b-\x1f\x7f]' "$POOLD_STDERR"
        if [ "$format" = json ]; then
            jq -e '.time and .level and .msg' "$POOLD_STDERR" >/dev/null
        else
            ! grep -avP '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error) ' "$POOLD_STDERR"
        fi
    done
}

@test "bodies, headers, queries and secrets are not in the log" {
    printf 'whsec_%s' "$(printf 'SECRETSECRETSECRETSECRETSECRET!!' | base64)" >"$BATS_TEST_TMPDIR/secret"
    start_poold --access-log all --log-level debug --callback-allow http://127.0.0.1:1 \
        --callback-secret-file "$BATS_TEST_TMPDIR/secret"
    post '/v1/apply' '{"task":"square","args":["BODYBODY"],"error_callback":"http://127.0.0.1:1/CALLBACKPATH"}' \
        -H 'Authorization: Bearer KEYKEY' -H 'Cookie: COOKIECOOKIE' -H 'Idempotency-Key: IDEMIDEM' >/dev/null
    http GET '/v1/jobs?tag=QUERYQUERY'
    post '/v1/apply' '{"task":"echo","args":["BODYBODY"' -H 'Authorization: Bearer KEYKEY' >/dev/null
    eventually log_has 'callback not delivered'
    stop_poold
    ! grep -aE 'BODYBODY|KEYKEY|COOKIE|IDEMIDEM|QUERYQUERY|SECRET|whsec' "$POOLD_STDERR"
}

@test "a log that nobody reads holds up nobody, and what was dropped is told" {
    local reader lines
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    exec 7<>"$BATS_TEST_TMPDIR/pipe" # holds it open; nobody reads
    "${poold[@]}" serve --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --processes 1 \
        --log-format json --access-log all </dev/null >/dev/null 2>"$BATS_TEST_TMPDIR/pipe" 3>&- 7>&- &
    POOLD_PID=$!
    ALL_PIDS+=("$POOLD_PID")
    until [[ ${line:-} == *'"server ready"'* ]]; do read -ru 7 line; done
    URL=http://$(jq -r .listen <<<"$line")
    # A line has more than 150 bytes, the pipe 64 KiB.
    curl -sf --max-time "$PATIENCE" -o /dev/null "$URL/healthz?[1-1200]" || true
    http GET /metrics
    lines=$(sed -n 's/^poold_log_lines_dropped_total //p' <<<"$BODY")
    [ "$lines" -gt 100 ]
    cat <&7 >"$BATS_TEST_TMPDIR/taken" 3>&- &
    reader=$!
    eventually grep -q 'lines of the log were dropped' "$BATS_TEST_TMPDIR/taken"
    http GET /healthz
    kill "$reader"
    [ "$(grep -a 'were dropped' "$BATS_TEST_TMPDIR/taken" | jq -s 'map(.lines) | add')" -ge "$lines" ]
}
