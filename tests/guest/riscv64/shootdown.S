/*
 * Hart 0 maps one page after the other at an address, each with a greater number in it, fences the
 * other harts and says so; they never see an older number than what was said before they looked.
 * harts: 4, mode: supervisor.
 */
#include "prog.inc"
.equ ROUNDS, 500
.equ HARTS, 4
.equ PLACE, 0x40000000
.globl _start
_start:
    la      s3, root
    la      s4, middle
    la      s5, low
    la      s6, said
    bnez    a0, ready
    srli    t1, s4, 2
    ori     t1, t1, 1
    sd      t1, 8(s3)
    li      t1, (0x80000000 >> 2) | 0xcf
    sd      t1, 16(s3)
    srli    t1, s5, 2
    ori     t1, t1, 1
    sd      t1, (s4)
    li      t1, (0x70000000 >> 2) | 0xc7
    li      t2, 0xc00
    add     t2, t2, s4
    sd      t1, (t2)
    la      t2, pages
    srli    t1, t2, 2
    ori     t1, t1, 0xc7
    sd      t1, (s5)
    fence   rw, rw
    li      t1, 1
    sd      t1, 64(s6)
ready:
    ld      t1, 64(s6)
    beqz    t1, ready
    fence   rw, rw
    srli    t1, s3, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    sfence.vma
    li      s7, PLACE
    bnez    a0, arrive
0:  ld      t1, 72(s6)                  /* all look by now */
    li      t2, HARTS - 1
    bne     t1, t2, 0b
    li      s2, 1
1:  andi    t1, s2, 7                   /* eight pages take turns */
    slli    t1, t1, 12
    la      t2, pages
    add     t1, t1, t2
    sd      s2, (t1)
    srli    t1, t1, 2
    ori     t1, t1, 0xc7
    fence   rw, rw
    sd      t1, (s5)
    sfence.vma s7
    li      a0, 0xe
    li      a1, PLACE
    li      a2, 0x1000
    call_machine CALL_FENCE_TLB
    fence   rw, rw
    sd      s2, (s6)
    addi    s2, s2, 1
    li      t1, ROUNDS
    bleu    s2, t1, 1b
    end     1
arrive:
    addi    t1, s6, 72
    li      t2, 1
    amoadd.d zero, t2, (t1)
    li      s8, 0
look:
    ld      t1, (s6)
    fence   rw, rw
    ld      t2, (s7)
    bltu    t2, t1, old
    addi    s8, s8, 1
    andi    t1, s8, 63
    bnez    t1, look
    .word   0x0100000f                  /* pause: hosts may have fewer processors than harts */
    j       look
old:
    end     2
.bss
.balign 4096
root:
    .zero   4096
middle:
    .zero   4096
low:
    .zero   4096
pages:
    .zero   8 * 4096
said:
    .zero   128
