/*
 * PCI functions. Identity, class, subsystem, revision and names are libpci's; the rest is sysfs.
 *
 * libpci ends the program where it meets what it does not expect, unless its error function does not
 * return: ours jumps out. What libpci allocates is its device's and its access's, and freed with them. Its
 * own reader of "resource" would lose an open file that way, so that file is read here.
 */
#include "hotplug/host/host_priv.h"

#include <pci/pci.h>
#include <setjmp.h>
#include <stdio.h>

enum { TEXT = 256, IDENTITY = PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_CLASS_EXT | PCI_FILL_SUBSYS };

/* Flags of a line of "resource": include/linux/ioport.h. */
enum { RANGE_IO = 0x100, RANGE_PREFETCH = 0x2000, RANGE_64 = 0x100000 };

struct pci_reader {
    struct pci_access *access;
    char *path, *ids; /* which libpci borrows */
    bool no_names;    /* the list cannot be used */
};

static __thread jmp_buf *escape; /* of the call of libpci under way */

G_GNUC_NORETURN static void give_up(char *msg, ...)
{
    longjmp(*escape, 1);
}

static void say_nothing(char *msg, ...)
{
}

/* Calls FN(ARG), which calls libpci; false where that gave up. */
static bool guarded(void (*fn)(void *), void *arg)
{
    jmp_buf here;
    bool ok = false;

    escape = &here;
    if (setjmp(here) == 0) {
        fn(arg);
        ok = true;
    }
    escape = NULL;
    return ok;
}

static void begin(void *arg)
{
    struct pci_reader *r = arg;
    char param[] = "sysfs.path";

    r->access = pci_alloc();
    r->access->method = PCI_ACCESS_SYS_BUS_PCI;
    r->access->id_lookup_mode = 0; /* not the cache in the home folder */
    r->access->error = give_up;
    r->access->warning = r->access->debug = say_nothing;
    pci_set_param(r->access, param, r->path);
    if (r->ids)
        pci_set_name_list_path(r->access, r->ids, 0);
    pci_init(r->access);
}

struct pci_reader *pci_reader_new(const char *sysfs, const char *pci_ids)
{
    struct pci_reader *r = g_new0(struct pci_reader, 1);

    r->path = g_build_filename(sysfs, "bus/pci", NULL);
    r->ids = g_strdup(pci_ids);
    if (!guarded(begin, r))
        g_clear_pointer(&r->access, pci_cleanup);
    return r;
}

void pci_reader_free(struct pci_reader *r)
{
    if (!r)
        return;
    if (r->access)
        pci_cleanup(r->access);
    g_free(r->path);
    g_free(r->ids);
    g_free(r);
}

/* --- what libpci knows ------------------------------------------------------------------------ */

struct query {
    struct pci_reader *reader;
    struct pci_dev *dev;
    unsigned bdf[4];
    struct host_device *device;
};

static void get(void *arg)
{
    struct query *q = arg;

    q->dev = pci_get_dev(q->reader->access, (int)q->bdf[0], (int)q->bdf[1], (int)q->bdf[2],
                         (int)q->bdf[3]);
}

static void fill(void *arg)
{
    pci_fill_info(((struct query *)arg)->dev, IDENTITY);
}

static char *name_of(struct pci_access *a, int what, int id, int second)
{
    char buf[TEXT];
    const char *name = pci_lookup_name(a, buf, sizeof(buf), what | PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB,
                                       id, second);

    return name ? sysfs_clean(g_strdup(name)) : NULL;
}

static void look_up_names(void *arg)
{
    const struct query *q = arg;
    struct pci_access *a = q->reader->access;

    q->device->vendor_name = name_of(a, PCI_LOOKUP_VENDOR, q->dev->vendor_id, 0);
    q->device->device_name = name_of(a, PCI_LOOKUP_DEVICE, q->dev->vendor_id, q->dev->device_id);
    q->device->class_name = name_of(a, PCI_LOOKUP_CLASS, q->dev->device_class, 0);
}

static void take_identity(struct host_device *device, const struct pci_dev *dev)
{
    struct host_pci *pci = &device->pci;

    pci->vendor = dev->vendor_id;
    pci->device = dev->device_id;
    pci->subvendor = dev->subsys_vendor_id;
    pci->subdevice = dev->subsys_id;
    pci->class_code = (uint32_t)dev->device_class << 8 | dev->prog_if;
    pci->revision = dev->rev_id;
    device->class = g_strdup_printf("%06x", pci->class_code);
    device->identity = g_strdup_printf("%04x:%04x:%04x:%04x", pci->vendor, pci->device, pci->subvendor,
                                       pci->subdevice);
}

/* The list of names is long, and read for those alone that are new. */
static void take_names(struct query *q, const struct host_device *known)
{
    struct host_device *d = q->device;

    if (known && known->pci.class_code == d->pci.class_code && strcmp(known->identity, d->identity) == 0) {
        d->vendor_name = g_strdup(known->vendor_name);
        d->device_name = g_strdup(known->device_name);
        d->class_name = g_strdup(known->class_name);
    } else if (!q->reader->no_names) {
        q->reader->no_names = !guarded(look_up_names, q);
    }
    if (d->vendor_name && d->device_name)
        d->text = sysfs_clean(g_strdup_printf("%s %s", d->vendor_name, d->device_name));
}

static bool ask_libpci(struct query *q, const struct host_device *known)
{
    if (!q->reader->access || !guarded(get, q))
        return false;
    /* No vendor has these numbers: there is nothing, or no more. */
    bool ok = guarded(fill, q) && q->dev->vendor_id != 0 && q->dev->vendor_id != 0xffff;
    if (ok) {
        take_identity(q->device, q->dev);
        take_names(q, known);
    }
    pci_free_dev(q->dev);
    return ok;
}

/* --- what sysfs knows ------------------------------------------------------------------------- */

static void read_bar(const char *line, struct host_bar *bar)
{
    unsigned long long start, end, flags;

    if (sscanf(line, "%llx %llx %llx", &start, &end, &flags) != 3 || end <= start)
        return;
    bar->start = start;
    bar->size = end - start + 1;
    bar->io = flags & RANGE_IO;
    bar->prefetchable = flags & RANGE_PREFETCH;
    bar->wide = flags & RANGE_64;
}

static void read_bars(const char *dir, struct host_pci *pci)
{
    g_autofree char *path = g_build_filename(dir, "resource", NULL);
    char line[TEXT];
    FILE *file = fopen(path, "re");

    for (unsigned i = 0; file && i < HOST_BARS && fgets(line, sizeof(line), file); i++)
        read_bar(line, &pci->bars[i]);
    if (file)
        fclose(file);
}

static uint32_t count(const char *dir, const char *name)
{
    uint64_t n = 0;

    sysfs_number(dir, name, UINT16_MAX, &n);
    return (uint32_t)n;
}

static void read_links(const char *dir, struct host_device *device)
{
    g_autofree char *group = sysfs_link(dir, "iommu_group"), *physfn = sysfs_link(dir, "physfn");
    guint64 number;

    if (group && g_ascii_string_to_unsigned(group, 10, 0, INT32_MAX, &number, NULL))
        device->iommu_group = (int)number;
    if (physfn && host_device_name_valid(HOST_PCI, physfn))
        device->physfn = host_device_id(HOST_PCI, physfn);
}

bool host_pci_read(struct pci_reader *reader, const struct host_place *place,
                   struct host_device *device)
{
    struct query q = {.reader = reader, .device = device};
    uint64_t enabled = 0;

    sscanf(place->name, "%x:%x:%x.%u", &q.bdf[0], &q.bdf[1], &q.bdf[2], &q.bdf[3]);
    if (!ask_libpci(&q, place->known))
        return false;
    read_bars(place->dir, &device->pci);
    read_links(place->dir, device);
    device->pci.vfs = count(place->dir, "sriov_numvfs");
    device->pci.vfs_total = count(place->dir, "sriov_totalvfs");
    sysfs_number(place->dir, "enable", UINT32_MAX, &enabled);
    device->pci.enabled = enabled > 0;
    device->resets = sysfs_text(place->dir, "reset_method");
    /* Kernels before 5.15 do not say how they would. */
    if (!device->resets && sysfs_has(place->dir, "reset"))
        device->resets = g_strdup("unnamed");
    return true;
}
