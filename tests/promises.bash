# SPDX-License-Identifier: MIT
#
# The table of promises in README.md, for check_promises.sh and figures: which tests a row names, as
# check.bash has it, and which of these print its figures.
#
# The faults by number, in fault/README.md, are a table of the same form.
#
# The functions are called in the project's folder.

# promise G10: its row, or nothing.
promise() {
    sed -n '/<!-- promises:begin -->/,/<!-- promises:end -->/p' README.md | grep -E "^\| $1 \|" || true
}

# fault F10
fault() {
    sed -n '/<!-- faults:begin -->/,/<!-- faults:end -->/p' tests/fault/README.md | grep -E "^\| $1 \|" || true
}

# tests_of ROW: the tests that it names, each on a line.
tests_of() { grep -oE '`([^`]+\.bats: |test_[a-z0-9_]+\.c: |tests/)[^`]*`' <<<"$1" | tr -d '`' || true; }

# prints G10 TEST: whether what the test prints has figures of the promise.
prints() {
    local file=${2%%: *} name=${2#*: }
    case $2 in
    *.bats:*)
        awk -v name="@test \"$name" -v figure="figure $1 " '
            /^@test / { here = index($0, name) == 1 }
            here && index($0, figure) { found = 1 }
            END { exit !found }' "tests/live/$file"
        ;;
    test_*.c:*) grep -qF "\"$1: " "$(source_of "$file")" ;;
    *) grep -qF "\"$1: " "$2" ;;
    esac
}
