/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/code/bundle: the images of one program for several GPUs, as clang's offload bundler writes
 * them, and which of them is for a device. Nothing here needs more than the C library: guests
 * compile it, too.
 *
 * A target is named as LLVM's AMDGPU usage guide has it ("Target ID"): a processor, and features
 * that are on or off, "gfx90a:sramecc+:xnack-"; of an image a feature that is left out may be
 * either.
 */
#ifndef GPU_CODE_BUNDLE_H
#define GPU_CODE_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUNDLE_MAGIC  "__CLANG_OFFLOAD_BUNDLE__"
#define BUNDLE_PACKED "CCOB" /* a bundle that is compressed */

enum {
    BUNDLE_WRAPPER = 0x48495046, /* "HIPF": what programs hand over points to a bundle */
    BUNDLE_ENTRIES = 1024,       /* more than there are kinds of GPU */
    BUNDLE_ID = 256,             /* bytes of an entry's name */
    TARGET_BYTES = 64,           /* of a target's name, with its 0 */
};

/*
 * How well an image for the target IMAGE, which need not end in a 0, runs on DEVICE: 0 not at all;
 * of two that do, the higher is the nearer one.
 */
int target_match(const char *image, size_t length, const char *device);

/* Whether LENGTH bytes at AT begin as a bundle does. */
bool bundle_is(const void *at, size_t length);

enum bundle_result {
    BUNDLE_FOUND,
    BUNDLE_BROKEN, /* its sizes are not those of a bundle */
    BUNDLE_NONE,   /* no image for that device */
};

/* Finds the image for DEVICE in the bundle of LENGTH bytes at AT. OFFSET and BYTES are within it.
 */
enum bundle_result bundle_find(const void *at, size_t length, const char *device, size_t *offset,
                               size_t *bytes);

#endif
