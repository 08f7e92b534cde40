/*
 * Instructions of the unprivileged kind that generated code has no operation for: atomics of two
 * registers, CRCs.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

#include "xlate/mmu/mmu.h"

/* --- pairs ------------------------------------------------------------------------------------ */

typedef unsigned __int128 pair_t;

/* The old value of the 16 bytes at P, which become DESIRED where they are EXPECTED. */
MEM_GUEST_RACES static pair_t exchange16(void *p, pair_t expected, pair_t desired)
{
    return __sync_val_compare_and_swap((pair_t *)p, expected, desired);
}

/* Of the two registers of 1 << LOG2 bytes that are a pair in memory. */
static pair_t pair_of(uint64_t first, uint64_t second, unsigned log2)
{
    if (log2 == 2)
        return (uint32_t)first | second << 32;
    return first | (pair_t)second << 64;
}

/* Raises the alignment fault of an atomic at VA. */
static bool aligned(struct xl_cpu *cpu, gva_t va, unsigned bytes, enum xl_access access)
{
    if (!(va & (bytes - 1)))
        return true;
    a64_access_fault(cpu, va, access, true);
    return false;
}

/* Compare-and-swap of 16 bytes; false with cpu->fault set. OLD gets what was there. */
static bool exchange_wide(struct xl_cpu *cpu, gva_t va, pair_t expected, pair_t desired,
                          pair_t *old)
{
    if (!aligned(cpu, va, 16, XL_STORE))
        return false;
    void *host = mmu_range(cpu, va, 16, XL_STORE);
    if (host)
        *old = exchange16(host, expected, desired);
    return host;
}

/* The same of a pair that the instruction also loads. */
static bool exchange_pair(struct xl_cpu *cpu, gva_t va, unsigned log2, pair_t expected,
                          pair_t desired, pair_t *old)
{
    if (log2 == 2) {
        *old = mmu_cas(cpu, va, (uint64_t)expected, (uint64_t)desired, 3);
        return !cpu->fault;
    }
    return aligned(cpu, va, 16, XL_STORE) && mmu_range(cpu, va, 16, XL_LOAD) &&
           exchange_wide(cpu, va, expected, desired, old);
}

uint64_t a64_help_alignment(struct xl_cpu *cpu, uint64_t va, uint64_t how)
{
    aligned(cpu, va, how & 0xff, how >> 8 ? XL_STORE : XL_LOAD);
    return 0;
}

uint64_t a64_help_store_exclusive_pair(struct xl_cpu *cpu, uint64_t va, uint64_t first,
                                       uint64_t second, uint64_t how)
{
    unsigned log2 = how & 0xff;
    pair_t expected = pair_of(cpu->slots[A64_SLOT_EXCL_VALUE], cpu->slots[A64_SLOT_EXCL_HIGH], log2);
    pair_t old;

    if (!(how >> 8)) { /* faults all the same */
        if (aligned(cpu, va, 2u << log2, XL_STORE))
            mmu_probe(cpu, va, XL_STORE);
        return 1;
    }
    if (log2 == 2)
        return mmu_sc(cpu, va, 1, (uint64_t)expected, (uint64_t)pair_of(first, second, log2), 3);
    if (!exchange_wide(cpu, va, expected, pair_of(first, second, log2), &old))
        return 1;
    return old != expected;
}

uint64_t a64_help_casp(struct xl_cpu *cpu, uint64_t va, uint64_t how)
{
    uint64_t *s = &cpu->slots[A64_SLOT_X + (how & 31)], *t = &cpu->slots[A64_SLOT_X + (how >> 8 & 31)];
    unsigned log2 = (unsigned)(how >> 16);
    uint64_t s_high = (how & 31) == 30 ? 0 : s[1], t_high = (how >> 8 & 31) == 30 ? 0 : t[1];
    pair_t old;

    if (!exchange_pair(cpu, va, log2, pair_of(s[0], s_high, log2), pair_of(t[0], t_high, log2), &old))
        return 0;
    s[0] = log2 == 2 ? (uint32_t)old : (uint64_t)old;
    if ((how & 31) != 30) /* the second of x30 is xzr */
        s[1] = log2 == 2 ? (uint32_t)((uint64_t)old >> 32) : (uint64_t)(old >> 64);
    return 0;
}

/* --- CRCs ------------------------------------------------------------------------------------- */

/* Bit-reversed: POLY of the least significant bit first. */
static uint32_t crc(uint32_t value, uint64_t data, unsigned bytes, uint32_t poly)
{
    for (unsigned i = 0; i < bytes; i++) {
        value ^= data & 0xff;
        data >>= 8;
        for (unsigned bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? poly : 0);
    }
    return value;
}

uint64_t a64_help_crc32(struct xl_cpu *cpu, uint64_t value, uint64_t data, uint64_t log2)
{
    return crc((uint32_t)value, data, 1u << log2, 0xedb88320);
}

uint64_t a64_help_crc32c(struct xl_cpu *cpu, uint64_t value, uint64_t data, uint64_t log2)
{
    return crc((uint32_t)value, data, 1u << log2, 0x82f63b78);
}
