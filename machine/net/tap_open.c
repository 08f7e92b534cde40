/* Opening tap interfaces: /dev/net/tun and a few requests to it. */
#include "machine/net/tap_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

bool tap_name_valid(const char *name)
{
    size_t n = strlen(name);

    return n >= 1 && n < IFNAMSIZ && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == n;
}

/* Attaches FD to NAME; an interface that has several queues wants to be asked for one of them. */
static int attach(int fd, const char *name)
{
    static const short tries[] = {0, IFF_MULTI_QUEUE};
    int rc = -EINVAL;

    for (unsigned i = 0; i < G_N_ELEMENTS(tries) && rc == -EINVAL; i++) {
        struct ifreq ifr = {0};
        g_strlcpy(ifr.ifr_name, name, IFNAMSIZ);
        ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | tries[i]);
        rc = ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
    }
    return rc;
}

static bool fail_open(GError **err, int errnum, const char *name)
{
    if (errnum == EINVAL)
        return vmd_fail(err, VMD_ERROR_INVALID, "interface '%s' is no tap interface", name);
    if (errnum == EBUSY)
        return vmd_fail(err, VMD_ERROR_BUSY, "tap interface '%s' is in use", name);
    if (errnum == EPERM || errnum == EACCES)
        return vmd_fail(err, VMD_ERROR_DENIED, "opening tap interface '%s' needs CAP_NET_ADMIN",
                        name);
    return vmd_set_errno(err, errnum, "opening tap interface '%s'", name);
}

int tap_open(const char *name, bool create, GError **err)
{
    if (!tap_name_valid(name)) {
        vmd_fail(err, VMD_ERROR_INVALID, "'%s' is no name for an interface", name);
        return -1;
    }
    if (!create && !if_nametoindex(name)) {
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "there is no interface '%s'", name);
        return -1;
    }
    autofd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        vmd_set_errno(err, errno, "opening /dev/net/tun");
        return -1;
    }
    int rc = attach(fd, name);
    if (rc < 0) {
        fail_open(err, -rc, name);
        return -1;
    }
    return steal_fd(&fd);
}

bool tap_set_up(const char *name, const char *bridge, GError **err)
{
    struct ifreq ifr = {0};
    autofd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    g_strlcpy(ifr.ifr_name, name, IFNAMSIZ);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
        return vmd_set_errno(err, errno, "looking at interface '%s'", name);
    ifr.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
        return vmd_set_errno(err, errno, "bringing interface '%s' up", name);
    if (!bridge)
        return true;
    ifr.ifr_ifindex = (int)if_nametoindex(name);
    g_strlcpy(ifr.ifr_name, bridge, IFNAMSIZ);
    if (ioctl(fd, SIOCBRADDIF, &ifr) < 0 && errno != EBUSY)
        return vmd_set_errno(err, errno, "adding interface '%s' to bridge '%s'", name, bridge);
    return true;
}
