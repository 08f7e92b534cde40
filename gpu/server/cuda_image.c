/*
 * Images of modules, as nvcc makes them, before a driver sees them. See cuda_image.h.
 *
 * A fat binary is a header of 16 bytes (magic, version, its size, the size of what follows) and
 * entries: kind, size of the entry's header and of what is in it, and how that is packed. Numbers
 * are little endian and of the guest's: each is checked before it is used.
 */
#include "gpu/server/cuda_image.h"

#include "gpu/code/elf.h"

enum {
    FAT_MAGIC = 0xba55ed50,
    FAT_HEADER = 16,
    FAT_ENTRY = 64,
    FAT_PTX = 1,
    FAT_ELF = 2,
    FAT_PACKED = 0x2000 | 0x8000, /* LZ4, zstd */
};

static bool fat_is_whole(const uint8_t *fat, uint64_t length)
{
    uint64_t header = elf_number(fat + 6, 2), total = elf_number(fat + 8, 8), at = header;

    if (header < FAT_HEADER || header > length || total > length - header)
        return false;
    while (at < header + total) {
        const uint8_t *e = fat + at;
        uint64_t left = header + total - at;
        if (left < FAT_ENTRY)
            return false;
        uint64_t entry = elf_number(e + 4, 4), bytes = elf_number(e + 8, 8);
        if (entry < FAT_ENTRY || entry > left || bytes > left - entry ||
            elf_number(e + 16, 4) > bytes)
            return false;
        bool packed = elf_number(e + 40, 8) & FAT_PACKED;
        if (elf_number(e, 2) == FAT_ELF && !packed && !elf_is_whole(e + entry, bytes))
            return false;
        if (elf_number(e, 2) == FAT_PTX && !packed && !memchr(e + entry, 0, bytes))
            return false;
        at += entry + bytes;
    }
    return true;
}

bool cuda_image_is_whole(const uint8_t *image, size_t length)
{
    if (length >= FAT_HEADER && elf_number(image, 4) == FAT_MAGIC)
        return fat_is_whole(image, length);
    if (length >= 4 && memcmp(image, "\177ELF", 4) == 0)
        return elf_is_whole(image, length);
    return length > 0; /* PTX ends at its first 0, which is there */
}
