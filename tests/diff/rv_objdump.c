/*
 * tests/diff/rv_objdump: our disassembler against binutils, on random words of every row.
 *
 *   rv_objdump OBJDUMP [N [SEED]]
 *
 * Prints each disagreement; the exit status is 1 if there is one. Decoding is checked with it: the
 * text has the name and every field.
 */
#include "base/base.h"
#include "xlate/front/riscv64/rv_disasm.h"
#include "xlate/front/riscv64/rv_isa.h"

#include <elf.h>
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

/* Binutils knows more CSRs by name than we do, and prints the bits of fences that are ignored. */
static bool comparable(const struct rv_insn *insn)
{
    uint32_t ignored = 0x000f8f80; /* rd, rs1 */

    if (insn->op == RV_FENCE)
        return !(insn->bits & ignored) && insn->fm == 0;
    if (insn->op == RV_FENCE_TSO)
        return !(insn->bits & ignored);
    if (insn->op == RV_FENCE_I)
        return !(insn->bits & 0xffff8f80);
    if (insn->bits == 0xc0001073) /* unimp */
        return false;
    if (insn->row == RV_C_SLLI || insn->row == RV_C_SRLI || insn->row == RV_C_SRAI)
        return insn->imm != 0; /* a hint with a name of its own */
    if (insn->op == RV_FCVT_D_S || insn->op == RV_FCVT_D_W || insn->op == RV_FCVT_D_WU)
        return insn->rm == 0; /* binutils refuses what is superfluous */
    if (rv_rows[insn->op].extension == RV_EXT_Zicsr) {
        for (size_t i = 0; i < G_N_ELEMENTS(rv_csr_names); i++)
            if (rv_csr_names[i].number == insn->csr)
                return true;
        return false;
    }
    return true;
}

static uint32_t random_word(unsigned row, uint64_t *state)
{
    struct rv_insn insn;
    uint32_t bits;

    for (;;) {
        bits = (uint32_t)rnd(state);
        if (rv_rows[row].extension == RV_EXT_Zicsr)
            bits = (bits & 0xfffff) |
                   (uint32_t)rv_csr_names[rnd(state) % G_N_ELEMENTS(rv_csr_names)].number << 20;
        if (rnd(state) % 8 == 0)
            bits &= ~UINT32_C(0x000f8f80);
        if (row == RV_FENCE)
            bits &= 0x0fffffff;
        if (row == RV_FENCE_I)
            bits = 0;
        bits = (bits & ~rv_rows[row].mask) | rv_rows[row].match;
        rv_decode(bits, &insn);
        if (insn.row == row && comparable(&insn))
            return insn.bits;
    }
}

/* An object file of CODE whose attributes name the extensions: binutils decodes by them. */
static GByteArray *object_of(const GByteArray *code)
{
    static const char arch[] = "rv64imafdc_zicsr_zifencei_zicbom_zicboz_zihintpause_zba_zbb_zbs";
    static const char names[] = "\0.text\0.riscv.attributes\0.shstrtab";
    struct {
        char version;
        uint8_t length[4];
        char vendor[6];
        uint8_t file_tag, file_length[4], arch_tag;
        char arch[sizeof(arch)];
    } attributes = {.version = 'A', .vendor = "riscv", .file_tag = 1, .arch_tag = 5};
    uint32_t all = sizeof(attributes) - 1, file = all - 10;
    size_t text = sizeof(Elf64_Ehdr), extra = ALIGN_UP(text + code->len, (size_t)8);
    size_t strings = extra + sizeof(attributes), table = ALIGN_UP(strings + sizeof(names), (size_t)8);
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_REL, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_shoff = table,
        .e_ehsize = sizeof(Elf64_Ehdr), .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 4, .e_shstrndx = 3,
    };
    Elf64_Shdr sections[4] = {
        {0},
        {.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
         .sh_offset = text, .sh_size = code->len, .sh_addralign = 2},
        {.sh_name = 7, .sh_type = SHT_LOPROC + 3, .sh_offset = extra, .sh_size = sizeof(attributes),
         .sh_addralign = 1},
        {.sh_name = 25, .sh_type = SHT_STRTAB, .sh_offset = strings, .sh_size = sizeof(names),
         .sh_addralign = 1},
    };
    GByteArray *out = g_byte_array_new();

    memcpy(attributes.length, &all, 4);
    memcpy(attributes.file_length, &file, 4);
    memcpy(attributes.arch, arch, sizeof(arch));
    g_byte_array_set_size(out, table + sizeof(sections));
    memset(out->data, 0, out->len);
    memcpy(out->data, &header, sizeof(header));
    memcpy(out->data + text, code->data, code->len);
    memcpy(out->data + extra, &attributes, sizeof(attributes));
    memcpy(out->data + strings, names, sizeof(names));
    memcpy(out->data + table, sections, sizeof(sections));
    return out;
}

/* The mnemonic and operands of a line of objdump: one space between, no comment, no symbol. */
static char *normal(const char *line)
{
    g_auto(GStrv) columns = g_strsplit(line, "\t", 4);

    if (g_strv_length(columns) < 3)
        return NULL;
    char *text = g_strstrip(g_strdup_printf("%s %s", columns[2], columns[3] ? columns[3] : ""));
    char *end = strpbrk(text, "<#");
    if (end)
        *end = '\0';
    return g_strstrip(text);
}

static int compare(const GArray *words, char *listing)
{
    g_auto(GStrv) lines = g_strsplit(listing, "\n", -1);
    unsigned word = 0, bad = 0;
    uint64_t pc = 0;

    for (char **line = lines; *line && word < words->len; line++) {
        g_autofree char *theirs = strstr(*line, ":\t") ? normal(*line) : NULL;
        uint32_t bits = g_array_index(words, uint32_t, word);
        char ours[80];

        if (!theirs)
            continue;
        unsigned length = rv_disassemble((const uint8_t *)&bits, 4, pc, ours, sizeof(ours));
        if (strcmp(ours, theirs) && bad++ < 40)
            printf("%08x: '%s', objdump has '%s'\n", bits, ours, theirs);
        pc += length;
        word++;
    }
    if (word != words->len)
        printf("%u of %u lines\n", word, words->len);
    return bad || word != words->len;
}

int main(int argc, char **argv)
{
    unsigned each = argc > 2 ? strtoul(argv[2], NULL, 0) : 100;
    uint64_t state = (argc > 3 ? strtoull(argv[3], NULL, 0) : 1) * UINT64_C(0x9e3779b97f4a7c15);
    g_autofree char *file = NULL, *listing = NULL;
    g_autoptr(GError) err = NULL;
    GByteArray *code = g_byte_array_new();
    GArray *words = g_array_new(FALSE, FALSE, sizeof(uint32_t));

    if (argc < 2)
        return 2;
    for (unsigned row = 1; row < RV_ROWS; row++) {
        if (row == RV_PAUSE) /* an alias to binutils */
            continue;
        for (unsigned i = 0; i < each; i++) {
            uint32_t bits = random_word(row, &state);

            g_array_append_val(words, bits);
            g_byte_array_append(code, (const uint8_t *)&bits, rv_rows[row].length);
        }
    }
    GByteArray *object = object_of(code);
    int fd = g_file_open_tmp("rv-objdump-XXXXXX", &file, &err);
    bool ok = fd >= 0 && write(fd, object->data, object->len) == (ssize_t)object->len;
    char *command[] = {argv[1], (char *)"-D", (char *)"-j", (char *)".text", (char *)"-M",
                       (char *)"no-aliases", file, NULL};
    ok = ok && g_spawn_sync(NULL, command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &listing, NULL,
                            NULL, &err);
    int status = ok ? compare(words, listing) : 1;
    if (err)
        printf("%s\n", err->message);
    if (!status)
        printf("%u words of %u rows, all equal\n", words->len, RV_ROWS - 2);
    if (fd >= 0) {
        close(fd);
        g_unlink(file);
    }
    g_byte_array_free(object, TRUE);
    g_byte_array_free(code, TRUE);
    g_array_free(words, TRUE);
    return status;
}
