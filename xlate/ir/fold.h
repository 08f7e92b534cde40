/*
 * xlate/ir/fold.h: what the builder can say without a new operation. Each function returns an
 * older or simpler value that equals the one asked for, or IR_NONE.
 */
#ifndef XLATE_IR_FOLD_H
#define XLATE_IR_FOLD_H

#include "xlate/ir/ir.h"

/* Puts a constant second where OP lets its operands change places. */
void ir_fold_order(const struct ir_unit *unit, enum ir_op op, uint32_t *a, uint32_t *b);

uint32_t ir_fold_un(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a);
uint32_t ir_fold_bin(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                     uint32_t b);
uint32_t ir_fold_bini(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                      int64_t imm);
uint32_t ir_fold_ext(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                     unsigned bits);
uint32_t ir_fold_cmp(struct ir_unit *unit, enum ir_cond cond, enum ir_type type, uint32_t a,
                     uint32_t b);
uint32_t ir_fold_select(struct ir_unit *unit, uint32_t cond, uint32_t a, uint32_t b);
/* Sign operations of one value with itself. */
uint32_t ir_fold_sign(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                      uint32_t b);
/* A stand-in for A where any quiet NaN does as well as the default one; takes IR_NONE. */
uint32_t ir_fold_nan(struct ir_unit *unit, uint32_t a);

#endif
