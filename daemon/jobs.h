/*
 * daemon/jobs: what takes time, with progress and exactly one end.
 *
 * Jobs live with the daemon: one that is under way when the daemon ends is reported as failed by the
 * next daemon, unless it is carried: then it goes on, and who does it takes it up again. The latest LIMIT_JOBS_KEPT finished ones can be asked about. Loop thread.
 */
#ifndef DAEMON_JOBS_H
#define DAEMON_JOBS_H

#include "daemon/events.h"

#include <uv.h>

struct jobs;
struct job;

/* Opens the table in STORE; jobs that were under way, and are not carried, have their end reported. */
struct jobs *jobs_open(const char *store, uv_loop_t *loop, struct events *events, GError **err);
/* Takes NULL. Handles are closed by the loop's next turn. */
void jobs_free(struct jobs *jobs);

/* Asked by job.cancel: the job's owner ends it soon by job_end(). */
typedef void (*job_cancel_fn)(void *opaque);

/* Begins a job of KIND (a method's name) on VM, for the user UID. CANCEL NULL: not cancellable. */
struct job *jobs_begin(struct jobs *jobs, const char *kind, const char *vm, const char *vm_id,
                       uid_t uid, const char *text, job_cancel_fn cancel, void *opaque);
uint64_t job_id(const struct job *job);
void job_progress(struct job *job, unsigned percent, const char *text);
/* The job goes on without this daemon: the next one has it under way, for job_adopt(). */
void job_carry(struct job *job);
/* Calls EACH for the carried jobs of the VM VM_ID that an earlier daemon began and nobody adopted. */
void jobs_each_carried(struct jobs *jobs, const char *vm_id,
                       void (*each)(void *opaque, struct job *job), void *opaque);
/* All VMs have looked for theirs: carried jobs that nobody adopted end. */
void jobs_end_orphans(struct jobs *jobs);
void job_adopt(struct job *job, job_cancel_fn cancel, void *opaque);
/* Its result so far, which is taken. */
void job_result(struct job *job, struct json_object *result);
/* Ends the job: success (ERR NULL), cancelled, or failed with ERR (borrowed). JOB is gone. */
void job_end(struct job *job, bool cancelled, const GError *err);

/* The handlers of job.*. */
void jobs_list(struct jobs *jobs, struct rpc_call *call, const struct job_list_params *params);
void jobs_get(struct jobs *jobs, struct rpc_call *call, uint64_t id);
void jobs_cancel(struct jobs *jobs, struct rpc_call *call, uint64_t id);
void jobs_wait(struct jobs *jobs, struct rpc_call *call, const struct job_wait_params *params);

#endif
