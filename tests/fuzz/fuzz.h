/*
 * What a fuzz target is: tests/fuzz/fuzz_NAME.c defines both functions.
 *
 * With -Dfuzz=true (clang) libFuzzer drives it, guided by coverage and for as long as one likes.
 * In every other build driver.c does: its seeds, then a fixed number of seeded mutations of them,
 * as a test that takes seconds and gives the same inputs every time.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Feeds SIZE bytes of DATA to the code under test. Returns 0 for any bytes, or the code has a bug:
 * so it may use g_assert() for what must hold of the result. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Appends the Nth well-formed (or nearly so) input to OUT; false when there are no more. */
bool fuzz_seed(unsigned n, GByteArray *out);

#endif
