/*
 * tests/diff/values.c: see values.h.
 */
#include "tests/diff/values.h"

uint64_t diff_rnd(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t diff_integer(uint64_t *state)
{
    uint64_t r = diff_rnd(state), v = diff_rnd(state);
    static const uint64_t edges[] = {
        0, 1, 2, UINT64_MAX, UINT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MIN, INT32_MAX,
        (uint64_t)INT32_MIN, 0x80000000, UINT32_MAX, 0x100000000, 0x7fff, 0x8000, 0xff, 31, 32, 63, 64,
    };

    switch (r & 7) {
    case 0:
    case 1:
        return edges[(r >> 8) % G_N_ELEMENTS(edges)];
    case 2:
        return (uint64_t)((int64_t)v >> (r >> 8 & 63));
    case 3:
        return UINT64_C(1) << (r >> 8 & 63);
    case 4:
        return v & (v >> 8) & (v << 8) & UINT64_C(0xff00ff00ff00ff00);
    default:
        return v;
    }
}

uint64_t diff_floating(uint64_t *state, int exp_bits, int frac_bits)
{
    uint64_t r = diff_rnd(state), m = diff_rnd(state) & ((UINT64_C(1) << frac_bits) - 1);
    uint64_t most = (UINT64_C(1) << exp_bits) - 1, e = diff_rnd(state) % (most + 1);

    if (r & 1)
        e = r & 2 ? r >> 8 & 1 : most - (r >> 8 & 1);
    else if (r & 4)
        e = most / 2 + (r >> 12 & 127) - 32;
    e &= most;
    if ((r >> 20 & 7) == 0)
        m = 0;
    else if ((r >> 20 & 7) == 1)
        m = (UINT64_C(1) << frac_bits) - 1;
    else if ((r >> 20 & 7) < 4)
        m &= UINT64_MAX << (r >> 24) % frac_bits;
    return (r >> 63) << (exp_bits + frac_bits) | e << frac_bits | m;
}
