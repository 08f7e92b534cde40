#!/usr/bin/env python3
"""A GPU on the host's processors comes to a running guest, is used without pause, and is pulled out under that: the guest's
program sees its channel lost, and opens another when a GPU is back. What the daemon tells of GPUs is right all the while,
over its own death too, and each worker lives as long as its device."""
import json
import os
import pathlib
import time

import rig as r
from rig import RpcError, Vm, check
from soak import GROWTH_MIB, size_of

MEMORY = 16 << 20
GPU = {"kind": "gpu", "gpu": {"backend": "soft", "memory": MEMORY}}


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def worker_of(vm):
    """The process that vmd knows as the worker; 0, also where that has ended."""
    path, = vm.rig.tmp.rglob(f"vms/{vm.call('vm.get')['id']}/vm.json")
    pid = json.loads(path.read_text(encoding="utf-8"))["gpu_worker"]["pid"]
    return pid if pid and alive(pid) else 0


def told(vm):
    """(bytes, VMs) of the host's processors, as gpu.list has it."""
    soft = vm.client.call("gpu.list")["gpus"][0]
    return soft["promised_bytes"], soft["vms"]


def has_gpu(vm):
    """All that tells of GPUs tells of VM's, and its guest uses it."""
    check("gpu0" in vm.devices() and told(vm) == (MEMORY, [vm.name]), f"{vm.devices()} {told(vm)}")
    vm.until("no worker", lambda: vm.call("gpu.stats")["gpus"][0]["stats"].get("state") == "serving")
    check(vm.call("gpu.stats")["gpus"][0]["stats"]["memory_bytes"] == MEMORY, "its memory")


def has_none(vm, worker):
    """Nothing tells of one, and the worker that it had is gone."""
    check("gpu0" not in vm.devices() and told(vm) == (0, []), f"{list(vm.devices())} {told(vm)}")
    vm.until("the worker stays", lambda: not (worker and alive(worker)) and not worker_of(vm))


def again(rig, vm):
    rig.kill()
    rig.start()
    vm.again()
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] in ("running", "paused"))


def under_load(rig, cycles):
    """Removed under load, then added, CYCLES times, beside a disk at work. Nothing may grow."""
    vm = Vm(rig, "load", disk=True)
    daemon, process = rig.daemon.pid, vm.pid()
    warm, sizes, began, last = max(cycles // 10, 20), None, time.monotonic(), 0
    for i in range(cycles):
        vm.add(GPU)
        vm.expect("gpu works")
        check(worker_of(vm) != last, "each device has a worker of its own")
        last = worker_of(vm)
        vm.remove("gpu0", force=i % 3 == 1)
        vm.expect("gpu lost")
        if i == warm:
            sizes = size_of(daemon), size_of(process)
    seconds = time.monotonic() - began
    has_none(vm, last)
    rig.check_book()
    # Connections that were closed just now may be there still.
    vm.until("descriptors or threads grow", lambda: all(
        new <= old for pid, was in zip((daemon, process), sizes) for new, old in zip(size_of(pid)[:2], was)))
    for name, old, new in zip(("vmd", "vmd-vm"), sizes, (size_of(daemon), size_of(process))):
        print(f"  {name}: descriptors {old[0]} -> {new[0]}, threads {old[1]} -> {new[1]}, MiB {old[2]:.1f} -> {new[2]:.1f}")
        # The daemon's latest events fill up to their limit of 4096.
        most = GROWTH_MIB + (16 if name == "vmd" else 0)
        check(rig.slower > 1 or new[2] - old[2] <= most, f"{name} grew by {new[2] - old[2]:.1f} MiB")
    print(f"  {cycles} cycles in {seconds:.0f} s, {rig.book.last} events, {number(vm, 'j', 'fills ')} fills, "
          f"{number(vm, 'i', 'turns ')} sectors")
    vm.clean()
    vm.call("vm.delete", force=True)


def number(vm, letter, word):
    """What the guest tells when it is asked by LETTER; more than nothing."""
    vm.call("console.write", data=letter)
    vm.expect(word)
    vm.until("no number", lambda: "\n" in vm.call("console.log")["data"][vm.heard:])
    n = int(vm.call("console.log")["data"][vm.heard:].split()[0])
    check(n > 0, f"{word}{n}")
    return n


def worker_dies(rig):
    """A worker's death is no removal: another follows, on the same device. One that hangs goes with its device."""
    vm = Vm(rig, "dies")
    vm.add(GPU)
    vm.expect("gpu works")
    os.kill(worker_of(vm), 9)
    vm.expect("gpu lost")
    vm.expect("gpu works")
    has_gpu(vm)
    worker = worker_of(vm)
    os.kill(worker, 19)
    vm.remove("gpu0")
    has_none(vm, worker)
    vm.add(GPU)
    vm.expect("gpu works")
    has_gpu(vm)
    worker = worker_of(vm)
    vm.call("vm.kill")
    check(told(vm) == (0, []), f"{told(vm)}")
    vm.until("the worker stays", lambda: not alive(worker))
    vm.start()
    check("gpu0" not in vm.devices(), "the next run has what the definition has")
    vm.clean()


def fails(rig):
    """An addition that is refused, times out, is cancelled or cannot be leaves nothing: no worker, no promise."""
    vm = Vm(rig, "fails")
    vm.mode("r")
    vm.end(vm.add_later(GPU), "failed", "refused")
    has_none(vm, 0)
    vm.mode("s")
    vm.end(vm.add_later(GPU, timeout_s=1), "failed", "timed-out")
    has_none(vm, 0)
    job = vm.add_later(GPU)
    vm.until("it is not visible", lambda: vm.devices().get("gpu0", {}).get("state") == "visible")
    check(told(vm) == (MEMORY, ["fails"]), "it is promised from the beginning")
    vm.client.call("job.cancel", job=job)
    vm.end(job, "cancelled", "cancelled")
    has_none(vm, 0)
    vm.mode("n")
    for device, kind in ({**GPU, "id": "other"}, "invalid"), ({"kind": "rng", "id": "gpu0"}, "invalid"), \
            ({"kind": "gpu"}, "invalid"), ({"kind": "rng", "gpu": {}}, "invalid"), ({**GPU, "road": "scsi"}, "unsupported"), \
            ({"kind": "gpu", "gpu": {"backend": "soft", "memory": 1 << 40}}, "limit"), \
            ({"kind": "gpu", "gpu": {"backend": "soft", "device": "x"}}, "invalid"), \
            ({"kind": "gpu", "gpu": {"backend": "soft", "device": "1"}}, "not-found"):
        info = vm.client.wait(vm.add_later(device))
        check(info["state"] == "failed" and info["error"]["kind"] == kind, f"{device}: {info}")
        has_none(vm, 0)
    first, second = vm.add_later(GPU), vm.add_later(GPU)
    vm.end(first, "done", "done")
    check(vm.client.wait(second)["error"]["kind"] == "exists", "a VM has one GPU")
    vm.expect("gpu works")
    has_gpu(vm)
    # Removed and added without waiting: in this order.
    leaving, coming = vm.remove_later("gpu0"), vm.add_later(GPU)
    vm.end(leaving, "done", "done")
    vm.end(coming, "done", "done")
    vm.expect("gpu lost")
    vm.expect("gpu works")
    has_gpu(vm)
    vm.remove("gpu0")
    vm.clean()


def attach_and_detach(rig):
    """The methods of a running VM, which change its definition too; from the start, and over a reset."""
    vm = Vm(rig, "attached")
    definition = lambda: (lambda info: info.get("next", info["config"]).get("gpu"))(vm.call("vm.get"))
    check(definition() is None, "it has none at first")
    vm.call("gpu.attach", memory=MEMORY)
    vm.expect("gpu works")
    has_gpu(vm)
    check(definition()["memory"] == MEMORY, f"{definition()}")
    for method, kind in ("gpu.attach", "exists"), ("gpu.limits", "state"):
        try:
            vm.call(method, memory=MEMORY)
            check(False, f"{method} of a VM that runs with one")
        except RpcError as error:
            check(error.kind == kind, str(error))
    vm.call("vm.reset")
    vm.expect("ready")
    vm.expect("gpu works")
    vm.until("it is not taken anew", lambda: vm.devices()["gpu0"]["state"] == "acknowledged")
    vm.call("vm.kill")
    vm.start()  # now it is one of those that are there from the start
    vm.until("no worker", lambda: vm.call("gpu.stats")["gpus"][0]["stats"].get("state") == "serving")
    check(vm.devices()["gpu0"]["road"] == "fixed", f"{vm.devices()}")
    worker = worker_of(vm)
    vm.end(vm.remove_later("gpu0"), "failed", "refused")  # without an agent nobody could ask its guest
    has_gpu(vm)
    vm.remove("gpu0", force=True)
    has_none(vm, worker)
    check(definition()["memory"] == MEMORY, "a removal by itself leaves the definition alone")
    vm.add(GPU)
    vm.expect("gpu works")
    vm.call("gpu.detach")
    vm.expect("gpu lost")
    has_none(vm, worker)
    check(definition() is None, f"{definition()}")
    vm.clean()


def vmd_dies(rig):
    """vmd is killed at any time of additions and removals: what is told after is true, and the next GPU works."""
    vm = Vm(rig, "orphan")
    for i in range(16):
        job = vm.add_later(GPU)
        time.sleep(i * 0.004 * rig.slower)
        again(rig, vm)
        vm.until("the job does not end", lambda job=job: rig.book.ended[job])
        if "gpu0" not in vm.devices():
            has_none(vm, 0)
            continue
        vm.expect("gpu works")
        has_gpu(vm)
        worker = worker_of(vm)
        job = vm.remove_later("gpu0", force=i % 2 == 1)
        time.sleep(i * 0.002 * rig.slower)
        again(rig, vm)
        vm.until("the job does not end", lambda job=job: rig.book.ended[job])
        if "gpu0" in vm.devices():
            has_gpu(vm)
            vm.remove("gpu0")
        vm.expect("gpu lost")
        has_none(vm, worker)
    # Comes and goes while there is no vmd.
    vm.add(GPU)
    vm.expect("gpu works")
    has_gpu(vm)
    worker = worker_of(vm)
    again(rig, vm)
    has_gpu(vm)
    now = worker_of(vm)
    check(now == worker, f"a worker goes on without vmd: {now}, was {worker}")
    vm.mode("l")
    job = vm.remove_later("gpu0")
    again(rig, vm)
    vm.until("the job does not end", lambda: rig.book.ended[job])
    vm.mode("n")
    has_none(vm, worker)
    vm.add(GPU)
    vm.expect("gpu works")
    has_gpu(vm)
    vm.remove("gpu0")
    vm.clean()


def main():
    options = r.arguments(__doc__, cycles=1000)
    load = lambda rig: under_load(rig, options.cycles)
    load.__name__ = "under_load"
    with r.Rig(options) as rig:
        r.run_cases(rig, [fails, worker_dies, attach_and_detach, load, vmd_dies], options.only)


if __name__ == "__main__":
    main()
