#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every shell script of the project is clean.
cd "$1" || exit 1
exec tools/check-scripts
