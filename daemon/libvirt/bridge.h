/*
 * daemon/libvirt/bridge: libvirt's clients at this daemon. Each of them is a client of the JSON-RPC
 * server as well (proto/jsonrpc/local.h), with the rights that it would have there; what changes
 * something is a call of a method. Loop thread.
 */
#ifndef DAEMON_LIBVIRT_BRIDGE_H
#define DAEMON_LIBVIRT_BRIDGE_H

#include "daemon/daemon.h"

struct bridge;

/*
 * Listens for DAEMON at libvirt-sock and libvirt-sock-ro of its runtime directory; at the sockets
 * that the service manager holds under the names "libvirt" and "libvirt-ro", or else at
 * virtvmdd-sock and virtvmdd-sock-ro of DIR, where the clients look; of DIR what fails is logged.
 * NULL with ERR when it cannot listen at its own sockets.
 */
struct bridge *bridge_open(struct daemon *daemon, const char *dir, GError **err);

/* Disconnects all and frees it, then calls DONE. */
void bridge_close(struct bridge *bridge, void (*done)(void *arg), void *arg);

#endif
