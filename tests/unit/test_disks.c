/* Images of disks: bytes and sizes that are shown, growth, and that nobody waits for a host that
 * does not answer, nor does the daemon's end. */
#include "base/memfile.h"
#include "daemon/disks.h"
#include "daemon/ending.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

enum { SIZE = 1000, AT_ONCE = 2 };

ssize_t __real_pread64(int fd, void *to, size_t n, off_t offset);
ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t offset);

/* The host: while it hangs, reads wait. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t loop;
    bool hangs;
    unsigned waiting, most;
    bool on_loop; /* one came there */
} host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t offset)
{
    pthread_mutex_lock(&host.lock);
    host.on_loop |= host.hangs && pthread_equal(pthread_self(), host.loop);
    host.waiting++;
    host.most = MAX(host.most, host.waiting);
    pthread_cond_broadcast(&host.changed);
    while (host.hangs && !host.on_loop)
        pthread_cond_wait(&host.changed, &host.lock);
    host.waiting--;
    pthread_mutex_unlock(&host.lock);
    return __real_pread64(fd, to, n, offset);
}

static void host_hangs(bool hangs)
{
    pthread_mutex_lock(&host.lock);
    host.hangs = hangs;
    pthread_cond_broadcast(&host.changed);
    pthread_mutex_unlock(&host.lock);
}

static void await_waiting(unsigned n)
{
    pthread_mutex_lock(&host.lock);
    while (host.waiting < n)
        pthread_cond_wait(&host.changed, &host.lock);
    pthread_mutex_unlock(&host.lock);
}

static uv_loop_t loop;
static char *path;
static struct disks *disks;

static uint8_t content(size_t at)
{
    return (uint8_t)(at * 7 + 1);
}

static void setup(void)
{
    uint8_t bytes[SIZE];
    int fd = g_file_open_tmp("vmd-disks-XXXXXX", &path, NULL);

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = content(i);
    ck_assert_int_eq(write(fd, bytes, SIZE), SIZE);
    close(fd);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    disks = disks_new(&loop);
    host.loop = pthread_self();
    host.most = 0;
    host.on_loop = false;
}

static void teardown(void)
{
    disks_free(disks);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    unlink(path);
    g_free(path);
}

/* What came of one. */
struct answer {
    bool there;
    int fd;
    struct image_sizes sizes;
    GError *err;
};

static void on_done(void *arg, struct disks_answer *a)
{
    *(struct answer *)arg =
        (struct answer){true, steal_fd(&a->fd), a->sizes, g_steal_pointer(&a->err)};
}

static struct vm_disk_config disk_of(enum vm_disk_format format)
{
    return (struct vm_disk_config){.id = (char *)"vda", .path = path, .format = format};
}

static void ask(struct answer *a, enum vm_disk_format format, uint64_t offset, uint32_t bytes)
{
    struct vm_disk_config disk = disk_of(format);

    *a = (struct answer){0};
    disks_peek(disks, &disk, offset, bytes, on_done, a);
}

static void await(struct answer *a)
{
    while (!a->there)
        uv_run(&loop, UV_RUN_ONCE);
}

static void expect_bytes(struct answer *a, size_t offset, size_t n)
{
    await(a);
    ck_assert_ptr_null(a->err);
    g_autofree uint8_t *got = memfile_read(a->fd, n, NULL);
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_eq(got[i], offset + i < SIZE ? content(offset + i) : 0);
    close(a->fd);
}

static void expect_error(struct answer *a, enum vmd_error kind)
{
    await(a);
    ck_assert_int_eq(a->fd, -1);
    ck_assert(g_error_matches(a->err, VMD_ERROR, (int)kind));
    g_error_free(a->err);
}

/* The last sector is whole, as the guest has it, though the image ends before. */
static const struct {
    const char *name;
    enum vm_disk_format format;
    uint64_t offset;
    uint32_t bytes;
    int error; /* -1: none */
} parts[] = {
    {"the first", VM_DISK_FORMAT_RAW, 0, 10, -1},
    {"up to its end", VM_DISK_FORMAT_AUTO, 900, 100, -1},
    {"over its end", VM_DISK_FORMAT_RAW, 900, 124, -1},
    {"all behind it", VM_DISK_FORMAT_RAW, 1001, 23, -1},
    {"all", VM_DISK_FORMAT_AUTO, 0, 1024, -1},
    {"one too many", VM_DISK_FORMAT_RAW, 900, 125, VMD_ERROR_INVALID},
    {"behind the last sector", VM_DISK_FORMAT_RAW, 1024, 1, VMD_ERROR_INVALID},
    {"far", VM_DISK_FORMAT_RAW, UINT64_MAX, 2, VMD_ERROR_INVALID},
    {"qcow2", VM_DISK_FORMAT_QCOW2, 0, 1, VMD_ERROR_UNSUPPORTED},
};

START_TEST(part)
{
    struct answer a;

    ask(&a, parts[_i].format, parts[_i].offset, parts[_i].bytes);
    if (parts[_i].error < 0)
        expect_bytes(&a, parts[_i].offset, parts[_i].bytes);
    else
        expect_error(&a, (enum vmd_error)parts[_i].error);
}
END_TEST

/* The loop goes on, and few threads are held up. */
START_TEST(hanging)
{
    struct answer a[6];

    host_hangs(true);
    for (size_t i = 0; i < G_N_ELEMENTS(a); i++)
        ask(&a[i], VM_DISK_FORMAT_RAW, i, 8);
    await_waiting(AT_ONCE);
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (size_t i = 0; i < G_N_ELEMENTS(a); i++)
        ck_assert(!a[i].there);
    host_hangs(false);
    for (size_t i = 0; i < G_N_ELEMENTS(a); i++)
        expect_bytes(&a[i], i, 8);
    ck_assert_uint_eq(host.most, AT_ONCE);
    ck_assert(!host.on_loop);
}
END_TEST

static void expect_measured(struct answer *a, uint64_t bytes)
{
    await(a);
    ck_assert_ptr_null(a->err);
    ck_assert_uint_eq(a->sizes.capacity, bytes);
    ck_assert_uint_eq(a->sizes.physical, bytes);
}

/* Sizes and growth are found out and made by the threads, too. */
START_TEST(sizes)
{
    struct vm_disk_config raw = disk_of(VM_DISK_FORMAT_RAW), qcow2 = disk_of(VM_DISK_FORMAT_QCOW2);
    struct answer before = {0}, grown = {0}, after = {0}, shrunk = {0}, other = {0};

    host_hangs(true);
    disks_measure(disks, &raw, on_done, &before);
    disks_grow(disks, &raw, SIZE + 24, on_done, &grown);
    await_waiting(AT_ONCE);
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert(!before.there && !grown.there);
    host_hangs(false);
    await(&grown);
    ck_assert_ptr_null(grown.err);
    await(&before);
    ck_assert_ptr_null(before.err);
    disks_measure(disks, &raw, on_done, &after);
    expect_measured(&after, SIZE + 24);
    disks_grow(disks, &raw, SIZE, on_done, &shrunk);
    expect_error(&shrunk, VMD_ERROR_INVALID);
    disks_measure(disks, &qcow2, on_done, &other);
    expect_error(&other, VMD_ERROR_INVALID);
    ck_assert(!host.on_loop);
}
END_TEST

/* The daemon ends meanwhile: who waits hears so at once, the others when the host answers. */
START_TEST(ended)
{
    struct answer a[4];

    host_hangs(true);
    for (size_t i = 0; i < G_N_ELEMENTS(a); i++)
        ask(&a[i], VM_DISK_FORMAT_RAW, i, 8);
    await_waiting(AT_ONCE);
    disks_free(g_steal_pointer(&disks));
    ck_assert(!a[0].there && !a[1].there && a[2].there && a[3].there);
    expect_error(&a[2], VMD_ERROR_GONE);
    expect_error(&a[3], VMD_ERROR_GONE);
    host_hangs(false);
    expect_bytes(&a[0], 0, 8);
    expect_bytes(&a[1], 1, 8);
}
END_TEST

enum { ENDED = 7 };

/* The daemon ends by itself: with its threads where they end (the status is ENDED), without them
 * where they don't. */
static void end_daemon(bool hangs)
{
    struct ending ending;
    struct answer a;

    ending_init(&ending, &loop);
    host_hangs(true);
    ask(&a, VM_DISK_FORMAT_RAW, 0, 8);
    await_waiting(1);
    unlink(path);
    ending_begin(&ending, hangs ? 100 : 60000);
    disks_free(disks);
    host_hangs(hangs);
    ending_run_out(&ending);
    ck_assert(a.there);
    _exit(ENDED);
}

START_TEST(ends_without_its_threads)
{
    end_daemon(true);
}
END_TEST

START_TEST(ends_with_its_threads)
{
    end_daemon(false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disks");
    TCase *tc = tcase_create("disks");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, part, 0, G_N_ELEMENTS(parts));
    tcase_add_test(tc, hanging);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, ended);
    tcase_add_exit_test(tc, ends_with_its_threads, ENDED);
    tcase_add_exit_test(tc, ends_without_its_threads, EXIT_SUCCESS);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
