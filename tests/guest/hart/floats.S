/* F and D: boxes, flags, rounding modes, and what FS does. */
#include "hart.h"

/* Flags raised since the last FLAGS are VALUE. */
.macro FLAGS number, value
    csrrw a7, fflags, zero
    CHECK \number, a7, \value
.endm

BEGIN
    csrw fcsr, zero
    /* A single that is not boxed is the default NaN: as an operand, a sign source, to classify. */
    li a0, 0x3f800000
    fmv.d.x fa0, a0
    fmv.w.x fa1, a0
    fadd.s fa2, fa0, fa1
    fmv.x.d a1, fa2
    CHECK 1, a1, 0xffffffff7fc00000
    FLAGS 2, 0
    fclass.s a1, fa0
    CHECK 3, a1, 0x200
    fsgnj.s fa2, fa1, fa0
    fmv.x.w a1, fa2
    CHECK 4, a1, 0x3f800000
    fmv.s fa2, fa0
    fmv.x.d a1, fa2
    CHECK 5, a1, 0xffffffff7fc00000
    feq.s a1, fa0, fa0
    CHECK 6, a1, 0
    FLAGS 7, 0
    fmax.s fa2, fa0, fa1
    fmv.x.w a1, fa2
    CHECK 8, a1, 0x3f800000
    /* But moves and stores take the low half as it is. */
    fmv.x.w a1, fa0
    CHECK 9, a1, 0x3f800000
    la a2, data
    fsw fa0, 0(a2)
    lw a1, 0(a2)
    CHECK 10, a1, 0x3f800000
    flw fa2, 0(a2)
    fmv.x.d a1, fa2
    CHECK 11, a1, 0xffffffff3f800000
    fcvt.s.w fa2, zero
    fmv.x.d a1, fa2
    CHECK 12, a1, 0xffffffff00000000

    /* NaNs of arithmetic are the default one; moves keep theirs. */
    li a0, 0xfff8000000000123
    fmv.d.x fa0, a0
    fadd.d fa1, fa0, fa0
    fmv.x.d a1, fa1
    CHECK 13, a1, 0x7ff8000000000000
    fneg.d fa1, fa0
    fmv.x.d a1, fa1
    CHECK 14, a1, 0x7ff8000000000123
    fmin.d fa1, fa0, fa0
    fmv.x.d a1, fa1
    CHECK 15, a1, 0x7ff8000000000000
    fcvt.s.d fa1, fa0
    fmv.x.d a1, fa1
    CHECK 16, a1, 0xffffffff7fc00000
    fmv.d.x fa2, zero
    fdiv.d fa1, fa2, fa2
    fmv.x.d a1, fa1
    CHECK 17, a1, 0x7ff8000000000000
    FLAGS 18, 16
    fsqrt.d fa1, fa0
    FLAGS 19, 0

    /* FMA: a quiet addend is no reason for NV, infinity times zero is even then. */
    li a1, 0x3ff0000000000000
    fmv.d.x fa1, a1
    fmadd.d fa3, fa1, fa1, fa0
    FLAGS 20, 0
    li a1, 0x7ff0000000000000
    fmv.d.x fa4, a1
    fmadd.d fa3, fa4, fa2, fa0
    FLAGS 21, 16
    fnmadd.d fa3, fa2, fa4, fa0
    FLAGS 22, 16
    /* It rounds once: (1 + 2^-52)^2 - (1 + 2^-51) = 2^-104. */
    li a1, 0x3ff0000000000001
    fmv.d.x fa5, a1
    li a1, 0x3ff0000000000002
    fmv.d.x fa6, a1
    fmsub.d fa3, fa5, fa5, fa6
    fmv.x.d a1, fa3
    CHECK 23, a1, 0x3970000000000000
    FLAGS 24, 0

    /* Comparisons: quiet and signalling. */
    feq.d a1, fa0, fa1
    FLAGS 25, 0
    flt.d a1, fa0, fa1
    FLAGS 26, 16
    li a1, 0x7ff0000000000001
    fmv.d.x fa7, a1
    feq.d a1, fa7, fa1
    FLAGS 27, 16
    fle.d a1, fa2, fa2
    CHECK 28, a1, 1

    /* Conversions saturate. */
    fcvt.w.d a1, fa0, rtz
    CHECK 29, a1, 0x7fffffff
    FLAGS 30, 16
    fcvt.lu.d a1, fa4, rtz
    CHECK 31, a1, -1
    li a1, 0xc1f0000000000000 /* -2^32 */
    fmv.d.x fa3, a1
    fcvt.w.d a1, fa3, rtz
    CHECK 32, a1, -0x80000000
    fcvt.wu.d a1, fa3, rtz
    CHECK 33, a1, 0
    li a1, 0x41efffffffe00000 /* 2^32 - 1 */
    fmv.d.x fa3, a1
    FLAGS 34, 16
    fcvt.wu.d a1, fa3, rtz
    CHECK 35, a1, -1
    FLAGS 36, 0
    li a1, 0x4004000000000000 /* 2.5 */
    fmv.d.x fa3, a1
    fcvt.l.d a1, fa3, rne
    CHECK 37, a1, 2
    fcvt.l.d a1, fa3, rmm
    CHECK 38, a1, 3
    fcvt.l.d a1, fa3, rup
    CHECK 39, a1, 3
    fcvt.l.d a1, fa3, rdn
    CHECK 40, a1, 2
    FLAGS 41, 1

    /* Dynamic modes: 1/3 rounds up or down, and to nearest by RMM. */
    li a1, 0x4008000000000000
    fmv.d.x fa3, a1
    li a1, 0x3ff0000000000000
    fmv.d.x fa1, a1
    csrwi frm, 2
    fdiv.d fa4, fa1, fa3
    fmv.x.d a1, fa4
    CHECK 42, a1, 0x3fd5555555555555
    csrwi frm, 3
    fdiv.d fa4, fa1, fa3
    fmv.x.d a1, fa4
    CHECK 43, a1, 0x3fd5555555555556
    csrwi frm, 4
    fdiv.d fa4, fa1, fa3
    fmv.x.d a1, fa4
    CHECK 44, a1, 0x3fd5555555555555
    /* 1 + 2^-53 is a tie. */
    li a1, 0x3ca0000000000000
    fmv.d.x fa4, a1
    fadd.d fa5, fa1, fa4
    fmv.x.d a1, fa5
    CHECK 45, a1, 0x3ff0000000000001
    fadd.d fa5, fa1, fa4, rne
    fmv.x.d a1, fa5
    CHECK 46, a1, 0x3ff0000000000000
    csrr a1, fcsr
    CHECK 47, a1, 0x81
    /* Invalid ones: dynamic rounding is illegal, static is not, what does not round is not. */
    csrwi frm, 5
    EXPECT 2
    fadd.d fa5, fa1, fa4
    TRAPPED 48
    fadd.d fa5, fa1, fa4, rtz
    fmax.d fa5, fa1, fa4
    csrwi frm, 7
    EXPECT 2
    fcvt.w.d a1, fa1
    TRAPPED 49
    csrwi frm, 0

    /* Tiny after rounding: just below the least normal number rounds to it without UF. */
    li a1, 0x000fffffffffffff
    fmv.d.x fa3, a1
    li a1, 0x3ff0000000000001
    fmv.d.x fa4, a1
    csrw fflags, zero
    fmul.d fa5, fa3, fa4
    fmv.x.d a1, fa5
    CHECK 50, a1, 0x0010000000000000
    FLAGS 51, 1
    li a1, 0x0010000000000000
    fmv.d.x fa3, a1
    li a1, 0x3fefffffffffffff
    fmv.d.x fa4, a1
    fmul.d fa5, fa3, fa4
    FLAGS 52, 3

    /* FS: off is illegal, also for the CSRs; a write makes clean dirty, reading does not. */
    li a3, 0x6000
    csrc mstatus, a3
    EXPECT 2
    fadd.d fa5, fa1, fa1
    TRAPPED 53
    EXPECT 2
    csrr a1, fcsr
    TRAPPED 54
    EXPECT 2
    fld fa5, 0(a2)
    TRAPPED 55
    li a4, 0x4000 /* clean */
    csrs mstatus, a4
    fmv.x.d a1, fa1
    fsd fa1, 8(a2)
    csrr a1, fcsr
    csrr a1, mstatus
    and a1, a1, a3
    CHECK 56, a1, 0x4000
    bltz a1, failed
    fld fa5, 8(a2)
    csrr a1, mstatus
    bgez a1, failed /* SD */
    and a1, a1, a3
    CHECK 57, a1, 0x6000
    csrc mstatus, a3
    csrs mstatus, a4
    csrwi fflags, 1
    csrr a1, mstatus
    and a1, a1, a3
    CHECK 58, a1, 0x6000
    csrc mstatus, a3
    csrs mstatus, a4
    flt.d a1, fa0, fa1 /* raises a flag */
    csrr a1, mstatus
    and a1, a1, a3
    CHECK 59, a1, 0x6000
    csrr a1, fflags
    CHECK 60, a1, 17
PASS
    .section .data
    .balign 64
data: .dword 0, 0
