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

@test "row 97, F19: below disk_high new jobs are refused, the old ones go on and can be read" {
    start_poold
    post /v1/apply_async '{"task":"square","args":[9]}' -H 'Idempotency-Key: k-1'
    job=$(jq -r .id <<<"$BODY")
    failed=$(submit apply_async '{"task":"safe_square","args":[-1]}')
    wait_for_state "$failed" failed
    waiting=$(submit apply_async '{"task":"square","args":[3],"delay":2}')
    stop_poold TERM
    start_poold --disk-high $HUGE --disk-low 0
    disk_is short
    eventually is_ready
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
    eventually idle_workers_are 1
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
    eventually idle_workers_are 1 # its result is held, or has found room
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
    for job in "$running" "${jobs[@]}"; do
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

# ---- F18, F20: no memory, a disk with errors ---------------------------------------------------

# start_shimmed [FLAG...]: a server whose disk and memory fail when a test says so; see shim.c.
start_shimmed() {
    [ -e "${SHIM:-}" ] || skip "without the library that makes it fail"
    SHIM_DIR=$BATS_TEST_TMPDIR/faults
    mkdir -p "$SHIM_DIR"
    preload "$SHIM" SHIM_DIR="$SHIM_DIR"
    start_poold "$@"
}

@test "F18: a server short of memory goes on, and what it has acknowledged is done" {
    # A sanitizer has an allocator of its own.
    ! sanitized || skip "allocations cannot be made to fail in this build"
    start_shimmed --processes 1
    echo 401 >"$SHIM_DIR/malloc"
    for i in {1..25}; do
        http POST /v1/apply_async --max-time 5 -H 'Content-Type: application/json' \
            -d "{\"task\":\"square\",\"args\":[$i]}" || true
        [ "$STATUS" != 202 ] || jobs[i]=$(jq -r .id <<<"$BODY")
        # Or no answer at all: never that the request is wrong.
        [[ $STATUS =~ ^(202|503|000)$ ]]
    done
    rm "$SHIM_DIR/malloc"
    [ "${#jobs[@]}" -ge 1 ]
    ! gone "$POOLD_PID"
    is_well() { http POST /v1/apply -H 'Content-Type: application/json' -d '{"task":"square","args":[3]}' && [ "$STATUS" = 200 ]; }
    eventually is_well
    for i in "${!jobs[@]}"; do
        [ "$(result "${jobs[i]}")" = $((i * i)) ]
    done
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
}

# The commit under the fault is answered with 503, the server ends with 74, and after a new start
# everything that was acknowledged is there, and the request that was not makes one job.
survives_fault() {
    start_shimmed --processes 1
    before=$(submit apply_async '{"task":"square","args":[3]}')
    wait_for_state "$before" succeeded
    touch "$SHIM_DIR/$1"
    post /v1/apply_async '{"task":"square","args":[4]}' -H 'Idempotency-Key: k-1' || true
    [ "$STATUS" = 503 ] || [ "$STATUS" = 000 ]
    if [ "$STATUS" = 503 ]; then
        expect 503 storage-error
        body_is .outcome '"unknown"'
        [ -n "$(header retry-after)" ]
    fi
    wait_for_exit
    [ "$POOLD_STATUS" = 74 ]
    log_has 'start again to recover'
    rm "$SHIM_DIR/$1"
    start_poold --processes 1
    [ "$(result "$before")" = 9 ]
    post /v1/apply_async '{"task":"square","args":[4]}' -H 'Idempotency-Key: k-1'
    expect 202
    [ "$(result "$(jq -r .id <<<"$BODY")")" = 16 ]
    [ "$(job_count)" = 2 ]
    stop_poold TERM
    [ "$(integrity)" = ok ]
}

@test "row 98, F20: an error of the disk at a write ends the server, and loses nothing" {
    survives_fault write
}

@test "row 98, F20: an error of the disk at a sync ends the server, and loses nothing" {
    survives_fault sync
}

@test "F20: an error of the disk at a read is told, and nobody is given wrong bytes" {
    start_shimmed --processes 1
    job=$(submit apply_async "{\"task\":\"echo\",\"args\":[\"$(head -c 500000 /dev/zero | tr '\0' x)\"]}")
    wait_for_state "$job" succeeded
    restart_poold TERM
    stop_poold TERM
    start_shimmed --processes 1
    touch "$SHIM_DIR/read"
    get "/v1/jobs/$job/result" >/dev/null
    expect 503 storage-unreadable # and not that the result is damaged
    [ "$(header retry-after)" -ge 1 ]
    get /healthz
    expect 200
    rm "$SHIM_DIR/read"
    get "/v1/jobs/$job/result" >/dev/null
    expect 200
    [ "$(result "$job" | wc -c)" = 500003 ]
}

# ---- F60, F61, F63: damage ---------------------------------------------------------------------

# Makes a database with two finished jobs, by a server that was stopped (or SIGNAL). Sets DB.
make_database() {
    start_poold
    first=$(submit apply_async '{"task":"echo","args":["the first of the results"]}')
    second=$(submit apply_async '{"task":"echo","args":["the second of them"]}')
    wait_for_state "$first" succeeded
    wait_for_state "$second" succeeded
    stop_poold "${1:-TERM}"
    DB=$POOLD_DATA_DIR/poold.db
    [ -s "$DB" ]
}

# The files as they are now are refused: exit code 65, a reason, and their bytes stay.
refused_untouched() {
    local before
    before=$(cd "$POOLD_DATA_DIR" && sha256sum -- poold.db*)
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 65 ]
    [[ $output =~ $1 ]]
    [ "$(cd "$POOLD_DATA_DIR" && sha256sum -- poold.db*)" = "$before" ]
}

@test "F60: a directory in place of the database is refused and left alone" {
    mkdir -p "$POOLD_DATA_DIR/poold.db/what is this"
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 65 ]
    [[ $output == *"poold.db: is not a regular file"* ]]
    [ -d "$POOLD_DATA_DIR/poold.db/what is this" ]
}

@test "F60: a database that is random from its first byte on is refused and left alone" {
    make_database
    head -c 8192 /dev/urandom | dd of="$DB" conv=notrunc status=none
    refused_untouched 'is not an SQLite database'
}

@test "F60: a database cut anywhere is refused and left alone, or whole" {
    make_database
    cp "$DB" "$BATS_TEST_TMPDIR/whole"
    size=$(stat -c %s "$DB")
    for cut in 1 15 16 99 100 4095 4096 $((size / 2)) $((size - 1)); do
        head -c "$cut" "$BATS_TEST_TMPDIR/whole" >"$DB"
        refused_untouched 'poold.db'
    done
}

@test "F61: without its -shm file a database is what it was" {
    make_database KILL
    rm -f "$DB-shm"
    start_poold
    [ "$(result "$first")" = '"the first of the results"' ]
    [ "$(result "$second")" = '"the second of them"' ]
}

@test "F61: without its -wal file a database has what was checkpointed, and is sound" {
    make_database
    start_poold
    third=$(submit apply_async '{"task":"square","args":[3]}')
    stop_poold KILL
    [ -s "$DB-wal" ]
    rm "$DB-wal"
    start_poold
    [ "$(result "$first")" = '"the first of the results"' ]
    get "/v1/jobs/$third"
    [ "$STATUS" = 404 ] || [ "$STATUS" = 200 ]
    stop_poold TERM
    run "${poold[@]}" check --data "$POOLD_DATA_DIR"
    [ "$status" = 0 ]
}

@test "F61: a -wal file without its database is refused and left alone" {
    make_database KILL
    [ -s "$DB-wal" ]
    rm "$DB"
    refused_untouched 'is missing, but .*-wal is there'
}

@test "F61: a -wal file of another database is refused and left alone, and the right one is taken" {
    local name here=$POOLD_DATA_DIR
    for name in one two; do
        POOLD_DATA_DIR=$here.$name
        start_poold --processes 1
        job=$(submit apply_async "{\"task\":\"echo\",\"args\":[\"of database $name\"]}")
        wait_for_state "$job" succeeded
        stop_poold TERM # the rest of the rows are in the WAL alone
        start_poold --processes 1
        declare "$name=$(submit apply_async '{"task":"square","args":[3]}')"
        wait_for_state "${!name}" succeeded
        stop_poold KILL
        [ -s "$POOLD_DATA_DIR/poold.db-wal" ]
    done
    mv "$here.one" "$here"
    POOLD_DATA_DIR=$here
    mv "$here/poold.db-wal" "$BATS_TEST_TMPDIR/wal"
    cp "$here.two/poold.db-wal" "$here/"
    refused_untouched 'poold.db-wal: is the write-ahead log of another database'
    rm "$here/poold.db-shm"
    refused_untouched 'poold.db-wal: is the write-ahead log of another database'
    before=$(cd "$here" && sha256sum -- poold.db*)
    run timeout "$PATIENCE" "${poold[@]}" check --data "$here"
    [ "$status" = 65 ]
    [[ $output == *"the write-ahead log of another database"* ]]
    run timeout "$PATIENCE" "${poold[@]}" backup "$BATS_TEST_TMPDIR/copy.db" --data "$here"
    [ "$status" = 65 ]
    [ ! -e "$BATS_TEST_TMPDIR/copy.db" ]
    [ "$(cd "$here" && sha256sum -- poold.db*)" = "$before" ]
    mv "$BATS_TEST_TMPDIR/wal" "$here/poold.db-wal"
    start_poold
    [ "$(result "$one")" = 9 ]
    [ "$(job_count)" = 2 ]
    get "/v1/jobs/$two"
    expect 404
}

@test "F63: one bit flipped in a stored result is told as result-corrupt, other jobs are fine" {
    make_database
    for place in $(grep -abo 'the first of the results' "$DB" | cut -d: -f1); do
        printf 'T' | dd of="$DB" bs=1 seek="$place" conv=notrunc status=none # t and T: one bit
    done
    start_poold
    get "/v1/jobs/$first/result"
    expect 500 result-corrupt
    get "/v1/jobs/$first"
    expect 200
    [ "$(result "$second")" = '"the second of them"' ]
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    stop_poold TERM
    run "${poold[@]}" check --data "$POOLD_DATA_DIR"
    [ "$status" = 65 ]
    [[ $output == *"$first"* && $output != *"$second"* ]]
}

# Makes a database of 200 jobs that are over, with results of many sizes. Sets DB; the ids are in IDS.
make_results() {
    start_poold
    IDS=$BATS_TEST_TMPDIR/ids
    post /v1/batch "$(jq -nc '[range(200) | {method: "apply_async", task: "echo",
        args: ["result \(.) \("x" * (1 + . * 37 % 3000)) \(.) end"]}]')" >/dev/null
    expect 202
    jq -r '.jobs[].id' <<<"$BODY" >"$IDS"
    post /v1/jobs/wait "$(jq -Rnc '{ids: [inputs], timeout: 60}' "$IDS")" >/dev/null
    body_is '[.done, .not_done | length]' '[200,0]'
    stop_poold TERM
    DB=$POOLD_DATA_DIR/poold.db
    cp "$DB" "$BATS_TEST_TMPDIR/whole"
}

# Of each of IDS it is told: right, corrupt (500 result-corrupt), or what else was answered.
read_results() {
    "${PYTHON3:-python3}" - "${URL#http://}" "$IDS" <<'PYTHON'
import http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
for n, id in enumerate(open(sys.argv[2]).read().split()):
    connection.request("GET", f"/v1/jobs/{id}/result")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    if answer.status == 200 and body["result"] == f"result {n} {'x' * (1 + n * 37 % 3000)} {n} end":
        print(n, "right")
    elif answer.status == 500 and body["type"] == "/problems/result-corrupt":
        print(n, "corrupt")
    else:
        print(n, answer.status, str(body)[:200])
PYTHON
}

@test "F63: of a hundred results with one flipped bit each none is served" {
    make_results
    "${PYTHON3:-python3}" - "$DB" <<'PYTHON'
import random, re, sys
data = bytearray(open(sys.argv[1], "rb").read())
for found in list(re.finditer(rb'"result (\d+) x+ \1 end"', bytes(data))):
    if int(found[1]) % 2:
        data[random.randrange(found.start(), found.end())] ^= 1 << random.randrange(8)
open(sys.argv[1], "wb").write(data)
PYTHON
    start_poold
    read_results >"$BATS_TEST_TMPDIR/told"
    cat "$BATS_TEST_TMPDIR/told"
    [ "$(grep -c ' right$' "$BATS_TEST_TMPDIR/told")" = 100 ]
    [ "$(grep -c ' corrupt$' "$BATS_TEST_TMPDIR/told")" = 100 ]
    [ "$(awk '$1 % 2 != ($2 == "corrupt")' "$BATS_TEST_TMPDIR/told" | wc -l)" = 0 ]
    figure G10 "100 results with one flipped bit: 100 told as damaged, 0 served"
}

@test "F60: a database damaged anywhere is refused and left alone, or nothing wrong is served" {
    make_results
    refused=0 told=0 unharmed=0
    for round in {1..20}; do
        cp "$BATS_TEST_TMPDIR/whole" "$DB"
        rm -f "$DB"-*
        place=$((100 + (RANDOM * 32768 + RANDOM) % ($(stat -c %s "$DB") - 612)))
        echo "round $round: 512 bytes at $place"
        head -c 512 /dev/urandom | dd of="$DB" bs=1 seek="$place" conv=notrunc status=none
        before=$(sha256sum <"$DB")
        if ! start_poold >/dev/null; then
            wait_for_exit
            [ "$POOLD_STATUS" = 65 ]
            [ "$(sha256sum <"$DB")" = "$before" ]
            refused=$((refused + 1))
            continue
        fi
        read_results >"$BATS_TEST_TMPDIR/told"
        grep -vE ' (right|corrupt)$' "$BATS_TEST_TMPDIR/told" && return 1
        stop_poold KILL
        run "${poold[@]}" check --data "$POOLD_DATA_DIR"
        if grep -q ' corrupt$' "$BATS_TEST_TMPDIR/told" || [ "$status" = 65 ]; then
            told=$((told + 1))
        else
            [ "$status" = 0 ]
            unharmed=$((unharmed + 1))
        fi
    done
    figure G10 "20 databases overwritten at random: $refused refused and left alone, $told told as damaged by results or poold check, $unharmed with all results right; 0 results wrong"
}

# ---- F62: other versions -----------------------------------------------------------------------

# A database of schema version 2 with a job that is over.
make_version_2() {
    local schema=$BATS_TEST_DIRNAME/../../schema
    mkdir -p "$POOLD_DATA_DIR"
    DB=$POOLD_DATA_DIR/poold.db
    old=0190a0a0-b0c0-7d0e-8000-000000000001
    sqlite3 "$DB" >/dev/null <<SQL
PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x706f6c64;
$(cat "$schema"/0001_*.sql "$schema"/0002_*.sql)
PRAGMA user_version = 2;
INSERT INTO job (key, id, method, durability, task, pool, priority, item_count, chunksize,
    created_at_ms, start_at_ms, expires_at_ms, time_limit_ms, result_ttl_ms, retries, crash_retries,
    backoff_initial_ms, backoff_max_ms, backoff_factor, backoff_jitter, return_exceptions,
    stop_on_error, cancel_on_disconnect, request_hash, input_len, checksum, state, completed, failed,
    attempt, started_at_ms, finished_at_ms, body, gone)
VALUES (0x0190a0a0b0c0d0e, x'0190a0a0b0c07d0e8000000000000001', 'apply', 'durable', 'square',
    'default', 0, 1, 0, 1000, 0, 0, 0, 315360000000, 0, 2, 1, 1, 1.0, 0, 0, 0, 0, 0, 3, 0, 'cancelled',
    0, 0, 0, 1000, 99999999999999, x'5b335d', 0);
SQL
}

@test "F62: an upgrade that is killed in the middle is made by the next start" {
    make_version_2
    before=$(sqlite3 -readonly "$DB" .dump | sha256sum)
    POOLD_FAULT=mid_migration:1:kill run timeout "$PATIENCE" "${poold[@]}" serve \
        --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 137 ] || skip "this build has no fault points"
    [ "$(sqlite3 -readonly "$DB" 'PRAGMA user_version')" = 2 ]
    [ "$(sqlite3 -readonly "$DB" .dump | sha256sum)" = "$before" ]
    for copy in "$DB" "$DB.v2.bak"; do
        [ "$(sqlite3 -readonly "$copy" 'PRAGMA integrity_check')" = ok ]
    done
    [ "$(stat -c %a "$DB.v2.bak")" = 600 ]
    start_poold
    [ "$(field "$old" .state)" = cancelled ]
    get /v1/info
    [ "$(jq .store.schema_version <<<"$BODY")" -gt 2 ]
    [ "$(sqlite3 -readonly "$DB.v2.bak" 'PRAGMA user_version')" = 2 ]
    post /v1/apply_async '{"task":"square","args":[3]}'
    expect 202
}

# ---- F64: taken, or not allowed ----------------------------------------------------------------

@test "F64: of ten servers that start on one database at the same time one runs" {
    mkdir -p "$POOLD_DATA_DIR"
    for i in {1..10}; do
        "${poold[@]}" serve --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --processes 1 \
            </dev/null >/dev/null 2>"$BATS_TEST_TMPDIR/server.$i" 3>&- &
        ALL_PIDS+=("$!")
    done
    nine_are_gone() {
        local pid count=0
        for pid in "${ALL_PIDS[@]}"; do gone "$pid" && count=$((count + 1)); done
        [ "$count" = 9 ]
    }
    eventually nine_are_gone
    one_is_ready() { grep -q 'server ready' "$BATS_TEST_TMPDIR"/server.*; }
    eventually one_is_ready
    for pid in "${ALL_PIDS[@]}"; do
        gone "$pid" || continue
        code=0
        wait "$pid" || code=$?
        [ "$code" = 75 ]
    done
    [ "$(cat "$BATS_TEST_TMPDIR"/server.* | grep -c 'another poold uses this directory')" = 9 ]
    figure G11 "10 servers at the same time: 9 refused, 1 runs"
}

@test "F64: a data directory that cannot be written is told, and nothing else is tried" {
    [ "$(id -u)" = 0 ] || skip "root is needed to be somebody else"
    make_database
    chmod 755 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/data"
    cp "$POOLD_BIN" "$BATS_RUN_TMPDIR/poold.$BATS_TEST_NUMBER"
    before=$(sha256sum "$DB")
    # Of somebody else; and one's own, but read-only.
    for owner in root nobody; do
        chown -R "$owner" "$POOLD_DATA_DIR"
        chmod 500 "$POOLD_DATA_DIR"
        chmod 400 "$POOLD_DATA_DIR"/*
        run env -u POOLD_BIN setpriv --reuid nobody --clear-groups timeout "$PATIENCE" \
            "$BATS_RUN_TMPDIR/poold.$BATS_TEST_NUMBER" serve --listen 127.0.0.1:0 \
            --data "$POOLD_DATA_DIR" --scratch-dir /tmp
        [ "$status" = 73 ]
        [[ $output == *"poold.db"*"ermission denied"* ]]
    done
    [ "$(sha256sum "$DB")" = "$before" ]
}
