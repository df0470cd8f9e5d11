#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A static library whose names are its public ones: all in one object, the others made local, so that they cannot meet a program's own.
# usage: one-object.sh PARTS.a OUT.a
set -eu
object=$2.o
"${LD:-ld}" -r -o "$object" --whole-archive "$1"
"${OBJCOPY:-objcopy}" --wildcard --keep-global-symbol='hearth_ds_*' "$object"
rm -f "$2"
"${AR:-ar}" rcsD "$2" "$object"
rm -f "$object"
