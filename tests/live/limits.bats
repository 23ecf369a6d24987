# SPDX-License-Identifier: MIT
# What tasks may use and see: settings, pools, and what is left of their folders.
load helpers

limit_of() { sed -n "s/^$2  *\([^ ]*\) .*/\1/p" "/proc/$1/limits"; }
scratch_dirs() { find "$BATS_TEST_TMPDIR/tmp" -mindepth 1 -maxdepth 1 -name 'poold-*'; }

no_sanitizer() {
    ! sanitized || skip 'a sanitizer needs terabytes of address space'
}

@test "limits of the settings hold for workers, and are told" {
    no_sanitizer
    start_poold --processes 1 --memory-limit 1073741824 --file-size-limit 1000000 \
        --open-files-limit 64 --cpu-limit 2.5 --process-limit 5000
    pid=$(worker_pid 0)
    [ "$(limit_of "$pid" 'Max address space')" = 1073741824 ]
    [ "$(limit_of "$pid" 'Max file size')" = 1000000 ]
    [ "$(limit_of "$pid" 'Max open files')" = 64 ]
    [ "$(limit_of "$pid" 'Max processes')" = 5000 ]
    [ "$(limit_of "$pid" 'Max core file size')" = 0 ]
    get /v1/info >/dev/null
    body_is '.limits | [.memory_limit,.file_size_limit,.open_files_limit,.cpu_limit,.process_limit]' \
        '[1073741824,1000000,64,2.5,5000]'
    get /v1/tasks/square >/dev/null
    body_is '.limits | [.memory_limit,.cpu_limit]' '[1073741824,2.5]'
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
}

@test "a pool's own limits come before the settings, survive a restart, and can be changed" {
    start_poold --open-files-limit 64
    post /v1/pools '{"name":"p","processes":1,"open_files_limit":128,"cpu_limit":1}' >/dev/null
    expect 201
    body_is '[.open_files_limit,.cpu_limit,.memory_limit]' '[128,1,null]'
    eventually files_are 128
    http PATCH /v1/pools/p -H 'Content-Type: application/json' \
        -d '{"open_files_limit":256,"file_size_limit":5000,"cpu_limit":null}'
    expect 200
    eventually files_are 256
    restart_poold
    get /v1/pools/p >/dev/null
    body_is '[.open_files_limit,.file_size_limit,.cpu_limit]' '[256,5000,null]'
    eventually files_are 256
    http PATCH /v1/pools/p -H 'Content-Type: application/json' -d '{"open_files_limit":null}'
    eventually files_are 64
}
files_are() {
    local pid
    pid=$(worker_pid 0 '.pool == "p" and .state == "idle"') &&
        [ "$(limit_of "$pid" 'Max open files')" = "$1" ]
}

@test "an item over its processor time fails with time-limit, and is not tried again" {
    start_poold --processes 1 --cpu-limit 1
    job=$(submit apply_async '{"task":"cpu_bound","args":[100000000000]}')
    wait_for_state "$job" failed
    get "/v1/jobs/$job/result"
    expect 422 time-limit
    body_is '.detail' '"the item used more processor time than its cpu_limit"'
    get "/v1/jobs/$job/attempts" >/dev/null
    body_is '[.attempts[] | [.kind, .attempt]]' '[["time-limit",1]]'
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
}

@test "row 104: memory over the limit is out-of-memory, and other items go on" {
    no_sanitizer
    start_poold --processes 1 --memory-limit 67108864
    post /v1/map '{"task":"matmul","items":[4,4000,3]}' >/dev/null
    expect 422 out-of-memory
    body_is .item 1
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
}

@test "workers run in folders of their own, which go with them and with the server" {
    mkdir "$BATS_TEST_TMPDIR/tmp"
    start_poold --processes 2 --scratch-dir "$BATS_TEST_TMPDIR/tmp"
    dir=$(scratch_dirs)
    [ "$(stat -c %a "$dir")" = 700 ]
    pid=$(worker_pid 0)
    [ "$(readlink "/proc/$pid/cwd")" = "$dir/$pid" ]
    echo left >"$dir/$pid/file"
    kill -KILL "$pid"
    eventually [ ! -e "$dir/$pid" ]
    stop_poold
    [ -z "$(scratch_dirs)" ]
}

@test "what a killed server has left in the scratch folder, the next one clears away" {
    mkdir "$BATS_TEST_TMPDIR/tmp"
    start_poold --processes 1 --scratch-dir "$BATS_TEST_TMPDIR/tmp"
    dir=$(scratch_dirs)
    kill -STOP "$(awk '/^PPid/ {print $2}' "/proc/$(worker_pid 0)/status")"
    stop_poold KILL
    mkdir -p "$dir/4711/folder"
    echo left >"$dir/4711/folder/file"
    start_poold --processes 1 --scratch-dir "$BATS_TEST_TMPDIR/tmp"
    [ "$(scratch_dirs)" = "$dir" ]
    [ ! -e "$dir/4711" ]
}

@test "what is in force is told and logged" {
    start_poold
    get /v1/info >/dev/null
    body_is '.confinement | [.no_new_privs, .user, (.seccomp | type)]' '[true,null,"boolean"]'
    log_has 'tasks are confined seccomp='
    restart_poold
    stop_poold
    start_poold --sandbox off
    get /v1/info >/dev/null
    body_is '.confinement' '{"no_new_privs":true,"seccomp":false,"landlock":null,"user":null,"cgroup":null}'
    log_has 'tasks can read the database'
}

@test "as another user workers cannot be the server" {
    [ "$(id -u)" = 0 ] || skip "not root"
    chmod 711 "$BATS_TEST_TMPDIR"
    mkdir -m 755 "$BATS_TEST_TMPDIR/tmp"
    start_poold --processes 1 --task-user 54321:54322 --scratch-dir "$BATS_TEST_TMPDIR/tmp"
    pid=$(worker_pid 0)
    [ "$(stat -c %u:%g "/proc/$pid/")" = 54321:54322 ]
    [ "$(stat -c %u "$POOLD_DATA_DIR/poold.db")" = 0 ]
    get /v1/info >/dev/null
    body_is .confinement.user 54321
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
    stop_poold
    [ -z "$(scratch_dirs)" ]
}

@test "settings that cannot be are refused at the start" {
    data=(--listen 127.0.0.1:0 --data "$POOLD_DATA_DIR")
    for flags in '--memory-limit 1000' '--open-files-limit 31' '--sandbox on' \
        '--scratch-dir /nonesuch' '--task-write /nonesuch' '--task-write /etc/passwd' \
        '--task-user no-such-user' '--cpu-limit -1' "--task-write $BATS_RUN_TMPDIR"; do
        # shellcheck disable=SC2086 # a flag and its value
        try_poold "${data[@]}" $flags
        [ "$status" = 78 ] || [ "$status" = 2 ] || { echo "$flags: $status $output"; return 1; }
    done
    mkdir -p "$POOLD_DATA_DIR/in"
    try_poold "${data[@]}" --scratch-dir "$POOLD_DATA_DIR/in"
    [ "$status" != 0 ]
    [[ $output == *"lies in the data directory"* ]]
}

@test "files of tasks are looked at under the limits and the confinement of workers" {
    no_sanitizer
    tasks=$BATS_TEST_TMPDIR/tasks
    mkdir "$tasks"
    echo 'def one(): return 1' >"$tasks/good.py"
    printf 'x = bytearray(600 << 20)\ndef one(): return 1\n' >"$tasks/large.py"
    printf 'open("%s/poold.db")\ndef one(): return 1\n' "$POOLD_DATA_DIR" >"$tasks/reader.py"
    cat >"$tasks/caller.py" <<'END'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x20000) == -1:
    raise OSError(ctypes.get_errno(), "unshare is refused")
def one(): return 1
END
    start_poold # so that there is a database
    stop_poold
    start_poold --tasks "$tasks" --memory-limit 500000000
    get /v1/tasks >/dev/null
    why() { jq -r ".refused[] | select(.file | endswith(\"/$1.py\")) | .reason" <<<"$BODY"; }
    [[ $(why large) == *MemoryError* ]]
    get /v1/info >/dev/null
    seccomp=$(jq .confinement.seccomp <<<"$BODY") landlock=$(jq .confinement.landlock <<<"$BODY")
    get /v1/tasks >/dev/null
    [ "$landlock" = null ] || [[ $(why reader) == *PermissionError* ]]
    [ "$seccomp" = false ] || [[ $(why caller) == *"unshare is refused"* ]]
    [ -z "$(why good)" ]
    # By hand there is no data folder to hide, and no limit.
    run "${poold[@]}" tasks "$tasks"
    [[ $output == *"large:one"* && $output == *"unshare is refused"* ]]
    run "${poold[@]}" tasks --confine none "$tasks"
    [[ $output != *refused:* || $(id -u) != 0 ]]
    run "${poold[@]}" tasks --confine nonsense "$tasks"
    [ "$status" = 2 ]
}
