#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Whether clang, too, compiles every source without a warning; it sees what gcc does not. Ends with
# 77, not checked, where there is no clang.
#
#     tests/check_clang.sh [CLANG]
set -euo pipefail
cd "$(dirname "$0")/.."

clang=${1:-$(command -v clang || true)}
if [ -z "$clang" ]; then
    echo "not checked: there is no clang"
    exit 77
fi
find common workers server -name '*.c' -print0 |
    xargs -0 -n 8 -P 2 "$clang" -fsyntax-only -std=c17 -D_GNU_SOURCE -DPOOLD_VERSION='"0"' -I. \
        -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 \
        -Werror
