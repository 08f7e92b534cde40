/* A VM process's side of the helper. */
#include "vm/helper/client.h"

#include "machine/net/tap_open.h"
#include "vm/helper/protocol.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ANSWER_S 10

static bool address_of(const char *path, struct sockaddr_un *address, GError **err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address->sun_path))
        return vmd_fail(err, VMD_ERROR_INVALID, "the path of vmd-helper's socket is too long");
    g_strlcpy(address->sun_path, path, sizeof(address->sun_path));
    return true;
}

static int connect_to(const char *path, const char *name, GError **err)
{
    const struct timeval patience = {.tv_sec = ANSWER_S};
    struct sockaddr_un address;

    if (!address_of(path, &address, err))
        return -1;
    autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        vmd_set_errno(err, errno, "reaching vmd-helper");
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        vmd_fail(err, VMD_ERROR_DENIED,
                 "tap interface '%s' needs vmd-helper (%s: %s), CAP_NET_ADMIN, or an interface "
                 "made for this user: ip tuntap add %s mode tap user $USER",
                 name, path, g_strerror(errno), name);
        return -1;
    }
    return steal_fd(&fd);
}

/* The descriptor that came with MSG, or -1. */
static int descriptor_of(struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int fd = -1;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof(int));
    return fd;
}

static int take_reply(int fd, GError **err)
{
    struct helper_reply r = {0};
    struct iovec iov = {&r, sizeof(r)};
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};

    ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    autofd given = n >= 0 ? descriptor_of(&msg) : -1;
    if (n < 0)
        vmd_set_errno(err, errno, "waiting for vmd-helper");
    else if (n != sizeof(r) || r.version != HELPER_VERSION)
        vmd_fail(err, VMD_ERROR_GONE, "vmd-helper hung up or is of another version");
    else if (r.error >= 0)
        vmd_fail(err, (enum vmd_error)MIN(r.error, VMD_ERROR_GONE), "%.*s", (int)sizeof(r.text),
                 r.text);
    else if (given < 0)
        vmd_fail(err, VMD_ERROR_INTERNAL, "vmd-helper gave no descriptor");
    else
        return steal_fd(&given);
    return -1;
}

static int ask(const char *path, const char *name, GError **err)
{
    struct helper_request request = {.version = HELPER_VERSION, .kind = HELPER_TAP};
    autofd fd = connect_to(path, name, err);

    if (fd < 0)
        return -1;
    g_strlcpy(request.name, name, sizeof(request.name));
    if (send(fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) {
        vmd_set_errno(err, errno, "asking vmd-helper");
        return -1;
    }
    return take_reply(fd, err);
}

int helper_open_tap(const char *socket_path, const char *name, GError **err)
{
    g_autoptr(GError) why = NULL;
    int fd = tap_open(name, false, &why);

    if (fd >= 0)
        return fd;
    /* Rights may help with these two; what else is wrong stays wrong. */
    if (g_error_matches(why, VMD_ERROR, VMD_ERROR_DENIED) ||
        g_error_matches(why, VMD_ERROR, VMD_ERROR_NOT_FOUND))
        return ask(socket_path, name, err);
    g_propagate_error(err, g_steal_pointer(&why));
    return -1;
}
