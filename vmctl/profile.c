/*
 * vmctl xlate profile: samples a VM's vCPUs for a while. Prints the places that were found most, and
 * writes what flame graphs (folded stacks) and perf (a perf map) read.
 */
#include "vmctl/profile.h"

#include "vmctl/symbols.h"

#include <inttypes.h>
#include <signal.h>

enum {
    SECONDS = 10,
    SECONDS_MOST = 86400,
    RATE_HZ = 200,
    TOP = 20, /* places that are printed */
};

/* What a mode of the guest is to people. */
static const char *mode_text(const char *mode)
{
    static const char *const known[][2] = {
        {"U", "user"}, {"S", "kernel"}, {"M", "firmware"}, {"EL0", "user"}, {"EL1", "kernel"}};

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(mode, known[i][0]) == 0)
            return known[i][1];
    }
    return mode;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool write_file(const char *path, const GString *text, GError **err)
{
    return g_file_set_contents(path, text->str, (gssize)text->len, err);
}

/* One line a place: frames from the outermost, joined by semicolons, and its samples. */
static bool write_folded(const char *path, const char *vm, const struct xlate_profile *p,
                         const struct symbols *symbols, GError **err)
{
    g_autoptr(GString) text = g_string_new(NULL);
    uint64_t offset;

    for (size_t i = 0; i < p->n_rows; i++) {
        const struct xlate_sample_row *row = p->rows[i];
        const char *symbol = symbols_find(symbols, row->pc, &offset);
        g_string_append_printf(text, "%s;vcpu%u", vm, row->vcpu);
        if (row->activity != XLATE_ACTIVITY_HALTED)
            g_string_append_printf(text, ";%s", mode_text(row->mode));
        if (row->activity != XLATE_ACTIVITY_HALTED && symbol)
            g_string_append_printf(text, ";%s", symbol);
        if (row->activity != XLATE_ACTIVITY_HALTED)
            g_string_append_printf(text, ";0x%" PRIx64, row->pc);
        if (row->activity != XLATE_ACTIVITY_CODE)
            g_string_append_printf(text, ";[%s]", xlate_activity_to_string(row->activity));
        g_string_append_printf(text, " %" PRIu64 "\n", row->samples);
    }
    return write_file(path, text, err);
}

static void add_code(GString *text, const struct xlate_code_row *row, const struct symbols *symbols)
{
    uint64_t offset;
    const char *symbol = row->has_pc ? symbols_find(symbols, row->pc, &offset) : NULL;

    g_string_append_printf(text, "%" PRIx64 " %" PRIx64 " guest %s ", row->host, row->bytes,
                           mode_text(row->mode));
    if (symbol)
        g_string_append_printf(text, "%s+0x%" PRIx64 " ", symbol, offset);
    if (row->has_pc)
        g_string_append_printf(text, "0x%" PRIx64 "\n", row->pc);
    else
        g_string_append_printf(text, "physical 0x%" PRIx64 "\n", row->gpa);
}

/* One line a piece of host code: address and length in hexadecimal, what it is. */
static bool write_map(struct vmd_client *c, const char *path, char *vm,
                      const struct symbols *symbols, GError **err)
{
    struct xlate_code_params p = {.vm = vm};
    g_autoptr(GString) text = g_string_new(NULL);
    uint32_t pid;

    do {
        g_autoptr(xlate_code_part) part = NULL;
        if (!vmd_client_invoke(c, API_XLATE_CODE, &p, &part, NULL, err))
            return false;
        for (size_t i = 0; i < part->n_code; i++)
            add_code(text, part->code[i], symbols);
        pid = part->pid;
        p.part = part->next > p.part ? part->next : 0;
    } while (p.part);
    fprintf(stderr, "perf looks for %s as /tmp/perf-%u.map\n", path, pid);
    return write_file(path, text, err);
}

/* --- for people ------------------------------------------------------------------------------- */

static gint by_samples(gconstpointer a, gconstpointer b)
{
    const struct xlate_sample_row *x = *(struct xlate_sample_row *const *)a;
    const struct xlate_sample_row *y = *(struct xlate_sample_row *const *)b;

    return (x->samples < y->samples) - (x->samples > y->samples);
}

static void add_place(struct table *t, const struct xlate_profile *p,
                      const struct xlate_sample_row *row, const struct symbols *symbols)
{
    bool halted = row->activity == XLATE_ACTIVITY_HALTED;
    uint64_t offset;
    const char *symbol = halted ? NULL : symbols_find(symbols, row->pc, &offset);
    g_autofree char *pc = g_strdup_printf("0x%" PRIx64, row->pc);

    table_add(t, "%.1f %%", 100.0 * (double)row->samples / (double)p->samples);
    table_add(t, "%" PRIu64, row->samples);
    table_add(t, "%u", row->vcpu);
    table_add(t, "%s", xlate_activity_to_string(row->activity));
    table_add(t, "%s", halted ? "-" : mode_text(row->mode));
    table_add(t, "%s", halted ? "-" : pc);
    if (symbol)
        table_add(t, "%s+0x%" PRIx64, symbol, offset);
    else
        table_add(t, "-");
}

static void print_top(const struct xlate_profile *p, const struct symbols *symbols)
{
    static const char *const headers[] = {"SHARE", "SAMPLES", "VCPU", "IN", "MODE", "BLOCK",
                                          "SYMBOL"};
    g_autofree char *time = format_duration(p->duration_ns);

    printf("%" PRIu64 " samples in %s, %u a second of each vCPU; %" PRIu64 " lost\n", p->samples, time,
           p->rate_hz, p->lost);
    if (!p->n_rows)
        return;
    qsort(p->rows, p->n_rows, sizeof(*p->rows), by_samples);
    struct table *t = table_new(headers, G_N_ELEMENTS(headers));
    for (size_t i = 0; i < MIN(p->n_rows, TOP); i++)
        add_place(t, p, p->rows[i], symbols);
    table_print(t, stdout);
}

/* --- the command ------------------------------------------------------------------------------ */

/* Until the time is over, or the person has seen enough. */
static void wait_seconds(uint64_t seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds};
    sigset_t set, before;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &before);
    sigtimedwait(&set, NULL, &time);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static struct xlate_profile *sample(struct vmd_client *c, char *vm, uint64_t seconds, uint64_t rate,
                                    GError **err)
{
    /* Should this program be killed, the sampling ends by itself soon after. */
    struct xlate_sample_params begin = {.vm = vm, .rate_hz = (uint32_t)rate,
                                        .seconds = (uint32_t)MIN(seconds + 10, SECONDS_MOST)};
    struct xlate_profile_params end = {.vm = vm};
    struct xlate_profile *found = NULL;

    if (!vmd_client_invoke(c, API_XLATE_SAMPLE, &begin, NULL, NULL, err))
        return NULL;
    wait_seconds(seconds);
    return vmd_client_invoke(c, API_XLATE_PROFILE, &end, &found, NULL, err) ? found : NULL;
}

static bool numbers(const struct arguments *args, uint64_t *seconds, uint64_t *rate, GError **err)
{
    if (!arguments_number(args, "seconds", SECONDS_MOST, seconds, err) ||
        !arguments_number(args, "rate", LIMIT_XLATE_PROFILE_HZ, rate, err))
        return false;
    if (!*seconds || !*rate)
        return vmd_fail(err, VMD_ERROR_INVALID, "--seconds and --rate are 1 at least");
    return true;
}

int profile_command(struct vmd_client *c, const struct arguments *args)
{
    const char *folded = arguments_get(args, "folded"), *map = arguments_get(args, "map");
    const char *symbols_path = arguments_get(args, "symbols");
    char *vm = (char *)arguments_at(args, 1);
    uint64_t seconds = SECONDS, rate = RATE_HZ;
    struct symbols *symbols = NULL;
    g_autoptr(xlate_profile) p = NULL;
    GError *err = NULL;

    bool ok = numbers(args, &seconds, &rate, &err) &&
              (!symbols_path || (symbols = symbols_read(symbols_path, &err))) &&
              (p = sample(c, vm, seconds, rate, &err));
    if (ok && arguments_has(args, "json")) {
        struct json_object *json = xlate_profile_encode(p);
        print_json(json);
        json_object_put(json);
    } else if (ok) {
        print_top(p, symbols);
    }
    ok = ok && (!folded || write_folded(folded, vm, p, symbols, &err)) &&
         (!map || write_map(c, map, vm, symbols, &err));
    symbols_free(symbols);
    return ok ? VMCTL_EXIT_OK : fail(c, err);
}
