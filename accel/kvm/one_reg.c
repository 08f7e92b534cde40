/* What arm64 and riscv64 share; see the header. The kernel lists the registers that a vCPU has. */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>

int kvm__one_reg_get(struct kvm_vcpu *v, uint64_t id, void *value)
{
    struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)value};

    return kvm__ioctl(v->fd, KVM_GET_ONE_REG, &reg);
}

int kvm__one_reg_set(struct kvm_vcpu *v, uint64_t id, const void *value)
{
    struct kvm_one_reg reg = {.id = id, .addr = (uintptr_t)value};

    return kvm__ioctl(v->fd, KVM_SET_ONE_REG, &reg);
}

int kvm__mp_state_set(struct kvm_vcpu *v, uint32_t state)
{
    const struct kvm_mp_state mp = {.mp_state = state};

    return kvm__ioctl(v->fd, KVM_SET_MP_STATE, &mp);
}

int kvm__device(int vm, uint32_t type)
{
    struct kvm_create_device device = {.type = type};
    int rc = kvm__ioctl(vm, KVM_CREATE_DEVICE, &device);

    return rc < 0 ? rc : (int)device.fd;
}

int kvm__device_set(int device, uint32_t group, uint64_t attr, const void *value)
{
    const struct kvm_device_attr set = {.group = group, .attr = attr, .addr = (uintptr_t)value};

    return kvm__ioctl(device, KVM_SET_DEVICE_ATTR, &set);
}

bool kvm__call(struct kvm_vcpu *v, uint64_t args[8])
{
    const struct accel_config *config = &v->kvm->accel.config;

    return config->hypercall && config->hypercall(config->hypercall_opaque, v->vcpu.index, args);
}

/* --- saved state
 * ---------------------------------------------------------------------------------- */

static const struct state_field reg_fields[] = {
    STATE_FIELD_U64(struct kvm_one_reg_value, id, 1),
    STATE_FIELD_U64(struct kvm_one_reg_value, value, 1),
};
static const struct state_desc reg_desc = {"kvm-register", 1, sizeof(struct kvm_one_reg_value),
                                           G_N_ELEMENTS(reg_fields), reg_fields};
static const struct state_field state_fields[] = {
    STATE_FIELD_U32(struct kvm_one_reg_state, mp_state, 1),
    STATE_FIELD_U32(struct kvm_one_reg_state, n, 1),
    STATE_FIELD_STRUCT(struct kvm_one_reg_state, regs, struct kvm_one_reg_value, reg_desc, 1),
};
static const struct state_desc state_desc = {"kvm-vcpu", 1, sizeof(struct kvm_one_reg_state),
                                             G_N_ELEMENTS(state_fields), state_fields};

static size_t size_of(uint64_t id)
{
    return (size_t)1 << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
}

static int get_state(struct kvm_vcpu *v, struct kvm_one_reg_state *s)
{
    g_autofree struct kvm_reg_list *list =
        g_malloc0(sizeof(*list) + KVM_ONE_REGS_MOST * sizeof(list->reg[0]));
    struct kvm_mp_state mp = {0};
    int rc;

    list->n = KVM_ONE_REGS_MOST;
    if ((rc = kvm__ioctl(v->fd, KVM_GET_REG_LIST, list)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_MP_STATE, &mp)) < 0)
        return rc;
    memset(s, 0, sizeof(*s));
    s->mp_state = mp.mp_state;
    for (uint64_t i = 0; rc >= 0 && i < list->n; i++) {
        struct kvm_one_reg_value *reg = &s->regs[s->n];
        reg->id = list->reg[i];
        if (size_of(reg->id) > sizeof(reg->value))
            continue; /* of vector extensions that no vCPU here is given */
        rc = kvm__one_reg_get(v, reg->id, reg->value);
        s->n++;
    }
    return rc;
}

static int set_state(struct kvm_vcpu *v, const struct kvm_one_reg_state *s)
{
    int rc = s->n <= KVM_ONE_REGS_MOST ? 0 : -EINVAL;

    for (uint32_t i = 0; rc >= 0 && i < s->n; i++)
        rc = size_of(s->regs[i].id) <= sizeof(s->regs[i].value)
                 ? kvm__one_reg_set(v, s->regs[i].id, s->regs[i].value)
                 : -EINVAL;
    return rc < 0 ? rc : kvm__mp_state_set(v, s->mp_state);
}

const struct state_desc *kvm__arch_vcpu_state(struct vcpu *vcpu, void **object)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);

    if (!v->arch.lent)
        v->arch.lent = g_new0(struct kvm_one_reg_state, 1);
    int rc = get_state(v, v->arch.lent);
    if (rc < 0)
        kvm__fail(v->kvm, "KVM did not give the state of vCPU %u: %s", vcpu->index,
                  g_strerror(-rc));
    v->arch.is_lent = true;
    *object = v->arch.lent;
    return &state_desc;
}

/* The interrupt controllers' own state is not saved yet where they are KVM's. */
const struct state_desc *kvm__arch_state(struct accel *accel, void **object)
{
    return NULL;
}

bool kvm__arch_restored(struct accel *accel, GError **err)
{
    struct kvm *k = kvm_from(accel);

    for (unsigned i = 0; i < accel->config.vcpus; i++) {
        struct kvm_vcpu *v = k->vcpus[i];
        if (!v || !v->arch.is_lent)
            continue;
        v->arch.is_lent = false;
        int rc = set_state(v, v->arch.lent);
        if (rc < 0)
            return vmd_fail(err, VMD_ERROR_INVALID, "KVM refused the saved state of vCPU %u: %s", i,
                            g_strerror(-rc));
    }
    return true;
}

/* --- what neither has
 * ------------------------------------------------------------------------------ */

void kvm__arch_vcpu_free(struct kvm_vcpu *v)
{
    g_free(v->arch.lent);
}

void kvm__arch_free(struct kvm *k)
{
    if (k->arch.its > 0)
        close(k->arch.its);
    if (k->arch.intc > 0)
        close(k->arch.intc);
}

/* Both reset with their vCPUs. */
void kvm__arch_reset(struct accel *accel)
{
}

/* The kernel's virtual counters go on over a pause. */
void kvm__arch_clock_changed(struct accel *accel)
{
}

unsigned kvm__arch_routes(struct kvm *k, struct kvm_irq_routing_entry *routes)
{
    return 0;
}

bool kvm_cpu_valid(const char *text, GError **err)
{
    return !text || strcmp(text, "host") == 0 ||
           vmd_fail(err, VMD_ERROR_INVALID, "there is no CPU model '%s': there is 'host'", text);
}
