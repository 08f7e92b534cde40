/*
 * User networking: libslirp, driven by the loop.
 *
 * slirp wants to be asked before each sleep which descriptors to watch and for how long (fill),
 * and told afterwards what happened (poll). Both are done only when something may have changed:
 * `stale` is set by whatever enters slirp. Its descriptors are watched by one epoll descriptor,
 * which the loop watches in turn, since slirp closes them when it likes.
 *
 * Frames that the guest has no room for wait in `backlog`; while there are any, slirp's sockets
 * are not read, so that TCP holds senders back.
 */
#include "machine/net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <sys/epoll.h>

#define MTU_DEFAULT    32768 /* two segments fill the 64 KiB of a window: cheaper than halves of one */
#define BACKLOG_FRAMES 1024
#define BACKLOG_BYTES  MIB(4)

struct net_user {
    struct net_backend base;
    uv_loop_t *loop;
    Slirp *slirp;
    unsigned handles; /* of the loop: the last one that closes frees the rest */
    bool closing;
    uv_prepare_t prepare;
    uv_poll_t poll;
    uv_timer_t timer;

    int epoll;
    GHashTable *watched; /* fd -> events asked for */
    GHashTable *ready;   /* fd -> events that came */
    GArray *asked;       /* of int: the fds of the last fill, by the index slirp was given */
    bool stale;

    unsigned guest_offloads; /* what the peer takes */
    GQueue backlog;          /* of GBytes */
    size_t backlog_bytes;
    unsigned rules;
    uint8_t frame[NET_FRAME_MAX]; /* one that came in pieces */
};

/* A timer that slirp made. It outlives its slirp until the loop has closed it. */
struct user_timer {
    uv_timer_t timer;
    SlirpTimerCb cb;
    void *opaque;
};

static void polled(uv_poll_t *poll, int status, int mask);

/* --- frames ----------------------------------------------------------------------------------- */

static bool give(struct net_user *u, const void *frame, size_t length)
{
    struct virtio_net_hdr_v1 hdr = {.num_buffers = GUINT16_TO_LE(1)};

    /* slirp sums what it makes; a guest that takes our word need not check it. */
    if (u->guest_offloads & NET_CSUM)
        hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
    return !u->base.peer || u->base.peer->receive(u->base.peer_opaque, &hdr, frame, length);
}

/* slirp has a frame for the guest. */
static ssize_t send_packet(const void *frame, size_t length, void *opaque)
{
    struct net_user *u = opaque;

    if (u->closing)
        return (ssize_t)length;
    if (g_queue_is_empty(&u->backlog) && give(u, frame, length))
        return (ssize_t)length;
    if (u->backlog.length >= BACKLOG_FRAMES || u->backlog_bytes + length > BACKLOG_BYTES) {
        u->base.dropped++;
        return (ssize_t)length;
    }
    g_queue_push_tail(&u->backlog, g_bytes_new(frame, length));
    u->backlog_bytes += length;
    return (ssize_t)length;
}

static void receive_end(struct net_user *u)
{
    u->stale = true;
    if (u->base.peer)
        u->base.peer->receive_end(u->base.peer_opaque);
}

static void user_ready(struct net_backend *b)
{
    struct net_user *u = (struct net_user *)b;
    GBytes *frame;

    if (g_queue_is_empty(&u->backlog))
        return;
    while ((frame = g_queue_peek_head(&u->backlog))) {
        gsize length;
        const void *data = g_bytes_get_data(frame, &length);
        if (!give(u, data, length))
            break;
        u->backlog_bytes -= length;
        g_bytes_unref(g_queue_pop_head(&u->backlog));
    }
    if (g_queue_is_empty(&u->backlog))
        uv_poll_start(&u->poll, UV_READABLE, polled);
    receive_end(u);
}

/* Frames are taken at once: slirp copies them, and its TCP windows bound what it holds. */
static bool user_send(struct net_backend *b, const struct iovec *iov, unsigned n)
{
    struct net_user *u = (struct net_user *)b;
    const struct virtio_net_hdr_v1 *hdr = iov[0].iov_base;
    uint8_t *frame = u->frame;
    size_t length = 0;

    if (n == 2 && !(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
        slirp_input(u->slirp, iov[1].iov_base, (int)iov[1].iov_len);
        return true;
    }
    for (unsigned i = 1; i < n; i++) {
        if (length + iov[i].iov_len > sizeof(u->frame))
            return true;
        memcpy(frame + length, iov[i].iov_base, iov[i].iov_len);
        length += iov[i].iov_len;
    }
    if (net_complete_checksum(hdr, frame, length))
        slirp_input(u->slirp, frame, (int)length);
    return true;
}

static void user_send_end(struct net_backend *b)
{
    receive_end((struct net_user *)b); /* answers may have come out of slirp_input */
}

static void user_set_offloads(struct net_backend *b, unsigned offloads)
{
    ((struct net_user *)b)->guest_offloads = offloads;
}

/* --- descriptors ------------------------------------------------------------------------------ */

static const struct {
    int slirp;
    uint32_t epoll;
} events[] = {
    {SLIRP_POLL_IN, EPOLLIN},   {SLIRP_POLL_OUT, EPOLLOUT}, {SLIRP_POLL_PRI, EPOLLPRI},
    {SLIRP_POLL_ERR, EPOLLERR}, {SLIRP_POLL_HUP, EPOLLHUP},
};

static uint32_t to_epoll(int mask)
{
    uint32_t out = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++)
        out |= mask & events[i].slirp ? events[i].epoll : 0;
    return out;
}

static int from_epoll(uint32_t mask)
{
    int out = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++)
        out |= mask & events[i].epoll ? events[i].slirp : 0;
    return out;
}

static void watch(struct net_user *u, int fd, uint32_t mask)
{
    struct epoll_event ev = {.events = mask, .data.fd = fd};
    gpointer before;
    bool known = g_hash_table_lookup_extended(u->watched, GINT_TO_POINTER(fd), NULL, &before);

    if (known && GPOINTER_TO_UINT(before) == mask)
        return;
    if (epoll_ctl(u->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0 &&
        epoll_ctl(u->epoll, errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev) < 0)
        return;
    g_hash_table_insert(u->watched, GINT_TO_POINTER(fd), GUINT_TO_POINTER(mask));
}

static void unwatch(struct net_user *u, int fd)
{
    if (g_hash_table_remove(u->watched, GINT_TO_POINTER(fd)))
        epoll_ctl(u->epoll, EPOLL_CTL_DEL, fd, NULL);
    g_hash_table_remove(u->ready, GINT_TO_POINTER(fd));
}

static void register_fd(int fd, void *opaque)
{
}

static void unregister_fd(int fd, void *opaque)
{
    unwatch(opaque, fd);
}

static int add_poll(int fd, int mask, void *opaque)
{
    struct net_user *u = opaque;

    watch(u, fd, to_epoll(mask));
    g_array_append_val(u->asked, fd);
    return (int)u->asked->len - 1;
}

static int get_revents(int index, void *opaque)
{
    struct net_user *u = opaque;
    int fd = g_array_index(u->asked, int, index);

    return from_epoll(GPOINTER_TO_UINT(g_hash_table_lookup(u->ready, GINT_TO_POINTER(fd))));
}

/* Descriptors that slirp did not ask for again are watched no longer. */
static void forget_others(struct net_user *u)
{
    g_autoptr(GHashTable) asked = g_hash_table_new(NULL, NULL);
    g_autoptr(GList) known = g_hash_table_get_keys(u->watched);

    if (g_hash_table_size(u->watched) == u->asked->len)
        return;
    for (guint i = 0; i < u->asked->len; i++)
        g_hash_table_add(asked, GINT_TO_POINTER(g_array_index(u->asked, int, i)));
    for (GList *at = known; at; at = at->next) {
        if (!g_hash_table_contains(asked, at->data))
            unwatch(u, GPOINTER_TO_INT(at->data));
    }
}

static void happened(struct net_user *u);

static void timed(uv_timer_t *timer)
{
    happened(container_of(timer, struct net_user, timer));
}

/* Before the loop sleeps. */
static void fill(uv_prepare_t *prepare)
{
    struct net_user *u = container_of(prepare, struct net_user, prepare);
    uint32_t timeout = UINT32_MAX;

    if (!u->stale || !g_queue_is_empty(&u->backlog))
        return;
    u->stale = false;
    g_array_set_size(u->asked, 0);
    slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
    forget_others(u);
    if (timeout == UINT32_MAX)
        uv_timer_stop(&u->timer);
    else
        uv_timer_start(&u->timer, timed, timeout, 0);
}

/* Tells slirp what came, or that time has passed. */
static void happened(struct net_user *u)
{
    if (!g_queue_is_empty(&u->backlog))
        return;
    slirp_pollfds_poll(u->slirp, 0, get_revents, u);
    g_hash_table_remove_all(u->ready);
    receive_end(u);
}

static void polled(uv_poll_t *poll, int status, int mask)
{
    struct net_user *u = container_of(poll, struct net_user, poll);
    struct epoll_event ev[64];

    if (!g_queue_is_empty(&u->backlog)) {
        uv_poll_stop(poll); /* nobody can take what there is; resumed by user_ready() */
        return;
    }
    int n = epoll_wait(u->epoll, ev, G_N_ELEMENTS(ev), 0);
    for (int i = 0; i < n; i++)
        g_hash_table_insert(u->ready, GINT_TO_POINTER(ev[i].data.fd),
                            GUINT_TO_POINTER(ev[i].events));
    if (n > 0)
        happened(u);
}

/* --- what else slirp needs -------------------------------------------------------------------- */

static void guest_error(const char *message, void *opaque)
{
}

static int64_t clock_get_ns(void *opaque)
{
    return (int64_t)uv_hrtime();
}

static void timer_fired(uv_timer_t *timer)
{
    struct user_timer *t = container_of(timer, struct user_timer, timer);
    struct net_user *u = timer->data;

    t->cb(t->opaque);
    receive_end(u);
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    struct net_user *u = opaque;
    struct user_timer *t = g_new0(struct user_timer, 1);

    t->cb = cb;
    t->opaque = cb_opaque;
    uv_timer_init(u->loop, &t->timer);
    uv_unref((uv_handle_t *)&t->timer);
    t->timer.data = u;
    return t;
}

static void timer_closed(uv_handle_t *handle)
{
    g_free(container_of(handle, struct user_timer, timer));
}

static void timer_free(void *timer, void *opaque)
{
    struct user_timer *t = timer;

    uv_close((uv_handle_t *)&t->timer, timer_closed);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    struct user_timer *t = timer;
    int64_t now = clock_get_ns(opaque) / 1000000;

    uv_timer_start(&t->timer, timer_fired, (uint64_t)MAX(expire_ms - now, 0), 0);
}

static void notify(void *opaque)
{
    ((struct net_user *)opaque)->stale = true;
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_get_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_fd,
    .unregister_poll_fd = unregister_fd,
    .notify = notify,
};

/* --- port forwards ---------------------------------------------------------------------------- */

static socklen_t address_length(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static int rule_flags(const struct net_hostfwd *rule)
{
    return (rule->udp ? SLIRP_HOSTFWD_UDP : 0) |
           (rule->host.ss_family == AF_INET6 ? SLIRP_HOSTFWD_V6ONLY : 0);
}

bool net_user_add_hostfwd(struct net_backend *b, const struct net_hostfwd *rule, GError **err)
{
    struct net_user *u = (struct net_user *)b;
    g_autofree char *text = net_hostfwd_format(rule);

    if (u->rules >= LIMIT_HOSTFWDS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "port forward '%s': there are %u already", text,
                        u->rules);
    errno = 0;
    if (slirp_add_hostxfwd(u->slirp, (const struct sockaddr *)&rule->host,
                           address_length(&rule->host), (const struct sockaddr *)&rule->guest,
                           address_length(&rule->guest), rule_flags(rule)) < 0) {
        if (errno == EADDRINUSE)
            return vmd_fail(err, VMD_ERROR_EXISTS, "port forward '%s': the host's port is taken",
                            text);
        if (errno == EACCES || errno == EPERM)
            return vmd_fail(err, VMD_ERROR_DENIED,
                            "port forward '%s': ports below 1024 need rights on this host", text);
        return vmd_set_errno(err, errno ? errno : EINVAL, "port forward '%s'", text);
    }
    u->rules++;
    u->stale = true;
    return true;
}

bool net_user_remove_hostfwd(struct net_backend *b, const struct net_hostfwd *rule, GError **err)
{
    struct net_user *u = (struct net_user *)b;

    if (slirp_remove_hostxfwd(u->slirp, (const struct sockaddr *)&rule->host,
                              address_length(&rule->host), rule_flags(rule)) < 0) {
        g_autofree char *text = net_hostfwd_format(rule);
        return vmd_fail(err, VMD_ERROR_NOT_FOUND, "there is no port forward '%s'", text);
    }
    u->rules--;
    u->stale = true;
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct net_user *u = handle->data;

    if (--u->handles)
        return;
    close(u->epoll);
    g_free(u);
}

static void user_free(struct net_backend *b)
{
    struct net_user *u = (struct net_user *)b;
    uv_handle_t *handles[] = {(uv_handle_t *)&u->prepare, (uv_handle_t *)&u->poll,
                              (uv_handle_t *)&u->timer};

    u->closing = true;
    if (u->slirp)
        slirp_cleanup(u->slirp);
    g_queue_clear_full(&u->backlog, (GDestroyNotify)g_bytes_unref);
    g_hash_table_destroy(u->watched);
    g_hash_table_destroy(u->ready);
    g_array_free(u->asked, TRUE);
    for (unsigned i = 0; i < G_N_ELEMENTS(handles); i++)
        uv_close(handles[i], handle_closed);
}

static const struct net_backend_ops user_ops = {
    .name = "user",
    .send = user_send,
    .send_end = user_send_end,
    .ready = user_ready,
    .set_offloads = user_set_offloads,
    .free = user_free,
};

static void start_slirp(struct net_user *u, const struct net_user_config *config)
{
    SlirpConfig c = {
        .version = 1,
        .restricted = config->restricted,
        .in_enabled = true,
        .in6_enabled = true,
        .vprefix_len = 64,
        .vhostname = config->hostname,
        .if_mtu = u->base.mtu,
        .if_mru = u->base.mtu,
    };

    inet_pton(AF_INET, "10.0.2.0", &c.vnetwork);
    inet_pton(AF_INET, "255.255.255.0", &c.vnetmask);
    inet_pton(AF_INET, "10.0.2.2", &c.vhost);
    inet_pton(AF_INET, "10.0.2.3", &c.vnameserver);
    inet_pton(AF_INET, "10.0.2.15", &c.vdhcp_start);
    inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    u->slirp = slirp_new(&c, &callbacks, u);
    u->stale = true;
}

struct net_backend *net_user_new(uv_loop_t *loop, const struct net_user_config *config,
                                 GError **err)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0) {
        vmd_set_errno(err, errno, "user networking");
        return NULL;
    }
    struct net_user *u = g_new0(struct net_user, 1);
    u->base.ops = &user_ops;
    u->base.mtu = config->mtu ? config->mtu : MTU_DEFAULT;
    u->base.tx_offloads = NET_CSUM | NET_TSO4 | NET_TSO6;
    u->base.rx_offloads = NET_CSUM;
    u->loop = loop;
    u->epoll = epoll;
    u->watched = g_hash_table_new(NULL, NULL);
    u->ready = g_hash_table_new(NULL, NULL);
    u->asked = g_array_new(FALSE, FALSE, sizeof(int));
    g_queue_init(&u->backlog);
    uv_prepare_init(loop, &u->prepare);
    uv_timer_init(loop, &u->timer);
    uv_poll_init(loop, &u->poll, epoll);
    u->prepare.data = u->timer.data = u->poll.data = u;
    u->handles = 3;
    start_slirp(u, config);
    uv_prepare_start(&u->prepare, fill);
    uv_poll_start(&u->poll, UV_READABLE, polled);
    return &u->base;
}
