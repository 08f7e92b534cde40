/* Addresses of the host's PCI functions. Any thread. */
#ifndef BASE_PCIADDR_H
#define BASE_PCIADDR_H

#include "base/base.h"

/* Whether NAME is one as the kernel writes it: "0000:01:00.0". */
bool pciaddr_valid(const char *name);

#endif
