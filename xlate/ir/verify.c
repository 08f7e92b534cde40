/*
 * xlate/ir/verify.c: every rule of the IR, for tests and debug builds.
 *
 * Dominance is computed with one bit a block (units have few blocks; more than 64 are refused).
 */
#include "xlate/ir/ir.h"

struct check {
    const struct ir_unit *unit;
    const struct ir_helper *helpers;
    unsigned n_helpers;
    uint32_t block, at; /* what is being looked at */
    uint64_t *dom;      /* by block: mask of the blocks that dominate it */
    uint32_t *home;     /* by value: its block */
    uint32_t *calls;    /* by value: MMU calls in its block before it */
    GError **err;
};

#define BAD(c, ...) vmd_fail((c)->err, VMD_ERROR_INTERNAL, __VA_ARGS__)

static bool bad_insn(struct check *c, const char *what)
{
    return BAD(c, "block %u, v%u (%s): %s", c->block, c->at,
               ir_ops[c->unit->insn[c->at].op].text, what);
}

static enum ir_type arg_type(const struct check *c, const struct ir_insn *insn, unsigned i)
{
    return ir_result_type(&c->unit->insn[insn->arg[i]]);
}

static bool is_int(enum ir_type t)
{
    return t == IR_I32 || t == IR_I64;
}

static bool is_float(enum ir_type t)
{
    return t == IR_F32 || t == IR_F64;
}

static bool is_value(enum ir_type t)
{
    return is_int(t) || is_float(t) || t == IR_V128;
}

/* --- types ------------------------------------------------------------------------------------ */

/* All arguments from FIRST on have TYPE. */
static bool args_are(struct check *c, const struct ir_insn *insn, unsigned first, enum ir_type type)
{
    for (unsigned i = first; i < ir_n_args(insn); i++)
        if (arg_type(c, insn, i) != type)
            return bad_insn(c, "an argument has another type");
    return true;
}

static bool check_int(struct check *c, const struct ir_insn *insn)
{
    bool wide_shift = insn->op >= IR_SHL && insn->op <= IR_ROTR;

    if (!is_int(insn->type))
        return bad_insn(c, "not an integer");
    if (insn->op == IR_SEXT || insn->op == IR_ZEXT) {
        if (insn->imm != 8 && insn->imm != 16 && insn->imm != 32)
            return bad_insn(c, "extends neither 8, 16 nor 32 bits");
        return is_int(arg_type(c, insn, 0)) || bad_insn(c, "extends no integer");
    }
    if (insn->op == IR_TRUNC)
        return (insn->type == IR_I32 && arg_type(c, insn, 0) == IR_I64) ||
               bad_insn(c, "not I64 to I32");
    if (wide_shift)
        return (arg_type(c, insn, 0) == insn->type && is_int(arg_type(c, insn, 1))) ||
               bad_insn(c, "an argument has another type");
    return args_are(c, insn, 0, insn->type);
}

static bool check_value(struct check *c, const struct ir_insn *insn)
{
    switch (insn->op) {
    case IR_CONST:
        if (insn->type == IR_I32 && insn->imm != (int32_t)insn->imm)
            return bad_insn(c, "not sign-extended");
        if (insn->type == IR_F32 && insn->imm != (uint32_t)insn->imm)
            return bad_insn(c, "more than 32 bits");
        return is_value(insn->type) || bad_insn(c, "no type of a value");
    case IR_PARAM:
        return is_int(insn->type) || is_float(insn->type) || bad_insn(c, "no type of a value");
    case IR_PCREL:
        return insn->type == IR_I64 || bad_insn(c, "not I64");
    case IR_GET:
        if (insn->aux >= IR_SLOTS)
            return bad_insn(c, "no such slot");
        if (insn->type == IR_V128 && insn->aux % 2)
            return bad_insn(c, "no pair of slots");
        return is_value(insn->type) || bad_insn(c, "no type of a value");
    default: /* IR_SET */
        if (insn->aux >= IR_SLOTS)
            return bad_insn(c, "no such slot");
        if (insn->type == IR_V128 && insn->aux % 2)
            return bad_insn(c, "no pair of slots");
        if (insn->type != IR_I64 && insn->type != IR_F64 && insn->type != IR_V128)
            return bad_insn(c, "slots take 64 bits");
        return args_are(c, insn, 0, insn->type);
    }
}

static bool check_choice(struct check *c, const struct ir_insn *insn)
{
    if (insn->op == IR_CMP) {
        if (insn->aux > IR_LEU || !is_int(insn->type))
            return bad_insn(c, "bad condition or type");
        return args_are(c, insn, 0, insn->type);
    }
    if (insn->op != IR_SELECT) { /* NZCV_.. */
        if (!is_int(insn->type))
            return bad_insn(c, "no integers");
        if (insn->op == IR_NZCV_ADC && arg_type(c, insn, 2) != IR_I64)
            return bad_insn(c, "the carry is not I64");
        return (arg_type(c, insn, 0) == insn->type && arg_type(c, insn, 1) == insn->type) ||
               bad_insn(c, "an argument has another type");
    }
    if (!is_value(insn->type))
        return bad_insn(c, "no type of a value");
    if (arg_type(c, insn, 0) != IR_I64)
        return bad_insn(c, "the condition is not I64");
    return args_are(c, insn, 1, insn->type);
}

static bool check_fp(struct check *c, const struct ir_insn *insn)
{
    enum ir_type from = arg_type(c, insn, 0);

    switch (insn->op) {
    case IR_FCVTFF:
        return (is_float(insn->type) && is_float(from) && from != insn->type &&
                insn->aux <= IR_RM_RMM) || bad_insn(c, "bad types or rounding");
    case IR_FCVTFI:
        return (is_int(insn->type) && is_float(from) && from == insn->from &&
                insn->aux <= IR_RM_RMM && insn->imm >> 1 == 0) || bad_insn(c, "bad types or rounding");
    case IR_FCVTIF:
        return (is_float(insn->type) && is_int(from) && from == insn->from &&
                insn->aux <= IR_RM_RMM && insn->imm >> 1 == 0) || bad_insn(c, "bad types or rounding");
    case IR_FBITS:
        return (insn->type == IR_I32 && from == IR_F32) || (insn->type == IR_F32 && from == IR_I32) ||
               (insn->type == IR_I64 && from == IR_F64) || (insn->type == IR_F64 && from == IR_I64) ||
               bad_insn(c, "other sizes");
    case IR_BOX:
        return (insn->type == IR_F64 && from == IR_F32) || bad_insn(c, "not F32 to F64");
    case IR_UNBOX:
        return (insn->type == IR_F32 && from == IR_F64) || bad_insn(c, "not F64 to F32");
    case IR_FCMP:
        if (insn->aux > IR_FLE)
            return bad_insn(c, "no such condition");
        break;
    case IR_FADD: case IR_FSUB: case IR_FMUL: case IR_FDIV: case IR_FSQRT: case IR_FMA:
        if (insn->aux > IR_RM_RMM || (insn->op == IR_FMA && insn->imm >> 2))
            return bad_insn(c, "no such rounding or sign");
        break;
    default:
        break;
    }
    return is_float(insn->type) ? args_are(c, insn, 0, insn->type) : bad_insn(c, "not a float");
}

/* What an immediate may be: below the result. */
static int64_t vec_imm_end(const struct ir_insn *insn)
{
    int64_t bits = 8 << (insn->aux & IR_V_LANE), lanes = 128 / bits;

    switch (insn->op) {
    case IR_VGET: case IR_VPUT: case IR_VLANE:
        return lanes;
    case IR_VSHL: case IR_VSHR: case IR_VSAR:
        return bits + 1;
    case IR_VREV: case IR_VFCVT: case IR_VFMA:
        return 4;
    case IR_VEXTR:
        return insn->aux & IR_V_HALF ? 8 : 16;
    case IR_VCRYPT:
        return IR_CRYPT_COUNT;
    case IR_VFCMP:
        return IR_VGT + 1;
    case IR_VFEST:
        return IR_VEST_INT_ROOT + 1;
    case IR_VFTOI: case IR_VITOF: case IR_VFTOX: case IR_VXTOF:
        return 65;
    default:
        return 1;
    }
}

static bool check_vec(struct check *c, const struct ir_insn *insn)
{
    bool to_int = insn->op == IR_VGET || insn->op == IR_VFNZCV || insn->op == IR_VFTOX;
    bool of_int = insn->op == IR_VZEXT || insn->op == IR_VDUP;

    if (to_int ? !is_int(insn->type) : insn->type != IR_V128)
        return bad_insn(c, "another type of result");
    if (insn->op != IR_VFTOX && to_int && insn->type != IR_I64)
        return bad_insn(c, "another type of result");
    if (insn->imm < 0 || insn->imm >= vec_imm_end(insn))
        return bad_insn(c, "no such lane, count or kind");
    if (insn->aux >> 15 || (insn->aux & IR_V_RM) >> IR_V_RM_SHIFT > IR_RM_RMM)
        return bad_insn(c, "unknown flags");
    if (insn->op >= IR_VFADD && insn->op != IR_VFEST && (insn->aux & IR_V_LANE) < 2 &&
        insn->op != IR_VFCVT)
        return bad_insn(c, "lanes of no such format");
    if (insn->op == IR_VXTOF)
        return (is_int(insn->from) && arg_type(c, insn, 0) == insn->from) ||
               bad_insn(c, "not from this type");
    if (insn->op == IR_VZEXT && is_float(arg_type(c, insn, 0)))
        return (insn->aux & IR_V_LANE) == (arg_type(c, insn, 0) == IR_F32 ? 2 : 3) ||
               bad_insn(c, "a lane of another width");
    if (of_int)
        return args_are(c, insn, 0, IR_I64);
    if (insn->op == IR_VPUT)
        return (arg_type(c, insn, 0) == IR_V128 && arg_type(c, insn, 1) == IR_I64) ||
               bad_insn(c, "an argument has another type");
    return args_are(c, insn, 0, IR_V128);
}

/* --- memory and calls ------------------------------------------------------------------------- */

static bool check_tr(struct check *c, const struct ir_insn *insn)
{
    if (insn->aux < 1 || insn->aux > 4096 || (insn->mem & ~(IR_MEM_WRITE | IR_MEM_USER)))
        return bad_insn(c, "bad range or flags");
    return args_are(c, insn, 0, IR_I64);
}

static bool check_access(struct check *c, const struct ir_insn *insn)
{
    bool stores = insn->op != IR_LOAD;
    unsigned bytes = 1u << (insn->mem & IR_MEM_SIZE);
    const struct ir_insn *tr = &c->unit->insn[insn->arg[0]];

    if (tr->op != IR_TR)
        return bad_insn(c, "the handle is not a TR's");
    if ((insn->mem & IR_MEM_SIZE) > 4 || (insn->mem & IR_MEM_WRITE) || insn->mem >> IR_MEM_BITS)
        return bad_insn(c, "bad size or flags");
    if ((insn->mem ^ tr->mem) & IR_MEM_USER)
        return bad_insn(c, "the handle is of another TLB mode");
    if (insn->imm < tr->imm || insn->imm + bytes > tr->imm + tr->aux)
        return bad_insn(c, "outside its handle's range");
    if (stores && !(tr->mem & IR_MEM_WRITE))
        return bad_insn(c, "stores through a handle for loads");
    if ((insn->type == IR_F32 && bytes != 4) || (insn->type == IR_F64 && bytes != 8) ||
        (insn->type == IR_I32 && bytes > 4) || (insn->type == IR_V128) != (bytes == 16) ||
        insn->type == IR_VOID || insn->type == IR_HANDLE)
        return bad_insn(c, "type and width do not fit");
    if (insn->op != IR_LOAD && insn->op != IR_STORE && !is_int(insn->type))
        return bad_insn(c, "an atomic of this type or width");
    if (insn->op == IR_RMW && insn->aux > IR_RMW_MAXU)
        return bad_insn(c, "no such operation");
    if (c->home[insn->arg[0]] == c->block && c->calls[insn->arg[0]] != c->calls[c->at])
        return bad_insn(c, "uses a handle from before a call that may change translations");
    if (c->home[insn->arg[0]] != c->block)
        return bad_insn(c, "uses another block's handle");
    if (insn->op == IR_SC) {
        if (arg_type(c, insn, 1) != IR_I64)
            return bad_insn(c, "the condition is not I64");
        return args_are(c, insn, 2, insn->type);
    }
    if (insn->op == IR_STORE && is_float(insn->type) && arg_type(c, insn, 1) == IR_V128)
        return true;
    return args_are(c, insn, 1, insn->type);
}

static bool check_call(struct check *c, const struct ir_insn *insn)
{
    const struct ir_helper *helper;
    unsigned n = ir_n_args(insn);

    if (insn->type != IR_VOID && insn->type != IR_I64)
        return bad_insn(c, "results are I64 or none");
    for (unsigned i = n; i < 4; i++)
        if (insn->arg[i] != IR_NONE)
            return bad_insn(c, "a hole among the arguments");
    if (c->helpers) {
        if (insn->aux >= c->n_helpers)
            return bad_insn(c, "no such helper");
        helper = &c->helpers[insn->aux];
        if (n != helper->n_args || helper->result != (insn->type == IR_I64))
            return bad_insn(c, "not the helper's arguments or result");
    }
    return args_are(c, insn, 0, IR_I64);
}

static bool check_trap(struct check *c, const struct ir_insn *insn)
{
    const struct ir_helper *helper;

    if (insn->type != IR_VOID || insn->imm < 1 || insn->imm > 127)
        return bad_insn(c, "a result, or no such mask");
    if (c->helpers) {
        if (insn->aux >= c->n_helpers)
            return bad_insn(c, "no such helper");
        helper = &c->helpers[insn->aux];
        if (helper->n_args || helper->result || helper->flags != (IR_CALL_FAULT | IR_CALL_PC))
            return bad_insn(c, "not a helper that only faults");
    }
    return args_are(c, insn, 0, IR_I64);
}

/* --- terminators ------------------------------------------------------------------------------ */

static bool check_branch(struct check *c, const struct ir_insn *insn)
{
    const struct ir_unit *u = c->unit;
    const struct ir_block *to = &u->block[insn->block[0]];

    if (insn->block[0] >= u->n_blocks || insn->block[0] == 0)
        return bad_insn(c, "no such block");
    if (insn->op == IR_BRIF) {
        if (insn->block[1] >= u->n_blocks || insn->block[1] == 0)
            return bad_insn(c, "no such block");
        if (to->n_params || u->block[insn->block[1]].n_params || insn->aux > 2)
            return bad_insn(c, "a target takes parameters");
        return args_are(c, insn, 0, IR_I64);
    }
    if (to->n_params && (insn->params == IR_NONE || insn->params + to->n_params > u->n_param))
        return bad_insn(c, "arguments are missing");
    for (uint32_t i = 0; i < to->n_params; i++) {
        uint32_t v = u->param[insn->params + i];

        if (v >= c->at || !(c->dom[c->block] >> c->home[v] & 1))
            return bad_insn(c, "an argument does not dominate");
        if (ir_result_type(&u->insn[v]) != u->insn[to->first + i].type)
            return bad_insn(c, "an argument has another type than its parameter");
    }
    return true;
}

static bool check_term(struct check *c, const struct ir_insn *insn)
{
    switch (insn->op) {
    case IR_BR:
    case IR_BRIF:
        return check_branch(c, insn);
    case IR_EXIT:
    case IR_EXIT_IND:
        if (insn->aux >> 3)
            return bad_insn(c, "unknown flags");
        return args_are(c, insn, 0, IR_I64);
    default:
        return true;
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool check_kind(struct check *c, const struct ir_insn *insn)
{
    if (insn->op <= IR_SET)
        return check_value(c, insn);
    if (insn->op <= IR_TRUNC)
        return check_int(c, insn);
    if (insn->op <= IR_SELECT)
        return check_choice(c, insn);
    if (insn->op == IR_TR)
        return check_tr(c, insn);
    if (insn->op <= IR_SC)
        return check_access(c, insn);
    if (insn->op == IR_FENCE)
        return insn->aux >> 4 ? bad_insn(c, "unknown flags") : true;
    if (insn->op <= IR_UNBOX)
        return check_fp(c, insn);
    if (ir_is_vec(insn->op))
        return check_vec(c, insn);
    if (insn->op == IR_TRAP)
        return check_trap(c, insn);
    return insn->op == IR_CALL ? check_call(c, insn) : check_term(c, insn);
}

static bool check_insn(struct check *c)
{
    const struct ir_unit *u = c->unit;
    const struct ir_insn *insn = &u->insn[c->at];
    const struct ir_block *b = &u->block[c->block];
    const struct ir_op_info *info = &ir_ops[insn->op];
    bool last = c->at + 1 == b->end;

    if (!!(info->flags & IR_F_TERM) != last)
        return bad_insn(c, last ? "the block has no terminator" : "a terminator inside a block");
    if ((insn->op == IR_PARAM) != (c->at < b->first + b->n_params))
        return bad_insn(c, "parameters do not open their block");
    if (!!(info->flags & IR_F_FAULT) != (insn->side != IR_NONE))
        return bad_insn(c, "side entry missing or superfluous");
    if (insn->side != IR_NONE && insn->side >= u->n_side)
        return bad_insn(c, "no such side entry");
    for (unsigned i = 0; i < 4; i++) {
        if (i >= info->n_args && insn->arg[i] != IR_NONE)
            return bad_insn(c, "more arguments than the operation takes");
        if (i >= ir_n_args(insn))
            continue;
        if (insn->arg[i] >= c->at || !(c->dom[c->block] >> c->home[insn->arg[i]] & 1))
            return bad_insn(c, "an argument does not dominate");
        if (ir_result_type(&u->insn[insn->arg[i]]) == IR_VOID)
            return bad_insn(c, "an argument has no value");
        if (ir_result_type(&u->insn[insn->arg[i]]) == IR_HANDLE &&
            (i != 0 || insn->op < IR_LOAD || insn->op > IR_SC))
            return bad_insn(c, "a handle is used as a value");
    }
    return check_kind(c, insn);
}

/* Fills dom[]: block 0 dominates all; unreached blocks are dominated by everything. */
static void find_dominators(struct check *c)
{
    const struct ir_unit *u = c->unit;
    bool changed = true;

    memset(c->dom, 0xff, u->n_blocks * sizeof(*c->dom));
    c->dom[0] = 1;
    while (changed) {
        changed = false;
        for (uint32_t b = 0; b < u->n_blocks; b++) {
            const struct ir_insn *t = &u->insn[u->block[b].end - 1];
            unsigned n = t->op == IR_BR ? 1 : t->op == IR_BRIF ? 2 : 0;

            for (unsigned i = 0; i < n; i++) {
                uint32_t to = t->block[i];
                uint64_t mask = to < u->n_blocks ? c->dom[to] & (c->dom[b] | UINT64_C(1) << to) : 0;

                if (to < u->n_blocks && mask != c->dom[to]) {
                    c->dom[to] = mask;
                    changed = true;
                }
            }
        }
    }
}

/* Blocks lie in number order without gaps; every value gets its home and its call count. */
static bool check_blocks(struct check *c)
{
    const struct ir_unit *u = c->unit;
    uint32_t at = 0, calls = 0;

    if (u->n_blocks < 1 || u->n_blocks > 64)
        return BAD(c, "%u blocks", u->n_blocks);
    for (uint32_t b = 0; b < u->n_blocks; b++) {
        if (u->block[b].first != at || u->block[b].end <= at || u->block[b].end > u->n)
            return BAD(c, "block %u: empty, or not where the one before ends", b);
        if (b == 0 && u->block[b].n_params)
            return BAD(c, "block 0 takes parameters");
        for (; at < u->block[b].end; at++) {
            const struct ir_insn *insn = &u->insn[at];

            if (insn->op >= IR_OP_COUNT || insn->type > IR_V128)
                return BAD(c, "v%u: no such operation or type", at);
            c->home[at] = b;
            c->calls[at] = calls;
            if (insn->op == IR_CALL && c->helpers && insn->aux < c->n_helpers)
                calls += !!(c->helpers[insn->aux].flags & IR_CALL_MMU);
        }
    }
    return at == u->n ? true : BAD(c, "insns after the last block");
}

bool ir_verify(const struct ir_unit *unit, const struct ir_helper *helpers, unsigned n_helpers,
               GError **err)
{
    uint64_t dom[64];
    g_autofree uint32_t *home = g_new(uint32_t, unit->n + 1);
    g_autofree uint32_t *calls = g_new(uint32_t, unit->n + 1);
    struct check c = {.unit = unit, .helpers = helpers, .n_helpers = n_helpers, .dom = dom,
                      .home = home, .calls = calls, .err = err};

    if (!check_blocks(&c))
        return false;
    find_dominators(&c);
    for (c.block = 0; c.block < unit->n_blocks; c.block++)
        for (c.at = unit->block[c.block].first; c.at < unit->block[c.block].end; c.at++)
            if (!check_insn(&c))
                return false;
    return true;
}
