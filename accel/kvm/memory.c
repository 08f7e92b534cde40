/*
 * Guest memory: a slot of KVM for each stretch of RAM of the map, and the dirty log.
 *
 * What is no slot leaves KVM_RUN and goes to devices. Slots follow the map's changes, also while
 * vCPUs run: KVM has a slot gone from every vCPU before the call that removes it returns. The log
 * comes from rings, one a vCPU, where KVM has them in an order that can be relied on, or else from
 * bitmaps, one a slot.
 */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>
#include <sys/mman.h>

#define RING_ENTRIES 4096

static struct kvm_slot *slot_at(struct kvm *k, guint number)
{
    return &g_array_index(k->slots, struct kvm_slot, number);
}

/* --- slots ------------------------------------------------------------------------------------ */

/* Tells KVM of slot NUMBER as it is now; of its end where RAM is NULL. Lock held. */
static int set_slot(struct kvm *k, guint number)
{
    const struct mem_ram *ram = slot_at(k, number)->ram;
    struct kvm_userspace_memory_region region = {.slot = number};

    if (ram) {
        region.guest_phys_addr = ram->gpa;
        region.memory_size = ram->size;
        region.userspace_addr = (uintptr_t)ram->host;
        if (ram->read_only)
            region.flags |= KVM_MEM_READONLY;
        else if (k->logging)
            region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    }
    return kvm__ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Lock held. */
static int add_slot(struct kvm *k, struct mem_ram *ram)
{
    guint number = 0;

    while (number < k->slots->len && slot_at(k, number)->ram)
        number++;
    if (number == k->slots->len)
        g_array_set_size(k->slots, number + 1);
    slot_at(k, number)->ram = ram;
    int rc = set_slot(k, number);
    if (rc < 0)
        slot_at(k, number)->ram = NULL;
    return rc;
}

/* Lock held. */
static int remove_slot(struct kvm *k, gpa_t gpa)
{
    for (guint i = 0; i < k->slots->len; i++) {
        struct kvm_slot *slot = slot_at(k, i);
        if (slot->ram && slot->ram->gpa == gpa) {
            slot->ram = NULL;
            return set_slot(k, i);
        }
    }
    return 0;
}

/* The map has no way to refuse what it has done: a VM whose memory KVM does not take ends. */
static void changed(void *opaque, gpa_t gpa, uint64_t length, enum mem_kind kind, bool added)
{
    struct kvm *k = opaque;
    struct mem_view view;
    int rc;

    if (kind != MEM_RAM && kind != MEM_SHOWN)
        return;
    mem_map_lookup(k->accel.config.mem, gpa, &view);
    pthread_mutex_lock(&k->slots_lock);
    rc = added && view.kind == MEM_RAM ? add_slot(k, view.ram) : remove_slot(k, gpa);
    pthread_mutex_unlock(&k->slots_lock);
    if (rc < 0)
        kvm__fail(k, "KVM refused %s of guest memory at 0x%" PRIx64 ": %s",
                  added ? "a stretch" : "the removal", gpa, g_strerror(-rc));
}

/*
 * A doorbell that KVM does not take (there are too many) comes to the device as an exit, as it
 * would without KVM, so that nothing is lost but time.
 */
static void doorbell(void *opaque, gpa_t gpa, int fd, bool added)
{
    struct kvm *k = opaque;
    const struct kvm_ioeventfd bell = {
        .addr = gpa, .fd = fd, .flags = added ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};

    if (k->doorbells)
        kvm__ioctl(k->vm, KVM_IOEVENTFD, &bell);
}

/* --- the dirty log ------------------------------------------------------------------------------
 */

static void mark(struct kvm *k, guint number, uint64_t page)
{
    struct mem_ram *ram = number < k->slots->len ? slot_at(k, number)->ram : NULL;

    if (ram && page < ram->size >> MEM_PAGE_SHIFT)
        mem_page_set(ram, page, MEM_PAGE_DIRTY);
}

/* An entry is KVM's until its flag says dirty, then ours until it says reset. Lock held. */
static void empty_ring(struct kvm_vcpu *v)
{
    uint32_t entries = v->kvm->ring_bytes / sizeof(*v->ring);

    for (;;) {
        struct kvm_dirty_gfn *entry = &v->ring[v->ring_next % entries];
        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
            return;
        mark(v->kvm, entry->slot & 0xffff, entry->offset);
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        v->ring_next++;
    }
}

/* Lock held. */
static void empty_rings(struct kvm *k)
{
    for (unsigned i = 0; i < k->accel.config.vcpus; i++) {
        if (k->vcpus[i])
            empty_ring(k->vcpus[i]);
    }
    kvm__ioctl(k->vm, KVM_RESET_DIRTY_RINGS, 0);
}

/* Takes the bitmap of slot NUMBER, which KVM clears by giving it. Lock held. */
static int take_bitmap(struct kvm *k, guint number)
{
    const struct mem_ram *ram = slot_at(k, number)->ram;
    uint64_t words = ALIGN_UP(ram->size >> MEM_PAGE_SHIFT, 64) / 64;
    g_autofree uint64_t *bitmap = g_new0(uint64_t, words);
    struct kvm_dirty_log log = {.slot = number, .dirty_bitmap = bitmap};
    int rc = kvm__ioctl(k->vm, KVM_GET_DIRTY_LOG, &log);

    for (uint64_t i = 0; rc >= 0 && i < words; i++) {
        for (uint64_t bits = bitmap[i]; bits; bits &= bits - 1)
            mark(k, number, i * 64 + (unsigned)__builtin_ctzll(bits));
    }
    return rc;
}

/* Lock held. */
static int pull(struct kvm *k)
{
    int rc = 0;

    if (k->ring_bytes) {
        empty_rings(k);
        return 0;
    }
    for (guint i = 0; rc >= 0 && i < k->slots->len; i++) {
        if (slot_at(k, i)->ram && !slot_at(k, i)->ram->read_only)
            rc = take_bitmap(k, i);
    }
    return rc;
}

void kvm__memory_ring_full(struct kvm *k)
{
    pthread_mutex_lock(&k->slots_lock);
    empty_rings(k);
    pthread_mutex_unlock(&k->slots_lock);
}

static void dirty_sync(void *opaque)
{
    struct kvm *k = opaque;
    int rc;

    pthread_mutex_lock(&k->slots_lock);
    rc = k->logging ? pull(k) : 0;
    pthread_mutex_unlock(&k->slots_lock);
    if (rc < 0)
        kvm__fail(k, "KVM gave no dirty log: %s", g_strerror(-rc));
}

static void dirty_log(void *opaque, bool on)
{
    struct kvm *k = opaque;
    int rc = 0;

    pthread_mutex_lock(&k->slots_lock);
    if (k->logging && !on)
        rc = pull(k);
    k->logging = on;
    for (guint i = 0; rc >= 0 && i < k->slots->len; i++) {
        if (slot_at(k, i)->ram)
            rc = set_slot(k, i);
    }
    pthread_mutex_unlock(&k->slots_lock);
    if (rc < 0)
        kvm__fail(k, "KVM %s no dirty log: %s", on ? "began" : "ended", g_strerror(-rc));
}

/* --- life ---------------------------------------------------------------------------------------
 */

/* On machines with a weak memory order only the second capability orders entries and their flags.
 */
static uint32_t choose_ring(struct kvm *k)
{
    unsigned cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
    uint32_t most = (uint32_t)kvm__capability(k->vm, cap);

#if defined(__x86_64__)
    if (!most) {
        cap = KVM_CAP_DIRTY_LOG_RING;
        most = (uint32_t)kvm__capability(k->vm, cap);
    }
#endif
    uint32_t bytes = MIN(most, RING_ENTRIES * (uint32_t)sizeof(struct kvm_dirty_gfn));
    struct kvm_enable_cap enable = {.cap = cap, .args = {bytes}};
    return bytes && kvm__ioctl(k->vm, KVM_ENABLE_CAP, &enable) == 0 ? bytes : 0;
}

static void add_first(void *opaque, struct mem_ram *ram)
{
    struct kvm *k = opaque;
    int rc = add_slot(k, ram);

    if (rc < 0)
        kvm__fail(k, "KVM refused guest memory '%s': %s", ram->name, g_strerror(-rc));
}

bool kvm__memory_start(struct kvm *k, bool rings, GError **err)
{
    const struct mem_listener listener = {.changed = changed,
                                          .doorbell = doorbell,
                                          .dirty_log = dirty_log,
                                          .dirty_sync = dirty_sync,
                                          .opaque = k};

    pthread_mutex_init(&k->slots_lock, NULL);
    k->slots = g_array_new(FALSE, TRUE, sizeof(struct kvm_slot));
    k->ring_bytes = rings ? choose_ring(k) : 0;
    k->doorbells = kvm__capability(k->vm, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
    mem_map_add_listener(k->accel.config.mem, &listener);
    mem_map_each_ram(k->accel.config.mem, add_first, k);
    return !k->failed || vmd_fail(err, VMD_ERROR_IO, "%s", k->failed);
}

void kvm__memory_stop(struct kvm *k)
{
    if (!k->slots)
        return;
    mem_map_remove_listener(k->accel.config.mem, &(struct mem_listener){.opaque = k});
    g_array_free(k->slots, TRUE);
    pthread_mutex_destroy(&k->slots_lock);
}

bool kvm__memory_vcpu(struct kvm_vcpu *v, GError **err)
{
    if (!v->kvm->ring_bytes)
        return true;
    void *ring = mmap(NULL, v->kvm->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
                      (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
    if (ring == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping the dirty ring of vCPU %u", v->vcpu.index);
    v->ring = ring;
    return true;
}

void kvm__memory_vcpu_free(struct kvm_vcpu *v)
{
    if (v->ring)
        munmap(v->ring, v->kvm->ring_bytes);
}
