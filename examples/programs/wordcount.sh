#!/bin/sh
# SPDX-License-Identifier: MIT
# The argument comes as JSON on standard input; what is printed is the result, here JSON as well.
set -e
text=$(jq -er 'strings') || { echo "wordcount: not a text" >&2; exit 2; }
# shellcheck disable=SC2046 # three numbers
set -- $(printf '%s\n' "$text" | wc -l -w -c)
printf '{"lines":%s,"words":%s,"bytes":%s}\n' "$1" "$2" "$(($3 - 1))"
