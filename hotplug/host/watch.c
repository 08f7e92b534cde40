/*
 * Keeping the inventory current: the kernel's uevents, or a timer where there are none.
 *
 * A message only says which device to look at. One that is not whole, or that the kernel had no room for
 * (ENOBUFS), says that something was missed: then all is looked at, once a batch. What did not come from
 * the kernel is dropped and costs nothing, so that nobody can keep vmd busy.
 */
#include "hotplug/host/host_priv.h"
#include "hotplug/host/uevent.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

enum { BATCH = 256, KERNEL_GROUP = 1, BUFFER = 1 << 20 };

/* The number of the kernel's first user namespace: PROC_USER_INIT_INO. */
static const char first_user_namespace[] = "user:[4026531837]";

int host_uevents_open(GError **err)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
    g_autofree char *space = g_file_read_link("/proc/self/ns/user", NULL);
    int room = BUFFER;

    if (space && strcmp(space, first_user_namespace) != 0) {
        vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                 "the kernel does not tell of devices in a user namespace of its own");
        return -1;
    }
    autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        vmd_set_errno(err, errno, "listening to the kernel's uevents");
        return -1;
    }
    /* As much as the host gives: a rescan mends the rest. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    return steal_fd(&fd);
}

/* --- messages --------------------------------------------------------------------------------- */

static void hear(struct host_devices *h, const char *data, size_t size)
{
    struct uevent e;

    if (!uevent_parse(data, size, &e)) {
        h->rescan_wanted = true;
        return;
    }
    for (unsigned kind = 0; kind < HOST_KINDS; kind++) {
        if (strcmp(e.subsystem, host_kind_name(kind)) != 0)
            continue;
        if (e.devpath_old)
            host_devices__look(h, kind, uevent_name(e.devpath_old));
        host_devices__look(h, kind, uevent_name(e.devpath));
    }
}

/* From here on by the timer. */
static void lose(struct host_devices *h, const char *why)
{
    h->why = g_strdup(why);
    uv_poll_stop(&h->poll);
    uv_timer_start(&h->timer, h->timer.timer_cb, LIMIT_HOST_RESCAN_S * 1000, LIMIT_HOST_RESCAN_S * 1000);
    h->rescan_wanted = true;
    h->listener->watch_lost(h->arg, h->why);
}

/* Receives one message; false when there is none. */
static bool receive(struct host_devices *h)
{
    char data[UEVENT_MOST];
    struct sockaddr_storage from;
    struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
    struct msghdr message = {
        .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = recvmsg(h->uevents, &message, MSG_DONTWAIT);

    if (n > 0) {
        if (h->check_sender && !uevent_from_kernel(&from, message.msg_namelen))
            return true;
        if (message.msg_flags & MSG_TRUNC)
            h->rescan_wanted = true;
        else
            hear(h, data, (size_t)n);
    } else if (n == 0) {
        lose(h, "the source of uevents has ended");
    } else if (errno == ENOBUFS) {
        h->rescan_wanted = true;
    } else if (errno != EINTR) {
        if (errno != EAGAIN)
            lose(h, g_strerror(errno));
        return false;
    }
    return n != 0;
}

static void readable(uv_poll_t *poll, int status, int events)
{
    struct host_devices *h = container_of(poll, struct host_devices, poll);
    unsigned n = 0;

    if (status < 0)
        lose(h, uv_strerror(status));
    else
        while (n++ < BATCH && receive(h))
            continue;
    if (h->rescan_wanted)
        host_devices_rescan(h);
    host_devices__settle(h);
}

static void tick(uv_timer_t *timer)
{
    host_devices_rescan(container_of(timer, struct host_devices, timer));
}

/* --- handles ---------------------------------------------------------------------------------- */

static void start_poll(struct host_devices *h, uv_loop_t *loop)
{
    int domain = 0;
    socklen_t length = sizeof(domain);

    /* A test's socket pair has no kernel at its other end. */
    h->check_sender = getsockopt(h->uevents, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
                      domain == AF_NETLINK;
    uv_poll_init(loop, &h->poll, h->uevents);
    uv_poll_start(&h->poll, UV_READABLE, readable);
    h->handles++;
}

void host_watch_start(struct host_devices *h, uv_loop_t *loop, int uevents, const char *why)
{
    h->uevents = uevents;
    uv_timer_init(loop, &h->timer);
    h->timer.timer_cb = tick;
    h->handles++;
    if (uevents >= 0) {
        start_poll(h, loop);
    } else {
        h->why = g_strdup(why ? why : "there is no source of uevents");
        uv_timer_start(&h->timer, tick, LIMIT_HOST_RESCAN_S * 1000, LIMIT_HOST_RESCAN_S * 1000);
    }
}

bool host_devices_watch(const struct host_devices *h, const char **why)
{
    *why = h->why;
    return !h->why;
}

static void one_closed(uv_handle_t *handle)
{
    struct host_devices *h = handle->data;

    if (--h->handles == 0)
        h->closed(h);
}

void host_watch_close(struct host_devices *h, void (*closed)(struct host_devices *h))
{
    h->closed = closed;
    h->timer.data = h->poll.data = h;
    if (h->uevents >= 0) {
        uv_close((uv_handle_t *)&h->poll, one_closed);
        close(h->uevents);
    }
    uv_close((uv_handle_t *)&h->timer, one_closed);
}
