/* Framing: one message a line, or by length. Each byte is looked at once, however it arrives. */
#include "proto/rpc/lines.h"

#include <errno.h>

void rpc_lines_init(struct rpc_lines *l, enum rpc_framing framing, size_t max)
{
    *l = (struct rpc_lines){.framing = framing, .buf = g_byte_array_new(), .max = max};
}

void rpc_lines_clear(struct rpc_lines *l)
{
    g_byte_array_unref(l->buf);
}

/* Forgets what was given; gives back the room that a long line took. */
static void compact(struct rpc_lines *l)
{
    if (l->given == l->buf->len && l->given > 4 * RPC_LINES_CHUNK) {
        g_byte_array_unref(l->buf);
        l->buf = g_byte_array_new();
    } else if (l->given) {
        g_byte_array_remove_range(l->buf, 0, (guint)l->given);
    }
    l->scanned -= l->given;
    l->given = 0;
}

void *rpc_lines_room(struct rpc_lines *l)
{
    compact(l);
    size_t have = l->buf->len;
    g_byte_array_set_size(l->buf, (guint)(have + RPC_LINES_CHUNK));
    return l->buf->data + have;
}

void rpc_lines_added(struct rpc_lines *l, size_t n)
{
    g_byte_array_set_size(l->buf, (guint)(l->buf->len - RPC_LINES_CHUNK + n));
}

size_t rpc_lines_left(const struct rpc_lines *l)
{
    return l->buf->len - l->given;
}

static int next_counted(struct rpc_lines *l, const char **frame, size_t *len)
{
    const char *data = (const char *)l->buf->data + l->given;
    size_t have = rpc_lines_left(l);
    uint32_t n;

    if (have < sizeof(n))
        return 0;
    memcpy(&n, data, sizeof(n));
    n = GUINT32_FROM_BE(n);
    if (n < sizeof(n) || n > l->max)
        return -EMSGSIZE;
    if (have < n)
        return 0;
    *frame = data;
    *len = n;
    l->given += n;
    l->scanned = l->given;
    return 1;
}

static int next_line(struct rpc_lines *l, const char **line, size_t *len)
{
    const char *data = (const char *)l->buf->data;
    size_t have = l->buf->len;
    const char *lf = have > l->scanned ? memchr(data + l->scanned, '\n', have - l->scanned) : NULL;
    size_t n = (lf ? (size_t)(lf - data) : have) - l->given;

    if (n > l->max)
        return -EMSGSIZE;
    if (!lf) {
        l->scanned = have;
        return 0;
    }
    *line = data + l->given;
    *len = n;
    l->given = l->scanned = (size_t)(lf - data) + 1;
    return 1;
}

int rpc_lines_next(struct rpc_lines *l, const char **line, size_t *len)
{
    return l->framing == RPC_LINES ? next_line(l, line, len) : next_counted(l, line, len);
}
