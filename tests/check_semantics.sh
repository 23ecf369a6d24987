#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every rule of docs/python.md that poold keeps (=) or breaks on purpose (≠) has its id in the name
# of a live test, and no test names a rule that is not there.
#
#     tests/check_semantics.sh [TABLE FOLDER]   prints what is missing, exit code 1 if anything is
#     tests/check_semantics.sh --self-test      proves that it would be found
set -euo pipefail

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
. "$(dirname "$self")/check.bash"
root=$(dirname "$(dirname "$self")")

# ids TABLE SIGNS: of the rows with one of these signs.
ids() { sed -nE "s/^\| ([RF][0-9]+) \|.*\| ($2) \|.*/\1/p" "$1"; }

# named FOLDER: ids in names of tests.
named() {
    grep -hE '^@test "' "$1"/*.bats | sed -E 's/^@test "//' |
        awk '{ for (i = 1; i <= NF && $i ~ /^[RF][0-9]+$/; i++) print $i }'
}

check() {
    local table=$1 folder=$2
    comm -23 <(ids "$table" '=|≠' | sort -u) <(named "$folder" | sort -u) |
        sed 's/$/: has no test in its name/'
    comm -13 <(ids "$table" '=|≠|·|…' | sort -u) <(named "$folder" | sort -u) |
        sed 's/$/: is named by a test, but is in no row/'
    # Rows that are not understood would be rules that nobody looks for.
    comm -13 <(ids "$table" '=|≠|·|…' | sort) <(sed -nE 's/^\| ([RF][0-9]+) .*/\1/p' "$table" | sort) |
        sed 's/$/: its row has no sign, or is there twice/'
}

self_test() {
    dir=$(mktemp -d) # not local: the trap comes after the function
    trap 'rm -rf "$dir"' EXIT
    printf '%s\n' '| R1 | a | = | b |' '| R2 | a | ≠ | b |' '| R3 | a | · | b |' \
        '| F1 | a | = | b |' '| F2 | a | b |' >"$dir/table"
    printf '%s\n' '@test "R1 F1 both" {' '@test "R9 none" {' '@test "about R2" {' >"$dir/x.bats"
    diff - <(check "$dir/table" "$dir") <<'EXPECTED'
R2: has no test in its name
R9: is named by a test, but is in no row
F2: its row has no sign, or is there twice
EXPECTED
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit
fi
tell "$(check "${1:-$root/docs/python.md}" "${2:-$root/tests/live}")"
