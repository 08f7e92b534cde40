/*
 * tests/diff/oracle: programs in QEMU's user mode.
 */
#ifndef TESTS_DIFF_ORACLE_H
#define TESTS_DIFF_ORACLE_H

#include "base/base.h"

/* A static program for Linux, and what it leaves to be compared and writes to its standard output. */
struct diff_image {
    const uint8_t *elf; /* one segment, mapped whole */
    size_t size;
    uint64_t entry;
    uint64_t output; /* its address */
    size_t output_size;
};

struct diff_oracle;

/* QEMU and its CPU model are kept by reference. */
struct diff_oracle *diff_oracle_new(const char *qemu, const char *cpu);
void diff_oracle_free(struct diff_oracle *oracle);

/* Runs the ELF file IMAGE; OUTPUT gets what it wrote. False where it did not end with status 0. */
bool diff_oracle_run(struct diff_oracle *oracle, const uint8_t *image, size_t size, GByteArray *output,
                     GError **err);

#endif
