/* hotplug/host/uevent: one message of the kernel's NETLINK_KOBJECT_UEVENT. */
#ifndef HOTPLUG_HOST_UEVENT_H
#define HOTPLUG_HOST_UEVENT_H

#include "base/base.h"

#include <sys/socket.h>

enum { UEVENT_MOST = 8192 }; /* bytes; the kernel's own bound is a good 2 KiB */

/* Borrowed from the message. */
struct uevent {
    const char *action;      /* add, remove, change, move, online, offline, bind, unbind */
    const char *devpath;     /* "/devices/..." */
    const char *devpath_old; /* of move; else NULL */
    const char *subsystem;
    uint64_t seqnum;
};

/* Whether SIZE bytes of DATA are one whole message, which OUT then speaks of: "ACTION@DEVPATH", then
 * "KEY=VALUE", each ended by a NUL, as the kernel's lib/kobject_uevent.c writes it. */
bool uevent_parse(const char *data, size_t size, struct uevent *out);

/* Whether a message came from the kernel to group 1: ADDR of LENGTH is what recvmsg() said of the sender. */
bool uevent_from_kernel(const struct sockaddr_storage *addr, socklen_t length);

/* The last part of a device's path, borrowed: "eth0". */
const char *uevent_name(const char *devpath);

#endif
