/* The registers: selector (2 bytes, little-endian) and data at ports; the DMA address, big-endian,
 * whose low half starts the transfer that it points at. */
#include "machine/devices/fw_cfg.h"

#include <pthread.h>

enum { REG_SELECTOR = 0, REG_DATA = 1, REG_DMA_HIGH = 4, REG_DMA_LOW = 8 };

enum { KEY_SIGNATURE = 0x00, KEY_ID = 0x01, KEY_DIRECTORY = 0x19, KEY_FILES = 0x20 };

enum { ITEMS = 0x40 };

enum {
    ID_PORTS_AND_DMA = 1 | 2,
    DMA_ERROR = 1 << 0,
    DMA_READ = 1 << 1,
    DMA_SKIP = 1 << 2,
    DMA_SELECT = 1 << 3,
    DMA_WRITE = 1 << 4,
};

#define DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */

/* In guest memory; big-endian. */
struct dma_access {
    uint32_t control, length;
    uint64_t address;
};

/* An entry of the directory; big-endian. */
struct file_entry {
    uint32_t size;
    uint16_t key, reserved;
    char name[FW_CFG_NAME];
};

struct fw_cfg {
    struct device dev;
    pthread_mutex_t lock;
    uint16_t key;
    uint32_t offset;
    uint32_t dma_high;

    struct mem_map *mem;
    struct {
        char name[FW_CFG_NAME];
        GByteArray *bytes; /* NULL: there is none */
    } items[ITEMS];
};

static const GByteArray *selected(const struct fw_cfg *fw)
{
    return fw->key < ITEMS ? fw->items[fw->key].bytes : NULL;
}

static uint32_t bytes_left(const struct fw_cfg *fw)
{
    const GByteArray *bytes = selected(fw);

    return bytes && fw->offset < bytes->len ? bytes->len - fw->offset : 0;
}

static void choose(struct fw_cfg *fw, uint16_t key)
{
    fw->key = key;
    fw->offset = 0;
}

static uint8_t next_byte(struct fw_cfg *fw)
{
    return bytes_left(fw) ? selected(fw)->data[fw->offset++] : 0;
}

/* --- DMA ------------------------------------------------------------------------------------ */

/* Copies what is left, then zeros, to LENGTH bytes of RAM at GPA. */
static bool dma_read(struct fw_cfg *fw, gpa_t gpa, uint32_t length)
{
    uint32_t n = MIN(length, bytes_left(fw));
    uint8_t *to = length ? mem_map_host(fw->mem, gpa, length, true) : NULL;

    if (length && !to)
        return false;
    if (n)
        memcpy(to, selected(fw)->data + fw->offset, n);
    if (length > n)
        memset(to + n, 0, length - n);
    if (length)
        mem_map_written(fw->mem, gpa, length);
    fw->offset += n;
    return true;
}

static void dma(struct fw_cfg *fw, gpa_t gpa)
{
    struct dma_access access;
    bool fine = true;

    if (mem_map_read(fw->mem, gpa, &access, sizeof(access)) < 0)
        return;
    uint32_t control = GUINT32_FROM_BE(access.control), length = GUINT32_FROM_BE(access.length);
    if (control & DMA_SELECT)
        choose(fw, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        fine = dma_read(fw, GUINT64_FROM_BE(access.address), length);
    else if (control & DMA_WRITE)
        fine = false;
    else if (control & DMA_SKIP)
        fw->offset += MIN(length, bytes_left(fw));
    uint32_t status = GUINT32_TO_BE(fine ? 0u : DMA_ERROR);
    mem_map_write(fw->mem, gpa, &status, sizeof(status));
}

/* --- registers ------------------------------------------------------------------------------ */

static int fw_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct fw_cfg *fw = opaque;

    *value = 0;
    pthread_mutex_lock(&fw->lock);
    if (offset == REG_DATA && size == 1)
        *value = next_byte(fw);
    else if (offset == REG_DMA_HIGH && size == 4)
        *value = GUINT32_SWAP_LE_BE((uint32_t)(DMA_SIGNATURE >> 32));
    else if (offset == REG_DMA_LOW && size == 4)
        *value = GUINT32_SWAP_LE_BE((uint32_t)DMA_SIGNATURE);
    pthread_mutex_unlock(&fw->lock);
    return 0;
}

static int fw_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *fw = opaque;
    uint32_t swapped = GUINT32_SWAP_LE_BE((uint32_t)value);

    pthread_mutex_lock(&fw->lock);
    if (offset == REG_SELECTOR && size == 2)
        choose(fw, (uint16_t)value);
    else if (offset == REG_DMA_HIGH && size == 4)
        fw->dma_high = swapped;
    else if (offset == REG_DMA_LOW && size == 4)
        dma(fw, (uint64_t)fw->dma_high << 32 | swapped);
    pthread_mutex_unlock(&fw->lock);
    return 0;
}

static void fw_reset(struct device *dev)
{
    struct fw_cfg *fw = container_of(dev, struct fw_cfg, dev);

    choose(fw, KEY_SIGNATURE);
    fw->dma_high = 0;
}

static bool fw_restored(struct device *dev)
{
    return true;
}

static void fw_free(struct device *dev)
{
    struct fw_cfg *fw = container_of(dev, struct fw_cfg, dev);

    for (unsigned i = 0; i < ITEMS; i++) {
        if (fw->items[i].bytes)
            g_byte_array_free(fw->items[i].bytes, TRUE);
    }
    pthread_mutex_destroy(&fw->lock);
    g_free(fw);
}

static const struct state_field fw_fields[] = {
    STATE_FIELD_U16(struct fw_cfg, key, 1),
    STATE_FIELD_U32(struct fw_cfg, offset, 1),
    STATE_FIELD_U32(struct fw_cfg, dma_high, 1),
};

static const struct state_desc fw_state = {
    .name = "fw-cfg",
    .version = 1,
    .size = sizeof(struct fw_cfg),
    .n_fields = G_N_ELEMENTS(fw_fields),
    .fields = fw_fields,
};

static const struct device_class fw_class = {
    .name = "fw-cfg",
    .size = FW_CFG_PORTS,
    .regs = {.read = fw_read, .write = fw_write, .sizes = 1 | 2 | 4},
    .state = &fw_state,
    .reset = fw_reset,
    .restored = fw_restored,
    .free = fw_free,
};

struct device *fw_cfg_device(struct fw_cfg *fw)
{
    return &fw->dev;
}

/* --- contents ------------------------------------------------------------------------------- */

void fw_cfg_set_item(struct fw_cfg *fw, uint16_t key, const void *data, size_t size)
{
    g_assert(key < ITEMS && size <= UINT32_MAX);
    if (fw->items[key].bytes)
        g_byte_array_free(fw->items[key].bytes, TRUE);
    fw->items[key].bytes = g_byte_array_new();
    g_byte_array_append(fw->items[key].bytes, data, (guint)size);
}

static void make_directory(struct fw_cfg *fw)
{
    GByteArray *out = g_byte_array_new();
    uint32_t count = 0;

    g_byte_array_append(out, (const guint8 *)&count, sizeof(count));
    for (uint16_t key = KEY_FILES; key < ITEMS && fw->items[key].bytes; key++) {
        struct file_entry entry = {GUINT32_TO_BE(fw->items[key].bytes->len), GUINT16_TO_BE(key)};
        memcpy(entry.name, fw->items[key].name, sizeof(entry.name));
        g_byte_array_append(out, (const guint8 *)&entry, sizeof(entry));
        count++;
    }
    count = GUINT32_TO_BE(count);
    memcpy(out->data, &count, sizeof(count));
    fw_cfg_set_item(fw, KEY_DIRECTORY, out->data, out->len);
    g_byte_array_free(out, TRUE);
}

void fw_cfg_set_file(struct fw_cfg *fw, const char *name, const void *data, size_t size)
{
    uint16_t key = KEY_FILES;

    g_assert(strlen(name) < FW_CFG_NAME);
    while (key < ITEMS && fw->items[key].bytes && strcmp(fw->items[key].name, name) != 0)
        key++;
    g_assert(key < ITEMS);
    g_strlcpy(fw->items[key].name, name, FW_CFG_NAME);
    fw_cfg_set_item(fw, key, data, size);
    make_directory(fw);
}

struct fw_cfg *fw_cfg_new(struct mem_map *mem)
{
    struct fw_cfg *fw = g_new0(struct fw_cfg, 1);
    uint32_t id = GUINT32_TO_LE(ID_PORTS_AND_DMA);

    fw->dev.class = &fw_class;
    fw->mem = mem;
    pthread_mutex_init(&fw->lock, NULL);
    fw_cfg_set_item(fw, KEY_SIGNATURE, "QEMU", 4);
    fw_cfg_set_item(fw, KEY_ID, &id, sizeof(id));
    make_directory(fw);
    return fw;
}
