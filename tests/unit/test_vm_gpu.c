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
    /* The end of a move. */
    unsigned ended;
    uint64_t job;
    bool cancelled;
    char *why; /* NULL: it was made */
} t;

static void changed(void *opaque, enum gpu_worker_state state, const char *text)
{
    ck_assert(text[0] != 0);
    t.state = (int)state;
    t.told++;
}

static void moved(void *opaque, uint64_t job, bool cancelled, const GError *err)
{
    t.ended++;
    t.job = job;
    t.cancelled = cancelled;
    g_free(t.why);
    t.why = err ? g_strdup(err->message) : NULL;
}

static const struct gpu_ops ops = {.changed = changed, .moved = moved};

static void setup(void)
{
    t.state = NOTHING;
    t.told = t.ended = 0;
    t.config = (struct vm_gpu_config){.backend = VM_GPU_BACKEND_SOFT, .memory = MIB(48)};
    ck_assert_int_eq(uv_loop_init(&t.loop), 0);
    t.gpu = gpu_new(&t.loop, &t.config, NULL, &ops, NULL, NULL);
    ck_assert_ptr_nonnull(t.gpu);
}

static void teardown(void)
{
    gpu_free(t.gpu);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&t.loop), 0);
    g_clear_pointer(&t.why, g_free);
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

/* --- moves ------------------------------------------------------------------------------------ */

/* A worker that serves, and one that is to follow on it. */
struct pair {
    int source, target;
};

static void skip_hello(int fd, uint32_t magic)
{
    struct worker_hello h;

    ck_assert_int_eq(recv(fd, &h, sizeof(h), MSG_WAITALL), sizeof(h)); /* its descriptors go */
    ck_assert_uint_eq(h.magic, magic);
    ck_assert_str_eq(h.device, magic == WORKER_MAGIC ? "" : "1");
}

static struct pair begin_move(uint64_t job)
{
    static char one[] = "1";
    const struct vm_gpu_config to = {
        .backend = VM_GPU_BACKEND_SOFT, .device = one, .memory = MIB(48)};
    struct pair p = {.source = serve()};
    g_autoptr(GError) err = NULL;
    int none;

    skip_hello(p.source, WORKER_MAGIC);
    report(p.source, WORKER_MAGIC, 0, sizeof(struct worker_report));
    wait_for(GPU_WORKER_STATE_SERVING);
    ck_assert(gpu_move(t.gpu, job, &to, 5000, &p.target, NULL));
    ck_assert_int_ge(p.target, 0);
    ck_assert_uint_eq(gpu_move_job(t.gpu), job);
    ck_assert(!gpu_move(t.gpu, job + 1, &to, 5000, &none, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    skip_hello(p.target, WORKER_MOVED_MAGIC);
    return p;
}

/* The next order that is no question, which is answered where the worker lives; with the
 * descriptor that came along. */
static char next_order(int fd, int *with)
{
    for (;;) {
        char order, control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec iov = {&order, 1};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        const struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&msg) : NULL;
        if (n == 0)
            return 0; /* it is to end */
        if (n < 0) {
            uv_run(&t.loop, UV_RUN_ONCE);
            continue;
        }
        if (order == WORKER_ASK) {
            report(fd, WORKER_MAGIC, 0, sizeof(struct worker_report));
            continue;
        }
        if (c && with)
            memcpy(with, CMSG_DATA(c), sizeof(int));
        return order;
    }
}

static void ready(int fd)
{
    report(fd, WORKER_MAGIC, 0, sizeof(struct worker_report));
}

/* Says what became of an order, in two pieces, with a descriptor where IMAGE. */
static void say_moved(int fd, bool done, bool image)
{
    struct worker_moved m = {.magic = WORKER_MOVED_MAGIC,
                             .size = sizeof(m),
                             .done = done,
                             .used = 815,
                             .text = "cannot \xff be"};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&m, 10};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (image) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &(int){STDERR_FILENO}, sizeof(int)); /* any will do */
    }
    ck_assert_int_eq(sendmsg(fd, &msg, 0), 10);
    ck_assert_int_eq(send(fd, (uint8_t *)&m + 10, sizeof(m) - 10, 0), (int)sizeof(m) - 10);
}

static void saved(const struct pair *p)
{
    uint32_t ms = 0;

    ready(p->target);
    ck_assert_int_eq(next_order(p->source, NULL), WORKER_SAVE);
    ck_assert_int_eq(recv(p->source, &ms, sizeof(ms), MSG_WAITALL), sizeof(ms));
    ck_assert_uint_eq(ms, 5000);
    say_moved(p->source, true, true);
}

static void wait_end(uint64_t job)
{
    while (!t.ended)
        uv_run(&t.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(t.job, job);
    ck_assert_uint_eq(t.ended, 1);
    ck_assert_uint_eq(gpu_move_job(t.gpu), 0);
}

/* The source is closed before the target goes on, and the next worker is at the new place. */
START_TEST(made)
{
    struct pair p = begin_move(7);
    struct worker_hello h;
    int image = -1;

    saved(&p);
    ck_assert_int_eq(next_order(p.target, &image), WORKER_LOAD);
    ck_assert_int_ge(image, 0);
    close(image);
    say_moved(p.target, true, false);
    wait_end(7);
    ck_assert_ptr_null(t.why);
    ck_assert_int_eq(next_order(p.source, NULL), 0);
    ck_assert_int_eq(next_order(p.target, NULL), WORKER_GO);
    g_autoptr(gpu_stats) s = gpu_counts(t.gpu, "gpu0");
    ck_assert(s->state == GPU_WORKER_STATE_SERVING && s->workers == 2 && s->used_bytes == 815);
    close(p.target);
    wait_for(GPU_WORKER_STATE_LOST);
    int next = serve();
    ck_assert_int_eq(recv(next, &h, sizeof(h), MSG_WAITALL), sizeof(h));
    ck_assert_str_eq(h.device, "1");
    close(next);
    close(p.source);
}
END_TEST

/* Where the target cannot load, makes no sense or dies, the source goes on; nothing is lost. */
START_TEST(not_loaded)
{
    struct pair p = begin_move(8);
    const unsigned told = t.told;

    if (_i == 0)
        close(p.target); /* before it served */
    else
        saved(&p);
    if (_i == 1)
        say_moved(p.target, false, false);
    if (_i == 2)
        close(p.target);
    if (_i == 3)
        report(p.target, 0x12345678, 0, sizeof(struct worker_report));
    if (_i == 4) {
        ck_assert_int_eq(next_order(p.target, NULL), WORKER_LOAD);
        ck_assert(gpu_move_cancel(t.gpu, 8));
        ck_assert(!gpu_move_cancel(t.gpu, 8));
    }
    wait_end(8);
    ck_assert_ptr_nonnull(t.why);
    ck_assert(t.cancelled == (_i == 4) && g_utf8_validate(t.why, -1, NULL));
    if (_i)
        ck_assert_int_eq(next_order(p.source, NULL), WORKER_GO);
    ck_assert_uint_eq(t.told, told);
    close(p.source);
    wait_for(GPU_WORKER_STATE_LOST);
    if (_i != 0 && _i != 2)
        close(p.target);
}
END_TEST

/* A source that says no goes on by itself; one that had saved when it was no longer to be moved is
 * told to. */
START_TEST(not_saved)
{
    struct pair p = begin_move(9);

    ready(p.target);
    ck_assert_int_eq(next_order(p.source, NULL), WORKER_SAVE);
    if (_i == 1) {
        ck_assert(gpu_move_cancel(t.gpu, 9));
        ck_assert_uint_eq(t.ended, 0);
        ck_assert_int_eq(next_order(p.target, NULL), 0);
    }
    if (_i == 2)
        say_moved(p.source, true, false); /* where is the image? */
    else
        say_moved(p.source, _i == 1, _i == 1);
    wait_end(9);
    ck_assert_ptr_nonnull(t.why);
    if (_i) {
        uint32_t ms;
        ck_assert_int_eq(recv(p.source, &ms, sizeof(ms), MSG_WAITALL), sizeof(ms));
        ck_assert_int_eq(next_order(p.source, NULL), WORKER_GO);
    }
    close(p.source);
    close(p.target);
    wait_for(GPU_WORKER_STATE_LOST);
}
END_TEST

/* A source that dies before it has saved is lost, as ever; after that the target has all that it
 * had, and only where that fails, too, it is. */
START_TEST(source_dies)
{
    struct pair p = begin_move(10);

    if (_i == 0) {
        close(p.source);
        wait_for(GPU_WORKER_STATE_LOST);
        wait_end(10);
        ck_assert_ptr_nonnull(t.why);
        close(p.target);
        return;
    }
    saved(&p);
    ck_assert_int_eq(next_order(p.target, NULL), WORKER_LOAD);
    close(p.source);
    for (unsigned i = 0; i < 20; i++)
        uv_run(&t.loop, UV_RUN_NOWAIT);
    ck_assert(t.state == GPU_WORKER_STATE_SERVING && !t.ended);
    g_autoptr(GError) busy = NULL;
    ck_assert_int_eq(gpu_serve(t.gpu, &busy), -1); /* no other comes between */
    ck_assert(g_error_matches(busy, VMD_ERROR, VMD_ERROR_BUSY));
    if (_i == 1) {
        say_moved(p.target, true, false);
        wait_end(10);
        ck_assert_ptr_null(t.why);
        ck_assert_int_eq(next_order(p.target, NULL), WORKER_GO);
    } else {
        say_moved(p.target, false, false);
        wait_for(GPU_WORKER_STATE_LOST);
        wait_end(10);
        ck_assert_ptr_nonnull(t.why);
    }
    close(p.target);
}
END_TEST

/* A source that makes no sense once it has saved takes nothing along; but what else ends a move
 * does. */
START_TEST(source_hangs)
{
    struct pair p = begin_move(11);

    saved(&p);
    ck_assert_int_eq(next_order(p.target, NULL), WORKER_LOAD);
    report(p.source, 0x12345678, 0, sizeof(struct worker_report));
    wait_for(GPU_WORKER_STATE_HUNG);
    ck_assert(!t.ended && gpu_move_job(t.gpu) == 11);
    if (_i == 0)
        say_moved(p.target, true, false);
    else if (_i == 1)
        report(p.target, 0x12345678, 0, sizeof(struct worker_report));
    else
        gpu_going(t.gpu);
    ck_assert(_i < 2 || t.ended);
    wait_end(11);
    ck_assert((t.why != NULL) == (_i > 0));
    ck_assert(_i != 1 || strstr(t.why, "sense"));
    close(p.source);
    close(p.target);
}
END_TEST

/* Without a worker the next one is at the new place; a function that goes takes its move along. */
START_TEST(without)
{
    static char two[] = "2";
    struct vm_gpu_config to = {.backend = VM_GPU_BACKEND_SOFT, .device = two, .memory = MIB(48)};
    g_autoptr(GError) err = NULL;
    struct worker_hello h;
    int none = 0;

    ck_assert(gpu_move(t.gpu, 3, &to, 5000, &none, NULL));
    ck_assert(none == -1 && t.ended == 1 && t.job == 3 && !t.why);
    int fd = serve();
    ck_assert_int_eq(recv(fd, &h, sizeof(h), MSG_WAITALL), sizeof(h));
    ck_assert_str_eq(h.device, "2");
    ck_assert(gpu_move(t.gpu, 4, &to, 5000, &none, NULL)); /* before it serves */
    gpu_going(t.gpu);
    ck_assert(t.ended == 2 && t.job == 4 && t.why);
    to.memory = MIB(64);
    ck_assert(!gpu_move(t.gpu, 5, &to, 5000, &fd, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    close(none);
    close(fd);
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
    tcase_add_test(tc, made);
    tcase_add_loop_test(tc, not_loaded, 0, 5);
    tcase_add_loop_test(tc, not_saved, 0, 3);
    tcase_add_loop_test(tc, source_dies, 0, 3);
    tcase_add_loop_test(tc, source_hangs, 0, 3);
    tcase_add_test(tc, without);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
