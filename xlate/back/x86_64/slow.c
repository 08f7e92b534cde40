/*
 * The C functions behind floating-point operations: what the host's instructions do not do as the
 * guest's. They run in the guest's environment: MXCSR tells the rounding mode and takes the flags.
 */
#include "xlate/back/x86_64/back_priv.h"
#include "xlate/softfp/softfp.h"
#include "xlate/vec/vec.h"

#include <xmmintrin.h>

static enum sf_format format(unsigned type)
{
    return type == IR_F64 ? SF_F64 : SF_F32;
}

static uint64_t narrow(unsigned type, uint64_t v)
{
    return type == IR_F32 || type == IR_I32 ? (uint32_t)v : v;
}

static enum sf_rm rounding(unsigned rm)
{
    static const uint8_t of_mxcsr[] = {SF_RNE, SF_RDN, SF_RUP, SF_RTZ};

    return rm == IR_RM_DYN ? of_mxcsr[_mm_getcsr() >> 13 & 3] : rm - IR_RM_RNE;
}

static void raise_flags(uint8_t flags)
{
    if (flags)
        _mm_setcsr(_mm_getcsr() | (flags & SF_NX ? 0x20u : 0) | (flags & SF_UF ? 0x10u : 0) |
                   (flags & SF_OF ? 0x08u : 0) | (flags & SF_DZ ? 0x04u : 0) |
                   (flags & SF_NV ? 0x01u : 0));
}

static uint64_t arith(unsigned op, enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm,
                      uint8_t *flags)
{
    switch (op) {
    case IR_FADD:
        return sf_add(f, a, b, rm, flags);
    case IR_FSUB:
        return sf_sub(f, a, b, rm, flags);
    case IR_FMUL:
        return sf_mul(f, a, b, rm, flags);
    case IR_FDIV:
        return sf_div(f, a, b, rm, flags);
    default:
        return sf_sqrt(f, a, rm, flags);
    }
}

/* HOW: see slow_how(). */
static uint64_t slow_op(uint64_t a, uint64_t b, uint64_t c, uint64_t how)
{
    unsigned op = how & 0xff, type = how >> 8 & 15, imm = how >> 16 & 15, from = how >> 20 & 15;
    enum sf_rm rm = rounding(how >> 12 & 15);
    enum sf_format f = format(type);
    uint8_t flags = 0;
    uint64_t out;

    if (op == IR_FCVTFF || op == IR_FCVTFI || op == IR_FCVTIF) {
        a = narrow(from, a);
    } else {
        a = narrow(type, a);
        b = narrow(type, b);
        c = narrow(type, c);
    }
    switch (op) {
    case IR_FMA:
        out = sf_fma(f, a, b, c, imm, rm, &flags);
        break;
    case IR_FMIN:
        out = sf_min(f, a, b, &flags);
        break;
    case IR_FMAX:
        out = sf_max(f, a, b, &flags);
        break;
    case IR_FCVTFI:
        out = sf_to_int(format(from), a, type == IR_I64 ? 64 : 32, imm, rm, &flags);
        break;
    case IR_FCVTIF:
        out = sf_from_int(f, a, from == IR_I64 ? 64 : 32, imm, rm, &flags);
        break;
    case IR_FCVTFF:
        out = sf_convert(f, format(from), a, rm, &flags);
        break;
    case IR_FCLASS:
        out = sf_class(f, a);
        break;
    case IR_FCANON:
        out = sf_is_nan(f, a) ? sf_default_nan(f) : a;
        break;
    default:
        out = arith(op, f, a, b, rm, &flags);
    }
    raise_flags(flags);
    return out;
}

/* A product with a NaN for a sum: invalid when it is 0 x inf, whatever the addend. HOW: type. */
static uint64_t fma_nan(uint64_t a, uint64_t b, uint64_t c, uint64_t how)
{
    uint8_t flags = 0;

    sf_mul(format((unsigned)how), narrow((unsigned)how, a), narrow((unsigned)how, b), SF_RNE,
           &flags);
    raise_flags(flags & SF_NV);
    return 0;
}

void back__slow_vec(struct xl_cpu *cpu, struct ir_v128 *v, uint64_t how)
{
    vec_eval(how, v, &v[3], IR_RM_RNE + rounding(IR_RM_DYN), &cpu->fp_flags);
}

const slow_fn back__slow[SLOW_COUNT] = {[SLOW_OP] = slow_op, [SLOW_FMA_NAN] = fma_nan};
