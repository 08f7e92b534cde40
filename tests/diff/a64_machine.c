/*
 * tests/diff/a64_machine.c: the EL1 part, and reading the states out of memory.
 */
#include "tests/diff/a64_machine.h"
#include "tests/guest/bare.h"

enum { STUB_ENTRY = 13, STUB_HANDLER = 15, STUB_VECTOR = 0xc00 / 4 /* synchronous, from EL0 */ };

static const uint32_t stub[] = {
    0xd2a00601, 0xd5181041,                         /* CPACR_EL1: floating point is not trapped */
    0x10003fc1, 0xd518c001,                         /* VBAR_EL1: 0x800 bytes in */
    0xd5381001, 0xd2980002, 0xf2a080a2, 0xaa020021, 0xd5181001, /* SCTLR_EL1: UCI nTWE nTWI UCT DZE */
    0xd518401f, 0x58000061, 0xd5184021, 0xd69f03e0, /* eret to the entry at EL0 */
    0, 0,                                           /* the entry */
    /* handler: */
    0xd518d080, 0xd5385200, 0xd35afc00,
    0xf100541f, 0x540000a1,                         /* other than svc: bad */
    0xf101751f, 0x540000c0,                         /* x8 is 93: good */
    0xd538d080, 0xd69f03e0,                         /* else nothing */
    0xd37ff801, 0x91000c21, 0x14000002,             /* bad: x1 = class * 2 + 3 */
    0xd2800021,                                     /* good: x1 = 1 */
    0xd2ae0000, 0xf9000001, 0x14000000,             /* x1 to BARE_EXIT */
};

bool a64_machine_run(const struct diff_image *image, unsigned tier, GByteArray *output,
                     GError **err)
{
    uint32_t words[STUB_VECTOR + 1] = {0};
    struct bare_config config = {
        .elf = image->elf, .elf_size = image->size, .stub = words,
        .stub_words = G_N_ELEMENTS(words), .tier = tier, .vcpus = 1, .supervisor = true, .seconds = 120,
    };

    memcpy(words, stub, sizeof(stub));
    memcpy(&words[STUB_ENTRY], &image->entry, sizeof(image->entry));
    words[STUB_VECTOR] = 0x14000000 | ((STUB_HANDLER - STUB_VECTOR) & 0x3ffffff); /* b handler */
    struct bare *bare = bare_new(&config, err);
    uint64_t value = 0;
    bool ok = bare && bare_run(bare, &value, err);

    if (ok && value != 1)
        ok = vmd_fail(err, VMD_ERROR_INTERNAL, "an exception of class %#x", (unsigned)(value - 3) / 2);
    if (ok) {
        g_byte_array_set_size(output, (unsigned)image->output_size);
        mem_map_read(bare_memory(bare), image->output, output->data, output->len);
    }
    bare_free(bare);
    return ok;
}
