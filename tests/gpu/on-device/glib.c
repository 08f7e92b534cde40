/* See glib.h beside this. */
#include "glib.h"

#include <stdio.h>
#include <time.h>

/* --- memory ----------------------------------------------------------------------------------- */

void *g_realloc(void *at, size_t bytes)
{
    void *now = realloc(at, bytes ? bytes : 1);

    if (!now)
        abort();
    return now;
}

void *g_malloc(size_t bytes)
{
    return g_realloc(NULL, bytes);
}

void *g_malloc0(size_t bytes)
{
    return memset(g_malloc(bytes), 0, bytes);
}

void *g_memdup2(const void *from, size_t bytes)
{
    return memcpy(g_malloc(bytes), from, bytes);
}

char *g_strndup(const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    char *copy = g_malloc(n + 1);

    memcpy(copy, text, n);
    copy[n] = 0;
    return copy;
}

char *g_strdup(const char *text)
{
    return text ? g_memdup2(text, strlen(text) + 1) : NULL;
}

size_t g_strlcpy(char *to, const char *from, size_t size)
{
    size_t n = strlen(from);

    if (size)
        snprintf(to, size, "%s", from);
    return n;
}

void g_error_free(GError *error)
{
    free(error->message);
    free(error);
}

/* --- arrays ----------------------------------------------------------------------------------- */

GPtrArray *g_ptr_array_new_with_free_func(GDestroyNotify destroy)
{
    GPtrArray *a = g_malloc0(sizeof(*a));

    a->destroy = destroy;
    return a;
}

void g_ptr_array_add(GPtrArray *a, gpointer item)
{
    if (a->len == a->room) {
        a->room = a->room ? 2 * a->room : 16;
        a->pdata = g_realloc(a->pdata, a->room * sizeof(*a->pdata));
    }
    a->pdata[a->len++] = item;
}

static gpointer taken(GPtrArray *a, gpointer item)
{
    if (a->destroy)
        a->destroy(item);
    return item;
}

gpointer g_ptr_array_remove_index(GPtrArray *a, guint index)
{
    gpointer item = a->pdata[index];

    memmove(a->pdata + index, a->pdata + index + 1, (--a->len - index) * sizeof(*a->pdata));
    return taken(a, item);
}

gpointer g_ptr_array_remove_index_fast(GPtrArray *a, guint index)
{
    gpointer item = a->pdata[index];

    a->pdata[index] = a->pdata[--a->len];
    return taken(a, item);
}

gboolean g_ptr_array_remove_fast(GPtrArray *a, gpointer item)
{
    for (guint i = 0; i < a->len; i++) {
        if (a->pdata[i] == item) {
            g_ptr_array_remove_index_fast(a, i);
            return TRUE;
        }
    }
    return FALSE;
}

void g_ptr_array_set_size(GPtrArray *a, gint size)
{
    while (a->len > (guint)size)
        g_ptr_array_remove_index_fast(a, a->len - 1);
}

void g_ptr_array_free(GPtrArray *a, gboolean all)
{
    g_ptr_array_set_size(a, 0);
    free(a->pdata);
    free(a);
}

GByteArray *shim_array_new(size_t size)
{
    GByteArray *a = g_malloc0(sizeof(*a));

    a->size = size;
    return a;
}

GByteArray *shim_array_insert(GByteArray *a, guint at, gconstpointer from)
{
    guint behind = a->len - at;

    shim_array_append(a, from, 1);
    memmove(a->data + (at + 1) * a->size, a->data + at * a->size, behind * a->size);
    memcpy(a->data + at * a->size, from, a->size);
    return a;
}

void shim_array_set_size(GByteArray *a, guint n)
{
    if (n > a->room) {
        a->room = MAX(2 * a->room, n);
        a->data = g_realloc(a->data, a->room * a->size);
    }
    a->len = n;
}

GByteArray *shim_array_append(GByteArray *a, gconstpointer from, guint n)
{
    guint at = a->len;

    shim_array_set_size(a, at + n);
    memcpy(a->data + at * a->size, from, n * a->size);
    return a;
}

void shim_array_free(GByteArray *a)
{
    free(a->data);
    free(a);
}

void g_byte_array_unref(GByteArray *a)
{
    shim_array_free(a);
}

GArray *g_array_remove_index(GArray *a, guint index)
{
    guint8 *at = a->data + index * a->size;

    memmove(at, at + a->size, (--a->len - index) * a->size);
    return a;
}

/* --- hash tables ------------------------------------------------------------------------------ */

enum { BUCKETS = 4096 };

struct entry {
    struct entry *next;
    const void *key;
    void *value;
};

struct shim_table {
    struct entry *buckets[BUCKETS];
    guint size;
    GDestroyNotify destroy;
};

GHashTable *shim_table_new(GDestroyNotify destroy)
{
    GHashTable *t = g_malloc0(sizeof(*t));

    t->destroy = destroy;
    return t;
}

static uint64_t number(const void *key)
{
    uint64_t v;

    memcpy(&v, key, sizeof(v));
    return v;
}

/* What points to KEY's entry, or to the end where it would be. */
static struct entry **place(GHashTable *t, const void *key)
{
    struct entry **at = &t->buckets[number(key) * 0x9e3779b97f4a7c15u >> 52];

    while (*at && number((*at)->key) != number(key))
        at = &(*at)->next;
    return at;
}

gpointer g_hash_table_lookup(GHashTable *t, gconstpointer key)
{
    struct entry *e = *place(t, key);

    return e ? e->value : NULL;
}

void g_hash_table_insert(GHashTable *t, gpointer key, gpointer value)
{
    struct entry *e = g_malloc0(sizeof(*e)), **at = place(t, key);

    assert(!*at);
    *e = (struct entry){NULL, key, value};
    *at = e;
    t->size++;
}

static void drop(GHashTable *t, struct entry **at)
{
    struct entry *e = *at;

    *at = e->next;
    t->size--;
    if (t->destroy)
        t->destroy(e->value);
    free(e);
}

gboolean g_hash_table_remove(GHashTable *t, gconstpointer key)
{
    struct entry **at = place(t, key);

    if (!*at)
        return FALSE;
    drop(t, at);
    return TRUE;
}

guint g_hash_table_size(GHashTable *t)
{
    return t->size;
}

void g_hash_table_destroy(GHashTable *t)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (t->buckets[i])
            drop(t, &t->buckets[i]);
    }
    free(t);
}

void g_hash_table_iter_init(GHashTableIter *i, GHashTable *t)
{
    *i = (GHashTableIter){.table = t, .at = (void **)&t->buckets[0]};
}

gboolean g_hash_table_iter_next(GHashTableIter *i, gpointer *key, gpointer *value)
{
    if (i->given)
        i->at = (void **)&((struct entry *)*i->at)->next;
    while (!*i->at && ++i->bucket < BUCKETS)
        i->at = (void **)&i->table->buckets[i->bucket];
    i->given = *i->at != NULL;
    if (i->given && value)
        *value = ((struct entry *)*i->at)->value;
    return i->given;
}

void g_hash_table_iter_remove(GHashTableIter *i)
{
    drop(i->table, (struct entry **)i->at);
    i->given = false;
}

/* --- time ------------------------------------------------------------------------------------- */

gint64 g_get_monotonic_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (gint64)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void g_usleep(uint64_t us)
{
    const struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    nanosleep(&ts, NULL);
}
