/*
 * A program for Linux guests with several harts: processes, threads, memory, signals, code and files that
 * change all the time, each checking what must hold of it.
 *
 *   stress SECONDS [WORKERS]
 *
 * Forks WORKERS (a process each, 4 without a number), which do the jobs below over and over until the time
 * is out. Prints one line with what was done, or one with what did not hold and status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, THREADS = 4, WORKERS_MOST = 64 };

static uint64_t seed;

/* Says what does not hold, and ends the process; its parents end by its status. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("stress: line %d: %s does not hold (%s)\n", __LINE__, #condition,               \
                   strerror(errno));                                                               \
            fflush(stdout);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* What byte I of piece K is. */
static uint8_t pattern(uint64_t k, size_t i)
{
    return (uint8_t)((k + i) * 0x9e3779b1u >> 13);
}

static void fill(uint8_t *p, size_t n, uint64_t k)
{
    for (size_t i = 0; i < n; i++)
        p[i] = pattern(k, i);
}

static bool holds(const uint8_t *p, size_t n, uint64_t k)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != pattern(k, i))
            return false;
    return true;
}

static void run_threads(unsigned n, void *(*run)(void *), void *opaque)
{
    pthread_t thread[THREADS];

    for (unsigned i = 0; i < n; i++)
        must(pthread_create(&thread[i], NULL, run, opaque) == 0);
    for (unsigned i = 0; i < n; i++)
        must(pthread_join(thread[i], NULL) == 0);
}

/* --- processes ------------------------------------------------------------------------------ */

/* A child with a page of its own; another that is this program anew. */
static void job_processes(void)
{
    uint8_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint8_t *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t k = rnd();
    char word[32];
    int status;

    must(shared != MAP_FAILED && own != MAP_FAILED);
    fill(own, PAGE, k);
    snprintf(word, sizeof(word), "%llu", (unsigned long long)k);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        must(holds(own, PAGE, k));
        fill(own, PAGE, k + 1);
        fill(shared, PAGE, k + 2);
        execl("/proc/self/exe", "stress", "--answer", word, NULL);
        must(!"exec");
    }
    must(waitpid(child, &status, 0) == child && WIFEXITED(status));
    must(WEXITSTATUS(status) == (int)(k % 100 + 100));
    must(holds(own, PAGE, k) && holds(shared, PAGE, k + 2));
    munmap(shared, PAGE);
    munmap(own, PAGE);
}

/* Bytes from one process to another. */
static void job_pipe(void)
{
    enum { SIZE = 60000 };
    static uint8_t data[SIZE];
    uint64_t k = rnd();
    int ends[2], status;

    must(pipe(ends) == 0);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        close(ends[0]);
        fill(data, SIZE, k);
        for (size_t at = 0, n; at < SIZE; at += n) {
            n = rnd() % 5000 + 1;
            n = n < SIZE - at ? n : SIZE - at;
            must(write(ends[1], data + at, n) == (ssize_t)n);
        }
        _exit(0);
    }
    close(ends[1]);
    size_t got = 0;
    for (ssize_t n; (n = read(ends[0], data + got, SIZE - got)) > 0; got += (size_t)n)
        continue;
    close(ends[0]);
    must(got == SIZE && holds(data, SIZE, k));
    must(waitpid(child, &status, 0) == child && status == 0);
}

/* --- threads -------------------------------------------------------------------------------- */

struct table {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned turn, next; /* whose turn it is; who takes a number next */
    uint64_t sum;
};

enum { TURNS = 200 };

/* Takes turns under a lock. */
static void *turns(void *opaque)
{
    struct table *t = opaque;

    pthread_mutex_lock(&t->lock);
    unsigned me = t->next++;
    for (unsigned i = 0; i < TURNS; i++) {
        while (t->turn % THREADS != me)
            pthread_cond_wait(&t->changed, &t->lock);
        t->sum = t->sum * 3 + me;
        t->turn++;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void job_turns(void)
{
    struct table t = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
    uint64_t sum = 0;

    run_threads(THREADS, turns, &t);
    for (unsigned i = 0; i < TURNS * THREADS; i++)
        sum = sum * 3 + i % THREADS;
    must(t.turn == TURNS * THREADS && t.sum == sum);
}

struct relay {
    atomic_uint word, who;
    uint64_t plain; /* no atomic: the word hands it on */
};

enum { HANDOFFS = 2000 };

/* Two threads hand a word to one another by futex alone. */
static void *relay(void *opaque)
{
    struct relay *r = opaque;
    unsigned me = atomic_fetch_add(&r->who, 1);

    for (unsigned i = me; i < HANDOFFS; i += 2) {
        unsigned now;

        while ((now = atomic_load_explicit(&r->word, memory_order_acquire)) != i)
            syscall(SYS_futex, &r->word, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
        must(r->plain == (uint64_t)i * 7);
        r->plain += 7;
        atomic_store_explicit(&r->word, i + 1, memory_order_release);
        syscall(SYS_futex, &r->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

static void job_futex(void)
{
    struct relay r = {0};

    run_threads(2, relay, &r);
    must(r.plain == HANDOFFS * 7);
}

struct counts {
    atomic_ullong by_amo, by_cas;
    pthread_spinlock_t lock;
    uint64_t locked;
};

static void *count(void *opaque)
{
    struct counts *c = opaque;

    for (unsigned i = 0; i < 5000; i++) {
        unsigned long long old = atomic_load_explicit(&c->by_cas, memory_order_relaxed);

        atomic_fetch_add_explicit(&c->by_amo, 1, memory_order_relaxed);
        while (!atomic_compare_exchange_weak(&c->by_cas, &old, old + 3))
            continue;
        pthread_spin_lock(&c->lock);
        c->locked += 5;
        pthread_spin_unlock(&c->lock);
    }
    return NULL;
}

static void job_counts(void)
{
    struct counts c = {0};

    pthread_spin_init(&c.lock, PTHREAD_PROCESS_PRIVATE);
    run_threads(THREADS, count, &c);
    must(c.by_amo == THREADS * 5000 && c.by_cas == THREADS * 15000 && c.locked == THREADS * 25000);
}

/* Rounding modes and sums are each thread's own, whoever runs on the hart in between. */
static void *floats(void *opaque)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    unsigned me = atomic_fetch_add((atomic_uint *)opaque, 1);
    volatile double third = 3, sum = 0, again = 0;

    fesetround(modes[me]);
    feclearexcept(FE_ALL_EXCEPT);
    for (unsigned i = 1; i < 3000; i++) {
        sum = sum + i / third;
        if (i % 500 == 0)
            sched_yield();
    }
    must(fegetround() == modes[me] && fetestexcept(FE_ALL_EXCEPT) == FE_INEXACT);
    for (unsigned i = 1; i < 3000; i++)
        again = again + i / third;
    must(sum == again);
    return NULL;
}

static void job_floats(void)
{
    atomic_uint who = 0;

    run_threads(THREADS, floats, &who);
}

/* --- memory --------------------------------------------------------------------------------- */

static _Thread_local sigjmp_buf fault_exit;
static _Thread_local void *volatile fault_at;

static void on_fault(int number, siginfo_t *info, void *context)
{
    fault_at = info->si_addr;
    siglongjmp(fault_exit, 1);
}

/* Does a store to P fault, and there? */
static bool store_faults(volatile uint8_t *p)
{
    fault_at = NULL;
    if (sigsetjmp(fault_exit, 1))
        return fault_at == p;
    *p = *p;
    return false;
}

/* Maps, protects, moves and unmaps. */
static void *churn(void *opaque)
{
    enum { PAGES = 16 };
    uint64_t k = (uintptr_t)&fault_at ^ *(uint64_t *)opaque;

    for (unsigned i = 0; i < 10; i++, k += 11) {
        uint8_t *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0);
        unsigned at = k % (PAGES - 2);

        must(p != MAP_FAILED);
        fill(p, PAGES * PAGE, k);
        must(mprotect(p + at * PAGE, PAGE, PROT_READ) == 0);
        must(store_faults(p + at * PAGE + k % PAGE) && !store_faults(p + (at + 1) * PAGE));
        must(madvise(p + (at + 1) * PAGE, PAGE, MADV_DONTNEED) == 0);
        must(p[(at + 1) * PAGE + k % PAGE] == 0);
        fill(p + (at + 1) * PAGE, PAGE, k + (at + 1) * PAGE);
        must(mprotect(p + at * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
        uint8_t *q = mremap(p, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE);
        must(q != MAP_FAILED && holds(q, PAGES * PAGE, k) && q[PAGES * PAGE] == 0);
        must(munmap(q, 2 * PAGES * PAGE) == 0);
    }
    return NULL;
}

static void job_memory(void)
{
    uint64_t k = rnd();

    run_threads(THREADS, churn, &k);
}

struct board {
    uint8_t *page;
    atomic_bool over;
    atomic_uint who, faults;
};

/* Stores to a page that another thread protects: each store is made, or faults and leaves no trace. */
static void *storm(void *opaque)
{
    struct board *b = opaque;
    const unsigned me = atomic_fetch_add(&b->who, 1); /* a byte each */
    volatile uint8_t value = 0;

    while (!atomic_load(&b->over)) {
        if (sigsetjmp(fault_exit, 1)) {
            must(b->page[me] == value);
            atomic_fetch_add(&b->faults, 1);
            sched_yield();
            continue;
        }
        *(volatile uint8_t *)&b->page[me] = (uint8_t)(value + 1);
        value++;
        must(b->page[me] == value);
    }
    return NULL;
}

static void *protect(void *opaque)
{
    struct board *b = opaque;
    uint8_t before[2];

    for (unsigned i = 0; i < 200; i++) {
        must(mprotect(b->page, PAGE, PROT_READ) == 0);
        memcpy(before, b->page, 2);
        sched_yield();
        must(memcmp(before, b->page, 2) == 0); /* nobody has an old translation */
        must(mprotect(b->page, PAGE, PROT_READ | PROT_WRITE) == 0);
    }
    atomic_store(&b->over, true);
    return NULL;
}

static void job_shootdown(void)
{
    struct board b = {.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                   -1, 0)};
    pthread_t thread[3];

    must(b.page != MAP_FAILED);
    b.page[0] = b.page[1] = 0;
    for (unsigned i = 0; i < 3; i++)
        must(pthread_create(&thread[i], NULL, i < 2 ? storm : protect, &b) == 0);
    for (unsigned i = 0; i < 3; i++)
        must(pthread_join(thread[i], NULL) == 0);
    munmap(b.page, PAGE);
}

/* --- signals -------------------------------------------------------------------------------- */

static atomic_uint signals;

static void on_signal(int number)
{
    atomic_fetch_add(&signals, 1);
}

static void *wait_signal(void *opaque)
{
    atomic_uint *got = opaque;
    sigset_t set;
    int number;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    for (unsigned i = 0; i < 100; i++) {
        must(sigwait(&set, &number) == 0 && number == SIGUSR2);
        atomic_fetch_add(got, 1);
    }
    return NULL;
}

/* To each of two waiting threads in turn, from a timer, and to oneself. */
static void job_signals(void)
{
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    atomic_uint got[2] = {0};
    pthread_t thread[2];
    sigset_t set, old;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    unsigned before = signals;
    setitimer(ITIMER_REAL, &often, NULL);
    for (unsigned i = 0; i < 2; i++)
        must(pthread_create(&thread[i], NULL, wait_signal, &got[i]) == 0);
    for (unsigned i = 0; i < 100; i++)
        for (unsigned n = 0; n < 2; n++) {
            must(pthread_kill(thread[n], SIGUSR2) == 0);
            while (atomic_load(&got[n]) == i)
                sched_yield();
        }
    for (unsigned i = 0; i < 2; i++)
        must(pthread_join(thread[i], NULL) == 0);
    while (signals == before) /* the timer's comes to whoever runs */
        sched_yield();
    setitimer(ITIMER_REAL, &never, NULL);
    for (unsigned i = 0; i < 100; i++) {
        before = signals;
        must(raise(SIGUSR1) == 0 && signals == before + 1);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* --- code that changes ---------------------------------------------------------------------- */

struct code {
    uint32_t *page;
    atomic_uint published;
};

#ifdef __riscv

/* li a0, NUMBER; ret */
#define MOVE(number) ((number) << 20 | 0x513)
#define RETURN       0x00008067u

/* The kernel sees to the other harts where code was changed. */
static void fetch_anew(void)
{
}

#else

/* mov w0, #NUMBER; ret */
#define MOVE(number) ((number) << 5 | 0x52800000)
#define RETURN       0xd65f03c0u

/* Each processor that runs what another changed must forget what it fetched ahead. */
static void fetch_anew(void)
{
    __asm__ volatile("isb" : : : "memory");
}

#endif

static void write_code(struct code *c, unsigned number)
{
    c->page[0] = MOVE(number);
    c->page[1] = RETURN;
    __builtin___clear_cache((char *)c->page, (char *)(c->page + 2));
}

/* What is run is never older than what was said to be there before. */
static void *run_code(void *opaque)
{
    struct code *c = opaque;
    unsigned (*function)(void) = (unsigned (*)(void))(void *)c->page;

    for (;;) {
        unsigned at_least = atomic_load(&c->published);

        if (at_least == 2047)
            return NULL;
        fetch_anew();
        must(function() >= at_least);
    }
}

static void *change_code(void *opaque)
{
    struct code *c = opaque;

    for (unsigned i = 1; i < 2047; i += 1 + i / 64) {
        write_code(c, i);
        atomic_store(&c->published, i);
    }
    atomic_store(&c->published, 2047);
    return NULL;
}

static void job_code(void)
{
    struct code c = {.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
    pthread_t thread[3];

    must(c.page != MAP_FAILED);
    write_code(&c, 0);
    for (unsigned i = 0; i < 3; i++)
        must(pthread_create(&thread[i], NULL, i < 2 ? run_code : change_code, &c) == 0);
    for (unsigned i = 0; i < 3; i++)
        must(pthread_join(thread[i], NULL) == 0);
    munmap(c.page, PAGE);
}

/* --- files ---------------------------------------------------------------------------------- */

static void job_files(void)
{
    enum { SIZE = 100000 };
    static uint8_t data[SIZE];
    uint64_t k = rnd();
    char name[64], other[64];

    snprintf(name, sizeof(name), "stress-%d", (int)getpid());
    snprintf(other, sizeof(other), "stress-%d-b", (int)getpid());
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0);
    fill(data, SIZE, k);
    must(write(fd, data, SIZE) == SIZE && fsync(fd) == 0 && rename(name, other) == 0);
    uint8_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(p != MAP_FAILED && holds(p, SIZE, k));
    fill(p, SIZE, k + 1);
    must(pread(fd, data, SIZE, 0) == SIZE && holds(data, SIZE, k + 1));
    must(munmap(p, SIZE) == 0 && close(fd) == 0 && unlink(other) == 0);
}

/* --- the whole ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    void (*run)(void);
} jobs[] = {
    {"processes", job_processes}, {"pipes", job_pipe},      {"turns", job_turns},
    {"futexes", job_futex},       {"counts", job_counts},   {"floats", job_floats},
    {"memory", job_memory},       {"shootdowns", job_shootdown}, {"signals", job_signals},
    {"code", job_code},           {"files", job_files},
};

enum { JOBS = sizeof(jobs) / sizeof(jobs[0]) };

static void work(unsigned worker, time_t end, uint64_t done[JOBS])
{
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction note = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    seed = worker * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)getpid();
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGUSR1, &note, NULL);
    sigaction(SIGALRM, &note, NULL);
    while (time(NULL) < end) {
        unsigned job = rnd() % JOBS;

        jobs[job].run();
        done[job]++;
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    unsigned workers = argc > 2 ? (unsigned)atoi(argv[2]) : 4, failed = 0;
    pid_t child[WORKERS_MOST];
    int status;

    if (argc > 2 && !strcmp(argv[1], "--answer"))
        return (int)(strtoull(argv[2], NULL, 10) % 100 + 100);
    if (argc < 2 || atoi(argv[1]) < 1 || workers < 1 || workers > WORKERS_MOST) {
        fprintf(stderr, "usage: stress SECONDS [WORKERS]\n");
        return 2;
    }
    uint64_t(*done)[JOBS] = mmap(NULL, sizeof(*done) * workers, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    time_t end = time(NULL) + atoi(argv[1]);
    for (unsigned i = 0; i < workers; i++)
        if ((child[i] = fork()) == 0)
            work(i, end, done[i]);
    for (unsigned i = 0; i < workers; i++) {
        if (waitpid(child[i], &status, 0) != child[i] || status) {
            printf("stress: worker %u ended with status %#x\n", i, (unsigned)status);
            failed = 1;
        }
    }
    printf("stress: %s:", failed ? "FAILED" : "all well");
    for (unsigned job = 0; job < JOBS; job++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < workers; i++)
            sum += done[i][job];
        printf("%s %llu %s", job ? "," : "", (unsigned long long)sum, jobs[job].name);
    }
    printf("\n");
    return (int)failed;
}
