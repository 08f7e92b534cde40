/*
 * The log is lines of JSON in two files: events.log, being appended, and events.old, the one before
 * it. A line is an event_record with one member more, "src", the VM process's own number. A line
 * that was cut short by a crash was never told and is dropped.
 */
#include "daemon/events.h"

#include "base/log.h"
#include "proto/jsonrpc/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

struct kept {
    struct event_record *record;
    uint64_t src;
};

struct subscription {
    struct rpc_conn *conn;
    uint32_t number;
    char **types;
    size_t n_types;
    char *vm_id;
};

struct events {
    char *path, *old_path;
    int fd;
    unsigned in_file; /* events in the file being appended */
    GQueue kept;      /* struct kept, oldest first */
    uint64_t last;
    GHashTable *vm_seq; /* vm_id -> uint64_t: latest src */
    GPtrArray *subscriptions;
    uint32_t next_subscription;
};

static void kept_free(gpointer p)
{
    struct kept *k = p;

    event_record_free(k->record);
    g_free(k);
}

static void subscription_free(gpointer p)
{
    struct subscription *s = p;

    for (size_t i = 0; i < s->n_types; i++)
        g_free(s->types[i]);
    g_free(s->types);
    g_free(s->vm_id);
    g_free(s);
}

static void note_vm_seq(struct events *e, const char *vm_id, uint64_t src)
{
    g_hash_table_replace(e->vm_seq, g_strdup(vm_id), g_memdup2(&src, sizeof(src)));
}

static bool is(const struct event_record *r, enum api_event event)
{
    return strcmp(r->type, api_service.events[event].name) == 0;
}

/* The state that the vm.state event R led to; false for any other event. */
static bool state_of(const struct event_record *r, enum vm_state *state)
{
    struct json_object *to = NULL;

    return is(r, API_EVENT_VM_STATE) && json_object_is_type(r->data, json_type_object) &&
           json_object_object_get_ex(r->data, "to", &to) &&
           json_object_is_type(to, json_type_string) &&
           vm_state_from_string(json_object_get_string(to), state, NULL);
}

/* Takes RECORD into memory. */
static void keep(struct events *e, struct event_record *record, uint64_t src)
{
    struct kept *k = g_new0(struct kept, 1);
    enum vm_state state;

    k->record = record;
    k->src = src;
    e->last = record->seq;
    /* Each run's process counts from 1. */
    if (record->vm_id && state_of(record, &state) && state == VM_STATE_STARTING)
        g_hash_table_remove(e->vm_seq, record->vm_id);
    if (src && record->vm_id)
        note_vm_seq(e, record->vm_id, src);
    g_queue_push_tail(&e->kept, k);
    while (e->kept.length > LIMIT_EVENTS_KEPT)
        kept_free(g_queue_pop_head(&e->kept));
}

/* --- the log ---------------------------------------------------------------------------------- */

/* One line of the log; false when it is none. */
static bool read_line(struct events *e, const char *line, size_t n)
{
    g_autoptr(json_object) json = NULL;
    struct json_object *src = NULL;
    struct event_record *record;
    uint64_t number = 0;

    if (!json_read(line, n, &json, NULL) || !json_object_is_type(json, json_type_object))
        return false;
    if (json_object_object_get_ex(json, "src", &src)) {
        number = json_object_get_uint64(src);
        json_object_object_del(json, "src");
    }
    if (!event_record_decode(json, &record, NULL))
        return false;
    if (record->seq <= e->last) {
        event_record_free(record);
        return true;
    }
    keep(e, record, number);
    return true;
}

/* Reads the whole lines of PATH; returns their number, and their bytes in GOOD. */
static unsigned read_file(struct events *e, const char *path, size_t *good)
{
    g_autofree char *text = NULL;
    size_t length = 0;
    unsigned lines = 0, bad = 0;

    *good = 0;
    if (!g_file_get_contents(path, &text, &length, NULL))
        return 0;
    for (const char *at = text; at < text + length;) {
        const char *end = memchr(at, '\n', (size_t)(text + length - at));
        if (!end)
            break;
        bad += !read_line(e, at, (size_t)(end - at));
        lines++;
        at = end + 1;
        *good = (size_t)(at - text);
    }
    if (bad)
        log_warning("%s: %u damaged lines are passed over", path, bad);
    return lines;
}

struct events *events_open(const char *store, GError **err)
{
    struct events *e = g_new0(struct events, 1);
    size_t good;

    e->path = g_build_filename(store, "events.log", NULL);
    e->old_path = g_build_filename(store, "events.old", NULL);
    e->vm_seq = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    e->subscriptions = g_ptr_array_new_with_free_func(subscription_free);
    e->fd = open(e->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (e->fd < 0) {
        vmd_set_errno(err, errno, "opening %s", e->path);
        events_free(e);
        return NULL;
    }
    read_file(e, e->old_path, &good);
    e->in_file = read_file(e, e->path, &good);
    if (ftruncate(e->fd, (off_t)good) < 0 || lseek(e->fd, 0, SEEK_END) < 0) {
        vmd_set_errno(err, errno, "mending %s", e->path);
        events_free(e);
        return NULL;
    }
    return e;
}

void events_free(struct events *e)
{
    if (!e)
        return;
    g_queue_clear_full(&e->kept, kept_free);
    g_hash_table_destroy(e->vm_seq);
    g_ptr_array_free(e->subscriptions, TRUE);
    if (e->fd >= 0)
        close(e->fd);
    g_free(e->path);
    g_free(e->old_path);
    g_free(e);
}

static void rotate(struct events *e)
{
    int fd;

    if (rename(e->path, e->old_path) < 0)
        return;
    fd = open(e->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        log_error("a new event log: %s", g_strerror(errno));
        return;
    }
    close(e->fd);
    e->fd = fd;
    e->in_file = 0;
}

static void append(struct events *e, const struct event_record *record, uint64_t src)
{
    g_autoptr(json_object) json = event_record_encode(record);
    size_t n;

    if (e->in_file >= LIMIT_EVENTS_KEPT)
        rotate(e);
    if (src)
        json_object_object_add(json, "src", json_object_new_uint64(src));
    g_autofree char *text = json_write(json, &n);
    text[n] = '\n'; /* in place of the NUL: one write */
    off_t at = lseek(e->fd, 0, SEEK_CUR);
    errno = ENOSPC; /* of a short write */
    if (write(e->fd, text, n + 1) == (ssize_t)(n + 1)) {
        e->in_file++;
        return;
    }
    log_error("event %" G_GUINT64_FORMAT " could not be logged: %s", record->seq,
              g_strerror(errno));
    /* No half line stays for the next one to stick to. */
    if (ftruncate(e->fd, at) < 0 || lseek(e->fd, at, SEEK_SET) < 0)
        log_error("mending %s: %s", e->path, g_strerror(errno));
}

/* --- delivery --------------------------------------------------------------------------------- */

static bool type_matches(const char *filter, const char *type)
{
    size_t n = strlen(filter);

    if (strcmp(filter, "*") == 0)
        return true;
    if (n > 1 && filter[n - 1] == '*')
        return strncmp(filter, type, n - 1) == 0;
    return strcmp(filter, type) == 0;
}

static bool wanted(char *const *types, size_t n_types, const char *vm_id,
                   const struct event_record *r)
{
    if (vm_id && g_strcmp0(vm_id, r->vm_id) != 0)
        return false;
    for (size_t i = 0; i < n_types; i++) {
        if (type_matches(types[i], r->type))
            return true;
    }
    return n_types == 0;
}

static void deliver(const struct subscription *s, struct event_record *r)
{
    struct event_delivery delivery = {.subscription = s->number, .event = r};

    if (wanted(s->types, s->n_types, s->vm_id, r))
        rpc_conn_notify(s->conn, "event", event_delivery_encode(&delivery));
}

void events_emit(struct events *e, enum api_event event, const struct event_source *source,
                 uint64_t time_ns, const void *data)
{
    const struct rpc_event *info = &api_service.events[event];
    struct event_record *r = event_record_new();

    r->seq = e->last + 1;
    r->time_ns = time_ns ? time_ns : (uint64_t)g_get_real_time() * 1000;
    r->type = g_strdup(info->name);
    r->vm = source ? g_strdup(source->vm) : NULL;
    r->vm_id = source ? g_strdup(source->vm_id) : NULL;
    r->data = info->data && data ? codec_encode(info->data, data, 0) : json_object_new_object();
    append(e, r, source ? source->vm_seq : 0);
    keep(e, r, source ? source->vm_seq : 0);
    for (guint i = 0; i < e->subscriptions->len; i++)
        deliver(g_ptr_array_index(e->subscriptions, i), r);
}

uint64_t events_last(const struct events *e)
{
    return e->last;
}

void events_vm_after(const struct events *e, const char *vm_id, uint64_t after,
                     void (*each)(void *opaque, const struct event_record *record), void *opaque)
{
    const GList *first = e->kept.head;
    enum vm_state state;

    for (const GList *l = first; l; l = l->next) {
        const struct kept *k = l->data;
        if (g_strcmp0(k->record->vm_id, vm_id) == 0 && state_of(k->record, &state) &&
            state == VM_STATE_STARTING)
            first = l;
    }
    for (const GList *l = first; l; l = l->next) {
        const struct kept *k = l->data;
        if (g_strcmp0(k->record->vm_id, vm_id) == 0 && k->src > after)
            each(opaque, k->record);
    }
}

uint64_t events_vm_seq(const struct events *e, const char *vm_id)
{
    const uint64_t *seq = g_hash_table_lookup(e->vm_seq, vm_id);

    return seq ? *seq : 0;
}

void events_vm_state(const struct events *e, const char *vm_id, enum vm_state *state)
{
    for (GList *l = e->kept.tail; l; l = l->prev) {
        const struct event_record *r = ((struct kept *)l->data)->record;
        if (g_strcmp0(r->vm_id, vm_id) == 0 && state_of(r, state))
            return;
    }
}

const struct event_record *events_vm_ended(const struct events *e, const char *vm_id)
{
    for (GList *l = e->kept.tail; l; l = l->prev) {
        const struct event_record *r = ((struct kept *)l->data)->record;
        enum vm_state state;
        if (g_strcmp0(r->vm_id, vm_id) != 0)
            continue;
        if (is(r, API_EVENT_VM_ENDED))
            return r;
        if (state_of(r, &state) && state == VM_STATE_STARTING)
            return NULL;
    }
    return NULL;
}

bool events_vm_deleted(const struct events *e, const char *vm_id)
{
    for (GList *l = e->kept.tail; l; l = l->prev) {
        const struct event_record *r = ((struct kept *)l->data)->record;
        if (g_strcmp0(r->vm_id, vm_id) == 0)
            return is(r, API_EVENT_VM_DELETED);
    }
    return false;
}

/* The id of the job that R tells of; 0: none. */
static uint64_t job_of(const struct event_record *r)
{
    struct json_object *job = NULL, *id = NULL;

    if (json_object_is_type(r->data, json_type_object) &&
        json_object_object_get_ex(r->data, "job", &job) &&
        json_object_is_type(job, json_type_object) && json_object_object_get_ex(job, "id", &id))
        return json_object_get_uint64(id);
    return 0;
}

bool events_job_ended(const struct events *e, uint64_t job)
{
    for (GList *l = e->kept.tail; l; l = l->prev) {
        const struct event_record *r = ((struct kept *)l->data)->record;
        if (is(r, API_EVENT_JOB_ENDED) && job_of(r) == job)
            return true;
    }
    return false;
}

uint64_t events_last_job(const struct events *e)
{
    for (GList *l = e->kept.tail; l; l = l->prev) {
        const struct event_record *r = ((struct kept *)l->data)->record;
        if (is(r, API_EVENT_JOB_STARTED) && job_of(r))
            return job_of(r);
    }
    return 0;
}

/* --- methods ---------------------------------------------------------------------------------- */

static uint64_t first_kept(const struct events *e)
{
    const struct kept *k = g_queue_peek_head((GQueue *)&e->kept);

    return k ? k->record->seq : e->last + 1;
}

static struct subscription *subscription_new(struct rpc_conn *conn, uint32_t number,
                                             const struct event_subscribe_params *params,
                                             const char *vm_id)
{
    struct subscription *s = g_new0(struct subscription, 1);

    s->conn = conn;
    s->number = number;
    s->vm_id = g_strdup(vm_id);
    s->n_types = params->n_types;
    s->types = g_new0(char *, params->n_types + 1);
    for (size_t i = 0; i < params->n_types; i++)
        s->types[i] = g_strdup(params->types[i]);
    return s;
}

void events_subscribe(struct events *e, struct rpc_call *call,
                      const struct event_subscribe_params *params, const char *vm_id)
{
    struct rpc_conn *conn = rpc_call_conn(call);
    unsigned own = 0;

    for (guint i = 0; i < e->subscriptions->len; i++)
        own += ((struct subscription *)g_ptr_array_index(e->subscriptions, i))->conn == conn;
    if (own >= LIMIT_SUBSCRIPTIONS) {
        rpc_call_error(call, VMD_ERROR_LIMIT, "this connection has %d subscriptions already",
                       LIMIT_SUBSCRIPTIONS);
        return;
    }
    if (params->has_after && params->after + 1 < first_kept(e)) {
        rpc_call_error(call, VMD_ERROR_LIMIT,
                       "events after %" G_GUINT64_FORMAT " are no longer kept; the oldest is %"
                       G_GUINT64_FORMAT, params->after, first_kept(e));
        return;
    }
    if (params->has_after && params->after > e->last) {
        rpc_call_error(call, VMD_ERROR_INVALID,
                       "params.after: the latest event is %" G_GUINT64_FORMAT, e->last);
        return;
    }
    struct event_subscribe_result result = {.subscription = ++e->next_subscription,
                                            .seq = e->last};
    uint64_t after = params->has_after ? params->after : e->last;
    struct subscription *s =
        conn ? subscription_new(conn, result.subscription, params, vm_id) : NULL;
    /* The answer is sent before the first event, and ends the life of PARAMS. */
    event_subscribe_reply(call, &result);
    if (!s)
        return;
    g_ptr_array_add(e->subscriptions, s);
    for (GList *l = e->kept.head; l; l = l->next) {
        struct kept *k = l->data;
        if (k->record->seq > after)
            deliver(s, k->record);
    }
}

void events_unsubscribe(struct events *e, struct rpc_call *call, uint32_t subscription)
{
    for (guint i = 0; i < e->subscriptions->len; i++) {
        struct subscription *s = g_ptr_array_index(e->subscriptions, i);
        if (s->number == subscription && s->conn == rpc_call_conn(call)) {
            g_ptr_array_remove_index(e->subscriptions, i);
            event_unsubscribe_reply(call);
            return;
        }
    }
    rpc_call_error(call, VMD_ERROR_NOT_FOUND, "this connection has no subscription %u",
                   subscription);
}

void events_list(struct events *e, struct rpc_call *call, const struct event_list_params *params,
                 const char *vm_id)
{
    struct event_list_result result = {.first = first_kept(e), .last = e->last};

    /* Rows are borrowed from what is kept. */
    result.events = g_new0(struct event_record *, params->limit);
    for (GList *l = e->kept.head; l && result.n_events < params->limit; l = l->next) {
        struct kept *k = l->data;
        if (k->record->seq > params->after &&
            wanted(params->types, params->n_types, vm_id, k->record))
            result.events[result.n_events++] = k->record;
    }
    event_list_reply(call, &result);
    g_free(result.events);
}

void events_forget(struct events *e, struct rpc_conn *conn)
{
    for (guint i = e->subscriptions->len; i-- > 0;) {
        if (((struct subscription *)g_ptr_array_index(e->subscriptions, i))->conn == conn)
            g_ptr_array_remove_index(e->subscriptions, i);
    }
}
