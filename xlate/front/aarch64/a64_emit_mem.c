/*
 * a64_emit_mem.c: loads, stores, exclusives, atomics and barriers.
 *
 * The exclusive monitor is what the load saw: its address and width (A64_SLOT_EXCL_TAG) and the value.
 * A store-exclusive compares the address and exchanges if memory still has that value, so that no other
 * vCPU's store needs to be watched. Every store-exclusive clears it.
 */
#include "xlate/front/aarch64/a64_emit.h"

/* --- addresses -------------------------------------------------------------------------------- */

unsigned a64_alignment(const struct a64_translation *t)
{
    return t->mode & A64_MODE_ALIGN ? IR_MEM_ALIGNED : 0;
}

/* What VALUE was before multiples of 16 were added to it; IR_NONE: it is one itself. */
static uint32_t without_sixteens(const struct ir_unit *unit, uint32_t value)
{
    for (;;) {
        const struct ir_insn *insn = &unit->insn[value];
        bool sum = insn->op == IR_ADD || insn->op == IR_SUB;
        if (!sum && insn->op != IR_AND)
            return value;
        if (!ir_is_const(unit, insn->arg[1]) || unit->insn[insn->arg[1]].imm & 15)
            return value;
        if (!sum)
            return IR_NONE;
        value = insn->arg[0];
    }
}

/* CheckSPAlignment(), once for all stack pointers that are each other's neighbours by 16. */
uint32_t a64_base(struct a64_translation *t, unsigned number)
{
    uint32_t value = a64_xsp(t, number);

    if (number != 31 || !(t->mode & A64_MODE_SP))
        return value;
    uint32_t root = without_sixteens(t->unit, value);
    if (root != IR_NONE && root != t->aligned_sp) {
        ir_trap(t->unit, A64_HELPER_SP_ALIGNMENT, value, 15);
        t->aligned_sp = root;
    }
    return value;
}

/* Rm, extended as OPTION says and shifted: the offset of a register address. */
static uint32_t index_of(struct a64_translation *t, const struct a64_insn *i, unsigned log2)
{
    uint32_t value = a64_x(t, i->rm);

    if (!(i->option & 1))
        value = ir_ext(t->unit, i->option & 4 ? IR_SEXT : IR_ZEXT, IR_I64, value, 32);
    return i->s && log2 ? ir_bini(t->unit, IR_SHL, IR_I64, value, log2) : value;
}

struct a64_address a64_address(struct a64_translation *t, const struct a64_insn *i, uint32_t mode,
                               unsigned log2)
{
    struct a64_address address = {.imm = i->imm, .updated = IR_NONE};

    if (mode & ARG_LITERAL) {
        address.base = ir_pcrel(t->unit, (int64_t)t->pc + i->imm);
        address.imm = 0;
        return address;
    }
    address.base = a64_base(t, i->rn);
    if (mode & ARG_REG)
        address.base = ir_bin(t->unit, IR_ADD, IR_I64, address.base, index_of(t, i, log2));
    if (mode & (ARG_PRE | ARG_POST))
        address.updated = ir_bini(t->unit, IR_ADD, IR_I64, address.base, i->imm);
    if (mode & (ARG_POST | ARG_REG))
        address.imm = 0;
    return address;
}

uint32_t a64_handle(struct a64_translation *t, const struct a64_address *address, unsigned bytes,
                    bool write, int64_t *imm)
{
    *imm = address->imm;
    return ir_address(t->unit, address->base, imm, bytes, write);
}

void a64_update_base(struct a64_translation *t, const struct a64_insn *i,
                     const struct a64_address *address)
{
    if (address->updated != IR_NONE)
        ir_set(t->unit, A64_SLOT_X + i->rn, address->updated);
}

/* Whether an access is made in the TLB mode of EL0. */
static bool as_user(const struct a64_translation *t, uint32_t arg)
{
    return (arg & ARG_USER) && !(t->mode & A64_MODE_UAO);
}

/* A handle for the access of ARG, and its mem. */
static uint32_t handle_of(struct a64_translation *t, const struct a64_address *address, uint32_t arg,
                          bool write, int64_t *imm, unsigned *mem)
{
    unsigned bytes = 1u << (arg & IR_MEM_SIZE);

    *mem = (arg & ARG_MEM) | a64_alignment(t);
    if (!as_user(t, arg))
        return a64_handle(t, address, bytes, write, imm);
    *mem |= IR_MEM_USER;
    *imm = address->imm;
    return ir_user_tr(t->unit, address->base, address->imm, bytes, write);
}

/* --- loads and stores ------------------------------------------------------------------------- */

/* A load of MEM as it goes into a register: SIGNED ones extended to 32 or 64 bits. */
static uint32_t load_value(struct a64_translation *t, unsigned mem, bool to_w, uint32_t handle,
                           int64_t imm)
{
    if (!to_w)
        return ir_load(t->unit, IR_I64, mem, handle, imm);
    uint32_t value = ir_load(t->unit, IR_I32, mem, handle, imm);
    return ir_ext(t->unit, IR_ZEXT, IR_I64, value, 32);
}

void a64_emit_load(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    struct a64_address address = a64_address(t, i, arg, arg & IR_MEM_SIZE);
    int64_t imm;
    unsigned mem;
    uint32_t handle = handle_of(t, &address, arg, false, &imm, &mem);
    uint32_t value = load_value(t, mem, arg & ARG_W, handle, imm);

    a64_update_base(t, i, &address);
    a64_set_x(t, i->rt, value);
}

void a64_emit_store(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t value = a64_x(t, i->rt);
    struct a64_address address = a64_address(t, i, arg, arg & IR_MEM_SIZE);
    int64_t imm;
    unsigned mem;
    uint32_t handle = handle_of(t, &address, arg, true, &imm, &mem);

    ir_store(t->unit, IR_I64, mem, handle, imm, value);
    a64_update_base(t, i, &address);
}

/* Both loads come before either register changes: the second may fault. */
void a64_emit_load_pair(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned mem = (arg & ARG_MEM) | a64_alignment(t), bytes = 1u << (arg & IR_MEM_SIZE);
    struct a64_address address = a64_address(t, i, arg, 0);
    int64_t imm;
    uint32_t handle = a64_handle(t, &address, 2 * bytes, false, &imm);
    uint32_t first = ir_load(t->unit, IR_I64, mem, handle, imm);
    uint32_t second = ir_load(t->unit, IR_I64, mem, handle, imm + bytes);

    a64_update_base(t, i, &address);
    a64_set_x(t, i->rt, first);
    a64_set_x(t, i->rt2, second);
}

void a64_emit_store_pair(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned mem = (arg & ARG_MEM) | a64_alignment(t), bytes = 1u << (arg & IR_MEM_SIZE);
    uint32_t first = a64_x(t, i->rt), second = a64_x(t, i->rt2);
    struct a64_address address = a64_address(t, i, arg, 0);
    int64_t imm;
    uint32_t handle = a64_handle(t, &address, 2 * bytes, true, &imm);

    ir_store(t->unit, IR_I64, mem, handle, imm, first);
    ir_store(t->unit, IR_I64, mem, handle, imm + bytes, second);
    a64_update_base(t, i, &address);
}

/* --- ordered and exclusive accesses ----------------------------------------------------------- */

/* Its address is the base alone; it has to be aligned. */
static uint32_t base_handle(struct a64_translation *t, const struct a64_insn *i, unsigned bytes,
                            bool write, int64_t *imm)
{
    *imm = 0;
    return ir_address(t->unit, a64_base(t, i->rn), imm, bytes, write);
}

void a64_emit_load_ordered(struct a64_translation *t, const struct a64_insn *i, uint32_t mem)
{
    int64_t imm;
    uint32_t handle = base_handle(t, i, 1u << (mem & IR_MEM_SIZE), false, &imm);

    a64_set_x(t, i->rt, ir_load(t->unit, IR_I64, mem | IR_MEM_ALIGNED, handle, imm));
}

void a64_emit_store_ordered(struct a64_translation *t, const struct a64_insn *i, uint32_t mem)
{
    int64_t imm;
    uint32_t handle = base_handle(t, i, 1u << (mem & IR_MEM_SIZE), true, &imm);

    ir_store(t->unit, IR_I64, mem | IR_MEM_ALIGNED, handle, imm, a64_x(t, i->rt));
}

enum { PAIR = 8 }; /* added to the size: a pair's */

/* What A64_SLOT_EXCL_TAG holds for this instruction's address and SIZE: log2 of the bytes of a
 * register. */
static uint32_t exclusive_tag(struct a64_translation *t, const struct a64_insn *i, unsigned size)
{
    return ir_bini(t->unit, IR_XOR, IR_I64, a64_xsp(t, i->rn), (int64_t)(size + 1) << 56);
}

static void clear_monitor(struct a64_translation *t)
{
    ir_set(t->unit, A64_SLOT_EXCL_TAG, ir_const(t->unit, IR_I64, (int64_t)A64_EXCL_NONE));
}

void a64_emit_load_exclusive(struct a64_translation *t, const struct a64_insn *i, uint32_t mem)
{
    unsigned log2 = mem & IR_MEM_SIZE;
    int64_t imm;
    uint32_t handle = base_handle(t, i, 1u << log2, false, &imm);
    uint32_t value = ir_load(t->unit, IR_I64, mem | IR_MEM_ALIGNED, handle, imm);

    ir_set(t->unit, A64_SLOT_EXCL_TAG, exclusive_tag(t, i, log2));
    ir_set(t->unit, A64_SLOT_EXCL_VALUE, value);
    a64_set_x(t, i->rt, value);
}

void a64_emit_store_exclusive(struct a64_translation *t, const struct a64_insn *i, uint32_t mem)
{
    unsigned log2 = mem & IR_MEM_SIZE;
    int64_t imm;
    uint32_t handle = base_handle(t, i, 1u << log2, true, &imm);
    uint32_t held = ir_cmp(t->unit, IR_EQ, IR_I64, ir_get(t->unit, IR_I64, A64_SLOT_EXCL_TAG),
                           exclusive_tag(t, i, log2));
    uint32_t expected = ir_get(t->unit, IR_I64, A64_SLOT_EXCL_VALUE);
    uint32_t failed = ir_sc(t->unit, IR_I64, mem, handle, imm, held, expected, a64_x(t, i->rt));

    clear_monitor(t);
    a64_set_x(t, i->rs, failed);
}

/* Pairs of registers: 8 bytes in one access, or 16. */
void a64_emit_load_exclusive_pair(struct a64_translation *t, const struct a64_insn *i, uint32_t mem)
{
    unsigned log2 = mem & IR_MEM_SIZE, bytes = 1u << log2;
    unsigned order = mem & ~(uint32_t)IR_MEM_SIZE;
    int64_t imm;
    uint32_t handle = base_handle(t, i, 2 * bytes, false, &imm);
    uint32_t first, second;

    if (log2 == 2) {
        uint32_t both = ir_load(t->unit, IR_I64, 3 | order | IR_MEM_ALIGNED, handle, imm);
        first = ir_ext(t->unit, IR_ZEXT, IR_I64, both, 32);
        second = ir_bini(t->unit, IR_SHR, IR_I64, both, 32);
    } else {
        a64_call(t, A64_HELPER_ALIGNMENT, a64_xsp(t, i->rn), ir_const(t->unit, IR_I64, 16), IR_NONE,
                 IR_NONE);
        first = ir_load(t->unit, IR_I64, mem | IR_MEM_ALIGNED, handle, imm);
        second = ir_load(t->unit, IR_I64, mem | IR_MEM_ALIGNED, handle, imm + 8);
    }
    ir_set(t->unit, A64_SLOT_EXCL_TAG, exclusive_tag(t, i, log2 + PAIR));
    ir_set(t->unit, A64_SLOT_EXCL_VALUE, first);
    ir_set(t->unit, A64_SLOT_EXCL_HIGH, second);
    a64_set_x(t, i->rt, first);
    a64_set_x(t, i->rt2, second);
}

void a64_emit_store_exclusive_pair(struct a64_translation *t, const struct a64_insn *i, uint32_t log2)
{
    uint32_t address = a64_base(t, i->rn);
    uint32_t held = ir_cmp(t->unit, IR_EQ, IR_I64, ir_get(t->unit, IR_I64, A64_SLOT_EXCL_TAG),
                           exclusive_tag(t, i, log2 + PAIR));
    uint32_t how = ir_bini(t->unit, IR_OR, IR_I64, ir_bini(t->unit, IR_SHL, IR_I64, held, 8), log2);
    uint32_t failed = a64_call(t, A64_HELPER_STORE_EXCLUSIVE_PAIR, address, a64_x(t, i->rt),
                               a64_x(t, i->rt2), how);

    clear_monitor(t);
    a64_set_x(t, i->rs, failed);
}

void a64_emit_clrex(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    clear_monitor(t);
}

/* --- atomics ---------------------------------------------------------------------------------- */

/* ARG: log2 of the bytes, enum ir_rmw << 20, ARG_NOT. All are fully ordered. A fault that a load would
 * raise is one of a load. */
void a64_emit_atomic(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned log2 = arg & IR_MEM_SIZE;
    uint32_t operand = a64_x(t, i->rs);
    int64_t imm;
    uint32_t handle = base_handle(t, i, 1u << log2, true, &imm);

    if (arg & ARG_NOT)
        operand = ir_bini(t->unit, IR_XOR, IR_I64, operand, -1);
    a64_set_x(t, i->rt, ir_rmw(t->unit, (enum ir_rmw)(arg >> 20), IR_I64, log2 | IR_MEM_RESERVE, handle, imm,
                            operand));
}

void a64_emit_cas(struct a64_translation *t, const struct a64_insn *i, uint32_t log2)
{
    uint32_t expected = a64_x(t, i->rs), desired = a64_x(t, i->rt);
    int64_t imm;
    uint32_t handle = base_handle(t, i, 1u << log2, true, &imm);

    a64_set_x(t, i->rs, ir_cas(t->unit, IR_I64, log2 | IR_MEM_RESERVE, handle, imm, expected,
                            desired));
}

void a64_emit_casp(struct a64_translation *t, const struct a64_insn *i, uint32_t log2)
{
    uint32_t how = ir_const(t->unit, IR_I64, i->rs | i->rt << 8 | (int64_t)log2 << 16);

    a64_call(t, A64_HELPER_CASP, a64_base(t, i->rn), how, IR_NONE, IR_NONE);
}

/* --- barriers --------------------------------------------------------------------------------- */

/* CRm<1:0> says for which accesses; DSB waits for more, of which nothing is ever under way here. */
void a64_emit_barrier(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    static const uint8_t masks[] = {
        IR_FENCE_RR | IR_FENCE_RW | IR_FENCE_WR | IR_FENCE_WW,
        IR_FENCE_RR | IR_FENCE_RW,
        IR_FENCE_WW,
        IR_FENCE_RR | IR_FENCE_RW | IR_FENCE_WR | IR_FENCE_WW,
    };

    ir_fence(t->unit, masks[i->imm & 3]);
}

/* What comes next is fetched anew. */
void a64_emit_isb(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    a64_go(t, t->next, 0, 0);
}
