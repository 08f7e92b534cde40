/* xlate/vec: what each kind of vector operation computes, lane by lane, and the flags it raises. */
#include "tests/unit/unit.h"
#include "xlate/vec/vec.h"

#define V(high, low) {{UINT64_C(low), UINT64_C(high)}}
#define B IR_V_UNSIGNED

static const struct row {
    const char *name;
    enum ir_op op;
    unsigned aux;
    int64_t imm;
    struct ir_v128 a, b, c, want;
    unsigned flags;
} rows[] = {
    {"lanes do not carry", IR_VADD, 0, 0, V(0, 0x00ff), V(0, 0x0001), V(0, 0), V(0, 0), 0},
    {"a half leaves zeros", IR_VADD, 3 | IR_V_HALF, 0, V(5, 7), V(5, 1), V(0, 0), V(0, 8), 0},
    {"a scalar leaves zeros", IR_VSUB, 2 | IR_V_SCALAR, 0, V(9, 0x900000009), V(0, 1), V(0, 0), V(0, 8), 0},
    {"polynomial bytes", IR_VMUL, IR_V_ALT, 0, V(0, 0x0307), V(0, 0x0307), V(0, 0), V(0, 0x0515), 0},
    {"signed order", IR_VCMPGT, 0, 0, V(0, 0x01), V(0, 0xff), V(0, 0), V(0, 0xff), 0},
    {"unsigned order", IR_VCMPGT, B, 0, V(0, 0x01), V(0, 0xff), V(0, 0), V(0, 0), 0},
    {"shift by all of it", IR_VSHR, 1, 16, V(0, 0xffff), V(0, 0), V(0, 0), V(0, 0), 0},
    {"sign by all of it", IR_VSAR, 1, 16, V(0, 0x8000), V(0, 0), V(0, 0), V(0, 0xffff), 0},
    {"leading sign bits", IR_VCLZ, IR_V_ALT, 0, V(0, 0xf1), V(0, 0), V(0, 0),
     V(0x0707070707070707, 0x0707070707070703), 0},
    {"backwards in words", IR_VREV, 0, 2, V(0, 0x1122334455667788), V(0, 0), V(0, 0), V(0, 0x4433221188776655), 0},
    {"odd lanes", IR_VUZP, 2 | IR_V_HIGH, 0, V(0x300000002, 0x100000000), V(0x700000006, 0x500000004), V(0, 0),
     V(0x700000005, 0x300000001), 0},
    {"upper halves interleaved", IR_VZIP, 2 | IR_V_HIGH, 0, V(0x300000002, 0), V(0x700000006, 0), V(0, 0),
     V(0x700000003, 0x600000002), 0},
    {"bytes of two", IR_VEXTR, 0, 12, V(0xfffefdfc00000000, 0), V(0, 0x0807060504030201), V(0, 0),
     V(0x0000000008070605, 0x04030201fffefdfc), 0},
    {"a table's end", IR_VTBL, 0, 0, V(0x0f0e0d0c0b0a0908, 0x0706050403020100), V(0, 0x80100f00), V(0, 0),
     V(0, 0x0f00), 0},
    {"halves of sums round", IR_VHADD, IR_V_ROUND | B, 0, V(0, 0xff), V(0, 0xfe), V(0, 0), V(0, 0xff), 0},
    {"carryless", IR_VMULL, 3 | IR_V_ALT, 0, V(0, 0x8000000000000001), V(0, 0x3), V(0, 0), V(1, 0x8000000000000003), 0},
    {"products of bytes summed", IR_VDOT, 2, 0, V(0, 10), V(0, 0xff020304), V(0, 0x05010101), V(0, 14), 0},
    {"narrowed", IR_VNARROW, 0 | IR_V_SAT, 0, V(0, 0x0080ff7f), V(0, 0), V(0, 0), V(0, 0x7f80), IR_QC},
    {"narrowed without a sign", IR_VNARROW, 0 | IR_V_SAT | B | IR_V_ALT, 0, V(0, 0x00ff0100), V(0, 0), V(0, 0),
     V(0, 0xffff), IR_QC},
    {"sums saturate", IR_VQADD, 3, 0, V(0, 0x7fffffffffffffff), V(0, 1), V(0, 0), V(0, 0x7fffffffffffffff), IR_QC},
    {"signed added to unsigned", IR_VQADD, 0 | B | IR_V_ALT, 0, V(0, 0x05), V(0, 0xfa), V(0, 0), V(0, 0), IR_QC},
    {"absolute value of the least", IR_VQABS, 0, 0, V(0, 0x80), V(0, 0), V(0, 0), V(0, 0x7f), IR_QC},
    {"shifted right, rounded", IR_VSHIFT, 0 | IR_V_ROUND, 0, V(0, 0x03), V(0, 0xff), V(0, 0), V(0, 0x02), 0},
    {"shifted out of a lane", IR_VSHIFT, 0 | IR_V_SAT, 0, V(0, 0xc0), V(0, 0x02), V(0, 0), V(0, 0x80), IR_QC},
    {"twice the least squared", IR_VQDMULH, 1, 0, V(0, 0x8000), V(0, 0x8000), V(0, 0), V(0, 0x7fff), IR_QC},
    {"the first signalling NaN", IR_VFADD, 2 | IR_V_SCALAR, 0, V(0, 0x7fc00001), V(0, 0xff800002), V(0, 0),
     V(0, 0xffc00002), IR_NV},
    {"the first NaN", IR_VFMUL, 2 | IR_V_SCALAR, 0, V(0, 0xffc00001), V(0, 0x7fc00002), V(0, 0), V(0, 0xffc00001), 0},
    {"the default NaN", IR_VFADD, 2 | IR_V_SCALAR | IR_V_DN, 0, V(0, 0xffc00001), V(0, 0), V(0, 0), V(0, 0x7fc00000), 0},
    {"infinities cancel", IR_VFADD, 2 | IR_V_SCALAR, 0, V(0, 0x7f800000), V(0, 0xff800000), V(0, 0), V(0, 0x7fc00000), IR_NV},
    {"a subnormal operand is zero", IR_VFADD, 2 | IR_V_SCALAR | IR_V_FZ, 0, V(0, 1), V(0, 0), V(0, 0), V(0, 0), IR_ID},
    {"a subnormal result is zero", IR_VFMUL, 2 | IR_V_SCALAR | IR_V_FZ, 0, V(0, 0x00800000), V(0, 0x3f000000), V(0, 0),
     V(0, 0), IR_UF},
    {"tiny before it is rounded", IR_VFMUL, 2 | IR_V_SCALAR, 0, V(0, 0x00ffffff), V(0, 0x3f000000), V(0, 0),
     V(0, 0x00800000), IR_UF | IR_NX},
    {"zero by infinity with a quiet addend", IR_VFMA, 2 | IR_V_SCALAR, 0, V(0, 0), V(0, 0x7f800000), V(0, 0xffc00003),
     V(0, 0x7fc00000), IR_NV},
    {"a quiet NaN loses", IR_VFMAX, 2 | IR_V_SCALAR | IR_V_ALT, 0, V(0, 0x7fc00001), V(0, 0x3f800000), V(0, 0),
     V(0, 0x3f800000), 0},
    {"or not", IR_VFMAX, 2 | IR_V_SCALAR, 0, V(0, 0x7fc00001), V(0, 0x3f800000), V(0, 0), V(0, 0x7fc00001), 0},
    {"order of zeros", IR_VFMIN, 2 | IR_V_SCALAR, 0, V(0, 0), V(0, 0x80000000), V(0, 0), V(0, 0x80000000), 0},
    {"extended multiplication", IR_VFMUL, 2 | IR_V_SCALAR | IR_V_ALT, 0, V(0, 0x80000000), V(0, 0x7f800000), V(0, 0),
     V(0, 0xc0000000), 0},
    {"an estimate", IR_VFEST, 2 | IR_V_SCALAR, IR_VEST_RECIPROCAL, V(0, 0x3f800000), V(0, 0), V(0, 0), V(0, 0x3f7f8000), 0},
    {"an estimate of a root", IR_VFEST, 3 | IR_V_SCALAR, IR_VEST_ROOT, V(0, 0x4010000000000000), V(0, 0), V(0, 0),
     V(0, 0x3fdff00000000000), 0},
    {"a step", IR_VFSTEP, 2 | IR_V_SCALAR | IR_V_ALT, 0, V(0, 0x3f800000), V(0, 0x3f800000), V(0, 0), V(0, 0x3f800000), 0},
    {"half to single", IR_VFCVT, 2, 1, V(0, 0x7d013c00), V(0, 0), V(0, 0), V(0, 0x7fe020003f800000), IR_NV},
    {"no infinite half", IR_VFCVT, 1 | IR_V_SCALAR | IR_V_AHP, 2, V(0, 0xff800000), V(0, 0), V(0, 0), V(0, 0xffff), IR_NV},
    {"halves above 65504", IR_VFCVT, 2 | IR_V_SCALAR | IR_V_AHP, 1, V(0, 0x7fff), V(0, 0), V(0, 0), V(0, 0x47ffe000), 0},
    {"rounded to odd", IR_VFCVT, 2 | IR_V_SCALAR | IR_V_ALT, 3, V(0, 0x3ff0000000000001), V(0, 0), V(0, 0),
     V(0, 0x3f800001), IR_NX},
    {"a NaN is no integer", IR_VFTOI, 2 | IR_V_SCALAR, 0, V(0, 0x7fc00000), V(0, 0), V(0, 0), V(0, 0), IR_NV},
    {"fixed point", IR_VITOF, 2 | IR_V_SCALAR, 4, V(0, 24), V(0, 0), V(0, 0), V(0, 0x3fc00000), 0},
    /* FIPS 197, appendix B: the first round up to its columns, and the first of them mixed. */
    {"AES round", IR_VCRYPT, 0, IR_AESE, V(0x340737e0a2983131, 0x8d305a88a8f64332),
     V(0x3c4fcf098815f7ab, 0xa6d2ae2816157e2b), V(0, 0), V(0xe598271ef11141b8, 0xae52b4e0305dbfd4), 0},
    {"AES columns", IR_VCRYPT, 0, IR_AESMC, V(0, 0x305dbfd4), V(0, 0), V(0, 0), V(0, 0xe5816604), 0},
    {"SHA1 rotation", IR_VCRYPT, 0, IR_SHA1H, V(0, 0x80000003), V(0, 0), V(0, 0), V(0, 0xe0000000), 0},
};

START_TEST(row)
{
    const struct row *r = &rows[_i];
    struct ir_insn insn = {.op = r->op, .type = IR_V128, .aux = (uint16_t)r->aux, .imm = r->imm};
    struct ir_v128 a[3] = {r->a, r->b, r->c}, out;
    uint8_t flags = 0;

    vec_eval(vec_how(&insn), a, &out, IR_RM_RNE, &flags);
    ck_assert_msg(out.d[0] == r->want.d[0] && out.d[1] == r->want.d[1],
                  "%s: %016" G_GINT64_MODIFIER "x%016" G_GINT64_MODIFIER "x", r->name, out.d[1], out.d[0]);
    ck_assert_msg(flags == r->flags, "%s: flags %x", r->name, flags);
}
END_TEST

/* SHA-256 of "abc" by its instructions (FIPS 180-2, appendix B.1): the first four rounds. */
START_TEST(sha256)
{
    static const uint32_t k[4] = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5};
    /* a to d and e to h before round 0; after round 3 they are as the standard prints them. */
    struct ir_v128 abcd = V(0xa54ff53a3c6ef372, 0xbb67ae856a09e667);
    struct ir_v128 efgh = V(0x5be0cd191f83d9ab, 0x9b05688c510e527f);
    struct ir_v128 w = {{(uint32_t)(k[0] + 0x61626380u) | (uint64_t)k[1] << 32, k[2] | (uint64_t)k[3] << 32}};
    struct ir_v128 a[3] = {abcd, efgh, w}, b[3] = {efgh, abcd, w}, out;

    vec__crypt(IR_SHA256H, a, &out);
    ck_assert_uint_eq(out.d[0], UINT64_C(0xc8c347a7d550f666));
    ck_assert_uint_eq(out.d[1], UINT64_C(0x5d6aebcd5a6ad9ad));
    vec__crypt(IR_SHA256H2, b, &out);
    ck_assert_uint_eq(out.d[0], UINT64_C(0xf92939eb24e00850));
    ck_assert_uint_eq(out.d[1], UINT64_C(0xfa2a462278ce7989));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vec");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, row, 0, G_N_ELEMENTS(rows));
    tcase_add_test(tc, sha256);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
