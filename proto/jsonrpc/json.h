/*
 * proto/jsonrpc/json.h: a strict JSON reader (RFC 8259) and a compact writer.
 *
 * Stricter than json-c's own: valid UTF-8 only, no duplicate members, no NUL in strings, nothing
 * after the value, integers within 64 bits exactly, finite numbers, nesting up to LIMIT_RPC_DEPTH.
 */
#ifndef PROTO_JSONRPC_JSON_H
#define PROTO_JSONRPC_JSON_H


#include "proto/schema/codec.h"

/*
 * Reads the LEN bytes of TEXT as one value. JSON null is NULL in json-c, so success is the return
 * value. Errors: VMD_ERROR_INVALID with the byte's position, VMD_ERROR_LIMIT for nesting.
 */
bool json_read(const char *text, size_t len, struct json_object **out, GError **err);

/* The same for text from clients: at most VALUES values, else VMD_ERROR_LIMIT. */
bool json_read_limited(const char *text, size_t len, size_t values, struct json_object **out,
                       GError **err);

/* Compact text, without line feeds; the caller frees. LEN may be NULL. */
char *json_write(struct json_object *value, size_t *len);

#endif
