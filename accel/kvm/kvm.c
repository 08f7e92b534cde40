/* The life of a VM and of its vCPUs; see kvm.h. */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int kvm__ioctl(int fd, unsigned long request, const void *argument)
{
    int rc;

    do
        rc = ioctl(fd, request, argument);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : rc;
}

int kvm__capability(int fd, unsigned cap)
{
    int rc = kvm__ioctl(fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);

    return MAX(rc, 0);
}

void kvm__fail(struct kvm *k, const char *fmt, ...)
{
    char *none = NULL;
    va_list ap;

    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!__atomic_compare_exchange_n(&k->failed, &none, text, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        g_free(text);
        return;
    }
    for (unsigned i = 0; i < k->accel.config.vcpus; i++) {
        if (k->vcpus[i])
            kvm__vcpu_kick(&k->vcpus[i]->vcpu);
    }
}

/* --- the device ------------------------------------------------------------------------------- */

static bool check_version(int device, GError **err)
{
    int version = kvm__ioctl(device, KVM_GET_API_VERSION, 0);

    if (version < 0)
        return vmd_set_errno(err, -version, "/dev/kvm is no KVM");
    return version == KVM_API_VERSION ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "/dev/kvm speaks version %d, not %d", version,
                    KVM_API_VERSION);
}

int kvm_open(GError **err)
{
    autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        vmd_set_errno(err, errno, "opening /dev/kvm");
        return -1;
    }
    return check_version(fd, err) ? steal_fd(&fd) : -1;
}

/* Kernels that name no most have a recommended number alone, and at least 4 (KVM's own rule). */
unsigned kvm_vcpus_most(int device)
{
    int most = kvm__capability(device, KVM_CAP_MAX_VCPUS);

    if (most == 0)
        most = kvm__capability(device, KVM_CAP_NR_VCPUS);
    return most ? (unsigned)most : 4;
}

/* Capabilities without which vmd does not use a KVM. */
static bool check_capabilities(int device, GError **err)
{
    static const struct {
        unsigned cap;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "memory slots"},
        {KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "removal of memory slots"},
        {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"},
        {KVM_CAP_READONLY_MEM, "read-only memory"},
        {KVM_CAP_MP_STATE, "the power state of vCPUs"},
        {KVM_CAP_IRQ_ROUTING, "interrupt routes"},
        {KVM_CAP_IRQFD, "interrupts by eventfd"},
        {KVM_CAP_SIGNAL_MSI, "message interrupts"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!kvm__capability(device, needed[i].cap))
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "this host's KVM lacks %s", needed[i].name);
    }
    return true;
}

/* --- the VM ----------------------------------------------------------------------------------- */

static bool check(const struct accel_config *config, int device, GError **err)
{
    unsigned most = kvm_vcpus_most(device);

    if (config->isa != kvm__arch_isa)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "KVM runs guests of the host's own ISA alone");
    if (config->vcpus < 1 || config->vcpus > most)
        return vmd_fail(err, VMD_ERROR_LIMIT, "this host's KVM has 1 to %u vCPUs a VM, not %u",
                        most, config->vcpus);
    return check_version(device, err) && check_capabilities(device, err) &&
           kvm__arch_check(config, device, err);
}

static void kvm_free(struct accel *accel)
{
    struct kvm *k = kvm_from(accel);

    kvm__memory_stop(k);
    kvm__irq_stop(k);
    kvm__stats_free(k);
    kvm__arch_free(k);
    if (k->vm >= 0)
        close(k->vm);
    g_free(k->vcpus);
    g_free(k->failed);
    g_free(k);
}

static bool build(struct kvm *k, int device, const struct kvm_options *options, GError **err)
{
    int bytes = kvm__ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);

    if (bytes < (int)sizeof(struct kvm_run))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "this host's KVM is of an unknown kind");
    k->run_bytes = (size_t)bytes;
    k->vm = kvm__ioctl(device, KVM_CREATE_VM, (void *)kvm__arch_type(device));
    if (k->vm < 0)
        return vmd_set_errno(err, -k->vm, "making a VM of KVM");
    return kvm__catch_kicks(err) && kvm__arch_create(k, device, err) && kvm__irq_start(k, err) &&
           kvm__memory_start(k, !options->dirty_bitmap, err);
}

bool kvm_accel_create(const struct accel_config *config, const struct kvm_options *options,
                      struct accel **out, GError **err)
{
    autofd own = options->has_device ? -1 : kvm_open(err);
    int device = options->has_device ? options->device : own;

    if (device < 0 || !check(config, device, err))
        return false;
    struct kvm *k = g_new0(struct kvm, 1);
    k->accel = (struct accel){.ops = &kvm_accel_ops, .config = *config};
    k->vm = -1;
    k->vcpus = g_new0(struct kvm_vcpu *, config->vcpus);
    if (!build(k, device, options, err)) {
        kvm_free(&k->accel);
        return false;
    }
    *out = &k->accel;
    return true;
}

static bool kvm_create(const struct accel_config *config, struct accel **out, GError **err)
{
    static const struct kvm_options usual;

    return kvm_accel_create(config, &usual, out, err);
}

/* --- vCPUs ------------------------------------------------------------------------------------ */

static void kvm_vcpu_free(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);

    v->kvm->vcpus[vcpu->index] = NULL;
    kvm__arch_vcpu_free(v);
    kvm__memory_vcpu_free(v);
    if (v->run)
        munmap(v->run, v->kvm->run_bytes);
    if (v->stats_fd >= 0)
        close(v->stats_fd);
    if (v->fd >= 0)
        close(v->fd);
    g_free(v->error);
    g_free(v);
}

static bool map_run(struct kvm_vcpu *v, GError **err)
{
    void *run = mmap(NULL, v->kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);

    if (run == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping vCPU %u", v->vcpu.index);
    v->run = run;
    return true;
}

/* KVM_CREATE_VCPU's number is the processor's own: its local APIC's, or its place in the hart list.
 */
static bool kvm_vcpu_create(struct accel *accel, unsigned index, struct vcpu **out, GError **err)
{
    struct kvm *k = kvm_from(accel);
    struct kvm_vcpu *v = g_new0(struct kvm_vcpu, 1);

    g_assert(index < accel->config.vcpus && !k->vcpus[index]);
    v->vcpu = (struct vcpu){.accel = accel, .index = index};
    v->kvm = k;
    v->stats_fd = -1;
    v->fd = kvm__ioctl(k->vm, KVM_CREATE_VCPU, (void *)(uintptr_t)index);
    if (v->fd < 0) {
        vmd_set_errno(err, -v->fd, "making vCPU %u", index);
        g_free(v);
        return false;
    }
    if (!map_run(v, err) || !kvm__memory_vcpu(v, err) || !kvm__arch_vcpu_create(v, err)) {
        kvm_vcpu_free(&v->vcpu);
        return false;
    }
    kvm__stats_vcpu(v);
    k->vcpus[index] = v;
    *out = &v->vcpu;
    return true;
}

static void kvm_vcpu_reset(struct vcpu *vcpu, const struct vcpu_start *start)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);
    int rc = kvm__arch_vcpu_reset(v, start);

    __atomic_store_n(&v->waiting, start->mode == VCPU_MODE_WAIT, __ATOMIC_RELAXED);
    if (rc < 0)
        kvm__fail(v->kvm, "KVM refused the reset state of vCPU %u: %s", vcpu->index,
                  g_strerror(-rc));
}

static const char *kvm_vcpu_error(struct vcpu *vcpu)
{
    const struct kvm_vcpu *v = kvm_vcpu_from(vcpu);

    return v->error ? v->error : "";
}

const struct accel_ops kvm_accel_ops = {
    .name = "kvm",
    .create = kvm_create,
    .free = kvm_free,
    .vcpu_create = kvm_vcpu_create,
    .vcpu_free = kvm_vcpu_free,
    .vcpu_reset = kvm_vcpu_reset,
    .vcpu_run = kvm__vcpu_run,
    .vcpu_error = kvm_vcpu_error,
    .vcpu_kick = kvm__vcpu_kick,
    .vcpu_info = kvm__vcpu_info,
    .vcpu_stats = kvm__vcpu_stats,
    .vcpu_state = kvm__arch_vcpu_state,
    .clock_changed = kvm__arch_clock_changed,
    .stats = kvm__stats,
    .state = kvm__arch_state,
    .restored = kvm__arch_restored,
    .reset = kvm__arch_reset,
    .gsi = kvm__gsi,
    .msi = kvm__msi,
    .route = kvm__route,
    .irqfd = kvm__irqfd,
#ifndef __x86_64__
    .vcpu_set_irq = kvm__arch_set_irq,
#else
    .debug = kvm__arch_debug,
    .vcpu_step = kvm__arch_step,
    .vcpu_stop = kvm__arch_stop,
    .vcpu_look = kvm__arch_look,
    .registers = kvm__arch_registers,
    .register_get = kvm__arch_register_get,
    .register_set = kvm__arch_register_set,
#endif
};
