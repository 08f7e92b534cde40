/*
 * Split virtqueues (virtio 1.2, 2.7), the device's side. Loop thread throughout.
 *
 * The driver can write rings and tables at any moment, so every value is read once and checked
 * as it was read. A chain that breaks a rule breaks the device (virtio_device_error), not the
 * process: no index or address of the guest's is used unchecked.
 */
#include "machine/virtio/virtio_priv.h"

#define LE16(x) GUINT16_FROM_LE(x)
#define LE32(x) GUINT32_FROM_LE(x)
#define LE64(x) GUINT64_FROM_LE(x)

static const struct state_field queue_fields[] = {
    STATE_FIELD_U16(struct virtqueue, size, 1),
    STATE_FIELD_U16(struct virtqueue, vector, 1),
    STATE_FIELD_U8(struct virtqueue, enabled, 1),
    STATE_FIELD_U64(struct virtqueue, desc, 1),
    STATE_FIELD_U64(struct virtqueue, avail, 1),
    STATE_FIELD_U64(struct virtqueue, used, 1),
    STATE_FIELD_U16(struct virtqueue, last_avail, 1),
    STATE_FIELD_U16(struct virtqueue, used_idx, 1),
    STATE_FIELD_U16(struct virtqueue, signalled, 1),
};
const struct state_desc virtqueue__state = {"virtqueue", 1, sizeof(struct virtqueue),
                                            G_N_ELEMENTS(queue_fields), queue_fields};

struct virtio_device *virtqueue_device(const struct virtqueue *vq)
{
    return vq->dev;
}

unsigned virtqueue_index(const struct virtqueue *vq)
{
    return vq->index;
}

struct virtqueue *virtio_queue(struct virtio_device *dev, unsigned index)
{
    g_assert(index < dev->n_queues);
    return &dev->queues[index];
}

void virtqueue__clear(struct virtqueue *vq)
{
    vq->size = vq->max;
    __atomic_store_n(&vq->vector, VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
    vq->enabled = 0;
    vq->resetting = false;
    vq->desc = vq->avail = vq->used = 0;
    vq->last_avail = vq->shadow_avail = vq->used_idx = vq->signalled = 0;
    vq->quiet_ring = false;
}

bool virtqueue__loaded(struct virtqueue *vq, GError **err)
{
    if (!vq->size || vq->size > vq->max || vq->size & (vq->size - 1))
        return vmd_fail(err, VMD_ERROR_INVALID, "saved queue %u of '%s' has %u descriptors",
                        vq->index, vq->dev->ops->name, vq->size);
    vq->shadow_avail = vq->last_avail;
    return true;
}

bool virtqueue__start(struct virtqueue *vq)
{
    struct mem_map *mem = vq->dev->env.mem;
    struct mem_view v;
    uint64_t n;

    pthread_mutex_lock(&vq->dev->lock);
    uint64_t desc = vq->desc, avail = vq->avail, used = vq->used;
    n = vq->num = vq->size;
    pthread_mutex_unlock(&vq->dev->lock);
    if (desc % VRING_DESC_ALIGN_SIZE || avail % VRING_AVAIL_ALIGN_SIZE ||
        used % VRING_USED_ALIGN_SIZE)
        return false;
    /* Each ring ends with the other side's event index. */
    vq->desc_host = mem_map_host(mem, desc, n * sizeof(struct vring_desc), false);
    vq->avail_host = mem_map_host(mem, avail, 6 + 2 * n, false);
    vq->used_host = mem_map_host(mem, used, 6 + 8 * n, true);
    if (!vq->desc_host || !vq->avail_host || !vq->used_host)
        return false;
    mem_map_lookup(mem, used, &v);
    vq->used_ram = v.ram;
    vq->running = true;
    return true;
}

/* Whether the device may look at the queue now. */
static bool usable(const struct virtqueue *vq)
{
    const struct virtio_device *dev = vq->dev;

    return vq->running && dev->started && !dev->error && !dev->quiescing &&
           dev->transport->may_dma(dev->transport_opaque);
}

/* --- ring memory ---------------------------------------------------------------------------------
 */

/* Bytes of the used ring were written. Pages that are dirty and hold no code need no more. */
static void used_written(struct virtqueue *vq, const void *at, unsigned length)
{
    struct mem_ram *ram = vq->used_ram;
    uint64_t offset = (uint64_t)((const uint8_t *)at - ram->host);
    uint64_t first = offset >> MEM_PAGE_SHIFT, last = (offset + length - 1) >> MEM_PAGE_SHIFT;

    for (uint64_t p = first; p <= last; p++) {
        if ((mem_page_flags(ram, p) & (MEM_PAGE_DIRTY | MEM_PAGE_CODE)) != MEM_PAGE_DIRTY)
            mem_map_written(vq->dev->env.mem, ram->gpa + offset, length);
    }
}

/* Where the driver says at which used index it wants an interrupt. */
static uint16_t used_event(const struct virtqueue *vq)
{
    return LE16(__atomic_load_n(&vq->avail_host->ring[vq->num], __ATOMIC_RELAXED));
}

/* Where the device says at which available index it wants to be told: after the used ring. */
static uint16_t *avail_event(const struct virtqueue *vq)
{
    return (uint16_t *)&vq->used_host->ring[vq->num];
}

/* Refreshes what is known of the driver's index; false when it makes no sense. */
static bool look(struct virtqueue *vq)
{
    vq->shadow_avail = LE16(__atomic_load_n(&vq->avail_host->idx, __ATOMIC_ACQUIRE));
    if ((uint16_t)(vq->shadow_avail - vq->last_avail) <= vq->num)
        return true;
    virtio_device_error(vq->dev, "the available index ran past the queue");
    return false;
}

/* Asks the driver to ring or not. Returns whether buffers came that nobody was told of. */
static bool ask_notify(struct virtqueue *vq, bool on)
{
    if (virtio_has_feature(vq->dev, VIRTIO_RING_F_EVENT_IDX)) {
        if (!on)
            return false; /* the index that was asked for is passed: the driver keeps still */
        __atomic_store_n(avail_event(vq), LE16(vq->shadow_avail), __ATOMIC_RELAXED);
        used_written(vq, avail_event(vq), 2);
    } else {
        __atomic_store_n(&vq->used_host->flags, LE16(on ? 0 : VRING_USED_F_NO_NOTIFY),
                         __ATOMIC_RELAXED);
        used_written(vq, &vq->used_host->flags, 2);
    }
    if (!on)
        return false;
    /* The request must be visible before the index is looked at again (2.7.7.2). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return LE16(__atomic_load_n(&vq->avail_host->idx, __ATOMIC_ACQUIRE)) != vq->shadow_avail;
}

void virtqueue_want_notify(struct virtqueue *vq, bool want)
{
    vq->quiet_ring = !want;
    if (usable(vq) && !vq->in_turn && ask_notify(vq, want))
        virtqueue_kick(vq);
}

void virtqueue_kick(struct virtqueue *vq)
{
    virtio__kick_here(vq->dev, UINT64_C(1) << vq->index);
}

void virtqueue__turn(struct virtqueue *vq)
{
    if (!usable(vq))
        return;
    /* What is there now counts as seen, taken or not: a device that keeps buffers for later (one
     * that receives) would otherwise be given a turn for the same ones for ever. */
    if (!look(vq))
        return;
    vq->in_turn = true;
    vq->share = vq->num;
    ask_notify(vq, false);
    vq->dev->ops->queue_notify(vq->dev, vq);
    vq->in_turn = false;
    if (usable(vq) && !vq->quiet_ring && ask_notify(vq, true))
        virtqueue_kick(vq);
}

/* --- taking a buffer -------------------------------------------------------------------------- */

/* A chain as it is collected, before it has an element. */
struct chain {
    struct virtqueue *vq;
    unsigned seen; /* descriptors */
    unsigned out_n, in_n;
    uint64_t out_bytes, in_bytes;
    struct iovec out[LIMIT_VIRTQUEUE_CHAIN], in[LIMIT_VIRTQUEUE_CHAIN];
    gpa_t in_gpa[LIMIT_VIRTQUEUE_CHAIN];
};

/* Adds one piece that lies in one stretch of RAM. Returns what is wrong, or NULL. */
static const char *add_piece(struct chain *c, void *host, gpa_t gpa, uint64_t length, bool write)
{
    unsigned *n = write ? &c->in_n : &c->out_n;

    if (*n == LIMIT_VIRTQUEUE_CHAIN)
        return "a buffer has too many pieces";
    (write ? c->in : c->out)[*n] = (struct iovec){host, length};
    if (write)
        c->in_gpa[*n] = gpa;
    *(write ? &c->in_bytes : &c->out_bytes) += length;
    ++*n;
    return NULL;
}

static const char *add_descriptor(struct chain *c, const struct vring_desc *d)
{
    bool write = d->flags & VRING_DESC_F_WRITE;
    gpa_t gpa = d->addr;
    uint64_t left = d->len;
    const char *wrong = NULL;

    if (!write && c->in_n)
        return "a readable descriptor follows a writable one";
    if (c->out_bytes + c->in_bytes + left > UINT32_MAX)
        return "a buffer is longer than 4 GiB";
    while (left && !wrong) {
        struct mem_view v;
        mem_map_lookup(c->vq->dev->env.mem, gpa, &v);
        if (!mem_view_is_dma(&v, write))
            return "a descriptor's address is not in RAM";
        uint64_t part = MIN(left, v.length);
        wrong = add_piece(c, v.host, gpa, part, write);
        gpa += part;
        left -= part;
    }
    return wrong;
}

/* The table that descriptor D points at; its length in N. */
static const struct vring_desc *indirect_table(struct chain *c, const struct vring_desc *d,
                                               unsigned *n, const char **wrong)
{
    const struct vring_desc *table = NULL;

    if (!virtio_has_feature(c->vq->dev, VIRTIO_RING_F_INDIRECT_DESC))
        *wrong = "an indirect descriptor was not negotiated";
    else if (d->flags & VRING_DESC_F_NEXT)
        *wrong = "an indirect descriptor has a successor";
    else if (!d->len || d->len % sizeof(*table) || d->len / sizeof(*table) > LIMIT_VIRTQUEUE_CHAIN)
        *wrong = "an indirect table has a bad length";
    else if (!(table = mem_map_host(c->vq->dev->env.mem, d->addr, d->len, false)))
        *wrong = "an indirect table is not in RAM";
    *n = d->len / sizeof(*table);
    return table;
}

static struct vring_desc load_descriptor(const struct vring_desc *p)
{
    struct vring_desc d;

    memcpy(&d, p, sizeof(d));
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the copy is what is used from here on */
    d.addr = LE64(d.addr);
    d.len = LE32(d.len);
    d.flags = LE16(d.flags);
    d.next = LE16(d.next);
    return d;
}

/* Follows the chain from HEAD. Returns what is wrong, or NULL. */
static const char *collect(struct chain *c, unsigned head)
{
    const struct vring_desc *table = c->vq->desc_host;
    unsigned n = c->vq->num, i = head;
    bool indirect = false;
    const char *wrong = NULL;

    for (;;) {
        if (i >= n)
            return "a descriptor index is outside the table";
        struct vring_desc d = load_descriptor(&table[i]);
        if (++c->seen > LIMIT_VIRTQUEUE_CHAIN)
            return "a descriptor chain is too long or a loop";
        if (d.flags & VRING_DESC_F_INDIRECT) {
            if (indirect)
                return "an indirect table is inside another";
            table = indirect_table(c, &d, &n, &wrong);
            if (wrong)
                return wrong;
            indirect = true;
            i = 0;
            continue;
        }
        wrong = add_descriptor(c, &d);
        if (wrong || !(d.flags & VRING_DESC_F_NEXT))
            return wrong;
        i = d.next;
    }
}

/* An element of SIZE bytes with the lists of C behind it. */
static struct virtqueue_element *element_new(const struct chain *c, size_t size)
{
    size_t out_at = ALIGN_UP(size, sizeof(void *));
    size_t in_at = out_at + c->out_n * sizeof(struct iovec);
    size_t gpa_at = in_at + c->in_n * sizeof(struct iovec);
    char *p = g_malloc(gpa_at + c->in_n * sizeof(gpa_t));
    struct virtqueue_element *e = (struct virtqueue_element *)p;

    memset(p, 0, size);
    e->vq = c->vq;
    e->out_n = c->out_n;
    e->in_n = c->in_n;
    e->out_bytes = c->out_bytes;
    e->in_bytes = c->in_bytes;
    e->out = memcpy(p + out_at, c->out, c->out_n * sizeof(struct iovec));
    e->in = memcpy(p + in_at, c->in, c->in_n * sizeof(struct iovec));
    e->in_gpa = memcpy(p + gpa_at, c->in_gpa, c->in_n * sizeof(gpa_t));
    return e;
}

bool virtqueue_has_buffers(struct virtqueue *vq)
{
    if (!usable(vq))
        return false;
    return vq->last_avail != vq->shadow_avail || (look(vq) && vq->last_avail != vq->shadow_avail);
}

void *virtqueue_pop(struct virtqueue *vq, size_t size)
{
    struct chain c;

    g_assert(size >= sizeof(struct virtqueue_element));
    if (!virtqueue_has_buffers(vq))
        return NULL;
    if (vq->in_turn && vq->share == 0) {
        virtqueue_kick(vq);
        return NULL;
    }
    c.vq = vq;
    c.seen = c.out_n = c.in_n = 0;
    c.out_bytes = c.in_bytes = 0;
    uint16_t head =
        LE16(__atomic_load_n(&vq->avail_host->ring[vq->last_avail % vq->num], __ATOMIC_RELAXED));
    const char *wrong = collect(&c, head);
    if (wrong) {
        virtio_device_error(vq->dev, wrong);
        return NULL;
    }
    struct virtqueue_element *e = element_new(&c, size);
    e->head = head;
    vq->last_avail++;
    vq->share -= vq->in_turn;
    vq->in_flight++;
    vq->dev->in_flight++;
    return e;
}

/* --- giving it back --------------------------------------------------------------------------- */

static void element_free(struct virtqueue_element *e)
{
    struct virtqueue *vq = e->vq;

    g_free(e);
    vq->in_flight--;
    vq->dev->in_flight--;
    virtio__settled(vq->dev);
}

/* The first WRITTEN bytes of the element's memory changed. */
static void element_written(const struct virtqueue_element *e, uint32_t written)
{
    uint64_t left = written;

    for (unsigned i = 0; i < e->in_n && left; i++) {
        uint64_t part = MIN(left, e->in[i].iov_len);
        mem_map_written(e->vq->dev->env.mem, e->in_gpa[i], part);
        left -= part;
    }
}

void virtqueue_push_many(struct virtqueue_element **elements, const uint32_t *written, unsigned n)
{
    struct virtqueue *vq = elements[0]->vq;
    bool ring = vq->running && !vq->dev->error;

    for (unsigned i = 0; i < n; i++) {
        element_written(elements[i], written[i]);
        if (!ring)
            continue;
        struct vring_used_elem *u = &vq->used_host->ring[(uint16_t)(vq->used_idx + i) % vq->num];
        *u = (struct vring_used_elem){LE32(elements[i]->head), LE32(written[i])};
        used_written(vq, u, sizeof(*u));
    }
    if (ring) {
        vq->used_idx = (uint16_t)(vq->used_idx + n);
        __atomic_store_n(&vq->used_host->idx, LE16(vq->used_idx), __ATOMIC_RELEASE);
        used_written(vq, &vq->used_host->idx, 2);
    }
    for (unsigned i = 0; i < n; i++)
        element_free(elements[i]);
}

void virtqueue_push(struct virtqueue_element *element, uint32_t written)
{
    virtqueue_push_many(&element, &written, 1);
}

void virtqueue_unpop(struct virtqueue_element *element)
{
    element->vq->last_avail--;
    element_free(element);
}

bool virtqueue_park(struct virtqueue_element *element)
{
    struct virtio_device *dev = element->vq->dev;

    if (!dev->started || dev->reset_waiting || element->vq->reset_waiting)
        return false;
    dev->parked++;
    virtio__settled(dev);
    return true;
}

void virtqueue_unpark(struct virtqueue_element *element)
{
    g_assert(element->vq->dev->parked > 0);
    element->vq->dev->parked--;
}

void virtqueue_drop(struct virtqueue_element *element)
{
    element_free(element);
}

/* Whether the driver wants to hear of what was used since the last call (2.7.7.2). */
static bool interrupt_wanted(struct virtqueue *vq)
{
    uint16_t before = vq->signalled;

    if (vq->used_idx == before)
        return false;
    vq->signalled = vq->used_idx;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (virtio_has_feature(vq->dev, VIRTIO_RING_F_EVENT_IDX))
        return vring_need_event(used_event(vq), vq->used_idx, before);
    return !(LE16(__atomic_load_n(&vq->avail_host->flags, __ATOMIC_RELAXED)) &
             VRING_AVAIL_F_NO_INTERRUPT);
}

void virtqueue_notify(struct virtqueue *vq)
{
    if (vq->running && !vq->dev->error && interrupt_wanted(vq))
        vq->dev->transport->interrupt(vq->dev->transport_opaque, vq);
}
