/* Words that are no instruction trap as such, with their bits in mtval. */
#include "hart.h"

BEGIN
    la s0, words
    la s1, room
    la s2, words_end
1:  lwu a0, 0(s0)
    sw a0, 0(s1)
    li t0, 0x0001000100010001 /* c.nop's behind it */
    sd t0, 4(s1)
    fence.i
    EXPECT 2
    jr s1
    TRAPPED 1
    CHECK 2, s8, 1
    csrr a1, mepc /* the handler changed it: 7 */
    andi a2, a0, 3
    li a3, 3
    beq a2, a3, 2f
    slli a0, a0, 48
    srli a0, a0, 48
2:  li gp, 3
    bne s9, a0, failed
    addi s0, s0, 4
    bltu s0, s2, 1b
PASS
    .section .data
    .balign 64
room: .dword 0, 0, 0
words:
    .word 0x00000000        /* the zero halfword */
    .word 0xffffffff
    .word 0x00000004        /* c.addi4spn of 0 */
    .word 0x00002005        /* c.addiw to x0 */
    .word 0x00006501        /* c.lui of 0 */
    .word 0x00006101        /* c.addi16sp of 0 */
    .word 0x00004002        /* c.lwsp to x0 */
    .word 0x00006002        /* c.ldsp to x0 */
    .word 0x00008002        /* c.jr of x0 */
    .word 0x00008000        /* reserved quadrant 0 */
    .word 0x00009c41        /* reserved arithmetic */
    .word 0x1015252f        /* lr.w with rs2 */
    .word 0x1615b52f        /* lr.d with rs2 */
    .word 0x02c5d553        /* fadd.d with rm 5 */
    .word 0x02c5e553        /* rm 6 */
    .word 0x06c58553        /* fadd.q */
    .word 0x04c58553        /* fadd.h */
    .word 0x00003003 | 7 << 12 /* load of width 7 */
    .word 0x00004023        /* store of width 4 */
    .word 0x0205151b        /* slliw by 32 */
    .word 0x00002063        /* branch 2 */
    .word 0x00001067        /* jalr with funct3 1 */
    .word 0x0000200f + (3 << 20) /* cbo of no name */
    .word 0x0045228f        /* cbo.zero with rd */
    .word 0x60051513 | 31 << 20 /* Zbb: unary 31 */
    .word 0x6005c573        /* hypervisor load */
    .word 0x10500073 | 1 << 7 /* wfi with rd */
    .word 0x70200073        /* mnret */
    .word 0x7b200073        /* dret */
    .word 0xc0151073        /* a write to time */
    .word 0xf1411073        /* a write to mhartid */
    .word 0x5c002573        /* a CSR that is not there */
    .word 0x0000000b        /* custom-0 */
    .word 0x00000057        /* vector */
    .word 0x0000001f        /* longer instructions */
words_end:
