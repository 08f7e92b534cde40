/*
 * Exceptions with their syndromes: undefined instructions, calls and breakpoints, aborts, alignment of
 * data and of the stack pointer, software step; EL0 below EL1, and what it may not.
 */
#include "prog.inc"

main:
        ldr     x0, =0x30d00800         /* SCTLR_EL1: EL0 may nothing */
        msr     sctlr_el1, x0
        isb
        /* Undefined, breakpoints, addresses without memory. */
        raises  0x00, 1, .inst 0
        check   x27, 0x02000000, 2
        raises  0x3c, 3, brk #0x1234
        check   x27, 0xf2001234, 4
        mov     x1, #NOWHERE
        raises  0x25, 5, ldr x0, [x1]
        check   x27, 0x96000010, 6
        check   x28, NOWHERE, 7
        raises  0x25, 8, str x0, [x1]
        check   x27, 0x96000050, 9
        adr     x1, data
        add     x1, x1, #1
        raises  0x25, 10, ldxr x0, [x1]
        check   x27, 0x96000021, 11
        raises  0x25, 12, ldadd x0, x0, [x1]
        and     x27, x27, #0x3f
        check   x27, 0x21, 13
        cmp     x28, x1
        fail_unless eq, 14

        /* System registers: unknown ID space is zero, what is not there is undefined. */
        mrs     x0, s3_0_c0_c7_7
        check   x0, 0, 15
#ifndef QEMU
        mrs     x0, id_aa64mmfr0_el1
        check   x0, 0x00100025, 16
#endif
        raises  0x00, 17, mrs x0, s3_0_c15_c2_0
        raises  0x00, 18, msr s3_0_c0_c0_0, x0
#ifndef QEMU /* whose CPU has a PMU */
        raises  0x00, 19, mrs x0, pmcr_el0
#endif
        mrs     x0, currentel
        check   x0, 4, 20

        /* Floating point is off after a reset. */
        raises  0x07, 21, msr fpcr, xzr
        check   x27, 0x1fe00000, 22

        /* SCTLR_EL1.A: structures are aligned as their elements are. */
        mov     x0, #0x300000
        msr     cpacr_el1, x0
        mrs     x20, sctlr_el1
        orr     x0, x20, #2
        msr     sctlr_el1, x0
        isb
        adr     x1, data
        add     x1, x1, #1
        ld1     {v0.16b, v1.16b}, [x1]
        ld4     {v0.b, v1.b, v2.b, v3.b}[3], [x1]
        raises  0x25, 51, ld1 {v0.8h}, [x1]
        check   x27, 0x96000021, 52
        cmp     x28, x1
        fail_unless eq, 53
        raises  0x25, 54, st2 {v0.4h, v1.4h}, [x1]
        check   x27, 0x96000061, 55
        raises  0x25, 56, st1 {v0.h}[1], [x1]
        check   x27, 0x96000061, 57
        raises  0x25, 58, ld3r {v0.8h, v1.8h, v2.8h}, [x1]
        check   x27, 0x96000021, 59
        add     x1, x1, #3
        ld2     {v0.4s, v1.4s}, [x1]
        st1     {v0.s}[2], [x1]
        raises  0x25, 60, ld1 {v0.1d}, [x1]
        raises  0x25, 61, ld3 {v0.2d, v1.2d, v2.2d}, [x1], #48
        adr     x0, data
        add     x0, x0, #4
        cmp     x0, x1
        fail_unless eq, 62
        msr     sctlr_el1, x20
        isb

#ifndef QEMU /* which does not look at stack pointers */
        /* SCTLR_EL1.SA: a stack pointer that is a base is a multiple of 16. */
        mov     x19, sp
        orr     x0, x20, #0x10          /* SA0 is not for EL1 */
        msr     sctlr_el1, x0
        isb
        adr     x1, data
        add     x21, x1, #8
        mov     sp, x21
        ldr     x0, [sp]
        check   x0, 2, 63
        orr     x0, x20, #8
        msr     sctlr_el1, x0
        isb
        raises  0x26, 64, ldr x0, [sp]
        check   x27, 0x9a000000, 65
        raises  0x26, 66, str w0, [sp, #8]!
        raises  0x26, 67, ldp x0, x2, [sp], #16
        raises  0x26, 68, ldrb w0, [sp, x1]
        raises  0x26, 69, ldar x0, [sp]
        raises  0x26, 70, stlxp w0, x2, x3, [sp]
        raises  0x26, 71, ldadd x0, x0, [sp]
        raises  0x26, 72, casp x2, x3, x4, x5, [sp]
        raises  0x26, 73, str q0, [sp, #-16]!
        raises  0x26, 74, st2 {v0.4h, v1.4h}, [sp], #16
        raises  0x26, 75, ld1 {v0.b}[3], [sp]
        mov     x0, sp
        cmp     x0, x21
        fail_unless eq, 76
        prfm    pldl1keep, [sp]
        ldr     x0, [x21]
        check   x0, 2, 77
        /* What is known of it holds for multiples of 16 alone. */
        and     sp, x21, #-16
        ldr     x0, [sp, #8]
        sub     sp, sp, #32
        ldr     x0, [sp, #40]
        add     sp, sp, #32
        ldr     x2, [sp, #24]!
        raises  0x26, 78, ldr x0, [sp]
        sub     sp, sp, #8
        ldr     x0, [sp, #-8]
        sub     x0, x2, x0
        check   x0, 2, 79
        /* Before other faults of the access, but for floating point's trap; under SCTLR_EL1.A too. */
        mov     x0, #NOWHERE
        orr     x0, x0, #1
        mov     sp, x0
        raises  0x26, 80, str x0, [sp]
        raises  0x26, 81, ldxr x0, [sp]
        orr     x0, x20, #8
        orr     x0, x0, #2
        msr     sctlr_el1, x0
        isb
        raises  0x26, 82, ld1 {v0.8h}, [sp]
        msr     cpacr_el1, xzr
        isb
        raises  0x07, 83, ldr q0, [sp]
        mov     sp, x19
        orr     x0, x20, #0x10
        msr     sctlr_el1, x0
#endif
        msr     cpacr_el1, xzr
        isb

        /* Software step of EL1 begins where PSTATE.D is cleared. */
        adr     x0, step_vectors
        msr     vbar_el1, x0
        msr     osdlr_el1, xzr
        msr     oslar_el1, xzr
        mov     x0, #0x2001             /* MDSCR_EL1: KDE, SS */
        msr     mdscr_el1, x0
        mov     x27, #0
        isb
        msr     daifclr, #8
behind: msr     daifset, #8
        adr     x0, vectors
        msr     vbar_el1, x0
        isb
        lsr     x27, x27, #26
        check   x27, 0x33, 23
        adr     x0, behind
        cmp     x24, x0
        fail_unless eq, 24

        /* To EL0: what it may, and may not. */
        adr     x0, at_el0
        msr     elr_el1, x0
        mov     x0, #0x80000000
        msr     spsr_el1, x0
        adr     x0, data
        msr     sp_el0, x0
        mov     x19, sp
        eret

        .set    at_el0_alone, 1
at_el0:
        mrs     x0, nzcv
        check   x0, 0x80000000, 30
        mov     x0, sp
        adr     x1, data
        cmp     x0, x1
        fail_unless eq, 31
#ifndef QEMU /* SCTLR_EL1.SA0 */
        ldr     x0, [sp], #8
        raises  0x26, 84, ldr x0, [sp, #-8]!
        check   x27, 0x9a000000, 85
        sub     sp, sp, #8
        ldr     x0, [sp]
        check   x0, 1, 86
#endif
        raises  0x00, 32, mrs x0, sctlr_el1
        raises  0x00, 33, tlbi vmalle1
        raises  0x18, 34, msr daifset, #2
        raises  0x18, 35, mrs x3, daif
        check   x27, 0x6232d065, 36
        raises  0x18, 37, mrs x0, cntvct_el0
        raises  0x18, 38, mrs x0, ctr_el0
        raises  0x01, 39, wfi
        check   x27, 0x07e00000, 40
        raises  0x18, 41, dc zva, x1
        raises  0x00, 42, eret
        raises  0x00, 43, hvc #0
        msr     tpidr_el0, x1
        mrs     x0, tpidr_el0
        cmp     x0, x1
        fail_unless eq, 44
        raises  0x00, 45, msr tpidrro_el0, x1
        /* A call returns behind it. */
        mov     x29, #1
        svc     #7
        b       fail_50
        mov     x1, x27
        check   x1, 0x56000007, 46
        mov     x0, #0
        svc     #0xffff
fail_50:
        fails   50

        .balign 0x800
step_vectors:
        .skip   0x200
        mrs     x27, esr_el1
        mrs     x24, elr_el1
        msr     mdscr_el1, xzr
        isb
        eret

        .data
        .balign 16
data:   .quad   1, 2, 3, 4, 5, 6, 7
