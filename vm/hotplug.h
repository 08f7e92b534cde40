/*
 * vm/hotplug: devices come to a running guest and leave it.
 *
 * It joins the states of hotplug/slot with the roads of vm/road: chooses the road of a device, makes it,
 * and tells what became of it. Every device of the VM has a slot there; those of the configuration too,
 * whose road is "fixed". Loop thread only.
 */
#ifndef VM_HOTPLUG_H
#define VM_HOTPLUG_H

#include "hotplug/slot/slot.h"
#include "machine/bus/pci.h"
#include "proto/schema/types.h"
#include "proto/schema/vmi.h"

struct agent;
struct devices;
struct disk;
struct hotplug;
struct pci_plug;

/* Files that came for a device: descriptors of paths, owned. */
struct hotplug_files {
    GPtrArray *paths; /* of char *, owned */
    GArray *fds;      /* of int, a path's each */
    int tap;          /* -1: none */
};
struct hotplug_files *hotplug_files_new(void);
void hotplug_files_free(struct hotplug_files *files);

struct hotplug_ops {
    /* A device is in another state. All is borrowed. */
    void (*changed)(void *opaque, const struct vmi_device_event *event);
    /* A job is over. */
    void (*ended)(void *opaque, const struct vmi_job_ended_event *event);
    /* The host asks for a device of its own. */
    void (*wanted)(void *opaque, const struct vmi_device_wanted_event *event);
    /* Of resize: the guest has another size, for which no job asked. */
    void (*resized)(void *opaque, const struct vmi_size_event *event);
    /* And the balloon holds something else, before that is told. */
    void (*ballooned)(void *opaque, const struct vmi_balloon_event *event);
};

/* Makes CONFIG's roads on PCI, after all DEVICES are there. The agent of the guest, AGENT, may be NULL. */
struct hotplug *hotplug_new(uv_loop_t *loop, const struct vm_config *config,
                            struct devices *devices, struct pci_host *pci, struct pci_plug *plug,
                            struct agent *agent, const struct hotplug_ops *ops, void *opaque,
                            GError **err);
/* Forgets jobs without a word and takes devices off their roads: nothing runs, and devices_free() comes
 * next. Takes NULL. */
void hotplug_detach(struct hotplug *h);
/* Frees the roads, after devices_free() is done. Takes NULL. */
void hotplug_free(struct hotplug *h);

/*
 * Begins to add a device of SPEC, which is copied and gets an id where it has none, as job JOB;
 * ended() follows. FILES are what vmd opened for it (may be NULL), taken over. MAC is the address
 * of an interface whose SPEC has none, where it comes as a card; NULL for other devices. *ID is its
 * name; the caller frees. On an error there is no job.
 */
bool hotplug_add(struct hotplug *h, uint64_t job, const struct device_spec *spec, const char *mac,
                 bool visible, unsigned timeout_ms, struct hotplug_files *files, char **id,
                 GError **err);
bool hotplug_remove(struct hotplug *h, uint64_t job, const char *id, bool force, unsigned timeout_ms,
                    GError **err);
bool hotplug_cancel(struct hotplug *h, uint64_t job, GError **err);
/* Numbers of the jobs under way, an array of uint64_t; the caller's. */
GArray *hotplug_jobs(struct hotplug *h);

/* The disk ID; NULL. */
struct disk *hotplug_disk(struct hotplug *h, const char *id);

/* Rows of struct slot_info, and of struct device_info; the caller's. */
GPtrArray *hotplug_slots(struct hotplug *h);
GPtrArray *hotplug_devices(struct hotplug *h);

/* The guest was reset; it stands, or goes on. */
void hotplug_reset(struct hotplug *h);
void hotplug_hold(struct hotplug *h, bool hold);

#endif
