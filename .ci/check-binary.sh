#!/bin/sh
# Holds the released binary to its promise: it runs on any x86-64 Linux with glibc 2.36, which has neither LLVM nor C++.
set -eu
binary=$1

needed=$(readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p')
for library in $needed; do
    case $library in
    libc.so.6 | libm.so.6 | libgcc_s.so.1 | ld-linux-x86-64.so.2) ;;
    *)
        echo "$binary needs $library at run time" >&2
        exit 1
        ;;
    esac
done

newest=$(readelf --version-info "$binary" | grep -o 'GLIBC_2\.[0-9]*' | sort -u -t. -k2,2n | tail -1)
if [ "${newest#GLIBC_2.}" -gt 36 ]; then
    # Built on a newer system it is good for that system; a release is built on Debian 12.
    echo "note: $binary needs $newest; build on Debian 12 for older systems" >&2
fi

size=$(stat -c %s "$binary")
if [ "$size" -gt 45000000 ]; then
    echo "$binary has $size bytes; the limit is 45000000" >&2
    exit 1
fi
echo "$binary: $((size / 1000000)) MB, needs" $needed "($newest)"
