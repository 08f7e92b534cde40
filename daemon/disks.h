/*
 * daemon/disks: images of VMs' disks, as the host has them. Threads see to them, few at a time:
 * those of a host that does not answer hold up each other, and nothing else. Loop thread.
 */
#ifndef DAEMON_DISKS_H
#define DAEMON_DISKS_H

#include "daemon/image.h"
#include "proto/schema/types.h"

#include <uv.h>

struct disks;

struct disks *disks_new(uv_loop_t *loop);
/* What has not begun fails with VMD_ERROR_GONE; what is under way is answered, while the loop runs
 * on. Takes NULL. */
void disks_free(struct disks *disks);

/* What came of it. What the callee steals is its own. */
struct disks_answer {
    GError *err;              /* NULL: it went well */
    int fd;                   /* of disks_peek(): a file in memory with the bytes; else -1 */
    struct image_sizes sizes; /* of disks_measure() */
};
/* Comes once, later, from the loop, or at once where that is said below. */
typedef void (*disks_done)(void *arg, struct disks_answer *answer);

/* BYTES at OFFSET of DISK, which is borrowed. VMD_ERROR_UNSUPPORTED, perhaps at once: its image is
 * not raw; VMD_ERROR_INVALID: it ends before. */
void disks_peek(struct disks *disks, const struct vm_disk_config *disk, uint64_t offset,
                uint32_t bytes, disks_done done, void *arg);
/* How large DISK is, as image_measure() has it. */
void disks_measure(struct disks *disks, const struct vm_disk_config *disk, disks_done done,
                   void *arg);
/* Gives DISK, of a VM that does not run, BYTES by image_grow(). A VM that starts meanwhile finds
 * its image locked. */
void disks_grow(struct disks *disks, const struct vm_disk_config *disk, uint64_t bytes,
                disks_done done, void *arg);

#endif
