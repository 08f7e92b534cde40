/* Block devices and network interfaces: /sys/class/block and /sys/class/net. */
#include "hotplug/host/host_priv.h"

#include <net/if.h>
#include <net/if_arp.h>

enum { SECTOR = 512, SCSI_ROM = 5, TUN = 1, PERMANENT = 0 };

static bool is_virtual(const struct host_place *place, const char *class)
{
    g_autofree char *prefix = g_strconcat("/devices/virtual/", class, "/", NULL);

    return g_str_has_prefix(place->dir + strlen(place->root), prefix);
}

/* --- block ------------------------------------------------------------------------------------ */

static char *block_class(const struct host_place *place)
{
    uint64_t type = 0;

    if (sysfs_has(place->dir, "partition"))
        return g_strdup("partition");
    /* loop0, dm-3, md127, zram0; and not nvme0n1 of several paths, which is virtual and a disk */
    if (is_virtual(place, "block"))
        return g_strndup(place->name, strspn(place->name, "abcdefghijklmnopqrstuvwxyz"));
    sysfs_number(place->dir, "device/type", UINT32_MAX, &type);
    return g_strdup(type == SCSI_ROM ? "rom" : "disk");
}

/* The text of the first of NAMES that has one. */
static char *first_text(const char *dir, const char *const *names)
{
    char *text = NULL;

    for (; *names && !text; names++)
        text = sysfs_text(dir, *names);
    return text;
}

/* What nobody can mistake for another disk: a partition's is its disk's with its number behind. */
static char *block_identity(const struct host_place *place)
{
    static const char *const own[] = {"wwid", "device/wwid", "serial", "device/serial", NULL};
    static const char *const disks[] = {"../wwid", "../device/wwid", "../serial", "../device/serial", NULL};
    g_autofree char *number = sysfs_text(place->dir, "partition");
    g_autofree char *disk = number ? first_text(place->dir, disks) : NULL;

    if (number)
        return disk ? sysfs_clean(g_strdup_printf("%s part %s", disk, number)) : NULL;
    return first_text(place->dir, own);
}

/* Device mapper and md: the block devices below it. */
static char *block_slaves(const struct host_place *place)
{
    g_autofree char *dir = g_build_filename(place->dir, "slaves", NULL);
    g_autoptr(GPtrArray) names = NULL;

    if (!sysfs_names(dir, &names) || names->len == 0)
        return NULL;
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

bool host_block_read(const struct host_place *place, struct host_device *device)
{
    static const char *const serials[] = {"serial", "device/serial", NULL};
    uint64_t sectors = 0, flag = 0;

    /* A drive without a disk and a loop device without a file have nothing to give. */
    if (!sysfs_number(place->dir, "size", INT64_MAX / SECTOR, &sectors) || sectors == 0)
        return false;
    device->block.size = sectors * SECTOR;
    device->block.readonly = sysfs_number(place->dir, "ro", 1, &flag) && flag;
    device->block.removable = sysfs_number(place->dir, "removable", 1, &flag) && flag;
    device->class = block_class(place);
    device->identity = block_identity(place);
    device->serial = first_text(place->dir, serials);
    device->text = sysfs_text(place->dir, "device/model");
    device->slaves = block_slaves(place);
    return true;
}

/* --- net -------------------------------------------------------------------------------------- */

/* What the kernel calls its kind: DEVTYPE of "uevent", such as bridge, wlan, bond, vlan. */
static char *devtype(const struct host_place *place)
{
    g_autofree char *path = g_build_filename(place->dir, "uevent", NULL);
    g_autofree char *text = NULL;
    char *found = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", 64);
    for (char **line = lines; *line && !found; line++) {
        if (g_str_has_prefix(*line, "DEVTYPE="))
            found = sysfs_clean(g_strdup(*line + strlen("DEVTYPE=")));
    }
    return found;
}

static char *net_class(const struct host_place *place, uint64_t type)
{
    uint64_t flags;
    char *said = devtype(place);

    if (said)
        return said;
    if (sysfs_number(place->dir, "tun_flags", UINT32_MAX, &flags))
        return g_strdup(flags & TUN ? "tun" : "tap");
    return g_strdup(type == ARPHRD_ETHER ? "ethernet" : "other");
}

bool host_net_read(const struct host_place *place, struct host_device *device)
{
    uint64_t type, assigned;

    if (!sysfs_number(place->dir, "type", UINT16_MAX, &type) || type == ARPHRD_LOOPBACK)
        return false;
    device->class = net_class(place, type);
    device->address = sysfs_text(place->dir, "address");
    /* An address that the hardware brought along; others are made up, and change. */
    if (!is_virtual(place, "net") && sysfs_number(place->dir, "addr_assign_type", UINT8_MAX, &assigned) &&
        assigned == PERMANENT)
        device->identity = g_strdup(device->address);
    return true;
}
