/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Limits and preferences of contexts, and what kernels print. See cuda.h. */
#include "guest/cuda/cuda.h"

#include <stdio.h>

/* --- prints ----------------------------------------------------------------------------------- */

/* Where a program's own printf() writes, so that both are in order. */
void cu_prints_of(const struct cu_context *c)
{
    const struct gpu_call_printed call = {.ctx = c->o.id};
    struct gpu_answer_printed answer;
    char text[GPU_INLINE];

    do {
        struct channel_data data = {.answer = &answer, .out = text, .out_most = sizeof(text)};
        if (channel_call(c->o.channel, GPU_OP_PRINTED, &call, &data) || !data.out_bytes)
            return;
        fwrite(text, 1, data.out_bytes, stdout);
    } while (answer.left);
    fflush(stdout);
}

void cu_prints(struct channel *channel)
{
    if (!channel_printed(channel))
        return;
    pthread_mutex_lock(&cu.lock);
    struct cu_context *c = cu.contexts;
    pthread_mutex_unlock(&cu.lock);
    for (; c; c = c->next) {
        if (cu_is(c, KIND_CONTEXT) && c->o.channel == channel)
            cu_prints_of(c);
    }
}

/* --- limits ----------------------------------------------------------------------------------- */

static int limit(unsigned which, bool set, size_t *value)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);
    struct gpu_answer_limit answer;

    if (!c)
        return rc;
    if (which > 255)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    const struct gpu_call_limit call = {
        .ctx = c->o.id, .value = *value, .limit = which, .set = set};
    rc = cu_call(c->o.channel, GPU_OP_LIMIT, &call, &answer);
    if (!rc)
        *value = answer.value;
    return rc;
}

CU_API CUresult cuCtxSetLimit(int which, size_t value)
{
    return limit((unsigned)which, true, &value);
}

CU_API CUresult cuCtxGetLimit(size_t *value, int which)
{
    size_t got = 0;
    int rc = value ? limit((unsigned)which, false, &got) : CUDA_ERROR_INVALID_VALUE;

    if (!rc)
        *value = got;
    return rc;
}

/* --- preferences: they are kept, and change nothing ------------------------------------------- */

static int preference(unsigned *to, unsigned value, unsigned most)
{
    if (value > most)
        return CUDA_ERROR_INVALID_VALUE;
    *to = value;
    return 0;
}

static int tell(unsigned *to, unsigned value)
{
    if (!to)
        return CUDA_ERROR_INVALID_VALUE;
    *to = value;
    return 0;
}

CU_API CUresult cuCtxSetCacheConfig(unsigned config)
{
    int rc;
    struct cu_context *c = cu_need(&rc);

    return c ? preference(&c->cache_config, config, 3) : rc;
}

CU_API CUresult cuCtxGetCacheConfig(unsigned *config)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);

    return c ? tell(config, c->cache_config) : rc;
}

CU_API CUresult cuCtxSetSharedMemConfig(unsigned config)
{
    int rc;
    struct cu_context *c = cu_need(&rc);

    return c ? preference(&c->shared_config, config, 2) : rc;
}

CU_API CUresult cuCtxGetSharedMemConfig(unsigned *config)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);

    return c ? tell(config, c->shared_config) : rc;
}

/* There is no such cache to reset. */
CU_API CUresult cuCtxResetPersistingL2Cache(void)
{
    int rc;

    cu_need(&rc);
    return rc;
}
