/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Ways to the host. See transport.h. */
#include "guest/cuda/transport.h"

#include "gpu/protocol/contract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    NO_DEVICE = 100,
    NOT_PERMITTED = 800,
    SYSTEM_NOT_READY = 802,
    PORT_MS = 15000, /* how long all serial ports may be in use, or one without a worker */
    AGAIN_MS = 500,  /* before one is opened anew */
    PAUSE_MS = 5,
};

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
static bool lock_byte(int fd, int channel, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = channel, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static int lock_channel(int fd)
{
    for (int i = 0; i < GPU_CHANNELS; i++) {
        if (lock_byte(fd, i, F_WRLCK))
            return i;
    }
    return -1;
}

static void close_abandoned(volatile struct gpu_channel *shared, volatile uint32_t *bell)
{
    if (!gpu_load(&shared->guest_open))
        return;
    gpu_store(&shared->guest_open, 0);
    *bell = 1;
}

/* Closes what programs left open that ended without a word: the host frees what they held. Before
 * a channel of FD is locked, since that lock would not keep us out. */
static void sweep(int fd, volatile uint32_t *registers)
{
    for (int i = 0; i < GPU_CHANNELS; i++) {
        if (!lock_byte(fd, i, F_WRLCK))
            continue;
        void *at = mmap(NULL, GPU_CALLS_AT, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                        (off_t)i * GPU_CHANNEL_BYTES);
        if (at != MAP_FAILED) {
            close_abandoned(at, registers + GPU_REG_DOORBELL / 4 + i);
            munmap(at, GPU_CALLS_AT);
        }
        lock_byte(fd, i, F_UNLCK);
    }
}

static void *map_part(struct transport *t, int index, int fd, size_t bytes, off_t offset)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

    if (at == MAP_FAILED)
        return NULL;
    t->mapped[index] = at;
    t->mapped_bytes[index] = bytes;
    return at;
}

/* A function may go while it is opened. */
static int why_not(void)
{
    return errno == ENOENT || errno == ENODEV ? NO_DEVICE : NOT_PERMITTED;
}

static int open_function(struct transport *t, const char *folder)
{
    enable(folder);
    int registers = open_in(folder, "resource0");
    if (registers < 0)
        return why_not();
    volatile uint32_t *r = map_part(t, 1, registers, GPU_REG_BYTES, 0);
    int rc = r ? 0 : why_not();
    close(registers);
    if (!rc && r[GPU_REG_MAGIC / 4] != (uint32_t)GPU_MAGIC)
        rc = NO_DEVICE; /* it is gone, or has no addresses yet */
    if (rc)
        return rc;
    t->fd = open_in(folder, "resource2");
    if (t->fd < 0)
        return why_not();
    sweep(t->fd, r);
    int channel = lock_channel(t->fd);
    if (channel < 0)
        return SYSTEM_NOT_READY;
    t->shared = map_part(t, 0, t->fd, GPU_CHANNEL_BYTES, (off_t)channel * GPU_CHANNEL_BYTES);
    t->bell_register = r + GPU_REG_DOORBELL / 4 + channel;
    return t->shared ? 0 : why_not();
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
        if (rc)
            transport_close(t);
    }
    if (dir)
        closedir(dir);
    return rc;
}

/* --- serial ports ----------------------------------------------------------------------------- */

static void pause_for(int ms)
{
    const struct timespec ts = {.tv_nsec = ms * 1000000L};

    nanosleep(&ts, NULL);
}

static bool is_port(const char *name)
{
    char path[300], text[64] = "";

    snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", name);
    FILE *f = fopen(path, "re");
    if (f && !fgets(text, sizeof(text), f))
        text[0] = 0;
    if (f)
        fclose(f);
    return strncmp(text, WORKER_PORT, strlen(WORKER_PORT)) == 0;
}

/* One of the ports that no program has open; -1 with *RC: SYSTEM_NOT_READY where there are some
 * that others have, whatever else is wrong with the rest. */
static int free_port(int *rc)
{
    DIR *dir = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int fd = -1;

    *rc = NO_DEVICE;
    while (dir && fd < 0 && (entry = readdir(dir))) {
        char path[300];
        if (entry->d_name[0] == '.' || !is_port(entry->d_name))
            continue;
        snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && *rc != SYSTEM_NOT_READY)
            *rc = errno == EBUSY ? SYSTEM_NOT_READY : why_not();
    }
    if (dir)
        closedir(dir);
    return fd;
}

/* Whether the host's end is there: 1; 0: not yet, as a worker may be just about to be; -1: the port
 * has gone. Nothing comes unasked. */
static int port_joined(int fd)
{
    char byte;
    ssize_t n = read(fd, &byte, 1);

    return n < 0 && errno == ENODEV ? -1 : n != 0;
}

/* Opens a port that is free; *WAITED counts the milliseconds. One that this process had may still
 * be closing. */
static int take_port(struct transport *t, int *waited)
{
    int rc;

    while ((t->fd = free_port(&rc)) < 0 && rc == SYSTEM_NOT_READY && *waited < PORT_MS) {
        pause_for(PAUSE_MS);
        *waited += PAUSE_MS;
    }
    return t->fd < 0 ? rc : 0;
}

/* The host joins a port when it is opened. It knows nothing of one that was open before the VM was
 * restored, and so one that stays alone is closed and opened again now and then. */
static int open_port(struct transport *t)
{
    int rc, joined, waited = 0;

    while (!(rc = take_port(t, &waited))) {
        int until = waited + AGAIN_MS;
        for (; (joined = port_joined(t->fd)) == 0 && waited < until; waited += PAUSE_MS)
            pause_for(PAUSE_MS);
        if (joined)
            return joined > 0 ? 0 : NO_DEVICE;
        if (waited >= PORT_MS)
            return SYSTEM_NOT_READY;
        close(t->fd);
        t->fd = -1;
    }
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
        if (rc == NO_DEVICE || rc == NOT_PERMITTED) {
            int first = rc;
            transport_close(t);
            rc = open_port(t);
            if (rc == NO_DEVICE)
                rc = first;
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
    } else if (t->fd >= 0) {
        int end = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (end >= 0) {
            dup3(end, t->fd, O_CLOEXEC);
            close(end);
        }
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
