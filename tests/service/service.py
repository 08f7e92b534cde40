#!/usr/bin/env python3
"""Runs vmd as the service of a system whose first process is systemd, and looks at how it behaves.

    tests/service/service.py [--build FOLDER] [--kernel FILE] [--verbose]

Needs root, and a kernel that lets root make namespaces. The system is this machine's own root folder
under an overlay, with vmd installed into it by `meson install`; nothing of it reaches the machine. It
has process ids, mounts, control groups, names and network of its own, its own journal, and ends with
this script.

What is checked: users and folders (sysusers, tmpfiles), activation by the socket, who may use it, a
guest over restarts, kills and stops of vmd, the unit's confinement, and the lines in the journal.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 120
# What would reach out of the system: kernel settings, modules, devices.
MASKED = ["systemd-sysctl", "systemd-modules-load", "systemd-udevd", "systemd-udev-trigger",
          "systemd-remount-fs", "systemd-random-seed", "systemd-networkd", "systemd-logind"]
# How exposed systemd-analyze finds the units, in tenths; more fails.
EXPOSURE = {"vmd.service": 40, "vmd-helper.service": 40}


class Failure(Exception):
    """What should hold does not."""


# --- the system -------------------------------------------------------------------------------------

def sh(*command, **options):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **options)


def mount_system(root, scratch):
    """Runs in namespaces of its own, as their first process: mounts, moves there, becomes systemd."""
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "scratch", scratch)
    for name in "upper", "work", "root":
        (scratch / name).mkdir()
    sh("mount", "-t", "overlay", "-o", f"lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work",
       "overlay", root)
    for kind, name, options in [("proc", "proc", "rw"), ("sysfs", "sys", "ro"), ("tmpfs", "run", "mode=755"),
                                ("tmpfs", "tmp", "mode=1777"), ("tmpfs", "dev", "mode=755")]:
        sh("mount", "-t", kind, "-o", options, kind, root / name)
    sh("mount", "--bind", root / "proc/sys", root / "proc/sys")
    sh("mount", "-o", "remount,bind,ro", root / "proc/sys")
    for name in "null", "zero", "full", "random", "urandom", "tty", "net/tun", "kvm":
        if os.path.exists(f"/dev/{name}"):
            target = root / "dev" / name
            target.parent.mkdir(exist_ok=True)
            target.touch()
            sh("mount", "--bind", f"/dev/{name}", target)
    for name in "pts", "shm":
        (root / "dev" / name).mkdir()
    sh("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", root / "dev/pts")
    sh("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", root / "dev/shm")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    sh("mount", "-t", "cgroup2", "cgroup2", root / "sys/fs/cgroup")
    sh("ip", "link", "set", "lo", "up")


def become_systemd(scratch, build):
    root = scratch / "root"
    mount_system(root, scratch)
    sh("meson", "install", "-C", build, "--no-rebuild", "--quiet",
       env=dict(os.environ, DESTDIR=str(root)))
    units = root / "etc/systemd/system"
    shutil.rmtree(units)
    units.mkdir()
    for name in MASKED:
        (units / f"{name}.service").symlink_to("/dev/null")
    (units / "service-test.target").write_text("[Unit]\nRequires=basic.target\nAfter=basic.target\n")
    (root / "etc/machine-id").write_text("uninitialized\n")
    shutil.rmtree(root / "var/log/journal", ignore_errors=True)
    (root / "old").mkdir()
    os.chdir(root)
    sh("pivot_root", ".", "old")
    sh("umount", "-l", "old")
    os.execve("/lib/systemd/systemd", ["systemd", "--unit=service-test.target", "--log-target=journal"],
              {"container": "service-test", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"})


def own_cgroups(name):
    """Moves this process into groups of its own; a later namespace has them as its root."""
    made = []
    for tree in "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd":
        folder = pathlib.Path(tree, name)
        if pathlib.Path(tree, "cgroup.procs").exists():
            folder.mkdir()
            (folder / "cgroup.procs").write_text(str(os.getpid()))
            made.append(folder)
    return made


class System:
    """The system, from outside."""

    def __init__(self, build, verbose):
        self.verbose = verbose
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="service-"))
        home = os.getpid()
        self.cgroups = own_cgroups(f"service-test-{home}")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork",
             "--kill-child", sys.executable, __file__, "--become", str(self.scratch), "--build", str(build)],
            stdin=subprocess.DEVNULL)
        self.first = None
        self.until("systemd is up", self._is_up)

    def _is_up(self):
        if self.process.poll() is not None:
            raise Failure(f"the system ended with status {self.process.returncode}")
        if not self.first:
            path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            self.first = path.read_text().strip() or None
        if not self.first or pathlib.Path(f"/proc/{self.first}/comm").read_text() != "systemd\n":
            return False
        return self.run("systemctl", "is-active", "service-test.target", check=False)[0] == 0

    def end(self):
        self.process.kill()
        self.process.wait()
        for folder in self.cgroups:
            (folder.parent / "cgroup.procs").write_text(str(os.getpid()))
            for below in sorted(folder.rglob("*"), reverse=True):
                if below.is_dir():
                    self.until(f"{below} is empty", lambda path=below: gone(path))
            self.until(f"{folder} is empty", lambda path=folder: gone(path))
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, *command, check=True, user=None):
        """Status and words of COMMAND inside; with USER, as that one with its groups."""
        words = [str(word) for word in command]
        if user:
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *words]
        done = subprocess.run(["nsenter", "-t", self.first, "-a", "env", "-i", "HOME=/root",
                               "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=LIMIT_S)
        if self.verbose:
            print("$", *(["as", user] if user else []), *words, f"({done.returncode})\n{done.stdout}", end="")
        if check and done.returncode:
            raise Failure(f"{' '.join(words)}: status {done.returncode}: {done.stdout}")
        return done.returncode, done.stdout

    def words(self, *command, **options):
        return self.run(*command, **options)[1]

    def property(self, unit, name):
        return self.words("systemctl", "show", "--value", "-p", name, unit).strip()

    def until(self, what, condition):
        """Waits for CONDITION; it asks the system itself, which tells nobody."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > end:
                raise Failure(f"it did not come true in {LIMIT_S} s that {what}")
            time.sleep(0.1)


def gone(folder):
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


# --- the checks -------------------------------------------------------------------------------------

def expect(good, what):
    if not good:
        raise Failure(what)
    print(f"holds: {what}", flush=True)


def check_users_and_folders(s):
    s.run("systemd-sysusers")
    s.run("systemd-tmpfiles", "--create")
    expect(s.words("stat", "-c", "%U:%G %a", "/var/lib/vmd", "/var/lib/vmd/images").split("\n")[:2]
           == ["vmd:vmd 750", "vmd:vmd 2770"], "the user vmd and its folders are there")
    for user, group in [("member", "vmd"), ("stranger", "nogroup")]:
        s.run("useradd", "--system", "--user-group", "-G", group, user)


def check_activation(s):
    s.run("systemctl", "start", "vmd.socket")
    expect(s.words("stat", "-c", "%U:%G %a", "/run/vmd/vmd.sock") == "vmd:vmd 660\n",
           "the socket is the group's")
    expect(s.property("vmd.service", "ActiveState") == "inactive", "vmd does not run before it is asked")
    expect("vms" in json.loads(s.words("vmctl", "list", "--json")), "the first client starts vmd")
    expect(s.property("vmd.service", "ActiveState") == "active"
           and s.property("vmd.service", "StatusErrno") == "0", "vmd says that it is ready")


def check_people(s):
    expect(s.run("vmctl", "list", user="member")[0] == 0, "a member of the group vmd is let in")
    status, said = s.run("env", "VMD_SOCKET=/run/vmd/vmd.sock", "vmctl", "list", check=False,
                         user="stranger")
    expect(status != 0 and "Permission denied" in said, "anybody else is not, and is told why")
    said = s.words("env", "HOME=/tmp", "vmctl", "rpc", "system.info", user="stranger")
    expect(not json.loads(said)["system"], "but has a daemon of his own")
    info = json.loads(s.words("vmctl", "rpc", "system.info", user="member"))
    expect(info["role"] == "operate", "a member operates VMs")
    status, said = s.run("vmctl", "rpc", "system.shutdown", check=False, user="member")
    expect(status != 0, "a member does not end the daemon")


def check_libvirt(s):
    for path in ("/run/libvirt/virtvmdd-sock", "/run/libvirt/virtvmdd-sock-ro"):
        expect(s.words("stat", "-c", "%U:%G %a", path) == "vmd:vmd 660\n", f"{path} is the group's")
    said = s.words("virsh", "-c", "vmd:///system", "version", user="member")
    expect("hypervisor: vmd" in said, "virsh finds vmd:///system by itself")
    expect(s.run("virsh", "-r", "-c", "vmd:///system", "list", "--all", user="member")[0] == 0,
           "and its socket for those who only look")
    status, said = s.run("virsh", "-c", "vmd:///system", "list", check=False, user="stranger")
    expect(status != 0 and "Permission denied" in said, "strangers are not let in there either")


def check_host_devices(s):
    said = json.loads(s.words("vmctl", "rpc", "host.devices", user="member"))
    expect(said["watch"] == "uevents", "the kernel tells vmd of the host's devices")
    s.run("ip", "tuntap", "add", "mode", "tap", "name", "comes")
    s.until("vmd has heard of an interface that came", lambda: "net:comes" in s.words(
        "vmctl", "events", "--list", "--type", "host.device", user="member"))


def start_guest(s, kernel, initrd):
    images = "/var/lib/vmd/images"
    root = pathlib.Path(f"/proc/{s.first}/root")
    for source, name in (kernel, "kernel"), (initrd, "initrd"):
        shutil.copy(source, f"{root}{images}/{name}")
    s.run("chown", "-R", "vmd:vmd", images)
    s.run("vmctl", "run", "--name", "guest", "--detach", "--arch", "riscv64", "--memory", "128M",
          "--kernel", f"{images}/kernel", "--initrd", f"{images}/initrd", user="member")
    s.until("the guest is up", lambda: "guest is up" in s.words("vmctl", "console", "--log", "guest"))
    vm = json.loads(s.words("vmctl", "info", "--json", "guest"))
    where = s.words("ps", "-o", "user=,cgroup=", "-p", vm["pid"]).split()
    expect(where[0] == "vmd" and where[1].endswith("/system.slice/vmd.service"),
           "the VM's process is the user vmd's, in the service's control group")
    return vm["pid"]


def same_guest(s, pid):
    """Whether the guest still runs in process PID and takes what is typed."""
    vm = json.loads(s.words("vmctl", "info", "--json", "guest"))
    return vm["state"] == "running" and vm["pid"] == pid and gone_on(s)


def gone_on(s):
    before = s.words("vmctl", "console", "--log", "guest").count("tick")
    s.until("the guest goes on",
            lambda: s.words("vmctl", "console", "--log", "guest").count("tick") > before)
    return True


def check_restarts(s, pid):
    main = s.property("vmd.service", "MainPID")
    s.run("systemctl", "restart", "vmd.service")
    expect(s.property("vmd.service", "MainPID") != main and same_guest(s, pid),
           "a restart of vmd does not touch the guest")
    main = s.property("vmd.service", "MainPID")
    s.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "vmd.service")
    s.until("systemd starts vmd again", lambda: s.property("vmd.service", "MainPID") not in ("0", main)
            and s.property("vmd.service", "ActiveState") == "active")
    expect(same_guest(s, pid), "vmd comes back by itself when it is killed, and the guest is there")
    s.run("systemctl", "stop", "vmd.service")
    expect(s.property("vmd.service", "ActiveState") == "inactive"
           and s.property("vmd.service", "Result") == "success"
           and s.run("test", "-d", f"/proc/{pid}", check=False)[0] == 0,
           "vmd stops cleanly, and the guest goes on without it")
    expect(same_guest(s, pid), "the next client starts vmd, which finds the guest")
    s.run("vmctl", "kill", "guest")
    s.until("the VM's process ends", lambda: s.run("test", "-d", f"/proc/{pid}", check=False)[0] != 0)
    s.run("vmctl", "delete", "guest")


def check_confinement(s):
    for unit, most in EXPOSURE.items():
        said = s.words("systemd-analyze", "security", "--no-pager", "--offline=true", unit, check=False)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        expect(found and float(found[1]) * 10 <= most,
               f"the exposure of {unit} is {found and found[1]}, at most {most / 10}")
    s.run("systemctl", "start", "vmd-helper.socket")
    expect(s.words("stat", "-c", "%U %a", "/run/vmd-helper.sock") == "root 666\n", "the helper's socket is there")


def check_journal(s):
    lines = [json.loads(line) for line in
             s.words("journalctl", "-u", "vmd.service", "-o", "json", "--no-pager").splitlines()]
    ours = [line for line in lines if line.get("_COMM") == "vmd"]
    said = [line["MESSAGE"] for line in ours]
    expect(any(text.startswith("listening at /run/vmd/vmd.sock") for text in said),
           "the journal has what vmd said")
    expect(not any(text.startswith(("<", "vmd: ")) for text in said),
           "without prefixes, which the journal has as priorities")
    bad = [line["MESSAGE"] for line in lines
           if int(line.get("PRIORITY", 6)) <= 4 and "Failed with result 'signal'" not in line["MESSAGE"]
           and "code=killed, status=9/KILL" not in line["MESSAGE"]
           and "remains running after unit stopped" not in line["MESSAGE"]
           and "left-over process" not in line["MESSAGE"]
           and "This usually indicates unclean termination" not in line["MESSAGE"]]
    expect(not bad, f"nothing in it is a warning {bad or ''}".rstrip())
    logs = s.words("sh", "-c", "cat /var/log/vmd/*/process.log /var/lib/vmd/vms/*/process.log 2>&1",
                   check=False)
    expect("was refused" not in logs, "no system call was refused")


def make_guest(folder):
    script = folder / "script"
    script.write_text("echo guest is up\nwhile sleep 1; do echo tick; done\n")
    initrd = folder / "initrd"
    sh(TOP / "tools/mkinitrd", "-o", initrd, "--init", script, stdout=subprocess.DEVNULL)
    return initrd


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default=TOP / "build", type=pathlib.Path, help="the build folder")
    parser.add_argument("--kernel", help="a riscv64 kernel (default: Debian's, by tools/fetch)")
    parser.add_argument("--verbose", action="store_true", help="show each command and what it said")
    parser.add_argument("--become", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    if arguments.become:
        become_systemd(arguments.become, build)
    if os.geteuid() != 0:
        print("this takes root")
        return 1
    kernel = arguments.kernel or subprocess.run(
        [TOP / "tools/fetch", "linux-riscv64"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="service-guest-") as folder:
        initrd = make_guest(pathlib.Path(folder))
        system = System(build, arguments.verbose)
        try:
            check_users_and_folders(system)
            check_activation(system)
            check_people(system)
            check_libvirt(system)
            check_host_devices(system)
            pid = start_guest(system, kernel, initrd)
            check_restarts(system, pid)
            check_confinement(system)
            check_journal(system)
        except Failure as failure:
            print(f"failed: {failure}")
            if system.first:
                print(system.run("journalctl", "-n", "40", "--no-pager", check=False)[1])
            return 1
        finally:
            system.end()
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
