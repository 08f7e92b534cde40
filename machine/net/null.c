/* A cable that leads nowhere: what the guest sends is taken and dropped, nothing ever comes. */
#include "machine/net/net.h"

static bool null_send(struct net_backend *b, const struct iovec *iov, unsigned n)
{
    b->dropped++;
    return true;
}

static void null_nothing(struct net_backend *b)
{
}

static void null_set_offloads(struct net_backend *b, unsigned offloads)
{
}

static void null_free(struct net_backend *b)
{
    g_free(b);
}

static const struct net_backend_ops null_ops = {
    .name = "none",
    .send = null_send,
    .send_end = null_nothing,
    .ready = null_nothing,
    .set_offloads = null_set_offloads,
    .free = null_free,
};

struct net_backend *net_null_new(void)
{
    struct net_backend *b = g_new0(struct net_backend, 1);

    b->ops = &null_ops;
    return b;
}
