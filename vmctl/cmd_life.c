/* The commands that change a VM's life: start, stop, reboot, pause, resume, reset, kill, balloon, delete, wait. */
#include "vmctl/commands.h"

#include <unistd.h>

static const struct option_row no_options[] = {{NULL, NULL, NULL, NULL}};

/* Prints the VM as it is now: JSON, or nothing for people who asked for a change and got it. */
static void show(const struct arguments *args, const struct vm_info *vm)
{
    if (!arguments_has(args, "json") || !vm)
        return;
    struct json_object *json = vm_info_encode(vm);
    print_json(json);
    json_object_put(json);
}

/* A method whose params begin with the VM and whose result is the VM, for each VM that is named. */
static int each_vm(const struct arguments *args,
                   bool (*one)(struct vmd_client *c, const struct arguments *args, char *vm,
                               struct vm_info **out, GError **err))
{
    struct vmd_client *c;
    int status = VMCTL_EXIT_OK;

    c = connect_daemon(&status);
    if (!c)
        return status;
    for (guint i = 0; i < args->positional->len; i++) {
        g_autoptr(vm_info) vm = NULL;
        GError *err = NULL;
        if (one(c, args, g_ptr_array_index(args->positional, i), &vm, &err))
            show(args, vm);
        else
            status = fail(c, err);
    }
    vmd_client_free(c);
    return status;
}

static bool start_one(struct vmd_client *c, const struct arguments *args, char *vm,
                      struct vm_info **out, GError **err)
{
    struct vm_start_params p = {.vm = vm, .paused = arguments_has(args, "paused")};

    return vmd_client_invoke(c, API_VM_START, &p, out, NULL, err);
}

static bool pause_one(struct vmd_client *c, const struct arguments *args, char *vm,
                      struct vm_info **out, GError **err)
{
    struct vm_pause_params p = {.vm = vm};

    return vmd_client_invoke(c, API_VM_PAUSE, &p, out, NULL, err);
}

static bool resume_one(struct vmd_client *c, const struct arguments *args, char *vm,
                       struct vm_info **out, GError **err)
{
    struct vm_resume_params p = {.vm = vm};

    return vmd_client_invoke(c, API_VM_RESUME, &p, out, NULL, err);
}

static bool reset_one(struct vmd_client *c, const struct arguments *args, char *vm,
                      struct vm_info **out, GError **err)
{
    struct vm_reset_params p = {.vm = vm};

    return vmd_client_invoke(c, API_VM_RESET, &p, out, NULL, err);
}

static bool kill_one(struct vmd_client *c, const struct arguments *args, char *vm,
                     struct vm_info **out, GError **err)
{
    struct vm_kill_params p = {.vm = vm};

    return vmd_client_invoke(c, API_VM_KILL, &p, out, NULL, err);
}

static bool delete_one(struct vmd_client *c, const struct arguments *args, char *vm,
                       struct vm_info **out, GError **err)
{
    struct vm_delete_params p = {.vm = vm, .force = arguments_has(args, "force")};

    return vmd_client_invoke(c, API_VM_DELETE, &p, NULL, NULL, err);
}

/* Why the job of stopping or rebooting a VM failed. HINT: what could be done. */
static bool job_failed(const struct job_info *job, const char *hint, GError **err)
{
    if (!job->error)
        return vmd_fail(err, VMD_ERROR_STATE, "the job failed");
    if (strcmp(job->error->kind, "timeout") != 0)
        return vmd_fail(err, VMD_ERROR_STATE, "%s", job->error->message);
    return vmd_fail(err, VMD_ERROR_TIMEOUT, "%s%s", job->error->message, hint);
}

/* That is a job: its end is the answer. Who waits at a terminal is told for how long. */
static bool wait_powered_off(struct vmd_client *c, const char *vm, uint64_t job_id,
                             uint32_t timeout_s, const char *hint, GError **err)
{
    struct job_wait_params wait = {.job = job_id};
    g_autoptr(job_info) job = NULL;

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "%s: the guest is asked to power off, and has %u s\n", vm, timeout_s);
    if (!vmd_client_invoke(c, API_JOB_WAIT, &wait, &job, NULL, err))
        return false;
    if (job->state == JOB_STATE_DONE)
        return true;
    if (job->state == JOB_STATE_CANCELLED)
        return vmd_fail(err, VMD_ERROR_STATE, "the power-off of VM %s was cancelled", vm);
    return job_failed(job, hint, err);
}

static bool stop_one(struct vmd_client *c, const struct arguments *args, char *vm,
                     struct vm_info **out, GError **err)
{
    struct vm_stop_params p = {.vm = vm, .force = arguments_has(args, "force")};
    uint64_t timeout = LIMIT_STOP_TIMEOUT_S;
    g_autoptr(job_ref) ref = NULL;

    if (!arguments_number(args, "timeout", 3600, &timeout, err))
        return false;
    p.timeout_s = (uint32_t)timeout;
    return vmd_client_invoke(c, API_VM_STOP, &p, &ref, NULL, err) &&
           wait_powered_off(c, vm, ref->job, p.timeout_s,
                            p.force ? "" : " (--timeout gives it longer, --force kills it then)",
                            err);
}

static bool reboot_one(struct vmd_client *c, const struct arguments *args, char *vm,
                       struct vm_info **out, GError **err)
{
    struct vm_reboot_params p = {.vm = vm};
    uint64_t timeout = LIMIT_STOP_TIMEOUT_S;
    g_autoptr(job_ref) ref = NULL;

    if (!arguments_number(args, "timeout", 3600, &timeout, err))
        return false;
    p.timeout_s = (uint32_t)timeout;
    return vmd_client_invoke(c, API_VM_REBOOT, &p, &ref, NULL, err) &&
           wait_powered_off(c, vm, ref->job, p.timeout_s,
                            " (--timeout gives it longer; reset does not ask)", err);
}

static int run_start(const struct arguments *args)
{
    return each_vm(args, start_one);
}

static int run_stop(const struct arguments *args)
{
    return each_vm(args, stop_one);
}

static int run_reboot(const struct arguments *args)
{
    return each_vm(args, reboot_one);
}

static int run_pause(const struct arguments *args)
{
    return each_vm(args, pause_one);
}

static int run_resume(const struct arguments *args)
{
    return each_vm(args, resume_one);
}

static int run_reset(const struct arguments *args)
{
    return each_vm(args, reset_one);
}

static int run_kill(const struct arguments *args)
{
    return each_vm(args, kill_one);
}

static int run_delete(const struct arguments *args)
{
    return each_vm(args, delete_one);
}

static int wait_until_running(struct vmd_client *c, const struct arguments *args, char *vm,
                              uint64_t timeout_s)
{
    struct vm_wait_params p = {.vm = vm,
                               .until = VM_WAIT_FOR_RUNNING,
                               .has_timeout_ms = timeout_s != UINT64_MAX,
                               .timeout_ms = (uint32_t)(timeout_s * 1000)};
    g_autoptr(vm_info) info = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_VM_WAIT, &p, &info, NULL, &err))
        return fail(c, err);
    show(args, info);
    return VMCTL_EXIT_OK;
}

static int wait_until_end(struct vmd_client *c, const struct arguments *args, char *vm,
                          uint64_t timeout_s)
{
    struct vm_wait_params p = {.vm = vm,
                               .has_timeout_ms = timeout_s != UINT64_MAX,
                               .timeout_ms = (uint32_t)(timeout_s * 1000)};
    g_autoptr(vm_info) info = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_VM_WAIT, &p, &info, NULL, &err))
        return fail(c, err);
    show(args, info);
    return report_end(info->end, info->name);
}

static int run_wait(const struct arguments *args)
{
    char *vm = (char *)arguments_at(args, 0);
    const char *until = arguments_get(args, "until");
    uint64_t timeout = UINT64_MAX;
    enum vm_wait_for what = VM_WAIT_FOR_END;
    g_autoptr(GError) err = NULL;
    int status;

    if (!arguments_number(args, "timeout", 86400, &timeout, &err) ||
        (until && !vm_wait_for_from_string(until, &what, &err)))
        return usage_error(args->command, "%s", err->message);
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    status = what == VM_WAIT_FOR_END ? wait_until_end(c, args, vm, timeout)
                                     : wait_until_running(c, args, vm, timeout);
    vmd_client_free(c);
    return status;
}

static const struct option_row start_options[] = {
    {"paused", NULL, "leave the vCPUs standing before their first instruction", NULL},
    {NULL, NULL, NULL, NULL},
};
static const struct option_row stop_options[] = {
    {"timeout", "SECONDS", "how long the guest may take (90)", NULL},
    {"force", NULL, "kill it when the time is over, or when it cannot be asked", NULL},
    {NULL, NULL, NULL, NULL},
};
static const struct option_row reboot_options[] = {
    {"timeout", "SECONDS", "how long the guest may take to power off (90)", NULL},
    {NULL, NULL, NULL, NULL},
};
static const struct option_row delete_options[] = {
    {"force", NULL, "kill it first where it runs", NULL},
    {NULL, NULL, NULL, NULL},
};
static const struct option_row wait_options[] = {
    {"until", "STATE", "what to wait for: end or running (end)", "end running"},
    {"timeout", "SECONDS", "how long to wait; for ever where none is given", NULL},
    {NULL, NULL, NULL, NULL},
};

#define LIFE(name_, doc_, options_, run_)                                                          \
    const struct command command_##name_ = {                                                       \
        .name = #name_,                                                                            \
        .synopsis = "VM...",                                                                       \
        .doc = doc_,                                                                               \
        .options = options_,                                                                       \
        .least = 1,                                                                                \
        .most = UINT16_MAX,                                                                        \
        .positional_kind = "@vm",                                                                  \
        .run = run_,                                                                               \
    }

LIFE(start, "start VMs", start_options, run_start);
LIFE(stop, "ask guests to power off, and wait until they have", stop_options, run_stop);
LIFE(reboot, "ask guests to power off, and reset their machines when they have", reboot_options,
     run_reboot);
LIFE(pause, "halt vCPUs and guest time", no_options, run_pause);
LIFE(resume, "let paused VMs go on", no_options, run_resume);
LIFE(reset, "reset machines, as by the reset button", no_options, run_reset);
LIFE(kill, "end VMs at once, as by pulling the plug", no_options, run_kill);
LIFE(delete, "forget VMs; their disks stay", delete_options, run_delete);

static int run_balloon(const struct arguments *args)
{
    struct vm_balloon_params p = {.vm = (char *)arguments_at(args, 0)};
    g_autoptr(vm_balloon_result) r = NULL;
    g_autoptr(GError) size_err = NULL;
    GError *err = NULL;
    int status;

    if (!size_parse(arguments_at(args, 1), &p.bytes, &size_err))
        return usage_error(args->command, "%s", size_err->message);
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    if (!vmd_client_invoke(c, API_VM_BALLOON, &p, &r, NULL, &err)) {
        status = fail(c, err);
    } else if (arguments_has(args, "json")) {
        struct json_object *json = vm_balloon_result_encode(r);
        print_json(json);
        json_object_put(json);
        status = VMCTL_EXIT_OK;
    } else {
        g_autofree char *target = size_format(r->target_bytes);
        g_autofree char *now = size_format(r->balloon_bytes);
        printf("asked for %s, holds %s now\n", target, now);
        status = VMCTL_EXIT_OK;
    }
    vmd_client_free(c);
    return status;
}

const struct command command_balloon = {
    .name = "balloon",
    .synopsis = "VM SIZE",
    .doc = "have a guest give SIZE of its memory back to the host; 0 lets it have all again",
    .options = no_options,
    .least = 2,
    .most = 2,
    .positional_kind = "@vm",
    .run = run_balloon,
};

const struct command command_wait = {
    .name = "wait",
    .synopsis = "VM",
    .doc = "wait for the end of a VM's run; the exit status says how it ended",
    .options = wait_options,
    .least = 1,
    .most = 1,
    .positional_kind = "@vm",
    .run = run_wait,
};
