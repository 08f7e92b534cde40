/*
 * BARs. One whose registers the kernel lets be mapped is shown to the guest as RAM, unless its
 * MSI-X table is in it. What is not shown comes here, an access at a time, and goes to the mapping
 * where there is one, else through the kernel; the table is the bus's (machine/bus).
 */
#include "gpu/vfio/vfio_priv.h"

#include <errno.h>
#include <sys/mman.h>

/* --- accesses --------------------------------------------------------------------------------- */

static uint64_t read_mapped(const uint8_t *at, unsigned size)
{
    switch (size) {
    case 1:
        return *(const volatile uint8_t *)at;
    case 2:
        return *(const volatile uint16_t *)(const void *)at;
    case 4:
        return *(const volatile uint32_t *)(const void *)at;
    default:
        return *(const volatile uint64_t *)(const void *)at;
    }
}

static void write_mapped(uint8_t *at, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)at = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)(void *)at = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)(void *)at = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)(void *)at = value;
        break;
    }
}

/* All ones where the device does not answer. The map lets nothing through that crosses the BAR's
 * end. */
static int bar_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    const struct vfio_bar *bar = opaque;
    uint64_t got = 0;

    if (pci_function_msix_at(bar->device->pci, bar->index, offset, size))
        pci_function_msix_read(bar->device->pci, bar->index, offset, size, value);
    else if (bar->memory)
        *value = read_mapped(bar->memory->host + offset, size);
    else if (vfio__read(bar->device, &bar->region, offset, &got, size))
        *value = got;
    else
        *value = UINT64_MAX >> (64 - 8 * size);
    return 0;
}

static int bar_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    const struct vfio_bar *bar = opaque;

    if (pci_function_msix_at(bar->device->pci, bar->index, offset, size)) {
        pci_function_msix_write(bar->device->pci, bar->index, offset, size, value);
        vfio__irq_table(bar->device);
        return 0;
    }
    if (bar->memory)
        write_mapped(bar->memory->host + offset, size, value);
    else
        vfio__write(bar->device, &bar->region, offset, &value, size);
    vfio__irq_answered(bar->device);
    return 0;
}

static const struct mem_device_ops bar_ops = {
    .read = bar_read, .write = bar_write, .sizes = 1 | 2 | 4 | 8};

/* --- making them ------------------------------------------------------------------------------ */

/* The bits of the BAR that has an MSI-X table, of the host's CONFIG; or 0. */
static unsigned table_bars(const uint8_t *config)
{
    unsigned at = config[PCI_CAPABILITY_LIST] & ~3u, bars = 0;

    /* As many steps as there is room for capabilities: a list may be a ring. */
    for (unsigned n = 0; n < 48 && at >= PCI_STD_HEADER_SIZEOF; n++) {
        if (config[at] == PCI_CAP_ID_MSIX && at + PCI_CAP_MSIX_SIZEOF <= 256)
            bars |= 1u << (config[at + PCI_MSIX_TABLE] & PCI_MSIX_TABLE_BIR) |
                    1u << (config[at + PCI_MSIX_PBA] & PCI_MSIX_PBA_BIR);
        at = config[at + PCI_CAP_LIST_NEXT] & ~3u;
    }
    return bars;
}

static bool map_registers(struct vfio_bar *bar, GError **err)
{
    const struct vfio_device *d = bar->device;
    bool writable = bar->region.flags & VFIO_REGION_INFO_FLAG_WRITE;

    if (!(bar->region.flags & VFIO_REGION_INFO_FLAG_MMAP) || bar->region.size < MEM_PAGE_SIZE)
        return true;
    void *at = d->sys->map(d->sys->opaque, d->fd, bar->region.size, writable, bar->region.offset);
    if (!at)
        return true; /* then by the kernel */
    bar->memory = mem_ram_wrap(bar->name, at, bar->region.size, err);
    if (!bar->memory)
        munmap(at, bar->region.size);
    return bar->memory != NULL;
}

static bool make_bar(struct vfio_bar *bar, uint32_t word, bool table, GError **err)
{
    struct vfio_device *d = bar->device;
    uint64_t size = bar->region.size;
    bool wide = (word & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    unsigned flags =
        (wide ? PCI_BAR_64 : 0) | (word & PCI_BASE_ADDRESS_MEM_PREFETCH ? PCI_BAR_PREFETCH : 0);

    if (size < 16 || size & (size - 1) || (!wide && size > GIB(2)) ||
        (wide && bar->index == PCI_BARS - 1))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "its BAR %u makes no sense", bar->index);
    bar->name = g_strdup_printf("%s BAR %u", d->address, bar->index);
    if (!map_registers(bar, err))
        return false;
    bar->shown = bar->memory && !table && bar->region.flags & VFIO_REGION_INFO_FLAG_WRITE;
    if (bar->shown)
        pci_function_add_memory_bar(d->pci, bar->index, flags, bar->memory);
    else
        pci_function_add_bar(d->pci, bar->index, size, flags, bar->name, &bar_ops, bar);
    return true;
}

bool vfio__make_bars(struct vfio_device *d, const uint8_t *config, GError **err)
{
    unsigned tables = table_bars(config);

    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint32_t word = vfio__get32(config + PCI_BASE_ADDRESS_0 + 4 * i);
        bool wide = (word & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
        if (!d->bars[i].region.size || word & PCI_BASE_ADDRESS_SPACE_IO)
            continue;
        if (!make_bar(&d->bars[i], word, tables >> i & 1, err))
            return false;
        i += wide; /* the next is its upper half */
    }
    return true;
}

void vfio__free_bars(struct vfio_device *d)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (d->bars[i].shown)
            mem_map_forget_ram(vfio__mem(d->container), d->bars[i].memory);
        mem_ram_free(d->bars[i].memory);
        g_free(d->bars[i].name);
    }
}
