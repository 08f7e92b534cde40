/*
 * Hart 0 maps a page with clean access flags and takes the entry away again, while the others load from
 * it and add to it. An entry that was taken stays empty: no walk puts back what it read before. And
 * where the page has changed, the entry that was taken has the flags of a store.
 * harts: 4, mode: supervisor.
 */
#include "prog.inc"
.equ ROUNDS, 300
.equ PLACE, 0x40000000
.equ CLEAN, 0x7                         /* V, R, W */
.equ ACCESSED, 0x40
.equ DIRTY, 0x80
.globl _start
_start:
    la      t0, handler
    csrw    stvec, t0
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
    fence   rw, rw
    li      t1, 1
    sd      t1, (s6)
ready:
    ld      t1, (s6)
    beqz    t1, ready
    fence   rw, rw
    srli    t1, s3, 12
    li      t2, 8 << 60
    or      t1, t1, t2
    csrw    satp, t1
    sfence.vma
    li      s7, PLACE
    bnez    a0, touch
    la      s8, page
    srli    s9, s8, 2
    ori     s9, s9, CLEAN
    li      s2, ROUNDS
    li      s11, 0                      /* rounds in which the page changed */
1:  ld      s10, (s8)                   /* by its own address, always mapped */
    sd      s9, (s5)
    .word   0x0100000f                  /* pause: the others may need this processor */
    andi    t1, s2, 15
2:  addi    t1, t1, -1
    bgtz    t1, 2b
    amoswap.d t2, zero, (s5)
    li      a0, 0xf
    li      a1, PLACE
    li      a2, 0x1000
    mv      s1, t2
    call_machine CALL_FENCE_TLB
    ld      t1, (s5)
    same    t1, zero, 2                 /* nobody put it back */
    li      t1, ACCESSED | DIRTY
    not     t2, t1
    and     t2, t2, s1
    same    t2, s9, 3                   /* the rest of it is as it was */
    ld      t2, (s8)
    beq     t2, s10, 3f
    and     t1, t1, s1
    is      t1, ACCESSED | DIRTY, 4
    addi    s11, s11, 1
3:  addi    s2, s2, -1
    bnez    s2, 1b
    li      s2, ROUNDS                  /* again, until the others came through: where they have */
    beqz    s11, 1b                     /* little of the host's processors, that takes a while */
    end     1
touch:
    li      t2, 1
5:  ld      t1, 8(s7)
    amoadd.d t1, t2, (s7)
    j       5b
.balign 4
handler:                                /* not mapped now: the access is made again */
    csrr    t3, scause
    addi    t3, t3, -13
    beqz    t3, 6f
    addi    t3, t3, -2
    beqz    t3, 6f
    end     6
6:  .word   0x0100000f
    sret
.bss
.balign 4096
root:
    .zero   4096
middle:
    .zero   4096
low:
    .zero   4096
page:
    .zero   4096
said:
    .zero   64
