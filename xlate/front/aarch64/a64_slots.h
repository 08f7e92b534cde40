/*
 * a64_slots.h: which slot of xl_cpu.slots[] holds which register of an A64 vCPU.
 *
 * The stack pointer in use has its own slot, whichever it is; those not in use wait in theirs. V
 * registers are pairs of slots, low half first, at 16-byte addresses.
 */
#ifndef XLATE_FRONT_AARCH64_A64_SLOTS_H
#define XLATE_FRONT_AARCH64_A64_SLOTS_H

#include <stdint.h>

enum a64_slot {
    A64_SLOT_X = 0,           /* x0..x30 */
    A64_SLOT_SP = 31,         /* the one that PSTATE selects */
    A64_SLOT_NZCV = 32,       /* enum ir_nzcv */
    A64_SLOT_DAIF = 33,       /* PSTATE.DAIF at bits 9:6, as MRS reads it */
    A64_SLOT_EXCL_TAG = 34,   /* the monitor: address ^ size << 56, or A64_EXCL_NONE */
    A64_SLOT_EXCL_VALUE = 35, /* what the load-exclusive saw; of a pair the first register's */
    A64_SLOT_EXCL_HIGH = 36,  /* .. the second's */
    A64_SLOT_SP_EL0 = 37,     /* true while SP_EL1 is in use */
    A64_SLOT_SP_EL1 = 38,     /* true while SP_EL0 is in use */
    A64_SLOT_TPIDR_EL0 = 39,
    A64_SLOT_TPIDRRO_EL0 = 40,
    A64_SLOT_TPIDR_EL1 = 41,
    A64_SLOT_ELR_EL1 = 42,
    A64_SLOT_SPSR_EL1 = 43,
    A64_SLOT_ESR_EL1 = 44,
    A64_SLOT_FAR_EL1 = 45,
    A64_SLOT_BREAKS = 46, /* bit n: one may match at addresses whose quarter is n modulo 64 */
    A64_SLOT_V = 48, /* v0..v31: slots 48 + 2n and 49 + 2n */
    A64_SLOTS = 112,
};

/* The address of no aligned access. Resets, exceptions and every store-exclusive put it
 * into A64_SLOT_EXCL_TAG. */
#define A64_EXCL_NONE UINT64_MAX

#endif
