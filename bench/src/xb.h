/* xb: cross-ISA benchmark set.  One static binary is /init, the benchmark
 * list and the native/user-mode runner at once. */
#ifndef BENCH_SRC_XB_H
#define BENCH_SRC_XB_H
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define NOINLINE  __attribute__((noinline))
#define ARRLEN(a) (sizeof(a) / sizeof((a)[0]))

struct bench {
    const char *name, *group;
    u64 (*fn)(void); /* does fixed work, returns a checksum */
    u64 want;        /* the checksum, same on every ISA */
};

extern const struct bench int_benches[], fp_benches[], mem_benches[], sys_benches[];

void start(void);    /* restart the timer: setup ends here */
double now(void);    /* CLOCK_MONOTONIC, seconds */
u64 rnd(u64 *state); /* splitmix64 */
void *xalloc(size_t n);
void gen_text(u8 *p, size_t n); /* deterministic, compressible text */

struct sha256 {
    u32 h[8];
    u64 len;
    u8 buf[64];
};
void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, u8 out[32]);
#endif
