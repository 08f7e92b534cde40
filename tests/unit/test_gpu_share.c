/*
 * Shares of a device's time: the arithmetic of credit, with users that are played here; the meter
 * of a worker; the pages between the two, also those that make no sense; and two processes with
 * queues of launches, of which one has 70 parts and the other 30.
 */
#include "daemon/gpu_credit.h"
#include "daemon/gpu_share.h"
#include "gpu/server/engine.h"
#include "gpu/server/worker.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MS UINT64_C(1000000)

/* --- users that are played -------------------------------------------------------------------- */

/* Somebody who launches kernels of LENGTH one after the other from FROM until TO, on a device that
 * runs those of all at once: each takes as long as it takes. */
struct user {
    uint32_t weight;
    uint64_t length_ms, from_ms, to_ms;
    bool liar;                     /* wants, and does nothing, */
    uint64_t trickle_us;           /* or so much in each millisecond in which it may */
    uint64_t gap_ms, crowded_ms;   /* between its launches; and where another's run meanwhile */
    uint64_t period_ms, pauses_ms; /* in each of these it has no work for so long; 0: always some */
};

struct play {
    const char *name;
    struct user users[3];
    uint64_t round_ms, ms; /* between rounds; all of it */
    uint64_t since_ms;     /* shares are looked at from here on */
    double share[3];       /* that each is to have had then, of what all had */
    double within;
    double busy; /* how much of the time the device has to be used at least */
};

static const struct play plays[] = {
    {"70 and 30", {{70, 1, 0, 20000}, {30, 1, 0, 20000}}, 2, 20000, 0, {.7, .3}, .01},
    {"long launches", {{70, 90, 0, 60000}, {30, 70, 0, 60000}}, 2, 60000, 0, {.7, .3}, .02},
    {"long against short", {{70, 1, 0, 60000}, {30, 150, 0, 60000}}, 2, 60000, 0, {.7, .3}, .02},
    {"late rounds", {{70, 2, 0, 60000}, {30, 2, 0, 60000}}, 90, 60000, 0, {.7, .3}, .02},
    {"three",
     {{600, 3, 0, 30000}, {300, 5, 0, 30000}, {100, 2, 0, 30000}},
     2,
     30000,
     0,
     {.6, .3, .1},
     .01},
    {"the least share", {{1000, 2, 0, 90000}, {1, 2, 0, 90000}}, 2, 90000, 0, {.999, .001}, .002},
    {"one alone", {{1, 2, 0, 10000}, {99, 2, 0, 0}}, 2, 10000, 0, {1, 0}, 0},
    {"nothing is saved up",
     {{50, 2, 0, 20000}, {50, 2, 10000, 20000}},
     2,
     20000,
     10000,
     {.5, .5},
     .01},
    {"nor by who stops", {{50, 2, 0, 5000}, {50, 2, 0, 20000}}, 2, 20000, 5000, {0, 1}, .001},
    {"one who pauses",
     {{70, 1, 0, 20000, .period_ms = 500, .pauses_ms = 100}, {30, 1, 0, 20000}},
     2,
     20000,
     0,
     {.7, .3},
     .01},
    {"both do",
     {{70, 1, 0, 20000, .period_ms = 700, .pauses_ms = 150},
      {30, 1, 0, 20000, .period_ms = 450, .pauses_ms = 100}},
     2,
     20000,
     0,
     {.7, .3},
     .01},
    {"one who pauses, and late rounds",
     {{70, 3, 0, 60000, .period_ms = 500, .pauses_ms = 60}, {30, 5, 0, 60000}},
     90,
     60000,
     0,
     {.7, .3},
     .02},
    /* It has all that it asks for, and the other one the rest. */
    {"one who asks for little",
     {{90, 2, 0, 20000, .period_ms = 900, .pauses_ms = 890}, {10, 2, 0, 20000}},
     2,
     20000,
     0,
     {.011, .989},
     .003},
    {"no claim is for ever",
     {{90, 2, 0, 60000, .period_ms = 20000, .pauses_ms = 10000}, {10, 2, 0, 60000}},
     2,
     60000,
     50000,
     {.9, .1},
     .01},
    {"one who only says so",
     {{70, 2, 0, 20000, true}, {30, 2, 0, 20000}},
     2,
     20000,
     1000,
     {0, 1},
     0,
     .99},
    {"one who hardly does anything",
     {{70, 2, 0, 20000, true, .trickle_us = 10}, {30, 2, 0, 20000}},
     2,
     20000,
     1000,
     {.01, .99},
     .01,
     .9},
    {"one of much weight, likewise",
     {{1000, 2, 0, 20000, true, .trickle_us = 10}, {1, 2, 0, 20000}},
     2,
     20000,
     1000,
     {.01, .99},
     .01,
     .9},
    {"two who conspire",
     {{400, 2, 0, 20000, true, .trickle_us = 20},
      {500, 2, 0, 20000, true, .trickle_us = 20},
      {100, 2, 0, 20000}},
     2,
     20000,
     1000,
     {.02, .02, .96},
     .03,
     .8},
    {"hardly anything, and late rounds",
     {{70, 2, 0, 60000, true, .trickle_us = 10}, {30, 2, 0, 60000}},
     90,
     60000,
     2000,
     {.01, .99},
     .02,
     .8},
    /* Short launches that the others' keep from the processors have their share all the same. */
    {"one who is crowded out",
     {{70, 1, 0, 60000, .crowded_ms = 40}, {30, 5, 0, 60000}},
     2,
     60000,
     0,
     {.7, .3},
     .02},
    {"a small share that is",
     {{5, 1, 0, 90000, .crowded_ms = 40}, {95, 5, 0, 90000}},
     2,
     90000,
     0,
     {.05, .95},
     .01},
    {"crowded out by long launches",
     {{50, 1, 0, 60000, .crowded_ms = 30}, {50, 900, 0, 60000}},
     2,
     60000,
     0,
     {.5, .5},
     .03},
    {"a small share, and long launches",
     {{1, 1, 0, 200000, .crowded_ms = 20}, {99, 900, 0, 200000}},
     90,
     200000,
     0,
     {.01, .99},
     .01},
    /* Half the time is all that it can use, and it gets that. */
    {"one who is slow",
     {{70, 1, 0, 20000, .gap_ms = 1}, {30, 1, 0, 20000}},
     2,
     20000,
     0,
     {.7, .3},
     .01},
};

struct playing {
    struct credit credit;
    uint64_t until_ms; /* its launch runs; 0: none does */
    uint64_t done_ms, begun_ms, next_ms; /* the next one begins then at the earliest */
    uint64_t trickled_us;
};

static uint64_t used_ms(const struct playing *p, uint64_t now)
{
    return p->done_ms + (p->until_ms ? now - p->begun_ms : 0);
}

static uint64_t used_ns(const struct playing *p, uint64_t now)
{
    return used_ms(p, now) * MS + p->trickled_us * 1000;
}

/* A millisecond of U; CROWDED where launches of others run. */
static void play_one(const struct user *u, struct playing *p, uint64_t now, bool crowded)
{
    if (p->until_ms && now >= p->until_ms) {
        p->done_ms += now - p->begun_ms;
        p->until_ms = 0;
        p->next_ms = now + u->gap_ms;
    }
    if (crowded && !p->until_ms && u->crowded_ms && p->begun_ms + u->crowded_ms > now)
        return;
    bool has = now >= u->from_ms && now < u->to_ms;
    has &= !u->period_ms || now % u->period_ms >= u->pauses_ms;
    bool may = has && used_ns(p, now) < p->credit.until_ns;
    if (may && u->liar) {
        p->trickled_us += u->trickle_us;
    } else if (may && !p->until_ms && now >= p->next_ms) {
        p->begun_ms = now;
        p->until_ms = now + u->length_ms;
    }
    p->credit.used_ns = used_ns(p, now);
    p->credit.wants = has || p->until_ms;
}

START_TEST(credits)
{
    const struct play *play = &plays[_i];
    struct credit_device device = {0};
    struct playing p[3] = {0};
    struct credit *all[3];
    uint64_t before[3] = {0}, sum = 0;
    unsigned n = 0;

    for (; n < 3 && play->users[n].weight; n++) {
        p[n].credit.weight = play->users[n].weight;
        p[n].credit.until_ns = UINT64_MAX;
        all[n] = &p[n].credit;
    }
    for (uint64_t now = 1; now <= play->ms; now++) {
        for (unsigned i = 0; i < n; i++) {
            bool crowded = false;
            for (unsigned j = 0; j < n; j++)
                crowded |= j != i && p[j].until_ms > now;
            play_one(&play->users[i], &p[i], now, crowded);
        }
        if (now % play->round_ms == 0)
            credit_round(&device, all, n, play->round_ms * MS);
        for (unsigned i = 0; now == play->since_ms && i < n; i++)
            before[i] = used_ns(&p[i], now);
    }
    for (unsigned i = 0; i < n; i++)
        sum += used_ns(&p[i], play->ms) - before[i];
    double busy = (double)sum / (double)((play->ms - play->since_ms) * MS);
    ck_assert_msg(busy >= play->busy, "%s: the device was used for %.4f", play->name, busy);
    for (unsigned i = 0; i < n; i++) {
        double share = (double)(used_ns(&p[i], play->ms) - before[i]) / (double)sum;
        ck_assert_msg(share >= play->share[i] - play->within &&
                          share <= play->share[i] + play->within,
                      "%s: user %u had %.4f, not %.4f", play->name, i, share, play->share[i]);
    }
}
END_TEST

static unsigned turn(struct credit_device *d, struct credit *a, struct credit *b, uint64_t ns)
{
    struct credit *all[] = {a, b};

    return credit_round(d, all, 2, ns);
}

/* One who says that it has work and does next to none holds nobody back, however short the others' launches are: these
 * run a few in each round's leave. */
START_TEST(short_launches)
{
    enum { LAUNCH_NS = 10000, ROUNDS = 6000, FROM = 4000 };
    struct credit_device d = {0};
    struct credit liar = {.weight = 50, .wants = true}, honest = liar;
    uint64_t before = 0;

    for (int i = 0; i < ROUNDS; i++) {
        if (i == FROM)
            before = honest.used_ns;
        liar.used_ns += 2 * LAUNCH_NS;
        for (uint64_t at = 2 * LAUNCH_NS; at < 2 * MS && honest.used_ns < honest.until_ns; at += LAUNCH_NS)
            honest.used_ns += LAUNCH_NS;
        turn(&d, &liar, &honest, 2 * MS);
    }
    double used = (double)(honest.used_ns - before) / (double)((ROUNDS - FROM) * 2 * MS);
    ck_assert_msg(used > 0.5, "the others had %.3f of the device", used);
}
END_TEST

/* A launch that oversteps is a debt, which is paid; a clock that jumps, or a count that begins anew
 * or makes no sense, gives and takes nothing for ever. */
START_TEST(debts)
{
    struct credit_device d = {0};
    struct credit a = {.weight = 50, .wants = true}, b = a;
    bool b_may = true;

    ck_assert_uint_eq(turn(&d, &a, &b, 2 * MS), 2);
    ck_assert(a.until_ns > 0 && a.until_ns <= 20 * MS && b.until_ns == a.until_ns);
    a.used_ns = 500 * MS;
    turn(&d, &a, &b, 500 * MS);
    ck_assert(a.until_ns <= a.used_ns && b.until_ns > b.used_ns);
    b.used_ns = 495 * MS;
    turn(&d, &a, &b, 500 * MS);
    ck_assert(a.until_ns > a.used_ns && b.until_ns > b.used_ns);
    /* A worker that was started anew. */
    a.used_ns = 0;
    turn(&d, &a, &b, 2 * MS);
    ck_assert(a.until_ns > a.used_ns && a.until_ns <= 40 * MS);
    /* Time that was not: a round that says a year, or none. */
    turn(&d, &a, &b, UINT64_C(31536000000) * MS);
    turn(&d, &a, &b, 0);
    ck_assert(a.until_ns > a.used_ns && a.until_ns <= 40 * MS);
    /* Counts of any size, at any weight. */
    a.weight = 1;
    for (int i = 0; i < 1000; i++) {
        a.used_ns = i % 3 ? UINT64_MAX - (uint64_t)i : (uint64_t)i << 50;
        b.used_ns += 1;
        turn(&d, &a, &b, 100 * MS);
        b_may &= b.until_ns > b.used_ns;
    }
    ck_assert(b_may);
    /* And all are alike again when nobody wants anything for a while. */
    a.wants = b.wants = false;
    for (int i = 0; i < 20; i++)
        ck_assert_uint_eq(turn(&d, &a, &b, 100 * MS), 0);
    ck_assert(a.until_ns == UINT64_MAX && b.until_ns == UINT64_MAX);
    a.wants = b.wants = true;
    a.used_ns = a.last_ns = 0;
    turn(&d, &a, &b, 2 * MS);
    ck_assert(a.until_ns > a.used_ns && b.until_ns > b.used_ns);
}
END_TEST

/* --- the meter -------------------------------------------------------------------------------- */

struct pages {
    struct share_use use;
    uint8_t rest[SHARE_PAGE];
};

START_TEST(meters)
{
    g_autofree struct pages *page = g_new0(struct pages, 1);
    struct share_grant *grant = (struct share_grant *)(void *)g_malloc0(SHARE_PAGE);
    struct meter *m = meter_new(page, grant);
    struct meter_program *p = meter_program_new(m);
    const struct share_program *row = &page->use.programs[0];
    const struct share_count *total = &page->use.total;

    *grant = (struct share_grant){.until_ns = SHARE_UNBOUND, .launches = 2};
    meter_program_name(p, 77, "na\033[2Jme\xff\n0123456789012345678901234567890", 42);
    ck_assert_str_eq(row->name, "na?[2Jme??012345678901234567890");
    ck_assert_uint_eq(row->pid, 77);
    /* No more in flight than may be. */
    uint64_t first = meter_begin(p), second = meter_begin(p);
    ck_assert(first && second && !meter_begin(p) && !meter_may(p));
    ck_assert(total->in_flight == 2 && total->launches == 2 && row->count.running == 2);
    uint64_t now = meter_now();
    ck_assert_uint_eq(share_time(total, now), 2 * now - first - second);
    meter_end(p, first);
    ck_assert(meter_may(p));
    meter_end(p, second);
    ck_assert(total->in_flight == 0 && total->running == 0 && total->begun_ns == 0);
    ck_assert_uint_eq(total->done_ns, row->count.done_ns);
    /* No time, but by whoever is gone. */
    grant->until_ns = total->done_ns;
    grant->renewed_ns = meter_now();
    ck_assert(!meter_may(p));
    grant->until_ns++;
    ck_assert(meter_may(p));
    grant->until_ns = 0;
    grant->renewed_ns = meter_now() - (SHARE_STALE_MS + 1) * MS;
    ck_assert(meter_may(p));
    grant->renewed_ns = UINT64_MAX; /* of a clock that is not ours */
    ck_assert(!meter_may(p));
    grant->until_ns = SHARE_UNBOUND;
    /* A device that says afterwards how long it took. */
    uint64_t done = total->done_ns;
    meter_submit(p);
    meter_submit(p);
    ck_assert(total->running == 1 && total->in_flight == 2 && !meter_may(p));
    meter_over(p, 5);
    ck_assert(total->running == 1 && total->in_flight == 1 && total->done_ns == done + 5);
    meter_over(p, 6);
    ck_assert(total->running == 0 && total->begun_ns == 0 && total->done_ns == done + 11);
    /* More programs than rows: all count, and none takes another's place. */
    struct meter_program *others[SHARE_PROGRAMS];
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++)
        others[i] = meter_program_new(m);
    uint64_t began = meter_begin(others[SHARE_PROGRAMS - 1]);
    meter_memory(others[SHARE_PROGRAMS - 1], 4096);
    ck_assert(began && total->in_flight == 1 && total->memory == 4096 && row->count.in_flight == 0);
    meter_end(others[SHARE_PROGRAMS - 1], began);
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++)
        meter_program_free(others[i]);
    ck_assert(page->use.changes % 2 == 0);
    meter_program_free(p);
    ck_assert_uint_eq(row->id, 0);
    meter_free(m);
    /* None at all. */
    ck_assert(meter_program_new(NULL) == NULL && meter_may(NULL) && meter_begin(NULL));
    g_free(grant);
}
END_TEST

/* --- the queue of a stream -------------------------------------------------------------------- */

/* An engine whose launches last until they are let go, or as many microseconds as they are told. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned running, most, let, over;
} kernels = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

struct gpu_engine {
    int nothing;
};

static struct gpu_engine *none_open(uint64_t most)
{
    return g_new0(struct gpu_engine, 1);
}

static void none_close(struct gpu_engine *e)
{
    g_free(e);
}

static void none_cancel(struct gpu_engine *e)
{
    pthread_mutex_lock(&kernels.lock);
    kernels.let = UINT_MAX / 2;
    pthread_cond_broadcast(&kernels.changed);
    pthread_mutex_unlock(&kernels.lock);
}

static int held_launch(struct gpu_engine *e, struct gpu_kernel *k, const struct gpu_launch *l)
{
    pthread_mutex_lock(&kernels.lock);
    kernels.running++;
    kernels.most = MAX(kernels.most, kernels.running);
    while (!kernels.let)
        pthread_cond_wait(&kernels.changed, &kernels.lock);
    kernels.let--;
    kernels.running--;
    kernels.over++;
    pthread_mutex_unlock(&kernels.lock);
    return GPU_SUCCESS;
}

static int busy_launch(struct gpu_engine *e, struct gpu_kernel *k, const struct gpu_launch *l)
{
    uint64_t until = meter_now() + l->grid[0] * UINT64_C(1000);

    while (meter_now() < until)
        ;
    return GPU_SUCCESS;
}

static const struct gpu_engine_ops engine_held = {
    .open = none_open, .close = none_close, .cancel = none_cancel, .launch = held_launch};
static const struct gpu_engine_ops engine_busy = {
    .open = none_open, .close = none_close, .cancel = none_cancel, .launch = busy_launch};

static void nothing(void *opaque)
{
}

static void set_flag(void *opaque)
{
    __atomic_store_n((bool *)opaque, true, __ATOMIC_RELEASE);
}

static void let(unsigned n)
{
    pthread_mutex_lock(&kernels.lock);
    kernels.let += n;
    pthread_cond_broadcast(&kernels.changed);
    pthread_mutex_unlock(&kernels.lock);
}

/* Launches beyond the bound, or without credit, stand in their streams, and what is behind them;
 * other streams go on, and a context can be ended. */
START_TEST(held)
{
    enum { STREAMS = 4 };
    struct share_grant *grant = (struct share_grant *)(void *)g_malloc0(SHARE_PAGE);
    struct gpu_backend *b = backend_queue_new(&engine_held);
    struct meter *m = meter_new(NULL, grant);
    struct gpu_quota all = {.most = MIB(16)};
    struct gpu_quota quota = {.of = &all, .program = meter_program_new(m)};
    const struct gpu_launch launch = {.grid = {1, 1, 1}};
    struct gpu_stream *s[STREAMS];
    struct gpu_context *c;
    struct gpu_event *e;
    struct share_use use;
    struct share_grant is;
    bool behind = false, beside = false, after = false;

    *grant = (struct share_grant){.until_ns = SHARE_UNBOUND, .launches = 2};
    ck_assert_int_eq(b->ops->context_new(b, 0, &quota, nothing, NULL, &c), 0);
    ck_assert_int_eq(b->ops->event_new(c, 0, &e), 0);
    for (int i = 0; i < STREAMS; i++) {
        ck_assert_int_eq(b->ops->stream_new(c, 1, 0, &s[i]), 0);
        if (i < STREAMS - 1)
            ck_assert_int_eq(b->ops->launch(s[i], NULL, &launch), 0);
    }
    do {
        g_usleep(1000);
        meter_read(m, &use, &is);
    } while (use.total.in_flight < 2 || use.total.waiting < 1);
    ck_assert(use.total.in_flight == 2 && use.total.waiting == 1);
    /* What waits for a launch that waits, and what does not. */
    for (int i = 0; i < STREAMS - 1; i++) {
        ck_assert_int_eq(b->ops->event_record(e, s[i]), 0);
        ck_assert_int_eq(b->ops->stream_wait(s[STREAMS - 1], e), 0);
    }
    ck_assert_int_eq(b->ops->host(s[STREAMS - 1], set_flag, &behind), 0);
    ck_assert_int_eq(b->ops->host(b->ops->stream_default(c), set_flag, &beside), 0);
    while (!__atomic_load_n(&beside, __ATOMIC_ACQUIRE))
        g_usleep(1000);
    ck_assert(!__atomic_load_n(&behind, __ATOMIC_ACQUIRE));
    let(STREAMS - 1);
    while (!__atomic_load_n(&behind, __ATOMIC_ACQUIRE))
        g_usleep(1000);
    ck_assert(kernels.most == 2 && kernels.over == STREAMS - 1);
    /* No credit: nothing of it runs, and it is ended all the same. */
    grant->renewed_ns = UINT64_MAX;
    grant->until_ns = 0;
    ck_assert_int_eq(b->ops->launch(s[0], NULL, &launch), 0);
    ck_assert_int_eq(b->ops->host(s[0], set_flag, &after), 0);
    do {
        g_usleep(1000);
        meter_read(m, &use, &is);
    } while (!use.total.waiting);
    ck_assert_int_eq(b->ops->stream_query(s[0]), GPU_NOT_READY);
    b->ops->event_free(e);
    b->ops->context_end(c);
    ck_assert(after && kernels.over == STREAMS - 1);
    b->ops->context_free(c);
    meter_read(m, &use, &is);
    ck_assert(use.total.waiting == 0 && use.total.in_flight == 0 &&
              use.total.launches == STREAMS - 1);
    meter_program_free(quota.program);
    meter_free(m);
    b->ops->close(b);
    g_free(grant);
}
END_TEST

/* --- the pages -------------------------------------------------------------------------------- */

struct place {
    uv_loop_t loop;
    char *dir;
    struct gpu_shares *shares;
};

static void place_begin(struct place *p)
{
    uv_loop_init(&p->loop);
    p->dir = g_dir_make_tmp("gpu-share-XXXXXX", NULL);
    p->shares = gpu_shares_new(&p->loop);
}

static void place_end(struct place *p)
{
    g_autofree char *use = g_build_filename(p->dir, "gpu.use", NULL),
                    *grant = g_build_filename(p->dir, "gpu.grant", NULL);

    gpu_shares_free(p->shares);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&p->loop), 0);
    unlink(use);
    unlink(grant);
    rmdir(p->dir);
    g_free(p->dir);
}

/* A worker's page of any bytes makes no text that is none, and nothing is read beyond it; one whose
 * file is cut is none. */
START_TEST(hostile)
{
    struct place p;
    struct share_use page;
    int fds[2];
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)_i);

    place_begin(&p);
    struct gpu_share *s = gpu_share_new(p.shares, "gpu"), *other = gpu_share_new(p.shares, "gpu");
    gpu_share_set(s, "soft", 70, 3);
    gpu_share_set(other, "soft", 30, 0);
    ck_assert(gpu_share_make(s, p.dir, fds, NULL));
    /* What is told cannot be written. */
    ck_assert(pwrite(fds[1], "x", 1, 0) < 0);
    ck_assert(mmap(NULL, SHARE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0) == MAP_FAILED);
    for (int i = 0; i < 500; i++) {
        for (size_t n = 0; n < sizeof(page); n++)
            ((uint8_t *)&page)[n] = (uint8_t)g_rand_int(rand);
        page.magic = i % 16 ? SHARE_MAGIC : page.magic;
        page.size = sizeof(page);
        page.changes = i % 16 == 1 ? 1 : 2;
        ck_assert(pwrite(fds[0], &page, sizeof(page), 0) == sizeof(page));
        gpu_shares_round(p.shares, (uint64_t)i * 700 * MS);
        g_autoptr(vm_gpu_use) use = vm_gpu_use_new();
        gpu_share_describe(s, use);
        ck_assert(use->share == 70 && use->launches_most == 3 && use->n_programs <= SHARE_PROGRAMS);
        bool text = true;
        for (size_t k = 0; k < use->n_programs; k++) {
            for (const char *at = use->programs[k]->name; *at; at++)
                text &= g_ascii_isprint(*at);
        }
        ck_assert(text);
    }
    ck_assert(ftruncate(fds[0], 100) == 0);
    g_autoptr(vm_gpu_use) use = vm_gpu_use_new();
    gpu_share_describe(s, use);
    ck_assert_uint_eq(use->n_programs, 0);
    gpu_shares_round(p.shares, UINT64_MAX / 2);
    gpu_share_free(s);
    gpu_share_free(other);
    place_end(&p);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* A daemon that is started anew finds what is used, and goes on telling; the next worker's pages
 * are others. */
START_TEST(found)
{
    struct place p;
    int fds[2], next[2];

    place_begin(&p);
    struct gpu_share *s = gpu_share_new(p.shares, "gpu");
    gpu_share_set(s, "soft", 70, 0);
    ck_assert(gpu_share_make(s, p.dir, fds, NULL));
    struct meter *m = worker_meter(fds[0], fds[1], NULL);
    struct meter_program *program = meter_program_new(m);
    ck_assert_ptr_nonnull(m);
    meter_program_name(program, 5, "first", 5);
    meter_submit(program);
    meter_over(program, 1234 * MS);
    gpu_share_free(s); /* without a word to the worker */
    s = gpu_share_new(p.shares, "gpu");
    gpu_share_find(s, p.dir);
    gpu_share_set(s, "soft", 60, 9);
    g_autoptr(vm_gpu_use) use = vm_gpu_use_new();
    gpu_share_describe(s, use);
    ck_assert(use->time_ns == 1234 * MS && use->launches == 1 && use->n_programs == 1);
    ck_assert_str_eq(use->programs[0]->name, "first");
    struct share_use seen;
    struct share_grant told;
    meter_read(m, &seen, &told);
    ck_assert(told.weight == 60 && told.launches == 9 && told.until_ns == SHARE_UNBOUND);
    /* The worker dies; what it used counts with what the next one uses. */
    ck_assert(gpu_share_make(s, p.dir, next, NULL));
    meter_submit(program);
    meter_over(program, 1000 * MS);
    struct meter *second = worker_meter(next[0], next[1], NULL);
    struct meter_program *again = meter_program_new(second);
    meter_submit(again);
    meter_over(again, 1 * MS);
    g_autoptr(vm_gpu_use) both = vm_gpu_use_new();
    gpu_share_describe(s, both);
    ck_assert_uint_eq(both->time_ns, 1235 * MS);
    ck_assert_uint_eq(both->launches, 2);
    gpu_share_end(s);
    g_autoptr(vm_gpu_use) none = vm_gpu_use_new();
    gpu_share_describe(s, none);
    ck_assert_uint_eq(none->time_ns, 0);
    gpu_share_free(s);
    meter_program_free(program);
    meter_program_free(again);
    meter_free(m);
    meter_free(second);
    place_end(&p);
}
END_TEST

/* --- two processes -----------------------------------------------------------------------------
 */

/* What a worker does with a program that launches kernels of half a millisecond for ever. */
static void work(int use, int grant)
{
    enum { DEEP = 64, US = 500 };
    struct gpu_backend *b = backend_queue_new(&engine_busy);
    struct gpu_quota all = {.most = MIB(16)};
    struct gpu_quota quota = {.of = &all,
                              .program = meter_program_new(worker_meter(use, grant, NULL))};
    const struct gpu_launch launch = {.grid = {US, 1, 1}};
    struct gpu_context *c;
    struct gpu_event *e[2];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (b->ops->context_new(b, 0, &quota, nothing, NULL, &c) || b->ops->event_new(c, 0, &e[0]) ||
        b->ops->event_new(c, 0, &e[1]))
        _exit(1);
    for (unsigned round = 0;; round++) {
        struct gpu_stream *s = b->ops->stream_default(c);
        while (b->ops->event_query(e[round % 2]) == GPU_NOT_READY)
            g_usleep(500);
        for (int i = 0; i < DEEP; i++)
            b->ops->launch(s, NULL, &launch);
        b->ops->event_record(e[round % 2], s);
    }
}

struct measuring {
    struct gpu_share *shares[2];
    uint64_t first_ns[2], ns[2], launches[2];
    bool begun;
};

static const double wanted[2] = {.70, .30};

/* Within 5 % of what is wanted. */
static bool shares_hold(const struct measuring *m)
{
    double sum = 0;
    bool hold = true;

    for (int i = 0; i < 2; i++)
        sum += (double)(m->ns[i] - m->first_ns[i]);
    for (int i = 0; i < 2; i++) {
        double part = (double)(m->ns[i] - m->first_ns[i]) / sum;
        hold &= part > wanted[i] * .95 && part < wanted[i] * 1.05;
    }
    return hold;
}

/* Ten times a second: from when both have begun, until both together had SECONDS. A launch that the
 * host interrupts for long is ahead by that, once: then MOST is what it has to even out in. */
static void measure(uv_timer_t *timer)
{
    enum { SECONDS = 6, MOST = 90 };
    struct measuring *m = timer->data;
    uint64_t sum = 0;

    for (int i = 0; i < 2; i++) {
        g_autoptr(vm_gpu_use) use = vm_gpu_use_new();
        gpu_share_describe(m->shares[i], use);
        m->ns[i] = use->time_ns;
        m->launches[i] = use->launches;
    }
    if (!m->begun && m->ns[0] > 100 * MS && m->ns[1] > 100 * MS) {
        m->begun = true;
        memcpy(m->first_ns, m->ns, sizeof(m->ns));
    }
    for (int i = 0; i < 2; i++)
        sum += m->ns[i] - m->first_ns[i];
    if (m->begun && sum > SECONDS * 1000 * MS && (sum > MOST * 1000 * MS || shares_hold(m)))
        uv_stop(timer->loop);
}

/* 70 and 30 within 5 % of each, on a machine that does other things as well. */
START_TEST(measured)
{
    static const uint32_t weights[2] = {70, 30};
    struct place p[2];
    struct measuring m = {0};
    uv_timer_t timer;
    pid_t pids[2];
    int fds[2];

    place_begin(&p[0]);
    p[1].dir = g_dir_make_tmp("gpu-share-XXXXXX", NULL);
    for (int i = 0; i < 2; i++) {
        m.shares[i] = gpu_share_new(p[0].shares, "gpu");
        gpu_share_set(m.shares[i], "soft", weights[i], 0);
        ck_assert(gpu_share_make(m.shares[i], p[i].dir, fds, NULL));
        pids[i] = fork();
        if (!pids[i])
            work(fds[0], fds[1]);
        close(fds[0]);
        close(fds[1]);
    }
    uv_timer_init(&p[0].loop, &timer);
    timer.data = &m;
    uv_timer_start(&timer, measure, 100, 100);
    uv_run(&p[0].loop, UV_RUN_DEFAULT);
    for (int i = 0; i < 2; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
        gpu_share_free(m.shares[i]);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    double a = (double)(m.ns[0] - m.first_ns[0]), b = (double)(m.ns[1] - m.first_ns[1]);
    printf("shares: %.2f %% and %.2f %%, launches %.2f %%\n", 100 * a / (a + b), 100 * b / (a + b),
           100 * (double)m.launches[0] / (double)(m.launches[0] + m.launches[1]));
    ck_assert_msg(shares_hold(&m), "%f", a / (a + b));
    char *second = p[1].dir;
    g_autofree char *use = g_build_filename(second, "gpu.use", NULL),
                    *grant = g_build_filename(second, "gpu.grant", NULL);
    unlink(use);
    unlink(grant);
    rmdir(second);
    g_free(second);
    place_end(&p[0]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_share");
    TCase *t = tcase_create("shares");

    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, credits, 0, G_N_ELEMENTS(plays));
    tcase_add_test(t, debts);
    tcase_add_test(t, short_launches);
    tcase_add_test(t, meters);
    tcase_add_test(t, held);
    tcase_add_loop_test(t, hostile, 0, 2);
    tcase_add_test(t, found);
    tcase_add_test(t, measured);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
