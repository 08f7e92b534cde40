/* vmd-agent: its verbs over a folder that stands for sysfs, and the program at a terminal that
 * stands for its port. */
#include "guest/agent/verbs.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* --- verbs ------------------------------------------------------------------------------------ */

/* Files of the folder at first. */
static const struct {
    const char *path, *text;
} files[] = {
    {"bus/pci/rescan", ""},
    {"bus/pci/devices/0000:00:02.0/remove", ""},
    {"bus/pci/slots/7/power", "1"},
    {"class/scsi_host/host0/scan", ""},
    {"bus/scsi/devices/0:0:0:1/delete", ""},
    {"devices/system/cpu/cpu1/online", "1"},
    {"devices/system/memory/auto_online_blocks", "online\n"},
    {"devices/system/memory/memory1/state", "online\n"},
    {"devices/system/memory/memory2/state", "offline\n"},
    {"devices/system/memory/memory34/state", "offline\n"},
    {"devices/system/memory/memoryx/state", "offline\n"},
    {"secret/remove", "untouched"},
};

static char *make_sysfs(void)
{
    g_autoptr(GError) err = NULL;
    char *root = g_dir_make_tmp("agent-XXXXXX", &err);

    ck_assert_msg(root != NULL, "%s", err ? err->message : "");
    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(root, files[i].path, NULL);
        g_autofree char *folder = g_path_get_dirname(path);
        ck_assert_int_eq(g_mkdir_with_parents(folder, 0700), 0);
        ck_assert(g_file_set_contents(path, files[i].text, -1, NULL));
    }
    return root;
}

static void remove_all(const char *path)
{
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;

    while (folder && (name = g_dir_read_name(folder))) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        remove_all(below);
    }
    g_remove(path);
}

static const struct {
    const char *request, *answer; /* "*": any text */
    const char *file, *text;      /* what must be in it afterwards; NULL: nothing of interest */
} verb_rows[] = {
    {"7 ping", "7 ok", NULL, NULL},
    {"0 ping", "0 ok", NULL, NULL},
    {"7 pci-rescan", "7 ok", "bus/pci/rescan", "1"},
    {"7 pci-remove 0000:00:02.0", "7 ok", "bus/pci/devices/0000:00:02.0/remove", "1"},
    {"7 slot-power 7 off", "7 ok", "bus/pci/slots/7/power", "0"},
    {"7 slot-power 7 on", "7 ok", "bus/pci/slots/7/power", "1"},
    {"7 scsi-rescan 0", "7 ok", "class/scsi_host/host0/scan", "- - -"},
    {"7 scsi-remove 0:0:0:1", "7 ok", "bus/scsi/devices/0:0:0:1/delete", "1"},
    {"7 cpu-offline 1", "7 ok", "devices/system/cpu/cpu1/online", "0"},
    {"7 cpu-online 1", "7 ok", "devices/system/cpu/cpu1/online", "1"},
    {"7 memory-online", "7 ok blocks=2", "devices/system/memory/memory2/state", "online"},
    {"7 memory-online online_movable", "7 ok blocks=2", "devices/system/memory/memory34/state",
     "online_movable"},
    {"7 memory-online", "7 ok blocks=2", "devices/system/memory/memoryx/state", "offline"},
    {"7 memory-online offline", "7 error 22 *", "devices/system/memory/memory2/state", "offline"},
    {"7 memory-policy online_movable", "7 ok", "devices/system/memory/auto_online_blocks",
     "online_movable"},
    {"7 memory-policy offline", "7 error 22 *", "devices/system/memory/auto_online_blocks",
     "online"},
    /* What is not there. */
    {"7 pci-remove 0000:00:03.0", "7 error 2 *", NULL, NULL},
    {"7 cpu-online 4", "7 error 2 *", NULL, NULL},
    {"7 scsi-rescan 1", "7 error 2 *", NULL, NULL},
    {"7 slot-power 8 off", "7 error 2 *", NULL, NULL},
    /* What is no name. */
    {"7 pci-remove ../../../secret", "7 error 22 *", "secret/remove", "untouched"},
    {"7 pci-remove 0000:00:02.0/", "7 error 22 *", NULL, NULL},
    {"7 pci-remove 0000:00:02.8", "7 error 22 *", NULL, NULL},
    {"7 pci-remove 00:02.0", "7 error 22 *", NULL, NULL},
    {"7 pci-remove 0000:00:0A.0", "7 error 22 *", NULL, NULL},
    {"7 slot-power . off", "7 error 22 *", NULL, NULL},
    {"7 slot-power 7/../7 off", "7 error 22 *", "bus/pci/slots/7/power", "1"},
    {"7 slot-power 7%0a off", "7 error 22 *", NULL, NULL},
    {"7 slot-power 7 half", "7 error 22 *", "bus/pci/slots/7/power", "1"},
    {"7 slot-power 012345678901234567890123456789012 off", "7 error 22 *", NULL, NULL},
    {"7 scsi-rescan 0/../host0", "7 error 22 *", NULL, NULL},
    {"7 scsi-rescan 65536", "7 error 22 *", NULL, NULL},
    {"7 scsi-remove 0:0:0", "7 error 22 *", NULL, NULL},
    {"7 scsi-remove 0:0:0:1:0", "7 error 22 *", NULL, NULL},
    {"7 scsi-remove 0:0:0:01", "7 error 22 *", NULL, NULL},
    {"7 scsi-remove :::", "7 error 22 *", NULL, NULL},
    {"7 cpu-offline -1", "7 error 22 *", NULL, NULL},
    {"7 cpu-offline 1/../cpu1", "7 error 22 *", "devices/system/cpu/cpu1/online", "1"},
    /* What is no request. */
    {"7", "7 error 22 *", NULL, NULL},
    {"7 dance", "7 error 38 *", NULL, NULL},
    {"7 pin", "7 error 38 *", NULL, NULL},
    {"7 ping x", "7 error 22 *", NULL, NULL},
    {"7 cpu-online", "7 error 22 *", NULL, NULL},
    {"7 hello 0", "7 error 93 *", NULL, NULL},
    {"7 hello x", "7 error 93 *", NULL, NULL},
    {"ping", NULL, NULL, NULL},
    {"4294967296 ping", NULL, NULL, NULL},
    {"-1 ping", NULL, NULL, NULL},
};

/* The answer to REQUEST without its newline; NULL: there is none. */
static char *ask(const char *root, const char *request)
{
    g_autofree char *text = g_strdup(request);
    g_autofree struct line *line = g_new0(struct line, 1);
    struct line_words words;

    ck_assert_msg(line_split(text, strlen(text), &words), "%s", request);
    if (!verbs_answer(root, &words, line))
        return NULL;
    ck_assert_uint_eq(line->text[line->length - 1], '\n');
    return g_strndup(line->text, line->length - 1);
}

START_TEST(verbs_rows)
{
    g_autofree char *root = make_sysfs(), *answer = ask(root, verb_rows[_i].request), *now = NULL;
    const char *want = verb_rows[_i].answer;

    ck_assert_msg(want ? answer && g_pattern_match_simple(want, answer) : !answer, "%s: %s",
                  verb_rows[_i].request, answer);
    if (verb_rows[_i].file) {
        g_autofree char *path = g_build_filename(root, verb_rows[_i].file, NULL);
        ck_assert(g_file_get_contents(path, &now, NULL, NULL));
        /* Files of sysfs take a write for what it is; these keep what it did not cover. */
        ck_assert_msg(g_str_has_prefix(now, verb_rows[_i].text), "%s: %s", verb_rows[_i].request,
                      now);
    }
    remove_all(root);
}
END_TEST

/* A kernel that leaves it to its user to bring memory online goes on to do so, and one without that
 * is told of. */
START_TEST(verbs_policy)
{
    g_autofree char *root = make_sysfs();
    g_autofree char *path =
        g_build_filename(root, "devices/system/memory/auto_online_blocks", NULL);
    g_autofree char *now = NULL;

    ck_assert(g_file_set_contents(path, "offline\n", -1, NULL));
    g_autofree char *left = ask(root, "7 memory-policy online_movable");
    ck_assert_str_eq(left, "7 ok");
    ck_assert(g_file_get_contents(path, &now, NULL, NULL));
    ck_assert_str_eq(now, "offline\n");
    g_remove(path);
    g_autofree char *none = ask(root, "7 memory-policy online_movable");
    ck_assert_msg(g_pattern_match_simple("7 error 2 *", none), "%s", none);
    remove_all(root);
}
END_TEST

START_TEST(verbs_hello)
{
    g_autofree char *one = ask("/nowhere", "1 hello 1"), *later = ask("/nowhere", "1 hello 9");

    ck_assert_msg(g_pattern_match_simple("1 ok protocol=1 agent=* kernel=* "
                                         "verbs=hello,ping,pci-rescan,*,memory-policy",
                                         one),
                  "%s", one);
    ck_assert_str_eq(one, later);
}
END_TEST

/* --- the program ------------------------------------------------------------------------------ */

struct program {
    pid_t pid;
    int port; /* our end */
    int keep; /* the other, so that a close of the program's does not hang up */
    char path[128];
    GString *said;
};

/* A new terminal for P, whose name goes to PATH. */
static void program_terminal(struct program *p)
{
    struct termios raw;

    ck_assert_int_eq(openpty(&p->port, &p->keep, p->path, NULL, NULL), 0);
    ck_assert_int_eq(tcgetattr(p->keep, &raw), 0);
    cfmakeraw(&raw);
    ck_assert_int_eq(tcsetattr(p->keep, TCSANOW, &raw), 0);
}

static void program_start(struct program *p, const char *path)
{
    *p = (struct program){.said = g_string_new(NULL)};
    program_terminal(p);
    p->pid = fork();
    ck_assert_int_ge(p->pid, 0);
    if (p->pid == 0) {
        close(p->port);
        close(p->keep);
        execl(g_getenv("VMD_AGENT"), "vmd-agent", "--port", path ? path : p->path, NULL);
        _exit(127);
    }
}

static void program_stop(struct program *p)
{
    int status;

    ck_assert_int_eq(waitpid(p->pid, &status, WNOHANG), 0); /* it lives */
    kill(p->pid, SIGTERM);
    ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
    close(p->port);
    if (p->keep >= 0)
        close(p->keep);
    g_string_free(p->said, TRUE);
}

static void program_say(struct program *p, const char *text, size_t n)
{
    while (n) {
        ssize_t done = write(p->port, text, n);
        ck_assert_int_gt(done, 0);
        text += done;
        n -= (size_t)done;
    }
}

/* Reads until LINES answers are there. */
static void program_hear(struct program *p, unsigned lines)
{
    for (;;) {
        unsigned n = 0;
        for (const char *at = p->said->str; (at = strchr(at, '\n')); at++)
            n++;
        if (n >= lines)
            return;
        char text[4096];
        ssize_t got = read(p->port, text, sizeof(text));
        ck_assert_int_gt(got, 0);
        g_string_append_len(p->said, text, got);
    }
}

#define say(p, text) program_say((p), (text), strlen(text))

START_TEST(program_answers)
{
    struct program p;

    program_start(&p, NULL);
    say(&p, "1 hello 1\n");
    program_hear(&p, 1);
    ck_assert(g_str_has_prefix(p.said->str, "1 ok protocol=1 "));
    /* Garbage of all kinds, then a question whose answer shows that it was passed over. */
    g_autofree char *flood = g_strnfill(20000, 'x');
    say(&p, "\n \n%%%\nno number\n\x01\xff\n");
    program_say(&p, "a\0b\n", 4);
    say(&p, flood);
    say(&p, "\n2 ping\n3 dance\n4 cpu-online ../../x\n");
    g_string_truncate(p.said, 0);
    program_hear(&p, 3);
    ck_assert_msg(strstr(p.said->str, "2 ok\n") && strstr(p.said->str, "3 error 38 ") &&
                      strstr(p.said->str, "4 error 22 "),
                  "%s", p.said->str);
    program_stop(&p);
}
END_TEST

/* More questions than it has room for, all at once: each is answered, by "busy" if need be. */
START_TEST(program_flooded)
{
    struct program p;
    enum { QUESTIONS = 2000 };

    program_start(&p, NULL);
    pid_t writer = fork();
    if (writer == 0) {
        for (unsigned i = 1; i <= QUESTIONS; i++) {
            g_autofree char *line = g_strdup_printf("%u ping\n", i);
            program_say(&p, line, strlen(line));
        }
        _exit(0);
    }
    program_hear(&p, QUESTIONS);
    waitpid(writer, NULL, 0);
    g_auto(GStrv) answers = g_strsplit(p.said->str, "\n", -1);
    g_autofree bool *seen = g_new0(bool, QUESTIONS + 1);
    ck_assert_uint_eq(g_strv_length(answers), QUESTIONS + 1);
    for (unsigned i = 0; i < QUESTIONS; i++) {
        unsigned number = (unsigned)strtoul(answers[i], NULL, 10);
        ck_assert_msg(number >= 1 && number <= QUESTIONS && !seen[number], "%s", answers[i]);
        seen[number] = true;
        ck_assert_msg(g_str_has_suffix(answers[i], " ok") ||
                          strstr(answers[i], " error 16 ") != NULL,
                      "%s", answers[i]);
    }
    program_stop(&p);
}
END_TEST

/* The port is not there at first, and the host's end goes away in the midst of a line. */
START_TEST(program_comes_again)
{
    g_autofree char *link = g_strdup_printf("%s/agent-port-%d", g_get_tmp_dir(), getpid());
    g_autofree char *next = g_strdup_printf("%s.next", link);
    struct program p;

    program_start(&p, link);
    ck_assert_int_eq(symlink(p.path, link), 0);
    say(&p, "3 ping\n4 pi");
    program_hear(&p, 1);
    ck_assert_str_eq(p.said->str, "3 ok\n");
    int port = p.port, keep = p.keep;
    program_terminal(&p);
    ck_assert_int_eq(symlink(p.path, next), 0);
    ck_assert_int_eq(rename(next, link), 0);
    close(keep);
    close(port); /* hangs up */
    g_string_truncate(p.said, 0);
    say(&p, "5 ping\n");
    program_hear(&p, 1);
    ck_assert_str_eq(p.said->str, "5 ok\n");
    program_stop(&p);
    unlink(link);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("guest_agent");
    TCase *tc = tcase_create("agent");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, verbs_rows, 0, G_N_ELEMENTS(verb_rows));
    tcase_add_test(tc, verbs_policy);
    tcase_add_test(tc, verbs_hello);
    tcase_add_test(tc, program_answers);
    tcase_add_test(tc, program_flooded);
    tcase_add_test(tc, program_comes_again);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
