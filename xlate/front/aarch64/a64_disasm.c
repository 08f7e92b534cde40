/*
 * xlate/front/aarch64/a64_disasm.c: prints a decoded instruction by its row's operand text.
 */
#include "base/base.h"
#include "xlate/front/aarch64/a64_bits.h"
#include "xlate/front/aarch64/a64_disasm.h"
#include "xlate/front/aarch64/a64_disasm_priv.h"
#include "xlate/front/aarch64/a64_isa.h"

#include <stdio.h>

void a64_put(struct a64_text *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(out->at, out->left, format, args);
    va_end(args);
    n = MIN(n, (int)out->left - 1);
    out->at += n;
    out->left -= n;
}

/* --- registers -------------------------------------------------------------------------------- */

void a64_put_reg(struct a64_text *out, bool wide, unsigned number, bool sp)
{
    if (number < 31)
        a64_put(out, "%c%u", wide ? 'x' : 'w', number);
    else if (sp)
        a64_put(out, "%s", wide ? "sp" : "wsp");
    else
        a64_put(out, "%czr", wide ? 'x' : 'w');
}

/* The register that a word like "xt2" or "rnsp" names: a width, a field, sp. */
static bool put_register(struct a64_text *out, const char *word, size_t length,
                         const struct a64_insn *i)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
        {"d", offsetof(struct a64_insn, rd)}, {"n", offsetof(struct a64_insn, rn)},
        {"m", offsetof(struct a64_insn, rm)}, {"a", offsetof(struct a64_insn, ra)},
        {"t", offsetof(struct a64_insn, rt)}, {"t2", offsetof(struct a64_insn, rt2)},
        {"s", offsetof(struct a64_insn, rs)},
    };
    bool sp = length > 3 && !strncmp(word + length - 2, "sp", 2);
    bool pair = length > 4 && !strncmp(word + length - 4, "pair", 4);
    size_t rest = length - 1 - (sp ? 2 : pair ? 4 : 0);

    if (!strchr("rxwb", word[0]))
        return false;
    for (size_t n = 0; n < G_N_ELEMENTS(fields); n++) {
        if (strlen(fields[n].name) != rest || strncmp(word + 1, fields[n].name, rest))
            continue;
        unsigned number = *((const uint8_t *)i + fields[n].offset);
        bool wide = word[0] == 'r' ? i->sf : word[0] == 'b' ? i->b5 : word[0] == 'x';
        a64_put_reg(out, wide, number, sp);
        if (pair) {
            a64_put(out, ", ");
            a64_put_reg(out, wide, number + 1, sp);
        }
        return true;
    }
    return false;
}

static void put_shift(struct a64_text *out, const struct a64_insn *i)
{
    static const char *const names[] = {"lsl", "lsr", "asr", "ror"};

    a64_put_reg(out, i->sf, i->rm, false);
    if (i->shift || i->amount)
        a64_put(out, ", %s #%u", names[i->shift], i->amount);
}

static const char *const extend_names[] = {"uxtb", "uxth", "uxtw", "uxtx",
                                           "sxtb", "sxth", "sxtw", "sxtx"};

/* Of an addition: the natural extension with the stack pointer is written as a shift. */
static void put_extend(struct a64_text *out, const struct a64_insn *i)
{
    bool sets_flags = i->bits >> 29 & 1;
    bool sp = i->rn == 31 || (i->rd == 31 && !sets_flags);
    bool natural = sp && i->option == (i->sf ? 3 : 2);

    a64_put_reg(out, i->sf && (i->option & 3) == 3, i->rm, false);
    if (natural && !i->amount3)
        return;
    a64_put(out, ", %s", natural ? "lsl" : extend_names[i->option]);
    if (i->amount3)
        a64_put(out, " #%u", i->amount3);
}

/* --- addresses -------------------------------------------------------------------------------- */

/* log2 of the bytes of a load or store with a register offset. */
static unsigned access_size(const struct a64_insn *i)
{
    bool quad = (i->bits >> 26 & 1) && (i->bits >> 23 & 1); /* of a V register */

    return quad ? 4 : i->bits >> 30;
}

static void put_index(struct a64_text *out, const struct a64_insn *i)
{
    a64_put(out, "[");
    a64_put_reg(out, true, i->rn, true);
    a64_put(out, ", ");
    a64_put_reg(out, i->option & 1, i->rm, false);
    if (i->option != 3)
        a64_put(out, ", %s", extend_names[i->option]);
    else if (i->s)
        a64_put(out, ", lsl");
    if (i->s)
        a64_put(out, " #%u", access_size(i));
    a64_put(out, "]");
}

static bool put_address(struct a64_text *out, const char *word, size_t length, const struct a64_insn *i)
{
    static const char *const words[] = {"base", "addr", "addrpre", "addrpost", "addrreg"};
    unsigned n = 0;

    while (n < G_N_ELEMENTS(words) && (strlen(words[n]) != length || strncmp(word, words[n], length)))
        n++;
    if (n == G_N_ELEMENTS(words))
        return false;
    if (n == 4) {
        put_index(out, i);
        return true;
    }
    a64_put(out, "[");
    a64_put_reg(out, true, i->rn, true);
    if (n == 2 || (n == 1 && i->imm))
        a64_put(out, ", #%d", i->imm);
    a64_put(out, n == 2 ? "]!" : "]");
    if (n == 3)
        a64_put(out, ", #%d", i->imm);
    return true;
}

/* --- the rest --------------------------------------------------------------------------------- */

static void put_bitmask(struct a64_text *out, const struct a64_insn *i)
{
    uint64_t mask = 0;

    a64_bitmask(i->n, i->immr, i->imms, &mask);
    a64_put(out, "#0x%" G_GINT64_MODIFIER "x", i->sf ? mask : (uint32_t)mask);
}

static void put_barrier(struct a64_text *out, unsigned option)
{
    static const char *const names[16] = {[1] = "oshld", "oshst", "osh", [5] = "nshld", "nshst", "nsh",
                                          [9] = "ishld", "ishst", "ish", [13] = "ld", "st", "sy"};

    if (names[option])
        a64_put(out, "%s", names[option]);
    else
        a64_put(out, "#0x%02x", option);
}

static void put_prefetch(struct a64_text *out, unsigned operation)
{
    static const char *const kinds[] = {"pld", "pli", "pst"};

    if ((operation & 6) == 6 || operation >> 3 == 3)
        a64_put(out, "#0x%02x", operation);
    else
        a64_put(out, "%sl%u%s", kinds[operation >> 3], (operation >> 1 & 3) + 1,
            operation & 1 ? "strm" : "keep");
}

static void put_sysreg(struct a64_text *out, unsigned number)
{
    for (size_t n = 0; n < G_N_ELEMENTS(a64_csr_names); n++) {
        if (a64_csr_names[n].number == number) {
            a64_put(out, "%s", a64_csr_names[n].name);
            return;
        }
    }
    a64_put(out, "s%u_%u_c%u_c%u_%u", number >> 14, number >> 11 & 7, number >> 7 & 15, number >> 3 & 15,
        number & 7);
}

static const char *const cond_names[] = {"eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc",
                                         "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"};

static void put_imm(struct a64_text *out, char kind, const struct a64_insn *i)
{
    a64_put(out, "#0x%x", i->imm);
    if (kind == '2' && i->sh)
        a64_put(out, ", lsl #12");
    else if (kind == '6' && i->hw)
        a64_put(out, ", lsl #%u", 16 * i->hw);
}

/* Words that stand for one thing each. */
static bool put_word(struct a64_text *out, const char *word, const struct a64_insn *i, uint64_t pc)
{
    if (!strcmp(word, "imm"))
        a64_put(out, "#%d", i->imm);
    else if (!strcmp(word, "hex") || !strcmp(word, "hex12") || !strcmp(word, "hex16"))
        put_imm(out, word[strlen(word) - 1], i);
    else if (!strcmp(word, "immr"))
        a64_put(out, "#%u", i->immr);
    else if (!strcmp(word, "imms"))
        a64_put(out, "#%u", i->imms);
    else if (!strcmp(word, "bit"))
        a64_put(out, "#%u", i->b5 << 5 | i->b40);
    else if (!strcmp(word, "nzcv"))
        a64_put(out, "#0x%x", i->nzcv);
    else if (!strcmp(word, "cond"))
        a64_put(out, "%s", cond_names[i->cond]);
    else if (!strcmp(word, "target"))
        a64_put(out, "0x%" G_GINT64_MODIFIER "x", pc + (int64_t)i->imm);
    else if (!strcmp(word, "page"))
        a64_put(out, "0x%" G_GINT64_MODIFIER "x", (pc & ~UINT64_C(4095)) + ((uint64_t)(int64_t)i->imm << 12));
    else if (!strcmp(word, "bitmask"))
        put_bitmask(out, i);
    else if (!strcmp(word, "shift"))
        put_shift(out, i);
    else if (!strcmp(word, "extend"))
        put_extend(out, i);
    else if (!strcmp(word, "barrier"))
        put_barrier(out, (unsigned)i->imm);
    else if (!strcmp(word, "prfop"))
        put_prefetch(out, i->rt);
    else if (!strcmp(word, "sysreg"))
        put_sysreg(out, i->sysreg | 0x8000);
    else if (!strcmp(word, "sysop"))
        a64_put(out, "#%u, C%u, C%u, #%u", i->sysop >> 11, i->sysop >> 7 & 15, i->sysop >> 3 & 15,
            i->sysop & 7);
    else
        return false;
    return true;
}

static void put_operand(struct a64_text *out, const char *word, const struct a64_insn *i, uint64_t pc)
{
    size_t length = strlen(word);

    if (!put_word(out, word, i, pc) && !put_address(out, word, length, i) &&
        !put_register(out, word, length, i) && !a64_put_vector_operand(out, word, i))
        a64_put(out, "%s", word); /* the name of a PSTATE field */
}

unsigned a64_disassemble(const uint8_t *code, uint32_t length, uint64_t pc, char *text, size_t size)
{
    struct a64_text out = {text, size};
    struct a64_insn insn;
    uint32_t word;

    text[0] = '\0';
    if (length < 4)
        return 0;
    memcpy(&word, code, 4);
    a64_decode(GUINT32_FROM_LE(word), &insn);
    if (!insn.row) {
        a64_put(&out, ".inst 0x%08x", insn.bits);
        return 4;
    }
    const struct a64_row *row = &a64_rows[insn.row];
    g_auto(GStrv) words = g_strsplit_set(row->operands, ", ", -1);
    a64_put(&out, "%s", row->name);
    if (insn.row == A64_RET && insn.rn == 30) /* what one means by none */
        return 4;
    for (unsigned n = 0; words[n] && words[n][0]; n++) {
        if (words[n][0] == '.') { /* part of the name */
            a64_put(&out, "%s", cond_names[insn.cond]);
            continue;
        }
        if (!strcmp(words[n], "@2")) { /* the same, of the upper half */
            a64_put(&out, "%s", insn.bits >> 30 & 1 ? "2" : "");
            continue;
        }
        a64_put(&out, n && words[n - 1][0] != '.' && words[n - 1][0] != '@' ? ", " : " ");
        put_operand(&out, words[n], &insn, pc);
    }
    return 4;
}
