/*
 * vmctl run: one command from an image to its console.
 *
 * The VM is made standing, its console connected, and only then let go, so that not a byte of output
 * is missed however soon it ends. How it ended is learnt from its events, also over a restart of the
 * daemon.
 */
#include "vmctl/commands.h"
#include "vmctl/devices.h"

static void set_text(const struct arguments *args, const char *option, char **to)
{
    const char *value = arguments_get(args, option);

    if (value) {
        g_free(*to);
        *to = g_strdup(value);
    }
}

/* A path as the daemon needs it: absolute. */
static void set_path(const struct arguments *args, const char *option, char **to)
{
    const char *value = arguments_get(args, option);

    if (value)
        *to = g_canonicalize_filename(value, NULL);
}

static bool parse_devices(const struct arguments *args, struct vm_config *c, GError **err)
{
    guint n = args->names->len;
    bool none = false, net = false;

    c->disks = g_new0(struct vm_disk_config *, n + 1);
    c->nics = g_new0(struct vm_nic_config *, n + 2);
    c->host_devices = g_new0(struct vm_host_config *, n + 1);
    for (guint i = 0; i < n; i++) {
        const char *name = g_ptr_array_index(args->names, i);
        const char *value = g_ptr_array_index(args->values, i);
        if (strcmp(name, "disk") == 0) {
            if (!parse_disk(value, &c->disks[c->n_disks], err))
                return false;
            c->n_disks++;
        } else if (strcmp(name, "host-device") == 0) {
            c->host_devices[c->n_host_devices++] = parse_host(value);
        } else if (strcmp(name, "net") == 0) {
            net = true;
            none |= strcmp(value, "none") == 0;
            if (strcmp(value, "none") == 0)
                continue;
            if (!parse_net(value, &c->nics[c->n_nics], err))
                return false;
            c->n_nics++;
        }
    }
    if (none && c->n_nics)
        return vmd_fail(err, VMD_ERROR_INVALID, "--net none excludes other interfaces");
    if (!net)
        c->nics[c->n_nics++] = vm_nic_config_new();
    return true;
}

static char *make_name(const char *arch)
{
    return g_strdup_printf("%s-%06x", arch, g_random_int() & 0xffffff);
}

/* "[ADDRESS:]PORT[,wait]". */
static bool parse_gdb(const struct arguments *args, struct vm_config *c, GError **err)
{
    const char *text = arguments_get(args, "gdb");

    if (!text)
        return true;
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    char *colon = words[0] ? strrchr(words[0], ':') : NULL;
    struct vm_gdb_config *gdb = c->gdb = vm_gdb_config_new();
    bool ok = words[0] && parse_port(colon ? colon + 1 : words[0], &gdb->port);
    if (colon) {
        g_free(gdb->addr);
        gdb->addr = g_strndup(words[0], (gsize)(colon - words[0]));
    }
    for (char **w = words + 1; ok && *w; w++) {
        ok = strcmp(*w, "wait") == 0;
        gdb->wait |= ok;
    }
    return ok || vmd_fail(err, VMD_ERROR_INVALID, "--gdb %s is not of the form [ADDRESS:]PORT[,wait]",
                          text);
}

static bool parse_cpus(const struct arguments *args, const char *option, uint32_t *cpus, GError **err)
{
    const char *text = arguments_get(args, option);
    guint64 n = *cpus;

    if (text && !g_ascii_string_to_unsigned(text, 10, 1, LIMIT_VCPUS, &n, NULL))
        return vmd_fail(err, VMD_ERROR_INVALID, "--%s takes a number from 1 to %d, not '%s'", option,
                        LIMIT_VCPUS, text);
    *cpus = (uint32_t)n;
    return true;
}

static bool parse_memory_size(const char *text, uint64_t *bytes, GError **err)
{
    if (!size_parse(text, bytes, err))
        return false;
    if (*bytes < MIB(LIMIT_MEMORY_MIN_MIB) || *bytes > MIB((uint64_t)LIMIT_MEMORY_MAX_MIB) ||
        *bytes % KIB(4)) {
        g_autofree char *least = size_format(MIB(LIMIT_MEMORY_MIN_MIB));
        g_autofree char *most = size_format(MIB((uint64_t)LIMIT_MEMORY_MAX_MIB));
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "--memory takes a size from %s to %s, a multiple of 4 KiB, not '%s'", least,
                        most, text);
    }
    return true;
}

/* "SIZE[,max=SIZE]". */
static bool parse_memory(const char *text, struct vm_config *c, GError **err)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    const char *most = words[0] && words[1] ? words[1] : NULL;

    if (!words[0] || (most && (words[2] || !g_str_has_prefix(most, "max="))))
        return vmd_fail(err, VMD_ERROR_INVALID, "--memory %s is not of the form SIZE[,max=SIZE]",
                        text);
    c->has_max_memory = most != NULL;
    return parse_memory_size(words[0], &c->memory, err) &&
           (!most || parse_memory_size(most + strlen("max="), &c->max_memory, err));
}

static bool parse_sizes(const struct arguments *args, struct vm_config *c, GError **err)
{
    const char *memory = arguments_get(args, "memory");

    c->has_max_cpus = arguments_get(args, "max-cpus") != NULL;
    if (!parse_cpus(args, "cpus", &c->cpus, err) ||
        !parse_cpus(args, "max-cpus", &c->max_cpus, err))
        return false;
    return !memory || parse_memory(memory, c, err);
}

static bool parse_rates(const struct arguments *args, struct vm_xlate_config *x, GError **err)
{
    uint64_t hit = 0, link = 0;

    if (!arguments_number(args, "least-hit", 100, &hit, err) ||
        !arguments_number(args, "least-link", 100, &link, err))
        return false;
    x->has_least_hit_percent = hit > 0;
    x->least_hit_percent = (uint32_t)hit;
    x->has_least_link_percent = link > 0;
    x->least_link_percent = (uint32_t)link;
    return true;
}

static struct vm_config *parse_config(const struct arguments *args, GError **err)
{
    g_autoptr(vm_config) c = vm_config_new();
    const char *arch = arguments_get(args, "arch");
    const char *accel = arguments_get(args, "accel");
    const char *irqchip = arguments_get(args, "irqchip");
    const char *gpu = arguments_get(args, "gpu");

    if ((arch && !vm_arch_from_string(arch, &c->arch, err)) ||
        (accel && !vm_accel_from_string(accel, &c->accel, err)) ||
        (irqchip && !vm_irqchip_from_string(irqchip, &c->irqchip, err)) ||
        !parse_sizes(args, c, err) || !parse_devices(args, c, err) ||
        (gpu && !parse_gpu(gpu, &c->gpu, err)) || !parse_gdb(args, c, err))
        return NULL;
    c->has_irqchip = irqchip != NULL;
    c->name = make_name(vm_arch_to_string(c->arch));
    set_text(args, "name", &c->name);
    set_text(args, "append", &c->append);
    set_text(args, "cpu", &c->cpu);
    set_path(args, "kernel", &c->kernel);
    set_path(args, "initrd", &c->initrd);
    set_path(args, "firmware", &c->firmware);
    set_path(args, "firmware-vars", &c->firmware_vars);
    c->ephemeral = arguments_has(args, "ephemeral");
    if (arguments_has(args, "no-reboot"))
        c->on_reset = VM_ON_RESET_END;
    if (!parse_rates(args, c->xlate, err))
        return NULL;
    c->xlate->warm = !arguments_has(args, "no-warm");
    uint64_t ports = c->hotplug->ports, nics = c->hotplug->nics;
    if (!arguments_number(args, "hotplug-ports", LIMIT_HOTPLUG_PORTS, &ports, err) ||
        !arguments_number(args, "hotplug-nics", LIMIT_NICS, &nics, err))
        return NULL;
    c->hotplug->ports = (uint32_t)ports;
    c->hotplug->nics = (uint32_t)nics;
    c->hotplug->host = arguments_has(args, "hotplug-host");
    c->hotplug->scsi = !arguments_has(args, "no-hotplug-scsi");
    return g_steal_pointer(&c);
}

/* --- the console ------------------------------------------------------------------------------ */

/* Looks among the kept events for the end of VM_ID's run. */
static struct vm_end *find_end(struct vmd_client *c, const char *vm_id)
{
    struct event_list_params list = {.limit = 1000};
    char *types[] = {(char *)"vm.ended"};
    struct vm_end *end = NULL;

    list.types = types;
    list.n_types = 1;
    for (;;) {
        g_autoptr(event_list_result) result = NULL;
        if (!vmd_client_invoke(c, API_EVENT_LIST, &list, &result, NULL, NULL))
            return end;
        for (size_t i = 0; i < result->n_events; i++) {
            struct event_record *e = result->events[i];
            struct json_object *data = NULL;
            list.after = e->seq;
            if (g_strcmp0(e->vm_id, vm_id) == 0 &&
                json_object_object_get_ex(e->data, "end", &data)) {
                vm_end_free(end);
                end = NULL;
                vm_end_decode(data, &end, NULL);
            }
        }
        if (result->n_events < list.limit)
            return end;
    }
}

int report_end(const struct vm_end *end, const char *name)
{
    if (!end) {
        fprintf(stderr, "vmctl: VM %s: how it ended is not known\n", name);
        return VMCTL_EXIT_ERROR;
    }
    if (end->reason != VM_END_REASON_POWERED_OFF || isatty(STDERR_FILENO))
        fprintf(stderr, "vmctl: VM %s: %s\n", name, end->text);
    return status_of_end(end);
}

int wait_for_end(struct vmd_client **client, const char *vm_id, const char *name)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(vm_info) info = NULL;
    struct vm_wait_params wait = {.vm = (char *)vm_id};
    int status;

    for (;;) {
        if (vmd_client_invoke(*client, API_VM_WAIT, &wait, &info, NULL, &err))
            return report_end(info->end, name);
        if (!g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE))
            break;
        /* The daemon went away, not the VM: the next one knows. */
        g_clear_error(&err);
        if (!reconnect_daemon(client, &status))
            return status;
    }
    if (!g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND))
        return fail(*client, g_steal_pointer(&err));
    /* An ephemeral VM is gone by now; its end is in the events. */
    g_autoptr(vm_end) end = find_end(*client, vm_id);
    return report_end(end, name);
}

/* As vmd_client_invoke() without a result, also over a restart of the daemon. */
static bool invoke_anew(struct vmd_client **c, enum api_method method, const void *params,
                        GError **err)
{
    g_autoptr(GError) why = NULL;
    int status;

    if (vmd_client_invoke(*c, method, params, NULL, NULL, &why))
        return true;
    if (g_error_matches(why, VMD_ERROR, VMD_ERROR_GONE) && reconnect_daemon(c, &status))
        return vmd_client_invoke(*c, method, params, NULL, NULL, err);
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

/* Ends an ephemeral VM, and says so. One that has ended by itself meanwhile is gone. */
static int kill_vm(struct vmd_client **c, const struct vm_info *vm)
{
    struct vm_kill_params kill = {.vm = vm->id};
    GError *err = NULL;

    if (!invoke_anew(c, API_VM_KILL, &kill, &err)) {
        if (g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND)) {
            g_error_free(err);
            return wait_for_end(c, vm->id, vm->name);
        }
        return fail(*c, err);
    }
    fprintf(stderr, "vmctl: VM %s was killed\n", vm->name);
    return VMCTL_EXIT_KILLED;
}

static int run_console(struct vmd_client **c, const struct vm_info *vm, int fd)
{
    g_autoptr(GError) err = NULL;

    if (isatty(STDIN_FILENO))
        fprintf(stderr, "vmctl: console of %s; ^] leaves it%s\n", vm->name,
                vm->config->ephemeral ? " and ends the VM" : "");
    switch (console_stream(fd, false, &err)) {
    case CONSOLE_ENDED:
        return wait_for_end(c, vm->id, vm->name);
    case CONSOLE_FAILED:
        fprintf(stderr, "vmctl: %s\n", err->message);
        if (vm->config->ephemeral)
            kill_vm(c, vm);
        return VMCTL_EXIT_ERROR;
    default:
        break;
    }
    if (vm->config->ephemeral)
        return kill_vm(c, vm);
    fprintf(stderr, "\nvmctl: VM %s goes on; 'vmctl console %s' comes back\n", vm->name, vm->name);
    return VMCTL_EXIT_OK;
}

/* Says what runs VM where that is not what one would expect. */
static void tell_accel(const struct vm_info *vm)
{
    if (vm->accel_text)
        fprintf(stderr, "vmctl: VM %s runs on %s: %s\n", vm->name, vm_accel_to_string(vm->accel),
                vm->accel_text);
}

/* Takes back a VM that could not be brought up. */
static int undo(struct vmd_client **c, const struct vm_info *vm, GError *err)
{
    struct vm_delete_params delete = {.vm = vm->id, .force = true};
    int status = fail(*c, err);

    invoke_anew(c, API_VM_DELETE, &delete, NULL);
    return status;
}

static int bring_up_console(struct vmd_client **c, struct vm_config *config)
{
    struct vm_create_params create = {.config = config};
    console_hold_signals(); /* from here on there is a VM to answer for */
    g_autoptr(vm_info) vm = NULL;
    g_autoptr(vm_info) running = NULL;
    g_autoptr(console_attach_result) attached = NULL;
    GError *err = NULL;
    int fd = -1;

    if (!vmd_client_invoke(*c, API_VM_CREATE, &create, &vm, NULL, &err))
        return fail(*c, err);
    struct vm_start_params start = {.vm = vm->id, .paused = true};
    struct console_attach_params attach = {
        .vm = vm->id, .console = (char *)"serial0", .replay = LIMIT_CONSOLE_LOG};
    struct vm_resume_params resume = {.vm = vm->id};
    if (!vmd_client_invoke(*c, API_VM_START, &start, &running, NULL, &err) ||
        !vmd_client_invoke(*c, API_CONSOLE_ATTACH, &attach, &attached, &fd, &err) ||
        !vmd_client_invoke(*c, API_VM_RESUME, &resume, NULL, NULL, &err))
        return undo(c, vm, err);
    tell_accel(running);
    return run_console(c, vm, fd);
}

static int bring_up_detached(struct vmd_client *c, struct vm_config *config, bool json)
{
    struct vm_create_params create = {.config = config, .start = true};
    g_autoptr(vm_info) vm = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_VM_CREATE, &create, &vm, NULL, &err))
        return fail(c, err);
    tell_accel(vm);
    if (json) {
        struct json_object *out = vm_info_encode(vm);
        print_json(out);
        json_object_put(out);
    } else {
        puts(vm->name);
    }
    return VMCTL_EXIT_OK;
}

static int run(const struct arguments *args)
{
    bool detach = arguments_has(args, "detach");
    GError *err = NULL;
    int status;

    if (detach && arguments_has(args, "console"))
        return usage_error(args->command, "--console and --detach exclude each other");
    if (!detach && arguments_has(args, "json"))
        return usage_error(args->command, "--json goes with --detach");
    g_autoptr(vm_config) config = parse_config(args, &err);
    if (!config) {
        status = usage_error(args->command, "%s", err->message);
        g_error_free(err);
        return status;
    }
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    status = detach ? bring_up_detached(c, config, arguments_has(args, "json"))
                    : bring_up_console(&c, config);
    vmd_client_free(c);
    return status;
}

static const struct option_row options[] = {
    {"name", "NAME", "name of the VM; made up where none is given", NULL},
    {"arch", "ARCH", "instruction set of the guest (riscv64)", "riscv64 aarch64 x86_64"},
    {"accel", "ACCEL", "what runs it: auto, kvm or xlate (auto)", "auto kvm xlate"},
    {"cpus", "N", "virtual CPUs (1); a translated guest has at most 8", NULL},
    {"cpu", "MODEL[,+FEATURE][,-FEATURE]...",
     "processor of an x86_64 guest: host or baseline, with features more or less", "host baseline"},
    {"irqchip", "WHERE",
     "where an x86_64 guest's I/O APIC is: kernel, or split: in the VM's process", "kernel split"},
    {"max-cpus", "N", "virtual CPUs that 'vmctl resize' can give it later", NULL},
    {"memory", "SIZE[,max=SIZE]",
     "guest memory, as 512M or 2G (512M), and what 'vmctl resize' can give it later", NULL},
    {"kernel", "FILE", "kernel to boot: a Linux Image or an ELF file", "@file"},
    {"initrd", "FILE", "initial ramdisk", "@file"},
    {"append", "STRING", "kernel command line", NULL},
    {"firmware", "FILE", "firmware in place of the built-in one", "@file"},
    {"firmware-vars", "FILE",
     "the firmware's variables, which it changes; without a file they are lost at the end",
     "@file"},
    {"disk", "FILE[,format=raw|qcow2][,readonly][,serial=S][,onerror=enospc|report|pause]",
     "a disk; may be given several times", "@file"},
    {"net", "user[,hostfwd=tcp:HOSTPORT:PORT]|tap=NAME|none",
     "a network interface (user); may be given several times", "user none"},
    {"host-device", "ADDRESS",
     "a PCI function of the host, such as 0000:01:00.0, whole (VFIO); may be given several times", NULL},
    {"gpu", "soft|cuda|hip[,device=GPU][,memory=SIZE]",
     "GPU compute for the guest's programs, with so much memory (512M): on the host's processors, or on a GPU of the host (vmctl gpu list)",
     "soft cuda hip"},
    {"gdb", "[ADDRESS:]PORT[,wait]",
     "let a debugger connect to this port (of 127.0.0.1); wait: start when it says so", NULL},
    {"console", NULL, "connect this terminal to the console (the default)", NULL},
    {"detach", NULL, "start it and return; prints the name", NULL},
    {"ephemeral", NULL, "delete the VM when its run ends", NULL},
    {"least-hit", "PERCENT", "tell by an event when less of the translator's lookups hit", NULL},
    {"least-link", "PERCENT", "tell by an event when less of its direct edges are linked", NULL},
    {"no-warm", NULL, "neither use nor add to what earlier runs remember of hot code", NULL},
    {"hotplug-ports", "N", "PCI Express slots kept ready for devices that come later, 0 to 16 (4)",
     NULL},
    {"hotplug-nics", "N",
     "network ports without a link kept ready, for guests that take no cards (0)", NULL},
    {"hotplug-host", NULL,
     "the right to take PCI functions of the host later; --host-device has it too", NULL},
    {"no-hotplug-scsi", NULL, "no virtio-scsi adapter for disks that come later", NULL},
    {"no-reboot", NULL, "end the run where the guest asks for a reset", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_run = {
    .name = "run",
    .synopsis = "",
    .doc = "make a VM and start it",
    .more = "On a terminal the console is raw and ^] leaves it: a VM that is ephemeral is then "
            "killed, any other goes on. In a pipe the console is a serial line: guest output goes to "
            "standard output, standard input to the guest, and the exit status says how the run "
            "ended.",
    .options = options,
    .run = run,
};
