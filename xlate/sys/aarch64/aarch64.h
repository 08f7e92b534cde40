/*
 * xlate/sys/aarch64: the privileged state of an A64 vCPU: system registers, exceptions, interrupts,
 * generic timers, address translation. Follows the Arm Architecture Reference Manual (DDI 0487).
 */
#ifndef XLATE_SYS_AARCH64_AARCH64_H
#define XLATE_SYS_AARCH64_AARCH64_H

#include "xlate/xlate_priv.h"

extern const struct xl_sys aarch64_sys;

#endif
