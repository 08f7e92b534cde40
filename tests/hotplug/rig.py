"""What the tests of hot-plugging share: a daemon in folders of its own, clients, guests, and a book of all events.

A Rig is a context: whatever it started is gone when it ends. Its book (Book) reads every event from a
subscription of its own, over restarts of the daemon too, and holds the rules that must hold whatever a test does:
numbers without a gap, one end for each job, and states that follow one another.
"""
import argparse
import collections
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))
from scenario import PR_SET_CHILD_SUBREAPER, SKIPPED, children_of

# What may come before a state of a device.
BEFORE = {
    "requested": {None, "released"},
    "visible": {"requested", "acknowledged", "leaving"},
    "acknowledged": {"visible", "leaving"},
    "leaving": {"visible", "acknowledged"},
    "releasing": {"requested", "visible", "acknowledged", "leaving"},
    "released": {"requested", "releasing"},
}


class Failure(Exception):
    """What should hold does not."""


class RpcError(Exception):
    """An error answer; kind is its stable name."""

    def __init__(self, error):
        self.kind = error.get("data", {}).get("kind")
        super().__init__(f"{self.kind}: {error.get('message')}")


def check(condition, text):
    if not condition:
        raise Failure(text)


class Client:
    """A connection, one request at a time."""

    def __init__(self, path, timeout):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")
        self.number = 0

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, method, **params):
        self.number += 1
        request = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the daemon closed the connection")
        return json.loads(line)

    def call(self, method, **params):
        self.send(method, **params)
        while (answer := self.read()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def job(self, method, **params):
        """Begins a job and waits for its end: its info."""
        return self.wait(self.call(method, **params)["job"])

    def wait(self, job):
        return self.call("job.wait", job=job)


class Book(threading.Thread):
    """All events, as they come."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        self.rig, self.last, self.faults = rig, 0, []
        self.open, self.ended = {}, collections.Counter()
        self.states = {}
        self.changed = threading.Condition()
        self.leaving = False

    def run(self):
        while not self.leaving:
            try:
                client = Client(self.rig.socket, None)
                self.client = client
                client.call("event.subscribe", after=self.last)
                while True:
                    message = client.read()
                    if message.get("method") == "event":
                        with self.changed:
                            self.take(message["params"]["event"])
                            self.changed.notify_all()
                    elif message.get("method") == "rpc.closing":
                        self.closing = message
            except (OSError, ValueError):
                time.sleep(0.05)

    def take(self, event):
        data, kind = event["data"], event["type"]
        if event["seq"] != self.last + 1:
            self.faults.append(f"event {event['seq']} follows {self.last}")
        self.last = event["seq"]
        if kind == "job.started":
            job = data["job"]["id"]
            if job in self.open or job in self.ended:
                self.faults.append(f"job {job} began twice")
            self.open[job] = data["job"]
        elif kind == "job.ended":
            job = data["job"]["id"]
            self.ended[job] += 1
            if job not in self.open or self.ended[job] > 1:
                self.faults.append(f"job {job} ended without being under way")
            self.open.pop(job, None)
        elif kind == "device.changed":
            key = event["vm_id"], data["device"]
            before = self.states.get(key)
            # Devices of the configuration are there without a word.
            if before not in BEFORE[data["state"]] and not (
                    before is None and data["state"] in ("acknowledged", "leaving", "releasing")):
                self.faults.append(f"{data['device']} is {data['state']} after {before}")
            self.states[key] = data["state"]
        elif kind == "vm.ended":
            self.states = {k: s for k, s in self.states.items() if k[0] != event["vm_id"]}

    def catch_up(self, seq):
        with self.changed:
            ok = self.changed.wait_for(lambda: self.last >= seq, timeout=self.rig.seconds(30))
        check(ok, f"event {seq} did not come; the last was {self.last}")

    def check(self, seq, none_open=True):
        self.catch_up(seq)
        check(not self.faults, "; ".join(self.faults[:5]))
        check(not none_open or not self.open, f"jobs never ended: {self.open}")


class Rig:
    """A daemon, with WORDS on its command line, and what is around it."""

    def __init__(self, options, *words):
        self.words = words
        self.build = pathlib.Path(options.build).resolve()
        self.road = options.road
        self.guest, self.arch = str(pathlib.Path(options.guest).resolve()), options.arch
        self.slower = options.slower
        self.verbose = options.verbose
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="vmd-hotplug-"))
        for name in "run", "state", "config", "cache":
            (self.tmp / name).mkdir(mode=0o700)
        self.socket = str(self.tmp / "run/vmd/vmd.sock")
        folders = [str(self.build / name) for name in ("vmctl", "daemon", "vm")]
        self.env = {key: value for key, value in os.environ.items()
                    if key in ("HOME", "G_SLICE") or key.endswith("SAN_OPTIONS")}
        self.env.update(PATH=":".join([*folders, os.environ["PATH"]]), LC_ALL="C.UTF-8",
                        XDG_RUNTIME_DIR=str(self.tmp / "run"), XDG_STATE_HOME=str(self.tmp / "state"),
                        XDG_CONFIG_HOME=str(self.tmp / "config"), XDG_CACHE_HOME=str(self.tmp / "cache"),
                        VMD_SOCKET=self.socket)
        self.log = open(self.tmp / "vmd.log", "ab")
        self.daemon = None
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.book = Book(self)

    def __enter__(self):
        self.start()
        self.book.start()
        return self

    def __exit__(self, kind, value, trace):
        self.book.leaving = True
        children = set(children_of(os.getpid()))
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        while children_of(os.getpid()):
            for pid in children_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        self.log.close()
        said = (self.tmp / "vmd.log").read_text(errors="replace")
        for path in (self.tmp / "state").rglob("process.log"):
            said += path.read_text(errors="replace")
        if kind or self.verbose:
            print(said[-8000:])
        shutil.rmtree(self.tmp, ignore_errors=True)
        if not kind:
            check("Sanitizer" not in said, "a sanitizer reported something: " + said[-6000:])

    def seconds(self, n):
        return n * self.slower

    def start(self):
        # pylint: disable=consider-using-with
        self.daemon = subprocess.Popen(["vmd", *self.words], env=self.env, stdout=self.log, stderr=self.log,
                                       stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + self.seconds(20)
        while True:
            try:
                # A process that the last daemon had just forked may hold its socket until it executes its own
                # program: a connection is not yet an answer.
                client = Client(self.socket, 5)
                client.call("system.ping")
                client.close()
                return
            except OSError:
                check(self.daemon.poll() is None, "vmd ended as it started")
                check(time.monotonic() < deadline, "vmd does not answer")
                time.sleep(0.02)

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()

    def client(self):
        return Client(self.socket, self.seconds(120))

    def check_book(self, none_open=True):
        client = self.client()
        self.book.check(client.call("event.list", limit=1)["last"], none_open)
        client.close()

    def file(self, name, size=1 << 20):
        path = self.tmp / name
        with open(path, "wb") as f:
            f.truncate(size)
        return str(path)


def of_arch(rig):
    """What the guests of an instruction set have in their configuration."""
    if rig.arch != "x86_64":
        return {}
    return {"accel": "kvm", "append": "acpi" if rig.road == "acpi" else "pcie"}


class Vm:
    """A VM with tests/hotplug/guest.c, and a client of its own."""

    def __init__(self, rig, name, ports=4, disk=False, **config):
        self.rig, self.name = rig, name
        self.client = rig.client()
        config = {"name": name, "arch": rig.arch, "memory": 32 << 20, "kernel": rig.guest,
                  "hotplug": {"ports": ports, "scsi": False},
                  "devices": {"rng": False, "console": False, "balloon": False},
                  **of_arch(rig), **config}
        if disk:
            config["disks"] = [{"path": rig.file(name + "-root.img"), "format": "raw", "id": "root"}]
        self.heard = 0
        self.client.call("vm.create", config=config)
        self.start()

    def start(self):
        self.client.call("vm.start", vm=self.name)
        self.heard = 0
        self.expect("ready")

    def again(self):
        """A new connection: the daemon is another."""
        self.client = self.rig.client()

    def call(self, method, **params):
        return self.client.call(method, vm=self.name, **params)

    def pid(self):
        return self.call("vm.get")["pid"]

    def expect(self, text):
        """Waits until the guest says TEXT, after what was waited for last."""
        deadline = time.monotonic() + self.rig.seconds(20)
        while True:
            said = self.call("console.log")
            at = said["data"].find(text, self.heard)
            if at >= 0:
                self.heard = at + len(text)
                return said["data"][self.heard:]
            check(time.monotonic() < deadline,
                  f"the guest of {self.name} never said {text!r}: {said['data'][-300:]!r}")
            time.sleep(0.01)

    def mode(self, letter):
        self.call("console.write", data=letter)
        self.expect(f"mode {letter}")

    def until(self, what, test):
        deadline = time.monotonic() + self.rig.seconds(30)
        while not test():
            check(time.monotonic() < deadline, f"{self.name}: {what}")
            time.sleep(0.005)

    def add_later(self, device=None, **params):
        return self.call("device.add", device=device or {"kind": "rng"}, **params)["job"]

    def remove_later(self, device, **params):
        return self.call("device.remove", device=device, **params)["job"]

    def end(self, job, state="done", outcome=None):
        info = self.client.wait(job)
        check(info["state"] == state and (not outcome or info["result"].get("outcome") == outcome),
              f"job {job}: {info}, not {state} {outcome or ''}")
        return info

    def add(self, device=None, **params):
        """Adds a device, and returns its id."""
        return self.end(self.add_later(device, **params), "done", "done")["result"]["device"]

    def remove(self, device, **params):
        return self.end(self.remove_later(device, **params), "done")

    def devices(self):
        return {row["id"]: row for row in self.call("device.list")["devices"]}

    def used_slots(self):
        return [row["device"] for row in self.call("slot.list")["slots"] if "device" in row]

    def clean(self):
        """No device is there but the cold ones, no slot is taken, and the next one works."""
        cold = {"root"} & set(self.devices())
        check(set(self.devices()) == cold, f"left in {self.name}: {self.devices()}")
        check(not self.used_slots(), f"slots taken: {self.used_slots()}")
        self.remove(self.add())


def arguments(description, **more):
    """The options that all tests have, and MORE numbers with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", default="build")
    parser.add_argument("--guest", help="the kernel", default="")
    parser.add_argument("--arch", default="riscv64", help="of the guest")
    parser.add_argument("--road", default="pcie", help="by which cards come: pcie, or acpi for x86_64")
    parser.add_argument("--slower", type=float, default=1)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    for name, default in more.items():
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    if options.arch == "x86_64" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("skipped: needs /dev/kvm: no guest of x86_64 ran here")
        sys.exit(SKIPPED)
    return options


def run_cases(rig, cases, only):
    """Calls each of CASES, and checks the book after each."""
    failed = 0
    for case in cases:
        if only not in case.__name__:
            continue
        began = time.monotonic()
        try:
            case(rig)
            rig.check_book()
            said = "ok"
        except (Failure, RpcError, OSError) as error:
            failed += 1
            said = f"FAILED: {type(error).__name__}: {error}"
            rig.book.faults.clear()
        print(f"{case.__name__}: {said} ({time.monotonic() - began:.1f} s)", flush=True)
    if failed:
        sys.exit(f"{failed} failed")
