/*
 * Guest memory: the TLB lookup, accesses through handles, atomics, and the way to the full path.
 *
 * A TR with one user is done with it: the lookup's result goes straight into the access. One with
 * several makes a handle, host minus guest address, or HANDLE_SLOW where its range is not all in
 * one page of the TLB; each access then tests that bit.
 */
#include "xlate/back/x86_64/back_priv.h"

enum { HANDLE_SLOW = 1 }; /* differences of page addresses have this bit clear */

/* An access under way. */
struct access {
    const struct ir_insn *insn;
    const struct ir_insn *tr;
    unsigned base;    /* register with the TR's address */
    int32_t imm;
    unsigned delta;   /* register with host minus guest */
    unsigned spare;   /* scratch, or NO_REG */
    bool fused, atomic, aligned;
    struct cold *cold;
};

static struct asm_mem host_mem(const struct access *x)
{
    return asm_index(x->base, x->delta, 0, x->imm);
}

static unsigned size_of(const struct ir_insn *insn)
{
    return 1u << (insn->mem & IR_MEM_SIZE);
}

/* INDEX = xl_tlb_index() of the low half of ADDRESS, times the size of an entry. Writes SPARE. */
static void entry_index(struct back_compiler *c, unsigned index, unsigned address, unsigned spare)
{
    enum { SHIFT = MEM_PAGE_SHIFT - 4 };

    if (c->back->bmi) { /* the bits that come around are masked off */
        asm_vrri(&c->a, A_RORX, false, spare, address, SHIFT + XL_TLB_BITS);
        asm_vrri(&c->a, A_RORX, false, index, address, SHIFT);
    } else {
        if (index != address)
            asm_rr(&c->a, A_MOV, false, index, address);
        asm_shift_i(&c->a, SH_SHR, false, index, SHIFT);
        asm_rr(&c->a, A_MOV, false, spare, index);
        asm_shift_i(&c->a, SH_SHR, false, spare, XL_TLB_BITS);
    }
    asm_rr(&c->a, A_XOR, false, index, spare);
    asm_ri(&c->a, A_AND, false, index, (XL_TLB_SIZE - 1) << 4);
}

/*
 * Looks up [base + imm, + span): DELTA gets host minus guest; the jump taken otherwise. INDEX is
 * scratch. The entry is that of the first byte's page, its tag is compared with the last byte's.
 */
static uint8_t *lookup(struct back_compiler *c, const struct ir_insn *tr, unsigned base, int32_t imm,
                       unsigned span, unsigned delta, unsigned index)
{
    unsigned mode = tr->mem & IR_MEM_USER ? 0 : xl_tlb_mode(c->unit->mode);
    bool store = tr->mem & IR_MEM_WRITE;
    size_t tlb = offsetof(struct xl_cpu, tlb) + mode * sizeof(struct xl_tlb) +
                 (store ? offsetof(struct xl_tlb, store) : offsetof(struct xl_tlb, load));
    int32_t at = (int32_t)tlb - CPU_BIAS;

    G_STATIC_ASSERT(sizeof(struct xl_tlb_entry) == 16);
    if (imm) {
        asm_rm(&c->a, A_LEA, false, index, asm_mem(base, imm));
        entry_index(c, index, index, delta);
    } else {
        entry_index(c, index, base, delta);
    }
    if (imm + (int32_t)span - 1)
        asm_rm(&c->a, A_LEA, true, delta, asm_mem(base, imm + (int32_t)span - 1));
    else
        back__mov(c, delta, base);
    asm_ri(&c->a, A_AND, true, delta, -(int32_t)MEM_PAGE_SIZE);
    asm_rm(&c->a, A_CMP, true, delta,
           asm_index(RBP, index, 0, at + (int32_t)offsetof(struct xl_tlb_entry, tag)));
    uint8_t *miss = asm_jcc(&c->a, CC_NE);
    asm_rm(&c->a, A_MOV, true, delta,
           asm_index(RBP, index, 0, at + (int32_t)offsetof(struct xl_tlb_entry, delta)));
    return miss;
}

static struct cold *access_cold(struct back_compiler *c, const struct access *x)
{
    const struct ir_insn *insn = x->insn;
    struct cold *cold = back__cold(c, COLD_ACCESS);

    cold->op = insn->op;
    cold->aux = insn->aux;
    cold->mem = insn->mem;
    cold->type = insn->type;
    cold->a = (uint8_t)x->base;
    cold->imm = x->imm;
    cold->pc = c->unit->side[insn->side].pc;
    return cold;
}

/* A 32-bit displacement always holds an access's: larger ones are added to the base first. */
static unsigned base_of(struct back_compiler *c, uint32_t v, int64_t *imm)
{
    unsigned base = back__gpr(c, v);

    if (*imm >= INT32_MIN / 2 && *imm <= INT32_MAX / 2)
        return base;
    unsigned far = back__temp_gpr(c);
    asm_movi(&c->a, far, *imm);
    asm_rr(&c->a, A_ADD, true, far, base);
    back__unlock(c, base);
    *imm = 0;
    return far;
}

/* Jumps to the full path where the access is misaligned. SCRATCH may be written. */
static uint8_t *check_aligned(struct back_compiler *c, const struct access *x, unsigned scratch)
{
    unsigned size = size_of(x->insn), reg = x->base;

    if (x->imm & (int32_t)(size - 1)) {
        asm_rm(&c->a, A_LEA, false, scratch, asm_mem(x->base, x->imm));
        reg = scratch;
    }
    asm_test_ri(&c->a, false, reg, (int32_t)size - 1);
    return asm_jcc(&c->a, CC_NE);
}

/*
 * Puts all that the access needs into registers. No register may be asked for between
 * check_access() and end_access(): what is moved out of the way there would be lost to the cold
 * path. x->spare is free once the check is done.
 */
static void prepare_access(struct back_compiler *c, struct access *x, const struct ir_insn *insn,
                           bool needs_spare)
{
    int64_t imm = insn->imm;

    x->insn = insn;
    x->tr = back__insn(c, insn->arg[0]);
    x->fused = c->value[insn->arg[0]].fused;
    x->atomic = insn->op == IR_RMW || insn->op == IR_CAS || insn->op == IR_SC;
    x->aligned = (x->atomic || (insn->mem & IR_MEM_ALIGNED)) && size_of(insn) > 1;
    x->base = base_of(c, x->tr->arg[0], &imm);
    x->imm = (int32_t)imm;
    x->delta = x->fused ? back__temp_gpr(c) : back__gpr(c, insn->arg[0]);
    x->spare = x->fused || needs_spare || x->aligned ? back__temp_gpr(c) : NO_REG;
}

/* From here on host_mem(x) is the place in host memory, or the cold path has been taken. */
static void check_access(struct back_compiler *c, struct access *x)
{
    x->cold = access_cold(c, x);
    if (x->aligned)
        x->cold->from[1] = check_aligned(c, x, x->spare);
    if (x->fused) {
        x->cold->from[0] = lookup(c, x->tr, x->base, x->imm, size_of(x->insn), x->delta, x->spare);
    } else {
        asm_test_ri(&c->a, false, x->delta, HANDLE_SLOW);
        x->cold->from[0] = asm_jcc(&c->a, CC_NE);
    }
}

static void end_access(struct back_compiler *c, struct access *x)
{
    x->cold->back = c->a.at;
}

static void has_result(struct access *x, unsigned reg)
{
    x->cold->dst = (uint8_t)reg;
    x->cold->has_result = true;
}

/* --- TR --------------------------------------------------------------------------------------- */

static void tr(struct back_compiler *c, const struct ir_insn *insn)
{
    struct value *value = &c->value[c->idx];

    if (!value->uses)
        return;
    if (value->uses == 1) {
        value->fused = true; /* its base was kept alive for the access by the first pass */
        return;
    }
    int64_t imm = insn->imm;
    unsigned base = base_of(c, insn->arg[0], &imm);
    unsigned delta = back__temp_gpr(c), index = back__temp_gpr(c);
    struct cold *cold = back__cold(c, COLD_TR);
    cold->from[0] = lookup(c, insn, base, (int32_t)imm, insn->aux, delta, index);
    cold->dst = (uint8_t)delta;
    cold->back = c->a.at;
    back__define(c, delta);
}

/* --- loads and stores ------------------------------------------------------------------------- */

static void load_int(struct back_compiler *c, const struct ir_insn *insn, unsigned dst,
                     struct asm_mem mem)
{
    static const enum asm_op ops[2][4] = {{A_MOVZX8, A_MOVZX16, A_MOV, A_MOV},
                                          {A_MOVSX8, A_MOVSX16, A_MOVSXD, A_MOV}};
    bool is_signed = insn->mem & IR_MEM_SIGNED;
    unsigned size = insn->mem & IR_MEM_SIZE;
    bool w = size == 3 || (is_signed && insn->type == IR_I64);
    enum asm_op op = ops[is_signed][size];

    if (op == A_MOVSXD && !w)
        op = A_MOV;
    asm_rm(&c->a, op, w, dst, mem);
}

static void load_float(struct back_compiler *c, const struct ir_insn *insn, unsigned dst,
                       struct asm_mem mem)
{
    enum asm_op op = insn->type == IR_F32 ? A_MOVSS : A_MOVSD;

    if (c->back->fma)
        asm_vrm(&c->a, op, false, dst, 0, mem);
    else
        asm_rm(&c->a, op, false, dst, mem);
}

static void load(struct back_compiler *c, const struct ir_insn *insn)
{
    bool xmm = back__in_xmm(insn->type);
    struct access x;

    prepare_access(c, &x, insn, false);
    if (x.fused && !xmm) /* the result may take its place */
        back__unlock(c, x.delta);
    unsigned dst = xmm ? XMM + back__dst_xmm(c, NO_VALUE, 0) : back__dst_gpr(c, NO_VALUE, 0);
    check_access(c, &x);
    if (insn->type == IR_V128)
        back__load_wide(c, dst, host_mem(&x));
    else if (xmm)
        load_float(c, insn, dst - XMM, host_mem(&x));
    else
        load_int(c, insn, dst, host_mem(&x));
    has_result(&x, dst);
    end_access(c, &x);
    back__define(c, dst);
}

static void store_plain(struct back_compiler *c, const struct ir_insn *insn, unsigned value,
                        struct asm_mem mem)
{
    static const enum asm_op ops[] = {A_MOV_ST8, A_MOV_ST16, A_MOV_ST, A_MOV_ST};
    unsigned size = insn->mem & IR_MEM_SIZE;

    asm_rm(&c->a, ops[size], size == 3, value, mem);
}

static bool is_seq_cst(const struct ir_insn *insn)
{
    return (insn->mem & IR_MEM_ACQUIRE) && (insn->mem & IR_MEM_RELEASE);
}

/* A locked operation on the stack orders what mfence does, in less time. */
static void full_fence(struct back_compiler *c)
{
    asm_lock(&c->a);
    asm_mi(&c->a, A_OR, false, FRAME_MEM(FRAME_TMP), 0);
}

static void store(struct back_compiler *c, const struct ir_insn *insn)
{
    struct access x;

    if (back__in_xmm(insn->type)) {
        unsigned value = back__xmm(c, insn->arg[1]);
        enum asm_op op = insn->type == IR_F32 ? A_MOVSS_ST : A_MOVSD_ST;
        prepare_access(c, &x, insn, false);
        check_access(c, &x);
        x.cold->b = (uint8_t)(value + XMM);
        if (insn->type == IR_V128)
            back__store_wide(c, value + XMM, host_mem(&x));
        else if (c->back->fma)
            asm_vrm(&c->a, op, false, value, 0, host_mem(&x));
        else
            asm_rm(&c->a, op, false, value, host_mem(&x));
    } else {
        unsigned value = back__gpr(c, insn->arg[1]);
        prepare_access(c, &x, insn, false);
        check_access(c, &x);
        x.cold->b = (uint8_t)value;
        store_plain(c, insn, value, host_mem(&x));
    }
    end_access(c, &x);
    if (is_seq_cst(insn))
        full_fence(c);
}

/* --- atomics ---------------------------------------------------------------------------------- */

/* REG, of the access's width, extended to the result's type as the access says. */
static void extend(struct back_compiler *c, const struct ir_insn *insn, unsigned reg)
{
    static const enum asm_op ops[2][3] = {{A_MOVZX8, A_MOVZX16, A_MOV},
                                          {A_MOVSX8, A_MOVSX16, A_MOVSXD}};
    unsigned size = insn->mem & IR_MEM_SIZE;
    bool is_signed = insn->mem & IR_MEM_SIGNED;

    if (size < 2 || (size == 2 && insn->type == IR_I64))
        asm_rr(&c->a, ops[is_signed][size], is_signed && insn->type == IR_I64, reg, reg);
}

/* Memory becomes DESIRED where it holds RAX; ZF says so. */
static void compare_exchange(struct back_compiler *c, const struct ir_insn *insn, unsigned desired,
                             struct asm_mem mem)
{
    static const enum asm_op ops[] = {A_CMPXCHG8, A_CMPXCHG16, A_CMPXCHG, A_CMPXCHG};
    unsigned size = insn->mem & IR_MEM_SIZE;

    asm_lock(&c->a);
    asm_rm(&c->a, ops[size], size == 3, desired, mem);
}

static void swap_or_add(struct back_compiler *c, const struct ir_insn *insn, unsigned fresh,
                        unsigned operand)
{
    if (insn->aux == IR_RMW_SWAP) {
        back__mov(c, fresh, operand);
    } else {
        back__mov(c, fresh, RAX);
        asm_rr(&c->a, A_ADD, false, fresh, operand);
    }
}

static void rmw_loop(struct back_compiler *c, const struct ir_insn *insn, unsigned operand,
                     struct asm_mem mem, unsigned fresh)
{
    static const uint8_t keep[] = {[IR_RMW_MINS] = CC_LE, [IR_RMW_MAXS] = CC_GE,
                                   [IR_RMW_MINU] = CC_BE, [IR_RMW_MAXU] = CC_AE};
    static const enum asm_op loads[] = {A_MOVZX8, A_MOVZX16, A_MOV, A_MOV};
    bool w = (insn->mem & IR_MEM_SIZE) == 3;

    asm_rm(&c->a, loads[insn->mem & IR_MEM_SIZE], w, RAX, mem);
    const uint8_t *again = c->a.at;
    if (insn->aux <= IR_RMW_ADD) {
        swap_or_add(c, insn, fresh, operand);
    } else if (insn->aux >= IR_RMW_MINS) {
        asm_rr(&c->a, A_CMP, w, RAX, operand);
        back__mov(c, fresh, operand);
        asm_cmov(&c->a, keep[insn->aux], true, fresh, RAX);
    } else {
        back__mov(c, fresh, RAX);
        asm_rr(&c->a, insn->aux == IR_RMW_AND ? A_AND : insn->aux == IR_RMW_OR ? A_OR : A_XOR, w,
               fresh, operand);
    }
    compare_exchange(c, insn, fresh, mem);
    asm_jcc_to(&c->a, CC_NE, again);
}

/* The old value is not used, or the operation has an instruction that gives it. */
static bool rmw_direct(struct back_compiler *c, const struct ir_insn *insn, unsigned operand,
                       struct asm_mem mem)
{
    static const enum asm_op ops[] = {[IR_RMW_ADD] = A_ADD_ST, [IR_RMW_AND] = A_AND_ST,
                                      [IR_RMW_OR] = A_OR_ST, [IR_RMW_XOR] = A_XOR_ST};
    bool w = (insn->mem & IR_MEM_SIZE) == 3;

    if ((insn->mem & IR_MEM_SIZE) < 2)
        return false;
    if (insn->aux >= IR_RMW_ADD && insn->aux <= IR_RMW_XOR && !c->value[c->idx].uses) {
        asm_lock(&c->a);
        asm_rm(&c->a, ops[insn->aux], w, operand, mem);
        return true;
    }
    if (insn->aux != IR_RMW_SWAP && insn->aux != IR_RMW_ADD)
        return false;
    back__mov(c, RAX, operand);
    if (insn->aux == IR_RMW_ADD)
        asm_lock(&c->a);
    asm_rm(&c->a, insn->aux == IR_RMW_ADD ? A_XADD : A_XCHG, w, RAX, mem);
    return true;
}

static void rmw(struct back_compiler *c, const struct ir_insn *insn)
{
    struct access x;

    back__take(c, RAX);
    unsigned operand = back__gpr(c, insn->arg[1]);
    prepare_access(c, &x, insn, true);
    check_access(c, &x);
    x.cold->b = (uint8_t)operand;
    if ((insn->mem & IR_MEM_SIZE) < 2 && insn->aux >= IR_RMW_MINS)
        x.cold->from[2] = asm_jmp(&c->a); /* rare: always the full path */
    else if (!rmw_direct(c, insn, operand, host_mem(&x)))
        rmw_loop(c, insn, operand, host_mem(&x), x.spare);
    extend(c, insn, RAX);
    has_result(&x, RAX);
    end_access(c, &x);
    back__define(c, RAX);
}

static void cas(struct back_compiler *c, const struct ir_insn *insn)
{
    struct access x;

    back__gpr_in(c, insn->arg[1], RAX);
    unsigned desired = back__gpr(c, insn->arg[2]);
    prepare_access(c, &x, insn, false);
    check_access(c, &x);
    x.cold->b = RAX;
    x.cold->c = (uint8_t)desired;
    compare_exchange(c, insn, desired, host_mem(&x));
    extend(c, insn, RAX);
    has_result(&x, RAX);
    end_access(c, &x);
    back__define(c, RAX);
}

/* The condition is kept in memory: there are not registers enough for all. */
static void sc(struct back_compiler *c, const struct ir_insn *insn)
{
    struct access x;

    back__store_value(c, insn->arg[1], FRAME_MEM(FRAME_ARG + 8));
    back__gpr_in(c, insn->arg[2], RAX);
    unsigned desired = back__gpr(c, insn->arg[3]);
    prepare_access(c, &x, insn, false);
    check_access(c, &x);
    x.cold->b = RAX;
    x.cold->c = (uint8_t)desired;
    asm_mi(&c->a, A_CMP, true, FRAME_MEM(FRAME_ARG + 8), 1); /* carry where it is 0 */
    uint8_t *fails = asm_jcc_short(&c->a, CC_B);
    compare_exchange(c, insn, desired, host_mem(&x));
    asm_land(&c->a, fails);
    asm_setcc(&c->a, CC_NE, RAX); /* a 0 compared with 1 is "not equal" too */
    asm_rr(&c->a, A_MOVZX8, false, RAX, RAX);
    has_result(&x, RAX);
    end_access(c, &x);
    back__define(c, RAX);
}

void back__mem_op(struct back_compiler *c, const struct ir_insn *insn)
{
    switch (insn->op) {
    case IR_TR:
        tr(c, insn);
        break;
    case IR_LOAD:
        load(c, insn);
        break;
    case IR_STORE:
        store(c, insn);
        break;
    case IR_RMW:
        rmw(c, insn);
        break;
    case IR_CAS:
        cas(c, insn);
        break;
    case IR_SC:
        sc(c, insn);
        break;
    default: /* IR_FENCE; x86 itself orders all but loads after stores */
        if (insn->aux & IR_FENCE_WR)
            full_fence(c);
    }
}

/* --- the full path ---------------------------------------------------------------------------- */

static void cold_argument(struct back_compiler *c, unsigned n, unsigned reg)
{
    back__store_reg(c, reg, FRAME_MEM(FRAME_ARG + 8 * (int32_t)n));
}

static void cold_access16(struct back_compiler *c, struct cold *cold)
{
    if (cold->op == IR_STORE)
        back__store_wide(c, cold->b, FRAME_MEM(FRAME_VEC));
    back__call_stub(c, cold->op == IR_STORE ? STUB_STORE16 : STUB_LOAD16, cold->pc, cold->mem);
    if (cold->has_result)
        back__load_wide(c, cold->dst, FRAME_MEM(FRAME_VEC));
    asm_jmp_to(&c->a, cold->back);
}

/* Arguments go into the frame, and a stub that keeps every register does the rest. */
void back__cold_access(struct back_compiler *c, struct cold *cold)
{
    static const uint8_t stubs[] = {
        [IR_LOAD - IR_LOAD] = STUB_LOAD, [IR_STORE - IR_LOAD] = STUB_STORE,
        [IR_RMW - IR_LOAD] = STUB_RMW, [IR_CAS - IR_LOAD] = STUB_CAS, [IR_SC - IR_LOAD] = STUB_SC,
    };

    cold_argument(c, 0, cold->a);
    if (cold->imm)
        asm_mi(&c->a, A_ADD, true, FRAME_MEM(FRAME_ARG), cold->imm);
    if (cold->type == IR_V128) {
        cold_access16(c, cold);
        return;
    }
    if (cold->op == IR_SC) {
        cold_argument(c, 2, cold->b);
        cold_argument(c, 3, cold->c);
    } else if (cold->op != IR_LOAD) {
        cold_argument(c, 1, cold->b);
        if (cold->op == IR_CAS)
            cold_argument(c, 2, cold->c);
    }
    back__call_stub(c, stubs[cold->op - IR_LOAD], cold->pc,
                    cold->mem | (uint32_t)cold->aux << IR_MEM_BITS);
    if (cold->has_result)
        back__load_reg(c, cold->dst, FRAME_MEM(FRAME_RESULT));
    asm_jmp_to(&c->a, cold->back);
}
