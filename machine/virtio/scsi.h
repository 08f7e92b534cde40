/*
 * machine/virtio/scsi.h: a SCSI host adapter (virtio 1.2, 5.6) with disks as the logical units of its one
 * target, number 0, which come and go while the guest runs. Loop thread only.
 *
 * A unit's way out: virtio_scsi_detach() has the guest asked (`asked`: the event is in a buffer of the
 * guest's); the unit serves on while the guest flushes it and lets go, which shows in the guest's giving
 * that same buffer back for further events, or in its resetting the adapter. Then, once no request is under
 * way, the unit is `released`: its number is free, and its image is not touched any more. virtio_scsi_drop()
 * does not wait for the guest.
 */
#ifndef MACHINE_VIRTIO_SCSI_H
#define MACHINE_VIRTIO_SCSI_H

#include "machine/virtio/storage.h"

/* What the guest is known to have done with a unit. */
struct virtio_scsi_status {
    bool seen;     /* it has sent a command to it */
    bool used;     /* it has read from it or written to it */
    bool asked;    /* it has been handed the event that asks it to let go */
    bool released; /* the unit is no more: this is the last that is heard of it */
};

struct virtio_scsi_unit {
    struct block *block; /* opened on the adapter's loop; used by nobody else until released */
    const char *serial;  /* up to 36 bytes of printable ASCII */
    const char *product; /* up to 16 bytes, what the guest shows as the disk's model */
    storage_failed_fn failed; /* NULL: the guest always is told */
    /* STATUS has changed. Called from within the adapter, also from within attach, detach, drop and a reset.
     * It may attach, detach and close the unit's image. May be NULL. */
    void (*changed)(void *opaque, unsigned lun, const struct virtio_scsi_status *status);
    void *opaque;
};

/* An adapter without units, with QUEUES request queues, 1 to LIMIT_BLK_QUEUES. Its units are let go of when
 * it is freed, without a word. */
struct virtio_device *virtio_scsi_new(const struct virtio_env *env, unsigned queues);

/* The lowest number that a unit can have now, or -1: all LIMIT_SCSI_LUNS are taken, or were given up by us but
 * not yet by the guest. */
int virtio_scsi_free_lun(const struct virtio_device *dev);

/* Makes UNIT (copied, with its texts) logical unit LUN, and tells a running guest.
 * VMD_ERROR_LIMIT, or VMD_ERROR_BUSY: the number is not free. */
bool virtio_scsi_attach(struct virtio_device *dev, unsigned lun, const struct virtio_scsi_unit *unit,
                        GError **err);

/* Asks the guest to let LUN go; more than once is once. Where no driver runs it is released at once. A guest
 * whose driver did not take the feature HOTPLUG is not asked, and the unit stays until it is dropped or the
 * adapter is reset. */
void virtio_scsi_detach(struct virtio_device *dev, unsigned lun);

/* Takes LUN away whatever the guest does: commands to it fail from now on, and it is released when those
 * under way have ended. The guest is told; until it has understood the number is not free. */
void virtio_scsi_drop(struct virtio_device *dev, unsigned lun);

/* The image of LUN, where that is a unit, has another size: its next command fails with that news (SBC-4, CAPACITY
 * DATA HAS CHANGED), and a driver that took the feature CHANGE is told at once. */
void virtio_scsi_resized(struct virtio_device *dev, unsigned lun);

/* Whether there is a unit LUN; then its status in OUT, which may be NULL. */
bool virtio_scsi_status(const struct virtio_device *dev, unsigned lun, struct virtio_scsi_status *out);

/* Requests of LUN that the adapter keeps until it is resumed. */
unsigned virtio_scsi_held(const struct virtio_device *dev, unsigned lun);

#endif
