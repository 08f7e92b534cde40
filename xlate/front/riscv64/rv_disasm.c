/*
 * xlate/front/riscv64/rv_disasm.c: prints a decoded instruction by its row's operand text.
 */
#include "base/base.h"
#include "xlate/front/riscv64/rv_disasm.h"
#include "xlate/front/riscv64/rv_isa.h"

#include <stdio.h>

static const char *const x_names[] = {
    "zero", "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0",
    "a1",   "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5",
    "s6",   "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
};
static const char *const f_names[] = {
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6",  "ft7",  "fs0", "fs1", "fa0",
    "fa1", "fa2", "fa3", "fa4", "fa5", "fa6", "fa7",  "fs2",  "fs3", "fs4", "fs5",
    "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
};
static const char *const rm_names[] = {"rne", "rtz", "rdn", "rup", "rmm", "?", "?", "dyn"};
enum { RM_DYNAMIC = 7 };

/* A buffer that fills up and stays terminated. */
struct text {
    char *at;
    size_t left;
};

static G_GNUC_PRINTF(2, 3) void put(struct text *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(out->at, out->left, format, args);
    va_end(args);
    n = MIN(n, (int)out->left - 1);
    out->at += n;
    out->left -= n;
}

static void put_csr(struct text *out, unsigned number)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rv_csr_names); i++) {
        if (rv_csr_names[i].number == number) {
            put(out, "%s", rv_csr_names[i].name);
            return;
        }
    }
    put(out, "0x%x", number);
}

static void put_fence(struct text *out, unsigned bits)
{
    put(out, "%s%s%s%s%s", bits & 8 ? "i" : "", bits & 4 ? "o" : "", bits & 2 ? "r" : "",
        bits & 1 ? "w" : "", bits ? "" : "unknown");
}

static void put_imm(struct text *out, const char *word, size_t length, const struct rv_insn *insn,
                    uint64_t pc)
{
    if (!strncmp(word, "imm", length))
        put(out, "%d", insn->imm);
    else if (!strncmp(word, "hex", length))
        put(out, "0x%x", insn->imm);
    else if (!strncmp(word, "upper", length))
        put(out, "0x%x", (uint32_t)insn->imm >> 12 & 0xfffff);
    else
        put(out, "0x%" G_GINT64_MODIFIER "x", pc + (int64_t)insn->imm);
}

/* The register number that an operand word like "rs1" or "fs1" names. */
static unsigned reg(const char *word, const struct rv_insn *insn)
{
    switch (word[1] == 'd' ? 'd' : word[2]) {
    case 'd':
        return insn->rd;
    case '1':
        return insn->rs1;
    case '2':
        return insn->rs2;
    default:
        return insn->rs3;
    }
}

static void put_operand(struct text *out, const char *word, size_t length,
                        const struct rv_insn *insn, uint64_t pc)
{
    static const char *const imms[] = {"imm", "hex", "upper", "target"};

    for (size_t i = 0; i < G_N_ELEMENTS(imms); i++) {
        if (strlen(imms[i]) == length && !strncmp(word, imms[i], length)) {
            put_imm(out, word, length, insn, pc);
            return;
        }
    }
    if (!strncmp(word, "csr", length))
        put_csr(out, insn->csr);
    else if (!strncmp(word, "rm", length) || !strncmp(word, "exact", length))
        put(out, "%s", rm_names[insn->rm]);
    else if (!strncmp(word, "pred", length))
        put_fence(out, insn->pred);
    else if (!strncmp(word, "succ", length))
        put_fence(out, insn->succ);
    else
        put(out, "%s", (word[0] == 'f' ? f_names : x_names)[reg(word, insn)]);
}

static void put_operands(struct text *out, const char *format, const struct rv_insn *insn,
                         uint64_t pc)
{
    while (*format) {
        size_t length = strspn(format, "abcdefghijklmnopqrstuvwxyz0123456789");

        if (!strcmp(format, ",rm") && insn->rm == RM_DYNAMIC) /* what one means by none */
            break;
        if (!strcmp(format, ",exact") && insn->rm == 0) /* nothing to round */
            break;
        if (length)
            put_operand(out, format, length, insn, pc);
        else
            put(out, "%c", format[length++]);
        format += length;
    }
}

unsigned rv_disassemble(const uint8_t *code, uint32_t length, uint64_t pc, char *text, size_t size)
{
    struct text out = {text, size};
    struct rv_insn insn;
    uint32_t word = 0;

    text[0] = '\0';
    if (length < 2 || ((code[0] & 3) == 3 && length < 4))
        return 0;
    memcpy(&word, code, (code[0] & 3) == 3 ? 4 : 2);
    rv_decode(word, &insn);
    if (!insn.row) {
        put(&out, insn.length == 4 ? ".word 0x%08x" : ".half 0x%04x", insn.bits);
        return insn.length;
    }
    const struct rv_row *row = &rv_rows[insn.row];
    put(&out, "%s%s%s%s", row->name, insn.aq || insn.rl ? "." : "", insn.aq ? "aq" : "",
        insn.rl ? "rl" : "");
    if (row->operands[0]) {
        put(&out, " ");
        put_operands(&out, row->operands, &insn, pc);
    }
    return insn.length;
}
