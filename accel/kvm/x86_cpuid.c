/* See the header. */
#include "accel/kvm/x86_cpuid.h"

#include "accel/kvm/kvm_priv.h"

#include <errno.h>

#define LEAVES_MOST 512

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
    return g_steal_pointer(&cpuid);
}

bool kvm_cpu_valid(const char *text, GError **err)
{
    return !text || strcmp(text, "host") == 0 ||
           vmd_fail(err, VMD_ERROR_INVALID, "there is no CPU model '%s'", text);
}

static void set_ids(struct kvm_cpuid_entry2 *e, const struct kvm_x86_topology *t)
{
    switch (e->function) {
    case 1:
        e->ebx = (e->ebx & 0x0000ffff) | MIN(t->cpus, 255u) << 16 | (t->index & 255) << 24;
        break;
    case 0xb:
    case 0x1f:
        e->edx = t->index;
        break;
    }
}

struct kvm_cpuid2 *kvm__x86_cpuid(const struct kvm_cpuid2 *supported, const char *text,
                                  const struct kvm_x86_topology *topology, GError **err)
{
    size_t bytes = sizeof(*supported) + supported->nent * sizeof(supported->entries[0]);
    struct kvm_cpuid2 *cpuid = g_memdup2(supported, bytes);

    for (uint32_t i = 0; i < cpuid->nent; i++)
        set_ids(&cpuid->entries[i], topology);
    return cpuid;
}
