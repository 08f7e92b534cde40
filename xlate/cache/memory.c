/*
 * The memory of the code cache: mapped writable and mapped executable, never both at one address.
 * It is shared memory without a file, not a memfd: perf takes symbols of such from a perf map. The
 * tables of units and links lie in another range. Both ranges are mapped at once, and memory comes
 * and goes by blocks of segments: of large pages, where the host has them.
 */
#include "xlate/cache/cache_priv.h"

#include <errno.h>

#define TABLES_BYTES ((size_t)SEGMENTS * TABLE_BYTES)

/* The pages of a mapping that others see too, at once; older kernels have no such call, and fault.
 */
static void populate(const void *at, size_t bytes, bool write)
{
#ifdef MADV_POPULATE_WRITE
    madvise((void *)(uintptr_t)at, bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
#endif
}

/* The same memory once more, at a multiple of LARGE_PAGE too. */
static void *map_again(void *from, size_t bytes)
{
    void *room = large_map(bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    void *at = mremap(from, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room); /* from 0: a copy */
    int error = errno;

    if (at == MAP_FAILED)
        munmap(room, bytes);
    errno = error;
    return at;
}

bool cache__map(struct cache *cache, GError **err)
{
    void *at;

    cache->tables = large_alloc(TABLES_BYTES);
    if (!cache->tables)
        return vmd_set_errno(err, errno, "mapping memory for the tables of translated code");
    cache->mapped = CACHE_UNITS_AT + (size_t)SEGMENTS * SEGMENT_BYTES;
    at = large_map(cache->mapped, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping memory for translated code");
    cache->write = at;
    at = map_again(cache->write, cache->mapped);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping memory for translated code again");
    cache->run = at;
    if (mprotect(at, cache->mapped, PROT_READ | PROT_EXEC) < 0)
        return vmd_set_errno(err, errno,
                             "this host lets no process make code at run time (a "
                             "noexec, SELinux or seccomp policy), which the translator needs");
    cache->run_delta = cache->run - cache->write;
    return true;
}

void cache__unmap(struct cache *cache)
{
    if (cache->write)
        munmap(cache->write, cache->mapped);
    if (cache->run)
        munmap((void *)cache->run, cache->mapped);
    large_free(cache->tables, TABLES_BYTES);
}

static unsigned block_of(const struct cache *cache, const struct segment *segment)
{
    return (unsigned)(segment - cache->segment) / BLOCK_SEGMENTS;
}

static uint8_t *segment_tables(const struct cache *cache, const struct segment *segment)
{
    return cache->tables + (size_t)(segment - cache->segment) * TABLE_BYTES;
}

struct segment *cache__segment_unused(struct cache *cache)
{
    struct segment *any = NULL;

    for (unsigned i = 0; i < SEGMENTS; i++) {
        if (cache->segment[i].state != SEGMENT_UNUSED)
            continue;
        if (!cache->block_backing[i / BLOCK_SEGMENTS])
            return &cache->segment[i];
        if (!any)
            any = &cache->segment[i];
    }
    return any;
}

void cache__segment_back(struct cache *cache, struct segment *segment)
{
    unsigned block = block_of(cache, segment);
    uint8_t *code = cache__segment_code(cache, segment);
    uint8_t *whole = cache->write + CACHE_UNITS_AT + (size_t)block * LARGE_PAGE;
    bool first = cache->block_used[block] == 1 && !cache->block_backing[block];
    bool large;

    cache->block_backing[block] |= first;
    pthread_mutex_unlock(&cache->lock);
    large = first && large_back_shared(whole);
    if (large) {
        populate(whole + cache->run_delta, LARGE_PAGE, false);
    } else {
        populate(code, SEGMENT_BYTES, true);
        populate(code + cache->run_delta, SEGMENT_BYTES, false);
    }
    populate(segment_tables(cache, segment), TABLE_BYTES, true);
    pthread_mutex_lock(&cache->lock);
    if (first)
        cache->block_backing[block] = false;
    for (unsigned i = 0; large && i < BLOCK_SEGMENTS; i++)
        cache->segment[block * BLOCK_SEGMENTS + i].backed = true;
    segment->backed = true;
}

void cache__segment_alloc(struct cache *cache, struct segment *segment)
{
    segment->units = (struct cache_unit *)(void *)segment_tables(cache, segment);
    segment->links = (struct cache_link *)(void *)(segment->units + SEGMENT_UNITS);
    segment->state = SEGMENT_FREE;
    cache->block_used[block_of(cache, segment)]++;
    cache->n_segments++;
    cache->n_free++;
}

void cache__segment_release(struct cache *cache, struct segment *segment)
{
    cache->block_used[block_of(cache, segment)]--;
    segment->units = NULL;
    segment->links = NULL;
    segment->state = SEGMENT_UNUSED;
    cache->n_segments--;
    cache->n_free--;
    cache->released = true;
}

static void give_back(struct cache *cache, struct segment *first, size_t bytes)
{
    madvise(cache__segment_code(cache, first), bytes, MADV_REMOVE);
    madvise(segment_tables(cache, first), bytes, MADV_DONTNEED);
}

/* A block goes as a whole where it can: else its large pages fall into small ones. */
static void give_block_back(struct cache *cache, unsigned block)
{
    struct segment *first = &cache->segment[block * BLOCK_SEGMENTS];
    bool backed = false;

    for (unsigned i = 0; i < BLOCK_SEGMENTS; i++) {
        struct segment *s = &first[i];
        if (s->state != SEGMENT_UNUSED || !s->backed)
            continue;
        backed = true;
        s->backed = false;
        if (cache->block_used[block])
            give_back(cache, s, SEGMENT_BYTES);
    }
    if (backed && !cache->block_used[block])
        give_back(cache, first, LARGE_PAGE);
}

void cache__give_back(struct cache *cache)
{
    for (unsigned i = 0; cache->released && i < SEGMENTS / BLOCK_SEGMENTS; i++)
        give_block_back(cache, i);
    cache->released = false;
}
