/*
 * What LR and SC promise on one hart, and what of them traps.
 * harts: 1, mode: machine.
 */
#include "prog.inc"
.globl _start
_start:
    la      t0, handler
    csrw    mtvec, t0
    la      s0, data
    /* A store to where the reservation is, of the value that is there: 0 is a value like others. */
    lr.w    t1, (s0)
    li      t2, 5
    sc.w    t3, t2, (s0)
    same    t3, zero, 2
    lw      t1, (s0)
    is      t1, 5, 3
    /* The reservation is gone after a successful SC, */
    sc.w    t3, t2, (s0)
    is      t3, 1, 4
    /* and after a failed one. */
    lr.w    t1, (s0)
    addi    t4, s0, 8
    sc.w    t3, t2, (t4)
    is      t3, 1, 5
    sc.w    t3, t2, (s0)
    is      t3, 1, 6
    /* A store of another value in between fails it. */
    lr.d    t1, (s0)
    li      t2, 77
    sd      t2, (s0)
    li      t2, 78
    sc.d    t3, t2, (s0)
    is      t3, 1, 7
    ld      t1, (s0)
    is      t1, 77, 8
    /* Sign extension. */
    li      t1, 0x80000001
    sw      t1, (s0)
    lr.w    t2, (s0)
    is      t2, -0x7fffffff, 9
    sc.w    t3, zero, (s0)
    same    t3, zero, 10
    /* A trap takes the reservation. */
    lr.d    t1, (s0)
    ebreak
    sc.d    t3, t1, (s0)
    is      t3, 1, 11
    is      s1, 3, 12
    /* Misaligned: LR as a load, SC and AMO as stores, SC also without a reservation. */
    addi    s3, s0, 4
    lr.d    t1, (s3)
    is      s1, 4, 13
    same    s2, s3, 14
    sc.d    t3, t1, (s3)
    is      s1, 6, 15
    same    s2, s3, 16
    addi    s3, s0, 2
    amoadd.w t1, t1, (s3)
    is      s1, 6, 17
    same    s2, s3, 18
    /* A SC that can't succeed faults all the same where a store would. */
    li      s3, 0x1000
    sc.w    t3, zero, (s3)
    is      s1, 7, 19
    same    s2, s3, 20
    lr.w    t3, (s3)
    is      s1, 5, 21
    amoswap.d t3, t3, (s3)
    is      s1, 7, 22
    /* An AMO on a device. */
    li      s3, IPI
    amoor.w t3, zero, (s3)
    is      s1, 7, 23
    same    s2, s3, 24
    /* LR with rs2 is no instruction. */
    li      s1, 0
    .word   0x1015a52f                  /* lr.w a0, (a1) with rs2 = x1 */
    is      s1, 2, 25
    is      s2, 0x1015a52f, 26
    /* Results of AMOs. */
    li      t1, 10
    sd      t1, (s0)
    li      t2, -1
    amomaxu.d t3, t2, (s0)
    is      t3, 10, 27
    amomin.d t3, t1, (s0)
    same    t3, t2, 28
    amoadd.w t3, t1, (s0)
    same    t3, t2, 29
    lw      t3, (s0)
    is      t3, 9, 30
    end     1
.balign 4
handler:
    csrr    s1, mcause
    csrr    s2, mtval
    csrr    s11, mepc
    lhu     s10, (s11)
    andi    s10, s10, 3
    addi    s11, s11, 2
    li      s9, 3
    bne     s10, s9, 1f
    addi    s11, s11, 2
1:  csrw    mepc, s11
    mret
.bss
.balign 64
data:
    .zero   64
