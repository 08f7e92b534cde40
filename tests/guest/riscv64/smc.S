/*
 * Code that changes under one hart's own feet, behind FENCE.I: in its own page, and through aliases
 * of the page at other addresses. The same page run at two addresses sees two program counters.
 * harts: 1, mode: supervisor.
 */
#include "prog.inc"
.equ ROUNDS, 1500
.equ ALIAS1, 0x40000000
.equ ALIAS2, 0x40003000
.globl _start
_start:
    /* In the same page as this loop. */
    la      s0, here
    li      s2, ROUNDS
1:  andi    t1, s2, 0x7ff
    slli    t1, t1, 20
    li      t2, 0x513
    or      t1, t1, t2
    sw      t1, (s0)
    fence.i
    call    here
    andi    t1, s2, 0x7ff
    same    a0, t1, 2
    addi    s2, s2, -1
    bnez    s2, 1b
    j       2f
here:
    .word   0x513
    ret
2:  /* Page tables: RAM and devices as they are, two aliases of the code page. */
    la      s3, root
    la      s4, middle
    la      s5, low
    srli    t1, s4, 2
    ori     t1, t1, 1
    sd      t1, 8(s3)                   /* 0x40000000: middle */
    li      t1, (0x80000000 >> 2) | 0xcf
    sd      t1, 16(s3)                  /* 0x80000000: 1 GiB, RWX */
    srli    t1, s5, 2
    ori     t1, t1, 1
    sd      t1, (s4)                    /* 0x40000000: low */
    li      t1, (0x70000000 >> 2) | 0xc7
    li      t2, 0xc00               /* 0x70000000: devices */
    add     t2, t2, s4
    sd      t1, (t2)
    la      s0, code
    srli    t1, s0, 2
    ori     t1, t1, 0xcf
    sd      t1, (s5)                    /* ALIAS1 */
    sd      t1, 24(s5)                  /* ALIAS2 */
    srli    t1, s3, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    sfence.vma
    /* Write at one address, run at the other two. */
    li      s6, ALIAS1
    li      s7, ALIAS2
    li      s2, ROUNDS
3:  andi    t1, s2, 0x7ff
    slli    t1, t1, 20
    li      t2, 0x513
    or      t1, t1, t2
    sw      t1, (s6)
    fence.i
    andi    s8, s2, 0x7ff
    jalr    s7
    same    a0, s8, 3
    jalr    s0
    same    a0, s8, 4
    jalr    s6
    same    a0, s8, 5
    mv      t1, s6                      /* and the roles go round */
    mv      s6, s7
    mv      s7, s0
    mv      s0, t1
    addi    s2, s2, -1
    bnez    s2, 3b
    /* auipc */
    li      s2, 100
    la      s0, code
    li      s6, ALIAS1
    li      s7, ALIAS2
4:  addi    t1, s0, 16
    jalr    t1
    addi    t1, s0, 16
    same    a0, t1, 6
    addi    t1, s6, 16
    jalr    t1
    addi    t1, s6, 16
    same    a0, t1, 7
    addi    t1, s7, 16
    jalr    t1
    addi    t1, s7, 16
    same    a0, t1, 8
    addi    s2, s2, -1
    bnez    s2, 4b
    end     1
.data
.balign 4096
code:
    .word   0x513
    ret
    .balign 16
    auipc   a0, 0
    ret
.bss
.balign 4096
root:
    .zero   4096
middle:
    .zero   4096
low:
    .zero   4096
