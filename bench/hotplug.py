#!/usr/bin/env python3
"""How fast devices come to a running guest and leave it, beside QEMU 10.

  hotplug.py --q10 TREE [-a ARCH] [-k KINDS] [-n REPS] [--build FOLDER] [-o FILE]
  hotplug.py -r FILE...

Boots Debian's kernel with one ramdisk under each machine, once, and lets them take turns: a device comes, then
it leaves. In the guest bench/src/bound.c prints a line when a driver has taken a device; the time from
the request to that line is "bound", on all machines alike. "done" is the time from the request to the
manager's own word: the end of vmd's job, QEMU's DEVICE_DELETED (its device_add has no such word).
vmd-agent is a second guest of vmd, with the agent in it. TREE is what peers.sh makes; no root is needed.

KINDS: disk, rng, nic (PCI Express slots), scsi (a unit of a virtio-scsi adapter), with commas. A round before
those that count warms all machines up. FILE gets a line of JSON a result; -r makes the table of such files.
Percentiles are of the nearest rank. Needs what `tools/setup test` installs.
"""
import argparse
import contextlib
import json
import math
import os
import pathlib
import select
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent
PORTS = 4
LIMIT_S = 40
MODULES = "virtio_pci virtio_blk virtio_net virtio_scsi sd_mod virtio_rng virtio_console".split()
ARCHES = {
    "aarch64": dict(debian="arm64", gcc="aarch64-linux-gnu-gcc", kinds="disk,rng,nic,scsi",
                    qemu="-M virt,gic-version=3,its=on -cpu max,pauth=off,sve=off,sme=off"),
    "riscv64": dict(debian="riscv64", gcc="riscv64-linux-gnu-gcc", kinds="scsi", qemu="-M virt"),
}
SCRIPT = """
grep -q agent=yes /proc/cmdline && /sbin/vmd-agent &
exec /sbin/bound
"""


class Lines:
    """Lines from a descriptor, each with the moment at which it came. BESIDE is read in the same waits."""

    def __init__(self, fd, beside=None):
        self.fd, self.rest, self.lines, self.beside = fd, b"", [], beside
        if beside:
            beside.beside = self

    def read(self):
        data = os.read(self.fd, 65536)
        now = time.monotonic()
        if not data:
            raise SystemExit(f"hotplug.py: a machine ended; its last: {self.rest}")
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.lines += [(now, line.decode(errors="replace").strip()) for line in lines]

    def wait(self, wanted):
        """The moment and what WANTED made of the first line of which it made something; those before it go."""
        end, last = time.monotonic() + LIMIT_S, ""
        while True:
            while self.lines:
                moment, line = self.lines.pop(0)
                last = line or last
                if found := wanted(line):
                    return moment, found
            both = {lines.fd: lines for lines in (self, self.beside) if lines}
            ready = select.select(list(both), [], [], max(end - time.monotonic(), 0))[0]
            if not ready:
                raise SystemExit(f"hotplug.py: a machine says nothing more; its last: {last}")
            for fd in ready:
                both[fd].read()


class Machine:
    """A guest, whose console is the standard output of a process, and its manager's socket."""

    def __init__(self, name, command):
        self.name = name
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.console = Lines(self.process.stdout.fileno())

    def connect(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + LIMIT_S
        while self.socket.connect_ex(str(path)):
            if time.monotonic() > end:
                raise SystemExit(f"hotplug.py: {path} does not answer")
            time.sleep(0.05)
        self.control = Lines(self.socket.fileno(), self.console)

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def end(self):
        self.process.kill()
        self.process.wait()

    def guest(self, word, kind):
        """When the guest said WORD of a device of KIND."""
        line = f"{word} {'scsi' if kind == 'scsi' else 'virtio'}"
        return self.console.wait(lambda said: said == line)[0]


class Vmd(Machine):
    """vmd, asked over its socket; the daemon is its own."""

    def __init__(self, name, arch, build, run, folder, extra):
        self.vm = name
        super().__init__(name, [build / "vmctl/vmctl", "run", "--name", name, "--arch", arch,
                                "--accel", "xlate", "--memory", "512M", "--net", "user", "--console",
                                "--ephemeral", "--hotplug-ports", str(PORTS), "--kernel", run["kernel"], "--initrd",
                                run["initrd"], "--append", f"{run['append']} {extra}"])
        self.folder, self.requests = folder, 0
        self.connect(folder / "run/vmd.sock")
        self.call("event.subscribe", {"types": ["job.ended"]})

    def end(self):
        with contextlib.suppress(OSError, SystemExit):
            self.call("vm.kill", {"vm": self.vm})
        super().end()

    def call(self, method, params):
        self.requests += 1
        self.send({"jsonrpc": "2.0", "id": self.requests, "method": method, "params": params})

        def answer(line):
            message = json.loads(line)
            return message if message.get("id") == self.requests else None
        message = self.control.wait(answer)[1]
        if "error" in message:
            raise SystemExit(f"hotplug.py: {method}: {message['error']}")
        return message["result"]

    def job(self, method, params):
        """Begins a job; when it ended."""
        number = self.call(method, {"vm": self.vm, **params})["job"]

        def ended(line):
            event = json.loads(line).get("params", {}).get("event", {})
            job = event.get("data", {}).get("job", {})
            return job if job.get("id") == number else None
        moment, job = self.control.wait(ended)
        if job["result"]["outcome"] != "done":
            raise SystemExit(f"hotplug.py: {self.name}: {method}: {job}")
        return moment

    def add(self, kind):
        device = {"kind": "disk" if kind == "scsi" else kind, "id": "d",
                  "road": "scsi" if kind == "scsi" else "pcie"}
        if device["kind"] == "disk":
            device["disk"] = {"path": str(self.folder / f"{self.name}.img"), "format": "raw"}
        if kind == "nic":
            device["nic"] = {"kind": "user"}
        begun = time.monotonic()
        done = self.job("device.add", {"device": device})
        return self.guest("bound", kind) - begun, done - begun

    def remove(self, kind):
        begun = time.monotonic()
        done = self.job("device.remove", {"device": "d"})
        return self.guest("gone", kind) - begun, done - begun


class Qemu(Machine):
    """QEMU of a Debian tree, run by that tree's loader."""

    def __init__(self, arch, tree, run, folder):
        self.folder, self.adds = folder, 0
        command = [tree / "usr/lib64/ld-linux-x86-64.so.2", "--library-path",
                   tree / "usr/lib/x86_64-linux-gnu", tree / f"usr/bin/qemu-system-{arch}",
                   "-L", tree / "usr/share/qemu", *ARCHES[arch]["qemu"].split(),
                   "-accel", "tcg,thread=multi", "-m", "512M", "-nographic", "-nodefaults",
                   "-serial", "stdio", "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
                   "-kernel", run["kernel"], "-initrd", run["initrd"], "-append", run["append"],
                   "-device", "virtio-scsi-pci,id=scsi"]
        for port in range(PORTS):
            command += ["-device", f"pcie-root-port,id=port{port},chassis={port + 1},slot={port + 1}"]
        super().__init__("qemu", command)
        self.connect(folder / "qmp")
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.send({"execute": command, "arguments": arguments})
        answer = self.control.wait(
            lambda line: (m := json.loads(line)) and ("return" in m or "error" in m) and m)[1]
        if "error" in answer:
            raise SystemExit(f"hotplug.py: {command}: {answer['error']}")

    def add(self, kind):
        port, begun = f"port{self.adds % PORTS}", time.monotonic()
        if kind in ("disk", "scsi"):
            self.call("blockdev-add", **{"driver": "raw", "node-name": "back", "file": {
                "driver": "file", "filename": str(self.folder / "qemu.img")}})
        if kind == "nic":
            self.call("netdev_add", type="user", id="back")
        if kind == "scsi":
            self.call("device_add", driver="scsi-hd", bus="scsi.0", drive="back", id="d")
        else:
            self.adds += 1
            more = {"disk": {"driver": "virtio-blk-pci", "drive": "back"},
                    "nic": {"driver": "virtio-net-pci", "netdev": "back", "romfile": ""},
                    "rng": {"driver": "virtio-rng-pci"}}[kind]
            self.call("device_add", bus=port, id="d", **more)
        return self.guest("bound", kind) - begun, None

    def remove(self, kind):
        begun = time.monotonic()
        self.call("device_del", id="d")

        def deleted(line):
            message = json.loads(line)
            return message.get("event") == "DEVICE_DELETED" and message["data"].get("device") == "d"
        done = self.control.wait(deleted)[0] - begun
        gone = self.guest("gone", kind) - begun
        if kind in ("disk", "scsi"):
            self.call("blockdev-del", **{"node-name": "back"})
        if kind == "nic":
            self.call("netdev_del", id="back")
        return gone, done


def prepare(args, folder):
    """What every machine boots."""
    arch = ARCHES[args.arch]
    subprocess.run([arch["gcc"], "-O2", "-static", "-o", folder / "bound", HERE / "src/bound.c"],
                   check=True)
    (folder / "init").write_text(SCRIPT, encoding="utf-8")
    agent = args.build / f"tests/guest/linux/vmd-agent-{args.arch}"
    command = [TOP / "tools/mkinitrd", "--arch", arch["debian"], "-o", folder / "initrd", "--init", folder / "init",
               "--file", f"{folder / 'bound'}:/sbin/bound", "--file", f"{agent}:/sbin/vmd-agent"]
    for name in MODULES:
        command += ["--module", name]
    subprocess.run(command, check=True)
    kernel = subprocess.run([TOP / "tools/fetch", f"linux-{arch['debian']}"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.strip()
    tty = "ttyAMA0" if args.arch == "aarch64" else "ttyS0"
    return {"kernel": kernel, "initrd": folder / "initrd",
            "append": f"console={tty} quiet loglevel=1 panic=-1"}


def measure(args, machines, emit):
    for rep in range(-1, args.reps):
        for kind in args.kinds.split(","):
            for machine in machines:
                if machine.name == "vmd-agent" and kind != "disk":
                    continue
                for what in ("add", "remove"):
                    guest, done = getattr(machine, what)(kind)
                    # The guest's driver of a slot does something more after either.
                    time.sleep(0.2)
                    emit({"machine": machine.name, "kind": kind, "what": what, "rep": rep,
                          "guest": guest, "done": done})


def rank(values, percent):
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def table(results):
    """Percentiles in milliseconds, and QEMU's over vmd's."""
    rows = {}
    for r in results:
        for field in ("guest", "done"):
            if r["rep"] >= 0 and r[field] is not None:
                rows.setdefault((r["kind"], r["what"], field), {}).setdefault(
                    r["machine"], []).append(1000 * r[field])
    print("| device | time to | machine | n | p50, ms | p99, ms | QEMU's p50, p99 over it |")
    print("|---|---|---|---|---|---|---|")
    words = {("add", "guest"): "driver bound", ("add", "done"): "addition done",
             ("remove", "guest"): "gone in the guest", ("remove", "done"): "removal done"}
    for (kind, what, field), by in rows.items():
        for name, values in by.items():
            ratios = "" if name == "qemu" or "qemu" not in by else ", ".join(
                f"{rank(by['qemu'], p) / rank(values, p):.2f}" for p in (50, 99))
            print(f"| {kind} | {words[what, field]} | {name} | {len(values)} | {rank(values, 50):.1f} | "
                  f"{rank(values, 99):.1f} | {ratios} |")


def run(args, folder):
    guest = prepare(args, folder)
    for name in ("qemu", "vmd", "vmd-agent"):
        (folder / f"{name}.img").write_bytes(b"")
        os.truncate(folder / f"{name}.img", 16 << 20)
    os.environ["VMD_SOCKET"] = str(folder / "run/vmd.sock")
    results = []
    with contextlib.ExitStack() as stack, open(args.out, "a", buffering=1, encoding="utf-8") as out:
        def emit(result):
            results.append(result)
            out.write(json.dumps(result) + "\n")
        machines = []
        # pylint: disable-next=consider-using-with
        daemon = subprocess.Popen([args.build / "daemon/vmd", "--user", "--store", folder / "store",
                                   "--runtime", folder / "run"], stderr=open(folder / "log", "wb"))
        stack.callback(daemon.wait)
        stack.callback(daemon.terminate)
        while not (folder / "run/vmd.sock").exists():
            time.sleep(0.05)
        makers = [lambda: Qemu(args.arch, args.q10, guest, folder),
                  lambda: Vmd("vmd", args.arch, args.build, guest, folder, "")]
        if "disk" in args.kinds.split(","):
            makers.append(lambda: Vmd("vmd-agent", args.arch, args.build, guest, folder, "agent=yes"))
        for make in makers:
            machines.append(make())
            stack.callback(machines[-1].end)
            machines[-1].console.wait(lambda line: "watching" in line)
        time.sleep(2)  # the agent comes, and drivers switch their empty slots off
        measure(args, machines, emit)
    table(results)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-r", "--report", nargs="+", metavar="FILE")
    parser.add_argument("--q10", type=pathlib.Path)
    parser.add_argument("-a", "--arch", choices=ARCHES, default="aarch64")
    parser.add_argument("-k", "--kinds")
    parser.add_argument("-n", "--reps", type=int, default=30)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    parser.add_argument("-o", "--out", default=os.devnull)
    args = parser.parse_args(argv)
    if args.report:
        table(json.loads(line) for name in args.report
              for line in pathlib.Path(name).read_text(encoding="utf-8").splitlines())
        return
    if not args.q10:
        parser.error("--q10: a tree with QEMU 10 is needed")
    args.kinds = args.kinds or ARCHES[args.arch]["kinds"]
    args.build, args.q10 = args.build.absolute(), args.q10.absolute()
    with tempfile.TemporaryDirectory(prefix="vmd-hotplug.", ignore_cleanup_errors=True) as folder:
        run(args, pathlib.Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
