/*
 * Where values are: registers, homes, spills. Temporaries are handed out greedily; the one whose
 * value is used last is taken away when there is none left. A register whose value is dead is free.
 */
#include "xlate/back/x86_64/back_priv.h"

static bool in_this_block(const struct back_compiler *c, uint32_t v)
{
    return c->value[v].block == c->block;
}

/* Values of other blocks are where all blocks can find them. */
static struct value *enter_block(struct back_compiler *c, uint32_t v)
{
    struct value *value = &c->value[v];

    if (value->block != c->block) {
        value->block = (uint8_t)c->block;
        value->reg = NO_REG;
        value->last = UINT32_MAX; /* its last use here is not known */
    }
    return value;
}

static bool lives_on(const struct back_compiler *c, uint32_t v)
{
    return in_this_block(c, v) && c->value[v].last > c->idx;
}

bool back__dies(const struct back_compiler *c, uint32_t v)
{
    return c->value[v].last <= c->idx;
}

void back__regs_block(struct back_compiler *c)
{
    memset(c->in_reg, 0xff, sizeof(c->in_reg));
    memset(c->pin_chain, 0xff, sizeof(c->pin_chain));
    memset(c->pin_holds, 0xff, sizeof(c->pin_holds));
    memset(c->slots, 0, sizeof(c->slots));
    c->locked = 0;
}

void back__unlock(struct back_compiler *c, unsigned reg)
{
    c->locked &= ~(1u << reg);
}

/* --- moves ------------------------------------------------------------------------------------ */

void back__mov(struct back_compiler *c, unsigned dst, unsigned src)
{
    if (dst != src)
        asm_rr(&c->a, A_MOV, true, dst, src);
}

void back__movx(struct back_compiler *c, unsigned dst, unsigned src)
{
    if (dst == src)
        return;
    if (c->back->fma)
        asm_vrr(&c->a, A_MOVAPS, false, dst, 0, src);
    else
        asm_rr(&c->a, A_MOVAPS, false, dst, src);
}

void back__load_reg(struct back_compiler *c, unsigned reg, struct asm_mem mem)
{
    if (reg < XMM)
        asm_rm(&c->a, A_MOV, true, reg, mem);
    else if (c->back->fma)
        asm_vrm(&c->a, A_MOVSD, false, reg - XMM, 0, mem);
    else
        asm_rm(&c->a, A_MOVSD, false, reg - XMM, mem);
}

void back__store_reg(struct back_compiler *c, unsigned reg, struct asm_mem mem)
{
    if (reg < XMM)
        asm_rm(&c->a, A_MOV_ST, true, reg, mem);
    else if (c->back->fma)
        asm_vrm(&c->a, A_MOVSD_ST, false, reg - XMM, 0, mem);
    else
        asm_rm(&c->a, A_MOVSD_ST, false, reg - XMM, mem);
}

void back__load_wide(struct back_compiler *c, unsigned reg, struct asm_mem mem)
{
    if (c->back->fma)
        asm_vrm(&c->a, A_MOVUPS, false, reg - XMM, 0, mem);
    else
        asm_rm(&c->a, A_MOVUPS, false, reg - XMM, mem);
}

void back__store_wide(struct back_compiler *c, unsigned reg, struct asm_mem mem)
{
    if (c->back->fma)
        asm_vrm(&c->a, A_MOVUPS_ST, false, reg - XMM, 0, mem);
    else
        asm_rm(&c->a, A_MOVUPS_ST, false, reg - XMM, mem);
}

static bool is_wide(const struct back_compiler *c, uint32_t v)
{
    return ir_result_type(back__insn(c, v)) == IR_V128;
}

static bool in_xmm(const struct back_compiler *c, uint32_t v)
{
    return back__in_xmm(ir_result_type(back__insn(c, v)));
}

/* V's width of REG to or from memory. */
static void load_for(struct back_compiler *c, uint32_t v, unsigned reg, struct asm_mem mem)
{
    if (is_wide(c, v))
        back__load_wide(c, reg, mem);
    else
        back__load_reg(c, reg, mem);
}

static void store_for(struct back_compiler *c, uint32_t v, unsigned reg, struct asm_mem mem)
{
    if (is_wide(c, v))
        back__store_wide(c, reg, mem);
    else
        back__store_reg(c, reg, mem);
}

/* Between any two registers, of either kind. */
static void move_any(struct back_compiler *c, unsigned dst, unsigned src)
{
    if (dst < XMM && src < XMM)
        back__mov(c, dst, src);
    else if (dst >= XMM && src >= XMM)
        back__movx(c, dst - XMM, src - XMM);
    else if (dst < XMM && c->back->fma)
        asm_vrr(&c->a, A_MOVQ_XG, true, src - XMM, 0, dst);
    else if (dst < XMM)
        asm_rr(&c->a, A_MOVQ_XG, true, src - XMM, dst);
    else if (c->back->fma)
        asm_vrr(&c->a, A_MOVQ_GX, true, dst - XMM, 0, src);
    else
        asm_rr(&c->a, A_MOVQ_GX, true, dst - XMM, src);
}

/* --- homes ------------------------------------------------------------------------------------ */

static bool stack_is_free(const struct back_compiler *c, unsigned n)
{
    const struct value *old = n < c->n_stack ? &c->value[c->in_stack[n]] : NULL;

    return !old || (!old->global && (old->block != c->block || old->last < c->idx));
}

/* A V128 takes two places, the first of which is even. */
void back__stack_home(struct back_compiler *c, uint32_t v)
{
    unsigned n = 0, wide = is_wide(c, v);

    while (n < c->n_stack && !(stack_is_free(c, n) && (!wide || stack_is_free(c, n + 1))))
        n += 1 + wide;
    if (n + wide >= STACK_SLOTS) {
        c->full = true;
        n = 0;
    }
    for (unsigned i = c->n_stack; i < n; i++) /* skipped */
        c->in_stack[i] = v;
    c->n_stack = MAX(c->n_stack, n + 1 + wide);
    c->in_stack[n] = c->in_stack[n + wide] = v;
    c->value[v].home = HOME_STACK;
    c->value[v].stack = (uint16_t)n;
}

bool back__in_memory(struct back_compiler *c, uint32_t v, struct asm_mem *mem)
{
    const struct value *value = enter_block(c, v);

    if (value->home == HOME_SLOT)
        *mem = SLOT_MEM(value->slot);
    else if (value->home == HOME_STACK)
        *mem = STACK_MEM(value->stack);
    else
        return false;
    return true;
}

/* Takes V out of its temporary; it can be fetched from its home afterwards. */
static void spill(struct back_compiler *c, uint32_t v)
{
    struct value *value = &c->value[v];

    if (value->home == HOME_NONE) {
        back__stack_home(c, v);
        store_for(c, v, value->reg, STACK_MEM(value->stack));
    }
    c->in_reg[value->reg] = NO_VALUE;
    value->reg = NO_REG;
}

/* --- temporaries ------------------------------------------------------------------------------ */

static bool is_free(const struct back_compiler *c, unsigned reg)
{
    uint32_t v = c->in_reg[reg];

    return v == NO_VALUE || c->value[v].last < c->idx;
}

static void drop(struct back_compiler *c, unsigned reg)
{
    if (c->in_reg[reg] != NO_VALUE)
        c->value[c->in_reg[reg]].reg = NO_REG;
    c->in_reg[reg] = NO_VALUE;
}

static unsigned temp(struct back_compiler *c, uint32_t candidates)
{
    unsigned best = NO_REG;

    candidates &= ~c->locked;
    g_assert(candidates);
    for (uint32_t left = candidates; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        if (is_free(c, reg)) {
            drop(c, reg);
            c->locked |= 1u << reg;
            return reg;
        }
        if (best == NO_REG || c->value[c->in_reg[reg]].last > c->value[c->in_reg[best]].last)
            best = reg;
    }
    spill(c, c->in_reg[best]);
    c->locked |= 1u << best;
    return best;
}

/* Registers that some operations insist on come last. */
unsigned back__temp_gpr(struct back_compiler *c)
{
    uint32_t easy = (1u << RSI | 1u << RDI) & ~c->locked;

    for (uint32_t left = easy; left; left &= left - 1)
        if (is_free(c, (unsigned)__builtin_ctz(left)))
            return temp(c, left & -left);
    return temp(c, TEMP_GPRS);
}

unsigned back__temp_xmm(struct back_compiler *c)
{
    return temp(c, TEMP_XMMS) - XMM;
}

void back__take(struct back_compiler *c, unsigned reg)
{
    uint32_t v = c->in_reg[reg];

    c->locked |= 1u << reg;
    if (v == NO_VALUE)
        return;
    if (is_free(c, reg)) {
        drop(c, reg);
        return;
    }
    /* Its value moves to an empty register if there is one. */
    for (uint32_t left = TEMP_GPRS & ~c->locked; left; left &= left - 1) {
        unsigned other = (unsigned)__builtin_ctz(left);
        if (!is_free(c, other))
            continue;
        drop(c, other);
        back__mov(c, other, reg);
        c->in_reg[other] = v;
        c->in_reg[reg] = NO_VALUE;
        c->value[v].reg = (uint8_t)other;
        return;
    }
    spill(c, v);
}

/* --- fetching --------------------------------------------------------------------------------- */

static void load_pcrel(struct back_compiler *c, unsigned reg, int64_t disp)
{
    if (asm_fits32(disp)) {
        asm_rm(&c->a, A_MOV, true, reg, CPU_FIELD(pc_page));
        if (disp)
            asm_rm(&c->a, A_LEA, true, reg, asm_mem(reg, (int32_t)disp));
    } else {
        asm_movi(&c->a, reg, disp);
        asm_rm(&c->a, A_ADD, true, reg, CPU_FIELD(pc_page));
    }
}

/* Writes V, which is in no register, to REG of either kind. Keeps the flags, but for XMM constants
 * and PCRELs too far away. */
static void fetch(struct back_compiler *c, uint32_t v, unsigned reg)
{
    const struct value *value = &c->value[v];
    const struct ir_insn *insn = back__insn(c, v);
    struct asm_mem mem;

    if (value->home == HOME_CONST && reg < XMM) {
        asm_movi(&c->a, reg, insn->type == IR_I32 ? (uint32_t)insn->imm : insn->imm);
    } else if (value->home == HOME_CONST && insn->imm == 0) {
        if (c->back->fma)
            asm_vrr(&c->a, A_XORPS, false, reg - XMM, reg - XMM, reg - XMM);
        else
            asm_rr(&c->a, A_XORPS, false, reg - XMM, reg - XMM);
    } else if (value->home == HOME_CONST && insn->imm == -1 && is_wide(c, v)) {
        back__fp3(c, A_PCMPEQD, reg - XMM, reg - XMM,
                  (struct operand){.kind = OPERAND_REG, .reg = reg - XMM}, true);
    } else if (value->home == HOME_CONST) {
        unsigned t = back__temp_gpr(c);
        asm_movi(&c->a, t, insn->imm);
        move_any(c, reg, t);
        if (is_wide(c, v))
            back__fp3(c, A_PUNPCKLQDQ, reg - XMM, reg - XMM,
                      (struct operand){.kind = OPERAND_REG, .reg = reg - XMM}, false);
        back__unlock(c, t);
    } else if (value->home == HOME_PCREL) {
        load_pcrel(c, reg, insn->imm);
    } else if (back__in_memory(c, v, &mem)) {
        load_for(c, v, reg, mem);
    } else {
        g_assert_not_reached();
    }
}

static unsigned in_register(struct back_compiler *c, uint32_t v, bool xmm)
{
    struct value *value = enter_block(c, v);

    if (value->reg == NO_REG) {
        unsigned reg = xmm ? XMM + back__temp_xmm(c) : back__temp_gpr(c);
        fetch(c, v, reg);
        value->reg = (uint8_t)reg;
        c->in_reg[reg] = v;
    }
    c->locked |= 1u << value->reg;
    return value->reg;
}

unsigned back__gpr(struct back_compiler *c, uint32_t v)
{
    return in_register(c, v, false);
}

unsigned back__xmm(struct back_compiler *c, uint32_t v)
{
    return in_register(c, v, true) - XMM;
}

/* Is V more than one argument of the present insn? */
static bool used_twice(const struct back_compiler *c, uint32_t v)
{
    const struct ir_insn *insn = back__insn(c, c->idx);
    unsigned n = 0;

    for (unsigned i = 0; i < ir_n_args(insn); i++)
        n += insn->arg[i] == v;
    return n > 1;
}

void back__gpr_in(struct back_compiler *c, uint32_t v, unsigned reg)
{
    struct value *value = enter_block(c, v);

    if (value->reg == reg && back__dies(c, v) && !used_twice(c, v)) {
        c->in_reg[reg] = NO_VALUE;
        value->reg = NO_REG;
        c->locked |= 1u << reg;
        return;
    }
    back__take(c, reg);
    if (value->reg != NO_REG)
        back__mov(c, reg, value->reg);
    else
        fetch(c, v, reg);
}

struct operand back__operand(struct back_compiler *c, uint32_t v)
{
    struct value *value = enter_block(c, v);
    const struct ir_insn *insn = back__insn(c, v);
    struct operand out = {.kind = OPERAND_REG};

    if (value->home == HOME_CONST && asm_fits32(insn->imm)) {
        out.kind = OPERAND_IMM;
        out.imm = (int32_t)insn->imm;
    } else if (value->reg == NO_REG && back__dies(c, v) && back__in_memory(c, v, &out.mem)) {
        out.kind = OPERAND_MEM;
    } else {
        out.reg = back__gpr(c, v);
    }
    return out;
}

struct operand back__foperand(struct back_compiler *c, uint32_t v)
{
    struct value *value = enter_block(c, v);
    struct operand out = {.kind = OPERAND_REG};

    if (value->reg == NO_REG && back__dies(c, v) && back__in_memory(c, v, &out.mem))
        out.kind = OPERAND_MEM;
    else
        out.reg = back__xmm(c, v);
    return out;
}

void back__store_value(struct back_compiler *c, uint32_t v, struct asm_mem mem)
{
    struct value *value = enter_block(c, v);
    const struct ir_insn *insn = back__insn(c, v);

    if (value->reg == NO_REG && value->home == HOME_CONST && asm_fits32(insn->imm) &&
        !is_wide(c, v)) {
        asm_mem_movi(&c->a, true, mem, (int32_t)insn->imm);
        return;
    }
    /* Bits are bits: a float constant or word in memory passes through a general register. */
    unsigned reg = value->reg;
    if (reg == NO_REG) {
        reg = is_wide(c, v) ? XMM + back__temp_xmm(c) : back__temp_gpr(c);
        fetch(c, v, reg);
        back__unlock(c, reg);
    }
    store_for(c, v, reg, mem);
}

/* --- results ---------------------------------------------------------------------------------- */

/* Is nothing that lives on in the pinned register? */
static bool pin_is_free(const struct back_compiler *c, unsigned reg)
{
    for (uint32_t v = c->pin_chain[reg]; v != NO_VALUE; v = c->value[v].pin_next)
        if (c->value[v].reg == reg && lives_on(c, v))
            return false;
    return true;
}

/* The pinned register that the present insn's value, or what is made of it, is SET to. */
static unsigned wanted(const struct back_compiler *c)
{
    const struct value *value = &c->value[c->idx];
    uint32_t v = c->idx;

    if (value->hint == NO_REG && value->uses == 1 && !value->global) {
        v = value->last;
        if (back__insn(c, v)->op == IR_SELECT || back__insn(c, v)->op == IR_CMP)
            return NO_REG;
    }
    if (c->value[v].hint == NO_REG || c->value[v].hint_limit > c->idx || v >= c->unit->n ||
        !pin_is_free(c, c->value[v].hint))
        return NO_REG;
    return c->value[v].hint;
}

static unsigned dst(struct back_compiler *c, uint32_t reuse, uint32_t avoid, bool xmm)
{
    unsigned reg = wanted(c);

    if (reg != NO_REG && (reg >= XMM) == xmm && !(avoid >> reg & 1)) {
        c->locked |= 1u << reg;
        return reg;
    }
    if (reuse != NO_VALUE) {
        reg = c->value[reuse].reg;
        if (reg != NO_REG && c->in_reg[reg] == reuse && back__dies(c, reuse) &&
            (reg >= XMM) == xmm && !(avoid >> reg & 1)) {
            drop(c, reg);
            return reg;
        }
    }
    return xmm ? XMM + back__temp_xmm(c) : back__temp_gpr(c);
}

unsigned back__dst_gpr(struct back_compiler *c, uint32_t reuse, uint32_t avoid)
{
    return dst(c, reuse, avoid, false);
}

unsigned back__dst_xmm(struct back_compiler *c, uint32_t reuse, uint32_t avoid)
{
    return dst(c, reuse, avoid << XMM, true) - XMM;
}

static void join_pin(struct back_compiler *c, uint32_t v, unsigned reg)
{
    c->value[v].reg = (uint8_t)reg;
    c->value[v].pin_next = c->pin_chain[reg];
    c->pin_chain[reg] = v;
}

static uint32_t in_slot(const struct back_compiler *c, unsigned slot)
{
    return c->slots[slot / 64] >> slot % 64 & 1 ? c->slot_chain[slot] : NO_VALUE;
}

static void join_slot(struct back_compiler *c, uint32_t v, unsigned slot)
{
    c->value[v].home = HOME_SLOT;
    c->value[v].slot = (uint16_t)slot;
    c->value[v].slot_next = in_slot(c, slot);
    c->slot_chain[slot] = v;
    c->slots[slot / 64] |= UINT64_C(1) << slot % 64;
}

void back__define(struct back_compiler *c, unsigned reg)
{
    struct value *value = &c->value[c->idx];

    if (c->back->pinned >> reg & 1) {
        c->pin_chain[reg] = NO_VALUE; /* nothing there lives on */
        c->pin_holds[reg] = NO_VALUE;
        join_pin(c, c->idx, reg);
    } else {
        if (c->in_reg[reg] != NO_VALUE && c->in_reg[reg] != c->idx)
            drop(c, reg);
        value->reg = (uint8_t)reg;
        c->in_reg[reg] = c->idx;
    }
    if (value->global) {
        back__stack_home(c, c->idx);
        store_for(c, c->idx, reg, STACK_MEM(value->stack));
    }
}

/* --- slots ------------------------------------------------------------------------------------ */

/* The upper slot of a pinned pair, by way of its place in memory. */
static void get_high(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned reg = is_float(insn->type) ? XMM + back__temp_xmm(c) : back__temp_gpr(c);

    back__store_wide(c, c->back->high_of[insn->aux], SLOT_MEM(insn->aux - 1));
    back__load_reg(c, reg, SLOT_MEM(insn->aux));
    back__define(c, reg);
}

/* A value whose home is a slot and that another block uses: the slot may change before. */
static void keep_slot(struct back_compiler *c, const struct ir_insn *insn)
{
    bool wide = insn->type == IR_V128;
    unsigned reg = wide ? XMM + back__temp_xmm(c) : back__temp_gpr(c);

    load_for(c, c->idx, reg, SLOT_MEM(insn->aux));
    back__stack_home(c, c->idx);
    store_for(c, c->idx, reg, STACK_MEM(c->value[c->idx].stack));
}

void back__get(struct back_compiler *c, const struct ir_insn *insn)
{
    struct value *value = &c->value[c->idx];
    unsigned pin = c->back->pin_of[insn->aux];

    if (c->back->high_of[insn->aux] != NO_REG) {
        get_high(c, insn);
    } else if (pin == NO_REG) {
        join_slot(c, c->idx, insn->aux);
        if (value->global)
            keep_slot(c, insn);
    } else if ((pin >= XMM) == back__in_xmm(insn->type)) {
        join_pin(c, c->idx, pin);
        if (value->global) {
            back__stack_home(c, c->idx);
            store_for(c, c->idx, pin, STACK_MEM(value->stack));
        }
    } else {
        unsigned reg = is_float(insn->type) ? XMM + back__temp_xmm(c) : back__temp_gpr(c);
        move_any(c, reg, pin);
        back__define(c, reg);
    }
}

/* V is in pinned register REG, which is about to change: finds it another place. */
static void relocate(struct back_compiler *c, uint32_t v, unsigned reg)
{
    struct value *value = &c->value[v];

    if (value->home != HOME_NONE) {
        value->reg = NO_REG;
        return;
    }
    for (uint32_t left = c->back->pinned & ~(1u << reg); left; left &= left - 1) {
        unsigned other = (unsigned)__builtin_ctz(left);
        if (c->pin_holds[other] == v && (other >= XMM) == (reg >= XMM)) {
            join_pin(c, v, other);
            return;
        }
    }
    unsigned to = reg >= XMM ? XMM + back__temp_xmm(c) : back__temp_gpr(c);
    move_any(c, to, reg);
    value->reg = (uint8_t)to;
    c->in_reg[to] = v;
    back__unlock(c, to);
}

/* Values that live on leave the pinned register. */
static void leave_pin(struct back_compiler *c, unsigned pin)
{
    uint32_t next;

    for (uint32_t other = c->pin_chain[pin]; other != NO_VALUE; other = next) {
        next = c->value[other].pin_next;
        if (c->value[other].reg == pin && lives_on(c, other))
            relocate(c, other, pin);
        else if (c->value[other].reg == pin)
            c->value[other].reg = NO_REG;
    }
    c->pin_chain[pin] = NO_VALUE;
    c->pin_holds[pin] = NO_VALUE;
}

/* One slot of a pinned pair, by way of its place in memory. */
static void set_half(struct back_compiler *c, unsigned pin, unsigned slot, uint32_t v)
{
    leave_pin(c, pin);
    back__store_wide(c, pin, SLOT_MEM(slot & ~1u));
    back__store_value(c, v, SLOT_MEM(slot));
    back__load_wide(c, pin, SLOT_MEM(slot & ~1u));
}

static void set_pinned(struct back_compiler *c, unsigned pin, uint32_t v)
{
    struct value *value = enter_block(c, v);

    if (value->reg == pin) {
        c->pin_holds[pin] = v;
        return;
    }
    leave_pin(c, pin);
    if (value->reg != NO_REG)
        move_any(c, pin, value->reg);
    else
        fetch(c, v, pin);
    c->pin_holds[pin] = v;
    bool is_temp = value->reg != NO_REG && !(c->back->pinned >> value->reg & 1);
    if ((pin >= XMM) == in_xmm(c, v) &&
        (is_temp || (value->reg == NO_REG && value->home != HOME_CONST))) {
        if (is_temp)
            c->in_reg[value->reg] = NO_VALUE;
        join_pin(c, v, pin);
    }
}

/* V moves out of its slot, if it is in SLOT. */
static void leave_home(struct back_compiler *c, unsigned slot, uint32_t v)
{
    struct value *value = &c->value[v];

    if (value->home != HOME_SLOT || value->slot != slot || !in_this_block(c, v))
        return;
    if (lives_on(c, v) && value->reg == NO_REG) {
        unsigned reg = in_xmm(c, v) ? XMM + back__temp_xmm(c) : back__temp_gpr(c);
        fetch(c, v, reg);
        value->reg = (uint8_t)reg;
        c->in_reg[reg] = v;
        back__unlock(c, reg);
    }
    value->home = HOME_NONE;
}

/* The values that live in SLOT's memory move out of it. */
static void leave_slot(struct back_compiler *c, unsigned slot)
{
    for (uint32_t v = in_slot(c, slot); v != NO_VALUE; v = c->value[v].slot_next)
        leave_home(c, slot, v);
    c->slots[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    for (uint32_t v = slot % 2 ? in_slot(c, slot - 1) : NO_VALUE; v != NO_VALUE;
         v = c->value[v].slot_next)
        if (is_wide(c, v))
            leave_home(c, slot - 1, v);
}

void back__set(struct back_compiler *c, const struct ir_insn *insn)
{
    uint32_t v = insn->arg[0];
    unsigned pin = c->back->pin_of[insn->aux];

    if (c->back->high_of[insn->aux] != NO_REG) {
        set_half(c, c->back->high_of[insn->aux], insn->aux, v);
        return;
    }
    if (pin >= XMM && pin != NO_REG && c->back->wide && insn->type != IR_V128) {
        set_half(c, pin, insn->aux, v);
        return;
    }
    if (pin != NO_REG) {
        set_pinned(c, pin, v);
        return;
    }
    /* A slot that holds the value already, perhaps as its only home, is left as it is. */
    if (c->value[v].home == HOME_SLOT && c->value[v].slot == insn->aux && in_this_block(c, v))
        return;
    leave_slot(c, insn->aux);
    if (insn->type == IR_V128)
        leave_slot(c, insn->aux + 1u);
    back__store_value(c, v, SLOT_MEM(insn->aux));
    if (c->value[v].home == HOME_NONE)
        join_slot(c, v, insn->aux);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Values in pinned registers and in slots go to the stack. */
static void leave_slots(struct back_compiler *c)
{
    for (uint32_t left = c->back->pinned; left; left &= left - 1) {
        unsigned pin = (unsigned)__builtin_ctz(left);
        for (uint32_t v = c->pin_chain[pin]; v != NO_VALUE; v = c->value[v].pin_next) {
            struct value *value = &c->value[v];
            if (value->reg != pin)
                continue;
            if (lives_on(c, v) && (value->home == HOME_NONE || value->home == HOME_SLOT)) {
                back__stack_home(c, v);
                store_for(c, v, pin, STACK_MEM(value->stack));
            }
            value->reg = NO_REG;
        }
        c->pin_chain[pin] = NO_VALUE;
        c->pin_holds[pin] = NO_VALUE;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(c->slots); i++)
        for (uint64_t left = c->slots[i]; left; left &= left - 1)
            leave_slot(c, 64 * i + (unsigned)__builtin_ctzll(left));
}

void back__spill_all(struct back_compiler *c, bool writes)
{
    if (writes)
        leave_slots(c);
    for (uint32_t left = TEMP_GPRS | TEMP_XMMS; left; left &= left - 1) {
        unsigned reg = (unsigned)__builtin_ctz(left);
        if (c->in_reg[reg] == NO_VALUE)
            continue;
        if (lives_on(c, c->in_reg[reg]))
            spill(c, c->in_reg[reg]);
        else
            drop(c, reg);
    }
}

void back__clobber(struct back_compiler *c)
{
    c->locked = 0;
}
