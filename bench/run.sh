#!/bin/sh
# Takes the figures of docs/performance.md again, as root (assets and peers are made as root):
#   bench/run.sh [OUT [REPS]]
# OUT (default .cache/bench) keeps the assets, the tree with QEMU 10 and the results; VMD_BUILD is the
# build folder (default build). Q10 is what goes before a QEMU 10 command (`chroot TREE`, where TREE shows
# OUT/assets at its own path) if there is one already. Takes some ten minutes a repetition on a quiet machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../.cache/bench} reps=${2:-3}
: "${VMD_BUILD:=$here/../build}"
export VMD_BUILD
mkdir -p "$out"
out=$(cd "$out" && pwd)
for arch in riscv64 arm64 amd64; do
    [ -e "$out/assets/$arch/mini.cpio" ] || "$here/assets.sh" "$arch" "$out/assets"
done
[ -n "${Q10+set}" ] || { "$here/peers.sh" "$out/q10" "$out/assets"; Q10="chroot $out/q10"; }
export Q10
for arch in riscv64 arm64; do
    results=$out/results-$arch.jsonl
    : >"$results"
    grep -E '^(native|qemu10|vmd)=' "$here/peers/$arch.txt" >"$out/machines"
    "$here/run.py" -a "$arch" -A "$out/assets" -s int,fp,mem,sys -n "$reps" -o "$results" "@$out/machines"
    "$here/run.py" -r "$results" -b qemu10 --cpu
    "$here/run.py" -r "$results" -b qemu10 --wall
done
"$VMD_BUILD/bench/bench_translate" --parts "$out/assets/riscv64/kernel"
"$VMD_BUILD/bench/bench_warm" "$out/assets/riscv64/kernel"
"$here/rates.py" -A "$out/assets"
