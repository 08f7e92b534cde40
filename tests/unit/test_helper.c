/* vmd-helper without rights: its rules, and packets that make no sense. */
#include "tests/unit/unit.h"
#include "vm/helper/protocol.h"
#include "vm/helper/rules.h"
#include "vm/helper/serve.h"

#include <errno.h>
#include <sys/socket.h>

static const struct {
    const char *text, *wrong; /* NULL: nothing */
} files[] = {
    {"", NULL},
    {"# a comment\n\n  \t\n", NULL},
    {"root tap*\n@0 br-*\tbr0 # why\n* x\n1000 y", NULL},
    {"root", "rules:1: the interfaces are missing"},
    {"\nroot tap0 br0 br1", "rules:2: there are more than three words"},
    {"no-such-user tap0", "rules:1: there is no such user or group"},
    {"@no-such-group tap0", "rules:1: there is no such user or group"},
    {"4294967295 tap0", "rules:1: there is no such user or group"},
    {"@ tap0", "rules:1: there is no such user or group"},
    {"0 pci:0000:01:*", NULL},
    {"0 pci:0000:01:* br0", "rules:1: a PCI function has no bridge"},
    {"* tap0 a/b", "rules:1: the bridge has no valid name"},
    {"* tap0 much-too-long-name", "rules:1: the bridge has no valid name"},
};

START_TEST(rule_files)
{
    g_autoptr(GError) err = NULL;
    struct helper_rules *rules = helper_rules_parse("rules", files[_i].text, &err);

    ck_assert_msg((rules != NULL) == (files[_i].wrong == NULL), "'%s': %s", files[_i].text,
                  err ? err->message : "taken");
    if (files[_i].wrong)
        ck_assert_str_eq(err->message, files[_i].wrong);
    helper_rules_free(rules);
}
END_TEST

START_TEST(rules_bounded)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < 257; i++)
        g_string_append(text, "* tap0\n");
    ck_assert_ptr_null(helper_rules_parse("rules", text->str, &err));
    ck_assert_str_eq(err->message, "rules:257: there are more than 256 rules");
}
END_TEST

static const char policy[] = "1000 own*\n"
                             "1000 ownbr0 other\n"
                             "@50 shared? br0\n"
                             "* open\n";

static const struct {
    uid_t uid;
    gid_t gid;
    gid_t group;
    const char *name;
    bool allowed;
    const char *bridge;
} questions[] = {
    {1000, 1000, 1000, "own1", true, NULL},    {1000, 1000, 1000, "ownbr0", true, NULL},
    {1000, 1000, 1000, "other", false, NULL},  {1000, 1000, 1000, "own", true, NULL},
    {1000, 1000, 1000, ".own", false, NULL},   {1001, 1000, 1000, "own1", false, NULL},
    {1001, 50, 7, "shared1", true, "br0"},     {1001, 7, 50, "shared1", true, "br0"},
    {1001, 7, 7, "shared1", false, NULL},      {1001, 50, 7, "shared10", false, NULL},
    {65534, 65534, 65534, "open", true, NULL}, {65534, 65534, 65534, "eth0", false, NULL},
    {0, 0, 0, "anything", true, NULL},         {0, 50, 0, "shared1", true, "br0"},
};

START_TEST(rule_answers)
{
    struct helper_rules *rules = helper_rules_parse("rules", policy, NULL);
    struct helper_peer peer = {.uid = questions[_i].uid,
                               .gid = questions[_i].gid,
                               .groups = &questions[_i].group,
                               .n_groups = 1};
    const char *bridge = "unset";
    bool ok = helper_rules_allow(rules, &peer, questions[_i].name, &bridge);

    ck_assert_msg(ok == questions[_i].allowed, "user %u, '%s'", peer.uid, questions[_i].name);
    ck_assert_msg(g_strcmp0(bridge, questions[_i].bridge) == 0, "'%s': %s", questions[_i].name,
                  bridge);
    helper_rules_free(rules);
}
END_TEST

START_TEST(rules_file_missing)
{
    struct helper_peer root = {.uid = 0}, user = {.uid = 1000, .gid = 1000};
    const char *bridge;
    struct helper_rules *rules = helper_rules_load("/nonexistent/rules", NULL);

    ck_assert_ptr_nonnull(rules);
    ck_assert(helper_rules_allow(rules, &root, "tap0", &bridge));
    ck_assert(!helper_rules_allow(rules, &user, "tap0", &bridge));
    helper_rules_free(rules);
}
END_TEST

/* --- packets ---------------------------------------------------------------------------------- */

static const struct {
    const char *what;
    struct helper_request request;
    size_t size;
    int32_t error; /* -2: hung up */
} packets[] = {
    {"nothing", {0}, 0, -2},
    {"too short", {.version = HELPER_VERSION, .kind = HELPER_TAP, .name = "x"}, 23, -2},
    {"another version", {.version = 2, .kind = HELPER_TAP, .name = "x"}, 24, -2},
    {"name without end",
     {HELPER_VERSION,
      HELPER_TAP,
      {'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x'}},
     24,
     -2},
    {"unknown request",
     {.version = HELPER_VERSION, .kind = 99, .name = "x"},
     24,
     VMD_ERROR_UNSUPPORTED},
    {"empty name", {.version = HELPER_VERSION, .kind = HELPER_TAP}, 24, VMD_ERROR_INVALID},
    {"a path for a name",
     {.version = HELPER_VERSION, .kind = HELPER_TAP, .name = "../x"},
     24,
     VMD_ERROR_INVALID},
    {"a pattern of the kernel's",
     {.version = HELPER_VERSION, .kind = HELPER_TAP, .name = "tap%d"},
     24,
     VMD_ERROR_INVALID},
    {"an interface of another kind",
     {.version = HELPER_VERSION, .kind = HELPER_TAP, .name = "lo"},
     24,
     VMD_ERROR_INVALID},
};

START_TEST(packet_rows)
{
    struct helper_rules *rules = helper_rules_parse("rules", "* *\n* .*", NULL);
    struct host_leases *leases = host_leases_new(&host_kernel);
    struct helper_reply reply = {0};
    int32_t expected = packets[_i].error;
    int fds[2];

    /* The kernel's word on an interface of another kind needs its device. */
    if (strcmp(packets[_i].request.name, "lo") == 0 && access("/dev/net/tun", R_OK | W_OK) < 0)
        expected = errno == EACCES ? VMD_ERROR_DENIED : VMD_ERROR_NOT_FOUND;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    ck_assert_int_eq(send(fds[0], &packets[_i].request, packets[_i].size, 0), packets[_i].size);
    bool goes_on = helper_serve(fds[1], rules, leases);
    ck_assert_msg(goes_on == (expected != -2), "%s", packets[_i].what);
    if (goes_on) {
        ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), MSG_DONTWAIT), sizeof(reply));
        ck_assert_msg(reply.error == expected, "%s: %d %s", packets[_i].what, reply.error,
                      reply.text);
    }
    close(fds[0]);
    ck_assert(!helper_serve(fds[1], rules, leases)); /* the other side is gone */
    close(fds[1]);
    host_leases_free(leases);
    helper_rules_free(rules);
}
END_TEST

START_TEST(denied)
{
    struct helper_rules *rules = helper_rules_parse("rules", "", NULL);
    struct host_leases *leases = host_leases_new(&host_kernel);
    struct helper_request request = {.version = HELPER_VERSION, .kind = HELPER_TAP, .name = "tap0"};
    struct helper_reply reply = {0};
    int fds[2];

    /* Root needs no rule; for anyone else the answer is no. */
    if (geteuid() == 0)
        ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    ck_assert_int_eq(send(fds[0], &request, sizeof(request), 0), sizeof(request));
    ck_assert(helper_serve(fds[1], rules, leases));
    ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), MSG_DONTWAIT), sizeof(reply));
    ck_assert_int_eq(reply.error, VMD_ERROR_DENIED);
    ck_assert(strstr(reply.text, HELPER_RULES));
    host_leases_free(leases);
    helper_rules_free(rules);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("helper");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, rule_files, 0, G_N_ELEMENTS(files));
    tcase_add_test(tc, rules_bounded);
    tcase_add_loop_test(tc, rule_answers, 0, G_N_ELEMENTS(questions));
    tcase_add_test(tc, rules_file_missing);
    tcase_add_loop_test(tc, packet_rows, 0, G_N_ELEMENTS(packets));
    tcase_add_test(tc, denied);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
