/*
 * tests/diff/rv_machine.c: the M-mode part, and reading the dumps out of memory.
 */
#include "tests/diff/rv_machine.h"
#include "tests/guest/bare.h"

static const uint32_t stub[] = {
    0xfff00293, 0x3b029073, 0x01f00293, 0x3a029073, /* PMP: everything to everybody */
    0x000022b7, 0x30029073,                         /* mstatus: FS initial, MPP U */
    0x0f000293, 0x30a29073, 0x10a29073,             /* menvcfg, senvcfg: cache-block operations */
    0x00700293, 0x30629073, 0x10629073,             /* mcounteren, scounteren: all */
    0x00000297, 0x01828293, 0x30529073,             /* mtvec = trap */
    0x001012b7, 0x34129073, 0x30200073,             /* mret to the program */
    /* trap: */
    0x34029073, 0x342022f3, 0xff828293, 0x02029063, /* other than ecall of U: bad */
    0xfa388293, 0x02028463,                         /* a7 is 93: exit */
    0x341022f3, 0x00428293, 0x34129073, 0x340022f3, 0x30200073, /* else nothing */
    /* bad: t1 = cause * 2 + 3 */
    0x34202373, 0x00131313, 0x00330313, 0x0080006f,
    0x00100313,                                     /* exit: t1 = 1 */
    0x700002b7, 0x0062b023, 0x0000006f,             /* t1 to BARE_EXIT */
};

bool rv_machine_run(const struct diff_image *image, unsigned tier, GByteArray *output,
                    GError **err)
{
    struct bare_config config = {
        .elf = image->elf, .elf_size = image->size, .stub = stub,
        .stub_words = G_N_ELEMENTS(stub), .tier = tier, .vcpus = 1, .seconds = 120,
    };
    struct bare *bare = bare_new(&config, err);
    uint64_t value = 0;
    bool ok = bare && bare_run(bare, &value, err);

    if (ok && value != 1)
        ok = vmd_fail(err, VMD_ERROR_INTERNAL, "trapped, cause %u", (unsigned)(value - 3) / 2);
    if (ok) {
        g_byte_array_set_size(output, (unsigned)image->output_size);
        mem_map_read(bare_memory(bare), image->output, output->data, output->len);
    }
    bare_free(bare);
    return ok;
}
