/*
 * base: what every folder may use. Errors, cleanup, byte order, sizes.
 * Nothing here knows what a virtual machine is.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define ALIGN_UP(v, a)   (((v) + (a)-1) & ~((__typeof__(v))(a)-1))
#define ALIGN_DOWN(v, a) ((v) & ~((__typeof__(v))(a)-1))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/*
 * The kinds of error that reach a person or a client. proto/schema maps each to a JSON-RPC code
 * and vmctl maps each to an exit status, so a new kind is added in all three places.
 */
enum vmd_error {
    VMD_ERROR_INTERNAL,    /* our own bug or an unexplained failure of the host */
    VMD_ERROR_INVALID,     /* an argument, file or message is malformed */
    VMD_ERROR_NOT_FOUND,   /* no such VM, device, file, method */
    VMD_ERROR_EXISTS,      /* the name or the file is taken */
    VMD_ERROR_STATE,       /* right request, wrong state (start of a running VM) */
    VMD_ERROR_DENIED,      /* the caller may not */
    VMD_ERROR_UNSUPPORTED, /* understood and not offered */
    VMD_ERROR_LIMIT,       /* a limit of base/limits.inc was met */
    VMD_ERROR_BUSY,        /* in use by something else; may work later */
    VMD_ERROR_TIMEOUT,     /* nothing answered in the time allowed */
    VMD_ERROR_IO,          /* the host refused to read, write, open or connect */
    VMD_ERROR_GONE,        /* the other side (VM process, daemon, client) went away */
};

#define VMD_ERROR (vmd_error_quark())
GQuark vmd_error_quark(void);

/* The stable lower-case name of a kind ("not-found"), as the API and logs show it. */
const char *vmd_error_name(enum vmd_error code);
/* The kind of that name; VMD_ERROR_INTERNAL for a name that is none, or NULL. */
enum vmd_error vmd_error_named(const char *name);

/* Sets ERR from an errno value: "MESSAGE: strerror"; picks the kind from ERRNUM. Returns false. */
bool vmd_set_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Sets ERR and returns false, so that a caller can write "return vmd_fail(...)". */
bool vmd_fail(GError **err, enum vmd_error code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* --- cleanup ----------------------------------------------------------------------------- */

static inline void base__close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
/* A file descriptor that is closed at the end of its scope unless taken by steal_fd(). */
#define autofd __attribute__((cleanup(base__close_fd))) int

static inline int steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* --- sizes ------------------------------------------------------------------------------- */

/* What guest memory, on all machines, and disks, as guests see them, are multiples of. */
enum { MEMORY_GRAIN = 4096, DISK_SECTOR = 512 };

/*
 * Reads "512", "512K", "64MiB", "1G", "1.5g" (binary multiples, K to T, optional "B" or "iB") as
 * bytes into OUT. Returns false with VMD_ERROR_INVALID, OUT untouched, on anything else or on
 * overflow of 63 bits.
 */
bool size_parse(const char *text, uint64_t *out, GError **err);

/* "1.5 GiB", "512 MiB", "77 B"; the caller frees. */
char *size_format(uint64_t bytes);

/* --- limits ------------------------------------------------------------------------------ */

/* Every limit of base/limits.inc: LIMIT_<NAME> is its number. */
#define LIMIT(name, value, unit, doc) LIMIT_##name = (value),
enum { BASE__LIMITS_ANCHOR = 0,
#include "base/limits.inc"
};
#undef LIMIT

struct limit {
    const char *name; /* as in limits.inc */
    int64_t value;
    const char *unit;
    const char *doc;
};
/* The table behind the LIMIT_ names, for the API; N gets the number of rows. */
const struct limit *limits_table(size_t *n);

#endif
