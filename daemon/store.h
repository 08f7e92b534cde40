/*
 * daemon/store: files that survive a crash, and the lock that keeps a second daemon out.
 */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "base/base.h"

#include <json-c/json.h>

/* Takes the store in DIR for this process, not for its children. Returns a descriptor to keep open,
 * or -1 with VMD_ERROR_BUSY naming the process that has it. */
int store_lock(const char *dir, GError **err);

/* Writes JSON to PATH: the old contents or the new, never a mixture. With SYNC the new contents are
 * on stable storage on return. */
bool store_write(const char *path, struct json_object *json, bool sync, GError **err);

/* Reads PATH; OUT is NULL where there is no such file. VMD_ERROR_INVALID when it isn't JSON. */
bool store_read(const char *path, struct json_object **out, GError **err);

/* Renames PATH to PATH.bad: it cannot be used, and somebody may want to look at it. */
bool store_set_aside(const char *path, GError **err);

/* The last whole lines of the text file PATH, at most MOST bytes of them, without the last newline;
 * owned by the caller. NULL: there are none. */
char *store_last_lines(const char *path, size_t most);

#endif
