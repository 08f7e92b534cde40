/* hotplug/slot: the table of states by scripts, a row each, and 100,000 random steps against what must
 * always hold. */
#include "hotplug/slot/slot.h"
#include "tests/unit/unit.h"

struct rig {
    uv_loop_t loop;
    struct slots *slots;
    GString *trace;
    uint64_t last;       /* job */
    unsigned ended[64];  /* by job: how often */
    unsigned devices;    /* that are there */
    unsigned specs;
    bool make_fails, publish_fails, unask_fails, slow;
    struct slot *closing; /* slow: closed by "closed" */
};

static int device_of_all; /* devices are told by their slots alone */

static void say(struct rig *r, const char *format, ...)
{
    va_list ap;

    if (r->trace->len)
        g_string_append_c(r->trace, ' ');
    va_start(ap, format);
    g_string_append_vprintf(r->trace, format, ap);
    va_end(ap);
}

static void *make(void *opaque, struct slot *slot, void *spec, GError **err)
{
    struct rig *r = opaque;

    g_free(spec);
    r->specs--;
    say(r, "make");
    if (r->make_fails) {
        vmd_fail(err, VMD_ERROR_IO, "no such file");
        return NULL;
    }
    r->devices++;
    return &device_of_all;
}

static void free_spec(void *opaque, void *spec)
{
    struct rig *r = opaque;

    r->specs--;
    g_free(spec);
}

static bool publish(void *opaque, void *device, GError **err)
{
    struct rig *r = opaque;

    say(r, "publish");
    return !r->publish_fails || vmd_fail(err, VMD_ERROR_LIMIT, "no room");
}

static void ask(void *opaque, void *device)
{
    say(opaque, "ask");
}

static bool unask(void *opaque, void *device)
{
    struct rig *r = opaque;

    say(r, "unask");
    return !r->unask_fails;
}

static void withdraw(void *opaque, void *device)
{
    say(opaque, "withdraw");
}

static void close_device(void *opaque, struct slot *slot, void *device)
{
    struct rig *r = opaque;

    say(r, "close");
    ck_assert_ptr_nonnull(device);
    if (r->slow) {
        r->closing = slot;
    } else {
        r->devices--;
        slots_signal(r->slots, slot, SLOT_EV_CLOSED, NULL);
    }
}

static void changed(void *opaque, const struct slot *slot, const char *why)
{
    say(opaque, "%s", slot_state_name(slot_state(slot)));
}

static void ended(void *opaque, uint64_t job, const char *id, enum slot_outcome outcome,
                  const GError *err)
{
    struct rig *r = opaque;

    r->ended[job % G_N_ELEMENTS(r->ended)]++;
    if (err)
        say(r, "%" G_GUINT64_FORMAT "=%s(%s)", job, slot_outcome_name(outcome),
            vmd_error_name((enum vmd_error)err->code));
    else
        say(r, "%" G_GUINT64_FORMAT "=%s", job, slot_outcome_name(outcome));
}

static const struct slots_ops ops = {
    .make = make,
    .free_spec = free_spec,
    .publish = publish,
    .ask = ask,
    .unask = unask,
    .withdraw = withdraw,
    .close = close_device,
    .changed = changed,
    .ended = ended,
};

static void rig_init(struct rig *r)
{
    *r = (struct rig){.trace = g_string_new(NULL)};
    uv_loop_init(&r->loop);
    r->slots = slots_new(&r->loop, &ops, r);
}

static void rig_free(struct rig *r)
{
    slots_free(r->slots);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&r->loop), 0);
    ck_assert_uint_eq(r->specs, 0);
    g_string_free(r->trace, TRUE);
}

static bool request(struct rig *r, enum slot_job_kind kind, bool visible, bool force,
                    unsigned timeout_ms)
{
    struct slot_request req = {.job = ++r->last,
                               .kind = kind,
                               .id = "d",
                               .visible = visible,
                               .force = force,
                               .timeout_ms = timeout_ms,
                               .spec = kind == SLOT_ADD ? g_malloc(1) : NULL};
    g_autoptr(GError) err = NULL;

    r->specs += kind == SLOT_ADD;
    if (slots_request(r->slots, &req, &err))
        return true;
    r->specs -= kind == SLOT_ADD;
    g_free(req.spec);
    say(r, "%" G_GUINT64_FORMAT ":%s", r->last, vmd_error_name((enum vmd_error)err->code));
    return false;
}

static void turn(struct rig *r)
{
    uv_run(&r->loop, UV_RUN_NOWAIT);
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

static void signal_slot(struct rig *r, enum slot_event event)
{
    struct slot *slot = slots_find(r->slots, "d");

    if (slot)
        slots_signal(r->slots, slot, event, NULL);
}

static void cancel(struct rig *r, uint64_t job)
{
    g_autoptr(GError) err = NULL;

    if (!slots_cancel(r->slots, job, &err))
        say(r, "x:%s", vmd_error_name((enum vmd_error)err->code));
}

/* One word of a script. */
static void play(struct rig *r, const char *word)
{
    static const struct {
        const char *word;
        enum slot_event event;
    } events[] = {
        {"taken", SLOT_EV_TAKEN},     {"left", SLOT_EV_LEFT}, {"letgo", SLOT_EV_LET_GO},
        {"refused", SLOT_EV_REFUSED}, {"lost", SLOT_EV_LOST}, {"failed", SLOT_EV_FAILED},
    };

    if (strcmp(word, "add") == 0)
        request(r, SLOT_ADD, false, false, 0);
    else if (strcmp(word, "show") == 0)
        request(r, SLOT_ADD, true, false, 0);
    else if (strcmp(word, "add-brief") == 0)
        request(r, SLOT_ADD, false, false, 1);
    else if (strcmp(word, "remove") == 0)
        request(r, SLOT_REMOVE, false, false, 0);
    else if (strcmp(word, "remove-brief") == 0)
        request(r, SLOT_REMOVE, false, false, 1);
    else if (strcmp(word, "force") == 0)
        request(r, SLOT_REMOVE, false, true, 0);
    else if (strcmp(word, "cancel") == 0)
        cancel(r, r->last);
    else if (strcmp(word, "cold") == 0)
        slots_adopt(r->slots, "d", &device_of_all);
    else if (strcmp(word, "make-fails") == 0)
        r->make_fails = true;
    else if (strcmp(word, "publish-fails") == 0)
        r->publish_fails = true;
    else if (strcmp(word, "unask-fails") == 0)
        r->unask_fails = true;
    else if (strcmp(word, "slow") == 0)
        r->slow = true;
    else if (strcmp(word, "closed") == 0)
        slots_signal(r->slots, r->closing, SLOT_EV_CLOSED, NULL);
    else if (strcmp(word, "reset") == 0)
        slots_reset(r->slots);
    else if (strcmp(word, "hold") == 0)
        slots_hold(r->slots, true);
    else if (strcmp(word, "go") == 0)
        slots_hold(r->slots, false);
    else if (strcmp(word, "idle") == 0)
        ck_assert_int_eq(uv_loop_alive(&r->loop), 0);
    else if (strcmp(word, "timed") == 0)
        ck_assert_int_ne(uv_loop_alive(&r->loop), 0);
    else if (strcmp(word, "wait") == 0)
        for (unsigned i = 0; i < 5; i++) {
            g_usleep(2000);
            turn(r);
        }
    else if (strcmp(word, "|") != 0) /* a turn of the loop */
        for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
            if (strcmp(word, events[i].word) == 0)
                signal_slot(r, events[i].event);
        }
    if (strcmp(word, "|") == 0)
        turn(r);
}

#define ADDED   "requested make publish visible"
#define TAKEN   ADDED " acknowledged 1=done"
#define RELEASE "releasing withdraw close free"

static const struct {
    const char *name, *script, *trace;
} rows[] = {
    {"added", "add | taken |", TAKEN},
    {"nothing before a turn", "add", ""},
    {"added, and that is enough", "show |", "requested make publish visible 1=done"},
    {"cannot be made", "make-fails add |", "requested make free 1=refused(io)"},
    {"its place is taken meanwhile", "publish-fails add |",
     "requested make publish releasing withdraw close free 1=refused(state)"},
    {"the guest refuses it", "add | refused |", ADDED " " RELEASE " 1=refused(state)"},
    {"the guest never takes it", "add-brief | wait", ADDED " " RELEASE " 1=timed-out(timeout)"},
    {"no end in sight for one that is shown", "show | wait refused |",
     "requested make publish visible 1=done"},
    {"addition cancelled", "add | cancel |", ADDED " " RELEASE " 1=cancelled(gone)"},
    {"queued addition cancelled", "add cancel |", "1=cancelled(gone)"},
    {"too late to cancel", "slow add | refused cancel closed |",
     ADDED " releasing withdraw close x:state free 1=refused(state)"},
    {"nothing to cancel", "cancel", "x:not-found"},
    {"same id again", "add | taken add |", TAKEN " 2:exists"},
    {"same id again, at once", "add add | taken |", TAKEN " 2=refused(exists)"},
    {"removed", "add | taken | remove | letgo |", TAKEN " leaving ask " RELEASE " 2=done"},
    {"removed before it was taken", "show | remove | letgo |",
     "requested make publish visible 1=done leaving ask " RELEASE " 2=done"},
    {"removal right behind the addition", "add remove | taken | letgo |",
     TAKEN " leaving ask " RELEASE " 2=done"},
    {"removal refused", "add | taken | remove | refused |",
     TAKEN " leaving ask acknowledged 2=refused(state)"},
    {"removal never answered", "add | taken | remove-brief | wait",
     TAKEN " leaving ask unask acknowledged 2=timed-out(timeout)"},
    {"answered too late", "add | taken | remove-brief | wait letgo remove | letgo |",
     TAKEN " leaving ask unask acknowledged 2=timed-out(timeout) visible leaving ask " RELEASE
           " 3=done"},
    {"answered twice", "slow add | taken | remove | letgo letgo refused closed |",
     TAKEN " leaving ask releasing withdraw close free 2=done"},
    {"not answered, and cannot be taken back", "unask-fails add | taken | remove-brief | wait",
     TAKEN " leaving ask unask " RELEASE " 2=surprise-removed(gone)"},
    {"removal cancelled", "add | taken | remove | cancel |",
     TAKEN " leaving ask unask acknowledged 2=cancelled(gone)"},
    {"reset during removal", "add | taken | remove | reset |",
     TAKEN " leaving ask " RELEASE " 2=done"},
    {"reset", "add | taken | reset taken |", TAKEN " visible acknowledged"},
    {"reset before it was taken", "add | reset taken |", TAKEN},
    {"unbound meanwhile", "add | taken | remove | left refused |",
     TAKEN " leaving ask visible 2=refused(state)"},
    {"unbound and bound", "add | taken left taken |", TAKEN " visible acknowledged"},
    {"the guest's own doing", "add | taken letgo |", TAKEN " visible"},
    {"removed by force", "add | taken | force |", TAKEN " " RELEASE " 2=surprise-removed"},
    {"force overtakes a removal", "add | taken | remove | force |",
     TAKEN " leaving ask 2=surprise-removed(gone) " RELEASE " 3=surprise-removed"},
    {"force overtakes an addition", "add | force |",
     ADDED " 1=surprise-removed(gone) " RELEASE " 2=surprise-removed"},
    {"force overtakes what waits", "add remove | force | |",
     ADDED " 1=surprise-removed(gone) " RELEASE " 3=surprise-removed 2=refused(not-found)"},
    {"lost", "add | taken | lost |", TAKEN " " RELEASE},
    {"lost while it leaves", "add | taken | remove | lost |",
     TAKEN " leaving ask " RELEASE " 2=surprise-removed(gone)"},
    {"lost while it comes", "add | lost |", ADDED " " RELEASE " 1=surprise-removed(gone)"},
    {"there from the start", "cold taken remove | letgo |",
     "acknowledged leaving ask " RELEASE " 1=done"},
    {"removed twice", "add | taken | remove remove | letgo | |",
     TAKEN " leaving ask " RELEASE " 2=done 3=refused(not-found)"},
    {"removed, and added again at once", "add | taken | remove add | letgo | | taken |",
     TAKEN " leaving ask " RELEASE " 2=done requested make publish visible acknowledged 3=done"},
    {"held while closing", "slow add | taken | remove | letgo add | closed | taken |",
     TAKEN " leaving ask releasing withdraw close free 2=done requested make publish visible "
           "acknowledged 3=done"},
    {"never there", "remove", "1:not-found"},
    {"standing time does not count", "hold add-brief | wait taken | remove-brief | wait go wait",
     TAKEN " leaving ask unask acknowledged 2=timed-out(timeout)"},
    {"time stands that ran", "add | timed hold idle go timed taken | idle", TAKEN},
    {"time goes on after standing", "hold add-brief | wait go wait",
     ADDED " " RELEASE " 1=timed-out(timeout)"},
};

START_TEST(scripts)
{
    g_auto(GStrv) words = g_strsplit(rows[_i].script, " ", -1);
    struct rig r;

    rig_init(&r);
    for (char **w = words; *w; w++)
        play(&r, *w);
    ck_assert_msg(strcmp(r.trace->str, rows[_i].trace) == 0, "%s:\n  is     %s\n  should %s",
                  rows[_i].name, r.trace->str, rows[_i].trace);
    rig_free(&r);
}
END_TEST

START_TEST(queue_is_bounded)
{
    struct rig r;

    rig_init(&r);
    for (unsigned i = 0; i < SLOT_QUEUE; i++)
        ck_assert(request(&r, SLOT_ADD, false, false, 0));
    ck_assert(!request(&r, SLOT_ADD, false, false, 0));
    ck_assert_str_eq(r.trace->str, "17:busy");
    rig_free(&r);
}
END_TEST

/* Whatever comes in whatever order: a job ends once, and a device is there as its slot says. */
START_TEST(any_order)
{
    static const char *const words[] = {"add",    "show", "remove",  "force", "cancel", "taken",
                                        "left",   "letgo", "refused", "lost", "reset",  "hold",
                                        "go",     "|",    "|",       "|",     "failed"};
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    struct rig r;

    rig_init(&r);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t before = r.last;
        g_string_truncate(r.trace, 0);
        r.make_fails = g_rand_int_range(rand, 0, 10) == 0;
        r.publish_fails = g_rand_int_range(rand, 0, 10) == 0;
        r.unask_fails = g_rand_int_range(rand, 0, 3) == 0;
        play(&r, words[g_rand_int_range(rand, 0, G_N_ELEMENTS(words))]);
        if (r.last != before)
            r.ended[r.last % G_N_ELEMENTS(r.ended)] = 0;
        struct slot *slot = slots_find(r.slots, "d");
        bool there = slot && slot_state(slot) != SLOT_FREE;
        bool right = r.devices == there;
        for (unsigned j = 0; j < G_N_ELEMENTS(r.ended); j++)
            right &= r.ended[j] <= 1;
        if (!right)
            ck_abort_msg("step %u: %s", i, r.trace->str);
        if (i % 64 == 0) {
            /* All that was begun comes to its end. */
            play(&r, "go");
            for (unsigned n = 0; n < 2 * SLOT_QUEUE; n++) {
                play(&r, "|");
                play(&r, "reset");
                play(&r, "taken");
            }
            slot = slots_find(r.slots, "d");
            ck_assert(!slot || !slot_job(slot));
        }
    }
    rig_free(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("slot");
    TCase *tc = tcase_create("slot");

    tcase_add_loop_test(tc, scripts, 0, G_N_ELEMENTS(rows));
    tcase_add_test(tc, queue_is_bounded);
    tcase_add_test(tc, any_order);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
