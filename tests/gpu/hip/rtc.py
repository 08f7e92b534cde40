#!/usr/bin/env python3
"""hiprtc for guests: a program's sources are compiled by processes of the worker's, with a stand-in for ROCm's library.

It looks at every byte that it is given, and does what a compiler may not, does not come back, or dies. The workers' own
lines are looked at, too, and what they leave in the folder for temporary files.
"""
import argparse
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from hip import PATIENCE, Failed, Rig, expect, says


class Compilers(Rig):
    """Workers with a compiler, which have a folder for temporary files of their own."""

    def compiler(self, **more):
        return self.driver(**{"VMD_HIPRTC": self.args.rtc, "TMPDIR": self.temporary(), **more})

    def temporary(self):
        path = os.path.join(self.folder, "tmp")
        os.makedirs(path, exist_ok=True)
        return path

    def begin_program(self, name, *words):
        """A program that says a word."""
        process = subprocess.Popen([self.args.program, *words], env=self.environment(VMD_GPU_SOCKET=self.socket(name)),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.programs.append(process)
        return process

    def end_of(self, name):
        """Ends the worker NAME: what it said. Nothing that it had made is left, and no process that it had started: they have
        its output."""
        process = self.workers.pop(name)
        process.terminate()
        said = process.communicate(timeout=PATIENCE)[0]
        os.unlink(self.socket(name))
        until = time.monotonic() + PATIENCE
        while os.listdir(self.temporary()):
            if time.monotonic() > until:
                raise Failed(f"worker {name} left {os.listdir(self.temporary())}")
            time.sleep(0.01)
        return said

    def ends_silently(self, name):
        said = self.end_of(name)
        if said:
            raise Failed(f"worker {name} says: {said}")


def check_cases(rig):
    """By rings and by a stream, again in a worker that compiled before."""
    rig.start("cases", "64M", "hip", "0", **rig.compiler())
    for stream in (False, True):
        expect(rig.run(rig.args.program, "cases", stream=stream), "cases, all well")
    expect(rig.run(rig.args.program, "cases", "loaded"), "loaded: well")
    rig.ends_silently("cases")


def check_crash(rig):
    rig.start("crash", "64M", "hip", "0", **rig.compiler())
    for _ in range(2):
        expect(rig.run(rig.args.program, "crash", "crash"), "crash: well")
    expect(rig.end_of("crash"), "a guest's source for gfx90a:sramecc+:xnack-: its compiler died of signal 6: "
                                "stand-in: out of its mind?[1m\n")


def check_files(rig):
    rig.start("files", "64M", "hip", "0", **rig.compiler())
    expect(rig.run(rig.args.program, "files", "files"), "files: well")
    said = rig.end_of("files")
    if said.count("its compiler made too many files, or too large ones, and was ended\n") != 3:
        raise Failed(f"the worker says: {said}")
    expect(said, "its compiler made too many threads and was ended\n")


def check_late(rig):
    rig.start("late", "64M", "hip", "0", **rig.compiler(VMD_HIPRTC_SECONDS="1"))
    expect(rig.run(rig.args.program, "late", "late"), "late: well")
    expect(rig.end_of("late"), "its compiler took more than 1 s and was ended\n")


def check_none(rig):
    for library, line in (("/nowhere/libhiprtc.so.6", "there is no hiprtc: "), ("libm.so.6", "hiprtc has no hiprtcCreateProgram")):
        rig.start("none", "64M", "hip", "0", **rig.compiler(VMD_HIPRTC=library))
        text = "the host has no hiprtc" if line.startswith("there") else "the host's hiprtc is not one that is known"
        expect(rig.run(rig.args.program, "none", "none", text), "none: well")
        said = rig.end_of("none")
        expect(said, "sources of guests cannot be compiled: " + line)
        if said.count("\n") != 1:
            raise Failed(f"that is said more than once: {said}")


def children_of(parent):
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def wait_until(what, true):
    until = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > until:
            raise Failed(f"it never comes that {what}")
        time.sleep(0.01)


def first_to_go(pid):
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
        return file.read() == "1000\n"


def check_leave(rig):
    """Programs that are gone have nothing compiled any more, and the worker's end is that of all."""
    rig.start("leave", "64M", "hip", "0", **rig.compiler())
    server = children_of(rig.workers["leave"].pid)[0]
    programs = []
    for _ in range(6):  # more than there are compilers at once
        programs.append(rig.begin_program("leave", "leave"))
        says(programs[-1], "compiling")
    wait_until("sources are compiled", lambda: len(children_of(server)) == 4)
    wait_until("they are the first to go", lambda: all(first_to_go(child) for child in children_of(server)))
    os.kill(server, signal.SIGTERM)  # which is for the worker
    for program in programs:
        program.kill()
        program.communicate(timeout=PATIENCE)
    wait_until("none are", lambda: not children_of(server))
    expect(rig.run(rig.args.program, "leave", "loaded"), "loaded: well")
    says(rig.begin_program("leave", "leave"), "compiling")
    wait_until("a source is compiled", lambda: len(children_of(server)) == 1)
    rig.ends_silently("leave")


def check_include(rig):
    """What a source may read of the host: what belongs to systems, and nothing else."""
    secret = rig.socket("secret.h")
    beside = os.path.join(rig.temporary(), "secret.h")
    for path in (secret, beside):
        with open(path, "w", encoding="utf-8") as file:
            file.write("#define SECRET 1\n")
    allowed = "/usr/include/stdio.h"
    rig.start("include", "64M", "hip", "0", **rig.compiler())
    refused = ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/self/maps", "/dev/kfd", "/root/.profile", "/var/log/lastlog",
               secret, beside]
    refused = [path for path in refused if os.path.exists(path)]
    if rig.args.sanitized == "yes":  # whose reports read /proc
        refused = [path for path in refused if not path.startswith("/proc")]
    said = rig.run(rig.args.program, "include", "include", allowed, *refused)
    expect(said, f"{allowed}: read\n")
    for path in refused:
        expect(said, f"{path}: Permission denied\n")
    os.unlink(beside)
    rig.ends_silently("include")


class Server:
    """A process that starts compilers, with this one in the place of its worker."""

    MAGIC, BEGIN, END, ALL = 0x43725447, 1, 2, 64

    def __init__(self, rig):
        self.temporary = rig.temporary()
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = rig.environment(VMD_HIPRTC=rig.args.rtc, TMPDIR=self.temporary)
        self.process = subprocess.Popen([rig.args.worker, "--compile", str(other.fileno())], pass_fds=[other.fileno()], env=env,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        other.close()
        rig.programs.append(self.process)
        self.source = os.memfd_create("source")
        os.write(self.source, struct.pack("<4I", 0x43525347, 0, 0, 0) + b"endless.hip\0text\0")

    def order(self, order, number, target=b"gfx90a"):
        record = struct.pack("<IIQ64s", self.MAGIC, order, number, target)
        socket.send_fds(self.socket, [record], [self.source] if order == self.BEGIN else [])

    def report(self):
        """The number and the text of the next one."""
        record, files, _, _ = socket.recv_fds(self.socket, 1024, 4)
        for file in files:
            os.close(file)
        _, _, number, text = struct.unpack("<IIQ400s", record)
        return number, text.split(b"\0")[0].decode()

    def end(self):
        """What it said. Its folder is gone with it."""
        said = self.process.communicate(timeout=PATIENCE)[0]
        os.close(self.source)
        self.socket.close()
        if self.process.returncode or os.listdir(self.temporary):
            raise Failed(f"it ends with {self.process.returncode}, and leaves {os.listdir(self.temporary)}: {said}")
        return said


def check_orders(rig):
    """A worker that was taken over, and asks for what none does."""
    for target in (b"", b"gfx90a\nthe log", b"gfx90a%s", b"gfx\xff"):
        server = Server(rig)
        server.order(server.BEGIN, 1, target)
        server.end()
    server = Server(rig)
    for number in range(server.ALL + 3):
        server.order(server.BEGIN, number)
    for number in range(server.ALL, server.ALL + 3):
        got = server.report()
        if got != (number, "the compiler on the host has too many sources already\n"):
            raise Failed(f"of {number}: {got}")
    server.process.terminate()
    for number in range(server.ALL):
        server.order(server.END, number)
    ended = sorted(server.report() for _ in range(server.ALL))
    if ended != [(number, "it was ended\n") for number in range(server.ALL)]:
        raise Failed(f"those that were ended: {ended}")
    server.socket.shutdown(socket.SHUT_RDWR)
    if server.end().count("has too many sources already") != 3:
        raise Failed("that is not said")


def check_deaf(rig):
    """A worker that reads no report is no worker."""
    server = Server(rig)
    try:
        for number in range(100000):
            server.order(server.BEGIN, number)
    except (BrokenPipeError, ConnectionResetError):
        pass
    server.end()


def check(rig):
    check_cases(rig)
    check_orders(rig)
    check_deaf(rig)
    check_crash(rig)
    check_files(rig)
    check_late(rig)
    check_none(rig)
    check_leave(rig)
    check_include(rig)
    # A worker without such a device compiles nothing, and says so.
    rig.start("soft", "64M")
    expect(rig.run(rig.args.program, "soft", "no-device"), "no-device: well")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "program", "driver", "rtc", "code", "sanitized"):
        parser.add_argument("--" + name, required=True)
    with tempfile.TemporaryDirectory(prefix="gpu-rtc-") as folder:
        rig = Compilers(parser.parse_args(), folder)
        failed = None
        try:
            check(rig)
        except (Failed, subprocess.TimeoutExpired) as why:
            failed = str(why)
        finally:
            said = rig.end()
    if failed or said:
        sys.exit(f"failed: {failed}\nworkers said:\n{said}")
    print("gpu-hip-rtc: all well")


if __name__ == "__main__":
    main()
