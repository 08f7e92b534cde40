/*
 * vm/road: a way by which devices come to a running guest and leave it. A road has places; a device keeps
 * one from before it is made until it is closed. What the guest does there a road reports by
 * hotplug_signal(). Loop thread only.
 */
#ifndef VM_ROAD_H
#define VM_ROAD_H

#include "hotplug/slot/slot.h"
#include "machine/bus/pci.h"
#include "vm/agent.h"
#include "vm/devices.h"

struct hotplug;
struct pci_plug;
struct road;

/* It would not come at all; it would, but all places are taken. */
enum { ROAD_UNFIT = -1, ROAD_FULL = -2 };

struct road_ops {
    enum device_road road;
    bool frontend; /* devices have a frontend of their own; else what is behind them is given to another's */
    void (*free)(struct road *road);
    /*
     * How well a device of SPEC would come by this road, as the guest is now; ROAD_UNFIT; ROAD_FULL. *WHY is
     * for people: what the choice rests on, or what is missing. Static.
     */
    int (*fitness)(struct road *road, const struct device_spec *spec, const char **why);
    /* Keeps a place for DEVICE, of SPEC, in its member PLACE. False: all are taken. */
    bool (*reserve)(struct road *road, const struct device_spec *spec, struct vm_device *device);
    void (*drop)(struct road *road, struct vm_device *device);
    /* As of struct slots_ops. */
    bool (*publish)(struct road *road, struct vm_device *device, GError **err);
    void (*ask)(struct road *road, struct vm_device *device);
    bool (*unask)(struct road *road, struct vm_device *device);
    void (*withdraw)(struct road *road, struct vm_device *device);
    /* What a removal would be, for people. Static. */
    const char *(*leaving)(struct road *road, const struct vm_device *device);
    /* Why the guest may be leaving DEVICE waiting; static, or NULL. The member may be NULL. */
    const char *(*late)(struct road *road, const struct vm_device *device);
    /* Fills address and bus of INFO. */
    void (*describe)(struct road *road, const struct vm_device *device, struct device_info *info);
    /* Adds rows of struct slot_info; their states are the caller's to fill in. */
    void (*slots)(struct road *road, GPtrArray *rows);
    /* The driver of CARRIER, by which devices of this road come, is there or gone. */
    void (*carrier_running)(struct road *road, struct vm_device *carrier, bool on);
    /* The guest was reset. */
    void (*reset)(struct road *road);
};

struct road {
    const struct road_ops *ops;
    struct hotplug *hotplug;
};

/* What the guest did with DEVICE. WHY may be NULL. */
void hotplug_signal(struct hotplug *h, struct vm_device *device, enum slot_event event,
                    const char *why);
/* A DEVICE without a frontend, whose users are programs, is where the guest can use it: it counts as
 * taken, unless some of it has no address there. */
void hotplug_found(struct hotplug *h, struct vm_device *device);
/*
 * Asks the agent in the guest for WORDS (a verb, its arguments, NULL) on behalf of DEVICE. That it is done
 * MEANS what is given (SLOT_EV_TAKEN, by hotplug_found(); SLOT_EVENTS: nothing); an error is a refusal.
 * False: it cannot be asked.
 */
bool hotplug_ask_agent(struct hotplug *h, struct vm_device *device, const char *const *words,
                       enum slot_event means);
/* The agent, for what concerns no device of the VM; NULL: there is none. Questions need no
 * cancelling: it is gone before roads are. */
struct agent *hotplug_agent(const struct hotplug *h);
/* Whether the agent is there and knows VERB. */
bool hotplug_agent_can(const struct hotplug *h, const char *verb);

/* Another's frontend has DEVICE no longer: the guest let go of it, or it was taken from it. */
void hotplug_released(struct vm_device *device);

/* Whether the guest's driver has the device. */
bool vm_device_taken(const struct vm_device *device);

/* --- the roads ------------------------------------------------------------------------------------
 */

/* Devices of the configuration, on the root bus. */
struct road *road_fixed_new(struct hotplug *h);

/*
 * PORTS slots of PCI Express on the root bus: ROADS, by enum device_road, get those for a guest
 * whose driver watches them, for one where the agent has the bus searched, and, with a PLUG, for
 * one that is told by ACPI.
 */
bool road_pcie_new(struct hotplug *h, uv_loop_t *loop, struct pci_host *pci, struct pci_plug *plug,
                   unsigned ports, struct road **roads, GError **err);

/* The N network ports among DEVICES; NULL where N is 0. */
struct road *road_link_new(struct hotplug *h, struct devices *devices, unsigned n);

/* Units of the VM's SCSI ADAPTER. FIRST_CHOICE: also while no driver of it is seen. */
struct road *road_scsi_new(struct hotplug *h, struct vm_device *adapter, bool first_choice);

#endif
