/*
 * Rows of (name, number) into structs of the schema: a row fills the 64-bit field of its name, so
 * that a counter is added by adding it to the schema and to the accelerator. Rows named "pattern.X"
 * become the pattern table, those named "exit.X" the exits by their reasons; rows that the schema
 * does not know are left out.
 */
#include "vm/stats.h"

enum { ROWS_MAX = 256 };

static const char PATTERN[] = "pattern.", EXIT[] = "exit.";

static bool fill_field(const struct codec_type *type, void *obj, const struct accel_stat *row)
{
    for (size_t i = 0; i < type->n; i++) {
        const struct codec_field *f = &type->fields[i];
        if (f->kind == CODEC_UINT && f->size == 8 && !(f->flags & CODEC_ARRAY) &&
            strcmp(f->name, row->name) == 0) {
            *(uint64_t *)((char *)obj + f->offset) = row->value;
            return true;
        }
    }
    return false;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static void add_pattern(struct vm_xlate_stats *s, const struct accel_stat *row)
{
    struct pattern_hits *p = pattern_hits_new();

    p->name = g_strdup(row->name + strlen(PATTERN));
    p->hits = row->value;
    s->patterns[s->n_patterns++] = p;
    s->pattern_hits += row->value;
}

static struct vcpu_xlate_stats *vcpu_row(struct vcpu *vcpu, unsigned index)
{
    struct accel_stat rows[ROWS_MAX];
    struct vcpu_xlate_stats *s = vcpu_xlate_stats_new();
    size_t n = accel_vcpu_stats(vcpu, rows, ROWS_MAX);

    s->index = index;
    for (size_t i = 0; i < n; i++)
        fill_field(&vcpu_xlate_stats_type, s, &rows[i]);
    return s;
}

void stats_exits(struct vcpu *vcpu, struct vcpu_stats *row)
{
    struct accel_stat rows[ROWS_MAX];
    size_t n = accel_vcpu_stats(vcpu, rows, ROWS_MAX);
    uint64_t sum = 0;

    row->reasons = g_new0(struct exit_count *, n);
    for (size_t i = 0; i < n; i++) {
        if (!g_str_has_prefix(rows[i].name, EXIT))
            continue;
        struct exit_count *e = exit_count_new();
        e->reason = g_strdup(rows[i].name + strlen(EXIT));
        e->count = rows[i].value;
        row->reasons[row->n_reasons++] = e;
        sum += e->count;
    }
    if (row->n_reasons)
        row->exits = sum;
}

struct vm_xlate_stats *stats_xlate(struct accel *accel, struct vcpus *vcpus)
{
    struct accel_stat rows[ROWS_MAX];
    struct vm_xlate_stats *s = vm_xlate_stats_new();
    size_t n = accel_stats(accel, rows, ROWS_MAX);

    s->patterns = g_new0(struct pattern_hits *, n);
    for (size_t i = 0; i < n; i++) {
        if (g_str_has_prefix(rows[i].name, PATTERN))
            add_pattern(s, &rows[i]);
        else
            fill_field(&vm_xlate_stats_type, s, &rows[i]);
    }
    s->hit_rate = ratio(s->hits, s->lookups);
    s->link_rate = ratio(s->linked_edges, s->direct_edges);
    s->vcpus = g_new0(struct vcpu_xlate_stats *, vcpus_count(vcpus));
    for (unsigned i = 0; i < vcpus_count(vcpus); i++)
        s->vcpus[s->n_vcpus++] = vcpu_row(vcpus_get(vcpus, i), i);
    return s;
}
