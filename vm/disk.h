/*
 * vm/disk: one disk of a VM: its image, its virtio frontend, and what becomes of the host's errors.
 * Loop thread only.
 */
#ifndef VM_DISK_H
#define VM_DISK_H

#include "machine/block/block.h"
#include "machine/virtio/scsi.h"
#include "proto/schema/types.h"
#include "proto/schema/vmi.h"
#include "vm/sandbox.h"

struct disk;

/* The host failed a request. All is borrowed. */
struct disk_failure {
    struct vmi_disk_error_event event;
    bool tell;                  /* worth an event: not the same as told a moment ago */
    enum vm_pause_reason pause; /* where event.held: why the VM is to be paused */
};

/* Told from within the disk, once for each request that failed. Where it is held the VM is to be
 * paused; a resume tries it once more. */
typedef void (*disk_failed_fn)(void *opaque, const struct disk_failure *failure);

/* A unit of a SCSI adapter has come further on its way; see struct virtio_scsi_unit. */
typedef void (*disk_unit_changed_fn)(void *opaque, unsigned lun,
                                     const struct virtio_scsi_status *status);

/* Adds to PATHS what disk_new() will open, the image first and then those behind it. Opens and closes them
 * for it. */
bool disk_paths(const struct vm_disk_config *config, GPtrArray *paths, GError **err);
/* Adds the same to FILES. */
bool disk_files(const struct vm_disk_config *config, struct sandbox_files *files, GError **err);

/* Opens the image of CONFIG, kept by reference, for a machine with CPUS vCPUs; files of it that were
 * opened by somebody else are GIVEN (may be NULL). NULL with an error. */
struct disk *disk_new(const struct vm_disk_config *config, const struct virtio_env *env,
                      unsigned cpus, const struct block_given *given, disk_failed_fn failed,
                      void *opaque, GError **err);

/* The frontend: made once, the caller's, freed before disk_close(). */
struct virtio_device *disk_frontend(struct disk *disk);

/*
 * Or as unit LUN of a SCSI adapter, in the frontend's place; CHANGED as the unit's (machine/virtio/scsi.h),
 * may be NULL. The disk may be closed when the unit has been released, also from within CHANGED, or the
 * adapter freed.
 */
bool disk_attach(struct disk *disk, struct virtio_device *adapter, unsigned lun,
                 disk_unit_changed_fn changed, void *opaque, GError **err);

/*
 * Begins to give the image BYTES, a multiple of 512 and not less than it has: GROWN tells how that ended, with NULL
 * when the guest has been told, or with why not. False with an error: VMD_ERROR_INVALID, _STATE (it is read-only), or
 * _BUSY; then it is not called. The disk may be closed meanwhile.
 */
bool disk_grow(struct disk *disk, uint64_t bytes,
               void (*grown)(void *opaque, const GError *err), void *opaque, GError **err);

/* The host has the disk, which has a frontend, no longer: virtio_blk_lose(). */
void disk_lose(struct disk *disk);
/* Whether requests to its image are under way; *REFUSED is how many failed since it was lost. */
bool disk_busy(const struct disk *disk, uint64_t *refused);
/* Whether the driver has looked since then at how large the disk is. */
bool disk_loss_seen(const struct disk *disk);

/* Which image, in which format, of what size. */
const char *disk_text(const struct disk *disk);

/* Flushes, closes and frees; then CLOSED with WARNING for the VM's owner, or NULL. */
void disk_close(struct disk *disk, void (*closed)(void *opaque, const char *warning), void *opaque);

/* What the VM's owner should know of how the image was found, or NULL. */
const char *disk_notice(const struct disk *disk);

/* Counters and state; the caller's. */
struct disk_stats *disk_stats_of(const struct disk *disk);

#endif
