/*
 * Arithmetic of f16, bf16 and their packed pairs (PTX ISA, sections 9.7.4 and 9.7.7): computed in double, exactly or
 * rounded to odd, and rounded once.
 */
#include "gpu/soft/exec/half.h"
#include "gpu/soft/exec/lanes.h"

/* Denormal numbers become zeroes. */
static double flush(double v, char kind)
{
    return fabs(v) < (kind == 'g' ? 0x1p-126 : 0x1p-14) ? copysign(0, v) : v;
}

static uint16_t finish(double v, char kind, unsigned flags, bool relu)
{
    if (flags & OP_SAT)
        v = v > 0 ? MIN(v, 1.0) : 0;
    if (relu && v < 0)
        v = 0;
    uint16_t r = small_bits(kind, v, ROUND_NEAREST);

    return flags & OP_FTZ ? small_bits(kind, flush(small_value(kind, r), kind), ROUND_NEAREST) : r;
}

static double start(uint16_t bits, char kind, unsigned flags)
{
    double v = small_value(kind, bits);

    return flags & OP_FTZ ? flush(v, kind) : v;
}

static double smaller(double a, double b)
{
    return isnan(a) ? b : isnan(b) ? a : a < b || (a == b && signbit(a)) ? a : b;
}

static double larger(double a, double b)
{
    return isnan(a) ? b : isnan(b) ? a : a > b || (a == b && !signbit(a)) ? a : b;
}

/* PACKED numbers a lane: 1 or 2. */
#define HALF_OP(id, kind, packed, relu, expr)                                       \
    static void op_##id##_##kind##packed(struct warp *w, const struct soft_op *op)  \
    {                                                                               \
        static const char k = #kind[0];                                             \
        const uint16_t *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);          \
        const uint16_t *pc = exec_reg(w, op->c);                                    \
        uint16_t *pd = exec_reg(w, op->d);                                          \
        unsigned flags = op->flags;                                                 \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP * packed; i++) {                         \
            if (!(w->exec >> i / packed & 1))                                       \
                continue;                                                           \
            double a = start(pa[i], k, flags), b = start(pb[i], k, flags);          \
            double c = start(pc[i], k, flags);                                      \
                                                                                    \
            (void)b;                                                                \
            (void)c;                                                                \
            pd[i] = finish(expr, k, flags, relu);                                   \
        }                                                                           \
    }
#define HALF_BITS(id, kind, packed, expr)                                           \
    static void op_##id##_##kind##packed(struct warp *w, const struct soft_op *op)  \
    {                                                                               \
        const uint16_t *pa = exec_reg(w, op->a);                                    \
        uint16_t *pd = exec_reg(w, op->d);                                          \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP * packed; i++) {                         \
            if (w->exec >> i / packed & 1) {                                        \
                uint16_t a = pa[i];                                                 \
                pd[i] = expr;                                                       \
            }                                                                       \
        }                                                                           \
    }
/* Of a packed pair HALF says which; a predicate. */
#define HALF_CMP(id, kind, packed, half, expr)                                      \
    static void op_##id##_##kind##packed##half(struct warp *w, const struct soft_op *op) \
    {                                                                               \
        const uint16_t *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);          \
        uint32_t *pd = exec_reg(w, op->d), m = 0;                                   \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                  \
            double a = start(pa[i * packed + half], #kind[0], op->flags);           \
            double b = start(pb[i * packed + half], #kind[0], op->flags);           \
            m |= (uint32_t)(expr) << i;                                             \
        }                                                                           \
        *pd = (*pd & ~w->exec) | (m & w->exec);                                     \
    }
/* set.CMP of pairs: each half 0, or 1.0 for a pair of floats and all ones for an integer. */
#define HALF_SET(id, kind, form, one, expr)                                                    \
    static void op_set_##id##_##kind##form(struct warp *w, const struct soft_op *op)      \
    {                                                                               \
        const uint16_t *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);          \
        uint16_t *pd = exec_reg(w, op->d);                                          \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP * 2; i++) {                              \
            double a = start(pa[i], #kind[0], op->flags), b = start(pb[i], #kind[0], op->flags); \
            if (w->exec >> i / 2 & 1)                                               \
                pd[i] = (expr) ? one : 0;           \
        }                                                                           \
    }

#define COMPARISONS(X, ...)                                                         \
    X(eq, __VA_ARGS__, a == b)                                                      \
    X(ne, __VA_ARGS__, a < b || a > b)                                              \
    X(lt, __VA_ARGS__, a < b)                                                       \
    X(le, __VA_ARGS__, a <= b)                                                      \
    X(gt, __VA_ARGS__, a > b)                                                       \
    X(ge, __VA_ARGS__, a >= b)                                                      \
    X(equ, __VA_ARGS__, !(a < b || a > b))                                          \
    X(neu, __VA_ARGS__, !(a == b))                                                  \
    X(ltu, __VA_ARGS__, !(a >= b))                                                  \
    X(leu, __VA_ARGS__, !(a > b))                                                   \
    X(gtu, __VA_ARGS__, !(a <= b))                                                  \
    X(geu, __VA_ARGS__, !(a < b))                                                   \
    X(num, __VA_ARGS__, a == a && b == b)                                           \
    X(nan, __VA_ARGS__, a != a || b != b)

#define ALL_OPS(kind, packed)                                                       \
    HALF_OP(add, kind, packed, false, add_odd(a, b))                                \
    HALF_OP(sub, kind, packed, false, add_odd(a, -b))                               \
    HALF_OP(mul, kind, packed, false, a *b)                                         \
    HALF_OP(fma, kind, packed, false, add_odd(a *b, c))                             \
    HALF_OP(fma_relu, kind, packed, true, add_odd(a *b, c))                         \
    HALF_OP(min, kind, packed, false, smaller(a, b))                                \
    HALF_OP(max, kind, packed, false, larger(a, b))                                 \
    HALF_OP(min_nan, kind, packed, false, isnan(a) || isnan(b) ? NAN : smaller(a, b)) \
    HALF_OP(max_nan, kind, packed, false, isnan(a) || isnan(b) ? NAN : larger(a, b)) \
    HALF_OP(ex2, kind, packed, false, exp2(a))                                      \
    HALF_OP(tanh, kind, packed, false, tanh(a))                                     \
    HALF_BITS(neg, kind, packed, a ^ 0x8000)                                        \
    HALF_BITS(abs, kind, packed, a & 0x7fff)

ALL_OPS(f, 1)
ALL_OPS(f, 2)
ALL_OPS(g, 1)
ALL_OPS(g, 2)
COMPARISONS(HALF_CMP, f, 1, 0)
COMPARISONS(HALF_CMP, g, 1, 0)
COMPARISONS(HALF_CMP, f, 2, 0)
COMPARISONS(HALF_CMP, f, 2, 1)
COMPARISONS(HALF_CMP, g, 2, 0)
COMPARISONS(HALF_CMP, g, 2, 1)
COMPARISONS(HALF_SET, f, 1, 0x3c00)
COMPARISONS(HALF_SET, g, 1, 0x3f80)
COMPARISONS(HALF_SET, f, m, 0xffff)
COMPARISONS(HALF_SET, g, m, 0xffff)

enum { HALF_FLAGS = OP_FTZ | OP_SAT };

#define ROWS(type, suffix, l)                                                       \
    {"add." type, l l l, op_add_##suffix, HALF_FLAGS}, {"sub." type, l l l, op_sub_##suffix, HALF_FLAGS}, \
    {"mul." type, l l l, op_mul_##suffix, HALF_FLAGS}, {"fma." type, l l l l, op_fma_##suffix, HALF_FLAGS}, \
    {"fma.relu." type, l l l l, op_fma_relu_##suffix, HALF_FLAGS},                  \
    {"min." type, l l l, op_min_##suffix, OP_FTZ}, {"max." type, l l l, op_max_##suffix, OP_FTZ}, \
    {"min.NaN." type, l l l, op_min_nan_##suffix, OP_FTZ}, {"max.NaN." type, l l l, op_max_nan_##suffix, OP_FTZ}, \
    {"ex2." type, l l, op_ex2_##suffix, OP_FTZ}, {"tanh." type, l l, op_tanh_##suffix, 0}, \
    {"neg." type, l l, op_neg_##suffix, OP_FTZ}, {"abs." type, l l, op_abs_##suffix, OP_FTZ}

#define CMP_ROW(id, type, suffix, tail, l, expr)                                    \
    {"setp." #id "." type tail, "p" l l, op_##id##_##suffix, OP_FTZ},
#define SET_ROW(id, dtype, type, suffix, expr)                                            \
    {"set." #id "." dtype "." type, "www", op_set_##id##_##suffix, OP_FTZ},

static const struct soft_opdef rows[] = {
    ROWS("f16", f1, "h"),
    ROWS("f16x2", f2, "w"),
    ROWS("bf16", g1, "h"),
    ROWS("bf16x2", g2, "w"),
    COMPARISONS(CMP_ROW, "f16", f10, "", "h")
    COMPARISONS(CMP_ROW, "bf16", g10, "", "h")
    COMPARISONS(CMP_ROW, "f16x2", f20, "", "w")
    COMPARISONS(CMP_ROW, "f16x2", f21, ".high", "w")
    COMPARISONS(CMP_ROW, "bf16x2", g20, "", "w")
    COMPARISONS(CMP_ROW, "bf16x2", g21, ".high", "w")
    COMPARISONS(SET_ROW, "f16x2", "f16x2", f1)
    COMPARISONS(SET_ROW, "bf16x2", "bf16x2", g1)
    COMPARISONS(SET_ROW, "u32", "f16x2", fm)
    COMPARISONS(SET_ROW, "s32", "f16x2", fm)
    COMPARISONS(SET_ROW, "u32", "bf16x2", gm)
    COMPARISONS(SET_ROW, "s32", "bf16x2", gm)
};

const struct exec_ops exec_ops_half = {rows, G_N_ELEMENTS(rows)};
