/*
 * tests/diff/rv_random.c: makes random programs.
 *
 * gp points at the next dump, t6 at the test's inputs, tp is the link of the dump's subroutine:
 * no instruction under test writes them. t0 and t1 are used to prepare a test.
 */
#include "tests/diff/rv_random.h"
#include "xlate/ir/ir.h"

#include <elf.h>
#include <stdio.h>

enum { GP = 3, TP = 4, T0 = 5, T1 = 6, A0 = 10, A1 = 11, A2 = 12, A7 = 17, T6 = 31 };
enum { INPUTS = RV_TEST_INPUTS, PAD = 32 /* c.addi's after a jump */ };

#define BASE    UINT64_C(0x100000)
#define SCRATCH (BASE + 0x800) /* in the first page, with the ELF header */
#define CODE    (BASE + 0x1000)

struct generator {
    struct rv_program *program;
    GByteArray *code;
    uint64_t state;
    uint64_t dump_routine;
};

static uint64_t rnd(struct generator *g)
{
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return g->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* --- encoding --------------------------------------------------------------------------------- */

static uint64_t here(const struct generator *g)
{
    return CODE + g->code->len;
}

static void put(struct generator *g, uint32_t bits)
{
    g_byte_array_append(g->code, (const uint8_t *)&bits, (bits & 3) == 3 ? 4 : 2);
}

static void put_i(struct generator *g, uint32_t match, unsigned rd, unsigned rs1, int imm)
{
    put(g, match | rd << 7 | rs1 << 15 | (uint32_t)imm << 20);
}

static void put_s(struct generator *g, uint32_t match, unsigned rs1, unsigned rs2, int imm)
{
    put(g, match | rs1 << 15 | rs2 << 20 | ((uint32_t)imm & 31) << 7 | (uint32_t)imm >> 5 << 25);
}

static uint32_t match_of(unsigned row)
{
    return rv_rows[row].match;
}

/* Loads a constant below 2 GiB. */
static void put_li(struct generator *g, unsigned rd, uint32_t value)
{
    uint32_t high = (value + 0x800) & ~0xfffu;

    put(g, match_of(RV_LUI) | rd << 7 | high);
    put_i(g, match_of(RV_ADDI), rd, rd, (int32_t)(value - high));
}

/* --- operands --------------------------------------------------------------------------------- */

static uint64_t integer(struct generator *g)
{
    uint64_t r = rnd(g), v = rnd(g);
    static const uint64_t edges[] = {
        0, 1, 2, UINT64_MAX, UINT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MIN, INT32_MAX,
        (uint64_t)INT32_MIN, 0x80000000, UINT32_MAX, 0x100000000, 0x7fff, 0x8000, 0xff, 31, 32, 63, 64,
    };

    switch (r & 7) {
    case 0:
    case 1:
        return edges[(r >> 8) % G_N_ELEMENTS(edges)];
    case 2:
        return (uint64_t)((int64_t)v >> (r >> 8 & 63));
    case 3:
        return UINT64_C(1) << (r >> 8 & 63);
    case 4:
        return v & (v >> 8) & (v << 8) & UINT64_C(0xff00ff00ff00ff00);
    default:
        return v;
    }
}

static uint64_t floating(struct generator *g, int exp_bits, int frac_bits)
{
    uint64_t r = rnd(g), m = rnd(g) & ((UINT64_C(1) << frac_bits) - 1);
    uint64_t most = (UINT64_C(1) << exp_bits) - 1, e = rnd(g) % (most + 1);

    if (r & 1)
        e = r & 2 ? r >> 8 & 1 : most - (r >> 8 & 1);
    else if (r & 4)
        e = most / 2 + (r >> 12 & 127) - 32;
    e &= most;
    if ((r >> 20 & 7) == 0)
        m = 0;
    else if ((r >> 20 & 7) == 1)
        m = (UINT64_C(1) << frac_bits) - 1;
    else if ((r >> 20 & 7) < 4)
        m &= UINT64_MAX << (r >> 24) % frac_bits;
    return (r >> 63) << (exp_bits + frac_bits) | e << frac_bits | m;
}

/* For an F register: a boxed single, seldom an unboxed one, or a double. */
static uint64_t float_register(struct generator *g)
{
    uint64_t r = rnd(g);

    if (r & 1)
        return floating(g, 11, 52);
    return floating(g, 8, 23) | (r >> 1 & 15 ? UINT64_C(0xffffffff00000000) : rnd(g) << 32);
}

/* --- choosing an instruction ------------------------------------------------------------------ */

static bool is_memory(const struct rv_insn *insn)
{
    return strstr(rv_rows[insn->op].operands, "(rs1)") && insn->op != RV_JALR;
}

static bool jumps(unsigned op)
{
    return op == RV_JAL || op == RV_JALR || (op >= RV_BEQ && op <= RV_BGEU);
}

static bool writes_x(const struct rv_insn *insn)
{
    return strstr(rv_rows[insn->op].operands, "rd") != NULL;
}

static bool reserved(unsigned number)
{
    return number == GP || number == TP || number == T6;
}

bool rv_extension_runs(unsigned extension)
{
    return extension != RV_EXT_S && extension != RV_EXT_Zicbom && extension != RV_EXT_Zicboz &&
           extension != RV_EXT_Zifencei && extension != RV_EXT_Zihintpause;
}

static bool usable(const struct rv_insn *insn)
{
    if (insn->op == RV_ECALL || insn->op == RV_EBREAK)
        return false;
    if (writes_x(insn) && reserved(insn->rd))
        return false;
    if ((is_memory(insn) || insn->op == RV_JALR) && (reserved(insn->rs1) || !insn->rs1))
        return false;
    if (jumps(insn->op) && insn->op != RV_JALR)
        return insn->imm >= insn->length && insn->imm <= PAD * 2;
    if (rv_rows[insn->op].extension == RV_EXT_Zicsr)
        return insn->csr >= 1 && insn->csr <= 3;
    return true;
}

static unsigned random_row(struct generator *g, unsigned extension)
{
    unsigned row;

    do
        row = 1 + rnd(g) % (RV_ROWS - 1);
    while (rv_rows[row].extension != extension);
    return row;
}

static uint32_t random_bits(struct generator *g, unsigned row)
{
    uint32_t bits = (uint32_t)rnd(g);

    if (row == RV_JAL) /* imm[10:1] at 30:21; few of all values are near enough */
        bits &= (PAD - 1) << 21 | 31 << 7;
    if (rv_rows[row].extension == RV_EXT_Zicsr)
        bits = (bits & 0xfffff) | (1 + rnd(g) % 3) << 20;
    if (rv_rows[row].length == 2)
        bits &= 0xffff;
    return (bits & ~rv_rows[row].mask) | rv_rows[row].match;
}

static struct rv_insn random_insn(struct generator *g, unsigned extension)
{
    struct rv_insn insn;

    for (;;) {
        unsigned row = random_row(g, extension);

        for (int tries = 0; tries < 2000; tries++) {
            rv_decode(random_bits(g, row), &insn);
            if (insn.row == row && usable(&insn))
                return insn;
        }
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

/* What each input is for. */
enum { IN_RS1, IN_RS2, IN_RS3, IN_FRM, IN_MEMORY, IN_RESERVE = 6, IN_PAD };

/* Natural alignment for atomics; other accesses are misaligned now and then. */
static unsigned access_size(const struct rv_insn *insn)
{
    const char *name = rv_rows[insn->op].name;
    size_t length = strlen(name);

    if (rv_rows[insn->op].extension == RV_EXT_A)
        return name[length - 1] == 'd' ? 8 : 4;
    return 1;
}

static void choose_inputs(struct generator *g, const struct rv_insn *insn, struct rv_test *test)
{
    const char *operands = rv_rows[insn->op].operands;

    for (unsigned i = 0; i < INPUTS; i++)
        test->input[i] = integer(g);
    if (strstr(operands, "fs1"))
        test->input[IN_RS1] = float_register(g);
    if (strstr(operands, "fs2"))
        test->input[IN_RS2] = float_register(g);
    if (strstr(operands, "fs3"))
        test->input[IN_RS3] = float_register(g);
    if (strstr(operands, "fs2") && rnd(g) % 8 == 0)
        test->input[IN_RS2] = test->input[IN_RS1] ^ (rnd(g) & 1) << 63;
    if (insn->op == RV_CTZW) /* QEMU before 8.0 counts on into the high word */
        test->input[IN_RS1] |= UINT64_C(1) << 31;
    test->input[IN_FRM] = rnd(g) % 5;
    test->input[IN_RESERVE] = rnd(g) & 3;
    if (is_memory(insn)) {
        unsigned size = access_size(insn);

        test->input[IN_RS1] = SCRATCH + (size == 1 ? rnd(g) % 9 : rnd(g) % (16 / size) * size) -
                              insn->imm;
    }
}

static void put_memory_setup(struct generator *g)
{
    put_li(g, T1, SCRATCH);
    for (unsigned i = 0; i < 2; i++) {
        put_i(g, match_of(RV_LD), T0, T6, 8 * (IN_MEMORY + i));
        put_s(g, match_of(RV_SD), T1, T0, 8 * i);
    }
}

/* Loads the registers that the instruction reads; rs1 last, as an address wins over a value. */
static void put_operands(struct generator *g, const struct rv_insn *insn)
{
    const char *operands = rv_rows[insn->op].operands;
    const struct {
        const char *x, *f;
        unsigned number, input;
    } sources[] = {
        {"rs3", "fs3", insn->rs3, IN_RS3},
        {"rs2", "fs2", insn->rs2, IN_RS2},
        {"rs1", "fs1", insn->rs1, IN_RS1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(sources); i++) {
        if (strstr(operands, sources[i].f))
            put_i(g, match_of(RV_FLD), sources[i].number, T6, 8 * sources[i].input);
        else if (strstr(operands, sources[i].x) && sources[i].number && !reserved(sources[i].number))
            put_i(g, match_of(RV_LD), sources[i].number, T6, 8 * sources[i].input);
    }
}

static void put_dump(struct generator *g)
{
    uint32_t distance = g->dump_routine - here(g);

    put(g, match_of(RV_JAL) | TP << 7 | (distance >> 20 & 1) << 31 |
               (distance >> 1 & 0x3ff) << 21 | (distance >> 11 & 1) << 20 |
               (distance >> 12 & 0xff) << 12);
}

static void put_reserve(struct generator *g, const struct rv_insn *insn, uint64_t how)
{
    bool wide = insn->op == RV_SC_D;

    if (how) /* three of four store-conditionals have a reservation */
        put(g, match_of(wide ? RV_LR_D : RV_LR_W) | insn->rs1 << 15 | T0 << 7);
}

/* The instruction with what must come before and after it. TEST has bits and inputs. */
static void put_test(struct generator *g, struct rv_test *test)
{
    struct rv_insn insn;
    rv_decode(test->bits[0], &insn);
    if (is_memory(&insn))
        put_memory_setup(g);
    put(g, match_of(RV_CSRRWI) | 2 << 20 | (uint32_t)test->input[IN_FRM] << 15);
    put_operands(g, &insn);
    if (insn.op == RV_SC_W || insn.op == RV_SC_D) {
        put_reserve(g, &insn, test->input[IN_RESERVE]);
        put_operands(g, &insn); /* t0 may be one of them */
    }
    test->address = here(g);
    if (insn.op == RV_JALR) /* where to is known only now */
        test->input[IN_RS1] = here(g) + insn.length + test->input[IN_PAD] % PAD * 2 - insn.imm +
                              (test->input[IN_PAD] >> 32 & ~(uint64_t)insn.imm & 1);
    put(g, test->bits[0]);
    if (jumps(insn.op))
        for (unsigned i = 0; i < PAD; i++)
            put(g, match_of(RV_C_ADDI) | A7 << 7 | 1 << 2);
    if (insn.op == RV_LR_W || insn.op == RV_LR_D) /* elsewhere: ends the reservation */
        put(g, match_of(RV_SC_W) | T6 << 15);
    put_dump(g);
    g_array_append_val(g->program->tests, *test);
}

/* --- sequences -------------------------------------------------------------------------------- */

/*
 * Registers that a sequence works on: those of compressed instructions, and a few. x9 holds the
 * address of the memory, and nothing writes it; x8 is a second pointer into it now and then.
 */
static const uint8_t worked[] = {0, 5, 8, 10, 11, 12, 13, 14, 15, 28};
enum { BASE_REG = 9, SECOND_REG = 8, IN_SEQ_FRM = 20, IN_SEQ_MEMORY = 21, IN_SEQ_BASE = 23 };
enum { FEW = 4 }; /* of them in one sequence, so that its instructions depend on one another */

static bool fits_sequence(const struct rv_insn *insn)
{
    const char *operands = rv_rows[insn->op].operands;
    unsigned op = insn->op;

    if (insn->op == RV_ECALL || insn->op == RV_EBREAK || jumps(op) || op == RV_CTZW ||
        !rv_extension_runs(rv_rows[op].extension) || op == RV_AUIPC)
        return false;
    if (op == RV_LR_D || op == RV_SC_D) /* QEMU pairs them with those of words, we don't */
        return false;
    if (rv_rows[op].extension == RV_EXT_Zicsr && (insn->csr != 1 || insn->row != insn->op))
        return false; /* fflags: frm ends units, and may be invalid */
    if (strstr(operands, "rd") && (reserved(insn->rd) || insn->rd == BASE_REG))
        return false;
    if (is_memory(insn)) {
        bool atomic = rv_rows[op].extension == RV_EXT_A;

        return (insn->rs1 == BASE_REG && insn->imm >= 0 && insn->imm <= 8) ||
               (insn->rs1 == SECOND_REG && insn->imm >= -4 && insn->imm <= 4 && !atomic);
    }
    return true;
}

/* Puts few registers, or a memory address of the sequence's, into the fields of a full-length word. */
static uint32_t with_few(struct generator *g, unsigned row, uint32_t bits, const uint8_t *few)
{
    const char *operands = rv_rows[row].operands;
    uint32_t rd = few[rnd(g) % FEW], rs1 = few[rnd(g) % FEW], rs2 = few[rnd(g) % FEW];
    uint32_t rs3 = few[rnd(g) % FEW];

    if (strstr(operands, "imm(rs1)")) {
        bool store = strstr(operands, "s2,") != NULL;

        rs1 = rnd(g) % 3 ? BASE_REG : SECOND_REG;
        *(store ? &rd : &rs2) = rnd(g) % 9; /* the immediate's low bits; the others are 0 */
        rs3 = 0;
        bits &= 0x01ffffff;
    } else if (strstr(operands, "(rs1)")) {
        rs1 = BASE_REG;
        rs3 = bits >> 27;
    } else if (strstr(operands, "imm") || strstr(operands, "hex")) {
        rs2 = bits >> 20 & 31;
        rs3 = bits >> 27;
    }
    bits = (bits & ~UINT32_C(0xf9ff8f80)) | rd << 7 | rs1 << 15 | rs2 << 20 | rs3 << 27;
    return (bits & ~rv_rows[row].mask) | rv_rows[row].match;
}

static uint32_t sequence_word(struct generator *g, const uint8_t *few)
{
    for (;;) {
        unsigned row = 1 + rnd(g) % (RV_ROWS - 1);
        uint32_t bits = random_bits(g, row);
        struct rv_insn insn;

        if (rv_rows[row].length == 4)
            bits = with_few(g, row, bits, few);
        rv_decode(bits, &insn);
        if (insn.row == row && fits_sequence(&insn))
            return insn.bits;
    }
}

/* A second pointer must be one whenever it is used: it is made anew before. */
static void put_sequence(struct generator *g, struct rv_test *test)
{
    put_li(g, T1, SCRATCH);
    for (unsigned i = 0; i < 2; i++) {
        put_i(g, match_of(RV_LD), T0, T6, 8 * (IN_SEQ_MEMORY + i));
        put_s(g, match_of(RV_SD), T1, T0, 8 * i);
    }
    put(g, match_of(RV_CSRRWI) | 2 << 20 | (uint32_t)test->input[IN_SEQ_FRM] << 15);
    for (unsigned i = 1; i < sizeof(worked); i++) {
        put_i(g, match_of(RV_LD), worked[i], T6, 8 * (i - 1));
        put_i(g, match_of(RV_FLD), worked[i], T6, 8 * (i + 9));
    }
    put_i(g, match_of(RV_LD), BASE_REG, T6, 8 * IN_SEQ_BASE);
    test->address = here(g);
    for (unsigned i = 0; i < test->n; i++) {
        struct rv_insn insn;

        rv_decode(test->bits[i], &insn);
        if (is_memory(&insn) && insn.rs1 == SECOND_REG)
            put_i(g, match_of(RV_ADDI), SECOND_REG, BASE_REG, 4);
        put(g, test->bits[i]);
    }
    put(g, match_of(RV_SC_W) | T6 << 15);
    put_dump(g);
    g_array_append_val(g->program->tests, *test);
}

static void random_sequence(struct generator *g, struct rv_test *test)
{
    uint8_t few[FEW];

    for (unsigned i = 0; i < FEW; i++)
        few[i] = worked[rnd(g) % sizeof(worked)];
    *test = (struct rv_test){.sequence = true, .n = 2 + rnd(g) % (RV_SEQUENCE - 1)};
    for (unsigned i = 0; i < test->n; i++)
        test->bits[i] = sequence_word(g, few);
    for (unsigned i = 0; i < RV_TEST_INPUTS; i++)
        test->input[i] = i >= 10 && i < IN_SEQ_FRM ? float_register(g) : integer(g);
    test->input[IN_SEQ_FRM] = rnd(g) % 5;
    test->input[IN_SEQ_BASE] = SCRATCH;
}

/* --- the program ------------------------------------------------------------------------------ */

static void put_dump_routine(struct generator *g)
{
    g->dump_routine = here(g);
    for (unsigned i = 1; i < 32; i++)
        put_s(g, match_of(RV_SD), GP, i, 8 * (RV_DUMP_X + i - 1));
    for (unsigned i = 0; i < 32; i++)
        put_s(g, match_of(RV_FSD), GP, i, 8 * (RV_DUMP_F + i));
    put_i(g, match_of(RV_CSRRS), T0, 0, 3);
    put_s(g, match_of(RV_SD), GP, T0, 8 * RV_DUMP_FCSR);
    put_li(g, T0, SCRATCH);
    for (unsigned i = 0; i < 2; i++) {
        put_i(g, match_of(RV_LD), T1, T0, 8 * i);
        put_s(g, match_of(RV_SD), GP, T1, 8 * (RV_DUMP_MEMORY + i));
    }
    put(g, match_of(RV_CSRRWI) | 1 << 20); /* fflags: each test starts with none */
    put_i(g, match_of(RV_LD), T0, GP, 8 * (T0 - 1));
    put_i(g, match_of(RV_LD), T1, GP, 8 * (T1 - 1));
    put_i(g, match_of(RV_ADDI), GP, GP, 8 * RV_DUMP_WORDS);
    put_i(g, match_of(RV_ADDI), T6, T6, 8 * INPUTS);
    put_i(g, match_of(RV_JALR), 0, TP, 0);
}

static void put_system_call(struct generator *g, unsigned number)
{
    put_li(g, A7, number);
    put(g, match_of(RV_ECALL));
}

/* Pages of code, then of inputs, then of dumps. */
static void finish(struct generator *g, uint32_t entry_words, uint32_t exit_words)
{
    struct rv_program *p = g->program;
    uint64_t inputs = ALIGN_UP(here(g), 4096), n = p->tests->len;
    uint64_t end = ALIGN_UP(inputs + n * INPUTS * 8, UINT64_C(4096));
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = CODE,
        .e_phoff = sizeof(Elf64_Ehdr), .e_flags = 5 /* RVC, doubles */,
        .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
    };
    Elf64_Phdr segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_vaddr = BASE,
                          .p_paddr = BASE, .p_align = 4096};

    p->base = BASE;
    p->entry = CODE;
    p->dump = end;
    p->size = segment.p_filesz = end - BASE;
    p->memory = segment.p_memsz = p->size + ALIGN_UP(n * RV_DUMP_WORDS * 8, UINT64_C(4096));
    p->image = g_malloc0(p->size);
    memcpy(p->image, &header, sizeof(header));
    memcpy(p->image + sizeof(header), &segment, sizeof(segment));

    /* The places that were left for addresses: start, and the write at the end. */
    GByteArray *code = g->code;
    g->code = g_byte_array_new();
    put_li(g, GP, p->dump);
    put_li(g, T6, inputs);
    memcpy(code->data + entry_words * 4, g->code->data, g->code->len);
    g_byte_array_set_size(g->code, 0);
    put_li(g, A1, p->dump);
    put_li(g, A2, n * RV_DUMP_WORDS * 8);
    memcpy(code->data + exit_words * 4, g->code->data, g->code->len);
    g_byte_array_free(g->code, TRUE);
    memcpy(p->image + (CODE - BASE), code->data, code->len);
    for (uint64_t i = 0; i < n; i++)
        memcpy(p->image + (inputs - BASE) + i * INPUTS * 8,
               g_array_index(p->tests, struct rv_test, i).input, INPUTS * 8);
    g_byte_array_free(code, TRUE);
}

enum { SEQUENCES = RV_EXTENSIONS }; /* in place of an extension */

static void put_random_test(struct generator *g, unsigned extension)
{
    struct rv_test test = {.n = 1};

    if (extension == SEQUENCES) {
        random_sequence(g, &test);
        put_sequence(g, &test);
        return;
    }
    struct rv_insn insn = random_insn(g, extension);
    test.bits[0] = insn.bits;
    choose_inputs(g, &insn, &test);
    put_test(g, &test);
}

static void put_this_test(struct generator *g, const struct rv_test *only)
{
    struct rv_test test = *only;

    if (test.sequence)
        put_sequence(g, &test);
    else
        put_test(g, &test);
}

static struct rv_program *build(struct generator *g, unsigned extension, unsigned count,
                                const struct rv_test *only)
{
    uint32_t exit_at;

    g->program = g_new0(struct rv_program, 1);
    g->program->tests = g_array_new(FALSE, FALSE, sizeof(struct rv_test));
    g->code = g_byte_array_new();
    put(g, match_of(RV_JAL)); /* to the first test, over the rest of this page */
    put_dump_routine(g);
    exit_at = g->code->len / 4;
    for (unsigned i = 0; i < 4; i++) /* a1, a2: by finish() */
        put_i(g, match_of(RV_ADDI), 0, 0, 0);
    put_i(g, match_of(RV_ADDI), A0, 0, 1);
    put_system_call(g, 64); /* write */
    put_i(g, match_of(RV_ADDI), A0, 0, 0);
    put_system_call(g, 93); /* exit */
    uint64_t exit_routine = CODE + exit_at * 4;
    uint32_t start = g->code->len;
    uint32_t jal = match_of(RV_JAL) | (start >> 1 & 0x3ff) << 21;
    memcpy(g->code->data, &jal, 4);
    uint32_t entry_at = start / 4;
    for (unsigned i = 0; i < 4; i++) /* gp, t6: by finish() */
        put_i(g, match_of(RV_ADDI), 0, 0, 0);
    for (unsigned i = 0; i < 32; i++) {
        if (i && !reserved(i))
            put_li(g, i, 0x1111 * i);
        put(g, match_of(RV_FMV_D_X) | i << 7 | i << 15);
    }
    put(g, match_of(RV_CSRRWI) | 3 << 20);
    for (unsigned i = 0; i < count; i++) {
        if (only)
            put_this_test(g, only);
        else
            put_random_test(g, extension);
    }
    put_li(g, T0, exit_routine);
    put_i(g, match_of(RV_JALR), 0, T0, 0);
    finish(g, entry_at, exit_at);
    return g->program;
}

struct rv_program *rv_program_new(unsigned extension, unsigned count, uint64_t seed)
{
    struct generator g = {.state = seed * UINT64_C(0x9e3779b97f4a7c15) + extension + 1};

    return build(&g, extension, count, NULL);
}

struct rv_program *rv_program_sequences(unsigned count, uint64_t seed)
{
    struct generator g = {.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 0x5e9};

    return build(&g, SEQUENCES, count, NULL);
}

struct rv_program *rv_program_of(const struct rv_test *test)
{
    struct generator g = {.state = 1};

    return build(&g, 0, 1, test);
}

void rv_program_free(struct rv_program *program)
{
    if (!program)
        return;
    g_array_free(program->tests, TRUE);
    g_free(program->image);
    g_free(program);
}

const char *rv_dump_name(unsigned index, char text[16])
{
    if (index < RV_DUMP_F)
        g_snprintf(text, 16, "x%u", index - RV_DUMP_X + 1);
    else if (index < RV_DUMP_FCSR)
        g_snprintf(text, 16, "f%u", index - RV_DUMP_F);
    else if (index == RV_DUMP_FCSR)
        g_snprintf(text, 16, "fcsr");
    else
        g_snprintf(text, 16, "memory+%u", 8 * (index - RV_DUMP_MEMORY));
    return text;
}
