/*
 * xlate/front/riscv64: RV64GC with Zba, Zbb, Zbs, Zicbom, Zicboz, Zicntr, Zihintpause into IR.
 *
 * Stateless: any thread may translate.
 */
#ifndef XLATE_FRONT_RISCV64_FRONT_H
#define XLATE_FRONT_RISCV64_FRONT_H

#include "xlate/xlate_priv.h"

extern const struct xl_front xl_front_riscv64;

#endif
