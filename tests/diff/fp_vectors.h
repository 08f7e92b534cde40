/*
 * tests/diff/fp_vectors: test vectors of Berkeley TestFloat, as its program testfloat_gen writes
 * them.
 */
#ifndef TESTS_DIFF_FP_VECTORS_H
#define TESTS_DIFF_FP_VECTORS_H

#include "base/base.h"

enum fp_kind { FP_F16, FP_F32, FP_F64, FP_I32, FP_U32, FP_I64, FP_U64, FP_BOOL };

/* TestFloat's rounding modes: to even, to zero, down, up, to nearest with ties away, to odd. */
enum fp_mode { FP_EVEN, FP_ZERO, FP_DOWN, FP_UP, FP_AWAY, FP_ODD, FP_MODES };

/* TestFloat's flags. */
enum { FP_INEXACT = 1, FP_UNDERFLOW = 2, FP_OVERFLOW = 4, FP_INFINITE = 8, FP_INVALID = 16 };

struct fp_function {
    const char *name; /* TestFloat's: "f32_mulAdd" */
    enum fp_kind from, to;
    unsigned operands;
};

struct fp_vector {
    uint64_t operand[3], result;
    unsigned flags;
};

/* What is asked of testfloat_gen. */
struct fp_query {
    const char *program;
    const struct fp_function *function;
    unsigned level;
    enum fp_mode mode;
    bool exact;           /* rounding to an integer may be inexact */
    bool tininess_before; /* an underflow is found before rounding */
};

/* The functions between halves, singles, doubles and integers; NULL after the last one. */
const struct fp_function *fp_function(unsigned index);

unsigned fp_kind_bits(enum fp_kind kind);
const char *fp_mode_name(enum fp_mode mode);

struct fp_stream;
struct fp_stream *fp_stream_open(const struct fp_query *query, GError **err);
/* Up to MOST vectors; 0 at the end; -1 with an error where a line is no vector. */
int fp_stream_read(struct fp_stream *stream, struct fp_vector *vectors, unsigned most,
                   GError **err);
/* False where testfloat_gen failed. */
bool fp_stream_close(struct fp_stream *stream, GError **err);

#endif
