/* The CPUID of KVM guests: models, lists of features, topology, over a made-up host. */
#include "accel/kvm/kvm.h"
#include "accel/kvm/x86_cpuid.h"
#include "tests/unit/unit.h"

#define I KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* A host with AVX2, AVX-512, protection keys and AMX, and all that KVM offers itself. */
static const struct kvm_cpuid_entry2 host[] = {
    {0, 0, 0, 0x20, 0x756e6547, 0x6c65746e, 0x49656e69},
    {1, 0, 0, 0x000c06f2, 0x01020800, 0xffffffff, 0xffffffff},
    {4, 0, I, 0xfc004121, 0x02c0003f, 0x3f, 0},
    {4, 1, I, 0xfc1fc163, 0x04c0003f, 0x3bfff, 4},
    {4, 2, I, 0, 0, 0, 0},
    {5, 0, 0, 0x40, 0x40, 3, 0},
    {6, 0, 0, 0x77, 0, 0, 0},
    {7, 0, I, 2, 0xffffffff, 0xffffffff, 0xffffffff},
    {7, 1, I, 0xffffffff, 0, 0, 0},
    {0xa, 0, 0, 0x08300802, 0, 0, 3},
    {0xb, 0, I, 1, 2, 0x100, 0x55},
    {0xd, 0, I, 0x602e7, 0x2b00, 0x2b00, 0},
    {0xd, 1, I, 0x1f, 0, 0, 0},
    {0xd, 2, I, 0x100, 0x240, 0, 0},
    {0xd, 5, I, 0x40, 0x440, 0, 0},
    {0xd, 6, I, 0x200, 0x480, 0, 0},
    {0xd, 7, I, 0x400, 0x680, 0, 0},
    {0xd, 9, I, 8, 0xa80, 0, 0},
    {0xd, 18, I, 0x2000, 0xb00, 2, 0},
    {0x1d, 0, I, 1, 0, 0, 0},
    {0x1f, 0, I, 1, 2, 0x100, 0x55},
    {0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d},
    {0x40000001, 0, 0, 0x01ffffff, 0, 0, 0},
    {0x80000000, 0, 0, 0x8000001e, 0, 0, 0},
    {0x80000001, 0, 0, 0, 0, 0xffffffff, 0xffffffff},
    {0x80000007, 0, 0, 0, 0, 0, 0x100},
    {0x80000008, 0, 0, 0x3934, 0xffffffff, 0x7007, 0},
    {0x8000001e, 0, 0, 0x77, 0x177, 1, 0},
};

static struct kvm_cpuid2 *make_host(void)
{
    struct kvm_cpuid2 *h = g_malloc0(sizeof(*h) + sizeof(host));

    h->nent = G_N_ELEMENTS(host);
    memcpy(h->entries, host, sizeof(host));
    return h;
}

enum { EAX, EBX, ECX, EDX };

static uint32_t reg_of(const struct kvm_cpuid_entry2 *e, unsigned reg)
{
    const uint32_t regs[] = {e->eax, e->ebx, e->ecx, e->edx};

    return regs[reg];
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *c, uint32_t function,
                                           uint32_t index)
{
    for (uint32_t i = 0; i < c->nent; i++) {
        if (c->entries[i].function == function && c->entries[i].index == index)
            return &c->entries[i];
    }
    return NULL;
}

#define GONE UINT32_MAX /* as mask: the leaf is not there */

static const struct {
    const char *name, *text;
    unsigned cpus, index;
    uint32_t function, leaf;
    unsigned reg;
    uint32_t mask, value;
} rows[] = {
    {"host is what there is", "host", 1, 0, 7, 0, EBX, 1u << 5 | 1u << 16, 1u << 5 | 1u << 16},
    {"no text is host", NULL, 1, 0, 7, 0, EBX, 1u << 5, 1u << 5},
    {"one taken away", "host,-avx512f", 1, 0, 7, 0, EBX, 1u << 5 | 1u << 16, 1u << 5},
    {"and what needs it", "host,-avx512f", 1, 0, 7, 0, EBX, 1u << 30, 0},
    {"and its state", "host,-avx512f", 1, 0, 0xd, 0, EAX, UINT32_MAX, 0x207},
    {"whose size is counted", "host,-avx512f,-pku", 1, 0, 0xd, 0, ECX, UINT32_MAX, 0x340},
    {"all state of this host", "host", 1, 0, 0xd, 0, ECX, UINT32_MAX, 0xa88},
    {"no XSAVE, no AVX", "host,-xsave", 1, 0, 1, 0, ECX, 1u << 26 | 1u << 28, 0},
    {"no XSAVE, no leaf of it", "host,-xsave", 1, 0, 0xd, 0, EAX, GONE, 0},
    {"the last word counts", "host,-avx2,+avx2", 1, 0, 7, 0, EBX, 1u << 5, 1u << 5},
    {"the last word counts, too", "host,+avx2,-avx2", 1, 0, 7, 0, EBX, 1u << 5, 0},
    {"AMX is for nobody", "host", 1, 0, 7, 0, EDX, 1u << 24 | 1u << 22, 0},
    {"AMX has no leaf", "host", 1, 0, 0x1d, 0, EAX, GONE, 0},
    {"AMX has no state", "host", 1, 0, 0xd, 18, EAX, UINT32_MAX, 0},
    {"no VMX within", "host", 1, 0, 1, 0, ECX, 1u << 5, 0},
    {"no calls of KVM", "host", 1, 0, 0x40000001, 0, EAX, 0xabc8 & 0x2880, 0},
    {"but its clock", "host", 1, 0, 0x40000001, 0, EAX, 1u << 24 | 9, 1u << 24 | 9},
    {"calls where asked for", "host,+kvm_pv_unhalt", 1, 0, 0x40000001, 0, EAX, 0x80, 0x80},
    {"OSXSAVE is not ours", "host", 1, 0, 1, 0, ECX, 1u << 27, 0},

    {"baseline has x86-64-v2", "baseline", 1, 0, 1, 0, ECX, 0x80982201, 0x80982201},
    {"and no more", "baseline", 1, 0, 1, 0, ECX, 1u << 25 | 1u << 26 | 1u << 28, 0},
    {"no leaf 7", "baseline", 1, 0, 7, 0, EBX, GONE, 0},
    {"its last leaf", "baseline", 1, 0, 0, 0, EAX, UINT32_MAX, 6},
    {"no MWAIT", "baseline", 1, 0, 5, 0, EAX, GONE, 0},
    {"a feature of leaf 7 brings it", "baseline,+erms", 1, 0, 0, 0, EAX, UINT32_MAX, 7},
    {"alone", "baseline,+erms", 1, 0, 7, 0, EBX, UINT32_MAX, 1u << 9},
    {"XSAVE brings its leaf", "baseline,+xsave,+avx", 1, 0, 0, 0, EAX, UINT32_MAX, 0xd},
    {"and AVX its state", "baseline,+xsave,+avx", 1, 0, 0xd, 0, EAX, UINT32_MAX, 7},
    {"less than baseline", "baseline,-cx16", 1, 0, 1, 0, ECX, 1u << 13, 0},

    {"one alone has no siblings", "host", 1, 0, 1, 0, EDX, 1u << 28, 0},
    {"several have", "host", 3, 2, 1, 0, EDX, 1u << 28, 1u << 28},
    {"its number", "host", 3, 2, 1, 0, EBX, 0xff000000, 2u << 24},
    {"room for how many", "host", 3, 2, 1, 0, EBX, 0x00ff0000, 4u << 16},
    {"first cache is its own", "host", 4, 1, 4, 0, EAX, 0x03ffc000, 0},
    {"last cache is everybody's", "host", 4, 1, 4, 1, EAX, 0x03ffc000, 3u << 14},
    {"cores of the package", "host", 4, 1, 4, 0, EAX, 0xfc000000, 3u << 26},
    {"no cache, no cores", "host", 4, 1, 4, 2, EAX, UINT32_MAX, 0},
    {"one thread a core", "host", 6, 5, 0xb, 0, EBX, UINT32_MAX, 1},
    {"bits of a core's number", "host", 6, 5, 0xb, 1, EAX, UINT32_MAX, 3},
    {"cores", "host", 6, 5, 0xb, 1, EBX, UINT32_MAX, 6},
    {"kind of level", "host", 6, 5, 0xb, 1, ECX, UINT32_MAX, 0x201},
    {"x2APIC's number", "host", 300, 299, 0xb, 0, EDX, UINT32_MAX, 299},
    {"in each leaf", "host", 300, 299, 0x1f, 1, EDX, UINT32_MAX, 299},
    {"AMD's cores", "host", 6, 5, 0x80000008, 0, ECX, UINT32_MAX, 0x3005},
    {"AMD's number", "host", 6, 5, 0x8000001e, 0, EAX, UINT32_MAX, 5},
    {"kHz of the counter", "host", 1, 0, 0x40000010, 0, EAX, UINT32_MAX, 2100000},
    {"KVM's last leaf", "host", 1, 0, 0x40000000, 0, EAX, UINT32_MAX, 0x40000010},
};

START_TEST(leaves)
{
    const struct kvm_x86_topology t = {rows[_i].cpus, rows[_i].index, 2100000};
    g_autofree struct kvm_cpuid2 *supported = make_host();
    g_autofree struct kvm_cpuid2 *c = kvm__x86_cpuid(supported, rows[_i].text, &t, NULL);

    ck_assert_msg(c, "%s", rows[_i].name);
    const struct kvm_cpuid_entry2 *e = find(c, rows[_i].function, rows[_i].leaf);
    if (rows[_i].mask == GONE && rows[_i].value == 0 && !e)
        return;
    ck_assert_msg(e, "%s: no leaf 0x%x", rows[_i].name, rows[_i].function);
    uint32_t got = reg_of(e, rows[_i].reg) & rows[_i].mask;
    ck_assert_msg(got == rows[_i].value, "%s: 0x%x, not 0x%x", rows[_i].name, got, rows[_i].value);
}
END_TEST

static const struct {
    const char *text, *says;
    bool valid; /* anywhere; this host lacks it */
} wrong[] = {
    {"", "there is no CPU model '': there are 'host' and 'baseline'", false},
    {"skylake", "there is no CPU model 'skylake': there are 'host' and 'baseline'", false},
    {"host,avx", "CPU feature 'avx' needs a + or - before it", false},
    {"host,", "CPU feature '' needs a + or - before it", false},
    {"host,+", "there is no CPU feature ''", false},
    {"host,-sse5", "there is no CPU feature 'sse5'", false},
    {"host,+amx_tile", "CPU feature 'amx_tile' is not offered to guests", false},
    {"baseline,+clzero,+constant_tsc,+arat,+clwb,-clwb,+sse4a", NULL, true},
    {"baseline,+avx", "CPU feature 'avx' needs 'xsave', which is not there", true},
    {"host,-avx2,+avx512f", "CPU feature 'avx512f' needs 'avx2', which is not there", true},
    {"host,+fsrm", "this host's KVM has no CPU feature 'fsrm'", true},
};

START_TEST(refusals)
{
    const struct kvm_x86_topology t = {1, 0, 0};
    g_autofree struct kvm_cpuid2 *supported = make_host();
    g_autoptr(GError) err = NULL;

    for (uint32_t i = 0; i < supported->nent; i++) {
        if (supported->entries[i].function == 7 && supported->entries[i].index == 0)
            supported->entries[i].edx = 0;
    }
    ck_assert_int_eq(kvm_cpu_valid(wrong[_i].text, NULL), wrong[_i].valid);
    g_autofree struct kvm_cpuid2 *c = kvm__x86_cpuid(supported, wrong[_i].text, &t, &err);
    ck_assert_msg(!c == !!wrong[_i].says, "%s", wrong[_i].text);
    if (wrong[_i].says)
        ck_assert_str_eq(err->message, wrong[_i].says);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-cpuid");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, leaves, 0, G_N_ELEMENTS(rows));
    tcase_add_loop_test(tc, refusals, 0, G_N_ELEMENTS(wrong));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
