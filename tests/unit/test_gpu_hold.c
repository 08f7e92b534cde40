/* Launches that wait for the meter with a driver's streams: when that gives way, and when not. */
#include "tests/gpu/by_hand.h"
#include "tests/gpu/engine_test.h"
#include "tests/unit/unit.h"

enum {
    CONTEXT = 1,
    MODULE,
    KERNEL,
    STREAM,
    OTHER, /* a context, with a stream */
    ITS_STREAM,
    GATE,
    LOOKS =
        1500, /* of a session that holds a launch: over half a second, and so more than it gives */
};

/* A driver whose launches are in flight until the test says that they are over. */
static struct {
    GMutex lock;
    GCond changed;
    unsigned launches, looks;
    bool value;                    /* what streams wait for is there */
    unsigned asked;                /* of events and streams, how far they are */
    unsigned records, most;        /* of an event since one came, and the most there were */
    struct meter_program *program; /* of the context */
    const struct gpu_backend_ops *real;
} driver;

static bool driver_look(struct gpu_quota *program)
{
    g_mutex_lock(&driver.lock);
    driver.looks++;
    g_cond_broadcast(&driver.changed);
    g_mutex_unlock(&driver.lock);
    return false;
}

static int driver_context(struct gpu_backend *b, unsigned device, struct gpu_quota *quota,
                          void (*wake)(void *opaque), void *opaque, struct gpu_context **out)
{
    driver.program = quota->program;
    return driver.real->context_new(b, device, quota, wake, opaque, out);
}

static int driver_launch(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *l)
{
    meter_submit(driver.program);
    g_mutex_lock(&driver.lock);
    driver.launches++;
    g_cond_broadcast(&driver.changed);
    g_mutex_unlock(&driver.lock);
    return GPU_SUCCESS;
}

static void stand(void *opaque)
{
    g_mutex_lock(&driver.lock);
    while (!driver.value)
        g_cond_wait(&driver.changed, &driver.lock);
    g_mutex_unlock(&driver.lock);
}

static int driver_wait(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes,
                       unsigned compare)
{
    return driver.real->host(s, stand, NULL);
}

static void set_value(bool value)
{
    g_mutex_lock(&driver.lock);
    driver.value = value;
    g_cond_broadcast(&driver.changed);
    g_mutex_unlock(&driver.lock);
}

static void count_question(void)
{
    g_mutex_lock(&driver.lock);
    driver.asked++;
    g_mutex_unlock(&driver.lock);
}

static int driver_stream_query(struct gpu_stream *s)
{
    count_question();
    return driver.real->stream_query(s);
}

static int driver_event_query(struct gpu_event *e)
{
    int rc = driver.real->event_query(e);

    count_question();
    g_mutex_lock(&driver.lock);
    if (rc != GPU_NOT_READY)
        driver.records = 0;
    g_mutex_unlock(&driver.lock);
    return rc;
}

static int driver_event_record(struct gpu_event *e, struct gpu_stream *s)
{
    g_mutex_lock(&driver.lock);
    driver.records++;
    driver.most = MAX(driver.most, driver.records);
    g_mutex_unlock(&driver.lock);
    return driver.real->event_record(e, s);
}

/* What runs in a context that ends is over. */
static void driver_context_end(struct gpu_context *c)
{
    set_value(true);
    driver.real->context_end(c);
}

static int no_event(struct gpu_context *c, unsigned flags, struct gpu_event **out)
{
    return GPU_OUT_OF_MEMORY;
}

static void expect_launches(unsigned n)
{
    g_mutex_lock(&driver.lock);
    while (driver.launches < n)
        g_cond_wait(&driver.changed, &driver.lock);
    ck_assert_uint_eq(driver.launches, n);
    g_mutex_unlock(&driver.lock);
}

/* No more of them, for longer than a hold that gives way lasts. */
static void expect_held(unsigned n)
{
    g_mutex_lock(&driver.lock);
    for (unsigned until = driver.looks + LOOKS; driver.looks < until && driver.launches == n;)
        g_cond_wait(&driver.changed, &driver.lock);
    ck_assert_uint_eq(driver.launches, n);
    g_mutex_unlock(&driver.lock);
}

/* --- a program -------------------------------------------------------------------------------- */

static struct {
    struct gpu_quota quota;
    struct by_hand h;
    struct gpu_backend_ops ops;
    union {
        struct share_grant grant;
        uint8_t page[SHARE_PAGE];
    } shared;
} t;

#define ASK(op, type, payload, bytes, ...)                                                         \
    ck_assert_int_eq(                                                                              \
        by_hand_ask(&t.h, op, &(struct gpu_call_##type){__VA_ARGS__}, payload, bytes), 0)

static void begin(bool events)
{
    t.quota.most = MIB(16);
    t.h.env = (struct session_env){.backend = backend_queue_new(&engine_test), .quota = &t.quota};
    driver.real = t.h.env.backend->ops;
    t.ops = *driver.real;
    t.ops.meter_look = driver_look;
    t.ops.context_new = driver_context;
    t.ops.launch = driver_launch;
    t.ops.value_wait = driver_wait;
    t.ops.stream_query = driver_stream_query;
    t.ops.event_query = driver_event_query;
    t.ops.event_record = driver_event_record;
    t.ops.context_end = driver_context_end;
    if (!events)
        t.ops.event_new = no_event;
    t.h.env.backend->ops = &t.ops;
    t.shared.grant = (struct share_grant){.until_ns = SHARE_UNBOUND};
    t.h.env.meter = meter_new(NULL, &t.shared.grant);
    by_hand_begin(&t.h);
    ASK(GPU_OP_HELLO, hello, "", 0, GPU_VERSION, GPU_OLDEST);
    ASK(GPU_OP_CTX_NEW, ctx_new, "", 0, .ctx = CONTEXT);
    ASK(GPU_OP_IMAGE, image, "", 0, .bytes = 7);
    ASK(GPU_OP_IMAGE_PART, image_part, "kernels", 7, 0);
    ASK(GPU_OP_MODULE_NEW, module_new, "", 0, CONTEXT, MODULE);
    ASK(GPU_OP_FUNCTION, function, "say", 3, MODULE, KERNEL);
    ASK(GPU_OP_STREAM_NEW, stream_new, "", 0, CONTEXT, STREAM, 1);
}

static void end(void)
{
    set_value(true);
    by_hand_end(&t.h);
    t.h.env.backend->ops->close(t.h.env.backend);
    meter_free(t.h.env.meter);
}

static void launch(void)
{
    static const uint8_t parameters[64];
    const struct gpu_call_launch call = {.stream = CONTEXT,
                                         .function = KERNEL,
                                         .grid_x = 1,
                                         .grid_y = 1,
                                         .grid_z = 1,
                                         .block_x = 1,
                                         .block_y = 1,
                                         .block_z = 1};

    by_hand_say(&t.h, GPU_OP_LAUNCH, GPU_CALL_ASYNC, &call, parameters, sizeof(parameters));
}

static void wait_in(uint64_t stream)
{
    const struct gpu_call_value_wait call = {.stream = stream, .address = 8, .bytes = 4};

    by_hand_say(&t.h, GPU_OP_VALUE_WAIT, GPU_CALL_ASYNC, &call, "", 0);
}

static void wait_for_value(void)
{
    wait_in(STREAM);
}

/* The bounds on time and on launches, as vmd sets them. */
static void grant(uint64_t until, uint32_t launches)
{
    __atomic_store_n(&t.shared.grant.renewed_ns, UINT64_MAX, __ATOMIC_RELAXED);
    __atomic_store_n(&t.shared.grant.launches, launches, __ATOMIC_RELAXED);
    __atomic_store_n(&t.shared.grant.until_ns, until, __ATOMIC_RELEASE);
}

/* While a stream waits for a value, launches in flight may wait for a call behind the one that is
 * held; when that is over they do not, whatever the program waited for before. */
START_TEST(values)
{
    bool events = _i;

    begin(events);
    launch();
    expect_launches(1);
    grant(SHARE_UNBOUND, 1);
    wait_for_value();
    launch();
    expect_launches(2);
    grant(0, 0);
    launch();
    expect_launches(3);
    set_value(true);
    ASK(GPU_OP_STREAM_SYNC, stream_sync, "", 0, STREAM);
    launch();
    expect_held(3);
    grant(SHARE_UNBOUND, 3);
    expect_held(3);
    grant(SHARE_UNBOUND, 0);
    expect_launches(4);
    /* One whose stream goes is none. */
    set_value(false);
    wait_for_value();
    ASK(GPU_OP_STREAM_FREE, stream_free, "", 0, STREAM);
    grant(0, 0);
    launch();
    expect_held(4);
    end();
}
END_TEST

/* Where nothing is in flight nothing waits for the launch that is held. */
START_TEST(nothing_in_flight)
{
    begin(true);
    wait_for_value();
    grant(0, 0);
    launch();
    expect_held(0);
    grant(SHARE_UNBOUND, 0);
    expect_launches(1);
    end();
}
END_TEST

/* A function of the program's runs, and no stream waits for a value: launches in flight may wait
 * for what is behind the one that is held, until that function is over. */
START_TEST(gates)
{
    const struct gpu_call_gate gate = {.stream = STREAM, .gate = GATE};

    begin(_i);
    launch();
    expect_launches(1);
    by_hand_say(&t.h, GPU_OP_GATE, GPU_CALL_ASYNC, &gate, "", 0);
    grant(0, 0);
    launch();
    expect_launches(2);
    launch();
    expect_launches(3);
    ASK(GPU_OP_GATE_OPEN, gate_open, "", 0, GATE);
    ASK(GPU_OP_STREAM_SYNC, stream_sync, "", 0, STREAM);
    launch();
    expect_held(3);
    end();
}
END_TEST

/* A stream that goes with its context waits for nothing, and is not asked. */
START_TEST(context_ends)
{
    begin(_i);
    ASK(GPU_OP_CTX_NEW, ctx_new, "", 0, .ctx = OTHER);
    ASK(GPU_OP_STREAM_NEW, stream_new, "", 0, OTHER, ITS_STREAM, 1);
    launch();
    expect_launches(1);
    wait_in(ITS_STREAM);
    grant(0, 0);
    launch();
    expect_launches(2);
    ASK(GPU_OP_CTX_FREE, ctx_free, "", 0, .ctx = OTHER);
    g_mutex_lock(&driver.lock);
    driver.asked = 0;
    g_mutex_unlock(&driver.lock);
    launch();
    expect_held(2);
    g_mutex_lock(&driver.lock);
    ck_assert_uint_eq(driver.asked, 0);
    g_mutex_unlock(&driver.lock);
    end();
}
END_TEST

/* A stream waits for a value again when it had waited before; and for so many that events behind
 * them would fill a driver's queue. */
START_TEST(again)
{
    enum { MANY = 150, RECORDS = 64 };
    unsigned waits = _i == 2 ? MANY : 1;

    begin(_i);
    launch();
    expect_launches(1);
    for (unsigned round = 0; round < 3; round++) {
        set_value(false);
        grant(SHARE_UNBOUND, 0);
        driver.records = 0; /* all have come */
        for (unsigned i = 0; i < waits; i++)
            wait_for_value();
        grant(0, 0);
        launch();
        expect_launches(2 + 2 * round);
        set_value(true);
        ASK(GPU_OP_STREAM_SYNC, stream_sync, "", 0, STREAM);
        launch();
        expect_held(2 + 2 * round);
        grant(SHARE_UNBOUND, 0);
        expect_launches(3 + 2 * round);
    }
    ck_assert_uint_le(driver.most, RECORDS);
    ck_assert(_i != 1 || driver.most > 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-hold");
    TCase *tc = tcase_create("gpu-hold");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, values, 0, 2);
    tcase_add_test(tc, nothing_in_flight);
    tcase_add_loop_test(tc, gates, 0, 2);
    tcase_add_loop_test(tc, context_ends, 0, 2);
    tcase_add_loop_test(tc, again, 0, 3);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
