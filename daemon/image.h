/*
 * daemon/image: image files of disks from outside: how large they are, and new ones without content. What is
 * in one the daemon does not read, but for its size. Any thread.
 */
#ifndef DAEMON_IMAGE_H
#define DAEMON_IMAGE_H

#include "base/base.h"

struct image_sizes {
    uint64_t capacity;   /* bytes that a guest sees */
    uint64_t allocation; /* bytes that it takes on the host */
    uint64_t physical;   /* where it ends */
};

/* Of the file or block device PATH. False with ERR: it cannot be opened, or is no qcow2 image. */
bool image_measure(const char *path, bool qcow2, struct image_sizes *out, GError **err);
/* Whether PATH begins as a qcow2 image does. */
bool image_is_qcow2(const char *path);

/*
 * Makes PATH, which must not be there yet, for CAPACITY bytes. A qcow2 image may lie over BACKING (NULL:
 * none), an image that is qcow2 where BACKING_QCOW2, else raw. FULL: all of a raw image is taken at once.
 * False with ERR, and nothing is left.
 */
bool image_create(const char *path, bool qcow2, uint64_t capacity, const char *backing,
                  bool backing_qcow2, bool full, GError **err);

/* Gives the image PATH, which nobody has open, CAPACITY bytes. False with VMD_ERROR_UNSUPPORTED for a qcow2
 * image that is to shrink, has snapshots, or whose table has no room. */
bool image_resize(const char *path, bool qcow2, uint64_t capacity, GError **err);

/* Copies FROM to TO, which must not be there yet; takes as long as that takes. */
bool image_copy(const char *from, const char *to, GError **err);

#endif
