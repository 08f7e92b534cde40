/*
 * Devices that are attached and detached, and sizes that change: of the run, of the definition, or
 * of both. What concerns the run is a job of the daemon's, whose end is the answer.
 */
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/pins.h"
#include "daemon/vm_devices.h"
#include "proto/jsonrpc/json.h"
#include "proto/libvirt/xml/xml.h"

enum { KIB = 1024 };
#define PAGE_KIB ((uint64_t)MEMORY_GRAIN / KIB) /* guests have whole pages */
/* Of sizes, and of updates. */
enum { MAXIMUM = 1 << 2, FORCE = 1 << 2 };

/* --- configurations --- */

struct vm_config *bridge_live_config(const struct vm *vm)
{
    if (!vm_active(vm))
        return vm_config_copy(vm_config_of(vm));
    struct vm_config *config = vm_devices_config(vm_devices_of(vm));
    const struct vm_pins *pins = vm_pins_of(vm);
    for (uint32_t vcpu = 0; pins && vcpu < LIMIT_VCPUS; vcpu++)
        pins_set(&config->pins, &config->n_pins, vcpu, pins_of(pins->pins, pins->n_pins, vcpu));
    config->devices->memory_period_s = vm_memory_period_of(vm);
    domain_xml_order_disks(config);
    return config;
}

static void append(struct vm_config *config, const struct device_spec *spec)
{
    if (spec->disk) {
        config->disks = g_renew(struct vm_disk_config *, config->disks, config->n_disks + 1);
        config->disks[config->n_disks++] = vm_disk_config_copy(spec->disk);
    } else if (spec->nic) {
        config->nics = g_renew(struct vm_nic_config *, config->nics, config->n_nics + 1);
        config->nics[config->n_nics++] = vm_nic_config_copy(spec->nic);
    } else {
        config->host_devices =
            g_renew(struct vm_host_config *, config->host_devices, config->n_host_devices + 1);
        config->host_devices[config->n_host_devices++] = vm_host_config_copy(spec->host);
    }
}

/* Takes the device ID out of CONFIG's, whose others stay in their order. */
static void take_out(struct vm_config *config, const char *id)
{
    size_t disks = 0, nics = 0, hosts = 0;

    for (size_t i = 0; i < config->n_disks; i++) {
        if (g_strcmp0(config->disks[i]->id, id) == 0)
            vm_disk_config_free(config->disks[i]);
        else
            config->disks[disks++] = config->disks[i];
    }
    for (size_t i = 0; i < config->n_nics; i++) {
        if (g_strcmp0(config->nics[i]->id, id) == 0)
            vm_nic_config_free(config->nics[i]);
        else
            config->nics[nics++] = config->nics[i];
    }
    for (size_t i = 0; i < config->n_host_devices; i++) {
        if (g_strcmp0(config->host_devices[i]->id, id) == 0)
            vm_host_config_free(config->host_devices[i]);
        else
            config->host_devices[hosts++] = config->host_devices[i];
    }
    config->n_disks = disks;
    config->n_nics = nics;
    config->n_host_devices = hosts;
}

/* --- a change: of the run, then of the definition --- */

void bridge_change_free(struct change *ch)
{
    vm_config_free(ch->next);
    device_spec_free(ch->added);
    g_free(ch->removed);
    g_free(ch->wish.pin);
    g_free(ch->id);
    g_free(ch);
}

static void change_over(void *arg, const void *result, int fd, const GError *err)
{
    struct change *ch = arg;

    if (err)
        bridge_fail_xml(ch->request, err);
    else
        libvirt_reply(ch->request, NULL);
    bridge_change_free(ch);
}

void bridge_change_definition(struct change *ch)
{
    struct vm *vm = registry_find(ch->c->bridge->daemon->registry, ch->id);
    g_autoptr(GError) err = NULL;

    if (ch->next && vm && ch->apply) {
        vm_config_free(ch->next);
        ch->next = vm_config_copy(vm_next_config_of(vm));
    }
    if (!vm)
        vmd_fail(&err, VMD_ERROR_NOT_FOUND, "the domain is gone");
    else if (ch->next && (!ch->apply || ch->apply(ch->next, &ch->wish, &err))) {
        bridge_configure(ch->c, vm, ch->next, change_over, ch);
        return;
    }
    change_over(ch, NULL, -1, err);
}

void bridge_change_done(void *arg, const void *result, int fd, const GError *err)
{
    if (err)
        change_over(arg, NULL, -1, err);
    else
        bridge_change_definition(arg);
}

static void job_over(void *arg, const void *result, int fd, const GError *err)
{
    struct change *ch = arg;
    const struct job_info *job = result;
    g_autoptr(GError) why = err ? g_error_copy(err) : NULL;

    if (job && job->state != JOB_STATE_DONE)
        vmd_fail(&why, job->error ? vmd_error_named(job->error->kind) : VMD_ERROR_STATE, "%s",
                 job->error ? job->error->message : job->text);
    if (why) {
        change_over(ch, NULL, -1, why);
        return;
    }
    bridge_change_definition(ch);
}

static void job_begun(void *arg, const void *result, int fd, const GError *err)
{
    struct change *ch = arg;
    const struct job_ref *ref = result;

    if (err) {
        change_over(ch, NULL, -1, err);
        return;
    }
    struct job_wait_params p = {.job = ref->job};
    rpc_local_call(ch->c->rpc, API_JOB_WAIT, &p, job_over, ch);
}

uint32_t bridge_affected(struct libvirt_request *request, const struct vm *vm, uint32_t flags)
{
    bool active = vm_active(vm);

    if (!bridge_flags(request, flags, BRIDGE_LIVE | BRIDGE_CONFIG))
        return 0;
    if (!flags)
        return active ? BRIDGE_LIVE : BRIDGE_CONFIG;
    if (!(flags & BRIDGE_LIVE) || active)
        return flags;
    libvirt_fail(request, LIBVIRT_ERR_OPERATION_INVALID, LIBVIRT_FROM_DOMAIN,
                 "the domain is not running");
    return 0;
}

struct change *bridge_change_new(struct client *c, struct libvirt_request *request,
                                 const struct vm *vm, uint32_t affects)
{
    struct change *ch = g_new0(struct change, 1);

    ch->c = c;
    ch->request = request;
    ch->id = g_strdup(vm_id(vm));
    if (affects & BRIDGE_CONFIG)
        ch->next = vm_config_copy(vm_next_config_of(vm));
    return ch;
}

/* --- devices --- */

static void attach(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                   const char *xml, uint32_t flags)
{
    struct vm *vm = bridge_need(c, request, dom);
    uint32_t affects = vm ? bridge_affected(request, vm, flags) : 0;
    g_autoptr(GError) err = NULL;
    struct device_spec *spec = affects ? device_xml_read(xml, bridge_xml_options(c), &err) : NULL;

    if (!affects)
        return;
    if (err) {
        bridge_fail_xml(request, err);
        device_spec_free(spec);
        return;
    }
    struct change *ch = bridge_change_new(c, request, vm, affects & BRIDGE_LIVE ? 0 : affects);
    ch->added = spec;
    if (ch->next)
        append(ch->next, spec);
    if (affects & BRIDGE_LIVE) {
        struct device_add_params p = {.vm = ch->id,
                                      .device = spec,
                                      .timeout_s = LIMIT_DEVICE_TIMEOUT_S,
                                      .persistent = affects & BRIDGE_CONFIG};
        rpc_local_call(c->rpc, API_DEVICE_ADD, &p, job_begun, ch);
    } else {
        bridge_change_definition(ch);
    }
}

static void fail_device(struct libvirt_request *request, const GError *err)
{
    if (g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND))
        libvirt_fail(request, LIBVIRT_ERR_DEVICE_MISSING, LIBVIRT_FROM_DOMAIN, "%s", err->message);
    else
        bridge_fail_xml(request, err);
}

/* Detaches the device that FIND finds by TEXT. */
static void detach(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                   char *(*find)(const char *text, const struct vm_config *config, GError **err),
                   const char *text, uint32_t flags)
{
    struct vm *vm = bridge_need(c, request, dom);
    uint32_t affects = vm ? bridge_affected(request, vm, flags) : 0;
    g_autoptr(GError) err = NULL;

    if (!affects)
        return;
    struct change *ch = bridge_change_new(c, request, vm, affects & BRIDGE_LIVE ? 0 : affects);
    g_autoptr(vm_config) live = bridge_live_config(vm);
    ch->removed = find(text, ch->next ? ch->next : live, &err);
    if (!ch->removed) {
        fail_device(request, err);
        bridge_change_free(ch);
    } else if (affects & BRIDGE_LIVE) {
        struct device_remove_params p = {.vm = ch->id,
                                         .device = ch->removed,
                                         .timeout_s = LIMIT_DEVICE_TIMEOUT_S,
                                         .persistent = affects & BRIDGE_CONFIG};
        rpc_local_call(c->rpc, API_DEVICE_REMOVE, &p, job_begun, ch);
    } else {
        take_out(ch->next, ch->removed);
        bridge_change_definition(ch);
    }
}

/* The device whose alias, its id, is ALIAS. */
static char *find_alias(const char *alias, const struct vm_config *config, GError **err)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        if (g_strcmp0(config->disks[i]->id, alias) == 0)
            return g_strdup(alias);
    }
    for (size_t i = 0; i < config->n_nics; i++) {
        if (g_strcmp0(config->nics[i]->id, alias) == 0)
            return g_strdup(alias);
    }
    for (size_t i = 0; i < config->n_host_devices; i++) {
        if (g_strcmp0(config->host_devices[i]->id, alias) == 0)
            return g_strdup(alias);
    }
    vmd_fail(err, VMD_ERROR_NOT_FOUND, "the domain has no device %s that could go", alias);
    return NULL;
}

static void detach_alias(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_of_device_flags *a = args;

    detach(c, request, &a->dom, find_alias, a->device, a->flags);
}

static void attach_device(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml *a = args;

    attach(c, request, &a->dom, a->xml, BRIDGE_LIVE);
}

static void attach_device_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml_flags *a = args;

    attach(c, request, &a->dom, a->xml, a->flags);
}

static void detach_device(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml *a = args;

    detach(c, request, &a->dom, device_xml_find, a->xml, BRIDGE_LIVE);
}

static void detach_device_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml_flags *a = args;

    detach(c, request, &a->dom, device_xml_find, a->xml, a->flags);
}

/* --- another form of a device --- */

/* Puts SPEC in the place of the device ID of CONFIG, which keeps its id; whether that changes anything. */
static bool replace(struct vm_config *config, const char *id, const struct device_spec *spec)
{
    g_autoptr(json_object) before = vm_config_encode(config);

    for (size_t i = 0; i < config->n_disks && spec->disk; i++) {
        if (g_strcmp0(config->disks[i]->id, id) != 0)
            continue;
        vm_disk_config_free(config->disks[i]);
        config->disks[i] = vm_disk_config_copy(spec->disk);
        g_free(config->disks[i]->id);
        config->disks[i]->id = g_strdup(id);
    }
    for (size_t i = 0; i < config->n_nics && spec->nic; i++) {
        struct vm_nic_config *was = config->nics[i], *now;
        if (g_strcmp0(was->id, id) != 0)
            continue;
        now = config->nics[i] = vm_nic_config_copy(spec->nic);
        g_free(now->id);
        now->id = g_strdup(id);
        if (!now->mac)
            now->mac = g_strdup(was->mac);
        if (now->kind == VM_NIC_KIND_USER) {
            struct vm_hostfwd_config **none = now->hostfwd; /* XML tells of no forwarding */
            now->hostfwd = was->hostfwd;
            now->n_hostfwd = was->n_hostfwd;
            was->hostfwd = none;
            was->n_hostfwd = 0;
        }
        vm_nic_config_free(was);
    }
    for (size_t i = 0; i < config->n_host_devices && spec->host; i++) {
        if (g_strcmp0(config->host_devices[i]->id, id) != 0)
            continue;
        g_free(config->host_devices[i]->device);
        config->host_devices[i]->device = g_strdup(spec->host->device);
    }
    g_autoptr(json_object) after = vm_config_encode(config);
    return !json_object_equal(before, after);
}

/* While a guest runs its devices come and go, but do not change. */
static bool update_in(struct change *ch, const struct vm *vm, const char *xml, uint32_t affects,
                      GError **err)
{
    g_autoptr(device_spec) spec = device_xml_read(xml, bridge_xml_options(ch->c), err);
    g_autoptr(vm_config) live = bridge_live_config(vm);

    if (!spec)
        return false;
    if (affects & BRIDGE_LIVE) {
        g_autofree char *id = device_xml_find(xml, live, err);
        if (!id)
            return false;
        if (replace(live, id, spec))
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                            "the device %s of a guest that runs is changed by detaching it and "
                            "attaching another",
                            id);
    }
    if (affects & BRIDGE_CONFIG) {
        g_autofree char *id = device_xml_find(xml, ch->next, err);
        if (!id)
            return false;
        replace(ch->next, id, spec);
    }
    return true;
}

static void update_device(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml_flags *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    uint32_t affects = vm ? bridge_affected(request, vm, a->flags & ~(uint32_t)FORCE) : 0;
    g_autoptr(GError) err = NULL;

    if (!affects)
        return;
    struct change *ch = bridge_change_new(c, request, vm, affects);
    if (update_in(ch, vm, a->xml, affects, &err)) {
        bridge_change_definition(ch);
        return;
    }
    fail_device(request, err);
    bridge_change_free(ch);
}

/* --- sizes --- */

/* Guests of this kind can be given more while they run. */
static bool can_grow(const struct vm_config *config)
{
    return config->arch != VM_ARCH_X86_64;
}

static bool size_cpus(struct vm_config *c, const struct bridge_wish *s, GError **err)
{
    uint32_t most = s->most ? s->cpus : c->has_max_cpus ? c->max_cpus : c->cpus;

    if (!s->most && s->cpus > most)
        return vmd_fail(err, VMD_ERROR_INVALID, "%u processors are more than the %u at most",
                        s->cpus, most);
    c->cpus = s->most ? MIN(c->cpus, most) : s->cpus;
    c->has_max_cpus = c->cpus < most && can_grow(c);
    c->max_cpus = c->has_max_cpus ? most : 0;
    for (uint32_t i = c->has_max_cpus ? most : c->cpus; i < LIMIT_VCPUS; i++)
        pins_set(&c->pins, &c->n_pins, i, NULL);
    return true;
}

static bool size_memory(struct vm_config *c, const struct bridge_wish *s, GError **err)
{
    uint64_t most = s->most ? s->memory : c->has_max_memory ? c->max_memory : c->memory;

    if (!s->most && s->memory > most)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "%" G_GUINT64_FORMAT " KiB are more than the %" G_GUINT64_FORMAT
                        " KiB at most",
                        s->memory / KIB, most / KIB);
    c->memory = s->most ? MIN(c->memory, most) : s->memory;
    c->has_max_memory = c->memory < most && can_grow(c);
    c->max_memory = c->has_max_memory ? most : 0;
    return true;
}

static bool size_config(struct vm_config *c, const struct bridge_wish *s, GError **err)
{
    return (!s->cpus || size_cpus(c, s, err)) && (!s->memory || size_memory(c, s, err));
}

static void resize(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                   uint32_t flags, const struct bridge_wish *size)
{
    struct vm *vm = bridge_need(c, request, dom);
    uint32_t affects = vm ? bridge_affected(request, vm, flags) : 0;
    g_autoptr(GError) err = NULL;

    if (!affects)
        return;
    struct change *ch = bridge_change_new(c, request, vm, affects);
    if (size->most && (affects & BRIDGE_LIVE))
        vmd_fail(&err, VMD_ERROR_UNSUPPORTED,
                 "what a guest can have at most is settled before it starts");
    ch->wish = *size;
    ch->apply = size_config;
    if (err || (ch->next && !size_config(ch->next, size, &err))) {
        bridge_fail(request, err);
        bridge_change_free(ch);
        return;
    }
    if (!(affects & BRIDGE_LIVE)) {
        bridge_change_definition(ch);
        return;
    }
    struct vm_resize_params p = {.vm = ch->id,
                                 .has_cpus = size->cpus,
                                 .cpus = size->cpus,
                                 .has_memory = size->memory,
                                 .memory = size->memory,
                                 .timeout_s = LIMIT_DEVICE_TIMEOUT_S};
    rpc_local_call(c->rpc, API_VM_RESIZE, &p, job_begun, ch);
}

static void set_vcpus(struct client *c, struct libvirt_request *request,
                      const struct libvirt_dom *dom, uint32_t count, uint32_t flags)
{
    struct bridge_wish size = {.cpus = count, .most = flags & MAXIMUM};

    if (count > 0)
        resize(c, request, dom, flags & ~(uint32_t)MAXIMUM, &size);
    else
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "a domain has a processor at least");
}

static void set_vcpus_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_vcpus *a = args;

    set_vcpus(c, request, &a->dom, a->count, a->flags);
}

static void set_vcpus_plain(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_plain_vcpus *a = args;

    set_vcpus(c, request, &a->dom, a->count, BRIDGE_LIVE);
}

static void set_memory(struct client *c, struct libvirt_request *request,
                       const struct libvirt_dom *dom, uint64_t kib, uint32_t flags)
{
    uint64_t most = (uint64_t)LIMIT_MEMORY_MAX_MIB * KIB, whole = ALIGN_UP(MIN(kib, most), PAGE_KIB);
    struct bridge_wish size = {.memory = whole * KIB, .most = flags & MAXIMUM};

    if (kib > 0 && kib <= most)
        resize(c, request, dom, flags & ~(uint32_t)MAXIMUM, &size);
    else
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "a domain has %d to %d MiB of memory", LIMIT_MEMORY_MIN_MIB,
                     LIMIT_MEMORY_MAX_MIB);
}

static void set_memory_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_memory *a = args;

    set_memory(c, request, &a->dom, a->kib, a->flags);
}

static void set_memory_plain(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_plain_memory *a = args;
    bool most = libvirt_request_call(request)->number == LIBVIRT_DOMAIN_SET_MAX_MEMORY;

    set_memory(c, request, &a->dom, a->kib, most ? MAXIMUM : BRIDGE_LIVE);
}

const struct bridge_row bridge_device_rows[] = {
    {LIBVIRT_DOMAIN_ATTACH_DEVICE, attach_device},
    {LIBVIRT_DOMAIN_ATTACH_DEVICE_FLAGS, attach_device_flags},
    {LIBVIRT_DOMAIN_DETACH_DEVICE, detach_device},
    {LIBVIRT_DOMAIN_DETACH_DEVICE_FLAGS, detach_device_flags},
    {LIBVIRT_DOMAIN_DETACH_DEVICE_ALIAS, detach_alias},
    {LIBVIRT_DOMAIN_UPDATE_DEVICE_FLAGS, update_device},
    {LIBVIRT_DOMAIN_SET_VCPUS, set_vcpus_plain},
    {LIBVIRT_DOMAIN_SET_VCPUS_FLAGS, set_vcpus_flags},
    {LIBVIRT_DOMAIN_SET_MEMORY, set_memory_plain},
    {LIBVIRT_DOMAIN_SET_MAX_MEMORY, set_memory_plain},
    {LIBVIRT_DOMAIN_SET_MEMORY_FLAGS, set_memory_flags},
};
const size_t bridge_device_count = G_N_ELEMENTS(bridge_device_rows);
