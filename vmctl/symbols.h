/*
 * vmctl/symbols: names of guest addresses, from a System.map (or /proc/kallsyms) or the symbol table of
 * an ELF file of 64 bits.
 */
#ifndef VMCTL_SYMBOLS_H
#define VMCTL_SYMBOLS_H

#include "base/base.h"

struct symbols;

/* Reads PATH; NULL with ERR where it is neither kind or names nothing. */
struct symbols *symbols_read(const char *path, GError **err);
/* Takes NULL. */
void symbols_free(struct symbols *symbols);
/* The symbol that ADDRESS lies in, borrowed, and how far behind its start; NULL where none is near, or
 * SYMBOLS is NULL. */
const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *offset);

#endif
