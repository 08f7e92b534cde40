#!/usr/bin/env python3
"""Programs on a GPU of the CUDA backend that move to the software device, in the middle of all that they do.

vmd's own libcuda.so.1 is the driver, and leads on to a worker on the CPU, as in stand_in.py. Each case begins on the backend
"cuda" and is moved once, after its first, second or third step. Results are to be those of a run without a move, bit by
bit. What cannot be moved says why, and goes on where it is.
"""
import argparse
import os
import subprocess
import sys
import tempfile

from move import Failed, Host, Worker, run

STEPS = 3
# Cases of which nothing is to be moved once their kernels have run, and why.
REFUSED = {"indirect": "pointers to functions, which are others there, are in indirect",
           "heap": "malloc() has used the driver's heap in heap"}


class Rig:
    def __init__(self, args, folder):
        self.args, self.folder, self.hosts = args, folder, 0
        self.driver = os.path.join(folder, "driver")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VMD_")}
        self.standin = subprocess.Popen([args.worker, "--listen", self.driver, "512M"], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, env=clean)
        if self.standin.stdout.readline() != "ready\n":
            raise Failed("the worker behind the driver does not begin")

    def host(self):
        self.hosts += 1
        folder = os.path.join(self.folder, str(self.hosts))
        os.mkdir(folder)
        return Host(self.args, folder, memory=256 << 20, backend=b"cuda",
                    VMD_CUDA_DRIVER=self.args.library, VMD_GPU_SOCKET=self.driver)

    def end(self):
        self.standin.terminate()
        said = self.standin.stdout.read()
        self.standin.wait()
        return said


def with_move(rig, case, at):
    """The results of CASE, moved at its step AT, and how many steps it has."""
    host, steps = rig.host(), []

    def each(_):
        steps.append(None)
        if len(steps) != at:
            return
        why = ""
        if case == "endless":
            while not why:  # until its launch is taken from the ring, it can still be moved
                why, image = host.worker.save(300)
                if not why:
                    os.close(image)
                    host.worker.go()
        else:
            try:
                host.move_in_vain(at % 2)
                host.move()
            except Failed as failed:
                why = str(failed)
        want = "does not end in 300 ms" if case == "endless" else REFUSED.get(case)
        if why and not want or want and want not in why:
            raise Failed(f"{case}, step {at}: {why or 'moved'}")

    got = run(host, case, each=each)
    if host.worker.report():
        raise Failed(f"{case}, step {at}: memory is held after the program")
    host.worker.end()
    return got, len(steps)


def check_everywhere(rig):
    host, moved = rig.host(), 0
    want = run(host)
    host.worker.end()
    for case, digest in want.items():
        for at in range(1, STEPS + 1):
            got, steps = with_move(rig, case, at)
            if got != {case: digest}:
                raise Failed(f"{case}, step {at}: {got}, not {digest}")
            moved += steps >= at and case not in REFUSED and case != "endless"
            if steps <= at:
                break
    print(f"{len(want)} cases, {moved} moves")
    if len(want) < 40 or moved < 60 or not REFUSED.keys() < want.keys():
        raise Failed(f"{len(want)} cases, {moved} moves")


def check_back(rig):
    """Nothing moves to a driver yet."""
    host = rig.host()

    def each(_):
        other = Worker(rig.args.worker, host.window, host.bells, 256 << 20, True, b"cuda",
                       VMD_CUDA_DRIVER=rig.args.library, VMD_GPU_SOCKET=rig.driver)
        image = host.save()
        wrong = other.load(image)
        os.close(image)
        other.end()
        host.worker.go()
        if wrong != "nothing can be moved to the backend cuda":
            raise Failed(f"back: {wrong}")

    run(host, "saxpy", each=each)
    host.worker.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "program", "library", "kernels"):
        parser.add_argument("--" + name, required=True)
    with tempfile.TemporaryDirectory(prefix="gpu-move-cuda-") as folder:
        rig = Rig(parser.parse_args(), folder)
        try:
            check_back(rig)
            check_everywhere(rig)
        except Failed as why:
            sys.exit(f"failed: {why}")
        finally:
            said = rig.end()
    if said:
        sys.exit(f"the worker behind the driver said: {said}")
    print("gpu-move-cuda: all well")


if __name__ == "__main__":
    main()
