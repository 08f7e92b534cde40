/* Consoles: a log, its readers and one stream of input. See console.h. */
#include "vm/console.h"

#include "base/seglog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

enum { INPUT_MAX = 4096, CHUNK = 16384 };

struct client {
    struct console *console;
    uv_poll_t poll;
    int fd;
    uint64_t offset; /* next byte of the log to send */
    bool readonly;
    bool closing;
    int events; /* what poll is armed for */
};

struct console {
    uv_loop_t *loop;
    char *name;
    const struct console_ops *ops;
    void *opaque;
    struct seglog *log;
    GPtrArray *clients; /* struct client, borrowed: the poll handle's close frees them */
    uint8_t input[INPUT_MAX];
    size_t n_input; /* bytes of INPUT that the guest has not taken */
    bool log_failed;
    uv_timer_t *timer; /* of a drain */
    void (*drained)(void *opaque);
    void *drained_opaque;
};

static void client_update(struct client *client);

struct console *console_new(uv_loop_t *loop, const char *name, const char *log_dir,
                            const struct console_ops *ops, void *opaque, GError **err)
{
    struct seglog *log = seglog_create(log_dir, name, LIMIT_CONSOLE_LOG, err);

    if (!log)
        return NULL;
    struct console *c = g_new0(struct console, 1);
    c->loop = loop;
    c->name = g_strdup(name);
    c->ops = ops;
    c->opaque = opaque;
    c->log = log;
    c->clients = g_ptr_array_new();
    return c;
}

static void client_closed(uv_handle_t *handle)
{
    struct client *client = container_of((uv_poll_t *)handle, struct client, poll);

    close(client->fd);
    g_free(client);
}

static void free_handle(uv_handle_t *handle)
{
    g_free(handle);
}

/* Tells the waiter of console_drain(), once, when no client is left. */
static void check_drained(struct console *c)
{
    void (*drained)(void *) = c->drained;

    if (!drained || c->clients->len)
        return;
    c->drained = NULL;
    uv_close((uv_handle_t *)c->timer, free_handle);
    c->timer = NULL;
    drained(c->drained_opaque);
}

static void client_close(struct client *client)
{
    struct console *c = client->console;

    if (client->closing)
        return;
    client->closing = true;
    g_ptr_array_remove_fast(c->clients, client);
    uv_close((uv_handle_t *)&client->poll, client_closed);
    check_drained(c);
}

/* C may be gone with the last one: who waits for a drain frees it. */
static void close_all(struct console *c)
{
    for (guint n = c->clients->len; n-- > 0;)
        client_close(g_ptr_array_index(c->clients, n));
}

void console_free(struct console *c)
{
    if (!c)
        return;
    c->drained = NULL;
    close_all(c);
    if (c->timer)
        uv_close((uv_handle_t *)c->timer, free_handle);
    g_ptr_array_free(c->clients, TRUE);
    seglog_free(c->log);
    g_free(c->name);
    g_free(c);
}

const char *console_name(const struct console *c)
{
    return c->name;
}

uint64_t console_total(const struct console *c)
{
    return seglog_total(c->log);
}

uint64_t console_first(const struct console *c)
{
    return seglog_first(c->log);
}

ssize_t console_read(struct console *c, uint64_t *offset, void *data, size_t n)
{
    return seglog_read(c->log, offset, data, n);
}

/* --- output ----------------------------------------------------------------------------------- */

/* Sends what the log has for CLIENT until its socket is full. False when the client is gone. */
static bool client_send(struct client *client)
{
    struct console *c = client->console;
    char buf[CHUNK];

    for (;;) {
        uint64_t at = client->offset;
        ssize_t n = seglog_read(c->log, &at, buf, sizeof(buf));
        if (n <= 0)
            return n == 0;
        if (at > client->offset) {
            g_autofree char *gap = g_strdup_printf(
                "\r\n[vmd: %" G_GUINT64_FORMAT " bytes of output are no longer kept]\r\n",
                at - client->offset);
            if (send(client->fd, gap, strlen(gap), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                return errno == EAGAIN;
            client->offset = at;
        }
        ssize_t sent = send(client->fd, buf, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        client->offset += (uint64_t)sent;
        if (sent < n)
            return true;
    }
}

void console_output(struct console *c, const uint8_t *data, size_t n)
{
    int rc = seglog_append(c->log, data, n);

    /* A full disk must not stop the guest: the log then lacks a piece, and says so once. */
    if (rc < 0 && !c->log_failed) {
        static const char text[] = "\r\n[vmd: the console's log cannot be written]\r\n";
        seglog_append(c->log, text, sizeof(text) - 1);
    }
    c->log_failed = rc < 0;
    if (c->ops->seen)
        c->ops->seen(c->opaque, data, n);
    for (guint i = c->clients->len; i-- > 0;) {
        struct client *client = g_ptr_array_index(c->clients, i);
        if (!client_send(client))
            client_close(client);
        else
            client_update(client);
    }
}

/* --- input ------------------------------------------------------------------------------------ */

/* Offers the guest what it has not taken. */
static void push_input(struct console *c)
{
    if (!c->n_input)
        return;
    size_t taken = c->ops->input(c->opaque, c->input, c->n_input);
    c->n_input -= taken;
    memmove(c->input, c->input + taken, c->n_input);
}

size_t console_write(struct console *c, const uint8_t *data, size_t n)
{
    n = MIN(n, sizeof(c->input) - c->n_input);
    memcpy(c->input + c->n_input, data, n);
    c->n_input += n;
    push_input(c);
    return n;
}

void console_input_room(struct console *c)
{
    push_input(c);
    for (guint i = 0; i < c->clients->len; i++)
        client_update(g_ptr_array_index(c->clients, i));
}

/* Reads what CLIENT typed, as much as there is room for. False when the client is gone. */
static bool client_receive(struct client *client)
{
    struct console *c = client->console;
    uint8_t buf[INPUT_MAX];
    size_t room = client->readonly ? sizeof(buf) : sizeof(c->input) - c->n_input;

    if (!room)
        return true;
    ssize_t n = recv(client->fd, buf, room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    if (!client->readonly)
        console_write(c, buf, (size_t)n);
    return true;
}

static void client_ready(uv_poll_t *poll, int status, int events)
{
    struct client *client = container_of(poll, struct client, poll);
    struct console *c = client->console;
    bool ok = status == 0;

    if (ok && (events & UV_READABLE))
        ok = client_receive(client);
    if (ok && (events & (UV_WRITABLE | UV_READABLE)))
        ok = client_send(client);
    if (!ok || (events & UV_DISCONNECT)) {
        client_close(client);
        return;
    }
    for (guint i = 0; i < c->clients->len; i++)
        client_update(g_ptr_array_index(c->clients, i));
}

/* Arms the poll for what can be done now. A client that has all of an ended console reads its end,
 * and goes by closing its own. */
static void client_update(struct client *client)
{
    struct console *c = client->console;
    bool behind = client->offset < seglog_total(c->log);
    bool room = client->readonly || c->n_input < sizeof(c->input);
    int events = UV_DISCONNECT;

    if (c->drained && !behind)
        shutdown(client->fd, SHUT_WR);
    if (room)
        events |= UV_READABLE;
    if (behind)
        events |= UV_WRITABLE;
    if (events != client->events) {
        client->events = events;
        uv_poll_start(&client->poll, events, client_ready);
    }
}

int console_attach(struct console *c, bool readonly, uint64_t replay, GError **err)
{
    int pair[2];

    if (c->clients->len >= LIMIT_CONSOLE_CLIENTS) {
        vmd_fail(err, VMD_ERROR_LIMIT, "console %s has %d clients already", c->name,
                 LIMIT_CONSOLE_CLIENTS);
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        vmd_set_errno(err, errno, "a socket for console %s", c->name);
        return -1;
    }
    /* The client's end is an ordinary blocking socket. */
    fcntl(pair[1], F_SETFL, fcntl(pair[1], F_GETFL) & ~O_NONBLOCK);

    struct client *client = g_new0(struct client, 1);
    uint64_t total = seglog_total(c->log);
    client->console = c;
    client->fd = pair[0];
    client->readonly = readonly;
    client->offset = MAX(total - MIN(replay, total), seglog_first(c->log));
    int rc = uv_poll_init(c->loop, &client->poll, client->fd);
    if (rc < 0) {
        vmd_set_errno(err, -rc, "watching console %s", c->name);
        close(pair[0]);
        close(pair[1]);
        g_free(client);
        return -1;
    }
    g_ptr_array_add(c->clients, client);
    client_update(client);
    return pair[1];
}

static void drain_timeout(uv_timer_t *timer)
{
    struct console *c = timer->data;

    if (c->clients->len)
        close_all(c);
    else
        check_drained(c);
}

void console_drain(struct console *c, unsigned timeout_ms, void (*done)(void *opaque), void *opaque)
{
    g_assert(!c->drained);
    c->drained = done;
    c->drained_opaque = opaque;
    c->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(c->loop, c->timer);
    c->timer->data = c;
    uv_timer_start(c->timer, drain_timeout, c->clients->len ? timeout_ms : 0, 0);
    for (guint i = 0; i < c->clients->len; i++)
        client_update(g_ptr_array_index(c->clients, i));
}
