# SPDX-License-Identifier: MIT
# Settings, and starts that must fail: with a reason, an exit code and nothing changed.
load helpers

@test "poold tells its version" {
    run "${poold[@]}" --version
    [ "$status" = 0 ]
    [[ $output =~ ^poold\ [0-9]+\.[0-9]+\.[0-9]+ ]]
}

@test "an unknown command is refused with the usage" {
    for command in nonsense --nonsense ''; do
        run "${poold[@]}" $command
        [ "$status" != 0 ]
        [[ $output == *serve* ]]
    done
}

@test "serve --help names every setting, and starts nothing" {
    run "${poold[@]}" serve --help --data /nonsense
    [ "$status" = 0 ]
    for flag in --listen --data --processes --max-body-bytes --drain-timeout --log-level; do
        [[ $output == *"$flag"* ]]
    done
}

@test "a flag beats the environment, which beats the file" {
    echo '{"processes":3,"max_items":5}' >"$BATS_TEST_TMPDIR/poold.json"
    POOLD_PROCESSES=2 start_poold --processes 1 --config "$BATS_TEST_TMPDIR/poold.json"
    [ "$(get /v1/pools/default | jq .processes)" = 1 ]
    post /v1/map '{"task":"square","items":[1,2,3,4,5,6]}'
    expect 413 too-many-items
}

@test "a wrong setting is refused with its name, its source and its value" {
    echo '{"processes":"many"}' >"$BATS_TEST_TMPDIR/type.json"
    echo '{"prosesses":1}' >"$BATS_TEST_TMPDIR/name.json"
    echo '{"processes":' >"$BATS_TEST_TMPDIR/syntax.json"
    data=(--data "$POOLD_DATA_DIR" --listen 127.0.0.1:0)
    try_poold "${data[@]}" --processes 0
    [ "$status" = 78 ] && [[ $output == *--processes* ]]
    try_poold "${data[@]}" --processes four
    [ "$status" = 78 ] && [[ $output == *four* ]]
    try_poold "${data[@]}" --prosesses 1
    [ "$status" = 78 ] && [[ $output == *--prosesses* ]]
    POOLD_PROCESSES=four try_poold "${data[@]}"
    [ "$status" = 78 ] && [[ $output == *POOLD_PROCESSES* ]]
    POOLD_PROSESSES=1 try_poold "${data[@]}"
    [ "$status" = 78 ] && [[ $output == *POOLD_PROSESSES* ]]
    for file in type name syntax missing; do
        try_poold "${data[@]}" --config "$BATS_TEST_TMPDIR/$file.json"
        [ "$status" = 78 ] && [[ $output == *$file.json* ]]
    done
    [ ! -e "$POOLD_DATA_DIR" ]
}

@test "an address that others can reach needs --insecure" {
    try_poold --listen 0.0.0.0:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 78 ]
    [[ $output == *insecure* ]]
}

@test "a data directory that cannot be made is refused, and named" {
    touch "$BATS_TEST_TMPDIR/file"
    for data in "$BATS_TEST_TMPDIR/file" "$BATS_TEST_TMPDIR/file/sub" /proc/poold; do
        try_poold --listen 127.0.0.1:0 --data "$data"
        [ "$status" = 73 ]
        [[ $output == *"$data"* ]]
    done
    [ ! -s "$BATS_TEST_TMPDIR/file" ]
}

@test "F64: a port in use is refused, and the server that has it goes on" {
    start_poold
    try_poold --listen "${URL#http://}" --data "$BATS_TEST_TMPDIR/other"
    [ "$status" = 69 ]
    [[ $output == *"${URL##*:}"* ]]
    get /healthz
    expect 200
}

@test "F64: a second server on the same data is refused, and the first goes on" {
    start_poold
    job=$(submit apply_async '{"task":"sleep","args":[0.5]}')
    most=0
    for _ in {1..20}; do
        begin=$(date +%s%N)
        try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
        ms=$((($(date +%s%N) - begin) / 1000000))
        [ "$status" = 75 ]
        [[ $output == *"$POOLD_DATA_DIR"* ]]
        [ "$ms" -le "$most" ] || most=$ms
        post /v1/apply '{"task":"square","args":[3]}'
        body_is .result 9
    done
    wait_for_state "$job" succeeded
    figure G11 "20 second servers: 20 refused, within $most ms; the first answered after each"
}

# Makes a database that holds one finished job. Sets DB.
make_database() {
    start_poold
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    stop_poold TERM
    DB=$(echo "$POOLD_DATA_DIR"/*.db)
    [ -s "$DB" ]
}

# The database as it is now is refused: exit code 65, the message names it, its bytes stay.
refused_untouched() {
    local before
    before=$(cd "$POOLD_DATA_DIR" && sha256sum -- *.db*)
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR"
    [ "$status" = 65 ]
    [[ $output == *"$DB"* ]]
    [[ $output =~ $1 ]]
    (cd "$POOLD_DATA_DIR" && sha256sum --quiet -c - <<<"$before")
}

@test "F60: a database that is a text file is refused and left alone" {
    make_database
    echo 'this is no database, but somebody wants to keep it' >"$DB"
    refused_untouched 'not|corrupt|damaged'
}

@test "F60: a database of zero length is refused and left alone" {
    make_database
    : >"$DB"
    refused_untouched 'empty|zero|0 bytes'
}

@test "F60: a truncated database is refused and left alone" {
    make_database
    truncate -s -4096 "$DB"
    refused_untouched 'corrupt|damaged|malformed|truncated'
}

@test "F60: a database with random bytes in it is refused and left alone" {
    make_database
    head -c 8192 /dev/zero | tr '\0' '\377' |
        dd of="$DB" bs=4096 seek=1 conv=notrunc status=none
    refused_untouched 'corrupt|damaged|malformed'
}

@test "F62: a database of another program is refused and left alone" {
    make_database
    sqlite3 "$DB" 'PRAGMA application_id = 1234'
    refused_untouched 'another|other|not a poold|foreign'
}

@test "F62: a database of a newer version is refused and left alone" {
    make_database
    sqlite3 "$DB" 'PRAGMA user_version = 999'
    refused_untouched '999'
}

@test "an untouched database is accepted again" {
    make_database
    start_poold
    [ "$(job_count)" = 1 ]
}

@test "the store memory needs no directory and keeps nothing" {
    start_poold --store memory
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
    [ ! -e "$POOLD_DATA_DIR" ] || [ -z "$(ls -A "$POOLD_DATA_DIR")" ]
    restart_poold TERM
    [ "$(job_count)" = 0 ]
}

@test "with log_format json every line of the log is an object" {
    start_poold --log-format json
    post /v1/apply '{"task":"safe_square","args":[-1]}'
    stop_poold TERM
    [ "$(wc -l <"$POOLD_STDERR")" -ge 2 ]
    jq -es 'all(type == "object" and has("level"))' "$POOLD_STDERR"
}
