#!/usr/bin/env python3
"""Programs on the software device whose worker is another again and again, in the middle of all that they do.

This script is what a VM process is to workers of vmd-gpu: it has the window, tells one worker to save its sessions and
another to load them, and lets that go on. The program's results are to be those of a run without any move, bit by bit.
"""
import argparse
import mmap
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading

PATIENCE = 120
MAGIC, MOVED_MAGIC = 0x32775547, 0x33775547
CHANNELS, CHANNEL_BYTES, GUEST_OPEN = 8, 8 << 20, 192
REPORT, MOVED = struct.Struct("<IIQ"), struct.Struct("<IIIIQ240s")
STEPS = 3  # moves in each case


class Failed(Exception):
    pass


class Worker:
    def __init__(self, program, window, bells, memory, moved, backend=b"soft", **env):
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        self.socket = ours
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VMD_")}
        self.process = subprocess.Popen([program, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()],
                                        stderr=subprocess.PIPE, text=True, env={**clean, **env})
        theirs.close()
        hello = struct.pack("<IIQ16s80s", MOVED_MAGIC if moved else MAGIC, 112, memory, backend, b"")
        socket.send_fds(ours, [hello], [window, *bells])
        try:
            self.ask_report()
        except (Failed, OSError):
            self.process.kill()
            raise Failed(f"a worker did not begin: {self.process.communicate()[1]}")

    def receive(self, size):
        """SIZE bytes, and the descriptor that came along."""
        data, fds = b"", []
        while len(data) < size:
            part, more, _, _ = socket.recv_fds(self.socket, size - len(data), 1)
            if not part:
                raise Failed("a worker is gone")
            data, fds = data + part, fds + more
        return data, fds[0] if fds else -1

    def ask_report(self):
        magic, _, used = REPORT.unpack(self.receive(REPORT.size)[0])
        if magic != MAGIC:
            raise Failed("a worker's report makes no sense")
        return used

    def report(self):
        self.socket.sendall(b"?")
        return self.ask_report()

    def moved(self):
        """What became of an order: what is wrong (empty: nothing), and a descriptor."""
        data, fd = self.receive(MOVED.size)
        magic, _, done, _, _, text = MOVED.unpack(data)
        if magic != MOVED_MAGIC:
            raise Failed("a worker's answer makes no sense")
        return "" if done else text.split(b"\0")[0].decode() or "?", fd

    def save(self, ms=60000):
        self.socket.sendall(b"H" + struct.pack("<I", ms))
        return self.moved()

    def load(self, image):
        socket.send_fds(self.socket, [b"L"], [image])
        return self.moved()[0]

    def go(self):
        self.socket.sendall(b"G")

    def end(self):
        """What it said."""
        self.socket.close()
        try:
            said = self.process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed("a worker does not end with its connection")
        return said


class Host:
    """A window, whose first channel the program has that connects, and the worker that serves it."""

    def __init__(self, args, folder, memory=512 << 20, backend=b"soft", **env):
        self.args, self.memory, self.backend, self.moves = args, memory, backend, 0
        self.window = os.memfd_create("window")
        os.ftruncate(self.window, CHANNELS * CHANNEL_BYTES)
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(CHANNELS)]
        self.path = os.path.join(folder, "gpu")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.mapped = mmap.mmap(self.window, CHANNELS * CHANNEL_BYTES)
        self.worker = Worker(args.worker, self.window, self.bells, memory, False, backend, **env)
        self.admits = threading.Thread(target=self.admit, daemon=True)
        self.admits.start()

    def admit(self):
        """A program at a time; its channel is closed when it is gone."""
        while True:
            try:
                program, _ = self.listener.accept()
            except OSError:
                return  # end()
            if program.recv(1) != b"R":
                sys.exit("the program wants no channel")
            socket.send_fds(program, [b"R"], [self.window, self.bells[0]])
            while program.recv(64):
                pass
            program.close()
            self.mapped[GUEST_OPEN:GUEST_OPEN + 4] = bytes(4)
            os.eventfd_write(self.bells[0], 1)

    def end(self):
        """Its worker ends, and nothing stays open."""
        self.worker.end()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.admits.join(PATIENCE)
        self.listener.close()
        self.mapped.close()
        for fd in (self.window, *self.bells):
            os.close(fd)

    def save(self, ms=60000):
        wrong, image = self.worker.save(ms)
        if wrong:
            raise Failed(f"saving: {wrong}")
        return image

    def move(self, backend=b"soft", **env):
        """To another worker; where that fails, the first goes on."""
        other = Worker(self.args.worker, self.window, self.bells, self.memory, True, backend, **env)
        image = self.save()
        wrong = other.load(image)
        os.close(image)
        if wrong:
            other.end()
            self.worker.go()
            raise Failed(f"loading: {wrong}")
        said = self.worker.end()
        if said:
            raise Failed(f"a worker said: {said}")
        self.worker, self.backend = other, backend
        other.go()
        self.moves += 1

    def move_in_vain(self, kill):
        """To one that is killed meanwhile, or has no room: the first goes on."""
        other = Worker(self.args.worker, self.window, self.bells, self.memory if kill else 1, True)
        image = self.save()
        if kill:
            other.process.kill()
        else:
            wrong = other.load(image)
            if "more memory than" not in wrong:
                raise Failed(f"a worker without room: {wrong}")
        other.end()
        os.close(image)
        self.worker.go()

    def program(self, *words, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VMD_")}
        return subprocess.Popen([self.args.program, self.args.kernels, *words], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={**clean, "VMD_GPU_SOCKET": self.path, **env})


def results(text):
    """Digests by case."""
    return dict(re.findall(r"^ok (\w+) ([0-9a-f]{16})$", text, re.M))


def run(host, *words, each=None):
    """The program's results; EACH(case) is called at its steps."""
    program = host.program(*words, **({"VMD_GPU_STEPS": "1"} if each else {}))
    timer = threading.Timer(10 * PATIENCE, program.kill)
    timer.start()
    text = ""
    try:
        for line in program.stdout:
            if each and line.startswith("step "):
                each(line.split()[1])
                program.stdin.write("\n")
                program.stdin.flush()
            else:
                text += line
    finally:
        program.kill()
        timer.cancel()
    program.wait()
    if "all well" not in text:
        raise Failed(f"the program says:\n{text}")
    return results(text)


def check_everywhere(host):
    """All cases, with moves in the middle of each."""
    want = run(host)
    counts, vain = {}, []

    def each(case):
        counts[case] = counts.get(case, 0) + 1
        if case == "endless":  # whose kernel is to be refused in good time, and harmed in no way
            wrong = ""
            while not wrong:  # until its launch is taken from the ring, it can still be moved
                wrong, image = host.worker.save(300)
                if not wrong:
                    os.close(image)
                    host.worker.go()
            if "does not end in 300 ms" not in wrong:
                raise Failed(f"an endless kernel: {wrong}")
        elif counts[case] <= STEPS:
            try:
                host.move()
            except Failed as why:
                raise Failed(f"{case}, step {counts[case]}: {why}") from why
        elif counts[case] <= STEPS + 2:
            host.move_in_vain(counts[case] == STEPS + 1)
            vain.append(case)

    got = run(host, each=each)
    print(f"{len(got)} cases, {host.moves} moves in the middle of {len(counts)}")
    for case, digest in want.items():
        if got.get(case) != digest:
            raise Failed(f"{case}: {got.get(case)}, not {digest}")
    if len(vain) < 2:
        raise Failed("nothing was moved in vain")
    if len(want) < 40 or len(counts) < 25:
        raise Failed(f"{len(want)} cases, {len(counts)} with moves")


def check_unknown(program):
    """A worker whose vmd dies before that knows it for good serves nobody."""
    ours, theirs = socket.socketpair()
    pipe, end = os.pipe()
    first, pages = 60, [os.memfd_create("use"), os.memfd_create("grant")]
    for number, fd in enumerate((theirs.detach(), *pages, pipe), first):
        os.dup2(fd, number)
        os.close(fd)
    worker = subprocess.Popen([program, "--fd", str(first), str(first + 1)], pass_fds=range(first, first + 4),
                              stderr=subprocess.PIPE, text=True)
    for number in range(first, first + 4):
        os.close(number)
    os.close(end)
    said = worker.communicate(timeout=PATIENCE)[1]
    if worker.returncode != 1 or "the vmd that started this worker is gone" not in said or ours.recv(1):
        raise Failed(f"a worker that nobody knows: {worker.returncode}, {said}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "program", "kernels"):
        parser.add_argument("--" + name, required=True)
    with tempfile.TemporaryDirectory(prefix="gpu-move-") as folder:
        options = parser.parse_args()
        host = Host(options, folder)
        try:
            check_unknown(options.worker)
            check_everywhere(host)
            if host.worker.report():
                raise Failed("memory is held after the programs")
        except Failed as why:
            sys.exit(f"failed: {why}")
        finally:
            host.end()
    print("gpu-move: all well")


if __name__ == "__main__":
    main()
