/*
 * xlate/softfp: IEEE 754 binary32 and binary64 with integers alone. Exact in every rounding mode,
 * to-nearest-ties-away included; tininess is detected after rounding; every NaN result is the
 * default (positive quiet) NaN, unless Arm's ways are asked for. It is the interpreter's arithmetic, the oracle of back ends, and
 * their slow path.
 *
 * Numbers are bit patterns: a single is in the low 32 bits. Flags are added to *FLAGS. All
 * functions are pure but for that.
 */
#ifndef XLATE_SOFTFP_SOFTFP_H
#define XLATE_SOFTFP_SOFTFP_H

#include "base/base.h"

enum sf_format { SF_F32, SF_F64, SF_F16 }; /* SF_F16: conversions alone */

/*
 * Numbers as in RISC-V's frm; an enum ir_rm that is not DYN is one more. With them go, where a
 * function takes them: SF_ARM, whose NaN results are the first signalling operand, else the first
 * NaN, whose tininess is found before rounding, and to which a NaN is the integer 0; with it SF_DN,
 * NaN results are the default one, SF_FZ, subnormal operands and results are zeros, and SF_AHP, halves
 * have neither infinities nor NaNs but numbers up to 131008.
 */
enum sf_rm {
    SF_RNE, SF_RTZ, SF_RDN, SF_RUP, SF_RMM,
    SF_RM = 7, SF_ARM = 8, SF_DN = 16, SF_FZ = 32, SF_AHP = 64,
};

/* As RISC-V's fflags and enum ir_fflag. SF_ID: an operand was flushed to zero. */
enum sf_flag { SF_NX = 1, SF_UF = 2, SF_OF = 4, SF_DZ = 8, SF_NV = 16, SF_ID = 32 };

enum sf_negate { SF_NEG_PRODUCT = 1, SF_NEG_ADDEND = 2 };

uint64_t sf_add(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags);
uint64_t sf_sub(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags);
uint64_t sf_mul(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags);
uint64_t sf_div(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags);
uint64_t sf_sqrt(enum sf_format f, uint64_t a, enum sf_rm rm, uint8_t *flags);
/* +-(a * b) +- c, rounded once; NEGATE is a mask of enum sf_negate. 0 x inf is invalid whatever c. */
uint64_t sf_fma(enum sf_format f, uint64_t a, uint64_t b, uint64_t c, unsigned negate,
                enum sf_rm rm, uint8_t *flags);

/* minimumNumber and maximumNumber of IEEE 754-2019: a NaN loses, -0 < +0. */
uint64_t sf_min(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags);
uint64_t sf_max(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags);

/* EQ is quiet, LT and LE raise NV for any NaN. */
bool sf_eq(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags);
bool sf_lt(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags);
bool sf_le(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags);

/* RISC-V's fclass mask: -inf, -normal, -subnormal, -0, +0, +subnormal, +normal, +inf, sNaN, qNaN. */
unsigned sf_class(enum sf_format f, uint64_t a);

/* Between the formats. */
uint64_t sf_convert(enum sf_format to, enum sf_format from, uint64_t a, enum sf_rm rm,
                    uint8_t *flags);
/*
 * To an integer of BITS (32, 64). Out of range gives the nearest one, NaN the greatest, with NV.
 * The result is sign-extended when signed, else zero-extended.
 */
uint64_t sf_to_int(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, enum sf_rm rm,
                   uint8_t *flags);
/* Of the low BITS (32, 64) of A. */
uint64_t sf_from_int(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, enum sf_rm rm,
                     uint8_t *flags);

/* The same scaled: of A * 2^SCALE; A * 2^-SCALE as a number. */
uint64_t sf_to_fixed(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, int scale,
                     enum sf_rm rm, uint8_t *flags);
uint64_t sf_from_fixed(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, int scale,
                       enum sf_rm rm, uint8_t *flags);
/* To an integral number; NX is raised where EXACT. */
uint64_t sf_round(enum sf_format f, uint64_t a, bool exact, enum sf_rm rm, uint8_t *flags);

/* --- Arm's own; RM has SF_ARM ----------------------------------------------------------------- */

enum sf_relation { SF_LESS, SF_EQUAL, SF_GREATER, SF_UNORDERED };
/* SIGNALLING: any NaN raises NV, else signalling ones. */
enum sf_relation sf_relation(enum sf_format f, uint64_t a, uint64_t b, bool signalling,
                             enum sf_rm rm, uint8_t *flags);
/* FMIN and FMAX; NUMBERS: FMINNM and FMAXNM, where a quiet NaN loses. */
uint64_t sf_arm_min_max(enum sf_format f, uint64_t a, uint64_t b, bool max, bool numbers,
                        enum sf_rm rm, uint8_t *flags);
/* FMULX: 0 x inf is 2. */
uint64_t sf_mulx(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags);
/* FRECPS, 2 - a b, and FRSQRTS (ROOT), (3 - a b) / 2, each rounded once. */
uint64_t sf_step(enum sf_format f, uint64_t a, uint64_t b, bool root, enum sf_rm rm,
                 uint8_t *flags);
/* FRECPE and FRSQRTE (ROOT); the same of fixed-point numbers; FRECPX. */
uint64_t sf_estimate(enum sf_format f, uint64_t a, bool root, enum sf_rm rm, uint8_t *flags);
uint32_t sf_estimate32(uint32_t a, bool root);
uint64_t sf_reciprocal_exponent(enum sf_format f, uint64_t a, enum sf_rm rm, uint8_t *flags);

/* The default NaN; whether A is one, and whether it is a signalling one. */
uint64_t sf_default_nan(enum sf_format f);
bool sf_is_nan(enum sf_format f, uint64_t a);
bool sf_is_signalling(enum sf_format f, uint64_t a);

#endif
