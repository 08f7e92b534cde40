/*
 * bench/translate: how long the translator takes over real code.
 *
 *   bench_translate [--rounds N] [--parts] [FILE]
 *
 * FILE is a riscv64 kernel image (or any file of code); without one a mix of instructions made here
 * is translated. Code goes through the whole path of a vCPU that meets it for the first time: the
 * fetch, the page's mark, the front end, the back end, the cache. All times are CPU time of this
 * thread, so that a busy machine does not change them much; of several rounds the median is shown.
 */
#include "mem/clock.h"
#include "xlate/runner.h"
#include "xlate/xlate.h"

#include <stdio.h>
#include <time.h>

enum {
    CODE_MIB = 2,       /* most code of a round: more than a boot meets */
    TEXT_SKIP = 0x2000, /* headers of a kernel image, and what runs before its tables are set up */
    ALONE = 4096,       /* units of one instruction */
    BATCH = 1000,
    ROUNDS = 7,
};

#define RAM UINT64_C(0x80000000)

struct bench {
    struct mem_map *map;
    struct vm_clock *clock;
    struct accel *accel;
    struct vcpu *vcpu;
    struct runner *r;
    const uint8_t *code;
    size_t size;
};

struct result {
    double each, parts[2];    /* ns a guest instruction: all, front end, front and back end */
    double alone;             /* ns a unit of one */
    double batch, batch_most; /* us: the median, the slowest of a hundred */
    double unit;              /* instructions a unit */
    uint64_t insns, bytes;
};

static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- code ------------------------------------------------------------------------------------- */

/* What compilers make of C, in about its proportions: registers and offsets are filled in. */
static uint32_t mixed_insn(GRand *rand)
{
    uint32_t rd = 5 + g_rand_int_range(rand, 0, 27), rs1 = 5 + g_rand_int_range(rand, 0, 27);
    uint32_t rs2 = 5 + g_rand_int_range(rand, 0, 27), imm = g_rand_int_range(rand, 0, 64) * 8;

    switch (g_rand_int_range(rand, 0, 16)) {
    case 0 ... 3: /* ld */
        return imm << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x03;
    case 4 ... 5: /* sd */
        return (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (imm & 31) << 7 | 0x23;
    case 6 ... 8: /* addi */
        return imm << 20 | rs1 << 15 | rd << 7 | 0x13;
    case 9: /* slli */
        return (imm & 63) << 20 | rs1 << 15 | 1 << 12 | rd << 7 | 0x13;
    case 10: /* addiw */
        return imm << 20 | rs1 << 15 | rd << 7 | 0x1b;
    case 11 ... 12: /* add */
        return rs2 << 20 | rs1 << 15 | rd << 7 | 0x33;
    case 13: /* auipc */
        return imm << 12 | rd << 7 | 0x17;
    case 14: /* beq, 16 ahead */
        return rs2 << 20 | rs1 << 15 | 8 << 8 | 0x63;
    default: /* jal ra, 64 ahead */
        return 64u << 20 | 1 << 7 | 0x6f;
    }
}

static uint8_t *mixed_code(size_t size)
{
    GRand *rand = g_rand_new_with_seed(1);
    uint8_t *code = g_malloc(size);

    for (size_t at = 0; at < size; at += 4) {
        uint32_t insn = GUINT32_TO_LE(mixed_insn(rand));
        memcpy(code + at, &insn, 4);
    }
    g_rand_free(rand);
    return code;
}

/* Jumps and branches one after another: each is a unit of its own. */
static uint8_t *lone_code(size_t size)
{
    static const uint32_t insns[] = {0x0080006f, 0x00008067, 0x00b50463, 0x0005c463, 0x008000ef};
    uint8_t *code = g_malloc(size);

    for (size_t at = 0; at < size; at += 4) {
        uint32_t insn = GUINT32_TO_LE(insns[at / 4 % G_N_ELEMENTS(insns)]);
        memcpy(code + at, &insn, 4);
    }
    return code;
}

/* --- the machine ------------------------------------------------------------------------------ */

static bool no_call(void *opaque, unsigned vcpu, uint64_t args[8])
{
    return true;
}

static bool open_bench(struct bench *b, const uint8_t *code, size_t size, GError **err)
{
    struct accel_config config = {
        .isa = ISA_RISCV64, .vcpus = 1, .timebase_hz = 10000000, .hypercall = no_call, .tier = 1};
    struct vcpu_start start = {.pc = RAM};

    *b = (struct bench){.map = mem_map_new(), .clock = vm_clock_new(0), .code = code, .size = size};
    config.mem = b->map;
    config.clock = b->clock;
    if (!mem_map_add_ram(b->map, RAM, ALIGN_UP(size, MEM_PAGE_SIZE), "ram", false, err) ||
        !accel_create(&xlate_accel_ops, &config, &b->accel, err) ||
        !accel_vcpu_create(b->accel, 0, &b->vcpu, err))
        return false;
    mem_map_write(b->map, RAM, code, size);
    accel_vcpu_reset(b->vcpu, &start);
    b->r = runner_of(container_of(b->vcpu, struct xl_cpu, vcpu));
    return true;
}

static void close_bench(struct bench *b)
{
    accel_vcpu_free(b->vcpu);
    accel_free(b->accel);
    mem_map_free(b->map);
    vm_clock_free(b->clock);
}

/* Translates the unit at OFFSET as a vCPU does; its bytes. Zeros are no code. */
static uint32_t translate_at(struct bench *b, size_t offset, uint32_t *insns)
{
    struct back_exit out;
    struct cache_unit *unit = NULL;

    *insns = 0;
    if (!b->code[offset] && !b->code[offset + 1])
        return 2;
    b->r->cpu->pc = RAM + offset;
    while (xlate__find(b->r, &unit, &out) == XLATE_AGAIN)
        ;
    *insns = b->r->unit->n_guest;
    return b->r->unit->bytes;
}

/* Translates all of it and counts. */
static uint64_t translate_all(struct bench *b, uint64_t *units)
{
    uint64_t insns = 0;
    uint32_t n;

    *units = 0;
    for (size_t at = 0; at + 64 < b->size; (*units)++) {
        at += translate_at(b, at, &n);
        insns += n;
    }
    return insns;
}

static void forget_all(struct bench *b)
{
    accel_code_clear(b->accel);
    cache_safepoint(b->r->user);
}

/* The front end alone, or it and the back end, over the same units. */
static uint64_t translate_parts(struct bench *b, bool back)
{
    struct cache_place place;
    uint64_t insns = 0;

    if (cache_begin(b->r->user, RAM, CACHE_NO_PAGE, b->r->cpu->mode, &place))
        return 0;
    for (size_t at = 0; at + 64 < b->size;) {
        size_t start = at % MEM_PAGE_SIZE;
        struct xl_source source = {.code = b->code + at,
                                   .start = (int32_t)start,
                                   .length = (uint32_t)MIN(512, MEM_PAGE_SIZE - start),
                                   .mode = b->r->cpu->mode,
                                   .max_insns = 64};
        if (!b->code[at] && !b->code[at + 1]) {
            at += 2;
            continue;
        }
        ir_unit_clear(b->r->unit);
        b->r->x->front->translate(&source, b->r->unit);
        if (back)
            back_compile(b->r->compiler, b->r->unit, &place);
        insns += b->r->unit->n_guest;
        at += b->r->unit->bytes;
    }
    cache_abandon(b->r->user);
    return insns;
}

/* --- measuring -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double at_share(double *values, size_t n, double share)
{
    qsort(values, n, sizeof(*values), compare);
    return values[MIN((size_t)((double)n * share), n - 1)];
}

static void measure_all(struct bench *b, unsigned rounds, struct result *out)
{
    g_autofree double *each = g_new(double, rounds);
    uint64_t units = 0;

    for (unsigned i = 0; i < rounds; i++) {
        forget_all(b);
        uint64_t before = cpu_ns();
        out->insns = translate_all(b, &units);
        each[i] = (double)(cpu_ns() - before) / (double)out->insns;
    }
    out->each = at_share(each, rounds, 0.5);
    out->unit = (double)out->insns / (double)units;
}

static void measure_parts(struct bench *b, unsigned rounds, struct result *out)
{
    g_autofree double *each = g_new(double, rounds);

    for (unsigned part = 0; part < 2; part++) {
        for (unsigned i = 0; i < rounds; i++) {
            uint64_t before = cpu_ns();
            uint64_t insns = translate_parts(b, part);
            each[i] = (double)(cpu_ns() - before) / (double)insns;
        }
        out->parts[part] = at_share(each, rounds, 0.5);
    }
}

/* Stretches of BATCH instructions, each timed by itself. */
static void measure_batch(struct bench *b, struct result *out)
{
    g_autofree double *us = g_new(double, b->size / BATCH + 1);
    size_t n = 0;

    forget_all(b);
    for (size_t at = 0; at + 64 < b->size; n++) {
        uint64_t before = cpu_ns();
        uint32_t insns = 0, one;
        while (insns < BATCH && at + 64 < b->size) {
            at += translate_at(b, at, &one);
            insns += one;
        }
        us[n] = (double)(cpu_ns() - before) / 1000;
    }
    out->batch = at_share(us, n, 0.5);
    out->batch_most = at_share(us, n, 0.99);
}

static bool measure_alone(unsigned rounds, struct result *out, GError **err)
{
    g_autofree uint8_t *code = lone_code(ALONE * 4 + 64);
    g_autofree double *each = g_new(double, rounds);
    struct bench b;
    uint64_t units = 0;

    if (!open_bench(&b, code, ALONE * 4 + 64, err))
        return false;
    cache_join(b.r->user);
    for (unsigned i = 0; i < rounds; i++) {
        forget_all(&b);
        uint64_t before = cpu_ns();
        translate_all(&b, &units);
        each[i] = (double)(cpu_ns() - before) / (double)units;
    }
    out->alone = at_share(each, rounds, 0.5);
    cache_leave(b.r->user);
    close_bench(&b);
    return true;
}

static bool run(const uint8_t *code, size_t size, unsigned rounds, bool parts, GError **err)
{
    struct result r = {0};
    struct bench b;

    if (!open_bench(&b, code, size, err) || !measure_alone(rounds, &r, err))
        return false;
    cache_join(b.r->user);
    measure_all(&b, rounds, &r);
    measure_batch(&b, &r);
    if (parts)
        measure_parts(&b, rounds, &r);
    cache_leave(b.r->user);
    close_bench(&b);
    printf("instructions      %" G_GUINT64_FORMAT ", %.1f a unit\n", r.insns, r.unit);
    printf("each              %.3f us\n", r.each / 1000);
    printf("one alone         %.3f us\n", r.alone / 1000);
    printf("batch of %d     %.3f ms (of a hundred, the slowest: %.3f ms)\n", BATCH, r.batch / 1000,
           r.batch_most / 1000);
    if (parts)
        printf("front end         %.3f us each\nfront, back end   %.3f us each\n",
               r.parts[0] / 1000, r.parts[1] / 1000);
    return true;
}

int main(int argc, char **argv)
{
    int rounds = ROUNDS;
    gboolean parts = FALSE;
    const GOptionEntry entries[] = {
        {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "how often", "N"},
        {"parts", 0, 0, G_OPTION_ARG_NONE, &parts, "the translator's parts by themselves, too",
         NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("[FILE] - times the translator");
    g_autoptr(GError) err = NULL;
    g_autofree char *file = NULL, *mixed = NULL;
    gsize size = CODE_MIB << 20;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || argc > 2 || rounds < 1) {
        fprintf(stderr, "bench_translate: %s\n", err ? err->message : "too many arguments");
        return 2;
    }
    if (argc == 2 && !g_file_get_contents(argv[1], &file, &size, &err)) {
        fprintf(stderr, "bench_translate: %s\n", err->message);
        return EXIT_FAILURE;
    }
    if (!file)
        mixed = (char *)mixed_code(size);
    size_t skip = file && size > 2 * TEXT_SKIP ? TEXT_SKIP : 0;
    size = MIN(size - skip, (size_t)CODE_MIB << 20);
    if (!run((const uint8_t *)(file ? file : mixed) + skip, size, (unsigned)rounds, parts, &err)) {
        fprintf(stderr, "bench_translate: %s\n", err->message);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
