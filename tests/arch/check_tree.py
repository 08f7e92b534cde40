#!/usr/bin/env python3
"""Checks that the tree keeps to its own architecture (docs/architecture/tree.md).

    check_tree.py [--build FOLDER] TOP

Prints one line "file:line: what is wrong" a finding and exits with 1 if there is any. What is
checked: the include arrows of arrows.txt, the form of includes and headers, words that have no place
in the tree, tests that nobody runs, limits that nobody keeps. With the build folder also: C
files that nobody compiles, and mutable file-scope state where there must be none.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys

ARROWS = pathlib.Path(__file__).resolve().with_name("arrows.txt")
MUST_EXIST = ("base", "mem", "accel", "xlate", "machine", "hotplug", "gpu", "proto", "vm",
              "daemon", "vmctl", "tests/unit", "tools", "systemd", "docs/man", "docs/architecture",
              ".ci/run")
# Programs that run elsewhere or exist to test: they may include anything.
FREE = ("tests", "bench", "guest")
NOT_OURS = re.compile(r"^(build.*|\.git|\.cache|__pycache__|shared)$")
TEXT = {".c", ".h", ".inc", ".S", ".py", ".sh", ".md", ".txt", ".build", ".in", ".service", ".socket",
        ".scn", ".schema"}

# Pattern, the files it must not be in (by suffix; () is any), why. Split words keep this file clean.
WORDS = (
    (re.compile(r"/wor" r"k/"), (), "a path of one machine"),
    (re.compile(r"\bdeb\.debi" r"an\.org|\bftp\.\w+\.debi" r"an\.org"), (),
     "names a mirror; the machine's own is used"),
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"), (), "unfinished work is not kept in the tree"),
    (re.compile(r"\bg_main_(loop|context)_"), (".c", ".h"), "the event loop is libuv"),
    (re.compile(r"^typedef struct \w+ \{|^typedef struct \{"), (".c", ".h"), "no typedef for structs"),
)
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
# Sections whose contents a program can change; .data.rel.ro is written by the loader only.
MUTABLE_SECTION = re.compile(r"^(\.data|\.bss|\.tdata|\.tbss|\*COM\*|COMMON)(?!\.rel\.ro)(\.|$)")
STATELESS = ("machine", "xlate")

Finding = collections.namedtuple("Finding", "path line text")
Arrow = collections.namedtuple("Arrow", "source targets why")


def read_arrows(path=ARROWS):
    """The rows of arrows.txt, longest source first."""
    arrows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 3 or not fields[2]:
            sys.exit(f"{path}:{number}: expected folder | targets | why")
        arrows.append(Arrow(fields[0], fields[1].split(), fields[2]))
    return sorted(arrows, key=lambda arrow: -len(arrow.source))


def below(path, folder):
    return path == folder or path.startswith(folder + "/")


def isa_of(path):
    """The ISA's folder that a file of xlate/{front,sys,back} is in, or None."""
    match = re.match(r"(xlate/(front|sys|back))/(\w+)/", path)
    return (match[2], match[3]) if match else None


class Tree:
    """The text files of one tree, read once."""

    def __init__(self, top):
        self.top = pathlib.Path(top).resolve()
        self.files = {}
        for folder, folders, names in os.walk(self.top):
            folders[:] = sorted(name for name in folders if not NOT_OURS.match(name))
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                if path.suffix in TEXT or path.suffix == "" and os.access(path, os.X_OK):
                    relative = path.relative_to(self.top).as_posix()
                    self.files[relative] = path.read_text(encoding="utf-8").splitlines()

    def of(self, *suffixes):
        """(path, lines) of each file with one of SUFFIXES."""
        return [(path, lines) for path, lines in self.files.items() if path.endswith(suffixes)]


def check_folders(tree):
    for name in MUST_EXIST:
        if not (tree.top / name).exists():
            yield Finding(name, 0, "is missing")


def arrow_error(arrows, path, target):
    """Why PATH may not include TARGET, or None."""
    arrow = next((arrow for arrow in arrows if below(path, arrow.source)), None)
    if arrow is None:
        return "its folder has no row in arrows.txt"
    # A header with a row of its own has what the row says, not its folder too.
    own = os.path.dirname(path) if arrow.source != path else path
    if below(target, own) or below(target, arrow.source):
        ours, theirs = isa_of(path), isa_of(target)
        if ours and theirs and ours != theirs:
            return f"{ours[0]}/{ours[1]} may not know {theirs[0]}/{theirs[1]}"
        return None
    if not any(below(target, allowed) for allowed in arrow.targets):
        allowed = " ".join(arrow.targets) or "nothing else"
        return f"{arrow.source} may include {allowed}: {arrow.why}"
    ours, theirs = isa_of(path), isa_of(target)
    if ours and theirs and ours[1] != theirs[1]:
        return f"{ours[0]}/{ours[1]} may not know {theirs[0]}/{theirs[1]}"
    return None


def check_includes(tree, arrows):
    tops = {path.split("/", 1)[0] for path in tree.files if "/" in path}
    for path, lines in tree.of(".c", ".h", ".inc", ".S"):
        if path.split("/", 1)[0] in FREE:
            continue
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match[2]
            if match[1] == "<":
                if target in tree.files:
                    yield Finding(path, number, f'<{target}> is one of ours: "{target}"')
            elif target.split("/", 1)[0] not in tops or ".." in target:
                yield Finding(path, number, f'"{target}" is not named by its path from the top')
            elif error := arrow_error(arrows, path, target):
                yield Finding(path, number, f'includes "{target}", but {error}')


def check_headers(tree):
    for path, lines in tree.of(".h"):
        guard = re.sub(r"\W", "_", path).upper()
        if f"#ifndef {guard}" not in lines or f"#define {guard}" not in lines:
            yield Finding(path, 1, f"its include guard is not {guard}")
    for path, lines in tree.of(".c", ".h"):
        # A file that begins with its own header has its words there.
        own = f'#include "{path[:-2]}.h"'
        if not lines or not lines[0].startswith("/*") and lines[0] != own:
            yield Finding(path, 1, "does not open with a comment that says what it is for")


def check_words(tree):
    for path, lines in tree.files.items():
        for pattern, suffixes, why in WORDS:
            if suffixes and not path.endswith(suffixes):
                continue
            for number, line in enumerate(lines, 1):
                if match := pattern.search(line):
                    yield Finding(path, number, f"'{match[0]}': {why}")


def check_tests_run(tree):
    """Every unit test, fuzz target and scenario is in the list of its folder."""
    for folder, pattern in (("tests/unit", r"tests/unit/test_(\w+)\.c$"),
                            ("tests/fuzz", r"tests/fuzz/fuzz_(\w+)\.c$"),
                            ("tests/scenario", r"tests/scenario/([\w-]+)\.scn$")):
        listed = "\n".join(tree.files.get(f"{folder}/meson.build", []))
        for path in tree.files:
            match = re.match(pattern, path)
            if match and not re.search(rf"^\s*(\[|)'{match[1]}'[,\]]", listed, re.MULTILINE):
                yield Finding(path, 1, f"is not in the list of {folder}/meson.build")


def check_limits(tree):
    """Every limit is kept by somebody: code that names LIMIT_X, or a bound X of the schema."""
    used = set()
    for path, lines in tree.of(".c", ".h", ".schema"):
        if path.split("/", 1)[0] not in FREE:
            pattern = r"[A-Z][A-Z0-9_]+" if path.endswith(".schema") else r"(?<=\bLIMIT_)[A-Z0-9_]+"
            for line in lines:
                used.update(re.findall(pattern, line))
    for number, line in enumerate(tree.files.get("base/limits.inc", []), 1):
        match = re.match(r"LIMIT\((\w+),", line)
        if match and match[1] not in used:
            yield Finding("base/limits.inc", number, f"nothing keeps LIMIT_{match[1]}")


def check_compiled(tree, build):
    """Every C file of the product is compiled by somebody, but for back ends of other hosts."""
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    compiled = {os.path.relpath(os.path.realpath(build / row["file"]), tree.top)
                for row in commands}
    targets = json.loads((build / "meson-info/intro-targets.json").read_text(encoding="utf-8"))
    compiled |= {os.path.relpath(os.path.realpath(source), tree.top) for target in targets
                 if target["name"].startswith("cross_")
                 for sources in target["target_sources"] for source in sources.get("sources", ())}
    used = {os.path.dirname(path) for path in compiled}
    for path, _ in tree.of(".c"):
        elsewhere = path.startswith("xlate/back/") and os.path.dirname(path) not in used
        if path.split("/", 1)[0] not in FREE and path not in compiled and not elsewhere:
            yield Finding(path, 1, "is compiled by nothing")


def mutable_symbols(listing):
    """The names of changeable variables in what `objdump -t` prints."""
    for line in listing.splitlines():
        # value, seven flag characters, section, size, name; "O" is an object.
        match = re.match(r"[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ (?:\.\w+ )?(\S+)$", line)
        if match and "O" in match[1] and MUTABLE_SECTION.match(match[2]):
            yield match[3]


def check_state(tree, build):
    """Devices and the translator hang everything off an object: no variable outlives one."""
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    for row in commands:
        source = os.path.relpath(os.path.realpath(build / row["file"]), tree.top)
        if not any(below(source, folder) for folder in STATELESS):
            continue
        done = subprocess.run(["objdump", "-t", build / row["output"]], text=True,
                              capture_output=True, check=True)
        for name in mutable_symbols(done.stdout):
            yield Finding(source, 1, f"'{name}' is mutable state outside any object")


def check(top, build=None, sanitized=False):
    """Every finding in the tree at TOP."""
    tree, arrows = Tree(top), read_arrows()
    yield from check_folders(tree)
    yield from check_includes(tree, arrows)
    yield from check_headers(tree)
    yield from check_words(tree)
    yield from check_tests_run(tree)
    yield from check_limits(tree)
    if build:
        yield from check_compiled(tree, build)
        if not sanitized:  # sanitizers add variables of their own
            yield from check_state(tree, build)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("top", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--sanitized", action="store_true")
    args = parser.parse_args(argv)
    findings = list(check(args.top, args.build, args.sanitized))
    for finding in findings:
        print(f"{finding.path}:{finding.line}: {finding.text}")
    if findings:
        print(f"{len(findings)} findings; docs/architecture/tree.md has the rules and reasons")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
