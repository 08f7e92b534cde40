/* vm/gdb: packets, and a session over a target of the test's. */
#include "tests/unit/unit.h"
#include "vm/gdb/packet.h"
#include "vm/gdb/stub.h"

/* --- framing ---------------------------------------------------------------------------------- */

static const struct {
    const char *name, *bytes, *said; /* said: a letter an input that is something, the last packet */
    const char *payload;
} frames[] = {
    {"a packet", "$g#67", "P", "g"},
    {"with an acknowledgement", "+$g#67", "AP", "g"},
    {"empty", "$#00", "P", ""},
    {"escaped", "$}\x03#80", "P", "#"},
    {"a wrong sum", "$g#68", "B", NULL},
    {"a sum of no digits", "$g#zz", "B", NULL},
    {"noise before it", "xyz\n$g#67", "P", "g"},
    {"begun anew", "$abc$g#67", "P", "g"},
    {"an interrupt", "\x03", "I", NULL},
    {"an interrupt's byte inside", "$\x03#03", "P", "\x03"},
    {"a refusal", "-", "N", NULL},
    {"half a packet", "$g#6", "", NULL},
    {"an escape at the end", "$a}#de", "B", NULL},
};

START_TEST(framing)
{
    static const char letters[] = {[GDB_PACKET] = 'P', [GDB_BAD] = 'B', [GDB_ACK] = 'A',
                                   [GDB_NAK] = 'N', [GDB_INTERRUPT] = 'I'};
    struct gdb_reader *r = g_new0(struct gdb_reader, 1);
    g_autoptr(GString) said = g_string_new(NULL);
    g_autofree char *payload = NULL;

    for (const char *at = frames[_i].bytes; *at; at++) {
        enum gdb_input input = gdb_read(r, (uint8_t)*at);
        if (input != GDB_MORE)
            g_string_append_c(said, letters[input]);
        if (input == GDB_PACKET)
            payload = g_strdup((char *)r->payload);
    }
    ck_assert_msg(!strcmp(said->str, frames[_i].said), "%s: %s", frames[_i].name, said->str);
    ck_assert_msg(!g_strcmp0(payload, frames[_i].payload), "%s: %s", frames[_i].name, payload);
    g_free(r);
}
END_TEST

/* The longest packet passes, the next longer one is refused, and the one after that is read. */
START_TEST(longest)
{
    struct gdb_reader *r = g_new0(struct gdb_reader, 1);

    for (size_t n = GDB_PACKET_MAX; n <= GDB_PACKET_MAX + 1; n++) {
        g_autofree uint8_t *data = g_malloc(n);
        g_autoptr(GByteArray) framed = g_byte_array_new();
        enum gdb_input input = GDB_MORE;
        memset(data, 'a', n);
        gdb_frame(framed, data, n);
        for (guint i = 0; i < framed->len; i++)
            input = gdb_read(r, framed->data[i]);
        ck_assert_int_eq(input, n == GDB_PACKET_MAX ? GDB_PACKET : GDB_BAD);
    }
    for (const char *at = "$g#67"; *at; at++)
        if (!at[1])
            ck_assert_int_eq(gdb_read(r, (uint8_t)*at), GDB_PACKET);
        else
            gdb_read(r, (uint8_t)*at);
    g_free(r);
}
END_TEST

/* What is framed reads back as it was, whatever the bytes. */
START_TEST(round_trip)
{
    struct gdb_reader *r = g_new0(struct gdb_reader, 1);
    g_autoptr(GByteArray) framed = g_byte_array_new();
    enum gdb_input input = GDB_MORE;
    uint8_t all[256];

    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    gdb_frame(framed, all, sizeof(all));
    for (guint i = 0; i < framed->len; i++)
        input = gdb_read(r, framed->data[i]);
    ck_assert_int_eq(input, GDB_PACKET);
    ck_assert_uint_eq(r->length, 256);
    ck_assert(!memcmp(r->payload, all, 256));
    g_free(r);
}
END_TEST

/* --- a session ---------------------------------------------------------------------------------- */

enum { THREADS = 3, MEMORY = 64 };

static const struct accel_register regs[] = {
    {"r0", "core", "int", 0, 64}, {"pc", "core", "code_ptr", 1, 64}, {"extra", "more", "int", 70, 32},
    {"wide", "more", "uint128", 71, 128},
};

static struct {
    struct gdb_stub *stub;
    GString *sent;
    uint64_t reg[THREADS][3], wide[THREADS][2];
    uint8_t memory[MEMORY], physical[MEMORY];
    size_t fewer_points; /* than LIMIT_DEBUG_POINTS of each that the target can watch */
    GString *log;
} t;

static const struct accel_register *registers(void *opaque, size_t *n)
{
    *n = G_N_ELEMENTS(regs);
    return regs;
}

static bool register_get(void *opaque, unsigned thread, const struct accel_register *reg,
                         uint64_t *value)
{
    if (reg->bits == 128)
        memcpy(value, t.wide[thread], 16);
    else
        *value = t.reg[thread][reg - regs];
    return true;
}

static bool register_set(void *opaque, unsigned thread, const struct accel_register *reg,
                         const uint64_t *value)
{
    if (reg->bits == 128)
        memcpy(t.wide[thread], value, 16);
    else
        t.reg[thread][reg - regs] = *value;
    return reg->number != 70;
}

static size_t read_memory(void *opaque, unsigned thread, bool physical, uint64_t address, void *to,
                          size_t n)
{
    n = address < MEMORY ? MIN(n, MEMORY - address) : 0;
    if (n)
        memcpy(to, (physical ? t.physical : t.memory) + address, n);
    return n;
}

static bool write_memory(void *opaque, unsigned thread, bool physical, uint64_t address,
                         const void *from, size_t n)
{
    if (address > MEMORY || n > MEMORY - address)
        return false;
    memcpy((physical ? t.physical : t.memory) + address, from, n);
    return true;
}

static bool points(void *opaque, const struct accel_debug *debug)
{
    g_string_append(t.log, "points");
    for (size_t i = 0; i < debug->n_breakpoints; i++)
        g_string_append_printf(t.log, " b%lx", debug->breakpoints[i]);
    for (size_t i = 0; i < debug->n_watchpoints; i++)
        g_string_append_printf(t.log, " w%d:%lx+%lx", debug->watchpoints[i].kind,
                               debug->watchpoints[i].address, debug->watchpoints[i].length);
    g_string_append(t.log, "; ");
    return debug->n_breakpoints + debug->n_watchpoints + t.fewer_points <= 2 * LIMIT_DEBUG_POINTS;
}

static void go(void *opaque, const enum gdb_go *how, enum accel_step step)
{
    g_string_append(t.log, "go ");
    for (unsigned i = 0; i < THREADS; i++)
        g_string_append_c(t.log, "-cs"[how[i]]);
    g_string_append(t.log, step == ACCEL_STEP_OPEN ? " open; " : "; ");
}

static void interrupt(void *opaque)
{
    g_string_append(t.log, "interrupt; ");
}

static bool is_on(void *opaque, unsigned thread)
{
    return thread < 2;
}

static char *describe(void *opaque, unsigned thread)
{
    return g_strdup_printf("v%u", thread);
}

static bool reset(void *opaque, GError **err)
{
    g_string_append(t.log, "reset; ");
    return true;
}

static void detach(void *opaque)
{
    g_string_append(t.log, "detach; ");
}

static void kill_target(void *opaque)
{
    g_string_append(t.log, "kill; ");
}

static void send_bytes(void *opaque, const void *data, size_t n)
{
    g_string_append_len(t.sent, data, (gssize)n);
}

static const struct gdb_target_ops ops = {
    .registers = registers, .register_get = register_get, .register_set = register_set,
    .read = read_memory, .write = write_memory, .points = points, .go = go,
    .interrupt = interrupt, .is_on = is_on, .describe = describe, .reset = reset,
    .detach = detach, .kill = kill_target, .send = send_bytes,
};

static void setup(void)
{
    memset(&t, 0, sizeof(t));
    t.sent = g_string_new(NULL);
    t.log = g_string_new(NULL);
    for (unsigned i = 0; i < MEMORY; i++) {
        t.memory[i] = (uint8_t)i;
        t.physical[i] = (uint8_t)(0x80 + i);
    }
    t.reg[0][1] = 0x1000;
    t.wide[0][0] = 0x77;
    t.wide[0][1] = 0x88;
    t.stub = gdb_stub_new(&ops, NULL, THREADS, "arch");
}

static void teardown(void)
{
    gdb_stub_free(t.stub);
    g_string_free(t.sent, TRUE);
    g_string_free(t.log, TRUE);
}

static void say(const char *packet)
{
    g_autoptr(GByteArray) framed = g_byte_array_new();

    gdb_frame(framed, packet, strlen(packet));
    g_string_truncate(t.sent, 0);
    gdb_stub_input(t.stub, framed->data, framed->len);
}

/* The payload of what was sent after the "+"; "" where nothing was. */
static const char *answer(void)
{
    char *start = strchr(t.sent->str, '$'), *end = start ? strchr(start, '#') : NULL;

    if (!end)
        return "(none)";
    *end = 0;
    return start + 1;
}

static const struct {
    const char *packet, *answer;
} answers[] = {
    {"?", "T05thread:1;"},
    {"vMustReplyEmpty", ""},
    {"Xnonsense", "E16"},
    {"_", ""},
    {"", ""},
    {"qAttached", "1"},
    {"qC", "QC1"},
    {"qCRC:0,4", ""},
    {"qfThreadInfo", "m1,2,3"},
    {"qsThreadInfo", "l"},
    {"qThreadExtraInfo,2", "7631"},
    {"qThreadExtraInfo,9", "E16"},
    {"T3", "OK"},
    {"T4", "E16"},
    {"Hg2", "OK"},
    {"Hg0", "OK"},
    {"Hc-1", "OK"},
    {"Hg4", "E16"},
    {"Hgffffffffffffffffffffffff", "E16"},
    {"p1", "0010000000000000"},
    {"p46", "00000000"},
    {"p47", "77000000000000008800000000000000"},
    {"p5", "E16"},
    {"p", "E16"},
    {"P0=0100000000000000", "OK"},
    {"P0=01", "E16"},
    {"P46=00000000", "E16"},
    {"P47=0100000000000000ff00000000000000", "OK"},
    {"P47=0100000000000000", "E16"},
    {"g", "00000000000000000010000000000000"},
    {"G0100000000000000", "OK"},
    {"G01", "E16"},
    {"G01000000000000zz", "E16"},
    {"m0,4", "00010203"},
    {"m3e,8", "3e3f"},
    {"m40,1", "E0e"},
    {"m0,0", ""},
    {"m0,ffffffffffffffff", NULL},
    {"m,4", "E16"},
    {"m0", "E16"},
    {"M0,2:aabb", "OK"},
    {"M0,2:aa", "E16"},
    {"M0,ffffffff:aa", "E16"},
    {"M40,1:aa", "E0e"},
    {"X0,2:ab", "OK"},
    {"X0,3:ab", "E16"},
    {"X0,0:", "OK"},
    {"Z0,10,4", "OK"},
    {"z0,10,4", "OK"},
    {"z1,99,4", "OK"},
    {"Z2,10,0", "E16"},
    {"Z9,10,4", ""},
    {"Z0", "E16"},
    {"vCont?", "vCont;c;C;s;S;t;r"},
    {"vCont;", "E16"},
    {"vCont;x", "E16"},
    {"vCont;s:9", "E16"},
    {"vCont;r1", "E16"},
    {"vCont;t", "T05thread:1;"},
    {"vCont;s:3", "T05thread:3;"}, /* is off: a step of it is done at once */
    {"qRcmd,7a", NULL},
    {"qRcmd,7", "E16"},
    {"qRcmd,zz", "E16"},
    {"qXfer:features:read:other:0,10", "E00"},
    {"qXfer:features:read:target.xml:0,5", "m<?xml"},
    {"qXfer:features:read:target.xml:ffffff,5", "l"},
    {"qXfer:features:read:target.xml:x", "E16"},
    {"QStartNoAckMode", "OK"},
};

START_TEST(answered)
{
    say(answers[_i].packet);
    if (answers[_i].answer)
        ck_assert_msg(!strcmp(answer(), answers[_i].answer), "%s: %s", answers[_i].packet,
                      t.sent->str);
    else
        ck_assert_msg(strlen(answer()) > 2, "%s: %s", answers[_i].packet, t.sent->str);
}
END_TEST

static const struct {
    const char *packets[4];
    const char *log;
} runs[] = {
    {{"vCont;c"}, "points; go ccc; "},
    {{"c"}, "points; go ccc; "},
    {{"vCont;s:2;c"}, "points; go csc; "},
    {{"vCont;s:1"}, "points; go s--; "},
    {{"vCont;S05:1;t:2;C05"}, "points; go s-c; "},
    {{"Hc2", "s"}, "points; go -s-; "},
    {{"vCont;r10,20:1;c"}, "points; go scc; "},
    {{"Z0,10,4", "Z1,20,4", "Z0,10,4", "vCont;c"}, "points b10; points b10 b20; points b10 b20; go ccc; "},
    {{"Z2,8,4", "Z3,9,1", "Z4,a,2", "vCont;c"}, "points w1:8+4; points w1:8+4 w2:9+1; points w1:8+4 w2:9+1 w3:a+2; "
     "points w1:8+4 w2:9+1 w3:a+2; go ccc; "},
    {{"Z2,8,4", "z2,8,4", "vCont;c"}, "points w1:8+4; points; go ccc; "},
    {{"qRcmd,737465702d696e7465727275707473206f6e", "vCont;s:1"}, "points; go s-- open; "},
    {{"vCont;c", "\x03"}, "points; go ccc; "},
    {{"qRcmd,7265736574"}, "reset; "},
    {{"Z0,10,4", "D"}, "points b10; points; detach; "},
    {{"k", "c"}, "kill; "},
    {{"vKill;1"}, "kill; "},
};

START_TEST(goes)
{
    for (unsigned i = 0; i < 4 && runs[_i].packets[i]; i++)
        say(runs[_i].packets[i]);
    ck_assert_msg(!strcmp(t.log->str, runs[_i].log), "%s: %s", runs[_i].packets[0], t.log->str);
}
END_TEST

/* While it runs only an interrupt is heard; the stop is told once. */
START_TEST(running)
{
    const struct accel_stop watch = {ACCEL_STOP_WATCH, 0x123, ACCEL_WATCH_READ};
    const struct accel_stop stop = {.kind = ACCEL_STOP_BREAK};

    say("qSupported:swbreak+;hwbreak+");
    say("Z0,1000,4");
    say("vCont;c");
    ck_assert_str_eq(answer(), "(none)");
    say("g");
    ck_assert_str_eq(answer(), "E10");
    gdb_stub_input(t.stub, "\x03", 1);
    ck_assert(strstr(t.log->str, "interrupt") != NULL);
    g_string_truncate(t.sent, 0);
    gdb_stub_stopped(t.stub, 1, NULL);
    ck_assert_str_eq(answer(), "T02thread:2;");
    /* Another one hit a watchpoint in that moment: it is told when that one is to go on. */
    g_string_truncate(t.sent, 0);
    gdb_stub_stopped(t.stub, 0, &watch);
    ck_assert_str_eq(answer(), "(none)");
    say("vCont;c");
    ck_assert_str_eq(answer(), "T05thread:1;rwatch:123;");
    say("vCont;c");
    g_string_truncate(t.sent, 0);
    gdb_stub_stopped(t.stub, 0, &stop);
    ck_assert_str_eq(answer(), "T05thread:1;swbreak:;");
    say("?");
    ck_assert_str_eq(answer(), "T05thread:1;swbreak:;");
}
END_TEST

/* A range is stepped through without a word until pc leaves it. */
START_TEST(ranges)
{
    const struct accel_stop step = {.kind = ACCEL_STOP_STEP};

    say("vCont;r1000,1010:1");
    g_string_truncate(t.sent, 0);
    t.reg[0][1] = 0x1008;
    gdb_stub_stopped(t.stub, 0, &step);
    ck_assert_str_eq(answer(), "(none)");
    t.reg[0][1] = 0x1010;
    gdb_stub_stopped(t.stub, 0, &step);
    ck_assert_str_eq(answer(), "T05thread:1;");
    ck_assert_str_eq(t.log->str, "points; go s--; points; go s--; ");
}
END_TEST

START_TEST(physical)
{
    say("qRcmd,70687973206f6e");
    ck_assert_str_eq(answer(), "OK");
    say("m0,2");
    ck_assert_str_eq(answer(), "8081");
    say("qRcmd,70687973206f6666");
    say("m0,2");
    ck_assert_str_eq(answer(), "0001");
}
END_TEST

START_TEST(limits)
{
    char packet[32];

    for (unsigned i = 0; i < LIMIT_DEBUG_POINTS; i++) {
        g_snprintf(packet, sizeof(packet), "Z0,%x,4", i);
        say(packet);
        ck_assert_str_eq(answer(), "OK");
    }
    say("Z0,ffff,4");
    ck_assert_str_eq(answer(), "E1c");
    say("Z0,0,4"); /* there already */
    ck_assert_str_eq(answer(), "OK");
}
END_TEST

/* A target with two: the third is refused and is not there. */
START_TEST(few_points)
{
    t.fewer_points = 2 * LIMIT_DEBUG_POINTS - 2;
    say("Z0,10,4");
    ck_assert_str_eq(answer(), "OK");
    say("Z2,20,4");
    ck_assert_str_eq(answer(), "OK");
    say("Z0,30,4");
    ck_assert_str_eq(answer(), "E1c");
    say("Z2,30,4");
    ck_assert_str_eq(answer(), "E1c");
    g_string_truncate(t.log, 0);
    say("vCont;c");
    ck_assert_str_eq(t.log->str, "points b10 w1:20+4; go ccc; ");
}
END_TEST

START_TEST(acknowledgements)
{
    gdb_stub_input(t.stub, "$g#00", 5);
    ck_assert_str_eq(t.sent->str, "-");
    say("?");
    ck_assert(t.sent->str[0] == '+');
    g_string_truncate(t.sent, 0);
    gdb_stub_input(t.stub, "-", 1);
    ck_assert_str_eq(answer(), "T05thread:1;");
    say("QStartNoAckMode");
    say("?");
    ck_assert(t.sent->str[0] == '$');
}
END_TEST

START_TEST(ends)
{
    gdb_stub_ended(t.stub, _i);
    ck_assert_str_eq(answer(), _i ? "X09" : "W00");
    say("?");
    ck_assert_str_eq(answer(), "(none)");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gdb");
    TCase *framing_case = tcase_create("framing"), *session = tcase_create("session");

    tcase_add_loop_test(framing_case, framing, 0, (int)G_N_ELEMENTS(frames));
    tcase_add_test(framing_case, longest);
    tcase_add_test(framing_case, round_trip);
    suite_add_tcase(suite, framing_case);
    tcase_add_checked_fixture(session, setup, teardown);
    tcase_add_loop_test(session, answered, 0, (int)G_N_ELEMENTS(answers));
    tcase_add_loop_test(session, goes, 0, (int)G_N_ELEMENTS(runs));
    tcase_add_test(session, running);
    tcase_add_test(session, ranges);
    tcase_add_test(session, physical);
    tcase_add_test(session, limits);
    tcase_add_test(session, few_points);
    tcase_add_test(session, acknowledgements);
    tcase_add_loop_test(session, ends, 0, 2);
    suite_add_tcase(suite, session);
    return unit_run(suite);
}
