/* ELF files. See elf.h. Offsets and counts are the file's own: each is checked before it is used.
 */
#include "gpu/code/elf.h"

#include "base/base.h"

enum { NO_BITS = 8 };

uint64_t elf_number(const uint8_t *at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, at, size);
    return GUINT64_FROM_LE(v);
}

bool elf_within(uint64_t offset, uint64_t bytes, uint64_t length)
{
    return offset <= length && bytes <= length - offset;
}

/* A table of N entries of EACH bytes at AT; a count that is 0 is in the first section where it does
 * not fit (gABI), for a reader to trust. */
static bool table_is_whole(uint64_t at, uint64_t n, uint64_t entry, uint64_t each, uint64_t length)
{
    return n ? entry == each && elf_within(at, n * each, length) : !at;
}

bool elf_is_whole(const uint8_t *elf, uint64_t length)
{
    enum { CLASS_64 = 2, LITTLE = 1 };

    if (length < ELF_HEADER || elf[4] != CLASS_64 || elf[5] != LITTLE)
        return false;
    uint64_t segments = elf_number(elf + 32, 8), sections = elf_number(elf + 40, 8);
    uint64_t n_segments = elf_number(elf + 56, 2), n_sections = elf_number(elf + 60, 2);
    if (!table_is_whole(segments, n_segments, elf_number(elf + 54, 2), ELF_SEGMENT, length) ||
        !table_is_whole(sections, n_sections, elf_number(elf + 58, 2), ELF_SECTION, length) ||
        (n_sections && elf_number(elf + 62, 2) >= n_sections))
        return false;
    for (uint64_t i = 0; i < n_segments; i++) {
        const uint8_t *s = elf + segments + i * ELF_SEGMENT;
        if (!elf_within(elf_number(s + 8, 8), elf_number(s + 32, 8), length))
            return false;
    }
    for (uint64_t i = 0; i < n_sections; i++) {
        const uint8_t *s = elf + sections + i * ELF_SECTION;
        uint64_t bytes = elf_number(s + 4, 4) == NO_BITS ? 0 : elf_number(s + 32, 8);
        if (!elf_within(elf_number(s + 24, 8), bytes, length))
            return false;
    }
    return true;
}
