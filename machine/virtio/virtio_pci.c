/*
 * virtio over PCI (virtio 1.2, 4.1), modern devices only.
 *
 * BAR 0 holds four pages: common configuration, interrupt status, device configuration,
 * doorbells. BAR 2 is MSI-X, where the host delivers messages. vCPU threads come in here; what
 * they write to registers goes to virtio.c under dev->lock, doorbells go straight to the loop.
 */
#include "machine/virtio/virtio_priv.h"

#include <linux/pci_regs.h>

#define BAR_REGISTERS 0
#define BAR_MSIX      2

#define PAGE        0x1000u
#define COMMON_AT   0x0000u
#define ISR_AT      0x1000u
#define CONFIG_AT   0x2000u
#define NOTIFY_AT   0x3000u
#define BAR_SIZE    0x4000u
#define NOTIFY_STEP 4u

#define COMMON_SIZE 64u
#define QUEUE_RESET 58u /* queue_reset of 1.2, which older headers lack */

#define ISR_QUEUE  1
#define ISR_CONFIG 2

struct virtio_pci {
    struct virtio_device *dev;
    struct pci_function *fn;
    unsigned window_cap;      /* offset of the capability that reaches BARs through config space */
    pthread_mutex_t isr_lock; /* ISR and the INTx line change together */
    uint8_t isr;
};

static const struct state_field pci_fields[] = {
    STATE_FIELD_U8(struct virtio_pci, isr, 1),
};
static const struct state_desc pci_state = {"virtio-pci", 1, sizeof(struct virtio_pci),
                                            G_N_ELEMENTS(pci_fields), pci_fields};

/* --- interrupts: the core's way to the guest -------------------------------------------------- */

static void isr_set(struct virtio_pci *vp, uint8_t bits)
{
    pthread_mutex_lock(&vp->isr_lock);
    vp->isr |= bits;
    pci_function_set_intx(vp->fn, true);
    pthread_mutex_unlock(&vp->isr_lock);
}

/* Reads and clears, and lowers the line (4.1.4.5). */
static uint8_t isr_take(struct virtio_pci *vp)
{
    pthread_mutex_lock(&vp->isr_lock);
    uint8_t isr = vp->isr;
    vp->isr = 0;
    pci_function_set_intx(vp->fn, false);
    pthread_mutex_unlock(&vp->isr_lock);
    return isr;
}

static void interrupt(void *opaque, const struct virtqueue *vq)
{
    struct virtio_pci *vp = opaque;

    if (!pci_function_msix_enabled(vp->fn)) {
        isr_set(vp, vq ? ISR_QUEUE : ISR_CONFIG);
        return;
    }
    uint16_t vector = __atomic_load_n(vq ? &vq->vector : &vp->dev->config_vector, __ATOMIC_RELAXED);
    if (vector != VIRTIO_MSI_NO_VECTOR)
        pci_function_msix_notify(vp->fn, vector);
}

static bool may_dma(void *opaque)
{
    struct virtio_pci *vp = opaque;

    return pci_function_master(vp->fn);
}

static void quiet(void *opaque)
{
    struct virtio_pci *vp = opaque;

    pci_function_quiet(vp->fn);
}

static void forget_interrupts(void *opaque)
{
    isr_take(opaque);
}

static const struct virtio_transport_ops transport_ops = {
    .interrupt = interrupt, .may_dma = may_dma, .quiet = quiet, .reset = forget_interrupts};

/* --- common configuration --------------------------------------------------------------------- */

static void put(uint8_t *image, unsigned at, unsigned size, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    memcpy(image + at, &value, size);
}

/* The registers of the selected queue, or zeros where there is none. dev->lock held. */
static void queue_image(const struct virtio_device *dev, uint8_t *image)
{
    if (dev->queue_select >= dev->n_queues)
        return;
    const struct virtqueue *vq = &dev->queues[dev->queue_select];
    put(image, VIRTIO_PCI_COMMON_Q_SIZE, 2, vq->size);
    put(image, VIRTIO_PCI_COMMON_Q_MSIX, 2, vq->vector);
    put(image, VIRTIO_PCI_COMMON_Q_ENABLE, 2, vq->enabled && !vq->resetting);
    put(image, VIRTIO_PCI_COMMON_Q_NOFF, 2, vq->index);
    put(image, VIRTIO_PCI_COMMON_Q_DESCLO, 8, vq->desc);
    put(image, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, vq->avail);
    put(image, VIRTIO_PCI_COMMON_Q_USEDLO, 8, vq->used);
    put(image, QUEUE_RESET, 2, vq->resetting);
}

/* The whole of struct virtio_pci_common_cfg as a driver reads it. dev->lock held. */
static void common_image(const struct virtio_device *dev, uint8_t *image)
{
    uint64_t offered =
        dev->device_feature_select < 2 ? dev->offered >> 32 * dev->device_feature_select : 0;
    uint64_t driver =
        dev->driver_feature_select < 2 ? dev->features >> 32 * dev->driver_feature_select : 0;

    memset(image, 0, COMMON_SIZE);
    put(image, VIRTIO_PCI_COMMON_DFSELECT, 4, dev->device_feature_select);
    put(image, VIRTIO_PCI_COMMON_DF, 4, offered);
    put(image, VIRTIO_PCI_COMMON_GFSELECT, 4, dev->driver_feature_select);
    put(image, VIRTIO_PCI_COMMON_GF, 4, driver);
    put(image, VIRTIO_PCI_COMMON_MSIX, 2, dev->config_vector);
    put(image, VIRTIO_PCI_COMMON_NUMQ, 2, dev->n_queues);
    put(image, VIRTIO_PCI_COMMON_STATUS, 1, dev->status);
    put(image, VIRTIO_PCI_COMMON_CFGGENERATION, 1, dev->generation);
    put(image, VIRTIO_PCI_COMMON_Q_SELECT, 2, dev->queue_select);
    queue_image(dev, image);
}

/* A vector register takes what there is, and else "none" (4.1.5.1.2). */
static void set_vector(struct virtio_pci *vp, uint16_t *vector, uint64_t value)
{
    if (value >= pci_function_msix_vectors(vp->fn))
        value = VIRTIO_MSI_NO_VECTOR;
    __atomic_store_n(vector, (uint16_t)value, __ATOMIC_RELAXED);
}

static void set_half(uint64_t *address, bool high, uint64_t value)
{
    *address = high ? (*address & UINT32_MAX) | value << 32 : (*address >> 32 << 32) | value;
}

/* Registers of the selected queue. Size and addresses hold still once it is enabled. */
static void queue_write(struct virtio_pci *vp, unsigned at, uint64_t value)
{
    struct virtio_device *dev = vp->dev;

    if (dev->queue_select >= dev->n_queues)
        return;
    struct virtqueue *vq = &dev->queues[dev->queue_select];
    if (at == VIRTIO_PCI_COMMON_Q_MSIX)
        set_vector(vp, &vq->vector, value);
    else if (at == QUEUE_RESET && value == 1)
        virtio__reset_queue(dev, vq);
    if (vq->enabled)
        return;
    switch (at) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        if (value && value <= vq->max && !(value & (value - 1)))
            vq->size = (uint16_t)value;
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        if (value == 1)
            virtio__enable_queue(dev, vq);
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        set_half(&vq->desc, at == VIRTIO_PCI_COMMON_Q_DESCHI, value);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        set_half(&vq->avail, at == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        set_half(&vq->used, at == VIRTIO_PCI_COMMON_Q_USEDHI, value);
        break;
    default:
        break;
    }
}

static void register_write(struct virtio_pci *vp, unsigned at, uint64_t value)
{
    struct virtio_device *dev = vp->dev;

    switch (at) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        dev->device_feature_select = (uint32_t)value;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        dev->driver_feature_select = (uint32_t)value;
        break;
    case VIRTIO_PCI_COMMON_GF:
        virtio__write_features(dev, (uint32_t)value);
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        set_vector(vp, &dev->config_vector, value);
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        virtio__write_status(dev, (uint8_t)value);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        dev->queue_select = (uint16_t)value;
        break;
    default:
        queue_write(vp, at, value);
        break;
    }
}

/* The width of the register at each offset that can be written; others are left alone. */
static const uint8_t common_width[COMMON_SIZE] = {
    [VIRTIO_PCI_COMMON_DFSELECT] = 4,  [VIRTIO_PCI_COMMON_GFSELECT] = 4,
    [VIRTIO_PCI_COMMON_GF] = 4,        [VIRTIO_PCI_COMMON_MSIX] = 2,
    [VIRTIO_PCI_COMMON_STATUS] = 1,    [VIRTIO_PCI_COMMON_Q_SELECT] = 2,
    [VIRTIO_PCI_COMMON_Q_SIZE] = 2,    [VIRTIO_PCI_COMMON_Q_MSIX] = 2,
    [VIRTIO_PCI_COMMON_Q_ENABLE] = 2,  [VIRTIO_PCI_COMMON_Q_DESCLO] = 4,
    [VIRTIO_PCI_COMMON_Q_DESCHI] = 4,  [VIRTIO_PCI_COMMON_Q_AVAILLO] = 4,
    [VIRTIO_PCI_COMMON_Q_AVAILHI] = 4, [VIRTIO_PCI_COMMON_Q_USEDLO] = 4,
    [VIRTIO_PCI_COMMON_Q_USEDHI] = 4,  [QUEUE_RESET] = 2,
};

/* --- BAR 0 ------------------------------------------------------------------------------------ */

static uint64_t get(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, size);
    return GUINT64_FROM_LE(value);
}

static int bar_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct virtio_pci *vp = opaque;
    struct virtio_device *dev = vp->dev;
    unsigned at = offset % PAGE;
    uint8_t image[COMMON_SIZE];

    *value = 0;
    switch (offset - at) {
    case COMMON_AT:
        if (at + size > COMMON_SIZE)
            break;
        pthread_mutex_lock(&dev->lock);
        common_image(dev, image);
        pthread_mutex_unlock(&dev->lock);
        *value = get(image + at, size);
        break;
    case ISR_AT:
        if (at == 0)
            *value = isr_take(vp);
        break;
    case CONFIG_AT:
        if (at + size > VIRTIO_CONFIG_MAX)
            break;
        pthread_mutex_lock(&dev->lock);
        *value = get(dev->config + at, size);
        dev->config_seen = true;
        pthread_mutex_unlock(&dev->lock);
        break;
    default:
        break;
    }
    return 0;
}

static void common_write(struct virtio_pci *vp, unsigned at, unsigned size, uint64_t value)
{
    if (size == 8) { /* two address halves at once */
        common_write(vp, at, 4, value & UINT32_MAX);
        common_write(vp, at + 4, 4, value >> 32);
        return;
    }
    if (at >= COMMON_SIZE || common_width[at] != size)
        return;
    pthread_mutex_lock(&vp->dev->lock);
    register_write(vp, at, value);
    pthread_mutex_unlock(&vp->dev->lock);
}

static int bar_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci *vp = opaque;
    unsigned at = offset % PAGE;

    if (likely(offset >= NOTIFY_AT)) {
        unsigned queue = at / NOTIFY_STEP;
        if (queue < vp->dev->n_queues)
            virtio__kick(vp->dev, UINT64_C(1) << queue);
    } else if (offset < ISR_AT) {
        common_write(vp, at, size, value);
    } else if (offset >= CONFIG_AT) {
        pthread_mutex_lock(&vp->dev->lock);
        for (unsigned i = 0; i < size; i++)
            virtio__write_config(vp->dev, at + i, (uint8_t)(value >> 8 * i));
        pthread_mutex_unlock(&vp->dev->lock);
    }
    return 0;
}

static const struct mem_device_ops bar_ops = {
    .read = bar_read, .write = bar_write, .sizes = 1 | 2 | 4 | 8};

/* --- capabilities ----------------------------------------------------------------------------- */

/* The window's target, if it names something of BAR 0 that can be accessed so (4.1.4.9). */
static bool window_target(struct virtio_pci *vp, uint32_t *offset, uint32_t *length)
{
    const uint8_t *cap = pci_function_config(vp->fn) + vp->window_cap;

    *offset = (uint32_t)get(cap + VIRTIO_PCI_CAP_OFFSET, 4);
    *length = (uint32_t)get(cap + VIRTIO_PCI_CAP_LENGTH, 4);
    return cap[VIRTIO_PCI_CAP_BAR] == BAR_REGISTERS &&
           (*length == 1 || *length == 2 || *length == 4) && *offset % *length == 0 &&
           *offset < BAR_SIZE;
}

static bool window_data(const struct virtio_pci *vp, unsigned offset, unsigned size)
{
    unsigned at = vp->window_cap + sizeof(struct virtio_pci_cap);

    return offset < at + 4 && at < offset + size;
}

static void config_read(void *opaque, unsigned offset, unsigned size)
{
    struct virtio_pci *vp = opaque;
    uint32_t target, length;
    uint64_t value;

    if (!window_data(vp, offset, size) || !window_target(vp, &target, &length))
        return;
    bar_read(vp, target, length, &value);
    put(pci_function_config(vp->fn), vp->window_cap + sizeof(struct virtio_pci_cap), 4, value);
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    struct virtio_pci *vp = opaque;
    uint32_t target, length;

    if (!window_data(vp, offset, size) || !window_target(vp, &target, &length))
        return;
    const uint8_t *data =
        pci_function_config(vp->fn) + vp->window_cap + sizeof(struct virtio_pci_cap);
    bar_write(vp, target, length, get(data, length));
}

/* Adds the capability for LENGTH bytes at OFFSET of BAR 0, with EXTRA bytes at its end. */
static unsigned add_cap(struct virtio_pci *vp, uint8_t type, uint32_t offset, uint32_t length,
                        unsigned extra, uint32_t value, const void *writable)
{
    uint8_t cap[sizeof(struct virtio_pci_cap) + 4] = {0};

    cap[VIRTIO_PCI_CAP_LEN] = (uint8_t)(sizeof(struct virtio_pci_cap) + extra);
    cap[VIRTIO_PCI_CAP_CFG_TYPE] = type;
    cap[VIRTIO_PCI_CAP_BAR] = BAR_REGISTERS;
    put(cap, VIRTIO_PCI_CAP_OFFSET, 4, offset);
    put(cap, VIRTIO_PCI_CAP_LENGTH, 4, length);
    put(cap, sizeof(struct virtio_pci_cap), 4, value);
    return pci_function_add_capability(vp->fn, PCI_CAP_ID_VNDR, cap + 2, writable,
                                       sizeof(struct virtio_pci_cap) + extra - 2);
}

static void add_capabilities(struct virtio_pci *vp)
{
    /* The window's BAR, offset, length and data, without the two bytes of header. */
    static const uint8_t window_writable[sizeof(struct virtio_pci_cap) + 4 - 2] = {
        [VIRTIO_PCI_CAP_BAR - 2] = 0xff, [6 ... 17] = 0xff};

    add_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT, COMMON_SIZE, 0, 0, NULL);
    add_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, ISR_AT, 1, 0, 0, NULL);
    if (vp->dev->config_size)
        add_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG_AT, ALIGN_UP(vp->dev->config_size, 4u), 0, 0,
                NULL);
    add_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT, vp->dev->n_queues * NOTIFY_STEP, 4,
            NOTIFY_STEP, NULL);
    vp->window_cap = add_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4, 0, window_writable);
}

/* --- the PCI function ------------------------------------------------------------------------- */

static void master_changed(void *opaque, bool on)
{
    struct virtio_pci *vp = opaque;

    if (on)
        virtio__kick(vp->dev, UINT64_MAX);
}

static void function_reset(void *opaque)
{
    virtio__reset(((struct virtio_pci *)opaque)->dev);
}

static void function_quiesce(void *opaque)
{
    virtio__quiesce(((struct virtio_pci *)opaque)->dev);
}

static void function_resume(void *opaque)
{
    virtio__resume(((struct virtio_pci *)opaque)->dev);
}

static void function_save(void *opaque, GByteArray *out)
{
    struct virtio_pci *vp = opaque;

    state_save(&pci_state, vp, out);
    virtio__save(vp->dev, out);
}

static bool function_load(void *opaque, const uint8_t *data, size_t length, size_t *used,
                          GError **err)
{
    struct virtio_pci *vp = opaque;
    struct virtio_pci loaded = {0};
    size_t n, m;

    if (!state_load(&pci_state, &loaded, data, length, &n, err) ||
        !virtio__load(vp->dev, data + n, length - n, &m, err))
        return false;
    if (loaded.isr)
        isr_set(vp, loaded.isr & (ISR_QUEUE | ISR_CONFIG));
    *used = n + m;
    return true;
}

static const struct pci_function_ops function_ops = {
    .config_read = config_read,
    .config_written = config_written,
    .master_changed = master_changed,
    .reset = function_reset,
    .quiesce = function_quiesce,
    .resume = function_resume,
    .save = function_save,
    .load = function_load,
};

struct virtio_pci *virtio_pci_new(struct virtio_device *dev)
{
    struct virtio_pci *vp = g_new0(struct virtio_pci, 1);
    const struct pci_id id = {
        .vendor = 0x1af4,
        .device = (uint16_t)(0x1040 + dev->ops->id),
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .class_code = dev->ops->pci_class,
        .revision = 1,
        .intx = true,
    };

    vp->dev = dev;
    pthread_mutex_init(&vp->isr_lock, NULL);
    vp->fn = pci_function_new(dev->ops->name, &id, &function_ops, vp);
    pci_function_add_bar(vp->fn, BAR_REGISTERS, BAR_SIZE, PCI_BAR_64, dev->ops->name, &bar_ops, vp);
    for (unsigned i = 0; virtio__doorbell(dev) >= 0 && i < dev->n_queues; i++)
        pci_function_add_doorbell(vp->fn, BAR_REGISTERS, NOTIFY_AT + i * NOTIFY_STEP,
                                  virtio__doorbell(dev));
    add_capabilities(vp);
    pci_function_add_msix(vp->fn, BAR_MSIX, dev->n_queues + 1);
    dev->transport = &transport_ops;
    dev->transport_opaque = vp;
    return vp;
}

struct pci_function *virtio_pci_function(struct virtio_pci *vp)
{
    return vp->fn;
}

void virtio_pci_free(struct virtio_pci *vp)
{
    if (!vp)
        return;
    pci_function_free(vp->fn);
    pthread_mutex_destroy(&vp->isr_lock);
    virtio_device_free(vp->dev);
    g_free(vp);
}
