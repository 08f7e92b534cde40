/*
 * What the ID registers offer and other programs leave out: granules of 16 and 64 KiB, rights of tables
 * and their absence (HPDS), WXN, AT that heeds PAN, cache maintenance to persistence; controls of EL0
 * over DAIF and SCXTNUM_EL0. What they do not offer is undefined.
 */
#include "prog.inc"

#define TEST    0x100000000
#define LEAF    0x403                   /* valid page, access flag */
#define USER    (1 << 6)
#define RO      (1 << 7)
#define IPS     (5 << 32)
#define EPD1    (1 << 23)
#define HPD0    (1 << 41)
#define TG0_64K (1 << 14)
#define TG0_16K (2 << 14)
#define TABLE_RO (1 << 62)
#define TABLE_NOUSER (1 << 61)
#define SCTLR   0x30d00800

        .macro  entry table, index, value, flags
        adr     x1, \table
        add     x1, x1, #8 * (\index & 511)
        add     x1, x1, #4096 * (\index >> 9)
        adrp    x2, \value
        ldr     x3, =\flags
        orr     x2, x2, x3
        str     x2, [x1]
        .endm

        .macro  constant table, index, value
        adr     x1, \table
        add     x1, x1, #8 * (\index & 511)
        add     x1, x1, #4096 * (\index >> 9)
        ldr     x2, =\value
        str     x2, [x1]
        .endm

        /* By the tables at ROOT, where this code and the devices are blocks. */
        .macro  translate root, tcr
        msr     sctlr_el1, x20
        isb
        adr     x0, \root
        msr     ttbr0_el1, x0
        ldr     x0, =\tcr | IPS | EPD1
        msr     tcr_el1, x0
        isb
        tlbi    vmalle1
        dsb     sy
        isb
        orr     x0, x20, #1
        msr     sctlr_el1, x0
        isb
        .endm

        .macro  is_here address, number
        ldr     x1, =\address
        ldr     x0, [x1]
        check   x0, 0x1122334455667788, \number
        .endm

        .macro  par_is mask, value, number
        mrs     x0, par_el1
        and     x0, x0, #\mask
        check   x0, \value, \number
        .endm

main:
        ldr     x20, =SCTLR
        ldr     x0, =0xff00
        msr     mair_el1, x0

        /* 16 KiB, 36 bits: levels 2 and 3, blocks of 32 MiB. */
        constant root, 4, 0x08000401    /* devices */
        constant root, 0x38, 0x70000401
        constant root, PLACE >> 25, PLACE + 0x405
        entry   root, (TEST >> 25), table, 3
        entry   table, 0, data, LEAF
        entry   table, 2047, data, LEAF
        translate root, (28 | TG0_16K)
        is_here TEST, 1
        is_here (TEST + 16384 * 2047), 2
        ldr     x1, =TEST + 16384
        raises  0x25, 3, ldr x0, [x1]
        check   x27, 0x96000007, 3
        ldr     x1, =TEST + (1 << 25)
        raises  0x25, 4, ldr x0, [x1]
        check   x27, 0x96000006, 4
        ldr     x1, =1 << 36            /* beyond the input's bits */
        raises  0x25, 5, ldr x0, [x1]
        check   x27, 0x96000004, 5
        ldr     x1, =TEST               /* one page is 16 KiB */
        ldr     x0, [x1, #16376]
        check   x0, 0x99, 6
        constant table, 0, 0
        dsb     ishst
        ldr     x1, =TEST + 0x3000
        lsr     x0, x1, #12
        tlbi    vae1, x0
        dsb     ish
        isb
        ldr     x1, =TEST
        raises  0x25, 7, ldr x0, [x1]
        check   x27, 0x96000007, 7

        /* 16 KiB, 47 bits: from level 1. */
        entry   top, 0, root, 3
        entry   table, 0, data, LEAF
        translate top, (17 | TG0_16K)
        is_here TEST, 8
        ldr     x1, =1 << 36
        raises  0x25, 9, ldr x0, [x1]
        check   x27, 0x96000005, 9
#ifndef QEMU /* which takes such a block */
        constant top, 1, 0x401          /* there are no blocks at this level */
        dsb     sy
        ldr     x1, =1 << 36
        raises  0x25, 10, ldr x0, [x1]
        check   x27, 0x96000005, 10
#endif

        /* 64 KiB, 42 bits: levels 2 and 3, blocks of 512 MiB. */
        msr     sctlr_el1, x20
        isb
        constant root, 4, 0
        constant root, 0x38, 0
        constant root, PLACE >> 25, 0
        constant root, TEST >> 25, 0
        constant root, 0, 0x00000401
        constant root, 3, 0x60000401
        constant root, PLACE >> 29, PLACE + 0x405
        entry   root, (TEST >> 29), table, 3
        entry   table, 0, data, LEAF
        constant table, 2047, 0
        entry   table, 8191, data, LEAF
        translate root, (22 | TG0_64K)
        is_here TEST, 11
        is_here (TEST + 65536 * 8191), 12
        ldr     x1, =TEST + 65536
        raises  0x25, 13, ldr x0, [x1]
        check   x27, 0x96000007, 13
        ldr     x1, =TEST + (1 << 29)
        raises  0x25, 14, ldr x0, [x1]
        check   x27, 0x96000006, 14
        ldr     x1, =TEST
        ldr     x0, [x1, #16376]
        check   x0, 0x99, 15

        /* 64 KiB, 48 bits: from level 1, which has 64 entries. */
        constant top, 1, 0
        translate top, (16 | TG0_64K)
        is_here TEST, 16
        ldr     x1, =1 << 42
        raises  0x25, 17, ldr x0, [x1]
        check   x27, 0x96000005, 17

        /* A table that forbids writes and EL0, for all below it; then TCR_EL1.HPD0 says no. */
        entry   table, 0, data, (LEAF | USER)
        entry   root, (TEST >> 29), table, (3 | TABLE_RO | TABLE_NOUSER)
        translate top, (16 | TG0_64K)
        is_here TEST, 18
        ldr     x1, =TEST
        raises  0x25, 19, str x0, [x1]
        check   x27, 0x9600004f, 19
        raises  0x25, 20, ldtr x0, [x1]
        check   x27, 0x9600000f, 20
        translate top, (16 | TG0_64K | HPD0)
        ldr     x1, =TEST
        ldr     x0, [x1]
        str     x0, [x1]
        ldtr    x0, [x1]
        check   x0, 0x1122334455667788, 21

        /* AT S1E1RP and S1E1WP: as PSTATE.PAN has it; S1E1R does not ask. */
        msr     pan, #1
        at      s1e1r, x1
        par_is  1, 0, 22
        .inst   0xd5087901              /* at s1e1rp, x1 */
        par_is  0x7f, 0x1f, 23
        .inst   0xd5087921              /* at s1e1wp, x1 */
        par_is  0x7f, 0x1f, 24
        msr     pan, #0
        .inst   0xd5087901
        par_is  1, 0, 25

        /* WXN: what EL1 can write, it can't run. This code is made read-only first. */
        entry   table, 0, code, LEAF
        entry   table, 1, code, (LEAF | RO)
        constant root, PLACE >> 29, (PLACE + 0x405 + RO)
        dsb     ishst
        tlbi    vmalle1
        dsb     ish
        isb
        ldr     x1, =TEST
        blr     x1
        check   x0, 0x77, 26
        orr     x0, x20, #1
        orr     x0, x0, #1 << 19
        msr     sctlr_el1, x0
        isb
        ldr     x1, =TEST
        jump_raises 0x21, 27, x1
        check   x27, 0x8600000f, 27
        mov     x0, #0
        ldr     x1, =TEST + 65536
        blr     x1
        check   x0, 0x77, 28
        msr     sctlr_el1, x20
        isb

        /* Maintenance to the point of persistence; that of deep persistence is not there. */
        adr     x1, data
        .inst   0xd50b7c21              /* dc cvap, x1 */
        raises  0x00, 30, .inst 0xd50b7d21 /* dc cvadp, x1 */

        /* What no ID register tells of is undefined: eor3, sha512su0, sm4e, fjcvtzs, pacia, braa, ldraa,
         * ldapur, fmlal, cfinv, rmif, irg, bfdot, smmla, fcmla, frint32z, SVE's add, tlbi rvae1is, RNDR,
         * DIT; and halves in arithmetic, SSBS. */
        mov     x0, #0x300000
        msr     cpacr_el1, x0
        isb
        .irp    word, 0xce020c20, 0xcec08020, 0xcec08420, 0x1e7e0020, 0xdac10020, 0xd71f0801, 0xf8200420, \
                      0x99400020, 0x4e22ec20, 0xd500401f, 0xba008402, 0x9adf1020, 0x6e42fc20, 0x4e82a420, \
                      0x6e82c420, 0x1e284020, 0x04220020, 0xd5088220, 0xd53b2400, 0xd53b42a0
        raises  0x00, 34, .inst \word
        .endr
#ifndef QEMU /* whose CPU has these */
        .irp    word, 0x1ee22820, 0x1ee00020, 0x4e421420, 0xd53b42c0
        raises  0x00, 35, .inst \word
        .endr
#endif

        /* EL0 with DAIF, and with a number of its context. */
        orr     x0, x20, #0x200
#ifndef QEMU /* whose CPU has no SCXTNUM_EL0 */
        bic     x0, x0, #0x100000
        msr     s3_3_c13_c0_7, x20
#endif
        msr     sctlr_el1, x0
        isb
        adr     x0, at_el0
        msr     elr_el1, x0
        msr     spsr_el1, xzr
        eret

        .set    at_el0_alone, 1
at_el0:
        msr     daifset, #2
        mrs     x0, daif
        check   x0, 0x80, 31
        msr     daifclr, #2
        mov     x0, #0x1c0
        msr     daif, x0
        mrs     x1, daif
        check   x1, 0x1c0, 32
        msr     daif, xzr
#ifndef QEMU
        mrs     x0, s3_3_c13_c0_7
        check   x0, SCTLR, 33
#endif
        mov     x0, #0
        svc     #0xffff
        .ltorg
        .balign 65536
data:   .quad   0x1122334455667788
        .skip   16376 - 8
        .quad   0x99
        .balign 65536
code:   mov     x0, #0x77
        ret
        .balign 65536
top:    .skip   65536
root:   .skip   65536
table:  .skip   65536
