/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/hip/rtc: hiprtc for programs of guests: sources are compiled on the host, for the device
 * that the thread has chosen. A program's object is used by one thread at a time, as in ROCm.
 */
#ifndef GUEST_HIP_RTC_H
#define GUEST_HIP_RTC_H

#include "gpu/protocol/source.h"

enum hiprtc_result {
    HIPRTC_SUCCESS = 0,
    HIPRTC_ERROR_OUT_OF_MEMORY = 1,
    HIPRTC_ERROR_PROGRAM_CREATION_FAILURE = 2,
    HIPRTC_ERROR_INVALID_INPUT = 3,
    HIPRTC_ERROR_INVALID_PROGRAM = 4,
    HIPRTC_ERROR_INVALID_OPTION = 5,
    HIPRTC_ERROR_COMPILATION = 6,
    HIPRTC_ERROR_BUILTIN_OPERATION_FAILURE = 7,
    HIPRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION = 8,
    HIPRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION = 9,
    HIPRTC_ERROR_NAME_EXPRESSION_NOT_VALID = 10,
    HIPRTC_ERROR_INTERNAL_ERROR = 11,
    HIPRTC_ERROR_LINKING = 100,
};

typedef int hiprtcResult;

/* The parts of what came of a source, in the order of the record's numbers. */
enum rtc_part { RTC_LOG, RTC_CODE, RTC_NAMES, RTC_PARTS };

/* Bytes with a 0 behind them; NULL: none. */
struct rtc_bytes {
    char *at; /* owned */
    size_t bytes;
};

/* Has S compiled, and sets the RTC_PARTS of PARTS, which are empty, also where it fails: the log
 * says why. */
hiprtcResult rtc_compile(const struct gpu_source *s, struct rtc_bytes *parts);

#endif
