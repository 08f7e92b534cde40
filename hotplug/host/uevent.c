/* See uevent.h. Nothing of a message that is not wholly as the kernel writes it is believed. */
#include "hotplug/host/uevent.h"

#include <linux/netlink.h>

static const char *const actions[] = {"add",     "remove", "change", "move", "online",
                                      "offline", "bind",   "unbind"};

enum { KERNEL_GROUP = 1 };

bool uevent_from_kernel(const struct sockaddr_storage *addr, socklen_t length)
{
    struct sockaddr_nl from;

    if (length != sizeof(from) || addr->ss_family != AF_NETLINK)
        return false;
    memcpy(&from, addr, sizeof(from));
    return from.nl_pid == 0 && from.nl_groups == KERNEL_GROUP;
}

const char *uevent_name(const char *devpath)
{
    return strrchr(devpath, '/') + 1;
}

static bool is_action(const char *text)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(text, actions[i]) == 0)
            return true;
    }
    return false;
}

/* Absolute, with no empty part, "." or "..". */
static bool is_devpath(const char *path)
{
    if (path[0] != '/')
        return false;
    for (const char *at = path; *at; at += strcspn(at, "/")) {
        size_t n = strcspn(++at, "/");
        if (n == 0 || (n <= 2 && strspn(at, ".") >= n))
            return false;
    }
    return true;
}

static bool is_subsystem(const char *text)
{
    return *text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:#")];
}

static bool take_number(const char *text, uint64_t *out)
{
    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 20 &&
           g_ascii_string_to_unsigned(text, 10, 0, UINT64_MAX, out, NULL);
}

/* The value of ENTRY where its key is KEY; a second one is a fault of the message. */
static bool take(const char *entry, const char *key, const char **value, bool *bad)
{
    size_t n = strlen(key);

    if (strncmp(entry, key, n) != 0 || entry[n] != '=')
        return false;
    *bad = *bad || *value;
    *value = entry + n + 1;
    return true;
}

static bool read_entries(const char *at, const char *end, struct uevent *e, const char **action,
                         const char **seqnum)
{
    bool bad = false;

    for (; at < end && !bad; at += strlen(at) + 1) {
        const char *equals = strchr(at, '=');
        if (!equals || equals == at)
            return false;
        if (!take(at, "ACTION", action, &bad) && !take(at, "DEVPATH", &e->devpath, &bad) &&
            !take(at, "DEVPATH_OLD", &e->devpath_old, &bad) &&
            !take(at, "SUBSYSTEM", &e->subsystem, &bad))
            take(at, "SEQNUM", seqnum, &bad);
    }
    return !bad;
}

bool uevent_parse(const char *data, size_t size, struct uevent *out)
{
    struct uevent e = {0};
    const char *action = NULL, *seqnum = NULL;

    if (size == 0 || size > UEVENT_MOST || data[size - 1] != '\0')
        return false;
    const char *head_path = strchr(data, '@');
    if (!head_path || !read_entries(data + strlen(data) + 1, data + size, &e, &action, &seqnum))
        return false;
    if (!action || !e.devpath || !e.subsystem || !seqnum || !is_action(action))
        return false;
    if (strlen(action) != (size_t)(head_path - data) || strncmp(data, action, strlen(action)) != 0 ||
        strcmp(head_path + 1, e.devpath) != 0)
        return false;
    if (!is_devpath(e.devpath) || (e.devpath_old && !is_devpath(e.devpath_old)) ||
        !is_subsystem(e.subsystem) || !take_number(seqnum, &e.seqnum))
        return false;
    e.action = action;
    *out = e;
    return true;
}
