/*
 * a64_helpers.h: numbers and facts of the helpers in a64_helpers.inc.
 */
#ifndef XLATE_FRONT_AARCH64_A64_HELPERS_H
#define XLATE_FRONT_AARCH64_A64_HELPERS_H

#include "xlate/ir/ir.h"

#define A64_HELPER(NAME, name, n_args, result, flags) A64_HELPER_##NAME,
enum a64_helper {
#include "xlate/front/aarch64/a64_helpers.inc"
    A64_HELPER_COUNT
};
#undef A64_HELPER

/* PSTATE fields that MSR (immediate) writes. */
enum a64_pstate { A64_PSTATE_UAO, A64_PSTATE_PAN, A64_PSTATE_SPSEL };

/* The number of a system register or instruction. */
#define A64_SYSREG(op0, op1, crn, crm, op2) \
    ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))

#endif
