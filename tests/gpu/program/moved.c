/* What is told apart where contexts move in the middle of it, and no case has: see tests/gpu/move_cuda.py. */
#include "tests/gpu/program/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

CUresult cuLaunchHostFunc(CUstream stream, void (*fn)(void *opaque), void *opaque);

/* --- more than half of the memory ------------------------------------------------------------- */

static void large(void)
{
    enum { PIECE = 1 << 20 };
    uint8_t *piece = malloc(PIECE);
    size_t free_bytes, total, after;
    CUdeviceptr at, again;

    SAME(piece != NULL, 0);
    CU(cuMemGetInfo_v2(&free_bytes, &total));
    const size_t bytes = total / 8 * 5;
    CU(cuMemAlloc_v2(&at, bytes));
    for (unsigned i = 0; i < bytes / PIECE; i += 7)
        CU(cuMemsetD8_v2(at + (CUdeviceptr)i * PIECE, (unsigned char)(i + 1), PIECE));
    CU(cuCtxSynchronize());
    CU(cuMemGetInfo_v2(&free_bytes, &total));
    for (int n = 0; n < 2; n++) {
        program_step("large");
        for (unsigned i = 0; i < bytes / PIECE; i++) {
            CU(cuMemcpyDtoH_v2(piece, at + (CUdeviceptr)i * PIECE, PIECE));
            SAME(piece[0] == (i % 7 ? 0 : (uint8_t)(i + 1)) && piece[PIECE - 1] == piece[0], i);
        }
        CU(cuMemGetInfo_v2(&after, &total));
        SAME(after == free_bytes, (long)(after >> 10));
    }
    CU(cuMemFree_v2(at));
    CU(cuMemAlloc_v2(&again, bytes));
    CU(cuMemFree_v2(again));
    free(piece);
}

/* --- times ------------------------------------------------------------------------------------ */

static volatile bool let_go;

static void wait_for_program(void *opaque)
{
    while (!*(volatile bool *)opaque)
        usleep(1000);
}

/* One that was recorded before a move has a time, also while the program's own function holds a stream. */
static void times(void)
{
    enum { NON_BLOCKING = 1, MINUTES = 2 };
    CUevent a, b, d;
    CUstream s;
    float ab, bd, ad;

    CU(cuEventCreate(&a, 0));
    CU(cuEventCreate(&b, 0));
    CU(cuEventCreate(&d, 0));
    CU(cuStreamCreate(&s, NON_BLOCKING));
    CU(cuEventRecord(a, NULL));
    CU(cuEventSynchronize(a));
    program_step("times");
    CU(cuEventRecord(b, NULL));
    CU(cuEventSynchronize(b));
    let_go = false;
    CU(cuLaunchHostFunc(s, wait_for_program, (void *)&let_go));
    alarm(MINUTES * 60);
    CU(cuEventElapsedTime(&ab, a, b));
    let_go = true;
    alarm(0);
    usleep(100000);
    CU(cuEventRecord(d, NULL));
    CU(cuEventSynchronize(d));
    CU(cuEventElapsedTime(&bd, b, d));
    CU(cuEventElapsedTime(&ad, a, d));
    SAME(ab >= 0 && bd >= 100 && ad > ab + bd - 1 && ad < ab + bd + 1, (long)ad);
    CU(cuStreamSynchronize(s));
    CU(cuStreamDestroy_v2(s));
    CU(cuEventDestroy_v2(a));
    CU(cuEventDestroy_v2(b));
    CU(cuEventDestroy_v2(d));
}

/* --- modules ---------------------------------------------------------------------------------- */

#define HEAD ".version 7.0\n.target sm_80\n.address_size 64\n"

/* Where a table of functions is, program and kernel agree. */
static void table(void)
{
    static const char text[] =
        HEAD ".visible .func (.param .b32 r) f(.param .b32 a) {\n"
             " .reg .b32 %r1; ld.param.b32 %r1, [a]; st.param.b32 [r], %r1; ret;\n}\n"
             ".visible .global .u64 table[2] = {f, f};\n.visible .const .u32 weight = 5;\n"
             ".visible .entry k(.param .u64 p) {\n .reg .b64 %a<4>; .reg .b32 %r<2>;\n"
             " ld.param.u64 %a1, [p]; mov.u64 %a2, table; st.global.u64 [%a1], %a2;\n"
             " ld.const.u32 %r1, [weight]; st.global.u32 [%a1+8], %r1; ret;\n}\n";
    CUdeviceptr at, where, weight;
    uint64_t told[2] = {0};
    void *params[] = {&at};
    CUfunction f;
    CUmodule m;
    size_t bytes;
    uint32_t seven = 7;

    CU(cuModuleLoadData(&m, text));
    CU(cuModuleGetGlobal_v2(&weight, &bytes, m, "weight"));
    CU(cuMemcpyHtoD_v2(weight, &seven, sizeof(seven)));
    CU(cuMemAlloc_v2(&at, sizeof(told)));
    program_step("table");
    CU(cuModuleGetGlobal_v2(&where, &bytes, m, "table"));
    SAME(bytes == 16, (long)bytes);
    CU(cuModuleGetFunction(&f, m, "k"));
    CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    CU(cuMemcpyDtoH_v2(told, at, sizeof(told)));
    CU(cuMemFree_v2(at));
    SAME(told[0] == where, 0);
    SAME((uint32_t)told[1] == 7, (long)told[1]);
    CU(cuModuleUnload(m));
}

/* Its heap was in the driver's hands alone, and is nowhere. */
static void unused(void)
{
    static const char text[] = HEAD ".extern .func (.param .b64 r) malloc(.param .b64 n);\n"
                                    ".visible .global .u32 dropped = 3;\n"
                                    ".visible .entry k() { ret; }\n";
    CUfunction f;
    CUmodule m;

    CU(cuModuleLoadData(&m, text));
    for (int i = 0; i < 3; i++) {
        program_step("unused");
        CU(cuModuleGetFunction(&f, m, "k"));
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
        CU(cuCtxSynchronize());
    }
    CU(cuModuleUnload(m));
}

/* More images than are kept: such a program stays where it is. */
static void images(void)
{
    enum { MODULES = 6, BYTES = 50 << 20 };
    char *text = malloc(BYTES + 1);
    CUmodule m[MODULES];

    SAME(text != NULL, 0);
    memset(text, ' ', BYTES);
    memcpy(text, HEAD, strlen(HEAD));
    text[BYTES] = 0;
    for (int i = 0; i < MODULES; i++)
        CU(cuModuleLoadData(&m[i], text));
    program_step("images");
    for (int i = 0; i < MODULES; i++)
        CU(cuModuleUnload(m[i]));
    free(text);
}

int moved_run(void)
{
    void (*const all[])(void) = {large, times, table, unused, images};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        program_begin(NULL);
        all[i]();
        CU(cuCtxSynchronize());
        program_end();
    }
    puts("all well");
    return 0;
}
