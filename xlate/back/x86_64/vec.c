/*
 * Vectors. Common operations are inline; all others are computed by C in place. Floating point
 * is the host's instruction where its result is no NaN and, of operations that can underflow, not
 * the least normal number: Arm's NaNs and its tininess are C's, in a cold piece.
 *
 * SCALAR and HALF results are cut to their width behind the instruction (back__v_finish()).
 */
#include "xlate/back/x86_64/vec_priv.h"
#include "xlate/vec/vec.h"

/* op dst, src of two operands. */
void back__v2(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned src)
{
    if (c->back->fma)
        asm_vrr(&c->a, op, false, dst, 0, src);
    else
        asm_rr(&c->a, op, false, dst, src);
}

void back__v2i(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned src,
               unsigned imm)
{
    back__v2(c, op, dst, src);
    asm_8(&c->a, imm);
}

/* op dst, dst, src. */
void back__v_onto(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned src)
{
    back__fp3(c, op, dst, dst, back__xreg(src), true);
}

/* dst = a op b, imm; DST is neither, or it is A. */
void back__v3i(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned a, unsigned b,
               unsigned imm)
{
    back__fp3(c, op, dst, a, back__xreg(b), false);
    asm_8(&c->a, imm);
}

void back__v_zero(struct back_compiler *c, unsigned reg)
{
    back__fp3(c, A_PXOR, reg, reg, back__xreg(reg), true);
}

/* DST = SRC cut to the width of INSN's result. */
void back__v_finish_to(struct back_compiler *c, const struct ir_insn *insn, unsigned dst,
                       unsigned src)
{
    if ((insn->aux & IR_V_SCALAR) && back__lane(insn) == 2)
        back__v3i(c, A_INSERTPS, dst, src, src, 0x0e);
    else if (insn->aux & (IR_V_HALF | IR_V_SCALAR))
        back__v2(c, A_MOVQ_XX, dst, src);
    else
        back__movx(c, dst, src);
}

void back__v_finish(struct back_compiler *c, const struct ir_insn *insn, unsigned dst)
{
    if (insn->aux & (IR_V_HALF | IR_V_SCALAR))
        back__v_finish_to(c, insn, dst, dst);
    back__define(c, dst + XMM);
}

/* Is all of V above what INSN computes 0 already? */
bool back__v_is_clean(const struct back_compiler *c, uint32_t v, const struct ir_insn *insn)
{
    const struct ir_insn *from = back__insn(c, v);
    unsigned width = insn->aux & IR_V_SCALAR ? 1u << back__lane(insn) : 8;

    if (!ir_is_vec(from->op))
        return false;
    if (from->op == IR_VZEXT || from->op == IR_VXTOF || (from->aux & IR_V_SCALAR))
        return 1u << back__lane(from) <= width;
    return (from->aux & IR_V_HALF) && width == 8;
}

/* dst = src shifted. */
void back__v_shift(struct back_compiler *c, enum asm_vshift op, unsigned dst, unsigned src,
                   unsigned count)
{
    if (!c->back->fma)
        back__movx(c, dst, src);
    asm_vshift(&c->a, op, c->back->fma, dst, src, count);
}

/* dst = a op b; where only SSE is there, what does not commute spares B's register. */
unsigned back__v_pair(struct back_compiler *c, enum asm_op op, uint32_t va, uint32_t vb,
                      bool commutes)
{
    unsigned a = back__xmm(c, va);
    struct operand b = back__foperand(c, vb);
    bool clash = !c->back->fma && !commutes && b.kind == OPERAND_REG && b.reg != a;
    unsigned dst = back__dst_xmm(c, va, clash ? 1u << b.reg : 0);

    back__fp3(c, op, dst, a, b, commutes);
    return dst;
}

/* REG = the 64 bits of BITS, twice. */
void back__v_const(struct back_compiler *c, unsigned reg, uint64_t bits)
{
    unsigned t = back__temp_gpr(c);

    asm_movi(&c->a, t, (int64_t)bits);
    if (c->back->fma)
        asm_vrr(&c->a, A_MOVQ_GX, true, reg, 0, t);
    else
        asm_rr(&c->a, A_MOVQ_GX, true, reg, t);
    back__v_onto(c, A_PUNPCKLQDQ, reg, reg);
    back__unlock(c, t);
}

/* --- by C ------------------------------------------------------------------------------------- */

static void store_how(struct back_compiler *c, const struct ir_insn *insn)
{
    uint64_t how = vec_how(insn);

    asm_mem_movi(&c->a, false, FRAME_MEM(FRAME_HOW), (int32_t)how);
    asm_mem_movi(&c->a, false, FRAME_MEM(FRAME_HOW + 4), (int32_t)(how >> 32));
}

void back__v_slow(struct back_compiler *c, const struct ir_insn *insn)
{
    bool vector = insn->type == IR_V128;

    for (unsigned i = 0; i < ir_n_args(insn); i++)
        back__store_value(c, insn->arg[i], FRAME_MEM(FRAME_VEC + 16 * (int32_t)i));
    store_how(c, insn);
    back__call_stub(c, STUB_VEC, 0, 0);
    unsigned dst = vector ? XMM + back__dst_xmm(c, NO_VALUE, 0) : back__dst_gpr(c, NO_VALUE, 0);
    if (vector)
        back__load_wide(c, dst, FRAME_MEM(FRAME_VEC + 48));
    else
        back__load_reg(c, dst, FRAME_MEM(FRAME_VEC + 48));
    back__define(c, dst);
}

/* The present operation by C in a cold piece: operands A, B and C are in registers of either kind. */
struct cold *back__v_cold(struct back_compiler *c, unsigned dst, unsigned a, unsigned b,
                          unsigned third)
{
    struct cold *cold = back__cold(c, COLD_VEC);

    cold->insn = c->idx;
    cold->dst = (uint8_t)dst;
    cold->a = (uint8_t)a;
    cold->b = (uint8_t)b;
    cold->c = (uint8_t)third;
    return cold;
}

void back__cold_vec(struct back_compiler *c, struct cold *cold)
{
    const uint8_t regs[] = {cold->a, cold->b, cold->c};

    for (int32_t i = 0; i < 3; i++) {
        if (regs[i] == NO_REG)
            continue;
        if (regs[i] >= XMM)
            back__store_wide(c, regs[i], FRAME_MEM(FRAME_VEC + 16 * i));
        else
            back__store_reg(c, regs[i], FRAME_MEM(FRAME_VEC + 16 * i));
    }
    store_how(c, back__insn(c, cold->insn));
    back__call_stub(c, STUB_VEC, 0, 0);
    if (cold->dst >= XMM)
        back__load_wide(c, cold->dst, FRAME_MEM(FRAME_VEC + 48));
    else
        back__load_reg(c, cold->dst, FRAME_MEM(FRAME_VEC + 48));
    asm_jmp_to(&c->a, cold->back);
}

/* --- all of them ------------------------------------------------------------------------------ */

void back__vec_op(struct back_compiler *c, const struct ir_insn *insn)
{
    static void (*const ops[IR_OP_COUNT])(struct back_compiler *, const struct ir_insn *) = {
        [IR_VMOV] = back__v_move, [IR_VZEXT] = back__v_extend, [IR_VGET] = back__v_get_lane,
        [IR_VPUT] = back__v_put_lane, [IR_VDUP] = back__v_duplicate,
        [IR_VLANE] = back__v_spread_lane, [IR_VAND] = back__v_binary, [IR_VOR] = back__v_binary,
        [IR_VXOR] = back__v_binary, [IR_VANDN] = back__v_and_not, [IR_VADD] = back__v_binary,
        [IR_VSUB] = back__v_binary, [IR_VMUL] = back__v_multiply, [IR_VMIN] = back__v_binary,
        [IR_VMAX] = back__v_binary, [IR_VCMPEQ] = back__v_binary, [IR_VCMPGT] = back__v_greater,
        [IR_VSHL] = back__v_shift_lanes, [IR_VSHR] = back__v_shift_lanes,
        [IR_VSAR] = back__v_shift_lanes, [IR_VABS] = back__v_absolute,
        [IR_VCNT] = back__v_count_ones, [IR_VREV] = back__v_reverse, [IR_VZIP] = back__v_interleave,
        [IR_VUZP] = back__v_unzip, [IR_VTRN] = back__v_transpose,
        [IR_VEXTR] = back__v_extract_bytes, [IR_VTBL] = back__v_look_up,
        [IR_VWIDEN] = back__v_widen, [IR_VMULL] = back__v_long_product,
        [IR_VCRYPT] = back__v_encrypt, [IR_VNARROW] = back__v_narrow,
        [IR_VQADD] = back__v_saturating, [IR_VQSUB] = back__v_saturating,
        [IR_VFADD] = back__v_arith, [IR_VFSUB] = back__v_arith, [IR_VFMUL] = back__v_arith,
        [IR_VFDIV] = back__v_arith, [IR_VFSQRT] = back__v_arith, [IR_VFMA] = back__v_fused,
        [IR_VFMIN] = back__v_minmax, [IR_VFMAX] = back__v_minmax, [IR_VFCMP] = back__v_compare,
        [IR_VFNZCV] = back__v_compare_flags, [IR_VFROUND] = back__v_round_lanes,
        [IR_VFCVT] = back__v_convert, [IR_VFTOX] = back__v_to_register,
        [IR_VXTOF] = back__v_from_register, [IR_VITOF] = back__v_lanes_to_float,
        [IR_VFTOI] = back__v_lanes_to_int, [IR_VHADD] = back__v_halve,
    };
    bool tiny_lane = (insn->aux & IR_V_SCALAR) && back__lane(insn) < 2 && insn->op != IR_VGET;

    if (ops[insn->op] && (!tiny_lane || insn->op == IR_VMOV || insn->op == IR_VFCVT))
        ops[insn->op](c, insn);
    else
        back__v_slow(c, insn);
}
