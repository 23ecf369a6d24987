# SPDX-License-Identifier: MIT
# Processes that neither die nor work: stopped, or not to be killed (F10 to F12; F9 is in
# workers.bats).
load helpers

: "${PLUGINS:=$BATS_TEST_DIRNAME/../../build/dev/tests/plugins}"

# The kernel has it in a wait that no signal ends.
uninterruptible() { [ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat")" = D ]; }

@test "F10 a forkserver that is stopped is found out and replaced, and the jobs end" {
    start_poold
    old=$(forkserver)
    job=$(submit map_async '{"task":"sleep","items":[0,0,8,0],"chunksize":1,"crash_retries":0}')
    eventually worker_of "$job"
    kill -STOP "$old"
    eventually log_has "forkserver does not answer, killing it .*forkserver=$old"
    eventually another_forkserver "$old"
    gone "$old"
    get /healthz
    expect 200
    [ "$(result "$job")" = '[null,null,null,null]' ]
    get "/v1/jobs/$job/attempts"
    body_is .attempts '[]'
}

@test "F10 a server and a forkserver that were stopped together go on together" {
    start_poold --processes 1
    old=$(forkserver)
    kill -STOP "$POOLD_PID" "$old"
    pause 9 # longer than a forkserver may be silent
    kill -CONT "$POOLD_PID"
    kill -CONT "$old"
    post /v1/apply '{"task":"square","args":[3]}'
    body_is .result 9
    pause 2.5 # in which it would be asked again
    [ "$(forkserver)" = "$old" ]
    log_has 'forkserver does not answer' && return 1
    [ "$(idle_workers)" = 1 ]
}

@test "F11 a worker that was given up and comes back with a result is not heard" {
    head -c 24 /dev/zero >"$BATS_TEST_TMPDIR/fault"
    POOLD_FAULT=before_worker_kill:1:EIO:$BATS_TEST_TMPDIR/fault start_poold --processes 1
    job=$(submit apply_async '{"task":"sleep","args":[1],"time_limit":3,"retries":1}')
    eventually worker_of "$job"
    stuck=$(worker_of "$job")
    kill -STOP "$stuck"
    eventually log_has "worker does not end, going on without it .*worker=$stuck"
    wait_for_state "$job" succeeded
    get "/v1/jobs/$job"
    before=$(jq -c '[.state, .attempt, .finished_at, .progress]' <<<"$BODY")
    [ "$(worker_pid 0)" != "$stuck" ]
    kill -CONT "$stuck" # it ends its item now, and finds nobody to tell
    eventually gone "$stuck"
    get "/v1/jobs/$job"
    body_is '[.state, .attempt, .finished_at, .progress]' "$before"
    get "/v1/jobs/$job/results"
    body_is 'select(has("index")).index' 0
    get "/v1/jobs/$job/attempts"
    body_is '[.attempts[].kind]' '["time-limit"]'
    eventually idle_workers_are 1
}

# Writing to a frozen file system is such a wait.
frozen_disk() {
    DISK=$BATS_TEST_TMPDIR/disk
    mkdir "$DISK"
    truncate -s 4M "$BATS_TEST_TMPDIR/image"
    mkfs.ext4 -q "$BATS_TEST_TMPDIR/image" && mount -o loop "$BATS_TEST_TMPDIR/image" "$DISK"
}

thaw() {
    fsfreeze --unfreeze "$DISK" 2>/dev/null || true
    within 10 umount "$DISK" || true
}

@test "F12 a worker that cannot be killed is given up, and another one takes its place" {
    [ "$(id -u)" = 0 ] || skip "needs root: a loop device"
    command -v mkfs.ext4 fsfreeze >/dev/null || skip "needs mkfs.ext4 and fsfreeze"
    frozen_disk 2>/dev/null || skip "no loop device here"
    trap thaw EXIT
    mkdir "$BATS_TEST_TMPDIR/tasks"
    cp "$PLUGINS/record.so" "$BATS_TEST_TMPDIR/tasks"
    : >"$DISK/records"
    start_poold --processes 1 --tasks "$BATS_TEST_TMPDIR/tasks"
    fsfreeze --freeze "$DISK"
    job=$(submit apply_async "{\"task\":\"record\",\"args\":[\"$DISK/records stuck 1 0\"],\"time_limit\":0.5}")
    eventually worker_of "$job"
    stuck=$(worker_of "$job")
    eventually uninterruptible "$stuck"
    eventually log_has "worker does not end, going on without it .*worker=$stuck"
    wait_for_state "$job" failed
    [ "$(field "$job" .error.type)" = /problems/time-limit ]
    uninterruptible "$stuck"
    post /v1/apply '{"task":"square","args":[4]}'
    body_is .result 16
    thaw
    eventually gone "$stuck"
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
}
