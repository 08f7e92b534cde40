/* Records with a descriptor. See compile_priv.h. */
#include "gpu/server/compile_priv.h"

#include <errno.h>
#include <sys/socket.h>

int compile__send(int socket, const void *at, size_t bytes, int fd, int flags)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)at, bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    while ((n = sendmsg(socket, &msg, MSG_NOSIGNAL | flags)) < 0 && errno == EINTR)
        ;
    return n < 0 ? -errno : 0;
}

/* Puts the descriptor that came with MSG to FD, or -1. False, and all are closed: there were more,
 * or something else. */
static bool take_one(struct msghdr *msg, int *fd)
{
    bool good = !(msg->msg_flags & MSG_CTRUNC);
    int got;

    *fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        bool files = c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS;
        good = good && files && c->cmsg_len >= CMSG_LEN(sizeof(int));
        for (size_t at = CMSG_LEN(0); files && at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            memcpy(&got, (const uint8_t *)c + at, sizeof(int));
            good = good && *fd < 0;
            if (*fd >= 0)
                close(*fd);
            *fd = got;
        }
    }
    if (!good && *fd >= 0)
        close(*fd);
    *fd = good ? *fd : -1;
    return good;
}

int compile__receive(int socket, void *at, size_t bytes, int *fd, int flags)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {at, bytes};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n;

    *fd = -1;
    while ((n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC | flags)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return -errno;
    bool good = take_one(&msg, fd); /* there is room for two */
    if (n == 0 && *fd < 0 && good)
        return 0;
    if (good && (size_t)n == bytes && !(msg.msg_flags & MSG_TRUNC))
        return 1;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return -EPROTO;
}
