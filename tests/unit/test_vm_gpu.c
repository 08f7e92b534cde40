/* A VM's GPU and the other end of its worker's connection, which here says what it likes. */
#include "gpu/device/gpu_function.h"
#include "gpu/protocol/contract.h"
#include "tests/unit/unit.h"
#include "vm/gpu.h"

#include <sys/socket.h>

enum { NOTHING = -1 };

static struct {
    uv_loop_t loop;
    struct vm_gpu_config config;
    struct gpu *gpu;
    int state; /* the latest that was told */
    unsigned told;
} t;

static void changed(void *opaque, enum gpu_worker_state state, const char *text)
{
    ck_assert(text[0] != 0);
    t.state = (int)state;
    t.told++;
}

static void setup(void)
{
    t.state = NOTHING;
    t.told = 0;
    t.config = (struct vm_gpu_config){.backend = VM_GPU_BACKEND_SOFT, .memory = MIB(48)};
    ck_assert_int_eq(uv_loop_init(&t.loop), 0);
    t.gpu = gpu_new(&t.loop, &t.config, NULL, changed, NULL, NULL);
    ck_assert_ptr_nonnull(t.gpu);
}

static void teardown(void)
{
    gpu_free(t.gpu);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&t.loop), 0);
}

/* Until something new is told. */
static void wait_for(enum gpu_worker_state state)
{
    for (unsigned told = t.told; t.told == told;)
        uv_run(&t.loop, UV_RUN_ONCE);
    ck_assert_int_eq(t.state, (int)state);
}

static int serve(void)
{
    int fd = gpu_serve(t.gpu, NULL);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static void report(int fd, uint32_t magic, size_t from, size_t to)
{
    const struct worker_report r = {.magic = magic, .size = sizeof(r), .used = 4711};

    ck_assert_int_eq(send(fd, (const uint8_t *)&r + from, to - from, 0), (int)(to - from));
}

/* What a worker is told: what it is to be, and WORKER_FDS descriptors. */
START_TEST(hello)
{
    int fds[WORKER_FDS];
    struct worker_hello h;
    char control[CMSG_SPACE(sizeof(fds))];
    struct iovec iov = {&h, sizeof(h)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    g_autoptr(GError) err = NULL;
    autofd fd = serve();

    ck_assert_int_eq(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC), sizeof(h));
    ck_assert(h.magic == WORKER_MAGIC && h.size == sizeof(h) && h.memory == MIB(48));
    ck_assert_str_eq(h.backend, "soft");
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ck_assert(c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fds)));
    memcpy(fds, CMSG_DATA(c), sizeof(fds));
    ck_assert_int_eq(lseek(fds[0], 0, SEEK_END), GPU_SHARED_BYTES);
    for (unsigned i = 0; i < WORKER_FDS; i++)
        close(fds[i]);
    ck_assert_int_eq(gpu_serve(t.gpu, &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
}
END_TEST

/* Its report comes in pieces; it answers a question, and goes; the next one is served alike. */
START_TEST(life)
{
    struct worker_report r;
    struct worker_hello h;
    char asked;

    for (unsigned i = 0; i < 2; i++) {
        int fd = serve();
        ck_assert_int_eq(recv(fd, &h, sizeof(h), MSG_WAITALL), sizeof(h));
        report(fd, WORKER_MAGIC, 0, 5);
        report(fd, WORKER_MAGIC, 5, sizeof(r));
        wait_for(GPU_WORKER_STATE_SERVING);
        g_autoptr(gpu_stats) s = gpu_counts(t.gpu, "gpu0");
        ck_assert(s->has_state && s->state == GPU_WORKER_STATE_SERVING && s->workers == i + 1);
        ck_assert(s->used_bytes == 4711 && s->memory_bytes == MIB(48));
        while (recv(fd, &asked, 1, MSG_DONTWAIT) < 0)
            uv_run(&t.loop, UV_RUN_ONCE);
        report(fd, WORKER_MAGIC, 0, sizeof(r));
        close(fd);
        wait_for(GPU_WORKER_STATE_LOST);
    }
}
END_TEST

/* One that ends at once, and one that makes no sense. */
START_TEST(worthless)
{
    int fd = serve();

    close(fd);
    wait_for(GPU_WORKER_STATE_LOST);
    fd = serve();
    report(fd, 0x12345678, 0, sizeof(struct worker_report));
    wait_for(GPU_WORKER_STATE_HUNG);
    report(fd, WORKER_MAGIC, 0, sizeof(struct worker_report)); /* too late */
    close(fd);
    while (t.state != GPU_WORKER_STATE_LOST)
        uv_run(&t.loop, UV_RUN_ONCE);
    ck_assert_uint_le(t.told, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vm-gpu");
    TCase *tc = tcase_create("vm-gpu");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, hello);
    tcase_add_test(tc, life);
    tcase_add_test(tc, worthless);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
