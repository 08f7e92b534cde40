/* Memory: latency inside and outside the guest TLB's reach, bandwidth. */
#include "xb.h"
#include <string.h>

static u64 chase(size_t n, size_t stride, u64 steps)
{
    /* n slots of `stride` bytes in one random cycle */
    u8 *p = xalloc(n * stride);
    u32 *ord = xalloc(n * sizeof *ord);
    u64 s = 9, x = 0;

    for (size_t i = 0; i < n; i++)
        ord[i] = i;
    for (size_t i = n - 1; i; i--) { /* Sattolo: one cycle */
        size_t j = rnd(&s) % i;
        u32 t = ord[i];
        ord[i] = ord[j];
        ord[j] = t;
    }
    for (size_t i = 0; i < n; i++)
        *(u64 *)(p + i * stride) = ord[i];
    start();
    for (u64 i = 0; i < steps; i++)
        x = *(u64 *)(p + x * stride);
    return x;
}
static u64 b_chase16k(void)
{
    return chase(256, 64, 60000000);
}
static u64 b_chase2m(void)
{
    return chase(32768, 64, 8000000);
}
/* one line in each of 16384 pages: misses every small software TLB */
static u64 b_chase64m(void)
{
    return chase(16384, 4096 + 64, 5000000);
}

static u64 b_stream(void)
{
    enum { N = 1 << 20 };
    double *a = xalloc(N * 8), *b = xalloc(N * 8), *c = xalloc(N * 8), t = 0;
    for (int i = 0; i < N; i++)
        a[i] = i & 7, b[i] = i & 3, c[i] = 0;
    start();
    for (int k = 0; k < 20; k++) {
        for (int i = 0; i < N; i++)
            c[i] = a[i];
        for (int i = 0; i < N; i++)
            b[i] = 0.5 * c[i];
        for (int i = 0; i < N; i++)
            c[i] = a[i] + b[i];
        for (int i = 0; i < N; i++)
            a[i] = b[i] + 0.5 * c[i];
    }
    for (int i = 0; i < N; i++)
        t += a[i];
    return (u64)(t * 4096);
}

static void *(*volatile cpy)(void *, const void *, size_t) = memcpy;
static void *(*volatile fill)(void *, int, size_t) = memset;
static u64 b_memcpy(void) /* libc's, large and small blocks */
{
    enum { N = 8 << 20 };
    u8 *a = xalloc(N), *b = xalloc(N);
    u64 sum = 0;
    gen_text(a, N);
    memset(b, 0, N);
    start();
    for (int k = 0; k < 60; k++) {
        cpy(b, a, N);
        fill(a + k * 4096, k, 65536);
        sum += b[k * 99991];
    }
    for (int i = 0; i < 5000000; i++)
        cpy(b + i % 4000, a + i % 3001, 1 + i * 7 % 120);
    for (int i = 0; i < 5000; i++)
        sum = sum * 31 + b[i];
    return sum;
}

static u64 b_bytes(void) /* unaligned and sub-word loads and stores */
{
    enum { N = 1 << 16 };
    static u8 p[N + 16];
    u64 x = 1;
    gen_text(p, sizeof p);
    start();
    for (int i = 0; i < 20000000; i++) {
        u32 v, o = (x >> 11) % N;
        u64 w;
        memcpy(&v, p + o, 4);
        memcpy(&w, p + (o ^ 21), 8);
        x = x * 6364136223846793005u + v + (w >> 17);
        p[o ^ 5] = x;
    }
    return x;
}

const struct bench mem_benches[] = {{"chase16k", "mem", b_chase16k, 0x0},
                                    {"chase2m", "mem", b_chase2m, 0x7a12},
                                    {"chase64m", "mem", b_chase64m, 0x2cbb},
                                    {"stream", "mem", b_stream, 0x12f939c99f0},
                                    {"memcpy", "mem", b_memcpy, 0xb347ad199669fe66},
                                    {"bytes", "mem", b_bytes, 0x2f7cf04ff5e6a88},
                                    {0}};
