/* A VM process's side of the helper. */
#include "vm/helper/client.h"

#include "machine/net/tap_open.h"
#include "vm/helper/host.h"
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

static int connect_to(const char *path, GError **err)
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
        vmd_fail(err, VMD_ERROR_DENIED, "%s: %s", path, g_strerror(errno));
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

/* Asks for NAME over the connection FD. */
static int ask(int fd, enum helper_kind kind, const char *name, GError **err)
{
    struct helper_request request = {.version = HELPER_VERSION, .kind = kind};

    g_strlcpy(request.name, name, sizeof(request.name));
    if (send(fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) {
        vmd_set_errno(err, errno, "asking vmd-helper");
        return -1;
    }
    return take_reply(fd, err);
}

static int ask_tap(const char *path, const char *name, GError **err)
{
    autofd fd = connect_to(path, err);

    if (fd >= 0)
        return ask(fd, HELPER_TAP, name, err);
    g_prefix_error(err,
                   "tap interface '%s' needs vmd-helper, CAP_NET_ADMIN, or an interface made for "
                   "this user (ip tuntap add %s mode tap user $USER): ",
                   name, name);
    return -1;
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
        return ask_tap(socket_path, name, err);
    g_propagate_error(err, g_steal_pointer(&why));
    return -1;
}

/* --- functions of the host -------------------------------------------------------------------- */

/* Opens the group's node without anybody's help: of a function that is vfio-pci's, and a node that
 * this user may open. *SETTLED: help would change nothing. */
static int open_group(const char *address, bool *settled, GError **err)
{
    g_autofree char *driver = host_driver(&host_kernel, address);
    int group = host_group(&host_kernel, address, err);

    *settled = true;
    if (group < 0)
        return -1;
    g_autofree char *path = g_strdup_printf("%s/vfio/%d", host_kernel.dev, group);
    int fd = g_strcmp0(driver, "vfio-pci") == 0 ? host_kernel.open(NULL, path) : -EACCES;
    if (fd == -EBUSY)
        vmd_fail(err, VMD_ERROR_BUSY, "IOMMU group %d of host device %s is in use", group, address);
    else if (fd < 0)
        *settled = false;
    return fd;
}

bool helper_open_host(const char *socket_path, const char *address, struct helper_host *out,
                      GError **err)
{
    g_autoptr(GError) why = NULL;
    bool settled;

    autofd container = host_kernel.open(NULL, "/dev/vfio/vfio");
    if (container < 0)
        return vmd_set_errno(err, -container,
                             "host device %s: opening /dev/vfio/vfio (is the module "
                             "vfio-pci loaded?)",
                             address);
    autofd group = open_group(address, &settled, err);
    if (group < 0 && settled)
        return false;
    autofd lease = group < 0 ? connect_to(socket_path, &why) : -1;
    if (group < 0 && lease < 0)
        return vmd_fail(
            err, VMD_ERROR_DENIED,
            "host device %s needs vmd-helper (%s), or vfio-pci for its driver and a node in "
            "/dev/vfio that this user may open",
            address, why->message);
    if (group < 0)
        group = ask(lease, HELPER_HOST, address, err);
    if (group < 0)
        return false;
    *out = (struct helper_host){steal_fd(&container), steal_fd(&group), steal_fd(&lease)};
    return true;
}
