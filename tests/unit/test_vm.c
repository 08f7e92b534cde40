/* vm: the panic watch, consoles and their clients, vCPU threads over an accelerator of the test's. */
#include "base/seglog.h"
#include "tests/unit/unit.h"
#include "vm/console.h"
#include "vm/panic.h"
#include "vm/rates.h"
#include "vm/vcpus.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>

/* --- panic ------------------------------------------------------------------------------------ */

static const struct {
    const char *name, *text;
    enum panic_state state;
} panics[] = {
    {"none", "[    1.0] all is well\r\n", PANIC_NONE},
    {"seen", "[    1.234567] Kernel panic - not syncing: VFS: no root\r\n", PANIC_SEEN},
    {"without stamp", "Kernel panic - not syncing: Fatal\n", PANIC_SEEN},
    {"with caller", "[    1.2][    T1] Kernel panic - not syncing: x\n", PANIC_SEEN},
    {"end", "Kernel panic - not syncing: x\n[ 2.0] ---[ end Kernel panic - not syncing: x ]---\n",
     PANIC_END},
    {"end without a panic", "---[ end Kernel panic - not syncing: x ]---\n", PANIC_NONE},
    {"in the middle of a line", "user says: Kernel panic - not syncing: x\n", PANIC_NONE},
    {"line not finished", "Kernel panic - not syncing: x", PANIC_NONE},
};

START_TEST(panic_rows)
{
    struct panic_watch w;
    enum panic_state state = PANIC_NONE;

    /* Whole, and byte by byte. */
    panic_reset(&w);
    state = panic_feed(&w, (const uint8_t *)panics[_i].text, strlen(panics[_i].text));
    ck_assert_msg(state == panics[_i].state, "%s: %d", panics[_i].name, state);
    panic_reset(&w);
    for (const char *p = panics[_i].text; *p; p++)
        state = panic_feed(&w, (const uint8_t *)p, 1);
    ck_assert_msg(state == panics[_i].state, "%s, byte by byte: %d", panics[_i].name, state);
}
END_TEST

START_TEST(panic_long_line)
{
    struct panic_watch w;
    g_autofree char *line = g_strnfill(100000, 'x');

    panic_reset(&w);
    panic_feed(&w, (const uint8_t *)line, strlen(line));
    ck_assert_int_eq(panic_feed(&w, (const uint8_t *)"\nKernel panic - not syncing: y\n", 31),
                     PANIC_SEEN);
    ck_assert_str_eq(w.text, "Kernel panic - not syncing: y");
}
END_TEST

/* --- rates ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    uint64_t part, whole; /* of the window */
    enum rate_news news;
} windows[] = {
    {"good", 990, 1000, RATE_AS_BEFORE},
    {"at the threshold", 950, 1000, RATE_AS_BEFORE},
    {"too few to say", 1, 999, RATE_AS_BEFORE},
    {"with the few before", 1, 1, RATE_FELL},
    {"still low", 0, 5000, RATE_AS_BEFORE},
    {"at the threshold from below", 4775, 5000, RATE_AS_BEFORE},
    {"back", 4800, 5000, RATE_RECOVERED},
    {"again at the threshold", 950, 1000, RATE_AS_BEFORE},
    {"idle", 0, 0, RATE_AS_BEFORE},
    {"another dip", 949, 1000, RATE_FELL},
};

/* One dip is one event, and its end another. */
START_TEST(rate_windows)
{
    struct rate rate = {0};
    uint64_t part = 0, whole = 0;

    rate_set(&rate, 95);
    for (size_t i = 0; i < G_N_ELEMENTS(windows); i++) {
        part += windows[i].part;
        whole += windows[i].whole;
        enum rate_news news = rate_feed(&rate, part, whole);
        ck_assert_msg(news == windows[i].news, "%s: %d", windows[i].name, news);
    }
    ck_assert_uint_eq(rate.counted, 1000);
    ck_assert(rate.percent > 94.8 && rate.percent < 95);
}
END_TEST

START_TEST(rate_thresholds)
{
    struct rate rate = {0};

    ck_assert_int_eq(rate_feed_gauge(&rate, 0, 5000), RATE_AS_BEFORE); /* nobody asked */
    rate_set(&rate, 100);
    ck_assert_int_eq(rate_feed_gauge(&rate, 0, LIMIT_XLATE_RATE_LEAST - 1), RATE_AS_BEFORE);
    ck_assert_int_eq(rate_feed_gauge(&rate, 999, LIMIT_XLATE_RATE_LEAST), RATE_FELL);
    ck_assert_int_eq(rate_feed_gauge(&rate, 5000, 5000), RATE_RECOVERED);
    ck_assert_int_eq(rate_feed_gauge(&rate, 0, 5000), RATE_FELL);
    rate_set(&rate, 50); /* another threshold begins anew */
    ck_assert_int_eq(rate_feed_gauge(&rate, 0, 5000), RATE_FELL);
    rate_set(&rate, 0);
    ck_assert_int_eq(rate_feed_gauge(&rate, 5000, 5000), RATE_AS_BEFORE);
    /* Counters that were read a moment apart. */
    rate_set(&rate, 50);
    ck_assert_int_eq(rate_feed(&rate, 1005, 1000), RATE_AS_BEFORE);
    ck_assert(rate.percent == 100);
}
END_TEST

/* --- consoles --------------------------------------------------------------------------------- */

struct rig {
    uv_loop_t loop;
    char *dir;
    struct console *console;
    GString *input;
    size_t room; /* bytes of input that the guest takes */
    bool drained;
};

static size_t rig_input(void *opaque, const uint8_t *data, size_t n)
{
    struct rig *r = opaque;

    n = MIN(n, r->room);
    r->room -= n;
    g_string_append_len(r->input, (const char *)data, (gssize)n);
    return n;
}

static const struct console_ops rig_ops = {.input = rig_input};

static void rig_open(struct rig *r)
{
    *r = (struct rig){.room = SIZE_MAX, .input = g_string_new(NULL)};
    r->dir = g_dir_make_tmp("vmd-test-XXXXXX", NULL);
    uv_loop_init(&r->loop);
    r->console = console_new(&r->loop, "serial0", r->dir, &rig_ops, r, NULL);
    ck_assert_ptr_nonnull(r->console);
}

static void rig_close(struct rig *r)
{
    GDir *d;
    const char *name;

    console_free(r->console);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&r->loop), 0);
    d = g_dir_open(r->dir, 0, NULL);
    while ((name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(r->dir, name, NULL);
        g_unlink(path);
    }
    g_dir_close(d);
    g_rmdir(r->dir);
    g_free(r->dir);
    g_string_free(r->input, TRUE);
}

static void say(struct rig *r, const char *text)
{
    console_output(r->console, (const uint8_t *)text, strlen(text));
}

/* Turns the loop until FD has given N bytes. */
static char *hear(struct rig *r, int fd, size_t n)
{
    char *got = g_malloc0(n + 1);
    size_t have = 0;

    while (have < n) {
        ssize_t k = recv(fd, got + have, n - have, MSG_DONTWAIT);
        if (k > 0)
            have += (size_t)k;
        else
            ck_assert_msg(k < 0 && errno == EAGAIN, "console ended after %zu bytes", have);
        uv_run(&r->loop, UV_RUN_NOWAIT);
    }
    return got;
}

START_TEST(console_replays_and_follows)
{
    struct rig r;

    rig_open(&r);
    say(&r, "before ");
    autofd fd = console_attach(r.console, false, 4, NULL);
    say(&r, "after");
    g_autofree char *got = hear(&r, fd, 9);
    ck_assert_str_eq(got, "ore after");
    ck_assert_uint_eq(console_total(r.console), 12);
    rig_close(&r);
}
END_TEST

START_TEST(console_slow_client)
{
    struct rig r;
    g_autofree char *block = g_strnfill(65536, 'z');

    /* More than a socket takes, and less than the log keeps: nothing is lost. */
    rig_open(&r);
    autofd fd = console_attach(r.console, true, 0, NULL);
    for (int i = 0; i < 24; i++)
        say(&r, block);
    g_autofree char *got = hear(&r, fd, 24 * 65536);
    ck_assert_uint_eq(strspn(got, "z"), 24 * 65536);
    rig_close(&r);
}
END_TEST

START_TEST(console_says_what_was_dropped)
{
    struct rig r;
    g_autofree char *block = g_strnfill(65536, 'z');

    rig_open(&r);
    autofd fd = console_attach(r.console, true, 0, NULL);
    for (int i = 0; i < 3 * LIMIT_CONSOLE_LOG / 65536; i++)
        say(&r, block);
    ck_assert_uint_gt(console_first(r.console), 0);
    ck_assert_uint_ge(console_total(r.console) - console_first(r.console), LIMIT_CONSOLE_LOG / 2);
    g_autofree char *got = hear(&r, fd, LIMIT_CONSOLE_LOG / 2);
    ck_assert_ptr_nonnull(strstr(got, "are no longer kept]"));
    rig_close(&r);
}
END_TEST

START_TEST(console_input_waits_for_room)
{
    struct rig r;

    rig_open(&r);
    r.room = 3;
    autofd fd = console_attach(r.console, false, 0, NULL);
    ck_assert_int_eq(send(fd, "hello", 5, 0), 5);
    while (r.input->len < 3)
        uv_run(&r.loop, UV_RUN_NOWAIT);
    ck_assert_str_eq(r.input->str, "hel");
    r.room = SIZE_MAX;
    console_input_room(r.console);
    ck_assert_str_eq(r.input->str, "hello");
    rig_close(&r);
}
END_TEST

START_TEST(console_readonly_types_nothing)
{
    struct rig r;

    rig_open(&r);
    autofd fd = console_attach(r.console, true, 0, NULL);
    ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    say(&r, "ok");
    g_autofree char *got = hear(&r, fd, 2);
    ck_assert_uint_eq(r.input->len, 0);
    rig_close(&r);
}
END_TEST

START_TEST(console_limit_of_clients)
{
    struct rig r;
    int fds[LIMIT_CONSOLE_CLIENTS];
    g_autoptr(GError) err = NULL;

    rig_open(&r);
    for (int i = 0; i < LIMIT_CONSOLE_CLIENTS; i++) {
        fds[i] = console_attach(r.console, false, 0, NULL);
        ck_assert_int_ge(fds[i], 0);
    }
    ck_assert_int_eq(console_attach(r.console, false, 0, &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    /* One that leaves makes room for another. */
    close(fds[0]);
    do {
        uv_run(&r.loop, UV_RUN_NOWAIT);
        fds[0] = console_attach(r.console, false, 0, NULL);
    } while (fds[0] < 0);
    for (int i = 0; i < LIMIT_CONSOLE_CLIENTS; i++)
        close(fds[i]);
    rig_close(&r);
}
END_TEST

/* As a VM that is over does. */
static void on_drained(void *opaque)
{
    struct rig *r = opaque;

    r->drained = true;
    console_free(g_steal_pointer(&r->console));
}

START_TEST(console_drains)
{
    struct rig r;
    char byte;

    rig_open(&r);
    int fd = console_attach(r.console, false, 0, NULL);
    say(&r, "last words");
    console_drain(r.console, 60000, on_drained, &r);
    g_autofree char *got = hear(&r, fd, 10);
    ck_assert_str_eq(got, "last words");
    ck_assert(!r.drained);
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
    while (!r.drained)
        uv_run(&r.loop, UV_RUN_ONCE);
    rig_close(&r);
}
END_TEST

START_TEST(console_drain_gives_up)
{
    struct rig r;

    rig_open(&r);
    int fd = console_attach(r.console, false, 0, NULL);
    int other = console_attach(r.console, true, 0, NULL);
    console_drain(r.console, 1, on_drained, &r);
    while (!r.drained)
        uv_run(&r.loop, UV_RUN_ONCE);
    close(fd);
    close(other);
    rig_close(&r);
}
END_TEST

/* --- vCPU threads ----------------------------------------------------------------------------- */

/* A vCPU of the test's accelerator: runs until it is kicked, or fails when it is told to. */
struct fake {
    struct vcpu vcpu;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool kicked, inside;
    cpu_set_t cpus; /* where the last run was let be */
    enum vcpu_exit give; /* what the next run returns at once, unless KICKED */
    unsigned runs, resets;
    gva_t pc;
};

static bool fake_vcpu_create(struct accel *accel, unsigned index, struct vcpu **out, GError **err)
{
    struct fake *f = g_new0(struct fake, 1);

    f->vcpu = (struct vcpu){.accel = accel, .index = index};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    *out = &f->vcpu;
    return true;
}

static void fake_vcpu_free(struct vcpu *vcpu)
{
    g_free(vcpu);
}

static void fake_reset(struct vcpu *vcpu, const struct vcpu_start *start)
{
    struct fake *f = (struct fake *)vcpu;

    f->resets++;
    f->pc = start->pc;
}

static enum vcpu_exit fake_run(struct vcpu *vcpu)
{
    struct fake *f = (struct fake *)vcpu;
    enum vcpu_exit give;

    pthread_mutex_lock(&f->lock);
    f->runs++;
    sched_getaffinity(0, sizeof(f->cpus), &f->cpus);
    f->inside = true;
    pthread_cond_broadcast(&f->changed);
    while (!f->kicked && f->give == VCPU_EXIT_KICKED)
        pthread_cond_wait(&f->changed, &f->lock);
    f->kicked = false;
    f->inside = false;
    give = f->give;
    f->give = VCPU_EXIT_KICKED;
    pthread_mutex_unlock(&f->lock);
    return give;
}

static void fake_kick(struct vcpu *vcpu)
{
    struct fake *f = (struct fake *)vcpu;

    pthread_mutex_lock(&f->lock);
    f->kicked = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static const char *fake_error(struct vcpu *vcpu)
{
    return "told to fail";
}

static const struct accel_ops fake_ops = {
    .name = "fake",
    .vcpu_create = fake_vcpu_create,
    .vcpu_free = fake_vcpu_free,
    .vcpu_reset = fake_reset,
    .vcpu_run = fake_run,
    .vcpu_kick = fake_kick,
    .vcpu_error = fake_error,
};

static struct fake *fake_of(struct vcpus *v, unsigned index)
{
    return (struct fake *)vcpus_get(v, index);
}

static void wait_inside(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    while (!f->inside)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

struct failure {
    pthread_mutex_t lock;
    pthread_cond_t came;
    int index;
    enum vcpu_exit why;
};

static void failed(void *opaque, unsigned index, enum vcpu_exit why, const char *text)
{
    struct failure *f = opaque;

    pthread_mutex_lock(&f->lock);
    f->index = (int)index;
    f->why = why;
    pthread_cond_broadcast(&f->came);
    pthread_mutex_unlock(&f->lock);
}

START_TEST(vcpus_start_halt_resume)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 3}};
    struct vcpu_start start = {.pc = 0x80000000};
    struct vcpus *v = vcpus_new(&accel, failed, NULL, NULL);

    ck_assert_ptr_nonnull(v);
    ck_assert_int_eq(vcpus_start(v, 1, &start), 0);
    ck_assert_int_eq(vcpus_power(v, 1), VCPU_ON); /* all stands: it has its state at once */
    ck_assert_uint_eq(fake_of(v, 1)->resets, 1);
    ck_assert_int_eq(vcpus_start(v, 1, &start), -EALREADY);
    vcpus_resume(v);
    wait_inside(fake_of(v, 1));
    ck_assert_int_eq(vcpus_power(v, 1), VCPU_ON);
    ck_assert_uint_eq(fake_of(v, 1)->pc, 0x80000000);
    ck_assert_int_eq(vcpus_power(v, 0), VCPU_OFF);

    vcpus_halt(v);
    ck_assert(!fake_of(v, 1)->inside);
    vcpus_resume(v);
    wait_inside(fake_of(v, 1));
    ck_assert_uint_eq(fake_of(v, 1)->resets, 1);

    vcpus_halt(v);
    vcpus_all_off(v);
    ck_assert_int_eq(vcpus_power(v, 1), VCPU_OFF);
    ck_assert_int_eq(vcpus_start(v, 1, &start), 0);
    vcpus_free(v);
}
END_TEST

static void wait_on(struct fake *f, const cpu_set_t *cpus)
{
    pthread_mutex_lock(&f->lock);
    while (!f->inside || !CPU_EQUAL(&f->cpus, cpus))
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

/* The kernel keeps a vCPU's thread where it was pinned, from before it starts and while it runs. */
START_TEST(vcpus_are_pinned)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 2}};
    struct vcpu_start start = {.pc = 0x80000000};
    struct vcpus *v = vcpus_new(&accel, failed, NULL, NULL);
    cpu_set_t all, one, none, now;
    GError *err = NULL;
    int first = 0;

    ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
    while (!CPU_ISSET(first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CPU_ZERO(&none);
    CPU_SET(CPU_SETSIZE - 1, &none);
    ck_assert(vcpus_pin(v, 1, &one, NULL));
    ck_assert(vcpus_pinned(v, 1, &now) && CPU_EQUAL(&now, &one));
    ck_assert_int_eq(vcpus_start(v, 0, &start), 0);
    ck_assert_int_eq(vcpus_start(v, 1, &start), 0);
    vcpus_resume(v);
    wait_on(fake_of(v, 0), &all);
    wait_on(fake_of(v, 1), &one);
    ck_assert(vcpus_pinned(v, 1, &now) && CPU_EQUAL(&now, &one));
    ck_assert(vcpus_pinned(v, 0, &now) && CPU_EQUAL(&now, &all));
    ck_assert(!vcpus_pin(v, 1, &none, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_INVALID);
    g_clear_error(&err);
    ck_assert(vcpus_pin(v, 1, NULL, NULL));
    wait_on(fake_of(v, 1), &all);
    vcpus_free(v);
}
END_TEST

/* Those that are not granted do not start; one whose grant goes while it runs goes on, and not again. */
START_TEST(vcpus_are_granted)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 3}};
    struct vcpu_start start = {.pc = 0x80000000};
    struct vcpus *v = vcpus_new(&accel, failed, NULL, NULL);

    ck_assert_uint_eq(vcpus_granted(v), 3);
    vcpus_grant(v, 1);
    ck_assert_uint_eq(vcpus_granted(v), 1);
    ck_assert_int_eq(vcpus_start(v, 0, &start), 0);
    ck_assert_int_eq(vcpus_start(v, 1, &start), -EPERM);
    ck_assert_int_eq(vcpus_power(v, 1), VCPU_OFF);
    vcpus_grant(v, 2);
    ck_assert_int_eq(vcpus_start(v, 1, &start), 0);
    ck_assert_int_eq(vcpus_start(v, 2, &start), -EPERM);
    vcpus_grant(v, 1);
    ck_assert_int_eq(vcpus_start(v, 1, &start), -EALREADY);
    ck_assert_int_eq(vcpus_power(v, 1), VCPU_ON);
    vcpus_all_off(v);
    ck_assert_int_eq(vcpus_start(v, 1, &start), -EPERM);
    ck_assert_uint_eq(vcpus_granted(v), 1);
    vcpus_free(v);
}
END_TEST

/* One is granted beside others, and stopped by another's thread: then it is as new, and may start
 * again. */
START_TEST(vcpus_are_taken_out)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 3}};
    struct vcpu_start start = {.pc = 0x80000000};
    struct vcpus *v = vcpus_new(&accel, failed, NULL, NULL);

    vcpus_grant(v, 1);
    vcpus_grant_one(v, 2, true);
    ck_assert(vcpus_granted(v) == 2 && vcpus_is_granted(v, 2) && !vcpus_is_granted(v, 1));
    ck_assert_int_eq(vcpus_start(v, 1, &start), -EPERM);
    ck_assert_int_eq(vcpus_start(v, 2, &start), 0);
    vcpus_resume(v);
    wait_inside(fake_of(v, 2));
    vcpus_grant_one(v, 2, false);
    vcpus_stop(v, 2);
    while (vcpus_power(v, 2) != VCPU_OFF)
        sched_yield();
    ck_assert_uint_eq(fake_of(v, 2)->resets, 2);
    ck_assert_int_eq(vcpus_start(v, 2, &start), -EPERM);
    vcpus_stop(v, 2); /* what is off stays so */
    ck_assert_int_eq(vcpus_power(v, 2), VCPU_OFF);
    vcpus_grant_one(v, 2, true);
    ck_assert_int_eq(vcpus_start(v, 2, &start), 0);
    wait_inside(fake_of(v, 2));
    vcpus_halt(v);
    vcpus_stop(v, 2); /* while all stands: as soon as it goes on */
    ck_assert_int_eq(vcpus_power(v, 2), VCPU_STOPPING);
    vcpus_resume(v);
    while (vcpus_power(v, 2) != VCPU_OFF)
        sched_yield();
    ck_assert_uint_eq(fake_of(v, 2)->resets, 4);
    vcpus_free(v);
}
END_TEST

START_TEST(vcpus_stop_themselves)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 1}};
    struct vcpu_start start = {.pc = 4};
    struct vcpus *v = vcpus_new(&accel, failed, NULL, NULL);

    vcpus_start(v, 0, &start);
    vcpus_resume(v);
    wait_inside(fake_of(v, 0));
    vcpus_stop_self(v, 0);
    ck_assert_int_eq(vcpus_power(v, 0), VCPU_STOPPING);
    ck_assert_int_eq(vcpus_start(v, 0, &start), -EALREADY);
    fake_kick(vcpus_get(v, 0));
    while (vcpus_start(v, 0, &start) != 0)
        sched_yield();
    wait_inside(fake_of(v, 0));
    while (fake_of(v, 0)->resets < 2)
        sched_yield();
    vcpus_free(v);
}
END_TEST

START_TEST(vcpus_failure_halts_all)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 2}};
    struct vcpu_start start = {.pc = 4};
    struct failure f = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER,
                        .index = -1};
    struct vcpus *v = vcpus_new(&accel, failed, &f, NULL);

    fake_of(v, 1)->give = VCPU_EXIT_ERROR;
    vcpus_start(v, 0, &start);
    vcpus_start(v, 1, &start);
    vcpus_resume(v);
    pthread_mutex_lock(&f.lock);
    while (f.index < 0)
        pthread_cond_wait(&f.came, &f.lock);
    pthread_mutex_unlock(&f.lock);
    ck_assert_int_eq(f.index, 1);
    ck_assert_int_eq(f.why, VCPU_EXIT_ERROR);
    vcpus_halt(v);
    ck_assert_int_eq(vcpus_power(v, 1), VCPU_OFF);
    vcpus_free(v);
}
END_TEST

struct world {
    struct vcpus *vcpus;
    unsigned calls;
    bool in;
};

static void look_at_world(void *opaque)
{
    struct world *w = opaque;

    ck_assert(!w->in);
    w->in = true;
    for (unsigned i = 0; i < vcpus_count(w->vcpus); i++) {
        ck_assert(!fake_of(w->vcpus, i)->inside);
        ck_assert_int_ne(vcpus_power(w->vcpus, i), VCPU_STARTING);
    }
    w->calls++;
    w->in = false;
}

/* Neither a stop in another, nor a resume, lets a vCPU go on before the outermost has ended. */
static void change_world(void *opaque)
{
    struct world *w = opaque;
    struct vcpu_start start = {.pc = 8};
    struct accel_stop stop;

    look_at_world(w);
    ck_assert_int_eq(vcpus_start(w->vcpus, 0, &start), 0);
    ck_assert_uint_eq(fake_of(w->vcpus, 0)->pc, 8);
    vcpus_stop_world(w->vcpus, look_at_world, w);
    vcpus_halt(w->vcpus);
    vcpus_resume(w->vcpus);
    ck_assert(!vcpus_take_stop(w->vcpus, 0, &stop)); /* which asserts that all stands */
    look_at_world(w);
}

static void halt_world(void *opaque)
{
    struct world *w = opaque;

    look_at_world(w);
    vcpus_halt(w->vcpus);
}

START_TEST(world_stops_and_goes_on)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 3}};
    struct vcpu_start start = {.pc = 4};
    struct world w = {.vcpus = vcpus_new(&accel, failed, NULL, NULL)};
    struct accel_stop stop;

    vcpus_start(w.vcpus, 1, &start);
    vcpus_stop_world(w.vcpus, look_at_world, &w); /* halted before: halted afterwards */
    ck_assert(!vcpus_take_stop(w.vcpus, 1, &stop));
    vcpus_resume(w.vcpus);
    wait_inside(fake_of(w.vcpus, 1));

    vcpus_stop_world(w.vcpus, change_world, &w);
    ck_assert_uint_eq(w.calls, 4);
    wait_inside(fake_of(w.vcpus, 0));
    wait_inside(fake_of(w.vcpus, 1));
    ck_assert_uint_eq(fake_of(w.vcpus, 1)->resets, 1);

    vcpus_stop_world(w.vcpus, halt_world, &w);
    ck_assert(!vcpus_take_stop(w.vcpus, 1, &stop));
    vcpus_resume(w.vcpus);
    wait_inside(fake_of(w.vcpus, 1));
    vcpus_free(w.vcpus);
}
END_TEST

enum { STOPS = 200 };

static void *stop_often(void *opaque)
{
    struct world *w = opaque;

    for (unsigned i = 0; i < STOPS; i++)
        vcpus_stop_world(w->vcpus, look_at_world, w);
    return NULL;
}

START_TEST(world_is_stopped_in_turns)
{
    struct accel accel = {.ops = &fake_ops, .config = {.vcpus = 2}};
    struct vcpu_start start = {.pc = 4};
    struct world w = {.vcpus = vcpus_new(&accel, failed, NULL, NULL)};
    pthread_t other;

    vcpus_start(w.vcpus, 0, &start);
    vcpus_start(w.vcpus, 1, &start);
    vcpus_resume(w.vcpus);
    ck_assert_int_eq(pthread_create(&other, NULL, stop_often, &w), 0);
    stop_often(&w);
    pthread_join(other, NULL);
    ck_assert_uint_eq(w.calls, 2 * STOPS);
    wait_inside(fake_of(w.vcpus, 0));
    wait_inside(fake_of(w.vcpus, 1));
    vcpus_free(w.vcpus);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vm");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, panic_rows, 0, G_N_ELEMENTS(panics));
    tcase_add_test(tc, panic_long_line);
    tcase_add_test(tc, rate_windows);
    tcase_add_test(tc, rate_thresholds);
    tcase_add_test(tc, console_replays_and_follows);
    tcase_add_test(tc, console_slow_client);
    tcase_add_test(tc, console_says_what_was_dropped);
    tcase_add_test(tc, console_input_waits_for_room);
    tcase_add_test(tc, console_readonly_types_nothing);
    tcase_add_test(tc, console_limit_of_clients);
    tcase_add_test(tc, console_drains);
    tcase_add_test(tc, console_drain_gives_up);
    tcase_add_test(tc, vcpus_start_halt_resume);
    tcase_add_test(tc, vcpus_are_pinned);
    tcase_add_test(tc, vcpus_are_granted);
    tcase_add_test(tc, vcpus_are_taken_out);
    tcase_add_test(tc, vcpus_stop_themselves);
    tcase_add_test(tc, vcpus_failure_halts_all);
    tcase_add_test(tc, world_stops_and_goes_on);
    tcase_add_test(tc, world_is_stopped_in_turns);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
