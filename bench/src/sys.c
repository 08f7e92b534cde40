/* System: traps, page tables, processes, signals, code changed in place. */
#define _GNU_SOURCE
#include "xb.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(3);
    }
}

static u64 b_getpid(void) /* 1e6 bare system calls */
{
    u64 n = 0;
    for (int i = 0; i < 1000000; i++)
        n += syscall(SYS_getppid) >= 0;
    return n;
}

static u64 b_clock(void) /* vDSO: reads the guest's counter */
{
    struct timespec a, b = {0};
    u64 n = 0;
    for (int i = 0; i < 3000000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &a);
        n += a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec >= b.tv_nsec);
        b = a;
    }
    return n;
}

static u64 spawn(int n, int exec)
{
    u64 ok = 0;
    for (int i = 0; i < n; i++) {
        int st;
        pid_t p = fork();
        must(p >= 0, "fork");
        if (!p) {
            if (exec)
                execl("/proc/self/exe", "xb", "true", NULL);
            _exit(exec ? 9 : 0);
        }
        waitpid(p, &st, 0);
        ok += st == 0;
    }
    return ok;
}
static u64 b_fork(void)
{
    return spawn(1000, 0);
}
static u64 b_forkexec(void)
{
    return spawn(500, 1);
}

static u64 b_pipe(void) /* 30,000 round trips of two processes */
{
    int a[2], b[2];
    u64 n = 0, x = 0;
    must(!pipe(a) && !pipe(b), "pipe");
    pid_t p = fork();
    must(p >= 0, "fork");
    if (!p) {
        close(a[1]);
        while (read(a[0], &x, 8) == 8) {
            x++;
            if (write(b[1], &x, 8) != 8)
                break;
        }
        _exit(0);
    }
    close(a[0]);
    for (int i = 0; i < 30000; i++)
        if (write(a[1], &x, 8) != 8 || read(b[0], &n, 8) != 8)
            break;
        else
            x = n;
    close(a[1]);
    waitpid(p, NULL, 0);
    return x;
}

static u64 b_fault(void) /* 120 x (map 4 MB, touch its pages, unmap) */
{
    u64 n = 0;
    for (int i = 0; i < 120; i++) {
        size_t len = 4 << 20;
        u8 *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(p != MAP_FAILED, "mmap");
        madvise(p, len, MADV_NOHUGEPAGE);
        for (size_t o = 0; o < len; o += 4096)
            p[o] = 1, n++;
        munmap(p, len);
    }
    return n;
}

static u64 b_mprotect(void) /* permission flips: one TLB flush each */
{
    size_t len = 64 << 12;
    u8 *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u64 n = 0;
    must(p != MAP_FAILED, "mmap");
    memset(p, 1, len);
    for (int i = 0; i < 30000; i++) {
        u8 *q = p + ((i * 7) & 63) * 4096;
        mprotect(q, 4096, PROT_READ);
        n += *(volatile u8 *)q;
        mprotect(q, 4096, PROT_READ | PROT_WRITE);
        *(volatile u8 *)q = 1;
    }
    munmap(p, len);
    return n;
}

static volatile u64 hits;
static void on_sig(int s)
{
    (void)s;
    hits++;
}
static u64 b_signal(void)
{
    struct sigaction sa = {.sa_handler = on_sig};
    pid_t me = getpid();
    sigaction(SIGUSR1, &sa, NULL);
    hits = 0;
    for (int i = 0; i < 100000; i++)
        kill(me, SIGUSR1);
    return hits;
}

static u64 b_file(void) /* 64 MB through a file in 4 KB pieces */
{
    static char buf[4096];
    char name[] = "/tmp/xb-file-XXXXXX";
    u64 sum = 0;
    int fd = mkstemp(name);
    must(fd >= 0, "mkstemp");
    unlink(name);
    for (int r = 0; r < 4; r++) {
        lseek(fd, 0, SEEK_SET);
        for (int i = 0; i < 4096; i++) {
            buf[i] = i;
            must(write(fd, buf, sizeof buf) == sizeof buf, "write");
        }
        lseek(fd, 0, SEEK_SET);
        for (int i = 0; i < 4096; i++) {
            must(read(fd, buf, sizeof buf) == sizeof buf, "read");
            sum = sum * 31 + (u8)buf[(i * 77) & 4095];
        }
    }
    close(fd);
    return sum;
}

static u64 b_smc(void) /* write a function, run it, rewrite it */
{
    u32 *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u64 sum = 0;
    must(p != MAP_FAILED, "mmap rwx");
    for (int i = 0; i < 100000; i++) {
        u32 v = i & 2047, off = (i & 15) * 16, *q = p + off;
#if defined __riscv
        q[0] = 0x00000513 | v << 20; /* li a0, v */
        q[1] = 0x00008067;           /* ret */
#elif defined __aarch64__
        q[0] = 0x52800000 | v << 5; /* mov w0, #v */
        q[1] = 0xd65f03c0;          /* ret */
#elif defined __x86_64__
        q[0] = 0xb8 | v << 8; /* mov eax, v */
        q[1] = 0xc300;        /* ret */
#else
#error port me
#endif
        __builtin___clear_cache((char *)q, (char *)(q + 2));
        u32 (*f)(void);
        memcpy(&f, &q, sizeof f);
        sum = sum * 3 + f() + f();
    }
    munmap(p, 4096);
    return sum;
}

static u64 b_sleep(void) /* 300 x 1 ms: timer and wake-up latency */
{
    struct timespec ts = {0, 1000000};
    u64 n = 0;
    for (int i = 0; i < 300; i++)
        n += nanosleep(&ts, NULL) == 0;
    return n;
}

/* --- threads: meant for 2 vCPUs, harmless on one ---------------------- */
static u32 queens(u32 all, u32 col, u32 l, u32 r)
{
    u32 n = 0, free = all & ~(col | l | r);
    if (col == all)
        return 1;
    while (free) {
        u32 b = free & -free;
        free ^= b;
        n += queens(all, col | b, (l | b) << 1, (r | b) >> 1);
    }
    return n;
}
static void *half(void *arg)
{
    u32 first = arg ? 1 : 0, all = (1 << 14) - 1;
    u64 n = 0;
    for (u32 c = first; c < 14; c += 2)
        n += queens(all, 1u << c, 2u << c, (1u << c) >> 1);
    return (void *)(uintptr_t)n;
}
static u64 pair(void *(*fn)(void *))
{
    pthread_t t;
    void *a, *b;
    must(!pthread_create(&t, NULL, fn, (void *)1), "thread");
    a = fn(NULL);
    pthread_join(t, &b);
    return (uintptr_t)a + (uintptr_t)b;
}
static u64 b_mtcpu(void)
{
    return pair(half);
}

static u64 counter;
static void *incr(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10000000; i++)
        __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
static u64 b_mtatomic(void)
{
    counter = 0;
    pair(incr);
    return counter;
}

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static void *locker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3000000; i++) {
        pthread_mutex_lock(&mu);
        counter++;
        pthread_mutex_unlock(&mu);
    }
    return NULL;
}
static u64 b_mtmutex(void)
{
    counter = 0;
    pair(locker);
    return counter;
}

static void *faulter(void *arg) /* unmapping makes TLB shootdowns */
{
    (void)arg;
    return (void *)(uintptr_t)b_fault();
}
static u64 b_mtfault(void)
{
    return pair(faulter);
}

const struct bench sys_benches[] = {{"getppid", "sys", b_getpid, 1000000},
                                    {"clock", "sys", b_clock, 3000000},
                                    {"fork", "sys", b_fork, 1000},
                                    {"forkexec", "sys", b_forkexec, 500},
                                    {"pipe", "sys", b_pipe, 30000},
                                    {"fault", "sys", b_fault, 122880},
                                    {"mprotect", "sys", b_mprotect, 30000},
                                    {"signal", "sys", b_signal, 100000},
                                    {"file", "sys", b_file, 0xecbf92792c4ac18e},
                                    {"smc", "sys", b_smc, 0x522f0087758531a0},
                                    {"sleep", "sys", b_sleep, 300},
                                    {"mtcpu", "mt", b_mtcpu, 365596},
                                    {"mtatomic", "mt", b_mtatomic, 20000000},
                                    {"mtmutex", "mt", b_mtmutex, 6000000},
                                    {"mtfault", "mt", b_mtfault, 245760},
                                    {0}};
