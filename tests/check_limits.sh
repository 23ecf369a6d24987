#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# docs/limits.md has every limit and its tests:
#
#     - every setting of `poold serve --help` that has a range has one row in the first table, with
#       that range and its default, and no other row is there
#     - every row of the tables names a test, and every test that it names (check.bash) is there
#
#     tests/check_limits.sh POOLD [ROOT]   prints what is wrong, exit code 1 if anything is
#     tests/check_limits.sh --self-test    proves that it would be found
# shellcheck disable=SC2016 # backticks are Markdown's
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/check.bash"
PAGE=docs/limits.md

# rows MARK: those of the tables between two marks.
rows() { sed -n "/<!-- $1:begin -->/,/<!-- $1:end -->/p" "$PAGE" | grep -E '^\| ' | grep -vE '^\| (setting|limit) \|' || true; }

# The settings with a range as "name|default|from to until", as the program has them and as the page.
of_program() {
    "$1" serve --help | awk '
        /^  --/ { name = $1; sub(/^--/, "", name); sub(/[[=].*/, "", name); gsub(/-/, "_", name) }
        / Default: .* \([0-9]+ to [0-9]+\)\.$/ {
            match($0, /\([0-9]+ to [0-9]+\)\.$/)
            range = substr($0, RSTART + 1, RLENGTH - 3)
            value = substr($0, 1, RSTART - 2)
            sub(/^ *Default: /, "", value)
            gsub(/,/, "", value)
            print name "|" value "|" range
        }'
}
of_page() {
    rows settings | sed -E 's/^\| `([a-z_]+)` \| ([^|]*) \| ([^|]*) \|.*/\1|\2|\3/; s/,//g'
}

check_tests() {
    local row what test found
    while IFS= read -r row; do
        what=$(cut -d'|' -f2 <<<"$row" | tr -d '`' | sed 's/^ *//; s/ *$//')
        found=
        while IFS= read -r test; do
            found=1
            test_is_there "$test" || echo "$PAGE: $what names $test, which is not there"
        done < <(grep -oE '`[^`]+\.(bats|c|py): [^`]+`' <<<"$row" | tr -d '`')
        [ -n "$found" ] || echo "$PAGE: $what names no test"
    done < <(rows settings; rows others)
}

check() {
    comm -23 <(of_program "$1" | sort) <(of_page | sort) | sed "s#^#$PAGE: lacks #"
    comm -13 <(of_program "$1" | sort) <(of_page | sort) | sed "s#^#$PAGE: has, but the program has not: #"
    check_tests
}

self_test() {
    dir=$(mktemp -d) # not local: the trap comes after the function
    trap 'rm -rf "$dir"' EXIT
    cd "$dir"
    mkdir -p docs tests/live tests/raw tests/unit
    cat >poold <<'PROGRAM'
#!/bin/sh
echo '  --max-a N
      Default: 1000 (1 to 2000).
  --max-b N
      Default: 5 (0 to 9).
  --max-c[=N]
      Default: 7, or less (1 to 8).
  --listen X
      Default: none.'
PROGRAM
    chmod +x poold
    printf '@test "limit a: it holds" {\n}\n' >tests/live/good.bats
    echo 'suite.report(True, "limit b: it holds")' >tests/raw/good.py
    printf 'static void holds(void **state)\n        cmocka_unit_test(holds),\n' >tests/unit/test_good.c
    echo 'static void unrun(void **state)' >>tests/unit/test_good.c
    printf 'good\nforeach(part good)\n' >tests/CMakeLists.txt
    cat >docs/limits.md <<'MARKDOWN'
<!-- settings:begin -->
| setting | default | range | tests |
|---|---|---|---|
| `max_a` | 1,000 | 1 to 2,000 | `poold_a` | `good.bats: limit a`, `raw/good.py: limit b`, `test_good.c: holds` |
| `max_b` | 6 | 0 to 9 | `good.bats: limit z`, `gone.bats: limit a`, `raw/good.py: limit c`, `test_good.c: unrun` |
<!-- settings:end -->
<!-- others:begin -->
| limit | tests |
|---|---|
| 64 | `poold_b` |
<!-- others:end -->
MARKDOWN
    diff - <(check ./poold) <<'EXPECTED'
docs/limits.md: lacks max_b|5|0 to 9
docs/limits.md: lacks max_c|7 or less|1 to 8
docs/limits.md: has, but the program has not: max_b|6|0 to 9
docs/limits.md: max_b names good.bats: limit z, which is not there
docs/limits.md: max_b names gone.bats: limit a, which is not there
docs/limits.md: max_b names raw/good.py: limit c, which is not there
docs/limits.md: max_b names test_good.c: unrun, which is not there
docs/limits.md: 64 names no test
EXPECTED
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit
fi
poold=$(realpath "$1")
cd "${2:-$here/..}"
tell "$(check "$poold")"
