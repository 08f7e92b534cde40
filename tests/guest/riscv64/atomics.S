/*
 * Four harts count together, 20000 times each, in three ways: by AMO, by LR/SC, and under a lock.
 * harts: 4, mode: machine. No count is lost.
 */
#include "prog.inc"
.equ ROUNDS, 20000
.equ HARTS, 4
.globl _start
_start:
    la      s0, counters
    addi    s1, s0, 64
    addi    s2, s0, 128
    li      s3, ROUNDS
round:
    li      t1, 1
    amoadd.d zero, t1, (s0)
1:  lr.d    t2, (s1)
    addi    t2, t2, 1
    sc.d    t3, t2, (s1)
    bnez    t3, 1b
2:  li      t1, 1
    amoswap.w.aq t1, t1, (s2)
    beqz    t1, 3f
    .word   0x0100000f                  /* pause */
    j       2b
3:  ld      t2, 192(s0)
    addi    t2, t2, 1
    sd      t2, 192(s0)
    amoswap.w.rl zero, zero, (s2)
    addi    s3, s3, -1
    bnez    s3, round
    addi    s4, s0, 256
    li      t1, 1
    amoadd.w.aqrl zero, t1, (s4)
    bnez    a0, rest
4:  lw      t1, (s4)
    li      t2, HARTS
    bne     t1, t2, 4b
    fence
    ld      t1, 0(s0)
    is      t1, ROUNDS * HARTS, 2
    ld      t1, 64(s0)
    is      t1, ROUNDS * HARTS, 3
    ld      t1, 192(s0)
    is      t1, ROUNDS * HARTS, 4
    end     1
rest:
    wfi
    j       rest
.bss
.balign 64
counters:
    .zero   512
