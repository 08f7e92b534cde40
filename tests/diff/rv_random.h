/*
 * tests/diff/rv_random: random RISC-V programs from the specification's own rows.
 *
 * A program is a list of tests. Each gives fresh values to all registers, fcsr and a piece of memory,
 * runs one instruction, or a sequence of any extension's that work on few registers and on that
 * memory, and stores all of it again. The program is an ELF file that prints what was stored and
 * ends, for any RISC-V Linux; what two runs print differently names the test.
 */
#ifndef TESTS_DIFF_RV_RANDOM_H
#define TESTS_DIFF_RV_RANDOM_H

#include "base/base.h"
#include "xlate/front/riscv64/rv_isa.h"

/* The words of a state, before a test and after it. */
enum {
    RV_STATE_X = 0,       /* x1..x31 */
    RV_STATE_F = 31,      /* f0..f31 */
    RV_STATE_FCSR = 63,
    RV_STATE_MEMORY = 64, /* two words */
    RV_STATE_WORDS = 66,
};

/* Kinds of tests: an extension's instructions (enum rv_extension), or these. */
enum {
    RV_SEQUENCES = RV_EXTENSIONS, /* 2 to RV_SEQUENCE instructions of any extension */
    RV_LOOPS,                     /* of LR and SC, which end */
    RV_COPIES,                    /* loops that copy or fill, or nearly do */
    RV_COUNTERS,                  /* reads of the counters */
    RV_KINDS,
};

enum {
    RV_SEQUENCE = 24,
    RV_STATES = 4, /* tests that one instruction or sequence serves */
    RV_TESTS_MAX = 20000, /* in a program */
};

struct rv_test {
    uint32_t bits[RV_SEQUENCE]; /* its instructions */
    unsigned n;
    struct rv_insn insn;     /* the only one */
    bool reserves, odd;      /* before an SC; in a JALR's address */
    int reach;               /* where a JALR goes, from itself on */
    uint64_t entry, address; /* of the test's code, of the first instruction */
    uint64_t jump_to;        /* what a JALR finds in jump_register, if that is not 0 */
    unsigned jump_register;
    uint64_t before[RV_STATE_WORDS];
};

struct rv_program {
    GArray *tests;    /* struct rv_test */
    uint8_t *image;   /* the ELF file, mapped whole at BASE */
    uint64_t base, entry, size;
    uint64_t states;  /* where the tests' are, RV_STATE_WORDS words each: before, in the end after */
};

/* How many of TEST's instructions are a loop, at its start. */
unsigned rv_loop_length(const struct rv_test *test);

/* COUNT tests of KIND, the same ones for the same SEED. */
struct rv_program *rv_program_new(unsigned kind, unsigned count, uint64_t seed);
/* One with TEST alone. */
struct rv_program *rv_program_of(const struct rv_test *test);
void rv_program_free(struct rv_program *program);

/* The name of word INDEX of a state. */
const char *rv_state_name(unsigned index, char text[16]);

const char *rv_kind_name(unsigned kind);
/* False for extensions of which a user's program, or the oracle, can run nothing. */
bool rv_kind_runs(unsigned kind);

#endif
