/*
 * The table on disk is jobs.json: the next id, and the jobs under way. Finished ones are in the event
 * log; after a restart they can be seen there.
 */
#include "daemon/jobs.h"

#include "base/log.h"
#include "daemon/store.h"
#include "daemon/waiters.h"
#include "proto/jsonrpc/json.h"

struct job {
    struct jobs *all;
    struct job_info *info;
    char *vm_id;
    uid_t uid;
    bool carried, adopted;
    job_cancel_fn cancel;
    void *opaque;
    struct waiters *waiters;
    uint64_t ended_as; /* how many had ended when it had */
};

struct jobs {
    uv_loop_t *loop;
    struct events *events;
    char *path;
    uint64_t last, ended;
    GQueue list; /* struct job, newest first: running and finished */
};

static void job_free(gpointer p)
{
    struct job *job = p;

    waiters_free(job->waiters);
    job_info_free(job->info);
    g_free(job->vm_id);
    g_free(job);
}

/* --- the table on disk ------------------------------------------------------------------------ */

static void save(struct jobs *jobs)
{
    g_autoptr(json_object) json = json_object_new_object();
    struct json_object *rows = json_object_new_array();
    g_autoptr(GError) err = NULL;

    for (GList *l = jobs->list.head; l; l = l->next) {
        struct job *job = l->data;
        if (job->info->state == JOB_STATE_RUNNING) {
            struct json_object *row = job_info_encode(job->info);
            json_object_object_add(row, "vm_id",
                                   job->vm_id ? json_object_new_string(job->vm_id) : NULL);
            json_object_object_add(row, "carried", json_object_new_boolean(job->carried));
            json_object_object_add(row, "uid", json_object_new_uint64(job->uid));
            json_object_array_add(rows, row);
        }
    }
    json_object_object_add(json, "last", json_object_new_uint64(jobs->last));
    json_object_object_add(json, "running", rows);
    if (!store_write(jobs->path, json, false, &err))
        log_error("%s", err->message);
}

static void emit(struct job *job, enum api_event event, const void *data)
{
    struct event_source source = {.vm = job->info->vm, .vm_id = job->vm_id};

    events_emit(job->all->events, event, &source, 0, data);
}

/* Takes MEMBER out of ROW, as a new reference; NULL. */
static struct json_object *take(struct json_object *row, const char *member)
{
    struct json_object *value = NULL;

    if (json_object_object_get_ex(row, member, &value))
        json_object_get(value);
    json_object_object_del(row, member);
    return value;
}

/* Takes up a job that an earlier daemon left: to go on, or to end. One whose end is in the event log had
 * only not been taken from the table. */
static void take_up(struct jobs *jobs, struct json_object *row)
{
    g_autoptr(GError) why = g_error_new(VMD_ERROR, VMD_ERROR_GONE,
                                        "the daemon was restarted while the job was under way");
    g_autoptr(json_object) vm_id = take(row, "vm_id");
    g_autoptr(json_object) carried = take(row, "carried");
    g_autoptr(json_object) uid = take(row, "uid");
    g_autoptr(job_info) info = NULL;
    struct job *job;

    if (!job_info_decode(row, &info, NULL) || events_job_ended(jobs->events, info->id))
        return;
    job = g_new0(struct job, 1);
    job->all = jobs;
    job->info = g_steal_pointer(&info);
    job->vm_id = g_strdup(json_object_get_string(vm_id));
    job->uid = (uid_t)json_object_get_uint64(uid);
    job->carried = json_object_get_boolean(carried);
    job->info->cancellable = false;
    job->waiters = waiters_new(jobs->loop);
    g_queue_push_tail(&jobs->list, job);
    if (!job->carried)
        job_end(job, false, why);
}

struct jobs *jobs_open(const char *store, uv_loop_t *loop, struct events *events, GError **err)
{
    g_autoptr(json_object) json = NULL;
    g_autoptr(GError) why = NULL;
    struct json_object *last = NULL, *rows = NULL;
    struct jobs *jobs = g_new0(struct jobs, 1);

    jobs->loop = loop;
    jobs->events = events;
    jobs->path = g_build_filename(store, "jobs.json", NULL);
    if (!store_read(jobs->path, &json, &why)) {
        if (!store_set_aside(jobs->path, err)) {
            jobs_free(jobs);
            return NULL;
        }
        log_error("%s; it is now %s.bad, and the jobs in it are forgotten", why->message,
                  jobs->path);
    }
    /* Without the table, ids still don't come twice. */
    jobs->last = events_last_job(events);
    if (json_object_is_type(json, json_type_object) &&
        json_object_object_get_ex(json, "last", &last))
        jobs->last = MAX(jobs->last, json_object_get_uint64(last));
    if (json_object_is_type(json, json_type_object) &&
        json_object_object_get_ex(json, "running", &rows) &&
        json_object_is_type(rows, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(rows); i++) {
            struct json_object *row = json_object_array_get_idx(rows, i);
            if (json_object_is_type(row, json_type_object))
                take_up(jobs, row);
        }
    }
    return jobs;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    g_queue_clear_full(&jobs->list, job_free);
    g_free(jobs->path);
    g_free(jobs);
}

/* --- a job's life ----------------------------------------------------------------------------- */

/* Forgets the job that ended first, where more are finished than are kept. */
static void trim(struct jobs *jobs)
{
    unsigned finished = 0;
    GList *first = NULL;

    for (GList *l = jobs->list.head; l; l = l->next) {
        const struct job *job = l->data;
        if (job->info->state == JOB_STATE_RUNNING)
            continue;
        finished++;
        if (!first || job->ended_as < ((struct job *)first->data)->ended_as)
            first = l;
    }
    if (finished > LIMIT_JOBS_KEPT) {
        job_free(first->data);
        g_queue_delete_link(&jobs->list, first);
    }
}

struct job *jobs_begin(struct jobs *jobs, const char *kind, const char *vm, const char *vm_id,
                       uid_t uid, const char *text, job_cancel_fn cancel, void *opaque)
{
    struct job *job = g_new0(struct job, 1);

    job->all = jobs;
    job->info = job_info_new();
    job->info->id = ++jobs->last;
    job->info->kind = g_strdup(kind);
    job->info->vm = g_strdup(vm);
    job->info->state = JOB_STATE_RUNNING;
    job->info->text = g_strdup(text);
    job->info->cancellable = cancel != NULL;
    job->info->created_ns = (uint64_t)g_get_real_time() * 1000;
    job->vm_id = g_strdup(vm_id);
    job->uid = uid;
    job->cancel = cancel;
    job->opaque = opaque;
    job->waiters = waiters_new(jobs->loop);
    g_queue_push_head(&jobs->list, job);
    save(jobs);
    struct job_started_event event = {.job = job->info};
    emit(job, API_EVENT_JOB_STARTED, &event);
    return job;
}

void job_carry(struct job *job)
{
    job->carried = job->adopted = true;
    save(job->all);
}

void jobs_each_carried(struct jobs *jobs, const char *vm_id,
                       void (*each)(void *opaque, struct job *job), void *opaque)
{
    for (GList *l = jobs->list.head, *next; l; l = next) {
        struct job *job = l->data;
        next = l->next;
        if (job->carried && !job->adopted && job->info->state == JOB_STATE_RUNNING &&
            g_strcmp0(job->vm_id, vm_id) == 0)
            each(opaque, job);
    }
}

void jobs_end_orphans(struct jobs *jobs)
{
    g_autoptr(GError) why = g_error_new(VMD_ERROR, VMD_ERROR_GONE, "the VM of the job is gone");

    for (GList *l = jobs->list.head, *next; l; l = next) {
        struct job *job = l->data;
        next = l->next;
        if (job->carried && !job->adopted && job->info->state == JOB_STATE_RUNNING)
            job_end(job, false, why);
    }
}

void job_adopt(struct job *job, job_cancel_fn cancel, void *opaque)
{
    job->adopted = true;
    job->cancel = cancel;
    job->opaque = opaque;
    job->info->cancellable = cancel != NULL;
}

void job_result(struct job *job, struct json_object *result)
{
    json_object_put(job->info->result);
    job->info->result = result;
}

uint64_t job_id(const struct job *job)
{
    return job->info->id;
}

void job_progress(struct job *job, unsigned percent, const char *text)
{
    struct job_progress_event event = {
        .job = job->info->id, .progress = percent, .text = (char *)text};

    job->info->progress = percent;
    g_free(job->info->text);
    job->info->text = g_strdup(text);
    emit(job, API_EVENT_JOB_PROGRESS, &event);
}

static struct error_info *error_info_of(const GError *err)
{
    enum vmd_error kind = err->domain == VMD_ERROR ? (enum vmd_error)err->code : VMD_ERROR_INTERNAL;
    const struct rpc_error_row *row = rpc_error_row(kind);
    struct error_info *info = error_info_new();

    info->code = row->code;
    info->kind = g_strdup(vmd_error_name(kind));
    info->message = g_strdup(err->message);
    info->hint = g_strdup(row->hint);
    return info;
}

static void answer_info(struct rpc_call *call, void *opaque)
{
    job_wait_reply(call, ((struct job *)opaque)->info);
}

void job_end(struct job *job, bool cancelled, const GError *err)
{
    struct job_ended_event event = {.job = job->info};

    job->info->state = cancelled ? JOB_STATE_CANCELLED : err ? JOB_STATE_FAILED : JOB_STATE_DONE;
    job->info->has_ended_ns = true;
    job->info->ended_ns = (uint64_t)g_get_real_time() * 1000;
    job->info->cancellable = false;
    job->ended_as = ++job->all->ended;
    if (!err && !cancelled)
        job->info->progress = 100;
    if (err)
        job->info->error = error_info_of(err);
    emit(job, API_EVENT_JOB_ENDED, &event);
    save(job->all);
    waiters_answer(job->waiters, 0, answer_info, job);
    trim(job->all);
}

/* --- methods ---------------------------------------------------------------------------------- */

static struct job *find(struct jobs *jobs, struct rpc_call *call, uint64_t id)
{
    for (GList *l = jobs->list.head; l; l = l->next) {
        struct job *job = l->data;
        if (job->info->id == id)
            return job;
    }
    rpc_call_error(call, VMD_ERROR_NOT_FOUND, "there is no job %" G_GUINT64_FORMAT, id);
    return NULL;
}

void jobs_list(struct jobs *jobs, struct rpc_call *call, const struct job_list_params *params)
{
    struct job_list_result result = {0};

    result.jobs = g_new0(struct job_info *, jobs->list.length);
    for (GList *l = jobs->list.head; l; l = l->next) {
        struct job *job = l->data;
        if (params->has_state && job->info->state != params->state)
            continue;
        if (params->vm && g_strcmp0(params->vm, job->info->vm) != 0 &&
            g_strcmp0(params->vm, job->vm_id) != 0)
            continue;
        result.jobs[result.n_jobs++] = job->info;
    }
    job_list_reply(call, &result);
    g_free(result.jobs);
}

void jobs_get(struct jobs *jobs, struct rpc_call *call, uint64_t id)
{
    struct job *job = find(jobs, call, id);

    if (job)
        job_get_reply(call, job->info);
}

void jobs_cancel(struct jobs *jobs, struct rpc_call *call, uint64_t id)
{
    struct job *job = find(jobs, call, id);

    if (!job)
        return;
    if (rpc_call_role(call) != RPC_ROLE_ADMIN && rpc_call_peer(call)->uid != job->uid) {
        rpc_call_error(call, VMD_ERROR_DENIED, "job %" G_GUINT64_FORMAT " is another user's", id);
    } else if (job->info->state != JOB_STATE_RUNNING || !job->cancel) {
        rpc_call_error(call, VMD_ERROR_STATE, "job %" G_GUINT64_FORMAT " cannot be cancelled", id);
    } else {
        job->cancel(job->opaque);
        job_cancel_reply(call, job->info);
    }
}

void jobs_wait(struct jobs *jobs, struct rpc_call *call, const struct job_wait_params *params)
{
    struct job *job = find(jobs, call, params->job);

    if (!job)
        return;
    if (job->info->state != JOB_STATE_RUNNING)
        job_wait_reply(call, job->info);
    else if (params->has_timeout_ms && params->timeout_ms == 0)
        rpc_call_error(call, VMD_ERROR_TIMEOUT, "the job is still under way");
    else
        waiters_add(job->waiters, call, 0, params->has_timeout_ms ? params->timeout_ms : 0,
                    "the job is still under way");
}
