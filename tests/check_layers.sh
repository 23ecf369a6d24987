#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Who may include whom, checked on the #include lines. Arrows point down only:
#
#     common/     only common/
#     workers/    workers/ and common/
#     server/     everything
#     sqlite3.h only in server/store_sqlite*, microhttpd.h only in server/http*,
#     uthash.h only in common/hash.h
#
# and every .c file is named in CMakeLists.txt, so none is left out of the build by mistake.
#
#     tests/check_layers.sh [ROOT]        prints each breach as file:line, exit code 1 if any
#     tests/check_layers.sh --self-test   proves that each kind of breach is found
set -euo pipefail

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")

# Prints "file:line:text" of the include lines of the given folders that match a pattern.
includes() {
    local pattern=$1 folder
    shift
    for folder in "$@"; do
        [ -d "$folder" ] || continue
        grep -rnE --include='*.c' --include='*.h' \
            "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]${pattern}[>\"]" "$folder" || true
    done
}

check_layers() {
    includes '(server|workers|include|tests|bench)/[^>"]*' common |
        sed 's/$/    <- common\/ may include only common\//'
    includes '(server|tests|bench)/[^>"]*' workers |
        sed 's/$/    <- workers\/ may include only workers\/ and common\//'
    includes '\.\.?/[^>"]*' common workers server |
        sed 's/$/    <- includes start at the root of the repository/'
    # A neighbour named without its folder would hide which layer it belongs to.
    includes '[a-z0-9_]+\.h' common workers server | grep '"' |
        sed 's/$/    <- the folder must show in the name/' || true
    includes 'sqlite3(ext)?\.h' common workers server |
        { grep -vE '^server/store_sqlite[a-z0-9_]*\.[ch]:' || true; } |
        sed 's/$/    <- only server\/store_sqlite* may include it/'
    includes 'uthash\.h' common workers server |
        { grep -vE '^common/hash\.h:' || true; } |
        sed 's/$/    <- only common\/hash.h may include it/'
    includes 'microhttpd\.h' common workers server |
        { grep -vE '^server/http[a-z0-9_]*\.[ch]:' || true; } |
        sed 's/$/    <- only server\/http* may include it/'
}

# Sources are named by their path, tests in lists by what follows test_ or fuzz_ in their name.
check_listed() {
    local lists file name
    lists=$(find . \( -name build -o -name .git \) -prune -o -name CMakeLists.txt \
        -exec sed 's/#.*//' {} +)
    while IFS= read -r file; do
        name=$file
        [[ $file != tests/unit/* ]] || name=$(basename "${file#*/test_}" .c)
        [[ $file != tests/fault/test_* ]] || name=$(basename "${file#*/test_}" .c)
        [[ $file != tests/fuzz/fuzz_* ]] || name=$(basename "${file#*/fuzz_}" .c)
        name=${name#tests/}
        if ! grep -qE "(^|[^a-z0-9_/])${name//./\\.}([^a-z0-9_]|$)" <<<"$lists"; then
            echo "$file:1: not named in CMakeLists.txt"
        fi
    done < <(find common workers server tests/unit tests/fuzz tests/fault -name '*.c' 2>/dev/null | sort)
}

check() {
    local breaches
    cd "$1"
    breaches=$(check_layers && check_listed)
    if [ -n "$breaches" ]; then
        printf '%s\n' "$breaches"
        return 1
    fi
}

# Each case plants one breach in a clean tree, and the check must name that very line.
self_test() {
    local tree failed=0 name file line text
    tree=$(mktemp -d)
    # shellcheck disable=SC2064 # the path of now
    trap "rm -rf '$tree'" EXIT

    plant_clean() {
        rm -rf "${tree:?}"/*
        mkdir -p "$tree"/{common,workers/tasks,server,tests/unit/common}
        printf '#include "common/buf.h"\n#include <stdio.h>\n' >"$tree/common/buf.c"
        printf '#include "common/buf.h"\n#include "workers/pool.h"\n' >"$tree/workers/pool.c"
        printf '#include "workers/pool.h"\n' >"$tree/workers/tasks/basic.c"
        printf '#include "workers/pool.h"\n#include <uv.h>\n' >"$tree/server/loop.c"
        printf '#include <sqlite3.h>\n' >"$tree/server/store_sqlite.c"
        printf '#include <microhttpd.h>\n' >"$tree/server/http.c"
        printf '#include "common/buf.h"\n' >"$tree/tests/unit/common/test_buf.c"
        {
            printf 'add_library(a common/buf.c workers/pool.c workers/tasks/basic.c)\n'
            printf 'add_library(b server/loop.c server/store_sqlite.c server/http.c)\n'
            printf 'unit_tests(common buf)\n# server/orphan.c other/server/orphan.c\n'
        } >"$tree/CMakeLists.txt"
    }

    plant_clean
    if ! "$self" "$tree" >"$tree.out" 2>&1; then
        echo "self-test: a clean tree was refused:" && cat "$tree.out"
        failed=1
    fi
    while IFS='|' read -r name file line text; do
        plant_clean
        printf '%b' "$text" >>"$tree/$file"
        if "$self" "$tree" >"$tree.out" 2>&1; then
            echo "self-test: not found: $name"
            failed=1
        elif ! grep -q "^$file:$line:" "$tree.out"; then
            echo "self-test: found, but not at $file:$line: $name" && cat "$tree.out"
            failed=1
        fi
    done <<'CASES'
common includes workers|common/buf.c|3|#include "workers/pool.h"\n
common includes server|common/buf.c|3|#include "server/job.h"\n
workers includes server|workers/pool.c|3|#include "server/job.h"\n
a task includes server|workers/tasks/basic.c|2|# include <server/job.h>\n
a header includes upwards|common/buf.h|1|#include "workers/pool.h"\n
sqlite3.h elsewhere|server/loop.c|3|#include <sqlite3.h>\n
sqlite3.h in a header|server/store.h|1|#include <sqlite3.h>\n
uthash.h elsewhere|server/loop.c|3|#include <uthash.h>\n
microhttpd.h elsewhere|server/loop.c|3|#include <microhttpd.h>\n
a relative include|workers/pool.c|3|#include "../server/job.h"\n
a neighbour without folder|server/loop.c|3|#include "job.h"\n
a source outside the build|server/orphan.c|1|int x;\n
a unit test outside the build|tests/unit/common/test_orphan.c|1|int x;\n
CASES
    rm -f "$tree.out"
    [ "$failed" = 0 ] && echo "self-test: every kind of breach is found"
    return "$failed"
}

case ${1:-} in
--self-test) self_test ;;
*) check "${1:-$(dirname "$self")/..}" ;;
esac
