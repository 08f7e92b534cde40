/*
 * Floating-point lanes. The host's instruction does it where its result is no NaN and, of operations
 * that can underflow, not the least normal number: Arm's NaNs and its tininess are C's.
 */
#include "xlate/back/x86_64/vec_priv.h"

enum { CMP_EQ = 0, CMP_LT = 1, CMP_LE = 2, CMP_UNORD = 3, CMP_EQ_UQ = 8 };

static bool is_double(const struct ir_insn *insn)
{
    return back__lane(insn) == 3;
}

static bool is_scalar(const struct ir_insn *insn)
{
    return insn->aux & IR_V_SCALAR;
}

/* The host's instruction, present rounding mode, and subnormals do what the guest's do. */
static bool is_plain(const struct ir_insn *insn)
{
    return !(insn->aux & (IR_V_DN | IR_V_FZ | IR_V_RM));
}

static struct operand constant_of(struct back_compiler *c, enum fixed_const k64,
                                  const struct ir_insn *insn)
{
    return back__constant(c, is_double(insn) ? k64 : k64 + 1);
}

/* V in a register where lanes that INSN does not compute raise nothing of their own: they are the
 * others once more. */
static unsigned doubled(struct back_compiler *c, const struct ir_insn *insn, uint32_t v)
{
    unsigned a = back__xmm(c, v);

    if (!(insn->aux & IR_V_HALF))
        return a;
    unsigned t = back__temp_xmm(c);
    back__v2i(c, A_PSHUFD, t, a, 0x44);
    back__unlock(c, a + XMM);
    return t;
}

/* Jumps to COLD where a lane of REG is a NaN or, with TINY, the least normal number. T: scratch. */
static void check_result(struct back_compiler *c, const struct ir_insn *insn, struct cold *cold,
                         unsigned reg, unsigned t, bool tiny)
{
    bool w = is_double(insn);

    if (tiny)
        back__fp3(c, A_ANDPS, t, reg, constant_of(c, K_ABS64, insn), true);
    if (is_scalar(insn)) {
        enum asm_op op = w ? A_UCOMISD : A_UCOMISS;
        struct operand least = constant_of(c, K_LEAST64, insn);
        if (!tiny)
            back__v2(c, op, reg, reg);
        else if (c->back->fma)
            asm_vrm(&c->a, op, false, t, 0, least.mem);
        else
            asm_rm(&c->a, op, false, t, least.mem);
        cold->from[0] = asm_jcc(&c->a, tiny ? CC_E : CC_P);
        return;
    }
    enum asm_op op = w ? A_CMPPD : A_CMPPS;
    if (tiny) {
        asm_vrmi(&c->a, op, false, t, t, constant_of(c, K_LEAST64, insn).mem, CMP_EQ_UQ);
    } else {
        back__v3i(c, op, t, reg, reg, CMP_UNORD);
    }
    back__v2(c, A_PTEST, t, t);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
}

/* The end of an operation whose result is in T: cut to its width, it goes where it is wanted. */
static void end_float(struct back_compiler *c, const struct ir_insn *insn, struct cold *cold,
                      unsigned t)
{
    back__v_finish_to(c, insn, cold->dst - XMM, t);
    cold->back = c->a.at;
    back__define(c, cold->dst);
}

/* The cold piece of an operation whose result goes where it is wanted, which may be an operand's
 * register: it is written behind the check. No register may be asked for between the two. */
static struct cold *float_cold(struct back_compiler *c, unsigned a, unsigned b, unsigned third)
{
    unsigned dst = back__dst_xmm(c, NO_VALUE, 0);

    return back__v_cold(c, dst + XMM, a, b, third);
}

void back__v_arith(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2][5] = {
        {{A_PS_ADD, A_PS_SUB, A_PS_MUL, A_PS_DIV, A_PS_SQRT},
         {A_PD_ADD, A_PD_SUB, A_PD_MUL, A_PD_DIV, A_PD_SQRT}},
        {{A_SS_ADD, A_SS_SUB, A_SS_MUL, A_SS_DIV, A_SS_SQRT},
         {A_SD_ADD, A_SD_SUB, A_SD_MUL, A_SD_DIV, A_SD_SQRT}},
    };
    bool scalar = is_scalar(insn), root = insn->op == IR_VFSQRT;
    bool tiny = insn->op == IR_VFMUL || insn->op == IR_VFDIV;
    enum asm_op op = ops[scalar][is_double(insn)][insn->op - IR_VFADD];

    if (!is_plain(insn) || (insn->aux & IR_V_ALT) || (tiny && !scalar && !c->back->fma)) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = doubled(c, insn, insn->arg[0]), b = root ? a : doubled(c, insn, insn->arg[1]);
    unsigned t = back__temp_xmm(c), u = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, b + XMM, NO_REG);
    if (root && !scalar)
        back__v2(c, op, t, a);
    else
        back__fp3(c, op, t, a, back__xreg(b), false);
    check_result(c, insn, cold, t, u, tiny);
    end_float(c, insn, cold, t);
}

void back__v_fused(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][4] = {
        {A_FMADD231P, A_FNMADD231P, A_FMSUB231P, A_FNMSUB231P},
        {A_FMADD231, A_FNMADD231, A_FMSUB231, A_FNMSUB231},
    };

    if (!is_plain(insn) || !c->back->fma) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = doubled(c, insn, insn->arg[0]), b = doubled(c, insn, insn->arg[1]);
    unsigned addend = doubled(c, insn, insn->arg[2]);
    unsigned t = back__temp_xmm(c), u = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, b + XMM, addend + XMM);
    back__movx(c, t, addend);
    asm_vrr(&c->a, ops[is_scalar(insn)][insn->imm & 3], is_double(insn), t, a, b);
    check_result(c, insn, cold, t, u, true);
    end_float(c, insn, cold, t);
}

/* Where lanes are equal but their bits are not, they are zeros. NaNs are looked for before: the
 * host's instruction takes quiet ones for invalid. */
static void minmax_lanes(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_PS_MIN, A_PD_MIN}, {A_PS_MAX, A_PD_MAX}};
    bool w = is_double(insn);

    unsigned a = doubled(c, insn, insn->arg[0]), b = doubled(c, insn, insn->arg[1]);
    unsigned t = back__temp_xmm(c), u = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, b + XMM, NO_REG);
    back__v3i(c, w ? A_CMPPD : A_CMPPS, u, a, b, CMP_EQ_UQ);
    back__fp3(c, w ? A_PCMPEQQ : A_PCMPEQD, t, a, back__xreg(b), true);
    back__fp3(c, A_PANDN, u, t, back__xreg(u), true);
    back__v3i(c, w ? A_CMPPD : A_CMPPS, t, a, b, CMP_UNORD);
    back__v_onto(c, A_POR, u, t);
    back__v2(c, A_PTEST, u, u);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
    back__fp3(c, ops[insn->op == IR_VFMAX][w], t, a, back__xreg(b), false);
    end_float(c, insn, cold, t);
}

/* Equal operands may be zeros of either sign. */
void back__v_minmax(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_SS_MIN, A_SD_MIN}, {A_SS_MAX, A_SD_MAX}};

    if (!is_plain(insn) || (!is_scalar(insn) && !c->back->fma)) {
        back__v_slow(c, insn);
        return;
    }
    if (!is_scalar(insn)) {
        minmax_lanes(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, b + XMM, NO_REG);
    back__v2(c, is_double(insn) ? A_UCOMISD : A_UCOMISS, a, b);
    cold->from[0] = asm_jcc(&c->a, CC_E); /* or a NaN */
    back__fp3(c, ops[insn->op == IR_VFMAX][is_double(insn)], t, a, back__xreg(b), false);
    end_float(c, insn, cold, t);
}

void back__v_compare(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_CMPPS, A_CMPPD}, {A_CMPSS, A_CMPSD}};
    static const uint8_t conditions[] = {[IR_VEQ] = CMP_EQ, [IR_VGE] = CMP_LE, [IR_VGT] = CMP_LT};

    if (insn->aux & IR_V_FZ) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = doubled(c, insn, insn->arg[0]), b = doubled(c, insn, insn->arg[1]);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);
    if (insn->aux & IR_V_ALT) {
        unsigned t = back__temp_xmm(c), u = back__temp_xmm(c);
        back__fp3(c, A_ANDPS, t, a, constant_of(c, K_ABS64, insn), true);
        back__fp3(c, A_ANDPS, u, b, constant_of(c, K_ABS64, insn), true);
        a = t;
        b = u;
    }
    back__v3i(c, ops[is_scalar(insn)][is_double(insn)], dst, b, a, conditions[insn->imm]);
    back__v_finish(c, insn, dst);
}

void back__v_compare_flags(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_UCOMISS, A_UCOMISD}, {A_COMISS, A_COMISD}};
    static const struct {
        enum asm_cc cc;
        int32_t nzcv;
    } others[] = {
        {CC_B, IR_NZCV_N}, {CC_E, IR_NZCV_Z | IR_NZCV_C}, {CC_P, IR_NZCV_C | IR_NZCV_V},
    };

    if (insn->aux & IR_V_FZ) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_gpr(c), dst = back__dst_gpr(c, NO_VALUE, 0);
    back__v2(c, ops[!!(insn->aux & IR_V_ALT)][is_double(insn)], a, b);
    asm_movi(&c->a, dst, IR_NZCV_C);
    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        asm_movi(&c->a, t, others[i].nzcv);
        asm_cmov(&c->a, others[i].cc, false, dst, t);
    }
    back__define(c, dst);
}

static unsigned rounding(const struct ir_insn *insn)
{
    return (insn->aux & IR_V_RM) >> IR_V_RM_SHIFT;
}

/* What ROUNDSD takes: the mode, bit 2 for the present one, bit 3 to raise no NX. */
static unsigned round_imm(unsigned rm, bool exact)
{
    static const uint8_t imm[] = {[IR_RM_DYN] = 4, [IR_RM_RNE] = 0, [IR_RM_RTZ] = 3, [IR_RM_RDN] = 1,
                                  [IR_RM_RUP] = 2};

    return imm[rm] | (exact ? 0 : 8);
}

void back__v_round_lanes(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_ROUNDPS, A_ROUNDPD}, {A_ROUNDSS, A_ROUNDSD}};

    if ((insn->aux & (IR_V_DN | IR_V_FZ)) || rounding(insn) == IR_RM_RMM) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = doubled(c, insn, insn->arg[0]), dst = back__dst_xmm(c, NO_VALUE, 0);
    unsigned imm = round_imm(rounding(insn), insn->aux & IR_V_ALT);
    if (is_scalar(insn))
        back__v3i(c, ops[1][is_double(insn)], dst, a, a, imm);
    else
        back__v2i(c, ops[0][is_double(insn)], dst, a, imm);
    back__v_finish(c, insn, dst);
}

/* Two singles to doubles, or the other way. */
static void convert_lanes(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), t = back__temp_xmm(c);

    if (is_double(insn)) {
        unsigned dst = back__dst_xmm(c, insn->arg[0], 0);
        if (insn->aux & IR_V_HIGH)
            back__v2i(c, A_PSHUFD, t, a, 0xee);
        back__v2(c, A_CVTPS2PD, dst, insn->aux & IR_V_HIGH ? t : a);
        back__define(c, dst + XMM);
        return;
    }
    unsigned u = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, NO_REG, NO_REG);
    back__v2(c, A_CVTPD2PS, t, a);
    check_result(c, insn, cold, t, u, true);
    end_float(c, insn, cold, t);
}

/* Between singles and doubles. */
void back__v_convert(struct back_compiler *c, const struct ir_insn *insn)
{
    bool widens = is_double(insn);

    if (!is_plain(insn) || back__lane(insn) < 2 || insn->imm < 2 || (insn->aux & IR_V_ALT) ||
        (!is_scalar(insn) && !widens && !c->back->fma)) {
        back__v_slow(c, insn);
        return;
    }
    if (!is_scalar(insn)) {
        convert_lanes(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), t = back__temp_xmm(c), u = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, NO_REG, NO_REG);
    back__fp3(c, widens ? A_CVTSS2SD : A_CVTSD2SS, t, a, back__xreg(a), false);
    if (!widens)
        check_result(c, insn, cold, t, u, true);
    end_float(c, insn, cold, t);
}

/* The host gives the smallest integer for all that does not fit, and for itself. */
static void to_signed(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_CVTSS2SI, A_CVTSD2SI}, {A_CVTTSS2SI, A_CVTTSD2SI}};
    unsigned rm = rounding(insn), a = back__xmm(c, insn->arg[0]), src = a;
    bool w = insn->type == IR_I64;

    if (rm != IR_RM_DYN && rm != IR_RM_RTZ) {
        src = back__temp_xmm(c);
        back__v3i(c, is_double(insn) ? A_ROUNDSD : A_ROUNDSS, src, a, a, round_imm(rm, true));
    }
    unsigned dst = back__dst_gpr(c, NO_VALUE, 0);
    struct cold *cold = back__v_cold(c, dst, a + XMM, NO_REG, NO_REG);
    if (c->back->fma)
        asm_vrr(&c->a, ops[rm != IR_RM_DYN][is_double(insn)], w, dst, 0, src);
    else
        asm_rr(&c->a, ops[rm != IR_RM_DYN][is_double(insn)], w, dst, src);
    asm_ri(&c->a, A_CMP, w, dst, 1);
    cold->from[0] = asm_jcc(&c->a, CC_O);
    cold->back = c->a.at;
    back__define(c, dst);
}

/* Towards zero: a signed 64-bit conversion does it for what is above -1 and below the end. */
static void to_unsigned(struct back_compiler *c, const struct ir_insn *insn)
{
    enum asm_op ucomi = is_double(insn) ? A_UCOMISD : A_UCOMISS;
    enum asm_op op = is_double(insn) ? A_CVTTSD2SI : A_CVTTSS2SI;
    unsigned a = back__xmm(c, insn->arg[0]), t = back__temp_xmm(c);
    unsigned dst = back__dst_gpr(c, NO_VALUE, 0);
    struct cold *cold = back__v_cold(c, dst, a + XMM, NO_REG, NO_REG);

    back__load_reg(c, t + XMM,
                   constant_of(c, insn->type == IR_I64 ? K_TWO63_64 : K_TWO32_64, insn).mem);
    back__v2(c, ucomi, t, a);
    cold->from[0] = asm_jcc(&c->a, CC_BE);
    back__load_reg(c, t + XMM, constant_of(c, K_MINUS1_64, insn).mem);
    back__v2(c, ucomi, a, t);
    cold->from[1] = asm_jcc(&c->a, CC_BE);
    if (c->back->fma)
        asm_vrr(&c->a, op, true, dst, 0, a);
    else
        asm_rr(&c->a, op, true, dst, a);
    cold->back = c->a.at;
    back__define(c, dst);
}

/* Rounding by its own instruction raises NX even where the conversion then raises NV; that cannot
 * be where all that does not fit is an integer. */
void back__v_to_register(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned rm = rounding(insn);
    bool by_round = insn->type == IR_I64 || !is_double(insn);

    if ((insn->aux & IR_V_FZ) || insn->imm || rm == IR_RM_RMM)
        back__v_slow(c, insn);
    else if (insn->aux & IR_V_UNSIGNED && rm == IR_RM_RTZ)
        to_unsigned(c, insn);
    else if (!(insn->aux & IR_V_UNSIGNED) && (rm == IR_RM_DYN || rm == IR_RM_RTZ || by_round))
        to_signed(c, insn);
    else
        back__v_slow(c, insn);
}

void back__v_from_register(struct back_compiler *c, const struct ir_insn *insn)
{
    enum asm_op op = is_double(insn) ? A_CVTSI2SD : A_CVTSI2SS;
    bool w = insn->from == IR_I64;

    if (insn->imm || rounding(insn) != IR_RM_DYN) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__gpr(c, insn->arg[0]), src = a, dst = back__dst_xmm(c, NO_VALUE, 0);
    struct cold *cold = NULL;
    if ((insn->aux & IR_V_UNSIGNED) && !w) { /* as 64 bits it is not negative */
        src = back__temp_gpr(c);
        asm_rr(&c->a, A_MOV, false, src, a);
        w = true;
    } else if (insn->aux & IR_V_UNSIGNED) {
        cold = back__v_cold(c, dst + XMM, a, NO_REG, NO_REG);
        asm_rr(&c->a, A_TEST, true, a, a);
        cold->from[0] = asm_jcc(&c->a, CC_S);
    }
    back__v_zero(c, dst);
    if (c->back->fma)
        asm_vrr(&c->a, op, w, dst, dst, src);
    else
        asm_rr(&c->a, op, w, dst, src);
    if (cold)
        cold->back = c->a.at;
    back__define(c, dst + XMM);
}

/* The two doublewords of A into T and U. */
static void split_quads(struct back_compiler *c, unsigned t, unsigned u, unsigned a)
{
    if (c->back->fma) {
        asm_vrr(&c->a, A_MOVQ_XG, true, a, 0, t);
        asm_vrri(&c->a, A_PEXTRD, true, a, u, 1);
    } else {
        asm_rr(&c->a, A_MOVQ_XG, true, a, t);
        asm_rri(&c->a, A_PEXTRD, true, a, u, 1);
    }
}

static void scalar_from(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned gpr)
{
    back__v_zero(c, dst); /* the upper part is an input */
    if (c->back->fma)
        asm_vrr(&c->a, op, true, dst, dst, gpr);
    else
        asm_rr(&c->a, op, true, dst, gpr);
}

static void quads_to_float(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), x = back__temp_gpr(c), y = back__temp_gpr(c);
    unsigned t = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a);

    split_quads(c, x, y, a);
    scalar_from(c, A_CVTSI2SD, dst, x);
    scalar_from(c, A_CVTSI2SD, t, y);
    back__v_onto(c, A_PUNPCKLQDQ, dst, t);
    back__define(c, dst + XMM);
}

/* Signed ones; the rest is C's. */
void back__v_lanes_to_float(struct back_compiler *c, const struct ir_insn *insn)
{
    if (insn->imm || (insn->aux & IR_V_UNSIGNED) || is_scalar(insn) || rounding(insn) != IR_RM_DYN) {
        back__v_slow(c, insn);
        return;
    }
    if (is_double(insn)) {
        quads_to_float(c, insn);
        return;
    }
    unsigned a = doubled(c, insn, insn->arg[0]), dst = back__dst_xmm(c, NO_VALUE, 0);
    back__v2(c, A_CVTDQ2PS, dst, a);
    back__v_finish(c, insn, dst);
}

/* Two doubles, one after the other: the host gives the smallest integer for what does not fit. */
static void doubles_to_int(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), t = back__temp_xmm(c);
    unsigned x = back__temp_gpr(c), y = back__temp_gpr(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a);
    struct cold *cold = back__v_cold(c, dst + XMM, a + XMM, NO_REG, NO_REG);
    const unsigned regs[] = {x, y};

    back__v2i(c, A_PSHUFD, t, a, 0xee);
    for (unsigned i = 0; i < 2; i++) {
        if (c->back->fma)
            asm_vrr(&c->a, A_CVTTSD2SI, true, regs[i], 0, i ? t : a);
        else
            asm_rr(&c->a, A_CVTTSD2SI, true, regs[i], i ? t : a);
        asm_ri(&c->a, A_CMP, true, regs[i], 1);
        cold->from[i] = asm_jcc(&c->a, CC_O);
    }
    if (c->back->fma) {
        asm_vrr(&c->a, A_MOVQ_GX, true, dst, 0, x);
        asm_vrrri(&c->a, A_PINSRD, true, dst, dst, y, 1);
    } else {
        asm_rr(&c->a, A_MOVQ_GX, true, dst, x);
        asm_rri(&c->a, A_PINSRD, true, dst, y, 1);
    }
    cold->back = c->a.at;
    back__define(c, dst + XMM);
}

/* Signed, towards zero. */
void back__v_lanes_to_int(struct back_compiler *c, const struct ir_insn *insn)
{
    if (insn->imm || (insn->aux & (IR_V_UNSIGNED | IR_V_FZ)) || is_scalar(insn) ||
        rounding(insn) != IR_RM_RTZ) {
        back__v_slow(c, insn);
        return;
    }
    if (is_double(insn)) {
        doubles_to_int(c, insn);
        return;
    }
    unsigned a = doubled(c, insn, insn->arg[0]), t = back__temp_xmm(c), u = back__temp_xmm(c);
    struct cold *cold = float_cold(c, a + XMM, NO_REG, NO_REG);
    back__v2(c, A_CVTTPS2DQ, t, a);
    back__fp3(c, A_PCMPEQD, u, u, back__xreg(u), true);
    back__v_shift(c, VSH_PSLLD, u, u, 31); /* the smallest integer */
    back__v_onto(c, A_PCMPEQD, u, t);
    back__v2(c, A_PTEST, u, u);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
    end_float(c, insn, cold, t);
}
