/* The registers: at ports a selector (2 bytes, little-endian) and data; in memory data (up to 8 bytes at
 * once) and a selector (big-endian). Then the DMA address, big-endian, whose low half starts the
 * transfer that it points at. */
#include "machine/devices/fw_cfg.h"

#include <pthread.h>
#include <unistd.h>

enum { PORT_SELECTOR = 0, PORT_DATA = 1, PORT_DMA = 4 };
enum { MEM_DATA = 0, MEM_SELECTOR = 8, MEM_DMA = 16 };

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
    struct item {
        char name[FW_CFG_NAME];
        bool there;
        uint32_t size;
        uint8_t *bytes;  /* NULL: in the file FD, from START on */
        int fd;
        uint32_t start;
    } items[ITEMS];
};

/* There is always an item: what has none has no bytes. */
static const struct item *selected(const struct fw_cfg *fw)
{
    static const struct item none;

    return fw->key < ITEMS ? &fw->items[fw->key] : &none;
}

static uint32_t bytes_left(const struct fw_cfg *fw)
{
    const struct item *item = selected(fw);

    return fw->offset < item->size ? item->size - fw->offset : 0;
}

/* The next N of what is left to TO; what a host's file no longer has is 0. */
static void take(struct fw_cfg *fw, uint8_t *to, uint32_t n)
{
    const struct item *item = selected(fw);
    uint32_t done = 0;
    ssize_t got = 1;

    if (item->bytes && n)
        memcpy(to, item->bytes + fw->offset, n);
    for (; !item->bytes && done < n && got > 0; done += (uint32_t)MAX(got, 0))
        got = pread(item->fd, to + done, n - done, (off_t)item->start + fw->offset + done);
    if (!item->bytes && done < n)
        memset(to + done, 0, n - done);
    fw->offset += n;
}

static void choose(struct fw_cfg *fw, uint16_t key)
{
    fw->key = key;
    fw->offset = 0;
}

/* The next SIZE bytes as a number of the guest's bus. */
static uint64_t next(struct fw_cfg *fw, unsigned size)
{
    uint64_t le = 0;

    take(fw, (uint8_t *)&le, MIN(size, bytes_left(fw)));
    return GUINT64_FROM_LE(le);
}

/* --- DMA ------------------------------------------------------------------------------------ */

/* Copies what is left, then zeros, to LENGTH bytes of RAM at GPA. */
static bool dma_read(struct fw_cfg *fw, gpa_t gpa, uint32_t length)
{
    uint32_t n = MIN(length, bytes_left(fw));
    uint8_t *to = length ? mem_map_host(fw->mem, gpa, length, true) : NULL;

    if (length && !to)
        return false;
    take(fw, to, n);
    if (length > n)
        memset(to + n, 0, length - n);
    if (length)
        mem_map_written(fw->mem, gpa, length);
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

/* OFFSET is from the DMA address on. */
static uint64_t dma_register(uint64_t offset, unsigned size)
{
    if (size == 8 && offset == 0)
        return GUINT64_SWAP_LE_BE(DMA_SIGNATURE);
    if (size == 4 && offset == 0)
        return GUINT32_SWAP_LE_BE((uint32_t)(DMA_SIGNATURE >> 32));
    return size == 4 && offset == 4 ? GUINT32_SWAP_LE_BE((uint32_t)DMA_SIGNATURE) : 0;
}

static void set_dma_register(struct fw_cfg *fw, uint64_t offset, unsigned size, uint64_t value)
{
    uint32_t swapped = GUINT32_SWAP_LE_BE((uint32_t)value);

    if (size == 8 && offset == 0)
        dma(fw, GUINT64_SWAP_LE_BE(value));
    else if (size == 4 && offset == 0)
        fw->dma_high = swapped;
    else if (size == 4 && offset == 4)
        dma(fw, (uint64_t)fw->dma_high << 32 | swapped);
}

static int ports_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct fw_cfg *fw = opaque;

    pthread_mutex_lock(&fw->lock);
    if (offset >= PORT_DMA)
        *value = dma_register(offset - PORT_DMA, size);
    else
        *value = offset == PORT_DATA && size == 1 ? next(fw, 1) : 0;
    pthread_mutex_unlock(&fw->lock);
    return 0;
}

static int ports_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *fw = opaque;

    pthread_mutex_lock(&fw->lock);
    if (offset >= PORT_DMA)
        set_dma_register(fw, offset - PORT_DMA, size, value);
    else if (offset == PORT_SELECTOR && size == 2)
        choose(fw, (uint16_t)value);
    pthread_mutex_unlock(&fw->lock);
    return 0;
}

static int mem_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct fw_cfg *fw = opaque;

    pthread_mutex_lock(&fw->lock);
    if (offset >= MEM_DMA)
        *value = dma_register(offset - MEM_DMA, size);
    else
        *value = offset < MEM_SELECTOR ? next(fw, size) : 0;
    pthread_mutex_unlock(&fw->lock);
    return 0;
}

static int mem_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *fw = opaque;

    pthread_mutex_lock(&fw->lock);
    if (offset >= MEM_DMA)
        set_dma_register(fw, offset - MEM_DMA, size, value);
    else if (offset == MEM_SELECTOR && size == 2)
        choose(fw, GUINT16_SWAP_LE_BE((uint16_t)value));
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

    for (unsigned i = 0; i < ITEMS; i++)
        g_free(fw->items[i].bytes);
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

static const struct device_class classes[] = {
    [FW_CFG_AT_PORTS] = {
        .name = "fw-cfg",
        .size = FW_CFG_PORTS,
        .regs = {.read = ports_read, .write = ports_write, .sizes = 1 | 2 | 4},
        .state = &fw_state,
        .reset = fw_reset,
        .restored = fw_restored,
        .free = fw_free,
    },
    [FW_CFG_IN_MEMORY] = {
        .name = "fw-cfg",
        .size = FW_CFG_BYTES,
        .regs = {.read = mem_read, .write = mem_write, .sizes = 1 | 2 | 4 | 8},
        .state = &fw_state,
        .reset = fw_reset,
        .restored = fw_restored,
        .free = fw_free,
    },
};

struct device *fw_cfg_device(struct fw_cfg *fw)
{
    return &fw->dev;
}

/* --- contents ------------------------------------------------------------------------------- */

void fw_cfg_set_item(struct fw_cfg *fw, uint16_t key, const void *data, size_t size)
{
    g_assert(key < ITEMS && size <= UINT32_MAX);
    struct item *item = &fw->items[key];

    g_free(item->bytes);
    item->bytes = g_malloc(MAX(size, 1));
    item->size = (uint32_t)size;
    item->there = true;
    if (size)
        memcpy(item->bytes, data, size);
}

void fw_cfg_set_source(struct fw_cfg *fw, uint16_t key, int fd, uint32_t offset, uint32_t size)
{
    g_assert(key < KEY_FILES);
    struct item *item = &fw->items[key];

    g_free(item->bytes);
    *item = (struct item){.there = true, .fd = fd, .start = offset, .size = size};
}

static void make_directory(struct fw_cfg *fw)
{
    GByteArray *out = g_byte_array_new();
    uint32_t count = 0;

    g_byte_array_append(out, (const guint8 *)&count, sizeof(count));
    for (uint16_t key = KEY_FILES; key < ITEMS && fw->items[key].there; key++) {
        struct file_entry entry = {GUINT32_TO_BE(fw->items[key].size), GUINT16_TO_BE(key)};
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
    while (key < ITEMS && fw->items[key].there && strcmp(fw->items[key].name, name) != 0)
        key++;
    g_assert(key < ITEMS);
    g_strlcpy(fw->items[key].name, name, FW_CFG_NAME);
    fw_cfg_set_item(fw, key, data, size);
    make_directory(fw);
}

struct fw_cfg *fw_cfg_new(struct mem_map *mem, enum fw_cfg_place place)
{
    struct fw_cfg *fw = g_new0(struct fw_cfg, 1);
    uint32_t id = GUINT32_TO_LE(ID_PORTS_AND_DMA);

    fw->dev.class = &classes[place];
    fw->mem = mem;
    pthread_mutex_init(&fw->lock, NULL);
    fw_cfg_set_item(fw, KEY_SIGNATURE, "QEMU", 4);
    fw_cfg_set_item(fw, KEY_ID, &id, sizeof(id));
    make_directory(fw);
    return fw;
}
