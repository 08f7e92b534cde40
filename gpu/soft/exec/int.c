/*
 * Integer arithmetic and logic: the rows of ops.txt, and what they call.
 */
#include "gpu/soft/exec/lanes.h"

static inline int32_t exec_sx24(int32_t v)
{
    return (int32_t)((uint32_t)v << 8) >> 8;
}

static inline int32_t exec_sat32(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v;
}

/* All 64 bits in reverse. */
static inline uint64_t exec_brev(uint64_t v)
{
    v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
    v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(v);
}

static inline uint32_t exec_bfind(uint64_t v)
{
    return v ? 63u - __builtin_clzll(v) : ~0u;
}

static inline uint32_t exec_shiftamt(uint64_t v, unsigned bits)
{
    return v ? bits - 1 - exec_bfind(v) : ~0u;
}

static inline uint32_t exec_funnel(uint32_t lo, uint32_t hi, uint32_t by)
{
    return (uint32_t)(((uint64_t)hi << 32 | lo) << by >> 32);
}

/* Section 9.7.8.7, default mode. */
static inline uint32_t exec_prmt(uint32_t a, uint32_t b, uint32_t control)
{
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t r = 0;

    for (unsigned k = 0; k < 4; k++) {
        uint32_t sel = control >> 4 * k, byte = bytes >> 8 * (sel & 7) & 0xff;

        if (sel & 8)
            byte = byte & 0x80 ? 0xff : 0;
        r |= byte << 8 * k;
    }
    return r;
}

static inline uint32_t exec_b4e(uint32_t c)
{
    static const uint16_t select[] = {0x5670, 0x6701, 0x7012, 0x0123};

    return select[c];
}

static inline uint32_t exec_prmt_mode(unsigned right, uint32_t c)
{
    static const uint16_t select[2][4] = {{0x3210, 0x3211, 0x3222, 0x3333}, {0x0000, 0x1110, 0x2210, 0x3210}};

    return select[right][c];
}

static inline uint32_t exec_dp4a(uint32_t a, uint32_t b, bool as, bool bs)
{
    uint32_t sum = 0;

    for (unsigned k = 0; k < 32; k += 8) {
        int x = as ? (int8_t)(a >> k) : (uint8_t)(a >> k), y = bs ? (int8_t)(b >> k) : (uint8_t)(b >> k);

        sum += (uint32_t)(x * y);
    }
    return sum;
}

static inline uint32_t exec_dp2a(uint32_t a, uint32_t b, bool as, bool bs)
{
    uint32_t sum = 0;

    for (unsigned k = 0; k < 2; k++) {
        int x = as ? (int16_t)(a >> 16 * k) : (uint16_t)(a >> 16 * k);
        int y = bs ? (int8_t)(b >> 8 * k) : (uint8_t)(b >> 8 * k);

        sum += (uint32_t)(x * y);
    }
    return sum;
}

#include "gpu/soft/ops_int.inc"

const struct exec_ops exec_ops_int = {generated, G_N_ELEMENTS(generated)};
