/*
 * gpu/code/code_object: code for AMD's GPUs as compilers write it, and what is in it: LLVM's
 * "AMDGPU usage" guide, code objects of version 3 to 6.
 *
 * A code object is an ELF file of the machine AMDGPU. A note has its metadata in MessagePack: for
 * each kernel its arguments and where they lie in its kernarg segment. A symbol "NAME.kd" of 64
 * bytes is the kernel's descriptor, which the device's command processor reads.
 *
 * All of it may come from a guest. What parses is consistent: names are within the file, arguments
 * within their segment and beside each other, descriptors say what the metadata says.
 */
#ifndef GPU_CODE_CODE_OBJECT_H
#define GPU_CODE_CODE_OBJECT_H

#include "base/base.h"
#include "gpu/code/bundle.h"

enum {
    CODE_NAME = 1024, /* bytes of a kernel's name, with its 0 */
    CODE_KERNELS = 16384,
    CODE_ARGS = 512,     /* of a kernel, those that are hidden among them */
    CODE_KERNARG = 8192, /* bytes of a kernarg segment */
};

/* What a kernel's argument is for. The hidden ones are the runtime's to set. */
enum code_arg_kind {
    CODE_ARG_VALUE,   /* the bytes that the program gives */
    CODE_ARG_POINTER, /* the same, an address */
    CODE_ARG_HIDDEN,  /* of the runtime's own, of which no number is known before it launches */
    CODE_ARG_BLOCK_COUNT_X,
    CODE_ARG_BLOCK_COUNT_Y,
    CODE_ARG_BLOCK_COUNT_Z,
    CODE_ARG_GROUP_SIZE_X,
    CODE_ARG_GROUP_SIZE_Y,
    CODE_ARG_GROUP_SIZE_Z,
    CODE_ARG_REMAINDER, /* of the last block: a launch has whole blocks */
    CODE_ARG_GRID_DIMS,
    CODE_ARG_GLOBAL_OFFSET,
    CODE_ARG_DYNAMIC_LDS,
};

struct code_arg {
    uint32_t offset, size; /* in the kernarg segment, in bytes */
    enum code_arg_kind kind;
};

struct code_kernel {
    const char *name, *symbol;
    const struct code_arg *args; /* as the metadata has them: those that the program gives first */
    unsigned n_args, n_given;    /* all; those that the program gives */
    uint32_t given_bytes;        /* up to the end of the last of those */
    uint32_t kernarg_bytes, kernarg_align;
    uint32_t group_bytes, private_bytes; /* LDS of a work-group, scratch of a work-item; fixed */
    uint32_t wavefront, max_threads, sgprs, vgprs;
};

struct code_object;

/* The code object of LENGTH bytes at IMAGE, which is looked at only here. NULL with
 * VMD_ERROR_INVALID, or VMD_ERROR_UNSUPPORTED for a version that is not known. */
struct code_object *code_object_new(const uint8_t *image, size_t length, GError **err);
/* Takes NULL. */
void code_object_free(struct code_object *o);

unsigned code_object_version(const struct code_object *o);
/* The target that it is for, "gfx90a:sramecc+", by its ELF flags. */
const char *code_object_target(const struct code_object *o);
unsigned code_object_kernels(const struct code_object *o);
const struct code_kernel *code_object_kernel_at(const struct code_object *o, unsigned i);
/* The kernel of that name, or NULL. */
const struct code_kernel *code_object_kernel(const struct code_object *o, const char *name);

/*
 * The code object for DEVICE, a target's name, in IMAGE: that itself, or of a bundle the nearest
 * one. OFFSET and BYTES are within IMAGE. False with VMD_ERROR_INVALID, or VMD_ERROR_UNSUPPORTED
 * where there is none for it.
 */
bool code_object_choose(const uint8_t *image, size_t length, const char *device, size_t *offset,
                        size_t *bytes, GError **err);

#endif
