#!/usr/bin/env python3
"""GPUs of running guests move between software devices of one host, by gpu.migrate and gpu.drain, while the guest's program runs
kernels on what it has there and compares every word with its own account of it. Moves that cannot be made, or in the middle of
which a worker or the daemon dies, leave the program where it was."""
import json
import os
import signal
import subprocess
import time

import rig as r
from gpus import alive
from rig import RpcError, Vm, check

MEMORY = 16 << 20
GPU = {"kind": "gpu", "gpu": {"backend": "soft", "memory": MEMORY}}
PLACES = ("soft", "soft:1", "soft:2")


def stored(vm):
    """(worker, its successor to be), as vmd has them; 0: none."""
    path, = vm.rig.tmp.rglob(f"vms/{vm.call('vm.get')['id']}/vm.json")
    worker = json.loads(path.read_text(encoding="utf-8"))["gpu_worker"]
    return worker["pid"], worker.get("target", {}).get("pid", 0)


def listed(client):
    """(VMs, drained) by device."""
    rows = client.call("gpu.list")["gpus"]
    return {row["id"]: (row["vms"], row["drained"]) for row in rows if row.get("backend") == "soft"}


def working(rig, name, **config):
    """A VM whose program runs kernels."""
    vm = Vm(rig, name, **config)
    vm.call("console.write", data="k")
    vm.expect("kernels")
    vm.add(GPU)
    vm.expect("gpu works")
    return vm


def launches(vm):
    vm.call("console.write", data="j")
    vm.expect("fills ")
    vm.until("no number", lambda: "\n" in vm.call("console.log")["data"][vm.heard:])
    return int(vm.call("console.log")["data"][vm.heard:].split()[0])


def goes_on(vm):
    """Its program does more, and has never lost what it had."""
    before = launches(vm)
    vm.until("its program stands", lambda: launches(vm) > before)
    said = vm.call("console.log")["data"]
    check("gpu lost" not in said and "failed" not in said.lower(), f"{said[-400:]!r}")


def is_at(vm, place):
    """All that tells of VM's GPU has it at PLACE alone, with one worker."""
    vm.until(f"it is not at {place}", lambda: [
        at for at, (names, _) in listed(vm.client).items() if vm.name in names] == [place])
    use, = vm.call("gpu.stats")["gpus"]
    check(use["gpu"] == place and use["stats"]["memory_bytes"] == MEMORY, f"{use}")
    vm.until("its worker does not serve", lambda: vm.call("gpu.stats")["gpus"][0]["stats"].get("state") == "serving")
    vm.until("its workers are others", lambda: not stored(vm)[1] and alive(stored(vm)[0]))


def move(vm, place):
    info = vm.client.job("gpu.migrate", vm=vm.name, to=place)
    check(info["state"] == "done" and info["kind"] == "gpu.migrate", f"{info}")


def refused(kind, call):
    try:
        call()
    except RpcError as error:
        check(error.kind == kind and "\n" not in str(error), f"{error}, not {kind}")
    else:
        check(False, f"nothing said {kind}")


class Standing:
    """VM's worker stands, so that a move comes no further than to its saving."""

    def __init__(self, vm):
        self.vm, (self.worker, _) = vm, stored(vm)

    def __enter__(self):
        os.kill(self.worker, signal.SIGSTOP)
        return self

    def __exit__(self, *error):
        if alive(self.worker):
            os.kill(self.worker, signal.SIGCONT)

    def target(self):
        """The process of the other worker, once there is one."""
        self.vm.until("no worker at the target", lambda: stored(self.vm)[1])
        return stored(self.vm)[1]


def moves(rig):
    """To and fro; each move has a worker of its own, and the one before ends."""
    vm = working(rig, "moves")
    is_at(vm, "soft")
    workers = [stored(vm)[0]]
    for place in ("soft:1", "soft:2", "soft", "soft:2", "soft:1", "soft"):
        move(vm, place)
        is_at(vm, place)
        goes_on(vm)
        vm.until("a worker stays", lambda: not alive(workers[-1]))
        workers.append(stored(vm)[0])
        check(len(set(workers)) == len(workers), f"{workers}")
    move(vm, "soft:1")
    check(vm.call("vm.get")["config"].get("gpu") is None, "the definition is as it was")
    # One that dies is followed by another at the same place.
    os.kill(stored(vm)[0], signal.SIGKILL)
    vm.expect("gpu lost")
    vm.expect("gpu works")
    is_at(vm, "soft:1")
    vm.remove("gpu0")
    vm.until("a device has it still", lambda: all(names == [] for names, _ in listed(vm.client).values()))
    vm.clean()


def configured(rig):
    """A GPU of the definition, which stays what it is there; the next run begins at the old place."""
    vm = Vm(rig, "configured", gpu={"backend": "soft", "device": "2", "memory": MEMORY})
    is_at(vm, "soft:2")
    move(vm, "soft")
    is_at(vm, "soft")
    check(vm.call("vm.get")["config"]["gpu"]["device"] == "2", "the definition is another")
    rig.kill()
    rig.start()
    vm.again()
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] == "running")
    is_at(vm, "soft")
    vm.call("gpu.limits", share=7)
    check(vm.call("gpu.stats")["gpus"][0]["share"] == 7, "the share")
    vm.call("vm.kill")
    vm.start()
    is_at(vm, "soft:2")
    vm.call("vm.delete", force=True)


def cannot_be(rig):
    """What is refused at once, and what by a job; the program goes on."""
    vm = working(rig, "stays")
    migrate = lambda **params: vm.call("gpu.migrate", **params)
    for kind, params in ("exists", {"to": "soft"}), ("not-found", {"to": "soft:3"}), ("invalid", {"to": "soft:x"}), \
            ("unsupported", {"to": "GPU-1"}), ("not-found", {"to": "soft:1", "gpu": "gpu1"}):
        refused(kind, lambda params=params: migrate(**params))
    with Standing(vm):
        first = migrate(to="soft:1")["job"]
        refused("busy", lambda: migrate(to="soft:2"))
    check(vm.client.wait(first)["state"] == "done", "the first")
    is_at(vm, "soft:1")
    with Standing(vm) as standing:
        job = migrate(to="soft")["job"]
        standing.target()
        vm.client.call("job.cancel", job=job)
    vm.end(job, "cancelled", "cancelled")
    is_at(vm, "soft:1")
    goes_on(vm)
    with Standing(vm) as standing:
        job = migrate(to="soft")["job"]
        standing.target()
        vm.remove("gpu0", force=True)
    check(vm.end(job, "failed")["error"]["kind"] == "gone", "its GPU went")
    vm.clean()
    refused("unsupported", lambda: migrate(to="soft"))
    vm.call("vm.kill")
    refused("state", lambda: migrate(to="soft"))
    vm.call("vm.delete", force=True)


def target_dies(rig):
    """The worker at the target is killed in the middle: the source goes on."""
    vm = working(rig, "target")
    for turn in range(3):
        with Standing(vm) as standing:
            job = vm.call("gpu.migrate", to="soft:1")["job"]
            target = standing.target()
            os.kill(target, signal.SIGKILL)
        info = vm.end(job, "failed", "refused")
        check("target" in info["error"]["message"], f"{turn}: {info}")
        is_at(vm, "soft")
        goes_on(vm)
    move(vm, "soft:1")
    goes_on(vm)
    vm.call("vm.delete", force=True)


def source_dies(rig):
    """The worker at the source is killed before it has saved: that is a loss as ever, and the next one is where it was."""
    vm = working(rig, "source")
    with Standing(vm) as standing:
        job = vm.call("gpu.migrate", to="soft:1")["job"]
        target = standing.target()
        os.kill(standing.worker, signal.SIGKILL)
        check(vm.client.wait(job)["state"] == "failed", "what was lost cannot be moved")
    vm.expect("gpu lost")
    vm.expect("gpu works")
    is_at(vm, "soft")
    vm.until("the worker at the target stays", lambda: not alive(target))
    vm.call("vm.delete", force=True)


def again(rig, *vms):
    rig.kill()
    rig.start()
    for vm in vms:
        vm.again()
        vm.until("it is not found again", lambda vm=vm: vm.call("vm.get")["state"] == "running")


def ended(vm, job):
    vm.until("the job does not end", lambda: vm.rig.book.ended[job])
    return vm.client.call("event.list", types=["job.ended"], limit=256)["events"]


def vmd_dies(rig):
    """The daemon is killed at any time of moves: the job has one end, which is true, and the program never notices."""
    vm = working(rig, "orphan")
    place = "soft"
    for turn in range(10):
        to = PLACES[(PLACES.index(place) + 1) % 3]
        job = vm.call("gpu.migrate", to=to)["job"]
        time.sleep(turn * 0.006 * rig.slower)  # any time will do
        again(rig, vm)
        end, = [e["data"]["job"] for e in ended(vm, job) if e["data"]["job"]["id"] == job]
        place = to if end["state"] == "done" else place
        is_at(vm, place)
        goes_on(vm)
    # One that is under way while there is no daemon is carried.
    to = PLACES[(PLACES.index(place) + 1) % 3]
    with Standing(vm) as standing:
        job = vm.call("gpu.migrate", to=to)["job"]
        standing.target()
        again(rig, vm)
        check(not rig.book.ended[job], "it is under way")
    check(vm.client.wait(job)["state"] == "done", "it is carried")
    is_at(vm, to)
    goes_on(vm)
    vm.call("vm.delete", force=True)


def vmctl(rig, *words):
    done = subprocess.run(["vmctl", "gpu", *words], env=rig.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=rig.seconds(120), check=False)
    return done.returncode, done.stdout


def drains(rig):
    """A device with four guests is drained, and takes no others; their programs go on elsewhere."""
    vms = [working(rig, f"four{i}") for i in range(4)]
    client = vms[0].client
    # A drain that dies with its daemon says so; what it had begun goes on, and the device stays drained.
    with Standing(vms[0]) as standing:
        job = client.call("gpu.drain", gpu="soft", to="soft:2")["job"]
        standing.target()
        again(rig, *vms)
        client = vms[0].client
        vms[0].until("the drain does not end", lambda: rig.book.ended[job])
        check(listed(client)["soft"][1], "it is drained still")
    vms[0].until("its move does not end", lambda: not rig.book.open)
    is_at(vms[0], "soft:2")
    info = client.job("gpu.drain", gpu="soft")
    check(info["state"] == "done" and sorted(info["result"]["moved"]) == ["four1", "four2", "four3"] and
          not info["result"]["left"], f"{info}")
    now = listed(client)
    check(now["soft"] == ([], True) and len(now["soft:1"][0]) + len(now["soft:2"][0]) == 4 and
          len(now["soft:1"][0]) >= 2, f"{now}")
    for vm in vms:
        goes_on(vm)
    # Nobody begins there.
    late = Vm(rig, "late")
    info = late.client.wait(late.add_later(GPU))
    check(info["error"]["kind"] == "state" and "drained" in info["error"]["message"], f"{info}")
    refused("state", lambda: vms[0].call("gpu.migrate", to="soft"))
    late.call("vm.kill")
    late.call("gpu.attach", gpu="soft", memory=MEMORY)
    refused("state", lambda: late.call("vm.start"))
    code, said = vmctl(rig, "list")
    check(code == 0 and "(drained)" in said and said.count("soft") >= 3, said)
    # There is nowhere to go where all else is drained: the guests stay, and that is told.
    check(client.job("gpu.drain", gpu="soft:1")["state"] == "done", "all of them have another place")
    info = client.job("gpu.drain", gpu="soft:2")
    check(info["state"] == "failed" and len(info["result"]["left"]) == 4 and not info["result"]["moved"], f"{info}")
    code, said = vmctl(rig, "drain", "soft:2")
    check(code and "4 of 4 VMs stay on soft:2" in said, said)
    for place in PLACES:
        code, said = vmctl(rig, "undrain", place)
        check(code == 0 and f"{place} takes VMs again" in said, said)
    code, said = vmctl(rig, "migrate", "four2", "gpu0", "--to", "soft")
    check(code == 0 and "gpu0 of four2 was moved" in said, said)
    is_at(vms[2], "soft")
    # One that is on its way to a device when that is drained does not stay there.
    with Standing(vms[0]) as standing:
        job = vms[0].call("gpu.migrate", to="soft:1")["job"]
        standing.target()
        drain = client.call("gpu.drain", gpu="soft:1")["job"]
        check(not rig.book.ended[job] and not rig.book.ended[drain], "both are under way")
    check(client.wait(job)["state"] == "done", "it goes there")
    info = client.wait(drain)
    check(info["state"] == "done" and info["result"]["moved"] == ["four0"], f"{info}")
    check(listed(client)["soft:1"] == ([], True), "it does not stay there")
    vmctl(rig, "undrain", "soft:1")
    late.start()
    is_at(late, "soft")
    refused("not-found", lambda: client.call("gpu.drain", gpu="soft:9"))
    refused("invalid", lambda: client.call("gpu.drain", gpu="soft", to="soft"))
    for vm in vms:
        goes_on(vm)
        vm.call("vm.delete", force=True)
    late.call("vm.delete", force=True)


def main():
    options = r.arguments(__doc__)
    with r.Rig(options, "--soft-gpus", "3") as rig:
        r.run_cases(rig, [moves, configured, cannot_be, target_dies, source_dies, vmd_dies, drains], options.only)


if __name__ == "__main__":
    main()
