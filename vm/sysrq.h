/*
 * vm/sysrq: asks a Linux guest to power off over its serial console.
 *
 * Machines without a power button, and kernels that do not listen to it, leave one orderly way: a
 * break and a key on the serial console (the kernel's magic SysRq, which Debian's kernels have
 * there). First 's', and when the kernel says that its disks are synchronised 'u', and when they
 * are mounted read-only 'o', which powers off. Services are not stopped one by one. Loop thread
 * only.
 */
#ifndef VM_SYSRQ_H
#define VM_SYSRQ_H

#include "base/base.h"

#include <uv.h>

struct sysrq;

struct sysrq_ops {
    /* A break on the serial line; false while the guest has input to read. */
    bool (*send_break)(void *opaque);
    void (*type)(void *opaque, char key);
};

struct sysrq *sysrq_new(uv_loop_t *loop, const struct sysrq_ops *ops, void *opaque);
/* Takes NULL. */
void sysrq_free(struct sysrq *sysrq);

/* Begins, or begins anew. */
void sysrq_power_off(struct sysrq *sysrq);
/* The machine was reset or paused: nothing more is sent. */
void sysrq_cancel(struct sysrq *sysrq);
/* Sees the console's output. */
void sysrq_seen(struct sysrq *sysrq, const uint8_t *data, size_t n);

#endif
