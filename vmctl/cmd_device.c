/* vmctl device: devices of a running VM come, go, and are listed. */
#include "vmctl/commands.h"
#include "vmctl/devices.h"
#include "vmctl/jobs.h"

/* Takes JSON. */
static void print_and_put(struct json_object *json)
{
    print_json(json);
    json_object_put(json);
}

static void print_outcome(const struct job_info *job)
{
    printf("%s: %s\n", job_result_word(job, "device"), job_result_word(job, "outcome"));
}

/* --- add -------------------------------------------------------------------------------------- */

/* Exactly one of --disk, --net, --host-device, --rng, --console and --gpu. */
static bool parse_spec(const struct arguments *args, struct device_spec *spec, GError **err)
{
    const char *disk = arguments_get(args, "disk"), *net = arguments_get(args, "net");
    const char *host = arguments_get(args, "host-device"), *gpu = arguments_get(args, "gpu");
    const char *road = arguments_get(args, "road");
    bool rng = arguments_has(args, "rng"), console = arguments_has(args, "console");

    if ((disk != NULL) + (net != NULL) + (host != NULL) + (gpu != NULL) + rng + console != 1)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "add needs one of --disk, --net, --host-device, --rng, --console, --gpu");
    spec->kind = disk   ? HOT_KIND_DISK
                 : net  ? HOT_KIND_NIC
                 : host ? HOT_KIND_HOST
                 : rng  ? HOT_KIND_RNG
                 : gpu  ? HOT_KIND_GPU
                        : HOT_KIND_CONSOLE;
    spec->id = g_strdup(arguments_get(args, "id"));
    spec->host = host ? parse_host(host) : NULL;
    spec->has_road = road != NULL;
    return (!road || device_road_from_string(road, &spec->road, err)) &&
           (!disk || parse_disk(disk, &spec->disk, err)) &&
           (!net || parse_net(net, &spec->nic, err)) && (!gpu || parse_gpu(gpu, &spec->gpu, err));
}

static int add(struct vmd_client *c, const struct arguments *args)
{
    struct device_add_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(device_spec) spec = device_spec_new();
    g_autoptr(job_ref) ref = NULL;
    GError *err = NULL;

    p.persistent = arguments_has(args, "persistent");
    p.until = arguments_has(args, "visible") ? DEVICE_UNTIL_VISIBLE : DEVICE_UNTIL_ACKNOWLEDGED;
    if (!parse_spec(args, spec, &err) || !arguments_timeout(args, &p.timeout_s, &err)) {
        int status = usage_error(args->command, "%s", err->message);
        g_error_free(err);
        return status;
    }
    p.device = spec;
    if (!vmd_client_invoke(c, API_DEVICE_ADD, &p, &ref, NULL, &err))
        return fail(c, err);
    return wait_for_job(c, args, ref->job, print_outcome);
}

/* --- remove ----------------------------------------------------------------------------------- */

static int remove_device(struct vmd_client *c, const struct arguments *args)
{
    struct device_remove_params p = {.vm = (char *)arguments_at(args, 1),
                                     .device = (char *)arguments_at(args, 2),
                                     .force = arguments_has(args, "force"),
                                     .persistent = arguments_has(args, "persistent")};
    g_autoptr(job_ref) ref = NULL;
    GError *err = NULL;

    if (!p.device)
        return usage_error(args->command, "remove needs a DEVICE");
    if (!arguments_timeout(args, &p.timeout_s, &err)) {
        int status = usage_error(args->command, "%s", err->message);
        g_error_free(err);
        return status;
    }
    if (!vmd_client_invoke(c, API_DEVICE_REMOVE, &p, &ref, NULL, &err))
        return fail(c, err);
    return wait_for_job(c, args, ref->job, print_outcome);
}

/* --- resize ----------------------------------------------------------------------------------- */

static int resize(struct vmd_client *c, const struct arguments *args)
{
    struct device_resize_params p = {.vm = (char *)arguments_at(args, 1),
                                     .device = (char *)arguments_at(args, 2)};
    const char *size = arguments_at(args, 3);
    GError *err = NULL;

    if (!size)
        return usage_error(args->command, "resize needs a DISK and a SIZE");
    if (!size_parse(size, &p.bytes, &err)) {
        int status = usage_error(args->command, "%s", err->message);
        g_error_free(err);
        return status;
    }
    return vmd_client_invoke(c, API_DEVICE_RESIZE, &p, NULL, NULL, &err) ? VMCTL_EXIT_OK : fail(c, err);
}

/* --- lists ------------------------------------------------------------------------------------ */

static const char *state_name(bool has, enum device_state state)
{
    return has ? device_state_to_string(state) : "-";
}

static int list(struct vmd_client *c, const struct arguments *args)
{
    static const char *const headers[] = {"ID", "KIND", "BUS", "ADDRESS", "STATE", "ROAD", "MORE"};
    struct device_list_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(device_list_result) result = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_DEVICE_LIST, &p, &result, NULL, &err))
        return fail(c, err);
    if (arguments_has(args, "json")) {
        print_and_put(device_list_result_encode(result));
        return VMCTL_EXIT_OK;
    }
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < result->n_devices; i++) {
        const struct device_info *d = result->devices[i];
        table_add(t, "%s", d->id);
        table_add(t, "%s", d->kind);
        table_add(t, "%s", d->bus);
        table_add(t, "%s", d->address);
        table_add(t, "%s", state_name(d->has_state, d->state));
        table_add(t, "%s", d->has_road ? device_road_to_string(d->road) : "-");
        table_add(t, "%s%s%s", d->text, *d->text && d->why ? "; " : "", d->why ? d->why : "");
    }
    table_print(t, stdout);
    return VMCTL_EXIT_OK;
}

static int slots(struct vmd_client *c, const struct arguments *args)
{
    static const char *const headers[] = {"SLOT", "ROAD", "USE", "DEVICE", "STATE", "MORE"};
    struct slot_list_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(slot_list_result) result = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_SLOT_LIST, &p, &result, NULL, &err))
        return fail(c, err);
    if (arguments_has(args, "json")) {
        print_and_put(slot_list_result_encode(result));
        return VMCTL_EXIT_OK;
    }
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < result->n_slots; i++) {
        const struct slot_info *s = result->slots[i];
        table_add(t, "%s", s->name);
        table_add(t, "%s", device_road_to_string(s->road));
        table_add(t, "%s", slot_use_to_string(s->use));
        table_add(t, "%s", s->device ? s->device : "-");
        table_add(t, "%s", state_name(s->has_state, s->state));
        table_add(t, "%s", s->text);
    }
    table_print(t, stdout);
    return VMCTL_EXIT_OK;
}

static int run(const struct arguments *args)
{
    static const struct part_row parts[] = {{"add", add, 2},   {"remove", remove_device, 3},
                                            {"list", list, 2}, {"slots", slots, 2},
                                            {"resize", resize, 4}};

    return run_part(args, parts, G_N_ELEMENTS(parts));
}

static const struct option_row options[] = {
    {"disk", "FILE[,format=raw|qcow2][,readonly][,serial=S][,onerror=enospc|report|pause]",
     "of add: a disk", "@file"},
    {"net", "user[,hostfwd=tcp:HOSTPORT:PORT]|tap=NAME", "of add: a network interface", "user"},
    {"host-device", "ADDRESS", "of add: a PCI function of the host, such as 0000:01:00.0", NULL},
    {"rng", NULL, "of add: a source of random numbers", NULL},
    {"console", NULL, "of add: a console", NULL},
    {"gpu", "soft|cuda|hip[,device=GPU][,memory=SIZE]", "of add: GPU compute, as of run", "soft cuda hip"},
    {"id", "ID",
     "of add: its name; disk0, net0, host0, rng0 or hvc0 and on where not given, gpu0 of a GPU",
     NULL},
    {"road", "ROAD", "of add: how it comes; the best that the guest has where not given",
     "pcie rescan scsi link acpi"},
    {"persistent", NULL, "change the VM's definition too, for its later runs", NULL},
    {"visible", NULL, "of add: be content when the guest can find it", NULL},
    {"force", NULL, "of remove: do not ask the guest, which may lose what it has not written",
     NULL},
    {"timeout", "SECONDS", "how long the guest may take (30)", NULL},
    {"no-wait", NULL, "print the job's number and return", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_device = {
    .name = "device",
    .synopsis = "add|remove|list|slots|resize VM [DEVICE [SIZE]]",
    .doc = "add a device to a running VM, remove one, list them or the places for them, make a disk larger",
    .more = "add ends when the guest's driver has taken the device, remove when the guest has let go of it and "
            "its files are closed; list says by which road each device came and what a removal would be. resize gives "
            "a disk SIZE bytes, no fewer than it has, whether the VM runs or not; the guest is told.",
    .options = options,
    .least = 2,
    .most = 4,
    .positional_kind = "add remove list slots resize",
    .run = run,
};
