/* What starts, stops and forgets domains: each is a method of the API, called for the client. */
#include "daemon/libvirt/bridge_priv.h"

enum {
    START_PAUSED = 1 << 0,
    START_BYPASS_CACHE = 1 << 2,
    START_FORCE_BOOT = 1 << 3,
    DESTROY_GRACEFUL = 1 << 0,
    BY_ACPI = 1 << 0, /* of shutdown and reboot: the one way that there is */
    UNDEFINE_ALL =
        0x1f, /* saves, snapshots, checkpoints, variable stores: none that would be in the way */
};

/* --- start --- */

struct start {
    struct bridge *bridge;
    struct libvirt_request *request;
    char *id;
};

/* The result of a start names the domain, with its new number. */
static void started(void *arg, const void *result, int fd, const GError *err)
{
    struct start *s = arg;
    struct vm *vm = err ? NULL : registry_find(s->bridge->daemon->registry, s->id);
    struct libvirt_one_dom out;

    if (err) {
        bridge_fail(s->request, err);
    } else if (!vm) {
        libvirt_fail(s->request, LIBVIRT_ERR_NO_DOMAIN, LIBVIRT_FROM_DOMAIN,
                     "the domain is gone already");
    } else if (libvirt_request_call(s->request)->result) {
        bridge_fill(vm, &out.dom);
        libvirt_reply(s->request, &out);
    } else {
        libvirt_reply(s->request, NULL);
    }
    g_free(s->id);
    g_free(s);
}

static void start(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                  uint32_t flags)
{
    struct vm *vm = bridge_need(c, request, dom);

    if (!vm || !bridge_flags(request, flags, START_PAUSED | START_BYPASS_CACHE | START_FORCE_BOOT))
        return;
    struct vm_start_params p = {.vm = (char *)vm_id(vm), .paused = flags & START_PAUSED};
    struct start *s = g_new0(struct start, 1);
    *s = (struct start){c->bridge, request, g_strdup(vm_id(vm))};
    rpc_local_call(c->rpc, API_VM_START, &p, started, s);
}

static void create(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;

    start(c, request, &a->dom, 0);
}

static void create_with_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;

    start(c, request, &a->dom, a->flags);
}

/* --- stop --- */

/* Who asks again while the guest is at it, is heard as well. */
static void shut_down(struct client *c, struct libvirt_request *request,
                      const struct libvirt_dom *dom, uint32_t flags)
{
    struct vm *vm = bridge_need(c, request, dom);

    if (!vm || !bridge_flags(request, flags, BY_ACPI))
        return;
    if (vm_state(vm) == VM_STATE_STOPPING) {
        libvirt_reply(request, NULL);
        return;
    }
    struct vm_stop_params p = {.vm = (char *)vm_id(vm), .timeout_s = LIMIT_STOP_TIMEOUT_S};
    bridge_call(c, request, API_VM_STOP, &p);
}

static void shutdown_plain(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;

    shut_down(c, request, &a->dom, 0);
}

static void shutdown_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;

    shut_down(c, request, &a->dom, a->flags);
}

/* The same run goes on. */
static void reboot(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, BY_ACPI))
        return;
    struct vm_reboot_params p = {.vm = (char *)vm_id(vm), .timeout_s = LIMIT_STOP_TIMEOUT_S};
    bridge_call(c, request, API_VM_REBOOT, &p);
}

/* --- what takes the VM alone --- */

static void act(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                enum api_method method)
{
    struct vm *vm = bridge_need(c, request, dom);

    if (!vm)
        return;
    /* vm.kill, vm.pause, vm.resume and vm.reset have the same parameters. */
    struct vm_kill_params p = {.vm = (char *)vm_id(vm)};
    bridge_call(c, request, method, &p);
}

static const struct {
    int32_t procedure;
    enum api_method method;
    uint32_t flags; /* that are taken, where the call has flags */
} plain[] = {
    {LIBVIRT_DOMAIN_DESTROY, API_VM_KILL, 0},
    {LIBVIRT_DOMAIN_DESTROY_FLAGS, API_VM_KILL, DESTROY_GRACEFUL},
    {LIBVIRT_DOMAIN_RESET, API_VM_RESET, 0},
    {LIBVIRT_DOMAIN_SUSPEND, API_VM_PAUSE, 0},
    {LIBVIRT_DOMAIN_RESUME, API_VM_RESUME, 0},
};

static void act_plain(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_call *call = libvirt_request_call(request);
    const struct libvirt_flagged_dom *a = args; /* or the domain alone, which it begins with */

    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (plain[i].procedure != call->number)
            continue;
        if (call->args != &libvirt_flagged_dom_layout ||
            bridge_flags(request, a->flags, plain[i].flags))
            act(c, request, &a->dom, plain[i].method);
        return;
    }
}

/* --- what changes a definition --- */

void bridge_configure(struct client *c, const struct vm *vm, struct vm_config *config,
                      rpc_client_reply reply, void *arg)
{
    struct vm_configure_params p = {.vm = (char *)vm_id(vm), .config = config};

    rpc_local_call(c->rpc, API_VM_CONFIGURE, &p, reply, arg);
}

static void set_autostart(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_autostart *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm)
        return;
    if (vm_config_of(vm)->ephemeral) {
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_INVALID, LIBVIRT_FROM_DOMAIN,
                     "a transient domain is gone with its run");
        return;
    }
    g_autoptr(vm_config) config = vm_config_copy(vm_next_config_of(vm));
    config->autostart = a->autostart != 0;
    bridge_configure(c, vm, config, bridge_done, request);
}

static void forget(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom)
{
    struct vm *vm = bridge_need(c, request, dom);

    if (!vm)
        return;
    if (vm_active(vm) && !vm_config_of(vm)->ephemeral) {
        /* It runs on, and is gone when that ends. */
        g_autoptr(vm_config) config = vm_config_copy(vm_next_config_of(vm));
        config->ephemeral = true;
        bridge_configure(c, vm, config, bridge_done, request);
        return;
    }
    struct vm_delete_params p = {.vm = (char *)vm_id(vm)};
    bridge_call(c, request, API_VM_DELETE, &p);
}

static void undefine(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;

    forget(c, request, &a->dom);
}

static void undefine_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;

    if (bridge_flags(request, a->flags, UNDEFINE_ALL))
        forget(c, request, &a->dom);
}

const struct bridge_row bridge_life_rows[] = {
    {LIBVIRT_DOMAIN_CREATE, create},
    {LIBVIRT_DOMAIN_CREATE_WITH_FLAGS, create_with_flags},
    {LIBVIRT_DOMAIN_SHUTDOWN, shutdown_plain},
    {LIBVIRT_DOMAIN_SHUTDOWN_FLAGS, shutdown_flags},
    {LIBVIRT_DOMAIN_REBOOT, reboot},
    {LIBVIRT_DOMAIN_DESTROY, act_plain},
    {LIBVIRT_DOMAIN_DESTROY_FLAGS, act_plain},
    {LIBVIRT_DOMAIN_RESET, act_plain},
    {LIBVIRT_DOMAIN_SUSPEND, act_plain},
    {LIBVIRT_DOMAIN_RESUME, act_plain},
    {LIBVIRT_DOMAIN_SET_AUTOSTART, set_autostart},
    {LIBVIRT_DOMAIN_UNDEFINE, undefine},
    {LIBVIRT_DOMAIN_UNDEFINE_FLAGS, undefine_flags},
};
const size_t bridge_life_count = G_N_ELEMENTS(bridge_life_rows);
