/* Integer benchmarks: calls, indirect jumps, hashing, sorting, division. */
#include "xb.h"
#include <stdlib.h>
#include <string.h>

/* --- SHA-256 (FIPS 180-4) ------------------------------------------- */
static const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
#define ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void sha_block(u32 *h, const u8 *p)
{
    u32 w[64], v[8];

    for (int i = 0; i < 16; i++)
        w[i] = (u32)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        u32 a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ROR(a, 7) ^ ROR(a, 18) ^ a >> 3) +
               (ROR(b, 17) ^ ROR(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        u32 e = v[4], a = v[0];
        u32 t1 =
            v[7] + (ROR(e, 6) ^ ROR(e, 11) ^ ROR(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + K[i] + w[i];
        u32 t2 = (ROR(a, 2) ^ ROR(a, 13) ^ ROR(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        v[7] = v[6];
        v[6] = v[5];
        v[5] = e;
        v[4] = v[3] + t1;
        v[3] = v[2];
        v[2] = v[1];
        v[1] = a;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

void sha256_init(struct sha256 *s)
{
    static const u32 iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                              0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, iv, sizeof iv);
    s->len = 0;
}

void sha256_add(struct sha256 *s, const void *p_, size_t n)
{
    const u8 *p = p_;
    while (n) {
        size_t o = s->len % 64;
        if (!o && n >= 64) {
            sha_block(s->h, p);
            p += 64;
            n -= 64;
            s->len += 64;
            continue;
        }
        s->buf[o] = *p++;
        n--;
        s->len++;
        if (o == 63)
            sha_block(s->h, s->buf);
    }
}

void sha256_end(struct sha256 *s, u8 out[32])
{
    u64 bits = s->len * 8;
    u8 len[8];

    sha256_add(s, "\x80", 1);
    while (s->len % 64 != 56)
        sha256_add(s, "", 1);
    for (int i = 0; i < 8; i++)
        len[i] = bits >> (56 - 8 * i);
    sha256_add(s, len, 8);
    for (int i = 0; i < 32; i++)
        out[i] = s->h[i / 4] >> (24 - 8 * (i % 4));
}

static u64 b_sha256(void) /* 64 MB */
{
    size_t n = 1 << 20;
    u8 *p = xalloc(n), d[32];
    struct sha256 s;
    u64 r;

    gen_text(p, n);
    start();
    sha256_init(&s);
    for (int i = 0; i < 64; i++)
        sha256_add(&s, p, n);
    sha256_end(&s, d);
    memcpy(&r, d, 8);
    return r;
}

/* --- records, strings and small procedures, in Dhrystone's manner ---- */
struct rec {
    struct rec *next;
    int kind, val;
    char name[32];
};
static struct rec ra, rb;
static int arr1[64], arr2[64][64], gi;
static char gc1, gc2;

static NOINLINE int pick(char a, char b)
{
    if (a != b)
        return 0;
    gc1 = a;
    return 1;
}
static NOINLINE int same(const char *a, const char *b)
{
    int i = 2;
    while (i <= 2)
        if (!pick(a[i], b[i + 1]))
            i++;
        else
            break;
    if (strcmp(a, b) > 0) {
        gi += i;
        return 1;
    }
    return 0;
}
static NOINLINE void kinds(int a, int *b)
{
    switch (a) {
    case 0:
        *b = 0;
        break;
    case 1:
        *b = gi > 100 ? 0 : 3;
        break;
    case 2:
        *b = 1;
        break;
    default:
        *b = 2;
    }
}
static NOINLINE void arrays(int *a, int (*b)[64], int x, int y)
{
    int k = (x + 5) % 50;
    a[k] = y;
    a[k + 1] = a[k];
    a[k + 9] = k;
    for (int i = k; i <= k + 1; i++)
        b[k][i] = k;
    b[k][k - (k > 0)]++;
    b[k + 10][k] = a[k];
    gi = 5;
}
static NOINLINE void recs(struct rec *p)
{
    struct rec *n = p->next;
    *n = *p;
    p->val = 5;
    n->val = p->val;
    n->next = p->next;
    if (n->kind == 0) {
        n->val = 6;
        kinds(p->kind, &n->kind);
        n->val += 10;
    } else
        *p = *n;
}
static u64 b_dhry(void)
{
    u64 sum = 0;
    char s1[32], s2[32];

    ra.next = &rb;
    rb.next = &ra;
    strcpy(ra.name, "A PROGRAM OF SOME SORT, RECORD");
    strcpy(s1, "A PROGRAM OF SOME SORT, 1ST ST");
    start();
    for (int i = 0; i < 4000000; i++) {
        int a = 2, b = 3, c = 0;
        gc2 = 'B';
        strcpy(s2, "A PROGRAM OF SOME SORT, 2ND ST");
        s2[29] = 'A' + i % 26;
        int eq = !same(s1, s2);
        while (a < b) {
            c = 5 * a - b;
            a++;
        }
        arrays(arr1, arr2, a + (i & 7), c);
        ra.kind = i & 1;
        recs(&ra);
        for (char ch = 'A'; ch <= gc2; ch++)
            if (eq == pick(ch, 'C'))
                kinds(ch & 3, &eq);
        b = b * a;
        a = b / (c + 1);
        b = 7 * (b - c) - a;
        sum = sum * 31 + a + b + c + eq + rb.val + arr1[(i & 7) + 8];
    }
    return sum;
}

/* --- LZ77 with hash chains over 4 MB of text ------------------------- */
static u64 b_lz(void)
{
    enum { N = 4 << 20, HB = 15, CHAIN = 16, MAX = 258 };
    u8 *p = xalloc(N + MAX);
    int *head = xalloc(sizeof(int) << HB), *prev = xalloc(N * sizeof(int));
    u64 sum = 0;

    gen_text(p, N);
    memset(head, 0xff, sizeof(int) << HB);
    start();
    for (int i = 0; i < N - MAX;) {
        int best = 0, dist = 0, tries = CHAIN;
        u32 h = (p[i] | p[i + 1] << 8 | p[i + 2] << 16) * 2654435761u >> (32 - HB);
        for (int c = head[h]; c >= 0 && i - c < 32768 && tries--; c = prev[c]) {
            int l = 0;
            if (p[c + best] != p[i + best])
                continue;
            while (l < MAX && p[c + l] == p[i + l])
                l++;
            if (l > best) {
                best = l;
                dist = i - c;
            }
        }
        int step = best >= 4 ? best : 1;
        sum = (sum ^ (step > 1 ? (u64)dist << 16 | best : p[i])) * 1099511628211u;
        while (step--) {
            h = (p[i] | p[i + 1] << 8 | p[i + 2] << 16) * 2654435761u >> (32 - HB);
            prev[i] = head[h];
            head[h] = i++;
        }
    }
    return sum;
}

/* --- sorting: an own quicksort, and qsort() with its callback -------- */
static void quick(u64 *a, long n)
{
    while (n > 16) {
        u64 p = a[n / 2], t;
        long i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < p)
                i++;
            while (a[j] > p)
                j--;
            if (i <= j) {
                t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        quick(a, j + 1);
        a += i;
        n -= i;
    }
    for (long i = 1; i < n; i++) {
        u64 v = a[i];
        long j = i;
        for (; j && a[j - 1] > v; j--)
            a[j] = a[j - 1];
        a[j] = v;
    }
}
static int cmp(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;
    return (x > y) - (x < y);
}
static u64 b_sort(void)
{
    enum { N = 1500000, M = 500000 };
    u64 *a = xalloc(N * sizeof *a), *b = xalloc(M * sizeof *b), s = 1;
    u64 sum = 0;

    for (int i = 0; i < N; i++)
        a[i] = rnd(&s);
    for (int i = 0; i < M; i++)
        b[i] = rnd(&s);
    start();
    quick(a, N);
    qsort(b, M, sizeof *b, cmp);
    for (int i = 0; i < N; i++)
        sum = sum * 3 + a[i];
    for (int i = 0; i < M; i++)
        sum = sum * 3 + b[i];
    return sum;
}

static NOINLINE u32 queens(u32 all, u32 col, u32 l, u32 r)
{
    u32 n = 0, free = all & ~(col | l | r);
    if (col == all)
        return 1;
    while (free) {
        u32 b = free & -free;
        free ^= b;
        n += queens(all, col | b, (l | b) << 1, (r | b) >> 1);
    }
    return n;
}
static u64 b_nqueens(void)
{
    return queens((1 << 14) - 1, 0, 0, 0);
}

/* --- a bytecode interpreter: one indirect jump per operation --------- */
enum { LDI, MOV, ADD, MUL, AND, SHR, XOR, ADDI, JNZ, JODD, JMP, LD, ST, HLT };
static NOINLINE u64 vm(const u32 *code)
{
    u64 r[8] = {0}, mem[64] = {0};
    const u32 *pc = code;
    static const void *const op[] = {&&ldi,  &&mov, &&add,  &&mul, &&and, &&shr, &&xor,
                                     &&addi, &&jnz, &&jodd, &&jmp, &&ld,  &&st,  &&hlt};
#define A   (i >> 8 & 7)
#define B   (i >> 16 & 7)
#define IMM ((int)i >> 16)
#define NEXT                                                                                       \
    do {                                                                                           \
        i = *pc++;                                                                                 \
        goto *op[i & 255];                                                                         \
    } while (0)
    u32 i;
    NEXT;
ldi:
    r[A] = IMM;
    NEXT;
mov:
    r[A] = r[B];
    NEXT;
add:
    r[A] += r[B];
    NEXT;
mul:
    r[A] *= r[B];
    NEXT;
    and : r[A] &= r[B];
    NEXT;
shr:
    r[A] >>= r[B] & 63;
    NEXT;
    xor : r[A] ^= r[B];
    NEXT;
addi:
    r[A] += IMM;
    NEXT;
jnz:
    if (r[A])
        pc += IMM;
    NEXT;
jodd:
    if (r[A] & 1)
        pc += IMM;
    NEXT;
jmp:
    pc += IMM;
    NEXT;
ld:
    r[A] = mem[r[B] & 63];
    NEXT;
st:
    mem[r[B] & 63] = r[A];
    NEXT;
hlt:
    return r[7];
#undef A
#undef B
}
static u64 b_interp(void) /* Collatz lengths, kept in a small table */
{
#define I(o, a, x) ((o) | (a) << 8 | (u32)(x) << 16)
    static const u32 code[] = {I(LDI, 5, 1),
                               I(LDI, 6, 3),
                               I(LDI, 0, 30000),
                               /* 3: */ I(MOV, 1, 0),
                               I(LDI, 2, 0),
                               /* 5: */ I(JODD, 1, 2),
                               I(SHR, 1, 5),
                               I(JMP, 0, 6),
                               /* 8: */ I(MOV, 3, 1),
                               I(ADDI, 3, -1),
                               /* 10: */ I(JNZ, 3, 1),
                               I(JMP, 0, 4),
                               /* 12: */ I(MUL, 1, 6),
                               I(ADDI, 1, 1),
                               /* 14: */ I(ADDI, 2, 1),
                               I(JMP, 0, -11),
                               /* 16: */ I(LD, 4, 0),
                               I(XOR, 4, 2),
                               I(ST, 4, 0),
                               I(MUL, 7, 6),
                               I(ADD, 7, 4),
                               I(ADDI, 0, -1),
                               I(JNZ, 0, -20),
                               I(HLT, 0, 0)};
    u64 s = 0;
    for (int i = 0; i < 6; i++)
        s = s * 7 + vm(code);
    return s;
}

static NOINLINE int fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
static int (*volatile fibp)(int) = fib;
static u64 b_fib(void)
{
    return fibp(39);
}

/* --- indirect calls through a table ---------------------------------- */
static u64 f0(u64 x)
{
    return x + 0x9e3779b97f4a7c15;
}
static u64 f1(u64 x)
{
    return x ^ x >> 29;
}
static u64 f2(u64 x)
{
    return x * 5;
}
static u64 f3(u64 x)
{
    return (x << 7) - x;
}
static u64 f4(u64 x)
{
    return ~x;
}
static u64 f5(u64 x)
{
    return x - (x >> 3);
}
static u64 f6(u64 x)
{
    return x << 1 | x >> 63;
}
static u64 f7(u64 x)
{
    return x ^ 0x5555;
}
static u64 (*const volatile ftab[8])(u64) = {f0, f1, f2, f3, f4, f5, f6, f7};
static u64 b_vcall(void)
{
    static const u8 seq[16] = {0, 1, 2, 1, 3, 0, 4, 5, 1, 6, 2, 0, 7, 3, 1, 2};
    u64 x = 1;
    for (int i = 0; i < 60000000; i++)
        x = ftab[seq[i & 15]](x);
    return x;
}

/* --- string keys in a hash table, through libc's str/mem functions --- */
static u64 b_words(void)
{
    enum { N = 2 << 20, T = 1 << 16 };
    struct ent {
        char w[24];
        u32 n;
    } *t = xalloc(T * sizeof *t);
    char *p = xalloc(N + 1);
    u64 sum = 0;

    gen_text((u8 *)p, N);
    p[N] = 0;
    start();
    for (int rep = 0; rep < 16; rep++)
        for (char *q = p; *q;) {
            size_t n = strcspn(q, " \n.,");
            u32 h = 5381;
            char w[24];
            if (n > 23)
                n = 23;
            memcpy(w, q, n);
            w[n] = 0;
            for (char *c = w; *c; c++)
                h = h * 33 + *c;
            for (h %= T; t[h].n && strcmp(t[h].w, w);)
                h = (h + 1) % T;
            if (!t[h].n++)
                memcpy(t[h].w, w, n + 1);
            q += n + !!q[n];
        }
    for (int i = 0; i < T; i++)
        sum = sum * 31 + t[i].n * strlen(t[i].w);
    return sum;
}

/* --- wide multiplication (Montgomery), and division ------------------- */
static u64 b_mulhi(void)
{
    const u64 m = 0xffffffffffffffc5;
    u64 inv = 1, x = 3, y = 5;

    for (int i = 0; i < 6; i++)
        inv *= 2 - m * inv;
    for (int i = 0; i < 60000000; i++) {
        unsigned __int128 p = (unsigned __int128)x * y;
        u64 q = (u64)p * inv;
        u64 hi = (unsigned __int128)q * m >> 64, h = p >> 64;
        y = x;
        x = h - hi + (h < hi ? m : 0);
    }
    return x;
}
static u64 b_div(void)
{
    u64 s = 7, sum = 0;
    for (int i = 0; i < 1000000; i++) {
        u64 a = rnd(&s), b = rnd(&s) >> (i & 31), t;
        while (b) {
            t = a % b;
            a = b;
            b = t;
        }
        sum = sum * 3 + a;
    }
    return sum;
}

/* --- loops the compiler vectorises (built with -O3) ------------------- */
static u64 b_vecint(void)
{
    enum { N = 8192 };
    static u32 a[N], b[N], c[N];
    static u8 x[N], y[N];
    u32 sum = 0;

    for (int i = 0; i < N; i++) {
        a[i] = i * 2654435761u;
        b[i] = i ^ 0x1234;
        x[i] = i * 7;
        y[i] = i * 13;
    }
    start();
    for (int k = 0; k < 40000; k++) {
        for (int i = 0; i < N; i++)
            c[i] = (a[i] + b[i]) ^ (a[i] >> 3);
        for (int i = 0; i < N; i++)
            x[i] = x[i] > y[i] ? x[i] - y[i] : y[i] - x[i];
        for (int i = 0; i < N; i++)
            sum += c[i] + x[i];
        b[k % N] += sum;
    }
    return sum;
}

const struct bench int_benches[] = {{"dhry", "int", b_dhry, 0x27603e51f7206e80},
                                    {"sha256", "int", b_sha256, 0xbf7678573766bf25},
                                    {"lz", "int", b_lz, 0x69c0bfe9b7fd3b7},
                                    {"sort", "int", b_sort, 0x68c36b6398bf64a1},
                                    {"nqueens", "int", b_nqueens, 365596},
                                    {"interp", "int", b_interp, 0xd7c4dd8d02cb3cd0},
                                    {"fib", "int", b_fib, 63245986},
                                    {"vcall", "int", b_vcall, 0x4d2ad56675f32237},
                                    {"words", "int", b_words, 0x7f98379aac5b480},
                                    {"mulhi", "int", b_mulhi, 0xe641d9c04f62febb},
                                    {"div", "int", b_div, 0x50e0b85939018690},
                                    {"vecint", "int", b_vecint, 0x1708f1c0},
                                    {0}};
