/*
 * a64_disasm_priv.h: what the files of the disassembler share.
 */
#ifndef XLATE_FRONT_AARCH64_A64_DISASM_PRIV_H
#define XLATE_FRONT_AARCH64_A64_DISASM_PRIV_H

#include "base/base.h"
#include "xlate/front/aarch64/a64_isa.h"

/* A buffer that fills up and stays terminated. */
struct a64_text {
    char *at;
    size_t left;
};

void a64_put(struct a64_text *out, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* A general register; SP: 31 is the stack pointer. */
void a64_put_reg(struct a64_text *out, bool wide, unsigned number, bool sp);

/* The operand of floating point or SIMD that WORD stands for (a64_disasm_vec.c); false: none. */
bool a64_put_vector_operand(struct a64_text *out, const char *word, const struct a64_insn *i);

#endif
