/* Sessions that are written and made again: files of them, and what is refused. */
#include "gpu/server/engine_soft.h"
#include "gpu/server/session_priv.h"
#include "gpu/server/worker.h"
#include "tests/unit/unit.h"

#include <sys/mman.h>

#undef fail /* Check's, of old */

enum { CONTEXT = 1, MODULE, KERNEL, STREAM, EVENT, NEVER, BATCH, WRONG };

static const char ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                          ".global .u32 answer = 42;\n.visible .entry k() { ret; }\n";

struct rig {
    struct gpu_quota quota;
    struct session_env env;
    struct session_seat seat;
    uint8_t *channel;
};

static void rig_init(struct rig *r)
{
    *r = (struct rig){.quota = {.most = MIB(8)}};
    r->channel = g_malloc0(GPU_CHANNEL_BYTES);
    r->env = (struct session_env){backend_queue_new(&engine_soft), &r->quota};
    r->seat = (struct session_seat){.env = &r->env, .link = link_moved(r->channel, -1)};
}

/* Nothing is left of its session. */
static void rig_clear(struct rig *r)
{
    g_clear_pointer(&r->seat.session, session__free);
    link_free(r->seat.link);
    ck_assert_uint_eq(r->quota.used, 0);
    ck_assert_uint_eq(r->quota.contexts, 0);
    while (
        __atomic_load_n(&r->quota.streams, __ATOMIC_RELAXED)) /* their threads count to the last */
        g_usleep(100);
    r->env.backend->ops->close(r->env.backend);
    g_free(r->channel);
}

static int file_new(void)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static const struct image_head head = {
    .magic = IMAGE_MAGIC, .version = IMAGE_VERSION, .channels = 1, .backend = "soft"};

static void save(struct rig *r, int fd)
{
    struct image image;
    g_autoptr(GError) err = NULL;
    struct session_move move = {&image, &err};

    image_init(&image, fd);
    image_begin(&image, &head);
    ck_assert_msg(session_save(&r->seat, &move), "%s", err ? err->message : "?");
    ck_assert(image_finish(&image, NULL));
    image_clear(&image);
}

static bool load(struct rig *r, int fd, GError **err)
{
    struct image image;
    struct image_head had;
    struct session_move move = {&image, err};

    image_init(&image, fd);
    bool ok = image_open(&image, &had, err) && session_load(&r->seat, &move);
    image_clear(&image);
    return ok;
}

static GBytes *contents(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    uint8_t *all = g_malloc((size_t)size);

    ck_assert_int_eq(pread(fd, all, (size_t)size, 0), size);
    return g_bytes_new_take(all, (gsize)size);
}

/* --- a session that has one of each ------------------------------------------------------------
 */

static int say(struct rig *r, unsigned op, const void *fields, const void *payload, uint32_t bytes)
{
    const struct record_desc *desc = record_desc(op);
    struct gpu_call_head call = {
        .bytes = record_call_bytes(desc->call_bytes, bytes), .op = (uint16_t)op, .payload = bytes};
    g_autofree uint8_t *record = g_malloc0(call.bytes);

    memcpy(record, &call, sizeof(call));
    memcpy(record + sizeof(call), fields, desc->call_bytes);
    if (bytes)
        memcpy(record + sizeof(call) + desc->call_bytes, payload, bytes);
    return session__replay(r->seat.session, record, call.bytes);
}

#define SAY(r, op, type, payload, bytes, ...)                                                      \
    ck_assert_int_eq(say(r, op, &(struct gpu_call_##type){__VA_ARGS__}, payload, bytes), 0)

static struct object *object_of(struct rig *r, enum object_kind kind, uint64_t id)
{
    struct object *o = session__find(r->seat.session, kind, id);

    ck_assert_ptr_nonnull(o);
    return o;
}

static void wait_idle(struct rig *r)
{
    while (OPS(r->seat.session)->context_query(object_of(r, OBJECT_CONTEXT, CONTEXT)->ctx) ==
           GPU_NOT_READY)
        g_usleep(100);
}

/* Where the allocation is that holds the text "bytes". */
static uint64_t fill(struct rig *r)
{
    struct gpu_context *c;
    uint64_t address;

    SAY(r, GPU_OP_CTX_NEW, ctx_new, NULL, 0, .ctx = CONTEXT);
    SAY(r, GPU_OP_CTX_NEW, ctx_new, NULL, 0, .ctx = WRONG);
    SAY(r, GPU_OP_IMAGE, image, NULL, 0, .bytes = sizeof(ptx) - 1);
    SAY(r, GPU_OP_IMAGE_PART, image_part, ptx, sizeof(ptx) - 1, 0);
    SAY(r, GPU_OP_MODULE_NEW, module_new, NULL, 0, CONTEXT, MODULE);
    SAY(r, GPU_OP_FUNCTION, function, "k", 1, MODULE, KERNEL);
    SAY(r, GPU_OP_FUNCTION_SET, function_set, NULL, 0, KERNEL, 8, 1);
    SAY(r, GPU_OP_FUNCTION_SET, function_set, NULL, 0, KERNEL, 8, 2);
    SAY(r, GPU_OP_STREAM_NEW, stream_new, NULL, 0, CONTEXT, STREAM, 1);
    SAY(r, GPU_OP_EVENT_NEW, event_new, NULL, 0, CONTEXT, EVENT);
    SAY(r, GPU_OP_EVENT_NEW, event_new, NULL, 0, CONTEXT, NEVER);
    SAY(r, GPU_OP_EVENT_RECORD, event_record, NULL, 0, EVENT, STREAM);
    SAY(r, GPU_OP_BATCH_NEW, batch_new, NULL, 0, CONTEXT, BATCH);
    SAY(r, GPU_OP_LIMIT, limit, NULL, 0, .ctx = CONTEXT, .limit = 1, .set = 1, .value = 4096);
    SAY(r, GPU_OP_IMAGE, image, NULL, 0, .bytes = 100);
    SAY(r, GPU_OP_IMAGE_PART, image_part, "part", 4, 0);
    c = object_of(r, OBJECT_CONTEXT, CONTEXT)->ctx;
    ck_assert_int_eq(OPS(r->seat.session)->alloc(c, 100000, &address), 0);
    ck_assert_int_eq(OPS(r->seat.session)->move->write(c, address + 70000, "bytes", 5), 0);
    OPS(r->seat.session)->move->print_back(c, "printed", 7);
    OPS(r->seat.session)->move->fail(object_of(r, OBJECT_CONTEXT, WRONG)->ctx, GPU_ILLEGAL_ADDRESS);
    wait_idle(r);
    return address;
}

static void begin(struct rig *r)
{
    rig_init(r);
    link_adopt(r->seat.link, &(struct link_state){7, 64, 128}, true);
    r->seat.session = session__new(&r->env, r->seat.link, &r->seat);
    r->seat.session->greeted = true;
    r->seat.session->late = GPU_INVALID_VALUE;
}

/* What was made again is the same: also by what it is written as. */
START_TEST(round_trip)
{
    struct rig one, two;
    g_autoptr(GError) err = NULL;
    autofd first = file_new(), second = file_new();
    uint64_t answer, bytes, ns, was;
    char text[8] = "";

    begin(&one);
    uint64_t address = fill(&one);
    struct object *module = object_of(&one, OBJECT_MODULE, MODULE);
    ck_assert_int_eq(
        OPS(one.seat.session)->global(module->context->ctx, module->mod, "answer", &answer, &bytes),
        0);
    ck_assert_int_eq(
        OPS(one.seat.session)->move->write(module->context->ctx, answer, "\1\2\3\4", 4), 0);
    /* A variable is no allocation of the program's. */
    ck_assert_int_eq(say(&one, GPU_OP_FREE, &(struct gpu_call_free){CONTEXT, answer}, NULL, 0),
                     GPU_INVALID_VALUE);
    ck_assert_int_eq(say(&one, GPU_OP_FREE_ON, &(struct gpu_call_free_on){STREAM, answer}, NULL, 0),
                     GPU_INVALID_VALUE);
    save(&one, first);
    rig_init(&two);
    ck_assert_msg(load(&two, first, &err), "%s", err ? err->message : "?");
    struct session *s = two.seat.session;
    struct gpu_context *c = object_of(&two, OBJECT_CONTEXT, CONTEXT)->ctx;
    ck_assert_int_eq(s->late, GPU_INVALID_VALUE);
    ck_assert_int_eq(OPS(s)->move->read(c, address + 70000, text, 5), 0);
    ck_assert_str_eq(text, "bytes");
    module = object_of(&two, OBJECT_MODULE, MODULE);
    was = answer;
    ck_assert_int_eq(OPS(s)->global(c, module->mod, "answer", &answer, &bytes), 0);
    ck_assert_uint_eq(answer, was);
    ck_assert_int_eq(OPS(s)->move->read(c, answer, text, 4), 0);
    ck_assert_mem_eq(text, "\1\2\3\4", 4);
    ck_assert(OPS(s)->move->event_time(object_of(&two, OBJECT_EVENT, EVENT)->event, &ns));
    ck_assert(!OPS(s)->move->event_time(object_of(&two, OBJECT_EVENT, NEVER)->event, &was));
    ck_assert_int_eq(OPS(s)->context_query(object_of(&two, OBJECT_CONTEXT, WRONG)->ctx),
                     GPU_ILLEGAL_ADDRESS);
    ck_assert_uint_eq(OPS(s)->printed(c, NULL, 0), 7);
    ck_assert_uint_eq(s->image->len, 4);
    ck_assert_uint_eq(one.quota.used, two.quota.used);
    struct link_state state;
    link_state(two.seat.link, &state);
    ck_assert(state.open == 7 && state.calls == 64 && state.answers == 128);
    save(&two, second);
    g_autoptr(GBytes) a = contents(first), b = contents(second);
    ck_assert(g_bytes_equal(a, b));
    rig_clear(&one);
    rig_clear(&two);
}
END_TEST

/* A channel that no program has. */
START_TEST(nobody)
{
    struct rig one, two;
    autofd fd = file_new();

    rig_init(&one);
    save(&one, fd);
    rig_init(&two);
    ck_assert(load(&two, fd, NULL));
    ck_assert_ptr_null(two.seat.session);
    rig_clear(&one);
    rig_clear(&two);
}
END_TEST

/* Whatever byte is another, the file is refused; and so is one that ends early. */
START_TEST(damage)
{
    struct rig one, two;
    autofd fd = file_new();

    begin(&one);
    SAY(&one, GPU_OP_CTX_NEW, ctx_new, NULL, 0, .ctx = CONTEXT);
    save(&one, fd);
    rig_clear(&one);
    g_autoptr(GBytes) all = contents(fd);
    const uint8_t *data = g_bytes_get_data(all, NULL);
    off_t size = (off_t)g_bytes_get_size(all);
    rig_init(&two);
    for (off_t at = 0; at < size; at++) {
        g_autoptr(GError) err = NULL;
        uint8_t other = data[at] ^ 0x10;
        ck_assert_int_eq(pwrite(fd, &other, 1, at), 1);
        ck_assert_msg(!load(&two, fd, &err), "byte %ld", (long)at);
        ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
        ck_assert_int_eq(pwrite(fd, data + at, 1, at), 1);
    }
    while (--size >= 0) {
        ck_assert_int_eq(ftruncate(fd, size), 0);
        ck_assert_msg(!load(&two, fd, NULL), "%ld bytes", (long)size);
    }
    rig_clear(&two);
}
END_TEST

/* A device that has less memory; the session that could not be made leaves nothing. */
START_TEST(no_room)
{
    struct rig one, two;
    g_autoptr(GError) err = NULL;
    autofd fd = file_new();

    begin(&one);
    fill(&one);
    save(&one, fd);
    rig_init(&two);
    two.quota.most = one.quota.used - 1;
    ck_assert(!load(&two, fd, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    ck_assert_ptr_null(two.seat.session);
    rig_clear(&one);
    rig_clear(&two);
}
END_TEST

/* --- sessions that do not come to rest ----------------------------------------------------------
 */

static void *post(void *opaque)
{
    const struct gpu_answer_head answer = {.bytes = sizeof(answer)};

    while (link_post(opaque, &answer, sizeof(answer)))
        ;
    return NULL;
}

/* What a worker says that is to be saved, and whose first session does not come to rest. */
static void expect_refusal(const struct session_env *env, struct worker_seats *seats,
                           const char *text)
{
    g_autoptr(GError) err = NULL;

    ck_assert_int_eq(worker_save(env, seats, 10, &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_TIMEOUT));
    ck_assert_msg(strstr(err->message, text) != NULL, "%s", err->message);
}

/* A program that takes no answers is told from one whose work does not end. */
START_TEST(not_at_rest)
{
    g_autofree uint8_t *channel = g_malloc0(GPU_CHANNEL_BYTES);
    volatile struct gpu_channel *shared = (volatile struct gpu_channel *)channel;
    struct worker_seats seats = {.hold = hold_new(GPU_CHANNELS, false)};
    struct rig r;

    rig_init(&r);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        seats.seats[i].link = i ? link_moved(r.channel, -1) : link_ring(channel, -1);
    expect_refusal(&r.env, &seats, "what the program of channel 0 has the GPU do does not end");
    gpu_store(&shared->guest_open, 1);
    ck_assert(link_open(seats.seats[0].link));
    GThread *thread = g_thread_new("post", post, seats.seats[0].link);
    while (!link_full(seats.seats[0].link))
        g_usleep(1000);
    expect_refusal(&r.env, &seats, "the program of channel 0 takes no answers");
    gpu_store(&shared->guest_open, 0);
    g_thread_join(thread);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        link_free(seats.seats[i].link);
    hold_free(seats.hold);
    rig_clear(&r);
}
END_TEST

/* --- files that say what cannot be --------------------------------------------------------------
 */

#define ADDRESS UINT64_C(0x700000100000)

struct lie {
    const char *name;
    enum image_kind kind;
    const void *body;
    size_t bytes;
};

#define LIE(text, kind, type, ...)                                                                 \
    {                                                                                              \
        text, kind, &(const struct image_##type){__VA_ARGS__}, sizeof(struct image_##type)         \
    }

static const struct lie lies[] = {
    {"an unknown kind", 77, NULL, 0},
    {"the end in a session", IMAGE_END, "12345678", 8},
    LIE("a session in a session", IMAGE_SESSION, session, .open = 1, .there = 1),
    {"half a record", IMAGE_RECORD, "12345678", 8},
    {"no record", IMAGE_RECORD, "12345678123456781234567812345678", 32},
    LIE("a module of no context", IMAGE_MODULE, module, 99, 1),
    LIE("a module of no image", IMAGE_MODULE, module, CONTEXT, MODULE),
    LIE("places that do not follow", IMAGE_MODULE, module, CONTEXT, MODULE, UINT32_MAX, UINT32_MAX),
    {"half a module", IMAGE_MODULE, "12345678", 8},
    LIE("memory of no context", IMAGE_ALLOC, alloc, 99, ADDRESS, 4096),
    LIE("memory nowhere", IMAGE_ALLOC, alloc, CONTEXT, 0, 4096),
    LIE("memory at no address", IMAGE_ALLOC, alloc, CONTEXT, ADDRESS + 1, 4096),
    LIE("memory over the end", IMAGE_ALLOC, alloc, CONTEXT, (UINT64_C(1) << 48) - 512, 4096),
    LIE("no memory", IMAGE_ALLOC, alloc, CONTEXT, ADDRESS, 0),
    LIE("more memory than there is", IMAGE_ALLOC, alloc, CONTEXT, ADDRESS, GIB(1)),
    LIE("all memory", IMAGE_ALLOC, alloc, CONTEXT, ADDRESS, UINT64_MAX),
    LIE("data nowhere", IMAGE_DATA, data, CONTEXT, ADDRESS, 8, 1),
    LIE("data that do not follow", IMAGE_DATA, data, CONTEXT, ADDRESS, 8, 0),
    LIE("no data", IMAGE_DATA, data, CONTEXT, ADDRESS, 0, 1),
    LIE("an event that is none", IMAGE_EVENT, event, CONTEXT, 1),
    LIE("an error that is none", IMAGE_ERROR, error, CONTEXT, 0),
    LIE("an error that is no end", IMAGE_ERROR, error, CONTEXT, GPU_NOT_READY),
    LIE("an error of no context", IMAGE_ERROR, error, 99, GPU_ILLEGAL_ADDRESS),
    {"prints of no context", IMAGE_PRINTED, "12345678hello", 13},
};

/* What becomes of a file that may have MOST bytes (0: any number); its size to *BYTES. */
static bool write_most(uint64_t most, off_t *bytes, GError **err)
{
    g_autofree uint8_t *body = g_malloc0(IMAGE_CHUNK);
    autofd fd = file_new();
    struct image image;

    image_init(&image, fd);
    image.most = most;
    image_begin(&image, &head);
    for (unsigned i = 0; i < 8; i++)
        image_put(&image, IMAGE_DATA, NULL, 0, body, IMAGE_CHUNK);
    bool ok = image_finish(&image, err);
    image_clear(&image);
    *bytes = lseek(fd, 0, SEEK_END);
    return ok;
}

/* A file that would become larger than it may is written no more, and that is told. */
START_TEST(bounded)
{
    off_t whole, bytes;

    ck_assert(write_most(0, &whole, NULL));
    ck_assert_int_gt(whole, 8 * IMAGE_CHUNK);
    ck_assert(write_most((uint64_t)whole, &bytes, NULL));
    ck_assert_int_eq(bytes, whole);
    for (off_t most = whole - 1; most > 0; most = most == 1 ? 0 : most / 3 + 1) {
        g_autoptr(GError) err = NULL;
        ck_assert(!write_most((uint64_t)most, &bytes, &err));
        ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
        ck_assert_int_le(bytes, most);
    }
}
END_TEST

START_TEST(lie)
{
    const struct lie *l = &lies[_i];
    const struct image_session session = {.open = 1, .there = 1, .greeted = 1};
    const struct gpu_call_head call = {.bytes = 32, .op = GPU_OP_CTX_NEW};
    const struct gpu_call_ctx_new context = {.ctx = CONTEXT};
    struct image image;
    struct rig r;
    g_autoptr(GError) err = NULL;
    autofd fd = file_new();

    image_init(&image, fd);
    image_begin(&image, &head);
    image_put(&image, IMAGE_SESSION, &session, sizeof(session), NULL, 0);
    image_put(&image, IMAGE_RECORD, &call, sizeof(call), &context, sizeof(context));
    image_put(&image, l->kind, l->body, l->bytes, NULL, 0);
    image_put(&image, IMAGE_SESSION_END, NULL, 0, NULL, 0);
    image_finish(&image, NULL);
    image_clear(&image);
    rig_init(&r);
    ck_assert_msg(!load(&r, fd, &err), "%s", l->name);
    ck_assert_msg(err != NULL, "%s", l->name);
    rig_clear(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-move");
    TCase *tc = tcase_create("images");

    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, nobody);
    tcase_add_test(tc, damage);
    tcase_add_test(tc, no_room);
    tcase_add_test(tc, bounded);
    tcase_add_test(tc, not_at_rest);
    tcase_add_loop_test(tc, lie, 0, G_N_ELEMENTS(lies));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
