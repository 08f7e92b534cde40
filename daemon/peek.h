/*
 * daemon/peek: what a disk of a VM holds, as the host has it. Files are read by threads, few at a
 * time: those of a host that does not answer hold up other peeks, and nothing else. Loop thread.
 */
#ifndef DAEMON_PEEK_H
#define DAEMON_PEEK_H

#include "proto/schema/types.h"

#include <uv.h>

struct peeks;

struct peeks *peeks_new(uv_loop_t *loop);
/* What has not begun fails with VMD_ERROR_GONE; what is under way is answered, while the loop runs
 * on. Takes NULL. */
void peeks_free(struct peeks *peeks);

/* FD is a file in memory with what was asked for, or -1 with ERR; both are the callee's. */
typedef void (*peek_done)(void *arg, int fd, GError *err);

/* BYTES at OFFSET of DISK, which is borrowed. DONE comes later, from the loop, or at once with
 * VMD_ERROR_UNSUPPORTED where its image is not raw; VMD_ERROR_INVALID: it ends before. */
void peeks_disk(struct peeks *peeks, const struct vm_disk_config *disk, uint64_t offset,
                uint32_t bytes, peek_done done, void *arg);

#endif
