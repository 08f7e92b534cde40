/*
 * Many accesses at once, for loops that copy or fill: as far as pages have fast entries, through which
 * generated code would go for each. What isn't plain RAM, is watched, or holds code has none.
 */
#include "xlate/mmu/mmu.h"

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN); /* of parts of words */

/* Host address of VA, if its page has a fast entry for loads or for stores; else NULL. */
static uint8_t *fast(const struct xl_cpu *cpu, gva_t va, bool store)
{
    const struct xl_tlb *tlb = &cpu->tlb[xl_tlb_mode(cpu->mode)];
    const struct xl_tlb_entry *e = &(store ? tlb->store : tlb->load)[xl_tlb_index(va)];

    return e->tag == (va & ~PAGE_MASK) ? (uint8_t *)(uintptr_t)(va + e->delta) : NULL; // NOLINT
}

/* Elements from VA to its page's end; one that crosses it is left out. */
static uint64_t room(gva_t va, unsigned log2)
{
    return (MEM_PAGE_SIZE - (va & PAGE_MASK)) >> log2;
}

/* One element as it is in memory. Naturally aligned ones are loaded and stored whole. */
MEM_GUEST_RACES static inline uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;

    switch (bytes) {
    case 1:
        return *p;
    case 2:
        memcpy(&value, p, 2);
        return value;
    case 4:
        memcpy(&value, p, 4);
        return value;
    default:
        memcpy(&value, p, 8);
        return value;
    }
}

MEM_GUEST_RACES static inline void put(uint8_t *p, uint64_t value, unsigned bytes)
{
    switch (bytes) {
    case 1:
        *p = (uint8_t)value;
        break;
    case 2:
        memcpy(p, &value, 2);
        break;
    case 4:
        memcpy(p, &value, 4);
        break;
    default:
        memcpy(p, &value, 8);
        break;
    }
}

/* Moves N elements; the last. What was stored may not be stored again, as a library's memcpy() does: another
 * vCPU may have answered to it. BYTES is a constant where this is inlined. */
MEM_GUEST_RACES static inline __attribute__((always_inline)) uint64_t
move(uint8_t *to, const uint8_t *from, uint64_t n, unsigned bytes)
{
    uint64_t value = 0;

    for (; n; n--, to += bytes, from += bytes) {
        value = get(from, bytes);
        __asm__ volatile("" ::: "memory"); /* no call, and in this order */
        put(to, value, bytes);
    }
    return value;
}

MEM_GUEST_RACES static uint64_t move_any(uint8_t *to, const uint8_t *from, uint64_t n, unsigned log2)
{
    switch (log2) {
    case 0:
        return move(to, from, n, 1);
    case 1:
        return move(to, from, n, 2);
    case 2:
        return move(to, from, n, 4);
    default:
        return move(to, from, n, 8);
    }
}

uint64_t mmu_copy(struct xl_cpu *cpu, gva_t to, gva_t from, unsigned log2, uint64_t n, uint64_t *last)
{
    uint8_t *host_to = fast(cpu, to, true);
    const uint8_t *host_from = fast(cpu, from, false);

    n = MIN(n, MIN(room(to, log2), room(from, log2)));
    if (!host_to || !host_from || !n)
        return 0;
    uint64_t ahead = (uintptr_t)host_to - (uintptr_t)host_from, words = (n << log2) / 8;
    if (ahead - 1 < 7) /* each element is made of what was stored just before */
        words = 0;
    uint64_t left = n - (words << 3 >> log2);
    *last = move_any(host_to, host_from, words, 3) >> (64 - (8u << log2));
    if (left)
        *last = move_any(host_to + 8 * words, host_from + 8 * words, left, log2);
    return n;
}

uint64_t mmu_fill(struct xl_cpu *cpu, gva_t to, uint64_t value, unsigned log2, uint64_t n)
{
    static const uint64_t ones[] = {UINT64_C(0x0101010101010101), UINT64_C(0x0001000100010001),
                                    UINT64_C(0x0000000100000001), 1};
    uint8_t *host = fast(cpu, to, true);

    n = MIN(n, room(to, log2));
    if (!host || !n)
        return 0;
    uint64_t bytes = n << log2, at = 0;
    if (log2 < 3)
        value = (value & ((UINT64_C(1) << (8 << log2)) - 1)) * ones[log2];
    for (; at + 8 <= bytes; at += 8) {
        put(host + at, value, 8);
        __asm__ volatile("" ::: "memory");
    }
    for (; at < bytes; at += 1u << log2)
        put(host + at, value, 1u << log2);
    return n;
}
