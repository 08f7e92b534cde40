/*
 * A PCI function: its configuration space, its BARs, its INTx pin.
 *
 * Invariants: a bit of configuration space that is not in WRITABLE changes by the device alone;
 * a BAR is in the memory map exactly if it is in `mapped`; INTx is held up exactly if
 * `intx_driven`, and then it is counted in the host's line.
 */
#include "machine/bus/pci_priv.h"

#include <errno.h>

#define COMMAND_WRITABLE                                                                           \
    (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |             \
     PCI_COMMAND_INTX_DISABLE)

struct pci_function *pci_function_new(const char *name, const struct pci_id *id,
                                      const struct pci_function_ops *ops, void *opaque)
{
    struct pci_function *fn = g_new0(struct pci_function, 1);
    uint8_t *c = fn->config;

    fn->name = g_strdup(name);
    fn->ops = ops;
    fn->opaque = opaque;
    fn->has_intx = id->intx;
    fn->cap_end = PCI_STD_HEADER_SIZEOF;
    pthread_mutex_init(&fn->irq_lock, NULL);
    pci__set16(c + PCI_VENDOR_ID, id->vendor);
    pci__set16(c + PCI_DEVICE_ID, id->device);
    pci__set16(c + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
    pci__set16(c + PCI_SUBSYSTEM_ID, id->subsystem);
    pci__set32(c + PCI_CLASS_REVISION, id->class_code << 8 | id->revision);
    pci__set16(fn->writable + PCI_COMMAND, COMMAND_WRITABLE);
    fn->writable[PCI_CACHE_LINE_SIZE] = 0xff;
    fn->writable[PCI_INTERRUPT_LINE] = 0xff;
    return fn;
}

void pci_function_free(struct pci_function *fn)
{
    if (!fn)
        return;
    g_assert(!fn->host);
    for (unsigned i = 0; i < PCI_BARS; i++) {
        g_free(fn->bars[i].name);
        if (fn->bars[i].doorbells)
            g_array_free(fn->bars[i].doorbells, TRUE);
    }
    g_free(fn->vectors);
    pthread_mutex_destroy(&fn->irq_lock);
    g_free(fn->name);
    g_free(fn);
}

const char *pci_function_name(const struct pci_function *fn)
{
    return fn->name;
}

uint8_t *pci_function_config(struct pci_function *fn)
{
    return fn->config;
}

void pci_function_add_bar(struct pci_function *fn, unsigned index, uint64_t size, unsigned flags,
                          const char *name, const struct mem_device_ops *ops, void *opaque)
{
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * index;
    bool wide = flags & PCI_BAR_64;

    g_assert(index + wide < PCI_BARS && !fn->bars[index].size);
    g_assert(size >= 16 && !(size & (size - 1)) && (wide || size <= GIB(2)));
    fn->bars[index] = (struct pci_bar){
        .size = size, .flags = flags, .name = g_strdup(name), .ops = ops, .opaque = opaque};
    pci__set32(fn->config + at, (wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
                                    (flags & PCI_BAR_PREFETCH ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0));
    pci__set32(fn->writable + at, (uint32_t) ~(size - 1));
    if (wide)
        pci__set32(fn->writable + at + 4, (uint32_t)(~(size - 1) >> 32));
}

void pci_function_add_memory_bar(struct pci_function *fn, unsigned index, unsigned flags,
                                 const struct mem_ram *memory)
{
    pci_function_add_bar(fn, index, memory->size, flags, memory->name, NULL, NULL);
    fn->bars[index].memory = memory;
}

void pci_function_add_doorbell(struct pci_function *fn, unsigned index, uint64_t offset, int fd)
{
    const struct pci_doorbell bell = {offset, fd};
    struct pci_bar *bar = &fn->bars[index];

    g_assert(offset < bar->size);
    if (!bar->doorbells)
        bar->doorbells = g_array_new(FALSE, FALSE, sizeof(struct pci_doorbell));
    g_array_append_val(bar->doorbells, bell);
}

unsigned pci_function_add_capability(struct pci_function *fn, uint8_t id, const void *body,
                                     const void *writable, size_t length)
{
    unsigned at = ALIGN_UP(fn->cap_end, 4u);
    unsigned link = fn->cap_last ? fn->cap_last + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST;

    g_assert(at + 2 + length <= 256);
    fn->config[link] = (uint8_t)at;
    fn->config[at + PCI_CAP_LIST_ID] = id;
    memcpy(fn->config + at + PCI_CAP_FLAGS, body, length);
    if (writable)
        memcpy(fn->writable + at + PCI_CAP_FLAGS, writable, length);
    fn->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    fn->cap_last = at;
    fn->cap_end = at + 2 + (unsigned)length;
    return at;
}

/* --- interrupts ------------------------------------------------------------------------------- */

bool pci_function_master(const struct pci_function *fn)
{
    return __atomic_load_n(&fn->master, __ATOMIC_ACQUIRE);
}

void pci__intx_update(struct pci_function *fn)
{
    struct pci_host *host = fn->host;
    bool drive = host && fn->has_intx && fn->intx_level && !fn->intx_disabled;

    if (drive == fn->intx_driven || !host)
        return;
    fn->intx_driven = drive;
    /* A card is device 0 of its bus, so its pin comes out of the port's slot as the same pin. */
    unsigned pin = fn->place % 4 + 1;
    unsigned line = pci_intx_line(fn->place / PCI_FUNCTIONS % PCI_SLOTS, pin);
    pthread_mutex_lock(&host->intx_lock);
    host->intx_users[line] += drive ? 1 : -1u;
    irq_line_set(&host->config.intx[line], host->intx_users[line] > 0);
    pthread_mutex_unlock(&host->intx_lock);
}

void pci_function_set_intx(struct pci_function *fn, bool level)
{
    pthread_mutex_lock(&fn->irq_lock);
    fn->intx_level = level;
    pci__intx_update(fn);
    pthread_mutex_unlock(&fn->irq_lock);
}

/* --- configuration accesses ------------------------------------------------------------------- */

static bool touches(unsigned offset, unsigned size, unsigned at, unsigned length)
{
    return offset < at + length && at < offset + size;
}

uint32_t pci__config_read(struct pci_function *fn, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    if (fn->ops && fn->ops->config_read)
        fn->ops->config_read(fn->opaque, offset, size);
    if (touches(offset, size, PCI_STATUS, 1)) {
        pthread_mutex_lock(&fn->irq_lock);
        fn->config[PCI_STATUS] = (uint8_t)((fn->config[PCI_STATUS] & ~PCI_STATUS_INTERRUPT) |
                                           (fn->intx_level ? PCI_STATUS_INTERRUPT : 0));
        pthread_mutex_unlock(&fn->irq_lock);
    }
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)fn->config[offset + i] << 8 * i;
    return value;
}

void pci__config_apply(struct pci_function *fn)
{
    uint16_t command = pci__get16(fn->config + PCI_COMMAND);
    bool master = command & PCI_COMMAND_MASTER;
    bool changed = master != fn->master;

    __atomic_store_n(&fn->master, master, __ATOMIC_RELEASE);
    pthread_mutex_lock(&fn->irq_lock);
    fn->intx_disabled = command & PCI_COMMAND_INTX_DISABLE;
    pci__intx_update(fn);
    pthread_mutex_unlock(&fn->irq_lock);
    pci__msix_config_changed(fn);
    if (changed && fn->ops && fn->ops->master_changed)
        fn->ops->master_changed(fn->opaque, master);
}

void pci__config_write(struct pci_function *fn, unsigned offset, unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t mask = fn->writable[offset + i], byte = (uint8_t)(value >> 8 * i);
        uint8_t *at = &fn->config[offset + i];
        *at = (uint8_t)((*at & ~mask) | (byte & mask));
        *at &= (uint8_t) ~(byte & fn->clears[offset + i]);
    }
    if (touches(offset, size, PCI_COMMAND, 2) ||
        (fn->msix_cap && touches(offset, size, fn->msix_cap + PCI_MSIX_FLAGS, 2)))
        pci__config_apply(fn);
    if (touches(offset, size, PCI_COMMAND, 2) ||
        touches(offset, size, PCI_BASE_ADDRESS_0, 4 * PCI_BARS))
        pci__remap(fn->host);
    if (fn->place >= PCI_DEVFNS && touches(offset, size, PCI_COMMAND, 2))
        pci__port_card_command(fn);
    if (fn->ops && fn->ops->config_written)
        fn->ops->config_written(fn->opaque, offset, size);
}

/* --- BARs ------------------------------------------------------------------------------------- */

static bool in_window(const struct pci_window *w, gpa_t gpa, uint64_t size)
{
    return size <= w->size && gpa >= w->base && gpa - w->base <= w->size - size;
}

/* Where BAR INDEX should be in the memory map; false: nowhere. */
static bool bar_wanted(struct pci_host *host, struct pci_function *fn, unsigned index, gpa_t *gpa)
{
    const struct pci_bar *bar = &fn->bars[index];
    const uint8_t *at = fn->config + PCI_BASE_ADDRESS_0 + 4 * index;
    bool wide = bar->flags & PCI_BAR_64;

    if (!bar->size || !(fn->config[PCI_COMMAND] & PCI_COMMAND_MEMORY))
        return false;
    *gpa = pci__get32(at) & PCI_BASE_ADDRESS_MEM_MASK & UINT32_MAX;
    if (wide)
        *gpa |= (uint64_t)pci__get32(at + 4) << 32;
    if (!in_window(&host->config.mem32, *gpa, bar->size) &&
        !(wide && in_window(&host->config.mem64, *gpa, bar->size)))
        return false;
    return pci__port_forwards(host, fn, *gpa, bar->size);
}

bool pci_function_placed(const struct pci_function *fn)
{
    bool placed = true;

    pthread_mutex_lock(&fn->host->lock);
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const uint8_t *at = fn->config + PCI_BASE_ADDRESS_0 + 4 * i;
        uint32_t low = pci__get32(at) & PCI_BASE_ADDRESS_MEM_MASK & UINT32_MAX;
        placed &=
            !fn->bars[i].size || low || (fn->bars[i].flags & PCI_BAR_64 && pci__get32(at + 4));
    }
    pthread_mutex_unlock(&fn->host->lock);
    return placed;
}

static void map_doorbells(struct pci_host *host, const struct pci_bar *bar, bool on)
{
    for (guint i = 0; bar->doorbells && i < bar->doorbells->len; i++) {
        const struct pci_doorbell *bell = &g_array_index(bar->doorbells, struct pci_doorbell, i);
        if (on)
            mem_map_add_doorbell(host->config.mem, bar->gpa + bell->offset, bell->fd);
        else
            mem_map_remove_doorbell(host->config.mem, bar->gpa + bell->offset, bell->fd);
    }
}

static void unmap_bar(struct pci_host *host, struct pci_bar *bar)
{
    map_doorbells(host, bar, false);
    int rc = bar->memory ? mem_map_hide_ram(host->config.mem, bar->gpa)
                         : mem_map_remove_device(host->config.mem, bar->gpa);

    g_assert(rc == 0);
    bar->mapped = false;
}

static bool map_bar(struct pci_host *host, const struct pci_bar *bar)
{
    if (bar->memory)
        return mem_map_show_ram(host->config.mem, bar->gpa, bar->memory) == 0;
    return mem_map_add_device(host->config.mem, bar->gpa, bar->size, bar->name, bar->ops,
                              bar->opaque) == 0;
}

void pci__unmap(struct pci_host *host, struct pci_function *fn)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (fn->bars[i].mapped)
            unmap_bar(host, &fn->bars[i]);
    }
}

/* Takes away each BAR that is not where it should be, then maps each that can be. */
void pci__remap(struct pci_host *host)
{
    gpa_t gpa;

    for (unsigned i = 0; i < PCI_PLACES * PCI_BARS; i++) {
        struct pci_function *fn = host->functions[i / PCI_BARS];
        struct pci_bar *bar = fn ? &fn->bars[i % PCI_BARS] : NULL;
        if (bar && bar->mapped && !(bar_wanted(host, fn, i % PCI_BARS, &gpa) && gpa == bar->gpa))
            unmap_bar(host, bar);
    }
    for (unsigned i = 0; i < PCI_PLACES * PCI_BARS; i++) {
        struct pci_function *fn = host->functions[i / PCI_BARS];
        struct pci_bar *bar = fn ? &fn->bars[i % PCI_BARS] : NULL;
        if (!bar || bar->mapped || !bar_wanted(host, fn, i % PCI_BARS, &gpa))
            continue;
        bar->gpa = gpa;
        bar->mapped = map_bar(host, bar);
        if (bar->mapped)
            map_doorbells(host, bar, true);
    }
}
