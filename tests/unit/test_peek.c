/* Bytes of disks: what is shown, and that nobody waits for a host that does not answer, nor does
 * the daemon's end. */
#include "base/memfile.h"
#include "daemon/ending.h"
#include "daemon/peek.h"
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
static struct peeks *peeks;

static uint8_t content(size_t at)
{
    return (uint8_t)(at * 7 + 1);
}

static void setup(void)
{
    uint8_t bytes[SIZE];
    int fd = g_file_open_tmp("vmd-peek-XXXXXX", &path, NULL);

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = content(i);
    ck_assert_int_eq(write(fd, bytes, SIZE), SIZE);
    close(fd);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    peeks = peeks_new(&loop);
    host.loop = pthread_self();
    host.most = 0;
    host.on_loop = false;
}

static void teardown(void)
{
    peeks_free(peeks);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    unlink(path);
    g_free(path);
}

/* What came of one. */
struct answer {
    bool there;
    int fd;
    GError *err;
};

static void on_done(void *arg, int fd, GError *err)
{
    *(struct answer *)arg = (struct answer){true, fd, err};
}

static void ask(struct answer *a, enum vm_disk_format format, uint64_t offset, uint32_t bytes)
{
    struct vm_disk_config disk = {.id = (char *)"vda", .path = path, .format = format};

    *a = (struct answer){0};
    peeks_disk(peeks, &disk, offset, bytes, on_done, a);
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

/* The daemon ends meanwhile: who waits hears so at once, the others when the host answers. */
START_TEST(ended)
{
    struct answer a[4];

    host_hangs(true);
    for (size_t i = 0; i < G_N_ELEMENTS(a); i++)
        ask(&a[i], VM_DISK_FORMAT_RAW, i, 8);
    await_waiting(AT_ONCE);
    peeks_free(g_steal_pointer(&peeks));
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
    peeks_free(peeks);
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
    Suite *suite = suite_create("peek");
    TCase *tc = tcase_create("peek");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, part, 0, G_N_ELEMENTS(parts));
    tcase_add_test(tc, hanging);
    tcase_add_test(tc, ended);
    tcase_add_exit_test(tc, ends_with_its_threads, ENDED);
    tcase_add_exit_test(tc, ends_without_its_threads, EXIT_SUCCESS);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
