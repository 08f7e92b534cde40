/*
 * daemon/pools: folders of the host whose files are volumes, for clients that make and find disks by them
 * (libvirt's). What a folder holds is looked at when it is asked for; pools alone are remembered, in
 * pools.json of the store. Loop thread.
 */
#ifndef DAEMON_POOLS_H
#define DAEMON_POOLS_H

#include "base/base.h"

struct pools;

struct pool {
    char *name, *uuid; /* in small letters */
    char *path;
    bool active, autostart;
    bool persistent; /* it stays when it is stopped */
};

/* Reads those of STORE. A file that makes no sense is set aside. */
struct pools *pools_open(const char *store, GError **err);
void pools_free(struct pools *pools);

/* All by name, borrowed; the caller frees the array. */
GPtrArray *pools_list(const struct pools *pools);
/* Each: NULL where there is none. UUID in small letters. */
struct pool *pools_named(const struct pools *pools, const char *name);
struct pool *pools_by_uuid(const struct pools *pools, const char *uuid);
struct pool *pools_by_folder(const struct pools *pools, const char *path);

/* What changes a pool says VMD_ERROR_IO where that cannot be kept, and the pool is as it was.
 *
 * Defines NAME with the folder PATH; over a pool of that name and UUID anew. UUID NULL: any. NULL with
 * VMD_ERROR_EXISTS, _LIMIT or _INVALID. */
struct pool *pools_define(struct pools *pools, const char *name, const char *uuid, const char *path,
                          bool persistent, GError **err);
/* Each says what cannot be with VMD_ERROR_STATE, and what fails with VMD_ERROR_IO. */
bool pools_build(const struct pool *pool, GError **err);
bool pools_start(struct pools *pools, struct pool *pool, GError **err);
/* May free POOL, as pools_undefine() does. */
bool pools_stop(struct pools *pools, struct pool *pool, GError **err);
/* Removes its folder, which is empty. */
bool pools_remove(const struct pool *pool, GError **err);
bool pools_undefine(struct pools *pools, struct pool *pool, GError **err);
bool pools_set_autostart(struct pools *pools, struct pool *pool, bool on, GError **err);

/* --- volumes: the regular files of a pool that is active, but for those whose names begin with a dot, or are
 * nothing that XML can say --- */

/* Their names, sorted; the caller frees. NULL with ERR; VMD_ERROR_LIMIT: they are more than are shown. */
GPtrArray *pool_volumes(const struct pool *pool, GError **err);
/* The path of the volume NAME, there or not; NULL with VMD_ERROR_INVALID where NAME is no file's name. The
 * caller frees. */
char *pool_path(const struct pool *pool, const char *name, GError **err);
/* Whether PATH is a volume of POOL. */
bool pool_has(const struct pool *pool, const char *path);
/* The active pool of which PATH is a volume; NULL. */
struct pool *pools_of_path(const struct pools *pools, const char *path);

#endif
