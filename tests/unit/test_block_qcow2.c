/*
 * qcow2 against an independent implementation: qemu-img makes images, checks what we did to them, and
 * compares their contents with what they should be. Random, but seeded. Skipped where there is no
 * qemu-img.
 *
 * The linker puts our own pwritev(), fallocate() and fdatasync() under the block layer here, which
 * record what reaches the file and what has been synced; so every state that a power cut could leave
 * on the disk can be made and looked at. A checker of the tests' own (qcow2_check.h) looks at most of them,
 * qemu-img at some.
 */
#include "tests/unit/block_rig.h"
#include "tests/unit/qcow2_check.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static struct rig rig;

static void setup(void)
{
    rig_open(&rig);
}

static void teardown(void)
{
    rig_close(&rig);
}

/* --- what reaches the file ---------------------------------------------------------------- */

/* One write, in the order of completion; a hole where DATA is NULL. */
struct record {
    uint64_t offset, len;
    uint8_t *data;
    unsigned durable; /* how long the log was at the sync that covers it; 0: none did */
};

static struct {
    uv_mutex_t lock;
    bool on;
    GArray *log;    /* struct record */
    unsigned synced; /* records before are durable */
} recorder;

static void record_clear(void *r)
{
    g_free(((struct record *)r)->data);
}

static void recorder_start(void)
{
    uv_mutex_init(&recorder.lock);
    recorder.log = g_array_new(FALSE, FALSE, sizeof(struct record));
    g_array_set_clear_func(recorder.log, record_clear);
    recorder.synced = 0;
    recorder.on = true;
}

static void recorder_stop(void)
{
    recorder.on = false;
    g_array_free(recorder.log, TRUE);
    uv_mutex_destroy(&recorder.lock);
}

static unsigned recorder_length(void)
{
    uv_mutex_lock(&recorder.lock);
    unsigned n = recorder.log->len;
    uv_mutex_unlock(&recorder.lock);
    return n;
}

ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fdatasync(int fd);

static void record(uint64_t offset, uint64_t len, uint8_t *data)
{
    struct record r = {offset, len, data, 0};

    uv_mutex_lock(&recorder.lock);
    g_array_append_val(recorder.log, r);
    uv_mutex_unlock(&recorder.lock);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
    ssize_t put = __real_pwritev64(fd, iov, n, offset);

    if (recorder.on && put > 0) {
        uint8_t *data = g_malloc((size_t)put);
        size_t at = 0;
        for (int i = 0; i < n && at < (size_t)put; i++) {
            size_t part = MIN(iov[i].iov_len, (size_t)put - at);
            memcpy(data + at, iov[i].iov_base, part);
            at += part;
        }
        record((uint64_t)offset, (uint64_t)put, data);
    }
    return put;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
    int r = __real_fallocate64(fd, mode, offset, len);

    if (recorder.on && r == 0)
        record((uint64_t)offset, (uint64_t)len, NULL);
    return r;
}

/* Nothing here outlives the host, so the real one is spared. */
int __wrap_fdatasync(int fd)
{
    if (!recorder.on)
        return 0;
    uv_mutex_lock(&recorder.lock);
    for (unsigned i = recorder.synced; i < recorder.log->len; i++)
        g_array_index(recorder.log, struct record, i).durable = recorder.log->len;
    recorder.synced = recorder.log->len;
    uv_mutex_unlock(&recorder.lock);
    return 0;
}

/* VMD_TEST_ROUNDS in the environment makes the random tests that many times as long. */
static int thoroughness(void)
{
    const char *rounds = g_getenv("VMD_TEST_ROUNDS");

    return rounds ? CLAMP(atoi(rounds), 1, 10000) : 1;
}

/* --- qemu-img ----------------------------------------------------------------------------- */

static char *qemu_said; /* what the last run wrote */

/* Runs qemu-img with the words of FMT (no name has blanks) and returns its exit status. */
static int qemu_img(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

static int qemu_img(const char *fmt, ...)
{
    va_list ap;
    g_autoptr(GError) err = NULL;
    g_autofree char *out = NULL;
    int status = -1;

    va_start(ap, fmt);
    g_autofree char *args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autofree char *line = g_strdup_printf("qemu-img %s", args);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autofree char *errors = NULL;
    g_clear_pointer(&qemu_said, g_free);
    ck_assert_msg(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &errors,
                               &status, &err), "%s", err ? err->message : "");
    qemu_said = g_strdup_printf("%s: %.400s%.400s", line, out, errors);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The image is consistent; LEAKS: clusters may be lost. */
static void check_image(const char *path, bool leaks, const char *when)
{
    int status = qemu_img("check -q -U -f qcow2 %s", path);

    ck_assert_msg(status == 0 || (leaks && status == 3), "%s: qemu-img check says %d\n%s", when, status,
                  qemu_said);
}

/* The same, of LEN bytes in memory, without qemu-img. */
static void check_bytes(const uint8_t *file, size_t len, bool leaks, const char *when)
{
    uint64_t leaked;
    g_autofree char *wrong = qcow2_check(file, len, &leaked);

    if (wrong)
        ck_abort_msg("%s: %s", when, wrong);
    ck_assert_msg(leaks || leaked == 0, "%s: %u clusters leaked", when, (unsigned)leaked);
}

static void check_whole(const char *path, bool leaks, const char *when)
{
    g_autofree char *data = NULL;
    size_t len;

    ck_assert(g_file_get_contents(path, &data, &len, NULL));
    check_bytes((const uint8_t *)data, len, leaks, when);
}

/* qemu-img reads the same from the image as MODEL has. */
static void compare_image(const char *path, const uint8_t *model, uint64_t size, const char *when)
{
    g_autofree char *raw = rig_path(&rig, "model.raw");

    rig_write(raw, model, size);
    ck_assert_msg(qemu_img("compare -q -U -f qcow2 -F raw %s %s", path, raw) == 0,
                  "%s: contents differ\n%s", when, qemu_said);
}

/* --- random requests ---------------------------------------------------------------------- */

struct kind_of_image {
    const char *name;
    const char *options; /* of qemu-img create -o */
    uint64_t size;
    const char *backing; /* options of the image below, "raw", or NULL */
    bool compressed;     /* the image below */
};

static const struct kind_of_image kinds[] = {
    {"default", "compat=1.1", MIB(6), NULL, false},
    {"512-byte clusters", "cluster_size=512", MIB(3), NULL, false},
    {"512-byte clusters, 64-bit counts", "cluster_size=512,refcount_bits=64", MIB(4), NULL, false},
    {"1-bit counts", "cluster_size=4096,refcount_bits=1", MIB(4), NULL, false},
    {"2-bit counts", "cluster_size=1024,refcount_bits=2", MIB(3), NULL, false},
    {"4-bit counts", "cluster_size=2048,refcount_bits=4", MIB(3), NULL, false},
    {"8-bit counts", "cluster_size=8192,refcount_bits=8", MIB(4), NULL, false},
    {"32-bit counts", "cluster_size=1024,refcount_bits=32", MIB(3), NULL, false},
    {"2-MiB clusters", "cluster_size=2M", MIB(9), NULL, false},
    {"delayed counts", "lazy_refcounts=on", MIB(4), NULL, false},
    {"odd size", "cluster_size=64k", MIB(3) + 1536, NULL, false},
    {"version 2", "compat=0.10,cluster_size=4096", MIB(4), NULL, false},
    {"preallocated", "cluster_size=16k,preallocation=metadata", MIB(4), NULL, false},
    {"over raw", "cluster_size=16k", MIB(4), "raw", false},
    {"over compressed", "cluster_size=4096", MIB(4), "cluster_size=4096", true},
    {"over zstd", "cluster_size=64k", MIB(4), "cluster_size=64k,compression_type=zstd", true},
    {"version 2 over raw", "compat=0.10", MIB(4), "raw", false},
    {"version 2 over version 2", "compat=0.10,cluster_size=512", MIB(2), "compat=0.10", true},
};

struct disk {
    struct block *b;
    char *path;
    uint8_t *model;
    uint64_t size;
    uint64_t seed;
};

/* Contents that compress, with holes, for the image below. */
static void fill_base(struct disk *d, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += 4096) {
        if (rig_random(&d->seed) % 4 == 0)
            memset(d->model + at, (int)rig_random(&d->seed), MIN(4096, size - at));
        else if (rig_random(&d->seed) % 4 == 0)
            rig_fill(&d->seed, d->model + at, MIN(4096, size - at));
    }
}

static void make_base(struct disk *d, const struct kind_of_image *k)
{
    g_autofree char *raw = rig_path(&rig, "base.raw"), *base = rig_path(&rig, "base.qcow2");
    /* Shorter than the disk over it, and no multiple of a cluster. */
    uint64_t size = k->size - MIB(1) - 512;

    fill_base(d, size);
    rig_write(raw, d->model, size);
    if (strcmp(k->backing, "raw") != 0)
        ck_assert_int_eq(qemu_img("convert -q %s -f raw -O qcow2 -o %s %s %s",
                                  k->compressed ? "-c" : "-W", k->backing, raw, base), 0);
}

static void disk_make(struct disk *d, const struct kind_of_image *k)
{
    d->path = rig_path(&rig, "disk.qcow2");
    d->size = k->size;
    d->model = g_malloc0(k->size);
    if (k->backing) {
        bool raw = strcmp(k->backing, "raw") == 0;
        make_base(d, k);
        ck_assert_int_eq(qemu_img("create -q -f qcow2 -o %s -b %s -F %s %s %" G_GUINT64_FORMAT,
                                  k->options, raw ? "base.raw" : "base.qcow2",
                                  raw ? "raw" : "qcow2", d->path, k->size), 0);
    } else {
        ck_assert_int_eq(qemu_img("create -q -f qcow2 -o %s %s %" G_GUINT64_FORMAT, k->options,
                                  d->path, k->size), 0);
    }
    d->b = rig_block(&rig, d->path, BLOCK_FORMAT_QCOW2, false);
}

static void disk_reopen(struct disk *d, bool readonly)
{
    ck_assert_int_eq(rig_close_block(&rig, d->b), 0);
    d->b = rig_block(&rig, d->path, BLOCK_FORMAT_QCOW2, readonly);
}

static void disk_end(struct disk *d)
{
    if (d->b)
        ck_assert_int_eq(rig_close_block(&rig, d->b), 0);
    g_free(d->path);
    g_free(d->model);
}

/* A request with its buffer, and what it must read. */
struct op {
    struct block_req req;
    struct iovec iov[3];
    uint8_t *buf, *want;
    unsigned *left;
    int expect;
};

static void op_done(struct block_req *req, int status)
{
    struct op *op = container_of(req, struct op, req);

    ck_assert_msg(status == op->expect, "kind %d at %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT
                  ": %d, not %d", req->kind, req->offset, req->length, status, op->expect);
    if (op->want)
        ck_assert_msg(memcmp(op->buf, op->want, req->length) == 0, "read at %" G_GUINT64_FORMAT
                      "+%" G_GUINT64_FORMAT " differs", req->offset, req->length);
    (*op->left)--;
}

static uint64_t op_length(uint64_t *seed)
{
    switch (rig_random(seed) % 8) {
    case 0:
        return 512 * (1 + rig_random(seed) % 2048);
    case 1:
    case 2:
        return 4096 * (1 + rig_random(seed) % 32);
    default:
        return 512 * (1 + rig_random(seed) % 16);
    }
}

/* Makes a request for [offset, offset + len) and changes the model to what it must do. */
static void op_make(struct disk *d, struct op *op, uint64_t offset, uint64_t len, unsigned *left)
{
    static const enum block_kind mix[] = {BLOCK_READ,  BLOCK_WRITE, BLOCK_WRITE,
                                          BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_READ};
    uint64_t cut = len / 1024 * 512;

    op->buf = g_malloc(len);
    op->left = left;
    op->iov[0] = (struct iovec){op->buf, cut};
    op->iov[1] = (struct iovec){op->buf + cut, 0};
    op->iov[2] = (struct iovec){op->buf + cut, len - cut};
    op->req = (struct block_req){.kind = mix[rig_random(&d->seed) % G_N_ELEMENTS(mix)],
                                 .flags = rig_random(&d->seed) % 2 ? BLOCK_UNMAP : 0,
                                 .offset = offset, .length = len, .iov = op->iov, .iovcnt = 3,
                                 .done = op_done};
    if (op->req.kind == BLOCK_READ) {
        op->want = g_memdup2(d->model + offset, len);
    } else if (op->req.kind == BLOCK_WRITE) {
        rig_fill(&d->seed, op->buf, len);
        memcpy(d->model + offset, op->buf, len);
    } else {
        memset(d->model + offset, 0, len);
    }
}

/* Up to eight requests at once, side by side, so that they meet in clusters but not in sectors. */
static void disk_batch(struct disk *d)
{
    struct op ops[8] = {0};
    unsigned left = 0, n = 1 + rig_random(&d->seed) % G_N_ELEMENTS(ops);
    uint64_t at = rig_random(&d->seed) % (d->size / 512) * 512;

    for (unsigned i = 0; i < n && at < d->size; i++) {
        uint64_t len = op_length(&d->seed);
        len = MIN(len, d->size - at);
        op_make(d, &ops[i], at, len, &left);
        at += len + rig_random(&d->seed) % 3 * 512;
        left++;
        ck_assert_int_eq(block_submit(d->b, &ops[i].req), 0);
    }
    while (left > 0)
        uv_run(&rig.loop, UV_RUN_ONCE);
    for (unsigned i = 0; i < n; i++) {
        g_free(ops[i].buf);
        g_free(ops[i].want);
    }
}

/* WANT NULL: zeroes. */
static bool sector_is(const uint8_t *sector, const uint8_t *want)
{
    static const uint8_t zeroes[512];

    return memcmp(sector, want ? want : zeroes, 512) == 0;
}

/* A discard leaves what was there or zeroes; the model takes what it finds. */
static void disk_discard(struct disk *d)
{
    uint64_t at = rig_random(&d->seed) % (d->size / 512) * 512;
    uint64_t wish = 512 * (1 + rig_random(&d->seed) % 4096), len = MIN(wish, d->size - at);
    g_autofree uint8_t *buf = g_malloc(len);

    ck_assert_int_eq(rig_io(&rig, d->b, BLOCK_DISCARD, at, NULL, len, 0), 0);
    ck_assert_int_eq(rig_io(&rig, d->b, BLOCK_READ, at, buf, len, 0), 0);
    bool good = true;
    for (uint64_t i = 0; i < len; i += 512)
        good &= sector_is(buf + i, NULL) || sector_is(buf + i, d->model + at + i);
    ck_assert_msg(good, "a discard at %" G_GUINT64_FORMAT " brought something else", at);
    memcpy(d->model + at, buf, len);
}

static void disk_exercise(struct disk *d, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t what = rig_random(&d->seed) % 40;
        if (what == 0)
            ck_assert_int_eq(rig_io(&rig, d->b, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
        else if (what < 4)
            disk_discard(d);
        else
            disk_batch(d);
    }
    ck_assert_ptr_null(block_fault(d->b));
}

START_TEST(differential)
{
    const struct kind_of_image *k = &kinds[_i];
    struct disk d = {.seed = 1000 + (uint64_t)_i};

    disk_make(&d, k);
    rig_verify(&rig, d.b, d.model, d.size, "new");
    for (int round = 0; round < 2; round++) {
        disk_exercise(&d, 100 * (unsigned)thoroughness());
        disk_reopen(&d, round == 1);
        check_whole(d.path, false, k->name);
    }
    check_image(d.path, false, k->name);
    rig_verify(&rig, d.b, d.model, d.size, k->name);
    compare_image(d.path, d.model, d.size, k->name);
    disk_end(&d);
}
END_TEST

/* A guest that gives all its space back gets it back. */
START_TEST(discard_frees)
{
    const struct kind_of_image k = {"", "cluster_size=64k", MIB(16), NULL, false};
    struct disk d = {.seed = 5};
    g_autofree uint8_t *buf = g_malloc(MIB(1));
    struct stat full, empty;

    disk_make(&d, &k);
    memset(buf, 0xaa, MIB(1));
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(rig_io(&rig, d.b, BLOCK_WRITE, (uint64_t)i * MIB(1), buf, MIB(1), 0), 0);
    disk_reopen(&d, false);
    ck_assert_int_eq(stat(d.path, &full), 0);
    ck_assert_int_eq(rig_io(&rig, d.b, BLOCK_DISCARD, 0, NULL, d.size, 0), 0);
    disk_reopen(&d, false);
    ck_assert_int_eq(stat(d.path, &empty), 0);
    ck_assert_msg(full.st_blocks * 512 >= (blkcnt_t)MIB(16), "%ld blocks", (long)full.st_blocks);
    ck_assert_msg(empty.st_blocks * 512 <= (blkcnt_t)MIB(1), "%ld blocks", (long)empty.st_blocks);
    /* What is written now goes where the old was. */
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(rig_io(&rig, d.b, BLOCK_WRITE, (uint64_t)i * MIB(1), buf, MIB(1), 0), 0);
    disk_reopen(&d, false);
    ck_assert_int_eq(stat(d.path, &empty), 0);
    ck_assert_int_eq(empty.st_size, full.st_size);
    check_image(d.path, false, "written again");
    disk_end(&d);
}
END_TEST

static const char *const snapshot_options[] = {"cluster_size=64k", "cluster_size=1024",
                                               "compat=0.10,cluster_size=4096"};

/* Internal snapshots stay what they are while the disk goes on. */
START_TEST(snapshots)
{
    const struct kind_of_image k = {"", snapshot_options[_i], MIB(8), NULL, false};
    struct disk d = {.seed = 77 + (uint64_t)_i};
    g_autofree char *raw = rig_path(&rig, "snap.raw");
    g_autofree uint8_t *then = NULL;

    disk_make(&d, &k);
    disk_exercise(&d, 100);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    then = g_memdup2(d.model, d.size);
    ck_assert_int_eq(qemu_img("snapshot -c one %s", d.path), 0);
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    disk_exercise(&d, 150);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    check_image(d.path, false, "written over a snapshot");
    compare_image(d.path, d.model, d.size, "the disk");
    ck_assert_int_eq(qemu_img("snapshot -c two %s", d.path), 0);
    ck_assert_int_eq(qemu_img("snapshot -a one %s", d.path), 0);
    compare_image(d.path, then, d.size, "the snapshot");
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    memcpy(d.model, then, d.size);
    rig_verify(&rig, d.b, d.model, d.size, "back at the snapshot");
    disk_exercise(&d, 100);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    ck_assert_int_eq(qemu_img("snapshot -d two %s", d.path), 0);
    check_image(d.path, false, "a snapshot less");
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    disk_exercise(&d, 100);
    disk_reopen(&d, true);
    rig_verify(&rig, d.b, d.model, d.size, "at the end");
    check_image(d.path, false, "at the end");
    disk_end(&d);
}
END_TEST

/* A disk that grows past what the cache of tables holds and the refcount table counts. */
START_TEST(large_and_sparse)
{
    const struct kind_of_image k = {"", "cluster_size=512", GIB(1), NULL, false};
    struct disk d = {.path = rig_path(&rig, "disk.qcow2"), .size = k.size, .seed = 9};
    uint64_t seed;
    uint8_t buf[1024], want[1024];

    ck_assert_int_eq(qemu_img("create -q -f qcow2 -o %s %s 1G", k.options, d.path), 0);
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    for (int i = 0; i < 12000; i++) {
        rig_fill(&d.seed, buf, sizeof(buf));
        ck_assert_int_eq(rig_io(&rig, d.b, BLOCK_WRITE,
                                ((uint64_t)i * 7919 % (GIB(1) / 65536)) * 65536 + 512, buf,
                                sizeof(buf), 0), 0);
    }
    disk_reopen(&d, true);
    seed = 9;
    for (int i = 0; i < 12000; i++) {
        rig_fill(&seed, want, sizeof(want));
        ck_assert_int_eq(rig_io(&rig, d.b, BLOCK_READ,
                                ((uint64_t)i * 7919 % (GIB(1) / 65536)) * 65536 + 512, buf,
                                sizeof(buf), 0), 0);
        ck_assert_msg(memcmp(buf, want, sizeof(buf)) == 0, "write %d is lost", i);
    }
    check_image(d.path, false, "12000 writes");
    disk_end(&d);
}
END_TEST

/* --- larger ------------------------------------------------------------------------------- */

static int grow(struct disk *d, uint64_t size)
{
    struct rig_wait w = {0};
    int r = block_grow(d->b, size, rig_done, &w);

    return r < 0 ? r : rig_wait(&rig, &w);
}

/* Whether the L1 table of K has room for SIZE bytes in the clusters that it has. */
static bool has_room(const struct kind_of_image *k, uint64_t size)
{
    uint64_t cluster = strstr(k->options, "cluster_size=512") ? 512 : 1024;
    uint64_t per = cluster * cluster / 8, entries = (k->size + per - 1) / per;

    return (size + per - 1) / per <= (entries * 8 + cluster - 1) / cluster * (cluster / 8);
}

/* An image grows between other changes; what is new reads as zeroes, then as what was written. */
START_TEST(grows)
{
    const struct kind_of_image *k = &kinds[_i];
    struct disk d = {.seed = (uint64_t)_i + 77};
    uint64_t size = k->size + KIB(256) + 512;

    disk_make(&d, k);
    disk_exercise(&d, 100);
    ck_assert_int_eq(grow(&d, k->size - 512), -EINVAL);
    if (!has_room(k, size)) {
        ck_assert_msg(grow(&d, size) == -ENOTSUP, "%s", k->name);
        ck_assert_uint_eq(block_geometry(d.b)->size, k->size);
        size = k->size;
    } else {
        ck_assert_msg(grow(&d, size) == 0, "%s", k->name);
    }
    d.model = g_realloc(d.model, size);
    memset(d.model + k->size, 0, size - k->size);
    d.size = size;
    rig_verify(&rig, d.b, d.model, d.size, k->name);
    disk_exercise(&d, 100);
    disk_reopen(&d, true);
    rig_verify(&rig, d.b, d.model, d.size, k->name);
    check_image(d.path, false, k->name);
    compare_image(d.path, d.model, d.size, k->name);
    disk_end(&d);
}
END_TEST

/* What the image behind has beyond the old end does not show through; nor does an image with snapshots grow. */
START_TEST(grows_over_more)
{
    static const char *const options[] = {"compat=1.1", "compat=0.10,cluster_size=4096"};
    struct disk d = {.seed = 5, .size = MIB(2) + 512, .path = rig_path(&rig, "disk.qcow2")};
    g_autofree char *base = rig_path(&rig, "base.raw");

    d.model = g_malloc(MIB(4));
    rig_fill(&d.seed, d.model, MIB(4));
    rig_write(base, d.model, MIB(4));
    ck_assert_int_eq(qemu_img("create -q -f qcow2 -o %s -b base.raw -F raw %s %" G_GUINT64_FORMAT,
                              options[_i], d.path, d.size), 0);
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    ck_assert_int_eq(grow(&d, MIB(3) + 1024), 0);
    memset(d.model + d.size, 0, MIB(4) - d.size);
    d.size = MIB(3) + 1024;
    rig_verify(&rig, d.b, d.model, d.size, options[_i]);
    ck_assert_int_eq(grow(&d, MIB(5)), 0);
    d.model = g_realloc(d.model, MIB(5));
    memset(d.model + MIB(4), 0, MIB(1));
    d.size = MIB(5);
    disk_reopen(&d, false);
    rig_verify(&rig, d.b, d.model, d.size, options[_i]);
    check_image(d.path, false, options[_i]);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    ck_assert_int_eq(qemu_img("snapshot -c one %s", d.path), 0);
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    ck_assert_int_eq(grow(&d, MIB(6)), -ENOTSUP);
    disk_end(&d);
}
END_TEST

/* --- power cuts --------------------------------------------------------------------------- */

enum { CUT_SIZE = 1 << 20, CUT_OPS = 160, CUTS = 12 };

/* A change that was made, with where the log was when it began and ended. */
struct change {
    uint64_t offset, len;
    uint8_t *data;    /* NULL: zeroes */
    bool discard, flush;
    unsigned began, ended;
};

static void change_clear(void *c)
{
    g_free(((struct change *)c)->data);
}

static void change_make(struct disk *d, GArray *changes)
{
    uint64_t what = rig_random(&d->seed) % 10;
    struct change c = {.offset = rig_random(&d->seed) % (d->size / 512) * 512};
    enum block_kind kind = BLOCK_WRITE;

    c.len = 512 * (1 + rig_random(&d->seed) % 64);
    c.len = MIN(c.len, d->size - c.offset);
    if (what == 0) {
        kind = BLOCK_FLUSH;
        c.flush = true;
    } else if (what == 1) {
        kind = BLOCK_DISCARD;
        c.len = MIN(c.len * 8, d->size - c.offset);
        c.discard = true;
    } else if (what == 2) {
        kind = BLOCK_WRITE_ZEROES;
    } else {
        c.data = g_malloc(c.len);
        rig_fill(&d->seed, c.data, c.len);
    }
    c.began = recorder_length();
    ck_assert_int_eq(rig_io(&rig, d->b, kind, c.offset, c.data, c.flush ? 0 : c.len, BLOCK_UNMAP),
                     0);
    c.ended = recorder_length();
    g_array_append_val(changes, c);
}

/*
 * When the power was cut: after that many records, and, where a sync came next, before or after it.
 */
struct cut {
    unsigned records;
    bool synced;
};

/* Whether a sync that ended, or a flush that was done, at record END is over. */
static bool cut_over(const struct cut *cut, unsigned end)
{
    return end < cut->records || (end == cut->records && cut->synced);
}

/* The file as the cut may leave it: of what was not synced, sectors at random. */
static uint8_t *cut_file(const char *before, size_t len, const struct cut *cut, uint64_t *seed,
                         size_t *out)
{
    size_t end = len;

    for (unsigned i = 0; i < cut->records; i++) {
        struct record *r = &g_array_index(recorder.log, struct record, i);
        if (r->data)
            end = MAX(end, r->offset + r->len);
    }
    uint8_t *file = g_malloc0(end);
    memcpy(file, before, len);
    for (unsigned i = 0; i < cut->records; i++) {
        struct record *r = &g_array_index(recorder.log, struct record, i);
        bool durable = r->durable && cut_over(cut, r->durable);
        bool all = durable || rig_random(seed) % 3 == 0;
        for (uint64_t at = 0; at < r->len; at += 512) {
            uint64_t n = MIN(512, r->len - at);
            if (!all && rig_random(seed) % 2)
                continue;
            if (r->data)
                memcpy(file + r->offset + at, r->data + at, n);
            else if (r->offset + at < end)
                memset(file + r->offset + at, 0, MIN(n, end - r->offset - at));
        }
    }
    *out = end;
    return file;
}

/* The sector at AT has what was flushed last before CUT, or something written since. */
static void cut_verify_sector(GArray *changes, const uint8_t *base, const uint8_t *sector,
                              uint64_t at, const struct cut *cut)
{
    const uint8_t *flushed = base ? base + at : NULL;
    guint after = 0;
    bool good, any = false;

    for (guint i = 0; i < changes->len; i++) {
        struct change *c = &g_array_index(changes, struct change, i);
        if (c->flush && cut_over(cut, c->ended))
            after = i;
    }
    for (guint i = 0; i < after; i++) {
        struct change *c = &g_array_index(changes, struct change, i);
        if (c->flush || at < c->offset || at >= c->offset + c->len)
            continue;
        /* A discard may have worked or not; then a later write may be seen through. */
        any = c->discard;
        if (!c->discard)
            flushed = c->data ? c->data + (at - c->offset) : NULL;
    }
    good = any || sector_is(sector, flushed);
    for (guint i = after; i < changes->len && !good; i++) {
        struct change *c = &g_array_index(changes, struct change, i);
        if (!c->flush && c->began < cut->records && at >= c->offset && at < c->offset + c->len)
            good = c->discard || sector_is(sector, c->data ? c->data + (at - c->offset) : NULL);
    }
    if (!good)
        ck_abort_msg("cut after %u: sector at %" G_GUINT64_FORMAT " is wrong", cut->records, at);
}

static void cut_look(struct disk *d, GArray *changes, const char *before, size_t len,
                     const uint8_t *base, const struct cut *cut)
{
    g_autofree char *path = rig_path(&rig, "cut.qcow2"), *when = NULL;
    g_autofree uint8_t *disk = g_malloc(d->size);
    size_t end;
    g_autofree uint8_t *file = cut_file(before, len, cut, &d->seed, &end);
    struct block *b;

    when = g_strdup_printf("cut after %u", cut->records);
    rig_write(path, file, end);
    check_bytes(file, end, true, when);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, false);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, disk, d->size, 0), 0);
    for (uint64_t at = 0; at < d->size; at += 512)
        cut_verify_sector(changes, base, disk + at, at, cut);
    /* It is fit for use, what leaked included. */
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, disk, d->size, 0), 0);
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
    check_whole(path, true, when);
    if (cut->records % 4 == 0)
        check_image(path, true, when);
}

static const struct kind_of_image cut_kinds[] = {
    {"64k", "cluster_size=64k", CUT_SIZE, NULL, false},
    {"512", "cluster_size=512", CUT_SIZE, NULL, false},
    {"counts grow", "cluster_size=512,refcount_bits=64", 4 * CUT_SIZE, NULL, false},
    {"over compressed", "cluster_size=4096", 2 * CUT_SIZE, "cluster_size=4096", true},
    {"version 2", "compat=0.10,cluster_size=1024", CUT_SIZE, NULL, false},
    {"copied compressed", "cluster_size=4096", CUT_SIZE, NULL, true},
    {"snapshot", "cluster_size=2048", CUT_SIZE, NULL, false},
};

/* What the image has before the changes that are cut. */
static void cut_prepare(struct disk *d, const struct kind_of_image *k)
{
    g_autofree char *raw = rig_path(&rig, "model.raw");

    disk_make(d, k);
    if (strcmp(k->name, "snapshot") == 0)
        disk_exercise(d, 60);
    if (strcmp(k->name, "counts grow") == 0) {
        /* As much as the first refcount table just counts. */
        rig_fill(&d->seed, d->model, KIB(1900));
        ck_assert_int_eq(rig_io(&rig, d->b, BLOCK_WRITE, 0, d->model, KIB(1900), 0), 0);
    }
    ck_assert_int_eq(rig_close_block(&rig, d->b), 0);
    if (strcmp(k->name, "snapshot") == 0)
        ck_assert_int_eq(qemu_img("snapshot -c one %s", d->path), 0);
    if (k->compressed && !k->backing) {
        fill_base(d, d->size);
        rig_write(raw, d->model, d->size);
        ck_assert_int_eq(qemu_img("convert -q -c -f raw -O qcow2 -o %s %s %s", k->options, raw,
                                  d->path), 0);
    }
    d->b = rig_block(&rig, d->path, BLOCK_FORMAT_QCOW2, false);
}

/*
 * Where to cut: anywhere, at the end of what one sync covers, where most is to be lost, or after a
 * change to the header, which is rare.
 */
static struct cut cut_choose(uint64_t *seed)
{
    bool synced = rig_random(seed) % 2;
    unsigned how = (unsigned)(rig_random(seed) % 3), n = recorder.log->len;
    unsigned at = (unsigned)(rig_random(seed) % (n + 1));

    for (unsigned i = 1; how > 0 && i < n; i++) {
        unsigned now = (at + i) % n;
        struct record *r = &g_array_index(recorder.log, struct record, now);
        if (how == 1 ? now > 0 && r[-1].durable != r->durable : r->offset < 104 && r->data)
            return (struct cut){how == 1 ? now : now + 1, synced};
    }
    return (struct cut){at, synced};
}

START_TEST(power_cut)
{
    struct disk d = {.seed = 4242 + (uint64_t)_i};
    g_autoptr(GArray) changes = g_array_new(FALSE, FALSE, sizeof(struct change));
    g_autofree char *before = NULL;
    g_autofree uint8_t *base = NULL;
    size_t len;

    g_array_set_clear_func(changes, change_clear);
    cut_prepare(&d, &cut_kinds[_i]);
    base = g_memdup2(d.model, d.size);
    ck_assert(g_file_get_contents(d.path, &before, &len, NULL));
    recorder_start();
    for (int i = 0; i < CUT_OPS; i++)
        change_make(&d, changes);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    recorder.on = false;
    check_image(d.path, false, "whole");
    for (int i = 0; i < CUTS * thoroughness(); i++) {
        struct cut cut = cut_choose(&d.seed);
        cut_look(&d, changes, before, len, base, &cut);
    }
    recorder_stop();
    d.b = NULL;
    disk_end(&d);
}
END_TEST

/* --- the order of writes -------------------------------------------------------------------- */

/* Writes what RECORD has, sector by sector where PICK says so, into FILE, which has room. */
static void order_apply(uint8_t *file, const struct record *r, size_t len, uint64_t *pick)
{
    for (uint64_t at = 0; at < r->len && r->offset + at < len; at += 512) {
        uint64_t n = MIN(MIN(512, r->len - at), len - r->offset - at);
        if (pick && rig_random(pick) % 2)
            continue;
        if (r->data)
            memcpy(file + r->offset + at, r->data + at, n);
        else
            memset(file + r->offset + at, 0, n);
    }
}

enum { ONLY_THE_LAST, ALL_BUT_ONE, HALF_OF_EACH, ORDER_WAYS };

/* DURABLE and, of the records from FIRST to LAST that no sync has covered, those of WAY. */
static void order_look(const uint8_t *durable, size_t len, unsigned first, unsigned last, int way,
                       uint64_t *seed)
{
    static const char *const names[] = {"the last alone", "all but one", "half of each"};
    g_autofree uint8_t *file = g_memdup2(durable, len);
    g_autofree char *when = g_strdup_printf("%s of the writes %u to %u", names[way], first, last);
    unsigned skip = first + (unsigned)(rig_random(seed) % (last - first + 1));

    for (unsigned i = first; i <= last; i++) {
        if (way == ONLY_THE_LAST ? i == last : way == ALL_BUT_ONE ? i != skip : true)
            order_apply(file, &g_array_index(recorder.log, struct record, i), len,
                        way == HALF_OF_EACH ? seed : NULL);
    }
    check_bytes(file, len, true, when);
}

/*
 * After each single write: whatever of those that no sync covers is on the disk, and be it the newest
 * alone, the tables are whole. So nothing is referred to, by the header, the refcount table, L1 or L2,
 * before a sync has covered it and its refcount.
 */
START_TEST(order)
{
    struct disk d = {.seed = 777 + (uint64_t)_i};
    g_autoptr(GArray) changes = g_array_new(FALSE, FALSE, sizeof(struct change));
    g_autofree char *before = NULL;
    size_t len, end;
    unsigned first = 0;

    g_array_set_clear_func(changes, change_clear);
    cut_prepare(&d, &cut_kinds[_i]);
    ck_assert(g_file_get_contents(d.path, &before, &len, NULL));
    recorder_start();
    for (int i = 0; i < CUT_OPS; i++)
        change_make(&d, changes);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    recorder.on = false;

    end = len;
    for (unsigned i = 0; i < recorder.log->len; i++) {
        struct record *r = &g_array_index(recorder.log, struct record, i);
        end = r->data ? MAX(end, r->offset + r->len) : end;
    }
    g_autofree uint8_t *durable = g_malloc0(end);
    memcpy(durable, before, len);
    for (unsigned i = 0; i < recorder.log->len; i++) {
        struct record *oldest = &g_array_index(recorder.log, struct record, first);
        if (oldest->durable && oldest->durable <= i) {
            for (; first < i; first++)
                order_apply(durable, &g_array_index(recorder.log, struct record, first), end, NULL);
        }
        for (int way = 0; way < ORDER_WAYS; way++)
            order_look(durable, end, first, i, way, &d.seed);
    }
    recorder_stop();
    d.b = NULL;
    disk_end(&d);
}
END_TEST

/* --- kill ----------------------------------------------------------------------------------- */

enum { KILL_SLOT = 8192, KILL_SLOTS = 1024 };

/* Slot of the N-th write; each is written often. */
static uint64_t kill_slot(unsigned n)
{
    return n * 7919u % KILL_SLOTS * KILL_SLOT;
}

/* The child: writes for ever, and tells how many writes each flush covers. */
static void kill_child(const char *path, int out)
{
    uint8_t buf[KILL_SLOT];
    unsigned n = 0;

    uv_loop_init(&rig.loop);
    struct block *b = block_open(path, BLOCK_FORMAT_AUTO, false, &rig.loop, NULL, NULL);
    while (b) {
        for (int i = 0; i < 37; i++, n++) {
            for (unsigned j = 0; j < KILL_SLOT / 4; j++)
                memcpy(buf + j * 4, &n, 4);
            if (rig_io(&rig, b, BLOCK_WRITE, kill_slot(n), buf, KILL_SLOT, 0) < 0)
                _exit(1);
        }
        if (rig_io(&rig, b, BLOCK_FLUSH, 0, NULL, 0, 0) < 0 || write(out, &n, 4) != 4)
            _exit(1);
    }
    _exit(1);
}

static void kill_verify(const char *path, enum block_format format, unsigned flushed)
{
    struct block *b = rig_block(&rig, path, format, false);
    g_autofree uint32_t *newest = g_new0(uint32_t, KILL_SLOTS);
    g_autofree bool *written = g_new0(bool, KILL_SLOTS);
    uint32_t buf[KILL_SLOT / 4];

    for (unsigned n = 0; n < flushed; n++) {
        newest[kill_slot(n) / KILL_SLOT] = n;
        written[kill_slot(n) / KILL_SLOT] = true;
    }
    for (unsigned s = 0; s < KILL_SLOTS; s++) {
        ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, (uint64_t)s * KILL_SLOT, buf, KILL_SLOT, 0),
                         0);
        for (unsigned j = 0; written[s] && j < KILL_SLOT / 4; j++)
            if (buf[j] < newest[s] || buf[j] % KILL_SLOTS != newest[s] % KILL_SLOTS)
                ck_abort_msg("slot %u has write %u, not %u", s, buf[j], newest[s]);
    }
    rig_close_block(&rig, b);
}

static const char *const kill_options[] = {"cluster_size=64k", "cluster_size=512", NULL};

START_TEST(killed)
{
    g_autofree char *path = rig_path(&rig, "disk");
    uint64_t seed = 99 + (uint64_t)_i;
    enum block_format format = kill_options[_i] ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;

    for (int round = 0; round < 3 * thoroughness(); round++) {
        unsigned flushed = 0, stop = 20 + rig_random(&seed) % 2000, now;
        int fds[2];
        ck_assert_int_eq(kill_options[_i] ? qemu_img("create -q -f qcow2 -o %s %s 8M",
                                                     kill_options[_i], path)
                                          : qemu_img("create -q -f raw %s 8M", path), 0);
        ck_assert_int_eq(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0)
            kill_child(path, fds[1]);
        close(fds[1]);
        while (flushed < stop && read(fds[0], &now, 4) == 4)
            flushed = now;
        ck_assert_uint_ge(flushed, stop);
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        while (read(fds[0], &now, 4) == 4)
            flushed = now;
        close(fds[0]);
        if (format == BLOCK_FORMAT_QCOW2)
            check_image(path, true, "killed");
        kill_verify(path, format, flushed);
    }
}
END_TEST

/* Lets the loop turn, whose other handles here do not keep it alive. */
static void tick_nothing(uv_timer_t *t)
{
}

/* What nobody flushes is written out a little later all the same. */
START_TEST(saved_without_flush)
{
    const struct kind_of_image k = {"", "cluster_size=64k", MIB(8), NULL, false};
    struct disk d = {.seed = 5};
    g_autofree char *copy = rig_path(&rig, "copy.qcow2"), *data = NULL;
    uint8_t buf[4096];
    uv_timer_t tick;
    size_t len;
    uint64_t saved = 0;

    disk_make(&d, &k);
    memset(buf, 0x5c, sizeof(buf));
    memset(d.model + MIB(3), 0x5c, sizeof(buf));
    ck_assert_int_eq(rig_io(&rig, d.b, BLOCK_WRITE, MIB(3), buf, sizeof(buf), 0), 0);
    recorder_start();
    uv_timer_init(&rig.loop, &tick);
    uv_timer_start(&tick, tick_nothing, 10, 10);
    for (int i = 0; saved == 0 && i < 2000; i++) {
        uv_run(&rig.loop, UV_RUN_ONCE);
        uv_mutex_lock(&recorder.lock);
        saved = recorder.synced;
        uv_mutex_unlock(&recorder.lock);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    /* The write-out goes on until nothing is under way. */
    block_wait_idle(d.b);
    recorder_stop();
    ck_assert_msg(saved > 0, "nothing was written");
    ck_assert(g_file_get_contents(d.path, &data, &len, NULL));
    rig_write(copy, data, len);
    check_image(copy, true, "not flushed");
    compare_image(copy, d.model, d.size, "not flushed");
    disk_end(&d);
}
END_TEST

/* --- damage --------------------------------------------------------------------------------- */

/* Changes some bytes of an image, mostly of its tables. */
static void damage(uint8_t *img, size_t len, uint64_t *seed)
{
    unsigned n = 1 + rig_random(seed) % 6;

    for (unsigned i = 0; i < n; i++) {
        size_t range = rig_random(seed) % 3 == 0 ? 112 : MIN(len, 65536);
        size_t at = rig_random(seed) % (range / 4) * 4;
        uint64_t v = GUINT64_TO_BE(rig_random(seed) % (2 * len) & ~511ull);
        switch (rig_random(seed) % 5) {
        case 0:
            img[at] ^= (uint8_t)(1u << rig_random(seed) % 8);
            break;
        case 1:
            v = rig_random(seed);
            memcpy(img + at, &v, 4);
            break;
        case 2:
            memset(img + at, rig_random(seed) % 2 ? 0xff : 0, 8);
            break;
        case 3:
            memcpy(img + (at & ~7ull), &v, 8);
            break;
        default:
            v |= GUINT64_TO_BE(1ull << 63);
            memcpy(img + (at & ~7ull), &v, 8);
        }
    }
}

/* Whatever happens to an image on the way: errors, and nothing else. */
static void use_damaged(const char *path, uint64_t seed)
{
    g_autoptr(GError) err = NULL;
    struct block *b = block_open(path, BLOCK_FORMAT_QCOW2, seed % 4 == 0, &rig.loop, NULL, &err);
    g_autofree uint8_t *buf = g_malloc0(65536);

    ck_assert_msg((b == NULL) == (err != NULL), "error and result disagree");
    if (!b)
        return;
    for (int i = 0; i < 40; i++) {
        uint64_t sectors = block_geometry(b)->size / 512;
        uint64_t at = sectors ? rig_random(&seed) % MIN(sectors, 4096) : 0;
        uint64_t len = 1 + rig_random(&seed) % 128;
        len = MIN(len, sectors - at);
        rig_io(&rig, b, rig_random(&seed) % BLOCK_KINDS, at * 512, buf, len * 512,
               (unsigned)(rig_random(&seed) % 4));
    }
    rig_close_block(&rig, b);
}

START_TEST(damaged)
{
    const struct kind_of_image k = {"", _i ? "cluster_size=4096" : "cluster_size=512", MIB(2), NULL,
                                    false};
    struct disk d = {.seed = 31 + (uint64_t)_i};
    g_autofree char *path = rig_path(&rig, "damaged.qcow2"), *whole = NULL;
    size_t len;

    disk_make(&d, &k);
    disk_exercise(&d, 40);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    ck_assert_int_eq(qemu_img("snapshot -c one %s", d.path), 0);
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    disk_exercise(&d, 20);
    disk_reopen(&d, true);
    ck_assert(g_file_get_contents(d.path, &whole, &len, NULL));
    for (int i = 0; i < 200 * thoroughness(); i++) {
        g_autofree uint8_t *img = g_memdup2(whole, len);
        damage(img, len, &d.seed);
        size_t cut = rig_random(&d.seed) % 10 == 0 ? rig_random(&d.seed) % len : len;
        rig_write(path, img, cut);
        use_damaged(path, rig_random(&d.seed));
    }
    disk_end(&d);
}
END_TEST

/* --- delayed refcounts ---------------------------------------------------------------------- */

static const char *const lazy_options[] = {
    "lazy_refcounts=on",
    "lazy_refcounts=on,cluster_size=512",
    "lazy_refcounts=on,cluster_size=4096,refcount_bits=64",
    "lazy_refcounts=on,cluster_size=2048",
};

/* An image that QEMU, delaying refcounts, did not live to close: it is mended, holds what was flushed, and
 * has not lost a cluster. The last one has a snapshot. */
START_TEST(dirty)
{
    struct kind_of_image k = {"", lazy_options[_i], MIB(4), NULL, false};
    struct disk d = {.seed = 41 + (uint64_t)_i};
    g_autoptr(GString) line = g_string_new(NULL);
    uint64_t incompatible = 0;
    int fd;

    disk_make(&d, &k);
    disk_exercise(&d, 20);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);
    if (_i == 3)
        ck_assert_int_eq(qemu_img("snapshot -c one %s", d.path), 0);
    g_string_printf(line, "qemu-io -f qcow2 %s", d.path);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t at = rig_random(&d.seed) % (d.size / 4096) * 4096;
        g_string_append_printf(line, " -c 'write -P %u %" G_GUINT64_FORMAT " 4096'", i + 1, at);
        memset(d.model + at, (int)i + 1, 4096);
    }
    g_string_append(line, " -c flush -c 'sigraise 9'");
    g_autofree char *out = NULL, *errors = NULL;
    g_spawn_command_line_sync(line->str, &out, &errors, NULL, NULL);
    fd = open(d.path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, &incompatible, 8, 72), 8);
    close(fd);
    ck_assert_msg(GUINT64_FROM_BE(incompatible) & 1, "QEMU left it clean");

    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    ck_assert_ptr_nonnull(strstr(block_notice(d.b), "rebuilt"));
    rig_verify(&rig, d.b, d.model, d.size, "mended");
    disk_reopen(&d, false);
    check_image(d.path, false, "mended");
    disk_exercise(&d, 60);
    disk_reopen(&d, true);
    check_image(d.path, false, "used");
    rig_verify(&rig, d.b, d.model, d.size, "used");
    disk_end(&d);
}
END_TEST

/* --- locks ---------------------------------------------------------------------------------- */

/* QEMU's tools and we keep out of each other's images. */
START_TEST(locks)
{
    const struct kind_of_image k = {"", "cluster_size=64k", MIB(8), NULL, false};
    struct disk d = {.seed = 5};
    char line[256];
    int in, out;
    GPid pid;
    g_autoptr(GError) err = NULL;

    disk_make(&d, &k);
    ck_assert_int_ne(qemu_img("info %s", d.path), 0);
    disk_reopen(&d, true);
    ck_assert_int_eq(qemu_img("info %s", d.path), 0);
    ck_assert_int_ne(qemu_img("resize %s 16M", d.path), 0);
    ck_assert_int_eq(rig_close_block(&rig, d.b), 0);

    const char *argv[] = {"qemu-io", "-f", "qcow2", d.path, NULL};
    ck_assert(g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                       G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                       &pid, &in, &out, NULL, &err));
    /* Its answer to a request says that it has the image open. */
    ck_assert_int_eq(write(in, "write 0 512\n", 12), 12);
    for (size_t n = 0; !memmem(line, n, "wrote", 5);) {
        ck_assert_uint_lt(n, sizeof(line));
        ssize_t got = read(out, line + n, sizeof(line) - n);
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
    }
    rig_refused(&rig, d.path, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_BUSY, "(qemu-io)");
    rig_refused(&rig, d.path, BLOCK_FORMAT_QCOW2, true, VMD_ERROR_BUSY, "(qemu-io)");
    close(in);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    close(out);
    d.b = rig_block(&rig, d.path, BLOCK_FORMAT_QCOW2, false);
    disk_end(&d);
}
END_TEST

/* A case a test, so that CK_RUN_CASE picks one. */
static const struct {
    const char *name;
    const TTest *const *test;
    int rows;
} cases[] = {
    {"differential", &differential, G_N_ELEMENTS(kinds)},
    {"discard", &discard_frees, 1},
    {"snapshots", &snapshots, G_N_ELEMENTS(snapshot_options)},
    {"large", &large_and_sparse, 1},
    {"grows", &grows, G_N_ELEMENTS(kinds)},
    {"grows-over-more", &grows_over_more, 2},
    {"power-cut", &power_cut, G_N_ELEMENTS(cut_kinds)},
    {"order", &order, G_N_ELEMENTS(cut_kinds)},
    {"killed", &killed, G_N_ELEMENTS(kill_options)},
    {"unflushed", &saved_without_flush, 1},
    {"damaged", &damaged, 2},
    {"dirty", &dirty, G_N_ELEMENTS(lazy_options)},
    {"locks", &locks, 1},
};

int main(void)
{
    Suite *s = suite_create("block_qcow2");
    g_autofree char *tool = g_find_program_in_path("qemu-img"),
                    *io = g_find_program_in_path("qemu-io");

    if (!tool || !io) {
        fprintf(stderr, "SKIPPED: no qemu-img or qemu-io here (Debian: qemu-utils)\n");
        return 77;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        TCase *tc = tcase_create(cases[i].name);
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_set_timeout(tc, 100 * thoroughness());
        tcase_add_loop_test(tc, *cases[i].test, 0, cases[i].rows);
        suite_add_tcase(s, tc);
    }
    return unit_run(s);
}
