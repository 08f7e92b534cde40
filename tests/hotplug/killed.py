#!/usr/bin/env python3
"""vmd is killed in each state of an addition and of a removal, and started again: the job goes on or fails, its
one end says what is true of the device, and nothing of it stays in the VM process."""
import json
import os
import signal
import socket
import threading
import time

import rig as r
from rig import Vm, check


def held(vm):
    return len(os.listdir(f"/proc/{vm.pid()}/fd"))


def start_again(rig, vm):
    rig.kill()
    rig.start()
    vm.again()
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] in ("running", "paused"))


def disk(rig, name):
    return {"kind": "disk", "id": name, "disk": {"path": rig.file(name), "format": "raw"}}


def told_truly(vm, job, device):
    """The end of JOB, of which an addition that is done left the device there, and a removal did not."""
    vm.until("the job does not end", lambda: vm.rig.book.ended[job])
    info = ended(vm, job)
    there = device in vm.devices()
    added = info["kind"] == "device.add"
    check(there == (added == (info["state"] == "done")), f"{info}, and the device is {'' if there else 'not '}there")
    return info


def ended(vm, job):
    """JOB as its end was told: a daemon that came later does not have it."""
    after = 0
    while events := vm.client.call("event.list", after=after, limit=1000, types=["job.ended"])["events"]:
        for event in events:
            if event["data"]["job"]["id"] == job:
                return event["data"]["job"]
        after = events[-1]["seq"]
    raise r.Failure(f"no end of job {job}")


def addition_at_any_time(rig):
    vm = Vm(rig, "any")
    before = held(vm)
    outcomes = {"done": 0, "failed": 0}
    delays = [i * 0.002 * rig.slower for i in range(24)]
    for i, delay in enumerate(delays):
        device = f"d{i}"
        job = vm.add_later(disk(rig, device))
        time.sleep(delay)
        start_again(rig, vm)
        outcomes[told_truly(vm, job, device)["state"]] += 1
        if device in vm.devices():
            vm.remove(device, force=True)
        os.unlink(rig.tmp / device)
        # How long an addition takes is the machine's affair: on to where the other outcome is.
        if i + 1 == len(delays) < 80 and not all(outcomes.values()):
            delays.append(0 if not outcomes["failed"] else min(2 * delay + 0.01, 5))
    check(all(outcomes.values()), f"one outcome alone was seen: {outcomes}")
    vm.until("descriptors stay", lambda: held(vm) <= before)
    vm.clean()
    print(f"  {outcomes}")


def removal_at_any_time(rig):
    vm = Vm(rig, "gone")
    before = held(vm)
    for i in range(16):
        device = f"r{i}"
        vm.add(disk(rig, device))
        job = vm.remove_later(device)
        time.sleep(i * 0.001 * rig.slower)
        start_again(rig, vm)
        told_truly(vm, job, device)
        if device in vm.devices():
            vm.remove(device)
    vm.until("descriptors stay", lambda: held(vm) <= before)
    vm.clean()


def visible(rig):
    vm = Vm(rig, "visible")
    before = held(vm)
    vm.mode("s")
    job = vm.add_later(disk(rig, "v"))
    queued = vm.add_later({"kind": "rng", "id": "rng7"}, timeout_s=600)
    refused = vm.remove_later("v", timeout_s=600)
    vm.until("it is not visible", lambda: vm.devices().get("v", {}).get("state") == "visible")
    start_again(rig, vm)
    check({job, queued, refused} <= set(rig.book.open), "a job ended with vmd")
    check(vm.client.call("job.get", job=job)["cancellable"], "it can be cancelled still")
    vm.client.call("job.cancel", job=queued)
    vm.end(queued, "cancelled", "cancelled")
    vm.call("vm.reset")
    vm.end(job, "done", "done")
    vm.client.wait(refused)
    if "v" in vm.devices():
        vm.remove("v")
    vm.until("descriptors stay", lambda: held(vm) <= before)
    vm.clean()


def ended_meanwhile(rig):
    """The job ends while there is no vmd."""
    vm = Vm(rig, "alone")
    vm.add(disk(rig, "a1"))
    vm.mode("s")
    timeout_s = 5  # in which it is seen that both are under way
    adding = vm.add_later(timeout_s=timeout_s)
    leaving = vm.remove_later("a1", timeout_s=timeout_s)
    vm.until("not under way", lambda: vm.devices()["a1"]["state"] == "leaving" and "rng0" in vm.devices())
    rig.kill()
    time.sleep(timeout_s + 1)  # both are over
    rig.start()
    vm.again()
    for job, outcome in ((adding, "timed-out"), (leaving, "timed-out")):
        vm.until("no end", lambda job=job: rig.book.ended[job])
        check(ended(vm, job)["result"]["outcome"] == outcome, f"{ended(vm, job)}")
    vm.mode("n")
    vm.until("not visible", lambda: vm.devices()["a1"]["state"] != "leaving")
    vm.remove("a1")
    vm.clean()


def leaving(rig):
    vm = Vm(rig, "leaving")
    vm.add(disk(rig, "l1"))
    vm.mode("w")
    job = vm.remove_later("l1", timeout_s=600)
    vm.until("it is not leaving", lambda: vm.devices()["l1"]["state"] == "leaving")
    for _ in range(3):
        start_again(rig, vm)
        check(job in rig.book.open and vm.devices()["l1"]["state"] == "leaving", "it goes on")
    force = vm.remove_later("l1", force=True)
    vm.end(force, "done", "surprise-removed")
    vm.end(job, "failed", "surprise-removed")
    vm.mode("n")
    vm.clean()


def releasing(rig):
    """A disk that is taken by force is released in 100 ms or more; there its VM process is stopped, until vmd is another."""
    vm = Vm(rig, "releasing")
    before = held(vm)
    for attempt in range(20):
        device = f"r{attempt}"
        vm.add(disk(rig, device))
        key = vm.call("vm.get")["id"], device
        job = vm.remove_later(device, force=True)
        with rig.book.changed:
            rig.book.changed.wait_for(lambda key=key: rig.book.states.get(key) in ("releasing", "released"),
                                      timeout=rig.seconds(30))
        os.kill(vm.pid(), signal.SIGSTOP)
        # What it had said until then has come.
        vm.client.call("job.get", job=job)
        rig.check_book(none_open=False)
        if rig.book.states[key] == "releasing":
            break
        os.kill(vm.pid(), signal.SIGCONT)
        vm.end(job, "done", "surprise-removed")
    else:
        raise r.Failure("it was never stopped in time")
    pid = vm.pid()
    rig.kill()
    rig.start()
    vm.again()
    check(job in rig.book.open, "the job ended with vmd")
    os.kill(pid, signal.SIGCONT)
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] == "running")
    vm.until("the job does not end", lambda: rig.book.ended[job])
    check(ended(vm, job)["result"]["outcome"] == "surprise-removed", f"{ended(vm, job)}")
    check(device not in vm.devices(), "it is there still")
    vm.add(disk(rig, device))
    vm.remove(device)
    vm.until("descriptors stay", lambda: held(vm) <= before)
    vm.clean()


class LateAnswer(threading.Thread):
    """Stands between vmd and a VM process, at its socket, and keeps what that answers to vmi.device_jobs back until vmd has
    sent it an addition."""

    def __init__(self, path, seconds):
        super().__init__(daemon=True)
        self.path, self.real, self.seconds = path, path + ".real", seconds
        os.rename(path, self.real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.question, self.asked, self.added, self.fault = None, threading.Event(), threading.Event(), None

    def run(self):
        daemon, _ = self.listener.accept()
        process = socket.socket(socket.AF_UNIX)
        process.connect(self.real)
        requests = threading.Thread(target=self.forward, args=(daemon, process, self.look_at_request), daemon=True)
        requests.start()
        self.forward(process, daemon, self.look_at_answer)
        requests.join()
        self.listener.close()
        os.rename(self.real, self.path)

    def forward(self, source, target, look):
        try:
            with source.makefile("rb") as lines:
                for line in lines:
                    look(json.loads(line), lambda line=line: target.sendall(line))
        except OSError:
            pass  # the other end is gone
        for end in source, target:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def look_at_request(self, message, send):
        if message.get("method") == "vmi.device_jobs":
            self.question = message["id"]
        send()
        if message.get("method") == "vmi.device_add":
            self.added.set()

    def look_at_answer(self, message, send):
        if self.question is not None and message.get("id") == self.question:
            self.asked.set()
            if not self.added.wait(self.seconds):
                self.fault = "no addition came"
        send()


def begun_while_asked(rig):
    """What a new vmd begins before the VM process has said which jobs it knows is not taken for lost."""
    vm = Vm(rig, "asked")
    vm.mode("s")
    waiting = vm.add_later({"kind": "rng", "id": "first"}, timeout_s=600)
    vm.until("it is not visible", lambda: vm.devices().get("first", {}).get("state") == "visible")
    path, = rig.tmp.rglob(f"vms/{vm.call('vm.get')['id']}/control.sock")
    rig.kill()
    between = LateAnswer(str(path), rig.seconds(60))
    between.start()
    rig.start()
    vm.again()
    check(between.asked.wait(rig.seconds(60)), "the VM process was not asked for its jobs")
    job = vm.add_later({"kind": "rng", "id": "second"}, timeout_s=600)
    vm.until("the other is not visible", lambda: vm.devices().get("second", {}).get("state") == "visible")
    rig.check_book(none_open=False)
    check(not between.fault and {waiting, job} <= set(rig.book.open), f"{between.fault}, under way are {rig.book.open}")
    vm.mode("n")
    vm.call("vm.reset")
    for number, device in (waiting, "first"), (job, "second"):
        vm.end(number, "done", "done")
        vm.remove(device)
    rig.kill()  # the next finds the VM process without anybody between
    between.join(rig.seconds(30))
    rig.start()
    vm.again()
    vm.until("it is not found again", lambda: vm.call("vm.get")["state"] == "running")
    vm.clean()


def dies_with_it(rig):
    """vmd and the VM process are killed at once, and a job of a VM that is deleted."""
    vm = Vm(rig, "both")
    vm.mode("s")
    job = vm.add_later(disk(rig, "x1"))
    pid = vm.pid()
    rig.kill()
    os.kill(pid, 9)
    rig.start()
    vm.again()
    vm.until("no end", lambda: rig.book.ended[job])
    check(ended(vm, job)["state"] == "failed", f"{ended(vm, job)}")
    vm.start()
    vm.clean()


CASES = [addition_at_any_time, removal_at_any_time, visible, ended_meanwhile, leaving, releasing, begun_while_asked, dies_with_it]


if __name__ == "__main__":
    options = r.arguments(__doc__)
    with r.Rig(options) as the_rig:
        r.run_cases(the_rig, CASES, options.only)
