#!/usr/bin/env python3
"""Runs one scenario: a real daemon, real VMs, real clients, and what is expected of them.

    scenario.py --build FOLDER FILE.scn

A scenario is a list of commands, one a line, words quoted as in a shell; "#" begins a comment. Each
command must succeed within the scenario's time, or the run fails with its line and with all that
was said up to there. Nothing sleeps: every wait is for an output, a message or an end.

${name} in a word is a variable; ${tmp} is a folder of the scenario's own, ${tests} that of the scenarios, ${build} the build's,
${arch} the guests' ISA (--arch), ${debian} Debian's name of it, ${tty} their serial console,
${fetch:NAME} the path of a guest file (tools/fetch). A named group of a pattern, (?P<name>..), sets a variable. A last word
"<<END" stands for the lines up to one that is just END.

COMMANDS
"""
import argparse
import ctypes
import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # to meson
# What guests can be: Debian's name of the architecture, and the serial console.
DEBIAN = {"aarch64": "arm64", "riscv64": "riscv64"}
TTYS = {"aarch64": "ttyAMA0", "riscv64": "ttyS0"}
DEFAULT_LIMIT_S = 60
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1 << 12, 1 << 14, 1 << 18, 2
LIBC = ctypes.CDLL(None, use_errno=True)
# What a sanitizer, an assertion or a process's list of system calls says; no program of a scenario may.
CRASH = re.compile(r"(?:ERROR|WARNING): \w+Sanitizer|runtime error:|Assertion .* failed|\*\*\* stack smashing"
                   r"|system call .* was refused")
REPORT_CHARS = 8000  # of such a report: all of a sanitizer's


class Failure(Exception):
    """An expectation that did not come true."""


class Skip(Exception):
    """What this machine lacks."""


def check(result, what):
    """The system refuses where it must (a container without rights): then there is nothing to test."""
    if result != 0:
        raise Skip(f"{what}: {os.strerror(ctypes.get_errno())}")


def own_mounts():
    """Mounts from here on are this process's and its children's alone. Needs no rights, but a process
    without threads."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        check(LIBC.unshare(CLONE_NEWNS), "unshare")
    else:
        check(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
        pathlib.Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
        pathlib.Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="utf-8")
        pathlib.Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="utf-8")
    check(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount")


def unescape(text):
    r"""The bytes of TEXT with \n, \r, \t, \e, \\ and \xNN as in C."""
    simple = {"n": b"\n", "r": b"\r", "t": b"\t", "e": b"\x1b", "\\": b"\\"}

    def one(match):
        word = match[1].decode()
        return bytes([int(word[1:], 16)]) if word[0] == "x" else simple[word]

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|[nrte\\])", one, text.encode())


class Stream:
    """What a program or a socket says, read by a thread of its own into a buffer."""

    def __init__(self, scenario, name, read):
        self.scenario, self.name, self.read = scenario, name, read
        self.text, self.position, self.ended = "", 0, False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._pump, daemon=True)
        self.thread.start()

    def _pump(self):
        while True:
            try:
                data = self.read(65536)
            except OSError:  # the other side of a terminal or a socket went away
                data = b""
            with self.changed:
                if not data:
                    self.ended = True
                else:
                    text = data.decode("utf-8", "backslashreplace")
                    self.text += text
                    self.scenario.note(self.name, text)
                self.changed.notify_all()
            if not data:
                return

    def expect(self, pattern):
        """Waits until PATTERN is in what was said since the last match; returns the match."""
        regex = re.compile(pattern, re.MULTILINE)
        with self.changed:
            while True:
                if match := regex.search(self.text, self.position):
                    self.position = match.end()
                    return match
                if self.ended:
                    raise Failure(f"{self.name} ended without saying /{pattern}/")
                self.scenario.wait(self.changed, f"{self.name} to say /{pattern}/")

    def wait_end(self):
        with self.changed:
            while not self.ended:
                self.scenario.wait(self.changed, f"the end of {self.name}")


class Program:
    """A program that runs beside the scenario."""

    def __init__(self, scenario, name, command, tty=False, env=None):
        self.name, self.scenario = name, scenario
        if tty:
            self.input, side = pty.openpty()
            output = side
            master = self.input

            def read(size):
                return os.read(master, size)
        else:
            side, self.input = os.pipe()
            output = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=side, stdout=output, stderr=subprocess.STDOUT,
            cwd=scenario.tmp, env=env or scenario.env, start_new_session=True)
        os.close(side)
        if not tty:
            read = self.process.stdout.read1
        # A terminal's output ends with an error when the last of its users is gone.
        self.stream = Stream(scenario, name, read)

    def send(self, data):
        while data:
            data = data[os.write(self.input, data):]

    def close(self):
        if self.input >= 0:
            os.close(self.input)
            self.input = -1

    def wait(self):
        """The exit status, or minus the signal that ended it."""
        what = f"{self.name} to end"
        while True:
            try:
                return self.process.wait(timeout=self.scenario.time_left(what))
            except subprocess.TimeoutExpired:
                continue


class Client:
    """A connection to the daemon's socket, one JSON value a line."""

    def __init__(self, scenario, name, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.stream = Stream(scenario, name, self.socket.recv)

    def next(self):
        """The next message."""
        return json.loads(self.stream.expect(r"^(.*)\n")[1])


def lookup(value, path):
    """The part of VALUE at PATH (".vms.0.name"), or None; ".vms.count" counts."""
    for step in filter(None, path.split(".")):
        if step == "count" and isinstance(value, (list, dict)):
            value = len(value)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


OPERATORS = {
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    ">=": lambda value, wanted: isinstance(value, (int, float)) and value >= wanted,
    "<=": lambda value, wanted: isinstance(value, (int, float)) and value <= wanted,
    "~": lambda value, wanted: re.search(str(wanted), str(value)) is not None,
}


def compare(message, path, operator, wanted):
    """Whether the part of MESSAGE at PATH is as WANTED says, and that part."""
    value = lookup(message, path)
    try:
        wanted = json.loads(wanted)
    except ValueError:
        pass  # a plain word
    if operator not in OPERATORS:
        raise Failure(f"no operator '{operator}' (there are {' '.join(OPERATORS)})")
    return OPERATORS[operator](value, wanted), value


class Scenario:
    """One run: its folder, its programs, its clock and what was said."""

    def __init__(self, build, tmp, slower=1.0, arch="riscv64"):
        self.build, self.tmp, self.slower = build, tmp, slower
        self.deadline = time.monotonic() + DEFAULT_LIMIT_S * slower
        self.transcript, self.lock = [], threading.Lock()
        self.programs, self.daemons, self.clients, self.variables = {}, {}, {}, {
            "tmp": str(tmp), "tests": str(TOP / "tests/scenario"), "build": str(build),
            "arch": arch, "debian": DEBIAN[arch], "tty": TTYS[arch]}
        self.mounts = []
        self.status, self.output, self.errors, self.message = 0, "", "", None
        folders = [str(build / name) for name in ("vmctl", "daemon", "vm")]
        for name in ("run", "state", "config", "cache"):
            (tmp / name).mkdir(mode=0o700)
        self.env = {key: value for key, value in os.environ.items()
                    if key in ("HOME", "LANG", "G_SLICE", "VMD_GUEST_CACHE") or key.endswith("SAN_OPTIONS")}
        self.env.update(
            PATH=":".join([*folders, os.environ["PATH"], "/usr/sbin", "/sbin"]), LC_ALL="C.UTF-8", TERM="dumb",
            XDG_RUNTIME_DIR=str(tmp / "run"), XDG_STATE_HOME=str(tmp / "state"),
            XDG_CONFIG_HOME=str(tmp / "config"), XDG_CACHE_HOME=str(tmp / "cache"),
            VMD_SOCKET=str(tmp / "run/vmd/vmd.sock"))

    # --- time and words -------------------------------------------------------------------

    def note(self, who, text):
        with self.lock:
            self.transcript.append((who, text))

    def time_left(self, what):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failure(f"the time is over, waiting for {what}")
        return left

    def wait(self, condition, what):
        condition.wait(self.time_left(what))

    def expand(self, word):
        def value(match):
            name = self.expand(match[1])
            if name.startswith("fetch:"):
                return self.guest_file(name[6:])
            if name not in self.variables:
                raise Failure(f"there is no variable '{name}'")
            return self.variables[name]

        return re.sub(r"\$\{((?:[\w:./-]|\$\{\w+\})+)\}", value, word)

    def guest_file(self, name):
        """The path of a guest file. Fetching is not on the scenario's clock."""
        began = time.monotonic()
        done = subprocess.run([TOP / "tools/fetch", name], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, check=False)
        self.deadline += time.monotonic() - began
        if done.returncode:
            raise Failure(f"could not fetch {name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def named(self, kind, name):
        if name not in kind:
            raise Failure(f"there is no '{name}'")
        return kind[name]

    # --- the language ---------------------------------------------------------------------
    # A method do_X is the command X; its docstring is its line in the help.

    def do_limit(self, seconds):
        """limit SECONDS: the time for the whole scenario (60 without it)"""
        self.deadline = time.monotonic() + float(seconds) * self.slower

    def do_require(self, path):
        """require PATH: skip the scenario where PATH cannot be read and written"""
        if not os.access(path, os.R_OK | os.W_OK):
            raise Skip(f"needs {path}")

    def do_env(self, name, value=None):
        """env NAME [VALUE]: set or take away an environment variable of what is started from here on"""
        self.env.pop(name, None)
        if value is not None:
            self.env[name] = value

    def do_let(self, name, value):
        """let NAME VALUE: set a variable"""
        self.variables[name] = value

    def do_file(self, name, text):
        """file NAME TEXT: write TEXT to ${tmp}/NAME, which ${NAME} then names"""
        (self.tmp / name).write_text(text, encoding="utf-8")
        self.variables[name] = str(self.tmp / name)

    def do_disk(self, name, size):
        """disk NAME BYTES: make an empty raw image, which ${NAME} then names"""
        with open(self.tmp / name, "wb") as image:
            image.truncate(int(size))
        self.variables[name] = str(self.tmp / name)

    def do_small(self, name, size):
        """small NAME BYTES: a file system of that size, its folder named ${NAME}; before anything is started"""
        where = self.tmp / name
        where.mkdir()
        own_mounts()
        check(LIBC.mount(b"small", os.fsencode(where), b"tmpfs", 0, f"size={int(size)}".encode()),
              "mount")
        self.mounts.append(where)
        self.variables[name] = str(where)

    def do_withhold(self, path):
        """withhold PATH: an empty file that nobody may open is in the place of PATH, for this scenario alone; before
anything is started"""
        if not os.path.exists(path):
            raise Skip(f"needs {path}")
        empty = self.tmp / "withheld"
        empty.touch(mode=0)
        own_mounts()
        check(LIBC.mount(os.fsencode(empty), os.fsencode(path), None, MS_BIND, None), "mount")
        self.mounts.append(pathlib.Path(path))

    def do_group(self, name, gid):
        """group NAME GID: give the system a group, for this scenario alone; before anything is started"""
        if os.getuid() != 0:
            raise Skip("only root can be other users")
        path = self.tmp / "group"
        path.write_text(pathlib.Path("/etc/group").read_text(encoding="utf-8") + f"{name}:x:{gid}:\n",
                        encoding="utf-8")
        path.chmod(0o644)
        own_mounts()
        check(LIBC.mount(os.fsencode(path), b"/etc/group", None, MS_BIND, None), "mount")
        self.mounts.append(pathlib.Path("/etc/group"))

    def do_initrd(self, name, *words):
        """initrd NAME [MODULE]... [FILE:/TARGET]... SCRIPT: make a guest's ramdisk (tools/mkinitrd), named
${NAME}"""
        *parts, script = words
        began = time.monotonic()
        self.do_file(name + ".sh", script)
        path = self.tmp / (name + ".cpio")
        command = [TOP / "tools/mkinitrd", "-o", path, "--arch", self.variables["debian"],
                   "--init", self.tmp / (name + ".sh")]
        for part in parts:
            command += ["--file" if ":" in part else "--module", part]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        self.deadline += time.monotonic() - began
        if done.returncode:
            raise Failure(f"no initrd: {done.stderr.strip()}")
        self.variables[name] = str(path)

    def do_make_kernel(self, name):
        """make-kernel NAME: the kernel of tests/guest/linux-kvm, built when it is not there yet; its path is ${NAME}"""
        began = time.monotonic()
        done = subprocess.run([TOP / "tests/guest/linux-kvm/make-kernel"], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, check=False)
        self.deadline += time.monotonic() - began
        if done.returncode:
            raise Failure(f"no kernel: {done.stderr.strip()[-2000:]}")
        self.variables[name] = done.stdout.strip()

    def do_debian_image(self, name, *options):
        """debian-image NAME [OPTION]...: a disk of a Debian system (tools/debian-image, with its options), named
${NAME}, of which the scenario may change what it likes; ${NAME.vmlinux} and ${NAME.initrd} boot it"""
        began = time.monotonic()
        done = subprocess.run([TOP / "tools/debian-image", "--arch", self.variables["debian"],
                               "--build", self.build, *options], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, check=False)
        self.deadline += time.monotonic() - began
        if done.returncode:
            raise Failure(f"no Debian image: {done.stderr.strip()}")
        place, disk = pathlib.Path(done.stdout.strip()), self.tmp / f"{name}.qcow2"
        self._run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
                   str(place / "root.qcow2"), str(disk)], 0)
        self.variables.update({name: str(disk), f"{name}.vmlinux": str(place / "vmlinux"),
                               f"{name}.initrd": str(place / "initrd")})

    def do_debian_root(self, name, *packages):
        """debian-root NAME PACKAGE...: Debian 13's programs (tools/debian-root). ${NAME} is a command that runs another one there, by chroot,
where ${tmp} is the scenario's too; ${NAME.folder} is where they are"""
        if os.getuid() != 0:
            raise Skip("only root can have another root folder")
        began = time.monotonic()
        done = subprocess.run([TOP / "tools/debian-root", *packages], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, check=False)
        self.deadline += time.monotonic() - began
        if done.returncode:
            raise Failure(f"no Debian root: {done.stderr.strip()}")
        root = done.stdout.strip()
        self.do_file(name, f"""#!/bin/sh
# Mounts of this process's own: the root folder stays as it is.
exec unshare --mount sh -c 'mount -t tmpfs none {root}/tmp && mkdir -p {root}{self.tmp} &&
mount --bind {self.tmp} {root}{self.tmp} && mount -t proc none {root}/proc && mount --rbind /dev {root}/dev &&
exec chroot {root} "$@"' sh "$@"
""")
        (self.tmp / name).chmod(0o755)
        self.variables[f"{name}.folder"] = root

    def do_daemon(self, name, action, *arguments):
        """daemon NAME start [ARGUMENT]...: start vmd and wait until it says that it is ready
daemon NAME stop|kill: end it by SIGTERM (its status must be 0) or by SIGKILL"""
        if action == "start":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                path = str(self.tmp / "notify")
                pathlib.Path(path).unlink(missing_ok=True)
                notify.bind(path)
                daemon = Program(self, name, ["vmd", *arguments],
                                 env=dict(self.env, NOTIFY_SOCKET=path))
                self.daemons[name] = self.programs[name] = daemon
                self._wait_ready(daemon, notify)
        elif action in ("stop", "kill"):
            daemon = self.named(self.daemons, name)
            daemon.process.send_signal(signal.SIGTERM if action == "stop" else signal.SIGKILL)
            status = daemon.wait()
            if action == "stop" and status != 0:
                raise Failure(f"{name} ended with {status}, not 0")
            del self.daemons[name]
        else:
            raise Failure(f"daemon: no action '{action}'")

    def _wait_ready(self, daemon, notify):
        while True:
            notify.settimeout(min(0.2, self.time_left(f"{daemon.name} to be ready")))
            try:
                if "READY=1" in notify.recv(4096).decode().split("\n"):
                    return
            except TimeoutError:
                if daemon.process.poll() is not None:
                    raise Failure(f"{daemon.name} ended before it was ready, with "
                                  f"{daemon.process.returncode}") from None

    def do_start(self, name, *command):
        """start NAME COMMAND...: run a command beside the scenario, through pipes"""
        self.programs[name] = Program(self, name, list(command))

    def do_start_tty(self, name, *command):
        """start-tty NAME COMMAND...: the same, on a terminal"""
        self.programs[name] = Program(self, name, list(command), tty=True)

    def do_expect(self, name, pattern):
        """expect NAME PATTERN: wait until NAME says PATTERN (after what it said before)"""
        match = self.named(self.programs, name).stream.expect(pattern)
        for key, value in match.groupdict().items():
            self.variables[key] = value or ""

    def do_send(self, name, text):
        r"""send NAME TEXT: type TEXT (with \n, \xNN ...) to NAME"""
        self.named(self.programs, name).send(unescape(text))

    def do_close(self, name):
        """close NAME: end of NAME's input"""
        self.named(self.programs, name).close()

    def do_signal(self, name, which):
        """signal NAME SIGNAL: send a signal to NAME ("TERM")"""
        self.named(self.programs, name).process.send_signal(signal.Signals["SIG" + which])

    def do_exit(self, name, status):
        """exit NAME STATUS: wait until NAME ends; with STATUS (minus a signal's number)"""
        program = self.named(self.programs, name)
        ended = program.wait()
        program.stream.wait_end()
        if ended != int(status):
            raise Failure(f"{name} ended with {ended}, not {status}")

    def do_do(self, *command):
        """do COMMAND...: run a command to its end; its status must be 0"""
        self._run(command, 0)

    def do_fail(self, status, *command):
        """fail STATUS COMMAND...: run a command to its end; its status must be STATUS"""
        self._run(command, int(status))

    def _run(self, command, wanted):
        try:
            done = subprocess.run(command, cwd=self.tmp, env=self.env, text=True,
                                  stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                  errors="backslashreplace",
                                  timeout=self.time_left(f"'{shlex.join(command)}'"))
        except subprocess.TimeoutExpired:
            raise Failure(f"the time is over, waiting for '{shlex.join(command)}'") from None
        self.output, self.errors = done.stdout, done.stderr
        self.note("stdout", done.stdout)
        self.note("stderr", done.stderr)
        self.message = None
        if done.returncode != wanted:
            raise Failure(f"status {done.returncode}, not {wanted}")

    def do_output(self, pattern):
        """output PATTERN: the last do or fail wrote PATTERN"""
        self._search("output", self.output, pattern)

    def do_no_output(self, pattern):
        """no-output PATTERN: the last do or fail did not write PATTERN"""
        if re.search(pattern, self.output, re.MULTILINE):
            raise Failure(f"the output has /{pattern}/")

    def do_errors(self, pattern):
        """errors PATTERN: the last do or fail wrote PATTERN to its standard error"""
        self._search("standard error", self.errors, pattern)

    def _search(self, what, text, pattern):
        match = re.search(pattern, text, re.MULTILINE)
        if not match:
            raise Failure(f"no /{pattern}/ in the {what}")
        for key, value in match.groupdict().items():
            self.variables[key] = value or ""

    def do_json(self, path, operator, wanted):
        """json PATH OPERATOR VALUE: so is PATH (".vms.0.name") of what the last do or receive gave"""
        message = self.message if self.message is not None else json.loads(self.output)
        good, value = compare(message, path, operator, wanted)
        if not good:
            raise Failure(f"{path} is {json.dumps(value)}")

    def do_save(self, name, path):
        """save NAME PATH: set a variable to what that JSON has at PATH"""
        message = self.message if self.message is not None else json.loads(self.output)
        self.variables[name] = str(lookup(message, path))

    def do_connect(self, name, path=None):
        """connect NAME [PATH]: open a connection to the daemon's socket (or to PATH)"""
        self.clients[name] = Client(self, name, path or self.env["VMD_SOCKET"])

    def do_request(self, name, text):
        """request NAME JSON: send a line over a connection"""
        self.named(self.clients, name).socket.sendall(text.replace("\n", " ").encode() + b"\n")

    def do_raw(self, name, text, times="1"):
        r"""raw NAME BYTES [TIMES]: send bytes (with \n, \xNN ...), as often as TIMES"""
        try:
            self.named(self.clients, name).socket.sendall(unescape(text) * int(times))
        except BrokenPipeError:
            pass  # the daemon may have had enough of it; `closed` tells

    def do_receive(self, name, path=None, operator=None, wanted=None):
        """receive NAME [PATH OPERATOR VALUE]: take the next message, or the next that is like this"""
        client = self.named(self.clients, name)
        while True:
            self.message = client.next()
            if path is None or compare(self.message, path, operator, wanted)[0]:
                return

    def do_closed(self, name):
        """closed NAME: wait until the daemon closes the connection"""
        self.named(self.clients, name).stream.wait_end()

    def do_disconnect(self, name):
        """disconnect NAME: close the connection"""
        client = self.clients.pop(name)
        client.socket.shutdown(socket.SHUT_RDWR)
        client.stream.wait_end()
        client.socket.close()

    # --- the run --------------------------------------------------------------------------

    def run(self, path):
        """Runs the scenario in the file PATH."""
        for number, words in read_scenario(path):
            self.note("line", f"{path.name}:{number}: {shlex.join(words)}\n")
            command = getattr(self, "do_" + words[0].replace("-", "_"), None)
            try:
                if command is None:
                    raise Failure(f"there is no command '{words[0]}'")
                command(*map(self.expand, words[1:]))
            except (Failure, OSError, ValueError, KeyError, TypeError, re.error) as error:
                raise Failure(f"{path.name}:{number}: {words[0]}: {error}") from error
        self._look_for_crashes(path)

    def _look_for_crashes(self, path):
        said = {}
        for who, text in self.transcript:
            if who != "line":
                said[who] = said.get(who, "") + text
        # VM processes write to files of their own.
        for log in self.tmp.rglob("*"):
            if log.is_file() and log.stat().st_size < 1 << 20:
                said[log.name] = log.read_text(encoding="utf-8", errors="replace")
        for who, text in said.items():
            if match := CRASH.search(text):
                raise Failure(f"{path.name}: {who} said '{match[0]}':\n"
                              f"{text[match.start():][:REPORT_CHARS]}")

    def print_transcript(self):
        """All that was said, each line with who said it."""
        current, at_start = None, True
        for who, text in self.transcript:
            for line in text.splitlines(keepends=True):
                if who != current or at_start:
                    sys.stdout.write(("" if at_start else "\n") + f"{who:>8} | ")
                sys.stdout.write(line)
                current, at_start = who, line.endswith("\n")
        if not at_start:
            print()

    def finish(self):
        """Ends everything that the scenario left, VM processes too: as their daemons end, orphans
        become children of this process (PR_SET_CHILD_SUBREAPER)."""
        while children := children_of(os.getpid()):
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            for pid in children:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    pass
        for where in self.mounts:
            LIBC.umount2(os.fsencode(where), MNT_DETACH)


def children_of(parent):
    """The process ids of PARENT's children."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text(encoding="utf-8")
            except OSError:
                continue
            # The name in parentheses may hold anything.
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry))
    return found


def read_scenario(path):
    """The commands of the file PATH: (line number, words)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at]
        at += 1
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Failure(f"{path.name}:{number}: {error}") from error
        if not words:
            continue
        if words[-1].startswith("<<"):
            end, first = words[-1][2:], at
            while at < len(lines) and lines[at].strip() != end:
                at += 1
            if at == len(lines):
                raise Failure(f"{path.name}:{number}: no line '{end}' ends the text")
            words[-1] = "\n".join(lines[first:at]) + "\n"
            at += 1
        yield number, words


def language():
    """The help of the commands, from their docstrings."""
    methods = [value for name, value in vars(Scenario).items() if name.startswith("do_")]
    return "\n".join("  " + line.strip() for method in methods
                     for line in method.__doc__.splitlines())


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.replace("COMMANDS", language()),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--verbose", action="store_true", help="print all that was said")
    parser.add_argument("--slower", type=float, default=1.0, metavar="FACTOR",
                        help="programs are this much slower (sanitizers): stretch the time")
    parser.add_argument("--arch", choices=sorted(TTYS), default="riscv64",
                        help="what guests are, where the scenario leaves it open")
    parser.add_argument("file", type=pathlib.Path)
    args = parser.parse_args(argv)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Not below a long path: a unix socket's path has 107 bytes at most.
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="vmd-scn-"))
    scenario, status, said = Scenario(args.build.resolve(), tmp, args.slower, args.arch), 0, "passed"
    try:
        scenario.run(args.file)
    except Failure as failure:
        status, said = 1, f"failed: {failure}"
    except Skip as skip:
        status, said = SKIPPED, f"skipped: {skip}"
    finally:
        scenario.finish()
        shutil.rmtree(tmp, ignore_errors=True)
    if status == 1 or args.verbose:
        scenario.print_transcript()
    print(said)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
