/* A session's program by its name, and what all programs of the guest use. */
#include "gpu/server/session_priv.h"

static int call_program(struct session *s, struct call *c)
{
    meter_program_name(s->quota.program, FIELDS(c, program)->pid, c->payload, c->payload_bytes);
    return GPU_SUCCESS;
}

/* Of those that asked for something of the device: who only looks is not told of. */
static bool is_used(const struct share_program *p)
{
    return p->id && (p->name[0] || p->count.memory || p->count.launches);
}

static int call_usage(struct session *s, struct call *c)
{
    struct gpu_answer_usage *out = ANSWER(c, usage);
    struct share_use use;
    struct share_grant grant;
    uint64_t now = meter_now();

    if (!s->env->meter)
        return GPU_NOT_SUPPORTED;
    meter_read(s->env->meter, &use, &grant);
    *out = (struct gpu_answer_usage){
        .now = now,
        .time = share_time(&use.total, now),
        .launches = use.total.launches,
        .memory = __atomic_load_n(&s->env->quota->used, __ATOMIC_RELAXED),
        .memory_most = s->env->quota->most,
        .in_flight = use.total.in_flight,
        .in_flight_most = grant.launches,
        .weight = grant.weight,
    };
    for (unsigned i = 0; i < SHARE_PROGRAMS; i++) {
        const struct share_program *p = &use.programs[i];
        if (!is_used(p))
            continue;
        struct gpu_usage_row row = {.id = p->id,
                                    .time = share_time(&p->count, now),
                                    .launches = p->count.launches,
                                    .memory = p->count.memory,
                                    .pid = p->pid,
                                    .in_flight = p->count.in_flight};
        memcpy(row.name, p->name, sizeof(row.name));
        memcpy(c->out + c->out_bytes, &row, sizeof(row));
        c->out_bytes += sizeof(row);
        out->programs++;
    }
    return GPU_SUCCESS;
}

G_STATIC_ASSERT(SHARE_PROGRAMS * sizeof(struct gpu_usage_row) <= 2560);
G_STATIC_ASSERT(sizeof(((struct gpu_usage_row *)0)->name) == SHARE_NAME);

call_fn session__usage_call(unsigned op)
{
    return op == GPU_OP_PROGRAM ? call_program : op == GPU_OP_USAGE ? call_usage : NULL;
}
