/* How a VM is a domain of libvirt's: its identity, its state, and what is asked about one. */
#include "daemon/libvirt/bridge_priv.h"

enum { UUID_BYTES = 16, KIB = 1024 };

/* States and reasons, as the protocol numbers them. */
enum { RUNNING = 1, PAUSED = 3, SHUTDOWN = 4, SHUTOFF = 5 };
enum { RUNNING_BOOTED = 1 };
enum { PAUSED_USER = 1, PAUSED_IO_ERROR = 5 };
enum { SHUTDOWN_USER = 1 };
enum { SHUTOFF_UNKNOWN, SHUTOFF_SHUTDOWN, SHUTOFF_DESTROYED, SHUTOFF_CRASHED, SHUTOFF_FAILED = 6 };

static const int32_t shutoff_reasons[] = {
    [VM_END_REASON_POWERED_OFF] = SHUTOFF_SHUTDOWN,
    [VM_END_REASON_RESET] = SHUTOFF_SHUTDOWN,
    [VM_END_REASON_GUEST_PANIC] = SHUTOFF_CRASHED,
    [VM_END_REASON_KILLED] = SHUTOFF_DESTROYED,
    [VM_END_REASON_VM_PROCESS_CRASHED] = SHUTOFF_CRASHED,
    [VM_END_REASON_START_FAILED] = SHUTOFF_FAILED,
};

/* --- identity --- */

static int hex(char c)
{
    return g_ascii_xdigit_value(c);
}

/* TEXT is a UUID's, which ids of VMs are. */
void bridge_uuid(const char *text, uint8_t out[UUID_BYTES])
{
    for (size_t i = 0; i < UUID_BYTES && *text; text++) {
        if (*text == '-')
            continue;
        out[i++] = (uint8_t)(hex(text[0]) << 4 | hex(text[1]));
        text++;
    }
}

char *bridge_uuid_text(const uint8_t uuid[UUID_BYTES])
{
    GString *s = g_string_new(NULL);

    for (size_t i = 0; i < UUID_BYTES; i++)
        g_string_append_printf(s, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                               uuid[i]);
    return g_string_free(s, FALSE);
}

int32_t bridge_number(const struct vm *vm)
{
    /* What is starting gets its process without an event. */
    return vm_active(vm) && vm_state(vm) != VM_STATE_STARTING && vm_pid(vm) > 0
               ? (int32_t)vm_pid(vm)
               : -1;
}

void bridge_fill(const struct vm *vm, struct libvirt_dom *out)
{
    out->name = (char *)vm_name(vm);
    bridge_uuid(vm_id(vm), out->uuid);
    out->id = bridge_number(vm);
}

struct vm *bridge_need_ref(struct client *c, struct libvirt_request *request, const char *ref)
{
    struct vm *vm = registry_find(c->bridge->daemon->registry, ref);

    if (!vm)
        libvirt_fail(request, LIBVIRT_ERR_NO_DOMAIN, LIBVIRT_FROM_DOMAIN, "there is no domain %s",
                     ref);
    return vm;
}

struct vm *bridge_need(struct client *c, struct libvirt_request *request,
                       const struct libvirt_dom *dom)
{
    g_autofree char *id = bridge_uuid_text(dom->uuid);

    return bridge_need_ref(c, request, id);
}

void bridge_reply_dom(struct libvirt_request *request, const struct vm *vm)
{
    struct libvirt_one_dom out;

    bridge_fill(vm, &out.dom);
    libvirt_reply(request, &out);
}

static void lookup_by_name(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_text *a = args;
    struct vm *vm = bridge_need_ref(c, request, a->value);

    if (vm)
        bridge_reply_dom(request, vm);
}

static void lookup_by_uuid(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_uuid *a = args;
    g_autofree char *id = bridge_uuid_text(a->value);
    struct vm *vm = bridge_need_ref(c, request, id);

    if (vm)
        bridge_reply_dom(request, vm);
}

static void lookup_by_id(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *a = args;
    g_autoptr(GPtrArray) all = registry_list(c->bridge->daemon->registry);

    for (guint i = 0; i < all->len && a->value > 0; i++) {
        const struct vm *vm = g_ptr_array_index(all, i);
        if (bridge_number(vm) == a->value) {
            bridge_reply_dom(request, vm);
            return;
        }
    }
    libvirt_fail(request, LIBVIRT_ERR_NO_DOMAIN, LIBVIRT_FROM_DOMAIN, "no domain has the id %d",
                 a->value);
}

/* --- state --- */

struct libvirt_state bridge_state(const struct vm *vm)
{
    const struct vm_pause_info *pause = vm_pause_of(vm);
    const struct vm_end *end = vm_end_of(vm);

    switch (vm_state(vm)) {
    case VM_STATE_STARTING:
        return (struct libvirt_state){SHUTOFF, SHUTOFF_UNKNOWN};
    case VM_STATE_RUNNING:
        return (struct libvirt_state){RUNNING, RUNNING_BOOTED};
    case VM_STATE_PAUSED:
        return (struct libvirt_state){PAUSED, pause && pause->disk ? PAUSED_IO_ERROR : PAUSED_USER};
    case VM_STATE_STOPPING:
        return (struct libvirt_state){SHUTDOWN, SHUTDOWN_USER};
    case VM_STATE_DEFINED:
    case VM_STATE_STOPPED:
    case VM_STATE_CRASHED:
        break;
    }
    return (struct libvirt_state){SHUTOFF, end ? shutoff_reasons[end->reason] : SHUTOFF_UNKNOWN};
}

static void get_state(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (vm) {
        struct libvirt_state state = bridge_state(vm);
        libvirt_reply(request, &state);
    }
}

static uint64_t most_memory(const struct vm *vm)
{
    const struct vm_config *config = vm_config_of(vm);

    return (config->has_max_memory ? config->max_memory : config->memory) / KIB;
}

/* What GET_INFO says but for the time of processors. */
static struct libvirt_info info_of(const struct vm *vm)
{
    const struct vm_config *config = vm_config_of(vm);
    const struct resize_result *size = vm_active(vm) ? vm_size_of(vm) : NULL;

    return (struct libvirt_info){.state = (uint32_t)bridge_state(vm).state,
                                 .max_memory = most_memory(vm),
                                 .memory = (size ? size->memory : config->memory) / KIB,
                                 .vcpus = size ? size->cpus : config->cpus};
}

struct info_call {
    struct libvirt_request *request;
    struct libvirt_info info;
};

/* A VM that is not there any more, or does not answer, has used what it has. */
static void info_counted(void *arg, const void *result, int fd, const GError *err)
{
    struct info_call *call = arg;
    const struct vm_stats *stats = result;

    if (stats) {
        call->info.cpu_time = stats->cpu_ns;
        call->info.memory =
            (stats->memory_bytes + stats->plugged_bytes - stats->balloon_bytes) / KIB;
    }
    libvirt_reply(call->request, &call->info);
    g_free(call);
}

static void get_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm)
        return;
    struct info_call *call = g_new0(struct info_call, 1);
    *call = (struct info_call){request, info_of(vm)};
    if (vm_reachable(vm)) {
        struct vm_stats_params p = {.vm = (char *)vm_id(vm)};
        rpc_local_call(c->rpc, API_VM_STATS, &p, info_counted, call);
    } else {
        info_counted(call, NULL, -1, NULL);
    }
}

/* --- plain numbers --- */

static int32_t is_active(const struct vm *vm)
{
    return bridge_number(vm) != -1;
}

static int32_t is_persistent(const struct vm *vm)
{
    return !vm_config_of(vm)->ephemeral;
}

static int32_t autostart(const struct vm *vm)
{
    return vm_config_of(vm)->autostart;
}

static int32_t max_vcpus(const struct vm *vm)
{
    const struct vm_config *config = vm_config_of(vm);

    return (int32_t)(config->has_max_cpus ? config->max_cpus : config->cpus);
}

static int32_t nothing(const struct vm *vm)
{
    return 0;
}

static const struct {
    int32_t procedure;
    int32_t (*of)(const struct vm *vm);
} numbers[] = {
    {LIBVIRT_DOMAIN_IS_ACTIVE, is_active},
    {LIBVIRT_DOMAIN_IS_PERSISTENT, is_persistent},
    {LIBVIRT_DOMAIN_GET_AUTOSTART, autostart},
    {LIBVIRT_DOMAIN_IS_UPDATED, nothing},
    {LIBVIRT_DOMAIN_HAS_MANAGED_SAVE_IMAGE, nothing},
    {LIBVIRT_DOMAIN_GET_MAX_VCPUS, max_vcpus},
};

/* All of these begin with the domain. */
static void number(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    struct libvirt_number out = {0};

    if (!vm)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (numbers[i].procedure == libvirt_request_call(request)->number)
            out.value = numbers[i].of(vm);
    }
    libvirt_reply(request, &out);
}

static void get_max_memory(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (vm) {
        struct libvirt_number64 out = {.value = most_memory(vm)};
        libvirt_reply(request, &out);
    }
}

static void get_os_type(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;

    if (bridge_need(c, request, &a->dom))
        libvirt_reply(request, &(struct libvirt_text){.value = (char *)"hvm"});
}

const struct bridge_row bridge_domain_rows[] = {
    {LIBVIRT_DOMAIN_LOOKUP_BY_NAME, lookup_by_name},
    {LIBVIRT_DOMAIN_LOOKUP_BY_UUID, lookup_by_uuid},
    {LIBVIRT_DOMAIN_LOOKUP_BY_ID, lookup_by_id},
    {LIBVIRT_DOMAIN_GET_STATE, get_state},
    {LIBVIRT_DOMAIN_GET_INFO, get_info},
    {LIBVIRT_DOMAIN_IS_ACTIVE, number},
    {LIBVIRT_DOMAIN_IS_PERSISTENT, number},
    {LIBVIRT_DOMAIN_IS_UPDATED, number},
    {LIBVIRT_DOMAIN_GET_AUTOSTART, number},
    {LIBVIRT_DOMAIN_HAS_MANAGED_SAVE_IMAGE, number},
    {LIBVIRT_DOMAIN_GET_MAX_VCPUS, number},
    {LIBVIRT_DOMAIN_GET_MAX_MEMORY, get_max_memory},
    {LIBVIRT_DOMAIN_GET_OS_TYPE, get_os_type},
};
const size_t bridge_domain_count = G_N_ELEMENTS(bridge_domain_rows);
