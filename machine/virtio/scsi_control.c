/*
 * The control queue: task management and asynchronous notification (virtio 1.2, 5.6.6.2).
 *
 * What is under way in the block layer cannot be called back. A function that aborts requests marks
 * them, ends those that are held, and is answered when the last has ended by itself; requests that
 * came later than the function are none of its.
 */
#include "machine/virtio/scsi_priv.h"

#include <linux/virtio_scsi.h>

struct scsi_task {
    struct virtqueue_element element;
    struct scsi_task *next;
    unsigned lun; /* LIMIT_SCSI_LUNS: all */
    bool one;     /* only that with TAG */
    uint64_t tag;
    uint64_t before; /* requests from this number on came later */
};

static bool is_of_task(const struct scsi_request *r, const struct scsi_task *t)
{
    return r->unit && !r->unit->gone && r->number < t->before &&
           (t->lun == LIMIT_SCSI_LUNS || r->unit->lun == t->lun) && (!t->one || r->tag == t->tag);
}

static bool is_under_way(const struct virtio_scsi *scsi, const struct scsi_task *t)
{
    for (const struct scsi_request *r = scsi->requests; r; r = r->next) {
        if (is_of_task(r, t))
            return true;
    }
    return false;
}

static void answer(struct scsi_task *t, uint8_t response)
{
    const struct virtio_scsi_ctrl_tmf_resp resp = {response};
    struct virtqueue *vq = t->element.vq;

    iov_write(t->element.in, t->element.in_n, 0, &resp, sizeof(resp));
    virtqueue_push(&t->element, sizeof(resp));
    virtqueue_notify(vq);
}

void scsi__control_settle(struct virtio_scsi *scsi)
{
    for (struct scsi_task **at = &scsi->tasks; *at;) {
        struct scsi_task *t = *at;
        if (is_under_way(scsi, t)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        answer(t, VIRTIO_SCSI_S_OK);
    }
}

void scsi__control_reset(struct virtio_scsi *scsi)
{
    struct scsi_task *next;

    for (struct scsi_task *t = scsi->tasks; t; t = next) {
        next = t->next;
        virtqueue_drop(&t->element);
    }
    scsi->tasks = NULL;
}

static bool is_aborted(const struct storage_request *s, const void *opaque)
{
    return container_of((struct storage_request *)s, struct scsi_request, s)->aborted;
}

/* Has requests of T's end with RESPONSE; T is answered then. */
static void abort_requests(struct virtio_scsi *scsi, struct scsi_task *t, uint8_t response)
{
    for (struct scsi_request *r = scsi->requests; r; r = r->next) {
        if (!is_of_task(r, t))
            continue;
        r->aborted = response;
        r->s.unheld = true;
    }
    t->next = scsi->tasks;
    scsi->tasks = t;
    storage_cancel(&scsi->storage, is_aborted, NULL);
    scsi__control_settle(scsi);
}

static void reset_units(struct virtio_scsi *scsi, const struct scsi_task *t)
{
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++) {
        if (scsi->units[lun] && (t->lun == LIMIT_SCSI_LUNS || t->lun == lun))
            scsi->luns[lun].attention = SCSI_UNIT_RESET;
    }
}

static void manage(struct virtio_scsi *scsi, struct scsi_task *t,
                   const struct virtio_scsi_ctrl_tmf_req *req)
{
    uint32_t subtype = GUINT32_FROM_LE(req->subtype);

    t->tag = req->tag;
    t->before = scsi->number;
    if (!scsi__lun_of(req->lun, &t->lun) || scsi->units_n == 0) {
        answer(t, VIRTIO_SCSI_S_BAD_TARGET);
        return;
    }
    if (subtype == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET)
        t->lun = LIMIT_SCSI_LUNS;
    else if (t->lun == LIMIT_SCSI_LUNS || !scsi->units[t->lun]) {
        answer(t, VIRTIO_SCSI_S_INCORRECT_LUN);
        return;
    }
    switch (subtype) {
    case VIRTIO_SCSI_T_TMF_ABORT_TASK:
        t->one = true;
        abort_requests(scsi, t, VIRTIO_SCSI_S_ABORTED);
        break;
    case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
    case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
        abort_requests(scsi, t, VIRTIO_SCSI_S_ABORTED);
        break;
    case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
    case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
        reset_units(scsi, t);
        abort_requests(scsi, t, VIRTIO_SCSI_S_RESET);
        break;
    case VIRTIO_SCSI_T_TMF_QUERY_TASK:
    case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
        t->one = subtype == VIRTIO_SCSI_T_TMF_QUERY_TASK;
        answer(t, is_under_way(scsi, t) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_OK);
        break;
    default:
        answer(t, VIRTIO_SCSI_S_FUNCTION_REJECTED);
    }
}

/* No unit has anything to notify of. */
static void notification(struct virtio_scsi *scsi, struct scsi_task *t,
                         const struct virtio_scsi_ctrl_an_req *req)
{
    struct virtio_scsi_ctrl_an_resp resp = {.response = VIRTIO_SCSI_S_OK};
    struct virtqueue *vq = t->element.vq;
    unsigned lun;

    if (!scsi__lun_of(req->lun, &lun) || scsi->units_n == 0)
        resp.response = VIRTIO_SCSI_S_BAD_TARGET;
    else if (lun == LIMIT_SCSI_LUNS || !scsi->units[lun])
        resp.response = VIRTIO_SCSI_S_INCORRECT_LUN;
    iov_write(t->element.in, t->element.in_n, 0, &resp, sizeof(resp));
    virtqueue_push(&t->element, sizeof(resp));
    virtqueue_notify(vq);
}

/* Whether T's chain is as long as a request and a response must be. */
static bool fits(const struct scsi_task *t, size_t out, size_t in)
{
    return t->element.out_bytes >= out && t->element.in_bytes >= in;
}

static void control_begin(struct virtio_scsi *scsi, struct scsi_task *t)
{
    union {
        uint32_t type;
        struct virtio_scsi_ctrl_tmf_req tmf;
        struct virtio_scsi_ctrl_an_req an;
    } req = {.type = UINT32_MAX};

    iov_read(t->element.out, t->element.out_n, 0, &req, sizeof(req));
    switch (GUINT32_FROM_LE(req.type)) {
    case VIRTIO_SCSI_T_TMF:
        if (fits(t, sizeof(req.tmf), sizeof(struct virtio_scsi_ctrl_tmf_resp))) {
            manage(scsi, t, &req.tmf);
            return;
        }
        break;
    case VIRTIO_SCSI_T_AN_QUERY:
    case VIRTIO_SCSI_T_AN_SUBSCRIBE:
        if (fits(t, sizeof(req.an), sizeof(struct virtio_scsi_ctrl_an_resp))) {
            notification(scsi, t, &req.an);
            return;
        }
        break;
    default:
        break;
    }
    virtio_device_error(&scsi->dev, "a SCSI control request of an unknown type or too short");
    virtqueue_push(&t->element, 0);
}

void scsi__control_notify(struct virtio_scsi *scsi, struct virtqueue *vq)
{
    struct scsi_task *t;

    while ((t = virtqueue_pop(vq, sizeof(*t))))
        control_begin(scsi, t);
}
