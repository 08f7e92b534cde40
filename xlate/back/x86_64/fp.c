/*
 * Floating point. The guest's rounding mode and flags are the host's own in MXCSR, so arithmetic is
 * one instruction where the host's meaning is the guest's; the rest (NaNs, saturation, rounding
 * that is not the present mode) goes to slow.c.
 */
#include "xlate/back/x86_64/back_priv.h"

static bool is_double(unsigned type)
{
    return type == IR_F64;
}

static struct operand xreg(unsigned reg)
{
    return (struct operand){.kind = OPERAND_REG, .reg = reg};
}

/* op dst, operand: two operands, SSE or VEX (which repeats dst in the middle). */
static void fp2(struct back_compiler *c, enum asm_op op, unsigned dst, struct operand b)
{
    bool vex = c->back->fma;

    if (b.kind == OPERAND_REG && vex)
        asm_vrr(&c->a, op, false, dst, dst, b.reg);
    else if (b.kind == OPERAND_REG)
        asm_rr(&c->a, op, false, dst, b.reg);
    else if (vex)
        asm_vrm(&c->a, op, false, dst, dst, b.mem);
    else
        asm_rm(&c->a, op, false, dst, b.mem);
}

/* Comparisons and square roots of nothing else: no middle operand. */
static void fp1(struct back_compiler *c, enum asm_op op, unsigned dst, struct operand b)
{
    if (!c->back->fma)
        fp2(c, op, dst, b);
    else if (b.kind == OPERAND_REG)
        asm_vrr(&c->a, op, false, dst, 0, b.reg);
    else
        asm_vrm(&c->a, op, false, dst, 0, b.mem);
}

void back__fp3(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned a, struct operand b,
               bool commutes)
{
    if (c->back->fma && b.kind == OPERAND_REG) {
        asm_vrr(&c->a, op, false, dst, a, b.reg);
    } else if (c->back->fma) {
        asm_vrm(&c->a, op, false, dst, a, b.mem);
    } else if (dst != a && b.kind == OPERAND_REG && dst == b.reg) {
        g_assert(commutes);
        asm_rr(&c->a, op, false, dst, a);
    } else {
        back__movx(c, dst, a);
        fp2(c, op, dst, b);
    }
}

static struct operand constant(struct back_compiler *c, enum fixed_const k)
{
    return (struct operand){.kind = OPERAND_MEM, .mem = back__const(c, k)};
}

/* A row of constants has the F64 one first, the F32 one behind it. */
static struct operand constant_of(struct back_compiler *c, enum fixed_const k64, unsigned type)
{
    return constant(c, is_double(type) ? k64 : k64 + 1);
}

static enum asm_op ucomi(unsigned type)
{
    return is_double(type) ? A_UCOMISD : A_UCOMISS;
}

/* --- slow operations -------------------------------------------------------------------------- */

static uint32_t how_of(const struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned from = insn->op == IR_FCVTFF ? ir_result_type(back__insn(c, insn->arg[0])) : insn->from;

    return slow_how(insn->op, insn->type, insn->aux, (unsigned)insn->imm & 3, from);
}

/* The operation by C, here and now. */
static void slow_op(struct back_compiler *c, const struct ir_insn *insn)
{
    bool xmm = is_float(ir_result_type(insn));

    for (unsigned i = 0; i < ir_n_args(insn); i++)
        back__store_value(c, insn->arg[i], FRAME_MEM(FRAME_ARG + 8 * (int32_t)i));
    asm_mem_movi(&c->a, true, FRAME_MEM(FRAME_ARG + 24), (int32_t)how_of(c, insn));
    back__call_stub(c, STUB_SLOW, 0, SLOW_OP);
    unsigned dst = xmm ? XMM + back__dst_xmm(c, NO_VALUE, 0) : back__dst_gpr(c, NO_VALUE, 0);
    back__load_reg(c, dst, FRAME_MEM(FRAME_RESULT));
    back__define(c, dst);
}

/* The operation by C in a cold path: operands in registers, the result in DST. */
static struct cold *slow_cold(struct back_compiler *c, const struct ir_insn *insn, unsigned dst,
                              unsigned a, unsigned b)
{
    struct cold *cold = back__cold(c, COLD_SLOW);

    cold->dst = (uint8_t)dst;
    cold->a = (uint8_t)a;
    cold->b = (uint8_t)b;
    cold->how = how_of(c, insn);
    return cold;
}

/* --- arithmetic ------------------------------------------------------------------------------- */

static void arith(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][5] = {
        {A_SS_ADD, A_SS_SUB, A_SS_MUL, A_SS_DIV, A_SS_SQRT},
        {A_SD_ADD, A_SD_SUB, A_SD_MUL, A_SD_DIV, A_SD_SQRT},
    };
    enum asm_op op = ops[is_double(insn->type)][insn->op - IR_FADD];
    bool commutes = insn->op == IR_FADD || insn->op == IR_FMUL;

    if (insn->aux != IR_RM_DYN) {
        slow_op(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]);
    if (insn->op == IR_FSQRT) {
        unsigned dst = back__dst_xmm(c, insn->arg[0], 0);
        if (c->back->fma)
            asm_vrr(&c->a, op, false, dst, a, a);
        else
            asm_rr(&c->a, op, false, dst, a);
        back__define(c, dst + XMM);
        return;
    }
    struct operand b = back__foperand(c, insn->arg[1]);
    bool clash = !c->back->fma && !commutes && b.kind == OPERAND_REG && b.reg != a;
    unsigned dst = back__dst_xmm(c, insn->arg[0], clash ? 1u << b.reg : 0);
    back__fp3(c, op, dst, a, b, commutes);
    back__define(c, dst + XMM);
}

/* Is the present insn's only use the FCANON behind it? */
static bool canon_follows(const struct back_compiler *c)
{
    const struct ir_insn *next = back__insn(c, c->idx + 1);

    return next->op == IR_FCANON && next->arg[0] == c->idx && c->value[c->idx].uses == 1 &&
           c->value[c->idx].last == c->idx + 1 && !c->value[c->idx].global;
}

/* The host's FMA does not raise NV for 0 x inf with a quiet NaN addend: NaN results are looked at
 * again. They are made canonical there too when that is what follows. */
static void fused(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[] = {A_FMADD231, A_FNMADD231, A_FMSUB231, A_FNMSUB231};

    if (insn->aux != IR_RM_DYN || !c->back->fma) {
        slow_op(c, insn);
        return;
    }
    bool canon = canon_follows(c), w = is_double(insn->type);
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned addend = back__xmm(c, insn->arg[2]);
    if (canon) {
        c->idx++;
        c->skip_next = true;
    }
    unsigned dst = back__dst_xmm(c, insn->arg[2], 1u << a | 1u << b);
    struct cold *cold = back__cold(c, COLD_FMA_NAN);
    back__movx(c, dst, addend);
    asm_vrr(&c->a, ops[insn->imm & 3], w, dst, a, b);
    fp1(c, ucomi(insn->type), dst, xreg(dst));
    cold->from[0] = asm_jcc(&c->a, CC_P);
    cold->back = c->a.at;
    cold->dst = (uint8_t)(dst + XMM);
    cold->a = (uint8_t)(a + XMM);
    cold->b = (uint8_t)(b + XMM);
    cold->type = insn->type;
    cold->has_result = canon;
    back__define(c, dst + XMM);
}

static void minmax(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_SS_MIN, A_SD_MIN}, {A_SS_MAX, A_SD_MAX}};
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned dst = back__dst_xmm(c, insn->arg[0], c->back->fma || a == b ? 0 : 1u << b);

    fp1(c, ucomi(insn->type), a, xreg(b));
    struct cold *nan = slow_cold(c, insn, dst + XMM, a + XMM, b + XMM);
    nan->from[0] = asm_jcc(&c->a, CC_P);
    struct cold *equal = back__cold(c, COLD_MINMAX); /* or zeros of either sign */
    equal->from[0] = asm_jcc(&c->a, CC_E);
    back__fp3(c, ops[insn->op == IR_FMAX][is_double(insn->type)], dst, a, xreg(b), false);
    nan->back = equal->back = c->a.at;
    equal->op = insn->op;
    equal->dst = (uint8_t)dst;
    equal->a = (uint8_t)a;
    equal->b = (uint8_t)b;
    back__define(c, dst + XMM);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* Sets flags: FLT holds with "above", FLE with "above or equal", FEQ with "equal" and no parity. */
static void fcompare(struct back_compiler *c, const struct ir_insn *insn)
{
    bool w = is_double(insn->type);

    if (insn->aux == IR_FEQ) {
        unsigned a = back__xmm(c, insn->arg[0]);
        fp1(c, ucomi(insn->type), a, back__foperand(c, insn->arg[1]));
    } else {
        unsigned b = back__xmm(c, insn->arg[1]);
        fp1(c, w ? A_COMISD : A_COMISS, b, back__foperand(c, insn->arg[0]));
    }
}

static void fcmp(struct back_compiler *c, const struct ir_insn *insn)
{
    struct value *value = &c->value[c->idx];

    if (value->uses == 1 && !value->global && back__insn(c, value->last)->op == IR_BRIF &&
        value->last == c->idx + 1) {
        value->fused = true;
        for (unsigned i = 0; i < 2; i++)
            if (c->value[insn->arg[i]].last < value->last)
                c->value[insn->arg[i]].last = value->last;
        return;
    }
    fcompare(c, insn);
    unsigned dst = back__temp_gpr(c);
    if (insn->aux == IR_FEQ) {
        unsigned no = back__temp_gpr(c);
        asm_setcc(&c->a, CC_E, dst);
        asm_setcc(&c->a, CC_NP, no);
        asm_rr(&c->a, A_AND, false, dst, no);
    } else {
        asm_setcc(&c->a, insn->aux == IR_FLT ? CC_A : CC_AE, dst);
    }
    asm_rr(&c->a, A_MOVZX8, false, dst, dst);
    back__define(c, dst);
}

void back__fcmp_branch(struct back_compiler *c, const struct ir_insn *insn, uint32_t then_block,
                       uint32_t else_block)
{
    fcompare(c, insn);
    if (insn->aux == IR_FEQ) {
        back__jump_block(c, CC_P, else_block);
        back__jump_block(c, CC_NE, else_block);
    } else {
        back__jump_block(c, insn->aux == IR_FLT ? CC_BE : CC_B, else_block);
    }
    back__jump_block(c, -1, then_block);
}

/* --- signs, bits, boxes ----------------------------------------------------------------------- */

static void sign(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);

    if (insn->op == IR_FNEG)
        back__fp3(c, A_XORPS, dst, a, constant_of(c, K_SIGN64, insn->type), true);
    else
        back__fp3(c, A_ANDPS, dst, a, constant_of(c, K_ABS64, insn->type), true);
    back__define(c, dst + XMM);
}

static void sign_of_other(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, insn->arg[0], 0);
    struct operand sign_bit = constant_of(c, K_SIGN64, insn->type);

    if (insn->op == IR_FSGNJN) { /* t = ~b & sign */
        back__movx(c, t, b);
        fp2(c, A_ANDNPS, t, sign_bit);
    } else {
        back__fp3(c, A_ANDPS, t, b, sign_bit, true);
    }
    if (insn->op == IR_FSGNJX) {
        back__fp3(c, A_XORPS, dst, a, xreg(t), true);
    } else {
        back__fp3(c, A_ANDPS, dst, a, constant_of(c, K_ABS64, insn->type), true);
        fp2(c, A_ORPS, dst, xreg(t));
    }
    back__define(c, dst + XMM);
}

static void fbits(struct back_compiler *c, const struct ir_insn *insn)
{
    bool w = insn->type == IR_F64 || insn->type == IR_I64;

    if (is_float(insn->type)) {
        unsigned a = back__gpr(c, insn->arg[0]), dst = back__dst_xmm(c, NO_VALUE, 0);
        if (c->back->fma)
            asm_vrr(&c->a, A_MOVQ_GX, w, dst, 0, a);
        else
            asm_rr(&c->a, A_MOVQ_GX, w, dst, a);
        back__define(c, dst + XMM);
    } else {
        unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_gpr(c, NO_VALUE, 0);
        if (c->back->fma)
            asm_vrr(&c->a, A_MOVQ_XG, w, a, 0, dst);
        else
            asm_rr(&c->a, A_MOVQ_XG, w, a, dst);
        back__define(c, dst);
    }
}

static void box(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);

    back__fp3(c, A_ORPS, dst, a, constant(c, K_BOX), true);
    back__define(c, dst + XMM);
}

static void unbox(struct back_compiler *c, const struct ir_insn *insn)
{
    struct operand a = back__foperand(c, insn->arg[0]);
    unsigned dst = back__dst_xmm(c, insn->arg[0], 0);
    struct cold *cold = back__cold(c, COLD_NAN);

    if (a.kind == OPERAND_MEM) {
        struct asm_mem high = a.mem;
        high.disp += 4;
        fp1(c, A_MOVSS, dst, a);
        asm_mi(&c->a, A_CMP, false, high, -1);
    } else {
        unsigned t = back__temp_gpr(c);
        if (c->back->fma)
            asm_vrr(&c->a, A_PEXTRD, false, a.reg, 0, t);
        else
            asm_rr(&c->a, A_PEXTRD, false, a.reg, t);
        asm_8(&c->a, 1);
        back__movx(c, dst, a.reg);
        asm_ri(&c->a, A_CMP, false, t, -1);
    }
    cold->from[0] = asm_jcc(&c->a, CC_NE);
    cold->back = c->a.at;
    cold->dst = (uint8_t)(dst + XMM);
    cold->type = IR_F32;
    back__define(c, dst + XMM);
}

/* Results of these are never signalling, so comparing one with itself raises nothing. */
static bool is_quiet(const struct ir_insn *insn)
{
    return (insn->op >= IR_FADD && insn->op <= IR_FMAX) || insn->op == IR_FCVTFF ||
           insn->op == IR_FCVTIF;
}

static void fcanon(struct back_compiler *c, const struct ir_insn *insn)
{
    if (!is_quiet(back__insn(c, insn->arg[0]))) {
        slow_op(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
    struct cold *cold = back__cold(c, COLD_NAN);
    back__movx(c, dst, a);
    fp1(c, ucomi(insn->type), dst, xreg(dst));
    cold->from[0] = asm_jcc(&c->a, CC_P);
    cold->back = c->a.at;
    cold->dst = (uint8_t)(dst + XMM);
    cold->type = insn->type;
    back__define(c, dst + XMM);
}

/* --- conversions ------------------------------------------------------------------------------ */

static void fcvtff(struct back_compiler *c, const struct ir_insn *insn)
{
    bool widens = is_double(insn->type);

    if (!widens && insn->aux != IR_RM_DYN) {
        slow_op(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
    enum asm_op op = widens ? A_CVTSS2SD : A_CVTSD2SS;
    if (c->back->fma)
        asm_vrr(&c->a, op, false, dst, a, a);
    else
        asm_rr(&c->a, op, false, dst, a);
    back__define(c, dst + XMM);
}

static void fcvtif(struct back_compiler *c, const struct ir_insn *insn)
{
    bool exact = insn->from == IR_I32 && is_double(insn->type), w = insn->from == IR_I64;
    enum asm_op op = is_double(insn->type) ? A_CVTSI2SD : A_CVTSI2SS;

    if (insn->aux != IR_RM_DYN && !exact) {
        slow_op(c, insn);
        return;
    }
    unsigned a = back__gpr(c, insn->arg[0]), src = a, dst = back__dst_xmm(c, NO_VALUE, 0);
    struct cold *cold = NULL;
    if (insn->imm && !w) { /* as 64 bits it is not negative */
        src = back__temp_gpr(c);
        asm_rr(&c->a, A_MOV, false, src, a);
        w = true;
    } else if (insn->imm) {
        cold = slow_cold(c, insn, dst + XMM, a, NO_REG);
        asm_rr(&c->a, A_TEST, true, a, a);
        cold->from[0] = asm_jcc(&c->a, CC_S);
    }
    fp2(c, A_XORPS, dst, xreg(dst)); /* the upper part is an input */
    if (c->back->fma)
        asm_vrr(&c->a, op, w, dst, dst, src);
    else
        asm_rr(&c->a, op, w, dst, src);
    if (cold)
        cold->back = c->a.at;
    back__define(c, dst + XMM);
}

static void cvt_to_int(struct back_compiler *c, bool truncate, bool from_double, bool w,
                       unsigned dst, unsigned a)
{
    enum asm_op op = from_double ? (truncate ? A_CVTTSD2SI : A_CVTSD2SI)
                                 : (truncate ? A_CVTTSS2SI : A_CVTSS2SI);

    if (c->back->fma)
        asm_vrr(&c->a, op, w, dst, 0, a);
    else
        asm_rr(&c->a, op, w, dst, a);
}

/* Signed: the host gives the smallest integer for all that does not fit, and for itself. */
static void to_signed(struct back_compiler *c, const struct ir_insn *insn)
{
    static const uint8_t round_imm[] = {[IR_RM_RNE] = 0, [IR_RM_RDN] = 1, [IR_RM_RUP] = 2};
    bool from_double = insn->from == IR_F64, w = insn->type == IR_I64;
    unsigned a = back__xmm(c, insn->arg[0]), src = a;

    if (insn->aux != IR_RM_DYN && insn->aux != IR_RM_RTZ)
        src = back__temp_xmm(c);
    unsigned dst = back__dst_gpr(c, NO_VALUE, 0);
    if (src != a) {
        enum asm_op op = from_double ? A_ROUNDSD : A_ROUNDSS;
        if (c->back->fma)
            asm_vrr(&c->a, op, false, src, a, a);
        else
            asm_rr(&c->a, op, false, src, a);
        asm_8(&c->a, round_imm[insn->aux]);
    }
    cvt_to_int(c, insn->aux != IR_RM_DYN, from_double, w, dst, src);
    asm_ri(&c->a, A_CMP, w, dst, 1);
    struct cold *cold = slow_cold(c, insn, dst, a + XMM, NO_REG);
    cold->from[0] = asm_jcc(&c->a, CC_O);
    cold->back = c->a.at;
    back__define(c, dst);
}

/* Unsigned, towards zero: inline where a signed 64-bit conversion does it and raises no more. */
static void to_unsigned(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), top = back__temp_xmm(c);
    unsigned dst = back__dst_gpr(c, NO_VALUE, 0);
    struct cold *cold = slow_cold(c, insn, dst, a + XMM, NO_REG);
    bool w = is_double(insn->from);

    fp1(c, w ? A_MOVSD : A_MOVSS, top,
        constant_of(c, insn->type == IR_I64 ? K_TWO63_64 : K_TWO32_64, insn->from));
    fp1(c, ucomi(insn->from), top, xreg(a));
    cold->from[0] = asm_jcc(&c->a, CC_BE);
    fp1(c, ucomi(insn->from), a, constant_of(c, K_MINUS1_64, insn->from));
    cold->from[1] = asm_jcc(&c->a, CC_BE);
    cvt_to_int(c, true, w, true, dst, a);
    cold->back = c->a.at;
    back__define(c, dst);
}

static void fcvtfi(struct back_compiler *c, const struct ir_insn *insn)
{
    /* Rounding by its own instruction raises NX even where the conversion then raises NV; that
     * cannot be where all that does not fit is an integer. */
    bool by_round = insn->type == IR_I64 || insn->from == IR_F32;

    if (insn->imm ? insn->aux == IR_RM_RTZ
                  : insn->aux <= IR_RM_RTZ ? insn->aux != IR_RM_RNE || by_round
                                           : insn->aux != IR_RM_RMM && by_round) {
        if (insn->imm)
            to_unsigned(c, insn);
        else
            to_signed(c, insn);
    } else {
        slow_op(c, insn);
    }
}

/* --- all of them ------------------------------------------------------------------------------ */

void back__fp_op(struct back_compiler *c, const struct ir_insn *insn)
{
    static void (*const ops[])(struct back_compiler *, const struct ir_insn *) = {
        [IR_FADD] = arith,     [IR_FSUB] = arith,           [IR_FMUL] = arith,
        [IR_FDIV] = arith,     [IR_FSQRT] = arith,          [IR_FMA] = fused,
        [IR_FMIN] = minmax,    [IR_FMAX] = minmax,          [IR_FCMP] = fcmp,
        [IR_FCLASS] = slow_op, [IR_FNEG] = sign,            [IR_FABS] = sign,
        [IR_FSGNJ] = sign_of_other, [IR_FSGNJN] = sign_of_other, [IR_FSGNJX] = sign_of_other,
        [IR_FCVTFF] = fcvtff,  [IR_FCVTFI] = fcvtfi,        [IR_FCVTIF] = fcvtif,
        [IR_FCANON] = fcanon,  [IR_FBITS] = fbits,          [IR_BOX] = box,
        [IR_UNBOX] = unbox,
    };

    ops[insn->op](c, insn);
}

/* --- cold ------------------------------------------------------------------------------------- */

static void load_nan(struct back_compiler *c, const struct cold *cold)
{
    back__load_reg(c, cold->dst, back__const(c, is_double(cold->type) ? K_NAN64 : K_NAN32));
}

static void cold_call(struct back_compiler *c, const struct cold *cold, enum slow fn)
{
    back__store_reg(c, cold->a, FRAME_MEM(FRAME_ARG));
    if (cold->b != NO_REG)
        back__store_reg(c, cold->b, FRAME_MEM(FRAME_ARG + 8));
    asm_mem_movi(&c->a, true, FRAME_MEM(FRAME_ARG + 24), (int32_t)cold->how);
    back__call_stub(c, STUB_SLOW, 0, fn);
}

void back__cold_fp(struct back_compiler *c, struct cold *cold)
{
    switch (cold->kind) {
    case COLD_SLOW:
        cold_call(c, cold, SLOW_OP);
        back__load_reg(c, cold->dst, FRAME_MEM(FRAME_RESULT));
        break;
    case COLD_NAN:
        load_nan(c, cold);
        break;
    case COLD_FMA_NAN:
        cold->how = cold->type;
        cold_call(c, cold, SLOW_FMA_NAN);
        if (cold->has_result)
            load_nan(c, cold);
        break;
    default: /* COLD_MINMAX: -0 if either is for the minimum, +0 if either is for the maximum */
        if (cold->dst == cold->b)
            cold->b = cold->a;
        else
            back__movx(c, cold->dst, cold->a);
        fp2(c, cold->op == IR_FMIN ? A_ORPS : A_ANDPS, cold->dst, xreg(cold->b));
    }
    asm_jmp_to(&c->a, cold->back);
}
