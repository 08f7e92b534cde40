#!/usr/bin/env python3
"""Programs on a GPU of the CUDA backend that move to the software device and back, in the middle of all that they do.

vmd's own libcuda.so.1 is the driver, and leads on to a worker on the CPU, as in stand_in.py. Each case begins on the backend
"cuda" and is moved once, after its first, second or third step. Results are to be those of a run without a move, bit by
bit. What cannot be moved says why, and goes on where it is.
"""
import argparse
import os
import subprocess
import sys
import tempfile

from move import Failed, Host, run

STEPS = 3
# Cases of which nothing is to be moved once their kernels have run, and why.
REFUSED = {"indirect": "pointers to functions, which are others there, are in indirect",
           "heap": "malloc() has used the driver's heap in heap"}
# The same of those that are moved to and fro.
BACK_REFUSED = {"indirect": ("pointers to functions",), "heap": ("memory of malloc()", REFUSED["heap"])}
PLACE = 0x700000000000  # where the software device's memory begins


class Rig:
    def __init__(self, args, folder):
        self.args, self.folder, self.hosts = args, folder, 0
        self.driver = os.path.join(folder, "driver")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VMD_")}
        self.standin = subprocess.Popen([args.worker, "--listen", self.driver, "16G"], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, env=clean)
        if self.standin.stdout.readline() != "ready\n":
            raise Failed("the worker behind the driver does not begin")

    def driver_of(self, backend, library):
        """The environment of a worker."""
        return {"VMD_CUDA_DRIVER": library, "VMD_GPU_SOCKET": self.driver} if backend == b"cuda" else {}

    def host(self, backend=b"cuda", library=None, memory=256 << 20):
        self.hosts += 1
        folder = os.path.join(self.folder, str(self.hosts))
        os.mkdir(folder)
        return Host(self.args, folder, memory=memory, backend=backend,
                    **self.driver_of(backend, library or self.args.library))

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
    host.end()
    return got, len(steps)


def check_everywhere(rig):
    host, moved = rig.host(), 0
    want = run(host)
    host.end()
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


def check_there_and_back(rig, first):
    """All cases in one program, which is moved to the other backend at each of their first steps."""
    host = rig.host()
    want = run(host)
    host.end()
    host, counts, moves = rig.host(first, rig.args.placing), {}, {b"cuda": 0, b"soft": 0}
    refused = set()

    def each(case):
        counts[case] = counts.get(case, 0) + 1
        if case == "endless" or counts[case] > 2 * STEPS:
            return
        to = b"soft" if host.backend == b"cuda" else b"cuda"
        try:
            host.move(to, **rig.driver_of(to, rig.args.placing))
            moves[to] += 1
        except Failed as why:
            if not any(text in str(why) for text in BACK_REFUSED.get(case, ())):
                raise Failed(f"{case}, step {counts[case]}, to {to}: {why}") from why
            refused.add(case)

    got = run(host, each=each)
    if host.worker.report():
        raise Failed("memory is held after the programs")
    host.end()
    print(f"from {first.decode()}: {moves} moves; refused in {', '.join(sorted(refused))}")
    for case, digest in want.items():
        if got.get(case) != digest:
            raise Failed(f"{case}: {got.get(case)}, not {digest}")
    if min(moves.values()) < 30 or "indirect" not in refused:
        raise Failed("too little was moved")


def check_apart(rig, first):
    """What no case has: each part is moved to and fro at its steps, but one, which cannot be."""
    host, moves = rig.host(first, rig.args.placing, memory=1 << 30), {b"cuda": 0, b"soft": 0}

    def each(part):
        to = b"soft" if host.backend == b"cuda" else b"cuda"
        try:
            host.move(to, **rig.driver_of(to, rig.args.placing))
            moves[to] += 1
        except Failed as why:
            if part != "images" or "modules of more than 256 MiB" not in str(why):
                raise Failed(f"{part}, to {to}: {why}") from why
            moves["refused"] = 1

    run(host, "moved", each=each)
    if host.worker.report():
        raise Failed("memory is held after the parts")
    host.end()
    if moves.get("refused") != 1 or min(moves[b"cuda"], moves[b"soft"]) < 3:
        raise Failed(f"{moves}")


def check_taken(rig):
    """Where something else is, nothing is put; and a driver without memory at given addresses says so."""
    host, said = rig.host(b"soft"), []

    def each(_):
        for library, env, want in ((rig.args.placing, {"TAKEN": str(PLACE)}, "at its address"),
                                   (rig.args.library, {}, "no memory at given addresses")):
            try:
                host.move(b"cuda", **rig.driver_of(b"cuda", library), **env)
                raise Failed("a move to where there is no place")
            except Failed as why:
                if want not in str(why):
                    raise
                said.append(why)
        host.move(b"cuda", **rig.driver_of(b"cuda", rig.args.placing))
        host.move()

    run(host, "saxpy", each=each)
    host.end()
    if not said:
        raise Failed("nothing was refused")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "program", "library", "placing", "kernels"):
        parser.add_argument("--" + name, required=True)
    with tempfile.TemporaryDirectory(prefix="gpu-move-cuda-") as folder:
        rig = Rig(parser.parse_args(), folder)
        try:
            check_taken(rig)
            for first in (b"soft", b"cuda"):
                check_apart(rig, first)
                check_there_and_back(rig, first)
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
