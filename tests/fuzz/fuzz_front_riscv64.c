/* RISC-V code: any bytes, in any mode, at any place in a page, are a unit that the verifier takes and
 * text of the right length. The first four bytes of the input say mode and place. */
#include "tests/fuzz/fuzz.h"
#include "xlate/front/riscv64/front.h"
#include "xlate/front/riscv64/rv_helpers.h"
#include "xlate/front/riscv64/rv_isa.h"

#define RV_HELPER(NAME, name, n_args, result, flags) {#name, NULL, n_args, result, flags},
static const struct ir_helper helpers[] = {
#include "xlate/front/riscv64/rv_helpers.inc"
};
#undef RV_HELPER

static void disassemble_all(const uint8_t *code, size_t size)
{
    char text[48]; /* small enough that some are cut off */
    unsigned length;

    for (size_t at = 0; at < size; at += length) {
        length = xl_front_riscv64.disassemble(code + at, (uint32_t)(size - at), at, text, sizeof(text));
        g_assert(memchr(text, '\0', sizeof(text)));
        if (!length)
            break;
        g_assert(length == 2 || length == 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xl_source source = {.max_insns = 64};
    g_autoptr(GError) err = NULL;

    if (size < 6)
        return 0;
    source.code = data + 4;
    source.length = (uint32_t)size - 4;
    source.mode = data[0] | (data[1] & 1u) << 8;
    source.start = (data[2] | data[3] << 8) & 4094;
    struct ir_unit *unit = ir_unit_new();
    xl_front_riscv64.translate(&source, unit);
    g_assert(unit->n_guest >= 1 && unit->bytes >= 2 && unit->bytes <= source.length);
    if (!ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err))
        g_error("%s", err->message);
    ir_unit_free(unit);
    disassemble_all(source.code, source.length);
    return 0;
}

/* A row each, behind a few others. */
bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const uint8_t head[] = {0x48, 0x01, 0xf0, 0x0f}; /* S-mode, floating point dirty */

    if (n + 1 >= RV_ROWS)
        return false;
    g_byte_array_append(out, head, sizeof(head));
    for (unsigned i = 0; i < 4; i++) {
        const struct rv_row *row = &rv_rows[1 + (n + i * 59) % (RV_ROWS - 1)];
        uint32_t bits = row->match | (0x00b50533 * (i + 1) & ~row->mask);

        g_byte_array_append(out, (const guint8 *)&bits, row->length);
    }
    return true;
}
