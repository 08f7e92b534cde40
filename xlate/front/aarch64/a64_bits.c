/*
 * a64_bits.c: bitmask immediates.
 */
#include "xlate/front/aarch64/a64_bits.h"

/* Arm ARM, DecodeBitMasks(): an element of 2, 4 .. 64 bits holds a run of imms + 1 ones, rotated right
 * by immr, and repeats. The highest zero of n:~imms says the element's size. */
bool a64_bitmask(unsigned n, unsigned immr, unsigned imms, uint64_t *mask)
{
    unsigned size_bits = n << 6 | (~imms & 63);

    if (size_bits < 2)
        return false;
    unsigned size = 1u << (31 - __builtin_clz(size_bits));
    unsigned run = (imms & (size - 1)) + 1, rotate = immr & (size - 1);
    if (run == size)
        return false;
    uint64_t all = size == 64 ? UINT64_MAX : (UINT64_C(1) << size) - 1;
    uint64_t element = (UINT64_C(1) << run) - 1;
    if (rotate)
        element = (element >> rotate | element << (size - rotate)) & all;
    for (; size < 64; size *= 2)
        element |= element << size;
    *mask = element;
    return true;
}
