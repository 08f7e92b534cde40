/*
 * daemon/libvirt/forward: calls about storage, networks, the host's devices and interfaces, secrets and filters
 * that vmd leaves to a libvirtd of the host's, where it is told to: they are passed on as they come, and so are
 * the answers, streams and events. Loop thread.
 */
#ifndef DAEMON_LIBVIRT_FORWARD_H
#define DAEMON_LIBVIRT_FORWARD_H

#include "base/base.h"

struct client;
struct libvirt_request;

/* What is passed on, and where. */
struct forward;
/* One client's connections there. */
struct forwarded;

/*
 * TEXT is what an option says: WHAT or WHAT=SOCKET, separated by commas; WHAT is storage, network, nodedev,
 * interface, secret or nwfilter. Without SOCKET it is the one in DIR of the daemon that has it alone, or else of
 * libvirtd, whichever there is when a client first needs it. SYSTEM: that daemon is the system's, not a user's.
 * NULL with VMD_ERROR_INVALID.
 */
struct forward *forward_new(const char *text, const char *dir, bool system, GError **err);
/* Both take NULL. */
void forward_free(struct forward *f);
bool forward_networks(const struct forward *f);

/* Whether REQUEST of C, whose arguments are BYTES, is passed on; then it is answered by what comes of that. A client
 * that may not do all reads only, there too. */
bool forward_pass(struct client *c, struct libvirt_request *request, const uint8_t *bytes,
                  size_t len);
/* C has left. */
void forward_end(struct client *c);

#endif
