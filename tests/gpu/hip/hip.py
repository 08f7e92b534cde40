#!/usr/bin/env python3
"""The HIP backend of vmd-gpu and libamdhip64.so.6 for guests, with a stand-in for ROCm's library.

A program of HIP talks to a worker whose backend is "hip"; the library that this one loads looks at every byte of what
kernels are given, and does in C what they do. So all of the way runs on a machine without an AMD GPU: what is not seen
here is ROCm.
"""
import argparse
import os
import subprocess
import sys
import tempfile

PATIENCE = 120


class Failed(Exception):
    pass


class Rig:
    """Workers, in a folder of their own."""

    def __init__(self, args, folder):
        self.args, self.folder, self.workers = args, folder, []

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
        self.workers.append(process)
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

    def end(self):
        said = ""
        for process in self.workers:
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
