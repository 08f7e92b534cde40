/*
 * a64_vec.h: what the emitters of floating point and SIMD share.
 *
 * A V register is a pair of slots, read and written whole: what an instruction leaves out of its
 * result becomes 0. Fields are taken from the instruction's bits, which lie alike in all of a class.
 */
#ifndef XLATE_FRONT_AARCH64_A64_VEC_H
#define XLATE_FRONT_AARCH64_A64_VEC_H

#include "xlate/front/aarch64/a64_emit.h"

/* False where floating point is trapped: the unit has ended then. */
bool a64_fp_ready(struct a64_translation *t);

static inline uint32_t a64_v(struct a64_translation *t, unsigned number)
{
    return ir_get(t->unit, IR_V128, A64_SLOT_V + 2 * number);
}

static inline void a64_set_v(struct a64_translation *t, unsigned number, uint32_t value)
{
    ir_set(t->unit, A64_SLOT_V + 2 * number, value);
}

/* BITS in both halves of a V128. */
static inline uint32_t a64_splat(struct a64_translation *t, uint64_t bits)
{
    return ir_const(t->unit, IR_V128, (int64_t)bits);
}

/* The low BITS of VALUE over and over in 64 bits. */
static inline uint64_t a64_repeat(uint64_t value, unsigned bits)
{
    for (; bits < 64; bits *= 2)
        value = (value & ((UINT64_C(1) << bits) - 1)) | value << bits;
    return value;
}

static inline uint32_t a64_vec1(struct a64_translation *t, enum ir_op op, unsigned aux, int64_t imm,
                                uint32_t a)
{
    return ir_vec(t->unit, op, aux, imm, a, IR_NONE, IR_NONE);
}

static inline uint32_t a64_vec2(struct a64_translation *t, enum ir_op op, unsigned aux, uint32_t a,
                                uint32_t b)
{
    return ir_vec(t->unit, op, aux, 0, a, b, IR_NONE);
}

/* What FPCR adds to aux of floating-point operations. */
static inline unsigned a64_fp_mode(const struct a64_translation *t)
{
    return (t->mode & A64_MODE_DN ? IR_V_DN : 0) | (t->mode & A64_MODE_FZ ? IR_V_FZ : 0);
}

/* The same of conversions, some of which are of halves. */
static inline unsigned a64_convert_mode(const struct a64_translation *t)
{
    return a64_fp_mode(t) | (t->mode & A64_MODE_AHP ? IR_V_AHP : 0);
}

/* Signs of lanes of 1 << LANE bytes. */
static inline uint32_t a64_signs(struct a64_translation *t, unsigned lane)
{
    return a64_splat(t, a64_repeat(UINT64_C(1) << ((8u << lane) - 1), 8u << lane));
}

/* The number that an 8-bit immediate stands for, as the bits of a single or double. */
uint64_t a64_fp_immediate(unsigned imm8, bool is_double);

#endif
