/*
 * vm/machine: one virtual machine: board, accelerator, vCPUs, devices and consoles put together.
 *
 * This is the only place that knows accelerators and machines at once. All functions are for the
 * loop's thread. Operations that wait for devices (pause, reset, end) answer by callback; one runs at a
 * time, and another that comes meanwhile is VMD_ERROR_BUSY.
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "accel/accel.h"
#include "proto/schema/types.h"
#include "proto/schema/vmi.h"
#include "vm/console.h"
#include "vm/hotplug.h"
#include "vm/resize.h"

#include <uv.h>

struct machine;

struct machine_ops {
    /* The run is over; the machine stands. END is borrowed. Comes once, from the loop. */
    void (*ended)(void *opaque, const struct vm_end *end);
    /* The machine was reset. */
    void (*was_reset)(void *opaque, bool by_guest);
    /* The host failed a disk. */
    void (*disk_error)(void *opaque, const struct vmi_disk_error_event *event);
    /* The machine stands for WHY, which is borrowed, and unasked; machine_resume() goes on. */
    void (*paused)(void *opaque, const struct vm_pause_info *why);
    /* Whether the guest runs may have changed, by a debugger: machine_running() and machine_held(). */
    void (*debugged)(void *opaque);
    /* The GPU's worker is in another state. */
    void (*gpu_worker)(void *opaque, enum gpu_worker_state state, const char *text);
    /* Something the owner should know. */
    void (*warning)(void *opaque, const char *text);
    /* News of devices that come and go. */
    struct hotplug_ops hotplug;
};

typedef void (*machine_done_fn)(void *opaque);

/* Files that were opened for the VM by somebody with more rights; -1 where there is none. */
struct machine_files {
    int (*take)(void *opaque, const char *name);
    void *opaque;
    const char *socket_dir;    /* where channels listen; NULL: nowhere. Borrowed */
    const struct hotlist *hot; /* hot blocks of earlier runs; NULL: none. Borrowed */
};

/*
 * Builds the machine of CONFIG (kept by reference), loads what it boots from, and leaves it
 * standing before the first instruction. ACCEL is VM_ACCEL_XLATE or VM_ACCEL_KVM. Console logs go
 * to LOG_DIR. NULL with ERR naming what cannot be had.
 */
struct machine *machine_new(uv_loop_t *loop, const struct vm_config *config, enum vm_accel accel,
                            const char *log_dir, const struct machine_files *files,
                            const struct machine_ops *ops, void *opaque, GError **err);

/* Ends vCPUs at once, then devices; calls DONE when all is freed. Consoles get CONSOLE_MS to send
 * what they have. Takes NULL (DONE is still called). */
void machine_free(struct machine *machine, unsigned console_ms, machine_done_fn done,
                  void *opaque);

/* Lets the guest run: the first time, or after a pause. */
bool machine_resume(struct machine *machine, GError **err);
/* Halts vCPUs, guest time and devices; DONE when they stand. */
bool machine_pause(struct machine *machine, machine_done_fn done, void *opaque, GError **err);
/*
 * A debugger's own stop, beside what clients ask for: on return no vCPU runs and guest time stands,
 * until it is released and the machine runs. Devices go on. Both may be repeated.
 */
void machine_hold(struct machine *machine);
void machine_release(struct machine *machine);
bool machine_held(const struct machine *machine);
/* Why the machine is paused where it was not asked for: for a disk. Borrowed; else NULL. */
const struct vm_pause_info *machine_pause_info(const struct machine *machine);
/* The owner looks at what it is told by machine_ops.debugged. */
void machine_tell_state(struct machine *machine);
/* GDB's name of the guest's instruction set. */
const char *machine_gdb_name(const struct machine *machine);

/* As by the reset button; the machine runs afterwards as it did before. */
bool machine_reset(struct machine *machine, machine_done_fn done, void *opaque, GError **err);
/* Asks the guest to power off. Where it does so within RESET_MS milliseconds, the machine is reset as if the
 * guest had asked for that; 0: it powers off. */
bool machine_powerdown(struct machine *machine, uint32_t reset_ms, GError **err);
/* Ends the run for REASON; machine_ops.ended follows. */
void machine_end(struct machine *machine, enum vm_end_reason reason, const char *text);

bool machine_running(const struct machine *machine);

struct console *machine_console(struct machine *machine, const char *name);
/* A connection to a channel, as channels_attach() says. */
int machine_channel(struct machine *machine, const char *name, bool force, GError **err);
bool machine_has_channel(struct machine *machine, const char *name);

/* New structs, the caller's. */
struct vm_stats *machine_stats(struct machine *machine);
/* As devices_balloon(), with an error where BYTES are all of the guest's memory or more. */
bool machine_balloon(struct machine *machine, uint64_t bytes, uint64_t *target, uint64_t *actual,
                     GError **err);

/* As devices_ask_memory(). */
bool machine_ask_memory(struct machine *machine, unsigned seconds, GError **err);
/* On which of the host's processors vCPU number VCPU may run, a list of base/cpulist; NULL: on any. */
bool machine_pin(struct machine *machine, unsigned vcpu, const char *cpus, GError **err);

/* As gpu_serve(); VMD_ERROR_UNSUPPORTED where the VM has no GPU. */
int machine_gpu_serve(struct machine *machine, GError **err);
/* NULL where the VM has none. */
struct gpu *machine_gpu(struct machine *machine);

/* Devices that come and go. */
struct hotplug *machine_hotplug(struct machine *machine);
/* Its size. */
struct resize *machine_resize(struct machine *machine);

/* The accelerator, for what only a translator has. */
struct accel *machine_accel(struct machine *machine);
struct vcpus *machine_vcpus(struct machine *machine);
struct mem_map *machine_memory(struct machine *machine);

#endif
