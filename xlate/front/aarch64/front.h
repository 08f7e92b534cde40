/*
 * xlate/front/aarch64: A64 of ARMv8.2-A with LSE, CRC32 and LRCPC into IR.
 *
 * Stateless: any thread may translate.
 */
#ifndef XLATE_FRONT_AARCH64_FRONT_H
#define XLATE_FRONT_AARCH64_FRONT_H

#include "xlate/xlate_priv.h"

extern const struct xl_front xl_front_aarch64;

#endif
