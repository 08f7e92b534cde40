/*
 * The software GPU's instructions, one row each: a snippet that leaves its result in %r0 (32 bits) or %d0 (64).
 */
#include "gpu/soft/soft.h"
#include "tests/unit/unit.h"

#include <glib.h>
#include <string.h>

static const struct {
    const char *code;
    uint64_t result;
} rows[] = {
    {"mad.lo.s32 %r0, 7, -3, 5;", 0xfffffff0},
    {"mul.hi.u32 %r0, 0xffffffff, 0xffffffff;", 0xfffffffe},
    {"mul.hi.s64 %d0, -2, 5;", ~0ull},
    {"mul.wide.s32 %d0, -2, 5;", -10ull},
    {"div.s32 %r0, -7, 2;", -3u},
    {"rem.s32 %r0, -7, 2;", -1u},
    {"div.s32 %r0, 0x80000000, -1;", 0x80000000},
    {"shl.b32 %r0, 1, 32;", 0},
    {"shr.s32 %r0, 0x80000000, 99;", ~0u},
    {"add.sat.s32 %r0, 0x7fffffff, 1;", 0x7fffffff},
    {"bfe.u32 %r0, 0x12345678, 8, 8;", 0x56},
    {"bfe.s32 %r0, 0x0000f000, 12, 4;", ~0u},
    {"bfi.b32 %r0, 0xff, 0, 4, 8;", 0xff0},
    {"prmt.b32 %r0, 0x33221100, 0x77665544, 0x7531;", 0x77553311},
    {"lop3.b32 %r0, 0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa, 0x96;",
     0xf0f0f0f0 ^ 0xcccccccc ^ 0xaaaaaaaa},
    {"popc.b64 %r0, 0xff00ff00ff00ff00;", 32},
    {"clz.b32 %r0, 1;", 31},
    {"brev.b32 %r0, 1;", 0x80000000},
    {"bfind.s32 %r0, -1;", ~0u},
    {"sad.u32 %r0, 3, 10, 100;", 107},
    {"shf.l.wrap.b32 %r0, 0x80000000, 1, 1;", 3},
    {"dp4a.s32.s32 %r0, 0xff020304, 0x01010101, 10;", 18},
    {"add.cc.u32 %r1, 0xffffffff, 1; addc.u32 %r0, 5, 6;", 12},
    {"sub.cc.u32 %r1, 0, 1; subc.u32 %r0, 5, 1;", 3},
    {"add.f32 %r0, 0f3F800000, 0f40000000;", 0x40400000},
    {"add.rp.f32 %r0, 0f3F800000, 0f33000000;", 0x3f800001},
    {"add.rz.f32 %r0, 0f3F800000, 0f33800001;", 0x3f800000},
    {"mul.ftz.f32 %r0, 0f00800000, 0f3F000000;", 0},
    {"mul.f32 %r0, 0f00800000, 0f3F000000;", 0x00400000},
    {"add.sat.f32 %r0, 0f40000000, 0f40000000;", 0x3f800000},
    {"min.f32 %r0, 0f7FC00000, 0f3F800000;", 0x3f800000},
    {"min.NaN.f32 %r0, 0f7FC00000, 0f3F800000;", 0x7fffffff},
    {"div.rn.f64 %d0, 0d3FF0000000000000, 0d4008000000000000;", 0x3fd5555555555555},
    {"div.rp.f64 %d0, 0d3FF0000000000000, 0d4008000000000000;", 0x3fd5555555555556},
    {"cvt.rzi.s32.f32 %r0, 0fC0200000;", -2u},
    {"cvt.rmi.s32.f32 %r0, 0fC0200000;", -3u},
    {"cvt.rni.s32.f32 %r0, 0f40200000;", 2},
    {"cvt.rzi.s32.f32 %r0, 0f7F000000;", 0x7fffffff},
    {"cvt.rzi.u32.f32 %r0, 0fBF800000;", 0},
    {"cvt.rzi.s32.f32 %r0, 0f7FC00000;", 0},
    {"cvt.rn.f32.s32 %r0, -3;", 0xc0400000},
    {"cvt.rn.f32.u64 %r0, 0xffffffffffffffff;", 0x5f800000},
    {"cvt.rz.f32.u64 %r0, 0xffffffffffffffff;", 0x5f7fffff},
    {"cvt.sat.u8.s32 %r0, 300;", 255},
    {"cvt.s32.s8 %r0, 0x80;", 0xffffff80},
    {"cvt.rn.f16x2.f32 %r0, 0f3F800000, 0f40000000;", 0x3c004000},
    {"cvt.rn.bf16x2.f32 %r0, 0f3F800000, 0f40000000;", 0x3f804000},
    {"fma.rn.f16x2 %r0, 0x3c004000, 0x3c004000, 0x3c003c00;", 0x40004500},
    {"add.f16x2 %r0, 0x7bff0001, 0x7bff0001;", 0x7c000002},
    {"cvt.rn.f16.f32 %h0, 0f33000000; cvt.u32.u16 %r0, %h0;", 0},
    {"cvt.rn.f16.f32 %h0, 0f33000001; cvt.u32.u16 %r0, %h0;", 1},
    /* f16 and bf16: ties, the largest number, subnormals, infinities, NaN, signs of zero. */
    {"cvt.rn.f16.f32 %h0, 0f477FEFFF; cvt.u32.u16 %r0, %h0;", 0x7bff},
    {"cvt.rn.f16.f32 %h0, 0f477FF000; cvt.u32.u16 %r0, %h0;", 0x7c00},
    {"cvt.rz.f16.f32 %h0, 0f7F7FFFFF; cvt.u32.u16 %r0, %h0;", 0x7bff},
    {"cvt.rp.f16.f32 %h0, 0f00000001; cvt.u32.u16 %r0, %h0;", 1},
    {"cvt.rm.f16.f32 %h0, 0f80000001; cvt.u32.u16 %r0, %h0;", 0x8001},
    {"cvt.rn.f16.f64 %h0, 0d3FF0020000000001; cvt.u32.u16 %r0, %h0;", 0x3c01},
    {"cvt.rn.sat.f16.f32 %h0, 0fC0000000; cvt.u32.u16 %r0, %h0;", 0},
    {"cvt.rn.relu.f16.f32 %h0, 0fC0000000; cvt.u32.u16 %r0, %h0;", 0},
    {"cvt.rn.relu.bf16x2.f32 %r0, 0fBF800000, 0f3F800000;", 0x00003f80},
    {"cvt.rz.f16x2.f32 %r0, 0f477FFFFF, 0fC77FFFFF;", 0x7bfffbff},
    {"cvt.rn.bf16.f32 %h0, 0f3F808000; cvt.u32.u16 %r0, %h0;", 0x3f80},
    {"cvt.rn.bf16.f32 %h0, 0f3F818000; cvt.u32.u16 %r0, %h0;", 0x3f82},
    {"cvt.rn.bf16.f32 %h0, 0f7F7FFFFF; cvt.u32.u16 %r0, %h0;", 0x7f80},
    {"mov.b16 %h0, 0x7c01; cvt.f32.f16 %r0, %h0;", 0x7fffffff},
    {"mov.b16 %h0, 0x0001; cvt.f32.f16 %r0, %h0;", 0x33800000},
    {"mov.b16 %h0, 0x8000; cvt.f32.f16 %r0, %h0;", 0x80000000},
    {"mov.b16 %h0, 0x0001; cvt.f64.f16 %d0, %h0;", 0x3e70000000000000},
    {"mov.b16 %h0, 0xfc00; cvt.rzi.s32.f16 %r0, %h0;", 0x80000000},
    {"mov.b16 %h0, 0x4100; cvt.rni.s32.f16 %r0, %h0;", 2},
    {"cvt.rn.f16.s32 %h0, 65519; cvt.u32.u16 %r0, %h0;", 0x7bff},
    {"cvt.rn.f16.s32 %h0, 65520; cvt.u32.u16 %r0, %h0;", 0x7c00},
    {"cvt.rn.f16.u64 %h0, 2049; cvt.u32.u16 %r0, %h0;", 0x6800},
    {"mov.b16 %h0, 0x4100; cvt.rni.f16.f16 %h1, %h0; cvt.u32.u16 %r0, %h1;", 0x4000},
    {"add.f16x2 %r0, 0x7c003c00, 0xfc00bc00;", 0x7fff0000},
    {"add.bf16x2 %r0, 0x80003f80, 0x80003b80;", 0x80003f80},
    {"mul.f16x2 %r0, 0x04003c00, 0x38000001;", 0x02000001},
    {"mul.ftz.f16x2 %r0, 0x04003c00, 0x38000001;", 0},
    {"sub.f16x2 %r0, 0x3c003c00, 0x3c000001;", 0x00003c00},
    {"add.sat.f16x2 %r0, 0x40007e00, 0x40003c00;", 0x3c000000},
    {"fma.rn.relu.f16x2 %r0, 0xbc003c00, 0x3c003c00, 0;", 0x00003c00},
    {"fma.rn.bf16x2 %r0, 0x3f813f81, 0x3f813f81, 0xbf800000;", 0x3c803f82},
    {"min.f16x2 %r0, 0x80007e00, 0x00003c00;", 0x80003c00},
    {"max.f16x2 %r0, 0x80007e00, 0x00003c00;", 0x00003c00},
    {"min.NaN.f16x2 %r0, 0x80007e00, 0x00003c00;", 0x80007fff},
    {"max.bf16x2 %r0, 0x7fc0ff80, 0xbf80bf80;", 0xbf80bf80},
    {"neg.f16x2 %r0, 0x80003c00;", 0x0000bc00},
    {"abs.bf16x2 %r0, 0x8000bf80;", 0x00003f80},
    {"set.lt.f16x2.f16x2 %r0, 0x3c007e00, 0x40003c00;", 0x3c000000},
    {"set.gt.u32.f16x2 %r0, 0x40003c00, 0x3c003c00;", 0xffff0000},
    {"set.le.s32.bf16x2 %r0, 0x3f803f80, 0x3f803f00;", 0xffff0000},
    {"mov.b16 %h0, 0x7e00; mov.b16 %h1, 0x3c00; setp.neu.f16 %p0, %h0, %h1; selp.b32 %r0, 1, 2, "
     "%p0;",
     1},
    {"mov.b16 %h0, 0x7e00; mov.b16 %h1, 0x3c00; setp.ne.f16 %p0, %h0, %h1; selp.b32 %r0, 1, 2, "
     "%p0;",
     2},
    {"mov.b64 %d0, {1, 2};", 0x200000001},
    {"mov.b64 {%r1, %r0}, 0x200000001;", 2},
    {"setp.lt.and.s32 %p0|%p1, 1, 2, %p2; selp.b32 %r0, 1, 2, %p0;", 2},
    {"setp.ltu.f32 %p0, 0f7FC00000, 0f3F800000; selp.b32 %r0, 1, 2, %p0;", 1},
    {"set.gt.u32.s32 %r0, 3, 2;", ~0u},
    {"slct.s32.f32 %r0, 1, 2, 0fBF800000;", 2},
    {"mov.u32 %r1, %laneid; shfl.sync.down.b32 %r0, %r1, 5, 31, -1;", 5},
    {"mov.u32 %r1, %laneid; redux.sync.add.u32 %r0, %r1, -1;", 496},
    {"st.shared.u32 [s+4], 77; ld.shared.u8 %r0, [s+4];", 77},
    {"mov.u64 %d1, s; cvta.shared.u64 %d1, %d1; atom.add.u32 %r1, [%d1], 0; ld.u32 %r0, [%d1];", 0},
};

START_TEST(row)
{
    const char *reg = strstr(rows[_i].code, "%d0") ? "st.global.u64 [%d7], %d0;" : "st.global.u32 [%d7], %r0;";
    g_autofree char *text = g_strdup_printf(
        ".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 p) {\n.reg .b16 %%h<4>; .reg .b32 %%r<4>; .reg .b64 %%d<8>;\n"
        ".reg .pred %%p<4>; .shared .align 8 .b8 s[16];\nld.param.u64 %%d7, [p];\n%s\nsetp.eq.u32 %%p3, 0, 0;\n"
        "mov.u32 %%r3, %%tid.x; setp.ne.u32 %%p3, %%r3, 0; @%%p3 ret;\n%s ret; }\n", rows[_i].code, reg);
    struct soft_space *space = soft_space_new(1 << 20);
    struct soft_launch l = {.grid = {1, 1, 1}, .block = {32, 1, 1}, .param_bytes = 8};
    struct soft_module *m = NULL;
    g_autofree char *log = NULL;
    uint64_t out, got;

    ck_assert_int_eq(soft_space_alloc(space, 8, &out), SOFT_OK);
    ck_assert_msg(soft_module_load(space, text, strlen(text), &m, &log) == SOFT_OK, "%s: %s", rows[_i].code, log);
    ck_assert_int_eq(soft_module_function(m, "k", &l.function), SOFT_OK);
    l.params = &out;
    ck_assert_msg(soft_launch_run(&l, &log) == SOFT_OK, "%s: %s", rows[_i].code, log);
    memcpy(&got, soft_space_host(space, out, 8), 8);
    ck_assert_msg(got == rows[_i].result, "%s: 0x%" G_GINT64_MODIFIER "x", rows[_i].code, got);
    soft_module_unload(m);
    soft_space_free(space);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_soft_ops");
    TCase *tc = tcase_create("rows");

    tcase_add_loop_test(tc, row, 0, G_N_ELEMENTS(rows));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
