/*
 * The software GPU against C: seeded random sequences of integer and float arithmetic, each lane
 * from values of its own, and every register compared at the end.
 */
#include "gpu/soft/soft.h"
#include "tests/unit/unit.h"

#include <glib.h>
#include <math.h>
#include <string.h>

enum { LANES = 32, REGS = 4, LENGTH = 60, PROGRAMS = 40 };

/* Registers of one lane, as the kernel reads and writes them. */
struct lane {
    uint64_t d[REGS];
    uint32_t r[REGS];
    float f[REGS];
};

struct operands {
    unsigned d, a, b, c;
};

static uint32_t clamp(uint32_t n)
{
    return MIN(n, 64);
}

static uint32_t reversed(uint32_t v)
{
    uint32_t out = 0;

    for (unsigned i = 0; i < 32; i++)
        out |= (v >> i & 1) << (31 - i);
    return out;
}

static int32_t whole(float f)
{
    return isnan(f) ? 0 : f >= 0x1p31f ? INT32_MAX : f < -0x1p31f ? INT32_MIN : (int32_t)f;
}

/* Name, text (D, A, B and C stand for numbers of registers), what it does in C. */
#define OPS(X)                                                                                     \
    X(add, "add.u32 %rD, %rA, %rB;", D(r) = A(r) + B(r))                                           \
    X(sub, "sub.u32 %rD, %rA, %rB;", D(r) = A(r) - B(r))                                           \
    X(mul, "mul.lo.u32 %rD, %rA, %rB;", D(r) = A(r) * B(r))                                        \
    X(mulhu, "mul.hi.u32 %rD, %rA, %rB;", D(r) = (uint64_t)A(r) * B(r) >> 32)                      \
    X(mulhs, "mul.hi.s32 %rD, %rA, %rB;", D(r) = (int64_t)(int32_t)A(r) * (int32_t)B(r) >> 32)     \
    X(mad, "mad.lo.u32 %rD, %rA, %rB, %rC;", D(r) = A(r) * B(r) + C(r))                            \
    X(and, "and.b32 %rD, %rA, %rB;", D(r) = A(r) & B(r))                                           \
    X(or, "or.b32 %rD, %rA, %rB;", D(r) = A(r) | B(r))                                             \
    X(xor, "xor.b32 %rD, %rA, %rB;", D(r) = A(r) ^ B(r))                                           \
    X(not, "not.b32 %rD, %rA;", D(r) = ~A(r))                                                      \
    X(shl, "shl.b32 %rD, %rA, %rB;", D(r) = (uint64_t)A(r) << MIN(B(r), 32))                       \
    X(shr, "shr.u32 %rD, %rA, %rB;", D(r) = (uint64_t)A(r) >> MIN(B(r), 32))                       \
    X(sar, "shr.s32 %rD, %rA, %rB;", D(r) = (int32_t)A(r) >> MIN(B(r), 31))                        \
    X(mins, "min.s32 %rD, %rA, %rB;", D(r) = MIN((int32_t)A(r), (int32_t)B(r)))                    \
    X(maxu, "max.u32 %rD, %rA, %rB;", D(r) = MAX(A(r), B(r)))                                      \
    X(popc, "popc.b32 %rD, %rA;", D(r) = __builtin_popcount(A(r)))                                 \
    X(clz, "clz.b32 %rD, %rA;", D(r) = A(r) ? __builtin_clz(A(r)) : 32)                            \
    X(brev, "brev.b32 %rD, %rA;", D(r) = reversed(A(r)))                                           \
    X(divu, "or.b32 %rt, %rB, 1; div.u32 %rD, %rA, %rt;", D(r) = A(r) / (B(r) | 1))                \
    X(remu, "or.b32 %rt, %rB, 1; rem.u32 %rD, %rA, %rt;", D(r) = A(r) % (B(r) | 1))                \
    X(less, "setp.lt.s32 %p, %rA, %rB; selp.b32 %rD, %rA, %rC, %p;",                               \
      D(r) = (int32_t)A(r) < (int32_t)B(r) ? A(r) : C(r))                                          \
    X(if, "setp.gt.u32 %p, %rA, %rB; @%p add.u32 %rD, %rD, %rC;", if (A(r) > B(r)) D(r) += C(r))   \
    X(addd, "add.u64 %dD, %dA, %dB;", D(d) = A(d) + B(d))                                          \
    X(subd, "sub.u64 %dD, %dA, %dB;", D(d) = A(d) - B(d))                                          \
    X(muld, "mul.lo.u64 %dD, %dA, %dB;", D(d) = A(d) * B(d))                                       \
    X(mulhd, "mul.hi.u64 %dD, %dA, %dB;", D(d) = (unsigned __int128)A(d) * B(d) >> 64)             \
    X(xord, "xor.b64 %dD, %dA, %dB;", D(d) = A(d) ^ B(d))                                          \
    X(shld, "shl.b64 %dD, %dA, %rB;", D(d) = clamp(B(r)) < 64 ? A(d) << clamp(B(r)) : 0)           \
    X(sard, "shr.s64 %dD, %dA, %rB;", D(d) = (int64_t)A(d) >> MIN(clamp(B(r)), 63))                \
    X(wideu, "mul.wide.u32 %dD, %rA, %rB;", D(d) = (uint64_t)A(r) * B(r))                          \
    X(wides, "mul.wide.s32 %dD, %rA, %rB;", D(d) = (int64_t)(int32_t)A(r) * (int32_t)B(r))         \
    X(longs, "cvt.s64.s32 %dD, %rA;", D(d) = (int64_t)(int32_t)A(r))                               \
    X(cut, "cvt.u32.u64 %rD, %dA;", D(r) = A(d))                                                   \
    X(byte, "cvt.s32.s8 %rD, %rA;", D(r) = (int8_t)A(r))                                           \
    X(fadd, "add.rn.f32 %fD, %fA, %fB;", D(f) = A(f) + B(f))                                       \
    X(fsub, "sub.rn.f32 %fD, %fA, %fB;", D(f) = A(f) - B(f))                                       \
    X(fmul, "mul.rn.f32 %fD, %fA, %fB;", D(f) = A(f) * B(f))                                       \
    X(fdiv, "div.rn.f32 %fD, %fA, %fB;", D(f) = A(f) / B(f))                                       \
    X(ffma, "fma.rn.f32 %fD, %fA, %fB, %fC;", D(f) = fmaf(A(f), B(f), C(f)))                       \
    X(fsqrt, "abs.f32 %ft, %fA; sqrt.rn.f32 %fD, %ft;", D(f) = sqrtf(fabsf(A(f))))                 \
    X(fmin, "min.f32 %fD, %fA, %fB;",                                                              \
      D(f) = isnan(A(f))                  ? B(f)                                                   \
             : isnan(B(f)) || A(f) < B(f) ? A(f)                                                   \
                                          : B(f))                                                  \
    X(itof, "cvt.rn.f32.s32 %fD, %rA;", D(f) = (int32_t)A(r))                                      \
    X(ltof, "cvt.rn.f32.u64 %fD, %dA;", D(f) = A(d))                                               \
    X(ftoi, "cvt.rzi.s32.f32 %rD, %fA;", D(r) = whole(A(f)))

#define D(file) l->file[o.d]
#define A(file) l->file[o.a]
#define B(file) l->file[o.b]
#define C(file) l->file[o.c]
#define FUNCTION(name, text, code)                                                                 \
    static void op_##name(struct lane *l, struct operands o)                                       \
    {                                                                                              \
        code;                                                                                      \
    }
OPS(FUNCTION)

#define ROW(name, text, code) {text, op_##name},
static const struct {
    const char *text;
    void (*run)(struct lane *l, struct operands o);
} ops[] = {OPS(ROW)};

static const char head[] =
    ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p) {\n"
    ".reg .b32 %r<4>; .reg .b64 %d<4>; .reg .f32 %f<4>; .reg .b32 %rt; .reg .f32 %ft; .reg .b64 "
    "%at; .reg .pred %p;\n"
    "ld.param.u64 %at, [p]; mov.u32 %rt, %tid.x; mad.wide.u32 %at, %rt, 64, %at;\n";

/* Loads or stores all registers of a lane. */
static void registers(GString *s, bool store)
{
    static const struct {
        const char *type;
        char file;
        unsigned at, size;
    } files[] = {{"b64", 'd', 0, 8}, {"b32", 'r', 32, 4}, {"f32", 'f', 48, 4}};

    for (unsigned k = 0; k < G_N_ELEMENTS(files); k++) {
        for (unsigned i = 0; i < REGS; i++) {
            unsigned at = files[k].at + i * files[k].size;

            if (store)
                g_string_append_printf(s, "st.global.%s [%%at+%u], %%%c%u;\n", files[k].type, at,
                                       files[k].file, i);
            else
                g_string_append_printf(s, "ld.global.%s %%%c%u, [%%at+%u];\n", files[k].type,
                                       files[k].file, i, at);
        }
    }
}

/* One random instruction: appended to S and done to LANES. */
static void instruction(GRand *rand, GString *s, struct lane *lanes)
{
    unsigned n = g_rand_int_range(rand, 0, G_N_ELEMENTS(ops));
    struct operands o = {g_rand_int(rand) % REGS, g_rand_int(rand) % REGS, g_rand_int(rand) % REGS,
                         g_rand_int(rand) % REGS};

    for (const char *at = ops[n].text; *at; at++) {
        unsigned v = *at == 'D' ? o.d : *at == 'A' ? o.a : *at == 'B' ? o.b : o.c;

        g_string_append_c(s, *at >= 'A' && *at <= 'D' ? (char)('0' + v) : *at);
    }
    g_string_append_c(s, '\n');
    for (unsigned i = 0; i < LANES; i++)
        ops[n].run(&lanes[i], o);
}

static void fill(GRand *rand, struct lane *l)
{
    for (unsigned i = 0; i < REGS; i++) {
        l->r[i] = g_rand_int(rand) >> g_rand_int_range(rand, 0, 32);
        l->d[i] =
            ((uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand)) >> g_rand_int_range(rand, 0, 64);
        l->f[i] = ldexp((int32_t)g_rand_int(rand), g_rand_int_range(rand, -80, 40));
    }
}

static void compare(const struct lane *got, const struct lane *want, unsigned lane,
                    const char *text)
{
    ck_assert_msg(!memcmp(got->r, want->r, sizeof(got->r)) &&
                      !memcmp(got->d, want->d, sizeof(got->d)),
                  "lane %u: integers differ in\n%s", lane, text);
    for (unsigned i = 0; i < REGS; i++)
        ck_assert_msg(isnan(got->f[i]) ? isnan(want->f[i]) : got->f[i] == want->f[i],
                      "lane %u: %%f%u is %a, not %a in\n%s", lane, i, got->f[i], want->f[i], text);
}

/* The program's number is its seed. */
START_TEST(program)
{
    GRand *rand = g_rand_new_with_seed(_i);
    GString *s = g_string_new(head);
    struct lane lanes[LANES];
    struct soft_space *space = soft_space_new(1 << 20);
    struct soft_launch l = {
        .grid = {1, 1, 1}, .block = {LANES, 1, 1}, .threads = 1, .param_bytes = 8};
    struct soft_module *m = NULL;
    g_autofree char *log = NULL;
    uint64_t at;

    ck_assert_int_eq(soft_space_alloc(space, sizeof(lanes), &at), SOFT_OK);
    for (unsigned i = 0; i < LANES; i++)
        fill(rand, &lanes[i]);
    memcpy(soft_space_host(space, at, sizeof(lanes)), lanes, sizeof(lanes));
    registers(s, false);
    for (unsigned i = 0; i < LENGTH; i++)
        instruction(rand, s, lanes);
    registers(s, true);
    g_string_append(s, "ret; }\n");
    ck_assert_msg(soft_module_load(space, s->str, s->len, &m, &log) == SOFT_OK, "%s\n%s", log,
                  s->str);
    ck_assert_int_eq(soft_module_function(m, "k", &l.function), SOFT_OK);
    l.params = &at;
    ck_assert_msg(soft_launch_run(&l, &log) == SOFT_OK, "%s", log);
    const struct lane *got = soft_space_host(space, at, sizeof(lanes));
    for (unsigned i = 0; i < LANES; i++)
        compare(&got[i], &lanes[i], i, s->str);
    soft_module_unload(m);
    soft_space_free(space);
    g_string_free(s, true);
    g_rand_free(rand);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_soft_random");
    TCase *tc = tcase_create("random");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, program, 0, PROGRAMS);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
