/* LR, SC and AMOs: what reservations are, what traps, what is extended. */
#include "hart.h"

BEGIN
    la a0, word
    /* A reservation of the value 0 is one. */
    sd zero, 0(a0)
    lr.d a1, (a0)
    li a2, 7
    sc.d a3, a2, (a0)
    CHECK 1, a3, 0
    ld a3, 0(a0)
    CHECK 2, a3, 7

    /* Without one, SC fails; a second SC fails too. */
    li a2, 9
    sc.d a3, a2, (a0)
    CHECK 3, a3, 1
    lr.d a1, (a0)
    sc.d a3, a2, (a0)
    sc.d a4, a2, (a0)
    CHECK 4, a3, 0
    CHECK 5, a4, 1

    /* A failed SC, at another address, ends the reservation. */
    lr.d a1, (a0)
    addi a5, a0, 8
    sc.d a3, a2, (a5)
    CHECK 6, a3, 1
    sc.d a3, a2, (a0)
    CHECK 7, a3, 1

    /* A trap ends it. */
    lr.d a1, (a0)
    EXPECT 3
    ebreak
    TRAPPED 8
    li a2, 11
    sc.d a3, a2, (a0)
    lr.d a4, (a0)
    CHECK 9, a4, 9

    /* Width is part of it. */
    lr.w a1, (a0)
    sc.d a3, a2, (a0)
    CHECK 10, a3, 1
    lr.w a1, (a0)
    sc.w a3, a2, (a0)
    CHECK 11, a3, 0

    /* A store in between, by this hart too, of another value: fails. */
    lr.w a1, (a0)
    li a2, 1
    sw a2, 0(a0)
    sc.w a3, zero, (a0)
    lw a4, 0(a0)
    CHECK 12, a3, 1
    CHECK 13, a4, 1

    /* Misaligned: SC traps, with a reservation and without; so do LR and AMO. */
    addi a5, a0, 2
    EXPECT 6
    sc.w a3, zero, (a5)
    TRAPPED 14
    bne s9, a5, failed
    EXPECT 4
    lr.w a3, (a5)
    TRAPPED 15
    addi a5, a0, 4
    EXPECT 6
    amoadd.d a3, zero, (a5)
    TRAPPED 16
    EXPECT 6
    sc.d a3, zero, (a5)
    TRAPPED 17

    /* AMOs: old value sign-extended, only the word changes, rd and rs2 may be one register. */
    li a1, 0x1234567880000000
    sd a1, 0(a0)
    li a2, -1
    amoadd.w a3, a2, (a0)
    CHECK 18, a3, -0x80000000
    ld a3, 0(a0)
    CHECK 19, a3, 0x123456787fffffff
    li a2, 5
    amoswap.w a2, a2, (a0)
    CHECK 20, a2, 0x7fffffff
    li a2, -7
    amomin.w a3, a2, (a0)
    lw a4, 0(a0)
    CHECK 21, a3, 5
    CHECK 22, a4, -7
    li a2, 3
    amominu.w a3, a2, (a0)
    lw a4, 0(a0)
    CHECK 23, a3, -7
    CHECK 24, a4, 3
    li a2, -9
    amomaxu.d a3, a2, (a0)
    ld a4, 0(a0)
    CHECK 25, a3, 0x1234567800000003
    CHECK 26, a4, -9
    li a2, 15
    amoand.d.aqrl zero, a2, (a0)
    amoor.d a3, a2, (a0)
    CHECK 27, a3, 7
    amoxor.d a3, a2, (a0)
    ld a4, 0(a0)
    CHECK 28, a3, 15
    CHECK 29, a4, 0
    /* An address register that is the result. */
    li a2, 77
    mv a5, a0
    amoswap.d a5, a2, (a5)
    ld a4, 0(a0)
    CHECK 30, a5, 0
    CHECK 31, a4, 77

    /* The loop that compilers make. */
    sd zero, 0(a0)
    li a5, 1000
1:  lr.d.aq a1, (a0)
    addi a1, a1, 3
    sc.d.rl a3, a1, (a0)
    bnez a3, 1b
    addi a5, a5, -1
    bnez a5, 1b
    ld a4, 0(a0)
    CHECK 32, a4, 3000
PASS
    .section .data
    .balign 64
word: .dword 0, 0, 0
