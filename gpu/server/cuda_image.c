/*
 * Images of modules, as nvcc makes them, before a driver sees them. See cuda_image.h.
 *
 * A fat binary is a header of 16 bytes (magic, version, its size, the size of what follows) and
 * entries: kind, size of the entry's header and of what is in it, and how that is packed. ELF is as
 * its own specification has it. Numbers are little endian and of the guest's: each is checked
 * before it is used.
 */
#include "gpu/server/cuda_image.h"

enum {
    FAT_MAGIC = 0xba55ed50,
    FAT_HEADER = 16,
    FAT_ENTRY = 64,
    FAT_PTX = 1,
    FAT_ELF = 2,
    FAT_PACKED = 0x2000 | 0x8000, /* LZ4, zstd */
    ELF_HEADER = 64,
    ELF_SECTION = 64,
    ELF_SEGMENT = 56,
    ELF_NOBITS = 8,
};

static uint64_t number(const uint8_t *at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, at, size);
    return v;
}

static bool within(uint64_t offset, uint64_t bytes, uint64_t length)
{
    return offset <= length && bytes <= length - offset;
}

/* Whether headers, sections and segments of a 64-bit ELF file are all in LENGTH bytes. */
static bool elf_is_whole(const uint8_t *elf, uint64_t length)
{
    enum { CLASS_64 = 2, LITTLE = 1 };

    if (length < ELF_HEADER || elf[4] != CLASS_64 || elf[5] != LITTLE)
        return false;
    uint64_t segments = number(elf + 32, 8), sections = number(elf + 40, 8);
    uint64_t n_segments = number(elf + 56, 2), n_sections = number(elf + 60, 2);
    /* The gABI has numbers that do not fit in the first section: for a reader to trust. */
    if ((segments && !n_segments) || (sections && !n_sections))
        return false;
    if ((n_segments && (number(elf + 54, 2) != ELF_SEGMENT ||
                        !within(segments, n_segments * ELF_SEGMENT, length))) ||
        (n_sections && (number(elf + 58, 2) != ELF_SECTION ||
                        !within(sections, n_sections * ELF_SECTION, length))) ||
        (n_sections && number(elf + 62, 2) >= n_sections))
        return false;
    for (uint64_t i = 0; i < n_segments; i++) {
        const uint8_t *s = elf + segments + i * ELF_SEGMENT;
        if (!within(number(s + 8, 8), number(s + 32, 8), length))
            return false;
    }
    for (uint64_t i = 0; i < n_sections; i++) {
        const uint8_t *s = elf + sections + i * ELF_SECTION;
        if (number(s + 4, 4) != ELF_NOBITS && !within(number(s + 24, 8), number(s + 32, 8), length))
            return false;
    }
    return true;
}

static bool fat_is_whole(const uint8_t *fat, uint64_t length)
{
    uint64_t header = number(fat + 6, 2), total = number(fat + 8, 8), at = header;

    if (header < FAT_HEADER || header > length || total > length - header)
        return false;
    while (at < header + total) {
        const uint8_t *e = fat + at;
        uint64_t left = header + total - at;
        if (left < FAT_ENTRY)
            return false;
        uint64_t entry = number(e + 4, 4), bytes = number(e + 8, 8);
        if (entry < FAT_ENTRY || entry > left || bytes > left - entry || number(e + 16, 4) > bytes)
            return false;
        bool packed = number(e + 40, 8) & FAT_PACKED;
        if (number(e, 2) == FAT_ELF && !packed && !elf_is_whole(e + entry, bytes))
            return false;
        if (number(e, 2) == FAT_PTX && !packed && !memchr(e + entry, 0, bytes))
            return false;
        at += entry + bytes;
    }
    return true;
}

bool cuda_image_is_whole(const uint8_t *image, size_t length)
{
    if (length >= FAT_HEADER && number(image, 4) == FAT_MAGIC)
        return fat_is_whole(image, length);
    if (length >= 4 && memcmp(image, "\177ELF", 4) == 0)
        return elf_is_whole(image, length);
    return length > 0; /* PTX ends at its first 0, which is there */
}
