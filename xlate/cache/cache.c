/*
 * The code cache: its life, its users, lookup and linking. See cache_priv.h for the invariants,
 * fill.c and drop.c for how code comes and leaves.
 */
#include "xlate/cache/cache_priv.h"

#include <errno.h>

/* --- life ------------------------------------------------------------------------------------- */

#define HASH_BYTES  (sizeof(struct cache_unit *) << HASH_BITS)
#define PAGES_BYTES (sizeof(struct cache_page) * XL_CODE_PAGES)
#define GHOST_BYTES (sizeof(uint32_t) << GHOST_BITS)
#define INDEX_BYTES (HASH_BYTES + PAGES_BYTES + GHOST_BYTES)

static bool index_new(struct cache *cache)
{
    uint8_t *at = large_alloc(INDEX_BYTES);

    if (!at)
        return false;
    cache->index = at;
    cache->hash = (struct cache_unit **)(void *)at;
    cache->page = (struct cache_page *)(void *)(at + HASH_BYTES);
    cache->ghost = (uint32_t *)(void *)(at + HASH_BYTES + PAGES_BYTES);
    for (unsigned i = XL_CODE_PAGES; i-- > 0;) {
        cache->page[i].next = cache->free_pages;
        cache->free_pages = &cache->page[i];
    }
    return true;
}

/* Held for a microsecond at most, nearly always: it pays to look again before one sleeps. */
static void lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

bool cache_new(const struct cache_config *config, struct cache **out, GError **err)
{
    struct cache *cache = g_aligned_alloc0(1, sizeof(*cache), CACHE_HOST_LINE);
    uint64_t limit = config->limit ? config->limit : CACHE_DEFAULT_BYTES;

    cache->kick = config->kick;
    cache->dropped = config->dropped;
    cache->opaque = config->opaque;
    lock_init(&cache->lock);
    pthread_cond_init(&cache->passed, NULL);
    cache->segment = g_new0(struct segment, SEGMENTS);
    cache->page_hash = g_new0(struct cache_page *, 1u << PAGE_HASH_BITS);
    if (!index_new(cache)) {
        vmd_set_errno(err, errno, "tables of the code cache");
        cache_free(cache);
        return false;
    }
    if (!cache__map(cache, err) || !cache_set_limit(cache, limit, err)) {
        cache_free(cache);
        return false;
    }
    *out = cache;
    return true;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    g_assert(!cache->users);
    cache__unmap(cache);
    large_free(cache->index, INDEX_BYTES);
    g_free(cache->page_hash);
    g_free(cache->segment);
    pthread_cond_destroy(&cache->passed);
    pthread_mutex_destroy(&cache->lock);
    g_aligned_free(cache);
}

void cache_fixed(struct cache *cache, uint8_t **write, ptrdiff_t *run_delta)
{
    *write = cache->write;
    *run_delta = cache->run_delta;
}

/* --- users ------------------------------------------------------------------------------------ */

static void forget_everything(struct xl_cpu *cpu)
{
    for (unsigned i = 0; i < XL_CODE_PAGES; i++)
        cpu->code_at[i] = XL_TLB_NONE;
    memset(cpu->code_mapped, 0, sizeof(cpu->code_mapped));
    memset(cpu->jump, 0, sizeof(cpu->jump));
    memset(cpu->ras, 0, sizeof(cpu->ras));
}

struct cache_user *cache_user_new(struct cache *cache, struct xl_cpu *cpu)
{
    struct cache_user *user = g_aligned_alloc0(1, sizeof(*user), CACHE_HOST_LINE);

    user->cache = cache;
    user->cpu = cpu;
    user->epoch = UINT64_MAX;
    if (cpu)
        forget_everything(cpu);
    pthread_mutex_lock(&cache->lock);
    user->log_seen = cache->log_head;
    user->next = cache->users;
    cache->users = user;
    pthread_mutex_unlock(&cache->lock);
    return user;
}

void cache_user_free(struct cache_user *user)
{
    if (!user)
        return;
    struct cache *cache = user->cache;
    struct cache_user **at = &cache->users;

    pthread_mutex_lock(&cache->lock);
    g_assert(!user->begun[0] && user->epoch == UINT64_MAX);
    while (*at != user)
        at = &(*at)->next;
    *at = user->next;
    if (user->segment) {
        user->segment->owner = NULL;
        user->segment->state = SEGMENT_FULL;
    }
    cache->stats.links_indirect += user->remembered;
    pthread_mutex_unlock(&cache->lock);
    g_aligned_free(user);
}

bool cache_safepoint(struct cache_user *user)
{
    struct cache *cache = user->cache;

    if (likely(user->epoch == __atomic_load_n(&cache->epoch, __ATOMIC_ACQUIRE)))
        return true;
    pthread_mutex_lock(&cache->lock);
    cache__catch_up(user);
    pthread_mutex_unlock(&cache->lock);
    return false;
}

bool cache_is_behind(struct cache_user *user)
{
    struct cache *cache = user->cache;

    pthread_mutex_lock(&cache->lock);
    bool behind = user->epoch < cache->epoch;
    pthread_mutex_unlock(&cache->lock);
    return behind;
}

void cache_leave(struct cache_user *user)
{
    struct cache *cache = user->cache;

    pthread_mutex_lock(&cache->lock);
    user->epoch = UINT64_MAX;
    if (cache->waiting)
        pthread_cond_broadcast(&cache->passed);
    pthread_mutex_unlock(&cache->lock);
}

void cache_join(struct cache_user *user)
{
    pthread_mutex_lock(&user->cache->lock);
    cache__catch_up(user);
    pthread_mutex_unlock(&user->cache->lock);
}

/* --- lookup ----------------------------------------------------------------------------------- */

struct cache_unit *cache_lookup(struct cache *cache, gpa_t gpa, uint32_t mode)
{
    struct cache_unit *unit = __atomic_load_n(cache__bucket(cache, gpa, mode), __ATOMIC_ACQUIRE);

    while (unit && (unit->gpa != gpa || unit->mode != mode))
        unit = __atomic_load_n(&unit->next, __ATOMIC_ACQUIRE);
    return unit;
}

/* --- links ------------------------------------------------------------------------------------ */

void cache_link(struct cache_user *user, uint32_t number, struct cache_unit *unit)
{
    struct cache *cache = user->cache;

    pthread_mutex_lock(&cache->lock);
    struct cache_link *link =
        &cache->segment[number >> LINK_BITS].links[number & ((1u << LINK_BITS) - 1)];
    struct cache_unit *from = link->from;
    if (from->live && unit->live && !link->to && unit->linkable && from->mode == unit->mode &&
        (link->checked || from->in_page[0].page == unit->in_page[0].page)) {
        const uint8_t *target = link->checked ? unit->checked : unit->entry;
        link->to = unit;
        link->in_next = unit->in;
        link->in_prev = &unit->in;
        if (unit->in)
            unit->in->in_prev = &link->in_next;
        unit->in = link;
        __atomic_store_n((int32_t *)link->site,
                         (int32_t)(target - cache->run_delta - (link->site + 4)), __ATOMIC_RELEASE);
        cache->stats.linked++;
        if (link->checked)
            cache->stats.links_cross++;
        else
            cache->stats.links_direct++;
    }
    pthread_mutex_unlock(&cache->lock);
}

void cache_remember(struct cache_user *user, gva_t pc, const struct cache_unit *unit)
{
    struct xl_cpu *cpu = user->cpu;

    if (!unit->linkable)
        return;
    cpu->jump[pc / 2 % XL_JUMP_SIZE] =
        (struct xl_jump){.tag = pc ^ cpu->jump_salt, .code = unit->checked};
    __atomic_store_n(&user->remembered, user->remembered + 1, __ATOMIC_RELAXED);
}

/* --- statistics ------------------------------------------------------------------------------- */

void cache_stats(struct cache *cache, struct cache_stats *out)
{
    pthread_mutex_lock(&cache->lock);
    *out = cache->stats;
    for (const struct cache_user *u = cache->users; u; u = u->next)
        out->links_indirect += __atomic_load_n(&u->remembered, __ATOMIC_RELAXED);
    out->size = (uint64_t)cache->size_segments * SEGMENT_BYTES;
    out->used_bytes = (uint64_t)(cache->n_segments - cache->n_free) * SEGMENT_BYTES;
    pthread_mutex_unlock(&cache->lock);
}

static bool holds(const struct cache_unit *unit, const void *code)
{
    /* The checked entry is where the hot part starts. */
    return unit->live && ((uintptr_t)code - (uintptr_t)unit->checked < unit->hot_bytes ||
                          (uintptr_t)code - (uintptr_t)unit->cold < unit->cold_bytes);
}

bool cache_find_code(struct cache *cache, const void *code,
                     void (*fn)(void *opaque, const struct cache_unit *unit), void *opaque)
{
    uintptr_t at = (uintptr_t)code - (uintptr_t)(cache->run + CACHE_UNITS_AT);
    bool found = false;

    if (at / SEGMENT_BYTES >= SEGMENTS)
        return false;
    pthread_mutex_lock(&cache->lock);
    const struct segment *s = &cache->segment[at / SEGMENT_BYTES];
    for (uint32_t i = 0; cache__segment_in_use(s) && i < s->n_units && !found; i++) {
        found = holds(&s->units[i], code);
        if (found)
            fn(opaque, &s->units[i]);
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

unsigned cache_each_unit(struct cache *cache, unsigned part,
                         void (*fn)(void *opaque, const struct cache_unit *unit), void *opaque)
{
    pthread_mutex_lock(&cache->lock);
    while (part < SEGMENTS && !cache__segment_in_use(&cache->segment[part]))
        part++;
    for (uint32_t k = 0; part < SEGMENTS && k < cache->segment[part].n_units; k++)
        if (cache->segment[part].units[k].live)
            fn(opaque, &cache->segment[part].units[k]);
    for (part++; part < SEGMENTS && !cache__segment_in_use(&cache->segment[part]);)
        part++;
    pthread_mutex_unlock(&cache->lock);
    return part < SEGMENTS ? part : 0;
}
