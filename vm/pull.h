/*
 * vm/pull: a disk is taken from a guest that uses it. A card that is gone answers nothing any more,
 * and drivers wait without end for what they had asked of it (docs/architecture/pci.md); so before
 * it is pulled out the disk fails whatever is asked of it, and shrinks to nothing, until the guest
 * has stopped to ask. Loop thread only.
 */
#ifndef VM_PULL_H
#define VM_PULL_H

#include "vm/disk.h"

struct pull;

/* DISK, which has a frontend whose driver runs, is lost to the guest from here on. DONE is called
 * once, from the loop: the guest asks for nothing any more, or PULL_MS are over. */
enum { PULL_MS = 2000 };
struct pull *pull_begin(uv_loop_t *loop, struct disk *disk, void (*done)(void *opaque),
                        void *opaque);
/* DONE does not come any more. Takes NULL. */
void pull_free(struct pull *pull);

#endif
