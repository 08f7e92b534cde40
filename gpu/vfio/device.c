/*
 * A device's life: its group joins the container, it is opened, looked at, reset; at the end the
 * same backwards. What the guest does in between is in config.c, bar.c and irq.c.
 */
#include "gpu/vfio/vfio_priv.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Most functions of the host that a reset of a bus may concern. */
#define RESET_MOST 256

/* --- the kernel ------------------------------------------------------------------------------- */

static int kernel_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    int rc = ioctl(fd, request, arg);

    return rc < 0 ? -errno : rc;
}

static ssize_t kernel_read(void *opaque, int fd, void *to, size_t size, uint64_t offset)
{
    ssize_t n = pread(fd, to, size, (off_t)offset);

    return n < 0 ? -errno : n;
}

static ssize_t kernel_write(void *opaque, int fd, const void *from, size_t size, uint64_t offset)
{
    ssize_t n = pwrite(fd, from, size, (off_t)offset);

    return n < 0 ? -errno : n;
}

static void *kernel_map(void *opaque, int fd, size_t size, bool writable, uint64_t offset)
{
    void *at =
        mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, (off_t)offset);

    return at == MAP_FAILED ? NULL : at;
}

const struct vfio_sys vfio_kernel = {
    .ioctl = kernel_ioctl, .read = kernel_read, .write = kernel_write, .map = kernel_map};

int vfio__ioctl(const struct vfio_device *d, unsigned long request, void *arg)
{
    return d->sys->ioctl(d->sys->opaque, d->fd, request, arg);
}

bool vfio__read(const struct vfio_device *d, const struct vfio_region *region, uint64_t offset,
                void *to, size_t size)
{
    return d->sys->read(d->sys->opaque, d->fd, to, size, region->offset + offset) == (ssize_t)size;
}

bool vfio__write(const struct vfio_device *d, const struct vfio_region *region, uint64_t offset,
                 const void *from, size_t size)
{
    return d->sys->write(d->sys->opaque, d->fd, from, size, region->offset + offset) ==
           (ssize_t)size;
}

void vfio_files_close(struct vfio_files *files)
{
    base__close_fd(&files->container);
    base__close_fd(&files->group);
    base__close_fd(&files->lease);
    *files = (struct vfio_files){-1, -1, -1};
}

/* --- reset ------------------------------------------------------------------------------------ */

/* Whether all that a reset of the device's bus concerns is of its group, and so the VM's. */
static bool is_alone(struct vfio_device *d)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};
    size_t size = sizeof(struct vfio_pci_hot_reset_info) +
                  RESET_MOST * sizeof(struct vfio_pci_dependent_device);
    g_autofree struct vfio_pci_hot_reset_info *info = g_malloc0(size);
    bool found = false;

    info->argsz = (uint32_t)size;
    if (d->sys->ioctl(d->sys->opaque, d->files.group, VFIO_GROUP_GET_STATUS, &status) < 0 ||
        vfio__ioctl(d, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info) < 0 || info->count > RESET_MOST)
        return false;
    for (uint32_t i = 0; i < info->count; i++) {
        if (info->devices[i].group_id != info->devices[0].group_id)
            return false;
        found = true;
    }
    return found;
}

static int reset_bus(struct vfio_device *d)
{
    g_autofree struct vfio_pci_hot_reset *reset = g_malloc0(sizeof(*reset) + sizeof(int32_t));

    reset->argsz = sizeof(*reset) + sizeof(int32_t);
    reset->count = 1;
    reset->group_fds[0] = d->files.group;
    return vfio__ioctl(d, VFIO_DEVICE_PCI_HOT_RESET, reset);
}

static int reset_now(struct vfio_device *d)
{
    return d->resets ? vfio__ioctl(d, VFIO_DEVICE_RESET, NULL) : reset_bus(d);
}

static bool first_reset(struct vfio_device *d, bool by_itself, GError **err)
{
    d->resets = by_itself;
    if (!by_itself && !is_alone(d))
        return vmd_fail(
            err, VMD_ERROR_UNSUPPORTED,
            "it cannot be reset: the guest would get what its last user left in it, and "
            "the next user what the guest leaves");
    int rc = reset_now(d);
    return rc >= 0 || vmd_set_errno(err, -rc, "resetting it");
}

/* --- what the guest does ---------------------------------------------------------------------- */

static void config_read(void *opaque, unsigned offset, unsigned size)
{
    vfio__irq_show(opaque);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    vfio__irq_config(opaque);
}

static void master_changed(void *opaque, bool on)
{
    struct vfio_device *d = opaque;

    vfio__set_master(d, on);
    uv_async_send(d->wake);
}

void vfio__wake(uv_async_t *wake)
{
    struct vfio_device *d = wake->data;
    bool on = pci_function_master(d->pci);

    if (on != d->told && d->watch)
        d->watch->changed(d->watch_opaque, on);
    d->told = on;
}

void vfio_device_watch(struct vfio_device *d, const struct vfio_watch *watch, void *opaque)
{
    d->watch = watch;
    d->watch_opaque = opaque;
}

/* The machine is reset: its DMA ends before its memory is filled anew. */
static void machine_reset(void *opaque)
{
    struct vfio_device *d = opaque;

    vfio__irq_reset(d);
    int rc = reset_now(d);
    if (rc < 0) {
        g_autofree char *text =
            g_strdup_printf("host device %s is not reset with the machine: %s", d->address,
                            g_strerror(-rc));
        vfio__warn(d->container, text);
    }
    vfio__set_master(d, pci_function_master(d->pci));
}

static const struct pci_function_ops function_ops = {
    .config_read = config_read,
    .config_written = config_written,
    .master_changed = master_changed,
    .reset = machine_reset,
};

/* --- opening ---------------------------------------------------------------------------------- */

static bool region_info(struct vfio_device *d, unsigned index, struct vfio_region *out,
                        GError **err)
{
    struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
    int rc = vfio__ioctl(d, VFIO_DEVICE_GET_REGION_INFO, &info);

    if (rc < 0)
        return vmd_set_errno(err, -rc, "asking for its region %u", index);
    *out = (struct vfio_region){info.size, info.offset, info.flags};
    return true;
}

unsigned vfio__irqs_of(const struct vfio_device *d, unsigned index)
{
    struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

    if (vfio__ioctl(d, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ||
        !(info.flags & VFIO_IRQ_INFO_EVENTFD))
        return 0;
    return info.count;
}

static bool open_device(struct vfio_device *d, bool *by_itself, GError **err)
{
    struct vfio_device_info info = {.argsz = sizeof(info)};

    d->fd = d->sys->ioctl(d->sys->opaque, d->files.group, VFIO_GROUP_GET_DEVICE_FD, d->address);
    if (d->fd < 0)
        return vmd_set_errno(err, -d->fd, "opening it");
    int rc = vfio__ioctl(d, VFIO_DEVICE_GET_INFO, &info);
    if (rc < 0)
        return vmd_set_errno(err, -rc, "looking at it");
    if (!(info.flags & VFIO_DEVICE_FLAGS_PCI) || info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "it is no PCI device to VFIO");
    *by_itself = info.flags & VFIO_DEVICE_FLAGS_RESET;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        d->bars[i].device = d;
        d->bars[i].index = i;
        if (!region_info(d, VFIO_PCI_BAR0_REGION_INDEX + i, &d->bars[i].region, err))
            return false;
    }
    d->intx = vfio__irqs_of(d, VFIO_PCI_INTX_IRQ_INDEX) > 0;
    if (vfio__messages(d->container)) {
        d->messages = vfio__irqs_of(d, VFIO_PCI_MSI_IRQ_INDEX);
        d->vectors = vfio__irqs_of(d, VFIO_PCI_MSIX_IRQ_INDEX);
    }
    return region_info(d, VFIO_PCI_CONFIG_REGION_INDEX, &d->config, err);
}

static char *describe(struct vfio_device *d)
{
    const uint8_t *c = pci_function_config(d->pci);
    unsigned bars = 0, shown = 0;
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < PCI_BARS; i++) {
        bars += d->bars[i].name != NULL;
        shown += d->bars[i].shown;
    }
    g_string_printf(text, "%s, %04x:%04x, %u of %u BARs as memory", d->address,
                    vfio__get16(c + PCI_VENDOR_ID), vfio__get16(c + PCI_DEVICE_ID), shown, bars);
    if (d->vectors)
        g_string_append_printf(text, ", MSI-X %u", d->vectors);
    if (d->messages)
        g_string_append_printf(text, ", MSI %u", d->messages);
    if (d->intx)
        g_string_append(text, ", INTx");
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static bool make(struct vfio_device *d, bool on_root, GError **err)
{
    bool by_itself = false;

    d->joined = vfio__join(d->container, &d->files, err);
    if (!d->joined || !open_device(d, &by_itself, err) || !first_reset(d, by_itself, err) ||
        !vfio__make_function(d, on_root, &function_ops, err) || !vfio__irq_init(d, err))
        return false;
    vfio__set_master(d, false); /* and lets its registers be read and written */
    d->text = describe(d);
    return true;
}

struct vfio_device *vfio_device_new(struct vfio_container *container, uv_loop_t *loop,
                                    const char *address, struct vfio_files *files, bool on_root,
                                    GError **err)
{
    struct vfio_device *d = g_new0(struct vfio_device, 1);

    d->container = container;
    d->sys = vfio__sys(container);
    d->address = g_strdup(address);
    d->files = *files;
    *files = (struct vfio_files){-1, -1, -1};
    d->fd = d->epoll = d->wishes[VFIO_WISH_REQUEST] = d->wishes[VFIO_WISH_ERROR] = -1;
    d->loop = loop;
    pthread_mutex_init(&d->lock, NULL);
    if (make(d, on_root, err))
        return d;
    g_prefix_error(err, "host device %s: ", address);
    vfio_device_free(d, NULL);
    return NULL;
}

/* --- closing ---------------------------------------------------------------------------------- */

bool vfio_device_free(struct vfio_device *d, GError **err)
{
    int rc = 0;

    if (!d)
        return true;
    vfio__irq_fini(d);
    if (d->pci) { /* it was reset, and perhaps used */
        vfio__set_master(d, false);
        rc = reset_now(d);
        /* Whoever unbinds a function has it locked. The kernel resets what it can as it closes it. */
        if (rc == -EAGAIN && d->requested)
            rc = 0;
    }
    pci_function_free(d->pci);
    vfio__free_bars(d);
    base__close_fd(&d->fd);
    if (d->joined)
        vfio__leave(d->container, &d->files);
    if (rc < 0)
        vmd_set_errno(err, -rc, "resetting host device %s after its use", d->address);
    vfio_files_close(&d->files);
    pthread_mutex_destroy(&d->lock);
    g_free(d->text);
    g_free(d->address);
    g_free(d);
    return rc >= 0;
}

struct pci_function *vfio_device_pci(struct vfio_device *d)
{
    return d->pci;
}

const char *vfio_device_text(const struct vfio_device *d)
{
    return d->text;
}
