/*
 * machine/devices: the platform devices of the boards.
 *
 * Each device is a struct that embeds struct device first and has one class: its registers, its
 * saved state as a table over the struct itself, and what to do at reset and after a restore.
 * A board keeps them in one array and treats them alike. Devices lock for themselves; reset,
 * save and load come from the control thread while no vCPU runs.
 */
#ifndef MACHINE_DEVICES_DEVICE_H
#define MACHINE_DEVICES_DEVICE_H

#include "base/base.h"
#include "base/state.h"
#include "mem/mem.h"

struct device;

struct device_class {
    const char *name;
    uint64_t size; /* bytes of its register window; 0: it has no registers */
    struct mem_device_ops regs;
    const struct state_desc *state;
    void (*reset)(struct device *dev);
    /* The fields are about to be saved: bring those up to date that live elsewhere. May be NULL. */
    void (*saving)(struct device *dev);
    /* The fields were restored: check them, drive lines and arm timers from them. False: the
     * stream holds what this device cannot be in. */
    bool (*restored)(struct device *dev);
    void (*free)(struct device *dev);
};

struct device {
    const struct device_class *class;
};

/* Maps DEV's registers at GPA. 0 or -EEXIST. */
static inline int device_map(struct device *dev, struct mem_map *mem, gpa_t gpa)
{
    return mem_map_add_device(mem, gpa, dev->class->size, dev->class->name, &dev->class->regs, dev);
}

static inline void device_reset(struct device *dev)
{
    dev->class->reset(dev);
}

/* Takes NULL. The registers have been unmapped, or no vCPU runs any more. */
static inline void device_free(struct device *dev)
{
    if (dev)
        dev->class->free(dev);
}

static inline void device_save(struct device *dev, GByteArray *out)
{
    if (dev->class->saving)
        dev->class->saving(dev);
    state_save(dev->class->state, dev, out);
}

/* The state as text for people; the caller frees. */
static inline char *device_print(struct device *dev)
{
    if (dev->class->saving)
        dev->class->saving(dev);
    return state_print(dev->class->state, dev);
}

/* Reads DEV's state back; on failure the device needs a reset. */
static inline bool device_load(struct device *dev, const uint8_t *data, size_t length, size_t *used,
                               GError **err)
{
    if (!state_load(dev->class->state, dev, data, length, used, err))
        return false;
    if (!dev->class->restored(dev))
        return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' is out of range", dev->class->name);
    return true;
}

#endif
