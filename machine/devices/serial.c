/*
 * Serial ports: see serial.h.
 *
 * The loop is woken for the first byte, and then looks again every PACE_MS while there is more, so
 * that a burst costs a vCPU one wake-up and the backend a few large pieces.
 *
 * Locking: one lock for all registers and rings; the interrupt line is driven under it. The
 * backend is called without it: output is taken from the ring only after the backend took it,
 * and only the loop's thread takes.
 */
#include "machine/devices/serial_priv.h"

enum {
    TX_BUSY = SERIAL_TX_SIZE / 2,
    TX_FREE = SERIAL_TX_SIZE / 4, /* once busy, free again below this */
    PACE_MS = 2,
};

static void wake_loop(struct serial *s)
{
    if (!s->woken) {
        s->woken = true;
        uv_async_send(&s->wake);
    }
}

/* --- what chips use --------------------------------------------------------------------------- */

bool serial__send(struct serial *s, uint8_t byte)
{
    if (s->tx_len == SERIAL_TX_SIZE)
        return false;
    s->tx[(s->tx_head + s->tx_len++) % SERIAL_TX_SIZE] = byte;
    if (s->tx_len >= TX_BUSY)
        s->tx_busy = 1;
    if (!s->stalled)
        wake_loop(s);
    return true;
}

bool serial__take(struct serial *s, uint8_t *byte)
{
    if (!s->rx_len)
        return false;
    *byte = s->rx[s->rx_head];
    s->rx_head = (s->rx_head + 1) % SERIAL_RX_SIZE;
    s->rx_len--;
    if (s->room_wanted && s->rx_len <= SERIAL_RX_SIZE / 2) {
        s->room_wanted = false;
        s->tell_room = true;
        wake_loop(s);
    }
    return true;
}

bool serial__put_back(struct serial *s, uint8_t byte)
{
    if (s->rx_len == SERIAL_RX_SIZE)
        return false;
    s->rx_head = (s->rx_head + SERIAL_RX_SIZE - 1) % SERIAL_RX_SIZE;
    s->rx[s->rx_head] = byte;
    s->rx_len++;
    return true;
}

/* --- the backend's side ----------------------------------------------------------------------- */

/* Some output was taken: the transmitter may be free again. */
static void output_taken(struct serial *s, size_t n)
{
    s->tx_head = (s->tx_head + (uint32_t)n) % SERIAL_TX_SIZE;
    s->tx_len -= (uint32_t)n;
    if (s->tx_busy && s->tx_len < TX_FREE) {
        s->tx_busy = 0;
        s->chip->sent(s);
        s->chip->update(s);
    }
}

/* Gives output to the backend until it is all taken or the backend has had enough. */
static void drain(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->draining) { /* a flush by the backend that is being given something */
        pthread_mutex_unlock(&s->lock);
        return;
    }
    s->draining = true;
    while (s->tx_len && !s->stalled) {
        size_t n = MIN(s->tx_len, SERIAL_TX_SIZE - s->tx_head);
        const uint8_t *from = s->tx + s->tx_head;

        pthread_mutex_unlock(&s->lock);
        size_t taken = s->ops->output(s->opaque, from, n);
        g_assert(taken <= n);
        pthread_mutex_lock(&s->lock);
        s->stalled = taken < n;
        output_taken(s, taken);
    }
    s->draining = false;
    pthread_mutex_unlock(&s->lock);
}

static void on_pace(uv_timer_t *pace);

/* What the loop was woken for. */
static void serve(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    bool tell_room = s->tell_room;
    s->tell_room = false;
    pthread_mutex_unlock(&s->lock);
    drain(s);
    if (tell_room)
        s->ops->input_room(s->opaque);
    uv_timer_start(&s->pace, on_pace, PACE_MS, 0);
}

static void on_pace(uv_timer_t *pace)
{
    struct serial *s = pace->data;

    pthread_mutex_lock(&s->lock);
    s->woken = s->tell_room || (s->tx_len && !s->stalled);
    bool more = s->woken;
    pthread_mutex_unlock(&s->lock);
    if (more)
        serve(s);
}

static void on_wake(uv_async_t *wake)
{
    serve(wake->data);
}

size_t serial_input(struct serial *s, const uint8_t *data, size_t n)
{
    size_t taken = 0;

    pthread_mutex_lock(&s->lock);
    for (; taken < n && s->rx_len < SERIAL_RX_SIZE; taken++)
        s->rx[(s->rx_head + s->rx_len++) % SERIAL_RX_SIZE] = data[taken];
    s->room_wanted |= taken < n;
    s->chip->input(s);
    s->chip->update(s);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

bool serial_break(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    bool taken = !s->rx_len && s->chip->brk(s);
    s->chip->update(s);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void serial_ready(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    s->stalled = false;
    if (s->tx_len)
        wake_loop(s);
    pthread_mutex_unlock(&s->lock);
}

void serial_flush(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    s->stalled = false;
    pthread_mutex_unlock(&s->lock);
    drain(s);
}

/* --- a firmware's side ------------------------------------------------------------------------ */

size_t serial_transmit(struct serial *s, const uint8_t *data, size_t n)
{
    size_t done = 0;

    pthread_mutex_lock(&s->lock);
    while (done < n && serial__send(s, data[done]))
        done++;
    s->chip->update(s);
    pthread_mutex_unlock(&s->lock);
    return done;
}

size_t serial_receive(struct serial *s, uint8_t *data, size_t n)
{
    pthread_mutex_lock(&s->lock);
    size_t got = s->chip->receive(s, data, n);
    s->chip->update(s);
    pthread_mutex_unlock(&s->lock);
    return got;
}

/* --- life ------------------------------------------------------------------------------------- */

struct device *serial_device(struct serial *s)
{
    return &s->dev;
}

bool serial__init(struct serial *s, uv_loop_t *loop, const struct serial_chip *chip,
                  const struct serial_ops *ops, void *opaque, GError **err)
{
    int rc = uv_async_init(loop, &s->wake, on_wake);

    if (rc < 0)
        return vmd_set_errno(err, -rc, "serial port");
    uv_timer_init(loop, &s->pace);
    s->handles = 2;
    s->wake.data = s->pace.data = s;
    pthread_mutex_init(&s->lock, NULL);
    s->chip = chip;
    s->ops = ops;
    s->opaque = opaque;
    return true;
}

bool serial__restored(struct serial *s)
{
    if (s->tx_head >= SERIAL_TX_SIZE || s->tx_len > SERIAL_TX_SIZE ||
        s->rx_head >= SERIAL_RX_SIZE || s->rx_len > SERIAL_RX_SIZE)
        return false;
    s->stalled = false;
    if (s->tx_len)
        wake_loop(s);
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    struct serial *s = handle->data;

    if (--s->handles)
        return;
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

void serial__free(struct serial *s)
{
    uv_close((uv_handle_t *)&s->wake, on_closed);
    uv_close((uv_handle_t *)&s->pace, on_closed);
}
