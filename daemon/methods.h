/* daemon/methods: the handlers of the public API, over the registry, events and jobs. */
#ifndef DAEMON_METHODS_H
#define DAEMON_METHODS_H

#include "daemon/daemon.h"

/* The server of DAEMON's API; it listens nowhere yet. */
struct rpc_server *methods_server(struct daemon *daemon);

#endif
