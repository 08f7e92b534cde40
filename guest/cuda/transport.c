/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Ways to the host. See transport.h. */
#include "guest/cuda/transport.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NO_DEVICE = 100, NOT_PERMITTED = 800, SYSTEM_NOT_READY = 802 };

/* --- a socket of the host --------------------------------------------------------------------- */

static int receive_channel(struct transport *t)
{
    int fds[2];
    char byte, control[CMSG_SPACE(sizeof(fds))];
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(t->fd, &msg, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&msg) : NULL;

    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(fds)))
        return SYSTEM_NOT_READY;
    memcpy(fds, CMSG_DATA(c), sizeof(fds));
    void *at = mmap(NULL, GPU_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    close(fds[0]);
    t->bell = fds[1];
    if (at == MAP_FAILED)
        return SYSTEM_NOT_READY;
    t->mapped[0] = at;
    t->mapped_bytes[0] = GPU_CHANNEL_BYTES;
    t->shared = at;
    return 0;
}

static int open_socket(struct transport *t, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool stream = getenv("VMD_GPU_STREAM") != NULL;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        write(t->fd, stream ? "S" : "R", 1) != 1)
        return NO_DEVICE;
    return stream ? 0 : receive_channel(t);
}

/* --- the PCI function ------------------------------------------------------------------------- */

static unsigned read_number(const char *folder, const char *name)
{
    char path[512];
    unsigned value = 0;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%x", &value) != 1)
        value = 0;
    if (f)
        fclose(f);
    return value;
}

static int open_in(const char *folder, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return open(path, O_RDWR | O_SYNC | O_CLOEXEC);
}

/* Memory decoding is off until a driver, or somebody like us, enables the function. */
static void enable(const char *folder)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/enable", folder);
    FILE *f = fopen(path, "we");
    if (f) {
        fputs("1", f);
        fclose(f);
    }
}

/* A channel is the process's that has this byte of the resource locked; the lock ends with the
 * process. */
static int lock_channel(int fd)
{
    for (int i = 0; i < GPU_CHANNELS; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i, .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return i;
    }
    return -1;
}

static int open_function(struct transport *t, const char *folder)
{
    enable(folder);
    int registers = open_in(folder, "resource0");
    t->fd = open_in(folder, "resource2");
    int channel = t->fd < 0 ? -1 : lock_channel(t->fd);
    if (registers < 0 || channel < 0) {
        if (registers >= 0)
            close(registers);
        return t->fd < 0 || registers < 0 ? NOT_PERMITTED : SYSTEM_NOT_READY;
    }
    void *r = mmap(NULL, GPU_REG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, registers, 0);
    void *m = mmap(NULL, GPU_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd,
                   (off_t)channel * GPU_CHANNEL_BYTES);
    close(registers);
    if (r != MAP_FAILED) {
        t->mapped[1] = r;
        t->mapped_bytes[1] = GPU_REG_BYTES;
    }
    if (m != MAP_FAILED) {
        t->mapped[0] = m;
        t->mapped_bytes[0] = GPU_CHANNEL_BYTES;
    }
    if (r == MAP_FAILED || m == MAP_FAILED)
        return NOT_PERMITTED;
    t->shared = m;
    t->bell_register = (volatile uint32_t *)r + GPU_REG_DOORBELL / 4 + channel;
    return 0;
}

static int open_pci(struct transport *t)
{
    DIR *dir = opendir("/sys/bus/pci/devices");
    struct dirent *entry;
    int rc = NO_DEVICE;

    while (dir && rc == NO_DEVICE && (entry = readdir(dir))) {
        char folder[300];
        snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%s", entry->d_name);
        if (read_number(folder, "vendor") == GPU_PCI_VENDOR &&
            read_number(folder, "device") == GPU_PCI_DEVICE)
            rc = open_function(t, folder);
    }
    if (dir)
        closedir(dir);
    return rc;
}

/* --- any -------------------------------------------------------------------------------------- */

int transport_open(struct transport *t)
{
    const char *socket_path = getenv("VMD_GPU_SOCKET");
    int rc;

    *t = (struct transport){.fd = -1, .bell = -1};
    if (socket_path) {
        rc = open_socket(t, socket_path);
    } else {
        rc = getenv("VMD_GPU_STREAM") ? NO_DEVICE : open_pci(t);
        if (rc) {
            transport_close(t);
            t->fd = open("/dev/virtio-ports/org.vmd.gpu.0", O_RDWR | O_CLOEXEC);
            rc = t->fd < 0 ? rc : 0;
        }
    }
    if (!rc && !t->shared)
        fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) | O_NONBLOCK);
    if (rc)
        transport_close(t);
    return rc;
}

void transport_close(struct transport *t)
{
    for (int i = 0; i < 2; i++) {
        if (t->mapped[i])
            munmap(t->mapped[i], t->mapped_bytes[i]);
    }
    if (t->bell >= 0)
        close(t->bell);
    if (t->fd >= 0)
        close(t->fd);
    *t = (struct transport){.fd = -1, .bell = -1};
}

void transport_leave(struct transport *t)
{
    for (int i = 0; i < 2; i++) {
        if (t->mapped[i])
            mmap((void *)t->mapped[i], t->mapped_bytes[i], PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    }
    if (t->shared && t->fd >= 0) {
        close(t->fd);
        t->fd = -1;
    }
}

void transport_ring(const struct transport *t)
{
    uint64_t one = 1;

    if (t->bell_register)
        *t->bell_register = 1;
    else if (t->bell >= 0)
        (void)!write(t->bell, &one, sizeof(one));
}
