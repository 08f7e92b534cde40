/* Storage pools: the daemon's (daemon/pools.h). Whoever may look sees them; those who may do all change them,
 * since what is made there is the daemon's own user's. */
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/pools.h"
#include "proto/libvirt/xml/storage.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
    INACTIVE = 1 << 0,
    ACTIVE = 1 << 1,
    PERSISTENT = 1 << 2,
    TRANSIENT = 1 << 3,
    AUTOSTART = 1 << 4,
    NO_AUTOSTART = 1 << 5,
    TYPE_DIR = 1 << 6,
    TYPES = 0x3fffc0, /* TYPE_DIR, and those that are not here */
    ALL = TYPES | 0x3f,
};
enum { CREATE_BUILDS = 0x7, BUILD_ALL = 0x7, XML_INACTIVE = 1 << 0 };
enum { STATE_INACTIVE, STATE_RUNNING = 2 };

void bridge_fail_storage(struct libvirt_request *request, const GError *err)
{
    bridge_fail_from(request, err, LIBVIRT_FROM_STORAGE);
}

bool bridge_need_admin(struct client *c, struct libvirt_request *request)
{
    if (rpc_conn_role(c->rpc) == RPC_ROLE_ADMIN)
        return true;
    libvirt_fail(request, LIBVIRT_ERR_ACCESS_DENIED, LIBVIRT_FROM_STORAGE,
                 "%s is for root and the daemon's own user", libvirt_request_call(request)->name);
    return false;
}

static struct libvirt_named named_of(const struct pool *pool)
{
    struct libvirt_named out = {.name = pool->name};

    bridge_uuid(pool->uuid, out.uuid);
    return out;
}

static void reply_pool(struct libvirt_request *request, const struct pool *pool)
{
    struct libvirt_one_named out = {named_of(pool)};

    libvirt_reply(request, &out);
}

/* POOL, which was looked for by REF; where it is NULL, REQUEST was answered with an error. */
static struct pool *need(struct libvirt_request *request, struct pool *pool, const char *ref)
{
    if (!pool)
        libvirt_fail(request, LIBVIRT_ERR_NO_POOL, LIBVIRT_FROM_STORAGE, "there is no pool %s", ref);
    return pool;
}

struct pool *bridge_need_pool(struct client *c, struct libvirt_request *request,
                              const struct libvirt_named *named)
{
    g_autofree char *uuid = bridge_uuid_text(named->uuid);

    return need(request, pools_by_uuid(c->bridge->pools, uuid), uuid);
}

/* --- lists --- */

static uint32_t bits_of(const struct pool *pool)
{
    return (pool->active ? ACTIVE : INACTIVE) | (pool->persistent ? PERSISTENT : TRANSIENT) |
           (pool->autostart ? AUTOSTART : NO_AUTOSTART) | TYPE_DIR;
}

/* Those that FLAGS ask for; the caller frees. */
static GPtrArray *list(const struct client *c, uint32_t flags)
{
    static const uint32_t groups[] = {ACTIVE | INACTIVE, PERSISTENT | TRANSIENT,
                                      AUTOSTART | NO_AUTOSTART, TYPES};
    GPtrArray *all = pools_list(c->bridge->pools);

    for (guint i = all->len; i-- > 0;) {
        uint32_t bits = bits_of(all->pdata[i]);
        bool wanted = true;
        for (size_t g = 0; g < G_N_ELEMENTS(groups); g++)
            wanted &= !(flags & groups[g]) || (flags & groups[g] & bits);
        if (!wanted)
            g_ptr_array_remove_index(all, i);
    }
    return all;
}

static void list_all(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_list_all *a = args;

    if (!bridge_flags(request, a->flags, ALL))
        return;
    g_autoptr(GPtrArray) all = list(c, a->flags);
    g_autofree struct libvirt_named *rows = g_new0(struct libvirt_named, all->len + 1);
    struct libvirt_all_named out = {.count = all->len, .named = rows};
    out.named_count = a->need_results ? all->len : 0;
    for (guint i = 0; i < out.named_count; i++)
        rows[i] = named_of(all->pdata[i]);
    libvirt_reply(request, &out);
}

static void count(struct client *c, struct libvirt_request *request, const void *args)
{
    bool active = libvirt_request_call(request)->number == LIBVIRT_CONNECT_NUM_OF_STORAGE_POOLS;
    g_autoptr(GPtrArray) all = list(c, active ? ACTIVE : INACTIVE);

    libvirt_reply(request, &(struct libvirt_number){.value = (int32_t)all->len});
}

static void list_names(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *a = args;
    bool active = libvirt_request_call(request)->number == LIBVIRT_CONNECT_LIST_STORAGE_POOLS;
    g_autoptr(GPtrArray) all = list(c, active ? ACTIVE : INACTIVE);
    g_autofree char **names = g_new0(char *, all->len + 1);
    struct libvirt_names out = {.names_count = MIN(all->len, (uint32_t)MAX(a->value, 0)),
                                .names = names};

    for (uint32_t i = 0; i < out.names_count; i++)
        names[i] = ((const struct pool *)all->pdata[i])->name;
    libvirt_reply(request, &out);
}

static void lookup_by_name(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_text *a = args;
    struct pool *pool = need(request, pools_named(c->bridge->pools, a->value), a->value);

    if (pool)
        reply_pool(request, pool);
}

static void lookup_by_path(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_text *a = args;
    g_autofree char *path = g_canonicalize_filename(a->value, "/");
    struct pool *pool = need(request, pools_by_folder(c->bridge->pools, path), a->value);

    if (pool)
        reply_pool(request, pool);
}

static void lookup_by_uuid(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_uuid *a = args;
    struct libvirt_named named = {0};

    memcpy(named.uuid, a->value, sizeof(named.uuid));
    struct pool *pool = bridge_need_pool(c, request, &named);
    if (pool)
        reply_pool(request, pool);
}

static void lookup_by_volume(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_vol *a = args;
    struct pool *pool = need(request, pools_named(c->bridge->pools, a->vol.pool), a->vol.pool);

    if (pool)
        reply_pool(request, pool);
}

/* --- what one is --- */

static struct pool_state state_of(const struct pool *pool)
{
    struct pool_state out = {0};
    struct statvfs fs;
    struct stat st;

    if (stat(pool->path, &st) == 0) {
        out.there = true;
        out.mode = st.st_mode;
        out.uid = st.st_uid;
        out.gid = st.st_gid;
    }
    if (pool->active && statvfs(pool->path, &fs) == 0) {
        out.capacity = (uint64_t)fs.f_blocks * fs.f_frsize;
        out.available = (uint64_t)fs.f_bavail * fs.f_frsize;
        out.allocation = out.capacity - (uint64_t)fs.f_bfree * fs.f_frsize;
    }
    return out;
}

static void get_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_named *a = args;
    struct pool *pool = bridge_need_pool(c, request, &a->named);

    if (!pool)
        return;
    struct pool_state s = state_of(pool);
    struct libvirt_pool_info out = {pool->active ? STATE_RUNNING : STATE_INACTIVE, s.capacity,
                                    s.allocation, s.available};
    libvirt_reply(request, &out);
}

static void get_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_named *a = args;
    struct pool *pool = bridge_need_pool(c, request, &a->named);

    if (!pool || !bridge_flags(request, a->flags, XML_INACTIVE))
        return;
    struct pool_state s = state_of(pool);
    struct pool_xml xml = {pool->name, pool->uuid, pool->path};
    g_autofree char *text = pool_xml_write(&xml, &s);
    libvirt_reply(request, &(struct libvirt_text){.value = text});
}

static void get_flag(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_named *a = args;
    struct pool *pool = bridge_need_pool(c, request, &a->named);
    int32_t number = libvirt_request_call(request)->number;

    if (!pool)
        return;
    bool is = number == LIBVIRT_STORAGE_POOL_IS_ACTIVE       ? pool->active
              : number == LIBVIRT_STORAGE_POOL_IS_PERSISTENT ? pool->persistent
                                                             : pool->autostart;
    libvirt_reply(request, &(struct libvirt_number){.value = is});
}

/* --- what changes one --- */

static struct pool *define(struct client *c, const char *text, bool persistent, GError **err)
{
    struct pool_xml xml;
    struct pool *pool;

    if (!pool_xml_read(text, &xml, err))
        return NULL;
    pool = pools_define(c->bridge->pools, xml.name, xml.uuid, xml.path, persistent, err);
    pool_xml_clear(&xml);
    return pool;
}

static void define_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_xml *a = args;
    g_autoptr(GError) err = NULL;

    if (!bridge_need_admin(c, request) || !bridge_flags(request, a->flags, 1))
        return;
    struct pool *pool = define(c, a->xml, true, &err);
    if (pool)
        reply_pool(request, pool);
    else
        bridge_fail_storage(request, err);
}

static bool start(struct client *c, struct pool *pool, uint32_t flags, GError **err)
{
    return (!flags || pools_build(pool, err)) && pools_start(c->bridge->pools, pool, err);
}

static void create_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_xml *a = args;
    g_autoptr(GError) err = NULL;

    if (!bridge_need_admin(c, request) || !bridge_flags(request, a->flags, CREATE_BUILDS))
        return;
    struct pool *pool = define(c, a->xml, false, &err);
    if (pool && start(c, pool, a->flags, &err)) {
        reply_pool(request, pool);
        return;
    }
    if (pool && !pool->persistent && !pool->active)
        pools_undefine(c->bridge->pools, pool, NULL);
    bridge_fail_storage(request, err);
}

static bool build(struct client *c, struct pool *pool, uint32_t flags, GError **err)
{
    return pools_build(pool, err);
}

static bool stop(struct client *c, struct pool *pool, uint32_t flags, GError **err)
{
    return pools_stop(c->bridge->pools, pool, err);
}

static bool delete(struct client *c, struct pool *pool, uint32_t flags, GError **err)
{
    return pools_remove(pool, err);
}

static bool undefine(struct client *c, struct pool *pool, uint32_t flags, GError **err)
{
    return pools_undefine(c->bridge->pools, pool, err);
}

static const struct {
    int32_t procedure;
    uint32_t flags; /* that are taken, where the call has flags */
    bool (*act)(struct client *c, struct pool *pool, uint32_t flags, GError **err);
} acts[] = {
    {LIBVIRT_STORAGE_POOL_CREATE, CREATE_BUILDS, start},
    {LIBVIRT_STORAGE_POOL_BUILD, BUILD_ALL, build},
    {LIBVIRT_STORAGE_POOL_DESTROY, 0, stop},
    {LIBVIRT_STORAGE_POOL_DELETE, 1, delete},
    {LIBVIRT_STORAGE_POOL_UNDEFINE, 0, undefine},
};

static void act(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_call *call = libvirt_request_call(request);
    const struct libvirt_flagged_named *a = args; /* or the name alone, which it begins with */
    uint32_t flags = call->args == &libvirt_flagged_named_layout ? a->flags : 0;
    struct pool *pool =
        bridge_need_admin(c, request) ? bridge_need_pool(c, request, &a->named) : NULL;
    g_autoptr(GError) err = NULL;

    for (size_t i = 0; pool && i < G_N_ELEMENTS(acts); i++) {
        if (acts[i].procedure != call->number)
            continue;
        if (!bridge_flags(request, flags, acts[i].flags))
            return;
        if (acts[i].act(c, pool, flags, &err))
            libvirt_reply(request, NULL);
        else
            bridge_fail_storage(request, err);
        return;
    }
}

static void set_autostart(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_pool_autostart *a = args;
    struct pool *pool =
        bridge_need_admin(c, request) ? bridge_need_pool(c, request, &a->named) : NULL;
    g_autoptr(GError) err = NULL;

    if (pool && pools_set_autostart(c->bridge->pools, pool, a->autostart != 0, &err))
        libvirt_reply(request, NULL);
    else if (pool)
        bridge_fail_storage(request, err);
}

/* What a pool holds is looked at whenever it is asked for. */
static void refresh(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_named *a = args;

    if (bridge_need_pool(c, request, &a->named))
        libvirt_reply(request, NULL);
}

const struct bridge_row bridge_pool_rows[] = {
    {LIBVIRT_CONNECT_LIST_ALL_STORAGE_POOLS, list_all},
    {LIBVIRT_CONNECT_NUM_OF_STORAGE_POOLS, count},
    {LIBVIRT_CONNECT_NUM_OF_DEFINED_STORAGE_POOLS, count},
    {LIBVIRT_CONNECT_LIST_STORAGE_POOLS, list_names},
    {LIBVIRT_CONNECT_LIST_DEFINED_STORAGE_POOLS, list_names},
    {LIBVIRT_STORAGE_POOL_LOOKUP_BY_NAME, lookup_by_name},
    {LIBVIRT_STORAGE_POOL_LOOKUP_BY_TARGET_PATH, lookup_by_path},
    {LIBVIRT_STORAGE_POOL_LOOKUP_BY_UUID, lookup_by_uuid},
    {LIBVIRT_STORAGE_POOL_LOOKUP_BY_VOLUME, lookup_by_volume},
    {LIBVIRT_STORAGE_POOL_GET_INFO, get_info},
    {LIBVIRT_STORAGE_POOL_GET_XML_DESC, get_xml},
    {LIBVIRT_STORAGE_POOL_IS_ACTIVE, get_flag},
    {LIBVIRT_STORAGE_POOL_IS_PERSISTENT, get_flag},
    {LIBVIRT_STORAGE_POOL_GET_AUTOSTART, get_flag},
    {LIBVIRT_STORAGE_POOL_SET_AUTOSTART, set_autostart},
    {LIBVIRT_STORAGE_POOL_DEFINE_XML, define_xml},
    {LIBVIRT_STORAGE_POOL_CREATE_XML, create_xml},
    {LIBVIRT_STORAGE_POOL_CREATE, act},
    {LIBVIRT_STORAGE_POOL_BUILD, act},
    {LIBVIRT_STORAGE_POOL_DESTROY, act},
    {LIBVIRT_STORAGE_POOL_DELETE, act},
    {LIBVIRT_STORAGE_POOL_UNDEFINE, act},
    {LIBVIRT_STORAGE_POOL_REFRESH, refresh},
};
const size_t bridge_pool_count = G_N_ELEMENTS(bridge_pool_rows);
