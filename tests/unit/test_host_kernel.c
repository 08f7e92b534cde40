/*
 * The kernel's own uevents: interfaces that come, change their names and go in a network of the test's own,
 * and messages that only look as if they were the kernel's. Takes root; skipped without.
 */
#include "tests/unit/host_rig.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static struct host_rig rig;
static char *sysfs; /* of the test's own network */
static int uevents;

static void setup(void)
{
    GError *err = NULL;

    rig_init(&rig);
    sysfs = rig_path(&rig, "sys");
    ck_assert_int_eq(mkdir(sysfs, 0700), 0);
    ck_assert_int_eq(mount("sysfs", sysfs, "sysfs", MS_RDONLY, NULL), 0);
    uevents = host_uevents_open(&err);
    ck_assert_msg(uevents >= 0, "%s", err ? err->message : "");
}

static void teardown(void)
{
    rig_stop(&rig);
    ck_assert_int_eq(umount(sysfs), 0);
    g_free(sysfs);
    rig_end(&rig);
}

/* A tap interface that is there until the descriptor is closed. */
static int make_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ioctl(fd, TUNSETIFF, &request), 0);
    return fd;
}

/* Until TEXT was heard; other devices of this machine may come and go meanwhile. */
static void wait_for(const char *text)
{
    while (!strstr(rig.said->str, text))
        uv_run(&rig.loop, UV_RUN_ONCE);
    g_string_truncate(rig.said, 0);
}

START_TEST(an_interface)
{
    struct ifreq request = {.ifr_name = "comes", .ifr_newname = "renamed"};
    autofd control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const char *why;

    rig_start_on(&rig, sysfs, uevents);
    ck_assert(host_devices_watch(rig.host, &why));
    int tap = make_tap("comes");
    wait_for("+net:comes ");
    ck_assert_str_eq(host_devices_find(rig.host, "net:comes")->class, "tap");
    ck_assert(host_devices_claim(rig.host, "net:comes", "v", false, NULL, NULL));
    ck_assert_int_eq(ioctl(control, SIOCSIFNAME, &request), 0);
    wait_for("~net:renamed<net:comes ");
    close(tap);
    wait_for("-net:renamed@v ");
}
END_TEST

static const struct {
    const char *name;
    bool to_us; /* else to the kernel's group */
} forgeries[] = {{"to us alone", true}, {"to all that listen", false}};

/* What a process sends is dropped: it does not even lead to a look. */
START_TEST(forged_messages)
{
    static const char message[] = "garbage";
    struct sockaddr_nl own, to = {.nl_family = AF_NETLINK};
    socklen_t length = sizeof(own);
    autofd forger = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    char got[sizeof(message)];

    ck_assert_int_eq(getsockname(uevents, (struct sockaddr *)&own, &length), 0);
    rig_start_on(&rig, rig.root, uevents);
    rig_net(&rig, "devices/virtual/net/unseen", "02:00:00:00:00:01\n");
    to.nl_pid = forgeries[_i].to_us ? own.nl_pid : 0;
    to.nl_groups = forgeries[_i].to_us ? 0 : 1;
    ssize_t sent = sendto(forger, message, sizeof(message), 0, (struct sockaddr *)&to, sizeof(to));
    /* The kernel may refuse groups to processes: so much the better. */
    ck_assert_msg(sent == (ssize_t)sizeof(message) || !forgeries[_i].to_us, "%s: %s", forgeries[_i].name, strerror(errno));
    ck_assert(recv(uevents, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT) > 0 || sent < 0);
    rig_run(&rig);
    rig_heard(&rig, "");
    ck_assert_ptr_null(host_devices_find(rig.host, "net:unseen"));
}
END_TEST

int main(void)
{
    if (access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        fprintf(stderr, "skipped: interfaces of one's own take root and /dev/net/tun: %s\n", strerror(errno));
        return 77;
    }
    Suite *s = suite_create("host_kernel");
    TCase *tc = tcase_create("kernel");
    SRunner *runner = srunner_create(s);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, an_interface);
    tcase_add_loop_test(tc, forged_messages, 0, G_N_ELEMENTS(forgeries));
    suite_add_tcase(s, tc);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
