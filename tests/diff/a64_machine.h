/*
 * tests/diff/a64_machine: a program of random tests on a whole machine of the translator, at EL0.
 */
#ifndef TESTS_DIFF_A64_MACHINE_H
#define TESTS_DIFF_A64_MACHINE_H

#include "tests/diff/a64_random.h"

/* OUTPUT gets the states after the tests. */
bool a64_machine_run(const struct a64_program *program, unsigned tier, GByteArray *output, GError **err);

#endif
