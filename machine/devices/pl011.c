/*
 * Registers as the technical reference manual has them (DDI 0183, chapter 3).
 *
 * Interrupts: receive, when the FIFO is at its trigger level; receive timeout, when it holds less
 * than that (line speed is not modelled: at once); transmit, an event that comes when the
 * transmitter is free and was not, or was just used. Errors but breaks, modem lines and DMA are not
 * there. The other end sends only while the guest has receiver and port switched on, so that
 * nothing typed earlier is lost.
 */
#include "machine/devices/pl011.h"

#include "machine/devices/serial_priv.h"

enum {
    REG_DR = 0x000,
    REG_RSR = 0x004, /* ECR when written */
    REG_FR = 0x018,
    REG_ILPR = 0x020,
    REG_IBRD = 0x024,
    REG_FBRD = 0x028,
    REG_LCR_H = 0x02c,
    REG_CR = 0x030,
    REG_IFLS = 0x034,
    REG_IMSC = 0x038,
    REG_RIS = 0x03c,
    REG_MIS = 0x040,
    REG_ICR = 0x044,
    REG_DMACR = 0x048,
    REG_ID = 0xfe0, /* eight bytes of identification, a word each */
};

enum {
    DR_BREAK = 1 << 10,
    FR_CTS_DSR_DCD = 7,
    FR_BUSY = 1 << 3,
    FR_RX_EMPTY = 1 << 4,
    FR_TX_FULL = 1 << 5,
    FR_RX_FULL = 1 << 6,
    FR_TX_EMPTY = 1 << 7,
    LCR_FIFO = 1 << 4,
    CR_ENABLE = 1 << 0,
    CR_LOOP = 1 << 7,
    CR_TX = 1 << 8,
    CR_RX = 1 << 9,
    INT_RX = 1 << 4,
    INT_TX = 1 << 5,
    INT_TIMEOUT = 1 << 6,
    INT_BREAK = 1 << 9,
    INT_ALL = 0x7ff,
    IFLS_RESET = 0x12, /* both at half */
    FIFO_SIZE = 32,
};

struct pl011 {
    struct serial serial; /* first */
    uint32_t rsr, ilpr, ibrd, fbrd, lcr, cr, ifls, imsc, dmacr;
    uint32_t events;          /* of RIS, those that a write of ICR ends: INT_TX, INT_BREAK */
    uint16_t fifo[FIFO_SIZE]; /* with the error bits of DR */
    uint8_t fifo_len;

    struct irq_line irq;
    bool level; /* of the line */
};

static struct pl011 *pl011_of(struct serial *s)
{
    return container_of(s, struct pl011, serial);
}

/* --- interrupts ------------------------------------------------------------------------------- */

static unsigned fifo_size(const struct pl011 *u)
{
    return u->lcr & LCR_FIFO ? FIFO_SIZE : 1;
}

static unsigned rx_trigger(const struct pl011 *u)
{
    static const uint8_t levels[] = {4, 8, 16, 24, 28};
    unsigned select = u->ifls >> 3 & 7;

    return u->lcr & LCR_FIFO ? levels[MIN(select, 4u)] : 1;
}

static uint32_t raw_status(const struct pl011 *u)
{
    uint32_t rx = !u->fifo_len ? 0 : u->fifo_len >= rx_trigger(u) ? INT_RX : INT_TIMEOUT;

    return (u->serial.tx_busy ? u->events & ~(uint32_t)INT_TX : u->events) | rx;
}

static void update(struct pl011 *u)
{
    bool level = raw_status(u) & u->imsc;

    if (level != u->level) {
        u->level = level;
        irq_line_set(&u->irq, level);
    }
}

/* --- registers -------------------------------------------------------------------------------- */

static void refill(struct pl011 *u)
{
    const uint32_t on = CR_ENABLE | CR_RX;
    uint8_t byte;

    if ((u->cr & (on | CR_LOOP)) != on)
        return;
    while (u->fifo_len < fifo_size(u) && serial__take(&u->serial, &byte))
        u->fifo[u->fifo_len++] = byte;
}

static uint32_t read_data(struct pl011 *u)
{
    uint16_t value = u->fifo[0];

    if (!u->fifo_len)
        return 0;
    memmove(u->fifo, u->fifo + 1, --u->fifo_len * sizeof(u->fifo[0]));
    u->rsr = value >> 8 & 15;
    refill(u);
    return value;
}

static void write_data(struct pl011 *u, uint8_t byte)
{
    if (u->cr & CR_LOOP) {
        if (u->fifo_len < fifo_size(u))
            u->fifo[u->fifo_len++] = byte;
    } else {
        serial__send(&u->serial, byte);
    }
    u->events |= INT_TX;
}

static uint32_t flags(const struct pl011 *u)
{
    return FR_CTS_DSR_DCD | (u->fifo_len ? 0 : FR_RX_EMPTY) |
           (u->fifo_len == fifo_size(u) ? FR_RX_FULL : 0) |
           (u->serial.tx_busy ? FR_BUSY | FR_TX_FULL : FR_TX_EMPTY);
}

static uint32_t identification(uint64_t offset)
{
    static const uint8_t id[] = {0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    return offset < REG_ID + 4 * sizeof(id) ? id[(offset - REG_ID) / 4] : 0;
}

static uint32_t read_reg(struct pl011 *u, uint64_t offset)
{
    switch (offset) {
    case REG_DR:
        return read_data(u);
    case REG_RSR:
        return u->rsr;
    case REG_FR:
        return flags(u);
    case REG_ILPR:
        return u->ilpr;
    case REG_IBRD:
        return u->ibrd;
    case REG_FBRD:
        return u->fbrd;
    case REG_LCR_H:
        return u->lcr;
    case REG_CR:
        return u->cr;
    case REG_IFLS:
        return u->ifls;
    case REG_IMSC:
        return u->imsc;
    case REG_RIS:
        return raw_status(u);
    case REG_MIS:
        return raw_status(u) & u->imsc;
    case REG_DMACR:
        return u->dmacr;
    default:
        return offset >= REG_ID ? identification(offset) : 0;
    }
}

static void write_lcr(struct pl011 *u, uint32_t value)
{
    if ((value ^ u->lcr) & LCR_FIFO)
        u->fifo_len = MIN(u->fifo_len, 1);
    u->lcr = value & 0xff;
    refill(u);
}

static void write_reg(struct pl011 *u, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case REG_DR:
        write_data(u, (uint8_t)value);
        break;
    case REG_RSR:
        u->rsr = 0;
        break;
    case REG_ILPR:
        u->ilpr = value & 0xff;
        break;
    case REG_IBRD:
        u->ibrd = value & 0xffff;
        break;
    case REG_FBRD:
        u->fbrd = value & 0x3f;
        break;
    case REG_LCR_H:
        write_lcr(u, value);
        break;
    case REG_CR:
        u->cr = value & 0xffff;
        refill(u);
        break;
    case REG_IFLS:
        u->ifls = value & 0x3f;
        break;
    case REG_IMSC:
        u->imsc = value & INT_ALL;
        break;
    case REG_ICR:
        u->events &= ~value;
        break;
    case REG_DMACR:
        u->dmacr = value & 7;
        break;
    default:
        break; /* read-only, or not there */
    }
}

/* Drivers write DR a byte, other registers a half-word or a word at a time. */
static int pl011_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pl011 *u = pl011_of(opaque);

    pthread_mutex_lock(&u->serial.lock);
    *value = read_reg(u, offset);
    update(u);
    pthread_mutex_unlock(&u->serial.lock);
    return 0;
}

static int pl011_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pl011 *u = pl011_of(opaque);

    pthread_mutex_lock(&u->serial.lock);
    write_reg(u, offset, (uint32_t)value);
    update(u);
    pthread_mutex_unlock(&u->serial.lock);
    return 0;
}

/* --- as a serial port ------------------------------------------------------------------------- */

static void chip_input(struct serial *s)
{
    refill(pl011_of(s));
}

static void chip_sent(struct serial *s)
{
    pl011_of(s)->events |= INT_TX;
}

static bool chip_break(struct serial *s)
{
    struct pl011 *u = pl011_of(s);

    if (u->fifo_len || !(u->cr & CR_RX))
        return false;
    u->fifo[u->fifo_len++] = DR_BREAK;
    u->events |= INT_BREAK;
    return true;
}

static size_t chip_receive(struct serial *s, uint8_t *data, size_t n)
{
    struct pl011 *u = pl011_of(s);
    size_t got = 0;

    while (got < n && u->fifo_len)
        data[got++] = (uint8_t)read_data(u);
    while (got < n && serial__take(s, &data[got]))
        got++;
    return got;
}

static void chip_update(struct serial *s)
{
    update(pl011_of(s));
}

static const struct serial_chip chip = {.input = chip_input,
                                        .sent = chip_sent,
                                        .brk = chip_break,
                                        .receive = chip_receive,
                                        .update = chip_update};

/* --- life ------------------------------------------------------------------------------------- */

/* Output that waits is kept: it was sent before the reset. */
static void pl011_reset(struct device *dev)
{
    struct pl011 *u = container_of(dev, struct pl011, serial.dev);

    pthread_mutex_lock(&u->serial.lock);
    u->rsr = u->ilpr = u->ibrd = u->fbrd = u->lcr = u->imsc = u->dmacr = u->events = 0;
    u->cr = CR_TX | CR_RX;
    u->ifls = IFLS_RESET;
    u->fifo_len = 0;
    update(u);
    pthread_mutex_unlock(&u->serial.lock);
}

static bool pl011_restored(struct device *dev)
{
    struct pl011 *u = container_of(dev, struct pl011, serial.dev);

    pthread_mutex_lock(&u->serial.lock);
    bool ok = u->fifo_len <= fifo_size(u) && serial__restored(&u->serial);
    if (ok) {
        u->level = raw_status(u) & u->imsc;
        irq_line_set(&u->irq, u->level);
    }
    pthread_mutex_unlock(&u->serial.lock);
    return ok;
}

static void pl011_free(struct device *dev)
{
    serial__free(container_of(dev, struct serial, dev));
}

#define F32(m) STATE_FIELD_U32(struct pl011, m, 1)
static const struct state_field pl011_fields[] = {
    F32(rsr),
    F32(ilpr),
    F32(ibrd),
    F32(fbrd),
    F32(lcr),
    F32(cr),
    F32(ifls),
    F32(imsc),
    F32(dmacr),
    F32(events),
    STATE_FIELD_U16(struct pl011, fifo, 1),
    STATE_FIELD_U8(struct pl011, fifo_len, 1),
    SERIAL_STATE(struct pl011, 1),
};

static const struct state_desc pl011_state = {
    .name = "pl011",
    .version = 1,
    .size = sizeof(struct pl011),
    .n_fields = G_N_ELEMENTS(pl011_fields),
    .fields = pl011_fields,
};

static const struct device_class pl011_class = {
    .name = "pl011",
    .size = 0x1000,
    .regs = {.read = pl011_read, .write = pl011_write, .sizes = 1 | 2 | 4},
    .state = &pl011_state,
    .reset = pl011_reset,
    .restored = pl011_restored,
    .free = pl011_free,
};

struct serial *pl011_new(uv_loop_t *loop, struct irq_line irq, const struct serial_ops *ops,
                         void *opaque, GError **err)
{
    struct pl011 *u = g_new0(struct pl011, 1);

    if (!serial__init(&u->serial, loop, &chip, ops, opaque, err)) {
        g_free(u);
        return NULL;
    }
    u->serial.dev.class = &pl011_class;
    u->irq = irq;
    device_reset(&u->serial.dev);
    return &u->serial;
}
