/* Warm start; see warm.h. */
#include "xlate/warm.h"

#include <signal.h>
#include <time.h>

enum {
    ASKED = 4096, /* pages that wait for a compile thread; more are left to vCPUs */
    AHEAD = 256,  /* list pages that are looked for after one that matched */
    TRIES = 64,   /* times one is looked for in vain */
    INSN_MOST = 16,
    SOURCE_BYTES = 512, /* of guest code that are looked at for one unit */
    BASE_HEAT = 15,     /* of a block that ran at all, besides the times it was come to */
    TOGETHER = 32,      /* blocks of a page that are published at once */
};

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

struct asked {
    gpa_t gpa;
    uint32_t mode;
};

/* A worker's lines of the host's cache are its own: it counts a block each microsecond. */
struct worker {
    struct warm *warm;
    pthread_t thread;
    struct cache_user *user;
    struct back_compiler *compiler;
    struct ir_unit *unit;
    struct cache_place place[TOGETHER];
    unsigned n_compiled; /* of them: compiled and not published; cache_begin() is open while any */
    uint64_t blocks; /* compiled ahead; atomic, as patterns */
    uint64_t patterns[IR_PATTERN_COUNT];
    uint8_t page[HOTLIST_PAGE] __attribute__((aligned(8)));
    uint8_t bytes[SOURCE_BYTES + INSN_MOST] __attribute__((aligned(8)));
} __attribute__((aligned(64)));

struct warm {
    struct xlate *x;
    struct hotlist *list; /* read-only; never NULL */

    pthread_mutex_t lock; /* of all below but for counters */
    pthread_cond_t work, idle;
    bool quit;
    unsigned busy; /* workers at a job */
    struct asked asked[ASKED];
    unsigned first, n_asked;
    guint ahead, ahead_end; /* list pages to be looked for */
    uint8_t *tries;         /* by list page */
    bool *found;            /* by list page: was matched since memory was loaded */
    struct hotlist *seen;   /* pages of this run; content number N is its page N - 1 */

    struct warm_stats stats; /* atomic; its blocks are the workers' */

    unsigned n_workers;
    struct worker worker[LIMIT_XLATE_WARM_THREADS];
};

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t thread_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct hotlist_page *page_of(const struct hotlist *list, guint i)
{
    return g_ptr_array_index(list->pages, i);
}

/* --- compiling -------------------------------------------------------------------------------- */

enum made { MADE, PASSED_OVER, PAGE_GONE, NO_ROOM };

static bool is_marked(const struct mem_ram *ram, gpa_t gpa)
{
    return mem_page_flags(ram, (gpa - ram->gpa) >> MEM_PAGE_SHIFT) & MEM_PAGE_CODE;
}

static void translate(struct worker *k, gpa_t gpa, uint32_t length, uint32_t mode, uint32_t insns)
{
    struct xl_source source = {.code = k->bytes, .length = length,
                               .start = (int32_t)(gpa & PAGE_MASK), .mode = mode,
                               .max_insns = insns};

    ir_unit_clear(k->unit);
    k->warm->x->front->translate(&source, k->unit);
}

/*
 * Compiles what was read to k->bytes, LEFT bytes before its page ends. False for an instruction that
 * crosses into the next page: where that lies only a vCPU can say.
 */
static bool compile(struct worker *k, uint32_t left, struct cache_place *place)
{
    uint32_t insns = LIMIT_XLATE_BLOCK_INSNS, length = MIN(left, SOURCE_BYTES);

    if (left < INSN_MOST) {
        memset(k->bytes + left, 0, INSN_MOST);
        translate(k, place->gpa, left + INSN_MOST, place->mode, 1);
        if (k->unit->bytes > left)
            return false;
    }
    for (;;) {
        translate(k, place->gpa, length, place->mode, insns);
        if (!back_compile(k->compiler, k->unit, place))
            return true;
        insns = MIN(insns, k->unit->n_guest) / 2;
        g_assert(insns); /* one instruction always fits */
    }
}

/* Publishes what was compiled. False: its page was written meanwhile. */
static bool publish(struct worker *k)
{
    unsigned n = k->n_compiled;

    k->n_compiled = 0;
    if (!n)
        return true;
    bool ok = cache_commit_all(k->user, k->place, n);
    count(ok ? &k->blocks : &k->warm->stats.refused, n);
    return ok;
}

/*
 * Room for a unit at GPA in k->place[k->n_compiled]. Blocks of a page are published many at a time:
 * what that writes is shared by all threads, and costs a transfer between host processors each
 * time.
 */
static enum made begin(struct worker *k, const struct mem_ram *ram, gpa_t gpa, uint32_t mode)
{
    struct warm *w = k->warm;
    unsigned n = k->n_compiled;

    if (n && n < TOGETHER && cache_follow(k->user, &k->place[n - 1], gpa, mode, &k->place[n]))
        return MADE;
    if (!publish(k))
        return PAGE_GONE;
    cache_safepoint(k->user);
    if (cache_begin(k->user, gpa, CACHE_NO_PAGE, mode, &k->place[0]) < 0)
        return NO_ROOM;
    /* As in translate.c: whoever writes the page from here on is noticed. */
    if (is_marked(ram, gpa) && !__atomic_load_n(&w->x->debug.on, __ATOMIC_RELAXED))
        return MADE;
    cache_abandon(k->user);
    return PAGE_GONE;
}

static enum made make_unit(struct worker *k, const struct mem_ram *ram, gpa_t gpa, uint32_t mode)
{
    struct warm *w = k->warm;
    uint32_t left = (uint32_t)(MEM_PAGE_SIZE - (gpa & PAGE_MASK));

    if (!w->x->front->mode_ok(mode) || cache_lookup(w->x->cache, gpa, mode))
        return PASSED_OVER;
    enum made made = begin(k, ram, gpa, mode);
    if (made != MADE)
        return made;
    xlate__copy_code(k->bytes, ram->host + (gpa - ram->gpa), MIN(left, SOURCE_BYTES));
    if (!compile(k, left, &k->place[k->n_compiled])) {
        if (!k->n_compiled)
            cache_abandon(k->user);
        return PASSED_OVER;
    }
    k->n_compiled++;
    for (unsigned i = 0; i < IR_PATTERN_COUNT; i++)
        if (k->unit->pattern[i])
            count(&k->patterns[i], k->unit->pattern[i]);
    return MADE;
}

static void make_blocks(struct worker *k, const struct mem_ram *ram, gpa_t gpa,
                        const struct hotlist_page *page)
{
    enum made made = MADE;

    cache_safepoint(k->user);
    for (uint32_t i = 0; i < page->n && made != PAGE_GONE && made != NO_ROOM &&
                         !__atomic_load_n(&k->warm->quit, __ATOMIC_RELAXED);
         i++)
        made = make_unit(k, ram, gpa + page->blocks[i].offset, page->blocks[i].mode);
    publish(k);
}

/* --- pages ------------------------------------------------------------------------------------ */

/* The RAM that has the whole page at GPA, or NULL. It stays where it is while vCPUs exist: what a
 * device shows is passed over. */
static struct mem_ram *ram_at(struct warm *w, gpa_t gpa)
{
    struct mem_view view;

    mem_map_lookup(w->x->accel.config.mem, gpa, &view);
    return mem_view_is_dma(&view, false) && view.length >= MEM_PAGE_SIZE ? view.ram : NULL;
}

static uint64_t read_page(struct worker *k, const struct mem_ram *ram, gpa_t gpa)
{
    xlate__copy_code(k->page, ram->host + (gpa - ram->gpa), HOTLIST_PAGE);
    return hotlist_quick(k->page);
}

/* The number of the content that was read; 0 when the list of this run is full. */
static uint32_t content_number(struct warm *w, uint64_t quick, const uint8_t *digest, gpa_t gpa)
{
    uint32_t number = 0;

    pthread_mutex_lock(&w->lock);
    struct hotlist_page *page = hotlist_page(w->seen, quick, digest, gpa);
    if (page)
        number = page->index + 1;
    pthread_mutex_unlock(&w->lock);
    return number;
}

/* LIST's page INDEX was found in memory: those after it come next. */
static void go_on_from(struct warm *w, guint index, bool again)
{
    guint end = MIN(index + 1 + AHEAD, w->list->pages->len);

    pthread_mutex_lock(&w->lock);
    w->found[index] = true;
    if (again) {
        w->ahead = index + 1;
        w->ahead_end = end;
    } else {
        w->ahead_end = MAX(w->ahead_end, end);
    }
    if (w->ahead < w->ahead_end)
        pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    count(&w->stats.pages, 1);
}

/* A vCPU runs code of a page for the first time since it was written. */
static void do_asked(struct worker *k, const struct asked *job)
{
    struct warm *w = k->warm;
    gpa_t gpa = job->gpa & ~PAGE_MASK;
    struct mem_ram *ram = ram_at(w, gpa);
    uint8_t digest[HOTLIST_DIGEST];

    if (!ram || !cache_watch(k->user, gpa, job->mode))
        return;
    if (!is_marked(ram, gpa)) {
        cache_abandon(k->user);
        return;
    }
    uint64_t quick = read_page(k, ram, gpa);
    hotlist_digest(k->page, digest);
    cache_name(k->user, content_number(w, quick, digest, gpa));
    const struct hotlist_page *page = hotlist_find(w->list, quick, digest);
    if (!page) {
        count(&w->stats.unmatched, 1);
        return;
    }
    go_on_from(w, page->index, true);
    make_blocks(k, ram, gpa, page);
}

/* Names the page at GPA in each fetch regime that PAGE has blocks of. False: it has changed. */
static bool name_page(struct worker *k, const struct mem_ram *ram, gpa_t gpa,
                      const struct hotlist_page *page)
{
    uint32_t number = content_number(k->warm, page->quick, page->digest, gpa);
    unsigned named = 0;

    for (uint32_t i = 0; i < page->n; i++) {
        uint32_t mode = page->blocks[i].mode;
        if (named >> xl_fetch_mode(mode) & 1)
            continue;
        named |= 1u << xl_fetch_mode(mode);
        if (!cache_watch(k->user, gpa, mode))
            return false;
        if (!is_marked(ram, gpa) || read_page(k, ram, gpa) != page->quick) {
            cache_abandon(k->user);
            return false;
        }
        cache_name(k->user, number);
    }
    return true;
}

/* Is the page of the list at the place where it was last seen? */
static void look_ahead(struct worker *k, guint index)
{
    struct warm *w = k->warm;
    const struct hotlist_page *page = page_of(w->list, index);
    struct mem_ram *ram = ram_at(w, page->place);
    uint8_t digest[HOTLIST_DIGEST];

    if (!ram || read_page(k, ram, page->place) != page->quick)
        return;
    hotlist_digest(k->page, digest);
    if (memcmp(digest, page->digest, HOTLIST_DIGEST) != 0)
        return;
    if (!is_marked(ram, page->place)) {
        mem_page_set(ram, (page->place - ram->gpa) >> MEM_PAGE_SHIFT, MEM_PAGE_CODE);
        __atomic_fetch_add(&w->x->marks, 1, __ATOMIC_SEQ_CST);
    }
    if (!name_page(k, ram, page->place, page))
        return;
    go_on_from(w, index, false);
    make_blocks(k, ram, page->place, page);
}

/* --- threads ---------------------------------------------------------------------------------- */

struct job {
    bool is_asked;
    struct asked asked;
    guint index;
};

/* The next job; false: there is none. Lock held. */
static bool take_job(struct warm *w, struct job *job)
{
    if (w->n_asked) {
        *job = (struct job){.is_asked = true, .asked = w->asked[w->first]};
        w->first = (w->first + 1) % ASKED;
        w->n_asked--;
        return true;
    }
    while (w->ahead < w->ahead_end) {
        guint i = w->ahead++;
        if (w->found[i] || w->tries[i] >= TRIES)
            continue;
        w->tries[i]++;
        *job = (struct job){.index = i};
        return true;
    }
    return false;
}

static void do_job(struct worker *k, const struct job *job)
{
    uint64_t began = thread_ns();

    cache_join(k->user);
    if (job->is_asked)
        do_asked(k, &job->asked);
    else
        look_ahead(k, job->index);
    cache_leave(k->user);
    count(&k->warm->stats.ns, thread_ns() - began);
}

static void *work(void *arg)
{
    struct worker *k = arg;
    struct warm *w = k->warm;
    struct job job;

    pthread_mutex_lock(&w->lock);
    while (!w->quit) {
        if (!take_job(w, &job)) {
            pthread_cond_broadcast(&w->idle);
            pthread_cond_wait(&w->work, &w->lock);
            continue;
        }
        w->busy++;
        pthread_mutex_unlock(&w->lock);
        do_job(k, &job);
        pthread_mutex_lock(&w->lock);
        w->busy--;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int start_worker(struct warm *w, struct worker *k)
{
    sigset_t all, before;
    char name[16];
    int rc;

    k->warm = w;
    k->user = cache_user_new(w->x->cache, NULL);
    k->compiler = back_compiler_new(w->x->back);
    k->unit = ir_unit_new();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&k->thread, NULL, work, k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!rc) {
        g_snprintf(name, sizeof(name), "compile%u", (unsigned)(k - w->worker));
        pthread_setname_np(k->thread, name);
    }
    return rc;
}

static void free_worker(struct worker *k)
{
    cache_user_free(k->user);
    back_compiler_free(k->compiler);
    ir_unit_free(k->unit);
}

bool xlate__warm_new(struct xlate *x, struct hotlist *list, unsigned threads, struct warm **out,
                     GError **err)
{
    struct warm *w = g_aligned_alloc0(1, sizeof(*w), __alignof__(*w));
    int rc = 0;

    w->x = x;
    w->list = list ? list : hotlist_new(x->front->isa);
    w->seen = hotlist_new(x->front->isa);
    w->stats.listed = w->list->n_blocks;
    w->tries = g_new0(uint8_t, w->list->pages->len + 1);
    w->found = g_new0(bool, w->list->pages->len + 1);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->idle, NULL);
    for (; w->n_workers < threads && !rc; w->n_workers++) {
        rc = start_worker(w, &w->worker[w->n_workers]);
        if (rc) {
            free_worker(&w->worker[w->n_workers]);
            break;
        }
    }
    if (!rc) {
        *out = w;
        return true;
    }
    xlate__warm_free(w);
    return vmd_set_errno(err, rc, "starting a compile thread");
}

void xlate__warm_free(struct warm *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    __atomic_store_n(&w->quit, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n_workers; i++) {
        pthread_join(w->worker[i].thread, NULL);
        free_worker(&w->worker[i]);
    }
    pthread_cond_destroy(&w->idle);
    pthread_cond_destroy(&w->work);
    pthread_mutex_destroy(&w->lock);
    hotlist_free(w->list);
    hotlist_free(w->seen);
    g_free(w->tries);
    g_free(w->found);
    g_aligned_free(w);
}

/* --- from outside ----------------------------------------------------------------------------- */

void xlate__warm_again(struct warm *w)
{
    guint n = w->list->pages->len;

    pthread_mutex_lock(&w->lock);
    memset(w->tries, 0, n);
    memset(w->found, 0, n * sizeof(w->found[0]));
    w->ahead = 0;
    w->ahead_end = MIN(AHEAD, n);
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
}

void xlate__warm_ask(struct warm *w, gpa_t gpa, uint32_t mode)
{
    pthread_mutex_lock(&w->lock);
    if (w->n_asked < ASKED) {
        w->asked[(w->first + w->n_asked) % ASKED] = (struct asked){gpa, mode};
        w->n_asked++;
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&w->lock);
}

void xlate__warm_used(struct warm *w)
{
    count(&w->stats.used, 1);
}

static void add_unit(struct hotlist *to, uint32_t content, const struct cache_unit *unit)
{
    uint32_t heat = __atomic_load_n(&unit->heat, __ATOMIC_RELAXED);

    hotlist_block(to, page_of(to, content - 1), (uint16_t)(unit->gpa & PAGE_MASK), unit->mode,
                  BASE_HEAT + MIN(heat, HOTLIST_HEAT_MOST));
}

void xlate__warm_dropped(void *opaque, uint32_t content, const struct cache_unit *unit)
{
    struct warm *w = ((struct xlate *)opaque)->warm;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    add_unit(w->seen, content, unit);
    pthread_mutex_unlock(&w->lock);
}

/* Pages that were named since the copy was made are not in it: they come with the next. */
static void collect_unit(void *opaque, uint32_t content, const struct cache_unit *unit)
{
    struct hotlist *to = opaque;

    if (content <= to->pages->len)
        add_unit(to, content, unit);
}

struct hotlist *xlate__warm_collect(struct warm *w)
{
    pthread_mutex_lock(&w->lock);
    struct hotlist *copy = hotlist_copy(w->seen);
    pthread_mutex_unlock(&w->lock);
    cache_each_named(w->x->cache, collect_unit, copy);
    /* Pages where nothing ran go. */
    struct hotlist *out = hotlist_merge(NULL, copy);
    hotlist_free(copy);
    return out;
}

void xlate__warm_drain(struct warm *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->busy || w->n_asked || w->ahead < w->ahead_end)
        pthread_cond_wait(&w->idle, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void xlate__warm_stats(struct warm *w, struct warm_stats *out)
{
    const uint64_t *from = (const uint64_t *)&w->stats;
    uint64_t *to = (uint64_t *)out;

    for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    for (unsigned i = 0; i < w->n_workers; i++)
        out->blocks += __atomic_load_n(&w->worker[i].blocks, __ATOMIC_RELAXED);
}

uint64_t xlate__warm_patterns(struct warm *w, unsigned p)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < w->n_workers; i++)
        n += __atomic_load_n(&w->worker[i].patterns[p], __ATOMIC_RELAXED);
    return n;
}
