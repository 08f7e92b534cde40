/*
 * bench/warm: how a parallel warm start scales.
 *
 *   bench_warm [--rounds N] [--threads N] FILE
 *
 * FILE is a riscv64 kernel image. Its blocks make a list of hot blocks, and the list is compiled from the
 * beginning to the end by 1, 2 .. N compile threads, in turns, with no vCPU running. Shown are the medians of
 * the wall time, the CPU time of the threads, and how much faster than one thread that is; the wall
 * time says something on a quiet machine alone, the CPU time says what the threads cost one another.
 */
#include "mem/clock.h"
#include "xlate/warm.h"
#include "xlate/xlate.h"

#include <stdio.h>
#include <time.h>

enum {
    CODE_MIB = 4,
    TEXT_SKIP = 0x2000, /* headers of a kernel image */
    ROUNDS = 9,
};

#define RAM UINT64_C(0x80000000)

struct bench {
    struct mem_map *map;
    struct vm_clock *clock;
    const uint8_t *code;
    size_t size;
    struct hotlist *list;
    double wall[LIMIT_XLATE_WARM_THREADS][64], cpu[LIMIT_XLATE_WARM_THREADS][64]; /* ms */
    uint64_t blocks;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool no_call(void *opaque, unsigned vcpu, uint64_t args[8])
{
    return true;
}

static bool open_accel(struct bench *b, unsigned threads, struct accel **accel,
                       struct vcpu **vcpu, GError **err)
{
    struct accel_config config = {.isa = ISA_RISCV64, .vcpus = 1, .timebase_hz = 10000000,
                                  .hypercall = no_call, .tier = 1, .mem = b->map,
                                  .clock = b->clock, .warm_threads = threads, .hot = b->list};

    return accel_create(&xlate_accel_ops, &config, accel, err) &&
           accel_vcpu_create(*accel, 0, vcpu, err);
}

/* The blocks of one page, as a front end that goes through it finds them. Zeros are no code. */
static void list_page(struct bench *b, struct xlate *x, uint32_t mode, size_t at)
{
    uint8_t digest[HOTLIST_DIGEST];
    struct ir_unit *unit = ir_unit_new();
    struct hotlist_page *page;

    hotlist_digest(b->code + at, digest);
    page = hotlist_page(b->list, hotlist_quick(b->code + at), digest, RAM + at);
    for (size_t in = 0; page && in + 64 < HOTLIST_PAGE;) {
        struct xl_source source = {.code = b->code + at + in, .start = (int32_t)in,
                                   .length = (uint32_t)MIN(512, HOTLIST_PAGE - in), .mode = mode,
                                   .max_insns = LIMIT_XLATE_BLOCK_INSNS};
        if (!b->code[at + in] && !b->code[at + in + 1]) {
            in += 2;
            continue;
        }
        ir_unit_clear(unit);
        x->front->translate(&source, unit);
        hotlist_block(b->list, page, (uint16_t)in, mode, 1);
        in += unit->bytes;
    }
    ir_unit_free(unit);
}

static bool make_list(struct bench *b, GError **err)
{
    struct accel *accel;
    struct vcpu *vcpu;

    if (!open_accel(b, 0, &accel, &vcpu, err))
        return false;
    accel_vcpu_reset(vcpu, &(struct vcpu_start){.pc = RAM});
    struct xlate *x = container_of(accel, struct xlate, accel);
    struct hotlist *all = b->list = hotlist_new(ISA_RISCV64);
    for (size_t at = 0; at < b->size; at += HOTLIST_PAGE)
        list_page(b, x, x->runner[0]->cpu->mode, at);
    b->list = hotlist_merge(NULL, all); /* without the pages that have no code */
    hotlist_free(all);
    accel_vcpu_free(vcpu);
    accel_free(accel);
    return true;
}

static bool measure(struct bench *b, unsigned threads, unsigned round, GError **err)
{
    struct accel *accel;
    struct vcpu *vcpu;
    struct warm_stats stats;

    if (!open_accel(b, threads, &accel, &vcpu, err))
        return false;
    struct warm *warm = container_of(accel, struct xlate, accel)->warm;
    uint64_t before = now_ns();
    xlate__warm_again(warm);
    xlate__warm_drain(warm);
    b->wall[threads - 1][round] = (double)(now_ns() - before) / 1e6;
    xlate__warm_stats(warm, &stats);
    b->cpu[threads - 1][round] = (double)stats.ns / 1e6;
    b->blocks = stats.blocks;
    accel_vcpu_free(vcpu);
    accel_free(accel);
    return true;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(double *values, unsigned n)
{
    qsort(values, n, sizeof(*values), compare);
    return values[n / 2];
}

static bool run(struct bench *b, unsigned rounds, unsigned threads, GError **err)
{
    if (!make_list(b, err))
        return false;
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned n = 1; n <= threads; n++)
            if (!measure(b, n, round, err))
                return false;
    printf("listed            %u blocks in %u pages, %" G_GUINT64_FORMAT " compiled\n",
           b->list->n_blocks, b->list->pages->len, b->blocks);
    double one = median(b->wall[0], rounds);
    for (unsigned n = 1; n <= threads; n++) {
        double wall = median(b->wall[n - 1], rounds);
        printf("%u thread%s         %.1f ms, %.1f ms of CPU time: %.2f times as fast\n", n,
               n > 1 ? "s" : " ", wall, median(b->cpu[n - 1], rounds), one / wall);
    }
    return true;
}

/* The whole pages of FILE's code, and a machine that has them. */
static bool load(struct bench *b, const char *file, char **bytes, GError **err)
{
    gsize size;

    if (!g_file_get_contents(file, bytes, &size, err))
        return false;
    size_t skip = size > 2 * TEXT_SKIP ? TEXT_SKIP : 0;
    b->size = MIN(size - skip, (size_t)CODE_MIB << 20) & ~(size_t)(HOTLIST_PAGE - 1);
    b->code = (const uint8_t *)*bytes + skip;
    b->map = mem_map_new();
    b->clock = vm_clock_new(0);
    if (!b->size)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is less than a page", file);
    if (!mem_map_add_ram(b->map, RAM, b->size, "ram", false, err))
        return false;
    return mem_map_write(b->map, RAM, b->code, b->size) == 0;
}

int main(int argc, char **argv)
{
    int rounds = ROUNDS, threads = 2;
    const GOptionEntry entries[] = {
        {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "how often, at most 64", "N"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "most compile threads", "N"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("FILE - times warm starts");
    g_autoptr(GError) err = NULL;
    g_autofree char *bytes = NULL;
    struct bench *b = g_new0(struct bench, 1);

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || argc != 2 || rounds < 1 ||
        rounds > 64 || threads < 1 || threads > LIMIT_XLATE_WARM_THREADS) {
        fprintf(stderr, "bench_warm: %s\n", err ? err->message : "see --help");
        return 2;
    }
    bool ok = load(b, argv[1], &bytes, &err) && run(b, (unsigned)rounds, (unsigned)threads, &err);
    if (!ok)
        fprintf(stderr, "bench_warm: %s\n", err->message);
    hotlist_free(b->list);
    mem_map_free(b->map);
    vm_clock_free(b->clock);
    g_free(b);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
