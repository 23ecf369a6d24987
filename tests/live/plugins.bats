# SPDX-License-Identifier: MIT
# Tasks in C from shared libraries: which are taken, what they may do, what they cannot harm, and
# how they are exchanged while the server runs.
load helpers

: "${PLUGINS:=$BATS_TEST_DIRNAME/../../build/dev/tests/plugins}"

# offer NAME...: these plugins are in the folder of tasks.
offer() {
    local name
    TASKS=$BATS_TEST_TMPDIR/tasks
    mkdir -p "$TASKS"
    for name in "$@"; do
        cp "$PLUGINS/$name.so" "$TASKS/$name.so"
    done
}

# apply TASK ARG [MEMBERS]: sets STATUS and BODY.
apply() { post /v1/apply "{\"task\":\"$1\",\"args\":[$2]${3:+,$3}}" >/dev/null; }

# lists: the folder, with a short patience for files that hang.
lists() { run timeout "$PATIENCE" "${poold[@]}" tasks --probe-timeout 0.5 "$TASKS"; }

# says TEXT: in the output of `lists`.
says() {
    [[ $output == *"$1"* ]] && return 0
    echo "not said: $1"
    return 1
}

# lost TASK JQ: the item of the task fails as worker-lost, with this in the problem.
lost() {
    apply "$1" '"x"' '"crash_retries":0'
    expect 422 worker-lost
    body_is "$2" "$3"
}

# ---- in use --------------------------------------------------------------------------------

@test "a plugin's task is called like any other, and is listed with its file" {
    offer gcd
    start_poold --tasks "$TASKS"
    apply gcd '12, 18'
    expect 200
    body_is .result 6
    post /v1/starmap '{"task":"gcd","items":[[4,6],[7,5],[0,9]]}'
    body_is .result '[2,1,9]'
    post /v1/apply '{"task":"gcd","args":[8],"kwargs":{"b":12}}'
    body_is .result 4
    get /v1/tasks/gcd
    body_is '[.summary, .signature, .runtime, .file]' \
        "[\"The greatest common divisor of two integers.\",\"gcd(a, b)\",\"native\",\"$TASKS/gcd.so\"]"
    get /v1/tasks/square
    body_is .file null
}

@test "arguments are bound as in Python, and numbers are as in built-in tasks" {
    offer gcd misbehave
    start_poold --tasks "$TASKS"
    apply gcd 12
    expect 422 task-error
    body_is .exception.message "\"gcd() missing 1 required positional argument: 'b'\""
    apply gcd '12, 1.5'
    body_is .exception.message "\"gcd() argument 'b' must be an integer, not float\""
    apply bad.half '"7"'
    body_is .exception.message "\"bad.half() argument 'x' must be a number, not str\""
    apply bad.half 0.2
    [ "$(result_text <<<"$BODY")" = 0.1 ]
    apply bad.half 170141183460469231731687303715884105728
    body_is .exception.type '"OverflowError"'
    apply bad.wrong_param 1
    body_is .exception.type '"IndexError"'
}

@test "without parameters a task gets what was sent, as text or as values" {
    offer misbehave
    start_poold --tasks "$TASKS"
    post /v1/apply '{"task":"raw_echo","args":[1e2, {"a": 0.10}],"kwargs":{"k": -0}}' >/dev/null
    expect 200
    [ "$(result_text <<<"$BODY")" = '[[1e2, {"a": 0.10}], {"k": -0}]' ]
    post /v1/map '{"task":"raw_echo","items":[7]}' >/dev/null
    [ "$(result_text <<<"$BODY")" = '[[[7], {}]]' ]
    post /v1/apply '{"task":"value_echo","args":[0.1, 7, "é", null],"kwargs":{"k": [true]}}' >/dev/null
    expect 200
    [ "$(result_text <<<"$BODY")" = '{"args":[0.1,7,"é",null],"kwargs":{"k":[true]}}' ]
    post /v1/map '{"task":"value_echo","items":[7]}' >/dev/null
    body_is .result '[{"args":[7],"kwargs":{}}]'
    post /v1/apply '{"task":"value_bound","kwargs":{"b": 1, "a": {"x": 2}}}' >/dev/null
    body_is .result '[[{"x":2},1],0]'
    apply value_echo 9223372036854775808
    expect 422 task-error
    body_is .exception.type '"OverflowError"'
}

@test "an exception has its type, message and traceback, of whatever bytes they are" {
    offer misbehave
    start_poold --tasks "$TASKS"
    apply value_bound 'null, 1'
    expect 422 task-error
    body_is '.exception | [.type, .message, .traceback]' '["shop.OutOfStock","café �","at line 7"]'
    apply bad.logs 1
    body_is '.exception | [.type, .message]' '["ValueError","no 7"]'
    body_is '.exception.traceback | contains("called with (1)")' true
}

@test "the first result counts, and none is null" {
    offer misbehave
    start_poold --tasks "$TASKS"
    apply bad.twice 0
    body_is .result 1
    apply bad.nothing 0
    body_is .result null
}

@test "scratch memory of one item is there for the next one" {
    if sanitized; then
        skip 'a sanitizer needs terabytes of address space'
    fi
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    post /v1/pools '{"name":"tight","processes":1,"memory_limit":536870912}' >/dev/null
    # Ten times 8 blocks of 20 MiB, in half a gigabyte.
    post /v1/map "{\"task\":\"bad.scratch\",\"pool\":\"tight\",\"items\":$(jq -nc '[range(10) | 20971520]')}" >/dev/null
    expect 200
    body_is '.result | length' 10
    # F16: memory that is not there
    apply bad.scratch 2147483648 '"pool":"tight"'
    expect 422 out-of-memory
    body_is .exception.type '"MemoryError"'
}

@test "what a task logs is told with its attempt" {
    offer misbehave
    start_poold --tasks "$TASKS"
    job=$(submit apply_async '{"task":"bad.logs","args":[1]}')
    wait_for_state "$job" failed
    get "/v1/jobs/$job/attempts"
    body_is '.attempts[0].output' '"looking at x\n"'
}

# ---- results that are none -----------------------------------------------------------------

@test "row 106, F29: NaN, invalid UTF-8 and what is no JSON fail as invalid-result" {
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    pid=$(worker_pid 0)
    apply bad.nan_result 0
    expect 422 invalid-result
    body_is .exception.message '"bad.nan_result() result is NaN, which JSON does not have"'
    for text in '"NaN"' '"\"%ff\""' '"\"%c0%af\""' '"[1,]"' '"{1:2}"' '""' '" "' '"1 2"' '"\"%00\""' \
        '"1,2"' "\"$(printf '[%.0s' {1..65})$(printf ']%.0s' {1..65})\""; do
        apply bad.text_result "$text"
        expect 422 invalid-result
        body_is .exception.type '"InvalidResult"'
    done
    apply bad.broken_string 0
    expect 422 invalid-result
    apply bad.deep_value '' || true
    expect 422 invalid-result
    apply bad.text_result '"1,2"' '"retries":0'
    body_is '.exception.message | contains("at byte 1: expected the end")' true
    # Neighbours in the same chunk are kept, and the worker goes on.
    post /v1/map '{"task":"bad.text_result","items":["1","nope","[2]"],"chunksize":3,"return_exceptions":true}' >/dev/null
    expect 200
    body_is '[.result[] | .result // .error.type]' '[1,"/problems/invalid-result",[2]]'
    [ "$(worker_pid 0)" = "$pid" ]
}

@test "results are one line, whatever their text was" {
    offer misbehave
    start_poold --tasks "$TASKS"
    post /v1/imap '{"task":"bad.text_result","items":[" [1,\n\r\n 2]\n"]}' >/dev/null
    expect 200
    [ "$(head -1 <<<"$BODY")" = '{"index":0,"result":[1,    2]}' ]
    apply bad.string_result '"a\nb\"\u00e9"'
    body_is .result '"a\nb\"é"'
}

@test "row 105: a result above the limit fails, its neighbours do not" {
    offer misbehave
    start_poold --max-result-bytes 1000 --tasks "$TASKS"
    apply bad.large 998
    expect 200
    apply bad.large 999
    expect 422 result-too-large
    apply bad.large 104857600
    expect 422 result-too-large
    post /v1/map '{"task":"bad.large","items":[1,5000,2],"chunksize":3,"return_exceptions":true}' >/dev/null
    body_is '[.result[] | .result // .error.type]' '["x","/problems/result-too-large","xx"]'
}

# ---- ends that are none --------------------------------------------------------------------

@test "row 102, F21: signals of a task are told by name, and others do not notice" {
    offer misbehave
    start_poold --tasks "$TASKS"
    lost bad.segv .signal '"SIGSEGV"'
    lost bad.aborts .signal '"SIGABRT"'
    lost bad.fpe .signal '"SIGFPE"'
    lost bad.overflow .signal '"SIGSEGV"'
    [ -z "$(find "$TASKS" -name 'core*')" ]
    job=$(submit map_async '{"task":"square","items":[1,2,3]}')
    [ "$(result "$job")" = '[1,4,9]' ]
    eventually is_ready
}

@test "row 102, F22: a task that leaves, however, has no result" {
    ! grep -q __tsan_init "$POOLD_BIN" || skip 'ThreadSanitizer has a thread of its own, which stays'
    offer misbehave
    # Where the main thread has gone, a sanitizer takes all that it held for leaks.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
    start_poold --tasks "$TASKS"
    lost bad.exit0 .exit_code 0
    body_is .detail '"the worker exited with code 0 before it had a result"'
    lost bad._exit0 .exit_code 0
    # Which thread is the last to end, and with what, is the C library's business.
    apply bad.thread_exit 0 '"crash_retries":0'
    expect 422 worker-lost
    apply bad.long_jump 0 '"crash_retries":0'
    expect 422 worker-lost
    eventually is_ready
}

@test "F24: a task that closes or replaces all descriptors costs its item a worker, no more" {
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    for task in close_all replace_all; do
        job=$(submit apply_async "{\"task\":\"bad.$task\",\"args\":[0],\"crash_retries\":1}")
        wait_for_state "$job" failed
        get "/v1/jobs/$job/attempts"
        body_is '.attempts | length' 2
    done
    apply square 3
    body_is .result 9
}

@test "a hundred tasks that crash in ten ways cost none of the thousand items beside them" {
    ! grep -q __tsan_init "$POOLD_BIN" || skip 'ThreadSanitizer has a thread of its own, which stays'
    offer misbehave
    export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
    start_poold --processes 3 --tasks "$TASKS"
    "${PYTHON3:-python3}" - "${URL#http://}" >"$BATS_TEST_TMPDIR/figure" 3>&- <<'PYTHON'
import http.client, json, random, sys, threading, time
BAD = ["segv", "aborts", "fpe", "overflow", "exit0", "_exit0", "thread_exit", "long_jump", "close_all", "replace_all"]
def ask(connection, method, path, body=None):
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
took, over = [], threading.Event()
def look():
    connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
    while not over.is_set():
        begin = time.perf_counter()
        assert ask(connection, "GET", "/healthz")[0] == 200
        took.append((time.perf_counter() - begin) * 1000)
        over.wait(0.005)
looker = threading.Thread(target=look, daemon=True)  # a failure ends it, too
looker.start()
connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
jobs = [{"method": "apply_async", "task": "square", "args": [n]} for n in range(1000)]
jobs += [{"method": "apply_async", "task": "bad." + kind, "args": [0], "crash_retries": 0} for kind in BAD * 10]
random.shuffle(jobs)
for at in range(0, len(jobs), 100):
    status, answer = ask(connection, "POST", "/v1/batch", jobs[at:at + 100])
    assert status == 202, answer
    for job, shown in zip(jobs[at:], answer["jobs"]):
        job["id"] = shown["id"]
hurt = 0
for job in jobs:
    status, answer = ask(connection, "GET", f"/v1/jobs/{job['id']}/result?timeout=60")
    if job["task"] == "square":
        shown = ask(connection, "GET", f"/v1/jobs/{job['id']}")[1]
        hurt += status != 200 or answer["result"] != job["args"][0] ** 2 or shown["attempt"] != 1
    else:
        assert status == 422 and answer["type"] == "/problems/worker-lost", (job, answer)
over.set()
looker.join()
took.sort()
print(f"100 crashes beside 1,000 items of others: {hurt} of these affected; meanwhile /healthz answered "
      f"in {took[len(took) // 2]:.1f} ms (median), {took[len(took) * 99 // 100]:.1f} ms (p99)")
assert hurt == 0
PYTHON
    figure G8 "$(cat "$BATS_TEST_TMPDIR/figure")"
}

# They may be killed before they can tell who they are.
is_gone_or_silent() { [ ! -s "$1" ] || gone "$(head -1 "$1")"; }

@test "F25: children and daemons of a task do not delay its result, and end behind it" {
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    for task in forks daemonizes; do
        pids=$BATS_TEST_TMPDIR/$task.pids
        apply "bad.$task" "\"$pids\""
        expect 200
        worker=$(jq .result <<<"$BODY")
        eventually is_gone_or_silent "$pids"
        eventually idle_workers_are 1
        [ "$(worker_pid 0)" = "$worker" ]
    done
}

# leaks TASK ARG TIMES: by one item each; prints how many workers it took.
leaks() {
    for _ in $(seq "$3"); do
        apply "$1" "$2" '"crash_retries":0'
        expect 200 >&2
        result_text <<<"$BODY"
        echo
    done | sort -u | wc -l
}

@test "F28: a task that leaks memory or descriptors costs workers now and then, and no item" {
    ! sanitized || skip 'a sanitizer has memory in use of its own'
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS" --max-worker-rss 100000000 --open-files-limit 64
    workers=$(leaks bad.leak 30000000 24)
    [ "$workers" -ge 4 ] && [ "$workers" -le 24 ]
    workers=$(leaks bad.leak_file 1 120)
    [ "$workers" -ge 2 ] && [ "$workers" -le 40 ]
    log_has 'worker lost' && return 1
    get /v1/pools/default
    body_is .totals.workers_lost 0
}

@test "F30: a task that calculates for ever ends by its time limit" {
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    apply bad.spin 0 '"time_limit":0.2'
    expect 422 time-limit
    eventually idle_workers_are 1
}

# ---- cancelling ----------------------------------------------------------------------------

@test "a task that asks whether it is cancelled may put things in order" {
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    pid=$(worker_pid 0)
    done=$BATS_TEST_TMPDIR/done
    job=$(submit map_async "{\"task\":\"bad.listens\",\"items\":[\"$done\",\"$done\"],\"chunksize\":2}")
    wait_for_state "$job" running
    follow "$job" '.progress.task.message == "has asked" or .progress.message == "has asked"'
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    expect 202
    wait_for_state "$job" cancelled
    [ "$(cat "$done")" = 'tidied up' ] # one item, and the other one never began
    eventually idle_workers_are 1
}

@test "the last item of a cancelled job leaves its worker alive" {
    offer misbehave
    start_poold --processes 1 --tasks "$TASKS"
    pid=$(worker_pid 0)
    job=$(submit apply_async "{\"task\":\"bad.listens\",\"args\":[\"$BATS_TEST_TMPDIR/done\"]}")
    wait_for_state "$job" running
    follow "$job" '.progress.task.message == "has asked" or .progress.message == "has asked"'
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    wait_for_state "$job" cancelled
    apply square 3
    expect 200
    [ "$(worker_pid 0)" = "$pid" ]
}

@test "one that has asked and does not end is killed after the grace" {
    offer misbehave
    start_poold --processes 1 --cancel-grace 0.3 --tasks "$TASKS"
    pid=$(worker_pid 0)
    job=$(submit apply_async '{"task":"bad.ignores","args":[0]}')
    follow "$job" '.progress.task.message == "has asked" or .progress.message == "has asked"'
    post "/v1/jobs/$job/cancel" '{"terminate":true}' >/dev/null
    expect 202
    wait_for_state "$job" cancelled
    eventually gone "$pid"
    apply square 3
    expect 200
}

# ---- poold tasks ---------------------------------------------------------------------------

@test "poold tasks shows what a newcomer needs: files, signatures, summaries, what is wrong" {
    offer gcd
    lists
    [ "$status" = 0 ]
    [ "$output" = "$TASKS/gcd.so (native)
  gcd(a, b)
      The greatest common divisor of two integers.
1 task in 1 file" ]
    echo 'no library' >"$TASKS/bad.so"
    lists
    [ "$status" = 1 ]
    says 'refused: it cannot be loaded: file too short'
    says '1 task in 1 file, 1 refused'
    rm "$TASKS"/*
    lists
    [ "$status" = 0 ]
    says 'no files of tasks here'
    cp "$PLUGINS/gcd.so" "$TASKS/"$'\xff.so'
    lists
    [ "$status" = 0 ]
    says 'its name is no UTF-8'
}

@test "poold tasks refuses arguments that are none" {
    offer gcd
    for wrong in '' '--what' '--probe-timeout' '--probe-timeout 0' '--probe-timeout x' \
        '--probe-timeout 301' '--settings []' '--settings {'; do
        # shellcheck disable=SC2086 # words
        run timeout "$PATIENCE" "${poold[@]}" tasks $wrong ${wrong:+"$TASKS"}
        [ "$status" = 2 ]
    done
    run timeout "$PATIENCE" "${poold[@]}" tasks "$TASKS" "$TASKS/nowhere"
    [ "$status" = 2 ]
    says 'nowhere: No such file or directory'
    run timeout "$PATIENCE" "${poold[@]}" tasks --help
    [ "$status" = 0 ]
}

# ---- limits of their own ---------------------------------------------------------------------

@test "a task's own limits hold for its items, are told, and leave the next task alone" {
    offer limited
    start_poold --processes 1 --tasks "$TASKS" --open-files-limit 200
    get /v1/tasks/limited.soft
    body_is '.limits | [.memory_limit, .file_size_limit, .open_files_limit, .process_limit, .time_limit]' \
        '[1099511627776,4096,48,77,null]'
    # RLIMIT_FSIZE, NPROC, NOFILE, AS
    post /v1/map '{"task":"limited.soft","items":[1,6,7,9]}'
    expect 200
    body_is .result '[4096,77,48,1099511627776]'
    post /v1/map '{"task":"limited.free","items":[1,7,9]}'
    body_is .result '[-1,200,-1]'
    # What the pool allows is not exceeded.
    post /v1/pools '{"name":"narrow","processes":1,"open_files_limit":40}'
    post /v1/apply '{"task":"limited.soft","args":[7],"pool":"narrow"}'
    body_is .result 40
}

@test "a task's own time holds where the job says nothing" {
    offer limited
    start_poold --processes 1 --tasks "$TASKS"
    get /v1/tasks/limited.late
    body_is .limits.time_limit 0.25
    apply limited.late 1
    expect 422 time-limit
    apply limited.busy 1
    expect 422 time-limit
    body_is .detail '"the item used more processor time than its cpu_limit"'
}

@test "a plugin of the interface that had no limits is read without them" {
    offer limited_old
    start_poold --processes 1 --tasks "$TASKS" --open-files-limit 200
    post /v1/map '{"task":"limited.soft","items":[1,7]}'
    body_is .result '[-1,200]'
}

@test "a plugin of an interface before this one is read as it was" {
    for version in 2 3; do
        offer "limited_$version"
        start_poold --processes 1 --tasks "$TASKS" --open-files-limit 200
        post /v1/map '{"task":"limited.soft","items":[1,7]}'
        body_is .result '[4096,48]'
        stop_poold
        rm -r "$TASKS"
    done
}

# ---- files that are refused ----------------------------------------------------------------

@test "F32: each bad plugin is refused with its reason, and the others are served" {
    offer undefined crash hang leave badname builtin nameless toomany formless notasks doubled \
        nosymbol wrongabi limitless nolimit version1
    # Behind version1, whose name it wants.
    cp "$PLUGINS/taken.so" "$TASKS/zzz.so"
    echo 'no library' >"$TASKS/text.so"
    : >"$TASKS/empty.so"
    cp "$PLUGINS/gcd.so" "$TASKS/open.so"
    chmod o+w "$TASKS/open.so"
    mkdir "$TASKS/folder.so"
    ln -s nowhere "$TASKS/link.so"
    cp "$PLUGINS/gcd.so" "$TASKS/.hidden.so"
    cp "$PLUGINS/gcd.so" "$TASKS/_private.so"
    lists
    [ "$status" = 1 ]
    says 'undefined symbol: frobnicate'
    says 'it crashed while it was looked at (SIGSEGV)'
    says 'looking at it did not end within 0.5 seconds'
    says 'looking at it gave no answer'
    says "a task's name is not a letter or _"
    says 'the task square is built in'
    says 'task number 1 (fine) has no name, summary or signature'
    says 'task fine has more than 8 params'
    says 'task fine has none of run and value: it needs one'
    says 'there is no task in it'
    says 'the task fine is in it twice'
    says 'it does not export poold_plugin'
    says 'it is made for interface 5 of poold, this one has 4'
    says 'a limit is out of its range'
    says 'a limit is no number'
    says "the task version is in $TASKS/version1.so already"
    says 'file too short'
    says 'everybody may write to it; use: chmod o-w'
    says 'it is no regular file'
    says 'No such file or directory'
    [[ $output != *hidden* && $output != *private* ]]
    offer gcd chatter # what a constructor prints is no answer
    start_poold --probe-timeout 1 --tasks "$TASKS"
    apply gcd '12, 18'
    body_is .result 6
    get /v1/tasks
    body_is '[.tasks[].name | select(. == "gcd" or . == "fine" or . == "version")]' '["fine","gcd","version"]'
    body_is '[.refused[] | select(.file | endswith("/wrongabi.so")) | .reason | contains("interface 5")]' '[true]'
    body_is '.refused | length' 21
    log_has 'a file of tasks is refused.*crash.so'
}

@test "a folder that is not there stops the start, with the reason" {
    try_poold --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --tasks "$BATS_TEST_TMPDIR/nowhere"
    [ "$status" = 78 ]
    [[ $output == *nowhere*'No such file or directory'* ]]
}

@test "SIGTERM while the folders are looked at for the first time stops the server" {
    offer hang
    "${poold[@]}" serve --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --probe-timeout 300 \
        --tasks "$TASKS" </dev/null >/dev/null 2>>"$POOLD_STDERR" 3>&- &
    POOLD_PID=$!
    ALL_PIDS+=("$POOLD_PID")
    eventually has_child "$POOLD_PID"
    child=$(pgrep -P "$POOLD_PID" | head -1)
    eventually has_child "$child"
    probe=$(pgrep -P "$child" | head -1)
    stop_poold TERM
    [ "$POOLD_STATUS" = 0 ]
    eventually gone "$child"
    eventually gone "$probe"
}

@test "a start whose look at the folders is killed fails with a code that asks for another one" {
    offer hang
    "${poold[@]}" serve --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" --probe-timeout 300 \
        --tasks "$TASKS" </dev/null >/dev/null 2>>"$POOLD_STDERR" 3>&- &
    POOLD_PID=$!
    ALL_PIDS+=("$POOLD_PID")
    eventually has_child "$POOLD_PID"
    kill -KILL "$(pgrep -P "$POOLD_PID" | head -1)" # the system is short of memory, say
    wait_for_exit
    [ "$POOLD_STATUS" = 71 ]
    log_has 'poold tasks was ended by signal 9'
}

has_child() { [ -n "$(pgrep -P "$1")" ]; }

# ---- reload --------------------------------------------------------------------------------

# exchange N: version N of the plugin is in the folder, overwritten in place.
exchange() { cat "$PLUGINS/version$1.so" >"$TASKS/version.so"; }

version() {
    apply version 0
    result_text <<<"$BODY"
}

version_is() { [ "$(version)" = "$1" ]; }
log_count() { [ "$(grep -cE -- "$1" "$POOLD_STDERR")" -ge "$2" ]; }

@test "a plugin that is overwritten does not change or crash what runs" {
    offer gcd
    exchange 1
    start_poold --processes 2 --tasks "$TASKS"
    [ "$(version)" = 1 ]
    exchange 2
    [ "$(version)" = 1 ]
    : >"$TASKS/version.so"
    [ "$(version)" = 1 ]
    # A worker that is started anew is a copy of the forkserver, which has the code.
    kill -KILL "$(worker_pid 0)" "$(worker_pid 1)"
    [ "$(version)" = 1 ]
}

@test "SIGHUP takes new code into use: jobs that have begun finish on the old one" {
    offer gcd
    exchange 1
    start_poold --processes 2 --tasks "$TASKS"
    go=$BATS_TEST_TMPDIR/go
    old=$(submit map_async "{\"task\":\"hold\",\"items\":[\"$go\",\"$go\",\"$go\",\"$go\"],\"chunksize\":1}")
    wait_for_state "$old" running
    eventually both_busy
    waiting=$(submit apply_async "{\"task\":\"version\",\"args\":[0]}")
    exchange 2
    kill -HUP "$POOLD_PID"
    eventually version_is 2
    [ "$(result "$waiting")" = 2 ] # it had not begun
    [ "$(field "$old" .state)" = running ]
    post /v1/apply '{"task":"added","args":[0]}' >/dev/null
    body_is .result 2
    get /v1/tasks/added
    expect 200
    # Both generations are there, and each is seen.
    [ "$(workers | jq -s 'map(select(.state == "busy")) | length')" = 2 ]
    : >"$go"
    [ "$(result "$old")" = '[1,1,1,1]' ]
    eventually log_has 'the workers with the tasks of before have gone'
    eventually two_workers
    [ "$(version)" = 2 ]
}

both_busy() { [ "$(workers | jq -s 'map(select(.state == "busy")) | length')" = 2 ]; }
two_workers() { [ "$(workers | jq -s length)" = 2 ]; }

@test "several SIGHUPs while an old job runs are one that waits for it" {
    offer gcd
    exchange 1
    start_poold --processes 2 --tasks "$TASKS"
    go=$BATS_TEST_TMPDIR/go
    old=$(submit apply_async "{\"task\":\"hold\",\"args\":[\"$go\"]}")
    wait_for_state "$old" running
    exchange 2
    kill -HUP "$POOLD_PID"
    eventually version_is 2
    exchange 1
    kill -HUP "$POOLD_PID"
    eventually log_has 'when jobs with those of before are over'
    kill -HUP "$POOLD_PID"
    eventually log_count 'when jobs with those of before are over' 2
    [ "$(version)" = 2 ]
    : >"$go"
    [ "$(result "$old")" = 1 ]
    eventually version_is 1
    [ "$(grep -c 'new jobs get the new tasks' "$POOLD_STDERR")" = 2 ]
}

@test "an old job that is cancelled lets the old workers go" {
    offer gcd
    exchange 1
    start_poold --processes 1 --tasks "$TASKS"
    old=$(submit apply_async "{\"task\":\"hold\",\"args\":[\"$BATS_TEST_TMPDIR/never\"]}")
    wait_for_state "$old" running
    pid=$(worker_of "$old")
    exchange 2
    kill -HUP "$POOLD_PID"
    eventually version_is 2
    post "/v1/jobs/$old/cancel" '{"terminate":true}' >/dev/null
    wait_for_state "$old" cancelled
    eventually gone "$pid"
    eventually log_has 'the workers with the tasks of before have gone'
}

@test "an item of an old job that crashes is tried again on the old code" {
    offer gcd
    exchange 1
    start_poold --processes 1 --tasks "$TASKS"
    go=$BATS_TEST_TMPDIR/go
    old=$(submit apply_async "{\"task\":\"hold\",\"args\":[\"$go\"]}")
    wait_for_state "$old" running
    pid=$(worker_of "$old")
    exchange 2
    kill -HUP "$POOLD_PID"
    eventually version_is 2
    kill -KILL "$pid"
    eventually gone "$pid"
    : >"$go"
    [ "$(result "$old")" = 1 ]
}

@test "a reload that fails leaves the tasks as they are" {
    offer gcd
    exchange 1
    start_poold --tasks "$TASKS"
    mv "$TASKS" "$TASKS.away"
    kill -HUP "$POOLD_PID"
    eventually log_has 'the tasks stay as they are'
    [ "$(version)" = 1 ]
    mv "$TASKS.away" "$TASKS"
    echo nonsense >"$TASKS/version.so"
    kill -HUP "$POOLD_PID"
    eventually is_refused
    apply version 0
    expect 422 validation-failed || expect 422 unknown-task
    apply gcd '4, 6'
    expect 200
}

is_refused() {
    get /v1/tasks >/dev/null
    [ "$(jq '.refused | length' <<<"$BODY")" = 1 ]
}

@test "pools made by clients are reloaded too, and stop while two generations are there" {
    offer gcd
    exchange 1
    start_poold --processes 1 --tasks "$TASKS"
    post /v1/pools '{"name":"other","processes":1}' >/dev/null
    go=$BATS_TEST_TMPDIR/go
    old=$(submit apply_async "{\"task\":\"hold\",\"args\":[\"$go\"],\"pool\":\"other\"}")
    wait_for_state "$old" running
    exchange 2
    kill -HUP "$POOLD_PID"
    eventually version_is 2
    apply version 0 '"pool":"other"'
    body_is .result 2
    post /v1/pools/other/close '' >/dev/null
    : >"$go"
    post "/v1/pools/other/join?timeout=$PATIENCE" '' >/dev/null
    expect 200
    [ "$(result "$old")" = 1 ]
}

@test "SIGTERM drains both generations" {
    offer gcd
    exchange 1
    start_poold --processes 1 --tasks "$TASKS"
    go=$BATS_TEST_TMPDIR/go
    old=$(submit apply_async "{\"task\":\"hold\",\"args\":[\"$go\"]}")
    wait_for_state "$old" running
    exchange 2
    kill -HUP "$POOLD_PID"
    eventually version_is 2
    new=$(submit apply_async "{\"task\":\"hold\",\"args\":[\"$go\"]}")
    wait_for_state "$new" running
    kill -TERM "$POOLD_PID"
    eventually log_has 'stopping: running items may finish'
    : >"$go"
    wait_for_exit
    [ "$POOLD_STATUS" = 0 ]
    start_poold --processes 1 --tasks "$TASKS"
    [ "$(result "$old")" = 1 ]
    [ "$(result "$new")" = 2 ]
}

@test "without folders SIGHUP changes nothing" {
    start_poold
    kill -HUP "$POOLD_PID"
    eventually log_has 'there are no folders of tasks'
    get /v1/tasks
    body_is .refused '[]'
}
