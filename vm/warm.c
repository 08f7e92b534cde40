/* Warm start's files; see warm.h. */
#include "vm/warm.h"

#include "base/log.h"

struct hotlist *warm_load(const char *path, enum isa isa)
{
    g_autoptr(GError) err = NULL;
    struct hotlist *list = path ? hotlist_read(path, isa, &err) : NULL;

    if (err && !g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND))
        log_warning("no warm start: %s", err->message);
    return list;
}

unsigned warm_threads(unsigned vcpus)
{
    unsigned processors = g_get_num_processors();

    return CLAMP(processors > vcpus ? processors - vcpus : 1, 1, LIMIT_XLATE_WARM_THREADS);
}

bool warm_save(struct accel *accel, const char *dir, uint64_t *blocks, uint64_t *pages,
               GError **err)
{
    g_autofree char *path = g_build_filename(dir, HOTLIST_NAME, NULL);
    struct hotlist *list = accel_hot_list(accel);

    if (!list)
        return vmd_fail(err, VMD_ERROR_STATE, "warm start is off for this VM");
    bool ok = hotlist_write(list, path, err);
    *blocks = list->n_blocks;
    *pages = list->pages->len;
    hotlist_free(list);
    return ok;
}
