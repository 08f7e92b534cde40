#!/usr/bin/env python3
"""Has systemd itself check the units, the user and the folders of this folder.

    check_units.py FOLDER [FOLDER]...

The first has all of vmd's; others have units for guests.

The units are checked as they would be installed, with /bin/true for the programs, which need not
be installed for this. Fails on anything that systemd has to say about them.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

SKIPPED = 77  # to meson


def run(*command, **env):
    """What COMMAND says, and whether it succeeded."""
    done = subprocess.run(command, text=True, env=dict(os.environ, **env), check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.splitlines(), done.returncode == 0


def unit_complaints(folder, scope):
    """What systemd says of the units in FOLDER; it looks at others too, which are not ours."""
    with tempfile.TemporaryDirectory(prefix="units-") as scratch:
        paths = []
        for source in [*folder.glob("*.service.in"), *folder.glob("*.service"), *folder.glob("*.socket")]:
            text = re.sub(r"@\w+@", "/bin/true", source.read_text(encoding="utf-8"))
            text = re.sub(r"^ExecStart=/usr/sbin/\S+", "ExecStart=/bin/true", text,
                          flags=re.MULTILINE)
            paths.append(pathlib.Path(scratch, source.name.removesuffix(".in")))
            paths[-1].write_text(text, encoding="utf-8")
        # The manual pages need not be installed either.
        said, good = run("systemd-analyze", "verify", scope, "--man=no", *paths,
                         XDG_RUNTIME_DIR=scratch)
    about = [line for line in said if "vmd" in line or scratch in line]
    return about if good or about else said or ["systemd-analyze failed without a word"]


def table_complaints(program, kind, source, *arguments):
    """What PROGRAM says of the table SOURCE when it works on an empty root folder."""
    with tempfile.TemporaryDirectory(prefix="root-") as root:
        etc, tables = pathlib.Path(root, "etc"), pathlib.Path(root, "usr/lib", kind)
        etc.mkdir()
        tables.mkdir(parents=True)
        # The folders' owner there is whoever runs this, who need not be root.
        (etc / "passwd").write_text(f"vmd:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\n")
        (etc / "group").write_text(f"vmd:x:{os.getgid()}:\n")
        shutil.copy(source, tables / "vmd.conf")
        said, good = run(program, f"--root={root}", *arguments, "vmd.conf")
    complaints = [line for line in said if not line.startswith("Creating ")]
    return complaints if good else complaints or [f"{program} failed without a word"]


def policy_complaints(source):
    """What is wrong with the actions of polkit's in SOURCE: vmd's user is to ask about them."""
    said = []
    for action in xml.etree.ElementTree.parse(source).iter("action"):
        name = action.get("id")
        owner = action.findtext("annotate[@key='org.freedesktop.policykit.owner']")
        asked = (source.parents[1] / "daemon/libvirt/auth.c").read_text(encoding="utf-8")
        if f'"{name}"' not in asked:
            said.append(f"nobody asks about {name}")
        if owner != "unix-user:vmd":
            said.append(f"the user vmd may not ask about {name}")
        defaults = {d.tag for d in action.find("defaults")}
        if defaults != {"allow_any", "allow_inactive", "allow_active"}:
            said.append(f"{name} has no defaults for all")
    return said


def main(folder, *others):
    if not shutil.which("systemd-analyze"):
        print("systemd is not installed")
        return SKIPPED
    said = (unit_complaints(folder, "--system") + unit_complaints(folder / "user", "--user")
            + table_complaints("systemd-sysusers", "sysusers.d", folder / "vmd.sysusers")
            + table_complaints("systemd-tmpfiles", "tmpfiles.d", folder / "vmd.tmpfiles", "--create"))
    said += policy_complaints(folder / "org.vmd.policy")
    for other in others:
        said += unit_complaints(other, "--system")
    print("\n".join(said), end="\n" if said else "")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
