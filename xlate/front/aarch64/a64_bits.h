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

/* --- SIMD: bit 30 (Q) says whether all of a register is used ---------------------------------- */

static inline bool a64__is_full(uint32_t word)
{
    return word >> 30 & 1;
}

/* Two lanes of 64 bits fill a register: size, at 23:22. */
static inline bool a64_if_2d(uint32_t word)
{
    return (word >> 22 & 3) != 3 || a64__is_full(word);
}

/* The same of sz, bit 22. */
static inline bool a64_if_2df(uint32_t word)
{
    return !(word >> 22 & 1) || a64__is_full(word);
}

/* Across lanes there are more than two. */
static inline bool a64_if_4s(uint32_t word)
{
    return (word >> 22 & 3) != 2 || a64__is_full(word);
}

/* The same as 2d of structures in memory: size, at 11:10. */
static inline bool a64_if_lanes(uint32_t word)
{
    return (word >> 10 & 3) != 3 || a64__is_full(word);
}

/* imm5 names a lane; of bytes or halfwords; or words; and one that fits a register's half. */
static inline bool a64_if_lane(uint32_t word)
{
    return word >> 16 & 15;
}

static inline bool a64_if_lane_bh(uint32_t word)
{
    return word >> 16 & 3;
}

static inline bool a64_if_lane_bhs(uint32_t word)
{
    return word >> 16 & 7;
}

static inline bool a64_if_dup(uint32_t word)
{
    return a64_if_lane_bhs(word) || (a64_if_lane(word) && a64__is_full(word));
}

/* EXT: bytes of the operands. */
static inline bool a64_if_ext(uint32_t word)
{
    return a64__is_full(word) || !(word & 1u << 14);
}

/* Shifts by a constant: immh, at 22:19, is not of doublewords, or there are two. */
static inline bool a64_if_2dh(uint32_t word)
{
    return !(word & 1u << 22) || a64__is_full(word);
}

/* Fixed-point conversions: of words or doublewords. */
static inline bool a64_if_fixed(uint32_t word)
{
    bool scalar = word >> 28 & 1;

    return (word >> 21 & 3) && (scalar || a64_if_2dh(word));
}

/* By element, of floating point: a doubleword's number has one bit. */
static inline bool a64_if_felement_z(uint32_t word)
{
    return !(word & 1u << 22) || !(word & 1u << 21);
}

static inline bool a64_if_felement(uint32_t word)
{
    return a64_if_felement_z(word) && a64_if_2df(word);
}

/* Fixed-point numbers in general registers: no more bits than those have. */
static inline bool a64_if_scale(uint32_t word)
{
    return a64__is_wide(word) || (word & 1u << 15);
}

#endif
