/*
 * Errors of the host under a qcow2 image: its N-th read, write, fallocate or sync fails, for each N in turn, while
 * the image grows its tables, copies from a backing image or a snapshot, and gives space back. The requests
 * end with that error or work, the image is whole at any time, is never taken for damaged, and afterwards
 * has all that was completed. Raw images the same way.
 *
 * The linker puts our own system calls under the block layer (see tests/unit/meson.build).
 */
#include "tests/unit/block_rig.h"
#include "tests/unit/qcow2_check.h"

enum { DISK = 1 << 20, SECTORS_MAX = 8192, OPS = 24, STEP = 5 };

static struct rig rig;

static void setup(void)
{
    rig_open(&rig);
}

static void teardown(void)
{
    rig_close(&rig);
}

/* --- what fails --------------------------------------------------------------------------- */

enum call { CALL_READ, CALL_WRITE, CALL_FALLOCATE, CALL_SYNC };

struct mode {
    const char *name;
    enum call call;
    int error;
    unsigned times;  /* that many in a row */
    bool cut_short;  /* of the first one half is written */
};

static const struct mode modes[] = {
    {"a read fails", CALL_READ, EIO, 1, false},
    {"a write fails", CALL_WRITE, EIO, 1, false},
    {"no space for a while", CALL_WRITE, ENOSPC, 7, true},
    {"over quota for good", CALL_WRITE, EDQUOT, 1u << 30, false},
    {"fallocate fails", CALL_FALLOCATE, EIO, 2, false},
    {"a sync fails", CALL_SYNC, EIO, 1, false},
    {"no space at a sync", CALL_SYNC, ENOSPC, 1, false},
};

/* Guarded by being atomic: workers make the calls. */
static struct {
    const struct mode *mode; /* NULL: nothing fails */
    int left;                /* calls of its kind until the first that fails */
    int failed;
} faults;

static bool fault_due(enum call call)
{
    const struct mode *m = faults.mode;

    if (!m || m->call != call)
        return false;
    int left = __atomic_fetch_sub(&faults.left, 1, __ATOMIC_SEQ_CST);
    if (left > 0 || (int64_t)left <= -(int64_t)m->times)
        return false;
    __atomic_fetch_add(&faults.failed, 1, __ATOMIC_SEQ_CST);
    errno = m->error;
    return true;
}

ssize_t __real_preadv64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fdatasync(int fd);

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t offset)
{
    return fault_due(CALL_READ) ? -1 : __real_preadv64(fd, iov, n, offset);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
    if (!fault_due(CALL_WRITE))
        return __real_pwritev64(fd, iov, n, offset);
    if (faults.mode->cut_short && iov[0].iov_len >= 2) {
        struct iovec half = {iov[0].iov_base, iov[0].iov_len / 2};
        ssize_t put = __real_pwritev64(fd, &half, 1, offset);
        ck_assert_int_gt(put, 0);
        errno = faults.mode->error;
    }
    return -1;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
    return fault_due(CALL_FALLOCATE) ? -1 : __real_fallocate64(fd, mode, offset, len);
}

int __wrap_fdatasync(int fd)
{
    return fault_due(CALL_SYNC) ? -1 : 0;
}

/* --- what is done ------------------------------------------------------------------------- */

/* A disk, and what it must hold. */
struct disk {
    struct block *b;
    uint64_t size;
    uint8_t *model;
    bool any[SECTORS_MAX]; /* a write that failed left them as they like */
    uint64_t seed;
};

struct kind {
    const char *name, *options;
    uint64_t size;
    bool backing, snapshot;
    uint64_t filled; /* bytes that are written before */
};

static const struct kind kinds[] = {
    {"small clusters", "cluster_size=512", DISK, false, false, 0},
    /* As much as the first refcount table just counts. */
    {"counts grow", "cluster_size=512,refcount_bits=64", 4 * DISK, false, false, KIB(1900)},
    {"large clusters", "cluster_size=64k", DISK, false, false, 0},
    {"over a backing image", "cluster_size=4096", DISK, true, false, 0},
    {"over a snapshot", "cluster_size=1024", DISK, false, true, DISK / 2},
    {"raw", NULL, DISK, false, false, DISK},
};

static void run(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

static void run(const char *fmt, ...)
{
    g_autofree char *out = NULL, *errors = NULL;
    va_list ap;
    int status = -1;

    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    ck_assert_msg(g_spawn_command_line_sync(line, &out, &errors, &status, NULL) && status == 0,
                  "%s: %s%s", line, out, errors);
}

/* Makes the image before anything fails; its contents go to D. */
static char *prepare(const struct kind *k, struct disk *d)
{
    char *path = rig_path(&rig, "prepared");
    g_autofree char *base = rig_path(&rig, "base.raw");

    if (!k->options) {
        g_free(rig_file(&rig, "prepared", k->size));
        return path;
    }
    if (k->backing) {
        rig_fill(&d->seed, d->model, k->size);
        rig_write(base, d->model, k->size);
        run("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw %s", k->options, path);
    } else {
        run("qemu-img create -q -f qcow2 -o %s %s %" G_GUINT64_FORMAT, k->options, path,
            k->size);
    }
    if (k->filled) {
        struct block *b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, false);
        rig_fill(&d->seed, d->model, k->filled);
        ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, d->model, k->filled, 0), 0);
        ck_assert_int_eq(rig_close_block(&rig, b), 0);
    }
    if (k->snapshot)
        run("qemu-img snapshot -c one %s", path);
    return path;
}

/* The model after a request on [AT, AT + LEN) that ended with STATUS. */
static void note(struct disk *d, enum block_kind kind, uint64_t at, uint64_t len,
                 const uint8_t *data, int status)
{
    if (kind == BLOCK_READ || kind == BLOCK_FLUSH)
        return;
    for (uint64_t s = at / 512; s < (at + len) / 512; s++)
        d->any[s] = status < 0 || kind == BLOCK_DISCARD;
    if (kind == BLOCK_WRITE)
        memcpy(d->model + at, data, len);
    else
        memset(d->model + at, 0, len);
}

static int act(struct disk *d)
{
    static const enum block_kind choices[] = {
        BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE,  BLOCK_WRITE,
        BLOCK_READ,  BLOCK_FLUSH, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES,
    };
    enum block_kind kind = choices[rig_random(&d->seed) % G_N_ELEMENTS(choices)];
    uint64_t at = rig_random(&d->seed) % (d->size / 512) * 512;
    uint64_t wish = 512 * (1 + rig_random(&d->seed) % (kind == BLOCK_DISCARD ? 512 : 160));
    uint64_t len = MIN(wish, d->size - at);
    g_autofree uint8_t *data = g_malloc(len);

    rig_fill(&d->seed, data, len);
    int status = rig_io(&rig, d->b, kind, kind == BLOCK_FLUSH ? 0 : at, data,
                        kind == BLOCK_FLUSH ? 0 : len, BLOCK_UNMAP);
    note(d, kind, at, len, data, status);
    return status;
}

static void check_file(const char *path, const char *when)
{
    g_autofree char *data = NULL;
    uint64_t leaks;
    size_t len;

    ck_assert(g_file_get_contents(path, &data, &len, NULL));
    g_autofree char *bad = qcow2_check((uint8_t *)data, len, &leaks);
    ck_assert_msg(!bad, "%s: %s", when, bad);
}

static void verify(struct disk *d, const char *when)
{
    g_autofree uint8_t *now = g_malloc(d->size);

    ck_assert_int_eq(rig_io(&rig, d->b, BLOCK_READ, 0, now, d->size, 0), 0);
    for (unsigned s = 0; s < d->size / 512; s++)
        if (!d->any[s] && memcmp(now + s * 512, d->model + s * 512, 512) != 0)
            ck_abort_msg("%s: sector %u is wrong", when, s);
}

/* --- one fault ---------------------------------------------------------------------------- */

/* A request ends well or with the host's own error; a flush, after a sync that failed, always with -EIO. */
static void check_status(const struct mode *m, int status, const char *when)
{
    bool after_sync = m->call == CALL_SYNC && status == -EIO;

    ck_assert_msg(status == 0 || status == -m->error || after_sync, "%s: status %d", when, status);
}

/* Does OPS things to a copy of the image while the Nth call fails. False: it came to no Nth call. */
static bool try_fault(const struct kind *k, const struct mode *m, int nth, const char *prepared,
                      const struct disk *as_prepared)
{
    enum block_format format = k->options ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
    g_autofree struct disk *d = g_memdup2(as_prepared, sizeof(*d));
    g_autofree uint8_t *model = g_memdup2(d->model, d->size);
    g_autofree char *path = rig_path(&rig, "disk"), *image = NULL;
    g_autofree char *when = g_strdup_printf("%s, %s (call %d)", k->name, m->name, nth);
    size_t len;

    ck_assert(g_file_get_contents(prepared, &image, &len, NULL));
    rig_write(path, image, len);
    d->model = model;
    d->b = rig_block(&rig, path, format, false);
    faults.left = nth;
    faults.failed = 0;
    faults.mode = m;
    for (int i = 0; i < OPS; i++)
        check_status(m, act(d), when);
    block_wait_idle(d->b);
    faults.mode = NULL;
    bool synced = m->call != CALL_SYNC || faults.failed == 0;
    ck_assert_msg(!block_fault(d->b), "%s: %s", when, block_fault(d->b));
    if (k->options)
        check_file(path, when);

    /* The host works again. What failed to sync is never said to be there. */
    verify(d, when);
    ck_assert_msg(rig_io(&rig, d->b, BLOCK_FLUSH, 0, NULL, 0, 0) == (synced ? 0 : -EIO), "%s", when);
    for (int i = 0; synced && i < 6; i++)
        ck_assert_msg(act(d) == 0, "%s: it does not go on", when);
    ck_assert_int_eq(rig_close_block(&rig, d->b), synced ? 0 : -EIO);
    if (k->options)
        check_file(path, when);
    d->b = rig_block(&rig, path, format, false);
    if (synced)
        verify(d, when);
    ck_assert_int_eq(rig_close_block(&rig, d->b), 0);
    return faults.failed > 0;
}

/* VMD_TEST_ROUNDS in the environment makes it that many times as thorough. */
static int step(void)
{
    const char *rounds = g_getenv("VMD_TEST_ROUNDS");

    return MAX(1, STEP / CLAMP(rounds ? atoi(rounds) : 1, 1, STEP));
}

START_TEST(fault)
{
    const struct kind *k = &kinds[_i];
    g_autofree struct disk *d = g_new0(struct disk, 1);
    g_autofree uint8_t *model = g_malloc0(k->size);
    int tried = 0;

    d->size = k->size;
    d->model = model;
    d->seed = 60 + (uint64_t)_i;
    g_autofree char *prepared = prepare(k, d);
    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        /* Other seeds bring other requests to the same calls. */
        for (int nth = (int)m % step(); try_fault(k, &modes[m], nth, prepared, d); nth += step()) {
            d->seed++;
            tried++;
        }
    }
    ck_assert_int_gt(tried, 10);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("block_faults");
    TCase *tc = tcase_create("all");
    g_autofree char *tool = g_find_program_in_path("qemu-img");

    if (!tool) {
        fprintf(stderr, "SKIPPED: no qemu-img here (Debian: qemu-utils)\n");
        return 77;
    }
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, fault, 0, G_N_ELEMENTS(kinds));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
