/* GError's in one domain, and how errno values map to its kinds. */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>

/* As G_DEFINE_QUARK() would make it, but for threads that ask for the first time at once. */
GQuark vmd_error_quark(void)
{
    static GQuark quark;
    GQuark q = __atomic_load_n(&quark, __ATOMIC_ACQUIRE);

    if (!q) {
        q = g_quark_from_static_string("vmd-error-quark");
        __atomic_store_n(&quark, q, __ATOMIC_RELEASE);
    }
    return q;
}

static const char *const names[] = {
    [VMD_ERROR_INTERNAL] = "internal",       [VMD_ERROR_INVALID] = "invalid",
    [VMD_ERROR_NOT_FOUND] = "not-found",     [VMD_ERROR_EXISTS] = "exists",
    [VMD_ERROR_STATE] = "state",             [VMD_ERROR_DENIED] = "denied",
    [VMD_ERROR_UNSUPPORTED] = "unsupported", [VMD_ERROR_LIMIT] = "limit",
    [VMD_ERROR_BUSY] = "busy",               [VMD_ERROR_TIMEOUT] = "timeout",
    [VMD_ERROR_IO] = "io",                   [VMD_ERROR_GONE] = "gone",
};

const char *vmd_error_name(enum vmd_error code)
{
    return (unsigned)code < G_N_ELEMENTS(names) ? names[code] : "internal";
}

enum vmd_error vmd_error_named(const char *name)
{
    for (unsigned i = 0; name && i < G_N_ELEMENTS(names); i++) {
        if (strcmp(names[i], name) == 0)
            return (enum vmd_error)i;
    }
    return VMD_ERROR_INTERNAL;
}

static enum vmd_error kind_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ESRCH:
        return VMD_ERROR_NOT_FOUND;
    case EEXIST:
        return VMD_ERROR_EXISTS;
    case EACCES:
    case EPERM:
        return VMD_ERROR_DENIED;
    case EBUSY:
    case EAGAIN:
        return VMD_ERROR_BUSY;
    case EINVAL:
        return VMD_ERROR_INVALID;
    case ENOTSUP:
    case ENOSYS:
        return VMD_ERROR_UNSUPPORTED;
    case ETIMEDOUT:
        return VMD_ERROR_TIMEOUT;
    case EPIPE:
    case ECONNRESET:
        return VMD_ERROR_GONE;
    default:
        return VMD_ERROR_IO;
    }
}

bool vmd_set_errno(GError **err, int errnum, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(err, VMD_ERROR, kind_of_errno(errnum), "%s: %s", text, g_strerror(errnum));
    return false;
}

bool vmd_fail(GError **err, enum vmd_error code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (err)
        *err = g_error_new_valist(VMD_ERROR, code, fmt, ap);
    va_end(ap);
    return false;
}
