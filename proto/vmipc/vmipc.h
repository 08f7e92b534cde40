/*
 * proto/vmipc/vmipc.h: the link between vmd and a VM process (vmd-vm), both ends.
 *
 * The same wire and generated code as the public API, with the methods of vmi.schema. vmd calls
 * over a socket pair that it passes at start, or over the listening socket in the VM's runtime
 * directory, by which a restarted vmd finds a running VM again. The first call of each connection
 * is vmi.hello: it agrees on a version and names the latest event that vmd has stored; the VM
 * process sends all later ones again. Events are kept until vmi.ack, so none is lost or doubled.
 *
 * A VM process serves one vmd at a time: a newer connection that has said hello replaces an older
 * one. Each end runs on its loop's thread.
 */
#ifndef PROTO_VMIPC_VMIPC_H
#define PROTO_VMIPC_VMIPC_H

#include "proto/jsonrpc/client.h"
#include "proto/jsonrpc/rpc.h"
#include "proto/schema/vmi.h"

/* Versions of the link that this build speaks: major*10000 + minor*100 + patch. */
#define VMIPC_VERSION        100
#define VMIPC_VERSION_OLDEST 100

/* Name of the listening socket within a VM's runtime directory. */
#define VMIPC_SOCKET_NAME "control.sock"

/* --- the VM process's end ------------------------------------------------------------------ */

struct vmipc_server;

struct vmipc_server_ops {
    /* Fills state, vm_id (g_strdup'ed) of a hello's answer. */
    void (*status)(void *user, struct vmi_hello_result *out);
    /* vmd has stored all events up to SEQ. May be NULL. */
    void (*acked)(void *user, uint64_t seq);
    /* The connection to vmd is gone (the VM goes on), also the adopted one before its hello; or a
     * new one said hello. May be NULL. */
    void (*attached)(void *user, bool attached);
};

/* HANDLERS need not have hello, ack and fd: the server answers these. rpc_call_user() in handlers
 * is USER. All is kept by reference. */
struct vmipc_server *vmipc_server_new(uv_loop_t *loop, const struct vmi_handlers *handlers,
                                      const struct vmipc_server_ops *ops, void *user);

/* Serves the socket that was passed at start. Takes FD. */
bool vmipc_server_adopt(struct vmipc_server *s, int fd, GError **err);

/* Listens at DIR/control.sock, mode 0600; only this process's user and root are let in. */
bool vmipc_server_listen(struct vmipc_server *s, const char *dir, GError **err);

/* Numbers an event, keeps it until acknowledged, and sends it where vmd is there. DATA is the
 * event's generated struct (NULL: no members). From the loop's thread only. */
void vmipc_server_emit(struct vmipc_server *s, enum vmi_event event, const void *data);

/* Number of the latest event, and of the latest acknowledged one. */
uint64_t vmipc_server_last(const struct vmipc_server *s);
uint64_t vmipc_server_acked(const struct vmipc_server *s);

/* Takes a file descriptor that vmi.fd brought under NAME, or -1. The caller owns it. What is not taken is
 * closed with the connection that it came by. */
int vmipc_server_take_fd(struct vmipc_server *s, const char *name);

/* Closes, flushing for at most two seconds, frees, and then calls DONE (may be NULL). */
void vmipc_server_close(struct vmipc_server *s, void (*done)(void *arg), void *arg);

/* --- vmd's end ----------------------------------------------------------------------------- */

struct vmipc_link;

struct vmipc_link_ops {
    /* Hello was answered; calls are possible from here on. */
    void (*ready)(void *user, const struct vmi_hello_result *hello);
    /* An event that was not seen before, in order. DATA is its generated struct, borrowed. When it
     * is stored, call vmipc_link_ack(). */
    void (*event)(void *user, uint64_t seq, uint64_t time_ns, enum vmi_event event,
                  const void *data);
    /* The connection is gone, or hello failed. Free the link, or open it again. */
    void (*lost)(void *user, const GError *why);
};

/* VM_ID may be NULL (not known yet). ACKED is the latest event that is stored. */
struct vmipc_link *vmipc_link_new(uv_loop_t *loop, const char *vm_id, uint64_t acked,
                                  const struct vmipc_link_ops *ops, void *user);

/* Begins hello on the socket FD, which is taken, or on the socket of the runtime directory DIR. */
bool vmipc_link_open_fd(struct vmipc_link *l, int fd, GError **err);
bool vmipc_link_open(struct vmipc_link *l, const char *dir, GError **err);

/* As rpc_client_call(). While hello is under way the call waits for its end, ten seconds at most, which its own
 * time begins with. While the link is not open, REPLY gets VMD_ERROR_GONE before the function returns. Members of PARAMS that the VM process's release does not know are left out. */
void vmipc_link_call(struct vmipc_link *l, enum vmi_method method, const void *params,
                     unsigned timeout_ms, rpc_client_reply reply, void *arg);

/* vmi.fd: hands FD, which is taken, to the VM process under NAME. */
void vmipc_link_send_fd(struct vmipc_link *l, const char *name, int fd, rpc_client_reply reply,
                        void *arg);

/* All events up to SEQ are stored. */
void vmipc_link_ack(struct vmipc_link *l, uint64_t seq);

bool vmipc_link_ready(const struct vmipc_link *l);

/* Disconnects and frees; the VM goes on. Takes NULL. */
void vmipc_link_free(struct vmipc_link *l);

#endif
