/*
 * Consoles: a stream of the client's is joined with the socket that console.attach gives. Each way
 * stops while the other end does not take what came.
 *
 * Of a console many clients of vmd's have their part; of libvirt's, which look for no others, one
 * has it at a time, as one has a channel.
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
    struct bridge *bridge;
    char *vm, *name; /* the VM's id */
    struct libvirt_stream *stream;
    int fd;
    bool over; /* the console has said all */
    GByteArray *typed;
    uv_poll_t poll;
    GList link;
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

/* Nobody takes it any more: the client need not wait. */
static void drop_input(struct console *con)
{
    g_byte_array_set_size(con->typed, 0);
    libvirt_stream_hold(con->stream, false);
}

/* No bytes are the end, which the client answers by ending the stream. */
static void take_output(struct console *con)
{
    uint8_t piece[PIECE];
    ssize_t n = recv(con->fd, piece, sizeof(piece), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    con->over = n <= 0;
    if (con->over)
        drop_input(con);
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
        drop_input(con);
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

    g_queue_unlink(&con->bridge->consoles, &con->link);
    uv_close((uv_handle_t *)&con->poll, poll_closed);
    close(con->fd);
    g_free(con->vm);
    g_free(con->name);
    g_byte_array_unref(con->typed);
}

static const struct libvirt_stream_ops stream_ops = {
    .data = on_data, .drained = on_drained, .closed = on_closed};

/* --- opening --- */

struct opening {
    struct bridge *bridge;
    struct libvirt_request *request;
    char *vm, *name;
    bool force;
};

static void opening_free(struct opening *o)
{
    g_free(o->vm);
    g_free(o->name);
    g_free(o);
}

/* The stream that has the console O is of; NULL: none, or it is over. */
static struct console *find_open(const struct opening *o)
{
    for (GList *l = o->bridge->consoles.head; l; l = l->next) {
        struct console *con = l->data;
        if (!con->over && strcmp(con->vm, o->vm) == 0 && strcmp(con->name, o->name) == 0)
            return con;
    }
    return NULL;
}

static void refuse(struct opening *o)
{
    libvirt_fail(o->request, LIBVIRT_ERR_OPERATION_FAILED, LIBVIRT_FROM_DOMAIN,
                 "%s has a client already", o->name);
}

/* Whether O may have it: nobody has, or loses it now. */
static bool make_free(struct opening *o)
{
    struct console *had = find_open(o);

    if (had && o->force)
        libvirt_stream_fail(had->stream, LIBVIRT_ERR_OPERATION_FAILED, LIBVIRT_FROM_DOMAIN,
                            "another client has taken %s", o->name);
    else if (had)
        refuse(o);
    return !had || o->force;
}

/* Takes FD. */
static void begin_stream(struct opening *o, int fd)
{
    autofd own = fd;
    struct console *con = g_new0(struct console, 1);

    if (uv_poll_init(o->bridge->daemon->loop, &con->poll, fd) < 0) {
        libvirt_fail(o->request, LIBVIRT_ERR_INTERNAL, LIBVIRT_FROM_DOMAIN,
                     "the console cannot be watched");
        g_free(con);
        return;
    }
    con->bridge = o->bridge;
    con->vm = g_steal_pointer(&o->vm);
    con->name = g_steal_pointer(&o->name);
    con->fd = steal_fd(&own);
    con->typed = g_byte_array_new();
    con->poll.data = con;
    con->link.data = con;
    g_queue_push_tail_link(&con->bridge->consoles, &con->link);
    con->stream = libvirt_stream_begin(o->request, &stream_ops, con);
    if (con->stream)
        watch(con);
    else
        on_closed(con);
}

static void attached(void *arg, const void *result, int fd, const GError *err)
{
    struct opening *o = arg;
    autofd own = fd;

    if (err && g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY))
        refuse(o);
    else if (err)
        bridge_fail(o->request, err);
    else if (!libvirt_request_conn(o->request))
        libvirt_reply(o->request, NULL);
    else if (make_free(o))
        begin_stream(o, steal_fd(&own));
    opening_free(o);
}

static void join(struct client *c, struct libvirt_request *request, const struct vm *vm,
                 const char *name, bool force)
{
    struct console_attach_params p = {
        .vm = (char *)vm_id(vm), .console = (char *)name, .force = force};
    struct opening *o = g_new0(struct opening, 1);

    *o = (struct opening){c->bridge, request, g_strdup(p.vm), g_strdup(name), force};
    rpc_local_call(c->rpc, API_CONSOLE_ATTACH, &p, attached, o);
}

static void open_console(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_open_console *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (vm && bridge_flags(request, a->flags, FORCE | SAFE))
        join(c, request, vm, a->device ? a->device : "serial0", a->flags & FORCE);
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
        join(c, request, vm, name, a->flags & FORCE);
    else
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "the domain has no channel %s", name);
}

const struct bridge_row bridge_console_rows[] = {
    {LIBVIRT_DOMAIN_OPEN_CONSOLE, open_console},
    {LIBVIRT_DOMAIN_OPEN_CHANNEL, open_channel},
};
const size_t bridge_console_count = G_N_ELEMENTS(bridge_console_rows);
