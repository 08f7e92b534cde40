/* Volumes: files of pools. Looking is for all, whatever makes, changes or reads one is for those who may do
 * all, and is done by threads. */
#include "daemon/image.h"
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/pools.h"
#include "proto/libvirt/xml/storage.h"

enum { CREATE_METADATA = 1 << 0, RESIZE_SHRINK = 1 << 2, RESIZE_DELTA = 1 << 1, KIND_FILE = 0 };

/* --- which one --- */

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
    const struct pool *pool = pools_named(c->bridge->pools, vol->pool);

    if (pool)
        return need_in(request, pool, vol->name);
    libvirt_fail(request, LIBVIRT_ERR_NO_POOL, LIBVIRT_FROM_STORAGE, "there is no pool %s",
                 vol->pool);
    return NULL;
}

char *bridge__volume_path(void *bridge, const char *pool, const char *volume, GError **err)
{
    struct bridge *b = bridge;
    const struct pool *p = pools_named(b->pools, pool);
    char *path = p && p->active ? pool_path(p, volume, err) : NULL;

    if (path && pool_has(p, path))
        return path;
    if (!p)
        vmd_fail(err, VMD_ERROR_INVALID, "there is no pool %s", pool);
    else if (!p->active)
        vmd_fail(err, VMD_ERROR_INVALID, "the pool %s is not active", pool);
    else if (path)
        vmd_fail(err, VMD_ERROR_INVALID, "there is no volume %s in the pool %s", volume, pool);
    g_free(path);
    return NULL;
}

const struct xml_options *bridge_xml_options(const struct client *c)
{
    return &c->bridge->xml;
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
    const struct pool *pool = pools_of_path(c->bridge->pools, a->value);

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

/* What PATH is, where REQUEST was not answered with an error. */
static bool look(struct libvirt_request *request, const char *path, struct image_state *out)
{
    g_autoptr(GError) err = NULL;

    if (path && !image_look(path, out, &err))
        bridge_fail_storage(request, err);
    return path && !err;
}

static void get_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_vol *a = args;
    g_autofree char *path = bridge_need_volume(c, request, &a->vol);
    struct image_state s;

    if (look(request, path, &s)) {
        struct libvirt_vol_info out = {KIND_FILE, s.sizes.capacity, s.sizes.allocation};
        libvirt_reply(request, &out);
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
    struct image_state s;

    if (look(request, path, &s)) {
        struct volume_state state = {.capacity = s.sizes.capacity,
                                     .allocation = s.sizes.allocation,
                                     .physical = s.sizes.physical,
                                     .qcow2 = s.qcow2,
                                     .mode = s.mode,
                                     .uid = s.uid,
                                     .gid = s.gid};
        g_autofree char *xml = volume_xml_write(a->vol.name, path, &state);
        libvirt_reply(request, &(struct libvirt_text){.value = xml});
    }
}

static void get_path(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_vol *a = args;
    g_autofree char *path = bridge_need_volume(c, request, &a->vol);

    if (path)
        libvirt_reply(request, &(struct libvirt_text){.value = path});
}

/* --- new ones, copies, other sizes, none: by a thread --- */

/* What a thread is to do with the volume PATH, or FROM and PATH. */
struct bridge_work {
    uv_work_t uv;
    struct bridge *bridge;
    struct libvirt_request *request;
    bool (*run)(struct bridge_work *w, GError **err);
    char *pool; /* NULL: the answer is nothing, else the volume PATH of it */
    char *path, *from;
    struct volume_xml xml;
    uint64_t capacity;
    unsigned flags;
    gint stop; /* atomic: the bridge closes */
    GError *err;
    GList link; /* of those under way */
};

static void work_run(uv_work_t *uv)
{
    struct bridge_work *w = uv->data;

    w->run(w, &w->err);
}

static void work_done(uv_work_t *uv, int status)
{
    struct bridge_work *w = uv->data;
    g_autofree char *name = g_path_get_basename(w->path);
    struct libvirt_one_vol out = {{w->pool, name, w->path}};

    if (w->err)
        bridge_fail_storage(w->request, w->err);
    else
        libvirt_reply(w->request, w->pool ? &out : NULL);
    g_queue_unlink(&w->bridge->works, &w->link);
    bridge__work_over(w->bridge);
    g_clear_error(&w->err);
    volume_xml_clear(&w->xml);
    g_free(w->pool);
    g_free(w->path);
    g_free(w->from);
    g_free(w);
}

/* For a thread that is to RUN it. PATH is taken. */
static struct bridge_work *work_new(struct client *c, struct libvirt_request *request,
                                    bool (*run)(struct bridge_work *w, GError **err), char *path)
{
    struct bridge_work *w = g_new0(struct bridge_work, 1);

    w->bridge = c->bridge;
    w->request = request;
    w->run = run;
    w->path = path;
    w->uv.data = w;
    w->link.data = w;
    return w;
}

static void work_begin(struct bridge_work *w)
{
    g_queue_push_tail_link(&w->bridge->works, &w->link);
    uv_queue_work(w->bridge->daemon->loop, &w->uv, work_run, work_done);
}

void bridge__stop_works(struct bridge *b)
{
    for (GList *l = b->works.head; l; l = l->next)
        g_atomic_int_set(&((struct bridge_work *)l->data)->stop, 1);
}

/* The path of a new volume of POOL, whose XML is TEXT; NULL with ERR. */
static char *plan(const struct pool *pool, const char *text, struct volume_xml *xml, GError **err)
{
    if (!pool->active) {
        vmd_fail(err, VMD_ERROR_STATE, "the pool %s is not active", pool->name);
        return NULL;
    }
    if (!volume_xml_read(text, xml, err))
        return NULL;
    char *path = pool_path(pool, xml->name, err);
    if (!path)
        volume_xml_clear(xml);
    return path;
}

static bool create(struct bridge_work *w, GError **err)
{
    const struct volume_xml *x = &w->xml;
    struct image_plan p = {.path = w->path,
                           .capacity = x->capacity,
                           .qcow2 = x->qcow2,
                           .taken = x->has_allocation ? x->allocation : 0,
                           .backing = x->backing,
                           .backing_qcow2 = x->backing_qcow2};

    return image_create(&p, &w->stop, err);
}

static bool copy(struct bridge_work *w, GError **err)
{
    return image_copy(w->from, w->path, w->xml.capacity, w->xml.qcow2, &w->stop, err);
}

/* A new volume of POOL by RUN, of which TEXT says what it is. FROM is taken. */
static void make(struct client *c, struct libvirt_request *request, const struct pool *pool,
                 const char *text, bool (*run)(struct bridge_work *w, GError **err), char *from)
{
    struct volume_xml xml = {0};
    g_autoptr(GError) err = NULL;
    char *path = plan(pool, text, &xml, &err);

    if (!path) {
        bridge_fail_storage(request, err);
        g_free(from);
        return;
    }
    struct bridge_work *w = work_new(c, request, run, path);
    w->pool = g_strdup(pool->name);
    w->from = from;
    w->xml = xml;
    work_begin(w);
}

static void create_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_create_vol *a = args;
    struct pool *pool =
        bridge_need_admin(c, request) ? bridge_need_pool(c, request, &a->named) : NULL;

    if (pool && bridge_flags(request, a->flags, CREATE_METADATA))
        make(c, request, pool, a->xml, create, NULL);
}

static void clone_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_clone_vol *a = args;
    struct pool *pool =
        bridge_need_admin(c, request) ? bridge_need_pool(c, request, &a->named) : NULL;
    g_autofree char *from = pool ? bridge_need_volume(c, request, &a->vol) : NULL;

    if (from && bridge_flags(request, a->flags, CREATE_METADATA))
        make(c, request, pool, a->xml, copy, g_steal_pointer(&from));
}

static bool remove_it(struct bridge_work *w, GError **err)
{
    return image_remove(w->path, err);
}

static void delete(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_vol *a = args;
    g_autofree char *path =
        bridge_need_admin(c, request) ? bridge_need_volume(c, request, &a->vol) : NULL;

    if (path && bridge_flags(request, a->flags, 0))
        work_begin(work_new(c, request, remove_it, g_steal_pointer(&path)));
}

static bool set_size(struct bridge_work *w, GError **err)
{
    return image_resize(w->path, w->capacity, w->flags, err);
}

static void resize(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_resize_vol *a = args;
    g_autofree char *path =
        bridge_need_admin(c, request) ? bridge_need_volume(c, request, &a->vol) : NULL;

    if (!path || !bridge_flags(request, a->flags, RESIZE_SHRINK | RESIZE_DELTA))
        return;
    struct bridge_work *w = work_new(c, request, set_size, g_steal_pointer(&path));
    w->capacity = a->capacity;
    w->flags = (a->flags & RESIZE_DELTA ? IMAGE_BY : 0) |
               (a->flags & RESIZE_SHRINK ? IMAGE_SHRINK : 0);
    work_begin(w);
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
