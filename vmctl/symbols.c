/* Names of guest addresses; see symbols.h. A file may hold anything. */
#include "vmctl/symbols.h"

#include <elf.h>

enum { FAR = 1 << 20 }; /* nothing is that long: what lies behind belongs to no symbol known */

struct symbol {
    uint64_t address;
    const char *name;
};

struct symbols {
    GArray *rows; /* struct symbol, by address */
    GStringChunk *names;
};

/* Names end up in formats of lines, words and semicolons. */
static void add(struct symbols *s, uint64_t address, const char *name, size_t length)
{
    g_autofree char *text = g_strndup(name, length);

    for (char *c = text; *c; c++)
        if (*c == ';' || (unsigned char)*c <= ' ' || *c == 0x7f)
            *c = '_';
    struct symbol row = {address, g_string_chunk_insert(s->names, text)};
    g_array_append_val(s->rows, row);
}

/* --- System.map: lines of address, type, name --------------------------------------------------- */

static void read_map(struct symbols *s, const char *text, size_t length)
{
    const char *end = text + length, *next;

    for (; text < end; text = next + 1) {
        next = memchr(text, '\n', (size_t)(end - text));
        next = next ? next : end;
        g_autofree char *line = g_strndup(text, (size_t)(next - text));
        g_auto(GStrv) word = g_strsplit_set(line, " \t", 4);
        guint64 address;
        if (g_strv_length(word) >= 3 && strchr("tTwW", word[1][0]) && word[2][0] &&
            g_ascii_string_to_unsigned(word[0], 16, 1, G_MAXUINT64, &address, NULL))
            add(s, address, word[2], strlen(word[2]));
    }
}

/* --- ELF ---------------------------------------------------------------------------------------- */

static bool within(size_t length, uint64_t offset, uint64_t size)
{
    return offset <= length && size <= length - offset;
}

static bool section(const char *data, size_t length, const Elf64_Ehdr *elf, unsigned i,
                    Elf64_Shdr *out)
{
    uint64_t at = elf->e_shoff + (uint64_t)i * sizeof(*out);

    if (i >= elf->e_shnum || elf->e_shoff > length || !within(length, at, sizeof(*out)))
        return false;
    memcpy(out, data + at, sizeof(*out));
    return out->sh_type != SHT_NOBITS && within(length, out->sh_offset, out->sh_size);
}

static void read_table(struct symbols *s, const char *data, const Elf64_Shdr *table,
                       const Elf64_Shdr *strings)
{
    const char *names = data + strings->sh_offset;
    Elf64_Sym sym;

    for (uint64_t at = 0; at + sizeof(sym) <= table->sh_size; at += sizeof(sym)) {
        memcpy(&sym, data + table->sh_offset + at, sizeof(sym));
        unsigned type = ELF64_ST_TYPE(sym.st_info);
        if ((type != STT_FUNC && type != STT_NOTYPE) || sym.st_shndx == SHN_UNDEF ||
            sym.st_name >= strings->sh_size)
            continue;
        size_t most = strings->sh_size - sym.st_name, n = strnlen(names + sym.st_name, most);
        const char *name = names + sym.st_name;
        if (n && n < most && name[0] != '$' && name[0] != '.') /* marks of the assembler */
            add(s, sym.st_value, name, n);
    }
}

static void read_elf(struct symbols *s, const char *data, size_t length)
{
    Elf64_Ehdr elf;
    Elf64_Shdr table, strings;

    if (length < sizeof(elf))
        return;
    memcpy(&elf, data, sizeof(elf));
    if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB ||
        elf.e_shentsize != sizeof(table))
        return;
    for (unsigned i = 0; i < elf.e_shnum; i++) {
        if (section(data, length, &elf, i, &table) && table.sh_type == SHT_SYMTAB &&
            section(data, length, &elf, table.sh_link, &strings))
            read_table(s, data, &table, &strings);
    }
}

/* --- both ----------------------------------------------------------------------------------------- */

static gint by_address(gconstpointer a, gconstpointer b)
{
    const struct symbol *x = a, *y = b;

    return (x->address > y->address) - (x->address < y->address);
}

struct symbols *symbols_read(const char *path, GError **err)
{
    GMappedFile *file = g_mapped_file_new(path, FALSE, err);

    if (!file)
        return NULL;
    struct symbols *s = g_new0(struct symbols, 1);
    const char *data = g_mapped_file_get_contents(file);
    size_t length = g_mapped_file_get_length(file);
    s->rows = g_array_new(FALSE, FALSE, sizeof(struct symbol));
    s->names = g_string_chunk_new(4096);
    if (length >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0)
        read_elf(s, data, length);
    else
        read_map(s, data, length);
    g_mapped_file_unref(file);
    g_array_sort(s->rows, by_address);
    if (s->rows->len)
        return s;
    symbols_free(s);
    vmd_fail(err, VMD_ERROR_INVALID, "%s has no symbols: it is neither a System.map nor an ELF file of "
             "64 bits with a symbol table", path);
    return NULL;
}

void symbols_free(struct symbols *s)
{
    if (!s)
        return;
    g_array_free(s->rows, TRUE);
    g_string_chunk_free(s->names);
    g_free(s);
}

const char *symbols_find(const struct symbols *s, uint64_t address, uint64_t *offset)
{
    guint low = 0, high = s ? s->rows->len : 0;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (g_array_index(s->rows, struct symbol, middle).address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low)
        return NULL;
    const struct symbol *row = &g_array_index(s->rows, struct symbol, low - 1);
    *offset = address - row->address;
    return *offset < FAR ? row->name : NULL;
}
