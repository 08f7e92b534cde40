/*
 * Code objects: their ELF side, and the descriptors of kernels. See code_object.h.
 *
 * Offsets and counts are the file's own: each is checked before it is used.
 */
#include "gpu/code/code_priv.h"

#include "gpu/code/elf.h"

enum {
    OSABI_HSA = 64,
    MACHINE_AMDGPU = 224,
    SECTION_SYMBOLS = 2,
    SECTION_NOTE = 7,
    SECTION_NO_BITS = 8,
    SECTION_DYNAMIC_SYMBOLS = 11,
    SEGMENT_NOTE = 4,
    NOTE_METADATA = 32,
    DESCRIPTOR = 64,
};

/* What a file may have at most, so that one is read in no more than the time that its bytes take:
 * linkers make some dozen sections and segments, and one note. */
enum { SECTIONS = 512, SEGMENTS = 64, NOTES = 1024, SYMBOLS = 1 << 18 };

static bool damaged(GError **err, const char *what)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "the code object is damaged: %s", what);
}

/* --- sections and segments -------------------------------------------------------------------- */

struct part {
    uint32_t type, link;
    uint64_t address, offset, bytes;
};

static unsigned n_sections(const struct code_object *o)
{
    return (unsigned)elf_number(o->elf + 60, 2);
}

static unsigned n_segments(const struct code_object *o)
{
    return (unsigned)elf_number(o->elf + 56, 2);
}

/* What the header says of the tables is so for all that follows, and what these say as well. */
static bool check_header(const struct code_object *o, GError **err)
{
    enum { CLASS_64 = 2, LITTLE = 1 };
    const uint8_t *h = o->elf;

    if (o->length < ELF_HEADER || memcmp(h, "\177ELF", 4) != 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "the image is no code object");
    if (h[4] != CLASS_64 || h[5] != LITTLE || elf_number(h + 18, 2) != MACHINE_AMDGPU ||
        h[7] != OSABI_HSA)
        return vmd_fail(err, VMD_ERROR_INVALID, "the ELF file is not for AMD's GPUs under HSA");
    if (!elf_is_whole(h, o->length))
        return damaged(err, "its tables, or what they name, are not within it");
    if (n_sections(o) > SECTIONS || n_segments(o) > SEGMENTS)
        return damaged(err, "no linker makes that many sections or segments");
    return true;
}

static struct part section_at(const struct code_object *o, unsigned i)
{
    const uint8_t *s = o->elf + elf_number(o->elf + 40, 8) + (uint64_t)i * ELF_SECTION;

    return (struct part){.type = (uint32_t)elf_number(s + 4, 4),
                         .link = (uint32_t)elf_number(s + 40, 4),
                         .address = elf_number(s + 16, 8),
                         .offset = elf_number(s + 24, 8),
                         .bytes = elf_number(s + 32, 8)};
}

static struct part segment_at(const struct code_object *o, unsigned i)
{
    const uint8_t *s = o->elf + elf_number(o->elf + 32, 8) + (uint64_t)i * ELF_SEGMENT;

    return (struct part){.type = (uint32_t)elf_number(s, 4),
                         .offset = elf_number(s + 8, 8),
                         .bytes = elf_number(s + 32, 8)};
}

/* --- the note --------------------------------------------------------------------------------- */

/* The metadata in the notes at P; none there: OUT has no bytes; false with ERR: they are none. Of
 * LEFT notes at most, in all of the file. */
static bool find_in(const struct code_object *o, const struct part *p, unsigned *left,
                    struct part *out, GError **err)
{
    enum { NOTE_HEAD = 12 };
    uint64_t at = p->offset, end = p->offset + p->bytes;

    while (!out->bytes && end - at >= NOTE_HEAD) {
        uint64_t named = elf_number(o->elf + at, 4), bytes = elf_number(o->elf + at + 4, 4);
        uint64_t name = at + NOTE_HEAD, desc = name + ALIGN_UP(named, 4u);
        if (!elf_within(name, ALIGN_UP(named, 4u), end) || !elf_within(desc, bytes, end))
            return damaged(err, "a note is longer than its section");
        if (!(*left)--)
            return damaged(err, "no linker makes that many notes");
        if (elf_number(o->elf + at + 8, 4) == NOTE_METADATA && named == sizeof("AMDGPU") &&
            memcmp(o->elf + name, "AMDGPU", sizeof("AMDGPU")) == 0)
            *out = (struct part){.offset = desc, .bytes = bytes};
        at = MIN(desc + ALIGN_UP(bytes, 4u), end);
    }
    return true;
}

/* The segment is what a loader reads; files before linking have sections alone. */
static bool find_metadata(const struct code_object *o, struct part *out, GError **err)
{
    unsigned left = NOTES;

    *out = (struct part){0};
    for (unsigned i = 0; !out->bytes && i < n_segments(o); i++) {
        const struct part p = segment_at(o, i);
        if (p.type == SEGMENT_NOTE && !find_in(o, &p, &left, out, err))
            return false;
    }
    for (unsigned i = 0; !out->bytes && i < n_sections(o); i++) {
        const struct part p = section_at(o, i);
        if (p.type == SECTION_NOTE && !find_in(o, &p, &left, out, err))
            return false;
    }
    return out->bytes || vmd_fail(err, VMD_ERROR_INVALID, "the code object has no metadata");
}

/* --- descriptors ------------------------------------------------------------------------------ */

/* Where the LENGTH bytes of a section at ADDRESS are in the file. */
static bool in_section(const struct code_object *o, unsigned section, uint64_t address,
                       uint64_t length, uint64_t *offset)
{
    if (section >= n_sections(o))
        return false;
    const struct part p = section_at(o, section);
    if (p.type == SECTION_NO_BITS || address < p.address ||
        !elf_within(address - p.address, length, p.bytes))
        return false;
    *offset = p.offset + (address - p.address);
    return true;
}

/* A descriptor by its symbol's name: pointers into the file. */
struct descriptor {
    const char *name;
    const uint8_t *at;
};

static gint by_symbol(gconstpointer a, gconstpointer b)
{
    return strcmp(((const struct descriptor *)a)->name, ((const struct descriptor *)b)->name);
}

/* The descriptor that the symbol at S stands for; NAMES are the strings. */
static void take_symbol(const struct code_object *o, const uint8_t *s, const struct part *names,
                        GArray *out)
{
    uint64_t name = elf_number(s, 4), offset;

    if (name >= names->bytes || elf_number(s + 16, 8) != DESCRIPTOR)
        return;
    const char *text = (const char *)o->elf + names->offset + name;
    size_t n = strnlen(text, MIN(names->bytes - name, CODE_NAME + 8));
    if (n == MIN(names->bytes - name, CODE_NAME + 8) || n < 4 ||
        memcmp(text + n - 3, ".kd", 4) != 0)
        return;
    if (in_section(o, (unsigned)elf_number(s + 6, 2), elf_number(s + 8, 8), DESCRIPTOR, &offset)) {
        const struct descriptor d = {text, o->elf + offset};
        g_array_append_val(out, d);
    }
}

/* Takes the descriptors that symbols of the first section of TYPE name. */
static bool take_table(const struct code_object *o, uint32_t type, GArray *out, GError **err)
{
    unsigned i = 0;

    while (i < n_sections(o) && section_at(o, i).type != type)
        i++;
    if (i == n_sections(o))
        return true;
    const struct part table = section_at(o, i);
    if (table.bytes / ELF_SYMBOL > SYMBOLS)
        return damaged(err, "it has too many symbols");
    if (table.link >= n_sections(o))
        return true;
    const struct part names = section_at(o, table.link);
    for (uint64_t at = 0; names.type != SECTION_NO_BITS && table.bytes - at >= ELF_SYMBOL;
         at += ELF_SYMBOL)
        take_symbol(o, o->elf + table.offset + at, &names, out);
    return true;
}

/* Descriptors in the file, by name: a name that is there twice is one thing's. */
static bool find_descriptors(const struct code_object *o, GArray *out, GError **err)
{
    if (!take_table(o, SECTION_SYMBOLS, out, err) ||
        !take_table(o, SECTION_DYNAMIC_SYMBOLS, out, err))
        return false;
    g_array_sort(out, by_symbol);
    for (guint i = 1; i < out->len; i++) {
        const struct descriptor *d = &g_array_index(out, struct descriptor, i - 1);
        if (strcmp(d[0].name, d[1].name) == 0 && d[0].at != d[1].at)
            return damaged(err, "a symbol stands for two descriptors");
    }
    return true;
}

static const uint8_t *descriptor_of(GArray *descriptors, const char *symbol)
{
    const struct descriptor key = {.name = symbol};
    guint i;

    return g_array_binary_search(descriptors, &key, by_symbol, &i)
               ? g_array_index(descriptors, struct descriptor, i).at
               : NULL;
}

/* The device believes the descriptor, the launch the metadata: they are to say the same. Compilers
 * before LLVM 11 left the size of the kernarg segment out. */
static bool check_kernel(const struct code_kernel *k, const uint8_t *d, GError **err)
{
    if (!d)
        return vmd_fail(err, VMD_ERROR_INVALID, "kernel %s has no descriptor", k->name);
    uint64_t kernarg = elf_number(d + 8, 4);
    if (elf_number(d, 4) != k->group_bytes || elf_number(d + 4, 4) != k->private_bytes ||
        (kernarg && kernarg != k->kernarg_bytes))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "the descriptor of kernel %s is not what the metadata says", k->name);
    return true;
}

static bool check_kernels(const struct code_object *o, GError **err)
{
    g_autoptr(GArray) descriptors = g_array_new(FALSE, FALSE, sizeof(struct descriptor));
    const struct code_kernel *last = NULL;

    if (!find_descriptors(o, descriptors, err))
        return false;
    for (guint i = 0; i < o->kernels->len; i++) {
        const struct code_kernel *k = &g_array_index(o->kernels, struct code_kernel, i);
        if (last && strcmp(last->name, k->name) == 0)
            return vmd_fail(err, VMD_ERROR_INVALID, "there are two kernels %s", k->name);
        if (!check_kernel(k, descriptor_of(descriptors, k->symbol), err))
            return false;
        last = k;
    }
    return true;
}

/* --- the object ------------------------------------------------------------------------------- */

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(((const struct code_kernel *)a)->name, ((const struct code_kernel *)b)->name);
}

static bool parse(struct code_object *o, GError **err)
{
    struct part note;

    if (!check_header(o, err) ||
        !code__target(o, (uint32_t)elf_number(o->elf + 48, 4), o->elf[8], err) ||
        !find_metadata(o, &note, err) ||
        !code__metadata(o, o->elf + note.offset, (size_t)note.bytes, err))
        return false;
    g_array_sort(o->kernels, by_name);
    return check_kernels(o, err);
}

struct code_object *code_object_new(const uint8_t *image, size_t length, GError **err)
{
    struct code_object *o = g_new0(struct code_object, 1);

    o->kernels = g_array_new(FALSE, FALSE, sizeof(struct code_kernel));
    o->owned = g_ptr_array_new_with_free_func(g_free);
    o->elf = image;
    o->length = length;
    if (!parse(o, err))
        g_clear_pointer(&o, code_object_free);
    else
        o->elf = NULL;
    return o;
}

void code_object_free(struct code_object *o)
{
    if (!o)
        return;
    g_array_free(o->kernels, TRUE);
    g_ptr_array_free(o->owned, TRUE);
    g_free(o);
}

unsigned code_object_version(const struct code_object *o)
{
    return o->version;
}

const char *code_object_target(const struct code_object *o)
{
    return o->target;
}

unsigned code_object_kernels(const struct code_object *o)
{
    return o->kernels->len;
}

const struct code_kernel *code_object_kernel_at(const struct code_object *o, unsigned i)
{
    return &g_array_index(o->kernels, struct code_kernel, i);
}

const struct code_kernel *code_object_kernel(const struct code_object *o, const char *name)
{
    const struct code_kernel key = {.name = name};
    guint i;

    return g_array_binary_search(o->kernels, &key, by_name, &i) ? code_object_kernel_at(o, i)
                                                                : NULL;
}

/* --- the one for a device --------------------------------------------------------------------- */

/* The ELF file for itself says what it is for. */
static bool choose_elf(const uint8_t *image, size_t length, const char *device, GError **err)
{
    struct code_object o = {.elf = image, .length = length};

    if (!check_header(&o, err) ||
        !code__target(&o, (uint32_t)elf_number(image + 48, 4), image[8], err))
        return false;
    return target_match(o.target, strlen(o.target), device) ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the code object is for %s, the device is %s",
                    o.target, device);
}

bool code_object_choose(const uint8_t *image, size_t length, const char *device, size_t *offset,
                        size_t *bytes, GError **err)
{
    *offset = 0;
    *bytes = length;
    if (length >= strlen(BUNDLE_PACKED) && memcmp(image, BUNDLE_PACKED, strlen(BUNDLE_PACKED)) == 0)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the bundle is compressed: build with --no-offload-compress");
    if (bundle_is(image, length)) {
        enum bundle_result rc = bundle_find(image, length, device, offset, bytes);
        if (rc == BUNDLE_BROKEN)
            return vmd_fail(err, VMD_ERROR_INVALID, "the bundle is damaged");
        if (rc == BUNDLE_NONE)
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the bundle has no code object for %s",
                            device);
    }
    return choose_elf(image + *offset, *bytes, device, err);
}
