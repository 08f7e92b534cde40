/*
 * Operations that move lanes or change their width.
 */
#include "xlate/back/x86_64/vec_priv.h"

/* --- moving lanes ----------------------------------------------------------------------------- */

void back__v_move(struct back_compiler *c, const struct ir_insn *insn)
{
    if ((insn->aux & IR_V_SCALAR) && back__lane(insn) < 2) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
    back__v_finish_to(c, insn, dst, a);
    back__define(c, dst + XMM);
}

/* A float's register is clean above it where it was loaded. */
static void extend_float(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
    bool is_double = ir_result_type(back__insn(c, insn->arg[0])) == IR_F64;

    if (back__insn(c, insn->arg[0])->op == IR_LOAD)
        back__movx(c, dst, a);
    else if (is_double)
        back__v2(c, A_MOVQ_XX, dst, a);
    else
        back__v3i(c, A_INSERTPS, dst, a, a, 0x0e);
    back__define(c, dst + XMM);
}

void back__v_extend(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned lane = back__lane(insn);

    if (is_float(ir_result_type(back__insn(c, insn->arg[0])))) {
        extend_float(c, insn);
        return;
    }
    unsigned a = back__gpr(c, insn->arg[0]), t = a;
    if (lane < 2) {
        t = back__temp_gpr(c);
        asm_rr(&c->a, lane ? A_MOVZX16 : A_MOVZX8, false, t, a);
    }
    unsigned dst = back__dst_xmm(c, NO_VALUE, 0);
    if (c->back->fma)
        asm_vrr(&c->a, A_MOVQ_GX, lane == 3, dst, 0, t);
    else
        asm_rr(&c->a, A_MOVQ_GX, lane == 3, dst, t);
    back__define(c, dst + XMM);
}

/* GPR = lane IMM of xmm A, zero-extended. */
static void extract(struct back_compiler *c, unsigned lane, unsigned gpr, unsigned a, unsigned imm)
{
    static const enum asm_op ops[] = {A_PEXTRB, A_PEXTRW, A_PEXTRD, A_PEXTRD};

    if (lane >= 2 && imm == 0) {
        if (c->back->fma)
            asm_vrr(&c->a, A_MOVQ_XG, lane == 3, a, 0, gpr);
        else
            asm_rr(&c->a, A_MOVQ_XG, lane == 3, a, gpr);
        return;
    }
    if (c->back->fma)
        asm_vrr(&c->a, ops[lane], lane == 3, a, 0, gpr);
    else
        asm_rr(&c->a, ops[lane], lane == 3, a, gpr);
    asm_8(&c->a, imm);
}

void back__v_get_lane(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op extend_ops[] = {A_MOVSX8, A_MOVSX16, A_MOVSXD};
    unsigned lane = back__lane(insn), a = back__xmm(c, insn->arg[0]);
    unsigned dst = back__dst_gpr(c, NO_VALUE, 0);

    extract(c, lane, dst, a, (unsigned)insn->imm);
    if (lane < 3 && !(insn->aux & IR_V_UNSIGNED))
        asm_rr(&c->a, extend_ops[lane], true, dst, dst);
    back__define(c, dst);
}

void back__v_put_lane(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[] = {A_PINSRB, A_PINSRW, A_PINSRD, A_PINSRD};
    unsigned lane = back__lane(insn), a = back__xmm(c, insn->arg[0]), b = back__gpr(c, insn->arg[1]);
    unsigned dst = back__dst_xmm(c, insn->arg[0], 0);

    if (c->back->fma) {
        asm_vrrri(&c->a, ops[lane], lane == 3, dst, a, b, (unsigned)insn->imm);
    } else {
        back__movx(c, dst, a);
        asm_rri(&c->a, ops[lane], lane == 3, dst, b, (unsigned)insn->imm);
    }
    back__define(c, dst + XMM);
}

/* DST = lane IMM of A in all lanes. */
static void spread(struct back_compiler *c, unsigned lane, unsigned dst, unsigned a, unsigned imm)
{
    switch (lane) {
    case 0: {
        unsigned zero = back__temp_xmm(c);
        back__v_zero(c, zero);
        if (imm)
            back__v_shift(c, VSH_PSRLDQ, dst, a, imm);
        else
            back__movx(c, dst, a);
        back__v_onto(c, A_PSHUFB, dst, zero);
        back__unlock(c, zero + XMM);
        break;
    }
    case 1:
        back__v2i(c, imm < 4 ? A_PSHUFLW : A_PSHUFHW, dst, a, imm % 4 * 0x55);
        back__v2i(c, A_PSHUFD, dst, dst, imm < 4 ? 0 : 0xaa);
        break;
    case 2:
        back__v2i(c, A_PSHUFD, dst, a, imm * 0x55);
        break;
    default:
        back__v2i(c, A_PSHUFD, dst, a, imm ? 0xee : 0x44);
    }
}

void back__v_duplicate(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[0]), dst = back__dst_xmm(c, NO_VALUE, 0);

    if (c->back->fma)
        asm_vrr(&c->a, A_MOVQ_GX, true, dst, 0, a);
    else
        asm_rr(&c->a, A_MOVQ_GX, true, dst, a);
    spread(c, back__lane(insn), dst, dst, 0);
    back__v_finish(c, insn, dst);
}

void back__v_spread_lane(struct back_compiler *c, const struct ir_insn *insn)
{
    if ((insn->aux & IR_V_SCALAR) && back__lane(insn) < 2) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
    spread(c, back__lane(insn), dst, a, (unsigned)insn->imm);
    back__v_finish(c, insn, dst);
}

/* By a table of places. */
static void shuffle(struct back_compiler *c, const struct ir_insn *insn, enum fixed_const k)
{
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);

    back__fp3(c, A_PSHUFB, dst, a, back__constant(c, k), false);
    back__v_finish(c, insn, dst);
}

void back__v_reverse(struct back_compiler *c, const struct ir_insn *insn)
{
    static const uint8_t tables[4][3] = {
        [1] = {K_REV16_8}, [2] = {K_REV32_8, K_REV32_16}, [3] = {K_REV64_8, K_REV64_16, K_REV64_32},
    };

    shuffle(c, insn, tables[insn->imm][back__lane(insn)]);
}

void back__v_interleave(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][4] = {
        {A_PUNPCKLBW, A_PUNPCKLWD, A_PUNPCKLDQ, A_PUNPCKLQDQ},
        {A_PUNPCKHBW, A_PUNPCKHWD, A_PUNPCKHDQ, A_PUNPCKHQDQ},
    };
    bool half = insn->aux & IR_V_HALF, high = insn->aux & IR_V_HIGH;
    unsigned dst = back__v_pair(c, ops[high && !half][back__lane(insn)], insn->arg[0], insn->arg[1], false);

    if (half && high)
        back__v_shift(c, VSH_PSRLDQ, dst, dst, 8);
    back__v_finish(c, insn, dst);
}

/* The even or odd lanes of words or bytes, sign-extended, are packed again. */
static void pack_lanes(struct back_compiler *c, const struct ir_insn *insn)
{
    bool bytes = back__lane(insn) == 0, high = insn->aux & IR_V_HIGH;
    enum asm_vshift left = bytes ? VSH_PSLLW : VSH_PSLLD, right = bytes ? VSH_PSRAW : VSH_PSRAD;
    unsigned bits = bytes ? 8 : 16;
    unsigned t = back__temp_xmm(c), a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);
    bool half = insn->aux & IR_V_HALF;

    if (half) { /* both halves in one register */
        back__fp3(c, A_PUNPCKLQDQ, t, a, back__xreg(b), false);
        a = b = t;
    }
    back__v_shift(c, high ? right : left, dst, a, bits);
    back__v_shift(c, high ? right : left, t, b, bits);
    if (!high) {
        back__v_shift(c, right, dst, dst, bits);
        back__v_shift(c, right, t, t, bits);
    }
    back__v_onto(c, bytes ? A_PACKSSWB : A_PACKSSDW, dst, t);
    back__v_finish(c, insn, dst);
}

void back__v_unzip(struct back_compiler *c, const struct ir_insn *insn)
{
    bool half = insn->aux & IR_V_HALF, high = insn->aux & IR_V_HIGH;

    if (back__lane(insn) == 3 || (half && back__lane(insn) == 2)) {
        back__v_interleave(c, insn); /* of two lanes it is the same */
    } else if (back__lane(insn) == 2) {
        unsigned dst = back__v_pair(c, A_SHUFPS, insn->arg[0], insn->arg[1], false);
        asm_8(&c->a, high ? 0xdd : 0x88);
        back__define(c, dst + XMM);
    } else {
        pack_lanes(c, insn);
    }
}

/* Words and bytes: one operand's lanes are shifted under the other's. */
static void transpose_small(struct back_compiler *c, const struct ir_insn *insn)
{
    bool bytes = back__lane(insn) == 0, high = insn->aux & IR_V_HIGH;
    unsigned bits = bytes ? 8 : 16;
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);

    if (high) { /* a's upper lanes down, b's upper lanes alone */
        back__v_shift(c, bytes ? VSH_PSRLW : VSH_PSRLD, dst, a, bits);
        back__v_shift(c, bytes ? VSH_PSRLW : VSH_PSRLD, t, b, bits);
        back__v_shift(c, bytes ? VSH_PSLLW : VSH_PSLLD, t, t, bits);
    } else {
        back__v_shift(c, bytes ? VSH_PSLLW : VSH_PSLLD, dst, a, bits);
        back__v_shift(c, bytes ? VSH_PSRLW : VSH_PSRLD, dst, dst, bits);
        back__v_shift(c, bytes ? VSH_PSLLW : VSH_PSLLD, t, b, bits);
    }
    back__v_onto(c, A_POR, dst, t);
    back__v_finish(c, insn, dst);
}

void back__v_transpose(struct back_compiler *c, const struct ir_insn *insn)
{
    if (back__lane(insn) == 3 || (back__lane(insn) == 2 && (insn->aux & IR_V_HALF))) {
        back__v_interleave(c, insn);
    } else if (back__lane(insn) == 2) {
        unsigned dst = back__v_pair(c, A_SHUFPS, insn->arg[0], insn->arg[1], false);
        asm_8(&c->a, insn->aux & IR_V_HIGH ? 0xdd : 0x88);
        back__v2i(c, A_PSHUFD, dst, dst, 0xd8);
        back__define(c, dst + XMM);
    } else {
        transpose_small(c, insn);
    }
}

void back__v_extract_bytes(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);

    if (insn->aux & IR_V_HALF) {
        back__fp3(c, A_PUNPCKLQDQ, dst, a, back__xreg(b), false);
        back__v_shift(c, VSH_PSRLDQ, dst, dst, (unsigned)insn->imm);
    } else {
        back__v3i(c, A_PALIGNR, dst, b, a, (unsigned)insn->imm);
    }
    back__v_finish(c, insn, dst);
}

/* Places from 16 on become such as make 0. */
void back__v_look_up(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);

    back__v_const(c, t, back__bytes_of(0x70));
    back__v_onto(c, A_PADDUSB, t, b);
    back__fp3(c, A_PSHUFB, dst, a, back__xreg(t), false);
    back__v_finish(c, insn, dst);
}

/* --- widths ----------------------------------------------------------------------------------- */

static enum asm_op widening(const struct ir_insn *insn)
{
    static const enum asm_op ops[2][3] = {{A_PMOVSXBW, A_PMOVSXWD, A_PMOVSXDQ},
                                          {A_PMOVZXBW, A_PMOVZXWD, A_PMOVZXDQ}};

    return ops[!!(insn->aux & IR_V_UNSIGNED)][back__lane(insn)];
}

/* DST = the half of SRC that INSN takes, widened. */
static void widen_to(struct back_compiler *c, const struct ir_insn *insn, unsigned dst, unsigned src)
{
    if (insn->aux & IR_V_HIGH) {
        back__v2i(c, A_PSHUFD, dst, src, 0xee);
        src = dst;
    }
    back__v2(c, widening(insn), dst, src);
}

void back__v_widen(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);

    widen_to(c, insn, dst, a);
    back__define(c, dst + XMM);
}

void back__v_long_product(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[] = {A_PMULLW, A_PMULLD};
    bool polynomial = insn->aux & IR_V_ALT;

    if (polynomial && back__lane(insn) == 3 && c->back->crypto) {
        unsigned dst = back__v_pair(c, A_PCLMULQDQ, insn->arg[0], insn->arg[1], false);
        asm_8(&c->a, insn->aux & IR_V_HIGH ? 0x11 : 0x00);
        back__define(c, dst + XMM);
        return;
    }
    if (polynomial || (insn->aux & IR_V_SCALAR)) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);
    widen_to(c, insn, dst, a);
    widen_to(c, insn, t, b);
    if (back__lane(insn) == 2)
        back__v_onto(c, insn->aux & IR_V_UNSIGNED ? A_PMULUDQ : A_PMULDQ, dst, t);
    else
        back__v_onto(c, ops[back__lane(insn)], dst, t);
    back__define(c, dst + XMM);
}

/* The host packs signed lanes; where the result is not what it was, something saturated. */
static void narrow_saturating(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][2] = {{A_PACKSSWB, A_PACKSSDW}, {A_PACKUSWB, A_PACKUSDW}};
    bool is_unsigned = insn->aux & IR_V_UNSIGNED;

    if (back__lane(insn) > 1 || (insn->aux & IR_V_SCALAR) || (is_unsigned && !(insn->aux & IR_V_ALT))) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), t = back__temp_xmm(c), u = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 0);
    struct cold *cold = back__v_cold(c, dst + XMM, a + XMM, NO_REG, NO_REG);
    back__fp3(c, ops[is_unsigned][back__lane(insn)], t, a, back__xreg(a), false);
    back__v2(c, widening(insn), u, t);
    back__v_onto(c, A_PXOR, u, a);
    back__v2(c, A_PTEST, u, u);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
    back__v2(c, A_MOVQ_XX, dst, t);
    cold->back = c->a.at;
    back__define(c, dst + XMM);
}

void back__v_narrow(struct back_compiler *c, const struct ir_insn *insn)
{
    static const uint8_t tables[] = {K_NARROW8, K_NARROW16, K_NARROW32};

    if (insn->aux & IR_V_SAT)
        narrow_saturating(c, insn);
    else if (insn->aux & IR_V_SCALAR)
        back__v_slow(c, insn);
    else
        shuffle(c, insn, tables[back__lane(insn)]);
}
