/*
 * xlate/back/interp/interp.c: executes units.
 *
 * values[] holds what each insn made: I32 sign-extended, F32 in the low half with zeros above, a
 * handle as the address in its base, a V128's low half; high[] has its other. Block parameters are
 * copied at BR.
 */
#include "xlate/back/interp/interp.h"
#include "xlate/ir/eval.h"
#include "xlate/softfp/softfp.h"
#include "xlate/vec/vec.h"

struct interp {
    struct interp_config config;
    uint64_t *values, *high;
    uint32_t n_values;
};

/* What the running unit needs at hand. */
struct run {
    const struct interp *interp;
    struct xl_cpu *cpu;
    const struct ir_unit *unit;
    uint64_t *v, *high;
};

struct interp *interp_new(const struct interp_config *config)
{
    struct interp *interp = g_new0(struct interp, 1);

    interp->config = *config;
    return interp;
}

void interp_free(struct interp *interp)
{
    if (!interp)
        return;
    g_free(interp->values);
    g_free(interp->high);
    g_free(interp);
}

static uint64_t arg(const struct run *r, const struct ir_insn *insn, unsigned i)
{
    return r->v[insn->arg[i]];
}

static struct ir_v128 vector(const struct run *r, const struct ir_insn *insn, unsigned i)
{
    return (struct ir_v128){{r->v[insn->arg[i]], r->high[insn->arg[i]]}};
}

/* INSN's value is a V128: its low half is returned. */
static uint64_t made(const struct run *r, const struct ir_insn *insn, struct ir_v128 v)
{
    r->high[insn - r->unit->insn] = v.d[1];
    return v.d[0];
}

static uint64_t narrow(enum ir_type type, uint64_t v)
{
    if (type == IR_I32)
        return (uint64_t)(int64_t)(int32_t)v;
    return type == IR_F32 ? (uint32_t)v : v;
}

/* --- values and integers ---------------------------------------------------------------------- */

static uint64_t exec_value(const struct run *r, const struct ir_insn *insn, uint64_t self)
{
    bool pair = insn->type == IR_V128;

    switch (insn->op) {
    case IR_CONST:
        if (pair)
            r->high[insn - r->unit->insn] = (uint64_t)insn->imm;
        return insn->imm;
    case IR_PARAM: /* BR put it there */
        return self;
    case IR_PCREL:
        return r->cpu->pc_page + insn->imm;
    case IR_GET:
        if (pair)
            r->high[insn - r->unit->insn] = r->cpu->slots[insn->aux + 1];
        return narrow(insn->type, r->cpu->slots[insn->aux]);
    default: /* IR_SET */
        r->cpu->slots[insn->aux] = arg(r, insn, 0);
        if (pair)
            r->cpu->slots[insn->aux + 1] = r->high[insn->arg[0]];
        return 0;
    }
}

static uint64_t exec_int(const struct run *r, const struct ir_insn *insn)
{
    switch (insn->op) {
    case IR_SEXT:
    case IR_ZEXT:
        return ir_eval_ext(insn->op, insn->type, arg(r, insn, 0), insn->imm);
    case IR_CMP:
        return ir_eval_cmp(insn->aux, insn->type, arg(r, insn, 0), arg(r, insn, 1));
    case IR_NZCV_ADD:
    case IR_NZCV_SUB:
    case IR_NZCV_ADC:
        return ir_eval_nzcv(insn->op, insn->type, arg(r, insn, 0), arg(r, insn, 1),
                            insn->op == IR_NZCV_ADC ? arg(r, insn, 2) : 0);
    case IR_SELECT:
        if (insn->type == IR_V128)
            return made(r, insn, vector(r, insn, arg(r, insn, 0) ? 1 : 2));
        return arg(r, insn, 0) ? arg(r, insn, 1) : arg(r, insn, 2);
    default:
        if (ir_ops[insn->op].n_args == 1)
            return ir_eval_un(insn->op, insn->type, arg(r, insn, 0));
        return ir_eval_bin(insn->op, insn->type, arg(r, insn, 0), arg(r, insn, 1));
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

/* A load or store of 16 bytes. */
static uint64_t exec_access16(const struct run *r, const struct ir_insn *insn)
{
    const struct back_slow *slow = &r->interp->config.slow;
    gva_t va = arg(r, insn, 0) + insn->imm;
    struct ir_v128 v = {{0, 0}};

    r->cpu->pc = r->cpu->pc_page + r->unit->side[insn->side].pc;
    if (insn->op == IR_LOAD) {
        slow->load16(r->cpu, va, &v, insn->mem);
        return made(r, insn, v);
    }
    v = vector(r, insn, 1);
    slow->store16(r->cpu, va, &v, insn->mem);
    return 0;
}

static uint64_t exec_access(const struct run *r, const struct ir_insn *insn)
{
    const struct back_slow *slow = &r->interp->config.slow;
    struct xl_cpu *cpu = r->cpu;
    gva_t va = arg(r, insn, 0) + insn->imm;

    if (insn->type == IR_V128)
        return exec_access16(r, insn);
    cpu->pc = cpu->pc_page + r->unit->side[insn->side].pc;
    switch (insn->op) {
    case IR_LOAD:
        return narrow(insn->type, slow->load(cpu, va, insn->mem));
    case IR_STORE:
        slow->store(cpu, va, arg(r, insn, 1), insn->mem);
        return 0;
    case IR_RMW:
        return narrow(insn->type, slow->rmw(cpu, va, arg(r, insn, 1), insn->mem, insn->aux));
    case IR_CAS:
        return narrow(insn->type,
                      slow->cas(cpu, va, arg(r, insn, 1), arg(r, insn, 2), insn->mem));
    default: /* IR_SC */
        return slow->sc(cpu, va, arg(r, insn, 1), arg(r, insn, 2), arg(r, insn, 3), insn->mem);
    }
}

/* --- floating point --------------------------------------------------------------------------- */

static enum sf_format format_of(enum ir_type type)
{
    return type == IR_F32 ? SF_F32 : SF_F64;
}

static enum sf_rm rounding(const struct run *r, const struct ir_insn *insn)
{
    unsigned rm = insn->aux == IR_RM_DYN ? r->cpu->fp_rm : insn->aux;

    return rm - IR_RM_RNE;
}

static uint64_t exec_sign(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b)
{
    uint64_t sign = type == IR_F32 ? UINT64_C(1) << 31 : UINT64_C(1) << 63;

    switch (op) {
    case IR_FNEG:
        return a ^ sign;
    case IR_FABS:
        return a & ~sign;
    case IR_FSGNJ:
        return (a & ~sign) | (b & sign);
    case IR_FSGNJN:
        return (a & ~sign) | (~b & sign);
    default: /* IR_FSGNJX */
        return a ^ (b & sign);
    }
}

/* What changes no number: classes, bits, boxes. */
static uint64_t exec_bits(const struct ir_insn *insn, uint64_t a)
{
    switch (insn->op) {
    case IR_FCLASS:
        return sf_class(format_of(insn->type), a);
    case IR_FCANON:
        return sf_is_nan(format_of(insn->type), a) ? sf_default_nan(format_of(insn->type)) : a;
    case IR_FBITS:
        return narrow(insn->type, a);
    case IR_BOX:
        return a | UINT64_C(0xffffffff00000000);
    default: /* IR_UNBOX */
        return a >> 32 == UINT32_MAX ? (uint32_t)a : sf_default_nan(SF_F32);
    }
}

static uint64_t exec_fcmp(const struct ir_insn *insn, uint64_t a, uint64_t b, uint8_t *flags)
{
    enum sf_format f = format_of(insn->type);

    switch (insn->aux) {
    case IR_FEQ:
        return sf_eq(f, a, b, flags);
    case IR_FLT:
        return sf_lt(f, a, b, flags);
    default: /* IR_FLE */
        return sf_le(f, a, b, flags);
    }
}

static uint64_t exec_fcvt(const struct run *r, const struct ir_insn *insn, uint64_t a)
{
    enum sf_rm rm = rounding(r, insn);
    uint8_t *flags = &r->cpu->fp_flags;

    switch (insn->op) {
    case IR_FCVTFF:
        return sf_convert(format_of(insn->type), !format_of(insn->type), a, rm, flags);
    case IR_FCVTFI:
        return narrow(insn->type, sf_to_int(format_of(insn->from), a, insn->type == IR_I32 ? 32 : 64,
                                            insn->imm, rm, flags));
    default: /* IR_FCVTIF */
        return sf_from_int(format_of(insn->type), a, insn->from == IR_I32 ? 32 : 64, insn->imm, rm,
                           flags);
    }
}

static uint64_t exec_arith(const struct run *r, const struct ir_insn *insn, uint64_t a, uint64_t b)
{
    enum sf_format f = format_of(insn->type);
    enum sf_rm rm = rounding(r, insn);
    uint8_t *flags = &r->cpu->fp_flags;

    switch (insn->op) {
    case IR_FADD:
        return sf_add(f, a, b, rm, flags);
    case IR_FSUB:
        return sf_sub(f, a, b, rm, flags);
    case IR_FMUL:
        return sf_mul(f, a, b, rm, flags);
    case IR_FDIV:
        return sf_div(f, a, b, rm, flags);
    case IR_FSQRT:
        return sf_sqrt(f, a, rm, flags);
    case IR_FMA:
        return sf_fma(f, a, b, arg(r, insn, 2), insn->imm, rm, flags);
    case IR_FMIN:
        return sf_min(f, a, b, flags);
    default: /* IR_FMAX */
        return sf_max(f, a, b, flags);
    }
}

static uint64_t exec_fp(const struct run *r, const struct ir_insn *insn)
{
    uint64_t a = arg(r, insn, 0), b = ir_n_args(insn) > 1 ? arg(r, insn, 1) : 0;

    if (insn->op <= IR_FMAX)
        return exec_arith(r, insn, a, b);
    if (insn->op == IR_FCMP)
        return exec_fcmp(insn, a, b, &r->cpu->fp_flags);
    if (insn->op >= IR_FNEG && insn->op <= IR_FSGNJX)
        return exec_sign(insn->op, insn->type, a, b);
    if (insn->op >= IR_FCVTFF && insn->op <= IR_FCVTIF)
        return exec_fcvt(r, insn, a);
    return exec_bits(insn, a);
}

/* --- vectors ---------------------------------------------------------------------------------- */

static uint64_t exec_vec(const struct run *r, const struct ir_insn *insn)
{
    struct ir_v128 a[3] = {{{0, 0}}}, out;

    for (unsigned i = 0; i < ir_n_args(insn); i++)
        a[i] = vector(r, insn, i);
    vec_eval(vec_how(insn), a, &out, r->cpu->fp_rm, &r->cpu->fp_flags);
    return made(r, insn, out);
}

/* --- calls and control ------------------------------------------------------------------------ */

typedef uint64_t (*helper_fn)(struct xl_cpu *cpu, uint64_t, uint64_t, uint64_t, uint64_t);

static uint64_t exec_call(const struct run *r, const struct ir_insn *insn)
{
    const struct ir_helper *helper = &r->interp->config.helpers[insn->aux];
    uint64_t a[4] = {0};

    for (unsigned i = 0; i < ir_n_args(insn); i++)
        a[i] = arg(r, insn, i);
    if (insn->op == IR_TRAP && !(a[0] & (uint64_t)insn->imm))
        return 0;
    if (helper->flags & (IR_CALL_PC | IR_CALL_FAULT))
        r->cpu->pc = r->cpu->pc_page + r->unit->side[insn->side].pc;
    /* Surplus arguments are harmless in every calling convention we run on. */
    return ((helper_fn)helper->fn)(r->cpu, a[0], a[1], a[2], a[3]);
}

static uint64_t execute(const struct run *r, const struct ir_insn *insn, uint64_t self)
{
    if (insn->op <= IR_SET)
        return exec_value(r, insn, self);
    if (insn->op <= IR_SELECT)
        return exec_int(r, insn);
    if (insn->op == IR_TR)
        return arg(r, insn, 0);
    if (insn->op <= IR_SC)
        return exec_access(r, insn);
    if (insn->op == IR_FENCE) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return 0;
    }
    if (ir_is_vec(insn->op))
        return exec_vec(r, insn);
    return insn->op == IR_CALL || insn->op == IR_TRAP ? exec_call(r, insn) : exec_fp(r, insn);
}

/* Gives the target's parameters their values, all read before any is written. */
static void pass_arguments(const struct run *r, const struct ir_insn *insn)
{
    const struct ir_block *to = &r->unit->block[insn->block[0]];
    uint64_t passed[16];

    g_assert(to->n_params <= G_N_ELEMENTS(passed));
    for (uint32_t i = 0; i < to->n_params; i++)
        passed[i] = r->v[r->unit->param[insn->params + i]];
    memcpy(&r->v[to->first], passed, to->n_params * sizeof(passed[0]));
}

/* Runs a terminator: true with the next block, or false with LEAVE. */
static bool terminate(const struct run *r, const struct ir_insn *insn, uint32_t *block,
                      enum back_leave *leave)
{
    *leave = insn->op == IR_EXIT_STATE ? BACK_LEAVE_STATE : BACK_LEAVE_MISS;
    switch (insn->op) {
    case IR_BR:
        pass_arguments(r, insn);
        *block = insn->block[0];
        return true;
    case IR_BRIF:
        *block = insn->block[arg(r, insn, 0) ? 0 : 1];
        return true;
    case IR_EXIT:
        r->cpu->pc = r->cpu->pc_page + insn->disp;
        return false;
    case IR_EXIT_IND:
        r->cpu->pc = arg(r, insn, 0);
        return false;
    default: /* IR_EXIT_STATE */
        return false;
    }
}

enum back_leave interp_run(struct interp *interp, struct xl_cpu *cpu, const struct ir_unit *unit)
{
    enum back_leave leave;
    uint32_t block = 0;

    if (interp->n_values < unit->n) {
        interp->n_values = unit->cap;
        interp->values = g_renew(uint64_t, interp->values, interp->n_values);
        interp->high = g_renew(uint64_t, interp->high, interp->n_values);
    }
    struct run r = {interp, cpu, unit, interp->values, interp->high};
    for (;;) {
        const struct ir_block *b = &unit->block[block];
        uint32_t i;

        for (i = b->first; i + 1 < b->end; i++) {
            const struct ir_insn *insn = &unit->insn[i];

            r.v[i] = execute(&r, insn, r.v[i]);
            if (insn->side != IR_NONE && cpu->fault) {
                cpu->pc = cpu->pc_page + unit->side[insn->side].pc;
                return BACK_LEAVE_FAULT;
            }
        }
        if (!terminate(&r, &unit->insn[i], &block, &leave))
            return leave;
    }
}
