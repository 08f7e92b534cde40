/*
 * vm/gdb/stub: one debugger's session: GDB's remote serial protocol over a target.
 *
 * The target's vCPUs are the threads 1 to N. All-stop: while the target runs, only an interrupt and
 * the end of the connection are taken. What the debugger sends is not trusted: memory is bounded,
 * and what is malformed is answered with an error. All on the loop's thread.
 */
#ifndef VM_GDB_STUB_H
#define VM_GDB_STUB_H

#include "accel/accel.h"

struct gdb_stub;

/* How a vCPU goes on. */
enum gdb_go { GDB_HOLD, GDB_CONTINUE, GDB_STEP };

/* What is debugged. It stands when a session begins. THREAD counts from 0. */
struct gdb_target_ops {
    const struct accel_register *(*registers)(void *opaque, size_t *n);
    bool (*register_get)(void *opaque, unsigned thread, const struct accel_register *reg,
                         uint64_t *value);
    bool (*register_set)(void *opaque, unsigned thread, const struct accel_register *reg,
                         const uint64_t *value);
    /* Bytes from ADDRESS on, as THREAD sees them or, where PHYSICAL, by guest-physical address; how
     * many there were. */
    size_t (*read)(void *opaque, unsigned thread, bool physical, uint64_t address, void *to,
                   size_t n);
    /* All of them, or nothing and false. */
    bool (*write)(void *opaque, unsigned thread, bool physical, uint64_t address,
                  const void *from, size_t n);
    bool (*points)(void *opaque, const struct accel_debug *debug);
    /* Lets the vCPUs go on, one row each; gdb_stub_stopped() follows. STEP: how a step is made. */
    void (*go)(void *opaque, const enum gdb_go *how, enum accel_step step);
    /* Stops a running target; gdb_stub_stopped() follows. */
    void (*interrupt)(void *opaque);
    /* Is THREAD switched on? Only then can it make a step. */
    bool (*is_on)(void *opaque, unsigned thread);
    /* A line about THREAD, for people; the caller frees. */
    char *(*describe)(void *opaque, unsigned thread);
    /* Resets the machine, which stays stopped. */
    bool (*reset)(void *opaque, GError **err);
    /* The debugger leaves: the target runs on, without points. */
    void (*detach)(void *opaque);
    void (*kill)(void *opaque);
    void (*send)(void *opaque, const void *data, size_t n);
};

/* Begins a session; ARCHITECTURE is GDB's name of it. */
struct gdb_stub *gdb_stub_new(const struct gdb_target_ops *ops, void *opaque, unsigned threads,
                              const char *architecture);
/* Takes NULL. */
void gdb_stub_free(struct gdb_stub *stub);

/* What the debugger sent. */
void gdb_stub_input(struct gdb_stub *stub, const void *data, size_t n);

/* The target stands: STOP says why THREAD ended its run, or is NULL after an interrupt. */
void gdb_stub_stopped(struct gdb_stub *stub, unsigned thread, const struct accel_stop *stop);
/* The run is over; SIGNALLED: not in order. */
void gdb_stub_ended(struct gdb_stub *stub, bool signalled);

#endif
