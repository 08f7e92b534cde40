/* gpu/server/compile_run: one source, compiled by hiprtc in this process, which gives up nearly all
 * rights before it looks into it. */
#ifndef GPU_SERVER_COMPILE_RUN_H
#define GPU_SERVER_COMPILE_RUN_H

#include "base/base.h"

struct compile_task {
    const char *target; /* what it is compiled for where its options say nothing of that */
    const char *folder; /* that it may write in */
    unsigned seconds;   /* of a processor that it may take */
    int source, result; /* files; RESULT gets a struct compile_file */
    int said;           /* a file, for what the compiler says to people of the host */
    int parent;         /* the process that forked this one, with which it ends */
};

enum { COMPILE_GAVE_UP = 3 };

/* Ends the process: with 0 where RESULT is written; with COMPILE_GAVE_UP where that is, too, but
 * nothing can be compiled on this host, and SAID tells why. */
G_GNUC_NORETURN void compile_run(const struct compile_task *t);

#endif
