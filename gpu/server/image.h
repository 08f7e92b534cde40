/*
 * gpu/server/image: what moves from one worker to another: all sessions, as a file.
 *
 * A head, items, and an item that ends them with a sum of all before it. Most items are records of
 * the ring that make an object again, so that the same checks judge both. What is in an item is
 * copied before it is looked at, and whoever wrote the file is not believed. Numbers are little
 * endian; all is at multiples of 8 bytes. One thread at a time.
 */
#ifndef GPU_SERVER_IMAGE_H
#define GPU_SERVER_IMAGE_H

#include "base/base.h"

#define IMAGE_MAGIC UINT64_C(0x3145564f4d555047)

enum { IMAGE_VERSION = 2, IMAGE_ITEM_MOST = 1 << 21, IMAGE_CHUNK = 1 << 16 };

struct image_head {
    uint64_t magic;
    uint32_t version, channels;
    uint64_t used; /* of the quota */
    char backend[16];
};

enum image_kind {
    IMAGE_SESSION = 1, /* struct image_session: what follows is of this channel, until */
    IMAGE_SESSION_END,
    IMAGE_RECORD,  /* a record of the ring */
    IMAGE_MODULE,  /* struct image_module, and its places: of the image that came before */
    IMAGE_ALLOC,   /* struct image_alloc */
    IMAGE_DATA,    /* struct image_data, and its bytes */
    IMAGE_EVENT,   /* struct image_event */
    IMAGE_PRINTED, /* uint64_t: the context; and text */
    IMAGE_ERROR,   /* struct image_error */
    IMAGE_END,     /* uint64_t: the sum */
};

struct image_item {
    uint32_t kind, bytes; /* without zeros up to a multiple of 8 */
};

struct image_session {
    uint32_t channel, open;  /* the number of the program that has the channel; 0 */
    uint32_t calls, answers; /* counters of the rings */
    uint32_t there;          /* 0: nothing follows */
    uint32_t greeted, late;
    uint32_t major, minor; /* compute capability of the device that the program was told of */
    uint32_t reserved;
};

struct image_module {
    uint64_t context, module;
    uint32_t places, blocks; /* of struct gpu_place, behind this */
    uint32_t uses, reserved; /* bits of GPU_USES_* */
};

struct image_alloc {
    uint64_t context, address, bytes;
};

struct image_data {
    uint64_t context, address, bytes;
    uint32_t zero, reserved; /* 1: no bytes follow, which are zeros */
};

struct image_event {
    uint64_t event, ns;
};

struct image_error {
    uint64_t context;
    uint32_t result, reserved;
};

struct image {
    int fd;
    uint64_t sum;
    uint8_t *buffer; /* of IMAGE_CHUNK; the reader's of an item */
    size_t have;     /* in the buffer, to be written */
    int error;       /* an errno that came; then nothing is written */
    uint64_t most, written; /* bytes of the file: what the writer may make of it, 0: any number */
};

/* Of the file FD, the caller's, at its start. */
void image_init(struct image *image, int fd);
/* Takes one that was zeroed or init. */
void image_clear(struct image *image);

void image_begin(struct image *image, const struct image_head *head);
/* An item of HEAD, HEAD_BYTES, and BODY, BODY_BYTES, together at most IMAGE_ITEM_MOST. */
void image_put(struct image *image, enum image_kind kind, const void *head, size_t head_bytes,
               const void *body, size_t body_bytes);
/* False with VMD_ERROR_IO where something could not be written, VMD_ERROR_LIMIT where all would be
 * more than MOST. */
bool image_written(const struct image *image, GError **err);
/* Writes the end; false as image_written(). */
bool image_finish(struct image *image, GError **err);

/* Judges the whole file, and is then behind the head. VMD_ERROR_INVALID: it is none, of another
 * version, or damaged. */
bool image_open(struct image *image, struct image_head *head, GError **err);
/* The next item: its payload of ITEM->bytes is the image's until the next call. False: none. */
bool image_next(struct image *image, struct image_item *item, const uint8_t **payload);

#endif
