/*
 * Integer lanes: arithmetic, shifts, saturation.
 */
#include "xlate/back/x86_64/vec_priv.h"

/* One instruction of two operands, by lane width; 0: there is none. UNSIGNED ones are a row of their
 * own. */
struct pairs {
    uint32_t op[4];
    bool commutes;
};

#define ALL(op, commutes) {{op, op, op, op}, commutes}
static const struct pairs signed_ops[IR_OP_COUNT] = {
    [IR_VAND] = ALL(A_PAND, true),
    [IR_VOR] = ALL(A_POR, true),
    [IR_VXOR] = ALL(A_PXOR, true),
    [IR_VADD] = {{A_PADDB, A_PADDW, A_PADDD, A_PADDQ}, true},
    [IR_VSUB] = {{A_PSUBB, A_PSUBW, A_PSUBD, A_PSUBQ}, false},
    [IR_VMUL] = {{0, A_PMULLW, A_PMULLD, 0}, true},
    [IR_VMIN] = {{A_PMINSB, A_PMINSW, A_PMINSD, 0}, true},
    [IR_VMAX] = {{A_PMAXSB, A_PMAXSW, A_PMAXSD, 0}, true},
    [IR_VCMPEQ] = {{A_PCMPEQB, A_PCMPEQW, A_PCMPEQD, A_PCMPEQQ}, true},
    [IR_VCMPGT] = {{A_PCMPGTB, A_PCMPGTW, A_PCMPGTD, A_PCMPGTQ}, false},
    [IR_VQADD] = {{A_PADDSB, A_PADDSW, 0, 0}, true},
    [IR_VQSUB] = {{A_PSUBSB, A_PSUBSW, 0, 0}, false},
};
static const struct pairs unsigned_ops[IR_OP_COUNT] = {
    [IR_VMIN] = {{A_PMINUB, A_PMINUW, A_PMINUD, 0}, true},
    [IR_VMAX] = {{A_PMAXUB, A_PMAXUW, A_PMAXUD, 0}, true},
    [IR_VQADD] = {{A_PADDUSB, A_PADDUSW, 0, 0}, true},
    [IR_VQSUB] = {{A_PSUBUSB, A_PSUBUSW, 0, 0}, false},
};

static const struct pairs *pairs_of(const struct ir_insn *insn)
{
    return &(insn->aux & IR_V_UNSIGNED ? unsigned_ops : signed_ops)[insn->op];
}

void back__v_binary(struct back_compiler *c, const struct ir_insn *insn)
{
    const struct pairs *p = pairs_of(insn);
    enum asm_op op = p->op[back__lane(insn)];

    if (!op || (insn->aux & IR_V_ALT)) {
        back__v_slow(c, insn);
        return;
    }
    back__v_finish(c, insn, back__v_pair(c, op, insn->arg[0], insn->arg[1], p->commutes));
}

void back__v_and_not(struct back_compiler *c, const struct ir_insn *insn)
{
    back__v_finish(c, insn, back__v_pair(c, A_PANDN, insn->arg[1], insn->arg[0], false));
}

/* Unsigned ones are signed ones half the range away. */
static void greater_quads(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);

    back__v_const(c, dst, UINT64_C(1) << 63);
    back__fp3(c, A_PXOR, t, dst, back__xreg(b), true);
    back__v_onto(c, A_PXOR, dst, a);
    back__v_onto(c, A_PCMPGTQ, dst, t);
    back__v_finish(c, insn, dst);
}

/* Averages are one instruction where they are rounded and have no signs. */
void back__v_halve(struct back_compiler *c, const struct ir_insn *insn)
{
    const unsigned flags = IR_V_UNSIGNED | IR_V_ROUND | IR_V_ALT;

    if ((insn->aux & flags) != (IR_V_UNSIGNED | IR_V_ROUND) || back__lane(insn) > 1)
        back__v_slow(c, insn);
    else
        back__v_finish(c, insn, back__v_pair(c, back__lane(insn) ? A_PAVGW : A_PAVGB, insn->arg[0],
                                             insn->arg[1], true));
}

/* Bytes: the even and the odd ones as words. */
static void multiply_bytes(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c), u = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);

    back__v_shift(c, VSH_PSRLW, t, a, 8);
    back__v_shift(c, VSH_PSRLW, u, b, 8);
    back__v_onto(c, A_PMULLW, t, u);
    back__v_shift(c, VSH_PSLLW, t, t, 8);
    back__fp3(c, A_PMULLW, dst, a, back__xreg(b), true);
    back__v_shift(c, VSH_PSLLW, dst, dst, 8);
    back__v_shift(c, VSH_PSRLW, dst, dst, 8);
    back__v_onto(c, A_POR, dst, t);
    back__v_finish(c, insn, dst);
}

void back__v_multiply(struct back_compiler *c, const struct ir_insn *insn)
{
    if (back__lane(insn) == 0 && !(insn->aux & IR_V_ALT))
        multiply_bytes(c, insn);
    else
        back__v_binary(c, insn);
}

/* a > b without signs: not (min(a, b) = a). */
void back__v_greater(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned lane = back__lane(insn);

    if (!(insn->aux & IR_V_UNSIGNED)) {
        back__v_binary(c, insn);
        return;
    }
    if (lane == 3) {
        greater_quads(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned ones = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);
    back__fp3(c, A_PCMPEQD, ones, ones, back__xreg(ones), true);
    back__fp3(c, (enum asm_op)unsigned_ops[IR_VMIN].op[lane], dst, a, back__xreg(b), true);
    back__v_onto(c, (enum asm_op)signed_ops[IR_VCMPEQ].op[lane], dst, a);
    back__v_onto(c, A_PXOR, dst, ones);
    back__v_finish(c, insn, dst);
}

/* Saturation shows where the plain result is another. */
void back__v_saturating(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned lane = back__lane(insn);
    enum ir_op plain = insn->op == IR_VQADD ? IR_VADD : IR_VSUB;

    if (lane > 1 || (insn->aux & (IR_V_ALT | IR_V_SCALAR))) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned t = back__temp_xmm(c), u = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 0);
    struct cold *cold = back__v_cold(c, dst + XMM, a + XMM, b + XMM, NO_REG);
    back__fp3(c, (enum asm_op)pairs_of(insn)->op[lane], t, a, back__xreg(b), false);
    back__fp3(c, (enum asm_op)signed_ops[plain].op[lane], u, a, back__xreg(b), false);
    back__v_onto(c, A_PXOR, u, t);
    if (insn->aux & IR_V_HALF)
        back__v2(c, A_MOVQ_XX, u, u);
    back__v2(c, A_PTEST, u, u);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
    back__v_finish_to(c, insn, dst, t);
    cold->back = c->a.at;
    back__define(c, dst + XMM);
}

/* Bytes are shifted as words, and what came from their neighbours is cut off. */
static void shift_bytes(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned n = (unsigned)insn->imm, a = back__xmm(c, insn->arg[0]);
    unsigned mask = back__temp_xmm(c), dst = back__dst_xmm(c, insn->arg[0], 0);
    bool left = insn->op == IR_VSHL;

    back__v_shift(c, left ? VSH_PSLLW : VSH_PSRLW, dst, a, MIN(n, 8 - (insn->op == IR_VSAR)));
    back__v_const(c, mask, back__bytes_of(left ? 0xffu << n : 0xffu >> MIN(n, 8 - (insn->op == IR_VSAR))));
    back__v_onto(c, A_PAND, dst, mask);
    if (insn->op == IR_VSAR) { /* (x ^ sign) - sign */
        back__v_const(c, mask, back__bytes_of(0x80u >> MIN(n, 7)));
        back__v_onto(c, A_PXOR, dst, mask);
        back__v_onto(c, A_PSUBB, dst, mask);
    }
    back__v_finish(c, insn, dst);
}

/* Arithmetic of 64 bits: the bits from above are those of the sign. */
static void shift_quads(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned n = MIN((unsigned)insn->imm, 63), a = back__xmm(c, insn->arg[0]);
    unsigned sign = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a);

    back__v_zero(c, sign);
    back__v_onto(c, A_PCMPGTQ, sign, a);
    back__v_shift(c, VSH_PSLLQ, sign, sign, 64 - n);
    back__v_shift(c, VSH_PSRLQ, dst, a, n);
    back__v_onto(c, A_POR, dst, sign);
    back__v_finish(c, insn, dst);
}

void back__v_shift_lanes(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_vshift ops[3][4] = {
        {0, VSH_PSLLW, VSH_PSLLD, VSH_PSLLQ},
        {0, VSH_PSRLW, VSH_PSRLD, VSH_PSRLQ},
        {0, VSH_PSRAW, VSH_PSRAD, 0},
    };
    unsigned lane = back__lane(insn);

    if (lane == 0) {
        shift_bytes(c, insn);
    } else if (insn->op == IR_VSAR && lane == 3) {
        shift_quads(c, insn);
    } else {
        unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
        back__v_shift(c, ops[insn->op - IR_VSHL][lane], dst, a, (unsigned)insn->imm);
        back__v_finish(c, insn, dst);
    }
}

void back__v_absolute(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[] = {A_PABSB, A_PABSW, A_PABSD};

    if (back__lane(insn) == 3) {
        back__v_slow(c, insn);
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), dst = back__dst_xmm(c, insn->arg[0], 0);
    back__v2(c, ops[back__lane(insn)], dst, a);
    back__v_finish(c, insn, dst);
}

/* By a table of the ones of four bits. */
void back__v_count_ones(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]);
    unsigned low = back__temp_xmm(c), t = back__temp_xmm(c), u = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a);

    back__v_const(c, low, back__bytes_of(15));
    back__v_shift(c, VSH_PSRLW, u, a, 4);
    back__v_onto(c, A_PAND, u, low);
    back__v_onto(c, A_PAND, low, a);
    back__load_wide(c, dst + XMM, back__const(c, K_ONES_OF_4));
    back__movx(c, t, dst);
    back__v_onto(c, A_PSHUFB, dst, low);
    back__v_onto(c, A_PSHUFB, t, u);
    back__v_onto(c, A_PADDB, dst, t);
    back__v_finish(c, insn, dst);
}
