# SPDX-License-Identifier: MIT
# The README does what it says: its commands are taken from the page, run, and answer as it shows.
load helpers

README=$BATS_TEST_DIRNAME/../../README.md
INCLUDE=$BATS_TEST_DIRNAME/../../include

# The fenced blocks of a section in this language, an empty line behind each.
blocks() {
    sed -n "/^## $1\$/,/^## /p" "$README" | awk -v fence="\`\`\`$2" '
        /^```/ { if (shown) print ""; shown = !open && $0 == fence; open = !open; next }
        shown'
}

poold() { "${poold[@]}" "$@"; }

# What the page shows is a pattern: "…" and ids stand for anything, white space for nothing.
matches() {
    local pattern
    pattern=$(tr -d ' \n' <<<"$2" | sed 's/01a2…[0-9a-f]\{4\}/…/g; s/\$ID/…/g
        s/"state":"queued"/"state":"…"/; s/[][*?\\]/\\&/g; s/…/*/g')
    # shellcheck disable=SC2053 # a pattern is meant
    [[ $(tr -d ' \n' <<<"$1") == $pattern ]] && return 0
    printf '%s\n' "answered: $1" "the page has: $2"
    return 1
}

reloads() { grep -c 'new jobs get the new tasks' "$POOLD_STDERR"; }
more_reloads_than() { [ "$(reloads)" -gt "$1" ]; }
reload() {
    local before
    before=$(reloads) || true
    kill -HUP "$POOLD_PID"
    eventually more_reloads_than "$before"
}

# try COMMAND OUTPUT: runs one command of the page.
try() {
    local command=${1//localhost:8080/${URL#http://}} out
    case $command in
    'kill -HUP %1') reload; return ;;
    'kill %1')
        stop_poold
        log_has "${2#*info}"
        return
        ;;
    'poold serve --tasks tasks &') start_poold --tasks tasks; return ;;
    *'jq -c .progress') return ;; # of a job that the page does not submit
    esac
    command=${command//'$(pkg-config --cflags poold)'/-I"$INCLUDE"}
    command=${command//seq 1000000/seq 1000}
    echo "\$ $command"
    out=$(eval "$command")
    matches "${out//"$PWD"/\/home\/me\/try}" "$2"
    [[ $command != *apply_async* ]] || ID=$(jq -r .id <<<"$out")
    tried=$((tried + 1))
}

# The commands of blocks on standard input, each with the output that is shown under it.
try_all() {
    local line command='' output=''
    tried=0
    while IFS= read -r line <&4; do
        if [[ $command == *\\ ]]; then
            command=${command%\\}$line
        elif [[ $line == '$ '* || -z $line ]]; then
            [ -z "$command" ] || try "$command" "$output"
            command=${line#'$ '} output=
        else
            output+=$line
        fi
    done 4<<<"$1"
}

@test "five minutes with curl" {
    start_poold
    try_all "$(blocks 'Five minutes with curl' console)"$'\n'
    [ "$tried" = 7 ]
}

@test "your own tasks, in an empty folder: in Python, in C, and as a program" {
    mkdir -p "$BATS_TEST_TMPDIR/try/tasks"
    cd "$BATS_TEST_TMPDIR/try"
    blocks 'Your own tasks' python >tasks/words.py
    blocks 'Your own tasks' c >gcd.c
    blocks 'Your own tasks' sh | sed -n '/^cat >/,$p' | grep -vE '^(poold|kill) ' >program.sh
    consoles=$(blocks 'Your own tasks' console)
    try_all "${consoles%$'\n\n'*}"$'\n'
    [ "$tried" = 5 ]
    bash -eu program.sh
    reload
    try_all "${consoles##*$'\n\n'}"$'\n'
    [ "$tried" = 1 ]
}
