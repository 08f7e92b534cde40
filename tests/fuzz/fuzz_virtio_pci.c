/*
 * PCI and virtio registers: the input is a list of accesses of 12 bytes: what (configuration
 * space, BAR 0, BAR 2, a turn of the loop), size, device, offset, value.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_rig.h"

#include <linux/virtio_mem.h>
#include <linux/virtio_pci.h>

struct access {
    uint8_t what; /* 0..2: where; 3: the loop turns; bit 7: read */
    uint8_t size; /* log2 */
    uint8_t device;
    uint8_t unused;
    uint16_t offset;
    uint16_t high; /* bits 48..63 of the value */
    uint32_t value;
};
G_STATIC_ASSERT(sizeof(struct access) == 12);

static void do_access(struct rig *r, const struct access *a)
{
    unsigned device = a->device % RIG_DEVICES, size = 1u << (a->size & 3);
    const gpa_t bases[] = {RIG_ECAM + ((device + 1) << 15), rig_bar(device),
                           rig_bar(device) + 0x8000};
    const unsigned sizes[] = {PCI_CONFIG_SIZE, 0x4000, 0x1000};
    unsigned what = a->what & 3;

    if (what == 3) {
        rig_turn(r, 1);
        rig_poke(r);
        return;
    }
    gpa_t at = bases[what] + (a->offset % sizes[what] & ~(size - 1));
    if (a->what & 0x80)
        rig_read(r, at, size);
    else
        rig_write(r, at, size, a->value | (uint64_t)a->high << 48);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig *r = rig_get();
    struct access a;

    for (unsigned i = 0; i < RIG_DEVICES; i++)
        rig_map(r, i);
    for (; size >= sizeof(a); data += sizeof(a), size -= sizeof(a)) {
        memcpy(&a, data, sizeof(a));
        do_access(r, &a);
    }
    rig_turn(r, 2);
    rig_reset(r);
    return 0;
}

/* A driver that starts device N and rings its first queue. */
bool fuzz_seed(unsigned n, GByteArray *out)
{
    const struct access start[] = {
        {1, 2, (uint8_t)n, 0, VIRTIO_PCI_COMMON_GF, 0,
         n == RIG_MEMORY ? 1 << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE : 0},
        {1, 2, (uint8_t)n, 0, VIRTIO_PCI_COMMON_GFSELECT, 0, 1},
        {1, 2, (uint8_t)n, 0, VIRTIO_PCI_COMMON_GF, 0, 1},
        {1, 0, (uint8_t)n, 0, VIRTIO_PCI_COMMON_STATUS, 0, VIRTIO_CONFIG_S_FEATURES_OK},
        {1, 1, (uint8_t)n, 0, VIRTIO_PCI_COMMON_Q_SIZE, 0, 16},
        {1, 2, (uint8_t)n, 0, VIRTIO_PCI_COMMON_Q_DESCLO, 0, RIG_RAM},
        {1, 2, (uint8_t)n, 0, VIRTIO_PCI_COMMON_Q_AVAILLO, 0, RIG_RAM + 256},
        {1, 2, (uint8_t)n, 0, VIRTIO_PCI_COMMON_Q_USEDLO, 0, RIG_RAM + 512},
        {1, 1, (uint8_t)n, 0, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 1},
        {1, 0, (uint8_t)n, 0, VIRTIO_PCI_COMMON_STATUS, 0,
         VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK},
        {3, 0, 0, 0, 0, 0, 0},
        {1, 1, (uint8_t)n, 0, 0x3000, 0, 0},
        {0x81, 0, (uint8_t)n, 0, 0x1000, 0, 0},
        {0x80, 2, (uint8_t)n, 0, 0x90, 0, 0},
        {0, 1, (uint8_t)n, 0, 4, 0, 6},
        {2, 3, (uint8_t)n, 0, 0, 0, 0xfee00000},
    };

    if (n >= RIG_DEVICES)
        return false;
    g_byte_array_append(out, (const guint8 *)start, sizeof(start));
    return true;
}
