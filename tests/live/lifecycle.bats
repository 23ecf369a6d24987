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
    WATCHDOG_USEC=100000 start_poold --processes 1 --drain-timeout 600
    eventually told_often WATCHDOG=1 3
    kill -STOP "$POOLD_PID"
    before=$(times_told WATCHDOG=1)
    pause 0.3
    [ "$(times_told WATCHDOG=1)" -le $((before + 1)) ] # one may have been on its way
    kill -CONT "$POOLD_PID"
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    wait_for_state "$job" running
    kill -TERM "$POOLD_PID"
    eventually told STOPPING=1
    before=$(times_told WATCHDOG=1)
    eventually told_often WATCHDOG=1 $((before + 2))
    stop_poold TERM
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

# ---- check and backup --------------------------------------------------------------------------

# check_data [DIR]: sets status and output.
check_data() { run "${poold[@]}" check --data "${1:-$POOLD_DATA_DIR}"; }

# A database with a job of each kind, by a server that was killed. The results are in RESULTS.
make_jobs() {
    start_poold
    good=$(submit map_async '{"task":"echo","items":[0.10,1e400,{"b":1,"a":2}]}')
    bad=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    none=$(submit map_async '{"task":"square","items":[]}')
    mixed=$(submit map_async '{"task":"safe_square","items":[1,-2,3],"return_exceptions":true}')
    gone=$(submit apply_async '{"task":"sleep","args":[600]}')
    later=$(submit apply_async '{"task":"square","args":[5],"delay":3600}')
    for job in "$good" "$none" "$mixed"; do wait_for_state "$job" succeeded; done
    wait_for_state "$bad" failed
    wait_for_state "$gone" running
    post "/v1/jobs/$gone/cancel" '{"terminate":true}'
    wait_for_state "$gone" cancelled
    (seq 3 && sleep 0.2) | jq -c . | { echo '{"task":"square"}' && cat; } |
        curl -sN -T - -X POST "$URL/v1/imap" -H 'Content-Type: application/x-ndjson' >/dev/null
    expired=$(submit apply_async '{"task":"square","args":[1],"delay":30,"expires_in":1}')
    wait_for_state "$expired" expired
}

@test "poold check finds nothing wrong with what a server leaves, stopped or killed" {
    make_jobs
    check_data
    [ "$status" = 75 ]
    [[ $output == *"stop the server"* ]]
    stop_poold KILL
    check_data
    [ "$status" = 0 ]
    [[ $output == *"sound"*"jobs"* ]]
    start_poold
    [ "$(result "$good")" = '[0.10,1e400,{"b":1,"a":2}]' ]
    stop_poold TERM
    check_data
    [ "$status" = 0 ]
}

@test "poold check finds nothing wrong after results have expired and jobs were retried" {
    start_poold
    old=$(submit apply_async '{"task":"square","args":[2],"result_ttl":0}')
    wait_for_state "$old" succeeded
    bad=$(submit map_async '{"task":"safe_square","items":[1,-2]}')
    wait_for_state "$bad" failed
    post "/v1/jobs/$bad/retry" ''
    wait_for_state "$bad" failed
    restart_poold TERM # looks for what is old at its start
    is_gone() { http GET "/v1/jobs/$old/result" && [ "$STATUS" = 410 ]; }
    eventually is_gone
    stop_poold TERM
    check_data
    [ "$status" = 0 ]
}

@test "poold check names what is wrong, a line each, and changes nothing" {
    make_jobs
    stop_poold TERM
    db=$POOLD_DATA_DIR/poold.db
    sqlite3 "$db" "UPDATE outcome SET checksum = checksum + 1;
                   UPDATE job SET result_checksum = result_checksum + 1;
                   UPDATE job SET failed = failed + 1 WHERE state = 'failed'"
    before=$(sha256sum "$db")
    check_data
    [ "$status" = 65 ]
    [[ $output == *"progress says"* ]]
    [ "$(grep -c '^job .*damaged' <<<"$output")" = "$(sqlite3 "$db" \
        'SELECT (SELECT count(DISTINCT job) FROM outcome) +
                (SELECT count(*) FROM job WHERE result IS NOT NULL)')" ]
    [ "$(sha256sum "$db")" = "$before" ]
}

@test "poold check tells what it cannot look at" {
    check_data "$BATS_TEST_TMPDIR"
    [ "$status" = 66 ]
    mkdir "$BATS_TEST_TMPDIR/text"
    echo 'this is no database, but long enough' >"$BATS_TEST_TMPDIR/text/poold.db"
    check_data "$BATS_TEST_TMPDIR/text"
    [ "$status" = 65 ]
    [[ $output == *"is not an SQLite database"* ]]
    for arguments in '--date x' '--data' 'x' '--data='; do
        # shellcheck disable=SC2086 # words
        run "${poold[@]}" check $arguments
        [ "$status" = 78 ]
    done
    run "${poold[@]}" backup
    [ "$status" = 78 ]
    for command in check backup; do
        run "${poold[@]}" "$command" --help
        [ "$status" = 0 ]
        [[ $output == "usage: poold $command "*"Exit code 0: "* ]]
    done
}

# restored FILE: the server runs on the copy.
restored() {
    POOLD_DATA_DIR=$BATS_TEST_TMPDIR/restored.$1
    mkdir "$POOLD_DATA_DIR"
    cp "$BATS_TEST_TMPDIR/$1" "$POOLD_DATA_DIR/poold.db"
    check_data
    [ "$status" = 0 ]
    start_poold
}

@test "F65: a backup under load has all that was acknowledged before it began" {
    mkdir "$BATS_TEST_TMPDIR/backups"
    start_poold --backup-dir "$BATS_TEST_TMPDIR/backups"
    for i in {1..20}; do
        jobs[i]=$(submit apply_async "{\"task\":\"square\",\"args\":[$i]}")
    done
    : >"$BATS_TEST_TMPDIR/ids"
    # Load, from before the backup to behind it; the ids that were acknowledged, as they came.
    while [ ! -e "$BATS_TEST_TMPDIR/enough" ]; do
        curl -sS --json '[{"method":"apply_async","task":"square","args":[2]},
            {"method":"map_async","task":"echo","items":[1,2,3]}]' "$URL/v1/batch" |
            jq -r '.jobs[].id' >>"$BATS_TEST_TMPDIR/ids"
    done 3>&- &
    load=$!
    ALL_PIDS+=("$load")
    many() { [ "$(wc -l <"$BATS_TEST_TMPDIR/ids")" -ge "$1" ]; }
    eventually many 40
    cp "$BATS_TEST_TMPDIR/ids" "$BATS_TEST_TMPDIR/ids.before"
    post /v1/admin/backup '{"file":"hot.db"}'
    expect 201
    body_is .file '"hot.db"'
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/backups/hot.db")" = "$(jq .bytes <<<"$BODY")" ]
    [ "$(stat -c %a "$BATS_TEST_TMPDIR/backups/hot.db")" = 600 ]
    "${poold[@]}" backup "$BATS_TEST_TMPDIR/by-command.db" --data "$POOLD_DATA_DIR"
    touch "$BATS_TEST_TMPDIR/enough"
    wait "$load"
    post /v1/apply '{"task":"square","args":[3]}' # the server has not noticed
    expect 200
    stop_poold TERM
    mv "$BATS_TEST_TMPDIR/backups/hot.db" "$BATS_TEST_TMPDIR"
    for copy in hot.db by-command.db; do
        restored $copy
        for i in {1..20}; do
            [ "$(result "${jobs[i]}")" = $((i * i)) ]
        done
        while read -r job; do
            wait_for_state "$job" succeeded
        done <"$BATS_TEST_TMPDIR/ids.before"
        stop_poold TERM
    done
}

@test "a backup goes nowhere but into backup_dir, and over nothing" {
    mkdir "$BATS_TEST_TMPDIR/backups"
    start_poold --backup-dir "$BATS_TEST_TMPDIR/backups"
    for name in ../x /tmp/x .x a/b '' "$(printf '%0129d' 0)"; do
        post /v1/admin/backup "$(jq -n --arg name "$name" '{file: $name}')"
        expect 422 validation-failed
    done
    ln -s /nowhere/at/all "$BATS_TEST_TMPDIR/backups/link"
    post /v1/admin/backup '{"file":"link"}'
    expect 409 backup-exists
    rm -r "$BATS_TEST_TMPDIR/backups"
    post /v1/admin/backup '{"file":"x"}'
    expect 500 backup-failed
    log_has 'backup failed.*backups/'
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    stop_poold TERM
    start_poold
    post /v1/admin/backup '{"file":"x"}'
    expect 409 no-backups
    try_poold --listen 127.0.0.1:0 --data "$BATS_TEST_TMPDIR/other" --backup-dir /nowhere
    [ "$status" = 78 ]
    [[ $output == *"/nowhere is not a folder"* ]]
}

@test "poold backup refuses a file that is there, and copies what is at rest" {
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    stop_poold KILL
    run "${poold[@]}" backup "$BATS_TEST_TMPDIR/copy.db" --data "$POOLD_DATA_DIR"
    [ "$status" = 0 ]
    run "${poold[@]}" backup "$BATS_TEST_TMPDIR/copy.db" --data "$POOLD_DATA_DIR"
    [ "$status" = 73 ]
    [[ $output == *"copy.db: is there already"* ]]
    restored copy.db
    [ "$(result "$job")" = 9 ]
}
