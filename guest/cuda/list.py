#!/usr/bin/env python3
"""Lists the functions that libcuda exports and lacks, from the table (functions.txt), as a page of the documentation.

    list.py FUNCTIONS [--check PAGE]

Prints the page; with --check it says whether PAGE is that, and how to make it so.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lacking  # pylint: disable=wrong-import-position

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

TEXT = ("`libcuda.so.1` exports these, and each returns `CUDA_ERROR_NOT_SUPPORTED`; all others of the driver API are there "
        "([gpu.md](gpu.md)).")

if __name__ == "__main__":
    lacking.main(sys.argv, __doc__, "guest/cuda/list.py", "Functions of the driver API that are lacking", TEXT, GROUPS)
