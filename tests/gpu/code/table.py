#!/usr/bin/env python3
"""What llvm-readelf says of a code object, as a table for tests: an oracle that shares nothing with gpu/code.

    table.py READELF FILE.co

Prints "object ABI FLAGS TARGET", then for each kernel "kernel NAME KERNARG ALIGN GROUP PRIVATE WAVEFRONT THREADS" and, for
each argument of it, "arg OFFSET SIZE KIND".
"""
import re
import subprocess
import sys


def said(readelf, option, path):
    return subprocess.run([readelf, option, path], check=True, stdout=subprocess.PIPE, text=True).stdout


def header(text):
    abi = re.search(r"ABI Version:\s+(\d+)", text)[1]
    flags = re.search(r"Flags:\s+0x([0-9a-fA-F]+)", text)[1]
    return abi, flags


def items(lines, indent):
    """Splits the lines of a YAML list whose dashes are at column INDENT."""
    found = []
    for line in lines:
        if line[:indent].strip() == "" and line[indent:indent + 2] == "- ":
            found.append([])
            line = line[:indent] + "  " + line[indent + 2:]
        found[-1].append(line)
    return found


def pairs(lines, indent):
    """The keys at column INDENT with what follows each: its text, and the lines that are deeper."""
    found, key = {}, None
    for line in lines:
        match = re.match(r"^ {%d}([.\w]+): *(.*)$" % indent, line)
        if match:
            key = match[1]
            found[key] = (match[2].strip().strip("'\""), [])
        else:
            found[key][1].append(line)
    return found


def depth(lines):
    return len(lines[0]) - len(lines[0].lstrip()) if lines else 0


def main(argv):
    if len(argv) != 3:
        sys.exit(__doc__)
    abi, flags = header(said(argv[1], "-h", argv[2]))
    text = said(argv[1], "--notes", argv[2])
    lines = text[text.index("---\n") + 4:text.index("\n...")].split("\n")
    top = pairs(lines, 0)
    print("object", abi, flags, top.get("amdhsa.target", ("-",))[0])
    kernels = top["amdhsa.kernels"][1]
    for kernel in items(kernels, depth(kernels)):
        fields = pairs(kernel, depth(kernels) + 2)
        names = (".name", ".kernarg_segment_size", ".kernarg_segment_align", ".group_segment_fixed_size",
                 ".private_segment_fixed_size", ".wavefront_size", ".max_flat_workgroup_size")
        print("kernel", *(fields[name][0] for name in names))
        args = fields[".args"][1] if ".args" in fields else []
        for arg in items(args, depth(args)):
            of = pairs(arg, depth(args) + 2)
            print("arg", *(of[name][0] for name in (".offset", ".size", ".value_kind")))


if __name__ == "__main__":
    main(sys.argv)
