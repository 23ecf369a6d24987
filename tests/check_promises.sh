#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every promise of README.md names tests, and every test that it names is there:
#
#     `FILE.bats: TEXT`     tests/live/FILE.bats has a test whose name begins with TEXT, and is run
#     `test_X.c: function`  a test program of that name has that test
#     `tests/fault/NAME`    is a program, and is run by ctest or told of in tests/fault/README.md
#
#     tests/check_promises.sh [ROOT]        prints what is wrong, exit code 1 if anything is
#     tests/check_promises.sh --self-test   proves that it would be found
# shellcheck disable=SC2016 # backticks are Markdown's
set -euo pipefail

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
PROMISES=16

rows() { sed -n '/<!-- promises:begin -->/,/<!-- promises:end -->/p' README.md | grep -E '^\| G[0-9]+ \|'; }

# there TEST: what stands between backticks.
there() {
    local file=${1%%: *} name=${1#*: }
    case $1 in
    *.bats:*)
        [ -f "tests/live/$file" ] && grep -qF "@test \"$name" "tests/live/$file" &&
            grep -qw "${file%.bats}" tests/CMakeLists.txt
        ;;
    test_*.c:*)
        file=$(find tests -name "$file" -print -quit)
        [ -n "$file" ] && grep -qw "$name" "$file"
        ;;
    tests/*) [ -x "$1" ] && grep -qw "${1#tests/}" tests/CMakeLists.txt tests/fault/README.md ;;
    esac
}

check() {
    local number row name found test
    for ((number = 1; number <= PROMISES; number++)); do
        row=$(rows | grep "^| G$number |" || true)
        [ -n "$row" ] || echo "README.md: G$number is no row of the promises"
        found=
        while IFS= read -r test; do
            case $test in
            *.bats* | test_*.c* | tests/*) ;;
            *) continue ;;
            esac
            found=1
            there "$test" || echo "README.md: G$number names $test, which is not there"
        done < <(grep -oE '`[^`]+`' <<<"$row" | tr -d '`')
        [ -n "$found" ] || echo "README.md: G$number names no test"
    done
}

self_test() {
    dir=$(mktemp -d) # not local: the trap comes after the function
    trap 'rm -rf "$dir"' EXIT
    cd "$dir"
    mkdir -p tests/live tests/unit tests/fault
    printf '@test "F1 it holds" {\n}\n' >tests/live/good.bats
    echo 'static void holds(void **state)' >tests/unit/test_good.c
    printf '#!/bin/sh\n' >tests/fault/run
    chmod +x tests/fault/run
    echo 'good fault/run' >tests/CMakeLists.txt
    : >tests/fault/README.md
    {
        echo '<!-- promises:begin -->'
        echo '| G1 | x | `good.bats: F1`, `test_good.c: holds`, `tests/fault/run`, `durable` |'
        echo '| G2 | x | `good.bats: F2` |'
        echo '| G3 | x | `gone.bats: F1`, `test_good.c: breaks`, `tests/fault/gone` |'
        echo '| G4 | x | `durable` |'
        echo '<!-- promises:end -->'
    } >README.md
    PROMISES=5
    diff - <(check) <<'EXPECTED'
README.md: G2 names good.bats: F2, which is not there
README.md: G3 names gone.bats: F1, which is not there
README.md: G3 names test_good.c: breaks, which is not there
README.md: G3 names tests/fault/gone, which is not there
README.md: G4 names no test
README.md: G5 is no row of the promises
README.md: G5 names no test
EXPECTED
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit
fi
cd "${1:-$(dirname "$self")/..}"
found=$(check)
[ -z "$found" ] && exit
printf '%s\n' "$found"
exit 1
