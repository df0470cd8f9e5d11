#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The installed header compiles by itself, in C and in C++, without a warning.
set -eu
"${CC:-cc}" -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c "$1"
command -v c++ >/dev/null || { echo "SKIP: no C++ compiler (C was tried)"; exit 77; }
c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only -x c++ "$1"
