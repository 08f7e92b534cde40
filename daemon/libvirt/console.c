/*
 * Consoles: a stream of the client's is joined with the socket that console.attach gives. Each way
 * stops while the other end does not take what came.
 */
#include "daemon/libvirt/bridge_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

enum {
    FORCE = 1 << 0,
    SAFE = 1 << 1,
    PIECE = 65536,
    INPUT_AHEAD = 65536, /* bytes typed and not taken at which the client waits */
};

struct console {
    struct libvirt_stream *stream;
    int fd;
    bool over; /* the console has said all */
    GByteArray *typed;
    uv_poll_t poll;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct console *con)
{
    int events = 0;

    if (!con->over && !libvirt_stream_full(con->stream))
        events |= UV_READABLE;
    if (!con->over && con->typed->len)
        events |= UV_WRITABLE;
    if (events)
        uv_poll_start(&con->poll, events, on_poll);
    else
        uv_poll_stop(&con->poll);
}

/* No bytes are the end, which the client answers by ending the stream. */
static void take_output(struct console *con)
{
    uint8_t piece[PIECE];
    ssize_t n = recv(con->fd, piece, sizeof(piece), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    con->over = n <= 0;
    libvirt_stream_send(con->stream, piece, (size_t)MAX(n, 0));
}

static void give_input(struct console *con)
{
    ssize_t n = con->typed->len
                    ? send(con->fd, con->typed->data, con->typed->len, MSG_DONTWAIT | MSG_NOSIGNAL)
                    : 0;

    if (n > 0)
        g_byte_array_remove_range(con->typed, 0, (guint)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        g_byte_array_set_size(con->typed, 0); /* nobody takes it any more */
    libvirt_stream_hold(con->stream, con->typed->len >= INPUT_AHEAD);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct console *con = poll->data;

    if (events & UV_WRITABLE)
        give_input(con);
    if ((events & UV_READABLE) || status < 0)
        take_output(con);
    watch(con);
}

static void on_data(void *user, const uint8_t *bytes, size_t len)
{
    struct console *con = user;

    if (con->over)
        return;
    g_byte_array_append(con->typed, bytes, (guint)len);
    give_input(con);
    watch(con);
}

static void on_drained(void *user)
{
    watch(user);
}

static void poll_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

static void on_closed(void *user)
{
    struct console *con = user;

    uv_close((uv_handle_t *)&con->poll, poll_closed);
    close(con->fd);
    g_byte_array_unref(con->typed);
}

static const struct libvirt_stream_ops stream_ops = {
    .data = on_data, .drained = on_drained, .closed = on_closed};

/* --- opening --- */

struct opening {
    struct bridge *bridge;
    struct libvirt_request *request;
};

static void attached(void *arg, const void *result, int fd, const GError *err)
{
    struct opening *o = arg;
    autofd own = fd;
    struct console *con = g_new0(struct console, 1);

    if (err) {
        bridge_fail(o->request, err);
    } else if (!libvirt_request_conn(o->request)) {
        libvirt_reply(o->request, NULL);
    } else if (uv_poll_init(o->bridge->daemon->loop, &con->poll, fd) < 0) {
        libvirt_fail(o->request, LIBVIRT_ERR_INTERNAL, LIBVIRT_FROM_DOMAIN,
                     "the console cannot be watched");
    } else {
        con->fd = steal_fd(&own);
        con->typed = g_byte_array_new();
        con->poll.data = con;
        con->stream = libvirt_stream_begin(o->request, &stream_ops, con);
        if (con->stream)
            watch(con);
        else
            on_closed(con);
        g_steal_pointer(&con);
    }
    g_free(con);
    g_free(o);
}

static void join(struct client *c, struct libvirt_request *request, const struct vm *vm,
                 const char *name)
{
    struct console_attach_params p = {.vm = (char *)vm_id(vm), .console = (char *)name};
    struct opening *o = g_new0(struct opening, 1);

    *o = (struct opening){c->bridge, request};
    rpc_local_call(c->rpc, API_CONSOLE_ATTACH, &p, attached, o);
}

static void open_console(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_open_console *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (vm && bridge_flags(request, a->flags, FORCE | SAFE))
        join(c, request, vm, a->device ? a->device : "serial0");
}

static bool has_channel(const struct vm *vm, const char *name)
{
    const struct vm_config *config = vm_config_of(vm);

    for (size_t i = 0; i < config->n_channels; i++) {
        if (strcmp(config->channels[i], name) == 0)
            return true;
    }
    return false;
}

/* The channels of the configuration, and the ports of virtio consoles; what else the guest's console has is
 * vmd's own. The first channel where none is named. */
static void open_channel(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_open_console *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, FORCE))
        return;
    const struct vm_config *config = vm_config_of(vm);
    const char *name = a->device ? a->device : config->n_channels ? config->channels[0] : "hvc0";
    if (g_str_has_prefix(name, "hvc") || has_channel(vm, name))
        join(c, request, vm, name);
    else
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "the domain has no channel %s", name);
}

const struct bridge_row bridge_console_rows[] = {
    {LIBVIRT_DOMAIN_OPEN_CONSOLE, open_console},
    {LIBVIRT_DOMAIN_OPEN_CHANNEL, open_channel},
};
const size_t bridge_console_count = G_N_ELEMENTS(bridge_console_rows);
