/*
 * libvmd: the C client library of vmd.
 *
 * Synchronous calls, file descriptors that come with answers, and events. A client belongs to one
 * thread at a time. Errors are GErrors of VMD_ERROR; vmd_client_hint() says what to do about the
 * latest one.
 *
 *     g_autoptr(vmd_client) c = vmd_client_connect(NULL, &err);
 *     struct vm_get_params get = {.vm = "debian"};
 *     g_autoptr(vm_info) info = NULL;
 *     if (!c || !vmd_client_invoke(c, API_VM_GET, &get, &info, NULL, &err))
 *         ...
 */
#ifndef PROTO_CLIENT_LIBVMD_H
#define PROTO_CLIENT_LIBVMD_H

#include "proto/schema/api.h"

struct vmd_client;

/*
 * Where a daemon may listen, in the order in which clients look: $VMD_SOCKET alone where it is set;
 * else $XDG_RUNTIME_DIR/vmd/vmd.sock and /run/vmd/vmd.sock. NULL-terminated; g_strfreev().
 */
char **vmd_socket_paths(void);

/* The socket of the user's own daemon: $XDG_RUNTIME_DIR/vmd/vmd.sock, or below /tmp where there is
 * no such directory (/tmp/vmd-UID/vmd.sock). The caller frees. */
char *vmd_socket_path_user(void);

/* The socket of the system-wide daemon. */
#define VMD_SOCKET_PATH_SYSTEM "/run/vmd/vmd.sock"

/*
 * Connects to the daemon at PATH, or at the first of vmd_socket_paths() that answers (PATH NULL).
 * Errors: VMD_ERROR_NOT_FOUND where no daemon listens, VMD_ERROR_DENIED.
 */
struct vmd_client *vmd_client_connect(const char *path, GError **err);

/* Takes a connected socket. */
struct vmd_client *vmd_client_new_fd(int fd);

/* Takes NULL. */
void vmd_client_free(struct vmd_client *c);
typedef struct vmd_client vmd_client;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmd_client, vmd_client_free)

/* The socket's path, for messages; NULL for vmd_client_new_fd(). */
const char *vmd_client_path(const struct vmd_client *c);

/* How long a call waits for its answer, in ms; -1 (as at first): without end. */
void vmd_client_set_timeout(struct vmd_client *c, int ms);

/*
 * Calls METHOD with PARAMS (taken; NULL: none) and waits for the answer. RESULT gets it (the caller
 * puts it); FD, where not NULL, gets the descriptor that came with it, or -1. Events that come
 * meanwhile are kept for vmd_client_next_event().
 */
bool vmd_client_call(struct vmd_client *c, const char *method, struct json_object *params,
                     struct json_object **result, int *fd, GError **err);

/*
 * The same by number and generated structs: PARAMS is the method's params struct (NULL: no
 * members), RESULT a pointer to a pointer to its result struct (NULL: not wanted).
 */
bool vmd_client_invoke(struct vmd_client *c, enum api_method method, const void *params,
                       void *result, int *fd, GError **err);

/* What to do about the latest error, or NULL. Valid until the next call. */
const char *vmd_client_hint(const struct vmd_client *c);

/*
 * The next event of a subscription (event.subscribe is called as any method). Waits up to
 * TIMEOUT_MS (-1: without end). OUT is NULL when the time is over. Fails with VMD_ERROR_GONE, or
 * the kind that the daemon gave in rpc.closing, when the connection has ended.
 */
bool vmd_client_next_event(struct vmd_client *c, int timeout_ms, struct event_delivery **out,
                           GError **err);

/* Readable when vmd_client_next_event(c, 0, ...) may have something. Poll it only after that
 * function has returned no event: some may be kept already. */
int vmd_client_fd(const struct vmd_client *c);

#endif
