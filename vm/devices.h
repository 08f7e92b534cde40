/*
 * vm/devices: the PCI devices that a VM's configuration asks for: disks, interfaces and the rest,
 * each with its backend, on the machine's PCI bus. Loop thread only.
 */
#ifndef VM_DEVICES_H
#define VM_DEVICES_H

#include "machine/bus/pci.h"
#include "mem/clock.h"
#include "mem/mem.h"
#include "proto/schema/types.h"
#include "vm/agent.h"
#include "vm/console.h"
#include "vm/disk.h"
#include "vm/machine.h"
#include "vm/sandbox.h"

struct devices;

struct devices_env {
    uv_loop_t *loop;
    struct mem_map *mem;
    struct vm_clock *clock;
    struct pci_host *pci;
    struct console *console;            /* of virtio-console; NULL: none */
    const struct machine_files *files;  /* taps come from here; may be NULL */
    void (*warning)(void *opaque, const char *text);
    disk_failed_fn disk_failed; /* NULL: nobody wants to know */
    void *opaque;
};

/*
 * Adds to FILES what the devices of CONFIG will open, images behind others too. Opens and closes the
 * disks for it, so that most of what is wrong with them is said here. Starts no thread.
 */
bool devices_files(const struct vm_config *config, struct sandbox_files *files, GError **err);

/* Makes and plugs all of CONFIG's devices. NULL with ERR naming the one that cannot be had. */
struct devices *devices_new(const struct vm_config *config, const struct devices_env *env,
                            GError **err);

/* Takes them off the bus, closes their backends (disks are flushed), frees, then calls DONE from
 * the loop. No vCPU runs. Takes NULL. */
void devices_free(struct devices *devices, void (*done)(void *opaque), void *opaque);

/* Lets them finish what is under way and begin nothing new; then DONE, at once where they stand. */
void devices_quiesce(struct devices *devices, void (*done)(void *opaque), void *opaque);
void devices_resume(struct devices *devices);

/* Input for the virtio console; returns the bytes taken. */
size_t devices_console_input(struct devices *devices, const uint8_t *data, size_t n);

/* The guest's agent, the devices'; NULL where there is no console, since it talks over a port of that. */
struct agent *devices_agent(const struct devices *devices);
/* Guest time goes on after it stood. */
void devices_clock_changed(struct devices *devices);

/* Asks the guest to keep BYTES in the balloon; what it is asked for then, and what is there. False where
 * there is no balloon. */
bool devices_balloon(struct devices *devices, uint64_t bytes, uint64_t *target, uint64_t *actual);

/* Fills the disks, nics and balloon members of OUT. */
void devices_stats(struct devices *devices, struct vm_stats *out);
/* Rows of struct device_info, the caller's. */
GPtrArray *devices_list(struct devices *devices);

#endif
