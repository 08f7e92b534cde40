/* Volumes: files of pools. Looking is for all, whatever makes, changes or reads one is for those who may do
 * all. */
#include "daemon/image.h"
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/pools.h"
#include "proto/libvirt/xml/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CREATE_METADATA = 1 << 0, RESIZE_SHRINK = 1 << 2, RESIZE_DELTA = 1 << 1, KIND_FILE = 0 };

/* --- which one --- */

static struct pools *pools_of(const struct client *c)
{
    return c->bridge->pools;
}

static void reply_vol(struct libvirt_request *request, const struct pool *pool, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    struct libvirt_one_vol out = {{pool->name, name, (char *)path}};

    libvirt_reply(request, &out);
}

static void no_volume(struct libvirt_request *request, const char *name)
{
    libvirt_fail(request, LIBVIRT_ERR_NO_VOLUME, LIBVIRT_FROM_STORAGE, "there is no volume %s",
                 name);
}

/* The path of the volume NAME of POOL; NULL, and REQUEST was answered with an error. The caller frees. */
static char *need_in(struct libvirt_request *request, const struct pool *pool, const char *name)
{
    g_autofree char *path = pool_path(pool, name, NULL);

    if (path && pool_has(pool, path))
        return g_steal_pointer(&path);
    no_volume(request, name);
    return NULL;
}

char *bridge_need_volume(struct client *c, struct libvirt_request *request,
                         const struct libvirt_vol *vol)
{
    const struct pool *pool = pools_find(pools_of(c), vol->pool);

    if (pool)
        return need_in(request, pool, vol->name);
    libvirt_fail(request, LIBVIRT_ERR_NO_POOL, LIBVIRT_FROM_STORAGE, "there is no pool %s",
                 vol->pool);
    return NULL;
}

/* Whether a VM that runs has the image PATH; then REQUEST was answered with an error. */
bool bridge_volume_busy(struct client *c, struct libvirt_request *request, const char *path)
{
    g_autoptr(GPtrArray) all = registry_list(c->bridge->daemon->registry);
    struct stat st, other;

    if (stat(path, &st) < 0)
        return false;
    for (guint i = 0; i < all->len; i++) {
        const struct vm *vm = all->pdata[i];
        g_autoptr(vm_config) config = vm_active(vm) ? bridge_live_config(vm) : NULL;
        for (size_t d = 0; config && d < config->n_disks; d++) {
            if (stat(config->disks[d]->path, &other) < 0 || other.st_dev != st.st_dev ||
                other.st_ino != st.st_ino)
                continue;
            libvirt_fail(request, LIBVIRT_ERR_BUSY, LIBVIRT_FROM_STORAGE,
                         "the domain %s has %s as its disk", vm_name(vm), path);
            return true;
        }
    }
    return false;
}

static void lookup_by_name(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_named_text *a = args;
    struct pool *pool = bridge_need_pool(c, request, &a->named);
    g_autofree char *path = pool ? need_in(request, pool, a->name) : NULL;

    if (path)
        reply_vol(request, pool, path);
}

/* A volume's key is its path. */
static void lookup_by_path(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_text *a = args;
    const struct pool *pool = pools_of_path(pools_of(c), a->value);

    if (pool)
        reply_vol(request, pool, a->value);
    else
        no_volume(request, a->value);
}

/* --- lists --- */

/* The names in the pool; NULL, and REQUEST was answered with an error. */
static GPtrArray *names_of(struct client *c, struct libvirt_request *request,
                           const struct libvirt_named *named, struct pool **pool)
{
    g_autoptr(GError) err = NULL;

    *pool = bridge_need_pool(c, request, named);
    GPtrArray *names = *pool ? pool_volumes(*pool, &err) : NULL;
    if (*pool && !names)
        bridge_fail_storage(request, err);
    return names;
}

static void count(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_named *a = args;
    struct pool *pool;
    g_autoptr(GPtrArray) names = names_of(c, request, &a->named, &pool);

    if (names)
        libvirt_reply(request, &(struct libvirt_number){.value = (int32_t)names->len});
}

static void list_names(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_named_most *a = args;
    struct pool *pool;
    g_autoptr(GPtrArray) names = names_of(c, request, &a->named, &pool);

    if (!names)
        return;
    struct libvirt_names out = {.names_count = MIN(names->len, (uint32_t)MAX(a->most, 0)),
                                .names = (char **)names->pdata};
    libvirt_reply(request, &out);
}

static void list_all(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_list_volumes *a = args;
    struct pool *pool;
    g_autoptr(GPtrArray) names =
        bridge_flags(request, a->flags, 0) ? names_of(c, request, &a->named, &pool) : NULL;

    if (!names)
        return;
    g_autofree struct libvirt_vol *rows = g_new0(struct libvirt_vol, names->len + 1);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    struct libvirt_vols out = {.vols = rows, .count = names->len};
    out.vols_count = a->need_results ? names->len : 0;
    for (guint i = 0; i < out.vols_count; i++) {
        g_ptr_array_add(paths, g_build_filename(pool->path, names->pdata[i], NULL));
        rows[i] = (struct libvirt_vol){pool->name, names->pdata[i], paths->pdata[i]};
    }
    libvirt_reply(request, &out);
}

/* --- what one is --- */

static bool measure(const char *path, struct volume_state *out, GError **err)
{
    struct image_sizes sizes;
    struct stat st;

    out->qcow2 = image_is_qcow2(path);
    if (!image_measure(path, out->qcow2, &sizes, err))
        return false;
    if (stat(path, &st) < 0)
        return vmd_set_errno(err, errno, "%s", path);
    out->capacity = sizes.capacity;
    out->allocation = sizes.allocation;
    out->physical = sizes.physical;
    out->mode = st.st_mode;
    out->uid = st.st_uid;
    out->gid = st.st_gid;
    return true;
}

static void get_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_vol *a = args;
    g_autofree char *path = bridge_need_volume(c, request, &a->vol);
    struct volume_state s;
    g_autoptr(GError) err = NULL;

    if (path && measure(path, &s, &err)) {
        struct libvirt_vol_info out = {KIND_FILE, s.capacity, s.allocation};
        libvirt_reply(request, &out);
    } else if (path) {
        bridge_fail_storage(request, err);
    }
}

static void get_info_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_vol *a = args;
    struct libvirt_one_vol plain = {a->vol};

    if (bridge_flags(request, a->flags, 0))
        get_info(c, request, &plain);
}

static void get_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_vol *a = args;
    g_autofree char *path =
        bridge_flags(request, a->flags, 0) ? bridge_need_volume(c, request, &a->vol) : NULL;
    struct volume_state s;
    g_autoptr(GError) err = NULL;

    if (path && measure(path, &s, &err)) {
        g_autofree char *xml = volume_xml_write(a->vol.name, path, &s);
        libvirt_reply(request, &(struct libvirt_text){.value = xml});
    } else if (path) {
        bridge_fail_storage(request, err);
    }
}

static void get_path(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_vol *a = args;
    g_autofree char *path = bridge_need_volume(c, request, &a->vol);

    if (path)
        libvirt_reply(request, &(struct libvirt_text){.value = path});
}

/* --- new ones, other sizes, none --- */

static bool create(const struct pool *pool, const char *text, char **path, GError **err)
{
    struct volume_xml xml;

    if (!pool->active)
        return vmd_fail(err, VMD_ERROR_STATE, "the pool %s is not active", pool->name);
    if (!volume_xml_read(text, &xml, err))
        return false;
    *path = pool_path(pool, xml.name, err);
    bool full = xml.has_allocation && xml.allocation >= xml.capacity;
    bool ok = *path && image_create(*path, xml.qcow2, xml.capacity, xml.backing, xml.backing_qcow2,
                                    full, err);
    volume_xml_clear(&xml);
    return ok;
}

static void create_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_create_vol *a = args;
    struct pool *pool =
        bridge_need_admin(c, request) ? bridge_need_pool(c, request, &a->named) : NULL;
    g_autofree char *path = NULL;
    g_autoptr(GError) err = NULL;

    if (!pool || !bridge_flags(request, a->flags, CREATE_METADATA))
        return;
    if (create(pool, a->xml, &path, &err))
        reply_vol(request, pool, path);
    else
        bridge_fail_storage(request, err);
}

static void delete(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_vol *a = args;
    g_autofree char *path =
        bridge_need_admin(c, request) ? bridge_need_volume(c, request, &a->vol) : NULL;
    g_autoptr(GError) err = NULL;

    if (!path || !bridge_flags(request, a->flags, 0) || bridge_volume_busy(c, request, path))
        return;
    if (unlink(path) == 0) {
        libvirt_reply(request, NULL);
        return;
    }
    vmd_set_errno(&err, errno, "%s", path);
    bridge_fail_storage(request, err);
}

static void resize(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_resize_vol *a = args;
    g_autofree char *path =
        bridge_need_admin(c, request) ? bridge_need_volume(c, request, &a->vol) : NULL;
    struct image_sizes now = {0};
    g_autoptr(GError) err = NULL;

    if (!path || !bridge_flags(request, a->flags, RESIZE_SHRINK | RESIZE_DELTA) ||
        bridge_volume_busy(c, request, path))
        return;
    bool qcow2 = image_is_qcow2(path), shrink = a->flags & RESIZE_SHRINK;
    if (image_measure(path, qcow2, &now, &err)) {
        uint64_t to = a->capacity, by = a->capacity;
        if (a->flags & RESIZE_DELTA)
            to = shrink ? now.capacity - MIN(by, now.capacity)
                        : now.capacity + MIN(by, UINT64_MAX - now.capacity);
        if (to < now.capacity && !shrink)
            vmd_fail(&err, VMD_ERROR_INVALID, "the volume is larger, and shrinks only when asked");
        else if (image_resize(path, qcow2, to, &err)) {
            libvirt_reply(request, NULL);
            return;
        }
    }
    bridge_fail_storage(request, err);
}

/* --- copies, by a thread --- */

struct copy {
    uv_work_t work;
    struct libvirt_request *request;
    char *pool, *from, *to;
    GError *err;
};

static void copy_work(uv_work_t *work)
{
    struct copy *copy = work->data;

    image_copy(copy->from, copy->to, &copy->err);
}

static void copied(uv_work_t *work, int status)
{
    struct copy *copy = work->data;
    g_autofree char *name = g_path_get_basename(copy->to);
    struct libvirt_one_vol out = {{copy->pool, name, copy->to}};

    if (copy->err)
        bridge_fail_storage(copy->request, copy->err);
    else
        libvirt_reply(copy->request, &out);
    g_clear_error(&copy->err);
    g_free(copy->pool);
    g_free(copy->from);
    g_free(copy->to);
    g_free(copy);
}

static void clone_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_clone_vol *a = args;
    struct pool *pool =
        bridge_need_admin(c, request) ? bridge_need_pool(c, request, &a->named) : NULL;
    g_autofree char *from = pool ? bridge_need_volume(c, request, &a->vol) : NULL, *to = NULL;
    struct volume_xml xml = {0};
    g_autoptr(GError) err = NULL;

    if (!from || !bridge_flags(request, a->flags, CREATE_METADATA) ||
        bridge_volume_busy(c, request, from))
        return;
    if (volume_xml_read(a->xml, &xml, &err)) {
        to = pool_path(pool, xml.name, &err);
        if (to && xml.qcow2 != image_is_qcow2(from))
            vmd_fail(&err, VMD_ERROR_UNSUPPORTED, "a copy has the format of what is copied");
        volume_xml_clear(&xml);
    }
    if (err) {
        bridge_fail_storage(request, err);
        return;
    }
    struct copy *copy = g_new0(struct copy, 1);
    copy->request = request;
    copy->pool = g_strdup(pool->name);
    copy->from = g_steal_pointer(&from);
    copy->to = g_steal_pointer(&to);
    copy->work.data = copy;
    uv_queue_work(c->bridge->daemon->loop, &copy->work, copy_work, copied);
}

const struct bridge_row bridge_volume_rows[] = {
    {LIBVIRT_STORAGE_POOL_NUM_OF_VOLUMES, count},
    {LIBVIRT_STORAGE_POOL_LIST_VOLUMES, list_names},
    {LIBVIRT_STORAGE_POOL_LIST_ALL_VOLUMES, list_all},
    {LIBVIRT_STORAGE_VOL_LOOKUP_BY_NAME, lookup_by_name},
    {LIBVIRT_STORAGE_VOL_LOOKUP_BY_KEY, lookup_by_path},
    {LIBVIRT_STORAGE_VOL_LOOKUP_BY_PATH, lookup_by_path},
    {LIBVIRT_STORAGE_VOL_GET_INFO, get_info},
    {LIBVIRT_STORAGE_VOL_GET_INFO_FLAGS, get_info_flags},
    {LIBVIRT_STORAGE_VOL_GET_XML_DESC, get_xml},
    {LIBVIRT_STORAGE_VOL_GET_PATH, get_path},
    {LIBVIRT_STORAGE_VOL_CREATE_XML, create_xml},
    {LIBVIRT_STORAGE_VOL_CREATE_XML_FROM, clone_xml},
    {LIBVIRT_STORAGE_VOL_DELETE, delete},
    {LIBVIRT_STORAGE_VOL_RESIZE, resize},
};
const size_t bridge_volume_count = G_N_ELEMENTS(bridge_volume_rows);
