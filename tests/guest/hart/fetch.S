/*
 * Instruction fetch: fence.i reaches code that ran already, by another address too; an instruction
 * that crosses pages; faults of its second half.
 */
#include "hart.h"

#define PTE_V 1
#define PTE_R 2
#define PTE_W 4
#define PTE_X 8
#define PTE_AD 0xc0

/* Runs the function at ADDRESS (a register) in S-mode with Sv39 on; ra holds where it comes back by
 * ecall. */
.macro IN_S address
    li t0, 0x1800
    csrc mstatus, t0
    li t0, 0x0800
    csrs mstatus, t0
    csrw mepc, \address
    la s11, 7f
    li s8, 0
    li s10, 9
    mret
7:
.endm

BEGIN
    /* Code that runs, is changed, and runs again: in a loop, so that it is translated and linked. */
    la s0, patch
    li s1, 100
    li s2, 0
1:  jal ra, patch
    add s2, s2, a0
    lw a1, 0(s0)
    li t0, 1 << 20 /* the immediate, plus one */
    add a1, a1, t0
    sw a1, 0(s0)
    fence.i
    addi s1, s1, -1
    bnez s1, 1b
    CHECK 1, s2, 4950

    /* The same through another function, which calls it, so that an edge leads there. */
    li s1, 50
    li s2, 0
1:  jal s3, caller
    add s2, s2, a0
    lw a1, 0(s0)
    li t0, -(1 << 20)
    add a1, a1, t0
    sw a1, 0(s0)
    fence.i
    addi s1, s1, -1
    bnez s1, 1b
    CHECK 2, s2, 3775

    /* An instruction of four bytes that starts in the last two of a page. */
    la s0, pages
    li s1, 4096
    add s0, s0, s1
    addi s0, s0, -2
    li a0, 0x05500513 /* li a0, 85 */
    sh a0, 0(s0)
    srli a0, a0, 16
    sh a0, 2(s0)
    li a0, 0x8082 /* ret */
    sh a0, 4(s0)
    fence.i
    jalr s0
    CHECK 3, a0, 85
    li a0, 0x0660     /* its second half alone changes: li a0, 102 */
    sh a0, 2(s0)
    fence.i
    jalr s0
    CHECK 4, a0, 102

    /* Sv39: pages at 0x40000000 and its alias 0x40200000; 1 GiB of RAM as it is. */
    la a0, root
    la a1, level1
    la a2, level0
    srli t0, a1, 2
    ori t0, t0, PTE_V
    sd t0, 8(a0)         /* 0x40000000.. */
    srli t0, a2, 2
    ori t0, t0, PTE_V
    sd t0, 0(a1)         /* both 2 MiB ranges use one table */
    sd t0, 8(a1)
    li t0, 0x80000000 >> 2 | PTE_V | PTE_R | PTE_W | PTE_X | PTE_AD
    sd t0, 16(a0)
    la s4, pages
    srli t0, s4, 2
    ori t0, t0, PTE_V | PTE_R | PTE_W | PTE_X | PTE_AD
    sd t0, 0(a2)
    li t1, 4096 >> 2
    add t0, t0, t1
    sd t0, 8(a2)
    srli t0, a0, 12
    li t1, 8 << 60
    or t0, t0, t1
    csrw satp, t0
    sfence.vma

    /* Both aliases run it; one is written through; fence.i makes both new. */
    li a0, 0x00900513 /* li a0, 9 */
    sw a0, 0(s4)
    li a0, 0x00000073 /* ecall */
    sw a0, 4(s4)
    fence.i
    li s5, 0x40000000
    li s6, 0x40200000
    IN_S s5
    CHECK 5, a0, 9
    IN_S s6
    CHECK 6, a0, 9
    li a0, 0x00a00513
    sw a0, 0(s4)
    fence.i
    IN_S s6
    CHECK 7, a0, 10
    IN_S s5
    CHECK 8, a0, 10

    /* The crossing instruction, by both; then its second page is taken away: mtval is there. */
    li a0, 0x0073 /* ecall behind it */
    sh a0, 4(s0)
    sh zero, 6(s0)
    fence.i
    li s5, 0x40000ffe
    IN_S s5
    CHECK 9, a0, 102
    la a2, level0
    ld s7, 8(a2)
    sd zero, 8(a2)
    sfence.vma
    li t0, 0x1800
    csrc mstatus, t0
    li t0, 0x0800
    csrs mstatus, t0
    csrw mepc, s5
    EXPECT 12
    mret
    TRAPPED 10
    CHECK 11, s9, 0x40001000
    sd s7, 8(a2)
    sfence.vma
    IN_S s5
    CHECK 12, a0, 102

    /* Another page behind it, with another second half. */
    la a0, other
    li a1, 0x0330 /* li a0, 51 */
    sh a1, 0(a0)
    li a1, 0x0073
    sh a1, 2(a0)
    sh zero, 4(a0)
    srli t0, a0, 2
    ori t0, t0, PTE_V | PTE_R | PTE_W | PTE_X | PTE_AD
    sd t0, 8(a2)
    sfence.vma
    fence.i
    IN_S s5
    CHECK 13, a0, 51
    sd s7, 8(a2)
    sfence.vma
    IN_S s5
    CHECK 14, a0, 102
PASS

    .balign 4
caller:
    addi sp, sp, 0
    jal ra, patch
    jr s3
    .balign 4
patch:
    .option push
    .option norvc
    li a0, 0
    .option pop
    ret

    .section .data
    .balign 4096
root: .zero 4096
level1: .zero 4096
level0: .zero 4096
pages: .zero 8192
other: .zero 4096
