/* Files in memory, to hand bytes on to another process. Any thread. */
#ifndef BASE_MEMFILE_H
#define BASE_MEMFILE_H

#include "base/base.h"

/* A new file with N BYTES; the caller's. -1 with ERR. */
int memfile_new(const void *bytes, size_t n, GError **err);

/* The first N bytes of FD, which may be any file; the caller frees. NULL with ERR where there are
 * fewer. */
uint8_t *memfile_read(int fd, size_t n, GError **err);

#endif
