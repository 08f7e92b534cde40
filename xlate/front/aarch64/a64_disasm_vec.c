/*
 * a64_disasm_vec.c: operands of floating point and SIMD. Their words:
 *
 *   Bd.. Qd   a scalar of that width; fd: as bit 22 says; zd: as size, yd: twice that; kd, nd: as immh
 *             says, md: twice that; Ld: as imm5 says
 *   vd.X      a vector register, X being one of the letters of arrangement() or written out
 *   groupN.X  N registers from rt on; laneN.c one lane of each; table; vaddr, vaddrpost their addresses
 *   laned, lanen, lane4   a lane that imm5 and imm4 name; lrn a general register of its width
 *   element, felement, fours   a lane by H, L and M
 *   lsl, lsr, lanebits, imm4, fbits, float, mod   immediates
 */
#include "xlate/front/aarch64/a64_disasm_priv.h"
#include "xlate/front/aarch64/a64_vec.h"

#include <math.h>

static unsigned bits_of(const struct a64_insn *i, unsigned low, unsigned width)
{
    return i->bits >> low & ((1u << width) - 1);
}

/* log2 of the bytes of a lane of a shift by a constant; of imm5. */
static unsigned shift_lane(const struct a64_insn *i)
{
    unsigned immh = bits_of(i, 19, 4);

    return immh ? 31 - (unsigned)__builtin_clz(immh) : 0;
}

static unsigned imm5_lane(const struct a64_insn *i)
{
    return (unsigned)__builtin_ctz(bits_of(i, 16, 5) | 16);
}

static unsigned field(const struct a64_insn *i, const char *name)
{
    switch (name[0]) {
    case 'd':
        return bits_of(i, 0, 5);
    case 'n':
        return bits_of(i, 5, 5);
    case 'm':
        return bits_of(i, 16, 5);
    case 'a':
        return bits_of(i, 10, 5);
    default:
        return name[1] == '2' ? bits_of(i, 10, 5) : bits_of(i, 0, 5);
    }
}

/* --- registers -------------------------------------------------------------------------------- */

static bool put_scalar(struct a64_text *out, const char *word, const struct a64_insn *i)
{
    static const char widths[] = "bhsdq", scalars[] = "BHSDQ";
    const char *upper = strchr(scalars, word[0]);
    unsigned lane;

    if (strlen(word) < 2 || !strchr("dnmat", word[1]) || (word[2] && strcmp(word + 1, "t2")))
        return false;
    switch (word[0]) {
    case 'f':
        lane = 2 + bits_of(i, 22, 1);
        break;
    case 'z':
        lane = bits_of(i, 22, 2);
        break;
    case 'y':
        lane = bits_of(i, 22, 2) + 1;
        break;
    case 'k': case 'n':
        lane = shift_lane(i);
        break;
    case 'm':
        lane = shift_lane(i) + 1;
        break;
    case 'L':
        lane = imm5_lane(i);
        break;
    default:
        if (!upper)
            return false;
        lane = (unsigned)(upper - scalars);
    }
    a64_put(out, "%c%u", widths[lane], field(i, word + 1));
    return true;
}

/* Lanes of a whole or half a register. */
static void put_lanes(struct a64_text *out, unsigned lane, bool full)
{
    a64_put(out, "%u%c", (full ? 16u : 8u) >> lane, "bhsdq"[lane]);
}

static void put_arrangement(struct a64_text *out, const char *name, const struct a64_insn *i)
{
    unsigned size = bits_of(i, 22, 2), sz = bits_of(i, 22, 1);
    bool memory = bits_of(i, 25, 5) == 6, q = bits_of(i, 30, 1);

    if (name[1]) {
        a64_put(out, "%s", name);
        return;
    }
    switch (name[0]) {
    case 'T':
        put_lanes(out, memory ? bits_of(i, 10, 2) : size, q);
        break;
    case 'W':
        put_lanes(out, size + 1, true);
        break;
    case 'P':
        put_lanes(out, size + 1, q);
        break;
    case 'B':
        put_lanes(out, 0, q);
        break;
    case 'J':
        put_lanes(out, 1, q);
        break;
    case 'S':
        put_lanes(out, 2, q);
        break;
    case 'F':
        put_lanes(out, 2 + sz, q);
        break;
    case 'G':
        put_lanes(out, 2 + sz, true);
        break;
    case 'H':
        put_lanes(out, 1 + sz, q);
        break;
    case 'I':
        put_lanes(out, 2 + sz, sz);
        break;
    case 'K': case 'N':
        put_lanes(out, shift_lane(i), q);
        break;
    case 'M':
        put_lanes(out, shift_lane(i) + 1, true);
        break;
    default: /* L */
        put_lanes(out, imm5_lane(i), q);
    }
}

/* N registers from FIRST on, each with what comes behind the dot. */
static void put_list(struct a64_text *out, unsigned first, unsigned n, const char *arrangement,
                     const struct a64_insn *i)
{
    bool range = n > 2 && first + n <= 32;

    a64_put(out, "{");
    for (unsigned k = 0; k < n; k += range ? n - 1 : 1) {
        a64_put(out, "%sv%u.", k == 0 ? "" : range ? "-" : ", ", (first + k) % 32);
        put_arrangement(out, arrangement, i);
    }
    a64_put(out, "}");
}

static bool put_vector(struct a64_text *out, const char *word, const struct a64_insn *i)
{
    if (word[0] == 'v' && word[1] && word[2] == '.') {
        a64_put(out, "v%u.", field(i, word + 1));
        put_arrangement(out, word + 3, i);
    } else if (g_str_has_prefix(word, "group")) {
        put_list(out, i->rt, (unsigned)(word[5] - '0'), word + 7, i);
    } else if (!strcmp(word, "table")) {
        put_list(out, i->rn, bits_of(i, 13, 2) + 1, "16b", i);
    } else {
        return false;
    }
    return true;
}

/* --- single lanes ----------------------------------------------------------------------------- */

/* laneN.c: the number lies in Q:S:size. */
static void put_memory_lane(struct a64_text *out, const char *word, const struct a64_insn *i)
{
    unsigned n = (unsigned)(word[4] - '0'), lane = word[6] == 'b' ? 0 : word[6] == 'h' ? 1 : word[6] == 's' ? 2 : 3;
    unsigned number = bits_of(i, 30, 1) << 3 | bits_of(i, 12, 1) << 2 | bits_of(i, 10, 2);
    bool range = n > 2 && i->rt + n <= 32;

    a64_put(out, "{");
    for (unsigned k = 0; k < n; k += range ? n - 1 : 1)
        a64_put(out, "%sv%u.%c", k == 0 ? "" : range ? "-" : ", ", (i->rt + k) % 32, word[6]);
    a64_put(out, "}[%u]", number >> lane);
}

/* Of by-element instructions. */
static void put_element(struct a64_text *out, unsigned lane, const char *name,
                        const struct a64_insn *i)
{
    unsigned h = bits_of(i, 11, 1), l = bits_of(i, 21, 1), m = bits_of(i, 20, 1);
    unsigned reg = bits_of(i, 16, 4) | (lane == 1 ? 0 : m << 4);
    unsigned number = lane == 1 ? h << 2 | l << 1 | m : lane == 2 ? h << 1 | l : h;

    a64_put(out, "v%u.%s[%u]", reg, name, number);
}

static bool put_lane(struct a64_text *out, const char *word, const struct a64_insn *i)
{
    static const char *const names[] = {"b", "h", "s", "d"};
    unsigned lane = imm5_lane(i) & 3, number = bits_of(i, 16, 5) >> (lane + 1);

    if (!strcmp(word, "laned"))
        a64_put(out, "v%u.%s[%u]", i->rd, names[lane], number);
    else if (!strcmp(word, "lanen"))
        a64_put(out, "v%u.%s[%u]", i->rn, names[lane], number);
    else if (!strcmp(word, "lane4"))
        a64_put(out, "v%u.%s[%u]", i->rn, names[lane], bits_of(i, 11, 4) >> lane);
    else if (!strcmp(word, "lrn"))
        a64_put_reg(out, lane == 3, i->rn, false);
    else if (!strcmp(word, "element"))
        put_element(out, bits_of(i, 22, 2), names[bits_of(i, 22, 2)], i);
    else if (!strcmp(word, "felement"))
        put_element(out, 2 + bits_of(i, 22, 1), names[2 + bits_of(i, 22, 1)], i);
    else if (!strcmp(word, "fours"))
        put_element(out, 2, "4b", i);
    else if (g_str_has_prefix(word, "lane") && word[5] == '.')
        put_memory_lane(out, word, i);
    else
        return false;
    return true;
}

/* --- addresses and immediates ----------------------------------------------------------------- */

/* Bytes that LD1..ST4 access. */
static unsigned group_bytes(const struct a64_insn *i)
{
    static const uint8_t registers[16] = {[0] = 4, [2] = 4, [4] = 3, [6] = 3, [7] = 1, [8] = 2, [10] = 2};
    unsigned opcode = bits_of(i, 13, 3), n = ((opcode & 1) << 1 | bits_of(i, 21, 1)) + 1;

    if (!bits_of(i, 24, 1))
        return (unsigned)registers[bits_of(i, 12, 4)] << (bits_of(i, 30, 1) ? 4 : 3);
    if (opcode >> 1 == 3)
        return n << bits_of(i, 10, 2);
    return n << (opcode >> 1 == 2 && bits_of(i, 10, 1) ? 3 : opcode >> 1);
}

static void put_group_address(struct a64_text *out, bool post, const struct a64_insn *i)
{
    unsigned rm = bits_of(i, 16, 5);

    a64_put(out, "[");
    a64_put_reg(out, true, i->rn, true);
    a64_put(out, "]");
    if (post && rm == 31)
        a64_put(out, ", #%u", group_bytes(i));
    else if (post)
        a64_put(out, ", x%u", rm);
}

static void put_float(struct a64_text *out, unsigned imm8)
{
    double value = ldexp(16 + (imm8 & 15), (int)((imm8 >> 4 & 7) ^ 4) - 7);

    a64_put(out, "#%.18e", imm8 & 0x80 ? -value : value);
}

/* Each bit of IMM8 as a byte of ones. */
static uint64_t spread_bits(unsigned imm8)
{
    uint64_t out = 0;

    for (unsigned k = 0; k < 8; k++)
        out |= imm8 >> k & 1 ? UINT64_C(0xff) << (8 * k) : 0;
    return out;
}

static void put_modified(struct a64_text *out, const struct a64_insn *i)
{
    unsigned imm8 = bits_of(i, 16, 3) << 5 | bits_of(i, 5, 5), cmode = bits_of(i, 12, 4);
    unsigned shift = cmode < 8 ? cmode / 2 * 8 : cmode < 12 ? cmode / 2 % 2 * 8 : 0;

    if (cmode == 15)
        put_float(out, imm8);
    else if (cmode == 14 && bits_of(i, 29, 1))
        a64_put(out, "#0x%" G_GINT64_MODIFIER "x", spread_bits(imm8));
    else if (cmode == 12 || cmode == 13)
        a64_put(out, "#0x%x, msl #%u", imm8, cmode == 12 ? 8 : 16);
    else if (shift)
        a64_put(out, "#0x%x, lsl #%u", imm8, shift);
    else
        a64_put(out, "#0x%x", imm8);
}

static bool put_immediate(struct a64_text *out, const char *word, const struct a64_insn *i)
{
    unsigned bits = 8u << shift_lane(i), immhb = bits_of(i, 16, 7);

    if (!strcmp(word, "lsl"))
        a64_put(out, "#%u", immhb - bits);
    else if (!strcmp(word, "lsr"))
        a64_put(out, "#%u", 2 * bits - immhb);
    else if (!strcmp(word, "lanebits"))
        a64_put(out, "#%u", 8u << bits_of(i, 22, 2));
    else if (!strcmp(word, "imm4"))
        a64_put(out, "#%u", bits_of(i, 11, 4));
    else if (!strcmp(word, "fbits"))
        a64_put(out, "#%u", 64 - bits_of(i, 10, 6));
    else if (!strcmp(word, "float"))
        put_float(out, bits_of(i, 13, 8));
    else if (!strcmp(word, "mod"))
        put_modified(out, i);
    else
        return false;
    return true;
}

bool a64_put_vector_operand(struct a64_text *out, const char *word, const struct a64_insn *i)
{
    if (g_str_has_prefix(word, "vaddr")) {
        put_group_address(out, word[5] == 'p', i);
        return true;
    }
    return put_vector(out, word, i) || put_lane(out, word, i) || put_immediate(out, word, i) ||
           put_scalar(out, word, i);
}
