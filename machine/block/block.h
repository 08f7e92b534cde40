/*
 * machine/block: disk images (raw and qcow2) as asynchronous block storage.
 *
 * A struct block is one image opened on one libuv loop. Requests are submitted on that loop's
 * thread, run on the image's own worker threads (several at once, in no promised order) and end in
 * a callback on the loop's thread. What a completed FLUSH covers is on stable storage: every
 * request that had completed before the FLUSH was submitted.
 *
 * After a crash of this process or of the host an image holds everything that was flushed; what was
 * completed later may be there or not, sector by sector. A qcow2 image may then have leaked
 * clusters, never wrong ones.
 *
 * Threads: everything here is for the loop's thread, except block_wait_idle() and what says so.
 */
#ifndef MACHINE_BLOCK_BLOCK_H
#define MACHINE_BLOCK_BLOCK_H

#include "base/base.h"

#include <sys/uio.h>
#include <uv.h>

/* Requests are in units of this many bytes, whatever lies below. */
#define BLOCK_SECTOR 512u

enum block_format {
    BLOCK_FORMAT_AUTO, /* look at the image: see block_probe() */
    BLOCK_FORMAT_RAW,
    BLOCK_FORMAT_QCOW2,
};

/* "auto", "raw", "qcow2". */
const char *block_format_name(enum block_format format);
/* The format of that name into OUT; VMD_ERROR_UNSUPPORTED for any other name. */
bool block_format_parse(const char *name, enum block_format *out, GError **err);

/*
 * Finds the format of the image at PATH by its first bytes: qcow2 where its magic is there, else
 * raw. Any thread.
 *
 * Probe an image once, when it is given to a VM, and keep the answer: a guest can write the header
 * of a qcow2 image, with a backing file of its choice, at the start of its raw disk, and a second
 * probe would believe it.
 */
bool block_probe(const char *path, enum block_format *out, GError **err);

/*
 * Files that somebody with more rights opened: FDS[i] is PATHS[i], as block_files() names them, opened as
 * block_file_open_fd() does. Borrowed.
 */
struct block_given {
    const char *const *paths;
    const int *fds;
    unsigned n;
};

/* Opens PATH if it is a regular file or a block device. -1 with an error on failure. */
int block_file_open_fd(const char *path, bool readonly, GError **err);

/*
 * Adds to OUT the paths of the files that the image at PATH is made of (copies; its own first, then
 * those behind it), by opening them as block_open() would and closing them again; with its errors. For a
 * process that will not be able to open others later. Starts no thread.
 */
bool block_files(const char *path, enum block_format format, bool readonly, GPtrArray *out,
                 GError **err);

/* What an image can do, fixed while it is open. Sizes in bytes. */
struct block_geometry {
    uint64_t size;              /* a multiple of BLOCK_SECTOR */
    uint32_t logical_block;     /* requests not so aligned still work, but cost more */
    uint32_t physical_block;    /* best alignment of writes */
    uint32_t discard_alignment; /* discards of less than this free nothing */
    bool readonly;
    bool discard;      /* DISCARD gives storage back */
    bool write_zeroes; /* WRITE_ZEROES is cheaper than a WRITE of zeroes */
};

struct block; /* one open image with its workers; made by block_open(), ended by block_close() */

/*
 * Opens the image at PATH for requests on LOOP. It is locked: one writer, or any number of readers,
 * also against QEMU's tools; an error names the process that holds it. The images behind a qcow2
 * image are opened and locked read-only.
 *
 * FORMAT should be the stored answer of block_probe(). With BLOCK_FORMAT_AUTO and an image that
 * looks raw, writes that would make it look like another format are refused with -EPERM.
 *
 * GIVEN are the files to use where PATH or one behind it is among them; may be NULL.
 *
 * Returns NULL with VMD_ERROR_NOT_FOUND, _DENIED, _BUSY (locked), _INVALID (a malformed or corrupt
 * image), _UNSUPPORTED (a feature we do not have), _LIMIT or _IO. Blocks for a few reads.
 */
struct block *block_open(const char *path, enum block_format format, bool readonly, uv_loop_t *loop,
                         const struct block_given *given, GError **err);

/* But for its size, which block_grow() changes while others look. */
const struct block_geometry *block_geometry(const struct block *b);
/* Bytes that it has now. Any thread. */
uint64_t block_size(const struct block *b);
/* Never BLOCK_FORMAT_AUTO. */
enum block_format block_format(const struct block *b);
const char *block_path(const struct block *b);

enum block_kind {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,      /* contents become undefined; storage may be given back */
    BLOCK_WRITE_ZEROES, /* reads as zeroes afterwards */
    BLOCK_KINDS
};

enum block_flags {
    BLOCK_UNMAP = 1 << 0, /* WRITE_ZEROES may give storage back */
    BLOCK_FUA = 1 << 1,   /* WRITE, WRITE_ZEROES and DISCARD: flushed when completed */
};

/*
 * A request. The caller owns it and all it points to (the iovecs and the memory behind them) and
 * leaves them alone until DONE is called; DONE may free or reuse it. One DISCARD or WRITE_ZEROES
 * may span the whole disk; a READ or WRITE is as long as its iovecs.
 */
struct block_req {
    enum block_kind kind;
    unsigned flags;          /* enum block_flags */
    uint64_t offset;         /* bytes, a multiple of BLOCK_SECTOR; ignored for FLUSH */
    uint64_t length;         /* bytes, a multiple of BLOCK_SECTOR; ignored for FLUSH */
    const struct iovec *iov; /* READ and WRITE: IOVCNT pieces, LENGTH bytes in all */
    unsigned iovcnt;
    /* STATUS is 0 or -errno: -EINVAL (beyond the end, misaligned), -EROFS, -ENOSPC, -EIO... After
     * an error a READ's memory and a WRITE's sectors hold anything. */
    void (*done)(struct block_req *req, int status);
    void *opaque; /* the caller's */

    /* Used by the block layer while the request is under way. */
    struct block_req *next;
    struct block *block;
    int status;
};

/*
 * Starts REQ. Returns 0, and DONE is called later, always from the loop and never from within this
 * call, with the request's fate (bad arguments included); or -EAGAIN, when LIMIT_BLOCK_INFLIGHT
 * requests are under way: try again after one has completed. DONE may submit.
 */
int block_submit(struct block *b, struct block_req *req);

/*
 * Begins to give the image SIZE bytes, a multiple of BLOCK_SECTOR and not less than it has; what is new reads as
 * zeroes. What was written is flushed before that, beside other requests; these wait while the size changes. Returns 0,
 * and GROWN is called later from the loop: with 0, when block_size() tells the new size and it is on stable storage, or with -ENOSPC (a block device is smaller), -ENOTSUP (a qcow2
 * image that has snapshots, or whose L1 table has no room), or what the host failed with; the size is then what it
 * was. Else there is no call: -EINVAL (no such SIZE, or less than there is), -EROFS, or -EBUSY (it is under way).
 */
int block_grow(struct block *b, uint64_t size, void (*grown)(void *opaque, int status),
               void *opaque);

/* Requests under way: submitted, DONE not yet called. */
unsigned block_inflight(const struct block *b);

/*
 * Calls DRAINED from the loop once no request is under way. New requests may still be submitted and
 * are waited for as well. Several drains may wait at once.
 */
void block_drain(struct block *b, void (*drained)(void *opaque), void *opaque);

/*
 * Any thread: waits until no worker touches the memory of any request submitted before. Completions
 * still come by the loop afterwards. For a device's reset, which must not return while requests can
 * write into guest memory; nobody may be submitting meanwhile.
 */
void block_wait_idle(struct block *b);

/*
 * Drains, flushes (when the image is writable), unlocks, closes and frees B, then calls CLOSED from
 * the loop with 0 or the -errno of that last flush. No request may be submitted from here on.
 * CLOSED may be NULL.
 */
void block_close(struct block *b, void (*closed)(void *opaque, int status), void *opaque);

/*
 * Why the image turned out to be damaged since it was opened, a line for a person, or NULL. From then
 * on what needs the damaged part fails with -EIO, and so does all writing. Valid while B is open.
 */
const char *block_fault(const struct block *b);

/* What its owner should know of how the image was found or mended when it was opened, a line for a person,
 * or NULL. Valid while B is open. */
const char *block_notice(const struct block *b);

/* Counts since block_open(), for statistics. */
struct block_stats {
    struct {
        uint64_t requests, bytes, errors; /* completed, of them failed */
    } kind[BLOCK_KINDS];
};
void block_stats(const struct block *b, struct block_stats *out);

#endif
