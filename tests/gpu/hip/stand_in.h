/* What the files of the stand-in for ROCm's library share: kernels, and what is known of them. */
#ifndef TESTS_GPU_HIP_STAND_IN_H
#define TESTS_GPU_HIP_STAND_IN_H

#include "gpu/server/engine.h"

enum { STAND_IN_NO_BINARY = 209, ARGS = 64, KERNELS = 32 };

struct arg {
    unsigned offset, size;
    char kind[48];
};

struct kernel {
    char name[64];
    unsigned bytes, group, threads, n_args, n_given;
    struct arg args[ARGS];
};

struct gpu_kernel {
    const struct kernel *k;
};

/* Says so, and ends the process. */
__attribute__((format(printf, 1, 2), noreturn)) void wrong(const char *format, ...);

/* Reads what VMD_HIP_TABLE names. */
void stand_in_read_table(void);
/* Modules, kernels and launches of ENGINE are those of this library. */
void stand_in_set_engine(struct gpu_engine_ops *engine);
/* Every byte of a launch's segment that no argument given by the program has; those are the
 * kernel's to look at. */
void stand_in_check_segment(const struct kernel *k, const uint8_t *segment, const uint32_t grid[3],
                            const uint32_t block[3], uint32_t shared);

#endif
