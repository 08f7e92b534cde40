/* Ports and their streams. See gpu_ports.h. */
#include "vm/gpu_ports.h"

#include "gpu/protocol/contract.h"

#include <errno.h>
#include <sys/socket.h>

enum { IN_BYTES = 16384 };

static const char *const names[] = {WORKER_PORT "0", WORKER_PORT "1", WORKER_PORT "2",
                                    WORKER_PORT "3"};

G_STATIC_ASSERT(G_N_ELEMENTS(names) == WORKER_PORTS);

enum state {
    CLOSED,  /* at the guest's end */
    WAITING, /* it is open, and there is no worker */
    JOINED,  /* it has a stream */
    LOST,    /* that is over, and the guest has not closed it yet */
};

struct port {
    struct gpu_ports *all;
    unsigned index;
    enum state state;
    int fd;          /* of the stream, or -1 */
    uv_poll_t *poll; /* freed by its close */
    int events;      /* that are looked for */
    uint8_t in[IN_BYTES];
    size_t at, have; /* what the guest has not taken yet */
};

struct gpu_ports {
    uv_loop_t *loop;
    struct virtio_device *device; /* NULL: it is gone, or not there yet */
    unsigned first;               /* of its ports that are these */
    unsigned gpus;                /* that are there; ports are while there are any */
    gpu_join_fn join;
    void *opaque;
    struct port ports[WORKER_PORTS];
};

struct gpu_ports *gpu_ports_new(uv_loop_t *loop)
{
    struct gpu_ports *all = g_new0(struct gpu_ports, 1);

    all->loop = loop;
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        all->ports[i].all = all;
        all->ports[i].index = i;
        all->ports[i].fd = -1;
    }
    return all;
}

/* --- streams ---------------------------------------------------------------------------------- */

static void poll_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void end_stream(struct port *p)
{
    autofd fd = steal_fd(&p->fd); /* closed when nobody polls it any more */

    if (p->poll) {
        uv_poll_stop(p->poll);
        uv_close((uv_handle_t *)p->poll, poll_closed);
    }
    p->poll = NULL;
    p->at = p->have = 0;
}

/* Tells the guest whether the host's end is there; output that was held has a place to go now. */
static void tell(struct port *p, bool connected)
{
    struct virtio_device *device = p->all->device;

    if (!device)
        return;
    virtio_console_connect(device, p->all->first + p->index, connected);
    virtio_console_ready(device, p->all->first + p->index);
}

static void lose(struct port *p)
{
    end_stream(p);
    p->state = LOST;
    tell(p, false);
}

static void happened(uv_poll_t *poll, int status, int events);

static void look_for(struct port *p, int events)
{
    if (events != p->events)
        uv_poll_start(p->poll, events, happened);
    p->events = events;
}

/* Gives the guest what there is; the next is read when it has taken all. */
static void feed(struct port *p)
{
    size_t n =
        virtio_console_input(p->all->device, p->all->first + p->index, p->in + p->at, p->have);

    p->at += n;
    p->have -= n;
    look_for(p, p->have ? p->events & ~UV_READABLE : p->events | UV_READABLE);
}

static void receive(struct port *p)
{
    ssize_t n = recv(p->fd, p->in, sizeof(p->in), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(p);
        return;
    }
    p->at = 0;
    p->have = (size_t)n;
    feed(p);
}

static void happened(uv_poll_t *poll, int status, int events)
{
    struct port *p = poll->data;

    if (status < 0) {
        lose(p);
        return;
    }
    if (events & UV_WRITABLE) {
        look_for(p, p->events & ~UV_WRITABLE);
        virtio_console_ready(p->all->device, p->all->first + p->index);
    }
    if (p->poll == poll && events & UV_READABLE && !p->have)
        receive(p);
}

static void join(struct port *p)
{
    struct gpu_ports *all = p->all;

    p->state = WAITING;
    if (!all->join)
        return;
    p->fd = all->join(all->opaque);
    p->poll = g_new0(uv_poll_t, 1);
    if (p->fd < 0 || uv_poll_init(all->loop, p->poll, p->fd) < 0) {
        g_clear_pointer(&p->poll, g_free);
        lose(p);
        return;
    }
    p->state = JOINED;
    p->poll->data = p;
    p->events = 0;
    look_for(p, UV_READABLE);
    tell(p, true);
}

/* --- what the guest does ---------------------------------------------------------------------- */

static size_t port_output(void *opaque, const uint8_t *data, size_t n)
{
    struct port *p = opaque;

    if (p->state != JOINED)
        return p->state == WAITING ? 0 : n;
    ssize_t sent = send(p->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return n; /* that the stream is over is heard when it is read */
    if (sent < (ssize_t)n)
        look_for(p, p->events | UV_WRITABLE);
    return sent < 0 ? 0 : (size_t)sent;
}

static void port_input_room(void *opaque)
{
    struct port *p = opaque;

    if (p->have)
        feed(p);
}

static void port_opened(void *opaque, bool open)
{
    struct port *p = opaque;

    if (!p->all->device)
        return;
    if (open && p->state == CLOSED) {
        join(p);
    } else if (!open && p->state != CLOSED) {
        end_stream(p);
        p->state = CLOSED;
        tell(p, p->all->join != NULL);
    }
}

/* The session that its program had is in no worker here. */
static void port_restored(void *opaque)
{
    struct port *p = opaque;

    if (p->all->device && p->state == CLOSED)
        lose(p);
}

static const struct virtio_console_ops port_ops = {.output = port_output,
                                                   .input_room = port_input_room,
                                                   .opened = port_opened,
                                                   .restored = port_restored};

/* --- the device, the GPU and its worker ------------------------------------------------------- */

void gpu_ports_fill(struct gpu_ports *all, struct virtio_console_port ports[WORKER_PORTS])
{
    for (unsigned i = 0; i < WORKER_PORTS; i++)
        ports[i] = (struct virtio_console_port){names[i], &port_ops, &all->ports[i], true};
}

static void close_all(struct gpu_ports *all)
{
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        end_stream(&all->ports[i]);
        all->ports[i].state = CLOSED;
    }
}

void gpu_ports_at(struct gpu_ports *all, struct virtio_device *device, unsigned first)
{
    all->device = device;
    all->first = first;
    if (!device)
        close_all(all);
    for (unsigned i = 0; i < WORKER_PORTS && device; i++)
        tell(&all->ports[i], false);
}

static void present(struct gpu_ports *all)
{
    for (unsigned i = 0; i < WORKER_PORTS && all->device; i++)
        virtio_console_present(all->device, all->first + i, all->gpus > 0);
}

void gpu_ports_add(struct gpu_ports *all)
{
    if (all && all->gpus++ == 0)
        present(all);
}

void gpu_ports_remove(struct gpu_ports *all)
{
    if (all && --all->gpus == 0)
        present(all);
}

void gpu_ports_serve(struct gpu_ports *all, gpu_join_fn join_fn, void *opaque)
{
    if (!all)
        return;
    if (all->join)
        gpu_ports_stop(all, all->opaque);
    all->join = join_fn;
    all->opaque = opaque;
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        struct port *p = &all->ports[i];
        if (p->state == WAITING)
            join(p);
        else if (p->state == CLOSED)
            tell(p, true);
    }
}

void gpu_ports_stop(struct gpu_ports *all, const void *opaque)
{
    if (!all || !all->join || all->opaque != opaque)
        return;
    all->join = NULL;
    all->opaque = NULL;
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        struct port *p = &all->ports[i];
        if (p->state == JOINED)
            lose(p);
        else if (p->state == CLOSED)
            tell(p, false);
    }
}

void gpu_ports_free(struct gpu_ports *all)
{
    if (!all)
        return;
    close_all(all);
    g_free(all);
}
