/*
 * What is passed on, and where: the option's text, which procedures are whose, and the sockets of
 * libvirt's daemons. See forward.h.
 */
#include "daemon/libvirt/forward.h"

#include "daemon/libvirt/forward_priv.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { STORAGE, NETWORK, NODEDEV, INTERFACE, SECRET, NWFILTER, KINDS = FORWARD_KINDS };

static const struct {
    const char *name, *daemon;
} kinds[KINDS] = {
    [STORAGE] = {"storage", "virtstoraged-sock"},
    [NETWORK] = {"network", "virtnetworkd-sock"},
    [NODEDEV] = {"nodedev", "virtnodedevd-sock"},
    [INTERFACE] = {"interface", "virtinterfaced-sock"},
    [SECRET] = {"secret", "virtsecretd-sock"},
    [NWFILTER] = {"nwfilter", "virtnwfilterd-sock"},
};

/* Which procedures are whose, by their numbers: FIRST to LAST. */
static const struct {
    int kind;
    int32_t first, last;
} ranges[] = {
    {NETWORK, 36, 36},     {NETWORK, 38, 50},     {NETWORK, 52, 52},     {NETWORK, 152, 153},
    {NETWORK, 283, 283},   {NETWORK, 291, 291},   {NETWORK, 313, 314},   {NETWORK, 341, 341},
    {NETWORK, 404, 410},   {NETWORK, 432, 432},   {NETWORK, 437, 437},   {NETWORK, 444, 445},
    {STORAGE, 71, 100},    {STORAGE, 125, 125},   {STORAGE, 154, 155},   {STORAGE, 165, 165},
    {STORAGE, 208, 209},   {STORAGE, 259, 260},   {STORAGE, 281, 282},   {STORAGE, 368, 369},
    {STORAGE, 378, 378},   {STORAGE, 391, 391},   {STORAGE, 403, 403},   {NODEDEV, 111, 120},
    {NODEDEV, 123, 124},   {NODEDEV, 285, 285},   {NODEDEV, 297, 297},   {NODEDEV, 301, 301},
    {NODEDEV, 374, 375},   {NODEDEV, 428, 430},   {NODEDEV, 433, 436},   {NODEDEV, 447, 447},
    {INTERFACE, 126, 134}, {INTERFACE, 137, 138}, {INTERFACE, 156, 156}, {INTERFACE, 220, 222},
    {INTERFACE, 284, 284}, {SECRET, 139, 147},    {SECRET, 287, 287},    {SECRET, 380, 381},
    {NWFILTER, 175, 181},  {NWFILTER, 286, 286},  {NWFILTER, 397, 401},  {NWFILTER, 431, 431},
};

struct forward {
    bool on[KINDS], system;
    char *socket[KINDS]; /* NULL: the usual one */
    char *dir;
};

static bool read_one(struct forward *f, const char *text, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, "=", 2);

    for (int k = 0; k < KINDS; k++) {
        if (g_strcmp0(parts[0], kinds[k].name) != 0)
            continue;
        if (parts[1] && !g_path_is_absolute(parts[1]))
            return vmd_fail(err, VMD_ERROR_INVALID, "the socket '%s' for %s is no absolute path",
                            parts[1], kinds[k].name);
        f->on[k] = true;
        g_free(f->socket[k]);
        f->socket[k] = g_strdup(parts[1]);
        return true;
    }
    return vmd_fail(
        err, VMD_ERROR_INVALID,
        "'%s' is nothing that is passed on: storage, network, nodedev, interface, secret "
        "or nwfilter",
        text);
}

struct forward *forward_new(const char *text, const char *dir, bool system, GError **err)
{
    struct forward *f = g_new0(struct forward, 1);
    g_auto(GStrv) all = g_strsplit(text, ",", -1);

    f->dir = g_strdup(dir);
    f->system = system;
    for (char **one = all; *one; one++) {
        if (!read_one(f, *one, err)) {
            forward_free(f);
            return NULL;
        }
    }
    return f;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    for (int k = 0; k < KINDS; k++)
        g_free(f->socket[k]);
    g_free(f->dir);
    g_free(f);
}

bool forward_networks(const struct forward *f)
{
    return f && f->on[NETWORK];
}

int forward__kind(const struct forward *f, int32_t procedure)
{
    for (size_t i = 0; f && i < G_N_ELEMENTS(ranges); i++) {
        if (procedure >= ranges[i].first && procedure <= ranges[i].last)
            return f->on[ranges[i].kind] ? ranges[i].kind : -1;
    }
    return -1;
}

const char *forward__name(int kind)
{
    return kinds[kind].name;
}

bool forward__system(const struct forward *f)
{
    return f->system;
}

/* A socket that is connected to PATH, or -errno. */
static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    return steal_fd(&fd);
}

int forward__connect(const struct forward *f, int kind)
{
    const char *names[] = {kinds[kind].daemon, "libvirt-sock"};
    int fd = -ENOENT;

    if (f->socket[kind])
        return connect_to(f->socket[kind]);
    for (size_t i = 0; i < G_N_ELEMENTS(names) && fd < 0; i++) {
        g_autofree char *path = g_build_filename(f->dir, names[i], NULL);
        fd = connect_to(path);
    }
    return fd;
}
