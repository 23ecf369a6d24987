#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# docs/poold.service has no line that systemd would not take. Exit code 77, skipped, without
# systemd-analyze.
set -euo pipefail

command -v systemd-analyze >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# The command has to be there, and here it is installed nowhere.
sed 's,^ExecStart=[^ ]*,ExecStart=/bin/true,' "$(dirname "$0")/../docs/poold.service" >"$dir/poold.service"
said=$(systemd-analyze verify --man=no "$dir/poold.service" 2>&1) || {
    echo "$said"
    exit 1
}
# What it only ignores is a mistake, too; other units of this machine are not ours.
! grep -F "$dir/poold.service" <<<"$said"
