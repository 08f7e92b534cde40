/*
 * Single and double precision (PTX ISA, sections 9.7.3 and 9.7.7). Results are IEEE 754's, rounded as the instruction
 * says; f32's NaN is the canonical one. Approximations are the C library's, which are nearer than PTX asks for.
 */
#include "gpu/soft/exec/half.h"
#include "gpu/soft/exec/lanes.h"

#include <fenv.h>
#include <float.h>

static inline float ftz(float v)
{
    return fabsf(v) < FLT_MIN ? copysignf(0, v) : v;
}

static inline float canon(float v)
{
    return v != v ? bits_f32(0x7fffffff) : v;
}

static inline float finish32(float v, unsigned flags)
{
    v = canon(v);
    if (flags & OP_FTZ)
        v = ftz(v);
    if (flags & OP_SAT)
        v = v > 0 ? MIN(v, 1.0f) : 0;
    return v;
}

static inline float start32(float v, unsigned flags)
{
    return flags & OP_FTZ ? ftz(v) : v;
}

static inline double finish64(double v, unsigned flags)
{
    return v;
}

static inline double start64(double v, unsigned flags)
{
    return v;
}

static int rounding(const struct soft_op *op)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

    return modes[(op->flags & OP_ROUND) >> OP_ROUND_SHIFT];
}

#define FLOAT_BODY(T, fin, loads, result)                                           \
    T *pd = exec_reg(w, op->d);                                                     \
    unsigned flags = op->flags;                                                     \
                                                                                    \
    if (flags & OP_ROUND)                                                           \
        fesetround(rounding(op));                                                   \
    if (flags & (OP_FTZ | OP_SAT))                                                  \
        LANES(loads(flags) pd[i] = fin(result, flags));                             \
    else                                                                            \
        LANES(loads(0) pd[i] = fin(result, 0));                                     \
    if (flags & OP_ROUND)                                                           \
        fesetround(FE_TONEAREST);

#define L1_32(flags) float a = start32(pa[i], flags);
#define L2_32(flags) L1_32(flags) float b = start32(pb[i], flags);
#define L3_32(flags) L2_32(flags) float c = start32(pc[i], flags);
#define L1_64(flags) double a = start64(pa[i], flags);
#define L2_64(flags) L1_64(flags) double b = start64(pb[i], flags);
#define L3_64(flags) L2_64(flags) double c = start64(pc[i], flags);

#define F1(id, bits, T, expr)                                                       \
    CLONES static void op_##id##_f##bits(struct warp *w, const struct soft_op *op)  \
    {                                                                               \
        const T *pa = exec_reg(w, op->a);                                           \
        FLOAT_BODY(T, finish##bits, L1_##bits, expr)                                \
    }
#define F2(id, bits, T, expr)                                                       \
    CLONES static void op_##id##_f##bits(struct warp *w, const struct soft_op *op)  \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        FLOAT_BODY(T, finish##bits, L2_##bits, expr)                                \
    }
#define F3(id, bits, T, expr)                                                       \
    CLONES static void op_##id##_f##bits(struct warp *w, const struct soft_op *op)  \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b), *pc = exec_reg(w, op->c); \
        FLOAT_BODY(T, finish##bits, L3_##bits, expr)                                \
    }

/* Of two numbers the smaller, -0 before +0; NaN only where both are. */
#define MINIMUM(a, b) ((a) != (a) ? (b) : (b) != (b) ? (a) : (a) < (b) || ((a) == (b) && signbit(a)) ? (a) : (b))
#define MAXIMUM(a, b) ((a) != (a) ? (b) : (b) != (b) ? (a) : (a) > (b) || ((a) == (b) && !signbit(a)) ? (a) : (b))

F2(add, 32, float, a + b)
F2(sub, 32, float, a - b)
F2(mul, 32, float, a *b)
F2(div, 32, float, a / b)
F3(fma, 32, float, __builtin_fmaf(a, b, c))
F2(min, 32, float, MINIMUM(a, b))
F2(max, 32, float, MAXIMUM(a, b))
F2(min_nan, 32, float, a != a || b != b ? a + b : MINIMUM(a, b))
F2(max_nan, 32, float, a != a || b != b ? a + b : MAXIMUM(a, b))
F1(rcp, 32, float, 1 / a)
F1(sqrt, 32, float, __builtin_sqrtf(a))
F1(rsqrt, 32, float, (float)(1 / __builtin_sqrt((double)a)))
F1(sin, 32, float, sinf(a))
F1(cos, 32, float, cosf(a))
F1(ex2, 32, float, exp2f(a))
F1(lg2, 32, float, log2f(a))
F1(tanh, 32, float, tanhf(a))
F2(add, 64, double, a + b)
F2(sub, 64, double, a - b)
F2(mul, 64, double, a *b)
F2(div, 64, double, a / b)
F3(fma, 64, double, __builtin_fma(a, b, c))
F2(min, 64, double, MINIMUM(a, b))
F2(max, 64, double, MAXIMUM(a, b))
F1(sqrt, 64, double, __builtin_sqrt(a))
/* With .ftz the results are those of an approximation whose lower half is zero. */
#define UPPER(v) (flags & OP_FTZ ? bits_f64(f64_bits(v) & ~0xffffffffull) : (v))
F1(rcp, 64, double, UPPER(1 / a))
F1(rsqrt, 64, double, UPPER(1 / __builtin_sqrt(a)))

#define SIGN_OPS(bits, T, top)                                                      \
    CLONES static void op_neg_f##bits(struct warp *w, const struct soft_op *op)     \
    {                                                                               \
        const T *pa = exec_reg(w, op->a);                                           \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(T v = pa[i]; if (op->flags & OP_FTZ) v = FLUSH_##bits(v); pd[i] = v ^ top); \
    }                                                                               \
    CLONES static void op_abs_f##bits(struct warp *w, const struct soft_op *op)     \
    {                                                                               \
        const T *pa = exec_reg(w, op->a);                                           \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(T v = pa[i]; if (op->flags & OP_FTZ) v = FLUSH_##bits(v); pd[i] = v & ~top); \
    }                                                                               \
    CLONES static void op_copysign_f##bits(struct warp *w, const struct soft_op *op) \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        T *pd = exec_reg(w, op->d);                                                 \
                                                                                    \
        LANES(pd[i] = (pa[i] & top) | (pb[i] & ~top));                              \
    }
#define FLUSH_32(v) f32_bits(ftz(bits_f32(v)))
#define FLUSH_64(v) (v)
SIGN_OPS(32, uint32_t, (1u << 31))
SIGN_OPS(64, uint64_t, (1ull << 63))

/* Comparisons: ordered ones are false with a NaN, unordered ones true. */
#define COMPARE(id, bits, T, expr)                                                  \
    CLONES static void op_##id##_f##bits(struct warp *w, const struct soft_op *op)  \
    {                                                                               \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                 \
        uint32_t *pd = exec_reg(w, op->d), m = 0;                                   \
        unsigned flags = op->flags;                                                 \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                  \
            T a = start##bits(pa[i], flags), b = start##bits(pb[i], flags);         \
            (void)b;                                                                \
            m |= (uint32_t)(expr) << i;                                             \
        }                                                                           \
        *pd = (*pd & ~w->exec) | (m & w->exec);                                     \
    }
#define COMPARES(bits, T)                                                           \
    COMPARE(eq, bits, T, a == b)                                                    \
    COMPARE(ne, bits, T, a < b || a > b)                                            \
    COMPARE(lt, bits, T, a < b)                                                     \
    COMPARE(le, bits, T, a <= b)                                                    \
    COMPARE(gt, bits, T, a > b)                                                     \
    COMPARE(ge, bits, T, a >= b)                                                    \
    COMPARE(equ, bits, T, !(a < b || a > b))                                        \
    COMPARE(neu, bits, T, !(a == b))                                                \
    COMPARE(ltu, bits, T, !(a >= b))                                                \
    COMPARE(leu, bits, T, !(a > b))                                                 \
    COMPARE(gtu, bits, T, !(a <= b))                                                \
    COMPARE(geu, bits, T, !(a < b))                                                 \
    COMPARE(num, bits, T, a == a && b == b)                                         \
    COMPARE(nan, bits, T, a != a || b != b)                                         \
    COMPARE(testp_finite, bits, T, isfinite(a))                                     \
    COMPARE(testp_infinite, bits, T, isinf(a) != 0)                                 \
    COMPARE(testp_number, bits, T, a == a)                                          \
    COMPARE(testp_notanumber, bits, T, a != a)                                      \
    COMPARE(testp_normal, bits, T, isnormal(a))                                     \
    COMPARE(testp_subnormal, bits, T, fpclassify(a) == FP_SUBNORMAL)
COMPARES(32, float)
COMPARES(64, double)

#define COMPARE_ROWS(bits, l, flags)                                                \
    {"setp.eq.f" #bits, "p" l l, op_eq_f##bits, flags}, {"setp.ne.f" #bits, "p" l l, op_ne_f##bits, flags},     \
    {"setp.lt.f" #bits, "p" l l, op_lt_f##bits, flags}, {"setp.le.f" #bits, "p" l l, op_le_f##bits, flags},     \
    {"setp.gt.f" #bits, "p" l l, op_gt_f##bits, flags}, {"setp.ge.f" #bits, "p" l l, op_ge_f##bits, flags},     \
    {"setp.equ.f" #bits, "p" l l, op_equ_f##bits, flags}, {"setp.neu.f" #bits, "p" l l, op_neu_f##bits, flags}, \
    {"setp.ltu.f" #bits, "p" l l, op_ltu_f##bits, flags}, {"setp.leu.f" #bits, "p" l l, op_leu_f##bits, flags}, \
    {"setp.gtu.f" #bits, "p" l l, op_gtu_f##bits, flags}, {"setp.geu.f" #bits, "p" l l, op_geu_f##bits, flags}, \
    {"setp.num.f" #bits, "p" l l, op_num_f##bits, flags}, {"setp.nan.f" #bits, "p" l l, op_nan_f##bits, flags}, \
    {"testp.finite.f" #bits, "p" l, op_testp_finite_f##bits, 0},                    \
    {"testp.infinite.f" #bits, "p" l, op_testp_infinite_f##bits, 0},                \
    {"testp.number.f" #bits, "p" l, op_testp_number_f##bits, 0},                    \
    {"testp.notanumber.f" #bits, "p" l, op_testp_notanumber_f##bits, 0},            \
    {"testp.normal.f" #bits, "p" l, op_testp_normal_f##bits, 0},                    \
    {"testp.subnormal.f" #bits, "p" l, op_testp_subnormal_f##bits, 0}

enum { ALL32 = OP_FTZ | OP_SAT | OP_ROUND };

static const struct soft_opdef rows[] = {
    {"add.f32", "www", op_add_f32, ALL32},
    {"sub.f32", "www", op_sub_f32, ALL32},
    {"mul.f32", "www", op_mul_f32, ALL32},
    {"fma.f32", "wwww", op_fma_f32, ALL32},
    {"mad.f32", "wwww", op_fma_f32, ALL32},
    {"div.f32", "www", op_div_f32, OP_FTZ | OP_ROUND},
    {"rcp.f32", "ww", op_rcp_f32, OP_FTZ | OP_ROUND},
    {"sqrt.f32", "ww", op_sqrt_f32, OP_FTZ | OP_ROUND},
    {"min.f32", "www", op_min_f32, OP_FTZ},
    {"max.f32", "www", op_max_f32, OP_FTZ},
    {"min.NaN.f32", "www", op_min_nan_f32, OP_FTZ},
    {"max.NaN.f32", "www", op_max_nan_f32, OP_FTZ},
    {"rsqrt.f32", "ww", op_rsqrt_f32, OP_FTZ},
    {"sin.f32", "ww", op_sin_f32, OP_FTZ},
    {"cos.f32", "ww", op_cos_f32, OP_FTZ},
    {"ex2.f32", "ww", op_ex2_f32, OP_FTZ},
    {"lg2.f32", "ww", op_lg2_f32, OP_FTZ},
    {"tanh.f32", "ww", op_tanh_f32, OP_FTZ},
    {"neg.f32", "ww", op_neg_f32, OP_FTZ},
    {"abs.f32", "ww", op_abs_f32, OP_FTZ},
    {"copysign.f32", "www", op_copysign_f32, 0},
    {"add.f64", "ddd", op_add_f64, OP_ROUND},
    {"sub.f64", "ddd", op_sub_f64, OP_ROUND},
    {"mul.f64", "ddd", op_mul_f64, OP_ROUND},
    {"fma.f64", "dddd", op_fma_f64, OP_ROUND},
    {"mad.f64", "dddd", op_fma_f64, OP_ROUND},
    {"div.f64", "ddd", op_div_f64, OP_ROUND},
    {"rcp.f64", "dd", op_rcp_f64, OP_FTZ | OP_ROUND},
    {"sqrt.f64", "dd", op_sqrt_f64, OP_ROUND},
    {"rsqrt.f64", "dd", op_rsqrt_f64, OP_FTZ},
    {"min.f64", "ddd", op_min_f64, 0},
    {"max.f64", "ddd", op_max_f64, 0},
    {"neg.f64", "dd", op_neg_f64, 0},
    {"abs.f64", "dd", op_abs_f64, 0},
    {"copysign.f64", "ddd", op_copysign_f64, 0},
    COMPARE_ROWS(32, "w", OP_FTZ),
    COMPARE_ROWS(64, "d", 0),
};

const struct exec_ops exec_ops_float = {rows, G_N_ELEMENTS(rows)};
