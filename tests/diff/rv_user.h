/*
 * tests/diff/rv_user: runs a program of rv_random.h in our front end and interpreter, without
 * privileged state: one flat piece of memory, two system calls.
 */
#ifndef TESTS_DIFF_RV_USER_H
#define TESTS_DIFF_RV_USER_H

#include "tests/diff/rv_random.h"

/* Runs PROGRAM to its exit; OUTPUT gets what it writes. False with an error when it does not end
 * as it should. */
bool rv_user_run(const struct rv_program *program, GByteArray *output, GError **err);

#endif
