/*
 * tests/diff/rv_random.c: makes random programs.
 *
 * gp points at the state that a test begins with and leaves, tp tells where it ended: no
 * instruction under test writes them. One routine goes from test to test, saves all registers and
 * loads them anew; so a test is its instruction and one jump, and the time that either side takes to
 * translate is spent on what is under test.
 */
#include "tests/diff/rv_random.h"
#include "tests/diff/values.h"
#include "xlate/ir/ir.h"

#include <elf.h>
#include <stdio.h>

enum { GP = 3, TP = 4, T0 = 5, T1 = 6, A0 = 10, A1 = 11, A2 = 12, A7 = 17 };
enum { STATE = 8 * RV_STATE_WORDS };
enum { SAVE_BYTES = 4 * 73, REACH = 256 /* the longest jump's bytes */ };

#define BASE    UINT64_C(0x100000)
#define SCRATCH (BASE + 0x800) /* in the first page, with the ELF header */
#define CODE    (BASE + 0x1000)
#define STATES  (CODE + 0x100000) /* as far as a JAL goes */
#define COPIED  (STATES - 0x8000) /* what loops copy, 8 pages that hold no code */

struct generator {
    struct rv_program *program;
    GByteArray *code;
    uint64_t state;
    uint64_t next_routine;
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

static void put_jal(struct generator *g, unsigned rd, uint64_t target)
{
    int64_t distance = target - here(g);

    g_assert(distance >= -0x100000 && distance < 0x100000);
    put(g, match_of(RV_JAL) | rd << 7 | (distance >> 20 & 1) << 31 | (distance >> 1 & 0x3ff) << 21 |
               (distance >> 11 & 1) << 20 | (distance >> 12 & 0xff) << 12);
}

/* Loads a constant below 2 GiB. */
static void put_li(struct generator *g, unsigned rd, uint32_t value)
{
    uint32_t high = (value + 0x800) & ~0xfffu;

    put(g, match_of(RV_LUI) | rd << 7 | high);
    put_i(g, match_of(RV_ADDI), rd, rd, (int32_t)(value - high));
}

/* --- operands --------------------------------------------------------------------------------- */

/* For an F register: a boxed single, seldom an unboxed one, or a double. */
static uint64_t float_register(struct generator *g)
{
    uint64_t r = rnd(g);

    if (r & 1)
        return diff_floating(&g->state, 11, 52);
    return diff_floating(&g->state, 8, 23) | (r >> 1 & 15 ? UINT64_C(0xffffffff00000000) : rnd(g) << 32);
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
    return number == GP || number == TP;
}

const char *rv_kind_name(unsigned kind)
{
    if (kind == RV_SEQUENCES)
        return "sequences";
    if (kind == RV_LOOPS)
        return "loops";
    if (kind == RV_COPIES)
        return "copies";
    return kind == RV_COUNTERS ? "Zicntr" : rv_extension_names[kind];
}

bool rv_kind_runs(unsigned kind)
{
    return kind != RV_EXT_S && kind != RV_EXT_Zicbom && kind != RV_EXT_Zicboz;
}

/* There is room for a jump of DISTANCE over itself, or back over what it lands on. */
static bool reaches(int64_t distance, unsigned length)
{
    return (distance >= (int64_t)length && distance <= REACH) ||
           (distance <= -6 && distance >= -REACH);
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
        return reaches(insn->imm, insn->length);
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

    if (row == RV_JAL) /* few of all distances are near enough: imm[20:8] are all equal */
        bits = (bits & 0x0fe00f80) | (bits >> 31 ? 0xf01ff000 : 0);
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

/* Natural alignment for atomics; other accesses are misaligned now and then. */
static unsigned access_size(const struct rv_insn *insn)
{
    const char *name = rv_rows[insn->op].name;
    size_t length = strlen(name);

    if (rv_rows[insn->op].extension == RV_EXT_A)
        return name[length - 1] == 'd' ? 8 : 4;
    return 1;
}

/* What every test begins with: anything in registers, an old flag now and then. */
static void random_state(struct generator *g, struct rv_test *test)
{
    uint64_t r = rnd(g);

    for (unsigned i = 0; i < RV_STATE_WORDS; i++)
        test->before[i] = rnd(g);
    test->before[RV_STATE_FCSR] = (r & 0xffff) % 5 << 5 | (r >> 16 & 3 ? 0 : r >> 18 & 31);
}

/* Where a JALR goes, from its own address on; most go forward. */
static int random_reach(struct generator *g, unsigned length)
{
    int64_t distance;

    do
        distance = ((int64_t)(rnd(g) % (REACH + REACH / 4)) - REACH / 4) & ~1;
    while (!reaches(distance, length));
    return distance;
}

static void choose_operands(struct generator *g, struct rv_test *test)
{
    const struct rv_insn *insn = &test->insn;
    const char *operands = rv_rows[insn->op].operands;
    const unsigned number[] = {insn->rs1, insn->rs2, insn->rs3};
    uint64_t *x = &test->before[RV_STATE_X] - 1, *f = &test->before[RV_STATE_F];

    for (unsigned i = G_N_ELEMENTS(number); i-- > 0;) {
        const char fs[] = {'f', 's', '1' + i, 0};

        if (strstr(operands, fs))
            f[number[i]] = float_register(g);
        else if (strstr(operands, fs + 1) && number[i])
            x[number[i]] = diff_integer(&g->state);
    }
    if (strstr(operands, "fs2") && rnd(g) % 8 == 0)
        f[insn->rs2] = f[insn->rs1] ^ (rnd(g) & 1) << 63;
    if (insn->op == RV_CTZW && insn->rs1) /* QEMU before 8.0 counts on into the high word */
        x[insn->rs1] |= UINT64_C(1) << 31;
    if (is_memory(insn)) {
        unsigned size = access_size(insn);

        x[insn->rs1] = SCRATCH + (size == 1 ? rnd(g) % 9 : rnd(g) % (16 / size) * size) - insn->imm;
    }
}

static void put_end(struct generator *g)
{
    put_jal(g, TP, g->next_routine);
}

/* Until there, steps that change a7 where nothing should pass. */
static void put_steps(struct generator *g, uint64_t end)
{
    while (here(g) < end)
        put(g, match_of(RV_C_ADDI) | A7 << 7 | 1 << 2);
}

/* Ends on both ways of a jump forward, each with a link of its own. */
static void put_forward(struct generator *g, const struct rv_test *test, int distance)
{
    uint64_t target = here(g) + distance;

    put(g, test->bits[0]);
    if (here(g) + 4 <= target)
        put_end(g);
    put_steps(g, target);
    put_end(g);
}

/* The target of a jump backward, and on the way over it to the jump. */
static void put_backward(struct generator *g, const struct rv_test *test, int distance)
{
    uint64_t target = here(g) + 4, insn = target - distance;

    put_jal(g, 0, insn);
    put_steps(g, target + 2);
    put_jal(g, 0, insn + test->insn.length);
    put_steps(g, insn);
    put(g, test->bits[0]);
    put_end(g);
}

static void put_jump(struct generator *g, struct rv_test *test)
{
    const struct rv_insn *insn = &test->insn;
    int distance = insn->op == RV_JALR ? test->reach : insn->imm;

    if (distance < 0)
        test->address = here(g) + 4 - distance;
    if (insn->op == RV_JALR) {
        test->jump_register = insn->rs1;
        test->jump_to = test->address + distance - insn->imm + test->odd;
    }
    if (distance < 0)
        put_backward(g, test, distance);
    else
        put_forward(g, test, distance);
}

/* The instruction with what must come around it. */
static void put_single(struct generator *g, struct rv_test *test)
{
    const struct rv_insn *insn = &test->insn;

    if (test->reserves && (insn->op == RV_SC_W || insn->op == RV_SC_D))
        put(g, match_of(insn->op == RV_SC_D ? RV_LR_D : RV_LR_W) | insn->rs1 << 15);
    test->address = here(g);
    if (jumps(insn->op)) {
        put_jump(g, test);
        return;
    }
    put(g, test->bits[0]);
    put_end(g);
}

static void random_single(struct generator *g, unsigned extension, struct rv_test *test)
{
    test->insn = random_insn(g, extension);
    test->n = 1;
    test->bits[0] = test->insn.bits;
    test->reserves = rnd(g) & 3; /* three of four store-conditionals have a reservation */
    test->odd = rnd(g) & 1;
    test->reach = random_reach(g, test->insn.length);
}

/* Instructions that read a counter, and what is the same everywhere: that it is not 0. */
static void random_counter(struct generator *g, struct rv_test *test)
{
    static const unsigned rows[] = {RV_CSRRS, RV_CSRRC, RV_CSRRSI, RV_CSRRCI};
    unsigned row = rows[rnd(g) % G_N_ELEMENTS(rows)], rd;

    do
        rd = rnd(g) % 32;
    while (reserved(rd));
    test->n = 2;
    test->bits[0] = match_of(row) | rd << 7 | (uint32_t)(0xc00 + rnd(g) % 3) << 20;
    test->bits[1] = match_of(RV_SLTU) | rd << 7 | rd << 20;
}

/* --- sequences -------------------------------------------------------------------------------- */

/*
 * Registers that a sequence works on: those of compressed instructions, and a few. x9 holds the
 * address of the memory, and nothing writes it; x8 is a second pointer into it now and then.
 */
static const uint8_t worked[] = {0, 5, 8, 10, 11, 12, 13, 14, 15, 28};
enum { BASE_REG = 9, SECOND_REG = 8 };
enum { FEW = 4 }; /* of them in one sequence, so that its instructions depend on one another */

static bool fits_sequence(const struct rv_insn *insn)
{
    const char *operands = rv_rows[insn->op].operands;
    unsigned op = insn->op;

    if (insn->op == RV_ECALL || insn->op == RV_EBREAK || jumps(op) || op == RV_CTZW ||
        !rv_kind_runs(rv_rows[op].extension) || op == RV_AUIPC)
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
static void put_several(struct generator *g, struct rv_test *test)
{
    test->address = here(g);
    for (unsigned i = 0; i < test->n; i++) {
        struct rv_insn insn;

        rv_decode(test->bits[i], &insn);
        if (is_memory(&insn) && insn.rs1 == SECOND_REG)
            put_i(g, match_of(RV_ADDI), SECOND_REG, BASE_REG, 4);
        put(g, test->bits[i]);
    }
    put_end(g);
}

static void random_sequence(struct generator *g, struct rv_test *test)
{
    uint8_t few[FEW];

    for (unsigned i = 0; i < FEW; i++)
        few[i] = worked[rnd(g) % sizeof(worked)];
    test->n = 2 + rnd(g) % (RV_SEQUENCE - 1);
    for (unsigned i = 0; i < test->n; i++)
        test->bits[i] = sequence_word(g, few);
}

static void choose_sequence_state(struct generator *g, struct rv_test *test)
{
    for (unsigned i = 0; i < sizeof(worked); i++) {
        test->before[RV_STATE_F + worked[i]] = float_register(g);
        if (worked[i])
            test->before[RV_STATE_X + worked[i] - 1] = diff_integer(&g->state);
    }
    test->before[RV_STATE_MEMORY] = diff_integer(&g->state);
    test->before[RV_STATE_MEMORY + 1] = diff_integer(&g->state);
    test->before[RV_STATE_X + BASE_REG - 1] = SCRATCH;
}

/* --- loops ------------------------------------------------------------------------------------ */

static uint32_t branch_bits(unsigned row, unsigned rs1, unsigned rs2, int32_t to)
{
    uint32_t imm = (uint32_t)to;

    return rv_rows[row].match | rs1 << 15 | rs2 << 20 | (imm >> 12 & 1) << 31 | (imm >> 5 & 63) << 25 |
           (imm >> 1 & 15) << 8 | (imm >> 11 & 1) << 7;
}

/* Any computation of one register or two, of four bytes. */
static uint32_t computation(struct generator *g, const uint8_t *few)
{
    static const uint16_t rows[] = {RV_ADD, RV_SUB, RV_AND,  RV_OR,  RV_XOR,  RV_ADDW, RV_SUBW, RV_ADDI, RV_ADDIW,
                                    RV_ORI, RV_XORI, RV_ANDI, RV_SLL, RV_SRAI, RV_LUI,  RV_MIN,  RV_ANDN};

    for (;;) {
        unsigned row = rows[rnd(g) % G_N_ELEMENTS(rows)];
        uint32_t bits = with_few(g, row, random_bits(g, row), few);
        struct rv_insn insn;

        rv_decode(bits, &insn);
        if (insn.row == row && insn.rd != BASE_REG)
            return bits;
    }
}

static uint32_t atomic_bits(struct generator *g, unsigned row, unsigned rd, unsigned rs2)
{
    return rv_rows[row].match | rd << 7 | (uint32_t)BASE_REG << 15 | rs2 << 20 | (rnd(g) % 4) << 25;
}

/* LR, up to four computations and a branch out in any order, SC, and back, then more of what sees what they left. */
static void random_loop(struct generator *g, struct rv_test *test)
{
    static const uint16_t tests[] = {RV_BEQ, RV_BNE, RV_BLT, RV_BGE, RV_BLTU, RV_BGEU};
    bool doubles = rnd(g) % 2;
    unsigned body = rnd(g) % 5, at = rnd(g) % 8; /* at: where the branch is; past the body: there is none */
    unsigned length = 3 + body + (at < body);
    uint8_t few[FEW];

    for (unsigned i = 0; i < FEW; i++)
        few[i] = worked[rnd(g) % sizeof(worked)];
    unsigned value = few[0], failed = few[rnd(g) % FEW];
    test->n = 0;
    test->bits[test->n++] = atomic_bits(g, doubles ? RV_LR_D : RV_LR_W, value, 0);
    for (unsigned i = 0; i < body; i++) {
        if (i == at) {
            unsigned other = few[rnd(g) % FEW], first = rnd(g) % 2 ? value : other;
            test->bits[test->n] = branch_bits(tests[rnd(g) % G_N_ELEMENTS(tests)], first,
                                              first == value ? other : value, (int32_t)(length - test->n) * 4);
            test->n++;
        }
        test->bits[test->n++] = computation(g, few);
    }
    test->bits[test->n++] = atomic_bits(g, doubles ? RV_SC_D : RV_SC_W, failed, few[rnd(g) % FEW]);
    test->bits[test->n] = branch_bits(RV_BNE, failed, 0, -4 * (int32_t)test->n);
    test->n++;
    for (unsigned i = rnd(g) % 3; i-- > 0;) {
        uint32_t bits = sequence_word(g, few);
        /* QEMU takes the reservation of a doubleword for that of a word. */
        if (!doubles || (bits & rv_rows[RV_SC_W].mask) != rv_rows[RV_SC_W].match)
            test->bits[test->n++] = bits;
    }
}

unsigned rv_loop_length(const struct rv_test *test)
{
    for (unsigned i = test->n; i-- > 0;) {
        struct rv_insn insn;

        rv_decode(test->bits[i], &insn);
        if (jumps(insn.op) && insn.imm < 0)
            return i + 1;
    }
    return 0;
}

/* A branch out compares with what is in memory, which now and then is the same. */
static void choose_loop_state(struct generator *g, struct rv_test *test)
{
    choose_sequence_state(g, test);
    for (unsigned i = 1; i < test->n; i++) {
        struct rv_insn insn;

        rv_decode(test->bits[i], &insn);
        if (insn.op >= RV_BEQ && insn.op <= RV_BGEU && insn.rs2 && rnd(g) % 2) {
            test->before[RV_STATE_MEMORY] = test->before[RV_STATE_X + (rnd(g) % 2 || !insn.rs1 ? insn.rs2 : insn.rs1) - 1];
            break;
        }
    }
}

/* --- loops that copy -------------------------------------------------------------------------- */

/* A register for each part, and those with which the memory is summed up. */
enum { FROM_REG = 10, TO_REG = 11, COUNT_REG = 12, END_REG = 28, VALUE_REG = 14,
       SUM_REG = 15, SUM_FROM = 13, SUM_TO = 5 };
enum { COPY_STEPS = 3, COPY_TIMES = 400 };

static uint32_t addi_bits(unsigned reg, int imm)
{
    return match_of(RV_ADDI) | reg << 7 | reg << 15 | (uint32_t)imm << 20;
}

static uint32_t load_bits(unsigned row, unsigned rd, unsigned rs1, int imm)
{
    return match_of(row) | rd << 7 | rs1 << 15 | (uint32_t)imm << 20;
}

static uint32_t store_bits(unsigned row, unsigned rs1, unsigned rs2, int imm)
{
    return match_of(row) | rs1 << 15 | rs2 << 20 | ((uint32_t)imm & 31) << 7 | (uint32_t)imm >> 5 << 25;
}

static void shuffle(struct generator *g, uint32_t *bits, unsigned n)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned k = rnd(g) % i;
        uint32_t bit = bits[i - 1];
        bits[i - 1] = bits[k];
        bits[k] = bit;
    }
}

/* Adds up all of the memory that is copied, so that one register tells of it. */
static void put_sum(struct rv_test *test)
{
    test->bits[test->n++] = load_bits(RV_LD, VALUE_REG, SUM_FROM, 0);
    test->bits[test->n++] = addi_bits(SUM_FROM, 8);
    test->bits[test->n++] = match_of(RV_XOR) | SUM_REG << 7 | SUM_REG << 15 | VALUE_REG << 20;
    test->bits[test->n++] = match_of(RV_RORI) | SUM_REG << 7 | SUM_REG << 15 | 9u << 20;
    test->bits[test->n++] = branch_bits(RV_BLTU, SUM_FROM, SUM_TO, -16);
}

/*
 * Load, store and steps in any order, most of them in one that copies; one in four has a step or an offset that
 * does not fit. COUNT_REG is a pointer, too, or a counter. It always comes to END_REG.
 */
static void random_copy(struct generator *g, struct rv_test *test)
{
    static const uint16_t loads[] = {RV_LB, RV_LH, RV_LW, RV_LD, RV_LBU, RV_LHU, RV_LWU, RV_LD};
    static const uint16_t stores[] = {RV_SB, RV_SH, RV_SW, RV_SD};
    static const uint16_t tests[] = {RV_BNE, RV_BNE, RV_BLTU, RV_BLT};
    unsigned log2 = rnd(g) % 4, odd = rnd(g) % 16, n = 0;
    int size = 1 << log2, offset = (int)(rnd(g) % 3) - 1;
    unsigned test_row = tests[rnd(g) % G_N_ELEMENTS(tests)];
    bool fills = rnd(g) % 3 == 0, pointer = rnd(g) % 2, down = test_row == RV_BNE && rnd(g) % 2;
    bool shared = !fills && rnd(g) % 8 == 0; /* one pointer to both */
    unsigned to = shared ? FROM_REG : TO_REG, counter = pointer ? to : COUNT_REG;
    int step = pointer ? size : down ? -1 - (int)(rnd(g) % 3) : 1 + (int)(rnd(g) % 3);
    uint32_t *bits = test->bits;

    if (!fills)
        bits[n++] = load_bits(loads[log2 + (odd == 0 ? 0 : rnd(g) % 2 * 4)], VALUE_REG, FROM_REG, offset * size);
    bits[n++] = store_bits(stores[odd == 1 ? rnd(g) % 4 : log2], to, odd == 2 ? 0 : VALUE_REG,
                           (int)(rnd(g) % 17) - 8);
    if (!fills && !shared)
        bits[n++] = addi_bits(FROM_REG, odd == 3 ? -size : size);
    bits[n++] = addi_bits(to, size);
    if (!pointer)
        bits[n++] = addi_bits(COUNT_REG, step);
    if (odd < 8) /* the store may come before the load now */
        shuffle(g, bits, n);
    else if (!fills)
        shuffle(g, bits + 1, n - 1);
    else
        shuffle(g, bits, n);
    bool swap = test_row == RV_BNE && rnd(g) % 2;
    bits[n] = branch_bits(test_row, swap ? END_REG : counter, swap ? counter : END_REG, -4 * (int)n);
    n++;
    test->n = n;
    test->reach = step;
    test->jump_register = 0;
    test->odd = pointer;
    test->reserves = shared;
    put_sum(test);
}

/* Near one another, and near ends of pages, often. */
static void choose_copy_state(struct generator *g, struct rv_test *test)
{
    uint64_t *x = &test->before[RV_STATE_X] - 1, times = 1 + rnd(g) % (rnd(g) % 2 ? 40 : COPY_TIMES);
    uint64_t from = COPIED + 0x2000 + rnd(g) % 0x2000;

    if (rnd(g) % 2)
        from = (from | 0xfff) + 1 - rnd(g) % 64;
    x[FROM_REG] = from;
    x[TO_REG] = rnd(g) % 2 ? from + rnd(g) % 65 - 32 : COPIED + 0x2000 + rnd(g) % 0x2000;
    if (rnd(g) % 2) {
        x[FROM_REG] &= ~UINT64_C(7);
        x[TO_REG] &= ~UINT64_C(7);
    }
    if (test->odd)
        x[END_REG] = x[test->reserves ? FROM_REG : TO_REG] + times * (uint64_t)test->reach;
    else
        x[END_REG] = x[COUNT_REG] + times * (uint64_t)test->reach;
    x[SUM_FROM] = COPIED;
    x[SUM_TO] = STATES;
}

/* --- the program ------------------------------------------------------------------------------ */

static void put_test(struct generator *g, struct rv_test *test)
{
    test->entry = here(g);
    if (test->n == 1)
        put_single(g, test);
    else
        put_several(g, test);
}

static void add_test(struct generator *g, const struct rv_test *test)
{
    struct rv_test *t;

    g_array_append_val(g->program->tests, *test);
    t = &g_array_index(g->program->tests, struct rv_test, g->program->tests->len - 1);
    t->before[RV_STATE_X + TP - 1] = test->entry;
    if (test->jump_register)
        t->before[RV_STATE_X + test->jump_register - 1] = test->jump_to;
}

/* Instructions, each on RV_STATES states. */
static void put_random_test(struct generator *g, unsigned kind, unsigned states)
{
    struct rv_test test = {0};

    if (kind == RV_SEQUENCES)
        random_sequence(g, &test);
    else if (kind == RV_LOOPS)
        random_loop(g, &test);
    else if (kind == RV_COPIES)
        random_copy(g, &test);
    else if (kind == RV_COUNTERS)
        random_counter(g, &test);
    else
        random_single(g, kind, &test);
    put_test(g, &test);
    while (states-- > 0) {
        random_state(g, &test);
        if (kind == RV_SEQUENCES)
            choose_sequence_state(g, &test);
        else if (kind == RV_LOOPS)
            choose_loop_state(g, &test);
        else if (kind == RV_COPIES)
            choose_copy_state(g, &test);
        else if (kind != RV_COUNTERS)
            choose_operands(g, &test);
        add_test(g, &test);
    }
}

static void put_only(struct generator *g, const struct rv_test *only)
{
    struct rv_test test = *only;

    put_test(g, &test);
    add_test(g, &test);
}

/* Where every test ends: its state is stored. A reservation does not last to the next. */
static void put_save(struct generator *g)
{
    g->next_routine = here(g);
    for (unsigned i = 1; i < 32; i++)
        put_s(g, match_of(RV_SD), GP, i, 8 * (RV_STATE_X + i - 1));
    for (unsigned i = 0; i < 32; i++)
        put_s(g, match_of(RV_FSD), GP, i, 8 * (RV_STATE_F + i));
    put_i(g, match_of(RV_CSRRS), T0, 0, 3);
    put_s(g, match_of(RV_SD), GP, T0, 8 * RV_STATE_FCSR);
    put_li(g, T0, SCRATCH);
    for (unsigned i = 0; i < 2; i++) {
        put_i(g, match_of(RV_LD), T1, T0, 8 * i);
        put_s(g, match_of(RV_SD), GP, T1, 8 * (RV_STATE_MEMORY + i));
    }
    put(g, match_of(RV_SC_W) | GP << 15);
    put_i(g, match_of(RV_ADDI), GP, GP, STATE);
}

/* The next test's state, whose tp is the address of the test itself. */
static void put_load(struct generator *g)
{
    put_i(g, match_of(RV_LD), T0, GP, 8 * RV_STATE_FCSR);
    put_i(g, match_of(RV_CSRRW), 0, T0, 3);
    put_li(g, T1, SCRATCH);
    for (unsigned i = 0; i < 2; i++) {
        put_i(g, match_of(RV_LD), T0, GP, 8 * (RV_STATE_MEMORY + i));
        put_s(g, match_of(RV_SD), T1, T0, 8 * i);
    }
    for (unsigned i = 0; i < 32; i++)
        put_i(g, match_of(RV_FLD), i, GP, 8 * (RV_STATE_F + i));
    for (unsigned i = 1; i < 32; i++)
        if (i != GP)
            put_i(g, match_of(RV_LD), i, GP, 8 * (RV_STATE_X + i - 1));
    put_i(g, match_of(RV_JALR), 0, TP, 0);
}

static void put_system_call(struct generator *g, unsigned number)
{
    put_li(g, A7, number);
    put(g, match_of(RV_ECALL));
}

/* Writes all states and ends. */
static void put_exit(struct generator *g, unsigned count)
{
    put_li(g, A1, STATES);
    put_li(g, A2, count * STATE);
    put_i(g, match_of(RV_ADDI), A0, 0, 1);
    put_system_call(g, 64); /* write */
    put_i(g, match_of(RV_ADDI), A0, 0, 0);
    put_system_call(g, 93); /* exit */
}

/* The ELF file: its header with the scratch memory, code, states to begin with. */
static void make_image(struct generator *g, uint64_t exit_routine)
{
    struct rv_program *p = g->program;
    unsigned n = p->tests->len;
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = p->entry,
        .e_phoff = sizeof(Elf64_Ehdr), .e_flags = 5 /* RVC, doubles */,
        .e_ehsize = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
    };
    Elf64_Phdr segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_vaddr = BASE,
                          .p_paddr = BASE, .p_filesz = p->size, .p_memsz = p->size,
                          .p_align = 4096};

    g_assert(g->code->len <= COPIED - CODE);
    p->image = g_malloc0(p->size);
    memcpy(p->image, &header, sizeof(header));
    memcpy(p->image + sizeof(header), &segment, sizeof(segment));
    memcpy(p->image + (CODE - BASE), g->code->data, g->code->len);
    uint64_t *states = (uint64_t *)(p->image + (STATES - BASE));
    for (unsigned i = 0; i < n; i++)
        memcpy(states + i * RV_STATE_WORDS, g_array_index(p->tests, struct rv_test, i).before,
               STATE);
    states[n * RV_STATE_WORDS + RV_STATE_X + TP - 1] = exit_routine;
}

static struct rv_program *build(struct generator *g, unsigned kind, unsigned count,
                                const struct rv_test *only)
{
    struct rv_program *p = g->program = g_new0(struct rv_program, 1);

    g_assert(count <= RV_TESTS_MAX);
    p->tests = g_array_sized_new(FALSE, FALSE, sizeof(struct rv_test), count);
    p->base = BASE;
    p->entry = CODE;
    p->states = STATES;
    p->size = STATES + (count + 1) * (uint64_t)STATE - BASE;
    g->code = g_byte_array_new();
    put_li(g, GP, STATES);
    put_jal(g, 0, here(g) + 4 + SAVE_BYTES);
    put_save(g);
    g_assert(here(g) == g->next_routine + SAVE_BYTES);
    put_load(g);
    uint64_t exit_routine = here(g);
    put_exit(g, count);
    if (only)
        put_only(g, only);
    while (p->tests->len < count)
        put_random_test(g, kind, MIN(RV_STATES, count - p->tests->len));
    make_image(g, exit_routine);
    g_byte_array_free(g->code, TRUE);
    return p;
}

struct rv_program *rv_program_new(unsigned kind, unsigned count, uint64_t seed)
{
    struct generator g = {.state = seed * UINT64_C(0x9e3779b97f4a7c15) + kind + 1};

    return build(&g, kind, count, NULL);
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

const char *rv_state_name(unsigned index, char text[16])
{
    if (index < RV_STATE_F)
        g_snprintf(text, 16, "x%u", index - RV_STATE_X + 1);
    else if (index < RV_STATE_FCSR)
        g_snprintf(text, 16, "f%u", index - RV_STATE_F);
    else if (index == RV_STATE_FCSR)
        g_snprintf(text, 16, "fcsr");
    else
        g_snprintf(text, 16, "memory+%u", 8 * (index - RV_STATE_MEMORY));
    return text;
}
