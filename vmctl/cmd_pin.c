/* vmctl pin: on which processors of the host virtual ones run. */
#include "vmctl/commands.h"

static const char *cpus_of(const struct vm_pin_config *const *pins, size_t n, unsigned vcpu)
{
    for (size_t i = 0; i < n; i++) {
        if (pins[i]->vcpu == vcpu)
            return pins[i]->cpus;
    }
    return "any";
}

static void print_pins(const struct vm_info *vm, bool json)
{
    static const char *const headers[] = {"VCPU", "PROCESSORS"};
    struct vm_pins configured = {.pins = vm->config->pins, .n_pins = vm->config->n_pins};
    const struct vm_pins *pins = vm->pins ? vm->pins : &configured;
    unsigned n = vm->size ? vm->size->cpus : vm->config->cpus;

    if (json) {
        struct json_object *text = vm_pins_encode(pins);
        print_json(text);
        json_object_put(text);
        return;
    }
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (unsigned i = 0; i < n; i++) {
        table_add(t, "%u", i);
        table_add(t, "%s",
                  cpus_of((const struct vm_pin_config *const *)pins->pins, pins->n_pins, i));
    }
    table_print(t, stdout);
}

static bool set(struct vmd_client *c, const struct arguments *args, uint32_t vcpu, GError **err)
{
    const char *cpus = arguments_at(args, 2);
    struct vm_pin_params p = {.vm = (char *)arguments_at(args, 0),
                              .vcpu = vcpu,
                              .cpus = strcmp(cpus, "any") == 0 ? NULL : (char *)cpus};

    return vmd_client_invoke(c, API_VM_PIN, &p, NULL, NULL, err);
}

static int run(const struct arguments *args)
{
    struct vm_get_params get = {.vm = (char *)arguments_at(args, 0)};
    const char *number = arguments_at(args, 1);
    g_autoptr(vm_info) vm = NULL;
    guint64 vcpu = 0;
    GError *err = NULL;
    int status;

    if (number && !g_ascii_string_to_unsigned(number, 10, 0, LIMIT_VCPUS, &vcpu, NULL))
        return usage_error(args->command, "%s is no number of a virtual CPU", number);
    if (number && !arguments_at(args, 2))
        return usage_error(args->command, "on which processors of the host, or any?");
    struct vmd_client *c = connect_daemon(&status);
    if (!c)
        return status;
    status = VMCTL_EXIT_OK;
    if (number ? !set(c, args, (uint32_t)vcpu, &err)
               : !vmd_client_invoke(c, API_VM_GET, &get, &vm, NULL, &err))
        status = fail(c, err);
    else if (vm)
        print_pins(vm, arguments_has(args, "json"));
    vmd_client_free(c);
    return status;
}

static const struct option_row options[] = {{NULL, NULL, NULL, NULL}};

const struct command command_pin = {
    .name = "pin",
    .synopsis = "VM [VCPU PROCESSORS]",
    .doc = "show or say on which processors of the host a VM's virtual CPUs run",
    .more = "PROCESSORS are a list as 0-3,8, or any. They hold for the run under way; the next one "
            "begins with the pins of the VM's configuration.",
    .options = options,
    .least = 1,
    .most = 3,
    .positional_kind = "@vm",
    .run = run,
};
