/* Functions of the host, with a kernel that is this test: what guests find, write and get, and what
 * is refused. */
#include "gpu/vfio/vfio.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

enum { SLOT = 5, MAPS = 64, VECTORS = 40, LOG = 64 };

#define REGION_SHIFT 40
#define ADDRESS      "0000:01:00.0"
#define BAR0         GUEST_WINDOW
#define BAR2         (GUEST_WINDOW + MIB(1))
#define BAR3         (GUEST_WINDOW + MIB(2))

struct interrupts {
    unsigned count; /* that are signalled */
    int fds[2048];
};

struct fake {
    uint8_t config[256];
    struct {
        uint64_t size;
        uint32_t flags;
        int fd; /* what is mapped */
    } bars[6];
    unsigned intx, msi, msix; /* how many the device has */
    unsigned most;            /* that the host can signal; 0: all */
    bool resets, viable, other_group;
    int device_fd;
    int map_error; /* of DMA; 0: none */
    unsigned n_resets, n_bus_resets, unmasks, n_maps, restarts;
    struct vfio_iommu_type1_dma_map maps[MAPS];
    bool locked; /* the kernel is taking the function from its driver */
    bool wishes; /* the kernel knows of errors and requests */
    struct interrupts irqs[VFIO_PCI_NUM_IRQS];
    uint16_t command;               /* as written last */
    unsigned other_writes;          /* to its configuration space */
    uint64_t bar_offset, bar_value; /* of the latest write through the kernel */
    char *warning;
};

/* --- the kernel ------------------------------------------------------------------------------- */

static int region_info(const struct fake *f, struct vfio_region_info *info)
{
    info->offset = (uint64_t)info->index << REGION_SHIFT;
    info->size = 0;
    info->flags = 0;
    if (info->index < 6) {
        info->size = f->bars[info->index].size;
        info->flags = f->bars[info->index].flags;
    } else if (info->index == VFIO_PCI_CONFIG_REGION_INDEX) {
        info->size = 256;
        info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    }
    return 0;
}

static int irq_info(const struct fake *f, struct vfio_irq_info *info)
{
    const unsigned counts[] = {f->intx, f->msi, f->msix};

    if (info->index >= 3 && !f->wishes)
        return -EINVAL;
    info->count = info->index < 3 ? counts[info->index] : 1;
    info->flags = VFIO_IRQ_INFO_EVENTFD;
    return 0;
}

static int set_irqs(struct fake *f, const struct vfio_irq_set *set)
{
    struct interrupts *i = &f->irqs[set->index];

    if (set->flags & VFIO_IRQ_SET_ACTION_UNMASK) {
        f->unmasks++;
        return 0;
    }
    f->restarts += set->count > 0 && set->index < 3;
    if (f->most && set->count > f->most)
        return (int)f->most;
    i->count = set->count;
    if (set->count)
        memcpy(i->fds, set->data, set->count * sizeof(int));
    return 0;
}

static int hot_reset_info(const struct fake *f, struct vfio_pci_hot_reset_info *info)
{
    info->count = 2;
    info->devices[0].group_id = info->devices[1].group_id = 7;
    info->devices[1].group_id += f->other_group;
    return 0;
}

static int unmap(struct fake *f, const struct vfio_iommu_type1_dma_unmap *u)
{
    for (unsigned i = f->n_maps; i-- > 0;) {
        if (f->maps[i].iova >= u->iova && f->maps[i].iova < u->iova + u->size)
            f->maps[i] = f->maps[--f->n_maps];
    }
    return 0;
}

static int map(struct fake *f, const struct vfio_iommu_type1_dma_map *m)
{
    if (f->map_error)
        return -f->map_error;
    ck_assert_uint_lt(f->n_maps, MAPS);
    f->maps[f->n_maps++] = *m;
    return 0;
}

static int fake_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    struct fake *f = opaque;

    switch (request) {
    case VFIO_GET_API_VERSION:
        return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION:
        return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
    case VFIO_SET_IOMMU:
        return 0;
    case VFIO_IOMMU_MAP_DMA: /* of a device it is VFIO_DEVICE_PCI_HOT_RESET */
        f->n_bus_resets += fd == f->device_fd;
        return fd == f->device_fd ? 0 : map(f, arg);
    case VFIO_IOMMU_UNMAP_DMA:
        return unmap(f, arg);
    case VFIO_GROUP_GET_STATUS:
        ((struct vfio_group_status *)arg)->flags = f->viable ? VFIO_GROUP_FLAGS_VIABLE : 0;
        return 0;
    case VFIO_GROUP_SET_CONTAINER:
        return 0;
    case VFIO_GROUP_UNSET_CONTAINER:
        f->n_maps = 0;
        return 0;
    case VFIO_GROUP_GET_DEVICE_FD:
        ck_assert_str_eq(arg, ADDRESS);
        f->device_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        return f->device_fd;
    case VFIO_DEVICE_GET_INFO:
        *(struct vfio_device_info *)arg = (struct vfio_device_info){
            .flags = VFIO_DEVICE_FLAGS_PCI | (f->resets ? VFIO_DEVICE_FLAGS_RESET : 0),
            .num_regions = VFIO_PCI_NUM_REGIONS};
        return 0;
    case VFIO_DEVICE_GET_REGION_INFO:
        return region_info(f, arg);
    case VFIO_DEVICE_GET_IRQ_INFO:
        return irq_info(f, arg);
    case VFIO_DEVICE_SET_IRQS:
        return set_irqs(f, arg);
    case VFIO_DEVICE_RESET:
        f->n_resets++;
        return f->locked ? -EAGAIN : 0;
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
        return hot_reset_info(f, arg);
    default:
        ck_abort_msg("request %lu", request);
    }
    return -ENOTTY;
}

static ssize_t fake_read(void *opaque, int fd, void *to, size_t size, uint64_t offset)
{
    const struct fake *f = opaque;

    if (offset >> REGION_SHIFT == VFIO_PCI_CONFIG_REGION_INDEX)
        memcpy(to, f->config + (offset & 0xff), size);
    else
        memset(to, 0x5a, size);
    return (ssize_t)size;
}

static ssize_t fake_write(void *opaque, int fd, const void *from, size_t size, uint64_t offset)
{
    struct fake *f = opaque;

    if (offset >> REGION_SHIFT != VFIO_PCI_CONFIG_REGION_INDEX) {
        f->bar_offset = offset;
        f->bar_value = 0;
        memcpy(&f->bar_value, from, size);
    } else if ((offset & 0xff) == PCI_COMMAND && size == 2) {
        memcpy(&f->command, from, 2);
    } else {
        f->other_writes++;
    }
    return (ssize_t)size;
}

static void *fake_map(void *opaque, int fd, size_t size, bool writable, uint64_t offset)
{
    struct fake *f = opaque;
    void *at =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->bars[offset >> REGION_SHIFT].fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

static void fake_warning(void *opaque, const char *text)
{
    struct fake *f = opaque;

    g_free(f->warning);
    f->warning = g_strdup(text);
}

/* --- a device --------------------------------------------------------------------------------- */

static void put16(struct fake *f, unsigned at, unsigned value)
{
    f->config[at] = (uint8_t)value;
    f->config[at + 1] = (uint8_t)(value >> 8);
}

static void put32(struct fake *f, unsigned at, uint32_t value)
{
    put16(f, at, value & 0xffff);
    put16(f, at + 2, value >> 16);
}

static void add_bar(struct fake *f, unsigned i, uint64_t size, uint32_t word, bool mappable)
{
    f->bars[i].size = size;
    f->bars[i].flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                       (mappable ? VFIO_REGION_INFO_FLAG_MMAP : 0);
    f->bars[i].fd = memfd_create("bar", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(f->bars[i].fd, (off_t)size), 0);
    put32(f, PCI_BASE_ADDRESS_0 + 4 * i, word);
}

static void add_capability(struct fake *f, unsigned at, uint8_t id, unsigned next)
{
    f->config[at] = id;
    f->config[at + 1] = (uint8_t)next;
}

/* Memory in BAR 0, ports in BAR 1, registers that cannot be mapped in BAR 2, an MSI-X table in BAR
 * 3; capabilities of every kind. */
static void fake_init(struct fake *f)
{
    *f = (struct fake){.intx = 1, .msi = 4, .msix = VECTORS, .resets = true, .viable = true};
    for (unsigned i = 0; i < 6; i++)
        f->bars[i].fd = -1;
    put16(f, PCI_VENDOR_ID, 0x8086);
    put16(f, PCI_DEVICE_ID, 0x10d3);
    put16(f, PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
    put32(f, PCI_CLASS_REVISION, 0x02000003);
    f->config[PCI_INTERRUPT_PIN] = 1;
    put16(f, PCI_STATUS, PCI_STATUS_CAP_LIST);
    add_bar(f, 0, KIB(64), 0, true);
    add_bar(f, 1, 32, PCI_BASE_ADDRESS_SPACE_IO, false);
    add_bar(f, 2, KIB(4), 0, false);
    add_bar(f, 3, KIB(16), 0, true);
    f->config[PCI_CAPABILITY_LIST] = 0x40;
    add_capability(f, 0x40, PCI_CAP_ID_PM, 0x50);
    put16(f, 0x42, 0xc803);
    add_capability(f, 0x50, PCI_CAP_ID_MSI, 0x70);
    put16(f, 0x52, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | 2 << 1);
    add_capability(f, 0x70, PCI_CAP_ID_MSIX, 0x80);
    put16(f, 0x72, VECTORS - 1);
    put32(f, 0x74, 0x1000 | 3);
    put32(f, 0x78, 0x2000 | 3);
    add_capability(f, 0x80, PCI_CAP_ID_EXP, 0xc0);
    put16(f, 0x82, 0x12);
    put32(f, 0x84, 0x10008fc2); /* a function-level reset, and payloads */
    add_capability(f, 0xc0, PCI_CAP_ID_VNDR, 0xd0);
    f->config[0xc2] = 8;
    memcpy(f->config + 0xc3, "vendo", 5);
    add_capability(f, 0xd0, PCI_CAP_ID_AF, 0);
}

static void fake_fini(struct fake *f)
{
    for (unsigned i = 0; i < 6; i++)
        base__close_fd(&f->bars[i].fd);
    g_free(f->warning);
}

struct rig {
    struct guest guest;
    struct fake fake;
    struct vfio_sys sys;
    struct vfio_container *container;
    struct vfio_device *device; /* NULL: it could not be made */
    GError *err;
};

static struct vfio_files files(void)
{
    return (struct vfio_files){open("/dev/null", O_RDWR | O_CLOEXEC),
                               open("/dev/null", O_RDWR | O_CLOEXEC),
                               open("/dev/null", O_RDWR | O_CLOEXEC)};
}

static void rig_begin(struct rig *r, bool messages)
{
    *r = (struct rig){0};
    fake_init(&r->fake);
    guest_init(&r->guest, messages);
    r->sys = (struct vfio_sys){fake_ioctl, fake_read, fake_write, fake_map, &r->fake};
    r->container = vfio_container_new(r->guest.mem, messages, &r->sys, fake_warning, &r->fake);
}

static void rig_make(struct rig *r)
{
    struct vfio_files f = files();

    r->device = vfio_device_new(r->container, &r->guest.loop, ADDRESS, &f, true, &r->err);
    ck_assert_int_eq(f.container, -1);
    ck_assert_int_eq(f.group, -1);
}

static void rig_plug(struct rig *r)
{
    rig_make(r);
    ck_assert_msg(r->device != NULL, "%s", r->err ? r->err->message : "");
    ck_assert(pci_host_add(r->guest.host, vfio_device_pci(r->device), SLOT, 0, NULL));
    guest_config_write(&r->guest, SLOT, PCI_BASE_ADDRESS_0, 4, BAR0);
    guest_config_write(&r->guest, SLOT, PCI_BASE_ADDRESS_2, 4, BAR2);
    guest_config_write(&r->guest, SLOT, PCI_BASE_ADDRESS_3, 4, BAR3);
    guest_config_write(&r->guest, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void rig_init(struct rig *r)
{
    rig_begin(r, true);
    rig_plug(r);
}

static void rig_unplug(struct rig *r)
{
    pci_host_remove(vfio_device_pci(r->device));
    ck_assert(vfio_device_free(g_steal_pointer(&r->device), NULL));
}

static void rig_fini(struct rig *r)
{
    if (r->device)
        rig_unplug(r);
    vfio_container_free(r->container);
    guest_fini(&r->guest);
    g_clear_error(&r->err);
    fake_fini(&r->fake);
}

/* The host signals VECTOR of kind INDEX. */
static void signal_host(struct rig *r, unsigned index, unsigned vector)
{
    uint64_t one = 1;

    ck_assert_uint_lt(vector, r->fake.irqs[index].count);
    ck_assert_int_eq(write(r->fake.irqs[index].fds[vector], &one, sizeof(one)), sizeof(one));
    guest_poll(&r->guest);
}

/* --- what the guest finds --------------------------------------------------------------------- */

START_TEST(header)
{
    struct rig r;

    rig_init(&r);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, 0, 4), 0x10d38086);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, PCI_CLASS_REVISION, 4), 0x02000003);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, PCI_INTERRUPT_PIN, 1), 1);
    for (unsigned i = 0; i < 6; i++)
        guest_config_write(&r.guest, SLOT, PCI_BASE_ADDRESS_0 + 4 * i, 4, UINT32_MAX);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, PCI_BASE_ADDRESS_0, 4),
                      -KIB(64) & UINT32_MAX);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, PCI_BASE_ADDRESS_1, 4), 0);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, PCI_BASE_ADDRESS_3, 4),
                      -KIB(16) & UINT32_MAX);
    guest_config_write(&r.guest, SLOT, PCI_ROM_ADDRESS, 4, UINT32_MAX);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, PCI_ROM_ADDRESS, 4), 0);
    ck_assert_str_eq(vfio_device_text(r.device),
                     ADDRESS ", 8086:10d3, 1 of 3 BARs as memory, MSI-X 40, MSI 4, INTx");
    rig_fini(&r);
}
END_TEST

START_TEST(capabilities)
{
    static const uint8_t there[] = {PCI_CAP_ID_PM, PCI_CAP_ID_MSI, PCI_CAP_ID_EXP, PCI_CAP_ID_VNDR,
                                    PCI_CAP_ID_MSIX};
    struct rig r;
    unsigned n = 0;

    rig_init(&r);
    for (unsigned at = guest_config_read(&r.guest, SLOT, PCI_CAPABILITY_LIST, 1); at;
         at = guest_config_read(&r.guest, SLOT, at + 1, 1)) {
        ck_assert_uint_lt(n, G_N_ELEMENTS(there));
        ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, at, 1), there[n++]);
    }
    ck_assert_uint_eq(n, G_N_ELEMENTS(there));
    unsigned express = guest_capability(&r.guest, SLOT, PCI_CAP_ID_EXP, 0);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, express + PCI_EXP_FLAGS, 2),
                      0x92); /* of the root complex */
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, express + PCI_EXP_DEVCAP, 4),
                      0x8002); /* no reset */
    unsigned pm = guest_capability(&r.guest, SLOT, PCI_CAP_ID_PM, 0);
    guest_config_write(&r.guest, SLOT, pm + PCI_PM_CTRL, 2, 0xffff);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, pm + PCI_PM_CTRL, 2), 0xb);
    unsigned vendor = guest_capability(&r.guest, SLOT, PCI_CAP_ID_VNDR, 0);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, vendor + 2, 2), 'v' << 8 | 8);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, 0x100, 4), 0);
    rig_fini(&r);
}
END_TEST

/* Lists that make no sense: what is walked of them ends, and a guest's own is in order. */
static const struct {
    const char *name;
    struct {
        uint8_t at, id, next;
    } list[4];
    unsigned begins, found; /* PM capabilities that the guest has */
} lists[] = {
    {"none", {{0}}, 0, 0},
    {"a loop of one", {{0x40, PCI_CAP_ID_PM, 0x40}}, 0x40, 1},
    {"a loop of two", {{0x40, PCI_CAP_ID_PM, 0x48}, {0x48, PCI_CAP_ID_AF, 0x40}}, 0x40, 1},
    {"into the header", {{0x40, PCI_CAP_ID_AF, 0x10}}, 0x40, 0},
    {"begins in the header", {{0x40, PCI_CAP_ID_PM, 0}}, 0x10, 0},
    {"the same twice", {{0x40, PCI_CAP_ID_PM, 0x50}, {0x50, PCI_CAP_ID_PM, 0}}, 0x40, 1},
    {"beyond the end", {{0xfc, PCI_CAP_ID_PM, 0}}, 0xfc, 0},
    {"MSI at the end", {{0xfc, PCI_CAP_ID_MSI, 0x40}, {0x40, PCI_CAP_ID_PM, 0}}, 0xfc, 1},
    {"unaligned", {{0x40, PCI_CAP_ID_PM, 0x43}}, 0x43, 1},
    {"all vendor's, and long",
     {{0x40, PCI_CAP_ID_VNDR, 0x44}, {0x44, PCI_CAP_ID_VNDR, 0x48}, {0x48, PCI_CAP_ID_PM, 0}},
     0x40,
     1},
};

START_TEST(capability_lists)
{
    struct rig r;
    unsigned found = 0, steps = 0;

    rig_begin(&r, true);
    memset(r.fake.config + 0x40, 0, 0xc0);
    r.fake.msix = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(lists[_i].list) && lists[_i].list[i].at; i++) {
        unsigned at = lists[_i].list[i].at;
        add_capability(&r.fake, at, lists[_i].list[i].id, lists[_i].list[i].next);
        if (lists[_i].list[i].id == PCI_CAP_ID_VNDR)
            r.fake.config[at + 2] = 150;
    }
    r.fake.config[PCI_CAPABILITY_LIST] = (uint8_t)lists[_i].begins;
    rig_plug(&r);
    for (unsigned at = guest_config_read(&r.guest, SLOT, PCI_CAPABILITY_LIST, 1); at;
         at = guest_config_read(&r.guest, SLOT, at + 1, 1)) {
        found += guest_config_read(&r.guest, SLOT, at, 1) == PCI_CAP_ID_PM;
        ck_assert_uint_lt(++steps, 48);
    }
    ck_assert_msg(found == lists[_i].found, "%s: %u", lists[_i].name, found);
    rig_fini(&r);
}
END_TEST

/* --- what the guest writes -------------------------------------------------------------------- */

START_TEST(hostile_config)
{
    struct rig r;
    g_autoptr(GRand) random = g_rand_new_with_seed(9);

    rig_init(&r);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned size = 1u << g_rand_int_range(random, 0, 3);
        unsigned at = (unsigned)g_rand_int_range(random, 0, 4096 / 4) * 4 % (i & 1 ? 256 : 4096);
        guest_config_write(&r.guest, SLOT, at, size, g_rand_int(random));
        ck_assert_uint_eq(r.fake.command & ~(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), 0);
        ck_assert(r.fake.command & PCI_COMMAND_MEMORY);
    }
    ck_assert_uint_eq(r.fake.other_writes, 0);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, 0, 4), 0x10d38086);
    guest_poll(&r.guest);
    rig_fini(&r);
}
END_TEST

START_TEST(bars)
{
    struct rig r;
    uint32_t word = 0x12345678;

    rig_init(&r);
    /* As memory: the guest's and the device's are one. */
    ck_assert_int_eq(mem_map_write(r.guest.mem, BAR0 + 0x100, &word, 4), 0);
    ck_assert_int_eq(pread(r.fake.bars[0].fd, &word, 4, 0x100), 4);
    ck_assert_uint_eq(word, 0x12345678);
    /* Through the kernel. */
    ck_assert_uint_eq(guest_read(&r.guest, BAR2 + 8, 2), 0x5a5a);
    guest_write(&r.guest, BAR2 + 8, 8, 0x1122334455667788);
    ck_assert_uint_eq(r.fake.bar_offset, (UINT64_C(2) << REGION_SHIFT) + 8);
    ck_assert_uint_eq(r.fake.bar_value, 0x1122334455667788);
    /* Beside a table of MSI-X: by the mapping, but for the table itself. */
    guest_write(&r.guest, BAR3 + 0x10, 4, 0xabcdef01);
    ck_assert_int_eq(pread(r.fake.bars[3].fd, &word, 4, 0x10), 4);
    ck_assert_uint_eq(word, 0xabcdef01);
    guest_write(&r.guest, BAR3 + 0x1000, 4, 0xfee00000);
    ck_assert_int_eq(pread(r.fake.bars[3].fd, &word, 4, 0x1000), 4);
    ck_assert_uint_eq(word, 0);
    ck_assert_uint_eq(guest_read(&r.guest, BAR3 + 0x1000, 4), 0xfee00000);
    rig_fini(&r);
}
END_TEST

START_TEST(bar_is_gone)
{
    struct rig r;

    const uint8_t seven = 7;
    uint8_t byte;

    rig_init(&r);
    ck_assert_int_eq(mem_map_read(r.guest.mem, BAR0, &byte, 1), 0);
    rig_unplug(&r);
    ck_assert_int_eq(mem_map_read(r.guest.mem, BAR0, &byte, 1), -EFAULT);
    rig_plug(&r); /* another one, at the same place, with flags of its own */
    ck_assert_int_eq(mem_map_write(r.guest.mem, BAR0, &seven, 1), 0);
    rig_fini(&r);
}
END_TEST

/* --- MSI-X ------------------------------------------------------------------------------------ */

static void set_entry(struct rig *r, unsigned vector, bool masked)
{
    gpa_t at = BAR3 + 0x1000 + 16 * vector;

    guest_write(&r->guest, at, 8, 0xfee00000 + vector * 16);
    guest_write(&r->guest, at + 8, 4, 0x4000 + vector);
    guest_write(&r->guest, at + 12, 4, masked);
}

static void enable_msix(struct rig *r, unsigned flags)
{
    unsigned at = guest_capability(&r->guest, SLOT, PCI_CAP_ID_MSIX, 0);

    guest_config_write(&r->guest, SLOT, at + PCI_MSIX_FLAGS, 2, flags);
}

START_TEST(msix)
{
    struct rig r;
    struct interrupts *host = &r.fake.irqs[VFIO_PCI_MSIX_IRQ_INDEX];

    rig_init(&r);
    ck_assert_uint_eq(r.fake.irqs[VFIO_PCI_INTX_IRQ_INDEX].count, 1);
    enable_msix(&r, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    ck_assert_uint_eq(r.fake.irqs[VFIO_PCI_INTX_IRQ_INDEX].count, 0);
    ck_assert_uint_eq(host->count, 16);
    set_entry(&r, 3, false);
    signal_host(&r, VFIO_PCI_MSIX_IRQ_INDEX, 3);
    ck_assert_uint_eq(r.guest.messages, 0);
    ck_assert_uint_eq(guest_read(&r.guest, BAR3 + 0x2000, 8), 1 << 3);
    enable_msix(&r, PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(r.guest.messages, 1);
    ck_assert_uint_eq(r.guest.message_address, 0xfee00030);
    ck_assert_uint_eq(r.guest.message_data, 0x4003);
    ck_assert_uint_eq(r.guest.message_requester, SLOT << 3);
    signal_host(&r, VFIO_PCI_MSIX_IRQ_INDEX, 5); /* its entry is masked */
    ck_assert_uint_eq(r.guest.messages, 1);
    set_entry(&r, 5, false);
    ck_assert_uint_eq(r.guest.messages, 2);
    /* The last vector: the host is asked for all, and those in use are told once more. */
    set_entry(&r, VECTORS - 1, false);
    ck_assert_uint_eq(host->count, VECTORS);
    ck_assert_uint_eq(r.guest.messages, 5);
    signal_host(&r, VFIO_PCI_MSIX_IRQ_INDEX, VECTORS - 1);
    ck_assert_uint_eq(r.guest.message_data, 0x4000 + VECTORS - 1);
    enable_msix(&r, 0);
    ck_assert_uint_eq(host->count, 0);
    ck_assert_uint_eq(r.fake.irqs[VFIO_PCI_INTX_IRQ_INDEX].count, 1);
    rig_fini(&r);
}
END_TEST

/* The host has fewer vectors than the guest unmasks: those work, it is said once, and not asked for
 * again and again. */
START_TEST(msix_few)
{
    struct rig r;

    rig_begin(&r, true);
    r.fake.most = 6;
    rig_plug(&r);
    enable_msix(&r, PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(r.fake.irqs[VFIO_PCI_MSIX_IRQ_INDEX].count, 6);
    unsigned restarts = r.fake.restarts;
    for (unsigned i = 0; i < 16; i++)
        set_entry(&r, i, false);
    ck_assert_uint_eq(r.fake.restarts, restarts);
    signal_host(&r, VFIO_PCI_MSIX_IRQ_INDEX, 5);
    ck_assert_uint_eq(r.guest.message_data, 0x4005);
    rig_fini(&r);
}
END_TEST

static const struct {
    const char *name;
    unsigned vectors; /* of the capability */
    uint32_t table, pba;
    bool ok;
} tables[] = {
    {"at the very end", VECTORS, (0x4000 - 16 * VECTORS) | 3, 0 | 3, true},
    {"beyond the end", VECTORS, (0x4000 - 16 * VECTORS + 8) | 3, 0 | 3, false},
    {"far beyond", VECTORS, 0xfffffff8 | 3, 0 | 3, false},
    {"no such BAR", VECTORS, 6, 0 | 3, false},
    {"a BAR of ports", VECTORS, 1, 0 | 3, false},
    {"a BAR that is not there", VECTORS, 4, 0 | 3, false},
    {"pending bits at the end", VECTORS, 0 | 3, (0x4000 - 8) | 3, true},
    {"pending bits beyond", VECTORS, 0 | 3, 0x4000 | 3, false},
    {"in two BARs", VECTORS, 0 | 3, 0 | 2, true},
    {"another number of vectors", VECTORS + 1, 0 | 3, 0x1000 | 3, false},
};

START_TEST(msix_tables)
{
    struct rig r;

    rig_begin(&r, true);
    put16(&r.fake, 0x72, tables[_i].vectors - 1);
    put32(&r.fake, 0x74, tables[_i].table);
    put32(&r.fake, 0x78, tables[_i].pba);
    rig_make(&r);
    ck_assert_msg((r.device != NULL) == tables[_i].ok, "%s: %s", tables[_i].name,
                  r.err ? r.err->message : "taken");
    if (r.device)
        vfio_device_free(g_steal_pointer(&r.device), NULL);
    rig_fini(&r);
}
END_TEST

/* --- MSI and INTx ----------------------------------------------------------------------------- */

START_TEST(msi)
{
    struct rig r;

    rig_init(&r);
    unsigned at = guest_capability(&r.guest, SLOT, PCI_CAP_ID_MSI, 0);
    guest_config_write(&r.guest, SLOT, at + PCI_MSI_ADDRESS_LO, 4, 0xfee01003);
    guest_config_write(&r.guest, SLOT, at + PCI_MSI_ADDRESS_HI, 4, 1);
    guest_config_write(&r.guest, SLOT, at + PCI_MSI_DATA_64, 2, 0x4447);
    guest_config_write(&r.guest, SLOT, at + PCI_MSI_MASK_64, 4, 2);
    guest_config_write(&r.guest, SLOT, at + PCI_MSI_FLAGS, 2,
                       PCI_MSI_FLAGS_ENABLE | 7 << 4); /* 128 of them */
    ck_assert_uint_eq(r.fake.irqs[VFIO_PCI_MSI_IRQ_INDEX].count, 4);
    signal_host(&r, VFIO_PCI_MSI_IRQ_INDEX, 2);
    ck_assert_uint_eq(r.guest.messages, 1);
    ck_assert_uint_eq(r.guest.message_address, 0x1fee01000);
    ck_assert_uint_eq(r.guest.message_data, 0x4446);
    signal_host(&r, VFIO_PCI_MSI_IRQ_INDEX, 1); /* which is masked */
    ck_assert_uint_eq(r.guest.messages, 1);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, at + PCI_MSI_PENDING_64, 4), 2);
    guest_config_write(&r.guest, SLOT, at + PCI_MSI_MASK_64, 4, 0);
    ck_assert_uint_eq(r.guest.messages, 2);
    ck_assert_uint_eq(r.guest.message_data, 0x4445);
    guest_config_write(&r.guest, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    signal_host(&r, VFIO_PCI_MSI_IRQ_INDEX, 0); /* it may not write memory */
    ck_assert_uint_eq(r.guest.messages, 2);
    rig_fini(&r);
}
END_TEST

static bool line_is_up(const struct guest *g)
{
    return g->line[0] || g->line[1] || g->line[2] || g->line[3];
}

START_TEST(intx)
{
    struct rig r;

    rig_init(&r);
    signal_host(&r, VFIO_PCI_INTX_IRQ_INDEX, 0);
    ck_assert(r.guest.line_sets >= 1);
    guest_write(&r.guest, BAR2, 4, 1); /* or the guest did nothing, and its time is over */
    ck_assert(!line_is_up(&r.guest));
    ck_assert_uint_eq(r.fake.unmasks, 1);
    signal_host(&r, VFIO_PCI_INTX_IRQ_INDEX, 0); /* the device still asks */
    guest_wait(&r.guest, r.fake.unmasks == 2);
    ck_assert(!line_is_up(&r.guest));
    rig_fini(&r);
}
END_TEST

/* A machine without messages: neither kind is there. */
START_TEST(no_messages)
{
    struct rig r;

    rig_begin(&r, false);
    rig_plug(&r);
    ck_assert_uint_eq(guest_capability(&r.guest, SLOT, PCI_CAP_ID_MSI, 0), 0);
    ck_assert_uint_eq(guest_capability(&r.guest, SLOT, PCI_CAP_ID_MSIX, 0), 0);
    signal_host(&r, VFIO_PCI_INTX_IRQ_INDEX, 0);
    ck_assert(r.guest.line_sets >= 1);
    rig_fini(&r);
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------- */

static const struct vfio_iommu_type1_dma_map *map_at(const struct fake *f, gpa_t gpa)
{
    for (unsigned i = 0; i < f->n_maps; i++) {
        if (f->maps[i].iova == gpa)
            return &f->maps[i];
    }
    return NULL;
}

START_TEST(memory)
{
    struct rig r;
    gpa_t room = GIB(4);

    rig_begin(&r, true);
    struct mem_ram *sparse =
        mem_map_add_sparse_ram(r.guest.mem, room, MIB(16), MIB(2), "room", NULL);
    mem_map_plug(r.guest.mem, sparse, MIB(2), MIB(2));
    ck_assert_uint_eq(r.fake.n_maps, 0);
    rig_plug(&r);
    ck_assert(mem_map_pinned(r.guest.mem));
    const struct vfio_iommu_type1_dma_map *ram = map_at(&r.fake, GUEST_RAM),
                                          *rom = map_at(&r.fake, GUEST_ROM);
    ck_assert_uint_eq(ram->size, GUEST_RAM_SIZE);
    ck_assert_uint_eq(ram->vaddr, (uintptr_t)guest_ptr(&r.guest, GUEST_RAM));
    ck_assert_uint_eq(ram->flags, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
    ck_assert_uint_eq(rom->flags, VFIO_DMA_MAP_FLAG_READ);
    ck_assert_uint_eq(map_at(&r.fake, room + MIB(2))->size, MIB(2));
    ck_assert_uint_eq(r.fake.n_maps, 3); /* and no BAR */
    mem_map_plug(r.guest.mem, sparse, MIB(8), MIB(4));
    ck_assert_uint_eq(r.fake.n_maps, 5);
    ck_assert_uint_eq(map_at(&r.fake, room + MIB(10))->size, MIB(2));
    ck_assert(mem_map_unplug(r.guest.mem, sparse, MIB(8), MIB(4)));
    ck_assert_uint_eq(r.fake.n_maps, 3);
    r.fake.map_error = ENOMEM;
    mem_map_plug(r.guest.mem, sparse, MIB(8), MIB(2));
    ck_assert_str_eq(r.fake.warning,
                     "2 MiB of memory that came cannot be reached by the VM's host devices: "
                     "Cannot allocate memory");
    rig_unplug(&r);
    ck_assert(!mem_map_pinned(r.guest.mem));
    mem_map_plug(r.guest.mem, sparse, 0, MIB(2));
    ck_assert_uint_eq(r.fake.n_maps, 0);
    rig_fini(&r);
}
END_TEST

/* --- reset ------------------------------------------------------------------------------------ */

START_TEST(resets)
{
    struct rig r;

    rig_init(&r);
    ck_assert_uint_eq(r.fake.n_resets, 1);
    ck_assert_uint_eq(r.fake.command, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    enable_msix(&r, PCI_MSIX_FLAGS_ENABLE);
    pci_host_reset(r.guest.host);
    ck_assert_uint_eq(r.fake.n_resets, 2);
    ck_assert_uint_eq(r.fake.command, PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(r.fake.irqs[VFIO_PCI_MSIX_IRQ_INDEX].count, 0);
    rig_unplug(&r);
    ck_assert_uint_eq(r.fake.n_resets, 3);
    rig_fini(&r);
}
END_TEST

START_TEST(bus_reset)
{
    struct rig r;

    rig_begin(&r, true);
    r.fake.resets = false;
    rig_plug(&r);
    ck_assert_uint_eq(r.fake.n_bus_resets, 1);
    rig_unplug(&r);
    ck_assert_uint_eq(r.fake.n_bus_resets, 2);
    rig_fini(&r);
}
END_TEST

/* DMA ends as the device is taken from its bus, before anybody closes it. */
START_TEST(pulled_out)
{
    struct rig r;

    rig_init(&r);
    pci_host_remove(vfio_device_pci(r.device));
    ck_assert_uint_eq(r.fake.command, PCI_COMMAND_MEMORY);
    ck_assert(vfio_device_free(g_steal_pointer(&r.device), NULL));
    rig_fini(&r);
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

static void no_reset(struct fake *f)
{
    f->resets = false;
    f->other_group = true;
}

static void not_viable(struct fake *f)
{
    f->viable = false;
}

static void no_memory(struct fake *f)
{
    f->map_error = EFAULT;
}

static void in_the_way(struct fake *f)
{
    f->map_error = EINVAL;
}

static void bridge(struct fake *f)
{
    f->config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
}

static void odd_bar(struct fake *f)
{
    f->bars[2].size = 4097;
}

static const struct {
    void (*spoil)(struct fake *f);
    const char *text;
} refusals[] = {
    {no_reset, "host device " ADDRESS ": it cannot be reset: "},
    {not_viable,
     "host device " ADDRESS ": another device of its IOMMU group has a driver of the host's"},
    {no_memory,
     "host device " ADDRESS ": mapping 16.1 MiB of guest memory for a host device: Bad address"},
    {in_the_way, "host device " ADDRESS ": the host's IOMMU does not take guest memory"},
    {bridge, "host device " ADDRESS ": it is a bridge"},
    {odd_bar, "host device " ADDRESS ": its BAR 2 makes no sense"},
};

START_TEST(refused)
{
    struct rig r;

    rig_begin(&r, true);
    refusals[_i].spoil(&r.fake);
    rig_make(&r);
    ck_assert_ptr_null(r.device);
    ck_assert_msg(g_str_has_prefix(r.err->message, refusals[_i].text), "%s", r.err->message);
    ck_assert_uint_eq(r.fake.n_maps, 0);
    ck_assert(!mem_map_pinned(r.guest.mem));
    rig_fini(&r);
}
END_TEST

struct seen {
    int on;
    unsigned asked, failed;
};

static void note(void *opaque, bool on)
{
    ((struct seen *)opaque)->on = on;
}

static void note_wanted(void *opaque, bool failed)
{
    struct seen *seen = opaque;

    *(failed ? &seen->failed : &seen->asked) += 1;
}

static const struct vfio_watch watch = {.changed = note, .wanted = note_wanted};

START_TEST(driver)
{
    struct rig r;
    struct seen seen = {-1};

    rig_init(&r);
    vfio_device_watch(r.device, &watch, &seen);
    guest_poll(&r.guest);
    ck_assert_int_eq(seen.on, 1);
    guest_config_write(&r.guest, SLOT, PCI_COMMAND, 2, 0);
    guest_poll(&r.guest);
    ck_assert_int_eq(seen.on, 0);
    ck_assert(!seen.asked && !seen.failed && !r.fake.warning);
    rig_fini(&r);
}
END_TEST

/* The host asks for the device, and again; it reports an error; interrupts go on as they were. */
START_TEST(wanted)
{
    struct rig r;
    struct seen seen = {-1};

    rig_begin(&r, true);
    r.fake.wishes = true;
    rig_plug(&r);
    signal_host(&r, VFIO_PCI_REQ_IRQ_INDEX, 0); /* nobody listens yet */
    vfio_device_watch(r.device, &watch, &seen);
    for (unsigned i = 1; i <= 3; i++) {
        signal_host(&r, VFIO_PCI_REQ_IRQ_INDEX, 0);
        ck_assert(seen.asked == i && !seen.failed);
    }
    signal_host(&r, VFIO_PCI_ERR_IRQ_INDEX, 0);
    ck_assert(seen.asked == 3 && seen.failed == 1);
    signal_host(&r, VFIO_PCI_INTX_IRQ_INDEX, 0);
    ck_assert(r.guest.line_sets >= 1);
    r.fake.locked = true; /* no failure: it is free without an error */
    rig_fini(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vfio");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, header);
    tcase_add_test(tc, capabilities);
    tcase_add_loop_test(tc, capability_lists, 0, G_N_ELEMENTS(lists));
    tcase_add_test(tc, hostile_config);
    tcase_add_test(tc, bars);
    tcase_add_test(tc, bar_is_gone);
    tcase_add_test(tc, msix);
    tcase_add_test(tc, msix_few);
    tcase_add_loop_test(tc, msix_tables, 0, G_N_ELEMENTS(tables));
    tcase_add_test(tc, msi);
    tcase_add_test(tc, intx);
    tcase_add_test(tc, no_messages);
    tcase_add_test(tc, memory);
    tcase_add_test(tc, resets);
    tcase_add_test(tc, bus_reset);
    tcase_add_test(tc, pulled_out);
    tcase_add_loop_test(tc, refused, 0, G_N_ELEMENTS(refusals));
    tcase_add_test(tc, driver);
    tcase_add_test(tc, wanted);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
