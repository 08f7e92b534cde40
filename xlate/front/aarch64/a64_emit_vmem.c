/*
 * a64_emit_vmem.c: loads and stores of V registers.
 *
 * All that an instruction loads is loaded before a register changes.
 */
#include "xlate/front/aarch64/a64_vec.h"

/* A load of 1 << LOG2 bytes as a V register. */
static uint32_t load(struct a64_translation *t, unsigned log2, unsigned flags, uint32_t handle,
                     int64_t imm)
{
    enum ir_type type = log2 == 4 ? IR_V128 : log2 == 3 ? IR_F64 : log2 == 2 ? IR_F32 : IR_I64;
    uint32_t value = ir_load(t->unit, type, log2 | flags, handle, imm);

    return log2 == 4 ? value : a64_vec1(t, IR_VZEXT, log2, 0, value);
}

static void store(struct a64_translation *t, unsigned log2, unsigned flags, uint32_t handle,
                  int64_t imm, uint32_t value)
{
    enum ir_type type = log2 == 4 ? IR_V128 : log2 == 3 ? IR_F64 : log2 == 2 ? IR_F32 : IR_I64;

    if (log2 < 2)
        value = ir_vec_int(t->unit, IR_VGET, IR_I64, log2 | IR_V_UNSIGNED, 0, value, IR_NONE);
    ir_store(t->unit, type, log2 | flags, handle, imm, value);
}

/* ARG: log2 of the bytes, with ARG_PRE and its like. */
void a64_emit_vload(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned log2 = arg & IR_MEM_SIZE;
    int64_t imm;

    if (!a64_fp_ready(t))
        return;
    struct a64_address address = a64_address(t, i, arg, log2);
    uint32_t handle = a64_handle(t, &address, 1u << log2, false, &imm);
    uint32_t value = load(t, log2, a64_alignment(t), handle, imm);
    a64_update_base(t, i, &address);
    a64_set_v(t, i->rt, value);
}

void a64_emit_vstore(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned log2 = arg & IR_MEM_SIZE;
    int64_t imm;

    if (!a64_fp_ready(t))
        return;
    struct a64_address address = a64_address(t, i, arg, log2);
    uint32_t handle = a64_handle(t, &address, 1u << log2, true, &imm);
    store(t, log2, a64_alignment(t), handle, imm, a64_v(t, i->rt));
    a64_update_base(t, i, &address);
}

void a64_emit_vload_pair(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned log2 = arg & IR_MEM_SIZE, bytes = 1u << log2;
    int64_t imm;

    if (!a64_fp_ready(t))
        return;
    struct a64_address address = a64_address(t, i, arg, 0);
    uint32_t handle = a64_handle(t, &address, 2 * bytes, false, &imm);
    uint32_t first = load(t, log2, a64_alignment(t), handle, imm);
    uint32_t second = load(t, log2, a64_alignment(t), handle, imm + bytes);
    a64_update_base(t, i, &address);
    a64_set_v(t, i->rt, first);
    a64_set_v(t, i->rt2, second);
}

void a64_emit_vstore_pair(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned log2 = arg & IR_MEM_SIZE, bytes = 1u << log2;
    int64_t imm;

    if (!a64_fp_ready(t))
        return;
    struct a64_address address = a64_address(t, i, arg, 0);
    uint32_t handle = a64_handle(t, &address, 2 * bytes, true, &imm);
    store(t, log2, a64_alignment(t), handle, imm, a64_v(t, i->rt));
    store(t, log2, a64_alignment(t), handle, imm + bytes, a64_v(t, i->rt2));
    a64_update_base(t, i, &address);
}

/* --- structures ------------------------------------------------------------------------------- */

/* What LD1..ST4 access: N registers from rt on. */
struct group {
    unsigned n, log2; /* registers; log2 of an element's bytes */
    unsigned bytes;   /* of memory */
    uint32_t handle;
    int64_t imm;
};

static unsigned nth(const struct a64_insn *i, unsigned k)
{
    return (i->rt + k) % 32;
}

static bool is_full(const struct a64_insn *i)
{
    return i->bits >> 30 & 1;
}

static void begin(struct a64_translation *t, const struct a64_insn *i, struct group *g, bool write)
{
    g->imm = 0;
    g->handle = ir_address(t->unit, a64_base(t, i->rn), &g->imm, g->bytes, write);
}

/* Post-indexed ones, bit 23, add what was accessed, or a register. */
static void end(struct a64_translation *t, const struct a64_insn *i, const struct group *g)
{
    uint32_t base = a64_xsp(t, i->rn);
    unsigned rm = i->bits >> 16 & 31;

    if (!(i->bits >> 23 & 1))
        return;
    if (rm == 31)
        base = ir_bini(t->unit, IR_ADD, IR_I64, base, g->bytes);
    else
        base = ir_bin(t->unit, IR_ADD, IR_I64, base, a64_x(t, rm));
    ir_set(t->unit, A64_SLOT_X + i->rn, base);
}

/* PART[k] gets the bytes that register K is, of what was loaded, ARRANGED as it lay in memory. Pairs
 * are unzipped once, fours twice. */
static void separate(struct a64_translation *t, const struct group *g, unsigned half,
                     const uint32_t *arranged, uint32_t *part)
{
    unsigned even = g->log2 | half, odd = even | IR_V_HIGH;

    if (g->n == 2) {
        part[0] = a64_vec2(t, IR_VUZP, even, arranged[0], arranged[1]);
        part[1] = a64_vec2(t, IR_VUZP, odd, arranged[0], arranged[1]);
        return;
    }
    for (unsigned k = 0; k < 2; k++) {
        uint32_t low = a64_vec2(t, IR_VUZP, k ? odd : even, arranged[0], arranged[1]);
        uint32_t high = a64_vec2(t, IR_VUZP, k ? odd : even, arranged[2], arranged[3]);
        part[k] = a64_vec2(t, IR_VUZP, even, low, high);
        part[2 + k] = a64_vec2(t, IR_VUZP, odd, low, high);
    }
}

static void combine(struct a64_translation *t, const struct group *g, unsigned half,
                    const uint32_t *part, uint32_t *arranged)
{
    unsigned low = g->log2 | half, high = low | IR_V_HIGH;

    if (g->n == 2) {
        arranged[0] = a64_vec2(t, IR_VZIP, low, part[0], part[1]);
        arranged[1] = a64_vec2(t, IR_VZIP, high, part[0], part[1]);
        return;
    }
    for (unsigned k = 0; k < 2; k++) {
        uint32_t even = a64_vec2(t, IR_VZIP, k ? high : low, part[0], part[2]);
        uint32_t odd = a64_vec2(t, IR_VZIP, k ? high : low, part[1], part[3]);
        arranged[2 * k] = a64_vec2(t, IR_VZIP, low, even, odd);
        arranged[2 * k + 1] = a64_vec2(t, IR_VZIP, high, even, odd);
    }
}

/* The bytes of A at the places in TABLE; 16 and above: none. */
static uint32_t pick(struct a64_translation *t, uint32_t a, const uint8_t table[16])
{
    uint64_t low = 0, high = 0;

    for (unsigned k = 0; k < 8; k++) {
        low |= (uint64_t)table[k] << (8 * k);
        high |= (uint64_t)table[8 + k] << (8 * k);
    }
    uint32_t places = a64_vec2(t, IR_VZIP, 3, a64_splat(t, low), a64_splat(t, high));
    return a64_vec2(t, IR_VTBL, 0, a, places);
}

/* Threes, either way: byte P of memory is element P / (3 * size), register P / size % 3. */
static void regroup_three(struct a64_translation *t, const struct group *g, bool to_memory,
                          const uint32_t *from, uint32_t *to)
{
    unsigned size = 1u << g->log2, reg_bytes = g->bytes / 3;

    for (unsigned k = 0; k < 3; k++) {
        uint32_t sum = IR_NONE;
        for (unsigned source = 0; source < 3; source++) {
            uint8_t table[16];
            memset(table, 0xff, sizeof(table));
            for (unsigned p = 0; p < g->bytes; p++) {
                unsigned reg = p / size % 3, place = p / (3 * size) * size + p % size;
                unsigned mem = p / reg_bytes, offset = p % reg_bytes;
                if (to_memory && mem == k && reg == source)
                    table[offset] = (uint8_t)place;
                else if (!to_memory && reg == k && mem == source)
                    table[place] = (uint8_t)offset;
            }
            uint32_t piece = pick(t, from[source], table);
            sum = source ? a64_vec2(t, IR_VOR, 3, sum, piece) : piece;
        }
        to[k] = sum;
    }
}

/* Under SCTLR_EL1.A each element has to be aligned. If the first is, all are: one check, before
 * they are accessed in wider pieces. */
static void check_elements(struct a64_translation *t, const struct a64_insn *i, unsigned log2,
                           bool stores)
{
    if (!log2 || !a64_alignment(t))
        return;
    uint32_t base = a64_base(t, i->rn);
    uint32_t how = ir_const(t->unit, IR_I64, 1 << log2 | stores << 8);
    a64_call(t, A64_HELPER_ALIGNMENT, base, how, IR_NONE, IR_NONE);
}

/* ARG: registers, whether they are interleaved << 4, whether it stores << 5. */
void a64_emit_vgroup(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    struct group g = {.n = arg & 7, .log2 = i->bits >> 10 & 3};
    unsigned log2 = is_full(i) ? 4 : 3, half = is_full(i) ? 0 : IR_V_HALF;
    bool mixed = arg & 1 << 4, stores = arg & 1 << 5;
    uint32_t from[4] = {0}, to[4];

    if (!a64_fp_ready(t))
        return;
    g.bytes = g.n << log2;
    check_elements(t, i, g.log2, stores);
    begin(t, i, &g, stores);
    for (unsigned k = 0; k < g.n; k++)
        from[k] = stores ? a64_v(t, nth(i, k)) : load(t, log2, 0, g.handle, g.imm + (k << log2));
    if (!mixed)
        memcpy(to, from, sizeof(to));
    else if (g.n == 3)
        regroup_three(t, &g, stores, from, to);
    else if (stores)
        combine(t, &g, half, from, to);
    else
        separate(t, &g, half, from, to);
    for (unsigned k = 0; k < g.n && stores; k++)
        store(t, log2, 0, g.handle, g.imm + (k << log2), to[k]);
    end(t, i, &g);
    for (unsigned k = 0; k < g.n && !stores; k++)
        a64_set_v(t, nth(i, k), to[k]);
}

/* Of one lane: Q:S:size has its number in front of the bits that say its width. */
static unsigned lane_number(const struct a64_insn *i, unsigned log2)
{
    return ((i->bits >> 30 & 1) << 3 | (i->bits >> 12 & 1) << 2 | (i->bits >> 10 & 3)) >> log2;
}

/* ARG: registers, log2 of the bytes << 4, whether it stores << 6. */
void a64_emit_vlane(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    struct group g = {.n = arg & 7, .log2 = arg >> 4 & 3};
    unsigned lane = lane_number(i, g.log2);
    bool stores = arg & 1 << 6;
    uint32_t value[4];

    if (!a64_fp_ready(t))
        return;
    g.bytes = g.n << g.log2;
    begin(t, i, &g, stores);
    for (unsigned k = 0; k < g.n; k++) {
        int64_t imm = g.imm + (k << g.log2);
        if (stores)
            ir_store(t->unit, IR_I64, g.log2 | a64_alignment(t), g.handle, imm,
                     ir_vec_int(t->unit, IR_VGET, IR_I64, g.log2 | IR_V_UNSIGNED, lane,
                                a64_v(t, nth(i, k)), IR_NONE));
        else
            value[k] = ir_load(t->unit, IR_I64, g.log2 | a64_alignment(t), g.handle, imm);
    }
    end(t, i, &g);
    for (unsigned k = 0; k < g.n && !stores; k++)
        a64_set_v(t, nth(i, k), ir_vec(t->unit, IR_VPUT, g.log2, lane, a64_v(t, nth(i, k)), value[k],
                                       IR_NONE));
}

/* LD1R..LD4R: an element in all lanes. ARG: registers. */
void a64_emit_vreplicate(struct a64_translation *t, const struct a64_insn *i, uint32_t n)
{
    struct group g = {.n = n, .log2 = i->bits >> 10 & 3};
    unsigned aux = g.log2 | (is_full(i) ? 0 : IR_V_HALF);
    uint32_t value[4];

    if (!a64_fp_ready(t))
        return;
    g.bytes = g.n << g.log2;
    begin(t, i, &g, false);
    for (unsigned k = 0; k < n; k++)
        value[k] = ir_load(t->unit, IR_I64, g.log2 | a64_alignment(t), g.handle,
                           g.imm + (k << g.log2));
    end(t, i, &g);
    for (unsigned k = 0; k < n; k++)
        a64_set_v(t, nth(i, k), a64_vec1(t, IR_VDUP, aux, 0, value[k]));
}
