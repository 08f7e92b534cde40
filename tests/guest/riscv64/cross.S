/*
 * What lies across a page boundary: an instruction, whose second half changes when the second page
 * is mapped elsewhere and faults when it isn't mapped; loads and stores, of which none is half done.
 * harts: 1, mode: supervisor.
 */
#include "prog.inc"
.equ FIRST, 0x40000000
.equ ROUNDS, 500
.globl _start
_start:
    la      t0, handler
    csrw    stvec, t0
    la      s3, root
    la      s4, middle
    la      s5, low
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
    la      t2, a
    srli    t1, t2, 2
    ori     t1, t1, 0xcf
    sd      t1, (s5)                    /* FIRST: page a */
    la      t2, b
    srli    s6, t2, 2
    ori     s6, s6, 0xcf                /* PTE of page b, which isn't behind a */
    la      t2, c
    srli    s7, t2, 2
    ori     s7, s7, 0xcf
    srli    t1, s3, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    li      s8, FIRST + 0x1000
    li      s9, FIRST + 0xffe
    li      s2, ROUNDS
1:  sd      s6, 8(s5)
    sfence.vma s8
    jalr    s9
    is      a0, 0x111, 2
    jalr    s9
    is      a0, 0x111, 3
    sd      s7, 8(s5)
    sfence.vma s8
    jalr    s9
    is      a0, 0x222, 4
    addi    s2, s2, -1
    bnez    s2, 1b
    /* The second page isn't there. */
    sd      zero, 8(s5)
    sfence.vma s8
    li      s10, 0
    la      s11, 2f
    jalr    s9
    end     5
2:  is      s10, 12, 6
    same    t5, s8, 7                   /* stval: the part that faulted */
    same    t4, s9, 8                   /* sepc: the instruction */
    /* A store into a second page that can only be read. */
    andi    t1, s6, -5
    sd      t1, 8(s5)
    sfence.vma s8
    li      t6, FIRST + 0xffc
    lw      s2, (t6)
    li      t1, -1
    la      s11, 3f
    sd      t1, (t6)
    end     9
3:  is      s10, 15, 10
    same    t5, s8, 11
    lw      t1, (t6)
    same    t1, s2, 12                  /* nothing was written */
    /* Loads and stores that may. */
    sd      s6, 8(s5)
    sfence.vma s8
    ld      s2, (t6)
    li      t1, 0x1122334455667788
    sd      t1, (t6)
    ld      t2, (t6)
    same    t1, t2, 13
    lw      t2, 4(t6)
    is      t2, 0x11223344, 14
    la      t3, a + 0xffc
    lw      t2, (t3)
    is      t2, 0x55667788, 15
    la      t3, b
    lw      t2, (t3)
    is      t2, 0x11223344, 16
    sd      s2, (t6)
    fence.i
    jalr    s9
    is      a0, 0x111, 17
    end     1
.balign 4
handler:
    csrr    s10, scause
    csrr    t5, stval
    csrr    t4, sepc
    csrw    sepc, s11
    sret
.data
.balign 4096
a:  .zero   0xffc
    nop16:  .half 0x0001
    .half   0x0513                      /* li a0, ..: the first half */
pad:
    .zero   4096
b:  .half   0x1110                      /* 0x111 */
    ret
    .balign 4096
c:  .half   0x2220
    ret
.bss
.balign 4096
root:
    .zero   4096
middle:
    .zero   4096
low:
    .zero   4096
