/*
 * Messages and file descriptors over a connected unix socket.
 *
 * State: OPEN -> (peer's end of file) HALF -> FINISHING -> ENDED. The end is always told from the
 * loop, by the idle handle. Memory is released when the last libuv handle is closed, so that a
 * callback may free the stream that called it.
 */
#include "proto/rpc/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    FDS_KEPT = 16,
    FDS_MESSAGE = 16,
    FDS_AHEAD = 8, /* with so many that the peer has not got nothing more is read: each may be a
                    * file's memory */
    LOOK_MS = 20,  /* between looks at whether it has got them, which no event tells */
    PIECES = 32
};

enum stream_state { OPEN, HALF, FINISHING, ENDED };

struct out {
    char *text;
    size_t len, sent;
    int fd;
};

struct rpc_stream {
    const struct rpc_stream_ops *ops;
    void *user;
    int fd;
    enum stream_state state;
    int errnum;     /* why it ended */
    bool dead;      /* freed by its owner */
    bool told;      /* ended() was called */
    bool half_told; /* half_closed() was called */
    bool corked;    /* messages are being given: what they answer is sent at once afterwards */
    bool stopped;   /* reads no more (an overlong message) */
    bool waited;    /* something was queued for a time: drained() is due when all is sent */
    bool take_fds;
    size_t max_queue;
    struct rpc_lines in;
    GQueue out;
    size_t queued;
    unsigned queued_fds;
    unsigned sent_fds; /* since the kernel last held nothing for a peer that may be a stranger's */
    bool fds_held;     /* they held something back, and nobody has looked again: the peer may have
                        * got them at any time, so only this tells that somebody has to */
    uint64_t sent, came;
    int fds[FDS_KEPT];
    unsigned n_fds;
    uv_poll_t poll;
    int events;      /* that POLL looks for: to ask anew costs two system calls */
    uv_idle_t later; /* runs pump() soon */
    uv_timer_t timer; /* of the end, or until the peer has got descriptors */
    unsigned handles;
};

static void pump(struct rpc_stream *s);
static void on_poll(uv_poll_t *poll, int status, int events);

static void on_later(uv_idle_t *idle)
{
    struct rpc_stream *s = idle->data;

    uv_idle_stop(idle);
    pump(s);
}

static void soon(struct rpc_stream *s)
{
    if (!s->dead)
        uv_idle_start(&s->later, on_later);
}

static void end(struct rpc_stream *s, int errnum)
{
    if (s->state == ENDED)
        return;
    s->state = ENDED;
    s->errnum = errnum;
    uv_poll_stop(&s->poll);
    uv_timer_stop(&s->timer);
    soon(s);
}

/* --- descriptors that wait for the peer --- */

static void on_look(uv_timer_t *timer)
{
    struct rpc_stream *s = timer->data;

    s->fds_held = false;
    pump(s);
}

/* Whether so many wait that nothing more is read. What the kernel holds for the peer counts too,
 * but for one that hands over descriptors itself: that is of vmd's own processes, and reads. */
static bool look_many_fds(struct rpc_stream *s)
{
    int held;

    if (s->queued_fds >= FDS_AHEAD)
        return true;
    if (s->take_fds || s->queued_fds + s->sent_fds < FDS_AHEAD)
        return false;
    if (ioctl(s->fd, SIOCOUTQ, &held) < 0 || held > 0)
        return true;
    s->sent_fds = 0;
    return false;
}

static bool many_fds(struct rpc_stream *s)
{
    bool many = look_many_fds(s);

    s->fds_held |= many;
    return many;
}

static bool may_give(struct rpc_stream *s)
{
    return s->state <= HALF && !s->stopped && !many_fds(s) && s->ops->ready(s->user);
}

static bool wants_input(struct rpc_stream *s)
{
    return s->state == OPEN && may_give(s);
}

/* Without interest in reading or writing, priority still tells of a hang-up. */
static void update_poll(struct rpc_stream *s)
{
    int events = 0;

    if (s->dead || s->state == ENDED)
        return;
    if (wants_input(s))
        events |= UV_READABLE;
    if (!g_queue_is_empty(&s->out))
        events |= UV_WRITABLE;
    if (!events)
        events = UV_PRIORITIZED;
    if (events != s->events && uv_poll_start(&s->poll, events, on_poll) == 0)
        s->events = events;
    if (s->state <= HALF && s->fds_held && !uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, on_look, LOOK_MS, 0);
}

/* --- output -------------------------------------------------------------------------------- */

static void out_close(struct rpc_stream *s, struct out *o)
{
    if (o->fd < 0)
        return;
    close(steal_fd(&o->fd));
    s->queued_fds--;
}

static void out_free(struct rpc_stream *s, struct out *o)
{
    out_close(s, o);
    g_free(o->text);
    g_free(o);
}

/* Fills IOV with what can go in one message: the first of the queue, and those after it that bring
 * no descriptor. */
static size_t gather(struct rpc_stream *s, struct iovec iov[PIECES])
{
    size_t n = 0;

    for (GList *l = s->out.head; l && n < PIECES; l = l->next) {
        struct out *o = l->data;
        if (n > 0 && o->fd >= 0)
            break;
        iov[n++] = (struct iovec){.iov_base = o->text + o->sent, .iov_len = o->len - o->sent};
    }
    return n;
}

/* FD, unless it is -1, goes with the first byte. */
static ssize_t send_some(struct rpc_stream *s, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov[PIECES];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = gather(s, iov)};

    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

/* N bytes of the queue are sent. */
static void forget_sent(struct rpc_stream *s, size_t n)
{
    s->queued -= n;
    s->sent += n;
    while (n > 0) {
        struct out *o = g_queue_peek_head(&s->out);
        size_t part = MIN(n, o->len - o->sent);
        s->sent_fds += o->fd >= 0;
        out_close(s, o); /* it went with the first byte */
        o->sent += part;
        n -= part;
        if (o->sent == o->len)
            out_free(s, g_queue_pop_head(&s->out));
    }
}

static void flush(struct rpc_stream *s)
{
    while (s->state != ENDED && !g_queue_is_empty(&s->out)) {
        const struct out *first = g_queue_peek_head(&s->out);
        ssize_t n = send_some(s, first->fd);
        if (n == -EAGAIN)
            return;
        if (n == -EINTR)
            continue;
        if (n < 0) {
            end(s, (int)-n);
            return;
        }
        forget_sent(s, (size_t)n);
    }
    if (s->state == FINISHING && g_queue_is_empty(&s->out))
        end(s, 0);
}

static bool drained(const struct rpc_stream *s)
{
    return s->waited && s->queued == 0 && s->state <= HALF;
}

/* What waited can be sent together with a message that came later, when the loop has not yet seen
 * that there is room: it will not see it then. */
static void soon_if_drained(struct rpc_stream *s)
{
    if (drained(s))
        soon(s);
}

static void tell_drained(struct rpc_stream *s)
{
    if (s->dead || !drained(s))
        return;
    s->waited = false;
    if (s->ops->drained)
        s->ops->drained(s->user);
}

/* TEXT is the queue's, or nobody's any more. */
static bool queue(struct rpc_stream *s, char *text, size_t len, int fd)
{
    if (s->state == ENDED || s->queued + len > s->max_queue) {
        if (fd >= 0)
            close(fd);
        g_free(text);
        return s->state == ENDED;
    }
    struct out *o = g_new0(struct out, 1);
    o->text = text;
    o->len = len;
    o->fd = fd;
    s->queued_fds += fd >= 0;
    s->queued += o->len;
    g_queue_push_tail(&s->out, o);
    if (!s->corked) {
        flush(s);
        update_poll(s);
        soon_if_drained(s);
    }
    s->waited |= !g_queue_is_empty(&s->out);
    return true;
}

bool rpc_stream_send(struct rpc_stream *s, const char *text, size_t len, int fd)
{
    char *copy = g_malloc(len + 1);

    memcpy(copy, text, len);
    copy[len] = '\n';
    return queue(s, copy, len + (s->in.framing == RPC_LINES), fd);
}

bool rpc_stream_send_bytes(struct rpc_stream *s, GByteArray *bytes)
{
    size_t len = bytes->len;

    return queue(s, (char *)g_byte_array_free(bytes, FALSE), len, -1);
}

size_t rpc_stream_queued(const struct rpc_stream *s)
{
    return s->queued;
}

struct rpc_stream_counts rpc_stream_counts(const struct rpc_stream *s)
{
    return (struct rpc_stream_counts){s->sent, s->came, rpc_lines_left(&s->in)};
}

void rpc_stream_discard(struct rpc_stream *s)
{
    struct out *first = g_queue_pop_head(&s->out), *o;

    if (first && first->sent == 0) {
        g_queue_push_head(&s->out, first);
        first = NULL;
    }
    while ((o = g_queue_pop_head(&s->out)))
        out_free(s, o);
    s->queued = 0;
    if (first) {
        s->queued = first->len - first->sent;
        g_queue_push_head(&s->out, first);
    }
    soon_if_drained(s);
}

/* --- input --------------------------------------------------------------------------------- */

int rpc_stream_take_fd(struct rpc_stream *s)
{
    if (s->n_fds == 0)
        return -1;
    int fd = s->fds[0];
    s->n_fds--;
    memmove(s->fds, s->fds + 1, s->n_fds * sizeof(s->fds[0]));
    return fd;
}

/* False when more came than are kept; all are ours by then, and closed at the end. */
static bool keep_fds(struct rpc_stream *s, struct msghdr *msg)
{
    bool ok = !(msg->msg_flags & MSG_CTRUNC);

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (s->n_fds < FDS_KEPT) {
                s->fds[s->n_fds++] = fd;
            } else {
                close(fd);
                ok = false;
            }
        }
    }
    return ok;
}

/* Whether the peer can't read any more either. */
static bool hung_up(struct rpc_stream *s)
{
    struct pollfd p = {.fd = s->fd};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static void end_of_file(struct rpc_stream *s)
{
    if (hung_up(s)) {
        end(s, 0);
        return;
    }
    s->state = HALF;
}

static void receive(struct rpc_stream *s)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MESSAGE * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = rpc_lines_room(&s->in), .iov_len = RPC_LINES_CHUNK};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (s->take_fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
    }
    ssize_t n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int errnum = errno;
    rpc_lines_added(&s->in, n > 0 ? (size_t)n : 0);
    s->came += n > 0 ? (size_t)n : 0;
    if (n < 0 && errnum != EAGAIN && errnum != EINTR)
        end(s, errnum);
    else if (n >= 0 && s->take_fds && !keep_fds(s, &msg))
        end(s, EPROTO);
    else if (n == 0)
        end_of_file(s);
}

/* Gives the next complete message to the owner. False when there is none. */
static bool give_message(struct rpc_stream *s)
{
    const char *message;
    size_t len;
    int rc = rpc_lines_next(&s->in, &message, &len);

    if (rc < 0) {
        s->stopped = true;
        s->ops->overlong(s->user);
    } else if (rc > 0) {
        s->ops->message(s->user, message, len);
    }
    return rc > 0 && !s->dead;
}

/* Does what can be done now: gives messages, tells of room, of the peer's end of file and of the
 * end. */
static void pump(struct rpc_stream *s)
{
    bool gave;

    do { /* answers that wait to be sent may be what holds back the next message */
        gave = false;
        s->corked = true;
        while (!s->dead && may_give(s) && give_message(s))
            gave = true;
        s->corked = false;
        if (!s->dead)
            flush(s);
    } while (gave && !s->dead);
    tell_drained(s);
    if (!s->dead && s->state == HALF && !s->half_told && may_give(s)) {
        s->half_told = true;
        s->ops->half_closed(s->user);
    }
    if (s->dead)
        return;
    if (s->state != ENDED) {
        update_poll(s);
    } else if (!s->told) {
        s->told = true;
        s->ops->ended(s->user, s->errnum);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct rpc_stream *s = poll->data;

    if (status < 0 || (events & UV_PRIORITIZED)) {
        /* Out-of-band data has no place here. */
        end(s, hung_up(s) ? 0 : EPROTO);
        return;
    }
    if (events & UV_WRITABLE)
        flush(s);
    if ((events & UV_READABLE) && wants_input(s))
        receive(s);
    pump(s);
}

/* While messages are given, each is followed by a look at whether the next may be. */
void rpc_stream_resume(struct rpc_stream *s)
{
    if (!s->corked)
        soon(s);
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_linger(uv_timer_t *timer)
{
    end(timer->data, ETIMEDOUT);
}

void rpc_stream_finish(struct rpc_stream *s, unsigned ms)
{
    if (s->state == ENDED || s->state == FINISHING)
        return;
    s->state = FINISHING;
    flush(s);
    if (s->state == FINISHING) {
        uv_timer_start(&s->timer, on_linger, ms, 0);
        update_poll(s);
    }
}

bool rpc_stream_closing(const struct rpc_stream *s)
{
    return s->state >= FINISHING;
}

static void on_closed(uv_handle_t *handle)
{
    struct rpc_stream *s = handle->data;

    if (--s->handles > 0)
        return;
    rpc_lines_clear(&s->in);
    g_free(s);
}

void rpc_stream_free(struct rpc_stream *s)
{
    struct out *o;
    int fd;

    if (!s)
        return;
    if (s->corked) /* what was answered before is sent as it would have been without */
        flush(s);
    s->dead = true;
    s->state = ENDED;
    while ((o = g_queue_pop_head(&s->out)))
        out_free(s, o);
    while ((fd = rpc_stream_take_fd(s)) >= 0)
        close(fd);
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->later, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
    close(s->fd); /* after the poll handle has left the loop's set */
}

struct rpc_stream *rpc_stream_new(uv_loop_t *loop, int fd, enum rpc_framing framing,
                                  size_t max_message, size_t max_queue, bool take_fds,
                                  const struct rpc_stream_ops *ops, void *user, GError **err)
{
    struct rpc_stream *s = g_new0(struct rpc_stream, 1);
    int rc = fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : uv_poll_init(loop, &s->poll, fd);

    if (rc < 0) {
        vmd_set_errno(err, -rc, "watching a connection");
        close(fd);
        g_free(s);
        return NULL;
    }
    s->ops = ops;
    s->user = user;
    s->fd = fd;
    s->take_fds = take_fds;
    s->max_queue = max_queue;
    rpc_lines_init(&s->in, framing, max_message);
    g_queue_init(&s->out);
    uv_idle_init(loop, &s->later);
    uv_timer_init(loop, &s->timer);
    s->poll.data = s->later.data = s->timer.data = s;
    s->handles = 3;
    soon(s); /* begins to read once the owner is complete */
    return s;
}
