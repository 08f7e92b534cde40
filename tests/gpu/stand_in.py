#!/usr/bin/env python3
"""The CUDA backend of vmd-gpu, with vmd's own libcuda.so.1 in the place of a driver.

A program of the driver API talks to a worker whose backend is "cuda"; the library that this one loads leads on to a
worker on the CPU. So all of the backend runs on a machine without a GPU: what is not seen here is NVIDIA's driver.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

PATIENCE = 120


class Failed(Exception):
    pass


# What a driver writes for kernels that print: to the worker's output, since it does not say whose they are.
PRINTED = re.compile(r"thread \d of 2: |flow\.cu:\d+: ")


class Rig:
    """The two workers, in a folder of their own."""

    def __init__(self, args, folder):
        self.args, self.folder, self.workers = args, folder, []

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("VMD_")}
        env.update(more)
        return env

    def socket(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, memory, *backend, **env):
        """A worker that listens at socket NAME; waits until it does."""
        process = subprocess.Popen([self.args.worker, "--listen", self.socket(name), memory, *backend],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=self.environment(**env))
        self.workers.append(process)
        first = process.stdout.readline()
        if first != "ready\n":
            raise Failed(f"worker {name} says: {first}{process.stdout.read()}")
        return process

    def driver(self, name, library=None):
        return {"VMD_CUDA_DRIVER": library or self.args.library, "VMD_GPU_SOCKET": self.socket(name)}

    def refused(self, *words, **env):
        """What a worker says that does not begin."""
        done = subprocess.run([self.args.worker, "--listen", self.socket("none"), "64M", "cuda", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                              env=self.environment(**env), check=False)
        os.path.exists(self.socket("none")) and os.unlink(self.socket("none"))
        if done.returncode != 1:
            raise Failed(f"a worker with {words} {env} ends with {done.returncode}: {done.stdout}")
        return done.stdout

    def program(self, name, *words, say="", stream=False):
        env = self.environment(VMD_GPU_SOCKET=self.socket(name), **({"VMD_GPU_STREAM": "1"} if stream else {}))
        done = subprocess.run([self.args.program, self.args.kernels, *words], input=say, env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)
        if done.returncode:
            raise Failed(f"the program {words} ends with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def hangs(self, name):
        """The driver of the worker NAME does not come back from a call; what the worker says when it ends of that."""
        worker = self.workers.pop()
        env = self.environment(VMD_GPU_SOCKET=self.socket(name), VMD_GPU_STREAM="1")  # whose end a program hears of
        done = subprocess.run([self.args.program, self.args.kernels, "hang"], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)
        expect(done.stdout, "the driver is asked")  # that its context is lost it says, too, and finds no other worker
        if "cuMemAlloc_v2" in done.stdout or not done.returncode:
            raise Failed(f"the program ends with {done.returncode}:\n{done.stdout}")
        if worker.wait(PATIENCE) != 1:
            raise Failed(f"the worker ends with {worker.returncode}")
        return worker.stdout.read()

    def end(self):
        said = ""
        for process in self.workers:
            if process.poll() not in (None, -15):
                said += f"a worker ended with {process.returncode}\n"
            process.terminate()
            said += "".join(line for line in process.stdout if not PRINTED.match(line))
            process.wait()
        return said


def expect(text, words):
    if words not in text:
        raise Failed(f"'{words}' is not in:\n{text}")


def check(rig):
    expect(rig.refused(VMD_CUDA_DRIVER="/nowhere/libcuda.so.1"), "there is no CUDA driver")
    expect(rig.refused(VMD_CUDA_DRIVER="libm.so.6"), "the CUDA driver has no cuInit")
    expect(rig.refused(VMD_CUDA_DRIVER=rig.args.library, VMD_GPU_SOCKET=rig.socket("closed")), "finds no GPU")
    rig.start("soft", "512M")
    expect(rig.refused("1", **rig.driver("soft")), "the CUDA driver has no GPU 1")
    expect(rig.refused("GPU-12345678-0000-0000-0000-000000000000", **rig.driver("soft")), "has no GPU GPU-1234")
    rig.start("number", "64M", "cuda", "0", **rig.driver("soft"))
    rig.start("uuid", "64M", "cuda", "GPU-766d642d-6770-7500-0000-000000000000", **rig.driver("soft"))
    rig.start("pci", "64M", "cuda", "pci:0000:00:00.0", **rig.driver("soft"))
    # All cases, by rings and by a stream of bytes.
    expect(rig.program("number"), "cases, all well")
    expect(rig.program("uuid", stream=True), "cases, all well")
    # What that backend does not offer, managed memory, at the worker on the CPU itself, in both ways.
    for case in ("managed", *(f"managed_{what}" for what in ("copies", "graph", "fills", "queries", "threads", "no_thread"))):
        for stream in (False, True):
            expect(rig.program("soft", case, stream=stream), "1 cases, all well")
    # A driver that does not come back.
    rig.start("hanging", "64M", "cuda", "0", **rig.driver("soft", rig.args.hanging))
    expect(rig.hangs("hanging"), "the backend cuda does not come back from a call (alloc): this worker ends")
    # The quota is this worker's, and what was held is free for the next program.
    for _ in range(2):
        said = rig.program("pci", "quota", say="go on\n")
        expect(said, "got 64 MiB of 64 MiB, 64 MiB were free")
        expect(said, "gave all back")
    # A program that is killed leaves nothing behind.
    killed = subprocess.Popen([rig.args.program, rig.args.kernels, "quota"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=rig.environment(VMD_GPU_SOCKET=rig.socket("pci")), text=True)
    while "got 64 MiB" not in killed.stdout.readline():
        pass
    killed.kill()
    killed.communicate()
    deadline = time.monotonic() + PATIENCE
    while True:  # the worker hears of it a moment later
        try:
            expect(rig.program("pci", "quota", say="go on\n"), "got 64 MiB of 64 MiB")
            break
        except Failed:
            if time.monotonic() > deadline:
                raise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "program", "library", "hanging", "kernels"):
        parser.add_argument("--" + name, required=True)
    with tempfile.TemporaryDirectory(prefix="gpu-cuda-") as folder:
        rig = Rig(parser.parse_args(), folder)
        failed = None
        try:
            check(rig)
        except Failed as why:
            failed = str(why)
        said = rig.end()
    if failed or said:
        sys.exit(f"failed: {failed}\nworkers said:\n{said}")
    print("gpu-cuda: all well")


if __name__ == "__main__":
    main()
