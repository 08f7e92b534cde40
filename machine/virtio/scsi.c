/*
 * virtio-scsi (virtio 1.2, 5.6): the adapter, its requests, and how they end.
 *
 * A request's header and command are copied before they are looked at; its data goes between guest
 * memory and the block layer without a copy. A disk takes LIMIT_BLOCK_INFLIGHT commands that use
 * its image, which is what drivers are told (cmd_per_lun); one more gets TASK SET FULL. While a
 * request is held (storage.h) no other is begun. A chain without room for a request's header or
 * response breaks the device; all else that makes no sense gets a response. Commands that are not
 * simple are taken as simple: no order among them is promised.
 */
#include "machine/virtio/scsi_priv.h"

#include <errno.h>
#include <linux/virtio_scsi.h>

enum {
    QUEUE_SIZE = 256,
    SEGMENTS = QUEUE_SIZE - 2, /* of data in one request */
    HEADER = offsetof(struct virtio_scsi_cmd_req, cdb),
    RESPONSE = offsetof(struct virtio_scsi_cmd_resp, sense),
    FIELD_MOST = 255, /* bytes of a command, and of sense, that a driver may ask for */
    SENSE = 18,
};

/* --- ending a request ------------------------------------------------------------------------- */

static void unlink_request(struct scsi_request *r)
{
    if (r->next)
        r->next->link = r->link;
    *r->link = r->next;
}

void scsi__end(struct scsi_request *r, uint8_t response, uint8_t status, const uint8_t *sense,
               size_t sense_bytes)
{
    struct virtio_scsi *scsi = scsi_of_request(r);
    struct virtqueue_element *e = &r->s.element;
    struct virtqueue *vq = e->vq;
    struct scsi_unit *u = r->unit;
    struct virtio_scsi_cmd_resp resp = {.response = r->aborted ? r->aborted : response};
    uint8_t flat[RESPONSE + FIELD_MOST] = {0};

    iov_part_end(&r->data);
    if (resp.response == VIRTIO_SCSI_S_OK) {
        sense_bytes = MIN(sense_bytes, r->answer_bytes - RESPONSE);
        resp.status = status;
        resp.sense_len = GUINT32_TO_LE((uint32_t)sense_bytes);
        resp.resid = GUINT32_TO_LE((uint32_t)(r->in_bytes + r->out_bytes - r->done_bytes));
        if (sense_bytes)
            memcpy(flat + RESPONSE, sense, sense_bytes);
    }
    memcpy(flat, &resp, RESPONSE);
    iov_write(e->in, e->in_n, 0, flat, r->answer_bytes);
    unlink_request(r);
    g_free(r->scratch);
    virtqueue_push(e, (uint32_t)MIN(r->answer_bytes + r->touched, UINT32_MAX));
    virtqueue_notify(vq);
    if (u)
        scsi__unit_leave(u);
    scsi__control_settle(scsi);
}

void scsi__good(struct scsi_request *r)
{
    scsi__end(r, VIRTIO_SCSI_S_OK, SCSI_GOOD, NULL, 0);
}

void scsi__put_sense(uint8_t *to, uint32_t sense)
{
    memset(to, 0, SENSE);
    to[0] = 0x70;
    to[2] = (uint8_t)(sense >> 16);
    to[7] = SENSE - 8;
    to[12] = (uint8_t)(sense >> 8);
    to[13] = (uint8_t)sense;
}

void scsi__check(struct scsi_request *r, uint32_t sense)
{
    uint8_t bytes[SENSE];

    scsi__put_sense(bytes, sense);
    scsi__end(r, VIRTIO_SCSI_S_OK, SCSI_CHECK_CONDITION, bytes, SENSE);
}

void scsi__bad_field(struct scsi_request *r, bool in_cdb, unsigned byte, unsigned bit)
{
    uint8_t bytes[SENSE];

    /* Sense-key specific data tell where (SPC-4, 4.5.2.4.2). */
    scsi__put_sense(bytes, in_cdb ? SCSI_INVALID_FIELD : SCSI_INVALID_PARAMETER);
    bytes[15] = (uint8_t)(0x88 | (in_cdb ? 0x40 : 0) | bit);
    bytes[16] = (uint8_t)(byte >> 8);
    bytes[17] = (uint8_t)byte;
    scsi__end(r, VIRTIO_SCSI_S_OK, SCSI_CHECK_CONDITION, bytes, SENSE);
}

/* What the guest is told of ERROR of the host's. */
static uint32_t sense_of(enum block_kind kind, int error)
{
    switch (error) {
    case -ENOSPC:
    case -EDQUOT:
        return SCSI_SPACE_FULL;
    case -EROFS:
    case -EPERM:
        return SCSI_WRITE_PROTECTED;
    case -EIO:
        return kind == BLOCK_READ ? SCSI_READ_ERROR : SCSI_WRITE_ERROR;
    default:
        return SCSI_TARGET_FAILURE;
    }
}

void scsi__io_done(struct storage_request *s, int status)
{
    struct scsi_request *r = container_of(s, struct scsi_request, s);
    bool left = r->unit->gone || !virtio_running(r->s.storage->dev);

    if (status == -EAGAIN)
        scsi__end(r, VIRTIO_SCSI_S_OK, SCSI_TASK_SET_FULL, NULL, 0);
    else if (status == -ECANCELED && left)
        scsi__check(r, SCSI_NO_UNIT);
    else if (status < 0)
        scsi__check(r, sense_of(r->s.io.kind, status));
    else if (r->step && (r->aborted || left))
        scsi__check(r, SCSI_NO_UNIT);
    else if (r->step)
        r->step(r);
    else {
        if (r->data.n) {
            r->done_bytes = r->s.io.length;
            scsi__unit_used(scsi_of_request(r), r->unit);
        }
        scsi__good(r);
    }
}

/* --- data ------------------------------------------------------------------------------------- */

static void overrun(struct scsi_request *r)
{
    scsi__end(r, VIRTIO_SCSI_S_OVERRUN, 0, NULL, 0);
}

bool scsi__data_in(struct scsi_request *r, uint64_t length)
{
    struct virtqueue_element *e = &r->s.element;

    if (length > r->in_bytes) {
        overrun(r);
        return false;
    }
    iov_part_begin(&r->data, e->in, e->in_n, r->answer_bytes, length);
    r->touched = length;
    return true;
}

bool scsi__data_out(struct scsi_request *r, uint64_t length)
{
    struct virtqueue_element *e = &r->s.element;

    if (length > r->out_bytes) {
        overrun(r);
        return false;
    }
    iov_part_begin(&r->data, e->out, e->out_n, e->out_bytes - r->out_bytes, length);
    return true;
}

bool scsi__parameters(struct scsi_request *r, void *to, size_t length)
{
    struct virtqueue_element *e = &r->s.element;

    if (length > r->out_bytes) {
        overrun(r);
        return false;
    }
    iov_read(e->out, e->out_n, e->out_bytes - r->out_bytes, to, length);
    r->done_bytes = length;
    return true;
}

void scsi__answer(struct scsi_request *r, const uint8_t *bytes, size_t length, size_t allocated)
{
    struct virtqueue_element *e = &r->s.element;

    if (allocated > r->in_bytes) {
        overrun(r);
        return;
    }
    length = MIN(length, allocated);
    r->done_bytes = r->touched = iov_write(e->in, e->in_n, r->answer_bytes, bytes, length);
    scsi__good(r);
}

/* --- beginning one ---------------------------------------------------------------------------- */

bool scsi__is_well_known(const uint8_t lun[8])
{
    static const uint8_t report_luns[8] = {0xc1, 0x01};

    return memcmp(lun, report_luns, 8) == 0;
}

bool scsi__lun_of(const uint8_t lun[8], unsigned *out)
{
    static const uint8_t zero[4];
    unsigned n = (lun[2] << 8 | lun[3]) & 0x3fff;
    bool known = lun[2] >> 6 <= 1 && memcmp(lun + 4, zero, 4) == 0 && n < LIMIT_SCSI_LUNS;

    *out = known ? n : LIMIT_SCSI_LUNS;
    if (scsi__is_well_known(lun)) {
        *out = LIMIT_SCSI_LUNS;
        return true;
    }
    return lun[0] == 1 && lun[1] == 0;
}

/* Takes the request's header apart; false: the chain has no room for what must be there. */
static bool parse(struct virtio_scsi *scsi, struct scsi_request *r)
{
    struct virtqueue_element *e = &r->s.element;
    uint32_t header = HEADER + scsi->cdb_size;
    uint8_t bytes[HEADER + SCSI_CDB] = {0};

    r->answer_bytes = RESPONSE + scsi->sense_size;
    if (e->out_bytes < header || e->in_bytes < r->answer_bytes)
        return false;
    iov_read(e->out, e->out_n, 0, bytes, HEADER + MIN(scsi->cdb_size, SCSI_CDB));
    memcpy(r->lun, bytes, sizeof(r->lun));
    memcpy(&r->tag, bytes + offsetof(struct virtio_scsi_cmd_req, tag), sizeof(r->tag));
    memcpy(r->cdb, bytes + HEADER, SCSI_CDB);
    r->out_bytes = e->out_bytes - header;
    r->in_bytes = e->in_bytes - r->answer_bytes;
    return true;
}

static void request_begin(struct virtio_scsi *scsi, struct scsi_request *r)
{
    unsigned lun;

    if (!parse(scsi, r)) {
        virtio_device_error(&scsi->dev, "a SCSI request without header or response");
        virtqueue_push(&r->s.element, 0);
        return;
    }
    r->s.storage = &scsi->storage;
    r->number = scsi->number++;
    r->next = scsi->requests;
    r->link = &scsi->requests;
    if (r->next)
        r->next->link = &r->next;
    scsi->requests = r;
    if (!scsi__lun_of(r->lun, &lun) || scsi->units_n == 0) {
        scsi__end(r, VIRTIO_SCSI_S_BAD_TARGET, 0, NULL, 0);
        return;
    }
    if (r->in_bytes && r->out_bytes) {
        scsi__end(r, VIRTIO_SCSI_S_FAILURE, 0, NULL, 0);
        return;
    }
    r->unit = lun < LIMIT_SCSI_LUNS ? scsi->units[lun] : NULL;
    if (r->unit) {
        r->unit->active++;
        r->s.disk = &r->unit->disk;
        scsi__unit_seen(scsi, r->unit);
    }
    scsi__command(r);
}

/* --- the device ------------------------------------------------------------------------------- */

static void scsi_queue_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct virtio_scsi *scsi = scsi_of(dev);
    struct scsi_request *r;

    switch (virtqueue_index(vq)) {
    case SCSI_QUEUE_CONTROL:
        scsi__control_notify(scsi, vq);
        break;
    case SCSI_QUEUE_EVENT:
        scsi__events_notify(scsi, vq);
        break;
    default:
        /* What is held stops the rest; whoever sees to it has the queues notified anew. */
        while (!scsi->storage.held && (r = virtqueue_pop(vq, sizeof(*r))))
            request_begin(scsi, r);
    }
}

static uint32_t config_u32(struct virtio_device *dev, unsigned offset)
{
    uint32_t v;

    virtio_config_get(dev, offset, &v, sizeof(v));
    return GUINT32_FROM_LE(v);
}

static void scsi_config_written(struct virtio_device *dev)
{
    struct virtio_scsi *scsi = scsi_of(dev);
    uint32_t cdb = config_u32(dev, offsetof(struct virtio_scsi_config, cdb_size));
    uint32_t sense = config_u32(dev, offsetof(struct virtio_scsi_config, sense_size));

    if (cdb > FIELD_MOST || sense > FIELD_MOST) {
        virtio_device_error(dev, "a size of SCSI commands or sense data that is beyond all sense");
        return;
    }
    scsi->cdb_size = cdb;
    scsi->sense_size = sense;
}

static bool is_of_queue(const struct storage_request *s, const void *vq)
{
    return !vq || s->element.vq == vq;
}

static void default_sizes(struct virtio_device *dev)
{
    const uint32_t sizes[2] = {GUINT32_TO_LE(VIRTIO_SCSI_SENSE_DEFAULT_SIZE),
                               GUINT32_TO_LE(VIRTIO_SCSI_CDB_DEFAULT_SIZE)};

    virtio_config_set(dev, offsetof(struct virtio_scsi_config, sense_size), sizes, sizeof(sizes));
}

static void scsi_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    struct virtio_scsi *scsi = scsi_of(dev);

    /* Requests under way end by themselves; the core waits for them. The queue is closed: no driver
     * hears of those that are cancelled. */
    storage_cancel(&scsi->storage, is_of_queue, vq);
    if (!vq || virtqueue_index(vq) == SCSI_QUEUE_CONTROL)
        scsi__control_reset(scsi);
    if (!vq || virtqueue_index(vq) == SCSI_QUEUE_EVENT)
        scsi__events_reset(scsi);
    if (vq)
        return;
    default_sizes(dev);
    scsi__units_reset(scsi);
}

static void scsi_quiesce(struct virtio_device *dev)
{
    scsi__events_quiesce(scsi_of(dev));
}

static void scsi_resume(struct virtio_device *dev)
{
    storage_resume(&scsi_of(dev)->storage);
}

static bool scsi_loaded(struct virtio_device *dev, GError **err)
{
    return scsi__units_loaded(scsi_of(dev), err);
}

static void scsi_free(struct virtio_device *dev)
{
    struct virtio_scsi *scsi = scsi_of(dev);

    storage_drop(&scsi->storage, NULL);
    scsi__units_free(scsi);
    virtio_device_fini(dev);
    g_free(scsi);
}

static const struct state_field lun_fields[] = {
    STATE_FIELD_U8(struct scsi_lun, attached, 1), STATE_FIELD_U8(struct scsi_lun, seen, 1),
    STATE_FIELD_U8(struct scsi_lun, leaving, 1),  STATE_FIELD_U32(struct scsi_lun, attention, 1),
    STATE_FIELD_U32(struct scsi_lun, due, 1),     STATE_FIELD_U32(struct scsi_lun, posted, 1),
    STATE_FIELD_U64(struct scsi_lun, buffer, 1),  STATE_FIELD_U8(struct scsi_lun, used, 1),
    STATE_FIELD_U8(struct scsi_lun, resized, 2),
};
static const struct state_desc lun_state = {"scsi-lun", 2, sizeof(struct scsi_lun),
                                            G_N_ELEMENTS(lun_fields), lun_fields};
static const struct state_field scsi_fields[] = {
    STATE_FIELD_STRUCT(struct virtio_scsi, luns, struct scsi_lun, lun_state, 1),
};
static const struct state_desc scsi_state = {"virtio-scsi", 1, sizeof(struct virtio_scsi),
                                             G_N_ELEMENTS(scsi_fields), scsi_fields};

static const struct virtio_ops scsi_ops = {
    .name = "virtio-scsi",
    .id = VIRTIO_ID_SCSI,
    .pci_class = 0x010000, /* mass storage, SCSI */
    .state = &scsi_state,
    .start = scsi_config_written,
    .queue_notify = scsi_queue_notify,
    .config_written = scsi_config_written,
    .reset = scsi_reset,
    .quiesce = scsi_quiesce,
    .resume = scsi_resume,
    .loaded = scsi_loaded,
    .free = scsi_free,
};

struct virtio_device *virtio_scsi_new(const struct virtio_env *env, unsigned queues)
{
    struct virtio_scsi *scsi = g_new0(struct virtio_scsi, 1);
    uint64_t features =
        VIRTIO_FEATURE(VIRTIO_SCSI_F_HOTPLUG) | VIRTIO_FEATURE(VIRTIO_SCSI_F_CHANGE);
    uint16_t sizes[SCSI_QUEUE_REQUEST + LIMIT_BLK_QUEUES] = {64, SCSI_EVENT_BUFFERS};
    const struct virtio_scsi_config c = {
        .num_queues = GUINT32_TO_LE(queues),
        .seg_max = GUINT32_TO_LE(SEGMENTS),
        .max_sectors = GUINT32_TO_LE(SCSI_TRANSFER_BYTES / BLOCK_SECTOR),
        .cmd_per_lun = GUINT32_TO_LE(LIMIT_BLOCK_INFLIGHT),
        .event_info_size = GUINT32_TO_LE(sizeof(struct virtio_scsi_event)),
        .max_lun = GUINT32_TO_LE(LIMIT_SCSI_LUNS - 1),
    };

    g_assert(queues >= 1 && queues <= LIMIT_BLK_QUEUES);
    for (unsigned i = 0; i < queues; i++)
        sizes[SCSI_QUEUE_REQUEST + i] = QUEUE_SIZE;
    scsi->storage = (struct storage){.dev = &scsi->dev, .done = scsi__io_done};
    virtio_device_init(&scsi->dev, &scsi_ops, env, features, SCSI_QUEUE_REQUEST + queues, sizes,
                       sizeof(c));
    virtio_config_set(&scsi->dev, 0, &c, sizeof(c));
    default_sizes(&scsi->dev);
    virtio_config_writable(&scsi->dev, offsetof(struct virtio_scsi_config, sense_size), 8);
    return &scsi->dev;
}
