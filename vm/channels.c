/* Channels and their clients. See channels.h. */
#include "vm/channels.h"

#include "proto/rpc/listener.h"
#include "vm/port_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

enum { SOCKET_MODE = 0600 };

struct channel {
    char *name;
    struct rpc_listener *listener;
    struct port_stream *client;
};

struct channels {
    unsigned n;
    struct channel rows[LIMIT_CHANNELS];
};

/* --- clients ---------------------------------------------------------------------------------- */

static void lose(void *opaque)
{
    struct channel *c = opaque;

    port_stream_end(c->client);
    port_stream_tell(c->client, false);
}

/* Whether C has a client. One that is gone is not waited for: what the guest does not take of it is
 * nobody's. */
static bool is_taken(struct channel *c)
{
    if (port_stream_is_leaving(c->client))
        lose(c);
    return port_stream_has_socket(c->client);
}

static void connected(void *user, int fd)
{
    struct channel *c = user;

    if (is_taken(c))
        close(fd);
    else
        port_stream_begin(c->client, fd);
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

int channels_attach(struct channels *all, const char *name, bool force, GError **err)
{
    struct channel *c = find(all, name);
    int pair[2];

    if (!c || (is_taken(c) && !force)) {
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
    if (port_stream_has_socket(c->client))
        lose(c);
    int rc = port_stream_begin(c->client, pair[0]);
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

    return port_stream_output(c->client, data, n);
}

static void channel_input_room(void *opaque)
{
    struct channel *c = opaque;

    port_stream_input_room(c->client);
}

/* A client that said all, and waits for nobody to take it, is let go. */
static void channel_opened(void *opaque, bool open)
{
    struct channel *c = opaque;

    if (!open && port_stream_is_leaving(c->client))
        lose(c);
    port_stream_set_taken(c->client, open);
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
    for (unsigned i = 0; all && i < all->n; i++) {
        struct port_stream *s = all->rows[i].client;
        port_stream_at(s, device, first + i);
        if (device) {
            port_stream_tell(s, port_stream_has_socket(s));
        } else {
            port_stream_end(s);
            port_stream_set_taken(s, false);
        }
    }
}

/* --- life ------------------------------------------------------------------------------------- */

struct channels *channels_new(uv_loop_t *loop, const char *dir, char *const *names, size_t n,
                              GError **err)
{
    struct channels *all = g_new0(struct channels, 1);

    g_assert(n <= LIMIT_CHANNELS);
    for (size_t i = 0; i < n; i++) {
        struct channel *c = &all->rows[all->n++];
        c->name = g_strdup(names[i]);
        c->client = port_stream_new(loop, true, lose, c);
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
        port_stream_free(c->client);
        g_free(c->name);
    }
    g_free(all);
}
