/*
 * The processors' part of a change of size where they come and go by ACPI: an x86 guest's. One that
 * is to come waits for INIT and SIPI, and the guest is told; the guest has it when it says so, or
 * starts it. One that is to go is gone when the guest has let go of it. An agent in the guest,
 * where there is one, then brings what came online; nobody else need.
 */
#include "vm/resize_priv.h"

#include "machine/devices/cpu_plug.h"
#include "vm/devices.h"
#include "vm/vcpus.h"

#include <errno.h>

/* What the guest answered, as _OST has it (ACPI 6.5, tables 6.60 to 6.62). */
static const char *answer_of(bool comes, uint32_t status)
{
    static const struct {
        uint32_t status;
        const char *comes, *goes;
    } answers[] = {
        {1, "it failed", "it failed"},
        {2, "it does not know of that", "it does not know of that"},
        {0x80, "in progress", "a program uses it"},
        {0x81, "its driver could not be loaded", "it is busy"},
        {0x82, "it cannot take processors", "something that depends on it cannot go"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
        if (answers[i].status == status)
            return comes ? answers[i].comes : answers[i].goes;
    }
    return "for a reason of its own";
}

static enum progress refused(struct resize *r, unsigned cpu, bool comes, uint32_t status)
{
    g_string_printf(r->why, "the guest's kernel does not %s processor %u: %s (0x%x)",
                    comes ? "take" : "let go of", cpu, answer_of(comes, status), status);
    return REFUSED;
}

/* --- coming ----------------------------------------------------------------------------------- */

static void answered(void *opaque, const struct agent_reply *reply)
{
    struct resize *r = opaque;

    r->cpus.question = -1;
    if (reply->error == ECONNRESET || reply->error == EPROTO) {
        r->cpus.helped[r->cpus.about] = false; /* it may have done it or not, and comes again */
    } else if (reply->error && reply->error != ETIMEDOUT) {
        r->cpus.refused = true;
        g_string_printf(r->why, "the agent in the guest, about processor %u: %s", r->cpus.about,
                        reply->text);
    }
    resize__look(r);
}

/* The guest has CPU, which does not run. Where no agent brings it online the guest may, or not. */
static enum progress help(struct resize *r, unsigned cpu)
{
    g_autofree char *number = g_strdup_printf("%u", cpu);
    const char *const words[] = {"cpu-online", number, NULL};

    if (r->cpus.helped[cpu])
        return r->cpus.refused ? REFUSED : DONE;
    r->cpus.question = resize__ask(r, words, answered);
    if (r->cpus.question < 0)
        return DONE;
    r->cpus.about = cpu;
    r->cpus.helped[cpu] = true;
    g_string_printf(r->why, "the guest was asked to bring processor %u online", cpu);
    return WAITING;
}

/* CPU is to come: it is made to wait for another's INIT, which would be lost before it does, and
 * then the guest is told. */
static void bring(struct resize *r, unsigned cpu)
{
    static const struct vcpu_start waiting = {.mode = VCPU_MODE_WAIT};
    enum vcpu_power power = vcpus_power(r->vcpus, cpu);

    if (power == VCPU_OFF) {
        vcpus_grant_one(r->vcpus, cpu, true);
        vcpus_start(r->vcpus, cpu, &waiting);
        r->cpus.begun[cpu] = true;
        r->cpus.told[cpu] = false;
    } else if (power == VCPU_ON && r->cpus.begun[cpu] && !r->cpus.told[cpu]) {
        cpu_plug_offer(r->plug, cpu);
        r->cpus.told[cpu] = true;
    }
    g_string_printf(r->why, "processor %u is there for the guest, which has not taken it", cpu);
}

static enum progress look_at_coming(struct resize *r, unsigned cpu)
{
    struct cpu_plug_state state;

    cpu_plug_look(r->plug, cpu, &state);
    if (!state.present) {
        bring(r, cpu);
        return WAITING;
    }
    if (!r->cpus.told[cpu] || vcpus_runs(r->vcpus, cpu))
        return DONE;
    if (state.refused)
        return refused(r, cpu, true, state.status);
    return state.taken ? help(r, cpu) : WAITING;
}

/* --- going ------------------------------------------------------------------------------------ */

static enum progress look_at_going(struct resize *r, unsigned cpu)
{
    struct cpu_plug_state state;

    cpu_plug_look(r->plug, cpu, &state);
    if (!state.present)
        return vcpus_power(r->vcpus, cpu) == VCPU_OFF ? DONE : WAITING;
    if (!r->cpus.told[cpu]) {
        r->cpus.told[cpu] = true;
        vcpus_grant_one(r->vcpus, cpu, false);
        cpu_plug_ask_back(r->plug, cpu, true);
        g_string_printf(r->why, "the guest was asked to let go of processor %u, and has not", cpu);
        return WAITING;
    }
    return state.refused ? refused(r, cpu, false, state.status) : WAITING;
}

/* --- the whole -------------------------------------------------------------------------------- */

enum progress resize__look_at_plug(struct resize *r)
{
    enum progress all = DONE;

    if (!r->cpus.wanted)
        return DONE;
    for (unsigned i = 0; i < vcpus_count(r->vcpus); i++) {
        if (r->cpus.question >= 0)
            return WAITING; /* a vCPU runs a moment before the guest's kernel counts with it */
        enum progress one = i < r->cpus.wanted ? look_at_coming(r, i) : look_at_going(r, i);
        if (one == REFUSED)
            return REFUSED;
        all = one == WAITING ? WAITING : all;
    }
    return all;
}

/* What came and the guest has not taken is withdrawn; what it has not let go of is its own again.
 */
static void settle(struct resize *r, unsigned cpu)
{
    struct cpu_plug_state state;

    cpu_plug_look(r->plug, cpu, &state);
    bool used = state.present && (state.taken || vcpus_runs(r->vcpus, cpu));
    if (cpu >= r->cpus.wanted && r->cpus.told[cpu] && state.present) {
        vcpus_grant_one(r->vcpus, cpu, true);
        cpu_plug_ask_back(r->plug, cpu, false);
        cpu_plug_look(r->plug, cpu, &state);
        if (!state.present) /* it was let go of just then */
            vcpus_grant_one(r->vcpus, cpu, false);
    } else if (cpu < r->cpus.wanted && r->cpus.begun[cpu] && !used) {
        cpu_plug_withdraw(r->plug, cpu);
        vcpus_grant_one(r->vcpus, cpu, false);
        vcpus_stop(r->vcpus, cpu);
    }
}

void resize__settle_plug(struct resize *r)
{
    for (unsigned i = 0; r->cpus.wanted && i < vcpus_count(r->vcpus); i++)
        settle(r, i);
}
