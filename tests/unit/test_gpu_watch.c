/* Calls of a backend that do not come back: which of them are told of, and which may wait. */
#include "gpu/server/watch.h"
#include "tests/gpu/by_hand.h"
#include "tests/gpu/engine_test.h"
#include "tests/unit/unit.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

static const char *told;
static unsigned times;

static void hung(void *opaque, const char *what)
{
    told = what;
    times++;
}

/* --- looks ------------------------------------------------------------------------------------ */

/* Two sessions: + goes into a call, - comes out, a digit is how many looks are had. */
static const struct looks {
    const char *name;
    uint32_t most[2];
    const char *steps[2]; /* in turn: one of the first, one of the second, then a look */
    bool hangs;
} looks[] = {
    {"nothing", {3, 3}, {"......", "......"}, false},
    {"as long as it may", {3, 3}, {"+...-.", "......"}, false},
    {"too long", {3, 3}, {"+.....", "......"}, true},
    {"again and again", {3, 3}, {"+..*..*..*..", "............"}, false},
    {"for ever", {0, 3}, {"+...........", "............"}, false},
    {"behind one that may wait for ever", {0, 3}, {"+...........", "+..........."}, false},
    {"until that comes back", {0, 3}, {"+.....-.....", "+..........."}, true},
    {"behind one that may wait longer", {7, 3}, {"+.......", "+......."}, false},
    {"longer than that", {7, 3}, {"+.........", "+........."}, true},
};

START_TEST(look)
{
    const struct looks *l = &looks[_i];
    struct watch *w = watch_new(hung, NULL, false, NULL);
    struct watched sessions[2];

    times = 0;
    for (unsigned s = 0; s < 2; s++)
        watch_add(w, &sessions[s]);
    for (unsigned i = 0; l->steps[0][i]; i++) {
        for (unsigned s = 0; s < 2; s++) {
            char step = l->steps[s][i];
            if (step == '-' || step == '*')
                watch_leave(&sessions[s]);
            if (step == '+' || step == '*')
                watch_enter(&sessions[s], s ? "second" : "first", l->most[s]);
        }
        watch_look(w);
    }
    ck_assert_msg(times == l->hangs, "%s: told %u times", l->name, times);
    for (unsigned s = 0; s < 2; s++)
        watch_remove(&sessions[s]);
    watch_free(w);
}
END_TEST

/* --- sessions --------------------------------------------------------------------------------- */

static struct {
    GMutex lock;
    GCond changed;
    bool in, out;
} stuck;

/* A driver that does not come back, until the test has it. */
static int stay(void)
{
    g_mutex_lock(&stuck.lock);
    stuck.in = true;
    g_cond_broadcast(&stuck.changed);
    while (!stuck.out)
        g_cond_wait(&stuck.changed, &stuck.lock);
    g_mutex_unlock(&stuck.lock);
    return GPU_SUCCESS;
}

static int stay_memory(struct gpu_context *c, uint64_t *free, uint64_t *total)
{
    return stay();
}

static int stay_alloc(struct gpu_context *c, uint64_t bytes, uint64_t *address)
{
    return stay();
}

static int stay_write(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes)
{
    return value ? stay() : GPU_SUCCESS;
}

static int no_wait(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes,
                   unsigned compare)
{
    return GPU_SUCCESS;
}

static bool look_for_launches(struct gpu_quota *program)
{
    return false;
}

static int stay_module(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                       size_t log_bytes, struct gpu_module **out)
{
    stay();
    return GPU_INVALID_IMAGE;
}

enum { CONTEXT = 1, GATE = 7, LOOKS = 25, MANY_LOOKS = 5000 };

static const struct gpu_call_memory memory = {CONTEXT};
static const struct gpu_call_alloc alloc = {CONTEXT, 4096};
static const struct gpu_call_value_write submit = {.stream = CONTEXT, .value = 1, .bytes = 8};
static const struct gpu_call_module_new module = {CONTEXT, 3};

static const struct stays {
    const char *name;
    unsigned op;
    const void *fields;
    bool run;        /* a stream runs */
    unsigned before; /* what was submitted */
    int looks;       /* after which it is told; 0: never */
    bool waits;      /* what was submitted are waits for values, each with an event behind it */
} stays[] = {
    {"a query", GPU_OP_MEMORY, &memory, false, 0, LOOKS},
    {"a query beside much work", GPU_OP_MEMORY, &memory, true, 1000, LOOKS},
    {"memory, where nothing runs", GPU_OP_ALLOC, &alloc, false, 0, LOOKS},
    {"memory, where all is over", GPU_OP_ALLOC, &alloc, false, 1000, LOOKS},
    {"memory, while a stream runs", GPU_OP_ALLOC, &alloc, true, 1, 0},
    {"work for an idle stream", GPU_OP_VALUE_WRITE, &submit, false, 0, LOOKS},
    {"work behind some", GPU_OP_VALUE_WRITE, &submit, true, 100, LOOKS},
    {"work behind as much as a queue has", GPU_OP_VALUE_WRITE, &submit, true, 1000, 0},
    {"work behind waits that a queue has room for", GPU_OP_VALUE_WRITE, &submit, true, 190, LOOKS,
     true},
    {"work behind as many waits as a queue has", GPU_OP_VALUE_WRITE, &submit, true, 200, 0, true},
    {"a module", GPU_OP_MODULE_NEW, &module, false, 0, MANY_LOOKS},
};

START_TEST(stay_in)
{
    const struct stays *row = &stays[_i];
    struct gpu_quota quota = {.most = MIB(16)};
    struct by_hand h = {.env = {.backend = backend_queue_new(&engine_test), .quota = &quota}};
    const struct gpu_call_hello hello = {GPU_VERSION, GPU_OLDEST};
    const struct gpu_call_ctx_new context = {.ctx = CONTEXT};
    const struct gpu_call_gate gate = {.stream = CONTEXT, .gate = GATE};
    const struct gpu_call_value_write write = {.stream = CONTEXT, .bytes = 8};
    const struct gpu_call_value_wait wait = {.stream = CONTEXT, .bytes = 8};
    struct gpu_backend_ops ops = *h.env.backend->ops;
    int looked = 0;

    times = 0;
    ops.memory = stay_memory;
    ops.alloc = stay_alloc;
    ops.value_write = stay_write;
    ops.module_new = stay_module;
    ops.value_wait = no_wait;
    ops.meter_look = look_for_launches;
    h.env.backend->ops = &ops;
    h.env.meter = meter_new(NULL, NULL);
    h.env.watch = watch_new(hung, NULL, false, NULL);
    by_hand_begin(&h);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_HELLO, &hello, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_CTX_NEW, &context, "", 0), 0);
    if (row->run)
        by_hand_say(&h, GPU_OP_GATE, GPU_CALL_ASYNC, &gate, "", 0);
    for (unsigned i = 0; i < row->before; i++)
        by_hand_say(&h, row->waits ? GPU_OP_VALUE_WAIT : GPU_OP_VALUE_WRITE, GPU_CALL_ASYNC,
                    row->waits ? (const void *)&wait : &write, "", 0);
    by_hand_say(&h, row->op, GPU_CALL_ASYNC, row->fields, "", 0);
    g_mutex_lock(&stuck.lock);
    while (!stuck.in)
        g_cond_wait(&stuck.changed, &stuck.lock);
    g_mutex_unlock(&stuck.lock);
    for (; looked < MANY_LOOKS && !times; looked++)
        watch_look(h.env.watch);
    ck_assert_msg(times == (row->looks != 0), "%s: told %u times", row->name, times);
    ck_assert_msg(!times || looked <= row->looks, "%s: after %d looks", row->name, looked);
    ck_assert(!times || strcmp(told, record_desc(row->op)->name) == 0);
    g_mutex_lock(&stuck.lock);
    stuck.out = true;
    g_cond_broadcast(&stuck.changed);
    g_mutex_unlock(&stuck.lock);
    by_hand_end(&h);
    watch_free(h.env.watch);
    h.env.backend->ops->close(h.env.backend);
    meter_free(h.env.meter);
}
END_TEST

/* --- answers that nobody takes ---------------------------------------------------------------- */

static struct {
    GMutex lock;
    GCond changed;
    const struct gpu_backend_ops *real;
    bool ended;     /* the context is gone, and its answers are to be given */
    unsigned looks; /* since */
} blocked;

static void free_context(struct gpu_context *c)
{
    blocked.real->context_free(c);
    g_mutex_lock(&blocked.lock);
    blocked.ended = true;
    g_mutex_unlock(&blocked.lock);
}

/* Also whenever an answer finds no room. */
static bool look_again(struct gpu_quota *program)
{
    g_mutex_lock(&blocked.lock);
    blocked.looks += blocked.ended;
    g_cond_broadcast(&blocked.changed);
    g_mutex_unlock(&blocked.lock);
    return false;
}

/* A program waits for much in a context, ends that, and takes no answer: its session stands, which
 * is not the driver's doing. */
START_TEST(answers)
{
    enum { WAITS = 500 };
    struct gpu_quota quota = {.most = MIB(16)};
    struct by_hand h = {.env = {.backend = backend_queue_new(&engine_test), .quota = &quota}};
    const struct gpu_call_hello hello = {GPU_VERSION, GPU_OLDEST};
    const struct gpu_call_ctx_new context = {.ctx = CONTEXT};
    const struct gpu_call_gate gate = {.stream = CONTEXT, .gate = GATE};
    const struct gpu_call_ctx_sync sync = {CONTEXT};
    const struct gpu_call_ctx_free end = {CONTEXT};
    struct gpu_backend_ops ops = *h.env.backend->ops;
    struct gpu_answer_head answer;
    int room = 4096, there = 0;

    times = 0;
    blocked.real = h.env.backend->ops;
    ops.context_free = free_context;
    ops.meter_look = look_again;
    h.env.backend->ops = &ops;
    h.env.watch = watch_new(hung, NULL, false, NULL);
    by_hand_begin(&h);
    ck_assert_int_eq(setsockopt(h.its, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_HELLO, &hello, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_CTX_NEW, &context, "", 0), 0);
    by_hand_say(&h, GPU_OP_GATE, GPU_CALL_ASYNC, &gate, "", 0);
    for (unsigned i = 0; i < WAITS; i++)
        by_hand_say(&h, GPU_OP_CTX_SYNC, 0, &sync, "", 0);
    by_hand_say(&h, GPU_OP_CTX_FREE, 0, &end, "", 0);
    g_mutex_lock(&blocked.lock);
    while (blocked.looks < 2)
        g_cond_wait(&blocked.changed, &blocked.lock);
    g_mutex_unlock(&blocked.lock);
    ck_assert_int_eq(ioctl(h.fd, FIONREAD, &there), 0);
    ck_assert_uint_lt((size_t)there, WAITS * sizeof(answer)); /* it stands */
    for (int i = 0; i < MANY_LOOKS; i++)
        watch_look(h.env.watch);
    ck_assert_msg(times == 0, "told of %s", told);
    for (unsigned i = 0; i <= WAITS; i++) {
        ck_assert_int_eq(recv(h.fd, &answer, sizeof(answer), MSG_WAITALL), (ssize_t)sizeof(answer));
        ck_assert_uint_eq(answer.op, i < WAITS ? GPU_OP_CTX_SYNC : GPU_OP_CTX_FREE);
        ck_assert_uint_eq(answer.result, i < WAITS ? GPU_CONTEXT_DESTROYED : GPU_SUCCESS);
    }
    by_hand_end(&h);
    watch_free(h.env.watch);
    h.env.backend->ops->close(h.env.backend);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-watch");
    TCase *tc = tcase_create("gpu-watch");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, look, 0, G_N_ELEMENTS(looks));
    tcase_add_loop_test(tc, stay_in, 0, G_N_ELEMENTS(stays));
    tcase_add_test(tc, answers);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
