/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * The linker of one image: what programs do that compile PTX while they run. Several images are not
 * joined; what comes out is what came in, and is compiled when it is loaded.
 */
#include "guest/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_CUBIN = 0, INPUT_PTX = 1, INPUT_FATBINARY = 2 };

struct cu_link {
    struct cu_object o;
    char *image; /* owned */
    size_t bytes;
};
typedef struct cu_link *CUlinkState;

CU_API CUresult cuLinkCreate_v2(unsigned n, int *options, void **values, CUlinkState *out)
{
    int rc;

    if (!cu_need(&rc) || !out || (n && (!options || !values)))
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return CUDA_ERROR_OUT_OF_MEMORY;
    (*out)->o = (struct cu_object){.kind = KIND_LINK, .id = cu_new_id()};
    for (unsigned i = 0; i < n; i++) { /* nothing is said here: what loads the image has the log */
        if (options[i] == 4 || options[i] == 6)
            values[i] = NULL;
    }
    return 0;
}

CU_API CUresult cuLinkAddData_v2(CUlinkState l, int type, const void *data, size_t bytes,
                                 const char *name, unsigned n, int *options, void **values)
{
    if (!cu_is(l, KIND_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!data || !bytes || bytes > GPU_IMAGE)
        return CUDA_ERROR_INVALID_VALUE;
    if (type < INPUT_CUBIN || type > INPUT_FATBINARY || l->image)
        return CUDA_ERROR_NOT_SUPPORTED;
    l->image = malloc(bytes + 1);
    if (!l->image)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(l->image, data, bytes);
    l->image[bytes] = 0;
    l->bytes = bytes;
    return 0;
}

CU_API CUresult cuLinkAddFile_v2(CUlinkState l, int type, const char *path, unsigned n,
                                 int *options, void **values)
{
    int rc = CUDA_ERROR_FILE_NOT_FOUND;

    if (!cu_is(l, KIND_LINK) || !path)
        return path ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    FILE *f = fopen(path, "re");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    char *data = size > 0 && size <= (long)GPU_IMAGE ? malloc((size_t)size) : NULL;
    if (f && !data)
        rc = CUDA_ERROR_INVALID_IMAGE;
    if (data) {
        rewind(f);
        rc = fread(data, 1, (size_t)size, f) == (size_t)size
                 ? cuLinkAddData_v2(l, type, data, (size_t)size, path, n, options, values)
                 : CUDA_ERROR_INVALID_IMAGE;
    }
    free(data);
    if (f)
        fclose(f);
    return rc;
}

/* The image stays the linker's. */
CU_API CUresult cuLinkComplete(CUlinkState l, void **image, size_t *bytes)
{
    if (!cu_is(l, KIND_LINK) || !image)
        return image ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    if (!l->image)
        return CUDA_ERROR_INVALID_IMAGE;
    *image = l->image;
    if (bytes)
        *bytes = l->bytes;
    return 0;
}

CU_API CUresult cuLinkDestroy(CUlinkState l)
{
    if (!cu_is(l, KIND_LINK))
        return CUDA_ERROR_INVALID_HANDLE;
    l->o.kind = 0;
    free(l->image);
    free(l);
    return 0;
}
