/*
 * See resize.h. What changes without a job is told RESIZE_REST_MS later, with what came meanwhile, or when the balloon
 * has not moved for RESIZE_STILL_MS, or does not stop. A job is looked at every
 * RESIZE_TICK_MS while the guest runs, and when the agent answers: nothing tells of a vCPU that the
 * guest switched on, and a job is short.
 */
#include "vm/resize_priv.h"

#include "machine/virtio/memory.h"
#include "vm/devices.h"
#include "vm/vcpus.h"

#include <errno.h>
#include <limits.h>

static void tick(uv_timer_t *timer);

static void run_timer(struct resize *r)
{
    if (r->job && !r->held)
        uv_timer_start(r->timer, tick, RESIZE_TICK_MS, RESIZE_TICK_MS);
    else
        uv_timer_stop(r->timer);
}

int64_t resize__ask(struct resize *r, const char *const *words,
                    void (*reply)(void *, const struct agent_reply *))
{
    struct agent *agent = devices_agent(r->devices);

    return agent ? agent_ask(agent, words, (unsigned)MAX(r->left_ms, RESIZE_TICK_MS), reply, r)
                 : -1;
}

static void forget_questions(struct resize *r)
{
    int64_t *questions[] = {&r->cpus.question, &r->memory.question};

    for (unsigned i = 0; i < G_N_ELEMENTS(questions); i++) {
        if (*questions[i] >= 0)
            agent_cancel(devices_agent(r->devices), *questions[i]);
        *questions[i] = -1;
    }
}

static struct vmi_size_event size_now(const struct resize *r)
{
    return (struct vmi_size_event){.cpus = vcpus_granted(r->vcpus), .memory = resize_memory(r)};
}

/* Everybody knows what is there. */
static void told(struct resize *r)
{
    r->told = size_now(r);
    r->balloon_told = devices_balloon_bytes(r->devices);
}

/* What changed is told, unless a job tells it, when the balloon stands still. */
static void rested(uv_timer_t *timer)
{
    struct resize *r = timer->data;
    const struct vmi_size_event now = size_now(r), was = r->told;
    const struct vmi_balloon_event balloon = {devices_balloon_bytes(r->devices), now.memory};
    bool moved = balloon.balloon_bytes != r->balloon_seen;

    r->balloon_seen = balloon.balloon_bytes;
    if (moved && r->unrest++ < RESIZE_UNREST_MOST) {
        uv_timer_start(timer, rested, RESIZE_STILL_MS, 0);
        return;
    }
    r->unrest = 0;
    if (r->job)
        return;
    moved = balloon.balloon_bytes != r->balloon_told;
    told(r);
    if (moved)
        r->ops->ballooned(r->opaque, &balloon);
    if (now.cpus != was.cpus || now.memory != was.memory)
        r->ops->resized(r->opaque, &now);
}

static void on_wake(uv_async_t *wake)
{
    struct resize *r = wake->data;

    if (!uv_is_active((uv_handle_t *)r->rest))
        uv_timer_start(r->rest, rested, RESIZE_REST_MS, 0);
}

void resize_changed(struct resize *r)
{
    uv_async_send(r->wake);
}

static void memory_changed(void *opaque)
{
    resize_changed(opaque);
}

static void end(struct resize *r, enum device_outcome outcome)
{
    static const char *const kinds[] = {
        [DEVICE_OUTCOME_REFUSED] = "state",
        [DEVICE_OUTCOME_TIMED_OUT] = "timeout",
    };

    forget_questions(r);
    if (outcome != DEVICE_OUTCOME_DONE) {
        if (r->plug)
            resize__settle_plug(r);
        else
            resize__settle_cpus(r);
        resize__settle_memory(r);
    }
    struct resize_result result = {.outcome = outcome,
                                   .cpus = vcpus_granted(r->vcpus),
                                   .memory = resize_memory(r),
                                   .has_road = r->memory.wanted,
                                   .road = resize__road(r)};
    if (outcome == DEVICE_OUTCOME_DONE)
        g_string_truncate(r->why, 0);
    else if (outcome == DEVICE_OUTCOME_TIMED_OUT)
        g_string_prepend(r->why, "the time is over: ");
    g_string_truncate(r->why, MIN(r->why->len, LONG_TEXT_MAX));
    const struct vmi_job_ended_event event = {
        .job = r->job,
        .outcome = outcome,
        .kind = outcome < G_N_ELEMENTS(kinds) ? (char *)kinds[outcome] : NULL,
        .text = r->why->str,
        .resize = &result,
    };
    r->job = 0;
    told(r);
    run_timer(r);
    r->ops->ended(r->opaque, &event);
}

void resize__look(struct resize *r)
{
    enum progress memory = resize__look_at_memory(r);
    enum progress cpus = r->plug ? resize__look_at_plug(r) : resize__look_at_cpus(r);

    if (cpus == REFUSED || memory == REFUSED)
        end(r, DEVICE_OUTCOME_REFUSED);
    else if (cpus == DONE && memory == DONE)
        end(r, DEVICE_OUTCOME_DONE);
    else if (r->left_ms <= 0)
        end(r, DEVICE_OUTCOME_TIMED_OUT);
}

static void tick(uv_timer_t *timer)
{
    struct resize *r = timer->data;

    r->left_ms -= RESIZE_TICK_MS;
    resize__look(r);
}

static bool check(const struct resize *r, const struct vmi_resize_params *p, GError **err)
{
    if (r->job)
        return vmd_fail(err, VMD_ERROR_BUSY, "the VM's size is being changed, as job %" G_GUINT64_FORMAT,
                        r->job);
    if (!p->has_cpus && !p->has_memory)
        return vmd_fail(err, VMD_ERROR_INVALID, "neither processors nor memory are to change");
    return resize__check_cpus(r, p, err) && resize__check_memory(r, p, err);
}

bool resize_begin(struct resize *r, const struct vmi_resize_params *p, GError **err)
{
    if (!check(r, p, err))
        return false;
    r->job = p->job;
    r->left_ms = (int)MIN(p->timeout_ms, INT_MAX);
    g_string_truncate(r->why, 0);
    resize__begin_cpus(r, p);
    resize__begin_memory(r, p);
    run_timer(r);
    return true;
}

bool resize_cancel(struct resize *r, uint64_t job)
{
    if (!job || r->job != job)
        return false;
    end(r, DEVICE_OUTCOME_CANCELLED);
    return true;
}

uint64_t resize_job(const struct resize *r)
{
    return r->job;
}

void resize_hold(struct resize *r, bool hold)
{
    r->held = hold;
    run_timer(r);
}

struct resize *resize_new(uv_loop_t *loop, const struct vm_config *config, struct vcpus *vcpus,
                          struct cpu_plug *plug, struct devices *devices,
                          const struct hotplug_ops *ops, void *opaque)
{
    struct resize *r = g_new0(struct resize, 1);

    *r = (struct resize){.config = config,
                         .vcpus = vcpus,
                         .plug = plug,
                         .devices = devices,
                         .ops = ops,
                         .opaque = opaque,
                         .held = true,
                         .cpus.question = -1,
                         .memory.question = -1};
    r->why = g_string_new(NULL);
    r->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(loop, r->timer);
    r->timer->data = r;
    r->rest = g_new0(uv_timer_t, 1);
    uv_timer_init(loop, r->rest);
    r->rest->data = r;
    r->wake = g_new0(uv_async_t, 1);
    uv_async_init(loop, r->wake, on_wake);
    r->wake->data = r;
    if (devices_memory(devices))
        virtio_mem_watch(devices_memory(devices), memory_changed, r);
    devices_watch_balloon(devices, memory_changed, r);
    told(r);
    r->balloon_seen = r->balloon_told;
    return r;
}

static void handle_closed(uv_handle_t *handle)
{
    g_free(handle);
}

void resize_free(struct resize *r)
{
    if (!r)
        return;
    forget_questions(r);
    if (devices_memory(r->devices))
        virtio_mem_watch(devices_memory(r->devices), NULL, NULL);
    devices_watch_balloon(r->devices, NULL, NULL);
    uv_close((uv_handle_t *)r->timer, handle_closed);
    uv_close((uv_handle_t *)r->rest, handle_closed);
    uv_close((uv_handle_t *)r->wake, handle_closed);
    g_string_free(r->why, TRUE);
    g_free(r);
}
