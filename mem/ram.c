/*
 * One stretch of RAM: its memfd and mapping, which pages the host holds, and, of a sparse one,
 * which blocks are there. The bits of blocks and the flags of pages are atomic; nothing here takes
 * a lock.
 *
 * A block that goes: first lookups no longer find it, then listeners drop what they had found, then
 * its memory is given back. So nobody who asked before can bring pages back, but for what devices
 * have under way.
 */
#include "base/large.h"
#include "mem/mem_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define LARGE_PAGES (LARGE_PAGE >> MEM_PAGE_SHIFT)

/* Where there are no large pages: guests touch memory in runs, but much at once would be kept by
 * guests that never come to use it. */
#define AROUND_PAGES (KIB(64) >> MEM_PAGE_SHIFT)

static bool map_flags(struct mem_ram *ram, GError **err)
{
    void *flags = mmap(NULL, ram->size >> MEM_PAGE_SHIFT, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (flags == MAP_FAILED)
        return vmd_set_errno(err, errno, "page flags of '%s'", ram->name);
    ram->flags = flags;
    return true;
}

bool mem__ram_map(struct mem_ram *ram, GError **err)
{
    autofd fd = memfd_create(ram->name, MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)ram->size) < 0)
        return vmd_set_errno(err, errno, "guest memory '%s'", ram->name);
    void *host = large_map(ram->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd);
    if (host == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping guest memory '%s'", ram->name);
    if (!map_flags(ram, err)) {
        munmap(host, ram->size);
        return false;
    }
    /* What KVM brings as its guest touches it, on hosts whose setting asks for this. */
    madvise(host, ram->size, MADV_HUGEPAGE);
    ram->host = host;
    ram->fd = steal_fd(&fd);
    return true;
}

struct mem_ram *mem_ram_new(const char *name, uint64_t size, GError **err)
{
    struct mem_ram *memory = g_new0(struct mem_ram, 1);

    g_assert(size >= MEM_PAGE_SIZE && !(size & (size - 1)));
    *memory = (struct mem_ram){.name = name, .size = size, .fd = -1};
    if (mem__ram_map(memory, err))
        return memory;
    g_free(memory);
    return NULL;
}

struct mem_ram *mem_ram_wrap(const char *name, void *host, uint64_t size, GError **err)
{
    struct mem_ram *memory = g_new0(struct mem_ram, 1);

    g_assert(size >= MEM_PAGE_SIZE && !(size & (size - 1)));
    *memory = (struct mem_ram){.name = name, .size = size, .host = host, .fd = -1};
    if (!map_flags(memory, err)) {
        g_free(memory);
        return NULL;
    }
    memset(memory->flags, MEM_PAGE_BACKED, size >> MEM_PAGE_SHIFT);
    return memory;
}

void mem_ram_free(struct mem_ram *memory)
{
    if (!memory)
        return;
    mem__ram_unmap(memory);
    g_free(memory);
}

void mem__ram_unmap(struct mem_ram *ram)
{
    munmap(ram->host, ram->size);
    if (ram->fd >= 0)
        close(ram->fd);
    munmap(ram->flags, ram->size >> MEM_PAGE_SHIFT);
    g_free(ram->there);
}

/* --- which pages the host holds --------------------------------------------------------------- */

static void mark_backed(struct mem_ram *ram, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++)
        mem_page_set(ram, i, MEM_PAGE_BACKED);
}

/* Pages [first, end) come now, all by one call. Kernels before 5.14 refuse, and a fault brings
 * each. */
static void back_small(struct mem_ram *ram, uint64_t first, uint64_t end)
{
    mark_backed(ram, first, end);
    madvise(ram->host + (first << MEM_PAGE_SHIFT), (end - first) << MEM_PAGE_SHIFT,
            MADV_POPULATE_WRITE);
}

/* Is the large page that begins with page FIRST all RAM that nobody asked for or gave back yet? */
static bool large_is_new(const struct mem_ram *ram, uint64_t first)
{
    if (first + LARGE_PAGES > ram->size >> MEM_PAGE_SHIFT ||
        (ram->there && ram->block_shift < MEM_PAGE_SHIFT + __builtin_ctz(LARGE_PAGES)))
        return false;
    for (uint64_t i = first; i < first + LARGE_PAGES; i++) {
        if (mem_page_flags(ram, i) & MEM_PAGE_BACKED)
            return false;
    }
    return true;
}

/* The large page of PAGE comes now; false when it cannot come whole. */
static bool back_large(struct mem_ram *ram, uint64_t page)
{
    uint64_t first = ALIGN_DOWN(page, (uint64_t)LARGE_PAGES);

    if (!large_is_new(ram, first) || !large_back_shared(ram->host + (first << MEM_PAGE_SHIFT)))
        return false;
    mark_backed(ram, first, first + LARGE_PAGES);
    return true;
}

/* Pages that were backed or given back before are left alone: who gave them back does without. */
void mem_ram_back_around(struct mem_ram *ram, uint64_t page)
{
    uint64_t lowest = page & ~(uint64_t)(AROUND_PAGES - 1);
    uint64_t limit = MIN(lowest + AROUND_PAGES, ram->size >> MEM_PAGE_SHIFT);
    uint64_t first = page, end = page + 1;

    if (back_large(ram, page))
        return;
    while (first > lowest && !(mem_page_flags(ram, first - 1) & MEM_PAGE_BACKED))
        first--;
    while (end < limit && !(mem_page_flags(ram, end) & MEM_PAGE_BACKED))
        end++;
    back_small(ram, first, end);
}

void mem_map_back(struct mem_map *map, gpa_t gpa, uint64_t length)
{
    struct mem_view v;

    mem_map_lookup(map, gpa, &v);
    if (v.kind != MEM_RAM || !length)
        return;
    uint64_t offset = gpa - v.ram->gpa, last = offset + MIN(length, v.length) - 1;
    uint64_t end = (last >> MEM_PAGE_SHIFT) + 1, next;

    for (uint64_t at = offset >> MEM_PAGE_SHIFT; at < end; at = next) {
        next = MIN(ALIGN_DOWN(at, (uint64_t)LARGE_PAGES) + LARGE_PAGES, end);
        if (!back_large(v.ram, at))
            back_small(v.ram, at, next);
    }
}

bool mem_ram_discard(struct mem_ram *ram, uint64_t offset, uint64_t length)
{
    for (uint64_t at = offset; at < offset + length; at += MEM_PAGE_SIZE)
        mem_page_set(ram, at >> MEM_PAGE_SHIFT, MEM_PAGE_BACKED);
    return fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)length) == 0;
}

/* --- blocks that come and go ------------------------------------------------------------------ */

void mem__ram_sparse(struct mem_ram *ram, uint64_t block)
{
    ram->block_shift = (unsigned)__builtin_ctzll(block);
    ram->there = g_new0(uint64_t, (ram->size / block + 63) / 64);
}

uint64_t mem__run_length(const struct mem_ram *ram, uint64_t offset, bool there)
{
    uint64_t n = ram->size >> ram->block_shift, block = offset >> ram->block_shift;

    while (block < n) {
        uint64_t word = __atomic_load_n(&ram->there[block / 64], __ATOMIC_SEQ_CST);
        uint64_t others = (there ? ~word : word) >> block % 64;
        if (others) {
            block += (unsigned)__builtin_ctzll(others);
            break;
        }
        block += 64 - block % 64;
    }
    return (MIN(block, n) << ram->block_shift) - offset;
}

/* Sets or clears the bits of blocks. */
static void mark_there(struct mem_ram *ram, uint64_t offset, uint64_t length, bool there)
{
    uint64_t end = (offset + length) >> ram->block_shift;

    g_assert(ram->there && length && offset + length <= ram->size &&
             !((offset | length) & ((UINT64_C(1) << ram->block_shift) - 1)));
    for (uint64_t block = offset >> ram->block_shift; block < end; block++) {
        uint64_t bit = UINT64_C(1) << block % 64;
        if (there)
            __atomic_fetch_or(&ram->there[block / 64], bit, __ATOMIC_SEQ_CST);
        else
            __atomic_fetch_and(&ram->there[block / 64], ~bit, __ATOMIC_SEQ_CST);
    }
}

void mem__ram_there(struct mem_ram *ram, bool there)
{
    mark_there(ram, 0, ram->size, there);
}

/* Code that was made of what was there before goes now: nobody could run it meanwhile. */
void mem_map_plug(struct mem_map *map, struct mem_ram *ram, uint64_t offset, uint64_t length)
{
    for (uint64_t at = offset; at < offset + length; at += MEM_PAGE_SIZE) {
        if (mem_page_flags(ram, at >> MEM_PAGE_SHIFT) & MEM_PAGE_BACKED)
            mem_page_clear(ram, at >> MEM_PAGE_SHIFT, MEM_PAGE_BACKED);
    }
    mark_there(ram, offset, length, true);
    mem_map_written(map, ram->gpa + offset, length);
    mem__tell_changed(map, ram->gpa + offset, length, MEM_RAM, true);
}

bool mem_map_unplug(struct mem_map *map, struct mem_ram *ram, uint64_t offset, uint64_t length)
{
    mark_there(ram, offset, length, false);
    mem__tell_changed(map, ram->gpa + offset, length, MEM_RAM, false);
    if (fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                  (off_t)length) == 0)
        return true;
    mark_there(ram, offset, length, true);
    mem__tell_changed(map, ram->gpa + offset, length, MEM_RAM, true);
    return false;
}
