/*
 * Address spaces: what device addresses mean.
 *
 * Each change makes a new map and leaves the old one to the launches that hold it; a map counts the memory
 * blocks in it, so that memory freed during a launch lives until that launch ends. The lock guards which
 * map is the newest and all counts.
 *
 * No address means something in two spaces of a process, as far as there is room: a program that moves to a real GPU keeps
 * its addresses, and there all programs of a worker share one space.
 */
#include "gpu/soft/soft_priv.h"

#include <string.h>
#include <sys/mman.h>

#define SPACE_FIRST 0x700000000000ull /* where allocations begin */
#define SPACE_END   0x7ff000000000ull
#define SPACE_PART  (1ull << 38) /* what a space has to itself, while there are fewer than PARTS */
enum { SPACE_PARTS = (SPACE_END - SPACE_FIRST) / SPACE_PART };
enum { SPACE_ALIGN = 512, SPACE_ALIGN_LEAST = 256 /* of any device's */ };

struct soft_block {
    unsigned refs;
    void *host;
    uint64_t size;
};

struct soft_space {
    uint64_t limit, used;
    uint64_t first; /* of its part; 0: it has none yet */
    struct soft_space *next;
    struct soft_map *map;
    struct soft_pool *pool;
    const struct soft_place *plan; /* where the next allocations are to be; NULL: anywhere */
    unsigned n_plan, planned;
};

/* Counts are few and short-lived: one lock for all spaces. */
static pthread_mutex_t space_lock = PTHREAD_MUTEX_INITIALIZER;
static struct soft_space *spaces; /* all of them */

struct soft_space *soft_space_new(uint64_t limit)
{
    struct soft_space *s = g_new0(struct soft_space, 1);

    s->limit = limit;
    s->map = g_malloc0(sizeof(struct soft_map));
    s->map->refs = 1;
    s->pool = soft_pool_get();
    pthread_mutex_lock(&space_lock);
    s->next = spaces;
    spaces = s;
    pthread_mutex_unlock(&space_lock);
    return s;
}

static void map_put_locked(struct soft_map *map)
{
    if (--map->refs)
        return;
    for (unsigned i = 0; i < map->n; i++) {
        struct soft_block *b = map->range[i].block;

        if (b && --b->refs == 0) {
            munmap(b->host, b->size);
            g_free(b);
        }
    }
    g_free(map);
}

struct soft_map *soft_map_get(struct soft_space *space)
{
    struct soft_map *map;

    pthread_mutex_lock(&space_lock);
    map = space->map;
    map->refs++;
    pthread_mutex_unlock(&space_lock);
    return map;
}

void soft_map_put(struct soft_map *map)
{
    pthread_mutex_lock(&space_lock);
    map_put_locked(map);
    pthread_mutex_unlock(&space_lock);
}

void soft_space_free(struct soft_space *space)
{
    if (!space)
        return;
    soft_pool_put();
    pthread_mutex_lock(&space_lock);
    struct soft_space **at = &spaces;
    while (*at != space)
        at = &(*at)->next;
    *at = space->next;
    map_put_locked(space->map);
    pthread_mutex_unlock(&space_lock);
    g_free(space);
}

struct soft_pool *soft_space_pool(struct soft_space *space)
{
    return space->pool;
}

/* Index of the first range that ends above ADDR. */
static unsigned map_index(const struct soft_map *map, uint64_t addr)
{
    unsigned lo = 0, hi = map->n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (map->range[mid].addr + map->range[mid].size > addr)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

const struct soft_range *soft_map_find(const struct soft_map *map, uint64_t addr)
{
    unsigned i = map_index(map, addr);

    return i < map->n && map->range[i].addr <= addr ? &map->range[i] : NULL;
}

/* The newest map with RANGE put in at index AT, or with range AT left out where RANGE is NULL. */
static void map_change(struct soft_space *s, unsigned at, const struct soft_range *range)
{
    struct soft_map *old = s->map;
    unsigned n = range ? old->n + 1 : old->n - 1;
    struct soft_map *map = g_malloc(sizeof(*map) + n * sizeof(map->range[0]));

    map->refs = 1;
    map->n = n;
    memcpy(map->range, old->range, at * sizeof(map->range[0]));
    if (range) {
        map->range[at] = *range;
        memcpy(map->range + at + 1, old->range + at, (old->n - at) * sizeof(map->range[0]));
    } else {
        memcpy(map->range + at, old->range + at + 1, (n - at) * sizeof(map->range[0]));
    }
    for (unsigned i = 0; i < n; i++) {
        if (map->range[i].block)
            map->range[i].block->refs++;
    }
    s->map = map;
    map_put_locked(old);
}

/* The lowest free place for SIZE bytes from ADDR on: its address, and its index in *AT. 0 when there is none. */
static uint64_t map_gap(const struct soft_map *map, uint64_t addr, uint64_t size, unsigned *at)
{
    unsigned i;

    for (i = map_index(map, addr); i < map->n; i++) {
        if (map->range[i].addr >= addr && map->range[i].addr - addr > size)
            break;
        addr = (map->range[i].addr + map->range[i].size + SPACE_ALIGN) & ~(SPACE_ALIGN - 1ull);
    }
    *at = i;
    return addr < SPACE_END && size < SPACE_END - addr ? addr : 0;
}

/* New memory of SIZE bytes in the map, at ADDR and index AT. What is aligned there is so in this process: other
 * devices have variables close together, each at a multiple of no more than its own alignment. */
static int put_locked(struct soft_space *s, uint64_t addr, uint64_t size, bool own, unsigned at)
{
    struct soft_range r = {.addr = addr, .size = size, .own = own};
    uint64_t lead = addr % SPACE_ALIGN;
    struct soft_block *block;
    void *host = mmap(NULL, lead + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (host == MAP_FAILED)
        return SOFT_OUT_OF_MEMORY;
    block = g_new0(struct soft_block, 1);
    block->host = host;
    block->size = lead + size;
    r.host = (uint8_t *)host + lead;
    r.block = block;
    map_change(s, at, &r);
    s->used += size;
    return SOFT_OK;
}

/* Index of the place of SIZE bytes at ADDR in *AT; false where there is something. */
static bool map_vacant(const struct soft_map *map, uint64_t addr, uint64_t size, unsigned *at)
{
    *at = map_index(map, addr);
    return *at == map->n || map->range[*at].addr >= addr + size;
}

/* SIZE bytes at ADDR, a multiple of ALIGN. */
static int place_locked(struct soft_space *s, uint64_t addr, uint64_t size, bool own, unsigned align)
{
    unsigned at;

    if (!addr || addr % align || !size || addr >= 1ull << 48 || size > (1ull << 48) - addr)
        return SOFT_INVALID_VALUE;
    if (size > s->limit || s->used > s->limit - size)
        return SOFT_OUT_OF_MEMORY;
    return map_vacant(s->map, addr, size, &at) ? put_locked(s, addr, size, own, at) : SOFT_INVALID_VALUE;
}

static int planned_locked(struct soft_space *s, uint64_t size, bool own, uint64_t *addr)
{
    const struct soft_place *place = &s->plan[s->planned];

    if (s->planned == s->n_plan || place->size != size)
        return SOFT_INVALID_VALUE;
    int r = place_locked(s, place->addr, size, own, 1);
    if (!r) {
        *addr = place->addr;
        s->planned++;
    }
    return r;
}

/* Marks the parts in which S has something. */
static void mark_parts(const struct soft_space *s, bool used[SPACE_PARTS])
{
    if (s->first)
        used[(s->first - SPACE_FIRST) / SPACE_PART] = true;
    for (unsigned i = map_index(s->map, SPACE_FIRST); i < s->map->n && s->map->range[i].addr < SPACE_END; i++) {
        const struct soft_range *r = &s->map->range[i];
        uint64_t from = MAX(r->addr, SPACE_FIRST) - SPACE_FIRST, to = r->addr + r->size - 1 - SPACE_FIRST;

        for (uint64_t part = from / SPACE_PART; part <= to / SPACE_PART && part < SPACE_PARTS; part++)
            used[part] = true;
    }
}

/* Where a space begins to allocate: in a part in which there is nothing yet; the first one where there is none. */
static uint64_t part_locked(void)
{
    bool used[SPACE_PARTS] = {false};

    for (const struct soft_space *s = spaces; s; s = s->next)
        mark_parts(s, used);
    for (unsigned i = 0; i < SPACE_PARTS; i++) {
        if (!used[i])
            return SPACE_FIRST + i * SPACE_PART;
    }
    return SPACE_FIRST;
}

static int space_alloc_locked(struct soft_space *s, uint64_t size, bool own, uint64_t *addr)
{
    unsigned at;

    if (s->plan)
        return planned_locked(s, size, own, addr);
    if (size > s->limit || s->used > s->limit - size)
        return SOFT_OUT_OF_MEMORY;
    if (!s->first)
        s->first = part_locked();
    uint64_t found = map_gap(s->map, s->first, size, &at);
    if (!found)
        found = map_gap(s->map, SPACE_FIRST, size, &at);
    int r = found ? put_locked(s, found, size, own, at) : SOFT_OUT_OF_MEMORY;

    if (!r)
        *addr = found;
    return r;
}

static int space_alloc(struct soft_space *space, uint64_t size, bool own, uint64_t *addr)
{
    int r;

    if (size == 0)
        return SOFT_INVALID_VALUE;
    pthread_mutex_lock(&space_lock);
    r = space_alloc_locked(space, size, own, addr);
    pthread_mutex_unlock(&space_lock);
    return r;
}

int soft_space_alloc(struct soft_space *space, uint64_t size, uint64_t *addr)
{
    return space_alloc(space, size, false, addr);
}

int soft_space_alloc_own(struct soft_space *space, uint64_t size, uint64_t *addr)
{
    return space_alloc(space, size, true, addr);
}

int soft_space_alloc_at(struct soft_space *space, uint64_t addr, uint64_t size)
{
    pthread_mutex_lock(&space_lock);
    int r = place_locked(space, addr, size, false, 4096);
    pthread_mutex_unlock(&space_lock);
    return r;
}

int soft_space_restore(struct soft_space *space, uint64_t addr, uint64_t size)
{
    pthread_mutex_lock(&space_lock);
    int r = place_locked(space, addr, size, false, SPACE_ALIGN_LEAST);
    pthread_mutex_unlock(&space_lock);
    return r;
}

void soft_space_plan(struct soft_space *space, const struct soft_place *places, unsigned n)
{
    pthread_mutex_lock(&space_lock);
    space->plan = places;
    space->n_plan = n;
    space->planned = 0;
    pthread_mutex_unlock(&space_lock);
}

bool soft_space_as_planned(struct soft_space *space)
{
    pthread_mutex_lock(&space_lock);
    bool all = space->planned == space->n_plan;
    pthread_mutex_unlock(&space_lock);
    return all;
}

unsigned soft_space_places(struct soft_space *space, struct soft_place **places)
{
    unsigned n = 0;

    pthread_mutex_lock(&space_lock);
    *places = g_new(struct soft_place, space->map->n + 1);
    for (unsigned i = 0; i < space->map->n; i++) {
        const struct soft_range *r = &space->map->range[i];
        if (r->block)
            (*places)[n++] = (struct soft_place){r->addr, r->size};
    }
    pthread_mutex_unlock(&space_lock);
    return n;
}

/* The range that begins at ADDR, where it is of that kind, or NULL. */
static const struct soft_range *range_locked(const struct soft_space *s, uint64_t addr, bool own)
{
    const struct soft_range *range = soft_map_find(s->map, addr);

    return range && range->addr == addr && range->own == own ? range : NULL;
}

static int release(struct soft_space *space, uint64_t addr, bool own)
{
    int r = SOFT_INVALID_VALUE;
    const struct soft_range *range;

    pthread_mutex_lock(&space_lock);
    range = range_locked(space, addr, own);
    if (range) {
        if (range->block)
            space->used -= range->size;
        map_change(space, range - space->map->range, NULL);
        r = SOFT_OK;
    }
    pthread_mutex_unlock(&space_lock);
    return r;
}

int soft_space_release(struct soft_space *space, uint64_t addr)
{
    return release(space, addr, false);
}

void soft_space_release_own(struct soft_space *space, uint64_t addr)
{
    release(space, addr, true);
}

bool soft_space_releasable(struct soft_space *space, uint64_t addr)
{
    pthread_mutex_lock(&space_lock);
    bool is = range_locked(space, addr, false) != NULL;
    pthread_mutex_unlock(&space_lock);
    return is;
}

int soft_space_map(struct soft_space *space, uint64_t addr, void *host, uint64_t size)
{
    struct soft_range r = {.addr = addr, .size = size, .host = host};
    int result = SOFT_INVALID_VALUE;
    unsigned at;

    if (!addr || !size || addr >= 1ull << 48 || size > (1ull << 48) - addr)
        return result;
    pthread_mutex_lock(&space_lock);
    if (map_vacant(space->map, addr, size, &at)) {
        map_change(space, at, &r);
        result = SOFT_OK;
    }
    pthread_mutex_unlock(&space_lock);
    return result;
}

void *soft_space_host(struct soft_space *space, uint64_t addr, uint64_t size)
{
    const struct soft_range *r;
    void *host = NULL;

    pthread_mutex_lock(&space_lock);
    r = soft_map_find(space->map, addr);
    if (r && size <= r->size - (addr - r->addr))
        host = r->host + (addr - r->addr);
    pthread_mutex_unlock(&space_lock);
    return host;
}

int soft_space_range(struct soft_space *space, uint64_t addr, uint64_t *base, uint64_t *size)
{
    const struct soft_range *r;
    int result = SOFT_INVALID_VALUE;

    pthread_mutex_lock(&space_lock);
    r = soft_map_find(space->map, addr);
    if (r) {
        *base = r->addr;
        *size = r->size;
        result = SOFT_OK;
    }
    pthread_mutex_unlock(&space_lock);
    return result;
}

uint64_t soft_space_used(struct soft_space *space)
{
    uint64_t used;

    pthread_mutex_lock(&space_lock);
    used = space->used;
    pthread_mutex_unlock(&space_lock);
    return used;
}
