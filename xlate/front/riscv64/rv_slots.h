/*
 * rv_slots.h: which slot of xl_cpu.slots[] holds which register of a RISC-V hart.
 *
 * F registers hold 64 bits; a single is NaN-boxed. x0 has no slot.
 */
#ifndef XLATE_FRONT_RISCV64_RV_SLOTS_H
#define XLATE_FRONT_RISCV64_RV_SLOTS_H

#include <stdint.h>

enum rv_slot {
    RV_SLOT_X = 0,          /* x1..x31 at 1..31; slot 0 is unused */
    RV_SLOT_F = 32,         /* f0..f31 */
    RV_SLOT_RES_TAG = 64,   /* the reservation: address, bit 0 set for 8 bytes, or RV_RES_NONE */
    RV_SLOT_RES_VALUE = 65, /* what the load-reserved saw, sign-extended */
    RV_SLOT_INSTRET = 66,   /* minstret, in modes with RV_MODE_COUNT */
    RV_SLOTS = 67,
};

/* No address: it is misaligned. Resets, traps and every SC store it in RV_SLOT_RES_TAG. */
#define RV_RES_NONE UINT64_MAX

#endif
