/*
 * xlate/ir/eval.c: the meaning of integer operations, once.
 */
#include "xlate/ir/eval.h"

static uint64_t canonical(enum ir_type type, uint64_t v)
{
    return type == IR_I32 ? (uint64_t)(int64_t)(int32_t)v : v;
}

static uint64_t orcb(uint64_t v)
{
    uint64_t low7 = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t top = (((v & low7) + low7) | v) & ~low7; /* bit 7 of each byte that is not 0 */

    return (top >> 7) * 0xff;
}

uint64_t ir_eval_un(enum ir_op op, enum ir_type type, uint64_t a)
{
    bool narrow = type == IR_I32;
    uint64_t v = narrow ? (uint32_t)a : a;

    switch (op) {
    case IR_CLZ:
        v = v ? (uint64_t)__builtin_clzll(v) - (narrow ? 32 : 0) : narrow ? 32 : 64;
        break;
    case IR_CTZ:
        v = v ? (uint64_t)__builtin_ctzll(v) : narrow ? 32 : 64;
        break;
    case IR_POPCNT:
        v = __builtin_popcountll(v);
        break;
    case IR_BSWAP:
        v = narrow ? __builtin_bswap32(v) : __builtin_bswap64(v);
        break;
    case IR_ORCB:
        v = orcb(v);
        break;
    case IR_TRUNC:
        break;
    default:
        g_assert_not_reached();
    }
    return canonical(type, v);
}

static uint64_t high_half(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b)
{
    if (type == IR_I32) {
        int64_t x = op == IR_MULHU ? (int64_t)(uint32_t)a : (int32_t)a;
        int64_t y = op == IR_MULHS ? (int32_t)b : (int64_t)(uint32_t)b;

        return (uint64_t)x * (uint64_t)y >> 32;
    }
    __int128 x = op == IR_MULHU ? (__int128)a : (__int128)(int64_t)a;
    __int128 y = op == IR_MULHS ? (__int128)(int64_t)b : (__int128)b;

    return (unsigned __int128)x * (unsigned __int128)y >> 64;
}

static uint64_t divide_signed(enum ir_op op, enum ir_type type, int64_t a, int64_t b)
{
    bool rem = op == IR_REMS;

    if (type == IR_I32) {
        a = (int32_t)a;
        b = (int32_t)b;
    }
    if (b == 0)
        return rem ? (uint64_t)a : UINT64_MAX;
    if (b == -1)
        return rem ? 0 : -(uint64_t)a;
    return rem ? a % b : a / b;
}

static uint64_t divide_unsigned(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b)
{
    bool rem = op == IR_REMU;

    if (type == IR_I32) {
        a = (uint32_t)a;
        b = (uint32_t)b;
    }
    if (b == 0)
        return rem ? a : UINT64_MAX;
    return rem ? a % b : a / b;
}

static uint64_t shift(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b)
{
    unsigned width = type == IR_I32 ? 32 : 64;
    unsigned n = b & (width - 1);
    uint64_t v = type == IR_I32 ? (uint32_t)a : a;

    switch (op) {
    case IR_SHL:
        return v << n;
    case IR_SHR:
        return v >> n;
    case IR_SAR:
        return (type == IR_I32 ? (int64_t)(int32_t)a : (int64_t)a) >> n;
    case IR_ROTL:
        return n ? v << n | v >> (width - n) : v;
    default: /* IR_ROTR */
        return n ? v >> n | v << (width - n) : v;
    }
}

uint64_t ir_eval_bin(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b)
{
    switch (op) {
    case IR_ADD:
        return canonical(type, a + b);
    case IR_SUB:
        return canonical(type, a - b);
    case IR_MUL:
        return canonical(type, a * b);
    case IR_MULHS:
    case IR_MULHU:
    case IR_MULHSU:
        return canonical(type, high_half(op, type, a, b));
    case IR_DIVS:
    case IR_REMS:
        return canonical(type, divide_signed(op, type, a, b));
    case IR_DIVU:
    case IR_REMU:
        return canonical(type, divide_unsigned(op, type, a, b));
    case IR_AND:
        return a & b;
    case IR_OR:
        return a | b;
    case IR_XOR:
        return a ^ b;
    case IR_ANDN:
        return a & ~b;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROTL:
    case IR_ROTR:
        return canonical(type, shift(op, type, a, b));
    default:
        g_assert_not_reached();
    }
}

uint64_t ir_eval_ext(enum ir_op op, enum ir_type type, uint64_t a, unsigned bits)
{
    unsigned n = 64 - bits;

    if (op == IR_SEXT)
        return canonical(type, (uint64_t)((int64_t)(a << n) >> n));
    return canonical(type, a << n >> n);
}

bool ir_eval_cmp(enum ir_cond cond, enum ir_type type, uint64_t a, uint64_t b)
{
    /* Sign extension keeps the order of I32 values, unsigned ones too. */
    a = canonical(type, a);
    b = canonical(type, b);
    switch (cond) {
    case IR_EQ:
        return a == b;
    case IR_NE:
        return a != b;
    case IR_LTS:
        return (int64_t)a < (int64_t)b;
    case IR_GES:
        return (int64_t)a >= (int64_t)b;
    case IR_LTU:
        return a < b;
    case IR_GEU:
        return a >= b;
    case IR_GTS:
        return (int64_t)a > (int64_t)b;
    case IR_LES:
        return (int64_t)a <= (int64_t)b;
    case IR_GTU:
        return a > b;
    case IR_LEU:
        return a <= b;
    }
    g_assert_not_reached();
}

uint64_t ir_eval_nzcv(enum ir_op op, enum ir_type type, uint64_t a, uint64_t b, uint64_t carry)
{
    unsigned unused = type == IR_I32 ? 32 : 0; /* operands go to the top of 64 bits */
    uint64_t x = a << unused, y = (op == IR_NZCV_SUB ? ~b : b) << unused;
    uint64_t c = (op == IR_NZCV_SUB ? 1 : op == IR_NZCV_ADC ? carry : 0) << unused;
    unsigned __int128 wide = (unsigned __int128)x + y + c;
    uint64_t sum = (uint64_t)wide;

    return (sum >> 63 ? IR_NZCV_N : 0) | (sum ? 0 : IR_NZCV_Z) | (wide >> 64 ? IR_NZCV_C : 0) |
           (((x ^ sum) & (y ^ sum)) >> 63 ? IR_NZCV_V : 0);
}

uint64_t ir_eval_rmw(enum ir_rmw op, unsigned log2, uint64_t old, uint64_t operand)
{
    unsigned n = 64 - (8u << log2);
    int64_t so = (int64_t)(old << n) >> n, sv = (int64_t)(operand << n) >> n;
    uint64_t uo = old << n >> n, uv = operand << n >> n;

    switch (op) {
    case IR_RMW_SWAP:
        return uv;
    case IR_RMW_ADD:
        return (uo + uv) << n >> n;
    case IR_RMW_AND:
        return uo & uv;
    case IR_RMW_OR:
        return uo | uv;
    case IR_RMW_XOR:
        return uo ^ uv;
    case IR_RMW_MINS:
        return so < sv ? uo : uv;
    case IR_RMW_MAXS:
        return so > sv ? uo : uv;
    case IR_RMW_MINU:
        return MIN(uo, uv);
    case IR_RMW_MAXU:
        return MAX(uo, uv);
    }
    g_assert_not_reached();
}
