/* The VM process and its translator: hot blocks, rates, what is asked of it. See process_priv.h. */
#include "vm/process_priv.h"

#include "base/log.h"
#include "vm/stats.h"
#include "vm/warm.h"

#include <unistd.h>

void process__save_hot(struct process *p)
{
    uint64_t blocks, pages;
    g_autoptr(GError) err = NULL;

    if (!warm_save(machine_accel(p->machine), p->start->runtime_dir, &blocks, &pages, &err) &&
        !g_error_matches(err, VMD_ERROR, VMD_ERROR_STATE))
        log_warning("hot blocks: %s", err->message);
}

void process__warm_timeout(uv_timer_t *timer)
{
    struct process *p = timer->data;

    if (p->machine && !p->end)
        process__save_hot(p);
}

void process__trim_timeout(uv_timer_t *timer)
{
    struct process *p = timer->data;

    if (p->machine && !p->end)
        accel_code_trim(machine_accel(p->machine));
}

static void tell_rate(struct process *p, enum xlate_rate which, enum rate_news news)
{
    const struct rate *rate = &p->rates[which];
    struct vmi_xlate_rate_event event = {
        .rate = which, .low = news == RATE_FELL, .percent = rate->percent,
        .threshold = rate->threshold, .counted = rate->counted};

    if (news != RATE_AS_BEFORE)
        vmipc_server_emit(p->server, VMI_EVENT_XLATE_RATE, &event);
}

static void rate_timeout(uv_timer_t *timer)
{
    struct process *p = timer->data;

    if (!p->machine || p->end)
        return;
    g_autoptr(vm_xlate_stats) s = stats_xlate(machine_accel(p->machine),
                                              machine_vcpus(p->machine));
    tell_rate(p, XLATE_RATE_HIT, rate_feed(&p->rates[XLATE_RATE_HIT], s->hits, s->lookups));
    tell_rate(p, XLATE_RATE_LINK,
              rate_feed_gauge(&p->rates[XLATE_RATE_LINK], s->linked_edges, s->direct_edges));
}

void process__set_rates(struct process *p, unsigned hit, unsigned link)
{
    bool before = uv_is_active((const uv_handle_t *)&p->rate_timer);

    rate_set(&p->rates[XLATE_RATE_HIT], hit);
    rate_set(&p->rates[XLATE_RATE_LINK], link);
    if (!hit && !link) {
        uv_timer_stop(&p->rate_timer);
    } else if (!before) {
        g_autoptr(vm_xlate_stats) s = stats_xlate(machine_accel(p->machine),
                                                  machine_vcpus(p->machine));
        p->rates[XLATE_RATE_HIT].part = s->hits;
        p->rates[XLATE_RATE_HIT].whole = s->lookups;
        uv_timer_start(&p->rate_timer, rate_timeout, RATES_WINDOW_MS, RATES_WINDOW_MS);
    }
}

/* --- methods: the translator ------------------------------------------------------------------ */

static struct machine *need_xlate(struct rpc_call *call)
{
    struct machine *m = process__machine(call);

    if (m && process__of(call)->start->accel != VM_ACCEL_XLATE) {
        rpc_call_error(call, VMD_ERROR_UNSUPPORTED, "the translator does not run this VM");
        return NULL;
    }
    return m;
}

void process_xlate_stats(struct rpc_call *call, struct vmi_xlate_stats_params *params)
{
    struct machine *m = need_xlate(call);

    if (m) {
        g_autoptr(vm_xlate_stats) s = stats_xlate(machine_accel(m), machine_vcpus(m));
        vmi_xlate_stats_reply(call, s);
    }
}

void process_xlate_clear(struct rpc_call *call, struct vmi_xlate_clear_params *params)
{
    struct machine *m = need_xlate(call);

    if (m) {
        g_autoptr(vm_xlate_stats) before = stats_xlate(machine_accel(m), machine_vcpus(m));
        struct vmi_xlate_clear_result result = {.blocks = before->len, .bytes = before->bytes};
        accel_code_clear(machine_accel(m));
        vmi_xlate_clear_reply(call, &result);
    }
}

void process_xlate_limit(struct rpc_call *call, struct vmi_xlate_limit_params *params)
{
    struct machine *m = need_xlate(call);
    GError *err = NULL;

    if (!m)
        return;
    if (!accel_code_limit(machine_accel(m), params->bytes, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    g_autoptr(vm_xlate_stats) now = stats_xlate(machine_accel(m), machine_vcpus(m));
    struct vmi_xlate_limit_result result = {.bytes = now->limit_bytes};
    vmi_xlate_limit_reply(call, &result);
}

void process_xlate_warm(struct rpc_call *call, struct vmi_xlate_warm_params *params)
{
    struct machine *m = need_xlate(call);
    struct vmi_xlate_warm_result result = {0};
    GError *err = NULL;

    if (!m)
        return;
    if (warm_save(machine_accel(m), process__of(call)->start->runtime_dir, &result.blocks,
                  &result.pages, &err))
        vmi_xlate_warm_reply(call, &result);
    else
        rpc_call_fail(call, err);
}

void process_xlate_watch(struct rpc_call *call, struct vmi_xlate_watch_params *params)
{
    struct process *p = process__of(call);
    const struct rate *hit = &p->rates[XLATE_RATE_HIT], *link = &p->rates[XLATE_RATE_LINK];

    if (!need_xlate(call))
        return;
    process__set_rates(p, params->has_hit_percent ? params->hit_percent : hit->threshold,
              params->has_link_percent ? params->link_percent : link->threshold);
    struct vmi_xlate_watch_result result = {.hit_percent = hit->threshold,
                                            .link_percent = link->threshold};
    vmi_xlate_watch_reply(call, &result);
}

void process_xlate_sample(struct rpc_call *call, struct vmi_xlate_sample_params *params)
{
    if (!need_xlate(call))
        return;
    if (profile_start(process__of(call)->profile, params->rate_hz, params->seconds))
        vmi_xlate_sample_reply(call);
    else
        rpc_call_error(call, VMD_ERROR_BUSY, "the VM is being sampled: xlate.profile ends that");
}

void process_xlate_profile(struct rpc_call *call, struct vmi_xlate_profile_params *params)
{
    if (!need_xlate(call))
        return;
    g_autoptr(xlate_profile) found = profile_stop(process__of(call)->profile);
    if (found)
        vmi_xlate_profile_reply(call, found);
    else
        rpc_call_error(call, VMD_ERROR_STATE, "nobody began to sample this VM");
}

static void add_code(void *opaque, const struct accel_code *code)
{
    struct xlate_code_part *part = opaque;
    struct xlate_code_row *row = xlate_code_row_new();

    row->host = (uintptr_t)code->host;
    row->bytes = code->bytes;
    row->gpa = code->gpa;
    row->has_pc = code->pc != 0;
    row->pc = code->pc;
    row->mode = g_strdup(code->mode);
    row->instructions = code->instructions;
    part->code[part->n_code++] = row;
}

void process_xlate_code(struct rpc_call *call, struct vmi_xlate_code_params *params)
{
    struct machine *m = need_xlate(call);

    if (!m)
        return;
    g_autoptr(xlate_code_part) part = xlate_code_part_new();
    part->pid = (uint32_t)getpid();
    part->code = g_new0(struct xlate_code_row *, LIMIT_XLATE_CODE_ROWS);
    part->next = accel_code_each(machine_accel(m), params->part, add_code, part);
    vmi_xlate_code_reply(call, part);
}
