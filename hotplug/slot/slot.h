/*
 * hotplug/slot: the life of the devices of one VM that come and go.
 *
 * A device has an id, and a slot from the moment it is asked for until it is released: the same
 * states for every kind of device and for every road into a guest. What is asked for is a job. A job
 * ends once, with one outcome; jobs for the same id are carried out in the order in which they came.
 * The owner makes, shows and closes devices by the operations below, and reports what the guest does by
 * slots_signal(); which state follows, and what is to be done then, is one table (slot.c).
 *
 * Every state that waits for somebody has a bounded time. Time that the guest does not run, by
 * slots_hold(), does not count for those that wait for the guest.
 *
 * Threads: all of it belongs to the loop's thread.
 */
#ifndef HOTPLUG_SLOT_SLOT_H
#define HOTPLUG_SLOT_SLOT_H

#include "base/base.h"

#include <uv.h>

enum slot_state {
    SLOT_FREE,         /* there is no device */
    SLOT_REQUESTED,    /* the device is being made */
    SLOT_VISIBLE,      /* the guest can find it, and has not taken it */
    SLOT_ACKNOWLEDGED, /* the guest's driver has taken it */
    SLOT_LEAVING,      /* the guest is asked to let go of it */
    SLOT_RELEASING,    /* the guest has it no longer; what is behind it is being closed */
    SLOT_STATES
};

/* What happens to a slot. The owner reports those up to SLOT_EV_RESET. */
enum slot_event {
    SLOT_EV_TAKEN,   /* the guest's driver took the device */
    SLOT_EV_LEFT,    /* its driver left it; it may come back */
    SLOT_EV_LET_GO,  /* the guest let go of it, so that it may be taken away */
    SLOT_EV_REFUSED, /* the guest said no to what it was asked */
    SLOT_EV_LOST,    /* what is behind the device has gone, or the guest no longer sees it */
    SLOT_EV_CLOSED,  /* what is behind it is closed */
    SLOT_EV_RESET,   /* the guest was reset: nobody uses the device, or remembers what was asked */
    /* The table's own: */
    SLOT_EV_MADE,
    SLOT_EV_FAILED,
    SLOT_EV_REMOVE,
    SLOT_EV_FORCE,
    SLOT_EV_CANCEL,
    SLOT_EV_TIMEOUT,
    SLOT_EVENTS
};

/* How a job ended. */
enum slot_outcome {
    SLOT_DONE,
    SLOT_REFUSED,          /* it could not be done, or the guest would not; an error says which */
    SLOT_TIMED_OUT,        /* nobody answered in the time allowed */
    SLOT_SURPRISE_REMOVED, /* the device went without the guest's leave */
    SLOT_CANCELLED,
};

const char *slot_state_name(enum slot_state state);
const char *slot_outcome_name(enum slot_outcome outcome);

struct slots;
struct slot; /* one device; lives until its SLOT_FREE was told */

enum slot_job_kind { SLOT_ADD, SLOT_REMOVE };

/* What is asked for. */
struct slot_request {
    uint64_t job; /* the asker's number of it; not that of another job under way */
    enum slot_job_kind kind;
    const char *id;
    bool visible;        /* add: done when the guest can find the device, not when it has taken it */
    bool force;          /* remove: take it away without asking the guest */
    unsigned timeout_ms; /* for the guest to answer; 0: as long as SLOT_GUEST_MS */
    void *spec;          /* add: what make() gets; taken, and freed by free_spec() where it never does */
};

enum { SLOT_GUEST_MS = 30000, SLOT_CLOSE_MS = 30000, SLOT_QUEUE = 16 };

struct slots_ops {
    /* Makes the device of SPEC, which is taken, with all that is behind it, for SLOT. NULL with an error. */
    void *(*make)(void *opaque, struct slot *slot, void *spec, GError **err);
    void (*free_spec)(void *opaque, void *spec);
    /* Lets the guest find DEVICE, all of which is ready. */
    bool (*publish)(void *opaque, void *device, GError **err);
    /* Asks the guest to let go: SLOT_EV_LET_GO or SLOT_EV_REFUSED follows, now or later, or nothing. */
    void (*ask)(void *opaque, void *device);
    /* Takes that request back: its time is over, or it was cancelled. False: it cannot be, as the guest
     * sees the device no longer. */
    bool (*unask)(void *opaque, void *device);
    /* Takes DEVICE from the guest, whatever that thinks of it; nothing where it was never published, or
     * is taken already. */
    void (*withdraw)(void *opaque, void *device);
    /* Closes what is behind DEVICE and frees it; then SLOT_EV_CLOSED for SLOT, now or later. DEVICE NULL:
     * none was made. */
    void (*close)(void *opaque, struct slot *slot, void *device);
    /* What is known of why the guest leaves DEVICE waiting, for people; static, or NULL. The member may be
     * NULL. */
    const char *(*late)(void *opaque, void *device);
    /* SLOT is in another state. WHY is for people, or NULL. */
    void (*changed)(void *opaque, const struct slot *slot, const char *why);
    /* A job is over. ERR where OUTCOME is not SLOT_DONE. */
    void (*ended)(void *opaque, uint64_t job, const char *id, enum slot_outcome outcome,
                  const GError *err);
};

/* OPS and OPAQUE are kept. */
struct slots *slots_new(uv_loop_t *loop, const struct slots_ops *ops, void *opaque);
/* Forgets all slots and jobs without a word; devices are the owner's. Handles are closed by the loop's
 * next turn. Takes NULL. */
void slots_free(struct slots *slots);

/* A device that is there from the start: its slot is SLOT_VISIBLE. ID is not taken. */
struct slot *slots_adopt(struct slots *slots, const char *id, void *device);

/*
 * Begins a job, or queues it behind another for the same id; ended() comes later, never from within. An
 * error means that there is no job: VMD_ERROR_EXISTS (the id is taken), VMD_ERROR_NOT_FOUND,
 * VMD_ERROR_BUSY (SLOT_QUEUE jobs wait for it), and REQUEST's spec stays the caller's.
 *
 * A forced removal does not queue behind a job that waits for the guest: that one ends, and it begins.
 */
bool slots_request(struct slots *slots, const struct slot_request *request, GError **err);

/* Ends JOB as SLOT_CANCELLED where it is queued, or where what it began can be taken back, as long as it
 * takes. VMD_ERROR_NOT_FOUND, or VMD_ERROR_STATE: it is too late. */
bool slots_cancel(struct slots *slots, uint64_t job, GError **err);

/* EVENT happened to SLOT. WHY is for people; may be NULL. */
void slots_signal(struct slots *slots, struct slot *slot, enum slot_event event, const char *why);

/* The guest was reset: SLOT_EV_RESET for all. */
void slots_reset(struct slots *slots);

/* The guest stands, or goes on. */
void slots_hold(struct slots *slots, bool hold);

/* By id; NULL. */
struct slot *slots_find(struct slots *slots, const char *id);
void slots_each(struct slots *slots, void (*each)(void *opaque, struct slot *slot), void *opaque);
/* Calls EACH for every job that is under way or waits, oldest first for each id. */
void slots_each_job(struct slots *slots, void (*each)(void *opaque, uint64_t job), void *opaque);

const char *slot_id(const struct slot *slot);
enum slot_state slot_state(const struct slot *slot);
void *slot_device(const struct slot *slot); /* NULL: not made yet, or closed */
uint64_t slot_job(const struct slot *slot); /* the one under way; 0: none */

#endif
