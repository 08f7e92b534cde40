/* vmctl resize: processors and memory of a running VM. */
#include "vmctl/commands.h"
#include "vmctl/devices.h"
#include "vmctl/jobs.h"

static void print_size(const struct job_info *job)
{
    g_autofree char *memory = size_format(g_ascii_strtoull(job_result_word(job, "memory"), NULL, 10));
    const char *road = job_result_word(job, "road");

    printf("processors %s, memory %s%s%s\n", job_result_word(job, "cpus"), memory, *road ? ", by " : "", road);
}

static bool parse(const struct arguments *args, struct vm_resize_params *p, GError **err)
{
    uint64_t cpus = 0;
    const char *memory = arguments_get(args, "memory");

    p->has_cpus = arguments_get(args, "cpus") != NULL;
    p->has_memory = memory != NULL;
    if (!p->has_cpus && !memory)
        return vmd_fail(err, VMD_ERROR_INVALID, "resize needs --cpus or --memory");
    if (!arguments_number(args, "cpus", LIMIT_VCPUS, &cpus, err) ||
        (memory && !size_parse(memory, &p->memory, err)) || !arguments_timeout(args, &p->timeout_s, err))
        return false;
    p->cpus = (uint32_t)cpus;
    return true;
}

static int run(const struct arguments *args)
{
    struct vm_resize_params p = {.vm = (char *)arguments_at(args, 0)};
    g_autoptr(job_ref) ref = NULL;
    GError *err = NULL;
    int status;

    if (!parse(args, &p, &err)) {
        status = usage_error(args->command, "%s", err->message);
        g_error_free(err);
        return status;
    }
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    if (vmd_client_invoke(c, API_VM_RESIZE, &p, &ref, NULL, &err))
        status = wait_for_job(c, args, ref->job, print_size);
    else
        status = fail(c, err);
    vmd_client_free(c);
    return status;
}

static const struct option_row options[] = {
    {"cpus", "N", "virtual CPUs, up to the --max-cpus that the VM was made with", NULL},
    {"memory", "SIZE", "guest memory, as 512M or 2G", NULL},
    {"timeout", "SECONDS", "how long the guest may take (30)", NULL},
    {"no-wait", NULL, "print the job's number and return", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_resize = {
    .name = "resize",
    .synopsis = "VM [--cpus N] [--memory SIZE]",
    .doc = "change how many processors and how much memory a running VM has",
    .more =
        "The agent in the guest (vmd-agent) brings processors up and down. Memory beyond what the "
        "VM began with, up to the max= of its --memory, comes by virtio-mem, and below it goes by "
        "the balloon. What the guest does not use when the time is over is taken back. The VM's "
        "next run begins with its configuration again.",
    .options = options,
    .least = 1,
    .most = 1,
    .positional_kind = "@vm",
    .run = run,
};
