/*
 * proto/rpc/listener.h: a listening unix socket on a loop. Loop thread.
 */
#ifndef PROTO_RPC_LISTENER_H
#define PROTO_RPC_LISTENER_H

#include "base/base.h"

#include <sys/types.h>
#include <uv.h>

struct rpc_listener;

/* A client has connected: FD is taken, is non-blocking and closed on exec. Comes from the loop. */
typedef void (*rpc_listener_fn)(void *user, int fd);

/*
 * Listens at PATH with file mode MODE. A socket file that nobody answers at is replaced; where a
 * server answers, VMD_ERROR_BUSY. The file is removed by rpc_listener_free(), where it is still the
 * same. NULL on error.
 */
struct rpc_listener *rpc_listener_new(uv_loop_t *loop, const char *path, mode_t mode,
                                      rpc_listener_fn fn, void *user, GError **err);

/* Listens on a socket that is bound and listening (socket activation). Takes FD, also on error. */
struct rpc_listener *rpc_listener_take(uv_loop_t *loop, int fd, rpc_listener_fn fn, void *user,
                                       GError **err);

/* Ends it; the loop releases the memory. Takes NULL. */
void rpc_listener_free(struct rpc_listener *l);

#endif
