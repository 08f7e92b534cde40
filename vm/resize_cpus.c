/*
 * The processors' part of a change of size. All truth is in what vCPUs say; what the agent says
 * only ends a job early.
 */
#include "vm/resize_priv.h"

#include "vm/vcpus.h"

#include <errno.h>

/* The first vCPU that is not as wanted; -1: all are. */
static int odd_cpu(struct resize *r)
{
    for (unsigned i = 0; i < vcpus_count(r->vcpus); i++) {
        enum vcpu_power power = vcpus_power(r->vcpus, i);
        if (power != (i < r->cpus.wanted ? VCPU_ON : VCPU_OFF))
            return (int)i;
    }
    return -1;
}

static void answered(void *opaque, const struct agent_reply *reply)
{
    struct resize *r = opaque;

    r->cpus.question = -1;
    if (reply->error == ECONNRESET || reply->error == EPROTO) {
        r->cpus.asked &=
            ~(UINT64_C(1) << r->cpus.about); /* it may have done it or not, and comes again */
    } else if (reply->error && reply->error != ETIMEDOUT) {
        r->cpus.refused = true;
        g_string_printf(r->why, "the agent in the guest, about processor %u: %s", r->cpus.about,
                        reply->text);
    }
    resize__look(r);
}

/* Has the guest bring vCPU CPU up or down. */
static enum progress ask_agent(struct resize *r, unsigned cpu)
{
    bool up = cpu < r->cpus.wanted;
    g_autofree char *number = g_strdup_printf("%u", cpu);
    const char *const words[] = {up ? "cpu-online" : "cpu-offline", number, NULL};

    r->cpus.question = resize__ask(r, words, answered);
    if (r->cpus.question >= 0) {
        r->cpus.about = cpu;
        r->cpus.asked |= UINT64_C(1) << cpu;
        g_string_printf(r->why, "the guest was asked to switch processor %u %s", cpu,
                        up ? "on" : "off");
        return WAITING;
    }
    g_string_printf(
        r->why,
        up ? "processor %u is there for the guest, which has not started it, and has no agent that "
             "could be asked to"
           : "processor %u runs; only the guest can switch it off, and it has no agent that could "
             "be "
             "asked to",
        cpu);
    return up ? WAITING : REFUSED;
}

enum progress resize__look_at_cpus(struct resize *r)
{
    int odd;

    if (!r->cpus.wanted)
        return DONE;
    if (r->cpus.question >= 0)
        return WAITING; /* a vCPU is on a moment before the guest's kernel counts with it */
    odd = odd_cpu(r);
    if (odd < 0)
        return DONE;
    if (r->cpus.refused)
        return REFUSED;
    enum vcpu_power power = vcpus_power(r->vcpus, (unsigned)odd);
    bool moving = power == VCPU_STARTING || power == VCPU_STOPPING;
    if (moving || r->cpus.asked & UINT64_C(1) << odd)
        return WAITING;
    return ask_agent(r, (unsigned)odd);
}

/* What the guest does not use is withdrawn, and what it still uses stays granted. */
void resize__settle_cpus(struct resize *r)
{
    if (!r->cpus.wanted)
        return;
    unsigned n = MIN(r->cpus.before, r->cpus.wanted);

    for (unsigned i = n; i < vcpus_count(r->vcpus); i++) {
        if (vcpus_power(r->vcpus, i) != VCPU_OFF)
            n = i + 1;
    }
    vcpus_grant(r->vcpus, n);
}

bool resize__check_cpus(const struct resize *r, const struct vmi_resize_params *p, GError **err)
{
    unsigned most = vcpus_count(r->vcpus);

    return !p->has_cpus || p->cpus <= most ||
           vmd_fail(err, VMD_ERROR_LIMIT,
                    "params.cpus: the VM was started with room for %u processors (max_cpus)", most);
}

void resize__begin_cpus(struct resize *r, const struct vmi_resize_params *p)
{
    r->cpus = (struct resize_cpus){
        .wanted = p->has_cpus ? p->cpus : 0, .before = vcpus_granted(r->vcpus), .question = -1};
    if (r->cpus.wanted && !r->plug)
        vcpus_grant(r->vcpus, r->cpus.wanted);
}
