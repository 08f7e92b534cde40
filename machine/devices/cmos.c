/*
 * Registers of the MC146818A, with the century where ACPI's FADT says it is. While SET is on the
 * time registers are plain memory; when it goes off they become the time.
 */
#include "machine/devices/cmos.h"

#include <pthread.h>

enum {
    SECONDS = 0,
    SECONDS_ALARM = 1,
    MINUTES = 2,
    MINUTES_ALARM = 3,
    HOURS = 4,
    HOURS_ALARM = 5,
    WEEKDAY = 6,
    DAY = 7,
    MONTH = 8,
    YEAR = 9,
    REG_A = 10,
    REG_B = 11,
    REG_C = 12,
    REG_D = 13,
    CENTURY = 0x32,
    CMOS_BYTES = 128,
};

enum {
    A_DIVIDER = 0x26, /* 32768 Hz */
    B_24_HOURS = 1 << 1,
    B_BINARY = 1 << 2,
    B_UPDATE = 1 << 4,
    B_ALARM = 1 << 5,
    B_SET = 1 << 7,
    C_UPDATE = 1 << 4,
    C_ALARM = 1 << 5,
    C_IRQ = 1 << 7,
    D_VALID = 1 << 7,
    HOUR_PM = 1 << 7,
    ALARM_ANY = 0xc0, /* both bits: matches whatever the time is */
};

#define SECOND_NS UINT64_C(1000000000)
#define DAY_S     86400

struct cmos {
    struct device dev;
    pthread_mutex_t lock;
    uint64_t offset; /* guest's time - the VM's, modulo 2^64 */
    uint64_t seen;   /* the second up to which alarm and updates were looked at */
    uint8_t index;
    uint8_t bytes[CMOS_BYTES]; /* time registers are good only while SET is on */

    struct guest_timer timer;
    struct irq_line irq;
    bool level; /* of the line */
    wall_clock_fn wall;
};

static uint64_t now_ns(const struct cmos *cmos)
{
    return wall_clock_ns(cmos->wall, cmos->timer.set) + cmos->offset;
}

/* --- the formats of numbers ----------------------------------------------------------------- */

static uint8_t encode(const struct cmos *cmos, unsigned value)
{
    return (uint8_t)(cmos->bytes[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct cmos *cmos, uint8_t byte)
{
    return cmos->bytes[REG_B] & B_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint8_t encode_hour(const struct cmos *cmos, unsigned hour)
{
    if (cmos->bytes[REG_B] & B_24_HOURS)
        return encode(cmos, hour);
    return (uint8_t)(encode(cmos, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct cmos *cmos, uint8_t byte)
{
    if (cmos->bytes[REG_B] & B_24_HOURS)
        return decode(cmos, byte);
    return decode(cmos, byte & ~HOUR_PM) % 12 + (byte & HOUR_PM ? 12 : 0);
}

/* --- time ----------------------------------------------------------------------------------- */

/* Makes the time registers show the time, unless the guest is setting them. */
static void show_time(struct cmos *cmos)
{
    time_t seconds = (time_t)(now_ns(cmos) / SECOND_NS);
    struct tm tm;

    if (cmos->bytes[REG_B] & B_SET)
        return;
    gmtime_r(&seconds, &tm);
    unsigned year = (unsigned)tm.tm_year + 1900;
    cmos->bytes[SECONDS] = encode(cmos, (unsigned)tm.tm_sec);
    cmos->bytes[MINUTES] = encode(cmos, (unsigned)tm.tm_min);
    cmos->bytes[HOURS] = encode_hour(cmos, (unsigned)tm.tm_hour);
    cmos->bytes[WEEKDAY] = encode(cmos, (unsigned)tm.tm_wday + 1);
    cmos->bytes[DAY] = encode(cmos, (unsigned)tm.tm_mday);
    cmos->bytes[MONTH] = encode(cmos, (unsigned)tm.tm_mon + 1);
    cmos->bytes[YEAR] = encode(cmos, year % 100);
    cmos->bytes[CENTURY] = encode(cmos, year / 100 % 100);
}

/* The time becomes what the registers show; whatever they hold is some time. */
static void take_time(struct cmos *cmos)
{
    unsigned year = decode(cmos, cmos->bytes[CENTURY]) * 100 + decode(cmos, cmos->bytes[YEAR]);
    struct tm tm = {
        .tm_sec = (int)decode(cmos, cmos->bytes[SECONDS]),
        .tm_min = (int)decode(cmos, cmos->bytes[MINUTES]),
        .tm_hour = (int)decode_hour(cmos, cmos->bytes[HOURS]),
        .tm_mday = (int)decode(cmos, cmos->bytes[DAY]),
        .tm_mon = (int)decode(cmos, cmos->bytes[MONTH]) - 1,
        .tm_year = (int)year - 1900,
    };
    uint64_t seconds = (uint64_t)MAX(timegm(&tm), 0);

    cmos->offset = seconds * SECOND_NS - wall_clock_ns(cmos->wall, cmos->timer.set);
    cmos->seen = seconds;
}

static bool field_matches(unsigned alarm_byte, unsigned alarm, unsigned value)
{
    return (alarm_byte & ALARM_ANY) == ALARM_ANY || alarm == value;
}

static bool alarm_at(const struct cmos *cmos, uint64_t second)
{
    const uint8_t *b = cmos->bytes;

    return field_matches(b[SECONDS_ALARM], decode(cmos, b[SECONDS_ALARM]), second % 60) &&
           field_matches(b[MINUTES_ALARM], decode(cmos, b[MINUTES_ALARM]), second / 60 % 60) &&
           field_matches(b[HOURS_ALARM], decode_hour(cmos, b[HOURS_ALARM]), second / 3600 % 24);
}

/* Looks at the seconds that have begun since the last look, drives the line, arms the timer. */
static void update(struct cmos *cmos)
{
    uint64_t ns = now_ns(cmos), second = ns / SECOND_NS, deadline = UINT64_MAX;
    uint8_t *c = &cmos->bytes[REG_C], enabled = cmos->bytes[REG_B] & (B_ALARM | B_UPDATE);

    if (!(cmos->bytes[REG_B] & B_SET) && second > cmos->seen) {
        *c |= C_UPDATE;
        for (uint64_t s = second - MIN(second - cmos->seen, DAY_S) + 1; s <= second; s++)
            *c |= alarm_at(cmos, s) ? C_ALARM : 0;
    }
    cmos->seen = second;
    *c = (uint8_t)((*c & ~C_IRQ) | (*c & enabled ? C_IRQ : 0));
    if (enabled && !(cmos->bytes[REG_B] & B_SET))
        deadline = guest_timers_now(cmos->timer.set) + SECOND_NS - ns % SECOND_NS;
    guest_timer_set(&cmos->timer, deadline);
    if (cmos->level != !!(*c & C_IRQ)) {
        cmos->level = !cmos->level;
        irq_line_set(&cmos->irq, cmos->level);
    }
}

static void on_timer(void *opaque)
{
    struct cmos *cmos = opaque;

    pthread_mutex_lock(&cmos->lock);
    update(cmos);
    pthread_mutex_unlock(&cmos->lock);
}

/* --- registers ------------------------------------------------------------------------------ */

static bool is_time(unsigned index)
{
    return index == CENTURY || (index <= YEAR && index != SECONDS_ALARM && index != MINUTES_ALARM &&
                                index != HOURS_ALARM);
}

static uint8_t read_byte(struct cmos *cmos)
{
    uint8_t value;

    if (is_time(cmos->index))
        show_time(cmos);
    if (cmos->index != REG_C)
        return cmos->bytes[cmos->index];
    update(cmos);
    value = cmos->bytes[REG_C];
    cmos->bytes[REG_C] = 0; /* reading acknowledges */
    update(cmos);
    return value;
}

static void write_b(struct cmos *cmos, uint8_t value)
{
    bool was_set = cmos->bytes[REG_B] & B_SET;

    show_time(cmos);
    cmos->bytes[REG_B] = value;
    if (was_set && !(value & B_SET))
        take_time(cmos);
}

static void write_byte(struct cmos *cmos, uint8_t value)
{
    if (cmos->index == REG_C || cmos->index == REG_D)
        return;
    if (cmos->index == REG_B) {
        write_b(cmos, value);
    } else if (is_time(cmos->index)) {
        show_time(cmos);
        cmos->bytes[cmos->index] = value;
        if (!(cmos->bytes[REG_B] & B_SET))
            take_time(cmos);
    } else {
        /* UIP is never seen: an update takes no time. */
        cmos->bytes[cmos->index] = cmos->index == REG_A ? value & 0x7f : value;
    }
    update(cmos);
}

static int cmos_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct cmos *cmos = opaque;

    pthread_mutex_lock(&cmos->lock);
    *value = offset ? read_byte(cmos) : 0xff;
    pthread_mutex_unlock(&cmos->lock);
    return 0;
}

/* Bit 7 of the index masks NMI on a PC; there is none to mask. */
static int cmos_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct cmos *cmos = opaque;

    pthread_mutex_lock(&cmos->lock);
    if (offset)
        write_byte(cmos, (uint8_t)value);
    else
        cmos->index = value & (CMOS_BYTES - 1);
    pthread_mutex_unlock(&cmos->lock);
    return 0;
}

/* Time, alarm and memory survive a reset; interrupts don't stay enabled. */
static void cmos_reset(struct device *dev)
{
    struct cmos *cmos = container_of(dev, struct cmos, dev);

    pthread_mutex_lock(&cmos->lock);
    cmos->index = 0;
    cmos->bytes[REG_A] = A_DIVIDER;
    cmos->bytes[REG_B] = B_24_HOURS;
    cmos->bytes[REG_C] = 0;
    cmos->bytes[REG_D] = D_VALID;
    update(cmos);
    pthread_mutex_unlock(&cmos->lock);
}

static bool cmos_restored(struct device *dev)
{
    struct cmos *cmos = container_of(dev, struct cmos, dev);

    if (cmos->index >= CMOS_BYTES)
        return false;
    cmos->level = !(cmos->bytes[REG_C] & C_IRQ); /* the line is driven anew */
    on_timer(cmos);
    return true;
}

static void cmos_free(struct device *dev)
{
    struct cmos *cmos = container_of(dev, struct cmos, dev);

    guest_timer_remove(&cmos->timer);
    pthread_mutex_destroy(&cmos->lock);
    g_free(cmos);
}

static const struct state_field cmos_fields[] = {
    STATE_FIELD_U64(struct cmos, offset, 1),
    STATE_FIELD_U64(struct cmos, seen, 1),
    STATE_FIELD_U8(struct cmos, index, 1),
    STATE_FIELD_U8(struct cmos, bytes, 1),
};

static const struct state_desc cmos_state = {
    .name = "cmos",
    .version = 1,
    .size = sizeof(struct cmos),
    .n_fields = G_N_ELEMENTS(cmos_fields),
    .fields = cmos_fields,
};

static const struct device_class cmos_class = {
    .name = "cmos",
    .size = CMOS_PORTS,
    .regs = {.read = cmos_read, .write = cmos_write, .sizes = 1},
    .state = &cmos_state,
    .reset = cmos_reset,
    .restored = cmos_restored,
    .free = cmos_free,
};

struct cmos *cmos_new(struct guest_timers *timers, struct irq_line irq, wall_clock_fn wall)
{
    struct cmos *cmos = g_new0(struct cmos, 1);

    cmos->dev.class = &cmos_class;
    pthread_mutex_init(&cmos->lock, NULL);
    cmos->timer = (struct guest_timer){.fn = on_timer, .opaque = cmos};
    guest_timer_add(timers, &cmos->timer);
    cmos->irq = irq;
    cmos->wall = wall;
    cmos->seen = now_ns(cmos) / SECOND_NS;
    return cmos;
}

struct device *cmos_device(struct cmos *cmos)
{
    return &cmos->dev;
}
