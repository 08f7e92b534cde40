/* See the header. Chips side by side are in step, so one state stands for all of them. */
#include "machine/devices/pflash.h"

#include <pthread.h>
#include <unistd.h>

enum { MANUFACTURER = 0x89, DEVICE = 0x18 };

enum {
    CMD_PROGRAM_OLD = 0x10,
    CMD_ERASE = 0x20,
    CMD_PROGRAM = 0x40,
    CMD_CLEAR_STATUS = 0x50,
    CMD_LOCK = 0x60,
    CMD_READ_STATUS = 0x70,
    CMD_READ_ID = 0x90,
    CMD_QUERY = 0x98,
    CMD_CONFIRM = 0xd0,
    CMD_BUFFER = 0xe8,
    CMD_READ_ARRAY = 0xff,
};

enum {
    STATUS_READY = 1 << 7,
    STATUS_ERASE_ERROR = 1 << 5,
    STATUS_PROGRAM_ERROR = 1 << 4,
    STATUS_SEQUENCE_ERROR = STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR,
};

/* What reads give. */
enum { MODE_ARRAY, MODE_STATUS, MODE_ID, MODE_QUERY, MODES };

/* What the next write is. */
enum {
    STEP_COMMAND,
    STEP_PROGRAM, /* the word to program */
    STEP_ERASE,   /* a confirmation */
    STEP_LOCK,    /* what is to be done with a block's lock; there are no locks */
    STEP_COUNT,   /* how many words follow for the buffer, less one */
    STEP_FILL,    /* one of them */
    STEP_CONFIRM, /* a confirmation that the buffer is to be programmed */
    STEPS,
};

enum { BUFFER_LOG2 = 11, BUFFER = 1 << BUFFER_LOG2, QUERY_ROWS = 0x40 };

struct pflash {
    struct device dev;
    struct device_class class; /* its size is the bank's */
    pthread_mutex_t lock;
    uint8_t mode, step, status;
    uint8_t buffer[BUFFER]; /* for the file from BASE on, of which LOW to HIGH was filled */
    uint64_t base;
    uint32_t low, high, words; /* WORDS are still to come */

    struct pflash_config config;
    uint8_t query[QUERY_ROWS];
    uint8_t page[MEM_PAGE_SIZE]; /* of the file, at PAGE_AT */
    uint64_t page_at;
};

#define NO_PAGE UINT64_MAX

/* --- the file ------------------------------------------------------------------------------- */

/* The bytes from OFFSET to the end of their page; what the file does not have is erased. */
static uint8_t *page_of(struct pflash *f, uint64_t offset)
{
    uint64_t at = ALIGN_DOWN(offset, MEM_PAGE_SIZE);

    if (f->page_at != at) {
        ssize_t n = pread(f->config.fd, f->page, sizeof(f->page), (off_t)at);
        n = MAX(n, 0);
        memset(f->page + n, 0xff, sizeof(f->page) - (size_t)n);
        f->page_at = at;
    }
    return f->page + (offset - at);
}

static bool put(struct pflash *f, uint64_t offset, const void *data, size_t n)
{
    f->page_at = NO_PAGE;
    return pwrite(f->config.fd, data, n, (off_t)offset) == (ssize_t)n;
}

/* Programming only clears bits. N bytes, which are in one page. */
static bool program(struct pflash *f, uint64_t offset, const uint8_t *data, size_t n)
{
    uint8_t *bytes = page_of(f, offset);

    for (size_t i = 0; i < n; i++)
        bytes[i] &= data[i];
    return put(f, offset, bytes, n);
}

static bool erase(struct pflash *f, uint64_t offset)
{
    g_autofree uint8_t *ones = g_malloc(f->config.block);

    memset(ones, 0xff, f->config.block);
    return put(f, ALIGN_DOWN(offset, f->config.block), ones, f->config.block);
}

/* --- commands ------------------------------------------------------------------------------- */

static void finish(struct pflash *f, unsigned error)
{
    f->status |= (uint8_t)(STATUS_READY | error);
    f->step = STEP_COMMAND;
}

static void begin(struct pflash *f, unsigned step)
{
    f->mode = MODE_STATUS;
    f->step = (uint8_t)step;
}

static void command(struct pflash *f, uint8_t code)
{
    switch (code) {
    case CMD_PROGRAM_OLD:
    case CMD_PROGRAM:
        begin(f, STEP_PROGRAM);
        break;
    case CMD_ERASE:
        begin(f, STEP_ERASE);
        break;
    case CMD_LOCK:
        begin(f, STEP_LOCK);
        break;
    case CMD_BUFFER:
        f->status |= STATUS_READY;
        begin(f, STEP_COUNT);
        break;
    case CMD_READ_STATUS:
        f->mode = MODE_STATUS;
        break;
    case CMD_READ_ID:
        f->mode = MODE_ID;
        break;
    case CMD_QUERY:
        f->mode = MODE_QUERY;
        break;
    case CMD_CLEAR_STATUS:
        f->status = 0;
        f->mode = MODE_ARRAY;
        break;
    default: /* CMD_READ_ARRAY, and what there is not */
        f->mode = MODE_ARRAY;
    }
}

/* The second write of ERASE and LOCK; DONE where CODE is what the command takes. */
static void second(struct pflash *f, uint8_t code, bool done, unsigned error)
{
    if (!done && code == CMD_READ_ARRAY) {
        f->step = STEP_COMMAND;
        f->mode = MODE_ARRAY;
    } else {
        finish(f, done ? error : STATUS_SEQUENCE_ERROR);
    }
}

static void count(struct pflash *f, uint64_t value)
{
    f->words = (uint32_t)(f->config.width == f->config.chips ? value & 0xff : value & 0xffff) + 1;
    f->low = BUFFER;
    f->high = 0;
    memset(f->buffer, 0xff, sizeof(f->buffer));
    if (f->words * f->config.width > BUFFER)
        finish(f, STATUS_SEQUENCE_ERROR);
    else
        f->step = STEP_FILL;
}

static void fill(struct pflash *f, uint64_t offset, const uint8_t *data, unsigned size)
{
    uint32_t at = (uint32_t)(offset % BUFFER);

    if (f->low > f->high)
        f->base = offset - at;
    if (offset - at != f->base) {
        finish(f, STATUS_SEQUENCE_ERROR);
        return;
    }
    memcpy(f->buffer + at, data, size);
    f->low = MIN(f->low, at);
    f->high = MAX(f->high, at + size);
    if (--f->words == 0)
        f->step = STEP_CONFIRM;
}

static int flash_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pflash *f = opaque;
    uint64_t le = GUINT64_TO_LE(value);
    const uint8_t *data = (const uint8_t *)&le;
    uint8_t code = (uint8_t)value;
    bool confirmed = code == CMD_CONFIRM;

    pthread_mutex_lock(&f->lock);
    switch (f->step) {
    case STEP_PROGRAM:
        finish(f, program(f, offset, data, size) ? 0 : STATUS_PROGRAM_ERROR);
        break;
    case STEP_ERASE:
        second(f, code, confirmed, confirmed && !erase(f, offset) ? STATUS_ERASE_ERROR : 0);
        break;
    case STEP_LOCK:
        second(f, code, confirmed || code == 0x01 || code == 0x2f, 0);
        break;
    case STEP_COUNT:
        count(f, value);
        break;
    case STEP_FILL:
        fill(f, offset, data, size);
        break;
    case STEP_CONFIRM:
        finish(f, !confirmed ? STATUS_SEQUENCE_ERROR :
                  program(f, f->base + f->low, f->buffer + f->low, f->high - f->low)
                      ? 0 : STATUS_PROGRAM_ERROR);
        break;
    default:
        command(f, code);
    }
    pthread_mutex_unlock(&f->lock);
    return 0;
}

/* --- reading -------------------------------------------------------------------------------- */

/* What each chip says, as SIZE bytes at OFFSET have it. */
static uint64_t from_chips(const struct pflash *f, uint64_t offset, unsigned size, uint8_t byte)
{
    unsigned chip = f->config.width / f->config.chips;
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        if ((offset + i) % chip == 0)
            value |= (uint64_t)byte << (8 * i);
    }
    return value;
}

static uint8_t chip_byte(const struct pflash *f, uint64_t offset)
{
    uint64_t row = offset / f->config.width;

    if (f->mode == MODE_STATUS)
        return f->status;
    if (f->mode == MODE_QUERY)
        return row < QUERY_ROWS ? f->query[row] : 0;
    row &= 0xff; /* the identity is in each block; its row 2 says that the block is not locked */
    return row == 0 ? MANUFACTURER : row == 1 ? DEVICE : 0;
}

static int flash_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pflash *f = opaque;

    pthread_mutex_lock(&f->lock);
    if (f->mode == MODE_ARRAY) {
        uint64_t le = 0;
        memcpy(&le, page_of(f, offset), size);
        *value = GUINT64_FROM_LE(le);
    } else {
        *value = from_chips(f, offset, size, chip_byte(f, offset));
    }
    pthread_mutex_unlock(&f->lock);
    return 0;
}

/* What CFI tells of one chip (JESD68.01, and the table of the command set at 0x31). */
static void make_query(struct pflash *f)
{
    const struct pflash_config *c = &f->config;
    uint64_t size = c->size / c->chips, block = c->block / c->chips, blocks = c->size / c->block;
    const uint8_t rows[] = {
        'Q', 'R', 'Y',
        0x01, 0x00, 0x31, 0x00,             /* command set 1, where its table is */
        0x00, 0x00, 0x00, 0x00,             /* no other */
        0x45, 0x55, 0x00, 0x00,             /* volts */
        0x07, 0x07, 0x0a, 0x00,             /* 128 us a word and a buffer, 1 s a block */
        0x04, 0x04, 0x04, 0x00,             /* at most 16 times that */
        (uint8_t)(63 - __builtin_clzll(size)),
        0x02, 0x00,                         /* 8 and 16 bits wide */
        (uint8_t)(BUFFER_LOG2 - (31 - __builtin_clz(c->chips))), 0x00,
        0x01,                               /* all blocks are alike */
        (uint8_t)(blocks - 1), (uint8_t)((blocks - 1) >> 8),
        (uint8_t)(block >> 8), (uint8_t)(block >> 16),
        'P', 'R', 'I', '1', '0',            /* no optional feature */
    };

    memcpy(f->query + 0x10, rows, sizeof(rows));
}

/* --- the device ----------------------------------------------------------------------------- */

static void flash_reset(struct device *dev)
{
    struct pflash *f = container_of(dev, struct pflash, dev);

    f->mode = MODE_ARRAY;
    f->step = STEP_COMMAND;
    f->status = 0;
    f->page_at = NO_PAGE;
}

static bool flash_restored(struct device *dev)
{
    struct pflash *f = container_of(dev, struct pflash, dev);

    f->page_at = NO_PAGE;
    if (f->mode >= MODES || f->step >= STEPS)
        return false;
    bool filled = f->low < f->high && f->high <= BUFFER && f->base % BUFFER == 0 &&
                  f->base < f->config.size;
    bool empty = f->low == BUFFER && f->high == 0;
    if (f->step == STEP_FILL)
        return (filled || empty) && f->words >= 1 && f->words <= BUFFER;
    return filled || f->step != STEP_CONFIRM;
}

static void flash_free(struct device *dev)
{
    struct pflash *f = container_of(dev, struct pflash, dev);

    pthread_mutex_destroy(&f->lock);
    g_free(f);
}

static const struct state_field flash_fields[] = {
    STATE_FIELD_U8(struct pflash, mode, 1),   STATE_FIELD_U8(struct pflash, step, 1),
    STATE_FIELD_U8(struct pflash, status, 1), STATE_FIELD_U8(struct pflash, buffer, 1),
    STATE_FIELD_U64(struct pflash, base, 1),  STATE_FIELD_U32(struct pflash, low, 1),
    STATE_FIELD_U32(struct pflash, high, 1),  STATE_FIELD_U32(struct pflash, words, 1),
};

static const struct state_desc flash_state = {
    .name = "pflash",
    .version = 1,
    .size = sizeof(struct pflash),
    .n_fields = G_N_ELEMENTS(flash_fields),
    .fields = flash_fields,
};

static const struct device_class flash_class = {
    .name = "pflash",
    .regs = {.read = flash_read, .write = flash_write, .sizes = 1 | 2 | 4 | 8},
    .state = &flash_state,
    .reset = flash_reset,
    .restored = flash_restored,
    .free = flash_free,
};

struct pflash *pflash_new(const struct pflash_config *config)
{
    struct pflash *f = g_new0(struct pflash, 1);

    g_assert(config->size % config->block == 0 && config->block % BUFFER == 0);
    f->class = flash_class;
    f->class.size = config->size;
    f->dev.class = &f->class;
    f->config = *config;
    pthread_mutex_init(&f->lock, NULL);
    make_query(f);
    flash_reset(&f->dev);
    return f;
}

struct device *pflash_device(struct pflash *flash)
{
    return &flash->dev;
}
