/*
 * The x86-64 assembler against binutils: every row of asm_ops.inc with registers and addresses of
 * every kind, and every instruction outside the table, disassembled by objdump.
 */
#include "tests/unit/unit.h"
#include "xlate/back/x86_64/asm.h"

#include <ctype.h>
#include <stdio.h>

static const char *const r64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const r32[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi",
                                  "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};
static const char *const r16[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di",
                                  "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w", "r15w"};
static const char *const r8[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil",
                                 "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b", "r15b"};
static const char *const xmm[] = {"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                                  "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                                  "xmm15"};

static const struct row {
    enum asm_op op;
    const char *text;
    enum asm_form form;
} rows[] = {
#define ASM_OP(NAME, text, prefix, map, opcode, form) {A_##NAME, text, ASM_FORM_##form},
#include "xlate/back/x86_64/asm_ops.inc"
#undef ASM_OP
};

/* Code, and what objdump should say of it. */
struct listing {
    uint8_t code[1 << 20];
    struct asm_buf a;
    GPtrArray *want;
};

static void expect(struct listing *l, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void expect(struct listing *l, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    g_ptr_array_add(l->want, g_strdup_vprintf(fmt, args));
    va_end(args);
    ck_assert_int_lt(l->a.at - l->code, (ptrdiff_t)sizeof(l->code) - 64);
}

/* objdump's words without operand sizes, comments and superfluous blanks. */
static char *normal(const char *line)
{
    GString *out = g_string_new(NULL);
    g_auto(GStrv) words = g_strsplit_set(line, " \t\n", -1);

    for (unsigned i = 0; words[i]; i++) {
        if (!*words[i] || !strcmp(words[i], "PTR") || !strcmp(words[i], "BYTE") ||
            !strcmp(words[i], "WORD") || !strcmp(words[i], "DWORD") || !strcmp(words[i], "QWORD") ||
            !strcmp(words[i], "XMMWORD"))
            continue;
        if (*words[i] == '#')
            break;
        const char *word = words[i], *size;
        if (out->len && out->str[out->len - 1] != ',')
            g_string_append_c(out, ' ');
        /* "rax,QWORD PTR [..]": the size is glued to what is before it. */
        size = strrchr(word, ',');
        if (size && (g_str_has_suffix(size, "BYTE") || g_str_has_suffix(size, "WORD")))
            g_string_append_len(out, word, size + 1 - word);
        else
            g_string_append(out, word);
    }
    return g_string_free(out, FALSE);
}

static void check(struct listing *l)
{
    g_autofree char *path = NULL, *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    int fd = g_file_open_tmp("asm-XXXXXX", &path, &error), status;
    size_t n = (size_t)(l->a.at - l->code);
    unsigned at = 0;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, l->code, n), (ssize_t)n);
    close(fd);
    char *argv[] = {"objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel",
                    "--no-show-raw-insn", "--insn-width=16", path, NULL};
    ck_assert(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status,
                           &error));
    unlink(path);
    ck_assert_int_eq(status, 0);
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        char *tab = strchr(lines[i], '\t');
        if (!isspace((unsigned char)lines[i][0]) || !tab)
            continue;
        g_autofree char *got = normal(tab + 1);
        ck_assert_uint_lt(at, l->want->len);
        ck_assert_msg(!strcmp(got, l->want->pdata[at]), "instruction %u: objdump '%s', meant '%s'",
                      at, got, (char *)l->want->pdata[at]);
        at++;
    }
    ck_assert_uint_eq(at, l->want->len);
}

static struct listing *listing_new(void)
{
    struct listing *l = g_new0(struct listing, 1);

    l->a.at = l->code;
    l->want = g_ptr_array_new_with_free_func(g_free);
    return l;
}

static void listing_free(struct listing *l)
{
    check(l);
    g_ptr_array_free(l->want, TRUE);
    g_free(l);
}

/* --- addresses ---------------------------------------------------------------------------------- */

static const struct {
    uint8_t base, index, scale;
    int32_t disp;
    const char *text;
} mems[] = {
    {RAX, ASM_NONE, 0, 0, "[rax]"},
    {RBP, ASM_NONE, 0, 0, "[rbp+0x0]"},
    {RSP, ASM_NONE, 0, 0, "[rsp]"},
    {RSP, ASM_NONE, 0, 8, "[rsp+0x8]"},
    {R12, ASM_NONE, 0, 0, "[r12]"},
    {R13, ASM_NONE, 0, 0, "[r13+0x0]"},
    {R9, ASM_NONE, 0, -128, "[r9-0x80]"},
    {RBP, ASM_NONE, 0, -129, "[rbp-0x81]"},
    {RDI, ASM_NONE, 0, 0x12345, "[rdi+0x12345]"},
    {RBP, RCX, 3, 0x400, "[rbp+rcx*8+0x400]"},
    {R13, R9, 0, 0, "[r13+r9*1+0x0]"},
    {R12, R15, 1, 127, "[r12+r15*2+0x7f]"},
    {RSI, R8, 2, 128, "[rsi+r8*4+0x80]"},
};
static const uint8_t regs[] = {RAX, RBX, RSI, RDI, R8, R12, R13, R15};

static struct asm_mem mem_of(unsigned i)
{
    return asm_index(mems[i].base, mems[i].index, mems[i].scale, mems[i].disp);
}

/* The names of an instruction's operands by its form; either may be replaced by an address. */
static void names(enum asm_form form, bool w, unsigned reg, unsigned rm, const char **first,
                  const char **second)
{
    const char *const *full = w ? r64 : r32;

    *first = full[reg];
    *second = full[rm];
    switch (form) {
    case ASM_FORM_RMB:
        *second = r8[rm];
        break;
    case ASM_FORM_MRB:
        *first = r8[reg];
        *second = r8[rm];
        break;
    case ASM_FORM_RMW:
        *second = r16[rm];
        break;
    case ASM_FORM_MRW:
        *first = r16[reg];
        *second = r16[rm];
        break;
    case ASM_FORM_XM: case ASM_FORM_XM0: case ASM_FORM_MX: case ASM_FORM_XMI:
        *first = xmm[reg];
        *second = xmm[rm];
        break;
    case ASM_FORM_XG: case ASM_FORM_GX: case ASM_FORM_GXI: case ASM_FORM_XGI:
        *first = xmm[reg];
        break;
    case ASM_FORM_GXR:
        *second = xmm[rm];
        break;
    default:
        break;
    }
}

static bool rm_first(enum asm_form form)
{
    return form == ASM_FORM_MR || form == ASM_FORM_MRB || form == ASM_FORM_MRW ||
           form == ASM_FORM_MX || form == ASM_FORM_GX || form == ASM_FORM_GXI;
}

static bool is_vex_form(enum asm_form form)
{
    return form == ASM_FORM_VRM || form == ASM_FORM_VMR || form == ASM_FORM_VXM ||
           form == ASM_FORM_VRI || form == ASM_FORM_VXP || form == ASM_FORM_XMP;
}

/* Some instructions go by another name, or take no 32-bit operand. */
static const char *text_of(const struct row *row, bool w)
{
    if (row->op == A_MOVQ_GX || row->op == A_MOVQ_XG)
        return w ? "movq" : "movd";
    return row->text;
}

static bool skip(const struct row *row, bool w)
{
    bool only_wide = row->op == A_MOVSXD;
    bool no_width = row->form == ASM_FORM_XM || row->form == ASM_FORM_XM0 || row->form == ASM_FORM_MX ||
                    row->form == ASM_FORM_XMI || row->form == ASM_FORM_MRB ||
                    row->form == ASM_FORM_MRW || row->form == ASM_FORM_GXI ||
                    row->form == ASM_FORM_XGI;

    return (only_wide && !w) || (no_width && w);
}

START_TEST(table_registers)
{
    struct listing *l = listing_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const struct row *row = &rows[i];
        bool imm = row->form == ASM_FORM_GXI || row->form == ASM_FORM_XMI ||
                   row->form == ASM_FORM_XGI;
        for (unsigned k = 0; k < 2 * G_N_ELEMENTS(regs) * G_N_ELEMENTS(regs); k++) {
            bool w = k & 1;
            unsigned reg = regs[k / 2 % 8], rm = regs[k / 16];
            const char *a, *b;
            if (is_vex_form(row->form) || skip(row, w) || row->op == A_LEA)
                continue;
            asm_rr(&l->a, row->op, w, reg, rm);
            if (imm)
                asm_8(&l->a, 3);
            names(row->form, w, reg, rm, &a, &b);
            const char *last = imm ? ",0x3" : row->form == ASM_FORM_XM0 ? ",xmm0" : "";
            if (row->op == A_MOVSXD)
                b = r32[rm];
            if (rm_first(row->form))
                expect(l, "%s %s,%s%s", text_of(row, w), b, a, last);
            else
                expect(l, "%s %s,%s%s", text_of(row, w), a, b, last);
        }
    }
    listing_free(l);
}
END_TEST

START_TEST(table_addresses)
{
    struct listing *l = listing_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const struct row *row = &rows[i];
        for (unsigned k = 0; k < 2 * G_N_ELEMENTS(mems) * G_N_ELEMENTS(regs); k++) {
            bool w = k & 1;
            unsigned reg = regs[k / 2 % 8], m = k / 16;
            const char *a, *b;
            if (is_vex_form(row->form) || skip(row, w) || row->form == ASM_FORM_GXI ||
                row->form == ASM_FORM_XMI || row->form == ASM_FORM_XGI)
                continue;
            asm_rm(&l->a, row->op, w, reg, mem_of(m));
            names(row->form, w, reg, 0, &a, &b);
            if (rm_first(row->form))
                expect(l, "%s %s,%s", text_of(row, w), mems[m].text, a);
            else
                expect(l, "%s %s,%s%s", text_of(row, w), a, mems[m].text,
                       row->form == ASM_FORM_XM0 ? ",xmm0" : "");
        }
    }
    listing_free(l);
}
END_TEST

/* SSE rows with a VEX prefix: moves and comparisons have two operands, arithmetic three. */
START_TEST(table_vex)
{
    static const enum asm_op two[] = {A_MOVAPS, A_MOVUPS, A_MOVQ_XX, A_PABSD, A_PTEST, A_PMOVSXBW,
                                      A_CVTTPS2DQ, A_UCOMISD, A_UCOMISS, A_COMISD, A_COMISS};
    static const enum asm_op three[] = {A_SD_ADD, A_SS_SUB, A_SD_MUL, A_SS_DIV, A_SD_SQRT, A_ANDPS,
                                        A_ANDNPS, A_ORPS, A_XORPS, A_PADDQ, A_PSHUFB, A_PMULLD,
                                        A_PACKUSDW, A_AESENC, A_PUNPCKLQDQ, A_PS_ADD, A_SD_MIN, A_SS_MAX, A_CVTSS2SD};
    struct listing *l = listing_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const struct row *row = &rows[i];
        for (unsigned k = 0; k < 8 * 8; k++) {
            unsigned reg = regs[k % 8], rm = regs[k / 8], v = regs[(k + 3) % 8], m = k % 13;
            for (unsigned t = 0; t < G_N_ELEMENTS(two); t++) {
                if (two[t] != row->op)
                    continue;
                asm_vrr(&l->a, row->op, false, reg, 0, rm);
                expect(l, "v%s %s,%s", row->text, xmm[reg], xmm[rm]);
                asm_vrm(&l->a, row->op, false, reg, 0, mem_of(m));
                expect(l, "v%s %s,%s", row->text, xmm[reg], mems[m].text);
            }
            for (unsigned t = 0; t < G_N_ELEMENTS(three); t++) {
                if (three[t] != row->op)
                    continue;
                asm_vrr(&l->a, row->op, false, reg, v, rm);
                expect(l, "v%s %s,%s,%s", row->text, xmm[reg], xmm[v], xmm[rm]);
                asm_vrm(&l->a, row->op, false, reg, v, mem_of(m));
                expect(l, "v%s %s,%s,%s", row->text, xmm[reg], xmm[v], mems[m].text);
            }
            for (unsigned w = 0; w < 2 && is_vex_form(row->form) && row->form != ASM_FORM_XMP; w++) {
                const char *const *r = w ? r64 : r32;
                if (row->form == ASM_FORM_VRI) {
                    asm_vrri(&l->a, row->op, w, reg, rm, k);
                    expect(l, "%s %s,%s,0x%x", row->text, r[reg], r[rm], k);
                    continue;
                }
                asm_vrr(&l->a, row->op, w, reg, v, rm);
                if (row->form == ASM_FORM_VXM)
                    expect(l, "%ss%c %s,%s,%s", row->text, w ? 'd' : 's', xmm[reg], xmm[v], xmm[rm]);
                else if (row->form == ASM_FORM_VXP)
                    expect(l, "%sp%c %s,%s,%s", row->text, w ? 'd' : 's', xmm[reg], xmm[v], xmm[rm]);
                else if (row->form == ASM_FORM_VRM)
                    expect(l, "%s %s,%s,%s", row->text, r[reg], r[v], r[rm]);
                else
                    expect(l, "%s %s,%s,%s", row->text, r[reg], r[rm], r[v]);
            }
        }
    }
    for (unsigned k = 0; k < 8; k++) {
        asm_vrm(&l->a, A_MOVSD, false, regs[k], 0, mem_of(k));
        expect(l, "vmovsd %s,%s", xmm[regs[k]], mems[k].text);
        asm_vrm(&l->a, A_MOVSS_ST, false, regs[k], 0, mem_of(k));
        expect(l, "vmovss %s,%s", mems[k].text, xmm[regs[k]]);
        asm_vrr(&l->a, A_MOVQ_GX, true, regs[k], 0, regs[7 - k]);
        expect(l, "vmovq %s,%s", xmm[regs[k]], r64[regs[7 - k]]);
        asm_vrr(&l->a, A_CVTTSD2SI, true, regs[k], 0, regs[7 - k]);
        expect(l, "vcvttsd2si %s,%s", r64[regs[k]], xmm[regs[7 - k]]);
        asm_vrr(&l->a, A_CVTSI2SD, true, regs[k], 2, regs[7 - k]);
        expect(l, "vcvtsi2sd %s,xmm2,%s", xmm[regs[k]], r64[regs[7 - k]]);
    }
    listing_free(l);
}
END_TEST

/* Comparisons, which objdump calls by their condition, and what else takes an immediate byte. */
START_TEST(vector_immediates)
{
    static const struct {
        enum asm_vshift op;
        const char *text;
    } shifts[] = {
        {VSH_PSRLW, "psrlw"}, {VSH_PSRAW, "psraw"}, {VSH_PSLLW, "psllw"}, {VSH_PSRLD, "psrld"},
        {VSH_PSRAD, "psrad"}, {VSH_PSLLD, "pslld"}, {VSH_PSRLQ, "psrlq"}, {VSH_PSRLDQ, "psrldq"},
        {VSH_PSLLQ, "psllq"}, {VSH_PSLLDQ, "pslldq"},
    };
    struct listing *l = listing_new();

    for (unsigned k = 0; k < 8; k++) {
        unsigned a = regs[k], b = regs[7 - k], c = regs[(k + 3) % 8];
        for (unsigned i = 0; i < G_N_ELEMENTS(shifts); i++) {
            asm_vshift(&l->a, shifts[i].op, false, a, a, 5);
            expect(l, "%s %s,0x5", shifts[i].text, xmm[a]);
            asm_vshift(&l->a, shifts[i].op, true, a, b, 5);
            expect(l, "v%s %s,%s,0x5", shifts[i].text, xmm[a], xmm[b]);
        }
        asm_rri(&l->a, A_CMPPS, false, a, b, 3);
        expect(l, "cmpunordps %s,%s", xmm[a], xmm[b]);
        asm_rri(&l->a, A_CMPSD, false, a, b, 0);
        expect(l, "cmpeqsd %s,%s", xmm[a], xmm[b]);
        asm_vrrri(&l->a, A_CMPPD, false, a, c, b, 8);
        expect(l, "vcmpeq_uqpd %s,%s,%s", xmm[a], xmm[c], xmm[b]);
        asm_vrmi(&l->a, A_CMPPS, false, a, c, mem_of(k), 8);
        expect(l, "vcmpeq_uqps %s,%s,%s", xmm[a], xmm[c], mems[k].text);
        asm_vrmi(&l->a, A_CMPPS, false, a, c, asm_rip(l->a.at), 8);
        ck_assert_int_eq((int8_t)l->a.at[-5], -9);
        expect(l, "vcmpeq_uqps %s,%s,[rip+0xfffffffffffffff7]", xmm[a], xmm[c]);
        asm_vrrri(&l->a, A_CMPSS, false, a, c, b, 2);
        expect(l, "vcmpless %s,%s,%s", xmm[a], xmm[c], xmm[b]);
        asm_rri(&l->a, A_PCLMULQDQ, false, a, b, 0x11);
        expect(l, "pclmulhqhqdq %s,%s", xmm[a], xmm[b]);
        asm_vrrri(&l->a, A_INSERTPS, false, a, c, b, 14);
        expect(l, "vinsertps %s,%s,%s,0xe", xmm[a], xmm[c], xmm[b]);
        asm_vrrri(&l->a, A_PINSRD, true, a, c, b, 1);
        expect(l, "vpinsrq %s,%s,%s,0x1", xmm[a], xmm[c], r64[b]);
        asm_vrri(&l->a, A_PSHUFD, false, a, b, 0x4e);
        expect(l, "vpshufd %s,%s,0x4e", xmm[a], xmm[b]);
    }
    listing_free(l);
}
END_TEST

START_TEST(immediates)
{
    static const struct {
        enum asm_op op;
        const char *text;
    } ops[] = {{A_ADD, "add"}, {A_OR, "or"}, {A_AND, "and"}, {A_SUB, "sub"}, {A_XOR, "xor"},
               {A_CMP, "cmp"}};
    struct listing *l = listing_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        for (unsigned k = 0; k < 8; k++) {
            asm_ri(&l->a, ops[i].op, true, regs[k], 0x7f);
            expect(l, "%s %s,0x7f", ops[i].text, r64[regs[k]]);
            asm_ri(&l->a, ops[i].op, true, regs[k], -0x1000);
            expect(l, "%s %s,0xfffffffffffff000", ops[i].text, r64[regs[k]]);
            asm_mi(&l->a, ops[i].op, true, mem_of(k), 0x12345678);
            expect(l, "%s %s,0x12345678", ops[i].text, mems[k].text);
            asm_mi(&l->a, ops[i].op, false, mem_of(k + 5), 5);
            expect(l, "%s %s,0x5", ops[i].text, mems[k + 5].text);
        }
        asm_ri(&l->a, ops[i].op, false, RDX, 0x3ff0);
        expect(l, "%s edx,0x3ff0", ops[i].text);
    }
    for (unsigned k = 0; k < 8; k++) {
        asm_movi(&l->a, regs[k], 0x80000000);
        expect(l, "mov %s,0x80000000", r32[regs[k]]);
        asm_movi(&l->a, regs[k], -2);
        expect(l, "mov %s,0xfffffffffffffffe", r64[regs[k]]);
        asm_movi(&l->a, regs[k], INT64_C(0x123456789abcdef0));
        expect(l, "movabs %s,0x123456789abcdef0", r64[regs[k]]);
        asm_mem_movi(&l->a, true, mem_of(k), 77);
        expect(l, "mov %s,0x4d", mems[k].text);
        asm_imul_ri(&l->a, true, regs[k], regs[7 - k], 1000);
        expect(l, "imul %s,%s,0x3e8", r64[regs[k]], r64[regs[7 - k]]);
        asm_test_ri(&l->a, false, regs[k], 7);
        expect(l, "test %s,0x7", r8[regs[k]]);
        asm_test_ri(&l->a, true, regs[k], 0x1000);
        expect(l, regs[k] == RAX ? "test rax,0x1000" : "test %s,0x1000", r64[regs[k]]);
    }
    listing_free(l);
}
END_TEST

START_TEST(one_operand)
{
    static const char *const unary[] = {"not", "neg", "mul", "imul", "div", "idiv"};
    static const char *const shift[] = {"rol", "ror", NULL, NULL, "shl", "shr", NULL, "sar"};
    static const char *const cc[] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
                                     "s", "ns", "p", "np", "l", "ge", "le", "g"};
    struct listing *l = listing_new();

    for (unsigned k = 0; k < 8; k++) {
        unsigned r = regs[k];
        for (unsigned i = 0; i < 6; i++) {
            asm_unary(&l->a, UN_NOT + i, i & 1, r);
            expect(l, "%s %s", unary[i], (i & 1 ? r64 : r32)[r]);
        }
        for (unsigned i = 0; i < 8; i++) {
            if (!shift[i])
                continue;
            asm_shift_i(&l->a, i, true, r, 9);
            expect(l, "%s %s,0x9", shift[i], r64[r]);
            asm_shift_cl(&l->a, i, false, r);
            expect(l, "%s %s,cl", shift[i], r32[r]);
        }
        for (unsigned i = 0; i < 16; i++) {
            asm_setcc(&l->a, i, r);
            expect(l, "set%s %s", cc[i], r8[r]);
            asm_cmov(&l->a, i, i & 1, r, regs[7 - k]);
            expect(l, "cmov%s %s,%s", cc[i], (i & 1 ? r64 : r32)[r],
                   (i & 1 ? r64 : r32)[regs[7 - k]]);
        }
        asm_bswap(&l->a, true, r);
        expect(l, "bswap %s", r64[r]);
        asm_push(&l->a, r);
        expect(l, "push %s", r64[r]);
        asm_pop(&l->a, r);
        expect(l, "pop %s", r64[r]);
        asm_jump_reg(&l->a, 4, r);
        expect(l, "jmp %s", r64[r]);
        asm_jump_reg(&l->a, 2, r);
        expect(l, "call %s", r64[r]);
        asm_jump_mem(&l->a, 4, mem_of(k));
        expect(l, "jmp %s", mems[k].text);
        asm_mxcsr(&l->a, 2, mem_of(k + 5));
        expect(l, "ldmxcsr %s", mems[k + 5].text);
        asm_mxcsr(&l->a, 3, mem_of(k));
        expect(l, "stmxcsr %s", mems[k].text);
    }
    asm_sign_rdx(&l->a, true);
    expect(l, "cqo");
    asm_sign_rdx(&l->a, false);
    expect(l, "cdq");
    asm_lock(&l->a);
    asm_rm(&l->a, A_XADD, true, RAX, mem_of(0));
    expect(l, "lock xadd [rax],rax");
    asm_ret(&l->a);
    expect(l, "ret");
    listing_free(l);
}
END_TEST

START_TEST(jumps)
{
    struct listing *l = listing_new();

    asm_jmp_to(&l->a, l->code);
    expect(l, "jmp 0x0");
    asm_jcc_to(&l->a, CC_A, l->code + 0x100);
    expect(l, "ja 0x100");
    asm_call_to(&l->a, l->code + 5);
    expect(l, "call 0x5");
    uint8_t *site = asm_jcc_short(&l->a, CC_P);
    expect(l, "jp 0x%x", (unsigned)(l->a.at - l->code) + 8);
    asm_rm(&l->a, A_LEA, true, R9, asm_rip(l->code));
    expect(l, "lea r9,[rip+0xffffffffffffff%02x]", 256 - (unsigned)(l->a.at - l->code));
    asm_ret(&l->a);
    expect(l, "ret");
    asm_land(&l->a, site);
    asm_mi(&l->a, A_ADD, true, asm_rip(l->a.at + 12), 1000); /* the immediate counts */
    expect(l, "add [rip+0x1],0x3e8");
    for (unsigned n = 1; n < 10; n++) {
        uint8_t *at = l->a.at;
        asm_nop(&l->a, n);
        ck_assert_int_eq(l->a.at - at, (ptrdiff_t)n);
        l->a.at = at; /* their spelling is objdump's own affair */
    }
    listing_free(l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("asm_x86_64");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, table_registers);
    tcase_add_test(tc, table_addresses);
    tcase_add_test(tc, table_vex);
    tcase_add_test(tc, vector_immediates);
    tcase_add_test(tc, immediates);
    tcase_add_test(tc, one_operand);
    tcase_add_test(tc, jumps);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
