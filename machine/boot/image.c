/*
 * A file is read, unpacked while it is compressed (a zboot image holds a compressed one), then
 * recognised by its magic numbers, those of other machines too, so that a wrong file is named.
 */
#include "machine/boot/image.h"

#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#define KERNEL_LIMIT ((size_t)MIB(LIMIT_KERNEL_MIB))
/* Memory that a kernel or one of its segments may ask to be cleared; more is no kernel, and takes minutes. */
#define MOST_IN_RAM GIB(4)

static bool bad(GError **err, const char *name, const char *what)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "'%s' %s", name, what);
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

/* --- files -------------------------------------------------------------------------------- */

bool image_file_size(int fd, const char *name, uint64_t limit, uint64_t *size, GError **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return vmd_set_errno(err, errno, "reading '%s'", name);
    if (!S_ISREG(st.st_mode))
        return bad(err, name, "is not a regular file");
    if (st.st_size == 0)
        return bad(err, name, "is empty");
    if ((uint64_t)st.st_size > limit) {
        g_autofree char *most = size_format(limit);
        return vmd_fail(err, VMD_ERROR_LIMIT, "'%s' is larger than %s", name, most);
    }
    *size = (uint64_t)st.st_size;
    return true;
}

bool image_file_read(int fd, const char *name, void *to, uint64_t size, GError **err)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)to + done, size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vmd_set_errno(err, errno, "reading '%s'", name);
        if (n == 0)
            return bad(err, name, "became shorter while it was read");
        done += (uint64_t)n;
    }
    return true;
}

/* --- compression -------------------------------------------------------------------------- */

/* Makes room for more output of an unpacker; false at the limit. */
static bool grow(struct image *out, size_t used, GError **err)
{
    if (used < out->size)
        return true;
    if (out->size >= KERNEL_LIMIT)
        return vmd_fail(err, VMD_ERROR_LIMIT, "'%s' unpacks to more than %d MiB", out->name,
                        LIMIT_KERNEL_MIB);
    out->size = CLAMP(out->size * 2, (size_t)MIB(1), KERNEL_LIMIT);
    out->data = g_realloc(out->data, out->size);
    return true;
}

/* Unpacks the first gzip member; what follows it is ignored, as gunzip does with padding. */
static bool unpack_gzip(const uint8_t *from, size_t size, struct image *out, GError **err)
{
    z_stream z = {.next_in = (Bytef *)from, .avail_in = (uInt)size};
    size_t used = 0;
    int rc = inflateInit2(&z, 16 + MAX_WBITS);
    bool fine = rc == Z_OK;

    while (fine && rc != Z_STREAM_END) {
        fine = grow(out, used, err);
        if (!fine)
            break;
        z.next_out = out->data + used;
        z.avail_out = (uInt)(out->size - used);
        rc = inflate(&z, Z_NO_FLUSH);
        size_t made = (size_t)(z.next_out - out->data) - used;
        used += made;
        /* Z_OK without progress would go on for ever. */
        fine = rc == Z_STREAM_END || (rc == Z_OK && (made || z.avail_in));
        if (!fine)
            bad(err, out->name, z.avail_in ? "has damaged gzip data" : "has gzip data cut short");
    }
    inflateEnd(&z);
    out->size = used;
    return fine;
}

static bool unpack_zstd(const uint8_t *from, size_t size, struct image *out, GError **err)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_inBuffer in = {from, size, 0};
    size_t used = 0, left = 1;
    bool fine = true;

    while (fine && left) {
        fine = grow(out, used, err);
        if (!fine)
            break;
        ZSTD_outBuffer to = {out->data, out->size, used};
        left = ZSTD_decompressStream(z, &to, &in);
        fine = !ZSTD_isError(left) && (to.pos > used || in.pos < in.size || left == 0);
        if (!fine)
            bad(err, out->name,
                in.pos < in.size ? "has damaged zstd data" : "has zstd data cut short");
        used = to.pos;
    }
    ZSTD_freeDStream(z);
    out->size = used;
    return fine;
}

static bool is_gzip(const uint8_t *p, size_t n)
{
    return n >= 18 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8;
}

static bool is_zstd(const uint8_t *p, size_t n)
{
    return n >= 4 && le32(p) == 0xfd2fb528;
}

/* An EFI image that unpacks itself: "MZ", "zimg", offset and size of what it holds. */
static bool is_zboot(const uint8_t *p, size_t n)
{
    return n >= 64 && p[0] == 'M' && p[1] == 'Z' && memcmp(p + 4, "zimg", 4) == 0;
}

/* Unpacks FROM to OUT when it is compressed; UNPACKED tells whether it was. */
static bool unpack(const uint8_t *from, size_t size, struct image *out, bool *unpacked,
                   GError **err)
{
    if (is_zboot(from, size)) {
        uint32_t offset = le32(from + 8), length = le32(from + 12);
        if (offset > size || length > size - offset)
            return bad(err, out->name, "is cut short: its compressed kernel is missing");
        from += offset;
        size = length;
        if (!is_gzip(from, size) && !is_zstd(from, size))
            return bad(err, out->name, "holds a kernel compressed by neither gzip nor zstd");
    }
    *unpacked = true;
    if (is_gzip(from, size))
        return unpack_gzip(from, size, out, err);
    if (is_zstd(from, size))
        return unpack_zstd(from, size, out, err);
    *unpacked = false;
    return true;
}

/* --- what it is --------------------------------------------------------------------------- */

static const struct {
    enum isa isa;
    uint16_t elf;
    const char *name;
} machines[] = {
    {ISA_RISCV64, EM_RISCV, "riscv64"},
    {ISA_AARCH64, EM_AARCH64, "aarch64"},
    {ISA_X86_64, EM_X86_64, "x86_64"},
};

static const char *isa_name(enum isa isa)
{
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        if (machines[i].isa == isa)
            return machines[i].name;
    }
    g_assert_not_reached();
}

static bool wrong_isa(GError **err, const char *name, const char *found, enum isa isa)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is for %s; this machine is %s", name, found,
                    isa_name(isa));
}

static bool check_elf(const struct image *image, enum isa isa, GError **err)
{
    const Elf64_Ehdr *h = (const void *)image->data;
    uint16_t machine;

    if (image->size < sizeof(*h))
        return bad(err, image->name, "is an ELF file cut short");
    if (h->e_ident[EI_DATA] != ELFDATA2LSB)
        return bad(err, image->name, "is a big-endian ELF file");
    machine = GUINT16_FROM_LE(h->e_machine);
    /* ELF32 has e_machine at the same place, so the machine is told before the class. */
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        if (machines[i].elf == machine && machines[i].isa != isa)
            return wrong_isa(err, image->name, machines[i].name, isa);
        if (machines[i].elf == machine && h->e_ident[EI_CLASS] != ELFCLASS64)
            return bad(err, image->name, "is a 32-bit ELF file");
        if (machines[i].elf == machine)
            return true;
    }
    g_autofree char *found = g_strdup_printf("ELF machine %u", machine);
    return wrong_isa(err, image->name, found, isa);
}

/* Fills in what IMAGE is; refuses what is known to be for another machine. */
static bool recognise(struct image *image, enum isa isa, GError **err)
{
    const uint8_t *p = image->data;
    size_t n = image->size;

    image->format = IMAGE_RAW;
    if (n >= 4 && memcmp(p, ELFMAG, SELFMAG) == 0) {
        image->format = IMAGE_ELF;
        return check_elf(image, isa, err);
    }
    bool x86 = n >= 0x206 && memcmp(p + 0x202, "HdrS", 4) == 0;
    bool riscv = n >= 64 && memcmp(p + 56, "RSC\5", 4) == 0;
    bool arm = n >= 64 && memcmp(p + 56, "ARM\x64", 4) == 0;
    if (x86 && isa != ISA_X86_64)
        return wrong_isa(err, image->name, "x86_64", isa);
    if (riscv && isa != ISA_RISCV64)
        return wrong_isa(err, image->name, "riscv64", isa);
    if (arm && isa != ISA_AARCH64)
        return wrong_isa(err, image->name, "aarch64", isa);
    if (x86)
        image->format = IMAGE_BZIMAGE;
    else if (riscv || arm)
        image->format = IMAGE_LINUX;
    return true;
}

/* Unpacks and recognises *FILE, which it takes. */
static bool take(struct image *file, enum isa isa, struct image *out, GError **err)
{
    auto_image unpacked = {.name = file->name};
    bool was_packed = false;

    if (!unpack(file->data, file->size, &unpacked, &was_packed, err))
        return false;
    struct image *result = was_packed ? &unpacked : file;
    if (result->size == 0)
        return bad(err, file->name, "unpacks to nothing");
    if (!recognise(result, isa, err))
        return false;
    *out = *result;
    result->data = NULL;
    return true;
}

/* Of large pages, where the host has them: the faults of small ones cost more than the reading. */
static uint8_t *file_room(size_t size)
{
    uint8_t *room = g_malloc(size);
    uintptr_t first = ALIGN_UP((uintptr_t)room, MEM_PAGE_SIZE);
    uintptr_t end = ALIGN_DOWN((uintptr_t)room + size, MEM_PAGE_SIZE);

    if (size > MIB(2))
        madvise((void *)first, end - first, MADV_HUGEPAGE);
    return room;
}

bool image_read(int fd, const char *name, enum isa isa, struct image *out, GError **err)
{
    auto_image file = {.name = name};
    uint64_t size;

    if (!image_file_size(fd, name, KERNEL_LIMIT, &size, err))
        return false;
    file.size = size;
    file.data = file_room(size);
    return image_file_read(fd, name, file.data, size, err) && take(&file, isa, out, err);
}

bool image_from_bytes(const uint8_t *data, size_t size, const char *name, enum isa isa,
                      struct image *out, GError **err)
{
    auto_image file = {.name = name, .size = size};

    if (size == 0)
        return bad(err, name, "is empty");
    file.data = g_memdup2(data, size);
    return take(&file, isa, out, err);
}

void image_clear(struct image *image)
{
    g_free(image->data);
    image->data = NULL;
}

/*
 * A kernel with an EFI stub is a PE file too, whose section table tells how long the file must
 * be. False when the file is shorter.
 */
static bool pe_complete(const uint8_t *p, size_t n)
{
    enum { PE_HEADER = 24, SECTION = 40 };
    uint32_t at = le32(p + 60);

    if (p[0] != 'M' || p[1] != 'Z')
        return true;
    if (n < PE_HEADER || at > n - PE_HEADER || memcmp(p + at, "PE\0\0", 4) != 0)
        return false;
    unsigned count = p[at + 6] | p[at + 7] << 8;
    uint64_t table = (uint64_t)at + PE_HEADER + (p[at + 20] | p[at + 21] << 8);
    if (table + (uint64_t)count * SECTION > n)
        return false;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *section = p + table + i * SECTION;
        if ((uint64_t)le32(section + 16) + le32(section + 20) > n)
            return false;
    }
    return true;
}

bool image_linux_header(const struct image *image, uint64_t *text_offset, uint64_t *image_size,
                        GError **err)
{
    const uint8_t *p = image->data;

    g_assert(image->format == IMAGE_LINUX);
    *text_offset = le64(p + 8);
    *image_size = le64(p + 16);
    if (le64(p + 24) & 1)
        return bad(err, image->name, "is a big-endian kernel");
    if (*text_offset & (MEM_PAGE_SIZE - 1) || *text_offset > GIB(1))
        return bad(err, image->name, "has a header with an absurd load offset");
    if (*image_size > MOST_IN_RAM)
        return bad(err, image->name, "has a header with an absurd size");
    if (!pe_complete(p, image->size))
        return bad(err, image->name, "is a kernel cut short");
    *image_size = MAX(*image_size, image->size);
    return true;
}

/* --- into guest memory -------------------------------------------------------------------- */

static bool no_room(GError **err, const char *name, gpa_t start, uint64_t size)
{
    g_autofree char *text = size_format(size);

    return vmd_fail(err, VMD_ERROR_INVALID,
                    "'%s' needs %s at 0x%" G_GINT64_MODIFIER "x, which is not all guest memory",
                    name, text, start);
}

/* Copies FILE_SIZE bytes to START and zeroes up to SIZE. */
static bool place(struct mem_map *mem, const char *name, gpa_t start, const uint8_t *from,
                  uint64_t file_size, uint64_t size, GError **err)
{
    uint8_t *to = mem_map_host(mem, start, size, true);

    if (!to || size < file_size)
        return no_room(err, name, start, size);
    mem_map_back(mem, start, size);
    memcpy(to, from, file_size);
    memset(to + file_size, 0, size - file_size);
    mem_map_written(mem, start, size);
    return true;
}

bool image_load_flat(const struct image *image, struct mem_map *mem, gpa_t start, uint64_t size,
                     struct image_place *out, GError **err)
{
    if (!place(mem, image->name, start, image->data, image->size, size, err))
        return false;
    *out = (struct image_place){.start = start, .end = start + size, .entry = start};
    return true;
}

/* A checked program header in host order. */
struct segment {
    gpa_t at;
    gva_t linked; /* its virtual address */
    uint64_t offset, file_size, size;
};

enum { MAX_SEGMENTS = 64 };

/* The program headers of an ELF, in its own byte order. */
static bool read_headers(const struct image *image, Elf64_Phdr out[MAX_SEGMENTS], unsigned *n,
                         GError **err)
{
    const Elf64_Ehdr *h = (const void *)image->data;
    uint64_t at = GUINT64_FROM_LE(h->e_phoff);
    unsigned count = GUINT16_FROM_LE(h->e_phnum);

    if (GUINT16_FROM_LE(h->e_phentsize) != sizeof(Elf64_Phdr) || count > MAX_SEGMENTS ||
        at > image->size || count * sizeof(Elf64_Phdr) > image->size - at)
        return bad(err, image->name, "is an ELF file with damaged program headers");
    memcpy(out, image->data + at, count * sizeof(Elf64_Phdr));
    *n = count;
    return true;
}

/* Reads the loadable segments of an ELF; 0 when the file is no good. */
static unsigned read_segments(const struct image *image, struct segment out[MAX_SEGMENTS],
                              GError **err)
{
    Elf64_Phdr headers[MAX_SEGMENTS];
    unsigned count = 0, n = 0;

    if (!read_headers(image, headers, &count, err))
        return 0;
    for (unsigned i = 0; i < count; i++) {
        const Elf64_Phdr ph = headers[i];
        struct segment s = {GUINT64_FROM_LE(ph.p_paddr), GUINT64_FROM_LE(ph.p_vaddr),
                            GUINT64_FROM_LE(ph.p_offset), GUINT64_FROM_LE(ph.p_filesz),
                            GUINT64_FROM_LE(ph.p_memsz)};
        if (GUINT32_FROM_LE(ph.p_type) != PT_LOAD || s.size == 0)
            continue;
        if (s.offset > image->size || s.file_size > image->size - s.offset ||
            s.file_size > s.size || s.at + s.size - 1 < s.at) {
            bad(err, image->name, "is an ELF file with a segment that is cut short or damaged");
            return 0;
        }
        if (s.size > MOST_IN_RAM) {
            bad(err, image->name, "is an ELF file with a segment of absurd size");
            return 0;
        }
        out[n++] = s;
    }
    if (!n)
        bad(err, image->name, "is an ELF file with nothing to load");
    return n;
}

/* Half of the virtual address space is the kernel's. */
static bool must_move(const Elf64_Ehdr *h, gpa_t lowest)
{
    return (GUINT16_FROM_LE(h->e_type) == ET_DYN && lowest == 0) || lowest >> 63;
}

/* The physical address of the entry point, which the header has as a virtual one; that of an x86
 * kernel is physical already. */
static bool find_entry(const Elf64_Ehdr *h, const struct segment *s, unsigned n, gpa_t *out)
{
    gva_t entry = GUINT64_FROM_LE(h->e_entry);

    for (unsigned i = 0; i < n; i++) {
        if (entry >= s[i].linked && entry - s[i].linked < s[i].size) {
            *out = entry - s[i].linked + s[i].at;
            return true;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (entry >= s[i].at && entry - s[i].at < s[i].size) {
            *out = entry;
            return true;
        }
    }
    return false;
}

/* Looks through SIZE bytes of notes; names and descriptions are padded to 4 bytes. */
static bool find_note(const uint8_t *p, uint64_t size, const char *owner, uint32_t type,
                      uint64_t *value)
{
    while (size >= sizeof(Elf64_Nhdr)) {
        uint32_t name_size = le32(p), desc_size = le32(p + 4), found = le32(p + 8);
        uint64_t name = ALIGN_UP((uint64_t)name_size, 4), desc = ALIGN_UP((uint64_t)desc_size, 4);

        p += sizeof(Elf64_Nhdr);
        size -= sizeof(Elf64_Nhdr);
        if (name + desc > size)
            return false;
        if (found == type && name_size == strlen(owner) + 1 && memcmp(p, owner, name_size) == 0) {
            if (desc_size != 4 && desc_size != 8)
                return false;
            *value = desc_size == 4 ? le32(p + name) : le64(p + name);
            return true;
        }
        p += name + desc;
        size -= name + desc;
    }
    return false;
}

bool image_elf_note(const struct image *image, const char *owner, uint32_t type, uint64_t *value)
{
    Elf64_Phdr headers[MAX_SEGMENTS];
    unsigned n = 0;

    if (!read_headers(image, headers, &n, NULL))
        return false;
    for (unsigned i = 0; i < n; i++) {
        uint64_t offset = GUINT64_FROM_LE(headers[i].p_offset);
        uint64_t size = GUINT64_FROM_LE(headers[i].p_filesz);

        if (GUINT32_FROM_LE(headers[i].p_type) == PT_NOTE && offset <= image->size &&
            size <= image->size - offset &&
            find_note(image->data + offset, size, owner, type, value))
            return true;
    }
    return false;
}

bool image_load_elf(const struct image *image, struct mem_map *mem, gpa_t base, gpa_t floor,
                    struct image_place *out, GError **err)
{
    const Elf64_Ehdr *h = (const void *)image->data;
    struct segment s[MAX_SEGMENTS];
    gpa_t low = UINT64_MAX, high = 0, entry;
    unsigned n = read_segments(image, s, err);

    if (!n)
        return false;
    if (!find_entry(h, s, n, &entry))
        return bad(err, image->name, "is an ELF file whose entry point is outside of it");
    for (unsigned i = 0; i < n; i++) {
        low = MIN(low, s[i].at);
        high = MAX(high, s[i].at + s[i].size - 1);
    }
    uint64_t shift = must_move(h, low) ? base - low : 0;
    if (low + shift < floor)
        return no_room(err, image->name, low + shift, high - low + 1);
    for (unsigned i = 0; i < n; i++) {
        if (!place(mem, image->name, s[i].at + shift, image->data + s[i].offset, s[i].file_size,
                   s[i].size, err))
            return false;
    }
    *out = (struct image_place){low + shift, high + shift + 1, entry + shift};
    return true;
}
