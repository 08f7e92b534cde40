/*
 * proto/schema/codec.h: the engine under the generated code.
 *
 * gen.py turns the schema into C structs and into tables that describe them; this engine decodes,
 * encodes, copies and frees by table. Decoding is checked in full: unknown members, missing ones,
 * wrong types, numbers out of range or with a fraction, strings and arrays over their bounds are
 * errors that name the JSON path ("params.config.disks[2].path"). Nothing is kept on failure.
 *
 * How a field is laid out in its struct:
 *   scalar, required or with default   T name
 *   scalar, optional                   bool has_name; T name
 *   string                             char *name                  (NULL: absent)
 *   struct                             struct foo *name            (NULL: absent)
 *   json                               struct json_object *name    (NULL: absent)
 *   array                              T *name; size_t n_name      (structs and strings: T **)
 * All memory belongs to the struct and is g_malloc'ed; members may be taken by g_steal_pointer.
 *
 * Thread-safe: the tables are constant and there is no other state.
 */
#ifndef PROTO_SCHEMA_CODEC_H
#define PROTO_SCHEMA_CODEC_H

#include "base/base.h"

#include <json-c/json.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_object, json_object_put)

enum codec_kind {
    CODEC_BOOL,
    CODEC_INT,
    CODEC_UINT,
    CODEC_DOUBLE,
    CODEC_STRING,
    CODEC_ENUM,
    CODEC_STRUCT,
    CODEC_JSON,
};

enum codec_format {
    CODEC_FORMAT_ANY,    /* any text without NUL */
    CODEC_FORMAT_NAME,   /* letters, digits, '.', '_', '-'; first a letter or digit */
    CODEC_FORMAT_TOKEN,  /* printable ASCII without space */
    CODEC_FORMAT_FILTER, /* a name, or a namespace and ".*", or "*" */
    CODEC_FORMAT_PATH,   /* an absolute path */
    CODEC_FORMAT_MAC,    /* 52:54:00:12:34:56, not multicast */
    CODEC_FORMAT_IFNAME, /* what Linux accepts as the name of an interface */
    CODEC_FORMAT_IP,     /* IPv4 or IPv6 address */
};

enum codec_flags {
    CODEC_OPTIONAL = 1 << 0,
    CODEC_DEFAULT = 1 << 1,
    CODEC_ARRAY = 1 << 2,
};

struct codec_enum {
    const char *name;
    const char *const *values; /* indexed by the C enum */
    size_t n;
};

struct codec_type;

struct codec_field {
    const char *name;
    const char *doc;
    enum codec_kind kind;
    enum codec_format format;
    unsigned flags; /* enum codec_flags */
    unsigned since; /* release that brought it: major*10000 + minor*100 + patch */
    uint32_t size;  /* bytes of one scalar */
    uint32_t offset;
    uint32_t aux; /* offset of has_NAME or n_NAME */
    int64_t min;  /* range of a number; length of a string in bytes */
    uint64_t max;
    uint32_t least, most;            /* elements of an array */
    int64_t def;                     /* default of a scalar */
    const char *def_text;            /* default of a string */
    const struct codec_type *type;   /* CODEC_STRUCT */
    const struct codec_enum *values; /* CODEC_ENUM */
};

struct codec_type {
    const char *name;
    const char *doc;
    size_t size;
    const struct codec_field *fields;
    size_t n;
};

/* A struct with every default in place; required members are zero or NULL. */
void *codec_new(const struct codec_type *t);

/*
 * Checks and decodes JSON into a new struct. ROOT is the first part of the path in error messages
 * ("params"). Returns NULL with VMD_ERROR_INVALID, or VMD_ERROR_LIMIT where a size bound was met.
 */
void *codec_decode(const struct codec_type *t, struct json_object *json, const char *root,
                   GError **err);

/* A new JSON object. Members newer than VERSION are left out (0: none are). */
struct json_object *codec_encode(const struct codec_type *t, const void *obj, unsigned version);

/* A deep copy; NULL for NULL. */
void *codec_copy(const struct codec_type *t, const void *obj);

/* Frees the struct and all that it owns; takes NULL and half-built ones. */
void codec_free(const struct codec_type *t, void *obj);

/*
 * Checks a struct that was built in C against the same rules as decode. Returns false with
 * VMD_ERROR_INVALID or VMD_ERROR_LIMIT and the path of the first fault.
 */
bool codec_check(const struct codec_type *t, const void *obj, const char *root, GError **err);

/* The value's name, or NULL when V is none of the enum's. */
const char *codec_enum_name(const struct codec_enum *e, unsigned v);

/* Looks up TEXT; OUT untouched and VMD_ERROR_INVALID (with the choices) when there is none. */
bool codec_enum_parse(const struct codec_enum *e, const char *text, unsigned *out, GError **err);

/* Whether TEXT of LEN bytes has the format. */
bool codec_format_ok(enum codec_format format, const char *text, size_t len);

/* --- methods, events and errors ------------------------------------------------------------ */

/* Who may call. Each role includes those before it; OWNER means: operate, and the VM named by the
 * member "vm" is the caller's own (an admin may always). */
enum rpc_role { RPC_ROLE_READ, RPC_ROLE_OPERATE, RPC_ROLE_OWNER, RPC_ROLE_ADMIN };

enum rpc_method_flags {
    RPC_CHANGES = 1 << 0, /* takes an idempotency key */
    RPC_JOB = 1 << 1,     /* answers with a job */
    RPC_FD_OUT = 1 << 2,  /* the reply carries a file descriptor */
    RPC_FD_IN = 1 << 3,   /* the request carries a file descriptor */
};

struct rpc_method {
    const char *name;
    const char *doc;
    enum rpc_role role;
    unsigned flags; /* enum rpc_method_flags */
    unsigned since;
    const struct codec_type *params;
    const struct codec_type *result; /* NULL: the result is an empty object */
    bool result_any;                 /* the result is any JSON value; RESULT is NULL */
};

struct rpc_event {
    const char *name;
    const char *doc;
    unsigned since;
    const struct codec_type *data;
};

struct rpc_error_row {
    const char *name; /* as vmd_error_name() */
    int code;         /* on the wire */
    const char *doc;
    const char *hint; /* what to do */
};

struct rpc_call;

/* One API: its tables, and how to get from a method's number to a typed handler. */
struct rpc_service {
    const char *name;
    const struct rpc_method *methods;
    size_t n_methods;
    const struct rpc_event *events;
    size_t n_events;
    const char *discover; /* OpenRPC document, JSON text */
    /* Calls the handler of METHOD in HANDLERS with PARAMS; false where HANDLERS has none. */
    bool (*dispatch)(const void *handlers, size_t method, struct rpc_call *call, void *params);
};

/* The method's number in its service, or -1. */
int rpc_service_find(const struct rpc_service *s, const char *method);

/* The row of a kind of error (all kinds have one). */
const struct rpc_error_row *rpc_error_row(enum vmd_error kind);

/* "read", "operate", "owner", "admin". */
const char *rpc_role_name(enum rpc_role role);

#endif
