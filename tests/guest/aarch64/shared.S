/*
 * Two vCPUs: counters by exclusives, by LSE atomics and under a lock come out exact; what one of them
 * unmaps is gone for the other when its TLBI and DSB are done.
 */
#include "prog.inc"

#define ROUNDS  100000
#define CPUS    2
#define TEST    0x100000000

main:
        mov     x10, x0
        /* Translation for both, by the first. */
        adr     x9, ready
        cbnz    x10, 2f
        adr     x1, l1
        ldr     x2, =0x401
        str     x2, [x1]
        ldr     x2, =0x40000401
        str     x2, [x1, #8]
        ldr     x2, =0x80000705         /* here, shareable memory */
        str     x2, [x1, #16]
        adr     x2, l2
        orr     x2, x2, #3
        str     x2, [x1, #32]
        adr     x1, l2
        adr     x2, l3
        orr     x2, x2, #3
        str     x2, [x1]
        adr     x1, l3
        adr     x2, data
        ldr     x3, =0x703
        orr     x2, x2, x3
        str     x2, [x1]
        mov     x0, #1
        stlr    x0, [x9]
2:      ldar    x0, [x9]
        cbz     x0, 2b
        ldr     x0, =0xff00
        msr     mair_el1, x0
        adr     x0, l1
        msr     ttbr0_el1, x0
        ldr     x0, =25 | 1 << 23 | 2 << 32 | 3 << 12
        msr     tcr_el1, x0
        isb
        mrs     x0, sctlr_el1
        orr     x0, x0, #1
        msr     sctlr_el1, x0
        isb

        ldr     x11, =ROUNDS
        adr     x12, counters
1:      ldaxr   x0, [x12]               /* exclusives */
        add     x0, x0, #1
        stlxr   w1, x0, [x12]
        cbnz    w1, 1b
        add     x2, x12, #8
        mov     x0, #1
        ldadd   x0, x1, [x2]            /* LSE */
        add     x2, x12, #19
        ldaddb  w0, w1, [x2]
        add     x2, x12, #24
3:      mov     w0, #0                  /* a lock, and what it guards */
        mov     w1, #1
        casa    w0, w1, [x2]
        cbnz    w0, 3b
        ldr     x0, [x12, #32]
        add     x0, x0, #1
        str     x0, [x12, #32]
        stlr    wzr, [x2]
        sub     x11, x11, #1
        cbnz    x11, 1b

        /* Both arrive; then the first unmaps the page that the second reads. */
        add     x2, x12, #40
        mov     x0, #1
        ldaddal x0, x1, [x2]
4:      ldar    x0, [x2]
        cmp     x0, #CPUS
        b.ne    4b
        ldr     x1, =TEST
        add     x3, x12, #48            /* the second has read */
        add     x4, x12, #56            /* it is unmapped */
        cbnz    x10, second
        ldr     x0, [x12]
        check   x0, CPUS * ROUNDS, 1
        ldr     x0, [x12, #8]
        check   x0, CPUS * ROUNDS, 2
        ldrb    w0, [x12, #19]
        check   x0, (CPUS * ROUNDS & 0xff), 3
        ldr     x0, [x12, #32]
        check   x0, CPUS * ROUNDS, 4
5:      ldar    x0, [x3]
        cbz     x0, 5b
        adr     x5, l3
        str     xzr, [x5]
        dsb     ishst
        lsr     x0, x1, #12
        tlbi    vaae1is, x0
        dsb     ish
        mov     x0, #1
        stlr    x0, [x4]
6:      wfe
        b       6b

second: ldr     x0, [x1]
        check   x0, 0x77, 5
        mov     x0, #1
        stlr    x0, [x3]
7:      mov     x29, #1                 /* the abort may come at any time.. */
        ldar    x5, [x4]
        ldr     x0, [x1]
        cbz     x29, 8f
        cbz     x5, 7b
        mov     x0, #6                  /* .. but not later than this */
        b       fail
8:
        check   x27, 0x96000007, 7
        b       pass

        .data
        .balign 4096
data:   .quad   0x77
        .balign 4096
l1:     .skip   4096
l2:     .skip   4096
l3:     .skip   4096
counters: .skip 128
ready:  .quad   0
