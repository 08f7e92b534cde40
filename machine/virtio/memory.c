/*
 * virtio-mem. Which blocks are plugged is in PLUGGED, which is saved, and in the bits of the RAM,
 * which is what everybody else looks at; the two agree but within a request. A request costs at
 * most what its blocks do, and one of the guest's making can only reach blocks of this stretch.
 */
#include "machine/virtio/memory.h"

#include <linux/virtio_mem.h>

/* After so many requests the queue has had its turn. */
#define REQUESTS_A_TURN 16

struct memory {
    struct virtio_device vdev;
    struct mem_ram *ram;
    uint64_t bytes; /* plugged */
    uint64_t plugged[LIMIT_MEMORY_BLOCKS / 64];
    void (*changed)(void *opaque); /* NULL: nobody watches */
    void *changed_opaque;
};

G_STATIC_ASSERT(LIMIT_MEMORY_BLOCKS % 64 == 0);
G_STATIC_ASSERT(sizeof(struct virtio_mem_req) == 24 && sizeof(struct virtio_mem_resp) == 10);
G_STATIC_ASSERT(sizeof(struct virtio_mem_config) == 56);

static const struct state_field memory_fields[] = {
    STATE_FIELD_U64(struct memory, bytes, 1),
    STATE_FIELD_U64(struct memory, plugged, 1),
};
static const struct state_desc memory_state = {"virtio-mem", 1, sizeof(struct memory),
                                               G_N_ELEMENTS(memory_fields), memory_fields};

static uint64_t block_bytes(const struct memory *m)
{
    return UINT64_C(1) << m->ram->block_shift;
}

static uint64_t block_count(const struct memory *m)
{
    return m->ram->size >> m->ram->block_shift;
}

static bool is_plugged(const struct memory *m, uint64_t block)
{
    return m->plugged[block / 64] >> block % 64 & 1;
}

/* --- configuration ---------------------------------------------------------------------------- */

#define CONFIG(member) offsetof(struct virtio_mem_config, member)

static uint64_t config_u64(struct virtio_device *dev, unsigned offset)
{
    uint64_t v;

    virtio_config_get(dev, offset, &v, sizeof(v));
    return GUINT64_FROM_LE(v);
}

static void config_set(struct virtio_device *dev, unsigned offset, uint64_t value)
{
    uint64_t le = GUINT64_TO_LE(value);

    virtio_config_set(dev, offset, &le, sizeof(le));
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* N blocks from FIRST are plugged now, or not. Who made the request knows: no configuration
 * interrupt (5.15.4). */
static void note(struct memory *m, uint64_t first, uint64_t n, bool plugged)
{
    for (uint64_t b = first; b < first + n; b++) {
        uint64_t bit = UINT64_C(1) << b % 64;
        m->plugged[b / 64] = plugged ? m->plugged[b / 64] | bit : m->plugged[b / 64] & ~bit;
    }
    m->bytes = plugged ? m->bytes + n * block_bytes(m) : m->bytes - n * block_bytes(m);
    uint64_t le = GUINT64_TO_LE(m->bytes);
    virtio_config_set_silently(&m->vdev, CONFIG(plugged_size), &le, sizeof(le));
    if (m->changed)
        m->changed(m->changed_opaque);
}

/* How many blocks from FIRST, of at most N, are as the first one is. */
static uint64_t alike(const struct memory *m, uint64_t first, uint64_t n)
{
    uint64_t i = 1;

    while (i < n && is_plugged(m, first + i) == is_plugged(m, first))
        i++;
    return i;
}

static bool unplug(struct memory *m, uint64_t first, uint64_t n)
{
    if (!mem_map_unplug(m->vdev.env.mem, m->ram, first * block_bytes(m), n * block_bytes(m)))
        return false;
    note(m, first, n, false);
    return true;
}

static bool unplug_all(struct memory *m)
{
    bool ok = true;

    for (uint64_t b = 0, n; b < block_count(m); b += n) {
        n = alike(m, b, block_count(m) - b);
        if (is_plugged(m, b))
            ok &= unplug(m, b, n);
    }
    return ok;
}

/* --- requests (5.15.6) ------------------------------------------------------------------------ */

static uint16_t plug_request(struct memory *m, uint64_t first, uint64_t n)
{
    if (is_plugged(m, first) || alike(m, first, n) < n)
        return VIRTIO_MEM_RESP_ERROR;
    if (m->bytes + n * block_bytes(m) > virtio_mem_requested(&m->vdev))
        return VIRTIO_MEM_RESP_NACK;
    mem_map_plug(m->vdev.env.mem, m->ram, first * block_bytes(m), n * block_bytes(m));
    note(m, first, n, true);
    return VIRTIO_MEM_RESP_ACK;
}

static uint16_t unplug_request(struct memory *m, uint64_t first, uint64_t n)
{
    if (!is_plugged(m, first) || alike(m, first, n) < n)
        return VIRTIO_MEM_RESP_ERROR;
    return unplug(m, first, n) ? VIRTIO_MEM_RESP_ACK : VIRTIO_MEM_RESP_BUSY;
}

static uint16_t state_of(const struct memory *m, uint64_t first, uint64_t n)
{
    if (alike(m, first, n) < n)
        return VIRTIO_MEM_STATE_MIXED;
    return is_plugged(m, first) ? VIRTIO_MEM_STATE_PLUGGED : VIRTIO_MEM_STATE_UNPLUGGED;
}

/* What REQ, a copy, asks for is done or refused; RESP is filled in. */
static void serve(struct memory *m, const struct virtio_mem_req *req, struct virtio_mem_resp *resp)
{
    uint16_t type = GUINT16_FROM_LE(req->type), answer = VIRTIO_MEM_RESP_ERROR;
    /* All requests about blocks have the same form. */
    uint64_t offset = GUINT64_FROM_LE(req->u.plug.addr) - m->ram->gpa,
             n = GUINT16_FROM_LE(req->u.plug.nb_blocks);
    uint64_t first = offset >> m->ram->block_shift;
    bool fits = !(offset & (block_bytes(m) - 1)) && n && first < block_count(m) &&
                n <= block_count(m) - first;

    if (type == VIRTIO_MEM_REQ_UNPLUG_ALL) {
        answer = unplug_all(m) ? VIRTIO_MEM_RESP_ACK : VIRTIO_MEM_RESP_BUSY;
    } else if (fits && type == VIRTIO_MEM_REQ_PLUG) {
        answer = plug_request(m, first, n);
    } else if (fits && type == VIRTIO_MEM_REQ_UNPLUG) {
        answer = unplug_request(m, first, n);
    } else if (fits && type == VIRTIO_MEM_REQ_STATE) {
        answer = VIRTIO_MEM_RESP_ACK;
        resp->u.state.state = GUINT16_TO_LE(state_of(m, first, n));
    }
    resp->type = GUINT16_TO_LE(answer);
}

static void memory_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct memory *m = (struct memory *)dev;
    struct virtqueue_element *e;
    unsigned turns = 0;

    while (turns++ < REQUESTS_A_TURN && (e = virtqueue_pop(vq, sizeof(*e)))) {
        struct virtio_mem_req req;
        struct virtio_mem_resp resp = {0};
        if (e->in_bytes < sizeof(resp) ||
            iov_read(e->out, e->out_n, 0, &req, sizeof(req)) < sizeof(req)) {
            virtqueue_push(e, 0);
            virtio_device_error(
                dev, "a request of virtio-mem is too short, or there is no room for its answer");
            break;
        }
        serve(m, &req, &resp);
        virtqueue_push(e, (uint32_t)iov_write(e->in, e->in_n, 0, &resp, sizeof(resp)));
    }
    virtqueue_notify(vq);
    if (turns > REQUESTS_A_TURN)
        virtqueue_kick(vq);
}

/* --- the device ------------------------------------------------------------------------------- */

static bool memory_features_ok(const struct virtio_device *dev, uint64_t features)
{
    return features & VIRTIO_FEATURE(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
}

uint64_t virtio_mem_block(const struct virtio_device *dev)
{
    return block_bytes((const struct memory *)dev);
}

void virtio_mem_request(struct virtio_device *dev, uint64_t bytes)
{
    const struct memory *m = (struct memory *)dev;

    g_assert(bytes <= m->ram->size && !(bytes & (block_bytes(m) - 1)));
    config_set(dev, CONFIG(requested_size), bytes);
}

uint64_t virtio_mem_requested(struct virtio_device *dev)
{
    return config_u64(dev, CONFIG(requested_size));
}

uint64_t virtio_mem_plugged(const struct virtio_device *dev)
{
    return ((const struct memory *)dev)->bytes;
}

void virtio_mem_watch(struct virtio_device *dev, void (*changed)(void *opaque), void *opaque)
{
    struct memory *m = (struct memory *)dev;

    m->changed = changed;
    m->changed_opaque = opaque;
}

/* A reset of the device alone changes no block (5.15.6.1). */
void virtio_mem_system_reset(struct virtio_device *dev)
{
    unplug_all((struct memory *)dev);
}

/* What was saved is of this stretch; its blocks come and go as was saved. */
static bool memory_loaded(struct virtio_device *dev, GError **err)
{
    struct memory *m = (struct memory *)dev;
    uint64_t requested = virtio_mem_requested(dev), block = block_bytes(m), n = 0;

    for (uint64_t b = 0; b < LIMIT_MEMORY_BLOCKS; b++)
        n += is_plugged(m, b);
    for (uint64_t b = block_count(m); b < LIMIT_MEMORY_BLOCKS; b++)
        n += is_plugged(m, b) ? LIMIT_MEMORY_BLOCKS : 0;
    if (config_u64(dev, CONFIG(addr)) != m->ram->gpa ||
        config_u64(dev, CONFIG(region_size)) != m->ram->size ||
        config_u64(dev, CONFIG(usable_region_size)) != m->ram->size ||
        config_u64(dev, CONFIG(block_size)) != block || requested > m->ram->size ||
        requested & (block - 1) || m->bytes != n * block ||
        config_u64(dev, CONFIG(plugged_size)) != m->bytes)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "the saved state of virtio-mem is of another machine");
    for (uint64_t b = 0; b < block_count(m); b++) {
        if (is_plugged(m, b) == mem_ram_has(m->ram, b * block))
            continue;
        if (is_plugged(m, b))
            mem_map_plug(dev->env.mem, m->ram, b * block, block);
        else if (!mem_map_unplug(dev->env.mem, m->ram, b * block, block))
            return vmd_fail(err, VMD_ERROR_IO, "the host does not take memory back");
    }
    return true;
}

static void memory_free(struct virtio_device *dev)
{
    virtio_device_fini(dev);
    g_free(dev);
}

static const struct virtio_ops memory_ops = {
    .name = "virtio-mem",
    .id = VIRTIO_ID_MEM,
    .pci_class = 0xff0000,
    .state = &memory_state,
    .features_ok = memory_features_ok,
    .queue_notify = memory_notify,
    .loaded = memory_loaded,
    .free = memory_free,
};

uint64_t virtio_mem_block_bytes(uint64_t size)
{
    uint64_t block = MAX(MIB(2), (uint64_t)sysconf(_SC_PAGESIZE));

    while (size / block > LIMIT_MEMORY_BLOCKS)
        block *= 2;
    return block;
}

struct virtio_device *virtio_mem_new(const struct virtio_env *env, struct mem_ram *ram)
{
    static const uint16_t sizes[] = {128};
    struct memory *m = g_new0(struct memory, 1);

    m->ram = ram;
    g_assert(ram->there && block_count(m) <= LIMIT_MEMORY_BLOCKS);
    virtio_device_init(&m->vdev, &memory_ops, env,
                       VIRTIO_FEATURE(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE), 1, sizes,
                       sizeof(struct virtio_mem_config));
    config_set(&m->vdev, CONFIG(block_size), block_bytes(m));
    config_set(&m->vdev, CONFIG(addr), ram->gpa);
    config_set(&m->vdev, CONFIG(region_size), ram->size);
    config_set(&m->vdev, CONFIG(usable_region_size), ram->size);
    return &m->vdev;
}
