/* hotplug/host/host_priv: what the parts of hotplug/host share: reading sysfs, devices, the inventory. */
#ifndef HOTPLUG_HOST_HOST_PRIV_H
#define HOTPLUG_HOST_HOST_PRIV_H

#include "hotplug/host/host_devices.h"

/* --- sysfs.c: small files that may be missing, unreadable, or hold anything ------------------- */

/* The first line of DIR/NAME without blanks around it, cut at 255 bytes, made valid UTF-8 without control
 * characters; NULL where there is none. The caller frees. */
char *sysfs_text(const char *dir, const char *name);
/* A whole number from MIN to MAX, decimal or 0x; OUT is untouched otherwise. */
bool sysfs_number(const char *dir, const char *name, uint64_t max, uint64_t *out);
/* The last part of where the link DIR/NAME leads; NULL. The caller frees. */
char *sysfs_link(const char *dir, const char *name);
bool sysfs_has(const char *dir, const char *name);
/* The names in DIR, sorted, into OUT (owned). False with errno, OUT untouched. */
bool sysfs_names(const char *dir, GPtrArray **out);
/* TEXT, which is taken, as sysfs_text() would give it. */
char *sysfs_clean(char *text);

/* --- facts of each kind ----------------------------------------------------------------------- */

/* Where a device's facts are read from. */
struct host_place {
    const char *root; /* of sysfs */
    const char *dir;  /* the device's folder, with ROOT */
    const char *name; /* the device's: "0000:00:02.0" */
    const struct host_device *known; /* what was read earlier, or NULL: its names need no look-up */
};

/* libpci, for a batch of devices. */
struct pci_reader;
/* Both may be NULL. */
struct pci_reader *pci_reader_new(const char *sysfs, const char *pci_ids);
void pci_reader_free(struct pci_reader *reader);

/* Each fills DEVICE; false where there is no such device, or it is none for a guest. */
bool host_pci_read(struct pci_reader *reader, const struct host_place *place,
                   struct host_device *device);
bool host_block_read(const struct host_place *place, struct host_device *device);
bool host_net_read(const struct host_place *place, struct host_device *device);

/* --- device.c ---------------------------------------------------------------------------------- */

/* Reads the device NAME of KIND, whose folder is found below ROOT; NULL where there is none. READER is for
 * kind HOST_PCI. KNOWN is what is known of it already, or NULL. */
struct host_device *host_device_read(const char *root, enum host_kind kind, const char *name,
                                     const struct host_device *known, struct pci_reader *reader);
/* The folder in which KIND's devices are listed; the caller frees. */
char *host_device_list_dir(const char *root, enum host_kind kind);
char *host_device_id(enum host_kind kind, const char *name);
/* Whether a device can have NAME at all. */
bool host_device_name_valid(enum host_kind kind, const char *name);
/* Takes NULL. */
void host_device_free(struct host_device *device);
bool host_device_equal(const struct host_device *a, const struct host_device *b);
/* Whether A is above B: B hangs on A, or is a virtual function of it. */
bool host_device_above(const struct host_device *a, const struct host_device *b);

/* --- the inventory, and claims.c ---------------------------------------------------------------------------------- */

struct host_devices {
    char *root, *pci_ids;
    GHashTable *by_id;    /* char * of the device -> struct host_device, owned */
    GHashTable *by_path;  /* char * of the device -> struct host_device */
    GPtrArray *claims;    /* struct host_claim, owned */
    const struct host_listener *listener;
    void *arg;
    unsigned left_out[HOST_KINDS];
    unsigned telling; /* a listener is at work */
    bool sweep_wanted[HOST_KINDS];
    struct pci_reader *reader; /* of the present batch */
    bool rescan_wanted;

    int uevents;     /* -1: none */
    bool check_sender;
    char *why;       /* why there are none */
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles; /* that are open */
    void (*closed)(struct host_devices *host);
};

/* DEVICE is there (again), is gone (returns its holder, borrowed, or NULL), or is NOW something else. */
void host_claims_appeared(struct host_devices *host, const struct host_device *device);
const char *host_claims_gone(struct host_devices *host, const struct host_device *device);
void host_claims_follow(struct host_devices *host, const struct host_device *device,
                        const struct host_device *now);
void host_claim_free(gpointer claim);
/* Looks at one device again. That one is gone may be told by the next look, or by settle. */
void host_devices__look(struct host_devices *host, enum host_kind kind, const char *name);
/* The end of a batch of looks: tells what was put off, and closes what was opened for it. */
void host_devices__settle(struct host_devices *host);

/* --- watch.c ----------------------------------------------------------------------------------- */

void host_watch_start(struct host_devices *host, uv_loop_t *loop, int uevents, const char *why);
void host_watch_close(struct host_devices *host, void (*closed)(struct host_devices *host));

#endif
