#!/usr/bin/env python3
"""The HIP backend of vmd-gpu and libamdhip64.so.6 for guests, with a stand-in for ROCm's library.

A program of HIP talks to a worker whose backend is "hip"; the library that this one loads looks at every byte of what
kernels are given, and does in C what they do. So all of the way runs on a machine without an AMD GPU: what is not seen
here is ROCm.
"""
import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time

PATIENCE = 120


class Failed(Exception):
    pass


class Rig:
    """Workers, in a folder of their own."""

    def __init__(self, args, folder):
        self.args, self.folder, self.workers, self.programs = args, folder, {}, []

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("VMD_")}
        env.update(more)
        return env

    def socket(self, name):
        return os.path.join(self.folder, name)

    def driver(self, **more):
        return {"VMD_HIP_DRIVER": self.args.driver,
                "VMD_HIP_TABLE": os.path.join(self.args.code, "kernels.gfx90a.v5.table"), **more}

    def start(self, name, *words, **env):
        """A worker that listens at socket NAME; waits until it does."""
        process = subprocess.Popen([self.args.worker, "--listen", self.socket(name), *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=self.environment(**env))
        self.workers[name] = process
        first = process.stdout.readline()
        if first != "ready\n":
            raise Failed(f"worker {name} says: {first}{process.stdout.read()}")

    def refused(self, *words, **env):
        """What a worker says that does not begin."""
        done = subprocess.run([self.args.worker, "--listen", self.socket("none"), "64M", "hip", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                              env=self.environment(**env), check=False)
        if os.path.exists(self.socket("none")):
            os.unlink(self.socket("none"))
        if done.returncode != 1:
            raise Failed(f"a worker with {words} {env} ends with {done.returncode}: {done.stdout}")
        return done.stdout

    def run(self, program, name, *words, stream=False, ends=0):
        env = self.environment(VMD_GPU_SOCKET=self.socket(name), **({"VMD_GPU_STREAM": "1"} if stream else {}))
        done = subprocess.run([program, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=PATIENCE, check=False)
        if done.returncode != ends:
            raise Failed(f"the program {words} ends with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def begin(self, name, *words, **env):
        """A program that says a word and waits for a line."""
        process = subprocess.Popen(["timeout", str(PATIENCE), self.args.program, self.args.code, *words],
                                   env=self.environment(VMD_GPU_SOCKET=self.socket(name), **env), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.programs.append(process)
        return process

    def stop(self, name):
        """Ends the worker NAME, whose socket another may have."""
        process = self.workers.pop(name)
        process.terminate()
        said = process.communicate(timeout=PATIENCE)[0]
        if os.path.exists(self.socket(name)):
            os.unlink(self.socket(name))
        if said:
            raise Failed(f"worker {name} says: {said}")

    def end(self):
        said = ""
        for process in self.programs:
            if process.poll() is None:
                process.terminate()
            process.communicate()
        for process in self.workers.values():
            if process.poll() not in (None, -15):
                said += f"a worker ended with {process.returncode}\n"
            process.terminate()
            try:
                said += process.communicate(timeout=PATIENCE)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                said += "a worker does not end: " + process.communicate()[0]
        return said


def expect(text, words):
    if words not in text:
        raise Failed(f"'{words}' is not in:\n{text}")


def says(process, word):
    line = process.stdout.readline()
    if line != word + "\n":
        raise Failed(f"a program says, not {word}: {line}{process.stdout.read()}")


def goes_on(process, word):
    """It gets its line, and ends with WORD."""
    text, _ = process.communicate("\n", timeout=PATIENCE)
    if process.returncode or text != word + "\n":
        raise Failed(f"a program ends with {process.returncode}, not {word}: {text}")


def nothing_is_left(path):
    """Of what the driver gave, when its programs are gone; that is soon."""
    until = time.monotonic() + PATIENCE
    while True:
        with open(path, "rb") as file:
            counts = struct.unpack("5i", file.read())
        if not any(counts):
            return
        if time.monotonic() > until:
            raise Failed("of memory, pinned memory, streams, events and modules there are still {} {} {} {} {}"
                         .format(*counts))
        time.sleep(0.01)


def check_two_programs(rig):
    """One is at work for as long as it likes, another goes meanwhile; and nothing is left of either."""
    counts = rig.socket("counts")
    with open(counts, "wb") as file:
        file.write(bytes(20))
    rig.start("two", "64M", "hip", "0", **rig.driver(VMD_HIP_COUNTS=counts))
    expect(rig.run(rig.args.program, "two", rig.args.code), "cases, all well")
    nothing_is_left(counts)
    leaves = rig.begin("two", "leave")
    says(leaves, "idle")
    holds = rig.begin("two", "hold")
    says(holds, "held")
    goes_on(leaves, "left")
    goes_on(holds, "released")
    nothing_is_left(counts)


def check_stuck(rig):
    """What runs for ever ends with the worker."""
    rig.start("stuck", "64M", "hip", "0", **rig.driver())
    expect(rig.run(rig.args.program, "stuck", rig.args.code, "stuck"), "gone")
    worker = rig.workers.pop("stuck")
    text, _ = worker.communicate(timeout=PATIENCE)
    if worker.returncode != 1:
        raise Failed(f"the worker ends with {worker.returncode}")
    expect(text, "kernels of a program that is gone do not end: this worker ends")


def check_lost(rig):
    """A program whose worker is lost finds another one's device, and what runs there. A stream's end is how a program hears
    of it without a VM, which resets the channel."""
    for target in ("gfx1030", "none"):
        rig.start("lost", "64M", "hip", "0", **rig.driver())
        program = rig.begin("lost", "lost", target, VMD_GPU_STREAM="1")
        says(program, "ready")
        rig.stop("lost")
        if target == "none":
            rig.start("lost", "64M")
        else:
            rig.start("lost", "64M", "hip", "0", VMD_HIP_DRIVER=rig.args.driver, VMD_HIP_TARGET=target,
                      VMD_HIP_TABLE=os.path.join(rig.args.code, "kernels.gfx1030.v5.table"))
        goes_on(program, "found")
        rig.stop("lost")


def check(rig):
    args = rig.args
    expect(rig.refused(VMD_HIP_DRIVER="/nowhere/libamdhip64.so.6"), "there is no HIP driver")
    expect(rig.refused(VMD_HIP_DRIVER="libm.so.6"), "the HIP driver has no hipDriverGetVersion")
    expect(rig.refused(**rig.driver(VMD_HIP_VERSION="50631061")), "the HIP driver is of version 5, older than 6")
    expect(rig.refused("1", **rig.driver()), "the HIP driver has no GPU 1")
    rig.start("number", "64M", "hip", "0", **rig.driver())
    rig.start("pci", "64M", "hip", "pci:0000:03:00.0", **rig.driver())
    rig.start("soft", "64M")
    # By rings and by a stream of bytes, and again in workers that had programs before.
    for name in ("number", "pci"):
        for stream in (False, True):
            expect(rig.run(args.program, name, args.code, stream=stream), "cases, all well")
    # Neither kind of program takes the other's device for its own.
    expect(rig.run(args.program, "soft", args.code, "none"), "no device, as was to be")
    expect(rig.run(args.cuda_program, "pci", args.kernels, ends=1), "CUDA_ERROR_NO_DEVICE")
    check_two_programs(rig)
    check_stuck(rig)
    check_lost(rig)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "program", "driver", "code", "cuda-program", "kernels"):
        parser.add_argument("--" + name, required=True)
    with tempfile.TemporaryDirectory(prefix="gpu-hip-") as folder:
        rig = Rig(parser.parse_args(), folder)
        failed = None
        try:
            check(rig)
        except (Failed, subprocess.TimeoutExpired) as why:
            failed = str(why)
        finally:
            said = rig.end()
    if failed or said:
        sys.exit(f"failed: {failed}\nworkers said:\n{said}")
    print("gpu-hip: all well")


if __name__ == "__main__":
    main()
