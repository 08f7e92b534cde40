/* See the header. */
#include "machine/devices/cpu_plug.h"

#include <pthread.h>

/* Status codes of _OST that are no end: the guest is at it. */
enum { OST_INSERTING = 0x80, OST_EJECTING = 0x83, OST_EJECTING_TOO = 0x84 };
/* Events of _OST for what the guest does by itself. */
enum { OST_EJECTION = 0x103, OST_INSERTION = 0x200 };

enum { TAKEN = 1 << 4, REFUSED = 1 << 5 }; /* beside the bits of CPU_PLUG_FLAGS */
enum { SHOWN = CPU_PLUG_PRESENT | CPU_PLUG_COMES | CPU_PLUG_GOES };

struct cpu_plug {
    struct device dev;
    pthread_mutex_t lock;
    uint32_t n;
    uint32_t selected;
    uint8_t command;
    uint32_t ost_event;
    uint8_t cpus[LIMIT_VCPUS];
    uint32_t status[LIMIT_VCPUS]; /* of _OST, with REFUSED */

    const struct cpu_plug_ops *ops;
    void *opaque;
};

/* --- registers, with the lock ----------------------------------------------------------------- */

static bool has_event(const struct cpu_plug *p, uint32_t cpu)
{
    return p->cpus[cpu] & (CPU_PLUG_COMES | CPU_PLUG_GOES);
}

static void select_next(struct cpu_plug *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t cpu = (p->selected + i) % p->n;
        if (has_event(p, cpu)) {
            p->selected = cpu;
            return;
        }
    }
}

static uint32_t read_data(const struct cpu_plug *p)
{
    return p->command == CPU_PLUG_NEXT || p->command == CPU_PLUG_ARCH_ID ? p->selected : 0;
}

static bool is_progress(bool insertion, uint32_t status)
{
    return insertion ? status == OST_INSERTING
                     : status == OST_EJECTING || status == OST_EJECTING_TOO;
}

/* The guest's answer, about the processor that is selected. */
static void take_answer(struct cpu_plug *p, uint32_t status)
{
    bool insertion = p->ost_event == CPU_PLUG_CHECK || p->ost_event == OST_INSERTION;
    bool ejection = p->ost_event == CPU_PLUG_EJECT_REQUEST || p->ost_event == OST_EJECTION;
    uint8_t *cpu = &p->cpus[p->selected];

    if (!(insertion || ejection) || !(*cpu & CPU_PLUG_PRESENT) || is_progress(insertion, status))
        return;
    p->status[p->selected] = status;
    if (status)
        *cpu |= REFUSED;
    else if (insertion)
        *cpu |= TAKEN;
}

static void write_data(struct cpu_plug *p, uint32_t value)
{
    if (p->command == CPU_PLUG_OST_EVENT)
        p->ost_event = value;
    else if (p->command == CPU_PLUG_OST_STATUS)
        take_answer(p, value);
}

/* Whether the guest lets go of the selected processor. The first cannot be let go of. */
static bool write_flags(struct cpu_plug *p, uint8_t value)
{
    uint8_t *cpu = &p->cpus[p->selected];

    *cpu &= (uint8_t) ~(value & (CPU_PLUG_COMES | CPU_PLUG_GOES));
    if (!(value & CPU_PLUG_EJECT) || !(*cpu & CPU_PLUG_PRESENT) || p->selected == 0)
        return false;
    *cpu = 0;
    return true;
}

static int plug_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct cpu_plug *p = opaque;

    *value = 0;
    pthread_mutex_lock(&p->lock);
    if (offset == CPU_PLUG_FLAGS && size == 1 && p->selected < p->n)
        *value = p->cpus[p->selected] & SHOWN;
    else if (offset == CPU_PLUG_DATA && size == 4)
        *value = read_data(p);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static int plug_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct cpu_plug *p = opaque;
    bool ejected = false;

    pthread_mutex_lock(&p->lock);
    uint32_t cpu = p->selected;
    bool valid = cpu < p->n;
    if (offset == CPU_PLUG_SELECT && size == 4)
        p->selected = (uint32_t)value;
    else if (offset == CPU_PLUG_FLAGS && size == 1 && valid)
        ejected = write_flags(p, (uint8_t)value);
    else if (offset == CPU_PLUG_DATA && size == 4 && valid)
        write_data(p, (uint32_t)value);
    else if (offset == CPU_PLUG_COMMAND && size == 1)
        p->command = (uint8_t)value;
    if (offset == CPU_PLUG_COMMAND && value == CPU_PLUG_NEXT)
        select_next(p);
    pthread_mutex_unlock(&p->lock);
    if (ejected)
        p->ops->ejected(p->opaque, cpu);
    return 0;
}

/* --- what the machine does ----------------------------------------------------------------------
 */

void cpu_plug_set(struct cpu_plug *p, unsigned cpu, bool present)
{
    g_assert(cpu < p->n);
    pthread_mutex_lock(&p->lock);
    p->cpus[cpu] = present ? CPU_PLUG_PRESENT : 0;
    pthread_mutex_unlock(&p->lock);
}

void cpu_plug_offer(struct cpu_plug *p, unsigned cpu)
{
    g_assert(cpu < p->n);
    pthread_mutex_lock(&p->lock);
    p->cpus[cpu] = CPU_PLUG_PRESENT | CPU_PLUG_COMES;
    pthread_mutex_unlock(&p->lock);
    p->ops->changed(p->opaque);
}

void cpu_plug_ask_back(struct cpu_plug *p, unsigned cpu, bool ask)
{
    g_assert(cpu < p->n);
    pthread_mutex_lock(&p->lock);
    if (p->cpus[cpu] & CPU_PLUG_PRESENT) {
        p->cpus[cpu] &= (uint8_t) ~(CPU_PLUG_COMES | CPU_PLUG_GOES | REFUSED);
        if (ask)
            p->cpus[cpu] |= CPU_PLUG_GOES;
    }
    pthread_mutex_unlock(&p->lock);
    if (ask)
        p->ops->changed(p->opaque);
}

void cpu_plug_withdraw(struct cpu_plug *p, unsigned cpu)
{
    cpu_plug_set(p, cpu, false);
}

void cpu_plug_look(struct cpu_plug *p, unsigned cpu, struct cpu_plug_state *out)
{
    g_assert(cpu < p->n);
    pthread_mutex_lock(&p->lock);
    *out = (struct cpu_plug_state){
        .present = p->cpus[cpu] & CPU_PLUG_PRESENT,
        .taken = p->cpus[cpu] & TAKEN,
        .refused = p->cpus[cpu] & REFUSED,
        .status = p->cpus[cpu] & REFUSED ? p->status[cpu] : 0,
    };
    pthread_mutex_unlock(&p->lock);
}

/* --- the device ------------------------------------------------------------------------------- */

/* Processors stay; who loads the machine says which are there (cpu_plug_set()). */
static void plug_reset(struct device *dev)
{
    struct cpu_plug *p = container_of(dev, struct cpu_plug, dev);

    pthread_mutex_lock(&p->lock);
    p->selected = p->ost_event = 0;
    p->command = CPU_PLUG_NEXT;
    for (uint32_t i = 0; i < p->n; i++)
        p->cpus[i] &= CPU_PLUG_PRESENT;
    pthread_mutex_unlock(&p->lock);
}

static bool plug_restored(struct device *dev)
{
    struct cpu_plug *p = container_of(dev, struct cpu_plug, dev);

    for (uint32_t i = 0; i < LIMIT_VCPUS; i++) {
        if (p->cpus[i] & ~(SHOWN | TAKEN | REFUSED) || (i >= p->n && p->cpus[i]) ||
            (p->cpus[i] && !(p->cpus[i] & CPU_PLUG_PRESENT)))
            return false;
    }
    return p->cpus[0] & CPU_PLUG_PRESENT;
}

static void plug_free(struct device *dev)
{
    struct cpu_plug *p = container_of(dev, struct cpu_plug, dev);

    pthread_mutex_destroy(&p->lock);
    g_free(p);
}

static const struct state_field plug_fields[] = {
    STATE_FIELD_U32(struct cpu_plug, selected, 1),  STATE_FIELD_U8(struct cpu_plug, command, 1),
    STATE_FIELD_U32(struct cpu_plug, ost_event, 1), STATE_FIELD_U8(struct cpu_plug, cpus, 1),
    STATE_FIELD_U32(struct cpu_plug, status, 1),
};

static const struct state_desc plug_state = {
    .name = "cpu-plug",
    .version = 1,
    .size = sizeof(struct cpu_plug),
    .n_fields = G_N_ELEMENTS(plug_fields),
    .fields = plug_fields,
};

static const struct device_class plug_class = {
    .name = "cpu-plug",
    .size = CPU_PLUG_SIZE,
    .regs = {.read = plug_read, .write = plug_write, .sizes = 1 | 4},
    .state = &plug_state,
    .reset = plug_reset,
    .restored = plug_restored,
    .free = plug_free,
};

struct cpu_plug *cpu_plug_new(unsigned cpus, const struct cpu_plug_ops *ops, void *opaque)
{
    struct cpu_plug *p = g_new0(struct cpu_plug, 1);

    g_assert(cpus >= 1 && cpus <= LIMIT_VCPUS);
    p->dev.class = &plug_class;
    pthread_mutex_init(&p->lock, NULL);
    p->n = cpus;
    p->cpus[0] = CPU_PLUG_PRESENT;
    p->ops = ops;
    p->opaque = opaque;
    return p;
}

struct device *cpu_plug_device(struct cpu_plug *p)
{
    return &p->dev;
}
