/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Values in memory that streams wait for and write. See cuda.h. */
#include "guest/cuda/capture.h"

/* Of the API's operations in a batch: each has 48 bytes. */
struct mem_op {
    unsigned operation;
    char pad[4];
    CUdeviceptr address;
    uint64_t value;
    unsigned flags;
    char rest[20];
};

_Static_assert(sizeof(struct mem_op) == 48, "as programs have it");

enum { WAIT_32 = 1, WRITE_32 = 2, FLUSH = 3, WAIT_64 = 4, WRITE_64 = 5, BARRIER = 6 };

enum { WAIT_FLUSH = 1 << 30, WRITE_NO_BARRIER = 1 };

int cu_value_post(const struct cu_where *w, const struct cu_value *v)
{
    if (v->write) {
        const struct gpu_call_value_write call = {
            .stream = w->id, .address = v->address, .value = v->value, .bytes = v->bytes};
        return cu_post(w, GPU_OP_VALUE_WRITE, &call, NULL, 0);
    }
    const struct gpu_call_value_wait call = {.stream = w->id,
                                             .address = v->address,
                                             .value = v->value,
                                             .compare = v->compare,
                                             .bytes = v->bytes};
    return cu_post(w, GPU_OP_VALUE_WAIT, &call, NULL, 0);
}

static int value(CUstream stream, struct cu_value v)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || v.address % v.bytes)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (w.capture) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP, .value = v};
        return cu_capture(&w, &node);
    }
    return cu_value_post(&w, &v);
}

static int value_wait(CUstream s, CUdeviceptr at, uint64_t number, unsigned flags, unsigned bytes)
{
    if (flags & ~(unsigned)WAIT_FLUSH & ~3u)
        return CUDA_ERROR_INVALID_VALUE;
    return value(
        s, (struct cu_value){.address = at, .value = number, .compare = flags & 3, .bytes = bytes});
}

static int value_write(CUstream s, CUdeviceptr at, uint64_t number, unsigned flags, unsigned bytes)
{
    if (flags > WRITE_NO_BARRIER)
        return CUDA_ERROR_INVALID_VALUE;
    return value(s,
                 (struct cu_value){.write = true, .address = at, .value = number, .bytes = bytes});
}

CU_API CUresult cuStreamWaitValue32_v2(CUstream s, CUdeviceptr at, uint32_t v, unsigned flags)
{
    return value_wait(s, at, v, flags, 4);
}

CU_API CUresult cuStreamWaitValue64_v2(CUstream s, CUdeviceptr at, uint64_t v, unsigned flags)
{
    return value_wait(s, at, v, flags, 8);
}

CU_API CUresult cuStreamWriteValue32_v2(CUstream s, CUdeviceptr at, uint32_t v, unsigned flags)
{
    return value_write(s, at, v, flags, 4);
}

CU_API CUresult cuStreamWriteValue64_v2(CUstream s, CUdeviceptr at, uint64_t v, unsigned flags)
{
    return value_write(s, at, v, flags, 8);
}

static int mem_op(CUstream s, const struct mem_op *op)
{
    switch (op->operation) {
    case WAIT_32:
        return value_wait(s, op->address, (uint32_t)op->value, op->flags, 4);
    case WAIT_64:
        return value_wait(s, op->address, op->value, op->flags, 8);
    case WRITE_32:
        return value_write(s, op->address, (uint32_t)op->value, op->flags, 4);
    case WRITE_64:
        return value_write(s, op->address, op->value, op->flags, 8);
    case FLUSH:
    case BARRIER:
        return 0; /* what a stream does is in order, and seen by what follows */
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CU_API CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned n, const struct mem_op *ops,
                                      unsigned flags)
{
    int rc = (n && !ops) || n > 256 || flags ? CUDA_ERROR_INVALID_VALUE : 0;

    for (unsigned i = 0; !rc && i < n; i++)
        rc = mem_op(stream, &ops[i]);
    return rc;
}
