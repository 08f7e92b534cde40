/* mem: what the files of this folder share. */
#ifndef MEM_MEM_PRIV_H
#define MEM_MEM_PRIV_H

#include "mem/mem.h"

/* --- ram.c ------------------------------------------------------------------------------------ */

/* Maps SIZE bytes of a new memfd into RAM; its flags too. */
bool mem__ram_map(struct mem_ram *ram, GError **err);
void mem__ram_unmap(struct mem_ram *ram);
/* RAM, which is mapped, is there by blocks of BLOCK bytes from here on: none is. */
void mem__ram_sparse(struct mem_ram *ram, uint64_t block);
/* Whether all of a sparse RAM is there. */
void mem__ram_there(struct mem_ram *ram, bool there);
/* Bytes from OFFSET, of a sparse RAM, to the end of the blocks that are THERE, or are not, as its own. */
uint64_t mem__run_length(const struct mem_ram *ram, uint64_t offset, bool there);

/* --- mem.c ------------------------------------------------------------------------------------ */

void mem__tell_changed(struct mem_map *map, gpa_t gpa, uint64_t size, enum mem_kind kind, bool added);

#endif
