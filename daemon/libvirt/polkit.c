/*
 * See polkit.h. The connection is libsystemd's, turned by the loop: the socket is watched for what
 * the connection waits for, and a timer tells it of time. One that has ended is begun anew with the
 * next question.
 */
#include "daemon/libvirt/polkit.h"

#include "base/base.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#define AUTHORITY           "org.freedesktop.PolicyKit1"
#define AUTHORITY_PATH      "/org/freedesktop/PolicyKit1/Authority"
#define AUTHORITY_INTERFACE "org.freedesktop.PolicyKit1.Authority"

enum { ALLOW_INTERACTION = 1 << 0, START_TIME_FIELD = 22 };
#define LOOK_US     (2 * G_USEC_PER_SEC)
#define PATIENCE_US (300 * G_USEC_PER_SEC)

struct polkit {
    uv_loop_t *loop;
    struct connection *now; /* NULL: none */
    unsigned questions;     /* ever */
};

/* A connection to the bus; it outlives its polkit until its handles are closed. */
struct connection {
    struct polkit *polkit;
    sd_bus *bus;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles; /* not yet closed */
};

struct polkit_question {
    struct polkit *polkit;
    sd_bus *bus; /* counted */
    sd_bus_slot *slot;
    uv_timer_t soon; /* an answer that does not come by the bus */
    char *id;        /* by which it is cancelled */
    char *why;
    void (*done)(void *arg, enum polkit_answer answer, const char *why);
    void *arg;
};

/* --- the connection --------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;

    if (--c->handles > 0)
        return;
    sd_bus_unref(c->bus);
    g_free(c);
}

static void connection_end(struct connection *c)
{
    c->polkit->now = NULL;
    uv_poll_stop(&c->poll);
    sd_bus_close(c->bus);
    uv_close((uv_handle_t *)&c->poll, handle_closed);
    uv_close((uv_handle_t *)&c->timer, handle_closed);
}

static void turn(struct connection *c);

static void on_poll(uv_poll_t *poll, int status, int events)
{
    turn(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

/* Waits for what the bus waits for. False: the connection has ended. */
static bool watch(struct connection *c)
{
    int events = sd_bus_get_events(c->bus);
    uint64_t until = 0, now = (uint64_t)g_get_monotonic_time();

    if (events < 0 || sd_bus_get_timeout(c->bus, &until) < 0)
        return false;
    int wanted = (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0);
    if (uv_poll_start(&c->poll, wanted | UV_DISCONNECT, on_poll) < 0)
        return false;
    if (until == UINT64_MAX)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, until > now ? (until - now) / 1000 + 1 : 0, 0);
    return true;
}

/* Lets the bus do what there is to do; answers come from within. */
static void turn(struct connection *c)
{
    int r;

    do
        r = sd_bus_process(c->bus, NULL);
    while (r > 0);
    if ((r < 0 || !watch(c)) && c->polkit)
        connection_end(c);
}

static struct connection *connect_bus(struct polkit *p)
{
    struct connection *c = g_new0(struct connection, 1);

    c->polkit = p;
    if (sd_bus_open_system(&c->bus) < 0 ||
        uv_poll_init(p->loop, &c->poll, sd_bus_get_fd(c->bus)) < 0) {
        sd_bus_close_unref(c->bus);
        g_free(c);
        return NULL;
    }
    uv_timer_init(p->loop, &c->timer);
    c->poll.data = c->timer.data = c;
    c->handles = 2;
    uv_unref((uv_handle_t *)&c->poll);
    uv_unref((uv_handle_t *)&c->timer);
    return c;
}

/* --- whether there is one --------------------------------------------------------------------- */

static int call_bus(sd_bus *bus, const char *method, const char *name, sd_bus_message **reply)
{
    sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                           "org.freedesktop.DBus", method);

    if (r >= 0 && name)
        r = sd_bus_message_append(m, "s", name);
    if (r >= 0)
        r = sd_bus_call(bus, m, LOOK_US, NULL, reply);
    sd_bus_message_unref(m);
    return r;
}

/* Polkit runs, or the bus would start it. */
static bool is_there(sd_bus *bus)
{
    sd_bus_message *reply = NULL;
    char **names = NULL;
    int owned = 0;
    bool found = call_bus(bus, "NameHasOwner", AUTHORITY, &reply) >= 0 &&
                 sd_bus_message_read(reply, "b", &owned) >= 0 && owned;

    sd_bus_message_unref(reply);
    reply = NULL;
    if (!found && call_bus(bus, "ListActivatableNames", NULL, &reply) >= 0 &&
        sd_bus_message_read_strv(reply, &names) >= 0) {
        for (char **n = names; n && *n; n++) {
            found |= strcmp(*n, AUTHORITY) == 0;
            free(*n);
        }
        free(names);
    }
    sd_bus_message_unref(reply);
    return found;
}

struct polkit *polkit_open(uv_loop_t *loop)
{
    struct polkit *p = g_new0(struct polkit, 1);

    p->loop = loop;
    p->now = connect_bus(p);
    if (p->now && is_there(p->now->bus)) {
        turn(p->now);
        return p;
    }
    polkit_free(p);
    return NULL;
}

void polkit_free(struct polkit *p)
{
    if (p && p->now) {
        struct connection *c = p->now;
        connection_end(c);
        c->polkit = NULL;
    }
    g_free(p);
}

/* --- questions -------------------------------------------------------------------------------- */

static void question_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

static void question_free(struct polkit_question *q)
{
    sd_bus_slot_unref(q->slot);
    sd_bus_unref(q->bus);
    g_free(q->id);
    g_free(q->why);
    uv_close((uv_handle_t *)&q->soon, question_closed);
}

static void finish(struct polkit_question *q, enum polkit_answer answer, const char *why)
{
    q->done(q->arg, answer, why);
    question_free(q);
}

static void on_failed(uv_timer_t *timer)
{
    struct polkit_question *q = timer->data;

    finish(q, POLKIT_FAILED, q->why);
}

static void fail_soon(struct polkit_question *q, const char *why)
{
    q->why = g_strdup(why);
    uv_timer_start(&q->soon, on_failed, 0, 0);
}

/* Whether the details of an answer, which follow in M, say that the dialog was dismissed. */
static bool dismissed(sd_bus_message *m)
{
    const char *key, *value;
    bool is = false;

    if (sd_bus_message_enter_container(m, 'a', "{ss}") <= 0)
        return false;
    while (sd_bus_message_read(m, "{ss}", &key, &value) > 0)
        is |= strcmp(key, "polkit.dismissed") == 0 && *value;
    return is;
}

static int on_answer(sd_bus_message *m, void *user, sd_bus_error *error)
{
    struct polkit_question *q = user;
    const sd_bus_error *failed = sd_bus_message_get_error(m);
    int yes = 0, challenge = 0;

    if (failed)
        finish(q, POLKIT_FAILED, failed->message ? failed->message : failed->name);
    else if (sd_bus_message_enter_container(m, 'r', "bba{ss}") < 0 ||
             sd_bus_message_read(m, "bb", &yes, &challenge) < 0)
        finish(q, POLKIT_FAILED, "an answer that makes no sense");
    else
        finish(q,
               yes            ? POLKIT_YES
               : dismissed(m) ? POLKIT_DISMISSED
               : challenge    ? POLKIT_NOBODY
                              : POLKIT_NO,
               NULL);
    return 0;
}

/* When process PID began, in ticks since the host did: tells it from a later one of that number. 0:
 * that is not to be seen here, and polkit looks itself. */
static uint64_t start_time(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    g_auto(GStrv) fields = at ? g_strsplit(at + 2, " ", START_TIME_FIELD) : NULL;
    const guint index = START_TIME_FIELD - 3; /* the state, which comes first here, is field 3 */
    return fields && g_strv_length(fields) > index ? g_ascii_strtoull(fields[index], NULL, 10) : 0;
}

static int send_question(struct polkit_question *q, const struct rpc_peer *peer, const char *action)
{
    sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(q->bus, &m, AUTHORITY, AUTHORITY_PATH,
                                           AUTHORITY_INTERFACE, "CheckAuthorization");

    if (r >= 0)
        r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "unix-process", 3, "pid", "u",
                                  (uint32_t)peer->pid, "start-time", "t", start_time(peer->pid),
                                  "uid", "i", (int32_t)peer->uid, action, 0, ALLOW_INTERACTION,
                                  q->id);
    if (r >= 0)
        r = sd_bus_call_async(q->bus, &q->slot, m, on_answer, q, PATIENCE_US);
    sd_bus_message_unref(m);
    return r;
}

struct polkit_question *
polkit_ask(struct polkit *p, const struct rpc_peer *peer, const char *action,
           void (*done)(void *arg, enum polkit_answer answer, const char *why), void *arg)
{
    struct polkit_question *q = g_new0(struct polkit_question, 1);
    int r;

    q->polkit = p;
    q->done = done;
    q->arg = arg;
    q->id = g_strdup_printf("vmd-%u", ++p->questions);
    uv_timer_init(p->loop, &q->soon);
    q->soon.data = q;
    if (!p->now)
        p->now = connect_bus(p);
    if (!p->now) {
        fail_soon(q, "the system's bus cannot be reached");
        return q;
    }
    q->bus = sd_bus_ref(p->now->bus);
    r = send_question(q, peer, action);
    if (r < 0)
        fail_soon(q, g_strerror(-r));
    /* From the loop, as answers are. */
    uv_timer_start(&p->now->timer, on_timer, 0, 0);
    return q;
}

void polkit_forget(struct polkit_question *q)
{
    /* The dialog that may be open closes. What comes of this nobody needs to know. */
    if (q->slot && sd_bus_is_open(q->bus) > 0)
        sd_bus_call_method_async(q->bus, NULL, AUTHORITY, AUTHORITY_PATH, AUTHORITY_INTERFACE,
                                 "CancelCheckAuthorization", NULL, NULL, "s", q->id);
    if (q->polkit->now)
        uv_timer_start(&q->polkit->now->timer, on_timer, 0, 0);
    question_free(q);
}
