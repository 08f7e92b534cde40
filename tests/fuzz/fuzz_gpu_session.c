/*
 * A session whose program says what it likes: records of all kinds, with handles that name what
 * there is, and what there is not. Whatever comes, the session answers or ends, and all that it
 * held is free after it.
 */
#include "gpu/protocol/source.h"
#include "gpu/server/compiler.h"
#include "gpu/server/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/gpu/engine_test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static struct gpu_quota quota = {.most = MIB(16)};

/* Reads what is answered, so that nobody waits for room. */
static void *reader(void *opaque)
{
    char buf[4096];

    while (read(GPOINTER_TO_INT(opaque), buf, sizeof(buf)) > 0)
        ;
    return NULL;
}

/* The program: says all of it, for which the socket has room, and is heard of no more. */
static void say(int fd, const uint8_t *data, size_t size)
{
    int room = 1 << 20;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (size)
        (void)!send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
}

/* A compiler that does nothing, or, for every other program, is gone. */
static struct compiler *no_compiler;

static struct compiler *compiler(struct gpu_backend *b)
{
    return no_compiler;
}

static const char *target(struct gpu_backend *b, unsigned device)
{
    return device ? NULL : "gfx90a";
}

static void set_compiler(struct gpu_backend *b, struct gpu_backend_ops *ops, int fds[2], bool gone)
{
    g_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
    if (gone)
        shutdown(fds[1], SHUT_RDWR);
    no_compiler = compiler_new(fds[0]);
    *ops = *b->ops;
    ops->target = target;
    ops->compiler = compiler;
    b->ops = ops;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session_env env = {.backend = backend_queue_new(&engine_test), .quota = &quota};
    struct gpu_backend_ops ops;
    pthread_t hears;
    int fds[2], compiles[2];

    set_compiler(env.backend, &ops, compiles, size % 16);
    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct link *link = link_stream(fds[0]);
    say(fds[1], data, size);
    g_assert(pthread_create(&hears, NULL, reader, GINT_TO_POINTER(fds[1])) == 0);
    session_run(&env, link);
    link_free(link);
    shutdown(fds[0], SHUT_RDWR);
    pthread_join(hears, NULL);
    close(fds[0]);
    close(fds[1]);
    g_assert(quota.used == 0);
    compiler_free(no_compiler);
    close(compiles[1]);
    env.backend->ops->close(env.backend);
    return 0;
}

/* --- seeds: a context, and calls about it -------------------------------------------------------
 */

enum { CONTEXT = 1, MODULE, KERNEL, STREAM, EVENT, BATCH, COMPILE };

static void put(GByteArray *out, unsigned op, unsigned flags, const void *fields,
                const void *payload, uint32_t bytes)
{
    const struct record_desc *desc = record_desc(op);
    struct gpu_call_head head = {.bytes = record_call_bytes(desc->call_bytes, bytes),
                                 .op = (uint16_t)op,
                                 .flags = (uint16_t)flags,
                                 .seq = out->len,
                                 .payload = bytes};
    g_autofree uint8_t *record = g_malloc0(head.bytes);

    memcpy(record, &head, sizeof(head));
    memcpy(record + sizeof(head), fields, desc->call_bytes);
    if (bytes)
        memcpy(record + sizeof(head) + desc->call_bytes, payload, bytes);
    g_byte_array_append(out, record, head.bytes);
}

#define PUT(out, op, type, ...) put(out, op, 0, &(struct gpu_call_##type){__VA_ARGS__}, NULL, 0)
#define POST(out, op, type, ...)                                                                   \
    put(out, op, GPU_CALL_ASYNC, &(struct gpu_call_##type){__VA_ARGS__}, NULL, 0)

static void begin(GByteArray *out)
{
    PUT(out, GPU_OP_HELLO, hello, .version = GPU_VERSION, .oldest = GPU_OLDEST);
    PUT(out, GPU_OP_DEVICE, device, 0);
    PUT(out, GPU_OP_CTX_NEW, ctx_new, .ctx = CONTEXT);
    PUT(out, GPU_OP_STREAM_NEW, stream_new, .ctx = CONTEXT, .stream = STREAM, .flags = 1);
    POST(out, GPU_OP_EVENT_NEW, event_new, .ctx = CONTEXT, .event = EVENT);
}

static void kernels(GByteArray *out)
{
    const struct gpu_call_image_part part = {0};
    const struct gpu_call_function function = {.module = MODULE, .function = KERNEL};

    PUT(out, GPU_OP_IMAGE, image, .bytes = 7);
    put(out, GPU_OP_IMAGE_PART, 0, &part, "kernels", 7);
    PUT(out, GPU_OP_MODULE_NEW, module_new, .ctx = CONTEXT, .module = MODULE);
    put(out, GPU_OP_FUNCTION, 0, &function, "say", 3);
    for (int i = 0; i < 3; i++)
        POST(out, GPU_OP_LAUNCH, launch, STREAM, KERNEL, 1, 1, 1, 1, 1, 1);
    PUT(out, GPU_OP_OCCUPANCY, occupancy, .function = KERNEL, .block = 32);
    PUT(out, GPU_OP_CTX_SYNC, ctx_sync, CONTEXT);
    PUT(out, GPU_OP_PRINTED, printed, CONTEXT);
    PUT(out, GPU_OP_LIMIT, limit, .ctx = CONTEXT, .limit = 1, .set = 1, .value = 4096);
    PUT(out, GPU_OP_MODULE_FREE, module_free, MODULE);
}

static void streams(GByteArray *out)
{
    PUT(out, GPU_OP_ALLOC, alloc, .ctx = CONTEXT, .bytes = 4096);
    PUT(out, GPU_OP_ALLOC_ON, alloc_on, .stream = STREAM, .bytes = 4096);
    POST(out, GPU_OP_EVENT_RECORD, event_record, EVENT, STREAM);
    POST(out, GPU_OP_STREAM_WAIT, stream_wait, CONTEXT, EVENT);
    PUT(out, GPU_OP_EVENT_SYNC, event_sync, EVENT);
    PUT(out, GPU_OP_GATE, gate, STREAM, 77);
    PUT(out, GPU_OP_GATE_OPEN, gate_open, 77);
    PUT(out, GPU_OP_STREAM_SYNC, stream_sync, STREAM);
    PUT(out, GPU_OP_STREAM_FREE, stream_free, STREAM);
    PUT(out, GPU_OP_EVENT_FREE, event_free, EVENT);
    PUT(out, GPU_OP_CTX_FREE, ctx_free, CONTEXT);
}

static void batches(GByteArray *out)
{
    g_autoptr(GByteArray) records = g_byte_array_new();
    const struct gpu_call_batch_part part = {.batch = BATCH};

    POST(records, GPU_OP_EVENT_RECORD, event_record, EVENT, 0);
    POST(records, GPU_OP_STREAM_WAIT, stream_wait, STREAM, EVENT);
    POST(records, GPU_OP_FILL, fill, 0, 4096, 64, 64, 1, 1, 1);
    POST(out, GPU_OP_BATCH_NEW, batch_new, CONTEXT, BATCH);
    put(out, GPU_OP_BATCH_PART, GPU_CALL_ASYNC, &part, records->data, records->len);
    for (int i = 0; i < 3; i++)
        POST(out, GPU_OP_BATCH_RUN, batch_run, BATCH, STREAM);
    PUT(out, GPU_OP_CTX_SYNC, ctx_sync, CONTEXT);
    PUT(out, GPU_OP_BATCH_FREE, batch_free, BATCH);
}

/* The first is answered at once, or freed while it is not. */
static void compiles(GByteArray *out)
{
    const struct {
        struct gpu_source_head head;
        char strings[4];
    } source = {{GPU_SOURCE_MAGIC, 0, 0, 0}, "a\0b"};
    const struct gpu_call_image_part part = {0};

    for (unsigned i = 0; i < 2; i++) {
        PUT(out, GPU_OP_IMAGE, image, .bytes = sizeof(source));
        put(out, GPU_OP_IMAGE_PART, 0, &part, &source, sizeof(source));
        PUT(out, GPU_OP_COMPILE, compile, .compile = COMPILE + i);
    }
    PUT(out, GPU_OP_COMPILED, compiled, .compile = COMPILE);
    PUT(out, GPU_OP_COMPILE_FREE, compile_free, .compile = COMPILE);
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static void (*const parts[])(GByteArray * out) = {kernels, streams, batches, compiles};

    if (n >= G_N_ELEMENTS(parts))
        return false;
    begin(out);
    parts[n](out);
    return true;
}
