/* Requests, in a table: what is not in it does not happen. */
#include "vm/helper/serve.h"

#include "base/log.h"
#include "base/pciaddr.h"
#include "machine/net/tap_open.h"
#include "vm/helper/protocol.h"

#include <errno.h>
#include <sys/socket.h>

#define GROUPS_MAX 1024

/* Who is at the other end of FD, with room for groups in GROUPS. */
static bool find_peer(int fd, gid_t *groups, struct helper_peer *peer)
{
    struct ucred cred;
    socklen_t length = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
        return false;
    *peer = (struct helper_peer){.uid = cred.uid, .gid = cred.gid, .groups = groups};
    length = GROUPS_MAX * sizeof(*groups);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) == 0)
        peer->n_groups = length / sizeof(*groups);
    return true;
}

/* Who asks for what. */
struct question {
    int client;
    const struct helper_request *request;
    const struct helper_peer *peer;
    const struct helper_rules *rules;
    struct host_leases *leases;
};

/* Opens a tap interface; the descriptor, or -1. */
static int do_tap(const struct question *q, GError **err)
{
    const struct helper_request *request = q->request;
    const char *bridge;

    if (!helper_rules_allow(q->rules, q->peer, request->name, &bridge)) {
        vmd_fail(err, VMD_ERROR_DENIED, "user %u may not use interface '%s' (see " HELPER_RULES ")",
                 q->peer->uid, request->name);
        return -1;
    }
    autofd fd = tap_open(request->name, true, err);
    if (fd < 0 || !tap_set_up(request->name, bridge, err))
        return -1;
    return steal_fd(&fd);
}

/* Lends a PCI function; the node of its group, or -1. */
static int do_host(const struct question *q, GError **err)
{
    const char *address = q->request->name, *none;
    g_autofree char *name = g_strdup_printf(HELPER_HOST_PREFIX "%s", address);

    if (!pciaddr_valid(address)) {
        vmd_fail(err, VMD_ERROR_INVALID,
                 "'%s' is no address of a PCI function such as 0000:01:00.0", address);
        return -1;
    }
    if (!helper_rules_hosts(q->rules) || !helper_rules_allow(q->rules, q->peer, name, &none)) {
        vmd_fail(err, VMD_ERROR_DENIED,
                 "user %u may not use PCI function %s (see " HELPER_RULES ")", q->peer->uid,
                 address);
        return -1;
    }
    return host_lend(q->leases, q->client, address, err);
}

static const struct {
    enum helper_kind kind;
    int (*serve)(const struct question *q, GError **err);
} requests[] = {
    {HELPER_TAP, do_tap},
    {HELPER_HOST, do_host},
};

static int dispatch(const struct question *q, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        if (requests[i].kind == q->request->kind)
            return requests[i].serve(q, err);
    }
    vmd_fail(err, VMD_ERROR_UNSUPPORTED, "vmd-helper knows no request %u", q->request->kind);
    return -1;
}

static bool reply(int fd, int given, const GError *err)
{
    struct helper_reply r = {.version = HELPER_VERSION, .error = err ? err->code : -1};
    struct iovec iov = {&r, sizeof(r)};
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (err)
        g_strlcpy(r.text, err->message, sizeof(r.text));
    if (given >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &given, sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(r);
}

bool helper_serve(int fd, const struct helper_rules *rules, struct host_leases *leases)
{
    struct helper_request request;
    struct helper_peer peer;
    g_autofree gid_t *groups = g_new(gid_t, GROUPS_MAX);
    g_autoptr(GError) err = NULL;

    ssize_t n = recv(fd, &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n != sizeof(request) || request.version != HELPER_VERSION ||
        request.name[sizeof(request.name) - 1] || !find_peer(fd, groups, &peer))
        return false;
    const struct question q = {fd, &request, &peer, rules, leases};
    autofd given = dispatch(&q, &err);
    if (err)
        log_warning("request %u '%s' of user %u: %s", request.kind, request.name, peer.uid,
                    err->message);
    else
        log_info("request %u '%s' of user %u: done", request.kind, request.name, peer.uid);
    return reply(fd, given, err);
}
