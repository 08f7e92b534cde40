/*
 * A console's socket joined with standard input and output. On a terminal everything goes through
 * raw, but for the escape; in a pipe it is a serial line, and the end of input is not the end of the
 * console.
 */
#include "vmctl/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

enum {
    ESCAPE = 0x1d, /* ^] */
    CHUNK = 4096,  /* what a pipe that poll(2) calls writable takes without blocking */
};

/* Bytes on their way. */
struct flow {
    char data[CHUNK];
    size_t n;
};

struct stream {
    int fd, signals;
    struct flow in, out; /* to the console, to standard output */
    bool input;          /* standard input is still read */
    bool ended;          /* the console has no more output */
    bool tty;
    struct termios before;
};

static bool go_raw(struct stream *s)
{
    struct termios raw;

    s->tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &s->before) == 0;
    if (!s->tty)
        return true;
    raw = s->before;
    cfmakeraw(&raw);
    return tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

/* Writes what FLOW has, as much as FD takes. False when it takes no more, ever. */
static bool flow_put(struct flow *flow, int fd)
{
    ssize_t put = write(fd, flow->data, flow->n);

    if (put < 0)
        return errno == EINTR || errno == EAGAIN;
    flow->n -= (size_t)put;
    memmove(flow->data, flow->data + put, flow->n);
    return true;
}

static void from_console(struct stream *s)
{
    ssize_t n = read(s->fd, s->out.data, sizeof(s->out.data));

    if (n > 0)
        s->out.n = (size_t)n;
    else
        s->ended = n == 0 || (errno != EINTR && errno != EAGAIN);
}

/* From standard input; false when the person has typed the escape. A guest that takes nothing loses
 * what a person types beyond CHUNK, as on a serial line: the escape must get through. */
static bool to_console(struct stream *s)
{
    char buf[CHUNK];
    size_t room = sizeof(s->in.data) - s->in.n;
    ssize_t n = read(STDIN_FILENO, buf, s->tty ? sizeof(buf) : room);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n <= 0) {
        s->input = false;
        return true;
    }
    const char *escape = s->tty ? memchr(buf, ESCAPE, (size_t)n) : NULL;
    size_t typed = MIN(escape ? (size_t)(escape - buf) : (size_t)n, room);
    memcpy(s->in.data + s->in.n, buf, typed);
    s->in.n += typed;
    return !escape;
}

/* Whether standard input is to be read: in a pipe, not beyond what there is room for. */
static bool wants_input(const struct stream *s)
{
    return s->input && (s->tty || s->in.n < sizeof(s->in.data));
}

static enum console_left join(struct stream *s, GError **err)
{
    while (!s->ended || s->out.n) {
        short events = (short)((s->out.n ? 0 : POLLIN) | (s->in.n ? POLLOUT : 0));
        struct pollfd p[] = {
            {.fd = s->signals, .events = POLLIN},
            {.fd = s->ended || !events ? -1 : s->fd, .events = events},
            {.fd = s->out.n ? STDOUT_FILENO : -1, .events = POLLOUT},
            {.fd = wants_input(s) ? STDIN_FILENO : -1, .events = POLLIN},
        };
        if (poll(p, G_N_ELEMENTS(p), -1) < 0 && errno != EINTR) {
            vmd_set_errno(err, errno, "waiting for the console");
            return CONSOLE_FAILED;
        }
        if (p[0].revents) {
            /* Taken, so that it does not end us once it is let through again. */
            struct signalfd_siginfo info;
            if (read(s->signals, &info, sizeof(info)) > 0)
                return CONSOLE_SIGNAL;
        }
        if (p[2].revents && !flow_put(&s->out, STDOUT_FILENO)) {
            /* A broken pipe is no daemon that went away. */
            vmd_fail(err, VMD_ERROR_IO, "writing to standard output: %s", g_strerror(errno));
            return CONSOLE_FAILED;
        }
        if (p[3].revents && !to_console(s)) {
            flow_put(&s->in, s->fd);
            return CONSOLE_DETACHED;
        }
        /* A console that takes no more has ended; what it still had to say comes all the same. */
        if ((p[1].revents & ~POLLIN) && s->in.n && !flow_put(&s->in, s->fd))
            s->in.n = 0;
        if ((p[1].revents & (POLLIN | POLLHUP | POLLERR)) && !s->out.n)
            from_console(s);
    }
    return CONSOLE_ENDED;
}

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void console_hold_signals(void)
{
    sigset_t stop;

    stop_signals(&stop);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

enum console_left console_stream(int fd, bool readonly, GError **err)
{
    struct stream s = {.fd = fd, .input = !readonly};
    enum console_left left = CONSOLE_FAILED;
    sigset_t stop;

    console_hold_signals();
    stop_signals(&stop);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    s.signals = signalfd(-1, &stop, SFD_CLOEXEC);
    if (s.signals < 0 || !go_raw(&s))
        vmd_set_errno(err, errno, "preparing the terminal");
    else
        left = join(&s, err);
    if (s.tty)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s.before);
    if (s.signals >= 0)
        close(s.signals);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    close(fd);
    return left;
}
