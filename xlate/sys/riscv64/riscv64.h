/*
 * xlate/sys/riscv64: the privileged state of a RISC-V hart: CSRs, traps, interrupts, address
 * translation, physical memory protection. Follows The RISC-V Instruction Set Manual, volume II.
 */
#ifndef XLATE_SYS_RISCV64_RISCV64_H
#define XLATE_SYS_RISCV64_RISCV64_H

#include "xlate/xlate_priv.h"

extern const struct xl_sys riscv64_sys;

#endif
