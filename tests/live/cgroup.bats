# SPDX-License-Identifier: MIT
# Control groups of version 2: each worker in its own, and what that is good for.
load helpers

# A hierarchy that is mounted for the test, and in it a group that the test may do with what it
# likes. What a kernel has given to hierarchies of version 1 is missing in it.
setup_group() {
    [ "$(id -u)" = 0 ] || skip 'mounting a hierarchy takes root'
    MOUNT=$BATS_TEST_TMPDIR/cgroup2
    mkdir "$MOUNT"
    mount -t cgroup2 none "$MOUNT" 2>/dev/null || skip 'no cgroup2 can be mounted here'
    [ -e "$MOUNT/cgroup.procs" ] || skip 'no cgroup2 can be mounted here'
    GROUP=$MOUNT/poold-test-$$-$BATS_TEST_NUMBER
    mkdir "$GROUP" || skip 'no group can be made here'
}

teardown() {
    local group
    teardown_server
    [ -n "${GROUP:-}" ] || return 0
    [ ! -e "$GROUP/cgroup.kill" ] || echo 1 >"$GROUP/cgroup.kill"
    eventually not_populated
    find "$GROUP" -depth -type d -exec rmdir {} +
    umount "$MOUNT"
}
not_populated() { grep -q 'populated 0' "$GROUP/cgroup.events"; }

base() { find "$GROUP" -mindepth 1 -maxdepth 1 -name 'poold-*'; }
groups() { find "$(base)" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort; }
groups_are() { [ "$(groups | tr '\n' ' ')" = "$1" ]; }
has_controller() { grep -qw "$1" "$GROUP/cgroup.controllers"; }

tasks() {
    TASKS=$BATS_TEST_TMPDIR/tasks
    mkdir -p "$TASKS"
    cat >"$TASKS/daemon.sh" <<'SCRIPT'
#!/bin/sh
setsid sh -c 'setsid sleep 600 >/dev/null 2>&1 & echo $! >pid'
sleep 600
SCRIPT
    chmod +x "$TASKS/daemon.sh"
    jq -n '{name: "daemon", command: ["./daemon.sh"], mode: "oneshot"}' >"$TASKS/daemon.json"
    cat >"$TASKS/group.py" <<'SCRIPT'
import os, signal, subprocess

def mine(_=None):
    with open("/proc/self/cgroup") as file:
        return [line for line in file if line.startswith("0::")][0].strip()[3:]

def write(path):
    with open(path, "w") as file:
        file.write("0")

def eat(megabytes):
    """In two processes, neither of which has more than half of it."""
    children = [subprocess.Popen(["python3", "-c", f"x = b'x' * ({megabytes} << 19); input()"],
                                 stdin=subprocess.PIPE) for _ in range(2)]
    return [child.wait() for child in children]

def fork(count):
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(count)]
    for child in children:
        child.kill()
        child.wait()
    return count
SCRIPT
}

@test "each worker has a group, which goes with it, and all of them with the server" {
    setup_group
    start_poold --processes 2 --cgroup "$GROUP"
    get /v1/info >/dev/null
    body_is '.confinement.cgroup | [.dir, .kill]' "[\"$(base)\",true]"
    log_has 'workers have control groups dir=.* kill=yes '
    one=$(worker_pid 0) two=$(worker_pid 1)
    eventually groups_are "$(printf '%s\n' "$one" "$two" | sort | tr '\n' ' ')"
    grep -q "/$one\$" "/proc/$one/cgroup"
    kill -KILL "$one"
    eventually idle_again
    eventually [ ! -e "$(base)/$one" ]
    stop_poold
    [ -z "$(base)" ]
}
idle_again() { [ "$(workers | jq -s 'map(select(.state == "idle")) | length')" = 2 ]; }

@test "programs and Python tasks run in the group of their worker" {
    setup_group
    tasks
    start_poold --processes 1 --cgroup "$GROUP" --tasks "$TASKS"
    pid=$(worker_pid 0)
    get /v1/info >/dev/null
    dir=$(jq -r .confinement.cgroup.dir <<<"$BODY")
    post /v1/apply '{"task":"group:mine"}' >/dev/null
    body_is .result "\"${dir#"$MOUNT"}/$pid\""
    submit apply_async '{"task":"daemon"}' >/dev/null
    eventually [ -s "$TASKS/pid" ]
    grep -qx "$(cat "$TASKS/pid")" "$dir/$pid/cgroup.procs"
    kill -KILL "$pid"
    eventually gone "$(cat "$TASKS/pid")"
    eventually [ ! -e "$dir/$pid" ]
}

@test "tasks cannot leave their group" {
    setup_group
    tasks
    start_poold --processes 1 --cgroup "$GROUP" --tasks "$TASKS"
    get /v1/info >/dev/null
    [ "$(jq .confinement.landlock <<<"$BODY")" != null ] || skip 'no Landlock'
    for file in "$MOUNT/cgroup.procs" "$(base)/$(worker_pid 0)/cgroup.procs"; do
        post /v1/apply "{\"task\":\"group:write\",\"args\":[\"$file\"]}" >/dev/null
        expect 422 task-error
        [[ $(jq -r .exception.type <<<"$BODY") = PermissionError ]]
    done
}

@test "what a killed server has left running, the next one ends" {
    setup_group
    tasks
    start_poold --processes 1 --cgroup "$GROUP" --tasks "$TASKS"
    worker=$(worker_pid 0)
    forkserver=$(awk '/^PPid/ {print $2}' "/proc/$worker/status")
    submit apply_async '{"task":"daemon"}' >/dev/null
    eventually [ -s "$TASKS/pid" ]
    daemon=$(cat "$TASKS/pid")
    kill -STOP "$forkserver" # it would see to it
    stop_poold KILL
    kill -KILL "$forkserver" 2>/dev/null || true
    eventually gone "$worker"
    kill -0 "$daemon"
    [ -e "$(base)/$worker" ]
    rm "$TASKS"/daemon.*
    start_poold --processes 1 --cgroup "$GROUP"
    eventually gone "$daemon"
    [ ! -e "$(base)/$worker" ]
}

@test "F17: a task that is over the memory of its group with others fails with out-of-memory" {
    setup_group
    has_controller memory || skip 'the kernel has its memory controller in a hierarchy of version 1'
    ! sanitized || skip 'a sanitizer needs terabytes of address space'
    tasks
    start_poold --processes 1 --cgroup "$GROUP" --tasks "$TASKS" --memory-limit 300000000
    post /v1/apply '{"task":"group:eat","args":[400]}' >/dev/null
    expect 422 out-of-memory
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
}

@test "F26: a task cannot have more processes than its group may" {
    setup_group
    has_controller pids || skip 'the kernel has its pids controller in a hierarchy of version 1'
    tasks
    start_poold --processes 1 --cgroup "$GROUP" --tasks "$TASKS" --process-limit 20
    post /v1/apply '{"task":"group:fork","args":[10]}' >/dev/null
    body_is .result 10
    post /v1/apply '{"task":"group:fork","args":[30]}' >/dev/null
    expect 422 task-error
}

@test "with auto, what cannot be had is done without and told" {
    start_poold --processes 1 --cgroup auto
    log_has 'workers have control groups dir='
    get /v1/info >/dev/null
    body_is '.confinement.cgroup | type | IN("object", "null")' true
    [ "$(post /v1/apply '{"task":"square","args":[3]}' | result_text)" = 9 ]
    dir=$(jq -r '.confinement.cgroup.dir // "/nonesuch"' <<<"$(get /v1/info; echo "$BODY")" | tail -1)
    stop_poold
    [ ! -e "$dir" ]
    start_poold --processes 1 --cgroup off
    get /v1/info >/dev/null
    body_is .confinement.cgroup null
}

@test "a group that is set and cannot be used is refused" {
    for dir in /nonesuch "$BATS_TEST_TMPDIR"; do
        try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --cgroup "$dir"
        [ "$status" = 78 ]
        [[ $output == *"setting cgroup: $dir: "* ]]
    done
}
