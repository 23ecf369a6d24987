# SPDX-License-Identifier: MIT
# Programs as tasks: what they are given, what comes of what they write, what they can do wrong.
load helpers

# manifest NAME MODE JSON: a manifest for NAME.sh, with the members of JSON over it.
manifest() {
    jq -n --arg name "$1" --arg mode "$2" --argjson more "${3:-{\}}" \
        '{name: $name, command: ["./\($name).sh"], mode: $mode} + $more' >"$TASKS/$1.json"
}

# oneshot NAME [JSON] <SCRIPT, persistent NAME [JSON] <SCRIPT
oneshot() { program "$1" oneshot "${2:-}"; }
persistent() { program "$1" persistent "${2:-}"; }
program() {
    TASKS=$BATS_TEST_TMPDIR/tasks
    mkdir -p "$TASKS"
    {
        echo '#!/bin/bash'
        declare -f next answer
        cat
    } >"$TASKS/$1.sh"
    chmod 755 "$TASKS/$1.sh"
    manifest "$@"
}

# In the programs: the next line that it is sent, and an answer to it.
next() {
    read -r line || return 1
    id=${line#*:}
    id=${id%%,*}
}
answer() { printf '{"id":%s,%s}\n' "$id" "$1"; }

serve() { start_poold --tasks "$TASKS" --processes 1 "$@"; }

# call TASK [ARGS] [MEMBERS]
call() {
    post /v1/apply "{\"task\":\"$1\",\"args\":${2:-[]}${3:+,$3}}"
}

# fails_with SLUG TEXT: the last answer.
fails_with() {
    expect 422 "$1" || return 1
    [[ $(jq -r .detail <<<"$BODY") == *"$2"* ]] && return 0
    echo "no \"$2\" in: $BODY"
    return 1
}

# The worker is the one that it was, and the next item is fine.
heals() {
    call "$1" '["fine"]'
    expect 200
    body_is .result '"fine"'
}

# ---- what a program is given, and what comes of it -------------------------------------------

@test "a oneshot program gets the one argument, or all of them by name" {
    oneshot show <<<'cat'
    serve
    call show '[{"a": [1, 2.50]}]'
    [ "$(result_text <<<"$BODY")" = '{"a": [1, 2.50]}' ]
    call show '[1,2]'
    body_is .result '{"args":[1,2],"kwargs":{}}'
    call show '[1]' '"kwargs":{"k":"v"}'
    body_is .result '{"args":[1],"kwargs":{"k":"v"}}'
    call show '[]'
    body_is .result '{"args":[],"kwargs":{}}'
    post /v1/map '{"task":"show","items":[1,[2],"x"]}'
    body_is .result '[1,[2],"x"]'
}

@test "what a oneshot program prints is the result: JSON, else a string" {
    oneshot say <<<'jq -j .'
    serve
    call say '["{\"a\": 1.0}\n"]'
    [ "$(result_text <<<"$BODY")" = '{"a": 1.0}' ]
    call say '["two\nlines\n\n"]'
    body_is .result '"two\nlines"'
    call say '["NaN"]'
    body_is .result '"NaN"'
    call say '[""]'
    body_is .result '""'
}

@test "a persistent program is started once, and keeps what it knows" {
    persistent count <<<'while next; do n=$((n + 1)); answer "\"result\":$n"; done'
    serve
    post /v1/map '{"task":"count","items":[0,0,0]}'
    body_is .result '[1,2,3]'
    call count
    body_is .result 4
}

@test "arguments pass byte for byte, but for line breaks between them" {
    persistent show <<'SCRIPT'
while next; do
    args=${line#*\"args\":}
    answer "\"result\":${args%,\"kwargs\"*}"
done
SCRIPT
    serve
    call show $'[1.10, {"x":\n\r\n  "a\\nb"}, 1e400]'
    [ "$(result_text <<<"$BODY")" = '[1.10, {"x":     "a\nb"}, 1e400]' ]
}

@test "a result passes as it is, also with a name that comes twice" {
    oneshot once <<<'printf "{\"a\":1, \"a\":{\"b\":0,\"b\":0}}"'
    persistent more <<<"while next; do answer '\"result\":{\"a\":1, \"a\":2}'; done"
    serve
    call once
    [ "$(result_text <<<"$BODY")" = '{"a":1, "a":{"b":0,"b":0}}' ]
    call more
    [ "$(result_text <<<"$BODY")" = '{"a":1, "a":2}' ]
}

@test "a program runs in its folder, without the server's environment, and without a shell" {
    oneshot where '{"env":{"GREETING":"good day"}}' <<<'pwd; env | sort; ulimit -c'
    jq -n '{name: "literal", command: ["printf", "%s", "$(id) ; * \"x\""], mode: "oneshot"}' \
        >"$TASKS/literal.json"
    SECRET=hidden serve
    call where
    expect 200
    text=$(jq -r .result <<<"$BODY")
    [ "$(head -1 <<<"$text")" = "$(realpath "$TASKS")" ]
    [ "$(tail -1 <<<"$text")" = 0 ]
    grep -qx 'GREETING=good day' <<<"$text"
    ! grep -q -e SECRET -e POOLD_ <<<"$text"
    call literal
    body_is .result '"$(id) ; * \"x\""'
}

@test "large inputs and outputs do not wait for each other" {
    oneshot copy <<<'cat'
    persistent echo <<'SCRIPT'
while next; do
    args=${line#*\"args\":[}
    answer "\"result\":${args%],\"kwargs\"*}"
done
SCRIPT
    serve
    head -c 3000000 /dev/zero | tr '\0' x | jq -R '{task: "copy", args: [.]}' >"$BATS_TEST_TMPDIR/big"
    for task in copy echo; do
        sed -i "s/\"task\": \"[a-z]*\"/\"task\": \"$task\"/" "$BATS_TEST_TMPDIR/big"
        http POST /v1/apply -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/big"
        expect 200
        body_is '.result | length' 3000000
    done
}

# ---- how a program fails ---------------------------------------------------------------------

@test "row 101: a code other than 0 is an error, with the end of what it said" {
    oneshot fail <<<'echo first >&2; echo "cannot: no such thing" >&2; exit 3'
    serve
    call fail
    fails_with task-error 'CalledProcessError: the program ended with code 3: cannot: no such thing'
    body_is .exception.traceback '"first\ncannot: no such thing\n"'
}

@test "row 101: a persistent program says its errors itself" {
    persistent fail <<'SCRIPT'
while next; do answer '"error":{"type":"KeyError","message":"k","traceback":"at 1"}'; done
SCRIPT
    serve
    call fail
    fails_with task-error 'KeyError: k'
    body_is .exception '{"type":"KeyError","message":"k","traceback":"at 1"}'
    http GET /v1/workers
    body_is '[.workers[].alive]' '[true]'
}

@test "row 101: long messages are cut" {
    persistent fail <<'SCRIPT'
next && answer "\"error\":{\"type\":\"E\",\"message\":\"$(printf %09000d 0)\"}"
next
SCRIPT
    serve
    call fail
    expect 422 task-error
    body_is '.exception.message | length' 4096
}

@test "row 102, F21: a program that is killed by a signal takes its worker along" {
    oneshot one <<<'kill -SEGV $$'
    persistent many <<<'next; kill -ABRT $$'
    serve
    call one '[]' '"crash_retries":0'
    expect 422 worker-lost
    body_is .signal '"SIGSEGV"'
    call many '[]' '"crash_retries":0'
    expect 422 worker-lost
    body_is .signal '"SIGABRT"'
    job=$(submit apply_async '{"task":"many","crash_retries":1}')
    wait_for_state "$job" failed
    [ "$(field "$job" .attempt)" = 2 ]
}

@test "row 102: a persistent program that ends with a code takes its worker along" {
    persistent many <<<'next; exit 7'
    serve
    call many '[]' '"crash_retries":0'
    expect 422 worker-lost
    body_is .exit_code 7
}

@test "row 103: a program that runs too long is killed, by its own limit or the job's" {
    oneshot one '{"limits":{"time":0.2}}' <<<'exec sleep 600'
    persistent many '{"limits":{"time":0.2}}' <<<'cat >/dev/null'
    oneshot slow <<<'sleep 600 & echo $! >pid; wait'
    serve
    for task in one many; do
        call $task
        fails_with time-limit 'the program ran longer than 0.2 seconds'
    done
    call slow '[]' '"time_limit":0.5'
    expect 422 time-limit
    eventually gone "$(cat "$TASKS/pid")"
}

@test "row 103: processor time is limited, too" {
    oneshot spin '{"limits":{"cpu":1,"time":30.5}}' <<<'while :; do :; done'
    oneshot free <<<'while :; do :; done'
    serve --cpu-limit 2
    call spin
    fails_with time-limit 'more than 1 seconds of processor time'
    call free
    fails_with time-limit 'more than 2 seconds of processor time'
    get /v1/tasks/spin >/dev/null
    body_is '.limits | [.cpu_limit, .memory_limit, .time_limit]' '[1,null,30.5]'
    get /v1/tasks/free >/dev/null
    body_is .limits.cpu_limit 2
}

@test "row 103: processor time of a persistent program is limited by the item" {
    persistent many '{"limits":{"cpu":1}}' <<'SCRIPT'
trap 'answer "\"result\":\"died\""; exit 3' TERM
while next; do
    [[ $line == *spin* ]] && while :; do :; done
    [[ $line == *deaf* ]] && trap '' XCPU && while :; do :; done
    until read -ra stat </proc/$$/stat; now=$((stat[13] + stat[14])); ((now >= used + 60)); do :; done
    used=$now
    answer '"result":"fine"'
done
SCRIPT
    serve
    pid=$(worker_pid 0)
    # Each of these uses 0.6 seconds.
    for _ in 1 2 3; do heals many; done
    call many '["spin"]'
    fails_with time-limit 'more than 1 seconds of processor time'
    call many '["deaf"]'
    fails_with time-limit 'more than 1 seconds of processor time'
    heals many
    [ "$(worker_pid 0)" = "$pid" ]
}

@test "row 104: a program over its memory is its own failure and nobody else's" {
    oneshot one '{"limits":{"memory":100000000}}' <<'SCRIPT'
x=$(head -c 300000000 /dev/zero | tr '\0' x)
echo ${#x}
SCRIPT
    persistent many <<'SCRIPT'
while next; do answer '"error":{"type":"MemoryError","message":"too much"}'; done
SCRIPT
    serve
    call one '[]' '"crash_retries":0'
    expect 422
    call many
    fails_with out-of-memory 'MemoryError: too much'
    call square '[3]'
    body_is .result 9
}

@test "row 105: a result above the limit is told as that, and not kept" {
    oneshot one <<<'printf "%02000d" 0'
    oneshot flood <<<'exec cat /dev/zero'
    persistent many <<<'while next; do answer "\"result\":\"$(printf %02000d 0)\""; done'
    serve --max-result-bytes 1000
    for task in one flood many; do
        call $task
        expect 422 result-too-large
    done
    call square '[3]'
    body_is .result 9
}

@test "row 106: output that is no text is an invalid result" {
    oneshot latin <<<'printf "caf\351"'
    oneshot nul <<<'printf "a\0b"'
    serve
    for task in latin nul; do
        call $task
        fails_with invalid-result 'neither JSON nor UTF-8'
    done
}

@test "row 107, F23: what goes to standard error is the log's, however much it is" {
    oneshot one <<<'echo "{\"id\":1,\"result\":0}" >&2; head -c 30000000 /dev/zero >&2; echo 5'
    persistent many <<'SCRIPT'
while next; do
    head -c 30000000 /dev/zero >&2
    answer '"result":6'
done
SCRIPT
    serve
    call one
    body_is .result 5
    call many
    body_is .result 6
}

# ---- the protocol ----------------------------------------------------------------------------

# misbehaving SCRIPT [JSON]: a program that does this with each line but the one that says "fine".
misbehaving() {
    persistent bad "${2:-}" <<SCRIPT
while next; do
    case \$line in
    *fine*) answer '"result":"fine"' ;;
    *) $1 ;;
    esac
done
SCRIPT
}

# violates TEXT SCRIPT
violates() {
    misbehaving "$2"
    serve
    call bad
    fails_with protocol-error "$1" || return 1
    heals bad
}

@test "row 108, F33: a line that is not JSON" {
    violates 'wrote a line that is not JSON: hello there' 'echo hello there'
}
@test "row 108, F33: a line that is no object" {
    violates 'wrote a line that is no JSON object: [1]' 'echo "[1]"'
}
@test "row 106, 108: a result that is not JSON" {
    violates 'that is not JSON' "answer '\"result\":NaN'"
}
@test "row 108: a line without an id" {
    violates 'without an id' "echo '{\"result\":1}'"
}
@test "row 108: an id that was never sent" {
    violates 'whose id is not one that it was sent' "id=99; answer '\"result\":1'"
}
@test "row 108: a result and an error at once" {
    violates 'not exactly one of result, error and progress' "answer '\"result\":1,\"error\":{}'"
}
@test "row 108: an error without a message" {
    violates 'whose error has not the strings type and message' "answer '\"error\":{\"type\":\"E\"}'"
}
@test "row 108: progress that is none" {
    violates 'whose progress has not the number current' "answer '\"progress\":5'"
}
@test "row 108, F33: half a line, then the end" {
    violates 'ended in the middle of a line: {"id":' "printf '{\"id\":'; exit 0"
}
@test "row 108: the end before an answer" {
    violates 'ended before it had answered' 'exit 0'
}
@test "F33: a program that closes its output and goes on" {
    violates 'has closed its standard output and goes on' 'exec >&-; exec sleep 600'
}

@test "F33: a line without end is cut off at its limit" {
    misbehaving 'exec cat /dev/zero' '{"limits":{"line":100000}}'
    serve
    call bad
    fails_with protocol-error 'wrote a line of more than 100000 bytes'
    heals bad
}

@test "F33: a program that never reads" {
    persistent deaf '{"limits":{"time":0.3}}' <<<'exec sleep 600'
    persistent closed <<<'exec <&-; exec sleep 600'
    serve
    head -c 300000 /dev/zero | tr '\0' x | jq -R '{task: "deaf", args: [.]}' >"$BATS_TEST_TMPDIR/big"
    http POST /v1/apply -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/big"
    fails_with time-limit 'longer than 0.3'
    sed -i 's/deaf/closed/' "$BATS_TEST_TMPDIR/big"
    http POST /v1/apply -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/big"
    fails_with protocol-error 'has closed its standard input and goes on'
}

@test "row 108: a second answer is not used" {
    persistent twice <<'SCRIPT'
while next; do
    answer "\"result\":$id"
    answer '"result":"again"'
done
SCRIPT
    serve
    post /v1/map '{"task":"twice","items":[0,0,0,0]}'
    body_is .result '[1,2,3,4]'
}

@test "a program that ends between two items is started anew, and no item knows" {
    persistent brief <<'SCRIPT'
next
answer '"result":"fine"'
exit 3
SCRIPT
    serve
    for i in 1 2 3; do
        heals brief
        pid=$(worker_pid 0)
        eventually no_living_child_of "$pid"
    done
}
no_living_child_of() {
    local child
    for child in $(cat "/proc/$1/task/$1/children"); do
        gone "$child" || return 1
    done
}

@test "progress may come before the answer, and is seen at the job" {
    persistent steps <<'SCRIPT'
while next; do
    answer '"progress":{"current":1,"total":2,"message":"half"}'
    until [ -e go ]; do :; done
    answer '"result":"fine"'
done
SCRIPT
    serve
    job=$(submit apply_async '{"task":"steps"}')
    follow "$job" '.progress.task != null'
    body_is '.progress | [.message, .task.current, .task.total]' '["half",1,2]'
    touch "$TASKS/go"
    wait_for_state "$job" succeeded
    heals steps
}

@test "F34: the result of a program that has closed its output counts, though it hangs" {
    oneshot hangs <<<'echo 5; exec >&- 2>&-; exec sleep 600'
    serve
    call hangs
    body_is .result 5
}

# ---- what it leaves behind -------------------------------------------------------------------

@test "F25: what a oneshot program leaves running is killed, and its result does not wait" {
    oneshot leaves <<'SCRIPT'
sleep 600 &
echo $! >a
setsid bash -c 'sleep 600 & echo $! >b; disown' &
setsid sleep 600 &
until [ -s b ]; do :; done
echo 5
SCRIPT
    serve
    call leaves
    body_is .result 5
    eventually gone "$(cat "$TASKS/a")"
    eventually gone "$(cat "$TASKS/b")"
}

@test "F25: a persistent program and its children end with their worker" {
    persistent keeps <<'SCRIPT'
sleep 600 &
echo $! >a
setsid sleep 600 &
echo $! >b
echo $$ >c
while next; do answer '"result":"fine"'; done
SCRIPT
    serve
    heals keeps
    kill -KILL "$(worker_pid 0)"
    for file in a b c; do
        eventually gone "$(cat "$TASKS/$file")"
    done
}

# ---- manifests -------------------------------------------------------------------------------

@test "F33: a manifest that cannot work is refused with its reason, and the others are served" {
    oneshot fine <<<'echo 1'
    oneshot plain <<<'echo 1'
    chmod -x "$TASKS/plain.sh"
    jq -n '{name: "lost", command: ["no-such-program-here"], mode: "oneshot"}' >"$TASKS/lost.json"
    jq -n '{name: "gone", command: ["./gone.sh"], mode: "oneshot"}' >"$TASKS/gone.json"
    jq -n '{name: "odd", command: ["cat"], mode: "sometimes"}' >"$TASKS/odd.json"
    jq -n '{name: "more", command: ["cat"], mode: "oneshot", retries: 1}' >"$TASKS/more.json"
    echo '{"name": "half"' >"$TASKS/half.json"
    serve
    log_has 'plain.json reason="/command/0: .*/plain.sh: it is not executable; use: chmod \+x'
    log_has 'lost.json reason="/command/0: there is no program no-such-program-here in PATH'
    log_has 'gone.json reason="/command/0: .*/gone.sh: there is no such file'
    log_has 'odd.json reason="/mode: is not persistent or oneshot'
    log_has 'more.json reason="/retries: is not a member of a manifest'
    log_has 'half.json reason="line '
    call fine
    body_is .result 1
    get /v1/tasks/fine
    body_is '[.runtime, .signature]' '["program","fine(*args, **kwargs)"]'
}

@test "a program that has gone since is an error of the item" {
    oneshot fine <<<'echo 1'
    serve
    rm "$TASKS/fine.sh"
    call fine
    fails_with task-error 'FileNotFoundError: '
}

# ---- the examples ----------------------------------------------------------------------------

@test "example: a shell program counts words" {
    start_poold --tasks "$BATS_TEST_DIRNAME/../../examples/programs"
    call wordcount '["to be\nor not"]'
    expect 200
    body_is .result '{"lines":2,"words":4,"bytes":12}'
    call wordcount '[5]'
    fails_with task-error 'wordcount: not a text'
}

@test "example: a Node program makes HTML" {
    command -v node >/dev/null || skip "Node is not installed (scripts/install-packages test)"
    start_poold --tasks "$BATS_TEST_DIRNAME/../../examples/programs"
    post /v1/map '{"task":"markdown","items":["# A *title*","- one\n- two","a <b>"]}'
    expect 200
    body_is .result \
        '["<h1>A <em>title</em></h1>","<ul><li>one</li><li>two</li></ul>","<p>a &lt;b&gt;</p>"]'
    call markdown '[5]'
    fails_with task-error 'TypeError: markdown() takes a text, not 5'
}
