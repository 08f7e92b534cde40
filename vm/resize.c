/*
 * See resize.h. A job is looked at every TICK_MS while the guest runs, and when the agent answers: nothing
 * tells of a vCPU that the guest switched on, and a job is short. All truth is in what vCPUs and balloon say;
 * what the agent says only ends a job early.
 */
#include "vm/resize.h"

#include "vm/agent.h"
#include "vm/devices.h"
#include "vm/vcpus.h"

#include <errno.h>
#include <limits.h>

enum { TICK_MS = 25 };

/* Where a part of a job is. */
enum progress { DONE, WAITING, REFUSED };

struct resize {
    const struct vm_config *config;
    struct vcpus *vcpus;
    struct devices *devices;
    const struct hotplug_ops *ops;
    void *opaque;
    uv_timer_t *timer;
    bool held;

    uint64_t job;    /* 0: none */
    int left_ms;     /* of its time */
    unsigned cpus;   /* wanted; 0: as they are */
    unsigned before; /* as many were granted */
    int64_t question; /* of the agent; -1: none */
    unsigned about;   /* which vCPU */
    uint64_t asked;   /* about these, a bit each */
    bool refused;     /* by the guest's kernel */
    bool has_memory;
    uint64_t memory; /* wanted */
    GString *why;    /* of a refusal, or what is waited for */
};

/* --- processors ------------------------------------------------------------------------------- */

/* The first vCPU that is not as wanted; -1: all are. */
static int odd_cpu(struct resize *r)
{
    for (unsigned i = 0; i < vcpus_count(r->vcpus); i++) {
        enum vcpu_power power = vcpus_power(r->vcpus, i);
        if (power != (i < r->cpus ? VCPU_ON : VCPU_OFF))
            return (int)i;
    }
    return -1;
}

static void look(struct resize *r);

static void answered(void *opaque, const struct agent_reply *reply)
{
    struct resize *r = opaque;

    r->question = -1;
    if (reply->error == ECONNRESET || reply->error == EPROTO) {
        r->asked &= ~(UINT64_C(1) << r->about); /* it may have done it or not, and comes again */
    } else if (reply->error && reply->error != ETIMEDOUT) {
        r->refused = true;
        g_string_printf(r->why, "the agent in the guest, about processor %u: %s", r->about, reply->text);
    }
    look(r);
}

/* Has the guest bring vCPU CPU up or down. */
static enum progress ask_agent(struct resize *r, unsigned cpu)
{
    bool up = cpu < r->cpus;
    struct agent *agent = devices_agent(r->devices);
    g_autofree char *number = g_strdup_printf("%u", cpu);
    const char *const words[] = {up ? "cpu-online" : "cpu-offline", number, NULL};

    r->question = agent ? agent_ask(agent, words, (unsigned)MAX(r->left_ms, TICK_MS), answered, r) : -1;
    if (r->question >= 0) {
        r->about = cpu;
        r->asked |= UINT64_C(1) << cpu;
        g_string_printf(r->why, "the guest was asked to switch processor %u %s", cpu, up ? "on" : "off");
        return WAITING;
    }
    g_string_printf(r->why,
                    up ? "processor %u is there for the guest, which has not started it, and has no agent that "
                         "could be asked to"
                       : "processor %u runs; only the guest can switch it off, and it has no agent that could be "
                         "asked to",
                    cpu);
    return up ? WAITING : REFUSED;
}

static enum progress look_at_cpus(struct resize *r)
{
    int odd;

    if (!r->cpus)
        return DONE;
    if (r->question >= 0)
        return WAITING; /* a vCPU is on a moment before the guest's kernel counts with it */
    odd = odd_cpu(r);
    if (odd < 0)
        return DONE;
    if (r->refused)
        return REFUSED;
    enum vcpu_power power = vcpus_power(r->vcpus, (unsigned)odd);
    bool moving = power == VCPU_STARTING || power == VCPU_STOPPING;
    if (moving || r->asked & UINT64_C(1) << odd)
        return WAITING;
    return ask_agent(r, (unsigned)odd);
}

/* What the guest does not use is withdrawn, and what it still uses stays granted. */
static void settle_cpus(struct resize *r)
{
    if (!r->cpus)
        return;
    unsigned n = MIN(r->before, r->cpus);

    for (unsigned i = n; i < vcpus_count(r->vcpus); i++) {
        if (vcpus_power(r->vcpus, i) != VCPU_OFF)
            n = i + 1;
    }
    vcpus_grant(r->vcpus, n);
}

/* --- memory ----------------------------------------------------------------------------------- */

static uint64_t balloon_bytes(const struct resize *r)
{
    return r->config->memory - r->memory;
}

static enum progress look_at_memory(struct resize *r)
{
    uint64_t there = devices_balloon_bytes(r->devices);

    if (!r->has_memory || there == balloon_bytes(r))
        return DONE;
    if (!r->why->len)
        g_string_printf(r->why, "the balloon holds %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " MiB",
                        there >> 20, balloon_bytes(r) >> 20);
    return WAITING;
}

/* What the guest has given stays given, and no more is asked for. */
static void settle_memory(struct resize *r)
{
    uint64_t target, actual;

    if (r->has_memory)
        devices_balloon(r->devices, devices_balloon_bytes(r->devices), &target, &actual);
}

uint64_t resize_memory(const struct resize *r)
{
    uint64_t away = devices_balloon_bytes(r->devices);

    return away < r->config->memory ? r->config->memory - away : 0;
}

/* --- the job ---------------------------------------------------------------------------------- */

static void tick(uv_timer_t *timer);

static void run_timer(struct resize *r)
{
    if (r->job && !r->held)
        uv_timer_start(r->timer, tick, TICK_MS, TICK_MS);
    else
        uv_timer_stop(r->timer);
}

static void end(struct resize *r, enum device_outcome outcome)
{
    static const char *const kinds[] = {
        [DEVICE_OUTCOME_REFUSED] = "state",
        [DEVICE_OUTCOME_TIMED_OUT] = "timeout",
    };

    if (r->question >= 0)
        agent_cancel(devices_agent(r->devices), r->question);
    r->question = -1;
    if (outcome != DEVICE_OUTCOME_DONE) {
        settle_cpus(r);
        settle_memory(r);
    }
    struct resize_result result = {.outcome = outcome,
                                   .cpus = vcpus_granted(r->vcpus),
                                   .memory = resize_memory(r),
                                   .has_road = r->has_memory,
                                   .road = RESIZE_ROAD_BALLOON};
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
    run_timer(r);
    r->ops->ended(r->opaque, &event);
}

static void look(struct resize *r)
{
    enum progress cpus = look_at_cpus(r), memory = look_at_memory(r);

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

    r->left_ms -= TICK_MS;
    look(r);
}

static bool check(const struct resize *r, const struct vmi_resize_params *p, GError **err)
{
    unsigned most = vcpus_count(r->vcpus);
    uint64_t target, actual;

    if (r->job)
        return vmd_fail(err, VMD_ERROR_BUSY, "the VM's size is being changed, as job %" G_GUINT64_FORMAT,
                        r->job);
    if (!p->has_cpus && !p->has_memory)
        return vmd_fail(err, VMD_ERROR_INVALID, "neither processors nor memory are to change");
    if (p->has_cpus && r->config->arch == VM_ARCH_X86_64)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "x86_64 guests have the same processors always");
    if (p->has_cpus && p->cpus > most)
        return vmd_fail(err, VMD_ERROR_LIMIT,
                        "params.cpus: the VM was started with room for %u processors (max_cpus)", most);
    if (p->has_memory && p->memory % MIB(1))
        return vmd_fail(err, VMD_ERROR_INVALID, "params.memory is not a multiple of 1 MiB");
    if (p->has_memory && p->memory > r->config->memory)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "params.memory: the VM was started without room for more memory");
    if (p->has_memory && !devices_balloon(r->devices, r->config->memory - p->memory, &target, &actual))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "VM %s has no balloon", r->config->name);
    return true;
}

bool resize_begin(struct resize *r, const struct vmi_resize_params *p, GError **err)
{
    if (!check(r, p, err))
        return false;
    r->job = p->job;
    r->left_ms = (int)MIN(p->timeout_ms, INT_MAX);
    r->before = vcpus_granted(r->vcpus);
    r->cpus = p->has_cpus ? p->cpus : 0;
    r->asked = 0;
    r->refused = false;
    r->has_memory = p->has_memory;
    r->memory = p->memory;
    g_string_truncate(r->why, 0);
    if (r->cpus)
        vcpus_grant(r->vcpus, r->cpus);
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
                          struct devices *devices, const struct hotplug_ops *ops, void *opaque)
{
    struct resize *r = g_new0(struct resize, 1);

    *r = (struct resize){.config = config, .vcpus = vcpus, .devices = devices, .ops = ops,
                         .opaque = opaque, .held = true, .question = -1};
    r->why = g_string_new(NULL);
    r->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(loop, r->timer);
    r->timer->data = r;
    return r;
}

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle);
}

void resize_free(struct resize *r)
{
    if (!r)
        return;
    if (r->question >= 0)
        agent_cancel(devices_agent(r->devices), r->question);
    uv_close((uv_handle_t *)r->timer, timer_closed);
    g_string_free(r->why, TRUE);
    g_free(r);
}
