/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * libhiprtc.so.6 for guests: a filter (the linker's word) of libamdhip64.so.6, where all of these
 * functions are. Programs that are linked with it, or load it, have those; what is here would say
 * that they could not be found.
 */
enum { INTERNAL_ERROR = 11 };

#define NONE(name)                                                                                 \
    __attribute__((visibility("default"))) int name(void);                                         \
    int name(void)                                                                                 \
    {                                                                                              \
        return INTERNAL_ERROR;                                                                     \
    }

NONE(hiprtcAddNameExpression)
NONE(hiprtcCompileProgram)
NONE(hiprtcCreateProgram)
NONE(hiprtcDestroyProgram)
NONE(hiprtcGetBitcode)
NONE(hiprtcGetBitcodeSize)
NONE(hiprtcGetCode)
NONE(hiprtcGetCodeSize)
NONE(hiprtcGetLoweredName)
NONE(hiprtcGetProgramLog)
NONE(hiprtcGetProgramLogSize)
NONE(hiprtcLinkAddData)
NONE(hiprtcLinkAddFile)
NONE(hiprtcLinkComplete)
NONE(hiprtcLinkCreate)
NONE(hiprtcLinkDestroy)
NONE(hiprtcVersion)

__attribute__((visibility("default"))) const char *hiprtcGetErrorString(int result);
const char *hiprtcGetErrorString(int result)
{
    return "HIPRTC_ERROR_INTERNAL_ERROR";
}
