/* Registers as the technical reference manual has them (DDI 0190, chapter 3). */
#include "machine/devices/pl061.h"

#include <pthread.h>

enum {
    REG_DATA_END = 0x400, /* below: data, of which address bits 9..2 say the pins */
    REG_DIR = 0x400,
    REG_IS = 0x404,
    REG_IBE = 0x408,
    REG_IEV = 0x40c,
    REG_IE = 0x410,
    REG_RIS = 0x414,
    REG_MIS = 0x418,
    REG_IC = 0x41c,
    REG_AFSEL = 0x420,
    REG_ID = 0xfe0, /* eight bytes of identification, a word each */
};

#define PRESS_NS UINT64_C(100000000)

struct pl061 {
    struct device dev;
    pthread_mutex_t lock;
    uint8_t out, dir, is, ibe, iev, ie, afsel;
    uint8_t in;    /* levels of the pins that are inputs */
    uint8_t edges; /* of RIS, those of edges */
    uint64_t held; /* guest ns at which pressed pins fall; 0: none is */

    struct guest_timer timer;
    struct irq_line irq;
};

/* Pins that are at the level which interrupts, of those that are level-sensitive. */
static uint8_t raw_status(const struct pl061 *gpio)
{
    uint8_t levels = (uint8_t)(~(gpio->in ^ gpio->iev) & gpio->is);

    return (uint8_t)(gpio->edges | (levels & ~gpio->dir));
}

static void update(struct pl061 *gpio)
{
    irq_line_set(&gpio->irq, raw_status(gpio) & gpio->ie);
}

/* Inputs change to LEVELS: notes the edges that the guest asked for. Lock held. */
static void set_inputs(struct pl061 *gpio, uint8_t levels)
{
    uint8_t changed = gpio->in ^ levels;
    uint8_t wanted = (uint8_t)(gpio->ibe | ~(levels ^ gpio->iev));

    gpio->in = levels;
    gpio->edges |= (uint8_t)(changed & wanted & ~gpio->is & ~gpio->dir);
    update(gpio);
}

static void on_timer(void *opaque)
{
    struct pl061 *gpio = opaque;

    pthread_mutex_lock(&gpio->lock);
    if (gpio->held && guest_timers_now(gpio->timer.set) >= gpio->held) {
        gpio->held = 0;
        set_inputs(gpio, 0);
    }
    guest_timer_set(&gpio->timer, gpio->held ? gpio->held : UINT64_MAX);
    pthread_mutex_unlock(&gpio->lock);
}

bool pl061_press(struct pl061 *gpio, unsigned pin)
{
    g_assert(pin < 8);
    pthread_mutex_lock(&gpio->lock);
    bool heard = gpio->ie >> pin & 1;
    gpio->held = guest_timers_now(gpio->timer.set) + PRESS_NS;
    set_inputs(gpio, gpio->in | (uint8_t)(1u << pin));
    guest_timer_set(&gpio->timer, gpio->held);
    pthread_mutex_unlock(&gpio->lock);
    return heard;
}

static uint8_t read_reg(const struct pl061 *gpio, uint64_t offset)
{
    static const uint8_t id[] = {0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    if (offset < REG_DATA_END)
        return (uint8_t)(((gpio->out & gpio->dir) | (gpio->in & ~gpio->dir)) & offset >> 2);
    switch (offset) {
    case REG_DIR:
        return gpio->dir;
    case REG_IS:
        return gpio->is;
    case REG_IBE:
        return gpio->ibe;
    case REG_IEV:
        return gpio->iev;
    case REG_IE:
        return gpio->ie;
    case REG_RIS:
        return raw_status(gpio);
    case REG_MIS:
        return raw_status(gpio) & gpio->ie;
    case REG_AFSEL:
        return gpio->afsel;
    default:
        return offset >= REG_ID && offset < REG_ID + 4 * sizeof(id) ? id[(offset - REG_ID) / 4] : 0;
    }
}

static void write_reg(struct pl061 *gpio, uint64_t offset, uint8_t value)
{
    uint8_t mask = (uint8_t)(offset >> 2);

    if (offset < REG_DATA_END) {
        gpio->out = (uint8_t)((gpio->out & ~mask) | (value & mask));
        return;
    }
    switch (offset) {
    case REG_DIR:
        gpio->dir = value;
        break;
    case REG_IS:
        gpio->is = value;
        break;
    case REG_IBE:
        gpio->ibe = value;
        break;
    case REG_IEV:
        gpio->iev = value;
        break;
    case REG_IE:
        gpio->ie = value;
        break;
    case REG_IC:
        gpio->edges &= (uint8_t)~value;
        break;
    case REG_AFSEL:
        gpio->afsel = value;
        break;
    default:
        break; /* read-only, or not there */
    }
}

static int pl061_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pl061 *gpio = opaque;

    pthread_mutex_lock(&gpio->lock);
    *value = read_reg(gpio, offset);
    pthread_mutex_unlock(&gpio->lock);
    return 0;
}

static int pl061_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pl061 *gpio = opaque;

    pthread_mutex_lock(&gpio->lock);
    write_reg(gpio, offset, (uint8_t)value);
    update(gpio);
    pthread_mutex_unlock(&gpio->lock);
    return 0;
}

static void pl061_reset(struct device *dev)
{
    struct pl061 *gpio = container_of(dev, struct pl061, dev);

    pthread_mutex_lock(&gpio->lock);
    gpio->out = gpio->dir = gpio->is = gpio->ibe = gpio->iev = gpio->ie = gpio->afsel = 0;
    gpio->edges = gpio->in = 0;
    gpio->held = 0;
    guest_timer_set(&gpio->timer, UINT64_MAX);
    update(gpio);
    pthread_mutex_unlock(&gpio->lock);
}

static bool pl061_restored(struct device *dev)
{
    struct pl061 *gpio = container_of(dev, struct pl061, dev);

    on_timer(gpio);
    pthread_mutex_lock(&gpio->lock);
    update(gpio);
    pthread_mutex_unlock(&gpio->lock);
    return true;
}

static void pl061_free(struct device *dev)
{
    struct pl061 *gpio = container_of(dev, struct pl061, dev);

    guest_timer_remove(&gpio->timer);
    pthread_mutex_destroy(&gpio->lock);
    g_free(gpio);
}

#define F8(m) STATE_FIELD_U8(struct pl061, m, 1)
static const struct state_field pl061_fields[] = {
    F8(out), F8(dir),   F8(is), F8(ibe),   F8(iev),
    F8(ie),  F8(afsel), F8(in), F8(edges), STATE_FIELD_U64(struct pl061, held, 1),
};

static const struct state_desc pl061_state = {
    .name = "pl061",
    .version = 1,
    .size = sizeof(struct pl061),
    .n_fields = G_N_ELEMENTS(pl061_fields),
    .fields = pl061_fields,
};

static const struct device_class pl061_class = {
    .name = "pl061",
    .size = 0x1000,
    .regs = {.read = pl061_read, .write = pl061_write, .sizes = 1 | 2 | 4},
    .state = &pl061_state,
    .reset = pl061_reset,
    .restored = pl061_restored,
    .free = pl061_free,
};

struct pl061 *pl061_new(struct guest_timers *timers, struct irq_line irq)
{
    struct pl061 *gpio = g_new0(struct pl061, 1);

    gpio->dev.class = &pl061_class;
    pthread_mutex_init(&gpio->lock, NULL);
    gpio->timer = (struct guest_timer){.fn = on_timer, .opaque = gpio};
    guest_timer_add(timers, &gpio->timer);
    gpio->irq = irq;
    return gpio;
}

struct device *pl061_device(struct pl061 *gpio)
{
    return &gpio->dev;
}
