/*
 * Two vCPUs hand a turn to and fro, and wait for it in WFE: told by SEV, and by the store alone, which
 * the exclusive monitor has to notice. What ends WFE without any wait: SEVL, an event of before, a return from an
 * exception. Lost wake-ups, which only the longest wait would end, take longer than the test may.
 */
#include "prog.inc"

#define ROUNDS  20000

main:
        mov     x10, x0
        eor     x13, x10, #1
        adr     x12, turn
        ldr     x11, =ROUNDS

        /* The one whose turn it is gives it away. */
1:      ldar    x0, [x12]
        cmp     x0, x10
        b.eq    2f
        wfe
        b       1b
2:      stlr    x13, [x12]
        dsb     sy
        sev
        subs    x11, x11, #1
        b.ne    1b

        /* The same by the monitor, of each width in turn, and of what lies in the middle of it. */
        add     x12, x12, #64
        ldr     x11, =ROUNDS
3:      ldaxr   x0, [x12]
        cmp     x0, x10
        b.eq    4f
        wfe
        b       3b
4:      stlr    x13, [x12]
        sub     x11, x11, #1
5:      ldaxr   w0, [x12]
        cmp     w0, w10
        b.eq    6f
        wfe
        b       5b
6:      stlr    w13, [x12]
        sub     x11, x11, #1
7:      ldaxrh  w0, [x12]
        cmp     w0, w10
        b.eq    8f
        wfe
        b       7b
8:      stlrh   w13, [x12]
        sub     x11, x11, #1
9:      ldaxrb  w0, [x12]
        cmp     w0, w10
        b.eq    10f
        wfe
        b       9b
10:     stlrb   w13, [x12]
        subs    x11, x11, #1
        b.ne    3b
        cbnz    x10, rest

        /* Alone now. */
        ldr     x11, =ROUNDS
11:     sevl
        wfe
        sev
        wfe
        subs    x11, x11, #1
        b.ne    11b
        ldr     x11, =ROUNDS
12:     raises  0x3c, 1, brk #1
        wfe
        subs    x11, x11, #1
        b.ne    12b
        /* It needs no event where EL0 may not wait. */
        adr     x0, at_el0
        msr     elr_el1, x0
        msr     spsr_el1, xzr
        ldr     x0, =0x30d00800         /* SCTLR_EL1: EL0 may nothing */
        msr     sctlr_el1, x0
        mov     x19, sp
        eret
rest:   wfi
        b       rest

        .set    at_el0_alone, 1
at_el0: wfe                             /* the return's */
        raises  0x01, 2, wfe
        check   x27, 0x07e00001, 3
        wfe
        sevl
        wfe
        raises  0x01, 4, wfe
        mov     x0, #0
        svc     #0xffff

        .data
        .balign 64
turn:   .quad   0
        .skip   56
        .quad   0
