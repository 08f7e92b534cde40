/* vm/machine: what its files share. Loop thread, but where said. */
#ifndef VM_MACHINE_PRIV_H
#define VM_MACHINE_PRIV_H

#include "machine/boards/board.h"
#include "vm/console.h"
#include "vm/debugger.h"
#include "vm/devices.h"
#include "vm/hotplug.h"
#include "vm/machine.h"
#include "vm/panic.h"
#include "vm/resize.h"
#include "vm/sysrq.h"
#include "vm/vcpus.h"

#include <pthread.h>

/* What the machine does that takes turns of the loop. */
enum operation { OP_NONE, OP_PAUSE, OP_RESET, OP_END };

/* What a vCPU or device asks of the loop. */
struct request {
    bool pending;
    struct board_request board;
    bool failed; /* a vCPU cannot go on; TEXT says why */
    enum vcpu_exit why;
    char text[LONG_TEXT_MAX];
};

enum { FILE_VARS = 3 }; /* in files[] */

struct machine {
    uv_loop_t *loop;
    const struct vm_config *config;
    const struct machine_ops *ops;
    void *opaque;

    struct mem_map *mem, *ports; /* ports: NULL where the ISA has none */
    struct vm_clock *clock;
    struct board *board;
    struct accel *accel;
    struct vcpus *vcpus;
    struct devices *devices;
    struct hotplug *hotplug;
    struct resize *resize;
    struct console *serial;
    struct panic_watch panic;
    struct sysrq *sysrq;
    struct debugger *debugger; /* NULL: none may connect */
    int files[4]; /* kernel, initrd, firmware and its variables: kept open for resets */
    int statm;    /* /proc/self/statm: once the process is confined, /proc is out of reach */

    bool started;  /* has run */
    bool running;  /* vCPUs may run, but for an operation under way, or a debugger */
    bool held;     /* by a debugger */
    bool by_guest; /* OP_RESET: who asked */
    uint64_t reset_until_ns; /* a power-off before that is a reset; CLOCK_MONOTONIC */
    struct vm_end *end; /* how the run ended; nothing runs from then on */
    bool tell_end;      /* all stands: machine_ops.ended is due */
    enum operation op;
    struct vm_pause_info *pause; /* a pause that a disk wants, or has had; NULL: none does */
    machine_done_fn done;
    void *done_opaque;
    bool freeing;
    unsigned console_ms; /* of machine_free() */
    machine_done_fn freed;
    void *freed_opaque;
    uint64_t started_ns; /* CLOCK_MONOTONIC */

    uv_async_t *wake; /* a request is pending; freed by its close */
    pthread_mutex_t request_lock;
    struct request request;
    bool stopped; /* a vCPU has, for the debugger */
};

uint64_t machine__ns(clockid_t clock);

/* machine.c */
/* A request is pending, a disk wants a pause, a vCPU stopped, or the run's end is to be told. */
void machine__wake(uv_async_t *async);

/* machine_guest.c */
extern const struct board_cpu_ops machine__cpu_ops;
extern const struct board_console_ops machine__board_console_ops;
extern const struct console_ops machine__serial_ops;
extern const struct sysrq_ops machine__sysrq_ops;
/* Of a vCPU, on its thread. */
void machine__vcpu_failed(void *opaque, unsigned index, enum vcpu_exit why, const char *text);
void machine__vcpu_stopped(void *opaque);
int machine__cpu_start(void *opaque, unsigned cpu, const struct board_start *start);

/* machine_build.c */
/* Loads the machine's memory and switches the vCPUs on that start with it; the others of an x86
 * machine wait for INIT and SIPI inside the accelerator. */
bool machine__load(struct machine *m, GError **err);

#endif
