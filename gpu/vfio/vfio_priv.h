/* gpu/vfio: what the files of this folder share. */
#ifndef GPU_VFIO_VFIO_PRIV_H
#define GPU_VFIO_VFIO_PRIV_H

#include "gpu/vfio/vfio.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>

/* What the host itself wants of a device. */
enum vfio_wish { VFIO_WISH_REQUEST, VFIO_WISH_ERROR, VFIO_WISHES };

enum vfio_irq_mode { VFIO_IRQ_NONE, VFIO_IRQ_INTX, VFIO_IRQ_MSI, VFIO_IRQ_MSIX };

/* A region as the kernel tells of it; size 0: there is none. */
struct vfio_region {
    uint64_t size, offset;
    uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
};

struct vfio_bar {
    struct vfio_device *device;
    unsigned index;
    struct vfio_region region;
    char *name;
    struct mem_ram *memory; /* its registers, mapped; NULL: they are not */
    bool shown;             /* the guest has MEMORY without us */
};

/* What the guest wrote into its MSI capability. */
struct vfio_msi {
    bool enabled;
    unsigned count; /* messages that it allows */
    uint64_t address;
    uint32_t data, mask, pending;
};

struct vfio_device {
    struct vfio_container *container;
    const struct vfio_sys *sys;
    char *address, *text;
    struct vfio_files files;
    int fd;      /* of the device; -1 */
    bool joined; /* its group is in the container */
    bool resets; /* by VFIO_DEVICE_RESET; else with its group */
    struct vfio_region config;
    struct pci_function *pci;
    struct vfio_bar bars[PCI_BARS];

    unsigned msi_cap; /* in the guest's configuration space; 0: none. Before it is on a bus */
    bool msi_wide, msi_masks;
    unsigned messages; /* most that the MSI capability has; 0: none */
    unsigned vectors;  /* of MSI-X; 0: none */
    bool intx;         /* has a pin that the host serves */

    const struct vfio_watch *watch; /* NULL: nobody listens */
    void *watch_opaque;
    bool told; /* of "changed", last */
    bool requested; /* the host has asked for it */
    int wishes[VFIO_WISHES]; /* eventfds of what the host itself wants; -1: the kernel tells of none */

    uv_loop_t *loop;
    uv_async_t *wake;  /* bus mastering changed; freed by its close, as POLL and TIMER */
    uv_poll_t *poll;   /* of EPOLL */
    uv_timer_t *timer; /* the line is up: the guest's answer is awaited */
    int epoll;
    pthread_mutex_t lock; /* of what follows; before the function's own */
    enum vfio_irq_mode mode;
    unsigned count;   /* eventfds that the host signals */
    unsigned asked;   /* how many it was asked for */
    bool complained;  /* it would not, and that was told */
    GArray *eventfds; /* of int, by vector; they stay */
    struct vfio_msi msi;
    bool raised; /* atomic: INTx is up, and masked at the host */
};

/* container.c */
void vfio__warn(const struct vfio_container *container, const char *text);
bool vfio__messages(const struct vfio_container *container);
struct mem_map *vfio__mem(const struct vfio_container *container);
const struct vfio_sys *vfio__sys(const struct vfio_container *container);
/* Adds the group of FILES, with whose first one guest RAM is mapped. */
bool vfio__join(struct vfio_container *container, struct vfio_files *files, GError **err);
void vfio__leave(struct vfio_container *container, const struct vfio_files *files);

/* device.c */
/* Of the device's WAKE. */
void vfio__wake(uv_async_t *wake);
int vfio__ioctl(const struct vfio_device *d, unsigned long request, void *arg);
/* How many interrupts of INDEX the kernel signals by eventfds; 0 also where it knows of none. */
unsigned vfio__irqs_of(const struct vfio_device *d, unsigned index);
/* Reads or writes SIZE bytes, 1 to 8, at OFFSET of REGION. False where the kernel did not. */
bool vfio__read(const struct vfio_device *d, const struct vfio_region *region, uint64_t offset,
                void *to, size_t size);
bool vfio__write(const struct vfio_device *d, const struct vfio_region *region, uint64_t offset,
                 const void *from, size_t size);

/* config.c */
/* Makes the function, of the configuration space that the host's has. */
bool vfio__make_function(struct vfio_device *d, bool on_root, const struct pci_function_ops *ops,
                         GError **err);
/* Lets the device reach memory, or not. Any thread. */
void vfio__set_master(struct vfio_device *d, bool on);

/* bar.c */
bool vfio__make_bars(struct vfio_device *d, const uint8_t *config, GError **err);
void vfio__free_bars(struct vfio_device *d);

/* irq.c */
bool vfio__irq_init(struct vfio_device *d, GError **err);
/* The host signals nothing any more, and nothing is told to the guest. */
void vfio__irq_fini(struct vfio_device *d);
/* The guest wrote its configuration space: bus lock held. */
void vfio__irq_config(struct vfio_device *d);
/* It is about to read it. */
void vfio__irq_show(struct vfio_device *d);
/* It wrote the MSI-X table. */
void vfio__irq_table(struct vfio_device *d);
/* It wrote a register, and may have answered INTx so. */
void vfio__irq_answered(struct vfio_device *d);
/* As after power-on. */
void vfio__irq_reset(struct vfio_device *d);

static inline uint16_t vfio__get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t vfio__get32(const uint8_t *p)
{
    return vfio__get16(p) | (uint32_t)vfio__get16(p + 2) << 16;
}

static inline void vfio__set16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void vfio__set32(uint8_t *p, uint32_t v)
{
    vfio__set16(p, (uint16_t)v);
    vfio__set16(p + 2, (uint16_t)(v >> 16));
}

#endif
