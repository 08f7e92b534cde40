/* vmctl gpu: the host's GPUs, and which VMs have which. */
#include "vmctl/commands.h"
#include "vmctl/jobs.h"

#include <inttypes.h>

static int print_or(const struct arguments *args, struct json_object *json)
{
    if (arguments_has(args, "json"))
        print_json(json);
    json_object_put(json);
    return arguments_has(args, "json");
}

/* What it has, and what of that is free where this is known; the caller frees. */
static char *memory_of(const struct host_gpu_info *g)
{
    if (!g->has_memory_bytes)
        return g_strdup("-");
    g_autofree char *all = size_format(g->memory_bytes);
    if (!g->has_free_bytes)
        return g_steal_pointer(&all);
    g_autofree char *unused = size_format(g->free_bytes);
    return g_strdup_printf("%s, %s free", all, unused);
}

static void add_gpu(struct table *t, const struct host_gpu_info *g)
{
    g_autofree char *memory = memory_of(g);
    g_autofree char *promised = size_format(g->promised_bytes);
    g_autofree char *number = g->has_number ? g_strdup_printf("%u", g->number) : g_strdup("-");
    g_autoptr(GString) vms = g_string_new(g->text);

    if (g->drained)
        g_string_append(vms, g->n_vms ? "(drained) " : "(drained)");
    for (size_t i = 0; i < g->n_vms; i++)
        g_string_append_printf(vms, "%s%s", i ? " " : "", g->vms[i]);
    table_add(t, "%s", g->id);
    table_add(t, "%s", number);
    table_add(t, "%s", g->has_backend ? vm_gpu_backend_to_string(g->backend) : "-");
    table_add(t, "%s%s%s%s", g->name, g->compute ? ", compute " : "", g->compute ? g->compute : "",
              g->has_mig && g->mig ? ", MIG" : "");
    table_add(t, "%s", memory);
    table_add(t, "%s", g->has_backend ? promised : "-");
    table_add(t, "%s", vms->len ? vms->str : "-");
}

static int list(struct vmd_client *c, const struct arguments *args)
{
    static const char *const headers[] = {"ID",     "NUMBER",   "BACKEND", "NAME",
                                          "MEMORY", "PROMISED", "VMS"};
    struct gpu_list_params p = {0};
    g_autoptr(gpu_list_result) r = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_GPU_LIST, &p, &r, NULL, &err))
        return fail(c, err);
    if (print_or(args, gpu_list_result_encode(r)))
        return VMCTL_EXIT_OK;
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < r->n_gpus; i++)
        add_gpu(t, r->gpus[i]);
    table_print(t, stdout);
    if (r->has_driver)
        printf("CUDA driver %u.%u\n", r->driver / 1000, r->driver % 1000 / 10);
    if (r->driver_release)
        printf("NVIDIA driver %s\n", r->driver_release);
    if (r->driver_text)
        printf("no GPU of the host: %s\n", r->driver_text);
    if (r->nvml_text)
        printf("NVML does not tell all: %s\n", r->nvml_text);
    return VMCTL_EXIT_OK;
}

/* The option --memory, where it is given. */
static bool parse_memory(const struct arguments *args, uint64_t *bytes, GError **err)
{
    const char *text = arguments_get(args, "memory");

    return !text || size_parse(text, bytes, err);
}

static int attach(struct vmd_client *c, const struct arguments *args)
{
    g_autoptr(gpu_attach_params) p = gpu_attach_params_new();
    g_autoptr(vm_info) vm = NULL;
    GError *err = NULL;

    if (!arguments_at(args, 1))
        return usage_error(args->command, "attach needs a VM");
    p->vm = g_strdup(arguments_at(args, 1));
    if (arguments_at(args, 2)) {
        g_free(p->gpu);
        p->gpu = g_strdup(arguments_at(args, 2));
    }
    if (!parse_memory(args, &p->memory, &err) ||
        !vmd_client_invoke(c, API_GPU_ATTACH, p, &vm, NULL, &err))
        return fail(c, err);
    if (print_or(args, vm_info_encode(vm)))
        return VMCTL_EXIT_OK;
    /* What an ephemeral VM was given is in no definition. */
    const struct vm_config *config = vm->next ? vm->next : vm->config;
    const char *device = config->gpu ? config->gpu->device : NULL;
    g_autofree char *memory = size_format(p->memory);
    printf("%s has %s, %s\n", vm->config->name, device ? device : p->gpu, memory);
    return VMCTL_EXIT_OK;
}

static int detach(struct vmd_client *c, const struct arguments *args)
{
    struct gpu_detach_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(vm_info) vm = NULL;
    GError *err = NULL;

    if (!p.vm)
        return usage_error(args->command, "detach needs a VM");
    if (!vmd_client_invoke(c, API_GPU_DETACH, &p, &vm, NULL, &err))
        return fail(c, err);
    if (!print_or(args, vm_info_encode(vm)))
        printf("%s has no GPU\n", vm->config->name);
    return VMCTL_EXIT_OK;
}

static void print_migrated(const struct job_info *job)
{
    printf("%s of %s was moved\n", job_result_word(job, "device"), job->vm);
}

static int migrate(struct vmd_client *c, const struct arguments *args)
{
    g_autoptr(gpu_migrate_params) p = gpu_migrate_params_new();
    g_autoptr(job_ref) ref = NULL;
    uint64_t timeout = p->timeout_s;
    GError *err = NULL;

    if (!arguments_at(args, 1) || !arguments_get(args, "to"))
        return usage_error(args->command, "migrate needs a VM and --to DEVICE");
    p->vm = g_strdup(arguments_at(args, 1));
    p->to = g_strdup(arguments_get(args, "to"));
    if (arguments_at(args, 2)) {
        g_free(p->gpu);
        p->gpu = g_strdup(arguments_at(args, 2));
    }
    if (!arguments_number(args, "timeout", UINT32_MAX, &timeout, &err))
        return fail(c, err);
    p->timeout_s = (uint32_t)timeout;
    if (!vmd_client_invoke(c, API_GPU_MIGRATE, p, &ref, NULL, &err))
        return fail(c, err);
    return wait_for_job(c, args, ref->job, print_migrated);
}

static void print_drained(const struct job_info *job)
{
    struct json_object *moved = NULL;
    bool is = job->result && json_object_object_get_ex(job->result, "moved", &moved);

    printf("%s is drained, %zu VMs were moved\n", job_result_word(job, "gpu"),
           is ? json_object_array_length(moved) : 0);
}

static int drain(struct vmd_client *c, const struct arguments *args)
{
    g_autoptr(gpu_drain_params) p = gpu_drain_params_new();
    g_autoptr(job_ref) ref = NULL;
    uint64_t timeout = p->timeout_s;
    GError *err = NULL;

    if (!arguments_at(args, 1))
        return usage_error(args->command, "drain needs a GPU of the host");
    p->gpu = g_strdup(arguments_at(args, 1));
    p->to = g_strdup(arguments_get(args, "to"));
    if (!arguments_number(args, "timeout", UINT32_MAX, &timeout, &err))
        return fail(c, err);
    p->timeout_s = (uint32_t)timeout;
    if (!vmd_client_invoke(c, API_GPU_DRAIN, p, &ref, NULL, &err))
        return fail(c, err);
    return wait_for_job(c, args, ref->job, print_drained);
}

static int undrain(struct vmd_client *c, const struct arguments *args)
{
    struct gpu_undrain_params p = {.gpu = (char *)arguments_at(args, 1)};
    GError *err = NULL;

    if (!p.gpu)
        return usage_error(args->command, "undrain needs a GPU of the host");
    if (!vmd_client_invoke(c, API_GPU_UNDRAIN, &p, NULL, NULL, &err))
        return fail(c, err);
    printf("%s takes VMs again\n", p.gpu);
    return VMCTL_EXIT_OK;
}

static int stats(struct vmd_client *c, const struct arguments *args)
{
    static const char *const headers[] = {"VM", "GPU", "USED", "LIMIT", "WORKER", "STARTED"};
    struct gpu_stats_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(gpu_stats_result) r = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_GPU_STATS, &p, &r, NULL, &err))
        return fail(c, err);
    if (print_or(args, gpu_stats_result_encode(r)))
        return VMCTL_EXIT_OK;
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < r->n_gpus; i++) {
        const struct gpu_stats *s = r->gpus[i]->stats;
        g_autofree char *used = size_format(s->used_bytes), *most = size_format(s->memory_bytes);
        table_add(t, "%s", r->gpus[i]->vm);
        table_add(t, "%s", r->gpus[i]->gpu);
        table_add(t, "%s", used);
        table_add(t, "%s", most);
        table_add(t, "%s", s->has_state ? gpu_worker_state_to_string(s->state) : "begins");
        table_add(t, "%" PRIu64, s->workers);
    }
    table_print(t, stdout);
    return VMCTL_EXIT_OK;
}

/* Thousandths as percent. */
static char *percent(uint32_t thousandths)
{
    return g_strdup_printf("%u.%u %%", thousandths / 10, thousandths % 10);
}

static void add_use(struct table *t, const struct vm_gpu_use *use)
{
    g_autofree char *busy = percent(use->busy), *memory = size_format(use->stats->used_bytes);

    table_add(t, "%s", use->vm);
    table_add(t, "%s", use->gpu);
    table_add(t, "%u", use->share);
    table_add(t, "%s", busy);
    table_add(t, "%.3f", (double)use->time_ns / 1e9);
    table_add(t, "%s", memory);
    table_add(t, "%u", use->in_flight);
    table_add(t, "%" PRIu64, use->launches);
    table_add(t, "-");
    for (size_t i = 0; i < use->n_programs; i++) {
        const struct gpu_program *p = use->programs[i];
        g_autofree char *its = percent(p->busy), *holds = size_format(p->memory_bytes);
        table_add(t, " ");
        table_add(t, " ");
        table_add(t, " ");
        table_add(t, "%s", its);
        table_add(t, "%.3f", (double)p->time_ns / 1e9);
        table_add(t, "%s", holds);
        table_add(t, "%u", p->in_flight);
        table_add(t, "%" PRIu64, p->launches);
        table_add(t, "%s (%u)", *p->name ? p->name : "?", p->pid);
    }
}

/* One table, with what the daemon says now. */
static int top_once(struct vmd_client *c, const struct arguments *args, const char *before)
{
    static const char *const headers[] = {"VM",     "GPU",       "SHARE",    "BUSY",   "SECONDS",
                                          "MEMORY", "IN FLIGHT", "LAUNCHES", "PROGRAM"};
    struct gpu_stats_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(gpu_stats_result) r = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_GPU_STATS, &p, &r, NULL, &err))
        return fail(c, err);
    if (print_or(args, gpu_stats_result_encode(r)))
        return VMCTL_EXIT_OK;
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < r->n_gpus; i++)
        add_use(t, r->gpus[i]);
    fputs(before, stdout);
    table_print(t, stdout);
    fflush(stdout);
    return VMCTL_EXIT_OK;
}

/* A table each second until it is interrupted; on a terminal in the place of the one before. */
static int top(struct vmd_client *c, const struct arguments *args)
{
    bool once = arguments_has(args, "once") || arguments_has(args, "json");
    const char *clear = isatty(STDOUT_FILENO) && !once ? "\033[H\033[J" : "";
    int rc;

    while ((rc = top_once(c, args, clear)) == VMCTL_EXIT_OK && !once && !ferror(stdout))
        g_usleep(G_USEC_PER_SEC);
    return rc;
}

static int limits(struct vmd_client *c, const struct arguments *args)
{
    struct gpu_limits_params p = {.vm = (char *)arguments_at(args, 1),
                                  .has_memory = arguments_has(args, "memory"),
                                  .has_share = arguments_has(args, "share"),
                                  .has_launches = arguments_has(args, "launches")};
    g_autoptr(gpu_limits_result) r = NULL;
    uint64_t share = 0, launches = 0;
    GError *err = NULL;

    if (!p.vm)
        return usage_error(args->command, "limits needs a VM");
    if (!parse_memory(args, &p.memory, &err) ||
        !arguments_number(args, "share", UINT32_MAX, &share, &err) ||
        !arguments_number(args, "launches", UINT32_MAX, &launches, &err))
        return fail(c, err);
    p.share = (uint32_t)share;
    p.launches = (uint32_t)launches;
    if (!vmd_client_invoke(c, API_GPU_LIMITS, &p, &r, NULL, &err))
        return fail(c, err);
    if (print_or(args, gpu_limits_result_encode(r)))
        return VMCTL_EXIT_OK;
    g_autofree char *memory = size_format(r->memory_bytes);
    printf("memory    %s\n", memory);
    printf("share     %u\n", r->share);
    if (r->launches)
        printf("launches  %u in flight at most\n", r->launches);
    for (size_t i = 0; i < r->n_limits; i++)
        printf("%" PRId64 " %s: %s\n", r->limits[i]->value, r->limits[i]->unit, r->limits[i]->doc);
    return VMCTL_EXIT_OK;
}

static int run(const struct arguments *args)
{
    static const struct part_row parts[] = {
        {"list", list, 1},       {"attach", attach, 3}, {"detach", detach, 2},
        {"stats", stats, 2},     {"limits", limits, 2}, {"top", top, 2},
        {"migrate", migrate, 3}, {"drain", drain, 2},   {"undrain", undrain, 2},
    };

    return run_part(args, parts, G_N_ELEMENTS(parts));
}

static const struct option_row options[] = {
    {"memory", "SIZE",
     "of attach and limits: GPU memory that the guest's programs may hold together (512M)", NULL},
    {"share", "NUMBER",
     "of limits: part of the GPU's time, against the shares of others (1 to 1000)", NULL},
    {"launches", "NUMBER", "of limits: launches in flight at most (1 to 1024); 0: any number",
     NULL},
    {"to", "DEVICE", "of migrate and drain: the GPU of the host to which programs move", NULL},
    {"timeout", "SECONDS",
     "of migrate and drain: how long what runs on the GPU may take to end, of each VM (60)", NULL},
    {"no-wait", NULL, "of migrate and drain: print the job's number and return", NULL},
    {"once", NULL, "of top: print the table once", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_gpu = {
    .name = "gpu",
    .synopsis = "list | attach VM [GPU] | detach VM | stats [VM] | limits VM | top [VM] | "
                "migrate VM [GPU] --to DEVICE | drain DEVICE | undrain DEVICE",
    .doc = "list the host's GPUs, give them to VMs, and see how they are used",
    .more = "soft is the host's processors, which are there on every host. Other GPUs are named by "
            "the number or the UUID "
            "that their driver gives them, or by their PCI address. A GPU comes to a VM that "
            "runs, and leaves it, as by vmctl device, and its definition is changed too; several "
            "VMs may have the same, each with its own limit of memory. migrate moves what a VM's "
            "programs have on its GPU to another device, while they run; drain does so with all "
            "VMs of a device, which takes no others until undrain.",
    .options = options,
    .least = 1,
    .most = 3,
    .positional_kind = "list attach detach stats limits top migrate drain undrain",
    .run = run,
};
