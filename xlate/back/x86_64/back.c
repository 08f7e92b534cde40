/*
 * The back end's life: what the host can do, which slots get registers.
 */
#include "xlate/back/x86_64/back_priv.h"

#include <cpuid.h>
#include <ucontext.h>

/* Best first: registers that C functions keep, then the others. */
static const uint8_t pin_gprs[PINNED_GPRS] = {RBX, R12, R13, R14, R15, R8, R9, R10, R11};

static bool has_v2(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) && (c & bit_SSE4_2) &&
           (c & bit_POPCNT) && (c & bit_CMPXCHG16B);
}

/* The host's operating system must save AVX registers too. */
static bool has_fma(void)
{
    unsigned a, b, c, d, low, high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA))
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

/* AES and the carryless product. */
static bool has_crypto(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AES) && (c & bit_PCLMUL);
}

static bool has_sha(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

static bool has_bmi(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_BMI) || !(b & bit_BMI2))
        return false;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
}

static void pin(struct back *back, const uint8_t *slots, const uint8_t *regs, unsigned n)
{
    for (unsigned i = 0; i < n && slots[i] != 0xff; i++) {
        back->pin_of[slots[i]] = regs[i];
        back->slot_of[regs[i]] = slots[i];
        back->pinned |= 1u << regs[i];
    }
}

static void pin_slots(struct back *back)
{
    const uint8_t *pairs = back->config.hot_fslots;
    uint8_t xmms[PINNED_XMMS];

    for (unsigned i = 0; i < PINNED_XMMS; i++)
        xmms[i] = (uint8_t)(XMM + 6 + i);
    memset(back->pin_of, NO_REG, sizeof(back->pin_of));
    memset(back->high_of, NO_REG, sizeof(back->high_of));
    memset(back->slot_of, 0xff, sizeof(back->slot_of));
    pin(back, back->config.hot_slots, pin_gprs, PINNED_GPRS);
    pin(back, back->config.hot_fslots, xmms, PINNED_XMMS);
    back->wide = back->config.wide_fslots;
    for (unsigned i = 0; back->wide && i < PINNED_XMMS && pairs[i] != 0xff; i++)
        back->high_of[pairs[i] + 1] = xmms[i];
}

bool back_new(const struct back_config *config, struct back **out, GError **err)
{
    if (!has_v2())
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the translator needs a CPU with SSE4.2 and POPCNT (x86-64-v2)");
    if (config->n_helpers > 1024 || config->n_slots > IR_SLOTS)
        return vmd_fail(err, VMD_ERROR_INTERNAL, "more helpers or slots than the back end takes");
    struct back *back = g_new0(struct back, 1);
    back->config = *config;
    back->bmi = (config->features & BACK_BMI) && has_bmi() && has_fma(); /* VEX needs the latter */
    back->fma = (config->features & BACK_FMA) && has_fma();
    back->crypto = (config->features & BACK_CRYPTO) && has_crypto();
    back->sha = (config->features & BACK_CRYPTO) && has_sha();
    cache_fixed(config->cache, &back->fixed, &back->run_delta);
    pin_slots(back);
    back__write_fixed(back);
    back->enter = (struct back_exit(*)(struct xl_cpu *, const void *))(uintptr_t)(
        back->fixed + back->run_delta + back->stub[STUB_ENTER]);
    *out = back;
    return true;
}

void back_free(struct back *back)
{
    g_free(back);
}

struct back_exit back_enter(struct back *back, struct xl_cpu *cpu, const struct cache_unit *unit)
{
    return back->enter(cpu, unit->entry);
}

void back_interrupted(const struct back *back, const struct xl_cpu *cpu, const void *context,
                      struct back_place *out)
{
    const ucontext_t *uc = context;
    const void *const *frame = cpu->frame;
    uintptr_t rip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
    uintptr_t at = rip - (uintptr_t)(back->fixed + back->run_delta);

    *out = (struct back_place){.called = true};
    if (at - CACHE_UNITS_AT < MIB(LIMIT_XLATE_CACHE_MIB)) {
        out->code = (const void *)rip;
        out->called = false;
    } else if (at >= CACHE_FIXED_BYTES ||
               (at >= back->stub[STUB_LOAD] && at < back->stub[STUB_JUMP])) {
        out->code = frame[-1]; /* where the stub returns to */
    } else if (at >= back->stub[STUB_JUMP]) {
        out->pc = (gva_t)uc->uc_mcontext.gregs[REG_RAX];
    }
}
