/* daemon/libvirt/forward_priv.h: what the files of the forwarder share: kinds of daemons that calls are left to, from 0. */
#ifndef DAEMON_LIBVIRT_FORWARD_PRIV_H
#define DAEMON_LIBVIRT_FORWARD_PRIV_H

#include "daemon/libvirt/forward.h"

enum { FORWARD_KINDS = 6 };

/* The kind whose PROCEDURE is; -1: it is vmd's own, also where F is NULL. */
int forward__kind(const struct forward *f, int32_t procedure);
const char *forward__name(int kind);
/* Whether the system's daemons are meant, not a user's. */
bool forward__system(const struct forward *f);
/* A socket that is connected to the daemon of KIND, the caller's to close; or -errno. */
int forward__connect(const struct forward *f, int kind);

#endif
