#!/bin/sh
# Build xb (and coremark, if its source is given) for one architecture.
#   build.sh ARCH OUTDIR      ARCH: amd64 | arm64 | riscv64
# COREMARK=DIR  a checkout of github.com/eembc/coremark (optional)
# CC=...        overrides the compiler found by ARCH
set -eu
arch=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
case $arch in
amd64)   : "${CC:=x86_64-linux-gnu-gcc}" ;;
arm64)   : "${CC:=aarch64-linux-gnu-gcc}" ;;
riscv64) : "${CC:=riscv64-linux-gnu-gcc}" ;;
*) echo "unknown architecture $arch" >&2; exit 2 ;;
esac
mkdir -p "$out"
obj=$(mktemp -d)
trap 'rm -rf "$obj"' EXIT
for f in main int fp mem sys; do
    opt=-O2
    case $f in fp|mem) opt=-O3 ;; esac	# NEON and SSE where they fit
    $CC $opt -std=gnu11 -Wall -Wextra -pthread -c "$here/src/$f.c" \
        -o "$obj/$f.o"
done
$CC -static -pthread "$obj"/*.o -o "$out/xb" -lm
if [ -n "${COREMARK:-}" ]; then
    p=$COREMARK/posix
    $CC -O2 -static -DFLAGS_STR='"-O2"' -DPERFORMANCE_RUN=1 -DITERATIONS=0 \
        -I"$COREMARK" -I"$p" "$COREMARK"/core_*.c "$p/core_portme.c" \
        -o "$out/coremark"
fi
