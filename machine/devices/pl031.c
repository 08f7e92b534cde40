/* Registers as the technical reference manual has them (DDI 0224, chapter 3). */
#include "machine/devices/pl031.h"

#include <pthread.h>

enum {
    REG_DR = 0x00,
    REG_MR = 0x04,
    REG_LR = 0x08,
    REG_CR = 0x0c,
    REG_IMSC = 0x10,
    REG_RIS = 0x14,
    REG_MIS = 0x18,
    REG_ICR = 0x1c,
    REG_ID = 0xfe0, /* eight bytes of identification, a word each */
};

#define NS_PER_S UINT64_C(1000000000)

struct pl031 {
    struct device dev;
    pthread_mutex_t lock;
    uint32_t offset; /* guest's seconds - the VM's, modulo 2^32 */
    uint32_t match, load;
    uint8_t armed; /* MATCH was written and has not come */
    uint8_t raised, enabled;

    struct guest_timer timer;
    struct irq_line irq;
    wall_clock_fn wall;
};

static uint64_t wall_ns(const struct pl031 *rtc)
{
    return wall_clock_ns(rtc->wall, rtc->timer.set);
}

static uint32_t now(const struct pl031 *rtc)
{
    return (uint32_t)(wall_ns(rtc) / NS_PER_S) + rtc->offset;
}

/* Nanoseconds until the clock shows MATCH. */
static uint64_t until_match(const struct pl031 *rtc)
{
    return (uint64_t)(uint32_t)(rtc->match - now(rtc)) * NS_PER_S - wall_ns(rtc) % NS_PER_S;
}

/* Fires an alarm that is due, arms the timer for one that isn't, drives the line. Lock held. */
static void update(struct pl031 *rtc)
{
    uint64_t deadline = UINT64_MAX;

    if (rtc->armed && (int32_t)(now(rtc) - rtc->match) >= 0) {
        rtc->armed = 0;
        rtc->raised = 1;
    }
    if (rtc->armed)
        deadline = guest_timers_now(rtc->timer.set) + until_match(rtc);
    guest_timer_set(&rtc->timer, deadline);
    irq_line_set(&rtc->irq, rtc->raised && rtc->enabled);
}

static void on_timer(void *opaque)
{
    struct pl031 *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static uint32_t read_reg(const struct pl031 *rtc, uint64_t offset)
{
    static const uint8_t id[] = {0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

    switch (offset) {
    case REG_DR:
        return now(rtc);
    case REG_MR:
        return rtc->match;
    case REG_LR:
        return rtc->load;
    case REG_CR:
        return 1; /* it always runs */
    case REG_IMSC:
        return rtc->enabled;
    case REG_RIS:
        return rtc->raised;
    case REG_MIS:
        return rtc->raised && rtc->enabled;
    default:
        return offset >= REG_ID && offset < REG_ID + 4 * sizeof(id) ? id[(offset - REG_ID) / 4] : 0;
    }
}

static void write_reg(struct pl031 *rtc, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case REG_MR:
        rtc->match = value;
        rtc->armed = (int32_t)(value - now(rtc)) > 0;
        break;
    case REG_LR:
        rtc->load = value;
        rtc->offset += value - now(rtc);
        break;
    case REG_IMSC:
        rtc->enabled = value & 1;
        break;
    case REG_ICR:
        rtc->raised &= (uint8_t)~value;
        break;
    default:
        break; /* read-only, or not there */
    }
    update(rtc);
}

static int pl031_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pl031 *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    *value = read_reg(rtc, offset);
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}

static int pl031_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pl031 *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    write_reg(rtc, offset, (uint32_t)value);
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}

/* The time that the guest set survives a reset. */
static void pl031_reset(struct device *dev)
{
    struct pl031 *rtc = container_of(dev, struct pl031, dev);

    pthread_mutex_lock(&rtc->lock);
    rtc->match = rtc->load = 0;
    rtc->armed = rtc->raised = rtc->enabled = 0;
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static bool pl031_restored(struct device *dev)
{
    on_timer(container_of(dev, struct pl031, dev));
    return true;
}

static void pl031_free(struct device *dev)
{
    struct pl031 *rtc = container_of(dev, struct pl031, dev);

    guest_timer_remove(&rtc->timer);
    pthread_mutex_destroy(&rtc->lock);
    g_free(rtc);
}

static const struct state_field pl031_fields[] = {
    STATE_FIELD_U32(struct pl031, offset, 1), STATE_FIELD_U32(struct pl031, match, 1),
    STATE_FIELD_U32(struct pl031, load, 1),   STATE_FIELD_U8(struct pl031, armed, 1),
    STATE_FIELD_U8(struct pl031, raised, 1),  STATE_FIELD_U8(struct pl031, enabled, 1),
};

static const struct state_desc pl031_state = {
    .name = "pl031",
    .version = 1,
    .size = sizeof(struct pl031),
    .n_fields = G_N_ELEMENTS(pl031_fields),
    .fields = pl031_fields,
};

static const struct device_class pl031_class = {
    .name = "pl031",
    .size = 0x1000,
    .regs = {.read = pl031_read, .write = pl031_write, .sizes = 1 | 2 | 4},
    .state = &pl031_state,
    .reset = pl031_reset,
    .restored = pl031_restored,
    .free = pl031_free,
};

struct pl031 *pl031_new(struct guest_timers *timers, struct irq_line irq, wall_clock_fn wall)
{
    struct pl031 *rtc = g_new0(struct pl031, 1);

    rtc->dev.class = &pl031_class;
    pthread_mutex_init(&rtc->lock, NULL);
    rtc->timer = (struct guest_timer){.fn = on_timer, .opaque = rtc};
    guest_timer_add(timers, &rtc->timer);
    rtc->irq = irq;
    rtc->wall = wall;
    return rtc;
}

struct device *pl031_device(struct pl031 *rtc)
{
    return &rtc->dev;
}
