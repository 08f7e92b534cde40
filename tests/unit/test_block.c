/* machine/block without other programs: raw images, requests, locks, and headers of qcow2. */
#include "tests/unit/block_rig.h"
#include "tests/unit/qcow2_check.h"

#include <signal.h>
#include <sys/resource.h>
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

/* --- formats ------------------------------------------------------------------------------ */

START_TEST(format_names)
{
    enum block_format f = BLOCK_FORMAT_AUTO;
    g_autoptr(GError) err = NULL;

    ck_assert(block_format_parse("qcow2", &f, NULL) && f == BLOCK_FORMAT_QCOW2);
    ck_assert(block_format_parse("raw", &f, NULL) && f == BLOCK_FORMAT_RAW);
    ck_assert(!block_format_parse("vmdk", &f, &err) && f == BLOCK_FORMAT_RAW);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_UNSUPPORTED));
    ck_assert_str_eq(block_format_name(BLOCK_FORMAT_AUTO), "auto");
}
END_TEST

static const struct {
    const char *name, *head;
    size_t len;
    enum block_format format;
} probes[] = {
    {"empty", "", 0, BLOCK_FORMAT_RAW},
    {"short", "QFI", 3, BLOCK_FORMAT_RAW},
    {"magic", "QFI\xfb", 4, BLOCK_FORMAT_QCOW2},
    {"boot sector", "\xeb\x3c\x90 mkfs", 8, BLOCK_FORMAT_RAW},
};

START_TEST(probe_rows)
{
    g_autofree char *path = rig_path(&rig, "probe");
    enum block_format f = BLOCK_FORMAT_AUTO;

    rig_write(path, probes[_i].head, probes[_i].len);
    ck_assert_msg(block_probe(path, &f, NULL) && f == probes[_i].format, "%s", probes[_i].name);
}
END_TEST

START_TEST(no_such_file)
{
    g_autofree char *path = rig_path(&rig, "none"), *pipe_path = rig_path(&rig, "pipe");

    rig_refused(&rig, path, BLOCK_FORMAT_RAW, false, VMD_ERROR_NOT_FOUND, "none");
    rig_refused(&rig, path, BLOCK_FORMAT_AUTO, false, VMD_ERROR_NOT_FOUND, "none");
    rig_refused(&rig, rig.folder, BLOCK_FORMAT_RAW, true, VMD_ERROR_INVALID, "neither a file");
    ck_assert_int_eq(mkfifo(pipe_path, 0600), 0);
    rig_refused(&rig, pipe_path, BLOCK_FORMAT_AUTO, false, VMD_ERROR_INVALID, "neither a file");
}
END_TEST

/* --- raw ---------------------------------------------------------------------------------- */

START_TEST(raw_kinds)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(4));
    g_autofree uint8_t *model = g_malloc0(MIB(4)), *buf = g_malloc(MIB(1));
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    uint64_t seed = 7;
    struct block_stats stats;

    ck_assert_uint_eq(block_geometry(b)->size, MIB(4));
    ck_assert(block_format(b) == BLOCK_FORMAT_RAW);
    ck_assert_str_eq(block_path(b), path);
    rig_fill(&seed, buf, MIB(1));
    memcpy(model + 512, buf, MIB(1));
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 512, buf, MIB(1), BLOCK_FUA), 0);
    memset(model + 4096, 0, 8192);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE_ZEROES, 4096, NULL, 8192, 0), 0);
    memset(model + 65536, 0, 65536);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE_ZEROES, 65536, NULL, 65536, BLOCK_UNMAP), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_DISCARD, MIB(2), NULL, MIB(1), 0), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
    rig_verify(&rig, b, model, MIB(4), "after all kinds");
    block_stats(b, &stats);
    ck_assert_uint_eq(stats.kind[BLOCK_WRITE].bytes, MIB(1));
    ck_assert_uint_eq(stats.kind[BLOCK_READ].requests, 4);
    ck_assert_uint_eq(stats.kind[BLOCK_WRITE_ZEROES].requests, 2);
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
}
END_TEST

/* Requests at the edges, on a disk of 1 MiB. */
static const struct {
    const char *name;
    enum block_kind kind;
    uint64_t offset, length;
    int status;
} edges[] = {
    {"last sector", BLOCK_WRITE, MIB(1) - 512, 512, 0},
    {"whole disk", BLOCK_READ, 0, MIB(1), 0},
    {"nothing", BLOCK_WRITE, 512, 0, 0},
    {"nothing at the end", BLOCK_READ, MIB(1), 0, 0},
    {"behind the end", BLOCK_READ, MIB(1), 512, -EINVAL},
    {"over the end", BLOCK_WRITE, MIB(1) - 512, 1024, -EINVAL},
    {"odd offset", BLOCK_READ, 511, 512, -EINVAL},
    {"odd length", BLOCK_WRITE, 0, 100, -EINVAL},
    {"overflow", BLOCK_DISCARD, 512, UINT64_MAX - 511, -EINVAL},
    {"overflow of zeroes", BLOCK_WRITE_ZEROES, UINT64_MAX - 511, 512, -EINVAL},
    {"discard all", BLOCK_DISCARD, 0, MIB(1), 0},
    {"unknown", BLOCK_KINDS, 0, 512, -EINVAL},
};

START_TEST(edge_rows)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    g_autofree uint8_t *buf = g_malloc0(MIB(1) + 512);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    struct stat st;

    ck_assert_msg(rig_io(&rig, b, edges[_i].kind, edges[_i].offset, buf, edges[_i].length, 0) ==
                      edges[_i].status, "%s", edges[_i].name);
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, (off_t)MIB(1));
}
END_TEST

START_TEST(vectors_must_fit)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    struct rig_wait w = {0};
    uint8_t buf[1024];
    struct iovec iov = {buf, 1024};
    struct block_req req = {.kind = BLOCK_READ, .length = 512, .iov = &iov, .iovcnt = 1,
                            .done = rig_req_done, .opaque = &w};

    ck_assert_int_eq(block_submit(b, &req), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), -EINVAL);
    rig_close_block(&rig, b);
}
END_TEST

/* More pieces than the kernel takes in one call. */
START_TEST(many_vectors)
{
    enum { PIECES = 3000, PIECE = 512 };
    g_autofree char *path = rig_file(&rig, "raw", MIB(4));
    g_autofree uint8_t *buf = g_malloc(PIECES * PIECE), *back = g_malloc(PIECES * PIECE);
    g_autofree struct iovec *iov = g_new(struct iovec, PIECES);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    struct rig_wait w = {0};
    uint64_t seed = 3;
    struct block_req req = {.kind = BLOCK_WRITE, .length = PIECES * PIECE, .iov = iov,
                            .iovcnt = PIECES, .done = rig_req_done, .opaque = &w};

    rig_fill(&seed, buf, PIECES * PIECE);
    for (int i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){buf + (size_t)i * PIECE, PIECE};
    ck_assert_int_eq(block_submit(b, &req), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, back, PIECES * PIECE, 0), 0);
    ck_assert_int_eq(memcmp(buf, back, PIECES * PIECE), 0);
    rig_close_block(&rig, b);
}
END_TEST

START_TEST(raw_odd_size)
{
    g_autofree char *path = rig_file(&rig, "raw", 1000);
    uint8_t buf[1024], zero[24] = {0};
    struct block *b;
    struct stat st;

    ck_assert_int_eq(truncate(path, 0), 0);
    memset(buf, 'x', sizeof(buf));
    rig_write(path, buf, 1000);
    b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    ck_assert_uint_eq(block_geometry(b)->size, 1024);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, buf, 1024, 0), 0);
    ck_assert_int_eq(buf[999], 'x');
    ck_assert_int_eq(memcmp(buf + 1000, zero, 24), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 512, buf, 512, 0), 0);
    rig_close_block(&rig, b);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 1024);
}
END_TEST

/* An image grows while it is read and written; what is new reads as zeroes, and stays. */
START_TEST(raw_grows)
{
    g_autofree char *path = rig_file(&rig, "raw", 1000);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    uint8_t buf[512], zero[512] = {0};
    struct rig_wait w = {0}, other = {0};
    struct stat st;

    memset(buf, 'x', sizeof(buf));
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 512, buf, 512, 0), 0);
    ck_assert_int_eq(block_grow(b, 512, rig_done, &w), -EINVAL);
    ck_assert_int_eq(block_grow(b, 1500, rig_done, &w), -EINVAL);
    ck_assert_int_eq(block_grow(b, UINT64_MAX & ~511ull, rig_done, &w), -EINVAL);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, MIB(1) - 512, buf, 512, 0), -EINVAL);
    ck_assert_int_eq(block_grow(b, MIB(1), rig_done, &w), 0);
    ck_assert_int_eq(block_grow(b, MIB(2), rig_done, &other), -EBUSY);
    ck_assert(!w.done);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, buf, 512, 0), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), 0);
    ck_assert(!other.done);
    ck_assert_uint_eq(block_geometry(b)->size, MIB(1));
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, MIB(1) - 512, buf, 512, 0), 0);
    ck_assert_int_eq(memcmp(buf, zero, 512), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, MIB(1) - 512, buf, 512, 0), 0);
    w = (struct rig_wait){0};
    ck_assert_int_eq(block_grow(b, MIB(1), rig_done, &w), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), 0);
    /* It ends while it grows: that is waited for. */
    w = (struct rig_wait){0};
    ck_assert_int_eq(block_grow(b, MIB(3), rig_done, &w), 0);
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
    ck_assert(w.done && w.status == 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, (off_t)MIB(3));
    b = rig_block(&rig, path, BLOCK_FORMAT_RAW, true);
    ck_assert_int_eq(block_grow(b, MIB(4), rig_done, &w), -EROFS);
    rig_close_block(&rig, b);
}
END_TEST

/* While one is set fdatasync() waits for it. */
static uv_sem_t *hold;
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    uv_sem_t *held = __atomic_exchange_n(&hold, NULL, __ATOMIC_ACQ_REL);

    if (held)
        uv_sem_wait(held);
    return __real_fdatasync(fd);
}

/* What was written before is flushed beside other requests, and is not counted as a guest's flush. */
START_TEST(raw_grows_beside)
{
    g_autofree char *path = rig_file(&rig, "raw", 1024);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    struct rig_wait w = {0};
    struct block_stats stats;
    uint8_t buf[512] = {1};
    uv_sem_t held;

    uv_sem_init(&held, 0);
    __atomic_store_n(&hold, &held, __ATOMIC_RELEASE);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, buf, 512, 0), 0);
    ck_assert_int_eq(block_grow(b, MIB(1), rig_done, &w), 0);
    while (__atomic_load_n(&hold, __ATOMIC_ACQUIRE))
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, buf, 512, 0), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 512, buf, 512, 0), 0);
    ck_assert(!w.done);
    ck_assert_uint_eq(block_size(b), 1024);
    uv_sem_post(&held);
    ck_assert_int_eq(rig_wait(&rig, &w), 0);
    ck_assert_uint_eq(block_size(b), MIB(1));
    block_stats(b, &stats);
    ck_assert_uint_eq(stats.kind[BLOCK_FLUSH].requests, 0);
    rig_close_block(&rig, b);
    uv_sem_destroy(&held);
}
END_TEST

/* The host does not let it. */
START_TEST(raw_cannot_grow)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    const struct rlimit less = {MIB(2), RLIM_INFINITY};
    struct rlimit before;
    struct rig_wait w = {0};

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
    ck_assert_int_eq(block_grow(b, MIB(3), rig_done, &w), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), -EFBIG);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_uint_eq(block_geometry(b)->size, MIB(1));
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
}
END_TEST

START_TEST(raw_cut_short)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    uint8_t buf[4096];

    ck_assert_int_eq(truncate(path, 65536), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 65536 - 4096, buf, 4096, 0), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 65536 - 512, buf, 4096, 0), -EIO);
    rig_close_block(&rig, b);
}
END_TEST

START_TEST(readonly)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    struct block *b;
    uint8_t buf[512] = {0};

    ck_assert_int_eq(chmod(path, 0400), 0);
    b = rig_block(&rig, path, BLOCK_FORMAT_RAW, true);
    ck_assert(block_geometry(b)->readonly && !block_geometry(b)->discard);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, buf, 512, 0), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, buf, 512, 0), -EROFS);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_DISCARD, 0, NULL, 512, 0), -EROFS);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE_ZEROES, 0, NULL, 512, 0), -EROFS);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
}
END_TEST

/* A disk that was taken for raw by its looks never becomes anything else. */
START_TEST(no_forged_header)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_AUTO, false);
    uint8_t buf[2048] = {'Q', 'F', 'I', 0xfb};
    struct rig_wait w = {0};
    struct iovec split[] = {{buf, 1}, {buf + 1, 2}, {buf + 3, 2045}};
    struct block_req req = {.kind = BLOCK_WRITE, .length = 2048, .iov = split, .iovcnt = 3,
                            .done = rig_req_done, .opaque = &w};

    ck_assert(block_format(b) == BLOCK_FORMAT_RAW);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, buf, 512, 0), -EPERM);
    ck_assert_int_eq(block_submit(b, &req), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), -EPERM);
    buf[3] = 0;
    buf[2047] = 99;
    w.done = false;
    ck_assert_int_eq(block_submit(b, &req), 0);
    ck_assert_int_eq(rig_wait(&rig, &w), 0);
    memset(buf, 1, sizeof(buf));
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, buf, 2048, 0), 0);
    ck_assert(buf[2] == 'I' && buf[3] == 0 && buf[2047] == 99);
    rig_close_block(&rig, b);

    /* Where a person said that it is raw, the guest may write what it likes. */
    b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    buf[3] = 0xfb;
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, buf, 512, 0), 0);
    rig_close_block(&rig, b);
}
END_TEST

/* The host refuses to let the file grow: an error of that request, and no other. */
START_TEST(no_space)
{
    g_autofree char *path = rig_file(&rig, "raw", MIB(1));
    g_autofree uint8_t *buf = g_malloc0(MIB(1));
    struct rlimit limit = {65536, RLIM_INFINITY}, old;
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    struct block_stats stats;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 65536, buf, 4096, 0), -EFBIG);
    /* Half of it fits. */
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 65536 - 4096, buf, 8192, 0), -EFBIG);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, buf, 65536, 0), 0);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 65536, buf, 4096, 0), 0);
    block_stats(b, &stats);
    ck_assert_uint_eq(stats.kind[BLOCK_WRITE].errors, 2);
    rig_close_block(&rig, b);
}
END_TEST

/* --- requests at once --------------------------------------------------------------------- */

enum { SLOTS = LIMIT_BLOCK_INFLIGHT, SLOT = 16384 };

struct slot {
    struct block_req req;
    struct iovec iov;
    uint8_t buf[SLOT];
    unsigned *left;
};

static void slot_done(struct block_req *req, int status)
{
    struct slot *s = container_of(req, struct slot, req);

    ck_assert_int_eq(status, 0);
    (*s->left)--;
}

/* A request of KIND for each slot, all at once. */
static void all_slots(struct block *b, struct slot *slots, enum block_kind kind, unsigned *left)
{
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &slots[i];
        s->left = left;
        s->iov = (struct iovec){s->buf, SLOT};
        s->req = (struct block_req){.kind = kind, .offset = (uint64_t)i * SLOT, .length = SLOT,
                                    .iov = &s->iov, .iovcnt = 1, .done = slot_done};
        ck_assert_int_eq(block_submit(b, &s->req), 0);
    }
    *left += SLOTS;
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

START_TEST(all_at_once)
{
    g_autofree char *path = rig_file(&rig, "raw", (uint64_t)SLOTS * SLOT);
    g_autofree struct slot *slots = g_new0(struct slot, SLOTS);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    struct block_req extra = {.kind = BLOCK_FLUSH};
    bool drained = false;
    unsigned left = 0;

    for (int i = 0; i < SLOTS; i++)
        memset(slots[i].buf, i, SLOT);
    all_slots(b, slots, BLOCK_WRITE, &left);
    ck_assert_int_eq(block_submit(b, &extra), -EAGAIN);
    ck_assert_uint_eq(block_inflight(b), SLOTS);
    block_drain(b, set_true, &drained);
    ck_assert(!drained);
    while (!drained)
        uv_run(&rig.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(left, 0);
    ck_assert_uint_eq(block_inflight(b), 0);

    memset(slots[5].buf, 0, SLOT);
    all_slots(b, slots, BLOCK_READ, &left);
    block_wait_idle(b);
    /* The memory is filled although no completion has come yet. */
    for (int i = 0; i < SLOTS; i++)
        ck_assert(slots[i].buf[0] == i && slots[i].buf[SLOT - 1] == i);
    ck_assert_uint_eq(left, SLOTS);
    /* Closing waits for them. */
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
    ck_assert_uint_eq(left, 0);
}
END_TEST

START_TEST(drain_of_nothing)
{
    g_autofree char *path = rig_file(&rig, "raw", 4096);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_RAW, false);
    bool one = false, two = false;

    block_drain(b, set_true, &one);
    block_drain(b, set_true, &two);
    ck_assert(!one);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert(one && two);
    /* An idle disk does not keep the loop alive. */
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    block_wait_idle(b);
    block_close(b, NULL, NULL);
}
END_TEST

/* --- locks -------------------------------------------------------------------------------- */

START_TEST(one_writer)
{
    g_autofree char *path = rig_file(&rig, "raw", 4096);
    struct block *a = rig_block(&rig, path, BLOCK_FORMAT_RAW, false), *b;

    rig_refused(&rig, path, BLOCK_FORMAT_RAW, false, VMD_ERROR_BUSY, "in use by this process");
    rig_refused(&rig, path, BLOCK_FORMAT_RAW, true, VMD_ERROR_BUSY, "writes to it");
    rig_close_block(&rig, a);
    a = rig_block(&rig, path, BLOCK_FORMAT_RAW, true);
    b = rig_block(&rig, path, BLOCK_FORMAT_RAW, true);
    rig_refused(&rig, path, BLOCK_FORMAT_RAW, false, VMD_ERROR_BUSY, "in use by");
    rig_close_block(&rig, a);
    rig_close_block(&rig, b);
    rig_close_block(&rig, rig_block(&rig, path, BLOCK_FORMAT_RAW, false));
}
END_TEST

START_TEST(another_process)
{
    g_autofree char *path = rig_file(&rig, "raw", 4096);
    int up[2], down[2];
    char c;

    ck_assert(pipe(up) == 0 && pipe(down) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        uv_loop_t loop;
        uv_loop_init(&loop);
        struct block *b = block_open(path, BLOCK_FORMAT_RAW, false, &loop, NULL, NULL);
        close(down[1]);
        c = b ? 'y' : 'n';
        if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 0)
            _exit(1);
        _exit(0);
    }
    close(up[1]);
    ck_assert(read(up[0], &c, 1) == 1 && c == 'y');
    g_autofree char *want = g_strdup_printf("in use by process %d (", (int)pid);
    rig_refused(&rig, path, BLOCK_FORMAT_RAW, false, VMD_ERROR_BUSY, want);
    close(down[1]);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    rig_close_block(&rig, rig_block(&rig, path, BLOCK_FORMAT_RAW, false));
}
END_TEST

/* --- headers of qcow2 --------------------------------------------------------------------- */

enum { CLUSTER = 65536, IMAGE = 6 * CLUSTER, HEADER = 104 };

static void put32(uint8_t *at, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(at, &v, 4);
}

static void put64(uint8_t *at, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(at, &v, 8);
}

/*
 * A version 3 image of 1 MiB: header, refcount table, refcount block, L1 table, L2 table, and data of
 * 0xd5 for guest cluster 1.
 */
static uint8_t *make_image(void)
{
    uint8_t *img = g_malloc0(IMAGE);

    memcpy(img, "QFI\xfb", 4);
    put32(img + 4, 3);
    put32(img + 20, 16);
    put64(img + 24, MIB(1));
    put32(img + 36, 1);
    put64(img + 40, 3 * CLUSTER);
    put64(img + 48, CLUSTER);
    put32(img + 56, 1);
    put32(img + 96, 4);
    put32(img + 100, HEADER);
    put64(img + CLUSTER, 2 * CLUSTER);
    for (int i = 0; i < 6; i++)
        img[2 * CLUSTER + i * 2 + 1] = 1;
    put64(img + 3 * CLUSTER, 4 * CLUSTER | 1ull << 63);
    put64(img + 4 * CLUSTER + 8, 5 * CLUSTER | 1ull << 63);
    memset(img + 5 * CLUSTER, 0xd5, CLUSTER);
    return img;
}

static char *write_image(const uint8_t *img, size_t len)
{
    char *path = rig_path(&rig, "image.qcow2");

    rig_write(path, img, len);
    return path;
}

START_TEST(qcow2_by_hand)
{
    g_autofree uint8_t *img = make_image(), *model = g_malloc0(MIB(1));
    g_autofree char *path = write_image(img, IMAGE);
    struct block *b = rig_block(&rig, path, BLOCK_FORMAT_AUTO, false);

    ck_assert(block_format(b) == BLOCK_FORMAT_QCOW2);
    ck_assert_uint_eq(block_geometry(b)->discard_alignment, CLUSTER);
    memset(model + CLUSTER, 0xd5, CLUSTER);
    rig_verify(&rig, b, model, MIB(1), "as made");
    memset(model + 5 * CLUSTER + 512, 0x77, 512);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 5 * CLUSTER + 512, model + 5 * CLUSTER + 512, 512,
                            0), 0);
    rig_verify(&rig, b, model, MIB(1), "written");
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, true);
    rig_verify(&rig, b, model, MIB(1), "reopened");
    ck_assert_ptr_null(block_fault(b));
    rig_close_block(&rig, b);
}
END_TEST

/* What is wrong with an image: WIDTH bytes at OFFSET become VALUE. */
static const struct {
    const char *name;
    size_t offset, width;
    uint64_t value;
    enum vmd_error code; /* when it is opened for writing */
    bool readable;       /* opens read-only all the same */
    const char *text;
} damage[] = {
    {"magic", 0, 4, 0x514649fa, VMD_ERROR_INVALID, false, "not in qcow2 format"},
    {"version 1", 4, 4, 1, VMD_ERROR_UNSUPPORTED, false, "version 1"},
    {"version 4", 4, 4, 4, VMD_ERROR_UNSUPPORTED, false, "version 4"},
    {"tiny clusters", 20, 4, 8, VMD_ERROR_INVALID, false, "clusters of"},
    {"huge clusters", 20, 4, 22, VMD_ERROR_INVALID, false, "clusters of"},
    {"absurd clusters", 20, 4, 200, VMD_ERROR_INVALID, false, "clusters of"},
    {"absurd size", 24, 8, UINT64_MAX, VMD_ERROR_INVALID, false, "a disk of"},
    {"more than L1 has", 24, 8, GIB(2), VMD_ERROR_INVALID, false, "L1 table is too short"},
    {"encrypted", 32, 4, 1, VMD_ERROR_UNSUPPORTED, false, "encrypted"},
    {"huge L1", 36, 4, 0xffffffff, VMD_ERROR_LIMIT, false, "entries"},
    {"no L1", 36, 4, 0, VMD_ERROR_INVALID, false, "L1 table is too short"},
    {"L1 misplaced", 40, 8, 3 * CLUSTER + 8, VMD_ERROR_INVALID, false, "L1 table is not"},
    {"L1 outside", 40, 8, 1ull << 60, VMD_ERROR_INVALID, false, "L1 table is not"},
    {"L1 in the header", 40, 8, 0, VMD_ERROR_INVALID, false, "L1 table is not"},
    {"L1 over refcounts", 40, 8, CLUSTER, VMD_ERROR_INVALID, true, "overlap"},
    {"refcount table outside", 48, 8, 60 * CLUSTER, VMD_ERROR_INVALID, true, "not in the file"},
    {"refcount table misplaced", 48, 8, CLUSTER + 512, VMD_ERROR_INVALID, true, "not in the file"},
    {"no refcount table", 56, 4, 0, VMD_ERROR_INVALID, true, "refcount table of 0"},
    {"huge refcount table", 56, 4, 0xffffffff, VMD_ERROR_INVALID, true, "refcount table of"},
    {"huge snapshots", 60, 4, 0xffffffff, VMD_ERROR_LIMIT, true, "snapshots"},
    {"snapshots outside", 60, 4, 1, VMD_ERROR_INVALID, true, "snapshot table"},
    {"corrupt", 72, 8, 2, VMD_ERROR_INVALID, true, "marked corrupt"},
    {"data file", 72, 8, 4, VMD_ERROR_UNSUPPORTED, false, "feature bit 2"},
    {"compression", 72, 8, 8, VMD_ERROR_INVALID, false, "disagree"},
    {"extended L2", 72, 8, 16, VMD_ERROR_UNSUPPORTED, false, "feature bit 4"},
    {"from the future", 72, 8, 1ull << 40, VMD_ERROR_UNSUPPORTED, false, "feature bit 40"},
    {"wide refcounts", 96, 4, 7, VMD_ERROR_INVALID, false, "refcounts of"},
    {"short header", 100, 4, 72, VMD_ERROR_INVALID, false, "too short"},
    {"long header", 100, 4, CLUSTER + 8, VMD_ERROR_INVALID, false, "longer than a cluster"},
    {"endless extension", HEADER, 8, 0x123456780000ffffull, VMD_ERROR_INVALID, false, "extension"},
    {"backing name outside", 8, 8, CLUSTER, VMD_ERROR_INVALID, false, ""},
    {"L2 misplaced", 3 * CLUSTER, 8, 4 * CLUSTER + 512, VMD_ERROR_INVALID, false, "L1 entry 0"},
    {"L2 outside", 3 * CLUSTER, 8, 60 * CLUSTER, VMD_ERROR_INVALID, false, "L1 entry 0"},
    {"L2 reserved bits", 3 * CLUSTER, 8, 4 * CLUSTER | 1, VMD_ERROR_INVALID, false, "L1 entry 0"},
    {"L2 in the header", 3 * CLUSTER, 8, 1ull << 63, VMD_ERROR_INVALID, false, "L1 entry 0"},
    {"L2 over L1", 3 * CLUSTER, 8, 3 * CLUSTER | 1ull << 63, VMD_ERROR_INVALID, true, "overlap"},
    {"no refcounts", CLUSTER, 8, 0, VMD_ERROR_INVALID, true, "first refcount block"},
    {"refcounts misplaced", CLUSTER, 8, 2 * CLUSTER + 1, VMD_ERROR_INVALID, true, "malformed"},
    {"refcounts over L1", CLUSTER, 8, 3 * CLUSTER, VMD_ERROR_INVALID, true, "overlap"},
    {"refcounts twice", CLUSTER + 8, 8, 2 * CLUSTER, VMD_ERROR_INVALID, true, "overlap"},
};

START_TEST(damage_rows)
{
    g_autofree uint8_t *img = make_image();

    if (damage[_i].width == 4)
        put32(img + damage[_i].offset, (uint32_t)damage[_i].value);
    else
        put64(img + damage[_i].offset, damage[_i].value);
    if (damage[_i].text[0] == '\0')
        put32(img + 16, 10); /* a backing file's name has a length as well */
    g_autofree char *path = write_image(img, IMAGE);
    g_autofree char *before = NULL, *after = NULL;
    size_t n_before, n_after;
    ck_assert(g_file_get_contents(path, &before, &n_before, NULL));
    rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, false, damage[_i].code, damage[_i].text);
    ck_assert(g_file_get_contents(path, &after, &n_after, NULL));
    ck_assert_msg(n_before == n_after && memcmp(before, after, n_before) == 0,
                  "%s: the refused image was changed", damage[_i].name);
    if (damage[_i].readable)
        rig_close_block(&rig, rig_block(&rig, path, BLOCK_FORMAT_QCOW2, true));
    else
        rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, true, damage[_i].code, damage[_i].text);
}
END_TEST

/* The name of a backing file may be longer than a small cluster. */
START_TEST(long_backing_name)
{
    g_autofree uint8_t *img = make_image();

    put32(img + 20, 9);
    put32(img + 36, 32);
    put64(img + 8, HEADER);
    put32(img + 16, 600);
    g_autofree char *path = write_image(img, IMAGE);
    rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_INVALID, "not in its header");
}
END_TEST

/* What keeps the refcounts of a dirty image from being made anew; then it stays as it was. */
static const struct {
    const char *name;
    size_t offset;
    uint64_t value;
    const char *text;
} beyond_repair[] = {
    {"data behind the end", 4 * CLUSTER + 8, 60 * CLUSTER | 1ull << 63, "data are missing"},
    {"misplaced data", 4 * CLUSTER + 8, 5 * CLUSTER + 512, "misplaced"},
    {"compressed behind the end", 4 * CLUSTER + 8, 1ull << 62 | 60 * CLUSTER, "compressed data"},
    {"data over the header", 4 * CLUSTER + 8, 1ull << 62 | 512, "overlap"},
    {"data over L1", 4 * CLUSTER + 8, 3 * CLUSTER, "overlap"},
};

START_TEST(beyond_repair_rows)
{
    g_autofree uint8_t *img = make_image();

    put64(img + 72, 1);
    put64(img + beyond_repair[_i].offset, beyond_repair[_i].value);
    g_autofree char *path = write_image(img, IMAGE), *after = NULL;
    rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_INVALID, beyond_repair[_i].text);
    rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_INVALID, "cannot be rebuilt");
    ck_assert(g_file_get_contents(path, &after, NULL, NULL));
    ck_assert_mem_eq(after, img, IMAGE);
    rig_close_block(&rig, rig_block(&rig, path, BLOCK_FORMAT_QCOW2, true));
}
END_TEST

/* Whatever the refcounts of a dirty image say, they are made anew, and its owner hears of it. */
START_TEST(repaired)
{
    g_autofree uint8_t *img = make_image(), *model = g_malloc0(MIB(1));
    uint64_t leaks;
    struct block *b;

    put64(img + 72, 1);
    memset(img + 2 * CLUSTER, _i ? 0xff : 0, CLUSTER);
    g_autofree char *path = write_image(img, IMAGE), *after = NULL;
    memset(model + CLUSTER, 0xd5, CLUSTER);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, true);
    ck_assert_ptr_null(block_notice(b));
    rig_close_block(&rig, b);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, false);
    ck_assert_ptr_nonnull(strstr(block_notice(b), "refcounts were rebuilt"));
    rig_verify(&rig, b, model, MIB(1), "rebuilt");
    memset(model, 0x11, 512);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, model, 512, 0), 0);
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
    size_t len;
    ck_assert(g_file_get_contents(path, &after, &len, NULL));
    g_autofree char *wrong = qcow2_check((uint8_t *)after, len, &leaks);
    ck_assert_msg(!wrong && leaks == 0, "%s, %u leaks", wrong, (unsigned)leaks);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, false);
    ck_assert_ptr_null(block_notice(b));
    rig_verify(&rig, b, model, MIB(1), "again");
    rig_close_block(&rig, b);
}
END_TEST

/* An entry that turns out bad in use: L2 entry of guest cluster 1, or the refcount of a cluster. */
static const struct {
    const char *name;
    size_t offset, width;
    uint64_t value;
    enum block_kind kind;
    const char *text;
} misuse[] = {
    {"behind the end", 4 * CLUSTER + 8, 8, 600 * CLUSTER | 1ull << 63, BLOCK_READ, "behind"},
    {"reserved bits", 4 * CLUSTER + 8, 8, 5 * CLUSTER | 2, BLOCK_READ, "malformed"},
    {"misaligned", 4 * CLUSTER + 8, 8, 5 * CLUSTER + 512, BLOCK_READ, "malformed"},
    {"data over L1", 4 * CLUSTER + 8, 8, 3 * CLUSTER | 1ull << 63, BLOCK_WRITE, "metadata"},
    {"data over the header", 4 * CLUSTER + 8, 8, 1ull << 62 | 512, BLOCK_READ, "metadata"},
    {"data over refcounts", 4 * CLUSTER + 8, 8, 2 * CLUSTER | 1ull << 63, BLOCK_WRITE, "metadata"},
    {"data over L2", 4 * CLUSTER + 8, 8, 4 * CLUSTER | 1ull << 63, BLOCK_WRITE, "metadata"},
    {"compressed and copied", 4 * CLUSTER + 8, 8, 3ull << 62 | 5 * CLUSTER, BLOCK_READ, "at once"},
    {"header counted as free", 2 * CLUSTER, 2, 0, BLOCK_WRITE_ZEROES, "counted as free"},
};

START_TEST(misuse_rows)
{
    g_autofree uint8_t *img = make_image();
    uint8_t buf[512] = {0}, bits[8];
    struct block *b;

    if (misuse[_i].width == 8)
        put64(img + misuse[_i].offset, misuse[_i].value);
    else
        memset(img + misuse[_i].offset, 0, misuse[_i].width);
    g_autofree char *path = write_image(img, IMAGE);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, false);
    if (misuse[_i].kind == BLOCK_WRITE_ZEROES)
        /* A write to an unallocated cluster has to allocate. */
        ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 0, buf, 512, 0), -EIO);
    else
        ck_assert_int_eq(rig_io(&rig, b, misuse[_i].kind, CLUSTER, buf, 512, 0), -EIO);
    ck_assert_ptr_nonnull(block_fault(b));
    ck_assert_msg(strstr(block_fault(b), misuse[_i].text), "%s: %s", misuse[_i].name,
                  block_fault(b));
    /* Nothing is written any more, and the image says so to the next program. */
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 2 * CLUSTER, buf, 512, 0), -EIO);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_FLUSH, 0, NULL, 0, 0), -EIO);
    ck_assert_int_eq(rig_close_block(&rig, b), -EIO);
    g_autofree char *after = NULL;
    ck_assert(g_file_get_contents(path, &after, NULL, NULL));
    put64(bits, 2);
    ck_assert_msg(memcmp(after + 72, bits, 8) == 0, "%s: not marked", misuse[_i].name);
    memcpy(after + 72, img + 72, 8);
    ck_assert_msg(memcmp(after, img, IMAGE) == 0, "%s: written to", misuse[_i].name);
    rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_INVALID, "marked corrupt");
}
END_TEST

/* --- backing files ------------------------------------------------------------------------ */

/* An image of 1 MiB without data, with a backing file of that name and format (or NULL). */
static char *make_overlay(const char *file, const char *backing, const char *format)
{
    g_autofree uint8_t *img = make_image();
    size_t at = HEADER;
    char *path = rig_path(&rig, file);

    put64(img + 4 * CLUSTER + 8, 0);
    img[2 * CLUSTER + 11] = 0;
    if (format) {
        put32(img + at, 0xe2792aca);
        put32(img + at + 4, (uint32_t)strlen(format));
        memcpy(img + at + 8, format, strlen(format));
        at += 8 + ALIGN_UP(strlen(format), 8);
    }
    at += 8;
    put64(img + 8, at);
    put32(img + 16, (uint32_t)strlen(backing));
    memcpy(img + at, backing, strlen(backing));
    rig_write(path, img, IMAGE - CLUSTER);
    return path;
}

START_TEST(backing_raw)
{
    g_autofree char *base = rig_file(&rig, "base.raw", 300000);
    g_autofree char *path = make_overlay("top.qcow2", "base.raw", "raw");
    g_autofree uint8_t *model = g_malloc0(MIB(1));
    struct block *b;

    memset(model, 0x42, 300000);
    rig_write(base, model, 300000);
    b = rig_block(&rig, path, BLOCK_FORMAT_QCOW2, false);
    rig_verify(&rig, b, model, MIB(1), "untouched");
    memset(model + 299008, 0x11, 512);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE, 299008, model + 299008, 512, 0), 0);
    rig_verify(&rig, b, model, MIB(1), "copied on write");
    memset(model + 512, 0, CLUSTER * 2);
    ck_assert_int_eq(rig_io(&rig, b, BLOCK_WRITE_ZEROES, 512, NULL, CLUSTER * 2, BLOCK_UNMAP), 0);
    rig_verify(&rig, b, model, MIB(1), "zeroed");
    /* The image below is locked: readers may come, writers not. */
    rig_refused(&rig, base, BLOCK_FORMAT_RAW, false, VMD_ERROR_BUSY, "in use by this process");
    rig_close_block(&rig, rig_block(&rig, base, BLOCK_FORMAT_RAW, true));
    ck_assert_int_eq(rig_close_block(&rig, b), 0);
}
END_TEST

static const struct {
    const char *name, *backing, *format;
    enum vmd_error code;
    const char *text;
} chains[] = {
    {"itself", "top.qcow2", "qcow2", VMD_ERROR_INVALID, "among its own backing files"},
    {"missing", "none.raw", "raw", VMD_ERROR_NOT_FOUND, "backing file of"},
    {"no format", "base.raw", NULL, VMD_ERROR_INVALID, "does not say which format"},
    {"guess", "base.raw", "auto", VMD_ERROR_UNSUPPORTED, "format 'auto'"},
    {"other format", "base.raw", "vmdk", VMD_ERROR_UNSUPPORTED, "format 'vmdk'"},
    {"network", "nbd://host/disk", "raw", VMD_ERROR_UNSUPPORTED, "only local files"},
    {"json", "json:{\"driver\":\"raw\"}", "raw", VMD_ERROR_UNSUPPORTED, "only local files"},
    {"folder", "/", "raw", VMD_ERROR_INVALID, "neither a file"},
};

START_TEST(chain_rows)
{
    g_autofree char *base = rig_file(&rig, "base.raw", 4096);
    g_autofree char *path = make_overlay("top.qcow2", chains[_i].backing, chains[_i].format);

    rig_refused(&rig, path, BLOCK_FORMAT_QCOW2, false, chains[_i].code, chains[_i].text);
    /* Nothing stays locked. */
    rig_close_block(&rig, rig_block(&rig, base, BLOCK_FORMAT_RAW, false));
}
END_TEST

START_TEST(chain_length)
{
    g_autofree char *base = rig_file(&rig, "0", 4096);
    g_autofree char *top = NULL;
    struct block *b;

    for (int i = 1; i < LIMIT_QCOW2_BACKING_DEPTH + 1; i++) {
        g_autofree char *name = g_strdup_printf("%d", i), *below = g_strdup_printf("%d", i - 1);
        g_free(top);
        top = make_overlay(name, below, i == 1 ? "raw" : "qcow2");
        if (i < LIMIT_QCOW2_BACKING_DEPTH) {
            uint8_t buf[512];
            b = rig_block(&rig, top, BLOCK_FORMAT_QCOW2, false);
            ck_assert_int_eq(rig_io(&rig, b, BLOCK_READ, 0, buf, 512, 0), 0);
            rig_close_block(&rig, b);
        }
    }
    rig_refused(&rig, top, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_LIMIT, "chain of backing files");
}
END_TEST

/* Two images that name each other. */
START_TEST(chain_loop)
{
    g_autofree char *a = make_overlay("a.qcow2", "b.qcow2", "qcow2");
    g_autofree char *b = make_overlay("b.qcow2", "a.qcow2", "qcow2");

    rig_refused(&rig, a, BLOCK_FORMAT_QCOW2, false, VMD_ERROR_INVALID, "among its own");
    rig_refused(&rig, b, BLOCK_FORMAT_QCOW2, true, VMD_ERROR_INVALID, "among its own");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("block");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, format_names);
    tcase_add_loop_test(tc, probe_rows, 0, G_N_ELEMENTS(probes));
    tcase_add_test(tc, no_such_file);
    tcase_add_test(tc, raw_kinds);
    tcase_add_loop_test(tc, edge_rows, 0, G_N_ELEMENTS(edges));
    tcase_add_test(tc, vectors_must_fit);
    tcase_add_test(tc, many_vectors);
    tcase_add_test(tc, raw_odd_size);
    tcase_add_test(tc, raw_grows);
    tcase_add_test(tc, raw_grows_beside);
    tcase_add_test(tc, raw_cannot_grow);
    tcase_add_test(tc, raw_cut_short);
    tcase_add_test(tc, readonly);
    tcase_add_test(tc, no_forged_header);
    tcase_add_test(tc, no_space);
    tcase_add_test(tc, all_at_once);
    tcase_add_test(tc, drain_of_nothing);
    tcase_add_test(tc, one_writer);
    tcase_add_test(tc, another_process);
    tcase_add_test(tc, qcow2_by_hand);
    tcase_add_loop_test(tc, damage_rows, 0, G_N_ELEMENTS(damage));
    tcase_add_loop_test(tc, misuse_rows, 0, G_N_ELEMENTS(misuse));
    tcase_add_test(tc, long_backing_name);
    tcase_add_loop_test(tc, beyond_repair_rows, 0, G_N_ELEMENTS(beyond_repair));
    tcase_add_loop_test(tc, repaired, 0, 2);
    tcase_add_test(tc, backing_raw);
    tcase_add_loop_test(tc, chain_rows, 0, G_N_ELEMENTS(chains));
    tcase_add_test(tc, chain_length);
    tcase_add_test(tc, chain_loop);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
