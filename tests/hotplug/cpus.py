#!/usr/bin/env python3
"""Processors of a running x86_64 guest come and go by ACPI's event device and the registers that the machine's AML uses: the
guest (x86_64.c) is told, takes them or not, lets go of them or not, and what vm.resize says is so."""
import time

import rig as r
from rig import Vm, check


def guest(rig, name, cpus=1, max_cpus=4, **config):
    return Vm(rig, name, cpus=cpus, max_cpus=max_cpus, **config)


def resize_later(vm, cpus, **params):
    return vm.call("vm.resize", cpus=cpus, **params)["job"]


def resize(vm, cpus, state="done", outcome=None, is_then=None, **params):
    """The job's info; it must end in STATE, with as many processors as are asked for, or IS_THEN."""
    info = vm.end(resize_later(vm, cpus, **params), state, outcome)
    then = cpus if is_then is None else is_then
    check(info["result"]["cpus"] == then, f"{info}: not {then} processors")
    check(vm.call("vm.stats")["cpus"] == then and vm.call("vm.get")["size"]["cpus"] == then,
          f"{then} processors: {vm.call('vm.stats')['cpus']}, {vm.call('vm.get')['size']}")
    return info


def running(vm, letter="c"):
    """Which processors run, as the guest sees it."""
    vm.call("console.write", data=letter)
    rest = vm.expect("running")
    vm.until("no list", lambda: "\n" in vm.call("console.log")["data"][vm.heard:])
    rest = vm.call("console.log")["data"][vm.heard:]
    return [int(word) for word in rest.split("\n")[0].split()]


def off(vm):
    return [row["index"] for row in vm.call("vm.stats")["vcpus"] if row["state"] == "off"]


def come_and_go(rig):
    vm = guest(rig, "go")
    check(running(vm) == [0] and off(vm) == [1, 2, 3], f"{off(vm)}")
    resize(vm, 3)
    vm.expect("cpu 2 came")
    check(running(vm) == [0, 1, 2] and off(vm) == [3], f"{off(vm)}")
    resize(vm, 1)
    vm.expect("cpu 2 went")
    check(running(vm) == [0] and off(vm) == [1, 2, 3], f"{off(vm)}")
    for _ in range(5):
        resize(vm, 4)
        check(running(vm) == [0, 1, 2, 3], "all run")
        resize(vm, 2)
        check(running(vm) == [0, 1], "two run")
    resize(vm, 2)  # as it is
    resize(vm, 1)


def from_the_start(rig):
    """Those that are there at the start may go, too; a reset keeps what there is."""
    vm = guest(rig, "start", cpus=3, max_cpus=3)
    check(off(vm) == [], "all wait for the guest")
    resize(vm, 1)
    check(off(vm) == [1, 2], f"{off(vm)}")
    vm.call("vm.reset")
    vm.expect("ready")
    check(off(vm) == [1, 2] and vm.call("vm.stats")["cpus"] == 1, "after a reset too")
    resize(vm, 2)
    vm.call("vm.reset")
    vm.expect("ready")
    check(off(vm) == [2] and running(vm) == [0], "one waits for the new guest")
    check(running(vm, "k") == [0, 1], "which can start it")


def not_granted(rig):
    """A guest that starts what it was not given gets nothing, and what it tried does no harm later."""
    vm = guest(rig, "greedy", cpus=2, max_cpus=6)
    check(running(vm, "k") == [0, 1], "those that were not granted do not run")
    vm.call("vm.reset")
    vm.expect("ready")
    resize(vm, 4)
    check(running(vm) == [0, 2, 3], "those that came run")
    check(running(vm, "k") == [0, 1, 2, 3], "and no others")
    resize(vm, 1)
    check(running(vm, "k") == [0], "those that went do not come back")


def takes_it(rig):
    """What counts as taken: the guest's word, or that it runs."""
    vm = guest(rig, "takes")
    vm.mode("o")
    resize(vm, 2)
    check(running(vm) == [0], "it was taken, and is off")
    resize(vm, 1)
    vm.mode("q")
    resize(vm, 2)
    check(running(vm) == [0, 1], "it runs, and the guest said nothing")
    vm.mode("d")
    resize(vm, 3)
    resize(vm, 1)
    vm.mode("n")
    resize(vm, 4)
    resize(vm, 1)


def refuses(rig):
    vm = guest(rig, "refuses", cpus=2)
    vm.mode("r")
    info = resize(vm, 4, "failed", "refused", 2)
    check("does not take processor" in info["error"]["message"], f"{info}")
    info = resize(vm, 1, "failed", "refused", 2)
    check("let go of processor 1: it is busy (0x81)" in info["error"]["message"], f"{info}")
    vm.mode("n")
    resize(vm, 4)
    resize(vm, 1)


def never_answers(rig):
    vm = guest(rig, "never", cpus=2)
    vm.mode("s")
    info = resize(vm, 3, "failed", "timed-out", 2, timeout_s=1)
    check("has not taken it" in info["error"]["message"], f"{info}")
    check(off(vm) == [2, 3], "what nobody took is withdrawn")
    info = resize(vm, 1, "failed", "timed-out", 2, timeout_s=1)
    check("let go of processor 1, and has not" in info["error"]["message"], f"{info}")
    check(off(vm) == [2, 3], "what was not let go of stays")
    vm.mode("n")
    resize(vm, 3)
    resize(vm, 1)
    check(off(vm) == [1, 2, 3], f"{off(vm)}")


def answers_late(rig):
    vm = guest(rig, "late")
    vm.mode("l")
    resize(vm, 2)
    resize(vm, 1, "failed", "timed-out", 2, timeout_s=1)
    vm.mode("n")
    resize(vm, 1)


def by_itself(rig):
    """The guest may let go unasked: then it has one less, until it is given one."""
    vm = guest(rig, "itself", cpus=3, max_cpus=3)
    running(vm, "e")
    vm.until("it still runs", lambda: off(vm) == [1])
    check(vm.call("vm.stats")["cpus"] == 2, "two are left")
    resize(vm, 3)
    check(1 in running(vm), "it came again")


def ejects_itself(rig):
    """The processor that writes to the register is the one that is gone then."""
    vm = guest(rig, "suicide")
    resize(vm, 3)
    check(running(vm, "x") == [0, 2], "it ran no further")
    vm.until("it still runs", lambda: off(vm) == [1, 3])
    check(vm.call("vm.stats")["cpus"] == 2, "two are left")
    vm.until("vm.get knows nothing of it", lambda: vm.call("vm.get")["size"]["cpus"] == 2)
    resize(vm, 3)
    check(running(vm) == [0, 1, 2], "it came again")


def daemon_killed(rig):
    """The job is the VM process's: it goes on without vmd, and its end is true."""
    vm = guest(rig, "orphan")
    vm.mode("s")
    job = resize_later(vm, 3, timeout_s=60)
    rig.kill()
    rig.start()
    vm.again()
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] == "running")
    vm.until("two are waited for", lambda: off(vm) == [3])
    vm.mode("n")
    info = vm.client.wait(job)
    check(info["state"] == "done" and info["result"]["cpus"] == 3, f"{info}")
    check(running(vm) == [0, 1, 2], "all run")


def reset_meanwhile(rig):
    vm = guest(rig, "reset", cpus=2)
    vm.mode("w")
    job = resize_later(vm, 1)
    time.sleep(0.3 * rig.slower)
    vm.call("vm.reset")
    vm.end(job, "done", "done")
    vm.expect("ready")
    check(off(vm) == [1, 2, 3], "the reset let go of it")
    vm.mode("R")
    job = resize_later(vm, 2, timeout_s=2)
    vm.expect("ready")
    info = vm.client.wait(job)
    check(info["state"] == "failed" and info["result"]["cpus"] == 1, f"{info}")
    vm.mode("n")
    resize(vm, 2)


def paused_and_cancelled(rig):
    vm = guest(rig, "paused")
    vm.mode("s")
    job = resize_later(vm, 2, timeout_s=2)
    vm.call("vm.pause")
    time.sleep(3)  # longer than it may take: time that the guest stands is not counted
    check(job in rig.book.open, "its time ran while the guest stood")
    vm.call("vm.resume")
    vm.client.call("job.cancel", job=job)
    vm.end(job, "cancelled")
    check(off(vm) == [1, 2, 3], f"{off(vm)}")
    vm.mode("n")
    resize(vm, 2)


def ends_meanwhile(rig):
    for name, letter in (("crash", "C"), ("off", "P")):
        vm = guest(rig, name)
        vm.mode(letter)
        job = resize_later(vm, 2)
        vm.call("vm.wait", until="end")
        check(vm.client.wait(job)["state"] == "failed", "the job ends with the run")
        vm.start()
        resize(vm, 2)


def split_irqchip(rig):
    vm = guest(rig, "split", irqchip="split")
    resize(vm, 3)
    check(running(vm) == [0, 1, 2], "three run")
    resize(vm, 1)


def many_times(rig):
    vm = guest(rig, "many", max_cpus=8)
    for i in range(30):
        resize(vm, 2 + i % 7)
        resize(vm, 1)
    check(off(vm) == list(range(1, 8)), f"{off(vm)}")


CASES = [come_and_go, from_the_start, not_granted, takes_it, refuses, never_answers, answers_late, by_itself, ejects_itself,
         daemon_killed, reset_meanwhile, paused_and_cancelled, ends_meanwhile, split_irqchip, many_times]


if __name__ == "__main__":
    options = r.arguments(__doc__)
    with r.Rig(options) as the_rig:
        r.run_cases(the_rig, CASES, options.only)
