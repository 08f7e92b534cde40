/*
 * The virtual and the physical timer raise interrupts where they are not masked: while code runs, out of
 * WFI, and as soon as PSTATE.DAIF lets them; ISR_EL1 and the timers' status say so. EL0 is stepped through
 * by software step.
 */
#include "prog.inc"

        .globl  irq
        /* Goes to x21, where there is one: whatever it interrupted is over. */
irq:    add     x19, x19, #1
        cbz     x21, 1f
        msr     elr_el1, x21
        mov     x21, #0
1:
        msr     cntv_ctl_el0, xzr       /* lowers the level */
        msr     cntp_ctl_el0, xzr
        eret

        /* The timer NAME goes off in a moment. */
        .macro  arm_timer name, ticks
        mov     x0, #\ticks
        msr     \name\()_tval_el0, x0
        mov     x0, #1
        msr     \name\()_ctl_el0, x0
        .endm

main:
        mov     x19, #0
        mov     x21, #0
        /* It waits while interrupts are masked. */
        arm_timer cntv, 0
1:      mrs     x0, cntv_ctl_el0
        tbz     x0, #2, 1b
1:      mrs     x0, isr_el1
        tbz     x0, #7, 1b
        check   x19, 0, 1
        msr     daifclr, #2
        nop
        check   x19, 1, 2
        mrs     x0, isr_el1
        check   x0, 0, 3
        mrs     x0, cntv_ctl_el0
        check   x0, 0, 4

        /* A loop is interrupted. */
        arm_timer cntp, 1000
1:      cmp     x19, #2
        b.ne    1b

        /* WFI ends, with interrupts unmasked and masked. */
        adr     x21, 2f
        arm_timer cntv, 1000
1:      wfi
        b       1b
2:      msr     daifset, #2
        check   x19, 3, 12
        arm_timer cntv, 1000
1:      wfi
        mrs     x0, isr_el1
        tbz     x0, #7, 1b
        check   x19, 3, 5
        msr     daif, xzr
        nop
        check   x19, 4, 6

        /* Masked at the timer: status alone. */
        msr     cntv_tval_el0, xzr
        mov     x0, #3
        msr     cntv_ctl_el0, x0
1:      mrs     x0, cntv_ctl_el0
        check   x0, 7, 7
        mrs     x0, isr_el1
        check   x0, 0, 8
        check   x19, 4, 9

        /* Unmasked by an exception return. */
        msr     daifset, #0xf
        arm_timer cntv, 0
        adr     x0, 1f
        msr     elr_el1, x0
        mov     x0, #0x345
        msr     spsr_el1, x0
        eret
1:      nop
        check   x19, 5, 10
        mrs     x0, daif
        check   x0, 0x340, 11

        /* Software step: each instruction of EL0 ends in an exception, with the next one's address. */
        msr     oslar_el1, xzr
        mov     x0, #1
        msr     mdscr_el1, x0
        isb
        adr     x21, stepped
        adr     x22, expected
        mov     x23, #0                 /* steps */
        adr     x0, vectors_of_steps
        msr     vbar_el1, x0
        msr     elr_el1, x21
        mov     x0, #1 << 21
        msr     spsr_el1, x0
        isb
        eret

on_step:
        mrs     x0, esr_el1
        lsr     x1, x0, #26
        cmp     x1, #0x32
        fail_unless eq, 20
        mrs     x0, elr_el1
        ldr     x1, [x22], #8
        cmp     x0, x1
        fail_unless eq, 21
        mrs     x0, spsr_el1
        tst     x0, #1 << 21
        fail_unless eq, 22
        add     x23, x23, #1
        cmp     x23, #6
        b.eq    pass
        orr     x0, x0, #1 << 21
        msr     spsr_el1, x0
        eret

stepped:
s0:     mov     x5, #1
s1:     cbz     x5, s0
s2:     b       s4
s3:     nop
s4:     adr     x6, s6
s5:     br      x6
s6:     msr     tpidr_el0, x5
s7:     nop
        .balign 8
expected: .quad s1, s2, s4, s5, s6, s7

        .balign 0x800
vectors_of_steps:
        .org    vectors_of_steps + 0x400
        b       on_step
        .org    vectors_of_steps + 0x800
