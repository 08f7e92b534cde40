/*
 * Cryptography, where the host has instructions for it.
 */
#include "xlate/back/x86_64/vec_priv.h"

/* --- SHA ---------------------------------------------------------------------------------------
 * Arm's registers have a or e in lane 0; the host's instructions want them at the other end.
 */

enum { BACKWARDS = 0x1b };

/* SHA1C, SHA1P, SHA1M. Arm's words have the constant added already, which the host adds itself. */
G_STATIC_ASSERT(IR_SHA1P == IR_SHA1C + 1 && IR_SHA1M == IR_SHA1C + 2 && K_SHA1M == K_SHA1C + 2);
static void sha1_rounds(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned x = back__xmm(c, insn->arg[0]), e = back__xmm(c, insn->arg[1]);
    unsigned w = back__xmm(c, insn->arg[2]), t = back__temp_xmm(c), u = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << x | 1u << e | 1u << w);

    back__movx(c, t, w);
    back__fp3(c, A_PSUBD, t, t, back__constant(c, K_SHA1C + (unsigned)insn->imm - IR_SHA1C), false);
    back__v2i(c, A_PSHUFD, t, t, BACKWARDS);
    back__v_shift(c, VSH_PSLLDQ, u, e, 12);
    back__v_onto(c, A_PADDD, t, u);
    back__v2i(c, A_PSHUFD, dst, x, BACKWARDS);
    asm_rri(&c->a, A_SHA1RNDS4, false, dst, t, (unsigned)(insn->imm - IR_SHA1C));
    back__v2i(c, A_PSHUFD, dst, dst, BACKWARDS);
    back__define(c, dst + XMM);
}

/* REG's lanes of 32 bits rotated left; T: scratch. */
static void rotate_words(struct back_compiler *c, unsigned reg, unsigned t, unsigned count)
{
    back__v_shift(c, VSH_PSRLD, t, reg, 32 - count);
    back__v_shift(c, VSH_PSLLD, reg, reg, count);
    back__v_onto(c, A_POR, reg, t);
}

static void sha1_words(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned m = back__xmm(c, insn->arg[2]), t = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b | 1u << m);

    switch (insn->imm) {
    case IR_SHA1H:
        back__v3i(c, A_INSERTPS, dst, a, a, 0x0e);
        rotate_words(c, dst, t, 30);
        break;
    case IR_SHA1SU0: /* a ^ (b:a) >> 64 ^ m */
        back__v3i(c, A_PALIGNR, dst, b, a, 8);
        back__v_onto(c, A_PXOR, dst, a);
        back__v_onto(c, A_PXOR, dst, m);
        break;
    default: /* IR_SHA1SU1; the last word takes the first once more */
        back__v_shift(c, VSH_PSRLDQ, dst, b, 4);
        back__v_onto(c, A_PXOR, dst, a);
        rotate_words(c, dst, t, 1);
        unsigned u = back__temp_xmm(c);
        back__v_shift(c, VSH_PSLLDQ, t, dst, 12);
        rotate_words(c, t, u, 1);
        back__v_onto(c, A_PXOR, dst, t);
    }
    back__define(c, dst + XMM);
}

/* The host's SHA256RNDS2 takes ABEF and CDGH, and two words in xmm0: four rounds are two of them. What
 * is in xmm0 is put aside meanwhile. */
static void sha256_rounds(struct back_compiler *c, const struct ir_insn *insn)
{
    bool second = insn->imm == IR_SHA256H2;
    unsigned x = back__xmm(c, insn->arg[second]), y = back__xmm(c, insn->arg[!second]);
    unsigned w = back__xmm(c, insn->arg[2]);

    back__store_wide(c, x + XMM, FRAME_MEM(FRAME_VEC));
    back__store_wide(c, y + XMM, FRAME_MEM(FRAME_VEC + 16));
    back__store_wide(c, w + XMM, FRAME_MEM(FRAME_VEC + 32));
    back__store_wide(c, XMM, FRAME_MEM(FRAME_VEC + 48));
    back__unlock(c, x + XMM);
    back__unlock(c, y + XMM);
    back__unlock(c, w + XMM);
    c->locked |= 1u << XMM;
    unsigned abef = back__temp_xmm(c), cdgh = back__temp_xmm(c), t = back__temp_xmm(c);
    back__load_wide(c, t + XMM, FRAME_MEM(FRAME_VEC));
    back__load_wide(c, cdgh + XMM, FRAME_MEM(FRAME_VEC + 16));
    back__v2i(c, A_PSHUFD, t, t, BACKWARDS);
    back__v2i(c, A_PSHUFD, cdgh, cdgh, BACKWARDS);
    back__fp3(c, A_PUNPCKHQDQ, abef, cdgh, back__xreg(t), false);
    back__v_onto(c, A_PUNPCKLQDQ, cdgh, t);
    back__load_wide(c, XMM, FRAME_MEM(FRAME_VEC + 32));
    asm_rr(&c->a, A_SHA256RNDS2, false, cdgh, abef);
    back__v2i(c, A_PSHUFD, 0, 0, 0x0e);
    asm_rr(&c->a, A_SHA256RNDS2, false, abef, cdgh); /* and what was ABEF between is CDGH now */
    back__v_onto(c, second ? A_PUNPCKLQDQ : A_PUNPCKHQDQ, cdgh, abef);
    back__load_wide(c, XMM, FRAME_MEM(FRAME_VEC + 48));
    back__unlock(c, XMM);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 0);
    back__v2i(c, A_PSHUFD, dst, cdgh, BACKWARDS);
    back__define(c, dst + XMM);
}

static void sha256_words(struct back_compiler *c, const struct ir_insn *insn)
{
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned m = back__xmm(c, insn->arg[2]), t = back__temp_xmm(c);
    unsigned dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b | 1u << m);

    back__movx(c, dst, a);
    if (insn->imm == IR_SHA256SU0) {
        asm_rr(&c->a, A_SHA256MSG1, false, dst, b);
    } else {
        back__v3i(c, A_PALIGNR, t, m, b, 4);
        back__v_onto(c, A_PADDD, dst, t);
        asm_rr(&c->a, A_SHA256MSG2, false, dst, m);
    }
    back__define(c, dst + XMM);
}

static void hash(struct back_compiler *c, const struct ir_insn *insn)
{
    switch (insn->imm) {
    case IR_SHA1C: case IR_SHA1P: case IR_SHA1M:
        sha1_rounds(c, insn);
        break;
    case IR_SHA1H: case IR_SHA1SU0: case IR_SHA1SU1:
        sha1_words(c, insn);
        break;
    case IR_SHA256H: case IR_SHA256H2:
        sha256_rounds(c, insn);
        break;
    default:
        sha256_words(c, insn);
    }
}

/* --- cryptography ----------------------------------------------------------------------------- */

/* Is the present AESE's only user the AESMC that has it in every argument? Then that does both in one
 * instruction. */
static bool mixes_next(struct back_compiler *c, const struct ir_insn *insn)
{
    struct value *value = &c->value[c->idx];
    const struct ir_insn *user = back__insn(c, value->last);

    if (insn->imm != IR_AESE || value->global || user->op != IR_VCRYPT ||
        user->imm != IR_AESMC || value->uses != ir_n_args(user))
        return false;
    for (unsigned i = 0, n = ir_n_args(user); i < n; i++)
        if (user->arg[i] != c->idx)
            return false;
    value->fused = true;
    for (unsigned i = 0; i < 2; i++) {
        struct value *arg = &c->value[insn->arg[i]];
        arg->last = MAX(arg->last, value->last);
    }
    return true;
}

/* A whole round but for the key that follows. */
static void mixed_round(struct back_compiler *c, const struct ir_insn *first)
{
    unsigned a = back__xmm(c, first->arg[0]), b = back__xmm(c, first->arg[1]);
    unsigned zero = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);

    back__v_zero(c, zero);
    back__fp3(c, A_PXOR, dst, a, back__xreg(b), true);
    back__v_onto(c, A_AESENC, dst, zero);
    back__define(c, dst + XMM);
}

void back__v_encrypt(struct back_compiler *c, const struct ir_insn *insn)
{
    if (insn->imm > IR_AESIMC && c->back->sha) {
        hash(c, insn);
        return;
    }
    if (!c->back->crypto || insn->imm > IR_AESIMC) {
        back__v_slow(c, insn);
        return;
    }
    if (mixes_next(c, insn))
        return;
    if (insn->imm == IR_AESMC && c->value[insn->arg[0]].fused) {
        mixed_round(c, back__insn(c, insn->arg[0]));
        return;
    }
    unsigned a = back__xmm(c, insn->arg[0]), b = back__xmm(c, insn->arg[1]);
    unsigned zero = back__temp_xmm(c), dst = back__dst_xmm(c, NO_VALUE, 1u << a | 1u << b);
    back__v_zero(c, zero);
    switch (insn->imm) {
    case IR_AESE:
    case IR_AESD:
        back__fp3(c, A_PXOR, dst, a, back__xreg(b), true);
        back__v_onto(c, insn->imm == IR_AESE ? A_AESENCLAST : A_AESDECLAST, dst, zero);
        break;
    case IR_AESMC: /* undone is what a round does beside */
        back__fp3(c, A_AESDECLAST, dst, a, back__xreg(zero), false);
        back__v_onto(c, A_AESENC, dst, zero);
        break;
    default:
        back__v2(c, A_AESIMC, dst, a);
    }
    back__define(c, dst + XMM);
}
