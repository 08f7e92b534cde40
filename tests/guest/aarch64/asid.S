/*
 * Address spaces: 16 bits of ASID, of TTBR0_EL1 or TTBR1_EL1; pages that are global and that are not; TLBI
 * by ASID, by address in one and in every space, from another space.
 */
#include "prog.inc"

#define TEST    0x100000000             /* a page of each space's own; then one of all */
#define OWN     0xc03                   /* valid page, access flag, not global */
#define SHARED  0x403
#define TCR     (25 | 5 << 32 | 1 << 36 | 1 << 23) /* 39 bits, 16-bit ASIDs, no upper half */
#define A1      (1 << 22)
#define FIRST   0x0002                  /* the same in the lower 8 bits */
#define SECOND  0x8002

        .macro  entry table, index, value, flags
        adr     x1, \table
        adrp    x2, \value
        ldr     x3, =\flags
        orr     x2, x2, x3
        str     x2, [x1, #8 * \index]
        dsb     ishst
        .endm

        .macro  constant table, index, value
        adr     x1, \table
        ldr     x2, =\value
        str     x2, [x1, #8 * \index]
        .endm

        .macro  space register, root, asid
        adr     x0, \root
        ldr     x1, =\asid << 48
        orr     x0, x0, x1
        msr     \register, x0
        isb
        .endm

        .macro  first
        space   ttbr0_el1, root_1, FIRST
        .endm

        .macro  second
        space   ttbr0_el1, root_2, SECOND
        .endm

        .macro  reads page, value, number
        ldr     x1, =TEST + 4096 * \page
        ldr     x0, [x1]
        check   x0, \value, \number
        .endm

        .macro  drop how, asid, page
        ldr     x0, =(\asid << 48) | ((TEST >> 12) + \page)
        tlbi    \how, x0
        dsb     ish
        isb
        .endm

        .macro  tables root, middle, pages, data
        constant \root, 0, 0x00000401   /* devices, 1 GiB */
        constant \root, 1, 0x40000401
        constant \root, PLACE >> 30, PLACE + 0x405
        entry   \root, 4, \middle, 3
        entry   \middle, 0, \pages, 3
        entry   \pages, 0, \data, OWN
        entry   \pages, 1, one, SHARED
        .endm

main:
        tables  root_1, middle_1, pages_1, one
        tables  root_2, middle_2, pages_2, two
        ldr     x0, =0xff00
        msr     mair_el1, x0
        ldr     x0, =TCR
        msr     tcr_el1, x0
        first
        tlbi    vmalle1
        dsb     sy
        mrs     x0, sctlr_el1
        orr     x0, x0, #1
        msr     sctlr_el1, x0
        isb

        /* Each space has its own page, however often they take turns. */
        reads   0, 1, 1
        reads   1, 1, 2
        second
        reads   0, 2, 3
        reads   1, 1, 4
        first
        reads   0, 1, 5
        second
        reads   0, 2, 6

        /* From the second space, the first one's page becomes another: all of the space, then by address. */
        entry   pages_1, 0, two, OWN
        drop    aside1, FIRST, 0
        first
        reads   0, 2, 7
        second
        entry   pages_1, 0, one, OWN
        drop    vae1, FIRST, 0
        first
        reads   0, 1, 8
        second
        entry   pages_1, 0, two, OWN
        drop    aside1is, FIRST, 0
        first
        reads   0, 2, 9
        second
        entry   pages_1, 0, one, OWN
        drop    vale1is, FIRST, 0
        first
        reads   0, 1, 10

        /* In every space, and of a global page by any. */
        second
        entry   pages_1, 0, two, OWN
        entry   pages_2, 0, one, OWN
        drop    vaae1, 0, 0
        reads   0, 1, 11
        first
        reads   0, 2, 12
        entry   pages_1, 1, two, SHARED
        entry   pages_2, 1, two, SHARED
        drop    vae1, FIRST, 1
        reads   1, 2, 13
        second
        reads   1, 2, 14

        /* The ASID of TTBR1_EL1: TTBR0_EL1's says nothing. */
        ldr     x0, =TCR | A1
        msr     tcr_el1, x0
        isb
        tlbi    vmalle1
        dsb     sy
        space   ttbr1_el1, root_1, 5
        space   ttbr0_el1, root_1, FIRST
        reads   0, 2, 15
        space   ttbr1_el1, root_1, 6
        space   ttbr0_el1, root_2, FIRST
        reads   0, 1, 16
        space   ttbr1_el1, root_1, 5
        space   ttbr0_el1, root_1, FIRST
        reads   0, 2, 17
        b       pass
        .ltorg

        .balign 4096
one:    .quad   1
        .balign 4096
two:    .quad   2
        .balign 4096
root_1: .skip   4096
root_2: .skip   4096
middle_1: .skip 4096
middle_2: .skip 4096
pages_1: .skip  4096
pages_2: .skip  4096
