/*
 * daemon/waiters: calls that are answered later, when something has happened or their time is over.
 * Loop thread.
 */
#ifndef DAEMON_WAITERS_H
#define DAEMON_WAITERS_H

#include "proto/jsonrpc/rpc.h"

#include <uv.h>

struct waiters;

struct waiters *waiters_new(uv_loop_t *loop);
/* Fails those that still wait with VMD_ERROR_GONE. Takes NULL. */
void waiters_free(struct waiters *waiters);

/* Keeps CALL under TAG; after TIMEOUT_MS (0: never) it fails with VMD_ERROR_TIMEOUT and TEXT, a
 * static string. */
void waiters_add(struct waiters *waiters, struct rpc_call *call, int tag, uint64_t timeout_ms,
                 const char *text);

/* Answers each call under TAG by ANSWER(call, opaque). */
void waiters_answer(struct waiters *waiters, int tag,
                    void (*answer)(struct rpc_call *call, void *opaque), void *opaque);

#endif
