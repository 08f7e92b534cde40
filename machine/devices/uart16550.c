/*
 * Registers as National Semiconductor's PC16550D data sheet has them, one byte each.
 *
 * Interrupts, highest first: line status (IER.2), data (IER.0: the FIFO at its trigger level, or
 * any data below it as a character timeout), transmitter empty (IER.1), modem status (IER.3). The
 * transmitter-empty interrupt is an event: it is set when the transmitter becomes empty and when
 * IER.1 is switched on while it is, and cleared when IIR shows it to the guest or THR is written.
 *
 * The other end of the line respects RTS: input waits in its ring until the guest raises RTS,
 * enables the data interrupt, or polls for it with nothing to send; and what a driver clears from
 * the FIFO before it raised RTS comes again. So nothing that was typed while a guest sets up its
 * port is lost.
 *
 * Line speed is not modelled: the transmitter is empty at once and a character timeout comes at once.
 */
#include "machine/devices/uart16550.h"

#include "machine/devices/serial_priv.h"

/* Offsets; the first two are the divisor's while LCR.DLAB is set. */
enum {
    REG_DATA = 0,
    REG_IER = 1,
    REG_IIR = 2, /* read */
    REG_FCR = 2, /* write */
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCR = 7,
};

enum {
    IER_RX = 0x01,
    IER_THRE = 0x02,
    IER_LINE = 0x04,
    IER_MODEM = 0x08,
    IER_MASK = 0x0f,

    IIR_NONE = 0x01,
    IIR_MODEM = 0x00,
    IIR_THRE = 0x02,
    IIR_RX = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_CLEAR_RX = 0x02,
    FCR_KEPT = 0xc9, /* trigger level, DMA mode, enable */

    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,

    LSR_DATA = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_BREAK = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,

    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
    MSR_DELTA = 0x0f,
};

enum {
    FIFO_SIZE = 16,
    POLLS = 32, /* reads of LSR in a row that show that the guest polls for input */
};

struct uart16550 {
    struct serial serial; /* first */

    uint8_t ier, lcr, mcr, lsr, msr, scr, fcr, dll, dlm;
    uint8_t thre_event; /* the transmitter-empty interrupt waits */
    uint8_t fifo[FIFO_SIZE];
    uint8_t fifo_len;
    uint8_t fifo_looped; /* it holds bytes of the loopback */
    uint8_t polls;       /* reads of LSR since THR was last written, at most POLLS */

    struct irq_line irq;
    bool level; /* of the line */
};

static struct uart16550 *uart_of(struct serial *s)
{
    return container_of(s, struct uart16550, serial);
}

/* --- interrupts --------------------------------------------------------------------------- */

static unsigned rx_trigger(const struct uart16550 *u)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return u->fcr & FCR_ENABLE ? levels[u->fcr >> 6] : 1;
}

/* The low bits of IIR: the highest interrupt that waits and is enabled. */
static uint8_t interrupt_id(const struct uart16550 *u)
{
    if ((u->ier & IER_LINE) && (u->lsr & (LSR_OVERRUN | LSR_BREAK)))
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->fifo_len)
        return u->fifo_len >= rx_trigger(u) ? IIR_RX : IIR_TIMEOUT;
    if ((u->ier & IER_THRE) && u->thre_event && !u->serial.tx_busy)
        return IIR_THRE;
    if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTA))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update(struct uart16550 *u)
{
    bool level = interrupt_id(u) != IIR_NONE;

    if (level != u->level) {
        u->level = level;
        irq_line_set(&u->irq, level);
    }
}

/* --- the two directions ------------------------------------------------------------------- */

static unsigned fifo_size(const struct uart16550 *u)
{
    return u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

/* Whether the other end may send: see the top of the file. In loopback the line is cut off. */
static bool line_open(const struct uart16550 *u)
{
    return !(u->mcr & MCR_LOOP) && ((u->mcr & MCR_RTS) || (u->ier & IER_RX) || u->polls == POLLS);
}

/* Moves waiting input to the FIFO. */
static void refill(struct uart16550 *u)
{
    if (!line_open(u))
        return;
    while (u->fifo_len < fifo_size(u) && serial__take(&u->serial, &u->fifo[u->fifo_len]))
        u->fifo_len++;
}

/* Empties the FIFO. Without RTS its bytes are still the other end's to send. */
static void clear_fifo(struct uart16550 *u)
{
    bool again = !(u->mcr & MCR_RTS) && !u->fifo_looped;

    while (again && u->fifo_len && serial__put_back(&u->serial, u->fifo[u->fifo_len - 1]))
        u->fifo_len--;
    u->fifo_len = u->fifo_looped = 0;
}

/* A byte from the transmitter to the receiver, in loopback. */
static void loop_back(struct uart16550 *u, uint8_t byte)
{
    u->fifo_looped = 1;
    if (u->fifo_len == fifo_size(u))
        u->lsr |= LSR_OVERRUN;
    else
        u->fifo[u->fifo_len++] = byte;
}

/* --- registers ---------------------------------------------------------------------------- */

static uint8_t modem_lines(const struct uart16550 *u)
{
    uint8_t v = 0;

    if (!(u->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    v |= u->mcr & MCR_RTS ? MSR_CTS : 0;
    v |= u->mcr & MCR_DTR ? MSR_DSR : 0;
    v |= u->mcr & MCR_OUT1 ? MSR_RI : 0;
    v |= u->mcr & MCR_OUT2 ? MSR_DCD : 0;
    return v;
}

/* Sets the modem lines and the bits that tell which changed (RI: only its fall counts). */
static void set_modem_lines(struct uart16550 *u)
{
    uint8_t now = modem_lines(u), changed = (uint8_t)((u->msr ^ now) >> 4);

    if (now & MSR_RI)
        changed &= (uint8_t) ~(MSR_RI >> 4);
    u->msr = (uint8_t)(now | (u->msr & MSR_DELTA) | changed);
}

static uint8_t read_data(struct uart16550 *u)
{
    uint8_t byte = u->fifo[0];

    if (!u->fifo_len)
        return 0;
    memmove(u->fifo, u->fifo + 1, --u->fifo_len);
    u->fifo_looped &= u->fifo_len > 0;
    refill(u);
    return byte;
}

static uint8_t read_iir(struct uart16550 *u)
{
    uint8_t id = interrupt_id(u);

    if (id == IIR_THRE)
        u->thre_event = 0;
    return id | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart16550 *u)
{
    uint8_t v = u->lsr;

    u->lsr &= (uint8_t) ~(LSR_OVERRUN | LSR_BREAK);
    if (u->polls < POLLS && ++u->polls == POLLS)
        refill(u);
    if (u->fifo_len)
        v |= LSR_DATA;
    if (!u->serial.tx_busy)
        v |= LSR_THRE | LSR_TEMT;
    return v;
}

static uint8_t read_msr(struct uart16550 *u)
{
    uint8_t v = u->msr;

    u->msr &= (uint8_t)~MSR_DELTA;
    return v;
}

static uint8_t read_reg(struct uart16550 *u, uint64_t offset)
{
    bool dlab = u->lcr & LCR_DLAB;

    switch (offset) {
    case REG_DATA:
        return dlab ? u->dll : read_data(u);
    case REG_IER:
        return dlab ? u->dlm : u->ier;
    case REG_IIR:
        return read_iir(u);
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        return read_lsr(u);
    case REG_MSR:
        return read_msr(u);
    case REG_SCR:
        return u->scr;
    default:
        return 0; /* beyond the chip's eight registers */
    }
}

static void write_data(struct uart16550 *u, uint8_t value)
{
    if (u->mcr & MCR_LOOP)
        loop_back(u, value);
    else
        serial__send(&u->serial, value);
    u->thre_event = !u->serial.tx_busy;
    u->polls = 0;
}

static void write_ier(struct uart16550 *u, uint8_t value)
{
    if ((value & ~u->ier & IER_THRE) && !u->serial.tx_busy)
        u->thre_event = 1;
    u->ier = value & IER_MASK;
    refill(u);
}

static void write_fcr(struct uart16550 *u, uint8_t value)
{
    /* Switching the FIFOs on or off empties them. The transmitter's is always empty. */
    if (((value ^ u->fcr) & FCR_ENABLE) || (value & FCR_CLEAR_RX))
        clear_fifo(u);
    u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    refill(u);
}

static void write_reg(struct uart16550 *u, uint64_t offset, uint8_t value)
{
    bool dlab = u->lcr & LCR_DLAB;

    switch (offset) {
    case REG_DATA:
        if (dlab)
            u->dll = value;
        else
            write_data(u, value);
        break;
    case REG_IER:
        if (dlab)
            u->dlm = value;
        else
            write_ier(u, value);
        break;
    case REG_FCR:
        write_fcr(u, value);
        break;
    case REG_LCR:
        u->lcr = value;
        break;
    case REG_MCR:
        u->mcr = value & MCR_MASK;
        set_modem_lines(u);
        refill(u);
        break;
    case REG_SCR:
        u->scr = value;
        break;
    default:
        break; /* LSR and MSR are read-only */
    }
}

static int uart_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct uart16550 *u = opaque;

    pthread_mutex_lock(&u->serial.lock);
    *value = read_reg(u, offset);
    update(u);
    pthread_mutex_unlock(&u->serial.lock);
    return 0;
}

static int uart_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct uart16550 *u = opaque;

    pthread_mutex_lock(&u->serial.lock);
    write_reg(u, offset, (uint8_t)value);
    update(u);
    pthread_mutex_unlock(&u->serial.lock);
    return 0;
}

/* --- as a serial port --------------------------------------------------------------------- */

static void chip_input(struct serial *s)
{
    refill(uart_of(s));
}

static void chip_sent(struct serial *s)
{
    uart_of(s)->thre_event = 1;
}

static bool chip_break(struct serial *s)
{
    struct uart16550 *u = uart_of(s);

    if (u->fifo_len || u->mcr & MCR_LOOP)
        return false;
    u->fifo[u->fifo_len++] = 0;
    u->lsr |= LSR_BREAK;
    return true;
}

static size_t chip_receive(struct serial *s, uint8_t *data, size_t n)
{
    struct uart16550 *u = uart_of(s);
    size_t got = 0;

    u->polls = POLLS; /* the firmware is who polls */
    refill(u);
    while (got < n && u->fifo_len)
        data[got++] = read_data(u);
    return got;
}

static void chip_update(struct serial *s)
{
    update(uart_of(s));
}

static const struct serial_chip chip = {.input = chip_input, .sent = chip_sent,
                                        .brk = chip_break, .receive = chip_receive,
                                        .update = chip_update};

/* --- life --------------------------------------------------------------------------------- */

/* Output that waits is kept: it was sent before the reset. */
static void uart_reset(struct device *dev)
{
    struct uart16550 *u = container_of(dev, struct uart16550, serial.dev);

    pthread_mutex_lock(&u->serial.lock);
    u->ier = u->lcr = u->mcr = u->lsr = u->scr = u->fcr = u->dlm = 0;
    u->dll = 1;
    u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
    u->thre_event = u->polls = 0;
    clear_fifo(u);
    update(u);
    pthread_mutex_unlock(&u->serial.lock);
}

static bool uart_restored(struct device *dev)
{
    struct uart16550 *u = container_of(dev, struct uart16550, serial.dev);

    pthread_mutex_lock(&u->serial.lock);
    bool ok = u->fifo_len <= fifo_size(u) && u->polls <= POLLS && serial__restored(&u->serial);
    if (ok) {
        u->level = interrupt_id(u) != IIR_NONE;
        irq_line_set(&u->irq, u->level);
    }
    pthread_mutex_unlock(&u->serial.lock);
    return ok;
}

static void uart_free(struct device *dev)
{
    serial__free(container_of(dev, struct serial, dev));
}

#define F8(m)  STATE_FIELD_U8(struct uart16550, m, 1)
static const struct state_field uart_fields[] = {
    F8(ier), F8(lcr), F8(mcr), F8(lsr), F8(msr), F8(scr), F8(fcr), F8(dll), F8(dlm), F8(thre_event),
    F8(fifo), F8(fifo_len), F8(fifo_looped), F8(polls), SERIAL_STATE(struct uart16550, 1),
};

static const struct state_desc uart_state = {
    .name = "uart16550",
    .version = 1,
    .size = sizeof(struct uart16550),
    .n_fields = G_N_ELEMENTS(uart_fields),
    .fields = uart_fields,
};

static const struct device_class uart_class = {
    .name = "uart16550",
    .size = 0x100,
    .regs = {.read = uart_read, .write = uart_write, .sizes = 1 | 2 | 4},
    .state = &uart_state,
    .reset = uart_reset,
    .restored = uart_restored,
    .free = uart_free,
};

struct serial *uart16550_new(uv_loop_t *loop, struct irq_line irq, const struct serial_ops *ops,
                             void *opaque, GError **err)
{
    struct uart16550 *u = g_new0(struct uart16550, 1);

    if (!serial__init(&u->serial, loop, &chip, ops, opaque, err)) {
        g_free(u);
        return NULL;
    }
    u->serial.dev.class = &uart_class;
    u->irq = irq;
    device_reset(&u->serial.dev);
    return &u->serial;
}
