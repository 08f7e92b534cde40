/*
 * tests/diff/a64_machine: a program on a whole machine of the translator, at EL0. Its system calls are
 * exit, and others that do nothing.
 */
#ifndef TESTS_DIFF_A64_MACHINE_H
#define TESTS_DIFF_A64_MACHINE_H

#include "tests/diff/oracle.h"

/* TIER as in struct accel_config. OUTPUT gets what IMAGE leaves. */
bool a64_machine_run(const struct diff_image *image, unsigned tier, GByteArray *output, GError **err);

#endif
