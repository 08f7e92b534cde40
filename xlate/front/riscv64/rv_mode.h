/*
 * rv_mode.h: the translation mode of a RISC-V hart: all state that makes code mean something else.
 *
 * Privileged code computes it anew whenever privilege, mstatus, fcsr.frm or what is counted change, and
 * stores it in cpu->mode; the front end reads it. What is not here (TVM, TSR, TW, counter enables, envcfg) is
 * tested by helpers.
 */
#ifndef XLATE_FRONT_RISCV64_RV_MODE_H
#define XLATE_FRONT_RISCV64_RV_MODE_H

#include <stdint.h>

/* Bits 0..2: the TLB of data accesses, with MPRV applied. */
enum rv_tlb_mode {
    RV_TLB_PHYS,      /* M-mode without MPRV; addresses are physical */
    RV_TLB_U,         /* as U */
    RV_TLB_S,         /* as S: user pages fault */
    RV_TLB_S_SUM,     /* as S with SUM: user pages may be read and written */
    RV_TLB_U_MXR,     /* the same three with MXR: executable pages may be read */
    RV_TLB_S_MXR,
    RV_TLB_S_SUM_MXR,
};

/* Bits 3..4: privilege of the code; numbers of the privileged architecture. */
enum rv_priv { RV_PRIV_U = 0, RV_PRIV_S = 1, RV_PRIV_M = 3 };

/* Bits 5..6: floating point. */
enum rv_fs {
    RV_FS_OFF,   /* its instructions are illegal */
    RV_FS_CLEAN, /* initial or clean: the first write marks it dirty (helper FP_DIRTY) */
    RV_FS_DIRTY,
};

/* Bits 7..8: what fcsr.frm holds. */
enum rv_frm {
    RV_FRM_HOST,    /* RNE, RTZ, RDN or RUP: cpu->fp_rm says which */
    RV_FRM_RMM,     /* to nearest, ties away */
    RV_FRM_INVALID, /* 5, 6, 7: dynamic rounding is illegal */
};

/* Bit 9: retired instructions are counted in RV_SLOT_INSTRET. */
#define RV_MODE_COUNT (UINT32_C(1) << 9)

#define RV_MODE(tlb, priv, fs, frm) \
    ((uint32_t)(tlb) | (uint32_t)(priv) << 3 | (uint32_t)(fs) << 5 | (uint32_t)(frm) << 7)

static inline enum rv_tlb_mode rv_mode_tlb(uint32_t mode)
{
    return mode & 7;
}

static inline enum rv_priv rv_mode_priv(uint32_t mode)
{
    return mode >> 3 & 3;
}

static inline enum rv_fs rv_mode_fs(uint32_t mode)
{
    return mode >> 5 & 3;
}

static inline enum rv_frm rv_mode_frm(uint32_t mode)
{
    return mode >> 7 & 3;
}

#endif
