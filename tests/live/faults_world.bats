# SPDX-License-Identifier: MIT
# What is around the server and fails it: the clock, descriptors, processes (F13 to F15).
load helpers

: "${PLUGINS:=$BATS_TEST_DIRNAME/../../build/dev/tests/plugins}"

# ---- the clock -----------------------------------------------------------------------------

day=86400
until_2038=$((2147483647 + 10)) # behind the last second of 32 bits, as seconds since 1970
until_2106=$((4294967296 + 10))

@test "F13 a clock that jumps a day, to 2038 or 2106, changes nothing but times that are shown" {
    own_clock
    start_poold --processes 2
    old=$(submit map_async '{"task":"square","items":[1,2,3]}')
    [ "$(result "$old")" = '[1,4,9]' ]
    late=$(submit apply_async '{"task":"square","args":[4],"delay":3600}')
    for to in $day -$day $((until_2038 - $(date +%s))) $((until_2106 - $(date +%s))) -$((30 * day)); do
        shift_clock 0
        running=$(submit apply_async '{"task":"sleep","args":[1],"time_limit":20}')
        eventually worker_of "$running"
        over=$(submit apply_async '{"task":"sleep","args":[30],"time_limit":0.7}')
        soon=$(submit apply_async '{"task":"square","args":[5],"delay":0.5}')
        shift_clock "$to"
        [ "$(result "$running")" = null ]
        wait_for_state "$over" failed
        [ "$(field "$over" .error.type)" = /problems/time-limit ]
        [ "$(result "$soon")" = 25 ]
        post /v1/apply '{"task":"square","args":[6]}'
        body_is .result 36
        [ "$(field "$late" .state)" = scheduled ]
        [ "$(result "$old")" = '[1,4,9]' ] # not too old all of a sudden
    done
    # The clock is right again, and nothing is missing.
    shift_clock 0
    [ "$(result "$old")" = '[1,4,9]' ]
    [ "$(job_count)" = 22 ]
    restart_poold KILL
    [ "$(result "$old")" = '[1,4,9]' ]
    [ "$(field "$late" .state)" = scheduled ]
    figure G13 "5 jumps, by up to 80 years, 22 jobs: 0 went, 0 started too early, 0 limits missed"
}

@test "F13 a server whose clock is wrong at its start takes up its jobs all the same" {
    own_clock
    start_poold --processes 1
    old=$(submit apply_async '{"task":"square","args":[7]}')
    [ "$(result "$old")" = 49 ]
    waiting=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$waiting" running
    stop_poold KILL
    shift_clock $((until_2038 - $(date +%s)))
    start_poold --processes 1
    wait_for_state "$waiting" running
    post "/v1/jobs/$waiting/cancel" '{"terminate":true}'
    expect 202
    post /v1/apply '{"task":"square","args":[8]}'
    body_is .result 64
    [[ "$(field "$waiting" .finished_at)" == 2038-* ]]
    restart_poold TERM
    shift_clock 0
    post /v1/apply '{"task":"square","args":[9]}'
    body_is .result 81
}

# ---- descriptors ---------------------------------------------------------------------------

ticks() { awk '{print $14 + $15}' "/proc/$POOLD_PID/stat"; }

# Opens more connections than the server can take, and keeps them.
idle_clients() {
    "${PYTHON3:-python3}" - "${URL#http://}" "$1" "$BATS_TEST_TMPDIR/connected" 3>&- <<'PYTHON' &
import signal, socket, sys
host, port = sys.argv[1].split(":")
clients = [socket.create_connection((host, int(port))) for _ in range(int(sys.argv[2]))]
open(sys.argv[3], "w").close()
signal.pause()
PYTHON
    CLIENTS=$!
    ALL_PIDS+=("$CLIENTS")
    eventually test -e "$BATS_TEST_TMPDIR/connected"
}

# Who is idle longest has to make room.
is_full() { log_has 'descriptors allow' && [ "$(open_files)" -ge "$1" ] && [ "$(open_files)" -lt 80 ]; }
open_files() { find "/proc/$POOLD_PID/fd" -type l | wc -l; }
workers_alive() { [ "$(pgrep -c -x poold-worker -P "$(named_forkserver)")" = "$1" ]; }

@test "F14 without descriptors the server waits at no cost, workers are replaced, and it recovers" {
    hard=$(ulimit -Hn)
    ulimit -Sn 80
    start_poold --processes 2 --idle-timeout 300
    ulimit -Sn "$hard"
    log_has 'descriptors allow fewer connections than max_connections connections=[1-9]'
    job=$(submit map_async '{"task":"sleep","items":[0.1,0.1,0.1,0.1,2,0.1],"chunksize":1}')
    before=$(open_files)
    idle_clients 120
    allowed=$(sed -n 's/.*descriptors allow.* connections=\([0-9]*\).*/\1/p' "$POOLD_STDERR")
    eventually is_full $((before + allowed))
    get /healthz
    expect 200
    victim=$(worker_pid 0)
    kill -KILL "$victim"
    eventually gone "$victim"
    eventually workers_alive 2
    pause 3 # until nothing is left to do
    before=$(ticks)
    pause 1
    [ $(($(ticks) - before)) -le 2 ]
    kill -KILL "$CLIENTS"
    [ "$(result "$job")" = '[null,null,null,null,null,null]' ]
    get /readyz
    expect 200
    log_has 'no socket or memory for a worker' && return 1
    eventually idle_workers_are 2
}

# connections_after WORD: what the log said last.
connections_after() { sed -n "s/.* $1 .* connections=\([0-9]*\) .*/\1/p" "$POOLD_STDERR" | tail -1; }
has_open_files() { [ "$(open_files)" -ge "$1" ]; }
workers_of_are() { [ "$(idle_workers "$1")" = "$2" ]; }

@test "F14 a pool gets the descriptors of its workers from idle clients, and none that they do not leave" {
    hard=$(ulimit -Hn)
    ulimit -Sn 100
    start_poold --processes 1 --idle-timeout 300
    ulimit -Sn "$hard"
    allowed=$(connections_after allow)
    eventually workers_of_are default 1
    before=$(open_files)
    idle_clients $((allowed - 1)) # and one for the requests
    eventually has_open_files $((before + allowed - 3))
    # A pool needs 4 and a worker 4, and 8 connections have to be left.
    most=$(((allowed - 8 - 4) / 4))
    post /v1/pools "{\"name\":\"large\",\"processes\":$((most + 1))}"
    expect 409 too-many-processes
    body_is '.detail | contains("may have 100 descriptors (open files) only")' true
    post /v1/pools "{\"name\":\"small\",\"processes\":$((most - 1))}"
    expect 201
    [ "$(connections_after leave)" = $((allowed - 4 * most)) ]
    eventually workers_of_are small $((most - 1))
    http PATCH /v1/pools/small -H 'Content-Type: application/json' -d "{\"processes\":$((most + 1))}"
    expect 409 too-many-processes
    http PATCH /v1/pools/small -H 'Content-Type: application/json' -d "{\"processes\":$most}"
    expect 200
    eventually workers_of_are small "$most"
    post /v1/map '{"task":"square","items":[1,2,3],"pool":"small"}'
    body_is .result '[1,4,9]'
    # What is stored counts at the next start, and what is deleted no more.
    kill -KILL "$CLIENTS"
    ulimit -Sn 100
    restart_poold
    ulimit -Sn "$hard"
    allowed=$(connections_after allow)
    [ "$(connections_after leave)" = $((allowed - 4 - 4 * most)) ]
    eventually workers_of_are small "$most"
    http DELETE /v1/pools/small
    expect 204
    [ "$(connections_after leave)" = "$allowed" ]
}

# ---- processes -----------------------------------------------------------------------------

unready() {
    http GET /readyz
    [ "$STATUS" = 503 ]
}

@test "row 99, F15 while no process can be forked jobs wait and the server is not ready; then all goes on" {
    head -c 24 /dev/zero >"$BATS_TEST_TMPDIR/fault"
    export POOLD_FAULT=forkserver_before_fork:3-8:EIO:$BATS_TEST_TMPDIR/fault
    start_poold --processes 2
    eventually idle_workers_are 2
    job=$(submit map_async '{"task":"sleep","items":[0.2,0.2,0.2,0.2],"chunksize":1}')
    for pid in $(workers | jq .pid); do
        kill -KILL "$pid"
    done
    eventually unready
    expect 503 not-ready
    get /healthz
    expect 200
    more=$(submit apply_async '{"task":"square","args":[5]}')
    eventually log_has 'worker cannot be started, trying again later .*pause_ms=400 .*reason="fork: Input/output error"'
    [ "$(result "$job")" = '[null,null,null,null]' ]
    [ "$(result "$more")" = 25 ]
    eventually idle_workers_are 2
    get /readyz
    expect 200
}

@test "F15 beyond the limit of processes workers are fewer, and jobs go on" {
    [ "$(id -u)" = 0 ] || skip "needs root: the limit is by user, so it takes one of its own"
    command -v setpriv prlimit >/dev/null || skip "needs setpriv and prlimit"
    mkdir -p "$POOLD_DATA_DIR"
    chmod 711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/data"
    chown 54329:54329 "$POOLD_DATA_DIR"
    # The server has five threads, its loop's, the store's and libuv's; the forkserver is the rest.
    poold=(env -u POOLD_BIN TMPDIR=/tmp setpriv --reuid 54329 --regid 54329 --clear-groups
        prlimit --nproc=12 "$(realpath "$POOLD_BIN")")
    setpriv --reuid 54329 --regid 54329 --clear-groups test -x "$(realpath "$POOLD_BIN")" ||
        skip "another user cannot run the binary"
    start_poold --processes 16
    eventually log_has 'worker cannot be started, trying again later .*reason="fork: Resource temporarily'
    [ "$(result "$(submit map_async '{"task":"square","items":[1,2,3,4]}')")" = '[1,4,9,16]' ]
    [ "$(workers | wc -l)" -lt 16 ]
    get /readyz
    expect 200
}
