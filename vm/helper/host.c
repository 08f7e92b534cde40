/* Writes to sysfs. See host.h. */
#include "vm/helper/host.h"

#include "base/log.h"
#include "base/pciaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

#define VFIO "vfio-pci"

/* To give a function back that the kernel is not done with. */
enum { TRIES_MOST = 10, TRIES_S = 1 };

struct lease {
    int client;             /* -1: it is gone */
    char *address, *driver; /* DRIVER: what it had; NULL: none, and none is looked for */
    char *override;         /* an administrator's driver_override; NULL: none */
    int group;
    bool ours;      /* it was given to vfio-pci here */
    unsigned tries; /* to give it back, in vain */
    int64_t tried;  /* the last of them, by the kernel's clock */
};

struct host_leases {
    const struct host_kernel *kernel;
    GPtrArray *all; /* struct lease */
    int fd;         /* a file of them; -1: none */
};

/* --- the kernel ------------------------------------------------------------------------------- */

static int write_file(void *opaque, const char *path, const char *text)
{
    autofd fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int open_node(void *opaque, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int64_t host_seconds(void *opaque)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

const struct host_kernel host_kernel = {
    .sysfs = "/sys", .dev = "/dev", .write = write_file, .open = open_node, .seconds = host_seconds};

static char *file_of(const struct host_kernel *k, const char *address, const char *name)
{
    return g_build_filename(k->sysfs, "bus/pci/devices", address, name, NULL);
}

/* The last part of what the link NAME of ADDRESS leads to; the caller's. */
static char *link_of(const struct host_kernel *k, const char *address, const char *name)
{
    g_autofree char *path = file_of(k, address, name);
    g_autofree char *to = g_file_read_link(path, NULL);

    return to ? g_path_get_basename(to) : NULL;
}

char *host_driver(const struct host_kernel *k, const char *address)
{
    return link_of(k, address, "driver");
}

int host_group(const struct host_kernel *k, const char *address, GError **err)
{
    g_autofree char *vendor = file_of(k, address, "vendor");
    g_autofree char *name = link_of(k, address, "iommu_group");
    guint64 number;

    if (name && g_ascii_string_to_unsigned(name, 10, 0, INT_MAX, &number, NULL))
        return (int)number;
    if (!pciaddr_valid(address) || access(vendor, F_OK) < 0)
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "the host has no PCI function %s", address);
    else
        vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                 "PCI function %s is in no IOMMU group: VFIO needs an IOMMU that the host's kernel "
                 "uses (intel_iommu=on)",
                 address);
    return -1;
}

static int tell(const struct host_kernel *k, const char *path, const char *text)
{
    return k->write(k->opaque, path, text);
}

static int tell_function(const struct host_kernel *k, const char *address, const char *name,
                         const char *text)
{
    g_autofree char *path = file_of(k, address, name);

    return tell(k, path, text);
}

/* Has the kernel look for a driver of ADDRESS. */
static int probe(const struct host_kernel *k, const char *address)
{
    g_autofree char *path = g_build_filename(k->sysfs, "bus/pci/drivers_probe", NULL);

    return tell(k, path, address);
}

/* --- what else is in its group ---------------------------------------------------------------- */

/* Base class and subclass, 16 bits; 0 where it cannot be read. */
static unsigned class_of(const struct host_kernel *k, const char *address)
{
    g_autofree char *path = file_of(k, address, "class");
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    return (unsigned)(g_ascii_strtoull(text, NULL, 16) >> 8);
}

static bool is_bridge(unsigned class)
{
    return class >> 8 == 0x06;
}

/* Whether ADDRESS may be in the group of a function that a VM has. */
static bool is_harmless(const struct host_kernel *k, const char *address)
{
    g_autofree char *driver = host_driver(k, address);

    return !driver || strcmp(driver, VFIO) == 0 || strcmp(driver, "pci-stub") == 0 ||
           is_bridge(class_of(k, address));
}

static bool check_group(const struct host_kernel *k, const char *address, int group, GError **err)
{
    g_autofree char *number = g_strdup_printf("%d", group);
    g_autofree char *path =
        g_build_filename(k->sysfs, "kernel/iommu_groups", number, "devices", NULL);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *other;

    if (!folder)
        return vmd_fail(err, VMD_ERROR_IO, "the IOMMU group of PCI function %s cannot be read",
                        address);
    while ((other = g_dir_read_name(folder))) {
        if (strcmp(other, address) == 0 || is_harmless(k, other))
            continue;
        g_autofree char *driver = host_driver(k, other);
        return vmd_fail(
            err, VMD_ERROR_BUSY,
            "PCI function %s shares IOMMU group %d with %s, which has the driver %s: all of "
            "a group goes to one VM",
            address, group, other, driver ? driver : "?");
    }
    return true;
}

/* --- giving and taking back ------------------------------------------------------------------- */

/* What driver_override of ADDRESS says, NULL: nothing; the caller's. */
static char *override_of(const struct host_kernel *k, const char *address)
{
    g_autofree char *path = file_of(k, address, "driver_override");
    char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL))
        g_strchomp(text);
    if (text && (!*text || strcmp(text, "(null)") == 0))
        g_clear_pointer(&text, g_free);
    return text;
}

static int restore_override(const struct host_kernel *k, const char *address, const char *override)
{
    return tell_function(k, address, "driver_override", override ? override : "\n");
}

/* To vfio-pci, from DRIVER and OVERRIDE, which may be NULL. */
static bool give(const struct host_kernel *k, const char *address, const char *driver,
                 const char *override, GError **err)
{
    int rc = tell_function(k, address, "driver_override", VFIO);

    if (rc < 0)
        return vmd_set_errno(err, -rc, "giving PCI function %s to " VFIO, address);
    if (driver)
        rc = tell_function(k, address, "driver/unbind", address);
    if (rc == 0)
        rc = probe(k, address);
    g_autofree char *now = host_driver(k, address);
    if (g_strcmp0(now, VFIO) == 0)
        return true;
    restore_override(k, address, override);
    if (driver)
        probe(k, address);
    return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                    "the host's kernel did not give PCI function %s to " VFIO "%s", address,
                    rc < 0 ? "" : ": is the module loaded?");
}

static int open_group(const struct host_kernel *k, int group)
{
    g_autofree char *path = g_strdup_printf("%s/vfio/%d", k->dev, group);

    return k->open(k->opaque, path);
}

/*
 * Gives the function of L its own driver again. False: it is to be tried once more. Somebody else may be taking it
 * from vfio-pci at the same time, who waited for the guest as well; until the kernel is done with that it gives
 * the function to nobody, and says nothing of it.
 */
static bool take_back(const struct host_kernel *k, struct lease *l)
{
    int64_t now_s = k->seconds(k->opaque);

    if (l->tries && now_s - l->tried < TRIES_S)
        return false;
    l->tried = now_s;
    g_autofree char *has = host_driver(k, l->address);
    int rc = restore_override(k, l->address, l->override);

    if (g_strcmp0(has, VFIO) == 0)
        tell_function(k, l->address, "driver/unbind", l->address);
    if (l->driver)
        probe(k, l->address);
    g_autofree char *now = host_driver(k, l->address);
    bool same = g_strcmp0(now, l->driver) == 0;
    if (!same && (!now || strcmp(now, VFIO) == 0) && ++l->tries < TRIES_MOST)
        return false;
    if (rc < 0 || !same)
        log_warning("PCI function %s had the driver %s and has now %s", l->address,
                    l->driver ? l->driver : "none", now ? now : "none");
    else
        log_info("PCI function %s has the driver %s again", l->address,
                 l->driver ? l->driver : "none");
    return true;
}

/* --- leases ----------------------------------------------------------------------------------- */

static void lease_free(gpointer p)
{
    struct lease *l = p;

    g_free(l->address);
    g_free(l->driver);
    g_free(l->override);
    g_free(l);
}

struct host_leases *host_leases_new(const struct host_kernel *kernel)
{
    struct host_leases *leases = g_new0(struct host_leases, 1);

    leases->kernel = kernel;
    leases->all = g_ptr_array_new_with_free_func(lease_free);
    leases->fd = -1;
    return leases;
}

void host_leases_free(struct host_leases *leases)
{
    if (!leases)
        return;
    g_ptr_array_free(leases->all, TRUE);
    g_free(leases);
}

/* --- a file of them --------------------------------------------------------------------------- */

#define FILE_END  "end"
#define FILE_MOST (64 << 10)

/* A line of each that was given to vfio-pci here, of ADDRESS, GROUP, DRIVER and OVERRIDE with tabs
 * between them, since a driver's name may have a space in it, and "-" for none; and one that ends
 * them, whatever older text is behind it. */
static void keep(const struct host_leases *leases)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (leases->fd < 0)
        return;
    for (guint i = 0; i < leases->all->len; i++) {
        const struct lease *l = g_ptr_array_index(leases->all, i);
        if (l->ours)
            g_string_append_printf(text, "%s\t%d\t%s\t%s\n", l->address, l->group,
                                   l->driver ? l->driver : "-", l->override ? l->override : "-");
    }
    g_string_append(text, FILE_END "\n");
    if (pwrite(leases->fd, text->str, text->len, 0) != (ssize_t)text->len)
        log_warning("what is lent cannot be kept: the next vmd-helper will not know of it");
}

static char *word(const char *text)
{
    return strcmp(text, "-") == 0 ? NULL : g_strdup(text);
}

/* The lease that LINE is; NULL: it makes no sense, or the function has gone. */
static struct lease *lease_from(const struct host_kernel *k, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, strchr(line, '\t') ? "\t" : " ", 4); /* as they were once */
    guint64 group;

    if (g_strv_length(words) != 4 || !pciaddr_valid(words[0]) ||
        !g_ascii_string_to_unsigned(words[1], 10, 0, INT_MAX, &group, NULL) ||
        host_group(k, words[0], NULL) != (int)group)
        return NULL;
    struct lease *l = g_new0(struct lease, 1);
    *l = (struct lease){.client = -1,
                        .address = g_strdup(words[0]),
                        .driver = word(words[2]),
                        .override = word(words[3]),
                        .group = (int)group,
                        .ours = true};
    return l;
}

bool host_leases_keep(struct host_leases *leases, int fd, GError **err)
{
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return vmd_set_errno(err, errno, "another vmd-helper keeps what it lends there");
    g_autofree char *text = g_malloc0(FILE_MOST + 1);
    ssize_t n = pread(fd, text, FILE_MOST, 0);
    g_auto(GStrv) lines = g_strsplit(n > 0 ? text : "", "\n", -1);
    char **line = lines;

    for (; *line && strcmp(*line, FILE_END) != 0; line++) {
        struct lease *l = lease_from(leases->kernel, *line);
        if (l)
            g_ptr_array_add(leases->all, l);
        else if (**line)
            log_warning("what was lent before is not known: '%s'", *line);
    }
    if (n > 0 && !*line)
        log_warning("the end of what was lent before is missing: more may have been lent");
    leases->fd = fd;
    keep(leases);
    return true;
}

/* --- lending ---------------------------------------------------------------------------------- */

/* The lease of a function of GROUP; NULL. */
static struct lease *lease_in(const struct host_leases *leases, int group)
{
    for (guint i = 0; i < leases->all->len; i++) {
        struct lease *l = g_ptr_array_index(leases->all, i);
        if (l->group == group)
            return l;
    }
    return NULL;
}

/* Whether GROUP can be lent: the kernel lets it be opened once, and a function whose group is open
 * cannot be taken back. */
static bool check_free(const struct host_leases *leases, const char *address, int group,
                       GError **err)
{
    const struct lease *l = lease_in(leases, group);

    if (l && strcmp(l->address, address) == 0)
        return vmd_fail(err, VMD_ERROR_BUSY, "PCI function %s is lent already", address);
    if (l)
        return vmd_fail(err, VMD_ERROR_BUSY,
                        "PCI function %s is in IOMMU group %d, of which %s is lent already: "
                        "one function of a group is lent at a time",
                        address, group, l->address);
    autofd fd = open_group(leases->kernel, group);
    return fd != -EBUSY || vmd_set_errno(err, EBUSY, "opening IOMMU group %d of PCI function %s",
                                         group, address);
}

int host_lend(struct host_leases *leases, int client, const char *address, GError **err)
{
    const struct host_kernel *k = leases->kernel;
    int group = host_group(k, address, err);

    if (group < 0 || !check_group(k, address, group, err))
        return -1;
    if (is_bridge(class_of(k, address))) {
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "PCI function %s is a bridge", address);
        return -1;
    }
    host_sweep(leases);
    if (!check_free(leases, address, group, err))
        return -1;
    g_autofree char *driver = host_driver(k, address);
    g_autofree char *override = override_of(k, address);
    bool ours = g_strcmp0(driver, VFIO) != 0;
    struct lease *l = g_new0(struct lease, 1);
    *l = (struct lease){.client = client,
                        .address = g_strdup(address),
                        .driver = g_steal_pointer(&driver),
                        .override = g_steal_pointer(&override),
                        .group = group,
                        .ours = ours};
    g_ptr_array_add(leases->all, l);
    keep(leases); /* before, so that one who is killed between them leaves nothing unknown */
    if (ours && !give(k, address, l->driver, l->override, err)) {
        g_ptr_array_remove(leases->all, l);
        keep(leases);
        return -1;
    }
    int fd = open_group(k, group);
    if (fd >= 0)
        return fd;
    vmd_set_errno(err, -fd, "opening IOMMU group %d of PCI function %s", group, address);
    l->client = -1; /* it goes back when nobody has its group open */
    host_sweep(leases);
    return -1;
}

bool host_lent(const struct host_leases *leases, int client)
{
    for (guint i = 0; i < leases->all->len; i++) {
        if (((const struct lease *)g_ptr_array_index(leases->all, i))->client == client)
            return true;
    }
    return false;
}

void host_return(struct host_leases *leases, int client)
{
    for (guint i = 0; i < leases->all->len; i++) {
        struct lease *l = g_ptr_array_index(leases->all, i);
        if (l->client == client)
            l->client = -1;
    }
    host_sweep(leases);
}

/* Whether nobody has the group of L open. */
static bool is_closed(const struct host_kernel *k, const struct lease *l)
{
    autofd fd = open_group(k, l->group);

    return fd != -EBUSY;
}

bool host_sweep(struct host_leases *leases)
{
    bool some = false, fewer = false;

    for (guint i = leases->all->len; i-- > 0;) {
        struct lease *l = g_ptr_array_index(leases->all, i);
        if (l->client >= 0)
            continue;
        if (l->ours && !is_closed(leases->kernel, l)) {
            some = true;
            continue;
        }
        if (l->ours && !take_back(leases->kernel, l)) {
            some = true;
            continue;
        }
        g_ptr_array_remove_index(leases->all, i);
        fewer = true;
    }
    if (fewer)
        keep(leases);
    return some;
}
