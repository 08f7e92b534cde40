/*
 * How code leaves the cache: units are unlinked at once and their memory is reused once every user
 * has passed a safepoint. All internal functions here are called with the lock held.
 */
#include "xlate/cache/cache_priv.h"

/* --- units ------------------------------------------------------------------------------------ */

static void patch(struct cache_link *link, const uint8_t *target)
{
    __atomic_store_n((int32_t *)link->site, (int32_t)(target - (link->site + 4)), __ATOMIC_RELEASE);
}

static void unlink_in(struct cache *cache, struct cache_unit *unit)
{
    struct cache_link *next;

    for (struct cache_link *link = unit->in; link; link = next) {
        next = link->in_next;
        patch(link, link->unlinked);
        link->to = NULL;
        cache->stats.unlinks++;
        cache->stats.linked--;
    }
    unit->in = NULL;
}

static void unlink_out(struct cache *cache, struct cache_unit *unit)
{
    for (unsigned i = 0; i < unit->n_links; i++) {
        struct cache_link *link = &unit->links[i];
        if (!link->to)
            continue;
        *link->in_prev = link->in_next;
        if (link->in_next)
            link->in_next->in_prev = link->in_prev;
        link->to = NULL;
        cache->stats.linked--;
    }
}

static void leave_page(struct cache_unit *unit, unsigned which)
{
    struct cache_page *page = unit->in_page[which].page;
    struct cache_unit *next = unit->in_page[which].next, *prev = unit->in_page[which].prev;

    if (!page)
        return;
    if (prev)
        prev->in_page[prev->in_page[1].page == page].next = next;
    else
        page->units = next;
    if (next)
        next->in_page[next->in_page[1].page == page].prev = prev;
}

void cache__tell(struct cache *cache, const struct cache_unit *unit, cache_unit_fn fn, void *opaque)
{
    const struct cache_page *page = unit->in_page[0].page;

    if (fn && page->content && unit->linkable && __atomic_load_n(&unit->heat, __ATOMIC_RELAXED))
        fn(opaque, page->content, unit);
}

void cache__drop_unit(struct cache *cache, struct cache_unit *unit)
{
    struct cache_unit **at = cache__bucket(cache, unit->gpa, unit->mode);

    while (*at != unit)
        at = &(*at)->next;
    __atomic_store_n(at, unit->next, __ATOMIC_RELEASE);
    cache__tell(cache, unit, cache->dropped, cache->opaque);
    unlink_in(cache, unit);
    unlink_out(cache, unit);
    cache->stats.edges -= unit->n_links;
    leave_page(unit, 0);
    leave_page(unit, 1);
    unit->live = false;
    cache->log[cache->log_head++ % LOG_SIZE] =
        (struct dropped){.checked = unit->checked,
                         .cold = unit->cold,
                         .cold_bytes = unit->cold_bytes,
                         .offset = unit->gpa % MEM_PAGE_SIZE};
    cache->stats.units--;
    cache->stats.code_bytes -= unit->hot_bytes + unit->cold_bytes;
    __atomic_add_fetch(&cache->epoch, 1, __ATOMIC_SEQ_CST);
}

/* --- segments --------------------------------------------------------------------------------- */

void cache__kill(struct cache *cache, struct segment *segment)
{
    if (segment->owner) {
        segment->owner->segment = NULL;
        segment->owner->stale = true;
        segment->owner = NULL;
    }
    for (uint32_t i = 0; i < segment->n_units; i++)
        if (segment->units[i].live)
            cache__drop_unit(cache, &segment->units[i]);
    segment->state = SEGMENT_DEAD;
    segment->died = __atomic_add_fetch(&cache->epoch, 1, __ATOMIC_SEQ_CST);
    cache->n_dead++;
}

/* --- evicting --------------------------------------------------------------------------------- */

static uint32_t *ghost_of(struct cache *cache, gpa_t gpa, uint32_t mode, uint32_t *tag)
{
    *tag = (uint32_t)((gpa ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15) >> 32) | 1;
    return &cache->ghost[cache__hash(gpa, mode, GHOST_BITS)];
}

bool cache__was_evicted(struct cache *cache, gpa_t gpa, uint32_t mode)
{
    uint32_t tag, *ghost;
    bool was;

    if (!cache->stats.evictions)
        return false;
    ghost = ghost_of(cache, gpa, mode, &tag);
    was = *ghost == tag;
    if (was)
        *ghost = 0;
    return was;
}

/* Drops a segment for its room, remembering what was in it. */
static void evict(struct cache *cache, struct segment *segment)
{
    uint64_t before = cache->stats.units;
    uint32_t tag;

    for (uint32_t i = 0; i < segment->n_units; i++) {
        const struct cache_unit *unit = &segment->units[i];
        if (unit->live) {
            uint32_t *ghost = ghost_of(cache, unit->gpa, unit->mode, &tag);
            *ghost = tag;
        }
    }
    cache__kill(cache, segment);
    cache->stats.evictions++;
    cache->stats.evicted_units += before - cache->stats.units;
}

bool cache__evict(struct cache *cache)
{
    struct segment *oldest = NULL;

    for (unsigned i = 0; i < SEGMENTS; i++) {
        struct segment *s = &cache->segment[i];
        if (cache__segment_in_use(s) && (!oldest || s->order < oldest->order))
            oldest = s;
    }
    if (!oldest)
        return false;
    evict(cache, oldest);
    return true;
}

/* Has no vCPU come to any unit of S since this was last asked? */
static bool is_unused(struct segment *s)
{
    uint64_t heat = 1, before = s->heat;

    for (uint32_t i = 0; i < s->n_units; i++)
        heat += __atomic_load_n(&s->units[i].heat, __ATOMIC_RELAXED);
    s->heat = heat;
    return before == heat;
}

void cache_trim(struct cache *cache)
{
    bool dropped = false;
    unsigned least;

    for (unsigned i = 0; i < SEGMENTS; i++) {
        struct segment *s = &cache->segment[i];
        pthread_mutex_lock(&cache->lock);
        least = MIN(FIRST_SEGMENTS, cache->max_segments);
        if (s->state == SEGMENT_FULL && is_unused(s) &&
            cache->n_segments - cache->n_free - cache->n_dead > least) {
            evict(cache, s);
            dropped = true;
        }
        pthread_mutex_unlock(&cache->lock);
    }
    pthread_mutex_lock(&cache->lock);
    least = MIN(FIRST_SEGMENTS, cache->max_segments);
    if (dropped) {
        unsigned used = cache->n_segments - cache->n_free - cache->n_dead;
        cache->size_segments = CLAMP(used + used / 4, least, cache->size_segments);
        cache->stats.shrunk++;
        cache->kick(cache->opaque);
    }
    cache__reclaim(cache);
    pthread_mutex_unlock(&cache->lock);
}

static uint64_t oldest_epoch(const struct cache *cache)
{
    uint64_t oldest = UINT64_MAX;

    for (const struct cache_user *u = cache->users; u; u = u->next)
        oldest = MIN(oldest, u->epoch);
    return oldest;
}

void cache__reclaim(struct cache *cache)
{
    uint64_t safe = oldest_epoch(cache);
    struct cache_page **at = &cache->dying_pages;

    for (unsigned i = 0; i < SEGMENTS && cache->n_dead; i++) {
        struct segment *s = &cache->segment[i];
        if (s->state != SEGMENT_DEAD || s->died > safe)
            continue;
        s->state = SEGMENT_FREE;
        cache->n_dead--;
        cache->n_free++;
        if (cache->n_segments > cache->size_segments || cache->n_free > FREE_MOST)
            cache__segment_release(cache, s);
    }
    cache__give_back(cache);
    while (*at) {
        struct cache_page *page = *at;
        if (page->died > safe) {
            at = &page->next;
            continue;
        }
        *at = page->next;
        page->next = cache->free_pages;
        cache->free_pages = page;
    }
}

/* --- pages ------------------------------------------------------------------------------------ */

void cache__recycle_pages(struct cache *cache)
{
    uint64_t died = __atomic_add_fetch(&cache->epoch, 1, __ATOMIC_SEQ_CST);

    for (unsigned i = 0; i < 1u << PAGE_HASH_BITS; i++) {
        for (struct cache_page **at = &cache->page_hash[i]; *at;) {
            struct cache_page *page = *at;
            if (page->units || page->n_begun) {
                at = &page->next;
                continue;
            }
            *at = page->next;
            page->used = false;
            page->died = died;
            page->next = cache->dying_pages;
            cache->dying_pages = page;
        }
    }
    /* Their numbers stand in every vCPU's code_at. */
    cache->log_floor = ++cache->log_head;
}

static void begun_is_stale(struct cache *cache, const struct cache_page *page)
{
    for (struct cache_user *u = cache->users; u && page->n_begun; u = u->next)
        if (u->begun[0] == page || u->begun[1] == page)
            u->stale = true;
}

unsigned cache_invalidate_page(struct cache *cache, gpa_t gpa)
{
    unsigned n = 0;

    gpa &= ~(MEM_PAGE_SIZE - 1);
    pthread_mutex_lock(&cache->lock);
    struct cache_page *next,
        *page = cache->page_hash[(gpa >> MEM_PAGE_SHIFT) % (1u << PAGE_HASH_BITS)];
    for (; page; page = next) {
        next = page->next;
        if (page->gpa != gpa)
            continue;
        begun_is_stale(cache, page);
        while (page->units) {
            cache__drop_unit(cache, page->units);
            n++;
        }
        page->asked = false;
        page->content = 0;
    }
    cache->stats.invalidations += n > 0;
    cache->stats.invalidated_units += n;
    pthread_mutex_unlock(&cache->lock);
    return n;
}

static void clear_locked(struct cache *cache)
{
    for (unsigned i = 0; i < SEGMENTS; i++) {
        if (cache__segment_in_use(&cache->segment[i]))
            cache__kill(cache, &cache->segment[i]);
    }
    cache__reclaim(cache);
    cache->kick(cache->opaque);
}

void cache_clear(struct cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->stats.clears++;
    clear_locked(cache);
    pthread_mutex_unlock(&cache->lock);
}

bool cache_set_limit(struct cache *cache, uint64_t bytes, GError **err)
{
    if (bytes < CACHE_LEAST_BYTES || bytes > MIB(LIMIT_XLATE_CACHE_MIB))
        return vmd_fail(err, VMD_ERROR_INVALID, "a code cache has %u to %u MiB",
                        CACHE_LEAST_BYTES >> 20, (unsigned)LIMIT_XLATE_CACHE_MIB);
    pthread_mutex_lock(&cache->lock);
    cache->max_segments = (unsigned)(bytes / SEGMENT_BYTES);
    cache->size_segments = MIN(MAX(cache->size_segments, FIRST_SEGMENTS), cache->max_segments);
    cache->stats.limit = bytes;
    for (unsigned i = 0; i < SEGMENTS && cache->n_segments > cache->max_segments; i++)
        if (cache->segment[i].state == SEGMENT_FREE)
            cache__segment_release(cache, &cache->segment[i]);
    while (cache->n_segments - cache->n_dead > cache->max_segments && cache__evict(cache))
        ;
    cache__reclaim(cache);
    cache->kick(cache->opaque);
    pthread_mutex_unlock(&cache->lock);
    return true;
}

/* --- users ------------------------------------------------------------------------------------ */

static void forget_unit(struct xl_cpu *cpu, const struct dropped *unit)
{
    unsigned i = unit->offset / 2;

    for (; i < XL_JUMP_SIZE; i += MEM_PAGE_SIZE / 2)
        if (cpu->jump[i].code == unit->checked)
            cpu->jump[i] = (struct xl_jump){0};
    for (i = 0; i < XL_RAS_SIZE; i++)
        if ((uintptr_t)cpu->ras[i].code - (uintptr_t)unit->cold < unit->cold_bytes)
            cpu->ras[i] = (struct xl_ras){0};
}

static void forget_all(struct xl_cpu *cpu)
{
    memset(cpu->jump, 0, sizeof(cpu->jump));
    memset(cpu->ras, 0, sizeof(cpu->ras));
    xl_code_unmap(cpu, XL_TLB_NONE, true);
}

void cache__catch_up(struct cache_user *user)
{
    struct cache *cache = user->cache;

    if (!user->cpu)
        ; /* it remembers nothing */
    else if (user->log_seen < cache->log_floor || cache->log_head - user->log_seen > LOG_SIZE)
        forget_all(user->cpu);
    else
        for (uint64_t i = user->log_seen; i < cache->log_head; i++)
            forget_unit(user->cpu, &cache->log[i % LOG_SIZE]);
    user->log_seen = cache->log_head;
    user->epoch = cache->epoch;
    if (cache->waiting)
        pthread_cond_broadcast(&cache->passed);
}
