/* The cases, one after the other. See program.h. */
#include "tests/gpu/program/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *folder;
static const char *running = "beginning";
static CUcontext context;
static CUmodule module;

void program_check(CUresult got, CUresult want, const char *call, const char *file, int line)
{
    const char *name = "?";

    if (got == want)
        return;
    cuGetErrorName(got, &name);
    printf("failed %s: %s:%d: %s gives %d (%s), not %d\n", running, file, line, call, got, name,
           want);
    exit(1);
}

void program_expect(bool so, const char *what, long i, const char *file, int line)
{
    if (so)
        return;
    printf("failed %s: %s:%d: not so for %ld: %s\n", running, file, line, i, what);
    exit(1);
}

CUmodule program_module(void)
{
    return module;
}

CUfunction program_kernel(const char *name)
{
    CUfunction f;

    CU(cuModuleGetFunction(&f, module, name));
    return f;
}

/* Whoever started the program with VMD_GPU_STEPS does something meanwhile, and says a line then. */
void program_step(const char *name)
{
    char line[16];

    if (!getenv("VMD_GPU_STEPS"))
        return;
    printf("step %s\n", name);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(1);
}

CUdeviceptr program_put(const void *from, size_t bytes)
{
    CUdeviceptr d;

    CU(cuMemAlloc_v2(&d, bytes));
    if (from) {
        CU(cuMemcpyHtoD_v2(d, from, bytes));
    } else {
        /* Fills of the device's memory are not waited for, and streams may be none of the first's. */
        CU(cuMemsetD8_v2(d, 0, bytes));
        CU(cuStreamSynchronize(NULL));
    }
    return d;
}

/* Of what the running case has got from the device: the same wherever it runs. */
static uint64_t digest;

void program_get(void *to, CUdeviceptr from, size_t bytes)
{
    program_step(running);
    CU(cuMemcpyDtoH_v2(to, from, bytes));
    for (size_t i = 0; i < bytes; i++)
        digest = (digest ^ ((const uint8_t *)to)[i]) * 0x100000001b3u;
}

void program_launch(const char *name, struct dims d, uint64_t *args)
{
    void *params[16];

    for (int i = 0; i < 16; i++)
        params[i] = &args[i];
    CU(cuLaunchKernel(program_kernel(name), d.gx, d.gy, 1, d.bx, d.by, 1, d.shared, NULL, params,
                      NULL));
    program_step(running);
}

uint32_t program_mix(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ i >> 15;
}

uint64_t program_bits(float f)
{
    uint32_t v;

    memcpy(&v, &f, 4);
    return v;
}

double program_seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* --- contexts --------------------------------------------------------------------------------- */

static char *read_file(const char *name)
{
    char path[512];
    long n = -1;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (f && fseek(f, 0, SEEK_END) == 0)
        n = ftell(f);
    char *text = n < 0 ? NULL : calloc(1, (size_t)n + 1);
    if (!text || fseek(f, 0, SEEK_SET) || fread(text, 1, (size_t)n, f) != (size_t)n) {
        printf("failed: reading %s\n", path);
        exit(1);
    }
    fclose(f);
    return text;
}

void program_begin(const char *file)
{
    CUdevice device;

    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    module = NULL;
    if (!file)
        return;
    char *image = read_file(file);
    CU(cuModuleLoadData(&module, image));
    free(image);
}

void program_end(void)
{
    cuCtxDestroy_v2(context);
}

static const char *lacking; /* what the running case would need of the device */
static int left_out;

void program_lacks(const char *what)
{
    lacking = what;
}

static int run_cases(const struct program_case *c, const char *only)
{
    int n = 0;

    for (; c->name; c++) {
        if (only && strcmp(only, c->name) != 0)
            continue;
        running = c->name;
        digest = 0xcbf29ce484222325u;
        lacking = NULL;
        program_begin(c->module);
        c->run();
        if (!c->breaks)
            CU(cuCtxSynchronize());
        program_end();
        if (lacking)
            printf("without %s: the device has no %s\n", c->name, lacking);
        else
            printf("ok %s %016llx\n", c->name, (unsigned long long)digest);
        left_out += lacking != NULL;
        fflush(stdout);
        n++;
    }
    return n;
}

static int list_run(void)
{
    static const struct program_case *const all[] = {basic_cases, flow_cases, number_cases,
                                                     graph_cases, managed_cases, api_cases};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (const struct program_case *c = all[i]; c->name; c++)
            printf("case %s\n", c->name);
    }
    return 0;
}

static const struct {
    const char *name;
    int (*run)(void);
} modes[] = {{"measure", measure_run}, {"lost", lost_run},   {"gone", gone_run},
             {"hang", hang_run},       {"quota", quota_run}, {"through", through_run},
             {"figures", figures_run}, {"share", share_run}, {"list", list_run},
             {"moved", moved_run}};

int main(int argc, char **argv)
{
    const char *word = argc == 3 ? argv[2] : NULL;
    char name[128];
    CUdevice device;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: gpu-program KERNELS "
                        "[CASE|measure|lost|gone|hang|quota|through|figures|share|list|moved]\n");
        return 2;
    }
    folder = argv[1];
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetName(name, sizeof(name), device));
    printf("device: %s\n", name);
    fflush(stdout);
    for (size_t i = 0; word && i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(word, modes[i].name) == 0)
            return modes[i].run();
    }
    int n = run_cases(basic_cases, word) + run_cases(flow_cases, word) +
            run_cases(number_cases, word) + run_cases(graph_cases, word) +
            run_cases(managed_cases, word) + run_cases(api_cases, word);
    printf("gpu: %d cases, all well\n", n - left_out);
    return n ? 0 : 1;
}
