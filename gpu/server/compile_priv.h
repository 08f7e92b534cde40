/* gpu/server/compile_priv: what a worker and the process that compiles for it say to each other:
 * records over a SOCK_SEQPACKET socket, the files of a source and of what came of it with them. */
#ifndef GPU_SERVER_COMPILE_PRIV_H
#define GPU_SERVER_COMPILE_PRIV_H

#include "gpu/code/bundle.h"
#include "gpu/server/compiler.h"

enum { COMPILE_MAGIC = 0x43725447, COMPILE_TEXT = 400 };

enum compile_order { COMPILE_BEGIN = 1 /* with the file of the source */, COMPILE_END };

struct compile_order_record {
    uint32_t magic, order;
    uint64_t id;
    char target[TARGET_BYTES];
};

/* What came of it: with a file, which is of struct compile_file; else RESULT and TEXT in place of a
 * log. */
struct compile_report {
    uint32_t magic, result;
    uint64_t id;
    char text[COMPILE_TEXT];
};

/* Its parts follow, without gaps. */
struct compile_file {
    uint32_t magic, result;
    uint64_t bytes[COMPILE_PARTS];
};

/* Sends the record AT with the descriptor FD, which stays the caller's (-1: none). 0 or -errno. */
int compile__send(int socket, const void *at, size_t bytes, int fd, int flags);
/* Receives one of just BYTES, with *FD the caller's, or -1. 1; 0: the other end is gone; -EAGAIN;
 * another -errno, also of a record that is none, or has several descriptors. */
int compile__receive(int socket, void *at, size_t bytes, int *fd, int flags);

#endif
