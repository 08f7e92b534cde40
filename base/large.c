/* Memory in large pages; see large.h. */
#include "base/large.h"

#include <errno.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* After so many refusals in a row a process asks no more: each may cost a search for free memory.
 */
enum { REFUSALS_MOST = 16 };

static unsigned refusals; /* atomic */

void *large_map(size_t bytes, int prot, int flags, int fd)
{
    uint8_t *room = mmap(NULL, bytes + LARGE_PAGE, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    size_t before = (size_t)(-(uintptr_t)room & (LARGE_PAGE - 1));
    uint8_t *at = mmap(room + before, bytes, prot, flags | MAP_FIXED, fd, 0);
    int error = errno;

    if (at == MAP_FAILED) {
        munmap(room, bytes + LARGE_PAGE);
        errno = error;
        return MAP_FAILED;
    }
    size_t end = before + ALIGN_UP(bytes, (size_t)sysconf(_SC_PAGESIZE));
    if (before)
        munmap(room, before);
    if (end < bytes + LARGE_PAGE)
        munmap(room + end, bytes + LARGE_PAGE - end);
    return at;
}

void *large_alloc(size_t bytes)
{
    size_t size = ALIGN_UP(bytes, (size_t)LARGE_PAGE);
    void *at =
        large_map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

    if (at == MAP_FAILED)
        return NULL;
    madvise(at, size, MADV_HUGEPAGE);
    return at;
}

void large_free(void *at, size_t bytes)
{
    if (at)
        munmap(at, ALIGN_UP(bytes, (size_t)LARGE_PAGE));
}

bool large_back_shared(void *at)
{
    if (__atomic_load_n(&refusals, __ATOMIC_RELAXED) >= REFUSALS_MOST)
        return false;
    /* A file without any page there cannot be collapsed. */
    if (madvise(at, (size_t)sysconf(_SC_PAGESIZE), MADV_POPULATE_WRITE) == 0 &&
        madvise(at, LARGE_PAGE, MADV_COLLAPSE) == 0) {
        __atomic_store_n(&refusals, 0, __ATOMIC_RELAXED);
        return true;
    }
    __atomic_fetch_add(&refusals, 1, __ATOMIC_RELAXED);
    return false;
}
