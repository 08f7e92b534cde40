/* Sockets at ports. See port_stream.h. */
#include "vm/port_stream.h"

#include <errno.h>
#include <sys/socket.h>

enum { IN_BYTES = 16384 };

struct port_stream {
    uv_loop_t *loop;
    bool lingers;
    void (*lost)(void *opaque);
    void *opaque;
    struct virtio_device *device; /* or NULL */
    unsigned port;
    bool taken;      /* the guest takes input */
    int fd;          /* -1: there is none */
    uv_poll_t *poll; /* freed by its close */
    int events;      /* that are looked for */
    bool leaving;    /* the other end will send no more than is in the socket */
    uint8_t in[IN_BYTES];
    size_t at, have; /* what the guest has not taken yet */
};

struct port_stream *port_stream_new(uv_loop_t *loop, bool lingers, void (*lost)(void *opaque),
                                    void *opaque)
{
    struct port_stream *s = g_new0(struct port_stream, 1);

    s->loop = loop;
    s->lingers = lingers;
    s->lost = lost;
    s->opaque = opaque;
    s->fd = -1;
    return s;
}

void port_stream_free(struct port_stream *s)
{
    if (s)
        port_stream_end(s);
    g_free(s);
}

void port_stream_at(struct port_stream *s, struct virtio_device *device, unsigned port)
{
    s->device = device;
    s->port = port;
}

bool port_stream_has_socket(const struct port_stream *s)
{
    return s->fd >= 0;
}

bool port_stream_is_leaving(const struct port_stream *s)
{
    return s->leaving;
}

void port_stream_tell(struct port_stream *s, bool connected)
{
    if (!s->device)
        return;
    virtio_console_connect(s->device, s->port, connected);
    virtio_console_ready(s->device, s->port);
}

/* --- the socket ------------------------------------------------------------------------------- */

static void happened(uv_poll_t *poll, int status, int events);

static void look_for(struct port_stream *s, int events)
{
    if (events != s->events)
        uv_poll_start(s->poll, events, happened);
    s->events = events;
}

/* What is read next is asked for when the guest, if it takes any, has taken all. */
static void feed(struct port_stream *s)
{
    bool takes = s->device && s->taken;

    if (takes && s->have) {
        size_t n = virtio_console_input(s->device, s->port, s->in + s->at, s->have);
        s->at += n;
        s->have -= n;
    }
    look_for(s, takes && !s->have ? s->events | UV_READABLE : s->events & ~UV_READABLE);
}

static void receive(struct port_stream *s)
{
    ssize_t n = recv(s->fd, s->in, sizeof(s->in), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        s->lost(s->opaque);
        return;
    }
    s->at = 0;
    s->have = (size_t)n;
    feed(s);
}

static void happened(uv_poll_t *poll, int status, int events)
{
    struct port_stream *s = poll->data;

    if ((status < 0 || events & UV_DISCONNECT) && !(s->lingers && s->taken)) {
        s->lost(s->opaque);
        return;
    }
    if (status < 0) { /* it is gone, and did not read all; what it sent can be read still */
        s->leaving = true;
        s->events = 0;
        if (!s->have)
            receive(s);
        return;
    }
    if (events & UV_DISCONNECT) {
        s->leaving = true;
        look_for(s, s->events & ~UV_DISCONNECT);
    }
    if (events & UV_WRITABLE) {
        look_for(s, s->events & ~UV_WRITABLE);
        virtio_console_ready(s->device, s->port);
    }
    if (s->poll == poll && events & UV_READABLE && !s->have)
        receive(s);
}

int port_stream_begin(struct port_stream *s, int fd)
{
    autofd own = fd;

    s->poll = g_new0(uv_poll_t, 1);
    int rc = uv_poll_init(s->loop, s->poll, fd);
    if (rc < 0) {
        g_clear_pointer(&s->poll, g_free);
        return rc;
    }
    s->poll->data = s;
    s->fd = steal_fd(&own);
    s->events = 0;
    if (s->lingers)
        look_for(s, UV_DISCONNECT);
    feed(s);
    port_stream_tell(s, true);
    return 0;
}

static void poll_closed(uv_handle_t *handle)
{
    g_free(handle);
}

void port_stream_end(struct port_stream *s)
{
    autofd fd = steal_fd(&s->fd); /* closed when nobody polls it any more */

    if (s->poll) {
        uv_poll_stop(s->poll);
        uv_close((uv_handle_t *)s->poll, poll_closed);
    }
    s->poll = NULL;
    s->leaving = false;
    s->at = s->have = 0;
}

/* --- the guest -------------------------------------------------------------------------------- */

void port_stream_set_taken(struct port_stream *s, bool taken)
{
    s->taken = taken;
    if (s->fd >= 0)
        feed(s);
}

void port_stream_input_room(struct port_stream *s)
{
    if (s->fd >= 0)
        feed(s);
}

size_t port_stream_output(struct port_stream *s, const uint8_t *data, size_t n)
{
    if (s->fd < 0)
        return n;
    ssize_t sent = send(s->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        /* That it is over is heard when it is read, or there. */
        if (s->lingers)
            look_for(s, s->events | UV_DISCONNECT);
        return n;
    }
    if (sent < (ssize_t)n)
        look_for(s, s->events | UV_WRITABLE);
    return sent < 0 ? 0 : (size_t)sent;
}
