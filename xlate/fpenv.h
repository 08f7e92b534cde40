/*
 * xlate/fpenv.h: the host's floating-point environment as the guest's.
 *
 * While guest code runs, in generated code and in the interpreter alike, the host's control and
 * status register is the guest's: its rounding mode and its sticky flags, with every exception
 * masked. The run loop swaps it in and out; whoever calls foreign C code from inside (a device's
 * callback) swaps it for that long.
 */
#ifndef XLATE_FPENV_H
#define XLATE_FPENV_H

#include <stdint.h>

/* Sticky flags and rounding modes, free of any ISA's encoding. */
enum xl_fp_flag {
    XL_FP_INEXACT = 1,
    XL_FP_UNDERFLOW = 2,
    XL_FP_OVERFLOW = 4,
    XL_FP_DIVZERO = 8,
    XL_FP_INVALID = 16,
};
enum xl_fp_round { XL_FP_NEAREST, XL_FP_ZERO, XL_FP_DOWN, XL_FP_UP };

#if defined(__x86_64__)

#include <xmmintrin.h>

#define XL_FPENV_INIT 0x1f80u

static inline uint32_t xl_fpenv_read(void)
{
    return _mm_getcsr();
}

static inline void xl_fpenv_write(uint32_t env)
{
    _mm_setcsr(env);
}

static inline uint32_t xl_fpenv_make(enum xl_fp_round round, unsigned flags)
{
    static const uint8_t rc[] = {0, 3, 1, 2};

    return XL_FPENV_INIT | (uint32_t)rc[round] << 13 | !!(flags & XL_FP_INEXACT) << 5 |
           !!(flags & XL_FP_UNDERFLOW) << 4 | !!(flags & XL_FP_OVERFLOW) << 3 |
           !!(flags & XL_FP_DIVZERO) << 2 | !!(flags & XL_FP_INVALID);
}

static inline unsigned xl_fpenv_flags(uint32_t env)
{
    return (env >> 5 & 1 ? XL_FP_INEXACT : 0) | (env >> 4 & 1 ? XL_FP_UNDERFLOW : 0) |
           (env >> 3 & 1 ? XL_FP_OVERFLOW : 0) | (env >> 2 & 1 ? XL_FP_DIVZERO : 0) |
           (env & 1 ? XL_FP_INVALID : 0);
}

#elif defined(__aarch64__)

/* FPCR in the low half's upper bits (RMode is 23:22), FPSR's flags in bits 4..0. */
#define XL_FPENV_INIT 0u

static inline uint32_t xl_fpenv_read(void)
{
    uint64_t fpcr, fpsr;

    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("mrs %0, fpsr" : "=r"(fpsr));
    return (uint32_t)(fpcr & 3u << 22) | (uint32_t)(fpsr & 0x1f);
}

static inline void xl_fpenv_write(uint32_t env)
{
    uint64_t fpcr = env & 3u << 22, fpsr = env & 0x1f;

    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
    __asm__ volatile("msr fpsr, %0" : : "r"(fpsr));
}

static inline uint32_t xl_fpenv_make(enum xl_fp_round round, unsigned flags)
{
    static const uint8_t rmode[] = {0, 3, 2, 1};

    return (uint32_t)rmode[round] << 22 | !!(flags & XL_FP_INEXACT) << 4 |
           !!(flags & XL_FP_UNDERFLOW) << 3 | !!(flags & XL_FP_OVERFLOW) << 2 |
           !!(flags & XL_FP_DIVZERO) << 1 | !!(flags & XL_FP_INVALID);
}

static inline unsigned xl_fpenv_flags(uint32_t env)
{
    return (env >> 4 & 1 ? XL_FP_INEXACT : 0) | (env >> 3 & 1 ? XL_FP_UNDERFLOW : 0) |
           (env >> 2 & 1 ? XL_FP_OVERFLOW : 0) | (env >> 1 & 1 ? XL_FP_DIVZERO : 0) |
           (env & 1 ? XL_FP_INVALID : 0);
}

#elif defined(__riscv)

#define XL_FPENV_INIT 0u

static inline uint32_t xl_fpenv_read(void)
{
    uint64_t v;

    __asm__ volatile("frcsr %0" : "=r"(v));
    return (uint32_t)v;
}

static inline void xl_fpenv_write(uint32_t env)
{
    __asm__ volatile("fscsr %0" : : "r"((uint64_t)env));
}

static inline uint32_t xl_fpenv_make(enum xl_fp_round round, unsigned flags)
{
    return (uint32_t)round << 5 | flags;
}

static inline unsigned xl_fpenv_flags(uint32_t env)
{
    return env & 0x1f;
}

#else
#error "no floating-point environment for this host"
#endif

#endif
