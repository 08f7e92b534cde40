/*
 * machine/virtio: virtio 1.2 devices over PCI.
 *
 * A device embeds struct virtio_device first, fills a table of operations, and is reached by the
 * guest through a PCI function that the core makes for it.
 *
 * Threads. Everything a device does happens on the VM's loop thread: every operation below is
 * called there, and every function below is to be called there. A device needs no lock. vCPU
 * threads only touch the transport's registers and ring doorbells, which wake the loop.
 *
 * Guests. Rings and descriptors are checked before a device sees them: a device gets iovecs that
 * lie in guest RAM, read-only ones first. Their contents may change under its hands at any time,
 * so what is checked is copied first. A guest that breaks the rules gets DEVICE_NEEDS_RESET.
 */
#ifndef MACHINE_VIRTIO_VIRTIO_H
#define MACHINE_VIRTIO_VIRTIO_H

#include "base/base.h"
#include "base/state.h"
#include "machine/bus/pci.h"
#include "mem/clock.h"
#include "mem/mem.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sys/uio.h>
#include <uv.h>

#define VIRTIO_QUEUES_MAX 64
#define VIRTIO_CONFIG_MAX 256 /* bytes of device-specific configuration */

/* A feature bit as a mask. */
#define VIRTIO_FEATURE(bit) (UINT64_C(1) << (bit))

struct virtio_device;
struct virtqueue;

/*
 * One buffer of the guest. A device's request begins with it; virtqueue_pop() allocates the
 * whole, virtqueue_push() and virtqueue_drop() free it.
 */
struct virtqueue_element {
    struct virtqueue *vq;
    uint16_t head;        /* the core's */
    uint16_t ring_slots;  /* the core's */
    unsigned out_n, in_n; /* lengths of OUT and IN */
    struct iovec *out;    /* what the driver wrote, for the device to read */
    struct iovec *in;     /* what the device may write */
    gpa_t *in_gpa;        /* guest addresses of IN */
    uint64_t out_bytes, in_bytes;
};

/* What a device is and does. Loop thread; members that say so may be NULL. */
struct virtio_ops {
    const char *name;   /* "virtio-blk" */
    uint16_t id;        /* VIRTIO_ID_... */
    uint32_t pci_class; /* 24 bits */
    /* The table of the device's own state: of the object that begins with the virtio_device.
     * NULL: it has none beyond features, queues and configuration. */
    const struct state_desc *state;

    /* The driver put FEATURES up for a check; false refuses them. NULL: any subset is fine.
     * Called on a vCPU thread, so it looks at nothing but its argument. */
    bool (*features_ok)(const struct virtio_device *dev, uint64_t features);
    /* DRIVER_OK, or state was loaded of a running device: dev->features holds, and enabled
     * queues are ready. What a new driver must find is set in reset, not here. May be NULL. */
    void (*start)(struct virtio_device *dev);
    /* Buffers may have arrived in VQ: take as many as are wanted. */
    void (*queue_notify)(struct virtio_device *dev, struct virtqueue *vq);
    /* The driver wrote dev->config, within the mask of virtio_config_writable(). May be NULL. */
    void (*config_written)(struct virtio_device *dev);
    /*
     * Forget everything of this driver: let go of each element that is held (virtqueue_drop) or
     * finish it; the reset is over when none is out any more. VQ: that queue alone; NULL: the
     * device. May be NULL where nothing outlives queue_notify.
     */
    void (*reset)(struct virtio_device *dev, struct virtqueue *vq);
    /*
     * Begin nothing new: elements held without work under way go back (virtqueue_unpop), all
     * others get finished, but for what is parked. Then resume; queues are notified anew after it.
     * May be NULL.
     */
    void (*quiesce)(struct virtio_device *dev);
    void (*resume)(struct virtio_device *dev);
    /* State was loaded into the object: check it. May be NULL. */
    bool (*loaded)(struct virtio_device *dev, GError **err);
    /* Frees the device; virtio_device_fini() is its last act but g_free(). No element is out. */
    void (*free)(struct virtio_device *dev);
};

/* What every device is made with. */
struct virtio_env {
    uv_loop_t *loop;
    struct mem_map *mem;
    struct vm_clock *clock;
};

/* How the core reaches the transport. Loop thread but where a member says otherwise. */
struct virtio_transport_ops {
    /* A used-buffer interrupt of VQ, or, where VQ is NULL, a configuration change. */
    void (*interrupt)(void *opaque, const struct virtqueue *vq);
    bool (*may_dma)(void *opaque);
    void (*quiet)(void *opaque);
    void (*reset)(void *opaque); /* no interrupt is pending any more. Any thread; dev->lock held */
};

struct virtio_device {
    const struct virtio_ops *ops;
    struct virtio_env env;
    uint64_t offered;  /* feature bits; the core adds those of the ring */
    uint64_t features; /* negotiated; stable from start to reset */
    struct virtqueue *queues;
    unsigned n_queues;
    uint32_t config_size;
    const char *error; /* why the device needs a reset; NULL: it does not */

    /* The core's own from here on. Registers, under lock: */
    pthread_mutex_t lock;
    uint8_t config[VIRTIO_CONFIG_MAX]; /* little-endian, as the driver sees it */
    uint8_t config_mask[VIRTIO_CONFIG_MAX];
    uint8_t status, generation;
    uint8_t active;    /* DRIVER_OK was accepted and no reset has ended since */
    bool resetting;    /* a reset was asked for and has not ended */
    bool config_dirty; /* the driver wrote config */
    bool config_seen;  /* it has read config since that changed */
    bool changed;      /* the loop has to look at the registers */
    uint16_t config_vector, queue_select;
    uint32_t device_feature_select, driver_feature_select;

    uint64_t kicked; /* atomic: a bit a queue */
    struct virtio__bell *bell;
    const struct virtio_transport_ops *transport;
    void *transport_opaque;

    /* The loop thread's: */
    uint32_t in_flight; /* elements out, all queues */
    uint32_t parked;    /* of them, those that a standstill does not wait for */
    bool started;       /* ops->start was called, ops->reset not yet */
    bool reset_waiting; /* ends with the last element */
    bool quiescing;     /* no pops */
    bool quiet_waiting; /* transport->quiet is due with the last element */
    bool catching_up;     /* queues have their turns now */
    void (*running)(void *opaque, bool on); /* NULL: nobody wants to know */
    void *running_opaque;
};

/* --- making a device -----------------------------------------------------------------------------
 */

/*
 * Prepares DEV, zeroed, with N queues of at most SIZES[i] descriptors (powers of two up to
 * LIMIT_VIRTQUEUE_SIZE), FEATURES of its own and CONFIG_SIZE bytes of configuration. The core
 * adds VERSION_1, INDIRECT_DESC, EVENT_IDX and RING_RESET.
 */
void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops,
                        const struct virtio_env *env, uint64_t features, unsigned n,
                        const uint16_t *sizes, uint32_t config_size);
void virtio_device_fini(struct virtio_device *dev);

/* Frees through ops->free. Takes NULL. It is on no bus, quiet, and its virtio_pci is freed. */
void virtio_device_free(struct virtio_device *dev);

/* Lets the driver write bytes [offset, offset + size) of the configuration. */
void virtio_config_writable(struct virtio_device *dev, unsigned offset, unsigned size);

/* Sets bytes of the configuration, and tells a running driver when they differ. */
void virtio_config_set(struct virtio_device *dev, unsigned offset, const void *bytes,
                       unsigned size);
/* The same without telling the driver, who knows already. */
void virtio_config_set_silently(struct virtio_device *dev, unsigned offset, const void *bytes,
                                unsigned size);
/* Whether the driver has read any of the configuration since it last changed. */
bool virtio_config_seen(struct virtio_device *dev);
/* Copies bytes of the configuration as they are now. */
void virtio_config_get(struct virtio_device *dev, unsigned offset, void *bytes, unsigned size);

/* Whether nothing is under way and no element is out. */
static inline bool virtio_device_idle(const struct virtio_device *dev)
{
    return dev->in_flight == 0;
}

/* The PCI face of a device. It owns the device from then on. */
struct virtio_pci;
struct virtio_pci *virtio_pci_new(struct virtio_device *dev);
struct pci_function *virtio_pci_function(struct virtio_pci *vp);
/* Frees both. The function is off its bus and quiet. Takes NULL. */
void virtio_pci_free(struct virtio_pci *vp);

/* --- while it runs -------------------------------------------------------------------------------
 */

static inline bool virtio_has_feature(const struct virtio_device *dev, unsigned bit)
{
    return dev->features >> bit & 1;
}

/* Tells when the driver of DEV, a VM's own, comes up, and when it is gone: by RUNNING, with OPAQUE, from the
 * loop. One listener. */
void virtio_watch_running(struct virtio_device *dev, void (*running)(void *opaque, bool on),
                          void *opaque);

/* Whether the driver is up and the device may touch its queues. */
bool virtio_running(const struct virtio_device *dev);

/* The driver broke the rules: DEVICE_NEEDS_RESET, and no queue is touched again. WHY is static. */
void virtio_device_error(struct virtio_device *dev, const char *why);

struct virtio_device *virtqueue_device(const struct virtqueue *vq);
/* Index of the queue in the device. */
unsigned virtqueue_index(const struct virtqueue *vq);
/* Queue INDEX of DEV. */
struct virtqueue *virtio_queue(struct virtio_device *dev, unsigned index);

/*
 * Takes the next buffer: SIZE bytes, zeroed beyond the element they begin with. NULL when there
 * is none, the queue is not up, or a turn of queue_notify has had its share (the core then
 * calls again).
 */
void *virtqueue_pop(struct virtqueue *vq, size_t size);

/* Whether there is a buffer to take. */
bool virtqueue_has_buffers(struct virtqueue *vq);

/*
 * Gives ELEMENT back to the driver with WRITTEN bytes of IN filled from its start, and frees it.
 * Call virtqueue_notify() after the last of a batch.
 */
void virtqueue_push(struct virtqueue_element *element, uint32_t written);
/* Several buffers of one queue that the driver must see at once (mergeable receive buffers). */
void virtqueue_push_many(struct virtqueue_element **elements, const uint32_t *written, unsigned n);

/* Puts the element popped last back, as if it had not been popped; several go in reverse order. */
void virtqueue_unpop(struct virtqueue_element *element);
/*
 * ELEMENT, with no work under way, stays with the device: quiesce no longer waits for it. False where
 * its queue is being reset: then it is to be let go of. A device with parked elements is quiet but not
 * idle (virtio_device_idle()), and its state cannot be saved.
 */
bool virtqueue_park(struct virtqueue_element *element);
/* ELEMENT counts again, before work on it goes on, or before it is pushed or dropped. */
void virtqueue_unpark(struct virtqueue_element *element);
/* Frees an element without the driver hearing of it. In reset only. */
void virtqueue_drop(struct virtqueue_element *element);

/* Interrupts the driver if buffers were pushed since the last call and it asked for that. */
void virtqueue_notify(struct virtqueue *vq);

/* Whether the device wants to be told of new buffers; on by default. Off saves guest exits. */
void virtqueue_want_notify(struct virtqueue *vq, bool want);

/* Calls queue_notify for VQ from the loop soon, as if the driver had rung. */
void virtqueue_kick(struct virtqueue *vq);

/* --- iovecs --------------------------------------------------------------------------------------
 */

/* Copies up to LENGTH bytes at OFFSET of the iovecs; returns how many there were. */
size_t iov_read(const struct iovec *iov, unsigned n, size_t offset, void *to, size_t length);
size_t iov_write(const struct iovec *iov, unsigned n, size_t offset, const void *from,
                 size_t length);
size_t iov_size(const struct iovec *iov, unsigned n);

/* A part of a list: its first and last buffer are cut in place until iov_part_end(). */
struct iov_part {
    struct iovec *iov;
    unsigned n;
    struct iovec first, last; /* as they were */
};
/* LENGTH bytes at OFFSET, which the list has. */
void iov_part_begin(struct iov_part *p, struct iovec *iov, unsigned n, size_t offset, size_t length);
/* Makes the list whole again. A part that was never begun is fine. */
void iov_part_end(struct iov_part *p);

#endif
