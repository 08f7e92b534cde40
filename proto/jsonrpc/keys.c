/*
 * Idempotency keys: a changing request that is repeated with its key is carried out once.
 *
 * An entry is found by caller, method and key. While its first call is under way it holds those
 * that wait; then it holds the result, and is dropped when it is among the oldest beyond
 * LIMIT_IDEMPOTENCY_KEYS entries or LIMIT_IDEMPOTENCY_BYTES. Errors are not remembered: the same
 * key may be tried again.
 */
#include "proto/jsonrpc/rpc_priv.h"

struct entry {
    char *id;     /* "UID METHOD KEY" */
    char *digest; /* of the params */
    char *result; /* JSON text; NULL while under way */
    size_t bytes;
    GQueue waiting; /* struct rpc_call */
    GList link;     /* in done */
};

struct rpc_keys {
    GHashTable *table; /* id -> struct entry */
    GQueue done;       /* finished entries, oldest first */
    size_t bytes;
    void (*changed)(void *user);
    void *user;
};

static void entry_free(void *p)
{
    struct entry *e = p;

    g_queue_clear(&e->waiting);
    g_free(e->id);
    g_free(e->digest);
    g_free(e->result);
    g_free(e);
}

static struct entry *entry_new(struct rpc_keys *k, const char *id, const char *digest)
{
    struct entry *e = g_new0(struct entry, 1);

    e->id = g_strdup(id);
    e->digest = g_strdup(digest);
    g_queue_init(&e->waiting);
    e->link.data = e;
    g_hash_table_insert(k->table, e->id, e);
    return e;
}

struct rpc_keys *rpc_keys__new(void)
{
    struct rpc_keys *k = g_new0(struct rpc_keys, 1);

    k->table = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, entry_free);
    g_queue_init(&k->done);
    return k;
}

void rpc_keys__free(struct rpc_keys *k)
{
    g_hash_table_unref(k->table);
    g_free(k);
}

/* A digest of the params as decoded, so that order and defaults do not matter. */
static char *digest_of(const struct rpc_call *call)
{
    g_autoptr(json_object) json = codec_encode(call->method->params, call->params, 0);
    g_autofree char *text = json_write(json, NULL);

    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
}

static void drop_oldest(struct rpc_keys *k)
{
    while (k->done.length > LIMIT_IDEMPOTENCY_KEYS || k->bytes > LIMIT_IDEMPOTENCY_BYTES) {
        struct entry *e = g_queue_peek_head(&k->done);
        g_queue_unlink(&k->done, &e->link);
        k->bytes -= e->bytes;
        g_hash_table_remove(k->table, e->id);
    }
}

/* Takes RESULT. */
static void entry_finish(struct rpc_keys *k, struct entry *e, char *result)
{
    e->result = result;
    e->bytes = strlen(result) + strlen(e->id);
    k->bytes += e->bytes;
    g_queue_push_tail_link(&k->done, &e->link);
    drop_oldest(k);
}

static void answer_from(const struct entry *e, struct rpc_call *call)
{
    struct json_object *result = NULL;

    json_read(e->result, strlen(e->result), &result, NULL);
    rpc_call__finish(call, result, NULL, -1);
}

enum rpc_keys_verdict rpc_keys__enter(struct rpc_keys *k, struct rpc_call *call, GError **err)
{
    g_autofree char *id =
        g_strdup_printf("%u %s %s", call->conn->peer.uid, call->method->name, call->key);
    g_autofree char *digest = digest_of(call);
    struct entry *e = g_hash_table_lookup(k->table, id);

    if (!e) {
        entry_new(k, id, digest);
        call->key_id = g_steal_pointer(&id);
        return RPC_KEYS_RUN;
    }
    if (strcmp(e->digest, digest) != 0) {
        vmd_fail(err, VMD_ERROR_INVALID,
                 "params.key: the key '%s' was used with other params before", call->key);
        return RPC_KEYS_FAIL;
    }
    if (e->result) {
        answer_from(e, call);
        return RPC_KEYS_DONE;
    }
    g_queue_push_tail(&e->waiting, call);
    return RPC_KEYS_WAIT;
}

void rpc_keys__forget(struct rpc_keys *k, struct rpc_call *call)
{
    GHashTableIter it;
    void *e;

    g_hash_table_iter_init(&it, k->table);
    while (g_hash_table_iter_next(&it, NULL, &e))
        g_queue_remove(&((struct entry *)e)->waiting, call);
}

void rpc_keys__done(struct rpc_keys *k, struct rpc_call *call, struct json_object *result,
                    struct json_object *error)
{
    struct entry *e = g_hash_table_lookup(k->table, call->key_id);
    GQueue waiting = e->waiting;
    struct rpc_call *w;

    g_queue_init(&e->waiting);
    if (error || !result)
        g_hash_table_remove(k->table, call->key_id);
    else
        entry_finish(k, e, json_write(result, NULL));
    while ((w = g_queue_pop_head(&waiting)))
        rpc_call__finish(w, json_object_get(result), json_object_get(error), -1);
    if (result && k->changed)
        k->changed(k->user);
}

void rpc_keys__watch(struct rpc_keys *k, void (*fn)(void *user), void *user)
{
    k->changed = fn;
    k->user = user;
}

/* --- over a restart ------------------------------------------------------------------------ */

struct json_object *rpc_keys__save(const struct rpc_keys *k)
{
    struct json_object *rows = json_object_new_array();

    for (GList *l = k->done.head; l; l = l->next) {
        const struct entry *e = l->data;
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "id", json_object_new_string(e->id));
        json_object_object_add(row, "digest", json_object_new_string(e->digest));
        json_object_object_add(row, "result", json_object_new_string(e->result));
        json_object_array_add(rows, row);
    }
    return rows;
}

static const char *row_text(struct json_object *row, const char *name)
{
    struct json_object *v = NULL;

    if (!json_object_is_type(row, json_type_object) || !json_object_object_get_ex(row, name, &v) ||
        !json_object_is_type(v, json_type_string))
        return NULL;
    return json_object_get_string(v);
}

bool rpc_keys__load(struct rpc_keys *k, struct json_object *json, GError **err)
{
    if (!json_object_is_type(json, json_type_array))
        return vmd_fail(err, VMD_ERROR_INVALID, "idempotency keys: an array expected");
    for (size_t i = 0; i < json_object_array_length(json); i++) {
        struct json_object *row = json_object_array_get_idx(json, i);
        const char *id = row_text(row, "id"), *digest = row_text(row, "digest");
        const char *result = row_text(row, "result");
        g_autoptr(json_object) v = NULL;

        if (!id || !digest || !result || !json_read(result, strlen(result), &v, NULL))
            return vmd_fail(err, VMD_ERROR_INVALID, "idempotency keys[%zu]: malformed", i);
        if (!g_hash_table_contains(k->table, id))
            entry_finish(k, entry_new(k, id, digest), g_strdup(result));
    }
    return true;
}
