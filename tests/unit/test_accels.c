/* vm/accels: who runs a guest, by what the host's KVM was found to be; a row a case. */
#include "tests/unit/unit.h"
#include "vm/accels.h"

static struct kvm_fitness found;
static unsigned measured;

static void measure(struct kvm_fitness *out)
{
    measured++;
    *out = found;
}

#define NOBODY (-1)

static const struct {
    const char *name;
    enum vm_arch arch;
    enum vm_accel wanted;
    enum kvm_fit fit;
    int gets;         /* enum vm_accel, or NOBODY */
    unsigned looks;   /* at KVM */
    const char *says; /* to people, or why not; NULL: nothing */
} rows[] = {
    {"auto, fit", VM_ARCH_X86_64, VM_ACCEL_AUTO, KVM_FIT, VM_ACCEL_KVM, 1, NULL},
    {"auto, emulating", VM_ARCH_X86_64, VM_ACCEL_AUTO, KVM_EMULATES, NOBODY, 1,
     "x86_64 guests need KVM, which is not fit: found (--accel kvm insists)"},
    {"auto, refused", VM_ARCH_X86_64, VM_ACCEL_AUTO, KVM_REFUSED, NOBODY, 1,
     "x86_64 guests need KVM, which is not fit: found"},
    {"auto, absent", VM_ARCH_X86_64, VM_ACCEL_AUTO, KVM_ABSENT, NOBODY, 1,
     "x86_64 guests need KVM, which is not fit: found"},
    {"KVM, fit", VM_ARCH_X86_64, VM_ACCEL_KVM, KVM_FIT, VM_ACCEL_KVM, 1, NULL},
    {"KVM, emulating", VM_ARCH_X86_64, VM_ACCEL_KVM, KVM_EMULATES, VM_ACCEL_KVM, 1, "found"},
    {"KVM, refused", VM_ARCH_X86_64, VM_ACCEL_KVM, KVM_REFUSED, NOBODY, 1, "KVM cannot be used: found"},
    {"KVM, absent", VM_ARCH_X86_64, VM_ACCEL_KVM, KVM_ABSENT, NOBODY, 1, "KVM cannot be used: found"},
    {"KVM, of another ISA", VM_ARCH_AARCH64, VM_ACCEL_KVM, KVM_FIT, NOBODY, 0,
     "KVM runs x86_64 guests here, not aarch64 ones"},
    {"auto, of another ISA", VM_ARCH_RISCV64, VM_ACCEL_AUTO, KVM_FIT, VM_ACCEL_XLATE, 0, NULL},
    {"the translator", VM_ARCH_AARCH64, VM_ACCEL_XLATE, KVM_FIT, VM_ACCEL_XLATE, 0, NULL},
    {"the translator, which cannot", VM_ARCH_X86_64, VM_ACCEL_XLATE, KVM_FIT, NOBODY, 0,
     "the translator has no x86_64 guests"},
};

START_TEST(choice)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL;
    enum vm_accel accel = VM_ACCEL_AUTO;

    found = (struct kvm_fitness){.fit = rows[_i].fit, .text = "found"};
    measured = 0;
    bool ok = accels_choose(rows[_i].arch, rows[_i].wanted, measure, &accel, &text, &err);
    const char *said = ok ? text : err->message;
    ck_assert_msg(ok == (rows[_i].gets != NOBODY), "%s: %s", rows[_i].name, said);
    ck_assert_msg(!ok || (int)accel == rows[_i].gets, "%s: %u", rows[_i].name, accel);
    ck_assert_msg(g_strcmp0(said, rows[_i].says) == 0, "%s: %s", rows[_i].name, said);
    ck_assert_msg(ok || !text, "%s: a text beside the error", rows[_i].name);
    ck_assert_msg(ok || g_error_matches(err, VMD_ERROR, VMD_ERROR_UNSUPPORTED), "%s", rows[_i].name);
    ck_assert_msg(measured == rows[_i].looks, "%s: %u looks", rows[_i].name, measured);
}
END_TEST

int main(void)
{
#if !defined(__x86_64__)
    puts("skipped: the rows are those of x86-64 hosts");
    return 77;
#endif
    Suite *s = suite_create("accels");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, choice, 0, G_N_ELEMENTS(rows));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
