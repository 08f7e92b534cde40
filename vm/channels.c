/* Channels and their clients. See channels.h. */
#include "vm/channels.h"

#include "proto/rpc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

enum { IN_BYTES = 16384, SOCKET_MODE = 0600 };

struct channel {
    struct channels *all;
    unsigned index;
    char *name;
    struct rpc_listener *listener;
    bool open;       /* the guest's end */
    int fd;          /* the client's; -1: there is none */
    uv_poll_t *poll; /* freed by its close */
    int events;      /* that are looked for */
    bool leaving;    /* it will send no more than is in its socket */
    uint8_t in[IN_BYTES];
    size_t at, have; /* what the guest has not taken yet */
};

struct channels {
    uv_loop_t *loop;
    struct virtio_device *device; /* NULL: it is gone, or not there yet */
    unsigned first;               /* of its ports that are these */
    unsigned n;
    struct channel rows[LIMIT_CHANNELS];
};

/* --- clients ---------------------------------------------------------------------------------- */

static void poll_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void drop_client(struct channel *c)
{
    autofd fd = steal_fd(&c->fd); /* closed when nobody polls it any more */

    if (c->poll) {
        uv_poll_stop(c->poll);
        uv_close((uv_handle_t *)c->poll, poll_closed);
    }
    c->poll = NULL;
    c->leaving = false;
    c->at = c->have = 0;
}

/* Tells the guest whether somebody is there; output that was held has a place to go now. */
static void tell(struct channel *c)
{
    struct virtio_device *device = c->all->device;

    if (!device)
        return;
    virtio_console_connect(device, c->all->first + c->index, c->fd >= 0);
    virtio_console_ready(device, c->all->first + c->index);
}

static void lose(struct channel *c)
{
    drop_client(c);
    tell(c);
}

static void happened(uv_poll_t *poll, int status, int events);

static void look_for(struct channel *c, int events)
{
    if (events != c->events)
        uv_poll_start(c->poll, events, happened);
    c->events = events;
}

/* What is read next is asked for when the guest, which has the port open, has taken all. */
static void feed(struct channel *c)
{
    bool takes = c->all->device && c->open;

    if (takes && c->have) {
        size_t n =
            virtio_console_input(c->all->device, c->all->first + c->index, c->in + c->at, c->have);
        c->at += n;
        c->have -= n;
    }
    look_for(c, takes && !c->have ? c->events | UV_READABLE : c->events & ~UV_READABLE);
}

static void receive(struct channel *c)
{
    ssize_t n = recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(c);
        return;
    }
    c->at = 0;
    c->have = (size_t)n;
    feed(c);
}

static void happened(uv_poll_t *poll, int status, int events)
{
    struct channel *c = poll->data;

    if ((status < 0 || events & UV_DISCONNECT) && !c->open) {
        lose(c);
        return;
    }
    if (status < 0) { /* it is gone, and did not read all; what it sent can be read still */
        c->leaving = true;
        c->events = 0;
        if (!c->have)
            receive(c);
        return;
    }
    if (events & UV_DISCONNECT) {
        c->leaving = true;
        look_for(c, c->events & ~UV_DISCONNECT);
    }
    if (events & UV_WRITABLE) {
        look_for(c, c->events & ~UV_WRITABLE);
        virtio_console_ready(c->all->device, c->all->first + c->index);
    }
    if (c->poll == poll && events & UV_READABLE && !c->have)
        receive(c);
}

/* Takes FD, also on error; 0 or -errno. */
static int join(struct channel *c, int fd)
{
    autofd own = fd;

    c->poll = g_new0(uv_poll_t, 1);
    int rc = uv_poll_init(c->all->loop, c->poll, fd);
    if (rc < 0) {
        g_clear_pointer(&c->poll, g_free);
        return rc;
    }
    c->poll->data = c;
    c->fd = steal_fd(&own);
    c->events = 0;
    look_for(c, UV_DISCONNECT);
    feed(c);
    tell(c);
    return 0;
}

/* Whether C has a client. One that is gone is not waited for: what the guest does not take of it is
 * nobody's. */
static bool is_taken(struct channel *c)
{
    if (c->fd >= 0 && c->leaving)
        lose(c);
    return c->fd >= 0;
}

static void connected(void *user, int fd)
{
    struct channel *c = user;

    if (is_taken(c))
        close(fd);
    else
        join(c, fd);
}

static struct channel *find(struct channels *all, const char *name)
{
    for (unsigned i = 0; all && i < all->n; i++) {
        if (strcmp(all->rows[i].name, name) == 0)
            return &all->rows[i];
    }
    return NULL;
}

bool channels_has(struct channels *all, const char *name)
{
    return find(all, name) != NULL;
}

int channels_attach(struct channels *all, const char *name, GError **err)
{
    struct channel *c = find(all, name);
    int pair[2];

    if (!c || is_taken(c)) {
        vmd_fail(err, c ? VMD_ERROR_BUSY : VMD_ERROR_NOT_FOUND,
                 c ? "channel %s has a client" : "there is no console or channel %s", name);
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        vmd_set_errno(err, errno, "a socket for channel %s", name);
        return -1;
    }
    /* The client's end is an ordinary blocking socket. */
    fcntl(pair[1], F_SETFL, fcntl(pair[1], F_GETFL) & ~O_NONBLOCK);
    int rc = join(c, pair[0]);
    if (rc == 0)
        return pair[1];
    close(pair[1]);
    vmd_set_errno(err, -rc, "watching channel %s", name);
    return -1;
}

/* --- what the guest does ---------------------------------------------------------------------- */

static size_t channel_output(void *opaque, const uint8_t *data, size_t n)
{
    struct channel *c = opaque;

    if (c->fd < 0)
        return n;
    ssize_t sent = send(c->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        look_for(c, c->events | UV_DISCONNECT); /* that it is over is heard there */
        return n;
    }
    if (sent < (ssize_t)n)
        look_for(c, c->events | UV_WRITABLE);
    return sent < 0 ? 0 : (size_t)sent;
}

static void channel_input_room(void *opaque)
{
    struct channel *c = opaque;

    if (c->fd >= 0)
        feed(c);
}

/* A client that said all, and waits for nobody to take it, is let go. */
static void channel_opened(void *opaque, bool open)
{
    struct channel *c = opaque;

    c->open = open;
    if (c->fd < 0)
        return;
    if (!open && c->leaving)
        lose(c);
    else
        feed(c);
}

static const struct virtio_console_ops channel_ops = {
    .output = channel_output, .input_room = channel_input_room, .opened = channel_opened};

/* --- the device ------------------------------------------------------------------------------- */

unsigned channels_fill(struct channels *all, struct virtio_console_port *out)
{
    for (unsigned i = 0; all && i < all->n; i++)
        out[i] =
            (struct virtio_console_port){all->rows[i].name, &channel_ops, &all->rows[i], false};
    return all ? all->n : 0;
}

void channels_at(struct channels *all, struct virtio_device *device, unsigned first)
{
    if (!all)
        return;
    all->device = device;
    all->first = first;
    for (unsigned i = 0; i < all->n; i++) {
        struct channel *c = &all->rows[i];
        if (device)
            tell(c);
        else
            drop_client(c);
        c->open &= device != NULL;
    }
}

/* --- life ------------------------------------------------------------------------------------- */

struct channels *channels_new(uv_loop_t *loop, const char *dir, char *const *names, size_t n,
                              GError **err)
{
    struct channels *all = g_new0(struct channels, 1);

    g_assert(n <= LIMIT_CHANNELS);
    all->loop = loop;
    for (size_t i = 0; i < n; i++) {
        struct channel *c = &all->rows[all->n++];
        c->all = all;
        c->index = (unsigned)i;
        c->name = g_strdup(names[i]);
        c->fd = -1;
        if (!dir)
            continue;
        g_autofree char *path = g_strdup_printf("%s/channel%zu", dir, i);
        c->listener = rpc_listener_new(loop, path, SOCKET_MODE, connected, c, err);
        if (!c->listener) {
            g_prefix_error(err, "channel %s: ", names[i]);
            channels_free(all);
            return NULL;
        }
    }
    return all;
}

void channels_free(struct channels *all)
{
    for (unsigned i = 0; all && i < all->n; i++) {
        struct channel *c = &all->rows[i];
        rpc_listener_free(c->listener);
        drop_client(c);
        g_free(c->name);
    }
    g_free(all);
}
