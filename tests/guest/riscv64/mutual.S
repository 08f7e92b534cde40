/*
 * Four harts fence one another at once, 500 times each, now for code, now for translations.
 * harts: 4, mode: supervisor. None waits for ever.
 */
#include "prog.inc"
.equ HARTS, 4
.globl _start
_start:
    li      s0, 500
    la      s1, done
1:  li      a0, 0xf
    li      a1, 0
    li      a2, 0
    andi    t1, s0, 1
    beqz    t1, 2f
    call_machine CALL_FENCE_TLB
    j       3f
2:  call_machine CALL_FENCE_CODE
3:  addi    s0, s0, -1
    bnez    s0, 1b
    li      t1, 1
    amoadd.d t2, t1, (s1)
    li      t1, HARTS - 1
    beq     t2, t1, 4f
rest:
    j       rest                        /* still answers the others */
4:  end     1
.bss
.balign 64
done:
    .zero   64
