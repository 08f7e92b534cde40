#!/usr/bin/env python3
"""A GPU comes to Debian's own kernel and leaves it, many times, under a program of CUDA's driver API that copies to and fro without
pause: it sees its context lost each time, and goes on with the next GPU. By a slot of PCI Express on arm64, which the agent
has the kernel let go of, or which is pulled out; by the agent's rescan on riscv64. Nothing may grow."""
import pathlib
import re
import subprocess
import time

import rig as r
from rig import Vm, check
from stock import DEBIAN, TOP, TTYS, size_of

GPU = {"kind": "gpu", "gpu": {"backend": "soft", "memory": 32 << 20}}
GROWTH_MIB = {"vmd": 8, "vmd-vm": 24}  # the latter with the code that its translator makes
SCRIPT = """
stty -echo
/sbin/vmd-agent &
echo ready
while read -r word; do eval "$word"; done
"""


def make_guest(options, tmp):
    (tmp / "init").write_text(SCRIPT, encoding="utf-8")
    programs = pathlib.Path(options.build).resolve() / "tests/guest/linux"
    arch = options.arch
    files = {f"vmd-agent-{arch}": "/sbin/vmd-agent", f"gpu-program-{arch}": "/bin/gpu-program",
             f"libcuda-{arch}.so.1": "/lib/libcuda.so.1", f"ld-{arch}.so": "/lib/ld.so", f"libc-{arch}.so": "/lib/libc.so.6",
             f"libm-{arch}.so": "/lib/libm.so.6"}
    command = [TOP / "tools/mkinitrd", "--arch", DEBIAN[arch], "-o", tmp / "initrd", "--init", tmp / "init",
               "--module", "virtio_pci", "--module", "virtio_console"]
    for source, target in files.items():
        command += ["--file", f"{programs / source}:{target}"]
    subprocess.run(command, check=True)
    return subprocess.run([TOP / "tools/fetch", f"linux-{DEBIAN[arch]}"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def stock(rig, cycles):
    vm = Vm(rig, "stock", memory=384 << 20, cpus=2, kernel=rig.kernel, initrd=str(rig.tmp / "initrd"),
            append=f"console={TTYS[rig.arch]} quiet loglevel=1 panic=-1", hotplug={"ports": 2, "scsi": False},
            devices={"rng": False, "console": True, "balloon": False})
    vm.until("no agent", lambda: "agent" in vm.devices()["hvc0"]["text"])
    daemon, process = rig.daemon.pid, vm.pid()
    warm, sizes = max(cycles // 5, 5), None
    vm.add(GPU)
    vm.call("console.write", data=f"TIMES={cycles} gpu-program /k gone; echo status $?\n")
    began = time.monotonic()
    for i in range(cycles):
        if i:
            vm.add(GPU)
        vm.expect("working")
        vm.remove("gpu0", force=i % 3 == 2)
        vm.expect(f"gone {i + 1}")
        # Where nobody watches slots, the agent first has the card that was taken by force forgotten.
        vm.until("a slot stays taken", lambda: not any(row.get("text") for row in vm.call("slot.list")["slots"]))
        if i == warm:
            sizes = size_of(daemon), size_of(process)
        if rig.verbose:
            print(f"  {i}: {size_of(daemon)}, {size_of(process)}", flush=True)
    vm.expect("status 0")
    seconds = time.monotonic() - began
    for name, pid, old in zip(("vmd", "vmd-vm"), (daemon, process), sizes):
        # What the last one had is closed, and idle threads of a pool end, a while after its job.
        vm.until(f"{name} grew", lambda pid=pid, old=old: all(n <= o for n, o in zip(size_of(pid)[:2], old[:2])))
        new = size_of(pid)
        print(f"  {name}: descriptors {old[0]} -> {new[0]}, threads {old[1]} -> {new[1]}, MiB {old[2]:.1f} -> {new[2]:.1f}")
        check(rig.slower > 1 or new[2] - old[2] <= GROWTH_MIB[name], f"{name} grew by {new[2] - old[2]:.1f} MiB")
    vm.call("console.write", data="echo complaints $(dmesg | grep -cE 'BUG|WARNING|Oops|Call trace|hung') end\n")
    vm.expect("complaints ")
    vm.until("no answer", lambda: " end" in vm.call("console.log")["data"][vm.heard:])
    complaints = re.match(r"\d+", vm.call("console.log")["data"][vm.heard:])[0]
    check(complaints == "0", f"the guest's kernel complains {complaints} times")
    check("gpu0" not in vm.devices(), f"{list(vm.devices())}")
    print(f"  {cycles} cycles in {seconds:.0f} s, {rig.book.last} events")
    vm.call("vm.delete", force=True)


def main():
    options = r.arguments(__doc__, cycles=20)
    with r.Rig(options) as rig:
        rig.kernel = make_guest(options, rig.tmp)
        case = lambda rig: stock(rig, options.cycles)
        case.__name__ = "stock"
        r.run_cases(rig, [case], options.only)


if __name__ == "__main__":
    main()
