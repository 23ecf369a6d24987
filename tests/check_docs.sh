#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What the pages name is there, and what is there is named:
#
#     - every setting of `poold serve --help` in README.md
#     - every .c file of common/, workers/ and server/ in the README.md of its folder
#     - every file or folder of docs/, examples/ and scripts/ in theirs
#     - every link from a page to a file, and every C file that README.md names, leads somewhere
#     - lines of README.md have at most 100 columns, but for tables and measured numbers
#
#     tests/check_docs.sh POOLD [ROOT]   prints what is wrong, exit code 1 if anything is
#     tests/check_docs.sh --self-test    proves that it would be found
# shellcheck disable=SC2016 # backticks are Markdown's
set -euo pipefail

self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
. "$(dirname "$self")/check.bash"

# names PAGE: what it has between backticks or as the text of a link, one to a line; of
# "pool.[ch]" and "pool.c" also "pool", of "examples/x/" also "examples/x".
names() {
    grep -oE '`[^`]+`' "$1" | tr -d '`' | tr ' ' '\n' |
        sed -E 's/\/$//; p; s/^.*\///; p; s/\.(\[ch\]|c|h)$//' | sort -u
}

check_settings() {
    local flag name
    while read -r flag; do
        name=${flag//-/_}
        grep -qE "\`$name\`|--$flag( |\$)" README.md ||
            echo "README.md: does not name the setting $name"
    done < <("$1" serve --help | sed -nE 's/^  --([a-z-]+)( |\[|=|$).*/\1/p' | grep -v '^max-items=' |
        sort -u)
}

check_named() {
    local folder file name listed
    for folder in common workers server docs examples scripts; do
        [ -d "$folder" ] || continue
        listed=$(names "$folder/README.md")
        for file in "$folder"/*; do
            name=$(basename "$file")
            [ "$name" != README.md ] || continue
            case $folder in
            common | workers | server) [[ $name == *.c ]] || continue ;;
            esac
            grep -qxF -e "$name" -e "${name%.c}" <<<"$listed" ||
                echo "$folder/README.md: does not name $name"
        done
    done
}

check_links() {
    local page target name
    while IFS= read -r page; do
        # Fenced code is no place for links.
        while IFS= read -r target; do
            [ -e "$(dirname "$page")/$target" ] || echo "$page: links to $target, which is not there"
        done < <(sed '/^ *```/,/^ *```/d' "$page" | grep -oE '\]\([^)#:]+[)#]' |
            sed -E 's/^\]\(//; s/[)#]$//')
    done < <(find . \( -name build -o -name .git -o -name data -o -name node_modules \) -prune -o \
        -name '*.md' -printf '%P\n' | sort)
    while read -r name; do
        [ -n "$(find . \( -name build -o -name .git \) -prune -o -path "*/${name##*/}" -print -quit)" ] ||
            echo "README.md: names $name, which is not there"
    done < <(names README.md | grep -E '\.(c|h|py|bats)$' | grep -vE '^(tasks/)?words\.py$')
}

check_width() {
    python3 - <<'PY'
with open("README.md", encoding="utf-8") as page:
    measured = False  # bench/run writes these lines
    for number, line in enumerate(page, 1):
        if line.startswith("<!-- bench:"):
            measured = "begin" in line
        if len(line) > 101 and not line.startswith("|") and not measured:
            print(f"README.md:{number}: {len(line) - 1} columns")
PY
}

check() {
    check_settings "$1"
    check_named
    check_links
    check_width
}

self_test() {
    dir=$(mktemp -d) # not local: the trap comes after the function
    trap 'rm -rf "$dir"' EXIT
    cd "$dir"
    mkdir server docs
    printf '#!/bin/sh\necho "  --listen X"\necho "  --max-items N"\n' >poold
    chmod +x poold
    printf '%s\n' '`listen` [here](server/) [there](no.md#x)' '`server/gone.c`' "$(printf '%0101d' 0)" \
        '```' '[code](is-none)' '```' >README.md
    printf '| `http`, `api.[ch]` |\n' >server/README.md
    touch server/http.c server/api.c server/job.c docs/{one,two}.md
    printf '[`one.md`](one.md)\n' >docs/README.md
    diff - <(check ./poold) <<'EXPECTED'
README.md: does not name the setting max_items
server/README.md: does not name job.c
docs/README.md: does not name two.md
README.md: links to no.md, which is not there
README.md: names gone.c, which is not there
README.md: names server/gone.c, which is not there
README.md:3: 101 columns
EXPECTED
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit
fi
poold=$(realpath "$1")
cd "${2:-$(dirname "$self")/..}"
tell "$(check "$poold")"
