/* See the header. The line is high while an event is pending. */
#include "machine/devices/ged.h"

#include <pthread.h>

enum { SLEEP_ENABLE = 1 << 5, SLEEP_TYPE_SHIFT = 2, SLEEP_TYPE_MASK = 7 };

struct ged {
    struct device dev;
    pthread_mutex_t lock;
    uint32_t events;

    struct irq_line irq;
    bool level; /* of the line */
    void (*finish)(void *opaque, bool reboot);
    void *opaque;
};

/* With the lock. */
static void set_events(struct ged *ged, uint32_t events)
{
    ged->events = events;
    if (ged->level != (events != 0)) {
        ged->level = !ged->level;
        irq_line_set(&ged->irq, ged->level);
    }
}

static int ged_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct ged *ged = opaque;

    *value = 0;
    if (offset != GED_EVENTS || size != 4)
        return 0;
    pthread_mutex_lock(&ged->lock);
    *value = ged->events;
    set_events(ged, 0);
    pthread_mutex_unlock(&ged->lock);
    return 0;
}

static int ged_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ged *ged = opaque;

    if (size != 1)
        return 0;
    if (offset == GED_RESET && value == GED_RESET_VALUE)
        ged->finish(ged->opaque, true);
    if (offset == GED_SLEEP_CONTROL && value & SLEEP_ENABLE &&
        (value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == GED_S5)
        ged->finish(ged->opaque, false);
    return 0;
}

static void ged_reset(struct device *dev)
{
    struct ged *ged = container_of(dev, struct ged, dev);

    pthread_mutex_lock(&ged->lock);
    set_events(ged, 0);
    pthread_mutex_unlock(&ged->lock);
}

static bool ged_restored(struct device *dev)
{
    struct ged *ged = container_of(dev, struct ged, dev);

    ged->level = !ged->events; /* the line is driven anew */
    ged_raise(ged, 0);
    return true;
}

static void ged_free(struct device *dev)
{
    struct ged *ged = container_of(dev, struct ged, dev);

    pthread_mutex_destroy(&ged->lock);
    g_free(ged);
}

static const struct state_field ged_fields[] = {STATE_FIELD_U32(struct ged, events, 1)};

static const struct state_desc ged_state = {
    .name = "ged",
    .version = 1,
    .size = sizeof(struct ged),
    .n_fields = G_N_ELEMENTS(ged_fields),
    .fields = ged_fields,
};

static const struct device_class ged_class = {
    .name = "ged",
    .size = GED_SIZE,
    .regs = {.read = ged_read, .write = ged_write, .sizes = 1 | 4},
    .state = &ged_state,
    .reset = ged_reset,
    .restored = ged_restored,
    .free = ged_free,
};

struct ged *ged_new(struct irq_line irq, void (*finish)(void *opaque, bool reboot), void *opaque)
{
    struct ged *ged = g_new0(struct ged, 1);

    ged->dev.class = &ged_class;
    pthread_mutex_init(&ged->lock, NULL);
    ged->irq = irq;
    ged->finish = finish;
    ged->opaque = opaque;
    return ged;
}

struct device *ged_device(struct ged *ged)
{
    return &ged->dev;
}

void ged_raise(struct ged *ged, uint32_t event)
{
    pthread_mutex_lock(&ged->lock);
    set_events(ged, ged->events | event);
    pthread_mutex_unlock(&ged->lock);
}
