/*
 * gpu/server/compiler: has guests' sources compiled by a process that is made for it before the
 * worker gives up its rights (compile_serve.h): the worker's end of the socket between them.
 *
 * Any thread may call these; each compile is its session's. What the other process says of one is
 * not believed, as it may have been taken over by a source.
 */
#ifndef GPU_SERVER_COMPILER_H
#define GPU_SERVER_COMPILER_H

#include "base/base.h"

struct compiler;
struct compile;

/* Of hiprtcResult, those that this program makes itself. */
enum compile_result {
    COMPILE_SUCCESS = 0,
    COMPILE_INVALID_OPTION = 5,
    COMPILE_ERROR = 6,
    COMPILE_INTERNAL = 11,
};

/* What came of one: hiprtc's result, and bytes of each part. */
enum compile_part { COMPILE_LOG, COMPILE_CODE, COMPILE_NAMES, COMPILE_PARTS };

struct compile_told {
    uint32_t result;
    uint64_t bytes[COMPILE_PARTS];
};

/* FD is taken: a socket whose other end compile_serve() has. */
struct compiler *compiler_new(int fd);
/* No compile is left that was not freed. Takes NULL. */
void compiler_free(struct compiler *c);

/* Begins to compile SOURCE, which gpu_source_read() takes, for TARGET. NULL with *RC of enum
 * gpu_result, also where there are LIMIT_GPU_COMPILES_ALL already: one that was ended is among
 * those until the other process says that it is over. */
struct compile *compiler_begin(struct compiler *c, const char *target, const uint8_t *source,
                               size_t length, int *rc);
/* Whether it is over; then what came of it. Does not wait. */
bool compile_over(struct compile *c, struct compile_told *out);
/* Of one that is over: reads at most MOST bytes of PART from OFFSET on: how many. */
uint32_t compile_read(const struct compile *c, enum compile_part part, uint64_t offset, uint8_t *to,
                      uint32_t most);
/* Ends it where it is not over. Takes NULL. */
void compile_free(struct compile *c);

#endif
