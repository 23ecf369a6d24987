# SPDX-License-Identifier: MIT
#
# What the live tests share: a real server of their own for each test, and curl.
#
#     load helpers
#     @test "..." {
#         start_poold --processes 1
#         job=$(submit apply_async '{"task":"sleep","args":[30]}')
#         wait_for_state "$job" running
#         ...
#     }
#
# Tests wait for events (the ready line, a long poll), never for time; every wait has an end.
# Each test has its own data directory, log and port. What it has started is stopped after it,
# by process id, and a report of a sanitizer in the log fails the test.

# The binary to test; ctest sets it.
: "${POOLD_BIN:=$BATS_TEST_DIRNAME/../../build/dev/poold}"
# Runs it. The server takes every POOLD_... in its environment for a setting, and this is none.
poold=(env -u POOLD_BIN "$POOLD_BIN")

# Servers that tests kill would leave groups in the machine's hierarchy; cgroup.bats has its own.
export POOLD_CGROUP=off

# Upper bound of every wait, in seconds: a test that reaches it has failed.
PATIENCE=${PATIENCE:-30}

setup() {
    # Not in the test's folder: tasks cannot make files right in a folder that leads there.
    POOLD_DATA_DIR=$BATS_RUN_TMPDIR/data/$(basename "$BATS_TEST_FILENAME" .bats)-$BATS_TEST_NUMBER
    mkdir -p "$BATS_RUN_TMPDIR/data"
    POOLD_STDERR=$BATS_TEST_TMPDIR/stderr
    POOLD_STATUS=
    POOLD_PID=
    ALL_PIDS=()
    : >"$POOLD_STDERR"
}

teardown() { teardown_server; }

teardown_server() {
    local pid
    for pid in "${ALL_PIDS[@]}"; do
        # The first signal lets running items finish, the next ends that.
        within 10 stop_or_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if grep -E '(ERROR|SUMMARY): [A-Za-z]+Sanitizer|runtime error:' "$POOLD_STDERR"; then
        echo "the server's log holds a report of a sanitizer:"
        cat "$POOLD_STDERR"
        return 1
    fi
    # bats prints this only when the test has failed.
    tail -n 40 "$POOLD_STDERR"
}

stop_or_gone() {
    gone "$1" && return 0
    kill -TERM "$1" 2>/dev/null || true
    pause 0.1
    gone "$1"
}

# What memory costs and where it lies is another matter with a sanitizer.
sanitized() { grep -qE '__(asan|tsan)_init' "$POOLD_BIN"; }

# ---- waiting -------------------------------------------------------------------------------

# within SECONDS COMMAND...: until it succeeds. For what no request can wait for.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        pause 0.02
    done
}

# Between two looks at something that no request can wait for.
pause() { read -rt "$1" <> <(:) || true; }

eventually() {
    within "$PATIENCE" "$@" && return 0
    echo "never came true: $*"
    return 1
}

# Dead, reaped or not. Asked often, so without a process of its own.
gone() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    stat=${stat##*) }
    [ -z "$stat" ] || [ "${stat%% *}" = Z ]
}

# figure G10 TEXT: what a run has counted or measured, for the table of promises in README.md. It is
# printed although the test passes; tests/figures collects these lines.
figure() { printf '# %s: %s\n' "$1" "$2" >&3; }

# ---- the server ----------------------------------------------------------------------------

# start_poold [FLAG...]: on a free port, two processes unless told otherwise. Sets POOLD_PID and URL.
# Called again it is a restart on the same data.
start_poold() {
    local from defaults=() line=
    from=$(wc -l <"$POOLD_STDERR")
    case " $* " in
    *" --processes"*) ;;
    *) defaults+=(--processes 2) ;;
    esac
    POOLD_FLAGS=("$@")
    # Descriptor 3 belongs to bats, which waits until nobody holds it.
    "${poold[@]}" serve --listen 127.0.0.1:0 --data "$POOLD_DATA_DIR" "${defaults[@]}" "$@" \
        </dev/null >/dev/null 2>>"$POOLD_STDERR" 3>&- &
    POOLD_PID=$!
    ALL_PIDS+=("$POOLD_PID")
    within "$PATIENCE" ready_or_gone "$from" || true
    if ! ready "$from"; then
        echo "the server did not get ready:"
        cat "$POOLD_STDERR"
        return 1
    fi
    [[ $line =~ listen(=|\":\")([^\ \"]+) ]] # as text, or as JSON
    URL=http://${BASH_REMATCH[2]}
}

# ready N: whether it is said behind N lines of the log; the line is in `line`. As `gone`.
ready() {
    local lines
    mapfile -t -s "$1" lines <"$POOLD_STDERR"
    for line in "${lines[@]}"; do
        [[ $line != *'server ready'* ]] || return 0
    done
    return 1
}

ready_or_gone() { ready "$1" || gone "$POOLD_PID"; }

# stop_poold [SIGNAL]: waits for the end; POOLD_STATUS is the exit code.
stop_poold() {
    kill -"${1:-TERM}" "$POOLD_PID"
    wait_for_exit
}

wait_for_exit() {
    eventually gone "$POOLD_PID" || return 1
    POOLD_STATUS=0
    wait "$POOLD_PID" || POOLD_STATUS=$?
}

# restart_poold [SIGNAL]: with the same flags, on the same data.
restart_poold() {
    stop_poold "${1:-TERM}"
    start_poold "${POOLD_FLAGS[@]}"
}

# try_poold [FLAG...]: for a start that is to fail. Like `run`: sets status and output.
# No --data and no --listen of its own.
try_poold() {
    run timeout "$PATIENCE" "${poold[@]}" serve "$@" </dev/null
    printf '%s\n' "$output" >>"$POOLD_STDERR"
}

# descendants PID: of this process, each on a line.
descendants() {
    local child
    for child in $(pgrep -P "$1"); do
        echo "$child"
        descendants "$child"
    done
}

# pipe_that_waits PATH: who opens it for reading gets it, and nothing from it: the test holds it as
# descriptor 7.
pipe_that_waits() {
    mkfifo "$1"
    exec 7<>"$1"
}
# has_open PID PATH
has_open() { readlink "/proc/$1/fd"/* | grep -qxF "$2"; }

log_has() { grep -qE -- "$1" "$POOLD_STDERR"; }

# preload LIBRARY [NAME=VALUE]...: the servers that are started from now on have it, and these variables.
preload() {
    local library=$1 sanitizer
    shift
    # A sanitizer wants to be the first library of all.
    sanitizer=$(ldd "$POOLD_BIN" | awk '/lib[at]san/ {print $3}' | tr '\n' ' ')
    poold=(env -u POOLD_BIN "$@" LD_PRELOAD="$sanitizer$library" "$POOLD_BIN")
}

# The wall clock of the servers that are started from now on is moved by `shift_clock`. Needs PLUGINS.
own_clock() {
    CLOCK_SHIFT=$BATS_TEST_TMPDIR/shift
    shift_clock 0
    preload "$PLUGINS/shim_clock.so" CLOCK_SHIFT="$CLOCK_SHIFT"
}

# shift_clock SECONDS: from true time.
shift_clock() {
    python3 -c 'import struct, sys; sys.stdout.buffer.write(struct.pack("=q", int(sys.argv[1])))' "$1" \
        | dd of="$CLOCK_SHIFT" conv=notrunc status=none
}

# ---- requests ------------------------------------------------------------------------------

# http METHOD PATH [CURL FLAG...]: sets STATUS and BODY; the headers are for `header`.
http() {
    local method=$1 path=$2
    shift 2
    : >"$BATS_TEST_TMPDIR/body"
    STATUS=$(curl -sS --max-time $((PATIENCE + 60)) -X "$method" "$URL$path" \
        -D "$BATS_TEST_TMPDIR/headers" -o "$BATS_TEST_TMPDIR/body" -w '%{http_code}' "$@")
    BODY=$(tr -d '\0' <"$BATS_TEST_TMPDIR/body")
}

# The value of a header of the last answer.
header() {
    sed -n "s/^$1: *//Ip" "$BATS_TEST_TMPDIR/headers" | tr -d '\r' | tail -1
}

# post PATH JSON [CURL FLAG...], get PATH [CURL FLAG...]: as http, and print the body.
post() {
    local path=$1
    printf '%s' "$2" >"$BATS_TEST_TMPDIR/request"
    shift 2
    http POST "$path" -H 'Content-Type: application/json' \
        --data-binary "@$BATS_TEST_TMPDIR/request" "$@"
    printf '%s\n' "$BODY"
}

get() {
    http GET "$@"
    printf '%s\n' "$BODY"
}

# expect STATUS [SLUG]: of the last answer; with a slug it is a problem of that type.
expect() {
    if [ "$STATUS" != "$1" ]; then
        echo "status $STATUS instead of $1: $BODY"
        return 1
    fi
    [ -n "${2:-}" ] || return 0
    if [ "$(jq -r .type <<<"$BODY")" != "/problems/$2" ] ||
        [ "$(header content-type)" != application/problem+json ] ||
        [ "$(jq .status <<<"$BODY")" != "$1" ]; then
        echo "not a problem of type $2: $(header content-type) $BODY"
        return 1
    fi
}

# body_is JQ TEXT: what jq makes of the last answer.
body_is() {
    local got
    got=$(jq -c "$1" <<<"$BODY")
    [ "$got" = "$2" ] && return 0
    echo "$1 is $got instead of $2 in: $BODY"
    return 1
}

# ---- jobs ----------------------------------------------------------------------------------

# submit METHOD JSON: prints the id of the job.
submit() {
    post "/v1/$1" "$2" >/dev/null
    expect 202 || return 1
    jq -r .id <<<"$BODY"
}

# field ID JQ: of the job, as it is now.
field() {
    http GET "/v1/jobs/$1"
    jq -rc "$2" <<<"$BODY"
}

# follow ID JQ: until the job satisfies the jq condition, by long polls for its next change.
follow() {
    local end=$((SECONDS + PATIENCE)) etag
    http GET "/v1/jobs/$1"
    until [ "$STATUS" = 200 ] && jq -e "$2" <<<"$BODY" >/dev/null; do
        if [ "$STATUS" != 200 ] && [ "$STATUS" != 304 ]; then
            echo "job $1: status $STATUS: $BODY"
            return 1
        fi
        if [ "$SECONDS" -ge "$end" ]; then
            echo "job $1 never satisfied $2: $BODY"
            return 1
        fi
        etag=$(header etag)
        http GET "/v1/jobs/$1" -H "If-None-Match: $etag" -H 'Prefer: wait=5'
    done
}

wait_for_state() { follow "$1" ".state == \"$2\""; }

# result ID: prints the value, byte for byte.
result() {
    http GET "/v1/jobs/$1/result?timeout=$PATIENCE"
    expect 200 || return 1
    result_text <<<"$BODY"
}

# The member `result`, which is the last one, as the server wrote it. Not through jq, which
# changes numbers.
result_text() { sed 's/.*"result"://; s/}$//'; }

job_count() {
    http GET '/v1/jobs?limit=500'
    jq '.jobs | length' <<<"$BODY"
}

# ---- workers -------------------------------------------------------------------------------

workers() {
    http GET /v1/workers
    jq -c '.workers[]' <<<"$BODY"
}

living_worker() {
    http GET /v1/workers
    jq -re "[.workers[] | select(.alive) | select($2)][$1].pid" <<<"$BODY"
}

# worker_pid N [JQ CONDITION]: the N-th living worker, counted from 0. Without a condition it is
# waited for: the server is ready before its workers are.
worker_pid() {
    [ $# -gt 1 ] || eventually living_worker "$1" true >/dev/null || return 1
    living_worker "$1" "${2:-true}"
}

# worker_of ID: the pid that runs an item of the job now.
worker_of() { worker_pid 0 ".job == \"$1\""; }

idle_workers() {
    http GET /v1/workers
    jq --arg pool "${1:-default}" \
        '[.workers[] | select(.alive and .pool == $pool and .state == "idle")] | length' <<<"$BODY"
}

idle_workers_are() { [ "$(idle_workers default)" = "$1" ]; }

# sample NAME: the value of a metric without labels.
sample() {
    http GET /metrics
    sed -n "s/^$1 //p" <<<"$BODY"
}

# A worker is up: the server takes requests before.
is_ready() {
    http GET /readyz
    [ "$STATUS" = 200 ]
}

# How many requests wait for a job.
waiters_are() { [ "$(sample poold_waiters)" = "$1" ]; }

named_forkserver() { pgrep -P "$POOLD_PID" -x poold-fork; }

# The pid of the forkserver, once it has its name: the server may be ready before.
forkserver() { eventually named_forkserver; }

# another_forkserver PID
another_forkserver() { [ -n "$(named_forkserver)" ] && [ "$(named_forkserver)" != "$1" ]; }

# Runs behind all items that may be handed out now.
behind_all_else() { post /v1/apply '{"task":"square","args":[1],"priority":-100}'; }
