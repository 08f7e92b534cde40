/*
 * The meter. See meter.h.
 *
 * One lock, taken last of all. The page is written under it, with share_use.changes odd meanwhile:
 * who reads while it is looks again.
 */
#include "gpu/server/meter.h"

#include <pthread.h>
#include <time.h>

/* Something that is counted: a program, or all. */
struct tally {
    struct share_count *shown; /* in the page; a spare where it has no row left */
    uint64_t submitted;        /* launches whose device tells afterwards; in flight */
    uint64_t since_ns;         /* they are counted as one that began then */
};

struct meter {
    pthread_mutex_t lock;
    struct share_use *use;
    void *own; /* USE, where it is nobody else's */
    const volatile struct share_grant *grant;
    struct tally total;
    uint64_t next_id;
};

struct meter_program {
    struct meter *meter;
    struct tally tally;
    struct share_program *row; /* NULL: there were too many */
    struct share_count spare;
};

uint64_t meter_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct meter *meter_new(void *use, const volatile void *grant)
{
    struct meter *m = g_new0(struct meter, 1);

    pthread_mutex_init(&m->lock, NULL);
    m->own = use ? NULL : g_malloc0(SHARE_PAGE);
    m->use = use ? use : m->own;
    m->grant = grant;
    memset(m->use, 0, SHARE_PAGE);
    m->use->magic = SHARE_MAGIC;
    m->use->size = sizeof(*m->use);
    m->total.shown = &m->use->total;
    return m;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    g_free(m->own);
    g_free(m);
}

static void begin_change(struct meter *m)
{
    pthread_mutex_lock(&m->lock);
    __atomic_store_n(&m->use->changes, m->use->changes + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void end_change(struct meter *m)
{
    __atomic_store_n(&m->use->changes, m->use->changes + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&m->lock);
}

/* --- programs --------------------------------------------------------------------------------- */

struct meter_program *meter_program_new(struct meter *m)
{
    struct meter_program *p = NULL;

    if (!m)
        return NULL;
    p = g_new0(struct meter_program, 1);
    p->meter = m;
    p->tally.shown = &p->spare;
    begin_change(m);
    for (unsigned i = 0; i < SHARE_PROGRAMS && !p->row; i++) {
        if (!m->use->programs[i].id)
            p->row = &m->use->programs[i];
    }
    if (p->row) {
        p->row->id = ++m->next_id;
        p->tally.shown = &p->row->count;
    }
    end_change(m);
    return p;
}

void meter_program_free(struct meter_program *p)
{
    if (!p)
        return;
    begin_change(p->meter);
    if (p->row)
        memset(p->row, 0, sizeof(*p->row));
    end_change(p->meter);
    g_free(p);
}

void meter_program_name(struct meter_program *p, uint32_t pid, const void *name, size_t length)
{
    if (!p || !p->row)
        return;
    begin_change(p->meter);
    p->row->pid = pid;
    memset(p->row->name, 0, sizeof(p->row->name));
    for (size_t i = 0; i < MIN(length, SHARE_NAME - 1); i++) {
        char c = ((const char *)name)[i];
        p->row->name[i] = g_ascii_isprint(c) ? c : '?';
    }
    end_change(p->meter);
}

/* --- launches --------------------------------------------------------------------------------- */

void meter_wait(struct meter_program *p)
{
    if (!p)
        return;
    begin_change(p->meter);
    p->tally.shown->waiting++;
    p->meter->total.shown->waiting++;
    end_change(p->meter);
}

void meter_wait_over(struct meter_program *p)
{
    if (!p)
        return;
    begin_change(p->meter);
    p->tally.shown->waiting--;
    p->meter->total.shown->waiting--;
    end_change(p->meter);
}

/* What another process writes, and may write meanwhile. Locked. */
static bool may_begin(const struct meter *m, uint64_t now)
{
    const volatile struct share_grant *g = m->grant;
    const struct share_count *total = m->total.shown;

    if (!g)
        return true;
    uint32_t launches = __atomic_load_n(&g->launches, __ATOMIC_RELAXED);
    if (launches && total->in_flight >= launches)
        return false;
    uint64_t until = __atomic_load_n(&g->until_ns, __ATOMIC_ACQUIRE);
    if (until == SHARE_UNBOUND || share_time(total, now) < until)
        return true;
    uint64_t renewed = __atomic_load_n(&g->renewed_ns, __ATOMIC_RELAXED);
    return now > renewed && now - renewed > SHARE_STALE_MS * UINT64_C(1000000);
}

bool meter_may(struct meter_program *p)
{
    if (!p)
        return true;
    pthread_mutex_lock(&p->meter->lock);
    bool may = may_begin(p->meter, meter_now());
    pthread_mutex_unlock(&p->meter->lock);
    return may;
}

uint32_t meter_in_flight(struct meter_program *p)
{
    if (!p)
        return 0;
    pthread_mutex_lock(&p->meter->lock);
    uint32_t launches = p->tally.shown->in_flight;
    pthread_mutex_unlock(&p->meter->lock);
    return launches;
}

static void began(struct share_count *c, uint64_t now)
{
    c->launches++;
    c->in_flight++;
    c->running++;
    c->begun_ns += now;
}

uint64_t meter_begin(struct meter_program *p)
{
    uint64_t now = meter_now();

    if (!p)
        return now;
    begin_change(p->meter);
    bool may = may_begin(p->meter, now);
    if (may) {
        began(p->tally.shown, now);
        began(p->meter->total.shown, now);
    }
    end_change(p->meter);
    return may ? now : 0;
}

static void ended(struct share_count *c, uint64_t began_ns, uint64_t now)
{
    c->in_flight--;
    c->running--;
    c->begun_ns -= began_ns;
    c->done_ns += now - began_ns;
}

void meter_end(struct meter_program *p, uint64_t began_ns)
{
    if (!p)
        return;
    begin_change(p->meter);
    uint64_t now = meter_now();
    ended(p->tally.shown, began_ns, now);
    ended(p->meter->total.shown, began_ns, now);
    end_change(p->meter);
}

/* --- launches of a device that tells afterwards how long they took -----------------------------
 */

/* N launches are in flight from NOW on; those are one that began now, until the next is over. */
static void set_submitted(struct tally *t, uint64_t n, uint64_t now)
{
    if (t->submitted) {
        t->shown->running--;
        t->shown->begun_ns -= t->since_ns;
    }
    t->submitted = n;
    t->since_ns = now;
    if (n) {
        t->shown->running++;
        t->shown->begun_ns += now;
    }
}

static void submitted(struct tally *t, uint64_t now)
{
    t->shown->launches++;
    t->shown->in_flight++;
    set_submitted(t, t->submitted + 1, t->submitted ? t->since_ns : now);
}

static void over(struct tally *t, uint64_t ns, uint64_t now)
{
    t->shown->in_flight--;
    t->shown->done_ns += ns;
    set_submitted(t, t->submitted - 1, now);
}

void meter_submit(struct meter_program *p)
{
    if (!p)
        return;
    begin_change(p->meter);
    uint64_t now = meter_now();
    submitted(&p->tally, now);
    submitted(&p->meter->total, now);
    end_change(p->meter);
}

void meter_over(struct meter_program *p, uint64_t ns)
{
    if (!p)
        return;
    begin_change(p->meter);
    uint64_t now = meter_now();
    over(&p->tally, ns, now);
    over(&p->meter->total, ns, now);
    end_change(p->meter);
}

/* --- memory, and reading -----------------------------------------------------------------------
 */

void meter_memory(struct meter_program *p, int64_t bytes)
{
    if (!p)
        return;
    begin_change(p->meter);
    p->tally.shown->memory += (uint64_t)bytes;
    p->meter->total.shown->memory += (uint64_t)bytes;
    end_change(p->meter);
}

void meter_read(struct meter *m, struct share_use *use, struct share_grant *grant)
{
    pthread_mutex_lock(&m->lock);
    *use = *m->use;
    pthread_mutex_unlock(&m->lock);
    *grant = (struct share_grant){.until_ns = SHARE_UNBOUND, .weight = 0};
    if (m->grant)
        *grant =
            (struct share_grant){.until_ns = __atomic_load_n(&m->grant->until_ns, __ATOMIC_RELAXED),
                                 .launches = __atomic_load_n(&m->grant->launches, __ATOMIC_RELAXED),
                                 .weight = __atomic_load_n(&m->grant->weight, __ATOMIC_RELAXED)};
}
