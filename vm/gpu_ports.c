/* Ports and their streams. See gpu_ports.h. */
#include "vm/gpu_ports.h"

#include "gpu/protocol/contract.h"
#include "vm/port_stream.h"

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
    enum state state;
    struct port_stream *stream;
};

struct gpu_ports {
    struct virtio_device *device; /* NULL: it is gone, or not there yet */
    unsigned first;               /* of its ports that are these */
    unsigned gpus;                /* that are there; ports are while there are any */
    gpu_join_fn join;
    void *opaque;
    struct port ports[WORKER_PORTS];
};

/* --- streams ---------------------------------------------------------------------------------- */

static void lose(void *opaque)
{
    struct port *p = opaque;

    port_stream_end(p->stream);
    p->state = LOST;
    port_stream_tell(p->stream, false);
}

static void join(struct port *p)
{
    struct gpu_ports *all = p->all;

    p->state = WAITING;
    if (!all->join)
        return;
    int fd = all->join(all->opaque);
    p->state = JOINED;
    if (fd < 0 || port_stream_begin(p->stream, fd) < 0)
        lose(p);
}

/* --- what the guest does ---------------------------------------------------------------------- */

static size_t port_output(void *opaque, const uint8_t *data, size_t n)
{
    struct port *p = opaque;

    return p->state == WAITING ? 0 : port_stream_output(p->stream, data, n);
}

static void port_input_room(void *opaque)
{
    struct port *p = opaque;

    port_stream_input_room(p->stream);
}

static void port_opened(void *opaque, bool open)
{
    struct port *p = opaque;

    if (!p->all->device)
        return;
    if (open && p->state == CLOSED) {
        join(p);
    } else if (!open && p->state != CLOSED) {
        port_stream_end(p->stream);
        p->state = CLOSED;
        port_stream_tell(p->stream, p->all->join != NULL);
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

void gpu_ports_at(struct gpu_ports *all, struct virtio_device *device, unsigned first)
{
    all->device = device;
    all->first = first;
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        struct port *p = &all->ports[i];
        port_stream_at(p->stream, device, first + i);
        if (device) {
            port_stream_tell(p->stream, false);
        } else {
            port_stream_end(p->stream);
            p->state = CLOSED;
        }
    }
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
            port_stream_tell(p->stream, true);
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
            port_stream_tell(p->stream, false);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

struct gpu_ports *gpu_ports_new(uv_loop_t *loop)
{
    struct gpu_ports *all = g_new0(struct gpu_ports, 1);

    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        struct port *p = &all->ports[i];
        p->all = all;
        p->stream = port_stream_new(loop, false, lose, p);
        port_stream_set_taken(p->stream, true);
    }
    return all;
}

void gpu_ports_free(struct gpu_ports *all)
{
    for (unsigned i = 0; all && i < WORKER_PORTS; i++)
        port_stream_free(all->ports[i].stream);
    g_free(all);
}
