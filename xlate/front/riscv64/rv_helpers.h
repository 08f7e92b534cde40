/*
 * rv_helpers.h: numbers and facts of the helpers in rv_helpers.inc.
 */
#ifndef XLATE_FRONT_RISCV64_RV_HELPERS_H
#define XLATE_FRONT_RISCV64_RV_HELPERS_H

#include "xlate/ir/ir.h"

#define RV_HELPER(NAME, name, n_args, result, flags) RV_HELPER_##NAME,
enum rv_helper {
#include "xlate/front/riscv64/rv_helpers.inc"
    RV_HELPER_COUNT
};
#undef RV_HELPER

/* What a CSR write does with its operand. */
enum rv_csr_op {
    RV_CSR_SWAP,  /* the operand is the new value */
    RV_CSR_SET,   /* its ones are set */
    RV_CSR_CLEAR, /* its ones are cleared */
};

/* CSRs that the front end itself knows. */
enum rv_csr {
    RV_CSR_FFLAGS = 0x001,
    RV_CSR_FRM = 0x002,
    RV_CSR_FCSR = 0x003,
    RV_CSR_MCOUNTINHIBIT = 0x320,
    RV_CSR_MINSTRET = 0xb02,
    RV_CSR_INSTRET = 0xc02,
};

#endif
