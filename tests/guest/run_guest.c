/*
 * Runs a guest program on a board and the translator, without daemon or VM process.
 *
 *   run_guest [--arch NAME] [--tier N] [--cpus N] [--memory MIB] [--kernel F] [--initrd F]
 *             [--firmware F] [--append S] [--reboots N] [--timeout S] [--stats] [--ask "VERB ARG..."]...
 *
 * The serial console is standard output and, where that can be polled, standard input. Exits with 0
 * when the guest powers off, 1 when it powers off because of a failure or cannot go on, 2 for a
 * mistake of ours, 3 after --timeout seconds. A reboot starts the guest again, at most --reboots times. With --ask the guest
 * has a port for vmd-agent, which is asked these things one after another, each time it comes.
 */
#include "machine/boards/board.h"
#include "tests/guest/agent_port.h"
#include "vm/vcpus.h"
#include "xlate/xlate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_GUEST_FAILED = 1, EXIT_OURS = 2, EXIT_TIMEOUT = 3 };

struct run {
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timeout;
    struct mem_map *mem;
    struct vm_clock *clock;
    struct board *board;
    struct accel *accel;
    struct vcpus *vcpus;
    struct agent_port *agent; /* NULL: none */
    unsigned cpus;
    uv_poll_t input; /* of standard input */
    bool has_input;
    uint8_t typed[256]; /* read, not yet taken by the port */
    size_t n_typed;
    int reboots;
    pthread_mutex_t lock;
    bool ended; /* under LOCK: REQUEST, or FAILED with the accelerator's words */
    struct board_request request;
    char *failed;
    bool timed_out;
};

/* --- what the board asks ------------------------------------------------------------------ */

static void cpu_set_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
    struct run *r = opaque;

    accel_vcpu_set_irq(vcpus_get(r->vcpus, cpu), irq, level);
}

static int cpu_start(void *opaque, unsigned cpu, const struct board_start *start)
{
    struct run *r = opaque;
    struct vcpu_start s = {.pc = start->pc};

    memcpy(s.args, start->args, sizeof(s.args));
    return vcpus_start(r->vcpus, cpu, &s);
}

static void cpu_stop(void *opaque, unsigned self)
{
    struct run *r = opaque;

    vcpus_stop_self(r->vcpus, self);
}

static enum board_cpu_status cpu_status(void *opaque, unsigned cpu)
{
    static const enum board_cpu_status status[] = {
        [VCPU_OFF] = BOARD_CPU_STOPPED,
        [VCPU_STARTING] = BOARD_CPU_STARTING,
        [VCPU_ON] = BOARD_CPU_STARTED,
        [VCPU_STOPPING] = BOARD_CPU_STOPPING,
    };
    struct run *r = opaque;

    return status[vcpus_power(r->vcpus, cpu)];
}

static void cpu_fence(void *opaque, unsigned from, uint64_t mask, enum board_fence kind,
                      const struct board_fence_range *range)
{
    static const enum accel_fence kinds[] = {
        [BOARD_FENCE_CODE] = ACCEL_FENCE_CODE,
        [BOARD_FENCE_TLB] = ACCEL_FENCE_TLB,
        [BOARD_FENCE_TLB_ASID] = ACCEL_FENCE_TLB_ASID,
    };
    struct run *r = opaque;
    struct accel_fence_range a = {.start = range->start, .size = range->size, .asid = range->asid};

    accel_fence(r->accel, vcpus_get(r->vcpus, from), mask, kinds[kind], &a);
}

/* The first of these counts. */
static void end(struct run *r, const struct board_request *request, const char *failed)
{
    pthread_mutex_lock(&r->lock);
    if (!r->ended && request)
        r->request = *request;
    else if (!r->ended)
        r->failed = g_strdup(failed);
    r->ended = true;
    pthread_mutex_unlock(&r->lock);
    vcpus_halt_async(r->vcpus);
    uv_async_send(&r->wake);
}

static bool has_ended(struct run *r)
{
    pthread_mutex_lock(&r->lock);
    bool ended = r->ended;
    pthread_mutex_unlock(&r->lock);
    return ended;
}

static void cpu_request(void *opaque, const struct board_request *request)
{
    end(opaque, request, NULL);
}

static void cpu_failed(void *opaque, unsigned index, enum vcpu_exit why, const char *text)
{
    end(opaque, NULL, text ? text : "no reason told");
}

static const struct board_cpu_ops cpu_ops = {
    .set_irq = cpu_set_irq,
    .start = cpu_start,
    .stop = cpu_stop,
    .status = cpu_status,
    .fence = cpu_fence,
    .request = cpu_request,
};

static size_t console_output(void *opaque, const uint8_t *data, size_t n)
{
    fwrite(data, 1, n, stdout);
    fflush(stdout);
    return n;
}

static void on_input(uv_poll_t *poll, int status, int events);

/* Gives the port what was read; reads more only when it took all. */
static void console_room(void *opaque)
{
    struct run *r = opaque;
    size_t taken = board_console_input(r->board, r->typed, r->n_typed);

    r->n_typed -= taken;
    memmove(r->typed, r->typed + taken, r->n_typed);
    if (r->has_input && !r->n_typed)
        uv_poll_start(&r->input, UV_READABLE, on_input);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    struct run *r = poll->data;
    ssize_t n = read(STDIN_FILENO, r->typed, sizeof(r->typed));

    uv_poll_stop(poll);
    if (n <= 0)
        return;
    r->n_typed = (size_t)n;
    console_room(r);
}

static const struct board_console_ops console_ops = {console_output, console_room};

/* --- the run -------------------------------------------------------------------------------- */

static void on_wake(uv_async_t *wake)
{
    uv_stop(wake->loop);
}

static void on_timeout(uv_timer_t *timer)
{
    struct run *r = timer->data;

    r->timed_out = true;
    uv_stop(timer->loop);
}

/* Runs until the guest ends one way or another; true when it asked for a reboot. */
static bool run_once(struct run *r, GError **err)
{
    struct board_start start;

    r->ended = false;
    if (!board_load(r->board, err))
        return false;
    for (unsigned i = 0; i < r->cpus; i++) {
        if (board_cpu_start(r->board, i, &start))
            cpu_start(r, i, &start);
    }
    vm_clock_resume(r->clock);
    accel_clock_changed(r->accel);
    board_clock_changed(r->board);
    if (r->agent)
        agent_port_clock_changed(r->agent);
    vcpus_resume(r->vcpus);
    while (!has_ended(r) && !r->timed_out)
        uv_run(&r->loop, UV_RUN_DEFAULT);
    vcpus_halt(r->vcpus);
    vm_clock_pause(r->clock);
    board_console_flush(r->board);
    vcpus_all_off(r->vcpus);
    return !r->timed_out && !r->failed && r->request.kind == BOARD_REQUEST_REBOOT;
}

static int result(struct run *r)
{
    if (r->timed_out) {
        fprintf(stderr, "run_guest: the guest did not end in time\n");
        return EXIT_TIMEOUT;
    }
    if (r->failed) {
        fprintf(stderr, "run_guest: %s\n", r->failed);
        return EXIT_GUEST_FAILED;
    }
    if (r->request.kind == BOARD_REQUEST_REBOOT) {
        fprintf(stderr, "run_guest: the guest rebooted once too often\n");
        return EXIT_GUEST_FAILED;
    }
    if (r->request.kind == BOARD_REQUEST_FAILED) {
        fprintf(stderr, "run_guest: %s: failure %u\n", r->request.source, r->request.code);
        return EXIT_GUEST_FAILED;
    }
    return EXIT_SUCCESS;
}

static bool open_file(const char *path, struct board_file *out, GError **err)
{
    *out = (struct board_file){path ? open(path, O_RDONLY | O_CLOEXEC) : -1, path};
    return out->fd >= 0 || !path || vmd_set_errno(err, errno, "opening %s", path);
}

static void print_stats(struct run *r)
{
    struct accel_stat rows[64];
    size_t n = accel_stats(r->accel, rows, G_N_ELEMENTS(rows));

    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "%-24s %" G_GUINT64_FORMAT "\n", rows[i].name, rows[i].value);
}

static void cpu_line(void *board, unsigned cpu, enum arm_line line, bool level)
{
    board_cpu_line(board, cpu,
                   line == ARM_LINE_VIRTUAL_TIMER ? BOARD_LINE_VIRTUAL_TIMER
                                                  : BOARD_LINE_PHYSICAL_TIMER,
                   level);
}

static bool build(struct run *r, struct board_config *bc, int tier, GError **err)
{
    r->mem = bc->mem = mem_map_new();
    r->clock = bc->clock = vm_clock_new(0);
    vm_clock_pause(r->clock);
    bc->loop = &r->loop;
    bc->cpu_opaque = bc->console_opaque = r;
    r->board = board_new(bc, err);
    if (!r->board)
        return false;
    const struct board_traits *traits = board_traits(r->board);
    struct accel_config ac = {
        .isa = bc->isa,
        .vcpus = bc->cpus,
        .mem = r->mem,
        .clock = r->clock,
        .timebase_hz = traits->timebase_hz,
        .firmware_mode = traits->firmware_mode,
        .hypercall = board_hypercall,
        .hypercall_opaque = r->board,
        .sysreg = board_sysreg,
        .line = cpu_line,
        .machine_opaque = r->board,
        .tier = (unsigned)tier,
    };
    if (!accel_create(&xlate_accel_ops, &ac, &r->accel, err))
        return false;
    r->vcpus = vcpus_new(r->accel, cpu_failed, r, err);
    return r->vcpus != NULL;
}

static void teardown(struct run *r)
{
    vcpus_free(r->vcpus);
    agent_port_free(r->agent);
    accel_free(r->accel);
    board_free(r->board);
    uv_close((uv_handle_t *)&r->wake, NULL);
    uv_close((uv_handle_t *)&r->timeout, NULL);
    if (r->has_input)
        uv_close((uv_handle_t *)&r->input, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    mem_map_free(r->mem);
    vm_clock_free(r->clock);
    g_free(r->failed);
}

int main(int argc, char **argv)
{
    struct run r = {0};
    struct board_config bc = {.isa = ISA_RISCV64, .vars = {-1, NULL}, .cpu_ops = &cpu_ops,
                              .console_ops = &console_ops};
    g_autofree char *kernel = NULL, *initrd = NULL, *firmware = NULL, *append = NULL;
    g_autofree char *arch = NULL;
    g_auto(GStrv) asked = NULL;
    int tier = 1, cpus = 1, memory = 64, timeout = 60;
    gboolean stats = FALSE;
    const GOptionEntry entries[] = {
        {"tier", 0, 0, G_OPTION_ARG_INT, &tier, "of the translator", "N"},
        {"cpus", 0, 0, G_OPTION_ARG_INT, &cpus, "vCPUs", "N"},
        {"memory", 0, 0, G_OPTION_ARG_INT, &memory, "guest memory", "MIB"},
        {"kernel", 0, 0, G_OPTION_ARG_FILENAME, &kernel, "kernel to boot", "F"},
        {"initrd", 0, 0, G_OPTION_ARG_FILENAME, &initrd, "initial ramdisk", "F"},
        {"firmware", 0, 0, G_OPTION_ARG_FILENAME, &firmware, "firmware for M-mode", "F"},
        {"append", 0, 0, G_OPTION_ARG_STRING, &append, "kernel command line", "S"},
        {"reboots", 0, 0, G_OPTION_ARG_INT, &r.reboots, "reboots to follow", "N"},
        {"ask", 0, 0, G_OPTION_ARG_STRING_ARRAY, &asked, "what the agent is asked", "VERB ARG..."},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &timeout, "seconds", "S"},
        {"arch", 0, 0, G_OPTION_ARG_STRING, &arch, "riscv64 (the default) or aarch64", "NAME"},
        {"stats", 0, 0, G_OPTION_ARG_NONE, &stats, "the accelerator's counters", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) err = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) ||
        !open_file(kernel, &bc.kernel, &err) || !open_file(initrd, &bc.initrd, &err) ||
        !open_file(firmware, &bc.firmware, &err)) {
        fprintf(stderr, "run_guest: %s\n", err->message);
        return EXIT_OURS;
    }
    if (g_strcmp0(arch, "aarch64") == 0)
        bc.isa = ISA_AARCH64;
    bc.append = append;
    bc.cpus = r.cpus = (unsigned)cpus;
    bc.memory = MIB((unsigned)memory);
    pthread_mutex_init(&r.lock, NULL);
    uv_loop_init(&r.loop);
    uv_async_init(&r.loop, &r.wake, on_wake);
    uv_timer_init(&r.loop, &r.timeout);
    r.timeout.data = &r;
    uv_timer_start(&r.timeout, on_timeout, (uint64_t)timeout * 1000, 0);

    bool ok = build(&r, &bc, tier, &err);
    if (ok && asked) {
        struct virtio_env env = {.loop = &r.loop, .mem = r.mem, .clock = r.clock};
        r.agent = agent_port_new(&env, board_pci(r.board), asked, &err);
        ok = r.agent != NULL;
    }
    r.input.data = &r;
    r.has_input = ok && uv_poll_init(&r.loop, &r.input, STDIN_FILENO) == 0;
    if (r.has_input)
        console_room(&r);
    while (ok && run_once(&r, &err) && r.reboots-- > 0)
        board_reset(r.board);
    int status = err ? EXIT_OURS : result(&r);
    if (err)
        fprintf(stderr, "run_guest: %s\n", err->message);
    else if (stats)
        print_stats(&r);
    teardown(&r);
    return status;
}
