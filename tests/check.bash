# SPDX-License-Identifier: MIT
#
# What the check scripts that look for tests by name share. A test is written as
#
#     FILE.bats: TEXT     those of tests/live/FILE.bats whose names begin with TEXT
#     test_X.c: function  a test of a program of that name
#     raw/FILE.py: TEXT   tests/raw/FILE.py, which has that text
#     tests/raw/FILE.py   all of it
#     tests/fault/NAME    a program
#
# The functions are called in the project's folder.

# source_of FILE.c: where that test program's source is.
source_of() { find tests -name "$1" -print -quit; }

# runs_raw FILE.py
runs_raw() { [ -f "tests/raw/$1" ] && grep -qE "foreach\(part .*\<${1%.py}\>" tests/CMakeLists.txt; }

# test_is_there TEST: whether it is, and is run.
test_is_there() {
    local file=${1%%: *} name=${1#*: }
    case $1 in
    *.bats:*)
        [ -f "tests/live/$file" ] && grep -qF "@test \"$name" "tests/live/$file" &&
            grep -qw "${file%.bats}" tests/CMakeLists.txt
        ;;
    test_*.c:*)
        file=$(source_of "$file")
        if [ "$name" = main ]; then # the whole program
            [ -n "$file" ]
        else # in the list of its tests
            [ -n "$file" ] && grep -qE "[A-Za-z_]\($name\b" "$file"
        fi
        ;;
    raw/*) runs_raw "${file#raw/}" && grep -qF "$name" "tests/$file" ;;
    tests/raw/*) runs_raw "${1#tests/raw/}" ;;
    *) [ -x "$1" ] && grep -qw "${1#tests/}" tests/CMakeLists.txt tests/fault/README.md ;;
    esac
}

# tell FOUND: prints what a check has found, and ends the script; with code 1 if that is anything.
tell() {
    [ -z "$1" ] && exit
    printf '%s\n' "$1"
    exit 1
}
