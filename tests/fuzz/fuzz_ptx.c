/*
 * Images for the software GPU: whatever the bytes are, they are refused with a message, or their kernels run and end with
 * a result or an error. The first byte chooses the block's size; the rest is PTX or a fat binary.
 */
#include "gpu/soft/soft.h"
#include "tests/fuzz/fuzz.h"

#include <lz4.h>
#include <string.h>
#include <zstd.h>

enum { MEMORY = 4096 };

/* A slice of time each: endless loops end at the first look at this. */
static const atomic_bool cancel = true;

static void run(struct soft_space *space, const struct soft_function *fn, unsigned threads)
{
    uint8_t params[MEMORY] = {0};
    struct soft_launch l = {.function = fn, .grid = {1, 1, 1}, .block = {threads, 1, 1}, .shared = 256,
                            .params = params, .param_bytes = sizeof(params), .threads = 1, .cancel = &cancel};
    struct soft_param param;
    g_autofree char *log = NULL;
    uint64_t memory;

    if (soft_space_alloc(space, MEMORY, &memory))
        return;
    for (unsigned i = 0; soft_function_param(fn, i, &param) == SOFT_OK; i++) {
        if (param.size == 8 && param.offset <= sizeof(params) - 8)
            memcpy(params + param.offset, &memory, 8);
    }
    soft_launch_run(&l, &log);
    soft_space_release(space, memory);
}

/* The text for a device that places variables itself, of what was loaded, is a module too, with as many kernels. */
static void edit(const struct soft_module *m, const uint8_t *image, size_t size)
{
    struct soft_space *space = soft_space_new(UINT64_MAX), *other = soft_space_new(UINT64_MAX);
    g_autofree struct soft_place *places = NULL;
    g_autofree char *text = NULL, *log = NULL;
    struct soft_module *same = NULL, *theirs = NULL;
    unsigned n = soft_module_places(m, &places), kernels = 0;

    int e = soft_module_load_at(space, image, size, places, n, NULL, 0, SOFT_TARGET, &same, &text,
                                NULL);
    g_assert((e == SOFT_OK) == (text != NULL) && (e == SOFT_OK || e == SOFT_NOT_SUPPORTED));
    if (text && !memmem(image, size, "vmd_place_", 10)) { /* which is the text's own name */
        e = soft_module_load(other, text, strlen(text), &theirs, &log);
        if (e)
            g_error("%d: %s\n%s", e, log, text);
        while (soft_module_kernel(theirs, kernels))
            g_assert(soft_module_kernel(same, kernels++));
        g_assert(!soft_module_kernel(same, kernels));
    }
    soft_module_unload(theirs);
    soft_module_unload(same);
    soft_space_free(other);
    soft_space_free(space);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct soft_space *space = soft_space_new(16 << 20);
    struct soft_module *m = NULL;
    g_autofree char *log = NULL;
    const struct soft_function *fn;

    if (size > 0) {
        int e = soft_module_load(space, data + 1, size - 1, &m, &log);

        g_assert((e == SOFT_OK) == (m != NULL) && (e == SOFT_OK) == (log == NULL));
        for (unsigned i = 0; m && i < 4 && (fn = soft_module_kernel(m, i)); i++)
            run(space, fn, 1 + data[0] % 96);
        if (m)
            edit(m, data + 1, size - 1);
        soft_module_unload(m);
    }
    g_assert(soft_space_used(space) == 0);
    soft_space_free(space);
    return 0;
}

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"

static const char *const seeds[] = {
    HEAD ".visible .entry k(.param .u64 p) {\n.reg .b64 %d<4>;.reg .b32 %r<4>;.reg .pred %q<3>;\n"
         "ld.param.u64 %d1,[p]; mov.u32 %r1,%tid.x; mul.wide.u32 %d2,%r1,4; add.s64 %d3,%d1,%d2;\n"
         "L: setp.lt.u32 %q1,%r1,40; @%q1 bra M; st.global.u32 [%d3+4],%r1; M: add.u32 %r1,%r1,1;\n"
         "setp.lt.u32 %q2,%r1,99; @%q2 bra L; bar.sync 0; atom.global.add.u32 %r2,[%d1],1; ret;}\n",
    HEAD ".global .align 8 .u64 t[2]={f,g};\n.func (.param .b32 r) f(.param .b32 a);\n"
         ".func (.param .b32 r) g(.param .b32 a){.reg .b32 %r<2>;ld.param.b32 %r1,[a];st.param.b32 [r],%r1;ret;}\n"
         ".visible .entry k(){.reg .b32 %r<3>;{.param .b32 x;st.param.b32 [x],5;.param .b32 y;\n"
         "call (y),g,(x);ld.param.b32 %r1,[y];}\nshfl.sync.bfly.b32 %r2,%r1,1,31,-1;ret;}\n",
    HEAD ".visible .entry k(){.reg .b16 %h<3>;.reg .f32 %f<4>;.reg .f64 %d<3>;.shared .align 4 .b8 s[16];\n"
         "mov.f32 %f1,0f3F800000;cvt.rn.f16.f32 %h1,%f1;cvt.f32.f16 %f2,%h1;fma.rz.ftz.f32 %f3,%f1,%f2,%f1;\n"
         "cvt.f64.f32 %d1,%f3;div.rp.f64 %d2,%d1,%d1;st.shared.v2.f32 [s+8],{%f1,%f3};brx.idx 1,t;t:.branchtargets a,b;a:trap;b:ret;}\n",
};

enum { PLAIN, FAT, FAT_LZ4, FAT_ZSTD, FORMS };

static void le(GByteArray *out, uint64_t v, unsigned size)
{
    v = GUINT64_TO_LE(v);
    g_byte_array_append(out, (const uint8_t *)&v, size);
}

/* TEXT as the one entry of a fat binary, packed as FORM says. */
static void fat(GByteArray *out, unsigned form, const char *text)
{
    static const unsigned flags[FORMS] = {0, 0, 0x2000, 0x8000};
    size_t len = strlen(text), packed = len;
    g_autofree char *data = g_malloc(2 * len);

    if (form == FAT_LZ4)
        packed = LZ4_compress_default(text, data, len, 2 * len);
    else if (form == FAT_ZSTD)
        packed = ZSTD_compress(data, 2 * len, text, len, 1);
    else
        memcpy(data, text, len);
    le(out, 0xba55ed50, 4);
    le(out, 1, 2);
    le(out, 16, 2);
    le(out, 64 + packed, 8);
    le(out, 0x01010001, 4);
    le(out, 64, 4);
    le(out, packed, 8);
    le(out, form == FAT ? 0 : packed, 8);
    le(out, (uint64_t)80 << 32, 8);
    le(out, 0, 8);
    le(out, flags[form], 8);
    le(out, 0, 8);
    le(out, form == FAT ? 0 : len, 8);
    g_byte_array_append(out, (const uint8_t *)data, packed);
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    uint8_t byte = 31 + n;

    if (n >= FORMS * G_N_ELEMENTS(seeds))
        return false;
    const char *text = seeds[n / FORMS];

    g_byte_array_append(out, &byte, 1);
    if (n % FORMS == PLAIN)
        g_byte_array_append(out, (const uint8_t *)text, strlen(text));
    else
        fat(out, n % FORMS, text);
    return true;
}
