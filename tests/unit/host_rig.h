/*
 * A host made of files: a folder that looks like sysfs, devices that come and go in it, a source of uevents,
 * and a listener that writes down what it hears.
 */
#ifndef TESTS_UNIT_HOST_RIG_H
#define TESTS_UNIT_HOST_RIG_H

#include "hotplug/host/host_devices.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct host_rig {
    char *root;
    unsigned buried;
    uv_loop_t loop;
    int kernel; /* our end of the source of uevents; -1: none */
    struct host_devices *host;
    GString *said; /* "+pci:0000:00:01.0 " appeared, "~" changed, "-" gone, "-ID@HOLDER" */
    unsigned stores;
    bool store_fails;
};

static inline char *rig_path(const struct host_rig *rig, const char *name)
{
    return g_build_filename(rig->root, name, NULL);
}

static inline void rig_put(const struct host_rig *rig, const char *name, const char *text)
{
    g_autofree char *path = rig_path(rig, name), *dir = g_path_get_dirname(path);

    ck_assert_int_eq(g_mkdir_with_parents(dir, 0700), 0);
    autofd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static inline void rig_link(const struct host_rig *rig, const char *name, const char *target)
{
    g_autofree char *path = rig_path(rig, name), *dir = g_path_get_dirname(path);
    g_autofree char *to = rig_path(rig, target);

    ck_assert_int_eq(g_mkdir_with_parents(dir, 0700), 0);
    ck_assert_msg(symlink(to, path) == 0, "%s: %s", path, strerror(errno));
}

/* Files of the device whose folder is DIR: pairs of name and text, ended by NULL. */
static inline void rig_files(const struct host_rig *rig, const char *dir, const char *const *files)
{
    for (; files[0]; files += 2) {
        g_autofree char *name = g_build_filename(dir, files[0], NULL);
        rig_put(rig, name, files[1]);
    }
}

static inline void rig_list(const struct host_rig *rig, const char *list, const char *dir)
{
    g_autofree char *base = g_path_get_basename(dir), *name = g_build_filename(list, base, NULL);

    rig_link(rig, name, dir);
}

/* A PCI function whose folder is DIR, such as devices/pci0000:00/0000:00:02.0. */
static inline void rig_pci(const struct host_rig *rig, const char *dir, const char *vendor,
                           const char *device, const char *class)
{
    const char *const files[] = {"vendor", vendor,   "device", device, "class",     class,
                                 "revision", "0x01\n", "enable", "0\n",  "numa_node", "-1\n", NULL};

    rig_files(rig, dir, files);
    rig_list(rig, "bus/pci/devices", dir);
}

static inline void rig_group(const struct host_rig *rig, const char *dir, const char *number)
{
    g_autofree char *link = g_build_filename(dir, "iommu_group", NULL);
    g_autofree char *group = g_build_filename("kernel/iommu_groups", number, NULL);

    rig_link(rig, link, group);
}

static inline void rig_block(const struct host_rig *rig, const char *dir, const char *sectors)
{
    const char *const files[] = {"size", sectors, "ro", "0\n", "removable", "0\n", NULL};

    rig_files(rig, dir, files);
    rig_list(rig, "class/block", dir);
}

static inline void rig_net(const struct host_rig *rig, const char *dir, const char *address)
{
    const char *const files[] = {"type", "1\n", "address", address, "addr_assign_type", "0\n", NULL};

    rig_files(rig, dir, files);
    rig_list(rig, "class/net", dir);
}

/* The device leaves its list, and its folder goes where its inode is not given to another. */
static inline void rig_remove(struct host_rig *rig, const char *list, const char *dir)
{
    g_autofree char *base = g_path_get_basename(dir), *name = g_build_filename(list, base, NULL);
    g_autofree char *link = rig_path(rig, name), *from = rig_path(rig, dir);
    g_autofree char *grave = g_strdup_printf("%s/graves/%u", rig->root, rig->buried++);
    g_autofree char *graves = rig_path(rig, "graves");

    g_mkdir_with_parents(graves, 0700);
    ck_assert_int_eq(unlink(link), 0);
    ck_assert_int_eq(rename(from, grave), 0);
}

/* A network interface gets another name, and stays the same. */
static inline void rig_rename_net(struct host_rig *rig, const char *from, const char *to)
{
    g_autofree char *a = g_path_get_basename(from), *list = g_build_filename("class/net", a, NULL);
    g_autofree char *link = rig_path(rig, list), *old = rig_path(rig, from), *new = rig_path(rig, to);

    ck_assert_int_eq(unlink(link), 0);
    ck_assert_int_eq(rename(old, new), 0);
    rig_list(rig, "class/net", to);
}

/* --- what is heard ---------------------------------------------------------------------------- */

static inline void rig__appeared(void *arg, const struct host_device *d)
{
    g_string_append_printf(((struct host_rig *)arg)->said, "+%s ", d->id);
}

static inline void rig__changed(void *arg, const struct host_device *d, const char *was)
{
    g_string_append_printf(((struct host_rig *)arg)->said, "~%s%s%s ", d->id, was ? "<" : "", was ? was : "");
}

static inline void rig__gone(void *arg, const struct host_device *d, const char *holder)
{
    g_string_append_printf(((struct host_rig *)arg)->said, "-%s%s%s ", d->id, holder ? "@" : "",
                           holder ? holder : "");
}

static inline bool rig__claims_changed(void *arg, GError **err)
{
    struct host_rig *rig = arg;

    rig->stores++;
    return !rig->store_fails || vmd_fail(err, VMD_ERROR_IO, "the store is full");
}

static inline void rig__watch_lost(void *arg, const char *why)
{
    g_string_append(((struct host_rig *)arg)->said, "!lost ");
}

static const struct host_listener rig__listener = {rig__appeared, rig__changed, rig__gone,
                                                   rig__claims_changed, rig__watch_lost};

/* What was heard since the last time must be TEXT. */
static inline void rig_heard(struct host_rig *rig, const char *text)
{
    ck_assert_str_eq(rig->said->str, text);
    g_string_truncate(rig->said, 0);
}

/* --- the source of uevents ------------------------------------------------------------------- */

static inline void rig_send(struct host_rig *rig, const void *data, size_t size)
{
    ck_assert_int_eq(send(rig->kernel, data, size, MSG_DONTWAIT), (ssize_t)size);
}

/* As the kernel says it. EXTRA: "KEY=VALUE" or NULL. */
static inline void rig_uevent(struct host_rig *rig, const char *action, const char *subsystem,
                              const char *devpath, const char *extra)
{
    g_autoptr(GString) m = g_string_new(NULL);

    g_string_printf(m, "%s@%s%cACTION=%s%cDEVPATH=%s%cSUBSYSTEM=%s%c%s%cSEQNUM=7%c", action, devpath, 0,
                    action, 0, devpath, 0, subsystem, 0, extra ? extra : "MINOR=1", 0, 0);
    rig_send(rig, m->str, m->len);
}

static inline void rig_run(struct host_rig *rig)
{
    for (unsigned i = 0; i < 16; i++)
        uv_run(&rig->loop, UV_RUN_NOWAIT);
}

/* --- coming and going ------------------------------------------------------------------------- */

static inline void rig_init(struct host_rig *rig)
{
    *rig = (struct host_rig){.kernel = -1};
    /* In memory where there is such a place. */
    const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir();
    g_autofree char *root = g_strdup_printf("%s/vmd-host-XXXXXX", where);
    ck_assert_ptr_nonnull(g_mkdtemp(root));
    rig->root = realpath(root, NULL);
    rig->said = g_string_new(NULL);
    uv_loop_init(&rig->loop);
}

/* With UEVENTS (taken; -1: none) as the source, and SYSFS. */
static inline void rig_start_on(struct host_rig *rig, const char *sysfs, int uevents)
{
    g_autofree char *ids = rig_path(rig, "pci.ids");
    struct host_options options = {.sysfs = sysfs, .pci_ids = ids, .uevents = uevents, .why = "a test"};

    rig->host = host_devices_new(&rig->loop, &options, &rig__listener, rig);
}

static inline void rig_start(struct host_rig *rig, bool uevents)
{
    int ends[2] = {-1, -1};

    if (uevents)
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    rig->kernel = ends[0];
    rig_start_on(rig, rig->root, ends[1]);
}

static inline void rig_stop(struct host_rig *rig)
{
    host_devices_free(rig->host);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    rig->host = NULL;
    if (rig->kernel >= 0)
        close(rig->kernel);
    rig->kernel = -1;
}

static inline int rig__erase(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static inline void rig_end(struct host_rig *rig)
{
    if (rig->host)
        rig_stop(rig);
    ck_assert_int_eq(uv_loop_close(&rig->loop), 0);
    nftw(rig->root, rig__erase, 16, FTW_DEPTH | FTW_PHYS);
    free(rig->root);
    g_string_free(rig->said, TRUE);
}

#endif
