/*
 * How code comes into the cache: a user takes a segment, compiles into it with the lock let go of,
 * and publishes what it made.
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

/* --- room ------------------------------------------------------------------------------------ */

/* Of a segment with so much in use, and room for UNITS more. */
static bool has_room(uint32_t hot, uint32_t cold, uint32_t units, uint32_t n_links)
{
    return hot + ROOM_LEAST <= SEGMENT_HOT && cold + ROOM_LEAST <= SEGMENT_BYTES - SEGMENT_HOT &&
           units && n_links + CACHE_UNIT_LINKS <= SEGMENT_LINKS;
}

static bool segment_has_room(const struct segment *s)
{
    return has_room(s->hot_used, s->cold_used, SEGMENT_UNITS - s->n_units, s->n_links);
}

static struct segment *find_free(struct cache *cache)
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        if (cache->segment[i].state == SEGMENT_FREE)
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
        cache__segment_alloc(cache, cache__segment_unused(cache));
    struct segment *s = cache->n_free ? find_free(cache) : NULL;
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

/* What lies behind the first HOT, COLD and N_LINKS of a segment. */
static void give_room(const struct cache *cache, const struct segment *s, uint32_t hot,
                      uint32_t cold, uint32_t n_links, struct cache_place *place)
{
    uint8_t *code = cache__segment_code(cache, s);

    place->hot = code + hot;
    place->cold = code + SEGMENT_HOT + cold;
    place->hot_room = MIN(SEGMENT_HOT - hot, CACHE_UNIT_BYTES);
    place->cold_room = MIN(SEGMENT_BYTES - SEGMENT_HOT - cold, CACHE_UNIT_BYTES);
    place->run_delta = cache->run_delta;
    place->links = s->links + n_links;
    place->first_link = (uint32_t)(s - cache->segment) << LINK_BITS | n_links;
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
        *place = (struct cache_place){.gpa = gpa,
                                      .second = second,
                                      .mode = mode,
                                      .page_id = (uint32_t)(user->begun[0] - cache->page),
                                      .units_room = SEGMENT_UNITS - s->n_units,
                                      .started = started};
        give_room(cache, s, s->hot_used, s->cold_used, s->n_links, place);
    }
    pthread_mutex_unlock(&cache->lock);
    return ok ? 0 : -EAGAIN;
}

bool cache_follow(const struct cache_user *user, const struct cache_place *before, gpa_t gpa,
                  uint32_t mode, struct cache_place *place)
{
    const struct cache *cache = user->cache;
    struct segment *s = &cache->segment[before->first_link >> LINK_BITS];
    const uint8_t *code = cache__segment_code(cache, s);
    uint32_t hot = (uint32_t)(before->hot - code) + ALIGN_UP(before->hot_bytes, 16u);
    uint32_t cold = (uint32_t)(before->cold - code) - SEGMENT_HOT + before->cold_bytes;
    uint32_t n_links = (uint32_t)(before->links - s->links) + before->n_links;

    if ((gpa ^ before->gpa) >> MEM_PAGE_SHIFT || before->second != CACHE_NO_PAGE ||
        xl_fetch_mode(mode) != xl_fetch_mode(before->mode) ||
        !has_room(hot, cold, before->units_room - 1, n_links))
        return false;
    *place = (struct cache_place){.gpa = gpa,
                                  .second = CACHE_NO_PAGE,
                                  .mode = mode,
                                  .page_id = before->page_id,
                                  .units_room = before->units_room - 1};
    give_room(cache, s, hot, cold, n_links, place);
    return true;
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
    const uint8_t *code = cache__segment_code(cache, s);
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
    /* What lies before it and was not published is lost. */
    s->n_links = (uint32_t)(place->links - s->links) + place->n_links;
    s->hot_used = (uint32_t)(place->hot - code) + ALIGN_UP(place->hot_bytes, 16u);
    s->cold_used = (uint32_t)(place->cold - code) - SEGMENT_HOT + place->cold_bytes;
    cache->stats.edges += place->n_links;
    join_page(unit, 0, user->begun[0]);
    join_page(unit, 1, user->begun[1]);
    user->page_is_new = !user->begun[0]->asked;
    user->begun[0]->asked = true;
    unit->next = *bucket;
    __atomic_store_n(bucket, unit, __ATOMIC_RELEASE);
    count_unit(cache, unit, place);
    return unit;
}

static struct cache_unit *commit_one(struct cache_user *user, const struct cache_place *place)
{
    struct cache_unit *unit = cache_lookup(user->cache, place->gpa, place->mode);

    return unit ? unit : publish(user, place);
}

struct cache_unit *cache_commit(struct cache_user *user, const struct cache_place *place)
{
    struct cache_unit *unit = NULL;

    pthread_mutex_lock(&user->cache->lock);
    user->page_is_new = false;
    if (!user->stale)
        unit = commit_one(user, place);
    end_pages(user);
    pthread_mutex_unlock(&user->cache->lock);
    return unit;
}

bool cache_commit_all(struct cache_user *user, const struct cache_place *places, unsigned n)
{
    pthread_mutex_lock(&user->cache->lock);
    bool ok = !user->stale;
    for (unsigned i = 0; ok && i < n; i++)
        commit_one(user, &places[i]);
    end_pages(user);
    pthread_mutex_unlock(&user->cache->lock);
    return ok;
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
