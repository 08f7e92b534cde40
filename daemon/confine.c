/* The list of vmd. See confine.h. */
#include "daemon/confine.h"

#include "base/confine.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>

enum { SERVE = 1 }; /* vmd has one phase */

#define FAMILY(family) {"socket", SERVE, CONFINE_DENY, {CONFINE_INT(0, family)}}
#define NETLINK(protocol) {"socket", SERVE, CONFINE_DENY, {CONFINE_INT(0, AF_NETLINK), CONFINE_INT(2, protocol)}}
#define NEW(flag)      {"clone", SERVE, EPERM, {CONFINE_BITS(0, flag, flag)}}

static const struct confine_rule rules[] = {
    /* Other processes: they are started, signalled and watched, never looked into. */
#if !CONFINE_SANITIZED
    {"ptrace process_vm_readv", SERVE, CONFINE_DENY},
#endif
    {"process_vm_writev process_madvise kcmp pidfd_getfd migrate_pages move_pages", SERVE,
     CONFINE_DENY},
    /* Namespaces and mounts. */
    {"mount umount umount2 pivot_root chroot unshare setns fsopen fsmount fsconfig fspick move_mount "
     "open_tree mount_setattr open_by_handle_at name_to_handle_at",
     SERVE, CONFINE_DENY},
    NEW(CLONE_NEWNS),
    NEW(CLONE_NEWUSER),
    NEW(CLONE_NEWPID),
    NEW(CLONE_NEWNET),
    NEW(CLONE_NEWIPC),
    NEW(CLONE_NEWUTS),
    NEW(CLONE_NEWCGROUP),
    {"clone3 io_uring_setup io_uring_enter io_uring_register", SERVE, ENOSYS},
    /* The kernel's own doors. */
    {"bpf perf_event_open userfaultfd init_module finit_module delete_module kexec_load "
     "kexec_file_load reboot swapon swapoff syslog quotactl acct keyctl add_key request_key iopl "
     "ioperm modify_ldt lookup_dcookie vhangup sethostname setdomainname settimeofday clock_settime "
     "clock_adjtime adjtimex stime uselib nfsservctl fanotify_init mknod mknodat",
     SERVE, CONFINE_DENY},
    /* Users: vmd stays who it is. */
    {"setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset", SERVE,
     CONFINE_DENY},
    /* Sockets: AF_UNIX, AF_INET, AF_INET6, and AF_NETLINK. */
    FAMILY(3),
    FAMILY(4),
    FAMILY(5),
    FAMILY(6),
    FAMILY(7),
    FAMILY(8),
    FAMILY(9),
    {"socket", SERVE, CONFINE_DENY, {{CONFINE_FROM, 0, .value = AF_NETLINK + 1}}},
    /* Of netlink: NETLINK_ROUTE, for the C library's look-ups, and NETLINK_KOBJECT_UEVENT. */
    NETLINK(1),
    NETLINK(2),
    NETLINK(3),
    NETLINK(4),
    NETLINK(5),
    NETLINK(6),
    NETLINK(7),
    NETLINK(8),
    NETLINK(9),
    NETLINK(10),
    NETLINK(11),
    NETLINK(12),
    NETLINK(13),
    NETLINK(14),
    {"socket", SERVE, CONFINE_DENY, {CONFINE_INT(0, AF_NETLINK), {CONFINE_FROM, 2, .value = NETLINK_KOBJECT_UEVENT + 1}}},
};

bool daemon_confine(GError **err)
{
    return confine_calls(rules, G_N_ELEMENTS(rules), SERVE, true, err);
}
