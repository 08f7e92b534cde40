/*
 * Devices that are attached and detached, and sizes that change: of the run, of the definition, or
 * of both. What concerns the run is a job of the daemon's, whose end is the answer.
 */
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/vm_devices.h"
#include "proto/libvirt/xml/xml.h"

enum { LIVE = 1 << 0, CONFIG = 1 << 1, KIB = 1024 };

/* --- configurations --- */

struct vm_config *bridge_live_config(const struct vm *vm)
{
    return vm_active(vm) ? vm_devices_config(vm_devices_of(vm)) : vm_config_copy(vm_config_of(vm));
}

static void append(struct vm_config *config, const struct device_spec *spec)
{
    if (spec->disk) {
        config->disks = g_renew(struct vm_disk_config *, config->disks, config->n_disks + 1);
        config->disks[config->n_disks++] = vm_disk_config_copy(spec->disk);
    } else {
        config->nics = g_renew(struct vm_nic_config *, config->nics, config->n_nics + 1);
        config->nics[config->n_nics++] = vm_nic_config_copy(spec->nic);
    }
}

/* Takes the device ID, which may be NULL, out of CONFIG's, whose others stay in their order. */
static void take_out(struct vm_config *config, const char *id)
{
    size_t disks = 0, nics = 0;

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
    config->n_disks = disks;
    config->n_nics = nics;
}

/* --- a change: of the run, then of the definition --- */

struct change {
    struct client *c; /* valid while a call does not fail with GONE */
    struct libvirt_request *request;
    char *id;               /* the VM's */
    struct vm_config *next; /* NULL: the definition stays */
    struct device_spec *added;
    char *removed; /* a device */
};

static void change_free(struct change *ch)
{
    vm_config_free(ch->next);
    device_spec_free(ch->added);
    g_free(ch->removed);
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
    change_free(ch);
}

static void change_definition(struct change *ch)
{
    struct vm *vm = registry_find(ch->c->bridge->daemon->registry, ch->id);
    g_autoptr(GError) err = NULL;

    if (ch->next && vm) {
        bridge_configure(ch->c, vm, ch->next, change_over, ch);
        return;
    }
    if (!vm)
        vmd_fail(&err, VMD_ERROR_NOT_FOUND, "the domain is gone");
    change_over(ch, NULL, -1, err);
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
    change_definition(ch);
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

/* LIVE and CONFIG as FLAGS mean them for VM; 0, and REQUEST was answered with an error. */
static uint32_t affected(struct libvirt_request *request, const struct vm *vm, uint32_t flags)
{
    bool active = vm_active(vm);

    if (!bridge_flags(request, flags, LIVE | CONFIG))
        return 0;
    if (!flags)
        return active ? LIVE : CONFIG;
    if (!(flags & LIVE) || active)
        return flags;
    libvirt_fail(request, LIBVIRT_ERR_OPERATION_INVALID, LIBVIRT_FROM_DOMAIN,
                 "the domain is not running");
    return 0;
}

static struct change *change_new(struct client *c, struct libvirt_request *request,
                                 const struct vm *vm, uint32_t affects)
{
    struct change *ch = g_new0(struct change, 1);

    ch->c = c;
    ch->request = request;
    ch->id = g_strdup(vm_id(vm));
    if (affects & CONFIG)
        ch->next = vm_config_copy(vm_next_config_of(vm));
    return ch;
}

/* --- devices --- */

static void attach(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                   const char *xml, uint32_t flags)
{
    struct vm *vm = bridge_need(c, request, dom);
    uint32_t affects = vm ? affected(request, vm, flags) : 0;
    g_autoptr(GError) err = NULL;
    struct device_spec *spec = affects ? device_xml_read(xml, &err) : NULL;

    if (!affects)
        return;
    if (err) {
        bridge_fail_xml(request, err);
        device_spec_free(spec);
        return;
    }
    struct change *ch = change_new(c, request, vm, affects & LIVE ? 0 : affects);
    ch->added = spec;
    if (ch->next)
        append(ch->next, spec);
    if (affects & LIVE) {
        struct device_add_params p = {.vm = ch->id,
                                      .device = spec,
                                      .timeout_s = LIMIT_DEVICE_TIMEOUT_S,
                                      .persistent = affects & CONFIG};
        rpc_local_call(c->rpc, API_DEVICE_ADD, &p, job_begun, ch);
    } else {
        change_definition(ch);
    }
}

/* Finds the device in what is affected; false with ERR. */
static bool find_removed(struct change *ch, const struct vm *vm, const char *xml, uint32_t affects,
                         GError **err)
{
    if (affects & LIVE) {
        g_autoptr(vm_config) live = bridge_live_config(vm);
        ch->removed = device_xml_find(xml, live, err);
    } else {
        ch->removed = device_xml_find(xml, ch->next, err);
        take_out(ch->next, ch->removed);
    }
    return ch->removed != NULL;
}

static void detach(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                   const char *xml, uint32_t flags)
{
    struct vm *vm = bridge_need(c, request, dom);
    uint32_t affects = vm ? affected(request, vm, flags) : 0;
    g_autoptr(GError) err = NULL;

    if (!affects)
        return;
    struct change *ch = change_new(c, request, vm, affects & LIVE ? 0 : affects);
    if (!find_removed(ch, vm, xml, affects, &err)) {
        if (g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND))
            libvirt_fail(request, LIBVIRT_ERR_DEVICE_MISSING, LIBVIRT_FROM_DOMAIN, "%s",
                         err->message);
        else
            bridge_fail_xml(request, err);
        change_free(ch);
    } else if (affects & LIVE) {
        struct device_remove_params p = {.vm = ch->id,
                                         .device = ch->removed,
                                         .timeout_s = LIMIT_DEVICE_TIMEOUT_S,
                                         .persistent = affects & CONFIG};
        rpc_local_call(c->rpc, API_DEVICE_REMOVE, &p, job_begun, ch);
    } else {
        change_definition(ch);
    }
}

static void attach_device(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml *a = args;

    attach(c, request, &a->dom, a->xml, LIVE);
}

static void attach_device_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml_flags *a = args;

    attach(c, request, &a->dom, a->xml, a->flags);
}

static void detach_device(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml *a = args;

    detach(c, request, &a->dom, a->xml, LIVE);
}

static void detach_device_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_device_xml_flags *a = args;

    detach(c, request, &a->dom, a->xml, a->flags);
}

/* --- sizes --- */

static void resize(struct client *c, struct libvirt_request *request, const struct libvirt_dom *dom,
                   uint32_t flags, const uint32_t *cpus, const uint64_t *memory)
{
    struct vm *vm = bridge_need(c, request, dom);
    uint32_t affects = vm ? affected(request, vm, flags) : 0;

    if (!affects)
        return;
    struct change *ch = change_new(c, request, vm, affects);
    if (ch->next && cpus)
        ch->next->cpus = *cpus;
    if (ch->next && memory)
        ch->next->memory = *memory;
    if (!(affects & LIVE)) {
        change_definition(ch);
        return;
    }
    struct vm_resize_params p = {.vm = ch->id,
                                 .has_cpus = cpus,
                                 .cpus = cpus ? *cpus : 0,
                                 .has_memory = memory,
                                 .memory = memory ? *memory : 0,
                                 .timeout_s = LIMIT_DEVICE_TIMEOUT_S};
    rpc_local_call(c->rpc, API_VM_RESIZE, &p, job_begun, ch);
}

static void set_vcpus(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_vcpus *a = args;

    resize(c, request, &a->dom, a->flags, &a->count, NULL);
}

static void set_memory(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_memory *a = args;
    uint64_t bytes = a->kib > UINT64_MAX / KIB ? UINT64_MAX : a->kib * KIB;

    resize(c, request, &a->dom, a->flags, NULL, &bytes);
}

const struct bridge_row bridge_device_rows[] = {
    {LIBVIRT_DOMAIN_ATTACH_DEVICE, attach_device},
    {LIBVIRT_DOMAIN_ATTACH_DEVICE_FLAGS, attach_device_flags},
    {LIBVIRT_DOMAIN_DETACH_DEVICE, detach_device},
    {LIBVIRT_DOMAIN_DETACH_DEVICE_FLAGS, detach_device_flags},
    {LIBVIRT_DOMAIN_SET_VCPUS_FLAGS, set_vcpus},
    {LIBVIRT_DOMAIN_SET_MEMORY_FLAGS, set_memory},
};
const size_t bridge_device_count = G_N_ELEMENTS(bridge_device_rows);
