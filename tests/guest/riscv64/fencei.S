/*
 * Hart 0 writes code, hart 1 runs it, 3000 times: in even rounds after a remote fence by the
 * machine, in odd rounds after a FENCE.I of its own. Old code is never run.
 * harts: 2, mode: supervisor.
 */
#include "prog.inc"
.equ ROUNDS, 3000
.globl _start
_start:
    la      s0, code
    la      s1, shared
    li      s2, 1
    bnez    a0, reader
writer:
    andi    t1, s2, 0x7ff
    slli    t1, t1, 20
    li      t2, 0x513                   /* li a0, round & 0x7ff */
    or      t1, t1, t2
    sw      t1, (s0)
    andi    t1, s2, 1
    bnez    t1, 1f
    li      a0, 2
    call_machine CALL_FENCE_CODE
1:  fence   rw, rw
    sd      s2, (s1)
2:  ld      t1, 64(s1)
    bne     t1, s2, 2b
    addi    s2, s2, 1
    li      t1, ROUNDS
    bleu    s2, t1, writer
    end     1
reader:
    ld      t1, (s1)
    bne     t1, s2, reader
    fence   rw, rw
    andi    t1, s2, 1
    beqz    t1, 1f
    fence.i
1:  jalr    s0
    andi    t1, s2, 0x7ff
    same    a0, t1, 2
    sd      s2, 64(s1)
    addi    s2, s2, 1
    j       reader
.data
.balign 4096
code:
    .word   0x00000513
    ret
    .balign 4096
shared:
    .zero   128
