/*
 * xlate: guests of any ISA by translation. The one header of the translator for programs.
 */
#ifndef XLATE_XLATE_H
#define XLATE_XLATE_H

#include "accel/accel.h"

/*
 * The accelerator. Creating one fails with VMD_ERROR_UNSUPPORTED for an ISA without a front end or
 * a host without a back end (unless config.tier is 0, which interprets), VMD_ERROR_INVALID or
 * VMD_ERROR_LIMIT for a configuration that cannot be.
 */
extern const struct accel_ops xlate_accel_ops;

#endif
