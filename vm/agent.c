/*
 * The host's side of vmd-agent; see agent.h.
 *
 * Three states: CLOSED, GREETING from when the guest opened the port until it said who it is, and
 * PRESENT; being cut off (FAULT and RESUME_NS set) goes beside them, since the guest may open and
 * close the port while nobody listens.
 *
 * In GREETING a few lines that mean nothing are passed over: the rest of what an earlier agent, or
 * the same one to an earlier host, had to say. From then on only lines that were asked for are
 * taken: an answer to an open question, or as many others as questions were given up (timed out, or
 * cancelled), since those may be answered late. So what a guest can have this process read is
 * bounded by what it is asked.
 */
#include "vm/agent.h"

#include "guest/agent/line.h"

#include <errno.h>
#include <string.h>

enum {
    HELLO_TEXT = 64, /* bytes kept of what the agent says of itself */
    ERROR_TEXT = 256,
};

G_STATIC_ASSERT(LINE_MAX_BYTES == LIMIT_AGENT_LINE);

enum state { AGENT_CLOSED, AGENT_GREETING, AGENT_PRESENT };

struct question {
    uint32_t id;
    uint64_t deadline_ns; /* guest time */
    agent_reply_fn reply;
    void *opaque;
};

struct agent {
    struct vm_clock *clock;
    const struct agent_ops *ops;
    void *opaque;
    uv_timer_t timer;
    enum state state;
    bool open;      /* the guest has the port open */
    unsigned opens; /* how often it opened it since SINCE_NS */
    uint64_t since_ns;
    const char *fault;  /* why it was cut off last; NULL: never */
    uint64_t resume_ns; /* when it is listened to again; 0: it is */
    uint32_t last_id;
    unsigned strays; /* lines that may yet come without being an answer to an open question */
    GArray *questions;
    GByteArray *out; /* what the port has not taken yet */
    struct line_reader in;
    char version[HELLO_TEXT], kernel[HELLO_TEXT];
    char **verbs;
    bool was_present; /* what OPS was told */
};

/* --- time ---------------------------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer);

/* Sets the timer for what is due first. */
static void arm(struct agent *a)
{
    uint64_t next = a->resume_ns ? a->resume_ns : UINT64_MAX;

    for (guint i = 0; i < a->questions->len; i++)
        next = MIN(next, g_array_index(a->questions, struct question, i).deadline_ns);
    /* While the clock stands agent_clock_changed() is to come. */
    if (next == UINT64_MAX || vm_clock_host_deadline(a->clock, next) == UINT64_MAX) {
        uv_timer_stop(&a->timer);
        return;
    }
    uint64_t now = vm_clock_now(a->clock);
    uv_update_time(a->timer.loop);
    uv_timer_start(&a->timer, on_timer, next > now ? (next - now) / 1000000 + 1 : 0, 0);
}

static uint64_t after_ms(const struct agent *a, unsigned ms)
{
    return vm_clock_now(a->clock) + (uint64_t)ms * 1000000;
}

/* --- questions -------------------------------------------------------------------------------- */

/* Takes question INDEX off the list and calls its reply, which may do anything but free. */
static void settle(struct agent *a, guint index, const struct agent_reply *reply)
{
    struct question q = g_array_index(a->questions, struct question, index);

    g_array_remove_index(a->questions, index);
    if (q.reply)
        q.reply(q.opaque, reply);
}

static void settle_all(struct agent *a, int error, const char *text)
{
    const struct agent_reply reply = {.error = error, .text = text};

    /* Replies may ask anew, but nobody is there to be asked. */
    while (a->questions->len)
        settle(a, 0, &reply);
}

static int find(const struct agent *a, int64_t number)
{
    for (guint i = 0; i < a->questions->len; i++) {
        if (g_array_index(a->questions, struct question, i).id == number)
            return (int)i;
    }
    return -1;
}

static void flush(struct agent *a)
{
    if (!a->out->len)
        return;
    size_t n = a->ops->send(a->opaque, a->out->data, a->out->len);
    g_byte_array_remove_range(a->out, 0, (guint)MIN(n, a->out->len));
}

/* The question is on its way, or -E2BIG. */
static int64_t put(struct agent *a, const char *const *words, unsigned timeout_ms,
                   agent_reply_fn reply, void *opaque)
{
    g_autofree struct line *line = g_new0(struct line, 1);
    struct question q = {.id = a->last_id + 1, .reply = reply, .opaque = opaque};

    line_add_number(line, q.id);
    for (; *words; words++)
        line_add(line, *words);
    if (!line_end(line))
        return -E2BIG;
    q.deadline_ns = after_ms(a, timeout_ms);
    a->last_id = q.id;
    g_array_append_val(a->questions, q);
    g_byte_array_append(a->out, (const uint8_t *)line->text, (guint)line->length);
    flush(a);
    arm(a);
    return q.id;
}

int64_t agent_ask(struct agent *a, const char *const *words, unsigned timeout_ms,
                  agent_reply_fn reply, void *opaque)
{
    if (!agent_present(a))
        return -ENOTCONN;
    if (!agent_can(a, words[0]))
        return -EOPNOTSUPP;
    if (a->questions->len >= LIMIT_AGENT_QUESTIONS)
        return -EBUSY;
    return put(a, words, timeout_ms, reply, opaque);
}

void agent_cancel(struct agent *a, int64_t number)
{
    int index = find(a, number);

    if (index < 0)
        return;
    a->strays++;
    g_array_remove_index(a->questions, (guint)index);
    arm(a);
}

/* --- coming and going ------------------------------------------------------------------------- */

static void tell(struct agent *a)
{
    bool present = agent_present(a);

    if (present == a->was_present)
        return;
    a->was_present = present;
    if (a->ops->changed)
        a->ops->changed(a->opaque);
}

/* Forgets the agent; open questions end with ERROR. */
static void leave(struct agent *a, int error, const char *text)
{
    a->state = AGENT_CLOSED;
    memset(&a->in, 0, sizeof(a->in));
    g_byte_array_set_size(a->out, 0);
    g_clear_pointer(&a->verbs, g_strfreev);
    a->version[0] = a->kernel[0] = '\0';
    settle_all(a, error, text);
    tell(a);
}

static void cut_off(struct agent *a, const char *why)
{
    a->fault = why;
    a->resume_ns = after_ms(a, LIMIT_AGENT_PAUSE_MS);
    leave(a, EPROTO, why);
    arm(a);
    a->ops->connect(a->opaque, false);
}

static void on_hello(void *opaque, const struct agent_reply *reply);

/* Asks who is there. */
static void greet(struct agent *a)
{
    static const char *const hello[] = {"hello", G_STRINGIFY(LINE_PROTOCOL), NULL};

    a->state = AGENT_GREETING;
    a->strays = LIMIT_AGENT_QUESTIONS;
    /* Numbers of its own for each connection: nothing that was said before is an answer. */
    a->last_id = g_random_int_range(0, INT32_MAX);
    /* Ends a line that was cut off with an earlier connection. */
    g_byte_array_append(a->out, (const uint8_t *)"\n", 1);
    put(a, hello, LIMIT_AGENT_HELLO_MS, on_hello, a);
}

/* Each opening is news to others. */
static bool opens_too_often(struct agent *a)
{
    if (after_ms(a, 0) - a->since_ns > (uint64_t)LIMIT_AGENT_PAUSE_MS * 1000000) {
        a->since_ns = after_ms(a, 0);
        a->opens = 0;
    }
    return ++a->opens > LIMIT_AGENT_OPENS;
}

void agent_opened(struct agent *a, bool open)
{
    a->open = open;
    if (a->state != AGENT_CLOSED)
        leave(a, ECONNRESET, "the agent went away");
    if (open && !a->resume_ns) {
        if (opens_too_often(a))
            cut_off(a, "it comes and goes");
        else
            greet(a);
    }
    arm(a);
}

static void on_timer(uv_timer_t *timer)
{
    static const struct agent_reply late = {.error = ETIMEDOUT, .text = "no answer in time"};
    struct agent *a = timer->data;
    uint64_t now = vm_clock_now(a->clock);

    if (a->resume_ns && a->resume_ns <= now) {
        a->resume_ns = 0;
        a->ops->connect(a->opaque, true);
        if (a->open)
            greet(a);
    }
    for (guint i = 0; i < a->questions->len;) {
        if (g_array_index(a->questions, struct question, i).deadline_ns > now) {
            i++;
            continue;
        }
        a->strays++;
        settle(a, i, &late);
        i = 0; /* the reply may have changed the list */
    }
    arm(a);
}

void agent_clock_changed(struct agent *a)
{
    arm(a);
}

/* --- what it says ----------------------------------------------------------------------------- */

/* Copies TEXT for people's eyes: printable, shortened. */
static void make_printable(char *to, size_t size, const char *text)
{
    g_strlcpy(to, text, size);
    for (; *to; to++) {
        if (!g_ascii_isprint(*to))
            *to = '?';
    }
}

/* Whether WORD is NAME=VALUE; then *VALUE. */
static bool value_of(const char *word, const char *name, const char **value)
{
    size_t n = strlen(name);

    if (strncmp(word, name, n) != 0 || word[n] != '=')
        return false;
    *value = word + n + 1;
    return true;
}

static void on_hello(void *opaque, const struct agent_reply *reply)
{
    struct agent *a = opaque;
    uint32_t protocol = 0;

    if (reply->error == ECONNRESET || reply->error == EPROTO)
        return; /* it is gone already */
    if (reply->error) {
        cut_off(a, reply->error == ETIMEDOUT ? "it does not say who it is"
                                             : "it refuses to say who it is");
        return;
    }
    for (unsigned i = 0; i < reply->n; i++) {
        const char *value;
        if (value_of(reply->words[i], "protocol", &value) &&
            !line_number(value, UINT32_MAX, &protocol))
            protocol = 0;
        else if (value_of(reply->words[i], "agent", &value))
            make_printable(a->version, sizeof(a->version), value);
        else if (value_of(reply->words[i], "kernel", &value))
            make_printable(a->kernel, sizeof(a->kernel), value);
        else if (value_of(reply->words[i], "verbs", &value) && !a->verbs)
            a->verbs = g_strsplit(value, ",", -1);
    }
    if (protocol != LINE_PROTOCOL || !a->verbs) {
        cut_off(a, "it speaks no protocol that this vmd knows");
        return;
    }
    a->state = AGENT_PRESENT;
    a->strays = 0;
    tell(a);
}

/* An answer: W is "ok WORD..." or "error NUMBER TEXT". False where it is neither. */
static bool parse_answer(const struct line_words *w, struct agent_reply *reply, char *text)
{
    uint32_t number;

    if (w->n >= 2 && strcmp(w->word[1], "ok") == 0) {
        *reply = (struct agent_reply){.n = w->n - 2, .words = w->word + 2};
        return true;
    }
    if (w->n != 4 || strcmp(w->word[1], "error") != 0 ||
        !line_number(w->word[2], INT16_MAX, &number) || !number)
        return false;
    make_printable(text, ERROR_TEXT, w->word[3]);
    *reply = (struct agent_reply){.error = (int)number, .text = text};
    return true;
}

/* One more line that answers no open question. */
static void stray(struct agent *a, const char *why)
{
    if (a->strays)
        a->strays--;
    else
        cut_off(a, why);
}

static void take_line(struct agent *a)
{
    struct agent_reply reply;
    struct line_words w;
    char text[ERROR_TEXT];
    uint32_t id;
    bool good = line_split(a->in.text, a->in.length, &w) &&
                line_number(w.word[0], UINT32_MAX, &id) && parse_answer(&w, &reply, text);

    if (!good) {
        if (a->state == AGENT_GREETING)
            stray(a, "it says what is no answer");
        else
            cut_off(a, "it says what is no answer");
        return;
    }
    int index = find(a, id);
    if (index < 0) {
        stray(a, "it says what it was not asked");
        return;
    }
    settle(a, (guint)index, &reply);
    arm(a);
}

void agent_input(struct agent *a, const uint8_t *data, size_t n)
{
    while (n && a->state != AGENT_CLOSED) {
        size_t used;
        enum line_event event = line_read(&a->in, data, n, &used);
        data += used;
        n -= used;
        if (event == LINE_READY)
            take_line(a);
        else if (event == LINE_TOO_LONG)
            cut_off(a, "its line is too long");
    }
}

void agent_room(struct agent *a)
{
    flush(a);
}

/* --- the object ------------------------------------------------------------------------------- */

struct agent *agent_new(uv_loop_t *loop, struct vm_clock *clock, const struct agent_ops *ops,
                        void *opaque)
{
    struct agent *a = g_new0(struct agent, 1);

    a->clock = clock;
    a->ops = ops;
    a->opaque = opaque;
    a->questions = g_array_new(FALSE, FALSE, sizeof(struct question));
    a->out = g_byte_array_new();
    uv_timer_init(loop, &a->timer);
    a->timer.data = a;
    return a;
}

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    g_array_free(a->questions, TRUE);
    g_byte_array_free(a->out, TRUE);
    g_strfreev(a->verbs);
    uv_close((uv_handle_t *)&a->timer, timer_closed);
}

bool agent_present(const struct agent *a)
{
    return a->state == AGENT_PRESENT;
}

bool agent_can(const struct agent *a, const char *verb)
{
    return agent_present(a) && g_strv_contains((const char *const *)a->verbs, verb);
}

const char *agent_version(const struct agent *a)
{
    return agent_present(a) ? a->version : NULL;
}

const char *agent_kernel(const struct agent *a)
{
    return agent_present(a) ? a->kernel : NULL;
}

const char *agent_fault(const struct agent *a)
{
    return a->fault;
}
