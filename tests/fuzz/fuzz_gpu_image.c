/*
 * A worker that is to be like another, of which the image says what it likes: sessions are loaded
 * or refused, what was loaded can be written again, and all is free after it.
 */
#include "gpu/server/engine_soft.h"
#include "gpu/server/session_priv.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static struct gpu_quota quota = {.most = MIB(32)};

static int file_of(const void *data, size_t size)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    g_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t channel[GPU_CHANNEL_BYTES];
    struct session_env env = {.backend = backend_queue_new(&engine_soft), .quota = &quota};
    struct session_seat seat = {.env = &env, .link = link_moved(channel, -1)};
    struct image image, again;
    g_autoptr(GError) err = NULL, why = NULL;
    struct session_move load = {&image, &err}, save = {&again, &why};
    autofd fd = file_of(data, size);
    autofd out = file_of("", 0);

    image_init(&image, fd);
    image_init(&again, out);
    if (session_load(&seat, &load)) {
        g_assert(session_save(&seat, &save));
        if (seat.session)
            session__free(seat.session);
    } else {
        g_assert(err && !seat.session);
    }
    image_clear(&image);
    image_clear(&again);
    link_free(seat.link);
    g_assert(quota.used == 0);
    env.backend->ops->close(env.backend);
    return 0;
}

/* --- seeds: a session with one of each ----------------------------------------------------------
 */

enum { CONTEXT = 1, MODULE, KERNEL, STREAM, EVENT, BATCH };

#define ADDRESS UINT64_C(0x700000100000)

static void item(GByteArray *out, uint32_t kind, const void *head, size_t head_bytes,
                 const void *body, size_t body_bytes)
{
    static const uint8_t zeros[8];
    const struct image_item it = {kind, (uint32_t)(head_bytes + body_bytes)};

    g_byte_array_append(out, (const uint8_t *)&it, sizeof(it));
    g_byte_array_append(out, head, (guint)head_bytes);
    g_byte_array_append(out, body, (guint)body_bytes);
    g_byte_array_append(out, zeros, -(head_bytes + body_bytes) % 8);
}

static void record(GByteArray *out, unsigned op, const void *fields, const char *payload)
{
    const struct record_desc *desc = record_desc(op);
    uint32_t bytes = (uint32_t)strlen(payload);
    struct gpu_call_head head = {
        .bytes = record_call_bytes(desc->call_bytes, bytes), .op = (uint16_t)op, .payload = bytes};
    g_autofree uint8_t *all = g_malloc0(head.bytes);

    memcpy(all, &head, sizeof(head));
    memcpy(all + sizeof(head), fields, desc->call_bytes);
    memcpy(all + sizeof(head) + desc->call_bytes, payload, bytes);
    item(out, IMAGE_RECORD, all, head.bytes, NULL, 0);
}

#define RECORD(out, op, type, payload, ...)                                                        \
    record(out, op, &(struct gpu_call_##type){__VA_ARGS__}, payload)
#define ITEM(out, kind, type, body, bytes, ...)                                                    \
    item(out, kind, &(struct image_##type){__VA_ARGS__}, sizeof(struct image_##type), body, bytes)

static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n.global .u32 g;\n"
                          ".visible .entry k() { ret; }\n";

bool fuzz_seed(unsigned n, GByteArray *out)
{
    const struct gpu_place place = {ADDRESS, 4};

    if (n > 1)
        return false;
    ITEM(out, IMAGE_SESSION, session, NULL, 0, .open = 1, .there = n == 0, .greeted = 1);
    if (n == 0) {
        RECORD(out, GPU_OP_CTX_NEW, ctx_new, "", .ctx = CONTEXT);
        RECORD(out, GPU_OP_IMAGE, image, "", .bytes = sizeof(ptx) - 1);
        RECORD(out, GPU_OP_IMAGE_PART, image_part, ptx, 0);
        ITEM(out, IMAGE_MODULE, module, &place, sizeof(place), CONTEXT, MODULE, 1, 0);
        RECORD(out, GPU_OP_FUNCTION, function, "k", MODULE, KERNEL);
        RECORD(out, GPU_OP_FUNCTION_SET, function_set, "", KERNEL, 8, 1);
        RECORD(out, GPU_OP_STREAM_NEW, stream_new, "", CONTEXT, STREAM, 1);
        RECORD(out, GPU_OP_EVENT_NEW, event_new, "", CONTEXT, EVENT);
        ITEM(out, IMAGE_EVENT, event, NULL, 0, EVENT, 12345);
        RECORD(out, GPU_OP_BATCH_NEW, batch_new, "", CONTEXT, BATCH);
        RECORD(out, GPU_OP_LIMIT, limit, "", .ctx = CONTEXT, .limit = 1, .set = 1, .value = 4096);
        ITEM(out, IMAGE_ALLOC, alloc, NULL, 0, CONTEXT, ADDRESS + 4096, 1000);
        ITEM(out, IMAGE_DATA, data, "\1\2\3\4", 4, CONTEXT, ADDRESS, 4);
        ITEM(out, IMAGE_DATA, data, NULL, 0, CONTEXT, ADDRESS + 4096, 1000, 1);
        item(out, IMAGE_PRINTED, &(uint64_t){CONTEXT}, 8, "hello", 5);
        ITEM(out, IMAGE_ERROR, error, NULL, 0, CONTEXT, GPU_ILLEGAL_ADDRESS);
    }
    item(out, IMAGE_SESSION_END, NULL, 0, NULL, 0);
    return true;
}
