/* Samples, counted; see profile.h. */
#include "vm/profile.h"

struct profile {
    struct vcpus *vcpus;
    profile_runs_fn runs;
    void *opaque;
    uv_timer_t timer;
    uint64_t end_ns;     /* when it ends by itself */
    uint64_t last_ns;    /* host time of the last tick */
    GHashTable *rows;    /* struct xlate_sample_row, which it owns; NULL: nobody began */
    struct xlate_profile *found;
};

static guint row_hash(gconstpointer key)
{
    const struct xlate_sample_row *row = key;
    guint64 pc = row->pc + row->activity * 7 + row->vcpu;

    return g_int64_hash(&pc);
}

static gboolean row_equal(gconstpointer a, gconstpointer b)
{
    const struct xlate_sample_row *x = a, *y = b;

    return x->pc == y->pc && x->vcpu == y->vcpu && x->activity == y->activity &&
           strcmp(x->mode, y->mode) == 0;
}

static enum xlate_activity activity_of(enum accel_activity activity)
{
    static const enum xlate_activity known[] = {
        [ACCEL_IN_CODE] = XLATE_ACTIVITY_CODE,
        [ACCEL_IN_HELPER] = XLATE_ACTIVITY_HELPER,
        [ACCEL_IN_INTERPRETER] = XLATE_ACTIVITY_INTERPRETER,
        [ACCEL_IN_DISPATCHER] = XLATE_ACTIVITY_DISPATCHER,
        [ACCEL_HALTED] = XLATE_ACTIVITY_HALTED,
    };

    return known[activity];
}

static void count(struct profile *p, unsigned vcpu, const struct accel_sample *sample)
{
    struct xlate_sample_row key = {.vcpu = vcpu, .activity = activity_of(sample->activity),
                                   .mode = (char *)sample->mode, .pc = sample->pc};
    struct xlate_sample_row *row;

    if (sample->activity == ACCEL_HALTED)
        key.mode = (char *)"";
    row = g_hash_table_lookup(p->rows, &key);
    p->found->samples++;
    if (!row && g_hash_table_size(p->rows) == LIMIT_XLATE_PROFILE_ROWS) {
        p->found->lost++;
        return;
    }
    if (!row) {
        row = xlate_sample_row_copy(&key);
        g_hash_table_add(p->rows, row);
    }
    row->samples++;
}

static void tick(uv_timer_t *timer)
{
    struct profile *p = timer->data;
    struct accel_sample sample;
    uint64_t now = uv_hrtime(), passed = now - p->last_ns;

    p->last_ns = now;
    if (now >= p->end_ns)
        uv_timer_stop(timer);
    if (!p->runs(p->opaque))
        return;
    p->found->duration_ns += passed;
    for (unsigned i = 0; i < vcpus_count(p->vcpus); i++) {
        if (vcpus_sample(p->vcpus, i, &sample))
            count(p, i, &sample);
    }
}

static void free_row(gpointer row)
{
    xlate_sample_row_free(row);
}

struct profile *profile_new(uv_loop_t *loop, struct vcpus *vcpus, profile_runs_fn runs,
                            void *opaque)
{
    struct profile *p = g_new0(struct profile, 1);

    *p = (struct profile){.vcpus = vcpus, .runs = runs, .opaque = opaque};
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    return p;
}

static void drop(struct profile *p)
{
    g_clear_pointer(&p->rows, g_hash_table_unref);
    g_clear_pointer(&p->found, xlate_profile_free);
}

static void closed(uv_handle_t *handle)
{
    struct profile *p = handle->data;

    drop(p);
    g_free(p);
}

void profile_close(struct profile *p)
{
    if (p)
        uv_close((uv_handle_t *)&p->timer, closed);
}

bool profile_start(struct profile *p, unsigned rate_hz, unsigned seconds)
{
    unsigned period_ms = MAX(1000 / rate_hz, 1);

    if (uv_is_active((uv_handle_t *)&p->timer))
        return false;
    drop(p);
    p->rows = g_hash_table_new_full(row_hash, row_equal, free_row, NULL);
    p->found = xlate_profile_new();
    p->found->rate_hz = 1000 / period_ms;
    p->last_ns = uv_hrtime();
    p->end_ns = p->last_ns + seconds * UINT64_C(1000000000);
    uv_timer_start(&p->timer, tick, period_ms, period_ms);
    return true;
}

struct xlate_profile *profile_stop(struct profile *p)
{
    struct xlate_profile *found = g_steal_pointer(&p->found);
    GHashTableIter at;
    gpointer row;

    uv_timer_stop(&p->timer);
    if (!found)
        return NULL;
    found->rows = g_new0(struct xlate_sample_row *, g_hash_table_size(p->rows) + 1);
    g_hash_table_iter_init(&at, p->rows);
    while (g_hash_table_iter_next(&at, &row, NULL)) {
        found->rows[found->n_rows++] = row;
        g_hash_table_iter_steal(&at);
    }
    drop(p);
    return found;
}
