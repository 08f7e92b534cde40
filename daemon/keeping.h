/*
 * daemon/keeping: devices that a job adds to a run, or removes from it, and that the VM's
 * definition is to have, or not to have, too, once that is done. Kept in vm.json, so that a job
 * that goes on over a restart of vmd still does all that was asked. Loop thread.
 */
#ifndef DAEMON_KEEPING_H
#define DAEMON_KEEPING_H

#include "daemon/vm.h"

/* The caller frees the array, which owns its rows. */
GPtrArray *keeping_new(void);

/* Whether SPEC, or, where that is NULL, the removal of DEVICE, could be part of VM's definition. */
bool keeping_check(const struct vm *vm, const struct device_spec *spec, const char *device,
                   GError **err);
/* Notes that job JOB does so. SPEC is copied; an interface in it without an address gets MAC. */
void keeping_begin(GPtrArray *keeping, uint64_t job, const struct device_spec *spec,
                   const char *mac, const char *device);
/* JOB failed. */
void keeping_drop(GPtrArray *keeping, uint64_t job);
/*
 * JOB is done, for the device that is DEVICE in the run: changes the definition of VM, where JOB is
 * to. *NAME, the caller's, is what the device is called there: as in the run, unless the definition
 * has that name; NULL where JOB is not to change it. False with ERR where it could not be changed,
 * or not be stored.
 */
bool keeping_apply(GPtrArray *keeping, struct vm *vm, uint64_t job, const char *device, char **name,
                   GError **err);
/* Drops what belongs to none of the jobs in JOBS, a set of uint64_t. */
void keeping_sweep(GPtrArray *keeping, GHashTable *jobs);

struct json_object *keeping_encode(const GPtrArray *keeping);
/* What makes no sense is left out. JSON is borrowed and may be NULL. */
void keeping_decode(GPtrArray *keeping, struct json_object *json);

#endif
