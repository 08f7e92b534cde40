/*
 * A token goes round four harts by software interrupts: 3000 times to harts that sleep in WFI with
 * interrupts off, then 3000 times to harts that take the interrupt. A lost wake-up stops it.
 * harts: 4, mode: machine.
 */
#include "prog.inc"
.equ HARTS, 4
.equ ROUNDS, 3000
.globl _start
_start:
    mv      s0, a0
    addi    s1, a0, 1                   /* the next hart */
    andi    s1, s1, HARTS - 1
    li      t0, IPI
    slli    s2, s0, 2
    add     s2, s2, t0                  /* own input */
    slli    s3, s1, 2
    add     s3, s3, t0
    la      t0, handler
    csrw    mtvec, t0
    li      t0, 8
    csrw    mie, t0
    li      s4, ROUNDS
    li      s5, 1
    bnez    s0, sleep
    sw      s5, (s3)                    /* hart 0 starts it */
sleep:
    csrr    t0, mip
    andi    t0, t0, 8
    bnez    t0, woken
    wfi
    j       sleep
woken:
    sw      zero, (s2)
    addi    s4, s4, -1
    bnez    s4, pass_on
    bnez    s0, pass_on
    li      s6, 0                       /* hart 0: the second half */
    j       second
pass_on:
    sw      s5, (s3)
    bnez    s4, sleep
second:
    li      s4, ROUNDS
    csrsi   mstatus, 8
    bnez    s0, wait
    sw      s5, (s3)
wait:
    wfi
    bnez    s4, wait
    bnez    s0, rest
    end     1
rest:
    wfi
    j       rest
.balign 4
handler:
    csrr    s7, mcause
    slli    s8, s7, 1
    addi    s8, s8, -6
    beqz    s8, 1f
    end     2
1:  sw      zero, (s2)
    addi    s4, s4, -1
    bgtz    s4, 2f
    beqz    s0, 3f
2:  sw      s5, (s3)
3:  mret
