/*
 * Sources that a session has compiled, with a test in the place of the process that compiles: what
 * it is asked, what is made of what it says, and what programs are told.
 */
#include "gpu/protocol/source.h"
#include "gpu/server/compile_priv.h"
#include "gpu/server/engine.h"
#include "tests/gpu/by_hand.h"
#include "tests/gpu/engine_test.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

static struct gpu_quota quota = {.most = MIB(16)};

/* A session whose backend has a compiler, which is the test. */
struct rig {
    struct by_hand h;
    struct gpu_backend_ops ops;
    struct compiler *compiler;
    int fd; /* the compiling process's end */
};

static struct rig *rig;

static const char *target(struct gpu_backend *b, unsigned device)
{
    return device ? NULL : "gfx90a";
}

static struct compiler *compiler(struct gpu_backend *b)
{
    return rig->compiler;
}

static void begin(struct rig *r)
{
    const struct gpu_call_hello hello = {GPU_VERSION, GPU_OLDEST};
    int fds[2];

    rig = r;
    ck_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
    r->fd = fds[1];
    r->compiler = compiler_new(fds[0]);
    r->h.env = (struct session_env){.backend = backend_queue_new(&engine_test), .quota = &quota};
    r->ops = *r->h.env.backend->ops;
    r->ops.polled = true;
    r->ops.target = target;
    r->ops.compiler = compiler;
    r->h.env.backend->ops = &r->ops;
    by_hand_begin(&r->h);
    ck_assert_int_eq(by_hand_ask(&r->h, GPU_OP_HELLO, &hello, "", 0), 0);
}

static void end(struct rig *r)
{
    by_hand_end(&r->h);
    compiler_free(r->compiler);
    close(r->fd);
    r->ops.close(r->h.env.backend);
}

static const struct {
    struct gpu_source_head head;
    char strings[8];
} source = {{GPU_SOURCE_MAGIC, 0, 0, 1}, "a\0b\0-O3"};

static void send_source(struct rig *r, size_t bytes)
{
    const struct gpu_call_image image = {.bytes = MAX(bytes, 1)};
    const struct gpu_call_image_part part = {.offset = 0};

    ck_assert_int_eq(by_hand_ask(&r->h, GPU_OP_IMAGE, &image, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&r->h, GPU_OP_IMAGE_PART, &part, &source, (uint32_t)bytes), 0);
}

/* A compile that begins; nothing is answered. */
static void compile(struct rig *r, uint64_t id)
{
    const struct gpu_call_compile call = {.compile = id};

    send_source(r, sizeof(source));
    by_hand_say(&r->h, GPU_OP_COMPILE, 0, &call, "", 0);
}

static int refused(struct rig *r, uint64_t id, uint32_t device)
{
    const struct gpu_call_compile call = {.compile = id, .device = device};

    return by_hand_ask(&r->h, GPU_OP_COMPILE, &call, "", 0);
}

static int free_it(struct rig *r, uint64_t id)
{
    const struct gpu_call_compile_free call = {.compile = id};

    return by_hand_ask(&r->h, GPU_OP_COMPILE_FREE, &call, "", 0);
}

/* The order that the process hears next; its source is the test's. */
static struct compile_order_record heard(struct rig *r, uint32_t order)
{
    struct compile_order_record got;
    uint8_t bytes[sizeof(source) + 1];
    int fd;

    ck_assert_int_eq(compile__receive(r->fd, &got, sizeof(got), &fd, 0), 1);
    ck_assert_uint_eq(got.magic, COMPILE_MAGIC);
    ck_assert_uint_eq(got.order, order);
    ck_assert_int_eq(fd >= 0, order == COMPILE_BEGIN);
    if (order == COMPILE_BEGIN) {
        ck_assert_str_eq(got.target, "gfx90a");
        ck_assert_int_eq(fcntl(fd, F_GET_SEALS),
                         F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        ck_assert_int_eq(pread(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(source));
        ck_assert_mem_eq(bytes, &source, sizeof(source));
        close(fd);
    }
    return got;
}

/* The answer to a compile: its result. */
static int answer(struct rig *r, struct gpu_answer_compile *out)
{
    struct gpu_answer_head head;

    ck_assert_int_eq(recv(r->h.fd, &head, sizeof(head), MSG_WAITALL), (ssize_t)sizeof(head));
    ck_assert_uint_eq(head.op, GPU_OP_COMPILE);
    if (!head.result)
        ck_assert_int_eq(recv(r->h.fd, out, sizeof(*out), MSG_WAITALL), (ssize_t)sizeof(*out));
    return (int)head.result;
}

static uint32_t read_part(struct rig *r, uint64_t id, unsigned part, uint64_t offset, char *to)
{
    const struct gpu_call_compiled call = {.compile = id, .offset = offset, .part = part};
    struct gpu_answer_head head;
    char rest[8];

    by_hand_say(&r->h, GPU_OP_COMPILED, 0, &call, "", 0);
    ck_assert_int_eq(recv(r->h.fd, &head, sizeof(head), MSG_WAITALL), (ssize_t)sizeof(head));
    ck_assert_uint_eq(head.result, 0);
    ck_assert(!head.payload ||
              recv(r->h.fd, to, head.payload, MSG_WAITALL) == (ssize_t)head.payload);
    ssize_t more = (ssize_t)(head.bytes - sizeof(head) - head.payload);
    ck_assert(!more || recv(r->h.fd, rest, (size_t)more, MSG_WAITALL) == more);
    return head.payload;
}

/* --- what comes of a compile ------------------------------------------------------------------ */

/* A file with SIZES of parts, of which there are BYTES bytes. */
static int file_of(uint32_t magic, const uint64_t sizes[COMPILE_PARTS], size_t bytes)
{
    struct compile_file head = {.magic = magic, .result = 0};
    int fd = memfd_create("compiled", MFD_CLOEXEC);

    memcpy(head.bytes, sizes, sizeof(head.bytes));
    if (bytes >= MIB(1)) { /* of nothing */
        ck_assert(write(fd, &head, sizeof(head)) == (ssize_t)sizeof(head) &&
                  ftruncate(fd, (off_t)(sizeof(head) + bytes)) == 0);
        return fd;
    }
    g_autofree char *parts = g_malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        parts[i] = (char)(i * 7);
    ck_assert(fd >= 0 && write(fd, &head, sizeof(head)) == (ssize_t)sizeof(head));
    ck_assert_int_eq(write(fd, parts, bytes), (ssize_t)bytes);
    return fd;
}

enum { LOG = 5, CODE = 100000, NAMES = 7 };

/* Of parts of several records each byte is where it is to be. */
START_TEST(parts)
{
    const uint64_t sizes[] = {LOG, CODE, NAMES};
    struct rig r;
    struct gpu_answer_compile got;
    char bytes[GPU_INLINE];

    begin(&r);
    compile(&r, 9);
    struct compile_report report = {COMPILE_MAGIC, 0, heard(&r, COMPILE_BEGIN).id, ""};
    autofd fd = file_of(COMPILE_MAGIC, sizes, LOG + CODE + NAMES);
    ck_assert_int_eq(compile__send(r.fd, &report, sizeof(report), fd, 0), 0);
    ck_assert_int_eq(answer(&r, &got), 0);
    ck_assert(got.result == 0 && got.log == LOG && got.code == CODE && got.names == NAMES);
    for (unsigned part = 0, begins = 0; part < COMPILE_PARTS; begins += sizes[part++]) {
        uint32_t n;
        uint64_t at = 0;
        while ((n = read_part(&r, 9, part, at, bytes)) > 0) {
            for (uint32_t i = 0; i < n; i++)
                ck_assert_int_eq(bytes[i], (char)((begins + at + i) * 7));
            at += n;
        }
        ck_assert_uint_eq(at, sizes[part]);
    }
    ck_assert_uint_eq(read_part(&r, 9, 1, UINT64_MAX, bytes), 0);
    ck_assert_int_eq(free_it(&r, 9), 0);
    ck_assert_int_eq(free_it(&r, 9), GPU_INVALID_HANDLE);
    end(&r);
}
END_TEST

static const struct says {
    const char *name;
    uint32_t magic, result; /* of the report; what is to be answered in the end */
    enum { TEXT, NO_END, A_FILE, OTHER_FILE, A_PIPE, NOTHING, HALF, GONE } what;
    uint64_t sizes[COMPILE_PARTS];
    size_t bytes;
    uint32_t want;
    uint64_t log; /* bytes of it; 0: some */
} says[] = {
    {"an error", COMPILE_MAGIC, COMPILE_ERROR, TEXT, {0}, 0, COMPILE_ERROR, 5},
    {"an error that is none", COMPILE_MAGIC, 0, TEXT, {0}, 0, COMPILE_INTERNAL, 5},
    {"a text without an end", COMPILE_MAGIC, 6, NO_END, {0}, 0, COMPILE_ERROR, COMPILE_TEXT - 1},
    {"a file of nothing", COMPILE_MAGIC, 0, A_FILE, {0, 0, 0}, 0, 0, 0},
    {"a file of something else", COMPILE_MAGIC, 0, OTHER_FILE, {0, 0, 0}, 0, 11, 0},
    {"a file that is too short", COMPILE_MAGIC, 0, A_FILE, {3, 4, 5}, 11, COMPILE_INTERNAL, 0},
    {"a file that is too long", COMPILE_MAGIC, 0, A_FILE, {3, 4, 5}, 13, COMPILE_INTERNAL, 0},
    {"sizes that overflow", COMPILE_MAGIC, 0, A_FILE, {UINT64_MAX, 2, 0}, 1, COMPILE_INTERNAL, 0},
    {"a part that is too large", COMPILE_MAGIC, 0, A_FILE, {0, 1ull << 40, 0}, 1, 11, 0},
    {"a pipe", COMPILE_MAGIC, 0, A_PIPE, {0}, 0, COMPILE_INTERNAL, 0},
    {"half a report", COMPILE_MAGIC, 0, HALF, {0}, 0, COMPILE_INTERNAL, 0},
    {"nothing any more", COMPILE_MAGIC, 0, GONE, {0}, 0, COMPILE_INTERNAL, 0},
};

static void say(struct rig *r, const struct says *s, uint64_t id)
{
    struct compile_report report = {s->magic, s->result, id, "oh no"};
    int fds[2] = {-1, -1};

    if (s->what == NO_END)
        memset(report.text, 'x', sizeof(report.text));
    if (s->what == A_FILE || s->what == OTHER_FILE)
        fds[0] = file_of(s->what == A_FILE ? COMPILE_MAGIC : 1, s->sizes, s->bytes);
    if (s->what == A_PIPE)
        ck_assert(pipe(fds) == 0);
    size_t bytes = s->what == HALF ? sizeof(report) / 2 : sizeof(report);
    if (s->what == GONE)
        shutdown(r->fd, SHUT_RDWR);
    else
        ck_assert_int_eq(compile__send(r->fd, &report, bytes, fds[0], 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* What is answered, whatever the process says; and what is said of a compile that is none is not
 * heard. */
START_TEST(reports)
{
    const struct says *s = &says[_i];
    const struct says stranger = {"", COMPILE_MAGIC, 6, TEXT, {0}, 0, 0, 0};
    struct rig r;
    struct gpu_answer_compile got;
    char bytes[GPU_INLINE];

    begin(&r);
    compile(&r, 1);
    uint64_t id = heard(&r, COMPILE_BEGIN).id;
    say(&r, &stranger, id + 77);
    say(&r, s, id);
    ck_assert_int_eq(answer(&r, &got), 0);
    ck_assert_msg(got.result == s->want, "%s: result %u", s->name, got.result);
    if (s->want)
        ck_assert_msg(s->log ? got.log == s->log : got.log > 0, "%s: a log of %d", s->name,
                      (int)got.log);
    ck_assert_msg(read_part(&r, 1, 0, 0, bytes) == got.log, "%s", s->name);
    ck_assert_int_eq(free_it(&r, 1), 0);
    end(&r);
}
END_TEST

/* --- programs --------------------------------------------------------------------------------- */

START_TEST(mistakes)
{
    const struct gpu_call_compiled early = {.compile = 1};
    struct rig r;

    begin(&r);
    send_source(&r, sizeof(source) - 1);
    ck_assert_int_eq(refused(&r, 1, 0), GPU_INVALID_VALUE);
    ck_assert_int_eq(refused(&r, 1, 0), GPU_INVALID_VALUE); /* it is gone */
    send_source(&r, sizeof(source));
    ck_assert_int_eq(refused(&r, 1, 1), GPU_INVALID_DEVICE);
    compile(&r, 1);
    ck_assert_int_eq(by_hand_ask(&r.h, GPU_OP_COMPILED, &early, "", 0), GPU_NOT_READY);
    send_source(&r, sizeof(source));
    ck_assert_int_eq(refused(&r, 1, 0), GPU_INVALID_HANDLE);
    for (uint64_t i = 2; i <= LIMIT_GPU_COMPILES; i++)
        compile(&r, i);
    send_source(&r, sizeof(source));
    ck_assert_int_eq(refused(&r, LIMIT_GPU_COMPILES + 1, 0), GPU_OUT_OF_RESOURCES);
    r.ops.compiler = NULL;
    ck_assert_int_eq(refused(&r, 99, 0), GPU_NOT_SUPPORTED);
    end(&r);
}
END_TEST

/* One that is freed, or whose program goes, is ended; the others are answered. */
START_TEST(ends)
{
    struct rig r;
    struct gpu_answer_compile got;
    uint64_t ids[3];

    begin(&r);
    for (unsigned i = 0; i < 3; i++) {
        compile(&r, i + 1);
        ids[i] = heard(&r, COMPILE_BEGIN).id;
    }
    const struct gpu_call_compile_free call = {.compile = 2};
    by_hand_say(&r.h, GPU_OP_COMPILE_FREE, 0, &call, "", 0);
    ck_assert_int_eq(answer(&r, &got), GPU_INVALID_HANDLE);
    ck_assert_uint_eq(heard(&r, COMPILE_END).id, ids[1]);
    struct gpu_answer_head freed;
    ck_assert_int_eq(recv(r.h.fd, &freed, sizeof(freed), MSG_WAITALL), (ssize_t)sizeof(freed));
    ck_assert(freed.op == GPU_OP_COMPILE_FREE && !freed.result);
    say(&r, &says[0], ids[1]); /* too late */
    say(&r, &says[0], ids[2]);
    ck_assert_int_eq(answer(&r, &got), 0);
    ck_assert_uint_eq(got.result, COMPILE_ERROR);
    shutdown(r.h.fd, SHUT_RDWR); /* the program goes: only the first is not over */
    ck_assert_uint_eq(heard(&r, COMPILE_END).id, ids[0]);
    end(&r);
}
END_TEST

/* Freed while its program waits for it: two answers. */
static void free_early(struct rig *r, uint64_t id)
{
    const struct gpu_call_compile_free call = {.compile = id};
    struct gpu_answer_compile got;
    struct gpu_answer_head freed;

    by_hand_say(&r->h, GPU_OP_COMPILE_FREE, 0, &call, "", 0);
    ck_assert_int_eq(answer(r, &got), GPU_INVALID_HANDLE);
    ck_assert_int_eq(recv(r->h.fd, &freed, sizeof(freed), MSG_WAITALL), (ssize_t)sizeof(freed));
    ck_assert(freed.op == GPU_OP_COMPILE_FREE && !freed.result);
}

/* Those that were ended count until the process says that they are over. */
START_TEST(ended_count)
{
    struct rig r;
    struct gpu_answer_compile got;
    uint64_t first = 0;

    begin(&r);
    for (uint64_t i = 1; i <= LIMIT_GPU_COMPILES_ALL; i++) {
        compile(&r, i);
        uint64_t id = heard(&r, COMPILE_BEGIN).id;
        first = first ? first : id;
        free_early(&r, i);
        ck_assert_uint_eq(heard(&r, COMPILE_END).id, id);
    }
    send_source(&r, sizeof(source));
    ck_assert_int_eq(refused(&r, 1000, 0), GPU_OUT_OF_RESOURCES);
    say(&r, &says[0], first);
    compile(&r, 1001);
    say(&r, &says[0], heard(&r, COMPILE_BEGIN).id);
    ck_assert_int_eq(answer(&r, &got), 0);
    ck_assert_uint_eq(got.result, COMPILE_ERROR);
    ck_assert_int_eq(free_it(&r, 1001), 0);
    end(&r);
}
END_TEST

/* What came of sources counts until it is freed. */
START_TEST(held)
{
    const struct says most = {"",
                              COMPILE_MAGIC,
                              0,
                              A_FILE,
                              {MIB(LIMIT_GPU_COMPILED_MIB), 0, 0},
                              MIB(LIMIT_GPU_COMPILED_MIB),
                              0,
                              0};
    enum { FIT = LIMIT_GPU_COMPILES_MIB / LIMIT_GPU_COMPILED_MIB - 1 };
    struct rig r;
    struct gpu_answer_compile got;

    begin(&r);
    for (uint64_t i = 1; i <= FIT + 1; i++) {
        compile(&r, i);
        say(&r, &most, heard(&r, COMPILE_BEGIN).id);
        ck_assert_int_eq(answer(&r, &got), 0);
        ck_assert_uint_eq(got.result, i <= FIT ? 0 : COMPILE_INTERNAL);
    }
    ck_assert_int_eq(free_it(&r, 1), 0);
    ck_assert_int_eq(free_it(&r, FIT + 1), 0);
    compile(&r, 99);
    say(&r, &most, heard(&r, COMPILE_BEGIN).id);
    ck_assert_int_eq(answer(&r, &got), 0);
    ck_assert_uint_eq(got.result, 0);
    end(&r);
}
END_TEST

/* --- records ---------------------------------------------------------------------------------- */

static int lowest_free(void)
{
    int fd = dup(STDOUT_FILENO);

    close(fd);
    return fd;
}

/* A record with N descriptors. */
static void send_files(int socket, const void *at, size_t bytes, unsigned n)
{
    const int files[] = {0, 1, 2};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(files))] = {0};
    struct iovec iov = {(void *)(uintptr_t)at, bytes};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), files, n * sizeof(int));
    ck_assert_int_eq(sendmsg(socket, &msg, 0), (ssize_t)bytes);
}

/* One descriptor is taken; of more, or with a record that is none, all are closed. */
START_TEST(descriptors)
{
    static const struct {
        size_t bytes;
        unsigned n;
        int want;
    } cases[] = {{4, 1, 1}, {4, 2, -EPROTO}, {4, 3, -EPROTO}, {3, 1, -EPROTO}, {0, 1, -EPROTO}};
    int fds[2], fd;
    char record[4];

    ck_assert(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) == 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        int before = lowest_free();
        send_files(fds[0], "abcd", cases[i].bytes, cases[i].n);
        ck_assert_int_eq(compile__receive(fds[1], record, sizeof(record), &fd, 0), cases[i].want);
        ck_assert_int_eq(fd >= 0, cases[i].want == 1);
        if (fd >= 0)
            close(fd);
        ck_assert_int_eq(lowest_free(), before);
    }
    close(fds[0]);
    ck_assert_int_eq(compile__receive(fds[1], record, sizeof(record), &fd, 0), 0);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-compile");
    TCase *tc = tcase_create("gpu-compile");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, parts);
    tcase_add_loop_test(tc, reports, 0, G_N_ELEMENTS(says));
    tcase_add_test(tc, mistakes);
    tcase_add_test(tc, ends);
    tcase_add_test(tc, ended_count);
    tcase_add_test(tc, held);
    tcase_add_test(tc, descriptors);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
