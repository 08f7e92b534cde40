/*
 * vm/helper: functions of the host's PCI that are lent to VMs: given to vfio-pci for as long as a
 * connection lasts, then back to the driver that they had.
 *
 * A function is lent by its own driver_override, so that no other is touched. Its IOMMU group must
 * be the VM's alone: every other device of it has no driver, or one that touches no memory (a
 * bridge's, VFIO's own). A function that somebody else gave to vfio-pci is lent as it is and stays
 * there.
 *
 * A group that is still open somewhere when its connection ends is waited for: to take the function
 * from vfio-pci then would block until it is closed.
 *
 * Kernel: Documentation/ABI/testing/sysfs-bus-pci, Documentation/driver-api/vfio.rst.
 */
#ifndef VM_HELPER_HOST_H
#define VM_HELPER_HOST_H

#include "base/base.h"

/* Where the kernel is: tests have another. */
struct host_kernel {
    const char *sysfs, *dev; /* "/sys", "/dev" */
    /* Writes TEXT to the file PATH; 0 or -errno. */
    int (*write)(void *opaque, const char *path, const char *text);
    /* Opens the group's node PATH to read and write; -errno. */
    int (*open)(void *opaque, const char *path);
    /* Of a clock that nobody sets. */
    int64_t (*seconds)(void *opaque);
    void *opaque;
};
extern const struct host_kernel host_kernel;
/* Its clock. */
int64_t host_seconds(void *opaque);

struct host_leases;

/* KERNEL stays the caller's. */
struct host_leases *host_leases_new(const struct host_kernel *kernel);
/*
 * FD, open to read and write, is the caller's and has what is lent from now on. What it has of a
 * helper before this one is lent to nobody and goes back by host_sweep(). False with ERR, and
 * nothing is kept, where another helper has the file.
 */
bool host_leases_keep(struct host_leases *leases, int fd, GError **err);
/* Forgets them, but for what is kept: functions stay where they are. Takes NULL. */
void host_leases_free(struct host_leases *leases);

/*
 * The number of the IOMMU group of the function ADDRESS; -1 with VMD_ERROR_NOT_FOUND where the host
 * has no such function, VMD_ERROR_UNSUPPORTED where it has no group.
 */
int host_group(const struct host_kernel *kernel, const char *address, GError **err);
/* The name of its driver, the caller's; NULL: it has none. */
char *host_driver(const struct host_kernel *kernel, const char *address);

/*
 * Lends the function ADDRESS to CLIENT, any number that names a connection: the open node of its
 * group, the caller's; -1 with an error, and nothing changed.
 */
int host_lend(struct host_leases *leases, int client, const char *address, GError **err);
/* Whether CLIENT has any. */
bool host_lent(const struct host_leases *leases, int client);
/* CLIENT is gone: what it had goes back, now or by host_sweep(). */
void host_return(struct host_leases *leases, int client);
/* Looks again at what could not go back yet. Whether there is still some. */
bool host_sweep(struct host_leases *leases);

#endif
