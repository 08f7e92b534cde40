/* Libvirt's clients: coming, going, and the way of a request to its handler. See bridge.h. */
#include "daemon/libvirt/bridge_priv.h"

#include "base/log.h"
#include "daemon/libvirt/polkit.h"
#include "daemon/pools.h"

#include <errno.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

enum { STALL_MS = LIMIT_LIBVIRT_STALL_S * 1000 };

/* --- requests --- */

static const struct {
    const struct bridge_row *rows;
    const size_t *count;
} tables[] = {
    {bridge_auth_rows, &bridge_auth_count},         {bridge_connect_rows, &bridge_connect_count},
    {bridge_domain_rows, &bridge_domain_count},     {bridge_list_rows, &bridge_list_count},
    {bridge_life_rows, &bridge_life_count},         {bridge_define_rows, &bridge_define_count},
    {bridge_console_rows, &bridge_console_count},   {bridge_event_rows, &bridge_event_count},
    {bridge_device_rows, &bridge_device_count},     {bridge_stats_rows, &bridge_stats_count},
    {bridge_host_rows, &bridge_host_count},         {bridge_counter_rows, &bridge_counter_count},
    {bridge_node_rows, &bridge_node_count},         {bridge_network_rows, &bridge_network_count},
    {bridge_snapshot_rows, &bridge_snapshot_count}, {bridge_vcpu_rows, &bridge_vcpu_count},
    {bridge_pool_rows, &bridge_pool_count},         {bridge_volume_rows, &bridge_volume_count},
    {bridge_transfer_rows, &bridge_transfer_count}, {bridge_tuning_rows, &bridge_tuning_count},
    {bridge_peek_rows, &bridge_peek_count},
};

static bridge_handler find(int32_t procedure)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (size_t i = 0; i < *tables[t].count; i++) {
            if (tables[t].rows[i].procedure == procedure)
                return tables[t].rows[i].handler;
        }
    }
    return NULL;
}

/* Whether CALL has a meaning before a URI was opened. */
static bool before_open(const struct libvirt_call *call)
{
    return call->number == LIBVIRT_AUTH_LIST || call->number == LIBVIRT_AUTH_POLKIT ||
           call->number == LIBVIRT_CONNECT_OPEN || call->number == LIBVIRT_CONNECT_SUPPORTS_FEATURE;
}

static void on_call(void *user, struct libvirt_request *request)
{
    const struct libvirt_call *call = libvirt_request_call(request);
    struct client *c = libvirt_conn_data(libvirt_request_conn(request));
    bridge_handler handler = find(call->number);

    if (!bridge__auth_passed(c, request))
        return;
    if (!handler)
        libvirt_fail(request, LIBVIRT_ERR_NO_SUPPORT, LIBVIRT_FROM_NONE, "vmd does not offer %s",
                     call->name);
    else if (!c->open && !before_open(call))
        libvirt_fail(request, LIBVIRT_ERR_INTERNAL, LIBVIRT_FROM_NONE,
                     "%s came before a connection was opened", call->name);
    else
        handler(c, request, libvirt_request_args(request));
}

static bool on_pass(void *user, struct libvirt_request *request, const uint8_t *bytes, size_t len)
{
    struct client *c = libvirt_conn_data(libvirt_request_conn(request));

    return c->open && forward_pass(c, request, bytes, len);
}

/* --- clients --- */

static void on_notify(void *user, const char *method, struct json_object *params)
{
    bridge_event(user, params);
}

static void on_leave(void *user)
{
    struct client *c = user;

    libvirt_conn_finish(c->conn);
}

static const struct rpc_local_ops local_ops = {.notify = on_notify, .leave = on_leave};

static bool on_opened(void *user, struct libvirt_conn *conn, GError **err)
{
    struct bridge *b = user;
    struct client *c = g_new0(struct client, 1);

    c->bridge = b;
    c->conn = conn;
    c->callbacks = g_ptr_array_new_with_free_func(g_free);
    c->rpc = rpc_server_join(b->daemon->server, libvirt_conn_peer(conn), &local_ops, c, err);
    libvirt_conn_set_data(conn, c);
    g_ptr_array_add(b->clients, c);
    bridge__auth_begin(c);
    return c->rpc != NULL;
}

static void on_closed(void *user, struct libvirt_conn *conn)
{
    struct client *c = libvirt_conn_data(conn);

    g_ptr_array_remove_fast(c->bridge->clients, c);
    bridge__auth_end(c);
    forward_end(c);
    if (c->rpc)
        rpc_conn_leave(g_steal_pointer(&c->rpc));
    g_ptr_array_unref(c->callbacks);
    g_free(c->uri);
    g_free(c);
}

static const struct libvirt_server_ops server_ops = {
    .opened = on_opened, .pass = on_pass, .call = on_call, .closed = on_closed};

/* --- sockets --- */

/* Where polkit says who may do all, everybody may come and be asked. */
static bool open_to_all(const char *path, GError **err)
{
    log_info("whom polkit lets can use %s", path);
    return chmod(path, 0666) == 0 || vmd_set_errno(err, errno, "opening %s to all", path);
}

/* The sockets NAME and NAME-ro in DIR. */
static bool listen_pair(struct bridge *b, const char *dir, const char *name, GError **err)
{
    for (int readonly = 0; readonly < 2; readonly++) {
        g_autofree char *path = g_strdup_printf("%s/%s%s", dir, name, readonly ? "-ro" : "");
        if (!libvirt_server_listen(b->server, path, 0600, readonly, err) ||
            (b->daemon->paths.system && !paths_share_socket(path, err)) ||
            (b->polkit && !readonly && !open_to_all(path, err)))
            return false;
        log_debug("libvirt's clients are served at %s", path);
    }
    return true;
}

/* Those of the service manager; COUNT gets how many there are. */
static bool listen_given(struct bridge *b, unsigned *count, GError **err)
{
    char **given = NULL;
    int n = sd_listen_fds_with_names(0, &given);
    bool ok = true;

    for (int i = 0; i < n; i++) {
        bool readonly = strcmp(given[i], "libvirt-ro") == 0;
        if (ok && (readonly || strcmp(given[i], "libvirt") == 0)) {
            ok = libvirt_server_listen_fd(b->server, SD_LISTEN_FDS_START + i, readonly, err);
            (*count)++;
        }
        free(given[i]);
    }
    free(given);
    return ok;
}

/* Where libvirt's clients look without being told. Another daemon may be there, or the folder not
 * ours. */
static void listen_where_clients_look(struct bridge *b, const struct bridge_options *o)
{
    g_autoptr(GError) err = NULL;

    bool made = b->daemon->paths.system ? paths_make_shared_dir(o->dir, &err)
                                        : paths_make_dir(o->dir, &err);
    if (!made || !listen_pair(b, o->dir, "virtvmdd-sock", &err))
        log_warning("libvirt's clients need ?socket= in their URIs: %s", err->message);
}

/* Frees B once its server and its threads have ended. */
static void free_if_over(struct bridge *b)
{
    void (*done)(void *) = b->done;
    void *done_arg = b->done_arg;

    if (b->server || b->works.length)
        return;
    g_clear_pointer(&b->list.written, g_byte_array_unref);
    g_ptr_array_unref(b->clients);
    pools_free(b->pools);
    polkit_free(b->polkit);
    forward_free(b->forward);
    g_free(b);
    if (done)
        done(done_arg);
}

static void closed(void *arg)
{
    struct bridge *b = arg;

    b->server = NULL;
    free_if_over(b);
}

void bridge__work_over(struct bridge *b)
{
    free_if_over(b);
}

void bridge_close(struct bridge *b, void (*done)(void *arg), void *arg)
{
    b->done = done;
    b->done_arg = arg;
    bridge__stop_works(b);
    libvirt_server_close(b->server, closed, b);
}

/* What is there only when it is asked for. */
static bool open_options(struct bridge *b, const struct bridge_options *o, GError **err)
{
    const struct paths *paths = &b->daemon->paths;

    if (o->forward) {
        b->forward = forward_new(o->forward, paths->libvirt, paths->system, err);
        if (!b->forward)
            return false;
    }
    return !o->alias || listen_pair(b, o->dir, "virtqemud-sock", err);
}

struct bridge *bridge_open(struct daemon *daemon, const struct bridge_options *o, GError **err)
{
    struct bridge *b = g_new0(struct bridge, 1);
    unsigned given = 0;

    b->daemon = daemon;
    b->xml =
        (struct xml_options){.headless = o->headless, .sockets = daemon->paths.runtime, .volume = bridge__volume_path, .user = b};
    g_queue_init(&b->works);
    g_queue_init(&b->consoles);
    b->clients = g_ptr_array_new();
    b->server = libvirt_server_new(daemon->loop, &server_ops, b, STALL_MS);
    b->polkit = daemon->paths.system ? polkit_open(daemon->loop) : NULL;
    b->pools = pools_open(daemon->paths.store, err);
    if (!b->pools || !listen_pair(b, daemon->paths.runtime, "libvirt-sock", err) ||
        !listen_given(b, &given, err)) {
        bridge_close(b, NULL, NULL);
        return NULL;
    }
    if (!given)
        listen_where_clients_look(b, o);
    if (open_options(b, o, err))
        return b;
    bridge_close(b, NULL, NULL);
    return NULL;
}
