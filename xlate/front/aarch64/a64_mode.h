/*
 * a64_mode.h: the translation mode of an A64 vCPU: all state that makes code mean something else.
 *
 * Privileged code computes it anew whenever PSTATE, SCTLR_EL1, CPACR_EL1 or FPCR change, and stores it
 * in cpu->mode; the front end reads it. What is not here is tested by helpers.
 */
#ifndef XLATE_FRONT_AARCH64_A64_MODE_H
#define XLATE_FRONT_AARCH64_A64_MODE_H

#include <stdint.h>

/* Bits 0..2: the TLB of data accesses. Unprivileged ones (LDTR, STTR) use A64_TLB_EL0. */
enum a64_tlb_mode {
    A64_TLB_EL0,
    A64_TLB_EL1,
    A64_TLB_EL1_PAN, /* what EL0 can access, EL1 can't */
};

/* Bits 3..4: the exception level, which is also the fetch regime. */
enum a64_el { A64_EL0, A64_EL1 };

/* The rest, one bit each. */
enum a64_mode_flag {
    A64_MODE_FP = 1 << 5,      /* floating point is not trapped */
    A64_MODE_SP_EL0 = 1 << 6,  /* EL1 with SP_EL0 */
    A64_MODE_UAO = 1 << 7,     /* LDTR and STTR access as LDR and STR */
    A64_MODE_ALIGN = 1 << 8,   /* SCTLR_EL1.A: every misaligned access faults */
    A64_MODE_STEP = 1 << 9,    /* software step: one instruction, then A64_MODE_STEPPED */
    A64_MODE_FZ = 1 << 10,     /* FPCR.FZ */
    A64_MODE_AHP = 1 << 11,    /* FPCR.AHP */
    A64_MODE_DN = 1 << 12,
    A64_MODE_STEPPED = 1 << 13, /* software step: its exception, in place of an instruction */
    A64_MODE_ZVA = 1 << 14,     /* DC ZVA is not trapped */
    A64_MODE_SP = 1 << 15,      /* SCTLR_EL1.SA or SA0: a misaligned stack pointer is no base */
    A64_MODE_BREAKS = 1 << 16,  /* breakpoints of the guest's may match */
    A64_MODE_DAIF = 1 << 17,    /* EL0 may use DAIF */
    A64_MODE_END = 1 << 18,
};

#define A64_MODE(tlb, el, flags) ((uint32_t)(tlb) | (uint32_t)(el) << 3 | (uint32_t)(flags))

static inline enum a64_tlb_mode a64_mode_tlb(uint32_t mode)
{
    return mode & 7;
}

static inline enum a64_el a64_mode_el(uint32_t mode)
{
    return mode >> 3 & 3;
}

#endif
