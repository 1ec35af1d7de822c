#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# hidden.sh PROGRAM ARCHIVE...: whether the program keeps to itself what it has from the archives. libpq, Kerberos
# and others bring libssl.so and libcrypto.so into the process: no name of the archives' may be in the program's
# dynamic table, neither theirs to find there nor ours to get from them.
set -eu
program=$1
shift
names=$(mktemp)
trap 'rm -f "$names"' EXIT
nm -g --defined-only "$@" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u > "$names"
[ -s "$names" ] || { echo "$program: no symbols in $*" >&2; exit 1; }
found=$(nm -D "$program" | awk '{ print $NF }' | sed 's/@.*//' | sort -u | comm -12 - "$names")
[ -z "$found" ] && exit 0
echo "$program: names of $* are in its dynamic table:" $(echo "$found" | head -5) >&2
exit 1
