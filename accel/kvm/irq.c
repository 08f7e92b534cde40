/*
 * Interrupts that come from outside a vCPU: inputs of KVM's own controllers, messages, and
 * eventfds that raise either. The routes are a table that KVM takes as a whole; ours has, sorted by
 * nothing, the controllers' inputs first and then a row for each GSI that stands for a message.
 */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>

/* Lock held. */
static int tell(struct kvm *k)
{
    return kvm__ioctl(k->vm, KVM_SET_GSI_ROUTING, k->routes);
}

bool kvm__irq_start(struct kvm *k, GError **err)
{
    int rc;

    pthread_mutex_init(&k->routes_lock, NULL);
    k->n_gsis = (unsigned)kvm__capability(k->vm, KVM_CAP_IRQ_ROUTING);
    k->routes = g_malloc0(sizeof(*k->routes) + k->n_gsis * sizeof(k->routes->entries[0]));
    k->fixed_routes = kvm__arch_routes(k, k->routes->entries);
    k->routes->nr = k->fixed_routes;
    rc = k->fixed_routes ? tell(k) : 0;
    return rc >= 0 || vmd_set_errno(err, -rc, "giving KVM the interrupt routes");
}

void kvm__irq_stop(struct kvm *k)
{
    if (!k->routes)
        return;
    g_free(k->routes);
    pthread_mutex_destroy(&k->routes_lock);
}

void kvm__gsi(struct accel *accel, unsigned gsi, bool level)
{
    kvm__arch_gsi(kvm_from(accel), gsi, level);
}

/* KVM answers whether a vCPU took it; a message to nobody is the guest's business. */
void kvm__msi(struct accel *accel, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

    kvm__ioctl(kvm_from(accel)->vm, KVM_SIGNAL_MSI, &msi);
}

/* The row of GSI's message, or NULL. Lock held. */
static struct kvm_irq_routing_entry *find(struct kvm *k, unsigned gsi)
{
    for (unsigned i = k->fixed_routes; i < k->routes->nr; i++) {
        if (k->routes->entries[i].gsi == gsi)
            return &k->routes->entries[i];
    }
    return NULL;
}

/* Lock held. What KVM refuses is taken back: it would have the whole table refused from then on. */
static int set_route(struct kvm *k, unsigned gsi, const struct accel_route *route)
{
    struct kvm_irq_routing_entry *entry = find(k, gsi), before;
    uint32_t n = k->routes->nr;

    if (!route) {
        if (entry)
            *entry = k->routes->entries[--k->routes->nr];
        return entry ? tell(k) : 0;
    }
    if (!entry && n == k->n_gsis)
        return -ENOSPC;
    if (!entry)
        entry = &k->routes->entries[k->routes->nr++];
    before = *entry;
    *entry = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {.address_lo = (uint32_t)route->address,
                  .address_hi = (uint32_t)(route->address >> 32),
                  .data = route->data},
    };
    int rc = tell(k);
    if (rc < 0) {
        *entry = before;
        k->routes->nr = n;
    }
    return rc;
}

int kvm__route(struct accel *accel, unsigned gsi, const struct accel_route *route)
{
    struct kvm *k = kvm_from(accel);

    if (gsi >= k->n_gsis || (k->fixed_routes && gsi < ACCEL_GSI_FREE))
        return -EINVAL;
    pthread_mutex_lock(&k->routes_lock);
    int rc = set_route(k, gsi, route);
    pthread_mutex_unlock(&k->routes_lock);
    return MIN(rc, 0);
}

int kvm__irqfd(struct accel *accel, int fd, unsigned gsi, bool on)
{
    struct kvm_irqfd irqfd = {
        .fd = (uint32_t)fd, .gsi = gsi, .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};

    return MIN(kvm__ioctl(kvm_from(accel)->vm, KVM_IRQFD, &irqfd), 0);
}
