#!/usr/bin/env python3
"""Guests that misbehave at their slots, and users that do other things meanwhile. After each case the state must be
the documented one, each job must have had one end, and the next device must come and go."""
import os
import subprocess
import time

import rig as r
from rig import Failure, RpcError, Vm, check


def expect_error(kind, function, *arguments, **named):
    try:
        answer = function(*arguments, **named)
    except RpcError as error:
        check(error.kind in kind.split(), f"{error}, not {kind}")
        return
    raise Failure(f"{answer}, not an error of kind {kind}")


def never_answers(rig):
    vm = Vm(rig, "never")
    device = vm.add({"kind": "rng", "id": "held"})
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("d"), "format": "raw"}})
    vm.mode("s")
    job = vm.add_later(timeout_s=1)
    vm.end(job, "failed", "timed-out")
    vm.end(vm.remove_later(disk, timeout_s=1), "failed", "timed-out")
    check(vm.devices()[disk]["state"] == "acknowledged", "a disk that was not let go of stays")
    check(sorted(vm.used_slots()) == sorted([device, disk]), f"{vm.used_slots()}")
    vm.end(vm.remove_later(disk, force=True), "done", "surprise-removed")
    vm.end(vm.remove_later(device, force=True), "done", "surprise-removed")
    waits = [row for row in vm.call("slot.list")["slots"] if "by ACPI, has not looked" in row.get("text", "")]
    check(len(waits) == (2 if rig.road == "acpi" else 0), f"slots that wait for the guest's look: {waits}")
    vm.mode("n")
    vm.until("slots wait", lambda: not any(row.get("text") for row in vm.call("slot.list")["slots"]))
    vm.clean()


def answers_late(rig):
    vm = Vm(rig, "late")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("l"), "format": "raw"}})
    vm.mode("l")
    vm.end(vm.add_later(timeout_s=1), "failed", "timed-out")
    vm.end(vm.remove_later(disk, timeout_s=1), "failed", "timed-out")
    # The first press comes through after all, and what was a removal is the guest's own doing.
    vm.until("it never lets go", lambda: vm.devices()[disk]["state"] == "visible")
    vm.remove(disk)
    vm.mode("n")
    vm.clean()


def answers_twice(rig):
    vm = Vm(rig, "twice")
    vm.mode("d")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("t"), "format": "raw"}})
    vm.remove(disk)
    vm.remove(vm.add())
    vm.clean()


def refuses(rig):
    vm = Vm(rig, "refuses")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("r"), "format": "raw"}})
    vm.mode("r")
    vm.end(vm.add_later(), "failed", "refused")
    vm.end(vm.remove_later(disk), "failed", "refused")
    check(vm.devices()[disk]["state"] == "acknowledged", "a refused disk stays")
    vm.mode("n")
    vm.remove(disk)
    vm.clean()


def reboots_at_a_request(rig):
    vm = Vm(rig, "reboots")
    vm.mode("R")
    vm.add()  # the guest that starts anew finds it
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("b"), "format": "raw"}})
    vm.mode("R")
    vm.remove(disk)
    vm.expect("ready")
    vm.remove("rng0")
    vm.clean()


def reset_during_removal(rig):
    vm = Vm(rig, "reset")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("e"), "format": "raw"}})
    vm.mode("w")
    job = vm.remove_later(disk)
    vm.until("it is not leaving", lambda: vm.devices()[disk]["state"] == "leaving")
    vm.call("vm.reset")
    vm.end(job, "done", "done")
    vm.expect("ready")
    vm.clean()


def requests_until_the_end(vm, most):
    """Asks for MOST devices, or until the run is over: the jobs."""
    jobs = []
    try:
        for _ in range(most):
            jobs.append(vm.add_later())
    except RpcError as error:
        check(error.kind == "state", str(error))
    return jobs


def crashes(rig):
    vm = Vm(rig, "crashes")
    vm.add({"kind": "rng", "id": "first"})
    vm.mode("C")
    for job in requests_until_the_end(vm, 6):
        vm.end(job, "failed")
    vm.call("vm.wait", until="end")
    vm.start()
    vm.clean()


def powers_off(rig):
    vm = Vm(rig, "off")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("p"), "format": "raw"}})
    vm.mode("P")
    job = vm.remove_later(disk)
    vm.call("vm.wait", until="end")
    check(vm.client.wait(job)["state"] in ("failed", "done"), "the job ends with the run")
    vm.start()
    vm.clean()


def paused(rig):
    vm = Vm(rig, "paused")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("a"), "format": "raw"}})
    vm.mode("w")
    vm.end(vm.add_later({"kind": "rng", "id": "x"}), "done", "done")
    timeout_s = 4
    job = vm.remove_later(disk, timeout_s=timeout_s)
    vm.call("vm.pause")
    late = vm.add_later(timeout_s=timeout_s)
    time.sleep(timeout_s + 1)  # longer than both may take: time that the guest stands is not counted
    check({job, late} <= set(rig.book.open), "a job's time ran while the guest stood")
    vm.call("vm.resume")
    vm.end(late, "done", "done")
    vm.end(job, "failed", "timed-out")
    vm.call("vm.pause")
    vm.end(vm.remove_later(disk, force=True), "done", "surprise-removed")
    vm.end(vm.remove_later("x", force=True), "done", "surprise-removed")
    vm.call("vm.resume")
    vm.mode("n")
    vm.remove("rng0")
    vm.clean()


def during_boot(rig):
    client = rig.client()
    client.call("vm.create", config={"name": "boot", "arch": rig.arch, "memory": 32 << 20, "kernel": rig.guest,
                                     "devices": {"rng": False, "console": False, "balloon": False},
                                     **r.of_arch(rig)})
    client.call("vm.start", vm="boot")
    jobs = [client.call("device.add", vm="boot", device={"kind": "rng"})["job"] for _ in range(4)]
    for job in jobs:
        info = client.wait(job)
        check(info["state"] == "done", f"{info}")
    for row in client.call("device.list", vm="boot")["devices"]:
        if row["road"] == "fixed":
            continue
        check(row["road"] == rig.road, f"it came before the guest could say so: {row}")
        info = client.job("device.remove", vm="boot", device=row["id"])
        check(info["state"] == "done", f"{info}")
    client.call("vm.delete", vm="boot", force=True)


def ends_of_the_vm(rig):
    """Stopped, killed and deleted with jobs under way."""
    for name, end in (("k", "vm.kill"), ("s", "vm.stop"), ("x", "vm.delete")):
        vm = Vm(rig, "end-" + name)
        disk = vm.add({"kind": "disk", "disk": {"path": rig.file(name), "format": "raw"}})
        vm.mode("s")
        jobs = [vm.add_later(), vm.remove_later(disk), vm.remove_later(disk), vm.add_later(
            {"kind": "disk", "disk": {"path": rig.file(name + "2"), "format": "raw"}})]
        if end == "vm.stop":
            vm.client.job(end, vm=vm.name, force=True, timeout_s=1)
        elif end == "vm.delete":
            vm.call(end, force=True)
        else:
            vm.call(end)
        for job in jobs:
            check(vm.client.wait(job)["state"] == "failed", f"job {job}")
        if end != "vm.delete":
            vm.start()
            vm.clean()


def process_killed(rig):
    vm = Vm(rig, "dead")
    vm.mode("s")
    jobs = [vm.add_later(), vm.add_later()]
    os.kill(vm.pid(), 9)
    for job in jobs:
        vm.end(job, "failed")
    vm.call("vm.wait", until="end")
    vm.start()
    vm.clean()


def process_stands(rig):
    """A VM process that answers no call in time does what it was asked later: the job's end is that."""
    vm = Vm(rig, "stands")
    pid = vm.pid()
    os.kill(pid, 19)
    try:
        job = vm.add_later({"kind": "rng", "id": "slow"})
        other = rig.client()
        try:
            other.call("job.wait", job=job, timeout_ms=int(rig.seconds(1)) * 1000 + 31000)
        except RpcError as error:
            check(error.kind == "timeout", str(error))
    finally:
        os.kill(pid, 18)
    vm.end(job, "done", "done")
    vm.remove("slow")
    vm.clean()


def cancelled(rig):
    vm = Vm(rig, "cancel")
    disk = vm.add({"kind": "disk", "disk": {"path": rig.file("c"), "format": "raw"}})
    vm.mode("s")
    job = vm.add_later()
    vm.until("it is not visible", lambda: vm.devices().get("rng0", {}).get("state") == "visible")
    queued = vm.remove_later("rng0")
    vm.client.call("job.cancel", job=queued)
    vm.end(queued, "cancelled", "cancelled")
    vm.client.call("job.cancel", job=job)
    vm.end(job, "cancelled", "cancelled")
    leaving = vm.remove_later(disk)
    vm.until("it is not leaving", lambda: vm.devices()[disk]["state"] == "leaving")
    vm.client.call("job.cancel", job=leaving)
    vm.end(leaving, "cancelled", "cancelled")
    check(vm.devices()[disk]["state"] == "acknowledged", "the disk stays")
    opening = vm.add_later({"kind": "disk", "disk": {"path": rig.file("c2"), "format": "raw"}})
    vm.client.call("job.cancel", job=opening)
    check(vm.client.wait(opening)["state"] == "cancelled", "as its files are opened")
    vm.call("vm.reset")
    vm.expect("ready")
    vm.remove(disk)
    vm.clean()
    expect_error("state", vm.client.call, "job.cancel", job=job)


def cancelled_long_after(rig):
    """A job that ends when many younger ones have ended is still known."""
    vm = Vm(rig, "old", ports=1)
    vm.mode("s")
    job = vm.add_later({"kind": "rng", "id": "slow"}, timeout_s=3600)
    for _ in range(1100):
        vm.client.wait(vm.remove_later("none"))
    vm.client.call("job.cancel", job=job)
    vm.end(job, "cancelled", "cancelled")
    vm.mode("n")
    vm.clean()


def limits(rig):
    vm = Vm(rig, "limits", ports=4)
    jobs = [vm.add_later() for _ in range(64)]
    infos = [vm.client.wait(job) for job in jobs]
    check([info["state"] for info in infos].count("done") == 4, f"{infos}")
    check([info.get("error", {}).get("kind") for info in infos].count("limit") == 60, f"{infos}")
    for device in vm.used_slots():
        vm.remove(device)
    vm.clean()
    jobs = [vm.remove_later("none") for _ in range(8)]
    for job in jobs:
        vm.end(job, "failed", "refused")
    device = vm.add()
    vm.mode("s")
    jobs = [vm.add_later({"kind": "rng", "id": "same"}) for _ in range(40)]
    force = vm.remove_later("same", force=True)
    vm.client.wait(force)
    for job in jobs:
        if job in jobs[30:]:
            vm.client.wait(job)
    for job in jobs[:30]:
        try:
            vm.client.call("job.cancel", job=job)
        except RpcError as error:
            check(error.kind in ("state", "not-found"), str(error))
    vm.until("jobs stay", lambda: not rig.book.open)
    vm.mode("n")
    vm.end(vm.remove_later(device, force=True))
    vm.until("same stays", lambda: "same" not in vm.devices())
    vm.clean()


def hostile(rig):
    vm = Vm(rig, "hostile", disk=True, nics=[{"kind": "none", "id": "cold", "mac": "52:54:00:00:00:01"}])
    path = rig.file("h")
    os.mkfifo(rig.tmp / "fifo")
    held = lambda: len(os.listdir(f"/proc/{vm.pid()}/fd"))
    before = held()
    disk = {"path": path, "format": "raw"}
    at_once = [
        {"kind": "disk"}, {"kind": "nic"},
        {"kind": "rng", "disk": disk}, {"kind": "disk", "disk": disk, "nic": {}},
        {"kind": "disk", "id": "a", "disk": {**disk, "id": "b"}},
        {"kind": "nic", "id": "a", "nic": {"kind": "user", "id": "b"}},
        {"kind": "disk", "disk": {**disk, "path": "relative"}},
        {"kind": "disk", "disk": {**disk, "path": "/"}},
        {"kind": "disk", "disk": {**disk, "path": str(rig.tmp / "fifo")}},
        {"kind": "disk", "disk": {**disk, "path": str(rig.tmp / "missing")}},
        {"kind": "disk", "disk": {**disk, "path": str(rig.tmp / "hostile-root.img")}},
        {"kind": "disk", "disk": {**disk, "path": path, "format": "qcow2"}},
        {"kind": "disk", "disk": {**disk, "path": "/etc/shadow/x"}},
        {"kind": "disk", "disk": {**disk, "id": "root"}},
        {"kind": "nic", "nic": {"kind": "tap"}},
        {"kind": "nic", "nic": {"kind": "tap", "tap": "nosuchtap0"}},
        {"kind": "nic", "nic": {"kind": "user", "tap": "nosuchtap0"}},
        {"kind": "nic", "nic": {"kind": "user", "mac": "ff:ff:ff:ff:ff:ff"}},
        {"kind": "nic", "nic": {"kind": "user", "id": "cold"}},
        {"kind": "console", "id": "serial0"},
        {"kind": "rng", "id": "root"}, {"kind": "rng", "road": "fixed"}, {"kind": "rng", "road": "scsi"},
        {"kind": "rng", "id": "../x"}, {"kind": "gpu"}, {"kind": "rng", "more": 1},
    ]
    for spec in at_once:
        try:
            info = vm.client.wait(vm.add_later(spec))
            check(info["state"] == "failed", f"{spec}: {info}")
        except RpcError as error:
            check(error.kind in ("invalid", "exists", "unsupported", "not-found", "io", "denied"),
                  f"{spec}: {error}")
    check(set(vm.devices()) == {"root", "cold"}, f"{list(vm.devices())}")
    vm.until(f"descriptors stay: {before} before, {held()} now", lambda: held() <= before)
    # What is well formed comes: a chain of images, and one that may not be written.
    chain = path
    for i in range(15):
        top = str(rig.tmp / f"chain{i}")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2" if i else "raw", "-b", chain, top],
                       check=True)
        chain = top
        if i in (3, 14):
            vm.remove(vm.add({"kind": "disk", "disk": {"path": chain}}))
    os.chmod(path, 0o444)
    vm.remove(vm.add({"kind": "disk", "disk": {**disk, "readonly": True}}))
    vm.until(f"descriptors stay: {before} before, {held()} now", lambda: held() <= before)
    device = vm.add()
    vm.remove(device)


def one_key(rig):
    """An addition that is asked for twice with one idempotency key comes once."""
    vm = Vm(rig, "key")
    ask = lambda: vm.call("device.add", device={"kind": "rng"}, key="k1")["job"]
    first = ask()
    check(ask() == first, "another job")
    vm.end(first)
    check(ask() == first and len(vm.devices()) == 1, f"{list(vm.devices())}")
    vm.remove("rng0")
    vm.clean()


def same_address(rig):
    """Two interfaces of one VM never have one address."""
    vm = Vm(rig, "mac", nics=[{"kind": "none", "id": "cold", "mac": "52:54:00:00:00:0A"}],
            hotplug={"ports": 4, "scsi": False, "nics": 1})
    nic = lambda mac, name: {"kind": "nic", "id": name, "road": "pcie", "nic": {"kind": "none", "mac": mac}}
    info = vm.end(vm.add_later(nic("52:54:00:00:00:0a", "twin")), "failed", "refused")
    check(info["error"]["kind"] == "exists" and "cold" in info["error"]["message"], f"{info}")
    port = vm.devices()["link0"]["text"].split()[0]
    vm.end(vm.add_later(nic(port, "twin")), "failed", "refused")
    first = vm.add(nic("52:54:00:00:00:0b", "first"))
    vm.end(vm.add_later(nic("52:54:00:00:00:0b", "second")), "failed", "refused")
    vm.remove(first)
    vm.remove(vm.add(nic("52:54:00:00:00:0b", "second")))
    expect_error("invalid", vm.add_later, nic("01:00:5e:00:00:01", "group"))
    two = [{"kind": "none", "mac": "52:54:00:00:00:01"}, {"kind": "none", "mac": "52:54:00:00:00:01"}]
    expect_error("invalid", vm.client.call, "vm.create",
                 config={"name": "twins", "arch": "riscv64", "memory": 32 << 20, "kernel": rig.guest, "nics": two})
    vm.remove("cold", force=True)
    vm.call("vm.delete", force=True)


def definition(vm):
    info = vm.call("vm.get")
    return info.get("next") or info["config"]


def persistent(rig):
    """What is to be in the definition too gets there when it is in the run, and leaves it likewise."""
    vm = Vm(rig, "persistent", disk=True)
    disk = lambda name, file: {"kind": "disk", "id": name, "disk": {"path": rig.file(file), "format": "raw"}}
    names = lambda: [d["id"] for d in definition(vm)["disks"]]
    job = vm.add_later(disk("kept", "p1"), persistent=True)
    check(vm.end(job)["result"]["persistent"] == "kept" and names() == ["root", "kept"], f"{names()}")
    vm.add(disk("run", "p2"))
    check(names() == ["root", "kept"], "what was not asked for is not in the definition")
    nic = vm.end(vm.add_later({"kind": "nic", "nic": {"kind": "none"}}, persistent=True))["result"]["device"]
    mac = definition(vm)["nics"][0]["mac"]
    check(vm.devices()[nic]["text"].endswith(mac), "the address is another in the definition")
    # What fails in the guest does not reach it.
    vm.mode("s")
    vm.end(vm.add_later(disk("never", "p3"), persistent=True, timeout_s=1), "failed", "timed-out")
    vm.end(vm.remove_later("kept", persistent=True, timeout_s=1), "failed", "timed-out")
    check(names() == ["root", "kept"], f"{names()}")
    vm.mode("n")
    vm.until("still asked", lambda: vm.devices()["kept"]["state"] != "leaving")
    expect_error("unsupported", vm.add_later, {"kind": "rng"}, persistent=True)
    expect_error("exists", vm.add_later, disk("root", "p4"), persistent=True)
    expect_error("invalid", vm.add_later, disk("again", "p1"), persistent=True)
    expect_error("not-found", vm.remove_later, "run", persistent=True)
    # Over a vmd that is killed while the guest is asked.
    vm.mode("s")
    job = vm.add_later(disk("late", "p5"), persistent=True, timeout_s=600)
    vm.until("it is not visible", lambda: vm.devices().get("late", {}).get("state") == "visible")
    rig.kill()
    rig.start()
    vm.again()
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] == "running")
    check(names() == ["root", "kept"], f"{names()}")
    vm.call("vm.reset")
    vm.expect("ready")
    vm.until("the job does not end", lambda: rig.book.ended[job])
    check(names() == ["root", "kept", "late"], f"{names()}")
    # The next run has it all, and a removal leaves neither run nor definition with it.
    vm.call("vm.kill")
    vm.client.call("vm.start", vm=vm.name)
    check({"root", "kept", "late", nic} <= set(vm.devices()) and "run" not in vm.devices(), f"{list(vm.devices())}")
    vm.end(vm.remove_later("kept", persistent=True, force=True), "done", "surprise-removed")
    check(names() == ["root", "late"], f"{names()}")
    vm.call("vm.delete", force=True)
    brief = Vm(rig, "brief", ephemeral=True)
    expect_error("state", brief.add_later, disk("x", "p6"), persistent=True)
    brief.call("vm.kill")


CASES = [never_answers, answers_late, answers_twice, refuses, reboots_at_a_request, reset_during_removal, crashes,
         powers_off, paused, during_boot, ends_of_the_vm, process_killed, cancelled, limits, hostile, one_key]
# What the guest is has no part in these: once is enough.
WITHOUT_GUEST = [cancelled_long_after, process_stands, same_address, persistent]


if __name__ == "__main__":
    options = r.arguments(__doc__)
    with r.Rig(options) as the_rig:
        r.run_cases(the_rig, CASES + (WITHOUT_GUEST if options.arch == "riscv64" else []), options.only)
