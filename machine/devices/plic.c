/*
 * Registers (specification 1.0.0, chapter 3): priorities from 0, pending bits from 0x1000, enable
 * bits from 0x2000 (0x80 a context), threshold and claim/complete from 0x200000 (0x1000 a
 * context).
 *
 * The gateway of a level-triggered source forwards one request at a time: a high line makes it
 * pending, a claim puts it in service, and only its completion looks at the line again. A request
 * once pending stays so until claimed, even when the line falls.
 */
#include "machine/devices/plic.h"

#include <pthread.h>

#define WORDS        (PLIC_SOURCES / 32 + 1)
#define MAX_CONTEXTS (2 * LIMIT_XLATE_VCPUS)
#define PRIORITY_MAX 7

enum {
    REG_PENDING = 0x1000,
    REG_ENABLE = 0x2000,
    ENABLE_STRIDE = 0x80,
    REG_CONTEXT = 0x200000,
    CONTEXT_STRIDE = 0x1000,
    WINDOW = 0x600000,
};

struct context {
    uint32_t enable[WORDS];
    uint32_t threshold;
    bool out; /* level of the hart's input */
};

struct plic {
    struct device dev;
    pthread_mutex_t lock;
    uint32_t priority[PLIC_SOURCES + 1];
    uint32_t level[WORDS]; /* the lines */
    uint32_t pending[WORDS];
    uint32_t service[WORDS]; /* claimed, not completed */
    struct context context[MAX_CONTEXTS];

    struct plic_context wiring[MAX_CONTEXTS];
    unsigned n_contexts;
    hart_irq_fn set_irq;
    void *opaque;
};

static bool bit_get(const uint32_t *words, unsigned n)
{
    return words[n / 32] >> (n % 32) & 1;
}

static void bit_put(uint32_t *words, unsigned n, bool value)
{
    uint32_t mask = UINT32_C(1) << (n % 32);

    words[n / 32] = value ? words[n / 32] | mask : words[n / 32] & ~mask;
}

/* The pending source that C should claim: highest priority, then lowest number; 0 for none. */
static unsigned best(const struct plic *plic, const struct context *c, uint32_t *priority)
{
    unsigned found = 0;

    *priority = 0;
    for (unsigned w = 0; w < WORDS; w++) {
        uint32_t bits = plic->pending[w] & c->enable[w];
        for (; bits; bits &= bits - 1) {
            unsigned n = w * 32 + (unsigned)__builtin_ctz(bits);
            if (plic->priority[n] > *priority) {
                *priority = plic->priority[n];
                found = n;
            }
        }
    }
    return found;
}

static void drive(struct plic *plic, unsigned i)
{
    if (plic->wiring[i].irq != HART_IRQ_NONE)
        plic->set_irq(plic->opaque, plic->wiring[i].cpu, plic->wiring[i].irq, plic->context[i].out);
}

static void update_context(struct plic *plic, unsigned i)
{
    struct context *c = &plic->context[i];
    uint32_t priority;

    best(plic, c, &priority);
    bool out = priority > c->threshold;
    if (out != c->out) {
        c->out = out;
        drive(plic, i);
    }
}

static void update(struct plic *plic)
{
    for (unsigned i = 0; i < plic->n_contexts; i++)
        update_context(plic, i);
}

/* Source N became pending or not: looks only at contexts that have it enabled. */
static void update_source(struct plic *plic, unsigned n)
{
    for (unsigned i = 0; i < plic->n_contexts; i++) {
        if (bit_get(plic->context[i].enable, n))
            update_context(plic, i);
    }
}

static void line_set(void *opaque, unsigned n, bool level)
{
    struct plic *plic = opaque;

    pthread_mutex_lock(&plic->lock);
    bit_put(plic->level, n, level);
    if (level && !bit_get(plic->pending, n) && !bit_get(plic->service, n)) {
        bit_put(plic->pending, n, true);
        update_source(plic, n);
    }
    pthread_mutex_unlock(&plic->lock);
}

static uint32_t claim(struct plic *plic, unsigned i)
{
    uint32_t priority;
    unsigned n = best(plic, &plic->context[i], &priority);

    if (n) {
        bit_put(plic->pending, n, false);
        bit_put(plic->service, n, true);
        update_source(plic, n);
    }
    return n;
}

/* 9: a completion of a source that isn't enabled for the context is ignored. */
static void complete(struct plic *plic, unsigned i, uint64_t n)
{
    if (n == 0 || n > PLIC_SOURCES || !bit_get(plic->context[i].enable, (unsigned)n) ||
        !bit_get(plic->service, (unsigned)n))
        return;
    bit_put(plic->service, (unsigned)n, false);
    if (bit_get(plic->level, (unsigned)n)) {
        bit_put(plic->pending, (unsigned)n, true);
        update_source(plic, (unsigned)n);
    }
}

/* Bits of word W that stand for sources that exist. */
static uint32_t valid_bits(unsigned w)
{
    uint32_t mask = w == 0 ? ~UINT32_C(1) : ~UINT32_C(0);

    if (w == PLIC_SOURCES / 32)
        mask &= (uint32_t)((UINT64_C(2) << (PLIC_SOURCES % 32)) - 1);
    return mask;
}

/* The context and word of an enable register; false where there is none. */
static bool enable_at(struct plic *plic, uint64_t offset, uint32_t **word, unsigned *w)
{
    uint64_t i = (offset - REG_ENABLE) / ENABLE_STRIDE;

    *w = (unsigned)(offset % ENABLE_STRIDE / 4);
    if (offset < REG_ENABLE || i >= plic->n_contexts || *w >= WORDS)
        return false;
    *word = &plic->context[i].enable[*w];
    return true;
}

/* The context of a threshold or claim register; false where there is none. */
static bool context_at(const struct plic *plic, uint64_t offset, unsigned *i)
{
    *i = (unsigned)((offset - REG_CONTEXT) / CONTEXT_STRIDE);
    return offset >= REG_CONTEXT && *i < plic->n_contexts;
}

static int plic_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct plic *plic = opaque;
    uint32_t *word;
    unsigned i, w;

    *value = 0;
    pthread_mutex_lock(&plic->lock);
    if (offset / 4 <= PLIC_SOURCES)
        *value = plic->priority[offset / 4];
    else if (offset >= REG_PENDING && (offset - REG_PENDING) / 4 < WORDS)
        *value = plic->pending[(offset - REG_PENDING) / 4];
    else if (enable_at(plic, offset, &word, &w))
        *value = *word;
    else if (context_at(plic, offset, &i) && offset % CONTEXT_STRIDE == 0)
        *value = plic->context[i].threshold;
    else if (context_at(plic, offset, &i) && offset % CONTEXT_STRIDE == 4)
        *value = claim(plic, i);
    pthread_mutex_unlock(&plic->lock);
    return 0;
}

static int plic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct plic *plic = opaque;
    uint32_t *word;
    unsigned i, w;

    pthread_mutex_lock(&plic->lock);
    if (offset && offset / 4 <= PLIC_SOURCES) {
        plic->priority[offset / 4] = value & PRIORITY_MAX;
        update_source(plic, (unsigned)(offset / 4));
    } else if (enable_at(plic, offset, &word, &w)) {
        *word = (uint32_t)value & valid_bits(w);
        update_context(plic, (unsigned)((offset - REG_ENABLE) / ENABLE_STRIDE));
    } else if (context_at(plic, offset, &i) && offset % CONTEXT_STRIDE == 0) {
        plic->context[i].threshold = value & PRIORITY_MAX;
        update_context(plic, i);
    } else if (context_at(plic, offset, &i) && offset % CONTEXT_STRIDE == 4) {
        complete(plic, i, value);
    }
    pthread_mutex_unlock(&plic->lock);
    return 0;
}

/* Lines keep their level: they belong to the devices, which are reset on their own. */
static void plic_reset(struct device *dev)
{
    struct plic *plic = container_of(dev, struct plic, dev);

    pthread_mutex_lock(&plic->lock);
    memset(plic->priority, 0, sizeof(plic->priority));
    memset(plic->pending, 0, sizeof(plic->pending));
    memset(plic->service, 0, sizeof(plic->service));
    for (unsigned w = 0; w < WORDS; w++)
        plic->pending[w] = plic->level[w];
    for (unsigned i = 0; i < plic->n_contexts; i++) {
        memset(plic->context[i].enable, 0, sizeof(plic->context[i].enable));
        plic->context[i].threshold = 0;
    }
    update(plic);
    pthread_mutex_unlock(&plic->lock);
}

/* What a stream may not hold: bits of sources that don't exist, priorities beyond the range. */
static bool in_range(const struct plic *plic)
{
    for (unsigned n = 0; n <= PLIC_SOURCES; n++) {
        if (plic->priority[n] > (n ? PRIORITY_MAX : 0))
            return false;
    }
    for (unsigned w = 0; w < WORDS; w++) {
        uint32_t bits = plic->level[w] | plic->pending[w] | plic->service[w];
        for (unsigned i = 0; i < MAX_CONTEXTS; i++)
            bits |= plic->context[i].enable[w];
        if (bits & ~valid_bits(w))
            return false;
    }
    for (unsigned i = 0; i < MAX_CONTEXTS; i++) {
        if (plic->context[i].threshold > PRIORITY_MAX)
            return false;
    }
    return true;
}

static bool plic_restored(struct device *dev)
{
    struct plic *plic = container_of(dev, struct plic, dev);

    pthread_mutex_lock(&plic->lock);
    bool ok = in_range(plic);
    /* The harts' inputs are driven anew, whatever they were. */
    for (unsigned i = 0; ok && i < plic->n_contexts; i++) {
        uint32_t priority;
        best(plic, &plic->context[i], &priority);
        plic->context[i].out = priority > plic->context[i].threshold;
        drive(plic, i);
    }
    pthread_mutex_unlock(&plic->lock);
    return ok;
}

static void plic_free(struct device *dev)
{
    struct plic *plic = container_of(dev, struct plic, dev);

    pthread_mutex_destroy(&plic->lock);
    g_free(plic);
}

static const struct state_field context_fields[] = {
    STATE_FIELD_U32(struct context, enable, 1),
    STATE_FIELD_U32(struct context, threshold, 1),
};

static const struct state_desc context_state = {
    .name = "plic-context",
    .version = 1,
    .size = sizeof(struct context),
    .n_fields = G_N_ELEMENTS(context_fields),
    .fields = context_fields,
};

static const struct state_field plic_fields[] = {
    STATE_FIELD_U32(struct plic, priority, 1),
    STATE_FIELD_U32(struct plic, level, 1),
    STATE_FIELD_U32(struct plic, pending, 1),
    STATE_FIELD_U32(struct plic, service, 1),
    {.name = "context",
     .type = STATE_STRUCT,
     .offset = offsetof(struct plic, context),
     .count = MAX_CONTEXTS,
     .since = 1,
     .sub = &context_state},
};

static const struct state_desc plic_state = {
    .name = "plic",
    .version = 1,
    .size = sizeof(struct plic),
    .n_fields = G_N_ELEMENTS(plic_fields),
    .fields = plic_fields,
};

static const struct device_class plic_class = {
    .name = "plic",
    .size = WINDOW,
    .regs = {.read = plic_read, .write = plic_write, .sizes = 4},
    .state = &plic_state,
    .reset = plic_reset,
    .restored = plic_restored,
    .free = plic_free,
};

struct plic *plic_new(const struct plic_context *contexts, unsigned n, hart_irq_fn set_irq,
                      void *opaque)
{
    struct plic *plic = g_new0(struct plic, 1);

    g_assert(n <= MAX_CONTEXTS);
    plic->dev.class = &plic_class;
    pthread_mutex_init(&plic->lock, NULL);
    memcpy(plic->wiring, contexts, n * sizeof(*contexts));
    plic->n_contexts = n;
    plic->set_irq = set_irq;
    plic->opaque = opaque;
    return plic;
}

struct device *plic_device(struct plic *plic)
{
    return &plic->dev;
}

struct irq_line plic_line(struct plic *plic, unsigned number)
{
    g_assert(number >= 1 && number <= PLIC_SOURCES);
    return (struct irq_line){.set = line_set, .opaque = plic, .number = number};
}
