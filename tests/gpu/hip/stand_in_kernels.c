/*
 * The kernels of tests/gpu/code in C, for the stand-in: what llvm-readelf says of them, what they
 * are to be given, and what they do.
 */
#include "tests/gpu/engine_test.h"
#include "tests/gpu/hip/stand_in.h"

#include <stdio.h>
#include <stdlib.h>

enum { GLOBAL_BYTES = 64 };

void wrong(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    fputs("HIP stand-in: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    abort();
}

/* --- what llvm-readelf says ------------------------------------------------------------------- */

static struct kernel kernels[KERNELS];
static unsigned n_kernels, elf_flags;

static void read_line(const char *line)
{
    struct kernel *k = n_kernels ? &kernels[n_kernels - 1] : NULL;
    unsigned abi;

    if (sscanf(line, "object %u %x", &abi, &elf_flags) == 2)
        return;
    if (n_kernels < KERNELS && g_str_has_prefix(line, "kernel ")) {
        struct kernel *new = &kernels[n_kernels++];
        sscanf(line, "kernel %63s %u %*u %u %*u %*u %u", new->name, &new->bytes, &new->group,
               &new->threads);
        return;
    }
    struct arg *a = k && k->n_args < ARGS ? &k->args[k->n_args] : NULL;
    if (!a || sscanf(line, "arg %u %u %47s", &a->offset, &a->size, a->kind) != 3)
        wrong("the table has a line '%s'", line);
    k->n_args++;
    k->n_given += !g_str_has_prefix(a->kind, "hidden_");
}

void stand_in_read_table(void)
{
    const char *path = getenv("VMD_HIP_TABLE");
    char line[256];
    FILE *f = path ? fopen(path, "r") : NULL;

    if (!f)
        wrong("there is no table %s", path ? path : "named");
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = 0;
        read_line(line);
    }
    fclose(f);
}

/* --- modules and kernels ---------------------------------------------------------------------- */

struct gpu_module {
    struct gpu_engine *engine;
    uint64_t table;
};

static int module_new(struct gpu_engine *e, const uint8_t *image, size_t length, char *log,
                      size_t log_bytes, struct gpu_module **out)
{
    uint32_t its;

    if (memcmp(image, "\177ELF", 4) != 0)
        return GPU_INVALID_IMAGE;
    memcpy(&its, image + 48, sizeof(its));
    if (its != elf_flags)
        return STAND_IN_NO_BINARY;
    struct gpu_module *m = g_new0(struct gpu_module, 1);
    m->engine = e;
    engine_test.alloc(e, GLOBAL_BYTES, &m->table);
    *out = m;
    return GPU_SUCCESS;
}

static void module_free(struct gpu_module *m)
{
    engine_test.free(m->engine, m->table);
    g_free(m);
}

static uint64_t module_bytes(const struct gpu_module *m)
{
    return GLOBAL_BYTES;
}

static int kernel(struct gpu_module *m, const char *name, struct gpu_kernel **out,
                  struct gpu_kernel_info *info)
{
    static struct gpu_kernel all[KERNELS];

    for (unsigned i = 0; i < n_kernels; i++) {
        if (strcmp(kernels[i].name, name) == 0) {
            all[i].k = &kernels[i];
            *out = &all[i];
            return GPU_SUCCESS;
        }
    }
    return GPU_NOT_FOUND;
}

static int global(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes)
{
    if (strcmp(name, "table") != 0)
        return GPU_NOT_FOUND;
    *address = m->table;
    *bytes = GLOBAL_BYTES;
    return GPU_SUCCESS;
}

/* --- what kernels do -------------------------------------------------------------------------- */

/* Argument I of the segment, as a number. */
static uint64_t number(const struct kernel *k, const uint8_t *segment, unsigned i)
{
    uint64_t v = 0;

    memcpy(&v, segment + k->args[i].offset, MIN(k->args[i].size, sizeof(v)));
    return v;
}

static void *memory(struct gpu_engine *e, uint64_t address, uint64_t bytes)
{
    return engine_test.host(e, address, bytes);
}

static int do_add(struct gpu_engine *e, const struct kernel *k, const uint8_t *s, uint32_t threads)
{
    uint64_t n = MIN((uint32_t)number(k, s, 3), threads);
    float *out = memory(e, number(k, s, 0), 4 * n);
    const float *a = memory(e, number(k, s, 1), 4 * n), *b = memory(e, number(k, s, 2), 4 * n);

    if (!out || !a || !b)
        return GPU_ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
    return GPU_SUCCESS;
}

static int do_twice(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                    uint32_t threads)
{
    uint64_t n = MIN((uint32_t)number(k, s, 1), threads);
    uint32_t *v = memory(e, number(k, s, 0), 4 * n);

    if (!v)
        return GPU_ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < n; i++)
        v[i] *= 2;
    return GPU_SUCCESS;
}

/* What tests/gpu/hip/program.c gives, byte for byte but for what its compiler leaves in gaps. */
static void expect_bytes(const struct kernel *k, const uint8_t *s, unsigned arg, unsigned at,
                         const void *bytes, unsigned n)
{
    const uint8_t *got = s + k->args[arg].offset + at;

    if (at + n > k->args[arg].size || memcmp(got, bytes, n) != 0)
        wrong("argument %u of %s is not what the program gave", arg, k->name);
}

/* The sum of all that it takes, whatever its type. */
static int do_mixed(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                    uint32_t threads)
{
    static const struct {
        int number;
        double value;
        short last;
    } wide = {77, 2.125, -5};
    static const int8_t first = -3;
    static const double d = 1.5;
    static const int16_t half = -300;
    static const float f = 0.25f, v[4] = {1.5f, 2, 3, 4.25f};
    static const uint8_t odd[3] = {9, 8, 7}, yes = 1;
    static const int64_t l = -1234567;
    static const int32_t last = 1000;
    double *out = memory(e, number(k, s, 5), 8);

    if (!out)
        return GPU_ILLEGAL_ADDRESS;
    expect_bytes(k, s, 0, 0, &first, 1);
    expect_bytes(k, s, 1, 0, &d, 8);
    expect_bytes(k, s, 2, 0, &half, 2);
    expect_bytes(k, s, 3, 0, &f, 4);
    expect_bytes(k, s, 4, 0, odd, 3);
    expect_bytes(k, s, 6, 0, &l, 8);
    expect_bytes(k, s, 7, 0, &wide.number, 4);
    expect_bytes(k, s, 7, 8, &wide.value, 8);
    expect_bytes(k, s, 7, 16, &wide.last, 2);
    expect_bytes(k, s, 8, 0, &yes, 1);
    expect_bytes(k, s, 9, 0, v, 16);
    expect_bytes(k, s, 10, 0, &last, 4);
    *out = first + d + half + (double)f + odd[0] + (double)l + wide.number + wide.value +
           wide.last + yes + (double)v[0] + (double)v[3] + last;
    return GPU_SUCCESS;
}

/* As program.c has it. */
static uint32_t mix(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ i >> 15;
}

static int do_large(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                    uint32_t threads)
{
    enum { MANY = 200 };
    uint32_t *out = memory(e, number(k, s, 0), 4), which = (uint32_t)number(k, s, 2) % MANY;

    if (!out)
        return GPU_ILLEGAL_ADDRESS;
    for (uint32_t i = 0; i < MANY; i++) {
        const uint32_t value = mix(i);
        expect_bytes(k, s, 1, 4 * i, &value, 4);
    }
    memcpy(out, s + k->args[1].offset + 4 * which, 4);
    return GPU_SUCCESS;
}

static int do_nothing(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                      uint32_t threads)
{
    return GPU_SUCCESS;
}

static int launch(struct gpu_engine *e, struct gpu_kernel *kernel, const struct gpu_launch *l)
{
    static const struct {
        const char *name;
        int (*run)(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                   uint32_t threads);
    } known[] = {{"add", do_add},
                 {"twice", do_twice},
                 {"mixed", do_mixed},
                 {"large", do_large},
                 {"nothing", do_nothing}};
    const struct kernel *k = kernel->k;

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(known[i].name, k->name) == 0)
            return known[i].run(e, k, l->params, l->grid[0] * l->block[0]);
    }
    return GPU_LAUNCH_FAILED;
}

/* --- segments ----------------------------------------------------------------------------------
 */

/* What a hidden argument is to be: of those that the launch tells. */
static uint64_t hidden(const char *kind, const uint32_t grid[3], const uint32_t block[3],
                       uint32_t shared)
{
    if (g_str_has_prefix(kind, "hidden_block_count_"))
        return grid[kind[19] - 'x'];
    if (g_str_has_prefix(kind, "hidden_group_size_"))
        return block[kind[18] - 'x'];
    if (strcmp(kind, "hidden_grid_dims") == 0)
        return 3;
    return strcmp(kind, "hidden_dynamic_lds_size") == 0 ? shared : 0;
}

void stand_in_check_segment(const struct kernel *k, const uint8_t *segment, const uint32_t grid[3],
                            const uint32_t block[3], uint32_t shared)
{
    g_autofree uint8_t *expected = g_memdup2(segment, MAX(k->bytes, 1));
    unsigned end = 0;

    for (unsigned i = 0; i <= k->n_args; i++) {
        const struct arg *a = i < k->n_args ? &k->args[i] : NULL;
        unsigned begin = a ? a->offset : k->bytes;
        memset(expected + end, 0, begin - end);
        if (a && i >= k->n_given) {
            uint64_t value = hidden(a->kind, grid, block, shared);
            memset(expected + begin, 0, a->size);
            memcpy(expected + begin, &value, MIN(a->size, sizeof(value)));
        }
        end = a ? a->offset + a->size : 0;
    }
    for (unsigned i = 0; i < k->bytes; i++) {
        if (segment[i] != expected[i])
            wrong("byte %u of %s's segment is %#x, not %#x", i, k->name, segment[i], expected[i]);
    }
}

void stand_in_set_engine(struct gpu_engine_ops *engine)
{
    engine->module_new = module_new;
    engine->module_free = module_free;
    engine->module_bytes = module_bytes;
    engine->kernel = kernel;
    engine->global = global;
    engine->launch = launch;
}
