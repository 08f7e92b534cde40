/* Retired instructions: each counts once, those that trap don't. */
#include "hart.h"

/* Check NUMBER: VALUE instructions from the read into a1 to the one into a2, the first included. */
.macro COUNTED number, value
    csrr a2, minstret
    sub a3, a2, a1
    CHECK \number, a3, \value
.endm

BEGIN
    /* The first access begins to count, itself included. */
    csrr a1, minstret
    COUNTED 1, 1

    csrr a1, minstret
    nop
    addi a3, zero, 1
    slli a3, a3, 3
    COUNTED 2, 4

    /* A loop: two instructions a round. */
    li a0, 1000
    csrr a1, minstret
1:  addi a0, a0, -1
    bnez a0, 1b
    COUNTED 3, 2001

    /* Jumps of all kinds, and a branch either way. */
    la a4, 3f
    csrr a1, minstret
    j 2f
    nop
2:  jalr ra, a4
    nop
3:  beqz zero, 4f
    nop
4:  bnez zero, 4b
    jal ra, 5f
5:  fence.i
    COUNTED 4, 7

    /* Loads, stores and atomics, and an instruction that starts anew: the first write of the
     * floating-point state marks it dirty. */
    la a0, word
    csrr a1, minstret
    sd a0, 0(a0)
    ld a3, 0(a0)
    amoadd.d a3, zero, (a0)
    fmv.d.x fa0, a3
    fadd.d fa0, fa0, fa0
    COUNTED 5, 6

    /* A breakpoint does not retire; the handler's ten instructions do, and EXPECT's four. */
    csrr a1, minstret
    EXPECT 3
    ebreak
    TRAPPED 6
    COUNTED 7, 15

    /* A load that faults in the middle of a block. */
    csrr a1, minstret
    EXPECT 5
    addi a4, zero, 1
    ld a3, 0(zero)
    addi a4, zero, 2
    TRAPPED 8
    COUNTED 9, 16
    CHECK 10, a4, 1

    /* An illegal instruction, and a write that isn't allowed. */
    csrr a1, minstret
    EXPECT 2
    csrw instret, zero
    TRAPPED 11
    COUNTED 12, 15

    /* What is written is what the next instruction reads. */
    li a0, 100
    csrw minstret, a0
    csrr a1, minstret
    nop
    csrr a2, instret
    CHECK 13, a1, 100
    CHECK 14, a2, 102
    li a0, 8
    csrrw a3, minstret, a0
    csrrs a4, minstret, zero
    CHECK 15, a4, 8
    csrr a1, minstret
    csrrsi a3, minstret, 0
    sub a3, a3, a1
    CHECK 16, a3, 1

    /* It wraps. */
    li a0, -2
    csrw minstret, a0
    nop
    csrr a1, minstret
    csrr a2, minstret
    CHECK 17, a1, -1
    CHECK 18, a2, 0

    /* Inhibited, it stands, and can be written. */
    csrwi mcountinhibit, 4
    csrr a1, minstret
    nop
    nop
    csrr a2, minstret
    bne a1, a2, failed
    csrwi minstret, 5
    nop
    csrr a1, minstret
    CHECK 19, a1, 5
    csrwi mcountinhibit, 0
    csrr a1, minstret
    csrr a2, minstret
    CHECK 20, a1, 5
    CHECK 21, a2, 6

    /* A return from a trap retires; the user's read does where it is allowed. */
    csrwi mcounteren, 7
    csrwi scounteren, 7
    la a0, 6f
    csrw mepc, a0
    li a0, 0x1800
    csrc mstatus, a0
    csrr a1, minstret
    mret
6:  rdinstret a2
    sub a3, a2, a1
    CHECK 22, a3, 2
    EXPECT 8
    ecall
    TRAPPED 23
    PASS
    .section .data
    .balign 8
word: .dword 0
