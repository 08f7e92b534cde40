#!/usr/bin/env python3
"""Renders one manual page with what is installed (man, mandoc) and fails on any warning."""
import os
import shutil
import subprocess
import sys

SKIPPED = 77  # to meson

# Program, its arguments before the page.
CHECKERS = (
    ("man", ("--warnings", "--encoding=UTF-8", "--troff-device=utf8", "--ditroff", "--local-file")),
    ("mandoc", ("-Tlint", "-Wwarning")),
)


def complaints(program, arguments, page):
    """What PROGRAM has to say of PAGE; nothing when it is right."""
    env = dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="80", MANROFFSEQ="")
    done = subprocess.run([program, *arguments, page], env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    said = done.stderr + (done.stdout if program == "mandoc" else "")
    if not said and done.returncode:
        said = f"{program} exited with {done.returncode}\n"
    return said


def main(page):
    found = [checker for checker in CHECKERS if shutil.which(checker[0])]
    if not found:
        print("neither man nor mandoc is installed")
        return SKIPPED
    said = "".join(complaints(*checker, page) for checker in found)
    print(said, end="")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
