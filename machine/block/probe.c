/* Which format an image has: by name, and by its first bytes. */
#include "machine/block/block.h"
#include "machine/block/image.h"

#include <errno.h>

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

bool block_image__probe(const char *path, const struct block_given *given, enum block_format *out,
                        GError **err)
{
    static const char magic[4] = {'Q', 'F', 'I', (char)0xfb};
    char head[4] = {0};
    ssize_t n;
    autofd fd = block_file__open_fd(path, true, given, err);

    if (fd < 0)
        return false;
    do {
        n = pread(fd, head, sizeof(head), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return vmd_set_errno(err, errno, "reading disk image %s", path);
    *out = memcmp(head, magic, sizeof(magic)) == 0 ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
    return true;
}

bool block_probe(const char *path, enum block_format *out, GError **err)
{
    return block_image__probe(path, NULL, out, err);
}
