/*
 * tests/diff/a64_random: random A64 programs from the specification's own rows.
 *
 * A program is a list of tests. Each gives fresh values to all registers, flags and a piece of memory,
 * runs one instruction or a sequence of them, and stores all of it again. The program is an ELF file that
 * prints what was stored and ends, for any arm64 Linux; what two runs print differently names the test.
 */
#ifndef TESTS_DIFF_A64_RANDOM_H
#define TESTS_DIFF_A64_RANDOM_H

#include "base/base.h"
#include "xlate/front/aarch64/a64_isa.h"

/* The words of a state, before a test and after it. */
enum {
    A64_STATE_V = 0,    /* v0..v31, two words each */
    A64_STATE_X = 64,   /* x0..x30 */
    A64_STATE_SP = 95,
    A64_STATE_NZCV = 96,
    A64_STATE_FPCR = 97,
    A64_STATE_FPSR = 98,
    A64_STATE_MEMORY = 100,
    A64_STATE_MEMORY_WORDS = 16,
    A64_STATE_WORDS = 116,
};

/* Kinds of tests: an extension's instructions (enum a64_extension), or these. */
enum {
    A64_SEQUENCES = A64_EXTENSIONS, /* 2 to A64_SEQUENCE integer instructions */
    A64_EXCLUSIVES,                 /* a load-exclusive and a store-exclusive */
    A64_KINDS,
};

enum {
    A64_SEQUENCE = 16,
    A64_TESTS_MAX = 20000, /* in a program */
};

struct a64_test {
    uint32_t bits[A64_SEQUENCE];
    unsigned n;
    uint64_t entry; /* of its code */
    uint64_t before[A64_STATE_WORDS];
};

struct a64_program {
    GArray *tests;  /* struct a64_test */
    uint8_t *image; /* the ELF file, mapped whole at BASE */
    uint64_t base, entry, size;
    uint64_t states; /* where the tests' are: before, in the end after */
};

/* COUNT tests of KIND, the same ones for the same SEED. */
struct a64_program *a64_program_new(unsigned kind, unsigned count, uint64_t seed);
void a64_program_free(struct a64_program *program);

/* The name of word INDEX of a state. */
const char *a64_state_name(unsigned index, char text[16]);

const char *a64_kind_name(unsigned kind);

#endif
