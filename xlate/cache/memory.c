/*
 * The memory of the code cache: mapped writable and mapped executable, never both at one address.
 * It is shared memory without a file, not a memfd: perf takes symbols of such from a perf map. The
 * whole range is mapped at once and pages come with the first write. The tables of units and links
 * lie in another range, a part for each segment, and come some pages at once as they fill.
 */
#include "xlate/cache/cache_priv.h"

#include <errno.h>
#include <sys/mman.h>

#define UNITS_BYTES  (SEGMENT_UNITS * sizeof(struct cache_unit))
#define LINKS_BYTES  (SEGMENT_LINKS * sizeof(struct cache_link))
#define TABLES_BYTES (UNITS_BYTES + LINKS_BYTES)
G_STATIC_ASSERT(UNITS_BYTES % MEM_PAGE_SIZE == 0 && LINKS_BYTES % MEM_PAGE_SIZE == 0);

enum { TABLE_STEP = 64 * 1024 };

static bool map_tables(struct cache *cache, GError **err)
{
    void *at = mmap(NULL, (size_t)SEGMENTS * TABLES_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping memory for the tables of translated code");
    cache->tables = at;
    return true;
}

bool cache__map(struct cache *cache, GError **err)
{
    void *at;

    if (!map_tables(cache, err))
        return false;
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
    if (cache->tables)
        munmap(cache->tables, (size_t)SEGMENTS * TABLES_BYTES);
}

/* One call each in place of a fault a page. Older kernels have no such call, and fault. */
static void populate(void *at, size_t bytes, bool write)
{
#ifdef MADV_POPULATE_WRITE
    madvise(at, bytes, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
#endif
}

/* NEED bytes of the table AT, of SIZE bytes, will be written. */
static void populate_table(void *at, size_t size, size_t need, uint32_t *there)
{
    if (likely(need <= *there))
        return;
    size_t bytes = MIN(ALIGN_UP(need, (size_t)TABLE_STEP), size) - *there;
    populate((uint8_t *)at + *there, bytes, true);
    *there += (uint32_t)bytes;
}

void cache__segment_prepare(struct segment *s)
{
    populate_table(s->units, UNITS_BYTES, (s->n_units + 1) * sizeof(*s->units), &s->units_there);
    populate_table(s->links, LINKS_BYTES, (s->n_links + CACHE_UNIT_LINKS) * sizeof(*s->links),
                   &s->links_there);
}

void cache__segment_alloc(struct cache *cache, struct segment *segment)
{
    uint8_t *tables = cache->tables + (size_t)(segment - cache->segment) * TABLES_BYTES;
    uint8_t *code = cache__segment_code(cache, segment);

    populate(code, SEGMENT_BYTES, true); /* all of it will be needed, in both places */
    populate(code + cache->run_delta, SEGMENT_BYTES, false);
    segment->units = (struct cache_unit *)tables;
    segment->links = (struct cache_link *)(tables + UNITS_BYTES);
    segment->units_there = segment->links_there = 0;
    segment->state = SEGMENT_FREE;
    cache->n_segments++;
    cache->n_free++;
}

void cache__segment_release(struct cache *cache, struct segment *segment)
{
    madvise(cache__segment_code(cache, segment), SEGMENT_BYTES, MADV_REMOVE);
    madvise(segment->units, TABLES_BYTES, MADV_DONTNEED);
    segment->units = NULL;
    segment->links = NULL;
    segment->state = SEGMENT_UNUSED;
    cache->n_segments--;
    cache->n_free--;
}
