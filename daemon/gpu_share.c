/* Pages, rounds and counts. See gpu_share.h. */
#include "daemon/gpu_share.h"

#include "daemon/gpu_credit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum {
    FAST_MS = 2,      /* between rounds while workers wait for each other */
    SLOW_MS = 100,    /* while one device has two workers */
    SAMPLE_MS = 1000, /* between the counts that tell how busy the device is */
    LINGER_MS = 200,  /* fast rounds go on for, when one alone has work */
};

/* What was used at some time; at_ns 0: nothing yet. */
struct sample {
    uint64_t at_ns;
    struct share_use use;
};

struct device {
    char *name;
    GPtrArray *shares; /* struct gpu_share */
    struct credit_device credit;
    uint64_t shared_ns; /* when two had work for it last */
};

struct gpu_share {
    struct gpu_shares *shares;
    char *name;
    struct device *device; /* NULL: none yet */
    uint32_t launches;
    int fd;                    /* the worker's page, which is only read; -1: there are no pages */
    struct share_grant *grant; /* the other one, mapped */
    struct credit credit;
    struct sample now, before;  /* NOW is the latest */
    struct share_count earlier; /* of workers before this one */
};

struct gpu_shares {
    GHashTable *devices; /* name -> struct device, owned */
    unsigned open;       /* shares with pages */
    uv_timer_t *timer;   /* freed by its close */
    unsigned period_ms;  /* 0: it does not run */
    uint64_t round_ns;   /* when the latest was */
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void device_free(void *opaque)
{
    struct device *d = opaque;

    g_ptr_array_free(d->shares, TRUE);
    g_free(d->name);
    g_free(d);
}

struct gpu_shares *gpu_shares_new(uv_loop_t *loop)
{
    struct gpu_shares *all = g_new0(struct gpu_shares, 1);

    all->devices = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, device_free);
    all->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(loop, all->timer);
    all->timer->data = all;
    return all;
}

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle);
}

void gpu_shares_free(struct gpu_shares *all)
{
    if (!all)
        return;
    uv_close((uv_handle_t *)all->timer, timer_closed);
    g_hash_table_destroy(all->devices);
    g_free(all);
}

/* --- the pages -------------------------------------------------------------------------------- */

/* What the worker says, which may be anything: false where it makes no sense, or is written just
 * now again and again. */
static bool read_page(const struct gpu_share *s, struct share_use *use)
{
    for (unsigned i = 0; s->fd >= 0 && i < 8; i++) {
        uint64_t changes;
        if (pread(s->fd, use, sizeof(*use), 0) != sizeof(*use) ||
            pread(s->fd, &changes, sizeof(changes), offsetof(struct share_use, changes)) !=
                sizeof(changes))
            return false;
        if (use->magic != SHARE_MAGIC || use->size != sizeof(*use))
            return false;
        if (use->changes == changes && changes % 2 == 0)
            return true;
    }
    return false;
}

/* A name is text whatever was in the page. */
static void clean(struct share_use *use)
{
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++) {
        char *name = use->programs[i].name;
        name[SHARE_NAME - 1] = 0;
        for (char *at = name; *at; at++)
            *at = g_ascii_isprint(*at) ? *at : '?';
    }
}

/* The latest that the worker said, at NOW. */
static void look(struct gpu_share *s, uint64_t now)
{
    struct share_use use;

    if (!read_page(s, &use))
        return;
    clean(&use);
    if (now - s->now.at_ns >= SAMPLE_MS * UINT64_C(1000000)) {
        s->before = s->now;
        s->now = (struct sample){.at_ns = now, .use = use};
    }
    uint64_t used = share_time(&use.total, now);
    /* Less than before, where an estimate is set right, or by a worker that does not make sense. */
    s->credit.used_ns = used < CREDIT_USED_MOST ? MAX(used, s->credit.used_ns) : s->credit.used_ns;
    s->credit.wants = use.total.in_flight || use.total.waiting;
}

static void renew(struct gpu_share *s, uint64_t now)
{
    if (!s->grant)
        return;
    s->grant->weight = s->credit.weight;
    __atomic_store_n(&s->grant->launches, s->launches, __ATOMIC_RELAXED);
    __atomic_store_n(&s->grant->renewed_ns, now, __ATOMIC_RELAXED);
    __atomic_store_n(&s->grant->until_ns, s->credit.until_ns, __ATOMIC_RELEASE);
}

static void pace(struct gpu_shares *all);

static char *page_path(const struct gpu_share *s, const char *dir, const char *kind)
{
    g_autofree char *name = g_strdup_printf("%s.%s", s->name, kind);

    return g_build_filename(dir, name, NULL);
}

/* A new file of a page, and nobody else's. */
static int make_page(const char *path, GError **err)
{
    static const uint8_t zeros[SHARE_PAGE];

    unlink(path);
    autofd fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || pwrite(fd, zeros, sizeof(zeros), 0) != sizeof(zeros)) {
        vmd_set_errno(err, errno, "making %s", path);
        return -1;
    }
    return steal_fd(&fd);
}

/* Takes USE and GRANT. */
static bool adopt(struct gpu_share *s, int use, int grant, GError **err)
{
    autofd page = use, granted = grant;
    struct stat st;

    if (fstat(granted, &st) < 0 || st.st_size != SHARE_PAGE)
        return vmd_fail(err, VMD_ERROR_IO, "a page for a GPU worker is not one");
    void *at = mmap(NULL, SHARE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, granted, 0);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping a page for a GPU worker");
    s->grant = at;
    s->grant->magic = SHARE_MAGIC;
    s->grant->size = sizeof(*s->grant);
    s->fd = steal_fd(&page);
    s->credit.until_ns = SHARE_UNBOUND;
    s->credit.used_ns = s->credit.last_ns = 0;
    s->shares->open++;
    renew(s, now_ns());
    pace(s->shares);
    return true;
}

bool gpu_share_make(struct gpu_share *s, const char *dir, int fds[2], GError **err)
{
    g_autofree char *use_path = page_path(s, dir, "use"), *grant_path = page_path(s, dir, "grant");

    gpu_share_close(s);
    autofd use = make_page(use_path, err);
    autofd grant = use < 0 ? -1 : make_page(grant_path, err);
    if (use < 0 || grant < 0)
        return false;
    autofd ours = open(use_path, O_RDONLY | O_CLOEXEC),
           theirs = open(grant_path, O_RDONLY | O_CLOEXEC);
    if (ours < 0 || theirs < 0)
        return vmd_set_errno(err, errno, "opening pages for a GPU worker");
    if (!adopt(s, steal_fd(&ours), steal_fd(&grant), err))
        return false;
    fds[0] = steal_fd(&use);
    fds[1] = steal_fd(&theirs);
    return true;
}

void gpu_share_find(struct gpu_share *s, const char *dir)
{
    g_autofree char *use_path = page_path(s, dir, "use"), *grant_path = page_path(s, dir, "grant");
    autofd use = open(use_path, O_RDONLY | O_CLOEXEC);
    autofd grant = open(grant_path, O_RDWR | O_CLOEXEC);

    gpu_share_close(s);
    if (use >= 0 && grant >= 0)
        adopt(s, steal_fd(&use), steal_fd(&grant), NULL);
}

void gpu_share_close(struct gpu_share *s)
{
    if (s->fd < 0)
        return;
    look(s, now_ns());
    s->earlier.done_ns += s->credit.used_ns;
    s->earlier.launches += s->now.use.total.launches;
    s->now = s->before = (struct sample){0};
    s->credit.wants = false;
    s->credit.used_ns = s->credit.last_ns = 0;
    close(s->fd);
    s->fd = -1;
    munmap(s->grant, SHARE_PAGE);
    s->grant = NULL;
    s->shares->open--;
    pace(s->shares);
}

void gpu_share_succeed(struct gpu_share *s, struct gpu_share *before)
{
    gpu_share_close(before);
    s->earlier.done_ns += before->earlier.done_ns;
    s->earlier.launches += before->earlier.launches;
    before->earlier = (struct share_count){0};
}

void gpu_share_end(struct gpu_share *s)
{
    gpu_share_close(s);
    s->earlier = (struct share_count){0};
    s->credit = (struct credit){.weight = s->credit.weight};
}

/* --- who shares what -------------------------------------------------------------------------- */

struct gpu_share *gpu_share_new(struct gpu_shares *all, const char *name)
{
    struct gpu_share *s = g_new0(struct gpu_share, 1);

    s->shares = all;
    s->name = g_strdup(name);
    s->fd = -1;
    s->credit.weight = 1;
    return s;
}

static void leave(struct gpu_share *s)
{
    struct device *d = s->device;

    s->device = NULL;
    if (!d)
        return;
    g_ptr_array_remove(d->shares, s);
    if (!d->shares->len)
        g_hash_table_remove(s->shares->devices, d->name);
}

void gpu_share_free(struct gpu_share *s)
{
    if (!s)
        return;
    gpu_share_close(s);
    leave(s);
    g_free(s->name);
    g_free(s);
}

void gpu_share_set(struct gpu_share *s, const char *device, uint32_t weight, uint32_t launches)
{
    struct device *d = g_hash_table_lookup(s->shares->devices, device);

    s->credit.weight = weight;
    s->launches = launches;
    if (!d) {
        d = g_new0(struct device, 1);
        d->name = g_strdup(device);
        d->shares = g_ptr_array_new();
        g_hash_table_insert(s->shares->devices, d->name, d);
    }
    if (d != s->device) {
        leave(s);
        s->device = d;
        g_ptr_array_add(d->shares, s);
    }
    renew(s, now_ns());
    pace(s->shares);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void device_round(struct gpu_shares *all, struct device *d, uint64_t now)
{
    g_autofree struct credit **credits = g_new(struct credit *, d->shares->len);
    unsigned n = 0;

    for (guint i = 0; i < d->shares->len; i++) {
        struct gpu_share *s = g_ptr_array_index(d->shares, i);
        if (s->fd < 0)
            continue;
        look(s, now);
        credits[n++] = &s->credit;
    }
    if (credit_round(&d->credit, credits, n, now - all->round_ns) > 1)
        d->shared_ns = now;
    for (guint i = 0; i < d->shares->len; i++)
        renew(g_ptr_array_index(d->shares, i), now);
}

void gpu_shares_round(struct gpu_shares *all, uint64_t now)
{
    GHashTableIter iter;
    void *d;

    g_hash_table_iter_init(&iter, all->devices);
    while (g_hash_table_iter_next(&iter, NULL, &d))
        device_round(all, d, now);
    all->round_ns = now;
}

static void round_due(uv_timer_t *timer)
{
    struct gpu_shares *all = timer->data;

    gpu_shares_round(all, now_ns());
    pace(all);
}

/* How often rounds come, as things are. */
static void pace(struct gpu_shares *all)
{
    uint64_t lingers = LINGER_MS * UINT64_C(1000000);
    unsigned period = all->open ? SAMPLE_MS : 0;
    GHashTableIter iter;
    void *at;

    g_hash_table_iter_init(&iter, all->devices);
    while (g_hash_table_iter_next(&iter, NULL, &at)) {
        const struct device *d = at;
        unsigned open = 0;
        for (guint i = 0; i < d->shares->len; i++)
            open += ((struct gpu_share *)g_ptr_array_index(d->shares, i))->fd >= 0;
        if (open > 1 && d->shared_ns && all->round_ns - d->shared_ns < lingers)
            period = FAST_MS;
        else if (open > 1)
            period = MIN(period, SLOW_MS);
    }
    if (period == all->period_ms)
        return;
    all->period_ms = period;
    if (period)
        uv_timer_start(all->timer, round_due, period, period);
    else
        uv_timer_stop(all->timer);
}

/* --- counts ----------------------------------------------------------------------------------- */

static uint64_t time_at(const struct share_count *c, uint64_t at)
{
    uint64_t used = share_time(c, at);

    return used < INT64_MAX ? used : 0;
}

/* What of the time between two samples C had the device, in thousandths. */
static uint32_t busy(const struct gpu_share *s, const struct share_count *now,
                     const struct share_count *before)
{
    uint64_t passed = s->now.at_ns - s->before.at_ns, used = time_at(now, s->now.at_ns);
    uint64_t was = before ? time_at(before, s->before.at_ns) : 0;

    if (!s->before.at_ns || used < was)
        return 0;
    return (uint32_t)MIN((double)(used - was) * 1000 / (double)passed, UINT32_MAX);
}

static const struct share_count *program_before(const struct gpu_share *s, uint64_t id)
{
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++) {
        if (s->before.use.programs[i].id == id)
            return &s->before.use.programs[i].count;
    }
    return NULL;
}

static struct gpu_program *describe_program(const struct gpu_share *s,
                                            const struct share_program *p, uint64_t now)
{
    struct gpu_program *out = gpu_program_new();

    out->id = p->id;
    g_free(out->name);
    out->name = g_strdup(p->name);
    out->pid = p->pid;
    out->time_ns = time_at(&p->count, now);
    out->busy = 0;
    out->launches = p->count.launches;
    out->in_flight = p->count.in_flight;
    out->memory_bytes = p->count.memory;
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++) {
        if (s->now.use.programs[i].id == p->id)
            out->busy = busy(s, &s->now.use.programs[i].count, program_before(s, p->id));
    }
    return out;
}

void gpu_share_describe(struct gpu_share *s, struct vm_gpu_use *out)
{
    struct share_use use;
    uint64_t now = now_ns();

    out->share = s->credit.weight;
    out->launches_most = s->launches;
    out->time_ns = s->earlier.done_ns;
    out->launches = s->earlier.launches;
    if (!read_page(s, &use))
        return;
    clean(&use);
    out->time_ns += time_at(&use.total, now);
    out->launches += use.total.launches;
    out->in_flight = use.total.in_flight;
    out->waiting = use.total.waiting;
    out->busy = busy(s, &s->now.use.total, &s->before.use.total);
    out->programs = g_new0(struct gpu_program *, SHARE_PROGRAMS);
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++) {
        const struct share_program *p = &use.programs[i];
        if (p->id && (p->name[0] || p->count.memory || p->count.launches))
            out->programs[out->n_programs++] = describe_program(s, p, now);
    }
}
