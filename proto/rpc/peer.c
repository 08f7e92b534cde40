/* Who is at the other end of a unix socket, as the kernel says. */
#include "proto/rpc/peer.h"

#include <errno.h>
#include <sys/socket.h>

static int read_groups(int fd, struct rpc_peer *peer)
{
    socklen_t len = 0;
    gid_t *groups = NULL;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) < 0 && errno != ERANGE)
        return -errno;
    groups = g_malloc0(MAX(len, sizeof(gid_t)));
    if (len && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0) {
        int e = errno;
        g_free(groups);
        return -e;
    }
    peer->groups = groups;
    peer->n_groups = len / sizeof(gid_t);
    return 0;
}

bool rpc_peer_read(int fd, struct rpc_peer *out, GError **err)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    struct rpc_peer peer = {0};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return vmd_set_errno(err, errno, "reading the peer's credentials");
    int rc = read_groups(fd, &peer);
    if (rc < 0)
        return vmd_set_errno(err, -rc, "reading the peer's groups");
    peer.pid = cred.pid;
    peer.uid = cred.uid;
    peer.gid = cred.gid;
    *out = peer;
    return true;
}

void rpc_peer_copy(const struct rpc_peer *peer, struct rpc_peer *out)
{
    *out = *peer;
    out->groups = g_memdup2(peer->groups, peer->n_groups * sizeof(gid_t));
}

void rpc_peer_clear(struct rpc_peer *peer)
{
    g_free(peer->groups);
    *peer = (struct rpc_peer){0};
}

bool rpc_peer_in_group(const struct rpc_peer *peer, gid_t gid)
{
    for (size_t i = 0; i < peer->n_groups; i++) {
        if (peer->groups[i] == gid)
            return true;
    }
    return peer->gid == gid;
}
