#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every promise of README.md names tests, every test that it names is there and is run, and every
# promise has a figure that one of these tests prints (promises.bash), or `bench/run --only PART`. Every
# fault by its number (fault/README.md) names tests that are there:
#
#     tests/check_promises.sh [ROOT]        prints what is wrong, exit code 1 if anything is
#     tests/check_promises.sh --self-test   proves that it would be found
# shellcheck disable=SC2016 # backticks are Markdown's
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/check.bash"
. "$here/promises.bash"
PROMISES=16
FAULTS=(F{1..15} F{18..20} F{50..56} F{60..66})

# Whether the last column has a number, and it can be made again.
has_figure() {
    local column test part
    column=$(awk -F'|' '{ print $(NF - 1) }' <<<"$2")
    [[ $column =~ [0-9] ]] || return 1
    part=$(sed -n 's/.*`bench\/run --only \([a-z]*\)`.*/\1/p' <<<"$column")
    [ -z "$part" ] || [ ! -f "bench/$part.py" ] || return 0
    while IFS= read -r test; do
        test_is_there "$test" && prints "$1" "$test" && return 0
    done < <(tests_of "$2")
    return 1
}

# tests_are_there NAME ROW, in FILE
tests_are_there() {
    local test tests
    tests=$(tests_of "$2")
    [ -n "$tests" ] || echo "$3: $1 names no test"
    while IFS= read -r test; do
        [ -z "$test" ] || test_is_there "$test" || echo "$3: $1 names $test, which is not there"
    done <<<"$tests"
}

check() {
    local number row fault
    for ((number = 1; number <= PROMISES; number++)); do
        row=$(promise "G$number")
        if [ -z "$row" ]; then
            echo "README.md: G$number is no row of the promises"
            continue
        fi
        tests_are_there "G$number" "$row" README.md
        has_figure "G$number" "$row" || echo "README.md: G$number has no figure that one of its tests prints"
    done
    for fault in "${FAULTS[@]}"; do
        row=$(fault "$fault")
        tests_are_there "$fault" "$row" tests/fault/README.md
    done
}

self_test() {
    dir=$(mktemp -d) # not local: the trap comes after the function
    trap 'rm -rf "$dir"' EXIT
    cd "$dir"
    mkdir -p tests/live tests/unit tests/fault bench
    {
        printf '@test "F1 it holds" {\n    figure G1 "3"\n    figure G5 "3"\n}\n'
        printf '@test "F2 it prints nothing" {\n}\n'
    } >tests/live/good.bats
    printf 'static void holds(void **state)\n    print_message("G6: 3");\n        cmocka_unit_test(holds),\n' \
        >tests/unit/test_good.c
    printf '#!/bin/sh\necho "G7: 3"\n' >tests/fault/run
    chmod +x tests/fault/run
    echo 'good fault/run' >tests/CMakeLists.txt
    mkdir tests/raw
    : >tests/raw/slow.py
    echo 'foreach(part slow)' >>tests/CMakeLists.txt
    {
        echo '<!-- faults:begin -->'
        echo '| F1 | x | `good.bats: F1`, `tests/raw/slow.py` |'
        echo '| F2 | x | `good.bats: F9`, `tests/raw/rows.py` |'
        echo '<!-- faults:end -->'
    } >tests/fault/README.md
    FAULTS=(F1 F2 F3)
    : >bench/good.py
    {
        echo '<!-- promises:begin -->'
        echo '| G1 | x | `good.bats: F1`, `test_good.c: holds`, `tests/fault/run`, `durable` | 3 |'
        echo '| G2 | x | `good.bats: F3` | 3 |'
        echo '| G3 | x | `gone.bats: F1`, `test_good.c: breaks`, `tests/fault/gone` | 3 |'
        echo '| G4 | x | `durable` | 3 |'
        echo '| G5 | x | `good.bats: F1` | many |'
        echo '| G6 | x | `test_good.c: holds` | 3 |'
        echo '| G7 | x | `tests/fault/run` | 3 |'
        echo '| G8 | x | `good.bats: F2` | 3 of `bench/run --only good` |'
        echo '| G9 | x | `good.bats: F2` | 3 of `bench/run --only gone` |'
        echo '| G10 | x | `good.bats: F2`, `test_good.c: holds` | 3 |'
        echo '<!-- promises:end -->'
    } >README.md
    PROMISES=11
    diff - <(check) <<'EXPECTED'
README.md: G2 names good.bats: F3, which is not there
README.md: G2 has no figure that one of its tests prints
README.md: G3 names gone.bats: F1, which is not there
README.md: G3 names test_good.c: breaks, which is not there
README.md: G3 names tests/fault/gone, which is not there
README.md: G3 has no figure that one of its tests prints
README.md: G4 names no test
README.md: G4 has no figure that one of its tests prints
README.md: G5 has no figure that one of its tests prints
README.md: G9 has no figure that one of its tests prints
README.md: G10 has no figure that one of its tests prints
README.md: G11 is no row of the promises
tests/fault/README.md: F2 names good.bats: F9, which is not there
tests/fault/README.md: F2 names tests/raw/rows.py, which is not there
tests/fault/README.md: F3 names no test
EXPECTED
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit
fi
cd "${1:-$here/..}"
tell "$(check)"
