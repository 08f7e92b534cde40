/*
 * The memory of the code cache: one memfd, mapped writable and mapped executable, never both at
 * one address. The whole range is mapped at once and pages come with the first write.
 */
#include "xlate/cache/cache_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

static int make_memfd(void)
{
    int fd = memfd_create("vmd-code", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0 && errno == EINVAL) /* Linux before 6.3 */
        fd = memfd_create("vmd-code", MFD_CLOEXEC);
    return fd;
}

bool cache__map(struct cache *cache, GError **err)
{
    void *at;

    cache->mapped = CACHE_FIXED_BYTES + (size_t)SEGMENTS * SEGMENT_BYTES;
    cache->fd = make_memfd();
    if (cache->fd < 0)
        return vmd_set_errno(err, errno, "no memory file for translated code");
    if (ftruncate(cache->fd, (off_t)cache->mapped) < 0)
        return vmd_set_errno(err, errno, "reserving memory for translated code");
    at = mmap(NULL, cache->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, cache->fd,
              0);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping memory for translated code");
    cache->write = at;
    at = mmap(NULL, cache->mapped, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, cache->fd, 0);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "this host lets no process make code at run time (a "
                             "noexec, SELinux or seccomp policy), which the translator needs");
    cache->run = at;
    cache->run_delta = cache->run - cache->write;
    return true;
}

void cache__unmap(struct cache *cache)
{
    if (cache->write)
        munmap(cache->write, cache->mapped);
    if (cache->run)
        munmap((void *)cache->run, cache->mapped);
    if (cache->fd >= 0)
        close(cache->fd);
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
    off_t at = cache__segment_code(cache, segment) - cache->write;

    /* Where holes cannot be punched the memory stays until the cache is freed. */
    (void)!fallocate(cache->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, SEGMENT_BYTES);
    g_clear_pointer(&segment->units, g_free);
    g_clear_pointer(&segment->links, g_free);
    segment->state = SEGMENT_UNUSED;
    cache->n_segments--;
    cache->n_free--;
}
