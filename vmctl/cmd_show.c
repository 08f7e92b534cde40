/* The commands that show: list, info, devices, stats, events, version, rpc. */
#include "vmctl/commands.h"

#include "proto/jsonrpc/json.h"

#include <inttypes.h>
#include <time.h>

static const struct option_row no_options[] = {{NULL, NULL, NULL, NULL}};

/* Calls METHOD and prints its result as JSON. Takes PARAMS. */
static int call_json(const char *method, struct json_object *params)
{
    struct json_object *result = NULL;
    GError *err = NULL;
    int status;
    struct vmd_client *c = connect_daemon(&status);

    if (!c) {
        json_object_put(params);
        return status;
    }
    if (vmd_client_call(c, method, params, &result, NULL, &err)) {
        print_json(result);
        json_object_put(result);
        status = VMCTL_EXIT_OK;
    } else {
        status = fail(c, err);
    }
    vmd_client_free(c);
    return status;
}

static struct json_object *vm_param(const struct arguments *args)
{
    struct json_object *params = json_object_new_object();

    json_object_object_add(params, "vm", json_object_new_string(arguments_at(args, 0)));
    return params;
}

/* Calls METHOD with PARAMS into RESULT; an exit status on failure, else -1. */
static int invoke(enum api_method method, const void *params, void *result)
{
    GError *err = NULL;
    int status = VMCTL_EXIT_OK;
    struct vmd_client *c = connect_daemon(&status);

    if (!c)
        return status;
    status = vmd_client_invoke(c, method, params, result, NULL, &err) ? -1 : fail(c, err);
    vmd_client_free(c);
    return status;
}

/* --- list ------------------------------------------------------------------------------------- */

static void add_vm(struct table *t, const struct vm_info *vm)
{
    g_autofree char *memory = size_format(vm->config->memory);
    bool active = vm->has_pid;
    g_autofree char *since = active && vm->has_started_ns ? format_age(vm->started_ns) : NULL;

    table_add(t, "%s", vm->name);
    table_add(t, "%s", vm_state_to_string(vm->state));
    table_add(t, "%s", vm_arch_to_string(vm->config->arch));
    table_add(t, "%s", vm->has_accel ? vm_accel_to_string(vm->accel) : "-");
    table_add(t, "%u", vm->config->cpus);
    table_add(t, "%s", memory);
    table_add(t, "%s", vm->owner);
    table_add(t, "%s", since ? since : "-");
}

static int run_list(const struct arguments *args)
{
    static const char *const headers[] = {"NAME", "STATE",  "ARCH",  "ACCEL",
                                          "CPUS", "MEMORY", "OWNER", "STARTED"};
    g_autoptr(vm_list_result) result = NULL;
    struct vm_list_params params = {0};
    int status;

    if (arguments_has(args, "json"))
        return call_json("vm.list", NULL);
    status = invoke(API_VM_LIST, &params, &result);
    if (status >= 0)
        return status;
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < result->n_vms; i++)
        add_vm(t, result->vms[i]);
    table_print(t, stdout);
    return VMCTL_EXIT_OK;
}

/* --- info ------------------------------------------------------------------------------------- */

static void print_devices_of(const struct vm_config *c)
{
    for (size_t i = 0; i < c->n_disks; i++)
        printf("disk      %s: %s, %s%s%s%s\n", c->disks[i]->id, c->disks[i]->path,
               vm_disk_format_to_string(c->disks[i]->format),
               c->disks[i]->readonly ? ", read-only" : "",
               c->disks[i]->onerror == VM_DISK_ONERROR_ENOSPC ? "" : ", onerror=",
               c->disks[i]->onerror == VM_DISK_ONERROR_ENOSPC
                   ? ""
                   : vm_disk_onerror_to_string(c->disks[i]->onerror));
    for (size_t i = 0; i < c->n_nics; i++) {
        const struct vm_nic_config *n = c->nics[i];
        printf("net       %s: %s%s%s, %s\n", n->id, vm_nic_kind_to_string(n->kind),
               n->tap ? " " : "", n->tap ? n->tap : "", n->mac);
        for (size_t k = 0; k < n->n_hostfwd; k++)
            printf("          %s %s:%u to guest port %u\n",
                   net_proto_to_string(n->hostfwd[k]->proto), n->hostfwd[k]->host_addr,
                   n->hostfwd[k]->host_port, n->hostfwd[k]->guest_port);
    }
}

static void print_gpu(const struct vm_gpu_config *gpu)
{
    g_autofree char *memory = size_format(gpu->memory);

    printf("gpu       %s%s%s, memory %s\n", vm_gpu_backend_to_string(gpu->backend),
           gpu->device ? " " : "", gpu->device ? gpu->device : "", memory);
}

static void print_vm(const struct vm_info *vm)
{
    const struct vm_config *c = vm->config;
    g_autofree char *memory = size_format(vm->size ? vm->size->memory : c->memory);
    g_autofree char *created = format_age(vm->created_ns);

    printf("name      %s\nid        %s\nstate     %s\n", vm->name, vm->id,
           vm_state_to_string(vm->state));
    if (vm->pause) {
        g_autofree char *since = format_age(vm->pause->time_ns);
        printf("paused    %s, %s: %s\n", since, vm_pause_reason_to_string(vm->pause->reason),
               vm->pause->text);
    }
    if (vm->end && !vm->has_pid)
        printf("ended     %s: %s\n", vm_end_reason_to_string(vm->end->reason), vm->end->text);
    printf("arch      %s\naccel     %s\ncpus      %u\nmemory    %s\nowner     %s\ncreated   %s\n",
           vm_arch_to_string(c->arch),
           vm->has_accel ? vm_accel_to_string(vm->accel) : vm_accel_to_string(c->accel),
           vm->size ? vm->size->cpus : c->cpus,
           memory, vm->owner, created);
    if (vm->accel_text)
        printf("          %s\n", vm->accel_text);
    if (c->cpu)
        printf("cpu       %s\n", c->cpu);
    if (vm->has_pid)
        printf("process   %u\n", vm->pid);
    if (vm->has_started_ns) {
        g_autofree char *started = format_age(vm->started_ns);
        printf("started   %s, run %" PRIu64 "\n", started, vm->runs);
    }
    if (c->firmware)
        printf("firmware  %s\n", c->firmware);
    if (c->firmware_vars)
        printf("variables %s\n", c->firmware_vars);
    if (c->kernel)
        printf("kernel    %s\n", c->kernel);
    if (c->initrd)
        printf("initrd    %s\n", c->initrd);
    if (c->append)
        printf("append    %s\n", c->append);
    if (c->gdb)
        printf("gdb       %s:%u%s\n", c->gdb->addr, c->gdb->port,
               c->gdb->wait ? ", waits for a debugger at the start" : "");
    print_devices_of(c);
    if (c->gpu)
        print_gpu(c->gpu);
}

static void print_accel(const struct accel_info *a)
{
    printf("%-9s %s: %s\n", vm_accel_to_string(a->accel), accel_fitness_to_string(a->fitness),
           a->text);
    printf("          guests:");
    for (size_t i = 0; i < a->n_archs; i++)
        printf(" %s", vm_arch_to_string(a->archs[i]));
    putchar('\n');
    if (a->has_cpus)
        printf("          at most %u virtual CPUs, %u memory slots\n", a->cpus,
               a->has_memory_slots ? a->memory_slots : 0);
    if (a->n_features)
        printf("          with:");
    for (size_t i = 0; i < a->n_features; i++)
        printf(" %s", a->features[i]);
    if (a->n_features)
        putchar('\n');
}

/* Of the host. */
static int run_host_info(const struct arguments *args)
{
    struct host_info_params none = {0};
    struct host_capabilities_params params = {0};
    g_autoptr(host_info_result) host = NULL;
    g_autoptr(host_capabilities_result) result = NULL;
    int status;

    if (arguments_has(args, "json"))
        return call_json("host.capabilities", NULL);
    status = invoke(API_HOST_INFO, &none, &host);
    if (status < 0)
        status = invoke(API_HOST_CAPABILITIES, &params, &result);
    if (status >= 0)
        return status;
    g_autofree char *memory = size_format(host->memory->total_bytes);
    printf("host      %s\nkernel    %s\narch      %s\ncpu       %s, %u threads\nmemory    %s\n",
           host->hostname, host->kernel, host->cpu->arch, host->cpu->model, host->cpu->threads,
           memory);
    for (size_t i = 0; i < result->n_accels; i++)
        print_accel(result->accels[i]);
    return VMCTL_EXIT_OK;
}

static int run_info(const struct arguments *args)
{
    if (!arguments_at(args, 0))
        return run_host_info(args);
    struct vm_get_params params = {.vm = (char *)arguments_at(args, 0)};
    g_autoptr(vm_info) vm = NULL;
    int status;

    if (arguments_has(args, "json"))
        return call_json("vm.get", vm_param(args));
    status = invoke(API_VM_GET, &params, &vm);
    if (status >= 0)
        return status;
    print_vm(vm);
    return VMCTL_EXIT_OK;
}

/* --- stats ------------------------------------------------------------------------------------ */

static void print_stats(const struct vm_stats *s)
{
    g_autofree char *up = format_duration(s->uptime_ns), *guest = format_duration(s->guest_ns);
    g_autofree char *cpu = format_duration(s->cpu_ns),
                    *memory = size_format(s->memory_bytes + s->plugged_bytes);
    g_autofree char *resident = size_format(s->resident_bytes);
    g_autofree char *balloon = size_format(s->balloon_bytes);

    printf("up        %s (guest %s)\nprocessor %s\nmemory    %s, resident %s, balloon %s\n", up,
           guest, cpu, memory, resident, balloon);
    for (size_t i = 0; i < s->n_vcpus; i++) {
        const struct vcpu_stats *v = s->vcpus[i];
        g_autofree char *time = format_duration(v->cpu_ns);
        printf("vcpu%u     %s, %s, %" PRIu64 " exits, %" PRIu64 " interrupts\n", v->index,
               vcpu_state_to_string(v->state), time, v->exits, v->interrupts);
        for (size_t j = 0; j < v->n_reasons; j++)
            printf("%s %s %" PRIu64 "%s", j ? "," : "         ", v->reasons[j]->reason,
                   v->reasons[j]->count, j + 1 == v->n_reasons ? "\n" : "");
    }
    for (size_t i = 0; i < s->n_disks; i++) {
        const struct disk_stats *d = s->disks[i];
        g_autofree char *in = size_format(d->read_bytes), *out = size_format(d->write_bytes);
        printf("%-9s %" PRIu64 " reads (%s), %" PRIu64 " writes (%s), %" PRIu64
               " flushes, %" PRIu64 " errors\n",
               d->id, d->reads, in, d->writes, out, d->flushes, d->errors);
        if (d->held)
            printf("          %u requests wait until the VM is resumed\n", d->held);
        if (d->state != DISK_STATE_OK)
            printf("          %s: %s\n", disk_state_to_string(d->state), d->text ? d->text : "");
    }
    for (size_t i = 0; i < s->n_nics; i++) {
        const struct nic_stats *n = s->nics[i];
        g_autofree char *in = size_format(n->rx_bytes), *out = size_format(n->tx_bytes);
        printf("%-9s %" PRIu64 " packets in (%s), %" PRIu64 " out (%s), dropped %" PRIu64
               " in, %" PRIu64 " out\n",
               n->id, n->rx_packets, in, n->tx_packets, out, n->rx_dropped, n->tx_dropped);
    }
}

static void print_gpu_stats(const struct gpu_stats *g)
{
    g_autofree char *used = size_format(g->used_bytes), *memory = size_format(g->memory_bytes);

    printf("%-9s %s of %s in use, worker %" PRIu64 " %s\n", g->id, used, memory, g->workers,
           g->has_state ? gpu_worker_state_to_string(g->state) : "begins");
}

static int run_stats(const struct arguments *args)
{
    struct vm_stats_params params = {.vm = (char *)arguments_at(args, 0)};
    g_autoptr(vm_stats) stats = NULL;
    int status;

    if (arguments_has(args, "json"))
        return call_json("vm.stats", vm_param(args));
    status = invoke(API_VM_STATS, &params, &stats);
    if (status >= 0)
        return status;
    print_stats(stats);
    if (stats->gpu)
        print_gpu_stats(stats->gpu);
    return VMCTL_EXIT_OK;
}

/* --- events ----------------------------------------------------------------------------------- */

static void print_event(const struct event_record *e, bool json)
{
    if (json) {
        struct json_object *out = event_record_encode(e);
        puts(json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(out);
    } else {
        time_t seconds = (time_t)(e->time_ns / 1000000000u);
        struct tm tm;
        char when[32];
        localtime_r(&seconds, &tm);
        strftime(when, sizeof(when), "%F %T", &tm);
        printf("%" PRIu64 "  %s.%03u  %-16s  %-16s  %s\n", e->seq, when,
               (unsigned)(e->time_ns / 1000000 % 1000), e->type, e->vm ? e->vm : "-",
               json_object_to_json_string_ext(e->data, JSON_C_TO_STRING_PLAIN |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
    }
    fflush(stdout);
}

static int follow(struct vmd_client *c, bool json)
{
    GError *err = NULL;

    for (;;) {
        g_autoptr(event_delivery) d = NULL;
        if (!vmd_client_next_event(c, -1, &d, &err))
            return fail(c, err);
        if (d)
            print_event(d->event, json);
        if (ferror(stdout))
            return VMCTL_EXIT_OK;
    }
}

static int list_kept(struct vmd_client *c, struct event_list_params *params, bool json)
{
    GError *err = NULL;

    for (;;) {
        g_autoptr(event_list_result) result = NULL;
        if (!vmd_client_invoke(c, API_EVENT_LIST, params, &result, NULL, &err))
            return fail(c, err);
        for (size_t i = 0; i < result->n_events; i++) {
            print_event(result->events[i], json);
            params->after = result->events[i]->seq;
        }
        if (result->n_events < params->limit)
            return VMCTL_EXIT_OK;
    }
}

static int run_events(const struct arguments *args)
{
    char *vm = (char *)arguments_at(args, 0);
    const char *type = arguments_get(args, "type");
    g_auto(GStrv) types = g_strsplit(type ? type : "", ",", -1);
    bool json = arguments_has(args, "json");
    uint64_t after = UINT64_MAX;
    GError *err = NULL;
    int status;

    if (!arguments_number(args, "after", UINT64_MAX - 1, &after, &err)) {
        status = usage_error(args->command, "%s", err->message);
        g_error_free(err);
        return status;
    }
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    if (arguments_has(args, "list")) {
        struct event_list_params p = {.after = after == UINT64_MAX ? 0 : after,
                                      .limit = 1000,
                                      .types = types,
                                      .n_types = g_strv_length(types),
                                      .vm = vm};
        status = list_kept(c, &p, json);
    } else {
        struct event_subscribe_params p = {.has_after = after != UINT64_MAX,
                                           .after = after,
                                           .types = types,
                                           .n_types = g_strv_length(types),
                                           .vm = vm};
        status = vmd_client_invoke(c, API_EVENT_SUBSCRIBE, &p, NULL, NULL, &err) ? follow(c, json)
                                                                                : fail(c, err);
    }
    vmd_client_free(c);
    return status;
}

/* --- version, rpc ----------------------------------------------------------------------------- */

static int run_version(const struct arguments *args)
{
    g_autoptr(system_version_result) v = NULL;
    g_autoptr(GError) err = NULL;
    struct vmd_client *c = vmd_client_connect(NULL, &err);

    /* No daemon is started just to be asked its version. */
    if (c)
        vmd_client_invoke(c, API_SYSTEM_VERSION, NULL, &v, NULL, NULL);
    if (arguments_has(args, "json")) {
        struct json_object *json = json_object_new_object();
        json_object_object_add(json, "vmctl", json_object_new_string(VMD_VERSION));
        json_object_object_add(json, "vmd", v ? json_object_new_string(v->version) : NULL);
        print_json(json);
        json_object_put(json);
    } else {
        printf("vmctl %s\n", VMD_VERSION);
        if (v)
            printf("vmd %s (process %u, at %s)\n", v->version, v->pid, vmd_client_path(c));
        else
            puts("vmd: none is running");
    }
    vmd_client_free(c);
    return VMCTL_EXIT_OK;
}

static int run_rpc(const struct arguments *args)
{
    const char *text = arguments_at(args, 1);
    struct json_object *params = NULL;
    g_autoptr(GError) err = NULL;

    if (text && !json_read(text, strlen(text), &params, &err))
        return usage_error(args->command, "the params are not JSON: %s", err->message);
    return call_json(arguments_at(args, 0), params);
}

static const struct option_row event_options[] = {
    {"after", "NUMBER", "begin after this event, with those that are kept", NULL},
    {"type", "TYPE[,TYPE]...", "only these, as vm.ended or vm.*", NULL},
    {"list", NULL, "print what is kept and return", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_list = {
    .name = "list", .synopsis = "", .doc = "list the VMs", .options = no_options, .run = run_list};
const struct command command_version = {.name = "version",
                                        .synopsis = "",
                                        .doc = "print versions",
                                        .options = no_options,
                                        .run = run_version};

#define SHOW(name_, doc_, run_)                                                                    \
    const struct command command_##name_ = {                                                       \
        .name = #name_,                                                                            \
        .synopsis = "VM",                                                                          \
        .doc = doc_,                                                                               \
        .options = no_options,                                                                     \
        .least = 1,                                                                                \
        .most = 1,                                                                                 \
        .positional_kind = "@vm",                                                                  \
        .run = run_,                                                                               \
    }
SHOW(stats, "show the counters of a running VM", run_stats);

const struct command command_info = {
    .name = "info",
    .synopsis = "[VM]",
    .doc = "show what a VM is made of and where it is in its life, or what can run VMs here",
    .more = "Without a VM it tells of the host: its accelerators, whether each is fit, as measured, and its limits.",
    .options = no_options,
    .most = 1,
    .positional_kind = "@vm",
    .run = run_info,
};
const struct command command_events = {
    .name = "events",
    .synopsis = "[VM]",
    .doc = "print events as they come",
    .more = "Events are numbered without gaps. After an interruption, --after with the last number "
            "seen goes on where it was.",
    .options = event_options,
    .most = 1,
    .positional_kind = "@vm",
    .run = run_events,
};
const struct command command_rpc = {
    .name = "rpc",
    .synopsis = "METHOD [JSON]",
    .doc = "call a method of the API and print its result",
    .more = "rpc.discover describes all methods. A file descriptor that comes with an answer is "
            "closed.",
    .options = no_options,
    .least = 1,
    .most = 2,
    .positional_kind = "@method",
    .run = run_rpc,
};
