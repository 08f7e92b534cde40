/* See attached.h. */
#include "daemon/attached.h"

#include "daemon/vm.h"

#include "proto/jsonrpc/json.h"

struct addition {
    struct device_spec *spec;
    char *mac;    /* of an interface that is no port's; NULL */
    uint64_t job; /* that adds it; 0: it is there, under the id of SPEC */
};

struct attached {
    GPtrArray *came;              /* struct addition, in their order */
    GPtrArray *went;              /* ids of the configuration's */
    struct vm_gpu_config *moved;  /* the configuration's GPU, as it is since it was moved; NULL */
    struct vm_gpu_config *moving; /* the run's GPU, as the job MOVE is to make it; NULL */
    uint64_t move;
};

static void addition_free(gpointer p)
{
    struct addition *added = p;

    device_spec_free(added->spec);
    g_free(added->mac);
    g_free(added);
}

struct attached *attached_new(void)
{
    struct attached *a = g_new0(struct attached, 1);

    a->came = g_ptr_array_new_with_free_func(addition_free);
    a->went = g_ptr_array_new_with_free_func(g_free);
    return a;
}

void attached_free(struct attached *a)
{
    if (!a)
        return;
    attached_clear(a);
    g_ptr_array_free(a->came, TRUE);
    g_ptr_array_free(a->went, TRUE);
    g_free(a);
}

void attached_clear(struct attached *a)
{
    g_ptr_array_set_size(a->came, 0);
    g_ptr_array_set_size(a->went, 0);
    g_clear_pointer(&a->moved, vm_gpu_config_free);
    g_clear_pointer(&a->moving, vm_gpu_config_free);
}

/* --- what happens ----------------------------------------------------------------------------- */

static void begin(struct attached *a, struct device_spec *spec, const char *mac, uint64_t job)
{
    struct addition *added = g_new0(struct addition, 1);

    *added = (struct addition){spec, g_strdup(mac), job};
    g_ptr_array_add(a->came, added);
}

void attached_begin(struct attached *a, const struct device_spec *spec, const char *mac,
                    uint64_t job)
{
    begin(a, device_spec_copy(spec), mac, job);
}

void attached_over(struct attached *a, uint64_t job)
{
    for (guint i = a->came->len; i-- > 0;) {
        if (((struct addition *)a->came->pdata[i])->job == job)
            g_ptr_array_remove_index(a->came, i);
    }
}

void attached_keep(struct attached *a, GHashTable *jobs)
{
    for (guint i = a->came->len; i-- > 0;) {
        const struct addition *added = a->came->pdata[i];
        if (added->job && !g_hash_table_contains(jobs, &added->job))
            g_ptr_array_remove_index(a->came, i);
    }
    if (a->moving && !g_hash_table_contains(jobs, &a->move))
        g_clear_pointer(&a->moving, vm_gpu_config_free);
}

static void set_id(char **id, const char *to)
{
    if (g_strcmp0(*id, to) == 0)
        return;
    g_free(*id);
    *id = g_strdup(to);
}

static void name(struct device_spec *spec, const char *id)
{
    set_id(&spec->id, id);
    if (spec->disk)
        set_id(&spec->disk->id, id);
    if (spec->nic)
        set_id(&spec->nic->id, id);
    if (spec->host)
        set_id(&spec->host->id, id);
}

static void released(struct attached *a, const char *id)
{
    if (strcmp(id, VM_GPU_ID) == 0)
        g_clear_pointer(&a->moved, vm_gpu_config_free);
    for (guint i = 0; i < a->came->len; i++) {
        const struct addition *added = a->came->pdata[i];
        if (!added->job && g_strcmp0(added->spec->id, id) == 0) {
            g_ptr_array_remove_index(a->came, i);
            return;
        }
    }
    if (!g_ptr_array_find_with_equal_func(a->went, id, g_str_equal, NULL))
        g_ptr_array_add(a->went, g_strdup(id));
}

void attached_news(struct attached *a, const struct vmi_device_event *event)
{
    bool seen = event->state == DEVICE_STATE_VISIBLE || event->state == DEVICE_STATE_ACKNOWLEDGED;

    for (guint i = 0; i < a->came->len; i++) {
        struct addition *added = a->came->pdata[i];
        if (!added->job || !event->has_job || added->job != event->job)
            continue;
        if (!seen)
            return; /* nobody has met it yet */
        added->job = 0;
        name(added->spec, event->device);
        if (added->spec->nic && !added->spec->nic->mac && event->road != DEVICE_ROAD_LINK)
            added->spec->nic->mac = g_strdup(added->mac);
        return;
    }
    if (event->state == DEVICE_STATE_RELEASED)
        released(a, event->device);
}

/* The GPU that came and is there; NULL. */
static struct addition *added_gpu(const struct attached *a)
{
    for (guint i = 0; i < a->came->len; i++) {
        struct addition *added = a->came->pdata[i];
        if (added->spec->gpu && !added->job)
            return added;
    }
    return NULL;
}

void attached_move_gpu(struct attached *a, const struct vm_gpu_config *to, uint64_t job)
{
    vm_gpu_config_free(a->moving);
    a->moving = vm_gpu_config_copy(to);
    a->move = job;
}

bool attached_moved_gpu(struct attached *a, uint64_t job)
{
    struct addition *added = added_gpu(a);
    struct vm_gpu_config **is = added ? &added->spec->gpu : &a->moved;

    if (!a->moving || a->move != job)
        return false;
    vm_gpu_config_free(*is);
    *is = g_steal_pointer(&a->moving);
    return true;
}

bool attached_move_over(struct attached *a, uint64_t job)
{
    bool was = a->moving && a->move == job;

    if (was)
        g_clear_pointer(&a->moving, vm_gpu_config_free);
    return was;
}

bool attached_moves_gpu(const struct attached *a)
{
    return a->moving != NULL;
}

/* --- what a run has --------------------------------------------------------------------------- */

static bool configured_gpu_went(const struct attached *a)
{
    return g_ptr_array_find_with_equal_func(a->went, VM_GPU_ID, g_str_equal, NULL);
}

void attached_gpus(const struct attached *a, const struct vm_config *config,
                   void (*each)(void *opaque, const struct vm_gpu_config *gpu), void *opaque)
{
    if (config->gpu && !configured_gpu_went(a))
        each(opaque, a->moved ? a->moved : config->gpu);
    if (a->moving)
        each(opaque, a->moving);
    for (guint i = 0; i < a->came->len; i++) {
        const struct addition *added = a->came->pdata[i];
        if (added->spec->gpu)
            each(opaque, added->spec->gpu);
    }
}

const struct vm_gpu_config *attached_gpu(const struct attached *a, const struct vm_config *config)
{
    const struct addition *added = added_gpu(a);

    if (added)
        return added->spec->gpu;
    return configured_gpu_went(a) ? NULL : a->moved ? a->moved : config->gpu;
}

void attached_limit_gpu(struct attached *a, uint32_t share, uint32_t launches)
{
    const struct addition *added = added_gpu(a);
    struct vm_gpu_config *all[] = {added ? added->spec->gpu : a->moved, a->moving};

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (!all[i])
            continue;
        all[i]->share = share;
        all[i]->launches = launches;
    }
}

static void take_out(struct vm_config *c, const char *id)
{
    size_t disks = 0, nics = 0, hosts = 0;

    for (size_t i = 0; i < c->n_disks; i++) {
        if (g_strcmp0(c->disks[i]->id, id) == 0)
            vm_disk_config_free(c->disks[i]);
        else
            c->disks[disks++] = c->disks[i];
    }
    for (size_t i = 0; i < c->n_nics; i++) {
        if (g_strcmp0(c->nics[i]->id, id) == 0)
            vm_nic_config_free(c->nics[i]);
        else
            c->nics[nics++] = c->nics[i];
    }
    for (size_t i = 0; i < c->n_host_devices; i++) {
        if (g_strcmp0(c->host_devices[i]->id, id) == 0)
            vm_host_config_free(c->host_devices[i]);
        else
            c->host_devices[hosts++] = c->host_devices[i];
    }
    c->n_disks = disks;
    c->n_nics = nics;
    c->n_host_devices = hosts;
    if (strcmp(id, VM_GPU_ID) == 0)
        g_clear_pointer(&c->gpu, vm_gpu_config_free);
}

static void put_in(struct vm_config *c, const struct device_spec *spec)
{
    if (spec->disk) {
        c->disks = g_renew(struct vm_disk_config *, c->disks, c->n_disks + 1);
        c->disks[c->n_disks++] = vm_disk_config_copy(spec->disk);
    }
    if (spec->nic) {
        c->nics = g_renew(struct vm_nic_config *, c->nics, c->n_nics + 1);
        c->nics[c->n_nics++] = vm_nic_config_copy(spec->nic);
    }
    if (spec->host) {
        c->host_devices = g_renew(struct vm_host_config *, c->host_devices, c->n_host_devices + 1);
        c->host_devices[c->n_host_devices++] = vm_host_config_copy(spec->host);
    }
    if (spec->gpu) {
        vm_gpu_config_free(c->gpu);
        c->gpu = vm_gpu_config_copy(spec->gpu);
    }
    c->devices->rng |= spec->kind == HOT_KIND_RNG;
    c->devices->console |= spec->kind == HOT_KIND_CONSOLE;
}

struct vm_config *attached_apply(const struct attached *a, const struct vm_config *config)
{
    struct vm_config *out = vm_config_copy(config);

    if (a->moved) {
        vm_gpu_config_free(out->gpu);
        out->gpu = vm_gpu_config_copy(a->moved);
    }
    for (guint i = 0; i < a->went->len; i++)
        take_out(out, a->went->pdata[i]);
    for (guint i = 0; i < a->came->len; i++) {
        const struct addition *added = a->came->pdata[i];
        if (!added->job)
            put_in(out, added->spec);
    }
    return out;
}

/* --- in vm.json ------------------------------------------------------------------------------- */

struct json_object *attached_encode(const struct attached *a)
{
    struct json_object *json = json_object_new_object(), *came = json_object_new_array(),
                       *went = json_object_new_array();

    for (guint i = 0; i < a->came->len; i++) {
        const struct addition *added = a->came->pdata[i];
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "job", json_object_new_uint64(added->job));
        json_object_object_add(row, "device", device_spec_encode(added->spec));
        if (added->mac)
            json_object_object_add(row, "mac", json_object_new_string(added->mac));
        json_object_array_add(came, row);
    }
    for (guint i = 0; i < a->went->len; i++)
        json_object_array_add(went, json_object_new_string(a->went->pdata[i]));
    json_object_object_add(json, "came", came);
    json_object_object_add(json, "went", went);
    if (a->moved)
        json_object_object_add(json, "moved", vm_gpu_config_encode(a->moved));
    if (a->moving) {
        json_object_object_add(json, "moving", vm_gpu_config_encode(a->moving));
        json_object_object_add(json, "move", json_object_new_uint64(a->move));
    }
    return json;
}

static struct json_object *array_of(struct json_object *json, const char *member, size_t *n)
{
    struct json_object *rows = NULL;
    bool is = json_object_is_type(json, json_type_object) &&
              json_object_object_get_ex(json, member, &rows) &&
              json_object_is_type(rows, json_type_array);

    *n = is ? json_object_array_length(rows) : 0;
    return rows;
}

/* The GPU that is a MEMBER of JSON; NULL. */
static struct vm_gpu_config *gpu_of(struct json_object *json, const char *member)
{
    struct vm_gpu_config *gpu = NULL;
    struct json_object *value = NULL;

    if (json_object_is_type(json, json_type_object) &&
        json_object_object_get_ex(json, member, &value))
        vm_gpu_config_decode(value, &gpu, NULL);
    return gpu;
}

void attached_decode(struct attached *a, struct json_object *json)
{
    size_t n;
    struct json_object *rows = array_of(json, "came", &n);

    for (size_t i = 0; i < n; i++) {
        struct json_object *row = json_object_array_get_idx(rows, i), *device = NULL;
        struct device_spec *spec = NULL;
        if (json_object_is_type(row, json_type_object) &&
            json_object_object_get_ex(row, "device", &device) &&
            device_spec_decode(device, &spec, NULL))
            begin(a, spec, json_object_get_string(json_object_object_get(row, "mac")),
                  json_object_get_uint64(json_object_object_get(row, "job")));
    }
    rows = array_of(json, "went", &n);
    for (size_t i = 0; i < n; i++) {
        struct json_object *id = json_object_array_get_idx(rows, i);
        if (json_object_is_type(id, json_type_string))
            g_ptr_array_add(a->went, g_strdup(json_object_get_string(id)));
    }
    a->moved = gpu_of(json, "moved");
    a->moving = gpu_of(json, "moving");
    if (a->moving)
        a->move = json_object_get_uint64(json_object_object_get(json, "move"));
}
