/*
 * vm/warm: the VM process's side of warm start: reads the list of earlier runs, and leaves that of this
 * run in the runtime directory, from where vmd takes it. Loop thread.
 */
#ifndef VM_WARM_H
#define VM_WARM_H

#include "accel/accel.h"

/* Reads the list at PATH (NULL: none) for guests of ISA; NULL where there is none. One that is damaged
 * is a line in the log and no more. The caller frees. */
struct hotlist *warm_load(const char *path, enum isa isa);

/* Compile threads for a machine with VCPUS: the host's processors that are left, 1 to
 * LIMIT_XLATE_WARM_THREADS. */
unsigned warm_threads(unsigned vcpus);

/* Writes the hot blocks of this run into DIR, as one step. *BLOCKS and *PAGES: how many. False with
 * VMD_ERROR_STATE where warm start is off. */
bool warm_save(struct accel *accel, const char *dir, uint64_t *blocks, uint64_t *pages,
               GError **err);

#endif
