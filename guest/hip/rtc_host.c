/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Sources that go to the host, and what comes of them. See rtc.h. */
#include "guest/hip/hip.h"
#include "guest/hip/rtc.h"

#include <stdlib.h>
#include <string.h>

enum { PART_MOST = 1 << 28 /* bytes of one part that are believed */ };

/* The host has no more of one program at once: others wait here. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static unsigned compiling;

static void begin_turn(void)
{
    pthread_mutex_lock(&lock);
    while (compiling >= GPU_COMPILES)
        pthread_cond_wait(&ended, &lock);
    compiling++;
    pthread_mutex_unlock(&lock);
}

static void end_turn(void)
{
    pthread_mutex_lock(&lock);
    compiling--;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
}

static hiprtcResult fail(struct rtc_bytes *parts, const char *log)
{
    free(parts[RTC_LOG].at);
    parts[RTC_LOG].at = strdup(log);
    parts[RTC_LOG].bytes = parts[RTC_LOG].at ? strlen(log) : 0;
    return HIPRTC_ERROR_INTERNAL_ERROR;
}

/* A call that failed, RC, as a result. */
static hiprtcResult failed(int rc, struct rtc_bytes *parts)
{
    if (rc == hipErrorOutOfMemory)
        return HIPRTC_ERROR_OUT_OF_MEMORY;
    return fail(parts, rc == hipErrorNotSupported ? "vmd on the host has no compiler\n"
                       : rc == hipErrorNoDevice   ? "there is no device to compile for\n"
                                                  : "the device's worker cannot be asked\n");
}

struct answer {
    struct gpu_answer_compile fields;
    int result;
    bool done;
};

static void answered(void *opaque, int result, const void *fields, uint32_t bytes)
{
    struct answer *a = opaque;

    if (!result && bytes >= sizeof(a->fields))
        memcpy(&a->fields, fields, sizeof(a->fields));
    a->result = !result && bytes < sizeof(a->fields) ? hipErrorNotSupported : result;
    __atomic_store_n(&a->done, true, __ATOMIC_RELEASE);
}

static int read_part(struct channel *c, uint64_t id, unsigned part, uint64_t bytes,
                     struct rtc_bytes *out)
{
    if (bytes > PART_MOST || !(out->at = calloc(1, bytes + 1)))
        return hipErrorOutOfMemory;
    while (out->bytes < bytes) {
        const struct gpu_call_compiled call = {.compile = id, .offset = out->bytes, .part = part};
        uint64_t left = bytes - out->bytes;
        struct channel_data data = {.out = out->at + out->bytes,
                                    .out_most = left < GPU_INLINE ? (uint32_t)left : GPU_INLINE};
        int rc = channel_call(c, GPU_OP_COMPILED, &call, &data);
        if (rc || !data.out_bytes)
            return rc ? rc : hipErrorInvalidHandle;
        out->bytes += data.out_bytes;
    }
    return 0;
}

static hiprtcResult ask(struct channel *c, const void *source, size_t bytes,
                        struct rtc_bytes *parts)
{
    const struct gpu_call_compile call = {.compile = cu_new_id(), .device = (uint32_t)hip_chosen()};
    const struct gpu_call_compile_free end = {.compile = call.compile};
    struct answer a = {.done = false};
    int rc = cu_image_begin(c, source, bytes, GPU_OP_COMPILE, &call, answered, &a);

    if (rc)
        return failed(rc, parts);
    channel_wait(c, &a.done);
    if (a.result)
        return failed(a.result, parts);
    const uint64_t sizes[RTC_PARTS] = {a.fields.log, a.fields.code, a.fields.names};
    for (unsigned i = 0; !rc && i < RTC_PARTS; i++)
        rc = read_part(c, call.compile, i, sizes[i], &parts[i]);
    cu_call(c, GPU_OP_COMPILE_FREE, &end, NULL);
    return rc ? failed(rc, parts) : (hiprtcResult)a.fields.result;
}

hiprtcResult rtc_compile(const struct gpu_source *s, struct rtc_bytes *parts)
{
    int rc = hip_begin();
    size_t bytes = gpu_source_bytes(s);
    void *source = rc || bytes > GPU_IMAGE ? NULL : malloc(bytes);

    if (rc)
        return failed(rc, parts);
    if (!source)
        return bytes > GPU_IMAGE ? fail(parts, "the source is too large\n")
                                 : HIPRTC_ERROR_OUT_OF_MEMORY;
    gpu_source_write(s, source);
    pthread_mutex_lock(&cu.lock);
    struct channel *c = cu.channel;
    pthread_mutex_unlock(&cu.lock);
    begin_turn();
    hiprtcResult result = ask(c, source, bytes, parts);
    end_turn();
    free(source);
    return result;
}
