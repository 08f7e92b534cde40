#!/usr/bin/env python3
"""Lists the functions that the library exports and lacks, from the table (functions.txt), as a page of the documentation.

    list.py FUNCTIONS [--check PAGE]

Prints the page; with --check it says whether PAGE is that, and how to make it so.
"""
import re
import sys

GROUPS = [
    ("Graphs", r"cuGraph(?!ics)|cuUserObject|cuDevice(Graph|[GS]etGraph)"),
    ("Arrays, textures and surfaces", r"cu(Mipmapped)?Array|cuTex|cuSurf|cuTensorMap|cuMemcpy(\w*A(to|Async)|\w*toA)|cuParamSetTexRef"
                                      r"|cuModuleGet(Tex|Surf)Ref|cuMemMapArray|cuDeviceGetTexture"),
    ("Graphics and other programs' objects", r"cuGraphics|cuImport|cuDestroyExternal|cuExternal|cuSignalExternal|cuWaitExternal"
                                             r"|cuIpc|cuDeviceGetNvSci|cuDeviceGetLuid|cuFlushGPUDirect"),
    ("Virtual memory management and handles", r"cuMem(Address|Create|Release|Map|Unmap|SetAccess|GetAccess|Export|Import|GetAlloc"
                                              r"|Retain|GetHandle|PoolExport|PoolImport)|cuMulticast"),
    ("Parts of devices, watchers", r"cuGreenCtx|cuDevResource|cuDevSm|cuCtxFromGreen|cuCtxGet(DevResource|Exec)|cuDeviceGet(DevResource"
                                   r"|Exec|Host|P2PAtomic)|cuCoredump|cuLogs|cuCheckpoint|cuProfiler|cuDevice(Un)?[rR]egister"
                                   r"|cuGetExportTable|cuStreamGetGreenCtx|cuCtx(Record|Wait)Event"),
    ("Launches as they once were", r"cuParam|cuLaunch$|cuLaunchGrid|cuFuncSet(Block|Shared)|cuCtxAttach|\w*MultiDevice"),
    ("Other", r""),
]


def lacking(path):
    with open(path, encoding="utf-8") as file:
        rows = [line.split("#")[0].split() for line in file]
    return sorted(words[1] for words in rows if words and words[0] == "lack")


def page(path):
    left = lacking(path)
    out = ["# Functions of the driver API that are lacking", "",
           "`libcuda.so.1` exports these, and each returns `CUDA_ERROR_NOT_SUPPORTED`; all others of the driver API are there "
           "([gpu.md](gpu.md)).", "Made by `guest/cuda/list.py` from `guest/cuda/functions.txt`.", "",
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
            sys.exit(f"{argv[3]} is not what the table says: guest/cuda/list.py guest/cuda/functions.txt > {argv[3]}")


if __name__ == "__main__":
    main(sys.argv)
