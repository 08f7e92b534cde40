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

enum { RV_COPY_STEPS = 3 };

/*
 * A loop that copies or fills, one element each time. Registers are told by their numbers. The loop goes on while
 * COUNTER, stepped, is as TEST says to END.
 */
union rv_copy_loop {
    struct {
        uint8_t from;         /* 0: it fills */
        uint8_t to;
        uint8_t value;        /* what is loaded or stored */
        uint8_t counter, end; /* END doesn't change */
        uint8_t test;         /* enum ir_cond: IR_NE, IR_LTU or IR_LTS */
        uint8_t mem;          /* of the load, or of the store where it fills: size and IR_MEM_SIGNED */
        uint8_t insns;
        int16_t from_offset, to_offset; /* of the accesses, from what the registers hold as an iteration begins */
        uint8_t reg[RV_COPY_STEPS];     /* registers that are stepped; 0: none */
        int16_t step[RV_COPY_STEPS];
    };
    uint64_t word[3];
};
G_STATIC_ASSERT(sizeof(union rv_copy_loop) == 24);

/* What COPY's counter is stepped by. */
static inline int16_t rv_copy_step(const union rv_copy_loop *copy)
{
    for (unsigned i = 0; i < RV_COPY_STEPS; i++)
        if (copy->reg[i] == copy->counter)
            return copy->step[i];
    return 0;
}

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
