#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the PTX beside this script anew from the .cu files. Needs CUDA's nvcc (13.0 made what is committed).
set -e
cd "$(dirname "$0")"
for name in basic flow numbers together; do
    nvcc -arch=sm_80 -O3 -ptx "$name.cu" -o "$name.sm_80.ptx"
    nvcc -arch=sm_90 -O1 -Xcicc -O1 -ptx "$name.cu" -o "$name.sm_90.ptx"
done
nvcc -gencode arch=compute_80,code=compute_80 -fatbin basic.cu -o basic.fatbin
# Comments name the place where it was made.
sed -i '/^\/\/ Compiler Build ID/d' ./*.ptx
