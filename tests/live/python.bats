# SPDX-License-Identifier: MIT
# Python modules as tasks: what is offered, and that calls are what they are in Python.
load helpers

: "${PYTHON3:=/usr/bin/python3}"
MODULES=$BATS_TEST_DIRNAME/python

start_python() { start_poold --tasks "$MODULES" --python "$PYTHON3" "$@"; }

# call TASK ARGS [MEMBERS]: apply.
call() { post /v1/apply "{\"task\":\"good:$1\",\"args\":$2${3:+,$3}}" >/dev/null; }
# returns TEXT: the last call has, byte for byte.
returns() {
    expect 200 || return 1
    [ "$(result_text <<<"$BODY")" = "$1" ] && return 0
    echo "not $1: $BODY"
    return 1
}
raises() {
    expect 422 task-error || return 1
    body_is '[.exception.type, .exception.message]' "$1"
}

@test "functions, class methods and static methods of a module are tasks" {
    start_python
    get /v1/tasks >/dev/null
    expect 200
    body_is '[.tasks[] | select(.runtime == "python") | .name
        | select(startswith("good:")) | .[5:]
        | select(IN("square", "power", "Shape.count_sides", "Shape.area", "later"))] | sort' \
        '["Shape.area","Shape.count_sides","later","power","square"]'
    body_is '[.tasks[] | .name | select(test("hypot|_private|ordinary|_neighbour|CONSTANT|Picky"))]' '[]'
    get /v1/tasks/good:square >/dev/null
    body_is '[.summary, .signature, .runtime]' '["The square of x.","square(x)","python"]'
    get /v1/tasks/good:power >/dev/null
    body_is .signature '"power(base, exp=2, *, plus=0)"'
    get /v1/tasks/good:Shape.count_sides >/dev/null
    body_is '[.summary, .signature]' \
        '["How many sides there are, so many times.","Shape.count_sides(times=1)"]'
}

@test "functions of modules that the setting names are tasks" {
    start_poold --python "$PYTHON3" --python-modules math --python-modules os.path
    post /v1/map '{"task":"math:isqrt","items":[16,17]}'
    expect 200
    body_is .result '[4,4]'
    post /v1/apply '{"task":"os.path:join","args":["a","b"]}'
    expect 200
    body_is .result '"a/b"'
    try_poold --python-modules 'ma-th'
    [ "$status" = 78 ]
    [[ $output == *"is not a name of a Python module"* ]]
}

@test "__all__ says what is offered" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    cat >"$BATS_TEST_TMPDIR/tasks/listed.py" <<'PY'
from math import hypot, sqrt
__all__ = ["hypot", "shown"]
def shown(): pass
def hidden(): pass
PY
    run "${poold[@]}" tasks --json --settings "{\"python\":\"$PYTHON3\"}" "$BATS_TEST_TMPDIR/tasks"
    [ "$status" = 0 ]
    [ "$(jq -c '[.files[].tasks[].name]' <<<"$output")" = '["listed:hypot","listed:shown"]' ]
}

@test "files that cannot be offered are refused with the reason, and the others serve" {
    dir=$BATS_TEST_TMPDIR/tasks
    mkdir "$dir"
    echo 'def f(: pass' >"$dir/a_syntax.py"
    printf 'import os\n\nimport no_such_module\n' >"$dir/b_import.py"
    echo 'import sys; sys.exit(3)' >"$dir/c_exit.py"
    echo 'import os; os._exit(4)' >"$dir/d_hard_exit.py"
    echo 'import ctypes; ctypes.string_at(0)' >"$dir/e_segfault.py"
    echo 'def f(): pass' >"$dir/f-no-name.py"
    echo 'def f(): pass' >"$dir/json.py"
    echo 'x = 1' >"$dir/nothing.py"
    echo 'def f(): return "here"' >"$dir/works.py"
    start_poold --tasks "$dir" --python "$PYTHON3"
    post /v1/apply '{"task":"works:f"}'
    expect 200
    body_is .result '"here"'
    run "${poold[@]}" tasks --json --settings "{\"python\":\"$PYTHON3\"}" "$dir"
    reasons=$(jq -r '.files[] | select(.refused) | (.path | sub(".*/"; "")) + ": " + .refused' <<<"$output")
    echo "$reasons"
    grep -q '^a_syntax.py: SyntaxError: .*(a_syntax.py, line 1)' <<<"$reasons"
    grep -q "^b_import.py: ModuleNotFoundError: No module named 'no_such_module' (b_import.py, line 3)" <<<"$reasons"
    grep -q '^c_exit.py: SystemExit: 3' <<<"$reasons"
    grep -q '^d_hard_exit.py: .*exit code 4' <<<"$reasons"
    grep -q '^e_segfault.py: .*SIGSEGV' <<<"$reasons"
    grep -q '^f-no-name.py: its name is no name of a Python module' <<<"$reasons"
    grep -q '^json.py: there is a module json already' <<<"$reasons"
    grep -q '^nothing.py: there is no task in it' <<<"$reasons"
    [ "$(wc -l <<<"$reasons")" = 8 ]
}

@test "a function's own limits hold for its items, are told, and leave the next one alone" {
    TASKS=$BATS_TEST_TMPDIR/tasks
    mkdir "$TASKS"
    cat >"$TASKS/limited.py" <<'END'
import resource, time
def soft(kind):
    return resource.getrlimit(kind)[0]
soft.poold_limits = {"memory_limit": 1 << 40, "file_size_limit": 4096, "open_files_limit": 48, "process_limit": 77}
def free(kind):
    return resource.getrlimit(kind)[0]
def late(x):
    while True: time.sleep(1)
late.poold_limits = {"time_limit": 0.25}
def busy(x):
    while True: pass
busy.poold_limits = {"cpu_limit": 1}
class Of:
    @staticmethod
    def soft(kind):
        return resource.getrlimit(kind)[0]
Of.soft.poold_limits = {"open_files_limit": 50}
END
    echo $'def f(): pass\nf.poold_limits = {"time_limit": "soon"}' >"$TASKS/words.py"
    echo $'def f(): pass\nf.poold_limits = {"open_files_limit": -1}' >"$TASKS/negative.py"
    start_poold --processes 1 --tasks "$TASKS" --python "$PYTHON3" --open-files-limit 200
    get /v1/tasks/limited:soft
    body_is '.limits | [.memory_limit, .file_size_limit, .open_files_limit, .process_limit, .time_limit]' \
        '[1099511627776,4096,48,77,null]'
    # RLIMIT_FSIZE, NPROC, NOFILE, AS
    post /v1/map '{"task":"limited:soft","items":[1,6,7,9]}'
    expect 200
    body_is .result '[4096,77,48,1099511627776]'
    post /v1/map '{"task":"limited:free","items":[1,7,9]}'
    body_is .result '[-1,200,-1]'
    post /v1/apply '{"task":"limited:Of.soft","args":[7]}'
    body_is .result 50
    # What the pool allows is not exceeded.
    post /v1/pools '{"name":"narrow","processes":1,"open_files_limit":40}'
    post /v1/apply '{"task":"limited:soft","args":[7],"pool":"narrow"}'
    body_is .result 40
    post /v1/apply '{"task":"limited:late","args":[1]}'
    expect 422 time-limit
    post /v1/apply '{"task":"limited:busy","args":[1]}'
    expect 422 time-limit
    get /v1/tasks
    body_is '[.refused[] | select(.file | endswith("/words.py")) | .reason | contains("f.poold_limits is not a dict of numbers")]' '[true]'
    body_is '[.refused[] | select(.file | endswith("/negative.py")) | .reason | contains("out of its range")]' '[true]'
}

@test "an import that never ends is refused when its time is over" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    echo 'import time; time.sleep(600)' >"$BATS_TEST_TMPDIR/tasks/slow.py"
    run "${poold[@]}" tasks --probe-timeout 0.5 --settings "{\"python\":\"$PYTHON3\"}" "$BATS_TEST_TMPDIR/tasks"
    [ "$status" = 1 ]
    [[ $output == *"refused: looking at it did not end within 0.5 seconds"* ]]
}

@test "an interpreter that is not there is the reason, and built-in tasks serve" {
    start_poold --tasks "$MODULES" --python /no/such/python
    eventually log_has 'file=.*/good.py reason="/no/such/python cannot be run: No such file'
    post /v1/apply '{"task":"square","args":[3]}'
    expect 200
}

@test "arguments are bound by Python itself" {
    start_python --processes 1
    call square '[7]'
    returns 49
    call power '[2]' '"kwargs":{"exp":10,"plus":1}'
    returns 1025
    call square '[]'
    raises "[\"TypeError\",\"square() missing 1 required positional argument: 'x'\"]"
    call square '[1]' '"kwargs":{"y":2}'
    raises "[\"TypeError\",\"square() got an unexpected keyword argument 'y'\"]"
    call echo '[1,"two",[3.5],{"four":null}]' '"kwargs":{"ключ":true}'
    returns '[[1,"two",[3.5],{"four":null}],{"ключ":true}]'
    call Shape.count_sides '[3]'
    returns 12
    call Shape.area '[3]' '"kwargs":{"height":5}'
    returns 15
    call later '[1]'
    returns 2
    call neighbour '[4]'
    returns 8
}

@test "map, starmap and imap give what Pool gives" {
    start_python
    post /v1/map '{"task":"good:square","items":[1,2,3]}'
    expect 200
    body_is .result '[1,4,9]'
    post /v1/starmap '{"task":"good:power","items":[[2,10],[3,5],[4,3]]}'
    body_is .result '[1024,243,64]'
    post /v1/map '{"task":"good:power","items":[1,2],"kwargs":{"exp":3,"plus":1}}'
    body_is .result '[2,9]'
    post /v1/map '{"task":"good:square","items":[]}'
    body_is .result '[]'
    post /v1/imap '{"task":"good:square","items":[1,2,3]}' >"$BATS_TEST_TMPDIR/lines"
    [ "$(jq -sc 'map(.result)' "$BATS_TEST_TMPDIR/lines")" = '[1,4,9,null]' ]
}

@test "a map of many items is right, in order, with time limits and without" {
    start_python --processes 2
    items=$(jq -nc '[range(100000)]')
    for more in '' ',"time_limit":60' ',"chunksize":7777'; do
        post /v1/map "{\"task\":\"good:square\",\"items\":$items$more}" >/dev/null
        expect 200
        body_is '.result == [range(100000) | . * .]' true
    done
}

@test "integers of any size pass through a map, and what is none stays what it is" {
    start_python
    for items in '[0,-1,999999999999999999,-1000000000000000000]' '[9223372036854775807,-9223372036854775808]' \
        '[9223372036854775808,1]' '[1,2.5]' '[1,2.0]' '[1,true]' '[-3,null,"4"]' '[1,[2]]'; do
        post /v1/map "{\"task\":\"good:same\",\"items\":$items,\"chunksize\":100}" >/dev/null
        returns "$items"
    done
    post /v1/map '{"task":"good:same","items":[ 1 , -0,2 ]}' >/dev/null
    returns '[1,0,2]'
}

@test "a call cannot change the arguments of the next one" {
    start_python --processes 1
    post /v1/map '{"task":"good:spoil_keyword","items":[1,2],"kwargs":{"values":[]},"chunksize":2}'
    body_is .result '[[1],[2]]'
}

@test "exceptions come with their type, message and traceback, without frames of the runner" {
    start_python --processes 1
    call raises '["too small"]'
    raises '["good.Picky","too small"]'
    body_is .detail '"good.Picky: too small"'
    trace=$(jq -r .exception.traceback <<<"$BODY")
    [[ $trace == 'Traceback (most recent call last):'*'good.py", line '*', in raises'*'good.Picky: too small' ]]
    [[ $trace != */proc/self* ]]
    call chained '["x"]'
    raises '["ValueError","no such key"]'
    trace=$(jq -r .exception.traceback <<<"$BODY")
    [[ $trace == *"KeyError: 'x'"*'direct cause of the following exception'*'ValueError: no such key' ]]
    call mute '[]'
    raises '["good.Mute","<exception str() failed: Mute>"]'
    call raises '["zero \u001f \ud83d\ude00"]'
    raises '["good.Picky","zero \u001f 😀"]'
    call stutter '[]'
    raises '["ValueError","half a pair: \\ud83d, and \\x00"]'
    call deep '[]'
    body_is .exception.type '"RecursionError"'
    [[ $(jq -r .exception.traceback <<<"$BODY") == *'Previous line repeated'* ]]
    call raises "[\"$(printf 'x%.0s' $(seq 5000))\"]"
    body_is '.exception.message | length' 4096
}

@test "R21 F10 sys.exit and KeyboardInterrupt are exceptions of the item, and the worker lives" {
    start_python --processes 1
    call square '[1]'
    pid=$(worker_pid 0)
    call leave '[3]'
    raises '["SystemExit","3"]'
    call leave '[]'
    expect 422 task-error
    call interrupt '[]'
    raises '["KeyboardInterrupt",""]'
    post /v1/map '{"task":"good:leave","items":[0,1],"chunksize":2}' >/dev/null
    expect 422 task-error
    [ "$(worker_pid 0)" = "$pid" ]
    call square '[2]'
    returns 4
}

@test "values become JSON as Python's json writes them" {
    start_python --processes 1
    call values '["tuple"]'
    returns '[1,[2,3]]'
    call values '["int keys"]'
    returns '{"1":"yes","null":"none"}'
    call values '["text"]'
    returns "\"Grüße $(printf '\342\200\250') \\u0000 😀\""
    call values '["large"]'
    expect 200
    [ "$(result_text <<<"$BODY" | tr -d '\n' | wc -c)" = 6021 ]
    call digits "[$(printf '7%.0s' $(seq 4000))]"
    returns 4000
}

@test "106, F29: a result that is no JSON is the failure of its item, and says why" {
    start_python --processes 1
    for kind in set bytes nan infinity surrogate generator; do
        call values "[\"$kind\"]"
        expect 422 invalid-result
        body_is .exception.type '"InvalidResult"'
    done
    body_is '.exception.message | test("list\\(")' true
    call deep_result '[]'
    expect 422 invalid-result
    call endless_result '[]'
    expect 422 invalid-result
    post /v1/map_async '{"task":"good:values","items":["tuple","set","tuple","nan","tuple"],"chunksize":5}' \
        >/dev/null
    job=$(jq -r .id <<<"$BODY")
    wait_for_state "$job" failed
    [ "$(field "$job" '.progress | [.completed, .failed]')" = '[3,2]' ]
}

@test "an initializer may be a Python function; one that raises breaks its pool" {
    start_python
    post /v1/pools '{"name":"set","processes":2,"initializer":"good:set_state",
        "initargs":["colour","red"]}' >/dev/null
    expect 201
    post /v1/map '{"task":"good:get_state","items":["colour","colour","colour"],"pool":"set"}' >/dev/null
    body_is .result '["red","red","red"]'
    post /v1/pools "{\"name\":\"mark\",\"processes\":2,\"initializer\":\"good:write_at_start\",
        \"initargs\":[\"$BATS_TEST_TMPDIR/started\"]}" >/dev/null
    expect 201
    post /v1/map '{"task":"good:square","items":[1,2],"pool":"mark"}' >/dev/null
    expect 200
    eventually test -s "$BATS_TEST_TMPDIR/started"
    post /v1/pools '{"name":"bad","processes":1,"initializer":"good:raises","initargs":["no"]}' >/dev/null
    expect 201
    post /v1/apply '{"task":"good:square","args":[1],"pool":"bad"}' >/dev/null
    body_is '.exception | [.type, .message]' '["good.Picky","no"]'
}

@test "a pool of start method spawn has interpreters of its own" {
    start_python
    post /v1/pools '{"name":"fresh","processes":2,"start_method":"spawn"}' >/dev/null
    expect 201
    post /v1/map '{"task":"good:square","items":[1,2,3],"pool":"fresh"}'
    expect 200
    body_is .result '[1,4,9]'
    post /v1/pools '{"name":"fresh_init","processes":1,"start_method":"spawn",
        "initializer":"good:set_state","initargs":["colour","blue"]}' >/dev/null
    post /v1/apply '{"task":"good:get_state","args":["colour"],"pool":"fresh_init"}'
    body_is .result '"blue"'
}

@test "a task can tell its progress" {
    start_python --processes 1
    job=$(submit map_async '{"task":"good:work","items":[100000],"kwargs":{"path":"'"$BATS_TEST_TMPDIR/go"'"}}')
    follow "$job" '.progress.task.current == 100000'
    body_is '.progress.task | [.item, .total]' '[0,100000]'
    body_is '.progress.message | [startswith("done ✓..."), (utf8bytelength)]' '[true,256]'
    touch "$BATS_TEST_TMPDIR/go"
    wait_for_state "$job" succeeded
}

@test "a child that a task forks and forgets is no second runner" {
    start_python --processes 1
    post /v1/map '{"task":"good:fork_and_return","items":[1,2,3],"chunksize":3}' >/dev/null
    expect 200
    body_is .result '[1,2,3]'
}

@test "modules are imported once, and runners are forked from that" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    cat >"$BATS_TEST_TMPDIR/tasks/once.py" <<PY
import os
with open("$BATS_TEST_TMPDIR/imports", "a") as file:
    file.write(f"{os.getpid()}\n")
imported_by = os.getpid()
def who(x): return [imported_by, os.getpid(), os.getppid()]
PY
    start_poold --tasks "$BATS_TEST_TMPDIR/tasks" --python "$PYTHON3" --processes 3
    : >"$BATS_TEST_TMPDIR/imports.first"
    post /v1/map '{"task":"once:who","items":[1,2,3,4,5,6],"chunksize":1}' >/dev/null
    expect 200
    body_is '[.result[] | .[0] == .[2]] | all' true
    [ "$(wc -l <"$BATS_TEST_TMPDIR/imports")" = 2 ] # the probe, the template
}

@test "a module that starts threads is imported by each worker, and works" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    cat >"$BATS_TEST_TMPDIR/tasks/threads.py" <<'PY'
import os, queue, threading
box, answers = queue.Queue(), queue.Queue()
def loop():
    while True:
        answers.put(box.get() + 1)
threading.Thread(target=loop, daemon=True).start()
def ask(x):
    box.put(x)
    return answers.get(timeout=20)
PY
    start_poold --tasks "$BATS_TEST_TMPDIR/tasks" --python "$PYTHON3"
    post /v1/map '{"task":"threads:ask","items":[1,2,3]}'
    expect 200
    body_is .result '[2,3,4]'
    log_has 'starts threads when it is imported'
}

@test "a template that does not live is given up, and workers help themselves" {
    mkdir "$BATS_TEST_TMPDIR/tasks"
    cat >"$BATS_TEST_TMPDIR/tasks/moody.py" <<'PY'
import os, sys
if "template" in sys.argv:
    os._exit(9)
def f(): return "alone"
PY
    start_poold --tasks "$BATS_TEST_TMPDIR/tasks" --python "$PYTHON3"
    post /v1/apply '{"task":"moody:f"}' >/dev/null
    expect 200
    eventually log_has 'code=9 next="workers import them themselves"'
    post /v1/apply '{"task":"moody:f"}' >/dev/null
    expect 200
}

@test "a template that was killed is replaced" {
    start_python --processes 1
    call square '[2]'
    returns 4
    template=$(template_pid)
    kill -KILL "$template"
    eventually new_template "$template"
    call square '[3]'
    returns 9
    # The worker's own runner went with the template; whatever became of it, the next ones serve.
    post /v1/map '{"task":"good:square","items":[1,2,3]}'
    expect 200
}

template_pid() {
    local cmdline
    for cmdline in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' <"$cmdline" 2>/dev/null | grep -q "template .*good.py" &&
            [ "$(awk '/^PPid/ {print $2}' "${cmdline%cmdline}status")" = "$(forkserver_pid)" ]; then
            basename "${cmdline%/cmdline}"
            return 0
        fi
    done
    return 1
}
forkserver_pid() { pgrep -P "$POOLD_PID" | head -1; }
new_template() {
    local pid
    pid=$(template_pid) && [ "$pid" != "$1" ]
}

@test "the runner, the template and the worker end with the server, even by SIGKILL" {
    start_python --processes 1
    job=$(submit apply_async '{"task":"faults:outlive_parent","args":["'"$BATS_TEST_TMPDIR/pid"'"]}')
    eventually test -s "$BATS_TEST_TMPDIR/pid"
    template=$(template_pid)
    kill -KILL "$POOLD_PID"
    eventually gone "$(cat "$BATS_TEST_TMPDIR/pid")"
    eventually gone "$template"
}
