/* Framing: one message a line. Each byte is looked at once, however it arrives. */
#include "proto/jsonrpc/lines.h"

#include <errno.h>

void rpc_lines_init(struct rpc_lines *l, size_t max)
{
    *l = (struct rpc_lines){.buf = g_byte_array_new(), .max = max};
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

int rpc_lines_next(struct rpc_lines *l, const char **line, size_t *len)
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
