/* xlate/ir: what the builder folds, shares and drops, what the verifier refuses, how units print. */
#include "tests/unit/unit.h"
#include "xlate/ir/eval.h"

static struct ir_unit *unit;

static void setup(void)
{
    unit = ir_unit_new();
    ir_at(unit, 0, 4);
}

static void teardown(void)
{
    ir_unit_free(unit);
}

static const struct ir_helper helpers[] = {
    {"plain", NULL, 0, false, 0},
    {"reads", NULL, 0, false, IR_CALL_READS},
    {"faults", NULL, 0, false, IR_CALL_FAULT},
    {"mmu", NULL, 0, false, IR_CALL_MMU | IR_CALL_WRITES},
    {"traps", NULL, 0, false, IR_CALL_FAULT | IR_CALL_PC},
};
enum { PLAIN, READS, FAULTS, MMU, TRAPS };

static void call(unsigned helper)
{
    const uint32_t none[4] = {IR_NONE, IR_NONE, IR_NONE, IR_NONE};

    ir_call(unit, helper, helpers[helper].flags, IR_VOID, none);
}

static uint32_t get(unsigned slot)
{
    return ir_get(unit, IR_I64, slot);
}

static unsigned count(enum ir_op op)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < unit->n; i++)
        n += unit->insn[i].op == op;
    return n;
}

static void ends_well(void)
{
    g_autoptr(GError) err = NULL;

    ir_exit(unit, 0, 4, 0);
    ck_assert_msg(ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err), "%s",
                  err ? err->message : "");
}

/* --- folding ---------------------------------------------------------------------------------- */

/* x OP imm of slot 1: WANT is a value, X, or NEW. */
enum { X = -1, NEW = -2 };
static const struct {
    const char *name;
    enum ir_op op;
    enum ir_type type;
    int64_t imm;
    int want; /* X: the operand itself; NEW: an insn; else this constant */
} identities[] = {
    {"add 0", IR_ADD, IR_I64, 0, X},     {"sub 0", IR_SUB, IR_I64, 0, X},
    {"or 0", IR_OR, IR_I64, 0, X},       {"xor 0", IR_XOR, IR_I64, 0, X},
    {"shl 0", IR_SHL, IR_I64, 0, X},     {"and -1", IR_AND, IR_I64, -1, X},
    {"and 0", IR_AND, IR_I64, 0, 0},     {"mul 0", IR_MUL, IR_I64, 0, 0},
    {"mul 1", IR_MUL, IR_I64, 1, X},     {"divs 1", IR_DIVS, IR_I64, 1, X},
    {"rem 0", IR_REMU, IR_I64, 0, X},    {"add 1", IR_ADD, IR_I64, 1, NEW},
    {"and 0xff", IR_AND, IR_I64, 255, NEW}, {"shr 3", IR_SHR, IR_I64, 3, NEW},
};

START_TEST(identity_rows)
{
    uint32_t x = get(1);
    uint32_t got = ir_bini(unit, identities[_i].op, identities[_i].type, x, identities[_i].imm);

    if (identities[_i].want == X)
        ck_assert_msg(got == x, "%s", identities[_i].name);
    else if (identities[_i].want == NEW)
        ck_assert_msg(got != x && !ir_is_const(unit, got), "%s", identities[_i].name);
    else
        ck_assert_msg(ir_is_const(unit, got) && unit->insn[got].imm == identities[_i].want, "%s",
                      identities[_i].name);
    ends_well();
}
END_TEST

static const struct {
    const char *name;
    enum ir_op op;
    enum ir_type type;
    uint64_t a, b, want;
} evals[] = {
    {"add i32 wraps", IR_ADD, IR_I32, INT32_MAX, 1, (uint64_t)INT32_MIN},
    {"div by 0", IR_DIVS, IR_I64, 7, 0, UINT64_MAX},
    {"div overflow", IR_DIVS, IR_I64, (uint64_t)INT64_MIN, UINT64_MAX, (uint64_t)INT64_MIN},
    {"div i32 overflow", IR_DIVS, IR_I32, (uint64_t)INT32_MIN, UINT64_MAX, (uint64_t)INT32_MIN},
    {"rem overflow", IR_REMS, IR_I64, (uint64_t)INT64_MIN, UINT64_MAX, 0},
    {"rem by 0", IR_REMS, IR_I32, (uint64_t)-7, 0, (uint64_t)-7},
    {"divu i32 by 0", IR_DIVU, IR_I32, 7, 0, UINT64_MAX},
    {"divu i32", IR_DIVU, IR_I32, (uint64_t)-2, 2, 0x7fffffff},
    {"mulhs", IR_MULHS, IR_I64, (uint64_t)-1, (uint64_t)-1, 0},
    {"mulhu", IR_MULHU, IR_I64, (uint64_t)-1, (uint64_t)-1, (uint64_t)-2},
    {"mulhsu", IR_MULHSU, IR_I64, (uint64_t)-1, (uint64_t)-1, (uint64_t)-1},
    {"mulhu i32", IR_MULHU, IR_I32, (uint64_t)-1, (uint64_t)-1, (uint64_t)-2},
    {"shl modulo", IR_SHL, IR_I64, 1, 65, 2},
    {"shl i32 modulo", IR_SHL, IR_I32, 1, 33, 2},
    {"sar i32", IR_SAR, IR_I32, (uint64_t)INT32_MIN, 31, (uint64_t)-1},
    {"shr i32", IR_SHR, IR_I32, (uint64_t)-1, 4, 0x0fffffff},
    {"rotr i32", IR_ROTR, IR_I32, 1, 1, (uint64_t)INT32_MIN},
    {"rotl 0", IR_ROTL, IR_I64, 5, 64, 5},
    {"andn", IR_ANDN, IR_I64, 15, 5, 10},
};

START_TEST(eval_rows)
{
    uint64_t got = ir_eval_bin(evals[_i].op, evals[_i].type, evals[_i].a, evals[_i].b);
    uint32_t a = ir_const(unit, evals[_i].type, evals[_i].a);
    uint32_t folded = ir_bini(unit, evals[_i].op, evals[_i].type, a, evals[_i].b);

    ck_assert_msg(got == evals[_i].want, "%s: %" G_GINT64_MODIFIER "x", evals[_i].name, got);
    ck_assert_msg((uint64_t)unit->insn[folded].imm == evals[_i].want, "%s: folded", evals[_i].name);
}
END_TEST

static const struct {
    enum ir_op op;
    enum ir_type type;
    uint64_t a, want;
} unaries[] = {
    {IR_CLZ, IR_I64, 0, 64}, {IR_CLZ, IR_I32, 0, 32}, {IR_CLZ, IR_I32, 1, 31},
    {IR_CTZ, IR_I64, 0, 64}, {IR_CTZ, IR_I32, UINT64_C(1) << 33, 32}, {IR_CTZ, IR_I64, 8, 3},
    {IR_POPCNT, IR_I32, UINT64_MAX, 32}, {IR_POPCNT, IR_I64, UINT64_MAX, 64},
    {IR_BSWAP, IR_I32, 0x11223344, 0x44332211}, {IR_ORCB, IR_I64, 0x0100800000ff0002, 0xff00ff0000ff00ff},
};

START_TEST(unary_rows)
{
    ck_assert_uint_eq(ir_eval_un(unaries[_i].op, unaries[_i].type, unaries[_i].a), unaries[_i].want);
}
END_TEST

START_TEST(shifts_become_extensions)
{
    uint32_t x = get(1), up = ir_bini(unit, IR_SHL, IR_I64, x, 32);
    uint32_t z = ir_bini(unit, IR_SHR, IR_I64, up, 32), s = ir_bini(unit, IR_SAR, IR_I64, up, 32);

    ck_assert(unit->insn[z].op == IR_ZEXT && unit->insn[z].arg[0] == x && unit->insn[z].imm == 32);
    ck_assert(unit->insn[s].op == IR_SEXT && unit->insn[s].arg[0] == x);
    ck_assert_uint_eq(unit->pattern[IR_PATTERN_EXTEND], 2);
    /* Of a value that is extended already, nothing. */
    ck_assert_uint_eq(ir_ext(unit, IR_SEXT, IR_I64, s, 32), s);
    ck_assert_uint_eq(ir_ext(unit, IR_ZEXT, IR_I64, z, 32), z);
    ck_assert_uint_ne(ir_ext(unit, IR_SEXT, IR_I64, z, 32), z);
    ends_well();
}
END_TEST

START_TEST(floats_do_not_fold)
{
    uint32_t one = ir_const(unit, IR_F64, 0x3ff0000000000000), zero = ir_const(unit, IR_F64, 0);

    ck_assert(unit->insn[ir_bin(unit, IR_FADD, IR_F64, one, one)].op == IR_FADD);
    ck_assert(unit->insn[ir_bin(unit, IR_FDIV, IR_F64, one, zero)].op == IR_FDIV);
    ck_assert(unit->insn[ir_bini(unit, IR_FMUL, IR_F64, one, 0)].op == IR_FMUL);
}
END_TEST

START_TEST(shifts_become_rotations)
{
    uint32_t x = get(1), y = get(2);
    uint32_t up = ir_bini(unit, IR_SHL, IR_I64, x, 13), down = ir_bini(unit, IR_SHR, IR_I64, x, 51);
    uint32_t r = ir_bin(unit, IR_XOR, IR_I64, down, up);

    ck_assert(unit->insn[r].op == IR_ROTL && unit->insn[r].arg[0] == x);
    ck_assert_int_eq(unit->insn[unit->insn[r].arg[1]].imm, 13);
    /* Words, each read by itself and sign-extended. */
    uint32_t low = ir_bini(unit, IR_SHR, IR_I32, ir_un(unit, IR_TRUNC, IR_I32, x), 7);
    uint32_t high = ir_bini(unit, IR_SHL, IR_I32, ir_un(unit, IR_TRUNC, IR_I32, x), 25);
    low = ir_ext(unit, IR_SEXT, IR_I64, low, 32);
    high = ir_ext(unit, IR_SEXT, IR_I64, high, 32);
    uint32_t w = ir_bin(unit, IR_ADD, IR_I64, low, high);
    ck_assert(unit->insn[w].op == IR_SEXT && unit->insn[w].imm == 32);
    ck_assert(unit->insn[unit->insn[w].arg[0]].op == IR_ROTL &&
              unit->insn[unit->insn[w].arg[0]].type == IR_I32);
    ck_assert_uint_eq(unit->pattern[IR_PATTERN_ROTATE], 2);
    /* Not of two values, of other counts, with signs, or with bits in common. */
    uint32_t other = ir_bini(unit, IR_SHR, IR_I64, y, 51);
    uint32_t less = ir_bini(unit, IR_SHR, IR_I64, x, 50);
    uint32_t sign = ir_bini(unit, IR_SAR, IR_I64, x, 51);
    ck_assert(unit->insn[ir_bin(unit, IR_OR, IR_I64, up, other)].op == IR_OR);
    ck_assert(unit->insn[ir_bin(unit, IR_OR, IR_I64, up, less)].op == IR_OR);
    ck_assert(unit->insn[ir_bin(unit, IR_OR, IR_I64, up, sign)].op == IR_OR);
    ck_assert(unit->insn[ir_bin(unit, IR_AND, IR_I64, up, down)].op == IR_AND);
    ends_well();
}
END_TEST

START_TEST(conditions_fold)
{
    uint32_t x = get(1), y = get(2), zero = ir_const(unit, IR_I64, 0);
    uint32_t lt = ir_cmp(unit, IR_LTS, IR_I64, x, y);
    uint32_t not = ir_cmp(unit, IR_EQ, IR_I64, lt, zero);

    ck_assert_uint_eq(ir_cmp(unit, IR_NE, IR_I64, lt, zero), lt);
    ck_assert(unit->insn[not].op == IR_CMP && unit->insn[not].aux == IR_GES);
    uint32_t one = ir_const(unit, IR_I64, 1);
    ck_assert_uint_eq(unit->insn[ir_cmp(unit, IR_LTU, IR_I64, x, one)].aux, IR_EQ);
    ck_assert_uint_eq(unit->insn[ir_cmp(unit, IR_LTU, IR_I64, zero, x)].aux, IR_NE);
    ck_assert_uint_eq(unit->insn[ir_cmp(unit, IR_GES, IR_I64, x, x)].imm, 1);
    /* A NaN makes both false: no inverse. */
    uint32_t f = ir_get(unit, IR_F64, 40), flt = ir_fcmp(unit, IR_FLT, IR_F64, f, f);
    ck_assert_uint_eq(unit->insn[ir_cmp(unit, IR_EQ, IR_I64, flt, zero)].arg[0], flt);
    ends_well();
}
END_TEST

START_TEST(slots_are_known)
{
    uint32_t x = get(1);

    ck_assert_uint_eq(get(1), x);
    ir_set(unit, 2, x);
    ck_assert_uint_eq(get(2), x);
    ir_set(unit, 2, x);
    ck_assert_uint_eq(count(IR_SET), 1);
    call(READS);
    ck_assert_uint_eq(get(2), x);
    ir_trap(unit, TRAPS, x, 15); /* sees slots, changes none */
    ck_assert_uint_eq(get(2), x);
    call(MMU); /* writes slots */
    ck_assert_uint_ne(get(2), x);
    ends_well();
}
END_TEST

/* A V128 takes two slots: both know it, and a SET goes when both are written again. */
START_TEST(pairs_of_slots)
{
    uint32_t v = ir_get(unit, IR_V128, 66), w = ir_vec(unit, IR_VADD, 2, 0, v, v, IR_NONE);

    ck_assert_uint_eq(ir_get(unit, IR_V128, 66), v);
    ir_set(unit, 68, w);
    ck_assert_uint_eq(ir_get(unit, IR_V128, 68), w);
    ck_assert_uint_ne(ir_get(unit, IR_I64, 69), w);
    ir_set(unit, 68, v); /* the first was read */
    ck_assert_uint_eq(count(IR_SET), 2);
    ir_set(unit, 68, w);
    ck_assert_uint_eq(count(IR_SET), 2);
    ir_set(unit, 69, get(1)); /* one half of it */
    ck_assert_uint_eq(count(IR_SET), 3);
    ck_assert_uint_ne(ir_get(unit, IR_V128, 68), w);
    ir_set(unit, 70, get(1));
    ir_set(unit, 71, get(2));
    ck_assert_uint_eq(count(IR_SET), 5);
    ir_set(unit, 70, w); /* over two of one slot each */
    ck_assert_uint_eq(count(IR_SET), 4);
    ends_well();
}
END_TEST

START_TEST(boxes_fold)
{
    uint32_t f = ir_get(unit, IR_F64, 40), s = ir_un(unit, IR_UNBOX, IR_F32, f);
    uint32_t sum = ir_fp(unit, IR_FADD, IR_F32, IR_RM_DYN, s, s);
    uint32_t canon = ir_un(unit, IR_FCANON, IR_F32, sum), boxed = ir_un(unit, IR_BOX, IR_F64, canon);

    ir_set(unit, 41, boxed);
    ck_assert_uint_eq(ir_un(unit, IR_UNBOX, IR_F32, boxed), canon);
    ck_assert_uint_eq(ir_get(unit, IR_F32, 41), canon);
    /* Arithmetic takes the sum itself; sign operations see the bits and don't. */
    uint32_t more = ir_fp(unit, IR_FMUL, IR_F32, IR_RM_DYN, canon, s);
    ck_assert_uint_eq(unit->insn[more].arg[0], sum);
    uint32_t sign = ir_fp(unit, IR_FSGNJ, IR_F32, IR_RM_DYN, canon, s);
    ck_assert_uint_eq(unit->insn[sign].arg[0], canon);
    /* What is no result of arithmetic may be signalling. */
    uint32_t other = ir_un(unit, IR_FCANON, IR_F32, s);
    uint32_t last = ir_fp(unit, IR_FADD, IR_F32, IR_RM_DYN, other, s);
    ck_assert_uint_eq(unit->insn[last].arg[0], other);
    ck_assert_uint_eq(unit->insn[ir_fp(unit, IR_FSGNJN, IR_F64, IR_RM_DYN, f, f)].op, IR_FNEG);
    ends_well();
}
END_TEST

/* --- the verifier ----------------------------------------------------------------------------- */

static void spoil_type(void) { unit->insn[2].type = IR_I32; }
static void spoil_slot(void) { unit->insn[0].aux = IR_SLOTS; }
static void spoil_order(void) { unit->insn[2].arg[0] = 5; }
static void spoil_end(void) { unit->n--; unit->block[0].end--; }
static void spoil_side(void) { unit->insn[4].side = IR_NONE; }
static void spoil_no_side(void) { unit->insn[4].side = 9; }
static void spoil_range(void) { unit->insn[4].imm = 4; }
static void spoil_handle(void) { unit->insn[4].arg[0] = 0; }
static void spoil_store(void) { unit->insn[4].op = IR_STORE; unit->insn[4].arg[1] = 0; }
static void spoil_use(void) { unit->insn[5].arg[0] = 3; }
static void spoil_args(void) { unit->insn[2].arg[2] = 0; }
static void spoil_missing(void) { unit->insn[2].arg[1] = IR_NONE; }
static void spoil_helper(void) { unit->insn[6].aux = 77; }
static void spoil_pair(void) { unit->insn[0].type = IR_V128; unit->insn[0].aux = 1; }
static void spoil_lane(void)
{
    unit->insn[1] = (struct ir_insn){.op = IR_VGET, .type = IR_I64, .aux = 3, .imm = 2,
                                     .arg = {0, IR_NONE, IR_NONE, IR_NONE}, .side = IR_NONE};
}
static void spoil_to_trap(unsigned helper, int64_t mask)
{
    unit->insn[6] = (struct ir_insn){.op = IR_TRAP, .aux = (uint16_t)helper, .imm = mask,
                                     .arg = {0, IR_NONE, IR_NONE, IR_NONE}, .side = unit->insn[6].side};
}
static void spoil_trap(void) { spoil_to_trap(TRAPS, 128); }
static void spoil_trap_helper(void) { spoil_to_trap(MMU, 15); }
static void spoil_imm(void) { unit->insn[1].type = IR_I32; unit->insn[1].imm = INT64_C(1) << 40; }

static const struct {
    const char *text;
    void (*spoil)(void);
} spoils[] = {
    {"another type", spoil_type},       {"no such slot", spoil_slot},
    {"does not dominate", spoil_order}, {"terminator", spoil_end},
    {"side entry missing", spoil_side}, {"no such side", spoil_no_side},
    {"outside its handle", spoil_range}, {"not a TR", spoil_handle},
    {"handle for loads", spoil_store},  {"used as a value", spoil_use},
    {"more arguments", spoil_args},     {"dominate", spoil_missing},
    {"no such helper", spoil_helper},   {"sign-extended", spoil_imm},
    {"no pair of slots", spoil_pair},   {"no such lane", spoil_lane},
    {"no such mask", spoil_trap},       {"only faults", spoil_trap_helper},
};

START_TEST(verifier_rows)
{
    g_autoptr(GError) err = NULL;
    uint32_t x = get(1), sum = ir_bini(unit, IR_ADD, IR_I64, x, 8);
    uint32_t h = ir_tr(unit, sum, 0, 8, false);

    ir_set(unit, 3, ir_load(unit, IR_I64, 3, h, 0));
    call(FAULTS);
    ends_well();
    spoils[_i].spoil();
    ck_assert_msg(!ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err), "%s", spoils[_i].text);
    ck_assert_msg(strstr(err->message, spoils[_i].text), "%s: %s", spoils[_i].text, err->message);
}
END_TEST

START_TEST(handles_end_at_mmu_calls)
{
    g_autoptr(GError) err = NULL;
    uint32_t h = ir_tr(unit, get(1), 0, 8, false);

    call(MMU);
    ir_load(unit, IR_I64, 3, h, 0);
    ir_exit(unit, 0, 0, 0);
    ck_assert(!ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err));
    ck_assert_ptr_nonnull(strstr(err->message, "change translations"));
}
END_TEST

START_TEST(blocks_and_parameters)
{
    g_autoptr(GError) err = NULL;
    uint32_t x = get(1), loop = ir_block_reserve(unit), out = ir_block_reserve(unit);

    ir_br(unit, loop, &x, 1);
    ir_block_start(unit, loop);
    uint32_t p = ir_param(unit, IR_I64), next = ir_bini(unit, IR_ADD, IR_I64, p, -1);
    uint32_t again = ir_block_reserve(unit);
    ir_brif(unit, ir_cmp(unit, IR_NE, IR_I64, next, ir_const(unit, IR_I64, 0)), 1, again, out);
    ir_block_start(unit, out);
    ir_set(unit, 2, next);
    ir_exit(unit, 0, 0, 0);
    ir_block_start(unit, again);
    ir_br(unit, loop, &next, 1);
    ck_assert_msg(ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err), "%s",
                  err ? err->message : "");
    /* A value of a branch does not reach what both branches reach. */
    unit->param[0] = next;
    ck_assert(!ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err));
}
END_TEST

/* --- sharing and dropping --------------------------------------------------------------------- */

static uint32_t load_at(uint32_t base, int64_t imm)
{
    uint32_t h = ir_address(unit, base, &imm, 8, false);

    return ir_load(unit, IR_I64, 3, h, imm);
}

static void store_at(uint32_t base, int64_t imm, uint32_t value)
{
    uint32_t h = ir_address(unit, base, &imm, 8, true);

    ir_store(unit, IR_I64, 3, h, imm, value);
}

START_TEST(accesses_share_a_check)
{
    uint32_t sp = get(2);

    for (int i = 0; i < 4; i++)
        ir_set(unit, 10 + i, load_at(sp, 8 * i));
    const struct ir_insn *tr = &unit->insn[1];
    ck_assert(tr->op == IR_TR && tr->imm == 0 && tr->aux == 32 && tr->mem == 0);
    store_at(ir_bini(unit, IR_ADD, IR_I64, sp, 32), -40, sp); /* sp - 8 */
    tr = &unit->insn[1];
    ck_assert(tr->imm == -8 && tr->aux == 40 && tr->mem == IR_MEM_WRITE);
    store_at(sp, IR_TR_SPAN, sp);         /* too far */
    store_at(sp, INT64_MIN, sp);
    load_at(get(3), 0);                   /* another base */
    ck_assert_uint_eq(count(IR_TR), 4);
    ck_assert_uint_eq(unit->pattern[IR_PATTERN_MERGED_TR], 4);
    ends_well();
}
END_TEST

START_TEST(calls_end_sharing)
{
    load_at(get(2), 0);
    call(PLAIN);
    load_at(get(2), 8);
    call(MMU);
    load_at(get(2), 8);
    ck_assert_uint_eq(count(IR_TR), 2);
    ends_well();
}
END_TEST

/* SET, something, SET of the same slot: does the first stay? */
static void nothing(void) {}
static void a_load(void) { load_at(get(7), 0); }
static void a_call(void) { call(PLAIN); }
static void a_reader(void) { call(READS); }
static void a_faulter(void) { call(FAULTS); }
static void a_writer(void) { call(MMU); }
static void another_set(void) { ir_set(unit, 9, get(7)); }
static void a_part(void) { ir_get(unit, IR_I32, 5); }
static void another_block(void)
{
    uint32_t next = ir_block_reserve(unit);

    ir_br(unit, next, NULL, 0);
    ir_block_start(unit, next);
}

static const struct {
    const char *name;
    void (*between)(void);
    bool stays;
} dead_sets[] = {
    {"nothing", nothing, false},       {"another set", another_set, false}, {"a call", a_call, false},
    {"a load", a_load, true},          {"a helper that reads", a_reader, true},
    {"a helper that writes", a_writer, true}, {"a helper that faults", a_faulter, true},
    {"a read of its half", a_part, true}, {"another block", another_block, true},
};

START_TEST(dead_set_rows)
{
    ir_set(unit, 5, ir_bini(unit, IR_ADD, IR_I64, get(6), 1));
    dead_sets[_i].between();
    unsigned sets = count(IR_SET);
    ir_set(unit, 5, ir_bini(unit, IR_ADD, IR_I64, get(6), 2));
    ck_assert_msg(count(IR_SET) == sets + dead_sets[_i].stays, "%s", dead_sets[_i].name);
    ck_assert_uint_eq(unit->pattern[IR_PATTERN_DEAD_SET], !dead_sets[_i].stays);
    ends_well();
}
END_TEST

/* What an earlier unit left behind is not taken for this one's. */
START_TEST(units_forget)
{
    for (int i = 0; i < 5; i++)
        ir_set(unit, 5, ir_const(unit, IR_I64, i));
    ir_unit_clear(unit);
    ir_at(unit, 0, 4);
    ir_set(unit, 6, ir_const(unit, IR_I64, 0));
    ir_set(unit, 5, get(6));
    ck_assert_uint_eq(count(IR_SET), 2);
    ck_assert_uint_eq(unit->pattern[IR_PATTERN_DEAD_SET], 0);
    ends_well();
}
END_TEST

START_TEST(printing)
{
    GString *text = g_string_new("");
    uint32_t x = get(1);

    ir_at(unit, 0x10, 4);
    ir_set(unit, 2, ir_load(unit, IR_I64, 2 | IR_MEM_SIGNED, ir_tr(unit, x, 8, 4, false), 8));
    call(FAULTS);
    ir_exit(unit, IR_EXIT_CALL | IR_EXIT_POLL, 0x100, 0x14);
    ir_print(unit, NULL, helpers, text);
    ck_assert_str_eq(text->str, "b0:\n"
                                "  v0 = get.i64 s1\n"
                                "  v1 = tr v0 +8 4\n"
                                "  v2 = load.i64 v1 +8 s32 ; pc 0x10\n"
                                "  set.i64 s2 v2\n"
                                "  call faults ; pc 0x10\n"
                                "  exit 0x100 call 0x14 poll\n");
    g_string_free(text, TRUE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ir");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, identity_rows, 0, G_N_ELEMENTS(identities));
    tcase_add_loop_test(tc, eval_rows, 0, G_N_ELEMENTS(evals));
    tcase_add_loop_test(tc, unary_rows, 0, G_N_ELEMENTS(unaries));
    tcase_add_test(tc, shifts_become_extensions);
    tcase_add_test(tc, shifts_become_rotations);
    tcase_add_test(tc, floats_do_not_fold);
    tcase_add_test(tc, conditions_fold);
    tcase_add_test(tc, slots_are_known);
    tcase_add_test(tc, pairs_of_slots);
    tcase_add_test(tc, boxes_fold);
    tcase_add_loop_test(tc, verifier_rows, 0, G_N_ELEMENTS(spoils));
    tcase_add_test(tc, handles_end_at_mmu_calls);
    tcase_add_test(tc, blocks_and_parameters);
    tcase_add_test(tc, accesses_share_a_check);
    tcase_add_test(tc, calls_end_sharing);
    tcase_add_loop_test(tc, dead_set_rows, 0, G_N_ELEMENTS(dead_sets));
    tcase_add_test(tc, units_forget);
    tcase_add_test(tc, printing);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
