/*
 * A program for Linux guests of aarch64: the processor's breakpoints and watchpoints as debuggers
 * reach them by ptrace, and as perf counts them, of programs and of the kernel.
 *
 * Prints a line and ends with status 0, or says what did not hold.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 16, ROUNDS = 3, MANY = 100 };
/* Of the kernel's control words: which bytes, what, and for EL0. */
enum { BYTES_4 = 0xf << 5, LOAD = 1 << 3, STORE = 2 << 3, EL0 = 2 << 1, ENABLE = 1 };

struct debug_state {
    uint32_t info, pad;
    struct {
        uint64_t address;
        uint32_t control, pad;
    } slot[SLOTS];
};

/* Says what does not hold, and ends. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("hwdebug: line %d: %s does not hold (%s)\n", __LINE__, #condition,              \
                   strerror(errno));                                                               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static volatile uint32_t words[8];

__attribute__((noinline)) static void stop_here(uint32_t i)
{
    words[4] = i;
}

/* --- ptrace ----------------------------------------------------------------------------------- */

static void debuggee(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        stop_here(i);
        words[1] = i;
        words[3] += words[2];
    }
    _exit(0);
}

/* Sets or clears the first of KIND. */
static void set(pid_t child, int kind, uintptr_t address, uint32_t control)
{
    struct debug_state state = {.slot[0] = {.address = address, .control = control}};
    struct iovec v = {&state, offsetof(struct debug_state, slot[1])};

    must(ptrace(PTRACE_SETREGSET, child, kind, &v) == 0);
}

static unsigned slots(pid_t child, int kind)
{
    struct debug_state state;
    struct iovec v = {&state, sizeof(state)};

    must(ptrace(PTRACE_GETREGSET, child, kind, &v) == 0);
    return state.info & 0xff;
}

static uint64_t pc_of(pid_t child)
{
    struct user_regs_struct regs;
    struct iovec v = {&regs, sizeof(regs)};

    must(ptrace(PTRACE_GETREGSET, child, NT_PRSTATUS, &v) == 0);
    return regs.pc;
}

static uint32_t word_of(pid_t child, unsigned i)
{
    return (uint32_t)ptrace(PTRACE_PEEKDATA, child, &words[i], NULL);
}

static void wait_for(pid_t child, int signal)
{
    int status;

    must(waitpid(child, &status, 0) == child);
    must(WIFSTOPPED(status) && WSTOPSIG(status) == signal);
}

/* Goes on until the debug exception for ADDRESS. */
static void go_to(pid_t child, uintptr_t address)
{
    siginfo_t info;

    must(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
    wait_for(child, SIGTRAP);
    must(ptrace(PTRACE_GETSIGINFO, child, NULL, &info) == 0);
    must(info.si_code == TRAP_HWBKPT && (uintptr_t)info.si_addr == address);
}

static void step(pid_t child)
{
    must(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
    wait_for(child, SIGTRAP);
}

static void by_ptrace(void)
{
    pid_t child = fork();
    int status;

    must(child >= 0);
    if (!child)
        debuggee();
    wait_for(child, SIGSTOP);
    must(slots(child, NT_ARM_HW_BREAK) == 6 && slots(child, NT_ARM_HW_WATCH) == 4);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        set(child, NT_ARM_HW_BREAK, (uintptr_t)stop_here, BYTES_4 | EL0 | ENABLE);
        go_to(child, (uintptr_t)stop_here);
        must(pc_of(child) == (uintptr_t)stop_here && word_of(child, 4) == i - 1);
        set(child, NT_ARM_HW_BREAK, 0, 0);

        set(child, NT_ARM_HW_WATCH, (uintptr_t)&words[1], BYTES_4 | STORE | EL0 | ENABLE);
        go_to(child, (uintptr_t)&words[1]);
        must(word_of(child, 1) == i - 1); /* before the store */
        set(child, NT_ARM_HW_WATCH, 0, 0);
        step(child);
        must(word_of(child, 1) == i);

        set(child, NT_ARM_HW_WATCH, (uintptr_t)&words[2], BYTES_4 | LOAD | EL0 | ENABLE);
        go_to(child, (uintptr_t)&words[2]);
        set(child, NT_ARM_HW_WATCH, 0, 0);
    }
    must(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
    must(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));
}

/* --- perf ------------------------------------------------------------------------------------- */

static int counter(uint32_t type, uintptr_t address, bool of_kernel)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_BREAKPOINT,
                                   .size = sizeof(attr),
                                   .bp_type = type,
                                   .bp_addr = address,
                                   .bp_len = HW_BREAKPOINT_LEN_4,
                                   .pinned = 1,
                                   .exclude_kernel = !of_kernel,
                                   .exclude_user = of_kernel,
                                   .exclude_hv = 1};
    /* The kernel's are for processors, not tasks. */
    int fd =
        (int)syscall(SYS_perf_event_open, &attr, of_kernel ? -1 : 0, of_kernel ? 0 : -1, -1, 0);

    must(fd >= 0);
    return fd;
}

static uint64_t count(int fd)
{
    uint64_t value;

    must(read(fd, &value, sizeof(value)) == sizeof(value));
    close(fd);
    return value;
}

/* The address of a kernel's function. */
static uintptr_t symbol(const char *name)
{
    FILE *f = fopen("/proc/kallsyms", "r");
    char line[256], found[128];
    unsigned long address;

    must(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx %*c %127s", &address, found) == 2 && !strcmp(found, name)) {
            fclose(f);
            return address;
        }
    }
    must(!"the kernel's symbol");
    return 0;
}

static void by_perf(void)
{
    cpu_set_t first;

    CPU_ZERO(&first);
    CPU_SET(0, &first);
    must(sched_setaffinity(0, sizeof(first), &first) == 0);
    int run = counter(HW_BREAKPOINT_X, (uintptr_t)stop_here, false);
    int stored = counter(HW_BREAKPOINT_W, (uintptr_t)&words[4], false);
    int loaded = counter(HW_BREAKPOINT_R, (uintptr_t)&words[4], false);
    int called = counter(HW_BREAKPOINT_X, symbol("__arm64_sys_getppid"), true);

    for (uint32_t i = 0; i < MANY; i++) {
        stop_here(i);
        getppid();
    }
    must(count(run) == MANY);
    must(count(stored) == MANY);
    must(count(loaded) == 0);
    /* The kernel steps over its own: an interrupt in the step's way has it come there anew. */
    must(count(called) >= MANY);
}

int main(void)
{
    by_ptrace();
    by_perf();
    printf("hwdebug: all well\n");
    return 0;
}
