/*
 * tests/diff/rv_machine: a program, entered at 0x101000, on a bare machine of the whole translator, in
 * U-mode over a few instructions of M-mode. Its system calls are exit, and others that do nothing.
 */
#ifndef TESTS_DIFF_RV_MACHINE_H
#define TESTS_DIFF_RV_MACHINE_H

#include "tests/diff/oracle.h"

/* TIER as in struct accel_config. OUTPUT gets what IMAGE leaves. */
bool rv_machine_run(const struct diff_image *image, unsigned tier, GByteArray *output, GError **err);

#endif
