/* See keeping.h. */
#include "daemon/keeping.h"

#include "daemon/registry.h"

struct keeping {
    uint64_t job;
    struct device_spec *spec; /* to be added; NULL: DEVICE is to be removed */
    char *device;
};

static void keeping_free(gpointer p)
{
    struct keeping *k = p;

    device_spec_free(k->spec);
    g_free(k->device);
    g_free(k);
}

GPtrArray *keeping_new(void)
{
    return g_ptr_array_new_with_free_func(keeping_free);
}

/* --- a definition with other devices ---------------------------------------------------------- */

static bool has(const struct vm_config *c, const char *id)
{
    bool found = false;

    for (size_t i = 0; i < c->n_disks; i++)
        found |= strcmp(c->disks[i]->id, id) == 0;
    for (size_t i = 0; i < c->n_nics; i++)
        found |= strcmp(c->nics[i]->id, id) == 0;
    for (size_t i = 0; i < c->n_host_devices; i++)
        found |= strcmp(c->host_devices[i]->id, id) == 0;
    return found || (c->gpu && strcmp(id, VM_GPU_ID) == 0);
}

/* DEVICE, where that is a name that no device of C has, or the first such name; the caller's. */
static char *free_name(const struct vm_config *c, const char *device, const char *stem)
{
    g_autofree char *name = g_strdup(device);

    for (unsigned i = 0; !name || has(c, name); i++) {
        g_free(name);
        name = g_strdup_printf("%s%u", stem, i);
    }
    return g_steal_pointer(&name);
}

/* The definition of VM with SPEC, which is DEVICE in the run (NULL: not known yet). */
static struct vm_config *with(const struct vm *vm, const struct device_spec *spec,
                              const char *device, char **name)
{
    struct vm_config *c = vm_config_copy(vm_next_config_of(vm));

    *name = spec->gpu ? g_strdup(VM_GPU_ID) : free_name(c, device, spec->disk ? "disk" : spec->host ? "host" : "net");
    if (spec->gpu) {
        vm_gpu_config_free(c->gpu);
        c->gpu = vm_gpu_config_copy(spec->gpu);
    } else if (spec->disk) {
        struct vm_disk_config *disk = vm_disk_config_copy(spec->disk);
        g_free(disk->id);
        disk->id = g_strdup(*name);
        c->disks = g_renew(struct vm_disk_config *, c->disks, c->n_disks + 1);
        c->disks[c->n_disks++] = disk;
    } else if (spec->host) {
        struct vm_host_config *host = vm_host_config_copy(spec->host);
        g_free(host->id);
        host->id = g_strdup(*name);
        c->host_devices = g_renew(struct vm_host_config *, c->host_devices, c->n_host_devices + 1);
        c->host_devices[c->n_host_devices++] = host;
    } else {
        struct vm_nic_config *nic = vm_nic_config_copy(spec->nic);
        g_free(nic->id);
        nic->id = g_strdup(*name);
        c->nics = g_renew(struct vm_nic_config *, c->nics, c->n_nics + 1);
        c->nics[c->n_nics++] = nic;
    }
    return c;
}

/* Takes row AT of the N rows at ROWS out, in order, and returns it. */
static void *take_row(void *rows, size_t *n, size_t at)
{
    void **row = rows, *taken = row[at];

    memmove(row + at, row + at + 1, (--*n - at) * sizeof(*row));
    return taken;
}

/* The definition of VM without DEVICE. */
static struct vm_config *without(const struct vm *vm, const char *device)
{
    struct vm_config *c = vm_config_copy(vm_next_config_of(vm));

    for (size_t i = c->n_disks; i-- > 0;) {
        if (strcmp(c->disks[i]->id, device) == 0)
            vm_disk_config_free(take_row(c->disks, &c->n_disks, i));
    }
    for (size_t i = c->n_nics; i-- > 0;) {
        if (strcmp(c->nics[i]->id, device) == 0)
            vm_nic_config_free(take_row(c->nics, &c->n_nics, i));
    }
    for (size_t i = c->n_host_devices; i-- > 0;) {
        if (strcmp(c->host_devices[i]->id, device) == 0)
            vm_host_config_free(take_row(c->host_devices, &c->n_host_devices, i));
    }
    if (strcmp(device, VM_GPU_ID) == 0)
        g_clear_pointer(&c->gpu, vm_gpu_config_free);
    return c;
}

/* --- jobs ---------------------------------------------------------------------------------------
 */

static bool check_add(const struct vm *vm, const struct device_spec *spec, GError **err)
{
    if (!spec->disk && !spec->nic && !spec->host && !spec->gpu)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "params.persistent: a definition lists disks, interfaces, functions of the "
                        "host and a GPU alone");
    if (spec->gpu && has(vm_next_config_of(vm), VM_GPU_ID))
        return vmd_fail(err, VMD_ERROR_EXISTS, "the definition of VM %s has a GPU already",
                        vm_name(vm));
    if (spec->id && has(vm_next_config_of(vm), spec->id))
        return vmd_fail(err, VMD_ERROR_EXISTS, "the definition of VM %s has a device %s already",
                        vm_name(vm), spec->id);
    g_autofree char *name = NULL;
    g_autoptr(vm_config) c = with(vm, spec, spec->id, &name);
    return registry_check_config(c, err);
}

bool keeping_check(const struct vm *vm, const struct device_spec *spec, const char *device,
                   GError **err)
{
    if (vm_config_of(vm)->ephemeral)
        return vmd_fail(err, VMD_ERROR_STATE,
                        "VM %s is ephemeral: its definition goes with its run", vm_name(vm));
    if (spec)
        return check_add(vm, spec, err);
    return has(vm_next_config_of(vm), device) ||
           vmd_fail(err, VMD_ERROR_NOT_FOUND, "the definition of VM %s has no device %s",
                    vm_name(vm), device);
}

void keeping_begin(GPtrArray *keeping, uint64_t job, const struct device_spec *spec,
                   const char *mac, const char *device)
{
    struct keeping *k = g_new0(struct keeping, 1);

    k->job = job;
    k->spec = spec ? device_spec_copy(spec) : NULL;
    k->device = g_strdup(device);
    if (spec && spec->nic && !spec->nic->mac)
        k->spec->nic->mac = g_strdup(mac);
    g_ptr_array_add(keeping, k);
}

static struct keeping *take(GPtrArray *keeping, uint64_t job)
{
    for (guint i = 0; i < keeping->len; i++) {
        struct keeping *k = g_ptr_array_index(keeping, i);
        if (k->job == job)
            return g_ptr_array_steal_index(keeping, i);
    }
    return NULL;
}

void keeping_drop(GPtrArray *keeping, uint64_t job)
{
    struct keeping *k = take(keeping, job);

    if (k)
        keeping_free(k);
}

bool keeping_apply(GPtrArray *keeping, struct vm *vm, uint64_t job, const char *device, char **name,
                   GError **err)
{
    /* Before the definition is stored, with which goes what is kept: it is done once. */
    struct keeping *k = take(keeping, job);
    g_autofree char *called = NULL;
    bool ok = true;

    if (k) {
        struct vm_config *c = k->spec ? with(vm, k->spec, device, &called) : without(vm, device);
        ok = registry_configure(vm_daemon(vm)->registry, vm, c, err);
    }
    if (k && ok)
        *name = called ? g_steal_pointer(&called) : g_strdup(device);
    if (k)
        keeping_free(k);
    return ok;
}

void keeping_sweep(GPtrArray *keeping, GHashTable *jobs)
{
    for (guint i = keeping->len; i-- > 0;) {
        const struct keeping *k = g_ptr_array_index(keeping, i);
        if (!g_hash_table_contains(jobs, &k->job))
            g_ptr_array_remove_index(keeping, i);
    }
}

/* --- in vm.json ------------------------------------------------------------------------------- */

struct json_object *keeping_encode(const GPtrArray *keeping)
{
    struct json_object *rows = json_object_new_array();

    for (guint i = 0; i < keeping->len; i++) {
        const struct keeping *k = g_ptr_array_index(keeping, i);
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "job", json_object_new_uint64(k->job));
        if (k->spec)
            json_object_object_add(row, "spec", device_spec_encode(k->spec));
        if (k->device)
            json_object_object_add(row, "device", json_object_new_string(k->device));
        json_object_array_add(rows, row);
    }
    return rows;
}

void keeping_decode(GPtrArray *keeping, struct json_object *json)
{
    if (!json_object_is_type(json, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(json); i++) {
        struct json_object *row = json_object_array_get_idx(json, i), *spec = NULL;
        g_autoptr(device_spec) decoded = NULL;
        if (!json_object_is_type(row, json_type_object) ||
            (json_object_object_get_ex(row, "spec", &spec) &&
             !device_spec_decode(spec, &decoded, NULL)))
            continue;
        const char *device = json_object_get_string(json_object_object_get(row, "device"));
        if (!decoded && !device)
            continue;
        struct keeping *k = g_new0(struct keeping, 1);
        k->job = json_object_get_uint64(json_object_object_get(row, "job"));
        k->device = g_strdup(device);
        k->spec = g_steal_pointer(&decoded);
        g_ptr_array_add(keeping, k);
    }
}
