/* See accels.h. */
#include "vm/accels.h"

/* The host's own ISA, which is KVM's. */
#if defined(__x86_64__)
#define HOST_ARCH VM_ARCH_X86_64
#elif defined(__aarch64__)
#define HOST_ARCH VM_ARCH_AARCH64
#elif defined(__riscv)
#define HOST_ARCH VM_ARCH_RISCV64
#else
#error "KVM's guests on this host have no machine"
#endif

static const enum vm_arch translated[] = {VM_ARCH_RISCV64, VM_ARCH_AARCH64};

static bool translates(enum vm_arch arch)
{
    for (size_t i = 0; i < G_N_ELEMENTS(translated); i++) {
        if (translated[i] == arch)
            return true;
    }
    return false;
}

/* --- the list --------------------------------------------------------------------------------- */

static struct accel_info *describe_xlate(void)
{
    struct accel_info *a = accel_info_new();

    a->accel = VM_ACCEL_XLATE;
    a->fitness = ACCEL_FITNESS_FIT;
    a->text = g_strdup("vmd's own translator");
    a->archs = g_new0(enum vm_arch, G_N_ELEMENTS(translated));
    for (size_t i = 0; i < G_N_ELEMENTS(translated); i++)
        a->archs[a->n_archs++] = translated[i];
    return a;
}

static struct accel_info *describe_kvm(void)
{
    static const enum accel_fitness fitness[] = {
        [KVM_FIT] = ACCEL_FITNESS_FIT,
        [KVM_EMULATES] = ACCEL_FITNESS_EMULATING,
        [KVM_REFUSED] = ACCEL_FITNESS_REFUSED,
        [KVM_ABSENT] = ACCEL_FITNESS_ABSENT,
    };
    struct accel_info *a = accel_info_new();
    struct kvm_fitness f;

    kvm_measure(&f);
    const struct {
        bool there;
        const char *name;
    } features[] = {
        {f.irqfd, "irqfd"},
        {f.ioeventfd, "ioeventfd"},
        {f.split_irqchip, "split-irqchip"},
        {f.dirty_ring, "dirty-ring"},
    };
    a->accel = VM_ACCEL_KVM;
    a->fitness = fitness[f.fit];
    a->text = g_strdup(f.text);
    a->archs = g_new0(enum vm_arch, 1);
    a->archs[a->n_archs++] = HOST_ARCH;
    a->has_cpus = a->has_memory_slots = f.fit == KVM_FIT || f.fit == KVM_EMULATES;
    a->cpus = f.vcpus;
    a->memory_slots = f.memory_slots;
    a->features = g_new0(char *, G_N_ELEMENTS(features));
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if (features[i].there)
            a->features[a->n_features++] = g_strdup(features[i].name);
    }
    return a;
}

struct vmi_accels *accels_measure(void)
{
    struct vmi_accels *all = vmi_accels_new();

    all->accels = g_new0(struct accel_info *, 2);
    all->accels[all->n_accels++] = describe_kvm();
    all->accels[all->n_accels++] = describe_xlate();
    return all;
}

/* --- the choice ------------------------------------------------------------------------------- */

static bool choose_xlate(enum vm_arch arch, enum vm_accel *out, GError **err)
{
    *out = VM_ACCEL_XLATE;
    return translates(arch) ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the translator has no %s guests",
                    vm_arch_to_string(arch));
}

static bool choose_kvm(enum vm_accel wanted, accels_measure_fn measure, enum vm_accel *out,
                       char **text, GError **err)
{
    struct kvm_fitness f;

    measure(&f);
    *out = VM_ACCEL_KVM;
    if (f.fit == KVM_FIT)
        return true;
    if (wanted == VM_ACCEL_KVM) {
        *text = g_strdup(f.text);
        return f.fit == KVM_EMULATES ||
               vmd_fail(err, VMD_ERROR_UNSUPPORTED, "KVM cannot be used: %s", f.text);
    }
    if (!translates(HOST_ARCH))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s guests need KVM, which is not fit: %s%s",
                        vm_arch_to_string(HOST_ARCH), f.text,
                        f.fit == KVM_EMULATES ? " (--accel kvm insists)" : "");
    *out = VM_ACCEL_XLATE;
    *text = g_strdup_printf("the translator, as KVM is not fit: %s", f.text);
    return true;
}

bool accels_choose(enum vm_arch arch, enum vm_accel wanted, accels_measure_fn measure,
                   enum vm_accel *out, char **text, GError **err)
{
    bool ok;

    *text = NULL;
    if (wanted == VM_ACCEL_XLATE || (wanted == VM_ACCEL_AUTO && arch != HOST_ARCH))
        ok = choose_xlate(arch, out, err);
    else if (arch != HOST_ARCH)
        ok = vmd_fail(err, VMD_ERROR_UNSUPPORTED, "KVM runs %s guests here, not %s ones",
                      vm_arch_to_string(HOST_ARCH), vm_arch_to_string(arch));
    else
        ok = choose_kvm(wanted, measure, out, text, err);
    if (!ok)
        g_clear_pointer(text, g_free);
    return ok;
}
