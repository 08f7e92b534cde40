/*
 * The table of slot.h's states, and what carries it out.
 *
 * Invariants: a slot has a job exactly while one is under way; a timer runs only where a state waits
 * for somebody and a job bounds it; an event that comes while a slot is in the middle of a move waits
 * until that is over, so that no operation sees another begin within it.
 */
#include "hotplug/slot/slot.h"

struct job {
    uint64_t number;
    enum slot_job_kind kind;
    bool visible, force;
    unsigned timeout_ms;
    void *spec;
};

struct happening {
    enum slot_event event;
    char *why;
};

struct slot {
    struct slots *all;
    char *id;
    enum slot_state state;
    void *device;
    struct job *job;    /* under way; NULL: none */
    GQueue waiting;     /* struct job */
    GQueue happenings;  /* struct happening, while moving */
    bool moving;
    bool taken; /* the guest's driver has it, in whatever state */
    enum slot_outcome outcome; /* SLOT_RELEASING: how the job ends */
    char *why;                 /* and its reason */
    uv_timer_t *timer;         /* freed by its close */
    uint64_t left_ms;          /* held: what the timer had left; 0: it did not run */
};

struct slots {
    uv_loop_t *loop;
    const struct slots_ops *ops;
    void *opaque;
    GPtrArray *slots;
    uv_timer_t *turn; /* jobs are to be begun; freed by its close */
    bool held;
};

/* --- the table -------------------------------------------------------------------------------- */

enum action {
    PUBLISH = 1 << 0,
    ASK = 1 << 1,
    UNASK = 1 << 2, /* where that cannot be, SLOT_EV_LOST follows */
    TAKE = 1 << 3,  /* withdraw from the guest, close */
    JOB = 1 << 4,   /* only with a job: without one the event changes nothing */
    END = 1 << 5,   /* the job ends, with the row's outcome: now, or in SLOT_RELEASING when that is over */
};

struct move {
    enum slot_state to; /* SLOT_FREE in a row that is not there: the event changes nothing */
    unsigned actions;
    enum slot_outcome outcome;
};

#define GOES(actions, outcome) {SLOT_RELEASING, TAKE | (actions), outcome}

static const struct move table[SLOT_STATES][SLOT_EVENTS] = {
    [SLOT_REQUESTED] =
        {
            [SLOT_EV_MADE] = {SLOT_VISIBLE, PUBLISH, 0},
            [SLOT_EV_FAILED] = GOES(END, SLOT_REFUSED),
        },
    [SLOT_VISIBLE] =
        {
            [SLOT_EV_TAKEN] = {SLOT_ACKNOWLEDGED, END, SLOT_DONE},
            [SLOT_EV_REFUSED] = GOES(JOB | END, SLOT_REFUSED),
            [SLOT_EV_TIMEOUT] = GOES(JOB | END, SLOT_TIMED_OUT),
            [SLOT_EV_CANCEL] = GOES(JOB | END, SLOT_CANCELLED),
            [SLOT_EV_REMOVE] = {SLOT_LEAVING, ASK, 0},
            [SLOT_EV_FORCE] = GOES(END, SLOT_SURPRISE_REMOVED),
            [SLOT_EV_LOST] = GOES(END, SLOT_SURPRISE_REMOVED),
        },
    [SLOT_ACKNOWLEDGED] =
        {
            [SLOT_EV_LEFT] = {SLOT_VISIBLE, 0, 0},
            /* By the guest's own doing, or an answer that comes too late: nobody uses it, and a removal
             * will find it so. */
            [SLOT_EV_LET_GO] = {SLOT_VISIBLE, 0, 0},
            [SLOT_EV_RESET] = {SLOT_VISIBLE, 0, 0},
            [SLOT_EV_REMOVE] = {SLOT_LEAVING, ASK, 0},
            [SLOT_EV_FORCE] = GOES(END, SLOT_SURPRISE_REMOVED),
            [SLOT_EV_LOST] = GOES(END, SLOT_SURPRISE_REMOVED),
        },
    [SLOT_LEAVING] =
        {
            [SLOT_EV_LET_GO] = GOES(END, SLOT_DONE),
            [SLOT_EV_RESET] = GOES(END, SLOT_DONE),
            [SLOT_EV_REFUSED] = {SLOT_ACKNOWLEDGED, END, SLOT_REFUSED},
            [SLOT_EV_TIMEOUT] = {SLOT_ACKNOWLEDGED, UNASK | END, SLOT_TIMED_OUT},
            [SLOT_EV_CANCEL] = {SLOT_ACKNOWLEDGED, UNASK | END, SLOT_CANCELLED},
            [SLOT_EV_FORCE] = GOES(END, SLOT_SURPRISE_REMOVED),
            [SLOT_EV_LOST] = GOES(END, SLOT_SURPRISE_REMOVED),
        },
    [SLOT_RELEASING] =
        {
            [SLOT_EV_CLOSED] = {SLOT_FREE, END, 0},
            [SLOT_EV_TIMEOUT] = {SLOT_RELEASING, JOB | END, SLOT_TIMED_OUT},
        },
};

static bool is_row(const struct move *move)
{
    return move->to != SLOT_FREE || move->actions;
}

const char *slot_state_name(enum slot_state state)
{
    static const char *const names[] = {
        [SLOT_FREE] = "free",
        [SLOT_REQUESTED] = "requested",
        [SLOT_VISIBLE] = "visible",
        [SLOT_ACKNOWLEDGED] = "acknowledged",
        [SLOT_LEAVING] = "leaving",
        [SLOT_RELEASING] = "releasing",
    };

    return names[state];
}

const char *slot_outcome_name(enum slot_outcome outcome)
{
    static const char *const names[] = {
        [SLOT_DONE] = "done",
        [SLOT_REFUSED] = "refused",
        [SLOT_TIMED_OUT] = "timed-out",
        [SLOT_SURPRISE_REMOVED] = "surprise-removed",
        [SLOT_CANCELLED] = "cancelled",
    };

    return names[outcome];
}

/* --- timers ----------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static uv_timer_t *timer_new(uv_loop_t *loop, void *data)
{
    uv_timer_t *timer = g_new0(uv_timer_t, 1);

    uv_timer_init(loop, timer);
    timer->data = data;
    return timer;
}

static void timer_free(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, handle_closed);
}

static void step(struct slot *slot, enum slot_event event, const char *why);

static bool waits_for_guest(const struct slot *slot)
{
    return slot->state == SLOT_VISIBLE || slot->state == SLOT_LEAVING;
}

static void on_timeout(uv_timer_t *timer)
{
    static const char *const why[] = {
        [SLOT_VISIBLE] = "the guest did not take the device in the time allowed",
        [SLOT_LEAVING] = "the guest did not let go of the device in the time allowed",
        [SLOT_RELEASING] = "the guest has let go of the device; what is behind it is still being closed",
    };
    struct slot *slot = timer->data;
    const struct slots_ops *ops = slot->all->ops;
    const char *late =
        ops->late && waits_for_guest(slot) ? ops->late(slot->all->opaque, slot->device) : NULL;
    g_autofree char *text = g_strconcat(why[slot->state], late ? ": " : NULL, late, NULL);

    step(slot, SLOT_EV_TIMEOUT, text);
}

/* Bounds the state that SLOT has come to. */
static void set_timer(struct slot *slot)
{
    uint64_t ms = 0;

    uv_timer_stop(slot->timer);
    slot->left_ms = 0;
    if (slot->job && waits_for_guest(slot))
        ms = slot->job->timeout_ms ? slot->job->timeout_ms : SLOT_GUEST_MS;
    else if (slot->job && slot->state == SLOT_RELEASING)
        ms = SLOT_CLOSE_MS;
    if (slot->all->held && waits_for_guest(slot))
        slot->left_ms = ms;
    else if (ms)
        uv_timer_start(slot->timer, on_timeout, ms, 0);
}

void slots_hold(struct slots *slots, bool hold)
{
    if (slots->held == hold)
        return;
    slots->held = hold;
    for (guint i = 0; i < slots->slots->len; i++) {
        struct slot *slot = g_ptr_array_index(slots->slots, i);
        if (!waits_for_guest(slot))
            continue;
        if (!hold && slot->left_ms) {
            uv_timer_start(slot->timer, on_timeout, slot->left_ms, 0);
        } else if (hold && uv_is_active((uv_handle_t *)slot->timer)) {
            slot->left_ms = MAX(uv_timer_get_due_in(slot->timer), 1);
            uv_timer_stop(slot->timer);
        }
    }
}

/* --- slots ------------------------------------------------------------------------------------ */

static void job_free(struct slots *slots, struct job *job)
{
    if (job && job->spec)
        slots->ops->free_spec(slots->opaque, job->spec);
    g_free(job);
}

static struct slot *slot_new(struct slots *slots, const char *id)
{
    struct slot *slot = g_new0(struct slot, 1);

    slot->all = slots;
    slot->id = g_strdup(id);
    slot->timer = timer_new(slots->loop, slot);
    g_queue_init(&slot->waiting);
    g_queue_init(&slot->happenings);
    g_ptr_array_add(slots->slots, slot);
    return slot;
}

static void happening_free(gpointer p)
{
    struct happening *h = p;

    g_free(h->why);
    g_free(h);
}

static void slot_free(struct slot *slot)
{
    struct job *job;

    while ((job = g_queue_pop_head(&slot->waiting)))
        job_free(slot->all, job);
    job_free(slot->all, slot->job);
    g_queue_clear_full(&slot->happenings, happening_free);
    timer_free(slot->timer);
    g_free(slot->why);
    g_free(slot->id);
    g_free(slot);
}

struct slots *slots_new(uv_loop_t *loop, const struct slots_ops *ops, void *opaque)
{
    struct slots *slots = g_new0(struct slots, 1);

    slots->loop = loop;
    slots->ops = ops;
    slots->opaque = opaque;
    slots->slots = g_ptr_array_new();
    slots->turn = timer_new(loop, slots);
    return slots;
}

void slots_free(struct slots *slots)
{
    if (!slots)
        return;
    for (guint i = 0; i < slots->slots->len; i++)
        slot_free(g_ptr_array_index(slots->slots, i));
    g_ptr_array_free(slots->slots, TRUE);
    timer_free(slots->turn);
    g_free(slots);
}

struct slot *slots_find(struct slots *slots, const char *id)
{
    for (guint i = 0; i < slots->slots->len; i++) {
        struct slot *slot = g_ptr_array_index(slots->slots, i);
        if (strcmp(slot->id, id) == 0)
            return slot;
    }
    return NULL;
}

void slots_each(struct slots *slots, void (*each)(void *opaque, struct slot *slot), void *opaque)
{
    for (guint i = 0; i < slots->slots->len; i++)
        each(opaque, g_ptr_array_index(slots->slots, i));
}

void slots_each_job(struct slots *slots, void (*each)(void *opaque, uint64_t job), void *opaque)
{
    for (guint i = 0; i < slots->slots->len; i++) {
        struct slot *slot = g_ptr_array_index(slots->slots, i);
        if (slot->job)
            each(opaque, slot->job->number);
        for (GList *l = slot->waiting.head; l; l = l->next)
            each(opaque, ((struct job *)l->data)->number);
    }
}

const char *slot_id(const struct slot *slot)
{
    return slot->id;
}

enum slot_state slot_state(const struct slot *slot)
{
    return slot->state;
}

void *slot_device(const struct slot *slot)
{
    return slot->device;
}

uint64_t slot_job(const struct slot *slot)
{
    return slot->job ? slot->job->number : 0;
}

struct slot *slots_adopt(struct slots *slots, const char *id, void *device)
{
    struct slot *slot = slot_new(slots, id);

    slot->state = SLOT_VISIBLE;
    slot->device = device;
    return slot;
}

/* --- moving ----------------------------------------------------------------------------------- */

static enum vmd_error error_of(enum slot_outcome outcome)
{
    return outcome == SLOT_TIMED_OUT ? VMD_ERROR_TIMEOUT
           : outcome == SLOT_REFUSED ? VMD_ERROR_STATE
                                     : VMD_ERROR_GONE;
}

static void begin_soon(struct slots *slots);

/* The job is over. ERR, borrowed, says more than WHY where there is one. */
static void end_job(struct slot *slot, struct job *job, enum slot_outcome outcome, const GError *err,
                    const char *why)
{
    struct slots *all = slot->all;
    bool fine = outcome == SLOT_DONE || (outcome == SLOT_SURPRISE_REMOVED && job->force);
    g_autoptr(GError) made = NULL;

    if (!fine && !err)
        made = g_error_new(VMD_ERROR, (int)error_of(outcome), "device %s: %s", slot->id,
                           why ? why : slot_outcome_name(outcome));
    all->ops->ended(all->opaque, job->number, slot->id, outcome, fine ? NULL : err ? err : made);
    job_free(all, job);
    begin_soon(all);
}

static void enter(struct slot *slot, enum slot_state state, const char *why)
{
    slot->state = state;
    slot->all->ops->changed(slot->all->opaque, slot, why);
}

/* The end of the row's job, which may lie behind SLOT_RELEASING. */
static void row_ends(struct slot *slot, const struct move *move, const char *why)
{
    const struct job *job = slot->job;
    bool closed = move->to == SLOT_FREE;

    if (!(move->actions & END) || !job)
        return;
    /* Of a device that is taken an addition is done; a removal is not what it waits for. */
    if (move->to == SLOT_ACKNOWLEDGED && move->outcome == SLOT_DONE && job->kind != SLOT_ADD)
        return;
    if (move->to == SLOT_RELEASING && (move->actions & TAKE)) {
        slot->outcome = move->outcome;
        g_free(slot->why);
        slot->why = g_strdup(why);
        return;
    }
    end_job(slot, g_steal_pointer(&slot->job), closed ? slot->outcome : move->outcome, NULL,
            closed ? slot->why : why);
}

/* Where MOVE leads: a device that stays is used by its driver or not. */
static enum slot_state goal(const struct slot *slot, const struct move *move)
{
    return move->to == SLOT_ACKNOWLEDGED && !slot->taken ? SLOT_VISIBLE : move->to;
}

/* What has to succeed before the state is another. False: something else happened instead. */
static bool prepare(struct slot *slot, const struct move *move, const char *why)
{
    const struct slots_ops *ops = slot->all->ops;
    g_autoptr(GError) err = NULL;

    if ((move->actions & PUBLISH) && !ops->publish(slot->all->opaque, slot->device, &err)) {
        step(slot, SLOT_EV_FAILED, err->message);
        return false;
    }
    if ((move->actions & UNASK) && !ops->unask(slot->all->opaque, slot->device)) {
        step(slot, SLOT_EV_LOST, why);
        return false;
    }
    return true;
}

static void carry_out(struct slot *slot, enum slot_event event, const char *why)
{
    const struct move *move = &table[slot->state][event];
    const struct slots_ops *ops = slot->all->ops;
    void *opaque = slot->all->opaque;

    if (event == SLOT_EV_TAKEN)
        slot->taken = true;
    else if (event == SLOT_EV_LEFT || event == SLOT_EV_LET_GO || event == SLOT_EV_RESET)
        slot->taken = false;
    if (!is_row(move) || ((move->actions & JOB) && !slot->job) || !prepare(slot, move, why))
        return;
    if (goal(slot, move) != slot->state)
        enter(slot, goal(slot, move), why);
    row_ends(slot, move, why);
    if ((move->actions & PUBLISH) && slot->job->visible)
        end_job(slot, g_steal_pointer(&slot->job), SLOT_DONE, NULL, NULL);
    set_timer(slot);
    if (move->actions & ASK)
        ops->ask(opaque, slot->device);
    if (move->actions & TAKE) {
        void *device = g_steal_pointer(&slot->device);
        if (device)
            ops->withdraw(opaque, device);
        ops->close(opaque, slot, device);
    }
}

static void step(struct slot *slot, enum slot_event event, const char *why)
{
    struct happening *h = g_new(struct happening, 1);

    *h = (struct happening){event, g_strdup(why)};
    g_queue_push_tail(&slot->happenings, h);
    if (slot->moving)
        return;
    slot->moving = true;
    while ((h = g_queue_pop_head(&slot->happenings))) {
        carry_out(slot, h->event, h->why);
        happening_free(h);
    }
    slot->moving = false;
    if (slot->state == SLOT_FREE)
        begin_soon(slot->all);
}

void slots_signal(struct slots *slots, struct slot *slot, enum slot_event event, const char *why)
{
    step(slot, event, why);
}

void slots_reset(struct slots *slots)
{
    for (guint i = slots->slots->len; i-- > 0;)
        step(g_ptr_array_index(slots->slots, i), SLOT_EV_RESET, "the guest was reset");
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void refuse(struct slot *slot, struct job *job, enum vmd_error code, const char *text)
{
    g_autoptr(GError) err = g_error_new(VMD_ERROR, (int)code, "device %s: %s", slot->id, text);

    end_job(slot, job, SLOT_REFUSED, err, NULL);
}

static void begin_add(struct slot *slot, struct job *job)
{
    struct slots *all = slot->all;
    g_autoptr(GError) err = NULL;

    if (slot->state != SLOT_FREE) {
        refuse(slot, job, VMD_ERROR_EXISTS, "the id is taken");
        return;
    }
    slot->job = job;
    enter(slot, SLOT_REQUESTED, NULL);
    slot->device = all->ops->make(all->opaque, slot, g_steal_pointer(&job->spec), &err);
    if (slot->device) {
        step(slot, SLOT_EV_MADE, NULL);
        return;
    }
    /* What the error is says more than a state; nothing was made that would have to be closed. */
    slot->job = NULL;
    enter(slot, SLOT_FREE, err->message);
    end_job(slot, job, SLOT_REFUSED, err, NULL);
}

static void begin_remove(struct slot *slot, struct job *job)
{
    if (slot->state == SLOT_FREE) {
        refuse(slot, job, VMD_ERROR_NOT_FOUND, "it is gone already");
        return;
    }
    slot->job = job;
    step(slot, job->force ? SLOT_EV_FORCE : SLOT_EV_REMOVE,
         job->force ? "removed by force" : NULL);
}

/* A job under way that waits for the guest makes room for a removal by force. */
static void overtake(struct slot *slot)
{
    const struct job *next = g_queue_peek_head(&slot->waiting);

    if (slot->job && next && next->force && waits_for_guest(slot))
        end_job(slot, g_steal_pointer(&slot->job), SLOT_SURPRISE_REMOVED, NULL,
                "the device was removed by force meanwhile");
}

static void begin(struct slot *slot)
{
    overtake(slot);
    while (!slot->job && slot->state != SLOT_RELEASING) {
        struct job *job = g_queue_pop_head(&slot->waiting);
        if (!job)
            break;
        if (job->kind == SLOT_ADD)
            begin_add(slot, job);
        else
            begin_remove(slot, job);
    }
}

static void on_turn(uv_timer_t *timer)
{
    struct slots *slots = timer->data;

    for (guint i = slots->slots->len; i-- > 0;) {
        struct slot *slot = g_ptr_array_index(slots->slots, i);
        begin(slot);
        if (slot->state == SLOT_FREE && !slot->job && g_queue_is_empty(&slot->waiting)) {
            g_ptr_array_remove_index_fast(slots->slots, i);
            slot_free(slot);
        }
    }
}

static void begin_soon(struct slots *slots)
{
    if (!uv_is_active((uv_handle_t *)slots->turn))
        uv_timer_start(slots->turn, on_turn, 0, 0);
}

static bool check(struct slots *slots, struct slot *slot, const struct slot_request *r, GError **err)
{
    bool busy = slot && (slot->job || !g_queue_is_empty(&slot->waiting));

    if (r->kind == SLOT_REMOVE && !slot)
        return vmd_fail(err, VMD_ERROR_NOT_FOUND, "there is no device %s", r->id);
    if (r->kind == SLOT_ADD && slot && !busy && slot->state != SLOT_FREE &&
        slot->state != SLOT_RELEASING)
        return vmd_fail(err, VMD_ERROR_EXISTS, "there is a device %s already", r->id);
    if (slot && g_queue_get_length(&slot->waiting) >= SLOT_QUEUE)
        return vmd_fail(err, VMD_ERROR_BUSY, "device %s: %d requests wait for it already", r->id,
                        SLOT_QUEUE);
    return true;
}

bool slots_request(struct slots *slots, const struct slot_request *r, GError **err)
{
    struct slot *slot = slots_find(slots, r->id);
    struct job *job;

    if (!check(slots, slot, r, err))
        return false;
    if (!slot)
        slot = slot_new(slots, r->id);
    job = g_new0(struct job, 1);
    *job = (struct job){r->job, r->kind, r->visible, r->force, r->timeout_ms, r->spec};
    if (job->force)
        g_queue_push_head(&slot->waiting, job);
    else
        g_queue_push_tail(&slot->waiting, job);
    begin_soon(slots);
    return true;
}

bool slots_cancel(struct slots *slots, uint64_t number, GError **err)
{
    for (guint i = 0; i < slots->slots->len; i++) {
        struct slot *slot = g_ptr_array_index(slots->slots, i);
        for (GList *l = slot->waiting.head; l; l = l->next) {
            struct job *job = l->data;
            if (job->number != number)
                continue;
            g_queue_delete_link(&slot->waiting, l);
            end_job(slot, job, SLOT_CANCELLED, NULL, NULL);
            return true;
        }
        if (!slot->job || slot->job->number != number)
            continue;
        if (!is_row(&table[slot->state][SLOT_EV_CANCEL]))
            return vmd_fail(err, VMD_ERROR_STATE, "device %s: it is too late", slot->id);
        step(slot, SLOT_EV_CANCEL, "cancelled");
        return true;
    }
    return vmd_fail(err, VMD_ERROR_NOT_FOUND, "no such job is under way");
}
