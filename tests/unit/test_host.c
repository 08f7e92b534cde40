/*
 * The host's devices, on a host made of files: what is read of each kind, what garbage does, what comes, goes
 * and changes, in which order that is told, and who holds what.
 */
#include "tests/unit/host_rig.h"

#include "hotplug/host/host_priv.h"
#include "hotplug/host/uevent.h"

#include <linux/netlink.h>
#include <pthread.h>
#include <sys/sysmacros.h>

#define BRIDGE "devices/pci0000:00/0000:00:01.0"
#define NIC    BRIDGE "/0000:01:00.0"
#define PORT2  BRIDGE "/0000:01:00.1"
#define HBA    "devices/pci0000:00/0000:00:05.0"
#define DISK   HBA "/host0/target0:0:0/0:0:0:0/block/sda"
#define ETH0   NIC "/net/eth0"

enum { DEVICES = 10 };

static struct host_rig rig;
static GError *err;

/* A bridge, a network card behind it, a controller with a disk, its partition, and volumes in that. */
static void setup(void)
{
    static const char *const nic[] = {
        "subsystem_vendor", "0x8086\n", "subsystem_device", "0x0001\n", "reset_method", "flr bus\n",
        "sriov_totalvfs", "8\n", "sriov_numvfs", "0\n", "enable", "1\n", "numa_node", "1\n",
        "resource", "0x00000000f0000000 0x00000000f00fffff 0x000000000014220c\n"
                    "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                    "0x000000000000e000 0x000000000000e01f 0x0000000000040101\n", NULL};

    rig_init(&rig);
    rig_put(&rig, "pci.ids", "8086  Intel Corporation\n\t1533  I210 Gigabit\n\t\t8086 0001  A card\n"
                             "C 02  Network controller\n\t00  Ethernet controller\n");
    rig_pci(&rig, BRIDGE, "0x1b36\n", "0x000c\n", "0x060400\n");
    rig_pci(&rig, NIC, "0x8086\n", "0x1533\n", "0x020000\n");
    rig_files(&rig, NIC, nic);
    rig_link(&rig, NIC "/driver", "bus/pci/drivers/igb");
    rig_group(&rig, NIC, "12");
    rig_pci(&rig, PORT2, "0x8086\n", "0x1533\n", "0x020000\n");
    rig_group(&rig, PORT2, "12");
    rig_net(&rig, ETH0, "52:54:00:00:00:01\n");
    rig_pci(&rig, HBA, "0x1af4\n", "0x1004\n", "0x010000\n");
    rig_group(&rig, HBA, "13");
    rig_block(&rig, DISK, "2048\n");
    rig_put(&rig, HBA "/host0/target0:0:0/0:0:0:0/model", "A DISK  \n");
    rig_put(&rig, HBA "/host0/target0:0:0/0:0:0:0/wwid", "naa.5000\n");
    rig_link(&rig, DISK "/device", HBA "/host0/target0:0:0/0:0:0:0");
    rig_link(&rig, HBA "/host0/target0:0:0/0:0:0:0/driver", "bus/scsi/drivers/sd");
    rig_block(&rig, DISK "/sda1", "1024\n");
    rig_put(&rig, DISK "/sda1/partition", "1\n");
    /* Three volumes, the second in the first, the third beside it. */
    rig_block(&rig, "devices/virtual/block/dm-0", "512\n");
    rig_link(&rig, "devices/virtual/block/dm-0/slaves/sda1", DISK "/sda1");
    rig_block(&rig, "devices/virtual/block/dm-2", "512\n");
    rig_link(&rig, "devices/virtual/block/dm-2/slaves/sda1", DISK "/sda1");
    rig_block(&rig, "devices/virtual/block/dm-1", "256\n");
    rig_link(&rig, "devices/virtual/block/dm-1/slaves/dm-0", "devices/virtual/block/dm-0");
}

static void teardown(void)
{
    g_clear_error(&err);
    rig_end(&rig);
}

static const struct host_device *need(const char *id)
{
    const struct host_device *d = host_devices_find(rig.host, id);

    ck_assert_msg(d != NULL, "there is no %s", id);
    return d;
}

static unsigned count(void)
{
    g_autoptr(GPtrArray) all = host_devices_list(rig.host);

    return all->len;
}

/* --- messages --------------------------------------------------------------------------------- */

#define HEAD "add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0"

static const struct {
    const char *name, *data;
    size_t size;
    bool good;
} messages[] = {
#define M(name, text, good) {name, text, sizeof(text) - 1, good}
    M("whole", HEAD "SUBSYSTEM=pci\0SEQNUM=12\0", true),
    M("more keys", HEAD "SUBSYSTEM=pci\0PCI_ID=8086:1533\0MODALIAS=pci:v=1\0SEQNUM=12\0", true),
    M("renamed", "move@/devices/b\0ACTION=move\0DEVPATH=/devices/b\0DEVPATH_OLD=/devices/a\0SUBSYSTEM=net\0SEQNUM=1\0", true),
    M("empty", "", false),
    M("no end", HEAD "SUBSYSTEM=pci\0SEQNUM=12", false),
    M("head alone", "add@/devices/x\0", false),
    M("no at", "libudev\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0SEQNUM=12\0", false),
    M("no subsystem", HEAD "SEQNUM=12\0", false),
    M("no number", HEAD "SUBSYSTEM=pci\0", false),
    M("number with a sign", HEAD "SUBSYSTEM=pci\0SEQNUM=-1\0", false),
    M("number too large", HEAD "SUBSYSTEM=pci\0SEQNUM=18446744073709551616\0", false),
    M("largest number", HEAD "SUBSYSTEM=pci\0SEQNUM=18446744073709551615\0", true),
    M("another action", "add@/devices/x\0ACTION=remove\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("action with more behind", "adds@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("another path", "add@/devices/x\0ACTION=add\0DEVPATH=/devices/y\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("unknown action", "eat@/devices/x\0ACTION=eat\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("relative path", "add@devices\0ACTION=add\0DEVPATH=devices\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("path upward", "add@/a/../b\0ACTION=add\0DEVPATH=/a/../b\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("path with a gap", "add@/a//b\0ACTION=add\0DEVPATH=/a//b\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("path of nothing", "add@/\0ACTION=add\0DEVPATH=/\0SUBSYSTEM=pci\0SEQNUM=1\0", false),
    M("old path upward", "move@/b\0ACTION=move\0DEVPATH=/b\0DEVPATH_OLD=/..\0SUBSYSTEM=net\0SEQNUM=1\0", false),
    M("twice", HEAD "SUBSYSTEM=pci\0SUBSYSTEM=net\0SEQNUM=12\0", false),
    M("no value", HEAD "SUBSYSTEM=pci\0GARBAGE\0SEQNUM=12\0", false),
    M("no key", HEAD "SUBSYSTEM=pci\0=x\0SEQNUM=12\0", false),
    M("empty entry", HEAD "\0SUBSYSTEM=pci\0SEQNUM=12\0", false),
    M("subsystem of control characters", HEAD "SUBSYSTEM=p\1i\0SEQNUM=12\0", false),
#undef M
};

START_TEST(parses_messages)
{
    struct uevent e;

    /* On the heap, so that a byte too many is seen. */
    g_autofree char *data = g_memdup2(messages[_i].size ? messages[_i].data : "x", messages[_i].size ? messages[_i].size : 1);
    ck_assert_msg(uevent_parse(data, messages[_i].size, &e) == messages[_i].good, "%s", messages[_i].name);
}
END_TEST

START_TEST(takes_a_message_apart)
{
    struct uevent e;

    ck_assert(uevent_parse(messages[2].data, messages[2].size, &e));
    ck_assert_str_eq(e.action, "move");
    ck_assert_str_eq(e.devpath, "/devices/b");
    ck_assert_str_eq(e.devpath_old, "/devices/a");
    ck_assert_str_eq(e.subsystem, "net");
    ck_assert_uint_eq(e.seqnum, 1);
    ck_assert_str_eq(uevent_name(e.devpath), "b");
}
END_TEST

static const struct {
    const char *name;
    unsigned short family;
    unsigned pid, groups;
    socklen_t length;
    bool kernel;
} senders[] = {
    {"the kernel to all", AF_NETLINK, 0, 1, sizeof(struct sockaddr_nl), true},
    {"a process", AF_NETLINK, 77, 1, sizeof(struct sockaddr_nl), false},
    {"udev's group", AF_NETLINK, 0, 2, sizeof(struct sockaddr_nl), false},
    {"to us alone", AF_NETLINK, 0, 0, sizeof(struct sockaddr_nl), false},
    {"another family", AF_UNIX, 0, 1, sizeof(struct sockaddr_nl), false},
    {"nobody", AF_NETLINK, 0, 1, 0, false},
};

START_TEST(believes_the_kernel_alone)
{
    struct sockaddr_nl from = {.nl_family = senders[_i].family, .nl_pid = senders[_i].pid,
                               .nl_groups = senders[_i].groups};
    struct sockaddr_storage addr = {0};

    memcpy(&addr, &from, sizeof(from));
    ck_assert_msg(uevent_from_kernel(&addr, senders[_i].length) == senders[_i].kernel, "%s", senders[_i].name);
}
END_TEST

/* --- facts ------------------------------------------------------------------------------------ */

START_TEST(reads_pci)
{
    rig_start(&rig, true);
    const struct host_device *d = need("pci:0000:01:00.0");

    ck_assert_int_eq(d->kind, HOST_PCI);
    ck_assert_uint_eq(d->pci.vendor, 0x8086);
    ck_assert_uint_eq(d->pci.device, 0x1533);
    ck_assert_uint_eq(d->pci.subvendor, 0x8086);
    ck_assert_uint_eq(d->pci.subdevice, 1);
    ck_assert_uint_eq(d->pci.class_code, 0x020000);
    ck_assert_uint_eq(d->pci.revision, 1);
    ck_assert_str_eq(d->class, "020000");
    ck_assert_str_eq(d->identity, "8086:1533:8086:0001");
    ck_assert_str_eq(d->vendor_name, "Intel Corporation");
    ck_assert_str_eq(d->device_name, "I210 Gigabit");
    ck_assert_str_eq(d->class_name, "Ethernet controller");
    ck_assert_str_eq(d->text, "Intel Corporation I210 Gigabit");
    ck_assert_str_eq(d->driver, "igb");
    ck_assert_str_eq(d->resets, "flr bus");
    ck_assert_str_eq(d->path, "/" NIC);
    ck_assert_int_eq(d->iommu_group, 12);
    ck_assert_int_eq(d->numa_node, 1);
    ck_assert(d->pci.enabled);
    ck_assert_uint_eq(d->pci.vfs_total, 8);
    ck_assert_uint_eq(d->pci.vfs, 0);
    ck_assert_uint_eq(d->pci.bars[0].start, 0xf0000000);
    ck_assert_uint_eq(d->pci.bars[0].size, 0x100000);
    ck_assert(!d->pci.bars[0].io && d->pci.bars[0].prefetchable && d->pci.bars[0].wide);
    ck_assert_uint_eq(d->pci.bars[1].size, 0);
    ck_assert_uint_eq(d->pci.bars[2].size, 0x20);
    ck_assert(d->pci.bars[2].io && !d->pci.bars[2].wide);
    ck_assert_str_eq(host_devices_parent(rig.host, d)->id, "pci:0000:00:01.0");
    /* No names for the other vendor, no driver, no node. */
    d = need("pci:0000:00:05.0");
    ck_assert_ptr_null(d->vendor_name);
    ck_assert_ptr_null(d->text);
    ck_assert_ptr_null(d->driver);
    ck_assert_int_eq(d->numa_node, -1);
    ck_assert_ptr_null(host_devices_parent(rig.host, d));
}
END_TEST

START_TEST(reads_block)
{
    rig_block(&rig, "devices/virtual/block/loop0", "0\n");
    rig_block(&rig, "devices/virtual/block/dm-3", "8\n");
    rig_block(&rig, "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "8\n");
    rig_put(&rig, DISK "/ro", "1\n");
    rig_start(&rig, true);
    const struct host_device *d = need("block:sda"), *part = need("block:sda1");

    ck_assert_str_eq(d->class, "disk");
    ck_assert_uint_eq(d->block.size, 2048 * 512);
    ck_assert(d->block.readonly && !d->block.removable);
    ck_assert_str_eq(d->text, "A DISK");
    ck_assert_str_eq(d->identity, "naa.5000");
    ck_assert_str_eq(d->driver, "sd");
    ck_assert_str_eq(host_devices_parent(rig.host, d)->id, "pci:0000:00:05.0");
    ck_assert_str_eq(part->class, "partition");
    ck_assert_str_eq(part->identity, "naa.5000 part 1");
    ck_assert_str_eq(host_devices_parent(rig.host, part)->id, "block:sda");
    ck_assert_str_eq(need("block:dm-3")->class, "dm");
    ck_assert_ptr_null(need("block:dm-3")->driver);
    ck_assert_str_eq(need("block:nvme0n1")->class, "disk");
    /* Nothing in it. */
    ck_assert_ptr_null(host_devices_find(rig.host, "block:loop0"));
}
END_TEST

static const struct {
    const char *file, *text, *class; /* CLASS NULL: not there */
} interfaces[] = {
    {"type", "1\n", "ethernet"},     {"type", "772\n", NULL},
    {"type", "65534\n", "other"},    {"tun_flags", "0x1002\n", "tap"},
    {"tun_flags", "0x1001\n", "tun"}, {"uevent", "INTERFACE=x\nDEVTYPE=bridge\n", "bridge"},
    {"uevent", "DEVTYPE=", "ethernet"}, {"type", "garbage\n", NULL},
};

START_TEST(reads_net)
{
    g_autofree char *name = g_build_filename("devices/virtual/net/x", interfaces[_i].file, NULL);

    rig_net(&rig, "devices/virtual/net/x", "02:00:00:00:00:01\n");
    rig_put(&rig, name, interfaces[_i].text);
    rig_start(&rig, true);
    const struct host_device *d = host_devices_find(rig.host, "net:x");
    ck_assert_str_eq(d ? d->class : "none", interfaces[_i].class ? interfaces[_i].class : "none");
    d = need("net:eth0");
    ck_assert_str_eq(d->address, "52:54:00:00:00:01");
    ck_assert_str_eq(d->identity, "52:54:00:00:00:01");
    ck_assert_str_eq(d->driver, "igb");
    ck_assert_int_eq(d->numa_node, 1);
    ck_assert_str_eq(host_devices_parent(rig.host, d)->id, "pci:0000:01:00.0");
}
END_TEST

/* One file of the tree is missing (NULL) or holds something else: whether the device is there still. */
static const struct {
    const char *file, *text;
    bool there;
} damages[] = {
    {NIC "/vendor", NULL, false},
    {NIC "/vendor", "garbage", false},
    {NIC "/vendor", "0xffff\n", false},
    {NIC "/device", NULL, false},
    {NIC "/class", NULL, false},
    {NIC "/class", "", true},
    {NIC "/revision", NULL, true},
    {NIC "/subsystem_vendor", NULL, true},
    {NIC "/subsystem_vendor", "\xff\xfe", true},
    {NIC "/resource", NULL, true},
    {NIC "/resource", "no numbers\n0x1\n\n0x2 0x1 0x100\n", true},
    {NIC "/enable", "-1\n", true},
    {NIC "/numa_node", "99999999999999999999\n", true},
    {NIC "/sriov_totalvfs", "many", true},
    {NIC "/reset_method", "\1\2\xff\n", true},
    {"pci.ids", NULL, true},
    {"pci.ids", "garbage\n\tgarbage\n", true},
    {"pci.ids", "8086  Intel\n\t1533  \xff\xfe\n", true},
};

START_TEST(passes_over_garbage)
{
    g_autofree char *path = rig_path(&rig, damages[_i].file);

    if (damages[_i].text)
        rig_put(&rig, damages[_i].file, damages[_i].text);
    else
        ck_assert_int_eq(unlink(path), 0);
    rig_start(&rig, true);
    const struct host_device *d = host_devices_find(rig.host, "pci:0000:01:00.0");
    ck_assert_msg((d != NULL) == damages[_i].there, "%s", damages[_i].file);
    /* The others are not touched by it. */
    ck_assert_uint_eq(need("pci:0000:00:05.0")->pci.vendor, 0x1af4);
    need("net:eth0");
    for (unsigned i = 0; d && i < HOST_BARS; i++)
        ck_assert(d->pci.bars[i].size < UINT32_MAX);
    ck_assert(!d || !d->resets || g_utf8_validate(d->resets, -1, NULL));
    ck_assert(!d || !d->device_name || g_utf8_validate(d->device_name, -1, NULL));
}
END_TEST

static const struct {
    enum host_kind kind;
    const char *name;
    bool valid;
} names[] = {
    {HOST_PCI, "0000:00:1f.7", true},      {HOST_PCI, "10000:e1:00.0", true}, {HOST_PCI, "0000:00:1f", false},
    {HOST_PCI, "0:0:0.0", false},          {HOST_PCI, "0000:00:00.8", false}, {HOST_PCI, "0000:00:20.0", false},
    {HOST_PCI, "x", false},                {HOST_PCI, "0000:00:02.00", false}, {HOST_PCI, "0000:00:0A.0", false},
    {HOST_PCI, "80000000:00:00.0", false}, {HOST_PCI, "", false},             {HOST_NET, "eth0.5", true},
    {HOST_NET, ".", false},                {HOST_NET, "a b", false},          {HOST_NET, "a:b", false},
    {HOST_NET, "\xff", false},             {HOST_NET, "", false},             {HOST_BLOCK, "cciss!c0d0p1", true},
};

START_TEST(knows_names)
{
    ck_assert_msg(host_device_name_valid(names[_i].kind, names[_i].name) == names[_i].valid, "%s", names[_i].name);
}
END_TEST

START_TEST(passes_over_odd_names)
{
    rig_pci(&rig, "devices/pci0000:00/0000:00:20.0", "0x8086\n", "0x1533\n", "0x020000\n");
    rig_net(&rig, "devices/virtual/net/a b", "\n");
    rig_net(&rig, "devices/virtual/net/\xff", "\n");
    rig_block(&rig, "devices/virtual/block/a:b", "8\n");
    /* Links out of the devices, to a file, to nothing, in a circle. */
    rig_put(&rig, "elsewhere/out/type", "1\n");
    rig_link(&rig, "class/net/out", "elsewhere/out");
    rig_link(&rig, "class/net/file", "pci.ids");
    rig_link(&rig, "class/net/nothing", "devices/none");
    rig_link(&rig, "class/net/circle", "class/net/circle");
    rig_start(&rig, true);
    ck_assert_uint_eq(count(), DEVICES);
}
END_TEST

START_TEST(no_sysfs)
{
    struct host_rig bare;

    rig_init(&bare);
    rig_start(&bare, false);
    g_autoptr(GPtrArray) all = host_devices_list(bare.host);
    ck_assert_uint_eq(all->len, 0);
    const char *why;
    ck_assert(!host_devices_watch(bare.host, &why));
    ck_assert_str_eq(why, "a test");
    rig_end(&bare);
}
END_TEST

/* --- what comes and goes ---------------------------------------------------------------------- */

START_TEST(hears_of_devices)
{
    rig_start(&rig, true);
    rig_heard(&rig, "");
    /* There, but the kernel has not said so. */
    rig_pci(&rig, "devices/pci0000:00/0000:00:07.0", "0x8086\n", "0x1\n", "0x0\n");
    rig_run(&rig);
    rig_heard(&rig, "");
    rig_uevent(&rig, "add", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "+pci:0000:00:07.0 ");
    /* A driver takes it. */
    rig_link(&rig, "devices/pci0000:00/0000:00:07.0/driver", "bus/pci/drivers/vfio-pci");
    rig_uevent(&rig, "bind", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "~pci:0000:00:07.0 ");
    ck_assert_str_eq(need("pci:0000:00:07.0")->driver, "vfio-pci");
    /* Nothing new, of something that is no device of ours, and of one that never was. */
    rig_uevent(&rig, "change", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_uevent(&rig, "add", "usb", "/devices/pci0000:00/0000:00:08.0", NULL);
    rig_uevent(&rig, "remove", "pci", "/devices/pci0000:00/0000:00:09.0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "");
    rig_remove(&rig, "bus/pci/devices", "devices/pci0000:00/0000:00:07.0");
    rig_uevent(&rig, "unbind", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_uevent(&rig, "remove", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "-pci:0000:00:07.0 ");
}
END_TEST

START_TEST(another_card_in_the_slot)
{
    rig_start(&rig, true);
    rig_remove(&rig, "bus/pci/devices", PORT2);
    rig_pci(&rig, PORT2, "0x8086\n", "0x1533\n", "0x020000\n");
    rig_uevent(&rig, "remove", "pci", "/" PORT2, NULL);
    rig_uevent(&rig, "add", "pci", "/" PORT2, NULL);
    rig_run(&rig);
    rig_heard(&rig, "-pci:0000:01:00.1 +pci:0000:01:00.1 ");
    /* So too where both were missed. */
    rig_remove(&rig, "bus/pci/devices", PORT2);
    rig_pci(&rig, PORT2, "0x8086\n", "0x1533\n", "0x020000\n");
    host_devices_rescan(rig.host);
    rig_heard(&rig, "-pci:0000:01:00.1 +pci:0000:01:00.1 ");
}
END_TEST

START_TEST(a_controller_goes_with_its_disks)
{
    rig_start(&rig, true);
    rig_remove(&rig, "class/block", DISK "/sda1");
    rig_remove(&rig, "class/block", DISK);
    rig_remove(&rig, "bus/pci/devices", HBA);
    rig_uevent(&rig, "remove", "pci", "/" HBA, NULL);
    rig_uevent(&rig, "remove", "block", "/" DISK "/sda1", NULL);
    rig_uevent(&rig, "remove", "block", "/" DISK, NULL);
    rig_run(&rig);
    rig_heard(&rig, "-block:sda -block:sda1 -pci:0000:00:05.0 ");
}
END_TEST

START_TEST(order_of_what_is_told)
{
    rig_start(&rig, true);
    rig_remove(&rig, "bus/pci/devices", PORT2);
    rig_uevent(&rig, "remove", "pci", "/" PORT2, NULL);
    rig_put(&rig, DISK "/size", "4096\n");
    rig_uevent(&rig, "change", "block", "/" DISK, NULL);
    rig_net(&rig, "devices/virtual/net/tap7", "02:00:00:00:00:07\n");
    rig_uevent(&rig, "add", "net", "/devices/virtual/net/tap7", NULL);
    rig_run(&rig);
    rig_heard(&rig, "-pci:0000:01:00.1 ~block:sda +net:tap7 ");
}
END_TEST

START_TEST(a_disk_is_taken_out_of_its_drive)
{
    rig_start(&rig, true);
    rig_put(&rig, DISK "/size", "0\n");
    rig_uevent(&rig, "change", "block", "/" DISK, NULL);
    rig_run(&rig);
    rig_heard(&rig, "-block:sda ");
    rig_put(&rig, DISK "/size", "8\n");
    rig_uevent(&rig, "change", "block", "/" DISK, NULL);
    rig_run(&rig);
    rig_heard(&rig, "+block:sda ");
}
END_TEST

START_TEST(interfaces_change_names)
{
    rig_start(&rig, true);
    ck_assert(host_devices_claim(rig.host, "net:eth0", "v", false, NULL, &err));
    rig_rename_net(&rig, ETH0, NIC "/net/wan0");
    rig_uevent(&rig, "move", "net", "/" NIC "/net/wan0", "DEVPATH_OLD=/" ETH0);
    rig_run(&rig);
    rig_heard(&rig, "~net:wan0<net:eth0 ");
    ck_assert_str_eq(host_devices_holder(rig.host, need("net:wan0"))->vm, "v");
    ck_assert_ptr_null(host_devices_find(rig.host, "net:eth0"));
    /* Another message, about the old name, comes first. */
    rig_rename_net(&rig, NIC "/net/wan0", ETH0);
    rig_uevent(&rig, "change", "net", "/" NIC "/net/wan0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "~net:eth0<net:wan0 ");
    /* Two change names with each other. */
    rig_net(&rig, PORT2 "/net/eth1", "52:54:00:00:00:02\n");
    rig_uevent(&rig, "add", "net", "/" PORT2 "/net/eth1", NULL);
    rig_run(&rig);
    rig_heard(&rig, "+net:eth1 ");
    rig_rename_net(&rig, ETH0, NIC "/net/swap");
    rig_rename_net(&rig, PORT2 "/net/eth1", PORT2 "/net/eth0");
    rig_rename_net(&rig, NIC "/net/swap", NIC "/net/eth1");
    host_devices_rescan(rig.host);
    rig_heard(&rig, "~net:eth1<net:eth0 ~net:eth0<net:eth1 ");
    ck_assert_str_eq(need("net:eth1")->address, "52:54:00:00:00:01");
    ck_assert_str_eq(host_devices_holder(rig.host, need("net:eth1"))->vm, "v");
    ck_assert_ptr_null(host_devices_holder(rig.host, need("net:eth0")));
}
END_TEST

/* What the kernel sent cannot be used: then all is looked at. */
static const struct {
    const char *name;
    size_t size;
} faults[] = {{"garbage", 10}, {"a NUL", 1}, {"too long", UEVENT_MOST + 1}};

START_TEST(garbage_leads_to_a_rescan)
{
    g_autofree char *data = g_malloc0(UEVENT_MOST + 1);

    rig_start(&rig, true);
    rig_remove(&rig, "class/net", ETH0);
    rig_remove(&rig, "bus/pci/devices", NIC);
    rig_put(&rig, DISK "/size", "8\n");
    rig_pci(&rig, "devices/pci0000:00/0000:00:07.0", "0x8086\n", "0x1\n", "0x0\n");
    memset(data, 'x', faults[_i].size - 1);
    rig_send(&rig, data, faults[_i].size);
    rig_run(&rig);
    rig_heard(&rig, "-net:eth0 -pci:0000:01:00.0 +pci:0000:00:07.0 ~block:sda ");
}
END_TEST

static int recvmsg_fails; /* with this, once */
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    if (recvmsg_fails) {
        errno = recvmsg_fails;
        recvmsg_fails = 0;
        return -1;
    }
    return __real_recvmsg(fd, message, flags);
}

START_TEST(an_overrun_leads_to_a_rescan)
{
    rig_start(&rig, true);
    rig_remove(&rig, "bus/pci/devices", PORT2);
    rig_put(&rig, DISK "/size", "8\n");
    recvmsg_fails = ENOBUFS;
    /* What makes the socket readable says nothing of these. */
    rig_uevent(&rig, "add", "usb", "/devices/x", NULL);
    rig_run(&rig);
    ck_assert_int_eq(recvmsg_fails, 0);
    rig_heard(&rig, "-pci:0000:01:00.1 ~block:sda ");
    const char *why;
    ck_assert(host_devices_watch(rig.host, &why));
}
END_TEST

START_TEST(the_source_ends)
{
    const char *why;

    rig_start(&rig, true);
    ck_assert(host_devices_watch(rig.host, &why));
    rig_remove(&rig, "bus/pci/devices", PORT2);
    if (_i == 0) {
        close(rig.kernel);
        rig.kernel = -1;
    } else {
        recvmsg_fails = EIO;
        rig_uevent(&rig, "add", "usb", "/devices/x", NULL);
    }
    rig_run(&rig);
    ck_assert(!host_devices_watch(rig.host, &why));
    ck_assert_ptr_nonnull(why);
    rig_heard(&rig, "!lost -pci:0000:01:00.1 ");
}
END_TEST

/* A list that is covered for a while is no loss of all devices. */
START_TEST(a_list_that_cannot_be_read)
{
    g_autofree char *bus = rig_path(&rig, "bus"), *away = rig_path(&rig, "away");

    rig_start(&rig, true);
    ck_assert_int_eq(rename(bus, away), 0);
    host_devices_rescan(rig.host);
    rig_heard(&rig, "");
    need("pci:0000:01:00.0");
    ck_assert_int_eq(rename(away, bus), 0);
    host_devices_rescan(rig.host);
    rig_heard(&rig, "");
}
END_TEST

START_TEST(during_the_scan)
{
    /* The kernel says what happened before, while and after all was looked at; each is told once. */
    rig_start(&rig, true);
    rig_uevent(&rig, "add", "pci", "/" NIC, NULL);
    rig_uevent(&rig, "remove", "pci", "/" HBA "x", NULL);
    rig_uevent(&rig, "add", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_pci(&rig, "devices/pci0000:00/0000:00:07.0", "0x8086\n", "0x1\n", "0x0\n");
    rig_uevent(&rig, "add", "pci", "/devices/pci0000:00/0000:00:07.0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "+pci:0000:00:07.0 ");
}
END_TEST

static void *churn(void *arg)
{
    int *stop = arg;

    for (unsigned i = 0; !__atomic_load_n(stop, __ATOMIC_ACQUIRE); i++) {
        rig_remove(&rig, "bus/pci/devices", PORT2);
        rig_remove(&rig, "class/net", ETH0);
        rig_net(&rig, ETH0, "52:54:00:00:00:01\n");
        rig_pci(&rig, PORT2, "0x8086\n", i % 2 ? "0x1533\n" : "0x1534\n", "0x020000\n");
    }
    return NULL;
}

START_TEST(devices_change_under_the_reader)
{
    pthread_t thread;
    int stop = 0;

    rig_start(&rig, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, churn, &stop), 0);
    for (unsigned i = 0; i < 300; i++)
        host_devices_rescan(rig.host);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    host_devices_rescan(rig.host);
    g_string_truncate(rig.said, 0);
    host_devices_rescan(rig.host);
    rig_heard(&rig, "");
    ck_assert_uint_eq(count(), DEVICES);
}
END_TEST

START_TEST(a_thousand_devices)
{
    rig_start(&rig, true);
    for (unsigned i = 0; i < 1000; i++) {
        g_autofree char *dir = g_strdup_printf("devices/pci0001:00/0001:%02x:%02x.%u", i >> 8, i >> 3 & 31, i & 7);
        rig_pci(&rig, dir, "0x8086\n", "0x1533\n", "0x020000\n");
    }
    host_devices_rescan(rig.host);
    ck_assert_uint_eq(count(), 1000 + DEVICES);
    /* All at once, each with its own message. */
    for (unsigned i = 0; i < 1000; i++) {
        g_autofree char *dir = g_strdup_printf("devices/pci0001:00/0001:%02x:%02x.%u", i >> 8, i >> 3 & 31, i & 7);
        g_autofree char *devpath = g_strconcat("/", dir, NULL);
        rig_remove(&rig, "bus/pci/devices", dir);
        rig_uevent(&rig, "remove", "pci", devpath, NULL);
        if (i % 100 == 99)
            rig_run(&rig);
    }
    ck_assert_uint_eq(count(), DEVICES);
    unsigned gone = 0;
    for (const char *at = rig.said->str; (at = strchr(at, '-')); at++)
        gone++;
    ck_assert_uint_eq(gone, 1000);
}
END_TEST

START_TEST(at_the_limit)
{
    unsigned more = LIMIT_HOST_DEVICES - DEVICES;

    for (unsigned i = 0; i < more + 2; i++) {
        g_autofree char *dir = g_strdup_printf("devices/virtual/net/n%04u", i);
        rig_net(&rig, dir, "02:00:00:00:00:01\n");
    }
    rig_start(&rig, true);
    ck_assert_uint_eq(count(), LIMIT_HOST_DEVICES);
    ck_assert_uint_eq(host_devices_left_out(rig.host), 2);
    /* Another that comes is left out too; where one goes, one of them comes in. */
    rig_net(&rig, "devices/virtual/net/z", "02:00:00:00:00:01\n");
    rig_uevent(&rig, "add", "net", "/devices/virtual/net/z", NULL);
    rig_run(&rig);
    rig_heard(&rig, "");
    ck_assert_uint_eq(host_devices_left_out(rig.host), 3);
    rig_remove(&rig, "class/net", "devices/virtual/net/n0000");
    rig_uevent(&rig, "remove", "net", "/devices/virtual/net/n0000", NULL);
    rig_run(&rig);
    g_autofree char *heard = g_strdup_printf("-net:n0000 +net:n%04u ", more);
    rig_heard(&rig, heard);
    ck_assert_uint_eq(host_devices_left_out(rig.host), 2);
}
END_TEST

START_TEST(virtual_functions)
{
    rig_start(&rig, true);
    rig_put(&rig, NIC "/sriov_numvfs", "2\n");
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *dir = g_strdup_printf(BRIDGE "/0000:01:10.%u", i);
        g_autofree char *link = g_strconcat(dir, "/physfn", NULL), *path = g_strconcat("/", dir, NULL);
        g_autofree char *group = g_strdup_printf("%u", 20 + i);
        rig_pci(&rig, dir, "0x8086\n", "0x1520\n", "0x020000\n");
        rig_link(&rig, link, NIC);
        rig_group(&rig, dir, group);
        rig_uevent(&rig, "add", "pci", path, NULL);
    }
    rig_run(&rig);
    /* No message names the physical function, whose count of them changed. */
    rig_heard(&rig, "+pci:0000:01:10.0 ~pci:0000:01:00.0 +pci:0000:01:10.1 ");
    ck_assert_uint_eq(need("pci:0000:01:00.0")->pci.vfs, 2);
    ck_assert_str_eq(need("pci:0000:01:10.1")->physfn, "pci:0000:01:00.0");
    /* Each is another VM's; the physical one is nobody's then. */
    ck_assert(host_devices_claim(rig.host, "pci:0000:01:10.0", "v", false, NULL, &err));
    ck_assert(host_devices_claim(rig.host, "pci:0000:01:10.1", "w", false, NULL, &err));
    ck_assert(!host_devices_claim(rig.host, "pci:0000:01:00.0", "v", false, NULL, &err));
    ck_assert_str_eq(err->message, "pci:0000:01:00.0 goes with pci:0000:01:10.1, which is held by VM w");
    rig_put(&rig, NIC "/sriov_numvfs", "0\n");
    rig_remove(&rig, "bus/pci/devices", BRIDGE "/0000:01:10.1");
    rig_remove(&rig, "bus/pci/devices", BRIDGE "/0000:01:10.0");
    rig_uevent(&rig, "remove", "pci", "/" BRIDGE "/0000:01:10.1", NULL);
    rig_uevent(&rig, "remove", "pci", "/" BRIDGE "/0000:01:10.0", NULL);
    rig_run(&rig);
    rig_heard(&rig, "-pci:0000:01:10.0@v ~pci:0000:01:00.0 -pci:0000:01:10.1@w ");
}
END_TEST

/* --- claims ----------------------------------------------------------------------------------- */

/* VM a holds FIRST; may VM b have SECOND? NULL: yes. */
static const struct {
    const char *first, *second, *refusal;
} pairs[] = {
    {"net:eth0", "net:eth0", "net:eth0 is held by VM a"},
    {"pci:0000:01:00.0", "pci:0000:01:00.1",
     "pci:0000:01:00.1 is in IOMMU group 12 with pci:0000:01:00.0, which is held by VM a"},
    {"pci:0000:01:00.0", "pci:0000:00:05.0", NULL},
    {"pci:0000:00:05.0", "block:sda", "block:sda goes with pci:0000:00:05.0, which is held by VM a"},
    {"block:sda", "pci:0000:00:05.0", "pci:0000:00:05.0 goes with block:sda, which is held by VM a"},
    {"block:sda", "block:sda1", "block:sda1 goes with block:sda, which is held by VM a"},
    {"block:sda1", "block:sda", "block:sda goes with block:sda1, which is held by VM a"},
    {"block:sda1", "net:eth0", NULL},
    {"block:sda1", "block:dm-0", "block:dm-0 goes with block:sda1, which is held by VM a"},
    {"block:dm-1", "block:sda", "block:sda goes with block:dm-1, which is held by VM a"},
    {"block:sda", "block:dm-1", "block:dm-1 goes with block:sda, which is held by VM a"},
    {"pci:0000:00:05.0", "block:dm-1", "block:dm-1 goes with pci:0000:00:05.0, which is held by VM a"},
    {"block:dm-2", "block:dm-0", NULL},
    {"block:dm-2", "block:dm-1", NULL},
    {"block:dm-2", "block:sda", "block:sda goes with block:dm-2, which is held by VM a"},
    {"block:dm-1", "net:eth0", NULL},
    {"block:dm-1", "pci:0000:01:00.0", NULL},
    {"pci:0000:00:01.0", "net:eth0", "net:eth0 goes with pci:0000:00:01.0, which is held by VM a"},
    {"block:sda", "block:sdb", "the host has no device block:sdb"},
    {"block:sda", "usb:1", "the host has no device usb:1"},
};

START_TEST(claims_exclude)
{
    rig_start(&rig, true);
    ck_assert(host_devices_claim(rig.host, pairs[_i].first, "a", false, NULL, &err));
    /* Once more is no fault, and nothing new. */
    ck_assert(host_devices_claim(rig.host, pairs[_i].first, "a", false, NULL, &err));
    ck_assert_uint_eq(rig.stores, 1);
    bool got = host_devices_claim(rig.host, pairs[_i].second, "b", false, NULL, &err);
    ck_assert_str_eq(got ? "granted" : err->message, pairs[_i].refusal ? pairs[_i].refusal : "granted");
    ck_assert(got || rig.stores == 1);
    /* The holder itself may. */
    if (host_devices_find(rig.host, pairs[_i].second) && !got)
        ck_assert(host_devices_claim(rig.host, pairs[_i].second, "a", false, NULL, NULL));
    /* When a has let go, b may. */
    ck_assert(host_devices_release(rig.host, NULL, "a", false) >= 1);
    g_clear_error(&err);
    if (host_devices_find(rig.host, pairs[_i].second))
        ck_assert(host_devices_claim(rig.host, pairs[_i].second, "b", false, NULL, &err));
}
END_TEST

static char *name_vm(void *arg, const char *vm)
{
    ck_assert_ptr_eq(arg, &rig);
    return g_strconcat("name-of-", vm, NULL);
}

START_TEST(claims_and_the_store)
{
    rig_start(&rig, true);
    rig.store_fails = true;
    ck_assert(!host_devices_claim(rig.host, "net:eth0", "a", false, NULL, &err));
    ck_assert_str_eq(err->message, "the store is full");
    g_clear_error(&err);
    rig.store_fails = false;
    ck_assert(host_devices_claim(rig.host, "net:eth0", "b", false, NULL, &err));
    ck_assert(!host_devices_claim(rig.host, "net:eth0", "a", false, name_vm, &err));
    ck_assert_str_eq(err->message, "net:eth0 is held by VM name-of-b");
    ck_assert_int_eq(err->code, VMD_ERROR_BUSY);
    ck_assert_uint_eq(host_devices_release(rig.host, "net:eth0", "a", false), 0);
    ck_assert_uint_eq(host_devices_release(rig.host, "block:sda", "b", false), 0);
    ck_assert_uint_eq(host_devices_release(rig.host, "net:eth0", "b", false), 1);
    ck_assert_uint_eq(rig.stores, 3);
}
END_TEST

START_TEST(a_claimed_device_goes)
{
    rig_start(&rig, true);
    ck_assert(host_devices_claim(rig.host, "pci:0000:01:00.1", "a", false, NULL, &err));
    rig_remove(&rig, "bus/pci/devices", PORT2);
    rig_uevent(&rig, "remove", "pci", "/" PORT2, NULL);
    rig_run(&rig);
    rig_heard(&rig, "-pci:0000:01:00.1@a ");
    g_autoptr(GPtrArray) claims = host_devices_claims(rig.host);
    const struct host_claim *c = g_ptr_array_index(claims, 0);
    ck_assert(claims->len == 1 && !c->present);
    /* Its group stays closed to others while its holder may get it back. */
    ck_assert(!host_devices_claim(rig.host, "pci:0000:01:00.0", "b", false, NULL, &err));
    /* Another card in its place is not the holder's. */
    rig_pci(&rig, PORT2, "0x8086\n", "0x9999\n", "0x020000\n");
    host_devices_rescan(rig.host);
    ck_assert(!c->present);
    ck_assert_ptr_null(host_devices_holder(rig.host, need("pci:0000:01:00.1")));
    rig_remove(&rig, "bus/pci/devices", PORT2);
    host_devices_rescan(rig.host);
    rig_heard(&rig, "+pci:0000:01:00.1 -pci:0000:01:00.1 ");
    /* The same kind of card is. */
    rig_pci(&rig, PORT2, "0x8086\n", "0x1533\n", "0x020000\n");
    rig_group(&rig, PORT2, "12");
    host_devices_rescan(rig.host);
    ck_assert(c->present);
    ck_assert_str_eq(host_devices_holder(rig.host, need("pci:0000:01:00.1"))->vm, "a");
}
END_TEST

START_TEST(restores_claims)
{
    rig_start(&rig, true);
    ck_assert(host_devices_restore(rig.host, "pci:0000:01:00.1", "8086:1533:0000:0000", "a", false));
    ck_assert(host_devices_restore(rig.host, "block:sdz", NULL, "a", false));
    ck_assert(host_devices_restore(rig.host, "block:sda", "another disk", "b", false));
    ck_assert(!host_devices_restore(rig.host, "block:sdz", NULL, "b", false));
    ck_assert_uint_eq(rig.stores, 0);
    g_autoptr(GPtrArray) claims = host_devices_claims(rig.host);
    static const bool present[] = {true, false, false};
    ck_assert_uint_eq(claims->len, G_N_ELEMENTS(present));
    for (unsigned i = 0; i < G_N_ELEMENTS(present); i++)
        ck_assert(((struct host_claim *)g_ptr_array_index(claims, i))->present == present[i]);
    ck_assert(!host_devices_claim(rig.host, "pci:0000:01:00.0", "b", false, NULL, &err));
    g_clear_error(&err);
    ck_assert(host_devices_claim(rig.host, "block:sda", "a", false, NULL, &err));
}
END_TEST

START_TEST(claims_of_a_run)
{
    rig_start(&rig, true);
    ck_assert(host_devices_claim(rig.host, "net:eth0", "a", true, NULL, &err));
    ck_assert(host_devices_claim(rig.host, "block:sda", "a", true, NULL, &err));
    ck_assert(host_devices_claim(rig.host, "block:sda1", "a", false, NULL, &err));
    /* Claimed for good, too; then for a run, which is less. */
    ck_assert(host_devices_claim(rig.host, "block:sda", "a", false, NULL, &err));
    ck_assert(host_devices_claim(rig.host, "block:sda", "a", true, NULL, &err));
    ck_assert_uint_eq(rig.stores, 4);
    ck_assert_uint_eq(host_devices_release(rig.host, NULL, "b", true), 0);
    ck_assert_uint_eq(host_devices_release(rig.host, NULL, "a", true), 1);
    ck_assert_ptr_null(host_devices_holder(rig.host, need("net:eth0")));
    ck_assert_uint_eq(host_devices_release(rig.host, NULL, "a", false), 2);
}
END_TEST

START_TEST(block_devices_by_number)
{
    rig_link(&rig, "dev/block/8:1", DISK "/sda1");
    rig_start(&rig, true);
    g_autofree char *id = host_devices_block_id(rig.host, makedev(8, 1));
    ck_assert_str_eq(id, "block:sda1");
    ck_assert_ptr_null(host_devices_block_id(rig.host, makedev(8, 2)));
}
END_TEST

START_TEST(claims_at_the_limit)
{
    rig_start(&rig, true);
    for (unsigned i = 0; i < LIMIT_HOST_CLAIMS; i++) {
        g_autofree char *id = g_strdup_printf("net:n%u", i);
        ck_assert(host_devices_restore(rig.host, id, NULL, "a", false));
    }
    ck_assert(!host_devices_restore(rig.host, "net:more", NULL, "a", false));
    ck_assert(!host_devices_claim(rig.host, "block:sda", "a", false, NULL, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_LIMIT);
    ck_assert_uint_eq(host_devices_release(rig.host, NULL, "a", false), LIMIT_HOST_CLAIMS);
}
END_TEST

/* This machine's own devices, whatever they are: nothing is wrong with them. */
START_TEST(the_real_host)
{
    uv_loop_t loop;
    struct host_options options = {.uevents = host_uevents_open(NULL)};

    uv_loop_init(&loop);
    struct host_devices *host = host_devices_new(&loop, &options, &rig__listener, &rig);
    g_autoptr(GPtrArray) all = host_devices_list(host);
    for (guint i = 0; i < all->len; i++) {
        const struct host_device *d = g_ptr_array_index(all, i);
        ck_assert(d->class && d->path && host_devices_find(host, d->id) == d);
        ck_assert(d->kind != HOST_PCI || (d->identity && strlen(d->class) == 6));
    }
    host_devices_free(host);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("host");
    TCase *parts = tcase_create("messages"), *all = tcase_create("devices");
    SRunner *runner = srunner_create(s);

    tcase_add_loop_test(parts, parses_messages, 0, G_N_ELEMENTS(messages));
    tcase_add_test(parts, takes_a_message_apart);
    tcase_add_loop_test(parts, knows_names, 0, G_N_ELEMENTS(names));
    tcase_add_loop_test(parts, believes_the_kernel_alone, 0, G_N_ELEMENTS(senders));
    suite_add_tcase(s, parts);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_set_timeout(all, 120);
    tcase_add_test(all, reads_pci);
    tcase_add_test(all, reads_block);
    tcase_add_loop_test(all, reads_net, 0, G_N_ELEMENTS(interfaces));
    tcase_add_loop_test(all, passes_over_garbage, 0, G_N_ELEMENTS(damages));
    tcase_add_test(all, passes_over_odd_names);
    tcase_add_test(all, no_sysfs);
    tcase_add_test(all, hears_of_devices);
    tcase_add_test(all, another_card_in_the_slot);
    tcase_add_test(all, a_controller_goes_with_its_disks);
    tcase_add_test(all, order_of_what_is_told);
    tcase_add_test(all, a_disk_is_taken_out_of_its_drive);
    tcase_add_test(all, interfaces_change_names);
    tcase_add_loop_test(all, garbage_leads_to_a_rescan, 0, G_N_ELEMENTS(faults));
    tcase_add_test(all, an_overrun_leads_to_a_rescan);
    tcase_add_loop_test(all, the_source_ends, 0, 2);
    tcase_add_test(all, a_list_that_cannot_be_read);
    tcase_add_test(all, during_the_scan);
    tcase_add_test(all, devices_change_under_the_reader);
    tcase_add_test(all, a_thousand_devices);
    tcase_add_test(all, at_the_limit);
    tcase_add_test(all, virtual_functions);
    tcase_add_loop_test(all, claims_exclude, 0, G_N_ELEMENTS(pairs));
    tcase_add_test(all, claims_and_the_store);
    tcase_add_test(all, a_claimed_device_goes);
    tcase_add_test(all, restores_claims);
    tcase_add_test(all, claims_of_a_run);
    tcase_add_test(all, block_devices_by_number);
    tcase_add_test(all, claims_at_the_limit);
    tcase_add_test(all, the_real_host);
    suite_add_tcase(s, all);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
