/*
 * tests/diff/a64_random.c: makes random programs.
 *
 * x28 points at the state that a test begins with and leaves, x27 is where the test is, and one more
 * where a branch was taken: no instruction under test writes them. One routine goes from test to test,
 * saves all registers and loads them anew; so a test is its instruction and one jump.
 */
#include "tests/diff/a64_random.h"
#include "tests/diff/values.h"

#include <elf.h>
#include <stdio.h>

enum { ENTRY_REG = 27, STATE_REG = 28, SP = 31, STATE = 8 * A64_STATE_WORDS };

#define BASE   UINT64_C(0x100000)
#define CODE   (BASE + 0x1000)
#define STATES (CODE + 0x200000)

struct generator {
    struct a64_program *program;
    GByteArray *code;
    uint64_t state;
    uint64_t routine;
    bool vectors; /* V registers and FPCR are of the tests too */
};

static uint64_t rnd(struct generator *g)
{
    return diff_rnd(&g->state);
}

/* --- encoding --------------------------------------------------------------------------------- */

static uint64_t here(const struct generator *g)
{
    return CODE + g->code->len;
}

static void put(struct generator *g, uint32_t bits)
{
    g_byte_array_append(g->code, (const uint8_t *)&bits, 4);
}

enum { LDR_X = 0xf9400000, STR_X = 0xf9000000, LDR_Q = 0x3dc00000, STR_Q = 0x3d800000 };
enum { MRS_NZCV = 0xd53b4200, MRS_FPCR = 0xd53b4400, MRS_FPSR = 0xd53b4420, MSR = 0x00200000 };

/* A load or store of word INDEX of the state. */
static void put_word(struct generator *g, uint32_t op, unsigned rt, unsigned index)
{
    unsigned scale = op == LDR_Q || op == STR_Q ? 2 : 1;

    put(g, op | index / scale << 10 | STATE_REG << 5 | rt);
}

static void put_constant(struct generator *g, unsigned rd, uint64_t value)
{
    put(g, 0xd2800000 | (value & 0xffff) << 5 | rd);
    put(g, 0xf2a00000 | (value >> 16 & 0xffff) << 5 | rd);
}

static void put_b(struct generator *g, uint64_t target)
{
    put(g, 0x14000000 | ((target - here(g)) >> 2 & 0x3ffffff));
}

/* --- choosing an instruction ------------------------------------------------------------------ */

static bool has(const struct a64_insn *i, const char *operand)
{
    return strstr(a64_rows[i->row].operands, operand);
}

static bool is_memory(const struct a64_insn *i)
{
    return (has(i, "addr") || has(i, "base")) && !g_str_has_prefix(a64_rows[i->row].name, "prf");
}

static bool is_branch(const struct a64_insn *i)
{
    return has(i, "target") && i->row != A64_ADR && !has(i, "prfop") &&
           !g_str_has_prefix(a64_rows[i->row].name, "ldr");
}

static bool is_indirect(const struct a64_insn *i)
{
    return i->row == A64_BR || i->row == A64_BLR || i->row == A64_RET;
}

/* Rows that a user's program can't run, or that answer differently each time. */
static bool runs(unsigned row)
{
    switch (row) {
    case A64_SVC: case A64_HVC: case A64_SMC: case A64_BRK: case A64_HLT: case A64_UDF: case A64_ERET:
    case A64_WFE: case A64_WFI: case A64_SYS: case A64_MSR_UAO: case A64_MSR_PAN: case A64_MSR_SPSEL:
    case A64_MSR_DAIFSET: case A64_MSR_DAIFCLR:
        return false;
    default:
        return true;
    }
}

static bool reserved(unsigned number)
{
    return number == ENTRY_REG || number == STATE_REG;
}

/* What the architecture leaves open: a base that is overwritten, registers that are one. */
static bool unpredictable(const struct a64_insn *i)
{
    bool pair = has(i, "t2"), writes_back = has(i, "addrp"), vector = i->bits >> 26 & 1;
    bool status = has(i, "ws,") && g_str_has_prefix(a64_rows[i->row].name, "st");
    bool one = pair && i->rt == i->rt2 && !g_str_has_prefix(a64_rows[i->row].name, "st");

    return one || (writes_back && !vector && (i->rt == i->rn || (pair && i->rt2 == i->rn))) ||
           (status && (i->rs == i->rt || i->rs == i->rn || (pair && i->rs == i->rt2)));
}

static bool usable(const struct a64_insn *i)
{
    bool memory = is_memory(i), vector = memory && i->bits >> 26 & 1;

    if (!vector && (reserved(i->rd) || reserved(i->rt) || reserved(i->rt2) || reserved(i->rs) ||
                    (has(i, "pair") && (reserved(i->rs + 1) || reserved(i->rt + 1)))))
        return false;
    if (memory && (reserved(i->rn) || (has(i, "addrreg") && (i->rm == i->rn || reserved(i->rm)))))
        return false;
    if (is_indirect(i))
        return !reserved(i->rn) && i->rn != SP;
    if (i->row == A64_MRS || i->row == A64_MSR)
        return i->sysreg == (MRS_NZCV >> 5 & 0x7fff);
    return runs(i->row) && !(memory && unpredictable(i));
}

/* A word of ROW, with ones where the manual wants them. */
static uint32_t random_word(struct generator *g, unsigned row)
{
    const struct a64_row *r = &a64_rows[row];
    uint32_t bits = (uint32_t)rnd(g);

    if (row == A64_MRS || row == A64_MSR)
        bits = (bits & 31) | (MRS_NZCV & 0xfffe0);
    if (strstr(r->operands, "base"))
        bits |= (strstr(r->operands, "t2") ? 0 : 31u << 10) | (strstr(r->operands, "s,") ? 0 : 31u << 16);
    if (row == A64_SMULH || row == A64_UMULH)
        bits |= 31u << 10;
    if (row == A64_CLREX || row == A64_ISB || row == A64_DSB || row == A64_DMB)
        bits |= 15u << 8;
    return (bits & ~r->mask) | r->match;
}

static uint32_t choose(struct generator *g, unsigned extension, struct a64_insn *insn)
{
    for (;;) {
        unsigned row = 1 + rnd(g) % (A64_ROWS - 1);
        uint32_t bits = random_word(g, row);

        if (a64_rows[row].extension != extension)
            continue;
        a64_decode(bits, insn);
        if (insn->row == row && usable(insn))
            return bits;
    }
}

/* --- operands --------------------------------------------------------------------------------- */

static void fill(struct generator *g, struct a64_test *test)
{
    for (unsigned n = 0; n < 31; n++)
        test->before[A64_STATE_X + n] = diff_integer(&g->state);
    for (unsigned n = 0; n < 64 && g->vectors; n += 2) {
        uint64_t r = rnd(g);
        for (unsigned half = 0; half < 2; half++) {
            uint64_t *v = &test->before[A64_STATE_V + n + half];
            if ((r & 3) == 0)
                *v = diff_floating(&g->state, 11, 52);
            else if ((r & 3) == 1)
                *v = diff_floating(&g->state, 8, 23) | diff_floating(&g->state, 8, 23) << 32;
            else
                *v = diff_integer(&g->state);
        }
    }
    for (unsigned n = 0; n < A64_STATE_MEMORY_WORDS; n++)
        test->before[A64_STATE_MEMORY + n] = diff_integer(&g->state);
    test->before[A64_STATE_SP] = BASE + 0x800;
    test->before[A64_STATE_NZCV] = (rnd(g) & 15) << 28;
    if (g->vectors && (rnd(g) & 3) == 0) /* rounding, flush to zero, default NaN, other halves */
        test->before[A64_STATE_FPCR] = (rnd(g) & 31) << 22;
}

static uint64_t *base_register(struct a64_test *test, unsigned rn)
{
    return &test->before[rn == SP ? A64_STATE_SP : A64_STATE_X + rn];
}

/* What a register offset adds. */
static uint64_t offset_of(const struct a64_test *test, const struct a64_insn *i)
{
    uint64_t value = i->rm == 31 ? 0 : test->before[A64_STATE_X + i->rm];
    bool vector = i->bits >> 26 & 1;
    unsigned log2 = i->bits >> 30 | (vector ? i->bits >> 21 & 4 : 0);

    if (i->option == 2)
        value = (uint32_t)value;
    else if (i->option == 6)
        value = (uint64_t)(int64_t)(int32_t)value;
    return i->s ? value << log2 : value;
}

/* The base register points so that the access, 64 bytes at most, falls into the state's memory. */
static void aim(struct generator *g, struct a64_test *test, const struct a64_insn *i, uint64_t state)
{
    uint64_t memory = state + 8 * A64_STATE_MEMORY, at = memory + rnd(g) % 64;

    if (has(i, "base") || (rnd(g) & 1))
        at &= ~UINT64_C(15);
    if (has(i, "addrreg"))
        at -= offset_of(test, i);
    else if (!has(i, "addrpost") && !has(i, "base"))
        at -= (uint64_t)(int64_t)i->imm;
    *base_register(test, i->rn) = at;
}

/* Of a branch to the second word behind it: b.cond, cbz and b have theirs at different places. */
static uint32_t with_target(uint32_t bits, const struct a64_insn *i)
{
    if (i->row == A64_B || i->row == A64_BL)
        return (bits & 0xfc000000) | 2;
    if (i->row == A64_TBZ || i->row == A64_TBNZ)
        return (bits & ~(0x3fffu << 5)) | 2 << 5;
    return (bits & ~(0x7ffffu << 5)) | 2 << 5;
}

/* --- tests ------------------------------------------------------------------------------------ */

static uint64_t state_of(const struct generator *g, unsigned index)
{
    return STATES + (uint64_t)index * STATE;
}

/* One instruction; where it is taken for a branch, x27 counts it. */
static void make_single(struct generator *g, struct a64_test *test, unsigned extension, unsigned index)
{
    struct a64_insn insn;
    uint32_t bits = choose(g, extension, &insn);

    fill(g, test);
    if (is_memory(&insn))
        aim(g, test, &insn, state_of(g, index));
    else if (is_branch(&insn))
        bits = with_target(bits, &insn);
    else if (has(&insn, "target") && insn.row != A64_ADR && !has(&insn, "prfop"))
        bits &= ~(0x7ffffu << 5); /* a literal: the instruction itself */
    if (is_indirect(&insn))
        test->before[A64_STATE_X + insn.rn] = here(g) + 8;
    test->bits[test->n++] = bits;
}

/* Integer instructions, on few registers so that they see one another's results. */
static void make_sequence(struct generator *g, struct a64_test *test)
{
    unsigned n = 2 + rnd(g) % (A64_SEQUENCE - 1);

    fill(g, test);
    while (test->n < n) {
        struct a64_insn i;
        uint32_t bits = choose(g, A64_EXT_base, &i);

        if (is_memory(&i) || is_branch(&i) || is_indirect(&i) || has(&i, "target") || has(&i, "page"))
            continue;
        uint32_t few = bits & ~(a64_rows[i.row].mask | 0x18u | 0x18u << 5 | 0x18u << 16);
        few |= a64_rows[i.row].match;
        struct a64_insn less;
        a64_decode(few, &less);
        test->bits[test->n++] = less.row == i.row && usable(&less) ? few : bits;
    }
}

/* A load-exclusive and the store-exclusive of its size, at the same address. */
static void make_exclusive(struct generator *g, struct a64_test *test, unsigned index)
{
    static const uint16_t rows[][2] = {
        {A64_LDXRB, A64_STXRB}, {A64_LDAXRH, A64_STLXRH}, {A64_LDXR_W, A64_STLXR_W},
        {A64_LDAXR_X, A64_STXR_X}, {A64_LDXP_W, A64_STXP_W}, {A64_LDAXP_X, A64_STLXP_X},
    };
    unsigned kind = rnd(g) % G_N_ELEMENTS(rows);
    struct a64_insn load, store;
    uint32_t first, second;

    do { /* the base survives the load */
        first = random_word(g, rows[kind][0]);
        a64_decode(first, &load);
    } while (!usable(&load) || load.rt == load.rn || load.rt2 == load.rn);
    do {
        second = (random_word(g, rows[kind][1]) & ~(31u << 5)) | load.rn << 5;
        a64_decode(second, &store);
    } while (!usable(&store));
    fill(g, test);
    aim(g, test, &load, state_of(g, index));
    test->bits[test->n++] = first;
    test->bits[test->n++] = second;
}

static void put_test(struct generator *g, unsigned kind, unsigned index)
{
    struct a64_test test = {.entry = here(g)};

    if (kind == A64_SEQUENCES)
        make_sequence(g, &test);
    else if (kind == A64_EXCLUSIVES)
        make_exclusive(g, &test, index);
    else
        make_single(g, &test, kind, index);
    test.before[A64_STATE_X + ENTRY_REG] = test.entry;
    test.before[A64_STATE_X + STATE_REG] = state_of(g, index);
    for (unsigned n = 0; n < test.n; n++)
        put(g, test.bits[n]);
    put_b(g, g->routine);
    struct a64_insn last;
    a64_decode(test.bits[test.n - 1], &last);
    if (is_branch(&last) || is_indirect(&last)) {
        put(g, 0x91000400 | ENTRY_REG << 5 | ENTRY_REG);
        put_b(g, g->routine);
    }
    g_array_append_val(g->program->tests, test);
}

/* --- the program ------------------------------------------------------------------------------ */

static void put_save(struct generator *g)
{
    for (unsigned n = 0; n < 31; n++)
        if (n != STATE_REG)
            put_word(g, STR_X, n, A64_STATE_X + n);
    put(g, MRS_NZCV);
    put_word(g, STR_X, 0, A64_STATE_NZCV);
    put(g, 0x910003e0); /* x0 = sp */
    put_word(g, STR_X, 0, A64_STATE_SP);
    if (!g->vectors)
        return;
    put(g, MRS_FPSR);
    put_word(g, STR_X, 0, A64_STATE_FPSR);
    for (unsigned n = 0; n < 32; n++)
        put_word(g, STR_Q, n, A64_STATE_V + 2 * n);
}

/* The next test's state, whose x27 is the address of the test itself. */
static void put_load(struct generator *g)
{
    put(g, 0x91000000 | STATE << 10 | STATE_REG << 5 | STATE_REG);
    if (g->vectors) {
        put_word(g, LDR_X, 0, A64_STATE_FPCR);
        put(g, MRS_FPCR & ~MSR);
        put_word(g, LDR_X, 0, A64_STATE_FPSR);
        put(g, MRS_FPSR & ~MSR);
        for (unsigned n = 0; n < 32; n++)
            put_word(g, LDR_Q, n, A64_STATE_V + 2 * n);
    }
    put_word(g, LDR_X, 0, A64_STATE_NZCV);
    put(g, MRS_NZCV & ~MSR);
    put_word(g, LDR_X, 0, A64_STATE_SP);
    put(g, 0x9100001f); /* sp = x0 */
    for (unsigned n = 0; n < 31; n++)
        if (n != STATE_REG)
            put_word(g, LDR_X, n, A64_STATE_X + n);
    put(g, 0xd61f0000 | ENTRY_REG << 5);
}

static void put_system_call(struct generator *g, unsigned number)
{
    put_constant(g, 8, number);
    put(g, 0xd4000001);
}

/* Writes all states and ends. */
static void put_exit(struct generator *g, unsigned count)
{
    put_constant(g, 0, 1);
    put_constant(g, 1, STATES);
    put_constant(g, 2, (uint64_t)count * STATE);
    put_system_call(g, 64);
    put_constant(g, 0, 0);
    put_system_call(g, 93);
}

static void write_image(struct generator *g, unsigned count)
{
    struct a64_program *p = g->program;
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC, .e_machine = EM_AARCH64, .e_version = EV_CURRENT, .e_entry = p->entry,
        .e_phoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
    };
    Elf64_Phdr segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_vaddr = BASE,
                          .p_paddr = BASE, .p_filesz = p->size, .p_memsz = p->size, .p_align = 4096};

    g_assert(CODE + g->code->len <= STATES);
    p->image = g_malloc0(p->size);
    memcpy(p->image, &header, sizeof(header));
    memcpy(p->image + sizeof(header), &segment, sizeof(segment));
    memcpy(p->image + (CODE - BASE), g->code->data, g->code->len);
    for (unsigned i = 0; i < count; i++)
        memcpy(p->image + (state_of(g, i) - BASE),
               g_array_index(p->tests, struct a64_test, i).before, STATE);
}

struct a64_program *a64_program_new(unsigned kind, unsigned count, uint64_t seed)
{
    struct a64_program *p = g_new0(struct a64_program, 1);
    struct generator g = {.program = p, .code = g_byte_array_new(), .routine = CODE,
                          .state = (seed * A64_KINDS + kind + 1) * UINT64_C(0x9e3779b97f4a7c15)};

    g.vectors = kind < A64_EXTENSIONS && kind != A64_EXT_base && kind != A64_EXT_crc32 &&
                kind != A64_EXT_lse && kind != A64_EXT_lrcpc;
    p->tests = g_array_sized_new(FALSE, FALSE, sizeof(struct a64_test), count + 1);
    p->base = BASE;
    p->states = STATES;
    p->size = STATES - BASE + (uint64_t)(count + 1) * STATE;
    put_save(&g);
    uint64_t load = here(&g);
    put_load(&g);
    for (unsigned i = 0; i < count; i++)
        put_test(&g, kind, i);
    struct a64_test end = {.entry = here(&g)}; /* a state whose test is the end */
    end.before[A64_STATE_X + ENTRY_REG] = end.entry;
    put_exit(&g, count);
    p->entry = here(&g);
    put_constant(&g, STATE_REG, STATES - STATE);
    put_b(&g, load);
    g_array_append_val(p->tests, end);
    write_image(&g, count + 1);
    g_array_set_size(p->tests, count);
    g_byte_array_free(g.code, TRUE);
    return p;
}

void a64_program_free(struct a64_program *p)
{
    g_array_free(p->tests, TRUE);
    g_free(p->image);
    g_free(p);
}

/* --- names ------------------------------------------------------------------------------------ */

const char *a64_state_name(unsigned index, char text[16])
{
    static const char *const names[] = {"sp", "nzcv", "fpcr", "fpsr", "unused"};

    if (index < A64_STATE_X)
        snprintf(text, 16, "v%u%s", index / 2, index & 1 ? " high" : "");
    else if (index < A64_STATE_SP)
        snprintf(text, 16, "x%u", index - A64_STATE_X);
    else if (index < A64_STATE_MEMORY)
        snprintf(text, 16, "%s", names[index - A64_STATE_SP]);
    else
        snprintf(text, 16, "memory+%u", 8 * (index - A64_STATE_MEMORY));
    return text;
}

const char *a64_kind_name(unsigned kind)
{
    if (kind == A64_SEQUENCES)
        return "sequences";
    return kind == A64_EXCLUSIVES ? "exclusives" : a64_extension_names[kind];
}
