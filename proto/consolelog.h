/*
 * proto/consolelog: pieces of a console's log as the API shows them. The VM process writes the log
 * (base/seglog.h); it and the daemon read it, the daemon also after the VM process has ended.
 */
#ifndef PROTO_CONSOLELOG_H
#define PROTO_CONSOLELOG_H

#include "proto/schema/types.h"

/*
 * At most LIMIT bytes of the log NAME in DIR, from *OFFSET (NULL: from the oldest byte kept).
 * As text, a chunk ends at the end of a character where it can. VMD_ERROR_NOT_FOUND where there is
 * no such log. The caller frees.
 */
struct console_chunk *consolelog_read(const char *dir, const char *name, const uint64_t *offset,
                                      uint32_t limit, enum text_encoding encoding, GError **err);

/* The bytes that TEXT stands for, in LENGTH bytes; VMD_ERROR_INVALID for bad base64. */
uint8_t *consolelog_decode(const char *text, enum text_encoding encoding, size_t *length,
                           GError **err);

#endif
