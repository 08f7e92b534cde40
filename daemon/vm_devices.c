/* See vm_devices.h. */
#include "daemon/vm_devices.h"

#include "base/log.h"
#include "daemon/attached.h"
#include "daemon/gpus.h"
#include "daemon/holdings.h"
#include "daemon/keeping.h"
#include "daemon/opener.h"
#include "daemon/registry.h"
#include "daemon/vm_gpu.h"

enum {
    CALL_MS = 30000,
    WANTED_MS = 9000, /* how long a guest may take to let go of what the host asks for */
    STILL_WANTED_MS = 30000, /* a request after that is another one */
};

struct vm_devices {
    struct vm *vm;
    GHashTable *jobs;  /* number -> struct device_job, owned */
    GPtrArray *holdings; /* what its devices are on */
    GPtrArray *keeping;  /* jobs that change the definition too */
    struct attached *attached; /* which came and went since the run began */
    GArray *after_move; /* struct after_move */
    unsigned *alive;   /* shared with calls under way: 0 once this is freed */
};

/* Who waits for the end of the move that is under way. */
struct after_move {
    void (*done)(void *arg);
    void *arg;
};

/* A job under way. */
struct device_job {
    struct vm_devices *devices;
    uint64_t number;
    struct job *job;
    char *device;            /* NULL: it has no name yet, or the VM process knows */
    struct device_spec *spec; /* of an addition; NULL */
    char *mac;                /* of an interface that was given none; NULL */
    enum device_until until;
    bool force;
    uint32_t timeout_ms;
    struct opener *opener;   /* NULL: not at work */
    bool sent;               /* the VM process was told; requests for one device in their order */
    bool in_doubt;           /* it was told by a call that broke, or by a vmd before this one, and is asked */
    struct device_job *next; /* for the same device, waits for SENT; NULL */
    struct rpc_call *caller; /* is answered when the job is over; NULL */
    struct vm_gpu_config *to; /* what a move makes of the GPU; NULL: it is none */
    vm_devices_moved_fn moved; /* and who hears of its end; NULL */
    void *moved_arg;
};

/* A call to the VM process on behalf of a job, which may be over by the time of the answer. */
struct job_call {
    unsigned *alive;
    struct vm_devices *devices;
    uint64_t number;
};

static void job_clear(gpointer p)
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

struct vm_devices *vm_devices_new(struct vm *vm)
{
    struct vm_devices *d = g_new0(struct vm_devices, 1);

    d->vm = vm;
    d->holdings = holdings_new();
    d->keeping = keeping_new();
    d->attached = attached_new();
    d->after_move = g_array_new(FALSE, FALSE, sizeof(struct after_move));
    d->jobs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, job_clear);
    d->alive = g_atomic_rc_box_new0(unsigned);
    *d->alive = 1;
    return d;
}

void vm_devices_free(struct vm_devices *d)
{
    if (!d)
        return;
    *d->alive = 0;
    g_atomic_rc_box_release(d->alive);
    g_hash_table_destroy(d->jobs);
    g_ptr_array_free(d->holdings, TRUE);
    g_ptr_array_free(d->keeping, TRUE);
    attached_free(d->attached);
    g_array_free(d->after_move, TRUE);
    g_free(d);
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

static void set_result(struct job *job, const char *device, const char *outcome)
{
    set_kept_result(job, device, outcome, NULL);
}

static void begin(struct device_job *j);

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

static void tell_after_move(struct vm_devices *d)
{
    if (attached_moves_gpu(d->attached))
        return;
    g_autoptr(GArray) all = g_steal_pointer(&d->after_move);
    d->after_move = g_array_new(FALSE, FALSE, sizeof(struct after_move));
    for (guint i = 0; i < all->len; i++) {
        const struct after_move *a = &g_array_index(all, struct after_move, i);
        a->done(a->arg);
    }
}

/* ERR is borrowed; NULL: success. */
static void end(struct device_job *j, bool cancelled, const GError *err)
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
        g_autoptr(GError) why = g_error_new_literal(VMD_ERROR, VMD_ERROR_STATE, "the job was cancelled");
        moved(arg, why);
    } else if (moved) {
        moved(arg, err);
    }
    if (next)
        begin(next);
    tell_after_move(d);
}

static void end_refused(struct device_job *j, const GError *err)
{
    set_result(j->job, j->device,
               device_outcome_to_string(DEVICE_OUTCOME_REFUSED));
    end(j, false, err);
}

/* The run has its GPU elsewhere. */
static void gpu_moved(struct vm_devices *d)
{
    const struct vm_gpu_config *gpu = vm_devices_gpu(d);
    g_autofree char *host = gpu ? gpus_host_device(vm_daemon(d->vm)->gpus, gpu) : NULL;

    for (guint i = d->holdings->len; i-- > 0;) {
        const struct holding *h = g_ptr_array_index(d->holdings, i);
        if (g_strcmp0(h->device, VM_GPU_ID) == 0 && g_strcmp0(h->host, host) != 0)
            holdings_drop(d->holdings, d->vm, i);
    }
    vm_devices_gpus_known(d);
    vm_gpu_moved(vm_gpu_of(d->vm));
}

void vm_devices_job_ended(struct vm_devices *d, const struct vmi_job_ended_event *event)
{
    struct device_job *j = g_hash_table_lookup(d->jobs, &event->job);
    g_autofree char *kept = NULL;
    g_autoptr(GError) err = NULL;

    if (!event->kind && attached_moved_gpu(d->attached, event->job))
        gpu_moved(d);
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
    end(j, event->outcome == DEVICE_OUTCOME_CANCELLED, err);
}

static void take_lost(struct vm_devices *d);

/* What the device is on: it is there, or released. */
static void note_holding(struct vm_devices *d, const struct vmi_device_event *event)
{
    for (guint i = d->holdings->len; i-- > 0;) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (h->adding && event->has_job && h->adding == event->job) {
            h->adding = 0;
            h->device = g_strdup(event->device);
        }
        if (!h->adding && event->state == DEVICE_STATE_RELEASED && strcmp(h->device, event->device) == 0)
            holdings_drop(d->holdings, d->vm, i);
    }
    take_lost(d);
}

void vm_devices_news(struct vm_devices *d, const struct vmi_device_event *event)
{
    static const unsigned percent[] = {
        [DEVICE_STATE_REQUESTED] = 10, [DEVICE_STATE_VISIBLE] = 40,
        [DEVICE_STATE_ACKNOWLEDGED] = 90, [DEVICE_STATE_LEAVING] = 40,
        [DEVICE_STATE_RELEASING] = 80, [DEVICE_STATE_RELEASED] = 95,
    };
    struct device_job *j = event->has_job ? g_hash_table_lookup(d->jobs, &event->job) : NULL;
    g_autofree char *text = g_strdup_printf("device %s is %s", event->device,
                                            device_state_to_string(event->state));

    if (j)
        job_progress(j->job, percent[event->state], text);
    attached_news(d->attached, event);
    note_holding(d, event);
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
        end(value, false, err);
    }
}

void vm_devices_run_over(struct vm_devices *d)
{
    each_gone(d, "the run ended while the job was under way");
    g_ptr_array_set_size(d->holdings, 0); /* hostdevs_end_run() has let go of the claims */
    attached_clear(d->attached);
}

/* --- calls to the VM process ------------------------------------------------------------------ */

static struct job_call *job_call_new(const struct device_job *j)
{
    struct job_call *c = g_new0(struct job_call, 1);

    c->alive = g_atomic_rc_box_acquire(j->devices->alive);
    c->devices = j->devices;
    c->number = j->number;
    return c;
}

/* The job of C, which is freed; NULL: it is over. */
static struct device_job *job_call_end(struct job_call *c)
{
    struct device_job *j = *c->alive ? g_hash_table_lookup(c->devices->jobs, &c->number) : NULL;

    g_atomic_rc_box_release(c->alive);
    g_free(c);
    return j;
}

/* Whether the VM process may have the job all the same: a link that broke says nothing, and a process that
 * is late will still come to it. What became of the call is found out with the process, by its events, or
 * when it is found again or gone. */
static bool may_have_begun(const GError *err)
{
    return g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE) ||
           g_error_matches(err, VMD_ERROR, VMD_ERROR_TIMEOUT);
}

/* The job has begun, or there is none. */
static void begun(void *arg, const void *result, int fd, const GError *err)
{
    struct device_job *j = job_call_end(arg);

    if (j && err && !may_have_begun(err))
        end_refused(j, err);
}

static void add_begun(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_device_add_result *r = result;
    struct job_call *c = arg;
    struct device_job *j = *c->alive ? g_hash_table_lookup(c->devices->jobs, &c->number) : NULL;

    if (j && !err)
        set_result(j->job, r->device, NULL);
    begun(arg, result, fd, err);
}

static void ignore(void *arg, const void *result, int fd, const GError *err)
{
}

static void cancel_job(void *opaque)
{
    struct device_job *j = opaque;
    struct vmi_device_cancel_params params = {.job = j->number};

    if (j->sent) {
        vm_call(j->devices->vm, VMI_DEVICE_CANCEL, &params, ignore, NULL);
        return;
    }
    set_result(j->job, j->device, device_outcome_to_string(DEVICE_OUTCOME_CANCELLED));
    end(j, true, NULL);
}

static struct device_job *job_new(struct vm_devices *d, uid_t uid, const char *kind,
                                  const char *device, const char *text)
{
    struct device_job *j = g_new0(struct device_job, 1);

    j->devices = d;
    j->device = g_strdup(device);
    j->job = jobs_begin(vm_daemon(d->vm)->jobs, kind, vm_name(d->vm), vm_id(d->vm),
                        uid, text, cancel_job, j);
    job_carry(j->job);
    j->number = job_id(j->job);
    g_hash_table_insert(d->jobs, &j->number, j);
    return j;
}

/* --- adding ----------------------------------------------------------------------------------- */

/* All that the device needs is open: FILES are sent ahead of the request, in the order of the link. */
static void send_add(struct device_job *j, const struct opened *files)
{
    struct vmi_device_add_params params = {
        .job = j->number,
        .device = j->spec,
        .until = j->until,
        .timeout_ms = j->timeout_ms,
        .mac = j->mac,
        .files = files ? (char **)files->paths->pdata : NULL,
        .n_files = files ? files->paths->len : 0,
    };

    for (guint i = 0; files && i < files->fds->len; i++) {
        g_autofree char *name = i < files->paths->len
                                    ? g_strdup_printf("%" G_GUINT64_FORMAT ".%u", j->number, i)
                                    : g_strdup_printf("%" G_GUINT64_FORMAT ".tap", j->number);
        vm_send_fd(j->devices->vm, name, g_array_index(files->fds, int, i), ignore, NULL);
        g_array_index(files->fds, int, i) = -1;
    }
    j->sent = true;
    vm_call(j->devices->vm, VMI_DEVICE_ADD, &params, add_begun, job_call_new(j));
}

/* Why what the addition is on cannot be used; NULL: it can. */
static GError *lost_meanwhile(const struct device_job *j)
{
    for (guint i = 0; i < j->devices->holdings->len; i++) {
        const struct holding *h = g_ptr_array_index(j->devices->holdings, i);
        if (h->adding == j->number && holding_lost(h, j->devices->vm))
            return g_error_new(VMD_ERROR, VMD_ERROR_GONE, "the host lost %s", h->host);
    }
    return NULL;
}

static void opened(void *opaque, const struct opened *files, const GError *err)
{
    struct device_job *j = opaque;
    struct opener *opener = g_steal_pointer(&j->opener); /* it has FILES and ERR */
    g_autoptr(GError) lost = lost_meanwhile(j);
    struct device_job *next = err || lost ? NULL : g_steal_pointer(&j->next);

    if (err || lost)
        end_refused(j, err ? err : lost);
    else
        send_add(j, files);
    opener_free(opener);
    if (next)
        begin(next);
}

/* What a definition leaves open is filled in, and what it has wrong refused. */
static bool settle(struct vm_devices *d, struct device_spec *spec, GError **err)
{
    struct registry *registry = vm_daemon(d->vm)->registry;

    return (!spec->disk || registry_settle_disk(registry, d->vm, spec->disk, err)) &&
           (!spec->nic || registry_check_nic(spec->nic, err)) &&
           (!spec->host || registry_check_host(spec->host, err));
}

static bool needs_opening(const struct device_spec *spec)
{
    return spec->disk || spec->host || (spec->nic && spec->nic->kind == VM_NIC_KIND_TAP);
}

/* All that is needed is there. */
static void send_add_alone(struct device_job *j)
{
    struct device_job *next = g_steal_pointer(&j->next);

    send_add(j, NULL);
    if (next)
        begin(next);
}

/* A GPU is promised from here on. */
static void gpu_checked(void *arg, const GError *err)
{
    struct device_job *j = job_call_end(arg);

    if (j && err) {
        end_refused(j, err);
    } else if (j) {
        struct vm_devices *d = j->devices;
        g_autofree char *host = gpus_host_device(vm_daemon(d->vm)->gpus, j->spec->gpu);
        if (host)
            holdings_note(d->holdings, d->vm, NULL, host, j->number);
        attached_begin(d->attached, j->spec, NULL, j->number);
        vm_store(d->vm);
        send_add_alone(j);
    }
}

static void begin_add(struct device_job *j)
{
    struct vm_devices *d = j->devices;
    g_autoptr(GError) err = NULL;

    if (j->spec->gpu) {
        gpus_check_add(vm_daemon(d->vm)->gpus, d->vm, j->spec->gpu, gpu_checked, job_call_new(j));
        return;
    }
    const struct holding_of of = {j->spec->disk, j->spec->nic, j->spec->host};
    if (!holdings_take(d->holdings, d->vm, NULL, &of, j->number, &err)) {
        end_refused(j, err);
        return;
    }
    attached_begin(d->attached, j->spec, j->mac, j->number);
    vm_store(d->vm);
    if (!needs_opening(j->spec)) {
        send_add_alone(j);
        return;
    }
    j->opener = opener_new(vm_daemon(j->devices->vm)->openers, j->spec, opened, j, &err);
    if (!j->opener)
        end_refused(j, err);
}

/* The job begun last for DEVICE that the VM process was not told yet; NULL. */
static struct device_job *latest_unsent(struct vm_devices *d, const char *device)
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
static void follow(struct device_job *before, struct device_job *j)
{
    if (before)
        before->next = j;
    else
        begin(j);
}

/* What SPEC is to be called; NULL: the VM process says. */
static const char *name_of(const struct device_spec *spec)
{
    return spec->id     ? spec->id
           : spec->disk ? spec->disk->id
           : spec->nic  ? spec->nic->id
           : spec->host ? spec->host->id
           : spec->gpu  ? VM_GPU_ID
                        : NULL;
}

/* A job of an addition, which is not begun. NULL, and CALL was answered with an error. */
static struct device_job *add_job(struct vm_devices *d, const struct device_add_params *params,
                                  struct rpc_call *call)
{
    g_autoptr(device_spec) spec = device_spec_copy(params->device);
    g_autofree char *mac = spec->nic && !spec->nic->mac ? registry_new_mac() : NULL;
    GError *err = NULL;

    if (!settle(d, spec, &err) || (params->persistent && !keeping_check(d->vm, spec, NULL, &err))) {
        rpc_call_fail(call, err);
        return NULL;
    }
    struct device_job *j = job_new(d, rpc_call_peer(call)->uid, "device.add", name_of(spec),
                                   "making the device");
    if (params->persistent)
        keeping_begin(d->keeping, j->number, spec, mac, NULL);
    j->spec = g_steal_pointer(&spec);
    j->mac = g_steal_pointer(&mac);
    j->until = params->until;
    j->timeout_ms = params->timeout_s * 1000;
    return j;
}

void vm_devices_add(struct vm_devices *d, const struct device_add_params *params,
                    struct rpc_call *call)
{
    const char *name = name_of(params->device);
    struct device_job *before = latest_unsent(d, name);
    struct device_job *j = add_job(d, params, call);

    if (!j)
        return;
    struct job_ref ref = {.job = j->number};
    device_add_reply(call, &ref);
    follow(before, j);
}

void vm_devices_attach_gpu(struct vm_devices *d, const struct vm_gpu_config *gpu, bool persistent,
                           struct rpc_call *call)
{
    struct device_spec spec = {.kind = HOT_KIND_GPU, .gpu = (struct vm_gpu_config *)gpu};
    const struct device_add_params params = {.device = &spec,
                                             .until = DEVICE_UNTIL_ACKNOWLEDGED,
                                             .timeout_s = LIMIT_DEVICE_TIMEOUT_S,
                                             .persistent = persistent};
    struct device_job *before = latest_unsent(d, VM_GPU_ID);
    struct device_job *j = add_job(d, &params, call);

    if (!j)
        return;
    j->caller = call;
    follow(before, j);
}

/* --- removing --------------------------------------------------------------------------------- */

static void begin_remove(struct device_job *j)
{
    struct vm_devices *d = j->devices;
    struct device_job *next = g_steal_pointer(&j->next);
    struct vmi_device_remove_params params = {.job = j->number,
                                              .device = j->device,
                                              .force = j->force,
                                              .timeout_ms = j->timeout_ms};

    j->sent = true;
    vm_call(d->vm, VMI_DEVICE_REMOVE, &params, begun, job_call_new(j));
    if (next)
        begin(next);
}

/* As add_job(). */
static struct device_job *remove_job(struct vm_devices *d,
                                     const struct device_remove_params *params,
                                     struct rpc_call *call)
{
    GError *err = NULL;

    if (params->persistent && !keeping_check(d->vm, NULL, params->device, &err)) {
        rpc_call_fail(call, err);
        return NULL;
    }
    struct device_job *j = job_new(d, rpc_call_peer(call)->uid, "device.remove", params->device,
                                   "asking for the device");
    if (params->persistent) {
        keeping_begin(d->keeping, j->number, NULL, NULL, params->device);
        vm_store(d->vm);
    }
    j->force = params->force;
    j->timeout_ms = params->timeout_s * 1000;
    set_result(j->job, j->device, NULL);
    return j;
}

void vm_devices_remove(struct vm_devices *d, const struct device_remove_params *params,
                       struct rpc_call *call)
{
    struct device_job *before = latest_unsent(d, params->device);
    struct device_job *j = remove_job(d, params, call);

    if (!j)
        return;
    struct job_ref ref = {.job = j->number};
    /* Before the client knows of it, so that it outlives this daemon. */
    follow(before, j);
    device_remove_reply(call, &ref);
}

void vm_devices_detach_gpu(struct vm_devices *d, bool persistent, struct rpc_call *call)
{
    static char gpu[] = VM_GPU_ID;
    const struct device_remove_params params = {
        .device = gpu, .timeout_s = LIMIT_DEVICE_TIMEOUT_S, .persistent = persistent};
    struct device_job *before = latest_unsent(d, gpu);
    struct device_job *j = remove_job(d, &params, call);

    if (!j)
        return;
    j->caller = call;
    follow(before, j);
}

/* --- moving a GPU ----------------------------------------------------------------------------- */

/* Whether a worker that does not begin is told by the VM process, whose connection to it is closed. */
static void move_begun(void *arg, const void *result, int fd, const GError *err)
{
    struct device_job *j = job_call_end(arg);
    autofd socket = fd;
    g_autoptr(GError) why = NULL;

    if (j && err && !may_have_begun(err)) {
        end_refused(j, err);
    } else if (j && socket >= 0) {
        job_progress(j->job, 20, "a worker begins at the target");
        if (!vm_gpu_launch_target(vm_gpu_of(j->devices->vm), j->to, socket, &why))
            log_warning("VM %s: no GPU worker at the target: %s", vm_name(j->devices->vm), why->message);
    }
}

static void begin_move(struct device_job *j)
{
    struct vm_devices *d = j->devices;
    struct device_job *next = g_steal_pointer(&j->next);
    const struct vmi_gpu_move_params params = {
        .job = j->number, .to = j->to, .timeout_ms = j->timeout_ms};
    g_autoptr(GError) err = NULL;

    if (attached_moves_gpu(d->attached))
        vmd_fail(&err, VMD_ERROR_BUSY, "the GPU of VM %s is being moved already", vm_name(d->vm));
    if (err || !gpus_takes(vm_daemon(d->vm)->gpus, j->to, &err)) {
        end_refused(j, err);
    } else {
        attached_move_gpu(d->attached, j->to, j->number);
        j->sent = true;
        vm_store(d->vm);
        vm_call(d->vm, VMI_GPU_MOVE, &params, move_begun, job_call_new(j));
    }
    if (next)
        begin(next);
}

uint64_t vm_devices_move_gpu(struct vm_devices *d, const struct vm_gpu_config *to,
                             uint32_t timeout_s, uid_t uid, vm_devices_moved_fn done, void *arg)
{
    struct device_job *before = latest_unsent(d, VM_GPU_ID);
    struct device_job *j = job_new(d, uid, "gpu.migrate", VM_GPU_ID, "asking for the target");
    uint64_t number = j->number;

    j->to = vm_gpu_config_copy(to);
    j->moved = done;
    j->moved_arg = arg;
    j->timeout_ms = timeout_s * 1000;
    set_result(j->job, VM_GPU_ID, NULL);
    follow(before, j);
    return number;
}

void vm_devices_after_move(struct vm_devices *d, void (*done)(void *arg), void *arg)
{
    const struct after_move a = {done, arg};

    g_array_append_val(d->after_move, a);
}

bool vm_devices_gpu_moves(const struct vm_devices *d)
{
    return attached_moves_gpu(d->attached);
}

static void begin(struct device_job *j)
{
    if (j->to)
        begin_move(j);
    else if (j->spec)
        begin_add(j);
    else
        begin_remove(j);
}

/* --- the VM's size ---------------------------------------------------------------------------- */

void vm_devices_resize(struct vm_devices *d, const struct vm_resize_params *params,
                       struct rpc_call *call)
{
    struct device_job *j = job_new(d, rpc_call_peer(call)->uid, "vm.resize", NULL, "asking the guest");
    struct job_ref ref = {.job = j->number};
    const struct vmi_resize_params p = {.job = j->number,
                                        .has_cpus = params->has_cpus,
                                        .cpus = params->cpus,
                                        .has_memory = params->has_memory,
                                        .memory = params->memory,
                                        .timeout_ms = params->timeout_s * 1000};

    j->sent = true; /* it waits for no other */
    /* Before the client knows of it, so that it outlives this daemon. */
    vm_call(d->vm, VMI_RESIZE, &p, begun, job_call_new(j));
    vm_resize_reply(call, &ref);
}

/* --- what the host loses ---------------------------------------------------------------------- */

bool vm_devices_run_begins(struct vm_devices *d, GError **err)
{
    const struct vm_config *c = vm_config_of(d->vm);
    bool ok = true;

    g_ptr_array_set_size(d->holdings, 0);
    attached_clear(d->attached);
    for (size_t i = 0; i < c->n_disks && ok; i++)
        ok = holdings_take(d->holdings, d->vm, c->disks[i]->id,
                           &(struct holding_of){.disk = c->disks[i]}, 0, err);
    for (size_t i = 0; i < c->n_nics && ok; i++)
        ok = holdings_take(d->holdings, d->vm, c->nics[i]->id,
                           &(struct holding_of){.nic = c->nics[i]}, 0, err);
    for (size_t i = 0; i < c->n_host_devices && ok; i++)
        ok = holdings_take(d->holdings, d->vm, c->host_devices[i]->id,
                           &(struct holding_of){.host = c->host_devices[i]}, 0, err);
    if (ok)
        vm_devices_gpus_known(d);
    return ok;
}

void vm_devices_gpus_known(struct vm_devices *d)
{
    const struct vm_gpu_config *gpu = vm_active(d->vm) ? vm_devices_gpu(d) : NULL;
    g_autofree char *host = gpu ? gpus_host_device(vm_daemon(d->vm)->gpus, gpu) : NULL;

    for (guint i = 0; host && i < d->holdings->len; i++) {
        const struct holding *h = g_ptr_array_index(d->holdings, i);
        if (g_strcmp0(h->device, VM_GPU_ID) == 0)
            return;
    }
    if (host)
        holdings_note(d->holdings, d->vm, VM_GPU_ID, host, 0);
}

/* Begins to: LOST, or since the host wants it back. */
static void take_away(struct vm_devices *d, struct holding *h, const char *text, bool lost,
                      bool force)
{
    struct device_job *j = job_new(d, vm_owner(d->vm), "device.remove", h->device, text);

    j->force = force;
    j->timeout_ms = force ? LIMIT_DEVICE_TIMEOUT_S * 1000 : WANTED_MS;
    set_result(j->job, j->device, NULL);
    *(lost ? &h->removing : &h->asking) = j->number;
    vm_store(d->vm);
    begin_remove(j);
}

/* Takes each device away from the guest that the host has not got any more, once. A VM that starts, or is not
 * found yet, is seen to later, and so is a device that its VM process has not made yet. */
static void take_lost(struct vm_devices *d)
{
    for (guint i = 0; vm_reachable(d->vm) && i < d->holdings->len; i++) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (h->adding || h->removing || !holding_lost(h, d->vm))
            continue;
        g_autofree char *text = g_strdup_printf("the host lost %s", h->host);
        take_away(d, h, text, true, true);
    }
}

void vm_devices_host_lost(struct vm_devices *d)
{
    take_lost(d);
}

/* A host that waits for a device asks every ten seconds: who is asked in vain, as one that is paused, or has failed,
 * loses it. */
void vm_devices_wanted(struct vm_devices *d, const struct vmi_device_wanted_event *event)
{
    for (guint i = 0; i < d->holdings->len; i++) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        const struct device_job *asking = g_hash_table_lookup(d->jobs, &h->asking);
        if (h->adding || h->removing || (asking && asking->force) ||
            g_strcmp0(h->device, event->device) != 0)
            continue;
        uint64_t now_ms = uv_now(vm_daemon(d->vm)->loop);
        bool force = event->failed || (h->asking && now_ms - h->asked_ms < STILL_WANTED_MS);
        h->asked_ms = now_ms;
        g_autofree char *text = g_strdup_printf(
            event->failed ? "the host reports an error of %s" : "the host asks for %s", h->host);
        take_away(d, h, text, false, force);
        return; /* HOLDINGS may be another now */
    }
}

void vm_devices_host_renamed(struct vm_devices *d, const char *was, const struct host_device *now)
{
    for (guint i = 0; i < d->holdings->len; i++) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (strcmp(h->host, was) != 0 || h->incarnation != now->incarnation)
            continue;
        g_free(h->host);
        h->host = g_strdup(now->id);
        vm_store(d->vm);
    }
}

void vm_devices_save(const struct vm_devices *d, struct json_object *json)
{
    json_object_object_add(json, "holdings", holdings_encode(d->holdings));
    json_object_object_add(json, "keeping", keeping_encode(d->keeping));
    json_object_object_add(json, "attached", attached_encode(d->attached));
}

void vm_devices_load(struct vm_devices *d, struct json_object *json)
{
    holdings_decode(d->holdings, json_object_object_get(json, "holdings"));
    json_object_object_del(json, "holdings");
    keeping_decode(d->keeping, json_object_object_get(json, "keeping"));
    json_object_object_del(json, "keeping");
    attached_decode(d->attached, json_object_object_get(json, "attached"));
    json_object_object_del(json, "attached");
}

const struct vm_gpu_config *vm_devices_gpu(const struct vm_devices *d)
{
    return attached_gpu(d->attached, vm_config_of(d->vm));
}

void vm_devices_limit_gpu(struct vm_devices *d, uint32_t share, uint32_t launches)
{
    attached_limit_gpu(d->attached, share, launches);
    vm_store(d->vm);
}

void vm_devices_gpus(const struct vm_devices *d,
                     void (*each)(void *opaque, const struct vm_gpu_config *gpu), void *opaque)
{
    attached_gpus(d->attached, vm_config_of(d->vm), each, opaque);
}

struct vm_config *vm_devices_config(const struct vm_devices *d)
{
    return attached_apply(d->attached, vm_config_of(d->vm));
}

/* A removal that the VM process never heard of is begun anew; an addition that it never heard of holds nothing. */
static void take_lost_again(struct vm_devices *d)
{
    keeping_sweep(d->keeping, d->jobs);
    for (guint i = d->holdings->len; i-- > 0;) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (!g_hash_table_contains(d->jobs, &h->removing))
            h->removing = 0;
        if (h->adding && !g_hash_table_contains(d->jobs, &h->adding))
            holdings_drop(d->holdings, d->vm, i);
    }
    attached_keep(d->attached, d->jobs);
    if (!attached_moves_gpu(d->attached))
        vm_gpu_stay(vm_gpu_of(d->vm));
    take_lost(d);
}

/* --- over a restart of vmd -------------------------------------------------------------------- */

/* Of the jobs that were in doubt when the VM process was asked, those that it has are under way still. Of what it
 * was told since then its answer says nothing. */
static void jobs_told(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_device_jobs_result *r = result;
    struct job_call *c = arg;
    struct vm_devices *d = *c->alive ? c->devices : NULL;

    g_atomic_rc_box_release(c->alive);
    g_free(c);
    if (!d || err)
        return; /* the process is gone, or will be asked again */
    g_autoptr(GError) lost = g_error_new_literal(
        VMD_ERROR, VMD_ERROR_GONE, "the VM had not heard of the job when its daemon lost touch with it");
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
        end(g_ptr_array_index(gone, i), false, lost);
    take_lost_again(d);
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
        take_lost_again(d);
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
