#!/usr/bin/env python3
"""Devices come and go for long in Debian's own kernel, whose disk is at work: by slots of PCI Express on arm64; by the SCSI
adapter, a network port and the agent's rescan on riscv64. Nothing may grow, in vmd, its process or the guest, whose kernel must
have nothing to complain of."""
import os
import pathlib
import re
import subprocess
import time

import rig as r
from rig import Vm, check

TOP = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = {"aarch64": "arm64", "riscv64": "riscv64"}
TTYS = {"aarch64": "ttyAMA0", "riscv64": "ttyS0"}
MODULES = "virtio_pci virtio_net virtio_blk virtio_rng virtio_console virtio_scsi sd_mod".split()
# What a process's own memory, without the translator's code, may grow by after its first part: the daemon's latest
# events and jobs fill up to their limits, and so does the VM process's heap, in one step of 4 MiB.
GROWTH_MIB = 8
SCRIPT = """
stty -echo
/sbin/vmd-agent &
n=0
while dd if=/dev/vda of=/tmp/read bs=64k count=4 iflag=direct 2>/dev/null &&
    dd if=/tmp/read of=/dev/vda bs=64k seek=4 conv=fsync 2>/dev/null; do n=$((n + 1)); echo $n >/tmp/turns; done &
echo ready
while read -r word; do
    echo "devices $(ls /sys/bus/pci/devices | wc -l) turns $(cat /tmp/turns)" \\
        "faults $(dmesg | grep -cE 'BUG|WARNING|Oops|Call trace|hung') end"
done
"""


def size_of(pid):
    """(descriptors, threads, MiB of its own) of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    number = lambda name: int(re.search(rf"{name}:\s+(\d+)", status)[1])
    return len(os.listdir(f"/proc/{pid}/fd")), number("Threads"), number("RssAnon") / 1024


def sizes_of(vm):
    """(descriptors, threads, MiB) of vmd and of VM's process, the latter without the code that its translator has made."""
    code = vm.call("xlate.stats")
    check(code["bytes"] <= code["limit_bytes"], f"more code than there may be: {code['bytes']}")
    daemon, process = size_of(vm.rig.daemon.pid), size_of(vm.pid())
    return {"vmd": daemon, "vmd-vm": (*process[:2], process[2] - code["bytes"] / (1 << 20))}


def make_guest(options, tmp):
    """Debian's kernel and a ramdisk."""
    (tmp / "init").write_text(SCRIPT, encoding="utf-8")
    agent = pathlib.Path(options.build).resolve() / f"tests/guest/linux/vmd-agent-{options.arch}"
    command = [TOP / "tools/mkinitrd", "--arch", DEBIAN[options.arch], "-o", tmp / "initrd", "--init", tmp / "init",
               "--file", f"{agent}:/sbin/vmd-agent"]
    for name in MODULES:
        command += ["--module", name]
    subprocess.run(command, check=True)
    return subprocess.run([TOP / "tools/fetch", f"linux-{DEBIAN[options.arch]}"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def device_of(rig, i):
    """One of each kind in turn, disks twice, by the best road that the guest has; the last on a card in any case."""
    disk = {"path": str(rig.tmp / "soak.img"), "format": "raw"}
    nic = {"kind": "none"} if rig.arch == "aarch64" else {"kind": "user"}
    return [{"kind": "disk", "disk": disk}, {"kind": "rng"}, {"kind": "nic", "nic": nic}, {"kind": "console"},
            {"kind": "disk", "disk": disk, "road": "pcie" if rig.arch == "aarch64" else "rescan"}][i % 5]


def guest_says(vm):
    """(PCI devices, turns of its disk's work, complaints of its kernel)"""
    vm.call("console.write", data="?\n")
    vm.expect("devices ")
    vm.until("no answer", lambda: " end" in vm.call("console.log")["data"][vm.heard:])
    return tuple(int(n) for n in re.findall(r"\d+", vm.call("console.log")["data"][vm.heard:].split(" end")[0]))


def stock(rig, cycles):
    vm = Vm(rig, "stock", disk=True, memory=256 << 20, kernel=rig.kernel, initrd=str(rig.tmp / "initrd"),
            append=f"console={TTYS[rig.arch]} quiet loglevel=1 panic=-1",
            hotplug={"ports": 8, "scsi": True, "nics": 1 if rig.arch == "riscv64" else 0},
            devices={"rng": True, "console": True, "balloon": False})
    rig.file("soak.img")
    vm.until("no agent", lambda: "agent" in vm.devices()["hvc0"]["text"])
    cold = set(vm.devices())
    warm, sizes, said = max(cycles // 5, 20), None, None
    began = time.monotonic()
    for i in range(cycles):
        device = vm.add(device_of(rig, i))
        vm.remove(device, force=i % 13 == 12)
        if rig.verbose and i % 50 == 0:
            print(f"  {i}: {sizes_of(vm)}", flush=True)
        if i == warm:
            sizes, said = sizes_of(vm), guest_says(vm)
    seconds = time.monotonic() - began
    rig.check_book()
    check(set(vm.devices()) == cold and not vm.used_slots(), f"{list(vm.devices())} {vm.used_slots()}")
    for (name, new), old in zip(sizes_of(vm).items(), sizes.values()):
        print(f"  {name}: descriptors {old[0]} -> {new[0]}, threads {old[1]} -> {new[1]}, MiB {old[2]:.1f} -> {new[2]:.1f}")
        check(new[0] <= old[0] and new[1] <= old[1], f"{name} grew")
        check(rig.slower > 1 or new[2] - old[2] <= GROWTH_MIB, f"{name} grew by {new[2] - old[2]:.1f} MiB")
    now = guest_says(vm)
    print(f"  {cycles} cycles in {seconds:.0f} s, {rig.book.last} events; the guest: devices {said[0]} -> {now[0]}, "
          f"turns of its disk {said[1]} -> {now[1]}, complaints {now[2]}")
    check(now[0] == said[0] and now[1] > said[1] and now[2] == 0, f"the guest: {said}, {now}")
    vm.call("vm.delete", force=True)


def main():
    options = r.arguments(__doc__, cycles=100)
    with r.Rig(options) as rig:
        rig.kernel = make_guest(options, rig.tmp)
        case = lambda rig: stock(rig, options.cycles)
        case.__name__ = "stock"
        r.run_cases(rig, [case], options.only)


if __name__ == "__main__":
    main()
