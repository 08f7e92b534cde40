/*
 * Operations that fit no row of ops.txt: carries, bit fields, logic of three sources, predicates, selections,
 * packing (PTX ISA, sections 9.7.1.17, 9.7.2, 9.7.8 and 9.7.9).
 */
#include "gpu/soft/exec/lanes.h"

#include <string.h>

/* The carry flag is the frame's predicate at 0. A subtraction's is its borrow. */
#define DEFINE_CARRY(id, T, in, out, expr)                                          \
    static void op_##id(struct warp *w, const struct soft_op *op)                   \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        T *pd = exec_reg(w, op->d);                                                 \
        uint32_t *cc = exec_pred(w, 0), carry = in ? *cc : 0, m = 0;                \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                  \
            T a = pa[i], b = pb[i];                                                 \
            unsigned __int128 r, k = carry >> i & 1;                                \
            r = expr;                                                               \
            m |= (uint32_t)(r >> (8 * sizeof(T)) & 1) << i;                         \
            if (w->exec >> i & 1)                                                   \
                pd[i] = (T)r;                                                       \
        }                                                                           \
        if (out)                                                                    \
            *cc = (*cc & ~w->exec) | (m & w->exec);                                 \
    }

#define SUM  (unsigned __int128) a + b + k
#define DIFF (unsigned __int128) a - b - k
DEFINE_CARRY(add_cc_u32, uint32_t, false, true, SUM)
DEFINE_CARRY(addc_u32, uint32_t, true, false, SUM)
DEFINE_CARRY(addc_cc_u32, uint32_t, true, true, SUM)
DEFINE_CARRY(sub_cc_u32, uint32_t, false, true, DIFF)
DEFINE_CARRY(subc_u32, uint32_t, true, false, DIFF)
DEFINE_CARRY(subc_cc_u32, uint32_t, true, true, DIFF)
DEFINE_CARRY(add_cc_u64, uint64_t, false, true, SUM)
DEFINE_CARRY(addc_u64, uint64_t, true, false, SUM)
DEFINE_CARRY(addc_cc_u64, uint64_t, true, true, SUM)
DEFINE_CARRY(sub_cc_u64, uint64_t, false, true, DIFF)
DEFINE_CARRY(subc_u64, uint64_t, true, false, DIFF)
DEFINE_CARRY(subc_cc_u64, uint64_t, true, true, DIFF)

/* mad{c}.{lo,hi}{.cc}: a product's half plus c. */
#define DEFINE_MADC(id, T, X, in, out, shift)                                       \
    static void op_##id(struct warp *w, const struct soft_op *op)                   \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        const T *pc = exec_reg(w, op->c);                                           \
        T *pd = exec_reg(w, op->d);                                                 \
        uint32_t *cc = exec_pred(w, 0), carry = in ? *cc : 0, m = 0;                \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                  \
            X half = ((X)pa[i] * (X)pb[i]) >> (shift);                              \
            unsigned __int128 r = (unsigned __int128)(T)half + pc[i] + (carry >> i & 1); \
            m |= (uint32_t)(r >> (8 * sizeof(T)) & 1) << i;                         \
            if (w->exec >> i & 1)                                                   \
                pd[i] = (T)r;                                                       \
        }                                                                           \
        if (out)                                                                    \
            *cc = (*cc & ~w->exec) | (m & w->exec);                                 \
    }
#define MADC_ALL(T, X, bits, name)                                                  \
    DEFINE_MADC(mad_lo_cc_##name, T, X, false, true, 0)                             \
    DEFINE_MADC(mad_hi_cc_##name, T, X, false, true, bits)                          \
    DEFINE_MADC(madc_lo_##name, T, X, true, false, 0)                               \
    DEFINE_MADC(madc_hi_##name, T, X, true, false, bits)                            \
    DEFINE_MADC(madc_lo_cc_##name, T, X, true, true, 0)                             \
    DEFINE_MADC(madc_hi_cc_##name, T, X, true, true, bits)
MADC_ALL(uint32_t, uint64_t, 32, u32)
MADC_ALL(uint64_t, unsigned __int128, 64, u64)

/* ---- Bit fields ---- */

static uint64_t bfe(uint64_t a, unsigned pos, unsigned len, unsigned bits, bool sign)
{
    uint64_t r = 0, msb = bits - 1;
    unsigned fill = 0;

    pos &= 0xff;
    len &= 0xff;
    if (sign && len)
        fill = a >> MIN(pos + len - 1, msb) & 1;
    if (pos < bits && len)
        r = a >> pos;
    if (len >= 64)
        len = 64;
    /* Bits beyond the field, or beyond the source, are the sign. */
    unsigned have = pos < bits ? MIN(len, bits - pos) : 0;
    uint64_t mask = have >= 64 ? ~0ull : (1ull << have) - 1;

    return (r & mask) | (fill ? ~mask : 0);
}

static uint64_t bfi(uint64_t a, uint64_t b, unsigned pos, unsigned len, unsigned bits)
{
    uint64_t mask;

    pos &= 0xff;
    len &= 0xff;
    if (pos >= bits || !len)
        return b;
    mask = len >= 64 ? ~0ull : (1ull << len) - 1;
    return (b & ~(mask << pos)) | (a & mask) << pos;
}

#define DEFINE_BFE(id, T, sign)                                                     \
    static void op_bfe_##id(struct warp *w, const struct soft_op *op)               \
    {                                                                               \
        const T *pa = exec_reg(w, op->a);                                           \
        const uint32_t *pb = exec_reg(w, op->b), *pc = exec_reg(w, op->c);          \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(pd[i] = (T)bfe(pa[i], pb[i], pc[i], 8 * sizeof(T), sign));            \
    }
DEFINE_BFE(u32, uint32_t, false)
DEFINE_BFE(s32, uint32_t, true)
DEFINE_BFE(u64, uint64_t, false)
DEFINE_BFE(s64, uint64_t, true)

#define DEFINE_BFI(id, T)                                                           \
    static void op_bfi_##id(struct warp *w, const struct soft_op *op)               \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        const uint32_t *pc = exec_reg(w, op->c);                                    \
        const uint32_t *pe = exec_reg(w, (int32_t)op->imm);                         \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(pd[i] = (T)bfi(pa[i], pb[i], pc[i], pe[i], 8 * sizeof(T)));           \
    }
DEFINE_BFI(b32, uint32_t)
DEFINE_BFI(b64, uint64_t)

static inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, unsigned table)
{
    uint32_t r = 0;

    for (unsigned k = 0; k < 8; k++) {
        if (table >> k & 1)
            r |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    }
    return r;
}

CLONES static void op_lop3(struct warp *w, const struct soft_op *op)
{
    const uint32_t *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b), *pc = exec_reg(w, op->c);
    uint32_t *pd = exec_reg(w, op->d);
    unsigned table = op->imm;

    LANES(pd[i] = lop3(pa[i], pb[i], pc[i], table));
}

/* ---- Moves, selections, predicates ---- */

#define DEFINE_MOVE(id, T)                                                          \
    CLONES static void op_mov_##id(struct warp *w, const struct soft_op *op)        \
    {                                                                               \
        const T *pa = exec_reg(w, op->a);                                           \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(pd[i] = pa[i]);                                                       \
    }                                                                               \
    CLONES static void op_selp_##id(struct warp *w, const struct soft_op *op)       \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        uint32_t c = *exec_pred(w, op->c);                                          \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(pd[i] = c >> i & 1 ? pa[i] : pb[i]);                                  \
    }
DEFINE_MOVE(b16, uint16_t)
DEFINE_MOVE(b32, uint32_t)
DEFINE_MOVE(b64, uint64_t)

#define DEFINE_PRED(id, expr)                                                       \
    static void op_##id(struct warp *w, const struct soft_op *op)                   \
    {                                                                               \
        uint32_t a = *exec_pred(w, op->a), b = *exec_pred(w, op->b);                \
        uint32_t *d = exec_pred(w, op->d);                                          \
                                                                                    \
        (void)b;                                                                    \
        *d = (*d & ~w->exec) | ((expr) & w->exec);                                  \
    }
DEFINE_PRED(and_pred, a & b)
DEFINE_PRED(or_pred, a | b)
DEFINE_PRED(xor_pred, a ^ b)
DEFINE_PRED(not_pred, ~a)
DEFINE_PRED(mov_pred, a)

/* The complement of a guard's or operand's predicate, for all lanes. */
void exec_not_pred(struct warp *w, const struct soft_op *op)
{
    op_not_pred(w, op);
}

/* Part n of flags bytes, of a whole of imm bytes. */
void exec_pack(struct warp *w, const struct soft_op *op)
{
    const uint8_t *a = exec_reg(w, op->a);
    uint8_t *d = exec_reg(w, op->d);
    unsigned whole = op->imm, part = op->flags;

    LANES(memcpy(d + i * whole + op->n * part, a + i * part, part));
}

void exec_unpack(struct warp *w, const struct soft_op *op)
{
    const uint8_t *a = exec_reg(w, op->a);
    uint8_t *d = exec_reg(w, op->d);
    unsigned whole = op->imm, part = op->flags;

    LANES(memcpy(d + i * part, a + i * whole + op->n * part, part));
}

#define ROWS(bits, l)                                                               \
    {"add.cc.u" #bits, l l l, op_add_cc_u##bits, 0}, {"add.cc.s" #bits, l l l, op_add_cc_u##bits, 0},     \
    {"addc.u" #bits, l l l, op_addc_u##bits, 0}, {"addc.s" #bits, l l l, op_addc_u##bits, 0},             \
    {"addc.cc.u" #bits, l l l, op_addc_cc_u##bits, 0}, {"addc.cc.s" #bits, l l l, op_addc_cc_u##bits, 0}, \
    {"sub.cc.u" #bits, l l l, op_sub_cc_u##bits, 0}, {"sub.cc.s" #bits, l l l, op_sub_cc_u##bits, 0},     \
    {"subc.u" #bits, l l l, op_subc_u##bits, 0}, {"subc.s" #bits, l l l, op_subc_u##bits, 0},             \
    {"subc.cc.u" #bits, l l l, op_subc_cc_u##bits, 0}, {"subc.cc.s" #bits, l l l, op_subc_cc_u##bits, 0}, \
    {"mad.lo.cc.u" #bits, l l l l, op_mad_lo_cc_u##bits, 0}, {"mad.lo.cc.s" #bits, l l l l, op_mad_lo_cc_u##bits, 0}, \
    {"mad.hi.cc.u" #bits, l l l l, op_mad_hi_cc_u##bits, 0},                        \
    {"madc.lo.u" #bits, l l l l, op_madc_lo_u##bits, 0}, {"madc.lo.s" #bits, l l l l, op_madc_lo_u##bits, 0}, \
    {"madc.hi.u" #bits, l l l l, op_madc_hi_u##bits, 0},                            \
    {"madc.lo.cc.u" #bits, l l l l, op_madc_lo_cc_u##bits, 0},                      \
    {"madc.hi.cc.u" #bits, l l l l, op_madc_hi_cc_u##bits, 0}

static const struct soft_opdef rows[] = {
    ROWS(32, "w"),
    ROWS(64, "d"),
    {"bfe.u32", "wwww", op_bfe_u32, 0},
    {"bfe.s32", "wwww", op_bfe_s32, 0},
    {"bfe.u64", "ddww", op_bfe_u64, 0},
    {"bfe.s64", "ddww", op_bfe_s64, 0},
    {"bfi.b32", "wwwww", op_bfi_b32, 0},
    {"bfi.b64", "dddww", op_bfi_b64, 0},
    {"lop3.b32", "wwwwi", op_lop3, 0},
    {"mov.b16", "hh", op_mov_b16, 0},
    {"mov.b32", "ww", op_mov_b32, 0},
    {"mov.b64", "dd", op_mov_b64, 0},
    {"mov.pred", "pp", op_mov_pred, 0},
    {"selp.b16", "hhhp", op_selp_b16, 0},
    {"selp.b32", "wwwp", op_selp_b32, 0},
    {"selp.b64", "dddp", op_selp_b64, 0},
    {"and.pred", "ppp", op_and_pred, 0},
    {"or.pred", "ppp", op_or_pred, 0},
    {"xor.pred", "ppp", op_xor_pred, 0},
    {"not.pred", "pp", op_not_pred, 0},
};

const struct exec_ops exec_ops_wide = {rows, G_N_ELEMENTS(rows)};
