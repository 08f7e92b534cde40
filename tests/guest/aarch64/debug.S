/*
 * The guest's own breakpoints and watchpoints: what enables them, where they match, their syndromes and
 * addresses, contexts that they are linked with; of EL1, of EL0, and beside software step.
 */
#include "prog.inc"

        .set    MDE, 0x8000
        .set    KDE, 0x2000
        .set    SS, 0x0001
        .set    BREAK, 0x1e3            /* DBGBCR: E, EL1, all bytes */
        .set    LOADS, 0x1feb           /* DBGWCR: E, EL1, eight bytes, loads */
        .set    STORES, 0x1ff3
        .set    BOTH, 0x1ffb

        .macro  mdscr bits
        ldr     x0, =(\bits)
        msr     mdscr_el1, x0
        isb
        .endm

        .macro  breaks place, control, n=0
        adr     x0, \place
        msr     dbgbvr\n\()_el1, x0
        ldr     x0, =(\control)
        msr     dbgbcr\n\()_el1, x0
        isb
        .endm

        .macro  watches offset, control, n=0
        adr     x1, data
        add     x0, x1, #\offset
        msr     dbgwvr\n\()_el1, x0
        ldr     x0, =(\control)
        msr     dbgwcr\n\()_el1, x0
        isb
        .endm

        /* A loop that goes by two places. */
        .macro  go_round
        mov     x2, #3
        bl      round
        .endm

        /* What is at a place is not run. */
        .macro  breaks_at place, number
        adr     x2, \place
        jump_raises 0x31, \number, x2
        .endm

        .macro  breaks_on_round place, number
        mov     x29, #2
        adr     x25, 8f
        go_round
        fails   \number
8:      adr     x0, \place
        cmp     x24, x0
        fail_unless eq, \number
        .endm

main:
        msr     osdlr_el1, xzr
        msr     oslar_el1, xzr
#ifndef QEMU
        mrs     x0, id_aa64dfr0_el1
        check   x0, 0x10305006, 1
#endif
        mov     x0, #0x300000
        msr     cpacr_el1, x0
        /* Masked by PSTATE.D, then each of what else keeps a breakpoint off. */
        breaks  here, BREAK
        mdscr   MDE + KDE
        bl      here
        msr     daifclr, #8
        breaks_at here, 2
        check   x27, 0xc6000022, 3
        mdscr   KDE
        bl      here
        mdscr   MDE
        bl      here
        mdscr   MDE + KDE
#ifndef QEMU /* whose locks do nothing */
        mov     x0, #1
        msr     oslar_el1, x0
        isb
        bl      here
        msr     oslar_el1, xzr
        msr     osdlr_el1, x0
        isb
        bl      here
        msr     osdlr_el1, xzr
#endif
        breaks  here, BREAK - 1         /* E */
        bl      here
        breaks  here, BREAK + 2         /* EL0 */
        bl      here
        breaks  here_too, BREAK         /* the same place in another page */
        bl      here
        breaks  here, BREAK, 3
        breaks_at here, 4
        msr     dbgbcr3_el1, xzr

        /* Code that ran before, and between two places. */
        go_round
        breaks  round_first, BREAK
        breaks_on_round round_first, 5
        breaks  round_second, BREAK
        breaks_on_round round_second, 7
        msr     dbgbcr0_el1, xzr
        isb
        go_round

        /* Linked with a context: number 5 is one of those that can match it. */
        mov     x0, #0x1237
        msr     contextidr_el1, x0
        msr     dbgbvr5_el1, x0
        ldr     x0, =0x3001e7           /* linked, EL1 and EL0 */
        msr     dbgbcr5_el1, x0
        breaks  here, BREAK + 0x150000
        breaks_at here, 10
        mov     x0, #0x1236
        msr     contextidr_el1, x0
        isb
        bl      here
        breaks  here, BREAK + 0x140000  /* number 4 is none */
        bl      here
        msr     dbgbcr0_el1, xzr
        watches 0, STORES + 0x150000
        str     x1, [x1]
        mov     x0, #0x1237
        msr     contextidr_el1, x0
        isb
        raises  0x35, 11, str x1, [x1]
        watches 0, 0
#ifndef QEMU /* which knows contexts by links alone */
        adr     x0, other_vectors
        msr     vbar_el1, x0
        ldr     x0, =0x2001e3
        msr     dbgbcr5_el1, x0         /* and anywhere in it */
        isb
        fails   12
after_context:
        check   x0, 0xc6000022, 13
        adr     x0, vectors
        msr     vbar_el1, x0
        msr     daifclr, #8
#endif
        msr     dbgbcr5_el1, xzr
        isb

        /* Watchpoints: stores, loads, both. */
        watches 0, STORES
        ldr     x0, [x1]
        mov     x3, x0
        raises  0x35, 20, str x1, [x1]
        check   x27, 0xd6000062, 21
        cmp     x28, x1
        fail_unless eq, 22
        msr     dbgwcr0_el1, xzr
        ldr     x0, [x1]
        cmp     x0, x3                  /* it was not made */
        fail_unless eq, 23
        watches 0, LOADS
        str     x3, [x1]
        raises  0x35, 24, ldr x0, [x1]
        check   x27, 0xd6000022, 25
        raises  0x35, 26, ldrb w0, [x1, #7]
        add     x0, x1, #7
        cmp     x28, x0
        fail_unless eq, 27
        ldr     x0, [x1, #8]
        sub     x2, x1, #4
        raises  0x35, 28, ldr x0, [x2]
        cmp     x28, x1                 /* the first byte that is watched */
        fail_unless eq, 29
        raises  0x35, 30, ldxr x0, [x1]
        raises  0x35, 31, ldar x0, [x1]
        raises  0x35, 32, ldp x2, x3, [x1, #-8]
        raises  0x35, 33, ldr q0, [x1]
        raises  0x35, 34, ld1 {v0.16b, v1.16b}, [x1]
        watches 0, BOTH, 2
        raises  0x35, 35, ldr x0, [x1]
        raises  0x35, 36, str x0, [x1]
        watches 0, 0, 2
        watches 0, 0

        /* Atomics load and store; what a store-exclusive does is no load. */
#ifndef QEMU /* which watches neither */
        watches 0, LOADS
        raises  0x35, 37, ldadd x0, x0, [x1]
        check   x27, 0xd6000022, 38
        mov     x2, #0
        mov     x3, #0
        raises  0x35, 39, casp x2, x3, x2, x3, [x1]
        watches 0, STORES
        raises  0x35, 40, ldadd x0, x0, [x1]
        check   x27, 0xd6000062, 41
        raises  0x35, 42, casp x2, x3, x2, x3, [x1]
        watches 0, 0
        ldxr    x0, [x1]
        watches 0, LOADS
        stxr    w2, x0, [x1]
        stxp    w2, w0, w0, [x1]
        watches 0, STORES
        raises  0x35, 43, stxr w2, x0, [x1]
        raises  0x35, 44, dc zva, x1
        watches 0, 0
#endif

        /* Some bytes. */
        watches 0, 0x10b                /* byte 3 */
        ldrb    w0, [x1, #2]
        ldr     w0, [x1, #4]
        raises  0x35, 50, ldrb w0, [x1, #3]
        raises  0x35, 51, ldr x0, [x1]
        add     x0, x1, #3
        cmp     x28, x0
        fail_unless eq, 52
        watches 4, 0x1eb                /* bytes 4 to 7 */
        ldr     w0, [x1]
        raises  0x35, 53, ldrb w0, [x1, #7]
        ldr     w0, [x1, #8]
        watches 64, 0x6001feb           /* 64 bytes */
        ldr     x0, [x1, #56]
        raises  0x35, 54, ldr x0, [x1, #64]
        raises  0x35, 55, ldrb w0, [x1, #127]
        add     x2, x1, #128
        ldr     x0, [x2]
        raises  0x35, 56, ldr x0, [x2, #-4]
        watches 0, LOADS - 1
        ldr     x0, [x1]
        watches 0, LOADS - 0x1fe0       /* no byte */
        ldr     x0, [x1]
        /* In two pages. */
        watches 0, 0
        adr     x1, next_page
        msr     dbgwvr0_el1, x1
        ldr     x0, =LOADS
        msr     dbgwcr0_el1, x0
        isb
        ldr     x0, [x1, #-8]
        sub     x2, x1, #1
        raises  0x35, 57, ldrh w0, [x2]
        cmp     x28, x1
        fail_unless eq, 58
        watches 0, 0

        /* Whose access it is. */
        watches 0, LOADS + 2            /* EL0 */
        ldr     x0, [x1]
        raises  0x35, 60, ldtr x0, [x1]
        watches 0, LOADS
        ldtr    x0, [x1]
        msr     daifset, #8
        ldr     x0, [x1]
        msr     daifclr, #8
        raises  0x35, 61, ldr x0, [x1]
        /* Alignment comes first. */
        mrs     x20, sctlr_el1
        orr     x0, x20, #2
        msr     sctlr_el1, x0
        isb
        add     x2, x1, #1
        raises  0x25, 62, ldr w0, [x2]
        msr     sctlr_el1, x20
        isb
        watches 0, 0

        /* A breakpoint is hit in place of the step that was to be made. */
        msr     daifset, #8
        adr     x0, other_vectors
        msr     vbar_el1, x0
        breaks  at_el0, BREAK + 2
        mdscr   MDE + SS
        adr     x0, at_el0
        msr     elr_el1, x0
        mov     x0, #0x200000           /* PSTATE.SS */
        msr     spsr_el1, x0
        eret
after_break:
        mrs     x0, esr_el1
        check   x0, 0xc2000022, 70
        mrs     x0, spsr_el1
        check   x0, 0x200000, 71
        mrs     x0, elr_el1
        adr     x1, at_el0
        cmp     x0, x1
        fail_unless eq, 72

        /* EL0: PSTATE.D and KDE have nothing to say. */
        adr     x0, vectors
        msr     vbar_el1, x0
        breaks  el0_breaks, BREAK + 2
        watches 0, BOTH + 2
        mdscr   MDE
        adr     x0, at_el0
        msr     elr_el1, x0
        mov     x0, #0x200
        msr     spsr_el1, x0
        mov     x19, sp
        eret

        .set    at_el0_alone, 1
at_el0:
        mov     x2, #3
        raises  0x30, 73, el0_breaks: nop
        adr     x1, data
        raises  0x34, 74, ldr x0, [x1]
        check   x27, 0xd2000022, 75
        raises  0x34, 76, stp x0, x2, [x1, #-8]
        check   x27, 0xd2000062, 77
        cmp     x28, x1
        fail_unless eq, 78
        mov     x0, #0
        svc     #0xffff

        .balign 4096
here:   ret
round:  nop
round_first:
        add     x3, x3, #1
        add     x3, x3, #1
round_second:
        add     x3, x3, #1
        subs    x2, x2, #1
        b.ne    round
        ret

        .balign 4096
here_too:
        ret

        .balign 0x800
other_vectors:
        .skip   0x200
        mrs     x0, esr_el1
        msr     dbgbcr5_el1, xzr
        isb
#ifndef QEMU
        b       after_context
#endif
        .balign 0x200
        b       after_break

        .data
        .balign 4096
        .quad   0, 0, 0, 0, 0, 0, 0, 0
data:   .skip   4096 - 64
next_page:
        .skip   64
