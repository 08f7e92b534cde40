/*
 * tests/diff/a64_objdump: our A64 disassembler against binutils, on random words of every row.
 *
 *   a64_objdump OBJDUMP [N [SEED]]
 *
 * Prints each disagreement; the exit status is 1 if there is one. Decoding is checked with it: the
 * text has the name and every field.
 */
#include "base/base.h"
#include "xlate/front/aarch64/a64_disasm.h"
#include "xlate/front/aarch64/a64_isa.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t rnd(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static bool has(unsigned row, const char *operand)
{
    return strstr(a64_rows[row].operands, operand);
}

/* A load that overwrites its own base, or registers that have to differ and don't: binutils adds a
 * remark or refuses it. */
static bool unpredictable(const struct a64_insn *i)
{
    bool pair = has(i->row, "t2"), writes_back = has(i->row, "addrp");
    bool status = g_str_has_prefix(a64_rows[i->row].name, "st") && has(i->row, "s,");

    return (pair && i->rt == i->rt2) || (writes_back && (i->rt == i->rn || (pair && i->rt2 == i->rn))) ||
           (status && (i->rs == i->rt || i->rs == i->rn || (pair && i->rs == i->rt2)));
}

/* Binutils and we call these alike: it knows more names, of later extensions. */
static bool named_alike(unsigned sysreg)
{
    for (size_t n = 0; n < G_N_ELEMENTS(a64_csr_names); n++)
        if (a64_csr_names[n].number == (sysreg | 0x8000))
            return !g_str_has_prefix(a64_csr_names[n].name, "id_") &&
                   !g_str_has_prefix(a64_csr_names[n].name, "oslar");
    return false;
}

static bool comparable(const struct a64_insn *i)
{
    switch (i->row) {
    case A64_MRS: case A64_MSR:
        return named_alike(i->sysreg);
    case A64_MSR_UAO: case A64_MSR_PAN: case A64_MSR_SPSEL:
        return i->imm <= 1;
    default:
        return !unpredictable(i);
    }
}

static uint32_t random_word(unsigned row, uint64_t *state)
{
    struct a64_insn insn;
    uint32_t bits;

    for (;;) {
        bits = (uint32_t)rnd(state);
        if (row == A64_MRS || row == A64_MSR)
            bits = (bits & 31) | (uint32_t)(a64_csr_names[rnd(state) % G_N_ELEMENTS(a64_csr_names)]
                                                .number & 0x7fff) << 5;
        if (has(row, "base")) /* what should be ones */
            bits |= (has(row, "t2") ? 0 : 31u << 10) | (has(row, "s,") || has(row, "spair") ? 0 : 31u << 16);
        if (row == A64_SMULH || row == A64_UMULH)
            bits |= 31u << 10;
        bits = (bits & ~a64_rows[row].mask) | a64_rows[row].match;
        a64_decode(bits, &insn);
        if (insn.row == row && comparable(&insn))
            return bits;
    }
}

/* The mnemonic and operands of a line of objdump: one space between, no remark, no symbol. */
static char *normal(const char *line)
{
    g_auto(GStrv) columns = g_strsplit(line, "\t", 4);

    if (g_strv_length(columns) < 3)
        return NULL;
    char *text = g_strstrip(g_strdup_printf("%s %s", columns[2], columns[3] ? columns[3] : ""));
    char *end = strstr(text, "//");
    if (end)
        *end = '\0';
    return g_strstrip(text);
}

static int compare(const GArray *words, char *listing)
{
    g_auto(GStrv) lines = g_strsplit(listing, "\n", -1);
    unsigned word = 0, bad = 0;

    for (char **line = lines; *line && word < words->len; line++) {
        g_autofree char *theirs = strstr(*line, ":\t") ? normal(*line) : NULL;
        uint32_t bits = GUINT32_TO_LE(g_array_index(words, uint32_t, word));
        char ours[80];

        if (!theirs)
            continue;
        a64_disassemble((const uint8_t *)&bits, 4, 4 * word, ours, sizeof(ours));
        if (strcmp(ours, theirs) && bad++ < 60)
            printf("%08x: '%s', objdump has '%s'\n", bits, ours, theirs);
        word++;
    }
    if (word != words->len)
        printf("%u of %u lines\n", word, words->len);
    return bad || word != words->len;
}

/* Hints and barriers, which binutils writes in other ways; words of no instruction. */
static bool left_out(unsigned row)
{
    switch (row) {
    case A64_HINT: case A64_CLREX: case A64_ISB: case A64_DSB: case A64_DMB: case A64_SYS: case A64_UDF:
    case A64_WFI: case A64_WFE: case A64_YIELD: case A64_SEV: case A64_SEVL:
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    unsigned each = argc > 2 ? strtoul(argv[2], NULL, 0) : 100, rows = 0;
    uint64_t state = (argc > 3 ? strtoull(argv[3], NULL, 0) : 1) * UINT64_C(0x9e3779b97f4a7c15);
    g_autofree char *file = NULL, *listing = NULL;
    g_autoptr(GError) err = NULL;
    GArray *words = g_array_new(FALSE, FALSE, sizeof(uint32_t));

    if (argc < 2)
        return 2;
    for (unsigned row = 1; row < A64_ROWS; row++) {
        if (left_out(row))
            continue;
        rows++;
        for (unsigned i = 0; i < each; i++) {
            uint32_t bits = random_word(row, &state);

            g_array_append_val(words, bits);
        }
    }
    int fd = g_file_open_tmp("a64-objdump-XXXXXX", &file, &err);
    bool ok = fd >= 0 && write(fd, words->data, 4 * words->len) == (ssize_t)(4 * words->len);
    char *command[] = {argv[1], (char *)"-D", (char *)"-b", (char *)"binary", (char *)"-m",
                       (char *)"aarch64", (char *)"-z", (char *)"-M", (char *)"no-aliases", file, NULL};
    ok = ok && g_spawn_sync(NULL, command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &listing, NULL,
                            NULL, &err);
    int status = ok ? compare(words, listing) : 1;
    if (err)
        printf("%s\n", err->message);
    if (!status)
        printf("%u words of %u rows, all equal\n", words->len, rows);
    if (fd >= 0) {
        close(fd);
        g_unlink(file);
    }
    g_array_free(words, TRUE);
    return status;
}
