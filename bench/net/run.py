#!/usr/bin/env python3
"""How fast user networking is: one TCP connection between a guest and this machine's loopback.

    bench/net/run.py [--build FOLDER] [--cpus N] [--rounds N] [--megabytes N]

Boots a guest of Debian's kernel and a small ramdisk, and lets it send and receive in turn. Prints
the rates of every round and their medians, and the processor time of the VM process for each
gigabyte. Needs a build of vmd (build-release by default) and what `tools/setup test` installs. A
rate means something on a quiet machine only.
"""
import argparse
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
MODULES = ("virtio_pci", "virtio_net", "af_packet")

SCRIPT = """
set $(sed 's/.*rate=\\([0-9,]*\\).*/\\1/; s/,/ /g' /proc/cmdline)
ip link set lo up
[ $4 = 0 ] || ip link set eth0 mtu $4
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
for round in $(seq $2); do
    /rate send 10.0.2.2 $1 $3 && /rate receive 10.0.2.2 $1 $3 || exit
done
"""


def make_initrd(folder):
    """The ramdisk of the measured guest."""
    subprocess.run(["riscv64-linux-gnu-gcc", "-O2", "-static", "-o", folder / "rate",
                    HERE / "rate.c"], check=True)
    (folder / "init").write_text(SCRIPT, encoding="utf-8")
    command = [TOP / "tools/mkinitrd", "-o", folder / "rate.cpio", "--init", folder / "init",
               "--file", f"{folder / 'rate'}:/rate"]
    for name in MODULES:
        command += ["--module", name]
    subprocess.run(command, check=True)
    return folder / "rate.cpio"


def measure(peer, size, buffer):
    """Serves one connection of the guest: its direction and the seconds it took."""
    sending = peer.recv(1) == b"s"
    began, left = time.monotonic(), size
    if sending:
        while left:
            got = peer.recv_into(buffer)
            if not got:
                raise SystemExit("the guest gave up")
            left -= got
        took = time.monotonic() - began
        peer.sendall(b".")
    else:
        while left:
            left -= peer.send(memoryview(buffer)[:left])
        if not peer.recv(1):
            raise SystemExit("the guest gave up")
        took = time.monotonic() - began
    return "guest to host" if sending else "host to guest", took


def vm_seconds():
    """The processor time so far of the VM processes under the daemon that run() started."""
    total = 0.0
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text() == "vmd-vm\n" and (entry / "environ").read_bytes().find(
                    os.fsencode(os.environ["XDG_RUNTIME_DIR"])) >= 0:
                # The name in parentheses may hold anything; user and system time are 14 and 15.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue  # it ended
    return total


def run(args, folder):
    vmctl = args.build.absolute() / "vmctl/vmctl"
    size, server = args.megabytes << 20, socket.create_server(("127.0.0.1", 0))
    for name in ("RUNTIME_DIR", "STATE_HOME", "CONFIG_HOME", "CACHE_HOME"):
        (folder / name).mkdir(mode=0o700)
        os.environ[f"XDG_{name}"] = str(folder / name)
    os.environ.pop("VMD_SOCKET", None)
    kernel = subprocess.run([TOP / "tools/fetch", "linux-riscv64"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.strip()
    parameters = f"quiet rate={server.getsockname()[1]},{args.rounds},{size},{args.mtu}"
    guest = subprocess.Popen([vmctl, "run", "--console", "--ephemeral", "--arch", "riscv64",
                              "--memory", "512M", "--cpus", str(args.cpus), "--net", "user",
                              "--kernel", kernel, "--initrd", make_initrd(folder),
                              "--append", parameters], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    rates, buffer = {}, bytearray(1 << 20)
    try:
        for _ in range(2 * args.rounds):
            peer = server.accept()[0]
            before = vm_seconds()
            direction, took = measure(peer, size, buffer)
            spent = (vm_seconds() - before) / (size / 1e9)
            peer.close()
            rate = size * 8 / took / 1e9
            rates.setdefault(direction, []).append(rate)
            print(f"{direction}: {rate:.2f} Gbit/s, {spent:.2f} s of processor time a GB", flush=True)
        guest.communicate()
    finally:
        guest.kill()
        subprocess.run([vmctl, "rpc", "system.shutdown"], capture_output=True, check=False)
    for direction, all_rates in rates.items():
        print(f"median {direction}: {statistics.median(all_rates):.2f} Gbit/s")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build-release")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--mtu", type=int, default=0, help="of the guest; 0 takes the network's")
    args = parser.parse_args(argv)
    # A unix socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="vmd-rate-") as folder:
        run(args, pathlib.Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
