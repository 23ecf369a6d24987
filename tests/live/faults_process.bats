# SPDX-License-Identifier: MIT
# Processes that die or are told to stop: the server, the forkserver, all of them (F1 to F8).
load helpers

# arm POINT:NTH:ACTION: for the servers that are started from now on (common/fault.h). Passings
# are counted over all of them.
arm() {
    FAULT_FILE=$BATS_TEST_TMPDIR/fault
    head -c 24 /dev/zero >"$FAULT_FILE"
    export POOLD_FAULT=$1:$FAULT_FILE
}

acted() { [ "$(od -An -t u8 -j 8 -N 8 "$FAULT_FILE" | tr -d ' ')" = "$1" ]; }

# The server has ended by this signal.
died_of() {
    wait_for_exit
    [ "$POOLD_STATUS" = $((128 + $1)) ]
}

@test "F2 a killed forkserver is replaced, HTTP stays up, and no attempt is spent" {
    start_poold
    job=$(submit map_async '{"task":"sleep","items":[0.7,0.7,0.7],"chunksize":1,"crash_retries":0}')
    eventually worker_of "$job"
    old=$(forkserver)
    for _ in 1 2 3; do
        kill -KILL "$(forkserver)"
        get /healthz
        expect 200
        eventually another_forkserver "$old"
        old=$(forkserver)
    done
    [ "$(result "$job")" = '[null,null,null]' ]
    get "/v1/jobs/$job/attempts"
    body_is '.attempts' '[]'
    gone "$POOLD_PID" && return 1
    eventually idle_workers_are 2
}

@test "F3 all processes killed at once: every acknowledged job is there, and ends" {
    start_poold
    for i in {1..20}; do
        jobs[i]=$(submit apply_async "{\"task\":\"square\",\"args\":[$i],\"delay\":2}")
    done
    map=$(submit map_async '{"task":"sleep","items":[0,1,1,0],"chunksize":1,"crash_retries":0}')
    eventually worker_of "$map"
    family=$(descendants "$POOLD_PID")
    # shellcheck disable=SC2086 # several pids
    kill -KILL "$POOLD_PID" $family
    died_of 9
    for pid in $family; do
        eventually gone "$pid"
    done
    start_poold
    [ "$(job_count)" = 21 ]
    for i in {1..20}; do
        [ "$(result "${jobs[i]}")" = $((i * i)) ]
    done
    [ "$(result "$map")" = '[null,null,null,null]' ]
}

@test "F5 SIGTERM puts back what does not finish in time, within 8 seconds and for free" {
    start_poold --processes 2
    for i in 1 2; do
        jobs[i]=$(submit apply_async '{"task":"sleep","args":[600],"crash_retries":0,"retries":0}')
        wait_for_state "${jobs[i]}" running
    done
    begin=$(date +%s%N)
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    ms=$((($(date +%s%N) - begin) / 1000000))
    [ "$ms" -lt 15000 ] # a busy machine's end takes its time, too
    start_poold --processes 2
    for i in 1 2; do
        wait_for_state "${jobs[i]}" running
        get "/v1/jobs/${jobs[i]}/attempts"
        body_is '.attempts' '[]'
    done
    figure G12 "exit $ms ms after SIGTERM with 2 items that do not end and drain_timeout 8; 0 attempts spent"
}

@test "F5 SIGTERM answers who waits for a job that is not in memory" {
    start_poold --processes 1
    for i in {1..8}; do
        jobs[i]=$(submit apply_async '{"task":"sleep","args":[600]}')
    done
    stop_poold KILL
    # It listens, and does not serve yet: so requests and the signal come in one turn.
    arm before_ready:1:delay
    "${PYTHON3:-python3}" - "$POOLD_DATA_DIR" "${jobs[@]}" "${poold[@]}" 3>&- 2>>"$POOLD_STDERR" <<'PYTHON'
import os, signal, socket, subprocess, sys, time
data, jobs, command = sys.argv[1], sys.argv[2:10], sys.argv[10:]
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = subprocess.Popen(command + ["serve", "--listen", f"127.0.0.1:{port}", "--data", data])
end = time.monotonic() + 30
clients = []
while len(clients) < len(jobs) and time.monotonic() < end:
    try:
        clients.append(socket.create_connection(("127.0.0.1", port), timeout=30))
    except ConnectionRefusedError:
        time.sleep(0.002)
for client, job, path in zip(clients, jobs, ["?timeout=9", "/result?timeout=9", "/results?follow=true", ""] * 2):
    client.sendall(f"GET /v1/jobs/{job}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
server.send_signal(signal.SIGTERM)
answers = [client.recv(4096)[9:12] for client in clients]
assert server.wait(30) == 0, server.returncode
assert answers == [b"503", b"503", b"200", b"200"] * 2, answers
PYTHON
    acted 1
}

@test "F5 as PID 1 the server drains at SIGTERM, and reaps what is left to it" {
    [ "$(id -u)" = 0 ] || skip "needs root: a process namespace"
    unshare -pf --mount-proc true 2>/dev/null || skip "no process namespaces here"
    unshare -pf --mount-proc --kill-child "${poold[@]}" serve --listen 127.0.0.1:0 --processes 2 \
        --data "$POOLD_DATA_DIR" </dev/null >/dev/null 2>>"$POOLD_STDERR" 3>&- &
    outside=$!
    ALL_PIDS+=("$outside")
    eventually log_has 'server ready'
    line=$(grep 'server ready' "$POOLD_STDERR")
    [[ $line == *" pid=1 "* ]]
    line=${line##*listen=}
    URL=http://${line%% *}
    POOLD_PID=$(pgrep -P "$outside" -x poold)
    job=$(submit apply_async '{"task":"sleep","args":[2]}')
    wait_for_state "$job" running
    # What the forkserver had would be reaped by it; when it dies, it is left to PID 1.
    kill -KILL "$(forkserver)"
    eventually no_zombies
    eventually worker_of "$job"
    kill -TERM "$POOLD_PID"
    eventually gone "$outside"
    wait "$outside"
    start_poold --processes 1
    [ "$(result "$job")" = null ]
}

no_zombies() { ! ps -o stat= --ppid "$POOLD_PID" | grep -q Z; }

@test "F6 a server that dies at each of five starts leaves the database as it was" {
    start_poold --processes 1
    done_job=$(submit apply_async '{"task":"square","args":[7]}')
    waiting=$(submit apply_async '{"task":"square","args":[8],"delay":1}')
    [ "$(result "$done_job")" = 49 ]
    stop_poold KILL
    arm before_ready:1-5:kill
    for i in {1..5}; do
        try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
        [ "$status" = 137 ]
        [[ $output != *"server ready"* ]]
        acted "$i"
    done
    start_poold --processes 1
    [ "$(job_count)" = 2 ]
    [ "$(result "$done_job")" = 49 ]
    [ "$(result "$waiting")" = 64 ]
}

@test "F7 a reply that was lost behind the commit: the same key gets the same job" {
    arm after_commit_before_reply:1:kill
    start_poold --processes 1
    run curl -sS --max-time 20 "$URL/v1/apply_async" -H 'Content-Type: application/json' \
        -H 'Idempotency-Key: lost' -d '{"task":"square","args":[3]}'
    [ "$status" != 0 ]
    died_of 9
    acted 1
    start_poold --processes 1
    get /v1/jobs
    body_is '.jobs | length' 1
    there=$(jq -r '.jobs[0].id' <<<"$BODY")
    post /v1/apply_async '{"task":"square","args":[3]}' -H 'Idempotency-Key: lost'
    expect 202
    body_is .id "\"$there\""
    [ "$(header idempotent-replayed)" = true ]
    [ "$(result "$there")" = 9 ]
    [ "$(job_count)" = 1 ]
}

@test "F7 a request that was cut off before the commit has left nothing" {
    arm after_insert:1:kill
    start_poold --processes 1
    run curl -sS --max-time 20 "$URL/v1/apply_async" -H 'Content-Type: application/json' \
        -H 'Idempotency-Key: lost' -d '{"task":"square","args":[3]}'
    [ "$status" != 0 ]
    died_of 9
    start_poold --processes 1
    [ "$(job_count)" = 0 ]
    post /v1/apply_async '{"task":"square","args":[3]}' -H 'Idempotency-Key: lost'
    expect 202
    [ "$(header idempotent-replayed)" = '' ]
}

@test "F8 a worker that dies in the middle of its answer: nobody reads the half of it" {
    arm worker_mid_frame:3:kill # the first two are what workers say when they are ready
    start_poold --processes 2
    job=$(submit map_async '{"task":"square","items":[1,2,3,4,5,6],"chunksize":2,"crash_retries":1}')
    [ "$(result "$job")" = '[1,4,9,16,25,36]' ]
    acted 1
    log_has 'worker lost, replacing .*cause=signal code=9'
    http GET "/v1/jobs/$job/results"
    body_is 'select(.done).state' '"succeeded"'
    [ "$(jq -s '[.[] | .index // empty] | length' <<<"$BODY")" = 6 ]
}
