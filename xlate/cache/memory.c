/*
 * The memory of the code cache: mapped writable and mapped executable, never both at one address. It
 * is shared memory without a file, not a memfd: perf takes symbols of such from a perf map. The whole
 * range is mapped at once and pages come with the first write.
 */
#include "xlate/cache/cache_priv.h"

#include <errno.h>
#include <sys/mman.h>

bool cache__map(struct cache *cache, GError **err)
{
    void *at;

    cache->mapped = CACHE_FIXED_BYTES + (size_t)SEGMENTS * SEGMENT_BYTES;
    at = mmap(NULL, cache->mapped, PROT_READ | PROT_WRITE,
              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping memory for translated code");
    cache->write = at;
    at = mremap(cache->write, 0, cache->mapped, MREMAP_MAYMOVE); /* from 0: the same once more */
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping memory for translated code again");
    cache->run = at;
    if (mprotect(at, cache->mapped, PROT_READ | PROT_EXEC) < 0)
        return vmd_set_errno(err, errno, "this host lets no process make code at run time (a "
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
}

/* All pages of a segment will be needed: one call each in place of a fault a page, twice. Older
 * kernels have no such call, and fault. */
static void populate(struct cache *cache, struct segment *segment)
{
#ifdef MADV_POPULATE_WRITE
    uint8_t *at = cache__segment_code(cache, segment);

    madvise(at, SEGMENT_BYTES, MADV_POPULATE_WRITE);
    madvise(at + cache->run_delta, SEGMENT_BYTES, MADV_POPULATE_READ);
#endif
}

void cache__segment_alloc(struct cache *cache, struct segment *segment)
{
    populate(cache, segment);
    segment->units = g_new(struct cache_unit, SEGMENT_UNITS);
    segment->links = g_new(struct cache_link, SEGMENT_LINKS);
    segment->state = SEGMENT_FREE;
    cache->n_segments++;
    cache->n_free++;
}

void cache__segment_release(struct cache *cache, struct segment *segment)
{
    madvise(cache__segment_code(cache, segment), SEGMENT_BYTES, MADV_REMOVE);
    g_clear_pointer(&segment->units, g_free);
    g_clear_pointer(&segment->links, g_free);
    segment->state = SEGMENT_UNUSED;
    cache->n_segments--;
    cache->n_free--;
}
