/*
 * gpu/code/kernarg: a launch's arguments as its kernel reads them: the kernarg segment, byte for
 * byte as the metadata of the code object says.
 */
#ifndef GPU_CODE_KERNARG_H
#define GPU_CODE_KERNARG_H

#include "gpu/code/code_object.h"

/* In blocks, in work-items, in bytes of LDS beside the kernel's own. */
struct kernarg_launch {
    uint32_t grid[3], block[3], shared;
};

/*
 * Fills TO, of K's kernarg_bytes, for a launch of K. PARAMS has the address of each argument that
 * the program gives, as hipModuleLaunchKernel()'s kernelParams. Arguments that are hidden get what
 * the launch alone tells; those that are the runtime's own, and gaps, are 0. Any thread.
 */
void kernarg_pack(const struct code_kernel *k, const struct kernarg_launch *l, void *const *params,
                  uint8_t *to);

#endif
