#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The systemd unit: right in systemd's own opinion, and it starts the program that is installed.
set -eu
unit=$2/dist/hearthd.service
grep -q '^Type=notify$' "$unit"
grep -q '^Delegate=yes$' "$unit"
grep -qE '^ExecStart=/.*/sbin/hearthd$' "$unit"
command -v systemd-analyze >/dev/null || { echo 'systemd-analyze is not installed'; exit 77; }
dir=$(mktemp -d)
# It complains about programs that are not installed, and hearthd may not be.
sed 's|^ExecStart=.*|ExecStart=/bin/true|' "$unit" >"$dir/hearthd.service"
out=$(systemd-analyze verify --man=no "$dir/hearthd.service" 2>&1) || { echo "$out"; rm -rf "$dir"; exit 1; }
rm -rf "$dir"
# what it does not know it ignores with a warning
if echo "$out" | grep 'hearthd.service'; then exit 1; fi
