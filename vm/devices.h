/*
 * vm/devices: the PCI devices of a VM: those that its configuration asks for, on the machine's root bus from
 * the start, and those that come and go (vm/hotplug). Loop thread only.
 */
#ifndef VM_DEVICES_H
#define VM_DEVICES_H

#include "machine/bus/pci.h"
#include "proto/schema/types.h"
#include "vm/agent.h"
#include "vm/channels.h"
#include "vm/device.h"
#include "vm/machine.h"
#include "vm/sandbox.h"

struct devices;

/* Of the adapter by which disks come and go, where the VM has one. */
#define SCSI_ID "scsi0"
/* And of the network ports whose link comes up, with a number from 0 behind it. */
#define LINK_ID "link"
/* And of the device by which memory comes and goes. */
#define MEMORY_ID "mem0"
/* And of the GPU. */
#define GPU_ID "gpu0"

struct devices_env {
    uv_loop_t *loop;
    struct mem_map *mem;
    struct vm_clock *clock;
    struct pci_host *pci;
    struct mem_ram *room;              /* for memory that comes and goes; NULL: none does */
    const char *log_dir;               /* of consoles */
    const char *socket_dir;            /* of channels; NULL: they have none */
    const struct machine_files *files; /* taps come from here; may be NULL */
    void (*warning)(void *opaque, const char *text);
    disk_failed_fn disk_failed;
    struct gpu_ops gpu;
    void *opaque;
};

/*
 * Adds to FILES what the devices of CONFIG will open, images behind others too. Opens and closes the
 * disks for it, so that most of what is wrong with them is said here. Starts no thread.
 */
bool devices_files(const struct vm_config *config, struct sandbox_files *files, GError **err);

/* Whether user networking may be there: from the start, or at a port made ready for a network. */
bool devices_user_net(const struct vm_config *config);

/* Whether functions of the host may be there: from the start, or later. */
bool devices_host(const struct vm_config *config);

/* Makes and plugs all of CONFIG's devices. NULL with ERR naming the one that cannot be had. */
struct devices *devices_new(const struct vm_config *config, const struct devices_env *env,
                            GError **err);

/* Takes them off the bus, closes their backends (disks are flushed; clients of consoles get CONSOLE_MS),
 * frees, then calls DONE from the loop. No vCPU runs. Takes NULL. */
void devices_free(struct devices *devices, unsigned console_ms, void (*done)(void *opaque),
                  void *opaque);

/* Lets them finish what is under way and begin nothing new; then DONE, at once where they stand. */
void devices_quiesce(struct devices *devices, void (*done)(void *opaque), void *opaque);
void devices_resume(struct devices *devices);

/* The guest's agent, the devices'; NULL where there is no console, since it talks over a port of that. */
struct agent *devices_agent(const struct devices *devices);
/* Guest time goes on after it stood. */
void devices_clock_changed(struct devices *devices);

/* By name; NULL. */
struct console *devices_console(struct devices *devices, const char *name);

/* Those that the guest and programs of the host speak by; NULL where there are none. */
struct channels *devices_channels(const struct devices *devices);

/* Asks the guest to keep BYTES in the balloon; what it is asked for then, and what is there. False where
 * there is no balloon. */
bool devices_balloon(struct devices *devices, uint64_t bytes, uint64_t *target, uint64_t *actual);

bool devices_has_balloon(const struct devices *devices);
/* What the balloon holds; 0 where there is none. */
uint64_t devices_balloon_bytes(const struct devices *devices);

/* CHANGED is called when the balloon may hold something else; NULL: nobody is. */
void devices_watch_balloon(struct devices *devices, void (*changed)(void *opaque), void *opaque);
/* Asks the guest every so many SECONDS how it is with its memory, which devices_stats() then tells; 0: no more. False
 * where there is no balloon. */
bool devices_ask_memory(struct devices *devices, unsigned seconds);

/* The device by which memory comes and goes; NULL where there is none. */
struct virtio_device *devices_memory(const struct devices *devices);
/* The machine was reset: such memory is gone. */
void devices_memory_reset(struct devices *devices);

/* NULL where there is none. */
struct gpu *devices_gpu(struct devices *devices);

/* Fills the disks, nics, gpu and balloon members of OUT. */
void devices_stats(struct devices *devices, struct vm_stats *out);

/* --- for those that come and go ------------------------------------------------------------------
 */

const struct device_env *devices_env(const struct devices *devices);
/* Calls EACH for every device, in the order in which the guest finds them. */
void devices_each(struct devices *devices, void (*each)(void *opaque, struct vm_device *device),
                  void *opaque);
struct vm_device *devices_find(struct devices *devices, const char *id);
/* DEVICE is one of them from here on; devices_free() closes it. */
void devices_join(struct devices *devices, struct vm_device *device);
/*
 * DEVICE, which is off its bus, is one of them no longer: closed as vm_device_close() does, after what was
 * under way. A standstill waits for it.
 */
void devices_close(struct devices *devices, struct vm_device *device, void (*closed)(void *opaque),
                   void *opaque);
/* Takes a device of the root bus off it. */
void devices_unplug(struct vm_device *device);

#endif
