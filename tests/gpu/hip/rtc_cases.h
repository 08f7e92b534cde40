/* What a program gives hiprtc and the stand-in for that is to get. */
#ifndef TESTS_GPU_HIP_RTC_CASES_H
#define TESTS_GPU_HIP_RTC_CASES_H

#define RTC_TEXT                                                                                   \
    "#include \"first.h\"\n#include \"dir/second.h\"\n"                                            \
    "extern \"C\" __global__ void twice(int *v, int n) {}\n\t\x80\xff\x01\n"
#define RTC_FIRST "template <typename T> __global__ void f() {}\n"

#endif
