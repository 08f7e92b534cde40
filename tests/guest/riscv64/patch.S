/*
 * Hart 0 writes a chain of jumps over eight pages, each step with a number to add; then four harts run
 * it at once, so that all of them translate the same new code and link the same jumps; 300 times. All
 * come to the right sum, whoever was first.
 * harts: 4, mode: supervisor.
 */
#include "prog.inc"
.equ ROUNDS, 300
.equ HARTS, 4
.equ STEPS, 64
.equ PAGES, 8
.globl _start
_start:
    mv      s0, a0
    la      s1, chain
    la      s2, shared
    li      s3, 1                       /* the round */
round:
    bnez    s0, 3f
    /* Step i lies in page i % PAGES, at (i / PAGES) * 64: addi a0, a0, (round + i) & 1023; jal. */
    li      s4, 0
1:  andi    t1, s4, PAGES - 1
    slli    t1, t1, 12
    srli    t2, s4, 3
    slli    t2, t2, 6
    add     t1, t1, t2
    add     t1, t1, s1                  /* where */
    add     t2, s3, s4
    andi    t2, t2, 1023
    slli    t2, t2, 20
    li      t3, 0x00050513              /* addi a0, a0, 0 */
    or      t2, t2, t3
    sw      t2, (t1)
    addi    s4, s4, 1
    andi    t3, s4, PAGES - 1
    slli    t3, t3, 12
    srli    t4, s4, 3
    slli    t4, t4, 6
    add     t3, t3, t4
    add     t3, t3, s1                  /* the next step */
    addi    t1, t1, 4
    sub     t3, t3, t1
    /* jal zero, t3 */
    srli    t4, t3, 20
    slli    t4, t4, 31
    srli    t2, t3, 1
    andi    t2, t2, 0x3ff
    slli    t2, t2, 21
    or      t4, t4, t2
    srli    t2, t3, 11
    andi    t2, t2, 1
    slli    t2, t2, 20
    or      t4, t4, t2
    srli    t2, t3, 12
    andi    t2, t2, 0xff
    slli    t2, t2, 12
    or      t4, t4, t2
    ori     t4, t4, 0x6f
    sw      t4, (t1)
    li      t1, STEPS
    bltu    s4, t1, 1b
    la      t1, chain + (STEPS / PAGES) * 64
    li      t2, 0x00008067              /* ret */
    sw      t2, (t1)
    li      a0, (1 << HARTS) - 1
    call_machine CALL_FENCE_CODE
    fence   rw, rw
    sd      s3, (s2)                    /* go */
3:  ld      t1, (s2)
    beq     t1, s3, 4f
    .word   0x0100000f                  /* pause: hosts may have fewer processors than harts */
    j       3b
4:  fence   rw, rw
    li      a0, 0
    jalr    s1
    /* The sum of (round + i) & 1023. */
    li      t1, 0
    li      t2, 0
5:  add     t3, s3, t1
    andi    t3, t3, 1023
    add     t2, t2, t3
    addi    t1, t1, 1
    li      t4, STEPS
    bltu    t1, t4, 5b
    same    a0, t2, 2
    addi    t1, s2, 64
    li      t2, 1
    amoadd.d.aqrl zero, t2, (t1)
    addi    s3, s3, 1
    li      t3, ROUNDS
    bgtu    s3, t3, 7f
    bnez    s0, 3b
    addi    t2, s3, -1                  /* all have come through the round before */
    slli    t2, t2, 2
6:  ld      t3, (t1)
    beq     t3, t2, round
    .word   0x0100000f
    j       6b
7:  bnez    s0, 7b
    end     1
.data
.balign 4096
chain:
    .zero   PAGES * 4096
shared:
    .zero   128
