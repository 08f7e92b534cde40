/*
 * The first program of Linux on KVM: no C library, as those look for instructions that a KVM which emulates ring 0 has not told of. It
 * tries what a program asks of a kernel, says so on the console, and ends the machine by a restart.
 */
#include <asm/unistd.h>
#include <stdint.h>

enum { READ_ONLY = 0, PROT_RW = 3, PRIVATE_ANONYMOUS = 0x22, SIGCHLD_ = 17 };

static long call(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "+a"(n)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return n;
}

static void say(const char *text)
{
    long n = 0;

    while (text[n])
        n++;
    call(__NR_write, 1, (long)text, n, 0, 0, 0);
}

static void check(const char *what, int good)
{
    say("init: ");
    say(what);
    say(good ? " works\n" : " FAILS\n");
}

static int memory(void)
{
    long n = 1 << 20;
    long at = call(__NR_mmap, 0, n, PROT_RW, PRIVATE_ANONYMOUS, -1, 0);

    if (at < 0)
        return 0;
    volatile char *p = (volatile char *)at;
    int good = 1;
    for (long i = 0; i < n; i += 4096) {
        good &= p[i] == 0;
        p[i] = (char)(i >> 12);
    }
    for (long i = 0; i < n; i += 4096)
        good &= p[i] == (char)(i >> 12);
    return good && call(__NR_munmap, at, n, 0, 0, 0, 0) == 0;
}

static int child(void)
{
    volatile int mine = 1;
    int status = 0;
    long pid = call(__NR_clone, SIGCHLD_, 0, 0, 0, 0, 0);

    if (pid == 0) {
        mine = 2;
        call(__NR_exit_group, 7, 0, 0, 0, 0, 0);
    }
    return pid > 0 && call(__NR_wait4, pid, (long)&status, 0, 0, 0, 0) == pid && status == 7 << 8 && mine == 1;
}

static int pipes(void)
{
    int ends[2];
    char text[4] = {0};

    return call(__NR_pipe, (long)ends, 0, 0, 0, 0, 0) == 0 &&
           call(__NR_write, ends[1], (long)"abc", 3, 0, 0, 0) == 3 &&
           call(__NR_read, ends[0], (long)text, 3, 0, 0, 0) == 3 && text[0] == 'a' && text[2] == 'c';
}

static int sleeps(void)
{
    struct {
        long sec, nsec;
    } wait = {0, 50000000}, before, after;

    call(__NR_clock_gettime, 1, (long)&before, 0, 0, 0, 0);
    if (call(__NR_nanosleep, (long)&wait, 0, 0, 0, 0, 0) != 0)
        return 0;
    call(__NR_clock_gettime, 1, (long)&after, 0, 0, 0, 0);
    return (after.sec - before.sec) * 1000000000 + after.nsec - before.nsec >= 50000000;
}

static int version(void)
{
    char text[256];
    long n, fd;

    if (call(__NR_mount, (long)"proc", (long)"/proc", (long)"proc", 0, 0, 0) != 0)
        return 0;
    fd = call(__NR_open, (long)"/proc/version", READ_ONLY, 0, 0, 0, 0);
    n = call(__NR_read, fd, (long)text, sizeof(text) - 1, 0, 0, 0);
    if (n <= 0)
        return 0;
    text[n] = 0;
    say(text);
    return 1;
}

void _start(void)
{
    check("proc", version());
    check("memory", memory());
    check("a child", child());
    check("a pipe", pipes());
    check("a sleep", sleeps());
    say("init: the end\n");
    call(__NR_reboot, 0xfee1dead, 672274793, 0x01234567, 0, 0, 0);
    for (;;)
        ;
}
