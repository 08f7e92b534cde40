/*
 * daemon/libvirt/bridge: libvirt's clients at this daemon. Each of them is a client of the JSON-RPC
 * server as well (proto/jsonrpc/local.h), with the rights that it would have there; what changes
 * something is a call of a method. Loop thread.
 */
#ifndef DAEMON_LIBVIRT_BRIDGE_H
#define DAEMON_LIBVIRT_BRIDGE_H

#include "daemon/daemon.h"

struct bridge;

struct bridge_options {
    const char *dir;     /* where the clients look */
    bool alias;          /* be there in the place of virtqemud too */
    bool headless;       /* screens in domain XML are dropped, not refused */
    const char *forward; /* what is passed on, as forward_new() reads it; NULL: nothing */
};

/*
 * Listens for DAEMON at libvirt-sock and libvirt-sock-ro of its runtime directory; at the sockets
 * that the service manager holds under the names "libvirt" and "libvirt-ro", or else at
 * virtvmdd-sock and virtvmdd-sock-ro of the directory where clients look; of these what fails is
 * logged. With the alias at virtqemud-sock and virtqemud-sock-ro there. OPTIONS is not kept. NULL with ERR when it
 * cannot listen at its own sockets or the alias, or what is to be passed on makes no sense.
 */
struct bridge *bridge_open(struct daemon *daemon, const struct bridge_options *options,
                           GError **err);

/* Disconnects all and frees it, then calls DONE. */
void bridge_close(struct bridge *bridge, void (*done)(void *arg), void *arg);

#endif
