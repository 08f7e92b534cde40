/* Which format an image has: by name, and by its first bytes. */
#include "machine/block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *const names[] = {
    [BLOCK_FORMAT_AUTO] = "auto",
    [BLOCK_FORMAT_RAW] = "raw",
    [BLOCK_FORMAT_QCOW2] = "qcow2",
};

const char *block_format_name(enum block_format format)
{
    g_assert((unsigned)format < G_N_ELEMENTS(names));
    return names[format];
}

bool block_format_parse(const char *name, enum block_format *out, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum block_format)i;
            return true;
        }
    }
    return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                    "disk image format '%s' is not supported: use raw or qcow2", name);
}

bool block_probe(const char *path, enum block_format *out, GError **err)
{
    static const char magic[4] = {'Q', 'F', 'I', (char)0xfb};
    char head[4] = {0};
    struct stat st;
    ssize_t n;
    /* Not blocking, as PATH may turn out to be a pipe. */
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &st) < 0)
        return vmd_set_errno(err, errno, "disk image %s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "disk image %s is neither a file nor a block device", path);
    do {
        n = pread(fd, head, sizeof(head), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return vmd_set_errno(err, errno, "reading disk image %s", path);
    *out = memcmp(head, magic, sizeof(magic)) == 0 ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
    return true;
}
