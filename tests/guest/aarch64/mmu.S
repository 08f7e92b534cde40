/*
 * Translation: levels of faults, permissions of EL1, of EL0 by LDTR and under PAN, execution, access flag
 * and dirty state by hardware, both halves of the address space, tags, AT, and what TLBI makes seen.
 */
#include "prog.inc"

#define TEST    0x100000000             /* pages under test, by L3 */
#define LEAF    0x403                   /* valid page, access flag */
#define USER    (1 << 6)
#define RO      (1 << 7)
#define DBM     (1 << 51)
#define PXN     (1 << 53)
#define UXN     (1 << 54)
#define TCR     (16 | 16 << 16 | 2 << 30 | 5 << 32)
#define HA      (1 << 39)
#define HD      (1 << 40)
#define TBI0    (1 << 37)
#define E0PD0   (1 << 55)

        .macro  entry table, index, value, flags
        adr     x1, \table
        adr     x2, \value
        ldr     x3, =\flags
        orr     x2, x2, x3
        str     x2, [x1, #8 * \index]
        .endm

        .macro  page index, flags
        entry   l3, \index, data, \flags
        .endm

        .macro  constant table, index, value
        adr     x1, \table
        ldr     x2, =\value
        str     x2, [x1, #8 * \index]
        .endm

        .macro  set_tcr value
        ldr     x0, =\value
        msr     tcr_el1, x0
        isb
        tlbi    vmalle1
        dsb     sy
        isb
        .endm

        .macro  at_page index
        ldr     x1, =TEST + 4096 * \index
        .endm

main:
        constant l1, 0, 0x00000401      /* devices, 1 GiB */
        constant l1, 1, 0x40000401
        entry   l1, (PLACE >> 30), l2, 3
        constant l2, 0, PLACE + 0x405   /* here, 2 MiB of memory */
        entry   l0, 0, l1, 3
        entry   l1, 4, l2_test, 3
        entry   l2_test, 0, l3, 3
        page    0, LEAF
        page    2, (LEAF & ~0x400)
        page    3, (LEAF | RO)
        page    4, (LEAF | USER)
        page    6, (LEAF | PXN | UXN)
        page    7, (LEAF | RO | DBM)
        page    10, (LEAF | USER | PXN)
        constant l3, 8, NOWHERE + LEAF
        constant l3, 9, 0x401           /* reserved at the last level */
        ldr     x0, =0xff00
        msr     mair_el1, x0
        adr     x0, l0
        msr     ttbr0_el1, x0
        msr     ttbr1_el1, x0
        set_tcr TCR
        mrs     x0, sctlr_el1
        orr     x0, x0, #1
        msr     sctlr_el1, x0
        isb

        /* Memory is there; levels of what is not. */
        at_page 0
        ldr     x0, [x1]
        check   x0, 0x1122334455667788, 1
        at_page 1
        raises  0x25, 2, ldr x0, [x1]
        check   x27, 0x96000007, 2
        cmp     x28, x1
        fail_unless eq, 3
        ldr     x1, =TEST + 0x200000
        raises  0x25, 4, str x0, [x1]
        check   x27, 0x96000046, 4
        ldr     x1, =5 << 30
        raises  0x25, 5, ldr x0, [x1]
        check   x27, 0x96000005, 5
        ldr     x1, =1 << 40
        raises  0x25, 6, ldr x0, [x1]
        check   x27, 0x96000004, 6
        ldr     x1, =1 << 50
        raises  0x25, 7, ldr x0, [x1]
        check   x27, 0x96000004, 7
        at_page 8
        raises  0x25, 8, ldr x0, [x1]
        check   x27, 0x96000010, 8
        at_page 9
        raises  0x25, 9, ldr x0, [x1]
        check   x27, 0x96000007, 9

        /* Access flag: a fault, then by hardware. */
        at_page 2
        raises  0x25, 10, ldr x0, [x1]
        check   x27, 0x9600000b, 10
        /* Read-only. */
        at_page 3
        ldr     x0, [x1]
        raises  0x25, 11, str x0, [x1]
        check   x27, 0x9600004f, 11
        at_page 7
        raises  0x25, 12, str x0, [x1]
        check   x27, 0x9600004f, 12
        set_tcr (TCR | HA | HD)
        at_page 2
        ldr     x0, [x1]
        adr     x2, l3
        ldr     x0, [x2, #8 * 2]
        tst     x0, #0x400
        fail_unless ne, 13
        at_page 7
        ldr     x0, [x1]
        ldr     x0, [x2, #8 * 7]
        tst     x0, #RO
        fail_unless ne, 14
        str     x0, [x1, #8]
        ldr     x0, [x2, #8 * 7]
        tst     x0, #RO
        fail_unless eq, 15

        /* An atomic writes, but faults as a load where that would. */
        at_page 1
        raises  0x25, 44, ldadd x0, x2, [x1]
        check   x27, 0x96000007, 44
        at_page 3
        raises  0x25, 45, cas x0, x2, [x1]
        check   x27, 0x9600004f, 45

        /* User pages: under PAN, and by unprivileged accesses. */
        at_page 4
        msr     pan, #0
        ldr     x0, [x1]
        msr     pan, #1
        raises  0x25, 16, ldr x0, [x1]
        check   x27, 0x9600000f, 16
        ldtr    x0, [x1]
        check   x0, 0x1122334455667788, 17
        sttr    x0, [x1, #16]
        at_page 0
        raises  0x25, 18, ldtr x0, [x1]
        check   x27, 0x9600000f, 18
        msr     uao, #1
        ldtr    x0, [x1]
        check   x0, 0x1122334455667788, 19
        at_page 4
        raises  0x25, 20, ldtr x0, [x1]
        msr     uao, #0
#ifndef QEMU /* whose CPU has no E0PD */
        set_tcr (TCR | HA | HD | E0PD0)
        at_page 4
        raises  0x25, 46, ldtr x0, [x1]
        check   x27, 0x96000004, 46
        set_tcr (TCR | HA | HD)
#endif
        msr     pan, #0

        /* Execution: PXN, and what EL0 can write. */
        at_page 6
        jump_raises 0x21, 21, x1
        check   x27, 0x8600000f, 21
        at_page 4
        jump_raises 0x21, 22, x1
        check   x27, 0x8600000f, 22
        at_page 1
        jump_raises 0x21, 23, x1
        check   x27, 0x86000007, 23
        cmp     x28, x1
        fail_unless eq, 23
        adr     x1, main
        add     x1, x1, #2
        jump_raises 0x22, 24, x1
        check   x27, 0x8a000000, 24

        /* The upper half, and tags. */
        ldr     x1, =0xffff000100000000
        ldr     x0, [x1]
        check   x0, 0x1122334455667788, 25
        ldr     x1, =TEST | 0x5a << 56
        raises  0x25, 26, ldr x0, [x1]
        check   x27, 0x96000004, 26
        set_tcr (TCR | HA | HD | TBI0)
        ldr     x1, =TEST | 0x5a << 56
        ldr     x0, [x1]
        check   x0, 0x1122334455667788, 27
        ldr     x1, =(TEST + 4096) | 0x5a << 56
        raises  0x25, 28, ldr x0, [x1]
        cmp     x28, x1
        fail_unless eq, 28
        adr     x1, 1f
        orr     x1, x1, #0x7f << 56
        br      x1
1:      adr     x0, 1b
        tst     x0, #0xff << 56
        fail_unless eq, 29

        /* AT: where it is, and why not. */
        at_page 0
        at      s1e1r, x1
        mrs     x0, par_el1
        and     x0, x0, #0xfffffffff000
        adr     x2, data
        cmp     x0, x2
        fail_unless eq, 30
        at_page 1
        at      s1e1r, x1
        mrs     x0, par_el1
        and     x0, x0, #0xff
        check   x0, 0x0f, 31
        at_page 3
        at      s1e1w, x1
        mrs     x0, par_el1
        and     x0, x0, #0xff
        check   x0, 0x1f, 32
        at_page 0
        at      s1e0r, x1
        mrs     x0, par_el1
        and     x0, x0, #0xff
        check   x0, 0x1f, 33

        /* A mapping that changes is seen after TLBI: by address, under any tag. */
        at_page 0
        ldr     x0, [x1]
        ldr     x5, =TEST | 0x5a << 56
        ldr     x0, [x5]
        entry   l3, 0, other, LEAF
        dsb     ishst
        at_page 0
        lsr     x0, x1, #12
        tlbi    vae1is, x0
        dsb     ish
        isb
        ldr     x0, [x1]
        check   x0, 0x99, 34
        ldr     x0, [x5]
        check   x0, 0x99, 35

        /* EL0 runs what it may, in user pages. */
        entry   l3, 11, code, (LEAF | USER | RO | PXN)
        dsb     ishst
        isb
        ldr     x0, =TEST + 4096 * 11
        msr     elr_el1, x0
        msr     spsr_el1, xzr
        eret

        .set    at_el0_alone, 1
        .balign 4096
code:   ldr     x1, =TEST + 4096 * 4
        ldr     x2, [x1]
        check   x2, 0x1122334455667788, 40
        ldr     x1, =TEST + 4096 * 3
        raises  0x24, 41, ldr x0, [x1]
        check   x27, 0x9200000f, 41
        ldr     x1, =TEST + 4096 * 6
        jump_raises 0x20, 42, x1
        check   x27, 0x8200000f, 42
        ldr     x1, =PLACE
        raises  0x24, 43, str x0, [x1]
        check   x27, 0x9200004e, 43
        mov     x0, #0
        svc     #0xffff                 /* the end: see prog.inc */
        .ltorg
        .balign 4096
data:   .quad   0x1122334455667788, 0, 0, 0
        .balign 4096
other:  .quad   0x99
        .balign 4096
l0:     .skip   4096
l1:     .skip   4096
l2:     .skip   4096
l2_test: .skip  4096
l3:     .skip   4096
