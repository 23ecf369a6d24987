# SPDX-License-Identifier: MIT
# The disk and the database fail: full, damaged, taken, written by others. The numbers are those
# of the table of faults.
# shellcheck disable=SC2154 # bats sets $status and $output
load helpers

HUGE=1125899906842624 # more than any disk has free

# mount_data SIZE: the data directory is a disk of its own.
mount_data() {
    [ "$(id -u)" = 0 ] || skip "a small disk needs root"
    mkdir -p "$POOLD_DATA_DIR"
    mount -t tmpfs -o "size=$1" tmpfs "$POOLD_DATA_DIR" 2>/dev/null || skip "tmpfs cannot be mounted"
    MOUNTED=$POOLD_DATA_DIR
}

teardown() {
    teardown_server
    [ -z "${MOUNTED:-}" ] || umount -l "$MOUNTED"
}

free_bytes() { echo $(($(stat -f -c '%a * %S' "$POOLD_DATA_DIR"))); }

# fill_disk [N]: leaves N bytes.
fill_disk() {
    local bytes=$(($(free_bytes) - ${1:-0}))
    [ "$bytes" -le 0 ] || fallocate -l "$bytes" "$POOLD_DATA_DIR/filler.$((++FILLERS))"
}

free_disk() { rm -f "$POOLD_DATA_DIR"/filler.*; }

disk_is() {
    http GET /v1/info
    [ "$(jq -r .disk.state <<<"$BODY")" = "$1" ]
}

integrity() { sqlite3 "$POOLD_DATA_DIR/poold.db" 'PRAGMA integrity_check'; }

# ---- F19: the disk is full -------------------------------------------------------------------

@test "F19: below disk_high new jobs are refused, the old ones go on and can be read" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[9]}' -H 'Idempotency-Key: k-1'
    job=$(jq -r .id <<<"$BODY")
    failed=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$failed" failed
    waiting=$(submit apply_async '{"task":"square","args":[3],"delay":2}')
    stop_poold TERM
    start_poold --disk-high $HUGE --disk-low 0
    disk_is short
    get /readyz
    expect 200
    for call in apply apply_async; do
        post /v1/$call '{"task":"square","args":[1]}'
        expect 503 storage-full
        [ "$(header retry-after)" -ge 1 ]
    done
    post /v1/batch '[{"method":"apply_async","task":"square","args":[1]}]'
    expect 503 storage-full
    post "/v1/jobs/$failed/retry" ''
    expect 503 storage-full
    post /v1/apply '{"task":"square","args":[4],"durability":"memory"}'
    expect 200
    body_is .result 16
    post /v1/apply_async '{"task":"square","args":[9]}' -H 'Idempotency-Key: k-1'
    expect 202
    body_is .id "\"$job\""
    [ "$(result "$job")" = 81 ]
    [ "$(result "$waiting")" = 9 ]
}

@test "F19: below disk_low no work is handed out, and it is when there is room" {
    start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[600]}')
    next=$(submit apply_async '{"task":"square","args":[3]}')
    [ "$(stat -c %s "$POOLD_DATA_DIR/poold.ballast")" -gt 0 ]
    restart_poold KILL
    stop_poold KILL
    start_poold --processes 1 --disk-high $HUGE --disk-low $HUGE
    disk_is full
    [ ! -e "$POOLD_DATA_DIR/poold.ballast" ]
    get /readyz
    expect 503 not-ready
    [[ $BODY == *"disk is full"* ]]
    log_has 'the disk is full'
    [ "$(idle_workers)" = 1 ]
    [ "$(field "$next" .state)" = queued ]
    post "/v1/jobs/$job/cancel" '{"terminate":true}'
    restart_poold TERM
    [ "$(field "$next" .state)" = queued ]
    stop_poold TERM
    start_poold --processes 1
    [ "$(result "$next")" = 9 ]
}

@test "F19: a disk that fills up loses nothing: submissions, results, checkpoint, start" {
    mount_data 16m
    start_poold --processes 1
    [ "$(stat -c %s "$POOLD_DATA_DIR/poold.ballast")" = $((16 * 1024 * 1024 / 80)) ]
    running=$(submit apply_async '{"task":"sleep","args":[4]}')
    wait_for_state "$running" running
    # At submissions, from the last page on: those that were told 202 exist, the others do not.
    fill_disk 2000000
    text=$(head -c 100000 /dev/zero | tr '\0' x)
    jobs=()
    while post /v1/apply_async "{\"task\":\"echo\",\"args\":[\"$text\"]}" >/dev/null &&
        [ "$STATUS" = 202 ]; do
        jobs+=("$(jq -r .id <<<"$BODY")")
    done
    expect 503 storage-full
    [ "${#jobs[@]}" -ge 1 ]
    # At the result, and at the checkpoint of a server that is idle.
    fill_disk
    eventually disk_is full
    fill_disk
    wait_for_state "$running" succeeded
    http GET /healthz
    expect 200
    [ "$(job_count)" = $((${#jobs[@]} + 1)) ]
    # At the start: refused in plain words, or there with all jobs.
    stop_poold KILL
    fill_disk
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --drain-timeout 0
    [ "$status" = 73 ]
    [[ $output == *"disk"* || $output == *"space"* || $output == *"full"* ]]
    free_disk
    start_poold --processes 1
    for job in "${jobs[@]}"; do
        wait_for_state "$job" succeeded
    done
    [ "$(job_count)" = $((${#jobs[@]} + 1)) ]
    eventually disk_is enough
    stop_poold TERM
    [ "$(integrity)" = ok ]
}

@test "F19: the ballast lets a server start whose disk is full" {
    mount_data 16m
    start_poold
    job=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$job" succeeded
    stop_poold TERM
    fill_disk
    start_poold
    disk_is full
    [ "$(result "$job")" = 9 ]
    post /v1/apply '{"task":"square","args":[1]}'
    expect 503 storage-full
    free_disk
    eventually disk_is enough
    [ -s "$POOLD_DATA_DIR/poold.ballast" ]
    post /v1/apply '{"task":"square","args":[1]}'
    expect 200
}
