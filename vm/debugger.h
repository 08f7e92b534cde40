/*
 * vm/debugger: where a debugger connects to a machine: a TCP port, one session at a time.
 *
 * A debugger that connects stops the guest, and holds it until it lets it go on; one that leaves, in
 * order or not, lets it run. What it holds is held beside what clients of vmd ask for: the guest
 * runs when neither wants it to stand. The translator knows breakpoints; guest memory is never
 * changed for them. Devices go on while the guest stands, guest time does not.
 *
 * All on the loop's thread.
 */
#ifndef VM_DEBUGGER_H
#define VM_DEBUGGER_H

#include "proto/schema/types.h"

#include <uv.h>

struct debugger;
struct machine;

/* Listens as CONFIG says. NULL with ERR where the host refuses the address. */
struct debugger *debugger_new(uv_loop_t *loop, struct machine *machine,
                              const struct vm_gdb_config *config, GError **err);
/* Closes all; the machine stands. Takes NULL. */
void debugger_free(struct debugger *debugger);

/* vCPUs may have stopped by themselves: takes what they stopped for, and holds the machine. */
void debugger_stopped(struct debugger *debugger);
/* The run is over. */
void debugger_ended(struct debugger *debugger, bool signalled);

#endif
