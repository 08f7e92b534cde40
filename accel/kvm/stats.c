/*
 * Counters: exits by their reason, which the run loop counts, and what KVM itself counts of a vCPU
 * and tells by a descriptor of its own (Linux 5.14), readable at any time and from any thread.
 */
#include "accel/kvm/kvm_priv.h"

#define NAME_MOST   48
#define VALUES_MOST 256 /* descriptors of a vCPU that are looked at */

/* Where KVM has a counter of one value in what a vCPU's descriptor gives. */
struct kvm_stat_name {
    char name[NAME_MOST]; /* "kvm.NAME" */
    uint32_t offset;      /* in the file */
};

static bool read_at(int fd, void *to, size_t bytes, uint64_t at)
{
    return pread(fd, to, bytes, (off_t)at) == (ssize_t)bytes;
}

/* Reads which counters there are, the same for every vCPU; none where the file is not as it should
 * be. */
static void learn(struct kvm *k, int fd)
{
    struct kvm_stats_header header;

    if (!read_at(fd, &header, sizeof(header), 0))
        return;
    size_t row = sizeof(struct kvm_stats_desc) + header.name_size;
    g_autofree struct kvm_stats_desc *desc = g_malloc0(row + 1);
    size_t n = MIN(header.num_desc, VALUES_MOST);
    k->stat_names = g_new0(struct kvm_stat_name, n);
    for (size_t i = 0; i < n; i++) {
        if (!read_at(fd, desc, row, header.desc_offset + i * row))
            return;
        uint32_t type = desc->flags & KVM_STATS_TYPE_MASK;
        if (desc->size != 1 ||
            (type != KVM_STATS_TYPE_CUMULATIVE && type != KVM_STATS_TYPE_INSTANT))
            continue;
        struct kvm_stat_name *name = &k->stat_names[k->n_stat_names++];
        g_snprintf(name->name, sizeof(name->name), "kvm.%s", desc->name);
        name->offset = header.data_offset + desc->offset;
    }
}

void kvm__stats_vcpu(struct kvm_vcpu *v)
{
    v->stats_fd = kvm__ioctl(v->fd, KVM_GET_STATS_FD, 0);
    if (v->stats_fd >= 0 && !v->kvm->stat_names)
        learn(v->kvm, v->stats_fd);
}

void kvm__stats_free(struct kvm *k)
{
    g_free(k->stat_names);
}

/* Of the counter with one of these names, which differ between ISAs; 0 where KVM has neither. */
static uint64_t counter(struct kvm_vcpu *v, const char *name)
{
    uint64_t value;

    for (size_t i = 0; i < v->kvm->n_stat_names; i++) {
        const struct kvm_stat_name *n = &v->kvm->stat_names[i];
        if (strcmp(n->name, name) == 0)
            return read_at(v->stats_fd, &value, sizeof(value), n->offset) ? value : 0;
    }
    return 0;
}

/* Interrupts that the processor delivers by itself are counted by nobody. */
void kvm__vcpu_info(struct vcpu *vcpu, struct accel_vcpu_info *out)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);

    *out = (struct accel_vcpu_info){.halted = counter(v, "kvm.blocking") != 0,
                                    .waiting = __atomic_load_n(&v->waiting, __ATOMIC_RELAXED),
                                    .interrupts = counter(v, "kvm.irq_injections")};
}

size_t kvm__vcpu_stats(struct vcpu *vcpu, struct accel_stat *rows, size_t most)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);
    size_t n = 0;

    for (unsigned i = 0; i < KVM_EXIT_REASONS && n < most; i++) {
        uint64_t value = __atomic_load_n(&v->exits[i], __ATOMIC_RELAXED);
        if (value)
            rows[n++] = (struct accel_stat){kvm__exit_counter(i), value};
    }
    for (size_t i = 0; i < v->kvm->n_stat_names && n < most; i++) {
        uint64_t value;
        if (read_at(v->stats_fd, &value, sizeof(value), v->kvm->stat_names[i].offset))
            rows[n++] = (struct accel_stat){v->kvm->stat_names[i].name, value};
    }
    return n;
}

/* All exits of all vCPUs, and how guest memory is held. */
size_t kvm__stats(struct accel *accel, struct accel_stat *rows, size_t most)
{
    struct kvm *k = kvm_from(accel);
    uint64_t exits = 0;

    for (unsigned i = 0; i < accel->config.vcpus; i++) {
        for (unsigned j = 0; k->vcpus[i] && j < KVM_EXIT_REASONS; j++)
            exits += __atomic_load_n(&k->vcpus[i]->exits[j], __ATOMIC_RELAXED);
    }
    if (most)
        rows[0] = (struct accel_stat){"exits", exits};
    return MIN(most, 1);
}
