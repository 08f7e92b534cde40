/* daemon/host: what the host is and can do. */
#ifndef DAEMON_HOST_H
#define DAEMON_HOST_H

#include "proto/schema/api.h"

/* New structs, the caller's. */
struct host_info_result *host_describe(void);
/* Rows of what can run guests, into an array of N struct accel_info. */
struct accel_info **host_accels(size_t *n);

#endif
