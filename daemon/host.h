/* daemon/host: what the host is. */
#ifndef DAEMON_HOST_H
#define DAEMON_HOST_H

#include "proto/schema/api.h"

/* A new struct, the caller's. */
struct host_info_result *host_describe(void);

#endif
