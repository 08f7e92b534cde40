/*
 * vmd-helper: the one part of vmd that may need rights. It serves a fixed list of requests on a
 * socket of its own, and holds no right but CAP_NET_ADMIN, and root's own to write files of sysfs where its rules name
 * PCI functions.
 *
 * Its socket comes from systemd (vmd-helper.socket) or from --listen. Rights go in steps: first,
 * while names can still be looked up, it reads its rules and gets its socket; then it gives up all
 * other capabilities and new privileges; then all files but /dev/net/tun (and those of PCI
 * functions), and all system calls but a few (base/confine.h).
 */
#include "base/confine.h"
#include "base/log.h"
#include "vm/helper/protocol.h"
#include "vm/helper/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define CLIENTS_MAX 256
#define IDLE_S      10 /* a client that says nothing for so long is hung up on */

struct options {
    char *listen, *rules, *leases;
    gboolean version;
};

static bool parse(int *argc, char ***argv, struct options *o, GError **err)
{
    const GOptionEntry entries[] = {
        {"listen", 0, 0, G_OPTION_ARG_FILENAME, &o->listen, "Listen at PATH", "PATH"},
        {"rules", 0, 0, G_OPTION_ARG_FILENAME, &o->rules, "Read who may what from FILE", "FILE"},
        {"leases", 0, 0, G_OPTION_ARG_FILENAME, &o->leases, "Keep what is lent in FILE", "FILE"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "Print the version and exit", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);

    g_option_context_set_summary(context, "Opens tap interfaces for VMs and lends them PCI functions; see vmd-helper(8).");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, err))
        return false;
    return *argc == 1 || vmd_fail(err, VMD_ERROR_INVALID, "unexpected argument '%s'", (*argv)[1]);
}

/* --- the socket ------------------------------------------------------------------------------- */

/* Anyone may connect: the rules say what comes of it. */
static int listen_at(const char *path, GError **err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autofd fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        vmd_fail(err, VMD_ERROR_INVALID, "the path '%s' is too long for a socket", path);
        return -1;
    }
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(path, 0666) < 0 || listen(fd, CLIENTS_MAX) < 0) {
        vmd_set_errno(err, errno, "listening at %s", path);
        return -1;
    }
    return steal_fd(&fd);
}

static int find_socket(const struct options *o, GError **err)
{
    int n = sd_listen_fds(1);

    if (n == 1 && sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) > 0)
        return SD_LISTEN_FDS_START;
    if (n > 0) {
        vmd_fail(err, VMD_ERROR_INVALID, "systemd gave %d sockets, not one for packets", n);
        return -1;
    }
    return listen_at(o->listen ? o->listen : HELPER_SOCKET, err);
}

/* --- rights ----------------------------------------------------------------------------------- */

static bool drop_capabilities(GError **err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    data[0].effective = data[0].permitted = 1u << CAP_NET_ADMIN;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, data) < 0)
        return vmd_set_errno(err, errno, "keeping CAP_NET_ADMIN alone (vmd-helper runs as root)");
    return true;
}

#define IOCTL(request) {"ioctl", SERVE, CONFINE_ALLOW, {CONFINE_INT(1, request)}}

/* What every helper does; what one does that lends PCI functions. */
enum { SERVE = 1 << 0, HOSTS = 1 << 1 };

/* To take requests, to open a tap and to set it up. */
static const struct confine_rule calls[] = {
    {"poll ppoll accept accept4 recvfrom recvmsg sendmsg getsockopt open openat read write close "
     "fcntl fstat newfstatat brk munmap mremap madvise futex getrandom getpid gettid clock_gettime "
     "restart_syscall rt_sigreturn rt_sigprocmask exit exit_group lseek sched_yield sigaltstack",
     SERVE},
    {"pwrite64 readlink readlinkat getdents64 access faccessat faccessat2 stat lstat statx", HOSTS},
    {"mmap mprotect", SERVE, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"tgkill", SERVE, CONFINE_ALLOW, {{CONFINE_SELF, 0}}},
    {"socket", SERVE, CONFINE_ALLOW, {CONFINE_INT(0, AF_UNIX)}},
    IOCTL(TUNSETIFF),
    IOCTL(SIOCGIFINDEX),
    IOCTL(SIOCGIFFLAGS),
    IOCTL(SIOCSIFFLAGS),
    IOCTL(SIOCBRADDIF),
};

/* HOSTS: the rules name PCI functions. What of these is not there yet is not there later either. */
static bool confine(bool hosts, GError **err)
{
    static const struct confine_path paths[] = {
        {"/dev/net/tun", CONFINE_READ | CONFINE_WRITE},
        {"/dev/vfio", CONFINE_READ | CONFINE_WRITE},
        {"/sys/bus/pci", CONFINE_READ | CONFINE_WRITE},
        {"/sys/devices", CONFINE_READ | CONFINE_WRITE},
        {"/sys/kernel/iommu_groups", CONFINE_READ},
    };

    if (hosts && access("/dev/vfio", F_OK) < 0)
        log_warning("the rules name PCI functions, and the kernel has no VFIO: load vfio-pci, then "
                    "start vmd-helper anew");
    return confine_files(paths, hosts ? G_N_ELEMENTS(paths) : 1, err) &&
           confine_calls(calls, G_N_ELEMENTS(calls), SERVE | (hosts ? HOSTS : 0), false, err);
}

/* --- serving ---------------------------------------------------------------------------------- */

struct clients {
    const struct helper_rules *rules;
    struct host_leases *leases;
    bool waiting; /* for a group to be closed */
    struct pollfd fds[1 + CLIENTS_MAX]; /* the listening socket, then connections */
    int64_t heard[1 + CLIENTS_MAX];     /* seconds, when each last said something */
    nfds_t n;
};

/* Whether client I stays: it asked something sensible, or may still, or has something. */
static bool serve_one(struct clients *c, nfds_t i)
{
    if (!c->fds[i].revents)
        return host_seconds(NULL) - c->heard[i] < IDLE_S || host_lent(c->leases, c->fds[i].fd);
    c->heard[i] = host_seconds(NULL);
    return c->fds[i].revents & POLLIN && helper_serve(c->fds[i].fd, c->rules, c->leases);
}

/*
 * The leases, with those of a vmd-helper before this one, which go back also where no rule lends
 * functions any more: HOSTS, whether any are lent, becomes true while some cannot go back yet.
 * NULL with ERR where another vmd-helper lends them.
 */
static struct host_leases *open_leases(const struct options *o, bool *hosts, GError **err)
{
    g_autoptr(GError) why = NULL;
    const char *path = o->leases ? o->leases : HELPER_LEASES;
    g_autofree char *folder = g_path_get_dirname(path);
    struct host_leases *leases = host_leases_new(&host_kernel);

    if (*hosts)
        g_mkdir_with_parents(folder, 0700);
    int fd = open(path, O_RDWR | (*hosts ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && !*hosts && errno == ENOENT)
        return leases;
    if (fd < 0)
        log_warning("%s cannot be opened (%s): what is lent is forgotten when vmd-helper ends", path,
                    g_strerror(errno));
    else if (!host_leases_keep(leases, fd, &why)) {
        close(fd);
        if (*hosts) { /* else that one sees to it */
            g_propagate_prefixed_error(err, g_steal_pointer(&why), "%s: ", path);
            host_leases_free(leases);
            return NULL;
        }
    } /* else it is open as long as the process */
    *hosts |= host_sweep(leases);
    return leases;
}

/* Ends only by a signal. */
static void serve_all(int listener, const struct helper_rules *rules, struct host_leases *leases)
{
    struct clients c = {.rules = rules, .leases = leases, .fds = {{.fd = listener}}, .n = 1};

    c.waiting = host_sweep(leases);

    for (;;) {
        /* At the limit the rest waits in the listener's queue. */
        c.fds[0].events = c.n < G_N_ELEMENTS(c.fds) ? POLLIN : 0;
        if (poll(c.fds, c.n, c.n > 1 || c.waiting ? 1000 : -1) < 0)
            continue;
        for (nfds_t i = c.n; i-- > 1;) {
            if (serve_one(&c, i))
                continue;
            host_return(leases, c.fds[i].fd);
            close(c.fds[i].fd);
            c.n--;
            c.fds[i] = c.fds[c.n];
            c.heard[i] = c.heard[c.n];
        }
        c.waiting = host_sweep(leases);
        int fd = c.fds[0].revents & POLLIN ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        c.fds[c.n] = (struct pollfd){.fd = fd, .events = POLLIN};
        c.heard[c.n++] = host_seconds(NULL);
    }
}

static bool run(int *argc, char ***argv, struct options *o, GError **err)
{
    if (!parse(argc, argv, o, err))
        return false;
    if (o->version) {
        puts("vmd-helper " VMD_VERSION);
        return true;
    }
    struct helper_rules *rules = helper_rules_load(o->rules ? o->rules : HELPER_RULES, err);
    if (!rules)
        return false;
    int listener = find_socket(o, err);
    bool hosts = helper_rules_hosts(rules);
    struct host_leases *leases = listener < 0 ? NULL : open_leases(o, &hosts, err);
    if (!leases || !drop_capabilities(err) || !confine(hosts, err)) {
        host_leases_free(leases);
        helper_rules_free(rules);
        return false;
    }
    log_info("ready");
    serve_all(listener, rules, leases);
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    g_autoptr(GError) err = NULL;
    bool ok;

    log_init("vmd-helper");
    signal(SIGPIPE, SIG_IGN); /* a journal that went away is no reason to go too */
    ok = run(&argc, &argv, &o, &err);
    if (!ok)
        log_error("%s", err->message);
    g_free(o.listen);
    g_free(o.rules);
    g_free(o.leases);
    return ok ? 0 : 1;
}
