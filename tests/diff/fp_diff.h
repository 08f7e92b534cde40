/*
 * tests/diff/fp_diff: guest programs that run test vectors, a form at a time.
 *
 * A form is an instruction, or a few, that compute one of TestFloat's functions. A program runs
 * each form on each vector in a loop of its own, which loads the operands into vector (or
 * floating-point) registers 0 to 2, and the first one into the integer register 4 (a4) too; writes
 * the flags; runs the form; and stores register 3, the integer register 5 (a5) and the flags.
 */
#ifndef TESTS_DIFF_FP_DIFF_H
#define TESTS_DIFF_FP_DIFF_H

#include "tests/diff/fp_vectors.h"
#include "tests/diff/oracle.h"

enum fp_place {
    FP_SCALAR,  /* the lowest lane of register 3; what is above as the architecture says */
    FP_LANES,   /* every lane of it */
    FP_LOW,     /* every lane of its lower half */
    FP_INTEGER, /* the integer register */
};

enum {
    FP_ABSOLUTE = 1, /* the result without its sign */
    FP_MASK = 2,     /* of a comparison: ones or zeros, as wide as an operand */
    FP_NO_ROUND = 4, /* no rounding mode anywhere */
};

enum { FP_FORM_WORDS = 4, FP_FORMS_MAX = 12, FP_BATCH = 16384 };

struct fp_form {
    uint32_t words[FP_FORM_WORDS];
    unsigned n;
    enum fp_kind from; /* what the operands are */
    enum fp_place place;
    unsigned flags;
    unsigned control; /* the rounding mode in the control register, as it is there */
};

/* A pass has the same vectors in another state: with no flag set before, or with all of them; and
 * for A64, with NaNs that propagate or with the default NaN. */
enum fp_pass { FP_PASS_CLEAR, FP_PASS_SET, FP_PASSES };

/* A vector's operands in memory, 16 bytes each, repeated in all lanes; and what a form leaves. */
struct fp_input {
    uint64_t operand[3][2];
};
struct fp_output {
    uint64_t vector[2], integer, flags;
};

#define FP_CODE   UINT64_C(0x101000)
#define FP_INPUT  UINT64_C(0x110000)
#define FP_OUTPUT (FP_INPUT + FP_BATCH * sizeof(struct fp_input))

struct fp_isa {
    const char *name, *qemu, *cpu;
    unsigned machine; /* ELF's number */
    bool tininess_before;
    /* The forms that compute FUNCTION with MODE; 0: none. */
    unsigned (*forms)(const struct fp_function *function, enum fp_mode mode, bool exact,
                      struct fp_form forms[FP_FORMS_MAX]);
    /* A program at FP_CODE that runs N_FORMS forms on N vectors, writes its N * N_FORMS outputs to
     * its standard output and ends. */
    void (*program)(GByteArray *code, const struct fp_form *forms, unsigned n_forms, unsigned n,
                    enum fp_pass pass);
    /* TestFloat's result and flags as the architecture has them. */
    void (*expect)(const struct fp_function *function, const struct fp_form *form,
                   enum fp_pass pass, const struct fp_vector *vector, struct fp_output *output);
    bool (*run)(const struct diff_image *image, unsigned tier, GByteArray *output, GError **err);
    unsigned (*disassemble)(const uint8_t *code, uint32_t length, uint64_t pc, char *text,
                            size_t size);
};

extern const struct fp_isa fp_a64, fp_rv;

void fp_put(GByteArray *code, uint32_t word);
uint64_t fp_repeat(uint64_t value, unsigned bits);
bool fp_is_nan(enum fp_kind kind, uint64_t value);

#endif
