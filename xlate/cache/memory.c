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

static uint8_t *block_code(const struct cache *cache, unsigned block)
{
    return cache->write + CACHE_UNITS_AT + (size_t)block * LARGE_PAGE;
}

unsigned cache__block_of(const struct cache *cache, const struct segment *segment)
{
    return (unsigned)(segment - cache->segment) / BLOCK_SEGMENTS;
}

void cache__block_back(struct cache *cache, unsigned block)
{
    uint8_t *code = block_code(cache, block);

    if (!large_back_shared(code))
        populate(code, LARGE_PAGE, true);
    populate(code + cache->run_delta, LARGE_PAGE, false);
    populate(cache->tables + (size_t)block * LARGE_PAGE, LARGE_PAGE, true);
}

bool cache__segment_alloc(struct cache *cache, struct segment *segment)
{
    uint8_t *tables = cache->tables + (size_t)(segment - cache->segment) * TABLE_BYTES;

    segment->units = (struct cache_unit *)(void *)tables;
    segment->links = (struct cache_link *)(void *)(segment->units + SEGMENT_UNITS);
    segment->state = SEGMENT_FREE;
    cache->n_segments++;
    cache->n_free++;
    return !cache->block_used[cache__block_of(cache, segment)]++;
}

void cache__segment_release(struct cache *cache, struct segment *segment)
{
    unsigned block = cache__block_of(cache, segment);

    if (!--cache->block_used[block]) {
        madvise(block_code(cache, block), LARGE_PAGE, MADV_REMOVE);
        madvise(cache->tables + (size_t)block * LARGE_PAGE, LARGE_PAGE, MADV_DONTNEED);
    }
    segment->units = NULL;
    segment->links = NULL;
    segment->state = SEGMENT_UNUSED;
    cache->n_segments--;
    cache->n_free--;
}
