#!/usr/bin/env python3
"""Lists the functions that libamdhip64 exports and lacks, from the table (functions.txt), as a page of the documentation.

    list.py FUNCTIONS [--check PAGE]

Prints the page; with --check it says whether PAGE is that, and how to make it so.
"""
import re
import sys

GROUPS = [
    ("Arrays, textures and surfaces", r"hip\w*(Array|Tex|Surface|ChannelDesc)|hipMemcpy(\w*A(to|Async)|\w*toA)"),
    ("Graphics and other programs' objects", r"hip(Graphics|GL|Import|DestroyExternal|External|SignalExternal|WaitExternal|Ipc)"),
    ("Virtual memory management and handles", r"hipMem(Address|Create|Release|Map|Unmap|SetAccess|GetAccess|Export|Import|GetAlloc"
                                              r"|Retain|PoolExport|PoolImport)"),
    ("Graphs", r"hip\w*Graph|hipUserObject|hipStreamBeginCaptureToGraph"),
    ("Launches as they once were, or on several devices", r"hip(ConfigureCall|SetupArgument|LaunchByPtr|\w*MultiDevice)"),
    ("Other", r""),
]


def lacking(path):
    with open(path, encoding="utf-8") as file:
        rows = [line.split("#")[0].split() for line in file]
    return sorted(words[1] for words in rows if words and words[0] == "lack")


def page(path):
    left = lacking(path)
    out = ["# Functions of HIP that are lacking", "",
           "`libamdhip64.so.6` for guests exports these, and each returns `hipErrorNotSupported`; all others of HIP's runtime and "
           "module API are there, but for what is for tracers, debuggers and hiprtc ([gpu-hip.md](gpu-hip.md)).", "Made by `guest/hip/list.py` from `guest/hip/functions.txt`.", "",
           "| about | functions |", "|---|---|"]
    for title, pattern in GROUPS:
        named = [name for name in left if re.match(pattern, name)]
        left = [name for name in left if name not in named]
        if named:
            out.append(f"| {title} | " + ", ".join(f"`{name}`" for name in named) + " |")
    return "\n".join(out) + "\n"


def main(argv):
    if len(argv) not in (2, 4) or (len(argv) == 4 and argv[2] != "--check"):
        sys.exit(__doc__)
    text = page(argv[1])
    if len(argv) == 2:
        sys.stdout.write(text)
        return
    with open(argv[3], encoding="utf-8") as file:
        if file.read() != text:
            sys.exit(f"{argv[3]} is not what the table says: guest/hip/list.py guest/hip/functions.txt > {argv[3]}")


if __name__ == "__main__":
    main(sys.argv)
