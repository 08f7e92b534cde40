/*
 * daemon/events: the numbered events, kept and delivered.
 *
 * Each event gets the next number and is appended to the event log on disk before anybody hears of
 * it, so that numbers grow by one over restarts and no event is told twice. The latest
 * LIMIT_EVENTS_KEPT are kept for those who resume. Loop thread.
 */
#ifndef DAEMON_EVENTS_H
#define DAEMON_EVENTS_H

#include "proto/jsonrpc/rpc.h"
#include "proto/schema/api.h"

struct events;

/* Opens the log in STORE. NULL with ERR when it can't be read or written. */
struct events *events_open(const char *store, GError **err);
void events_free(struct events *events);

/* Which VM an event is about, and which event of the VM's process it came from. */
struct event_source {
    const char *vm, *vm_id; /* NULL: none */
    uint64_t vm_seq;        /* 0: not from a VM process */
};

/* Emits EVENT with DATA, its generated struct (NULL: no members). Time 0 is now. */
void events_emit(struct events *events, enum api_event event, const struct event_source *source,
                 uint64_t time_ns, const void *data);

/* The latest number: all that a VM's description tells is the same while it is. */
uint64_t events_last(const struct events *events);

/* The latest number of VM_ID's own process that is in the log since the VM's latest start. */
uint64_t events_vm_seq(const struct events *events, const char *vm_id);

/* Calls EACH, oldest first, for the events that came of the numbers above AFTER of the process of VM_ID's latest
 * run, of those that are kept. */
void events_vm_after(const struct events *events, const char *vm_id, uint64_t after,
                     void (*each)(void *opaque, const struct event_record *record), void *opaque);

/* What the log says of VM_ID, which is ahead of the VM's own file if the daemon was killed between
 * the two: its latest state (STATE untouched where the log has none), its latest run's vm.ended
 * where that was told (borrowed, until the next event; else NULL), and whether it is deleted. */
void events_vm_state(const struct events *events, const char *vm_id, enum vm_state *state);
const struct event_record *events_vm_ended(const struct events *events, const char *vm_id);
bool events_vm_deleted(const struct events *events, const char *vm_id);

/* Whether the end of job JOB is in the log. */
bool events_job_ended(const struct events *events, uint64_t job);
/* Id of the latest job whose start is in the log; 0 without one. */
uint64_t events_last_job(const struct events *events);

/* The handlers of event.subscribe, event.unsubscribe and event.list. VM_ID is params->vm resolved,
 * or NULL. */
void events_subscribe(struct events *events, struct rpc_call *call,
                      const struct event_subscribe_params *params, const char *vm_id);
void events_unsubscribe(struct events *events, struct rpc_call *call, uint32_t subscription);
void events_list(struct events *events, struct rpc_call *call,
                 const struct event_list_params *params, const char *vm_id);
/* CONN is gone: its subscriptions too. */
void events_forget(struct events *events, struct rpc_conn *conn);

#endif
