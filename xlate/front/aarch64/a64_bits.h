/*
 * a64_bits.h: encodings that a bit pattern can't say, for the decoder that tools/gen_isa.py makes.
 */
#ifndef XLATE_FRONT_AARCH64_A64_BITS_H
#define XLATE_FRONT_AARCH64_A64_BITS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The bitmask immediate of N:immr:imms (DecodeBitMasks), repeated over 64 bits; false where it is
 * reserved.
 */
bool a64_bitmask(unsigned n, unsigned immr, unsigned imms, uint64_t *mask);

static inline bool a64__is_wide(uint32_t word)
{
    return word >> 31;
}

/* A logical immediate: neither reserved nor of 64-bit elements where sf is 0. */
static inline bool a64_if_bitmask(uint32_t word)
{
    uint64_t mask;
    unsigned n = word >> 22 & 1;

    return (!n || a64__is_wide(word)) && a64_bitmask(n, word >> 16 & 63, word >> 10 & 63, &mask);
}

/* Bit-field moves and EXTR: N is sf, and numbers of bits are below the width. */
static inline bool a64_if_bitfield(uint32_t word)
{
    bool extract = (word >> 23 & 0x3f) == 0x27;

    if ((word >> 22 & 1) != a64__is_wide(word))
        return false;
    return a64__is_wide(word) || (!(word & 1u << 15) && (extract || !(word & 1u << 21)));
}

/* Wide moves: a shift below the width. */
static inline bool a64_if_hw(uint32_t word)
{
    return a64__is_wide(word) || !(word & 1u << 22);
}

/* The same of shifted registers. */
static inline bool a64_if_amount(uint32_t word)
{
    return a64__is_wide(word) || !(word & 1u << 15);
}

/* CASP: both pairs begin at an even register. */
static inline bool a64_if_pair(uint32_t word)
{
    return !(word & 1) && !(word >> 16 & 1);
}

#endif
