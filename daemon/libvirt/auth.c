/*
 * Who a client is. The kernel tells, and the role of the daemon's own API follows
 * (daemon/methods.c). Where the system has polkit, a client that could only look proves by it that
 * it may do all, before anything else; one of the group vmd may, to do more than the group does.
 */
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/libvirt/polkit.h"

#define ACTION "org.vmd.manage"

enum { AUTH_NONE = 0, AUTH_POLKIT = 2 };

/* A question that a client waits for. */
struct asking {
    struct client *c;
    struct libvirt_request *request;
    struct polkit_question *question;
};

static bool by_polkit(const struct client *c)
{
    return c->bridge->polkit && c->rpc && !libvirt_conn_readonly(c->conn) &&
           rpc_conn_role(c->rpc) != RPC_ROLE_ADMIN;
}

void bridge__auth_begin(struct client *c)
{
    c->locked = by_polkit(c) && rpc_conn_role(c->rpc) == RPC_ROLE_READ;
}

bool bridge__auth_passed(struct client *c, struct libvirt_request *request)
{
    int32_t number = libvirt_request_call(request)->number;

    if (!c->locked || number == LIBVIRT_AUTH_LIST || number == LIBVIRT_AUTH_POLKIT)
        return true;
    libvirt_fail(request, LIBVIRT_ERR_AUTH_FAILED, LIBVIRT_FROM_RPC,
                 "the client is to authenticate itself by polkit before anything else");
    return false;
}

/* The first is what a client takes that has not been told. */
static void auth_list(struct client *c, struct libvirt_request *request, const void *args)
{
    int32_t types[2];
    struct libvirt_auth_types out = {.types = types};

    if (!c->locked)
        types[out.types_count++] = AUTH_NONE;
    if (by_polkit(c))
        types[out.types_count++] = AUTH_POLKIT;
    libvirt_reply(request, &out);
}

static void answered(void *arg, enum polkit_answer answer, const char *why)
{
    struct asking *a = arg;
    struct client *c = a->c;

    c->asking = NULL;
    if (answer == POLKIT_YES) {
        c->locked = false;
        rpc_conn_set_role(c->rpc, RPC_ROLE_ADMIN);
        libvirt_reply(a->request, &(struct libvirt_number){.value = 1});
    } else if (answer == POLKIT_NOBODY) {
        libvirt_fail(a->request, LIBVIRT_ERR_AUTH_UNAVAILABLE, LIBVIRT_FROM_POLKIT,
                     "authentication unavailable: no polkit agent is there to ask about " ACTION);
    } else if (answer == POLKIT_DISMISSED) {
        libvirt_fail(a->request, LIBVIRT_ERR_AUTH_CANCELLED, LIBVIRT_FROM_POLKIT,
                     "authentication for " ACTION " was dismissed");
    } else {
        libvirt_fail(a->request, LIBVIRT_ERR_AUTH_FAILED, LIBVIRT_FROM_POLKIT,
                     "polkit does not let this client do " ACTION "%s%s", why ? ": " : "",
                     why ? why : "");
    }
    g_free(a);
}

static void auth_polkit(struct client *c, struct libvirt_request *request, const void *args)
{
    if (!by_polkit(c) || c->asking) {
        libvirt_fail(request, LIBVIRT_ERR_AUTH_FAILED, LIBVIRT_FROM_RPC,
                     c->asking ? "polkit is asked already" : "polkit is not asked here");
        return;
    }
    struct asking *a = g_new0(struct asking, 1);
    a->c = c;
    a->request = request;
    c->asking = a;
    a->question = polkit_ask(c->bridge->polkit, libvirt_conn_peer(c->conn), ACTION, answered, a);
}

void bridge__auth_end(struct client *c)
{
    struct asking *a = c->asking;

    if (!a)
        return;
    c->asking = NULL;
    polkit_forget(a->question);
    libvirt_fail(a->request, LIBVIRT_ERR_AUTH_CANCELLED, LIBVIRT_FROM_POLKIT,
                 "the client has left");
    g_free(a);
}

const struct bridge_row bridge_auth_rows[] = {
    {LIBVIRT_AUTH_LIST, auth_list},
    {LIBVIRT_AUTH_POLKIT, auth_polkit},
};
const size_t bridge_auth_count = G_N_ELEMENTS(bridge_auth_rows);
