/*
 * See imagelock.h.
 *
 * The scheme is QEMU's, so that its tools and ours keep out of each other's images: byte 100 + P of
 * the file is read-locked by whoever uses permission P, and byte 200 + P by whoever lets nobody
 * else use it. First take one's own locks, then look whether another holds one that clashes: two
 * that come at once may both be refused, never both be let in. Read locks suffice for both, which
 * is why a reader's descriptor can hold them.
 */
#include "base/imagelock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { USED_BASE = 100, UNSHARED_BASE = 200 };
enum { PERM_READ = 1 << 0, PERM_WRITE = 1 << 1, PERM_RESIZE = 1 << 3, PERM_BITS = 4 };

/* Whether descriptor ENTRY of process PID is the file and holds a lock on it. */
static bool lock__holds(const char *pid, const char *entry, const struct stat *file)
{
    g_autofree char *link = g_strdup_printf("/proc/%s/fd/%s", pid, entry);
    g_autofree char *info = g_strdup_printf("/proc/%s/fdinfo/%s", pid, entry);
    g_autofree char *text = NULL;
    struct stat st;

    return stat(link, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino &&
           g_file_get_contents(info, &text, NULL, NULL) && strstr(text, "\nlock:");
}

/* "process 12 (vmd-vm)", or NULL; OWN is our descriptor, which does not count. */
static char *lock__holder_in(const char *pid, int own, const struct stat *file)
{
    g_autofree char *folder = g_strdup_printf("/proc/%s/fd", pid);
    g_autofree char *comm_path = g_strdup_printf("/proc/%s/comm", pid);
    g_autofree char *own_name = g_strdup_printf("%d", own);
    g_autofree char *comm = NULL;
    bool self = atoi(pid) == getpid(), found = false;
    struct dirent *e;
    DIR *d = opendir(folder);

    while (d && !found && (e = readdir(d))) {
        if (g_ascii_isdigit(e->d_name[0]) && !(self && strcmp(e->d_name, own_name) == 0))
            found = lock__holds(pid, e->d_name, file);
    }
    if (d)
        closedir(d);
    if (!found)
        return NULL;
    if (self)
        return g_strdup("this process");
    if (!g_file_get_contents(comm_path, &comm, NULL, NULL))
        return g_strdup_printf("process %s", pid);
    return g_strdup_printf("process %s (%s)", pid, g_strchomp(comm));
}

/* Who holds a lock on FD's file, as far as /proc lets us see it; the caller frees. */
static char *lock__holder(int fd)
{
    char *holder = NULL;
    struct stat file;
    struct dirent *e;
    DIR *d = fstat(fd, &file) == 0 ? opendir("/proc") : NULL;

    while (d && !holder && (e = readdir(d))) {
        if (g_ascii_isdigit(e->d_name[0]))
            holder = lock__holder_in(e->d_name, fd, &file);
    }
    if (d)
        closedir(d);
    return holder ? holder : g_strdup("another process");
}

static int lock__byte(int fd, int cmd, short type, off_t byte, struct flock *fl)
{
    int r;

    *fl = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    do {
        r = fcntl(fd, cmd, fl);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

/* Locks (CMD F_OFD_SETLK) or tests (F_OFD_GETLK) byte BASE + P for each P of PERMS. Returns 0,
 * -EBUSY for another's lock, or another -errno. */
static int lock__bytes(int fd, int cmd, int base, unsigned perms)
{
    struct flock fl;

    for (int p = 0; p < PERM_BITS; p++) {
        if (!(perms & 1u << p))
            continue;
        int r = lock__byte(fd, cmd, cmd == F_OFD_GETLK ? F_WRLCK : F_RDLCK, base + p, &fl);
        if (r == -EAGAIN || r == -EACCES || (r == 0 && cmd == F_OFD_GETLK && fl.l_type != F_UNLCK))
            return -EBUSY;
        if (r < 0)
            return r;
    }
    return 0;
}

bool imagelock_take(int fd, const char *path, bool readonly, GError **err)
{
    const unsigned unshared = PERM_WRITE | PERM_RESIZE;
    const unsigned used = PERM_READ | (readonly ? 0 : PERM_WRITE | PERM_RESIZE);
    int r = lock__bytes(fd, F_OFD_SETLK, USED_BASE, used);

    if (r == 0)
        r = lock__bytes(fd, F_OFD_SETLK, UNSHARED_BASE, unshared);
    if (r == 0)
        r = lock__bytes(fd, F_OFD_GETLK, UNSHARED_BASE, used);
    if (r == 0)
        r = lock__bytes(fd, F_OFD_GETLK, USED_BASE, unshared);
    if (r == 0)
        return true;
    if (r != -EBUSY)
        return vmd_set_errno(err, -r, "locking disk image %s", path);
    g_autofree char *holder = lock__holder(fd);
    return vmd_fail(err, VMD_ERROR_BUSY, "disk image %s is in use by %s%s", path, holder,
                    readonly ? ", which writes to it" : "");
}
