/* Folders of compilers. See compile_folder.h. */
#include "gpu/server/compile_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static int open_folder(int in, const char *name)
{
    return openat(in, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* FD is taken. NULL with errno. */
static DIR *list(int fd)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

static const char *next(DIR *dir)
{
    const struct dirent *e;

    while ((e = readdir(dir))) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e->d_name;
    }
    return NULL;
}

/* --- what there is ---------------------------------------------------------------------------- */

struct sum {
    uint64_t files, bytes;
};

static bool add_folder(int fd, unsigned depth, struct sum *sum);

/* False: it is too much. */
static bool add(int in, const char *name, unsigned depth, struct sum *sum)
{
    struct stat st;

    if (fstatat(in, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT; /* it went meanwhile */
    sum->bytes += 512 * (uint64_t)st.st_blocks;
    if (++sum->files > LIMIT_GPU_COMPILE_FILES || sum->bytes > MIB(LIMIT_GPU_COMPILE_FILES_MIB))
        return false;
    if (!S_ISDIR(st.st_mode))
        return true;
    if (depth == LIMIT_GPU_COMPILE_DEPTH)
        return false;
    int fd = open_folder(in, name);
    return fd < 0 ? errno == ENOENT || errno == ENOTDIR : add_folder(fd, depth + 1, sum);
}

/* FD is taken. */
static bool add_folder(int fd, unsigned depth, struct sum *sum)
{
    DIR *dir = list(fd);
    const char *name;
    bool within = dir;

    while (within && (name = next(dir)))
        within = add(dirfd(dir), name, depth, sum);
    if (dir)
        closedir(dir);
    return within;
}

bool compile_folder_is_within(const char *path)
{
    struct sum sum = {0};

    return add_folder(open_folder(AT_FDCWD, path), 0, &sum);
}

/* --- removing it ------------------------------------------------------------------------------ */

/* What could not be unlinked, NAME in IN, comes to TOP, under a name that there is not, if it is a
 * folder. */
static bool lift(int in, const char *name, int top, uint64_t *number)
{
    char other[32];
    int rc;

    if (errno != EISDIR)
        return false;
    fchmodat(in, name, S_IRWXU, 0); /* it gets another "..", which is writing */
    do {
        snprintf(other, sizeof(other), "%" G_GUINT64_FORMAT, (*number)++);
        rc = renameat(in, name, top, other);
    } while (rc < 0 && (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR));
    return rc == 0;
}

/* Empties the folder NAME in TOP, and removes it. Whether anything in it went. */
static bool remove_one(int top, const char *name, uint64_t *number)
{
    const char *below;
    bool any = false;

    fchmodat(top, name, S_IRWXU, 0);
    DIR *dir = list(open_folder(top, name));
    while (dir && (below = next(dir)))
        any |= unlinkat(dirfd(dir), below, 0) == 0 || lift(dirfd(dir), below, top, number);
    if (dir)
        closedir(dir);
    return unlinkat(top, name, AT_REMOVEDIR) == 0 || any;
}

/* Whether anything went. Folders within folders come up beside those that hold them, so that none
 * is ever too deep. */
static bool remove_some(DIR *top, uint64_t *number)
{
    const char *name;
    bool any = false;

    rewinddir(top);
    while ((name = next(top))) {
        if (unlinkat(dirfd(top), name, 0) == 0 || remove_one(dirfd(top), name, number))
            any = true;
    }
    return any;
}

bool compile_folder_remove(const char *path, GError **err)
{
    uint64_t number = 0;

    chmod(path, S_IRWXU);
    DIR *top = list(open_folder(AT_FDCWD, path));
    while (top && remove_some(top, &number))
        ;
    if (top)
        closedir(top);
    return rmdir(path) == 0 || vmd_set_errno(err, errno, "removing %s", path);
}
