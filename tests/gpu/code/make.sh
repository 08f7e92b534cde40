#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the code objects beside this script anew from kernels.hip, and their tables by llvm-readelf. Needs Debian's clang,
# lld and llvm: clang-14 for those of version 4, clang-19 for the others; CLANG_4, CLANG_5, BUNDLER and READELF name others.
set -e
cd "$(dirname "$0")"
old=${CLANG_4:-clang-14} new=${CLANG_5:-clang-19}

# VERSION ARCH CLANG: one code object and its table
make() {
    out=kernels.$(echo "$2" | tr -d ':+-').v$1
    "$3" -x hip --cuda-device-only --no-gpu-bundle-output --offload-arch="$2" -nogpulib -nogpuinc -O2 -std=c++17 \
        -mcode-object-version="$1" kernels.hip -o "$out.co"
    chmod -x "$out.co"
    python3 table.py "${READELF:-llvm-readelf}" "$out.co" > "$out.table"
}

make 4 gfx90a "$old"
make 4 gfx1030 "$old"
make 4 gfx1100 "$new" # which clang-14 does not know
for arch in gfx90a gfx1030 gfx1100; do
    make 5 $arch "$new"
done
make 4 gfx90a:sramecc+:xnack- "$old"
make 6 gfx10-3-generic "$new"
"${BUNDLER:-clang-offload-bundler-14}" -type=o -bundle-align=4096 -inputs=/dev/null,kernels.gfx90a.v5.co,kernels.gfx1030.v5.co,kernels.gfx1100.v5.co \
    -targets=host-x86_64-unknown-linux,hipv4-amdgcn-amd-amdhsa--gfx90a,hipv4-amdgcn-amd-amdhsa--gfx1030,hipv4-amdgcn-amd-amdhsa--gfx1100 \
    -outputs=kernels.bundle
