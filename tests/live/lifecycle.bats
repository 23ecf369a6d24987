# SPDX-License-Identifier: MIT
# From the start to the stop, and what comes between: systemd, backup, check, upgrade.
# shellcheck disable=SC2154 # bats sets $status and $output
load helpers

# ---- systemd -----------------------------------------------------------------------------------

# A socket as systemd's. Sets NOTIFY_SOCKET.
start_manager() {
    MANAGER_LOG=$BATS_TEST_TMPDIR/manager.log
    NOTIFY_SOCKET=$BATS_TEST_TMPDIR/notify
    "${PYTHON3:-python3}" "$BATS_TEST_DIRNAME/manager.py" "$NOTIFY_SOCKET" "$MANAGER_LOG" \
        </dev/null >/dev/null 2>&1 3>&- &
    ALL_PIDS+=("$!")
    eventually [ -S "$NOTIFY_SOCKET" ]
    export NOTIFY_SOCKET
}

told() { grep -q "^$1" "$MANAGER_LOG"; }
times_told() { grep -c "^$1" "$MANAGER_LOG" || true; }
told_often() { [ "$(times_told "$1")" -ge "$2" ]; }

@test "systemd is told when the server is ready, reloads and stops" {
    start_manager
    mkdir "$BATS_TEST_TMPDIR/tasks"
    start_poold --tasks "$BATS_TEST_TMPDIR/tasks"
    eventually told READY=1
    kill -HUP "$POOLD_PID"
    eventually told_often READY=1 2
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    [ "$(sed 's/ MONOTONIC.*//' "$MANAGER_LOG" | paste -sd ' ')" = \
        'READY=1 RELOADING=1 READY=1 STOPPING=1' ]
    told 'RELOADING=1 MONOTONIC_USEC=[0-9]'
}

@test "a start that fails never tells systemd that it is ready" {
    start_manager
    mkdir -p "$POOLD_DATA_DIR"
    echo 'no database' >"$POOLD_DATA_DIR/poold.db"
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 65 ]
    [ ! -s "$MANAGER_LOG" ]
}

@test "the loop feeds systemd's watchdog, also while it drains; one that hangs does not" {
    start_manager
    WATCHDOG_USEC=100000 start_poold --processes 1
    eventually told_often WATCHDOG=1 3
    kill -STOP "$POOLD_PID"
    before=$(times_told WATCHDOG=1)
    pause 0.3
    [ "$(times_told WATCHDOG=1)" -le $((before + 1)) ] # one may have been on its way
    kill -CONT "$POOLD_PID"
    job=$(submit apply_async '{"task":"sleep","args":[0.5]}')
    wait_for_state "$job" running
    kill -TERM "$POOLD_PID"
    eventually told STOPPING=1
    before=$(times_told WATCHDOG=1)
    eventually told_often WATCHDOG=1 $((before + 2))
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
}

@test "tasks do not see systemd's variables" {
    start_manager
    mkdir "$BATS_TEST_TMPDIR/tasks"
    printf '#!/bin/sh\nenv | grep -c NOTIFY_SOCKET\n:\n' >"$BATS_TEST_TMPDIR/tasks/env.sh"
    chmod +x "$BATS_TEST_TMPDIR/tasks/env.sh"
    echo '{"name": "env", "command": ["./env.sh"], "mode": "oneshot"}' \
        >"$BATS_TEST_TMPDIR/tasks/env.json"
    start_poold --tasks "$BATS_TEST_TMPDIR/tasks"
    post /v1/apply '{"task":"env","args":[]}'
    expect 200
    body_is .result 0
}
