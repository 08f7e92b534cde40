/* The host's side of the guest's agent, and the lines: what is said, and all that must not be. */
#include "guest/agent/line.h"
#include "tests/unit/unit.h"
#include "vm/agent.h"

#include <errno.h>
#include <stdio.h>

/* --- guest time, which the tests move ----------------------------------------------------------
 */

static uint64_t skew_ns;

uint64_t __real_vm_clock_now(const struct vm_clock *clock);
uint64_t __wrap_vm_clock_now(const struct vm_clock *clock);

uint64_t __wrap_vm_clock_now(const struct vm_clock *clock)
{
    return __real_vm_clock_now(clock) + skew_ns;
}

/* --- lines ------------------------------------------------------------------------------------ */

static const struct {
    const char *name, *line;
    const char *words; /* joined by "|"; NULL: it is none */
} lines[] = {
    {"one word", "ping", "ping"},
    {"three", "1 ok x=y", "1|ok|x=y"},
    {"escapes", "a%20b %25 %ff%7F", "a b|%|\xff\x7f"},
    {"empty", "", NULL},
    {"a space", " ", NULL},
    {"a space first", " a", NULL},
    {"a space last", "a ", NULL},
    {"two spaces", "a  b", NULL},
    {"a tab", "a\tb", NULL},
    {"a carriage return", "a\r", NULL},
    {"not ASCII", "\xc3\xa4", NULL},
    {"delete", "\x7f", NULL},
    {"a zero, escaped", "a%00", NULL},
    {"an escape cut short", "a%2", NULL},
    {"an escape without digits", "%zz", NULL},
    {"an escape with a sign", "%+1", NULL},
    {"an escape over a space", "%2 0", NULL},
};

START_TEST(line_rows)
{
    char text[64];
    struct line_words w;
    size_t n = strlen(lines[_i].line);

    memcpy(text, lines[_i].line, n);
    bool good = line_split(text, n, &w);
    ck_assert_msg(good == (lines[_i].words != NULL), "%s", lines[_i].name);
    if (!good)
        return;
    g_autofree char *words = g_strjoinv("|", (char **)w.word);
    ck_assert_msg(strcmp(words, lines[_i].words) == 0, "%s: %s", lines[_i].name, words);
    /* And back. */
    struct line line = {0};
    for (unsigned i = 0; i < w.n; i++)
        line_add(&line, w.word[i]);
    ck_assert(line_end(&line));
    ck_assert_uint_eq(line.text[line.length - 1], '\n');
    ck_assert(line_split(line.text, line.length - 1, &w));
    g_autofree char *again = g_strjoinv("|", (char **)w.word);
    ck_assert_str_eq(words, again);
}
END_TEST

START_TEST(line_zero_byte)
{
    char text[4] = {'a', '\0', 'b'};
    struct line_words w;

    ck_assert(!line_split(text, 3, &w));
}
END_TEST

/* Of words, and of bytes. */
START_TEST(line_edges)
{
    g_autofree char *word = g_strnfill(LINE_MAX_BYTES - 1, 'x');
    g_autoptr(GString) text = g_string_new("x");
    struct line line = {0};
    struct line_words w;

    for (unsigned i = 1; i < LINE_MAX_WORDS; i++)
        g_string_append(text, " x");
    g_autofree char *copy = g_strdup(text->str);
    ck_assert(line_split(copy, text->len, &w) && w.n == LINE_MAX_WORDS && !w.word[w.n]);
    g_string_append(text, " x");
    ck_assert(!line_split(text->str, text->len, &w));

    line_add(&line, word);
    ck_assert(line_end(&line) && line.length == LINE_MAX_BYTES);
    line = (struct line){0};
    line_add(&line, word);
    line_add(&line, "y");
    ck_assert(!line_end(&line));
    line = (struct line){0};
    ck_assert(!line_end(&line));
    line_add(&line, "");
    ck_assert(!line_end(&line));
    line = (struct line){0};
    line_add_pair(&line, "name", "");
    line_add_pair(&line, "other", "a b");
    ck_assert(line_end(&line));
    ck_assert_int_eq(strncmp(line.text, "name= other=a%20b\n", line.length), 0);
}
END_TEST

static const struct {
    const char *word;
    uint32_t max;
    bool good;
    uint32_t number;
} numbers[] = {
    {"0", 10, true, 0},
    {"10", 10, true, 10},
    {"11", 10, false, 0},
    {"", 10, false, 0},
    {"-1", 10, false, 0},
    {"+1", 10, false, 0},
    {" 1", 10, false, 0},
    {"1 ", 10, false, 0},
    {"01", 10, false, 0},
    {"0x1", 10, false, 0},
    {"1.0", 10, false, 0},
    {"4294967295", UINT32_MAX, true, UINT32_MAX},
    {"4294967296", UINT32_MAX, false, 0},
    {"18446744073709551617", UINT32_MAX, false, 0},
};

START_TEST(line_numbers)
{
    uint32_t number = 77;
    bool good = line_number(numbers[_i].word, numbers[_i].max, &number);

    ck_assert_msg(good == numbers[_i].good, "%s", numbers[_i].word);
    ck_assert_uint_eq(number, good ? numbers[_i].number : 77);
}
END_TEST

/* Lines are found whichever way the bytes come. */
START_TEST(line_reading)
{
    g_autofree struct line_reader *r = g_new0(struct line_reader, 1);
    g_autoptr(GString) in = g_string_new("one\n\ntwo words\n");
    g_autoptr(GString) seen = g_string_new(NULL);

    for (unsigned i = 0; i < LINE_MAX_BYTES - 1; i++)
        g_string_append_c(in, 'x');
    g_string_append_c(in, '\n');
    for (unsigned i = 0; i < 3 * LINE_MAX_BYTES; i++)
        g_string_append_c(in, 'y');
    g_string_append(in, "\nlast\n");
    static const size_t steps[] = {1, 7, 4096, 100000};
    for (size_t at = 0; at < in->len;) {
        size_t used, n = MIN(steps[_i], in->len - at);
        enum line_event event = line_read(r, (const uint8_t *)in->str + at, n, &used);
        ck_assert_uint_le(used, n);
        ck_assert_uint_gt(used, 0);
        at += used;
        if (event == LINE_TOO_LONG)
            g_string_append(seen, "long,");
        else if (event == LINE_READY && r->length < 20)
            g_string_append_printf(seen, "%s,", r->text);
        else if (event == LINE_READY)
            g_string_append_printf(seen, "%zu,", r->length);
    }
    ck_assert_str_eq(seen->str, "one,,two words,4095,long,last,");
}
END_TEST

/* --- the agent -------------------------------------------------------------------------------- */

struct rig {
    uv_loop_t loop;
    struct vm_clock *clock;
    struct agent *agent;
    GString *sent;
    size_t room;
    bool connected;
    unsigned changes;
    GString *replies; /* "error text|" or "0 word word|" */
};

static size_t rig_send(void *opaque, const uint8_t *data, size_t n)
{
    struct rig *r = opaque;

    n = MIN(n, r->room);
    r->room -= n;
    g_string_append_len(r->sent, (const char *)data, (gssize)n);
    return n;
}

static void rig_connect(void *opaque, bool connected)
{
    ((struct rig *)opaque)->connected = connected;
}

static void rig_changed(void *opaque)
{
    ((struct rig *)opaque)->changes++;
}

static const struct agent_ops rig_ops = {rig_send, rig_connect, rig_changed};

static void rig_init(struct rig *r)
{
    *r = (struct rig){.room = SIZE_MAX, .connected = true};
    skew_ns = 0;
    ck_assert_int_eq(uv_loop_init(&r->loop), 0);
    r->clock = vm_clock_new(0);
    r->sent = g_string_new(NULL);
    r->replies = g_string_new(NULL);
    r->agent = agent_new(&r->loop, r->clock, &rig_ops, r);
}

static void rig_fini(struct rig *r)
{
    agent_free(r->agent);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&r->loop), 0);
    vm_clock_free(r->clock);
    g_string_free(r->sent, TRUE);
    g_string_free(r->replies, TRUE);
}

/* Guest time goes on by MS; what is due happens. */
static void rig_pass(struct rig *r, unsigned ms)
{
    skew_ns += (uint64_t)ms * 1000000;
    agent_clock_changed(r->agent);
    uv_run(&r->loop, UV_RUN_NOWAIT);
}

/* The number of the last question that was sent. */
static int64_t rig_number(const struct rig *r)
{
    const char *line = r->sent->str + r->sent->len - 1;

    while (line > r->sent->str && line[-1] != '\n')
        line--;
    return g_ascii_strtoll(line, NULL, 10);
}

/* The guest says TEXT, in which "@" is the number of the last question. */
static void rig_say(struct rig *r, const char *text)
{
    g_autofree char *number = g_strdup_printf("%" G_GINT64_FORMAT, rig_number(r));
    g_auto(GStrv) parts = g_strsplit(text, "@", -1);
    g_autofree char *all = g_strjoinv(number, parts);

    agent_input(r->agent, (const uint8_t *)all, strlen(all));
}

#define HELLO "@ ok protocol=1 agent=1.0 kernel=6.12 verbs=hello,ping,pci-rescan\n"

static void rig_arrive(struct rig *r)
{
    agent_opened(r->agent, true);
    ck_assert(!agent_present(r->agent));
    rig_say(r, HELLO);
    ck_assert_msg(agent_present(r->agent), "%s", agent_fault(r->agent));
}

static void rig_reply(void *opaque, const struct agent_reply *reply)
{
    struct rig *r = opaque;

    g_string_append_printf(r->replies, "%d", reply->error);
    if (reply->error)
        g_string_append_printf(r->replies, " %s", reply->text);
    for (unsigned i = 0; i < reply->n; i++)
        g_string_append_printf(r->replies, " %s", reply->words[i]);
    ck_assert(reply->error || !reply->words[reply->n]);
    g_string_append_c(r->replies, '|');
}

static int64_t rig_ask(struct rig *r, const char *verb, const char *argument)
{
    const char *const words[] = {verb, argument, NULL};

    return agent_ask(r->agent, words, 1000, rig_reply, r);
}

START_TEST(agent_comes_and_answers)
{
    struct rig r;

    rig_init(&r);
    ck_assert_int_eq(rig_ask(&r, "ping", NULL), -ENOTCONN);
    agent_opened(r.agent, true);
    ck_assert(g_str_has_suffix(r.sent->str, " hello 1\n"));
    ck_assert_int_eq(rig_ask(&r, "ping", NULL), -ENOTCONN);
    ck_assert_ptr_null(agent_version(r.agent));
    rig_say(&r, "@ ok agent=1%0a%1b kernel=6.12-%ff new=thing protocol=1 verbs=ping,hello\n");
    ck_assert(agent_present(r.agent));
    ck_assert_uint_eq(r.changes, 1);
    ck_assert_str_eq(agent_version(r.agent), "1??");
    ck_assert_str_eq(agent_kernel(r.agent), "6.12-?");
    ck_assert(agent_can(r.agent, "ping") && !agent_can(r.agent, "pin") && !agent_can(r.agent, ""));
    ck_assert_int_eq(rig_ask(&r, "dance", NULL), -EOPNOTSUPP);

    /* Two at once, answered the other way round. */
    int64_t one = rig_ask(&r, "ping", "a b"), two = rig_ask(&r, "ping", NULL);
    ck_assert_int_eq(two, one + 1);
    g_autofree char *line = g_strdup_printf("%" G_GINT64_FORMAT " ping a%%20b\n", one);
    ck_assert_msg(strstr(r.sent->str, line) != NULL, "%s", r.sent->str);
    rig_say(&r, "@ error 2 No%20such%0afile\n");
    g_autofree char *answer = g_strdup_printf("%" G_GINT64_FORMAT " ok x%%0ay\n", one);
    agent_input(r.agent, (const uint8_t *)answer, strlen(answer));
    ck_assert_str_eq(r.replies->str, "2 No such?file|0 x\ny|");
    ck_assert_ptr_null(agent_fault(r.agent));

    /* It goes with a question open, and comes again under other numbers. */
    rig_ask(&r, "ping", NULL);
    agent_opened(r.agent, false);
    ck_assert_str_eq(r.replies->str, "2 No such?file|0 x\ny|104 the agent went away|");
    ck_assert_uint_eq(r.changes, 2);
    rig_arrive(&r);
    ck_assert_uint_eq(r.changes, 3);
    ck_assert(agent_can(r.agent, "pci-rescan"));
    rig_fini(&r);
}
END_TEST

/* What is said to an agent's question, and where that leaves it. "@" is the question's number. */
static const struct {
    const char *name, *said, *replies;
    const char *fault; /* NULL: it is still heard */
} sayings[] = {
    {"good", "@ ok\n", "0|", NULL},
    {"in pieces", "@ o", "", NULL},
    {"large errno", "@ error 32767 x\n", "32767 x|", NULL},
    {"errno 0", "@ error 0 x\n", "71 it says what is no answer|", "it says what is no answer"},
    {"errno beyond", "@ error 32768 x\n", "71 it says what is no answer|",
     "it says what is no answer"},
    {"error without words", "@ error 2\n", "71 it says what is no answer|",
     "it says what is no answer"},
    {"error of more words", "@ error 2 a b\n", "71 it says what is no answer|",
     "it says what is no answer"},
    {"neither", "@ yes\n", "71 it says what is no answer|", "it says what is no answer"},
    {"a number alone", "@\n", "71 it says what is no answer|", "it says what is no answer"},
    {"no number", "ok\n", "71 it says what is no answer|", "it says what is no answer"},
    {"a negative number", "-@ ok\n", "71 it says what is no answer|", "it says what is no answer"},
    {"an empty line", "\n", "71 it says what is no answer|", "it says what is no answer"},
    {"a bad escape", "@ ok %0\n", "71 it says what is no answer|", "it says what is no answer"},
    {"twice", "@ ok\n@ ok\n", "0|", "it says what it was not asked"},
    {"a question", "@ ping\n", "71 it says what is no answer|", "it says what is no answer"},
};

START_TEST(agent_sayings)
{
    const char *name = sayings[_i].name;
    struct rig r;

    rig_init(&r);
    rig_arrive(&r);
    ck_assert_int_gt(rig_ask(&r, "ping", NULL), 0);
    rig_say(&r, sayings[_i].said);
    ck_assert_msg(strcmp(r.replies->str, sayings[_i].replies) == 0, "%s: %s", name, r.replies->str);
    ck_assert_msg(g_strcmp0(agent_fault(r.agent), sayings[_i].fault) == 0, "%s: %s", name,
                  agent_fault(r.agent));
    ck_assert_msg(agent_present(r.agent) == !sayings[_i].fault, "%s", name);
    ck_assert_msg(r.connected == !sayings[_i].fault, "%s", name);
    rig_fini(&r);
}
END_TEST

/* Lines for a hello, and where they leave it. */
static const struct {
    const char *name, *said;
    bool present;
    const char *fault;
} greetings[] = {
    {"as it should be", HELLO, true, NULL},
    {"the rest of an old line first", "x y%\n12 ok\n" HELLO, true, NULL},
    {"older protocol", "@ ok protocol=0 verbs=hello\n", false,
     "it speaks no protocol that this vmd knows"},
    {"newer protocol", "@ ok protocol=2 verbs=hello\n", false,
     "it speaks no protocol that this vmd knows"},
    {"protocol that is no number", "@ ok protocol=1x verbs=hello\n", false,
     "it speaks no protocol that this vmd knows"},
    {"no protocol", "@ ok verbs=hello\n", false, "it speaks no protocol that this vmd knows"},
    {"no verbs", "@ ok protocol=1\n", false, "it speaks no protocol that this vmd knows"},
    {"nothing", "@ ok\n", false, "it speaks no protocol that this vmd knows"},
    {"refused", "@ error 38 what\n", false, "it refuses to say who it is"},
    {"keys without values", "@ ok protocol verbs agent\n", false,
     "it speaks no protocol that this vmd knows"},
    {"an answer and more", HELLO "1 ok\n", false, "it says what it was not asked"},
    {"16 strays",
     "1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n"
     "\n\n\n\n\n\n\n\n" HELLO,
     true, NULL},
    {"17 strays",
     "1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n1 ok\n"
     "\n\n\n\n\n\n\n\n\n" HELLO,
     false, "it says what is no answer"},
};

START_TEST(agent_greetings)
{
    const char *name = greetings[_i].name;
    struct rig r;

    rig_init(&r);
    agent_opened(r.agent, true);
    rig_say(&r, greetings[_i].said);
    ck_assert_msg(agent_present(r.agent) == greetings[_i].present, "%s", name);
    ck_assert_msg(g_strcmp0(agent_fault(r.agent), greetings[_i].fault) == 0, "%s: %s", name,
                  agent_fault(r.agent));
    ck_assert_msg(r.connected == !greetings[_i].fault, "%s", name);
    rig_fini(&r);
}
END_TEST

/* An answer after its time is passed over, once; a second one is a lie. */
START_TEST(agent_late)
{
    struct rig r;

    rig_init(&r);
    rig_arrive(&r);
    rig_ask(&r, "ping", NULL);
    rig_pass(&r, 999);
    ck_assert_str_eq(r.replies->str, "");
    rig_pass(&r, 2);
    ck_assert_str_eq(r.replies->str, "110 no answer in time|");
    rig_say(&r, "@ ok\n");
    ck_assert(agent_present(r.agent));
    int64_t number = rig_ask(&r, "ping", NULL);
    agent_cancel(r.agent, number);
    agent_cancel(r.agent, number);
    agent_cancel(r.agent, 0);
    rig_pass(&r, 5000);
    rig_say(&r, "@ error 5 x\n");
    ck_assert_str_eq(r.replies->str, "110 no answer in time|");
    ck_assert(agent_present(r.agent));
    rig_say(&r, "@ ok\n");
    ck_assert_str_eq(agent_fault(r.agent), "it says what it was not asked");
    rig_fini(&r);
}
END_TEST

/* Guest time stands: nothing is late. */
START_TEST(agent_paused)
{
    struct rig r;

    rig_init(&r);
    rig_arrive(&r);
    const char *const words[] = {"ping", NULL};
    agent_ask(r.agent, words, 1, rig_reply, &r);
    vm_clock_pause(r.clock);
    agent_clock_changed(r.agent);
    ck_assert_int_eq(uv_run(&r.loop, UV_RUN_NOWAIT), 0); /* no timer is set */
    vm_clock_resume(r.clock);
    agent_clock_changed(r.agent);
    while (!r.replies->len)
        uv_run(&r.loop, UV_RUN_ONCE);
    ck_assert_str_eq(r.replies->str, "110 no answer in time|");
    rig_fini(&r);
}
END_TEST

/* Who breaks the rules is not heard for a while, then may begin anew. */
START_TEST(agent_cut_off)
{
    struct rig r;

    rig_init(&r);
    rig_arrive(&r);
    for (unsigned i = 0; i < 3; i++)
        rig_ask(&r, "ping", NULL);
    unsigned changes = r.changes;
    g_autofree char *flood = g_strnfill(LIMIT_AGENT_LINE, 'x');
    agent_input(r.agent, (const uint8_t *)flood, LIMIT_AGENT_LINE - 1);
    ck_assert(agent_present(r.agent));
    agent_input(r.agent, (const uint8_t *)flood, 1);
    ck_assert_str_eq(agent_fault(r.agent), "its line is too long");
    ck_assert_str_eq(r.replies->str, "71 its line is too long|71 its line is too long|"
                                     "71 its line is too long|");
    ck_assert_uint_eq(r.changes, changes + 1);
    ck_assert(!r.connected);
    /* Not even by coming again. */
    size_t sent = r.sent->len;
    rig_say(&r, HELLO);
    agent_opened(r.agent, false);
    agent_opened(r.agent, true);
    rig_say(&r, HELLO);
    rig_pass(&r, LIMIT_AGENT_PAUSE_MS - 100);
    ck_assert(!r.connected && !agent_present(r.agent));
    ck_assert_uint_eq(r.sent->len, sent);
    ck_assert_int_eq(rig_ask(&r, "ping", NULL), -ENOTCONN);
    rig_pass(&r, 200);
    ck_assert(r.connected);
    rig_say(&r, HELLO);
    ck_assert(agent_present(r.agent));
    /* Where nobody is there when the pause ends, whoever comes then. */
    rig_say(&r, "what\n");
    agent_opened(r.agent, false);
    rig_pass(&r, LIMIT_AGENT_PAUSE_MS + 1);
    ck_assert(r.connected && !agent_present(r.agent));
    rig_arrive(&r);
    rig_fini(&r);
}
END_TEST

/* One that is there and says nothing, and one that comes and goes. */
START_TEST(agent_silent_or_restless)
{
    struct rig r;

    rig_init(&r);
    agent_opened(r.agent, true);
    rig_pass(&r, LIMIT_AGENT_HELLO_MS + 1);
    ck_assert_str_eq(agent_fault(r.agent), "it does not say who it is");
    rig_pass(&r, LIMIT_AGENT_PAUSE_MS + 1);
    ck_assert(r.connected);
    rig_say(&r, HELLO);
    ck_assert(agent_present(r.agent));
    for (unsigned i = 0; i < LIMIT_AGENT_OPENS; i++) {
        ck_assert_str_eq(agent_fault(r.agent), "it does not say who it is");
        agent_opened(r.agent, true);
        rig_say(&r, HELLO);
    }
    agent_opened(r.agent, true);
    ck_assert_str_eq(agent_fault(r.agent), "it comes and goes");
    ck_assert(!r.connected);
    rig_fini(&r);
}
END_TEST

/* A port that takes a few bytes at a time, and the most that can be asked. */
START_TEST(agent_full)
{
    struct rig r;

    rig_init(&r);
    rig_arrive(&r);
    g_string_truncate(r.sent, 0);
    r.room = 3;
    for (unsigned i = 0; i < LIMIT_AGENT_QUESTIONS; i++)
        ck_assert_int_gt(rig_ask(&r, "ping", NULL), 0);
    ck_assert_int_eq(rig_ask(&r, "ping", NULL), -EBUSY);
    ck_assert_uint_eq(r.sent->len, 3);
    while (r.room == 0) {
        r.room = 5;
        agent_room(r.agent);
    }
    unsigned n = 0;
    for (const char *at = r.sent->str; (at = strstr(at, " ping\n")); at++)
        n++;
    ck_assert_uint_eq(n, LIMIT_AGENT_QUESTIONS);
    r.room = SIZE_MAX;
    rig_say(&r, "@ ok\n");
    g_autofree char *word = g_strnfill(LIMIT_AGENT_LINE, 'x');
    ck_assert_int_eq(rig_ask(&r, "ping", word), -E2BIG);
    ck_assert_int_eq(rig_ask(&r, "ping", ""), -E2BIG);
    ck_assert_int_gt(rig_ask(&r, "ping", NULL), 0);
    rig_fini(&r);
}
END_TEST

/* A reply may ask the next question, or hear that nobody is there. */
struct chain {
    struct rig *rig;
    int64_t next;
};

static void chain_reply(void *opaque, const struct agent_reply *reply)
{
    struct chain *c = opaque;

    c->next = rig_ask(c->rig, "ping", NULL);
}

START_TEST(agent_reply_asks)
{
    static const char *const words[] = {"ping", NULL};
    struct rig r;

    rig_init(&r);
    struct chain c = {.rig = &r};
    rig_arrive(&r);
    agent_ask(r.agent, words, 1000, chain_reply, &c);
    rig_say(&r, "@ ok\n");
    ck_assert_int_gt(c.next, 0);
    rig_say(&r, "@ ok\n");
    ck_assert_str_eq(r.replies->str, "0|");
    agent_ask(r.agent, words, 1000, chain_reply, &c);
    rig_pass(&r, 1001);
    ck_assert_int_gt(c.next, 0);
    agent_ask(r.agent, words, 1000, chain_reply, &c);
    agent_opened(r.agent, false);
    ck_assert_int_eq(c.next, -ENOTCONN);
    rig_fini(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent");
    TCase *tc = tcase_create("lines");

    tcase_add_loop_test(tc, line_rows, 0, G_N_ELEMENTS(lines));
    tcase_add_test(tc, line_zero_byte);
    tcase_add_test(tc, line_edges);
    tcase_add_loop_test(tc, line_numbers, 0, G_N_ELEMENTS(numbers));
    tcase_add_loop_test(tc, line_reading, 0, 4);
    suite_add_tcase(suite, tc);
    tc = tcase_create("agent");
    tcase_add_test(tc, agent_comes_and_answers);
    tcase_add_loop_test(tc, agent_sayings, 0, G_N_ELEMENTS(sayings));
    tcase_add_loop_test(tc, agent_greetings, 0, G_N_ELEMENTS(greetings));
    tcase_add_test(tc, agent_late);
    tcase_add_test(tc, agent_paused);
    tcase_add_test(tc, agent_cut_off);
    tcase_add_test(tc, agent_silent_or_restless);
    tcase_add_test(tc, agent_full);
    tcase_add_test(tc, agent_reply_asks);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
