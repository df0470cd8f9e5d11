#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/setup: whoever runs the tests has run it, so --check finds everything, changes nothing, and is quick.
set -eu
cd "$1"
setup=tools/setup

fail() { echo "$*"; exit 1; }

if ! grep -qE '^PRETTY_NAME="?(Debian GNU/Linux 1[23]|Ubuntu 24.04)' /etc/os-release; then
	rc=0
	out=$($setup --check 2>&1) || rc=$?
	[ "$rc" -eq 1 ] || fail "on an unknown system: exit $rc instead of 1"
	echo "$out" | grep -q libev-dev || fail "on an unknown system it does not say what to install"
	exit 0
fi
rc=0
$setup --nonsense >/dev/null 2>&1 || rc=$?
[ "$rc" -eq 2 ] || fail "unknown argument: exit $rc instead of 2"
$setup --help | grep -q '^usage:' || fail "--help has no usage"

start=$(date +%s%N)
out=$($setup build --check 2>&1) || fail "build --check: $out"
ms=$((($(date +%s%N) - start) / 1000000))
echo "$out ($ms ms)"
[ "$ms" -lt 5000 ] || fail "a run with nothing to do took $ms ms"

# An empty cache and no criu in PATH: it must notice, say so and leave the cache empty.
if ! [ -x /usr/sbin/criu ] && ! command -v criu >/dev/null; then
	dir=$(mktemp -d)
	rc=0
	out=$(HEARTH_CRIU='' HEARTH_CACHE=$dir $setup test --check 2>&1) || rc=$?
	left=$(ls -A "$dir")
	rm -rf "$dir"
	[ "$rc" -eq 1 ] || fail "without CRIU: exit $rc instead of 1: $out"
	echo "$out" | grep -q 'missing: CRIU' || fail "without CRIU it says: $out"
	[ -z "$left" ] || fail "--check left $left behind"
fi
