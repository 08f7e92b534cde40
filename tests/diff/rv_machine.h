/*
 * tests/diff/rv_machine: runs a program of rv_random.h on a bare machine of the whole translator, in
 * U-mode over a few instructions of M-mode.
 */
#ifndef TESTS_DIFF_RV_MACHINE_H
#define TESTS_DIFF_RV_MACHINE_H

#include "tests/diff/rv_random.h"

/* TIER as in struct accel_config. OUTPUT gets the program's dumps. */
bool rv_machine_run(const struct rv_program *program, unsigned tier, GByteArray *output,
                    GError **err);

#endif
