/* One device: how it is found, read, compared and freed. */
#include "hotplug/host/host_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { TRIES = 3, NAME_MOST = 64 };

static const struct {
    const char *name, *list; /* LIST: the folder of links, below sysfs's root */
} kinds[HOST_KINDS] = {
    [HOST_PCI] = {"pci", "bus/pci/devices"},
    [HOST_BLOCK] = {"block", "class/block"},
    [HOST_NET] = {"net", "class/net"},
};

/* Every text of a device: freed, and compared. */
static const size_t texts[] = {
#define TEXT(field) offsetof(struct host_device, field)
    TEXT(id),          TEXT(path),       TEXT(class),  TEXT(identity), TEXT(driver),
    TEXT(text),        TEXT(vendor_name), TEXT(device_name), TEXT(class_name), TEXT(physfn),
    TEXT(resets),      TEXT(serial),     TEXT(slaves), TEXT(address),
#undef TEXT
};

static char *text_at(const struct host_device *d, unsigned i)
{
    return *(char *const *)((const char *)d + texts[i]);
}

const char *host_kind_name(enum host_kind kind)
{
    return kinds[kind].name;
}

char *host_device_list_dir(const char *root, enum host_kind kind)
{
    return g_build_filename(root, kinds[kind].list, NULL);
}

char *host_device_id(enum host_kind kind, const char *name)
{
    return g_strconcat(kinds[kind].name, ":", name, NULL);
}

/* Domain, bus, device and function, as the kernel writes them and no other way. */
static bool is_bdf(const char *name)
{
    unsigned domain, bus, device, function;
    char again[32];

    if (sscanf(name, "%8x:%2x:%2x.%1u", &domain, &bus, &device, &function) != 4 ||
        domain > INT32_MAX || device > 0x1f || function > 7)
        return false;
    g_snprintf(again, sizeof(again), "%04x:%02x:%02x.%u", domain, bus, device, function);
    return strcmp(again, name) == 0;
}

bool host_device_name_valid(enum host_kind kind, const char *name)
{
    size_t n = strlen(name);

    if (kind == HOST_PCI)
        return is_bdf(name);
    if (n == 0 || n > NAME_MOST || name[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!g_ascii_isgraph(name[i]) || name[i] == '/' || name[i] == ':')
            return false;
    }
    return true;
}

void host_device_free(struct host_device *d)
{
    if (!d)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(text_at(d, i));
    g_free(d);
}

static bool same_pci(const struct host_pci *a, const struct host_pci *b)
{
    for (unsigned i = 0; i < HOST_BARS; i++) {
        const struct host_bar *x = &a->bars[i], *y = &b->bars[i];
        if (x->start != y->start || x->size != y->size || x->io != y->io ||
            x->prefetchable != y->prefetchable || x->wide != y->wide)
            return false;
    }
    return a->class_code == b->class_code && a->revision == b->revision &&
           a->enabled == b->enabled && a->vfs == b->vfs && a->vfs_total == b->vfs_total;
}

bool host_device_equal(const struct host_device *a, const struct host_device *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (g_strcmp0(text_at(a, i), text_at(b, i)) != 0)
            return false;
    }
    return a->numa_node == b->numa_node && a->iommu_group == b->iommu_group &&
           same_pci(&a->pci, &b->pci) && a->block.size == b->block.size &&
           a->block.readonly == b->block.readonly && a->block.removable == b->block.removable;
}

bool host_device_above(const struct host_device *a, const struct host_device *b)
{
    size_t n = strlen(a->path);

    return (strncmp(a->path, b->path, n) == 0 && b->path[n] == '/') ||
           g_strcmp0(a->id, b->physfn) == 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* DIR and the folders above it, up to sysfs's own: the first of which READ has something to say. */
static char *upward(const struct host_place *place, char *(*read)(const char *dir, const char *name),
                    const char *name)
{
    g_autofree char *dir = g_strdup(place->dir);
    size_t root = strlen(place->root) + strlen("/devices/");
    char *found = read(dir, name);

    while (!found) {
        char *slash = strrchr(dir, '/');
        if ((size_t)(slash - dir) < root)
            break;
        *slash = '\0';
        found = read(dir, name);
    }
    return found;
}

static void read_common(const struct host_place *place, struct host_device *d)
{
    g_autofree char *node = NULL;
    guint64 number;

    d->numa_node = d->iommu_group = -1;
    /* A bridge's driver is not that of what is behind it. */
    if (d->kind == HOST_PCI) {
        d->driver = sysfs_link(place->dir, "driver");
        node = sysfs_text(place->dir, "numa_node");
    } else {
        d->driver = upward(place, sysfs_link, "driver");
        node = upward(place, sysfs_text, "numa_node");
    }
    if (node && g_ascii_string_to_unsigned(node, 10, 0, INT16_MAX, &number, NULL))
        d->numa_node = (int)number;
}

static bool read_kind(const struct host_place *place, struct pci_reader *reader,
                      struct host_device *d)
{
    switch (d->kind) {
    case HOST_PCI:
        return host_pci_read(reader, place, d);
    case HOST_BLOCK:
        return host_block_read(place, d);
    default:
        return host_net_read(place, d);
    }
}

/* Where the link leads, below ROOT/devices, and which folder that is now; NULL. */
static char *resolve(const char *root, const char *link, uint64_t *incarnation)
{
    g_autofree char *below = g_strconcat(root, "/devices/", NULL);
    char *dir = realpath(link, NULL);
    struct stat st;

    if (dir && g_str_has_prefix(dir, below) && stat(dir, &st) == 0 && S_ISDIR(st.st_mode)) {
        *incarnation = st.st_ino;
        return dir;
    }
    free(dir);
    return NULL;
}

/* Once. RETRY: the device was another one at the end than at the beginning. */
static struct host_device *read_once(const char *root, enum host_kind kind, const char *name,
                                     const struct host_device *known, struct pci_reader *reader,
                                     bool *retry)
{
    g_autofree char *list = host_device_list_dir(root, kind);
    g_autofree char *link = g_build_filename(list, name, NULL);
    struct host_device *d = g_new0(struct host_device, 1);
    struct host_place place = {.root = root, .name = name, .known = known};
    uint64_t after = 0;
    char *dir = resolve(root, link, &d->incarnation), *again = NULL;
    bool ok = false;

    *retry = false;
    if (dir) {
        place.dir = dir;
        d->kind = kind;
        d->id = host_device_id(kind, name);
        d->path = g_utf8_make_valid(dir + strlen(root), -1);
        read_common(&place, d);
        ok = read_kind(&place, reader, d);
        again = resolve(root, link, &after);
        *retry = !again || strcmp(again, dir) != 0 || after != d->incarnation;
    }
    free(dir);
    free(again);
    if (ok && !*retry)
        return d;
    host_device_free(d);
    return NULL;
}

struct host_device *host_device_read(const char *root, enum host_kind kind, const char *name,
                                     const struct host_device *known, struct pci_reader *reader)
{
    struct host_device *d = NULL;
    bool retry = true;

    if (!host_device_name_valid(kind, name))
        return NULL;
    /* What comes and goes so fast that this is not enough has uevents on their way. */
    for (unsigned i = 0; i < TRIES && retry; i++)
        d = read_once(root, kind, name, known, reader, &retry);
    return d;
}
