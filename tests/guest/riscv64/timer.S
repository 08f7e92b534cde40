/*
 * stimecmp: 300 sleeps of 100 us in WFI, none too short; then 100 interrupts into a loop of one
 * instruction, and into straight arithmetic; then a time that has passed already.
 * harts: 1, mode: machine.
 */
#include "prog.inc"
.equ STIMECMP, 0x14d
.equ MENVCFG, 0x30a
.equ TICKS, 1000
.globl _start
_start:
    la      t0, handler
    csrw    mtvec, t0
    li      t0, 1 << 63
    csrw    MENVCFG, t0
    li      t0, 0x20
    csrw    mie, t0
    li      s0, 300
sleep:
    csrr    s1, time
    li      t0, TICKS
    add     s1, s1, t0
    csrw    STIMECMP, s1
1:  csrr    t0, mip
    andi    t0, t0, 0x20
    bnez    t0, 2f
    wfi
    j       1b
2:  csrr    t0, time
    bgeu    t0, s1, 3f
    end     2
3:  addi    s0, s0, -1
    bnez    s0, sleep
    /* A set timer that is put off doesn't fire. */
    li      t0, -1
    csrw    STIMECMP, t0
    csrr    t0, mip
    andi    t0, t0, 0x20
    same    t0, zero, 3
    /* Interrupts. The handler sets the next one. */
    li      s0, 50
    csrw    STIMECMP, zero
    csrsi   mstatus, 8
loop:
    j       loop
leave_loop:
    li      s0, 50
    li      s4, 0
    csrw    STIMECMP, zero
4:  addi    s3, s3, 1
    xor     s3, s3, s0
    beqz    s4, 4b
    csrci   mstatus, 8
    end     1
/* s0: how many are left; after the last the loop ends. */
.balign 4
handler:
    csrr    s7, mcause
    li      s8, (1 << 63) | 5
    beq     s7, s8, 1f
    end     4
1:  csrr    s1, time
    li      s8, TICKS
    add     s1, s1, s8
    csrw    STIMECMP, s1
    addi    s0, s0, -1
    bnez    s0, 2f
    li      s8, -1
    csrw    STIMECMP, s8
    li      s4, 1
    csrr    s7, mepc
    la      s8, loop
    bne     s7, s8, 2f
    la      s8, leave_loop
    csrw    mepc, s8
2:  mret
