/*
 * Handlers of operations that treat each lane alike: macros that make one from an expression. Sources are a, b,
 * c and e (a fourth), of the type C, read from registers of type T; the result becomes an R. The expression
 * must be defined for all values, because lanes that aren't active may be computed too. Handlers are compiled for
 * newer processors as well, where the compiler can, and the loader chooses.
 */
#ifndef GPU_SOFT_EXEC_LANES_H
#define GPU_SOFT_EXEC_LANES_H

#include "gpu/soft/exec/exec.h"

#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

#define IVDEP _Pragma("GCC ivdep")

/* The loop over lanes: all of them, or those of the mask. */
#define LANES(body)                                                                                        \
    do {                                                                                                   \
        if (w->exec == ~0u) {                                                                              \
            IVDEP for (unsigned i = 0; i < SOFT_WARP; i++)                                                 \
            {                                                                                              \
                body;                                                                                      \
            }                                                                                              \
        } else {                                                                                           \
            for (unsigned i = 0; i < SOFT_WARP; i++) {                                                     \
                if (w->exec >> i & 1) {                                                                    \
                    body;                                                                                  \
                }                                                                                          \
            }                                                                                              \
        }                                                                                                  \
    } while (0)

#define DEFINE_UN(id, T, C, R, expr)                                                                       \
    CLONES static void op_##id(struct warp *w, const struct soft_op *op)                                   \
    {                                                                                                      \
        const T *pa = exec_reg(w, op->a);                                                                  \
        R *pd = exec_reg(w, op->d);                                                                        \
                                                                                                           \
        LANES(C a = pa[i]; pd[i] = (R)(expr));                                                             \
    }

#define DEFINE_BIN(id, T, C, R, expr)                                                                      \
    CLONES static void op_##id(struct warp *w, const struct soft_op *op)                                   \
    {                                                                                                      \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                                        \
        R *pd = exec_reg(w, op->d);                                                                        \
                                                                                                           \
        LANES(C a = pa[i]; C b = pb[i]; pd[i] = (R)(expr));                                                \
    }

/* The third source has a type of its own: S. */
#define DEFINE_TRI(id, T, C, S, R, expr)                                                                   \
    CLONES static void op_##id(struct warp *w, const struct soft_op *op)                                   \
    {                                                                                                      \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                                        \
        const S *pc = exec_reg(w, op->c);                                                                  \
        R *pd = exec_reg(w, op->d);                                                                        \
                                                                                                           \
        LANES(C a = pa[i]; C b = pb[i]; S c = pc[i]; pd[i] = (R)(expr));                                   \
    }

/* The second source is an amount of 32 bits. */
#define DEFINE_SHIFT(id, T, C, R, expr)                                                                    \
    CLONES static void op_##id(struct warp *w, const struct soft_op *op)                                   \
    {                                                                                                      \
        const T *pa = exec_reg(w, op->a);                                                                  \
        const uint32_t *pb = exec_reg(w, op->b);                                                           \
        R *pd = exec_reg(w, op->d);                                                                        \
                                                                                                           \
        LANES(C a = pa[i]; uint32_t b = pb[i]; pd[i] = (R)(expr));                                         \
    }

/* The result is a predicate. */
#define DEFINE_CMP(id, T, expr)                                                                            \
    CLONES static void op_##id(struct warp *w, const struct soft_op *op)                                   \
    {                                                                                                      \
        const T *pa = exec_reg(w, op->a), *pb = exec_reg(w, op->b);                                        \
        uint32_t *pd = exec_reg(w, op->d), m = 0;                                                          \
                                                                                                           \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                                         \
            T a = pa[i], b = pb[i];                                                                        \
            m |= (uint32_t)(expr) << i;                                                                    \
        }                                                                                                  \
        *pd = (*pd & ~w->exec) | (m & w->exec);                                                            \
    }

/* Each file's rows of the table of operations. */
struct exec_ops {
    const struct soft_opdef *ops;
    unsigned n;
};
extern const struct exec_ops exec_ops_int, exec_ops_wide, exec_ops_float, exec_ops_half;

#endif
