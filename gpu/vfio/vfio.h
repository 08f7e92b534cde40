/*
 * gpu/vfio: a PCI function of the host that a guest has whole, by the kernel's VFIO.
 *
 * A container is the guest's RAM as devices see it: every page is mapped for DMA at its
 * guest-physical address, and stays so while the container has a device. A device is a function of
 * the guest's bus over a function of the host: its BARs are the host's, shown as RAM where the
 * kernel lets them be mapped and no MSI-X table is in them, and handed on access by access
 * elsewhere; its configuration space is made here, of what is known to be harmless (config.c); its
 * interrupts come by eventfds (irq.c).
 *
 * A device is reset before the guest has it and after. One that cannot be reset is refused, since
 * it would bring what its last user left in it, and leave what this guest did.
 *
 * Threads: containers and devices are the loop thread's; what the guest does comes on vCPU threads
 * by the callbacks of its function and its BARs.
 *
 * Kernel: Documentation/driver-api/vfio.rst, include/uapi/linux/vfio.h (type 1 IOMMU, version 2).
 */
#ifndef GPU_VFIO_VFIO_H
#define GPU_VFIO_VFIO_H

#include "machine/bus/pci.h"

#include <sys/types.h>
#include <uv.h>

struct vfio_container;
struct vfio_device;

/* How the kernel is reached: tests have one of their own. Results as -errno, but for MAP's NULL. */
struct vfio_sys {
    int (*ioctl)(void *opaque, int fd, unsigned long request, void *arg);
    ssize_t (*read)(void *opaque, int fd, void *to, size_t size, uint64_t offset);
    ssize_t (*write)(void *opaque, int fd, const void *from, size_t size, uint64_t offset);
    /* SIZE bytes, to be unmapped by munmap(). */
    void *(*map)(void *opaque, int fd, size_t size, bool writable, uint64_t offset);
    void *opaque;
};
/* The kernel itself. */
extern const struct vfio_sys vfio_kernel;

/*
 * Without a device at first, and then nothing of MEM is mapped. Made before vCPUs run, since it
 * hears of what becomes of MEM from then on. MESSAGES: the guest's bus has MSI. WARNING is told, on
 * any thread, of memory that came and cannot be mapped.
 */
struct vfio_container *vfio_container_new(struct mem_map *mem, bool messages,
                                          const struct vfio_sys *sys,
                                          void (*warning)(void *opaque, const char *text),
                                          void *opaque);
/* Its devices are freed, and no vCPU runs. Takes NULL. */
void vfio_container_free(struct vfio_container *container);

/* The open files by which a device is reached; -1: not that one. */
struct vfio_files {
    int container; /* /dev/vfio/vfio; needed of the first device alone */
    int group;     /* /dev/vfio/N */
    int lease;     /* while it is open somebody else keeps the function for us (vm/helper) */
};
/* Closes them. */
void vfio_files_close(struct vfio_files *files);

/*
 * Takes FILES, in any case, and makes a device of the function ADDRESS ("0000:01:00.0") of their
 * group. ON_ROOT: it is to be on the root bus, else behind a port. NULL with an error that names
 * ADDRESS.
 */
struct vfio_device *vfio_device_new(struct vfio_container *container, uv_loop_t *loop,
                                    const char *address, struct vfio_files *files, bool on_root,
                                    GError **err);
/*
 * Resets and closes it, in this order: interrupts, DMA, the device, its group, the lease. It is on
 * no bus, and no vCPU knows a host address in its BARs any more. False where its reset failed: then
 * ERR says so. Takes NULL.
 */
bool vfio_device_free(struct vfio_device *device, GError **err);

/* To put on a bus; the device's own. */
struct pci_function *vfio_device_pci(struct vfio_device *device);

/* What a device tells, on the loop. */
struct vfio_watch {
    /* The guest lets the device reach memory, as its driver does at first, or no longer. */
    void (*changed)(void *opaque, bool on);
    /* The host asks for the device, as it does every ten seconds while something there waits for it; FAILED:
     * it has an error that the host could not correct. The device may not be freed before this returns. */
    void (*wanted)(void *opaque, bool failed);
};
/* WATCH stays the caller's. */
void vfio_device_watch(struct vfio_device *device, const struct vfio_watch *watch, void *opaque);
/* For people: "8086:10d3, 2 of 4 BARs as memory, MSI-X 5". */
const char *vfio_device_text(const struct vfio_device *device);

#endif
