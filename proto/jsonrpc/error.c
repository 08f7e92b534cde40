/* Errors on the wire: {"code", "message", "data": {"kind", "hint"}}, both ways. */
#include "proto/jsonrpc/rpc_priv.h"

struct json_object *rpc__error_object(int code, enum vmd_error kind, const char *message)
{
    struct json_object *e = json_object_new_object(), *data = json_object_new_object();
    g_autofree char *text = g_utf8_make_valid(message, -1);

    json_object_object_add(data, "kind", json_object_new_string(vmd_error_name(kind)));
    json_object_object_add(data, "hint", json_object_new_string(rpc_error_row(kind)->hint));
    json_object_object_add(e, "code", json_object_new_int(code));
    json_object_object_add(e, "message", json_object_new_string(text));
    json_object_object_add(e, "data", data);
    return e;
}

struct json_object *rpc_error_encode(const GError *err)
{
    enum vmd_error kind = VMD_ERROR_INTERNAL;

    if (err->domain == VMD_ERROR && err->code >= 0 && err->code <= VMD_ERROR_GONE)
        kind = (enum vmd_error)err->code;
    return rpc__error_object(rpc_error_row(kind)->code, kind, err->message);
}

static const char *member_text(struct json_object *object, const char *name)
{
    struct json_object *v = NULL;

    if (!json_object_object_get_ex(object, name, &v) || !json_object_is_type(v, json_type_string))
        return NULL;
    return json_object_get_string(v);
}

static enum vmd_error kind_of(const char *name, int code)
{
    for (int k = 0; k <= VMD_ERROR_GONE; k++) {
        if (name ? strcmp(name, rpc_error_row(k)->name) == 0 : code == rpc_error_row(k)->code)
            return (enum vmd_error)k;
    }
    return VMD_ERROR_INTERNAL;
}

GError *rpc_error_decode(struct json_object *error, char **hint)
{
    struct json_object *data = NULL, *code = NULL;
    const char *message = member_text(error, "message");

    json_object_object_get_ex(error, "data", &data);
    json_object_object_get_ex(error, "code", &code);
    if (hint)
        *hint = g_strdup(data ? member_text(data, "hint") : NULL);
    return g_error_new_literal(
        VMD_ERROR, kind_of(data ? member_text(data, "kind") : NULL, json_object_get_int(code)),
        message ? message : "an error without a message");
}
