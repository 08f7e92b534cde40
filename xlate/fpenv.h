/*
 * xlate/fpenv.h: the host's floating-point control and status register, for whoever calls foreign C
 * code (a device's callback) while it is the guest's.
 */
#ifndef XLATE_FPENV_H
#define XLATE_FPENV_H

#include <stdint.h>

/* XL_FPENV_HOST: what C code expects: nearest even, nothing traps, no flag set. */
#if defined(__x86_64__)

#include <xmmintrin.h>

#define XL_FPENV_HOST 0x1f80u

static inline uint32_t xl_fpenv_read(void)
{
    return _mm_getcsr();
}

static inline void xl_fpenv_write(uint32_t env)
{
    _mm_setcsr(env);
}

#elif defined(__aarch64__)

/* FPCR's rounding mode stays in bits 23:22, FPSR's flags in bits 4:0. */
#define XL_FPENV_HOST 0u

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

#elif defined(__riscv)

#define XL_FPENV_HOST 0u

static inline uint32_t xl_fpenv_read(void)
{
    uint64_t env;

    __asm__ volatile("frcsr %0" : "=r"(env));
    return (uint32_t)env;
}

static inline void xl_fpenv_write(uint32_t env)
{
    __asm__ volatile("fscsr %0" : : "r"((uint64_t)env));
}

#else
#error "no floating-point environment for this host"
#endif

#endif
