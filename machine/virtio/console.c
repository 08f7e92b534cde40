/*
 * A console of one port, or of several.
 *
 * A port holds at most one output element, while its backend takes no more of it; OUTPUT_DONE bytes
 * of the next element in the ring are out already, which is also what a saved state needs to know.
 *
 * What the guest has yet to be told of a port over the control queue is no list but bits of what is
 * due, sent in the order of the specification's own start-up (5.3.5) as the guest offers buffers.
 * So a guest that asks again and again, and takes no answer, costs nothing. Whether a port is
 * there, and whether the host's end is connected, is due while it differs from what the guest was
 * last told.
 *
 * A port that goes is closed, and nothing that the guest says of it is heard before it has said
 * that it has the next one: until then it may be speaking of the one that went.
 */
#include "machine/virtio/console.h"

#include <linux/virtio_console.h>

enum { QUEUE_CONTROL_IN = 2, QUEUE_CONTROL_OUT };

/* Control messages that are due once the guest has the port, in their order. */
enum { DUE_CONSOLE = 1, DUE_NAME = 2 };

struct port {
    const struct virtio_console_ops *ops;
    void *opaque;
    char *name;
    struct virtqueue_element *held; /* output that the backend did not take wholly */
    uint32_t output_done;           /* bytes of it that it took */
    bool input_short;               /* input_room() is due when there are buffers */
    bool present;                   /* the guest is to have it */
    bool connected;                 /* the host's end */
    uint8_t due;                    /* DUE_ bits */
    uint8_t known;                  /* the guest was told that it is there */
    uint8_t gone;                   /* that one is not, and the guest is yet to be told */
    uint8_t ready;                  /* the guest has the port */
    uint8_t told;                   /* the guest knows that the host's end is connected */
    uint8_t open;                   /* the guest's end */
};

struct console {
    struct virtio_device vdev;
    struct port ports[VIRTIO_CONSOLE_PORTS];
    unsigned n_ports;
    uint8_t ready; /* the driver asked for the ports */
};

static const struct state_field port_fields[] = {
    STATE_FIELD_U32(struct port, output_done, 1), STATE_FIELD_U8(struct port, due, 2),
    STATE_FIELD_U8(struct port, known, 2),        STATE_FIELD_U8(struct port, gone, 2),
    STATE_FIELD_U8(struct port, ready, 1),        STATE_FIELD_U8(struct port, told, 1),
    STATE_FIELD_U8(struct port, open, 1),
};
static const struct state_desc port_state = {"virtio-console-port", 2, sizeof(struct port),
                                             G_N_ELEMENTS(port_fields), port_fields};
static const struct state_field console_fields[] = {
    STATE_FIELD_STRUCT(struct console, ports, struct port, port_state, 4),
    STATE_FIELD_U8(struct console, ready, 2),
};
static const struct state_desc console_state = {"virtio-console", 4, sizeof(struct console),
                                                G_N_ELEMENTS(console_fields), console_fields};

/* Queues 2 and 3 are those of control, wherever there are more than two. */
static unsigned input_queue(unsigned port)
{
    return port ? 2 * port + 2 : 0;
}

static unsigned output_queue(unsigned port)
{
    return input_queue(port) + 1;
}

static bool is_multiport(const struct console *con)
{
    return virtio_has_feature(&con->vdev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* --- output ----------------------------------------------------------------------------------- */

/* Gives the backend what is left of E; false when it did not take all. */
static bool output(struct port *p, const struct virtqueue_element *e)
{
    size_t skip = p->output_done;

    for (unsigned i = 0; i < e->out_n; i++) {
        size_t length = e->out[i].iov_len;
        if (skip >= length) {
            skip -= length;
            continue;
        }
        const uint8_t *at = (const uint8_t *)e->out[i].iov_base + skip;
        size_t n = p->ops->output(p->opaque, at, length - skip);
        p->output_done += (uint32_t)n;
        if (n < length - skip)
            return false;
        skip = 0;
    }
    p->output_done = 0;
    return true;
}

static void output_all(struct console *con, unsigned port)
{
    struct virtqueue *vq = virtio_queue(&con->vdev, output_queue(port));
    struct port *p = &con->ports[port];
    struct virtqueue_element *e;

    while ((e = p->held ? p->held : virtqueue_pop(vq, sizeof(*e)))) {
        p->held = e;
        if (!output(p, e))
            break;
        p->held = NULL;
        virtqueue_push(e, 0);
    }
    virtqueue_notify(vq);
}

void virtio_console_ready(struct virtio_device *dev, unsigned port)
{
    if (virtio_running(dev))
        output_all((struct console *)dev, port);
}

/* --- input ------------------------------------------------------------------------------------ */

size_t virtio_console_input(struct virtio_device *dev, unsigned port, const uint8_t *data, size_t n)
{
    struct console *con = (struct console *)dev;
    struct virtqueue *vq = virtio_queue(dev, input_queue(port));
    struct virtqueue_element *e;
    size_t done = 0;

    while (done < n && (e = virtqueue_pop(vq, sizeof(*e)))) {
        size_t part = iov_write(e->in, e->in_n, 0, data + done, n - done);
        virtqueue_push(e, (uint32_t)part);
        done += part;
    }
    virtqueue_notify(vq);
    con->ports[port].input_short = done < n;
    return done;
}

static void input_notify(struct console *con, unsigned port)
{
    struct port *p = &con->ports[port];

    if (!p->input_short || !virtqueue_has_buffers(virtio_queue(&con->vdev, input_queue(port))))
        return;
    p->input_short = false;
    p->ops->input_room(p->opaque);
}

/* --- control ---------------------------------------------------------------------------------- */

/* The message that is due next of port ID, if any. */
static bool next_message(const struct console *con, const struct port *p, unsigned id,
                         struct virtio_console_control *out)
{
    uint16_t event;
    uint16_t value = 1;

    if (p->gone)
        event = VIRTIO_CONSOLE_PORT_REMOVE;
    else if (p->present && !p->known && con->ready)
        event = VIRTIO_CONSOLE_PORT_ADD;
    else if (p->due & DUE_CONSOLE)
        event = VIRTIO_CONSOLE_CONSOLE_PORT;
    else if (p->due & DUE_NAME)
        event = VIRTIO_CONSOLE_PORT_NAME;
    else if (p->ready && p->told != p->connected) {
        event = VIRTIO_CONSOLE_PORT_OPEN;
        value = p->connected;
    } else {
        return false;
    }
    *out = (struct virtio_console_control){GUINT32_TO_LE(id), GUINT16_TO_LE(event),
                                           GUINT16_TO_LE(value)};
    return true;
}

static void message_sent(struct port *p, unsigned event)
{
    switch (event) {
    case VIRTIO_CONSOLE_PORT_REMOVE:
        p->gone = p->known = 0;
        break;
    case VIRTIO_CONSOLE_PORT_ADD:
        p->known = 1;
        break;
    case VIRTIO_CONSOLE_PORT_OPEN:
        p->told = p->connected;
        break;
    default:
        p->due &= (uint8_t)(p->due - 1); /* the lowest bit was it */
        break;
    }
}

/* Sends what is due of port ID; false where there is no buffer any more. */
static bool tell_port(struct console *con, unsigned id)
{
    struct virtqueue *vq = virtio_queue(&con->vdev, QUEUE_CONTROL_IN);
    struct port *p = &con->ports[id];
    struct virtio_console_control message;

    while (next_message(con, p, id, &message)) {
        unsigned event = GUINT16_FROM_LE(message.event);
        size_t name = event == VIRTIO_CONSOLE_PORT_NAME ? strlen(p->name) : 0;
        struct virtqueue_element *e = virtqueue_pop(vq, sizeof(*e));
        if (!e)
            return false;
        if (e->in_bytes < sizeof(message) + name) {
            virtqueue_push(e, 0);
            virtio_device_error(&con->vdev, "a control message does not fit its buffer");
            return false;
        }
        iov_write(e->in, e->in_n, 0, &message, sizeof(message));
        iov_write(e->in, e->in_n, sizeof(message), p->name, name);
        virtqueue_push(e, (uint32_t)(sizeof(message) + name));
        message_sent(p, event);
    }
    return true;
}

static void tell_guest(struct console *con)
{
    if (!virtio_running(&con->vdev) || !is_multiport(con))
        return;
    for (unsigned i = 0; i < con->n_ports && tell_port(con, i); i++)
        continue;
    virtqueue_notify(virtio_queue(&con->vdev, QUEUE_CONTROL_IN));
}

void virtio_console_connect(struct virtio_device *dev, unsigned port, bool connected)
{
    struct console *con = (struct console *)dev;

    con->ports[port].connected = connected;
    tell_guest(con);
}

void virtio_console_resize(struct virtio_device *dev, uint16_t columns, uint16_t rows)
{
    uint16_t size[2] = {GUINT16_TO_LE(columns), GUINT16_TO_LE(rows)};

    virtio_config_set(dev, offsetof(struct virtio_console_config, cols), size, sizeof(size));
}

static void set_open(struct console *con, unsigned port, bool open)
{
    struct port *p = &con->ports[port];

    if (!open && !p->open)
        return;
    p->open = open;
    if (p->ops->opened)
        p->ops->opened(p->opaque, open);
}

void virtio_console_present(struct virtio_device *dev, unsigned port, bool present)
{
    struct console *con = (struct console *)dev;
    struct port *p = &con->ports[port];

    g_assert(p->name);
    if (p->present == present)
        return;
    p->present = present;
    if (!present) {
        p->gone = p->known;
        p->due = p->ready = p->told = 0;
        p->input_short = false;
        set_open(con, port, false);
        virtio_console_ready(dev, port); /* what it wrote goes with it */
    }
    tell_guest(con);
}

/* The guest has port ID: what it is, its name, and who is there. */
static void port_ready(struct port *p)
{
    p->ready = 1;
    p->told = 0;
    p->due |= p->name ? DUE_NAME : DUE_CONSOLE;
}

/* A message of the guest. Events and ports that there are not are nothing to us, as events to come
 * may be. */
static void control(struct console *con, const struct virtio_console_control *message)
{
    uint32_t id = GUINT32_FROM_LE(message->id);
    bool value = GUINT16_FROM_LE(message->value) != 0;

    if (GUINT16_FROM_LE(message->event) == VIRTIO_CONSOLE_DEVICE_READY) {
        con->ready |= value;
        return;
    }
    if (id >= con->n_ports || !con->ports[id].known || con->ports[id].gone)
        return;
    switch (GUINT16_FROM_LE(message->event)) {
    case VIRTIO_CONSOLE_PORT_READY:
        if (value)
            port_ready(&con->ports[id]);
        break;
    case VIRTIO_CONSOLE_PORT_OPEN:
        if (!con->ports[id].ready)
            break;
        /* What it wrote before comes before. */
        if (!con->ports[id].held)
            output_all(con, id);
        set_open(con, id, value);
        break;
    }
}

static void control_notify(struct console *con, struct virtqueue *vq)
{
    struct virtqueue_element *e;

    while ((e = virtqueue_pop(vq, sizeof(*e)))) {
        struct virtio_console_control message;
        bool whole = iov_read(e->out, e->out_n, 0, &message, sizeof(message)) == sizeof(message);
        if (whole && is_multiport(con))
            control(con, &message);
        /* Only now: drivers wait for it, and what they write next is of the port as it is then. */
        virtqueue_push(e, 0);
        if (!whole) {
            virtio_device_error(&con->vdev, "a control message is cut short");
            break;
        }
    }
    virtqueue_notify(vq);
    tell_guest(con);
}

/* --- the device ------------------------------------------------------------------------------- */

static void console_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct console *con = (struct console *)dev;
    unsigned index = virtqueue_index(vq);
    unsigned port = index < QUEUE_CONTROL_IN ? 0 : (index - 2) / 2;

    if (index == QUEUE_CONTROL_IN)
        tell_guest(con);
    else if (index == QUEUE_CONTROL_OUT)
        control_notify(con, vq);
    else if (index == input_queue(port))
        input_notify(con, port);
    else if (!con->ports[port].held)
        output_all(con, port);
}

static void restored(struct port *p)
{
    if (p->ops->restored)
        p->ops->restored(p->opaque);
    else if (p->ops->opened)
        p->ops->opened(p->opaque, true);
}

/* State was loaded of a guest that had ports open; in a new driver's there are none. */
static void console_start(struct virtio_device *dev)
{
    struct console *con = (struct console *)dev;

    for (unsigned i = 0; i < con->n_ports; i++) {
        if (con->ports[i].open)
            restored(&con->ports[i]);
    }
}

static void drop_output(struct port *p)
{
    if (p->held)
        virtqueue_drop(p->held);
    p->held = NULL;
    p->output_done = 0;
}

static void console_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    struct console *con = (struct console *)dev;

    for (unsigned i = 0; i < con->n_ports; i++) {
        struct port *p = &con->ports[i];
        if (!vq || virtqueue_index(vq) == output_queue(i))
            drop_output(p);
        if (vq)
            continue;
        p->due = p->known = p->gone = p->ready = p->told = 0;
        set_open(con, i, false);
    }
    if (!vq)
        con->ready = 0;
}

static void console_quiesce(struct virtio_device *dev)
{
    struct console *con = (struct console *)dev;

    for (unsigned i = 0; i < con->n_ports; i++) {
        if (con->ports[i].held)
            virtqueue_unpop(con->ports[i].held);
        con->ports[i].held = NULL;
    }
}

/* Whether what was loaded of port I may be. */
static bool port_makes_sense(const struct console *con, unsigned i)
{
    const struct port *p = &con->ports[i];
    uint8_t may = p->name ? DUE_NAME : DUE_CONSOLE;
    uint8_t flags = p->known | p->gone | p->ready | p->told | p->open;

    if (i >= con->n_ports)
        return !(p->due | flags);
    return !(p->due & ~may) && flags <= 1 && p->gone <= p->known &&
           (p->due || p->ready || p->told || p->open) <= (p->known && !p->gone);
}

/* A port that the guest had and that is not here has gone. */
static bool console_loaded(struct virtio_device *dev, GError **err)
{
    struct console *con = (struct console *)dev;

    if (con->ready > 1)
        return vmd_fail(err, VMD_ERROR_INVALID, "saved state of the console makes no sense");
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        struct port *p = &con->ports[i];
        if (!port_makes_sense(con, i))
            return vmd_fail(err, VMD_ERROR_INVALID, "saved state of console port %u makes no sense",
                            i);
        if (p->known && !p->present) {
            p->gone = 1;
            p->due = p->ready = p->told = p->open = 0;
        }
    }
    return true;
}

static void console_free(struct virtio_device *dev)
{
    struct console *con = (struct console *)dev;

    for (unsigned i = 0; i < con->n_ports; i++)
        g_free(con->ports[i].name);
    virtio_device_fini(dev);
    g_free(dev);
}

static const struct virtio_ops console_ops = {
    .name = "virtio-console",
    .id = VIRTIO_ID_CONSOLE,
    .pci_class = 0x078000,
    .state = &console_state,
    .start = console_start,
    .queue_notify = console_notify,
    .reset = console_reset,
    .quiesce = console_quiesce,
    .loaded = console_loaded,
    .free = console_free,
};

struct virtio_device *virtio_console_new(const struct virtio_env *env,
                                         const struct virtio_console_port *ports, unsigned n)
{
    static const uint16_t sizes[] = {64, 64, 32, 32, 64, 64, 64, 64, 64, 64, 64,
                                     64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64};
    struct console *con = g_new0(struct console, 1);
    uint64_t features = VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE);

    G_STATIC_ASSERT(G_N_ELEMENTS(sizes) == 2 * VIRTIO_CONSOLE_PORTS + 2);
    g_assert(n >= 1 && n <= VIRTIO_CONSOLE_PORTS && !ports[0].name && !ports[0].absent);
    con->n_ports = n;
    for (unsigned i = 0; i < n; i++) {
        g_assert(!i || (ports[i].name && strlen(ports[i].name) < VIRTIO_CONSOLE_NAME));
        con->ports[i] = (struct port){.ops = ports[i].ops,
                                      .opaque = ports[i].opaque,
                                      .name = g_strdup(ports[i].name),
                                      .present = !ports[i].absent,
                                      .connected = true};
    }
    if (n > 1)
        features |= VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT);
    virtio_device_init(&con->vdev, &console_ops, env, features, n > 1 ? 2 * n + 2 : 2, sizes, 8);
    uint32_t max = GUINT32_TO_LE(n);
    virtio_config_set(&con->vdev, offsetof(struct virtio_console_config, max_nr_ports), &max,
                      sizeof(max));
    return &con->vdev;
}
