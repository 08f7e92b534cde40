/*
 * hotplug/host: which devices the host has, and which VM holds which.
 *
 * The inventory has every PCI function, and the block devices and network interfaces that a guest could
 * be given. sysfs is the truth: a uevent of the kernel only says where to look again, so that a lost,
 * late or doubled one cannot make the inventory wrong. Where uevents cannot be had, all is looked at every
 * LIMIT_HOST_RESCAN_S seconds. PCI identities and names come from libpci; no configuration space is
 * read for them, which would wake devices that sleep.
 *
 * A claim says that a VM holds a device. It covers all of the device's IOMMU group, what is below the
 * device (a controller's disks), by a physical function its virtual ones, and by a disk what is made of
 * it (dm, md): none of these can be another VM's. A claim stays when its device goes, until it is released.
 *
 * All of it is for the loop's thread. Calls block for reads of sysfs alone.
 */
#ifndef HOTPLUG_HOST_HOST_DEVICES_H
#define HOTPLUG_HOST_HOST_DEVICES_H

#include "base/base.h"

#include <sys/types.h>
#include <uv.h>

enum host_kind { HOST_PCI, HOST_BLOCK, HOST_NET, HOST_KINDS };

enum { HOST_BARS = 7, HOST_ROM_BAR = 6 };

/* A range of a PCI function; SIZE is 0 where there is none. */
struct host_bar {
    uint64_t start, size; /* bytes */
    bool io, prefetchable, wide; /* WIDE: of 64 bits */
};

struct host_pci {
    uint16_t vendor, device, subvendor, subdevice;
    uint32_t class_code; /* base class, subclass, programming interface: 24 bits */
    uint8_t revision;
    bool enabled; /* somebody has enabled the function; as of the latest look */
    uint32_t vfs, vfs_total; /* SR-IOV: how many there are, and can be */
    struct host_bar bars[HOST_BARS];
};

struct host_block {
    uint64_t size; /* bytes */
    bool readonly, removable;
};

/* What is known of a device. Texts are valid UTF-8 without control characters, and NULL where sysfs has
 * none. */
struct host_device {
    enum host_kind kind;
    char *id;       /* "pci:0000:01:00.0", "block:sda", "net:eth0" */
    char *path;     /* its folder, from sysfs's root: "/devices/pci0000:00/0000:00:02.0" */
    char *class;    /* pci: six hexadecimal digits; block: disk, partition, rom, loop, dm, md ...;
                       net: ethernet, bridge, tap, wlan, bond, vlan ... */
    char *identity; /* what tells it from another device that gets the same id later */
    char *driver;   /* its own, or that of the device it hangs on */
    char *text;     /* for people: what its maker calls it */
    char *vendor_name, *device_name, *class_name; /* pci, from pci.ids */
    char *physfn;   /* pci: id of the physical function that this virtual one is of */
    char *resets;   /* pci: ways to reset it, with blanks between: "flr bus" */
    char *serial;   /* block */
    char *slaves;   /* block: names of those that it is made of, with blanks between: "sda1 sdb" */
    char *address;  /* net: the hardware address, as of the latest look */
    int numa_node;   /* -1: none */
    int iommu_group; /* -1: none */
    struct host_pci pci;     /* kind HOST_PCI */
    struct host_block block; /* kind HOST_BLOCK */
    uint64_t incarnation;    /* differs for another device that came under the same id */
};

struct host_claim {
    char *device;   /* the id */
    char *identity; /* of the device that was claimed; NULL: it had none */
    char *vm;       /* the VM's id */
    bool run;       /* ends with the VM's present run */
    bool present;   /* the host has the device now */
    int iommu_group; /* when it was last seen; -1: none, or not yet seen by this daemon */
};

/* What changes, in the order in which it is seen. Devices are borrowed for the call. A listener may ask and
 * release; it may not claim, rescan or free. */
struct host_listener {
    void (*appeared)(void *arg, const struct host_device *device);
    /* WAS is the id before where DEVICE was renamed (its claim goes with it), else NULL. */
    void (*changed)(void *arg, const struct host_device *device, const char *was);
    /* HOLDER is the id of the VM whose claim names DEVICE, which lost it by surprise; else NULL. The claim
     * stays, without its device. */
    void (*gone)(void *arg, const struct host_device *device, const char *holder);
    /* Claims are to be stored. False with ERR fails the claim that was asked for. */
    bool (*claims_changed)(void *arg, GError **err);
    /* There are no uevents any more; see host_devices_watch(). */
    void (*watch_lost)(void *arg, const char *why);
};

struct host_options {
    const char *sysfs;   /* NULL: /sys */
    const char *pci_ids; /* NULL: libpci's own */
    int uevents;         /* a socket of host_uevents_open(), taken; -1: none */
    const char *why;     /* why there is none */
};

struct host_devices;

/*
 * A socket that hears the kernel's uevents: NETLINK_KOBJECT_UEVENT, group 1. -1 with ERR where it cannot
 * be had, or where the kernel would tell nothing there (it tells devices to its first user namespace).
 */
int host_uevents_open(GError **err);

/* Looks at all and goes on watching on LOOP. LISTENER stays the caller's and hears of nothing that is
 * there already. What cannot be read is left out. */
struct host_devices *host_devices_new(uv_loop_t *loop, const struct host_options *options,
                                      const struct host_listener *listener, void *arg);
/* Its handles close on the loop, which must run once more. Takes NULL. */
void host_devices_free(struct host_devices *host);

/* Whether uevents keep it current; else WHY (borrowed) says why not, and all is looked at now and then. */
bool host_devices_watch(const struct host_devices *host, const char **why);
/* Devices beyond LIMIT_HOST_DEVICES that are left out. */
unsigned host_devices_left_out(const struct host_devices *host);
/* Looks at all again, now. */
void host_devices_rescan(struct host_devices *host);

/* Borrowed until the loop goes on; NULL. */
const struct host_device *host_devices_find(const struct host_devices *host, const char *id);
/* All (struct host_device, borrowed until the loop goes on) by kind and id; the caller frees the array. */
GPtrArray *host_devices_list(const struct host_devices *host);
/* The nearest device of the inventory that DEVICE hangs on: a disk's controller, a partition's disk; NULL. */
const struct host_device *host_devices_parent(const struct host_devices *host,
                                              const struct host_device *device);

/* The id that the block device NUMBER has, whether it is in the inventory or not; NULL: none. The caller frees. */
char *host_devices_block_id(const struct host_devices *host, dev_t number);

/*
 * Has VM (an id) hold the device ID, after another look at it; with RUN, until its run ends. True as well
 * where it does already.
 * VMD_ERROR_NOT_FOUND where the host has no such device, VMD_ERROR_BUSY naming the holder by the text that
 * NAME(arg, vm) gives (the caller frees; NULL: as the id), VMD_ERROR_LIMIT, and what claims_changed() said.
 */
bool host_devices_claim(struct host_devices *host, const char *id, const char *vm, bool run,
                        char *(*name)(void *arg, const char *vm), GError **err);
/* Releases what VM holds: the device ID, or all where ID is NULL; with RUN only what it holds until its run
 * ends. Returns how many claims that were. */
unsigned host_devices_release(struct host_devices *host, const char *id, const char *vm, bool run);
/* Takes up a claim of an earlier daemon, whether its device is there or not. Tells nobody. False where the
 * device is claimed already, or there are LIMIT_HOST_CLAIMS. */
bool host_devices_restore(struct host_devices *host, const char *id, const char *identity,
                          const char *vm, bool run);
/* Every claim (struct host_claim, borrowed until claims change), oldest first; the caller frees the array. */
GPtrArray *host_devices_claims(const struct host_devices *host);
/* The claim that covers DEVICE, its own before others; NULL. */
const struct host_claim *host_devices_holder(const struct host_devices *host,
                                             const struct host_device *device);

/* "pci", "block", "net". */
const char *host_kind_name(enum host_kind kind);

#endif
