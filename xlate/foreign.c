/*
 * Code that a device of the host wrote over by itself, by DMA, which nobody here sees.
 *
 * Guests tell of it: what was loaded as data is code only after an instruction fence, as both
 * instruction sets have it. Where such a device may write to RAM (mem_map_pinned()), a fence that
 * names a line drops what is translated of its page; one that names none looks at every page that
 * holds code, whose content was summed up when it was marked. A page that was marked before the
 * device came has no sum, and is dropped; so is one of what a device shows, whose registers are not
 * read for this.
 */
#include "xlate/runner.h"

static uint64_t sum_of(const void *page)
{
    const uint64_t *words = page;
    uint64_t sum = 0;

    for (unsigned i = 0; i < MEM_PAGE_SIZE / sizeof(*words); i++) {
        sum = (sum ^ __atomic_load_n(&words[i], __ATOMIC_RELAXED)) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    return sum;
}

static void *host_of(const struct mem_ram *ram, uint64_t page)
{
    return ram->host + (page << MEM_PAGE_SHIFT);
}

MEM_GUEST_RACES void xlate__foreign_marked(struct xlate *x, const struct mem_ram *ram,
                                           uint64_t page)
{
    bool pinned = mem_map_pinned(x->accel.config.mem);
    uint64_t sum = pinned && !ram->shown ? sum_of(host_of(ram, page)) : 0;

    pthread_mutex_lock(&x->sums_lock);
    if (!pinned) /* the next device finds other content than the last one's */
        g_hash_table_remove_all(x->sums);
    else if (!ram->shown)
        g_hash_table_insert(x->sums, host_of(ram, page), (void *)(uintptr_t)sum);
    pthread_mutex_unlock(&x->sums_lock);
}

/* Whether PAGE, which holds code, is as it was when it was marked. */
MEM_GUEST_RACES static bool is_same(struct xlate *x, const struct mem_ram *ram, uint64_t page)
{
    void *host = host_of(ram, page), *sum = NULL;

    pthread_mutex_lock(&x->sums_lock);
    bool known = g_hash_table_lookup_extended(x->sums, host, NULL, &sum);
    pthread_mutex_unlock(&x->sums_lock);
    return known && (uintptr_t)sum == sum_of(host);
}

static void look_at_ram(void *opaque, struct mem_ram *ram)
{
    struct xlate *x = opaque;

    for (uint64_t page = 0; page < ram->size >> MEM_PAGE_SHIFT; page++) {
        if ((mem_page_flags(ram, page) & MEM_PAGE_CODE) && (ram->shown || !is_same(x, ram, page)))
            xlate__page_written(x, ram, page);
    }
}

struct line {
    struct xlate *x;
    const uint8_t *host;
};

static void drop_line(void *opaque, struct mem_ram *ram)
{
    const struct line *line = opaque;
    uint64_t offset = (uint64_t)(line->host - ram->host);

    if (line->host >= ram->host && offset < ram->size &&
        (mem_page_flags(ram, offset >> MEM_PAGE_SHIFT) & MEM_PAGE_CODE))
        xlate__page_written(line->x, ram, offset >> MEM_PAGE_SHIFT);
}

void xlate__foreign(struct xl_cpu *cpu, const void *host)
{
    struct xlate *x = xlate_of(cpu);
    struct line line = {x, host};

    if (likely(!mem_map_pinned(x->accel.config.mem)))
        return;
    if (host)
        mem_map_each_ram(x->accel.config.mem, drop_line, &line);
    else
        mem_map_each_ram(x->accel.config.mem, look_at_ram, x);
}
