/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Rows on their way between the host and the device, in pieces. See cuda.h. */
#include "guest/cuda/managed.h"

#include <stdlib.h>
#include <string.h>

enum { SMALL = 4096 /* copied in the record itself */ };

/* One piece on its way. A thread that waits has COUNT of those that are not over, and their first
 * error. */
struct piece {
    struct channel *channel;
    struct copying *copying; /* NULL: nobody waits */
    uint64_t window, taken;  /* TAKEN 0: in the record */
    char *to;                /* of a copy to the host */
    size_t pitch, width, height;
    bool written; /* it counts as one that writes to the host */
};

struct copying {
    unsigned count;
    int result;
    bool over;
};

/* Rows without gaps to rows PITCH apart. What is shared is read in one go, from where it is
 * aligned. */
static int unpack(const struct piece *p, const char *payload)
{
    size_t bytes = p->width * p->height;
    char *copied = p->taken && p->height > 1 ? malloc(bytes) : NULL;

    if (p->taken && p->height > 1 && !copied)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (p->taken)
        ring_copy_out(copied ? copied : p->to, channel_window(p->channel, p->window), bytes);
    for (size_t row = 0; row < p->height && (copied || !p->taken); row++)
        memcpy(p->to + row * p->pitch, (copied ? copied : payload) + row * p->width, p->width);
    free(copied);
    /* What is read of a window that went meanwhile is not the host's. */
    return p->taken && !channel_there(p->channel) ? CUDA_ERROR_CONTEXT_IS_DESTROYED : 0;
}

static void piece_over(void *opaque, int result, const void *payload, uint32_t bytes)
{
    struct piece *p = opaque;

    if (!result && p->to)
        result = p->taken || bytes >= p->width * p->height ? unpack(p, payload)
                                                           : CUDA_ERROR_INVALID_VALUE;
    if (p->taken && result != CUDA_ERROR_CONTEXT_IS_DESTROYED)
        channel_give(p->channel, p->window, p->taken);
    if (p->written)
        cu_writer(-1);
    if (!p->copying && result)
        channel_fail(p->channel, result);
    if (p->copying) {
        if (result)
            __atomic_store_n(&p->copying->result, result, __ATOMIC_RELAXED);
        if (__atomic_sub_fetch(&p->copying->count, 1, __ATOMIC_ACQ_REL) == 0)
            __atomic_store_n(&p->copying->over, true, __ATOMIC_RELEASE);
    }
    free(p);
}

/* Rows of WIDTH go in pieces of whole rows, or of one row's part. */
struct rows {
    size_t width, height; /* of the piece */
};

static struct rows next_piece(size_t width, size_t height, size_t most)
{
    if (width > most)
        return (struct rows){most, 1};
    return (struct rows){width, most / width < height ? most / width : height};
}

/* Takes a piece of the window, or says how much fits into a record. The size to copy. */
static struct rows place(struct piece *p, size_t width, size_t height)
{
    uint64_t bytes = (uint64_t)width * height, got = 0;

    if (bytes > SMALL && channel_take(p->channel, bytes, &p->window, &got)) {
        struct rows rows = next_piece(width, height, got);
        p->taken = got;
        rows.width = rows.height > 1 || rows.width == width ? rows.width : rows.width & ~(size_t)7;
        return rows;
    }
    p->taken = 0;
    p->window = GPU_NO_WINDOW;
    return next_piece(width, height, GPU_INLINE);
}

static int piece_ask(const struct cu_where *w, unsigned op, const void *call, const void *payload,
                     uint32_t bytes, struct piece *p)
{
    cu_posting(w, 1);
    int rc = 0;
    bool due = cu_managed_ask(w, &rc);

    if (!rc)
        rc = channel_begin(w->channel, op, call, payload, bytes, piece_over, p);
    cu_managed_asked(due);
    return rc;
}

static int piece_to_device(const struct cu_where *w, struct piece *p, CUdeviceptr to,
                           size_t to_pitch, const char *from, size_t from_pitch, struct rows rows)
{
    const struct gpu_call_to_device call = {.stream = w->id,
                                            .address = to,
                                            .pitch = to_pitch,
                                            .width = rows.width,
                                            .height = rows.height,
                                            .window = p->window};
    size_t bytes = rows.width * rows.height;
    char *packed = rows.height > 1 ? malloc(bytes) : NULL;

    if (rows.height > 1 && !packed)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t row = 0; packed && row < rows.height; row++)
        memcpy(packed + row * rows.width, from + row * from_pitch, rows.width);
    if (p->taken)
        ring_copy_in(channel_window(p->channel, p->window), packed ? packed : from, bytes);
    int rc = piece_ask(w, GPU_OP_TO_DEVICE, &call, packed ? packed : from,
                       p->taken ? 0 : (uint32_t)bytes, p);
    free(packed);
    return rc;
}

static int piece_from_device(const struct cu_where *w, struct piece *p, CUdeviceptr from,
                             size_t from_pitch, char *to, size_t to_pitch, struct rows rows)
{
    const struct gpu_call_from_device call = {.stream = w->id,
                                              .address = from,
                                              .pitch = from_pitch,
                                              .width = rows.width,
                                              .height = rows.height,
                                              .window = p->window};

    p->to = to;
    p->pitch = to_pitch;
    p->width = rows.width;
    p->height = rows.height;
    p->written = true;
    cu_writer(1);
    return piece_ask(w, GPU_OP_FROM_DEVICE, &call, NULL, 0, p);
}

/* Copies rows in pieces; HOST's rows are HOST_PITCH apart. */
static int copy_rows(const struct cu_where *w, bool to_device, CUdeviceptr address, size_t pitch,
                     char *host, size_t host_pitch, size_t width, size_t height, bool wait)
{
    struct copying copying = {.count = 1};
    int rc = 0;

    for (size_t row = 0; row < height && !rc;) {
        struct rows rows = {0, 0};
        for (size_t x = 0; x < width && !rc; x += rows.width) {
            struct piece *p = calloc(1, sizeof(*p));
            if (!p) {
                rc = CUDA_ERROR_OUT_OF_MEMORY;
                break;
            }
            p->channel = w->channel;
            p->copying = wait ? &copying : NULL;
            rows = place(p, width - x, x ? 1 : height - row);
            if (wait)
                __atomic_add_fetch(&copying.count, 1, __ATOMIC_RELAXED);
            uint64_t offset = row * pitch + x;
            char *at = host + row * host_pitch + x;
            rc = to_device ? piece_to_device(w, p, address + offset, pitch, at, host_pitch, rows)
                           : piece_from_device(w, p, address + offset, pitch, at, host_pitch, rows);
            if (rc)
                piece_over(p, rc, NULL, 0);
        }
        row += rows.height ? rows.height : 1;
    }
    if (!wait)
        return rc;
    if (__atomic_sub_fetch(&copying.count, 1, __ATOMIC_ACQ_REL))
        channel_wait(w->channel, &copying.over);
    return rc ? rc : copying.result;
}

int cu_to_device(const struct cu_where *w, CUdeviceptr to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, size_t height, bool wait)
{
    return copy_rows(w, true, to, to_pitch, (char *)from, from_pitch, width, height, wait);
}

int cu_from_device(const struct cu_where *w, void *to, size_t to_pitch, CUdeviceptr from,
                   size_t from_pitch, size_t width, size_t height, bool wait)
{
    return copy_rows(w, false, from, from_pitch, to, to_pitch, width, height, wait);
}

int cu_on_device(const struct cu_where *w, CUdeviceptr to, size_t to_pitch, CUdeviceptr from,
                 size_t from_pitch, size_t width, size_t height)
{
    const struct gpu_call_on_device call = {.stream = w->id,
                                            .to = to,
                                            .to_pitch = to_pitch,
                                            .from = from,
                                            .from_pitch = from_pitch,
                                            .width = width,
                                            .height = height};

    return cu_post(w, GPU_OP_ON_DEVICE, &call, NULL, 0);
}
