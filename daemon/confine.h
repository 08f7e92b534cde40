/*
 * daemon/confine: what vmd gives up at its start, and with it all that it starts.
 *
 * vmd runs VM processes, reads what clients name and connects as users ask, so its list says what is
 * refused, not what is allowed; each VM process narrows it much further for itself (vm/sandbox.h).
 */
#ifndef DAEMON_CONFINE_H
#define DAEMON_CONFINE_H

#include "base/base.h"

/* Call while there is one thread. */
bool daemon_confine(GError **err);

#endif
