# SPDX-License-Identifier: MIT
#
# What a container does to the server, without an engine: it is process 1 of its namespace, not
# root, without capabilities and new privileges, and can write in its data and scratch folders only.
load helpers

# launch_contained [FLAG...]: sets POOLD_PID, which ends with the server.
launch_contained() {
    unshare -mpf --mount-proc true 2>/dev/null || skip "namespaces need root"
    local home=$BATS_RUN_TMPDIR/contained-$BATS_TEST_NUMBER
    mkdir -p "$home/data" "$home/scratch"
    chown -R 10001:10001 "$home"
    cp "${poold[3]}" "$home/poold"
    chmod 755 "$home/poold" "$BATS_RUN_TMPDIR"
    env -u POOLD_BIN unshare -mpf --mount-proc --propagation private bash -c '
        set -e
        for folder in data scratch; do mount --bind "$1/$folder" "$1/$folder"; done
        mount -o remount,bind,ro /
        shift
        exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all \
            --bounding-set=-all "$@"
    ' bash "$home" "$home/poold" serve --listen 127.0.0.1:0 --data "$home/data" \
        --scratch-dir "$home/scratch" --processes 2 "$@" \
        </dev/null >/dev/null 2>>"$POOLD_STDERR" 3>&- 7>&- &
    POOLD_PID=$!
    ALL_PIDS=("$POOLD_PID")
}

# start_contained [FLAG...]: sets PID1, the server as seen from here, and URL.
start_contained() {
    local line
    launch_contained "$@"
    eventually log_has 'server ready'
    ready 0
    line=${line##*listen=}
    URL=http://${line%% *}
    PID1=$(children_of "$POOLD_PID")
    PID1=${PID1%% *}
    ALL_PIDS=("$PID1" "$POOLD_PID") # the second one ends with the first
}

status_of() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }

children_of() { cat "/proc/$1/task/$1/children"; }

no_zombies_below() {
    local child
    for child in $(children_of "$1"); do
        [ "$(sed 's/.*) //; s/ .*//' "/proc/$child/stat")" != Z ] || return 1
    done
}

@test "it runs as process 1, without root, capabilities or a file system to write on" {
    start_contained
    [ "$(status_of "$PID1" NSpid | awk '{print $NF}')" = 1 ]
    [ "$(status_of "$PID1" Uid | awk '{print $1}')" = 10001 ]
    [ "$(status_of "$PID1" CapEff)" = 0000000000000000 ]
    [ "$(status_of "$PID1" CapBnd)" = 0000000000000000 ]
    [ "$(status_of "$PID1" NoNewPrivs)" = 1 ]
    grep -qE '^[^ ]+ / [^ ]+ ro' "/proc/$PID1/mounts"
    post /v1/map '{"task":"square","items":[1,2,3]}'
    body_is .result '[1,4,9]'
    job=$(submit apply_async '{"task":"square","args":[4]}')
    [ "$(result "$job")" = 16 ]
}

@test "as process 1 it ends with SIGTERM, and its exit code is 0" {
    start_contained
    kill -TERM "$PID1"
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
    log_has 'server stopped'
}

reads() {
    PID1=$(children_of "$POOLD_PID" 2>/dev/null)
    PID1=${PID1%% *}
    [ -n "$PID1" ] && has_open "$PID1" "$1"
}

@test "as process 1 it ends with a SIGTERM that comes before anything is open" {
    pipe_that_waits "$BATS_RUN_TMPDIR/settings"
    launch_contained --config "$BATS_RUN_TMPDIR/settings"
    eventually reads "$BATS_RUN_TMPDIR/settings"
    ALL_PIDS=("$PID1" "$POOLD_PID")
    kill -TERM "$PID1"
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
    log_has 'stopped before the start'
}

@test "as process 1 it reaps those whom nobody else waits for" {
    local forkserver
    start_contained
    job=$(submit map_async '{"task":"sleep","items":[60,60]}')
    wait_for_state "$job" running
    forkserver=$(children_of "$PID1")
    forkserver=${forkserver%% *}
    [ -n "$(children_of "$forkserver")" ] # the workers, who are the server's when it is killed
    kill -KILL "$forkserver"
    eventually gone "$forkserver"
    eventually no_zombies_below "$PID1"
    # New workers, and they are at the job again.
    eventually idle_workers_are 0
    wait_for_state "$job" running
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    wait_for_state "$job" cancelled
}
