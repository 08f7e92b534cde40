/*
 * The code cache: its life, its users, lookup, filling and linking. See cache_priv.h for the
 * invariants and drop.c for how code leaves.
 */
#include "xlate/cache/cache_priv.h"

#include <errno.h>
#include <time.h>

static uint64_t host_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

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

bool cache_new(const struct cache_config *config, struct cache **out, GError **err)
{
    struct cache *cache = g_aligned_alloc0(1, sizeof(*cache), CACHE_HOST_LINE);
    uint64_t limit = config->limit ? config->limit : CACHE_DEFAULT_BYTES;

    cache->kick = config->kick;
    cache->dropped = config->dropped;
    cache->opaque = config->opaque;
    pthread_mutex_init(&cache->lock, NULL);
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

/* --- filling ---------------------------------------------------------------------------------- */

static bool segment_has_room(const struct segment *s)
{
    return s->hot_used + ROOM_LEAST <= SEGMENT_HOT &&
           s->cold_used + ROOM_LEAST <= SEGMENT_BYTES - SEGMENT_HOT && s->n_units < SEGMENT_UNITS &&
           s->n_links + CACHE_UNIT_LINKS <= SEGMENT_LINKS;
}

static struct segment *find_segment(struct cache *cache, enum segment_state state)
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        if (cache->segment[i].state == state)
            return &cache->segment[i];
    return NULL;
}

/* Segments that can be had without dropping any, those with memory included. */
static unsigned room(const struct cache *cache)
{
    return cache->size_segments - MIN(cache->n_segments, cache->size_segments) + cache->n_free;
}

/* Takes a quarter more, within the limit; false at the limit. */
static bool grow(struct cache *cache)
{
    if (cache->size_segments == cache->max_segments)
        return false;
    cache->size_segments =
        MIN(cache->size_segments + cache->size_segments / 4, cache->max_segments);
    cache->stats.grown++;
    return true;
}

/* Was enough of what was made since the last look made again, having been evicted? Then what would
 * be dropped next is likely to be needed again too. */
static bool evictions_cost(struct cache *cache)
{
    bool cost = cache->recent_again && cache->recent_again * GROW_PART >= cache->recent;

    cache->recent = cache->recent_again = 0;
    return cost;
}

/* Grows, or starts dropping the oldest segments early enough for some to be free when they are
 * needed. */
static void keep_reserve(struct cache *cache)
{
    bool kick = false;

    while (room(cache) + cache->n_dead < RESERVE) {
        if (evictions_cost(cache) && grow(cache))
            continue;
        if (!cache__evict(cache))
            break;
        kick = true;
    }
    if (kick)
        cache->kick(cache->opaque);
}

/* Compile threads leave the last segments to vCPUs, and have none dropped: what they make was hot
 * before, so that the cache grows for it. */
static bool may_take(const struct cache_user *user)
{
    return user->cpu || room(user->cache) > RESERVE + 1 || grow(user->cache);
}

/* Gives the user a segment with room; false when none is free yet. */
static bool take_segment(struct cache_user *user)
{
    struct cache *cache = user->cache;

    if (user->segment) {
        user->segment->state = SEGMENT_FULL;
        user->segment->owner = NULL;
        user->segment = NULL;
    }
    cache__reclaim(cache);
    if (!may_take(user))
        return false;
    if (!cache->n_free && cache->n_segments < cache->size_segments)
        cache__segment_alloc(cache, find_segment(cache, SEGMENT_UNUSED));
    struct segment *s = cache->n_free ? find_segment(cache, SEGMENT_FREE) : NULL;
    if (s) {
        cache->n_free--;
        s->state = SEGMENT_FILLING;
        s->hot_used = s->cold_used = s->n_units = s->n_links = 0;
        s->order = cache->next_order++;
        s->owner = user;
        s->heat = 0;
        user->segment = s;
    }
    keep_reserve(cache);
    return s != NULL;
}

/* Gives the user a segment with room, and with memory, for which the lock is let go of; false too
 * where the segment was dropped meanwhile. */
static bool have_segment(struct cache_user *user)
{
    if (user->segment && segment_has_room(user->segment))
        return true;
    if (!take_segment(user))
        return false;
    if (!user->segment->backed)
        cache__segment_back(user->cache, user->segment);
    return user->segment != NULL;
}

static struct cache_page **page_bucket(struct cache *cache, gpa_t gpa)
{
    return &cache->page_hash[(gpa >> MEM_PAGE_SHIFT) % (1u << PAGE_HASH_BITS)];
}

/* The record of a page in a regime, made where there is none; NULL when numbers have run out. */
static struct cache_page *get_page(struct cache *cache, gpa_t gpa, unsigned regime)
{
    struct cache_page **bucket = page_bucket(cache, gpa), *page;

    gpa &= ~(MEM_PAGE_SIZE - 1);
    for (page = *bucket; page; page = page->next)
        if (page->gpa == gpa && page->regime == regime)
            return page;
    page = cache->free_pages;
    if (!page)
        return NULL;
    cache->free_pages = page->next;
    *page =
        (struct cache_page){.gpa = gpa, .regime = (uint8_t)regime, .used = true, .next = *bucket};
    *bucket = page;
    return page;
}

/* Numbers have run out: takes back those of empty pages, of the oldest code if there are none. */
static void make_pages(struct cache *cache)
{
    if (cache->dying_pages)
        return;
    cache__recycle_pages(cache);
    if (!cache->dying_pages && cache__evict(cache))
        cache__recycle_pages(cache);
    cache->kick(cache->opaque);
}

static bool begin_pages(struct cache_user *user, gpa_t gpa, gpa_t second, unsigned regime)
{
    struct cache *cache = user->cache;
    struct cache_page *page[2] = {get_page(cache, gpa, regime), NULL};

    if (second != CACHE_NO_PAGE && (second ^ gpa) >> MEM_PAGE_SHIFT)
        page[1] = get_page(cache, second, regime);
    else
        second = CACHE_NO_PAGE;
    if (!page[0] || (second != CACHE_NO_PAGE && !page[1])) {
        if (user->cpu)
            make_pages(cache);
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        user->begun[i] = page[i];
        if (page[i])
            page[i]->n_begun++;
    }
    user->stale = false;
    return true;
}

static void end_pages(struct cache_user *user)
{
    for (unsigned i = 0; i < 2; i++) {
        if (user->begun[i])
            user->begun[i]->n_begun--;
        user->begun[i] = NULL;
    }
}

int cache_begin(struct cache_user *user, gpa_t gpa, gpa_t second, uint32_t mode,
                struct cache_place *place)
{
    struct cache *cache = user->cache;
    uint64_t started = user->begun_units++ % TIMED ? 0 : host_ns();
    bool ok;

    pthread_mutex_lock(&cache->lock);
    ok = have_segment(user) && begin_pages(user, gpa, second, xl_fetch_mode(mode));
    if (ok) {
        struct segment *s = user->segment;
        uint8_t *code = cache__segment_code(cache, s);
        place->gpa = gpa;
        place->second = second;
        place->mode = mode;
        place->page_id = (uint32_t)(user->begun[0] - cache->page);
        place->hot = code + s->hot_used;
        place->cold = code + SEGMENT_HOT + s->cold_used;
        place->hot_room = MIN(SEGMENT_HOT - s->hot_used, CACHE_UNIT_BYTES);
        place->cold_room = MIN(SEGMENT_BYTES - SEGMENT_HOT - s->cold_used, CACHE_UNIT_BYTES);
        place->run_delta = cache->run_delta;
        place->links = s->links + s->n_links;
        place->first_link = (uint32_t)(s - cache->segment) << LINK_BITS | s->n_links;
        place->started = started;
    }
    pthread_mutex_unlock(&cache->lock);
    return ok ? 0 : -EAGAIN;
}

void cache_abandon(struct cache_user *user)
{
    pthread_mutex_lock(&user->cache->lock);
    end_pages(user);
    pthread_mutex_unlock(&user->cache->lock);
}

static void join_page(struct cache_unit *unit, unsigned which, struct cache_page *page)
{
    unit->in_page[which].page = page;
    unit->in_page[which].prev = NULL;
    unit->in_page[which].next = page ? page->units : NULL;
    if (!page)
        return;
    if (page->units)
        page->units->in_page[page->units->in_page[1].page == page].prev = unit;
    page->units = unit;
}

static void count_unit(struct cache *cache, const struct cache_unit *unit,
                       const struct cache_place *place)
{
    struct cache_stats *stats = &cache->stats;

    stats->units++;
    stats->code_bytes += unit->hot_bytes + unit->cold_bytes;
    stats->translated_units++;
    stats->translated_guest += unit->n_guest;
    stats->translated_bytes += unit->hot_bytes + unit->cold_bytes;
    if (place->started)
        stats->translation_ns += (host_ns() - place->started) * TIMED;
    stats->pattern_hits += place->patterns;
    cache->recent++;
    if (cache__was_evicted(cache, unit->gpa, unit->mode)) {
        stats->retranslated_units++;
        cache->recent_again++;
    }
}

/* Fills the unit's record in the user's segment and makes it findable. */
static struct cache_unit *publish(struct cache_user *user, const struct cache_place *place)
{
    struct cache *cache = user->cache;
    struct segment *s = user->segment;
    struct cache_unit *unit = &s->units[s->n_units++];
    struct cache_unit **bucket = cache__bucket(cache, place->gpa, place->mode);
    const uint8_t *hot = place->hot + place->run_delta;

    unit->gpa = place->gpa;
    unit->mode = place->mode;
    unit->page_id = place->page_id;
    unit->second = place->second;
    unit->entry = hot + place->entry;
    unit->checked = hot + place->checked;
    unit->hot_bytes = place->hot_bytes;
    unit->cold_bytes = place->cold_bytes;
    unit->cold = place->cold + place->run_delta;
    unit->n_guest = place->n_guest;
    unit->n_links = place->n_links;
    unit->linkable = place->second == CACHE_NO_PAGE;
    unit->warm = !user->cpu;
    unit->heat = user->cpu != NULL;
    unit->live = true;
    unit->in = NULL;
    unit->links = place->links;
    for (unsigned i = 0; i < place->n_links; i++) {
        unit->links[i].from = unit;
        unit->links[i].to = NULL;
    }
    s->n_links += place->n_links;
    cache->stats.edges += place->n_links;
    s->hot_used += ALIGN_UP(place->hot_bytes, 16u);
    s->cold_used += place->cold_bytes;
    join_page(unit, 0, user->begun[0]);
    join_page(unit, 1, user->begun[1]);
    user->page_is_new = !user->begun[0]->asked;
    user->begun[0]->asked = true;
    unit->next = *bucket;
    __atomic_store_n(bucket, unit, __ATOMIC_RELEASE);
    count_unit(cache, unit, place);
    return unit;
}

struct cache_unit *cache_commit(struct cache_user *user, const struct cache_place *place)
{
    struct cache *cache = user->cache;
    struct cache_unit *unit = NULL;

    pthread_mutex_lock(&cache->lock);
    user->page_is_new = false;
    if (!user->stale) {
        unit = cache_lookup(cache, place->gpa, place->mode);
        if (!unit)
            unit = publish(user, place);
    }
    end_pages(user);
    pthread_mutex_unlock(&cache->lock);
    return unit;
}

void cache_wait(struct cache_user *user)
{
    struct cache *cache = user->cache;

    pthread_mutex_lock(&cache->lock);
    cache->stats.waits++;
    cache->waiting++;
    user->epoch = UINT64_MAX;
    pthread_cond_broadcast(&cache->passed);
    for (;;) {
        cache__reclaim(cache);
        keep_reserve(cache);
        cache__reclaim(cache);
        if ((cache->n_free || cache->n_segments < cache->size_segments) &&
            (cache->free_pages || !cache->dying_pages))
            break;
        cache->kick(cache->opaque);
        pthread_cond_wait(&cache->passed, &cache->lock);
    }
    cache->waiting--;
    cache__catch_up(user);
    pthread_mutex_unlock(&cache->lock);
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

/* --- the content of pages --------------------------------------------------------------------- */

bool cache_page_is_new(const struct cache_user *user)
{
    return user->page_is_new;
}

bool cache_watch(struct cache_user *user, gpa_t gpa, uint32_t mode)
{
    pthread_mutex_lock(&user->cache->lock);
    bool ok = begin_pages(user, gpa, CACHE_NO_PAGE, xl_fetch_mode(mode));
    pthread_mutex_unlock(&user->cache->lock);
    return ok;
}

void cache_name(struct cache_user *user, uint32_t content)
{
    pthread_mutex_lock(&user->cache->lock);
    if (!user->stale) {
        user->begun[0]->content = content;
        user->begun[0]->asked = true;
    }
    end_pages(user);
    pthread_mutex_unlock(&user->cache->lock);
}

void cache_each_named(struct cache *cache, cache_unit_fn fn, void *opaque)
{
    for (unsigned i = 0; i < SEGMENTS; i++) {
        pthread_mutex_lock(&cache->lock);
        const struct segment *s = &cache->segment[i];
        for (uint32_t k = 0; cache__segment_in_use(s) && k < s->n_units; k++)
            if (s->units[k].live)
                cache__tell(cache, &s->units[k], fn, opaque);
        pthread_mutex_unlock(&cache->lock);
    }
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
