#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every row of docs/bad-input.md has its number in the name of a test, and no test names a row that
# is not there. Names are "row N" and "row N, M" of live tests and of what Python scripts report,
# and in tests/raw `row(N, ...)` and the tables `N: [...]`.
#
#     tests/check_rows.sh [TABLE FOLDER]   prints what is missing, exit code 1 if anything is
#     tests/check_rows.sh --self-test      proves that it would be found
set -euo pipefail

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
. "$(dirname "$self")/check.bash"
root=$(dirname "$(dirname "$self")")

ids() { sed -nE 's/^\| ([0-9]+) \|.*\|.*\|$/\1/p' "$1"; }

# named FOLDER: numbers in its tests.
named() {
    {
        grep -hoE '^@test "row [0-9]+(, [0-9]+)*' "$1"/live/*.bats
        grep -hoE '"row [0-9]+(, [0-9]+)*' "$1"/raw/*.py "$1"/api/walk.py
        grep -hoE '\brow\([0-9]+,' "$1"/raw/*.py
        grep -hoE '^ +[0-9]+: \[' "$1"/raw/*.py
    } | grep -oE '[0-9]+' || true
}

check() {
    comm -23 <(ids "$1" | sort -u) <(named "$2" | sort -u) | sort -n |
        sed 's/$/: has no test in its name/'
    comm -13 <(ids "$1" | sort -u) <(named "$2" | sort -u) | sort -n |
        sed 's/$/: is named by a test, but is no row/'
    # A row that is lost, or twice, would be one that nobody looks for.
    comm -3 <(ids "$1" | sort) <(seq 110 | sort) | tr -d '\t' | sort -nu |
        sed 's/$/: is not once in the table/'
}

self_test() {
    dir=$(mktemp -d) # not local: the trap comes after the function
    trap 'rm -rf "$dir"' EXIT
    mkdir "$dir"/{live,raw,api}
    for i in $(seq 109) 109; do
        printf '| %s | a | b |\n' "$i"
    done >"$dir/table"
    for i in $(seq 5 107); do
        printf '@test "row %s: a" {\n' "$i"
    done >"$dir/live/x.bats"
    printf '%s\n' '@test "row 1, 2, F3: a" {' '@test "about row 109" {' >>"$dir/live/x.bats"
    printf '%s\n' '    suite.row(3, "a")' '        4: [b"a"],' >"$dir/raw/x.py"
    echo 'f"row 200: a"' >"$dir/api/walk.py"
    diff - <(check "$dir/table" "$dir") <<'EXPECTED'
108: has no test in its name
109: has no test in its name
200: is named by a test, but is no row
109: is not once in the table
110: is not once in the table
EXPECTED
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit
fi
tell "$(check "${1:-$root/docs/bad-input.md}" "${2:-$root/tests}")"
