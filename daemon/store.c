/* Write to a new file, sync, rename, sync the directory. */
#include "daemon/store.h"

#include "proto/jsonrpc/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int store_lock(const char *dir, GError **err)
{
    g_autofree char *path = g_build_filename(dir, "lock", NULL);
    autofd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* A process's own: what a daemon had just forked when it was killed does not hold it on. */
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fd < 0) {
        vmd_set_errno(err, errno, "opening %s", path);
        return -1;
    }
    while (fcntl(fd, F_SETLK, &whole) < 0) {
        struct flock holder = whole;

        if ((errno != EACCES && errno != EAGAIN) || fcntl(fd, F_GETLK, &holder) < 0) {
            vmd_set_errno(err, errno, "locking %s", path);
            return -1;
        }
        if (holder.l_type == F_UNLCK)
            continue; /* it has just gone */
        vmd_fail(err, VMD_ERROR_BUSY, "the store %s is in use by another vmd (process %d)", dir,
                 (int)holder.l_pid);
        return -1;
    }
    return steal_fd(&fd);
}

static bool write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        text += put;
        n -= (size_t)put;
    }
    return true;
}

static bool sync_dir_of(const char *path)
{
    g_autofree char *dir = g_path_get_dirname(path);
    autofd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0;
}

bool store_write(const char *path, struct json_object *json, bool sync, GError **err)
{
    g_autofree char *tmp = g_strconcat(path, ".new", NULL);
    size_t n;
    g_autofree char *text = json_write(json, &n);
    autofd fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || !write_all(fd, text, n) || !write_all(fd, "\n", 1) || (sync && fsync(fd) < 0) ||
        rename(tmp, path) < 0 || (sync && !sync_dir_of(path))) {
        int errnum = errno;
        unlink(tmp);
        return vmd_set_errno(err, errnum, "writing %s", path);
    }
    return true;
}

bool store_read(const char *path, struct json_object **out, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;
    size_t n;

    *out = NULL;
    if (!g_file_get_contents(path, &text, &n, &why)) {
        if (g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true;
        return vmd_fail(err, VMD_ERROR_IO, "%s", why->message);
    }
    if (!json_read(text, n, out, &why))
        return vmd_fail(err, VMD_ERROR_INVALID, "%s: %s", path, why->message);
    return true;
}

bool store_set_aside(const char *path, GError **err)
{
    g_autofree char *bad = g_strconcat(path, ".bad", NULL);

    return rename(path, bad) == 0 || vmd_set_errno(err, errno, "renaming %s", path);
}

char *store_last_lines(const char *path, size_t most)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    off_t from = MAX(end - (off_t)most - 1, 0);
    g_autofree char *text = g_malloc0(most + 2);
    ssize_t n = end <= 0 ? 0 : pread(fd, text, most + 1, from);
    char *first = text, *newline;

    if (n <= 0)
        return NULL;
    if (from > 0) { /* begins in a line, or with the end of one */
        newline = memchr(text, '\n', (size_t)n);
        if (!newline)
            return NULL;
        first = newline + 1;
    }
    newline = strrchr(first, '\n');
    if (!newline || newline == first)
        return NULL;
    *newline = 0;
    return g_strdup(first);
}
