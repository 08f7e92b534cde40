/*
 * xlate/front/riscv64: golden IR of each kind of instruction, what is illegal where, how units end.
 *
 * Units start at displacement 0x100. The texts are what ir_print() shows.
 */
#include "tests/unit/unit.h"
#include "xlate/front/riscv64/front.h"
#include "xlate/front/riscv64/rv_helpers.h"
#include "xlate/front/riscv64/rv_isa.h"
#include "xlate/front/riscv64/rv_mode.h"
#include "xlate/front/riscv64/rv_slots.h"

#define S_MODE RV_MODE(RV_TLB_S, RV_PRIV_S, RV_FS_DIRTY, RV_FRM_HOST)
#define U_MODE RV_MODE(RV_TLB_U, RV_PRIV_U, RV_FS_DIRTY, RV_FRM_HOST)
#define OFF    RV_MODE(RV_TLB_S, RV_PRIV_S, RV_FS_OFF, RV_FRM_HOST)
#define CLEAN  RV_MODE(RV_TLB_S, RV_PRIV_S, RV_FS_CLEAN, RV_FRM_HOST)
#define RMM    RV_MODE(RV_TLB_S, RV_PRIV_S, RV_FS_DIRTY, RV_FRM_RMM)
#define BADRM  RV_MODE(RV_TLB_S, RV_PRIV_S, RV_FS_DIRTY, RV_FRM_INVALID)

#define RV_HELPER(NAME, name, n_args, result, flags) {#name, NULL, n_args, result, flags},
static const struct ir_helper helpers[] = {
#include "xlate/front/riscv64/rv_helpers.inc"
};
#undef RV_HELPER

/* Bytes of WORDS, 2 or 4 a word as its low bits say; a 0 after the first ends them. */
static uint32_t lay_out(const uint32_t *words, uint8_t *code)
{
    uint32_t length = 0;

    for (unsigned i = 0; i == 0 || words[i]; i++) {
        unsigned bytes = (words[i] & 3) == 3 ? 4 : 2;

        memcpy(code + length, &words[i], bytes);
        length += bytes;
    }
    return length;
}

static void translate(struct ir_unit *unit, const uint8_t *code, uint32_t length, int32_t start,
                      uint32_t mode, uint32_t most)
{
    struct xl_source source = {code, length, start, mode, most};
    g_autoptr(GError) err = NULL;

    ir_unit_clear(unit);
    xl_front_riscv64.translate(&source, unit);
    ck_assert_msg(ir_verify(unit, helpers, G_N_ELEMENTS(helpers), &err), "%s",
                  err ? err->message : "");
}

static const struct {
    const char *name;
    uint32_t mode;
    uint32_t words[6];
    const char *ir;
} golden[] = {
    {"lui and addi are a constant", S_MODE, {0x12345537, 0x67850513, 0x8082},
     "b0:\n"
     "  v0 = const.i64 0x12345000\n"
     "  v1 = const.i64 0\n"
     "  v2 = const.i64 0x12345678\n"
     "  set.i64 a0 v2\n"
     "  v4 = get.i64 ra\n"
     "  v5 = const.i64 0xfffffffffffffffe\n"
     "  v6 = and.i64 v4 v5\n"
     "  exit_ind v6 return poll\n"},
    {"auipc and jalr are a direct call", S_MODE, {0x00001097, 0xff0080e7},
     "b0:\n"
     "  v0 = pcrel.i64 0x1100\n"
     "  v1 = const.i64 0\n"
     "  v2 = pcrel.i64 0x10f0\n"
     "  v3 = pcrel.i64 0x108\n"
     "  set.i64 ra v3\n"
     "  exit 0x10f0 call 0x108\n"},
    {"a return", S_MODE, {0x8082},
     "b0:\n"
     "  v0 = get.i64 ra\n"
     "  v1 = const.i64 0xfffffffffffffffe\n"
     "  v2 = and.i64 v0 v1\n"
     "  exit_ind v2 return poll\n"},
    {"an indirect call", S_MODE, {0x008780e7},
     "b0:\n"
     "  v0 = get.i64 a5\n"
     "  v1 = const.i64 0x8\n"
     "  v2 = add.i64 v0 v1\n"
     "  v3 = const.i64 0xfffffffffffffffe\n"
     "  v4 = and.i64 v2 v3\n"
     "  v5 = pcrel.i64 0x104\n"
     "  set.i64 ra v5\n"
     "  exit_ind v4 call 0x104 poll\n"},
    {"a jump through x5 with a new link", S_MODE, {0x000280e7},
     "b0:\n"
     "  v0 = get.i64 t0\n"
     "  v1 = const.i64 0xfffffffffffffffe\n"
     "  v2 = and.i64 v0 v1\n"
     "  v3 = pcrel.i64 0x104\n"
     "  set.i64 ra v3\n"
     "  exit_ind v2 call 0x104 poll\n"},
    {"a loop polls", S_MODE, {0x157d, 0xfd75},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0xffffffffffffffff\n"
     "  v2 = add.i64 v0 v1\n"
     "  set.i64 a0 v2\n"
     "  v4 = const.i64 0\n"
     "  v5 = cmp.i64.ne v2 v4\n"
     "  brif v5 b1 b2 likely\n"
     "b1:\n"
     "  exit 0xfe poll\n"
     "b2:\n"
     "  exit 0x104\n"},
    {"a branch ahead does not", S_MODE, {0x00b50863},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = get.i64 a1\n"
     "  v2 = cmp.i64.eq v0 v1\n"
     "  brif v2 b1 b2\n"
     "b1:\n"
     "  exit 0x110\n"
     "b2:\n"
     "  exit 0x104\n"},
    {"a branch that is always taken", S_MODE, {0x00000863},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  v1 = const.i64 0x1\n"
     "  exit 0x110\n"},
    {"loads and stores", S_MODE, {0x4512, 0x00054583, 0xfeb13c23, 0xa021},
     "b0:\n"
     "  v0 = get.i64 sp\n"
     "  v1 = tr v0 -8 16 write\n"
     "  v2 = load.i64 v1 +4 s32 ; pc 0x100\n"
     "  set.i64 a0 v2\n"
     "  v4 = tr v2 1\n"
     "  v5 = load.i64 v4 u8 ; pc 0x102\n"
     "  set.i64 a1 v5\n"
     "  store.i64 v1 v5 -8 u64 ; pc 0x106\n"
     "  exit 0x112\n"},
    {"a load to x0 still loads", S_MODE, {0x00052003, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = tr v0 4\n"
     "  v2 = load.i64 v1 s32 ; pc 0x100\n"
     "  exit 0x10c\n"},
    {"32-bit arithmetic", S_MODE, {0x00c5853b, 0x9d15, 0x2501, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a1\n"
     "  v1 = trunc.i32 v0\n"
     "  v2 = get.i64 a2\n"
     "  v3 = trunc.i32 v2\n"
     "  v4 = add.i32 v1 v3\n"
     "  v5 = sext.i64 v4 32\n"
     "  v6 = const.i64 0\n"
     "  v7 = get.i64 a3\n"
     "  v8 = trunc.i32 v7\n"
     "  v9 = sub.i32 v4 v8\n"
     "  v10 = sext.i64 v9 32\n"
     "  set.i64 a0 v10\n"
     "  exit 0x110\n"},
    {"hints do nothing", S_MODE, {0x00150013, 0x4005, 0x00005037, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0x1\n"
     "  v2 = add.i64 v0 v1\n"
     "  v3 = const.i64 0\n"
     "  v4 = const.i64 0x1\n"
     "  v5 = const.i64 0x5000\n"
     "  exit 0x112\n"},
    {"zero extension by shifts", S_MODE, {0x1502, 0x9101, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0x20\n"
     "  v2 = shl.i64 v0 v1\n"
     "  v3 = const.i64 0\n"
     "  v4 = zext.i64 v0 32\n"
     "  set.i64 a0 v4\n"
     "  exit 0x10c\n"},
    {"a loop of LR and SC is a locked operation", S_MODE,
     {0x1405a52f, 0x00550693, 0x1ad5a62f, 0xfe061ae3, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a1\n"
     "  v1 = tr v0 4 write\n"
     "  v2 = load.i64 v1 s32 acquire aligned reserve ; pc 0x100\n"
     "  set.i64 reservation v0\n"
     "  set.i64 reserved_value v2\n"
     "  set.i64 a0 v2\n"
     "  v6 = const.i64 0x5\n"
     "  v7 = add.i64 v2 v6\n"
     "  set.i64 a3 v7\n"
     "  v9 = const.i64 0x5\n"
     "  v10 = rmw.i64.add v1 v9 s32 acquire release aligned ; pc 0x108\n"
     "  set.i64 a0 v10\n"
     "  v12 = const.i64 0x5\n"
     "  v13 = add.i64 v10 v12\n"
     "  set.i64 a3 v13\n"
     "  v15 = const.i64 0xffffffffffffffff\n"
     "  set.i64 reservation v15\n"
     "  v17 = const.i64 0\n"
     "  set.i64 a2 v17\n"
     "  exit 0x118\n"},
    {"a loop of LR and SC with a way out", S_MODE,
     {0x1005b52f, 0x00e51663, 0x18d5b62f, 0xfe061ae3},
     "b0:\n"
     "  v0 = get.i64 a1\n"
     "  v1 = tr v0 8\n"
     "  v2 = load.i64 v1 u64 aligned reserve ; pc 0x100\n"
     "  v3 = const.i64 0x1\n"
     "  v4 = or.i64 v0 v3\n"
     "  set.i64 reservation v4\n"
     "  set.i64 reserved_value v2\n"
     "  set.i64 a0 v2\n"
     "  v8 = get.i64 a4\n"
     "  v9 = cmp.i64.ne v2 v8\n"
     "  brif v9 b1 b2\n"
     "b1:\n"
     "  exit 0x110\n"
     "b2:\n"
     "  v12 = const.i64 0x1\n"
     "  v13 = get.i64 a1\n"
     "  v14 = tr v13 8 write\n"
     "  v15 = get.i64 a3\n"
     "  v16 = sc.i64 v14 v12 v2 v15 u64 aligned ; pc 0x108\n"
     "  v17 = const.i64 0xffffffffffffffff\n"
     "  set.i64 reservation v17\n"
     "  set.i64 a2 v16\n"
     "  v20 = const.i64 0\n"
     "  v21 = cmp.i64.ne v16 v20\n"
     "  brif v21 b3 b4 likely\n"
     "b3:\n"
     "  exit 0x100 poll\n"
     "b4:\n"
     "  exit 0x110\n"},
    {"load-reserved and store-conditional", S_MODE, {0x1405a52f, 0x1aa5a62f, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a1\n"
     "  v1 = tr v0 4 write\n"
     "  v2 = load.i64 v1 s32 acquire aligned reserve ; pc 0x100\n"
     "  set.i64 reservation v0\n"
     "  set.i64 reserved_value v2\n"
     "  set.i64 a0 v2\n"
     "  v6 = const.i64 0x1\n"
     "  v7 = sc.i64 v1 v6 v2 v2 s32 release aligned ; pc 0x104\n"
     "  v8 = const.i64 0xffffffffffffffff\n"
     "  set.i64 reservation v8\n"
     "  set.i64 a2 v7\n"
     "  exit 0x110\n"},
    {"64-bit reservations have their own tag", S_MODE, {0x1005b52f, 0x1805b62f, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a1\n"
     "  v1 = tr v0 8 write\n"
     "  v2 = load.i64 v1 u64 aligned reserve ; pc 0x100\n"
     "  v3 = const.i64 0x1\n"
     "  v4 = or.i64 v0 v3\n"
     "  set.i64 reservation v4\n"
     "  set.i64 reserved_value v2\n"
     "  set.i64 a0 v2\n"
     "  v8 = const.i64 0x1\n"
     "  v9 = or.i64 v0 v8\n"
     "  v10 = cmp.i64.eq v4 v9\n"
     "  v11 = const.i64 0\n"
     "  v12 = sc.i64 v1 v10 v2 v11 u64 aligned ; pc 0x104\n"
     "  v13 = const.i64 0xffffffffffffffff\n"
     "  set.i64 reservation v13\n"
     "  set.i64 a2 v12\n"
     "  exit 0x110\n"},
    {"an atomic", S_MODE, {0x06b6252f, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a2\n"
     "  v1 = tr v0 4 write\n"
     "  v2 = get.i64 a1\n"
     "  v3 = rmw.i64.add v1 v2 s32 acquire release aligned ; pc 0x100\n"
     "  set.i64 a0 v3\n"
     "  exit 0x10c\n"},
    {"fences", S_MODE, {0x0310000f, 0x8330000f, 0x0ff0000f, 0x0220000f, 0xa021},
     "b0:\n"
     "  fence 0xa\n"
     "  fence 0xb\n"
     "  fence 0xf\n"
     "  fence 0x1\n"
     "  exit 0x118\n"},
    {"pause", S_MODE, {0x0100000f, 0xa021},
     "b0:\n"
     "  call pause ; pc 0x100\n"
     "  exit 0x10c\n"},
    {"fence.i ends the unit", S_MODE, {0x0000100f},
     "b0:\n"
     "  call fence_i ; pc 0x100\n"
     "  exit_state\n"},
    {"an ecall", U_MODE, {0x00000073},
     "b0:\n"
     "  call ecall ; pc 0x100\n"
     "  exit_state\n"},
    {"a csr that is only read", S_MODE, {0x10002573, 0xa021},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  v1 = const.i64 0x100\n"
     "  v2 = const.i64 0x10002573\n"
     "  v3 = call csr_read v1 v2 ; pc 0x100\n"
     "  set.i64 a0 v3\n"
     "  exit 0x10c\n"},
    {"a csr that is written ends the unit", S_MODE, {0x1005a573},
     "b0:\n"
     "  v0 = get.i64 a1\n"
     "  v1 = const.i64 0x100\n"
     "  v2 = const.i64 0x1\n"
     "  v3 = const.i64 0x1005a573\n"
     "  v4 = call csr_write v1 v0 v2 v3 ; pc 0x100\n"
     "  set.i64 a0 v4\n"
     "  exit_state\n"},
    {"a scratch csr does not", S_MODE, {0x14051573, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0x140\n"
     "  v2 = const.i64 0\n"
     "  v3 = const.i64 0x14051573\n"
     "  v4 = call csr_write_plain v1 v0 v2 v3 ; pc 0x100\n"
     "  set.i64 a0 v4\n"
     "  exit 0x10c\n"},
    {"a write to a read-only csr", S_MODE, {0xc0151073},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0xc0151073\n"
     "  call illegal v1 ; pc 0x100\n"
     "  exit_state\n"},
    {"a csr of more privilege", S_MODE, {0x30002573},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  v1 = const.i64 0x30002573\n"
     "  call illegal v1 ; pc 0x100\n"
     "  exit_state\n"},
    {"fflags", S_MODE, {0x00101573, 0xa021},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  v1 = const.i64 0x1\n"
     "  v2 = call fflags_write v1 v0 v0 ; pc 0x100\n"
     "  set.i64 a0 v2\n"
     "  exit 0x10c\n"},
    {"frm ends the unit", S_MODE, {0x0020d073},
     "b0:\n"
     "  v0 = const.i64 0x1\n"
     "  v1 = const.i64 0x2\n"
     "  v2 = const.i64 0\n"
     "  v3 = call fcsr_write v1 v0 v2 ; pc 0x100\n"
     "  exit_state\n"},
    {"fcsr with floating point off", OFF, {0x00302573},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  v1 = const.i64 0x302573\n"
     "  call illegal v1 ; pc 0x100\n"
     "  exit_state\n"},
    {"floating point that is off", OFF, {0x02c5f553},
     "b0:\n"
     "  v0 = const.i64 0x2c5f553\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"a load too", OFF, {0x2108},
     "b0:\n"
     "  v0 = const.i64 0x2108\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"floating point becomes dirty", CLEAN, {0x0505, 0x02c5f553},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0x1\n"
     "  v2 = add.i64 v0 v1\n"
     "  set.i64 a0 v2\n"
     "  call fp_dirty ; pc 0x102\n"
     "  exit_state\n"},
    {"a store does not make it dirty", CLEAN, {0xa108, 0xe20505d3, 0xa021},
     "b0:\n"
     "  v0 = get.f64 fa0\n"
     "  v1 = get.i64 a0\n"
     "  v2 = tr v1 8 write\n"
     "  store.f64 v2 v0 u64 ; pc 0x100\n"
     "  v4 = fbits.i64 v0\n"
     "  set.i64 a1 v4\n"
     "  exit 0x10e\n"},
    {"a comparison may", CLEAN, {0xa2b51553},
     "b0:\n"
     "  call fp_dirty ; pc 0x100\n"
     "  exit_state\n"},
    {"singles are boxed", S_MODE, {0x00c5f553, 0x10d51553, 0xa021},
     "b0:\n"
     "  v0 = get.f64 fa1\n"
     "  v1 = unbox.f32 v0\n"
     "  v2 = get.f64 fa2\n"
     "  v3 = unbox.f32 v2\n"
     "  v4 = fadd.f32.dyn v1 v3\n"
     "  v5 = fcanon.f32 v4\n"
     "  v6 = box.f64 v5\n"
     "  v7 = const.i64 0\n"
     "  v8 = get.f64 fa3\n"
     "  v9 = unbox.f32 v8\n"
     "  v10 = fmul.f32.rtz v4 v9\n"
     "  v11 = fcanon.f32 v10\n"
     "  v12 = box.f64 v11\n"
     "  set.f64 fa0 v12\n"
     "  exit 0x110\n"},
    {"fsw and fmv.x.w need no box", S_MODE, {0x00a52027, 0xe00505d3, 0x00452587, 0x00b52427, 0xa021},
     "b0:\n"
     "  v0 = get.f32 fa0\n"
     "  v1 = get.i64 a0\n"
     "  v2 = tr v1 12 write\n"
     "  store.f32 v2 v0 u32 ; pc 0x100\n"
     "  v4 = get.f32 fa0\n"
     "  v5 = fbits.i32 v4\n"
     "  v6 = sext.i64 v5 32\n"
     "  set.i64 a1 v6\n"
     "  v8 = load.f32 v2 +4 u32 ; pc 0x108\n"
     "  v9 = box.f64 v8\n"
     "  set.f64 fa1 v9\n"
     "  store.f32 v2 v8 +8 u32 ; pc 0x10c\n"
     "  exit 0x118\n"},
    {"fused", S_MODE, {0x6ac5f54b, 0xa021},
     "b0:\n"
     "  v0 = get.f64 fa1\n"
     "  v1 = get.f64 fa2\n"
     "  v2 = get.f64 fa3\n"
     "  v3 = fma.f64.dyn v0 v1 v2 -product\n"
     "  v4 = fcanon.f64 v3\n"
     "  set.f64 fa0 v4\n"
     "  exit 0x10c\n"},
    {"fneg and fabs", S_MODE, {0x22a51553, 0x20b5a5d3, 0xa021},
     "b0:\n"
     "  v0 = get.f64 fa0\n"
     "  v1 = fneg.f64 v0\n"
     "  set.f64 fa0 v1\n"
     "  v3 = get.f64 fa1\n"
     "  v4 = unbox.f32 v3\n"
     "  v5 = fabs.f32 v4\n"
     "  v6 = box.f64 v5\n"
     "  set.f64 fa1 v6\n"
     "  exit 0x110\n"},
    {"conversions", S_MODE, {0xc2151553, 0xd02575d3, 0x42058653, 0xa021},
     "b0:\n"
     "  v0 = get.f64 fa0\n"
     "  v1 = fcvtfi.i32.rtz v0 f64 unsigned\n"
     "  v2 = sext.i64 v1 32\n"
     "  set.i64 a0 v2\n"
     "  v4 = fcvtif.f32.dyn v2 i64\n"
     "  v5 = box.f64 v4\n"
     "  set.f64 fa1 v5\n"
     "  v7 = fcvtff.f64.dyn v4\n"
     "  v8 = fcanon.f64 v7\n"
     "  set.f64 fa2 v8\n"
     "  exit 0x114\n"},
    {"ties away is in the insn", RMM, {0x02c5f553},
     "b0:\n"
     "  v0 = get.f64 fa1\n"
     "  v1 = get.f64 fa2\n"
     "  v2 = fadd.f64.rmm v0 v1\n"
     "  v3 = fcanon.f64 v2\n"
     "  set.f64 fa0 v3\n"
     "  exit 0x104\n"},
    {"dynamic rounding with an invalid mode", BADRM, {0x02c5f553},
     "b0:\n"
     "  v0 = const.i64 0x2c5f553\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"static rounding all the same", BADRM, {0x02c5a553, 0xa021},
     "b0:\n"
     "  v0 = get.f64 fa1\n"
     "  v1 = get.f64 fa2\n"
     "  v2 = fadd.f64.rdn v0 v1\n"
     "  v3 = fcanon.f64 v2\n"
     "  set.f64 fa0 v3\n"
     "  exit 0x10c\n"},
    {"sret by U", U_MODE, {0x10200073},
     "b0:\n"
     "  v0 = const.i64 0x10200073\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"mret by S", S_MODE, {0x30200073},
     "b0:\n"
     "  v0 = const.i64 0x30200073\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"sfence.vma", S_MODE, {0x12050073},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0\n"
     "  v2 = const.i64 0x1205007301\n"
     "  call sfence_vma v0 v1 v2 ; pc 0x100\n"
     "  exit_state\n"},
    {"wfi", S_MODE, {0x10500073},
     "b0:\n"
     "  v0 = const.i64 0x10500073\n"
     "  call wfi v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"cbo.zero", S_MODE, {0x0045200f, 0xa021},
     "b0:\n"
     "  v0 = get.i64 a0\n"
     "  v1 = const.i64 0x45200f\n"
     "  call cbo_zero v0 v1 ; pc 0x100\n"
     "  exit 0x10c\n"},
    {"LR with rs2 is reserved", S_MODE, {0x1015a52f},
     "b0:\n"
     "  v0 = const.i64 0x1015a52f\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"rounding mode 5 is reserved", S_MODE, {0x02c5d553},
     "b0:\n"
     "  v0 = const.i64 0x2c5d553\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"sixteen zero bits", S_MODE, {0x0000},
     "b0:\n"
     "  v0 = const.i64 0\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"c.addiw to x0 is reserved", S_MODE, {0x2005},
     "b0:\n"
     "  v0 = const.i64 0x2005\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"c.lwsp to x0 is reserved", S_MODE, {0x4002},
     "b0:\n"
     "  v0 = const.i64 0x4002\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"c.jr of x0 is reserved", S_MODE, {0x8002},
     "b0:\n"
     "  v0 = const.i64 0x8002\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"c.lui of 0 is reserved", S_MODE, {0x6501},
     "b0:\n"
     "  v0 = const.i64 0x6501\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"c.addi4spn of 0 is reserved", S_MODE, {0x0004},
     "b0:\n"
     "  v0 = const.i64 0x4\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
    {"hypervisor loads are none", S_MODE, {0x6005c573},
     "b0:\n"
     "  v0 = const.i64 0x6005c573\n"
     "  call illegal v0 ; pc 0x100\n"
     "  exit_state\n"},
};

START_TEST(golden_rows)
{
    struct ir_unit *unit = ir_unit_new();
    GString *text = g_string_new("");
    uint8_t code[32];
    uint32_t length = lay_out(golden[_i].words, code);

    translate(unit, code, length, 0x100, golden[_i].mode, 64);
    ir_print(unit, xl_front_riscv64.slot_names, helpers, text);
    ck_assert_msg(!strcmp(text->str, golden[_i].ir), "%s: has become\n%s", golden[_i].name, text->str);
    ck_assert_uint_eq(unit->bytes, length);
    g_string_free(text, TRUE);
    ir_unit_free(unit);
}
END_TEST

/* --- how units end ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int32_t start;
    uint32_t length, most;
    uint32_t bytes, n_guest;
    int32_t to; /* the exit's displacement */
} ends[] = {
    {"max_insns", 0, 4096, 5, 10, 5, 10},
    {"never more than 64", 0, 4096, 1000, 128, 64, 128},
    {"the page's end", 4090, 100, 64, 6, 3, 4096},
    {"the end of what is readable", 16, 8, 64, 8, 4, 24},
};

START_TEST(end_rows)
{
    struct ir_unit *unit = ir_unit_new();
    uint8_t code[4096];

    for (unsigned i = 0; i < sizeof(code); i += 2)
        memcpy(code + i, "\x05\x05", 2); /* c.addi a0,1 */
    translate(unit, code, ends[_i].length, ends[_i].start, S_MODE, ends[_i].most);
    const struct ir_insn *last = &unit->insn[unit->n - 1];
    ck_assert_msg(last->op == IR_EXIT && last->disp == ends[_i].to && !last->aux &&
                  unit->bytes == ends[_i].bytes && unit->n_guest == ends[_i].n_guest,
                  "%s: %u bytes, %u instructions, to %d", ends[_i].name, unit->bytes,
                  unit->n_guest, last->disp);
    ir_unit_free(unit);
}
END_TEST

/* An instruction that crosses into the next page is a unit of its own. */
START_TEST(crossing)
{
    static const uint32_t words[] = {0x0505, 0x12345537, 0};
    struct ir_unit *unit = ir_unit_new();
    uint8_t code[8];

    lay_out(words, code);
    translate(unit, code, 6, 4092, S_MODE, 64);
    ck_assert_uint_eq(unit->n_guest, 1);
    ck_assert_int_eq(unit->insn[unit->n - 1].disp, 4094);
    translate(unit, code + 2, 4, 4094, S_MODE, 64);
    ck_assert_uint_eq(unit->n_guest, 1);
    ck_assert_uint_eq(unit->bytes, 4);
    ck_assert_int_eq(unit->insn[unit->n - 1].disp, 4098);
    ir_unit_free(unit);
}
END_TEST

/* Side entries name the instruction that may fault. */
START_TEST(side_entries)
{
    static const uint32_t words[] = {0x0505, 0x00052003, 0x4512, 0x8082, 0};
    struct ir_unit *unit = ir_unit_new();
    uint8_t code[32];

    translate(unit, code, lay_out(words, code), 0x100, S_MODE, 64);
    ck_assert_uint_eq(unit->n_side, 2);
    ck_assert(unit->side[0].pc == 0x102 && unit->side[0].length == 4 && unit->side[0].index == 1);
    ck_assert(unit->side[1].pc == 0x106 && unit->side[1].length == 2 && unit->side[1].index == 2);
    ir_unit_free(unit);
}
END_TEST

/* Any bytes in any mode give a unit that the verifier takes. */
START_TEST(any_bytes)
{
    static const uint32_t modes[] = {S_MODE, U_MODE, OFF, CLEAN, RMM, BADRM,
                                     RV_MODE(RV_TLB_PHYS, RV_PRIV_M, RV_FS_DIRTY, RV_FRM_HOST)};
    struct ir_unit *unit = ir_unit_new();
    uint64_t state = 88172645463325252;
    uint8_t code[256];

    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned i = 0; i < sizeof(code); i += 4) {
            const struct rv_row *row = &rv_rows[1 + (state >> 20) % (RV_ROWS - 1)];
            uint32_t bits = (uint32_t)(state >> 7);

            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            if (round & 1)
                bits = (bits & ~row->mask) | row->match;
            memcpy(code + i, &bits, 4);
        }
        translate(unit, code, sizeof(code), state >> 32 & 4094, modes[round % G_N_ELEMENTS(modes)], 64);
        ck_assert_uint_gt(unit->bytes, 0);
    }
    ir_unit_free(unit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front_riscv64");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, golden_rows, 0, G_N_ELEMENTS(golden));
    tcase_add_loop_test(tc, end_rows, 0, G_N_ELEMENTS(ends));
    tcase_add_test(tc, crossing);
    tcase_add_test(tc, side_entries);
    tcase_add_test(tc, any_bytes);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
