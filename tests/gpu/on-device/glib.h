/*
 * What the GPU worker uses of glib, for machines that have a CUDA toolkit and no glib: the same names, as much of
 * each as is needed, and memory that is never lacking.
 */
#ifndef TESTS_GPU_ON_DEVICE_GLIB_H
#define TESTS_GPU_ON_DEVICE_GLIB_H

#include <assert.h>
#include <ctype.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned guint;
typedef uint8_t guint8;
typedef int gboolean, gint;
typedef int64_t gint64;
typedef void *gpointer;
typedef const void *gconstpointer;
typedef uint32_t GQuark;

#define TRUE  1
#define FALSE 0

#define G_N_ELEMENTS(a)      (sizeof(a) / sizeof((a)[0]))
#define G_GNUC_PRINTF(f, a)  __attribute__((format(printf, f, a)))
#define G_STATIC_ASSERT(e)   _Static_assert(e, #e)
#define MIN(a, b)            ((a) < (b) ? (a) : (b))
#define MAX(a, b)            ((a) > (b) ? (a) : (b))
#define CLAMP(v, low, high)  MIN(MAX(v, low), high)
#define g_assert(e)          assert(e)
#define g_assert_not_reached() abort()

/* --- memory ----------------------------------------------------------------------------------- */

void *g_malloc(size_t bytes);
void *g_malloc0(size_t bytes);
void *g_realloc(void *at, size_t bytes);
void *g_memdup2(const void *from, size_t bytes);
char *g_strdup(const char *text);
char *g_strndup(const char *text, size_t most);
size_t g_strlcpy(char *to, const char *from, size_t size);

#define GUINT64_FROM_LE(n)      le64toh(n)
#define g_ascii_isalnum(c)      (isascii(c) && isalnum((unsigned char)(c)))
#define g_ascii_isprint(c)      (isascii(c) && isprint((unsigned char)(c)))
#define g_free                  free
#define g_new(type, n)          ((type *)g_malloc(sizeof(type) * (size_t)(n)))
#define g_new0(type, n)         ((type *)g_malloc0(sizeof(type) * (size_t)(n)))
#define g_renew(type, at, n)    ((type *)g_realloc(at, sizeof(type) * (size_t)(n)))
#define g_clear_pointer(at, fn) (*(at) ? (fn(*(at)), (void)(*(at) = NULL)) : (void)0)

static inline void *shim_steal(void *at)
{
    void *value;

    memcpy(&value, at, sizeof(value));
    memset(at, 0, sizeof(value));
    return value;
}
#define g_steal_pointer(at) ((__typeof__(*(at)))shim_steal(at))

static inline void shim_free(void *at)
{
    free(shim_steal(at));
}
#define g_autofree __attribute__((cleanup(shim_free)))

/* --- errors ----------------------------------------------------------------------------------- */

typedef struct shim_error GError;
struct shim_error {
    GQuark domain;
    int code;
    char *message;
};

void g_error_free(GError *error);

static inline void shim_error_free(GError **error)
{
    if (*error)
        g_error_free(*error);
}
#define g_autoptr(type) __attribute__((cleanup(shim_autoptr_##type))) type *
#define shim_autoptr_GError shim_error_free

/* --- arrays ----------------------------------------------------------------------------------- */

typedef void (*GDestroyNotify)(gpointer data);

typedef struct shim_ptr_array GPtrArray;
struct shim_ptr_array {
    gpointer *pdata;
    guint len, room;
    GDestroyNotify destroy;
};

GPtrArray *g_ptr_array_new_with_free_func(GDestroyNotify destroy);
#define g_ptr_array_new() g_ptr_array_new_with_free_func(NULL)
void g_ptr_array_add(GPtrArray *a, gpointer item);
gpointer g_ptr_array_remove_index(GPtrArray *a, guint index);
gpointer g_ptr_array_remove_index_fast(GPtrArray *a, guint index);
gboolean g_ptr_array_remove_fast(GPtrArray *a, gpointer item);
void g_ptr_array_set_size(GPtrArray *a, gint size); /* never more than before */
void g_ptr_array_free(GPtrArray *a, gboolean all);
#define g_ptr_array_index(a, i) ((a)->pdata[i])

/* Of any elements, and of bytes: DATA is where they are. */
typedef struct shim_array GByteArray;
struct shim_array {
    guint8 *data;
    guint len;
    size_t size, room;
};
typedef GByteArray GArray;

GByteArray *shim_array_new(size_t size);
GByteArray *shim_array_append(GByteArray *a, gconstpointer from, guint n);
GByteArray *shim_array_insert(GByteArray *a, guint at, gconstpointer from);
void shim_array_set_size(GByteArray *a, guint n);
void shim_array_free(GByteArray *a);
void g_byte_array_unref(GByteArray *a); /* nobody else has it */
GArray *g_array_remove_index(GArray *a, guint index);
#define g_byte_array_new()            shim_array_new(1)
#define g_byte_array_append           shim_array_append
#define g_byte_array_set_size         shim_array_set_size
#define g_byte_array_free(a, all)     shim_array_free(a)
#define g_array_new(zero, clear, of)  shim_array_new(of)
#define g_array_append_val(a, v)      shim_array_append(a, &(v), 1)
#define g_array_insert_val(a, i, v)   shim_array_insert(a, i, &(v))
#define g_array_set_size              shim_array_set_size
#define g_array_free(a, all)          shim_array_free(a)
#define g_array_unref                 shim_array_free /* nobody else has it */
#define g_array_index(a, type, i)     (((type *)(void *)(a)->data)[i])

/* --- hash tables: keys are 64-bit numbers in memory of their values' ---------------------------- */

typedef struct shim_table GHashTable;
typedef struct shim_table_iter GHashTableIter;
struct shim_table_iter {
    GHashTable *table;
    size_t bucket;
    void **at; /* what points to the entry that was given last */
    bool given;
};

/* For what g_hash_table_new_full() is told here. */
void g_int64_hash(void);
void g_int64_equal(void);
GHashTable *shim_table_new(GDestroyNotify destroy);
#define g_hash_table_new_full(hash, equal, key_destroy, destroy) shim_table_new(destroy)
gpointer g_hash_table_lookup(GHashTable *t, gconstpointer key);
#define g_hash_table_contains(t, key) (g_hash_table_lookup(t, key) != NULL)
void g_hash_table_insert(GHashTable *t, gpointer key, gpointer value);
gboolean g_hash_table_remove(GHashTable *t, gconstpointer key);
guint g_hash_table_size(GHashTable *t);
void g_hash_table_destroy(GHashTable *t);
#define g_hash_table_unref g_hash_table_destroy /* nobody else has it */
void g_hash_table_iter_init(GHashTableIter *i, GHashTable *t);
gboolean g_hash_table_iter_next(GHashTableIter *i, gpointer *key, gpointer *value);
void g_hash_table_iter_remove(GHashTableIter *i);

/* --- time ------------------------------------------------------------------------------------- */

gint64 g_get_monotonic_time(void);
void g_usleep(uint64_t us);

#endif
