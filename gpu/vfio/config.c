/*
 * Configuration space. The guest's is made once, of what the host's device says of itself, and is
 * the bus's own from then on (machine/bus): what a guest writes there stays there. The host's is
 * written by this file alone, and of it only the command word: memory decoding, which is always on,
 * since the kernel takes registers away without it, and bus mastering, as the guest has it.
 *
 * The capabilities that a guest gets are a table. They are laid out anew, one after the other, so
 * that no list of a device's, however broken, is ever walked by a guest; what is not in the table
 * is not there, the extended configuration space among it. ROM and I/O BARs are not there either.
 */
#include "gpu/vfio/vfio_priv.h"

#define SPACE 256 /* bytes: the part that every function has */

enum { EXPRESS_BYTES = 60 }; /* of version 2's capability */

struct builder {
    struct vfio_device *device;
    const uint8_t *config; /* the host's */
    bool on_root;
};

/* --- capabilities ----------------------------------------------------------------------------- */

/* AT is that of a capability of the host's; at least LENGTH bytes of it are in CONFIG. False: it is
 * no good. */
typedef bool (*add_fn)(struct builder *b, unsigned at, GError **err);

/* The guest has what power states it likes; the device stays in D0, and so loses nothing. */
static bool add_pm(struct builder *b, unsigned at, GError **err)
{
    static const uint8_t writable[6] = {0, 0, PCI_PM_CTRL_STATE_MASK};
    uint8_t body[6] = {0};

    vfio__set16(body, vfio__get16(b->config + at + PCI_PM_PMC) & PCI_PM_CAP_VER_MASK);
    vfio__set16(body + 2, PCI_PM_CTRL_NO_SOFT_RESET);
    pci_function_add_capability(b->device->pci, PCI_CAP_ID_PM, body, writable, sizeof(body));
    return true;
}

static bool add_msi(struct builder *b, unsigned at, GError **err)
{
    struct vfio_device *d = b->device;
    uint16_t flags = vfio__get16(b->config + at + PCI_MSI_FLAGS);
    uint8_t body[22] = {0}, writable[22] = {0};
    size_t length;

    if (!d->messages || d->msi_cap)
        return true;
    d->msi_wide = flags & PCI_MSI_FLAGS_64BIT;
    d->msi_masks = flags & PCI_MSI_FLAGS_MASKBIT;
    d->messages = MIN(d->messages, 1u << MIN((flags & PCI_MSI_FLAGS_QMASK) >> 1, 5));
    vfio__set16(body, flags & (PCI_MSI_FLAGS_QMASK | PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT));
    vfio__set16(writable, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    vfio__set32(writable + 2, ~3u);
    if (d->msi_wide)
        vfio__set32(writable + 6, UINT32_MAX);
    length = d->msi_wide ? 12 : 8;
    vfio__set16(writable + length - 2, UINT16_MAX); /* the data */
    if (d->msi_masks) {
        length += 2; /* reserved */
        vfio__set32(writable + length, UINT32_MAX);
        length += 8; /* mask and pending bits */
    }
    d->msi_cap = pci_function_add_capability(d->pci, PCI_CAP_ID_MSI, body, writable, length);
    return true;
}

/* Whether BYTES at WHERE, an offset and the number of a BAR, are in a BAR. */
static bool is_in_bar(const struct vfio_device *d, uint32_t where, uint64_t bytes)
{
    unsigned bar = where & PCI_MSIX_TABLE_BIR;
    uint64_t offset = where & PCI_MSIX_TABLE_OFFSET;

    return bar < PCI_BARS && offset + bytes <= d->bars[bar].region.size;
}

static bool add_msix(struct builder *b, unsigned at, GError **err)
{
    struct vfio_device *d = b->device;
    uint32_t table = vfio__get32(b->config + at + PCI_MSIX_TABLE);
    uint32_t pba = vfio__get32(b->config + at + PCI_MSIX_PBA);
    unsigned n = (vfio__get16(b->config + at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;

    if (!d->vectors)
        return true;
    if (n != d->vectors || !is_in_bar(d, table, n * UINT64_C(16)) ||
        !is_in_bar(d, pba, ALIGN_UP(n, 64u) / 8))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "its MSI-X table is not where it says");
    pci_function_place_msix(d->pci, n, table, pba);
    return true;
}

/* What the link and the device can is the host's to use; a device on the root bus has no link
 * there. */
static bool add_express(struct builder *b, unsigned at, GError **err)
{
    uint8_t c[EXPRESS_BYTES] = {0}, w[EXPRESS_BYTES] = {0};
    unsigned type = b->on_root ? PCI_EXP_TYPE_RC_END : PCI_EXP_TYPE_ENDPOINT;

    vfio__set16(c + PCI_EXP_FLAGS, (uint16_t)(2 | type << 4));
    vfio__set32(c + PCI_EXP_DEVCAP,
                PCI_EXP_DEVCAP_RBER |
                    (vfio__get32(b->config + at + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_PAYLOAD));
    vfio__set16(c + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_READRQ_512B);
    vfio__set16(w + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
                                        PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE |
                                        PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ);
    if (!b->on_root) {
        uint32_t link = vfio__get32(b->config + at + PCI_EXP_LNKCAP);
        link &= PCI_EXP_LNKCAP_SLS | PCI_EXP_LNKCAP_MLW;
        vfio__set32(c + PCI_EXP_LNKCAP, link | 1u << 22); /* 7.5.3.6: always set */
        vfio__set16(c + PCI_EXP_LNKSTA, (uint16_t)(link | PCI_EXP_LNKSTA_SLC));
        vfio__set16(w + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_CCC);
    }
    pci_function_add_capability(b->device->pci, PCI_CAP_ID_EXP, c + 2, w + 2, sizeof(c) - 2);
    return true;
}

/* A vendor's own: to be read, as it was when the device was opened. Its third byte is its length.
 */
static bool add_vendor(struct builder *b, unsigned at, GError **err)
{
    unsigned length = b->config[at + 2];

    if (length >= 3 && at + length <= SPACE)
        pci_function_add_capability(b->device->pci, PCI_CAP_ID_VNDR, b->config + at + 2, NULL,
                                    length - 2);
    return true;
}

/* All that a guest gets, in the order in which it gets them: what has a length of its own choice
 * comes last. MSI-X is laid out by the bus, behind them. */
static const struct {
    uint8_t id;
    uint8_t length; /* of what is read here */
    bool once;
    add_fn add;
} capabilities[] = {
    {PCI_CAP_ID_PM, PCI_PM_SIZEOF, true, add_pm},
    {PCI_CAP_ID_MSI, PCI_MSI_FLAGS + 2, true, add_msi},
    {PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, true, add_msix},
    {PCI_CAP_ID_EXP, PCI_EXP_LNKCAP + 4, true, add_express},
    {PCI_CAP_ID_VNDR, 3, false, add_vendor},
};

enum { MOST_BYTES = 256 - 12 }; /* of capabilities, before MSI-X */

/* Offsets of the host's capabilities in their list's order; N of them. A list that comes back to
 * itself ends there. */
static unsigned walk(const uint8_t *c, uint8_t *at)
{
    bool seen[SPACE] = {false};
    unsigned n = 0;

    if (!(vfio__get16(c + PCI_STATUS) & PCI_STATUS_CAP_LIST))
        return 0;
    for (unsigned i = c[PCI_CAPABILITY_LIST] & ~3u; i >= PCI_STD_HEADER_SIZEOF && !seen[i];
         i = c[i + PCI_CAP_LIST_NEXT] & ~3u) {
        seen[i] = true;
        at[n++] = (uint8_t)i;
    }
    return n;
}

/* Bytes that the largest form of a capability at AT takes here. */
static unsigned room_for(const struct builder *b, unsigned row, unsigned at)
{
    switch (capabilities[row].id) {
    case PCI_CAP_ID_MSI:
        return 24;
    case PCI_CAP_ID_EXP:
        return EXPRESS_BYTES;
    case PCI_CAP_ID_VNDR:
        return b->config[at + 2] + 3u;
    case PCI_CAP_ID_MSIX:
        return 0;
    default:
        return capabilities[row].length + 3u;
    }
}

static bool add_capabilities(struct builder *b, GError **err)
{
    uint8_t at[SPACE];
    unsigned n = walk(b->config, at), used = PCI_STD_HEADER_SIZEOF;

    for (unsigned row = 0; row < G_N_ELEMENTS(capabilities); row++) {
        for (unsigned i = 0; i < n; i++) {
            if (b->config[at[i]] != capabilities[row].id ||
                at[i] + capabilities[row].length > SPACE)
                continue;
            if (used + room_for(b, row, at[i]) > MOST_BYTES)
                continue;
            used += room_for(b, row, at[i]);
            if (!capabilities[row].add(b, at[i], err))
                return false;
            if (capabilities[row].once)
                break;
        }
    }
    return true;
}

/* --- the function ----------------------------------------------------------------------------- */

bool vfio__make_function(struct vfio_device *d, bool on_root, const struct pci_function_ops *ops,
                         GError **err)
{
    uint8_t c[SPACE];
    struct builder b = {d, c, on_root};

    if (!vfio__read(d, &d->config, 0, c, sizeof(c)))
        return vmd_fail(err, VMD_ERROR_IO, "its configuration space cannot be read");
    if ((c[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "it is a bridge");
    d->intx = d->intx && c[PCI_INTERRUPT_PIN];
    const struct pci_id id = {
        .vendor = vfio__get16(c + PCI_VENDOR_ID),
        .device = vfio__get16(c + PCI_DEVICE_ID),
        .subsystem_vendor = vfio__get16(c + PCI_SUBSYSTEM_VENDOR_ID),
        .subsystem = vfio__get16(c + PCI_SUBSYSTEM_ID),
        .class_code = vfio__get32(c + PCI_CLASS_REVISION) >> 8,
        .revision = c[PCI_REVISION_ID],
        .intx = d->intx,
    };
    d->pci = pci_function_new(d->address, &id, ops, d);
    return vfio__make_bars(d, c, err) && add_capabilities(&b, err);
}

void vfio__set_master(struct vfio_device *d, bool on)
{
    uint8_t command[2];

    vfio__set16(command, PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0));
    vfio__write(d, &d->config, PCI_COMMAND, command, sizeof(command));
}
