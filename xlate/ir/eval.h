/*
 * xlate/ir/eval.h: what integer operations compute. The folder and the interpreter share it, so
 * that an operation has one meaning.
 *
 * I32 values are held sign-extended in 64 bits.
 */
#ifndef XLATE_IR_EVAL_H
#define XLATE_IR_EVAL_H

#include "xlate/ir/ir.h"

/* OP on one value: CLZ, CTZ, POPCNT, BSWAP, ORCB, TRUNC. */
uint64_t ir_eval_un(enum ir_op op, enum ir_type type, uint64_t a);
/* OP on two values: ADD to ROTR. */
uint64_t ir_eval_bin(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b);
/* SEXT and ZEXT of the low BITS to TYPE. */
uint64_t ir_eval_ext(enum ir_op op, enum ir_type type, uint64_t a, unsigned bits);
/* NZCV_ADD, NZCV_SUB and NZCV_ADC; only the last looks at CARRY. Mask of enum ir_nzcv. */
uint64_t ir_eval_nzcv(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b, uint64_t carry);
/* 0 or 1. */
bool ir_eval_cmp(enum ir_cond cond, enum ir_type type, uint64_t a, uint64_t b);
/* What an RMW stores in place of OLD, both of 1 << LOG2 bytes in the low bits. */
uint64_t ir_eval_rmw(enum ir_rmw op, unsigned log2, uint64_t old, uint64_t operand);

#endif
