/* The fitness of KVM, as far as any machine can test it; the real device where there is one. */
#include "accel/kvm/fitness.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

static char *make_file(mode_t mode)
{
    char *path = g_strdup("/tmp/vmd-fitness-XXXXXX");
    autofd fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    return path;
}

static void expect(const struct kvm_fitness *f, enum kvm_fit fit, const char *word)
{
    ck_assert_msg(f->fit == fit && strstr(f->text, word), "%u: %s", f->fit, f->text);
    ck_assert_uint_eq(f->vcpus, 0);
    ck_assert_uint_eq(f->memory_slots, 0);
}

START_TEST(absent)
{
    struct kvm_fitness f;

    kvm_measure_device("/nonexistent/kvm", &f);
    expect(&f, KVM_ABSENT, "there is no /nonexistent/kvm");
}
END_TEST

START_TEST(of_another_kind)
{
    g_autofree char *path = make_file(0600);
    struct kvm_fitness f;

    kvm_measure_device(path, &f);
    expect(&f, KVM_REFUSED, "no KVM of version");
    kvm_measure_device("/dev/null", &f);
    expect(&f, KVM_REFUSED, "no KVM of version");
    unlink(path);
}
END_TEST

/* In a process of its own, which Check gives it: nobody is left to be root. */
START_TEST(not_allowed)
{
    g_autofree char *path = make_file(0);
    struct kvm_fitness f;

    if (geteuid() == 0)
        ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
    kvm_measure_device(path, &f);
    expect(&f, KVM_REFUSED, "Permission denied (membership of the group kvm");
    unlink(path);
}
END_TEST

START_TEST(of_this_host)
{
    struct kvm_fitness f;
    sigset_t before, after;

    memset(&before, 0, sizeof(before)); /* the kernel's is shorter */
    memset(&after, 0, sizeof(after));
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    kvm_measure(&f);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_mem_eq(&before, &after, sizeof(before));
    ck_assert_msg(strlen(f.text) > 0, "no word");
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        ck_assert(f.fit == KVM_REFUSED || f.fit == KVM_ABSENT);
        return;
    }
    ck_assert_msg(f.fit == KVM_FIT || f.fit == KVM_EMULATES, "%s", f.text);
    ck_assert_uint_ge(f.vcpus, 1);
    ck_assert_uint_ge(f.memory_slots, 1);
    ck_assert_int_eq(f.api_version, 12);
    /* What is known by name must be found by measurement. */
    if (access("/sys/module/kvm_pvm", F_OK) == 0)
        ck_assert_msg(f.fit == KVM_EMULATES, "%s", f.text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm_fitness");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, absent);
    tcase_add_test(tc, of_another_kind);
    tcase_add_test(tc, not_allowed);
    tcase_add_test(tc, of_this_host);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
