/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages and a bit array of those that wait, in a
 * BAR of their own. Everything is under the function's irq_lock, so that a message and a change
 * of its mask have one order.
 */
#include "machine/bus/pci_priv.h"

#define VECTOR_BYTES 16
#define VECTORS_MAX  2048

static const struct state_field vector_fields[] = {
    STATE_FIELD_U32(struct msix_vector, address_low, 1),
    STATE_FIELD_U32(struct msix_vector, address_high, 1),
    STATE_FIELD_U32(struct msix_vector, data, 1),
    STATE_FIELD_U32(struct msix_vector, control, 1),
    STATE_FIELD_U8(struct msix_vector, pending, 1),
};
const struct state_desc pci__msix_vector_state = {"msix-vector", 1, sizeof(struct msix_vector),
                                                  G_N_ELEMENTS(vector_fields), vector_fields};

static unsigned pba_bytes(const struct pci_function *fn)
{
    return ALIGN_UP(fn->n_vectors, 64u) / 8;
}

void pci_function_add_msix(struct pci_function *fn, unsigned bar, unsigned vectors)
{
    g_assert(vectors >= 1 && vectors <= VECTORS_MAX && !fn->msix_wanted);
    fn->msix_wanted = vectors;
    fn->table_bar = fn->pba_bar = bar;
    /* The pending bits come after the table, on a line of their own. */
    fn->pba_at = ALIGN_UP(vectors * VECTOR_BYTES, 2048u);
}

void pci_function_place_msix(struct pci_function *fn, unsigned vectors, uint32_t table,
                             uint32_t pba)
{
    g_assert(vectors >= 1 && vectors <= VECTORS_MAX && !fn->msix_wanted);
    fn->msix_wanted = vectors;
    fn->msix_placed = true;
    fn->table_bar = table & PCI_MSIX_TABLE_BIR;
    fn->table_at = table & PCI_MSIX_TABLE_OFFSET;
    fn->pba_bar = pba & PCI_MSIX_PBA_BIR;
    fn->pba_at = pba & PCI_MSIX_PBA_OFFSET;
}

/* --- the BAR ---------------------------------------------------------------------------------- */

static uint32_t table_read(const struct msix_vector *v, unsigned field)
{
    const uint32_t words[] = {v->address_low, v->address_high, v->data, v->control};

    return words[field];
}

static uint32_t pba_read(const struct pci_function *fn, unsigned word)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < 32 && word * 32 + i < fn->n_vectors; i++)
        bits |= (uint32_t)fn->vectors[word * 32 + i].pending << i;
    return bits;
}

/* Whether OFFSET of BAR is in the table, or in the pending bits. */
static bool in_table(const struct pci_function *fn, unsigned bar, uint64_t offset)
{
    return bar == fn->table_bar && offset - fn->table_at < (uint64_t)fn->n_vectors * VECTOR_BYTES;
}

static bool in_pba(const struct pci_function *fn, unsigned bar, uint64_t offset)
{
    return bar == fn->pba_bar && offset - fn->pba_at < pba_bytes(fn);
}

/* The 32-bit word at OFFSET of BAR, a multiple of 4; holes read as zero. */
static uint32_t word_read(const struct pci_function *fn, unsigned bar, uint64_t offset)
{
    if (in_table(fn, bar, offset)) {
        uint64_t at = offset - fn->table_at;
        return table_read(&fn->vectors[at / VECTOR_BYTES], at % VECTOR_BYTES / 4);
    }
    if (in_pba(fn, bar, offset))
        return pba_read(fn, (unsigned)(offset - fn->pba_at) / 4);
    return 0;
}

static void word_write(struct pci_function *fn, unsigned bar, uint64_t offset, uint32_t value)
{
    if (!in_table(fn, bar, offset))
        return;
    uint64_t at = offset - fn->table_at;
    struct msix_vector *v = &fn->vectors[at / VECTOR_BYTES];
    switch (at % VECTOR_BYTES / 4) {
    case 0:
        v->address_low = value & ~3u;
        break;
    case 1:
        v->address_high = value;
        break;
    case 2:
        v->data = value;
        break;
    default:
        v->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
        break;
    }
}

bool pci_function_msix_at(const struct pci_function *fn, unsigned bar, uint64_t offset,
                          unsigned size)
{
    uint64_t last = offset + size - 1;

    return in_table(fn, bar, offset) || in_table(fn, bar, last) || in_pba(fn, bar, offset) ||
           in_pba(fn, bar, last);
}

void pci_function_msix_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned size,
                            uint64_t *value)
{
    uint64_t aligned = offset & ~UINT64_C(7), v;

    pthread_mutex_lock(&fn->irq_lock);
    v = word_read(fn, bar, aligned) | (uint64_t)word_read(fn, bar, aligned + 4) << 32;
    pthread_mutex_unlock(&fn->irq_lock);
    v >>= 8 * (offset & 7);
    *value = size == 8 ? v : v & ((UINT64_C(1) << 8 * size) - 1);
}

/* Writes narrower than a word are undefined by the specification and ignored. */
void pci_function_msix_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned size,
                             uint64_t value)
{
    if (size < 4)
        return;
    pthread_mutex_lock(&fn->irq_lock);
    word_write(fn, bar, offset, (uint32_t)value);
    if (size == 8)
        word_write(fn, bar, offset + 4, (uint32_t)(value >> 32));
    pci__msix_flush(fn);
    pthread_mutex_unlock(&fn->irq_lock);
}

bool pci_function_msix_unmasked(struct pci_function *fn, unsigned vector)
{
    pthread_mutex_lock(&fn->irq_lock);
    bool open =
        vector < fn->n_vectors && !(fn->vectors[vector].control & PCI_MSIX_ENTRY_CTRL_MASKBIT);
    pthread_mutex_unlock(&fn->irq_lock);
    return open;
}

static int msix_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pci_function *fn = opaque;

    pci_function_msix_read(fn, fn->table_bar, offset, size, value);
    return 0;
}

static int msix_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_function *fn = opaque;

    pci_function_msix_write(fn, fn->table_bar, offset, size, value);
    return 0;
}

static const struct mem_device_ops msix_ops = {
    .read = msix_read, .write = msix_write, .sizes = 1 | 2 | 4 | 8};

/* --- the function's side ---------------------------------------------------------------------- */

void pci__msix_realize(struct pci_function *fn)
{
    static const uint8_t writable[10] = {0, (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8};
    g_autofree char *name = NULL;
    uint8_t body[10];
    uint64_t size;

    if (!fn->msix_wanted || fn->msix_cap)
        return;
    fn->n_vectors = fn->msix_wanted;
    fn->vectors = g_new0(struct msix_vector, fn->n_vectors);
    pci__set16(body, (uint16_t)(fn->n_vectors - 1));
    pci__set32(body + 2, fn->table_at | fn->table_bar);
    pci__set32(body + 6, fn->pba_at | fn->pba_bar);
    fn->msix_cap = pci_function_add_capability(fn, PCI_CAP_ID_MSIX, body, writable, sizeof(body));
    pci__msix_reset(fn);
    if (fn->msix_placed)
        return;
    for (size = 4096; size < fn->pba_at + pba_bytes(fn); size *= 2)
        ;
    name = g_strdup_printf("%s-msix", fn->name);
    pci_function_add_bar(fn, fn->table_bar, size, 0, name, &msix_ops, fn);
}

void pci__msix_reset(struct pci_function *fn)
{
    pthread_mutex_lock(&fn->irq_lock);
    for (unsigned i = 0; i < fn->n_vectors; i++)
        fn->vectors[i] = (struct msix_vector){.control = PCI_MSIX_ENTRY_CTRL_MASKBIT};
    pthread_mutex_unlock(&fn->irq_lock);
}

void pci__msix_flush(struct pci_function *fn)
{
    if (!fn->msix_enabled || fn->msix_masked || !fn->host || !pci_function_master(fn))
        return;
    for (unsigned i = 0; i < fn->n_vectors; i++) {
        struct msix_vector *v = &fn->vectors[i];
        if (!v->pending || v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT)
            continue;
        v->pending = 0;
        fn->host->config.msi(fn->host->config.msi_opaque,
                             __atomic_load_n(&fn->requester, __ATOMIC_RELAXED),
                             v->address_low | (uint64_t)v->address_high << 32, v->data);
    }
}

void pci__msix_config_changed(struct pci_function *fn)
{
    if (!fn->msix_cap)
        return;
    uint16_t flags = pci__get16(fn->config + fn->msix_cap + PCI_MSIX_FLAGS);
    pthread_mutex_lock(&fn->irq_lock);
    __atomic_store_n(&fn->msix_enabled, flags & PCI_MSIX_FLAGS_ENABLE ? true : false,
                     __ATOMIC_RELEASE);
    fn->msix_masked = flags & PCI_MSIX_FLAGS_MASKALL;
    pci__msix_flush(fn);
    pthread_mutex_unlock(&fn->irq_lock);
}

void pci_function_send_msi(struct pci_function *fn, uint64_t address, uint32_t data)
{
    pthread_mutex_lock(&fn->irq_lock);
    if (fn->host && fn->host->config.msi && pci_function_master(fn))
        fn->host->config.msi(fn->host->config.msi_opaque,
                             __atomic_load_n(&fn->requester, __ATOMIC_RELAXED), address, data);
    pthread_mutex_unlock(&fn->irq_lock);
}

bool pci_function_msix_enabled(const struct pci_function *fn)
{
    return __atomic_load_n(&fn->msix_enabled, __ATOMIC_ACQUIRE);
}

unsigned pci_function_msix_vectors(const struct pci_function *fn)
{
    return fn->n_vectors;
}

void pci_function_msix_notify(struct pci_function *fn, unsigned vector)
{
    pthread_mutex_lock(&fn->irq_lock);
    if (fn->msix_enabled && vector < fn->n_vectors) {
        fn->vectors[vector].pending = 1;
        pci__msix_flush(fn);
    }
    pthread_mutex_unlock(&fn->irq_lock);
}
