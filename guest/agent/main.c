/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * vmd-agent: does in a guest what its host, vmd, cannot do from outside.
 *
 *   vmd-agent [--port FILE]
 *
 * Opens the virtio-serial port org.vmd.agent.0, wherever the kernel has it, and answers requests,
 * each in a process of its own, so that one the kernel takes long for holds up no other and none
 * can end the agent. When the host's end goes away it waits for it; while there is no port, it
 * waits for one. What it does not understand it passes over. Everything it keeps is of fixed size.
 */
#include "guest/agent/verbs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSFS "/sys"

enum {
    WORKERS = 16,  /* requests under way at once */
    OUT_LINES = 4, /* answers kept until the host takes them, beside those of workers */
    RETRY_S = 1,   /* between two looks for a port or a host */
    OUT_BYTES = (WORKERS + OUT_LINES) * LINE_MAX_BYTES,
};

/* One request's process and what it answered so far. */
struct worker {
    pid_t pid; /* 0: none */
    int fd;
    uint32_t id;
    unsigned connection; /* whom it answers */
    size_t length;
    char answer[LINE_MAX_BYTES];
};

struct agent {
    int port;
    unsigned connection; /* counts */
    struct worker workers[WORKERS];
    struct line_reader in;
    uint8_t
        taken[LINE_MAX_BYTES]; /* read from the port, not looked at yet: [taken_at, taken_end) */
    size_t taken_at, taken_end;
    char out[OUT_BYTES];
    size_t out_length;
};

/* --- the port --------------------------------------------------------------------------------- */

/* Whether the port NAME of sysfs is the agent's. */
static bool is_agents_port(const char *name)
{
    char path[512], text[64] = "";

    snprintf(path, sizeof(path), SYSFS "/class/virtio-ports/%s/name", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n > 0)
        text[strcspn(text, "\n")] = '\0';
    return strcmp(text, LINE_PORT) == 0;
}

/* The descriptor of the port, or -1. */
static int open_port(const char *file)
{
    DIR *folder = file ? NULL : opendir(SYSFS "/class/virtio-ports");
    char path[512] = "";
    struct dirent *entry;

    while (folder && !*path && (entry = readdir(folder))) {
        if (entry->d_name[0] != '.' && is_agents_port(entry->d_name))
            snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
    }
    if (folder)
        closedir(folder);
    if (file)
        snprintf(path, sizeof(path), "%s", file);
    return *path ? open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* There is room: requests are only taken while there is. */
static void send_bytes(struct agent *a, const char *text, size_t n)
{
    memcpy(a->out + a->out_length, text, n);
    a->out_length += n;
}

/* False when the port is gone. */
static bool flush(struct agent *a)
{
    ssize_t n = a->out_length ? write(a->port, a->out, a->out_length) : 0;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    a->out_length -= (size_t)n;
    memmove(a->out, a->out + n, a->out_length);
    return true;
}

static void refuse(struct agent *a, uint32_t id, int error, const char *text)
{
    struct line line;

    verbs_error(id, error, text, &line);
    send_bytes(a, line.text, line.length);
}

/* --- workers ---------------------------------------------------------------------------------- */

static struct worker *free_worker(struct agent *a)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        if (!a->workers[i].pid)
            return &a->workers[i];
    }
    return NULL;
}

static bool write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t done = write(fd, text, n);
        if (done < 0)
            return false;
        text += done;
        n -= (size_t)done;
    }
    return true;
}

/* In the new process: the port is not its business, and would stay open through it. */
static void work(struct agent *a, const struct line_words *request, int fd)
{
    struct line line;

    close(a->port);
    if (!verbs_answer(SYSFS, request, &line))
        _exit(1);
    _exit(write_all(fd, line.text, line.length) ? 0 : 1);
}

static void begin(struct agent *a, const struct line_words *request)
{
    struct worker *w = free_worker(a);
    int ends[2];
    uint32_t id;

    if (!line_number(request->word[0], UINT32_MAX, &id))
        return;
    if (!w) {
        refuse(a, id, EBUSY, "too many requests are under way");
        return;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        refuse(a, id, errno, "no pipe can be had");
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        work(a, request, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        refuse(a, id, errno, "no process can be had");
        close(ends[0]);
        return;
    }
    *w = (struct worker){.pid = pid, .fd = ends[0], .id = id, .connection = a->connection};
}

/* Its process ended, with a whole answer or without. */
static void end(struct agent *a, struct worker *w)
{
    bool whole = w->length && w->answer[w->length - 1] == '\n';

    close(w->fd);
    while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    w->pid = 0;
    if (w->connection != a->connection)
        return; /* whoever asked is gone */
    if (whole)
        send_bytes(a, w->answer, w->length);
    else
        refuse(a, w->id, EIO, "the request's process ended without an answer");
}

static void hear(struct agent *a, struct worker *w)
{
    ssize_t n = read(w->fd, w->answer + w->length, sizeof(w->answer) - w->length);

    if (n < 0 && errno == EINTR)
        return;
    if (n > 0)
        w->length += (size_t)n;
    else
        end(a, w);
}

/* --- requests --------------------------------------------------------------------------------- */

/* Whether one more answer has its place, when all workers have given theirs. */
static bool has_room(const struct agent *a)
{
    return a->out_length <= (OUT_LINES - 1) * LINE_MAX_BYTES;
}

/* Takes lines as long as answers have room. */
static void take_requests(struct agent *a)
{
    while (a->taken_at < a->taken_end && has_room(a)) {
        struct line_words request;
        size_t used;
        enum line_event event =
            line_read(&a->in, a->taken + a->taken_at, a->taken_end - a->taken_at, &used);
        a->taken_at += used;
        if (event == LINE_READY && line_split(a->in.text, a->in.length, &request))
            begin(a, &request);
    }
}

/* False when the port is gone, or the host's end of it. */
static bool read_port(struct agent *a)
{
    ssize_t n = read(a->port, a->taken, sizeof(a->taken));

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    a->taken_at = 0;
    a->taken_end = (size_t)n;
    return n > 0;
}

/* One wait and what comes of it; false when the port or the host is gone. */
static bool turn(struct agent *a)
{
    struct pollfd fds[WORKERS + 1] = {{.fd = a->port}};

    if (a->taken_at == a->taken_end && has_room(a))
        fds[0].events |= POLLIN;
    if (a->out_length)
        fds[0].events |= POLLOUT;
    for (unsigned i = 0; i < WORKERS; i++)
        fds[i + 1] =
            (struct pollfd){.fd = a->workers[i].pid ? a->workers[i].fd : -1, .events = POLLIN};
    if (poll(fds, WORKERS + 1, -1) < 0)
        return errno == EINTR;
    for (unsigned i = 0; i < WORKERS; i++) {
        if (fds[i + 1].revents)
            hear(a, &a->workers[i]);
    }
    if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
        return false;
    if (fds[0].revents & POLLIN && !read_port(a))
        return false;
    /* Nothing may be left that could go on: no event would come for it. */
    do {
        take_requests(a);
        if (!flush(a))
            return false;
    } while (a->taken_at < a->taken_end && has_room(a));
    return true;
}

static void serve(struct agent *a)
{
    a->connection++;
    a->taken_at = a->taken_end = a->out_length = 0;
    memset(&a->in, 0, sizeof(a->in));
    while (turn(a))
        continue;
}

int main(int argc, char **argv)
{
    static struct agent agent;
    const char *file = NULL;
    bool told = false;

    if (argc == 3 && strcmp(argv[1], "--port") == 0) {
        file = argv[2];
    } else if (argc != 1) {
        fprintf(stderr, "usage: vmd-agent [--port FILE]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (;; sleep(RETRY_S)) {
        agent.port = open_port(file);
        if (agent.port >= 0) {
            told = false;
            serve(&agent);
            close(agent.port);
        } else if (!told) {
            told = true;
            fprintf(stderr, "vmd-agent: no port %s yet; waiting for it\n", file ? file : LINE_PORT);
        }
    }
}
