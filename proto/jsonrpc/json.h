/*
 * proto/jsonrpc/json.h: a strict JSON reader (RFC 8259) and a compact writer.
 *
 * Stricter than json-c's own: valid UTF-8 only, no duplicate members, no NUL in strings, nothing
 * after the value, integers within 64 bits exactly, finite numbers, nesting up to LIMIT_RPC_DEPTH.
 */
#ifndef PROTO_JSONRPC_JSON_H
#define PROTO_JSONRPC_JSON_H

#include "base/base.h"

#include <json-c/json.h>

/*
 * Reads the LEN bytes of TEXT as one value. JSON null is NULL in json-c, so success is the return
 * value. Errors: VMD_ERROR_INVALID with the byte's position, VMD_ERROR_LIMIT for nesting.
 */
bool json_read(const char *text, size_t len, struct json_object **out, GError **err);

/* Reads a whole file of at most MAX bytes. */
bool json_read_file(const char *path, size_t max, struct json_object **out, GError **err);

/* Compact text, without line feeds; the caller frees. LEN may be NULL. */
char *json_write(struct json_object *value, size_t *len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_object, json_object_put)

#endif
