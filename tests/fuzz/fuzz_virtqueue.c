/*
 * Virtqueues: the input is what a driver wrote to its rings.
 *
 * Byte 0 picks the device, byte 1 features; the rest lies at the start of RAM: a table of 16
 * descriptors, the available ring, and from 512 on whatever descriptors point at. All queues of
 * the device use it, each with a used ring of its own. Then every queue is rung, twice.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_rig.h"

#include <linux/virtio_console.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_pci.h>

#define QUEUE_SIZE 16
#define AVAIL_AT   256
#define DATA_AT    512
#define USED_AT    KIB(128)
#define INPUT_MOST KIB(64)

static void set_up(struct rig *r, unsigned device, uint8_t features)
{
    gpa_t bar = rig_bar(device);
    uint64_t take = r->devices[device]->offered;

    take &= features & 1 ? UINT64_MAX : ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX);
    take &= features & 2 ? UINT64_MAX : ~VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
    take &= features & 4 ? UINT64_MAX : ~(uint64_t)UINT32_MAX;
    rig_map(r, device);
    for (unsigned i = 0; i < 2; i++) {
        rig_write(r, bar + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        rig_write(r, bar + VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(take >> 32 * i));
    }
    rig_write(r, bar + VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned q = 0; q < r->devices[device]->n_queues; q++) {
        rig_write(r, bar + VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
        rig_write(r, bar + VIRTIO_PCI_COMMON_Q_SIZE, 2, QUEUE_SIZE);
        rig_write(r, bar + VIRTIO_PCI_COMMON_Q_DESCLO, 4, RIG_RAM);
        rig_write(r, bar + VIRTIO_PCI_COMMON_Q_AVAILLO, 4, RIG_RAM + AVAIL_AT);
        rig_write(r, bar + VIRTIO_PCI_COMMON_Q_USEDLO, 4, RIG_RAM + USED_AT + 256 * q);
        rig_write(r, bar + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    }
    rig_write(r, bar + VIRTIO_PCI_COMMON_STATUS, 1,
              VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig *r = rig_get();

    if (size < 2)
        return 0;
    unsigned device = data[0] % RIG_DEVICES;
    memset(r->ram->host, 0, KIB(132));
    memcpy(r->ram->host, data + 2, MIN(size - 2, INPUT_MOST));
    set_up(r, device, data[1]);
    for (unsigned round = 0; round < 2; round++) {
        rig_turn(r, 2);
        rig_poke(r);
        for (unsigned q = 0; q < r->devices[device]->n_queues; q++)
            rig_write(r, rig_bar(device) + 0x3000 + 4 * q, 2, q);
        rig_turn(r, 2);
    }
    rig_reset(r);
    return 0;
}

/* Commands of the SCSI adapter, by their first bytes; data go out with those that SENDS has a bit for. */
static const uint8_t cdbs[][16] = {
    {0x2a, 8, 0, 0, 0, 1, 0, 0, 2}, {0x93, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9},
    {0x42, 0, 0, 0, 0, 0, 0, 0, 40}, {0x8f, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},
    {0x0a, 0, 0, 1, 1}, {0x00}, {0x03, 0, 0, 0, 18}, {0x12, 1, 0x83, 0, 96}, {0x1a, 0, 0x3f, 0, 96},
    {0x1b}, {0x25}, {0x28, 0, 0, 0, 0, 1, 0, 0, 4}, {0x35}, {0x5a, 0x10, 8, 0, 0, 0, 0, 1},
    {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}, {0x9e, 0x10, [13] = 32}, {0xa0, [8] = 1},
    {0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 2}, {0xaf, 0, 0, 0, 0, 1, 0, 0, 0, 9},
};
#define SENDS 5 /* those at the start */

/* One command for unit 2, in a chain that all queues have. */
static void scsi_seed(unsigned n, GByteArray *out)
{
    const uint8_t head[2] = {RIG_SCSI, 7};
    uint8_t ram[DATA_AT + 1200] = {0};
    bool sends = n < SENDS;
    const struct vring_desc chain[] = {
        {GUINT64_TO_LE(RIG_RAM + DATA_AT), GUINT32_TO_LE(sends ? 51 + 1024 : 51), VRING_DESC_F_NEXT,
         GUINT16_TO_LE(1)},
        {GUINT64_TO_LE(RIG_RAM + KIB(64)), GUINT32_TO_LE(sends ? 108 : 4096), VRING_DESC_F_WRITE, 0},
    };

    memcpy(ram, chain, sizeof(chain));
    ram[AVAIL_AT + 2] = 1;
    ram[DATA_AT] = 1;
    ram[DATA_AT + 3] = 2;
    memcpy(ram + DATA_AT + 19, cdbs[n], sizeof(cdbs[n]));
    g_byte_array_append(out, head, sizeof(head));
    g_byte_array_append(out, ram, sizeof(ram));
}

/* MESSAGES, N of SIZE bytes, each with room for an answer, in chains of two. */
static void messages_seed(unsigned device, const void *messages, unsigned n, unsigned size,
                          GByteArray *out)
{
    const uint8_t head[2] = {(uint8_t)device, 7};
    struct vring_desc d[(DATA_AT + 256) / sizeof(struct vring_desc)] = {{0}};
    uint16_t *avail = (uint16_t *)(d + AVAIL_AT / sizeof(*d));

    g_assert(2 * n <= QUEUE_SIZE && n * size <= 256);
    memcpy((uint8_t *)d + DATA_AT, messages, (size_t)n * size);
    for (unsigned i = 0; i < n; i++) {
        d[2 * i] =
            (struct vring_desc){GUINT64_TO_LE(RIG_RAM + DATA_AT + size * i), GUINT32_TO_LE(size),
                                GUINT16_TO_LE(VRING_DESC_F_NEXT), GUINT16_TO_LE(2 * i + 1)};
        d[2 * i + 1] = (struct vring_desc){GUINT64_TO_LE(RIG_RAM + KIB(64) + 64 * i),
                                           GUINT32_TO_LE(64), GUINT16_TO_LE(VRING_DESC_F_WRITE), 0};
        avail[2 + i] = GUINT16_TO_LE(2 * i);
    }
    avail[1] = GUINT16_TO_LE(n);
    g_byte_array_append(out, head, sizeof(head));
    g_byte_array_append(out, (const guint8 *)d, sizeof(d));
}

/* What a driver of several ports says to a console. */
static void console_seed(GByteArray *out)
{
    static const struct virtio_console_control messages[] = {
        {0, VIRTIO_CONSOLE_DEVICE_READY, 1}, {0, VIRTIO_CONSOLE_PORT_READY, 1},
        {1, VIRTIO_CONSOLE_PORT_READY, 1},   {1, VIRTIO_CONSOLE_PORT_OPEN, 1},
        {1, VIRTIO_CONSOLE_PORT_OPEN, 0},
    };

    messages_seed(1, messages, G_N_ELEMENTS(messages), sizeof(*messages), out);
}

/* Blocks of memory come and go: one request of each kind, and some more. */
static void memory_seed(GByteArray *out)
{
    static const struct {
        uint16_t type, blocks;
        uint64_t at;
    } rows[] = {
        {VIRTIO_MEM_REQ_PLUG, 2, 1},   {VIRTIO_MEM_REQ_PLUG, 3, 4}, {VIRTIO_MEM_REQ_STATE, 3, 0},
        {VIRTIO_MEM_REQ_UNPLUG, 1, 2}, {VIRTIO_MEM_REQ_UNPLUG_ALL}, {VIRTIO_MEM_REQ_PLUG, 1, 0},
    };
    struct virtio_mem_req messages[G_N_ELEMENTS(rows)] = {{0}};

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        messages[i].type = GUINT16_TO_LE(rows[i].type);
        messages[i].u.plug.addr = GUINT64_TO_LE(RIG_ROOM + rows[i].at * RIG_BLOCK);
        messages[i].u.plug.nb_blocks = GUINT16_TO_LE(rows[i].blocks);
    }
    messages_seed(RIG_MEMORY, messages, G_N_ELEMENTS(rows), sizeof(*messages), out);
}

static bool other_seed(size_t n, GByteArray *out)
{
    static void (*const seeds[])(GByteArray * out) = {console_seed, memory_seed};

    if (n < G_N_ELEMENTS(seeds))
        seeds[n](out);
    return n < G_N_ELEMENTS(seeds);
}

/* Device N % RIG_DEVICES with, by N / RIG_DEVICES: one chain, an indirect one, a full ring; then
 * commands, a console's ports, and blocks of memory. */
bool fuzz_seed(unsigned n, GByteArray *out)
{
    if (n >= 3 * RIG_DEVICES && n < 3 * RIG_DEVICES + G_N_ELEMENTS(cdbs)) {
        scsi_seed(n - 3 * RIG_DEVICES, out);
        return true;
    }
    if (n >= 3 * RIG_DEVICES + G_N_ELEMENTS(cdbs))
        return other_seed(n - 3 * RIG_DEVICES - G_N_ELEMENTS(cdbs), out);
    const uint8_t head[2] = {(uint8_t)(n % RIG_DEVICES), 7};
    struct vring_desc d[(DATA_AT + 256) / sizeof(struct vring_desc)] = {{0}};
    struct vring_desc *indirect = d + DATA_AT / sizeof(*d);
    uint16_t *avail = (uint16_t *)(d + AVAIL_AT / sizeof(*d));
    const struct vring_desc chain[] = {
        {GUINT64_TO_LE(RIG_RAM + DATA_AT + 64), GUINT32_TO_LE(100), VRING_DESC_F_NEXT, 1},
        {GUINT64_TO_LE(RIG_RAM + KIB(64)), GUINT32_TO_LE(4096), VRING_DESC_F_WRITE, 0},
    };

    avail[1] = GUINT16_TO_LE(n / RIG_DEVICES == 2 ? QUEUE_SIZE : 1);
    memcpy(n / RIG_DEVICES == 1 ? indirect : d, chain, sizeof(chain));
    if (n / RIG_DEVICES == 1)
        *d = (struct vring_desc){GUINT64_TO_LE(RIG_RAM + DATA_AT), GUINT32_TO_LE(sizeof(chain)),
                                 VRING_DESC_F_INDIRECT, 0};
    g_byte_array_append(out, head, sizeof(head));
    g_byte_array_append(out, (const guint8 *)d, sizeof(d));
    return true;
}
