/*
 * daemon/image: image files of disks from outside: how large they are, new ones without content, copies, other
 * sizes. What is in one the daemon does not read, but for its header. Any thread.
 *
 * A volume is a regular file by its own name, no link to one. What changes or reads one's content locks it as
 * the VM that has it does (base/imagelock.h), alone or in a chain of backing files: VMD_ERROR_BUSY says who is
 * in the way.
 */
#ifndef DAEMON_IMAGE_H
#define DAEMON_IMAGE_H

#include "base/base.h"

struct image_sizes {
    uint64_t capacity;   /* bytes that a guest sees */
    uint64_t allocation; /* bytes that it takes on the host */
    uint64_t physical;   /* where it ends */
};

/* Of the file or block device PATH, also by a link. False with ERR: it cannot be opened, or is no qcow2
 * image. */
bool image_measure(const char *path, bool qcow2, struct image_sizes *out, GError **err);

/* Whether an image may have CAPACITY bytes; VMD_ERROR_LIMIT. */
bool image_check_capacity(uint64_t capacity, GError **err);

/* N bytes at OFFSET of the image or block device PATH, by a link too; with CHECK VMD_ERROR_UNSUPPORTED where it looks like
 * a qcow2 image. VMD_ERROR_INVALID: it ends before; its last sector is whole, as for its guest. May block. */
bool image_peek(const char *path, bool check, uint64_t offset, void *to, size_t n, GError **err);

struct image_state {
    struct image_sizes sizes;
    bool qcow2; /* it begins as a qcow2 image does; else it is raw */
    uint32_t mode, uid, gid;
};

/* Of the volume PATH. */
bool image_look(const char *path, struct image_state *out, GError **err);

/* Opens the volume PATH and locks it. -1 with ERR. */
int image_open(const char *path, bool readonly, GError **err);

/* What is to be made. */
struct image_plan {
    const char *path; /* must not be there yet */
    uint64_t capacity;
    bool qcow2;
    uint64_t taken; /* of a raw image: so many bytes of storage from its beginning are taken at once */
    const char *backing; /* NULL: none; for a qcow2 image, an image to lie over */
    bool backing_qcow2;
};

/*
 * Both make an image under a name that is none of a volume's, and give it its own when it is whole. STOP (NULL:
 * never) is set by another thread, atomically, and ends them soon with VMD_ERROR_GONE. False with ERR, and
 * nothing is left.
 */
bool image_create(const struct image_plan *plan, const gint *stop, GError **err);
/* TO gets the content of the volume FROM, and CAPACITY bytes where that is more than FROM has. The copy is
 * qcow2 as FROM is: QCOW2 says what is wanted. */
bool image_copy(const char *from, const char *to, uint64_t capacity, bool qcow2, const gint *stop,
                GError **err);

enum { IMAGE_BY = 1 << 0, IMAGE_SHRINK = 1 << 1 };
/* Gives the volume PATH CAPACITY bytes; with IMAGE_BY so many more, or fewer with IMAGE_SHRINK, without which
 * none becomes smaller. False with VMD_ERROR_UNSUPPORTED for a qcow2 image that is to shrink, has snapshots, or
 * whose table has no room. */
bool image_resize(const char *path, uint64_t capacity, unsigned flags, GError **err);

/* Gives the image PATH of a disk, a regular file that may be named by a link, CAPACITY bytes, no fewer than it has.
 * With the errors of image_resize(). */
enum image_format { IMAGE_RAW, IMAGE_QCOW2, IMAGE_AS_IT_LOOKS };
bool image_grow(const char *path, enum image_format format, uint64_t capacity, GError **err);

/* Deletes the volume PATH. */
bool image_remove(const char *path, GError **err);

#endif
