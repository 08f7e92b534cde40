/*
 * Units of a SCSI adapter, and the events that tell a guest of their coming and going
 * (virtio 1.2, 5.6.6.3).
 *
 * Events are never lost, so the flag EVENTS_MISSED is never needed: what the guest has no buffer
 * for is due until it has, one event a number. Each number has one event with the guest at most, so
 * that a guest that works on its events in any order cannot take an addition for later than the
 * removal behind it.
 *
 * An event is dealt with when the buffer it was in comes back: drivers (Linux's
 * virtscsi_handle_event()) add or remove the disk first, which flushes it, and give their buffer
 * back as their last act. A buffer is known by its address.
 */
#include "machine/virtio/scsi_priv.h"

#include <errno.h>
#include <linux/virtio_scsi.h>

static bool driver_listens(const struct virtio_scsi *scsi)
{
    return virtio_running(&scsi->dev) && virtio_has_feature(&scsi->dev, VIRTIO_SCSI_F_HOTPLUG);
}

static bool driver_takes_changes(const struct virtio_scsi *scsi)
{
    return virtio_running(&scsi->dev) && virtio_has_feature(&scsi->dev, VIRTIO_SCSI_F_CHANGE);
}

/* --- telling the owner ------------------------------------------------------------------------ */

static struct virtio_scsi_status status_of(const struct virtio_scsi *scsi, unsigned lun)
{
    return (struct virtio_scsi_status){.seen = scsi->luns[lun].seen,
                                       .used = scsi->luns[lun].used,
                                       .asked = scsi->units[lun] && scsi->units[lun]->asked};
}

static void tell(struct virtio_scsi *scsi, struct scsi_unit *u)
{
    struct virtio_scsi_status status = status_of(scsi, u->lun);

    if (u->changed)
        u->changed(u->opaque, u->lun, &status);
}

void scsi__unit_seen(struct virtio_scsi *scsi, struct scsi_unit *u)
{
    struct scsi_lun *l = &scsi->luns[u->lun];

    if (l->seen)
        return;
    l->seen = 1;
    tell(scsi, u);
}

void scsi__unit_used(struct virtio_scsi *scsi, struct scsi_unit *u)
{
    struct scsi_lun *l = &scsi->luns[u->lun];

    if (l->used || u->gone)
        return;
    l->used = 1;
    tell(scsi, u);
}

void scsi__unit_leave(struct scsi_unit *u)
{
    if (--u->active || !u->gone)
        return;
    const struct virtio_scsi_status status = {
        .seen = u->seen, .used = u->used, .asked = u->asked, .released = true};
    if (u->changed)
        u->changed(u->opaque, u->lun, &status);
    g_free(u);
}

static bool is_of_unit(const struct storage_request *s, const void *u)
{
    return container_of((struct storage_request *)s, struct scsi_request, s)->unit == u;
}

/* U is no unit any more; it is freed when nothing of it is under way, maybe at once. */
static void take_away(struct virtio_scsi *scsi, struct scsi_unit *u)
{
    struct scsi_lun *l = &scsi->luns[u->lun];

    u->seen = l->seen;
    u->used = l->used;
    u->gone = true;
    u->active++;
    scsi->units[u->lun] = NULL;
    scsi->units_n--;
    l->attached = l->seen = l->used = l->leaving = l->resized = 0;
    l->attention = 0;
    storage_cancel(&scsi->storage, is_of_unit, u);
    scsi__unit_leave(u);
}

/* --- events ----------------------------------------------------------------------------------- */

/* Takes the guest's oldest buffer for EVENT; where that is in its memory. */
static gpa_t hand_out(struct virtio_scsi *scsi, const struct virtio_scsi_event *event)
{
    struct virtqueue_element *e = scsi->events[0];
    gpa_t buffer = e->in_gpa[0];

    memmove(scsi->events, scsi->events + 1, --scsi->events_n * sizeof(e));
    iov_write(e->in, e->in_n, 0, event, sizeof(*event));
    virtqueue_push(e, sizeof(*event));
    return buffer;
}

/* Hands the guest the news of other sizes, as far as it has buffers. In which order it deals with these and with
 * others does not matter: it asks the unit for its size, if that is still there. */
static void post_sizes(struct virtio_scsi *scsi)
{
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS && scsi->events_n; lun++) {
        struct scsi_lun *l = &scsi->luns[lun];
        const struct virtio_scsi_event event = {
            .event = GUINT32_TO_LE(VIRTIO_SCSI_T_PARAM_CHANGE),
            .lun = {1, 0, 0, (uint8_t)lun},
            .reason = GUINT32_TO_LE((SCSI_CAPACITY_CHANGED >> 8 & 0xff) |
                                    (SCSI_CAPACITY_CHANGED & 0xff) << 8),
        };
        if (!l->resized || !driver_takes_changes(scsi))
            continue;
        l->resized = 0;
        hand_out(scsi, &event);
    }
}

/* Hands the guest what is due, as far as it has buffers. */
static void post(struct virtio_scsi *scsi)
{
    struct virtqueue *vq = virtio_queue(&scsi->dev, SCSI_QUEUE_EVENT);

    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS && scsi->events_n && driver_listens(scsi); lun++) {
        struct scsi_lun *l = &scsi->luns[lun];
        if (!l->due || l->posted)
            continue;
        const struct virtio_scsi_event event = {
            .event = GUINT32_TO_LE(VIRTIO_SCSI_T_TRANSPORT_RESET),
            .lun = {1, 0, 0, (uint8_t)lun},
            .reason = GUINT32_TO_LE(l->due),
        };
        l->posted = l->due;
        l->due = 0;
        l->buffer = hand_out(scsi, &event);
        struct scsi_unit *u = scsi->units[lun];
        if (u && l->leaving && l->posted == VIRTIO_SCSI_EVT_RESET_REMOVED) {
            u->asked = true;
            tell(scsi, u);
        }
    }
    post_sizes(scsi);
    virtqueue_notify(vq);
}

/* The guest has dealt with the event of LUN that it had. */
static void dealt_with(struct virtio_scsi *scsi, unsigned lun)
{
    struct scsi_lun *l = &scsi->luns[lun];
    bool removed = l->posted == VIRTIO_SCSI_EVT_RESET_REMOVED;

    l->posted = 0;
    if (removed && l->leaving)
        take_away(scsi, scsi->units[lun]);
}

void scsi__events_notify(struct virtio_scsi *scsi, struct virtqueue *vq)
{
    struct virtqueue_element *e;

    while (scsi->events_n < SCSI_EVENT_BUFFERS && (e = virtqueue_pop(vq, sizeof(*e)))) {
        if (e->in_bytes < sizeof(struct virtio_scsi_event)) {
            virtio_device_error(&scsi->dev, "a buffer too small for a SCSI event");
            virtqueue_push(e, 0);
            return;
        }
        scsi->events[scsi->events_n++] = e;
        for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++) {
            struct scsi_lun *l = &scsi->luns[lun];
            if (l->posted && l->buffer == e->in_gpa[0])
                dealt_with(scsi, lun);
        }
    }
    post(scsi);
}

void scsi__events_quiesce(struct virtio_scsi *scsi)
{
    while (scsi->events_n)
        virtqueue_unpop(scsi->events[--scsi->events_n]);
}

void scsi__events_reset(struct virtio_scsi *scsi)
{
    while (scsi->events_n)
        virtqueue_drop(scsi->events[--scsi->events_n]);
}

/* --- coming ----------------------------------------------------------------------------------- */

static bool is_free(const struct virtio_scsi *scsi, unsigned lun)
{
    const struct scsi_lun *l = &scsi->luns[lun];

    return !scsi->units[lun] && !l->due && !l->posted;
}

int virtio_scsi_free_lun(const struct virtio_device *dev)
{
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++) {
        if (is_free(scsi_of(dev), lun))
            return (int)lun;
    }
    return -1;
}

/* Copies TEXT, at most N bytes of it, as printable ASCII (SPC-4, 4.3.1). */
static void copy_text(char *to, const char *text, size_t n)
{
    size_t i;

    for (i = 0; text && text[i] && i < n; i++)
        to[i] = text[i] > ' ' && text[i] <= '~' ? text[i] : text[i] == ' ' ? ' ' : '_';
    to[i] = 0;
}

bool virtio_scsi_attach(struct virtio_device *dev, unsigned lun,
                        const struct virtio_scsi_unit *unit, GError **err)
{
    struct virtio_scsi *scsi = scsi_of(dev);
    const struct block_geometry *g = block_geometry(unit->block);

    if (lun >= LIMIT_SCSI_LUNS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "a SCSI adapter has no unit %u: %u is its last", lun,
                        LIMIT_SCSI_LUNS - 1);
    if (!is_free(scsi, lun))
        return vmd_fail(err, VMD_ERROR_BUSY, "unit %u of the SCSI adapter is not free%s", lun,
                        scsi->units[lun] ? "" : ": the guest has not let go of the last one yet");
    if (g->size < g->logical_block)
        return vmd_fail(err, VMD_ERROR_INVALID, "a disk smaller than one of its blocks of %u bytes",
                        g->logical_block);
    struct scsi_unit *u = g_new0(struct scsi_unit, 1);
    u->disk =
        (struct storage_disk){.block = unit->block, .failed = unit->failed, .opaque = unit->opaque};
    u->lun = lun;
    u->block_size = g->logical_block;
    u->blocks = g->size / g->logical_block;
    u->changed = unit->changed;
    u->opaque = unit->opaque;
    copy_text(u->serial, unit->serial, SCSI_SERIAL);
    copy_text(u->product, unit->product, SCSI_PRODUCT);
    scsi->units[lun] = u;
    scsi->units_n++;
    scsi->luns[lun] = (struct scsi_lun){
        .attached = 1,
        .attention = SCSI_POWER_ON,
        .due = driver_listens(scsi) ? VIRTIO_SCSI_EVT_RESET_RESCAN : 0,
    };
    post(scsi);
    return true;
}

void virtio_scsi_resized(struct virtio_device *dev, unsigned lun)
{
    struct virtio_scsi *scsi = scsi_of(dev);
    struct scsi_unit *u = lun < LIMIT_SCSI_LUNS ? scsi->units[lun] : NULL;

    if (!u)
        return;
    u->blocks = block_size(u->disk.block) / u->block_size;
    /* Power-on says more: the driver then asks for all. */
    if (scsi->luns[lun].attention == 0 && virtio_running(dev))
        scsi->luns[lun].attention = SCSI_CAPACITY_CHANGED;
    scsi->luns[lun].resized = driver_takes_changes(scsi);
    post(scsi);
}

/* --- going ------------------------------------------------------------------------------------ */

void virtio_scsi_detach(struct virtio_device *dev, unsigned lun)
{
    struct virtio_scsi *scsi = scsi_of(dev);

    g_assert(lun < LIMIT_SCSI_LUNS);
    struct scsi_unit *u = scsi->units[lun];
    struct scsi_lun *l = &scsi->luns[lun];
    if (!u || l->leaving)
        return;
    /* A guest that neither was told of it nor has found it by itself has nothing to let go of. */
    if (!virtio_running(dev) || (l->due && !l->seen)) {
        l->due = 0;
        take_away(scsi, u);
        return;
    }
    l->leaving = 1;
    l->due = driver_listens(scsi) ? VIRTIO_SCSI_EVT_RESET_REMOVED : 0;
    post(scsi);
}

void virtio_scsi_drop(struct virtio_device *dev, unsigned lun)
{
    struct virtio_scsi *scsi = scsi_of(dev);

    g_assert(lun < LIMIT_SCSI_LUNS);
    struct scsi_unit *u = scsi->units[lun];
    struct scsi_lun *l = &scsi->luns[lun];
    if (!u)
        return;
    virtio_scsi_detach(dev, lun);
    /* That may have been all; a new one may even be there. */
    if (scsi->units[lun] == u && l->leaving)
        take_away(scsi, u);
}

void scsi__units_reset(struct virtio_scsi *scsi)
{
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++) {
        struct scsi_lun *l = &scsi->luns[lun];
        l->due = l->posted = l->resized = 0;
        l->seen = l->used = 0;
        if (l->leaving)
            take_away(scsi, scsi->units[lun]);
    }
}

void scsi__units_free(struct virtio_scsi *scsi)
{
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++)
        g_free(scsi->units[lun]);
}

/* --- what can be asked ------------------------------------------------------------------------ */

bool virtio_scsi_status(const struct virtio_device *dev, unsigned lun,
                        struct virtio_scsi_status *out)
{
    const struct virtio_scsi *scsi = scsi_of(dev);

    if (lun >= LIMIT_SCSI_LUNS || !scsi->units[lun])
        return false;
    if (out)
        *out = status_of(scsi, lun);
    return true;
}

unsigned virtio_scsi_held(const struct virtio_device *dev, unsigned lun)
{
    const struct virtio_scsi *scsi = scsi_of(dev);

    return lun < LIMIT_SCSI_LUNS && scsi->units[lun] ? scsi->units[lun]->disk.held : 0;
}

static bool is_reason(uint32_t reason)
{
    return reason == 0 || reason == VIRTIO_SCSI_EVT_RESET_RESCAN ||
           reason == VIRTIO_SCSI_EVT_RESET_REMOVED;
}

bool scsi__units_loaded(struct virtio_scsi *scsi, GError **err)
{
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++) {
        const struct scsi_lun *l = &scsi->luns[lun];
        if (!l->attached != !scsi->units[lun])
            return vmd_fail(err, VMD_ERROR_INVALID, "saved 'virtio-scsi' has %s unit %u",
                            l->attached ? "a" : "no", lun);
        if (!is_reason(l->due) || !is_reason(l->posted) || (l->leaving && !l->attached) ||
            l->attention > SCSI_SENSE(15, 255, 255))
            return vmd_fail(err, VMD_ERROR_INVALID, "saved unit %u of 'virtio-scsi' makes no sense",
                            lun);
        if (scsi->units[lun])
            scsi->units[lun]->asked = l->leaving && l->posted == VIRTIO_SCSI_EVT_RESET_REMOVED;
    }
    return true;
}
