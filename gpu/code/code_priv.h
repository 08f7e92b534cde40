/* gpu/code/code_priv: what the files of a code object share. */
#ifndef GPU_CODE_CODE_PRIV_H
#define GPU_CODE_CODE_PRIV_H

#include "gpu/code/code_object.h"

struct code_object {
    unsigned version;
    char target[TARGET_BYTES];
    GArray *kernels;    /* struct code_kernel, by name */
    GPtrArray *owned;   /* names and arrays of arguments */
    const uint8_t *elf; /* while it is parsed */
    uint64_t length;
};

struct code_descriptor {
    uint32_t group_bytes, private_bytes, kernarg_bytes;
};

/* The target of ELF flags and ABI version; false where it is not known. */
bool code__target(struct code_object *o, uint32_t flags, unsigned abi, GError **err);
/* Reads the metadata's note, of BYTES at NOTE: the kernels, unordered. */
bool code__metadata(struct code_object *o, const uint8_t *note, size_t bytes, GError **err);

#endif
