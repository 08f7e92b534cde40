/*
 * Loads and stores: every width at every offset across 16, 64 and 4096 bytes; stores whose second page
 * faults write nothing; MXR, SUM, access flags; cache-block operations.
 */
#include "hart.h"

#define PTE_V 1
#define PTE_R 2
#define PTE_W 4
#define PTE_X 8
#define PTE_U 16
#define PTE_A 0x40
#define PTE_D 0x80

/* Data accesses as S-mode's, with Sv39; code goes on in M-mode. */
.macro AS_S
    li t0, 0x1800
    csrc mstatus, t0
    li t0, 0x20800
    csrs mstatus, t0
.endm
.macro AS_M
    li t0, 0x20000
    csrc mstatus, t0
.endm

BEGIN
    /* Write a pattern by bytes, read it by all widths. */
    la s0, area
    li s1, 8192
    mv a0, s0
    li a1, 0
1:  sb a1, 0(a0)
    addi a0, a0, 1
    addi a1, a1, 7
    addi s1, s1, -1
    bnez s1, 1b
    la a0, area
    li s1, 4080
    add a0, a0, s1
    li s1, 24
    li s2, 4080 * 7
1:  lbu a1, 0(a0)
    andi a2, s2, 255
    li gp, 1
    bne a1, a2, failed
    /* The same bytes make up halfwords, words and doublewords. */
    lbu a3, 1(a0)
    slli a4, a3, 8
    or a4, a4, a1
    lhu a5, 0(a0)
    li gp, 2
    bne a4, a5, failed
    lhu a3, 2(a0)
    slli a3, a3, 16
    or a4, a4, a3
    lwu a5, 0(a0)
    li gp, 3
    bne a4, a5, failed
    lwu a3, 4(a0)
    slli a3, a3, 32
    or a4, a4, a3
    ld a5, 0(a0)
    li gp, 4
    bne a4, a5, failed
    lw a3, 0(a0)
    sext.w a4, a4
    li gp, 5
    bne a3, a4, failed
    lh a3, 0(a0)
    slli a4, a4, 48
    srai a4, a4, 48
    li gp, 6
    bne a3, a4, failed
    /* Stores: the doubleword, then a word in it. */
    li a3, 0x1122334455667788
    sd a3, 0(a0)
    ld a4, 0(a0)
    li gp, 7
    bne a3, a4, failed
    sw zero, 3(a0)
    ld a4, 0(a0)
    CHECK 8, a4, 0x1100000000667788
    sd a5, 0(a0)
    addi a0, a0, 1
    addi s2, s2, 7
    addi s1, s1, -1
    bnez s1, 1b

    /* Sv39: 0x40000000 is area, two pages; RAM as it is. */
    la a0, root
    la a1, level1
    la a2, level0
    srli t0, a1, 2
    ori t0, t0, PTE_V
    sd t0, 8(a0)
    srli t0, a2, 2
    ori t0, t0, PTE_V
    sd t0, 0(a1)
    li t0, 0x80000000 >> 2 | PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D
    sd t0, 16(a0)
    srli s3, s0, 2
    ori t0, s3, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D
    sd t0, 0(a2)
    srli t0, a0, 12
    li t1, 8 << 60
    or t0, t0, t1
    csrw satp, t0
    sfence.vma

    /* The second page is missing: nothing of the first is written, mtval names the second. */
    li s4, 0x40000ffc
    li s5, 4092
    add s5, s5, s0
    lw s6, 0(s5)
    li a3, -1
    EXPECT 15
    AS_S
    sd a3, 0(s4)
    TRAPPED 9
    AS_M
    CHECK 10, s9, 0x40001000
    lw a4, 0(s5)
    li gp, 11
    bne a4, s6, failed
    EXPECT 13
    AS_S
    ld a3, 0(s4)
    TRAPPED 12
    AS_M
    CHECK 13, s9, 0x40001000
    /* The first is missing: mtval is the access's address. */
    ld s7, 0(a2)
    sd zero, 0(a2)
    sfence.vma
    EXPECT 13
    AS_S
    ld a3, 0(s4)
    TRAPPED 14
    AS_M
    CHECK 15, s9, 0x40000ffc
    sd s7, 0(a2)

    /* A page to read alone: loads work, then a store faults, then loads still work. */
    ori t0, s3, PTE_V | PTE_R | PTE_A
    sd t0, 0(a2)
    sfence.vma
    li s4, 0x40000000
    AS_S
    ld a3, 8(s4)
    AS_M
    EXPECT 15
    AS_S
    sd a3, 8(s4)
    TRAPPED 16
    AS_M
    EXPECT 15
    AS_S
    ld a4, 8(s4)
    sd a4, 8(s4)
    TRAPPED 17
    AS_M
    li gp, 18
    bne a3, a4, failed
    /* A faulting SC, AMO: store faults. */
    EXPECT 15
    AS_S
    amoadd.w a3, zero, (s4)
    TRAPPED 19
    AS_M
    EXPECT 15
    AS_S
    sc.w a3, zero, (s4)
    TRAPPED 20
    AS_M

    /* A page to execute alone is read with MXR. */
    ori t0, s3, PTE_V | PTE_X | PTE_A
    sd t0, 0(a2)
    sfence.vma
    EXPECT 13
    AS_S
    ld a3, 8(s4)
    TRAPPED 21
    AS_M
    li t0, 1 << 19
    csrs mstatus, t0
    AS_S
    ld a3, 8(s4)
    AS_M
    li t0, 1 << 19
    csrc mstatus, t0
    EXPECT 13
    AS_S
    ld a3, 8(s4)
    TRAPPED 22
    AS_M

    /* A user's page with SUM. */
    ori t0, s3, PTE_V | PTE_R | PTE_W | PTE_U | PTE_A | PTE_D
    sd t0, 0(a2)
    sfence.vma
    EXPECT 15
    AS_S
    sd a3, 8(s4)
    TRAPPED 23
    AS_M
    li t0, 1 << 18
    csrs mstatus, t0
    AS_S
    sd a3, 8(s4)
    AS_M
    li t0, 1 << 18
    csrc mstatus, t0
    EXPECT 13
    AS_S
    ld a3, 8(s4)
    TRAPPED 24
    AS_M

    /* Accesses off one register: those before the one that faults have happened. */
    ori t0, s3, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D
    sd t0, 0(a2)
    sfence.vma
    li s4, 0x40000fe8
    li s5, 4072
    add s5, s5, s0
    li a3, 5
    li a4, 6
    li a5, 0
    EXPECT 15
    AS_S
    sd a3, 0(s4)
    sd a4, 8(s4)
    addi a5, a5, 1
    sd a3, 24(s4)
    addi a5, a5, 1
    sd a3, 16(s4)
    TRAPPED 25
    AS_M
    CHECK 26, s9, 0x40001000
    CHECK 27, a5, 1
    ld a3, 0(s5)
    CHECK 28, a3, 5
    ld a3, 8(s5)
    CHECK 29, a3, 6

    /* cbo.zero clears its block alone; the others change nothing. */
    mv a0, s0
    li a1, -1
    sd a1, -8+64(a0)
    sd a1, 64(a0)
    sd a1, 64+56(a0)
    sd a1, 128(a0)
    addi a3, a0, 100
    cbo.zero (a3)
    ld a1, -8+64(a0)
    CHECK 30, a1, -1
    ld a1, 64(a0)
    CHECK 31, a1, 0
    ld a1, 64+56(a0)
    CHECK 32, a1, 0
    ld a1, 128(a0)
    CHECK 33, a1, -1
    cbo.clean (a0)
    cbo.flush (a0)
    cbo.inval (a0)
    ld a1, 128(a0)
    CHECK 34, a1, -1
PASS
    .section .data
    .balign 4096
root: .zero 4096
level1: .zero 4096
level0: .zero 4096
area: .zero 12288
