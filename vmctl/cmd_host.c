/* vmctl host: what the host has. */
#include "vmctl/commands.h"

/* What of a device is worth a word beside its class: what it is called, how large it is, its address. */
static char *more_of(const struct host_device_info *d)
{
    g_autoptr(GString) s = g_string_new(d->text);

    if (d->pci && !d->text)
        g_string_printf(s, "%04x:%04x", d->pci->vendor, d->pci->device);
    if (d->pci && d->pci->vfs_total)
        g_string_append_printf(s, ", %u of %u virtual functions", d->pci->vfs, d->pci->vfs_total);
    if (d->block) {
        g_autofree char *size = size_format(d->block->size);
        g_string_append_printf(s, "%s%s%s", s->len ? ", " : "", size, d->block->readonly ? ", read-only" : "");
    }
    if (d->net && d->net->address)
        g_string_append(s, d->net->address);
    return g_string_free(g_steal_pointer(&s), FALSE);
}

static void add_device(struct table *t, const struct host_device_info *d)
{
    g_autofree char *more = more_of(d);

    table_add(t, "%s", d->id);
    table_add(t, "%s", d->pci && d->pci->class_name ? d->pci->class_name : d->class);
    table_add(t, "%s", d->driver ? d->driver : "-");
    if (d->pci && d->pci->has_iommu_group)
        table_add(t, "%u", d->pci->iommu_group);
    else
        table_add(t, "-");
    table_add(t, "%s", !d->holder_id ? "-" : d->holder ? d->holder : d->holder_id);
    table_add(t, "%s", more);
}

static void print_devices(const struct host_devices_result *r)
{
    static const char *const headers[] = {"ID", "CLASS", "DRIVER", "GROUP", "HOLDER", "MORE"};
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));

    for (size_t i = 0; i < r->n_devices; i++)
        add_device(t, r->devices[i]);
    table_print(t, stdout);
    for (size_t i = 0; i < r->n_claims; i++) {
        const struct host_claim_info *c = r->claims[i];
        if (!c->present)
            printf("%s is gone; VM %s holds it still\n", c->device, c->vm ? c->vm : c->vm_id);
    }
    if (r->left_out)
        printf("and %u more\n", r->left_out);
    if (r->watch == HOST_WATCH_RESCAN)
        printf("changes are seen within %d seconds: %s\n", LIMIT_HOST_RESCAN_S, r->watch_text);
}

static int run(const struct arguments *args)
{
    const char *kind = arguments_get(args, "kind");
    struct host_devices_params params = {.class = (char *)arguments_get(args, "class"),
                                         .id = (char *)arguments_at(args, 1)};
    g_autoptr(host_devices_result) r = NULL;
    GError *err = NULL;
    int status = VMCTL_EXIT_OK;

    if (strcmp(arguments_at(args, 0), "devices") != 0)
        return usage_error(args->command, "'%s' is not devices", arguments_at(args, 0));
    if (kind && !host_device_kind_from_string(kind, &params.kind, NULL))
        return usage_error(args->command, "there is no kind '%s': there are pci, block and net", kind);
    params.has_kind = kind != NULL;
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    if (!vmd_client_invoke(c, API_HOST_DEVICES, &params, &r, NULL, &err)) {
        status = fail(c, err);
    } else if (arguments_has(args, "json")) {
        struct json_object *json = host_devices_result_encode(r);
        print_json(json);
        json_object_put(json);
    } else {
        print_devices(r);
    }
    vmd_client_free(c);
    return status;
}

static const struct option_row options[] = {
    {"kind", "KIND", "only devices of this kind", "pci block net"},
    {"class", "CLASS", "only devices whose class begins so: 02 for network controllers, disk, bridge", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_host = {
    .name = "host",
    .synopsis = "devices [ID]",
    .doc = "list the host's devices that a guest could be given, and who holds them",
    .more = "PCI functions, block devices with something in them, and network interfaces. A VM holds a block device "
            "that it writes to, and its tap interfaces, while it runs; who holds a PCI function holds its IOMMU group. "
            "What comes and goes are events: vmctl events --type host.device.",
    .options = options,
    .least = 1,
    .most = 2,
    .positional_kind = "devices",
    .run = run,
};
