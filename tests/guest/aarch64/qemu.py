#!/usr/bin/env python3
"""Runs a program of this folder on QEMU's virt: what it expects of us must hold there too.

    qemu.py QEMU PROGRAM
"""
import subprocess
import sys

COMMAND = ["-M", "virt", "-cpu", "neoverse-n1", "-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"]


def main(qemu, program):
    run = subprocess.run([qemu, *COMMAND, "-kernel", program], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, timeout=60, check=True)
    if run.stdout != b"1":
        sys.exit(f"check {(run.stdout[0] - ord('0')) // 2} fails" if run.stdout else "it said nothing")


if __name__ == "__main__":
    main(*sys.argv[1:])
