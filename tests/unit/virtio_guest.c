/* The guest's side of PCI and virtio, as virtio_guest.h tells. */
#include "tests/unit/virtio_guest.h"

#include "tests/unit/unit.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

/* --- the machine ------------------------------------------------------------------------------ */

static void set_line(void *opaque, unsigned number, bool level)
{
    struct guest *g = opaque;

    g->line_sets += g->line[number] != level;
    g->line[number] = level;
}

static bool take_message(void *opaque, uint16_t requester, uint64_t address, uint32_t data)
{
    struct guest *g = opaque;

    g->messages++;
    g->message_requester = requester;
    g->message_address = address;
    g->message_data = data;
    return true;
}

void guest_init(struct guest *g, bool messages)
{
    g_autoptr(GError) err = NULL;

    *g = (struct guest){.ecam = GUEST_ECAM, .heap = GUEST_RAM + KIB(64), .bars = GUEST_WINDOW};
    g->mem = mem_map_new();
    g->ram = mem_map_add_ram(g->mem, GUEST_RAM, GUEST_RAM_SIZE, "ram", false, &err);
    ck_assert_msg(g->ram && mem_map_add_ram(g->mem, GUEST_ROM, KIB(64), "rom", true, &err), "%s",
                  err ? err->message : "");
    g->clock = vm_clock_new(0);
    ck_assert_int_eq(uv_loop_init(&g->loop), 0);
    struct pci_host_config config = {
        .mem = g->mem,
        .ecam = GUEST_ECAM,
        .buses = 64,
        .mem32 = {GUEST_WINDOW, GIB(1)},
        .mem64 = {GIB(16), GIB(16)},
        .msi = messages ? take_message : NULL,
        .msi_opaque = g,
    };
    for (unsigned i = 0; i < 4; i++)
        config.intx[i] = (struct irq_line){set_line, g, i};
    g->host = pci_host_new(&config, &err);
    ck_assert_msg(g->host != NULL, "%s", err ? err->message : "");
}

void guest_fini(struct guest *g)
{
    pci_host_free(g->host);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&g->loop), 0);
    vm_clock_free(g->clock);
    mem_map_free(g->mem);
}

struct virtio_env guest_env(struct guest *g)
{
    return (struct virtio_env){.loop = &g->loop, .mem = g->mem, .clock = g->clock};
}

uint64_t guest_read(struct guest *g, gpa_t gpa, unsigned size)
{
    uint64_t value = 0;

    ck_assert_msg(mem_map_device_read(g->mem, gpa, size, &value) == 0,
                  "no device reads %u bytes at %" G_GINT64_MODIFIER "x", size, gpa);
    return value;
}

void guest_write(struct guest *g, gpa_t gpa, unsigned size, uint64_t value)
{
    ck_assert_msg(mem_map_device_write(g->mem, gpa, size, value) == 0,
                  "no device takes %u bytes at %" G_GINT64_MODIFIER "x", size, gpa);
}

static gpa_t slot_config(const struct guest *g, unsigned slot)
{
    return g->ecam + ((gpa_t)slot << 15);
}

uint32_t guest_config_read(struct guest *g, unsigned slot, unsigned offset, unsigned size)
{
    return (uint32_t)guest_read(g, slot_config(g, slot) + offset, size);
}

void guest_config_write(struct guest *g, unsigned slot, unsigned offset, unsigned size,
                        uint32_t value)
{
    guest_write(g, slot_config(g, slot) + offset, size, value);
}

unsigned guest_capability(struct guest *g, unsigned slot, uint8_t id, unsigned n)
{
    unsigned at = guest_config_read(g, slot, PCI_CAPABILITY_LIST, 1);

    for (; at; at = guest_config_read(g, slot, at + PCI_CAP_LIST_NEXT, 1)) {
        if (guest_config_read(g, slot, at, 1) == id && n-- == 0)
            return at;
    }
    return 0;
}

gpa_t guest_alloc(struct guest *g, uint64_t length, bool page)
{
    gpa_t gpa = ALIGN_UP(g->heap, page ? 4096 : 16);

    ck_assert(mem_map_host(g->mem, gpa, length, true) != NULL);
    g->heap = gpa + length;
    memset(guest_ptr(g, gpa), 0, length);
    return gpa;
}

void *guest_ptr(struct guest *g, gpa_t gpa)
{
    struct mem_view view;

    mem_map_lookup(g->mem, gpa, &view);
    return view.kind == MEM_RAM ? view.host : NULL;
}

void guest_turn(struct guest *g)
{
    uv_run(&g->loop, UV_RUN_ONCE);
}

void guest_poll(struct guest *g)
{
    for (int i = 0; i < 4; i++)
        uv_run(&g->loop, UV_RUN_NOWAIT);
}

/* --- finding the device ----------------------------------------------------------------------- */

/* Sizes BAR I, gives it a place of its own. Returns the address, or 0 for no BAR. */
static gpa_t place_bar(struct driver *d, unsigned i, unsigned *taken)
{
    struct guest *g = d->g;
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;

    guest_config_write(g, d->slot, at, 4, UINT32_MAX);
    uint32_t mask = guest_config_read(g, d->slot, at, 4);
    *taken = mask & PCI_BASE_ADDRESS_MEM_TYPE_64 ? 2 : 1;
    if (!mask)
        return 0;
    uint32_t size = ~(mask & ~15u) + 1;
    g->bars = ALIGN_UP(g->bars, (gpa_t)size);
    guest_config_write(g, d->slot, at, 4, (uint32_t)g->bars);
    if (*taken == 2)
        guest_config_write(g, d->slot, at + 4, 4, 0);
    g->bars += size;
    return g->bars - size;
}

static void find_capabilities(struct driver *d, const gpa_t *bars)
{
    struct guest *g = d->g;
    unsigned at;

    for (unsigned n = 0; (at = guest_capability(g, d->slot, PCI_CAP_ID_VNDR, n)); n++) {
        gpa_t bar = bars[guest_config_read(g, d->slot, at + VIRTIO_PCI_CAP_BAR, 1)];
        gpa_t where = bar + guest_config_read(g, d->slot, at + VIRTIO_PCI_CAP_OFFSET, 4);
        switch (guest_config_read(g, d->slot, at + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
        case VIRTIO_PCI_CAP_COMMON_CFG:
            d->common = where;
            break;
        case VIRTIO_PCI_CAP_ISR_CFG:
            d->isr = where;
            break;
        case VIRTIO_PCI_CAP_DEVICE_CFG:
            d->config = where;
            break;
        case VIRTIO_PCI_CAP_NOTIFY_CFG:
            d->notify = where;
            d->notify_step = guest_config_read(g, d->slot, at + sizeof(struct virtio_pci_cap), 4);
            break;
        default:
            break;
        }
    }
}

void driver_attach(struct driver *d, struct guest *g, struct virtio_device *dev, unsigned slot)
{
    g_autoptr(GError) err = NULL;
    gpa_t bars[PCI_BARS] = {0};

    *d = (struct driver){.g = g, .slot = slot, .vp = virtio_pci_new(dev)};
    ck_assert_msg(pci_host_add(g->host, virtio_pci_function(d->vp), slot, 0, &err), "%s",
                  err ? err->message : "");
    for (unsigned i = 0, taken; i < PCI_BARS; i += taken)
        bars[i] = place_bar(d, i, &taken);
    guest_config_write(g, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    find_capabilities(d, bars);
    ck_assert(d->common && d->isr && d->notify);
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

void guest_save_and_load(struct guest *g)
{
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    bool quiet = false;
    size_t used;

    pci_host_quiesce(g->host, set_true, &quiet);
    guest_wait(g, quiet);
    pci_host_save(g->host, saved);
    pci_host_reset(g->host);
    ck_assert_msg(pci_host_load(g->host, saved->data, saved->len, &used, &err), "%s",
                  err ? err->message : "");
    pci_host_save(g->host, again);
    ck_assert_uint_eq(saved->len, again->len);
    ck_assert_mem_eq(saved->data, again->data, saved->len);
    pci_host_resume(g->host);
    guest_poll(g);
}

void driver_detach(struct driver *d)
{
    bool quiet = false;

    pci_function_quiesce(virtio_pci_function(d->vp), set_true, &quiet);
    guest_wait(d->g, quiet);
    pci_host_remove(virtio_pci_function(d->vp));
    virtio_pci_free(d->vp);
    d->vp = NULL;
}

/* --- setting it up ---------------------------------------------------------------------------- */

uint64_t driver_offered(struct driver *d)
{
    uint64_t features = 0;

    for (unsigned i = 0; i < 2; i++) {
        guest_write(d->g, d->common + VIRTIO_PCI_COMMON_DFSELECT, 4, i);
        features |= guest_read(d->g, d->common + VIRTIO_PCI_COMMON_DF, 4) << 32 * i;
    }
    return features;
}

uint8_t driver_status(struct driver *d)
{
    return (uint8_t)guest_read(d->g, d->common + VIRTIO_PCI_COMMON_STATUS, 1);
}

static void add_status(struct driver *d, uint8_t bits)
{
    guest_write(d->g, d->common + VIRTIO_PCI_COMMON_STATUS, 1, driver_status(d) | bits);
}

void driver_reset(struct driver *d)
{
    guest_write(d->g, d->common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    guest_wait(d->g, driver_status(d) == 0);
}

bool driver_negotiate(struct driver *d, uint64_t features)
{
    d->features = features | VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
    driver_reset(d);
    add_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    add_status(d, VIRTIO_CONFIG_S_DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        guest_write(d->g, d->common + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        guest_write(d->g, d->common + VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(d->features >> 32 * i));
    }
    add_status(d, VIRTIO_CONFIG_S_FEATURES_OK);
    return driver_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static void write_address(struct driver *d, unsigned at, gpa_t gpa)
{
    guest_write(d->g, d->common + at, 4, (uint32_t)gpa);
    guest_write(d->g, d->common + at + 4, 4, gpa >> 32);
}

void driver_queue(struct driver *d, unsigned index, uint16_t size)
{
    struct guest_queue *q = &d->queues[index];

    q->size = size;
    q->desc = guest_alloc(d->g, 16u * size, false);
    q->avail = guest_alloc(d->g, 6 + 2u * size, false);
    q->used = guest_alloc(d->g, 6 + 8u * size, false);
    q->next_desc = q->last_used = 0;
    guest_write(d->g, d->common + VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
    guest_write(d->g, d->common + VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
    guest_write(d->g, d->common + VIRTIO_PCI_COMMON_Q_MSIX, 2, index + 1);
    write_address(d, VIRTIO_PCI_COMMON_Q_DESCLO, q->desc);
    write_address(d, VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail);
    write_address(d, VIRTIO_PCI_COMMON_Q_USEDLO, q->used);
    q->bell =
        d->notify + d->notify_step * guest_read(d->g, d->common + VIRTIO_PCI_COMMON_Q_NOFF, 2);
    guest_write(d->g, d->common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void driver_ok(struct driver *d)
{
    add_status(d, VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_start(struct driver *d, uint64_t features, unsigned n)
{
    ck_assert(driver_negotiate(d, features));
    for (unsigned i = 0; i < n; i++)
        driver_queue(d, i, 64);
    driver_ok(d);
}

/* --- buffers ---------------------------------------------------------------------------------- */

uint16_t driver_add(struct driver *d, unsigned queue, const struct piece *pieces, unsigned n)
{
    struct guest_queue *q = &d->queues[queue];
    struct vring_desc *table = guest_ptr(d->g, q->desc);
    struct vring_avail *avail = guest_ptr(d->g, q->avail);
    uint16_t head = q->next_desc % q->size;

    for (unsigned i = 0; i < n; i++) {
        uint16_t at = q->next_desc++ % q->size;
        table[at] = (struct vring_desc){
            .addr = pieces[i].gpa,
            .len = pieces[i].length,
            .flags = (uint16_t)((pieces[i].write ? VRING_DESC_F_WRITE : 0) |
                                (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
            .next = (uint16_t)(q->next_desc % q->size),
        };
    }
    avail->ring[avail->idx % q->size] = head;
    __atomic_store_n(&avail->idx, (uint16_t)(avail->idx + 1), __ATOMIC_RELEASE);
    return head;
}

void driver_kick(struct driver *d, unsigned queue)
{
    guest_write(d->g, d->queues[queue].bell, 2, queue);
}

bool driver_used(struct driver *d, unsigned queue, uint16_t *head, uint32_t *length)
{
    struct guest_queue *q = &d->queues[queue];
    struct vring_used *used = guest_ptr(d->g, q->used);

    if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == q->last_used)
        return false;
    struct vring_used_elem *e = &used->ring[q->last_used++ % q->size];
    if (head)
        *head = (uint16_t)e->id;
    if (length)
        *length = e->len;
    return true;
}

uint32_t driver_do(struct driver *d, unsigned queue, const struct piece *pieces, unsigned n)
{
    uint16_t head = driver_add(d, queue, pieces, n), got;
    uint32_t length = 0;

    driver_kick(d, queue);
    guest_wait(d->g, driver_used(d, queue, &got, &length));
    ck_assert_uint_eq(got, head);
    return length;
}
