/*
 * The host bridge: ECAM, the root bus and its slots, quiet, reset and saved state of all
 * functions. The bus lock covers configuration space, who is on the bus, and BAR mappings.
 */
#include "machine/bus/pci_priv.h"

#include <errno.h>

/* The generic PCIe host bridge that guests of the virt boards expect to see. */
static const struct pci_id bridge_id = {
    .vendor = 0x1b36,
    .device = 0x0008,
    .subsystem_vendor = 0x1af4,
    .subsystem = 0x1100,
    .class_code = 0x060000,
};

/* --- ECAM ------------------------------------------------------------------------------------- */

/* The function that an ECAM offset addresses, or NULL. Bus lock held. */
static struct pci_function *function_at(struct pci_host *host, uint64_t offset)
{
    unsigned bus = (unsigned)(offset / PCI_ECAM_BUS), devfn = offset % PCI_ECAM_BUS >> 12;

    if (!bus)
        return host->functions[devfn];
    return devfn ? NULL : pci__port_route(host, bus); /* a link has one device at its end */
}

/* All ones where there is no function; 64-bit accesses are two of 32 bits. */
static int ecam_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pci_host *host = opaque;
    unsigned at = offset & (PCI_CONFIG_SIZE - 1);

    pthread_mutex_lock(&host->lock);
    struct pci_function *fn = function_at(host, offset);
    if (!fn)
        *value = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
    else if (size == 8)
        *value = pci__config_read(fn, at, 4) | (uint64_t)pci__config_read(fn, at + 4, 4) << 32;
    else
        *value = pci__config_read(fn, at, size);
    pthread_mutex_unlock(&host->lock);
    return 0;
}

static int ecam_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_host *host = opaque;
    unsigned at = offset & (PCI_CONFIG_SIZE - 1);

    pthread_mutex_lock(&host->lock);
    struct pci_function *fn = function_at(host, offset);
    if (fn) {
        pci__config_write(fn, at, MIN(size, 4), (uint32_t)value);
        if (size == 8)
            pci__config_write(fn, at + 4, 4, (uint32_t)(value >> 32));
    }
    pthread_mutex_unlock(&host->lock);
    return 0;
}

static const struct mem_device_ops ecam_ops = {
    .read = ecam_read, .write = ecam_write, .sizes = 1 | 2 | 4 | 8};

/* Ports that nobody answers: an aborted read gives ones. */
static int io_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = UINT64_MAX >> (64 - 8 * size);
    return 0;
}

static int io_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    return 0;
}

static const struct mem_device_ops io_ops = {
    .read = io_read, .write = io_write, .sizes = 1 | 2 | 4 | 8};

struct pci_host *pci_host_new(const struct pci_host_config *config, GError **err)
{
    struct pci_host *host;

    g_assert(config->buses >= 1 && config->buses <= 256);
    host = g_new0(struct pci_host, 1);
    host->config = *config;
    pthread_mutex_init(&host->lock, NULL);
    pthread_mutex_init(&host->intx_lock, NULL);
    host->bridge = pci_function_new("pci-host", &bridge_id, NULL, NULL);
    pci_host_add(host, host->bridge, 0, 0, NULL);
    if (mem_map_add_device(config->mem, config->ecam, config->buses * PCI_ECAM_BUS, "pci-ecam",
                           &ecam_ops, host) < 0) {
        host->config.buses = 0;
        pci_host_free(host);
        vmd_fail(err, VMD_ERROR_EXISTS, "the PCI configuration space overlaps another range");
        return NULL;
    }
    if (config->io.size && mem_map_add_device(config->mem, config->io.base, config->io.size,
                                              "pci-io", &io_ops, host) < 0) {
        host->config.io.size = 0;
        pci_host_free(host);
        vmd_fail(err, VMD_ERROR_EXISTS, "the PCI I/O space overlaps another range");
        return NULL;
    }
    /*
     * A driver whose card was pulled out touches its BARs once more. It reads zeros, though many
     * real bridges give ones: Linux's virtio driver resets the device then, and waits without an
     * end for its status to read zero.
     */
    if (config->mem32.size)
        mem_map_add_window(config->mem, config->mem32.base, config->mem32.size);
    if (config->mem64.size)
        mem_map_add_window(config->mem, config->mem64.base, config->mem64.size);
    return host;
}

bool pci_host_has_msi(const struct pci_host *host)
{
    return host->config.msi != NULL;
}

void pci_host_free(struct pci_host *host)
{
    if (!host)
        return;
    if (host->config.buses) {
        mem_map_remove_window(host->config.mem, host->config.mem32.base);
        mem_map_remove_window(host->config.mem, host->config.mem64.base);
        mem_map_remove_device(host->config.mem, host->config.ecam);
        if (host->config.io.size)
            mem_map_remove_device(host->config.mem, host->config.io.base);
    }
    pci_host_remove(host->bridge);
    pci_function_free(host->bridge);
    for (unsigned i = 0; i < PCI_PLACES; i++)
        g_assert(!host->functions[i]);
    pthread_mutex_destroy(&host->intx_lock);
    pthread_mutex_destroy(&host->lock);
    g_free(host);
}

/* --- who is on the bus ------------------------------------------------------------------------ */

/* The header of each function of SLOT tells whether there are several. Bus lock held. */
static void mark_multifunction(struct pci_host *host, unsigned slot)
{
    struct pci_function **fns = &host->functions[slot * PCI_FUNCTIONS];
    bool several = false;

    for (unsigned i = 1; i < PCI_FUNCTIONS; i++)
        several |= fns[i] != NULL;
    for (unsigned i = 0; i < PCI_FUNCTIONS; i++) {
        if (fns[i])
            fns[i]->config[PCI_HEADER_TYPE] =
                (uint8_t)((fns[i]->initial[PCI_HEADER_TYPE] & 0x7f) | (several ? 0x80 : 0));
    }
}

void pci__attach(struct pci_host *host, struct pci_function *fn, unsigned place)
{
    g_assert(!fn->host && !host->functions[place]);
    if (host->config.msi)
        pci__msix_realize(fn);
    fn->config[PCI_INTERRUPT_PIN] = fn->has_intx ? (uint8_t)(place % 4 + 1) : 0;
    memcpy(fn->initial, fn->config, sizeof(fn->config));
    fn->place = place;
    fn->requester = (uint16_t)(place % PCI_DEVFNS);
    pthread_mutex_lock(&host->lock);
    pthread_mutex_lock(&fn->irq_lock);
    fn->host = host;
    pci__intx_update(fn);
    pthread_mutex_unlock(&fn->irq_lock);
    host->functions[place] = fn;
    mark_multifunction(host, place / PCI_FUNCTIONS);
    pthread_mutex_unlock(&host->lock);
}

bool pci_host_add(struct pci_host *host, struct pci_function *fn, unsigned slot, unsigned function,
                  GError **err)
{
    unsigned devfn = slot * PCI_FUNCTIONS + function;

    if (slot >= PCI_SLOTS || function >= PCI_FUNCTIONS)
        return vmd_fail(err, VMD_ERROR_INVALID, "there is no PCI slot %02x.%x", slot, function);
    if (host->functions[devfn])
        return vmd_fail(err, VMD_ERROR_EXISTS, "PCI slot %02x.%x is taken by '%s'", slot, function,
                        host->functions[devfn]->name);
    pci__attach(host, fn, devfn);
    return true;
}

void pci__reset_config(struct pci_host *host, struct pci_function *fn)
{
    memcpy(fn->config, fn->initial, sizeof(fn->config));
    pci__config_apply(fn);
    pci__msix_reset(fn);
    mark_multifunction(host, fn->place / PCI_FUNCTIONS);
}

void pci_host_remove(struct pci_function *fn)
{
    struct pci_host *host = fn->host;

    pthread_mutex_lock(&host->lock);
    host->functions[fn->place] = NULL;
    pci__unmap(host, fn);
    pthread_mutex_lock(&fn->irq_lock);
    fn->intx_level = 0;
    pci__intx_update(fn);
    fn->host = NULL;
    pthread_mutex_unlock(&fn->irq_lock);
    pci__reset_config(host, fn);
    pci__remap(host); /* what it overlapped may appear now */
    pthread_mutex_unlock(&host->lock);
}

int pci_host_free_slot(struct pci_host *host)
{
    for (int slot = 1; slot < PCI_SLOTS; slot++) {
        if (!host->functions[slot * PCI_FUNCTIONS])
            return slot;
    }
    return -ENOSPC;
}

void pci_host_each(struct pci_host *host,
                   void (*each)(void *opaque, struct pci_function *fn, unsigned slot,
                                unsigned function),
                   void *opaque)
{
    for (unsigned i = 0; i < PCI_PLACES; i++) {
        struct pci_function *fn = host->functions[i];
        if (fn && fn != host->bridge)
            each(opaque, fn, i / PCI_FUNCTIONS % PCI_SLOTS, i % PCI_FUNCTIONS);
    }
}

/* --- quiet and reset -------------------------------------------------------------------------- */

void pci_function_quiesce(struct pci_function *fn, void (*done)(void *opaque), void *opaque)
{
    g_assert(!fn->quiet_done);
    fn->quiet_done = done;
    fn->quiet_opaque = opaque;
    if (fn->ops && fn->ops->quiesce)
        fn->ops->quiesce(fn->opaque);
    else
        pci_function_quiet(fn);
}

void pci_function_quiet(struct pci_function *fn)
{
    void (*done)(void *opaque) = fn->quiet_done;

    fn->quiet_done = NULL;
    if (done)
        done(fn->quiet_opaque);
}

void pci_function_resume(struct pci_function *fn)
{
    if (fn->ops && fn->ops->resume)
        fn->ops->resume(fn->opaque);
}

static void one_quiet(void *opaque)
{
    struct pci_host *host = opaque;

    if (--host->quiet_missing)
        return;
    void (*done)(void *opaque) = host->quiet_done;
    host->quiet_done = NULL;
    done(host->quiet_opaque);
}

void pci_host_quiesce(struct pci_host *host, void (*done)(void *opaque), void *opaque)
{
    g_assert(!host->quiet_done);
    host->quiet_done = done;
    host->quiet_opaque = opaque;
    host->quiet_missing = 1;
    for (unsigned i = 0; i < PCI_PLACES; i++) {
        if (!host->functions[i])
            continue;
        host->quiet_missing++;
        pci_function_quiesce(host->functions[i], one_quiet, host);
    }
    one_quiet(host);
}

void pci_host_resume(struct pci_host *host)
{
    for (unsigned i = 0; i < PCI_PLACES; i++) {
        if (host->functions[i])
            pci_function_resume(host->functions[i]);
    }
}

void pci_host_reset(struct pci_host *host)
{
    for (unsigned i = 0; i < PCI_PLACES; i++) {
        struct pci_function *fn = host->functions[i];
        if (!fn)
            continue;
        pthread_mutex_lock(&host->lock);
        pci__reset_config(host, fn);
        pthread_mutex_unlock(&host->lock);
        pci_function_set_intx(fn, false);
        if (fn->ops && fn->ops->reset)
            fn->ops->reset(fn->opaque);
    }
    pthread_mutex_lock(&host->lock);
    pci__remap(host);
    pthread_mutex_unlock(&host->lock);
}

/* --- saved state ------------------------------------------------------------------------------ */

/* Opens each function's state: where it is, so that a stream for other hardware is refused. */
struct place {
    uint32_t devfn; /* struct pci_function's place */
    uint32_t vectors;
};
static const struct state_field place_fields[] = {
    STATE_FIELD_U32(struct place, devfn, 1),
    STATE_FIELD_U32(struct place, vectors, 1),
};
static const struct state_desc place_state = {"pci-place", 1, sizeof(struct place),
                                              G_N_ELEMENTS(place_fields), place_fields};
#define PLACE_END UINT32_MAX

static const struct state_field function_fields[] = {
    STATE_FIELD_U8(struct pci_function, config, 1),
    STATE_FIELD_U8(struct pci_function, intx_level, 1),
};
static const struct state_desc function_state = {"pci-function", 1, sizeof(struct pci_function),
                                                 G_N_ELEMENTS(function_fields), function_fields};

void pci_host_save(struct pci_host *host, GByteArray *out)
{
    struct place place;

    for (unsigned i = 0; i < PCI_PLACES; i++) {
        struct pci_function *fn = host->functions[i];
        if (!fn)
            continue;
        place = (struct place){i, fn->n_vectors};
        state_save(&place_state, &place, out);
        state_save(&function_state, fn, out);
        for (unsigned v = 0; v < fn->n_vectors; v++)
            state_save(&pci__msix_vector_state, &fn->vectors[v], out);
        if (fn->ops && fn->ops->save)
            fn->ops->save(fn->opaque, out);
    }
    place = (struct place){PLACE_END, 0};
    state_save(&place_state, &place, out);
}

struct stream {
    const uint8_t *data;
    size_t length, used;
};

static bool take(struct stream *s, const struct state_desc *desc, void *object, GError **err)
{
    size_t used;

    if (!state_load(desc, object, s->data + s->used, s->length - s->used, &used, err))
        return false;
    s->used += used;
    return true;
}

/* Takes over the guest's bits of a loaded configuration space; all others must be the same. */
static bool merge_config(struct pci_function *fn, const uint8_t *loaded, GError **err)
{
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
        uint8_t free_bits = fn->writable[i] | fn->clears[i];
        uint8_t differs = (uint8_t)((fn->config[i] ^ loaded[i]) & ~free_bits);
        if (i == PCI_STATUS)
            differs &= (uint8_t)~PCI_STATUS_INTERRUPT;
        if (differs)
            return vmd_fail(err, VMD_ERROR_INVALID,
                            "saved PCI function '%s' is another device (byte %u)", fn->name, i);
    }
    memcpy(fn->config, loaded, PCI_CONFIG_SIZE);
    return true;
}

static bool load_function(struct pci_function *fn, struct stream *s, GError **err)
{
    g_autofree struct pci_function *loaded = g_new0(struct pci_function, 1);
    bool ok = true;

    if (!take(s, &function_state, loaded, err) || !merge_config(fn, loaded->config, err))
        return false;
    pthread_mutex_lock(&fn->irq_lock);
    for (unsigned v = 0; ok && v < fn->n_vectors; v++) {
        ok = take(s, &pci__msix_vector_state, &fn->vectors[v], err);
        fn->vectors[v].control &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
        fn->vectors[v].pending = fn->vectors[v].pending != 0;
    }
    fn->intx_level = loaded->intx_level != 0;
    pthread_mutex_unlock(&fn->irq_lock);
    if (!ok)
        return false;
    pci__config_apply(fn);
    return true;
}

bool pci_host_load(struct pci_host *host, const uint8_t *data, size_t length, size_t *used,
                   GError **err)
{
    struct stream s = {data, length, 0};
    struct place place;

    for (unsigned i = 0; i < PCI_PLACES; i++) {
        struct pci_function *fn = host->functions[i];
        if (!fn)
            continue;
        if (!take(&s, &place_state, &place, err))
            return false;
        if (place.devfn != i || place.vectors != fn->n_vectors)
            return vmd_fail(err, VMD_ERROR_INVALID, "saved PCI functions differ at %s%02x.%x",
                            i < PCI_DEVFNS ? "" : "the card behind ", i / PCI_FUNCTIONS % PCI_SLOTS,
                            i % PCI_FUNCTIONS);
        pthread_mutex_lock(&host->lock);
        bool ok = load_function(fn, &s, err);
        pthread_mutex_unlock(&host->lock);
        size_t n = 0;
        if (!ok || (fn->ops && fn->ops->load &&
                    !fn->ops->load(fn->opaque, data + s.used, length - s.used, &n, err)))
            return false;
        s.used += n;
    }
    if (!take(&s, &place_state, &place, err))
        return false;
    if (place.devfn != PLACE_END)
        return vmd_fail(err, VMD_ERROR_INVALID, "saved PCI functions are more than there are");
    pthread_mutex_lock(&host->lock);
    pci__remap(host);
    pthread_mutex_unlock(&host->lock);
    *used = s.used;
    return true;
}
