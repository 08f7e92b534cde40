/*
 * A console of one port. At most one output element is held, while the backend takes no more of
 * it; OUTPUT_DONE bytes of the next element in the ring are out already, which is also what a
 * saved state needs to know.
 */
#include "machine/virtio/console.h"

#include <linux/virtio_console.h>

enum { QUEUE_INPUT, QUEUE_OUTPUT };

struct console {
    struct virtio_device vdev;
    const struct virtio_console_ops *ops;
    void *opaque;
    struct virtqueue_element *held; /* output that the backend did not take wholly */
    uint32_t output_done;           /* bytes of it that it took */
    bool input_short;               /* input_room() is due when there are buffers */
};

static const struct state_field console_fields[] = {
    STATE_FIELD_U32(struct console, output_done, 1),
};
static const struct state_desc console_state = {"virtio-console", 1, sizeof(struct console),
                                                G_N_ELEMENTS(console_fields), console_fields};

/* Gives the backend what is left of E; false when it did not take all. */
static bool output(struct console *con, const struct virtqueue_element *e)
{
    size_t skip = con->output_done;

    for (unsigned i = 0; i < e->out_n; i++) {
        size_t length = e->out[i].iov_len;
        if (skip >= length) {
            skip -= length;
            continue;
        }
        const uint8_t *at = (const uint8_t *)e->out[i].iov_base + skip;
        size_t n = con->ops->output(con->opaque, at, length - skip);
        con->output_done += (uint32_t)n;
        if (n < length - skip)
            return false;
        skip = 0;
    }
    con->output_done = 0;
    return true;
}

static void output_all(struct console *con)
{
    struct virtqueue *vq = virtio_queue(&con->vdev, QUEUE_OUTPUT);
    struct virtqueue_element *e;

    while ((e = con->held ? con->held : virtqueue_pop(vq, sizeof(*e)))) {
        con->held = e;
        if (!output(con, e))
            break;
        con->held = NULL;
        virtqueue_push(e, 0);
    }
    virtqueue_notify(vq);
}

static void console_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct console *con = (struct console *)dev;

    if (virtqueue_index(vq) == QUEUE_OUTPUT) {
        if (!con->held)
            output_all(con);
    } else if (con->input_short && virtqueue_has_buffers(vq)) {
        con->input_short = false;
        con->ops->input_room(con->opaque);
    }
}

size_t virtio_console_input(struct virtio_device *dev, const uint8_t *data, size_t n)
{
    struct console *con = (struct console *)dev;
    struct virtqueue *vq = virtio_queue(dev, QUEUE_INPUT);
    struct virtqueue_element *e;
    size_t done = 0;

    while (done < n && (e = virtqueue_pop(vq, sizeof(*e)))) {
        size_t part = iov_write(e->in, e->in_n, 0, data + done, n - done);
        virtqueue_push(e, (uint32_t)part);
        done += part;
    }
    virtqueue_notify(vq);
    con->input_short = done < n;
    return done;
}

void virtio_console_ready(struct virtio_device *dev)
{
    if (virtio_running(dev))
        output_all((struct console *)dev);
}

void virtio_console_resize(struct virtio_device *dev, uint16_t columns, uint16_t rows)
{
    uint16_t size[2] = {GUINT16_TO_LE(columns), GUINT16_TO_LE(rows)};

    virtio_config_set(dev, offsetof(struct virtio_console_config, cols), size, sizeof(size));
}

static void console_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    struct console *con = (struct console *)dev;

    if (vq && virtqueue_index(vq) != QUEUE_OUTPUT)
        return;
    if (con->held)
        virtqueue_drop(con->held);
    con->held = NULL;
    con->output_done = 0;
}

static void console_quiesce(struct virtio_device *dev)
{
    struct console *con = (struct console *)dev;

    if (con->held)
        virtqueue_unpop(con->held);
    con->held = NULL;
}

static void console_free(struct virtio_device *dev)
{
    virtio_device_fini(dev);
    g_free(dev);
}

static const struct virtio_ops console_ops = {
    .name = "virtio-console",
    .id = VIRTIO_ID_CONSOLE,
    .pci_class = 0x078000,
    .state = &console_state,
    .queue_notify = console_notify,
    .reset = console_reset,
    .quiesce = console_quiesce,
    .free = console_free,
};

struct virtio_device *virtio_console_new(const struct virtio_env *env,
                                         const struct virtio_console_ops *ops, void *opaque)
{
    static const uint16_t sizes[] = {64, 64};
    struct console *con = g_new0(struct console, 1);

    con->ops = ops;
    con->opaque = opaque;
    virtio_device_init(&con->vdev, &console_ops, env, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE), 2,
                       sizes, 4);
    return &con->vdev;
}
