/*
 * tests/guest/bare: a machine with nothing but RAM and vCPUs: harts in M-mode or in S-mode, or A64 at
 * EL1, for programs that need no more: the architecture's own tests, programs of tests/diff and of
 * this folder. A64 timers are wired to the IRQ input, and BARE_IPI to the FIQ input.
 *
 * RAM lies where the ELF file's segments are, page by page, with ROOM bytes after the last one.
 * The program ends by storing a nonzero word to its symbol "tohost" or to BARE_EXIT.
 */
#ifndef TESTS_GUEST_BARE_H
#define TESTS_GUEST_BARE_H

#include "accel/accel.h"

#define BARE_EXIT UINT64_C(0x70000000) /* a device: 8 bytes */
#define BARE_IPI  UINT64_C(0x70001000) /* a device: a word a hart, its software interrupt input */

/* What supervisors call the machine for, in a7: a remote fence of the harts of mask a0. */
enum {
    BARE_CALL_FENCE_CODE = 1,
    BARE_CALL_FENCE_TLB = 2, /* of the a2 bytes at a1; 0 and 0: everything */
};

struct bare_config {
    const uint8_t *elf;
    size_t elf_size;
    gva_t entry;      /* 0: the ELF file's */
    const uint32_t *stub; /* words that are put at BARE_STUB, or NULL */
    size_t stub_words;
    uint64_t room;    /* bytes of RAM after the last segment */
    unsigned tier, vcpus;
    uint64_t arg;     /* what harts get in a1; a0 is their number */
    bool supervisor;  /* harts start in S-mode, over BARE_CALL_.. */
    unsigned seconds; /* most it may run */
};

#define BARE_STUB UINT64_C(0x60000000) /* one page of RAM; stubs start there in place of ENTRY */

struct bare;

/* Loads the program. NULL with an error. */
struct bare *bare_new(const struct bare_config *config, GError **err);
/* Runs hart 0 (and the others) to the end; VALUE gets the word it ended with. */
bool bare_run(struct bare *bare, uint64_t *value, GError **err);
struct mem_map *bare_memory(struct bare *bare);
struct accel *bare_accel(struct bare *bare);
/* Takes NULL. */
void bare_free(struct bare *bare);

#endif
