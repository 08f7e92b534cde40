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

enum { ESCAPE = 0x1d /* ^] */, CHUNK = 65536 };

struct stream {
    int fd, signals;
    bool input; /* standard input is still read */
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

/* Writes all, waiting where the descriptor is not ready. */
static bool put_all(int fd, const char *data, size_t n)
{
    while (n) {
        ssize_t put = write(fd, data, n);
        if (put < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, -1);
            continue;
        }
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        data += put;
        n -= (size_t)put;
    }
    return true;
}

/* From the console to standard output; false when it is over, LEFT says how. */
static bool from_console(struct stream *s, enum console_left *left, GError **err)
{
    char buf[CHUNK];
    ssize_t n = read(s->fd, buf, sizeof(buf));

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n <= 0) {
        *left = CONSOLE_ENDED;
        return false;
    }
    if (put_all(STDOUT_FILENO, buf, (size_t)n))
        return true;
    *left = CONSOLE_FAILED;
    return vmd_set_errno(err, errno, "writing to standard output");
}

static bool to_console(struct stream *s, enum console_left *left)
{
    char buf[4096];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n <= 0) {
        s->input = false;
        return true;
    }
    const char *escape = s->tty ? memchr(buf, ESCAPE, (size_t)n) : NULL;
    /* A console that takes no more has ended; what it still had to say comes from the other side. */
    put_all(s->fd, buf, escape ? (size_t)(escape - buf) : (size_t)n);
    if (!escape)
        return true;
    *left = CONSOLE_DETACHED;
    return false;
}

static enum console_left join(struct stream *s, GError **err)
{
    enum console_left left = CONSOLE_ENDED;

    for (;;) {
        struct pollfd p[] = {
            {.fd = s->fd, .events = POLLIN},
            {.fd = s->signals, .events = POLLIN},
            {.fd = s->input ? STDIN_FILENO : -1, .events = POLLIN},
        };
        if (poll(p, G_N_ELEMENTS(p), -1) < 0 && errno != EINTR) {
            vmd_set_errno(err, errno, "waiting for the console");
            return CONSOLE_FAILED;
        }
        if (p[1].revents) {
            /* Taken, so that it does not end us once it is let through again. */
            struct signalfd_siginfo info;
            if (read(s->signals, &info, sizeof(info)) > 0)
                return CONSOLE_SIGNAL;
        }
        if (p[0].revents && !from_console(s, &left, err))
            return left;
        if (p[2].revents && !to_console(s, &left))
            return left;
    }
}

enum console_left console_stream(int fd, bool readonly, GError **err)
{
    struct stream s = {.fd = fd, .input = !readonly};
    enum console_left left = CONSOLE_FAILED;
    sigset_t stop, before;

    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGHUP);
    sigprocmask(SIG_BLOCK, &stop, &before);
    s.signals = signalfd(-1, &stop, SFD_CLOEXEC);
    if (s.signals < 0 || !go_raw(&s))
        vmd_set_errno(err, errno, "preparing the terminal");
    else
        left = join(&s, err);
    if (s.tty)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s.before);
    if (s.signals >= 0)
        close(s.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fd);
    return left;
}
