/*
 * tests/diff/values: random numbers, and operands among which the edges are.
 */
#ifndef TESTS_DIFF_VALUES_H
#define TESTS_DIFF_VALUES_H

#include "base/base.h"

/* The next number of a sequence; *STATE is never 0. */
uint64_t diff_rnd(uint64_t *state);

/* An integer: often an edge of 8, 16, 32 or 64 bits, a power of two, or few bits. */
uint64_t diff_integer(uint64_t *state);

/* A float's bits: often a zero, a subnormal, an infinity, a NaN or a neighbour of them. */
uint64_t diff_floating(uint64_t *state, int exp_bits, int frac_bits);

#endif
