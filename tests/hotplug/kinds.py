#!/usr/bin/env python3
"""A device of each kind comes to a running guest through a slot of PCI Express, is used, and what the guest did with it is
right on the host; then it goes, in order or pulled out. Once more with all slots taken at once, and after a reset."""
import rig as r
from rig import Vm, check

PATTERN = bytes((i * 3 + 1) & 0xff for i in range(512))


def disk(rig, name):
    return {"kind": "disk", "id": name, "disk": {"path": rig.file(name), "format": "raw"}}


def first_sector(rig, name):
    with open(rig.tmp / name, "rb") as f:
        return f.read(512)


def use(vm, device, said):
    """Adds DEVICE, which the guest uses before it says that it has it: its id, and what the road is."""
    device = vm.add(device)
    vm.expect(f"used {said}")
    row = vm.devices()[device]
    check(row["road"] == vm.rig.road and row["state"] == "acknowledged", f"{row}")
    return device


def frames(vm, device):
    rows = [row for row in vm.call("vm.stats")["nics"] if row["id"] == device]
    check(len(rows) == 1, f"{device} is counted once: {rows}")
    return rows[0]["tx_packets"] + rows[0]["tx_dropped"]


def each_kind(rig):
    vm = Vm(rig, "each")
    for row in vm.call("slot.list")["slots"]:
        check(row["road"] == rig.road and row["use"] == "ready", f"{row}")
    vm.mode("u")
    for i, how in enumerate(({}, {"force": True}, {})):
        name = f"d{i}"
        use(vm, disk(rig, name), "disk")
        check(first_sector(rig, name) == PATTERN, "what the guest wrote and flushed is in the file")
        vm.remove(name, **how)
        use(vm, {"kind": "rng"}, "rng")
        vm.remove("rng0", **how)
        use(vm, {"kind": "nic", "id": "n", "nic": {"kind": "none"}}, "net")
        check(frames(vm, "n") == 1, "the guest sent one frame, which nobody took")
        vm.remove("n", **how)
        use(vm, {"kind": "console", "id": "c"}, "console")
        vm.until("the line does not come", lambda: "a line by a hot console" in vm.call(
            "console.log", console="c")["data"])
        vm.remove("c", **how)
    vm.mode("n")
    vm.clean()


def all_at_once(rig):
    vm = Vm(rig, "all", ports=4)
    vm.mode("u")
    devices = [disk(rig, "d"), {"kind": "rng", "id": "r"}, {"kind": "nic", "id": "n", "nic": {"kind": "none"}},
               {"kind": "console", "id": "c"}]
    for job in [vm.add_later(device) for device in devices]:
        vm.end(job, "done", "done")
    check(sorted(vm.used_slots()) == ["c", "d", "n", "r"], f"{vm.used_slots()}")
    vm.until("the disk is not used beside the others", lambda: first_sector(rig, "d") == PATTERN)
    vm.mode("n")
    vm.call("vm.reset")
    vm.expect("ready")
    vm.until("the new guest does not take them",
             lambda: all(row["state"] == "acknowledged" for row in vm.devices().values()))
    for job in [vm.remove_later(device) for device in "dcnr"]:
        vm.end(job, "done", "done")
    vm.clean()


def many_times(rig):
    """With the disk that is there from the start at work all the while."""
    vm = Vm(rig, "many", disk=True)
    for i in range(40):
        device = vm.add([disk(rig, f"cycle{i}"), {"kind": "rng"}][i % 4 != 3])
        vm.remove(device, force=i % 5 == 4)
    vm.call("console.write", data="i")
    vm.expect("turns ")
    vm.clean()


if __name__ == "__main__":
    options = r.arguments(__doc__)
    with r.Rig(options) as the_rig:
        r.run_cases(the_rig, [each_kind, all_at_once, many_times], options.only)
