/*
 * The accelerator: wires front end, privileged state, mmu, cache and back end, and offers them as
 * struct accel_ops. runner.h says how its threads get on with each other.
 */
#include "xlate/xlate.h"

#include "base/large.h"
#include "xlate/front/aarch64/front.h"
#include "xlate/front/riscv64/front.h"
#include "xlate/sys/aarch64/aarch64.h"
#include "xlate/sys/riscv64/riscv64.h"
#include "xlate/warm.h"

#include <errno.h>

static const struct guest {
    const struct xl_front *front;
    const struct xl_sys *sys;
} guests[] = {
    {&xl_front_riscv64, &riscv64_sys},
    {&xl_front_aarch64, &aarch64_sys},
};

static const struct back_slow slow = {
    .load = mmu_load, .store = mmu_store, .rmw = mmu_rmw, .cas = mmu_cas, .sc = mmu_sc,
    .load16 = mmu_load16, .store16 = mmu_store16};

static struct xlate *xlate_from(struct accel *accel)
{
    return container_of(accel, struct xlate, accel);
}

static struct runner *runner_from(struct vcpu *vcpu)
{
    return runner_of(container_of(vcpu, struct xl_cpu, vcpu));
}

/* --- the accelerator -------------------------------------------------------------------------- */

static bool check_config(const struct accel_config *config, GError **err)
{
    if (config->vcpus < 1 || config->vcpus > LIMIT_XLATE_VCPUS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "%u virtual CPUs: a machine has 1 to %d",
                        config->vcpus, LIMIT_XLATE_VCPUS);
    if (!config->timebase_hz)
        return vmd_fail(err, VMD_ERROR_INVALID, "the guest's time register needs a frequency");
    if (!config->firmware_mode && !config->hypercall)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "harts without a firmware need a handler for its calls");
    return true;
}

static const struct guest *find_guest(enum isa isa)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(guests); i++) {
        if (guests[i].front->isa == isa)
            return &guests[i];
    }
    return NULL;
}

/* The cache asks every vCPU to pass a safepoint: taking any request does. */
static void kick_all(void *opaque)
{
    struct xlate *x = opaque;

    for (unsigned i = 0; i < x->accel.config.vcpus; i++) {
        if (x->runner[i])
            __atomic_fetch_or(&x->runner[i]->cpu->request, (uint32_t)XL_REQ_PASS, __ATOMIC_SEQ_CST);
    }
}

static bool make_back(struct xlate *x, GError **err)
{
    struct back_config config = {
        .cache = x->cache,
        .n_slots = x->front->n_slots,
        .hot_slots = x->front->hot_slots,
        .hot_fslots = x->front->hot_fslots,
        .wide_fslots = x->front->wide_fslots,
        .helpers = x->sys->helpers,
        .n_helpers = x->front->n_helpers,
        .slow = slow,
        .features = BACK_ALL,
    };

    return x->accel.config.tier == 0 || back_new(&config, &x->back, err);
}

static bool make_warm(struct xlate *x, GError **err)
{
    const struct accel_config *config = &x->accel.config;
    struct hotlist *list = config->hot ? hotlist_copy(config->hot) : NULL;

    if (!x->back || !config->warm_threads) {
        hotlist_free(list);
        return true;
    }
    return xlate__warm_new(x, list, MIN(config->warm_threads, LIMIT_XLATE_WARM_THREADS), &x->warm,
                           err);
}

static void xlate_free(struct accel *accel)
{
    struct xlate *x = xlate_from(accel);
    struct mem_listener listener = {.code_written = xlate__code_written, .opaque = x};

    mem_map_remove_listener(x->accel.config.mem, &listener);
    xlate__timers_stop(x);
    xlate__warm_free(g_steal_pointer(&x->warm));
    back_free(x->back);
    cache_free(x->cache);
    xlate__debug_fini(x);
    g_hash_table_destroy(x->sums);
    pthread_mutex_destroy(&x->sums_lock);
    pthread_mutex_destroy(&x->timer_lock);
    pthread_cond_destroy(&x->passed);
    pthread_mutex_destroy(&x->lock);
    g_free(x);
}

/* Blocks of RAM that go: no vCPU knows a host address in them any more; of RAM that a device shows,
 * from its next safepoint on. New ranges are found when looked for, and a RAM that is removed whole
 * is used by no vCPU. */
static void memory_changed(void *opaque, gpa_t gpa, uint64_t length, enum mem_kind kind, bool added)
{
    struct xlate *x = opaque;
    struct accel_fence_range all = {.size = UINT64_MAX};

    if ((kind == MEM_RAM || kind == MEM_FORGOTTEN) && !added)
        xlate__fence(&x->accel, NULL, UINT64_MAX, ACCEL_FENCE_TLB, &all);
    if (kind != MEM_SHOWN || added)
        return;
    /* Its pages' flags go with it to other places, where a write clears them and does not find this
     * code. */
    for (gpa_t at = gpa; at < gpa + length; at += MEM_PAGE_SIZE)
        cache_invalidate_page(x->cache, at);
    xlate__fence_soon(x, ACCEL_FENCE_TLB, &all);
}

static bool xlate_create(const struct accel_config *config, struct accel **out, GError **err)
{
    const struct guest *guest = find_guest(config->isa);
    struct mem_listener listener = {.code_written = xlate__code_written, .changed = memory_changed};
    struct cache_config cache_config = {.limit = config->code_cache_bytes, .kick = kick_all,
                                        .dropped = xlate__warm_dropped};

    if (!guest)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the translator runs riscv64 and aarch64 guests only, so far");
    if (!check_config(config, err))
        return false;
    struct xlate *x = g_new0(struct xlate, 1);
    x->accel = (struct accel){.ops = &xlate_accel_ops, .config = *config};
    x->front = guest->front;
    x->sys = guest->sys;
    x->epoll_fd = x->stop_fd = -1;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->passed, NULL);
    pthread_mutex_init(&x->timer_lock, NULL);
    pthread_mutex_init(&x->sums_lock, NULL);
    x->sums = g_hash_table_new(NULL, NULL);
    xlate__debug_init(x);
    listener.opaque = cache_config.opaque = x;
    mem_map_add_listener(config->mem, &listener);
    if (!cache_new(&cache_config, &x->cache, err) || !make_back(x, err) ||
        !make_warm(x, err) || !xlate__timers_start(x, err)) {
        xlate_free(&x->accel);
        return false;
    }
    *out = &x->accel;
    return true;
}

/* --- vCPUs ------------------------------------------------------------------------------------ */

static const struct xl_host host = {.code_foreign = xlate__foreign,
                                    .fence_code = xlate__fence_code,
                                    .fence_code_all = xlate__fence_code_all,
                                    .timer = xlate__timer_set,
                                    .attend = xlate__attend,
                                    .each = xlate__each};

static void init_locks(struct runner *r)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void runner_free(struct runner *r)
{
    xlate__timer_free(r);
    if (r->cpu->mmu) {
        r->x->sys->fini(r->cpu);
        mmu_fini(r->cpu);
    }
    cache_user_free(r->user);
    if (r->compiler)
        back_compiler_free(r->compiler);
    interp_free(r->interp);
    xlate__kept_free(r->kept);
    ir_unit_free(r->unit);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    large_free(r->cpu, r->x->sys->cpu_size);
    g_free(r);
}

static void xlate_vcpu_free(struct vcpu *vcpu)
{
    runner_free(runner_from(vcpu));
}

static struct xl_cpu *cpu_new(struct xlate *x, unsigned index)
{
    void *cpu = large_alloc(x->sys->cpu_size);

    if (!cpu)
        return NULL;
    ((struct xl_cpu *)cpu)->vcpu = (struct vcpu){.accel = &x->accel, .index = index};
    ((struct xl_cpu *)cpu)->host = &host;
    ((struct xl_cpu *)cpu)->fp_rm = IR_RM_RNE;
    return cpu;
}

static bool xlate_vcpu_create(struct accel *accel, unsigned index, struct vcpu **out, GError **err)
{
    struct xlate *x = xlate_from(accel);
    struct interp_config interp = {
        .helpers = x->sys->helpers, .n_helpers = x->front->n_helpers, .slow = slow};
    struct mmu_code_ops code = {.page_written = xlate__page_written, .opaque = x};

    g_assert(index < accel->config.vcpus && !x->runner[index]);
    struct xl_cpu *cpu = cpu_new(x, index);
    if (!cpu)
        return vmd_set_errno(err, errno, "virtual CPU %u", index);
    struct runner *r = g_new0(struct runner, 1);
    *r = (struct runner){.x = x, .cpu = cpu, .link = CACHE_NO_LINK, .deadline = UINT64_MAX,
                         .timer_fd = -1};
    init_locks(r);
    x->runner[index] = r;
    if (!xlate__timer_new(r, err)) {
        runner_free(r);
        return false;
    }
    r->unit = ir_unit_new();
    r->interp = interp_new(&interp);
    if (x->back)
        r->compiler = back_compiler_new(x->back);
    else
        r->kept = xlate__kept_new();
    mmu_init(cpu, accel->config.mem, x->sys, &code);
    r->user = cache_user_new(x->cache, cpu);
    mmu_watch(cpu, x->debug.watches, x->debug.n_watches);
    x->sys->init(cpu);
    *out = &cpu->vcpu;
    return true;
}

static void xlate_vcpu_reset(struct vcpu *vcpu, const struct vcpu_start *start)
{
    struct runner *r = runner_from(vcpu);

    r->state_lent = false;
    r->x->sys->reset(r->cpu, start);
    if (r->x->warm)
        xlate__warm_again(r->x->warm);
}

static const char *xlate_vcpu_error(struct vcpu *vcpu)
{
    return "";
}

static void xlate_vcpu_kick(struct vcpu *vcpu)
{
    xlate__request(runner_from(vcpu), XL_REQ_KICK);
}

static void xlate_vcpu_set_irq(struct vcpu *vcpu, unsigned irq, bool level)
{
    struct runner *r = runner_from(vcpu);

    r->x->sys->set_irq(r->cpu, irq, level);
}

static void xlate_vcpu_info(struct vcpu *vcpu, struct accel_vcpu_info *out)
{
    struct runner *r = runner_from(vcpu);

    out->halted = __atomic_load_n(&r->asleep, __ATOMIC_RELAXED);
    out->interrupts = __atomic_load_n(&r->cpu->count.interrupts, __ATOMIC_RELAXED);
}

static const struct state_desc *xlate_vcpu_state(struct vcpu *vcpu, void **object)
{
    struct runner *r = runner_from(vcpu);

    r->state_lent = true;
    *object = r->cpu;
    return r->x->sys->state;
}

static void xlate_clock_changed(struct accel *accel)
{
    struct xlate *x = xlate_from(accel);

    for (unsigned i = 0; i < accel->config.vcpus; i++) {
        if (x->runner[i])
            x->runner[i]->timer_changed = true;
    }
}

/* --- debugging -------------------------------------------------------------------------------- */

static bool xlate_vcpu_look(struct vcpu *vcpu, gva_t va, gpa_t *gpa, uint64_t *length)
{
    struct runner *r = runner_from(vcpu);

    return r->x->sys->look(r->cpu, va, gpa, length);
}

static const struct accel_register *xlate_registers(struct accel *accel, size_t *n)
{
    *n = xlate_from(accel)->sys->n_registers;
    return xlate_from(accel)->sys->registers;
}

static bool xlate_register_get(struct vcpu *vcpu, const struct accel_register *reg, uint64_t *value)
{
    struct runner *r = runner_from(vcpu);

    return r->x->sys->register_get(r->cpu, reg->number, value);
}

static bool xlate_register_set(struct vcpu *vcpu, const struct accel_register *reg,
                               const uint64_t *value)
{
    struct runner *r = runner_from(vcpu);

    return r->x->sys->register_set(r->cpu, reg->number, value);
}

/* --- statistics ------------------------------------------------------------------------------- */

static size_t add_row(struct accel_stat *rows, size_t n, size_t most, const char *name,
                      uint64_t value)
{
    if (n < most)
        rows[n++] = (struct accel_stat){name, value};
    return n;
}

#define COUNTER(r, name) __atomic_load_n(&(r)->cpu->count.name, __ATOMIC_RELAXED)

/* Name of a row, counter of struct xl_counters. */
#define VCPU_COUNTERS(_)                                                                           \
    _("blocks", entries) _("lookups", lookups) _("hits", hits) _("tlb_misses", tlb_misses)         \
    _("page_walks", walks) _("slow_accesses", slow_accesses) _("faults", faults)                   \
    _("interrupts", interrupts) _("interpreted_instructions", interpreted)

/* Those of R with the two levels of lookups together: what the jump cache finds is a hit too. */
static struct xl_counters counters_of(const struct runner *r)
{
    struct xl_counters c = {0};

#define COPY(text, name) c.name = COUNTER(r, name);
    VCPU_COUNTERS(COPY)
#undef COPY
    c.lookups += COUNTER(r, jumps);
    c.hits += COUNTER(r, jumps);
    return c;
}

static size_t xlate_vcpu_stats(struct vcpu *vcpu, struct accel_stat *rows, size_t most)
{
    struct xl_counters c = counters_of(runner_from(vcpu));
    size_t n = 0;

#define ROW(text, name) n = add_row(rows, n, most, text, c.name);
    VCPU_COUNTERS(ROW)
#undef ROW
    return n;
}

static size_t add_sums(struct xlate *x, struct accel_stat *rows, size_t n, size_t most)
{
    struct xl_counters sum = {0};

    for (unsigned i = 0; i < x->accel.config.vcpus; i++) {
        if (!x->runner[i])
            continue;
        struct xl_counters c = counters_of(x->runner[i]);
#define ADD(text, name) sum.name += c.name;
        VCPU_COUNTERS(ADD)
#undef ADD
    }
#define ROW(text, name) n = add_row(rows, n, most, text, sum.name);
    VCPU_COUNTERS(ROW)
#undef ROW
    return n;
}

static size_t add_patterns(struct xlate *x, struct accel_stat *rows, size_t n, size_t most)
{
#define IR_PATTERN(NAME, text, doc) "pattern." text,
    static const char *const names[] = {
#include "xlate/ir/patterns.inc"
    };
#undef IR_PATTERN

    for (unsigned p = 0; p < IR_PATTERN_COUNT; p++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < x->accel.config.vcpus; i++)
            sum += x->runner[i] ? __atomic_load_n(&x->runner[i]->patterns[p], __ATOMIC_RELAXED) : 0;
        sum += x->warm ? xlate__warm_patterns(x->warm, p) : 0;
        n = add_row(rows, n, most, names[p], sum);
    }
    return n;
}

static size_t add_warm(struct xlate *x, struct accel_stat *rows, size_t n, size_t most)
{
    struct warm_stats s;

    if (!x->warm)
        return n;
    xlate__warm_stats(x->warm, &s);
    const struct accel_stat fixed[] = {
        {"warm_listed", s.listed},   {"warm_blocks", s.blocks},       {"warm_used", s.used},
        {"warm_pages", s.pages},     {"warm_unmatched", s.unmatched}, {"warm_refused", s.refused},
        {"warm_ns", s.ns},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++)
        n = add_row(rows, n, most, fixed[i].name, fixed[i].value);
    return n;
}

static size_t xlate_stats(struct accel *accel, struct accel_stat *rows, size_t most)
{
    struct xlate *x = xlate_from(accel);
    struct cache_stats s;
    size_t n = 0;

    cache_stats(x->cache, &s);
    const struct accel_stat fixed[] = {
        {"len", s.units},
        {"bytes", s.used_bytes},
        {"code_bytes", s.code_bytes},
        {"limit_bytes", s.limit},
        {"size_bytes", s.size},
        {"grown", s.grown},
        {"shrunk", s.shrunk},
        {"retranslations", s.retranslated_units},
        {"translations", s.translated_units},
        {"translated_instructions", s.translated_guest},
        {"translated_bytes", s.translated_bytes},
        {"translation_ns", s.translation_ns},
        {"direct_edges", s.edges},
        {"linked_edges", s.linked},
        {"links", s.links_direct + s.links_cross},
        {"cross_page_links", s.links_cross},
        {"jump_cache_fills", s.links_indirect},
        {"unlinked_edges", s.unlinks},
        {"evictions", s.evicted_units},
        {"invalidations", s.invalidated_units},
        {"invalidated_pages", s.invalidations},
        {"clears", s.clears},
        {"waits", s.waits},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++)
        n = add_row(rows, n, most, fixed[i].name, fixed[i].value);
    n = add_sums(x, rows, n, most);
    n = add_warm(x, rows, n, most);
    return add_patterns(x, rows, n, most);
}

static void xlate_code_clear(struct accel *accel)
{
    cache_clear(xlate_from(accel)->cache);
}

static struct hotlist *xlate_hot_list(struct accel *accel)
{
    struct xlate *x = xlate_from(accel);

    return x->warm ? xlate__warm_collect(x->warm) : NULL;
}

static bool xlate_code_limit(struct accel *accel, uint64_t bytes, GError **err)
{
    return cache_set_limit(xlate_from(accel)->cache, bytes, err);
}

static void xlate_code_trim(struct accel *accel)
{
    cache_trim(xlate_from(accel)->cache);
}

const struct accel_ops xlate_accel_ops = {
    .name = "xlate",
    .create = xlate_create,
    .free = xlate_free,
    .vcpu_create = xlate_vcpu_create,
    .vcpu_free = xlate_vcpu_free,
    .vcpu_reset = xlate_vcpu_reset,
    .vcpu_run = xlate__run,
    .vcpu_error = xlate_vcpu_error,
    .vcpu_kick = xlate_vcpu_kick,
    .vcpu_set_irq = xlate_vcpu_set_irq,
    .vcpu_info = xlate_vcpu_info,
    .vcpu_stats = xlate_vcpu_stats,
    .vcpu_state = xlate_vcpu_state,
    .fence = xlate__fence,
    .clock_changed = xlate_clock_changed,
    .stats = xlate_stats,
    .code_clear = xlate_code_clear,
    .code_limit = xlate_code_limit,
    .code_trim = xlate_code_trim,
    .code_each = xlate__code_each,
    .vcpu_interrupted = xlate__interrupted,
    .vcpu_sample = xlate__sample,
    .debug = xlate__debug,
    .vcpu_step = xlate__step,
    .vcpu_stop = xlate__stop,
    .vcpu_look = xlate_vcpu_look,
    .registers = xlate_registers,
    .register_get = xlate_register_get,
    .register_set = xlate_register_set,
    .hot_list = xlate_hot_list,
};
