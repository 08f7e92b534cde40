#!/usr/bin/env python3
"""Lists the functions that libamdhip64 exports and lacks, from the table (functions.txt), as a page of the documentation.

    list.py FUNCTIONS [--check PAGE]

Prints the page; with --check it says whether PAGE is that, and how to make it so.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lacking  # pylint: disable=wrong-import-position

GROUPS = [
    ("Arrays, textures and surfaces", r"hip\w*(Array|Tex|Surface|ChannelDesc)|hipMemcpy(\w*A(to|Async)|\w*toA)"),
    ("Graphics and other programs' objects", r"hip(Graphics|GL|Import|DestroyExternal|External|SignalExternal|WaitExternal|Ipc)"),
    ("Virtual memory management and handles", r"hipMem(Address|Create|Release|Map|Unmap|SetAccess|GetAccess|Export|Import|GetAlloc"
                                              r"|Retain|PoolExport|PoolImport)"),
    ("Graphs", r"hip\w*Graph|hipUserObject|hipStreamBeginCaptureToGraph"),
    ("Launches as they once were, or on several devices", r"hip(ConfigureCall|SetupArgument|LaunchByPtr|\w*MultiDevice)"),
    ("Other", r""),
]

TEXT = ("`libamdhip64.so.6` for guests exports these, and each returns `hipErrorNotSupported`; all others of HIP's runtime and "
        "module API are there, but for what is for tracers and debuggers; those of hiprtc are ([gpu-hip.md](gpu-hip.md)).")

if __name__ == "__main__":
    lacking.main(sys.argv, __doc__, "guest/hip/list.py", "Functions of HIP that are lacking", TEXT, GROUPS)
