/* gpu/server/compile_options: options of compilers that no guest may give. */
#ifndef GPU_SERVER_COMPILE_OPTIONS_H
#define GPU_SERVER_COMPILE_OPTIONS_H

#include "base/base.h"

/* Whether OPTION, or a word in it, has a compiler load code, run another program, or take options
 * from a file. */
bool compile_option_is_refused(const char *option);

#endif
