/* See pools.h. */
#include "daemon/pools.h"

#include "base/log.h"
#include "daemon/store.h"
#include "proto/jsonrpc/json.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

struct pools {
    GPtrArray *all; /* struct pool, owned */
    char *file;     /* where they are kept */
};

static void pool_free(gpointer p)
{
    struct pool *pool = p;

    g_free(pool->name);
    g_free(pool->uuid);
    g_free(pool->path);
    g_free(pool);
}

/* --- in pools.json ---------------------------------------------------------------------------- */

static bool save(const struct pools *p, GError **err)
{
    g_autoptr(json_object) rows = json_object_new_array();

    for (guint i = 0; i < p->all->len; i++) {
        const struct pool *pool = p->all->pdata[i];
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "name", json_object_new_string(pool->name));
        json_object_object_add(row, "uuid", json_object_new_string(pool->uuid));
        json_object_object_add(row, "path", json_object_new_string(pool->path));
        json_object_object_add(row, "active", json_object_new_boolean(pool->active));
        json_object_object_add(row, "autostart", json_object_new_boolean(pool->autostart));
        json_object_object_add(row, "persistent", json_object_new_boolean(pool->persistent));
        json_object_array_add(rows, row);
    }
    return store_write(p->file, rows, true, err);
}

static char *text_of(struct json_object *row, const char *member)
{
    struct json_object *value = json_object_object_get(row, member);

    return json_object_is_type(value, json_type_string) ? g_strdup(json_object_get_string(value))
                                                        : NULL;
}

static bool is_folder(const char *path)
{
    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

/* One that was active is so again, if its folder is there still. */
static void load(struct pools *p, struct json_object *row)
{
    if (!json_object_is_type(row, json_type_object))
        return;
    struct pool *pool = g_new0(struct pool, 1);
    pool->name = text_of(row, "name");
    pool->uuid = text_of(row, "uuid");
    pool->path = text_of(row, "path");
    pool->autostart = json_object_get_boolean(json_object_object_get(row, "autostart"));
    pool->persistent = json_object_get_boolean(json_object_object_get(row, "persistent"));
    bool was = json_object_get_boolean(json_object_object_get(row, "active"));
    if (pool->name && pool->uuid && pool->path && g_uuid_string_is_valid(pool->uuid)) {
        pool->active = (was || pool->autostart) && is_folder(pool->path);
        g_ptr_array_add(p->all, pool);
    } else {
        pool_free(pool);
    }
}

struct pools *pools_open(const char *store, GError **err)
{
    struct pools *p = g_new0(struct pools, 1);
    g_autoptr(json_object) rows = NULL;
    g_autoptr(GError) why = NULL;

    p->all = g_ptr_array_new_with_free_func(pool_free);
    p->file = g_build_filename(store, "pools.json", NULL);
    if (!store_read(p->file, &rows, &why)) {
        log_error("%s", why->message);
        if (!store_set_aside(p->file, err)) {
            pools_free(p);
            return NULL;
        }
    }
    for (size_t i = 0;
         json_object_is_type(rows, json_type_array) && i < json_object_array_length(rows); i++)
        load(p, json_object_array_get_idx(rows, i));
    return p;
}

void pools_free(struct pools *p)
{
    if (!p)
        return;
    g_ptr_array_free(p->all, TRUE);
    g_free(p->file);
    g_free(p);
}

/* --- which there are -------------------------------------------------------------------------- */

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const struct pool *const *)a)->name, (*(const struct pool *const *)b)->name);
}

GPtrArray *pools_list(const struct pools *p)
{
    GPtrArray *out = g_ptr_array_new();

    for (guint i = 0; i < p->all->len; i++)
        g_ptr_array_add(out, p->all->pdata[i]);
    g_ptr_array_sort(out, by_name);
    return out;
}

static struct pool *find(const struct pools *p, size_t member, const char *text)
{
    for (guint i = 0; i < p->all->len; i++) {
        if (strcmp(G_STRUCT_MEMBER(char *, p->all->pdata[i], member), text) == 0)
            return p->all->pdata[i];
    }
    return NULL;
}

struct pool *pools_named(const struct pools *p, const char *name)
{
    return find(p, offsetof(struct pool, name), name);
}

struct pool *pools_by_uuid(const struct pools *p, const char *uuid)
{
    return find(p, offsetof(struct pool, uuid), uuid);
}

struct pool *pools_by_folder(const struct pools *p, const char *path)
{
    return find(p, offsetof(struct pool, path), path);
}

/* --- names ------------------------------------------------------------------------------------ */

/* Whether TEXT, a line at most, is a name within a folder that XML can say too. */
static bool is_name(const char *text, size_t most)
{
    size_t len = strlen(text);

    if (len == 0 || len > most || *text == '.' || !g_utf8_validate(text, (gssize)len, NULL))
        return false;
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (c == '/' || g_unichar_iscntrl(c) || c == 0xfffe || c == 0xffff)
            return false;
    }
    return true;
}

/* --- new ones --------------------------------------------------------------------------------- */

static struct pool *add(struct pools *p, const char *name, const char *uuid, const char *path)
{
    struct pool *pool = g_new0(struct pool, 1);

    pool->name = g_strdup(name);
    pool->uuid = uuid ? g_strdup(uuid) : g_uuid_string_random();
    pool->path = g_strdup(path);
    g_ptr_array_add(p->all, pool);
    return pool;
}

static bool check(const struct pools *p, const struct pool *there, const char *name, const char *uuid,
                  const char *path, GError **err)
{
    const struct pool *other = pools_by_folder(p, path);

    if (!is_name(name, LIMIT_VM_NAME))
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is no name for a pool", name);
    if (!g_path_is_absolute(path))
        return vmd_fail(err, VMD_ERROR_INVALID, "the folder of a pool is an absolute path: '%s'",
                        path);
    if (other && other != there)
        return vmd_fail(err, VMD_ERROR_EXISTS, "the folder %s is that of the pool %s", path,
                        other->name);
    if (there && uuid && strcmp(there->uuid, uuid) != 0)
        return vmd_fail(err, VMD_ERROR_EXISTS, "the pool %s is there already, with the UUID %s", name,
                        there->uuid);
    if (!there && uuid && (other = pools_by_uuid(p, uuid)))
        return vmd_fail(err, VMD_ERROR_EXISTS, "the UUID %s is that of the pool %s", uuid,
                        other->name);
    if (there && there->active && strcmp(there->path, path) != 0)
        return vmd_fail(err, VMD_ERROR_STATE, "the pool %s is active", name);
    return there || p->all->len < LIMIT_POOLS ||
           vmd_fail(err, VMD_ERROR_LIMIT, "there are %d pools already", LIMIT_POOLS);
}

/* Keeps what POOL has become; where that fails it becomes WAS again, whose texts are then its own. */
static bool keep(struct pools *p, struct pool *pool, const struct pool *was, GError **err)
{
    if (save(p, err))
        return true;
    *pool = *was;
    return false;
}

/* Forgets POOL, which stays where that cannot be kept. */
static bool forget(struct pools *p, struct pool *pool, GError **err)
{
    guint at = 0;

    g_ptr_array_find(p->all, pool, &at);
    g_ptr_array_steal_index(p->all, at);
    if (!save(p, err)) {
        g_ptr_array_insert(p->all, (gint)at, pool);
        return false;
    }
    pool_free(pool);
    return true;
}

struct pool *pools_define(struct pools *p, const char *name, const char *uuid, const char *path,
                          bool persistent, GError **err)
{
    g_autofree char *folder = g_canonicalize_filename(path, "/");
    struct pool *pool = pools_named(p, name), was;

    if (!check(p, pool, name, uuid, g_path_is_absolute(path) ? folder : path, err))
        return NULL;
    if (!pool) {
        pool = add(p, name, uuid, folder);
        pool->persistent = persistent;
        if (save(p, err))
            return pool;
        g_ptr_array_remove(p->all, pool);
        return NULL;
    }
    was = *pool;
    pool->path = folder;
    pool->persistent |= persistent;
    if (!keep(p, pool, &was, err))
        return NULL;
    g_free(was.path);
    g_steal_pointer(&folder);
    return pool;
}

/* --- their lives ------------------------------------------------------------------------------ */

bool pools_build(const struct pool *pool, GError **err)
{
    return g_mkdir_with_parents(pool->path, 0711) == 0 ||
           vmd_set_errno(err, errno, "the pool %s: %s", pool->name, pool->path);
}

bool pools_start(struct pools *p, struct pool *pool, GError **err)
{
    if (pool->active)
        return vmd_fail(err, VMD_ERROR_STATE, "the pool %s is already active", pool->name);
    if (!is_folder(pool->path))
        return vmd_fail(err, VMD_ERROR_IO, "the pool %s: there is no folder %s", pool->name,
                        pool->path);
    struct pool was = *pool;
    pool->active = true;
    return keep(p, pool, &was, err);
}

static bool need_active(const struct pool *pool, bool active, GError **err)
{
    return pool->active == active || vmd_fail(err, VMD_ERROR_STATE, "the pool %s is %sactive",
                                              pool->name, active ? "not " : "");
}

bool pools_stop(struct pools *p, struct pool *pool, GError **err)
{
    if (!need_active(pool, true, err))
        return false;
    if (!pool->persistent)
        return forget(p, pool, err);
    struct pool was = *pool;
    pool->active = false;
    return keep(p, pool, &was, err);
}

bool pools_remove(const struct pool *pool, GError **err)
{
    return need_active(pool, false, err) &&
           (rmdir(pool->path) == 0 || vmd_set_errno(err, errno, "the pool %s: %s", pool->name,
                                                    pool->path));
}

bool pools_undefine(struct pools *p, struct pool *pool, GError **err)
{
    return need_active(pool, false, err) && forget(p, pool, err);
}

bool pools_set_autostart(struct pools *p, struct pool *pool, bool on, GError **err)
{
    if (!pool->persistent)
        return vmd_fail(err, VMD_ERROR_STATE, "the pool %s goes when it is stopped", pool->name);
    struct pool was = *pool;
    pool->autostart = on;
    return keep(p, pool, &was, err);
}

/* --- volumes ---------------------------------------------------------------------------------- */

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_file(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

GPtrArray *pool_volumes(const struct pool *pool, GError **err)
{
    g_autoptr(GDir) dir = NULL;
    GPtrArray *out;
    const char *name;

    if (!need_active(pool, true, err))
        return NULL;
    dir = g_dir_open(pool->path, 0, NULL);
    if (!dir) {
        vmd_set_errno(err, errno, "the pool %s: %s", pool->name, pool->path);
        return NULL;
    }
    out = g_ptr_array_new_with_free_func(g_free);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(pool->path, name, NULL);
        if (!is_name(name, NAME_MAX) || !is_file(path))
            continue;
        if (out->len == LIMIT_VOLUMES) {
            vmd_fail(err, VMD_ERROR_LIMIT, "the pool %s has more than %d volumes", pool->name,
                     LIMIT_VOLUMES);
            g_ptr_array_unref(out);
            return NULL;
        }
        g_ptr_array_add(out, g_strdup(name));
    }
    g_ptr_array_sort(out, by_text);
    return out;
}

char *pool_path(const struct pool *pool, const char *name, GError **err)
{
    if (is_name(name, NAME_MAX))
        return g_build_filename(pool->path, name, NULL);
    vmd_fail(err, VMD_ERROR_INVALID, "'%s' is no name for a volume", name);
    return NULL;
}

bool pool_has(const struct pool *pool, const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path), *name = g_path_get_basename(path);

    return pool->active && strcmp(folder, pool->path) == 0 && is_name(name, NAME_MAX) &&
           is_file(path);
}

struct pool *pools_of_path(const struct pools *p, const char *path)
{
    for (guint i = 0; i < p->all->len; i++) {
        if (pool_has(p->all->pdata[i], path))
            return p->all->pdata[i];
    }
    return NULL;
}
