/*
 * a64_emit_sys.c: exceptions, system registers, and what else the privileged part does by helper.
 *
 * Registers that are slots are read and written here; the others by helper. What EL0 may not name is
 * undefined; what it may if a control bit says so, the helper checks.
 */
#include "xlate/front/aarch64/a64_emit.h"

#define A64_HELPER(NAME, name, n_args, result, flags) [A64_HELPER_##NAME] = {result, flags},
static const struct {
    bool result;
    uint8_t flags;
} helpers[] = {
#include "xlate/front/aarch64/a64_helpers.inc"
};
#undef A64_HELPER

uint32_t a64_call(struct a64_translation *t, enum a64_helper helper, uint32_t a, uint32_t b,
                  uint32_t c, uint32_t d)
{
    const uint32_t args[4] = {a, b, c, d};

    if (helpers[helper].flags & IR_CALL_WRITES)
        t->flags = (struct a64_flags){.from = A64_FLAGS_SLOT, .guard = IR_NONE};
    return ir_call(t->unit, helper, helpers[helper].flags,
                   helpers[helper].result ? IR_I64 : IR_VOID, args);
}

static uint32_t constant(struct a64_translation *t, uint64_t value)
{
    return ir_const(t->unit, IR_I64, (int64_t)value);
}

static void call_and_end(struct a64_translation *t, enum a64_helper helper, uint32_t arg)
{
    a64_call(t, helper, arg, IR_NONE, IR_NONE, IR_NONE);
    a64_end(t);
}

void a64_undefined(struct a64_translation *t)
{
    call_and_end(t, A64_HELPER_UNDEFINED, IR_NONE);
}

void a64_emit_undefined(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    a64_undefined(t);
}

/* --- exceptions ------------------------------------------------------------------------------- */

void a64_emit_svc(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    call_and_end(t, A64_HELPER_SVC, constant(t, (uint32_t)i->imm));
}

void a64_emit_hvc(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    call_and_end(t, A64_HELPER_HVC, constant(t, (uint32_t)i->imm));
}

void a64_emit_smc(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    a64_emit_hvc(t, i, arg);
}

void a64_emit_brk(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    call_and_end(t, A64_HELPER_BRK, constant(t, (uint32_t)i->imm));
}

void a64_emit_eret(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    call_and_end(t, A64_HELPER_ERET, IR_NONE);
}

/* --- hints ------------------------------------------------------------------------------------ */

/* Hints of extensions that are not there, prefetches. */
void a64_emit_nop(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
}

void a64_emit_yield(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    a64_call(t, A64_HELPER_YIELD, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
}

void a64_emit_wfi(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    call_and_end(t, A64_HELPER_WFI, IR_NONE);
}

void a64_emit_wfe(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    call_and_end(t, A64_HELPER_WFE, IR_NONE);
}

/* ARG: it is SEVL. */
void a64_emit_sev(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    a64_call(t, A64_HELPER_SEV, constant(t, arg), IR_NONE, IR_NONE, IR_NONE);
}

/* --- PSTATE ----------------------------------------------------------------------------------- */

void a64_emit_msr_imm(struct a64_translation *t, const struct a64_insn *i, uint32_t field)
{
    a64_call(t, A64_HELPER_MSR_PSTATE, constant(t, field), constant(t, i->imm & 1), IR_NONE, IR_NONE);
    a64_end(t);
}

enum { DAIF = A64_SYSREG(3, 3, 4, 2, 1), DAIF_BITS = 0x3c0, NO_REGISTER = 31 };

static bool at_el0(const struct a64_translation *t)
{
    return a64_mode_el(t->mode) == A64_EL0;
}

/* DAIF is EL0's where SCTLR_EL1.UMA says so. */
static bool daif_traps(const struct a64_translation *t)
{
    return at_el0(t) && !(t->mode & A64_MODE_DAIF);
}

static void trap(struct a64_translation *t, unsigned number, unsigned rt, bool reads)
{
    a64_call(t, A64_HELPER_TRAP_SYSREG, constant(t, number), constant(t, rt << 1 | reads), IR_NONE,
             IR_NONE);
    a64_end(t);
}

/* DAIF = VALUE. What may unmask looks whether something waits, and polls. */
static void set_daif(struct a64_translation *t, uint32_t value, bool may_unmask)
{
    ir_set(t->unit, A64_SLOT_DAIF, value);
    if (!may_unmask)
        return;
    a64_call(t, A64_HELPER_UNMASKED, value, IR_NONE, IR_NONE, IR_NONE);
    a64_go(t, t->next, IR_EXIT_POLL, 0);
}

/* The immediate of MSR DAIFSet and DAIFClr, where they do not trap. */
static bool daif_bits(struct a64_translation *t, const struct a64_insn *i, uint32_t *old,
                      uint64_t *bits)
{
    if (daif_traps(t)) {
        trap(t, i->bits >> 5 & 0x3fff, NO_REGISTER, false);
        return false;
    }
    *old = ir_get(t->unit, IR_I64, A64_SLOT_DAIF);
    *bits = (uint64_t)i->imm << 6;
    return true;
}

void a64_emit_daifset(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t old;
    uint64_t bits;

    if (daif_bits(t, i, &old, &bits))
        set_daif(t, ir_bini(t->unit, IR_OR, IR_I64, old, (int64_t)bits), false);
}

void a64_emit_daifclr(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t old;
    uint64_t bits;

    if (daif_bits(t, i, &old, &bits))
        set_daif(t, ir_bini(t->unit, IR_AND, IR_I64, old, (int64_t)~bits), true);
}

/* --- NZCV as a register ----------------------------------------------------------------------- */

/* Bits of IR_NZCV_.. and where the register has them. */
static const struct {
    uint16_t mask;
    uint8_t shift;
} nzcv_pieces[] = {{IR_NZCV_N | IR_NZCV_Z, 16}, {IR_NZCV_C, 21}, {IR_NZCV_V, 28}};

static uint32_t read_nzcv(struct a64_translation *t)
{
    uint32_t flags = ir_get(t->unit, IR_I64, A64_SLOT_NZCV), value = constant(t, 0);

    for (unsigned n = 0; n < G_N_ELEMENTS(nzcv_pieces); n++) {
        uint32_t bits = ir_bini(t->unit, IR_AND, IR_I64, flags, nzcv_pieces[n].mask);
        bits = ir_bini(t->unit, IR_SHL, IR_I64, bits, nzcv_pieces[n].shift);
        value = ir_bin(t->unit, IR_OR, IR_I64, bits, value);
    }
    return value;
}

static void write_nzcv(struct a64_translation *t, uint32_t value)
{
    uint32_t flags = constant(t, 0);

    for (unsigned n = 0; n < G_N_ELEMENTS(nzcv_pieces); n++) {
        uint32_t bits = ir_bini(t->unit, IR_SHR, IR_I64, value, nzcv_pieces[n].shift);
        bits = ir_bini(t->unit, IR_AND, IR_I64, bits, nzcv_pieces[n].mask);
        flags = ir_bin(t->unit, IR_OR, IR_I64, bits, flags);
    }
    a64_set_flags_value(t, flags);
}

/* --- system registers ------------------------------------------------------------------------- */

enum {
    NZCV = A64_SYSREG(3, 3, 4, 2, 0),
    FPCR = A64_SYSREG(3, 3, 4, 4, 0),
    FPSR = A64_SYSREG(3, 3, 4, 4, 1),
    SP_EL0 = A64_SYSREG(3, 0, 4, 1, 0),
    CURRENT_EL = A64_SYSREG(3, 0, 4, 2, 2),
};

enum access { READS_AT_EL0 = 1, WRITES_AT_EL0 = 2 };

/* Registers that are slots and nothing else. */
static const struct slot_register {
    uint16_t number;
    uint8_t slot, el0; /* el0: mask of enum access */
} slot_registers[] = {
    {A64_SYSREG(3, 3, 13, 0, 2), A64_SLOT_TPIDR_EL0, READS_AT_EL0 | WRITES_AT_EL0},
    {A64_SYSREG(3, 3, 13, 0, 3), A64_SLOT_TPIDRRO_EL0, READS_AT_EL0},
    {A64_SYSREG(3, 0, 13, 0, 4), A64_SLOT_TPIDR_EL1, 0},
    {A64_SYSREG(3, 0, 4, 0, 1), A64_SLOT_ELR_EL1, 0},
    {A64_SYSREG(3, 0, 4, 0, 0), A64_SLOT_SPSR_EL1, 0},
    {A64_SYSREG(3, 0, 5, 2, 0), A64_SLOT_ESR_EL1, 0},
    {A64_SYSREG(3, 0, 6, 0, 0), A64_SLOT_FAR_EL1, 0},
};

static const struct slot_register *find_slot(const struct a64_translation *t, unsigned number,
                                             enum access access)
{
    for (unsigned n = 0; n < G_N_ELEMENTS(slot_registers); n++) {
        const struct slot_register *r = &slot_registers[n];
        if (r->number == number)
            return at_el0(t) && !(r->el0 & access) ? NULL : r;
    }
    return NULL;
}

/* Numbers whose op1 is 3 are those that EL0 may name. */
static bool may_name(const struct a64_translation *t, unsigned number)
{
    return !at_el0(t) || (number >> 11 & 7) == 3;
}

/* True where floating point is trapped, which then ends the unit. */
static bool traps_fp(struct a64_translation *t, unsigned number)
{
    if ((number != FPCR && number != FPSR) || (t->mode & A64_MODE_FP))
        return false;
    call_and_end(t, A64_HELPER_FP_TRAP, IR_NONE);
    return true;
}

void a64_emit_mrs(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned number = i->sysreg | 0x8000;
    const struct slot_register *r = find_slot(t, number, READS_AT_EL0);
    uint32_t value;

    if (!may_name(t, number)) {
        a64_undefined(t);
        return;
    }
    if (traps_fp(t, number))
        return;
    if (number == DAIF && daif_traps(t)) {
        trap(t, number, i->rt, true);
        return;
    }
    if (r)
        value = ir_get(t->unit, IR_I64, r->slot);
    else if (number == NZCV)
        value = read_nzcv(t);
    else if (number == DAIF)
        value = ir_get(t->unit, IR_I64, A64_SLOT_DAIF);
    else if (number == SP_EL0 && !(t->mode & A64_MODE_SP_EL0))
        value = ir_get(t->unit, IR_I64, A64_SLOT_SP_EL0);
    else if (number == CURRENT_EL)
        value = constant(t, A64_EL1 << 2);
    else
        value = a64_call(t, A64_HELPER_MRS, constant(t, number), constant(t, i->rt), IR_NONE,
                         IR_NONE);
    a64_set_x(t, i->rt, value);
}

/* Registers of the privileged part that nothing follows from. */
static bool is_plain(unsigned number)
{
    return number == FPSR;
}

void a64_emit_msr(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned number = i->sysreg | 0x8000;
    const struct slot_register *r = find_slot(t, number, WRITES_AT_EL0);
    uint32_t value = a64_x(t, i->rt);

    if (!may_name(t, number)) {
        a64_undefined(t);
        return;
    }
    if (traps_fp(t, number))
        return;
    if (number == DAIF && daif_traps(t)) {
        trap(t, number, i->rt, false);
    } else if (r) {
        ir_set(t->unit, r->slot, value);
    } else if (number == NZCV) {
        write_nzcv(t, value);
    } else if (number == DAIF) {
        set_daif(t, ir_bini(t->unit, IR_AND, IR_I64, value, DAIF_BITS), true);
    } else if (number == SP_EL0 && !(t->mode & A64_MODE_SP_EL0)) {
        ir_set(t->unit, A64_SLOT_SP_EL0, value);
    } else {
        bool plain = is_plain(number);
        a64_call(t, plain ? A64_HELPER_MSR_PLAIN : A64_HELPER_MSR, constant(t, number), value,
                 constant(t, i->rt), IR_NONE);
        if (!plain)
            a64_end(t);
    }
}

/* --- system instructions ---------------------------------------------------------------------- */

enum {
    SYS_OP0 = 1 << 14,
    DC_ZVA = A64_SYSREG(1, 3, 7, 4, 1),
    ZVA_BYTES = 64,
};

/* Is it DC by address? CRm 6, 10, 11, 12 and 14 of CRn 7, op2 1. */
static bool is_dc(unsigned number)
{
    unsigned crm = number >> 3 & 15;

    return (number >> 7 & 15) == 7 && (number & 7) == 1 &&
           (crm == 6 || crm == 10 || crm == 11 || crm == 12 || crm == 14);
}

static void zero_block(struct a64_translation *t, uint32_t address)
{
    uint32_t base = ir_bini(t->unit, IR_AND, IR_I64, address, -(int64_t)ZVA_BYTES);
    int64_t imm = 0;
    uint32_t handle = ir_address(t->unit, base, &imm, ZVA_BYTES, true), zero = constant(t, 0);

    for (unsigned at = 0; at < ZVA_BYTES; at += 8)
        ir_store(t->unit, IR_I64, 3, handle, imm + at, zero);
}

void a64_emit_sys(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned number = i->sysop | SYS_OP0;
    uint32_t value = a64_x(t, i->rt);

    if (!may_name(t, number)) {
        a64_undefined(t);
    } else if (number == DC_ZVA && (t->mode & A64_MODE_ZVA)) {
        zero_block(t, value);
    } else if (number == DC_ZVA) {
        trap(t, number, i->rt, false);
    } else {
        bool dc = is_dc(number);
        a64_call(t, dc ? A64_HELPER_DC : A64_HELPER_SYS, constant(t, number), value,
                 constant(t, i->rt), IR_NONE);
        if (!dc)
            a64_end(t);
    }
}
