/*
 * xlate/front/aarch64: golden IR of each kind of instruction, what is undefined where, how units end.
 *
 * Units start at displacement 0x100. The texts are what ir_print() shows.
 */
#include "tests/unit/unit.h"
#include "xlate/front/aarch64/a64_bits.h"
#include "xlate/front/aarch64/a64_helpers.h"
#include "xlate/front/aarch64/a64_isa.h"
#include "xlate/front/aarch64/a64_mode.h"
#include "xlate/front/aarch64/a64_slots.h"
#include "xlate/front/aarch64/front.h"

#define EL0     A64_MODE(A64_TLB_EL0, A64_EL0, A64_MODE_FP)
#define EL1     A64_MODE(A64_TLB_EL1_PAN, A64_EL1, A64_MODE_FP)
#define ZVA     A64_MODE(A64_TLB_EL0, A64_EL0, A64_MODE_ZVA)
#define SP      A64_MODE(A64_TLB_EL0, A64_EL0, A64_MODE_SP)
#define FLUSH   A64_MODE(A64_TLB_EL0, A64_EL0, A64_MODE_FP | A64_MODE_FZ)
#define NO_FP   A64_MODE(A64_TLB_EL0, A64_EL0, 0)
#define STEP    A64_MODE(A64_TLB_EL0, A64_EL0, A64_MODE_STEP)
#define STEPPED A64_MODE(A64_TLB_EL0, A64_EL0, A64_MODE_STEPPED)

#define A64_HELPER(NAME, name, n_args, result, flags) {#name, NULL, n_args, result, flags},
static const struct ir_helper helpers[] = {
#include "xlate/front/aarch64/a64_helpers.inc"
};
#undef A64_HELPER

static void translate(struct ir_unit *unit, const uint32_t *words, unsigned n, int32_t start,
                      uint32_t mode)
{
    struct xl_source source = {(const uint8_t *)words, 4 * n, start, mode, 64};
    g_autoptr(GError) err = NULL;

    ir_unit_clear(unit);
    xl_front_aarch64.translate(&source, unit);
    ck_assert_msg(ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err), "%s",
                  err ? err->message : "");
}

static const struct {
    const char *name;
    uint32_t mode;
    uint32_t words[4]; /* a 0 ends them */
    const char *ir;
} golden[] = {
    {"a comparison and its branch", EL0, {0xeb01001f, 0x54000088},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = get.i64 x1\n"
     "  v2 = sub.i64 v0 v1\n"
     "  v3 = nzcv_sub.i64 v0 v1\n"
     "  set.i64 nzcv v3\n"
     "  v5 = cmp.i64.gtu v0 v1\n"
     "  brif v5 b1 b2\n"
     "b1:\n"
     "  exit 0x114\n"
     "b2:\n"
     "  exit 0x108\n"},
    {"flags of 32 bits", EL0, {0x71000400, 0x54ffffe1},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = trunc.i32 v0\n"
     "  v2 = const.i32 0x1\n"
     "  v3 = sub.i32 v1 v2\n"
     "  v4 = nzcv_sub.i32 v1 v2\n"
     "  set.i64 nzcv v4\n"
     "  v6 = zext.i64 v3 32\n"
     "  set.i64 x0 v6\n"
     "  v8 = cmp.i32.eq v1 v2\n"
     "  v9 = const.i64 0\n"
     "  v10 = cmp.i32.ne v1 v2\n"
     "  brif v10 b1 b2 likely\n"
     "b1:\n"
     "  exit 0x100 poll\n"
     "b2:\n"
     "  exit 0x108\n"},
    {"flags that nothing sees", EL0, {0xab010000, 0xf100101f, 0x5400004a},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = get.i64 x1\n"
     "  v2 = add.i64 v0 v1\n"
     "  v3 = nzcv_add.i64 v0 v1\n"
     "  v4 = const.i64 0\n"
     "  set.i64 x0 v2\n"
     "  v6 = const.i64 0x4\n"
     "  v7 = sub.i64 v2 v6\n"
     "  v8 = nzcv_sub.i64 v2 v6\n"
     "  set.i64 nzcv v8\n"
     "  v10 = cmp.i64.ges v2 v6\n"
     "  brif v10 b1 b2\n"
     "b1:\n"
     "  exit 0x110\n"
     "b2:\n"
     "  exit 0x10c\n"},
    {"a test of bits", EL0, {0x72001c1f, 0x1a9f17e1, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = trunc.i32 v0\n"
     "  v2 = const.i32 0xff\n"
     "  v3 = and.i32 v1 v2\n"
     "  v4 = const.i32 0\n"
     "  v5 = nzcv_add.i32 v3 v4\n"
     "  set.i64 nzcv v5\n"
     "  v7 = const.i32 0\n"
     "  v8 = cmp.i32.eq v3 v7\n"
     "  v9 = const.i64 0\n"
     "  v10 = cmp.i32.ne v3 v7\n"
     "  v11 = const.i32 0\n"
     "  v12 = const.i32 0\n"
     "  v13 = const.i32 0x1\n"
     "  v14 = select.i32 v10 v11 v13\n"
     "  v15 = zext.i64 v14 32\n"
     "  set.i64 x1 v15\n"
     "  v17 = get.i64 x30\n"
     "  exit_ind v17 return poll\n"},
    {"flags of an earlier unit", EL0, {0x5400004d},
     "b0:\n"
     "  v0 = get.i64 nzcv\n"
     "  v1 = const.i64 0xf\n"
     "  v2 = shr.i64 v0 v1\n"
     "  v3 = xor.i64 v2 v0\n"
     "  v4 = const.i64 0x4001\n"
     "  v5 = and.i64 v3 v4\n"
     "  v6 = const.i64 0\n"
     "  v7 = cmp.i64.eq v5 v6\n"
     "  v8 = cmp.i64.ne v5 v6\n"
     "  brif v8 b1 b2\n"
     "b1:\n"
     "  exit 0x108\n"
     "b2:\n"
     "  exit 0x104\n"},
    {"a conditional compare", EL0, {0xf100001f, 0xfa421024, 0x54000040},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = const.i64 0\n"
     "  v2 = nzcv_sub.i64 v0 v1\n"
     "  v3 = const.i64 0\n"
     "  v4 = get.i64 x2\n"
     "  v5 = get.i64 x1\n"
     "  v6 = cmp.i64.eq v0 v1\n"
     "  v7 = cmp.i64.ne v0 v1\n"
     "  v8 = sub.i64 v5 v4\n"
     "  v9 = nzcv_sub.i64 v5 v4\n"
     "  v10 = const.i64 0\n"
     "  v11 = const.i64 0x4000\n"
     "  v12 = select.i64 v7 v9 v11\n"
     "  set.i64 nzcv v12\n"
     "  v14 = cmp.i64.eq v5 v4\n"
     "  v15 = cmp.i64.eq v0 v1\n"
     "  v16 = or.i64 v14 v15\n"
     "  brif v16 b1 b2\n"
     "b1:\n"
     "  exit 0x110\n"
     "b2:\n"
     "  exit 0x10c\n"},
    {"carry in and out", EL0, {0xba020020, 0x5a050083, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x1\n"
     "  v1 = get.i64 x2\n"
     "  v2 = get.i64 nzcv\n"
     "  v3 = const.i64 0x100\n"
     "  v4 = and.i64 v2 v3\n"
     "  v5 = const.i64 0x100\n"
     "  v6 = cmp.i64.eq v4 v5\n"
     "  v7 = add.i64 v0 v1\n"
     "  v8 = add.i64 v7 v6\n"
     "  v9 = nzcv_adc.i64 v0 v1 v6\n"
     "  set.i64 nzcv v9\n"
     "  set.i64 x0 v8\n"
     "  v12 = get.i64 x4\n"
     "  v13 = trunc.i32 v12\n"
     "  v14 = get.i64 x5\n"
     "  v15 = trunc.i32 v14\n"
     "  v16 = const.i64 0x100\n"
     "  v17 = and.i64 v9 v16\n"
     "  v18 = const.i64 0x100\n"
     "  v19 = cmp.i64.eq v17 v18\n"
     "  v20 = const.i32 0xffffffffffffffff\n"
     "  v21 = xor.i32 v15 v20\n"
     "  v22 = trunc.i32 v19\n"
     "  v23 = add.i32 v13 v21\n"
     "  v24 = add.i32 v23 v22\n"
     "  v25 = zext.i64 v24 32\n"
     "  set.i64 x3 v25\n"
     "  v27 = get.i64 x30\n"
     "  exit_ind v27 return poll\n"},
    {"constants", EL0, {0xd2a24680, 0xf28acf00, 0x12800001, 0xd65f03c0},
     "b0:\n"
     "  v0 = const.i64 0x12340000\n"
     "  v1 = const.i64 0\n"
     "  v2 = const.i64 0x12340000\n"
     "  v3 = const.i64 0x12345678\n"
     "  set.i64 x0 v3\n"
     "  v5 = const.i64 0xffffffff\n"
     "  set.i64 x1 v5\n"
     "  v7 = get.i64 x30\n"
     "  exit_ind v7 return poll\n"},
    {"addresses within pages and of pages", EL0, {0x10000040, 0x90000001, 0xd65f03c0},
     "b0:\n"
     "  v0 = pcrel.i64 0x108\n"
     "  set.i64 x0 v0\n"
     "  v2 = pcrel.i64 0\n"
     "  set.i64 x1 v2\n"
     "  v4 = get.i64 x30\n"
     "  exit_ind v4 return poll\n"},
    {"the stack pointer and the zero register", EL0, {0xd10083ff, 0x910043e0, 0xeb0003ff, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 sp\n"
     "  v1 = const.i64 0xffffffffffffffe0\n"
     "  v2 = add.i64 v0 v1\n"
     "  set.i64 sp v2\n"
     "  v4 = const.i64 0x10\n"
     "  v5 = add.i64 v2 v4\n"
     "  set.i64 x0 v5\n"
     "  v7 = const.i64 0\n"
     "  v8 = sub.i64 v7 v5\n"
     "  v9 = nzcv_sub.i64 v7 v5\n"
     "  set.i64 nzcv v9\n"
     "  v11 = get.i64 x30\n"
     "  exit_ind v11 return poll\n"},
    {"bit fields", EL0, {0xd3442c20, 0x131e1062, 0xb3781ca4, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x1\n"
     "  v1 = const.i64 0x4\n"
     "  v2 = shr.i64 v0 v1\n"
     "  v3 = zext.i64 v2 8\n"
     "  set.i64 x0 v3\n"
     "  v5 = get.i64 x3\n"
     "  v6 = trunc.i32 v5\n"
     "  v7 = const.i32 0x1b\n"
     "  v8 = shl.i32 v6 v7\n"
     "  v9 = const.i32 0x1b\n"
     "  v10 = sar.i32 v8 v9\n"
     "  v11 = const.i32 0x2\n"
     "  v12 = shl.i32 v10 v11\n"
     "  v13 = zext.i64 v12 32\n"
     "  set.i64 x2 v13\n"
     "  v15 = get.i64 x5\n"
     "  v16 = get.i64 x4\n"
     "  v17 = const.i64 0x8\n"
     "  v18 = shl.i64 v15 v17\n"
     "  v19 = const.i64 0xff00\n"
     "  v20 = and.i64 v18 v19\n"
     "  v21 = const.i64 0xffffffffffff00ff\n"
     "  v22 = and.i64 v16 v21\n"
     "  v23 = or.i64 v22 v20\n"
     "  set.i64 x4 v23\n"
     "  v25 = get.i64 x30\n"
     "  exit_ind v25 return poll\n"},
    {"division by zero is zero", EL0, {0x1ac20820, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x1\n"
     "  v1 = trunc.i32 v0\n"
     "  v2 = get.i64 x2\n"
     "  v3 = trunc.i32 v2\n"
     "  v4 = const.i32 0\n"
     "  v5 = divu.i32 v1 v3\n"
     "  v6 = cmp.i32.eq v3 v4\n"
     "  v7 = select.i32 v6 v4 v5\n"
     "  v8 = zext.i64 v7 32\n"
     "  set.i64 x0 v8\n"
     "  v10 = get.i64 x30\n"
     "  exit_ind v10 return poll\n"},
    {"a pair before the stack pointer", EL0, {0xa9bf7bfd, 0xa8c17bfd, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x29\n"
     "  v1 = get.i64 x30\n"
     "  v2 = get.i64 sp\n"
     "  v3 = const.i64 0xfffffffffffffff0\n"
     "  v4 = add.i64 v2 v3\n"
     "  v5 = tr v2 -16 16 write\n"
     "  store.i64 v5 v0 -16 u64 ; pc 0x100\n"
     "  store.i64 v5 v1 -8 u64 ; pc 0x100\n"
     "  set.i64 sp v4\n"
     "  v9 = const.i64 0x10\n"
     "  v10 = add.i64 v4 v9\n"
     "  v11 = load.i64 v5 -16 u64 ; pc 0x104\n"
     "  v12 = load.i64 v5 -8 u64 ; pc 0x104\n"
     "  set.i64 sp v10\n"
     "  set.i64 x29 v11\n"
     "  set.i64 x30 v12\n"
     "  exit_ind v12 return poll\n"},
    {"signed loads", EL0, {0x39c00420, 0xb8a37822, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x1\n"
     "  v1 = tr v0 +1 1\n"
     "  v2 = load.i32 v1 +1 s8 ; pc 0x100\n"
     "  v3 = zext.i64 v2 32\n"
     "  set.i64 x0 v3\n"
     "  v5 = get.i64 x3\n"
     "  v6 = const.i64 0x2\n"
     "  v7 = shl.i64 v5 v6\n"
     "  v8 = add.i64 v0 v7\n"
     "  v9 = tr v8 4\n"
     "  v10 = load.i64 v9 s32 ; pc 0x104\n"
     "  set.i64 x2 v10\n"
     "  v12 = get.i64 x30\n"
     "  exit_ind v12 return poll\n"},
    {"an access as EL0", EL1, {0xb8400820, 0xf8008820, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x1\n"
     "  v1 = tr v0 4 user\n"
     "  v2 = load.i64 v1 u32 user ; pc 0x100\n"
     "  set.i64 x0 v2\n"
     "  v4 = tr v0 +8 8 write user\n"
     "  store.i64 v4 v2 +8 u64 user ; pc 0x104\n"
     "  v6 = get.i64 x30\n"
     "  exit_ind v6 return poll\n"},
    {"exclusives", EL0, {0x885ffc20, 0x88027c23, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x1\n"
     "  v1 = tr v0 4 write\n"
     "  v2 = load.i64 v1 u32 acquire aligned ; pc 0x100\n"
     "  v3 = const.i64 0x300000000000000\n"
     "  v4 = xor.i64 v0 v3\n"
     "  set.i64 exclusive v4\n"
     "  set.i64 exclusive_value v2\n"
     "  set.i64 x0 v2\n"
     "  v8 = const.i64 0x300000000000000\n"
     "  v9 = xor.i64 v0 v8\n"
     "  v10 = cmp.i64.eq v4 v9\n"
     "  v11 = get.i64 x3\n"
     "  v12 = sc.i64 v1 v10 v2 v11 u32 ; pc 0x104\n"
     "  v13 = const.i64 0xffffffffffffffff\n"
     "  set.i64 exclusive v13\n"
     "  set.i64 x2 v12\n"
     "  v16 = get.i64 x30\n"
     "  exit_ind v16 return poll\n"},
    {"atomics", EL0, {0xb8e01041, 0x08a37c44, 0xc89ffc45, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = get.i64 x2\n"
     "  v2 = tr v1 8 write\n"
     "  v3 = const.i64 0xffffffffffffffff\n"
     "  v4 = xor.i64 v0 v3\n"
     "  v5 = rmw.i64.and v2 v4 u32 reserve ; pc 0x100\n"
     "  set.i64 x1 v5\n"
     "  v7 = get.i64 x3\n"
     "  v8 = get.i64 x4\n"
     "  v9 = cas.i64 v2 v7 v8 u8 reserve ; pc 0x104\n"
     "  set.i64 x3 v9\n"
     "  v11 = get.i64 x5\n"
     "  store.i64 v2 v11 u64 acquire release aligned ; pc 0x108\n"
     "  v13 = get.i64 x30\n"
     "  exit_ind v13 return poll\n"},
    {"barriers", EL0, {0xd5033abf, 0xd50339bf, 0xd5033f9f, 0xd5033fdf},
     "b0:\n"
     "  fence 0x8\n"
     "  fence 0x3\n"
     "  fence 0xf\n"
     "  exit 0x110\n"},
    {"calls and returns", EL0, {0x94000010},
     "b0:\n"
     "  v0 = pcrel.i64 0x104\n"
     "  set.i64 x30 v0\n"
     "  exit 0x140 call 0x104\n"},
    {"an indirect call", EL0, {0xd63f0100},
     "b0:\n"
     "  v0 = get.i64 x8\n"
     "  v1 = pcrel.i64 0x104\n"
     "  set.i64 x30 v1\n"
     "  exit_ind v0 call 0x104 poll\n"},
    {"system registers that are slots", EL1, {0xd5384100, 0xd518d080, 0xd53b4221, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 sp_el0\n"
     "  set.i64 x0 v0\n"
     "  set.i64 tpidr_el1 v0\n"
     "  v3 = get.i64 daif\n"
     "  set.i64 x1 v3\n"
     "  v5 = get.i64 x30\n"
     "  exit_ind v5 return poll\n"},
    {"a system register by helper", EL1, {0xd5181000},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = const.i64 0\n"
     "  v2 = const.i64 0xc080\n"
     "  call msr v2 v0 v1 ; pc 0x100\n"
     "  exit_state\n"},
    {"what EL0 may not name", EL0, {0xd5385200},
     "b0:\n"
     "  call undefined ; pc 0x100\n"
     "  exit_state\n"},
    {"interrupts unmasked", EL1, {0xd50342ff},
     "b0:\n"
     "  v0 = get.i64 daif\n"
     "  v1 = const.i64 0xffffffffffffff7f\n"
     "  v2 = and.i64 v0 v1\n"
     "  set.i64 daif v2\n"
     "  call unmasked v2 ; pc 0x100\n"
     "  exit 0x104 poll\n"},
    {"interrupts masked", EL1, {0xd50342df, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 daif\n"
     "  v1 = const.i64 0x80\n"
     "  v2 = or.i64 v0 v1\n"
     "  set.i64 daif v2\n"
     "  v4 = get.i64 x30\n"
     "  exit_ind v4 return poll\n"},
    {"a block of zeros", ZVA, {0xd50b7420, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = const.i64 0xffffffffffffffc0\n"
     "  v2 = and.i64 v0 v1\n"
     "  v3 = tr v2 64 write\n"
     "  v4 = const.i64 0\n"
     "  store.i64 v3 v4 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +8 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +16 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +24 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +32 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +40 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +48 u64 ; pc 0x100\n"
     "  store.i64 v3 v4 +56 u64 ; pc 0x100\n"
     "  v13 = get.i64 x30\n"
     "  exit_ind v13 return poll\n"},
    {"a system call", EL0, {0xd4000001},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  call svc v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"floating point in a chain", EL0, {0x1e622820, 0x1e630800, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.v128 v1\n"
     "  v1 = get.v128 v2\n"
     "  v2 = vfadd.v128 v0 v1 x64 scalar dyn\n"
     "  v3 = const.i64 0\n"
     "  v4 = get.v128 v3\n"
     "  v5 = vfmul.v128 v2 v4 x64 scalar dyn\n"
     "  set.v128 v0 v5\n"
     "  v7 = get.i64 x30\n"
     "  exit_ind v7 return poll\n"},
    {"a comparison of numbers and its branch", EL0, {0x1e212000, 0x5400004c},
     "b0:\n"
     "  v0 = get.v128 v0\n"
     "  v1 = get.v128 v1\n"
     "  v2 = vfnzcv.i64 v0 v1 x32 dyn\n"
     "  set.i64 nzcv v2\n"
     "  v4 = const.i64 0xf\n"
     "  v5 = shr.i64 v2 v4\n"
     "  v6 = xor.i64 v5 v2\n"
     "  v7 = const.i64 0x4001\n"
     "  v8 = and.i64 v6 v7\n"
     "  v9 = const.i64 0\n"
     "  v10 = cmp.i64.eq v8 v9\n"
     "  brif v10 b1 b2\n"
     "b1:\n"
     "  exit 0x10c\n"
     "b2:\n"
     "  exit 0x108\n"},
    {"a condition in front of a comparison of numbers", EL0, {0x1e611404, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 nzcv\n"
     "  v1 = const.i64 0x4000\n"
     "  v2 = and.i64 v0 v1\n"
     "  v3 = const.i64 0x4000\n"
     "  v4 = cmp.i64.eq v2 v3\n"
     "  v5 = const.i64 0\n"
     "  v6 = cmp.i64.ne v2 v3\n"
     "  v7 = const.v128 0\n"
     "  v8 = get.v128 v0\n"
     "  v9 = select.v128 v6 v8 v7\n"
     "  v10 = get.v128 v1\n"
     "  v11 = select.v128 v6 v10 v7\n"
     "  v12 = const.i64 0x4000\n"
     "  v13 = vfnzcv.i64 v9 v11 x64 dyn\n"
     "  v14 = select.i64 v6 v13 v12\n"
     "  set.i64 nzcv v14\n"
     "  v16 = get.i64 x30\n"
     "  exit_ind v16 return poll\n"},
    {"numbers where subnormal ones are zeros", FLUSH, {0x1e622820, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.v128 v1\n"
     "  v1 = get.v128 v2\n"
     "  v2 = vfadd.v128 v0 v1 x64 scalar fz dyn\n"
     "  set.v128 v0 v2\n"
     "  v4 = get.i64 x30\n"
     "  exit_ind v4 return poll\n"},
    {"floating point that is trapped", NO_FP, {0x1e622820},
     "b0:\n"
     "  call fp_trap ; pc 0x100\n"
     "  exit_state\n"},
    {"V registers in memory", EL0, {0x3cc10401, 0xfd000421, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = const.i64 0x10\n"
     "  v2 = add.i64 v0 v1\n"
     "  v3 = tr v0 16\n"
     "  v4 = load.v128 v3 u128 ; pc 0x100\n"
     "  set.i64 x0 v2\n"
     "  set.v128 v1 v4\n"
     "  v7 = get.i64 x1\n"
     "  v8 = tr v7 +8 8 write\n"
     "  store.f64 v8 v4 +8 u64 ; pc 0x104\n"
     "  v10 = get.i64 x30\n"
     "  exit_ind v10 return poll\n"},
    {"structures of two", EL0, {0x4cdf8800, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = tr v0 32\n"
     "  v2 = load.v128 v1 u128 ; pc 0x100\n"
     "  v3 = load.v128 v1 +16 u128 ; pc 0x100\n"
     "  v4 = vuzp.v128 v2 v3 x32\n"
     "  v5 = vuzp.v128 v2 v3 x32 high\n"
     "  v6 = const.i64 0x20\n"
     "  v7 = add.i64 v0 v6\n"
     "  set.i64 x0 v7\n"
     "  set.v128 v0 v4\n"
     "  set.v128 v1 v5\n"
     "  v11 = get.i64 x30\n"
     "  exit_ind v11 return poll\n"},
    {"lanes combined", EL0, {0x2e30a820, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.v128 v1\n"
     "  v1 = vextr.v128 v0 v0 +4 x8\n"
     "  v2 = vmax.v128 v0 v1 x8 unsigned\n"
     "  v3 = vextr.v128 v2 v2 +2 x8\n"
     "  v4 = vmax.v128 v2 v3 x8 unsigned\n"
     "  v5 = vextr.v128 v4 v4 +1 x8\n"
     "  v6 = vmax.v128 v4 v5 x8 unsigned\n"
     "  v7 = vmov.v128 v6 x8 scalar\n"
     "  set.v128 v0 v7\n"
     "  v9 = get.i64 x30\n"
     "  exit_ind v9 return poll\n"},
    {"a product by one lane", EL0, {0x6f720020, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.v128 v1\n"
     "  v1 = get.v128 v2\n"
     "  v2 = vlane.v128 v1 +3 x16\n"
     "  v3 = get.v128 v0\n"
     "  v4 = vmul.v128 v0 v2 x16\n"
     "  v5 = vadd.v128 v3 v4 x16\n"
     "  set.v128 v0 v5\n"
     "  v7 = get.i64 x30\n"
     "  exit_ind v7 return poll\n"},
    {"privilege of a row", EL0, {0xd69f03e0},
     "b0:\n"
     "  call undefined ; pc 0x100\n"
     "  exit_state\n"},
    {"one instruction of a step", STEP, {0x91000400, 0x91000800},
     "b0:\n"
     "  v0 = get.i64 x0\n"
     "  v1 = const.i64 0x1\n"
     "  v2 = add.i64 v0 v1\n"
     "  set.i64 x0 v2\n"
     "  v4 = pcrel.i64 0x104\n"
     "  call step_to v4 ; pc 0x100\n"
     "  exit_state\n"},
    {"the exception after a step", STEPPED, {0xd503201f},
     "b0:\n"
     "  call stepped ; pc 0x100\n"
     "  exit_state\n"},
    {"a word that is no instruction", EL0, {0xffffffff},
     "b0:\n"
     "  call undefined ; pc 0x100\n"
     "  exit_state\n"},
    {"a stack pointer that is looked at once", SP, {0xa9be7bfd, 0xf9400be0, 0xa8c27bfd, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x29\n"
     "  v1 = get.i64 x30\n"
     "  v2 = get.i64 sp\n"
     "  trap sp_alignment v2 0xf ; pc 0x100\n"
     "  v4 = const.i64 0xffffffffffffffe0\n"
     "  v5 = add.i64 v2 v4\n"
     "  v6 = tr v2 -32 24 write\n"
     "  store.i64 v6 v0 -32 u64 ; pc 0x100\n"
     "  store.i64 v6 v1 -24 u64 ; pc 0x100\n"
     "  set.i64 sp v5\n"
     "  v10 = load.i64 v6 -16 u64 ; pc 0x104\n"
     "  set.i64 x0 v10\n"
     "  v12 = const.i64 0x20\n"
     "  v13 = add.i64 v5 v12\n"
     "  v14 = load.i64 v6 -32 u64 ; pc 0x108\n"
     "  v15 = load.i64 v6 -24 u64 ; pc 0x108\n"
     "  set.i64 sp v13\n"
     "  set.i64 x29 v14\n"
     "  set.i64 x30 v15\n"
     "  exit_ind v15 return poll\n"},
    {"a stack pointer that comes from elsewhere", SP, {0x910003bf, 0xf94003e0, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x29\n"
     "  set.i64 sp v0\n"
     "  trap sp_alignment v0 0xf ; pc 0x104\n"
     "  v3 = tr v0 8\n"
     "  v4 = load.i64 v3 u64 ; pc 0x104\n"
     "  set.i64 x0 v4\n"
     "  v6 = get.i64 x30\n"
     "  exit_ind v6 return poll\n"},
    {"a hint of an extension that is not there", EL0, {0xd503233f, 0xd503245f, 0xd65f03c0},
     "b0:\n"
     "  v0 = get.i64 x30\n"
     "  exit_ind v0 return poll\n"},
};

START_TEST(golden_ir)
{
    struct ir_unit *unit = ir_unit_new();
    GString *text = g_string_new(NULL);
    unsigned n = 0;

    while (n < 4 && golden[_i].words[n])
        n++;
    translate(unit, golden[_i].words, n, 0x100, golden[_i].mode);
    ir_print(unit, xl_front_aarch64.slot_names, helpers, text);
    ck_assert_msg(!strcmp(text->str, golden[_i].ir), "%s: got\n%s", golden[_i].name, text->str);
    ck_assert_uint_le(unit->bytes, 4 * n);
    g_string_free(text, TRUE);
    ir_unit_free(unit);
}
END_TEST

/* Any word means something, in every mode, and what it becomes is sound. */
START_TEST(random_words)
{
    static const uint32_t modes[] = {EL0, EL1, SP, ZVA, STEP, STEPPED,
                                     A64_MODE(A64_TLB_EL1, A64_EL1, A64_MODE_SP_EL0 | A64_MODE_ALIGN)};
    struct ir_unit *unit = ir_unit_new();
    GRand *rand = g_rand_new_with_seed(64);

    for (unsigned n = 0; n < 20000; n++) {
        uint32_t words[3];
        for (unsigned i = 0; i < 3; i++) {
            unsigned row = (unsigned)g_rand_int_range(rand, 1, A64_ROWS);
            words[i] = (g_rand_int(rand) & ~a64_rows[row].mask) | a64_rows[row].match;
        }
        ck_assert(xl_front_aarch64.mode_ok(modes[n % G_N_ELEMENTS(modes)]));
        translate(unit, words, 3, 0x200, modes[n % G_N_ELEMENTS(modes)]);
    }
    g_rand_free(rand);
    ir_unit_free(unit);
}
END_TEST

START_TEST(ends_of_units)
{
    uint32_t nops[80];
    struct ir_unit *unit = ir_unit_new();

    for (unsigned n = 0; n < 80; n++)
        nops[n] = 0xd503201f;
    translate(unit, nops, 80, 0, EL0);
    ck_assert_uint_eq(unit->n_guest, 64);
    translate(unit, nops, 80, 4096 - 8, EL0);
    ck_assert_uint_eq(unit->bytes, 8);
    ck_assert_int_eq(unit->insn[unit->n - 1].disp, 4096);
    translate(unit, nops, 80, 6, EL0); /* raises the alignment fault */
    ck_assert_uint_eq(unit->n_guest, 1);
    ck_assert_int_eq(unit->insn[unit->n - 2].aux, A64_HELPER_PC_ALIGNMENT);
    ir_unit_free(unit);
}
END_TEST

static const struct {
    const char *name;
    uint32_t n, immr, imms;
    bool ok;
    uint64_t mask;
} masks[] = {
    {"one bit of 64", 1, 0, 0, true, 1},
    {"all but one", 1, 0, 62, true, UINT64_MAX >> 1},
    {"all ones are reserved", 1, 0, 63, false, 0},
    {"pairs", 0, 0, 0x3c, true, UINT64_C(0x5555555555555555)},
    {"pairs, rotated", 0, 1, 0x3c, true, UINT64_C(0xaaaaaaaaaaaaaaaa)},
    {"elements of one bit", 0, 0, 0x3e, false, 0},
    {"a run that wraps", 0, 4, 7, true, UINT64_C(0xf000000ff000000f)},
};

START_TEST(bitmasks)
{
    uint64_t mask = 0;

    ck_assert_msg(a64_bitmask(masks[_i].n, masks[_i].immr, masks[_i].imms, &mask) == masks[_i].ok, "%s",
                  masks[_i].name);
    ck_assert_msg(mask == masks[_i].mask, "%s", masks[_i].name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front_aarch64");
    TCase *tcase = tcase_create("front");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, golden_ir, 0, G_N_ELEMENTS(golden));
    tcase_add_loop_test(tcase, bitmasks, 0, G_N_ELEMENTS(masks));
    tcase_add_test(tcase, random_words);
    tcase_add_test(tcase, ends_of_units);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
