# SPDX-License-Identifier: MIT
# HTTP as such: connections, methods, headers, the server's own pages.
load helpers

# raw TEXT...: sends the text (printf notation) over one connection, prints what comes back until the
# server closes or is silent for two seconds.
raw() {
    printf "$@" >"$BATS_TEST_TMPDIR/raw"
    python3 - "${URL#http://}" "$BATS_TEST_TMPDIR/raw" <<'PYTHON'
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
with socket.create_connection((host, int(port)), 10) as s:
    s.sendall(open(sys.argv[2], "rb").read())
    s.settimeout(2)
    closed = False
    try:
        while True:
            data = s.recv(65536)
            if not data:
                closed = True
                break
            sys.stdout.buffer.write(data)
    except (socket.timeout, ConnectionResetError) as error:
        closed = isinstance(error, ConnectionResetError)
    print("\n[closed]" if closed else "\n[open]")
PYTHON
}

@test "one connection serves many requests" {
    start_poold
    body='{"task":"square","args":[2]}'
    run curl -sS --max-time 30 -o /dev/null -w '%{http_code} %{num_connects}\n' \
        -H 'Content-Type: application/json' -d "$body" "$URL/v1/apply" \
        --next -o /dev/null -w '%{http_code} %{num_connects}\n' "$URL/healthz" \
        --next -o /dev/null -w '%{http_code} %{num_connects}\n' \
        -H 'Content-Type: application/json' -d '{' "$URL/v1/apply" \
        --next -o /dev/null -w '%{http_code} %{num_connects}\n' \
        -H 'Content-Type: application/json' -d "$body" "$URL/v1/apply"
    [ "$output" = "200 1
200 0
400 0
200 0" ]
}

@test "pipelined requests are answered in their order" {
    start_poold
    python3 - "${URL#http://}" <<'PYTHON'
import http.client, io, json, socket, sys
host, port = sys.argv[1].rsplit(":", 1)
count = 100
requests = b""
for i in range(count):
    # The first ones take longest, so answers that overtake would show.
    body = json.dumps({"task": "square", "args": [i]} if i else
                      {"task": "sleep", "args": [0.2]}).encode()
    requests += (b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body)) + body
with socket.create_connection((host, int(port)), 30) as s:
    s.sendall(requests)
    stream = s.makefile("rb")
    for i in range(count):
        assert stream.readline().split()[1] == b"200"
        headers = http.client.parse_headers(stream)
        answer = json.loads(stream.read(int(headers["Content-Length"])))
        assert answer["result"] == (i * i if i else None), (i, answer)
PYTHON
}

@test "a waiting request holds up nobody else" {
    start_poold --processes 1
    curl -sS --max-time 60 "$URL/v1/apply" -H 'Content-Type: application/json' \
        -d '{"task":"sleep","args":[30]}' -o /dev/null 3>&- &
    waiting=$!
    eventually all_workers_busy
    for i in {1..20}; do
        curl -sSf --max-time 20 -o /dev/null "$URL/healthz"
    done
    kill "$waiting"
}

all_workers_busy() { [ "$(idle_workers default)" = 0 ]; }

@test "requests that wait cost no processor time" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    python3 - "${URL#http://}" "$job" "$POOLD_PID" <<'PYTHON'
import os, socket, sys, time
host, port = sys.argv[1].rsplit(":", 1)
job, pid = sys.argv[2:]

def ticks():
    with open(f"/proc/{pid}/stat") as stat:
        return sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))

waiting = [socket.create_connection((host, int(port)), 10) for _ in range(400)]
for s in waiting:
    s.sendall(b"GET /v1/jobs/%s/result?timeout=60 HTTP/1.1\r\nHost: localhost\r\n\r\n" % job.encode())
with socket.create_connection((host, int(port)), 10) as s:  # behind them: all have been read
    s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert s.recv(4096).startswith(b"HTTP/1.1 200")
time.sleep(0.05)  # what is measured begins when nothing happens any more
before = ticks()
time.sleep(1)
used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
assert used < 0.2, used
PYTHON
}

@test "a body may come in chunks, or after 100-continue" {
    start_poold
    post /v1/apply '{"task":"square","args":[5]}' -H 'Transfer-Encoding: chunked'
    expect 200
    body_is .result 25
    post /v1/apply '{"task":"square","args":[6]}' -H 'Expect: 100-continue'
    expect 200
    body_is .result 36
}

@test "HEAD answers as GET does, without the body" {
    start_poold
    for path in /healthz /v1/jobs /v1/tasks /v1/info /nonsense; do
        get "$path"
        want="$STATUS $(header content-type) $(header content-length)"
        run raw "HEAD $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        printf '%s' "$output" >"$BATS_TEST_TMPDIR/headers"
        [ "${lines[0]:9:3} $(header content-type) $(header content-length)" = "$want" ]
        # The last header, an empty line, then the end.
        [[ $output =~ $'\r\n\r\n'+'[closed]'$ ]]
    done
}

@test "OPTIONS names the methods that work" {
    start_poold
    http OPTIONS /v1/apply
    expect 204
    [[ $(header allow) == *POST* ]]
    [[ $(header allow) != *DELETE* ]]
    http OPTIONS /v1/jobs
    expect 204
    [[ $(header allow) == *GET* ]]
    [ -z "$(header access-control-allow-origin)" ]
}

@test "readyz names the pools that have no worker, and is ready with the default one" {
    start_poold
    eventually is_ready
    body_is . '{"status":"ready"}'
    post /v1/pools '{"name":"slow","processes":1,"initializer":"sleep","initargs":[60]}'
    get /readyz
    expect 200
    body_is . '{"status":"ready","detail":"pool slow: no worker is up"}'
    "${poold[@]}" health "$URL"
}

@test "the server tells how it is" {
    start_poold
    get /healthz
    expect 200
    eventually is_ready
    get /v1/info
    expect 200
    body_is '.version | type' '"string"'
    body_is '.limits | type' '"object"'
}

@test "the server explains itself: OpenAPI, manual and problems" {
    start_poold
    get /openapi.json >/dev/null
    expect 200
    [[ $(jq -r .openapi <<<"$BODY") == 3.* ]]
    [ "$(jq -r '.paths["/v1/map"] | keys | join(",")' <<<"$BODY")" = post ]
    get /openapi.yaml >/dev/null
    expect 200
    get /docs >/dev/null
    expect 200
    [[ $(header content-type) == text/html* ]]
    post /v1/apply '{"task":"nonsense"}'
    get "$(jq -r .type <<<"$BODY")"
    expect 200
}

@test "every answer says how it may be used" {
    start_poold
    for path in /healthz /v1/jobs /nonsense; do
        get "$path"
        [ "$(header x-content-type-options)" = nosniff ]
    done
}

# refused HEADERS: a POST with these, and a second request behind it, gets one 400 and is cut off.
refused() {
    run raw "POST /v1/apply HTTP/1.1\r\nContent-Type: application/json\r\n$1\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if [[ ${lines[0]} != HTTP/1.1\ 400* ]] || [ "${lines[-1]}" != '[closed]' ] ||
        [ "$(grep -c '^HTTP/1.1' <<<"$output")" != 1 ]; then
        echo "with $1: $output"
        return 1
    fi
}

@test "a request whose length is ambiguous is refused, and the connection closed" {
    start_poold
    refused 'Host: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked'
    refused 'Host: localhost\r\nTransfer-Encoding: xchunked'
    [ "$(job_count)" = 0 ]
}

@test "a doubled header that frames or routes a request is refused" {
    start_poold
    refused 'Host: localhost\r\nContent-Length: 4\r\nContent-Length: 5'
    refused 'Host: localhost\r\nContent-Length: 4\r\nContent-Length: 4'
    refused 'Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked'
    refused 'Host: localhost\r\nHost: y\r\nContent-Length: 4'
    refused 'Host: localhost\r\nContent-Length : 4'
    [ "$(job_count)" = 0 ]
}

@test "unknown expectations and other versions of HTTP are refused" {
    start_poold
    run raw 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: nonsense\r\n\r\n'
    [[ $output == HTTP/1.1\ 417* ]]
    run raw 'GET /healthz HTTP/1.9\r\nHost: localhost\r\n\r\n'
    [[ $output == HTTP/1.1\ 505* ]]
}

@test "a client that stops half-way creates nothing" {
    start_poold
    python3 - "${URL#http://}" <<'PYTHON'
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
for _ in range(20):
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(b"POST /v1/apply_async HTTP/1.1\r\nHost: localhost\r\nContent-Length: 28\r\n"
                  b"Content-Type: application/json\r\n\r\n" b'{"task":"square"')
PYTHON
    eventually is_ready
    [ "$(job_count)" = 0 ]
}

@test "a stream whose client has left holds no place" {
    start_poold --max-waiters 1
    job=$(submit apply_async '{"task":"sleep","args":[60]}')
    curl -sSN --max-time 60 "$URL/v1/events" >"$BATS_TEST_TMPDIR/events" 3>&- &
    client=$!
    ALL_PIDS+=("$client")
    eventually grep -q retry "$BATS_TEST_TMPDIR/events"
    get "/v1/jobs/$job/events"
    expect 503 too-many-waiters
    kill "$client"
    eventually answers_200 "$URL/v1/events"
}

answers_200() {
    [ "$(curl -sSN --max-time 1 -o /dev/null -w '%{http_code}' "$1" 2>/dev/null)" = 200 ]
}
