/*
 * Four harts at once: AMOs, LR/SC loops and a lock lose no update; store buffering and message passing
 * stay within what fences allow. Hart 0 checks and ends.
 */
#include "hart.h"

#define ROUNDS 4000
#define LITMUS 1500

BEGIN
    mv s0, a0 /* hart */
    BARRIER
    la a1, sums
    li a2, ROUNDS
1:  li a3, 1
    amoadd.d zero, a3, (a1)
    /* by reservation */
    addi a4, a1, 64
2:  lr.d a5, (a4)
    addi a5, a5, 3
    sc.d a6, a5, (a4)
    bnez a6, 2b
    /* a word whose value often comes back: reservations of it must not be fooled into losing one */
    addi a4, a1, 128
3:  lr.w a5, (a4)
    xori a5, a5, 1
    sc.w a6, a5, (a4)
    bnez a6, 3b
    /* as compare-and-swap, with the way out that a kernel's has */
    addi a4, a1, 320
7:  ld a5, (a4)
    addi a7, a5, 7
8:  lr.d a6, (a4)
    bne a6, a5, 7b
    sc.d.rl a5, a7, (a4)
    bnez a5, 8b
    /* unless it is at its limit, which it never is */
    addi a4, a1, 384
    li a7, -1
9:  lr.w a5, (a4)
    beq a5, a7, 10f
    addiw a6, a5, 2
    sc.w.rl a6, a6, (a4)
    bnez a6, 9b
10: /* under a lock */
    addi a4, a1, 192
    li a5, 1
4:  amoswap.w.aq a6, a5, (a4)
    beqz a6, 5f
    pause
    j 4b
5:  ld a6, 8(a4)
    addi a6, a6, 5
    sd a6, 8(a4)
    amoswap.w.rl zero, zero, (a4)
    /* unsigned maximum of what each hart counts */
    addi a4, a1, 256
    amomaxu.d zero, a2, (a4)
    addi a2, a2, -1
    bnez a2, 1b
    BARRIER
    bnez s0, 6f
    ld a2, 0(a1)
    CHECK 1, a2, HARTS * ROUNDS
    ld a2, 64(a1)
    CHECK 2, a2, HARTS * ROUNDS * 3
    lw a2, 128(a1)
    CHECK 3, a2, HARTS * ROUNDS & 1
    ld a2, 200(a1)
    CHECK 4, a2, HARTS * ROUNDS * 5
    ld a2, 256(a1)
    CHECK 5, a2, ROUNDS
    ld a2, 320(a1)
    CHECK 6, a2, HARTS * ROUNDS * 7
    lw a2, 384(a1)
    CHECK 7, a2, HARTS * ROUNDS * 2
6:
    /* Harts 0 and 1: x = 1; fence; read y, and the other way round. Harts 2 and 3: data, then a
     * flag with release; flag with acquire, then data. */
    la s1, litmus
    li s2, LITMUS
1:  BARRIER
    li t0, 1
    beqz s0, 2f
    beq s0, t0, 3f
    addi t0, t0, 1
    beq s0, t0, 4f
    /* hart 3 reads */
    addi a1, s1, 256
    lw a2, 0(a1)
    fence r, r
    ld a3, 64(a1)
    li gp, 6
    beqz a2, 5f
    sub a3, a3, s2
    bnez a3, failed
    j 5f
2:  sd s2, 0(s1)
    fence rw, rw
    ld a2, 64(s1)
    sd a2, 128(s1)
    j 5f
3:  sd s2, 64(s1)
    fence rw, rw
    ld a2, 0(s1)
    sd a2, 136(s1)
    j 5f
4:  addi a1, s1, 256
    sd s2, 64(a1)
    fence w, w
    li a2, 1
    sw a2, 0(a1)
5:  BARRIER
    bnez s0, 6f
    ld a2, 128(s1) /* both saw the other's old value: not with fences between */
    ld a3, 136(s1)
    or a2, a2, a3
    li gp, 7
    beqz a2, failed
    sd zero, 0(s1)
    sd zero, 64(s1)
    sd zero, 128(s1)
    sd zero, 136(s1)
    sw zero, 256(s1)
    sd zero, 256+64(s1)
6:  addi s2, s2, -1
    bnez s2, 1b
    BARRIER
    beqz s0, 7f
9:  j 9b
7:
PASS
    .section .data
    .balign 64
arrived: .word 0
    .balign 64
epoch: .word 0
    .balign 64
sums: .zero 512
litmus: .zero 512
