/*
 * See the header.
 *
 * What KVM supports goes through three rules: the model's (which features, up to which leaf), the
 * list of features that are added and taken away, and facts that KVM leaves to us: the vCPU's
 * number, how many there are and how fast its counter runs. Bits that no feature's name stands for
 * stay as KVM has them in "host", and are 0 in "baseline".
 */
#include "accel/kvm/x86_cpuid.h"

#include "accel/kvm/kvm_priv.h"

#include <errno.h>

#define LEAVES_MOST  512
#define KVM_LEAVES   0x40000000u
#define KVM_TIMING   0x40000010u /* kHz of the counter, and of local APICs' timers */
#define APIC_KHZ     1000000     /* of KVM's local APICs, before the divider */
#define BASIC_LEAVES 6           /* that "baseline" has without a feature of a later one */

enum reg { EAX, EBX, ECX, EDX };

/* Registers that hold features. */
enum word {
    W1_ECX,
    W1_EDX,
    W6_EAX,
    W7_EBX,
    W7_ECX,
    W7_EDX,
    W71_EAX,
    WD1_EAX,
    WX1_ECX,
    WX1_EDX,
    WX7_EDX,
    WX8_EBX,
    WK_EAX,
    N_WORDS,
};

static const struct {
    uint32_t function, index;
    enum reg reg;
} words[N_WORDS] = {
    [W1_ECX] = {1, 0, ECX},
    [W1_EDX] = {1, 0, EDX},
    [W6_EAX] = {6, 0, EAX},
    [W7_EBX] = {7, 0, EBX},
    [W7_ECX] = {7, 0, ECX},
    [W7_EDX] = {7, 0, EDX},
    [W71_EAX] = {7, 1, EAX},
    [WD1_EAX] = {0xd, 1, EAX},
    [WX1_ECX] = {0x80000001, 0, ECX},
    [WX1_EDX] = {0x80000001, 0, EDX},
    [WX7_EDX] = {0x80000007, 0, EDX},
    [WX8_EBX] = {0x80000008, 0, EBX},
    [WK_EAX] = {KVM_LEAVES + 1, 0, EAX},
};

/* NEVER: KVM may list it, but vmd does not do its part. */
enum rule { BASE, ONLY_HOST, ASK, NEVER };

static const struct feature {
    const char *name;
    enum word word;
    unsigned bit;
    enum rule rule;
} features[] = {
#define FEATURE(name, word, bit, rule) {name, word, bit, rule},
#include "base/x86_features.inc"
#undef FEATURE
};

/* Who has lost the second one loses the first; later rows see what earlier ones did. */
static const char *const needs[][2] = {
    {"avx", "xsave"},
    {"pku", "xsave"},
    {"xsaveopt", "xsave"},
    {"xsavec", "xsave"},
    {"xsaves", "xsave"},
    {"xgetbv1", "xsave"},
    {"fma", "avx"},
    {"f16c", "avx"},
    {"avx2", "avx"},
    {"vaes", "avx"},
    {"vpclmulqdq", "avx"},
    {"avx_vnni", "avx2"},
    {"avx_ifma", "avx2"},
    {"avx512f", "avx2"},
    {"avx512dq", "avx512f"},
    {"avx512ifma", "avx512f"},
    {"avx512cd", "avx512f"},
    {"avx512bw", "avx512f"},
    {"avx512vl", "avx512f"},
    {"avx512vbmi", "avx512bw"},
    {"avx512_vbmi2", "avx512bw"},
    {"avx512_vnni", "avx512f"},
    {"avx512_bitalg", "avx512bw"},
    {"avx512_vpopcntdq", "avx512f"},
    {"avx512_fp16", "avx512bw"},
    {"avx512_bf16", "avx512bw"},
};

/* What a text asks for. */
struct wish {
    bool baseline;
    uint32_t plus[N_WORDS], minus[N_WORDS];
};

/* --- what KVM supports --------------------------------------------------------------------------
 */

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        if (e->function == function &&
            (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
            return e;
    }
    return NULL;
}

struct kvm_cpuid2 *kvm__x86_supported(int device, GError **err)
{
    g_autofree struct kvm_cpuid2 *cpuid =
        g_malloc0(sizeof(*cpuid) + LEAVES_MOST * sizeof(cpuid->entries[0]));
    int rc;

    cpuid->nent = LEAVES_MOST;
    rc = kvm__ioctl(device, KVM_GET_SUPPORTED_CPUID, cpuid);
    if (rc < 0) {
        vmd_set_errno(err, -rc, "asking KVM for the CPUID that it supports");
        return NULL;
    }
    /* KVM lists these two only where it knows who makes the local APICs; it is KVM. */
    struct kvm_cpuid_entry2 *e = find(cpuid, 1, 0);
    if (e) {
        e->ecx |= 1u << 21;
        if (kvm__capability(device, KVM_CAP_TSC_DEADLINE_TIMER))
            e->ecx |= 1u << 24;
    }
    return g_steal_pointer(&cpuid);
}

/* --- what is asked for --------------------------------------------------------------------------
 */

static const struct feature *feature_named(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if (strcmp(features[i].name, name) == 0)
            return &features[i];
    }
    return NULL;
}

static bool read_feature(const char *text, struct wish *wish, GError **err)
{
    const struct feature *f;

    if (text[0] != '+' && text[0] != '-')
        return vmd_fail(err, VMD_ERROR_INVALID, "CPU feature '%s' needs a + or - before it", text);
    f = feature_named(text + 1);
    if (!f)
        return vmd_fail(err, VMD_ERROR_INVALID, "there is no CPU feature '%s'", text + 1);
    if (text[0] == '+' && f->rule == NEVER)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "CPU feature '%s' is not offered to guests",
                        f->name);
    wish->plus[f->word] &= ~(1u << f->bit); /* the last word counts */
    wish->minus[f->word] &= ~(1u << f->bit);
    *(text[0] == '+' ? &wish->plus[f->word] : &wish->minus[f->word]) |= 1u << f->bit;
    return true;
}

static bool read_wish(const char *text, struct wish *wish, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text ? text : "host", ",", -1);

    *wish = (struct wish){.baseline = parts[0] && strcmp(parts[0], "baseline") == 0};
    if (!parts[0] || (!wish->baseline && strcmp(parts[0], "host") != 0))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "there is no CPU model '%s': there are 'host' and 'baseline'",
                        parts[0] ? parts[0] : "");
    for (unsigned i = 1; parts[i]; i++) {
        if (!read_feature(parts[i], wish, err))
            return false;
    }
    return true;
}

bool kvm_cpu_valid(const char *text, GError **err)
{
    struct wish wish;

    return read_wish(text, &wish, err);
}

/* --- features -----------------------------------------------------------------------------------
 */

static uint32_t *word_of(struct kvm_cpuid2 *cpuid, enum word word)
{
    struct kvm_cpuid_entry2 *e = find(cpuid, words[word].function, words[word].index);

    if (!e)
        return NULL;
    return words[word].reg == EAX   ? &e->eax
           : words[word].reg == EBX ? &e->ebx
           : words[word].reg == ECX ? &e->ecx
                                    : &e->edx;
}

static bool has(struct kvm_cpuid2 *cpuid, const struct feature *f)
{
    const uint32_t *word = word_of(cpuid, f->word);

    return word && *word & 1u << f->bit;
}

static void drop(struct kvm_cpuid2 *cpuid, const struct feature *f)
{
    uint32_t *word = word_of(cpuid, f->word);

    if (word)
        *word &= ~(1u << f->bit);
}

/* Whether the host has all that is asked for by name. */
static bool check_plus(struct kvm_cpuid2 *cpuid, const struct wish *wish, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const struct feature *f = &features[i];
        if (wish->plus[f->word] & 1u << f->bit && !has(cpuid, f))
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "this host's KVM has no CPU feature '%s'",
                            f->name);
    }
    return true;
}

/* Drops what has lost what it needs; false for one that was asked for. */
static bool drop_dependents(struct kvm_cpuid2 *cpuid, const struct wish *wish, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(needs); i++) {
        const struct feature *f = feature_named(needs[i][0]);
        if (has(cpuid, feature_named(needs[i][1])))
            continue;
        if (wish->plus[f->word] & 1u << f->bit)
            return vmd_fail(err, VMD_ERROR_INVALID,
                            "CPU feature '%s' needs '%s', which is not there", f->name,
                            needs[i][1]);
        drop(cpuid, f);
    }
    return true;
}

static void choose_features(struct kvm_cpuid2 *cpuid, const struct wish *wish)
{
    uint32_t keep[N_WORDS];

    memset(keep, wish->baseline ? 0 : 0xff, sizeof(keep));
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const struct feature *f = &features[i];
        uint32_t bit = 1u << f->bit;
        if (f->rule == BASE || wish->plus[f->word] & bit)
            keep[f->word] |= bit;
        else if (f->rule == ASK || f->rule == NEVER)
            keep[f->word] &= ~bit;
    }
    for (enum word w = 0; w < N_WORDS; w++) {
        uint32_t *word = word_of(cpuid, w);
        if (word)
            *word &= keep[w] & ~wish->minus[w];
    }
}

/* --- leaves -------------------------------------------------------------------------------------
 */

/* Takes out the leaves that FUNCTION is the first of, up to LAST. */
static void remove_leaves(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t last)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < cpuid->nent; i++) {
        uint32_t f = cpuid->entries[i].function;
        if (f < function || f > last)
            cpuid->entries[n++] = cpuid->entries[i];
    }
    cpuid->nent = n;
}

/* The copy has room for what is added. */
static void add_leaf(struct kvm_cpuid2 *cpuid, struct kvm_cpuid_entry2 entry)
{
    cpuid->entries[cpuid->nent++] = entry;
}

static uint32_t highest_basic(struct kvm_cpuid2 *cpuid, const struct wish *wish)
{
    const struct kvm_cpuid_entry2 *first = find(cpuid, 0, 0), *seven = find(cpuid, 7, 0);
    uint32_t most = first ? first->eax : 0;

    if (!wish->baseline)
        return most;
    if (has(cpuid, feature_named("xsave")))
        return MIN(most, 0xd);
    return MIN(most, seven && (seven->ebx | seven->ecx | seven->edx) ? 7 : BASIC_LEAVES);
}

/* Which parts of extended state a guest can have: those whose features it has. */
static void limit_state(struct kvm_cpuid2 *cpuid)
{
    struct kvm_cpuid_entry2 *state = find(cpuid, 0xd, 0);
    uint32_t parts = 3;

    if (!state)
        return;
    if (!has(cpuid, feature_named("xsave"))) {
        remove_leaves(cpuid, 0xd, 0xd);
        return;
    }
    if (has(cpuid, feature_named("avx")))
        parts |= 1u << 2;
    if (has(cpuid, feature_named("avx512f")))
        parts |= 7u << 5;
    if (has(cpuid, feature_named("pku")))
        parts |= 1u << 9;
    state->eax &= parts;
    state->edx = 0;
    state->ecx = 512 + 64;
    for (uint32_t i = 2; i < 32; i++) {
        const struct kvm_cpuid_entry2 *part = find(cpuid, 0xd, i);
        if (part && state->eax & 1u << i)
            state->ecx = MAX(state->ecx, part->ebx + part->eax);
    }
    state->ebx = state->ecx; /* KVM follows XCR0 from here */
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        bool user_part = e->function == 0xd && e->index >= 2 && !(e->ecx & 1);
        if (user_part && (e->index > 31 || !(state->eax & 1u << e->index)))
            e->eax = e->ebx = e->ecx = e->edx = 0;
    }
}

static void limit_leaves(struct kvm_cpuid2 *cpuid, const struct wish *wish)
{
    uint32_t most = highest_basic(cpuid, wish);
    struct kvm_cpuid_entry2 *first = find(cpuid, 0, 0);

    if (first)
        first->eax = most;
    remove_leaves(cpuid, most + 1, KVM_LEAVES - 1);
    remove_leaves(cpuid, 0x1d, 0x1e); /* of AMX */
    if (wish->baseline) {
        remove_leaves(cpuid, 5, 5);
        if (most >= 0xa)
            remove_leaves(cpuid, 0xa, 0xa);
    }
    limit_state(cpuid);
}

/* --- the machine --------------------------------------------------------------------------------
 */

/* Bits that number up to N things take. */
static uint32_t width(uint32_t n)
{
    return n > 1 ? 32 - (uint32_t)__builtin_clz(n - 1) : 0;
}

/* One package, whose cores have one thread each. */
static void set_levels(struct kvm_cpuid2 *cpuid, uint32_t function,
                       const struct kvm_x86_topology *t)
{
    const struct kvm_cpuid_entry2 none = {
        .function = function, .edx = t->index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
    struct kvm_cpuid_entry2 thread = none, core = none, end = none;

    remove_leaves(cpuid, function, function);
    thread.ebx = 1;
    thread.ecx = 1 << 8;
    core.index = 1;
    core.eax = width(t->cpus);
    core.ebx = t->cpus;
    core.ecx = 2 << 8 | 1;
    end.index = end.ecx = 2;
    add_leaf(cpuid, thread);
    add_leaf(cpuid, core);
    add_leaf(cpuid, end);
}

/* Who shares a cache: the last level is the package's, the others are a core's. */
static uint32_t sharing(const struct kvm_cpuid_entry2 *e, const struct kvm_x86_topology *t)
{
    uint32_t level = e->eax >> 5 & 7;

    return level >= 3 ? (1u << width(t->cpus)) - 1 : 0;
}

static void set_numbers(struct kvm_cpuid_entry2 *e, const struct kvm_x86_topology *t)
{
    switch (e->function) {
    case 1:
        e->ebx = (e->ebx & 0xffff) | MIN(1u << width(t->cpus), 255u) << 16 | t->index << 24;
        e->ecx =
            (e->ecx & ~(1u << 27)) | 1u << 31; /* OSXSAVE is KVM's to set; a hypervisor is there */
        e->edx = t->cpus > 1 ? e->edx | 1u << 28 : e->edx & ~(1u << 28);
        break;
    case 4:
        if (e->eax & 0x1f)
            e->eax = (e->eax & 0x3fff) | MIN(sharing(e, t), 0xfffu) << 14 |
                     MIN((1u << width(t->cpus)) - 1, 63u) << 26;
        break;
    case 7:
        if (e->index == 0)
            e->ecx &= ~(1u << 4); /* OSPKE, likewise */
        break;
    case 0x80000008:
        e->ecx = t->cpus > 1 ? (t->cpus - 1 > 255 ? 255 : t->cpus - 1) | width(t->cpus) << 12 : 0;
        break;
    case 0x8000001d:
        if (e->eax & 0x1f)
            e->eax = (e->eax & 0x3fff) | MIN(sharing(e, t), 0xfffu) << 14;
        break;
    case 0x8000001e:
        e->eax = t->index;
        e->ebx = t->index & 0xff;
        e->ecx = 0;
        break;
    }
}

static void set_timing(struct kvm_cpuid2 *cpuid, const struct kvm_x86_topology *t)
{
    struct kvm_cpuid_entry2 *first = find(cpuid, KVM_LEAVES, 0);

    if (!first || !t->tsc_khz)
        return;
    first->eax = KVM_TIMING;
    add_leaf(cpuid,
             (struct kvm_cpuid_entry2){.function = KVM_TIMING, .eax = t->tsc_khz, .ebx = APIC_KHZ});
}

struct kvm_cpuid2 *kvm__x86_cpuid(const struct kvm_cpuid2 *supported, const char *text,
                                  const struct kvm_x86_topology *t, GError **err)
{
    size_t used = sizeof(*supported) + supported->nent * sizeof(supported->entries[0]);
    g_autofree struct kvm_cpuid2 *cpuid = g_malloc0(used + 8 * sizeof(supported->entries[0]));
    struct wish wish;

    memcpy(cpuid, supported, used);
    if (!read_wish(text, &wish, err) || !check_plus(cpuid, &wish, err))
        return NULL;
    choose_features(cpuid, &wish);
    if (!drop_dependents(cpuid, &wish, err))
        return NULL;
    limit_leaves(cpuid, &wish);
    for (uint32_t i = 0; i < cpuid->nent; i++)
        set_numbers(&cpuid->entries[i], t);
    if (find(cpuid, 0xb, 0))
        set_levels(cpuid, 0xb, t);
    if (find(cpuid, 0x1f, 0))
        set_levels(cpuid, 0x1f, t);
    set_timing(cpuid, t);
    return g_steal_pointer(&cpuid);
}
