#!/usr/bin/env python3
"""Devices come and go for long in one guest, whose disk is at work, and in eight guests, by 32 clients at once.
No event may be lost or doubled, and nothing may grow: descriptors, threads, memory, slots."""
import os
import pathlib
import random
import re
import threading
import time

import rig as r
from rig import Failure, RpcError, Vm, check

GROWTH_MIB = 8  # what a process may grow by after its first tenth: logs that fill up to their limits
GUESTS, CLIENTS = 8, 32


def size_of(pid):
    """(descriptors, threads, resident MiB) of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    number = lambda name: int(re.search(rf"{name}:\s+(\d+)", status)[1])
    return len(os.listdir(f"/proc/{pid}/fd")), number("Threads"), number("VmRSS") / 1024


def device_of(rig, i):
    """One of each kind in turn."""
    return [{"kind": "rng"}, {"kind": "disk", "disk": {"path": str(rig.tmp / "soak.img"), "format": "raw"}},
            {"kind": "nic", "nic": {"kind": "none"}}, {"kind": "rng", "id": f"name{i % 50}"},
            {"kind": "console"}][i % 5]


def soak(rig, cycles):
    vm = Vm(rig, "soak", disk=True)
    rig.file("soak.img")
    daemon, process = rig.daemon.pid, vm.pid()
    warm, sizes = max(cycles // 10, 50), None
    began = time.monotonic()
    for i in range(cycles):
        spec = device_of(rig, i)
        device = vm.add(spec)
        vm.remove(device, force=i % 7 == 3)
        if i == warm:
            sizes = size_of(daemon), size_of(process)
    rig.check_book()
    check(set(vm.devices()) == {"root"} and not vm.used_slots(), f"{list(vm.devices())} {vm.used_slots()}")
    after = size_of(daemon), size_of(process)
    for name, old, new in zip(("vmd", "vmd-vm"), sizes, after):
        print(f"  {name}: descriptors {old[0]} -> {new[0]}, threads {old[1]} -> {new[1]}, "
              f"MiB {old[2]:.1f} -> {new[2]:.1f}")
        check(new[0] <= old[0] and new[1] <= old[1], f"{name} grew")
        # A sanitizer keeps what was freed.
        check(rig.slower > 1 or new[2] - old[2] <= GROWTH_MIB, f"{name} grew by {new[2] - old[2]:.1f} MiB")
    vm.call("console.write", data="i")
    vm.expect("turns ")
    vm.until("no number", lambda: b"\n" in vm.call("console.log")["data"][vm.heard:].encode())
    turns = int(vm.call("console.log")["data"][vm.heard:].split()[0])
    check(turns > cycles, f"the disk was at work: {turns} sectors written and read back")
    print(f"  {cycles} cycles in {time.monotonic() - began:.0f} s, {rig.book.last} events, {turns} sectors")
    vm.clean()
    vm.call("vm.delete", force=True)


def client_of_storm(rig, number, seconds, counts, faults):
    random_ = random.Random(number)
    client = rig.client()
    image = rig.file(f"storm{number}.img")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not faults:
        vm, mine = f"storm{random_.randrange(GUESTS)}", f"c{number}"
        spec = random_.choice([{"kind": "rng", "id": mine}, {"kind": "rng"},
                               {"kind": "disk", "id": mine, "disk": {"path": image, "format": "raw"}}])
        try:
            info = client.job("device.add", vm=vm, device=spec)
            counts[info["state"]] = counts.get(info["state"], 0) + 1
            if info["state"] != "done":
                # No slot is free, or the id that was chosen was taken by the next.
                check(info["error"]["kind"] in ("limit", "exists"), f"{info}")
                continue
            device, other = info["result"]["device"], None
            if random_.random() < 0.1:  # two removals at once: one of them is done
                other = client.call("device.remove", vm=vm, device=device)["job"]
            info = client.job("device.remove", vm=vm, device=device, force=random_.random() < 0.2)
            check(info["state"] == "done" or info["error"]["kind"] in ("not-found", "state"), f"{info}")
            counts["removed"] = counts.get("removed", 0) + (info["state"] == "done")
            if other:
                client.wait(other)
        except (Failure, RpcError, OSError) as error:
            faults.append(f"client {number}: {type(error).__name__}: {error}")


def storm(rig, seconds):
    vms = [Vm(rig, f"storm{i}", ports=4) for i in range(GUESTS)]
    counts, faults = {}, []
    before = [size_of(vm.pid())[:2] for vm in vms]
    clients = [threading.Thread(target=client_of_storm, args=(rig, i, seconds, counts, faults))
               for i in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    check(not faults, "; ".join(faults[:3]))
    vms[0].until("jobs stay", lambda: not rig.book.open)
    for vm, old in zip(vms, before):
        for device in vm.used_slots():
            vm.remove(device)
        vm.until(f"{vm.name} grew", lambda vm=vm, old=old: all(
            new <= was for new, was in zip(size_of(vm.pid())[:2], old)))
        vm.clean()
        vm.call("vm.delete", force=True)
    print(f"  {CLIENTS} clients, {GUESTS} guests: {counts}")
    check(counts.get("done", 0) > 100, f"too little happened: {counts}")


def main():
    options = r.arguments(__doc__, cycles=1000, storm=15)
    parts = {"soak": lambda rig: soak(rig, options.cycles), "storm": lambda rig: storm(rig, options.storm)}
    cases = []
    for name, part in parts.items():
        part.__name__ = name
        cases.append(part)
    with r.Rig(options) as the_rig:
        r.run_cases(the_rig, cases, options.only)


if __name__ == "__main__":
    main()
