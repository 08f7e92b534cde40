/*
 * gpu/code/elf: ELF files of 64 bits and little endian, as guests hand them over: whether one may
 * be read, by us or by a driver that is told no length. The gABI's chapters 4 and 5.
 */
#ifndef GPU_CODE_ELF_H
#define GPU_CODE_ELF_H

#include <stdbool.h>
#include <stdint.h>

enum {
    ELF_HEADER = 64,
    ELF_SECTION = 64,
    ELF_SEGMENT = 56,
    ELF_SYMBOL = 24,
};

/* The little endian number of SIZE bytes, at most 8, at AT, which need not be aligned. */
uint64_t elf_number(const uint8_t *at, unsigned size);
/* Whether BYTES at OFFSET are within LENGTH bytes. */
bool elf_within(uint64_t offset, uint64_t bytes, uint64_t length);
/*
 * Whether all that the file of LENGTH bytes at ELF says it has is in them: tables, segments,
 * sections. Whoever works out the file's length from its header finds no more than LENGTH: a table
 * has a count, and sections without bytes begin within it, too. Any thread.
 */
bool elf_is_whole(const uint8_t *elf, uint64_t length);

#endif
