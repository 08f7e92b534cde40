/*
 * Interrupts. The host signals an eventfd a vector; all of a device's are in one epoll, which the
 * VM's loop watches. The kind in use follows what the guest has switched on: MSI-X, MSI, else INTx.
 *
 * MSI-X is given vectors as the guest unmasks them, since a host has fewer than some devices ask
 * for. The kernel takes more only anew; what it signals in between is lost, so every vector in use
 * is then told once more.
 *
 * INTx is a level, and the kernel masks it as it signals. The guest's line goes up, and comes down
 * when the guest may have dealt with the device: it wrote a register, or a millisecond has passed.
 * Then the host is unmasked, and where the device still asks, signals again at once.
 */
#include "gpu/vfio/vfio_priv.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum {
    ANSWER_MS = 1,      /* how long INTx stays up without a write to a register */
    VECTORS_FIRST = 16, /* MSI-X vectors that the host is asked for at first */
    SIGNALS_MOST = 64,  /* that are taken in one turn of the loop */
    WISHES_FROM = 1 << 16, /* in the epoll, after all vectors: MSI-X has 2,048 */
};

/* --- the host's side: lock held --------------------------------------------------------------- */

static unsigned index_of(enum vfio_irq_mode mode)
{
    static const unsigned indexes[] = {
        [VFIO_IRQ_INTX] = VFIO_PCI_INTX_IRQ_INDEX,
        [VFIO_IRQ_MSI] = VFIO_PCI_MSI_IRQ_INDEX,
        [VFIO_IRQ_MSIX] = VFIO_PCI_MSIX_IRQ_INDEX,
    };

    return indexes[mode];
}

/* Has the host signal the first COUNT of FDS for INDEX; with 0 none. 0, -errno, or how many it can.
 */
static int set_trigger(struct vfio_device *d, unsigned index, const int *fds, unsigned count)
{
    size_t size = sizeof(struct vfio_irq_set) + count * sizeof(int32_t);
    g_autofree struct vfio_irq_set *set = g_malloc0(size);

    *set = (struct vfio_irq_set){
        .argsz = (uint32_t)size,
        .flags = VFIO_IRQ_SET_ACTION_TRIGGER |
                 (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
        .index = index,
        .count = count,
    };
    if (count)
        memcpy(set->data, fds, count * sizeof(int32_t));
    return vfio__ioctl(d, VFIO_DEVICE_SET_IRQS, set);
}

static void unmask_intx(struct vfio_device *d)
{
    struct vfio_irq_set set = {
        .argsz = sizeof(set),
        .flags = VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE,
        .index = VFIO_PCI_INTX_IRQ_INDEX,
        .count = 1,
    };

    vfio__ioctl(d, VFIO_DEVICE_SET_IRQS, &set);
}

/* An eventfd that the device's epoll tells of as NUMBER; -1. */
static int new_eventfd(const struct vfio_device *d, uint32_t number)
{
    autofd fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

    return fd >= 0 && epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? steal_fd(&fd) : -1;
}

/* COUNT eventfds are there; false where the host has no more. */
static bool have_eventfds(struct vfio_device *d, unsigned count)
{
    while (d->eventfds->len < count) {
        int fd = new_eventfd(d, d->eventfds->len);
        if (fd < 0)
            return false;
        g_array_append_val(d->eventfds, fd);
    }
    return true;
}

static void drain(const struct vfio_device *d)
{
    uint64_t n;

    for (guint i = 0; i < d->eventfds->len; i++)
        (void)!read(g_array_index(d->eventfds, int, i), &n, sizeof(n));
}

static void lower(struct vfio_device *d)
{
    __atomic_store_n(&d->raised, false, __ATOMIC_RELEASE);
    pci_function_set_intx(d->pci, false);
}

static void stop(struct vfio_device *d)
{
    if (d->mode == VFIO_IRQ_NONE)
        return;
    if (d->count)
        set_trigger(d, index_of(d->mode), NULL, 0);
    lower(d);
    drain(d);
    d->mode = VFIO_IRQ_NONE;
    d->count = 0;
}

static void complain(struct vfio_device *d, int rc)
{
    g_autofree char *text = NULL;

    if (d->complained)
        return;
    d->complained = true;
    text = g_strdup_printf("host device %s: its interrupts cannot be had: %s", d->address,
                           g_strerror(-rc));
    vfio__warn(d->container, text);
}

static void start(struct vfio_device *d, enum vfio_irq_mode mode, unsigned count)
{
    const bool have = have_eventfds(d, count);
    const int *fds = (const int *)(const void *)d->eventfds->data;
    int rc = have ? set_trigger(d, index_of(mode), fds, count) : -EMFILE;

    if (rc > 0) { /* fewer, but those */
        count = (unsigned)rc;
        rc = set_trigger(d, index_of(mode), fds, count);
    }
    d->mode = mode;
    d->count = rc == 0 ? count : 0;
    if (rc != 0)
        complain(d, rc < 0 ? rc : -ENOSPC);
}

static enum vfio_irq_mode wanted_mode(const struct vfio_device *d)
{
    if (d->vectors && pci_function_msix_enabled(d->pci))
        return VFIO_IRQ_MSIX;
    if (d->msi.enabled)
        return VFIO_IRQ_MSI;
    return d->intx ? VFIO_IRQ_INTX : VFIO_IRQ_NONE;
}

/* How many vectors MSI-X needs: up to the last that is not masked. */
static unsigned used_vectors(const struct vfio_device *d)
{
    unsigned n = d->vectors;

    while (n > 0 && !pci_function_msix_unmasked(d->pci, n - 1))
        n--;
    return n;
}

static unsigned wanted_count(const struct vfio_device *d, enum vfio_irq_mode mode)
{
    if (mode == VFIO_IRQ_MSI)
        return d->msi.count;
    if (mode != VFIO_IRQ_MSIX)
        return 1;
    unsigned used = used_vectors(d);
    if (d->mode == VFIO_IRQ_MSIX && used <= d->count)
        return d->count;
    return MIN(MAX(MAX(used, VECTORS_FIRST), d->mode == VFIO_IRQ_MSIX ? 2 * d->count : 0),
               d->vectors);
}

/* Makes the host signal what the guest has switched on. */
static void apply(struct vfio_device *d)
{
    enum vfio_irq_mode mode = wanted_mode(d), before = d->mode;
    unsigned count = mode == VFIO_IRQ_NONE ? 0 : wanted_count(d, mode);

    if (mode == before && (count <= d->count || count <= d->asked))
        return;
    stop(d);
    d->asked = count;
    if (mode != VFIO_IRQ_NONE)
        start(d, mode, count);
    for (unsigned i = 0; mode == before && mode == VFIO_IRQ_MSIX && i < d->count; i++) {
        if (pci_function_msix_unmasked(d->pci, i))
            pci_function_msix_notify(d->pci, i);
    }
}

/* --- to the guest: lock held ------------------------------------------------------------------ */

static void send_message(struct vfio_device *d, unsigned vector)
{
    const struct vfio_msi *m = &d->msi;

    pci_function_send_msi(d->pci, m->address, (m->data & ~(m->count - 1)) | vector);
}

static void fire_msi(struct vfio_device *d, unsigned vector)
{
    if (!d->msi.enabled || vector >= d->msi.count)
        return;
    if (d->msi.mask >> vector & 1)
        d->msi.pending |= UINT32_C(1) << vector;
    else
        send_message(d, vector);
}

static void on_timer(uv_timer_t *timer)
{
    vfio__irq_answered(timer->data);
}

static void deliver(struct vfio_device *d, unsigned vector)
{
    switch (d->mode) {
    case VFIO_IRQ_MSIX:
        pci_function_msix_notify(d->pci, vector);
        break;
    case VFIO_IRQ_MSI:
        fire_msi(d, vector);
        break;
    case VFIO_IRQ_INTX:
        if (vector)
            break;
        __atomic_store_n(&d->raised, true, __ATOMIC_RELEASE);
        pci_function_set_intx(d->pci, true);
        uv_timer_start(d->timer, on_timer, ANSWER_MS, 0);
        break;
    case VFIO_IRQ_NONE:
        break;
    }
}

static void signalled(uv_poll_t *poll, int status, int events)
{
    struct vfio_device *d = poll->data;
    struct epoll_event ready[SIGNALS_MOST];
    bool wishes[VFIO_WISHES] = {false};
    uint64_t n;

    pthread_mutex_lock(&d->lock);
    int count = epoll_wait(d->epoll, ready, SIGNALS_MOST, 0);
    for (int i = 0; i < count; i++) {
        uint32_t number = ready[i].data.u32;
        bool wish = number >= WISHES_FROM;
        int fd = wish ? d->wishes[number - WISHES_FROM] : g_array_index(d->eventfds, int, number);
        if (read(fd, &n, sizeof(n)) != sizeof(n))
            continue;
        if (wish)
            wishes[number - WISHES_FROM] = true;
        else
            deliver(d, number);
    }
    pthread_mutex_unlock(&d->lock);
    d->requested |= wishes[VFIO_WISH_REQUEST];
    if (d->watch && (wishes[VFIO_WISH_REQUEST] || wishes[VFIO_WISH_ERROR]))
        d->watch->wanted(d->watch_opaque, wishes[VFIO_WISH_ERROR]);
}

void vfio__irq_answered(struct vfio_device *d)
{
    if (!__atomic_load_n(&d->raised, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&d->lock);
    if (d->raised) {
        lower(d);
        unmask_intx(d);
    }
    pthread_mutex_unlock(&d->lock);
}

/* --- what the guest writes -------------------------------------------------------------------- */

static void take_msi(struct vfio_device *d)
{
    const uint8_t *c = pci_function_config(d->pci) + d->msi_cap;
    struct vfio_msi *m = &d->msi;
    unsigned flags = vfio__get16(c + PCI_MSI_FLAGS),
             data = d->msi_wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;

    m->enabled = flags & PCI_MSI_FLAGS_ENABLE;
    m->count = MIN(1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4), d->messages);
    m->address = vfio__get32(c + PCI_MSI_ADDRESS_LO);
    if (d->msi_wide)
        m->address |= (uint64_t)vfio__get32(c + PCI_MSI_ADDRESS_HI) << 32;
    m->data = vfio__get16(c + data);
    m->mask = d->msi_masks ? vfio__get32(c + data + 4) : 0;
    if (!m->enabled)
        m->pending = 0;
    for (unsigned i = 0; i < m->count && m->pending & ~m->mask; i++) {
        if (m->pending & ~m->mask & UINT32_C(1) << i)
            send_message(d, i);
    }
    m->pending &= m->mask;
}

void vfio__irq_config(struct vfio_device *d)
{
    pthread_mutex_lock(&d->lock);
    if (d->msi_cap)
        take_msi(d);
    apply(d);
    pthread_mutex_unlock(&d->lock);
}

void vfio__irq_show(struct vfio_device *d)
{
    unsigned at = d->msi_cap + (d->msi_wide ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32);

    if (!d->msi_masks)
        return;
    pthread_mutex_lock(&d->lock);
    vfio__set32(pci_function_config(d->pci) + at, d->msi.pending);
    pthread_mutex_unlock(&d->lock);
}

void vfio__irq_table(struct vfio_device *d)
{
    pthread_mutex_lock(&d->lock);
    apply(d);
    pthread_mutex_unlock(&d->lock);
}

void vfio__irq_reset(struct vfio_device *d)
{
    pthread_mutex_lock(&d->lock);
    d->msi = (struct vfio_msi){0};
    stop(d);
    d->asked = 0;
    apply(d);
    pthread_mutex_unlock(&d->lock);
}

/* --- beginning and end ------------------------------------------------------------------------ */

/* A kernel that tells of no wishes is an old one, or the device has no errors to report: it works
 * without. */
static void watch_wishes(struct vfio_device *d)
{
    static const unsigned indexes[] = {
        [VFIO_WISH_REQUEST] = VFIO_PCI_REQ_IRQ_INDEX,
        [VFIO_WISH_ERROR] = VFIO_PCI_ERR_IRQ_INDEX,
    };

    for (uint32_t i = 0; i < VFIO_WISHES; i++) {
        if (!vfio__irqs_of(d, indexes[i]))
            continue;
        d->wishes[i] = new_eventfd(d, WISHES_FROM + i);
        int rc = d->wishes[i] < 0 ? -EMFILE : set_trigger(d, indexes[i], &d->wishes[i], 1);
        if (rc < 0)
            complain(d, rc);
    }
}

bool vfio__irq_init(struct vfio_device *d, GError **err)
{
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (d->epoll < 0)
        return vmd_set_errno(err, errno, "watching its interrupts");
    d->poll = g_new0(uv_poll_t, 1);
    int rc = uv_poll_init(d->loop, d->poll, d->epoll);
    if (rc < 0) {
        g_clear_pointer(&d->poll, g_free);
        return vmd_set_errno(err, -rc, "watching its interrupts");
    }
    d->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(d->loop, d->timer);
    d->wake = g_new0(uv_async_t, 1);
    uv_async_init(d->loop, d->wake, vfio__wake);
    d->poll->data = d->timer->data = d->wake->data = d;
    d->eventfds = g_array_new(FALSE, FALSE, sizeof(int));
    uv_poll_start(d->poll, UV_READABLE, signalled);
    watch_wishes(d);
    vfio__irq_table(d);
    return true;
}

static void handle_closed(uv_handle_t *handle)
{
    g_free(handle);
}

void vfio__irq_fini(struct vfio_device *d)
{
    if (d->poll) {
        pthread_mutex_lock(&d->lock);
        stop(d);
        pthread_mutex_unlock(&d->lock);
        uv_poll_stop(d->poll);
        uv_timer_stop(d->timer);
        uv_close((uv_handle_t *)d->poll, handle_closed);
        uv_close((uv_handle_t *)d->timer, handle_closed);
        uv_close((uv_handle_t *)d->wake, handle_closed);
        for (guint i = 0; i < d->eventfds->len; i++)
            close(g_array_index(d->eventfds, int, i));
        g_array_free(d->eventfds, TRUE);
    }
    for (unsigned i = 0; i < VFIO_WISHES; i++)
        base__close_fd(&d->wishes[i]);
    base__close_fd(&d->epoll);
}
