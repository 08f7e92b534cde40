/*
 * tests/guest/hart: what the programs share. A program runs in M-mode on a bare machine, checks
 * what it does, and ends by PASS, or at the first check that fails with its number in tohost.
 *
 * s8..s11 are the trap handler's: a trap whose cause is in s10 (-1: none is expected) goes on at s11
 * with mtval in s9 and s8 = 1; any other ends the program with 1000 + cause.
 */
#ifndef TESTS_GUEST_HART_HART_H
#define TESTS_GUEST_HART_HART_H

.macro BEGIN
    .section .text
    .globl _start
_start:
    la t0, trap_handler
    csrw mtvec, t0
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0
    li t0, 0x2000 /* FS: initial */
    csrs mstatus, t0
    li s10, -1
.endm

/* Ends the program; A is what tohost gets. */
.macro END_WITH
    la t0, tohost
    sd t1, 0(t0)
9:  j 9b
.endm

.macro PASS
    li t1, 1
    END_WITH
    .balign 4
trap_handler:
    csrr t0, mcause
    bne t0, s10, 8f
    csrr s9, mtval
    li t0, 0x1800 /* back in M-mode, wherever it came from */
    csrs mstatus, t0
    csrw mepc, s11
    li s8, 1
    li s10, -1
    mret
8:  addi t1, t0, 1000
    slli t1, t1, 1
    ori t1, t1, 1
    END_WITH
failed: /* number in gp */
    slli t1, gp, 1
    ori t1, t1, 1
    END_WITH
    .section .data
    .balign 64
    .globl tohost, fromhost /* as other simulators have them, to compare with */
    .size tohost, 8
    .size fromhost, 8
tohost: .dword 0
fromhost: .dword 0
    .section .text
.endm

/* Check NUMBER: REG holds VALUE. */
.macro CHECK number, reg, value
    li gp, \number
    li t0, \value
    bne \reg, t0, failed
.endm

/* Check NUMBER: the instructions between EXPECT and TRAPPED trap with CAUSE. t0 is used before. */
.macro EXPECT cause
    la s11, 7f
    li s8, 0
    li s10, \cause
.endm
.macro TRAPPED number
    li gp, \number
    j failed
7:
.endm

/* Waits until all HARTS are here, with words "arrived" and "epoch" of the program. Uses t0..t3. */
.macro BARRIER
    la t0, arrived
    la t1, epoch
    lw t2, 0(t1)
    li t3, 1
    amoadd.w.aqrl t3, t3, (t0)
    addi t3, t3, 1 - HARTS
    bnez t3, 8f
    sw zero, 0(t0)
    fence rw, rw
    li t3, 1
    amoadd.w.aqrl zero, t3, (t1)
    j 9f
8:  pause
    lw t3, 0(t1)
    beq t3, t2, 8b
    fence rw, rw
9:
.endm

#endif
