/*
 * Registers of the Goldfish virtual hardware guide. Reading TIME_LOW latches TIME_HIGH. An alarm
 * is armed by writing ALARM_LOW, after ALARM_HIGH; when it comes it disarms itself and its
 * interrupt stays until cleared.
 */
#include "machine/devices/goldfish_rtc.h"

#include <pthread.h>

enum {
    REG_TIME_LOW = 0x00,
    REG_TIME_HIGH = 0x04,
    REG_ALARM_LOW = 0x08,
    REG_ALARM_HIGH = 0x0c,
    REG_IRQ_ENABLED = 0x10,
    REG_CLEAR_ALARM = 0x14,
    REG_ALARM_STATUS = 0x18,
    REG_CLEAR_INTERRUPT = 0x1c,
};

struct goldfish_rtc {
    struct device dev;
    pthread_mutex_t lock;
    uint64_t offset; /* guest's time - the VM's, modulo 2^64 */
    uint64_t alarm;
    uint32_t time_high; /* latched */
    uint8_t armed, pending, irq_enabled;

    struct guest_timer timer;
    struct irq_line irq;
    wall_clock_fn wall;
};

static uint64_t now(const struct goldfish_rtc *rtc)
{
    return wall_clock_ns(rtc->wall, rtc->timer.set) + rtc->offset;
}

static uint64_t with_low(uint64_t whole, uint64_t low)
{
    return (whole & ~(uint64_t)UINT32_MAX) | (uint32_t)low;
}

static uint64_t with_high(uint64_t whole, uint64_t high)
{
    return (uint32_t)whole | high << 32;
}

/* Fires an alarm that is due, arms the timer for one that isn't, drives the line. Lock held. */
static void update(struct goldfish_rtc *rtc)
{
    uint64_t deadline = UINT64_MAX, time = now(rtc);

    if (rtc->armed && time >= rtc->alarm) {
        rtc->armed = 0;
        rtc->pending = 1;
    }
    /* The guest may ask for any distance: one that the sum cannot bear is looked at again then. */
    if (rtc->armed)
        deadline = guest_timers_now(rtc->timer.set) + MIN(rtc->alarm - time, UINT64_MAX / 4);
    guest_timer_set(&rtc->timer, deadline);
    irq_line_set(&rtc->irq, rtc->pending && rtc->irq_enabled);
}

static void on_timer(void *opaque)
{
    struct goldfish_rtc *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static int rtc_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct goldfish_rtc *rtc = opaque;
    uint64_t time;

    *value = 0;
    pthread_mutex_lock(&rtc->lock);
    switch (offset) {
    case REG_TIME_LOW:
        time = now(rtc);
        rtc->time_high = (uint32_t)(time >> 32);
        *value = (uint32_t)time;
        break;
    case REG_TIME_HIGH:
        *value = rtc->time_high;
        break;
    case REG_ALARM_LOW:
        *value = (uint32_t)rtc->alarm;
        break;
    case REG_ALARM_HIGH:
        *value = rtc->alarm >> 32;
        break;
    case REG_IRQ_ENABLED:
        *value = rtc->irq_enabled;
        break;
    case REG_ALARM_STATUS:
        *value = rtc->armed;
        break;
    default:
        break; /* the rest is write-only or not there */
    }
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}

static void write_reg(struct goldfish_rtc *rtc, uint64_t offset, uint64_t value)
{
    uint64_t time = now(rtc);

    switch (offset) {
    case REG_TIME_LOW:
        rtc->offset += with_low(time, value) - time;
        break;
    case REG_TIME_HIGH:
        rtc->offset += with_high(time, value) - time;
        break;
    case REG_ALARM_LOW:
        rtc->alarm = with_low(rtc->alarm, value);
        rtc->armed = 1;
        break;
    case REG_ALARM_HIGH:
        rtc->alarm = with_high(rtc->alarm, value);
        break;
    case REG_IRQ_ENABLED:
        rtc->irq_enabled = value & 1;
        break;
    case REG_CLEAR_ALARM:
        rtc->armed = 0;
        break;
    case REG_CLEAR_INTERRUPT:
        rtc->pending = 0;
        break;
    default:
        break;
    }
    update(rtc);
}

static int rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct goldfish_rtc *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    write_reg(rtc, offset, value);
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}

/* The time that the guest set survives a reset. */
static void rtc_reset(struct device *dev)
{
    struct goldfish_rtc *rtc = container_of(dev, struct goldfish_rtc, dev);

    pthread_mutex_lock(&rtc->lock);
    rtc->alarm = 0;
    rtc->time_high = 0;
    rtc->armed = rtc->pending = rtc->irq_enabled = 0;
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static bool rtc_restored(struct device *dev)
{
    struct goldfish_rtc *rtc = container_of(dev, struct goldfish_rtc, dev);

    on_timer(rtc);
    return true;
}

static void rtc_free(struct device *dev)
{
    struct goldfish_rtc *rtc = container_of(dev, struct goldfish_rtc, dev);

    guest_timer_remove(&rtc->timer);
    pthread_mutex_destroy(&rtc->lock);
    g_free(rtc);
}

static const struct state_field rtc_fields[] = {
    STATE_FIELD_U64(struct goldfish_rtc, offset, 1),
    STATE_FIELD_U64(struct goldfish_rtc, alarm, 1),
    STATE_FIELD_U32(struct goldfish_rtc, time_high, 1),
    STATE_FIELD_U8(struct goldfish_rtc, armed, 1),
    STATE_FIELD_U8(struct goldfish_rtc, pending, 1),
    STATE_FIELD_U8(struct goldfish_rtc, irq_enabled, 1),
};

static const struct state_desc rtc_state = {
    .name = "goldfish-rtc",
    .version = 1,
    .size = sizeof(struct goldfish_rtc),
    .n_fields = G_N_ELEMENTS(rtc_fields),
    .fields = rtc_fields,
};

static const struct device_class rtc_class = {
    .name = "goldfish-rtc",
    .size = 0x1000,
    .regs = {.read = rtc_read, .write = rtc_write, .sizes = 4},
    .state = &rtc_state,
    .reset = rtc_reset,
    .restored = rtc_restored,
    .free = rtc_free,
};

struct goldfish_rtc *goldfish_rtc_new(struct guest_timers *timers, struct irq_line irq,
                                      wall_clock_fn wall)
{
    struct goldfish_rtc *rtc = g_new0(struct goldfish_rtc, 1);

    rtc->dev.class = &rtc_class;
    pthread_mutex_init(&rtc->lock, NULL);
    rtc->timer = (struct guest_timer){.fn = on_timer, .opaque = rtc};
    guest_timer_add(timers, &rtc->timer);
    rtc->irq = irq;
    rtc->wall = wall;
    return rtc;
}

struct device *goldfish_rtc_device(struct goldfish_rtc *rtc)
{
    return &rtc->dev;
}
