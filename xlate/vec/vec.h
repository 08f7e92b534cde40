/*
 * xlate/vec: what vector operations compute, once. It is the interpreter's arithmetic, the oracle of
 * back ends, and their slow path.
 */
#ifndef XLATE_VEC_VEC_H
#define XLATE_VEC_VEC_H

#include "xlate/ir/ir.h"

/* Which operation, in one word that a back end can hand over: op, types, aux and imm of INSN. */
static inline uint64_t vec_how(const struct ir_insn *insn)
{
    return insn->op | (uint64_t)insn->type << 8 | (uint64_t)insn->from << 12 |
           (uint64_t)insn->aux << 16 | (uint64_t)insn->imm << 32;
}

/*
 * Computes HOW of A[0..2] (an integer operand is in the low half) into OUT, an integer result into
 * its low half. RM: what IR_RM_DYN means. Flags of enum ir_fflag are added to *FLAGS.
 */
void vec_eval(uint64_t how, const struct ir_v128 a[3], struct ir_v128 *out, enum ir_rm rm,
              uint8_t *flags);

/* --- vec_crypto.c, for vec.c ------------------------------------------------------------------ */

void vec__crypt(enum ir_vcrypt what, const struct ir_v128 a[3], struct ir_v128 *out);
/* The carryless product. */
struct ir_v128 vec__clmul(uint64_t a, uint64_t b);

#endif
