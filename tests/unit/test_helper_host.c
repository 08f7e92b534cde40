/* PCI functions that vmd-helper lends, in a sysfs of the test's own, whose kernel is the test. */
#include "base/pciaddr.h"
#include "tests/unit/unit.h"
#include "vm/helper/host.h"
#include "vm/helper/protocol.h"
#include "vm/helper/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define NIC    "0000:01:00.0"
#define AUDIO  "0000:01:00.1"
#define BRIDGE "0000:00:01.0"
#define PLAIN  "0000:02:00.0"

struct kernel {
    char *root;
    int64_t now;    /* seconds */
    unsigned deaf;  /* times that a driver is looked for in vain */
    char *override; /* of whichever function was told last; NULL: none */
    char *overridden;
    bool no_vfio, busy;
    unsigned writes;
    struct host_kernel k;
    struct host_leases *leases;
};

/* --- the kernel ------------------------------------------------------------------------------- */

static char *device_file(const struct kernel *t, const char *address, const char *name)
{
    return g_build_filename(t->root, "bus/pci/devices", address, name, NULL);
}

static void set_link(const struct kernel *t, const char *address, const char *name, const char *to)
{
    g_autofree char *path = device_file(t, address, name);

    unlink(path);
    if (to)
        ck_assert_int_eq(symlink(to, path), 0);
}

static const char *native(const char *address)
{
    return strcmp(address, NIC) == 0 ? "e1000e" : strcmp(address, AUDIO) == 0 ? "snd" : NULL;
}

static void probe(struct kernel *t, const char *address)
{
    if (t->deaf && t->deaf--)
        return;
    const char *name =
        t->override && strcmp(t->overridden, address) == 0 ? t->override : native(address);
    g_autofree char *driver = device_file(t, address, "driver");
    g_autofree char *to = g_strdup_printf("../drivers/%s", name ? name : "");

    if (!name || (strcmp(name, "vfio-pci") == 0 && t->no_vfio) ||
        g_file_test(driver, G_FILE_TEST_IS_SYMLINK))
        return;
    set_link(t, address, "driver", to);
}

static int fake_write(void *opaque, const char *path, const char *text)
{
    struct kernel *t = opaque;
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *folder = g_path_get_dirname(path);

    t->writes++;
    if (strcmp(name, "drivers_probe") == 0) {
        probe(t, text);
    } else if (strcmp(name, "driver_override") == 0) {
        g_free(t->override);
        g_free(t->overridden);
        t->override = strcmp(text, "\n") == 0 ? NULL : g_strdup(text);
        t->overridden = g_path_get_basename(folder);
        ck_assert(g_file_set_contents(path, t->override ? t->override : "(null)\n", -1, NULL));
    } else {
        ck_assert_str_eq(name, "unbind");
        set_link(t, text, "driver", NULL);
    }
    return 0;
}

static int fake_open(void *opaque, const char *path)
{
    const struct kernel *t = opaque;

    ck_assert_msg(g_str_has_suffix(path, "/vfio/7") || g_str_has_suffix(path, "/vfio/8"), "%s",
                  path);
    return t->busy ? -EBUSY : open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int64_t fake_seconds(void *opaque)
{
    return ((const struct kernel *)opaque)->now;
}

static void put(const struct kernel *t, const char *address, const char *name, const char *text)
{
    g_autofree char *path = device_file(t, address, name);

    ck_assert(g_file_set_contents(path, text, -1, NULL));
}

static void add_function(struct kernel *t, const char *address, const char *class, unsigned group)
{
    g_autofree char *folder = device_file(t, address, NULL);
    g_autofree char *group_to = g_strdup_printf("../groups/%u", group);
    g_autofree char *members = g_strdup_printf("%s/kernel/iommu_groups/%u/devices", t->root, group);
    g_autofree char *member = g_build_filename(members, address, NULL);

    ck_assert_int_eq(g_mkdir_with_parents(folder, 0755), 0);
    ck_assert_int_eq(g_mkdir_with_parents(members, 0755), 0);
    ck_assert(g_file_set_contents(member, "", -1, NULL));
    put(t, address, "vendor", "0x8086\n");
    put(t, address, "class", class);
    set_link(t, address, "iommu_group", group_to);
    probe(t, address);
}

static void init(struct kernel *t)
{
    *t = (struct kernel){.root = g_dir_make_tmp("vmd-sysfs-XXXXXX", NULL)};
    t->k = (struct host_kernel){t->root, "/dev", fake_write, fake_open, fake_seconds, t};
    add_function(t, NIC, "0x020000\n", 7);
    add_function(t, BRIDGE, "0x060400\n", 7);
    add_function(t, PLAIN, "0x00ff00\n", 8);
    set_link(t, BRIDGE, "driver", "../drivers/pcieport");
    t->leases = host_leases_new(&t->k);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) folder =
        g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (folder && (name = g_dir_read_name(folder))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        remove_tree(inner);
    }
    g_remove(path);
}

static void fini(struct kernel *t)
{
    host_leases_free(t->leases);
    remove_tree(t->root);
    g_free(t->override);
    g_free(t->overridden);
    g_free(t->root);
}

static void check_driver(const struct kernel *t, const char *address, const char *expected)
{
    g_autofree char *driver = host_driver(&t->k, address);

    ck_assert_msg(g_strcmp0(driver, expected) == 0, "%s has %s", address, driver ? driver : "none");
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(addresses)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {
        {"0000:01:00.0", true},  {"abcd:ef:1f.7", true},
        {"0000:01:00.8", false}, {"0000:01:00", false},
        {"000:01:00.00", false}, {"0000:0G:00.0", false},
        {"0000:0A:00.0", false}, {"", false},
        {"../../../etc", false}, {"0000:01:00.0/", false},
        {"0000/01:00.0", false},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        ck_assert_msg(pciaddr_valid(rows[i].text) == rows[i].ok, "'%s'", rows[i].text);
}
END_TEST

START_TEST(lent_and_returned)
{
    struct kernel t;
    g_autoptr(GError) err = NULL;

    init(&t);
    check_driver(&t, NIC, "e1000e");
    int fd = host_lend(t.leases, 4, NIC, &err);
    ck_assert_msg(fd >= 0, "%s", err ? err->message : "");
    check_driver(&t, NIC, "vfio-pci");
    ck_assert(host_lent(t.leases, 4) && !host_lent(t.leases, 5));
    ck_assert_int_eq(host_lend(t.leases, 5, NIC, &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    close(fd);
    /* Somebody has the group open still: it is waited for. */
    t.busy = true;
    host_return(t.leases, 4);
    check_driver(&t, NIC, "vfio-pci");
    ck_assert(host_sweep(t.leases));
    t.busy = false;
    ck_assert(!host_sweep(t.leases));
    check_driver(&t, NIC, "e1000e");
    ck_assert_ptr_null(t.override);
    fini(&t);
}
END_TEST

/* One that had no driver has none again; one that somebody gave to vfio-pci stays there. */
START_TEST(as_it_was)
{
    struct kernel t;

    init(&t);
    autofd plain = host_lend(t.leases, 4, PLAIN, NULL);
    check_driver(&t, PLAIN, "vfio-pci");
    host_return(t.leases, 4);
    check_driver(&t, PLAIN, NULL);
    set_link(&t, PLAIN, "driver", "../drivers/vfio-pci");
    unsigned writes = t.writes;
    autofd again = host_lend(t.leases, 4, PLAIN, NULL);
    host_return(t.leases, 4);
    ck_assert_int_ge(again, 0);
    ck_assert_uint_eq(t.writes, writes);
    check_driver(&t, PLAIN, "vfio-pci");
    fini(&t);
}
END_TEST

/* What an administrator wrote stays written. */
START_TEST(override_is_kept)
{
    struct kernel t;

    init(&t);
    put(&t, NIC, "driver_override", "pci-stub\n");
    autofd fd = host_lend(t.leases, 4, NIC, NULL);
    ck_assert_int_ge(fd, 0);
    ck_assert_str_eq(t.override, "vfio-pci");
    host_return(t.leases, 4);
    ck_assert_str_eq(t.override, "pci-stub");
    check_driver(&t, NIC, "pci-stub");
    t.no_vfio = true;
    ck_assert_int_eq(host_lend(t.leases, 4, NIC, NULL), -1);
    ck_assert_str_eq(t.override, "pci-stub");
    fini(&t);
}
END_TEST

/* The helper is killed, and the next one has its file. */
static void next_helper(struct kernel *t, int file)
{
    host_leases_free(t->leases);
    t->leases = host_leases_new(&t->k);
    ck_assert(host_leases_keep(t->leases, file, NULL));
}

/* What a helper had lent before it was killed goes back by the next one, when its group is closed,
 * and not before; what goes back is not kept any more. */
START_TEST(next_one_knows)
{
    struct kernel t;
    autofd file = memfd_create("leases", MFD_CLOEXEC);

    init(&t);
    ck_assert(host_leases_keep(t.leases, file, NULL));
    autofd fd = host_lend(t.leases, 4, NIC, NULL);
    autofd plain = host_lend(t.leases, 5, PLAIN, NULL);
    ck_assert(fd >= 0 && plain >= 0);
    host_return(t.leases, 5);
    t.busy = true;
    next_helper(&t, file);
    ck_assert(host_sweep(t.leases) && !host_lent(t.leases, 4));
    check_driver(&t, NIC, "vfio-pci");
    ck_assert_int_eq(host_lend(t.leases, 6, NIC, NULL), -1);
    next_helper(&t, file);
    t.busy = false;
    unsigned writes = t.writes;
    ck_assert(!host_sweep(t.leases));
    check_driver(&t, NIC, "e1000e");
    check_driver(&t, PLAIN, NULL);
    ck_assert_uint_gt(t.writes, writes);
    writes = t.writes;
    next_helper(&t, file);
    ck_assert(!host_sweep(t.leases));
    ck_assert_uint_eq(t.writes, writes);
    fini(&t);
}
END_TEST

/* One that was killed before it gave the function away leaves the driver alone; lines that make no
 * sense, or of what has gone, are nothing. */
START_TEST(file_of_any_kind)
{
    static const char text[] =
        NIC "\t7\tIntel e1000e\tpci-stub\n" PLAIN "\t9\t-\t-\n0000:7f:00.0\t7\t-\t-\n"
            "../../../etc\t7\t-\t-\n" PLAIN " 8 - -\n" PLAIN "\n" PLAIN "\t-1\t-\t-\n\nend\n" PLAIN
            "\t8\tnothing\t-\n";
    struct kernel t;
    autofd file = memfd_create("leases", MFD_CLOEXEC);

    init(&t);
    ck_assert_int_eq(pwrite(file, text, strlen(text), 0), (ssize_t)strlen(text));
    next_helper(&t, file);
    ck_assert(!host_sweep(t.leases));
    check_driver(&t, NIC, "e1000e");
    ck_assert_str_eq(t.override, "pci-stub");
    ck_assert_str_eq(t.overridden, NIC);
    fini(&t);
}
END_TEST

/* The kernel is still taking the function from vfio-pci for somebody else, and looks for no driver: it is asked again,
 * and not for ever. */
START_TEST(taken_back_late)
{
    struct kernel t;

    init(&t);
    for (unsigned deaf = 2; deaf <= 20; deaf += 18) {
        autofd fd = host_lend(t.leases, 4, NIC, NULL);
        ck_assert_int_ge(fd, 0);
        t.deaf = deaf;
        host_return(t.leases, 4);
        check_driver(&t, NIC, NULL);
        for (unsigned i = 0; i < 20; i++) /* busy clients are no reason to try more often */
            ck_assert(host_sweep(t.leases));
        unsigned sweeps = 0;
        while (t.now++, host_sweep(t.leases))
            ck_assert_uint_lt(++sweeps, 20);
        check_driver(&t, NIC, deaf == 2 ? "e1000e" : NULL);
    }
    fini(&t);
}
END_TEST

/* A file has one helper at a time; what it has goes back by whichever comes next. */
START_TEST(one_helper)
{
    static const char text[] = NIC "\t7\te1000e\tpci-stub\n"; /* cut off */
    struct kernel t;
    g_autoptr(GError) err = NULL;
    autofd file = memfd_create("leases", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", file);
    int first = open(path, O_RDWR | O_CLOEXEC);

    init(&t);
    ck_assert_int_eq(pwrite(file, text, strlen(text), 0), (ssize_t)strlen(text));
    struct host_leases *other = host_leases_new(&t.k);
    ck_assert(host_leases_keep(other, first, NULL));
    ck_assert(!host_leases_keep(t.leases, file, &err));
    ck_assert_str_eq(err->message, "another vmd-helper keeps what it lends there: "
                                   "Resource temporarily unavailable");
    ck_assert(!host_sweep(t.leases) && !t.override);
    host_leases_free(other);
    close(first);
    next_helper(&t, file);
    ck_assert(!host_sweep(t.leases));
    ck_assert_str_eq(t.override, "pci-stub");
    fini(&t);
}
END_TEST

/* The kernel opens a group once: another function of it is not touched. */
START_TEST(one_of_a_group)
{
    struct kernel t;
    g_autoptr(GError) err = NULL;

    init(&t);
    add_function(&t, AUDIO, "0x040300\n", 7);
    set_link(&t, AUDIO, "driver", NULL);
    autofd fd = host_lend(t.leases, 4, NIC, NULL);
    ck_assert_int_ge(fd, 0);
    unsigned writes = t.writes;
    ck_assert_int_eq(host_lend(t.leases, 4, AUDIO, &err), -1);
    ck_assert_str_eq(err->message, "PCI function " AUDIO " is in IOMMU group 7, of which " NIC
                                   " is lent already: one function of a group is lent at a time");
    ck_assert_uint_eq(t.writes, writes);
    check_driver(&t, AUDIO, NULL);
    fini(&t);
}
END_TEST

static void share(struct kernel *t)
{
    add_function(t, AUDIO, "0x040300\n", 7);
}

static void share_unused(struct kernel *t)
{
    share(t);
    set_link(t, AUDIO, "driver", NULL);
}

static void without_vfio(struct kernel *t)
{
    t->no_vfio = true;
}

static void in_use(struct kernel *t)
{
    t->busy = true;
}

static void without_iommu(struct kernel *t)
{
    set_link(t, NIC, "iommu_group", NULL);
}

static void nothing(struct kernel *t)
{
}

static const struct {
    void (*spoil)(struct kernel *t);
    const char *address, *text; /* NULL: it is lent */
} refusals[] = {
    {share, NIC,
     "PCI function " NIC " shares IOMMU group 7 with " AUDIO ", which has the driver snd"},
    {share_unused, NIC, NULL},
    {without_vfio, NIC, "the host's kernel did not give PCI function " NIC " to vfio-pci"},
    {in_use, NIC, "opening IOMMU group 7 of PCI function " NIC},
    {without_iommu, NIC, "PCI function " NIC " is in no IOMMU group"},
    {nothing, "0000:7f:00.0", "the host has no PCI function 0000:7f:00.0"},
    {nothing, BRIDGE,
     "PCI function " BRIDGE " shares IOMMU group 7 with " NIC ", which has the driver e1000e"},
};

START_TEST(refused)
{
    struct kernel t;
    g_autoptr(GError) err = NULL;

    init(&t);
    refusals[_i].spoil(&t);
    autofd fd = host_lend(t.leases, 4, refusals[_i].address, &err);
    if (!refusals[_i].text) {
        ck_assert_msg(fd >= 0, "%s", err ? err->message : "");
    } else {
        ck_assert_int_eq(fd, -1);
        ck_assert_msg(g_str_has_prefix(err->message, refusals[_i].text), "%s", err->message);
        check_driver(&t, NIC, "e1000e");
        ck_assert(!host_lent(t.leases, 4));
    }
    fini(&t);
}
END_TEST

/* By a packet: who may, and what is no address. */
static const struct {
    const char *rules, *name;
    int32_t error; /* -1: done */
} packets[] = {
    {"* pci:0000:01:*", NIC, -1},
    {"* pci:0000:02:*", NIC, VMD_ERROR_DENIED},
    {"* *", NIC, VMD_ERROR_DENIED}, /* any interface, and no function */
    {"", NIC, VMD_ERROR_DENIED},    /* root as well */
    {"* pci:*", "0000:01:00.9", VMD_ERROR_INVALID},
    {"* pci:*", "../../x", VMD_ERROR_INVALID},
};

START_TEST(packet_rows)
{
    struct kernel t;
    struct helper_rules *rules = helper_rules_parse("rules", packets[_i].rules, NULL);
    struct helper_request request = {.version = HELPER_VERSION, .kind = HELPER_HOST};
    struct helper_reply reply = {0};
    int fds[2];

    init(&t);
    g_strlcpy(request.name, packets[_i].name, sizeof(request.name));
    /* Root needs no line of its own: another user asks. */
    bool root = geteuid() == 0 && packets[_i].error == VMD_ERROR_DENIED && *packets[_i].rules;
    if (root)
        ck_assert_int_eq(seteuid(65534), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    if (root)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(send(fds[0], &request, sizeof(request), 0), sizeof(request));
    ck_assert(helper_serve(fds[1], rules, t.leases));
    ck_assert_int_eq(recv(fds[0], &reply, sizeof(reply), MSG_DONTWAIT), sizeof(reply));
    ck_assert_msg(reply.error == packets[_i].error, "'%s' %s: %d %s", packets[_i].rules,
                  packets[_i].name, reply.error, reply.text);
    ck_assert(host_lent(t.leases, fds[1]) == (reply.error == -1));
    close(fds[0]);
    ck_assert(!helper_serve(fds[1], rules, t.leases));
    host_return(t.leases, fds[1]);
    close(fds[1]);
    helper_rules_free(rules);
    fini(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("helper_host");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, addresses);
    tcase_add_test(tc, lent_and_returned);
    tcase_add_test(tc, as_it_was);
    tcase_add_test(tc, override_is_kept);
    tcase_add_test(tc, next_one_knows);
    tcase_add_test(tc, file_of_any_kind);
    tcase_add_test(tc, taken_back_late);
    tcase_add_test(tc, one_helper);
    tcase_add_test(tc, one_of_a_group);
    tcase_add_loop_test(tc, refused, 0, G_N_ELEMENTS(refusals));
    tcase_add_loop_test(tc, packet_rows, 0, G_N_ELEMENTS(packets));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
