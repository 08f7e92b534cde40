/*
 * The map is a sorted table of ranges that is never changed, but replaced. Who looks something up
 * takes no lock: it counts itself in, reads which table there is, and counts itself out. Who
 * changes the map holds a lock against others that do, and frees the old table when both counts
 * have been seen at 0 after the new one was there: whoever had read the old one is out by then.
 * There are two counts so that newcomers, who use the other one, cannot keep it waiting. A device
 * range is reference-counted while a vCPU is inside its callbacks; removal waits for the count to
 * fall, but for references that the removing thread itself holds. Leaving a callback takes no lock
 * unless a removal is under way: the leaver lowers the count and then looks for removals, the
 * remover announces itself and then looks at the count, so that one of the two sees the other.
 */
#include "mem/mem_priv.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

struct range {
    gpa_t gpa;
    uint64_t size;
    enum mem_kind kind;
    struct mem_ram ram;
    const struct mem_device_ops *ops;
    void *opaque;
    char *name;
    int users;    /* vCPUs inside OPS; atomic, raised while counted in */
    bool removed; /* by the thread that is inside, which frees it as it leaves */
    bool shown;   /* RAM is a device's, but for its bit of what is there */
};

struct table {
    guint n;
    struct range *ranges[]; /* rising by gpa */
};

struct doorbell {
    gpa_t gpa;
    int fd;
};

struct window {
    gpa_t base;
    uint64_t size;
};

struct mem_map {
    pthread_mutex_t lock; /* of who changes the map */
    struct table *table;  /* atomic; owned, as are its ranges */
    unsigned phase;       /* which count newcomers use; atomic */
    int readers[2];       /* atomic */
    GPtrArray *hidden;    /* struct range that was shown, for the next time at its place; lock */
    GArray *doorbells;    /* struct doorbell */
    GArray *listeners;    /* struct mem_listener; filled before vCPUs run */
    pthread_mutex_t idle_lock;
    pthread_cond_t idle; /* some range's users fell */
    int removals;        /* under way; atomic */
    struct window windows[4];
    unsigned n_windows;
    unsigned pins; /* atomic */
};

/* The ranges whose callbacks this thread is inside of: the removal's exception. */
static __thread struct range *inside[8];
static __thread unsigned inside_n;

static void range_free(struct range *r)
{
    if (r->shown)
        g_free(r->ram.there);
    else if (r->kind == MEM_RAM)
        mem__ram_unmap(&r->ram);
    g_free(r->name);
    g_free(r);
}

struct mem_map *mem_map_new(void)
{
    struct mem_map *map = g_new0(struct mem_map, 1);

    pthread_mutex_init(&map->lock, NULL);
    pthread_mutex_init(&map->idle_lock, NULL);
    pthread_cond_init(&map->idle, NULL);
    map->table = g_malloc0(sizeof(*map->table));
    map->hidden = g_ptr_array_new();
    map->doorbells = g_array_new(FALSE, FALSE, sizeof(struct doorbell));
    map->listeners = g_array_new(FALSE, FALSE, sizeof(struct mem_listener));
    return map;
}

void mem_map_free(struct mem_map *map)
{
    if (!map)
        return;
    for (guint i = 0; i < map->table->n; i++)
        range_free(map->table->ranges[i]);
    g_free(map->table);
    for (guint i = 0; i < map->hidden->len; i++)
        range_free(g_ptr_array_index(map->hidden, i));
    g_ptr_array_free(map->hidden, TRUE);
    g_array_free(map->doorbells, TRUE);
    g_array_free(map->listeners, TRUE);
    pthread_cond_destroy(&map->idle);
    pthread_mutex_destroy(&map->idle_lock);
    pthread_mutex_destroy(&map->lock);
    g_free(map);
}

void mem_map_add_listener(struct mem_map *map, const struct mem_listener *listener)
{
    g_array_append_vals(map->listeners, listener, 1);
    for (guint i = 0; listener->doorbell && i < map->doorbells->len; i++) {
        const struct doorbell *bell = &g_array_index(map->doorbells, struct doorbell, i);
        listener->doorbell(listener->opaque, bell->gpa, bell->fd, true);
    }
}

static void tell_doorbell(struct mem_map *map, gpa_t gpa, int fd, bool added)
{
    for (guint i = 0; i < map->listeners->len; i++) {
        struct mem_listener *l = &g_array_index(map->listeners, struct mem_listener, i);
        if (l->doorbell)
            l->doorbell(l->opaque, gpa, fd, added);
    }
}

void mem_map_add_doorbell(struct mem_map *map, gpa_t gpa, int fd)
{
    const struct doorbell bell = {gpa, fd};

    g_array_append_val(map->doorbells, bell);
    tell_doorbell(map, gpa, fd, true);
}

void mem_map_remove_doorbell(struct mem_map *map, gpa_t gpa, int fd)
{
    for (guint i = 0; i < map->doorbells->len; i++) {
        if (g_array_index(map->doorbells, struct doorbell, i).gpa == gpa) {
            g_array_remove_index_fast(map->doorbells, i);
            tell_doorbell(map, gpa, fd, false);
            return;
        }
    }
}

void mem_map_remove_listener(struct mem_map *map, const struct mem_listener *listener)
{
    for (guint i = 0; i < map->listeners->len; i++) {
        if (g_array_index(map->listeners, struct mem_listener, i).opaque == listener->opaque) {
            g_array_remove_index(map->listeners, i);
            return;
        }
    }
}

void mem__tell_changed(struct mem_map *map, gpa_t gpa, uint64_t size, enum mem_kind kind,
                       bool added)
{
    for (guint i = 0; i < map->listeners->len; i++) {
        struct mem_listener *l = &g_array_index(map->listeners, struct mem_listener, i);
        if (l->changed)
            l->changed(l->opaque, gpa, size, kind, added);
    }
}

/* --- the table -------------------------------------------------------------------------------- */

/* The table as it is, which stays until look_end() with what COUNT gets. */
static const struct table *look_begin(struct mem_map *map, unsigned *count)
{
    *count = __atomic_load_n(&map->phase, __ATOMIC_SEQ_CST) & 1;
    __atomic_add_fetch(&map->readers[*count], 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&map->table, __ATOMIC_SEQ_CST);
}

static void look_end(struct mem_map *map, unsigned count)
{
    __atomic_sub_fetch(&map->readers[count], 1, __ATOMIC_SEQ_CST);
}

/* Puts TABLE in place of what there is. Lock held. */
static void publish(struct mem_map *map, struct table *table)
{
    struct table *old = map->table;

    __atomic_store_n(&map->table, table, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 2; i++) {
        unsigned count = __atomic_fetch_add(&map->phase, 1, __ATOMIC_SEQ_CST) & 1;
        while (__atomic_load_n(&map->readers[count], __ATOMIC_SEQ_CST))
            sched_yield();
    }
    g_free(old);
}

/* Index of the first range that ends beyond GPA. */
static guint find(const struct table *table, gpa_t gpa)
{
    guint lo = 0, hi = table->n;

    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        const struct range *r = table->ranges[mid];
        if (r->gpa + r->size - 1 < gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The range that holds GPA, or NULL; LENGTH gets the length up to its end or the next range. */
static struct range *range_at(const struct table *table, gpa_t gpa, uint64_t *length)
{
    guint i = find(table, gpa);

    if (i == table->n) {
        *length = UINT64_MAX - gpa;
        return NULL;
    }
    struct range *r = table->ranges[i];
    if (r->gpa > gpa) {
        *length = r->gpa - gpa;
        return NULL;
    }
    *length = r->size - (gpa - r->gpa);
    return r;
}

/* A table like the one there is, with R at place I. Lock held. */
static struct table *table_with(const struct table *old, guint i, struct range *r)
{
    struct table *table = g_malloc(sizeof(*table) + (old->n + 1) * sizeof(table->ranges[0]));

    table->n = old->n + 1;
    memcpy(table->ranges, old->ranges, i * sizeof(table->ranges[0]));
    table->ranges[i] = r;
    memcpy(table->ranges + i + 1, old->ranges + i, (old->n - i) * sizeof(table->ranges[0]));
    return table;
}

static struct table *table_without(const struct table *old, guint i)
{
    struct table *table = g_malloc(sizeof(*table) + old->n * sizeof(table->ranges[0]));

    table->n = old->n - 1;
    memcpy(table->ranges, old->ranges, i * sizeof(table->ranges[0]));
    memcpy(table->ranges + i, old->ranges + i + 1, (table->n - i) * sizeof(table->ranges[0]));
    return table;
}

/* Inserts R unless it overlaps; true when it was taken. */
static bool insert(struct mem_map *map, struct range *r)
{
    bool ok;

    pthread_mutex_lock(&map->lock);
    guint i = find(map->table, r->gpa);
    const struct range *next = i < map->table->n ? map->table->ranges[i] : NULL;
    ok = r->gpa + r->size - 1 >= r->gpa && (!next || next->gpa > r->gpa + r->size - 1);
    if (ok)
        publish(map, table_with(map->table, i, r));
    pthread_mutex_unlock(&map->lock);
    return ok;
}

/* Takes the range of KIND that starts at GPA out of the table; NULL where there is none. */
static struct range *take_out(struct mem_map *map, gpa_t gpa, enum mem_kind kind)
{
    uint64_t length;

    pthread_mutex_lock(&map->lock);
    struct range *r = range_at(map->table, gpa, &length);
    if (r && r->gpa == gpa && r->kind == kind)
        publish(map, table_without(map->table, find(map->table, gpa)));
    else
        r = NULL;
    pthread_mutex_unlock(&map->lock);
    return r;
}

/* --- ranges -------------------------------------------------------------------------------------
 */

/* Adds RAM; by blocks of BLOCK bytes, of which none is there, unless that is 0. */
static struct mem_ram *add_ram(struct mem_map *map, gpa_t gpa, uint64_t size, uint64_t block,
                               const char *name, bool read_only, GError **err)
{
    struct range *r;

    g_assert(size && !(size & (MEM_PAGE_SIZE - 1)) && !(gpa & (MEM_PAGE_SIZE - 1)));
    r = g_new0(struct range, 1);
    r->gpa = gpa;
    r->size = size;
    r->kind = MEM_RAM;
    r->name = g_strdup(name);
    r->ram = (struct mem_ram){
        .name = r->name, .gpa = gpa, .size = size, .fd = -1, .read_only = read_only};
    if (!mem__ram_map(&r->ram, err)) {
        g_free(r->name);
        g_free(r);
        return NULL;
    }
    if (block)
        mem__ram_sparse(&r->ram, block);
    if (!insert(map, r)) {
        range_free(r);
        vmd_fail(err, VMD_ERROR_EXISTS, "guest memory '%s' overlaps another range", name);
        return NULL;
    }
    return &r->ram;
}

struct mem_ram *mem_map_add_ram(struct mem_map *map, gpa_t gpa, uint64_t size, const char *name,
                                bool read_only, GError **err)
{
    struct mem_ram *ram = add_ram(map, gpa, size, 0, name, read_only, err);

    if (ram)
        mem__tell_changed(map, gpa, size, MEM_RAM, true);
    return ram;
}

struct mem_ram *mem_map_add_sparse_ram(struct mem_map *map, gpa_t gpa, uint64_t size,
                                       uint64_t block, const char *name, GError **err)
{
    g_assert(block >= MEM_PAGE_SIZE && !(block & (block - 1)) && !((gpa | size) & (block - 1)));
    return add_ram(map, gpa, size, block, name, false, err);
}

int mem_map_add_device(struct mem_map *map, gpa_t gpa, uint64_t size, const char *name,
                       const struct mem_device_ops *ops, void *opaque)
{
    struct range *r = g_new0(struct range, 1);

    g_assert(size > 0);
    r->gpa = gpa;
    r->size = size;
    r->kind = MEM_DEVICE;
    r->ops = ops;
    r->opaque = opaque;
    r->name = g_strdup(name);
    if (!insert(map, r)) {
        range_free(r);
        return -EEXIST;
    }
    mem__tell_changed(map, gpa, size, MEM_DEVICE, true);
    return 0;
}

int mem_map_remove_device(struct mem_map *map, gpa_t gpa)
{
    struct range *r = take_out(map, gpa, MEM_DEVICE);
    int own = 0;

    if (!r)
        return -ENOENT;
    for (unsigned i = 0; i < inside_n; i++)
        own += inside[i] == r;
    mem__tell_changed(map, r->gpa, r->size, MEM_DEVICE, false);
    __atomic_add_fetch(&map->removals, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&map->idle_lock);
    while (__atomic_load_n(&r->users, __ATOMIC_SEQ_CST) > own)
        pthread_cond_wait(&map->idle, &map->idle_lock);
    pthread_mutex_unlock(&map->idle_lock);
    __atomic_sub_fetch(&map->removals, 1, __ATOMIC_SEQ_CST);
    if (own)
        r->removed = true;
    else
        range_free(r);
    return 0;
}

int mem_map_remove_ram(struct mem_map *map, gpa_t gpa)
{
    struct range *r = take_out(map, gpa, MEM_RAM);

    if (!r)
        return -ENOENT;
    mem__tell_changed(map, r->gpa, r->size, MEM_RAM, false);
    range_free(r);
    return 0;
}

/* --- RAM that devices show -------------------------------------------------------------------- */

/* What there was of MEMORY at GPA before, or a new range. */
static struct range *take_hidden(struct mem_map *map, gpa_t gpa, const struct mem_ram *memory)
{
    struct range *r = NULL;

    pthread_mutex_lock(&map->lock);
    for (guint i = 0; !r && i < map->hidden->len; i++) {
        struct range *old = g_ptr_array_index(map->hidden, i);
        if (old->gpa == gpa && old->ram.host == memory->host)
            r = g_ptr_array_remove_index_fast(map->hidden, i);
    }
    pthread_mutex_unlock(&map->lock);
    if (r)
        return r;
    r = g_new0(struct range, 1);
    r->gpa = gpa;
    r->size = memory->size;
    r->kind = MEM_RAM;
    r->shown = true;
    r->name = g_strdup(memory->name);
    r->ram = *memory;
    r->ram.name = r->name;
    r->ram.gpa = gpa;
    r->ram.shown = true;
    mem__ram_sparse(&r->ram, memory->size);
    return r;
}

static void keep_hidden(struct mem_map *map, struct range *r)
{
    pthread_mutex_lock(&map->lock);
    g_ptr_array_add(map->hidden, r);
    pthread_mutex_unlock(&map->lock);
}

int mem_map_show_ram(struct mem_map *map, gpa_t gpa, const struct mem_ram *memory)
{
    struct range *r = take_hidden(map, gpa, memory);

    if (!insert(map, r)) {
        keep_hidden(map, r);
        return -EEXIST;
    }
    mem__ram_there(&r->ram, true);
    mem__tell_changed(map, gpa, r->size, MEM_SHOWN, true);
    return 0;
}

int mem_map_hide_ram(struct mem_map *map, gpa_t gpa)
{
    struct range *r = take_out(map, gpa, MEM_RAM);

    if (!r)
        return -ENOENT;
    g_assert(r->shown);
    mem__ram_there(&r->ram, false);
    mem__tell_changed(map, gpa, r->size, MEM_SHOWN, false);
    keep_hidden(map, r);
    return 0;
}

void mem_map_forget_ram(struct mem_map *map, const struct mem_ram *memory)
{
    g_autoptr(GPtrArray) old = g_ptr_array_new();

    pthread_mutex_lock(&map->lock);
    for (guint i = map->hidden->len; i-- > 0;) {
        struct range *r = g_ptr_array_index(map->hidden, i);
        if (r->ram.host == memory->host)
            g_ptr_array_add(old, g_ptr_array_remove_index_fast(map->hidden, i));
    }
    pthread_mutex_unlock(&map->lock);
    for (guint i = 0; i < old->len; i++) {
        struct range *r = g_ptr_array_index(old, i);
        mem__tell_changed(map, r->gpa, r->size, MEM_FORGOTTEN, false);
        range_free(r);
    }
}

void mem_map_lookup(struct mem_map *map, gpa_t gpa, struct mem_view *out)
{
    unsigned count;
    bool there = true;

    *out = (struct mem_view){.kind = MEM_NONE};
    struct range *r = range_at(look_begin(map, &count), gpa, &out->length);
    if (r && r->kind == MEM_RAM && r->ram.there) {
        there = mem_ram_has(&r->ram, gpa - r->gpa);
        out->length = mem__run_length(&r->ram, gpa - r->gpa, there);
    }
    if (r && there) {
        out->kind = r->kind;
        if (r->kind == MEM_RAM) {
            out->ram = &r->ram;
            out->host = r->ram.host + (gpa - r->gpa);
        }
    }
    look_end(map, count);
}

void mem_map_each_ram(struct mem_map *map, void (*fn)(void *opaque, struct mem_ram *ram),
                      void *opaque)
{
    unsigned count;
    const struct table *table = look_begin(map, &count);

    for (guint i = 0; i < table->n; i++) {
        if (table->ranges[i]->kind == MEM_RAM)
            fn(opaque, &table->ranges[i]->ram);
    }
    look_end(map, count);
}

void mem_map_add_window(struct mem_map *map, gpa_t base, uint64_t size)
{
    g_assert(map->n_windows < G_N_ELEMENTS(map->windows));
    map->windows[map->n_windows++] = (struct window){base, size};
}

void mem_map_remove_window(struct mem_map *map, gpa_t base)
{
    for (unsigned i = 0; i < map->n_windows; i++) {
        if (map->windows[i].base == base) {
            map->windows[i] = map->windows[--map->n_windows];
            return;
        }
    }
}

/* What a vCPU gets where no device is, RC being why there is none. */
static int nobody(const struct mem_map *map, gpa_t gpa, int rc)
{
    for (unsigned i = 0; rc == -EFAULT && i < map->n_windows; i++) {
        if (gpa - map->windows[i].base < map->windows[i].size)
            return 0;
    }
    return rc;
}

/* Finds and holds the device at GPA for an access of SIZE bytes. */
static int enter(struct mem_map *map, gpa_t gpa, unsigned size, struct range **out)
{
    uint64_t length;
    unsigned count;
    int rc = 0;

    struct range *r = range_at(look_begin(map, &count), gpa, &length);
    if (!r || r->kind != MEM_DEVICE)
        rc = -EFAULT;
    else if (length < size || !(r->ops->sizes & size) || (gpa & (size - 1)))
        rc = -EINVAL;
    else
        __atomic_add_fetch(&r->users, 1, __ATOMIC_SEQ_CST);
    look_end(map, count);
    if (rc)
        return rc;
    g_assert(inside_n < G_N_ELEMENTS(inside));
    inside[inside_n++] = r;
    *out = r;
    return 0;
}

static void leave(struct mem_map *map, struct range *r)
{
    inside_n--;
    /* Read before the count falls: then the range may be another thread's to free. */
    bool removed = r->removed;
    int left = __atomic_sub_fetch(&r->users, 1, __ATOMIC_SEQ_CST);

    if (removed && left == 0) {
        range_free(r);
    } else if (__atomic_load_n(&map->removals, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&map->idle_lock);
        pthread_cond_broadcast(&map->idle);
        pthread_mutex_unlock(&map->idle_lock);
    }
}

int mem_map_device_read(struct mem_map *map, gpa_t gpa, unsigned size, uint64_t *value)
{
    struct range *r;
    int rc = enter(map, gpa, size, &r);

    if (rc) {
        rc = nobody(map, gpa, rc);
        if (rc == 0)
            *value = 0;
        return rc;
    }
    rc = r->ops->read(r->opaque, gpa - r->gpa, size, value);
    leave(map, r);
    return rc;
}

int mem_map_device_write(struct mem_map *map, gpa_t gpa, unsigned size, uint64_t value)
{
    struct range *r;
    int rc = enter(map, gpa, size, &r);

    if (rc)
        return nobody(map, gpa, rc);
    rc = r->ops->write(r->opaque, gpa - r->gpa, size, value);
    leave(map, r);
    return rc;
}

void mem_map_pin(struct mem_map *map, bool pinned)
{
    __atomic_fetch_add(&map->pins, pinned ? 1 : -1u, __ATOMIC_SEQ_CST);
}

bool mem_map_pinned(const struct mem_map *map)
{
    return __atomic_load_n(&map->pins, __ATOMIC_SEQ_CST) > 0;
}

void mem_map_dirty_log(struct mem_map *map, bool on)
{
    for (guint i = 0; i < map->listeners->len; i++) {
        struct mem_listener *l = &g_array_index(map->listeners, struct mem_listener, i);
        if (l->dirty_log)
            l->dirty_log(l->opaque, on);
    }
}

void mem_map_dirty_sync(struct mem_map *map)
{
    for (guint i = 0; i < map->listeners->len; i++) {
        struct mem_listener *l = &g_array_index(map->listeners, struct mem_listener, i);
        if (l->dirty_sync)
            l->dirty_sync(l->opaque);
    }
}

void *mem_map_host(struct mem_map *map, gpa_t gpa, uint64_t length, bool write)
{
    struct mem_view v;

    mem_map_lookup(map, gpa, &v);
    if (!mem_view_is_dma(&v, write) || v.length < length)
        return NULL;
    return v.host;
}

/* Flags the pages of [offset, offset + length) dirty; true when one of them holds code. */
static bool mark_dirty(struct mem_ram *ram, uint64_t offset, uint64_t length)
{
    bool code = false;

    /* Who makes code of a page flags it and then reads it: one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t p = offset >> MEM_PAGE_SHIFT; p <= (offset + length - 1) >> MEM_PAGE_SHIFT; p++) {
        mem_page_set(ram, p, MEM_PAGE_DIRTY);
        code |= mem_page_flags(ram, p) & MEM_PAGE_CODE;
    }
    return code;
}

void mem_map_written(struct mem_map *map, gpa_t gpa, uint64_t length)
{
    struct mem_view v;

    if (!length)
        return;
    mem_map_lookup(map, gpa, &v);
    if (v.kind != MEM_RAM || v.length < length)
        return;
    if (!mark_dirty(v.ram, gpa - v.ram->gpa, length))
        return;
    for (guint i = 0; i < map->listeners->len; i++) {
        struct mem_listener *l = &g_array_index(map->listeners, struct mem_listener, i);
        if (l->code_written)
            l->code_written(l->opaque, gpa, length);
    }
}

int mem_map_read(struct mem_map *map, gpa_t gpa, void *to, uint64_t length)
{
    struct mem_view v;

    mem_map_lookup(map, gpa, &v);
    if (v.kind != MEM_RAM || v.length < length)
        return -EFAULT;
    memcpy(to, v.host, length);
    return 0;
}

int mem_map_peek(struct mem_map *map, gpa_t gpa, void *to, uint64_t length)
{
    struct mem_view v;

    mem_map_lookup(map, gpa, &v);
    if (v.kind != MEM_RAM || v.length < length || v.ram->fd < 0)
        return mem_map_read(map, gpa, to, length);
    /* A fault would bring a page where the file has a hole. */
    for (uint64_t done = 0; done < length;) {
        off_t at = (off_t)(v.host - v.ram->host + done);
        ssize_t n = pread(v.ram->fd, (uint8_t *)to + done, length - done, at);
        if (n == 0 || (n < 0 && errno != EINTR))
            return n ? -errno : -EIO;
        done += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

int mem_map_write(struct mem_map *map, gpa_t gpa, const void *from, uint64_t length)
{
    struct mem_view v;

    mem_map_lookup(map, gpa, &v);
    if (v.kind != MEM_RAM || v.length < length || v.ram->read_only)
        return -EFAULT;
    memcpy(v.host, from, length);
    mem_map_written(map, gpa, length);
    return 0;
}
