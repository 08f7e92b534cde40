/*
 * Integer operations.
 */
#include "xlate/back/x86_64/back_priv.h"

static bool wide(const struct ir_insn *insn)
{
    return insn->type == IR_I64;
}

static uint32_t mask_of(struct operand o)
{
    return o.kind == OPERAND_REG ? 1u << o.reg : 0;
}

/* op reg, operand. */
static void alu(struct back_compiler *c, enum asm_op op, bool w, unsigned reg, struct operand o)
{
    if (o.kind == OPERAND_REG)
        asm_rr(&c->a, op, w, reg, o.reg);
    else if (o.kind == OPERAND_MEM)
        asm_rm(&c->a, op, w, reg, o.mem);
    else
        asm_ri(&c->a, op, w, reg, o.imm);
}

static void mov_operand(struct back_compiler *c, unsigned reg, struct operand o)
{
    if (o.kind == OPERAND_REG)
        back__mov(c, reg, o.reg);
    else if (o.kind == OPERAND_MEM)
        asm_rm(&c->a, A_MOV, true, reg, o.mem);
    else
        asm_movi(&c->a, reg, o.imm);
}

/* An operand that must be a register. */
static unsigned reg_of(struct back_compiler *c, struct operand o)
{
    if (o.kind == OPERAND_REG)
        return o.reg;
    unsigned reg = back__temp_gpr(c);
    mov_operand(c, reg, o);
    return reg;
}

static bool is_const(const struct back_compiler *c, uint32_t v)
{
    return back__insn(c, v)->op == IR_CONST;
}

/* --- add, sub, logic -------------------------------------------------------------------------- */

static void add_sub(struct back_compiler *c, const struct ir_insn *insn)
{
    bool add = insn->op == IR_ADD, w = wide(insn);
    unsigned a = back__gpr(c, insn->arg[0]);
    struct operand b = back__operand(c, insn->arg[1]);
    unsigned dst = back__dst_gpr(c, insn->arg[0], add ? 0 : mask_of(b) & ~(1u << a));

    if (dst == a && (add || b.kind != OPERAND_REG || b.reg != a)) {
        alu(c, add ? A_ADD : A_SUB, w, dst, b);
    } else if (add && b.kind == OPERAND_REG && dst == b.reg) {
        asm_rr(&c->a, A_ADD, w, dst, a);
    } else if (add && b.kind == OPERAND_REG) {
        asm_rm(&c->a, A_LEA, w, dst, asm_index(a, b.reg, 0, 0));
    } else if (b.kind == OPERAND_IMM && (add || b.imm != INT32_MIN)) {
        asm_rm(&c->a, A_LEA, w, dst, asm_mem(a, add ? b.imm : -b.imm));
    } else if (dst == a) { /* x - x */
        asm_movi(&c->a, dst, 0);
    } else {
        back__mov(c, dst, a);
        alu(c, add ? A_ADD : A_SUB, w, dst, b);
    }
    back__define(c, dst);
}

static void logic(struct back_compiler *c, const struct ir_insn *insn, enum asm_op op)
{
    uint32_t va = insn->arg[0], vb = insn->arg[1];

    if (is_const(c, va)) {
        va = vb;
        vb = insn->arg[0];
    }
    unsigned a = back__gpr(c, va);
    struct operand b = back__operand(c, vb);
    unsigned dst = back__dst_gpr(c, va, 0);

    if (b.kind == OPERAND_REG && dst == b.reg) {
        alu(c, op, wide(insn), dst, (struct operand){.kind = OPERAND_REG, .reg = a});
    } else {
        back__mov(c, dst, a);
        alu(c, op, wide(insn), dst, b);
    }
    back__define(c, dst);
}

static void andn(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[0]), b = back__gpr(c, insn->arg[1]);

    if (c->back->bmi) {
        unsigned dst = back__dst_gpr(c, NO_VALUE, 0);
        asm_vrr(&c->a, A_ANDN, wide(insn), dst, b, a);
        back__define(c, dst);
        return;
    }
    unsigned dst = back__dst_gpr(c, NO_VALUE, 1u << a);
    back__mov(c, dst, b);
    asm_unary(&c->a, UN_NOT, wide(insn), dst);
    asm_rr(&c->a, A_AND, wide(insn), dst, a);
    back__define(c, dst);
}

/* --- multiplication and division -------------------------------------------------------------- */

static void mul(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[0]);
    struct operand b = back__operand(c, insn->arg[1]);

    if (b.kind == OPERAND_IMM) {
        unsigned dst = back__dst_gpr(c, insn->arg[0], 0);
        asm_imul_ri(&c->a, wide(insn), dst, a, b.imm);
        back__define(c, dst);
        return;
    }
    unsigned dst = back__dst_gpr(c, insn->arg[0], 0);
    if (b.kind == OPERAND_REG && dst == b.reg) {
        asm_rr(&c->a, A_IMUL, wide(insn), dst, a);
    } else {
        back__mov(c, dst, a);
        alu(c, A_IMUL, wide(insn), dst, b);
    }
    back__define(c, dst);
}

static void extend(struct back_compiler *c, unsigned dst, unsigned src, bool is_signed)
{
    if (is_signed)
        asm_rr(&c->a, A_MOVSXD, true, dst, src);
    else
        asm_rr(&c->a, A_MOV, false, dst, src);
}

/* The high half of 32-bit products: a 64-bit product shifted. */
static void mul_high32(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[0]), b = back__gpr(c, insn->arg[1]);
    unsigned x = back__temp_gpr(c), y = back__temp_gpr(c);

    extend(c, x, a, insn->op != IR_MULHU);
    extend(c, y, b, insn->op == IR_MULHS);
    asm_rr(&c->a, A_IMUL, true, x, y);
    asm_shift_i(&c->a, SH_SHR, true, x, 32);
    back__define(c, x);
}

static void mul_high(struct back_compiler *c, const struct ir_insn *insn)
{
    if (!wide(insn)) {
        mul_high32(c, insn);
        return;
    }
    back__take(c, RAX);
    back__take(c, RDX);
    unsigned a = back__gpr(c, insn->arg[0]), b = back__gpr(c, insn->arg[1]);
    unsigned t = insn->op == IR_MULHSU ? back__temp_gpr(c) : 0;
    if (insn->op == IR_MULHSU) { /* unsigned, less b where a is negative */
        back__mov(c, t, a);
        asm_shift_i(&c->a, SH_SAR, true, t, 63);
        asm_rr(&c->a, A_AND, true, t, b);
    }
    back__mov(c, RAX, a);
    asm_unary(&c->a, insn->op == IR_MULHS ? UN_IMUL : UN_MUL, true, b);
    if (insn->op == IR_MULHSU)
        asm_rr(&c->a, A_SUB, true, RDX, t);
    back__unlock(c, RAX);
    back__define(c, RDX);
}

static void divide(struct back_compiler *c, const struct ir_insn *insn)
{
    bool is_signed = insn->op == IR_DIVS || insn->op == IR_REMS, w = wide(insn);
    bool rem = insn->op == IR_REMS || insn->op == IR_REMU;

    back__take(c, RAX);
    back__take(c, RDX);
    unsigned b = back__gpr(c, insn->arg[1]), a = back__gpr(c, insn->arg[0]);
    back__mov(c, RAX, a);
    struct cold *cold = back__cold(c, COLD_DIV);
    if (is_signed) { /* b is 0 or -1 */
        asm_rm(&c->a, A_LEA, w, RDX, asm_mem(b, 1));
        asm_ri(&c->a, A_CMP, w, RDX, 1);
        cold->from[0] = asm_jcc(&c->a, CC_BE);
        asm_sign_rdx(&c->a, w);
    } else {
        asm_rr(&c->a, A_TEST, w, b, b);
        cold->from[0] = asm_jcc(&c->a, CC_E);
        asm_movi(&c->a, RDX, 0);
    }
    asm_unary(&c->a, is_signed ? UN_IDIV : UN_DIV, w, b);
    cold->op = insn->op;
    cold->type = insn->type;
    cold->b = (uint8_t)b;
    cold->back = c->a.at;
    back__unlock(c, rem ? RAX : RDX);
    back__define(c, rem ? RDX : RAX);
}

/* rax holds the dividend; b is 0, or -1 of a signed division. */
void back__cold_div(struct back_compiler *c, struct cold *cold)
{
    bool w = cold->type == IR_I64;

    switch (cold->op) {
    case IR_DIVU:
        asm_movi(&c->a, RAX, -1);
        break;
    case IR_REMU:
        back__mov(c, RDX, RAX);
        break;
    case IR_DIVS: /* b 0: -1; b -1: -a */
        asm_unary(&c->a, UN_NEG, w, RAX);
        asm_rr(&c->a, A_TEST, w, cold->b, cold->b);
        asm_movi(&c->a, RDX, -1);
        asm_cmov(&c->a, CC_E, true, RAX, RDX);
        break;
    default: /* b 0: a; b -1: 0 */
        asm_movi(&c->a, RDX, 0);
        asm_rr(&c->a, A_TEST, w, cold->b, cold->b);
        asm_cmov(&c->a, CC_E, true, RDX, RAX);
        break;
    }
    asm_jmp_to(&c->a, cold->back);
}

/* --- shifts ----------------------------------------------------------------------------------- */

static const struct {
    enum asm_shift shift;
    enum asm_op bmi;
} shifts[] = {
    [IR_SHL - IR_SHL] = {SH_SHL, A_SHLX},
    [IR_SHR - IR_SHL] = {SH_SHR, A_SHRX},
    [IR_SAR - IR_SHL] = {SH_SAR, A_SARX},
    [IR_ROTL - IR_SHL] = {SH_ROL, 0},
    [IR_ROTR - IR_SHL] = {SH_ROR, 0},
};

static void shift_const(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned count = (unsigned)back__insn(c, insn->arg[1])->imm & (wide(insn) ? 63 : 31);
    unsigned a = back__gpr(c, insn->arg[0]), dst = back__dst_gpr(c, insn->arg[0], 0);

    if (insn->op == IR_ROTL && c->back->bmi && dst != a) {
        asm_vrri(&c->a, A_RORX, wide(insn), dst, a, -count & (wide(insn) ? 63 : 31));
        back__define(c, dst);
        return;
    }
    back__mov(c, dst, a);
    if (count)
        asm_shift_i(&c->a, shifts[insn->op - IR_SHL].shift, wide(insn), dst, count);
    back__define(c, dst);
}

static void shift(struct back_compiler *c, const struct ir_insn *insn)
{
    if (is_const(c, insn->arg[1])) {
        shift_const(c, insn);
        return;
    }
    if (c->back->bmi && shifts[insn->op - IR_SHL].bmi) {
        unsigned a = back__gpr(c, insn->arg[0]), n = back__gpr(c, insn->arg[1]);
        unsigned dst = back__dst_gpr(c, insn->arg[0], 0);
        asm_vrr(&c->a, shifts[insn->op - IR_SHL].bmi, wide(insn), dst, n, a);
        back__define(c, dst);
        return;
    }
    back__take(c, RCX);
    unsigned a = back__gpr(c, insn->arg[0]), n = back__gpr(c, insn->arg[1]);
    back__mov(c, RCX, n);
    unsigned dst = back__dst_gpr(c, insn->arg[0], 0);
    back__mov(c, dst, a);
    asm_shift_cl(&c->a, shifts[insn->op - IR_SHL].shift, wide(insn), dst);
    back__define(c, dst);
    back__unlock(c, RCX);
}

/* --- bits ------------------------------------------------------------------------------------- */

static void count_zeros(struct back_compiler *c, const struct ir_insn *insn)
{
    bool w = wide(insn), ctz = insn->op == IR_CTZ;
    unsigned a = back__gpr(c, insn->arg[0]);

    if (c->back->bmi) {
        unsigned dst = back__dst_gpr(c, insn->arg[0], 0);
        asm_rr(&c->a, ctz ? A_TZCNT : A_LZCNT, w, dst, a);
        back__define(c, dst);
        return;
    }
    unsigned dst = back__temp_gpr(c), none = back__temp_gpr(c);
    asm_movi(&c->a, none, ctz ? (w ? 64 : 32) : (w ? 127 : 63));
    asm_rr(&c->a, ctz ? A_BSF : A_BSR, w, dst, a);
    asm_cmov(&c->a, CC_E, true, dst, none);
    if (!ctz)
        asm_ri(&c->a, A_XOR, true, dst, w ? 63 : 31);
    back__define(c, dst);
}

static void orcb(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[0]), x = back__temp_xmm(c), y = back__temp_xmm(c);
    unsigned dst = back__dst_gpr(c, insn->arg[0], 0);

    /* Bytes that are 0 become 0xff, twice. */
    asm_rr(&c->a, A_MOVQ_GX, true, x, a);
    asm_rr(&c->a, A_PXOR, false, y, y);
    asm_rr(&c->a, A_PCMPEQB, false, x, y);
    asm_rr(&c->a, A_PCMPEQB, false, x, y);
    asm_rr(&c->a, A_MOVQ_XG, true, x, dst);
    back__define(c, dst);
}

static void ext(struct back_compiler *c, const struct ir_insn *insn)
{
    static const enum asm_op ops[2][3] = {{A_MOVZX8, A_MOVZX16, A_MOV},
                                          {A_MOVSX8, A_MOVSX16, A_MOVSXD}};
    unsigned which = insn->imm == 8 ? 0 : insn->imm == 16 ? 1 : 2;
    enum asm_op op = insn->op == IR_TRUNC ? A_MOV : ops[insn->op == IR_SEXT][which];
    bool w = insn->op == IR_SEXT && wide(insn);
    struct operand a = back__operand(c, insn->arg[0]);

    if (insn->op == IR_SEXT && which == 2 && !w)
        op = A_MOV;
    if (a.kind == OPERAND_IMM)
        a = (struct operand){.kind = OPERAND_REG, .reg = reg_of(c, a)};
    unsigned dst = back__dst_gpr(c, insn->arg[0], 0);
    if (a.kind == OPERAND_MEM)
        asm_rm(&c->a, op, w, dst, a.mem);
    else if (op != A_MOV || dst != a.reg || insn->op == IR_ZEXT)
        asm_rr(&c->a, op, w, dst, a.reg);
    back__define(c, dst);
}

static void unary(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[0]), dst = back__dst_gpr(c, insn->arg[0], 0);

    if (insn->op == IR_POPCNT) {
        asm_rr(&c->a, A_POPCNT, wide(insn), dst, a);
    } else {
        back__mov(c, dst, a);
        asm_bswap(&c->a, wide(insn), dst);
    }
    back__define(c, dst);
}

/* --- comparing and choosing ------------------------------------------------------------------- */

static const uint8_t conditions[] = {
    [IR_EQ] = CC_E, [IR_NE] = CC_NE, [IR_LTS] = CC_L, [IR_GES] = CC_GE, [IR_LTU] = CC_B,
    [IR_GEU] = CC_AE, [IR_GTS] = CC_G, [IR_LES] = CC_LE, [IR_GTU] = CC_A, [IR_LEU] = CC_BE,
};
static const uint8_t swapped[] = {
    [IR_EQ] = CC_E, [IR_NE] = CC_NE, [IR_LTS] = CC_G, [IR_GES] = CC_LE, [IR_LTU] = CC_A,
    [IR_GEU] = CC_BE, [IR_GTS] = CC_L, [IR_LES] = CC_GE, [IR_GTU] = CC_B, [IR_LEU] = CC_AE,
};

enum asm_cc back__compare(struct back_compiler *c, const struct ir_insn *insn)
{
    uint32_t va = insn->arg[0], vb = insn->arg[1];
    bool w = wide(insn), swap = is_const(c, va) && !is_const(c, vb);

    if (swap) {
        va = vb;
        vb = insn->arg[0];
    }
    unsigned a = back__gpr(c, va);
    struct operand b = back__operand(c, vb);
    if (b.kind == OPERAND_IMM && b.imm == 0)
        asm_rr(&c->a, A_TEST, w, a, a);
    else
        alu(c, A_CMP, w, a, b);
    return swap ? swapped[insn->aux] : conditions[insn->aux];
}

static void cmp(struct back_compiler *c, const struct ir_insn *insn)
{
    struct value *value = &c->value[c->idx];
    uint32_t user = value->last;
    const struct ir_insn *by = back__insn(c, user);

    /* Its only user makes the flags itself. */
    if (value->uses == 1 && !value->global &&
        (by->op == IR_BRIF || (by->op == IR_SELECT && by->arg[0] == c->idx))) {
        value->fused = true;
        for (unsigned i = 0; i < 2; i++) {
            struct value *arg = &c->value[insn->arg[i]];
            if (arg->last < user)
                arg->last = user;
        }
        return;
    }
    enum asm_cc cc = back__compare(c, insn);
    unsigned dst = back__dst_gpr(c, NO_VALUE, 0);
    asm_setcc(&c->a, cc, dst);
    asm_rr(&c->a, A_MOVZX8, false, dst, dst);
    back__define(c, dst);
}

/* Sets flags for the condition CONDITION of a SELECT. */
static enum asm_cc condition(struct back_compiler *c, uint32_t v)
{
    if (c->value[v].fused)
        return back__compare(c, back__insn(c, v));
    unsigned reg = back__gpr(c, v);
    asm_rr(&c->a, A_TEST, true, reg, reg);
    return CC_NE;
}

static void select_float(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[1]), b = back__xmm(c, insn->arg[2]);
    unsigned dst = back__temp_xmm(c);
    enum asm_cc cc = condition(c, insn->arg[0]);

    back__movx(c, dst, a);
    uint8_t *over = asm_jcc_short(&c->a, cc);
    back__movx(c, dst, b);
    asm_land(&c->a, over);
    back__define(c, dst + XMM);
}

static void select_int(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__gpr(c, insn->arg[1]), b = back__gpr(c, insn->arg[2]);
    enum asm_cc cc = condition(c, insn->arg[0]); /* nothing below changes the flags */
    unsigned dst = back__dst_gpr(c, NO_VALUE, 1u << a);

    back__mov(c, dst, b);
    asm_cmov(&c->a, cc, true, dst, a);
    back__define(c, dst);
}

/* --- flags as a value ------------------------------------------------------------------------- */

/* RAX = the host's flags as enum ir_nzcv; SUB: whose carry is a borrow. */
static void flags_to_rax(struct back_compiler *c, bool sub)
{
    if (sub)
        asm_8(&c->a, 0xf5); /* cmc */
    asm_8(&c->a, 0x9f);     /* lahf */
    asm_setcc(&c->a, CC_O, RAX);
    asm_ri(&c->a, A_AND, false, RAX, IR_NZCV_N | IR_NZCV_Z | IR_NZCV_C | IR_NZCV_V);
    back__define(c, RAX);
}

static void nzcv(struct back_compiler *c, const struct ir_insn *insn)
{
    back__take(c, RAX);
    unsigned a = back__gpr(c, insn->arg[0]);
    struct operand b = back__operand(c, insn->arg[1]);

    if (insn->op == IR_NZCV_SUB) {
        alu(c, A_CMP, wide(insn), a, b);
    } else if (insn->op == IR_NZCV_ADD && b.kind == OPERAND_IMM && b.imm == 0) {
        asm_rr(&c->a, A_TEST, wide(insn), a, a);
    } else if (insn->op == IR_NZCV_ADD) {
        back__mov(c, RAX, a);
        alu(c, A_ADD, wide(insn), RAX, b);
    } else {
        unsigned carry = back__gpr(c, insn->arg[2]);
        back__mov(c, RAX, carry);
        asm_unary(&c->a, UN_NEG, true, RAX); /* carry where it is not 0 */
        back__mov(c, RAX, a);
        alu(c, A_ADC, wide(insn), RAX, b);
    }
    flags_to_rax(c, insn->op == IR_NZCV_SUB);
}

void back__int_op(struct back_compiler *c, const struct ir_insn *insn)
{
    switch (insn->op) {
    case IR_ADD:
    case IR_SUB:
        add_sub(c, insn);
        break;
    case IR_MUL:
        mul(c, insn);
        break;
    case IR_MULHS:
    case IR_MULHU:
    case IR_MULHSU:
        mul_high(c, insn);
        break;
    case IR_DIVS:
    case IR_DIVU:
    case IR_REMS:
    case IR_REMU:
        divide(c, insn);
        break;
    case IR_AND:
        logic(c, insn, A_AND);
        break;
    case IR_OR:
        logic(c, insn, A_OR);
        break;
    case IR_XOR:
        logic(c, insn, A_XOR);
        break;
    case IR_ANDN:
        andn(c, insn);
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROTL:
    case IR_ROTR:
        shift(c, insn);
        break;
    case IR_CLZ:
    case IR_CTZ:
        count_zeros(c, insn);
        break;
    case IR_POPCNT:
    case IR_BSWAP:
        unary(c, insn);
        break;
    case IR_ORCB:
        orcb(c, insn);
        break;
    case IR_SEXT:
    case IR_ZEXT:
    case IR_TRUNC:
        ext(c, insn);
        break;
    case IR_CMP:
        cmp(c, insn);
        break;
    case IR_NZCV_ADD:
    case IR_NZCV_SUB:
    case IR_NZCV_ADC:
        nzcv(c, insn);
        break;
    default:
        if (back__in_xmm(insn->type))
            select_float(c, insn);
        else
            select_int(c, insn);
    }
}
