/*
 * daemon/holdings: which device of a running VM is on which device of the host: the block devices behind its
 * disks, its tap interfaces, and functions of the host that it has whole. Kept in vm.json, so that the next vmd knows what went meanwhile. A device
 * of the host is known by its incarnation: another one under its name is not it. Loop thread.
 */
#ifndef DAEMON_HOLDINGS_H
#define DAEMON_HOLDINGS_H

#include "daemon/hostdevs.h"
#include "daemon/vm.h"

struct holding {
    char *device; /* of the VM; NULL: its VM process has not named it yet */
    char *host;   /* the id of the host's device */
    uint64_t incarnation;
    uint64_t adding;   /* the job that adds it; 0: it is there */
    uint64_t removing; /* the job that takes it away because the host lost it; 0: none */
    uint64_t asking;   /* the last job that did because the host wants it; 0: none, or before a restart */
    uint64_t asked_ms; /* when that began; the loop's clock */
};

/* The caller frees the array, which owns its struct holding. */
GPtrArray *holdings_new(void);

/* A device of a VM, by the one member that is not NULL. */
struct holding_of {
    const struct vm_disk_config *disk;
    const struct vm_nic_config *nic;
    const struct vm_host_config *host;
};

/* Claims for VM what a device is on, and notes that in HOLDINGS. */
bool holdings_take(GPtrArray *holdings, const struct vm *vm, const char *device,
                   const struct holding_of *of, uint64_t job, GError **err);
/* Notes in HOLDINGS that DEVICE (NULL: the one that JOB adds) is on HOST, which VM shares with others and does
 * not claim. Nothing, where the host does not have it. */
void holdings_note(GPtrArray *holdings, const struct vm *vm, const char *device, const char *host,
                   uint64_t job);
/* Takes out the holding at INDEX; its claim goes with the last one on that device. */
void holdings_drop(GPtrArray *holdings, const struct vm *vm, guint index);
/* Whether the host has not got the device of H any more. */
bool holding_lost(const struct holding *h, const struct vm *vm);

struct json_object *holdings_encode(const GPtrArray *holdings);
/* What is no holding is left out. JSON is borrowed and may be NULL. */
void holdings_decode(GPtrArray *holdings, struct json_object *json);

#endif
