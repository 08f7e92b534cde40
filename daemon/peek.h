/* What a disk of a VM holds, as the host has it. Loop thread; a read of the host's blocks it. */
#ifndef DAEMON_PEEK_H
#define DAEMON_PEEK_H

#include "daemon/vm.h"

/* Those BYTES at OFFSET of the disk ID of VM, which are in a file in memory; the caller's. -1 with
 * ERR: VMD_ERROR_NOT_FOUND, _UNSUPPORTED where its image is not raw, _INVALID where it ends before.
 */
int peek_disk(const struct vm *vm, const char *id, uint64_t offset, uint32_t bytes, GError **err);

#endif
