/*
 * tests/diff/rv_random: random RISC-V programs from the specification's own rows.
 *
 * A program is a list of tests. Each gives fresh values to what its instruction reads, runs the one
 * instruction and stores every register, fcsr and a piece of memory. Or it runs a sequence of them,
 * of any extension, that work on few registers and one piece of memory. The program is an ELF file
 * that prints all of it and ends, for any RISC-V Linux; what two runs print differently names the
 * test.
 */
#ifndef TESTS_DIFF_RV_RANDOM_H
#define TESTS_DIFF_RV_RANDOM_H

#include "base/base.h"
#include "xlate/front/riscv64/rv_isa.h"

enum {
    RV_DUMP_X = 0,       /* x1..x31 */
    RV_DUMP_F = 31,      /* f0..f31 */
    RV_DUMP_FCSR = 63,
    RV_DUMP_MEMORY = 64, /* two words */
    RV_DUMP_WORDS = 66,
};

enum { RV_TEST_INPUTS = 24, RV_SEQUENCE = 24 };

struct rv_test {
    uint32_t bits[RV_SEQUENCE]; /* its instructions */
    unsigned n;
    bool sequence;    /* made by rv_program_sequences() */
    uint64_t address; /* of the first */
    uint64_t input[RV_TEST_INPUTS];
};

struct rv_program {
    GArray *tests;    /* struct rv_test */
    uint8_t *image;   /* the ELF file, mapped whole at BASE */
    uint64_t base, entry, size, memory; /* MEMORY: bytes from BASE on, beyond SIZE zero */
    uint64_t dump;    /* where the dumps are: one of RV_DUMP_WORDS words a test */
};

/* COUNT tests of EXTENSION (enum rv_extension), the same ones for the same SEED. */
struct rv_program *rv_program_new(unsigned extension, unsigned count, uint64_t seed);
/* COUNT sequences of 2 to RV_SEQUENCE instructions. */
struct rv_program *rv_program_sequences(unsigned count, uint64_t seed);
/* One with TEST alone, its inputs as they were. */
struct rv_program *rv_program_of(const struct rv_test *test);
void rv_program_free(struct rv_program *program);

/* The name of word INDEX of a dump. */
const char *rv_dump_name(unsigned index, char text[16]);

/* False for extensions of which a user's program can run nothing. */
bool rv_extension_runs(unsigned extension);

#endif
