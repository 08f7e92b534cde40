/*
 * a64_simd.h: what the emitters of SIMD share: instructions that are no operation of the IR.
 */
#ifndef XLATE_FRONT_AARCH64_A64_SIMD_H
#define XLATE_FRONT_AARCH64_A64_SIMD_H

#include "xlate/front/aarch64/a64_vec.h"

/* IR_V_SCALAR, IR_V_HALF or 0, as the instruction's bits 28 and 30 say. */
unsigned a64_shape(const struct a64_insn *i);

/* KIND, an operation or enum a64_simd, of three registers. */
uint32_t a64_simd3(struct a64_translation *t, unsigned kind, unsigned aux, uint32_t d, uint32_t n,
                   uint32_t m);

/* The lane of a by-element instruction, LANE being log2 of its bytes, in all lanes. */
uint32_t a64_element(struct a64_translation *t, const struct a64_insn *i, unsigned lane);

/* Combines 1 << STEPS lanes, neighbours of neighbours, into lane 0. */
uint32_t a64_combine_lanes(struct a64_translation *t, enum ir_op op, unsigned aux, unsigned steps,
                           uint32_t n);

/* Rd's low half, or its upper one where bit 30 says so, becomes VALUE's low half. */
void a64_set_narrow(struct a64_translation *t, const struct a64_insn *i, uint32_t value);

/* The count of a right shift, or the fraction's bits of a fixed-point conversion. */
unsigned a64_right_count(const struct a64_insn *i);

#endif
