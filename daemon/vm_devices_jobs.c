/* The life of a job: it begins when those before it for the same device were sent, and ends by the
 * VM process, or with the run; a vmd that comes later takes it up. See vm_devices.h. */
#include "daemon/vm_devices_priv.h"

#include "daemon/attached.h"
#include "daemon/holdings.h"
#include "daemon/keeping.h"
#include "daemon/opener.h"
#include "daemon/vm_gpu.h"

void device_job__free(gpointer p)
{
    struct device_job *j = p;

    if (j->caller)
        rpc_call_error(j->caller, VMD_ERROR_GONE, "the daemon is ending");
    opener_free(j->opener);
    device_spec_free(j->spec);
    vm_gpu_config_free(j->to);
    g_free(j->mac);
    g_free(j->device);
    g_free(j);
}

/* --- a job's end ------------------------------------------------------------------------------ */

/* KEPT: what the definition calls it; NULL where that was not to change. */
static void set_kept_result(struct job *job, const char *device, const char *outcome,
                            const char *kept)
{
    struct json_object *result = json_object_new_object();

    if (device)
        json_object_object_add(result, "device", json_object_new_string(device));
    if (outcome)
        json_object_object_add(result, "outcome", json_object_new_string(outcome));
    if (kept)
        json_object_object_add(result, "persistent", json_object_new_string(kept));
    job_result(job, result);
}

void device_job__result(struct job *job, const char *device, const char *outcome)
{
    set_kept_result(job, device, outcome, NULL);
}

/* Whoever waits for J waits for what J waits for. */
static void unchain(struct device_job *j)
{
    GHashTableIter it;
    gpointer value;

    g_hash_table_iter_init(&it, j->devices->jobs);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        struct device_job *before = value;
        if (before->next == j) {
            before->next = g_steal_pointer(&j->next);
            return;
        }
    }
}

/* Whatever the job NUMBER was to add is not there, and its VM process has nothing of it. */
static void forget_added(struct vm_devices *d, uint64_t number)
{
    for (guint i = d->holdings->len; i-- > 0;) {
        if (((struct holding *)g_ptr_array_index(d->holdings, i))->adding == number)
            holdings_drop(d->holdings, d->vm, i);
    }
    attached_over(d->attached, number);
}

static void answer_caller(struct device_job *j, bool cancelled, const GError *err)
{
    struct rpc_call *caller = g_steal_pointer(&j->caller);

    if (caller && cancelled) {
        rpc_call_error(caller, VMD_ERROR_STATE, "the job was cancelled");
    } else if (caller && err) {
        rpc_call_fail(caller, g_error_copy(err));
    } else if (caller) {
        g_autoptr(vm_info) described = vm_describe(j->devices->vm);
        rpc_call_reply_typed(caller, &vm_info_type, described, -1);
    }
}

/* ERR is borrowed; NULL: success. */
void device_job__end(struct device_job *j, bool cancelled, const GError *err)
{
    struct vm_devices *d = j->devices;
    struct job *job = j->job;
    struct device_job *next;
    vm_devices_moved_fn moved = j->moved;
    void *arg = j->moved_arg;

    forget_added(d, j->number);
    if (attached_move_over(d->attached, j->number))
        vm_gpu_stay(vm_gpu_of(d->vm));
    keeping_drop(d->keeping, j->number);
    answer_caller(j, cancelled, err);
    unchain(j);
    next = j->sent ? NULL : g_steal_pointer(&j->next);
    g_hash_table_remove(d->jobs, &j->number);
    job_end(job, cancelled, err);
    if (moved && cancelled && !err) {
        g_autoptr(GError) why =
            g_error_new_literal(VMD_ERROR, VMD_ERROR_STATE, "the job was cancelled");
        moved(arg, why);
    } else if (moved) {
        moved(arg, err);
    }
    if (next)
        device_job__begin(next);
    vm_devices__tell_after_move(d);
}

void device_job__refuse(struct device_job *j, const GError *err)
{
    device_job__result(j->job, j->device, device_outcome_to_string(DEVICE_OUTCOME_REFUSED));
    device_job__end(j, false, err);
}

void vm_devices_job_ended(struct vm_devices *d, const struct vmi_job_ended_event *event)
{
    struct device_job *j = g_hash_table_lookup(d->jobs, &event->job);
    g_autofree char *kept = NULL;
    g_autoptr(GError) err = NULL;

    if (!event->kind && attached_moved_gpu(d->attached, event->job))
        vm_devices__gpu_moved(d);
    if (!j)
        return; /* told by a vmd before this one */
    if (event->kind)
        err = g_error_new_literal(VMD_ERROR, (int)vmd_error_named(event->kind), event->text);
    if (!err && event->device &&
        !keeping_apply(d->keeping, d->vm, j->number, event->device, &kept, &err))
        g_prefix_error(&err, "the run has it so, but not the definition: ");
    if (event->resize)
        job_result(j->job, resize_result_encode(event->resize));
    else
        set_kept_result(j->job, event->device, device_outcome_to_string(event->outcome), kept);
    device_job__end(j, event->outcome == DEVICE_OUTCOME_CANCELLED, err);
}

static void each_gone(struct vm_devices *d, const char *text)
{
    g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, text);
    GHashTableIter it;
    gpointer value;

    for (;;) {
        g_hash_table_iter_init(&it, d->jobs);
        if (!g_hash_table_iter_next(&it, NULL, &value))
            return;
        device_job__end(value, false, err);
    }
}

void vm_devices_run_over(struct vm_devices *d)
{
    each_gone(d, "the run ended while the job was under way");
    g_ptr_array_set_size(d->holdings, 0); /* hostdevs_end_run() has let go of the claims */
    attached_clear(d->attached);
}

/* --- calls to the VM process ------------------------------------------------------------------ */

struct job_call *job_call__new(const struct device_job *j)
{
    struct job_call *c = g_new0(struct job_call, 1);

    c->alive = g_atomic_rc_box_acquire(j->devices->alive);
    c->devices = j->devices;
    c->number = j->number;
    return c;
}

/* The job of C, which is freed; NULL: it is over. */
struct device_job *job_call__end(struct job_call *c)
{
    struct device_job *j = *c->alive ? g_hash_table_lookup(c->devices->jobs, &c->number) : NULL;

    g_atomic_rc_box_release(c->alive);
    g_free(c);
    return j;
}

/* Whether the VM process may have the job all the same: a link that broke says nothing, and a
 * process that is late will still come to it. What became of the call is found out with the
 * process, by its events, or when it is found again or gone. */
bool job_call__may_have_begun(const GError *err)
{
    return g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE) ||
           g_error_matches(err, VMD_ERROR, VMD_ERROR_TIMEOUT);
}

/* The job has begun, or there is none. */
void job_call__begun(void *arg, const void *result, int fd, const GError *err)
{
    struct device_job *j = job_call__end(arg);

    if (j && err && !job_call__may_have_begun(err))
        device_job__refuse(j, err);
}

void job_call__ignore(void *arg, const void *result, int fd, const GError *err)
{
}

/* --- a job's beginning ------------------------------------------------------------------------ */

static void cancel_job(void *opaque)
{
    struct device_job *j = opaque;
    struct vmi_device_cancel_params params = {.job = j->number};

    if (j->sent) {
        vm_call(j->devices->vm, VMI_DEVICE_CANCEL, &params, job_call__ignore, NULL);
        return;
    }
    device_job__result(j->job, j->device, device_outcome_to_string(DEVICE_OUTCOME_CANCELLED));
    device_job__end(j, true, NULL);
}

struct device_job *device_job__new(struct vm_devices *d, uid_t uid, const char *kind,
                                   const char *device, const char *text)
{
    struct device_job *j = g_new0(struct device_job, 1);

    j->devices = d;
    j->device = g_strdup(device);
    j->job = jobs_begin(vm_daemon(d->vm)->jobs, kind, vm_name(d->vm), vm_id(d->vm), uid, text,
                        cancel_job, j);
    job_carry(j->job);
    j->number = job_id(j->job);
    g_hash_table_insert(d->jobs, &j->number, j);
    return j;
}

/* The job begun last for DEVICE that the VM process was not told yet; NULL. */
struct device_job *vm_devices__latest_unsent(struct vm_devices *d, const char *device)
{
    struct device_job *found = NULL;
    GHashTableIter it;
    gpointer value;

    g_hash_table_iter_init(&it, d->jobs);
    while (device && g_hash_table_iter_next(&it, NULL, &value)) {
        struct device_job *j = value;
        if (!j->sent && g_strcmp0(j->device, device) == 0 && (!found || j->number > found->number))
            found = j;
    }
    return found;
}

/* Begins J, now or when BEFORE, which may be NULL, was sent. */
void device_job__follow(struct device_job *before, struct device_job *j)
{
    if (before)
        before->next = j;
    else
        device_job__begin(j);
}

void device_job__begin(struct device_job *j)
{
    if (j->to)
        device_job__begin_move(j);
    else if (j->spec)
        device_job__begin_add(j);
    else
        device_job__begin_remove(j);
}

/* --- over a restart of vmd -------------------------------------------------------------------- */

/* Of the jobs that were in doubt when the VM process was asked, those that it has are under way
 * still. Of what it was told since then its answer says nothing. */
static void jobs_told(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_device_jobs_result *r = result;
    struct job_call *c = arg;
    struct vm_devices *d = *c->alive ? c->devices : NULL;

    g_atomic_rc_box_release(c->alive);
    g_free(c);
    if (!d || err)
        return; /* the process is gone, or will be asked again */
    g_autoptr(GError) lost =
        g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE,
                            "the VM had not heard of the job when its daemon lost touch with it");
    g_autoptr(GPtrArray) gone = g_ptr_array_new();
    GHashTableIter it;
    gpointer value;

    g_hash_table_iter_init(&it, d->jobs);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        struct device_job *j = value;
        bool known = !j->in_doubt;
        for (size_t i = 0; i < r->n_jobs; i++)
            known |= r->jobs[i] == j->number;
        j->in_doubt = false;
        if (!known)
            g_ptr_array_add(gone, value);
    }
    for (guint i = 0; i < gone->len; i++)
        device_job__end(g_ptr_array_index(gone, i), false, lost);
    vm_devices__take_lost_again(d);
}

static void carried(void *opaque, struct job *job)
{
    struct vm_devices *d = opaque;
    struct device_job *j;

    if (g_hash_table_contains(d->jobs, &(uint64_t){job_id(job)}))
        return;
    j = g_new0(struct device_job, 1);
    j->devices = d;
    j->number = job_id(job);
    j->job = job;
    j->sent = true;
    job_adopt(job, cancel_job, j);
    g_hash_table_insert(d->jobs, &j->number, j);
}

void vm_devices_take(struct vm_devices *d)
{
    jobs_each_carried(vm_daemon(d->vm)->jobs, vm_id(d->vm), carried, d);
}

void vm_devices_recovered(struct vm_devices *d)
{
    struct job_call *c;
    GHashTableIter it;
    gpointer value;

    /* That a GPU was moved may still be told, by an event whose job has ended. */
    if (!g_hash_table_size(d->jobs) && !attached_moves_gpu(d->attached)) {
        vm_devices__take_lost_again(d);
        return;
    }
    g_hash_table_iter_init(&it, d->jobs);
    while (g_hash_table_iter_next(&it, NULL, &value)) {
        struct device_job *j = value;
        j->in_doubt = j->sent;
    }
    c = g_new0(struct job_call, 1);
    c->alive = g_atomic_rc_box_acquire(d->alive);
    c->devices = d;
    vm_call(d->vm, VMI_DEVICE_JOBS, NULL, jobs_told, c);
}
