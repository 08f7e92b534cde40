/* See hostdevs.h. */
#include "daemon/hostdevs.h"

#include "base/log.h"
#include "daemon/registry.h"
#include "daemon/store.h"

#include <sys/stat.h>

struct hostdevs {
    struct daemon *daemon;
    struct host_devices *host;
    char *path; /* of the claims on disk */
    hostdevs_gone_fn gone;
    hostdevs_renamed_fn renamed;
    void *gone_arg;
};

/* --- the API's words -------------------------------------------------------------------------- */

static struct host_bar_info *describe_bar(const struct host_bar *bar, unsigned index)
{
    struct host_bar_info *i = host_bar_info_new();

    i->index = index;
    i->start = bar->start;
    i->size = bar->size;
    i->io = bar->io;
    i->prefetchable = bar->prefetchable;
    i->wide = bar->wide;
    return i;
}

static struct host_pci_info *describe_pci(const struct host_device *d)
{
    struct host_pci_info *i = host_pci_info_new();

    i->vendor = d->pci.vendor;
    i->device = d->pci.device;
    i->subvendor = d->pci.subvendor;
    i->subdevice = d->pci.subdevice;
    i->revision = d->pci.revision;
    i->vendor_name = g_strdup(d->vendor_name);
    i->device_name = g_strdup(d->device_name);
    i->class_name = g_strdup(d->class_name);
    i->has_iommu_group = d->iommu_group >= 0;
    i->iommu_group = (uint32_t)MAX(d->iommu_group, 0);
    i->enabled = d->pci.enabled;
    i->vfs = d->pci.vfs;
    i->vfs_total = d->pci.vfs_total;
    i->physfn = g_strdup(d->physfn);
    i->resets = g_strsplit(d->resets ? d->resets : "", " ", 16);
    i->n_resets = g_strv_length(i->resets);
    i->bars = g_new0(struct host_bar_info *, HOST_BARS);
    for (unsigned n = 0; n < HOST_BARS; n++) {
        if (d->pci.bars[n].size)
            i->bars[i->n_bars++] = describe_bar(&d->pci.bars[n], n);
    }
    return i;
}

static struct host_block_info *describe_block(const struct host_device *d)
{
    struct host_block_info *i = host_block_info_new();

    i->size = d->block.size;
    i->readonly = d->block.readonly;
    i->removable = d->block.removable;
    i->serial = g_strdup(d->serial);
    return i;
}

static struct host_net_info *describe_net(const struct host_device *d)
{
    struct host_net_info *i = host_net_info_new();

    i->address = g_strdup(d->address);
    return i;
}

static void describe_holder(const struct hostdevs *devs, const struct host_device *d,
                            struct host_device_info *i)
{
    const struct host_claim *c = host_devices_holder(devs->host, d);
    const struct vm *vm = c ? registry_find(devs->daemon->registry, c->vm) : NULL;

    if (!c)
        return;
    i->holder = g_strdup(vm ? vm_name(vm) : NULL);
    i->holder_id = g_strdup(c->vm);
    if (strcmp(c->device, d->id) != 0)
        i->held_with = g_strdup(c->device);
}

static struct host_device_info *describe(const struct hostdevs *devs, const struct host_device *d)
{
    static const enum host_device_kind kinds[] = {[HOST_PCI] = HOST_DEVICE_KIND_PCI,
                                                  [HOST_BLOCK] = HOST_DEVICE_KIND_BLOCK,
                                                  [HOST_NET] = HOST_DEVICE_KIND_NET};
    const struct host_device *parent = host_devices_parent(devs->host, d);
    struct host_device_info *i = host_device_info_new();

    i->id = g_strdup(d->id);
    i->kind = kinds[d->kind];
    i->class = g_strdup(d->class);
    i->text = g_strdup(d->text);
    i->driver = g_strdup(d->driver);
    i->parent = g_strdup(parent ? parent->id : NULL);
    i->has_numa_node = d->numa_node >= 0;
    i->numa_node = (uint32_t)MAX(d->numa_node, 0);
    i->path = g_strdup(d->path);
    describe_holder(devs, d, i);
    if (d->kind == HOST_PCI)
        i->pci = describe_pci(d);
    else if (d->kind == HOST_BLOCK)
        i->block = describe_block(d);
    else
        i->net = describe_net(d);
    return i;
}

static struct host_claim_info *describe_claim(const struct hostdevs *devs, const struct host_claim *c)
{
    const struct vm *vm = registry_find(devs->daemon->registry, c->vm);
    struct host_claim_info *i = host_claim_info_new();

    i->device = g_strdup(c->device);
    i->identity = g_strdup(c->identity);
    i->vm = g_strdup(vm ? vm_name(vm) : NULL);
    i->vm_id = g_strdup(c->vm);
    i->run = c->run;
    i->present = c->present;
    return i;
}

GPtrArray *hostdevs_list(const struct hostdevs *devs)
{
    return host_devices_list(devs->host);
}

/* --- answers ---------------------------------------------------------------------------------- */

static bool wanted(const struct host_device_info *i, const struct host_devices_params *p)
{
    return (!p->has_kind || i->kind == p->kind) && (!p->class || g_str_has_prefix(i->class, p->class)) &&
           (!p->id || strcmp(i->id, p->id) == 0);
}

void hostdevs_answer(struct hostdevs *devs, struct rpc_call *call,
                     const struct host_devices_params *params)
{
    g_autoptr(GPtrArray) all = host_devices_list(devs->host);
    g_autoptr(GPtrArray) claims = host_devices_claims(devs->host);
    g_autoptr(host_devices_result) r = host_devices_result_new();
    const char *why;

    r->devices = g_new0(struct host_device_info *, all->len);
    for (guint n = 0; n < all->len; n++) {
        struct host_device_info *i = describe(devs, g_ptr_array_index(all, n));
        if (wanted(i, params))
            r->devices[r->n_devices++] = i;
        else
            host_device_info_free(i);
    }
    r->claims = g_new0(struct host_claim_info *, claims->len);
    for (guint n = 0; n < claims->len; n++)
        r->claims[r->n_claims++] = describe_claim(devs, g_ptr_array_index(claims, n));
    r->watch = host_devices_watch(devs->host, &why) ? HOST_WATCH_UEVENTS : HOST_WATCH_RESCAN;
    r->watch_text = g_strdup(why);
    r->left_out = host_devices_left_out(devs->host);
    host_devices_reply(call, r);
}

/* --- events ----------------------------------------------------------------------------------- */

static void emit(const struct hostdevs *devs, enum host_device_change change,
                 const struct host_device *d, const char *was)
{
    g_autoptr(host_device_info) info = describe(devs, d);
    struct host_device_event event = {.change = change, .device = info, .was = (char *)was};
    struct event_source source = {.vm = info->holder, .vm_id = info->holder ? info->holder_id : NULL};

    events_emit(devs->daemon->events, API_EVENT_HOST_DEVICE, &source, 0, &event);
}

static void appeared(void *arg, const struct host_device *d)
{
    emit(arg, HOST_DEVICE_CHANGE_APPEARED, d, NULL);
}

static void changed(void *arg, const struct host_device *d, const char *was)
{
    const struct hostdevs *devs = arg;

    emit(devs, HOST_DEVICE_CHANGE_CHANGED, d, was);
    if (was && devs->renamed)
        devs->renamed(devs->gone_arg, d, was);
}

static void gone(void *arg, const struct host_device *d, const char *holder)
{
    const struct hostdevs *devs = arg;

    emit(devs, HOST_DEVICE_CHANGE_GONE, d, NULL);
    if (devs->gone)
        devs->gone(devs->gone_arg, d);
}

static void watch_lost(void *arg, const char *why)
{
    log_warning("the host's devices are looked at every %d seconds from now on: %s",
                LIMIT_HOST_RESCAN_S, why);
}

void hostdevs_on_gone(struct hostdevs *devs, hostdevs_gone_fn gone_fn, hostdevs_renamed_fn renamed,
                      void *arg)
{
    devs->gone = gone_fn;
    devs->renamed = renamed;
    devs->gone_arg = arg;
}

/* --- claims on disk --------------------------------------------------------------------------- */

static bool save(void *arg, GError **err)
{
    const struct hostdevs *devs = arg;
    g_autoptr(GPtrArray) claims = host_devices_claims(devs->host);
    g_autoptr(json_object) json = json_object_new_object();
    g_autoptr(GError) why = NULL;
    struct json_object *rows = json_object_new_array();

    for (guint n = 0; n < claims->len; n++) {
        g_autoptr(host_claim_info) i = describe_claim(devs, g_ptr_array_index(claims, n));
        json_object_array_add(rows, host_claim_info_encode(i));
    }
    json_object_object_add(json, "claims", rows);
    if (store_write(devs->path, json, true, &why))
        return true;
    if (!err)
        log_error("the claims on the host's devices: %s", why->message);
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

/* Takes up one claim; false where it cannot be. */
static bool take_up(struct hostdevs *devs, struct json_object *row)
{
    g_autoptr(host_claim_info) i = NULL;

    if (!host_claim_info_decode(row, &i, NULL))
        return false;
    const struct vm *vm = registry_find(devs->daemon->registry, i->vm_id);
    if (!vm || strcmp(vm_id(vm), i->vm_id) != 0 || (i->run && !vm_active(vm)))
        return false;
    if (!host_devices_restore(devs->host, i->device, i->identity, i->vm_id, i->run))
        return false;
    g_autoptr(GPtrArray) claims = host_devices_claims(devs->host);
    const struct host_claim *c = g_ptr_array_index(claims, claims->len - 1);
    if (!c->present)
        log_warning("VM %s holds %s, which the host does not have now", vm_name(vm), i->device);
    return true;
}

static void load(struct hostdevs *devs)
{
    g_autoptr(json_object) json = NULL;
    g_autoptr(GError) err = NULL;
    struct json_object *rows = NULL;
    bool dropped = false;

    if (!store_read(devs->path, &json, &err)) {
        log_error("%s; it is now %s.bad, and the claims on the host's devices are forgotten", err->message,
                  devs->path);
        store_set_aside(devs->path, NULL);
        return;
    }
    if (!json_object_is_type(json, json_type_object) ||
        !json_object_object_get_ex(json, "claims", &rows) ||
        !json_object_is_type(rows, json_type_array))
        return;
    for (size_t n = 0; n < json_object_array_length(rows); n++)
        dropped |= !take_up(devs, json_object_array_get_idx(rows, n));
    if (dropped)
        save(devs, NULL);
}

/* --- VMs -------------------------------------------------------------------------------------- */

static char *name_of(void *arg, const char *id)
{
    const struct hostdevs *devs = arg;
    const struct vm *vm = registry_find(devs->daemon->registry, id);

    return g_strdup(vm ? vm_name(vm) : id);
}

bool hostdevs_claim(struct hostdevs *devs, const char *id, const struct vm *vm, bool run, GError **err)
{
    return host_devices_claim(devs->host, id, vm_id(vm), run, name_of, err);
}

/* Has VM hold ID for its run, where the host has that at all: whoever opens it then learns why not. */
static bool claim_if_there(struct hostdevs *devs, const char *id, const struct vm *vm, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (hostdevs_claim(devs, id, vm, true, &why) ||
        g_error_matches(why, VMD_ERROR, VMD_ERROR_NOT_FOUND))
        return true;
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

bool hostdevs_claim_disk(struct hostdevs *devs, const struct vm_disk_config *disk, const struct vm *vm,
                         char **id, GError **err)
{
    struct stat st;

    if (stat(disk->path, &st) < 0 || !S_ISBLK(st.st_mode))
        return true;
    g_autofree char *found = host_devices_block_id(devs->host, st.st_rdev);
    /* VMs may share what none of them writes. */
    if (found && !disk->readonly && !claim_if_there(devs, found, vm, err)) {
        g_prefix_error(err, "disk %s: ", disk->id ? disk->id : disk->path);
        return false;
    }
    *id = g_steal_pointer(&found);
    return true;
}

bool hostdevs_claim_nic(struct hostdevs *devs, const struct vm_nic_config *nic, const struct vm *vm,
                        char **id, GError **err)
{
    if (nic->kind != VM_NIC_KIND_TAP)
        return true;
    g_autofree char *found = g_strconcat(host_kind_name(HOST_NET), ":", nic->tap, NULL);
    if (!claim_if_there(devs, found, vm, err)) {
        g_prefix_error(err, "interface %s: ", nic->id ? nic->id : nic->tap);
        return false;
    }
    *id = g_steal_pointer(&found);
    return true;
}

bool hostdevs_claim_host(struct hostdevs *devs, const struct vm_host_config *host,
                         const struct vm *vm, char **id, GError **err)
{
    g_autofree char *found = g_strconcat(host_kind_name(HOST_PCI), ":", host->device, NULL);

    if (!hostdevs_claim(devs, found, vm, true, err)) {
        g_prefix_error(err, "host device %s: ", host->id ? host->id : host->device);
        return false;
    }
    *id = g_steal_pointer(&found);
    return true;
}

bool hostdevs_incarnation(const struct hostdevs *devs, const char *id, uint64_t *incarnation)
{
    const struct host_device *d = host_devices_find(devs->host, id);

    if (d)
        *incarnation = d->incarnation;
    return d != NULL;
}

void hostdevs_release(struct hostdevs *devs, const char *id, const struct vm *vm)
{
    host_devices_release(devs->host, id, vm_id(vm), true);
}

void hostdevs_end_run(struct hostdevs *devs, const struct vm *vm)
{
    host_devices_release(devs->host, NULL, vm_id(vm), true);
}

void hostdevs_forget(struct hostdevs *devs, const struct vm *vm)
{
    host_devices_release(devs->host, NULL, vm_id(vm), false);
}

/* --- coming and going ------------------------------------------------------------------------- */

struct hostdevs *hostdevs_open(struct daemon *daemon)
{
    static const struct host_listener listener = {appeared, changed, gone, save, watch_lost};
    struct hostdevs *devs = g_new0(struct hostdevs, 1);
    g_autoptr(GError) why = NULL;
    struct host_options options = {.uevents = host_uevents_open(&why)};

    devs->daemon = daemon;
    devs->path = g_build_filename(daemon->paths.store, "host-claims.json", NULL);
    if (why) {
        options.why = why->message;
        log_info("the host's devices are looked at every %d seconds: %s", LIMIT_HOST_RESCAN_S,
                 why->message);
    }
    devs->host = host_devices_new(daemon->loop, &options, &listener, devs);
    load(devs);
    return devs;
}

void hostdevs_free(struct hostdevs *devs)
{
    if (!devs)
        return;
    host_devices_free(devs->host);
    g_free(devs->path);
    g_free(devs);
}
