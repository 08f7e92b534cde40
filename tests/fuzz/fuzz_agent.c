/*
 * What a guest says to the host's side of the agent. A byte 0 begins a command of the rest of the
 * world, which the next byte names; "@" is the number of the last question; all else is the guest's
 * words.
 */
#include "guest/agent/line.h"
#include "tests/fuzz/fuzz.h"
#include "vm/agent.h"

#include <stdio.h>
#include <string.h>

static uint64_t skew_ns; /* guest time, moved by commands */

uint64_t __real_vm_clock_now(const struct vm_clock *clock);
uint64_t __wrap_vm_clock_now(const struct vm_clock *clock);

uint64_t __wrap_vm_clock_now(const struct vm_clock *clock)
{
    return __real_vm_clock_now(clock) + skew_ns;
}

struct world {
    struct agent *agent;
    bool connected, present;
    size_t room;
    int64_t number; /* of the last question */
    unsigned asked, ended;
};

static size_t take(void *opaque, const uint8_t *data, size_t n)
{
    struct world *w = opaque;

    n = MIN(n, w->room);
    w->room -= n;
    return n;
}

static void connect_port(void *opaque, bool connected)
{
    struct world *w = opaque;

    g_assert(w->connected != connected);
    w->connected = connected;
}

static void changed(void *opaque)
{
    struct world *w = opaque;

    g_assert(agent_present(w->agent) != w->present);
    w->present = !w->present;
    g_assert(w->present == (agent_version(w->agent) != NULL));
    g_assert(!w->present || w->connected);
}

static const struct agent_ops ops = {take, connect_port, changed};

static void replied(void *opaque, const struct agent_reply *reply)
{
    struct world *w = opaque;

    w->ended++;
    g_assert(reply->error >= 0 && !reply->error == !reply->text);
    for (unsigned i = 0; i < reply->n; i++)
        g_assert(*reply->words[i]);
}

static void ask(struct world *w)
{
    static const char *const words[] = {"ping", "x y", NULL};
    int64_t number = agent_ask(w->agent, words, 1000, replied, w);

    if (number <= 0)
        return;
    g_assert(w->present);
    w->number = number;
    w->asked++;
    g_assert(w->asked - w->ended <= LIMIT_AGENT_QUESTIONS);
}

static void command(struct world *w, uv_loop_t *loop, uint8_t which)
{
    switch (which % 7) {
    case 0:
    case 1:
        agent_opened(w->agent, which & 1);
        break;
    case 2:
        ask(w);
        break;
    case 3:
        agent_cancel(w->agent, w->number + which);
        break;
    case 4:
        w->room = which;
        agent_room(w->agent);
        break;
    default:
        skew_ns += (uint64_t)which * 100000000;
        agent_clock_changed(w->agent);
        uv_run(loop, UV_RUN_NOWAIT);
    }
}

/* Says TEXT, with "@" for the number of the question. The hello's is not known: it is guessed well
 * by setting the generator of random numbers. */
static void say(struct world *w, const uint8_t *text, size_t n)
{
    char number[24];

    for (; n; text++, n--) {
        int length = snprintf(number, sizeof(number), "%" G_GINT64_FORMAT, w->number);
        if (*text == '@')
            agent_input(w->agent, (const uint8_t *)number, (size_t)length);
        else
            agent_input(w->agent, text, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uv_loop_t loop;
    static struct vm_clock *clock;
    struct world w = {.connected = true, .room = SIZE_MAX};

    if (!clock) {
        uv_loop_init(&loop);
        clock = vm_clock_new(0);
    }
    g_random_set_seed(1);
    w.number = (int64_t)g_random_int_range(0, INT32_MAX) + 1;
    g_random_set_seed(1);
    w.agent = agent_new(&loop, clock, &ops, &w);
    agent_opened(w.agent, true);
    while (size) {
        const uint8_t *zero = memchr(data, 0, size);
        size_t n = zero ? (size_t)(zero - data) : size;
        say(&w, data, n);
        data += n;
        size -= n;
        if (size < 2)
            break;
        command(&w, &loop, data[1]);
        data += 2;
        size -= 2;
    }
    /* It leaves, with what was open. */
    agent_opened(w.agent, false);
    g_assert(!w.present && w.ended <= w.asked);
    agent_free(w.agent);
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
#define HELLO "@ ok protocol=1 agent=0.1 kernel=6.12 verbs=hello,ping\n"
    static const struct {
        const char *text;
        size_t n;
    } seeds[] = {
#define SEED(text) {text, sizeof(text) - 1}
        SEED(HELLO),
        SEED(HELLO "\0\2@ ok a=1 b%20\n\0\2@ error 2 No%20such%20file\n"),
        SEED(HELLO "\0\2\0\5\0\14@ ok\n"),
        SEED(HELLO "\0\2\0\3@ ok\n@ ok\n"),
        SEED("1 ok\nx\n" HELLO "\0\2\0\0"),
        SEED("@ error 93 no\n\0\377\0\376\0\1"),
        SEED(HELLO "\0\4\0\2\0\2\0\13\0\2"),
        SEED(HELLO "lies\n\0\377\0\377\0\377\0\377\0\377\0\377"),
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const uint8_t *)seeds[n].text, (guint)seeds[n].n);
    return true;
}
