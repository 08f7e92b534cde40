#!/usr/bin/env python3
"""Functions of a host that guests have whole, with no hardware: a host inside QEMU, whose IOMMU and devices QEMU
plays, runs vmd, whose guests get the devices. host.sh is what that host does, guest.sh and edu.c what guests do.

Whatever was started is gone when this ends."""
import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
QEMU = "qemu-system-x86_64"
HOST_MODULES = "vfio-pci vfio_iommu_type1 e1000e nvme".split()
GUEST_MODULES = "nvme e1000e ahci sd_mod".split()
# In the host: where each program of the build goes.
PROGRAMS = {"daemon/vmd": "/usr/bin/vmd", "vmctl/vmctl": "/usr/bin/vmctl", "vm/vmd-vm": "/usr/bin/vmd-vm",
            "vm/helper/vmd-helper": "/usr/bin/vmd-helper"}
CASES = {"edu": ["no-helper", "no-reset", "no-function", "edu"],
         "stock": ["nvme", "busy", "e1000e-msix", "unplug", "e1000e-intx", "asked-back", "ahci-msi", "restored"]}
TRANSFERS = ["msix", "intx"]
CHUNK = 64 << 10
DISK = 16 << 20


class Failure(Exception):
    """What should hold does not."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def output_of(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def libraries_of(program):
    """What the loader gives PROGRAM, and the loader, by their paths."""
    return set(re.findall(r"(/\S+) \(0x", output_of("ldd", program)))


def make_initrd(arch, to, script, modules, files):
    command = [TOP / "tools/mkinitrd", "--arch", arch, "-o", to, "--init", script]
    for name in modules:
        command += ["--module", name]
    for source, target in files.items():
        command += ["--file", f"{source}:{target}"]
    subprocess.run(command, check=True)


def make_host(options, tmp):
    """Kernel and ramdisk of the host, with vmd and its guests in it."""
    files = {}
    for name, target in PROGRAMS.items():
        program = options.build / name
        small = tmp / pathlib.PurePath(target).name
        subprocess.run(["strip", "-o", small, program], check=True)
        files[small] = target
        files.update({path: path for path in libraries_of(program)})
    files[options.edu] = "/guest/edu"
    if options.part == "stock":
        make_initrd("arm64", tmp / "guest.gz", HERE / "guest.sh", GUEST_MODULES, {})
        files[tmp / "guest.gz"] = "/guest/initrd"
        files[output_of(TOP / "tools/fetch", "linux-arm64").strip()] = "/guest/linux"
    make_initrd("amd64", tmp / "host", HERE / "host.sh", HOST_MODULES, files)
    return output_of(TOP / "tools/fetch", "linux-amd64").strip(), tmp / "host"


def make_disk(path):
    """The NVMe disk: its first half is to be read, the second to be written."""
    data = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(8 * CHUNK // 32))
    path.write_bytes(data)
    os.truncate(path, DISK)
    return hashlib.sha256(data).hexdigest()


def command_of(part, kernel, initrd, tmp):
    port = lambda n: ["-device", f"pcie-root-port,id=port{n},chassis={n},slot={n}"]
    return [QEMU, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults",
            "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append",
            f"console=ttyS0 intel_iommu=on quiet loglevel=3 panic=-1 mitigations=off no_timer_check vfio={part}",
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-device", "edu,addr=0x10,dma_mask=0xffffffffffffffff",
            *port(1), "-device", "edu,bus=port1,dma_mask=0xffffffffffffffff",
            *port(2), "-device", "e1000e,bus=port2,netdev=net", "-netdev",
            f"user,id=net,restrict=on,tftp={tmp / 'tftp'},guestfwd=tcp:10.0.2.100:7-chardev:sent",
            "-chardev", f"file,id=sent,path={tmp / 'sent'}",
            *port(3), "-device", "nvme,bus=port3,serial=vfio,drive=disk", "-drive",
            f"file={tmp / 'disk'},if=none,id=disk,format=raw,cache=writeback",
            *port(4), "-device", "ich9-ahci,bus=port4,id=sata", "-drive",
            f"file={tmp / 'sata'},if=none,id=second,format=raw", "-device", "ide-hd,bus=sata.0,drive=second"]


def run_host(command, seconds):
    """What the host says until it ends."""
    lines = []
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as qemu:
        late = threading.Timer(seconds, qemu.kill)
        late.start()
        try:
            for raw in qemu.stdout:
                line = raw.decode(errors="replace").rstrip()
                lines.append(line)
                print(line, flush=True)
        finally:
            late.cancel()
            qemu.kill()
    return lines


def value_of(lines, name):
    found = [re.search(rf"guest: {name} (\S+)", line) for line in lines]
    found = [match[1] for match in found if match]
    check(found, f"the guest did not say '{name}'")
    return found[0]


def judge_cases(part, lines):
    done = [match[1] for match in (re.match(r"vfio: ok ([\w-]+)", line) for line in lines) if match]
    check(done == CASES[part], f"cases that held: {' '.join(done) or 'none'}; they are {' '.join(CASES[part])}")


def judge_bytes(lines, tmp, read, data):
    check(value_of(lines, "read") == read, "NVMe: the guest read other bytes than the disk has")
    check(value_of(lines, "sata") == read, "SATA: the guest read other bytes than the disk has")
    with (tmp / "disk").open("rb") as disk:
        disk.seek(8 * CHUNK)
        written = hashlib.sha256(disk.read(8 * CHUNK)).hexdigest()
    check(value_of(lines, "wrote") == written, "NVMe: the disk has other bytes than the guest wrote")
    for kind in TRANSFERS:
        check(value_of(lines, f"fetched {kind}") == hashlib.sha256(data).hexdigest(),
              f"e1000e, {kind}: other bytes came than were sent")
    sent = (tmp / "sent").read_bytes()
    check(sent == data * len(TRANSFERS), f"e1000e: of {len(TRANSFERS) * len(data)} bytes that the guest sent {len(sent)} came, or others")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--part", choices=CASES, required=True)
    parser.add_argument("--edu", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=3000, help="after which the host is ended")
    return parser.parse_args()


def main():
    options = parse()
    if not shutil.which(QEMU):
        print(f"{QEMU} is not there: tools/setup test")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="vmd-vfio-") as folder:
        tmp = pathlib.Path(folder)
        kernel, initrd = make_host(options, tmp)
        read, data = make_disk(tmp / "disk"), os.urandom(16 << 10)
        make_disk(tmp / "sata")
        (tmp / "tftp").mkdir()
        (tmp / "tftp/data").write_bytes(data)
        lines = run_host(command_of(options.part, kernel, initrd, tmp), options.seconds)
        try:
            judge_cases(options.part, lines)
            if options.part == "stock":
                judge_bytes(lines, tmp, read, data)
        except Failure as failure:
            print(f"FAILED: {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
