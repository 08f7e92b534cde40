/* proto/rpc/peer.h: who is at the other end of a unix socket. Any thread. */
#ifndef PROTO_RPC_PEER_H
#define PROTO_RPC_PEER_H

#include "base/base.h"

#include <sys/types.h>

/* Who is at the other end, as the kernel says (SO_PEERCRED, SO_PEERGROUPS). */
struct rpc_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* supplementary groups */
    size_t n_groups;
};

/* Reads the credentials of the peer of the unix socket FD. Free with rpc_peer_clear(). */
bool rpc_peer_read(int fd, struct rpc_peer *out, GError **err);
/* A copy, to be cleared as well. */
void rpc_peer_copy(const struct rpc_peer *peer, struct rpc_peer *out);
void rpc_peer_clear(struct rpc_peer *peer);
/* Whether GID is the peer's group or one of its supplementary groups. */
bool rpc_peer_in_group(const struct rpc_peer *peer, gid_t gid);

#endif
