/*
 * Registers (ACLINT specification, backward compatible layout): msip words from 0, mtimecmp
 * double words from 0x4000, mtime at 0xbff8. The double words may be accessed by halves.
 */
#include "machine/devices/aclint.h"

#include "machine/devices/hart_timer.h"

#include <pthread.h>

enum {
    REG_MTIMECMP = 0x4000,
    REG_MTIME = 0xbff8,
    WINDOW = 0x10000,
};

struct aclint {
    struct device dev;
    pthread_mutex_t lock;
    uint8_t msip[LIMIT_XLATE_VCPUS];
    uint64_t mtimecmp[LIMIT_XLATE_VCPUS]; /* saved here; the timer has the live ones */
    unsigned cpus;
    struct hart_timer *timer;
    hart_irq_fn set_irq;
    void *opaque;
};

/* The hart whose mtimecmp is at OFFSET; false where there is none. */
static bool mtimecmp_at(const struct aclint *a, uint64_t offset, unsigned *cpu)
{
    *cpu = (unsigned)((offset - REG_MTIMECMP) / 8);
    return offset >= REG_MTIMECMP && *cpu < a->cpus;
}

/* What an access of SIZE bytes sees of a double word. */
static uint64_t part_of(uint64_t whole, uint64_t offset, unsigned size)
{
    return size == 8 ? whole : (uint32_t)(whole >> (offset % 8 * 8));
}

static int aclint_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct aclint *a = opaque;
    unsigned cpu;

    *value = 0;
    pthread_mutex_lock(&a->lock);
    if (offset / 4 < a->cpus)
        *value = a->msip[offset / 4];
    pthread_mutex_unlock(&a->lock);
    if (mtimecmp_at(a, offset, &cpu))
        *value = part_of(hart_timer_get(a->timer, cpu), offset, size);
    else if (ALIGN_DOWN(offset, 8) == REG_MTIME)
        *value = part_of(hart_timer_now(a->timer), offset, size);
    return 0;
}

static void write_msip(struct aclint *a, unsigned cpu, uint64_t value)
{
    pthread_mutex_lock(&a->lock);
    if (a->msip[cpu] != (value & 1)) {
        a->msip[cpu] = value & 1;
        a->set_irq(a->opaque, cpu, HART_IRQ_M_SOFT, a->msip[cpu]);
    }
    pthread_mutex_unlock(&a->lock);
}

static void write_mtimecmp(struct aclint *a, unsigned cpu, uint64_t offset, unsigned size,
                           uint64_t value)
{
    /* Halves of one register are written by one hart at a time, as on the chip. */
    if (size == 4) {
        unsigned shift = (unsigned)(offset % 8 * 8);
        uint64_t old = hart_timer_get(a->timer, cpu);
        value = (old & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)(uint32_t)value << shift;
    }
    hart_timer_set(a->timer, cpu, value);
}

static int aclint_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct aclint *a = opaque;
    unsigned cpu;

    if (offset / 4 < a->cpus)
        write_msip(a, (unsigned)(offset / 4), value);
    else if (mtimecmp_at(a, offset, &cpu))
        write_mtimecmp(a, cpu, offset, size, value);
    return 0;
}

static void aclint_reset(struct device *dev)
{
    struct aclint *a = container_of(dev, struct aclint, dev);

    for (unsigned i = 0; i < a->cpus; i++)
        write_msip(a, i, 0);
    hart_timer_reset(a->timer);
}

static void aclint_saving(struct device *dev)
{
    struct aclint *a = container_of(dev, struct aclint, dev);

    for (unsigned i = 0; i < a->cpus; i++)
        a->mtimecmp[i] = hart_timer_get(a->timer, i);
}

static bool aclint_restored(struct device *dev)
{
    struct aclint *a = container_of(dev, struct aclint, dev);

    for (unsigned i = 0; i < a->cpus; i++) {
        if (a->msip[i] > 1)
            return false;
        a->set_irq(a->opaque, i, HART_IRQ_M_SOFT, a->msip[i]);
        hart_timer_restore(a->timer, i, a->mtimecmp[i]);
    }
    return true;
}

static void aclint_free(struct device *dev)
{
    struct aclint *a = container_of(dev, struct aclint, dev);

    hart_timer_free(a->timer);
    pthread_mutex_destroy(&a->lock);
    g_free(a);
}

static const struct state_field aclint_fields[] = {
    STATE_FIELD_U8(struct aclint, msip, 1),
    STATE_FIELD_U64(struct aclint, mtimecmp, 1),
};

static const struct state_desc aclint_state = {
    .name = "aclint",
    .version = 1,
    .size = sizeof(struct aclint),
    .n_fields = G_N_ELEMENTS(aclint_fields),
    .fields = aclint_fields,
};

static const struct device_class aclint_class = {
    .name = "aclint",
    .size = WINDOW,
    .regs = {.read = aclint_read, .write = aclint_write, .sizes = 4 | 8},
    .state = &aclint_state,
    .reset = aclint_reset,
    .saving = aclint_saving,
    .restored = aclint_restored,
    .free = aclint_free,
};

struct aclint *aclint_new(unsigned cpus, uint64_t hz, struct guest_timers *timers,
                          hart_irq_fn set_irq, void *opaque)
{
    struct aclint *a = g_new0(struct aclint, 1);
    struct hart_timer_config config = {.cpus = cpus,
                                       .irq = HART_IRQ_M_TIMER,
                                       .hz = hz,
                                       .timers = timers,
                                       .set_irq = set_irq,
                                       .opaque = opaque};

    g_assert(cpus <= LIMIT_XLATE_VCPUS);
    a->dev.class = &aclint_class;
    pthread_mutex_init(&a->lock, NULL);
    a->cpus = cpus;
    a->set_irq = set_irq;
    a->opaque = opaque;
    a->timer = hart_timer_new(&config);
    return a;
}

struct device *aclint_device(struct aclint *aclint)
{
    return &aclint->dev;
}
