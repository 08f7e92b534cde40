/* machine/net: opening tap interfaces, for whoever has the right to. Small, for vmd-helper. */
#ifndef MACHINE_NET_TAP_OPEN_H
#define MACHINE_NET_TAP_OPEN_H

#include "base/base.h"

/* Whether NAME can be an interface's: 1 to 15 letters, digits, '_', '-' and '.', not "." or "..".
 */
bool tap_name_valid(const char *name);

/*
 * Opens tap interface NAME as net_tap_new() wants it. An interface that is not there is made if
 * CREATE, and goes with its last descriptor. Returns the descriptor, or -1 with
 * VMD_ERROR_INVALID (a bad name, an interface of another kind), _NOT_FOUND (not there and not
 * CREATE), _BUSY (open elsewhere), _DENIED (it needs CAP_NET_ADMIN), or _IO.
 */
int tap_open(const char *name, bool create, GError **err);

/* Brings interface NAME up, and makes it a port of BRIDGE unless that is NULL. Needs rights. */
bool tap_set_up(const char *name, const char *bridge, GError **err);

#endif
