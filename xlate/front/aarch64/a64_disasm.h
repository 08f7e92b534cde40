/*
 * a64_disasm.h: instructions as text, as the row of the specification writes them.
 */
#ifndef XLATE_FRONT_AARCH64_A64_DISASM_H
#define XLATE_FRONT_AARCH64_A64_DISASM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Writes the instruction at CODE (LENGTH readable bytes), which runs at PC, to TEXT (SIZE bytes,
 * always terminated), without aliases: "orr x0, xzr, x1". Returns its bytes; 0 when LENGTH is too
 * short.
 */
unsigned a64_disassemble(const uint8_t *code, uint32_t length, uint64_t pc, char *text, size_t size);

#endif
